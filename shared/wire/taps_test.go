package wire

import (
	"encoding/json"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/auditcanary/auditcanary/shared/pattern"
)

// many is a configuration of cells with two accounts each, and one of a cluster alone.
func many(t *testing.T, cells int, more string) *Config {
	t.Helper()
	text := "version: 1\nledger: {origin: auditcanary.example/test, dir: ledger}\nsigning: {key_file: signing.key}\n" +
		"log_stores:\n  - {name: central, type: cloudtrail-s3, bucket: archive, region: us-east-1}\n" +
		"clusters: [{name: prod, cell: cluster}]\ntargets:\n"
	for i := range cells {
		for n := range 2 {
			account := fmt.Sprintf("%012d", 100000000000+2*i+n)
			text += fmt.Sprintf("  - {account: %q, cell: cell-%04d, regions: [us-east-1], role_arn: \"arn:aws:iam::%s:role/auditcanary-injector\"}\n", account, i, account)
		}
	}
	c, err := Parse(filepath.Join(t.TempDir(), "auditcanary.yaml"), []byte(text+more))
	if err != nil {
		t.Fatal(err)
	}
	return c
}

const tappedAlerts = `alerts:
  - {name: permissions-changed, sqs: {queue_url: "https://sqs.us-east-1.amazonaws.com/222222222222/tap-{cell}-permissions-changed", region: us-east-1}}
  - {name: network-changed, sqs: {queue_url: "https://sqs.us-east-1.amazonaws.com/222222222222/tap-{cell}-network-changed", region: us-east-1}}
  - {name: keys-changed, sqs: {queue_url: "https://sqs.eu-west-1.amazonaws.com/222222222222/{cell}-keys", region: eu-west-1}}
`

type tapResource struct {
	Type       string
	Properties struct {
		QueueName                    string
		TopicArn                     map[string]string
		Endpoint                     map[string][]string
		FilterPolicyScope            string
		FilterPolicy, PolicyDocument json.RawMessage
		Queues                       []map[string]string
	}
}

func resourcesOf(t *testing.T, s TapStack) map[string]tapResource {
	t.Helper()
	var template struct{ Resources map[string]tapResource }
	if err := json.Unmarshal(s.Template, &template); err != nil {
		t.Fatal(err)
	}
	return template.Resources
}

// TestEveryCellHearsItsOwnAlerts: in the queue that its configuration names, the events of
// its accounts and of no others.
func TestEveryCellHearsItsOwnAlerts(t *testing.T) {
	c := many(t, 200, tappedAlerts)
	taps, err := OfTaps(c, TapsOptions{Topic: "auditcanary-{alert}"})
	if err != nil {
		t.Fatal(err)
	}
	type heard struct{ topic, filter string }
	at := map[string]heard{} // by region and name of the queue
	for _, s := range taps.Stacks {
		made := resourcesOf(t, s)
		if len(made) > maxResources || len(s.Template) > 1_000_000 || s.Account != "222222222222" || s.Name != fmt.Sprintf("taps-222222222222-%s-%s", s.Region, s.Name[len(s.Name)-2:]) {
			t.Errorf("%s has %d resources, %d bytes", s.Name, len(made), len(s.Template))
		}
		may := map[string]bool{}
		for _, r := range made {
			for _, q := range r.Properties.Queues {
				may[q["Ref"]] = true
			}
			if doc := string(r.Properties.PolicyDocument); r.Type == "AWS::SQS::QueuePolicy" && len(doc) > 2000 {
				t.Errorf("%s: a policy of %d bytes", s.Name, len(doc))
			}
		}
		for _, r := range made {
			if r.Type != "AWS::SNS::Subscription" {
				continue
			}
			queue := r.Properties.Endpoint["Fn::GetAtt"][0]
			if made[queue].Type != "AWS::SQS::Queue" || !may[queue] || r.Properties.FilterPolicyScope != "MessageBody" {
				t.Errorf("%s: %s is %+v, allowed %t", s.Name, queue, made[queue], may[queue])
			}
			at[s.Region+" "+made[queue].Properties.QueueName] = heard{r.Properties.TopicArn["Fn::Sub"], string(r.Properties.FilterPolicy)}
		}
	}
	if taps.Filters != 200 || len(at) != 600 || len(taps.Stacks) != 3 {
		t.Fatalf("%d filters, %d queues in %d stacks", taps.Filters, len(at), len(taps.Stacks))
	}
	passes := func(filter, account string) bool {
		t.Helper()
		p, err := pattern.ParseEventPattern(filter)
		if err != nil {
			t.Fatal(err)
		}
		return p.Match(map[string]any{"account": account, "detail": map[string]any{"eventName": "CreateRole"}}).Truth == pattern.Yes
	}
	for _, i := range []int{0, 7, 199} {
		narrow, err := c.inCell(fmt.Sprintf("cell-%04d", i))
		if err != nil {
			t.Fatal(err)
		}
		for _, a := range narrow.Alerts {
			_, queue, err := queueOf(a.SQS.QueueURL)
			if err != nil {
				t.Fatal(err)
			}
			h := at[a.SQS.Region+" "+queue]
			own, other := fmt.Sprintf("%012d", 100000000000+2*i+1), fmt.Sprintf("%012d", 100000000000+2*i+2)
			if !strings.HasSuffix(h.topic, "${AWS::AccountId}:auditcanary-"+a.Name) || !passes(h.filter, own) || passes(h.filter, other) {
				t.Errorf("cell %d, %s: %+v", i, a.Name, h)
			}
		}
	}

	// Another cell at the end: what was there stays where it was.
	grown, err := OfTaps(many(t, 201, tappedAlerts), TapsOptions{Topic: "auditcanary-{alert}"})
	if err != nil {
		t.Fatal(err)
	}
	for i, s := range taps.Stacks {
		now := resourcesOf(t, grown.Stacks[i])
		for id, r := range resourcesOf(t, s) {
			if r.Type != "AWS::SQS::QueuePolicy" && fmt.Sprint(now[id]) != fmt.Sprint(r) {
				t.Errorf("%s: %s is now %+v", s.Name, id, now[id])
			}
		}
	}
}

func TestTapsThatCannotBe(t *testing.T) {
	for want, in := range map[string]struct {
		c     *Config
		topic string
	}{
		"no alert arrives in a queue":   {many(t, 2, ""), "auditcanary-{alert}"},
		`topic "auditcanary-alerts"`:    {many(t, 2, tappedAlerts), "auditcanary-alerts"},
		"a name has 80 characters":      {many(t, 2, strings.ReplaceAll(tappedAlerts, "tap-{cell}", "tap-{cell}-"+strings.Repeat("x", 51))), "auditcanary-{alert}"},
		"a subscription's filter takes": {crowded(many(t, 80, tappedAlerts)), "auditcanary-{alert}"},
	} {
		if _, err := OfTaps(in.c, TapsOptions{Topic: in.topic}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q in it", err, want)
		}
	}
	c, err := Load("testdata/good.yaml")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := OfTaps(c, TapsOptions{Topic: "x-{alert}"}); err == nil || !strings.Contains(err.Error(), "has no cells") {
		t.Error(err)
	}
}

// crowded puts all accounts into one cell.
func crowded(c *Config) *Config {
	c.Targets = slices.Clone(c.Targets)
	for i := range c.Targets {
		c.Targets[i].Cell = "one"
	}
	return c
}

func TestAPolicyOfCellsNamesTheQueuesOfAll(t *testing.T) {
	policies, err := Policies(many(t, 2, tappedAlerts), PolicyOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range policies {
		if p.Name == "function-confirm" {
			if doc := string(p.Document); !strings.Contains(doc, "arn:aws:sqs:us-east-1:222222222222:tap-*-permissions-changed") || strings.Contains(doc, "{cell}") {
				t.Errorf("%s", doc)
			}
			return
		}
	}
	t.Error("no policy of confirm")
}
