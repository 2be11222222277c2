package cloud_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/backup"
	"github.com/aws/aws-sdk-go-v2/service/eks"
	"github.com/aws/aws-sdk-go-v2/service/organizations"
	orgtypes "github.com/aws/aws-sdk-go-v2/service/organizations/types"
	"github.com/aws/aws-sdk-go-v2/service/rds"
	rdstypes "github.com/aws/aws-sdk-go-v2/service/rds/types"

	"github.com/auditcanary/auditcanary/tests/sandbox/cloud"
	"github.com/auditcanary/auditcanary/tests/sandbox/cloud/policy"
)

// permitted is a session of the injector, whose role may do everything, under an
// inline policy of these statements.
func (b *box) permitted(account, region string, statements ...string) aws.Config {
	b.t.Helper()
	if err := b.cloud.PermitInjector(account, []json.RawMessage{[]byte(`{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"*","Resource":"*"}]}`)}); err != nil {
		b.t.Fatal(err)
	}
	return b.injector(account, region, `{"Version":"2012-10-17","Statement":[`+strings.Join(statements, ",")+`]}`)
}

// unchanged fails if anything was left behind.
func (b *box) unchanged() {
	b.t.Helper()
	if changes := b.cloud.Changes(); len(changes) != 0 {
		b.t.Errorf("left behind: %s", pretty(changes))
	}
}

func newGroup(name, run string) *rds.CreateDBParameterGroupInput {
	return &rds.CreateDBParameterGroupInput{
		DBParameterGroupName: &name, DBParameterGroupFamily: aws.String("postgres17"), Description: aws.String("canary"),
		Tags: []rdstypes.Tag{{Key: aws.String("auditcanary:run"), Value: &run}, {Key: aws.String("k"), Value: aws.String("v")}},
	}
}

func TestAParameterGroupLivesAndDies(t *testing.T) {
	b := start(t)
	c, ctx := rds.NewFromConfig(b.root(target, west)), t.Context()
	out, err := c.CreateDBParameterGroup(ctx, newGroup("AuditCanary-C1", "r1"))
	if err != nil {
		t.Fatal(err)
	}
	name, arn := aws.String("auditcanary-c1"), "arn:aws:rds:eu-west-1:"+target+":pg:auditcanary-c1"
	if *out.DBParameterGroup.DBParameterGroupName != *name || *out.DBParameterGroup.DBParameterGroupArn != arn || *out.DBParameterGroup.DBParameterGroupFamily != "postgres17" {
		t.Errorf("group %s", pretty(out.DBParameterGroup))
	}
	rec := b.last("CreateDBParameterGroup")
	if rec["eventSource"] != "rds.amazonaws.com" || rec["awsRegion"] != west || at(rec, "requestParameters", "dBParameterGroupFamily") != "postgres17" ||
		at(rec, "responseElements", "dBParameterGroupArn") != arn {
		t.Errorf("record %s", pretty(rec))
	}
	if list, _ := at(rec, "requestParameters", "tags").([]any); len(list) != 2 || at(list[0], "key") != "auditcanary:run" || at(list[0], "value") != "r1" {
		t.Errorf("tags of the record %v", list)
	}
	tagged, err := c.ListTagsForResource(ctx, &rds.ListTagsForResourceInput{ResourceName: &arn})
	if err != nil || len(tagged.TagList) != 2 || *tagged.TagList[0].Value != "r1" {
		t.Errorf("tags %s %v", pretty(tagged), err)
	}
	one, err := c.DescribeDBParameterGroups(ctx, &rds.DescribeDBParameterGroupsInput{DBParameterGroupName: name})
	if err != nil || len(one.DBParameterGroups) != 1 || *one.DBParameterGroups[0].Description != "canary" {
		t.Errorf("group %s %v", pretty(one), err)
	}
	if changes := b.cloud.Changes(); len(changes) != 1 || changes[0].Kind != "rds parameter group" || changes[0].Region != west {
		t.Errorf("changes %s", pretty(changes))
	}
	_, err = c.CreateDBParameterGroup(ctx, newGroup(*name, "r2"))
	wantCode(t, err, "DBParameterGroupAlreadyExists")
	if _, err := c.DeleteDBParameterGroup(ctx, &rds.DeleteDBParameterGroupInput{DBParameterGroupName: name}); err != nil {
		t.Fatal(err)
	}
	if rec := b.last("DeleteDBParameterGroup"); at(rec, "requestParameters", "dBParameterGroupName") != *name || rec["responseElements"] != nil {
		t.Errorf("record %s", pretty(rec))
	}
	_, err = c.DeleteDBParameterGroup(ctx, &rds.DeleteDBParameterGroupInput{DBParameterGroupName: name})
	wantCode(t, err, "DBParameterGroupNotFound")
	_, err = c.ListTagsForResource(ctx, &rds.ListTagsForResourceInput{ResourceName: &arn})
	wantCode(t, err, "DBParameterGroupNotFound")
	_, err = c.DescribeDBParameterGroups(ctx, &rds.DescribeDBParameterGroupsInput{DBParameterGroupName: name})
	wantCode(t, err, "DBParameterGroupNotFound")
	b.unchanged()
}

func TestParameterGroupsAreListedInPagesUpToTheQuota(t *testing.T) {
	b := start(t)
	c, ctx := rds.NewFromConfig(b.root(target, east)), t.Context()
	for i := range 50 {
		if _, err := c.CreateDBParameterGroup(ctx, newGroup(fmt.Sprintf("g-%02d", i), "r")); err != nil {
			t.Fatal(err)
		}
	}
	_, err := c.CreateDBParameterGroup(ctx, newGroup("one-too-many", "r"))
	wantCode(t, err, "DBParameterGroupQuotaExceeded")
	var names []string
	pages := rds.NewDescribeDBParameterGroupsPaginator(c, &rds.DescribeDBParameterGroupsInput{MaxRecords: aws.Int32(20)})
	n := 0
	for ; pages.HasMorePages(); n++ {
		page, err := pages.NextPage(ctx)
		if err != nil {
			t.Fatal(err)
		}
		for _, g := range page.DBParameterGroups {
			names = append(names, *g.DBParameterGroupName)
		}
	}
	if n != 3 || len(names) != 50 || names[0] != "g-00" || names[49] != "g-49" {
		t.Errorf("%d pages: %v", n, names)
	}
	_, err = c.DescribeDBParameterGroups(ctx, &rds.DescribeDBParameterGroupsInput{MaxRecords: aws.Int32(19)})
	wantCode(t, err, "InvalidParameterValue")
}

func TestRDSRefuses(t *testing.T) {
	b := start(t)
	c, ctx := rds.NewFromConfig(b.root(target, east)), t.Context()
	for _, name := range []string{"-a", "a-", "a--b", "1a", "a_b", strings.Repeat("a", 256)} {
		_, err := c.CreateDBParameterGroup(ctx, newGroup(name, "r"))
		wantCode(t, err, "InvalidParameterValue")
	}
	in := newGroup("a", "r")
	in.DBParameterGroupFamily = aws.String("mysql3.23")
	_, err := c.CreateDBParameterGroup(ctx, in)
	wantCode(t, err, "InvalidParameterValue")
	_, err = c.DeleteDBParameterGroup(ctx, &rds.DeleteDBParameterGroupInput{DBParameterGroupName: aws.String("default.mysql8.0")})
	wantCode(t, err, "InvalidParameterValue")
	_, err = c.ListTagsForResource(ctx, &rds.ListTagsForResourceInput{ResourceName: aws.String("arn:aws:rds:eu-west-1:" + target + ":pg:a")})
	wantCode(t, err, "InvalidParameterValue")
	b.unchanged()
}

// The tag of a run is what a session's policy tells groups, vaults and entries by.
func TestAParameterGroupIsItsRuns(t *testing.T) {
	b := start(t)
	ctx := t.Context()
	arn := "arn:aws:rds:us-east-1:" + target + ":pg:auditcanary-*"
	c := rds.NewFromConfig(b.permitted(target, east,
		`{"Effect":"Allow","Action":["rds:CreateDBParameterGroup","rds:AddTagsToResource"],"Resource":"`+arn+`","Condition":{"StringLike":{"aws:RequestTag/auditcanary:run":"r1"}}}`,
		`{"Effect":"Allow","Action":"rds:DeleteDBParameterGroup","Resource":"`+arn+`","Condition":{"StringLike":{"aws:ResourceTag/auditcanary:run":"r1"}}}`))
	root := rds.NewFromConfig(b.root(target, east))
	for _, in := range []*rds.CreateDBParameterGroupInput{newGroup("auditcanary-a", "r2"), newGroup("others", "r1")} {
		_, err := c.CreateDBParameterGroup(ctx, in)
		wantCode(t, err, "AccessDenied")
	}
	if rec := b.last("CreateDBParameterGroup"); rec["errorCode"] != "AccessDenied" || rec["requestParameters"] != nil {
		t.Errorf("record %s", pretty(rec))
	}
	if _, err := c.CreateDBParameterGroup(ctx, newGroup("auditcanary-a", "r1")); err != nil {
		t.Fatal(err)
	}
	if _, err := root.CreateDBParameterGroup(ctx, newGroup("auditcanary-b", "r2")); err != nil {
		t.Fatal(err)
	}
	_, err := c.DeleteDBParameterGroup(ctx, &rds.DeleteDBParameterGroupInput{DBParameterGroupName: aws.String("auditcanary-b")})
	wantCode(t, err, "AccessDenied")
	if _, err := c.DeleteDBParameterGroup(ctx, &rds.DeleteDBParameterGroupInput{DBParameterGroupName: aws.String("auditcanary-a")}); err != nil {
		t.Fatal(err)
	}
	onlyMake := rds.NewFromConfig(b.permitted(target, east, `{"Effect":"Allow","Action":"rds:CreateDBParameterGroup","Resource":"*"}`))
	_, err = onlyMake.CreateDBParameterGroup(ctx, newGroup("auditcanary-c", "r1"))
	wantCode(t, err, "AccessDenied")
	if !strings.Contains(message(err), "rds:AddTagsToResource") {
		t.Errorf("message %q", message(err))
	}
}

// Sharing a snapshot is refused in a member account, and comes to nothing in the
// management account, which service control policies do not bind.
func TestSnapshotsAreNotShared(t *testing.T) {
	b := start(t)
	ctx, name, attribute := t.Context(), aws.String("auditcanary-c1"), aws.String("restore")
	for account, codes := range map[string][2]string{
		target:                  {"AccessDenied", "AccessDenied"},
		cloud.ManagementAccount: {"DBSnapshotNotFound", "DBClusterSnapshotNotFoundFault"},
	} {
		c := rds.NewFromConfig(b.root(account, west))
		_, err := c.ModifyDBSnapshotAttribute(ctx, &rds.ModifyDBSnapshotAttributeInput{DBSnapshotIdentifier: name, AttributeName: attribute, ValuesToAdd: []string{account}})
		wantCode(t, err, codes[0])
		_, err = c.ModifyDBClusterSnapshotAttribute(ctx, &rds.ModifyDBClusterSnapshotAttributeInput{DBClusterSnapshotIdentifier: name, AttributeName: attribute, ValuesToAdd: []string{account}})
		wantCode(t, err, codes[1])
		rec := b.last("ModifyDBClusterSnapshotAttribute")
		switch values, _ := at(rec, "requestParameters", "valuesToAdd").([]any); {
		case account == target && (rec["requestParameters"] != nil || !strings.Contains(rec["errorMessage"].(string), "with an explicit deny in a service control policy")):
			t.Errorf("record %s", pretty(rec))
		case account != target && (len(values) != 1 || values[0] != account || at(rec, "requestParameters", "dBClusterSnapshotIdentifier") != *name):
			t.Errorf("record %s", pretty(rec))
		}
	}
	b.unchanged()
}

func newVault(name, run string) *backup.CreateBackupVaultInput {
	return &backup.CreateBackupVaultInput{BackupVaultName: &name, BackupVaultTags: map[string]string{"auditcanary:run": run, "K": "v"}}
}

func TestAVaultIsMadeLockedAndDeleted(t *testing.T) {
	b := start(t)
	c, ctx, name := backup.NewFromConfig(b.root(target, west)), t.Context(), aws.String("auditcanary-c1")
	out, err := c.CreateBackupVault(ctx, newVault(*name, "r1"))
	if err != nil {
		t.Fatal(err)
	}
	arn := "arn:aws:backup:eu-west-1:" + target + ":backup-vault:auditcanary-c1"
	if *out.BackupVaultArn != arn || out.CreationDate.IsZero() {
		t.Errorf("vault %s", pretty(out))
	}
	rec := b.last("CreateBackupVault")
	if rec["eventSource"] != "backup.amazonaws.com" || at(rec, "requestParameters", "backupVaultName") != *name ||
		at(rec, "requestParameters", "backupVaultTags") != "HIDDEN_DUE_TO_SECURITY_REASONS" || at(rec, "responseElements", "backupVaultArn") != arn {
		t.Errorf("record %s", pretty(rec))
	}
	_, err = c.CreateBackupVault(ctx, newVault(*name, "r1"))
	wantCode(t, err, "AlreadyExistsException")
	tagged, err := c.ListTags(ctx, &backup.ListTagsInput{ResourceArn: &arn})
	if err != nil || tagged.Tags["auditcanary:run"] != "r1" || tagged.Tags["K"] != "v" {
		t.Errorf("tags %s %v", pretty(tagged), err)
	}

	locked := func() bool {
		t.Helper()
		all, err := c.ListBackupVaults(ctx, &backup.ListBackupVaultsInput{})
		if err != nil || len(all.BackupVaultList) != 2 { // the locked fixture comes after it
			t.Fatalf("vaults %s %v", pretty(all), err)
		}
		return *all.BackupVaultList[0].Locked
	}
	if _, err := c.PutBackupVaultLockConfiguration(ctx, &backup.PutBackupVaultLockConfigurationInput{BackupVaultName: name, MinRetentionDays: aws.Int64(1)}); err != nil {
		t.Fatal(err)
	}
	if rec := b.last("PutBackupVaultLockConfiguration"); at(rec, "requestParameters", "minRetentionDays") != 1.0 || rec["responseElements"] != nil {
		t.Errorf("record %s", pretty(rec))
	}
	if !locked() {
		t.Error("the vault is not locked")
	}
	if _, err := c.DeleteBackupVaultLockConfiguration(ctx, &backup.DeleteBackupVaultLockConfigurationInput{BackupVaultName: name}); err != nil {
		t.Fatal(err)
	}
	if locked() {
		t.Error("the vault is still locked")
	}
	if _, err := c.DeleteBackupVault(ctx, &backup.DeleteBackupVaultInput{BackupVaultName: name}); err != nil {
		t.Fatal(err)
	}
	_, err = c.DeleteBackupVault(ctx, &backup.DeleteBackupVaultInput{BackupVaultName: name})
	wantCode(t, err, "ResourceNotFoundException")
	_, err = c.DeleteBackupVaultLockConfiguration(ctx, &backup.DeleteBackupVaultLockConfigurationInput{BackupVaultName: name})
	wantCode(t, err, "ResourceNotFoundException")
	_, err = c.ListTags(ctx, &backup.ListTagsInput{ResourceArn: &arn})
	wantCode(t, err, "ResourceNotFoundException")
	b.unchanged()
}

// A lock with a day is final: what the product must never set.
func TestALockWithADayIsFinal(t *testing.T) {
	b := start(t)
	c, ctx, name := backup.NewFromConfig(b.root(target, east)), t.Context(), aws.String("v1")
	if _, err := c.CreateBackupVault(ctx, newVault(*name, "r1")); err != nil {
		t.Fatal(err)
	}
	lock := func(days int64) error {
		_, err := c.PutBackupVaultLockConfiguration(ctx, &backup.PutBackupVaultLockConfigurationInput{BackupVaultName: name, ChangeableForDays: &days, MinRetentionDays: aws.Int64(1)})
		return err
	}
	wantCode(t, lock(2), "InvalidParameterValueException")
	if err := lock(3); err != nil {
		t.Fatal(err)
	}
	wantCode(t, lock(3), "InvalidRequestException")
	_, err := c.DeleteBackupVaultLockConfiguration(ctx, &backup.DeleteBackupVaultLockConfigurationInput{BackupVaultName: name})
	wantCode(t, err, "InvalidRequestException")
}

func TestVaultsAreListedInPages(t *testing.T) {
	b := start(t)
	c, ctx := backup.NewFromConfig(b.root(target, east)), t.Context()
	for i := range 5 {
		if _, err := c.CreateBackupVault(ctx, newVault(fmt.Sprintf("v-%d", i), "r")); err != nil {
			t.Fatal(err)
		}
	}
	var names []string
	pages := backup.NewListBackupVaultsPaginator(c, &backup.ListBackupVaultsInput{MaxResults: aws.Int32(2)})
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			t.Fatal(err)
		}
		for _, v := range page.BackupVaultList {
			names = append(names, *v.BackupVaultName)
		}
	}
	if strings.Join(names, " ") != "auditcanary-locked v-0 v-1 v-2 v-3 v-4" {
		t.Errorf("vaults %v", names)
	}
	_, err := c.CreateBackupVault(ctx, newVault("v 1", "r"))
	wantCode(t, err, "InvalidParameterValueException")
}

func TestAVaultsPolicyIsEnforced(t *testing.T) {
	b := start(t)
	ctx, arn := t.Context(), "arn:aws:backup:us-east-1:"+target+":backup-vault:auditcanary-*"
	make := `{"Effect":"Allow","Action":["backup:CreateBackupVault","backup:TagResource"],"Resource":"` + arn + `","Condition":{"StringLike":{"aws:RequestTag/auditcanary:run":"r1"}}}`
	mount := `{"Effect":"Allow","Action":"backup-storage:MountCapsule","Resource":"*"}`
	via := `{"Effect":"Allow","Action":["kms:CreateGrant","kms:Decrypt","kms:DescribeKey","kms:GenerateDataKey","kms:RetireGrant"],"Resource":"arn:aws:kms:us-east-1:` + target + `:key/*","Condition":{"StringLike":{"kms:ViaService":"backup.us-east-1.amazonaws.com"}}}`
	lock := `{"Effect":"Allow","Action":"backup:PutBackupVaultLockConfiguration","Resource":"` + arn + `","Condition":{"StringLike":{"aws:ResourceTag/auditcanary:run":"r1"},"Null":{"backup:ChangeableForDays":"true"}}}`

	for lacks, statements := range map[string][]string{
		"backup:CreateBackupVault":    {mount, via},
		"backup-storage:MountCapsule": {make, via},
		"kms:CreateGrant":             {make, mount},
	} {
		_, err := backup.NewFromConfig(b.permitted(target, east, statements...)).CreateBackupVault(ctx, newVault("auditcanary-a", "r1"))
		wantCode(t, err, "AccessDeniedException")
		if !strings.Contains(message(err), "perform: "+lacks+" ") {
			t.Errorf("message %q lacks %s", message(err), lacks)
		}
	}
	if rec := b.last("CreateBackupVault"); rec["errorCode"] != "AccessDenied" || rec["requestParameters"] != nil {
		t.Errorf("record %s", pretty(rec))
	}
	c := backup.NewFromConfig(b.permitted(target, east, make, mount, via, lock))
	_, err := c.CreateBackupVault(ctx, newVault("auditcanary-a", "r2"))
	wantCode(t, err, "AccessDeniedException")
	if _, err := c.CreateBackupVault(ctx, newVault("auditcanary-a", "r1")); err != nil {
		t.Fatal(err)
	}
	if _, err := backup.NewFromConfig(b.root(target, east)).CreateBackupVault(ctx, newVault("auditcanary-b", "r2")); err != nil {
		t.Fatal(err)
	}
	put := func(vault string, days *int64) error {
		_, err := c.PutBackupVaultLockConfiguration(ctx, &backup.PutBackupVaultLockConfigurationInput{BackupVaultName: &vault, MinRetentionDays: aws.Int64(1), ChangeableForDays: days})
		return err
	}
	wantCode(t, put("auditcanary-a", aws.Int64(3)), "AccessDeniedException")
	wantCode(t, put("auditcanary-b", nil), "AccessDeniedException")
	if err := put("auditcanary-a", nil); err != nil {
		t.Error(err)
	}
	_, err = c.DeleteBackupVault(ctx, &backup.DeleteBackupVaultInput{BackupVaultName: aws.String("auditcanary-a")})
	wantCode(t, err, "AccessDeniedException")
}

const nobodyARN = "arn:aws:iam::" + target + ":role/auditcanary-nobody"

func newEntry(run string) *eks.CreateAccessEntryInput {
	return &eks.CreateAccessEntryInput{
		ClusterName: aws.String("auditcanary-fixture"), PrincipalArn: aws.String(nobodyARN), Type: aws.String("STANDARD"),
		Tags: map[string]string{"auditcanary:run": run, "Key": "v"},
	}
}

func TestAnAccessEntryLivesAndDies(t *testing.T) {
	b := start(t)
	c, ctx := eks.NewFromConfig(b.root(target, west)), t.Context()
	if f, g := cloud.Fixtures(target, west), cloud.Fixtures(target, "*"); f["eks_cluster"] != "auditcanary-fixture" || g["eks_principal"] != "auditcanary-nobody" {
		t.Fatalf("fixtures %v %v", f, g)
	}
	b.unchanged()
	out, err := c.CreateAccessEntry(ctx, newEntry("r1"))
	if err != nil {
		t.Fatal(err)
	}
	e := out.AccessEntry
	if !strings.HasPrefix(*e.AccessEntryArn, "arn:aws:eks:eu-west-1:"+target+":access-entry/auditcanary-fixture/role/"+target+"/auditcanary-nobody/") ||
		*e.Type != "STANDARD" || len(e.KubernetesGroups) != 0 || e.Tags["Key"] != "v" || e.CreatedAt.IsZero() {
		t.Errorf("entry %s", pretty(e))
	}
	rec := b.last("CreateAccessEntry")
	if rec["eventSource"] != "eks.amazonaws.com" || at(rec, "requestParameters", "name") != "auditcanary-fixture" || at(rec, "requestParameters", "principalArn") != nobodyARN ||
		at(rec, "requestParameters", "tags", "Key") != "v" || at(rec, "requestParameters", "clientRequestToken") == nil || at(rec, "responseElements", "accessEntry", "type") != "STANDARD" {
		t.Errorf("record %s", pretty(rec))
	}
	_, err = c.CreateAccessEntry(ctx, newEntry("r1"))
	wantCode(t, err, "ResourceInUseException")
	got, err := c.DescribeAccessEntry(ctx, &eks.DescribeAccessEntryInput{ClusterName: e.ClusterName, PrincipalArn: e.PrincipalArn})
	if err != nil || *got.AccessEntry.AccessEntryArn != *e.AccessEntryArn || got.AccessEntry.Tags["auditcanary:run"] != "r1" {
		t.Errorf("entry %s %v", pretty(got), err)
	}
	all, err := c.ListAccessEntries(ctx, &eks.ListAccessEntriesInput{ClusterName: e.ClusterName})
	if err != nil || len(all.AccessEntries) != 1 || all.AccessEntries[0] != nobodyARN {
		t.Errorf("entries %s %v", pretty(all), err)
	}
	gone := &eks.DeleteAccessEntryInput{ClusterName: e.ClusterName, PrincipalArn: e.PrincipalArn}
	if _, err := c.DeleteAccessEntry(ctx, gone); err != nil {
		t.Fatal(err)
	}
	if rec := b.last("DeleteAccessEntry"); at(rec, "requestParameters", "principalArn") != "arn%3Aaws%3Aiam%3A%3A"+target+"%3Arole%2Fauditcanary-nobody" {
		t.Errorf("record %s", pretty(rec))
	}
	_, err = c.DeleteAccessEntry(ctx, gone)
	wantCode(t, err, "ResourceNotFoundException")
	_, err = c.DescribeAccessEntry(ctx, &eks.DescribeAccessEntryInput{ClusterName: e.ClusterName, PrincipalArn: e.PrincipalArn})
	wantCode(t, err, "ResourceNotFoundException")
	_, err = c.ListAccessEntries(ctx, &eks.ListAccessEntriesInput{ClusterName: aws.String("another")})
	wantCode(t, err, "ResourceNotFoundException")
	b.unchanged()
}

func TestEKSRefuses(t *testing.T) {
	b := start(t)
	c, ctx := eks.NewFromConfig(b.root(target, east)), t.Context()
	for want, change := range map[string]func(*eks.CreateAccessEntryInput){
		"ResourceNotFoundException: No cluster":           func(in *eks.CreateAccessEntryInput) { in.ClusterName = aws.String("another") },
		"InvalidParameterException: The specified princi": func(in *eks.CreateAccessEntryInput) { in.PrincipalArn = aws.String(nobodyARN + "-2") },
		"InvalidParameterException: The specified type":   func(in *eks.CreateAccessEntryInput) { in.Type = aws.String("ROOT") },
		"InvalidParameterException: The kubernetes group": func(in *eks.CreateAccessEntryInput) { in.KubernetesGroups = []string{"system:masters"} },
	} {
		in := newEntry("r1")
		change(in)
		_, err := c.CreateAccessEntry(ctx, in)
		if got := code(err) + ": " + message(err); !strings.HasPrefix(got, want) {
			t.Errorf("%q, want %q...", got, want)
		}
	}
	b.unchanged()
}

func TestAccessEntriesAreListedInPages(t *testing.T) {
	b := start(t)
	c, ctx := eks.NewFromConfig(b.root(target, east)), t.Context()
	for _, role := range []string{"auditcanary-nobody", "auditcanary-break-glass", "auditcanary/auditcanary-injector"} {
		in := newEntry("r1")
		in.PrincipalArn = aws.String("arn:aws:iam::" + target + ":role/" + role)
		if _, err := c.CreateAccessEntry(ctx, in); err != nil {
			t.Fatal(err)
		}
	}
	var roles []string
	pages := eks.NewListAccessEntriesPaginator(c, &eks.ListAccessEntriesInput{ClusterName: aws.String("auditcanary-fixture"), MaxResults: aws.Int32(2)})
	n := 0
	for ; pages.HasMorePages(); n++ {
		page, err := pages.NextPage(ctx)
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range page.AccessEntries {
			roles = append(roles, strings.TrimPrefix(p, "arn:aws:iam::"+target+":role/"))
		}
	}
	if n != 2 || strings.Join(roles, " ") != "auditcanary-break-glass auditcanary-nobody auditcanary/auditcanary-injector" {
		t.Errorf("%d pages: %v", n, roles)
	}
}

func TestAnAccessEntrysPolicyIsEnforced(t *testing.T) {
	b := start(t)
	ctx, entry := t.Context(), "arn:aws:eks:us-east-1:"+target+":access-entry/auditcanary-fixture/role/"+target+"/auditcanary-*"
	make := `{"Effect":"Allow","Action":"eks:CreateAccessEntry","Resource":"arn:aws:eks:us-east-1:` + target + `:cluster/auditcanary-fixture","Condition":{
		"StringLike":{"aws:RequestTag/auditcanary:run":"r1","aws:ResourceTag/auditcanary":"fixture","eks:principalArn":"` + nobodyARN + `","eks:accessEntryType":"STANDARD"},"Null":{"eks:kubernetesGroups":"true"}}}`
	tag := `{"Effect":"Allow","Action":"eks:TagResource","Resource":"` + entry + `","Condition":{"StringLike":{"aws:RequestTag/auditcanary:run":"r1"}}}`
	undo := `{"Effect":"Allow","Action":"eks:DeleteAccessEntry","Resource":"` + entry + `","Condition":{"StringLike":{"aws:ResourceTag/auditcanary:run":"r1","eks:principalArn":"` + nobodyARN + `"}}}`
	c := eks.NewFromConfig(b.permitted(target, east, make, tag, undo))
	for name, change := range map[string]func(*eks.CreateAccessEntryInput){
		"another run": func(in *eks.CreateAccessEntryInput) { in.Tags["auditcanary:run"] = "r2" },
		"another role": func(in *eks.CreateAccessEntryInput) {
			in.PrincipalArn = aws.String(strings.Replace(nobodyARN, "nobody", "break-glass", 1))
		},
		"a node":  func(in *eks.CreateAccessEntryInput) { in.Type = aws.String("EC2_LINUX") },
		"a group": func(in *eks.CreateAccessEntryInput) { in.KubernetesGroups = []string{"admins"} },
	} {
		in := newEntry("r1")
		change(in)
		if _, err := c.CreateAccessEntry(ctx, in); code(err) != "AccessDeniedException" {
			t.Errorf("%s: %v", name, err)
		}
	}
	if rec := b.last("CreateAccessEntry"); rec["errorCode"] != "AccessDenied" || rec["requestParameters"] != nil {
		t.Errorf("record %s", pretty(rec))
	}
	_, err := eks.NewFromConfig(b.permitted(target, east, make)).CreateAccessEntry(ctx, newEntry("r1"))
	wantCode(t, err, "AccessDeniedException")
	root, gone := eks.NewFromConfig(b.root(target, east)), &eks.DeleteAccessEntryInput{ClusterName: aws.String("auditcanary-fixture"), PrincipalArn: aws.String(nobodyARN)}
	if _, err := root.CreateAccessEntry(ctx, newEntry("r2")); err != nil {
		t.Fatal(err)
	}
	_, err = c.DeleteAccessEntry(ctx, gone) // another run's
	wantCode(t, err, "AccessDeniedException")
	if _, err := root.DeleteAccessEntry(ctx, gone); err != nil {
		t.Fatal(err)
	}
	if _, err := c.CreateAccessEntry(ctx, newEntry("r1")); err != nil {
		t.Fatal(err)
	}
	if _, err := c.DeleteAccessEntry(ctx, gone); err != nil {
		t.Fatal(err)
	}
	b.unchanged()
}

func newPolicy(name string) *organizations.CreatePolicyInput {
	return &organizations.CreatePolicyInput{
		Name: &name, Description: aws.String("canary"), Type: orgtypes.PolicyTypeServiceControlPolicy,
		Content: aws.String(`{"Version":"2012-10-17","Statement":[{"Effect":"Deny","Action":"organizations:LeaveOrganization","Resource":"*"}]}`),
		Tags:    []orgtypes.Tag{{Key: aws.String("auditcanary:run"), Value: aws.String("r1")}},
	}
}

// A member is refused by the service itself, whatever its own policies allow.
func TestAMemberMakesNoPolicies(t *testing.T) {
	b := start(t)
	ctx := t.Context()
	for name, tc := range map[string]struct {
		as   aws.Config
		says string
	}{
		"root of a member": {b.root(target, west), "You don't have permissions to access this resource."},
		"no permission":    {b.permitted(target, west, `{"Effect":"Allow","Action":"sts:GetCallerIdentity","Resource":"*"}`), "is not authorized to perform: organizations:CreatePolicy on resource: "},
	} {
		_, err := organizations.NewFromConfig(tc.as).CreatePolicy(ctx, newPolicy("auditcanary-c1"))
		wantCode(t, err, "AccessDeniedException")
		if !strings.Contains(message(err), tc.says) {
			t.Errorf("%s: %q", name, message(err))
		}
		rec := b.last("CreatePolicy")
		if rec["errorCode"] != "AccessDenied" || rec["errorMessage"] != message(err) || rec["requestParameters"] != nil || rec["awsRegion"] != east || rec["recipientAccountId"] != target {
			t.Errorf("%s: record %s", name, pretty(rec))
		}
	}
	c := organizations.NewFromConfig(b.root(target, east))
	_, err := c.ListPolicies(ctx, &organizations.ListPoliciesInput{Filter: orgtypes.PolicyTypeServiceControlPolicy})
	wantCode(t, err, "AccessDeniedException")
	_, err = c.DeletePolicy(ctx, &organizations.DeletePolicyInput{PolicyId: aws.String("p-12345678")})
	wantCode(t, err, "AccessDeniedException")
	if out, err := c.DescribeOrganization(ctx, nil); err != nil || *out.Organization.MasterAccountId != cloud.ManagementAccount {
		t.Errorf("%s %v", pretty(out), err)
	}
	b.unchanged()
}

func TestTheManagementAccountMakesPolicies(t *testing.T) {
	b := start(t)
	c, ctx := organizations.NewFromConfig(b.root(cloud.ManagementAccount, west)), t.Context()
	out, err := c.CreatePolicy(ctx, newPolicy("auditcanary-c1"))
	if err != nil {
		t.Fatal(err)
	}
	id := out.Policy.PolicySummary.Id
	rec := b.last("CreatePolicy")
	if at(rec, "requestParameters", "type") != "SERVICE_CONTROL_POLICY" || at(rec, "responseElements", "policy", "policySummary", "id") != *id || rec["awsRegion"] != east {
		t.Errorf("record %s", pretty(rec))
	}
	if changes := b.cloud.Changes(); len(changes) != 1 || changes[0].Account != cloud.ManagementAccount || changes[0].Kind != "organizations policy" {
		t.Errorf("changes %s", pretty(changes))
	}
	_, err = c.CreatePolicy(ctx, newPolicy("auditcanary-c1"))
	wantCode(t, err, "DuplicatePolicyException")
	bad := newPolicy("auditcanary-c2")
	bad.Content = aws.String("{")
	_, err = c.CreatePolicy(ctx, bad)
	wantCode(t, err, "MalformedPolicyDocumentException")
	bad = newPolicy("auditcanary-c2")
	bad.Type = orgtypes.PolicyTypeTagPolicy
	_, err = c.CreatePolicy(ctx, bad)
	wantCode(t, err, "PolicyTypeNotAvailableForOrganizationException")
	if _, err := c.CreatePolicy(ctx, newPolicy("another")); err != nil {
		t.Fatal(err)
	}
	var names []string
	seeded := 0
	pages := organizations.NewListPoliciesPaginator(c, &organizations.ListPoliciesInput{Filter: orgtypes.PolicyTypeServiceControlPolicy, MaxResults: aws.Int32(1)})
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range page.Policies {
			if *p.Name == "FullAWSAccess" || *p.Name == "protecttrails" {
				seeded++
				continue
			}
			names = append(names, *p.Name)
			tagged, err := c.ListTagsForResource(ctx, &organizations.ListTagsForResourceInput{ResourceId: p.Id})
			if err != nil || len(tagged.Tags) != 1 || *tagged.Tags[0].Value != "r1" {
				t.Errorf("tags %s %v", pretty(tagged), err)
			}
			if _, err := c.DeletePolicy(ctx, &organizations.DeletePolicyInput{PolicyId: p.Id}); err != nil {
				t.Error(err)
			}
		}
	}
	if len(names) != 2 || seeded != 2 {
		t.Errorf("policies %v, and %d that were there", names, seeded)
	}
	_, err = c.DeletePolicy(ctx, &organizations.DeletePolicyInput{PolicyId: id})
	wantCode(t, err, "PolicyNotFoundException")
	_, err = c.ListTagsForResource(ctx, &organizations.ListTagsForResourceInput{ResourceId: id})
	wantCode(t, err, "TargetNotFoundException")
	b.unchanged()
}

// The real records there are of these services, and ours of the same calls. (A
// refused CreateDBParameterGroup is held against another refused call of RDS.)
func TestRecordsOfDataHaveTheShapeOfRealOnes(t *testing.T) {
	b := start(t, func(o *cloud.Options) {
		o.World = cloud.World(o.Clock)
		o.World.Accounts[target].Users["alice"] = &cloud.User{
			Name: "alice", ID: "AIDAALICE", Key: cloud.Key{ID: "AKIAALICE", Secret: "s"},
			Policies: []policy.Named{{Doc: policy.MustParse(`{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"rds:DescribeDBParameterGroups","Resource":"*"}]}`, policy.ForIdentity)}},
		}
	})
	alice, ctx := b.config(cloud.Key{ID: "AKIAALICE", Secret: "s"}, "", east), t.Context()
	_, err := organizations.NewFromConfig(alice).DescribeOrganization(ctx, nil)
	wantCode(t, err, "AccessDeniedException")
	_, err = rds.NewFromConfig(alice).CreateDBParameterGroup(ctx, newGroup("a", "r"))
	wantCode(t, err, "AccessDenied")
	if _, err := rds.NewFromConfig(alice).DescribeDBParameterGroups(ctx, nil); err != nil {
		t.Fatal(err)
	}
	raw, err := os.ReadFile("testdata/records/data.ndjson")
	if err != nil {
		t.Fatal(err)
	}
	ours := map[string]string{"DescribeOrganization": "DescribeOrganization", "DescribeDBParameterGroups": "DescribeDBParameterGroups", "AuthorizeDBSecurityGroupIngress": "CreateDBParameterGroup"}
	for line := range bytes.Lines(raw) {
		var real realRecord
		if err := json.Unmarshal(line, &struct {
			Origin *string
			Record *map[string]any
		}{&real.origin, &real.rec}); err != nil {
			t.Fatal(err)
		}
		name := real.rec["eventName"].(string)
		rec := b.last(ours[name])
		for _, field := range []string{"eventSource", "errorCode", "eventType"} {
			if rec[field] != real.rec[field] {
				t.Errorf("%s (%s): %s %v, really %v", name, real.origin, field, rec[field], real.rec[field])
			}
		}
		for _, diff := range compareShapes(name, fmt.Sprint(real.rec["eventVersion"]), real.rec, rec) {
			t.Errorf("%s (%s): %s", name, real.origin, diff)
		}
		delete(ours, name)
	}
	if len(ours) != 0 {
		t.Errorf("not compared: %v", ours)
	}
}
