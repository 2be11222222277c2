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
