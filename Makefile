# Everything here needs Go and make, nothing else.

GO       ?= go
RACE     ?=
THOROUGH ?=
# A count, not a time: with a time, Go sometimes reports the end of it as a failure
# ("context deadline exceeded", golang/go#75804).
FUZZTIME ?= 20000x
FUZZIN   ?= functions scenarios shared tests

.DEFAULT_GOAL := help

.PHONY: help
help: ## list what can be made
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1\t\2/p' Makefile | expand -t 18

.PHONY: demo
demo: ## take canaries the whole way in a loopback cloud (under 60 s once built)
	@echo "Building auditcanary and its sandbox. The first time this compiles the AWS SDK"
	@echo "(the EC2 and IAM clients are large): some minutes on two cores, seconds after that."
	@$(GO) -C tests run ./demo

.PHONY: test
test: ## all tests of both modules (RACE=-race: the race detector; THOROUGH=1: die before every effect too)
	$(GO) test $(RACE) -timeout 20m ./...
	# -count=1: these build and run the programs, which the test cache does not see. The
	# stories first: they take longest, and wait while others work.
	THOROUGH=$(THOROUGH) $(GO) -C tests test $(RACE) -count=1 -timeout 20m ./story ./...

.PHONY: real
real: ## canaries in a real Kubernetes cluster with a real log store, and what must be noticed there
	$(GO) -C tests run ./real
	AUDITCANARY_REAL=1 $(GO) -C tests test -count=1 -timeout 20m ./real

.PHONY: bench
bench: ## scan, ledger, coverage, a report of 10,000 canaries, what a canary costs, what functions weigh
	$(GO) test -run '^$$' -bench . -timeout 30m ./shared/...
	$(GO) -C tests test -run '^$$' -bench . -benchtime 1x -timeout 30m ./story ./browser
	$(GO) -C tests run ./bundle -bench

.PHONY: lint
lint: ## gofmt, vet and staticcheck on both modules
	@unformatted=$$(gofmt -l functions scenarios shared tests); \
	if [ -n "$$unformatted" ]; then echo "not formatted (run gofmt -w):"; echo "$$unformatted"; exit 1; fi
	$(GO) vet ./...
	$(GO) -C tests vet ./...
	@staticcheck=$$($(GO) -C tests tool -n staticcheck) && set -x && \
	"$$staticcheck" ./... && cd tests && "$$staticcheck" ./...

.PHONY: fuzz
fuzz: ## every fuzz target in FUZZIN, FUZZTIME (20000x) inputs each
	@grep -rno '^func Fuzz[A-Za-z0-9_]*' --include='*_test.go' $(FUZZIN) | sort | \
	while IFS=: read -r file _ func; do \
		echo "== $${func#func } in $${file%/*}"; \
		$(GO) -C "$${file%/*}" test -run '^$$' -fuzz "^$${func#func }$$" -fuzztime $(FUZZTIME) -fuzzminimizetime 20x . </dev/null || exit 1; \
	done

.PHONY: golden
golden: ## write generated files anew: scenario schema, data dictionary, golden tests
	@grep -rl 'flag.Bool("update"' --include='*_test.go' functions scenarios shared tests | sort | \
	while read -r file; do \
		(set -x; $(GO) -C "$${file%/*}" test . -update </dev/null) || exit 1; \
	done

.PHONY: policies
policies: ## the least-privilege policies of infra/aws anew, from the scenarios and the drivers
	$(GO) run ./functions/auditcanary policies --config /nonexistent --template -o infra/aws/policies

.PHONY: slackschema
slackschema: ## the schema of Slack's blocks anew, from Slack's own types (needs node and npm)
	tests/sandbox/slack/testdata/generate.sh

.PHONY: stores
stores: ## VictoriaLogs and Loki into the cache, for tests against the real ones (Loki: an hour of CPU)
	$(GO) -C tests run ./real/stores/build

.PHONY: package
package: ## the functions as zip files for Lambda (arm64) in out/package, the same bytes every time
	$(GO) -C tests run ./bundle -out ../out/package $(if $(STAGE),-with ../infra/aws/stages/$(STAGE))

.PHONY: deploy
deploy: ## deploy infra/aws/stages/STAGE to AWS (needs node, npm, credentials)
	@test -n "$(STAGE)" || { echo "make deploy STAGE=name (a folder of infra/aws/stages)"; exit 2; }
	@test -f infra/aws/stages/$(STAGE)/stage.yml || { echo "infra/aws/stages/$(STAGE)/stage.yml is missing: copy infra/aws/stages/example and fill it in"; exit 2; }
	$(MAKE) package STAGE=$(STAGE)
	infra/aws/deploy.sh deploy $(STAGE)

.PHONY: destroy
destroy: ## remove what was deployed of STAGE; ledger, packets and their keys stay
	@test -n "$(STAGE)" -a "$(CONFIRM)" = "$(STAGE)" || { echo "make destroy STAGE=name CONFIRM=name: removes functions, state machines and schedules of that stage"; exit 2; }
	@echo "Sweep first (start the state machine auditcanary-$(STAGE)-sweep) if a run is under way: nobody does afterwards."
	mkdir -p out/package
	infra/aws/deploy.sh remove $(STAGE)
	@echo "The buckets of the ledger and of the packets, and the keys, are of the stack of infra/aws/evidence.yaml, and are still there:"
	@echo "what is in them is retained, and verifies without auditcanary being deployed (auditcanary verify, auditcanary ledger verify)."

.PHONY: live-test
live-test: ## run the deployed state machine of STAGE in ACCOUNT, set aside for tests, and read its result (hours)
	$(GO) -C tests test ./deploy -count=1 -v -timeout 12h -run TestTheDeployedMachineRuns -live-stage "$(STAGE)" -live-account "$(ACCOUNT)"

.PHONY: screenshot
screenshot: ## take the README's picture of the report: the demo, in Chromium
	@$(GO) -C tests run ./demo -out ../out/screenshot
	$(GO) -C tests run ./browser/shot -height 1500 -o ../tests/browser/report.png ../out/screenshot/report.html

.PHONY: clean
clean: ## remove out/
	rm -rf out
