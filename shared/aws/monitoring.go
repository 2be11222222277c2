package aws

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/configservice"
	configtypes "github.com/aws/aws-sdk-go-v2/service/configservice/types"
	"github.com/aws/aws-sdk-go-v2/service/eventbridge"
	eventtypes "github.com/aws/aws-sdk-go-v2/service/eventbridge/types"

	"github.com/auditcanary/auditcanary/shared/canary"
	"github.com/auditcanary/auditcanary/shared/run"
)

const (
	// A Config rule's ARN holds an id that the service makes up, not its name.
	configRule = "arn:{partition}:config:{region}:{account}:config-rule/*"
	recorder   = "arn:{partition}:config:{region}:{account}:configuration-recorder/{ConfigurationRecorderName}/*"
	eventRule  = "arn:{partition}:events:{region}:{account}:rule/{Name}" // of the default bus
)

// monitoringOperations: what watches, and rings.
func monitoringOperations() map[string]operation {
	return map[string]operation{
		// Config rules that look at nothing. The service knows a new rule by no ARN, so
		// that it cannot tell a canary's by its name; that a rule which is there already
		// is not overwritten is for the guards, which admit the canary's own name alone.
		// A deletion must be of what carries the run's tag.
		"config:PutConfigRule": {call: call(configservice.NewFromConfig, (*configservice.Client).PutConfigRule), subject: on("ConfigRule.ConfigRuleName=ConfigRuleName"), undo: "config:DeleteConfigRule", guards: guards{
			only("", "ConfigRule", "Tags"), only("ConfigRule", "ConfigRuleName", "Description", "Scope", "Source"),
			ownName("ConfigRule.ConfigRuleName"), must("ConfigRule.Scope.ComplianceResourceId", nothingByThatName),
			// A rule with a periodic trigger would not heed the scope.
			only("ConfigRule.Source", "Owner", "SourceIdentifier"), must("ConfigRule.Source.Owner", "AWS"), must("ConfigRule.Source.SourceIdentifier", "S3_BUCKET_VERSIONING_ENABLED"), runTags(),
		}, grants: grants{allow(configRule, when{requestTagRun: "{run}"}, "config:PutConfigRule")}},
		"config:DeleteConfigRule": {call: call(configservice.NewFromConfig, (*configservice.Client).DeleteConfigRule), subject: on("ConfigRuleName"), restores: true, guards: guards{ownName("ConfigRuleName")}, grants: grants{allow(configRule, when{resourceTagRun: "{run}"}, "config:DeleteConfigRule")}},
		// A recorder that is not there: a region has one of the customer's, and it is not ours to stop.
		"config:StopConfigurationRecorder": {call: call(configservice.NewFromConfig, (*configservice.Client).StopConfigurationRecorder), subject: on("ConfigurationRecorderName"), guards: guards{must("ConfigurationRecorderName", nothingByThatName)}, grants: grants{allow(recorder, nil, "config:StopConfigurationRecorder")}},

		// Event rules of the default bus: disabled, for a pattern that no event has,
		// without targets.
		"events:PutRule": {call: call(eventbridge.NewFromConfig, (*eventbridge.Client).PutRule), subject: on("Name"), undo: "events:DeleteRule", guards: guards{
			ownName("Name"), only("", "Name", "Description", "State", "EventPattern", "Tags"), must("State", "DISABLED"), must("EventPattern", `{"source":["auditcanary.none"]}`), runTags(),
		}, grants: grants{allow(eventRule, when{requestTagRun: "{run}"}, "events:PutRule", "events:TagResource")}},
		"events:DeleteRule": {call: call(eventbridge.NewFromConfig, (*eventbridge.Client).DeleteRule), subject: on("Name"), restores: true, guards: guards{ownName("Name"), notFixture("Name"), only("", "Name")}, grants: grants{allow(eventRule, nil, "events:DeleteRule")}},
		// The locked rule, a fixture without targets: disabled, it would wake nobody less.
		"events:DisableRule": {call: call(eventbridge.NewFromConfig, (*eventbridge.Client).DisableRule), subject: on("Name"), undo: "events:EnableRule", guards: guards{markedName("Name"), only("", "Name")}, grants: grants{allow(eventRule, when{fixtureTag: "fixture"}, "events:DisableRule")}},
		"events:EnableRule":  {call: call(eventbridge.NewFromConfig, (*eventbridge.Client).EnableRule), subject: on("Name"), restores: true, guards: guards{markedName("Name"), only("", "Name")}, grants: grants{allow(eventRule, when{fixtureTag: "fixture"}, "events:EnableRule")}},
	}
}

// nothingByThatName is the name of what nobody makes.
const nothingByThatName = canary.Marker + "-none"

func canaryNamed(name string) bool { return strings.HasPrefix(name, canary.Marker+"-") }

// monitoringKinds are what these leave behind.
func monitoringKinds() []kind {
	return []kind{
		{name: "config rule", list: leftConfigRules, undo: []string{"config:DeleteConfigRule"}, reads: grants{
			allow("*", nil, "config:DescribeConfigRules"),
			allow(configRule, nil, "config:ListTagsForResource"),
		}},
		{name: "events rule", list: leftEventRules, undo: []string{"events:DeleteRule"}, reads: grants{
			allow("*", nil, "events:ListRules"),
			allow("arn:{partition}:events:{region}:{account}:rule/auditcanary-*", nil, "events:ListTagsForResource"),
		}},
		{name: "events rule disabled", fixture: fixtureLockedRule, list: leftLockedRule, undo: []string{"events:EnableRule"}, reads: grants{
			allow("arn:{partition}:events:{region}:{account}:rule/auditcanary-*", nil, "events:DescribeRule"),
		}},
	}
}

// leftConfigRules: Config rules named after a canary that carry its tags. What is
// being deleted is on its way out and cannot be deleted again.
func leftConfigRules(ctx context.Context, p place) ([]run.Leftover, error) {
	client := configservice.NewFromConfig(p.cfg)
	var left []run.Leftover
	pages := configservice.NewDescribeConfigRulesPaginator(client, &configservice.DescribeConfigRulesInput{})
	for pages.HasMorePages() {
		page, err := nextPage(ctx, p, pages.NextPage)
		if err != nil {
			return left, p.fail(err, "config:DescribeConfigRules")
		}
		for _, r := range page.ConfigRules {
			name := aws.ToString(r.ConfigRuleName)
			if !canaryNamed(name) || r.ConfigRuleState == configtypes.ConfigRuleStateDeleting {
				continue
			}
			tags, err := configTags(ctx, p, client, aws.ToString(r.ConfigRuleArn))
			if err != nil {
				return left, p.fail(err, "config:ListTagsForResource of "+name)
			}
			runID, canaryID, ok := made(tags)
			if !ok || name != canary.Marker+"-"+canaryID {
				continue
			}
			left = append(left, run.Leftover{ID: name, Run: runID, Canary: canaryID, Undo: []canary.Call{{
				Operation: "config:DeleteConfigRule", Region: p.scene.region, Gone: []string{"NoSuchConfigRuleException"},
				Params: map[string]any{"ConfigRuleName": name},
			}}})
		}
	}
	return left, nil
}

func configTags(ctx context.Context, p place, client *configservice.Client, arn string) (map[string]string, error) {
	tags := map[string]string{}
	pages := configservice.NewListTagsForResourcePaginator(client, &configservice.ListTagsForResourceInput{ResourceArn: &arn})
	for pages.HasMorePages() {
		page, err := nextPage(ctx, p, pages.NextPage)
		if err != nil {
			return nil, err
		}
		for _, t := range page.Tags {
			tags[aws.ToString(t.Key)] = aws.ToString(t.Value)
		}
	}
	return tags, nil
}

// leftEventRules: rules of the default bus named after a canary that carry its tags.
func leftEventRules(ctx context.Context, p place) ([]run.Leftover, error) {
	client := eventbridge.NewFromConfig(p.cfg)
	var left []run.Leftover
	in := &eventbridge.ListRulesInput{NamePrefix: aws.String(canary.Marker + "-")}
	for { // the SDK has no paginator for it
		page, err := nextPage(ctx, p, func(ctx context.Context, opts ...func(*eventbridge.Options)) (*eventbridge.ListRulesOutput, error) {
			return client.ListRules(ctx, in, opts...)
		})
		if err != nil {
			return left, p.fail(err, "events:ListRules")
		}
		for _, r := range page.Rules {
			name := aws.ToString(r.Name)
			bounded, cancel := p.bound(ctx)
			tagged, err := client.ListTagsForResource(bounded, &eventbridge.ListTagsForResourceInput{ResourceARN: r.Arn})
			cancel()
			if err != nil {
				return left, p.fail(err, "events:ListTagsForResource of "+name)
			}
			tags := map[string]string{}
			for _, t := range tagged.Tags {
				tags[aws.ToString(t.Key)] = aws.ToString(t.Value)
			}
			runID, canaryID, ok := made(tags)
			if !ok || name != canary.Marker+"-"+canaryID {
				continue
			}
			left = append(left, run.Leftover{ID: aws.ToString(r.Arn), Run: runID, Canary: canaryID, Undo: []canary.Call{{
				Operation: "events:DeleteRule", Region: p.scene.region, Gone: []string{"ResourceNotFoundException"},
				Params: map[string]any{"Name": name},
			}}})
		}
		if in.NextToken = page.NextToken; aws.ToString(in.NextToken) == "" {
			return left, nil
		}
	}
}

// fixtureLockedRule names, in the configuration, the event rule that a sweep enables.
const fixtureLockedRule = "locked_rule"

// leftLockedRule: the locked rule, if it is disabled.
func leftLockedRule(ctx context.Context, p place) ([]run.Leftover, error) {
	name, _ := p.target.fixture(p.scene.region, fixtureLockedRule)
	what := "events:DescribeRule of " + name
	if !canaryNamed(name) {
		return nil, p.fail(fmt.Errorf("the fixture's name does not begin with %q", canary.Marker+"-"), what)
	}
	bounded, cancel := p.bound(ctx)
	defer cancel()
	rule, err := eventbridge.NewFromConfig(p.cfg).DescribeRule(bounded, &eventbridge.DescribeRuleInput{Name: &name})
	switch {
	case err != nil:
		return nil, p.fail(err, what)
	case rule.State == "":
		return nil, p.fail(errors.New("the reply does not say whether it is enabled"), what)
	case rule.State != eventtypes.RuleStateDisabled:
		return nil, nil
	}
	return []run.Leftover{{ID: name, Undo: []canary.Call{{
		Operation: "events:EnableRule", Region: p.scene.region, Params: map[string]any{"Name": name},
	}}}}, nil
}
