package jira

import (
	"encoding/json"
	"fmt"
	"net/url"
	"slices"
	"strings"

	"github.com/auditcanary/auditcanary/shared/inert"
	"github.com/auditcanary/auditcanary/shared/ticket"
)

// maxText is how long Jira lets a description or a comment be, in UTF-16 units. For the
// document format it is not said what is counted; we count all of its JSON.
const maxText = 32767

// node is one of the Atlassian Document Format. There, text is text: nothing in it
// becomes a link, a mention or a picture. So it is enough to make no node of text that
// was not meant as one.
type node struct {
	Type    string `json:"type"`
	Version int    `json:"version,omitempty"`
	Attrs   any    `json:"attrs,omitempty"`
	Content []node `json:"content,omitzero"`
	Text    string `json:"text,omitempty"`
	Marks   []mark `json:"marks,omitempty"`
}

type mark struct {
	Type  string `json:"type"`
	Attrs any    `json:"attrs,omitempty"`
}

type (
	level struct {
		Level int `json:"level"`
	}
	href struct {
		Href string `json:"href"`
	}
)

// adf renders a document, cut to what Jira takes.
func adf(doc ticket.Doc) node {
	return adfOf(fit(doc, maxText-len(`{"type":"doc","version":1,"content":[]}`), func(b ticket.Block) int {
		n, _ := adfBlock(b)
		text, err := json.Marshal(n)
		if err != nil {
			return maxText // cannot be: nodes are strings and numbers
		}
		return length(string(text)) + len(",")
	}))
}

func adfOf(doc ticket.Doc) node {
	root := node{Type: "doc", Version: 1, Content: []node{}}
	for _, b := range doc {
		if n, ok := adfBlock(b); ok {
			root.Content = append(root.Content, n)
		}
	}
	if len(root.Content) == 0 {
		root.Content = append(root.Content, paragraph("")) // an empty one Jira takes for no text at all
	}
	return root
}

func adfBlock(b ticket.Block) (node, bool) {
	switch b.Kind {
	case "heading":
		return node{Type: "heading", Attrs: level{3}, Content: text(inert.Line(b.Text))}, true
	case "list":
		list := node{Type: "bulletList"}
		for _, row := range b.Rows {
			list.Content = append(list.Content, node{Type: "listItem", Content: []node{paragraph(strings.Join(row, ", "))}})
		}
		return list, len(list.Content) > 0
	case "table":
		return adfTable(b.Rows)
	case "code":
		return node{Type: "codeBlock", Content: text(strings.Join(lines(b.Text), "\n"))}, true
	case "link":
		to, ok := link(b.URL)
		if !ok {
			return paragraph(noLink(b)), true
		}
		p := paragraph(shown(b))
		for i := range p.Content {
			p.Content[i].Marks = []mark{{Type: "link", Attrs: href{to}}}
		}
		return p, true
	default: // text, or what a later version calls something else
		p := node{Type: "paragraph", Content: []node{}}
		for i, line := range lines(b.Text) {
			if i > 0 {
				p.Content = append(p.Content, node{Type: "hardBreak"})
			}
			p.Content = append(p.Content, text(line)...)
		}
		return p, true
	}
}

func adfTable(rows [][]string) (node, bool) {
	table := node{Type: "table"}
	width := 0
	for _, row := range rows {
		width = max(width, len(row))
	}
	for i, row := range rows {
		kind := "tableCell"
		if i == 0 {
			kind = "tableHeader"
		}
		tr := node{Type: "tableRow", Content: []node{}}
		for c := range width {
			var cell string
			if c < len(row) {
				cell = row[c]
			}
			tr.Content = append(tr.Content, node{Type: kind, Content: []node{paragraph(cell)}})
		}
		table.Content = append(table.Content, tr)
	}
	return table, width > 0
}

func paragraph(line string) node { return node{Type: "paragraph", Content: text(inert.Line(line))} }

// text is a text node, or none: an empty one is not allowed.
func text(s string) []node {
	if s == "" {
		return []node{}
	}
	return []node{{Type: "text", Text: s}}
}

// wiki renders a document as wiki markup, cut to what Jira takes.
func wiki(doc ticket.Doc) string {
	return wikiOf(fit(doc, maxText, wikiSize))
}

func wikiSize(b ticket.Block) int { return length(wikiBlock(b)) + len("\n\n") }

func wikiOf(doc ticket.Doc) string {
	var blocks []string
	for _, b := range doc {
		if s := wikiBlock(b); s != "" {
			blocks = append(blocks, s)
		}
	}
	return strings.Join(blocks, "\n\n")
}

func wikiBlock(b ticket.Block) string {
	var out []string
	switch b.Kind {
	case "heading":
		return "h3. " + escape(inert.Line(b.Text))
	case "list":
		for _, row := range b.Rows {
			out = append(out, "* "+escape(inert.Line(strings.Join(row, ", "))))
		}
	case "table":
		width := 0
		for _, row := range b.Rows {
			width = max(width, len(row))
		}
		for i, row := range b.Rows {
			edge := "|"
			if i == 0 {
				edge = "||"
			}
			line := edge
			for c := range width {
				cell := " " // an empty one would be another edge
				if c < len(row) && strings.TrimSpace(row[c]) != "" {
					cell = escape(inert.Line(row[c]))
				}
				line += cell + edge
			}
			if width > 0 {
				out = append(out, line)
			}
		}
	case "code":
		// Nothing is markup in it, and only its own name ends it: that is broken up.
		code := noformat.Replace(strings.Join(lines(b.Text), "\n"))
		if strings.HasSuffix(code, `\`) {
			code += " " // so that it escapes nothing of ours
		}
		return "{noformat}\n" + code + "\n{noformat}"
	case "link":
		to, ok := link(b.URL)
		if !ok {
			return escape(inert.Line(noLink(b)))
		}
		return "[" + escape(inert.Line(shown(b))) + "|" + to + "]"
	default:
		for _, line := range lines(b.Text) {
			out = append(out, escape(line))
		}
	}
	return strings.Join(out, "\n")
}

// noformat breaks up what could begin or end a macro; JSON stays JSON.
var noformat = strings.NewReplacer("{", "{ ")

// escape writes all that wiki markup could be made of as numeric entities, which Jira
// shows as the characters they are. Backslashes would not do: one that the text brings
// along would undo ours.
func escape(line string) string {
	var out strings.Builder
	for i, r := range line {
		switch {
		case r >= 0x80, '0' <= r && r <= '9', 'a' <= r && r <= 'z', 'A' <= r && r <= 'Z':
			out.WriteRune(r)
		case r == '.' && !dotted(line[:i]), strings.ContainsRune(" ,/=%$", r):
			out.WriteRune(r)
		default:
			fmt.Fprintf(&out, "&#%d;", r)
		}
	}
	return out.String()
}

// dotted reports whether a full stop after it could begin something: "h1.", "bq.", "www.".
func dotted(before string) bool {
	if len(before) > 3 {
		before = before[len(before)-3:]
	}
	before = strings.ToLower(before)
	n := len(before)
	return strings.HasSuffix(before, "www") || strings.HasSuffix(before, "bq") ||
		n >= 2 && before[n-2] == 'h' && before[n-1] >= '1' && before[n-1] <= '6'
}

// lines of a text, each made inert.
func lines(s string) []string {
	s = strings.NewReplacer("\r\n", "\n", "\t", "    ").Replace(s)
	out := strings.Split(s, "\n")
	for i := range out {
		out[i] = inert.Line(out[i])
	}
	return out
}

// link returns an address that may be clicked: http or https, to a host, with nothing
// in it that markup or a reader could take for something else.
func link(to string) (string, bool) {
	u, err := url.Parse(to)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.User != nil || len(to) > 2000 {
		return "", false
	}
	// No address of version 6: its brackets would end a link.
	if strings.ContainsFunc(u.Host, func(r rune) bool {
		return !('0' <= r && r <= '9' || 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || strings.ContainsRune(".-:", r))
	}) {
		return "", false
	}
	var out strings.Builder
	for _, c := range []byte(u.String()) {
		if c <= ' ' || c >= 0x7f || strings.IndexByte(`|[]{}\^~!*_"'<>`+"`", c) >= 0 {
			fmt.Fprintf(&out, "%%%02X", c)
			continue
		}
		out.WriteByte(c)
	}
	return out.String(), true
}

// shown is the text of a link.
func shown(b ticket.Block) string {
	if strings.TrimSpace(b.Text) == "" {
		return b.URL
	}
	return b.Text
}

// noLink is what is shown of a link that is none.
func noLink(b ticket.Block) string {
	if b.Text == "" || b.Text == b.URL {
		return b.URL
	}
	return b.Text + " (" + b.URL + ")"
}

// cutNote stands at the end of what was cut.
var cutNote = ticket.Block{Kind: "text", Text: "(Cut here: it is longer than Jira takes. The evidence holds all of it.)"}

// fit cuts a document to what there is room for, its blocks having a size each, and
// says in it that it did.
func fit(doc ticket.Doc, room int, size func(ticket.Block) int) ticket.Doc {
	doc, cut := rough(doc)
	sizes := make([]int, len(doc))
	total := 0
	for i, b := range doc {
		sizes[i] = size(b)
		total += sizes[i]
	}
	if !cut && total <= room {
		return doc
	}
	// As many blocks as fit, then as much as fits of the next.
	room -= size(cutNote)
	n := 0
	for n < len(doc) && sizes[n] <= room {
		room -= sizes[n]
		n++
	}
	out := slices.Clone(doc[:n])
	if n < len(doc) {
		next := doc[n]
		whole := length(next.Text)
		if len(next.Rows) > 0 {
			whole = len(next.Rows)
		}
		part := func(k int) ticket.Block {
			b := next
			if len(next.Rows) > 0 {
				b.Rows = next.Rows[:k]
			} else {
				b.Text = clip(next.Text, k)
			}
			return b
		}
		if k := most(whole, func(k int) bool { return size(part(k)) <= room }); k > 0 {
			out = append(out, part(k))
		}
	}
	return append(out, cutNote)
}

// rough cuts what could never fit, so that nothing huge is rendered, and reports
// whether it did.
func rough(doc ticket.Doc) (out ticket.Doc, cut bool) {
	room := 2 * maxText
	clipped := func(s string) string {
		short := clip(s, max(room, 0))
		cut = cut || len(short) < len(s)
		room -= length(short) + 1
		return short
	}
	for _, b := range doc {
		if room <= 0 {
			return out, true
		}
		b.Text = clipped(b.Text)
		if len(b.URL) > 2*maxText {
			b.URL, cut = clipped(b.URL), true
		}
		var rows [][]string
		for _, row := range b.Rows {
			if room <= 0 {
				cut = true
				break
			}
			cells := make([]string, min(len(row), maxColumns))
			for i := range cells {
				cells[i] = clipped(row[i])
			}
			room--
			cut = cut || len(cells) < len(row)
			rows = append(rows, cells)
		}
		b.Rows = rows
		out = append(out, b)
	}
	return out, cut
}

const maxColumns = 100

// most returns the greatest k from 0 to n for which ok holds; 0 is not asked about.
func most(n int, ok func(k int) bool) int {
	lo, hi := 0, n
	for lo < hi {
		mid := (lo + hi + 1) / 2
		if ok(mid) {
			lo = mid
		} else {
			hi = mid - 1
		}
	}
	return lo
}
