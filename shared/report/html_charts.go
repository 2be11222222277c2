package report

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/auditcanary/auditcanary/shared/canary"
	"github.com/auditcanary/auditcanary/shared/coverage"
)

// What the page draws: the heat map, bars, the distribution of times, the trend.

// rect of a chart, in its view box, with what a pointer over it is told.
type rect struct {
	Class      string
	X, Y, W, H float64
	Label      string
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
	cell := func(account, category int) heatView { return h.Cells[account*len(h.Categories)+category].view(t.Wide) }
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

// view of a cell; a brief one has no room for all counts.
func (c HeatCell) view(brief bool) heatView {
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
	if brief {
		return v
	}
	if v.Counts != "" {
		v.Counts += " proven"
	}
	if n := c.Statuses[coverage.NeverTested]; n > 0 && c.State != HeatNeverTested {
		v.Counts += fmt.Sprintf("; %d never tested", n)
	}
	if failed := max(c.Statuses[coverage.Failed], c.Canaries[canary.Fail]+c.Canaries[canary.Late]); failed > 0 {
		v.Counts = strings.TrimSuffix(fmt.Sprintf("%d failed; %s", failed, v.Counts), "; ")
	}
	return v
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
			within, amount(len(h.Samples), "record", "records"), lasts(*h.PassSeconds), lasts(*cmp.Or(h.LateSeconds, h.PassSeconds)))
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

// trendChart is the series of runs, and its accounts.
type trendChart struct {
	Says, Alt string
	Width     float64
	Bars      []rect
	Share     int // of the page's width, percent: few runs are no walls
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
	t.Says = fmt.Sprintf("%s, from %s to %s. Each bar is one run, the oldest at the left, divided by what became of its canaries.", amount(len(r.Trend), "run", "runs"), when(first.At), when(last.At))
	if len(r.Trend) == 1 {
		t.Says = fmt.Sprintf("One run, of %s: no trend yet.", when(first.At))
	}
	shown := r.Trend[max(0, len(r.Trend)-maxBars):]
	if len(r.Trend) > len(shown) {
		t.Says += fmt.Sprintf(" The last %d are shown.", len(shown))
	}
	if len(shown) > 1 {
		t.Width, t.Share = 720, min(100, 4*len(shown))
		step := t.Width / float64(len(shown))
		for i, one := range shown {
			bars, words := stacked(one.Statuses, rect{X: float64(i) * step, Y: 10, W: max(step-3, 1), H: 100}, true)
			for j := range bars {
				bars[j].Label = one.Run + ": " + words
			}
			t.Bars = append(t.Bars, bars...)
		}
		t.Alt = fmt.Sprintf("%s; the first: %s; the last: %s", amount(len(shown), "run", "runs"), said(shown[0].Statuses), said(last.Statuses))
	}
	accounts := len(last.Accounts)
	if accounts == 0 {
		return t
	}
	columns := min(len(shown), 30, max(5, maxTrend/accounts))
	shown = slices.Clone(shown[len(shown)-columns:])
	slices.Reverse(shown) // the newest stands where one begins to read
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
