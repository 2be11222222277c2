package aws

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"

	"github.com/auditcanary/auditcanary/shared/canary"
	"github.com/auditcanary/auditcanary/shared/run"
)

// cleanLogging answers the listings of what records and watches as a clean
// account does: the fixtures are as they were deployed.
func cleanLogging(w *wire) {
	w.answer["cloudtrail:GetTrailStatus"] = jsonReply(map[string]any{"IsLogging": true})
	w.answer["logs:DescribeLogGroups"] = logGroupsAre(map[string]any{"logGroupName": "auditcanary-retention", "retentionInDays": 365})
	w.answer["logs:ListTagsForResource"] = jsonReply(map[string]any{"tags": map[string]any{"auditcanary": "fixture"}})
	w.answer["config:DescribeConfigRules"] = jsonReply(map[string]any{"ConfigRules": []any{map[string]any{"ConfigRuleName": "securityhub-x", "ConfigRuleArn": "arn:x"}}})
	w.answer["events:ListRules"] = jsonReply(map[string]any{"Rules": []any{eventRuleCalled("auditcanary-locked")}})
	w.answer["events:ListTagsForResource"] = jsonReply(map[string]any{"Tags": []any{map[string]any{"Key": "auditcanary", "Value": "fixture"}}})
	w.answer["events:DescribeRule"] = jsonReply(map[string]any{"Name": "auditcanary-locked", "State": "ENABLED"})
}

// leftOfLogging lists what kinds find in Ireland, where the target has these fixtures.
func leftOfLogging(t *testing.T, w *wire, tg Target, kinds ...kind) (left []run.Leftover, err error) {
	t.Helper()
	c, cfg := testCloud(t, w.config()), w.config()
	cfg.Region = "eu-west-1"
	p := place{cloud: c, target: tg, scene: tg.scene("eu-west-1", "*", canary.Marker), cfg: cfg, pages: new(int)}
	for _, k := range kinds {
		found, e := k.list(context.Background(), p)
		for i := range found {
			found[i].Kind = k.name
		}
		left, err = append(left, found...), errors.Join(err, e)
	}
	return left, err
}

var ofLogging = slices.Concat(loggingKinds(), monitoringKinds())

func eventRuleCalled(name string) map[string]any {
	return map[string]any{"Name": name, "Arn": "arn:aws:events:eu-west-1:111122223333:rule/" + name, "State": "DISABLED"}
}

// logGroupsAre answers, of these groups, those that begin with the prefix asked for.
func logGroupsAre(groups ...map[string]any) func(http.ResponseWriter, *called) {
	return func(rw http.ResponseWriter, c *called) {
		var in struct{ LogGroupNamePrefix string }
		_ = json.Unmarshal(c.body, &in)
		list := []any{}
		for _, g := range groups {
			if strings.HasPrefix(g["logGroupName"].(string), in.LogGroupNamePrefix) {
				list = append(list, g)
			}
		}
		jsonReply(map[string]any{"logGroups": list})(rw, c)
	}
}

// tagsByName answers the tags ("run canary") of the thing whose name the request's
// body ends an ARN with.
func tagsByName(all map[string]string, write func(run, canary string) any) func(http.ResponseWriter, *called) {
	return func(rw http.ResponseWriter, c *called) {
		for name, tags := range all {
			if strings.Contains(string(c.body), name+`"`) {
				r, id, _ := strings.Cut(tags, " ")
				jsonReply(write(r, id))(rw, c)
				return
			}
		}
		jsonError(400, "ResourceNotFoundException", "no")(rw, c)
	}
}

func asMap(run, canary string) any {
	return map[string]any{"tags": map[string]any{"auditcanary:run": run, "auditcanary:canary": canary}}
}

func asTagList(run, canary string) any {
	return map[string]any{"Tags": []any{map[string]any{"Key": "auditcanary:run", "Value": run}, map[string]any{"Key": "auditcanary:canary", "Value": canary}}}
}

// What a canary made is found on any page by name and tags; what only looks like
// it is left alone; each undo is one that a sweep may make.
func TestLeftoversOfLoggingAndMonitoring(t *testing.T) {
	const mine, hers = "auditcanary-20261122-abcdef-07", "auditcanary-20261122-abcdef-08"
	tags := map[string]string{
		mine:                   "20261122-abcdef 20261122-abcdef-07",
		hers:                   "20261122-abcdef 20261122-abcdef-09", // the tag speaks of another
		"auditcanary-untagged": " ",
		"auditcanary-odd":      "*?${x} odd",
	}
	w := newWire(t)
	cleanLogging(w)
	groups := []map[string]any{{"logGroupName": "auditcanary-retention", "retentionInDays": 30}}
	for name := range tags {
		groups = append(groups, map[string]any{"logGroupName": name})
	}
	tags["auditcanary-retention"] = " "
	w.answer["logs:DescribeLogGroups"] = logGroupsAre(groups...)
	w.answer["logs:ListTagsForResource"] = tagsByName(tags, asMap)
	w.answer["config:DescribeConfigRules"] = func(rw http.ResponseWriter, c *called) {
		if !strings.Contains(string(c.body), "NextToken") {
			jsonReply(map[string]any{"NextToken": "more", "ConfigRules": []any{
				configRuleCalled("somebodys", "ACTIVE"), configRuleCalled("auditcanary-untagged", "ACTIVE"), configRuleCalled(hers, "ACTIVE"),
				configRuleCalled("auditcanary-going", "DELETING")}})(rw, c)
			return
		}
		jsonReply(map[string]any{"ConfigRules": []any{configRuleCalled(mine, "ACTIVE")}})(rw, c)
	}
	w.answer["config:ListTagsForResource"] = tagsByName(tags, asTagList)
	w.answer["events:ListRules"] = func(rw http.ResponseWriter, c *called) {
		if !strings.Contains(string(c.body), `"NextToken"`) {
			jsonReply(map[string]any{"NextToken": "more", "Rules": []any{eventRuleCalled("auditcanary-odd"), eventRuleCalled(hers)}})(rw, c)
			return
		}
		jsonReply(map[string]any{"Rules": []any{eventRuleCalled(mine)}})(rw, c)
	}
	w.answer["events:ListTagsForResource"] = tagsByName(tags, asTagList)
	w.answer["events:DescribeRule"] = jsonReply(map[string]any{"Name": "auditcanary-locked", "State": "DISABLED"})

	left, err := leftOfLogging(t, w, testTarget(), ofLogging...)
	if err != nil {
		t.Fatal(err)
	}
	sw := &session{cloud: testCloud(t, w.config()), target: testTarget(), scene: testTarget().scene("eu-west-1", "*", canary.Marker), restoresOnly: true}
	got := map[string]string{}
	for _, l := range left {
		got[l.Kind] = fmt.Sprintf("%s run=%s canary=%s undo=%s %v gone=%v", l.ID, l.Run, l.Canary, l.Undo[0].Operation, l.Undo[0].Params, l.Undo[0].Gone)
		if _, _, err := sw.admit(l.Undo[0]); err != nil {
			t.Errorf("undo of %s: %v", l.ID, err)
		}
	}
	want := map[string]string{
		"logs group":               "arn:aws:logs:eu-west-1:111122223333:log-group:" + mine + " run=20261122-abcdef canary=20261122-abcdef-07 undo=logs:DeleteLogGroup map[LogGroupName:" + mine + "] gone=[ResourceNotFoundException]",
		"logs retention shortened": "auditcanary-retention run= canary= undo=logs:PutRetentionPolicy map[LogGroupName:auditcanary-retention RetentionInDays:365] gone=[]",
		"config rule":              mine + " run=20261122-abcdef canary=20261122-abcdef-07 undo=config:DeleteConfigRule map[ConfigRuleName:" + mine + "] gone=[NoSuchConfigRuleException]",
		"events rule":              "arn:aws:events:eu-west-1:111122223333:rule/" + mine + " run=20261122-abcdef canary=20261122-abcdef-07 undo=events:DeleteRule map[Name:" + mine + "] gone=[ResourceNotFoundException]",
		"events rule disabled":     "auditcanary-locked run= canary= undo=events:EnableRule map[Name:auditcanary-locked] gone=[]",
	}
	if !reflect.DeepEqual(got, want) || len(left) != len(want) {
		t.Errorf("%d found:\n%v\nwant\n%v", len(left), got, want)
	}
}

func configRuleCalled(name, state string) map[string]any {
	return map[string]any{"ConfigRuleName": name, "ConfigRuleArn": "arn:aws:config:eu-west-1:111122223333:config-rule/" + name, "ConfigRuleState": state}
}

func TestWhatOfLoggingCannotBeListedIsAnError(t *testing.T) {
	for name, tt := range map[string]struct {
		call   string
		answer func(http.ResponseWriter, *called)
		want   string
	}{
		"groups denied":          {"logs:DescribeLogGroups", jsonError(400, "AccessDeniedException", "no"), "logs:DescribeLogGroups in account 111122223333, eu-west-1"},
		"group's tags denied":    {"logs:ListTagsForResource", jsonError(400, "AccessDeniedException", "no"), "logs:ListTagsForResource of auditcanary-retention"},
		"the fixture is gone":    {"logs:DescribeLogGroups", logGroupsAre(), "logs:DescribeLogGroups of auditcanary-retention in account 111122223333, eu-west-1: the fixture does not exist"},
		"only its longer sister": {"logs:DescribeLogGroups", logGroupsAre(map[string]any{"logGroupName": "auditcanary-retention-2", "retentionInDays": 365}), "the fixture does not exist"},
		"somebody's retention":   {"logs:DescribeLogGroups", logGroupsAre(map[string]any{"logGroupName": "auditcanary-retention", "retentionInDays": 7}), "keeps its events for 7 days (0: for ever), not 365: no canary does that"},
		"no retention":           {"logs:DescribeLogGroups", logGroupsAre(map[string]any{"logGroupName": "auditcanary-retention"}), "for 0 days (0: for ever)"},
		"config rules denied":    {"config:DescribeConfigRules", jsonError(400, "AccessDeniedException", "no"), "config:DescribeConfigRules in account 111122223333, eu-west-1"},
		"event rules denied":     {"events:ListRules", jsonError(400, "AccessDeniedException", "no"), "events:ListRules in account 111122223333, eu-west-1"},
		"event rules endless":    {"events:ListRules", jsonReply(map[string]any{"NextToken": "again"}), "the listing does not end within 1000 pages"},
		"rule's tags denied":     {"events:ListTagsForResource", jsonError(400, "AccessDeniedException", "no"), "events:ListTagsForResource of auditcanary-locked"},
		"locked rule gone":       {"events:DescribeRule", jsonError(400, "ResourceNotFoundException", "no"), "events:DescribeRule of auditcanary-locked"},
		"locked rule unclear":    {"events:DescribeRule", jsonReply(map[string]any{}), "does not say whether it is enabled"},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWire(t)
			cleanLogging(w)
			w.answer[tt.call] = tt.answer
			_, err := leftOfLogging(t, w, testTarget(), ofLogging...)
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want ...%s...", err, tt.want)
			}
		})
	}
}

func TestLoggingAsDeployedIsClean(t *testing.T) {
	w := newWire(t)
	cleanLogging(w)
	if left, err := leftOfLogging(t, w, testTarget(), ofLogging...); err != nil || len(left) != 0 {
		t.Errorf("%v, %v", left, err)
	}
}

func TestOneTrailMayServeAsSeveralFixtures(t *testing.T) {
	w := newWire(t)
	w.answer["cloudtrail:GetTrailStatus"] = jsonReply(map[string]any{"IsLogging": false})
	tg := testTarget()
	tg.Fixtures["eu-west-1"]["selector_trail"] = tg.Fixtures["eu-west-1"]["decoy_trail"]
	left, err := leftOfLogging(t, w, tg, loggingKinds()[0])
	if err != nil || len(left) != 2 { // decoy and locked
		t.Errorf("%v, %v", left, err)
	}
}

func TestPlanRefusesWhatWouldHarmLogging(t *testing.T) {
	const (
		selectors = "aws/cloudtrail-put-event-selectors"
		keep      = "aws/logs-retention"
		group     = "aws/logs-delete-group"
		filter    = "aws/logs-metric-filter"
		rule      = "aws/config-rule"
		recorder  = "aws/config-stop-recorder-denied"
		event     = "aws/events-rule"
		locked    = "aws/events-disable-rule-denied"
	)
	type step = canary.Step
	in := func(p map[string]any, name string) map[string]any { return p[name].(map[string]any) }
	for _, tt := range []struct {
		name, scenario string
		step           int
		breakIt        func(*step)
		want           string
	}{
		{"a real trail", selectors, 0, func(s *step) { s.Params["TrailName"] = "org-trail" }, `TrailName "org-trail" is not canary-marked`},
		{"selectors of the other kind", selectors, 0, func(s *step) { s.Params["EventSelectors"] = []any{} }, `EventSelectors is not allowed: only TrailName, AdvancedEventSelectors are`},
		{"selectors that select", selectors, 0, func(s *step) {
			s.Params["AdvancedEventSelectors"].([]any)[0].(map[string]any)["FieldSelectors"] = []any{map[string]any{"Field": "eventCategory", "Equals": []any{"Management"}}}
		}, `AdvancedEventSelectors must select the data events of arn:aws:lambda:eu-west-1:111122223333:function:auditcanary-none and of nothing else`},
		{"one selector more", selectors, 0, func(s *step) {
			l := s.Params["AdvancedEventSelectors"].([]any)
			s.Params["AdvancedEventSelectors"] = append(l, l[0])
		}, `and of nothing else`},

		{"somebody's log group", keep, 0, func(s *step) { s.Params["LogGroupName"] = "/aws/lambda/x" }, `LogGroupName "/aws/lambda/x" is not canary-marked`},
		{"another retention", keep, 0, func(s *step) { s.Params["RetentionInDays"] = 1 }, `RetentionInDays must be 30, or 365 as the fixture has it, not 1`},
		{"an undo that restores nothing", keep, 0, func(s *step) { s.Undo.Params["RetentionInDays"] = 30 }, `undo: logs:PutRetentionPolicy: RetentionInDays must be 365, not 30`},
		{"an undo of another group", keep, 0, func(s *step) { s.Undo.Params["LogGroupName"] = "auditcanary-other" }, `undo: logs:PutRetentionPolicy names LogGroupName auditcanary-other`},

		{"a log group that could not be deleted", group, 0, func(s *step) { s.Params["DeletionProtectionEnabled"] = true }, `DeletionProtectionEnabled is not allowed`},
		{"a log group without tags", group, 0, func(s *step) { delete(s.Params, "Tags") }, `the tags auditcanary:run=${run}`},
		{"deleting somebody's log group", group, 1, func(s *step) { s.Params["LogGroupName"] = "/aws/lambda/x" }, `logs:DeleteLogGroup: LogGroupName "/aws/lambda/x" is not canary-marked`},
		{"deleting the fixture", group, 1, func(s *step) { s.Params["LogGroupName"] = "${fixture.log_group}" }, `LogGroupName "auditcanary-retention" is not canary-marked: it must be "auditcanary-20261122-abcdef-01"`},
		{"a filter on somebody's log group", filter, 1, func(s *step) { s.Params["LogGroupName"] = "/aws/lambda/x" }, `logs:PutMetricFilter: LogGroupName "/aws/lambda/x" is not canary-marked`},

		{"somebody's config rule", rule, 0, func(s *step) { in(s.Params, "ConfigRule")["ConfigRuleName"] = "theirs" }, `ConfigRule.ConfigRuleName "theirs" is not canary-marked`},
		{"a config rule by its ARN", rule, 0, func(s *step) { in(s.Params, "ConfigRule")["ConfigRuleArn"] = "arn:x" }, `ConfigRule.ConfigRuleArn is not allowed`},
		{"a config rule for everything", rule, 0, func(s *step) { delete(in(s.Params, "ConfigRule"), "Scope") }, `ConfigRule.Scope.ComplianceResourceId must be auditcanary-none`},
		{"a config rule that runs a function", rule, 0, func(s *step) { in(in(s.Params, "ConfigRule"), "Source")["Owner"] = "CUSTOM_LAMBDA" }, `ConfigRule.Source.Owner must be AWS, not CUSTOM_LAMBDA`},
		{"a config rule that looks at the account", rule, 0, func(s *step) {
			in(in(s.Params, "ConfigRule"), "Source")["SourceIdentifier"] = "ROOT_ACCOUNT_MFA_ENABLED"
		}, `SourceIdentifier must be S3_BUCKET_VERSIONING_ENABLED`},
		{"an undo of another config rule", rule, 0, func(s *step) { s.Undo.Params["ConfigRuleName"] = "${name}-b" }, `undo: config:DeleteConfigRule names ConfigRuleName auditcanary-20261122-abcdef-01-b, but the call it must undo auditcanary-20261122-abcdef-01`},
		{"the real recorder", recorder, 0, func(s *step) { s.Params["ConfigurationRecorderName"] = "default" }, `ConfigurationRecorderName must be auditcanary-none, not default`},

		{"somebody's event rule", event, 0, func(s *step) { s.Params["Name"] = "theirs" }, `Name "theirs" is not canary-marked`},
		{"an event rule that is enabled", event, 0, func(s *step) { s.Params["State"] = "ENABLED" }, `State must be DISABLED, not ENABLED`},
		{"an event rule that matches", event, 0, func(s *step) { s.Params["EventPattern"] = `{"source":["aws.ec2"]}` }, `EventPattern must be {"source":["auditcanary.none"]}`},
		{"an event rule with a role", event, 0, func(s *step) { s.Params["RoleArn"] = "arn:aws:iam::111122223333:role/x" }, `RoleArn is not allowed`},
		{"an event rule of another bus", event, 0, func(s *step) { s.Params["EventBusName"] = "other" }, `EventBusName is not allowed`},
		{"forced deletion", event, 0, func(s *step) { s.Undo.Params["Force"] = true }, `undo: events:DeleteRule: Force is not allowed`},
		{"disabling somebody's rule", locked, 0, func(s *step) { s.Params["Name"] = "alerts" }, `events:DisableRule: Name "alerts" is not canary-marked`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := testCloud(t, aws.Config{})
			s := scenario(t, c, tt.scenario)
			tt.breakIt(&s.Steps[tt.step])
			if _, err := c.Plan(s, testCanary("eu-west-1")); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got  %v\nwant ...%s...", err, tt.want)
			}
		})
	}
}

// A sweep restores the fixtures; it neither removes them nor shortens anything.
func TestASweepOfLoggingOnlyRestores(t *testing.T) {
	c := testCloud(t, aws.Config{})
	sw := &session{cloud: c, target: testTarget(), scene: testTarget().scene("eu-west-1", "*", canary.Marker), restoresOnly: true}
	for want, call := range map[string]canary.Call{
		`"auditcanary-retention" is a fixture: it is not a canary's to remove`: {Operation: "logs:DeleteLogGroup", Params: map[string]any{"LogGroupName": "auditcanary-retention"}},
		`"auditcanary-locked" is a fixture: it is not a canary's to remove`:    {Operation: "events:DeleteRule", Params: map[string]any{"Name": "auditcanary-locked"}},
		`RetentionInDays must be 30, or 365`:                                   {Operation: "logs:PutRetentionPolicy", Params: map[string]any{"LogGroupName": "auditcanary-retention", "RetentionInDays": 30.0}},
		`cloudtrail:PutEventSelectors does not restore`:                        {Operation: "cloudtrail:PutEventSelectors", Params: map[string]any{"TrailName": "auditcanary-selector"}},
		`events:DisableRule does not restore`:                                  {Operation: "events:DisableRule", Params: map[string]any{"Name": "auditcanary-locked"}},
		`config:StopConfigurationRecorder does not restore`:                    {Operation: "config:StopConfigurationRecorder", Params: map[string]any{"ConfigurationRecorderName": "auditcanary-none"}},
	} {
		call.Region = "eu-west-1"
		if _, _, err := sw.admit(call); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want ...%s...", call.Operation, err, want)
		}
	}
}
