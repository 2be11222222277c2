package cloud_test

import (
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/cloudtrail"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatch"
	watchtypes "github.com/aws/aws-sdk-go-v2/service/cloudwatch/types"
	"github.com/aws/aws-sdk-go-v2/service/eventbridge"
	eventtypes "github.com/aws/aws-sdk-go-v2/service/eventbridge/types"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	s3types "github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/aws/aws-sdk-go-v2/service/sns"
	"github.com/aws/aws-sdk-go-v2/service/sts"

	"github.com/auditcanary/auditcanary/tests/sandbox/cloud"
)

func TestASubscriptionIsListedAsWhatItIs(t *testing.T) {
	b := start(t)
	c, topic := sns.NewFromConfig(b.root(cloud.ManagementAccount, east)), aws.String(cloud.AlertTopic)
	list := func() map[string]string {
		t.Helper()
		out, err := c.ListSubscriptionsByTopic(t.Context(), &sns.ListSubscriptionsByTopicInput{TopicArn: topic})
		if err != nil {
			t.Fatal(err)
		}
		all := map[string]string{}
		for _, s := range out.Subscriptions {
			all[*s.Endpoint] = *s.SubscriptionArn
		}
		return all
	}
	if got := list(); len(got) != 1 || got[cloud.AlertEndpoint] != cloud.AlertSubscription {
		t.Errorf("at the start: %v", got)
	}
	if _, err := c.Subscribe(t.Context(), &sns.SubscribeInput{TopicArn: topic, Protocol: aws.String("email"), Endpoint: aws.String("new@example.com")}); err != nil {
		t.Fatal(err)
	}
	if got := list(); got["new@example.com"] != "PendingConfirmation" {
		t.Errorf("subscribed and not confirmed: %v", got)
	}
	of := aws.String(cloud.AlertSubscription)
	filter := func() (string, string) {
		t.Helper()
		out, err := c.GetSubscriptionAttributes(t.Context(), &sns.GetSubscriptionAttributesInput{SubscriptionArn: of})
		if err != nil {
			t.Fatal(err)
		}
		return out.Attributes["FilterPolicy"], out.Attributes["PendingConfirmation"]
	}
	set := func(policy string) error {
		_, err := c.SetSubscriptionAttributes(t.Context(), &sns.SetSubscriptionAttributesInput{SubscriptionArn: of, AttributeName: aws.String("FilterPolicy"), AttributeValue: &policy})
		return err
	}
	if f, pending := filter(); f != "" || pending != "false" {
		t.Errorf("filter %q, pending %q", f, pending)
	}
	if err := set(`{"a":["b"]}`); err != nil {
		t.Fatal(err)
	}
	if f, _ := filter(); f != `{"a":["b"]}` {
		t.Errorf("filter %q", f)
	}
	if err := set("{"); code(err) != "InvalidParameter" {
		t.Errorf("a filter policy that is no JSON: %v", err)
	}
	if _, err := c.DeleteTopic(t.Context(), &sns.DeleteTopicInput{TopicArn: topic}); err != nil {
		t.Fatal(err)
	}
	if _, err := c.ListSubscriptionsByTopic(t.Context(), &sns.ListSubscriptionsByTopicInput{TopicArn: topic}); code(err) != "NotFound" {
		t.Errorf("a topic that is gone: %v", err)
	}
	if _, err := c.Unsubscribe(t.Context(), &sns.UnsubscribeInput{SubscriptionArn: of}); code(err) != "NotFound" {
		t.Errorf("a subscription that went with it: %v", err)
	}
}

func TestAnAlarmsActionsAreSwitchedAndMuted(t *testing.T) {
	b := start(t)
	c := cloudwatch.NewFromConfig(b.root(cloud.ManagementAccount, east))
	names := []string{cloud.AlertAlarm}
	enabled := func() bool {
		t.Helper()
		out, err := c.DescribeAlarms(t.Context(), &cloudwatch.DescribeAlarmsInput{AlarmNames: names})
		if err != nil || len(out.MetricAlarms) != 1 {
			t.Fatalf("%v, %v", out, err)
		}
		a := out.MetricAlarms[0]
		if *a.AlarmName != cloud.AlertAlarm || len(a.AlarmActions) != 1 || a.AlarmActions[0] != cloud.AlertTopic || a.StateValue != watchtypes.StateValueOk {
			t.Errorf("%+v", a)
		}
		return *a.ActionsEnabled
	}
	if !enabled() {
		t.Error("disabled at the start")
	}
	if _, err := c.DisableAlarmActions(t.Context(), &cloudwatch.DisableAlarmActionsInput{AlarmNames: names}); err != nil {
		t.Fatal(err)
	}
	if enabled() {
		t.Error("still enabled")
	}
	muted := func(name string) int {
		t.Helper()
		out, err := c.ListAlarmMuteRules(t.Context(), &cloudwatch.ListAlarmMuteRulesInput{AlarmName: &name})
		if err != nil {
			t.Fatal(err)
		}
		return len(out.AlarmMuteRuleSummaries)
	}
	if _, err := c.PutAlarmMuteRule(t.Context(), &cloudwatch.PutAlarmMuteRuleInput{
		Name: aws.String("quiet"), MuteTargets: &watchtypes.MuteTargets{AlarmNames: names},
		Rule: &watchtypes.Rule{Schedule: &watchtypes.Schedule{Expression: aws.String("cron(0 0 * * ? *)"), Duration: aws.String("PT8H")}},
	}); err != nil {
		t.Fatal(err)
	}
	if muted(cloud.AlertAlarm) != 1 || muted("another") != 0 {
		t.Errorf("muted by %d rules, another by %d", muted(cloud.AlertAlarm), muted("another"))
	}
	// An error comes over this protocol too.
	if _, err := c.DeleteAlarms(t.Context(), &cloudwatch.DeleteAlarmsInput{AlarmNames: []string{"none"}}); code(err) != "ResourceNotFound" || !strings.Contains(err.Error(), "none does not exist") {
		t.Errorf("an alarm that is none: %v", err)
	}
	if _, err := c.DeleteAlarms(t.Context(), &cloudwatch.DeleteAlarmsInput{AlarmNames: names}); err != nil {
		t.Fatal(err)
	}
	if out, err := c.DescribeAlarms(t.Context(), &cloudwatch.DescribeAlarmsInput{AlarmNames: names}); err != nil || len(out.MetricAlarms) != 0 {
		t.Errorf("%v, %v", out, err)
	}
}

func TestARulesTargetsComeAndGo(t *testing.T) {
	b := start(t)
	c, rule := eventbridge.NewFromConfig(b.root(cloud.ManagementAccount, east)), aws.String(cloud.AlertRule)
	targets := func() (ids []string) {
		t.Helper()
		out, err := c.ListTargetsByRule(t.Context(), &eventbridge.ListTargetsByRuleInput{Rule: rule})
		if err != nil {
			t.Fatal(err)
		}
		for _, x := range out.Targets {
			ids = append(ids, *x.Id+" "+*x.Arn)
		}
		return ids
	}
	if got := targets(); len(got) != 1 || got[0] != "security "+cloud.AlertTopic {
		t.Errorf("at the start: %v", got)
	}
	if _, err := c.DeleteRule(t.Context(), &eventbridge.DeleteRuleInput{Name: rule}); code(err) != "ValidationException" {
		t.Errorf("a rule with targets was deleted: %v", err)
	}
	if _, err := c.PutTargets(t.Context(), &eventbridge.PutTargetsInput{Rule: rule, Targets: []eventtypes.Target{{Id: aws.String("security"), Arn: aws.String("arn:aws:sqs:us-east-1:100000000001:q")}}}); err != nil {
		t.Fatal(err)
	}
	if got := targets(); len(got) != 1 || !strings.HasSuffix(got[0], ":q") {
		t.Errorf("a target under the same id: %v", got)
	}
	if _, err := c.RemoveTargets(t.Context(), &eventbridge.RemoveTargetsInput{Rule: rule, Ids: []string{"security"}}); err != nil {
		t.Fatal(err)
	}
	if got := targets(); len(got) != 0 {
		t.Errorf("after all: %v", got)
	}
}

func TestABucketIsPublicIfAnybodyMayUnderNoCondition(t *testing.T) {
	b := start(t)
	c, name := s3.NewFromConfig(b.root(cloud.ArchiveAccount, east), func(o *s3.Options) { o.UsePathStyle = true }), aws.String(cloud.ArchiveBucket)
	for doc, want := range map[string]bool{
		`{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":"*","Action":"s3:GetObject","Resource":"arn:aws:s3:::org-trail-archive/*"}]}`:                                                                                                                                                 true,
		`{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":"*","Action":"s3:GetObject","Resource":"arn:aws:s3:::org-trail-archive/*","Condition":{"StringEquals":{"aws:PrincipalOrgID":"o-exampleorg1"}}}]}`:                                                                             false,
		`{"Version":"2012-10-17","Statement":[{"Effect":"Deny","Principal":"*","Action":"s3:DeleteObject","Resource":"arn:aws:s3:::org-trail-archive/*"},{"Effect":"Allow","Principal":{"AWS":"arn:aws:iam::999999999999:root"},"Action":"s3:GetObject","Resource":"arn:aws:s3:::org-trail-archive/*"}]}`: false,
	} {
		if _, err := c.PutBucketPolicy(t.Context(), &s3.PutBucketPolicyInput{Bucket: name, Policy: &doc}); err != nil {
			t.Fatal(err)
		}
		out, err := c.GetBucketPolicyStatus(t.Context(), &s3.GetBucketPolicyStatusInput{Bucket: name})
		if err != nil {
			t.Fatal(err)
		}
		if aws.ToBool(out.PolicyStatus.IsPublic) != want {
			t.Errorf("%s: public %v", doc, !want)
		}
	}
	// Nobody set an encryption; S3 encrypts all the same.
	out, err := c.GetBucketEncryption(t.Context(), &s3.GetBucketEncryptionInput{Bucket: name})
	if err != nil || out.ServerSideEncryptionConfiguration.Rules[0].ApplyServerSideEncryptionByDefault.SSEAlgorithm != s3types.ServerSideEncryptionAes256 {
		t.Errorf("%v, %v", out, err)
	}
	if _, err := c.GetBucketReplication(t.Context(), &s3.GetBucketReplicationInput{Bucket: name}); code(err) != "ReplicationConfigurationNotFoundError" {
		t.Errorf("a bucket without replication: %v", err)
	}
}

func TestATrailIsChangedByItsOwnerOnly(t *testing.T) {
	b := start(t)
	arn := "arn:aws:cloudtrail:us-east-1:" + cloud.ManagementAccount + ":trail/" + cloud.TrailName
	update := &cloudtrail.UpdateTrailInput{Name: &arn, EnableLogFileValidation: aws.Bool(false), S3KeyPrefix: aws.String("moved")}
	member := cloudtrail.NewFromConfig(b.root(target, east))
	if _, err := member.UpdateTrail(t.Context(), update); code(err) != "AccessDeniedException" && code(err) != "AccessDenied" {
		t.Errorf("by a member: %v", err)
	}
	owner := cloudtrail.NewFromConfig(b.root(cloud.ManagementAccount, east))
	if _, err := owner.UpdateTrail(t.Context(), update); err != nil {
		t.Fatal(err)
	}
	out, err := member.GetTrail(t.Context(), &cloudtrail.GetTrailInput{Name: &arn})
	if err != nil || *out.Trail.LogFileValidationEnabled || *out.Trail.S3KeyPrefix != "moved" || !*out.Trail.IsMultiRegionTrail {
		t.Errorf("%+v, %v", out, err)
	}
	if _, err := owner.DeleteTrail(t.Context(), &cloudtrail.DeleteTrailInput{Name: &arn}); err != nil {
		t.Fatal(err)
	}
	if _, err := member.GetTrail(t.Context(), &cloudtrail.GetTrailInput{Name: &arn}); code(err) != "TrailNotFoundException" {
		t.Errorf("a trail that is gone: %v", err)
	}
}

// The inspector looks at everything and changes nothing; and nobody comes by its
// role under another name.
func TestTheInspectorMayOnlyLook(t *testing.T) {
	b := start(t)
	assume := func(session, identity string) (*sts.AssumeRoleOutput, error) {
		return sts.NewFromConfig(b.runner(east)).AssumeRole(t.Context(), &sts.AssumeRoleInput{
			RoleArn: aws.String("arn:aws:iam::" + cloud.ManagementAccount + ":role/" + cloud.InspectorRole), RoleSessionName: &session, SourceIdentity: &identity,
		})
	}
	for _, who := range [][2]string{{"somebody", "auditcanary-inspector"}, {"auditcanary", "auditcanary"}, {"auditcanary", "mallory"}} {
		if _, err := assume(who[0], who[1]); code(err) != "AccessDenied" {
			t.Errorf("session %q, identity %q: %v", who[0], who[1], err)
		}
	}
	out, err := assume("auditcanary", "auditcanary-inspector")
	if err != nil {
		t.Fatal(err)
	}
	cfg := b.session(out, east)
	if _, err := cloudtrail.NewFromConfig(cfg).DescribeTrails(t.Context(), &cloudtrail.DescribeTrailsInput{}); err != nil {
		t.Errorf("it may not look: %v", err)
	}
	rule, alarm := aws.String(cloud.AlertRule), []string{cloud.AlertAlarm}
	for what, try := range map[string]func() error{
		"StopLogging": func() error {
			_, err := cloudtrail.NewFromConfig(cfg).StopLogging(t.Context(), &cloudtrail.StopLoggingInput{Name: aws.String(cloud.TrailName)})
			return err
		},
		"DisableRule": func() error {
			_, err := eventbridge.NewFromConfig(cfg).DisableRule(t.Context(), &eventbridge.DisableRuleInput{Name: rule})
			return err
		},
		"DisableAlarmActions": func() error {
			_, err := cloudwatch.NewFromConfig(cfg).DisableAlarmActions(t.Context(), &cloudwatch.DisableAlarmActionsInput{AlarmNames: alarm})
			return err
		},
		"DeleteTopic": func() error {
			_, err := sns.NewFromConfig(cfg).DeleteTopic(t.Context(), &sns.DeleteTopicInput{TopicArn: aws.String(cloud.AlertTopic)})
			return err
		},
	} {
		if err := try(); !strings.Contains(code(err), "AccessDenied") && code(err) != "AuthorizationError" {
			t.Errorf("%s: %v", what, err)
		}
	}
	if ch := b.cloud.Changes(); len(ch) > 0 {
		t.Errorf("changed: %+v", ch)
	}
}
