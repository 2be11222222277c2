package report

import (
	"bytes"
	"compress/gzip"
	"encoding/base64"
	"encoding/json"
	"math"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode"

	"github.com/auditcanary/auditcanary/shared/canary"
	"github.com/auditcanary/auditcanary/shared/coverage"
	"github.com/auditcanary/auditcanary/shared/run"
	"github.com/auditcanary/auditcanary/shared/trail"
)

// Browsers look at the page in tests/browser; here is what a reader of its text sees.

func pageOf(t testing.TB, r Report) string {
	t.Helper()
	var b bytes.Buffer
	if err := WriteHTML(&b, r); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func oneCanary(id string, status canary.Status) Canary {
	c := Canary{ID: id, Run: "r", Scenario: "aws/x", Account: "111122223333", Region: "us-east-1", Category: "permissions", CategoryTitle: "Permissions", Status: status, Latest: true, Judged: true}
	for _, check := range canary.Checks() {
		c.Checks = append(c.Checks, Check{Check: check, Required: true, Answer: canary.Answer{Status: status, Detail: "because"}})
	}
	return c
}

func TestThePageBeginsWithTheAnswer(t *testing.T) {
	controls := func(outcomes ...Outcome) (r Report) {
		r.Tally = Tally{Canaries: 4, Proven: 4, Controls: map[Outcome]int{}}
		for _, o := range outcomes {
			r.Controls = append(r.Controls, Control{Outcome: o})
			r.Tally.Controls[o]++
		}
		return r
	}
	with := func(r Report, change func(*Tally)) Report {
		change(&r.Tally)
		return r
	}
	for _, tt := range []struct {
		r           Report
		class, want string
	}{
		{Report{}, "unknown", "Nothing was tested in this period"},
		{controls(Proven, Proven), "pass", "Every check passed, for all of 2 requirements"},
		{controls(Proven, Failed), "fail", "Not proven: 1 of 2 requirements failed"},
		{controls(Proven, Inconclusive), "unknown", "Not decided: of 1 of 2 requirements it could not be found out"},
		{controls(Proven, Partly), "unknown", "Nothing that was tested failed; for 1 of 2 requirements every check passed"},
		{controls(Proven, NotTested), "unknown", "Nothing that was tested failed; for 1 of 2 requirements every check passed"},
		{controls(), "pass", "All of 4 canaries proven"},
		// What no requirement speaks of counts as well.
		{with(controls(Proven), func(t *Tally) { t.Late = 1 }), "fail", "Not proven: 1 of 4 canaries failed"},
		{with(controls(Proven), func(t *Tally) { t.Findings = 1 }), "fail", "Somebody imitates canaries"},
		{with(controls(Proven), func(t *Tally) { t.Inconclusive = 1 }), "unknown", "Nothing failed, and not everything could be found out"},
		{with(controls(), func(t *Tally) { t.Proven, t.NotRun = 3, 1 }), "unknown", "Nothing that was tested failed; 3 of 4 canaries proven"},
		// So does what is wrong beside the canaries.
		{withBroken(controls(Proven, Proven)), "fail", "The logs are not intact: 1 chain of digests is broken"},
		{withBroken(Report{}), "fail", "The logs are not intact: 1 chain of digests is broken"},
		{withBroken(controls(Proven, Failed)), "fail", "Not proven: 1 of 2 requirements failed"},
	} {
		if got := answerOf(tt.r); got.Headline != tt.want || got.Class != tt.class {
			t.Errorf("%s %q, want %s %q", got.Class, got.Headline, tt.class, tt.want)
		}
	}
}

func withBroken(r Report) Report {
	r.Protection.Chains = []Chain{{Chain: trail.Chain{Account: "a", Region: "x"}, Result: ChainBroken, Validations: 1}}
	return r
}

// TestChainsAreToldAsTheyAre: the broken one at the top and in its row, with what
// was found; the place that nobody validated; and that nobody ever validated any.
func TestChainsAreToldAsTheyAre(t *testing.T) {
	text := func(r Report) string {
		p := pageOf(t, r)
		return regexp.MustCompile(`<[^>]*>`).ReplaceAllString(p[strings.Index(p, "</style>"):], " ")
	}
	words := func(s string) string { return strings.Join(strings.Fields(s), " ") }
	got := words(text(example(t)))
	for _, want := range []string{
		"1 chain of digests is broken: log files or the digests that sign for them were changed, removed or not written, first at " + beta + " / us-east-1.",
		"as the ledger's validations left them: 1 intact, 1 broken, 0 not known, 1 place never validated.",
		beta + " / us-east-1 org-trail ✗ broken 2026-11-01 09:00 UTC to 2026-11-02 10:00 UTC 25 300 5 h validated 2026-11-02 10:30 UTC ✗ log-changed its SHA-256 is not the one that the digest lists s3://",
		gamma + " / us-east-1 – ? not known nothing – – – never validated no validation is in the ledger",
		alpha + " / us-east-1 org-trail ✓ intact 2026-11-01 09:00 UTC to 2026-11-02 10:00 UTC 25 300 5 h validated 2026-11-02 10:30 UTC nothing",
	} {
		if !strings.Contains(got, strings.ReplaceAll(want, "'", "&#39;")) {
			t.Errorf("the page does not say %q", want)
		}
	}
	in := exampleInput(t)
	in.State = run.NewState()
	if got := words(text(New(in))); strings.Count(got, "No chain of digests was ever validated") != 2 || !strings.Contains(got, "run auditcanary integrity") {
		t.Error("it is not said that no chain was ever validated")
	}
	in.Facts.Stores = []StoreFact{{Name: "audit", Type: "loki"}}
	if got := words(text(New(in))); strings.Count(got, "Nothing signs for what is in this log store") != 2 || strings.Contains(got, "auditcanary integrity") || strings.Contains(got, "s3:") || !strings.Contains(got, "audit loki none is demanded no digest") {
		t.Errorf("of a store without digests: %s", got)
	}
}

// TestAChainIsIntactOnlyIfItIsKnownToBe.
func TestAChainIsIntactOnlyIfItIsKnownToBe(t *testing.T) {
	chain, folder := trail.Chain{Trail: "t"}, trail.Chain{}
	finding := func(kind trail.FindingKind, status trail.Status, more int) []run.ChainFinding {
		return []run.ChainFinding{{Finding: trail.Finding{Kind: kind, Status: status}, More: more}}
	}
	for _, tt := range []struct {
		name string
		s    run.ChainState
		want ChainResult
	}{
		{"covered", run.ChainState{Chain: chain, First: day1, Last: day2}, ChainIntact},
		{"nothing is covered", run.ChainState{Chain: chain}, ChainUnknown},
		{"files beside the chains", run.ChainState{Chain: folder}, ChainIntact},
		{"no digests yet", run.ChainState{Chain: folder, Findings: finding(trail.NoDigests, trail.Pending, 0)}, ChainUnknown},
		{"files that are pending", run.ChainState{Chain: folder, Findings: finding(trail.LogUnreferenced, trail.Pending, 0)}, ChainIntact},
		{"unread", run.ChainState{Chain: chain, First: day1, Last: day2, Findings: finding(trail.LogUnread, trail.Inconclusive, 0)}, ChainUnknown},
		{"changed", run.ChainState{Chain: chain, First: day1, Last: day2, Findings: finding(trail.LogChanged, trail.Fail, 0)}, ChainBroken},
		{"only counted", run.ChainState{Chain: chain, First: day1, Last: day2, Findings: finding("", trail.Fail, 3)}, ChainBroken},
	} {
		if got := chainOf(tt.s, day2); got.Result != tt.want {
			t.Errorf("%s: %s, want %s", tt.name, got.Result, tt.want)
		}
	}
}

func TestWhatWasNeverTestedIsSaidInWords(t *testing.T) {
	r := Report{HeatMap: HeatMap{
		Accounts: []string{"a", "b"}, Categories: []Category{{"c", "Permissions"}},
		Cells: []HeatCell{
			{Account: "a", Category: "c", Cells: 5, Statuses: map[coverage.Status]int{coverage.Proven: 2, coverage.NeverTested: 3}, State: HeatPartly},
			{Account: "b", Category: "c", Cells: 5, Statuses: map[coverage.Status]int{coverage.NeverTested: 5}, State: HeatNeverTested},
		},
	}}
	r.Trend = []Trend{
		{Run: "1", Accounts: []TrendAccount{{Account: "a", Tested: true, Canaries: 2, Proven: 2, Statuses: map[canary.Status]int{canary.Pass: 2}}, {Account: "b"}}},
		{Run: "2", Accounts: []TrendAccount{{Account: "a"}, {Account: "b", Tested: true, Canaries: 1, Statuses: map[canary.Status]int{canary.Fail: 1}}}},
	}
	got := pageOf(t, r)
	for _, want := range []string{
		`<td class="part part-2"><b>◐ in part</b>2 of 5 proven; 3 never tested`, `<td class="never"><b>never tested</b>0 of 5 proven`,
		`<th scope="row">a</th><td class="never">not tested</td><td class="pass">✓ 2/2</td>`,
		`<th scope="row">b</th><td class="fail">✗ 0/1</td><td class="never">not tested</td>`,
	} {
		if !strings.Contains(got, want) {
			t.Errorf("the page does not say %s", want)
		}
	}
	// More accounts than fit beside each other go down.
	for range maxColumns {
		r.HeatMap.Accounts = append(r.HeatMap.Accounts, "more")
		r.HeatMap.Cells = append(r.HeatMap.Cells, HeatCell{State: HeatEmpty})
	}
	if h := heatOf(r); !h.Wide || len(h.Rows) != 2+maxColumns || h.Rows[1].Cells[0].Class != "never" {
		t.Errorf("%+v", h)
	}
	// A map that is not whole is not shown, rather than shown wrong.
	r.HeatMap.Cells = r.HeatMap.Cells[1:]
	if heatOf(r) != nil {
		t.Error("a map that lacks a cell is shown")
	}
}

func TestNothingIsDropped(t *testing.T) {
	var r Report
	for n := range maxRows + 50 {
		c := oneCanary(strings.Repeat("x", n+1), canary.Pass)
		if n == maxRows+30 {
			c.Status, c.Checks[1].Status = canary.Fail, canary.Fail
		}
		r.Canaries = append(r.Canaries, c)
	}
	p, err := newPage(r)
	if err != nil {
		t.Fatal(err)
	}
	if len(p.Rows) != maxRows || p.MoreRows != 50 || p.Rows[0].Tag.Word != "fail" {
		t.Errorf("%d rows and %d more, the first %s", len(p.Rows), p.MoreRows, p.Rows[0].Tag.Word)
	}
	ids := map[string]bool{}
	for _, text := range p.Chunks {
		var part []Canary
		unpack(t, text, &part)
		for _, c := range part {
			ids[c.ID] = true
		}
	}
	var index []indexed
	unpack(t, p.Index, &index)
	if len(ids) != len(r.Canaries) || len(index) != len(r.Canaries) || index[0].Status != canary.Fail {
		t.Errorf("%d canaries are unpacked, %d are listed, of %d", len(ids), len(index), len(r.Canaries))
	}
	// Answers: one that is no pass for each of all eight checks of 30 canaries.
	r.Canaries = nil
	for n := range 30 {
		r.Canaries = append(r.Canaries, oneCanary(strings.Repeat("y", n+1), canary.Inconclusive))
	}
	if p, err = newPage(r); err != nil || len(p.Failures) != maxFailures || p.MoreFailures != 30*8-maxFailures {
		t.Errorf("%d answers and %d more: %v", len(p.Failures), p.MoreFailures, err)
	}
}

func unpack(t *testing.T, text string, into any) {
	t.Helper()
	data, err := base64.RawURLEncoding.DecodeString(text)
	if err != nil {
		t.Fatal(err)
	}
	z, err := gzip.NewReader(bytes.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	if err := json.NewDecoder(z).Decode(into); err != nil {
		t.Fatal(err)
	}
}

func TestEqualReportsAreEqualPages(t *testing.T) {
	var r Report
	for _, id := range []string{"a", "b", "c", "d"} {
		r.Canaries = append(r.Canaries, oneCanary(id, canary.NotRun))
		r.Canaries[len(r.Canaries)-1].NotRun = "for reason " + id
	}
	first := pageOf(t, r)
	for range 20 {
		if pageOf(t, r) != first {
			t.Fatal("two pages of one report differ")
		}
	}
}

func TestLatencyIsDrawnAgainstTheObjective(t *testing.T) {
	s := func(f float64) *float64 { return &f }
	h := Hop{Name: "delivery", PassSeconds: s(900), LateSeconds: s(3600)}
	for _, v := range []float64{60, 120, 300, 1000, 5000, -5, math.NaN(), math.Inf(1)} {
		h.Samples = append(h.Samples, Sample{Seconds: v})
	}
	h.P95, h.Max = 5000, 5000
	p := h.plot()
	var classes []string
	for _, b := range p.Bars {
		classes = append(classes, b.Class)
		if b.X < 0 || b.X+b.W > 360 || b.Y < 0 || b.Y+b.H > 122.01 || b.H < 2 {
			t.Errorf("a bar stands outside: %+v", b)
		}
	}
	for _, want := range []string{"pass", "late", "fail"} {
		if !slices.Contains(classes, want) {
			t.Errorf("no bar is %s: %v", want, classes)
		}
	}
	if len(p.Marks) != 2 || p.Marks[0].Label != "objective 15 min" || p.Ticks[2].Label != "1 h 6 min and more" {
		t.Errorf("%+v %+v", p.Marks, p.Ticks)
	}
	if p := (Hop{Samples: []Sample{{}}}).plot(); len(p.Bars) != 1 || p.Objective != "none" {
		t.Errorf("a hop without a name, an objective or a time: %+v", p)
	}
}

func TestTimesAreForPeople(t *testing.T) {
	for seconds, want := range map[float64]string{
		0: "0 s", 0.0123: "12.3 ms", 5: "5 s", 59.9: "59.9 s", 60: "1 min", 90: "1 min 30 s", 900: "15 min", 3600: "1 h", 3660: "1 h 1 min", 8100: "2 h 15 min",
		math.Inf(1): "unknown", 1e300: "unknown", -90: "-1 min -30 s",
	} {
		if got := lasts(seconds); got != want {
			t.Errorf("%v: %q, want %q", seconds, got, want)
		}
	}
	if got := when(time.Date(2026, 11, 26, 13, 30, 59, 0, time.FixedZone("", 3600))); got != "2026-11-26 12:30 UTC" {
		t.Error(got)
	}
}

func TestTheSourcesHoldNothingInvisible(t *testing.T) {
	for name, text := range map[string]string{"html.html": pageHTML, "html.css": pageCSS, "html.js": pageJS} {
		if i := strings.IndexFunc(text, func(r rune) bool { return r != '\n' && unicode.In(r, unicode.C, unicode.Zl, unicode.Zp) }); i >= 0 {
			t.Errorf("%s: %q at byte %d", name, text[i:i+4], i)
		}
	}
	if strings.Contains(pageHTML, "style=") || regexp.MustCompile(`\son[a-z]+=`).MatchString(pageHTML) {
		t.Error("the template has a style or a handler within a tag, which the policy forbids")
	}
	if found := regexp.MustCompile(`innerHTML|outerHTML|insertAdjacent|document\.write|eval\(|Function\(|fetch\(|https?:`).FindString(pageJS + pageHTML); found != "" {
		t.Errorf("the page uses %s", found)
	}
}

// FuzzHTML: whatever a text holds, the page has the same tags as with any other.
func FuzzHTML(f *testing.F) {
	for _, seed := range []string{"plain", "</script><script>alert(1)</script>", `" onload="x`, "' x='", "<!--", "-->", "]]>", "\x00<b>", "\u202e", "`${x}`", "{{.}}", "\xff", "&lt;b&gt;", "javascript:x"} {
		f.Add(seed)
	}
	report := func(text string) Report {
		c := oneCanary(text, canary.Status(text))
		c.Scenario, c.Account, c.Region, c.CategoryTitle, c.NotRun = text, text, text, text, text
		c.Checks[0].Status, c.Checks[0].Detail, c.Checks[0].Evidence = canary.Fail, text, []canary.Clue{{Source: canary.Source(text), Found: text}}
		return Report{
			Version: text, Facts: Facts{Title: text, Organization: text, Owner: text, ControlsVersion: text, OutOfScope: []Exclusion{{text, text}}},
			Canaries: []Canary{c}, Controls: []Control{{ID: text, Title: text, Limits: text, Checks: []ControlCheck{{Check: canary.Check(text), Shows: text, DoesNotShow: text}}}},
			HeatMap:  HeatMap{Accounts: []string{text}, Categories: []Category{{text, text}}, Cells: []HeatCell{{State: HeatState(text)}}},
			Findings: []Finding{{EventID: text, Actor: text, At: canary.Location{Bucket: text, Key: text}}}, Latency: []Hop{{Name: text, Title: text, Samples: []Sample{{}}}},
			Protection: Protection{Sealed: []ProtectionGroup{{Detail: text}}, Chains: []Chain{{Chain: trail.Chain{Account: text, Region: text, Trail: text}, Validations: 1, Result: ChainBroken, Findings: []ChainFinding{{Finding: trail.Finding{Kind: trail.FindingKind(text), Status: trail.Fail, Object: text, Detail: text}}}}}}, Trend: []Trend{{Run: text, Accounts: []TrendAccount{{Account: text}}}},
			Absent: map[string]string{"alerts": text}, Exceptions: []Exception{{ID: text, Reason: text}}, Tally: Tally{Canaries: 1},
		}
	}
	// A tag's name, or an attribute's with all of its value, which may look like one.
	tags := regexp.MustCompile(`<[A-Za-z/!?][^\s>]*|\s[a-z-]+="[^"]*"`)
	shape := func(t testing.TB, text string) []string {
		page := pageOf(t, report(text))
		found := tags.FindAllString(page[strings.Index(page, "</style>"):strings.Index(page, `<script type="application/gzip"`)], -1)
		for i := range found {
			found[i], _, _ = strings.Cut(found[i], "=")
		}
		return found
	}
	want := shape(f, "x")
	f.Fuzz(func(t *testing.T, text string) {
		if strings.TrimSpace(text) == "" {
			t.Skip("what is empty is not shown at all")
		}
		if got := shape(t, text); !slices.Equal(got, want) {
			for i := range got {
				if i >= len(want) || got[i] != want[i] {
					t.Fatalf("%q: tag %d is %q", text, i, got[i])
				}
			}
			t.Fatalf("%q: %d tags instead of %d", text, len(got), len(want))
		}
	})
}
