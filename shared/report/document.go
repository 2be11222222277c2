package report

import (
	"crypto/sha256"
	_ "embed"
	"encoding/base64"
	"fmt"
	"html/template"
	"io"
	"regexp"
	"strings"
)

// document is one page for people, rendered as Markdown and as HTML.
type document struct {
	// Name of its file, without an ending.
	Name  string
	Title string
	// Purpose in a paragraph; Facts of it in two columns.
	Purpose  string
	Facts    [][2]string
	Sections []section
}

// section of a document: a paragraph, a diagram, a table, each if there is one.
type section struct {
	Title   string
	Text    string
	Diagram *diagram
	Head    []string
	Rows    [][]string
}

//go:embed document.html
var documentHTML string

//go:embed document.css
var documentCSS string

// writeHTML writes a self-contained page that asks for nothing and runs nothing.
func (d document) writeHTML(w io.Writer) error {
	t, err := template.New("document.html").Parse(documentHTML)
	if err != nil {
		return fmt.Errorf("document %s: %w", d.Name, err)
	}
	sum := sha256.Sum256([]byte(documentCSS))
	err = t.Execute(w, struct {
		document
		CSS     template.CSS // allowed by its hash, and nothing else is
		CSSHash string
	}{d.shown(), template.CSS(documentCSS), base64.StdEncoding.EncodeToString(sum[:])})
	if err != nil {
		return fmt.Errorf("document %s: %w", d.Name, err)
	}
	return nil
}

// maxShownCell bounds what anybody's text takes of a page.
const maxShownCell = 2000

// shown is the document with all its text made lines.
func (d document) shown() document {
	text := func(s string) string { return line(s, maxShownCell) }
	d.Title, d.Purpose = text(d.Title), text(d.Purpose)
	facts := make([][2]string, len(d.Facts))
	for i, f := range d.Facts {
		facts[i] = [2]string{text(f[0]), text(f[1])}
	}
	d.Facts = facts
	sections := make([]section, len(d.Sections))
	for i, s := range d.Sections {
		s.Title, s.Text = text(s.Title), text(s.Text)
		s.Head = lines(s.Head)
		rows := make([][]string, len(s.Rows))
		for j, r := range s.Rows {
			rows[j] = lines(r)
		}
		s.Rows = rows
		sections[i] = s
	}
	d.Sections = sections
	return d
}

func lines(cells []string) []string {
	out := make([]string, len(cells))
	for i, c := range cells {
		out[i] = line(c, maxShownCell)
	}
	return out
}

// writeMarkdown writes GitHub-flavoured Markdown in which all text means itself.
func (d document) writeMarkdown(w io.Writer) error {
	d = d.shown()
	var b strings.Builder
	fmt.Fprintf(&b, "# %s\n\n", md(d.Title))
	if len(d.Facts) > 0 {
		var rows [][]string
		for _, f := range d.Facts {
			rows = append(rows, f[:])
		}
		table(&b, []string{"", ""}, rows)
	}
	if d.Purpose != "" {
		fmt.Fprintf(&b, "%s\n\n", paragraph(d.Purpose))
	}
	for _, s := range d.Sections {
		fmt.Fprintf(&b, "## %s\n\n", md(s.Title))
		if s.Text != "" {
			fmt.Fprintf(&b, "%s\n\n", paragraph(s.Text))
		}
		if s.Diagram != nil {
			fmt.Fprintf(&b, "```mermaid\n%s```\n\n", s.Diagram.mermaid())
		}
		table(&b, s.Head, s.Rows)
	}
	_, err := io.WriteString(w, strings.TrimSuffix(b.String(), "\n"))
	return err
}

// table writes a table; every cell is escaped. Without rows it says so.
func table(b *strings.Builder, head []string, rows [][]string) {
	if len(head) == 0 {
		return
	}
	if len(rows) == 0 {
		b.WriteString("None.\n\n")
		return
	}
	row := func(cells []string) {
		b.WriteString("|")
		for _, c := range cells {
			b.WriteString(" " + md(c) + " |")
		}
		b.WriteString("\n")
	}
	row(head)
	b.WriteString(strings.Repeat("|---", len(head)) + "|\n")
	for _, r := range rows {
		row(r)
	}
	b.WriteString("\n")
}

// md makes one line of text mean itself in Markdown: no markup, no HTML, no link.
func md(s string) string { return mdEscapes().Replace(line(s, maxShownCell)) }

func mdEscapes() *strings.Replacer {
	return strings.NewReplacer(
		"&", "&amp;", "<", "&lt;", ">", "&gt;",
		`\`, `\\`, "`", "\\`", "*", `\*`, "_", `\_`, "~", `\~`, "[", `\[`, "]", `\]`, "(", `\(`, ")", `\)`, "|", `\|`, "!", `\!`, "$", `\$`,
		"://", `:\/\/`, "@", `\@`, "www.", `www\.`,
	)
}

// startsBlock matches text that is more than text at the beginning of a line.
var startsBlock = regexp.MustCompile(`^([#+=:-]|[0-9]+[.)\\])`)

// paragraph is md at the beginning of a line.
func paragraph(s string) string {
	s = md(s)
	if startsBlock.MatchString(s) {
		return "&#8203;" + s
	}
	return s
}
