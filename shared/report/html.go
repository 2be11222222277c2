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
	"math"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/auditcanary/auditcanary/shared/canary"
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
	t, err := template.New("html.html").Funcs(template.FuncMap{"tag": tagOf, "when": when, "object": placeOf, "sentence": sentence, "amount": amount[int], "seconds": func(s *float64) string { return lasts(*s) }}).Parse(pageHTML)
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
	Alerts        []Alert
	MoreAlerts    int
	AlertsSay     string
	AlertsWrong   bool // one did not ring in time
	Reasons       []reason
	LatencySays   string
	Plots         []plot
	Protection    []protectionRow
	ChainsSay     string
	Chains        []chainRow
	MoreChains    int
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
			{"answer", "Answer"}, {"coverage", "Coverage"}, {"failures", "Failures"}, {"latency", "Latency"},
			{"protection", "Integrity"}, {"people", "Alerts, reviews"}, {"trend", "Trend"}, {"controls", "Requirements"}, {"canaries", "Canaries"}, {"scope", "Scope"}, {"verify", "Verify"},
		},
		Answer: answerOf(r), Controls: controlRows(r), CoverageSays: coverageSays(r), Heat: heatOf(r), Gaps: gapRows(r),
		Way: wayOf(r), Reasons: reasons(r), Protection: protectionRows(r), Stores: storeRows(r), Trend: trendOf(r), Scope: scopeOf(r),
	}
	p.Alerts, p.MoreAlerts, p.AlertsSay = alertRows(r.Alerts)
	p.AlertsWrong = len(p.Alerts) > 0 && p.Alerts[0].Status != canary.Pass
	if r.Facts.Organization != "" {
		p.Title += ": " + r.Facts.Organization
	}
	p.Meta = append(p.Meta, [2]string{"Period", period(r)}, [2]string{"Drawn up", when(r.At)})
	if r.Ledger != nil {
		p.Meta = append(p.Meta, [2]string{"Ledger", fmt.Sprintf("%s, %s", r.Ledger.Origin, amount(r.Ledger.Size, "entry", "entries"))})
	}
	if r.Facts.Owner != "" {
		p.Meta = append(p.Meta, [2]string{"Owner", r.Facts.Owner})
	}
	p.LatencySays, p.Plots = latencyOf(r)
	p.ChainsSay = chainsSay(r)
	p.Chains, p.MoreChains = chainRows(r)
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

func amount[N int | int64](n N, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, many)
}

func placeOf(at canary.Location) string {
	if at.Bucket == "" {
		return at.Store
	}
	return at.Object()
}

// sentence begins with a capital letter.
func sentence(s string) string {
	r, n := utf8.DecodeRuneInString(s)
	return string(unicode.ToUpper(r)) + s[n:]
}
