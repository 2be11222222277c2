package cloud_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/configservice"
	configtypes "github.com/aws/aws-sdk-go-v2/service/configservice/types"

	"github.com/auditcanary/auditcanary/tests/sandbox/cloud"
)

func canaryConfigRule(name, run string) *configservice.PutConfigRuleInput {
	return &configservice.PutConfigRuleInput{
		ConfigRule: &configtypes.ConfigRule{
			ConfigRuleName: &name, Scope: &configtypes.Scope{ComplianceResourceTypes: []string{"AWS::S3::Bucket"}, ComplianceResourceId: aws.String("auditcanary-none")},
			Source: &configtypes.Source{Owner: configtypes.OwnerAws, SourceIdentifier: aws.String("S3_BUCKET_VERSIONING_ENABLED")},
		},
		Tags: []configtypes.Tag{{Key: aws.String("auditcanary:run"), Value: &run}},
	}
}

func TestAConfigRuleLivesAndDies(t *testing.T) {
	b := start(t)
	c, ctx, name := configservice.NewFromConfig(b.admin(west)), t.Context(), "auditcanary-c1"
	put := canaryConfigRule(name, "r1")
	if _, err := c.PutConfigRule(ctx, put); err != nil {
		t.Fatal(err)
	}
	rec := b.last("PutConfigRule")
	if rec["eventSource"] != "config.amazonaws.com" || rec["awsRegion"] != west || rec["responseElements"] != nil ||
		at(rec, "requestParameters", "configRule", "configRuleName") != name || at(rec, "requestParameters", "configRule", "source", "sourceIdentifier") != "S3_BUCKET_VERSIONING_ENABLED" {
		t.Errorf("record %s", pretty(rec))
	}
	out, err := c.DescribeConfigRules(ctx, &configservice.DescribeConfigRulesInput{ConfigRuleNames: []string{name}})
	if err != nil || len(out.ConfigRules) != 1 || out.ConfigRules[0].ConfigRuleState != configtypes.ConfigRuleStateActive || *out.ConfigRules[0].Scope.ComplianceResourceId != "auditcanary-none" {
		t.Fatalf("%s %v", pretty(out), err)
	}
	arn := out.ConfigRules[0].ConfigRuleArn
	if !strings.HasPrefix(*arn, "arn:aws:config:"+west+":"+target+":config-rule/config-rule-") {
		t.Errorf("ARN %s", *arn)
	}
	// A rule that is there is changed, but its tags are not.
	if _, err := c.PutConfigRule(ctx, canaryConfigRule(name, "r2")); err != nil {
		t.Fatal(err)
	}
	tagged, err := c.ListTagsForResource(ctx, &configservice.ListTagsForResourceInput{ResourceArn: arn})
	if err != nil || len(tagged.Tags) != 1 || *tagged.Tags[0].Value != "r1" {
		t.Errorf("tags %s %v", pretty(tagged), err)
	}
	if kinds(b) != "config rule" {
		t.Errorf("changes %q", kinds(b))
	}
	remove := &configservice.DeleteConfigRuleInput{ConfigRuleName: &name}
	if _, err := c.DeleteConfigRule(ctx, remove); err != nil {
		t.Fatal(err)
	}
	_, err = c.DeleteConfigRule(ctx, remove)
	wantCode(t, err, "NoSuchConfigRuleException")
	_, err = c.DescribeConfigRules(ctx, &configservice.DescribeConfigRulesInput{ConfigRuleNames: []string{name}})
	wantCode(t, err, "NoSuchConfigRuleException")
	if kinds(b) != "" {
		t.Errorf("left behind: %q", kinds(b))
	}
	put.ConfigRule.Source.SourceIdentifier = aws.String("NO_SUCH_RULE")
	_, err = c.PutConfigRule(ctx, put)
	wantCode(t, err, "InvalidParameterValueException")
}

func TestARegionWithoutARecorderTakesNoConfigRule(t *testing.T) {
	b := start(t, func(o *cloud.Options) {
		o.World = cloud.World(o.Clock)
		delete(o.World.Accounts[target].Regions[east].Things, "configuration recorder")
	})
	_, err := configservice.NewFromConfig(b.admin(east)).PutConfigRule(t.Context(), canaryConfigRule("auditcanary-c1", "r1"))
	wantCode(t, err, "NoAvailableConfigurationRecorderException")
}

func TestConfigRulesAreListedPageByPage(t *testing.T) {
	b := start(t)
	c, ctx := configservice.NewFromConfig(b.admin(east)), t.Context()
	for i := range 60 {
		if _, err := c.PutConfigRule(ctx, canaryConfigRule(fmt.Sprintf("many-%02d", i), "r1")); err != nil {
			t.Fatal(err)
		}
	}
	var names []string
	pages := configservice.NewDescribeConfigRulesPaginator(c, &configservice.DescribeConfigRulesInput{})
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range page.ConfigRules {
			names = append(names, *r.ConfigRuleName)
		}
	}
	if len(slices.Compact(names)) != 60 || len(b.all("DescribeConfigRules")) != 3 {
		t.Errorf("%d names in %d pages", len(names), len(b.all("DescribeConfigRules")))
	}
}

func TestConfigRulesOfOthersAreOutOfReach(t *testing.T) {
	b := start(t)
	ctx := t.Context()
	if _, err := configservice.NewFromConfig(b.admin(east)).PutConfigRule(ctx, canaryConfigRule("theirs", "r2")); err != nil {
		t.Fatal(err)
	}
	c := configservice.NewFromConfig(allowing(t, b, east, `{"Version":"2012-10-17","Statement":[
		{"Effect":"Allow","Action":"config:PutConfigRule","Resource":"arn:aws:config:us-east-1:111122223333:config-rule/*","Condition":{"StringLike":{"aws:RequestTag/auditcanary:run":"r1"}}},
		{"Effect":"Allow","Action":"config:DeleteConfigRule","Resource":"arn:aws:config:us-east-1:111122223333:config-rule/*","Condition":{"StringLike":{"aws:ResourceTag/auditcanary:run":"r1"}}}]}`))
	_, err := c.DeleteConfigRule(ctx, &configservice.DeleteConfigRuleInput{ConfigRuleName: aws.String("theirs")})
	wantCode(t, err, "AccessDeniedException")
	untagged := canaryConfigRule("auditcanary-c1", "r1")
	untagged.Tags = nil
	_, err = c.PutConfigRule(ctx, untagged)
	wantCode(t, err, "AccessDeniedException")
	if _, err := c.PutConfigRule(ctx, canaryConfigRule("auditcanary-c1", "r1")); err != nil {
		t.Fatal(err)
	}
	remove := &configservice.DeleteConfigRuleInput{ConfigRuleName: aws.String("auditcanary-c1")}
	if _, err := c.DeleteConfigRule(ctx, remove); err != nil {
		t.Fatal(err)
	}
	// What is gone has no tags, so that a policy which asks for them refuses.
	_, err = c.DeleteConfigRule(ctx, remove)
	wantCode(t, err, "AccessDeniedException")
}

func TestStoppingARecorderIsRefusedByTheOrganisation(t *testing.T) {
	stop := func(b *box, name string) error {
		_, err := configservice.NewFromConfig(allowing(t, b, east, "")).StopConfigurationRecorder(t.Context(), &configservice.StopConfigurationRecorderInput{ConfigurationRecorderName: &name})
		return err
	}
	b := start(t)
	err := stop(b, "auditcanary-none")
	wantCode(t, err, "AccessDeniedException")
	rec := b.last("StopConfigurationRecorder")
	if rec["errorCode"] != "AccessDenied" || !strings.Contains(message(err), "with an explicit deny in a service control policy") || !strings.Contains(fmt.Sprint(rec["errorMessage"]), "explicit deny in a service control policy") {
		t.Errorf("%q, record %s", message(err), pretty(rec))
	}
	wantCode(t, stop(b, "default"), "AccessDeniedException")

	b = start(t, withoutProtection)
	wantCode(t, stop(b, "auditcanary-none"), "NoSuchConfigurationRecorderException")
	if kinds(b) != "" {
		t.Errorf("changes %q", kinds(b))
	}
	if err := stop(b, "default"); err != nil || kinds(b) != "configuration recorder" {
		t.Errorf("%v, changes %q", err, kinds(b))
	}
	if got := at(b.last("StopConfigurationRecorder"), "requestParameters", "configurationRecorderName"); got != "default" {
		t.Errorf("recorded name %v", got)
	}
}

// withoutProtection is an organisation that has only the service control policy
// which allows everything.
func withoutProtection(o *cloud.Options) {
	o.World = cloud.World(o.Clock)
	o.World.SCPs[0] = o.World.SCPs[0][:1]
}
