package aws

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	ec2types "github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"github.com/auditcanary/auditcanary/shared/canary"
	"github.com/auditcanary/auditcanary/shared/run"
)

// Templates and constants of EC2. What a canary makes there is tagged by the very
// call that makes it, and everything later asks for that tag. The right to tag
// holds for that call alone (ec2:CreateAction): who could tag anything could delete
// anything.
const (
	vpc             = "arn:{partition}:ec2:{region}:{account}:vpc/{VpcId}"
	networkACL      = "arn:{partition}:ec2:{region}:{account}:network-acl/"
	routeTable      = "arn:{partition}:ec2:{region}:{account}:route-table/"
	internetGateway = "arn:{partition}:ec2:{region}:{account}:internet-gateway/"
	keyPair         = "arn:{partition}:ec2:{region}:{account}:key-pair/{KeyName}"
	flowLog         = "arn:{partition}:ec2:{region}:{account}:vpc-flow-log/"
	snapshot        = "arn:{partition}:ec2:{region}::snapshot/{SnapshotId}" // snapshots have no account

	ec2CreateAction = "ec2:CreateAction"
	ofThisRun       = "aws:ResourceTag/" + tagRun

	noFlowLog = "fl-00000000000000000" // nothing has this id

	// nobodysKey is an Ed25519 public key to which no private half was ever made:
	// its 32 bytes are the SHA-256 of a sentence (see TestNobodyHasTheKey), in
	// OpenSSH's form and, as the API wants it, in base64.
	nobodysKey = "c3NoLWVkMjU1MTkgQUFBQUMzTnphQzFsWkRJMU5URTVBQUFBSU11czJJNFhoZmtTNnpjdG1qM2w1UGlWTGVqd3NNT2xZYzJkRFdhOFB2OTY="
)

// networkOperations: what may talk to what, and the hosts behind it.
func networkOperations() map[string]operation {
	return map[string]operation{
		// Security groups: one fixture group without interfaces, documentation addresses only.
		"ec2:AuthorizeSecurityGroupIngress": {call: call(ec2.NewFromConfig, (*ec2.Client).AuthorizeSecurityGroupIngress), subject: on("GroupId"), undo: "ec2:RevokeSecurityGroupIngress", guards: guards{fixtureID("GroupId"), documentationNetworks(), runTags()}, grants: append(tagging("AuthorizeSecurityGroupIngress", securityGroupRule), allow(securityGroup, when{fixtureTag: "fixture"}, "ec2:AuthorizeSecurityGroupIngress"))},
		"ec2:RevokeSecurityGroupIngress":    {call: call(ec2.NewFromConfig, (*ec2.Client).RevokeSecurityGroupIngress), subject: on("GroupId"), restores: true, guards: guards{fixtureID("GroupId"), documentationNetworks()}, grants: grants{allow(securityGroup, when{fixtureTag: "fixture"}, "ec2:RevokeSecurityGroupIngress")}},
		"ec2:AuthorizeSecurityGroupEgress":  {call: call(ec2.NewFromConfig, (*ec2.Client).AuthorizeSecurityGroupEgress), subject: on("GroupId"), undo: "ec2:RevokeSecurityGroupEgress", guards: guards{fixtureID("GroupId"), documentationNetworks(), runTags()}, grants: append(tagging("AuthorizeSecurityGroupEgress", securityGroupRule), allow(securityGroup, when{fixtureTag: "fixture"}, "ec2:AuthorizeSecurityGroupEgress"))},
		"ec2:RevokeSecurityGroupEgress":     {call: call(ec2.NewFromConfig, (*ec2.Client).RevokeSecurityGroupEgress), subject: on("GroupId"), restores: true, guards: guards{fixtureID("GroupId"), documentationNetworks()}, grants: grants{allow(securityGroup, when{fixtureTag: "fixture"}, "ec2:RevokeSecurityGroupEgress")}},

		// Parts of a network that nothing uses: no subnet is associated with them, and
		// no call that would associate or attach one is on this list.
		"ec2:CreateNetworkAcl":      {call: call(ec2.NewFromConfig, (*ec2.Client).CreateNetworkAcl), subject: on("=NetworkAclId"), undo: "ec2:DeleteNetworkAcl", guards: guards{fixtureID("VpcId"), runTags()}, grants: append(tagging("CreateNetworkAcl", networkACL+"*"), allow(vpc, when{fixtureTag: "fixture"}, "ec2:CreateNetworkAcl"))},
		"ec2:CreateNetworkAclEntry": {call: call(ec2.NewFromConfig, (*ec2.Client).CreateNetworkAclEntry), subject: on("NetworkAclId"), guards: guards{madeID("NetworkAclId", "acl-"), must("RuleAction", "deny"), documentationNetworks()}, grants: grants{allow(networkACL+"{NetworkAclId}", when{ofThisRun: "{run}"}, "ec2:CreateNetworkAclEntry")}},
		"ec2:DeleteNetworkAcl":      {call: call(ec2.NewFromConfig, (*ec2.Client).DeleteNetworkAcl), subject: on("NetworkAclId"), restores: true, guards: guards{madeID("NetworkAclId", "acl-")}, grants: grants{allow(networkACL+"{NetworkAclId}", when{ofThisRun: "{run}"}, "ec2:DeleteNetworkAcl")}},
		"ec2:CreateRouteTable":      {call: call(ec2.NewFromConfig, (*ec2.Client).CreateRouteTable), subject: on("=RouteTableId"), undo: "ec2:DeleteRouteTable", guards: guards{fixtureID("VpcId"), runTags()}, grants: append(tagging("CreateRouteTable", routeTable+"*"), allow(vpc, when{fixtureTag: "fixture"}, "ec2:CreateRouteTable"))},
		"ec2:DeleteRouteTable":      {call: call(ec2.NewFromConfig, (*ec2.Client).DeleteRouteTable), subject: on("RouteTableId"), restores: true, guards: guards{madeID("RouteTableId", "rtb-")}, grants: grants{allow(routeTable+"{RouteTableId}", when{ofThisRun: "{run}"}, "ec2:DeleteRouteTable")}},
		"ec2:CreateInternetGateway": {call: call(ec2.NewFromConfig, (*ec2.Client).CreateInternetGateway), subject: on("=InternetGatewayId"), undo: "ec2:DeleteInternetGateway", guards: guards{runTags()}, grants: tagging("CreateInternetGateway", internetGateway+"*")},
		"ec2:DeleteInternetGateway": {call: call(ec2.NewFromConfig, (*ec2.Client).DeleteInternetGateway), subject: on("InternetGatewayId"), restores: true, guards: guards{madeID("InternetGatewayId", "igw-")}, grants: grants{allow(internetGateway+"{InternetGatewayId}", when{ofThisRun: "{run}"}, "ec2:DeleteInternetGateway")}},

		// Flow logs: of an empty VPC, into a log group of the canary's own name, by a
		// role that may do nothing: there is nothing to log, and nobody to write it. A
		// bucket as destination would need logs:CreateLogDelivery and
		// logs:DeleteLogDelivery, which can only be granted for everybody's deliveries.
		"ec2:CreateFlowLogs": {call: whole(call(ec2.NewFromConfig, (*ec2.Client).CreateFlowLogs), func(out *ec2.CreateFlowLogsOutput) []ec2types.UnsuccessfulItem { return out.Unsuccessful }), subject: on("=FlowLogIds"), undo: "ec2:DeleteFlowLogs", guards: guards{must("ResourceType", "VPC"), each("ResourceIds", fixtureID), must("LogDestinationType", "cloud-watch-logs"), ownName("LogGroupName"), fixtureID("DeliverLogsPermissionArn"), absent("LogDestination", "DeliverCrossAccountRole", "DestinationOptions"), runTags()}, grants: append(tagging("CreateFlowLogs", flowLog+"*"), allow("arn:{partition}:ec2:{region}:{account}:vpc/{ResourceIds}", when{fixtureTag: "fixture"}, "ec2:CreateFlowLogs"), allow("{DeliverLogsPermissionArn}", when{"iam:PassedToService": "vpc-flow-logs.amazonaws.com"}, "iam:PassRole"))},
		"ec2:DeleteFlowLogs": {call: whole(call(ec2.NewFromConfig, (*ec2.Client).DeleteFlowLogs), stillThere), subject: on("FlowLogIds"), restores: true, guards: guards{madeOrDryRun("FlowLogIds", "fl-", noFlowLog)}, grants: grants{allow(flowLog+noFlowLog, nil, "ec2:DeleteFlowLogs"), allow(flowLog+"{FlowLogIds}", when{ofThisRun: "{run}"}, "ec2:DeleteFlowLogs")}},

		// Hosts: a key that opens nothing, as nobody has its private half.
		"ec2:ImportKeyPair": {call: call(ec2.NewFromConfig, (*ec2.Client).ImportKeyPair), subject: on("KeyName"), undo: "ec2:DeleteKeyPair", guards: guards{ownName("KeyName"), must("PublicKeyMaterial", nobodysKey), runTags()}, grants: tagging("ImportKeyPair", keyPair)},
		"ec2:DeleteKeyPair": {call: call(ec2.NewFromConfig, (*ec2.Client).DeleteKeyPair), subject: on("KeyName"), restores: true, guards: guards{ownName("KeyName"), absent("KeyPairId")}, grants: grants{allow(keyPair, when{ofThisRun: "{run}"}, "ec2:DeleteKeyPair")}},

		// Data: dry runs on one fixture snapshot, of a volume that was never written to.
		// Beyond that, the cloud lets it be shared with the account it is in alone.
		"ec2:ModifySnapshotAttribute": {call: call(ec2.NewFromConfig, (*ec2.Client).ModifySnapshotAttribute), subject: on("SnapshotId"), guards: guards{must("DryRun", true), fixtureID("SnapshotId"), sharedWithItself("CreateVolumePermission"), absent("Attribute", "OperationType", "UserIds", "GroupNames")}, grants: grants{allow(snapshot, when{fixtureTag: "fixture", "ec2:Add/userId": "{account}"}, "ec2:ModifySnapshotAttribute")}},
		"ec2:DeleteSnapshot":          {call: call(ec2.NewFromConfig, (*ec2.Client).DeleteSnapshot), subject: on("SnapshotId"), guards: guards{must("DryRun", true), fixtureID("SnapshotId")}, grants: grants{allow(snapshot, when{fixtureTag: "fixture"}, "ec2:DeleteSnapshot")}},
	}
}

// networkKinds are what these leave behind.
func networkKinds() []kind {
	return []kind{
		{name: "ec2 security group rule", list: leftRules, undo: []string{"ec2:RevokeSecurityGroupEgress", "ec2:RevokeSecurityGroupIngress"}, reads: grants{allow("*", nil, "ec2:DescribeSecurityGroupRules")}},
		{name: "ec2 network acl", list: leftNetworkACLs, undo: []string{"ec2:DeleteNetworkAcl"}, reads: grants{allow("*", nil, "ec2:DescribeNetworkAcls")}},
		{name: "ec2 route table", list: leftRouteTables, undo: []string{"ec2:DeleteRouteTable"}, reads: grants{allow("*", nil, "ec2:DescribeRouteTables")}},
		{name: "ec2 internet gateway", list: leftInternetGateways, undo: []string{"ec2:DeleteInternetGateway"}, reads: grants{allow("*", nil, "ec2:DescribeInternetGateways")}},
		{name: "ec2 flow log", list: leftFlowLogs, undo: []string{"ec2:DeleteFlowLogs"}, reads: grants{allow("*", nil, "ec2:DescribeFlowLogs")}},
		{name: "ec2 key pair", list: leftKeyPairs, undo: []string{"ec2:DeleteKeyPair"}, reads: grants{allow("*", nil, "ec2:DescribeKeyPairs")}},
	}
}

// tagging is what making something with tags needs: to make it with the run's tag,
// and to set tags while doing so.
func tagging(operation, resource string) grants {
	return grants{
		allow(resource, when{requestTagRun: "{run}"}, "ec2:"+operation),
		allow(resource, when{requestTagRun: "{run}", ec2CreateAction: operation}, "ec2:CreateTags"),
	}
}

// each holds every element of a list against a guard.
func each(param string, one func(param string) guard) guard {
	return func(s scene, p map[string]any) error {
		list, _ := p[param].([]any)
		if len(list) == 0 {
			return fmt.Errorf("%s is empty", param)
		}
		for _, v := range list {
			if err := one(param)(s, map[string]any{param: v}); err != nil {
				return err
			}
		}
		return nil
	}
}

// absent: these parameters are another way to say the same, or more than is harmless.
func absent(params ...string) guard {
	return func(_ scene, p map[string]any) error {
		for _, param := range params {
			if p[param] != nil {
				return fmt.Errorf("%s must not be given", param)
			}
		}
		return nil
	}
}

// madeOrDryRun: either something a canary made, or a dry run on the id that
// nothing has.
func madeOrDryRun(param, prefix, null string) guard {
	return func(s scene, p map[string]any) error {
		switch {
		case p["DryRun"] == true:
			return nullID(param, null)(s, p)
		case slices.Contains(texts(p[param]), null):
			return must("DryRun", true)(s, p)
		}
		return each(param, func(param string) guard { return madeID(param, prefix) })(s, p)
	}
}

// sharedWithItself: a permission is added for the account itself, which has it anyway.
func sharedWithItself(param string) guard {
	return func(s scene, p map[string]any) error {
		change, _ := p[param].(map[string]any)
		add, _ := change["Add"].([]any)
		if len(add) != 1 || len(change) != 1 {
			return fmt.Errorf("%s must add one account, and do nothing else", param)
		}
		with, _ := add[0].(map[string]any)
		if len(with) != 1 || with["UserId"] != s.account {
			return fmt.Errorf("%s.Add must name the account itself, {UserId: ${account}}, alone", param)
		}
		return nil
	}
}

// whole takes an answer that says of something that it was not done (status 200,
// "unsuccessful") for what it is: not a success.
func whole[Out any](m method, unsuccessful func(*Out) []ec2types.UnsuccessfulItem) method {
	send := m.send
	m.send = func(ctx context.Context, cfg aws.Config, in any) (any, error) {
		out, err := send(ctx, cfg, in)
		if err != nil {
			return out, err
		}
		for _, u := range unsuccessful(out.(*Out)) {
			why := "for no stated reason"
			if u.Error != nil {
				why = aws.ToString(u.Error.Code) + ": " + aws.ToString(u.Error.Message)
			}
			err = errors.Join(err, fmt.Errorf("the reply says that it was not done for %q: %s", aws.ToString(u.ResourceId), why))
		}
		return out, err
	}
	return m
}

// stillThere: what could not be deleted, but not what is not there any more.
func stillThere(out *ec2.DeleteFlowLogsOutput) []ec2types.UnsuccessfulItem {
	return slices.DeleteFunc(slices.Clone(out.Unsuccessful), func(u ec2types.UnsuccessfulItem) bool {
		return u.Error != nil && aws.ToString(u.Error.Code) == "InvalidFlowLogId.NotFound"
	})
}

// listed is something a listing shows, with the call that would undo it.
type listed struct {
	id   string
	tags []ec2types.Tag
	undo canary.Call
}

// pages are one of the SDK's paginators.
type pages[Page any] interface {
	HasMorePages() bool
	NextPage(context.Context, ...func(*ec2.Options)) (*Page, error)
}

// leftEC2 reads all pages and keeps what carries a run and a canary. Everything in
// the region is read and its own tags looked at: a filter that goes wrong looks
// like an account that is clean.
func leftEC2[Page any](ctx context.Context, p place, operation string, all pages[Page], read func(*Page) []listed) ([]run.Leftover, error) {
	var left []run.Leftover
	for all.HasMorePages() {
		page, err := nextPage(ctx, p, all.NextPage)
		if err != nil {
			return left, p.fail(err, operation)
		}
		left = append(left, p.owned(read(page))...)
	}
	return left, nil
}

// owned keeps what a canary made.
func (p place) owned(things []listed) (left []run.Leftover) {
	for _, t := range things {
		runID, canaryID, ok := made(ec2Tags(t.tags))
		if !ok {
			continue
		}
		t.undo.Region = p.scene.region
		left = append(left, run.Leftover{ID: t.id, Run: runID, Canary: canaryID, Undo: []canary.Call{t.undo}})
	}
	return left
}

func ec2Tags(in []ec2types.Tag) map[string]string {
	tags := map[string]string{}
	for _, t := range in {
		tags[aws.ToString(t.Key)] = aws.ToString(t.Value)
	}
	return tags
}

// undoBy is the call that removes what one parameter names.
func undoBy(operation, param string, id any, gone ...string) canary.Call {
	return canary.Call{Operation: operation, Params: map[string]any{param: id}, Gone: gone}
}

func leftRules(ctx context.Context, p place) ([]run.Leftover, error) {
	in := &ec2.DescribeSecurityGroupRulesInput{MaxResults: aws.Int32(1000)}
	return leftEC2(ctx, p, "ec2:DescribeSecurityGroupRules", ec2.NewDescribeSecurityGroupRulesPaginator(ec2.NewFromConfig(p.cfg), in),
		func(page *ec2.DescribeSecurityGroupRulesOutput) (all []listed) {
			for _, r := range page.SecurityGroupRules {
				id, group, revoke := aws.ToString(r.SecurityGroupRuleId), aws.ToString(r.GroupId), "ec2:RevokeSecurityGroupIngress"
				if aws.ToBool(r.IsEgress) {
					revoke = "ec2:RevokeSecurityGroupEgress"
				}
				undo := undoBy(revoke, "SecurityGroupRuleIds", []any{id}, "InvalidSecurityGroupRuleId.NotFound", "InvalidPermission.NotFound", "InvalidGroup.NotFound")
				undo.Params["GroupId"] = group
				all = append(all, listed{group + "/" + id, r.Tags, undo})
			}
			return all
		})
}

func leftNetworkACLs(ctx context.Context, p place) ([]run.Leftover, error) {
	in := &ec2.DescribeNetworkAclsInput{MaxResults: aws.Int32(1000)}
	return leftEC2(ctx, p, "ec2:DescribeNetworkAcls", ec2.NewDescribeNetworkAclsPaginator(ec2.NewFromConfig(p.cfg), in),
		func(page *ec2.DescribeNetworkAclsOutput) (all []listed) {
			for _, a := range page.NetworkAcls {
				id := aws.ToString(a.NetworkAclId)
				all = append(all, listed{id, a.Tags, undoBy("ec2:DeleteNetworkAcl", "NetworkAclId", id, "InvalidNetworkAclID.NotFound")})
			}
			return all
		})
}

func leftRouteTables(ctx context.Context, p place) ([]run.Leftover, error) {
	in := &ec2.DescribeRouteTablesInput{MaxResults: aws.Int32(100)} // the most it takes
	return leftEC2(ctx, p, "ec2:DescribeRouteTables", ec2.NewDescribeRouteTablesPaginator(ec2.NewFromConfig(p.cfg), in),
		func(page *ec2.DescribeRouteTablesOutput) (all []listed) {
			for _, t := range page.RouteTables {
				id := aws.ToString(t.RouteTableId)
				all = append(all, listed{id, t.Tags, undoBy("ec2:DeleteRouteTable", "RouteTableId", id, "InvalidRouteTableID.NotFound")})
			}
			return all
		})
}

func leftInternetGateways(ctx context.Context, p place) ([]run.Leftover, error) {
	in := &ec2.DescribeInternetGatewaysInput{MaxResults: aws.Int32(1000)}
	return leftEC2(ctx, p, "ec2:DescribeInternetGateways", ec2.NewDescribeInternetGatewaysPaginator(ec2.NewFromConfig(p.cfg), in),
		func(page *ec2.DescribeInternetGatewaysOutput) (all []listed) {
			for _, g := range page.InternetGateways {
				id := aws.ToString(g.InternetGatewayId)
				all = append(all, listed{id, g.Tags, undoBy("ec2:DeleteInternetGateway", "InternetGatewayId", id, "InvalidInternetGatewayID.NotFound")})
			}
			return all
		})
}

func leftFlowLogs(ctx context.Context, p place) ([]run.Leftover, error) {
	in := &ec2.DescribeFlowLogsInput{MaxResults: aws.Int32(1000)}
	return leftEC2(ctx, p, "ec2:DescribeFlowLogs", ec2.NewDescribeFlowLogsPaginator(ec2.NewFromConfig(p.cfg), in),
		func(page *ec2.DescribeFlowLogsOutput) (all []listed) {
			for _, f := range page.FlowLogs {
				id := aws.ToString(f.FlowLogId)
				all = append(all, listed{id, f.Tags, undoBy("ec2:DeleteFlowLogs", "FlowLogIds", []any{id}, "InvalidFlowLogId.NotFound")})
			}
			return all
		})
}

// leftKeyPairs: those under a canary's name; the listing has one page.
func leftKeyPairs(ctx context.Context, p place) ([]run.Leftover, error) {
	bounded, cancel := p.bound(ctx)
	defer cancel()
	out, err := ec2.NewFromConfig(p.cfg).DescribeKeyPairs(bounded, &ec2.DescribeKeyPairsInput{})
	if err != nil {
		return nil, p.fail(err, "ec2:DescribeKeyPairs")
	}
	var all []listed
	for _, k := range out.KeyPairs {
		if name := aws.ToString(k.KeyName); strings.HasPrefix(name, canary.Marker+"-") {
			all = append(all, listed{name, k.Tags, undoBy("ec2:DeleteKeyPair", "KeyName", name, "InvalidKeyPair.NotFound")})
		}
	}
	return p.owned(all), nil
}
