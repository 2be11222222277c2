package cloud_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/guardduty"
	gdtypes "github.com/aws/aws-sdk-go-v2/service/guardduty/types"

	"github.com/auditcanary/auditcanary/tests/sandbox/cloud"
)

func newFilter(name string) *guardduty.CreateFilterInput {
	return &guardduty.CreateFilterInput{
		DetectorId: aws.String(cloud.Fixtures(target, west)["guardduty_detector"]), Name: &name, Action: gdtypes.FilterActionNoop,
		FindingCriteria: &gdtypes.FindingCriteria{Criterion: map[string]gdtypes.Condition{"id": {Equals: []string{name}}}},
		Tags:            map[string]string{"auditcanary:run": "r1", "Team": "audit"},
	}
}

func TestAFilterOfFindingsLivesAndDies(t *testing.T) {
	b := start(t)
	c, ctx := guardduty.NewFromConfig(b.root(target, west)), t.Context()
	in := newFilter("auditcanary-c1")
	out, err := c.CreateFilter(ctx, in)
	if err != nil || *out.Name != "auditcanary-c1" {
		t.Fatalf("%s %v", pretty(out), err)
	}
	rec := b.last("CreateFilter")
	params := rec["requestParameters"]
	if rec["eventSource"] != "guardduty.amazonaws.com" || rec["awsRegion"] != west || rec["readOnly"] != false ||
		at(params, "detectorId") != *in.DetectorId || at(params, "name") != "auditcanary-c1" || at(params, "action") != "NOOP" ||
		pretty(at(params, "findingCriteria", "criterion", "id", "equals")) != pretty([]string{"auditcanary-c1"}) || at(rec, "responseElements", "name") != "auditcanary-c1" {
		t.Errorf("record %s", pretty(rec))
	}
	if tags := at(params, "tags"); at(tags, "auditcanary:run") != "r1" || at(tags, "Team") != "audit" {
		t.Errorf("the keys of tags stay as they are: %s", pretty(tags))
	}
	_, err = c.CreateFilter(ctx, in)
	wantCode(t, err, "BadRequestException")
	if !strings.Contains(message(err), "a filter with the given name already exists") {
		t.Errorf("message %q", message(err))
	}
	got, err := c.GetFilter(ctx, &guardduty.GetFilterInput{DetectorId: in.DetectorId, FilterName: in.Name})
	if err != nil || got.Tags["auditcanary:run"] != "r1" || got.Action != gdtypes.FilterActionNoop || got.FindingCriteria.Criterion["id"].Equals[0] != *in.Name || *got.Rank != 1 {
		t.Errorf("filter %s %v", pretty(got), err)
	}
	if changes := b.cloud.Changes(); len(changes) != 1 || changes[0].Kind != "guardduty filter" || changes[0].Region != west {
		t.Errorf("changes %s", pretty(changes))
	}
	gone := &guardduty.DeleteFilterInput{DetectorId: in.DetectorId, FilterName: in.Name}
	if _, err := c.DeleteFilter(ctx, gone); err != nil {
		t.Fatal(err)
	}
	if rec := b.last("DeleteFilter"); at(rec, "requestParameters", "filterName") != "auditcanary-c1" || at(rec, "requestParameters", "detectorId") != *in.DetectorId || rec["responseElements"] != nil {
		t.Errorf("record %s", pretty(rec))
	}
	_, err = c.DeleteFilter(ctx, gone)
	wantCode(t, err, "BadRequestException")
	if !strings.Contains(message(err), "no such resource") {
		t.Errorf("message %q", message(err))
	}
	if rec := b.last("DeleteFilter"); rec["errorCode"] != "BadRequestException" || at(rec, "requestParameters", "filterName") != "auditcanary-c1" {
		t.Errorf("record of an error %s", pretty(rec))
	}
	b.unchanged()
}

func TestGuardDutyRefusesWhatIsWrong(t *testing.T) {
	b := start(t)
	c, ctx := guardduty.NewFromConfig(b.root(target, west)), t.Context()
	for name, tt := range map[string]struct {
		breakIt func(*guardduty.CreateFilterInput)
		says    string
	}{
		"a detector of another region": {func(in *guardduty.CreateFilterInput) {
			in.DetectorId = aws.String(cloud.Fixtures(target, east)["guardduty_detector"])
		}, "not owned by the current account"},
		"a name with blanks":  {func(in *guardduty.CreateFilterInput) { in.Name = aws.String("a b c") }, "invalid or out-of-range"},
		"a short name":        {func(in *guardduty.CreateFilterInput) { in.Name = aws.String("ab") }, "invalid or out-of-range"},
		"no criterion":        {func(in *guardduty.CreateFilterInput) { in.FindingCriteria = &gdtypes.FindingCriteria{} }, "invalid or out-of-range"},
		"an unknown action":   {func(in *guardduty.CreateFilterInput) { in.Action = "DROP" }, "invalid or out-of-range"},
		"a rank out of range": {func(in *guardduty.CreateFilterInput) { in.Rank = aws.Int32(101) }, "invalid or out-of-range"},
	} {
		t.Run(name, func(t *testing.T) {
			in := newFilter("auditcanary-c1")
			tt.breakIt(in)
			_, err := c.CreateFilter(ctx, in)
			wantCode(t, err, "BadRequestException")
			if !strings.Contains(message(err), tt.says) {
				t.Errorf("message %q, want ...%s...", message(err), tt.says)
			}
		})
	}
	for i := range 100 {
		if _, err := c.CreateFilter(ctx, newFilter(fmt.Sprintf("filter-%03d", i))); err != nil {
			t.Fatal(err)
		}
	}
	_, err := c.CreateFilter(ctx, newFilter("one-too-many"))
	wantCode(t, err, "BadRequestException")

	var names []string
	pages := guardduty.NewListFiltersPaginator(c, &guardduty.ListFiltersInput{DetectorId: newFilter("").DetectorId, MaxResults: aws.Int32(30)})
	n := 0
	for ; pages.HasMorePages(); n++ {
		page, err := pages.NextPage(ctx)
		if err != nil {
			t.Fatal(err)
		}
		names = append(names, page.FilterNames...)
	}
	if n != 4 || len(names) != 100 || names[0] != "filter-000" || names[99] != "filter-099" {
		t.Errorf("%d pages: %v", n, names)
	}
	if rec := b.last("ListFilters"); at(rec, "requestParameters", "maxResults") != 30.0 || rec["readOnly"] != true {
		t.Errorf("record %s", pretty(rec))
	}
	_, err = c.ListFilters(ctx, &guardduty.ListFiltersInput{DetectorId: newFilter("").DetectorId, MaxResults: aws.Int32(51)})
	wantCode(t, err, "BadRequestException")
}

func TestAFilterIsBoundToItsNameAndRun(t *testing.T) {
	b := start(t)
	arn := "arn:aws:guardduty:eu-west-1:" + target + ":detector/" + *newFilter("").DetectorId + "/filter/auditcanary-c1"
	c, ctx := guardduty.NewFromConfig(b.permitted(target, west,
		`{"Effect":"Allow","Action":["guardduty:CreateFilter","guardduty:TagResource"],"Resource":"`+arn+`","Condition":{"StringLike":{"aws:RequestTag/auditcanary:run":"r1"}}}`,
		`{"Effect":"Allow","Action":"guardduty:DeleteFilter","Resource":"`+arn+`"}`)), t.Context()
	other, untagged := newFilter("auditcanary-c2"), newFilter("auditcanary-c1")
	untagged.Tags = nil
	wrong := newFilter("auditcanary-c1")
	wrong.Tags["auditcanary:run"] = "r2"
	for name, in := range map[string]*guardduty.CreateFilterInput{"another name": other, "no tags": untagged, "another run": wrong} {
		_, err := c.CreateFilter(ctx, in)
		if code(err) != "AccessDeniedException" {
			t.Errorf("%s: %v", name, err)
		}
	}
	if rec := b.last("CreateFilter"); rec["errorCode"] != "AccessDenied" || rec["requestParameters"] != nil {
		t.Errorf("record of a denial %s", pretty(rec))
	}
	if _, err := c.CreateFilter(ctx, newFilter("auditcanary-c1")); err != nil {
		t.Fatal(err)
	}
	_, err := c.DeleteFilter(ctx, &guardduty.DeleteFilterInput{DetectorId: other.DetectorId, FilterName: other.Name})
	wantCode(t, err, "AccessDeniedException")
	if _, err := c.DeleteFilter(ctx, &guardduty.DeleteFilterInput{DetectorId: other.DetectorId, FilterName: untagged.Name}); err != nil {
		t.Fatal(err)
	}
	b.unchanged()
}

func TestTheServiceControlPolicyGuardsTheDetectors(t *testing.T) {
	null := aws.String(strings.Repeat("0", 32))
	attempt := func(b *box, id *string) (update, remove error) {
		c := guardduty.NewFromConfig(b.root(target, west))
		_, update = c.UpdateDetector(t.Context(), &guardduty.UpdateDetectorInput{DetectorId: id, Enable: aws.Bool(false)})
		_, remove = c.DeleteDetector(t.Context(), &guardduty.DeleteDetectorInput{DetectorId: id})
		return update, remove
	}
	b := start(t)
	for _, id := range []*string{null, newFilter("").DetectorId} {
		update, remove := attempt(b, id)
		for _, err := range []error{update, remove} {
			wantCode(t, err, "AccessDeniedException")
			if !strings.Contains(message(err), "with an explicit deny in a service control policy") {
				t.Errorf("message %q", message(err))
			}
		}
	}
	if rec := b.last("DeleteDetector"); rec["errorCode"] != "AccessDenied" || rec["requestParameters"] != nil || rec["readOnly"] != false {
		t.Errorf("record %s", pretty(rec))
	}
	b.unchanged()

	// Without the policy the same attempts are told apart: on the one that is not
	// there they come to nothing, and any other they take.
	b = start(t, func(o *cloud.Options) {
		o.World = cloud.World(o.Clock)
		o.World.SCPs = nil
	})
	update, remove := attempt(b, null)
	wantCode(t, update, "BadRequestException")
	wantCode(t, remove, "BadRequestException")
	b.unchanged()
	c := guardduty.NewFromConfig(b.root(target, west))
	if _, err := c.CreateFilter(t.Context(), newFilter("auditcanary-c1")); err != nil {
		t.Fatal(err)
	}
	if update, remove := attempt(b, newFilter("").DetectorId); update != nil || remove != nil {
		t.Fatal(update, remove)
	}
	listed, err := c.ListDetectors(t.Context(), nil)
	if err != nil || len(listed.DetectorIds) != 0 || len(b.cloud.Changes()) != 1 {
		t.Errorf("detectors %v %v, changes %s", listed.DetectorIds, err, pretty(b.cloud.Changes()))
	}
}

func TestADetectorIsDescribedAndUpdated(t *testing.T) {
	b := start(t, func(o *cloud.Options) {
		o.World = cloud.World(o.Clock)
		o.World.SCPs = nil
	})
	c, ctx, id := guardduty.NewFromConfig(b.root(target, west)), t.Context(), newFilter("").DetectorId
	listed, err := c.ListDetectors(ctx, nil)
	if err != nil || len(listed.DetectorIds) != 1 || listed.DetectorIds[0] != *id {
		t.Fatalf("%v %v", listed, err)
	}
	if _, err := c.UpdateDetector(ctx, &guardduty.UpdateDetectorInput{DetectorId: id, Enable: aws.Bool(false), FindingPublishingFrequency: "ONE_HOUR"}); err != nil {
		t.Fatal(err)
	}
	got, err := c.GetDetector(ctx, &guardduty.GetDetectorInput{DetectorId: id})
	if err != nil || got.Status != gdtypes.DetectorStatusDisabled || got.FindingPublishingFrequency != "ONE_HOUR" || got.Tags["auditcanary"] != "fixture" {
		t.Errorf("detector %s %v", pretty(got), err)
	}
	if rec := b.last("UpdateDetector"); at(rec, "requestParameters", "enable") != false || at(rec, "requestParameters", "detectorId") != *id {
		t.Errorf("record %s", pretty(rec))
	}
	_, err = c.UpdateDetector(ctx, &guardduty.UpdateDetectorInput{DetectorId: id, FindingPublishingFrequency: "NEVER"})
	wantCode(t, err, "BadRequestException")
	if len(b.cloud.Changes()) != 1 {
		t.Errorf("changes %s", pretty(b.cloud.Changes()))
	}
}
