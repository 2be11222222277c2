package cloud_test

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatchlogs"
	logtypes "github.com/aws/aws-sdk-go-v2/service/cloudwatchlogs/types"

	"github.com/auditcanary/auditcanary/tests/sandbox/cloud"
)

// admin may do everything in the target account that the organisation allows.
func (b *box) admin(region string) aws.Config { return b.root(target, region) }

// allowing opens an injector session whose role may do everything, under policy.
func allowing(t *testing.T, b *box, region, policy string) aws.Config {
	t.Helper()
	if err := b.cloud.PermitInjector(target, []json.RawMessage{json.RawMessage(`{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"*","Resource":"*"}]}`)}); err != nil {
		t.Fatal(err)
	}
	return b.injector(target, region, policy)
}

func TestALogGroupLivesAndDies(t *testing.T) {
	b := start(t)
	c, ctx := cloudwatchlogs.NewFromConfig(b.admin(west)), t.Context()
	name := aws.String("auditcanary-c1")
	create := &cloudwatchlogs.CreateLogGroupInput{LogGroupName: name, Tags: map[string]string{"auditcanary:run": "r1", "Team": "x"}}
	if _, err := c.CreateLogGroup(ctx, create); err != nil {
		t.Fatal(err)
	}
	rec := b.last("CreateLogGroup")
	if rec["awsRegion"] != west || rec["eventSource"] != "logs.amazonaws.com" || rec["readOnly"] != false || rec["apiVersion"] != "20140328" || rec["responseElements"] != nil ||
		at(rec, "requestParameters", "logGroupName") != *name || at(rec, "requestParameters", "tags", "Team") != "x" {
		t.Errorf("record %s", pretty(rec))
	}
	_, err := c.CreateLogGroup(ctx, create)
	wantCode(t, err, "ResourceAlreadyExistsException")

	arn := "arn:aws:logs:" + west + ":" + target + ":log-group:" + *name
	tagged, err := c.ListTagsForResource(ctx, &cloudwatchlogs.ListTagsForResourceInput{ResourceArn: &arn})
	if err != nil || tagged.Tags["auditcanary:run"] != "r1" {
		t.Errorf("tags %s %v", pretty(tagged), err)
	}
	filter := &cloudwatchlogs.PutMetricFilterInput{LogGroupName: name, FilterName: name, FilterPattern: aws.String("x"),
		MetricTransformations: []logtypes.MetricTransformation{{MetricName: aws.String("m"), MetricNamespace: aws.String("n"), MetricValue: aws.String("1")}}}
	if _, err := c.PutMetricFilter(ctx, filter); err != nil {
		t.Fatal(err)
	}
	if got := at(b.last("PutMetricFilter"), "requestParameters", "filterPattern"); got != "x" {
		t.Errorf("recorded pattern %v", got)
	}
	if got := kinds(b); got != "log group, metric filter" {
		t.Errorf("changes %q", got)
	}
	remove := &cloudwatchlogs.DeleteMetricFilterInput{LogGroupName: name, FilterName: name}
	if _, err := c.DeleteMetricFilter(ctx, remove); err != nil {
		t.Fatal(err)
	}
	_, err = c.DeleteMetricFilter(ctx, remove)
	wantCode(t, err, "ResourceNotFoundException")
	if _, err := c.PutMetricFilter(ctx, filter); err != nil { // this one goes with its group
		t.Fatal(err)
	}
	if _, err := c.DeleteLogGroup(ctx, &cloudwatchlogs.DeleteLogGroupInput{LogGroupName: name}); err != nil {
		t.Fatal(err)
	}
	_, err = c.DeleteLogGroup(ctx, &cloudwatchlogs.DeleteLogGroupInput{LogGroupName: name})
	wantCode(t, err, "ResourceNotFoundException")
	if got := b.last("DeleteLogGroup")["errorCode"]; got != "ResourceNotFoundException" {
		t.Errorf("recorded %v", got)
	}
	_, err = c.PutMetricFilter(ctx, filter)
	wantCode(t, err, "ResourceNotFoundException")
	if changes := b.cloud.Changes(); len(changes) != 0 {
		t.Errorf("left behind: %s", pretty(changes))
	}
}

// kinds of what is not as it was at the start.
func kinds(b *box) string {
	var out []string
	for _, c := range b.cloud.Changes() {
		out = append(out, c.Kind)
	}
	slices.Sort(out)
	return strings.Join(slices.Compact(out), ", ")
}

func TestRetentionIsKept(t *testing.T) {
	b := start(t)
	c, ctx := cloudwatchlogs.NewFromConfig(b.admin(east)), t.Context()
	group := aws.String(cloud.Fixtures(target, east)["log_group"])
	days := func() int32 {
		out, err := c.DescribeLogGroups(ctx, &cloudwatchlogs.DescribeLogGroupsInput{LogGroupNamePrefix: group})
		if err != nil || len(out.LogGroups) != 1 {
			t.Fatalf("%s %v", pretty(out), err)
		}
		return aws.ToInt32(out.LogGroups[0].RetentionInDays)
	}
	put := func(days int32) error {
		_, err := c.PutRetentionPolicy(ctx, &cloudwatchlogs.PutRetentionPolicyInput{LogGroupName: group, RetentionInDays: &days})
		return err
	}
	if days() != 365 {
		t.Errorf("deployed with %d days", days())
	}
	if err := put(30); err != nil || days() != 30 || kinds(b) != "log group" {
		t.Errorf("%v, %d days, changes %q", err, days(), kinds(b))
	}
	wantCode(t, put(31), "InvalidParameterException")
	if err := put(365); err != nil || kinds(b) != "" {
		t.Errorf("%v, changes %q", err, kinds(b))
	}
}

func TestLogGroupsAreListedPageByPage(t *testing.T) {
	b := start(t)
	c, ctx := cloudwatchlogs.NewFromConfig(b.admin(east)), t.Context()
	for i := range 53 {
		if _, err := c.CreateLogGroup(ctx, &cloudwatchlogs.CreateLogGroupInput{LogGroupName: aws.String(fmt.Sprintf("many-%02d", i))}); err != nil {
			t.Fatal(err)
		}
	}
	var names []string
	pages := cloudwatchlogs.NewDescribeLogGroupsPaginator(c, &cloudwatchlogs.DescribeLogGroupsInput{LogGroupNamePrefix: aws.String("many-")})
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			t.Fatal(err)
		}
		for _, g := range page.LogGroups {
			names = append(names, *g.LogGroupName)
		}
	}
	if len(slices.Compact(names)) != 53 || len(b.all("DescribeLogGroups")) != 2 {
		t.Errorf("%d names in %d pages", len(names), len(b.all("DescribeLogGroups")))
	}
}

func TestTheSessionPolicyKeepsLogGroupsApart(t *testing.T) {
	b := start(t)
	c := cloudwatchlogs.NewFromConfig(allowing(t, b, east, `{"Version":"2012-10-17","Statement":[
		{"Effect":"Allow","Action":["logs:CreateLogGroup"],"Resource":"arn:aws:logs:us-east-1:111122223333:log-group:auditcanary-c1:*","Condition":{"StringLike":{"aws:RequestTag/auditcanary:run":"r1"}}},
		{"Effect":"Allow","Action":["logs:TagResource"],"Resource":"arn:aws:logs:us-east-1:111122223333:log-group:auditcanary-c1","Condition":{"StringLike":{"aws:RequestTag/auditcanary:run":"r1"}}},
		{"Effect":"Allow","Action":["logs:DeleteLogGroup"],"Resource":"arn:aws:logs:us-east-1:111122223333:log-group:auditcanary-c1"},
		{"Effect":"Allow","Action":["logs:PutRetentionPolicy"],"Resource":"arn:aws:logs:us-east-1:111122223333:log-group:auditcanary-*:*","Condition":{"StringLike":{"aws:ResourceTag/auditcanary":"fixture"}}}]}`))
	ctx, mine := t.Context(), aws.String("auditcanary-c1")
	create := func(name *string, tags map[string]string) error {
		_, err := c.CreateLogGroup(ctx, &cloudwatchlogs.CreateLogGroupInput{LogGroupName: name, Tags: tags})
		return err
	}
	wantCode(t, create(aws.String("other"), map[string]string{"auditcanary:run": "r1"}), "AccessDeniedException")
	wantCode(t, create(mine, nil), "AccessDeniedException")
	wantCode(t, create(mine, map[string]string{"auditcanary:run": "r2"}), "AccessDeniedException")
	if err := create(mine, map[string]string{"auditcanary:run": "r1"}); err != nil {
		t.Fatal(err)
	}
	// The ARN of a group alone does not stand for calls on it.
	_, err := c.DeleteLogGroup(ctx, &cloudwatchlogs.DeleteLogGroupInput{LogGroupName: mine})
	wantCode(t, err, "AccessDeniedException")
	rec := b.last("DeleteLogGroup")
	if rec["errorCode"] != "AccessDenied" || rec["requestParameters"] != nil || !strings.Contains(fmt.Sprint(rec["errorMessage"]), "logs:DeleteLogGroup on resource: arn:aws:logs:us-east-1:111122223333:log-group:auditcanary-c1:log-stream: because no session policy allows the logs:DeleteLogGroup action") {
		t.Errorf("record %s", pretty(rec))
	}
	if _, has := rec["apiVersion"]; has {
		t.Error("a refused call's record has an apiVersion")
	}
	put := func(name *string) error {
		_, err := c.PutRetentionPolicy(ctx, &cloudwatchlogs.PutRetentionPolicyInput{LogGroupName: name, RetentionInDays: aws.Int32(30)})
		return err
	}
	wantCode(t, put(mine), "AccessDeniedException") // no fixture
	if err := put(aws.String("auditcanary-retention")); err != nil {
		t.Error(err)
	}
}
