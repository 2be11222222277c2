package aws

import (
	"encoding/json"
	"maps"
	"net/http"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"

	"github.com/auditcanary/auditcanary/shared/canary"
)

func TestPlanRefusesHarmToSecurityTooling(t *testing.T) {
	const (
		filter  = "aws/guardduty-filter"
		denied  = "aws/guardduty-detector-denied"
		insight = "aws/securityhub-insight"
		set     = "aws/wafv2-ip-set"
		global  = "aws/wafv2-cloudfront-ip-set"
	)
	type step = canary.Step
	type object = map[string]any
	put := func(param string, v any) func(*step) { return func(s *step) { s.Params[param] = v } }
	undo := func(param string, v any) func(*step) { return func(s *step) { s.Undo.Params[param] = v } }
	note := func(v string) []any { return []any{object{"Comparison": "EQUALS", "Value": v}} }
	for _, tt := range []struct {
		name, scenario string
		step           int
		breakIt        func(*step)
		want           string
	}{
		{"a filter that hides findings", filter, 0, put("Action", "ARCHIVE"), `Action must be NOOP, not ARCHIVE`},
		{"a filter whose action is left to the service", filter, 0, func(s *step) { delete(s.Params, "Action") }, `Action must be NOOP`},
		{"a filter that meets all findings", filter, 0, put("FindingCriteria", object{}), `FindingCriteria might meet a finding`},
		{"a filter that meets some findings", filter, 0, put("FindingCriteria", object{"Criterion": object{"severity": object{"Gte": 4}}}), `FindingCriteria might meet a finding`},
		{"a filter that meets one finding", filter, 0, put("FindingCriteria", object{"Criterion": object{"id": object{"Equals": []any{"0123456789abcdef0123456789abcdef"}}}}), `might meet a finding`},
		{"a filter that meets one finding or none", filter, 0, put("FindingCriteria", object{"Criterion": object{"id": object{"Equals": []any{"${name}", "0123456789abcdef0123456789abcdef"}}}}), `might meet a finding`},
		{"a filter that meets all findings but one", filter, 0, put("FindingCriteria", object{"Criterion": object{"id": object{"NotEquals": []any{"${name}"}}}}), `might meet a finding`},
		{"a filter under another name", filter, 0, put("Name", "auditcanary-suppress"), `Name "auditcanary-suppress" is not canary-marked`},
		{"a filter of another detector", filter, 0, put("DetectorId", "${fixture.kms_key}"), `must be the fixture guardduty_detector`},
		{"a filter without the run's tags", filter, 0, func(s *step) { delete(s.Params, "Tags") }, `the tags auditcanary:run=${run}`},
		{"an undo of another filter", filter, 0, undo("FilterName", "${name}-b"), `guardduty:DeleteFilter names FilterName auditcanary-20261122-abcdef-01-b, but the call it must undo auditcanary-20261122-abcdef-01`},
		{"an undo of somebody's filter", filter, 0, undo("FilterName", "theirs"), `FilterName "theirs" is not canary-marked`},

		{"the real detector changed", denied, 0, put("DetectorId", "${fixture.guardduty_detector}"), `guardduty:UpdateDetector: DetectorId must be 00000000000000000000000000000000`},
		{"detection switched off", denied, 0, put("Enable", false), `Enable must be true, not false`},
		{"detection thinned out", denied, 0, put("Features", []any{object{"Name": "S3_DATA_EVENTS", "Status": "DISABLED"}}), `Features is not allowed`},
		{"findings published later", denied, 0, put("FindingPublishingFrequency", "SIX_HOURS"), `FindingPublishingFrequency is not allowed`},
		{"the real detector deleted", denied, 1, put("DetectorId", "${fixture.guardduty_detector}"), `guardduty:DeleteDetector: DetectorId must be 00000000000000000000000000000000`},

		{"a view under another name", insight, 0, put("Name", "auditcanary-findings"), `Name "auditcanary-findings" is not canary-marked`},
		{"a view of all findings", insight, 0, put("Filters", object{}), `Filters.NoteText does not say whose it is`},
		{"a view of another run", insight, 0, put("Filters", object{"NoteText": note("auditcanary:run=x auditcanary:canary=${canary}")}), `Filters.NoteText does not say whose it is`},
		{"a view of what does not have the note", insight, 0, put("Filters", object{"NoteText": []any{object{"Comparison": "NOT_EQUALS", "Value": "auditcanary:run=${run} auditcanary:canary=${canary}"}}}), `Filters.NoteText does not say`},
		{"a view with another filter", insight, 0, put("Filters", object{"NoteText": note("auditcanary:run=${run} auditcanary:canary=${canary}"), "SeverityLabel": note("CRITICAL")}), `Filters.SeverityLabel is not allowed`},
		{"somebody's view deleted", insight, 0, undo("InsightArn", "arn:aws:securityhub:eu-west-1:111122223333:insight/111122223333/custom/a1"), `it must be what the call it must undo replied, ${steps.create.<path>}`},
		{"a view of another account deleted", insight, 0, undo("InsightArn", "arn:aws:securityhub:eu-west-1:999999999999:insight/999999999999/custom/a1"), `is no custom insight of 111122223333/eu-west-1`},
		{"AWS's own view deleted", insight, 0, undo("InsightArn", "arn:aws:securityhub:::insight/securityhub/default/1"), `is no custom insight`},

		{"a set under another name", set, 0, put("Name", "allow-list"), `Name "allow-list" is not canary-marked`},
		{"a set of somebody's addresses", set, 0, put("Addresses", []any{"192.0.2.1/32", "8.8.8.8/32"}), `Addresses "8.8.8.8/32" is not a documentation network`},
		{"a set of everybody's addresses", set, 0, put("Addresses", []any{"192.0.2.0/0"}), `Addresses "192.0.2.0/0" is not a documentation network`},
		{"a set of no addresses", set, 0, put("Addresses", []any{}), `Addresses is empty`},
		{"a set without the run's tags", set, 0, func(s *step) { delete(s.Params, "Tags") }, `the tags auditcanary:run=${run}`},
		{"CloudFront's set in another region", set, 0, put("Scope", "CLOUDFRONT"), `Scope CLOUDFRONT is not kept in eu-west-1`},
		{"an undo of the other scope", global, 0, undo("Scope", "REGIONAL"), `wafv2:DeleteIPSet names Scope REGIONAL, but the call it must undo CLOUDFRONT`},
		{"an undo of another set", set, 0, undo("Name", "${name}-b"), `wafv2:DeleteIPSet names Name auditcanary-20261122-abcdef-01-b`},
		{"an undo of somebody's set", set, 0, undo("Id", "a1b2c3d4-5678-90ab-cdef-000000000000"), `it must be what the call it must undo replied`},
		{"an undo with a token of its own", set, 0, undo("LockToken", "a1b2c3d4-5678-90ab-cdef-000000000000"), `it must be what the call it must undo replied`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := testCloud(t, aws.Config{})
			s := scenario(t, c, tt.scenario)
			tt.breakIt(&s.Steps[tt.step])
			_, err := c.Plan(s, testCanary(homeOf(s)))
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got  %v\nwant ...%s...", err, tt.want)
			}
		})
	}
}

type answers = map[string]func(http.ResponseWriter, *called)

const (
	testDetector = "0123456789abcdef0123456789abcdef"
	filtersPath  = "guardduty:GET /detector/" + testDetector + "/filter"
	insightsPath = "securityhub:POST /insights/get"
	badRequest   = "The request is rejected since no such resource found."
)

// cleanSecurity answers the listings of security tooling as a clean account does.
func cleanSecurity(w *wire) {
	w.answer[filtersPath] = jsonReply(map[string]any{"filterNames": []any{"somebodys"}})
	w.answer[insightsPath] = jsonReply(map[string]any{"Insights": []any{}})
	w.answer["wafv2:ListIPSets"] = jsonReply(map[string]any{"IPSets": []any{}})
}

func restError(status int, code, message string) func(http.ResponseWriter, *called) {
	return func(rw http.ResponseWriter, c *called) {
		rw.Header().Set("X-Amzn-Errortype", code)
		rw.WriteHeader(status)
		jsonReply(map[string]any{"message": message})(rw, c)
	}
}

func TestLeftFilters(t *testing.T) {
	w := newWire(t)
	names, tags := oddities()
	w.answer[filtersPath] = func(rw http.ResponseWriter, c *called) {
		reply := map[string]any{"filterNames": names[3:]}
		if c.req.URL.Query().Get("nextToken") == "" {
			reply = map[string]any{"filterNames": names[:3], "nextToken": "more"}
		}
		jsonReply(reply)(rw, c)
	}
	for _, name := range names {
		w.answer[filtersPath+"/"+name] = func(rw http.ResponseWriter, c *called) {
			if strings.HasPrefix(name, "somebodys") {
				t.Errorf("looked into %s", name)
			}
			if tags[name] == nil {
				restError(400, "BadRequestException", badRequest)(rw, c)
				return
			}
			jsonReply(map[string]any{"name": name, "action": "NOOP", "findingCriteria": map[string]any{}, "tags": tags[name]})(rw, c)
		}
	}
	got, err := leftOf(t, w, "guardduty filter", ireland)
	wantLeft(t, got, err, leftover(testDetector+"/auditcanary-"+mineData, canary.Call{
		Operation: "guardduty:DeleteFilter", Region: "eu-west-1", Gone: []string{"BadRequestException"},
		Params: map[string]any{"DetectorId": testDetector, "FilterName": "auditcanary-" + mineData},
	}))
}

func TestLeftInsights(t *testing.T) {
	const arn = "arn:aws:securityhub:eu-west-1:111122223333:insight/111122223333/custom/"
	mark := func(notes ...string) map[string]any {
		var list []any
		for _, n := range notes {
			list = append(list, map[string]any{"Value": n, "Comparison": "EQUALS"})
		}
		return map[string]any{"NoteText": list}
	}
	mine := bucketPolicyID("20261122-abcdef", mineData)
	all := []any{
		map[string]any{"InsightArn": arn + "1", "Name": "auditcanary-" + mineData, "Filters": mark(mine)},
		map[string]any{"InsightArn": arn + "2", "Name": "auditcanary-" + mineData, "Filters": mark(mine, mine)}, // two notes: any of them
		map[string]any{"InsightArn": arn + "3", "Name": "auditcanary-" + mineData, "Filters": map[string]any{}},
		map[string]any{"InsightArn": arn + "4", "Name": "auditcanary-other", "Filters": mark(mine)},
		map[string]any{"InsightArn": arn + "5", "Name": "Critical findings", "Filters": mark(mine)},
		map[string]any{"InsightArn": arn + "6", "Name": "auditcanary-" + mineData, "Filters": mark("auditcanary:run=20261122-abcdef")},
		map[string]any{"InsightArn": arn + "7", "Name": "auditcanary-odd", "Filters": mark(bucketPolicyID("*", "odd"))},
		map[string]any{"InsightArn": arn + "8"},
	}
	w := newWire(t)
	w.answer[insightsPath] = func(rw http.ResponseWriter, c *called) {
		var in struct{ NextToken string }
		_ = json.Unmarshal(c.body, &in)
		reply := map[string]any{"Insights": all[2:]}
		if in.NextToken == "" {
			reply = map[string]any{"Insights": all[:2], "NextToken": "more"}
		}
		jsonReply(reply)(rw, c)
	}
	got, err := leftOf(t, w, "securityhub insight", ireland)
	wantLeft(t, got, err, leftover(arn+"1", canary.Call{
		Operation: "securityhub:DeleteInsight", Region: "eu-west-1", Gone: []string{"ResourceNotFoundException"}, Params: map[string]any{"InsightArn": arn + "1"},
	}))
}

func TestLeftIPSets(t *testing.T) {
	for _, tt := range []struct {
		kind, scope, part string
		at                canary.Target
	}{
		{"wafv2 ip set", "REGIONAL", "regional", ireland},
		{"wafv2 ip set for cloudfront", "CLOUDFRONT", "global", virginia},
	} {
		t.Run(tt.scope, func(t *testing.T) {
			w := newWire(t)
			names, tags := oddities()
			arn := func(name string) string {
				return "arn:aws:wafv2:" + tt.at.Region + ":111122223333:" + tt.part + "/ipset/" + name + "/1f0a4f3c-0000"
			}
			w.answer["wafv2:ListIPSets"] = func(rw http.ResponseWriter, c *called) {
				var in struct{ Scope, NextMarker string }
				_ = json.Unmarshal(c.body, &in)
				if in.Scope != tt.scope {
					t.Errorf("listed scope %s", in.Scope)
				}
				these, reply := names[3:], map[string]any{}
				if in.NextMarker == "" {
					these, reply = names[:3], map[string]any{"NextMarker": "more"}
				}
				var list []any
				for _, name := range these {
					list = append(list, map[string]any{"Name": name, "Id": "1f0a4f3c-0000", "ARN": arn(name), "LockToken": "2e1b5a4d-0000"})
				}
				reply["IPSets"] = list
				jsonReply(reply)(rw, c)
			}
			w.answer["wafv2:ListTagsForResource"] = func(rw http.ResponseWriter, c *called) {
				var in struct{ ResourceARN, NextMarker string }
				_ = json.Unmarshal(c.body, &in)
				name := strings.Split(in.ResourceARN, "/")[2]
				if strings.HasPrefix(name, "somebodys") {
					t.Errorf("looked into %s", name)
				}
				if tags[name] == nil {
					jsonError(400, "WAFNonexistentItemException", "gone")(rw, c)
					return
				}
				// One tag a page: a page that is left out must not make the set nobody's.
				reply := map[string]any{}
				var list []any
				for i, key := range []string{tagRun, tagCanary, tagFixture} {
					if v, ok := tags[name][key]; ok && (i == 0) == (in.NextMarker == "") {
						list = append(list, map[string]any{"Key": key, "Value": v})
					}
				}
				reply["TagInfoForResource"] = map[string]any{"ResourceARN": in.ResourceARN, "TagList": list}
				if in.NextMarker == "" {
					reply["NextMarker"] = "more"
				}
				jsonReply(reply)(rw, c)
			}
			got, err := leftOf(t, w, tt.kind, tt.at)
			wantLeft(t, got, err, leftover(arn("auditcanary-"+mineData), canary.Call{
				Operation: "wafv2:DeleteIPSet", Region: tt.at.Region, Gone: []string{"WAFNonexistentItemException"},
				Params: map[string]any{"Name": "auditcanary-" + mineData, "Scope": tt.scope, "Id": "1f0a4f3c-0000", "LockToken": "2e1b5a4d-0000"},
			}))
		})
	}
}

func TestSecurityToolingThatCannotBeListedIsAnError(t *testing.T) {
	mine := "auditcanary-" + mineData
	sets := jsonReply(map[string]any{"IPSets": []any{map[string]any{"Name": mine, "Id": "1f", "ARN": "arn:aws:wafv2:eu-west-1:111122223333:regional/ipset/" + mine + "/1f", "LockToken": "2e"}}})
	for name, tt := range map[string]struct {
		kind   string
		at     canary.Target
		answer answers
		want   string
	}{
		"filters denied":       {"guardduty filter", ireland, answers{filtersPath: restError(403, "AccessDeniedException", "no")}, "guardduty:ListFilters of " + testDetector},
		"detector gone":        {"guardduty filter", ireland, answers{filtersPath: restError(400, "BadRequestException", "The request is rejected because the input detectorId is not owned by the current account.")}, "not owned"},
		"a filter denied":      {"guardduty filter", ireland, answers{filtersPath: jsonReply(map[string]any{"filterNames": []any{mine}}), filtersPath + "/" + mine: restError(403, "AccessDeniedException", "no")}, "guardduty:GetFilter of " + mine},
		"a filter unclear":     {"guardduty filter", ireland, answers{filtersPath: jsonReply(map[string]any{"filterNames": []any{mine}}), filtersPath + "/" + mine: restError(400, "BadRequestException", "an invalid value is specified")}, "guardduty:GetFilter of " + mine},
		"filters without end":  {"guardduty filter", ireland, answers{filtersPath: jsonReply(map[string]any{"filterNames": []any{}, "nextToken": "again"})}, "does not end"},
		"insights denied":      {"securityhub insight", ireland, answers{insightsPath: restError(403, "AccessDeniedException", "no")}, "securityhub:GetInsights in account 111122223333, eu-west-1"},
		"hub switched off":     {"securityhub insight", ireland, answers{insightsPath: restError(401, "InvalidAccessException", "not subscribed")}, "not subscribed"},
		"sets denied":          {"wafv2 ip set", ireland, answers{"wafv2:ListIPSets": jsonError(400, "AccessDeniedException", "no")}, "wafv2:ListIPSets of REGIONAL"},
		"global sets denied":   {"wafv2 ip set for cloudfront", virginia, answers{"wafv2:ListIPSets": jsonError(400, "AccessDeniedException", "no")}, "wafv2:ListIPSets of CLOUDFRONT"},
		"tags denied":          {"wafv2 ip set", ireland, answers{"wafv2:ListIPSets": sets, "wafv2:ListTagsForResource": jsonError(400, "AccessDeniedException", "no")}, "wafv2:ListTagsForResource of " + mine},
		"sets without end":     {"wafv2 ip set", ireland, answers{"wafv2:ListIPSets": jsonReply(map[string]any{"NextMarker": "again"})}, "does not end"},
		"tags without an end":  {"wafv2 ip set", ireland, answers{"wafv2:ListIPSets": sets, "wafv2:ListTagsForResource": jsonReply(map[string]any{"NextMarker": "again"})}, "does not end"},
		"a reply that is none": {"securityhub insight", ireland, answers{insightsPath: text("<html>")}, "securityhub:GetInsights"},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWire(t)
			maps.Copy(w.answer, tt.answer)
			left, err := leftOf(t, w, tt.kind, tt.at)
			if err == nil || !strings.Contains(err.Error(), tt.want) || len(left) != 0 {
				t.Errorf("got %v, %v, want ...%s...", left, err, tt.want)
			}
		})
	}
}

// WAF's lock token is no secret, though it is called a token; without it nothing
// can be undone.
func TestTheLockTokenReachesTheUndo(t *testing.T) {
	w := newWire(t)
	w.answer["wafv2:CreateIPSet"] = jsonReply(map[string]any{"Summary": map[string]any{"Id": "1f0a4f3c-0000", "LockToken": "2e1b5a4d-0000", "ARN": "arn:x"}})
	sess, p := open(t, w, "aws/wafv2-ip-set")
	r := sess.Do(t.Context(), p.Steps[0].Call, []string{"Summary.Id", "Summary.LockToken"})
	if r.Outcome.Result != canary.Succeeded || r.Output["Summary.Id"] != "1f0a4f3c-0000" || r.Output["Summary.LockToken"] != "2e1b5a4d-0000" {
		t.Errorf("%+v %v", r.Outcome, r.Output)
	}
}

// A sweep takes nothing away that names somebody else's, whatever a listing said.
func TestASweepOfSecurityToolingIsBound(t *testing.T) {
	sw := &session{cloud: testCloud(t, aws.Config{}), target: testTarget(), scene: testTarget().scene("eu-west-1", "*", canary.Marker), restoresOnly: true}
	for want, call := range map[string]canary.Call{
		`FilterName "theirs" is not canary-marked`:         {Operation: "guardduty:DeleteFilter", Params: map[string]any{"DetectorId": testDetector, "FilterName": "theirs"}},
		`is no configured fixture of 111122223333/eu-west`: {Operation: "guardduty:DeleteFilter", Params: map[string]any{"DetectorId": nullDetector, "FilterName": "auditcanary-x-01"}},
		`is no custom insight of 111122223333/eu-west-1`:   {Operation: "securityhub:DeleteInsight", Params: map[string]any{"InsightArn": "arn:aws:securityhub:us-east-1:111122223333:insight/111122223333/custom/1"}},
		`"arn:aws:securityhub:eu-west-1:111122223333:insi`: {Operation: "securityhub:DeleteInsight", Params: map[string]any{"InsightArn": "arn:aws:securityhub:eu-west-1:111122223333:insight/111122223333/custom/*"}},
		`Name "theirs" is not canary-marked`:               {Operation: "wafv2:DeleteIPSet", Params: map[string]any{"Name": "theirs", "Scope": "REGIONAL", "Id": "1", "LockToken": "1"}},
		`Scope CLOUDFRONT is not kept in eu-west-1`:        {Operation: "wafv2:DeleteIPSet", Params: map[string]any{"Name": "auditcanary-x-01", "Scope": "CLOUDFRONT", "Id": "1", "LockToken": "1"}},
		`guardduty:DeleteDetector does not restore`:        {Operation: "guardduty:DeleteDetector", Params: map[string]any{"DetectorId": nullDetector}},
	} {
		call.Region = "eu-west-1"
		if _, _, err := sw.admit(call); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s %v: %v, want ...%s...", call.Operation, call.Params, err, want)
		}
	}
	// What it may take, it may take by its very name only.
	call := canary.Call{Operation: "wafv2:DeleteIPSet", Params: map[string]any{"Name": "auditcanary-x-01", "Scope": "REGIONAL", "Id": "1f-0", "LockToken": "2e-0"}}
	doc := string(policy(sw.scene.statements(call)))
	if arn := "arn:aws:wafv2:eu-west-1:111122223333:*/ipset/auditcanary-x-01/1f-0"; !strings.Contains(doc, `"`+arn+`"`) {
		t.Errorf("policy %s lacks %s", doc, arn)
	}
}
