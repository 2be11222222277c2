package wire

import (
	"os"
	"strings"
	"testing"
)

// things are what is asked about on the alert path, a line each.
func things(t *testing.T, more string) string {
	t.Helper()
	base, err := os.ReadFile("testdata/invalid/inspection-without-role.yaml")
	if err != nil {
		t.Fatal(err)
	}
	text, _, _ := strings.Cut(string(base), "inspection:")
	c, err := Parse("auditcanary.yaml", []byte(text+more))
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, r := range c.alertThings() {
		line := r.Kind + " " + r.ARN + " " + r.Region
		if !r.NoPolicies {
			line += " with its policy"
		}
		out = append(out, strings.TrimSpace(line))
	}
	return strings.Join(out, "\n")
}

func TestWhatIsListedOnTheAlertPathIsAskedAbout(t *testing.T) {
	got := things(t, `alert_path:
  event_rules:
    - {account: "100000000001", region: us-east-1, name: privileged}
    - {account: "100000000001", region: us-east-1, name: other, bus: own}
  topics: [{arn: "arn:aws:sns:us-east-1:100000000001:alerts"}]
  alarms: [{account: "100000000001", region: us-east-1, name: root}]
  metric_filters: [{account: "100000000001", region: us-east-1, log_group: trail, name: f}]
  log_groups: [{account: "100000000001", region: us-east-1, name: trail}]
  detectors: [{account: "111122223333", region: eu-west-1}]
`)
	want := `rule arn:aws:events:us-east-1:100000000001:rule/privileged us-east-1
rule arn:aws:events:us-east-1:100000000001:rule/own/other us-east-1
alarm arn:aws:cloudwatch:us-east-1:100000000001:alarm:root us-east-1
log-group arn:aws:logs:us-east-1:100000000001:log-group:trail us-east-1
detector arn:aws:guardduty:eu-west-1:111122223333:detector/* eu-west-1
topic arn:aws:sns:us-east-1:100000000001:alerts us-east-1 with its policy`
	if got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

func TestWhereNothingIsListedWhateverTheTargetsHaveIsAskedAbout(t *testing.T) {
	want := `rule arn:aws:events:*:111122223333:rule/*
alarm arn:aws:cloudwatch:*:111122223333:alarm:*
detector arn:aws:guardduty:*:111122223333:detector/*`
	if got := things(t, ""); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}
