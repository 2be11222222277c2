package cloud_test

import (
	"fmt"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/securityhub"
	hubtypes "github.com/aws/aws-sdk-go-v2/service/securityhub/types"

	"github.com/auditcanary/auditcanary/tests/sandbox/cloud"
)

func newInsight(name string) *securityhub.CreateInsightInput {
	return &securityhub.CreateInsightInput{Name: &name, GroupByAttribute: aws.String("ResourceId"), Filters: &hubtypes.AwsSecurityFindingFilters{
		NoteText: []hubtypes.StringFilter{{Comparison: hubtypes.StringFilterComparisonEquals, Value: aws.String("nobody writes this")}},
	}}
}

func TestAnInsightLivesAndDies(t *testing.T) {
	b := start(t)
	c, ctx := securityhub.NewFromConfig(b.root(target, west)), t.Context()
	out, err := c.CreateInsight(ctx, newInsight("auditcanary-c1"))
	if err != nil {
		t.Fatal(err)
	}
	rec := b.last("CreateInsight")
	if rec["eventSource"] != "securityhub.amazonaws.com" || rec["awsRegion"] != west || at(rec, "requestParameters", "Name") != "auditcanary-c1" ||
		at(rec, "requestParameters", "GroupByAttribute") != "ResourceId" || at(rec, "requestParameters", "Filters", "NoteText") == nil || at(rec, "responseElements", "InsightArn") != *out.InsightArn {
		t.Errorf("record %s", pretty(rec))
	}
	// A name is no key: a second one is another insight.
	second, err := c.CreateInsight(ctx, newInsight("auditcanary-c1"))
	if err != nil || *second.InsightArn == *out.InsightArn {
		t.Fatalf("%v %v", second, err)
	}
	got, err := c.GetInsights(ctx, &securityhub.GetInsightsInput{InsightArns: []string{*out.InsightArn}})
	if err != nil || len(got.Insights) != 1 || *got.Insights[0].Name != "auditcanary-c1" || *got.Insights[0].Filters.NoteText[0].Value != "nobody writes this" {
		t.Errorf("insights %s %v", pretty(got), err)
	}
	if len(b.cloud.Changes()) != 2 {
		t.Errorf("changes %s", pretty(b.cloud.Changes()))
	}
	for _, arn := range []*string{out.InsightArn, second.InsightArn} {
		gone, err := c.DeleteInsight(ctx, &securityhub.DeleteInsightInput{InsightArn: arn})
		if err != nil || *gone.InsightArn != *arn {
			t.Fatalf("%v %v", gone, err)
		}
		if rec := b.last("DeleteInsight"); at(rec, "requestParameters", "InsightArn") != *arn || at(rec, "responseElements", "InsightArn") != *arn {
			t.Errorf("record %s", pretty(rec))
		}
	}
	_, err = c.DeleteInsight(ctx, &securityhub.DeleteInsightInput{InsightArn: out.InsightArn})
	wantCode(t, err, "ResourceNotFoundException")
	_, err = c.GetInsights(ctx, &securityhub.GetInsightsInput{InsightArns: []string{*out.InsightArn}})
	wantCode(t, err, "ResourceNotFoundException")
	b.unchanged()
}

func TestInsightsAreLimitedAndListedByPages(t *testing.T) {
	b := start(t)
	c, ctx := securityhub.NewFromConfig(b.root(target, west)), t.Context()
	nameless := newInsight(" ")
	_, err := c.CreateInsight(ctx, nameless)
	wantCode(t, err, "InvalidInputException")
	for i := range 100 {
		if _, err := c.CreateInsight(ctx, newInsight(fmt.Sprintf("insight-%d", i))); err != nil {
			t.Fatal(err)
		}
	}
	_, err = c.CreateInsight(ctx, newInsight("one too many"))
	wantCode(t, err, "LimitExceededException")
	seen, n := map[string]bool{}, 0
	pages := securityhub.NewGetInsightsPaginator(c, &securityhub.GetInsightsInput{MaxResults: aws.Int32(30)})
	for ; pages.HasMorePages(); n++ {
		page, err := pages.NextPage(ctx)
		if err != nil {
			t.Fatal(err)
		}
		for _, insight := range page.Insights {
			seen[*insight.Name] = true
		}
	}
	if n != 4 || len(seen) != 100 {
		t.Errorf("%d insights on %d pages", len(seen), n)
	}
	_, err = c.GetInsights(ctx, &securityhub.GetInsightsInput{MaxResults: aws.Int32(101)})
	wantCode(t, err, "InvalidInputException")
}

func TestSecurityHubDecidesByTheHub(t *testing.T) {
	b := start(t)
	hub := cloud.Fixtures(target, west)["security_hub"]
	create := `{"Effect":"Allow","Action":"securityhub:CreateInsight","Resource":"` + hub + `"}`
	c, ctx := securityhub.NewFromConfig(b.permitted(target, west, create)), t.Context()
	out, err := c.CreateInsight(ctx, newInsight("auditcanary-c1"))
	if err != nil {
		t.Fatal(err)
	}
	_, err = c.DeleteInsight(ctx, &securityhub.DeleteInsightInput{InsightArn: out.InsightArn})
	wantCode(t, err, "AccessDeniedException")
	if rec := b.last("DeleteInsight"); rec["errorCode"] != "AccessDenied" || rec["requestParameters"] != nil {
		t.Errorf("record of a denial %s", pretty(rec))
	}
	_, err = securityhub.NewFromConfig(b.permitted(target, east, create)).CreateInsight(ctx, newInsight("auditcanary-c1")) // of the other region
	wantCode(t, err, "AccessDeniedException")
}

func TestWithoutAHubThereIsNothing(t *testing.T) {
	b := start(t, func(o *cloud.Options) {
		o.World = cloud.World(o.Clock)
		delete(o.World.Accounts[target].Regions[west].Things, "securityhub hub")
	})
	c, ctx := securityhub.NewFromConfig(b.root(target, west)), t.Context()
	_, err := c.CreateInsight(ctx, newInsight("auditcanary-c1"))
	wantCode(t, err, "InvalidAccessException")
	_, err = c.GetInsights(ctx, nil)
	wantCode(t, err, "InvalidAccessException")
	_, err = c.DeleteInsight(ctx, &securityhub.DeleteInsightInput{InsightArn: aws.String("arn:aws:securityhub:eu-west-1:" + target + ":insight/" + target + "/custom/1")})
	wantCode(t, err, "InvalidAccessException")
}
