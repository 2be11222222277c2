package cloud_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/cloudtrail"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatch"
	watchtypes "github.com/aws/aws-sdk-go-v2/service/cloudwatch/types"
	"github.com/aws/aws-sdk-go-v2/service/guardduty"
	gdtypes "github.com/aws/aws-sdk-go-v2/service/guardduty/types"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	s3types "github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/aws/aws-sdk-go-v2/service/securityhub"
	hubtypes "github.com/aws/aws-sdk-go-v2/service/securityhub/types"
	"github.com/aws/aws-sdk-go-v2/service/sts"

	drivers "github.com/auditcanary/auditcanary/shared/aws"
	"github.com/auditcanary/auditcanary/shared/canary"
	"github.com/auditcanary/auditcanary/shared/run"
	"github.com/auditcanary/auditcanary/tests/sandbox/cloud"
	"github.com/auditcanary/auditcanary/tests/sandbox/fault"
)

// The drivers, as an inspector: what it may not do, they must not need.

func (b *box) alertPlace(account, region string) drivers.AlertPlace {
	b.t.Helper()
	out, err := sts.NewFromConfig(b.runner(region)).AssumeRole(b.t.Context(), &sts.AssumeRoleInput{
		RoleArn: aws.String("arn:aws:iam::" + account + ":role/" + cloud.InspectorRole), RoleSessionName: aws.String("auditcanary"), SourceIdentity: aws.String("auditcanary-inspector"),
	})
	if err != nil {
		b.t.Fatal(err)
	}
	return drivers.AlertPlace{Alert: "tampering", Account: account, Config: b.session(out, region), Clock: b.clock.Now}
}

func (b *box) alarm(name string) run.AlertSource {
	b.t.Helper()
	a, err := drivers.NewAlarmAlerts(b.alertPlace(cloud.ManagementAccount, east), name)
	if err != nil {
		b.t.Fatal(err)
	}
	return a
}

const trailDisabled = "Stealth:IAMUser/CloudTrailLoggingDisabled"

func (b *box) guardDuty(account, region string, types ...string) run.AlertSource {
	b.t.Helper()
	g, err := drivers.NewGuardDutyAlerts(b.alertPlace(account, region), drivers.GuardDutyOptions{Types: types})
	if err != nil {
		b.t.Fatal(err)
	}
	return g
}

func (b *box) securityHub(account, region string) run.AlertSource {
	b.t.Helper()
	h, err := drivers.NewSecurityHubAlerts(b.alertPlace(account, region), drivers.SecurityHubOptions{Product: "GuardDuty"})
	if err != nil {
		b.t.Fatal(err)
	}
	return h
}

// heard listens, and wants a complete look with so many alerts.
func (b *box) heard(s run.AlertSource, since time.Time, n int) []canary.Rang {
	b.t.Helper()
	got, err := s.Listen(b.t.Context(), since)
	if err != nil {
		b.t.Fatal(err)
	}
	if len(got.Problems) > 0 || got.AsOf.IsZero() || got.AsOf.After(b.clock.Now()) || len(got.Alerts) != n {
		b.t.Fatalf("as of %s (now %s), problems %q, want %d alerts: %s", got.AsOf, b.clock.Now(), got.Problems, n, pretty(got.Alerts))
	}
	return got.Alerts
}

// stopDecoy is what the canary cloudtrail-stop-logging-decoy does.
func (b *box) stopDecoy(account, region string) {
	b.t.Helper()
	if _, err := cloudtrail.NewFromConfig(b.injector(account, region, "")).StopLogging(b.t.Context(), &cloudtrail.StopLoggingInput{Name: aws.String("auditcanary-decoy")}); err != nil {
		b.t.Fatal(err)
	}
}

// steps lets time go by, a minute at a time, with somebody looking in between.
func (b *box) steps(d time.Duration) {
	b.t.Helper()
	for ; d > 0; d -= time.Minute {
		b.clock.add(min(d, time.Minute))
		if _, err := sts.NewFromConfig(b.runner(east)).GetCallerIdentity(b.t.Context(), nil); err != nil {
			b.t.Fatal(err)
		}
	}
}

func TestAnAlarmRingsOnceAndCountsOn(t *testing.T) {
	b := start(t)
	tamper, since := b.alarm(cloud.TamperAlarm), b.clock.Now()
	b.stopDecoy(target, east)
	b.clock.add(3 * time.Minute)
	b.stopDecoy(other, west)
	b.clock.add(time.Minute)
	b.heard(tamper, since, 0) // not delivered yet

	b.clock.add(3 * time.Minute)
	first := b.heard(tamper, since, 1)[0]
	if first.Alert != "tampering" || first.Count != 1 || first.Suppressed != "" || !strings.Contains(first.Weak, "names no event") || len(first.Sessions)+len(first.RequestIDs)+len(first.EventIDs) != 0 ||
		!strings.HasSuffix(first.Rule, ":alarm:logging-tampered") || !strings.HasPrefix(first.ID, first.Rule+"@") || first.At.Before(since.Add(4*time.Minute)) || first.At.After(b.clock.Now()) || first.Since.After(first.At) || first.SHA256 == "" {
		t.Errorf("first: %s", pretty(first))
	}
	b.heard(b.alarm(cloud.NetworkAlarm), since, 0)

	// The second canary's record comes while it rings: it tells nobody anything new, and counts.
	b.clock.add(2 * time.Minute)
	second := b.heard(tamper, since, 1)[0]
	if second.ID != first.ID || !second.At.Equal(first.At) || second.Count != 2 {
		t.Errorf("second: %s", pretty(second))
	}
	// Who listens only since then hears it all the same.
	if late := b.heard(tamper, first.At.Add(time.Minute), 1)[0]; late.ID != first.ID || late.Count != 2 {
		t.Errorf("since later: %s", pretty(late))
	}
	// Back to OK, and a third: another alert.
	b.clock.add(20 * time.Minute)
	b.stopDecoy(target, west)
	b.clock.add(8 * time.Minute)
	all := b.heard(tamper, since, 2)
	if all[0].ID != first.ID || all[0].Count != 2 || all[1].ID == first.ID || all[1].Count != 1 {
		t.Errorf("all: %s", pretty(all))
	}
	b.heard(tamper, all[1].At.Add(-time.Minute), 1)
	out, err := cloudwatch.NewFromConfig(b.root(cloud.ManagementAccount, east)).DescribeAlarms(t.Context(), &cloudwatch.DescribeAlarmsInput{AlarmNames: []string{cloud.TamperAlarm}})
	if err != nil || out.MetricAlarms[0].StateValue != watchtypes.StateValueAlarm || !out.MetricAlarms[0].StateUpdatedTimestamp.UTC().Equal(all[1].At) {
		t.Errorf("%s %v", pretty(out), err)
	}
	for _, c := range b.cloud.Changes() {
		if c.Kind != "trail" {
			t.Errorf("an alarm leaves a change behind: %+v", c)
		}
	}
}

// Whether anybody looks in between must make no difference.
func TestAnAlarmRingsAtTheSameTimeWhoeverLooks(t *testing.T) {
	var at []time.Duration
	for _, wait := range []func(*box){func(b *box) { b.clock.add(30 * time.Minute) }, func(b *box) { b.steps(30 * time.Minute) }} {
		b := start(t)
		b.clock.now = b.clock.now.Truncate(time.Minute)
		since := b.clock.Now()
		b.stopDecoy(target, east)
		wait(b)
		at = append(at, b.heard(b.alarm(cloud.TamperAlarm), since, 1)[0].At.Sub(since))
		items, err := cloudwatch.NewFromConfig(b.root(cloud.ManagementAccount, east)).DescribeAlarmHistory(t.Context(), &cloudwatch.DescribeAlarmHistoryInput{AlarmName: aws.String(cloud.TamperAlarm)})
		if err != nil || len(items.AlarmHistoryItems) != 3 || *items.AlarmHistoryItems[0].HistorySummary != "Alarm updated from ALARM to OK" {
			t.Errorf("%s %v", pretty(items), err)
		}
	}
	if at[0] != at[1] || at[0] != 6*time.Minute {
		t.Errorf("after %v", at)
	}
}

func TestAnAlarmThatTellsNobodyIsSuppressed(t *testing.T) {
	for name, tt := range map[string]struct {
		quiet func(*testing.T, *cloudwatch.Client)
		says  string
	}{
		"its actions are off": {func(t *testing.T, c *cloudwatch.Client) {
			if _, err := c.DisableAlarmActions(t.Context(), &cloudwatch.DisableAlarmActionsInput{AlarmNames: []string{cloud.TamperAlarm}}); err != nil {
				t.Fatal(err)
			}
		}, "actions are disabled"},
		"a rule mutes it": {func(t *testing.T, c *cloudwatch.Client) {
			if _, err := c.PutAlarmMuteRule(t.Context(), &cloudwatch.PutAlarmMuteRuleInput{
				Name: aws.String("quiet"), MuteTargets: &watchtypes.MuteTargets{AlarmNames: []string{cloud.TamperAlarm}},
				Rule: &watchtypes.Rule{Schedule: &watchtypes.Schedule{Expression: aws.String("cron(0 0 * * ? *)"), Duration: aws.String("PT8H")}},
			}); err != nil {
				t.Fatal(err)
			}
		}, "kept back by rule arn:aws:cloudwatch:us-east-1:100000000001:alarm-mute-rule:quiet"},
	} {
		t.Run(name, func(t *testing.T) {
			b := start(t)
			since := b.clock.Now()
			tt.quiet(t, cloudwatch.NewFromConfig(b.root(cloud.ManagementAccount, east)))
			b.stopDecoy(target, east)
			b.clock.add(10 * time.Minute)
			if r := b.heard(b.alarm(cloud.TamperAlarm), since, 1)[0]; !strings.Contains(r.Suppressed, tt.says) || r.Count != 1 {
				t.Errorf("%s", pretty(r))
			}
			// What is switched on again later told nobody then.
			if _, err := cloudwatch.NewFromConfig(b.root(cloud.ManagementAccount, east)).EnableAlarmActions(t.Context(), &cloudwatch.EnableAlarmActionsInput{AlarmNames: []string{cloud.TamperAlarm}}); err != nil {
				t.Fatal(err)
			}
			if r := b.heard(b.alarm(cloud.TamperAlarm), since, 1)[0]; !strings.Contains(r.Suppressed, "no action for it") {
				t.Errorf("%s", pretty(r))
			}
		})
	}
}

func TestAnAlarmHearsOnlyWhatTheTrailDelivers(t *testing.T) {
	b := start(t)
	since := b.clock.Now()
	if _, err := cloudtrail.NewFromConfig(b.root(cloud.ManagementAccount, east)).StopLogging(t.Context(), &cloudtrail.StopLoggingInput{Name: aws.String(cloud.TrailName)}); err != nil {
		t.Fatal(err)
	}
	b.stopDecoy(target, east)
	b.clock.add(15 * time.Minute)
	b.heard(b.alarm(cloud.TamperAlarm), since, 0)
}

// dropAlerts loses the alerts of one name.
type dropAlerts struct{ alert string }

func (d dropAlerts) Fire(at string, it map[string]any) []fault.Action {
	if at != "alert" || it["alert"] != d.alert {
		return nil
	}
	return []fault.Action{{Do: fault.Do{Drop: true}}}
}

func TestFaultsStrikeAlarmsAndFindings(t *testing.T) {
	b := start(t, func(o *cloud.Options) { o.Faults = dropAlerts{cloud.TamperAlarm} })
	since := b.clock.Now()
	b.stopDecoy(target, east)
	b.clock.add(15 * time.Minute)
	b.heard(b.alarm(cloud.TamperAlarm), since, 0)
	b.heard(b.guardDuty(target, east), since, 1)
}

func TestAnAlarmThatIsNotThereIsAnError(t *testing.T) {
	b := start(t)
	_, err := b.alarm("no-such").Listen(t.Context(), b.clock.Now())
	if err == nil || !strings.Contains(err.Error(), "cloudwatch:DescribeAlarms of no-such in account 100000000001, us-east-1: there is no such alarm") {
		t.Errorf("%v", err)
	}
}

func TestAFindingIsMadeOnceAndFolds(t *testing.T) {
	b := start(t)
	b.clock.now = b.clock.now.Truncate(time.Second)
	duty, hub, since := b.guardDuty(target, west, trailDisabled), b.securityHub(target, west), b.clock.Now()
	b.stopDecoy(target, west)
	if _, err := cloudtrail.NewFromConfig(b.injector(target, west, "")).StopLogging(t.Context(), &cloudtrail.StopLoggingInput{Name: aws.String("auditcanary-locked")}); err == nil {
		t.Fatal("the locked trail was stopped")
	}
	if _, err := cloudtrail.NewFromConfig(b.injector(target, west, "")).StopLogging(t.Context(), &cloudtrail.StopLoggingInput{Name: aws.String("auditcanary-none")}); code(err) != "TrailNotFoundException" {
		t.Fatal(err)
	}
	b.clock.add(4 * time.Minute)
	b.heard(duty, since, 0)
	b.clock.add(2 * time.Minute)
	first := b.heard(duty, since, 1)[0] // of the denied call and the failed one there is none
	if first.Count != 1 || first.Rule != trailDisabled || !slices.Equal(first.Sessions, []string{"auditcanary-c1"}) || first.Suppressed != "" || !strings.Contains(first.Weak, "names no request") ||
		first.At.Before(since.Add(5*time.Minute)) || !first.Since.Equal(since.UTC().Truncate(time.Second)) {
		t.Errorf("%s", pretty(first))
	}
	b.clock.add(time.Minute)
	asff := b.heard(hub, since, 1)[0]
	if !strings.HasSuffix(asff.ID, "/finding/"+first.ID) || !slices.Equal(asff.Sessions, first.Sessions) || asff.Count != 1 || !strings.HasPrefix(asff.Rule, "TTPs/Defense Evasion/Stealth:IAMUser-CloudTrailLoggingDisabled arn:aws:guardduty:") || !asff.At.Equal(first.At) || asff.Suppressed != "" {
		t.Errorf("%s", pretty(asff))
	}

	b.stopDecoy(target, west)
	b.clock.add(10 * time.Minute)
	second := b.heard(duty, since, 1)[0]
	if second.ID != first.ID || second.Count != 2 || !second.At.After(first.At) || !second.Since.Equal(first.Since) || !strings.Contains(second.Weak, "2 are folded") {
		t.Errorf("%s", pretty(second))
	}
	b.heard(duty, second.At.Add(time.Second), 0) // nothing since
	if again := b.heard(hub, since, 1)[0]; again.ID != asff.ID || again.Count != 2 || !again.At.After(asff.At) {
		t.Errorf("%s", pretty(again))
	}

	// Another account, another region and another kind have their own.
	b.heard(b.guardDuty(target, east), since, 0)
	b.heard(b.guardDuty(other, west), since, 0)
	b.heard(b.guardDuty(target, west, "Policy:S3/BucketBlockPublicAccessDisabled"), since, 0)
	for _, c := range b.cloud.Changes() {
		if c.Kind != "trail" {
			t.Errorf("a finding leaves a change behind: %+v", c)
		}
	}
}

func TestTwoKindsOfFindings(t *testing.T) {
	b := start(t)
	since, bucket := b.clock.Now(), aws.String(cloud.Fixtures(target, east)["bucket"])
	c := s3of(b.root(target, east))
	block := func(on bool) {
		t.Helper()
		if _, err := c.PutPublicAccessBlock(t.Context(), &s3.PutPublicAccessBlockInput{Bucket: bucket, PublicAccessBlockConfiguration: &s3types.PublicAccessBlockConfiguration{
			BlockPublicAcls: aws.Bool(on), BlockPublicPolicy: aws.Bool(true), IgnorePublicAcls: aws.Bool(true), RestrictPublicBuckets: aws.Bool(true),
		}}); err != nil {
			t.Fatal(err)
		}
	}
	block(true)
	b.clock.add(6 * time.Minute)
	b.heard(b.guardDuty(target, east), since, 0)
	block(false)
	b.stopDecoy(target, east)
	b.clock.add(6 * time.Minute)
	all := b.heard(b.guardDuty(target, east), since, 2)
	rules := []string{all[0].Rule, all[1].Rule}
	slices.Sort(rules)
	if !slices.Equal(rules, []string{"Policy:S3/BucketBlockPublicAccessDisabled", trailDisabled}) {
		t.Errorf("%v", rules)
	}
}

func TestAFilterThatArchivesIsNamed(t *testing.T) {
	b := start(t)
	since := b.clock.Now()
	c := guardduty.NewFromConfig(b.root(target, west))
	for name, criteria := range map[string]map[string]gdtypes.Condition{
		"noise":  {"type": {Equals: []string{trailDisabled}}, "severity": {LessThan: aws.Int64(4)}},
		"others": {"type": {Equals: []string{"Recon:EC2/Portscan"}}},
	} {
		in := newFilter(name)
		in.Action, in.FindingCriteria = gdtypes.FilterActionArchive, &gdtypes.FindingCriteria{Criterion: criteria}
		if _, err := c.CreateFilter(t.Context(), in); err != nil {
			t.Fatal(err)
		}
	}
	b.stopDecoy(target, west)
	b.clock.add(10 * time.Minute)
	if r := b.heard(b.guardDuty(target, west), since, 1)[0]; r.Suppressed != "archived by filter noise" {
		t.Errorf("%s", pretty(r))
	}
	b.heard(b.securityHub(target, west), since, 0) // what is suppressed is not sent there

	// By a person: nobody knows whether it was seen, and the next is a finding of its own.
	b = start(t)
	since = b.clock.Now()
	c = guardduty.NewFromConfig(b.root(target, west))
	b.stopDecoy(target, west)
	b.clock.add(10 * time.Minute)
	first := b.heard(b.guardDuty(target, west), since, 1)[0]
	if _, err := c.ArchiveFindings(t.Context(), &guardduty.ArchiveFindingsInput{DetectorId: newFilter("").DetectorId, FindingIds: []string{first.ID}}); err != nil {
		t.Fatal(err)
	}
	if r := b.heard(b.guardDuty(target, west), since, 1)[0]; !strings.Contains(r.Suppressed, "by a person, or a filter that is gone") {
		t.Errorf("%s", pretty(r))
	}
	if r := b.heard(b.securityHub(target, west), since, 1)[0]; !strings.Contains(r.Suppressed, "archived in the hub") {
		t.Errorf("%s", pretty(r))
	}
	b.stopDecoy(target, west)
	b.clock.add(10 * time.Minute)
	b.heard(b.guardDuty(target, west), since, 2)
}

func TestAHubFindingThatSomebodySuppressed(t *testing.T) {
	b := start(t)
	since := b.clock.Now()
	b.stopDecoy(target, west)
	b.clock.add(10 * time.Minute)
	r := b.heard(b.securityHub(target, west), since, 1)[0]
	c := securityhub.NewFromConfig(b.root(target, west))
	product := aws.String("arn:aws:securityhub:eu-west-1::product/aws/guardduty")
	out, err := c.BatchUpdateFindings(t.Context(), &securityhub.BatchUpdateFindingsInput{
		FindingIdentifiers: []hubtypes.AwsSecurityFindingIdentifier{{Id: &r.ID, ProductArn: product}, {Id: aws.String("none"), ProductArn: product}}, Workflow: &hubtypes.WorkflowUpdate{Status: hubtypes.WorkflowStatusSuppressed},
	})
	if err != nil || len(out.ProcessedFindings) != 1 || len(out.UnprocessedFindings) != 1 {
		t.Fatalf("%s %v", pretty(out), err)
	}
	if r := b.heard(b.securityHub(target, west), since, 1)[0]; r.Suppressed != "its workflow status is SUPPRESSED" {
		t.Errorf("%s", pretty(r))
	}
	// It stays so when the finding is updated.
	b.stopDecoy(target, west)
	b.clock.add(10 * time.Minute)
	if r := b.heard(b.securityHub(target, west), since, 1)[0]; r.Suppressed == "" || r.Count != 2 {
		t.Errorf("%s", pretty(r))
	}
}

// What a product of one's own imports may name the event.
func TestAHubFindingThatNamesTheEvent(t *testing.T) {
	b := start(t)
	since, now := b.clock.Now(), b.clock.Now().UTC().Add(time.Minute).Format(time.RFC3339)
	c := securityhub.NewFromConfig(b.root(target, west))
	var all []hubtypes.AwsSecurityFinding
	for i := range 100 {
		all = append(all, hubtypes.AwsSecurityFinding{
			SchemaVersion: aws.String("2018-10-08"), Id: aws.String(fmt.Sprintf("siem/%03d", i)), ProductArn: aws.String("arn:aws:securityhub:eu-west-1:" + target + ":product/" + target + "/default"),
			GeneratorId: aws.String("siem/rule-7"), AwsAccountId: aws.String(target), CreatedAt: &now, UpdatedAt: &now, Title: aws.String("t"), Description: aws.String("by auditcanary-20261122-abc-01"),
			Resources: []hubtypes.Resource{{Type: aws.String("Other"), Id: aws.String("x")}}, Severity: &hubtypes.Severity{Label: "HIGH"}, ProductFields: map[string]string{"siem/eventID": fmt.Sprintf("e-%d", i)},
		})
	}
	for range 2 {
		out, err := c.BatchImportFindings(t.Context(), &securityhub.BatchImportFindingsInput{Findings: all})
		if err != nil || *out.SuccessCount != 100 {
			t.Fatalf("%s %v", pretty(out), err)
		}
		for i := range all {
			all[i].Id = aws.String("more/" + *all[i].Id)
		}
	}
	h, err := drivers.NewSecurityHubAlerts(b.alertPlace(target, west), drivers.SecurityHubOptions{Generators: []string{"siem/"}})
	if err != nil {
		t.Fatal(err)
	}
	b.clock.add(2 * time.Minute)
	for _, r := range b.heard(h, since, 200) { // on several pages
		if r.Weak != "" || len(r.EventIDs) != 1 || len(r.Sessions) != 1 || r.Sessions[0] != "auditcanary-20261122-abc-01" {
			t.Fatalf("%s", pretty(r))
		}
	}
}

func TestWhereNobodyLooksIsAnError(t *testing.T) {
	noSCP := func(o *cloud.Options) {
		o.World = cloud.World(o.Clock)
		o.World.SCPs = nil
	}
	b := start(t, noSCP)
	c, id := guardduty.NewFromConfig(b.root(target, west)), newFilter("").DetectorId
	fails := func(s run.AlertSource, says string) {
		t.Helper()
		got, err := s.Listen(t.Context(), b.clock.Now())
		if err == nil || !strings.Contains(err.Error(), says) || len(got.Alerts) > 0 || !got.AsOf.IsZero() {
			t.Errorf("%+v, %v, want ...%s...", got, err, says)
		}
	}
	if _, err := c.UpdateDetector(t.Context(), &guardduty.UpdateDetectorInput{DetectorId: id, Enable: aws.Bool(false)}); err != nil {
		t.Fatal(err)
	}
	fails(b.guardDuty(target, west), "the detector is DISABLED, and finds nothing: enable it")
	b.stopDecoy(target, west)
	b.clock.add(10 * time.Minute)
	if _, err := c.UpdateDetector(t.Context(), &guardduty.UpdateDetectorInput{DetectorId: id, Enable: aws.Bool(true)}); err != nil {
		t.Fatal(err)
	}
	b.heard(b.guardDuty(target, west), b.clock.Now().Add(-time.Hour), 0) // it looked at nothing then

	if _, err := c.DeleteDetector(t.Context(), &guardduty.DeleteDetectorInput{DetectorId: id}); err != nil {
		t.Fatal(err)
	}
	fails(b.guardDuty(target, west), "guardduty:ListDetectors in account 111122223333, eu-west-1: there is no detector: switch GuardDuty on")
	named, err := drivers.NewGuardDutyAlerts(b.alertPlace(target, west), drivers.GuardDutyOptions{Detector: *id})
	if err != nil {
		t.Fatal(err)
	}
	fails(named, "not owned by the current account")
	fails(b.guardDuty(cloud.ToolAccount, west), "there is no detector")
	fails(b.securityHub(cloud.ToolAccount, west), "Security Hub is not switched on there")
}
