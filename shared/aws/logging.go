package aws

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/cloudtrail"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatchlogs"

	"github.com/auditcanary/auditcanary/shared/canary"
	"github.com/auditcanary/auditcanary/shared/run"
)

const (
	selectorTrail = "arn:{partition}:cloudtrail:{region}:{account}:trail/{TrailName}"

	// Calls on a log group are authorised for "<its ARN>:log-stream:", those on its
	// tags for its ARN alone (CloudWatch Logs API reference, LogGroup: arn and
	// logGroupArn).
	logGroup      = "arn:{partition}:logs:{region}:{account}:log-group:{LogGroupName}:*"
	logGroupsTags = "arn:{partition}:logs:{region}:{account}:log-group:{LogGroupName}"
)

// loggingOperations: what records.
func loggingOperations() map[string]operation {
	return map[string]operation{
		// Trails through which nothing flows. What a call to CloudTrail may touch can be
		// told by the trail's name only: its reference lists no condition key for them.
		"cloudtrail:StopLogging":  {call: call(cloudtrail.NewFromConfig, (*cloudtrail.Client).StopLogging), subject: on("Name"), undo: "cloudtrail:StartLogging", guards: guards{markedName("Name")}, grants: grants{allow(trail, nil, "cloudtrail:StopLogging")}},
		"cloudtrail:StartLogging": {call: call(cloudtrail.NewFromConfig, (*cloudtrail.Client).StartLogging), subject: on("Name"), restores: true, guards: guards{markedName("Name")}, grants: grants{allow(trail, nil, "cloudtrail:StartLogging")}},
		// The selectors that a fixture trail has anyway: nothing changes, and nothing is undone.
		"cloudtrail:PutEventSelectors": {call: call(cloudtrail.NewFromConfig, (*cloudtrail.Client).PutEventSelectors), subject: on("TrailName"), guards: guards{markedName("TrailName"), only("", "TrailName", "AdvancedEventSelectors"), selectsNothing("AdvancedEventSelectors")}, grants: grants{allow(selectorTrail, nil, "cloudtrail:PutEventSelectors")}},

		// Log groups to which nobody writes. A canary's own is told by its name: a
		// condition on its tag would make the service refuse, not find missing, what is
		// gone already, and to be gone is what a deletion as a step leaves to its undo.
		"logs:CreateLogGroup":     {call: call(cloudwatchlogs.NewFromConfig, (*cloudwatchlogs.Client).CreateLogGroup), subject: on("LogGroupName"), undo: "logs:DeleteLogGroup", guards: guards{ownName("LogGroupName"), only("", "LogGroupName", "Tags"), runTags()}, grants: grants{allow(logGroup, when{requestTagRun: "{run}"}, "logs:CreateLogGroup"), allow(logGroupsTags, when{requestTagRun: "{run}"}, "logs:TagResource")}},
		"logs:DeleteLogGroup":     {call: call(cloudwatchlogs.NewFromConfig, (*cloudwatchlogs.Client).DeleteLogGroup), subject: on("LogGroupName"), restores: true, guards: guards{ownName("LogGroupName"), notFixture("LogGroupName")}, grants: grants{allow(logGroup, nil, "logs:DeleteLogGroup")}},
		"logs:PutMetricFilter":    {call: call(cloudwatchlogs.NewFromConfig, (*cloudwatchlogs.Client).PutMetricFilter), subject: on("LogGroupName", "FilterName"), undo: "logs:DeleteMetricFilter", guards: guards{ownName("LogGroupName"), ownName("FilterName"), only("", "LogGroupName", "FilterName", "FilterPattern", "MetricTransformations")}, grants: grants{allow(logGroup, nil, "logs:PutMetricFilter")}},
		"logs:DeleteMetricFilter": {call: call(cloudwatchlogs.NewFromConfig, (*cloudwatchlogs.Client).DeleteMetricFilter), subject: on("LogGroupName", "FilterName"), restores: true, guards: guards{ownName("LogGroupName"), ownName("FilterName")}, grants: grants{allow(logGroup, nil, "logs:DeleteMetricFilter")}},

		// The fixture group has no streams, so that nothing expires.
		"logs:PutRetentionPolicy": {call: call(cloudwatchlogs.NewFromConfig, (*cloudwatchlogs.Client).PutRetentionPolicy), subject: on("LogGroupName"), undo: "logs:PutRetentionPolicy", restores: true, undone: guards{must("RetentionInDays", float64(retentionOfFixture))}, guards: guards{markedName("LogGroupName"), retention("RetentionInDays")}, grants: grants{allow(logGroup, when{fixtureTag: "fixture"}, "logs:PutRetentionPolicy")}},
	}
}

// loggingKinds are what these leave behind. A metric filter goes with its log group.
func loggingKinds() []kind {
	return []kind{
		{name: "cloudtrail trail stopped", list: leftTrails, undo: []string{"cloudtrail:StartLogging"}, reads: grants{
			allow("arn:{partition}:cloudtrail:{region}:{account}:trail/auditcanary-*", nil, "cloudtrail:GetTrailStatus"),
		}},
		{name: "logs group", list: leftLogGroups, undo: []string{"logs:DeleteLogGroup", "logs:DeleteMetricFilter"}, reads: grants{
			allow("*", nil, "logs:DescribeLogGroups"),
			allow("arn:{partition}:logs:{region}:{account}:log-group:auditcanary-*", nil, "logs:ListTagsForResource"),
		}},
		{name: "logs retention shortened", fixture: fixtureLogGroup, list: leftRetention, undo: []string{"logs:PutRetentionPolicy"}, reads: grants{allow("*", nil, "logs:DescribeLogGroups")}},
	}
}

// selectsNothing: the data events of one function that is not there, in the
// account's own name space, where nobody else can make it.
func selectsNothing(param string) guard {
	return func(s scene, p map[string]any) error {
		arn := s.fill("arn:{partition}:lambda:{region}:{account}:function:auditcanary-none", nil)[0]
		want := []any{map[string]any{"Name": "auditcanary-nothing", "FieldSelectors": []any{
			map[string]any{"Field": "eventCategory", "Equals": []any{"Data"}},
			map[string]any{"Field": "resources.type", "Equals": []any{"AWS::Lambda::Function"}},
			map[string]any{"Field": "resources.ARN", "Equals": []any{arn}},
		}}}
		if got := lookAt(p, param); !reflect.DeepEqual(got, want) {
			return fmt.Errorf("%s must select the data events of %s and of nothing else, as the fixture trails do, not %v", param, arn, got)
		}
		return nil
	}
}

// Days for which the fixture log group keeps its events: as it is deployed, and
// while a canary has shortened it.
const (
	retentionOfFixture = 365
	retentionOfCanary  = 30
)

// retention: one of the two; what restores sets the fixture's own.
func retention(param string) guard {
	return func(s scene, p map[string]any) error {
		switch got := lookAt(p, param); {
		case got == float64(retentionOfFixture), got == float64(retentionOfCanary) && s.name != canary.Marker:
			return nil
		default:
			return fmt.Errorf("%s must be %d, or %d as the fixture has it, not %v", param, retentionOfCanary, retentionOfFixture, got)
		}
	}
}

// only: no parameters but these, of the call or of the object at a parameter. What
// nobody has thought of is not harmless: a log group made with deletion protection
// could not be removed.
func only(at string, names ...string) guard {
	return func(_ scene, p map[string]any) error {
		object, prefix := p, ""
		if at != "" {
			object, _ = lookAt(p, at).(map[string]any)
			prefix = at + "."
		}
		for _, name := range slices.Sorted(maps.Keys(object)) {
			if !slices.Contains(names, name) {
				return fmt.Errorf("%s%s is not allowed: only %s are", prefix, name, strings.Join(names, ", "))
			}
		}
		return nil
	}
}

// notFixture: a sweep may remove what is canary-marked, but no fixture.
func notFixture(param string) guard {
	return func(s scene, p map[string]any) error {
		v := textAt(p, param)
		for _, f := range s.fixtures {
			if v == f {
				return fmt.Errorf("%s %q is a fixture: it is not a canary's to remove", param, v)
			}
		}
		return nil
	}
}

// fixtureTrails ends the names of the trails that a sweep starts: decoy_trail,
// locked_trail, selector_trail.
const fixtureTrails = "_trail"

// leftTrails: the fixture trails that do not log.
func leftTrails(ctx context.Context, p place) ([]run.Leftover, error) {
	var left []run.Leftover
	listed := map[string]bool{} // one trail may serve as several fixtures
	for _, fixture := range slices.Sorted(maps.Keys(p.scene.fixtures)) {
		name := p.scene.fixtures[fixture]
		if !strings.HasSuffix(fixture, fixtureTrails) || listed[name] {
			continue
		}
		listed[name] = true
		what := "cloudtrail:GetTrailStatus of " + name
		if !strings.HasPrefix(lastPart(name), canary.Marker+"-") {
			return left, p.fail(fmt.Errorf("the name of fixture %s does not begin with %q", fixture, canary.Marker+"-"), what)
		}
		bounded, cancel := p.bound(ctx)
		status, err := cloudtrail.NewFromConfig(p.cfg).GetTrailStatus(bounded, &cloudtrail.GetTrailStatusInput{Name: &name})
		cancel()
		if err != nil {
			return left, p.fail(err, what)
		}
		if status.IsLogging == nil {
			return left, p.fail(errors.New("the reply does not say whether it logs"), what)
		}
		if *status.IsLogging {
			continue
		}
		left = append(left, run.Leftover{ID: name, Undo: []canary.Call{{
			Operation: "cloudtrail:StartLogging", Region: p.scene.region, Params: map[string]any{"Name": name},
		}}})
	}
	return left, nil
}

// leftLogGroups: log groups named after a canary that carry its tags.
func leftLogGroups(ctx context.Context, p place) ([]run.Leftover, error) {
	client := cloudwatchlogs.NewFromConfig(p.cfg)
	var left []run.Leftover
	pages := cloudwatchlogs.NewDescribeLogGroupsPaginator(client, &cloudwatchlogs.DescribeLogGroupsInput{LogGroupNamePrefix: aws.String(canary.Marker + "-")})
	for pages.HasMorePages() {
		page, err := nextPage(ctx, p, pages.NextPage)
		if err != nil {
			return left, p.fail(err, "logs:DescribeLogGroups")
		}
		for _, g := range page.LogGroups {
			name, arn := aws.ToString(g.LogGroupName), p.scene.fill(logGroupsTags, map[string]any{"LogGroupName": aws.ToString(g.LogGroupName)})[0]
			bounded, cancel := p.bound(ctx)
			tagged, err := client.ListTagsForResource(bounded, &cloudwatchlogs.ListTagsForResourceInput{ResourceArn: &arn})
			cancel()
			if err != nil {
				return left, p.fail(err, "logs:ListTagsForResource of "+name)
			}
			runID, canaryID, ok := made(tagged.Tags)
			if !ok || name != canary.Marker+"-"+canaryID {
				continue
			}
			left = append(left, run.Leftover{ID: arn, Run: runID, Canary: canaryID, Undo: []canary.Call{{
				Operation: "logs:DeleteLogGroup", Region: p.scene.region, Gone: []string{"ResourceNotFoundException"},
				Params: map[string]any{"LogGroupName": name},
			}}})
		}
	}
	return left, nil
}

// fixtureLogGroup names, in the configuration, the log group whose retention a sweep restores.
const fixtureLogGroup = "log_group"

// leftRetention: the fixture log group, if it keeps its events for as long as a
// canary had them kept. Any other time is not a canary's doing.
func leftRetention(ctx context.Context, p place) ([]run.Leftover, error) {
	name, _ := p.target.fixture(p.scene.region, fixtureLogGroup)
	what := "logs:DescribeLogGroups of " + name
	pages := cloudwatchlogs.NewDescribeLogGroupsPaginator(cloudwatchlogs.NewFromConfig(p.cfg), &cloudwatchlogs.DescribeLogGroupsInput{LogGroupNamePrefix: &name})
	for pages.HasMorePages() {
		page, err := nextPage(ctx, p, pages.NextPage)
		if err != nil {
			return nil, p.fail(err, what)
		}
		for _, g := range page.LogGroups {
			if aws.ToString(g.LogGroupName) != name {
				continue
			}
			switch days := aws.ToInt32(g.RetentionInDays); days {
			case retentionOfFixture:
				return nil, nil
			case retentionOfCanary:
				return []run.Leftover{{ID: name, Undo: []canary.Call{{
					Operation: "logs:PutRetentionPolicy", Region: p.scene.region,
					Params: map[string]any{"LogGroupName": name, "RetentionInDays": float64(retentionOfFixture)},
				}}}}, nil
			default:
				return nil, p.fail(fmt.Errorf("the fixture keeps its events for %d days (0: for ever), not %d: no canary does that; look who did, and restore it", days, retentionOfFixture), what)
			}
		}
	}
	return nil, p.fail(errors.New(noFixture), what)
}
