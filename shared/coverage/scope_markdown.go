package coverage

import (
	"fmt"
	"io"
	"strings"
	"time"
)

// WriteMarkdown writes the scope document as GitHub-flavoured Markdown.
func (s Scope) WriteMarkdown(w io.Writer) error {
	var b strings.Builder
	st := s.Statement
	fmt.Fprintf(&b, "# %s\n\n", md(st.Title))
	table(&b, []string{"", ""}, [][]string{
		{"Organisation", stated(st.Organization)}, {"Owner", stated(st.Owner)}, {"Version", stated(st.Version)},
		{"Approved by", stated(st.ApprovedBy)}, {"Approved on", stated(st.ApprovedOn)},
		{"Generated", s.Now.UTC().Format(time.RFC3339) + " by auditcanary " + s.Version},
		{"Configuration", "SHA-256 " + s.ConfigHash}, {"Catalogue", "SHA-256 " + s.CatalogueHash},
	})
	b.WriteString(purpose + "\n\n")

	b.WriteString("## Actors\n\n")
	if len(st.Actors) == 0 {
		b.WriteString(noActors + "\n\n")
	}
	var rows [][]string
	for _, a := range s.actors() {
		rows = append(rows, []string{a.Name, a.Kind, a.Through})
	}
	table(&b, []string{"Actor", "Kind", "Acts through"}, rows)

	b.WriteString("## Systems, log store\n\n")
	rows = nil
	for _, y := range s.Systems {
		rows = append(rows, []string{strings.Join(y.Accounts, ", "), strings.Join(y.Regions, ", ")})
	}
	table(&b, []string{"Accounts", "Regions"}, rows)
	rows = nil
	for _, f := range s.storeFacts() {
		rows = append(rows, []string{f[0], f[1]})
	}
	table(&b, []string{"Central log store", stated(s.Store.Name)}, rows)

	b.WriteString("## Actions, and what tests that they are logged\n\n")
	rows = nil
	for _, a := range s.Activities {
		rows = append(rows, []string{
			a.Category.Title, strings.Join(a.Operations, ", "), a.Where, strings.Join(a.Sources, "; "), s.Store.Name, a.exercises(), strings.Join(a.Controls, ", "),
		})
	}
	table(&b, []string{"Category", "Operations exercised", "Systems", "Log source", "Central store", "Scenarios", "Controls"}, rows)

	b.WriteString("## Not tested\n\n")
	for _, c := range s.Untested {
		fmt.Fprintf(&b, "- %s: no scenario; that it is logged is not shown by this program\n", md(c.Title))
	}
	for _, u := range s.Blind {
		fmt.Fprintf(&b, "- %s: %s (%s)\n", md(strings.Join(u.Operations, ", ")), md(u.Reason), md(u.Origin))
	}
	for _, x := range st.OutOfScope {
		fmt.Fprintf(&b, "- Out of scope: %s. Reason: %s\n", md(x.What), md(x.Why))
	}
	b.WriteString("\n## Adequacy of the sources of logs\n\n" + md(s.adequacySummary()) + "\n\n")
	rows = nil
	for _, a := range s.Adequacy {
		rows = append(rows, []string{a.Title, string(a.State), a.said(), a.Limits})
	}
	table(&b, []string{"Source", "State", "Decision", "To be considered"}, rows)
	_, err := io.WriteString(w, strings.TrimSuffix(b.String(), "\n"))
	return err
}

const (
	purpose = "ISO/IEC 27017:2015 12.4.3 asks that privileged operations are logged, and that the cloud service customer determines whether the provider's logging suffices. " +
		"This page says who acts with privilege, what they do, where it is recorded, and which scenarios test that the records arrive. What was proven, and when, is in the ledger (auditcanary coverage)."
	noActors = "Human administrators, CI/CD and break-glass users: **not stated**."
	unknown  = "not verified by this version"
)

// actors are those that people stated, then those that the configuration names.
func (s Scope) actors() []Actor { return append(append([]Actor{}, s.Statement.Actors...), s.Agents...) }

// storeFacts say of the store what is configured, and what nobody verified.
func (s Scope) storeFacts() [][2]string {
	return [][2]string{
		{"Type", s.Store.Type}, {"Bucket", s.Store.Bucket}, {"Prefix", none(s.Store.Prefix)}, {"Region", s.Store.Region},
		{"Organisation", none(s.Store.Organization)}, {"Retention", unknown}, {"Immutability", unknown},
	}
}

func (a Activity) exercises() string {
	var out []string
	for _, x := range a.Scenarios {
		out = append(out, x.ID+" ("+x.Kind+", "+x.Every+")")
	}
	return strings.Join(out, ", ")
}

func (s Scope) adequacySummary() string {
	if s.Undecided == 0 {
		return "Every source has a decision that stands."
	}
	return fmt.Sprintf("%d of %d sources have no decision that stands.", s.Undecided, len(s.Adequacy))
}

func (a Adequacy) said() string {
	d := a.Decision
	if d == nil {
		return "nobody has decided whether the provider's logging suffices"
	}
	said := d.Decision + ": " + d.Why
	if d.Done != "" {
		said += "; additionally: " + d.Done
	}
	return said + " (" + d.By + ", " + day(d.On) + "; review by " + day(d.ReviewBy) + ")"
}

func stated(s string) string {
	if strings.TrimSpace(s) == "" {
		return "not stated"
	}
	return s
}

func none(s string) string {
	if s == "" {
		return "none"
	}
	return s
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

func md(s string) string { return plain(mdEscapes.Replace(s)) }
