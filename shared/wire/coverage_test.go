package wire

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/auditcanary/auditcanary/shared/canary"
	"github.com/auditcanary/auditcanary/shared/coverage"
	"github.com/auditcanary/auditcanary/shared/run"
)

var noon = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)

const disable = "aws/kms-disable-key"

func twoScenarios(t *testing.T) *Config {
	t.Helper()
	c, err := Load("testdata/good.yaml")
	if err != nil {
		t.Fatal(err)
	}
	c.Scenarios.Include = []string{disable, "aws/iam-temporary-admin-role"}
	return c
}

// ledgerOf is a ledger that holds one run of the configuration's canaries, with
// the verdict that judge gives of each; nil: none.
func ledgerOf(t *testing.T, c *Config, judge func(run.Plan) *canary.Verdict) *run.State {
	t.Helper()
	plans, err := Plan(c)
	if err != nil {
		t.Fatal(err)
	}
	state := run.NewState()
	apply := func(e run.Entry) {
		e.V, e.At, e.Run = 1, noon.Add(-time.Hour), "20261122-aaaaaa"
		leaf, err := json.Marshal(e)
		if err == nil {
			err = state.Apply(leaf)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	apply(run.Entry{Type: "begun", Begun: &run.Begun{}})
	for _, p := range plans {
		apply(run.Entry{Type: "planned", Canary: p.Canary.ID, Planned: &p})
		if v := judge(p); v != nil {
			apply(run.Entry{Type: "verdict", Canary: p.Canary.ID, Verdict: v})
		}
	}
	return state
}

// verdict passes every required check, except as changed.
func verdict(change ...func(map[canary.Check]canary.Answer)) *canary.Verdict {
	v := &canary.Verdict{Checks: map[canary.Check]canary.Answer{}}
	for _, c := range canary.Required() {
		v.Checks[c] = canary.Answer{Status: canary.Pass}
	}
	for _, f := range change {
		f(v.Checks)
	}
	return v
}

func TestCoverageFollowsFromTheLastFinishedVerdicts(t *testing.T) {
	cfg := twoScenarios(t)
	for _, tc := range []struct {
		name  string
		judge func(run.Plan) *canary.Verdict
		want  coverage.Status // of kms:DisableKey in eu-west-1; in us-east-1 it always passes
	}{
		{"passed", func(run.Plan) *canary.Verdict { return verdict() }, coverage.Proven},
		{"not judged", func(run.Plan) *canary.Verdict { return nil }, coverage.NeverTested},
		{"still awaited", func(run.Plan) *canary.Verdict {
			return verdict(func(c map[canary.Check]canary.Answer) {
				c[canary.Surfaced] = canary.Answer{Status: canary.NotRun, Open: true}
			})
		}, coverage.NeverTested},
		{"not to be done there", func(run.Plan) *canary.Verdict {
			return verdict(func(c map[canary.Check]canary.Answer) { c[canary.Injected] = canary.Answer{Status: canary.NotRun} })
		}, coverage.NeverTested},
		{"could not act", func(run.Plan) *canary.Verdict {
			return verdict(func(c map[canary.Check]canary.Answer) {
				c[canary.Injected] = canary.Answer{Status: canary.Inconclusive}
			})
		}, coverage.Inconclusive},
		{"a required check is missing", func(run.Plan) *canary.Verdict {
			return verdict(func(c map[canary.Check]canary.Answer) { delete(c, canary.Attributed) })
		}, coverage.Inconclusive},
		{"not cleaned", func(run.Plan) *canary.Verdict {
			return verdict(func(c map[canary.Check]canary.Answer) { c[canary.Cleaned] = canary.Answer{Status: canary.Fail} })
		}, coverage.Failed},
	} {
		state := ledgerOf(t, cfg, func(p run.Plan) *canary.Verdict {
			switch {
			case p.Scenario.ID != disable:
				return nil
			case p.Canary.Target.Region == "us-east-1":
				return verdict()
			}
			return tc.judge(p)
		})
		r, err := Coverage(cfg, state, CoverageOptions{MaxAge: coverage.DefaultMaxAge, Now: noon})
		if err != nil {
			t.Fatal(err)
		}
		got := map[string]coverage.Status{}
		for _, c := range r.Cells {
			if c.Operation == "kms:DisableKey" {
				got[c.Region] = c.Status
			}
		}
		if got["us-east-1"] != coverage.Proven || got["eu-west-1"] != tc.want {
			t.Errorf("%s: %v, want %s in eu-west-1", tc.name, got, tc.want)
		}
	}
}

func TestCoverageOfOneRunAndOfARunNobodyKnows(t *testing.T) {
	cfg := twoScenarios(t)
	state := ledgerOf(t, cfg, func(run.Plan) *canary.Verdict { return verdict() })
	r, err := Coverage(cfg, state, CoverageOptions{Run: "20261122-aaaaaa", MaxAge: coverage.DefaultMaxAge, Now: noon})
	if err != nil {
		t.Fatal(err)
	}
	if r.Total.Statuses[coverage.Proven] == 0 || r.Total.Statuses[coverage.Failed] != 0 || r.Elsewhere != 0 {
		t.Errorf("%+v, %d elsewhere", r.Total, r.Elsewhere)
	}
	// What exists once per account is proven in the home region, whatever the
	// canary's own place.
	if !slices.ContainsFunc(r.Cells, func(c coverage.Cell) bool {
		return c.Operation == "iam:CreateRole" && c.Region == "us-east-1" && c.Status == coverage.Proven
	}) {
		t.Error("iam:CreateRole is not proven")
	}
	if _, err := Coverage(cfg, state, CoverageOptions{Run: "20991231-zzzzzz", Now: noon}); err == nil || !strings.Contains(err.Error(), `run "20991231-zzzzzz" is not in the ledger`) {
		t.Errorf("an unknown run: %v", err)
	}
}

func TestTheScopeDocumentIsDrawnUpFromTheConfiguration(t *testing.T) {
	data := `version: 1
targets: [{account: "111122223333", regions: [us-east-1], role_arn: "arn:aws:iam::111122223333:role/a/injector", fixtures: {"*": {break_glass_role: bg}}}]
log_stores: [{name: central, type: cloudtrail-s3, bucket: archive, region: us-east-1, role_arn: "arn:aws:iam::999999999999:role/reader"}]
ledger: {origin: x.example/y, dir: ledger}
signing: {key_file: k}
adequacy:
  - {source: saas, decision: additional, why: the cloud sees none of it, additional: a collector, by: CISO, on: 2026-01-01, review_by: 2027-01-01}
scope:
  organization: Example Ltd
  approved_on: 2026-11-01
  actors: [{name: Admins, kind: human, through: SSO}]
  out_of_scope: [{what: Sandboxes, why: no data}]
`
	cfg, err := Parse("auditcanary.yaml", []byte(data))
	if err != nil {
		t.Fatal(err)
	}
	s, err := ScopeDocument(cfg, "v1", noon)
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	if err := s.WriteMarkdown(&b); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"| Organisation | Example Ltd |", "| Owner | not stated |", "| Approved on | 2026-11-01 |", "| Admins | human | SSO |",
		"| Break-glass role | break-glass | bg |", "arn:aws:iam::(account):role/a/injector", "role/reader", "Out of scope: Sandboxes",
		"additional: the cloud sees none of it; additionally: a collector (CISO, 2026-01-01; review by 2027-01-01)", "kms:DisableKey", "- SaaS: no scenario",
	} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("%q is not in the document:\n%s", want, b.String())
		}
	}
}
