package aws

import (
	"context"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	ec2types "github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"github.com/auditcanary/auditcanary/shared/canary"
	"github.com/auditcanary/auditcanary/shared/run"
)

// networkOperations: what may talk to what, and the hosts behind it.
var networkOperations = map[string]operation{
	// Network: one fixture group without interfaces, documentation addresses only.
	"ec2:AuthorizeSecurityGroupIngress": {call: call(ec2.NewFromConfig, (*ec2.Client).AuthorizeSecurityGroupIngress), subject: on("GroupId"), undo: "ec2:RevokeSecurityGroupIngress", guards: guards{fixtureID("GroupId"), documentationNetworks(), runTags()}, grants: grants{allow(securityGroup, when{fixtureTag: "fixture"}, "ec2:AuthorizeSecurityGroupIngress"), allow(securityGroupRule, when{requestTagRun: "{run}"}, "ec2:AuthorizeSecurityGroupIngress", "ec2:CreateTags")}},
	"ec2:RevokeSecurityGroupIngress":    {call: call(ec2.NewFromConfig, (*ec2.Client).RevokeSecurityGroupIngress), subject: on("GroupId"), restores: true, guards: guards{fixtureID("GroupId"), documentationNetworks()}, grants: grants{allow(securityGroup, when{fixtureTag: "fixture"}, "ec2:RevokeSecurityGroupIngress")}},
	"ec2:DeleteFlowLogs":                {call: call(ec2.NewFromConfig, (*ec2.Client).DeleteFlowLogs), subject: on("FlowLogIds"), guards: guards{must("DryRun", true), nullID("FlowLogIds", "fl-00000000000000000")}, grants: grants{allow("arn:{partition}:ec2:{region}:{account}:vpc-flow-log/{FlowLogIds}", nil, "ec2:DeleteFlowLogs")}},
}

// networkKinds are what these leave behind.
var networkKinds = []kind{
	{name: "ec2 security group rule", list: leftRules, reads: grants{allow("*", nil, "ec2:DescribeSecurityGroupRules")}},
}

// leftRules: security group rules that carry a run and a canary. All rules of
// the region are read and their own tags looked at: a filter that goes wrong
// looks like an account that is clean.
func leftRules(ctx context.Context, p place) ([]run.Leftover, error) {
	client := ec2.NewFromConfig(p.cfg)
	var left []run.Leftover
	pages := ec2.NewDescribeSecurityGroupRulesPaginator(client, &ec2.DescribeSecurityGroupRulesInput{MaxResults: aws.Int32(1000)})
	for pages.HasMorePages() {
		page, err := nextPage(ctx, p, pages.NextPage)
		if err != nil {
			return left, p.fail(err, "ec2:DescribeSecurityGroupRules")
		}
		for _, rule := range page.SecurityGroupRules {
			runID, canaryID, ok := made(ec2Tags(rule.Tags))
			if !ok || aws.ToBool(rule.IsEgress) {
				continue
			}
			id, group := aws.ToString(rule.SecurityGroupRuleId), aws.ToString(rule.GroupId)
			left = append(left, run.Leftover{ID: group + "/" + id, Run: runID, Canary: canaryID, Undo: []canary.Call{{
				Operation: "ec2:RevokeSecurityGroupIngress", Region: p.scene.region,
				Params: map[string]any{"GroupId": group, "SecurityGroupRuleIds": []any{id}},
				Gone:   []string{"InvalidSecurityGroupRuleId.NotFound", "InvalidPermission.NotFound", "InvalidGroup.NotFound"},
			}}})
		}
	}
	return left, nil
}

func ec2Tags(in []ec2types.Tag) map[string]string {
	tags := map[string]string{}
	for _, t := range in {
		tags[aws.ToString(t.Key)] = aws.ToString(t.Value)
	}
	return tags
}
