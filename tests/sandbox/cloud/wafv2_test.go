package cloud_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/guardduty"
	"github.com/aws/aws-sdk-go-v2/service/securityhub"
	"github.com/aws/aws-sdk-go-v2/service/wafv2"
	waftypes "github.com/aws/aws-sdk-go-v2/service/wafv2/types"

	"github.com/auditcanary/auditcanary/tests/sandbox/cloud"
	"github.com/auditcanary/auditcanary/tests/sandbox/cloud/policy"
)

func newIPSet(name string, scope waftypes.Scope) *wafv2.CreateIPSetInput {
	return &wafv2.CreateIPSetInput{
		Name: &name, Scope: scope, IPAddressVersion: waftypes.IPAddressVersionIpv4, Addresses: []string{"192.0.2.0/32"}, Description: aws.String("canary"),
		Tags: []waftypes.Tag{{Key: aws.String("auditcanary:run"), Value: aws.String("r1")}, {Key: aws.String("k"), Value: aws.String("v")}},
	}
}

func removal(s *waftypes.IPSetSummary, scope waftypes.Scope) *wafv2.DeleteIPSetInput {
	return &wafv2.DeleteIPSetInput{Name: s.Name, Id: s.Id, LockToken: s.LockToken, Scope: scope}
}

func TestAnIPSetLivesAndDies(t *testing.T) {
	for _, tt := range []struct {
		scope        waftypes.Scope
		region, part string
	}{{waftypes.ScopeRegional, west, "regional"}, {waftypes.ScopeCloudfront, east, "global"}} {
		t.Run(string(tt.scope), func(t *testing.T) {
			b := start(t)
			c, ctx := wafv2.NewFromConfig(b.root(target, tt.region)), t.Context()
			out, err := c.CreateIPSet(ctx, newIPSet("auditcanary-c1", tt.scope))
			if err != nil {
				t.Fatal(err)
			}
			if arn := "arn:aws:wafv2:" + tt.region + ":" + target + ":" + tt.part + "/ipset/auditcanary-c1/" + *out.Summary.Id; *out.Summary.ARN != arn {
				t.Errorf("ARN %s, want %s", *out.Summary.ARN, arn)
			}
			// The shape of the AWS WAF developer guide's log entries of CreateWebACL and
			// DeleteWebACL, aRN among its names; that CreateIPSet has it too is inferred.
			rec := b.last("CreateIPSet")
			params, summary := rec["requestParameters"], at(rec, "responseElements", "summary")
			if rec["eventSource"] != "wafv2.amazonaws.com" || rec["awsRegion"] != tt.region || rec["apiVersion"] != "2019-04-23" || at(params, "name") != "auditcanary-c1" ||
				at(params, "scope") != string(tt.scope) || at(params, "iPAddressVersion") != "IPV4" || pretty(at(params, "addresses")) != pretty([]string{"192.0.2.0/32"}) {
				t.Errorf("record %s", pretty(rec))
			}
			if at(summary, "aRN") != *out.Summary.ARN || at(summary, "lockToken") != *out.Summary.LockToken || at(summary, "id") != *out.Summary.Id || at(summary, "name") != "auditcanary-c1" {
				t.Errorf("summary %s", pretty(summary))
			}
			_, err = c.CreateIPSet(ctx, newIPSet("auditcanary-c1", tt.scope))
			wantCode(t, err, "WAFDuplicateItemException")
			tagged, err := c.ListTagsForResource(ctx, &wafv2.ListTagsForResourceInput{ResourceARN: out.Summary.ARN, Limit: aws.Int32(1)})
			if err != nil || len(tagged.TagInfoForResource.TagList) != 1 || aws.ToString(tagged.NextMarker) == "" {
				t.Fatalf("tags %s %v", pretty(tagged), err)
			}
			tagged, err = c.ListTagsForResource(ctx, &wafv2.ListTagsForResourceInput{ResourceARN: out.Summary.ARN, NextMarker: tagged.NextMarker})
			if err != nil || len(tagged.TagInfoForResource.TagList) != 1 || *tagged.TagInfoForResource.TagList[0].Value != "v" {
				t.Errorf("more tags %s %v", pretty(tagged), err)
			}
			if changes := b.cloud.Changes(); len(changes) != 1 || changes[0].Kind != "wafv2 ip set" || changes[0].Region != tt.region {
				t.Errorf("changes %s", pretty(changes))
			}
			if _, err := c.DeleteIPSet(ctx, removal(out.Summary, tt.scope)); err != nil {
				t.Fatal(err)
			}
			if rec := b.last("DeleteIPSet"); at(rec, "requestParameters", "lockToken") != *out.Summary.LockToken || at(rec, "requestParameters", "id") != *out.Summary.Id || rec["responseElements"] != nil {
				t.Errorf("record %s", pretty(rec))
			}
			_, err = c.DeleteIPSet(ctx, removal(out.Summary, tt.scope))
			wantCode(t, err, "WAFNonexistentItemException")
			_, err = c.ListTagsForResource(ctx, &wafv2.ListTagsForResourceInput{ResourceARN: out.Summary.ARN})
			wantCode(t, err, "WAFNonexistentItemException")
			b.unchanged()
		})
	}
}

// Who read a set before somebody changed it cannot delete it.
func TestAnOutdatedLockTokenIsRefused(t *testing.T) {
	b := start(t)
	c, ctx := wafv2.NewFromConfig(b.root(target, west)), t.Context()
	out, err := c.CreateIPSet(ctx, newIPSet("auditcanary-c1", waftypes.ScopeRegional))
	if err != nil {
		t.Fatal(err)
	}
	change := &wafv2.UpdateIPSetInput{Name: out.Summary.Name, Id: out.Summary.Id, LockToken: out.Summary.LockToken, Scope: waftypes.ScopeRegional, Addresses: []string{"198.51.100.0/24"}}
	next, err := c.UpdateIPSet(ctx, change)
	if err != nil {
		t.Fatal(err)
	}
	if rec := b.last("UpdateIPSet"); at(rec, "responseElements", "nextLockToken") != *next.NextLockToken {
		t.Errorf("record %s", pretty(rec))
	}
	_, err = c.UpdateIPSet(ctx, change)
	wantCode(t, err, "WAFOptimisticLockException")
	_, err = c.DeleteIPSet(ctx, removal(out.Summary, waftypes.ScopeRegional))
	wantCode(t, err, "WAFOptimisticLockException")
	listed, err := c.ListIPSets(ctx, &wafv2.ListIPSetsInput{Scope: waftypes.ScopeRegional})
	if err != nil || len(listed.IPSets) != 1 || *listed.IPSets[0].LockToken != *next.NextLockToken {
		t.Fatalf("%s %v", pretty(listed), err)
	}
	if _, err := c.DeleteIPSet(ctx, removal(&listed.IPSets[0], waftypes.ScopeRegional)); err != nil {
		t.Fatal(err)
	}
	b.unchanged()
}

func TestWAFRefusesWhatIsWrong(t *testing.T) {
	b := start(t)
	c, ctx := wafv2.NewFromConfig(b.root(target, west)), t.Context()
	for name, breakIt := range map[string]func(*wafv2.CreateIPSetInput){
		"CloudFront's scope in another region": func(in *wafv2.CreateIPSetInput) { in.Scope = waftypes.ScopeCloudfront },
		"an unknown scope":                     func(in *wafv2.CreateIPSetInput) { in.Scope = "EVERYWHERE" },
		"a name with blanks":                   func(in *wafv2.CreateIPSetInput) { in.Name = aws.String("a b") },
		"all addresses":                        func(in *wafv2.CreateIPSetInput) { in.Addresses = []string{"0.0.0.0/0"} },
		"no address":                           func(in *wafv2.CreateIPSetInput) { in.Addresses = []string{"somewhere"} },
		"an address of the other family":       func(in *wafv2.CreateIPSetInput) { in.Addresses = []string{"2001:db8::/32"} },
		"an unknown family":                    func(in *wafv2.CreateIPSetInput) { in.IPAddressVersion = "IPV5" },
	} {
		t.Run(name, func(t *testing.T) {
			in := newIPSet("auditcanary-c1", waftypes.ScopeRegional)
			breakIt(in)
			_, err := c.CreateIPSet(ctx, in)
			wantCode(t, err, "WAFInvalidParameterException")
		})
	}
	_, err := wafv2.NewFromConfig(b.root(target, "us-west-2")).CreateIPSet(ctx, newIPSet("auditcanary-c1", waftypes.ScopeRegional))
	wantCode(t, err, "WAFUnavailableEntityException") // the world has no such region
	for i := range 100 {
		if _, err := c.CreateIPSet(ctx, newIPSet(fmt.Sprintf("set-%03d", i), waftypes.ScopeRegional)); err != nil {
			t.Fatal(err)
		}
	}
	_, err = c.CreateIPSet(ctx, newIPSet("one-too-many", waftypes.ScopeRegional))
	wantCode(t, err, "WAFLimitsExceededException")
	in, n, names := &wafv2.ListIPSetsInput{Scope: waftypes.ScopeRegional, Limit: aws.Int32(30)}, 0, map[string]bool{}
	for {
		page, err := c.ListIPSets(ctx, in)
		if err != nil {
			t.Fatal(err)
		}
		for _, s := range page.IPSets {
			names[*s.Name] = true
		}
		n++
		if in.NextMarker = page.NextMarker; page.NextMarker == nil {
			break
		}
	}
	if n != 4 || len(names) != 100 {
		t.Errorf("%d sets on %d pages", len(names), n)
	}
}

func TestAnIPSetIsBoundToItsNameAndRun(t *testing.T) {
	b := start(t)
	arn := "arn:aws:wafv2:eu-west-1:" + target + ":*/ipset/auditcanary-c1/*"
	c, ctx := wafv2.NewFromConfig(b.permitted(target, west,
		`{"Effect":"Allow","Action":["wafv2:CreateIPSet","wafv2:TagResource"],"Resource":"`+arn+`","Condition":{"StringLike":{"aws:RequestTag/auditcanary:run":"r1"}}}`,
		`{"Effect":"Allow","Action":"wafv2:DeleteIPSet","Resource":"`+arn+`"}`)), t.Context()
	untagged, wrong := newIPSet("auditcanary-c1", waftypes.ScopeRegional), newIPSet("auditcanary-c1", waftypes.ScopeRegional)
	untagged.Tags = nil
	wrong.Tags[0].Value = aws.String("r2")
	for name, in := range map[string]*wafv2.CreateIPSetInput{"another name": newIPSet("auditcanary-c2", waftypes.ScopeRegional), "no tags": untagged, "another run": wrong} {
		if _, err := c.CreateIPSet(ctx, in); code(err) != "AccessDeniedException" {
			t.Errorf("%s: %v", name, err)
		}
	}
	if rec := b.last("CreateIPSet"); rec["errorCode"] != "AccessDenied" || rec["requestParameters"] != nil || rec["apiVersion"] != nil {
		t.Errorf("record of a denial %s", pretty(rec))
	}
	theirs, err := wafv2.NewFromConfig(b.root(target, west)).CreateIPSet(ctx, newIPSet("theirs", waftypes.ScopeRegional))
	if err != nil {
		t.Fatal(err)
	}
	_, err = c.DeleteIPSet(ctx, removal(theirs.Summary, waftypes.ScopeRegional))
	wantCode(t, err, "AccessDeniedException")
	out, err := c.CreateIPSet(ctx, newIPSet("auditcanary-c1", waftypes.ScopeRegional))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.DeleteIPSet(ctx, removal(out.Summary, waftypes.ScopeRegional)); err != nil {
		t.Fatal(err)
	}
}

// Real records of these services: of a listing by GuardDuty, of an insight as
// Security Hub's own guide shows it (where GroupByAttribute had another name
// still), of a denial by WAF.
func TestRecordsOfSecurityToolingHaveTheShapeOfRealOnes(t *testing.T) {
	b := start(t, func(o *cloud.Options) {
		o.World = cloud.World(o.Clock)
		o.World.Accounts[target].Users["alice"] = &cloud.User{
			Name: "alice", ID: "AIDAALICE", Key: cloud.Key{ID: "AKIAALICE", Secret: "s"},
			Policies: []policy.Named{{Doc: policy.MustParse(`{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":["guardduty:*","securityhub:*"],"Resource":"*"}]}`, policy.ForIdentity)}},
		}
	})
	alice, ctx := b.config(cloud.Key{ID: "AKIAALICE", Secret: "s"}, "", east), t.Context()
	if _, err := guardduty.NewFromConfig(alice).ListDetectors(ctx, nil); err != nil {
		t.Fatal(err)
	}
	insight := newInsight("Test Insight")
	insight.Filters.NoteText = nil
	if _, err := securityhub.NewFromConfig(alice).CreateInsight(ctx, insight); err != nil {
		t.Fatal(err)
	}
	_, err := wafv2.NewFromConfig(alice).UpdateIPSet(ctx, &wafv2.UpdateIPSetInput{
		Name: aws.String("testip"), Id: aws.String("a1b2c3d4-5678-90ab-cdef-EXAMPLE11111"), LockToken: aws.String("x"), Scope: waftypes.ScopeRegional, Addresses: []string{"192.0.2.0/24"},
	})
	wantCode(t, err, "AccessDeniedException")

	raw, err := os.ReadFile("testdata/records/security.ndjson")
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
		rec := b.last(name)
		for _, field := range []string{"eventSource", "errorCode", "eventType", "readOnly"} {
			if rec[field] != real.Record[field] {
				t.Errorf("%s (%s): %s %v, really %v", name, real.Origin, field, rec[field], real.Record[field])
			}
		}
		if params, ok := rec["requestParameters"].(map[string]any); ok && name == "CreateInsight" {
			params["ResultField"] = params["GroupByAttribute"]
			delete(params, "GroupByAttribute")
		}
		for _, diff := range compareShapes(name, real.Record["eventVersion"].(string), real.Record, rec) {
			t.Errorf("%s (%s): %s", name, real.Origin, diff)
		}
		compared++
	}
	if compared != 3 {
		t.Errorf("%d records compared, want 3", compared)
	}
	// What a denial says of the set is as in the real record, but for the accounts.
	if got := fmt.Sprint(b.last("UpdateIPSet")["errorMessage"]); !strings.Contains(got, "is not authorized to perform: wafv2:UpdateIPSet on resource: arn:aws:wafv2:us-east-1:"+target+
		":regional/ipset/testip/a1b2c3d4-5678-90ab-cdef-EXAMPLE11111 because no identity-based policy allows the wafv2:UpdateIPSet action") {
		t.Errorf("message %q", got)
	}
}
