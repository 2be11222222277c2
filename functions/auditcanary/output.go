package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"sync"
	"text/tabwriter"
	"time"
	"unicode"

	"github.com/auditcanary/auditcanary/shared/canary"
	"github.com/auditcanary/auditcanary/shared/run"
)

// printable keeps what came from outside from steering the terminal: control
// characters and the ones that reorder text are replaced. Newlines stay.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if r == '\n' || unicode.IsPrint(r) {
			return r
		}
		return '\uFFFD'
	}, s)
}

// oneLine is printable for what must not look like a line of its own.
func oneLine(s string) string { return strings.ReplaceAll(printable(s), "\n", "\uFFFD") }

func printJSON(w io.Writer, v any) error {
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	return enc.Encode(v)
}

// progress shows how far a step has come: one line that is rewritten on a
// terminal, plain lines otherwise.
type progress struct {
	mu       sync.Mutex
	out      *os.File
	terminal bool
	step     string
	last     time.Time
	width    int
}

func newProgress(out *os.File) *progress {
	st, err := out.Stat()
	return &progress{out: out, terminal: err == nil && st.Mode()&os.ModeCharDevice != 0}
}

func (p *progress) show(pr run.Progress) {
	p.mu.Lock()
	defer p.mu.Unlock()
	line := pr.Step
	if pr.Total > 0 {
		line += fmt.Sprintf(" %d/%d", pr.Done, pr.Total)
	}
	line = strings.ReplaceAll(printable(line+"  "+pr.Message), "\n", " ")
	finished := pr.Total > 0 && pr.Done == pr.Total
	if p.terminal {
		if r := []rune(line); len(r) > 110 {
			line = string(r[:109]) + "…"
		}
		fmt.Fprintf(p.out, "\r%-*s", p.width, line)
		p.width = len([]rune(line))
		if finished {
			fmt.Fprintln(p.out)
			p.width = 0
		}
		return
	}
	// Plain lines: the beginning and the end of a step, and a sign of life in between.
	now := time.Now()
	if finished || pr.Step != p.step || now.Sub(p.last) >= 5*time.Second {
		fmt.Fprintln(p.out, line)
		p.step, p.last = pr.Step, now
	}
}

// done ends a rewritten line.
func (p *progress) done() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.terminal && p.width > 0 {
		fmt.Fprintln(p.out)
		p.width = 0
	}
}

// cell is one check's answer in the table.
func cell(a canary.Answer) string {
	if a.Open {
		return "waiting"
	}
	switch a.Status {
	case canary.NotRun:
		return "-"
	case canary.Fail:
		return "FAIL"
	case canary.Late:
		return "LATE"
	case canary.Inconclusive:
		return "?"
	case canary.Excepted:
		return "EXCEPTED"
	}
	return string(a.Status)
}

// printTable shows scenarios x checks, then whatever is not proven, in words.
// Places in which a scenario gave the same answers share a row.
func printTable(w io.Writer, s run.Summary) {
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprint(tw, "SCENARIO\tPLACES")
	for _, c := range canary.Checks() {
		fmt.Fprint(tw, "\t", strings.ToUpper(string(c)))
	}
	fmt.Fprintln(tw, "\tARRIVED AFTER")
	for _, r := range rows(s.Canaries) {
		place := fmt.Sprintf("%d of %d", len(r.lines), r.of)
		if len(r.lines) == 1 {
			place = r.lines[0].Target + "/" + r.lines[0].Region
		}
		fmt.Fprintf(tw, "%s\t%s\t%s\t%s\n", printable(r.lines[0].Scenario), printable(place), r.cells, arrived(r.lines))
	}
	_ = tw.Flush()
	printRest(w, s)
}

// printRest is the table's end: what is not proven, and the sums.
func printRest(w io.Writer, s run.Summary) {
	printReasons(w, s)
	printFindings(w, s)
	fmt.Fprintln(w)
	fmt.Fprintln(w, tallyLine(s.Tally))
	if line := alertsLine(s.Tally); line != "" {
		fmt.Fprintln(w, line)
	}
	fmt.Fprintf(w, "Ledger %s holds %d entries, root %s.\n", printable(s.Checkpoint.Origin), s.Checkpoint.Size, s.Checkpoint.Root)
}

// row is the canaries of one scenario with the same answers.
type row struct {
	cells string // by tabs
	lines []run.Line
	of    int // canaries of the scenario
}

// rows keeps the order in which scenarios, and then answers, are met first.
func rows(lines []run.Line) []*row {
	var out []*row
	found, of := map[[2]string]*row{}, map[string]int{}
	for _, l := range lines {
		var cells []string
		for _, c := range canary.Checks() {
			cells = append(cells, cell(l.Checks[c]))
		}
		key := [2]string{l.Scenario, strings.Join(cells, "\t")}
		r := found[key]
		if r == nil {
			r = &row{cells: key[1]}
			found[key], out = r, append(out, r)
		}
		r.lines = append(r.lines, l)
		of[l.Scenario]++
	}
	for _, r := range out {
		r.of = of[r.lines[0].Scenario]
	}
	return out
}

// arrived says after how long the records came: "3m51s", or "3m51s to 6m30s".
func arrived(lines []run.Line) string {
	var least, most time.Duration
	n := 0
	for _, l := range lines {
		if lat := l.Checks[canary.Surfaced].LatencySeconds; lat != nil {
			d := time.Duration(*lat * float64(time.Second)).Round(time.Second)
			if n == 0 || d < least {
				least = d
			}
			most = max(most, d)
			n++
		}
	}
	switch {
	case n == 0:
		return "-"
	case least == most:
		return most.String()
	}
	return least.String() + " to " + most.String()
}

func printReasons(w io.Writer, s run.Summary) {
	for _, l := range s.Canaries {
		if l.Status == canary.Pass {
			continue
		}
		fmt.Fprintf(w, "\n%s at %s/%s (canary %s)\n", printable(l.Scenario), l.Target, l.Region, l.ID)
		for _, c := range canary.Checks() {
			a := l.Checks[c]
			if a.Status == canary.Pass {
				continue
			}
			if a.Status == canary.NotRun && !slices.Contains(canary.Required(), c) {
				continue // said once for all
			}
			if a.Status == canary.NotRun && !a.Open && (a.Step != "" || c != canary.Injected && l.Checks[canary.Injected].Status != canary.Pass) {
				continue // follows from what is said already: not done, or no record to judge
			}
			if by := a.Accepted; by != nil && by.Follows != "" {
				fmt.Fprintf(w, "  %-10s %s: follows from %s (exception %s)\n", c, cell(a), by.Follows, printable(by.ID))
				continue
			}
			fmt.Fprintf(w, "  %-10s %s", c, cell(a))
			if by := a.Accepted; by != nil {
				fmt.Fprintf(w, " by %s until %s (was %s)", printable(by.ID), printable(by.Until), by.Was)
			}
			if a.Hop != "" {
				fmt.Fprintf(w, ", hop %s", a.Hop)
			}
			if a.Step != "" {
				fmt.Fprintf(w, ", step %s", printable(a.Step))
			}
			fmt.Fprintf(w, ": %s\n", printable(a.Detail))
			if by := a.Accepted; by != nil {
				fmt.Fprintf(w, "             accepted by %s, owned by %s: %s\n", oneLine(by.Approver), oneLine(by.Owner), oneLine(by.Why))
			}
			for _, also := range a.Also {
				what := "and"
				if also.Step != "" {
					what += " step " + printable(also.Step)
				}
				fmt.Fprintf(w, "             %s %s: %s\n", what, also.Status, printable(also.Detail))
			}
			for _, f := range a.Fields[min(1, len(a.Fields)):] { // the first is in the detail
				fmt.Fprintf(w, "             %s: expected %q, found %q\n", printable(f.Field), f.Expected, f.Found)
			}
			for _, e := range a.Evidence {
				fmt.Fprintf(w, "             %s: %s", e.Source, printable(e.Found))
				if e.Object != "" {
					fmt.Fprintf(w, " (%s)", printable(e.Object))
				}
				fmt.Fprintln(w)
			}
		}
	}
	printNotRun(w, s)
}

// printNotRun says why checks that nobody demands yet were not run (shown as -), each
// reason once.
func printNotRun(w io.Writer, s run.Summary) {
	for _, c := range canary.Checks() {
		if slices.Contains(canary.Required(), c) || s.Tally.Checks[c][canary.NotRun] == 0 {
			continue
		}
		var why []string
		for _, l := range s.Canaries {
			a := l.Checks[c]
			if a.Status == canary.NotRun && len(l.Records) > 0 && !slices.Contains(why, a.Detail) {
				why = append(why, a.Detail)
			}
		}
		if len(why) == 0 {
			continue // there is no record yet to ask it of
		}
		// Where they differ it is in the time until which they wait: the latest.
		text := slices.Max(why)
		if reasons := unheard(s.Canaries); c == canary.Alerted && len(reasons) > 0 {
			text = strings.Join(reasons, "; ")
		}
		fmt.Fprintf(w, "\n%s is not run for %d canaries (shown as -): %s\n", c, s.Tally.Checks[c][canary.NotRun], printable(text))
	}
}

func printFindings(w io.Writer, s run.Summary) {
	if len(s.Findings) == 0 {
		return
	}
	fmt.Fprintln(w, "\nRecords that carry our marks and are not in the ledger (somebody imitates a canary, or a run lost its receipts):")
	for _, f := range s.Findings {
		fmt.Fprintf(w, "  event %s: %s by %s, request %s, in %s\n", printable(f.EventID), printable(f.Operation), printable(f.Actor), printable(f.RequestID), printable(f.At.Object()))
	}
}

func tallyLine(t run.Tally) string {
	line := fmt.Sprintf("%d of %d canaries proven", t.Proven, t.Canaries)
	for _, part := range []struct {
		n    int
		word string
	}{{t.Excepted, "excepted until " + printable(t.ExceptedUntil)}, {t.Failed, "failed"}, {t.Late, "late"}, {t.Inconclusive, "inconclusive"}, {t.NotRun, "not run or still awaited"}, {t.Findings, "forged markers"}} {
		if part.n > 0 {
			line += fmt.Sprintf(", %d %s", part.n, part.word)
		}
	}
	line += "."
	switch {
	case t.Protected == t.Canaries && t.Canaries > 0:
		line += " All sealed and immutable."
	case t.Protected > 0 || t.Unsealed > 0:
		line += fmt.Sprintf(" %d sealed and immutable", t.Protected)
		if t.Unsealed > 0 {
			line += fmt.Sprintf(", %d not sealed yet", t.Unsealed)
		}
		line += "."
	}
	return line
}

// alertsLine says how many canaries' alerts rang; "" where nobody listened.
func alertsLine(t run.Tally) string {
	counts := t.Checks[canary.Alerted]
	heard := 0
	for status, n := range counts {
		if status != canary.NotRun {
			heard += n
		}
	}
	if heard == 0 {
		return ""
	}
	line := fmt.Sprintf("The alerts of %d of %d canaries that promise one rang in time", counts[canary.Pass], heard)
	for _, part := range []struct {
		status canary.Status
		word   string
	}{{canary.Late, "late"}, {canary.Fail, "failed"}, {canary.Excepted, "excepted"}, {canary.Inconclusive, "inconclusive"}} {
		if n := counts[part.status]; n > 0 {
			line += fmt.Sprintf(", %d %s", n, part.word)
		}
	}
	return line + "."
}
