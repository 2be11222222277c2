package faults

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/auditcanary/auditcanary/shared/canary"
)

// TestEveryFaultOfTheListHasItsFile: the ways to lose a record that must be shown.
func TestEveryFaultOfTheListHasItsFile(t *testing.T) {
	all, err := All()
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, f := range all {
		got = append(got, strings.TrimSuffix(f.Name, ".yaml"))
	}
	for _, want := range []string{
		"actor-rewritten", "call-throttled", "call-times-out-after-effect", "delayed-beyond-fail", "delayed-late",
		"file-never-delivered", "record-dropped", "record-duplicated", "record-not-emitted", "result-flipped",
		"source-ip-rewritten", "target-parameter-changed", "undo-fails-once",

		"region-dropped", "account-dropped", "source-dropped", "session-issuer-removed", "source-identity-removed",
		"event-time-shifted", "account-rewritten", "region-rewritten", "error-removed-from-denials", "request-id-removed",
		"event-id-reused", "file-cut-off", "file-corrupt", "file-replaced-by-older", "layout-without-organization",
		"selector-excludes-kms", "trail-write-only", "trail-single-region", "delivery-stopped-and-resumed", "clock-skew",
		"history-unavailable", "undo-fails-for-ever", "undo-throttled-for-a-minute", "store-throttled-for-a-minute",
		"session-expires-in-mid-run", "reader-expires-in-mid-run", "object-hidden",
		"alert-never-fires", "alert-late", "alert-for-another-canary", "alert-twice", "alert-without-identity",
	} {
		if !slices.Contains(got, want) {
			t.Errorf("no file %s", want)
		}
	}
}

func TestExpectationsUseTheJudgesWords(t *testing.T) {
	var want []string
	for _, c := range canary.Required() {
		want = append(want, string(c))
	}
	if !slices.Equal(checks, want) {
		t.Errorf("checks %q, the judge requires %q", checks, want)
	}
	if alerted != string(canary.Alerted) {
		t.Errorf("check %q, the judge has %q", alerted, canary.Alerted)
	}
	for _, s := range []canary.Status{canary.Pass, canary.Late, canary.Fail, canary.Inconclusive, canary.NotRun} {
		if !slices.Contains(statuses, string(s)) {
			t.Errorf("no status %s", s)
		}
	}
	for _, h := range []canary.Hop{canary.Emitted, canary.Delivered, canary.Stored, canary.Parsed} {
		if !slices.Contains(hops, string(h)) {
			t.Errorf("no hop %s", h)
		}
	}
}

const noFaults = "faults: []\n"

func TestHeadersAreStrict(t *testing.T) {
	for _, tt := range []struct{ header, want string }{
		{"", "f.yaml: no expect line: what must a run report?"},
		{"# expect: aws/x 1 r", "f.yaml:1: expect wants SELECT ACCOUNT REGION CHECK=STATUS"},
		{"# expect: aws/x 1 r surfaced", `f.yaml:1: expect: "surfaced" is not CHECK=STATUS`},
		{"# expect: aws/x 1 r surfaced=lost", `f.yaml:1: expect: unknown status "lost"`},
		{"# expect: aws/x 1 r surfaced=pass|lost", `f.yaml:1: expect: unknown status "lost"`},
		{"# expect: aws/x 1 r polished=fail", `f.yaml:1: expect: "polished=fail" comes before any CHECK=STATUS`},
		{"# expect: aws/x 1 r hop=emitted surfaced=fail", `f.yaml:1: expect: "hop=emitted" comes before any CHECK=STATUS`},
		{"# expect: aws/x 1 r surfaced=fail hopp=x", `f.yaml:1: expect: unknown word "hopp=x"`},
		{"# expect: aws/x 1 r surfaced=fail hop=x", `f.yaml:1: expect: unknown word "hop=x"`},
		{"# expect: aws/[ 1 r surfaced=fail", `f.yaml:1: expect: pattern "aws/[": syntax error in pattern`},
		{"# expect: calls(kms:*) [ r surfaced=fail", `f.yaml:1: expect: pattern "[": syntax error in pattern`},
		{"# expect: calls(kms:* 1 r surfaced=fail", `f.yaml:1: expect: "calls(kms:*" is not closed`},
		{"# expect: does(kms:*) 1 r surfaced=fail", `f.yaml:1: expect: unknown selection "does(kms:*)"`},
		{"# expect: readonly(x) 1 r surfaced=fail", `f.yaml:1: expect: unknown selection "readonly(x)"`},
		{"# run: inject soon\n# expect: * * * surfaced=pass", `f.yaml:1: run: "soon" is neither inject, confirm, alerts, seal or sweep nor a time like 12m`},
		{"# run:\n# expect: * * * surfaced=pass", `f.yaml:1: run does not end with a confirm or a seal, which reports`},
		{"# run: inject sweep\n# expect: * * * surfaced=pass", `f.yaml:1: run does not end with a confirm or a seal, which reports`},
		{"# run: confirm\n# run: confirm\n# expect: * * * surfaced=pass", `f.yaml:2: run is said twice`},
	} {
		if _, err := Parse("f.yaml", []byte(tt.header+"\n"+noFaults)); err == nil || err.Error() != tt.want {
			t.Errorf("%q:\n got %v\nwant %s", tt.header, err, tt.want)
		}
	}
	f, err := Parse("f.yaml", []byte("# run: inject 2m confirm\n# expect: * * * surfaced=pass\n"+noFaults))
	if err != nil || !slices.Equal(f.Run, []Word{{Command: "inject"}, {Advance: 2 * time.Minute}, {Command: "confirm"}}) {
		t.Errorf("run %v, %v", f.Run, err)
	}
}

// catalogue of two canaries in one region each.
var catalogue = []Canary{
	{
		Scenario: "aws/kms-disable-key", Account: "111122223333", Region: "us-east-1", Kind: "done-and-undone",
		Calls: []string{"kms:DisableKey"}, Undoes: []string{"kms:EnableKey"}, Alerts: []string{"keys-changed"},
		Records: []Record{{Name: "kms.amazonaws.com/DisableKey", Region: "us-east-1"}},
	},
	{
		Scenario: "aws/sts-break-glass", Account: "444455556666", Region: "eu-west-1", Kind: "decoy",
		Calls:   []string{"sts:AssumeRole"},
		Records: []Record{{Name: "sts.amazonaws.com/AssumeRole", Region: "eu-west-1", ReadOnly: true, Data: true}},
	},
}

func TestSelectionsChooseByWhatACanaryDoes(t *testing.T) {
	for _, tt := range []struct {
		line string
		want string // which of the two
	}{
		{"* * *", "12"}, {"aws/* * *", "12"}, {"aws/kms-* * *", "1"}, {"kms-* * *", ""},
		{"calls(kms:*) * *", "1"}, {"calls(kms:EnableKey) * *", ""}, {"undoes(kms:EnableKey) * *", "1"},
		{"records(sts.amazonaws.com/*) * *", "2"}, {"records(*) * *", "12"}, {"readonly() * *", "2"},
		{"recorded(eu-*) * *", "2"}, {"kind(decoy) * *", "2"}, {"kind(decoy)&calls(kms:*) * *", ""},
		{"promises(keys-*) * *", "1"}, {"promises(other) * *", ""}, {"* 444455556666 *", "2"}, {"* * us-east-1", "1"}, {"* 4* us-*", ""},
	} {
		f, err := Parse("f.yaml", []byte("# expect: "+tt.line+" surfaced=fail\n"+noFaults))
		if err != nil {
			t.Errorf("%s: %v", tt.line, err)
			continue
		}
		var got string
		for i, c := range catalogue {
			if ok, _ := f.Expect[0].selects(c); ok {
				got += string(rune('1' + i))
			}
		}
		if got != tt.want {
			t.Errorf("%s selects %q, want %q", tt.line, got, tt.want)
		}
	}
}

func TestCompareMissesNothing(t *testing.T) {
	passed := func() map[Question]Answer {
		out := map[Question]Answer{}
		for _, c := range catalogue {
			for _, check := range checks {
				out[Question{c.Scenario, c.Account, c.Region, check}] = Answer{Check: check, Statuses: []string{"pass"}}
			}
		}
		return out
	}
	first := Question{"aws/kms-disable-key", "111122223333", "us-east-1", "surfaced"}
	second := Question{"aws/sts-break-glass", "444455556666", "eu-west-1", "surfaced"}
	answer := func(status, hop string, fields ...string) Answer {
		return Answer{Check: "surfaced", Statuses: []string{status}, Hop: hop, Fields: fields}
	}
	for _, tt := range []struct {
		claim, lines string
		first        Answer
		second       Answer
		findings     []Finding
		want         string // "" = as expected
	}{
		{"all as it must be", "aws/kms-* * * surfaced=fail hop=delivered", answer("fail", "delivered"), answer("pass", ""), nil, ""},
		{"a failure nobody expected", "aws/kms-* * * surfaced=fail hop=delivered", answer("fail", "delivered"), answer("fail", "delivered"), nil,
			"aws/sts-break-glass at 444455556666/eu-west-1: got surfaced=fail hop=delivered, want surfaced=pass"},
		{"an expected failure that is not reported", "aws/kms-* * * surfaced=fail hop=delivered", answer("pass", ""), answer("pass", ""), nil,
			"want surfaced=fail hop=delivered"},
		{"the wrong hop", "aws/kms-* * * surfaced=fail hop=delivered", answer("fail", "emitted"), answer("pass", ""), nil, "got surfaced=fail hop=emitted"},
		{"a hop nobody expected", "aws/kms-* * * surfaced=fail", answer("fail", "emitted"), answer("pass", ""), nil, "got surfaced=fail hop=emitted"},
		{"a field that is not named", "aws/kms-* * * surfaced=fail field=a field=b", answer("fail", "", "a"), answer("pass", ""), nil, "want surfaced=fail field=a field=b"},
		{"a field too many", "aws/kms-* * * surfaced=fail field=a", answer("fail", "", "a", "b"), answer("pass", ""), nil, "got surfaced=fail field=a field=b"},
		{"a field that may be named, and is", "aws/kms-* * * surfaced=fail field=a field=b?", answer("fail", "", "a", "b"), answer("pass", ""), nil, ""},
		{"a field that may be named, and is not", "aws/kms-* * * surfaced=fail field=a field=b?", answer("fail", "", "a"), answer("pass", ""), nil, ""},
		{"a line that speaks of nothing", "calls(rds:*) * * surfaced=fail", answer("pass", ""), answer("pass", ""), nil, "f.yaml:1: the line speaks of no canary: it cannot fail"},
		{"a line that another one hides", "aws/kms-* * * surfaced=late\n# expect: * * * surfaced=fail", answer("fail", ""), answer("fail", ""), nil, "f.yaml:1: no canary has surfaced=late"},
		{"the last line holds", "* * * surfaced=fail\n# expect: readonly() * * surfaced=late", answer("fail", ""), answer("late", ""), nil, ""},
		{"either of two, and both occur", "* * * surfaced=pass|fail", answer("fail", ""), answer("pass", ""), nil, ""},
		{"either of two, and one never occurs", "* * * surfaced=pass|fail", answer("pass", ""), answer("pass", ""), nil, "f.yaml:1: no canary has surfaced=fail"},
		{"a data event has no such hop", "* * * surfaced=fail hop=delivered", answer("fail", "delivered"), answer("fail", ""), nil, ""},
		{"a data event with such a hop", "* * * surfaced=fail hop=delivered", answer("fail", "delivered"), answer("fail", "delivered"), nil, "aws/sts-break-glass at 444455556666/eu-west-1: got surfaced=fail hop=delivered, want surfaced=fail"},
		{"no answer at all", "aws/kms-* * * surfaced=fail", answer("fail", ""), Answer{Check: "surfaced"}, nil, "aws/sts-break-glass"},
		{"a finding", "finding kms.*/DisableKey 1* us-east-1", answer("pass", ""), answer("pass", ""), []Finding{{Record: "kms.amazonaws.com/DisableKey", Account: "111122223333", Region: "us-east-1"}}, ""},
		{"a finding nobody expected", "* * * surfaced=pass", answer("pass", ""), answer("pass", ""), []Finding{{Record: "kms.amazonaws.com/DisableKey"}}, "finding kms.amazonaws.com/DisableKey at /: not expected"},
		{"a finding that is not reported", "finding kms.*/DisableKey * *", answer("pass", ""), answer("pass", ""), nil, "f.yaml:1: there is no such finding"},
	} {
		f, err := Parse("f.yaml", []byte("# expect: "+tt.lines+"\n"+noFaults))
		if err != nil {
			t.Fatal(err)
		}
		got := passed()
		got[first], got[second] = tt.first, tt.second
		wrong := strings.Join(f.Compare(catalogue, got, tt.findings), "\n")
		if tt.want == "" && wrong != "" || tt.want != "" && !strings.Contains(wrong, tt.want) {
			t.Errorf("%s: %q, want %q", tt.claim, wrong, tt.want)
		}
	}
}

func TestWhoPromisesNothingIsNotAlerted(t *testing.T) {
	f, err := Parse("f.yaml", []byte("# run: inject 1h alerts confirm\n# expect: * * * surfaced=pass\n"+noFaults))
	if err != nil {
		t.Fatal(err)
	}
	got := map[Question]Answer{}
	for i, c := range catalogue {
		for _, check := range f.Checks() {
			got[Question{c.Scenario, c.Account, c.Region, check}] = Answer{Check: check, Statuses: []string{"pass"}}
		}
		got[Question{c.Scenario, c.Account, c.Region, "alerted"}] = Answer{Check: "alerted", Statuses: []string{[]string{"pass", "not-run"}[i]}}
	}
	if wrong := f.Compare(catalogue, got, nil); len(wrong) > 0 {
		t.Error(wrong)
	}
	for i, status := range []string{"not-run", "pass"} { // the wrong way round
		c := catalogue[i]
		q := Question{c.Scenario, c.Account, c.Region, "alerted"}
		had := got[q]
		got[q] = Answer{Check: "alerted", Statuses: []string{status}}
		if wrong := f.Compare(catalogue, got, nil); len(wrong) != 1 {
			t.Errorf("%s with alerted=%s: %q", c.Scenario, status, wrong)
		}
		got[q] = had
	}
}
