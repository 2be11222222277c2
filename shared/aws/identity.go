package aws

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	iamtypes "github.com/aws/aws-sdk-go-v2/service/iam/types"
	"github.com/aws/aws-sdk-go-v2/service/sts"

	"github.com/auditcanary/auditcanary/shared/canary"
	"github.com/auditcanary/auditcanary/shared/run"
)

// Things of IAM that canaries make: all named after the canary and, but for
// identity providers, which have none, in the path /auditcanary/.
const (
	canaryPolicy   = policyPath + "{PolicyName}"
	canaryUser     = "arn:{partition}:iam::{account}:user/auditcanary/{UserName}"
	canaryProfile  = "arn:{partition}:iam::{account}:instance-profile/auditcanary/{InstanceProfileName}"
	canaryProvider = providerARN + "{name}" + providerDomain

	policyPath  = "arn:{partition}:iam::{account}:policy/auditcanary/"
	providerARN = "arn:{partition}:iam::{account}:oidc-provider/"
	// providerDomain is nobody's (RFC 2606): no token of such a provider can be issued.
	providerDomain = ".example.com"

	boundary = "iam:PermissionsBoundary"
)

// identityOperations: who may do what, and who acts as whom.
//
// What exists is reached by the run's tag alone: aws:ResourceTag restricts access
// to roles, users, managed policies, instance profiles and OIDC providers (IAM API
// reference: TagRole, TagUser, TagPolicy, TagInstanceProfile,
// TagOpenIDConnectProvider). Roles must have the boundary AWSDenyAll besides, so
// that the session's hands are off every other role, the injector's own among them.
func identityOperations() map[string]operation {
	return map[string]operation{
		// Roles: named after the canary, in the path /auditcanary/, trusting nobody,
		// bounded by AWSDenyAll; what is put into them only denies, what is attached to
		// them the boundary takes away.
		"iam:CreateRole":             {call: call(iam.NewFromConfig, (*iam.Client).CreateRole), global: true, subject: on("RoleName"), undo: "iam:DeleteRole", guards: guards{ownName("RoleName"), must("Path", rolePath), must("PermissionsBoundary", denyAll), onlyDenies("AssumeRolePolicyDocument"), runTags()}, grants: grants{allow(canaryRole, when{boundary: denyAll, requestTagRun: "{run}"}, "iam:CreateRole"), allow(canaryRole, when{requestTagRun: "{run}"}, "iam:TagRole")}},
		"iam:DeleteRole":             {call: call(iam.NewFromConfig, (*iam.Client).DeleteRole), global: true, subject: on("RoleName"), restores: true, guards: guards{ownName("RoleName")}, grants: grants{allow(canaryRole, when{boundary: denyAll, resourceTagRun: "{run}"}, "iam:DeleteRole")}},
		"iam:AttachRolePolicy":       {call: call(iam.NewFromConfig, (*iam.Client).AttachRolePolicy), global: true, subject: on("RoleName", "PolicyArn"), undo: "iam:DetachRolePolicy", guards: guards{ownName("RoleName")}, grants: grants{allow(canaryRole, when{boundary: denyAll, resourceTagRun: "{run}", "iam:PolicyARN": "{PolicyArn}"}, "iam:AttachRolePolicy")}},
		"iam:DetachRolePolicy":       {call: call(iam.NewFromConfig, (*iam.Client).DetachRolePolicy), global: true, subject: on("RoleName", "PolicyArn"), restores: true, guards: guards{ownName("RoleName")}, grants: grants{allow(canaryRole, when{boundary: denyAll, resourceTagRun: "{run}", "iam:PolicyARN": "{PolicyArn}"}, "iam:DetachRolePolicy")}},
		"iam:PutRolePolicy":          {call: call(iam.NewFromConfig, (*iam.Client).PutRolePolicy), global: true, subject: on("RoleName", "PolicyName"), undo: "iam:DeleteRolePolicy", guards: guards{ownName("RoleName"), ownName("PolicyName"), onlyDenies("PolicyDocument")}, grants: grants{allow(canaryRole, when{boundary: denyAll, resourceTagRun: "{run}"}, "iam:PutRolePolicy")}},
		"iam:DeleteRolePolicy":       {call: call(iam.NewFromConfig, (*iam.Client).DeleteRolePolicy), global: true, subject: on("RoleName", "PolicyName"), restores: true, guards: guards{ownName("RoleName")}, grants: grants{allow(canaryRole, when{boundary: denyAll, resourceTagRun: "{run}"}, "iam:DeleteRolePolicy")}},
		"iam:UpdateAssumeRolePolicy": {call: call(iam.NewFromConfig, (*iam.Client).UpdateAssumeRolePolicy), global: true, subject: on("RoleName"), guards: guards{ownName("RoleName"), onlyDenies("PolicyDocument")}, grants: grants{allow(canaryRole, when{boundary: denyAll, resourceTagRun: "{run}"}, "iam:UpdateAssumeRolePolicy")}},

		// The locked role, a fixture that trusts nobody and holds no right: for the
		// attempt to take its boundary away.
		"iam:DeleteRolePermissionsBoundary": {call: call(iam.NewFromConfig, (*iam.Client).DeleteRolePermissionsBoundary), global: true, subject: on("RoleName"), undo: "iam:PutRolePermissionsBoundary", guards: guards{theFixture("RoleName", fixtureLockedRole), markedName("RoleName")}, grants: grants{allow(canaryRole, when{boundary: denyAll, fixtureTag: "fixture"}, "iam:DeleteRolePermissionsBoundary")}},
		"iam:PutRolePermissionsBoundary":    {call: call(iam.NewFromConfig, (*iam.Client).PutRolePermissionsBoundary), global: true, subject: on("RoleName"), restores: true, guards: guards{theFixture("RoleName", fixtureLockedRole), markedName("RoleName"), must("PermissionsBoundary", denyAll)}, grants: grants{allow(canaryRole, when{boundary: denyAll, fixtureTag: "fixture"}, "iam:PutRolePermissionsBoundary")}},

		// Managed policies: every version of them only denies, and the canary attaches
		// them to nobody.
		"iam:CreatePolicy":        {call: call(iam.NewFromConfig, (*iam.Client).CreatePolicy), global: true, subject: on("PolicyName=PolicyArn"), undo: "iam:DeletePolicy", guards: guards{ownName("PolicyName"), must("Path", rolePath), onlyDenies("PolicyDocument"), runTags()}, grants: grants{allow(canaryPolicy, when{requestTagRun: "{run}"}, "iam:CreatePolicy", "iam:TagPolicy")}},
		"iam:DeletePolicy":        {call: call(iam.NewFromConfig, (*iam.Client).DeletePolicy), global: true, subject: on("PolicyArn"), restores: true, guards: guards{ownPolicy("PolicyArn")}, grants: grants{allow("{PolicyArn}", when{resourceTagRun: "{run}"}, "iam:DeletePolicy")}},
		"iam:CreatePolicyVersion": {call: call(iam.NewFromConfig, (*iam.Client).CreatePolicyVersion), global: true, subject: on("PolicyArn", "=VersionId"), undo: "iam:DeletePolicyVersion", guards: guards{ownPolicy("PolicyArn"), onlyDenies("PolicyDocument"), ifGiven(must("SetAsDefault", false))}, grants: grants{allow("{PolicyArn}", when{resourceTagRun: "{run}"}, "iam:CreatePolicyVersion")}},
		"iam:DeletePolicyVersion": {call: call(iam.NewFromConfig, (*iam.Client).DeletePolicyVersion), global: true, subject: on("PolicyArn", "VersionId"), restores: true, guards: guards{ownPolicy("PolicyArn"), madeID("VersionId", "v")}, grants: grants{allow("{PolicyArn}", when{resourceTagRun: "{run}"}, "iam:DeletePolicyVersion")}},

		// Users and their access keys: bounded by AWSDenyAll, without a password, a
		// policy or a group. A key takes no tags; its user has them. The secret of a key
		// is in the reply only, and no part of a reply is kept that is called so.
		"iam:CreateUser":      {call: call(iam.NewFromConfig, (*iam.Client).CreateUser), global: true, subject: on("UserName"), undo: "iam:DeleteUser", guards: guards{ownName("UserName"), must("Path", rolePath), must("PermissionsBoundary", denyAll), runTags()}, grants: grants{allow(canaryUser, when{boundary: denyAll, requestTagRun: "{run}"}, "iam:CreateUser"), allow(canaryUser, when{requestTagRun: "{run}"}, "iam:TagUser")}},
		"iam:DeleteUser":      {call: call(iam.NewFromConfig, (*iam.Client).DeleteUser), global: true, subject: on("UserName"), restores: true, guards: guards{ownName("UserName")}, grants: grants{allow(canaryUser, when{resourceTagRun: "{run}"}, "iam:DeleteUser")}},
		"iam:CreateAccessKey": {call: call(iam.NewFromConfig, (*iam.Client).CreateAccessKey), global: true, subject: on("UserName", "=AccessKeyId"), undo: "iam:DeleteAccessKey", guards: guards{ownName("UserName")}, grants: grants{allow(canaryUser, when{resourceTagRun: "{run}"}, "iam:CreateAccessKey")}},
		"iam:UpdateAccessKey": {call: call(iam.NewFromConfig, (*iam.Client).UpdateAccessKey), global: true, subject: on("UserName", "AccessKeyId"), guards: guards{ownName("UserName"), accessKeyID("AccessKeyId"), must("Status", "Inactive")}, grants: grants{allow(canaryUser, when{resourceTagRun: "{run}"}, "iam:UpdateAccessKey")}},
		"iam:DeleteAccessKey": {call: call(iam.NewFromConfig, (*iam.Client).DeleteAccessKey), global: true, subject: on("UserName", "AccessKeyId"), restores: true, guards: guards{ownName("UserName"), accessKeyID("AccessKeyId")}, grants: grants{allow(canaryUser, when{resourceTagRun: "{run}"}, "iam:DeleteAccessKey")}},

		// Instance profiles: without a role, hence of no use to any machine.
		"iam:CreateInstanceProfile": {call: call(iam.NewFromConfig, (*iam.Client).CreateInstanceProfile), global: true, subject: on("InstanceProfileName"), undo: "iam:DeleteInstanceProfile", guards: guards{ownName("InstanceProfileName"), must("Path", rolePath), runTags()}, grants: grants{allow(canaryProfile, when{requestTagRun: "{run}"}, "iam:CreateInstanceProfile", "iam:TagInstanceProfile")}},
		"iam:DeleteInstanceProfile": {call: call(iam.NewFromConfig, (*iam.Client).DeleteInstanceProfile), global: true, subject: on("InstanceProfileName"), restores: true, guards: guards{ownName("InstanceProfileName")}, grants: grants{allow(canaryProfile, when{resourceTagRun: "{run}"}, "iam:DeleteInstanceProfile")}},

		// Identity providers: of a host that nobody has, trusted by no role.
		"iam:CreateOpenIDConnectProvider": {call: call(iam.NewFromConfig, (*iam.Client).CreateOpenIDConnectProvider), global: true, subject: on("Url=OpenIDConnectProviderArn"), undo: "iam:DeleteOpenIDConnectProvider", guards: guards{ownProvider("Url", "https://"), runTags()}, grants: grants{allow(canaryProvider, when{requestTagRun: "{run}"}, "iam:CreateOpenIDConnectProvider", "iam:TagOpenIDConnectProvider")}},
		"iam:DeleteOpenIDConnectProvider": {call: call(iam.NewFromConfig, (*iam.Client).DeleteOpenIDConnectProvider), global: true, subject: on("OpenIDConnectProviderArn"), restores: true, guards: guards{ownProvider("OpenIDConnectProviderArn", providerARN)}, grants: grants{allow("{OpenIDConnectProviderArn}", when{resourceTagRun: "{run}"}, "iam:DeleteOpenIDConnectProvider")}},

		"sts:AssumeRole": {call: call(sts.NewFromConfig, (*sts.Client).AssumeRole), subject: on("RoleArn"), readOnly: true, guards: guards{breakGlassRole("RoleArn"), ownName("RoleSessionName"), onlyDenies("Policy"), deniesAll("Policy"), ifGiven(must("SourceIdentity", sourceIdentity))}, grants: grants{allow("{RoleArn}", nil, "sts:AssumeRole", "sts:SetSourceIdentity")}},
	}
}

// ownPolicy: a managed policy in the canaries' path, named after the canary.
func ownPolicy(param string) guard {
	return func(s scene, p map[string]any) error {
		v, path := textAt(p, param), s.fill(policyPath, nil)[0]
		if name, ok := strings.CutPrefix(v, path); !ok || strings.Contains(name, "/") {
			return fmt.Errorf("%s %q is no policy of the canaries: it must begin with %s", param, v, path)
		}
		return ownName(param)(s, p)
	}
}

// ownProvider: a provider of identities at the canary's own host, which must be
// of the domain that nobody has; before stands what comes before the host.
func ownProvider(param, before string) guard {
	return func(s scene, p map[string]any) error {
		v, lead := textAt(p, param), s.fill(before, nil)[0]
		rest, ok1 := strings.CutPrefix(v, lead)
		host, ok2 := strings.CutSuffix(rest, providerDomain)
		own := host == s.name || s.name == canary.Marker && strings.HasPrefix(host, canary.Marker+"-")
		if ok1 && ok2 && own && idForm.MatchString(host) {
			return nil
		}
		return fmt.Errorf("%s %q is no provider of the canary: it must be %s%s", param, v, lead, s.name+providerDomain)
	}
}

// fixtureLockedRole names, in the configuration, the role whose boundary must
// stay. No other role will do, canary-marked though it may be: the injector is.
const fixtureLockedRole = "locked_role"

var accessKeyForm = regexp.MustCompile(`^AKIA[A-Z0-9]{12,124}$`)

// accessKeyID: a long-lived key; at first a reference to the reply that made it.
// Whose key it is, the user's name says.
func accessKeyID(param string) guard {
	return func(_ scene, p map[string]any) error {
		v := textAt(p, param)
		if strings.HasPrefix(v, "${steps.") && strings.HasSuffix(v, "}") || accessKeyForm.MatchString(v) {
			return nil
		}
		return fmt.Errorf("%s %q must be the id of the key that an earlier step made, as ${steps.<step>.AccessKey.AccessKeyId}", param, v)
	}
}

// identityKinds are what these leave behind.
func identityKinds() []kind {
	return []kind{
		{name: "iam role", global: true, undo: []string{"iam:DetachRolePolicy", "iam:DeleteRolePolicy", "iam:DeleteRole"}, list: leftRoles, reads: grants{
			allow("*", nil, "iam:ListRoles"),
			allow("arn:{partition}:iam::{account}:role/auditcanary/*", nil, "iam:ListRoleTags", "iam:ListAttachedRolePolicies", "iam:ListRolePolicies"),
		}},
		{name: "iam role unbounded", global: true, undo: []string{"iam:PutRolePermissionsBoundary"}, fixture: fixtureLockedRole, list: leftBoundary, reads: grants{
			allow("arn:{partition}:iam::{account}:role/auditcanary/*", nil, "iam:GetRole"),
		}},
		{name: "iam policy", global: true, undo: []string{"iam:DeletePolicyVersion", "iam:DeletePolicy"}, list: leftManagedPolicies, reads: grants{
			allow("*", nil, "iam:ListPolicies"),
			allow(policyPath+"*", nil, "iam:ListPolicyTags", "iam:ListPolicyVersions"),
		}},
		{name: "iam user", global: true, undo: []string{"iam:DeleteAccessKey", "iam:DeleteUser"}, list: leftUsers, reads: grants{
			allow("*", nil, "iam:ListUsers"),
			allow("arn:{partition}:iam::{account}:user/auditcanary/*", nil, "iam:ListUserTags", "iam:ListAccessKeys"),
		}},
		{name: "iam instance profile", global: true, undo: []string{"iam:DeleteInstanceProfile"}, list: leftProfiles, reads: grants{
			allow("*", nil, "iam:ListInstanceProfiles"),
			allow("arn:{partition}:iam::{account}:instance-profile/auditcanary/*", nil, "iam:ListInstanceProfileTags"),
		}},
		{name: "iam oidc provider", global: true, undo: []string{"iam:DeleteOpenIDConnectProvider"}, list: leftProviders, reads: grants{
			allow("*", nil, "iam:ListOpenIDConnectProviders"),
			allow(providerARN+canary.Marker+"-*", nil, "iam:ListOpenIDConnectProviderTags"),
		}},
	}
}

// leftRoles: roles in the canaries' path that carry the name prefix, a run and
// a canary. Fixtures (the injector itself) carry no run.
func leftRoles(ctx context.Context, p place) ([]run.Leftover, error) {
	client := iam.NewFromConfig(p.cfg)
	var found []entity
	err := eachPage(ctx, p, "iam:ListRoles", iam.NewListRolesPaginator(client, &iam.ListRolesInput{PathPrefix: aws.String(rolePath)}), func(page *iam.ListRolesOutput) {
		for _, r := range page.Roles {
			found = append(found, entity{aws.ToString(r.RoleName), aws.ToString(r.Arn)})
		}
	})
	return ownEntities(found, err, func(e entity) ([]iamtypes.Tag, error) {
		pages := iam.NewListRoleTagsPaginator(client, &iam.ListRoleTagsInput{RoleName: &e.name})
		return gather(ctx, p, "iam:ListRoleTags of "+e.name, pages, func(page *iam.ListRoleTagsOutput) []iamtypes.Tag { return page.Tags })
	}, func(e entity) ([]canary.Call, error) { return undoRole(ctx, p, client, e.name) })
}

// undoRole: what is attached to it and what is in it goes first.
func undoRole(ctx context.Context, p place, client *iam.Client, name string) ([]canary.Call, error) {
	var undo []canary.Call
	attached, err := gather(ctx, p, "iam:ListAttachedRolePolicies of "+name, iam.NewListAttachedRolePoliciesPaginator(client, &iam.ListAttachedRolePoliciesInput{RoleName: &name}),
		func(page *iam.ListAttachedRolePoliciesOutput) []iamtypes.AttachedPolicy { return page.AttachedPolicies })
	if err != nil {
		return nil, err
	}
	for _, policy := range attached {
		undo = append(undo, p.removes("iam:DetachRolePolicy", map[string]any{"RoleName": name, "PolicyArn": aws.ToString(policy.PolicyArn)}))
	}
	inline, err := gather(ctx, p, "iam:ListRolePolicies of "+name, iam.NewListRolePoliciesPaginator(client, &iam.ListRolePoliciesInput{RoleName: &name}),
		func(page *iam.ListRolePoliciesOutput) []string { return page.PolicyNames })
	if err != nil {
		return nil, err
	}
	for _, policy := range inline {
		undo = append(undo, p.removes("iam:DeleteRolePolicy", map[string]any{"RoleName": name, "PolicyName": policy}))
	}
	return append(undo, p.removes("iam:DeleteRole", map[string]any{"RoleName": name})), nil
}

// leftBoundary: the locked role, if its boundary is gone. It must carry the
// fixture's tag: the configuration alone does not make a role ours.
func leftBoundary(ctx context.Context, p place) ([]run.Leftover, error) {
	name := p.scene.fixtures[fixtureLockedRole]
	what := "iam:GetRole of " + name
	bounded, cancel := p.bound(ctx)
	defer cancel()
	got, err := iam.NewFromConfig(p.cfg).GetRole(bounded, &iam.GetRoleInput{RoleName: &name})
	switch {
	case isGone(err):
		return nil, p.fail(fmt.Errorf("%w; %s", err, noFixture), what)
	case err != nil:
		return nil, p.fail(err, what)
	case got.Role == nil:
		return nil, p.fail(errors.New("the reply is empty"), what)
	}
	want := p.scene.fill(denyAll, nil)[0]
	if b := got.Role.PermissionsBoundary; b != nil && aws.ToString(b.PermissionsBoundaryArn) != "" {
		if is := aws.ToString(b.PermissionsBoundaryArn); is != want {
			return nil, p.fail(fmt.Errorf("its boundary is %s: no canary does that; look who did, and restore %s", is, want), what)
		}
		return nil, nil
	}
	if tagMap(got.Role.Tags)[tagFixture] != "fixture" {
		return nil, p.fail(fmt.Errorf("it has no boundary, but lacks the tag %s=fixture: it is not touched; correct fixtures.%s or tag the role", tagFixture, fixtureLockedRole), what)
	}
	return []run.Leftover{{ID: aws.ToString(got.Role.Arn), Undo: []canary.Call{{
		Operation: "iam:PutRolePermissionsBoundary", Region: homeRegion(p.scene.partition), Params: map[string]any{"RoleName": name, "PermissionsBoundary": want},
	}}}}, nil
}

// leftManagedPolicies: managed policies in the canaries' path. Versions go before the
// policy, but for the default one, which goes with it.
func leftManagedPolicies(ctx context.Context, p place) ([]run.Leftover, error) {
	client := iam.NewFromConfig(p.cfg)
	var found []entity
	all := &iam.ListPoliciesInput{Scope: iamtypes.PolicyScopeTypeLocal, PathPrefix: aws.String(rolePath)}
	err := eachPage(ctx, p, "iam:ListPolicies", iam.NewListPoliciesPaginator(client, all), func(page *iam.ListPoliciesOutput) {
		for _, x := range page.Policies {
			found = append(found, entity{aws.ToString(x.PolicyName), aws.ToString(x.Arn)})
		}
	})
	return ownEntities(found, err, func(e entity) ([]iamtypes.Tag, error) {
		pages := iam.NewListPolicyTagsPaginator(client, &iam.ListPolicyTagsInput{PolicyArn: &e.arn})
		return gather(ctx, p, "iam:ListPolicyTags of "+e.name, pages, func(page *iam.ListPolicyTagsOutput) []iamtypes.Tag { return page.Tags })
	}, func(e entity) ([]canary.Call, error) {
		versions, err := gather(ctx, p, "iam:ListPolicyVersions of "+e.name, iam.NewListPolicyVersionsPaginator(client, &iam.ListPolicyVersionsInput{PolicyArn: &e.arn}),
			func(page *iam.ListPolicyVersionsOutput) []iamtypes.PolicyVersion { return page.Versions })
		var undo []canary.Call
		for _, v := range versions {
			if !v.IsDefaultVersion {
				undo = append(undo, p.removes("iam:DeletePolicyVersion", map[string]any{"PolicyArn": e.arn, "VersionId": aws.ToString(v.VersionId)}))
			}
		}
		return append(undo, p.removes("iam:DeletePolicy", map[string]any{"PolicyArn": e.arn})), err
	})
}

// leftUsers: users in the canaries' path. Their keys go first.
func leftUsers(ctx context.Context, p place) ([]run.Leftover, error) {
	client := iam.NewFromConfig(p.cfg)
	var found []entity
	err := eachPage(ctx, p, "iam:ListUsers", iam.NewListUsersPaginator(client, &iam.ListUsersInput{PathPrefix: aws.String(rolePath)}), func(page *iam.ListUsersOutput) {
		for _, u := range page.Users {
			found = append(found, entity{aws.ToString(u.UserName), aws.ToString(u.Arn)})
		}
	})
	return ownEntities(found, err, func(e entity) ([]iamtypes.Tag, error) {
		pages := iam.NewListUserTagsPaginator(client, &iam.ListUserTagsInput{UserName: &e.name})
		return gather(ctx, p, "iam:ListUserTags of "+e.name, pages, func(page *iam.ListUserTagsOutput) []iamtypes.Tag { return page.Tags })
	}, func(e entity) ([]canary.Call, error) {
		keys, err := gather(ctx, p, "iam:ListAccessKeys of "+e.name, iam.NewListAccessKeysPaginator(client, &iam.ListAccessKeysInput{UserName: &e.name}),
			func(page *iam.ListAccessKeysOutput) []iamtypes.AccessKeyMetadata { return page.AccessKeyMetadata })
		var undo []canary.Call
		for _, k := range keys {
			undo = append(undo, p.removes("iam:DeleteAccessKey", map[string]any{"UserName": e.name, "AccessKeyId": aws.ToString(k.AccessKeyId)}))
		}
		return append(undo, p.removes("iam:DeleteUser", map[string]any{"UserName": e.name})), err
	})
}

// leftProfiles: instance profiles in the canaries' path. A role in one is nothing
// that a canary does: deleting fails then, and the sweep says so.
func leftProfiles(ctx context.Context, p place) ([]run.Leftover, error) {
	client := iam.NewFromConfig(p.cfg)
	var found []entity
	err := eachPage(ctx, p, "iam:ListInstanceProfiles", iam.NewListInstanceProfilesPaginator(client, &iam.ListInstanceProfilesInput{PathPrefix: aws.String(rolePath)}), func(page *iam.ListInstanceProfilesOutput) {
		for _, x := range page.InstanceProfiles {
			found = append(found, entity{aws.ToString(x.InstanceProfileName), aws.ToString(x.Arn)})
		}
	})
	return ownEntities(found, err, func(e entity) ([]iamtypes.Tag, error) {
		pages := iam.NewListInstanceProfileTagsPaginator(client, &iam.ListInstanceProfileTagsInput{InstanceProfileName: &e.name})
		return gather(ctx, p, "iam:ListInstanceProfileTags of "+e.name, pages, func(page *iam.ListInstanceProfileTagsOutput) []iamtypes.Tag { return page.Tags })
	}, func(e entity) ([]canary.Call, error) {
		return []canary.Call{p.removes("iam:DeleteInstanceProfile", map[string]any{"InstanceProfileName": e.name})}, nil
	})
}

// leftProviders: identity providers at hosts of the canaries'. The listing has
// no pages and no prefix: an account has at most 700 of them.
func leftProviders(ctx context.Context, p place) ([]run.Leftover, error) {
	client := iam.NewFromConfig(p.cfg)
	bounded, cancel := p.bound(ctx)
	defer cancel()
	all, err := client.ListOpenIDConnectProviders(bounded, &iam.ListOpenIDConnectProvidersInput{})
	if err != nil {
		return nil, p.fail(err, "iam:ListOpenIDConnectProviders")
	}
	var found []entity
	for _, x := range all.OpenIDConnectProviderList {
		host, _ := strings.CutPrefix(aws.ToString(x.Arn), p.scene.fill(providerARN, nil)[0])
		if name, ok := strings.CutSuffix(host, providerDomain); ok {
			found = append(found, entity{name, aws.ToString(x.Arn)})
		}
	}
	return ownEntities(found, nil, func(e entity) ([]iamtypes.Tag, error) {
		pages := iam.NewListOpenIDConnectProviderTagsPaginator(client, &iam.ListOpenIDConnectProviderTagsInput{OpenIDConnectProviderArn: &e.arn})
		return gather(ctx, p, "iam:ListOpenIDConnectProviderTags of "+e.name, pages, func(page *iam.ListOpenIDConnectProviderTagsOutput) []iamtypes.Tag { return page.Tags })
	}, func(e entity) ([]canary.Call, error) {
		return []canary.Call{p.removes("iam:DeleteOpenIDConnectProvider", map[string]any{"OpenIDConnectProviderArn": e.arn})}, nil
	})
}

// entity is something of IAM that was listed.
type entity struct{ name, arn string }

// ownEntities are those of the found that a canary made: they carry its name and
// its tags. What disappears while it is being looked at is no leftover. failed is
// what ended the listing, if it was cut short.
func ownEntities(found []entity, failed error, tags func(entity) ([]iamtypes.Tag, error), undo func(entity) ([]canary.Call, error)) ([]run.Leftover, error) {
	var left []run.Leftover
	for _, e := range found {
		if !strings.HasPrefix(e.name, canary.Marker+"-") {
			continue
		}
		list, err := tags(e)
		if isGone(err) {
			continue
		}
		if err != nil {
			return left, errors.Join(failed, err)
		}
		runID, canaryID, ok := made(tagMap(list))
		if own := canary.Marker + "-" + canaryID; !ok || e.name != own && !strings.HasPrefix(e.name, own+"-") {
			continue
		}
		calls, err := undo(e)
		if isGone(err) {
			continue
		}
		if err != nil {
			return left, errors.Join(failed, err)
		}
		left = append(left, run.Leftover{ID: e.arn, Run: runID, Canary: canaryID, Undo: calls})
	}
	return left, failed
}

func isGone(err error) bool {
	var gone *iamtypes.NoSuchEntityException
	return errors.As(err, &gone)
}

func tagMap(list []iamtypes.Tag) map[string]string {
	tags := map[string]string{}
	for _, t := range list {
		tags[aws.ToString(t.Key)] = aws.ToString(t.Value)
	}
	return tags
}

// removes is a call that removes something of IAM.
func (p place) removes(operation string, params map[string]any) canary.Call {
	return canary.Call{Operation: operation, Region: homeRegion(p.scene.partition), Gone: []string{"NoSuchEntity"}, Params: params}
}

// pager is one of the SDK's paginators.
type pager[Page any] interface {
	HasMorePages() bool
	NextPage(context.Context, ...func(*iam.Options)) (*Page, error)
}

// eachPage shows all pages of a listing. An error says that there may be more.
func eachPage[Page any](ctx context.Context, p place, what string, pages pager[Page], see func(*Page)) error {
	for pages.HasMorePages() {
		page, err := nextPage(ctx, p, pages.NextPage)
		if err != nil {
			return p.fail(err, what)
		}
		see(page)
	}
	return nil
}

// gather joins what the pages of a listing hold.
func gather[Page, Item any](ctx context.Context, p place, what string, pages pager[Page], of func(*Page) []Item) ([]Item, error) {
	var all []Item
	err := eachPage(ctx, p, what, pages, func(page *Page) { all = append(all, of(page)...) })
	return all, err
}
