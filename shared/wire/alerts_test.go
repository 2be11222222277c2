package wire

import (
	"os"
	"strings"
	"testing"
	"time"
)

func TestWhereAlertsArriveIsReadWithItsDefaults(t *testing.T) {
	good, err := os.ReadFile("testdata/good.yaml")
	if err != nil {
		t.Fatal(err)
	}
	c, err := Parse("good.yaml", []byte(string(good)+`alerts:
  - name: permissions-changed
    sqs: {queue_url: "https://sqs.us-east-1.amazonaws.com/111122223333/tap", region: us-east-1, role_arn: "arn:aws:iam::444455556666:role/auditcanary/ear", external_id_env: EAR}
    scenarios: [aws/iam-*]
  - name: logging-tampered
    guardduty: {account: "111122223333", region: us-east-1, types: ["Stealth:IAMUser/CloudTrailLoggingDisabled"]}
    accept_weak: true
    within: 15m
    late: 1h
  - name: keys-changed
    cloudwatch_alarm: {account: "111122223333", region: us-east-1, name: keys}
  - name: storage-opened
    security_hub: {account: "111122223333", region: us-east-1, generators: ["arn:aws:guardduty:us-east-1:111122223333:detector"]}
  - name: network-changed
    inbox: {bucket: alerts, prefix: pager/, region: us-east-1}
`))
	if err != nil {
		t.Fatal(err)
	}
	if len(c.Alerts) != 5 || c.Alerts[0].Within.Duration != 5*time.Minute || c.Alerts[0].Late.Duration != 30*time.Minute || c.Alerts[0].SQS.ExternalIDEnv != "EAR" || c.Alerts[0].AcceptWeak {
		t.Errorf("%+v", c.Alerts)
	}
	if a := c.Alerts[1]; a.Within.Duration != 15*time.Minute || !a.AcceptWeak || a.GuardDuty.Types[0] == "" {
		t.Errorf("%+v", a)
	}
	for _, a := range c.Alerts {
		if kinds := a.kinds(); len(kinds) != 1 || !strings.Contains(alertKinds, kinds[0]) {
			t.Errorf("%s arrives in %q", a.Name, kinds)
		}
	}
}

// What is accepted works: what would do nothing, or fail when it is opened, is refused with
// its line.
func TestAnAlertThatWouldDoNothingIsRefused(t *testing.T) {
	good, err := os.ReadFile("testdata/good.yaml")
	if err != nil {
		t.Fatal(err)
	}
	const (
		tap   = `sqs: {queue_url: "https://sqs.us-east-1.amazonaws.com/111122223333/tap", region: us-east-1}`
		TAP   = `sqs: {queue_url: "https://SQS.us-east-1.amazonaws.com:443/111122223333/tap", region: us-east-1}`
		tap2  = `sqs: {queue_url: "https://sqs.us-east-1.amazonaws.com/111122223333/tap2", region: us-east-1}`
		alarm = `cloudwatch_alarm: {account: "111122223333", region: us-east-1, name: keys}`
		path  = "alert_path: {event_rules: [{account: \"111122223333\", region: us-east-1, name: r}]}\n"
	)
	duty := func(more, types string) string {
		return `guardduty: {account: "111122223333", region: us-east-1, types: [` + types + `]` + more + `}`
	}
	hub := func(generators string) string {
		return `security_hub: {account: "111122223333", region: us-east-1, generators: [` + generators + `]}`
	}
	inbox := func(prefix string) string {
		return `inbox: {bucket: b, prefix: ` + prefix + `, region: us-east-1}`
	}
	const there = `alert "b": alert a arrives there already`
	for name, tc := range map[string]struct {
		more string
		a, b string // where they arrive
		says string
	}{
		"a hub of any finding":     {"", tap, `security_hub: {account: "111122223333", region: us-east-1}`, "generators must list"},
		"rules that nobody reads":  {path, tap, tap2 + ", rules: [r]", "inspection.role"},
		"rules that somebody does": {path + "inspection: {role: r}\n", tap, tap2 + ", rules: [r]", ""},
		"one queue":                {"", tap, TAP, there},
		"two queues":               {"", tap, tap2, ""},
		"one alarm":                {"", alarm, alarm, there},
		"two alarms":               {"", alarm, strings.Replace(alarm, "keys", "keys2", 1), ""},
		"no alarm":                 {"", tap, strings.Replace(alarm, "keys", `"arn:aws:x"`, 1), `"arn:aws:x" is not the name of an alarm`},
		"one detector":             {"", duty("", `"A:B/C", "A:B/D"`), duty(", detector: d1", `"A:B/D"`), there},
		"one detector, two types":  {"", duty("", `"A:B/C"`), duty("", `"A:B/CD"`), ""},
		"no detector":              {"", tap, duty(`, detector: "../x"`, `"A:B/C"`), "not the id of a detector"},
		"one hub":                  {"", hub("aws/guardduty"), hub("aws/guardduty/arn"), there},
		"one hub, two products":    {"", hub("aws/guardduty"), hub("siem/x"), ""},
		"one hub, one product":     {"", hub("x"), hub("siem, siem/x"), ""},
		"one inbox":                {"", inbox("in/"), inbox("in/a/"), there},
		"two inboxes":              {"", inbox("in/"), inbox("in2/"), ""},
	} {
		text := string(good) + tc.more + "alerts:\n  - {name: a, " + tc.a + "}\n  - {name: b, " + tc.b + "}\n"
		_, err := Parse("c.yaml", []byte(text))
		if (err == nil) != (tc.says == "") || err != nil && !strings.Contains(err.Error(), tc.says) || err != nil && strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: %v, want %q", name, err, tc.says)
		}
	}
}

// An alert that no scenario promises is listened for in vain, and its queue is emptied.
func TestAnAlertThatNobodyPromisesIsTold(t *testing.T) {
	good, err := os.ReadFile("testdata/good.yaml")
	if err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct{ name, scenarios, says string }{
		{"keys-changed", "", ""},
		{"keys-changed", "aws/iam-*", ""},
		{"keys-change", "", `alert "keys-change": no scenario promises it`},
		{"keys-change", "aws/iam-*", ""},
		{"keys-changed", "aws/iam-*, aws/nothing-like-it", `alert "keys-changed": no scenario is like aws/nothing-like-it`},
	} {
		c, err := Parse("c.yaml", []byte(string(good)+"alerts:\n  - {name: "+tc.name+`, sqs: {queue_url: "https://sqs.us-east-1.amazonaws.com/111122223333/tap", region: us-east-1}, scenarios: [`+tc.scenarios+"]}\n"))
		if err != nil {
			t.Fatal(err)
		}
		c.Scenarios.Include = []string{"aws/ec2-*"} // what is promised is, selected or not
		if err := CheckAlerts(c); (err == nil) != (tc.says == "") || err != nil && !strings.Contains(err.Error(), "c.yaml: "+tc.says) {
			t.Errorf("%s, %s: %v, want %q", tc.name, tc.scenarios, err, tc.says)
		}
	}
}
