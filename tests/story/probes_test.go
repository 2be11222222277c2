package story

import (
	"maps"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/backup"
	"github.com/aws/aws-sdk-go-v2/service/cloudtrail"
	cttypes "github.com/aws/aws-sdk-go-v2/service/cloudtrail/types"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatchlogs"
	"github.com/aws/aws-sdk-go-v2/service/eventbridge"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	s3types "github.com/aws/aws-sdk-go-v2/service/s3/types"

	"github.com/auditcanary/auditcanary/shared/canary"
	"github.com/auditcanary/auditcanary/shared/run"
	"github.com/auditcanary/auditcanary/tests/sandbox/cloud"
)

// probed is where the probes of these stories run.
const probed, probedRegion = "111122223333", "eu-west-1"

// prober drives the real program's tamper probes against a sandbox that is changed
// under them.
type prober struct {
	*testing.T
	sb *sandbox
}

func newProber(t *testing.T) *prober {
	dir := t.TempDir()
	sb, err := startSandbox(filepath.Join(dir, "log"), "-listen", "127.0.0.1:0", "-data", filepath.Join(dir, "data"), "-speed", "0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if log := sb.stop(); t.Failed() {
			t.Log(log)
		}
	})
	return &prober{t, sb}
}

// root is a configuration of an account's root user.
func (p *prober) root(account, region string) aws.Config {
	k := cloud.WorldRootKey(account)
	return aws.Config{Region: region, BaseEndpoint: aws.String(p.sb.Env["AWS_ENDPOINT_URL"]), Credentials: credentials.NewStaticCredentialsProvider(k.ID, k.Secret, "")}
}

func (p *prober) s3() *s3.Client {
	return s3.NewFromConfig(p.root(probed, probedRegion), func(o *s3.Options) { o.UsePathStyle = true })
}

func (p *prober) must(_ any, err error) {
	p.Helper()
	if err != nil {
		p.Fatal(err)
	}
}

func (p *prober) lift(sids ...string) {
	p.Helper()
	for _, sid := range sids {
		p.must(nil, p.sb.admin(http.MethodPost, "lift", `{"sid": "`+sid+`"}`, nil))
	}
}

// inject runs the probes, lets the hour of their records pass if there is anything to
// wait for, and returns what is said of each.
func (p *prober) inject(confirm bool, scenarios ...string) map[string]run.Line {
	p.Helper()
	p.must(nil, p.sb.admin(http.MethodPut, "faults", "faults: []\n", nil)) // counts calls anew
	args := []string{"inject", "--json", "--target", probed + "/" + probedRegion}
	for _, s := range scenarios {
		args = append(args, "--scenario", "aws/"+s)
	}
	var s run.Summary
	auditcanary(p.T, p.sb, &s, args...)
	if confirm {
		p.must(nil, p.sb.admin(http.MethodPost, "time", `{"advance": "70m"}`, nil))
		auditcanary(p.T, p.sb, &s, "confirm", "--json")
	}
	out := map[string]run.Line{}
	for _, l := range s.Canaries {
		out[strings.TrimPrefix(l.Scenario, "aws/")] = l
	}
	return out
}

// attempted are the calls of canaries since the last inject that would change something.
func (p *prober) attempted() (out []string) {
	p.Helper()
	var calls []cloud.CallLog
	p.must(nil, p.sb.admin(http.MethodGet, "calls", "", &calls))
	for _, c := range calls {
		if c.Mutating && strings.Contains(c.Principal, ":assumed-role/") {
			out = append(out, c.Service+":"+c.Operation)
		}
	}
	return out
}

func (p *prober) changes() []cloud.Change {
	p.Helper()
	var state struct{ Changes []cloud.Change }
	p.must(nil, p.sb.admin(http.MethodGet, "state", "", &state))
	return state.Changes
}

// claim is what must be said of one probe.
type claim struct {
	status canary.Status
	detail string
}

func (p *prober) hold(lines map[string]run.Line, want map[string]claim) {
	p.Helper()
	for _, name := range slices.Sorted(maps.Keys(want)) {
		l, there := lines[name]
		a := l.Checks[canary.Injected]
		if w := want[name]; !there || a.Status != w.status || !strings.Contains(a.Detail, w.detail) {
			p.Errorf("%s: %s %q, want %s %q", name, a.Status, a.Detail, w.status, w.detail)
		}
	}
	for name := range lines {
		if _, said := want[name]; !said {
			p.Errorf("%s ran, and nothing is said of it", name)
		}
	}
}

var probes = []string{
	"backup-recovery-point-denied", "cloudtrail-remote-delete-denied", "cloudtrail-put-event-selectors-denied", "cloudtrail-stop-logging-denied",
	"cloudtrail-remote-stop-denied", "cloudtrail-organization-stop-denied", "events-disable-rule-denied", "kms-pending-deletion-denied",
	"logs-delete-group-denied", "s3-locked-delete-denied", "s3-lifecycle-denied", "s3-bucket-policy-denied",
	"s3-object-lock-denied", "s3-retention-denied", "iam-boundary-removal-denied",
}

// TestALiftedProtectionFailsAndNothingIsHarmed: nothing denies the calls any more.
// What has a second protection is still refused, and everything else fails; but nothing
// is lost, and what was changed is put back.
func TestALiftedProtectionFailsAndNothingIsHarmed(t *testing.T) {
	t.Parallel()
	p := newProber(t)
	p.lift("ProtectTrails", "ProtectLockedBuckets", "ProtectKeys", "ProtectRecoveryPoints", "ProtectRules", "ProtectBoundaries")
	lines := p.inject(false, probes...)
	const allowed, nothing = "was allowed, and had to be denied", "was not denied, it only came to nothing"
	p.hold(lines, map[string]claim{
		"backup-recovery-point-denied":          {canary.Pass, ""}, // by the vault's lock
		"cloudtrail-remote-delete-denied":       {canary.Fail, nothing + " (InvalidHomeRegionException"},
		"cloudtrail-put-event-selectors-denied": {canary.Fail, allowed},
		"cloudtrail-stop-logging-denied":        {canary.Fail, allowed + ": the protection is missing; changed between the two looks: of the reply of cloudtrail:GetTrailStatus, IsLogging was true and is false"},
		"cloudtrail-remote-stop-denied":         {canary.Fail, nothing + " (InvalidHomeRegionException"},
		"cloudtrail-organization-stop-denied":   {canary.Pass, ""}, // by being another account's
		"events-disable-rule-denied":            {canary.Fail, "changed between the two looks: of the reply of events:DescribeRule, State was \"ENABLED\" and is \"DISABLED\""},
		"iam-boundary-removal-denied":           {canary.Fail, "Role.PermissionsBoundary was {"},
		"kms-pending-deletion-denied":           {canary.Fail, nothing + " (KMSInvalidStateException"},
		"logs-delete-group-denied":              {canary.Pass, ""}, // by its deletion protection
		"s3-locked-delete-denied":               {canary.Pass, ""}, // by Object Lock
		"s3-lifecycle-denied":                   {canary.Fail, allowed},
		"s3-bucket-policy-denied":               {canary.Fail, allowed},
		"s3-object-lock-denied":                 {canary.Fail, allowed},
		"s3-retention-denied":                   {canary.Pass, ""}, // by Object Lock
	})
	if left := p.changes(); len(left) != 0 {
		t.Errorf("harmed: %+v", left)
	}
	for name, l := range lines {
		if a := l.Checks[canary.Cleaned]; a.Status != canary.Pass {
			t.Errorf("%s: cleaned %+v", name, a)
		}
	}
}

// TestWhatIsNotProtectedIsNotAttempted: the protections themselves are gone. That is the
// failure, and not one attempt is made.
func TestWhatIsNotProtectedIsNotAttempted(t *testing.T) {
	t.Parallel()
	p := newProber(t)
	ctx := t.Context()
	bucket, key := cloud.LockedBucket(probed, probedRegion), cloud.LockedObject
	fixtures := cloud.Fixtures(probed, probedRegion)

	// A delete marker is no deletion: the locked version is still there, and still locked.
	p.must(p.s3().DeleteObject(ctx, &s3.DeleteObjectInput{Bucket: &bucket, Key: aws.String(key)}))
	p.hold(p.inject(false, "s3-locked-delete-denied", "s3-retention-denied"), map[string]claim{
		"s3-locked-delete-denied": {canary.Pass, ""}, "s3-retention-denied": {canary.Pass, ""},
	})

	p.lift("ProtectTrails", "ProtectLockedBuckets", "ProtectKeys", "ProtectRecoveryPoints", "ProtectRules", "ProtectBoundaries")
	here, home := p.root(probed, probedRegion), p.root(probed, "us-east-1")
	p.must(cloudtrail.NewFromConfig(here).StopLogging(ctx, &cloudtrail.StopLoggingInput{Name: aws.String(fixtures["locked_trail"])}))
	p.must(cloudtrail.NewFromConfig(home).StopLogging(ctx, &cloudtrail.StopLoggingInput{Name: aws.String(fixtures["multi_region_trail_arn"])}))
	p.must(eventbridge.NewFromConfig(here).DisableRule(ctx, &eventbridge.DisableRuleInput{Name: aws.String(fixtures["locked_rule"])}))
	p.must(iam.NewFromConfig(home).DeleteRolePermissionsBoundary(ctx, &iam.DeleteRolePermissionsBoundaryInput{RoleName: aws.String("auditcanary-locked")}))
	p.must(kms.NewFromConfig(here).CancelKeyDeletion(ctx, &kms.CancelKeyDeletionInput{KeyId: aws.String(fixtures["pending_key"])}))
	p.must(cloudwatchlogs.NewFromConfig(here).PutLogGroupDeletionProtection(ctx, &cloudwatchlogs.PutLogGroupDeletionProtectionInput{LogGroupIdentifier: aws.String(fixtures["protected_log_group"]), DeletionProtectionEnabled: aws.Bool(false)}))
	p.must(backup.NewFromConfig(here).DeleteBackupVaultLockConfiguration(ctx, &backup.DeleteBackupVaultLockConfigurationInput{BackupVaultName: aws.String(fixtures["locked_vault"])}))
	// The default retention is taken away, and what is stored after that is not locked.
	p.must(p.s3().PutObjectLockConfiguration(ctx, &s3.PutObjectLockConfigurationInput{Bucket: &bucket, ObjectLockConfiguration: &s3types.ObjectLockConfiguration{ObjectLockEnabled: s3types.ObjectLockEnabledEnabled}}))
	p.must(p.s3().PutObject(ctx, &s3.PutObjectInput{Bucket: &bucket, Key: aws.String(key), Body: strings.NewReader("not locked")}))
	p.must(p.s3().DeleteBucketPolicy(ctx, &s3.DeleteBucketPolicyInput{Bucket: &bucket}))
	p.must(cloudtrail.NewFromConfig(p.root(cloud.ManagementAccount, "us-east-1")).StopLogging(ctx, &cloudtrail.StopLoggingInput{Name: aws.String(cloud.TrailName)}))

	still := slices.DeleteFunc(slices.Clone(probes), func(s string) bool { // their documents are there, and the same
		return s == "s3-lifecycle-denied" || s == "cloudtrail-put-event-selectors-denied"
	})
	const absent = "the protection is absent: "
	p.hold(p.inject(false, still...), map[string]claim{
		"backup-recovery-point-denied":        {canary.Fail, absent + "of the reply of backup:DescribeBackupVault, reply.Locked does not hold"},
		"cloudtrail-remote-delete-denied":     {canary.Fail, absent + "of the reply of cloudtrail:GetTrailStatus"},
		"cloudtrail-stop-logging-denied":      {canary.Fail, absent + "of the reply of cloudtrail:GetTrailStatus"},
		"cloudtrail-remote-stop-denied":       {canary.Fail, absent + "of the reply of cloudtrail:GetTrailStatus"},
		"cloudtrail-organization-stop-denied": {canary.Fail, absent + "of the reply of cloudtrail:GetTrailStatus"},
		"events-disable-rule-denied":          {canary.Fail, absent + "of the reply of events:DescribeRule"},
		"iam-boundary-removal-denied":         {canary.Fail, absent + "of the reply of iam:GetRole"},
		"kms-pending-deletion-denied":         {canary.Inconclusive, "the attempt would not be harmless: of the reply of kms:DescribeKey"},
		"logs-delete-group-denied":            {canary.Fail, absent + "of the reply of logs:DescribeLogGroups"},
		"s3-locked-delete-denied":             {canary.Fail, absent + "s3:GetObjectRetention says that there is none (NoSuchObjectLockConfiguration); s3:DeleteObject was not attempted"},
		"s3-bucket-policy-denied":             {canary.Inconclusive, "s3:GetBucketPolicy says that there is none (NoSuchBucketPolicy)"},
		"s3-object-lock-denied":               {canary.Fail, absent + "of the reply of s3:GetObjectLockConfiguration"},
		"s3-retention-denied":                 {canary.Fail, absent + "s3:GetObjectRetention says that there is none"},
	})
	if did := p.attempted(); len(did) != 0 {
		t.Errorf("attempted all the same: %v", did)
	}
}

// TestADataEventThatNoTrailSelectsIsMissingAndNobodyClaimsToKnowWhy: the event history
// has no data events, so that it cannot tell whether one was emitted.
func TestADataEventThatNoTrailSelectsIsMissingAndNobodyClaimsToKnowWhy(t *testing.T) {
	t.Parallel()
	p := newProber(t)
	p.must(cloudtrail.NewFromConfig(p.root(cloud.ManagementAccount, "us-east-1")).PutEventSelectors(t.Context(), &cloudtrail.PutEventSelectorsInput{
		TrailName: aws.String(cloud.TrailName), AdvancedEventSelectors: []cttypes.AdvancedEventSelector{{
			FieldSelectors: []cttypes.AdvancedFieldSelector{{Field: aws.String("eventCategory"), Equals: []string{"Management"}}},
		}},
	}))
	lines := p.inject(true, "s3-locked-delete-denied", "s3-bucket-policy-denied")
	if a := lines["s3-bucket-policy-denied"].Checks[canary.Surfaced]; a.Status != canary.Pass {
		t.Errorf("the record of a management event: %+v", a)
	}
	a := lines["s3-locked-delete-denied"].Checks[canary.Surfaced]
	if a.Status != canary.Fail || a.Hop != "" || !strings.Contains(a.Detail, "where it was lost is unknown: it is a data event") || strings.Contains(a.Detail, "did not emit it") {
		t.Errorf("surfaced %+v", a)
	}
	var calls []cloud.CallLog
	p.must(nil, p.sb.admin(http.MethodGet, "calls", "", &calls))
	if slices.ContainsFunc(calls, func(c cloud.CallLog) bool { return c.Operation == "LookupEvents" }) {
		t.Error("the event history was asked of what it cannot have")
	}
}
