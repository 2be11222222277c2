package slack

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/url"
	"regexp"
	"strings"
	"unicode/utf16"

	"github.com/slack-go/slack"

	"github.com/auditcanary/auditcanary/shared/inert"
	"github.com/auditcanary/auditcanary/shared/ticket"
)

// Slack's limits, in UTF-16 units, and ours below them.
const (
	maxBlocks = 50
	maxHeader = 150
	// maxMessage bounds a message's blocks as JSON. Slack documents no such limit, and
	// answers msg_blocks_too_long from about 13,200 on.
	maxMessage = 12_000
	// maxParts bounds the messages of one detail: one takes a second.
	maxParts = 20

	maxWhat     = 300
	maxBrief    = 160   // of a detail, in a summary
	maxDetail   = 1_000 // of a detail, in a thread
	maxURL      = 1_000
	maxLinkText = 100
	maxTitle    = 80 // of a group
	maxGroups   = 15
	maxItems    = 20 // of a group, in a summary
	maxCounts   = 12
	// maxFixed is what of a message stands around its groups; maxEnd is its end.
	maxFixed = 4_000
	maxEnd   = 1_000
	listSize = 80 // an empty list
)

// Message is one message, ready to be sent. Anybody's text in it is in plain_text and
// rich_text elements only, which have no markup: nothing in it formats, links, mentions.
type Message struct {
	// Text is what notifications show, escaped.
	Text   string
	Blocks []slack.Block
}

// Render makes one message of news. What does not fit is counted.
func Render(n ticket.News) Message {
	head, end := around(n)
	fixed := size(head) + size(end)

	groups, hidden := filled(n.Groups), 0
	if len(groups) > maxGroups {
		for _, g := range groups[maxGroups:] {
			hidden += len(g.Items)
		}
		more := section(text(fmt.Sprintf("and %s in %s", count(hidden, "more line"), count(len(groups)-maxGroups, "more part")), nil))
		end = append([]slack.Block{slack.NewRichTextBlock("", more)}, end...)
		groups = groups[:maxGroups]
		fixed += size(end[0])
	}
	// Every group has its title and its count, whatever the others hold.
	left := maxMessage - fixed - maxBlocks // what joins them
	for _, g := range groups {
		left -= size(group(g.Title, len(g.Items), nil, len(g.Items))) + listSize
	}
	var body []slack.Block
	for _, g := range groups {
		var shown []slack.RichTextElement
		for _, it := range g.Items[:min(len(g.Items), maxItems)] {
			one := item(it, maxBrief, " - ")
			if left -= size(one) + 1; left < 0 {
				break
			}
			shown = append(shown, one)
		}
		body = append(body, group(g.Title, len(g.Items), shown, len(g.Items)-len(shown)))
	}
	return Message{Text: fallback(n), Blocks: append(append(head, body...), end...)}
}

// Parts makes as many messages of news as it takes, at most maxParts; what does not fit
// into those is counted at the end.
func Parts(n ticket.News) []Message {
	head, _ := around(n)
	var bodies [][]slack.Block
	body, left := head, maxMessage-maxEnd-size(head)
	next := func() {
		bodies = append(bodies, body)
		body, left = nil, maxMessage-maxEnd
	}
	hidden := 0
	for _, g := range filled(n.Groups) {
		title := g.Title
		var shown []slack.RichTextElement
		begin := func() { left -= size(group(title, len(g.Items), nil, 0)) + listSize }
		flush := func() {
			if len(shown) > 0 {
				body = append(body, group(title, len(g.Items), shown, 0))
			}
			shown, title = nil, cut(g.Title, maxTitle-12)+" (continued)"
		}
		begin()
		for _, it := range g.Items {
			if len(bodies) == maxParts {
				hidden++
				continue
			}
			one := item(it, maxDetail, "\n")
			if left-size(one)-1 < 0 || len(body) >= maxBlocks-3 {
				flush()
				if next(); len(bodies) == maxParts {
					hidden++
					continue
				}
				begin()
			}
			left -= size(one) + 1
			shown = append(shown, one)
		}
		flush()
	}
	if len(bodies) < maxParts && len(body) > 0 {
		next()
	}
	out := make([]Message, len(bodies))
	for i, b := range bodies {
		if i == len(bodies)-1 && hidden > 0 {
			b = append(b, slack.NewRichTextBlock("", section(text(fmt.Sprintf("and %s, which the report has", count(hidden, "more line")), nil))))
		}
		where := ""
		if len(bodies) > 1 {
			where = fmt.Sprintf("part %d of %d", i+1, len(bodies))
		}
		out[i] = Message{Text: fallback(n), Blocks: append(b, footer(n, where))}
	}
	return out
}

// around is what stands before the groups and after them, at most maxFixed of it.
func around(n ticket.News) (head, end []slack.Block) {
	title := plain(orElse(n.Title, "auditcanary"), maxHeader)
	head = []slack.Block{slack.NewHeaderBlock(title)}
	if len(n.Tally) > 0 {
		var parts []slack.RichTextSectionElement
		for i, c := range n.Tally[:min(len(n.Tally), maxCounts)] {
			if i > 0 {
				parts = append(parts, text(" · ", nil))
			}
			parts = append(parts, text(fmt.Sprint(c.N), &slack.RichTextSectionTextStyle{Bold: true}), text(" "+cut(line(string(c.Status)), 20), nil))
		}
		head = append(head, slack.NewRichTextBlock("", section(parts...)))
	}
	last := footer(n, "")
	left := maxFixed - size(head) - size(last) - 200
	var links []slack.RichTextSectionElement
	shown := 0
	for _, l := range n.Links {
		one := link(l)
		if left -= size(one) + 60; left < 0 {
			break
		}
		if shown++; shown > 1 {
			links = append(links, text(" · ", nil))
		}
		links = append(links, one)
	}
	if more := len(n.Links) - shown; more > 0 {
		links = append(links, text(" and "+count(more, "more link"), nil))
	}
	if len(links) > 0 {
		end = append(end, slack.NewRichTextBlock("", section(links...)))
	}
	return head, append(end, last)
}

// footer is the small line at the end.
func footer(n ticket.News, where string) slack.Block {
	var words []string
	if n.Run != "" {
		words = append(words, "run "+cut(line(n.Run), 80))
	}
	if !n.At.IsZero() {
		words = append(words, n.At.UTC().Format("2006-01-02 15:04:05 UTC"))
	}
	if where != "" {
		words = append(words, where)
	}
	return slack.NewContextBlock("", plain(orElse(strings.Join(words, " · "), "auditcanary"), 300))
}

// filled are the groups that say something.
func filled(all []ticket.NewsGroup) []ticket.NewsGroup {
	var out []ticket.NewsGroup
	for _, g := range all {
		if len(g.Items) > 0 {
			out = append(out, g)
		}
	}
	return out
}

// group is a title with its lines, and how many more there are.
func group(title string, of int, lines []slack.RichTextElement, more int) *slack.RichTextBlock {
	name := fmt.Sprintf("%s (%d)", cut(orElse(line(title), "Untitled"), maxTitle), of)
	elements := []slack.RichTextElement{section(text(name, &slack.RichTextSectionTextStyle{Bold: true}))}
	if len(lines) > 0 {
		elements = append(elements, list{Type: slack.RTEList, Style: "bullet", Elements: lines})
	}
	if more > 0 {
		rest := fmt.Sprintf("and %d more", more)
		if len(lines) == 0 {
			rest = count(more, "line") + " not shown here"
		}
		elements = append(elements, section(text(rest, nil)))
	}
	return slack.NewRichTextBlock("", elements...)
}

// list is a list as Slack's own types have it; the client's has a field that they lack.
type list struct {
	Type     slack.RichTextElementType `json:"type"`
	Style    string                    `json:"style"`
	Elements []slack.RichTextElement   `json:"elements"`
}

func (l list) RichTextElementType() slack.RichTextElementType { return l.Type }

func item(it ticket.NewsItem, detail int, before string) *slack.RichTextSection {
	parts := []slack.RichTextSectionElement{text(cut(orElse(line(it.What), "(not named)"), maxWhat), nil)}
	if it.Ticket != (ticket.Link{}) {
		parts = append(parts, text(" ", nil), link(it.Ticket))
	}
	if d := line(it.Detail); d != "" {
		parts = append(parts, text(before+cut(d, detail), nil))
	}
	return section(parts...)
}

func section(parts ...slack.RichTextSectionElement) *slack.RichTextSection {
	return slack.NewRichTextSection(parts...)
}

func text(s string, style *slack.RichTextSectionTextStyle) slack.RichTextSectionElement {
	return slack.NewRichTextSectionTextElement(s, style)
}

// link is a link if it is one that may be followed; else what it shows, as text.
func link(l ticket.Link) slack.RichTextSectionElement {
	shows := cut(line(l.Text), maxLinkText)
	if !webURL(l.URL) {
		return text(orElse(shows, "(no link)"), nil)
	}
	return slack.NewRichTextSectionLinkElement(l.URL, orElse(shows, cut(l.URL, maxLinkText)), nil)
}

// webURL reports whether s is an http or https URL of printable ASCII, with a host and
// nobody's credentials.
func webURL(s string) bool {
	if units(s) > maxURL || strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r > '~' || strings.ContainsRune("<>|\"\\", r) }) {
		return false
	}
	u, err := url.Parse(s)
	return err == nil && (u.Scheme == "https" || u.Scheme == "http") && u.Hostname() != "" && u.User == nil
}

// plain is a text object of at most n units. Slack wants it escaped.
func plain(s string, n int) *slack.TextBlockObject {
	emoji := false
	return &slack.TextBlockObject{Type: slack.PlainTextType, Text: escape(line(s), n), Emoji: &emoji}
}

// fallback is what a notification shows: our title and the tally, never a line of it.
func fallback(n ticket.News) string {
	var counts []string
	for _, c := range n.Tally[:min(len(n.Tally), maxCounts)] {
		counts = append(counts, fmt.Sprintf("%d %s", c.N, cut(line(string(c.Status)), 20)))
	}
	out := Escape(cut(orElse(line(n.Title), "auditcanary"), 300))
	if len(counts) > 0 {
		out += ": " + Escape(strings.Join(counts, ", "))
	}
	return out
}

// Escape makes a line of text harmless where Slack reads markup: in a message's text, sent
// with mrkdwn off, or in an answer to a command. The three characters that begin markup
// are escaped as Slack wants it; those that format are kept from it by a form that looks
// alike.
func Escape(s string) string {
	return escape(emoji.ReplaceAllString(unformatted.Replace(line(s)), "ː${1}ː"), maxEscaped)
}

const maxEscaped = 3_000

var unformatted = strings.NewReplacer("*", "∗", "_", "ˍ", "~", "∼", "`", "ʹ", "@", "＠", "#", "＃")

var emoji = regexp.MustCompile(`:([a-z0-9ˍ+'-]+):`)

// line is anybody's text on one line, with nothing in it that steers or reorders.
func line(s string) string { return inert.Line(strings.Join(strings.Fields(s), " ")) }

func escape(s string, n int) string {
	var b strings.Builder
	used := 0
	for _, r := range s {
		one := string(r)
		switch r {
		case '&':
			one = "&amp;"
		case '<':
			one = "&lt;"
		case '>':
			one = "&gt;"
		}
		if used+units(one) > n-1 {
			return b.String() + "…"
		}
		used += units(one)
		b.WriteString(one)
	}
	return b.String()
}

// cut leaves at most n units of s, and shows that it did.
func cut(s string, n int) string {
	if units(s) <= n {
		return s
	}
	used := 0
	for i, r := range s {
		if used += max(utf16.RuneLen(r), 1); used > n-1 {
			return s[:i] + "…"
		}
	}
	return s
}

// units is how long Slack takes a text to be.
func units(s string) int {
	n := 0
	for _, r := range s {
		n += max(utf16.RuneLen(r), 1)
	}
	return n
}

// size is how long a thing is as JSON.
func size(v any) int {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if enc.Encode(v) != nil {
		return maxMessage // strings and numbers always encode
	}
	return units(b.String())
}

func count(n int, thing string) string {
	if n == 1 {
		return "1 " + thing
	}
	return fmt.Sprintf("%d %ss", n, thing)
}

func orElse(s, otherwise string) string {
	if strings.TrimSpace(s) == "" {
		return otherwise
	}
	return s
}
