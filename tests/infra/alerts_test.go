package infra

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/auditcanary/auditcanary/shared/alertrule"
	"github.com/auditcanary/auditcanary/shared/canary"
	"github.com/auditcanary/auditcanary/shared/inventory"
	"github.com/auditcanary/auditcanary/shared/wire"
	"github.com/auditcanary/auditcanary/tests/cfn"
	"github.com/auditcanary/auditcanary/tests/sandbox/cloud"
)

// undecided are promises of which nobody can say before the call whether its record will
// match, with the reason.
var undecided = map[string]string{
	"aws/backup-recovery-point-denied": "AWS Backup may answer a refused deletion with success, and then the record has no error",
	"aws/sts-break-glass-assume-role":  "the record of a refused AssumeRole has no parameters; that of an allowed one has the role",
}

// TestEveryPromisedAlertCouldRing: with the rules of alerts.yaml and alerts-forward.yaml
// every alert that a scenario promises could be made by the records that it will leave.
func TestEveryPromisedAlertCouldRing(t *testing.T) {
	account, region := cloud.TargetAccounts()[0], "eu-west-1"
	var b strings.Builder
	fmt.Fprintf(&b, "version: 1\ntargets:\n  - account: %q\n    regions: [us-east-1, %s]\n    role_arn: %s\n    fixtures:\n", account, region, cloud.InjectorRole(account))
	for _, place := range []string{"*", "us-east-1", region} {
		fmt.Fprintf(&b, "      %q:\n", place)
		fixtures := cloud.Fixtures(account, place)
		for _, name := range slices.Sorted(maps.Keys(fixtures)) {
			fmt.Fprintf(&b, "        %s: %s\n", name, fixtures[name])
		}
	}
	b.WriteString("log_stores: [{name: central, type: cloudtrail-s3, bucket: b, region: us-east-1}]\nledger: {origin: x.example, dir: ledger}\nsigning: {key_file: k}\n")
	cfg, err := wire.Parse(filepath.Join(t.TempDir(), "auditcanary.yaml"), []byte(b.String()))
	if err != nil {
		t.Fatal(err)
	}
	plans, err := wire.Plan(cfg)
	if err != nil {
		t.Fatal(err)
	}
	promises := map[string][]canary.Promise{}
	var calls []alertrule.Call
	for _, p := range plans {
		if p.Canary.Target.Provider != "aws" {
			continue
		}
		promises[p.Scenario.ID] = p.Scenario.Alerts
		calls = append(calls, alertrule.Calls(p, cloud.InjectorRole(account))...)
	}
	table := func(change func(pattern string) string) alertrule.Table {
		s := rules(t, account, []string{"us-east-1", region}, change)
		var alerts []alertrule.Alert
		for _, r := range s.Path.Rules {
			if r.Bus != "" {
				alerts = append(alerts, alertrule.Alert{Name: r.Name, Rules: []string{"auditcanary-forward", r.Name}})
			}
		}
		return alertrule.NewTable(alerts, s, calls, func(a alertrule.Alert, c alertrule.Call) bool {
			return slices.ContainsFunc(promises[c.Scenario], func(p canary.Promise) bool {
				return p.Alert == a.Name && (p.Step == "" || p.Step == c.Step) && (p.On == "" || string(p.On) == string(c.Outcome))
			})
		})
	}
	rows := table(func(pattern string) string { return pattern }).Rows
	// One call of a step that promises an alert is enough for it.
	type promise struct{ alert, scenario, region, outcome string }
	rings, why := map[promise]bool{}, map[promise][]string{}
	for _, r := range rows {
		k := promise{r.Alert, r.Scenario, r.Region, string(r.Outcome)}
		rings[k] = rings[k] || r.Verdict == alertrule.Fires || r.Verdict == alertrule.Undecided && undecided[r.Scenario] != ""
		why[k] = append(why[k], r.Reasons...)
	}
	named := map[string]bool{}
	for k, ok := range rings {
		named[k.alert] = true
		if !ok {
			t.Errorf("%s cannot ring for %s (%s) in %s: %q", k.alert, k.scenario, k.outcome, k.region, why[k])
		}
	}
	for id, list := range promises {
		for _, p := range list {
			if !named[p.Alert] {
				t.Errorf("%s promises %s, and no rule makes it", id, p.Alert)
			}
		}
	}
	t.Logf("%d promises of %d alerts could be kept", len(rings), len(named))
	if len(rings) < 50 {
		t.Errorf("%d promises are too few to prove anything", len(rings))
	}

	// A rule that sees nothing is found.
	silent := 0
	for _, r := range table(func(pattern string) string { return strings.Replace(pattern, "StopLogging", "StartLogging", 1) }).Rows {
		if r.Operation == "cloudtrail:StopLogging" && r.Verdict == alertrule.Never {
			silent++
		}
	}
	if silent == 0 {
		t.Error("a rule without StopLogging could ring for it")
	}
}

// rules are those of the templates, as an inspector would have read them.
func rules(t *testing.T, account string, regions []string, change func(string) string) (s alertrule.Settings) {
	t.Helper()
	made := func(file string, v map[string]string) map[string]cfn.Resource {
		template, err := cfn.Load(filepath.Join(dir, file))
		if err != nil {
			t.Fatal(err)
		}
		out, err := template.Resolve(v)
		if err != nil {
			t.Fatal(err)
		}
		return out
	}
	put := func(at inventory.Place, r cfn.Resource) {
		text, err := json.Marshal(r.Properties["EventPattern"])
		if err != nil {
			t.Fatal(err)
		}
		bus, _ := r.Properties["EventBusName"].(string)
		var targets []string
		for _, target := range r.Properties["Targets"].([]any) {
			targets = append(targets, target.(map[string]any)["Arn"].(string))
		}
		name := r.Properties["Name"].(string)
		s.Path.Rules = append(s.Path.Rules, inventory.Rule{Place: at, Bus: bus, Name: name})
		s.Snapshot.Rules = append(s.Snapshot.Rules, inventory.RuleState{Place: at, Bus: bus, Name: name, State: r.Properties["State"].(string), Pattern: change(string(text)), Targets: &targets})
	}
	const home = "us-east-1"
	security := cloud.ToolAccount
	v := map[string]string{"AWS::Partition": "aws", "AWS::Region": home, "AWS::AccountId": security, "OrganizationId": "o-exampleorg1", "Email": "x@example.com"}
	central := made("alerts.yaml", v)
	for _, name := range slices.Sorted(maps.Keys(central)) {
		if r := central[name]; r.Type == "AWS::Events::Rule" {
			put(inventory.Place{Account: security, Region: home}, r)
		}
	}
	for _, region := range regions {
		v := map[string]string{"AWS::Partition": "aws", "AWS::Region": region, "AWS::AccountId": account, "BusArn": "arn:aws:events:" + home + ":" + security + ":event-bus/auditcanary-security"}
		for _, r := range made("alerts-forward.yaml", v) {
			if r.Type == "AWS::Events::Rule" {
				put(inventory.Place{Account: account, Region: region}, r)
			}
		}
	}
	return s
}

// TestTheConfigurationThatTheTemplateShowsFits: alerts.yaml says what goes under alerts.
func TestTheConfigurationThatTheTemplateShowsFits(t *testing.T) {
	text, err := os.ReadFile(filepath.Join(dir, "alerts.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"auditcanary-alert-tap-permissions-changed", "rules: [auditcanary-forward, permissions-changed]", "bus: auditcanary-security"} {
		if !strings.Contains(string(text), want) {
			t.Errorf("alerts.yaml does not show %q", want)
		}
	}
}
