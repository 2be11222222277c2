package inventory

import (
	"encoding/csv"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/auditcanary/auditcanary/shared/canary"
	"github.com/auditcanary/auditcanary/shared/coverage"
	"github.com/auditcanary/auditcanary/shared/inert"
)

// WriteTable writes the report for a person.
func (r Report) WriteTable(w io.Writer) error {
	var b strings.Builder
	fmt.Fprintf(&b, "Sources of logs as of %s: %s x %s; everything must arrive in %s.\n\n",
		stamp(r.At), several(len(r.Accounts), "account"), several(len(r.Regions), "region"), inert.Line(r.Archive))
	r.sources(&b)
	r.proven(&b)
	r.findings(&b)
	if r.Judged == 0 {
		b.WriteString("\nOf the alert path nothing is judged: list in alert_path (configuration) what you rely on.\n")
	}
	fmt.Fprintf(&b, "\n%s\n", r.headline())
	_, err := io.WriteString(w, b.String())
	return err
}

// headline says in one line what came of it.
func (r Report) headline() string {
	n := map[canary.Status]int{}
	for _, f := range r.Findings {
		n[f.Status]++
	}
	line := several(n[canary.Fail], "finding")
	if n[canary.Inconclusive] > 0 {
		line += fmt.Sprintf(", %s that could not be read", several(n[canary.Inconclusive], "thing"))
	}
	if r.Judged > 0 {
		line += fmt.Sprintf("; %s on the alert path judged", several(r.Judged, "thing"))
	}
	return line + "."
}

func several(n int, noun string) string {
	if n != 1 {
		noun += "s"
	}
	return fmt.Sprintf("%d %s", n, noun)
}

// Line is the places of one class of sources of which the same is to be said.
type Line struct {
	// Row of the first of them, with the earliest of their latest deliveries.
	Row
	// Places they are, Of how many; none where no setting tells of the class.
	Places []Place
	Of     int
}

// Lines are the rows, by class; places that say the same share one.
func (r Report) Lines() []Line {
	var out []*Line
	of := map[string]int{}
	for _, row := range r.Rows {
		i := slices.IndexFunc(out, func(g *Line) bool {
			return g.Class == row.Class && g.Status == row.Status && g.Detail == row.Detail && slices.Equal(g.RecordedBy, row.RecordedBy)
		})
		if i < 0 {
			out, i = append(out, &Line{Row: row}), len(out)
		}
		g := out[i]
		if row.Account != "" {
			of[row.Class]++
			g.Places = append(g.Places, Place{row.Account, row.Region})
		}
		if row.Delivered.Before(g.Delivered) {
			g.Delivered = row.Delivered
		}
		if row.Digest.Before(g.Digest) {
			g.Digest = row.Digest
		}
	}
	ids := coverage.SourceIDs()
	slices.SortStableFunc(out, func(x, y *Line) int { return slices.Index(ids, x.Class) - slices.Index(ids, y.Class) })
	lines := make([]Line, 0, len(out))
	for _, g := range out {
		g.Of = of[g.Class]
		lines = append(lines, *g)
	}
	return lines
}

// sources shows the classes.
func (r Report) sources(b *strings.Builder) {
	tw := tabwriter.NewWriter(b, 0, 0, 2, ' ', 0)
	fmt.Fprintln(tw, "CLASS OF SOURCES\tPLACES\tSTATUS\tOWNER\tRECORDED BY\tLAST DELIVERY\t")
	var unjudged []string
	for _, g := range r.Lines() {
		if len(g.Places) == 0 {
			unjudged = append(unjudged, inert.Line(g.Class)+owned(g.Owner))
			continue
		}
		places := fmt.Sprintf("%d of %d", len(g.Places), g.Of)
		if len(g.Places) == 1 {
			places = g.Places[0].String()
		}
		owner, by, delivered := g.Owner, "-", "-"
		if owner == "" {
			owner = "nobody named"
		}
		if len(g.RecordedBy) > 0 {
			by = trailNames(g.RecordedBy)
			delivered = "none yet"
			if !g.Delivered.IsZero() {
				delivered = stamp(g.Delivered)
			}
		}
		fmt.Fprintf(tw, "%s\t%s\t%s\t%s\t%s\t%s\t%s\n", inert.Line(g.Class), inert.Line(places), word(g.Status), inert.Line(owner), inert.Line(by), delivered, note(g.Row))
	}
	_ = tw.Flush() // a Builder takes everything
	fmt.Fprintf(b, "No setting tells of these (see adequacy, `auditcanary coverage`): %s.\n", strings.Join(unjudged, ", "))
}

// note is the detail of a row that no finding tells of.
func note(r Row) string {
	if len(r.Findings) > 0 {
		var kinds []string
		for _, k := range r.Findings {
			kinds = append(kinds, string(k))
		}
		return strings.Join(kinds, ", ")
	}
	return cut(inert.Line(r.Detail), 60)
}

func owned(owner string) string {
	if owner == "" {
		return ""
	}
	return " (" + inert.Line(owner) + ")"
}

func word(s canary.Status) string {
	switch s {
	case canary.Fail:
		return "FAIL"
	case canary.Inconclusive:
		return "?"
	case canary.NotRun:
		return "-"
	}
	return string(s)
}

// trailNames are short: name and account.
func trailNames(arns []string) string {
	var names []string
	for _, a := range arns {
		_, name, _ := strings.Cut(a, ":trail/")
		if f := strings.Split(a, ":"); len(f) > 4 && name != "" {
			a = name + " (" + f[4] + ")"
		}
		names = append(names, a)
	}
	return strings.Join(names, ", ")
}

func (p Place) String() string {
	switch {
	case p.Account == "":
		return "the configuration"
	case p.Region == "":
		return p.Account
	}
	return p.Account + "/" + p.Region
}

// ByCategory is what is proven of one category of privileged activity.
type ByCategory struct {
	Category string
	// Places by what is known of it there.
	Places map[Coverage][]Place
	// Last proof of it, wherever; its time is zero if there never was one.
	Last Proof
}

// Categories are what is proven, category by category.
func (r Report) Categories() (out []ByCategory) {
	for _, p := range r.Proven {
		i := slices.IndexFunc(out, func(c ByCategory) bool { return c.Category == p.Category })
		if i < 0 {
			out, i = append(out, ByCategory{Category: p.Category, Places: map[Coverage][]Place{}}), len(out)
		}
		out[i].Places[p.State] = append(out[i].Places[p.State], Place{p.Account, p.Region})
		if p.At.After(out[i].Last.At) {
			out[i].Last = p
		}
	}
	return out
}

// proven shows for each category in how many places it is proven.
func (r Report) proven(b *strings.Builder) {
	if len(r.Proven) == 0 {
		return
	}
	tw := tabwriter.NewWriter(b, 0, 0, 2, ' ', 0)
	fmt.Fprintln(tw, "\nPROVEN BY CANARIES\tPROVEN\tUNPROVEN\tMISSING\tLAST PROOF")
	for _, c := range r.Categories() {
		last := "never"
		if !c.Last.At.IsZero() {
			last = fmt.Sprintf("%s at %s/%s, canary %s", stamp(c.Last.At), c.Last.Account, c.Last.Region, c.Last.Canary)
		}
		fmt.Fprintf(tw, "%s\t%d\t%d\t%d\t%s\n", inert.Line(c.Category), len(c.Places[Proven]), len(c.Places[Unproven]), len(c.Places[Missing]), inert.Line(last))
	}
	_ = tw.Flush()
}

// maxPlaces is how many places of a finding are named.
const maxPlaces = 6

func (r Report) findings(b *strings.Builder) {
	for i, f := range r.Findings {
		if i == 0 {
			b.WriteString("\nFINDINGS\n")
		}
		fmt.Fprintf(b, "%s %s: %s%s\n", word(f.Status), f.Kind, inert.Line(f.Subject), owned(f.Owner))
		var places []string
		for _, p := range f.Places[:min(len(f.Places), maxPlaces)] {
			places = append(places, inert.Line(p.String()))
		}
		more := ""
		if n := len(f.Places) - maxPlaces; n > 0 {
			more = fmt.Sprintf(", %d more", n)
		}
		fmt.Fprintf(b, "  in        %s%s\n", strings.Join(places, ", "), more)
		fmt.Fprintf(b, "  found     %s\n", cut(inert.Line(f.Found), 600))
		if f.Expected != "" {
			fmt.Fprintf(b, "  expected  %s\n", cut(inert.Line(f.Expected), 600))
		}
		fmt.Fprintf(b, "  do        %s\n", inert.Line(f.Next))
	}
}

// WriteCSV writes one line for each class of sources in each account and region,
// then for each category, then for each finding and place. No field can become a
// formula.
func (r Report) WriteCSV(w io.Writer) error {
	cw := csv.NewWriter(w)
	put := func(line ...string) {
		for i := range line {
			line[i] = inert.Cell(line[i])
		}
		_ = cw.Write(line) // an error stays until Flush
	}
	put("what", "account", "region", "name", "status", "owner", "recorded_by", "lands_in", "latest_delivery", "latest_digest", "proven_by", "subject", "found", "expected", "next")
	for _, s := range r.Rows {
		var kinds []string
		for _, k := range s.Findings {
			kinds = append(kinds, string(k))
		}
		put("source", s.Account, s.Region, s.Class, string(s.Status), s.Owner, strings.Join(s.RecordedBy, " "), s.LandsIn, when(s.Delivered), when(s.Digest), "", strings.Join(kinds, " "), s.Detail, "", "")
	}
	for _, p := range r.Proven {
		by := ""
		if p.Canary != "" {
			by = p.Canary + " " + when(p.At)
		}
		put("proven", p.Account, p.Region, p.Category, string(p.State), "", "", "", "", "", by, p.Scenario, p.Reason, "", "")
	}
	for _, f := range r.Findings {
		for _, p := range f.Places {
			put("finding", p.Account, p.Region, string(f.Kind), string(f.Status), f.Owner, "", "", "", "", "", f.Subject, f.Found, f.Expected, f.Next)
		}
	}
	cw.Flush()
	return cw.Error()
}

func when(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return stamp(t)
}

// cut makes s fit into n columns.
func cut(s string, n int) string {
	if r := []rune(s); len(r) > n {
		return string(r[:n-1]) + "…"
	}
	return s
}
