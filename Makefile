# Everything here needs Go and make, nothing else.

GO       ?= go
RACE     ?=
# A count, not a time: with a time, Go sometimes reports the end of it as a failure
# ("context deadline exceeded", golang/go#75804).
FUZZTIME ?= 20000x
FUZZIN   ?= functions scenarios shared tests

.DEFAULT_GOAL := help

.PHONY: help
help: ## list what can be made
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/  make \1\t\2/p' Makefile | expand -t 18

.PHONY: demo
demo: ## take canaries the whole way in a loopback cloud (under 60 s once built)
	@echo "Building auditcanary and its sandbox. The first time this compiles the AWS SDK"
	@echo "(the EC2 and IAM clients are large): some minutes on two cores, seconds after that."
	@$(GO) -C tests run ./demo

.PHONY: test
test: ## all tests of both modules (RACE=-race for the race detector)
	$(GO) test $(RACE) -timeout 20m ./...
	# -count=1: these build and run the programs, which the test cache does not see.
	$(GO) -C tests test $(RACE) -count=1 -timeout 20m ./...

.PHONY: real
real: ## canaries in a real Kubernetes cluster with a real log store, and what must be noticed there
	$(GO) -C tests run ./real
	AUDITCANARY_REAL=1 $(GO) -C tests test -count=1 -timeout 20m ./real

.PHONY: bench
bench: ## scan, ledger, coverage, a report of 10,000 canaries, what a canary costs, with ratios
	$(GO) test -run '^$$' -bench . -timeout 30m ./shared/...
	$(GO) -C tests test -run '^$$' -bench . -benchtime 1x -timeout 30m ./story ./browser

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

.PHONY: slackschema
slackschema: ## the schema of Slack's blocks anew, from Slack's own types (needs node and npm)
	tests/sandbox/slack/testdata/generate.sh

.PHONY: stores
stores: ## VictoriaLogs and Loki into the cache, for tests against the real ones (Loki: an hour of CPU)
	$(GO) -C tests run ./real/stores/build

.PHONY: package
package: ## the functions as zip files for Lambda (arm64) in out/package, the same bytes every time
	$(GO) -C tests run ./bundle -out ../out/package

.PHONY: screenshot
screenshot: ## take the README's picture of the report: the demo, in Chromium
	@$(GO) -C tests run ./demo -out ../out/screenshot
	$(GO) -C tests run ./browser/shot -height 1500 -o ../tests/browser/report.png ../out/screenshot/report.html

.PHONY: clean
clean: ## remove out/
	rm -rf out
