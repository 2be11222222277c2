package cloud_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/eventbridge"
	eventtypes "github.com/aws/aws-sdk-go-v2/service/eventbridge/types"
)

func canaryEventRule(name, run string) *eventbridge.PutRuleInput {
	return &eventbridge.PutRuleInput{
		Name: &name, State: eventtypes.RuleStateDisabled, EventPattern: aws.String(`{"source":["auditcanary.none"]}`),
		Tags: []eventtypes.Tag{{Key: aws.String("auditcanary:run"), Value: &run}},
	}
}

func TestAnEventRuleLivesAndDies(t *testing.T) {
	b := start(t)
	c, ctx, name := eventbridge.NewFromConfig(b.admin(west)), t.Context(), "auditcanary-c1"
	out, err := c.PutRule(ctx, canaryEventRule(name, "r1"))
	if err != nil {
		t.Fatal(err)
	}
	arn := "arn:aws:events:" + west + ":" + target + ":rule/" + name
	rec := b.last("PutRule")
	if *out.RuleArn != arn || rec["eventSource"] != "events.amazonaws.com" || rec["apiVersion"] != "2015-10-07" || at(rec, "responseElements", "ruleArn") != arn ||
		at(rec, "requestParameters", "name") != name || at(rec, "requestParameters", "state") != "DISABLED" || at(rec, "requestParameters", "eventPattern") != `{"source":["auditcanary.none"]}` {
		t.Errorf("%s, record %s", *out.RuleArn, pretty(rec))
	}
	// What is put again is replaced, but keeps its tags.
	again := canaryEventRule(name, "r2")
	again.State = eventtypes.RuleStateEnabled
	if _, err := c.PutRule(ctx, again); err != nil {
		t.Fatal(err)
	}
	tagged, err := c.ListTagsForResource(ctx, &eventbridge.ListTagsForResourceInput{ResourceARN: &arn})
	if err != nil || len(tagged.Tags) != 1 || *tagged.Tags[0].Value != "r1" {
		t.Errorf("tags %s %v", pretty(tagged), err)
	}
	if _, err := c.DisableRule(ctx, &eventbridge.DisableRuleInput{Name: &name}); err != nil {
		t.Fatal(err)
	}
	is, err := c.DescribeRule(ctx, &eventbridge.DescribeRuleInput{Name: &name})
	if err != nil || is.State != eventtypes.RuleStateDisabled || b.last("DisableRule")["responseElements"] != nil {
		t.Errorf("%s %v", pretty(is), err)
	}
	if kinds(b) != "event rule" {
		t.Errorf("changes %q", kinds(b))
	}
	for range 2 { // what is gone is deleted
		if _, err := c.DeleteRule(ctx, &eventbridge.DeleteRuleInput{Name: &name}); err != nil {
			t.Fatal(err)
		}
	}
	_, err = c.EnableRule(ctx, &eventbridge.EnableRuleInput{Name: &name})
	wantCode(t, err, "ResourceNotFoundException")
	_, err = c.ListTagsForResource(ctx, &eventbridge.ListTagsForResourceInput{ResourceARN: &arn})
	wantCode(t, err, "ResourceNotFoundException")
	if kinds(b) != "" {
		t.Errorf("left behind: %q", kinds(b))
	}
}

func TestEventBridgeRefuses(t *testing.T) {
	b := start(t)
	c := eventbridge.NewFromConfig(b.admin(east))
	for want, change := range map[string]func(*eventbridge.PutRuleInput){
		"InvalidEventPatternException": func(in *eventbridge.PutRuleInput) { in.EventPattern = aws.String(`{"source"`) },
		"ValidationException":          func(in *eventbridge.PutRuleInput) { in.EventPattern = nil },
		"ResourceNotFoundException":    func(in *eventbridge.PutRuleInput) { in.EventBusName = aws.String("other") },
	} {
		in := canaryEventRule("auditcanary-c1", "r1")
		change(in)
		_, err := c.PutRule(t.Context(), in)
		wantCode(t, err, want)
	}
}

func TestEventRulesAreListedPageByPage(t *testing.T) {
	b := start(t)
	c, ctx := eventbridge.NewFromConfig(b.admin(east)), t.Context()
	for i := range 25 {
		if _, err := c.PutRule(ctx, canaryEventRule(fmt.Sprintf("many-%02d", i), "r1")); err != nil {
			t.Fatal(err)
		}
	}
	var names []string
	in := &eventbridge.ListRulesInput{NamePrefix: aws.String("many-"), Limit: aws.Int32(10)}
	for {
		page, err := c.ListRules(ctx, in)
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range page.Rules {
			names = append(names, *r.Name)
		}
		if in.NextToken = page.NextToken; in.NextToken == nil {
			break
		}
	}
	if len(slices.Compact(names)) != 25 || len(b.all("ListRules")) != 3 {
		t.Errorf("%d names in %d pages", len(names), len(b.all("ListRules")))
	}
}

func TestTheSessionPolicyKeepsEventRulesApart(t *testing.T) {
	b := start(t)
	ctx := t.Context()
	put := func(c *eventbridge.Client, name, run string) error {
		_, err := c.PutRule(ctx, canaryEventRule(name, run))
		return err
	}
	c := eventbridge.NewFromConfig(allowing(t, b, east, `{"Version":"2012-10-17","Statement":[
		{"Effect":"Allow","Action":["events:PutRule","events:TagResource"],"Resource":"arn:aws:events:us-east-1:111122223333:rule/auditcanary-c1","Condition":{"StringLike":{"aws:RequestTag/auditcanary:run":"r1"}}}]}`))
	wantCode(t, put(c, "auditcanary-c2", "r1"), "AccessDeniedException")
	wantCode(t, put(c, "auditcanary-c1", "r2"), "AccessDeniedException")
	if err := put(c, "auditcanary-c1", "r1"); err != nil {
		t.Fatal(err)
	}
	// To tag what one makes is a permission of its own.
	c = eventbridge.NewFromConfig(allowing(t, b, east, `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"events:PutRule","Resource":"*"}]}`))
	err := put(c, "auditcanary-c3", "r1")
	wantCode(t, err, "AccessDeniedException")
	if !strings.Contains(message(err), "events:TagResource") {
		t.Errorf("message %q", message(err))
	}
}

func TestDisablingTheLockedRuleIsRefusedByTheOrganisation(t *testing.T) {
	disable := func(b *box, name string) error {
		_, err := eventbridge.NewFromConfig(allowing(t, b, east, "")).DisableRule(t.Context(), &eventbridge.DisableRuleInput{Name: &name})
		return err
	}
	b := start(t)
	err := disable(b, "auditcanary-locked")
	wantCode(t, err, "AccessDeniedException")
	if !strings.Contains(message(err), "events:DisableRule on resource: arn:aws:events:us-east-1:111122223333:rule/auditcanary-locked with an explicit deny in a service control policy") {
		t.Errorf("message %q", message(err))
	}
	b = start(t, withoutProtection)
	if err := disable(b, "auditcanary-locked"); err != nil || kinds(b) != "event rule" {
		t.Errorf("%v, changes %q", err, kinds(b))
	}
}
