package alertrule

import (
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/auditcanary/auditcanary/shared/inert"
	"github.com/auditcanary/auditcanary/shared/inventory"
)

// Row is an alert with a call of a canary.
type Row struct {
	Alert     string  `json:"alert"`
	Scenario  string  `json:"scenario"`
	Step      string  `json:"step"`
	Operation string  `json:"operation"`
	Outcome   Outcome `json:"outcome"`
	Account   string  `json:"account"`
	Region    string  `json:"region"`
	Answer
}

// Table of alerts and calls.
type Table struct {
	Rows []Row `json:"rows"`
}

// NewTable asks of every alert and every call whether it could fire. Promised says
// which of them belong together; nil: each alert with each call.
func NewTable(alerts []Alert, s Settings, calls []Call, promised func(Alert, Call) bool) Table {
	out := Table{Rows: []Row{}}
	for _, a := range alerts {
		for _, c := range calls {
			if promised != nil && !promised(a, c) {
				continue
			}
			out.Rows = append(out.Rows, Row{
				Alert: a.Name, Scenario: c.Scenario, Step: c.Step, Operation: c.Operation, Outcome: c.Outcome,
				Account: c.Place.Account, Region: c.Place.Region, Answer: CouldFire(a, s, c),
			})
		}
	}
	return out
}

// Count is how many rows have a verdict.
func (t Table) Count(v Verdict) (n int) {
	for _, r := range t.Rows {
		if r.Verdict == v {
			n++
		}
	}
	return n
}

// WriteText writes the table for a person: what could never fire first. Places of
// which the same is to be said share a paragraph.
func (t Table) WriteText(w io.Writer) error {
	var b strings.Builder
	if len(t.Rows) == 0 {
		b.WriteString("No alert is promised for any call that is planned.\n")
	}
	for _, v := range []Verdict{Never, Undecided, Fires} {
		if t.Count(v) == 0 {
			continue
		}
		fmt.Fprintf(&b, "%s\n", map[Verdict]string{Never: "COULD NEVER FIRE", Undecided: "UNDECIDED", Fires: "COULD FIRE"}[v])
		for _, g := range t.groups(v) {
			r := g[0]
			fmt.Fprintf(&b, "  %s for %s, step %s (%s, %s)\n", inert.Line(r.Alert), inert.Line(r.Scenario), inert.Line(r.Step), inert.Line(r.Operation), r.Outcome)
			var places []string
			for _, r := range g {
				places = append(places, at(inventory.Place{Account: r.Account, Region: r.Region}))
			}
			fmt.Fprintf(&b, "    in %s\n", inert.Line(strings.Join(places, ", ")))
			const most = 5
			for i, reason := range r.Reasons {
				if i == most {
					fmt.Fprintf(&b, "    and %d reasons more\n", len(r.Reasons)-most)
					break
				}
				fmt.Fprintf(&b, "    %s\n", inert.Line(reason))
			}
		}
		b.WriteString("\n")
	}
	fmt.Fprintf(&b, "%d could never fire, %d undecided, %d could fire.\n", t.Count(Never), t.Count(Undecided), t.Count(Fires))
	_, err := io.WriteString(w, b.String())
	return err
}

// groups are the rows of a verdict that differ in nothing but the place.
func (t Table) groups(v Verdict) (out [][]Row) {
	for _, r := range t.Rows {
		if r.Verdict != v {
			continue
		}
		i := slices.IndexFunc(out, func(g []Row) bool {
			o := g[0]
			return o.Alert == r.Alert && o.Scenario == r.Scenario && o.Step == r.Step && o.Operation == r.Operation && o.Outcome == r.Outcome && slices.Equal(o.Reasons, r.Reasons)
		})
		if i < 0 {
			out = append(out, []Row{r})
			continue
		}
		out[i] = append(out[i], r)
	}
	return out
}
