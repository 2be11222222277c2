package report

import (
	"bytes"
	"flag"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"testing"

	"github.com/auditcanary/auditcanary/shared/canary"
	"github.com/auditcanary/auditcanary/shared/coverage"
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
	for _, h := range example(t).Latency {
		switch h.Name {
		case "call":
			if len(h.Samples) != 7 || h.Max != 0.08 || h.PassSeconds != nil {
				t.Errorf("call: %+v", h)
			}
		case "delivery":
			if len(h.Samples) != 6 || h.P50 != 300 || h.P95 != 300 || *h.PassSeconds != 900 {
				t.Errorf("delivery: %+v", h)
			}
		case "noticed":
			if len(h.Samples) != 6 || h.P50 != 6900 {
				t.Errorf("noticed: %+v", h)
			}
		}
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
