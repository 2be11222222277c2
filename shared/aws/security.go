package aws

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/guardduty"
	gdtypes "github.com/aws/aws-sdk-go-v2/service/guardduty/types"
	"github.com/aws/aws-sdk-go-v2/service/securityhub"
	hubtypes "github.com/aws/aws-sdk-go-v2/service/securityhub/types"
	"github.com/aws/aws-sdk-go-v2/service/wafv2"
	waftypes "github.com/aws/aws-sdk-go-v2/service/wafv2/types"

	"github.com/auditcanary/auditcanary/shared/canary"
	"github.com/auditcanary/auditcanary/shared/run"
)

// securityOperations: what detects, what collects findings and what filters.
func securityOperations() map[string]operation {
	return map[string]operation{
		// Filters of findings: on the region's own detector, of which there is only
		// one, named after the canary, keeping nothing back and meeting nothing. The
		// name in the ARN is what keeps the undo's hands off other filters.
		"guardduty:CreateFilter": {call: call(guardduty.NewFromConfig, (*guardduty.Client).CreateFilter), subject: on("DetectorId", "Name=FilterName"), undo: "guardduty:DeleteFilter", guards: guards{theFixture("DetectorId", fixtureDetector), ownName("Name"), must("Action", "NOOP"), meetsNoFinding("FindingCriteria"), runTags()}, grants: grants{
			allow(detector+"/filter/{Name}", when{requestTagRun: "{run}"}, "guardduty:CreateFilter", "guardduty:TagResource"),
		}},
		"guardduty:DeleteFilter": {call: call(guardduty.NewFromConfig, (*guardduty.Client).DeleteFilter), subject: on("DetectorId", "FilterName"), restores: true, guards: guards{theFixture("DetectorId", fixtureDetector), ownName("FilterName")}, grants: grants{
			allow(detector+"/filter/{FilterName}", nil, "guardduty:DeleteFilter"),
		}},

		// Detectors: the one that is not there, and nothing is switched off.
		"guardduty:DeleteDetector": {call: call(guardduty.NewFromConfig, (*guardduty.Client).DeleteDetector), subject: on("DetectorId"), guards: guards{must("DetectorId", nullDetector)}, grants: grants{allow(detector, nil, "guardduty:DeleteDetector")}},
		"guardduty:UpdateDetector": {call: call(guardduty.NewFromConfig, (*guardduty.Client).UpdateDetector), subject: on("DetectorId"), guards: guards{must("DetectorId", nullDetector), must("Enable", true), without("DataSources", "Features", "FindingPublishingFrequency")}, grants: grants{allow(detector, nil, "guardduty:UpdateDetector")}},

		// Insights are saved views of findings. Security Hub knows neither tags nor
		// ARNs of them in policies (the hub is its only resource), so that the guards
		// alone must see to it that an undo takes nobody else's: it names the reply of
		// its own step, or in a sweep the ARN of one that says whose it is.
		"securityhub:CreateInsight": {call: call(securityhub.NewFromConfig, (*securityhub.Client).CreateInsight), subject: on("=InsightArn"), undo: "securityhub:DeleteInsight", guards: guards{ownName("Name"), insightMark("Filters")}, grants: grants{allow(hub, nil, "securityhub:CreateInsight")}},
		"securityhub:DeleteInsight": {call: call(securityhub.NewFromConfig, (*securityhub.Client).DeleteInsight), subject: on("InsightArn"), restores: true, guards: guards{customInsight("InsightArn")}, grants: grants{allow(hub, nil, "securityhub:DeleteInsight")}},

		// IP sets: named after the canary, of documentation addresses, used by no rule.
		// {Scope} is "regional" or "global" in the ARN; WAF refuses to delete a set that
		// is used.
		"wafv2:CreateIPSet": {call: call(wafv2.NewFromConfig, (*wafv2.Client).CreateIPSet), subject: on("Name", "Scope", "=Id", "=LockToken"), undo: "wafv2:DeleteIPSet", guards: guards{ownName("Name"), wafScope("Scope"), documentationAddresses("Addresses"), runTags()}, grants: grants{
			allow(ipSets+"{Name}/*", when{requestTagRun: "{run}"}, "wafv2:CreateIPSet", "wafv2:TagResource"),
		}},
		"wafv2:DeleteIPSet": {call: call(wafv2.NewFromConfig, (*wafv2.Client).DeleteIPSet), subject: on("Name", "Scope", "Id", "LockToken"), restores: true, guards: guards{ownName("Name"), wafScope("Scope"), madeID("Id", ""), madeID("LockToken", "")}, grants: grants{
			allow(ipSets+"{Name}/{Id}", nil, "wafv2:DeleteIPSet"),
		}},
	}
}

const (
	detector = "arn:{partition}:guardduty:{region}:{account}:detector/{DetectorId}"
	hub      = "arn:{partition}:securityhub:{region}:{account}:hub/default"
	ipSets   = "arn:{partition}:wafv2:{region}:{account}:*/ipset/"

	// nullDetector has the form of a detector's id, and nothing has it.
	nullDetector = "00000000000000000000000000000000"

	// The fixtures without which there is nothing to act on: the region's detector
	// and hub, if those services are switched on there.
	fixtureDetector = "guardduty_detector"
	fixtureHub      = "security_hub"
)

// meetsNoFinding: the criteria ask for a finding whose id is the canary's name.
// The ids of findings are 32 hexadecimal digits; further criteria only narrow it.
func meetsNoFinding(param string) guard {
	return func(s scene, p map[string]any) error {
		criteria, _ := lookAt(p, param+".Criterion").(map[string]any)
		id, _ := criteria["id"].(map[string]any)
		names, _ := id["Equals"].([]any)
		if len(id) == 1 && len(names) == 1 && names[0] == s.name {
			return nil
		}
		return fmt.Errorf("%s might meet a finding: it must ask for id: {Equals: [${name}]}, which no finding has", param)
	}
}

// insightMark: the view shows findings with a note that nobody writes, which
// also says whose it is: an insight takes no tags.
func insightMark(param string) guard {
	return func(s scene, p map[string]any) error {
		filters, _ := p[param].(map[string]any)
		for name := range filters {
			if name != "NoteText" && name != "ResourceId" {
				return fmt.Errorf("%s.%s is not allowed: only NoteText, which says whose it is, and ResourceId are", param, name)
			}
		}
		notes, _ := filters["NoteText"].([]any)
		if len(notes) == 1 {
			note, _ := notes[0].(map[string]any)
			run, id, ok := parsePolicyID(textAt(note, "Value"))
			if ok && run == s.run && id == s.canaryID() && note["Comparison"] == "EQUALS" {
				return nil
			}
		}
		return fmt.Errorf("%s.NoteText does not say whose it is: the sweep finds it only as [{Comparison: EQUALS, Value: %q}]", param, bucketPolicyID("${run}", "${canary}"))
	}
}

// customInsight: an insight that somebody made in this account and region, as
// the reply of an earlier step or a listing names it.
func customInsight(param string) guard {
	return func(s scene, p map[string]any) error {
		v := textAt(p, param)
		if strings.HasPrefix(v, "${steps.") && strings.HasSuffix(v, "}") {
			return nil
		}
		id, ok := strings.CutPrefix(v, s.place("arn:{partition}:securityhub:{region}:{account}:insight/{account}/custom/"))
		if ok && idForm.MatchString(id) {
			return nil
		}
		return fmt.Errorf("%s %q is no custom insight of %s/%s that a canary made", param, v, s.account, s.region)
	}
}

// wafScope: what guards CloudFront is kept in the home region.
func wafScope(param string) guard {
	return func(s scene, p map[string]any) error {
		switch v := textAt(p, param); {
		case v == string(waftypes.ScopeRegional), v == string(waftypes.ScopeCloudfront) && s.region == homeRegion(s.partition):
			return nil
		default:
			return fmt.Errorf("%s %s is not kept in %s: CLOUDFRONT is in %s only, in a scenario with scope: account", param, v, s.region, homeRegion(s.partition))
		}
	}
}

// documentationAddresses: every network of the list is one that no machine has.
func documentationAddresses(param string) guard {
	return func(_ scene, p map[string]any) error {
		list, _ := p[param].([]any)
		for _, v := range list {
			cidr, _ := v.(string)
			if _, err := netip.ParsePrefix(cidr); err != nil || !isDocumentation(cidr) {
				return fmt.Errorf("%s %q is not a documentation network (RFC 5737, RFC 3849): it might be somebody's", param, cidr)
			}
		}
		if len(list) == 0 {
			return fmt.Errorf("%s is empty: no network is named", param)
		}
		return nil
	}
}

// securityKinds are what these leave behind.
func securityKinds() []kind {
	return []kind{
		{name: "guardduty filter", fixture: fixtureDetector, list: leftFilters, undo: []string{"guardduty:DeleteFilter"}, reads: grants{
			allow("*", nil, "guardduty:ListFilters"),
			allow("arn:{partition}:guardduty:{region}:{account}:detector/*/filter/auditcanary-*", nil, "guardduty:GetFilter"),
		}},
		{name: "securityhub insight", fixture: fixtureHub, list: leftInsights, undo: []string{"securityhub:DeleteInsight"}, reads: grants{allow(hub, nil, "securityhub:GetInsights")}},
		{name: "wafv2 ip set", list: leftIPSets(waftypes.ScopeRegional), undo: []string{"wafv2:DeleteIPSet"}, reads: ipSetReads},
		{name: "wafv2 ip set for cloudfront", global: true, list: leftIPSets(waftypes.ScopeCloudfront), undo: []string{"wafv2:DeleteIPSet"}, reads: ipSetReads},
	}
}

var ipSetReads = grants{allow("*", nil, "wafv2:ListIPSets"), allow(ipSets+"auditcanary-*", nil, "wafv2:ListTagsForResource")}

// leftFilters: filters of the fixture detector that name and tags show to be a canary's.
func leftFilters(ctx context.Context, p place) ([]run.Leftover, error) {
	id, ok := p.target.fixture(p.scene.region, fixtureDetector)
	if !ok {
		return nil, nil
	}
	client := guardduty.NewFromConfig(p.cfg)
	var left []run.Leftover
	pages := guardduty.NewListFiltersPaginator(client, &guardduty.ListFiltersInput{DetectorId: &id})
	for pages.HasMorePages() {
		page, err := nextPage(ctx, p, pages.NextPage)
		if err != nil {
			return left, p.fail(err, "guardduty:ListFilters of "+id)
		}
		for _, name := range page.FilterNames {
			if !strings.HasPrefix(name, canary.Marker+"-") {
				continue
			}
			tags, err := filterTags(ctx, p, client, id, name)
			if err != nil {
				return left, err
			}
			runID, canaryID, ok := madeAs(name, tags)
			if !ok {
				continue
			}
			left = append(left, run.Leftover{ID: id + "/" + name, Run: runID, Canary: canaryID, Undo: []canary.Call{{
				Operation: "guardduty:DeleteFilter", Region: p.scene.region, Gone: []string{"BadRequestException"},
				Params: map[string]any{"DetectorId": id, "FilterName": name},
			}}})
		}
	}
	return left, nil
}

func filterTags(ctx context.Context, p place, client *guardduty.Client, id, name string) (map[string]string, error) {
	ctx, cancel := p.bound(ctx)
	defer cancel()
	filter, err := client.GetFilter(ctx, &guardduty.GetFilterInput{DetectorId: &id, FilterName: &name})
	var bad *gdtypes.BadRequestException
	if errors.As(err, &bad) && strings.Contains(bad.ErrorMessage(), "no such resource") {
		return nil, nil // deleted since it was listed
	}
	if err != nil {
		return nil, p.fail(err, "guardduty:GetFilter of "+name)
	}
	return filter.Tags, nil
}

// leftInsights: insights that are named after a canary and whose filter says
// of which run it is.
func leftInsights(ctx context.Context, p place) ([]run.Leftover, error) {
	client := securityhub.NewFromConfig(p.cfg)
	var left []run.Leftover
	pages := securityhub.NewGetInsightsPaginator(client, &securityhub.GetInsightsInput{MaxResults: aws.Int32(100)})
	for pages.HasMorePages() {
		page, err := nextPage(ctx, p, pages.NextPage)
		if err != nil {
			return left, p.fail(err, "securityhub:GetInsights")
		}
		for _, insight := range page.Insights {
			runID, canaryID, ok := madeAs(aws.ToString(insight.Name), insightTags(insight))
			if !ok {
				continue
			}
			arn := aws.ToString(insight.InsightArn)
			left = append(left, run.Leftover{ID: arn, Run: runID, Canary: canaryID, Undo: []canary.Call{{
				Operation: "securityhub:DeleteInsight", Region: p.scene.region, Gone: []string{"ResourceNotFoundException"},
				Params: map[string]any{"InsightArn": arn},
			}}})
		}
	}
	return left, nil
}

// insightTags reads insightMark's mark as if it were tags.
func insightTags(insight hubtypes.Insight) map[string]string {
	if insight.Filters == nil || len(insight.Filters.NoteText) != 1 {
		return nil
	}
	runID, canaryID, _ := parsePolicyID(aws.ToString(insight.Filters.NoteText[0].Value))
	return map[string]string{tagRun: runID, tagCanary: canaryID}
}

// leftIPSets: the IP sets of a scope that name and tags show to be a canary's.
func leftIPSets(scope waftypes.Scope) func(context.Context, place) ([]run.Leftover, error) {
	return func(ctx context.Context, p place) (left []run.Leftover, err error) {
		client := wafv2.NewFromConfig(p.cfg)
		in := &wafv2.ListIPSetsInput{Scope: scope, Limit: aws.Int32(100)}
		for {
			page, err := nextPage(ctx, p, func(ctx context.Context, _ ...func(*wafv2.Options)) (*wafv2.ListIPSetsOutput, error) {
				return client.ListIPSets(ctx, in)
			})
			if err != nil {
				return left, p.fail(err, "wafv2:ListIPSets of "+string(scope))
			}
			for _, set := range page.IPSets {
				if !strings.HasPrefix(aws.ToString(set.Name), canary.Marker+"-") {
					continue
				}
				tags, err := ipSetTags(ctx, p, client, set)
				if err != nil {
					return left, err
				}
				runID, canaryID, ok := madeAs(aws.ToString(set.Name), tags)
				if !ok {
					continue
				}
				left = append(left, run.Leftover{ID: aws.ToString(set.ARN), Run: runID, Canary: canaryID, Undo: []canary.Call{{
					Operation: "wafv2:DeleteIPSet", Region: p.scene.region, Gone: []string{"WAFNonexistentItemException"},
					Params: map[string]any{
						"Name": aws.ToString(set.Name), "Scope": string(scope), "Id": aws.ToString(set.Id), "LockToken": aws.ToString(set.LockToken),
					},
				}}})
			}
			if aws.ToString(page.NextMarker) == "" {
				return left, nil
			}
			in.NextMarker = page.NextMarker
		}
	}
}

func ipSetTags(ctx context.Context, p place, client *wafv2.Client, set waftypes.IPSetSummary) (map[string]string, error) {
	tags := map[string]string{}
	in := &wafv2.ListTagsForResourceInput{ResourceARN: set.ARN}
	for {
		page, err := nextPage(ctx, p, func(ctx context.Context, _ ...func(*wafv2.Options)) (*wafv2.ListTagsForResourceOutput, error) {
			return client.ListTagsForResource(ctx, in)
		})
		var gone *waftypes.WAFNonexistentItemException
		if errors.As(err, &gone) {
			return nil, nil // deleted since it was listed
		}
		if err != nil {
			return nil, p.fail(err, "wafv2:ListTagsForResource of "+aws.ToString(set.Name))
		}
		if page.TagInfoForResource != nil {
			for _, t := range page.TagInfoForResource.TagList {
				tags[aws.ToString(t.Key)] = aws.ToString(t.Value)
			}
		}
		if aws.ToString(page.NextMarker) == "" {
			return tags, nil
		}
		in.NextMarker = page.NextMarker
	}
}
