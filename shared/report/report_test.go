package report

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/auditcanary/auditcanary/shared/canary"
	"github.com/auditcanary/auditcanary/shared/coverage"
	"github.com/auditcanary/auditcanary/shared/run"
)

var update = flag.Bool("update", false, "write the golden files anew")

// golden compares got with a file of testdata, or writes it with -update.
func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	file := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(file, got, 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("%s differs; if that is meant, run `go test ./shared/report -update` and look at the change", file)
	}
}

func render(t *testing.T, format string, r Report) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := Renderers()[format](&b, r); err != nil {
		t.Fatalf("%s: %v", format, err)
	}
	return b.Bytes()
}

func TestFormatsAsReviewed(t *testing.T) {
	r := example(t)
	for _, format := range []string{"asff", "csv", "json", "junit", "ocsf", "oscal"} {
		golden(t, "example."+format, render(t, format, r))
	}
}

func TestEqualLedgersGiveEqualBytes(t *testing.T) {
	a, b := example(t), example(t)
	for format := range Renderers() {
		if !bytes.Equal(render(t, format, a), render(t, format, b)) {
			t.Errorf("%s: two renderings of the same ledger differ", format)
		}
	}
}

func TestTheAnswerFirst(t *testing.T) {
	r := example(t)
	if got, want := []int{r.Tally.Canaries, r.Tally.Proven, r.Tally.Failed, r.Tally.Inconclusive, r.Tally.NotRun, r.Tally.Findings}, []int{7, 2, 3, 1, 1, 1}; !slices.Equal(got, want) {
		t.Errorf("canaries, proven, failed, inconclusive, not run, findings: %v, want %v", got, want)
	}
	if n := len(r.Runs); n != 2 {
		t.Fatalf("%d runs, want 2", n)
	}
	if got := r.Runs[1].Statuses; !reflect.DeepEqual(got, map[canary.Status]int{canary.Fail: 1, canary.Pass: 1, canary.Inconclusive: 1, canary.NotRun: 1}) {
		t.Errorf("the second run: %v", got)
	}
}

// TestOnlyTheLatestAnswerSpeaks: what failed and then passed is proven, what was
// merely not run since keeps its answer.
func TestOnlyTheLatestAnswerSpeaks(t *testing.T) {
	latest := map[string]canary.Status{}
	for _, c := range example(t).Latest() {
		latest[c.Scenario+" "+c.Account] = c.Status
	}
	want := map[string]canary.Status{
		"aws/iam-role " + alpha: canary.Fail, "aws/stop-logging-denied " + alpha: canary.Pass,
		"aws/open-port " + alpha: canary.Inconclusive, "aws/open-port " + beta: canary.Fail, "aws/open-port " + gamma: canary.NotRun,
	}
	if !reflect.DeepEqual(latest, want) {
		t.Errorf("latest answers: %v, want %v", latest, want)
	}
	cs := []Canary{
		{Scenario: "s", Status: canary.Pass}, {Scenario: "s", Status: canary.NotRun}, // e.g. still awaited
		{Scenario: "z", Status: canary.NotRun}, {Scenario: "z", Status: canary.Fail},
	}
	markLatest(cs)
	for i, want := range []bool{true, false, false, true} {
		if cs[i].Latest != want {
			t.Errorf("canary %d: latest is %v", i, cs[i].Latest)
		}
	}
}

func control(t *testing.T, r Report, id string) Control {
	t.Helper()
	i := slices.IndexFunc(r.Controls, func(c Control) bool { return c.ID == id })
	if i < 0 {
		t.Fatalf("control %s is not in the report", id)
	}
	return r.Controls[i]
}

func TestControlsAreProvenByNothingButPasses(t *testing.T) {
	r := example(t)
	for id, want := range map[string]Outcome{
		"iso27017:2015/12.4.3":   Failed, // the wrong address
		"iso27017:2015/12.4.2":   Partly, // the attempt was refused; sealed and immutable: nobody looked
		"iso27017:2015/12.4.4":   Partly, // the address is wrong, the time is not; two had no record
		"pci-dss:4.0.1/10.2.1.6": Proven, // only those that name it: the stopped trail, which arrived at last
		"cis-aws:3.0.0/3.2":      Partly, // one record is sealed, nobody looked at the others
	} {
		if got := control(t, r, id).Outcome; got != want {
			t.Errorf("%s is %s, want %s: %+v", id, got, want, control(t, r, id).Checks)
		}
	}
	for _, tc := range []struct {
		n    map[canary.Status]int
		want Outcome
	}{
		{nil, NotTested},
		{map[canary.Status]int{canary.Pass: 1}, Proven},
		{map[canary.Status]int{canary.Pass: 9, canary.Late: 1}, Failed},
		{map[canary.Status]int{canary.Pass: 9, canary.Fail: 1, canary.Inconclusive: 1}, Failed},
		{map[canary.Status]int{canary.Pass: 9, canary.Inconclusive: 1}, Inconclusive},
		{map[canary.Status]int{canary.Pass: 9, canary.NotRun: 1}, Partly},
		{map[canary.Status]int{canary.Pass: 9, canary.Excepted: 1}, Partly},
		{map[canary.Status]int{canary.NotRun: 3, canary.Excepted: 1}, NotTested},
	} {
		if got := outcome(tc.n); got != tc.want {
			t.Errorf("outcome of %v is %s, want %s", tc.n, got, tc.want)
		}
	}
}

// TestAStaleProofDoesNotProveForEver: a pass counts for as long as the coverage
// says, and only while what was asked again since was done.
func TestAStaleProofDoesNotProveForEver(t *testing.T) {
	const id = "pci-dss:4.0.1/10.2.1.6"
	stopped := doing{scenario: 1, account: alpha}
	refused := doing{scenario: 1, account: alpha, notRun: "role is gone"}
	elsewhere := doing{scenario: 1, account: beta, notRun: "role is gone"}
	day := 24 * time.Hour
	for _, tc := range []struct {
		claim   string
		later   []doing // a run each, a day apart
		awaited bool    // the last run's canary is begun, and its record awaited
		after   time.Duration
		maxAge  time.Duration // 0 = nothing was measured
		want    Outcome
		says    string
	}{
		{"it is young enough", nil, false, 34 * day, 35 * day, Proven, ""},
		{"it is exactly as old as is allowed", nil, false, 35 * day, 35 * day, Proven, ""},
		{"it is too old", nil, false, 36 * day, 35 * day, Partly, "audit logs outside the cloud's control plane; out of date: aws/stop-logging-denied at 111122223333/us-east-1 of 2026-11-01 is older than the 35 days for which a proof counts"},
		{"it is too old, and nothing was measured", nil, false, 36 * day, 0, Partly, "older than the 35 days"},
		{"a proof counts for half a day", nil, false, day, day / 2, Partly, "older than the 0.5 days"},
		{"it was not run since", []doing{refused, refused}, false, 3 * day, 35 * day, Partly, "audit logs outside the cloud's control plane; out of date: aws/stop-logging-denied at 111122223333/us-east-1 of 2026-11-01 was not run when it was asked again, last on 2026-11-03 (role is gone)"},
		{"it was not run since, and then it was", []doing{refused, stopped}, false, 3 * day, 35 * day, Proven, ""},
		{"another record is awaited", nil, true, 3 * day, 35 * day, Proven, ""},
		{"it failed since", []doing{{scenario: 1, account: alpha, lost: "stop"}}, false, 60 * day, 35 * day, Failed, ""},
		{"it could not begin since", []doing{{scenario: 1, account: alpha, blocked: "AccessDenied"}}, false, 3 * day, 35 * day, NotTested, ""},
		{"it was never run elsewhere", []doing{elsewhere}, false, 3 * day, 35 * day, Partly, ""},
	} {
		t.Run(tc.claim, func(t *testing.T) {
			in := exampleInput(t)
			j := &journal{t: t, state: run.NewState(), at: day1}
			j.run("20261101-aaaaaa", stopped)
			for n, d := range tc.later {
				j.at = day1.Add(time.Duration(n+1) * day)
				j.run(fmt.Sprintf("2026110%d-bbbbbb", n+2), d)
			}
			in.State, in.Now = j.state, day1.Add(tc.after)
			in.Coverage = coverage.Report{}
			if tc.maxAge > 0 {
				in.Coverage = coverage.Report{At: in.Now, MaxAgeSeconds: int64(tc.maxAge / time.Second)}
			}
			r := New(in)
			if tc.awaited {
				open := r.Canaries[0]
				open.ID, open.Status, open.Open, open.Latest = "20261103-cccccc-01", canary.NotRun, true, false
				b := builder{in: in}
				r.Canaries = append(r.Canaries, open)
				markLatest(r.Canaries)
				r.Controls = b.controls(r.Canaries)
			}
			c := control(t, r, id)
			if c.Outcome != tc.want || tc.says == "" && strings.Contains(c.Limits, "out of date") || !strings.Contains(c.Limits, tc.says) {
				t.Errorf("%s, %q, want %s, %q", c.Outcome, c.Limits, tc.want, tc.says)
			}
			if tc.says != "" && !bytes.Contains(render(t, "html", r), []byte("out of date: aws/stop-logging-denied")) {
				t.Error("a reader of the page is not told why")
			}
		})
	}
	if got := outOfDate([]string{"a", "b", "c", "d", "e"}); got != "out of date: a; b; c; and 2 more" {
		t.Error(got)
	}
}

// TestAccountsThatARunDidNotTestAreGaps: they are in every run, and not tested.
func TestAccountsThatARunDidNotTestAreGaps(t *testing.T) {
	var got []string
	for _, run := range example(t).Trend {
		for _, a := range run.Accounts {
			got = append(got, map[bool]string{true: "tested ", false: "gap "}[a.Tested]+a.Account)
		}
	}
	want := []string{"tested " + alpha, "tested " + beta, "gap " + gamma, "tested " + alpha, "gap " + beta, "gap " + gamma}
	if !slices.Equal(got, want) {
		t.Errorf("got %q\nwant %q", got, want)
	}
}

func TestTheHeatMapShowsWhatNobodyTested(t *testing.T) {
	r := example(t)
	got := map[string]HeatState{}
	for _, c := range r.HeatMap.Cells {
		got[c.Account+" "+c.Category] = c.State
	}
	for cell, want := range map[string]HeatState{
		alpha + " permissions": HeatFailed, alpha + " logging-disabled": HeatProven, alpha + " network-rules": HeatInconclusive,
		alpha + " encryption-keys": HeatNeverTested, alpha + " saas": HeatEmpty,
		beta + " network-rules":     HeatFailed, // its canary left something; the coverage has no verdict of it
		gamma + " logging-disabled": HeatNeverTested, gamma + " network-rules": HeatNeverTested,
	} {
		if got[cell] != want {
			t.Errorf("%s is %q, want %q", cell, got[cell], want)
		}
	}
	if n := len(r.HeatMap.Accounts) * len(r.HeatMap.Categories); n != len(r.HeatMap.Cells) {
		t.Errorf("%d cells, want %d", len(r.HeatMap.Cells), n)
	}
	for _, tc := range []struct {
		statuses map[coverage.Status]int
		want     HeatState
	}{
		{map[coverage.Status]int{coverage.Proven: 2}, HeatProven},
		{map[coverage.Status]int{coverage.Proven: 2, coverage.NotLoggable: 1}, HeatProven},
		{map[coverage.Status]int{coverage.Proven: 2, coverage.NeverTested: 1}, HeatPartly},
		{map[coverage.Status]int{coverage.Proven: 2, coverage.Stale: 1}, HeatPartly},
		{map[coverage.Status]int{coverage.Proven: 2, coverage.ByCategory: 1}, HeatPartly},
		{map[coverage.Status]int{coverage.Stale: 1, coverage.NeverTested: 1}, HeatStale},
		{map[coverage.Status]int{coverage.ByCategory: 2}, HeatSampled},
		{map[coverage.Status]int{coverage.Excepted: 2}, HeatExcepted},
		{map[coverage.Status]int{coverage.Excepted: 2, coverage.NeverTested: 1}, HeatNeverTested},
		{map[coverage.Status]int{coverage.NotLoggable: 2}, HeatNotLoggable},
		{map[coverage.Status]int{coverage.Proven: 9, coverage.Inconclusive: 1}, HeatInconclusive},
		{map[coverage.Status]int{coverage.Proven: 9, coverage.Inconclusive: 1, coverage.Failed: 1}, HeatFailed},
		{nil, HeatEmpty},
	} {
		n := 0
		for _, k := range tc.statuses {
			n += k
		}
		if got := heat(HeatCell{Cells: n, Statuses: tc.statuses}); got != tc.want {
			t.Errorf("%v is %s, want %s", tc.statuses, got, tc.want)
		}
	}
}

// TestGroundTruthBesideTheRecord: each field of the receipt, with what the record
// says of it; what differs is what the verdict says differs.
func TestGroundTruthBesideTheRecord(t *testing.T) {
	r := example(t)
	i := slices.IndexFunc(r.Canaries, func(c Canary) bool { return c.ID == "20261102-bbbbbb-01" })
	c := r.Canaries[i]
	if len(c.Steps) != 2 || len(c.Steps[0].Records) != 1 || c.Steps[0].Receipt == nil || len(c.Steps[0].Undo) != 1 {
		t.Fatalf("steps: %+v", c.Steps)
	}
	states := map[string]FieldState{}
	for _, f := range c.Steps[0].Records[0].Fields {
		states[f.Name] = f.State
	}
	for name, want := range map[string]FieldState{
		"src_endpoint.ip": Differs, "actor.uid": Same, "api.request.RoleName": Same, "actor.session.is_mfa": NotCompared, "time": Same, "api.error": Same,
	} {
		if states[name] != want {
			t.Errorf("field %s is %q, want %q", name, states[name], want)
		}
	}
	for _, f := range c.answer(canary.Attributed).Fields {
		if states[f.Field] != Differs {
			t.Errorf("the verdict says that %s differs, the fields say %q", f.Field, states[f.Field])
		}
	}
	if rec := c.Steps[0].Records[0]; rec.Raw == "" || rec.Event == nil || rec.EventID != "event-20261102-bbbbbb-01-0" {
		t.Errorf("record: %+v", rec)
	}
}

func TestLatencyIsOfEachHop(t *testing.T) {
	var names []string
	for _, h := range example(t).Latency {
		names = append(names, h.Name)
		switch h.Name {
		case "call":
			if len(h.Samples) != 7 || h.Max != 0.08 || h.PassSeconds != nil {
				t.Errorf("call: %+v", h)
			}
		case "delivery":
			if len(h.Samples) != 6 || h.P50 != 300 || h.P95 != 300 || *h.PassSeconds != 900 {
				t.Errorf("delivery: %+v", h)
			}
		case "digest":
			// The digest's name says ten o'clock, the records came at five past nine.
			if len(h.Samples) == 0 || h.Max != 55*60 || h.PassSeconds != nil {
				t.Errorf("digest: %+v", h)
			}
		case "noticed":
			if len(h.Samples) != 6 || h.P50 != 6900 {
				t.Errorf("noticed: %+v", h)
			}
		}
	}
	if got := strings.Join(names, " "); got != "call delivery noticed digest" {
		t.Errorf("hops %s", got)
	}
	h := Hop{}
	for i := range 100 {
		h.Samples = append(h.Samples, Sample{Seconds: float64(100 - i)})
	}
	if h = h.figures(); h.P50 != 50 || h.P95 != 95 || h.Max != 100 {
		t.Errorf("percentiles of 1 to 100: %v %v %v", h.P50, h.P95, h.Max)
	}
}

func TestWhereItWasLostAndWhatWasLeft(t *testing.T) {
	r := example(t)
	var hops []string
	for _, l := range r.Losses {
		hops = append(hops, string(l.Hop))
		if len(l.Canaries) == 0 {
			t.Errorf("hop %q has no canaries", l.Hop)
		}
	}
	if !slices.Contains(hops, "") {
		t.Errorf("hops %q: the event history was not asked, so that the hop is unknown", hops)
	}
	if len(r.Leftovers) != 1 || r.Leftovers[0].What != "iam role auditcanary-left" || r.Leftovers[0].Account != beta {
		t.Errorf("leftovers: %+v", r.Leftovers)
	}
	for _, name := range []string{"alerts", "exceptions", "reviews", "tickets"} {
		if r.Absent[name] == "" {
			t.Errorf("nothing says that there are no %s", name)
		}
	}
}

func TestAPeriodHasNothingOfBeforeOrAfter(t *testing.T) {
	in := exampleInput(t)
	in.Period = Period{From: day1, To: day1.AddDate(0, 0, 1)}
	if r := New(in); len(r.Runs) != 1 || len(r.Canaries) != 3 || len(r.Findings) != 0 || len(r.Trend) != 1 {
		t.Errorf("first day: %d runs, %d canaries, %d findings", len(r.Runs), len(r.Canaries), len(r.Findings))
	}
	in.Period = Period{Run: "20261102-bbbbbb"}
	if r := New(in); len(r.Runs) != 1 || len(r.Canaries) != 4 || len(r.Findings) != 1 {
		t.Errorf("second run: %d runs, %d canaries", len(r.Runs), len(r.Canaries))
	}
	in.Period = Period{From: day2.AddDate(0, 0, 1)}
	r := New(in)
	if len(r.Runs)+len(r.Canaries) != 0 || control(t, r, "iso27017:2015/12.4.3").Outcome != NotTested {
		t.Error("a period in which nothing was tested proves something")
	}
	for format := range Renderers() {
		if len(render(t, format, r)) == 0 && format != "ocsf" { // no line is no event
			t.Errorf("%s: nothing is written of a period without runs", format)
		}
	}
}
