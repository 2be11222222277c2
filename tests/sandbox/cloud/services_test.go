package cloud_test

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/cloudtrail"
	cttypes "github.com/aws/aws-sdk-go-v2/service/cloudtrail/types"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	ec2types "github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	iamtypes "github.com/aws/aws-sdk-go-v2/service/iam/types"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	kmstypes "github.com/aws/aws-sdk-go-v2/service/kms/types"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"github.com/auditcanary/auditcanary/tests/sandbox/cloud"
)

const (
	denyAllARN = "arn:aws:iam::aws:policy/AWSDenyAll"
	adminARN   = "arn:aws:iam::aws:policy/AdministratorAccess"
	nobody     = `{"Version":"2012-10-17","Statement":[{"Effect":"Deny","Principal":{"AWS":"*"},"Action":"sts:AssumeRole"}]}`
)

func canaryRole(name string) *iam.CreateRoleInput {
	return &iam.CreateRoleInput{
		RoleName: &name, Path: aws.String("/auditcanary/"), AssumeRolePolicyDocument: aws.String(nobody),
		PermissionsBoundary: aws.String(denyAllARN), Description: aws.String("canary"),
		Tags: []iamtypes.Tag{{Key: aws.String("auditcanary:run"), Value: aws.String("r1")}},
	}
}

func TestARoleLivesAndDies(t *testing.T) {
	b := start(t)
	c := iam.NewFromConfig(b.injector(target, west, ""))
	ctx, name := t.Context(), aws.String("auditcanary-c1")
	out, err := c.CreateRole(ctx, canaryRole(*name))
	if err != nil {
		t.Fatal(err)
	}
	if doc, _ := url.PathUnescape(*out.Role.AssumeRolePolicyDocument); doc != nobody {
		t.Errorf("document %q", doc)
	}
	if *out.Role.Arn != "arn:aws:iam::"+target+":role/auditcanary/auditcanary-c1" || *out.Role.PermissionsBoundary.PermissionsBoundaryArn != denyAllARN {
		t.Errorf("role %s", pretty(out.Role))
	}
	rec := b.last("CreateRole")
	if rec["awsRegion"] != east || at(rec, "requestParameters", "roleName") != *name || at(rec, "requestParameters", "permissionsBoundary") != denyAllARN ||
		at(rec, "responseElements", "role", "arn") != *out.Role.Arn {
		t.Errorf("record %s", pretty(rec))
	}
	_, err = c.CreateRole(ctx, canaryRole(*name))
	wantCode(t, err, "EntityAlreadyExists")
	if got := b.last("CreateRole")["errorCode"]; got != "EntityAlreadyExistsException" {
		t.Errorf("recorded code %v", got)
	}

	attach := &iam.AttachRolePolicyInput{RoleName: name, PolicyArn: aws.String(adminARN)}
	if _, err := c.AttachRolePolicy(ctx, attach); err != nil {
		t.Fatal(err)
	}
	_, err = c.AttachRolePolicy(ctx, &iam.AttachRolePolicyInput{RoleName: name, PolicyArn: aws.String("arn:aws:iam::aws:policy/No")})
	wantCode(t, err, "NoSuchEntity")
	_, err = c.DeleteRole(ctx, &iam.DeleteRoleInput{RoleName: name})
	wantCode(t, err, "DeleteConflict")
	if changes := b.cloud.Changes(); len(changes) != 1 || changes[0].ID != "/auditcanary/auditcanary-c1" || !strings.Contains(changes[0].Is, adminARN) {
		t.Errorf("changes %s", pretty(changes))
	}
	listed, err := c.ListAttachedRolePolicies(ctx, &iam.ListAttachedRolePoliciesInput{RoleName: name})
	if err != nil || len(listed.AttachedPolicies) != 1 || *listed.AttachedPolicies[0].PolicyName != "AdministratorAccess" {
		t.Errorf("attached %s %v", pretty(listed), err)
	}
	tagged, err := c.ListRoleTags(ctx, &iam.ListRoleTagsInput{RoleName: name})
	if err != nil || len(tagged.Tags) != 1 || *tagged.Tags[0].Value != "r1" {
		t.Errorf("tags %s %v", pretty(tagged), err)
	}
	detach := &iam.DetachRolePolicyInput{RoleName: name, PolicyArn: aws.String(adminARN)}
	if _, err := c.DetachRolePolicy(ctx, detach); err != nil {
		t.Fatal(err)
	}
	_, err = c.DetachRolePolicy(ctx, detach)
	wantCode(t, err, "NoSuchEntity")
	if _, err := c.DeleteRole(ctx, &iam.DeleteRoleInput{RoleName: name}); err != nil {
		t.Fatal(err)
	}
	// What is gone has no path and no boundary, so a policy that asks for them
	// denies before anybody looks whether the role is there.
	_, err = c.DeleteRole(ctx, &iam.DeleteRoleInput{RoleName: name})
	wantCode(t, err, "AccessDenied")
	_, err = iam.NewFromConfig(b.root(target, west)).DeleteRole(ctx, &iam.DeleteRoleInput{RoleName: name})
	wantCode(t, err, "NoSuchEntity")
	if changes := b.cloud.Changes(); len(changes) != 0 {
		t.Errorf("left behind: %s", pretty(changes))
	}
}

func TestIAMRefuses(t *testing.T) {
	b := start(t)
	c := iam.NewFromConfig(b.injector(target, east, ""))
	ctx := t.Context()
	for _, tc := range []struct {
		name string
		do   func() error
		code string
		says string
	}{
		{"a role without the boundary", func() error {
			in := canaryRole("auditcanary-c2")
			in.PermissionsBoundary = nil
			_, err := c.CreateRole(ctx, in)
			return err
		}, "AccessDenied", "because no identity-based policy allows the iam:CreateRole action"},
		{"a role with another name", func() error { _, err := c.CreateRole(ctx, canaryRole("admin")); return err }, "AccessDenied", "iam:CreateRole"},
		{"deleting a fixture", func() error {
			_, err := c.DeleteRole(ctx, &iam.DeleteRoleInput{RoleName: aws.String("auditcanary-injector")})
			return err
		}, "AccessDenied", "on resource: role auditcanary-injector with an explicit deny in an identity-based policy"},
		{"a trust policy that is none", func() error {
			in := canaryRole("auditcanary-c2")
			in.AssumeRolePolicyDocument = aws.String(`{"Version":"2012-10-17"}`)
			_, err := c.CreateRole(ctx, in)
			return err
		}, "MalformedPolicyDocument", "Statement"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			err := tc.do()
			wantCode(t, err, tc.code)
			if !strings.Contains(message(err), tc.says) {
				t.Errorf("message %q does not hold %q", message(err), tc.says)
			}
		})
	}
	if rec := b.last("DeleteRole"); rec["requestParameters"] != nil || rec["errorCode"] != "AccessDenied" || rec["responseElements"] != nil {
		t.Errorf("record of a denial: %s", pretty(rec))
	}
}

func TestListRolesPages(t *testing.T) {
	b := start(t)
	c := iam.NewFromConfig(b.root(target, east))
	for i := range 5 {
		if _, err := c.CreateRole(t.Context(), canaryRole(fmt.Sprintf("auditcanary-c%d", i))); err != nil {
			t.Fatal(err)
		}
	}
	var names []string
	pages := iam.NewListRolesPaginator(c, &iam.ListRolesInput{PathPrefix: aws.String("/auditcanary/"), MaxItems: aws.Int32(2)})
	n := 0
	for pages.HasMorePages() {
		out, err := pages.NextPage(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		n++
		for _, r := range out.Roles {
			names = append(names, *r.RoleName)
		}
	}
	if n != 5 || len(names) != 9 || !slices.Contains(names, "auditcanary-injector") || slices.Contains(names, "auditcanary-break-glass") {
		t.Errorf("%d pages: %v", n, names)
	}
}

func ingress() []ec2types.IpPermission {
	return []ec2types.IpPermission{{
		IpProtocol: aws.String("tcp"), FromPort: aws.Int32(1), ToPort: aws.Int32(1),
		IpRanges: []ec2types.IpRange{{CidrIp: aws.String("192.0.2.1/32"), Description: aws.String("canary")}},
	}}
}

func authorize(group string) *ec2.AuthorizeSecurityGroupIngressInput {
	return &ec2.AuthorizeSecurityGroupIngressInput{GroupId: &group, IpPermissions: ingress(),
		TagSpecifications: []ec2types.TagSpecification{{ResourceType: ec2types.ResourceTypeSecurityGroupRule,
			Tags: []ec2types.Tag{{Key: aws.String("auditcanary:run"), Value: aws.String("r1")}}}}}
}

func TestAGroupRuleComesAndGoes(t *testing.T) {
	b := start(t)
	group := cloud.Fixtures(target, west)["security_group"]
	c, ctx := ec2.NewFromConfig(b.injector(target, west, "")), t.Context()
	out, err := c.AuthorizeSecurityGroupIngress(ctx, authorize(group))
	if err != nil {
		t.Fatal(err)
	}
	if len(out.SecurityGroupRules) != 1 || *out.SecurityGroupRules[0].CidrIpv4 != "192.0.2.1/32" || len(out.SecurityGroupRules[0].Tags) != 1 {
		t.Fatalf("rules %s", pretty(out.SecurityGroupRules))
	}
	rec := b.last("AuthorizeSecurityGroupIngress")
	items, _ := at(rec, "requestParameters", "ipPermissions", "items").([]any)
	if rec["awsRegion"] != west || len(items) != 1 || at(items[0], "fromPort") != 1.0 {
		t.Errorf("record %s", pretty(rec))
	}
	if at(rec, "responseElements", "_return") != true || at(rec, "responseElements", "requestId") != rec["requestID"] {
		t.Errorf("response %s", pretty(rec["responseElements"]))
	}
	_, err = c.AuthorizeSecurityGroupIngress(ctx, authorize(group))
	wantCode(t, err, "InvalidPermission.Duplicate")
	if got := b.last("AuthorizeSecurityGroupIngress")["errorCode"]; got != "Client.InvalidPermission.Duplicate" {
		t.Errorf("recorded code %v", got)
	}

	filter := func(name, value string) []ec2types.Filter {
		return []ec2types.Filter{{Name: &name, Values: []string{value}}}
	}
	rules, err := c.DescribeSecurityGroupRules(ctx, &ec2.DescribeSecurityGroupRulesInput{Filters: filter("tag:auditcanary:run", "r*")})
	if err != nil || len(rules.SecurityGroupRules) != 1 {
		t.Fatalf("by tag: %s %v", pretty(rules), err)
	}
	rules, err = c.DescribeSecurityGroupRules(ctx, &ec2.DescribeSecurityGroupRulesInput{Filters: filter("tag:auditcanary:run", "r2")})
	if err != nil || len(rules.SecurityGroupRules) != 0 {
		t.Fatalf("by another tag: %s %v", pretty(rules), err)
	}
	_, err = c.DescribeSecurityGroupRules(ctx, &ec2.DescribeSecurityGroupRulesInput{Filters: filter("colour", "red")})
	wantCode(t, err, "InvalidParameterValue")
	groups, err := c.DescribeSecurityGroups(ctx, &ec2.DescribeSecurityGroupsInput{Filters: filter("tag:auditcanary", "fixture")})
	if err != nil || len(groups.SecurityGroups) != 1 || len(groups.SecurityGroups[0].IpPermissions) != 1 {
		t.Fatalf("groups: %s %v", pretty(groups), err)
	}

	revoke := &ec2.RevokeSecurityGroupIngressInput{GroupId: &group, IpPermissions: ingress()}
	gone, err := c.RevokeSecurityGroupIngress(ctx, revoke)
	if err != nil || len(gone.RevokedSecurityGroupRules) != 1 {
		t.Fatalf("revoked %s %v", pretty(gone), err)
	}
	_, err = c.RevokeSecurityGroupIngress(ctx, revoke)
	wantCode(t, err, "InvalidPermission.NotFound")
	if changes := b.cloud.Changes(); len(changes) != 0 {
		t.Errorf("left behind: %s", pretty(changes))
	}
	_, err = ec2.NewFromConfig(b.root(target, west)).AuthorizeSecurityGroupIngress(ctx, authorize("sg-0"))
	wantCode(t, err, "InvalidGroup.NotFound")
	_, err = c.AuthorizeSecurityGroupIngress(ctx, authorize("sg-0")) // no fixture tag: no right
	wantCode(t, err, "UnauthorizedOperation")
	if rec := b.last("AuthorizeSecurityGroupIngress"); at(rec, "requestParameters", "groupId") != "sg-0" || rec["errorCode"] != "Client.UnauthorizedOperation" {
		t.Errorf("EC2 keeps the parameters of a denied call: %s", pretty(rec))
	}
}

func TestDryRunDecidesFirst(t *testing.T) {
	b := start(t)
	in := &ec2.DeleteFlowLogsInput{FlowLogIds: []string{"fl-00000000000000000"}, DryRun: aws.Bool(true)}
	_, err := ec2.NewFromConfig(b.injector(target, east, "")).DeleteFlowLogs(t.Context(), in)
	wantCode(t, err, "DryRunOperation")
	rec := b.last("DeleteFlowLogs")
	if rec["errorCode"] != "Client.DryRunOperation" || rec["errorMessage"] != "Request would have succeeded, but DryRun flag is set." ||
		at(rec, "requestParameters", "DeleteFlowLogsRequest", "FlowLogId", "content") != "fl-00000000000000000" {
		t.Errorf("record %s", pretty(rec))
	}
	in.DryRun = nil
	out, err := ec2.NewFromConfig(b.injector(target, east, "")).DeleteFlowLogs(t.Context(), in)
	if err != nil || len(out.Unsuccessful) != 1 || *out.Unsuccessful[0].Error.Code != "InvalidFlowLogId.NotFound" {
		t.Errorf("without DryRun: %s %v", pretty(out), err)
	}
	in.DryRun = aws.Bool(true)
	only := `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"ec2:Describe*","Resource":"*"}]}`
	_, err = ec2.NewFromConfig(b.injector(target, east, only)).DeleteFlowLogs(t.Context(), in)
	wantCode(t, err, "UnauthorizedOperation")
	if !strings.Contains(message(err), "because no session policy allows the ec2:DeleteFlowLogs action") {
		t.Errorf("message %q", message(err))
	}
}

func TestAKeyIsDisabledAndEnabled(t *testing.T) {
	b := start(t)
	id := cloud.Fixtures(target, west)["kms_key"]
	c, ctx := kms.NewFromConfig(b.injector(target, west, "")), t.Context()
	if _, err := c.DisableKey(ctx, &kms.DisableKeyInput{KeyId: &id}); err != nil {
		t.Fatal(err)
	}
	got, err := c.DescribeKey(ctx, &kms.DescribeKeyInput{KeyId: &id})
	if err != nil || got.KeyMetadata.Enabled || got.KeyMetadata.KeyState != "Disabled" {
		t.Fatalf("%s %v", pretty(got), err)
	}
	if len(b.cloud.Changes()) != 1 {
		t.Errorf("changes %s", pretty(b.cloud.Changes()))
	}
	rec := b.last("DisableKey")
	list, _ := rec["resources"].([]any)
	if at(rec, "requestParameters", "keyId") != id || len(list) != 1 || at(list[0], "ARN") != *got.KeyMetadata.Arn || at(rec, "responseElements", "keyId") != *got.KeyMetadata.Arn {
		t.Errorf("record %s", pretty(rec))
	}
	if _, err := c.EnableKey(ctx, &kms.EnableKeyInput{KeyId: got.KeyMetadata.Arn}); err != nil {
		t.Fatal(err)
	}
	if len(b.cloud.Changes()) != 0 {
		t.Errorf("changes %s", pretty(b.cloud.Changes()))
	}
	listed, err := c.ListKeys(ctx, nil)
	if err != nil || len(listed.Keys) != 4 || !slices.ContainsFunc(listed.Keys, func(k kmstypes.KeyListEntry) bool { return *k.KeyId == id }) {
		t.Errorf("keys %s %v", pretty(listed), err)
	}
	tags, err := c.ListResourceTags(ctx, &kms.ListResourceTagsInput{KeyId: &id})
	if err != nil || len(tags.Tags) != 1 || *tags.Tags[0].TagValue != "fixture" {
		t.Errorf("tags %s %v", pretty(tags), err)
	}
	elsewhere := cloud.Fixtures(target, east)["kms_key"]
	_, err = c.DisableKey(ctx, &kms.DisableKeyInput{KeyId: &elsewhere}) // not of this region: unknown, hence untagged
	wantCode(t, err, "AccessDeniedException")
	if rec := b.last("DisableKey"); rec["errorCode"] != "AccessDenied" || rec["requestParameters"] != nil {
		t.Errorf("record %s", pretty(rec))
	}
	_, err = kms.NewFromConfig(b.root(target, west)).DisableKey(ctx, &kms.DisableKeyInput{KeyId: &elsewhere})
	wantCode(t, err, "NotFoundException")
}

func TestTheServiceControlPolicyGuardsTheLockedTrail(t *testing.T) {
	b := start(t)
	c, ctx := cloudtrail.NewFromConfig(b.injector(target, west, "")), t.Context()
	_, err := c.StopLogging(ctx, &cloudtrail.StopLoggingInput{Name: aws.String("auditcanary-locked")})
	wantCode(t, err, "AccessDeniedException")
	if !strings.Contains(message(err), "with an explicit deny in a service control policy: arn:aws:organizations::") {
		t.Errorf("message %q", message(err))
	}
	if rec := b.last("StopLogging"); rec["errorCode"] != "AccessDenied" || rec["readOnly"] != false {
		t.Errorf("record %s", pretty(rec))
	}
	// Not even the account's root user may; it is the policy, not the role.
	_, err = cloudtrail.NewFromConfig(b.root(target, west)).StopLogging(ctx, &cloudtrail.StopLoggingInput{Name: aws.String("auditcanary-locked")})
	wantCode(t, err, "AccessDeniedException")
	status, err := c.GetTrailStatus(ctx, &cloudtrail.GetTrailStatusInput{Name: aws.String("auditcanary-locked")})
	if err != nil || !*status.IsLogging {
		t.Errorf("status %s %v", pretty(status), err)
	}
}

func TestTheDecoyTrailStopsAndStarts(t *testing.T) {
	b := start(t)
	c, ctx := cloudtrail.NewFromConfig(b.injector(target, west, "")), t.Context()
	decoy := aws.String("auditcanary-decoy")
	if _, err := c.StopLogging(ctx, &cloudtrail.StopLoggingInput{Name: decoy}); err != nil {
		t.Fatal(err)
	}
	status, err := c.GetTrailStatus(ctx, &cloudtrail.GetTrailStatusInput{Name: decoy})
	if err != nil || *status.IsLogging || status.StopLoggingTime == nil {
		t.Errorf("status %s %v", pretty(status), err)
	}
	if len(b.cloud.Changes()) != 1 {
		t.Errorf("changes %s", pretty(b.cloud.Changes()))
	}
	if _, err := c.StartLogging(ctx, &cloudtrail.StartLoggingInput{Name: decoy}); err != nil {
		t.Fatal(err)
	}
	root := cloudtrail.NewFromConfig(b.root(target, west))
	_, err = root.StopLogging(ctx, &cloudtrail.StopLoggingInput{Name: aws.String("nothing")})
	wantCode(t, err, "TrailNotFoundException")
	_, err = root.StopLogging(ctx, &cloudtrail.StopLoggingInput{Name: aws.String("arn:aws:cloudtrail:us-east-1:" + target + ":trail/auditcanary-decoy")})
	wantCode(t, err, "TrailNotFoundException") // a single-region trail is not seen from elsewhere
	trails, err := root.DescribeTrails(ctx, nil)
	if err != nil || len(trails.TrailList) != 6 {
		t.Errorf("trails %s %v", pretty(trails), err)
	}
	org, err := root.GetTrail(ctx, &cloudtrail.GetTrailInput{Name: aws.String("arn:aws:cloudtrail:us-east-1:" + cloud.ManagementAccount + ":trail/org-trail")})
	if err != nil || !*org.Trail.IsOrganizationTrail || *org.Trail.S3BucketName != cloud.ArchiveBucket {
		t.Errorf("trail %s %v", pretty(org), err)
	}
}

func TestNothingIsDeliveredWhileTheOrganisationTrailIsStopped(t *testing.T) {
	b := start(t)
	ctx, trail := t.Context(), aws.String("org-trail")
	from := func(region string) *cloudtrail.Client {
		return cloudtrail.NewFromConfig(b.root(cloud.ManagementAccount, region))
	}
	_, err := from(west).StopLogging(ctx, &cloudtrail.StopLoggingInput{Name: trail})
	wantCode(t, err, "InvalidHomeRegionException")
	if _, err := from(east).StopLogging(ctx, &cloudtrail.StopLoggingInput{Name: trail}); err != nil {
		t.Fatal(err)
	}
	n := len(b.all("GetCallerIdentity"))
	if err := ask(b, b.runner(east)); err != nil || len(b.all("GetCallerIdentity")) != n {
		t.Errorf("delivered while stopped (%v)", err)
	}
	if _, err := from(east).StartLogging(ctx, &cloudtrail.StartLoggingInput{Name: trail}); err != nil {
		t.Fatal(err)
	}
	if err := ask(b, b.runner(east)); err != nil || len(b.all("GetCallerIdentity")) != n+1 {
		t.Errorf("not delivered after the restart (%v)", err)
	}
}

func TestLookupEvents(t *testing.T) {
	b := start(t)
	session := b.injector(target, west, "")
	keys, ctx := kms.NewFromConfig(session), t.Context()
	for range 3 {
		if _, err := keys.ListKeys(ctx, nil); err != nil {
			t.Fatal(err)
		}
	}
	creds, _ := session.Credentials.Retrieve(ctx)
	c := cloudtrail.NewFromConfig(b.root(target, west))
	in := &cloudtrail.LookupEventsInput{MaxResults: aws.Int32(2), LookupAttributes: []cttypes.LookupAttribute{
		{AttributeKey: cttypes.LookupAttributeKeyAccessKeyId, AttributeValue: &creds.AccessKeyID}}}
	first, err := c.LookupEvents(ctx, in)
	if err != nil || len(first.Events) != 2 || first.NextToken == nil || !strings.Contains(*first.Events[0].CloudTrailEvent, `"requestID"`) {
		t.Fatalf("first page %s %v", pretty(first), err)
	}
	in.NextToken = first.NextToken
	second, err := c.LookupEvents(ctx, in)
	if err != nil || len(second.Events) != 1 || second.NextToken != nil || *second.Events[0].EventId == *first.Events[1].EventId {
		t.Fatalf("second page %s %v", pretty(second), err)
	}
	_, err = c.LookupEvents(ctx, in)
	wantCode(t, err, "ThrottlingException")
	if got := b.last("LookupEvents")["errorCode"]; got != "ThrottlingException" {
		t.Errorf("recorded code %v", got)
	}
	b.real.add(time.Second)
	in.NextToken = aws.String("nonsense")
	_, err = c.LookupEvents(ctx, in)
	wantCode(t, err, "InvalidNextTokenException")
	in.NextToken = nil
	in.LookupAttributes = append(in.LookupAttributes, in.LookupAttributes[0])
	_, err = c.LookupEvents(ctx, in)
	wantCode(t, err, "InvalidLookupAttributesException")
	b.real.add(time.Second)
	b.clock.add(91 * 24 * time.Hour)
	in.LookupAttributes = in.LookupAttributes[:1]
	late, err := c.LookupEvents(ctx, in)
	if err != nil || len(late.Events) != 0 {
		t.Errorf("after 91 days: %s %v", pretty(late), err)
	}
}

func TestListPublicKeysAsksTheArchive(t *testing.T) {
	want := cloud.PublicKey{DER: []byte{0x30, 1}, Fingerprint: "abcd", Start: time.Unix(1e9, 0).UTC(), End: time.Unix(2e9, 0).UTC()}
	b := start(t, func(o *cloud.Options) {
		o.PublicKeys = func(region string, start, end time.Time) []cloud.PublicKey {
			if region != west || !start.Equal(time.Unix(1.5e9, 0)) {
				return nil
			}
			return []cloud.PublicKey{want}
		}
	})
	out, err := cloudtrail.NewFromConfig(b.root(target, west)).ListPublicKeys(t.Context(), &cloudtrail.ListPublicKeysInput{StartTime: aws.Time(time.Unix(1.5e9, 0))})
	if err != nil || len(out.PublicKeyList) != 1 {
		t.Fatalf("%s %v", pretty(out), err)
	}
	if got := out.PublicKeyList[0]; !bytes.Equal(got.Value, want.DER) || *got.Fingerprint != "abcd" || !got.ValidityStartTime.Equal(want.Start) {
		t.Errorf("%s", pretty(got))
	}
}

const tlsOnly = `{"Version":"2012-10-17","Id":"auditcanary:run=r1","Statement":[{"Sid":"TLSOnly","Effect":"Deny","Principal":"*","Action":"s3:GetObject","Resource":"arn:aws:s3:::BUCKET/*","Condition":{"Bool":{"aws:SecureTransport":"false"}}}]}`

func TestABucketPolicyIsPutAndDeleted(t *testing.T) {
	b := start(t)
	bucket := cloud.Fixtures(target, west)["bucket"]
	doc := strings.ReplaceAll(tlsOnly, "BUCKET", bucket)
	c, ctx := s3of(b.injector(target, west, "")), t.Context()
	_, err := c.GetBucketPolicy(ctx, &s3.GetBucketPolicyInput{Bucket: &bucket})
	wantCode(t, err, "NoSuchBucketPolicy")
	if _, err := c.PutBucketPolicy(ctx, &s3.PutBucketPolicyInput{Bucket: &bucket, Policy: &doc}); err != nil {
		t.Fatal(err)
	}
	rec := b.last("PutBucketPolicy")
	if id, _ := rec["requestID"].(string); len(id) != 16 {
		t.Errorf("request id %q", id)
	}
	if at(rec, "requestParameters", "bucketPolicy", "Id") != "auditcanary:run=r1" || at(rec, "requestParameters", "bucketName") != bucket ||
		at(rec, "requestParameters", "policy") != "" || rec["awsRegion"] != west {
		t.Errorf("record %s", pretty(rec))
	}
	if ua, _ := rec["userAgent"].(string); !strings.HasPrefix(ua, "[") || !strings.HasSuffix(ua, "]") {
		t.Errorf("user agent %q", ua)
	}
	got, err := c.GetBucketPolicy(ctx, &s3.GetBucketPolicyInput{Bucket: &bucket})
	if err != nil || *got.Policy != doc {
		t.Errorf("%s %v", pretty(got), err)
	}
	if len(b.cloud.Changes()) != 1 {
		t.Errorf("changes %s", pretty(b.cloud.Changes()))
	}
	if _, err := c.DeleteBucketPolicy(ctx, &s3.DeleteBucketPolicyInput{Bucket: &bucket}); err != nil {
		t.Fatal(err)
	}
	if len(b.cloud.Changes()) != 0 {
		t.Errorf("changes %s", pretty(b.cloud.Changes()))
	}
	where, err := c.GetBucketLocation(ctx, &s3.GetBucketLocationInput{Bucket: &bucket})
	if err != nil || where.LocationConstraint != west {
		t.Errorf("location %s %v", pretty(where), err)
	}
	foreign := strings.ReplaceAll(tlsOnly, "BUCKET", "another")
	_, err = c.PutBucketPolicy(ctx, &s3.PutBucketPolicyInput{Bucket: &bucket, Policy: &foreign})
	wantCode(t, err, "MalformedPolicy")
	_, err = c.PutBucketPolicy(ctx, &s3.PutBucketPolicyInput{Bucket: aws.String(cloud.ArchiveBucket), Policy: &foreign})
	wantCode(t, err, "AccessDenied")
	_, err = s3of(b.root(target, west)).GetBucketPolicy(ctx, &s3.GetBucketPolicyInput{Bucket: aws.String(cloud.Fixtures(target, east)["bucket"])})
	wantCode(t, err, "PermanentRedirect")
	_, err = s3of(b.root(target, west)).GetBucketPolicy(ctx, &s3.GetBucketPolicyInput{Bucket: aws.String("no-such-bucket-here")})
	wantCode(t, err, "NoSuchBucket")
}

// A bucket policy that denies is enforced, even on the account's root user
// reading through the backend.
func TestABucketPolicyIsEnforced(t *testing.T) {
	b := start(t, backend)
	bucket := cloud.Fixtures(target, east)["bucket"]
	deny := `{"Version":"2012-10-17","Statement":[{"Effect":"Deny","Principal":"*","Action":"s3:GetObject","Resource":"arn:aws:s3:::` + bucket + `/*"}]}`
	c, ctx := s3of(b.root(target, east)), t.Context()
	get := func() error {
		_, err := c.GetObject(ctx, &s3.GetObjectInput{Bucket: &bucket, Key: aws.String("a b/ü+c")})
		return err
	}
	if err := get(); err != nil {
		t.Fatal(err)
	}
	if _, err := c.PutBucketPolicy(ctx, &s3.PutBucketPolicyInput{Bucket: &bucket, Policy: &deny}); err != nil {
		t.Fatal(err)
	}
	err := get()
	wantCode(t, err, "AccessDenied")
	if !strings.Contains(message(err), "with an explicit deny in a resource-based policy") {
		t.Errorf("message %q", message(err))
	}
	_, err = s3of(b.root(other, east)).GetObject(ctx, &s3.GetObjectInput{Bucket: aws.String(cloud.ArchiveBucket), Key: aws.String("x")})
	wantCode(t, err, "AccessDenied") // another account needs a grant
	if _, err := s3of(b.root(cloud.ManagementAccount, east)).GetObject(ctx, &s3.GetObjectInput{Bucket: aws.String(cloud.ArchiveBucket), Key: aws.String("x")}); err != nil {
		t.Errorf("the archive's policy admits the management account: %v", err)
	}
}

// backend answers every S3 request with what it was asked.
func backend(o *cloud.Options) {
	o.S3 = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Amz-Request-Id", "THEBACKENDSOWNID")
		body, _ := io.ReadAll(r.Body)
		if r.Method == http.MethodPut && len(body) == 0 {
			w.WriteHeader(http.StatusTeapot)
			return
		}
		fmt.Fprintf(w, "%s %s", r.Method, r.URL.Path)
	})
}

func TestObjectsAreTheBackends(t *testing.T) {
	b := start(t, backend)
	c, ctx := s3of(b.runner(east)), t.Context()
	bucket := aws.String(cloud.LedgerBucket)
	if _, err := c.PutObject(ctx, &s3.PutObjectInput{Bucket: bucket, Key: aws.String("k"), Body: strings.NewReader("hello"), IfNoneMatch: aws.String("*")}); err != nil {
		t.Fatal(err)
	}
	out, err := c.GetObject(ctx, &s3.GetObjectInput{Bucket: bucket, Key: aws.String("dir/x y=z")})
	if err != nil {
		t.Fatal(err)
	}
	body, _ := io.ReadAll(out.Body)
	if string(body) != "GET /"+cloud.LedgerBucket+"/dir/x y=z" {
		t.Errorf("backend saw %q", body)
	}
	_, err = c.DeleteObject(ctx, &s3.DeleteObjectInput{Bucket: bucket, Key: aws.String("k")})
	wantCode(t, err, "AccessDenied")
	if len(b.sink.got) != 0 {
		t.Errorf("data events are not recorded: %s", pretty(b.sink.got))
	}
	calls := b.cloud.Calls()
	if len(calls) != 3 || !calls[0].Mutating || calls[1].Mutating || calls[2].Error != "AccessDenied" {
		t.Errorf("calls %s", pretty(calls))
	}
}
