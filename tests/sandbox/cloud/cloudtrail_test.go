package cloud_test

import (
	"bytes"
	"encoding/json"
	"os"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/cloudtrail"
	cttypes "github.com/aws/aws-sdk-go-v2/service/cloudtrail/types"
)

func selectsFunction(arn string) []cttypes.AdvancedEventSelector {
	return []cttypes.AdvancedEventSelector{{Name: aws.String("auditcanary-nothing"), FieldSelectors: []cttypes.AdvancedFieldSelector{
		{Field: aws.String("eventCategory"), Equals: []string{"Data"}},
		{Field: aws.String("resources.type"), Equals: []string{"AWS::Lambda::Function"}},
		{Field: aws.String("resources.ARN"), Equals: []string{arn}},
	}}}
}

func TestSettingSelectorsToWhatTheyAreChangesNothing(t *testing.T) {
	b := start(t)
	c, ctx, name := cloudtrail.NewFromConfig(allowing(t, b, west, "")), t.Context(), aws.String("auditcanary-selector")
	put := func(arn string) error {
		_, err := c.PutEventSelectors(ctx, &cloudtrail.PutEventSelectorsInput{TrailName: name, AdvancedEventSelectors: selectsFunction(arn)})
		return err
	}
	none := "arn:aws:lambda:" + west + ":" + target + ":function:auditcanary-none"
	if err := put(none); err != nil || kinds(b) != "" {
		t.Errorf("%v, changes %q", err, kinds(b))
	}
	rec := b.last("PutEventSelectors")
	list, _ := at(rec, "requestParameters", "advancedEventSelectors").([]any)
	if len(list) != 1 || at(list[0], "name") != "auditcanary-nothing" || at(rec, "requestParameters", "trailName") != *name ||
		at(rec, "responseElements", "trailARN") != "arn:aws:cloudtrail:"+west+":"+target+":trail/auditcanary-selector" {
		t.Errorf("record %s", pretty(rec))
	}
	if err := put(none + "-other"); err != nil || kinds(b) != "trail selectors" {
		t.Errorf("%v, changes %q", err, kinds(b))
	}
	out, err := c.GetEventSelectors(ctx, &cloudtrail.GetEventSelectorsInput{TrailName: name})
	if err != nil || len(out.AdvancedEventSelectors) != 1 || len(out.EventSelectors) != 0 || out.AdvancedEventSelectors[0].FieldSelectors[2].Equals[0] != none+"-other" {
		t.Errorf("%s %v", pretty(out), err)
	}
}

func TestPutEventSelectorsRefuses(t *testing.T) {
	b := start(t)
	c := cloudtrail.NewFromConfig(allowing(t, b, west, ""))
	basic := []cttypes.EventSelector{{ReadWriteType: cttypes.ReadWriteTypeAll}}
	advanced := selectsFunction("arn:aws:lambda:" + west + ":" + target + ":function:x")
	for _, tc := range []struct {
		name string
		in   cloudtrail.PutEventSelectorsInput
		want string
	}{
		{"no trail of that name", cloudtrail.PutEventSelectorsInput{TrailName: aws.String("nothing"), EventSelectors: basic}, "TrailNotFoundException"},
		{"both forms", cloudtrail.PutEventSelectorsInput{TrailName: aws.String("auditcanary-selector"), EventSelectors: basic, AdvancedEventSelectors: advanced}, "InvalidEventSelectorsException"},
		{"neither form", cloudtrail.PutEventSelectorsInput{TrailName: aws.String("auditcanary-selector")}, "InvalidEventSelectorsException"},
		{"no category", cloudtrail.PutEventSelectorsInput{TrailName: aws.String("auditcanary-selector"), AdvancedEventSelectors: []cttypes.AdvancedEventSelector{{FieldSelectors: advanced[0].FieldSelectors[1:]}}}, "InvalidEventSelectorsException"},
		{"the organisation's trail", cloudtrail.PutEventSelectorsInput{TrailName: aws.String("arn:aws:cloudtrail:us-east-1:100000000001:trail/org-trail"), AdvancedEventSelectors: advanced}, "AccessDeniedException"},
		{"the locked trail", cloudtrail.PutEventSelectorsInput{TrailName: aws.String("auditcanary-locked"), AdvancedEventSelectors: advanced}, "AccessDeniedException"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			_, err := c.PutEventSelectors(t.Context(), &tc.in)
			wantCode(t, err, tc.want)
		})
	}
	if kinds(b) != "" {
		t.Errorf("changes %q", kinds(b))
	}
}

// A real record of PutEventSelectors, of the basic kind, and one of GetEventSelectors.
func TestSelectorsAreRecordedAsTheyReallyAre(t *testing.T) {
	b := start(t)
	c, ctx := cloudtrail.NewFromConfig(b.root(target, east)), t.Context()
	if _, err := c.PutEventSelectors(ctx, &cloudtrail.PutEventSelectorsInput{TrailName: aws.String("auditcanary-selector"), EventSelectors: []cttypes.EventSelector{{
		ReadWriteType: cttypes.ReadWriteTypeReadOnly, IncludeManagementEvents: aws.Bool(false), ExcludeManagementEventSources: []string{},
		DataResources: []cttypes.DataResource{{Type: aws.String("AWS::S3::Object"), Values: []string{}}, {Type: aws.String("AWS::Lambda::Function"), Values: []string{}}},
	}}}); err != nil {
		t.Fatal(err)
	}
	if _, err := c.GetEventSelectors(ctx, &cloudtrail.GetEventSelectorsInput{TrailName: aws.String("auditcanary-selector")}); err != nil {
		t.Fatal(err)
	}
	raw, err := os.ReadFile("testdata/records/selectors.ndjson")
	if err != nil {
		t.Fatal(err)
	}
	compared := 0
	for line := range bytes.Lines(raw) {
		var real struct {
			Origin string
			Record map[string]any
		}
		if err := json.Unmarshal(line, &real); err != nil {
			t.Fatal(err)
		}
		name := real.Record["eventName"].(string)
		for _, diff := range compareShapes(name, "1.10", real.Record, b.last(name)) {
			if !strings.HasSuffix(diff, "userIdentity.userName") { // ours is the root user
				t.Errorf("%s (%s): %s", name, real.Origin, diff)
			}
		}
		compared++
	}
	if compared != 2 {
		t.Errorf("%d records compared, want 2", compared)
	}
}
