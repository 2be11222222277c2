package aws

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/backup"
	"github.com/aws/aws-sdk-go-v2/service/eks"
	"github.com/aws/aws-sdk-go-v2/service/organizations"
	orgtypes "github.com/aws/aws-sdk-go-v2/service/organizations/types"
	"github.com/aws/aws-sdk-go-v2/service/rds"
	"github.com/aws/smithy-go"

	"github.com/auditcanary/auditcanary/shared/canary"
	"github.com/auditcanary/auditcanary/shared/run"
)

const (
	parameterGroup = "arn:{partition}:rds:{region}:{account}:pg:{DBParameterGroupName}"
	backupVault    = "arn:{partition}:backup:{region}:{account}:backup-vault:{BackupVaultName}"
	cluster        = "arn:{partition}:eks:{region}:{account}:cluster/{ClusterName}"
	// An access entry's ARN holds its principal's kind, account and name.
	accessEntry = "arn:{partition}:eks:{region}:{account}:access-entry/{ClusterName}/role/{account}/auditcanary-*"
	// Policies belong to the management account, whose id and organisation a
	// member does not have to know.
	controlPolicy   = "arn:{partition}:organizations::*:policy/o-*/service_control_policy/{PolicyId}"
	controlPolicies = "arn:{partition}:organizations::*:policy/o-*/service_control_policy/*"

	fixtureCluster   = "eks_cluster"
	fixturePrincipal = "eks_principal"
)

// dataOperations: where production data lies, its backups, the cluster that runs
// on it, and the organisation above them all.
func dataOperations() map[string]operation {
	return map[string]operation{
		// Databases: a parameter group that no instance uses.
		"rds:CreateDBParameterGroup": {call: call(rds.NewFromConfig, (*rds.Client).CreateDBParameterGroup), subject: on("DBParameterGroupName"), undo: "rds:DeleteDBParameterGroup", guards: guards{ownName("DBParameterGroupName"), runTags()}, grants: grants{allow(parameterGroup, when{requestTagRun: "{run}"}, "rds:CreateDBParameterGroup", "rds:AddTagsToResource")}},
		"rds:DeleteDBParameterGroup": {call: call(rds.NewFromConfig, (*rds.Client).DeleteDBParameterGroup), subject: on("DBParameterGroupName"), restores: true, guards: guards{ownName("DBParameterGroupName")}, grants: grants{allow(parameterGroup, when{resourceTagRun: "{run}"}, "rds:DeleteDBParameterGroup")}},
		// Snapshots: none has a canary's name, and none is shared but with its own account.
		"rds:ModifyDBSnapshotAttribute":        {call: call(rds.NewFromConfig, (*rds.Client).ModifyDBSnapshotAttribute), subject: on("DBSnapshotIdentifier"), guards: guards{ownName("DBSnapshotIdentifier"), must("AttributeName", "restore"), onlyItself("ValuesToAdd"), without("ValuesToRemove")}, grants: grants{allow("arn:{partition}:rds:{region}:{account}:snapshot:{DBSnapshotIdentifier}", nil, "rds:ModifyDBSnapshotAttribute")}},
		"rds:ModifyDBClusterSnapshotAttribute": {call: call(rds.NewFromConfig, (*rds.Client).ModifyDBClusterSnapshotAttribute), subject: on("DBClusterSnapshotIdentifier"), guards: guards{ownName("DBClusterSnapshotIdentifier"), must("AttributeName", "restore"), onlyItself("ValuesToAdd"), without("ValuesToRemove")}, grants: grants{allow("arn:{partition}:rds:{region}:{account}:cluster-snapshot:{DBClusterSnapshotIdentifier}", nil, "rds:ModifyDBClusterSnapshotAttribute")}},

		// Backups: a vault that stays empty, under the key that AWS Backup has of its
		// own; the service uses that key in the caller's name. A lock without a day
		// from which it cannot be changed can be taken off at any time; one with it
		// never again, so the session's policy demands as well that it is not given.
		"backup:CreateBackupVault": {call: call(backup.NewFromConfig, (*backup.Client).CreateBackupVault), subject: on("BackupVaultName"), undo: "backup:DeleteBackupVault", guards: guards{ownName("BackupVaultName"), without("EncryptionKeyArn"), runTags()}, grants: grants{
			allow(backupVault, when{requestTagRun: "{run}"}, "backup:CreateBackupVault", "backup:TagResource"),
			allow("*", when{"aws:RequestedRegion": "{region}"}, "backup-storage:MountCapsule"), // knows neither resources nor keys of its own
			allow("arn:{partition}:kms:{region}:{account}:key/*", when{"kms:ViaService": "backup.{region}.amazonaws.com"}, "kms:CreateGrant", "kms:Decrypt", "kms:DescribeKey", "kms:GenerateDataKey", "kms:RetireGrant"),
		}},
		"backup:DeleteBackupVault":                  {call: call(backup.NewFromConfig, (*backup.Client).DeleteBackupVault), subject: on("BackupVaultName"), restores: true, guards: guards{ownName("BackupVaultName")}, grants: grants{allow(backupVault, when{resourceTagRun: "{run}"}, "backup:DeleteBackupVault")}},
		"backup:PutBackupVaultLockConfiguration":    {call: call(backup.NewFromConfig, (*backup.Client).PutBackupVaultLockConfiguration), subject: on("BackupVaultName"), undo: "backup:DeleteBackupVaultLockConfiguration", guards: guards{ownName("BackupVaultName"), without("ChangeableForDays"), must("MinRetentionDays", 1.0)}, grants: grants{allow(backupVault, when{resourceTagRun: "{run}", "backup:ChangeableForDays": notGiven}, "backup:PutBackupVaultLockConfiguration")}},
		"backup:DeleteBackupVaultLockConfiguration": {call: call(backup.NewFromConfig, (*backup.Client).DeleteBackupVaultLockConfiguration), subject: on("BackupVaultName"), restores: true, guards: guards{ownName("BackupVaultName")}, grants: grants{allow(backupVault, when{resourceTagRun: "{run}"}, "backup:DeleteBackupVaultLockConfiguration")}},

		// Kubernetes: an entry on the fixture cluster for the fixture role, in no group
		// and without an access policy (the operation that gives one is not listed).
		"eks:CreateAccessEntry": {call: call(eks.NewFromConfig, (*eks.Client).CreateAccessEntry), subject: on("ClusterName", "PrincipalArn"), undo: "eks:DeleteAccessEntry", guards: guards{theFixture("ClusterName", fixtureCluster), theFixtureRole("PrincipalArn", fixturePrincipal), must("Type", "STANDARD"), without("KubernetesGroups", "Username"), runTags()}, grants: grants{
			allow(cluster, when{fixtureTag: "fixture", requestTagRun: "{run}", "eks:principalArn": "{PrincipalArn}", "eks:accessEntryType": "STANDARD", "eks:kubernetesGroups": notGiven}, "eks:CreateAccessEntry"),
			allow(accessEntry, when{requestTagRun: "{run}"}, "eks:TagResource"),
		}},
		"eks:DeleteAccessEntry": {call: call(eks.NewFromConfig, (*eks.Client).DeleteAccessEntry), subject: on("ClusterName", "PrincipalArn"), restores: true, guards: guards{theFixture("ClusterName", fixtureCluster), theFixtureRole("PrincipalArn", fixturePrincipal)}, grants: grants{allow(accessEntry, when{resourceTagRun: "{run}", "eks:principalArn": "{PrincipalArn}"}, "eks:DeleteAccessEntry")}},

		// Organisation: a policy that is attached to nothing; the operation that
		// attaches one is not listed. Its id is the service's.
		"organizations:CreatePolicy": {call: call(organizations.NewFromConfig, (*organizations.Client).CreatePolicy), global: true, subject: on("=PolicyId"), undo: "organizations:DeletePolicy", guards: guards{ownName("Name"), must("Type", controlPolicyType), onlyDenies("Content"), runTags()}, grants: grants{
			allow(controlPolicies, when{requestTagRun: "{run}", policyType: controlPolicyType}, "organizations:CreatePolicy", "organizations:TagResource"),
		}},
		"organizations:DeletePolicy": {call: call(organizations.NewFromConfig, (*organizations.Client).DeletePolicy), global: true, subject: on("PolicyId"), restores: true, guards: guards{madeID("PolicyId", "p-")}, grants: grants{allow(controlPolicy, when{resourceTagRun: "{run}"}, "organizations:DeletePolicy")}},
	}
}

const (
	controlPolicyType = "SERVICE_CONTROL_POLICY"
	policyType        = "organizations:PolicyType"
)

// onlyItself: of all accounts only this one is named.
func onlyItself(param string) guard {
	return func(s scene, p map[string]any) error {
		if v := texts(lookAt(p, param)); len(v) != 1 || v[0] != s.account {
			return fmt.Errorf("%s %v: only the account itself, %s, may be named", param, v, s.account)
		}
		return nil
	}
}

// theFixtureRole: the ARN of the role that the configuration lists under that
// name, which must be canary-marked.
func theFixtureRole(param, fixture string) guard {
	return func(s scene, p map[string]any) error {
		if err := markedName(param)(s, p); err != nil {
			return err
		}
		v := textAt(p, param)
		if v != "arn:"+s.partition+":iam::"+s.account+":role/"+s.fixtures[fixture] {
			return fmt.Errorf("%s %q is not the role of the fixture %s (%q) of account %s", param, v, fixture, s.fixtures[fixture], s.account)
		}
		return nil
	}
}

// dataKinds are what these leave behind.
func dataKinds() []kind {
	return []kind{
		{name: "rds parameter group", undo: []string{"rds:DeleteDBParameterGroup"}, list: leftParameterGroups, reads: grants{
			allow("arn:{partition}:rds:{region}:{account}:pg:*", nil, "rds:DescribeDBParameterGroups"),
			allow("arn:{partition}:rds:{region}:{account}:pg:auditcanary-*", nil, "rds:ListTagsForResource"),
		}},
		{name: "backup vault", undo: []string{"backup:DeleteBackupVaultLockConfiguration", "backup:DeleteBackupVault"}, list: leftVaults, reads: grants{
			allow("*", nil, "backup:ListBackupVaults"),
			allow("arn:{partition}:backup:{region}:{account}:backup-vault:auditcanary-*", nil, "backup:ListTags"),
		}},
		{name: "eks access entry", undo: []string{"eks:DeleteAccessEntry"}, fixture: fixtureCluster, list: leftAccessEntries, reads: grants{
			allow("arn:{partition}:eks:{region}:{account}:cluster/*", when{fixtureTag: "fixture"}, "eks:ListAccessEntries"),
			allow("arn:{partition}:eks:{region}:{account}:access-entry/*", when{"eks:principalArn": "arn:{partition}:iam::{account}:role/auditcanary-*"}, "eks:DescribeAccessEntry"),
		}},
		{name: "organizations policy", undo: []string{"organizations:DeletePolicy"}, global: true, list: leftControlPolicies, reads: grants{
			allow("*", nil, "organizations:ListPolicies", "organizations:DescribeOrganization"),
			allow(controlPolicies, nil, "organizations:ListTagsForResource"),
		}},
	}
}

// leftParameterGroups: groups that carry the name prefix, a run and a canary.
func leftParameterGroups(ctx context.Context, p place) ([]run.Leftover, error) {
	client := rds.NewFromConfig(p.cfg)
	var left []run.Leftover
	pages := rds.NewDescribeDBParameterGroupsPaginator(client, &rds.DescribeDBParameterGroupsInput{})
	for pages.HasMorePages() {
		page, err := nextPage(ctx, p, pages.NextPage)
		if err != nil {
			return left, p.fail(err, "rds:DescribeDBParameterGroups")
		}
		for _, group := range page.DBParameterGroups {
			name := aws.ToString(group.DBParameterGroupName)
			if !strings.HasPrefix(name, canary.Marker+"-") {
				continue
			}
			tags, err := rdsTags(ctx, p, client, aws.ToString(group.DBParameterGroupArn))
			if err != nil {
				return left, err
			}
			runID, canaryID, ok := madeAs(name, tags)
			if !ok {
				continue
			}
			left = append(left, run.Leftover{ID: aws.ToString(group.DBParameterGroupArn), Run: runID, Canary: canaryID, Undo: []canary.Call{{
				Operation: "rds:DeleteDBParameterGroup", Region: p.scene.region, Gone: []string{"DBParameterGroupNotFound"},
				Params: map[string]any{"DBParameterGroupName": name},
			}}})
		}
	}
	return left, nil
}

func rdsTags(ctx context.Context, p place, client *rds.Client, arn string) (map[string]string, error) {
	bounded, cancel := p.bound(ctx)
	defer cancel()
	out, err := client.ListTagsForResource(bounded, &rds.ListTagsForResourceInput{ResourceName: &arn})
	if hasCode(err, "DBParameterGroupNotFound") {
		return nil, nil // deleted since it was listed
	}
	if err != nil {
		return nil, p.fail(err, "rds:ListTagsForResource of "+arn)
	}
	tags := map[string]string{}
	for _, t := range out.TagList {
		tags[aws.ToString(t.Key)] = aws.ToString(t.Value)
	}
	return tags, nil
}

// leftVaults: vaults that carry the name prefix, a run and a canary. A lock goes
// before its vault.
func leftVaults(ctx context.Context, p place) ([]run.Leftover, error) {
	client := backup.NewFromConfig(p.cfg)
	var left []run.Leftover
	pages := backup.NewListBackupVaultsPaginator(client, &backup.ListBackupVaultsInput{})
	for pages.HasMorePages() {
		page, err := nextPage(ctx, p, pages.NextPage)
		if err != nil {
			return left, p.fail(err, "backup:ListBackupVaults")
		}
		for _, vault := range page.BackupVaultList {
			name, arn := aws.ToString(vault.BackupVaultName), aws.ToString(vault.BackupVaultArn)
			if !strings.HasPrefix(name, canary.Marker+"-") {
				continue
			}
			tags, err := backupTags(ctx, p, client, arn)
			if err != nil {
				return left, err
			}
			runID, canaryID, ok := madeAs(name, tags)
			if !ok {
				continue
			}
			var undo []canary.Call
			if aws.ToBool(vault.Locked) {
				undo = append(undo, vaultCall("backup:DeleteBackupVaultLockConfiguration", p, name))
			}
			left = append(left, run.Leftover{ID: arn, Run: runID, Canary: canaryID, Undo: append(undo, vaultCall("backup:DeleteBackupVault", p, name))})
		}
	}
	return left, nil
}

func vaultCall(operation string, p place, name string) canary.Call {
	return canary.Call{Operation: operation, Region: p.scene.region, Gone: []string{"ResourceNotFoundException"}, Params: map[string]any{"BackupVaultName": name}}
}

func backupTags(ctx context.Context, p place, client *backup.Client, arn string) (map[string]string, error) {
	tags := map[string]string{}
	pages := backup.NewListTagsPaginator(client, &backup.ListTagsInput{ResourceArn: &arn})
	for pages.HasMorePages() {
		page, err := nextPage(ctx, p, pages.NextPage)
		if hasCode(err, "ResourceNotFoundException") {
			return nil, nil // deleted since it was listed
		}
		if err != nil {
			return nil, p.fail(err, "backup:ListTags of "+arn)
		}
		for k, v := range page.Tags {
			tags[k] = v
		}
	}
	return tags, nil
}

// leftAccessEntries: the entries of canary-marked roles on the fixture cluster
// that carry a run and a canary. (Entries are not named after canaries: an entry
// is its principal's.)
func leftAccessEntries(ctx context.Context, p place) ([]run.Leftover, error) {
	client := eks.NewFromConfig(p.cfg)
	on := p.scene.fixtures[fixtureCluster]
	var left []run.Leftover
	pages := eks.NewListAccessEntriesPaginator(client, &eks.ListAccessEntriesInput{ClusterName: &on})
	for pages.HasMorePages() {
		page, err := nextPage(ctx, p, pages.NextPage)
		if err != nil {
			return left, p.fail(err, "eks:ListAccessEntries of "+on)
		}
		for _, principal := range page.AccessEntries {
			if !strings.HasPrefix(principal, "arn:"+p.scene.partition+":iam::"+p.scene.account+":role/"+canary.Marker+"-") {
				continue
			}
			found, err := leftAccessEntry(ctx, p, client, on, principal)
			left = append(left, found...)
			if err != nil {
				return left, err
			}
		}
	}
	return left, nil
}

func leftAccessEntry(ctx context.Context, p place, client *eks.Client, on, principal string) ([]run.Leftover, error) {
	what := "eks:DescribeAccessEntry of " + principal + " on " + on
	bounded, cancel := p.bound(ctx)
	defer cancel()
	out, err := client.DescribeAccessEntry(bounded, &eks.DescribeAccessEntryInput{ClusterName: &on, PrincipalArn: &principal})
	if hasCode(err, "ResourceNotFoundException") {
		return nil, nil // deleted since it was listed
	}
	if err != nil {
		return nil, p.fail(err, what)
	}
	if out.AccessEntry == nil {
		return nil, p.fail(errors.New("the reply is empty"), what)
	}
	runID, canaryID, ok := made(out.AccessEntry.Tags)
	if !ok {
		return nil, nil
	}
	return []run.Leftover{{ID: aws.ToString(out.AccessEntry.AccessEntryArn), Run: runID, Canary: canaryID, Undo: []canary.Call{{
		Operation: "eks:DeleteAccessEntry", Region: p.scene.region, Gone: []string{"ResourceNotFoundException"},
		Params: map[string]any{"ClusterName": on, "PrincipalArn": principal},
	}}}}, nil
}

// leftControlPolicies: service control policies that carry the name prefix, a run
// and a canary. Only the management account and those it delegates that to may make
// policies or list them; whom the service refuses the list, it refuses to make one.
// Organizations may word that refusal as any other, so whether it was that one, and
// not a permission that this session lacks, is asked of the organisation.
func leftControlPolicies(ctx context.Context, p place) ([]run.Leftover, error) {
	client := organizations.NewFromConfig(p.cfg)
	var left []run.Leftover
	pages := organizations.NewListPoliciesPaginator(client, &organizations.ListPoliciesInput{Filter: orgtypes.PolicyTypeServiceControlPolicy})
	for pages.HasMorePages() {
		page, err := nextPage(ctx, p, pages.NextPage)
		switch {
		case hasCode(err, "AWSOrganizationsNotInUseException"):
			return nil, nil // no organisation, no policies
		case hasCode(err, "AccessDeniedException"):
			member, memberErr := isMember(ctx, p, client)
			if memberErr != nil || member {
				return left, memberErr
			}
			fallthrough
		case err != nil:
			return left, p.fail(err, "organizations:ListPolicies")
		}
		for _, policy := range page.Policies {
			found, err := leftControlPolicy(ctx, p, client, policy)
			left = append(left, found...)
			if err != nil {
				return left, err
			}
		}
	}
	return left, nil
}

func leftControlPolicy(ctx context.Context, p place, client *organizations.Client, policy orgtypes.PolicySummary) ([]run.Leftover, error) {
	name, id := aws.ToString(policy.Name), aws.ToString(policy.Id)
	if policy.AwsManaged || !strings.HasPrefix(name, canary.Marker+"-") {
		return nil, nil
	}
	tags := map[string]string{}
	pages := organizations.NewListTagsForResourcePaginator(client, &organizations.ListTagsForResourceInput{ResourceId: &id})
	for pages.HasMorePages() {
		page, err := nextPage(ctx, p, pages.NextPage)
		if hasCode(err, "TargetNotFoundException") {
			return nil, nil // deleted since it was listed
		}
		if err != nil {
			return nil, p.fail(err, "organizations:ListTagsForResource of "+id)
		}
		for _, t := range page.Tags {
			tags[aws.ToString(t.Key)] = aws.ToString(t.Value)
		}
	}
	runID, canaryID, ok := madeAs(name, tags)
	if !ok {
		return nil, nil
	}
	return []run.Leftover{{ID: aws.ToString(policy.Arn), Run: runID, Canary: canaryID, Undo: []canary.Call{{
		Operation: "organizations:DeletePolicy", Region: homeRegion(p.scene.partition), Gone: []string{"PolicyNotFoundException"},
		Params: map[string]any{"PolicyId": id},
	}}}}, nil
}

// isMember reports whether the account belongs to an organisation that another
// account manages.
func isMember(ctx context.Context, p place, client *organizations.Client) (bool, error) {
	bounded, cancel := p.bound(ctx)
	defer cancel()
	out, err := client.DescribeOrganization(bounded, &organizations.DescribeOrganizationInput{})
	if err != nil {
		return false, p.fail(err, "organizations:DescribeOrganization")
	}
	if out.Organization == nil || aws.ToString(out.Organization.MasterAccountId) == "" {
		return false, p.fail(errors.New("the reply does not say which account manages the organisation"), "organizations:DescribeOrganization")
	}
	return *out.Organization.MasterAccountId != p.scene.account, nil
}

// hasCode reports whether err is a service's answer with that code.
func hasCode(err error, code string) bool {
	var api smithy.APIError
	return errors.As(err, &api) && api.ErrorCode() == code
}
