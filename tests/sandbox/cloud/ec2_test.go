package cloud_test

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	ec2types "github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"github.com/auditcanary/auditcanary/tests/sandbox/cloud"
)

// networkPolicy has the form of what the product asks for: made with the run's tag,
// undone by the run's tag, tags set only while making.
const networkPolicy = `{"Version":"2012-10-17","Statement":[
 {"Effect":"Allow","Action":["ec2:CreateNetworkAcl","ec2:CreateRouteTable","ec2:CreateInternetGateway","ec2:CreateFlowLogs","ec2:ImportKeyPair","ec2:AuthorizeSecurityGroupEgress"],
  "Resource":["arn:aws:ec2:*:*:network-acl/*","arn:aws:ec2:*:*:route-table/*","arn:aws:ec2:*:*:internet-gateway/*","arn:aws:ec2:*:*:vpc-flow-log/*","arn:aws:ec2:*:*:key-pair/auditcanary-*","arn:aws:ec2:*:*:security-group-rule/*"],
  "Condition":{"StringLike":{"aws:RequestTag/auditcanary:run":"r1"}}},
 {"Effect":"Allow","Action":["ec2:CreateNetworkAcl","ec2:CreateRouteTable","ec2:CreateFlowLogs","ec2:AuthorizeSecurityGroupEgress","ec2:RevokeSecurityGroupEgress"],
  "Resource":["arn:aws:ec2:*:*:vpc/*","arn:aws:ec2:*:*:security-group/*"],"Condition":{"StringLike":{"aws:ResourceTag/auditcanary":"fixture"}}},
 {"Effect":"Allow","Action":"ec2:CreateTags","Resource":"*","Condition":{"StringLike":{"ec2:CreateAction":["CreateNetworkAcl","CreateRouteTable","CreateInternetGateway","CreateFlowLogs","ImportKeyPair","AuthorizeSecurityGroupEgress"]}}},
 {"Effect":"Allow","Action":["ec2:CreateNetworkAclEntry","ec2:DeleteNetworkAcl","ec2:DeleteRouteTable","ec2:DeleteInternetGateway","ec2:DeleteFlowLogs","ec2:DeleteKeyPair"],"Resource":"*",
  "Condition":{"StringLike":{"aws:ResourceTag/auditcanary:run":"r1"}}},
 {"Effect":"Allow","Action":"iam:PassRole","Resource":"arn:aws:iam::*:role/auditcanary/auditcanary-flow-logs","Condition":{"StringLike":{"iam:PassedToService":"vpc-flow-logs.amazonaws.com"}}},
 {"Effect":"Allow","Action":["ec2:ModifySnapshotAttribute"],"Resource":"arn:aws:ec2:*::snapshot/*","Condition":{"StringLike":{"aws:ResourceTag/auditcanary":"fixture","ec2:Add/userId":"111122223333"}}}]}`

// network is the injector's client under networkPolicy, the account's root's, and
// the names of the fixtures.
func (b *box) network() (injector, root *ec2.Client, fixtures map[string]string) {
	b.t.Helper()
	if err := b.cloud.PermitInjector(target, []json.RawMessage{json.RawMessage(networkPolicy)}); err != nil {
		b.t.Fatal(err)
	}
	return ec2.NewFromConfig(b.injector(target, west, "")), ec2.NewFromConfig(b.root(target, west)), cloud.Fixtures(target, west)
}

func tagsOn(kind ec2types.ResourceType, run string) []ec2types.TagSpecification {
	return []ec2types.TagSpecification{{ResourceType: kind, Tags: []ec2types.Tag{
		{Key: aws.String("auditcanary:run"), Value: &run}, {Key: aws.String("auditcanary:canary"), Value: aws.String("c1")}}}}
}

func TestANetworkACLComesAndGoes(t *testing.T) {
	b := start(t)
	c, root, fixtures := b.network()
	ctx, vpc := t.Context(), aws.String(fixtures["vpc"])
	out, err := c.CreateNetworkAcl(ctx, &ec2.CreateNetworkAclInput{VpcId: vpc, TagSpecifications: tagsOn(ec2types.ResourceTypeNetworkAcl, "r1")})
	if err != nil {
		t.Fatal(err)
	}
	id := out.NetworkAcl.NetworkAclId
	if *out.NetworkAcl.VpcId != *vpc || len(out.NetworkAcl.Tags) != 2 || len(out.NetworkAcl.Entries) != 2 || *out.NetworkAcl.IsDefault {
		t.Errorf("made %s", pretty(out.NetworkAcl))
	}
	rec := b.last("CreateNetworkAcl")
	if at(rec, "requestParameters", "vpcId") != *vpc || at(rec, "responseElements", "networkAcl", "networkAclId") != *id || rec["readOnly"] != false {
		t.Errorf("record %s", pretty(rec))
	}
	if specs, _ := at(rec, "requestParameters", "tagSpecificationSet", "items").([]any); len(specs) != 1 || at(specs[0], "resourceType") != "network-acl" {
		t.Errorf("record %s", pretty(rec))
	}

	entry := &ec2.CreateNetworkAclEntryInput{NetworkAclId: id, RuleNumber: aws.Int32(100), Protocol: aws.String("-1"),
		RuleAction: ec2types.RuleActionDeny, Egress: aws.Bool(false), CidrBlock: aws.String("192.0.2.0/24")}
	if _, err := c.CreateNetworkAclEntry(ctx, entry); err != nil {
		t.Fatal(err)
	}
	rec = b.last("CreateNetworkAclEntry")
	if at(rec, "requestParameters", "ruleNumber") != 100.0 || at(rec, "requestParameters", "aclProtocol") != "-1" || at(rec, "requestParameters", "egress") != false ||
		at(rec, "responseElements", "_return") != true {
		t.Errorf("record %s", pretty(rec))
	}
	_, err = c.CreateNetworkAclEntry(ctx, entry)
	wantCode(t, err, "NetworkAclEntryAlreadyExists")
	entry.Egress = aws.Bool(true) // numbers are counted in each direction
	if _, err := c.CreateNetworkAclEntry(ctx, entry); err != nil {
		t.Fatal(err)
	}
	entry.RuleNumber = aws.Int32(32767)
	_, err = c.CreateNetworkAclEntry(ctx, entry)
	wantCode(t, err, "InvalidParameterValue")
	listed, err := root.DescribeNetworkAcls(ctx, &ec2.DescribeNetworkAclsInput{NetworkAclIds: []string{*id}})
	if err != nil || len(listed.NetworkAcls) != 1 || len(listed.NetworkAcls[0].Entries) != 4 || *listed.NetworkAcls[0].Entries[2].Protocol != "-1" {
		t.Errorf("listed %s %v", pretty(listed), err)
	}

	if _, err := c.DeleteNetworkAcl(ctx, &ec2.DeleteNetworkAclInput{NetworkAclId: id}); err != nil {
		t.Fatal(err)
	}
	_, err = root.DeleteNetworkAcl(ctx, &ec2.DeleteNetworkAclInput{NetworkAclId: id})
	wantCode(t, err, "InvalidNetworkAclID.NotFound")
	_, err = c.DeleteNetworkAcl(ctx, &ec2.DeleteNetworkAclInput{NetworkAclId: id}) // what is gone has no tag
	wantCode(t, err, "UnauthorizedOperation")
	_, err = root.DescribeNetworkAcls(ctx, &ec2.DescribeNetworkAclsInput{NetworkAclIds: []string{*id}})
	wantCode(t, err, "InvalidNetworkAclID.NotFound")
	_, err = root.CreateNetworkAcl(ctx, &ec2.CreateNetworkAclInput{VpcId: aws.String("vpc-0")})
	wantCode(t, err, "InvalidVpcID.NotFound")
	b.unchanged()
}

// What carries another run's tag, or none, is nobody's to make or to delete.
func TestTheNetworkAsksForTheTags(t *testing.T) {
	b := start(t)
	c, root, fixtures := b.network()
	ctx, vpc := t.Context(), aws.String(fixtures["vpc"])
	table, err := root.CreateRouteTable(ctx, &ec2.CreateRouteTableInput{VpcId: vpc, TagSpecifications: tagsOn(ec2types.ResourceTypeRouteTable, "r2")})
	if err != nil {
		t.Fatal(err)
	}
	for name, do := range map[string]func() error{
		"no tags": func() error {
			_, err := c.CreateNetworkAcl(ctx, &ec2.CreateNetworkAclInput{VpcId: vpc})
			return err
		},
		"another run's tag": func() error {
			_, err := c.CreateRouteTable(ctx, &ec2.CreateRouteTableInput{VpcId: vpc, TagSpecifications: tagsOn(ec2types.ResourceTypeRouteTable, "r2")})
			return err
		},
		"tags of another kind of thing": func() error {
			_, err := c.CreateInternetGateway(ctx, &ec2.CreateInternetGatewayInput{TagSpecifications: tagsOn(ec2types.ResourceTypeVpc, "r1")})
			return err
		},
		"a VPC that is no fixture": func() error {
			_, err := c.CreateRouteTable(ctx, &ec2.CreateRouteTableInput{VpcId: aws.String("vpc-0"), TagSpecifications: tagsOn(ec2types.ResourceTypeRouteTable, "r1")})
			return err
		},
		"another run's table": func() error {
			_, err := c.DeleteRouteTable(ctx, &ec2.DeleteRouteTableInput{RouteTableId: table.RouteTable.RouteTableId})
			return err
		},
		"a key under another name": func() error {
			_, err := c.ImportKeyPair(ctx, &ec2.ImportKeyPairInput{KeyName: aws.String("alice"), PublicKeyMaterial: []byte(publicKey), TagSpecifications: tagsOn(ec2types.ResourceTypeKeyPair, "r1")})
			return err
		},
		"another role to deliver": func() error {
			in := flowLogs(*vpc)
			in.DeliverLogsPermissionArn = aws.String(cloud.InjectorRole(target))
			_, err := c.CreateFlowLogs(ctx, in)
			return err
		},
		"a snapshot for somebody else": func() error {
			_, err := c.ModifySnapshotAttribute(ctx, share(fixtures["snapshot"], "999999999999"))
			return err
		},
		"a snapshot for everybody": func() error {
			in := share(fixtures["snapshot"], target)
			in.CreateVolumePermission.Add[0] = ec2types.CreateVolumePermission{Group: ec2types.PermissionGroupAll}
			_, err := c.ModifySnapshotAttribute(ctx, in)
			return err
		},
	} {
		t.Run(name, func(t *testing.T) { wantCode(t, do(), "UnauthorizedOperation") })
	}
	if rec := b.last("DeleteRouteTable"); rec["errorCode"] != "Client.UnauthorizedOperation" || at(rec, "requestParameters", "routeTableId") != *table.RouteTable.RouteTableId {
		t.Errorf("EC2 keeps the parameters of a denied call: %s", pretty(rec))
	}
	if changes := b.cloud.Changes(); len(changes) != 1 || changes[0].Kind != "route table" {
		t.Errorf("changes %s", pretty(changes))
	}
}

func TestInternetGatewaysAreFew(t *testing.T) {
	b := start(t)
	c, root, _ := b.network()
	ctx := t.Context()
	in := &ec2.CreateInternetGatewayInput{TagSpecifications: tagsOn(ec2types.ResourceTypeInternetGateway, "r1")}
	var ids []string
	for range 5 {
		out, err := c.CreateInternetGateway(ctx, in)
		if err != nil {
			t.Fatal(err)
		}
		ids = append(ids, *out.InternetGateway.InternetGatewayId)
	}
	_, err := c.CreateInternetGateway(ctx, in)
	wantCode(t, err, "InternetGatewayLimitExceeded")
	for _, id := range ids {
		if _, err := c.DeleteInternetGateway(ctx, &ec2.DeleteInternetGatewayInput{InternetGatewayId: &id}); err != nil {
			t.Fatal(err)
		}
	}
	_, err = root.DeleteInternetGateway(ctx, &ec2.DeleteInternetGatewayInput{InternetGatewayId: &ids[0]})
	wantCode(t, err, "InvalidInternetGatewayID.NotFound")
	b.unchanged()
}

func TestRouteTablesArePaged(t *testing.T) {
	b := start(t)
	_, root, fixtures := b.network()
	ctx := t.Context()
	for i := range 12 {
		if _, err := root.CreateRouteTable(ctx, &ec2.CreateRouteTableInput{VpcId: aws.String(fixtures["vpc"]), TagSpecifications: tagsOn(ec2types.ResourceTypeRouteTable, fmt.Sprint("r", i))}); err != nil {
			t.Fatal(err)
		}
	}
	seen, sizes := map[string]bool{}, []int{}
	pages := ec2.NewDescribeRouteTablesPaginator(root, &ec2.DescribeRouteTablesInput{MaxResults: aws.Int32(5)})
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			t.Fatal(err)
		}
		sizes = append(sizes, len(page.RouteTables))
		for _, table := range page.RouteTables {
			seen[*table.RouteTableId] = len(table.Tags) == 2
		}
	}
	if !slices.Equal(sizes, []int{5, 5, 2}) || len(seen) != 12 {
		t.Errorf("pages of %v, %d tables", sizes, len(seen))
	}
	_, err := root.DescribeRouteTables(ctx, &ec2.DescribeRouteTablesInput{MaxResults: aws.Int32(1000)})
	wantCode(t, err, "InvalidMaxResults")
	one, err := root.DescribeRouteTables(ctx, &ec2.DescribeRouteTablesInput{Filters: []ec2types.Filter{{Name: aws.String("tag:auditcanary:run"), Values: []string{"r7"}}}})
	if err != nil || len(one.RouteTables) != 1 {
		t.Errorf("by tag: %s %v", pretty(one), err)
	}
}

func flowLogs(vpc string) *ec2.CreateFlowLogsInput {
	return &ec2.CreateFlowLogsInput{
		ResourceType: ec2types.FlowLogsResourceTypeVpc, ResourceIds: []string{vpc}, TrafficType: ec2types.TrafficTypeReject,
		LogDestinationType: ec2types.LogDestinationTypeCloudWatchLogs, LogGroupName: aws.String("auditcanary-c1"),
		DeliverLogsPermissionArn: aws.String("arn:aws:iam::" + target + ":role/auditcanary/auditcanary-flow-logs"),
		TagSpecifications:        tagsOn(ec2types.ResourceTypeVpcFlowLog, "r1"),
	}
}

func TestAFlowLogComesAndGoes(t *testing.T) {
	b := start(t)
	c, root, fixtures := b.network()
	ctx := t.Context()
	out, err := c.CreateFlowLogs(ctx, flowLogs(fixtures["vpc"]))
	if err != nil || len(out.FlowLogIds) != 1 || len(out.Unsuccessful) != 0 {
		t.Fatalf("%s %v", pretty(out), err)
	}
	rec := b.last("CreateFlowLogs")
	sent := at(rec, "requestParameters", "CreateFlowLogsRequest")
	if at(sent, "ResourceId", "content") != fixtures["vpc"] || at(sent, "TagSpecification", "ResourceType") != "vpc-flow-log" || at(sent, "TagSpecification", "tag") != 1.0 ||
		at(rec, "responseElements", "CreateFlowLogsResponse", "flowLogIdSet", "item") != out.FlowLogIds[0] || at(rec, "responseElements", "CreateFlowLogsResponse", "unsuccessful") != "" {
		t.Errorf("record %s", pretty(rec))
	}
	_, err = c.CreateFlowLogs(ctx, flowLogs(fixtures["vpc"]))
	wantCode(t, err, "FlowLogAlreadyExists")
	listed, err := root.DescribeFlowLogs(ctx, &ec2.DescribeFlowLogsInput{})
	if err != nil || len(listed.FlowLogs) != 1 || len(listed.FlowLogs[0].Tags) != 2 || *listed.FlowLogs[0].LogGroupName != "auditcanary-c1" {
		t.Errorf("listed %s %v", pretty(listed), err)
	}
	// Answered with 200: what was not done stands in the reply alone.
	none, err := root.CreateFlowLogs(ctx, flowLogs("vpc-0"))
	if err != nil || len(none.FlowLogIds) != 0 || len(none.Unsuccessful) != 1 {
		t.Errorf("of no VPC: %s %v", pretty(none), err)
	}
	gone, err := c.DeleteFlowLogs(ctx, &ec2.DeleteFlowLogsInput{FlowLogIds: out.FlowLogIds})
	if err != nil || len(gone.Unsuccessful) != 0 {
		t.Fatalf("%s %v", pretty(gone), err)
	}
	gone, err = root.DeleteFlowLogs(ctx, &ec2.DeleteFlowLogsInput{FlowLogIds: out.FlowLogIds})
	if err != nil || len(gone.Unsuccessful) != 1 || *gone.Unsuccessful[0].Error.Code != "InvalidFlowLogId.NotFound" {
		t.Errorf("deleted twice: %s %v", pretty(gone), err)
	}
	b.unchanged()
}

// publicKey is the one the product imports; nobody has its private half.
const publicKey = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIMus2I4XhfkS6zctmj3l5PiVLejwsMOlYc2dDWa8Pv96"

func TestAKeyPairComesAndGoes(t *testing.T) {
	b := start(t)
	c, root, _ := b.network()
	ctx, name := t.Context(), aws.String("auditcanary-c1")
	in := &ec2.ImportKeyPairInput{KeyName: name, PublicKeyMaterial: []byte(publicKey), TagSpecifications: tagsOn(ec2types.ResourceTypeKeyPair, "r1")}
	out, err := c.ImportKeyPair(ctx, in)
	if err != nil {
		t.Fatal(err)
	}
	if raw, err := base64.StdEncoding.DecodeString(*out.KeyFingerprint); err != nil || len(raw) != 32 {
		t.Errorf("fingerprint %s", *out.KeyFingerprint)
	}
	rec := b.last("ImportKeyPair")
	if at(rec, "requestParameters", "keyName") != *name || at(rec, "requestParameters", "publicKeyMaterial") != base64.StdEncoding.EncodeToString([]byte(publicKey)) ||
		at(rec, "responseElements", "keyPairId") != *out.KeyPairId {
		t.Errorf("record %s", pretty(rec))
	}
	_, err = c.ImportKeyPair(ctx, in)
	wantCode(t, err, "InvalidKeyPair.Duplicate")
	for _, bad := range []string{"", "ssh-ed25519", "ssh-ed25519 !", "ssh-ed25519 AAAA", "ssh-dss " + strings.Fields(publicKey)[1]} {
		_, err := root.ImportKeyPair(ctx, &ec2.ImportKeyPairInput{KeyName: aws.String("other"), PublicKeyMaterial: []byte(bad)})
		wantCode(t, err, "InvalidKey.Format")
	}
	listed, err := root.DescribeKeyPairs(ctx, &ec2.DescribeKeyPairsInput{})
	if err != nil || len(listed.KeyPairs) != 1 || len(listed.KeyPairs[0].Tags) != 2 || *listed.KeyPairs[0].KeyPairId != *out.KeyPairId {
		t.Errorf("listed %s %v", pretty(listed), err)
	}
	_, err = root.DescribeKeyPairs(ctx, &ec2.DescribeKeyPairsInput{KeyNames: []string{"other"}})
	wantCode(t, err, "InvalidKeyPair.NotFound")
	gone, err := c.DeleteKeyPair(ctx, &ec2.DeleteKeyPairInput{KeyName: name})
	if err != nil || !*gone.Return || *gone.KeyPairId != *out.KeyPairId {
		t.Fatalf("%s %v", pretty(gone), err)
	}
	again, err := root.DeleteKeyPair(ctx, &ec2.DeleteKeyPairInput{KeyName: name}) // true for what is not there, too
	if err != nil || !*again.Return || again.KeyPairId != nil {
		t.Errorf("%s %v", pretty(again), err)
	}
	b.unchanged()
}

func share(id, account string) *ec2.ModifySnapshotAttributeInput {
	return &ec2.ModifySnapshotAttributeInput{SnapshotId: &id, DryRun: aws.Bool(true),
		CreateVolumePermission: &ec2types.CreateVolumePermissionModifications{Add: []ec2types.CreateVolumePermission{{UserId: &account}}}}
}

func TestASnapshotIsSharedOnlyInEarnest(t *testing.T) {
	b := start(t)
	c, root, fixtures := b.network()
	ctx, id := t.Context(), fixtures["snapshot"]
	_, err := c.ModifySnapshotAttribute(ctx, share(id, target))
	wantCode(t, err, "DryRunOperation")
	rec := b.last("ModifySnapshotAttribute")
	items, _ := at(rec, "requestParameters", "createVolumePermission", "add", "items").([]any)
	if rec["errorCode"] != "Client.DryRunOperation" || len(items) != 1 || at(items[0], "userId") != target || at(rec, "requestParameters", "attributeType") != "CREATE_VOLUME_PERMISSION" {
		t.Errorf("record %s", pretty(rec))
	}
	_, err = root.DeleteSnapshot(ctx, &ec2.DeleteSnapshotInput{SnapshotId: &id, DryRun: aws.Bool(true)})
	wantCode(t, err, "DryRunOperation")
	b.unchanged()

	earnest := share(id, other)
	earnest.DryRun = nil
	if _, err := root.ModifySnapshotAttribute(ctx, earnest); err != nil {
		t.Fatal(err)
	}
	if changes := b.cloud.Changes(); len(changes) != 1 || !strings.Contains(changes[0].Is, other) {
		t.Errorf("changes %s", pretty(changes))
	}
	earnest.CreateVolumePermission.Remove, earnest.CreateVolumePermission.Add = earnest.CreateVolumePermission.Add, nil
	if _, err := root.ModifySnapshotAttribute(ctx, earnest); err != nil {
		t.Fatal(err)
	}
	b.unchanged()
	if _, err := root.DeleteSnapshot(ctx, &ec2.DeleteSnapshotInput{SnapshotId: &id}); err != nil {
		t.Fatal(err)
	}
	_, err = root.ModifySnapshotAttribute(ctx, earnest)
	wantCode(t, err, "InvalidSnapshot.NotFound")
	if changes := b.cloud.Changes(); len(changes) != 1 || changes[0].Is != "" {
		t.Errorf("changes %s", pretty(changes))
	}
}

func TestTheWayOutIsNotTheWayIn(t *testing.T) {
	b := start(t)
	c, root, fixtures := b.network()
	ctx, group := t.Context(), aws.String(fixtures["security_group"])
	out, err := c.AuthorizeSecurityGroupEgress(ctx, &ec2.AuthorizeSecurityGroupEgressInput{GroupId: group, IpPermissions: ingress(), TagSpecifications: tagsOn(ec2types.ResourceTypeSecurityGroupRule, "r1")})
	if err != nil || len(out.SecurityGroupRules) != 1 || !*out.SecurityGroupRules[0].IsEgress {
		t.Fatalf("%s %v", pretty(out), err)
	}
	rec := b.last("AuthorizeSecurityGroupEgress")
	if items, _ := at(rec, "requestParameters", "ipPermissions", "items").([]any); len(items) != 1 || at(items[0], "fromPort") != 1.0 {
		t.Errorf("record %s", pretty(rec))
	}
	_, err = root.RevokeSecurityGroupIngress(ctx, &ec2.RevokeSecurityGroupIngressInput{GroupId: group, IpPermissions: ingress()})
	wantCode(t, err, "InvalidPermission.NotFound")
	_, err = root.RevokeSecurityGroupIngress(ctx, &ec2.RevokeSecurityGroupIngressInput{GroupId: group, SecurityGroupRuleIds: []string{*out.SecurityGroupRules[0].SecurityGroupRuleId}})
	wantCode(t, err, "InvalidSecurityGroupRuleId.NotFound")
	groups, err := root.DescribeSecurityGroups(ctx, &ec2.DescribeSecurityGroupsInput{GroupIds: []string{*group}})
	if err != nil || len(groups.SecurityGroups[0].IpPermissions) != 0 || len(groups.SecurityGroups[0].IpPermissionsEgress) != 1 {
		t.Errorf("groups %s %v", pretty(groups), err)
	}
	revoke := &ec2.RevokeSecurityGroupEgressInput{GroupId: group, IpPermissions: ingress()}
	if _, err := c.RevokeSecurityGroupEgress(ctx, revoke); err != nil {
		t.Fatal(err)
	}
	_, err = c.RevokeSecurityGroupEgress(ctx, revoke)
	wantCode(t, err, "InvalidPermission.NotFound")
	b.unchanged()
}
