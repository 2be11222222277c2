package report

import (
	"bytes"
	"cmp"
	"compress/gzip"
	"crypto/sha256"
	_ "embed"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"html/template"
	"io"
	"maps"
	"math"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/auditcanary/auditcanary/shared/canary"
	"github.com/auditcanary/auditcanary/shared/coverage"
)

//go:embed html.html
var pageHTML string

//go:embed html.css
var pageCSS string

//go:embed html.js
var pageJS string

// How much of the page stands in it as HTML, so that it shows without scripts
// and prints; everything else is in the data blocks.
const (
	maxRows     = 200  // canaries
	maxFailures = 200  // answers
	maxGaps     = 25   // operations
	maxBars     = 120  // runs in the chart
	maxTrend    = 3000 // cells of accounts x runs
)

// chunk is how many canaries are unpacked at once when one is opened.
const chunk = 64

// WriteHTML writes the report as one self-contained page: what matters as plain
// HTML, each canary's evidence as compressed JSON that a script unpacks when
// somebody opens it. The page may run that script and no other, and load nothing.
func WriteHTML(w io.Writer, r Report) error {
	t, err := template.New("html.html").Funcs(template.FuncMap{"tag": tagOf, "when": when, "object": object, "sentence": sentence}).Parse(pageHTML)
	if err != nil {
		return fmt.Errorf("report page: %w", err)
	}
	p, err := newPage(r)
	if err != nil {
		return fmt.Errorf("report page: %w", err)
	}
	var b bytes.Buffer
	if err := t.Execute(&b, p); err != nil {
		return fmt.Errorf("report page: %w", err)
	}
	if _, err := io.WriteString(w, visible(b.String())); err != nil {
		return fmt.Errorf("report page: %w", err)
	}
	return nil
}

// visible writes characters that nobody sees as what they are (\u202e): they turn
// the order of letters around, or make two names look the same. The template, the
// style and the script hold none, so that all of them are from what is shown.
func visible(s string) string {
	hidden := func(r rune) bool {
		return unicode.In(r, unicode.Cc, unicode.Cf, unicode.Zl, unicode.Zp) && r != '\n' && r != '\t'
	}
	if strings.IndexFunc(s, hidden) < 0 {
		return s
	}
	var b strings.Builder
	for _, r := range s {
		if hidden(r) {
			fmt.Fprintf(&b, "\\u%04x", r)
		} else {
			b.WriteRune(r)
		}
	}
	return b.String()
}

// HTMLPolicy is the page's Content-Security-Policy. Style and script are allowed by
// their hashes; nothing is loaded, and no text can become markup or code.
func HTMLPolicy() string {
	return "default-src 'none'; style-src '" + hash(pageCSS) + "'; script-src '" + hash(pageJS) + "'; base-uri 'none'; form-action 'none'; require-trusted-types-for 'script'; trusted-types 'none'"
}

func hash(text string) string {
	sum := sha256.Sum256([]byte(text))
	return "sha256-" + base64.StdEncoding.EncodeToString(sum[:])
}

// page is what the template shows.
type page struct {
	R             Report
	Title, Policy string
	CSS           template.CSS
	JS            template.JS
	Meta, Nav     [][2]string
	Answer        answer
	Controls      []controlRow
	CoverageSays  string
	Heat          *heatTable
	Gaps          []gapRow
	FailuresSay   string
	Way           []stretch
	Failures      []failure
	MoreFailures  int
	Reasons       []reason
	LatencySays   string
	Plots         []plot
	Protection    []protectionRow
	Stores        []storeRow
	Trend         trendChart
	CheckNames    string
	Rows          []row
	MoreRows      int
	Scope         [][2]string
	// Index and Chunks are JSON, compressed, in base64 without padding.
	Index  string
	Chunks []string
	// Chunk is how many canaries are in one of them, Most how many are printed.
	Chunk, Most int
}

func newPage(r Report) (page, error) {
	p := page{
		R: r, Title: cmp.Or(r.Facts.Title, "Audit log evidence"), Policy: HTMLPolicy(), Chunk: chunk, Most: maxRows,
		CSS: template.CSS(pageCSS), JS: template.JS(pageJS),
		Nav: [][2]string{
			{"answer", "Answer"}, {"controls", "Controls"}, {"coverage", "Coverage"}, {"failures", "Failures"}, {"latency", "Latency"},
			{"protection", "Integrity"}, {"people", "Alerts, exceptions, reviews"}, {"trend", "Trend"}, {"canaries", "Canaries"}, {"scope", "Scope"}, {"verify", "Verify"},
		},
		Answer: answerOf(r), Controls: controlRows(r), CoverageSays: coverageSays(r), Heat: heatOf(r), Gaps: gapRows(r),
		Way: wayOf(r), Reasons: reasons(r), Protection: protectionRows(r), Stores: storeRows(r), Trend: trendOf(r), Scope: scopeOf(r),
	}
	if r.Facts.Organization != "" {
		p.Title += ": " + r.Facts.Organization
	}
	p.Meta = append(p.Meta, [2]string{"Period", period(r)}, [2]string{"Drawn up", when(r.At)})
	if r.Ledger != nil {
		p.Meta = append(p.Meta, [2]string{"Ledger", fmt.Sprintf("%s, %s", r.Ledger.Origin, counted(r.Ledger.Size, "entry", "entries"))})
	}
	if r.Facts.Owner != "" {
		p.Meta = append(p.Meta, [2]string{"Owner", r.Facts.Owner})
	}
	p.LatencySays, p.Plots = latencyOf(r)
	sorted := worstFirst(r.Canaries)
	var bad int
	for _, c := range sorted {
		for _, f := range failuresOf(c) {
			if bad++; bad <= maxFailures {
				p.Failures = append(p.Failures, f)
			}
		}
	}
	p.MoreFailures, p.FailuresSay = bad-len(p.Failures), failuresSay(r, bad)
	for _, check := range canary.Checks() {
		p.CheckNames += ", " + string(check)
	}
	p.CheckNames = p.CheckNames[len(", "):]
	for _, c := range sorted[:min(maxRows, len(sorted))] {
		p.Rows = append(p.Rows, rowOf(c))
	}
	p.MoreRows = len(sorted) - len(p.Rows)
	return p, p.pack(sorted)
}

// pack fills the data blocks. Base64 without padding, in the alphabet of URLs,
// holds no character that means anything in HTML.
func (p *page) pack(sorted []Canary) error {
	index := make([]indexed, 0, len(sorted))
	for _, c := range sorted {
		index = append(index, indexOf(c))
	}
	var err error
	if p.Index, err = packed(index); err != nil {
		return err
	}
	for part := range slices.Chunk(sorted, chunk) {
		text, err := packed(part)
		if err != nil {
			return err
		}
		p.Chunks = append(p.Chunks, text)
	}
	return nil
}

func packed(v any) (string, error) {
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	if err := json.NewEncoder(z).Encode(v); err != nil {
		return "", fmt.Errorf("encode: %w", err)
	}
	if err := z.Close(); err != nil {
		return "", fmt.Errorf("compress: %w", err)
	}
	return base64.RawURLEncoding.EncodeToString(b.Bytes()), nil
}

// indexed is what of a canary is listed, filtered and searched.
type indexed struct {
	ID       string        `json:"id"`
	Scenario string        `json:"scenario"`
	Account  string        `json:"account"`
	Region   string        `json:"region"`
	Category string        `json:"category"`
	Status   canary.Status `json:"status"`
	// Checks are the answers in the order of canary.Checks.
	Checks []canary.Status `json:"checks"`
	After  string          `json:"after"`
	// Text is what else a search finds it by.
	Text string `json:"text"`
}

func indexOf(c Canary) indexed {
	r := rowOf(c)
	x := indexed{ID: c.ID, Scenario: c.Scenario, Account: c.Account, Region: c.Region, Category: c.CategoryTitle, Status: c.Status, After: r.After}
	words := []string{c.Title, c.Category, string(c.Kind), c.NotRun, c.Blocked}
	for _, k := range c.Checks {
		x.Checks = append(x.Checks, k.Status)
		if k.Status != canary.Pass && k.Status != canary.NotRun {
			words = append(words, k.Detail, string(k.Hop))
		}
	}
	for _, st := range c.Steps {
		words = append(words, st.Operation)
		if st.Receipt != nil {
			words = append(words, st.Receipt.RequestIDs...)
		}
		for _, rec := range st.Records {
			words = append(words, rec.EventID, rec.At.Key)
			if rec.Event != nil {
				words = append(words, rec.Event.Actor.UID, rec.Event.SrcEndpoint.IP)
			}
		}
	}
	slices.Sort(words)
	x.Text = strings.TrimSpace(strings.Join(slices.Compact(words), " "))
	return x
}

// tag is a status as it is shown: by class (colour), sign and word.
type tag struct{ Class, Mark, Word string }

func tagOf(s canary.Status) tag {
	switch s {
	case canary.Pass:
		return tag{"pass", "✓", "pass"}
	case canary.Fail:
		return tag{"fail", "✗", "fail"}
	case canary.Late:
		return tag{"late", "!", "late"}
	case canary.Inconclusive:
		return tag{"unknown", "?", "inconclusive"}
	case canary.Excepted:
		return tag{"late", "E", "excepted"}
	}
	return tag{"none", "–", "not run"}
}

// badness orders statuses, the worst first.
var badness = []canary.Status{canary.Fail, canary.Late, canary.Inconclusive, canary.NotRun, canary.Excepted, canary.Pass}

func worstFirst(canaries []Canary) []Canary {
	out := slices.Clone(canaries)
	superseded := func(c Canary) int {
		if c.Latest {
			return 0
		}
		return 1
	}
	slices.SortStableFunc(out, func(a, b Canary) int {
		return cmp.Or(superseded(a)-superseded(b), slices.Index(badness, a.Status)-slices.Index(badness, b.Status),
			strings.Compare(a.Scenario, b.Scenario), strings.Compare(a.Account, b.Account), strings.Compare(a.Region, b.Region), b.At.Compare(a.At))
	})
	return out
}

// answer is the first thing the page says.
type answer struct {
	Class, Headline string
	Then            []string
	Bar             []rect
	Alt             string
	Tiles           []tile
}

type tile struct{ Class, Value, Label, Note string }

// rect of a chart, in its view box, with what a pointer over it is told.
type rect struct {
	Class      string
	X, Y, W, H float64
	Label      string
}

func answerOf(r Report) answer {
	a := answer{Class: "unknown"}
	n, all := r.Tally.Controls, len(r.Controls)
	switch t := r.Tally; {
	case t.Canaries == 0:
		a.Headline = "Nothing was tested in this period"
	case n[Failed] > 0:
		a.Class, a.Headline = "fail", fmt.Sprintf("Not proven: %d of %s failed", n[Failed], counted(all, "requirement", "requirements"))
	case t.Failed+t.Late > 0:
		a.Class, a.Headline = "fail", fmt.Sprintf("Not proven: %d of %s failed", t.Failed+t.Late, counted(t.Canaries, "canary", "canaries"))
	case t.Findings > 0:
		a.Class, a.Headline = "fail", "Somebody imitates canaries"
	case n[Inconclusive] > 0:
		a.Headline = fmt.Sprintf("Not decided: of %d of %s it could not be found out", n[Inconclusive], counted(all, "requirement", "requirements"))
	case t.Inconclusive > 0:
		a.Headline = "Nothing failed, and not everything could be found out"
	case all == 0 && t.Proven == t.Canaries:
		a.Class, a.Headline = "pass", fmt.Sprintf("All of %s proven", counted(t.Canaries, "canary", "canaries"))
	case all > 0 && n[Proven] == all:
		a.Class, a.Headline = "pass", fmt.Sprintf("Proven, as far as canaries can: all of %s", counted(all, "requirement", "requirements"))
	case all == 0:
		a.Headline = fmt.Sprintf("Nothing that was tested failed; %d of %s proven", t.Proven, counted(t.Canaries, "canary", "canaries"))
	default:
		a.Headline = fmt.Sprintf("Nothing that was tested failed; %d of %s proven", n[Proven], counted(all, "requirement", "requirements"))
	}
	var parts []string
	for _, o := range Outcomes() {
		if n[o] > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", n[o], o.words()))
		}
	}
	if len(parts) > 0 {
		a.Then = append(a.Then, "Requirements: "+strings.Join(parts, ", ")+".")
	}
	if t := r.Tally; t.Canaries > 0 {
		say := fmt.Sprintf("%d of %s proven: the action was really done, and its record was found in the log store, in time, saying what was done.", t.Proven, counted(t.Canaries, "canary", "canaries"))
		if t.Open > 0 {
			say += fmt.Sprintf(" Of %d something is still awaited.", t.Open)
		}
		a.Then = append(a.Then, say)
	}
	if r.Tally.Findings > 0 {
		a.Then = append(a.Then, fmt.Sprintf("%s a canary without being one.", counted(r.Tally.Findings, "record imitates", "records imitate")))
	}
	a.Bar, a.Alt = stacked(r.Tally.statuses(), rect{W: 1000, H: 10}, false)
	a.Alt = "Canaries: " + a.Alt
	t := r.Tally
	for _, x := range []struct {
		class, label, note string
		n                  int
		always             bool
	}{
		{"pass", "proven", "canaries whose required checks all passed", t.Proven, true},
		{"fail", "failed", "lost, changed, too late to count, or not undone", t.Failed, true},
		{"late", "late", "arrived after the objective", t.Late, false},
		{"unknown", "inconclusive", "could not be found out: never a pass", t.Inconclusive, true},
		{"none", "not run", "could not be done where planned", t.NotRun, true},
		{"late", "excepted", "approved, until a day, not to pass", t.Excepted, false},
		{"fail", "imitations", "records that carry our marks and are not ours", t.Findings, false},
	} {
		if x.always || x.n > 0 {
			class := x.class
			if x.n == 0 {
				class = "none"
			}
			a.Tiles = append(a.Tiles, tile{class, fmt.Sprint(x.n), x.label, x.note})
		}
	}
	if row := r.Coverage.Total; row.Cells > 0 {
		value := "–"
		if row.Percent != nil {
			value = fmt.Sprintf("%.1f%%", *row.Percent)
		}
		a.Tiles = append(a.Tiles, tile{"none", value, "coverage", fmt.Sprintf("%d proven of %d privileged operations x places", row.Statuses[coverage.Proven], row.Cells-row.Statuses[coverage.NotLoggable])})
	}
	return a
}

func (t Tally) statuses() map[canary.Status]int {
	return map[canary.Status]int{canary.Pass: t.Proven, canary.Fail: t.Failed, canary.Late: t.Late, canary.Inconclusive: t.Inconclusive, canary.NotRun: t.NotRun, canary.Excepted: t.Excepted}
}

// stacked draws counts beside each other (or, upwards, on each other) in a box.
func stacked(n map[canary.Status]int, box rect, upwards bool) ([]rect, string) {
	var all int
	for _, v := range n {
		all += v
	}
	var out []rect
	var words []string
	at := 0.0
	order := slices.Clone(badness)
	slices.Reverse(order)
	for _, s := range order {
		if n[s] == 0 {
			continue
		}
		t, share := tagOf(s), float64(n[s])/float64(all)
		one := rect{Class: t.Class, X: box.X + at*box.W, Y: box.Y, W: share * box.W, H: box.H, Label: fmt.Sprintf("%d %s", n[s], t.Word)}
		if upwards {
			one.X, one.W, one.Y, one.H = box.X, box.W, box.Y+box.H*(1-at-share), share*box.H
		}
		out, words, at = append(out, one.rounded()), append(words, one.Label), at+share
	}
	return out, strings.Join(words, ", ")
}

// rounded keeps the page from carrying digits nobody can see.
func (r rect) rounded() rect {
	r.X, r.Y, r.W, r.H = hundredth(r.X), hundredth(r.Y), hundredth(r.W), hundredth(r.H)
	return r
}

func hundredth(f float64) float64 { return math.Round(f*100) / 100 }

// words of an outcome.
func (o Outcome) words() string { return strings.ReplaceAll(string(o), "-", " ") }

func (o Outcome) tag() tag {
	t := map[Outcome]tag{Proven: {"pass", "✓", ""}, Failed: {"fail", "✗", ""}, Inconclusive: {"unknown", "?", ""}, Partly: {"late", "◐", ""}}[o]
	if t.Class == "" {
		t.Class, t.Mark = "none", "–"
	}
	t.Word = o.words()
	return t
}

type controlRow struct {
	ID, Title, Limits string
	Confirmed         bool
	Tag               tag
	Canaries          int
	Checks            []controlCheckRow
}

type controlCheckRow struct{ Name, Counts, Shows, DoesNotShow string }

// controlRows are the controls, the worst first.
func controlRows(r Report) []controlRow {
	var out []controlRow
	sorted := slices.Clone(r.Controls)
	slices.SortStableFunc(sorted, func(a, b Control) int {
		return slices.Index(Outcomes(), a.Outcome) - slices.Index(Outcomes(), b.Outcome)
	})
	for _, c := range sorted {
		one := controlRow{ID: c.ID, Title: c.Title, Limits: c.Limits, Confirmed: c.Confirmed, Tag: c.Outcome.tag(), Canaries: c.Canaries}
		for _, k := range c.Checks {
			one.Checks = append(one.Checks, controlCheckRow{string(k.Check), cmp.Or(said(k.Statuses), "not asked"), k.Shows, k.DoesNotShow})
		}
		out = append(out, one)
	}
	return out
}

// said says how many there are of each status, the worst first.
func said(n map[canary.Status]int) string {
	var parts []string
	for _, s := range badness {
		if n[s] > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", n[s], tagOf(s).Word))
		}
	}
	return strings.Join(parts, ", ")
}

func coverageSays(r Report) string {
	c := r.Coverage
	if c.Total.Cells == 0 {
		return "There is nothing to cover: no account is configured."
	}
	say := fmt.Sprintf("%s call privileged, in %s and %s: %d of %d that can be proven are.", counted(c.Operations, "operation that public rule sets", "operations that public rule sets"),
		counted(c.Accounts, "account", "accounts"), counted(c.Regions, "region", "regions"), c.Total.Statuses[coverage.Proven], c.Total.Cells-c.Total.Statuses[coverage.NotLoggable])
	if n := c.Total.AskedOnly; n > 0 {
		say += fmt.Sprintf(" %d of these only by attempts that were refused, or dry runs.", n)
	}
	if n := c.Total.Statuses[coverage.NeverTested]; n > 0 {
		say += fmt.Sprintf(" %d were never tested.", n)
	}
	if n := c.Total.Statuses[coverage.ByCategory]; n > 0 {
		say += fmt.Sprintf(" %d are sampled only: another operation of their category was proven there.", n)
	}
	return say
}

// heatTable is the heat map: what there is more of goes down, since a page is
// longer than wide.
type heatTable struct {
	Wide bool
	Head []string
	Rows []heatRow
	Key  [][2]string
}

type heatRow struct {
	Head  string
	Cells []heatView
}

type heatView struct {
	Class, Word, Counts string
	Share               float64 // percent proven
}

// maxColumns is how many accounts are columns; more are rows.
const maxColumns = 5

func heatOf(r Report) *heatTable {
	h := r.HeatMap
	if len(h.Accounts) == 0 || len(h.Categories) == 0 || len(h.Cells) != len(h.Accounts)*len(h.Categories) {
		return nil
	}
	t := &heatTable{Wide: len(h.Accounts) > maxColumns}
	// Cells stand account by account.
	cell := func(account, category int) heatView { return h.Cells[account*len(h.Categories)+category].view() }
	if t.Wide {
		t.Head = []string{"Account"}
		for _, c := range h.Categories {
			t.Head = append(t.Head, c.Title)
		}
		for a, account := range h.Accounts {
			one := heatRow{Head: account}
			for c := range h.Categories {
				one.Cells = append(one.Cells, cell(a, c))
			}
			t.Rows = append(t.Rows, one)
		}
	} else {
		t.Head = append([]string{"Category"}, h.Accounts...)
		for c, category := range h.Categories {
			one := heatRow{Head: category.Title}
			for a := range h.Accounts {
				one.Cells = append(one.Cells, cell(a, c))
			}
			t.Rows = append(t.Rows, one)
		}
	}
	there := map[HeatState]bool{}
	for _, c := range h.Cells {
		there[c.State] = true
	}
	for _, k := range heatWords {
		if there[k.state] {
			t.Key = append(t.Key, [2]string{k.word, k.means})
		}
	}
	return t
}

var heatWords = []struct {
	state              HeatState
	class, word, means string
}{
	{HeatFailed, "fail", "✗ failed", "something did not hold there"},
	{HeatInconclusive, "unknown", "? inconclusive", "something could not be found out"},
	{HeatProven, "pass", "✓ proven", "all that can be proven is"},
	{HeatPartly, "part", "◐ in part", "some operations are proven, and none failed"},
	{HeatStale, "late", "! stale", "proven, too long ago"},
	{HeatSampled, "sampled", "~ sampled", "another operation of the category was proven"},
	{HeatExcepted, "late", "E excepted", "approved not to be tested"},
	{HeatNotLoggable, "empty", "not provable", "no record of it could be proven to be ours"},
	{HeatNeverTested, "never", "never tested", "nothing is known"},
	{HeatEmpty, "empty", "nothing listed", "no rule set names an operation of the category"},
}

func (c HeatCell) view() heatView {
	v := heatView{Class: "never", Word: string(c.State)}
	for _, w := range heatWords {
		if w.state == c.State {
			v.Class, v.Word = w.class, w.word
		}
	}
	proven, provable := c.Statuses[coverage.Proven], c.Cells-c.Statuses[coverage.NotLoggable]
	if provable > 0 {
		v.Counts, v.Share = fmt.Sprintf("%d of %d", proven, provable), hundredth(100*float64(proven)/float64(provable))
	}
	if c.State == HeatPartly {
		v.Class += fmt.Sprintf(" part-%d", 1+int(v.Share/25))
	}
	if n := c.Statuses[coverage.NeverTested]; n > 0 && c.State != HeatNeverTested {
		v.Counts += fmt.Sprintf("; %d never tested", n)
	}
	if n := max(c.Statuses[coverage.Failed], c.Canaries[canary.Fail]+c.Canaries[canary.Late]); n > 0 {
		v.Counts = strings.TrimSuffix(fmt.Sprintf("%d failed; %s", n, v.Counts), "; ")
	}
	return v
}

type gapRow struct {
	Operation, Category, Counts string
	RuleSets                    int
}

func gapRows(r Report) []gapRow {
	titles := map[string]string{}
	for _, c := range r.Facts.Categories {
		titles[c.ID] = c.Title
	}
	var out []gapRow
	for _, g := range r.Coverage.Gaps[:min(maxGaps, len(r.Coverage.Gaps))] {
		var parts []string
		for _, s := range coverage.Statuses() {
			if g.Statuses[s] > 0 {
				parts = append(parts, fmt.Sprintf("%d %s", g.Statuses[s], strings.ReplaceAll(string(s), "-", " ")))
			}
		}
		out = append(out, gapRow{g.Operation, cmp.Or(titles[g.Category], g.Category), strings.Join(parts, ", "), g.RuleSets})
	}
	return out
}

// stretch of the way of a record.
type stretch struct {
	Title, Says string
	Lost        int
}

func wayOf(r Report) []stretch {
	lost := map[canary.Hop]int{}
	for _, l := range r.Losses {
		lost[l.Hop] += len(l.Canaries)
	}
	return []stretch{
		{"1. Emitted", "the service writes the record", lost[canary.Emitted]},
		{"2. Delivered", "trail and selectors bring it to the store", lost[canary.Delivered]},
		{"3. Stored", "the object it stands in can be had, and is kept", lost[canary.Stored]},
		{"4. Parsed", "what the object holds can be read", lost[canary.Parsed]},
		{"Nobody could tell", "where it was lost is not known; each says why", lost[""]},
	}
}

type failure struct {
	ID, Scenario, Account, Region string
	Superseded                    bool
	Tag                           tag
	Hop, Step, Detail             string
	Evidence                      []string
}

// failuresOf are a canary's answers that are no pass; what was not run is told elsewhere.
func failuresOf(c Canary) (out []failure) {
	for _, k := range c.Checks {
		if k.Status == canary.Pass || k.Status == canary.NotRun || k.Status == canary.Excepted {
			continue
		}
		f := failure{ID: c.ID, Scenario: c.Scenario, Account: c.Account, Region: c.Region, Superseded: !c.Latest, Tag: tagOf(k.Status), Hop: cmp.Or(string(k.Hop), "–"), Step: k.Step, Detail: k.Detail}
		f.Tag.Word = string(k.Check) + ": " + f.Tag.Word
		for _, e := range k.Evidence {
			f.Evidence = append(f.Evidence, string(e.Source)+": "+e.Found)
		}
		out = append(out, f)
	}
	return out
}

func failuresSay(r Report, answers int) string {
	switch t := r.Tally; {
	case t.Canaries == 0:
		return "Nothing was tested, so that nothing could fail."
	case answers == 0 && t.NotRun > 0:
		return fmt.Sprintf("Of what was tested nothing failed, was late or stayed inconclusive. %s not run.", counted(t.NotRun, "canary was", "canaries were"))
	case answers == 0:
		return "Nothing failed, was late or stayed inconclusive."
	}
	return fmt.Sprintf("%s no pass. A record passes the stretches below on its way; each counts the canaries whose record was lost or changed on it.", counted(answers, "answer is", "answers are"))
}

type reason struct {
	Reason string
	Count  int
}

// reasons say why canaries were not run.
func reasons(r Report) (out []reason) {
	n := map[string]int{}
	for _, c := range r.Canaries {
		if c.Status == canary.NotRun && c.Latest {
			n[cmp.Or(c.NotRun, c.Blocked, c.answer(canary.Injected).Detail, "no reason is known")]++
		}
	}
	for _, why := range slices.Sorted(maps.Keys(n)) {
		out = append(out, reason{why, n[why]})
	}
	slices.SortStableFunc(out, func(a, b reason) int { return b.Count - a.Count })
	return out
}

// plot is the distribution of one hop's times.
type plot struct {
	Title, Says, Alt string
	Bars             []rect
	Marks, Ticks     []mark
	N                int
	P50, P95, Max    string
	Objective        string
}

// mark on the time axis.
type mark struct {
	X      float64
	Label  string
	Anchor string
}

func latencyOf(r Report) (string, []plot) {
	var out []plot
	say := "Nothing was measured."
	for _, h := range r.Latency {
		if len(h.Samples) == 0 {
			continue
		}
		out = append(out, h.plot())
		if h.PassSeconds == nil {
			continue
		}
		var within int
		for _, s := range h.Samples {
			if s.Seconds <= *h.PassSeconds {
				within++
			}
		}
		say = fmt.Sprintf("%d of %s stood in the log store within the objective of %s, by the provider's own clocks; after %s a record counts as missing. What never arrived is no measurement, and is among the failures.",
			within, counted(len(h.Samples), "record", "records"), lasts(*h.PassSeconds), lasts(*cmp.Or(h.LateSeconds, h.PassSeconds)))
	}
	return say, out
}

// plot draws a histogram, 342 wide and 100 high, with the objective as a line.
func (h Hop) plot() plot {
	p := plot{Title: strings.ToUpper(h.Name[:min(1, len(h.Name))]) + h.Name[min(1, len(h.Name)):], Says: h.Title, N: len(h.Samples), P50: lasts(h.P50), P95: lasts(h.P95), Max: lasts(h.Max), Objective: "none"}
	end := min(h.Max, 3*h.P95)
	if h.PassSeconds != nil {
		p.Objective = "within " + lasts(*h.PassSeconds)
		end = max(end, *h.PassSeconds*1.1)
		if h.LateSeconds != nil {
			p.Objective += ", missing after " + lasts(*h.LateSeconds)
			end = min(end, *h.LateSeconds*1.1)
		}
	}
	if !(end > 0) {
		end = 1
	}
	const bins, left, width, base = 38, 9.0, 342.0, 122.0
	var n [bins]int
	most := 0
	for _, s := range h.Samples {
		i := min(bins-1, max(0, int(s.Seconds/end*bins)))
		n[i]++
		most = max(most, n[i])
	}
	for i, v := range n {
		if v == 0 {
			continue
		}
		from, to := float64(i)*end/bins, float64(i+1)*end/bins
		height := max(2, 100*float64(v)/float64(most))
		class := "pass"
		switch {
		case h.PassSeconds == nil:
			class = "none"
		case h.LateSeconds != nil && from >= *h.LateSeconds:
			class = "fail"
		case from >= *h.PassSeconds:
			class = "late"
		}
		label := fmt.Sprintf("%d from %s to %s", v, lasts(from), lasts(to))
		if i == bins-1 {
			label = fmt.Sprintf("%d from %s on", v, lasts(from))
		}
		p.Bars = append(p.Bars, rect{class, left + float64(i)*width/bins, base - height, width/bins - 1, height, label}.rounded())
	}
	if h.PassSeconds != nil && *h.PassSeconds <= end {
		p.Marks = append(p.Marks, markAt(left+*h.PassSeconds/end*width, "objective "+lasts(*h.PassSeconds)))
	}
	if h.LateSeconds != nil && *h.LateSeconds <= end {
		p.Marks = append(p.Marks, markAt(left+*h.LateSeconds/end*width, lasts(*h.LateSeconds)))
	}
	p.Ticks = []mark{markAt(left, "0"), markAt(left+width/2, lasts(end/2)), markAt(left+width, lasts(end))}
	if h.Max > end {
		p.Ticks[2].Label += " and more"
	}
	p.Alt = fmt.Sprintf("%s: %d measured, half within %s, 95%% within %s, the slowest %s; objective: %s", h.Title, p.N, p.P50, p.P95, p.Max, p.Objective)
	return p
}

func markAt(x float64, label string) mark {
	m := mark{X: hundredth(x), Label: label, Anchor: "middle"}
	switch {
	case x < 40:
		m.Anchor = "start"
	case x > 290:
		m.Anchor = "end"
	}
	return m
}

type protectionRow struct {
	Question string
	Tag      tag
	Count    int
	Detail   string
}

func protectionRows(r Report) (out []protectionRow) {
	add := func(question string, groups []ProtectionGroup) {
		for i, g := range groups {
			if i == maxGaps {
				out = append(out, protectionRow{question, tagOf(g.Status), 0, fmt.Sprintf("and %d more answers, with their canaries", len(groups)-i)})
				return
			}
			out = append(out, protectionRow{question, tagOf(g.Status), len(g.Canaries), g.Detail})
		}
	}
	add("sealed", r.Protection.Sealed)
	add("immutable", r.Protection.Immutable)
	return out
}

type storeRow struct{ Name, Where, Retention, Digested string }

func storeRows(r Report) (out []storeRow) {
	for _, s := range r.Facts.Stores {
		one := storeRow{Name: s.Name, Where: fmt.Sprintf("%s, s3://%s/%s in %s", s.Type, s.Bucket, s.Prefix, s.Region), Retention: "none is demanded", Digested: lasts(float64(s.DigestedSeconds))}
		if s.Mode != "" {
			one.Retention = fmt.Sprintf("%s for %s", s.Mode, counted(s.Days, "day", "days"))
		}
		out = append(out, one)
	}
	return out
}

// trendChart is the series of runs, and its accounts.
type trendChart struct {
	Says, Alt string
	Width     float64
	Bars      []rect
	Ticks     []mark
	Head      []string
	Rows      []heatRow
}

func trendOf(r Report) trendChart {
	var t trendChart
	if len(r.Trend) == 0 {
		t.Says = "There is no run in this period."
		return t
	}
	first, last := r.Trend[0], r.Trend[len(r.Trend)-1]
	t.Says = fmt.Sprintf("%s, from %s to %s. Each bar is one run, divided by what became of its canaries.", counted(len(r.Trend), "run", "runs"), when(first.At), when(last.At))
	if len(r.Trend) == 1 {
		t.Says = fmt.Sprintf("One run, of %s: no trend yet.", when(first.At))
	}
	shown := r.Trend[max(0, len(r.Trend)-maxBars):]
	if len(r.Trend) > len(shown) {
		t.Says += fmt.Sprintf(" The last %d are shown.", len(shown))
	}
	if len(shown) > 1 {
		// As wide as its bars, so that few runs do not become walls.
		t.Width = 720
		step := min(t.Width/float64(len(shown)), 48)
		for i, one := range shown {
			bars, words := stacked(one.Statuses, rect{X: float64(i) * step, Y: 10, W: max(step-3, 1), H: 100}, true)
			for j := range bars {
				bars[j].Label = one.Run + ": " + words
			}
			t.Bars = append(t.Bars, bars...)
		}
		t.Ticks = []mark{{0, day(shown[0].At), "start"}, {min(t.Width, float64(len(shown))*step), day(last.At), "end"}}
		t.Alt = fmt.Sprintf("%s; the first: %s; the last: %s", counted(len(shown), "run", "runs"), said(shown[0].Statuses), said(last.Statuses))
	}
	accounts := len(last.Accounts)
	if accounts == 0 {
		return t
	}
	columns := min(len(shown), 30, max(5, maxTrend/accounts))
	shown = shown[len(shown)-columns:]
	t.Head = []string{"Account"}
	for _, one := range shown {
		t.Head = append(t.Head, one.At.UTC().Format("01-02 15:04"))
	}
	for i := range accounts {
		one := heatRow{Head: last.Accounts[i].Account}
		for _, run := range shown {
			one.Cells = append(one.Cells, run.Accounts[i].view())
		}
		t.Rows = append(t.Rows, one)
	}
	return t
}

func (a TrendAccount) view() heatView {
	if !a.Tested {
		return heatView{Class: "never", Word: "not tested"}
	}
	v := heatView{Class: "none", Word: fmt.Sprintf("%d/%d", a.Proven, a.Canaries)}
	for _, s := range badness {
		if a.Statuses[s] > 0 && s != canary.NotRun {
			t := tagOf(s)
			v.Class, v.Word = t.Class, t.Mark+" "+v.Word
			break
		}
	}
	return v
}

// row of the list of canaries.
type row struct {
	ID, Scenario, Account, Region, Category string
	Tag                                     tag
	Spoken                                  string
	Checks                                  []checkView
	After                                   string
}

type checkView struct{ Class, Mark, Title string }

func rowOf(c Canary) row {
	r := row{ID: c.ID, Scenario: c.Scenario, Account: c.Account, Region: c.Region, Category: c.CategoryTitle, Tag: tagOf(c.Status), After: "–"}
	var spoken []string
	for _, k := range c.Checks {
		t := tagOf(k.Status)
		title := string(k.Check) + ": " + t.Word
		r.Checks, spoken = append(r.Checks, checkView{t.Class, t.Mark, title}), append(spoken, title)
	}
	r.Spoken = strings.Join(spoken, ", ")
	for _, check := range []canary.Check{canary.Timely, canary.Surfaced} {
		if s := c.answer(check).LatencySeconds; s != nil && r.After == "–" {
			r.After = lasts(*s)
		}
	}
	return r
}

// scopeOf says what was looked at, and what was left out.
func scopeOf(r Report) (out [][2]string) {
	f := r.Facts
	var places []string
	for _, t := range f.Targets[:min(maxRows, len(f.Targets))] {
		places = append(places, t.Account+" ("+strings.Join(t.Regions, ", ")+")")
	}
	add := func(name, value string) { out = append(out, [2]string{name, cmp.Or(value, "none")}) }
	add("Accounts", fmt.Sprintf("%d: %s", len(f.Targets), strings.Join(places, "; ")))
	add("Runs", fmt.Sprint(len(r.Runs)))
	add("Scenarios", fmt.Sprint(len(f.Scenarios)))
	add("Left out by the configuration", strings.Join(f.Excluded, ", "))
	add("Configuration", "SHA-256 "+f.ConfigHash)
	add("Catalogue", "SHA-256 "+f.CatalogueHash)
	return out
}

func period(r Report) string {
	p := r.Period
	switch {
	case p.Run != "":
		return "run " + p.Run
	case p.From.IsZero() && p.To.IsZero() && len(r.Runs) > 0:
		return "all runs, " + day(r.Runs[0].At) + " to " + day(r.Runs[len(r.Runs)-1].At)
	case p.From.IsZero() && p.To.IsZero():
		return "everything"
	case p.From.IsZero():
		return "before " + when(p.To)
	case p.To.IsZero():
		return "from " + when(p.From) + " on"
	}
	return "from " + when(p.From) + " to before " + when(p.To)
}

func when(t time.Time) string {
	if t.IsZero() {
		return "–"
	}
	return t.UTC().Format("2006-01-02 15:04 UTC")
}

func day(t time.Time) string { return t.UTC().Format("2006-01-02") }

// lasts is a length of time for people.
func lasts(seconds float64) string {
	switch {
	case math.IsNaN(seconds) || math.IsInf(seconds, 0) || math.Abs(seconds) > 1e9:
		return "unknown"
	case seconds == 0:
		return "0 s"
	case math.Abs(seconds) < 1:
		return fmt.Sprintf("%.3g ms", seconds*1000)
	case math.Abs(seconds) < 60:
		return fmt.Sprintf("%.3g s", seconds)
	}
	d := time.Duration(math.Round(seconds)) * time.Second
	h, m, s := int(d.Hours()), int(d.Minutes())%60, int(d.Seconds())%60
	switch {
	case h == 0 && s == 0:
		return fmt.Sprintf("%d min", m)
	case h == 0:
		return fmt.Sprintf("%d min %d s", m, s)
	case m == 0:
		return fmt.Sprintf("%d h", h)
	}
	return fmt.Sprintf("%d h %d min", h, m)
}

func counted[N int | int64](n N, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, many)
}

func object(at canary.Location) string {
	if at.Bucket == "" {
		return at.Store
	}
	return "s3://" + at.Bucket + "/" + at.Key
}

// sentence begins with a capital letter.
func sentence(s string) string {
	r, n := utf8.DecodeRuneInString(s)
	return string(unicode.ToUpper(r)) + s[n:]
}
