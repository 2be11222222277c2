package coverage

import (
	"fmt"
	"io"
	"strings"

	"github.com/auditcanary/auditcanary/shared/inert"
)

// WriteMarkdown writes the scope document as GitHub-flavoured Markdown.
func (s Scope) WriteMarkdown(w io.Writer) error {
	var b strings.Builder
	fmt.Fprintf(&b, "# %s\n\n", md(s.Statement.Title))
	facts(&b, []string{"", ""}, append(s.documentFacts(),
		[2]string{"Generated", s.generated()}, [2]string{"Configuration", "SHA-256 " + s.ConfigHash}, [2]string{"Catalogue", "SHA-256 " + s.CatalogueHash}))
	b.WriteString(purpose + "\n\n## Actors\n\n")
	if len(s.Statement.Actors) == 0 {
		b.WriteString(noActors + "\n\n")
	}
	table(&b, s.actors().Head, s.actors().Rows)

	b.WriteString("## Systems, log store\n\n")
	table(&b, s.systems().Head, s.systems().Rows)
	store := s.storeFacts()
	facts(&b, store[0][:], store[1:])

	b.WriteString("## Actions, and what tests that they are logged\n\n")
	if len(s.Activities) > 0 {
		for _, line := range s.common() {
			b.WriteString(md(line) + "\n\n")
		}
	}
	var rows [][]string
	for _, a := range s.Activities {
		rows = append(rows, []string{a.Category.Title, a.operations(), a.scenarios(), strings.Join(a.Controls, ", ")})
	}
	table(&b, []string{"Category", "Operations exercised", "Scenarios", "Further controls"}, rows)

	b.WriteString("## Not tested\n\n")
	if len(s.Untested) > 0 {
		fmt.Fprintf(&b, "- %s: %s\n", md(s.untested()), notShown)
	}
	for _, u := range s.Blind {
		fmt.Fprintf(&b, "- %s: %s (%s)\n", md(strings.Join(u.Operations, ", ")), md(u.Reason), md(u.Origin))
	}
	for _, x := range s.Statement.OutOfScope {
		fmt.Fprintf(&b, "- Out of scope: %s. Reason: %s\n", md(x.What), md(x.Why))
	}
	b.WriteString("\n## Adequacy of the sources of logs\n\n" + md(s.adequacySummary()) + "\n\n")
	rows = nil
	for _, a := range s.Adequacy {
		said := a.said()
		if a.State != Decided {
			said = strings.TrimSuffix(string(a.State)+", "+said, ", ")
		}
		rows = append(rows, []string{a.Title, said, a.Limits})
	}
	table(&b, []string{"Source", "Decision", "To be considered"}, rows)
	for _, y := range s.annex() {
		fmt.Fprintf(&b, "## Annex: the %d accounts in %s\n\n%s\n\n", len(y.Accounts), md(strings.Join(y.Regions, ", ")), md(strings.Join(y.Accounts, ", ")))
	}
	_, err := io.WriteString(w, strings.TrimSuffix(b.String(), "\n"))
	return err
}

func (a Activity) operations() string {
	out := strings.Join(a.Operations, ", ")
	if len(a.Sources) > 0 {
		out += "; recorded in: " + strings.Join(a.Sources, "; ")
	}
	return out
}

func (a Activity) scenarios() string {
	var out []string
	for _, c := range a.Cadences {
		var names []string
		for _, x := range c.Exercises {
			var signs []string
			for _, m := range x.Marks {
				signs = append(signs, m.Sign)
			}
			if len(signs) > 0 {
				x.Name += " (" + strings.Join(signs, ", ") + ")"
			}
			names = append(names, x.Name)
		}
		out = append(out, c.Every+": "+strings.Join(names, ", "))
	}
	return strings.Join(out, "; ")
}

// facts writes a table of two columns.
func facts(b *strings.Builder, head []string, facts [][2]string) {
	var rows [][]string
	for _, f := range facts {
		rows = append(rows, f[:])
	}
	table(b, head, rows)
}

// table writes a table; every cell is escaped.
func table(b *strings.Builder, head []string, rows [][]string) {
	if len(rows) == 0 {
		return
	}
	line := func(cells []string) {
		b.WriteString("|")
		for _, c := range cells {
			b.WriteString(" " + md(c) + " |")
		}
		b.WriteString("\n")
	}
	line(head)
	b.WriteString(strings.Repeat("|---", len(head)) + "|\n")
	for _, r := range rows {
		line(r)
	}
	b.WriteString("\n")
}

// md makes text mean itself in Markdown: no markup, no HTML, no link, one line.
// Nothing it writes stands at the beginning of a line, where more would count.
var mdEscapes = strings.NewReplacer(
	"\n", " ", "\r", " ", "\t", " ",
	"&", "&amp;", "<", "&lt;", ">", "&gt;",
	`\`, `\\`, "`", "\\`", "*", `\*`, "_", `\_`, "~", `\~`, "[", `\[`, "]", `\]`, "|", `\|`, "!", `\!`, "$", `\$`,
	"://", `:\/\/`, "@", `\@`, "www.", `www\.`,
)

func md(s string) string { return inert.Line(mdEscapes.Replace(s)) }
