package cloud_test

import (
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/backup"
	"github.com/aws/aws-sdk-go-v2/service/cloudtrail"
	cttypes "github.com/aws/aws-sdk-go-v2/service/cloudtrail/types"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatchlogs"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/organizations"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"github.com/auditcanary/auditcanary/tests/sandbox/cloud"
)

// Data events are recorded where the organisation's trail selects them, in their own
// shape (shared/event/testdata/umccr/1_06.json is a real one), and never in the history.
func TestDataEventsAreRecordedWhereTheyAreSelected(t *testing.T) {
	b := start(t, backend)
	ctx, client := t.Context(), s3of(b.root(target, west))
	locked, key := cloud.LockedBucket(target, west), cloud.LockedObject
	drop := func(bucket string) {
		_, err := client.DeleteObject(ctx, &s3.DeleteObjectInput{Bucket: &bucket, Key: aws.String(key), VersionId: aws.String("v1")})
		if err != nil {
			t.Fatal(err)
		}
	}
	drop(cloud.Fixtures(target, west)["bucket"]) // not selected
	if n := len(b.all("DeleteObject")); n != 0 {
		t.Fatalf("%d records of what nobody selects", n)
	}
	drop(locked)
	rec := b.last("DeleteObject")
	resources, _ := rec["resources"].([]any)
	if rec["eventCategory"] != "Data" || rec["managementEvent"] != false || rec["readOnly"] != false || len(resources) != 2 ||
		at(resources[0], "ARN") != "arn:aws:s3:::"+locked+"/"+key || at(resources[1], "accountId") != target ||
		at(rec, "requestParameters", "key") != key || at(rec, "requestParameters", "versionId") != "v1" || at(rec, "requestParameters", "bucketName") != locked {
		t.Errorf("record %s", pretty(rec))
	}
	seen, err := cloudtrail.NewFromConfig(b.root(target, west)).LookupEvents(ctx, &cloudtrail.LookupEventsInput{LookupAttributes: []cttypes.LookupAttribute{
		{AttributeKey: cttypes.LookupAttributeKeyEventName, AttributeValue: aws.String("DeleteObject")},
	}})
	if err != nil || len(seen.Events) != 0 {
		t.Errorf("the event history has data events: %s %v", pretty(seen), err)
	}
	// Whoever changes the selectors decides what is recorded from then on.
	field := func(name string, equals ...string) cttypes.AdvancedFieldSelector {
		return cttypes.AdvancedFieldSelector{Field: &name, Equals: equals}
	}
	for _, tt := range []struct {
		claim  string
		fields []cttypes.AdvancedFieldSelector
		more   int
	}{
		{"management events only", []cttypes.AdvancedFieldSelector{field("eventCategory", "Management")}, 0},
		{"all objects", []cttypes.AdvancedFieldSelector{field("eventCategory", "Data"), field("resources.type", "AWS::S3::Object")}, 1},
		{"functions", []cttypes.AdvancedFieldSelector{field("eventCategory", "Data"), field("resources.type", "AWS::Lambda::Function")}, 0},
		{"another object", []cttypes.AdvancedFieldSelector{field("eventCategory", "Data"), field("resources.type", "AWS::S3::Object"), field("resources.ARN", "arn:aws:s3:::x/y")}, 0},
		{"a field that the sandbox does not read", []cttypes.AdvancedFieldSelector{field("eventCategory", "Data"), field("resources.type", "AWS::S3::Object"), field("eventName", "DeleteObject")}, 0},
	} {
		_, err := cloudtrail.NewFromConfig(b.root(cloud.ManagementAccount, east)).PutEventSelectors(ctx, &cloudtrail.PutEventSelectorsInput{
			TrailName: aws.String(cloud.TrailName), AdvancedEventSelectors: []cttypes.AdvancedEventSelector{{FieldSelectors: tt.fields}},
		})
		if err != nil {
			t.Fatal(err)
		}
		before := len(b.all("DeleteObject"))
		drop(locked)
		if n := len(b.all("DeleteObject")) - before; n != tt.more {
			t.Errorf("%s: %d more records, want %d", tt.claim, n, tt.more)
		}
	}
}

// Who may not is answered with success, and nothing is deleted; the record says so.
func TestADeniedDeletionOfARecoveryPointIsAnsweredWithSuccess(t *testing.T) {
	b := start(t)
	ctx, f := t.Context(), cloud.Fixtures(target, west)
	c := backup.NewFromConfig(b.root(target, west))
	drop := func() error {
		_, err := c.DeleteRecoveryPoint(ctx, &backup.DeleteRecoveryPointInput{BackupVaultName: aws.String(f["locked_vault"]), RecoveryPointArn: aws.String(f["locked_recovery_point"])})
		return err
	}
	there := func() bool {
		_, err := c.DescribeRecoveryPoint(ctx, &backup.DescribeRecoveryPointInput{BackupVaultName: aws.String(f["locked_vault"]), RecoveryPointArn: aws.String(f["locked_recovery_point"])})
		return err == nil
	}
	if err := drop(); err != nil || !there() {
		t.Fatalf("denied: %v, still there %v", err, there())
	}
	if rec := b.last("DeleteRecoveryPoint"); rec["errorCode"] != "AccessDenied" || rec["requestParameters"] != nil {
		t.Errorf("record %s", pretty(rec))
	}
	if !b.cloud.LiftProtection("ProtectRecoveryPoints") || b.cloud.LiftProtection("ProtectRecoveryPoints") {
		t.Fatal("the protection is not lifted exactly once")
	}
	if err := drop(); code(err) != "InvalidRequestException" || !there() {
		t.Fatalf("locked: %v, still there %v", err, there())
	}
	if _, err := c.DeleteBackupVaultLockConfiguration(ctx, &backup.DeleteBackupVaultLockConfigurationInput{BackupVaultName: aws.String(f["locked_vault"])}); err != nil {
		t.Fatal(err)
	}
	if err := drop(); err != nil || there() {
		t.Fatalf("not locked: %v, still there %v", err, there())
	}
	if len(b.cloud.Changes()) != 2 {
		t.Errorf("changes %s", pretty(b.cloud.Changes()))
	}
}

// The second reasons for which probes cannot succeed.
func TestWhatProbesCannotDoAnyway(t *testing.T) {
	b := start(t)
	for _, sid := range []string{"ProtectTrails", "ProtectKeys", "ProtectLockedBuckets"} {
		if !b.cloud.LiftProtection(sid) {
			t.Fatalf("no statement %s", sid)
		}
	}
	ctx, f := t.Context(), cloud.Fixtures(target, west)
	ct := cloudtrail.NewFromConfig(b.root(target, west))
	multi, org := aws.String(f["multi_region_trail_arn"]), aws.String(cloud.Fixtures(target, "*")["organization_trail_arn"])
	_, err := ct.StopLogging(ctx, &cloudtrail.StopLoggingInput{Name: multi})
	wantCode(t, err, "InvalidHomeRegionException")
	_, err = ct.DeleteTrail(ctx, &cloudtrail.DeleteTrailInput{Name: multi})
	wantCode(t, err, "InvalidHomeRegionException")
	_, err = ct.StopLogging(ctx, &cloudtrail.StopLoggingInput{Name: org})
	wantCode(t, err, "NotOrganizationMasterAccountException")
	_, err = kms.NewFromConfig(b.root(target, west)).ScheduleKeyDeletion(ctx, &kms.ScheduleKeyDeletionInput{KeyId: aws.String(f["pending_key"]), PendingWindowInDays: aws.Int32(30)})
	wantCode(t, err, "KMSInvalidStateException")
	_, err = cloudwatchlogs.NewFromConfig(b.root(target, west)).DeleteLogGroup(ctx, &cloudwatchlogs.DeleteLogGroupInput{LogGroupName: aws.String(f["protected_log_group"])})
	wantCode(t, err, "ValidationException")
	if len(b.cloud.Changes()) != 0 {
		t.Errorf("changes %s", pretty(b.cloud.Changes()))
	}
	// At home it can be deleted.
	if _, err := cloudtrail.NewFromConfig(b.root(target, east)).DeleteTrail(ctx, &cloudtrail.DeleteTrailInput{Name: multi}); err != nil {
		t.Fatal(err)
	}
	_, err = ct.GetTrailStatus(ctx, &cloudtrail.GetTrailStatusInput{Name: multi})
	wantCode(t, err, "TrailNotFoundException")
}

func TestOnlyTheManagementAccountAndDelegatesSeeDelegates(t *testing.T) {
	b := start(t)
	for account, want := range map[string]string{target: "AccessDeniedException", cloud.ArchiveAccount: "", cloud.ManagementAccount: ""} {
		out, err := organizations.NewFromConfig(b.root(account, east)).ListDelegatedAdministrators(t.Context(), nil)
		wantCode(t, err, want)
		if err == nil && (len(out.DelegatedAdministrators) != 1 || *out.DelegatedAdministrators[0].Id != cloud.ArchiveAccount) {
			t.Errorf("%s sees %s", account, pretty(out))
		}
		if err != nil && strings.Contains(message(err), "is not authorized to perform") {
			t.Errorf("%s: %v: that is what IAM says", account, err)
		}
	}
}
