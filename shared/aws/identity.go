package aws

import (
	"context"
	"errors"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	iamtypes "github.com/aws/aws-sdk-go-v2/service/iam/types"
	"github.com/aws/aws-sdk-go-v2/service/sts"

	"github.com/auditcanary/auditcanary/shared/canary"
	"github.com/auditcanary/auditcanary/shared/run"
)

// identityOperations: who may do what, and who acts as whom.
var identityOperations = map[string]operation{
	// Roles: named after the canary, in the path /auditcanary/, trusting nobody,
	// bounded by AWSDenyAll. The boundary is what keeps the session's hands off
	// every other role, the injector's own among them.
	"iam:CreateRole":       {call: call(iam.NewFromConfig, (*iam.Client).CreateRole), global: true, subject: on("RoleName"), undo: "iam:DeleteRole", guards: guards{ownName("RoleName"), must("Path", rolePath), must("PermissionsBoundary", denyAll), onlyDenies("AssumeRolePolicyDocument"), runTags()}, grants: grants{allow(canaryRole, when{"iam:PermissionsBoundary": denyAll, requestTagRun: "{run}"}, "iam:CreateRole"), allow(canaryRole, when{requestTagRun: "{run}"}, "iam:TagRole")}},
	"iam:DeleteRole":       {call: call(iam.NewFromConfig, (*iam.Client).DeleteRole), global: true, subject: on("RoleName"), restores: true, guards: guards{ownName("RoleName")}, grants: grants{allow(canaryRole, when{"iam:PermissionsBoundary": denyAll}, "iam:DeleteRole")}},
	"iam:AttachRolePolicy": {call: call(iam.NewFromConfig, (*iam.Client).AttachRolePolicy), global: true, subject: on("RoleName", "PolicyArn"), undo: "iam:DetachRolePolicy", guards: guards{ownName("RoleName")}, grants: grants{allow(canaryRole, when{"iam:PermissionsBoundary": denyAll, "iam:PolicyARN": "{PolicyArn}"}, "iam:AttachRolePolicy")}},
	"iam:DetachRolePolicy": {call: call(iam.NewFromConfig, (*iam.Client).DetachRolePolicy), global: true, subject: on("RoleName", "PolicyArn"), restores: true, guards: guards{ownName("RoleName")}, grants: grants{allow(canaryRole, when{"iam:PermissionsBoundary": denyAll, "iam:PolicyARN": "{PolicyArn}"}, "iam:DetachRolePolicy")}},
	"sts:AssumeRole":       {call: call(sts.NewFromConfig, (*sts.Client).AssumeRole), subject: on("RoleArn"), readOnly: true, guards: guards{breakGlassRole("RoleArn"), ownName("RoleSessionName"), onlyDenies("Policy"), deniesAll("Policy"), ifGiven(must("SourceIdentity", sourceIdentity))}, grants: grants{allow("{RoleArn}", nil, "sts:AssumeRole", "sts:SetSourceIdentity")}},
}

// identityKinds are what these leave behind.
var identityKinds = []kind{
	{name: "iam role", global: true, list: leftRoles, reads: grants{
		allow("*", nil, "iam:ListRoles"),
		allow("arn:{partition}:iam::{account}:role/auditcanary/*", nil, "iam:ListRoleTags", "iam:ListAttachedRolePolicies"),
	}},
}

// leftRoles: roles in the canaries' path that carry the name prefix, a run and
// a canary. Fixtures (the injector itself) carry no run.
func leftRoles(ctx context.Context, p place) ([]run.Leftover, error) {
	client := iam.NewFromConfig(p.cfg)
	var left []run.Leftover
	pages := iam.NewListRolesPaginator(client, &iam.ListRolesInput{PathPrefix: aws.String(rolePath)})
	for pages.HasMorePages() {
		page, err := nextPage(ctx, p, pages.NextPage)
		if err != nil {
			return left, p.fail(err, "iam:ListRoles")
		}
		for _, role := range page.Roles {
			name := aws.ToString(role.RoleName)
			if !strings.HasPrefix(name, canary.Marker+"-") {
				continue
			}
			tags, err := roleTags(ctx, p, client, name)
			if err != nil {
				return left, err
			}
			runID, canaryID, ok := made(tags)
			if !ok || name != canary.Marker+"-"+canaryID && !strings.HasPrefix(name, canary.Marker+"-"+canaryID+"-") {
				continue
			}
			undo, err := undoRole(ctx, p, client, name)
			if err != nil {
				return left, err
			}
			left = append(left, run.Leftover{ID: aws.ToString(role.Arn), Run: runID, Canary: canaryID, Undo: undo})
		}
	}
	return left, nil
}

func roleTags(ctx context.Context, p place, client *iam.Client, name string) (map[string]string, error) {
	tags := map[string]string{}
	pages := iam.NewListRoleTagsPaginator(client, &iam.ListRoleTagsInput{RoleName: &name})
	for pages.HasMorePages() {
		page, err := nextPage(ctx, p, pages.NextPage)
		var gone *iamtypes.NoSuchEntityException
		if errors.As(err, &gone) {
			return nil, nil // deleted since it was listed
		}
		if err != nil {
			return nil, p.fail(err, "iam:ListRoleTags of "+name)
		}
		for _, t := range page.Tags {
			tags[aws.ToString(t.Key)] = aws.ToString(t.Value)
		}
	}
	return tags, nil
}

// undoRole: what is attached goes first.
func undoRole(ctx context.Context, p place, client *iam.Client, name string) ([]canary.Call, error) {
	region := homeRegion(p.scene.partition)
	var undo []canary.Call
	pages := iam.NewListAttachedRolePoliciesPaginator(client, &iam.ListAttachedRolePoliciesInput{RoleName: &name})
	for pages.HasMorePages() {
		page, err := nextPage(ctx, p, pages.NextPage)
		var gone *iamtypes.NoSuchEntityException
		if errors.As(err, &gone) {
			break
		}
		if err != nil {
			return nil, p.fail(err, "iam:ListAttachedRolePolicies of "+name)
		}
		for _, pol := range page.AttachedPolicies {
			undo = append(undo, canary.Call{Operation: "iam:DetachRolePolicy", Region: region, Gone: []string{"NoSuchEntity"},
				Params: map[string]any{"RoleName": name, "PolicyArn": aws.ToString(pol.PolicyArn)}})
		}
	}
	return append(undo, canary.Call{Operation: "iam:DeleteRole", Region: region, Gone: []string{"NoSuchEntity"},
		Params: map[string]any{"RoleName": name}}), nil
}
