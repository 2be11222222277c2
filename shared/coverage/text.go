package coverage

import (
	"cmp"
	"encoding/csv"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/auditcanary/auditcanary/shared/inert"
)

// cut makes s fit into n columns.
func cut(s string, n int) string {
	if r := []rune(s); len(r) > n {
		return string(r[:n-1]) + "…"
	}
	return s
}

// percent is never rounded up, and never given where there is nothing to divide by.
func (r Row) percent() string {
	if r.Percent == nil {
		return "n/a"
	}
	return strconv.FormatFloat(*r.Percent, 'f', 1, 64) + "%"
}

// WriteBrief writes a few lines: what is proven, what is decided, the first gaps.
func (r Report) WriteBrief(w io.Writer) error {
	var b strings.Builder
	r.headline(&b)
	undecided := 0
	for _, a := range r.Adequacy {
		if a.State != Decided {
			undecided++
		}
	}
	fmt.Fprintf(&b, "%d of %d sources of logs have no adequacy decision that stands.\n", undecided, len(r.Adequacy))
	if line := r.firstGaps(99); line != "" {
		fmt.Fprintf(&b, "First gaps, with how many rule sets name them:\n%s\n", line)
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// firstGaps names as many gaps as fit.
func (r Report) firstGaps(columns int) string {
	line, sep := "", "  "
	for _, g := range r.Gaps {
		next := line + sep + fmt.Sprintf("%s (%d)", cut(inert.Line(g.Operation), 42), g.RuleSets)
		if len([]rune(next)) > columns {
			break
		}
		line, sep = next, ", "
	}
	return line
}

func (r Report) headline(b *strings.Builder) {
	t := r.Total
	fmt.Fprintf(b, "%d of %d cells proven (%s): %s x %s x %s.\n", t.Statuses[Proven], t.Provable(), t.percent(),
		several(r.Operations, "privileged operation"), several(r.Accounts, "account"), several(r.Regions, "region"))
	if t.AskedOnly > 0 {
		fmt.Fprintf(b, "  %d of these only by attempts that were refused or dry runs.\n", t.AskedOnly)
	}
	fmt.Fprintf(b, "  Not proven: %d failed, %d inconclusive, %d stale, %d excepted, %d never tested,\n",
		t.Statuses[Failed], t.Statuses[Inconclusive], t.Statuses[Stale], t.Statuses[Excepted], t.Statuses[NeverTested])
	fmt.Fprintf(b, "  %d covered by category (another operation of the category was proven there: a sample).\n", t.Statuses[ByCategory])
	fmt.Fprintf(b, "  Left out of the %d: %d cells that no canary could prove.\n", t.Provable(), t.Statuses[NotLoggable])
}

func several(n int, noun string) string {
	if n != 1 {
		noun += "s"
	}
	return fmt.Sprintf("%d %s", n, noun)
}

// WriteTable writes the report for a person, within 100 columns, with at most
// that many gaps (-1: all).
func (r Report) WriteTable(w io.Writer, gaps int) error {
	var b strings.Builder
	fmt.Fprintf(&b, "Coverage as of %s; a proof counts for %s.\n", r.At.Format(time.RFC3339), age(r.MaxAgeSeconds))
	if l := r.Ledger; l != nil {
		fmt.Fprintf(&b, "%s\n", cut(fmt.Sprintf("Ledger %s, %s, root %s.", inert.Line(l.Origin), entries(l.Size), inert.Line(l.Root)), 100))
	} else {
		b.WriteString("The ledger has not begun: nothing was ever tested.\n")
	}
	r.headline(&b)
	b.WriteString("\n")
	rows(&b, "CATEGORY", r.ByCategory)
	rows(&b, "ACCOUNT", r.ByAccount)
	rows(&b, "REGION", r.ByRegion)
	fmt.Fprintf(&b, "%-26s # proven  ! failed, inconclusive, stale  + sampled  . untested, excepted\n\n", "")
	r.adequacy(&b)
	r.gaps(&b, gaps)
	r.beyond(&b)
	if r.Elsewhere > 0 {
		fmt.Fprintf(&b, "\nNot counted: %d tested calls in other accounts or regions than these.\n", r.Elsewhere)
	}
	_, err := io.WriteString(w, b.String())
	return err
}

func entries(n int64) string {
	if n == 1 {
		return "1 entry"
	}
	return fmt.Sprintf("%d entries", n)
}

func age(seconds int64) string {
	if seconds%86400 == 0 {
		return several(int(seconds/86400), "day")
	}
	return (time.Duration(seconds) * time.Second).String()
}

// maxRows is how many rows of a kind the table shows.
const maxRows = 20

// rows writes a row of each class; of very many, those of which least is proven.
func rows(b *strings.Builder, name string, rs []Row) {
	all := len(rs)
	if all > maxRows {
		rs = slices.SortedStableFunc(slices.Values(rs), func(x, y Row) int { return cmp.Compare(x.share(), y.share()) })[:maxRows]
	}
	fmt.Fprintf(b, "%-26s %-20s %7s %6s %6s %6s %7s %8s\n", name, "", "PROVEN", "OF", "", "BAD", "SAMPLED", "UNTESTED")
	for _, r := range rs {
		s := r.Statuses
		fmt.Fprintf(b, "%-26s %-20s %7d %6d %6s %6d %7d %8d\n", cut(inert.Line(r.ID), 26), r.bar(20),
			s[Proven], r.Provable(), r.percent(), s[Failed]+s[Inconclusive]+s[Stale], s[ByCategory], s[NeverTested]+s[Excepted])
	}
	if all > len(rs) {
		fmt.Fprintf(b, "... and %d more, of which no less is proven.\n", all-len(rs))
	}
	b.WriteString("\n")
}

// share orders rows; where nothing is provable nothing is missing.
func (r Row) share() float64 {
	if r.Percent == nil {
		return 101
	}
	return *r.Percent
}

// bar shows how the provable cells divide. What there is of a kind shows at
// least once, except proof, which shows no more than there is.
func (r Row) bar(width int) string {
	s, n := r.Statuses, r.Provable()
	if n == 0 {
		return ""
	}
	bad, sampled := s[Failed]+s[Inconclusive]+s[Stale], s[ByCategory]
	share := func(k int) int { return k * width / n }
	least := func(k int) int { return max(share(k), min(k, 1)) }
	out := strings.Repeat("!", least(bad)) + strings.Repeat("#", share(s[Proven])) + strings.Repeat("+", share(sampled))
	return (out + strings.Repeat(".", width))[:width]
}

func (r Report) adequacy(b *strings.Builder) {
	fmt.Fprintf(b, "%-30s %-10s %-10s %s\n", "LOG SOURCE", "ADEQUACY", "OPERATIONS", "DECISION")
	for _, a := range r.Adequacy {
		said := "nobody has decided whether it suffices"
		if d := a.Decision; d != nil {
			said = fmt.Sprintf("%s, review by %s (%s, %s)", d.Decision, day(d.ReviewBy), day(d.On), inert.Line(d.By))
		}
		state := string(a.State)
		if a.State != Decided {
			state = strings.ToUpper(state)
		}
		fmt.Fprintf(b, "%-30s %-10s %10d %s\n", a.ID, state, a.Operations, cut(said, 47))
	}
	b.WriteString("\n")
}

func (r Report) gaps(b *strings.Builder, n int) {
	if n < 0 || n > len(r.Gaps) {
		n = len(r.Gaps)
	}
	fmt.Fprintf(b, "GAPS: %d of %s not proven everywhere; untested ones first, by how many rule sets name them.\n", n, several(len(r.Gaps), "operation"))
	if n == 0 {
		return
	}
	fmt.Fprintf(b, "%5s  %-40s %-23s %s\n", "NAMED", "OPERATION", "CELLS", "SCENARIO")
	for _, g := range r.Gaps[:n] {
		would := "none"
		if len(g.Scenarios) > 0 {
			would = g.Scenarios[0]
		} else if len(g.UndoneBy) > 0 {
			would = "undo only"
		}
		fmt.Fprintf(b, "%5d  %-40s %-23s %s\n", g.RuleSets, cut(inert.Line(g.Operation), 40), cut(found(g.Statuses), 23), cut(inert.Line(would), 28))
	}
}

// found says how many there are of each status.
func found(statuses map[Status]int) string {
	var out []string
	for _, s := range Statuses() {
		if n := statuses[s]; n > 0 {
			out = append(out, fmt.Sprintf("%d %s", n, s.short()))
		}
	}
	if len(out) == 0 {
		return "untested"
	}
	return strings.Join(out, ", ")
}

// short is the status as the columns of the table call it.
func (s Status) short() string {
	switch s {
	case NeverTested:
		return "untested"
	case ByCategory:
		return "sampled"
	}
	return string(s)
}

func (r Report) beyond(b *strings.Builder) {
	if len(r.Beyond) == 0 {
		return
	}
	fmt.Fprintf(b, "\nBEYOND THE UNIVERSE: %s of scenarios that none of the rule sets names; they count nowhere.\n", several(len(r.Beyond), "operation"))
	for _, x := range r.Beyond {
		fmt.Fprintf(b, "       %-40s %-23s %s\n", cut(inert.Line(x.Operation), 40), cut(found(x.Statuses), 23), cut(inert.Line(strings.Join(x.Scenarios, ", ")), 28))
	}
}

// WriteCSV writes one line per cell. No field can become a formula.
func (r Report) WriteCSV(w io.Writer) error {
	cw := csv.NewWriter(w)
	_ = cw.Write([]string{"operation", "category", "account", "region", "status", "rule_sets", "scenario", "kind", "run", "canary", "at", "reason"})
	for _, c := range r.Cells {
		t := Test{}
		at := ""
		if c.Test != nil {
			t, at = *c.Test, c.Test.At.UTC().Format(time.RFC3339)
		}
		line := []string{c.Operation, c.Category, c.Account, c.Region, string(c.Status), strconv.Itoa(c.RuleSets), t.Scenario, string(t.Kind), t.Run, t.Canary, at, c.Reason}
		for i := range line {
			line[i] = inert.Cell(line[i])
		}
		_ = cw.Write(line) // an error stays until Flush
	}
	cw.Flush()
	return cw.Error()
}
