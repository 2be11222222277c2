package cloud_test

import (
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	iamtypes "github.com/aws/aws-sdk-go-v2/service/iam/types"
	"github.com/aws/aws-sdk-go-v2/service/sts"

	"github.com/auditcanary/auditcanary/tests/sandbox/cloud"
)

// mayAll makes the injector an administrator: what is refused then is refused by others.
var mayAll = []json.RawMessage{json.RawMessage(`{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"*","Resource":"*"}]}`)}

const denyDocument = `{"Version":"2012-10-17","Statement":[{"Effect":"Deny","Action":"*","Resource":"*"}]}`

var (
	canaryPath = aws.String("/auditcanary/")
	iamRunTag  = []iamtypes.Tag{{Key: aws.String("auditcanary:run"), Value: aws.String("r1")}}
)

func TestAManagedPolicyLivesAndDies(t *testing.T) {
	b := start(t)
	c, ctx := iam.NewFromConfig(b.root(target, west)), t.Context()
	name := aws.String("auditcanary-c1")
	in := &iam.CreatePolicyInput{PolicyName: name, Path: canaryPath, PolicyDocument: aws.String(denyDocument), Tags: iamRunTag}
	out, err := c.CreatePolicy(ctx, in)
	if err != nil {
		t.Fatal(err)
	}
	arn := out.Policy.Arn
	if *arn != "arn:aws:iam::"+target+":policy/auditcanary/auditcanary-c1" || *out.Policy.DefaultVersionId != "v1" || len(out.Policy.Tags) != 1 {
		t.Errorf("policy %s", pretty(out.Policy))
	}
	rec := b.last("CreatePolicy")
	if rec["awsRegion"] != east || at(rec, "requestParameters", "policyName") != *name || at(rec, "requestParameters", "policyDocument") != denyDocument ||
		at(rec, "responseElements", "policy", "arn") != *arn || at(rec, "responseElements", "policy", "isAttachable") != true {
		t.Errorf("record %s", pretty(rec))
	}
	_, err = c.CreatePolicy(ctx, in)
	wantCode(t, err, "EntityAlreadyExists")
	_, err = c.CreatePolicy(ctx, &iam.CreatePolicyInput{PolicyName: aws.String("p2"), PolicyDocument: aws.String(`{"Statement":[]}`)})
	wantCode(t, err, "MalformedPolicyDocument")

	version := &iam.CreatePolicyVersionInput{PolicyArn: arn, PolicyDocument: aws.String(denyDocument)}
	second, err := c.CreatePolicyVersion(ctx, version)
	if err != nil || *second.PolicyVersion.VersionId != "v2" || second.PolicyVersion.IsDefaultVersion {
		t.Fatalf("%s %v", pretty(second), err)
	}
	if rec := b.last("CreatePolicyVersion"); at(rec, "responseElements", "policyVersion", "versionId") != "v2" || at(rec, "responseElements", "policyVersion", "isDefaultVersion") != false {
		t.Errorf("record %s", pretty(rec))
	}
	for range 3 {
		if _, err := c.CreatePolicyVersion(ctx, version); err != nil {
			t.Fatal(err)
		}
	}
	_, err = c.CreatePolicyVersion(ctx, version)
	wantCode(t, err, "LimitExceeded")
	listed, err := c.ListPolicyVersions(ctx, &iam.ListPolicyVersionsInput{PolicyArn: arn, MaxItems: aws.Int32(2)})
	if err != nil || len(listed.Versions) != 2 || !listed.IsTruncated || !listed.Versions[0].IsDefaultVersion {
		t.Errorf("versions %s %v", pretty(listed), err)
	}
	_, err = c.DeletePolicy(ctx, &iam.DeletePolicyInput{PolicyArn: arn})
	wantCode(t, err, "DeleteConflict")
	_, err = c.DeletePolicyVersion(ctx, &iam.DeletePolicyVersionInput{PolicyArn: arn, VersionId: aws.String("v1")})
	wantCode(t, err, "DeleteConflict")
	for i := 2; i <= 5; i++ {
		if _, err := c.DeletePolicyVersion(ctx, &iam.DeletePolicyVersionInput{PolicyArn: arn, VersionId: aws.String(fmt.Sprintf("v%d", i))}); err != nil {
			t.Fatal(err)
		}
	}
	_, err = c.DeletePolicyVersion(ctx, &iam.DeletePolicyVersionInput{PolicyArn: arn, VersionId: aws.String("v2")})
	wantCode(t, err, "NoSuchEntity")

	// What is attached cannot be deleted.
	if _, err := c.CreateRole(ctx, canaryRole("auditcanary-c1")); err != nil {
		t.Fatal(err)
	}
	if _, err := c.AttachRolePolicy(ctx, &iam.AttachRolePolicyInput{RoleName: name, PolicyArn: arn}); err != nil {
		t.Fatal(err)
	}
	_, err = c.DeletePolicy(ctx, &iam.DeletePolicyInput{PolicyArn: arn})
	wantCode(t, err, "DeleteConflict")
	if _, err := c.DetachRolePolicy(ctx, &iam.DetachRolePolicyInput{RoleName: name, PolicyArn: arn}); err != nil {
		t.Fatal(err)
	}
	if _, err := c.DeleteRole(ctx, &iam.DeleteRoleInput{RoleName: name}); err != nil {
		t.Fatal(err)
	}
	if changes := b.cloud.Changes(); len(changes) != 1 || changes[0].Kind != "iam policy" {
		t.Errorf("changes %s", pretty(changes))
	}
	if _, err := c.DeletePolicy(ctx, &iam.DeletePolicyInput{PolicyArn: arn}); err != nil {
		t.Fatal(err)
	}
	_, err = c.DeletePolicy(ctx, &iam.DeletePolicyInput{PolicyArn: arn})
	wantCode(t, err, "NoSuchEntity")
	if got := b.last("DeletePolicy")["errorCode"]; got != "NoSuchEntityException" {
		t.Errorf("recorded code %v", got)
	}
	if changes := b.cloud.Changes(); len(changes) != 0 {
		t.Errorf("left behind: %s", pretty(changes))
	}
}

func TestAnInlinePolicyAndATrustPolicyChangeARole(t *testing.T) {
	b := start(t)
	c, ctx, name := iam.NewFromConfig(b.root(target, east)), t.Context(), aws.String("auditcanary-c1")
	put := &iam.PutRolePolicyInput{RoleName: name, PolicyName: name, PolicyDocument: aws.String(denyDocument)}
	_, err := c.PutRolePolicy(ctx, put)
	wantCode(t, err, "NoSuchEntity")
	if _, err := c.CreateRole(ctx, canaryRole(*name)); err != nil {
		t.Fatal(err)
	}
	for range 2 { // the second replaces the first
		if _, err := c.PutRolePolicy(ctx, put); err != nil {
			t.Fatal(err)
		}
	}
	if rec := b.last("PutRolePolicy"); at(rec, "requestParameters", "policyDocument") != denyDocument || rec["responseElements"] != nil {
		t.Errorf("record %s", pretty(rec))
	}
	if listed, err := c.ListRolePolicies(ctx, &iam.ListRolePoliciesInput{RoleName: name}); err != nil || !slices.Equal(listed.PolicyNames, []string{*name}) {
		t.Errorf("%s %v", pretty(listed), err)
	}
	_, err = c.DeleteRole(ctx, &iam.DeleteRoleInput{RoleName: name})
	wantCode(t, err, "DeleteConflict")
	remove := &iam.DeleteRolePolicyInput{RoleName: name, PolicyName: name}
	if _, err := c.DeleteRolePolicy(ctx, remove); err != nil {
		t.Fatal(err)
	}
	_, err = c.DeleteRolePolicy(ctx, remove)
	wantCode(t, err, "NoSuchEntity")

	// A new trust policy counts at once, and so does a policy in the role.
	trust := strings.ReplaceAll(`{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"AWS":"arn:aws:iam::T:role/auditcanary/auditcanary-injector"},"Action":["sts:AssumeRole","sts:SetSourceIdentity"]}]}`, "T", target)
	_, err = c.UpdateAssumeRolePolicy(ctx, &iam.UpdateAssumeRolePolicyInput{RoleName: name, PolicyDocument: aws.String(denyDocument)})
	wantCode(t, err, "MalformedPolicyDocument")
	if _, err := c.UpdateAssumeRolePolicy(ctx, &iam.UpdateAssumeRolePolicyInput{RoleName: name, PolicyDocument: &trust}); err != nil {
		t.Fatal(err)
	}
	if changes := b.cloud.Changes(); len(changes) != 1 || !strings.Contains(changes[0].Is, "auditcanary-injector") {
		t.Errorf("changes %s", pretty(changes))
	}
	if _, err := c.DeleteRolePermissionsBoundary(ctx, &iam.DeleteRolePermissionsBoundaryInput{RoleName: name}); err != nil {
		t.Fatal(err)
	}
	may := `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"iam:GetRole","Resource":"*"}]}`
	if _, err := c.PutRolePolicy(ctx, &iam.PutRolePolicyInput{RoleName: name, PolicyName: name, PolicyDocument: &may}); err != nil {
		t.Fatal(err)
	}
	if err := b.cloud.PermitInjector(target, mayAll); err != nil {
		t.Fatal(err)
	}
	arn := "arn:aws:iam::" + target + ":role/auditcanary/auditcanary-c1"
	got, err := sts.NewFromConfig(b.injector(target, east, "")).AssumeRole(ctx, &sts.AssumeRoleInput{RoleArn: &arn, RoleSessionName: aws.String("session")})
	if err != nil {
		t.Fatal(err)
	}
	assumed := iam.NewFromConfig(b.session(got, east))
	if _, err := assumed.GetRole(ctx, &iam.GetRoleInput{RoleName: name}); err != nil {
		t.Error(err)
	}
	_, err = assumed.ListUsers(ctx, &iam.ListUsersInput{})
	wantCode(t, err, "AccessDenied")
}

func TestAUserAndItsKeysLiveAndDie(t *testing.T) {
	b := start(t)
	c, ctx, name := iam.NewFromConfig(b.root(target, west)), t.Context(), aws.String("auditcanary-c1")
	in := &iam.CreateUserInput{UserName: name, Path: canaryPath, PermissionsBoundary: aws.String(denyAllARN), Tags: iamRunTag}
	out, err := c.CreateUser(ctx, in)
	if err != nil || *out.User.Arn != "arn:aws:iam::"+target+":user/auditcanary/auditcanary-c1" || *out.User.PermissionsBoundary.PermissionsBoundaryArn != denyAllARN {
		t.Fatalf("%s %v", pretty(out), err)
	}
	if rec := b.last("CreateUser"); at(rec, "responseElements", "user", "arn") != *out.User.Arn || at(rec, "requestParameters", "permissionsBoundary") != denyAllARN {
		t.Errorf("record %s", pretty(rec))
	}
	_, err = c.CreateUser(ctx, in)
	wantCode(t, err, "EntityAlreadyExists")
	_, err = c.CreateUser(ctx, &iam.CreateUserInput{UserName: aws.String("u2"), PermissionsBoundary: aws.String("arn:aws:iam::aws:policy/No")})
	wantCode(t, err, "NoSuchEntity")

	key, err := c.CreateAccessKey(ctx, &iam.CreateAccessKeyInput{UserName: name})
	if err != nil || len(*key.AccessKey.SecretAccessKey) != 40 {
		t.Fatalf("%v", err)
	}
	rec, _ := json.Marshal(b.last("CreateAccessKey"))
	if strings.Contains(string(rec), *key.AccessKey.SecretAccessKey) || !strings.Contains(string(rec), *key.AccessKey.AccessKeyId) {
		t.Errorf("record %s", rec)
	}
	if _, err := c.CreateAccessKey(ctx, &iam.CreateAccessKeyInput{UserName: name}); err != nil {
		t.Fatal(err)
	}
	_, err = c.CreateAccessKey(ctx, &iam.CreateAccessKeyInput{UserName: name})
	wantCode(t, err, "LimitExceeded")
	id := key.AccessKey.AccessKeyId
	if _, err := c.UpdateAccessKey(ctx, &iam.UpdateAccessKeyInput{UserName: name, AccessKeyId: id, Status: iamtypes.StatusTypeInactive}); err != nil {
		t.Fatal(err)
	}
	if rec := b.last("UpdateAccessKey"); at(rec, "requestParameters", "status") != "Inactive" || at(rec, "requestParameters", "accessKeyId") != *id || rec["responseElements"] != nil {
		t.Errorf("record %s", pretty(rec))
	}
	listed, err := c.ListAccessKeys(ctx, &iam.ListAccessKeysInput{UserName: name})
	if err != nil || len(listed.AccessKeyMetadata) != 2 {
		t.Fatalf("%s %v", pretty(listed), err)
	}
	// A key is its user's: another's name does not reach it.
	if _, err := c.CreateUser(ctx, &iam.CreateUserInput{UserName: aws.String("bob")}); err != nil {
		t.Fatal(err)
	}
	_, err = c.DeleteAccessKey(ctx, &iam.DeleteAccessKeyInput{UserName: aws.String("bob"), AccessKeyId: id})
	wantCode(t, err, "NoSuchEntity")
	if _, err := c.DeleteUser(ctx, &iam.DeleteUserInput{UserName: aws.String("bob")}); err != nil {
		t.Fatal(err)
	}
	_, err = c.DeleteUser(ctx, &iam.DeleteUserInput{UserName: name})
	wantCode(t, err, "DeleteConflict")
	for _, k := range listed.AccessKeyMetadata {
		if _, err := c.DeleteAccessKey(ctx, &iam.DeleteAccessKeyInput{UserName: name, AccessKeyId: k.AccessKeyId}); err != nil {
			t.Fatal(err)
		}
	}
	_, err = c.DeleteAccessKey(ctx, &iam.DeleteAccessKeyInput{UserName: name, AccessKeyId: id})
	wantCode(t, err, "NoSuchEntity")
	if _, err := c.DeleteUser(ctx, &iam.DeleteUserInput{UserName: name}); err != nil {
		t.Fatal(err)
	}
	_, err = c.DeleteUser(ctx, &iam.DeleteUserInput{UserName: name})
	wantCode(t, err, "NoSuchEntity")
	if changes := b.cloud.Changes(); len(changes) != 0 {
		t.Errorf("left behind: %s", pretty(changes))
	}
}

func TestInstanceProfilesAndProvidersLiveAndDie(t *testing.T) {
	b := start(t)
	c, ctx, name := iam.NewFromConfig(b.root(target, west)), t.Context(), aws.String("auditcanary-c1")
	profile := &iam.CreateInstanceProfileInput{InstanceProfileName: name, Path: canaryPath, Tags: iamRunTag}
	made, err := c.CreateInstanceProfile(ctx, profile)
	if err != nil || *made.InstanceProfile.Arn != "arn:aws:iam::"+target+":instance-profile/auditcanary/auditcanary-c1" {
		t.Fatalf("%s %v", pretty(made), err)
	}
	if rec := b.last("CreateInstanceProfile"); at(rec, "requestParameters", "instanceProfileName") != *name || at(rec, "responseElements", "instanceProfile", "arn") != *made.InstanceProfile.Arn {
		t.Errorf("record %s", pretty(rec))
	}
	_, err = c.CreateInstanceProfile(ctx, profile)
	wantCode(t, err, "EntityAlreadyExists")

	url := aws.String("https://auditcanary-c1.example.com")
	provider := &iam.CreateOpenIDConnectProviderInput{Url: url, ClientIDList: []string{"auditcanary"}, ThumbprintList: []string{strings.Repeat("0", 40)}, Tags: iamRunTag}
	got, err := c.CreateOpenIDConnectProvider(ctx, provider)
	if err != nil || *got.OpenIDConnectProviderArn != "arn:aws:iam::"+target+":oidc-provider/auditcanary-c1.example.com" {
		t.Fatalf("%s %v", pretty(got), err)
	}
	rec := b.last("CreateOpenIDConnectProvider")
	if at(rec, "requestParameters", "url") != *url || at(rec, "responseElements", "openIDConnectProviderArn") != *got.OpenIDConnectProviderArn {
		t.Errorf("record %s", pretty(rec))
	}
	_, err = c.CreateOpenIDConnectProvider(ctx, provider)
	wantCode(t, err, "EntityAlreadyExists")
	_, err = c.CreateOpenIDConnectProvider(ctx, &iam.CreateOpenIDConnectProviderInput{Url: aws.String("http://a.example.com"), ThumbprintList: provider.ThumbprintList})
	wantCode(t, err, "ValidationError")
	_, err = c.ListOpenIDConnectProviderTags(ctx, &iam.ListOpenIDConnectProviderTagsInput{OpenIDConnectProviderArn: aws.String("arn:aws:iam::" + target + ":oidc-provider/no.example.com")})
	wantCode(t, err, "NoSuchEntity")
	all, err := c.ListOpenIDConnectProviders(ctx, &iam.ListOpenIDConnectProvidersInput{})
	if err != nil || len(all.OpenIDConnectProviderList) != 1 {
		t.Errorf("%s %v", pretty(all), err)
	}

	for range 2 { // deleting a provider that is not there succeeds, as at AWS
		if _, err := c.DeleteOpenIDConnectProvider(ctx, &iam.DeleteOpenIDConnectProviderInput{OpenIDConnectProviderArn: got.OpenIDConnectProviderArn}); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := c.DeleteInstanceProfile(ctx, &iam.DeleteInstanceProfileInput{InstanceProfileName: name}); err != nil {
		t.Fatal(err)
	}
	_, err = c.DeleteInstanceProfile(ctx, &iam.DeleteInstanceProfileInput{InstanceProfileName: name})
	wantCode(t, err, "NoSuchEntity")
	if changes := b.cloud.Changes(); len(changes) != 0 {
		t.Errorf("left behind: %s", pretty(changes))
	}
}

// The organisation keeps the locked role's boundary, even from an administrator.
func TestTheLockedRolesBoundaryStays(t *testing.T) {
	b := start(t)
	if err := b.cloud.PermitInjector(target, mayAll); err != nil {
		t.Fatal(err)
	}
	c, ctx := iam.NewFromConfig(b.injector(target, east, "")), t.Context()
	name := aws.String(cloud.Fixtures(target, "*")["locked_role"])
	_, err := c.DeleteRolePermissionsBoundary(ctx, &iam.DeleteRolePermissionsBoundaryInput{RoleName: name})
	wantCode(t, err, "AccessDenied")
	rec := b.last("DeleteRolePermissionsBoundary")
	if !strings.Contains(message(err), "with an explicit deny in a service control policy") || rec["errorMessage"] != message(err) || rec["requestParameters"] != nil {
		t.Errorf("%v\n%s", err, pretty(rec))
	}
	put := &iam.PutRolePermissionsBoundaryInput{RoleName: name, PermissionsBoundary: aws.String(denyAllARN)}
	if _, err := c.PutRolePermissionsBoundary(ctx, put); err != nil {
		t.Fatal(err)
	}
	if changes := b.cloud.Changes(); len(changes) != 0 {
		t.Errorf("changed: %s", pretty(changes))
	}
	// The management account is bound by no such policy; its own roles are not protected.
	if _, err := c.CreateRole(ctx, canaryRole("auditcanary-c1")); err != nil {
		t.Fatal(err)
	}
	own := &iam.DeleteRolePermissionsBoundaryInput{RoleName: aws.String("auditcanary-c1")}
	if _, err := c.DeleteRolePermissionsBoundary(ctx, own); err != nil {
		t.Fatal(err)
	}
	_, err = c.DeleteRolePermissionsBoundary(ctx, own)
	wantCode(t, err, "NoSuchEntity")
	_, err = c.PutRolePermissionsBoundary(ctx, &iam.PutRolePermissionsBoundaryInput{RoleName: own.RoleName, PermissionsBoundary: aws.String("arn:aws:iam::aws:policy/No")})
	wantCode(t, err, "NoSuchEntity")
}

// Tags and boundaries decide, as the driver's policies ask: of the run, and no other.
func TestOnlyWhatCarriesTheRunIsReached(t *testing.T) {
	b := start(t)
	if err := b.cloud.PermitInjector(target, mayAll); err != nil {
		t.Fatal(err)
	}
	root, ctx, name := iam.NewFromConfig(b.root(target, east)), t.Context(), aws.String("auditcanary-c1")
	other := []iamtypes.Tag{{Key: aws.String("auditcanary:run"), Value: aws.String("r2")}}
	providerARN := aws.String("arn:aws:iam::" + target + ":oidc-provider/auditcanary-c1.example.com")
	policyARN := aws.String("arn:aws:iam::" + target + ":policy/auditcanary/auditcanary-c1")
	thumb := []string{strings.Repeat("0", 40)}
	make := func(c *iam.Client, tags []iamtypes.Tag, boundary *string) (errs []error) {
		_, err := c.CreatePolicy(ctx, &iam.CreatePolicyInput{PolicyName: name, Path: canaryPath, PolicyDocument: aws.String(denyDocument), Tags: tags})
		errs = append(errs, err)
		_, err = c.CreateUser(ctx, &iam.CreateUserInput{UserName: name, Path: canaryPath, PermissionsBoundary: boundary, Tags: tags})
		errs = append(errs, err)
		_, err = c.CreateInstanceProfile(ctx, &iam.CreateInstanceProfileInput{InstanceProfileName: name, Path: canaryPath, Tags: tags})
		errs = append(errs, err)
		_, err = c.CreateOpenIDConnectProvider(ctx, &iam.CreateOpenIDConnectProviderInput{Url: aws.String("https://auditcanary-c1.example.com"), ThumbprintList: thumb, Tags: tags})
		return append(errs, err)
	}
	unmake := func(c *iam.Client) (errs []error) {
		_, err := c.DeletePolicy(ctx, &iam.DeletePolicyInput{PolicyArn: policyARN})
		errs = append(errs, err)
		_, err = c.DeleteUser(ctx, &iam.DeleteUserInput{UserName: name})
		errs = append(errs, err)
		_, err = c.DeleteInstanceProfile(ctx, &iam.DeleteInstanceProfileInput{InstanceProfileName: name})
		errs = append(errs, err)
		_, err = c.DeleteOpenIDConnectProvider(ctx, &iam.DeleteOpenIDConnectProviderInput{OpenIDConnectProviderArn: providerARN})
		return append(errs, err)
	}
	creator := iam.NewFromConfig(b.injector(target, east, `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"iam:*","Resource":"*",
		"Condition":{"StringLike":{"aws:RequestTag/auditcanary:run":"r1"}}}]}`))
	bounded := iam.NewFromConfig(b.injector(target, east, `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"iam:CreateUser","Resource":"*",
		"Condition":{"StringLike":{"iam:PermissionsBoundary":"`+denyAllARN+`"}}},{"Effect":"Allow","Action":"iam:TagUser","Resource":"*"}]}`))
	undoer := iam.NewFromConfig(b.injector(target, east, `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"iam:*","Resource":"*",
		"Condition":{"StringLike":{"aws:ResourceTag/auditcanary:run":"r1"}}}]}`))

	for _, tags := range [][]iamtypes.Tag{nil, other} {
		for i, err := range make(creator, tags, nil) {
			if code(err) != "AccessDenied" {
				t.Errorf("thing %d was made with the tags %s: %v", i, pretty(tags), err)
			}
		}
	}
	if err := make(bounded, iamRunTag, nil)[1]; code(err) != "AccessDenied" {
		t.Errorf("a user without the boundary: %v", err)
	}
	if err := make(bounded, iamRunTag, aws.String(denyAllARN))[1]; err != nil {
		t.Errorf("a user with the boundary: %v", err)
	}
	if err := unmake(root)[1]; err != nil {
		t.Fatal(err)
	}

	for i, err := range make(root, other, nil) {
		if err != nil {
			t.Fatalf("thing %d: %v", i, err)
		}
	}
	for i, err := range unmake(undoer) {
		if code(err) != "AccessDenied" {
			t.Errorf("another run's thing %d was deleted: %v", i, err)
		}
	}
	for i, err := range unmake(root) {
		if err != nil {
			t.Fatalf("thing %d: %v", i, err)
		}
	}
	for i, err := range make(creator, iamRunTag, nil) {
		if err != nil {
			t.Errorf("thing %d: %v", i, err)
		}
	}
	for i, err := range unmake(undoer) {
		if err != nil {
			t.Errorf("thing %d: %v", i, err)
		}
	}
	if changes := b.cloud.Changes(); len(changes) != 0 {
		t.Errorf("left behind: %s", pretty(changes))
	}
}

func TestIAMListingsPage(t *testing.T) {
	b := start(t)
	c, ctx := iam.NewFromConfig(b.root(target, east)), t.Context()
	for i := range 5 {
		name := aws.String(fmt.Sprintf("auditcanary-c%d", i))
		path := canaryPath
		if i == 4 {
			path = aws.String("/elsewhere/")
		}
		if _, err := c.CreatePolicy(ctx, &iam.CreatePolicyInput{PolicyName: name, Path: path, PolicyDocument: aws.String(denyDocument)}); err != nil {
			t.Fatal(err)
		}
		if _, err := c.CreateUser(ctx, &iam.CreateUserInput{UserName: name, Path: path}); err != nil {
			t.Fatal(err)
		}
		if _, err := c.CreateInstanceProfile(ctx, &iam.CreateInstanceProfileInput{InstanceProfileName: name, Path: path}); err != nil {
			t.Fatal(err)
		}
	}
	pages, found := 0, map[string]int{}
	policies := iam.NewListPoliciesPaginator(c, &iam.ListPoliciesInput{PathPrefix: canaryPath, Scope: iamtypes.PolicyScopeTypeLocal, MaxItems: aws.Int32(3)})
	for policies.HasMorePages() {
		out, err := policies.NextPage(ctx)
		if err != nil {
			t.Fatal(err)
		}
		pages, found["policies"] = pages+1, found["policies"]+len(out.Policies)
	}
	users := iam.NewListUsersPaginator(c, &iam.ListUsersInput{PathPrefix: canaryPath, MaxItems: aws.Int32(3)})
	for users.HasMorePages() {
		out, err := users.NextPage(ctx)
		if err != nil {
			t.Fatal(err)
		}
		pages, found["users"] = pages+1, found["users"]+len(out.Users)
	}
	profiles := iam.NewListInstanceProfilesPaginator(c, &iam.ListInstanceProfilesInput{PathPrefix: canaryPath, MaxItems: aws.Int32(3)})
	for profiles.HasMorePages() {
		out, err := profiles.NextPage(ctx)
		if err != nil {
			t.Fatal(err)
		}
		pages, found["profiles"] = pages+1, found["profiles"]+len(out.InstanceProfiles)
	}
	if pages != 6 || found["policies"] != 4 || found["users"] != 4 || found["profiles"] != 4 {
		t.Errorf("%d pages: %v", pages, found)
	}
}

// Where our records of IAM legitimately differ from the real ones.
var iamDifferences = regexp.MustCompile(`^not in the real record: (tlsDetails.*|userIdentity\..*)$`)

func TestIAMsRecordsHaveTheShapeOfRealOnes(t *testing.T) {
	b := start(t)
	c, ctx := iam.NewFromConfig(b.root(target, east)), t.Context()
	if _, err := c.CreateUser(ctx, &iam.CreateUserInput{UserName: aws.String("Richard")}); err != nil {
		t.Fatal(err)
	}
	if _, err := c.ListUsers(ctx, &iam.ListUsersInput{}); err != nil {
		t.Fatal(err)
	}
	_, err := iam.NewFromConfig(b.injector(target, east, "")).PutRolePolicy(ctx, &iam.PutRolePolicyInput{RoleName: aws.String("auditcanary-injector"), PolicyName: aws.String("p"), PolicyDocument: aws.String(denyDocument)})
	wantCode(t, err, "AccessDenied")
	real := realRecords(t, "iam.ndjson")
	if len(real) != 3 {
		t.Fatalf("%d real records, want 3", len(real))
	}
	for _, r := range real {
		name := r.rec["eventName"].(string)
		for _, diff := range compareShapes(name, fmt.Sprint(r.rec["eventVersion"]), r.rec, b.last(name)) {
			if !iamDifferences.MatchString(diff) && diff != "missing: userIdentity.userName" {
				t.Errorf("%s (%s): %s", name, r.origin, diff)
			}
		}
	}
}
