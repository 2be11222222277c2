package story

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/auditcanary/auditcanary/shared/alertrule"
	"github.com/auditcanary/auditcanary/shared/pattern"
	"github.com/auditcanary/auditcanary/shared/run"
	"github.com/auditcanary/auditcanary/shared/wire"
	"github.com/auditcanary/auditcanary/tests/sandbox/cloud"
)

// What is said before a run of the records that it will leave must hold for those
// that came: a rule that is said never to fire is one that cannot.
func TestTheRecordsThatWerePlannedAreThoseThatCame(t *testing.T) {
	p := newProber(t)
	p.inject(true)
	for k, v := range p.sb.Env {
		t.Setenv(k, v)
	}
	c, err := wire.Load(p.sb.Config)
	if err != nil {
		t.Fatal(err)
	}
	log, err := wire.OpenLedger(t.Context(), c, wire.ReadOnly)
	if err != nil {
		t.Fatal(err)
	}
	state, _, err := run.Fold(t.Context(), log)
	if err != nil {
		t.Fatal(err)
	}
	role := ""
	for _, target := range c.Targets {
		if target.Account == probed {
			role = target.RoleARN
		}
	}
	compared := map[alertrule.Outcome]int{}
	for _, cs := range state.Canaries {
		for _, call := range alertrule.Calls(cs.Plan, role) {
			for _, sight := range cs.Sighted {
				if sight.Step != call.Step || len(sight.Raw) == 0 {
					continue
				}
				record, err := pattern.Decode(sight.Raw)
				if err != nil {
					t.Fatal(err)
				}
				if name := record.(map[string]any)["eventName"]; name != call.Record["eventName"] {
					continue // what undid it
				}
				if where := disagree("", call.Record, record); where != "" {
					t.Errorf("%s, step %s: %s\n%s", call.Scenario, call.Step, where, sight.Raw)
				}
				compared[call.Outcome]++
			}
		}
	}
	if compared[alertrule.Allowed] < 20 || compared[alertrule.Denied] < 10 || compared[alertrule.DryRun] < 2 {
		t.Errorf("compared %v records: the test shows nothing", compared)
	}

	t.Run("the sandbox's own rules", func(t *testing.T) { sandboxRules(t, p, c) })
}

// disagree says where a record is not as it was planned, "" if it is.
func disagree(path string, planned, came any) string {
	differs := func() string { return fmt.Sprintf("%s is %v, planned %v", path, came, planned) }
	switch planned := planned.(type) {
	case pattern.Unknown:
		return ""
	case pattern.Absent:
		if came != nil {
			return differs()
		}
		return ""
	case pattern.Text:
		if s, ok := came.(string); !ok || !strings.HasPrefix(s, planned.Prefix) {
			return differs()
		}
		return ""
	case pattern.OneOf:
		if !slices.ContainsFunc(planned, func(one any) bool { return disagree(path, one, came) == "" }) {
			return differs()
		}
		return ""
	case pattern.Open:
		object, ok := came.(map[string]any)
		if !ok {
			return differs()
		}
		for name, inner := range planned {
			if where := disagree(path+"."+name, inner, object[name]); where != "" {
				return where
			}
		}
		return ""
	}
	if planned != came {
		return differs()
	}
	return ""
}

// sandboxRules: the rules of the sandbox's world, by the inspector that reads them.
func sandboxRules(t *testing.T, p *prober, c *wire.Config) {
	plans, err := wire.Plan(c)
	if err != nil {
		t.Fatal(err)
	}
	const finding = "Stealth:IAMUser/CloudTrailLoggingDisabled"
	rules, queue := *c, &wire.AlertQueue{} // nobody listens
	rules.Alerts = []wire.Alert{
		{Name: "every-call", SQS: queue, Scenarios: []string{"aws/*"}, Rules: []string{cloud.AlertRule}},
		{Name: "root", SQS: queue, Scenarios: []string{"aws/*"}, Rules: []string{cloud.AlertAlarm}}, // the filter's name as well
		{Name: "trail-stopped", SQS: queue, Scenarios: []string{"aws/cloudtrail-*"}, Rules: []string{finding}},
	}
	table := func() alertrule.Table {
		t.Helper()
		out, err := wire.AlertRules(t.Context(), &rules, plans)
		if err != nil {
			t.Fatal(err)
		}
		return out
	}
	want := func(out alertrule.Table, alert, operation string, outcome alertrule.Outcome, region string, verdict alertrule.Verdict, why string) {
		t.Helper()
		i := slices.IndexFunc(out.Rows, func(r alertrule.Row) bool {
			return r.Alert == alert && r.Operation == operation && r.Outcome == outcome && r.Region == region && r.Account == probed
		})
		if i < 0 {
			t.Errorf("%s: no row of %s, %s in %s", alert, operation, outcome, region)
			return
		}
		if r := out.Rows[i]; r.Verdict != verdict || !strings.Contains(strings.Join(r.Reasons, "\n"), why) {
			t.Errorf("%s of %s, %s in %s: %s %q, want %s because %q", alert, operation, outcome, region, r.Verdict, r.Reasons, verdict, why)
		}
	}
	out := table()
	want(out, "every-call", "iam:CreateRole", alertrule.Allowed, "us-east-1", alertrule.Never, "no rule that is listed forwards it from there")
	want(out, "root", "iam:CreateRole", alertrule.Allowed, "us-east-1", alertrule.Never, `$.userIdentity.type is "AssumedRole"`)
	want(out, "trail-stopped", "cloudtrail:StopLogging", alertrule.Allowed, probedRegion, alertrule.Fires, "")
	want(out, "trail-stopped", "cloudtrail:StopLogging", alertrule.Denied, probedRegion, alertrule.Never, "the canary's cloudtrail:StopLogging is refused")

	// What may not be read is not known, and it is said why.
	faults := "faults:\n"
	for _, call := range []string{"GetDetector", "DescribeMetricFilters"} {
		faults += fmt.Sprintf("  - {name: %s, at: call, match: 'it.operation == %q', do: {error: {code: AccessDenied, message: You may not, status: 403}}}\n", call, call)
	}
	if err := p.sb.admin(http.MethodPut, "faults", faults, nil); err != nil {
		t.Fatal(err)
	}
	out = table()
	want(out, "trail-stopped", "cloudtrail:StopLogging", alertrule.Allowed, probedRegion, alertrule.Undecided, "it could not be read (guardduty:GetDetector")
	want(out, "trail-stopped", "cloudtrail:StopLogging", alertrule.Denied, probedRegion, alertrule.Never, "is refused")
	want(out, "root", "iam:CreateRole", alertrule.Allowed, "us-east-1", alertrule.Undecided, "it could not be read (logs:DescribeMetricFilters")
}
