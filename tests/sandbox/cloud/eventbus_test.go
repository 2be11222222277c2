package cloud_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/cloudtrail"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	ec2types "github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"github.com/aws/aws-sdk-go-v2/service/eventbridge"
	eventtypes "github.com/aws/aws-sdk-go-v2/service/eventbridge/types"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/sns"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	sqstypes "github.com/aws/aws-sdk-go-v2/service/sqs/types"
	"github.com/aws/aws-sdk-go-v2/service/sts"

	"github.com/auditcanary/auditcanary/tests/sandbox/cloud"
)

// reader opens a session of the role that reads the archive.
func (b *box) reader() aws.Config {
	b.t.Helper()
	out, err := sts.NewFromConfig(b.runner(east)).AssumeRole(b.t.Context(), &sts.AssumeRoleInput{
		RoleArn: aws.String(cloud.ReaderRole()), RoleSessionName: aws.String("auditcanary"), SourceIdentity: aws.String("auditcanary"),
	})
	if err != nil {
		b.t.Fatal(err)
	}
	return b.session(out, east)
}

// rang is what is in the tap of an alert now. What is looked at is hidden for a while.
func (b *box) rang(alert string) []sqstypes.Message {
	b.t.Helper()
	out, err := sqs.NewFromConfig(b.reader()).ReceiveMessage(b.t.Context(), &sqs.ReceiveMessageInput{
		QueueUrl: aws.String(cloud.AlertTapURL(alert)), MaxNumberOfMessages: 10, VisibilityTimeout: 1,
		MessageSystemAttributeNames: []sqstypes.MessageSystemAttributeName{"All"},
	})
	if err != nil {
		b.t.Fatal(err)
	}
	return out.Messages
}

// events are the events of an alert's messages, unwrapped.
func (b *box) events(alert string) (out []map[string]any) {
	b.t.Helper()
	for _, m := range b.rang(alert) {
		var v map[string]any
		if err := json.Unmarshal([]byte(*m.Body), &v); err != nil {
			b.t.Fatalf("%v: %s", err, *m.Body)
		}
		if v["Type"] == "Notification" {
			text := v["Message"].(string)
			v = nil
			if err := json.Unmarshal([]byte(text), &v); err != nil {
				b.t.Fatalf("%v: %s", err, text)
			}
		}
		out = append(out, v)
	}
	return out
}

func createRole(t *testing.T, cfg aws.Config, name string) {
	t.Helper()
	_, err := iam.NewFromConfig(cfg).CreateRole(t.Context(), &iam.CreateRoleInput{
		RoleName: &name, AssumeRolePolicyDocument: aws.String(`{"Version":"2012-10-17","Statement":[{"Effect":"Deny","Principal":{"AWS":"*"},"Action":"sts:AssumeRole"}]}`),
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestACallRingsItsAlert(t *testing.T) {
	b := start(t)
	createRole(t, b.root(target, west), "r1")
	called := b.clock.Now()
	rec := b.last("CreateRole")
	if got := b.rang("permissions-changed"); len(got) != 0 {
		t.Errorf("it rang at once: %s", pretty(got))
	}
	b.clock.add(90 * time.Second)
	got := b.rang("permissions-changed")
	if len(got) != 1 {
		t.Fatalf("%d messages", len(got))
	}
	var n struct {
		Type, MessageId, TopicArn, Message, Signature, SigningCertURL, UnsubscribeURL, SignatureVersion string
		Timestamp                                                                                       time.Time
	}
	if err := json.Unmarshal([]byte(*got[0].Body), &n); err != nil {
		t.Fatal(err)
	}
	if n.Type != "Notification" || n.MessageId == "" || n.MessageId == *got[0].MessageId || n.SignatureVersion != "1" || n.Signature == "" ||
		n.TopicArn != "arn:aws:sns:us-east-1:100000000001:security-permissions-changed" || !strings.Contains(n.UnsubscribeURL, "SubscriptionArn=arn%3Aaws%3Asns") {
		t.Errorf("%+v", n)
	}
	took := n.Timestamp.Sub(called)
	if took < 3*time.Second || took > time.Minute {
		t.Errorf("it rang after %s", took)
	}
	var sent int64
	if _, err := fmt.Sscan(got[0].Attributes["SentTimestamp"], &sent); err != nil || time.UnixMilli(sent).Before(n.Timestamp) || time.UnixMilli(sent).After(n.Timestamp.Add(time.Second)) {
		t.Errorf("sent %s, notified %s, %v", time.UnixMilli(sent), n.Timestamp, err)
	}
	var e map[string]any
	if err := json.Unmarshal([]byte(n.Message), &e); err != nil {
		t.Fatal(err)
	}
	// It came over three buses' worth of hops, and is of the account and region still
	// where the call is recorded; IAM's are in us-east-1.
	if e["account"] != target || e["region"] != east || e["source"] != "aws.iam" || e["detail-type"] != "AWS API Call via CloudTrail" || e["version"] != "0" ||
		e["time"] != rec["eventTime"] || e["id"] == "" || len(e["resources"].([]any)) != 0 || pretty(e["detail"]) != pretty(rec) {
		t.Errorf("event %s of record %s", pretty(e), pretty(rec))
	}
	for _, alert := range cloud.AlertNames() {
		b.clock.add(2 * time.Second)
		if got := b.rang(alert); (alert == "permissions-changed" || alert == "privileged-activity") != (len(got) == 1) {
			t.Errorf("%s: %d messages", alert, len(got))
		}
	}
}

// Every seeded rule is one that fires on something, in the region where it happens.
func TestEveryAlertRings(t *testing.T) {
	b := start(t)
	cfg := b.root(target, west)
	ctx := t.Context()
	fixtures := cloud.Fixtures(target, west)
	do := func(_ any, err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	createRole(t, cfg, "r1")
	do(ec2.NewFromConfig(cfg).AuthorizeSecurityGroupIngress(ctx, &ec2.AuthorizeSecurityGroupIngressInput{
		GroupId: aws.String(fixtures["security_group"]), IpPermissions: []ec2types.IpPermission{{IpProtocol: aws.String("tcp"), FromPort: aws.Int32(22), ToPort: aws.Int32(22),
			IpRanges: []ec2types.IpRange{{CidrIp: aws.String("192.0.2.1/32")}}}},
	}))
	do(kms.NewFromConfig(cfg).DisableKey(ctx, &kms.DisableKeyInput{KeyId: aws.String(fixtures["kms_key"])}))
	do(cloudtrail.NewFromConfig(cfg).StopLogging(ctx, &cloudtrail.StopLoggingInput{Name: aws.String("auditcanary-decoy")}))
	do(s3of(cfg).PutBucketPolicy(ctx, &s3.PutBucketPolicyInput{Bucket: aws.String(fixtures["bucket"]), Policy: aws.String(
		`{"Version":"2012-10-17","Statement":[{"Effect":"Deny","Principal":"*","Action":"s3:GetObject","Resource":"arn:aws:s3:::` + fixtures["bucket"] + `/*"}]}`)}))
	do(s3of(cfg).DeleteBucketLifecycle(ctx, &s3.DeleteBucketLifecycleInput{Bucket: aws.String(fixtures["bucket"])}))
	do(eventbridge.NewFromConfig(cfg).PutRule(ctx, &eventbridge.PutRuleInput{Name: aws.String("x"), EventPattern: aws.String(`{"source":["none"]}`)}))
	do(sts.NewFromConfig(b.injector(target, west, "")).AssumeRole(ctx, &sts.AssumeRoleInput{
		RoleArn: aws.String("arn:aws:iam::" + target + ":role/auditcanary-break-glass"), RoleSessionName: aws.String("auditcanary-bg"), SourceIdentity: aws.String("auditcanary"),
	}))
	_, err := cloudtrail.NewFromConfig(cfg).StopLogging(ctx, &cloudtrail.StopLoggingInput{Name: aws.String("auditcanary-locked")})
	wantCode(t, err, "AccessDeniedException")
	b.clock.add(2 * time.Minute)
	for alert, want := range map[string]string{
		"permissions-changed": "CreateRole us-east-1", "network-changed": "AuthorizeSecurityGroupIngress eu-west-1", "keys-changed": "DisableKey eu-west-1",
		"logging-tampered": "StopLogging eu-west-1, PutRule eu-west-1", "backup-tampered": "DeleteBucketLifecycle eu-west-1",
		"security-tooling-changed": "PutRule eu-west-1", "break-glass-used": "AssumeRole eu-west-1", "tampering-refused": "StopLogging eu-west-1",
		"privileged-activity": "8 in all",
	} {
		var all []string
		for _, e := range b.events(alert) {
			all = append(all, fmt.Sprint(at(e, "detail", "eventName"), " ", e["region"]))
		}
		got := strings.Join(all, ", ")
		if alert == "privileged-activity" {
			got = fmt.Sprint(len(all), " in all")
		}
		ok := got == want
		for _, one := range strings.Split(want, ", ") { // they come as they come
			ok = ok || len(got) == len(want) && strings.Contains(got, one)
		}
		if !ok {
			t.Errorf("%s: %s, want %s", alert, got, want)
		}
	}
	// One rule makes a text of its own of it.
	rec, told := b.last("PutBucketPolicy"), b.events("storage-opened")
	if len(told) != 1 || told[0]["title"] != "Storage was opened: PutBucketPolicy by arn:aws:iam::"+target+":root" || told[0]["rule"] != "storage-opened" ||
		told[0]["account"] != target || told[0]["eventID"] != rec["eventID"] || told[0]["requestID"] != rec["requestID"] {
		t.Errorf("told %s", pretty(told))
	}
	// And one topic hands on what it gets as it is.
	b.clock.add(2 * time.Second)
	if got := b.rang("keys-changed"); len(got) != 1 || strings.Contains(*got[0].Body, "Notification") {
		t.Errorf("raw: %s", pretty(got))
	}
}

// Each of these is a way in which an alert that everybody believes in does not ring.
func TestWhatKeepsAnAlertFromRinging(t *testing.T) {
	security := func(b *box) *eventbridge.Client {
		return eventbridge.NewFromConfig(b.root(cloud.ManagementAccount, east))
	}
	topic := aws.String("arn:aws:sns:us-east-1:" + cloud.ManagementAccount + ":security-permissions-changed")
	tap := func(t *testing.T, b *box) *string {
		out, err := sns.NewFromConfig(b.root(cloud.ManagementAccount, east)).ListSubscriptionsByTopic(t.Context(), &sns.ListSubscriptionsByTopicInput{TopicArn: topic})
		if err != nil {
			t.Fatal(err)
		}
		for _, s := range out.Subscriptions {
			if *s.Protocol == "sqs" {
				return s.SubscriptionArn
			}
		}
		t.Fatal("the tap is not subscribed")
		return nil
	}
	rule, bus := aws.String("permissions-changed"), aws.String(cloud.SecurityBus)
	filter := func(t *testing.T, b *box, scope, policy string) error {
		c, sub := sns.NewFromConfig(b.root(cloud.ManagementAccount, east)), tap(t, b)
		_, err := c.SetSubscriptionAttributes(t.Context(), &sns.SetSubscriptionAttributesInput{SubscriptionArn: sub, AttributeName: aws.String("FilterPolicyScope"), AttributeValue: &scope})
		if err == nil {
			_, err = c.SetSubscriptionAttributes(t.Context(), &sns.SetSubscriptionAttributesInput{SubscriptionArn: sub, AttributeName: aws.String("FilterPolicy"), AttributeValue: &policy})
		}
		return err
	}
	for name, tc := range map[string]struct {
		what  func(t *testing.T, b *box) error
		rings bool
	}{
		"nothing": {func(*testing.T, *box) error { return nil }, true},
		"the rule is disabled": {func(t *testing.T, b *box) error {
			_, err := security(b).DisableRule(t.Context(), &eventbridge.DisableRuleInput{Name: rule, EventBusName: bus})
			return err
		}, false},
		"its targets are removed": {func(t *testing.T, b *box) error {
			_, err := security(b).RemoveTargets(t.Context(), &eventbridge.RemoveTargetsInput{Rule: rule, EventBusName: bus, Ids: []string{"alert"}})
			return err
		}, false},
		"its pattern is narrowed": {func(t *testing.T, b *box) error {
			_, err := security(b).PutRule(t.Context(), &eventbridge.PutRuleInput{Name: rule, EventBusName: bus, EventPattern: aws.String(`{"account":["` + other + `"]}`)})
			return err
		}, false},
		"another rule's pattern is narrowed": {func(t *testing.T, b *box) error {
			_, err := security(b).PutRule(t.Context(), &eventbridge.PutRuleInput{Name: rule, EventPattern: aws.String(`{"account":["` + other + `"]}`)}) // the default bus
			return err
		}, true},
		"the account forwards nothing": {func(t *testing.T, b *box) error {
			_, err := eventbridge.NewFromConfig(b.root(target, east)).DisableRule(t.Context(), &eventbridge.DisableRuleInput{Name: aws.String(cloud.ForwardRule)})
			return err
		}, false},
		"another region forwards nothing": {func(t *testing.T, b *box) error {
			_, err := eventbridge.NewFromConfig(b.root(target, west)).DisableRule(t.Context(), &eventbridge.DisableRuleInput{Name: aws.String(cloud.ForwardRule)})
			return err
		}, true},
		"the topic is gone": {func(t *testing.T, b *box) error {
			_, err := sns.NewFromConfig(b.root(cloud.ManagementAccount, east)).DeleteTopic(t.Context(), &sns.DeleteTopicInput{TopicArn: topic})
			return err
		}, false},
		"the subscription is gone": {func(t *testing.T, b *box) error {
			_, err := sns.NewFromConfig(b.root(cloud.ManagementAccount, east)).Unsubscribe(t.Context(), &sns.UnsubscribeInput{SubscriptionArn: tap(t, b)})
			return err
		}, false},
		// EventBridge gives its messages no attributes.
		"a filter on attributes":            {func(t *testing.T, b *box) error { return filter(t, b, "MessageAttributes", `{"source":["aws.iam"]}`) }, false},
		"a filter on the body":              {func(t *testing.T, b *box) error { return filter(t, b, "MessageBody", `{"source":["aws.kms"]}`) }, false},
		"a filter on the body that lets by": {func(t *testing.T, b *box) error { return filter(t, b, "MessageBody", `{"source":["aws.iam"]}`) }, true},
		"the trail is stopped": {func(t *testing.T, b *box) error {
			_, err := cloudtrail.NewFromConfig(b.root(cloud.ManagementAccount, east)).StopLogging(t.Context(), &cloudtrail.StopLoggingInput{Name: aws.String(cloud.TrailName)})
			return err
		}, false},
	} {
		t.Run(name, func(t *testing.T) {
			b := start(t)
			if err := tc.what(t, b); err != nil {
				t.Fatal(err)
			}
			createRole(t, b.root(target, east), "r1")
			b.clock.add(2 * time.Minute)
			if got := b.rang("permissions-changed"); (len(got) == 1) != tc.rings {
				t.Errorf("%d messages", len(got))
			}
		})
	}
}

func TestAPlainRuleDoesNotSeeReads(t *testing.T) {
	b := start(t)
	c := eventbridge.NewFromConfig(b.root(cloud.ManagementAccount, east))
	use := func() int {
		t.Helper()
		if _, err := sts.NewFromConfig(b.injector(target, east, "")).AssumeRole(t.Context(), &sts.AssumeRoleInput{
			RoleArn: aws.String("arn:aws:iam::" + target + ":role/auditcanary-break-glass"), RoleSessionName: aws.String("auditcanary-bg"), SourceIdentity: aws.String("auditcanary"),
		}); err != nil {
			t.Fatal(err)
		}
		b.clock.add(2 * time.Minute)
		return len(b.rang("break-glass-used"))
	}
	if n := use(); n != 1 {
		t.Fatalf("seen %d times", n)
	}
	b.clock.add(14 * 24 * time.Hour) // the queue keeps it no longer
	if _, err := c.EnableRule(t.Context(), &eventbridge.EnableRuleInput{Name: aws.String("break-glass-used"), EventBusName: aws.String(cloud.SecurityBus)}); err != nil {
		t.Fatal(err)
	}
	if n := use(); n != 0 {
		t.Errorf("a plain rule saw a read %d times", n)
	}
	// Nor does a plain rule on the way.
	if _, err := c.PutRule(t.Context(), &eventbridge.PutRuleInput{Name: aws.String("break-glass-used"), EventBusName: aws.String(cloud.SecurityBus),
		State: eventtypes.RuleStateEnabledWithAllCloudtrailManagementEvents, EventPattern: aws.String(`{"detail":{"eventName":["AssumeRole"]}}`)}); err != nil {
		t.Fatal(err)
	}
	if n := use(); n == 0 {
		t.Error("not seen again")
	}
	b.clock.add(15 * 24 * time.Hour)
	for _, region := range cloud.Regions() {
		if _, err := eventbridge.NewFromConfig(b.root(target, region)).EnableRule(t.Context(), &eventbridge.EnableRuleInput{Name: aws.String(cloud.ForwardRule)}); err != nil {
			t.Fatal(err)
		}
	}
	if n := use(); n != 0 {
		t.Errorf("a plain rule forwarded a read %d times", n)
	}
}

// The same calls in the same order ring at the same times.
func TestAlertsComeAtTheSameTimes(t *testing.T) {
	var first []time.Duration
	for range 2 {
		b := start(t)
		begin := b.clock.Now()
		var took []time.Duration
		for i := range 5 {
			createRole(t, b.root(target, east), fmt.Sprint("r", i))
		}
		for range 600 {
			b.clock.add(100 * time.Millisecond)
			next := b.cloud.CatchUp()
			if len(took) == 0 || next.Sub(begin) != took[len(took)-1] {
				took = append(took, next.Sub(begin))
			}
		}
		if first == nil {
			first = took
		} else if fmt.Sprint(first) != fmt.Sprint(took) {
			t.Errorf("%v, then %v", first, took)
		}
	}
	if len(first) < 20 {
		t.Errorf("only %d things happened", len(first))
	}
}

func TestFaultsStrikeAlerts(t *testing.T) {
	for name, tc := range map[string]struct {
		do   string
		want string // how many, and what the last says
	}{
		"drop":      {"drop: true", "0"},
		"duplicate": {"duplicate: 2", "3 CreateRole"},
		"delay":     {"delay: 20m", "0"},
		"unset":     {"unset: [detail.eventName]", "1 <nil>"},
		"set":       {"set: {detail.eventName: Other}", "1 Other"},
	} {
		t.Run(name, func(t *testing.T) {
			b := start(t, withFaults(t, `
faults:
  - name: f
    at: alert
    match: 'it.alert == "permissions-changed" && it.bus == "security" && it.account == "100000000001" && it.event.detail.eventName == "CreateRole" && it.message.contains("CreateRole") && it.target.endsWith("permissions-changed")'
    do: {`+tc.do+`}
`))
			createRole(t, b.root(target, east), "r1")
			b.clock.add(2 * time.Minute)
			all := b.events("permissions-changed")
			got := fmt.Sprint(len(all))
			if len(all) > 0 {
				got += " " + fmt.Sprint(at(all[0], "detail", "eventName"))
			}
			if got != tc.want {
				t.Errorf("%s, want %s", got, tc.want)
			}
			b.clock.add(20 * time.Minute)
			if all := b.events("permissions-changed"); name == "delay" && len(all) != 1 {
				t.Errorf("late: %d", len(all))
			}
			if all := b.events("privileged-activity"); len(all) != 1 || at(all[0], "detail", "eventName") != "CreateRole" {
				t.Errorf("another alert was struck: %s", pretty(all))
			}
		})
	}
}
