package cloud_test

import (
	"encoding/json"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/organizations"
	orgtypes "github.com/aws/aws-sdk-go-v2/service/organizations/types"

	"github.com/auditcanary/auditcanary/tests/sandbox/cloud"
)

func TestAuthorizationDetailsHoldEveryPrincipalOnce(t *testing.T) {
	b := start(t)
	c, ctx := iam.NewFromConfig(b.root(target, east)), t.Context()
	in := canaryRole("auditcanary-c1")
	in.AssumeRolePolicyDocument = aws.String(`{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"AWS":"*"},"Action":"sts:AssumeRole","Condition":{"StringLike":{"aws:username":"a+b c%"}}}]}`)
	if _, err := c.CreateRole(ctx, in); err != nil {
		t.Fatal(err)
	}
	if _, err := c.PutRolePolicy(ctx, &iam.PutRolePolicyInput{RoleName: in.RoleName, PolicyName: aws.String("mine"), PolicyDocument: aws.String(`{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"s3:*","Resource":"*"}]}`)}); err != nil {
		t.Fatal(err)
	}
	if _, err := c.CreateUser(ctx, &iam.CreateUserInput{UserName: aws.String("auditcanary-u1")}); err != nil {
		t.Fatal(err)
	}
	for _, size := range []int32{1, 2, 1000} {
		var roles, users []string
		policies := map[string]string{}
		pages := iam.NewGetAccountAuthorizationDetailsPaginator(c, &iam.GetAccountAuthorizationDetailsInput{MaxItems: &size})
		for pages.HasMorePages() {
			page, err := pages.NextPage(ctx)
			if err != nil {
				t.Fatal(err)
			}
			if n := len(page.RoleDetailList) + len(page.UserDetailList) + len(page.Policies); n > int(size) {
				t.Errorf("%d entities on a page of %d", n, size)
			}
			for _, u := range page.UserDetailList {
				users = append(users, *u.UserName)
			}
			for _, r := range page.RoleDetailList {
				roles = append(roles, *r.RoleName)
				trust, err := url.PathUnescape(*r.AssumeRolePolicyDocument)
				if err != nil || !json.Valid([]byte(trust)) {
					t.Errorf("%s: trust %q %v", *r.RoleName, *r.AssumeRolePolicyDocument, err)
				}
				if *r.RoleName != *in.RoleName {
					continue
				}
				if trust != *in.AssumeRolePolicyDocument || strings.ContainsAny(*r.AssumeRolePolicyDocument, `{" +`) {
					t.Errorf("trust %s", *r.AssumeRolePolicyDocument)
				}
				if len(r.RolePolicyList) != 1 || *r.RolePolicyList[0].PolicyName != "mine" || *r.PermissionsBoundary.PermissionsBoundaryArn == "" {
					t.Errorf("role %s", pretty(r))
				}
			}
			for _, p := range page.Policies {
				for _, v := range p.PolicyVersionList {
					if v.IsDefaultVersion {
						policies[*p.PolicyName], _ = url.PathUnescape(*v.Document)
					}
				}
			}
		}
		if !slices.Contains(roles, "auditcanary-injector") || !slices.Contains(roles, "auditcanary-c1") || len(slices.Compact(slices.Sorted(slices.Values(roles)))) != len(roles) {
			t.Errorf("roles %v", roles)
		}
		if !slices.Equal(users, []string{"auditcanary-u1"}) || !strings.Contains(policies["AWSDenyAll"], `"Deny"`) {
			t.Errorf("users %v, policies %v", users, policies)
		}
	}
	_, err := iam.NewFromConfig(b.injector(target, east, "")).GetAccountAuthorizationDetails(ctx, nil)
	wantCode(t, err, "AccessDenied")
}

func TestTheOrganisationsTreeAndWhatIsAttachedToIt(t *testing.T) {
	b := start(t)
	c, ctx := organizations.NewFromConfig(b.root(cloud.ManagementAccount, east)), t.Context()
	roots, err := c.ListRoots(ctx, nil)
	if err != nil || len(roots.Roots) != 1 || roots.Roots[0].PolicyTypes[0].Type != orgtypes.PolicyTypeServiceControlPolicy {
		t.Fatal(pretty(roots), err)
	}
	root := roots.Roots[0].Id
	accounts, err := c.ListAccountsForParent(ctx, &organizations.ListAccountsForParentInput{ParentId: root})
	if err != nil || len(accounts.Accounts) != 5 {
		t.Error(pretty(accounts), err)
	}
	units, err := c.ListOrganizationalUnitsForParent(ctx, &organizations.ListOrganizationalUnitsForParentInput{ParentId: root})
	if err != nil || len(units.OrganizationalUnits) != 0 {
		t.Error(pretty(units), err)
	}
	_, err = c.ListAccountsForParent(ctx, &organizations.ListAccountsForParentInput{ParentId: aws.String("ou-none-12345678")})
	wantCode(t, err, "ParentNotFoundException")
	for id, want := range map[string]int{"p-FullAWSAccess": 6, "p-protecttrails": 1} {
		p, err := c.DescribePolicy(ctx, &organizations.DescribePolicyInput{PolicyId: &id})
		if err != nil || !json.Valid([]byte(*p.Policy.Content)) {
			t.Error(pretty(p), err)
		}
		n := 0
		pages := organizations.NewListTargetsForPolicyPaginator(c, &organizations.ListTargetsForPolicyInput{PolicyId: &id, MaxResults: aws.Int32(4)})
		for pages.HasMorePages() {
			page, err := pages.NextPage(ctx)
			if err != nil {
				t.Fatal(err)
			}
			n += len(page.Targets)
		}
		if n != want {
			t.Errorf("%s is attached %d times, want %d", id, n, want)
		}
	}
	_, err = c.DescribePolicy(ctx, &organizations.DescribePolicyInput{PolicyId: aws.String("p-none")})
	wantCode(t, err, "PolicyNotFoundException")
	_, err = organizations.NewFromConfig(b.root(target, east)).ListRoots(ctx, nil)
	wantCode(t, err, "AccessDeniedException")
}

func TestAKeysPolicyLeavesItToItsAccount(t *testing.T) {
	b := start(t)
	id := cloud.Fixtures(target, east)["kms_key"]
	c := kms.NewFromConfig(b.root(target, east))
	out, err := c.GetKeyPolicy(t.Context(), &kms.GetKeyPolicyInput{KeyId: &id})
	if err != nil || !strings.Contains(*out.Policy, "arn:aws:iam::"+target+":root") {
		t.Error(pretty(out), err)
	}
	_, err = c.GetKeyPolicy(t.Context(), &kms.GetKeyPolicyInput{KeyId: aws.String("nothing")})
	wantCode(t, err, "NotFoundException")
}

func TestWhatIsPlantedIsThere(t *testing.T) {
	b := start(t)
	doc := func(s string) json.RawMessage { return json.RawMessage(s) }
	trust := doc(`{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"AWS":"*"},"Action":"sts:AssumeRole"}]}`)
	for _, tc := range []struct {
		p    cloud.Planted
		want string
	}{
		{cloud.Planted{}, "either a role, a bucket"},
		{cloud.Planted{Role: &cloud.PlantedRole{Account: "1"}}, "no account"},
		{cloud.Planted{Role: &cloud.PlantedRole{Account: target, Name: "x"}}, "trust policy"},
		{cloud.Planted{Bucket: &cloud.PlantedBucket{Name: "none"}}, "no bucket"},
		{cloud.Planted{Bucket: &cloud.PlantedBucket{Name: cloud.ArchiveBucket, Policy: doc("{}")}}, "Statement"},
		// What the sandbox cannot evaluate grants nothing, and is shown.
		{cloud.Planted{Role: &cloud.PlantedRole{Account: target, Name: "odd", Trust: trust, Policy: doc(`{"Statement":{"Unless":"x"}}`)}}, ""},
	} {
		err := b.cloud.Plant(tc.p)
		if (err == nil) != (tc.want == "") || err != nil && !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s: %v, want %q", pretty(tc.p), err, tc.want)
		}
	}
	out, err := iam.NewFromConfig(b.root(target, east)).GetAccountAuthorizationDetails(t.Context(), &iam.GetAccountAuthorizationDetailsInput{MaxItems: aws.Int32(1000)})
	if err != nil || !strings.Contains(pretty(out), url.PathEscape(`"Unless"`)) {
		t.Errorf("%v", err)
	}
}
