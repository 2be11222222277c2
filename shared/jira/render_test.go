package jira

import (
	"encoding/json"
	"fmt"
	"regexp"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"github.com/auditcanary/auditcanary/shared/ticket"
)

func TestADocumentIsRendered(t *testing.T) {
	doc := ticket.Doc{
		{Kind: "heading", Text: "What failed"},
		{Kind: "text", Text: "one\ntwo *bold*"},
		{Kind: "list", Rows: [][]string{{"a"}, {"b", "c"}}},
		{Kind: "table", Rows: [][]string{{"hop", "seen"}, {"emitted"}}},
		{Kind: "code", Text: `{"a":{}}` + "\n" + `\`},
		{Kind: "link", Text: "Report", URL: "https://example.com/a_b?c=[d]"},
		{Kind: "link", Text: "no", URL: "javascript:alert(1)"},
	}
	for name, tc := range map[string]struct{ got, want string }{
		"wiki": {wiki(doc), "h3. What failed\n\none\ntwo &#42;bold&#42;\n\n* a\n* b, c\n\n||hop||seen||\n|emitted| |\n\n{noformat}\n{ \"a\":{ }}\n\\ \n{noformat}\n\n" +
			"[Report|https://example.com/a%5Fb?c=%5Bd%5D]\n\nno &#40;javascript&#58;alert&#40;1&#41;&#41;"},
		"document format": {string(must(json.Marshal(adf(doc)))), `{"type":"doc","version":1,"content":[` +
			`{"type":"heading","attrs":{"level":3},"content":[{"type":"text","text":"What failed"}]},` +
			`{"type":"paragraph","content":[{"type":"text","text":"one"},{"type":"hardBreak"},{"type":"text","text":"two *bold*"}]},` +
			`{"type":"bulletList","content":[{"type":"listItem","content":[{"type":"paragraph","content":[{"type":"text","text":"a"}]}]},{"type":"listItem","content":[{"type":"paragraph","content":[{"type":"text","text":"b, c"}]}]}]},` +
			`{"type":"table","content":[{"type":"tableRow","content":[{"type":"tableHeader","content":[{"type":"paragraph","content":[{"type":"text","text":"hop"}]}]},{"type":"tableHeader","content":[{"type":"paragraph","content":[{"type":"text","text":"seen"}]}]}]},` +
			`{"type":"tableRow","content":[{"type":"tableCell","content":[{"type":"paragraph","content":[{"type":"text","text":"emitted"}]}]},{"type":"tableCell","content":[{"type":"paragraph","content":[]}]}]}]},` +
			`{"type":"codeBlock","content":[{"type":"text","text":"{\"a\":{}}\n\\"}]},` +
			`{"type":"paragraph","content":[{"type":"text","text":"Report","marks":[{"type":"link","attrs":{"href":"https://example.com/a%5Fb?c=%5Bd%5D"}}]}]},` +
			`{"type":"paragraph","content":[{"type":"text","text":"no (javascript:alert(1))"}]}]}`},
	} {
		if tc.got != tc.want {
			t.Errorf("%s:\n%s\nwant\n%s", name, tc.got, tc.want)
		}
	}
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

func TestOnlyAddressesOfTheWebAreLinks(t *testing.T) {
	for in, want := range map[string]string{
		"https://example.com": "https://example.com", "http://h:8080/a b": "http://h:8080/a%20b", "HTTPS://h/x": "https://h/x",
		"https://h/a|b]{c}": "https://h/a%7Cb%5D%7Bc%7D", "https://h/?q=é": "https://h/?q=%C3%A9",
		"javascript:alert(1)": "", "//h/x": "", "/x": "", "": "", "https://": "", "https://u:p@h/": "", "https://[::1]/": "", "https://h]x/": "", "ftp://h/": "",
		"https://h\n/": "", "data:text/html,x": "", "https://е.example/": "", "https://h|x/": "", "https://h/" + strings.Repeat("a", 3000): "",
	} {
		if got, ok := link(in); got != want || ok != (want != "") {
			t.Errorf("%q: %q, %v, want %q", in, got, ok, want)
		}
	}
}

func TestSummariesLabelsAndFileNames(t *testing.T) {
	long := strings.Repeat("𝒳", 200) // two units each
	for got, want := range map[string]string{
		summaryOf(" a\r\nb\x00c\t "):     "a b\uFFFDc",
		summaryOf("\n"):                  "(no summary)",
		summaryOf(long):                  strings.Repeat("𝒳", 127) + "…",
		labelOf("a b\u00a0c\u202ed\xff"): "a-b-c-d-",
		labelOf(long):                    strings.Repeat("𝒳", 127),
		attachName("evidence.json", "m"): "evidence.m.json",
		attachName(`../"x";y`, "m"):      "x-y.m.json",
		attachName("", "m"):              ".m.json",
		markLabel("f-1"):                 "auditcanary-f-1",
		markLabel("auditcanary-f-1"):     "auditcanary-f-1",
	} {
		if got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}

// FuzzRender: whatever a document says, it is a valid document of the format, with
// nothing in it that acts, and wiki markup with none but ours.
func FuzzRender(f *testing.F) {
	for _, s := range []string{
		"plain", "{noformat}{html}", `\`, `\{noformat}`, "a\n\nh1. b\n----\n|x|", "[a|b]", "\xff\x00\u202e", "&#123;", "{", "||", "www.x", "Hh1.x", "https://h/|]",
		strings.Repeat("{", 9000), "\u2028", "𝒳", "javascript:x", "\t*",
	} {
		f.Add("text", s, "https://example.com/"+s, uint16(3))
		f.Add("code", s, s, uint16(1))
		f.Add("table", s, s, uint16(400))
	}
	f.Fuzz(func(t *testing.T, kind, text, to string, n uint16) {
		rows := [][]string{{text, kind}}
		for i := range min(int(n), 60) {
			rows = append(rows, []string{text[:len(text)*i/60], kind, to}[:i%4])
		}
		doc := ticket.Doc{{Kind: kind, Text: text, URL: to, Rows: rows}}
		for _, k := range []string{"heading", "text", "list", "table", "code", "link"} {
			doc = append(doc, ticket.Block{Kind: k, Text: text, URL: to, Rows: rows})
		}
		var root any
		b := must(json.Marshal(adf(doc)))
		if err := json.Unmarshal(b, &root); err != nil {
			t.Fatal(err)
		}
		if err := valid(root, "doc"); err != nil {
			t.Errorf("%v in %.300s", err, b)
		}
		w := wiki(doc)
		if err := passive(w); err != nil {
			t.Errorf("%v in %.300q", err, w)
		}
		if length(string(b)) > maxText || length(w) > maxText {
			t.Errorf("%d and %d units", length(string(b)), length(w))
		}
		if s := summaryOf(text); s == "" || length(s) > maxSummary || strings.ContainsFunc(s, unicode.IsControl) || !utf8.ValidString(s) {
			t.Errorf("summary %q", s)
		}
		if l := labelOf(text); l != labelOf(l) || strings.ContainsFunc(l, unicode.IsSpace) || length(l) > maxLabel {
			t.Errorf("label %q", l)
		}
	})
}

// inside says what may stand in a node. (Atlassian's own schema judges it too: the
// site of the conformance tests.)
var inside = map[string][]string{
	"doc": {"paragraph", "heading", "bulletList", "table", "codeBlock"}, "paragraph": {"text", "hardBreak"}, "heading": {"text"},
	"bulletList": {"listItem"}, "listItem": {"paragraph"}, "table": {"tableRow"}, "tableRow": {"tableHeader", "tableCell"},
	"tableHeader": {"paragraph"}, "tableCell": {"paragraph"}, "codeBlock": {"text"},
}

func valid(v any, want ...string) error {
	n, ok := v.(map[string]any)
	kind, _ := n["type"].(string)
	if !ok || !contains(want, kind) {
		return fmt.Errorf("a %q where %q may stand", kind, want)
	}
	if kind == "text" {
		s, _ := n["text"].(string)
		if s == "" || strings.ContainsFunc(s, func(r rune) bool { return r != '\n' && !unicode.IsPrint(r) }) {
			return fmt.Errorf("text %q", s)
		}
		marks, _ := n["marks"].([]any)
		for _, m := range marks {
			href, _ := m.(map[string]any)["attrs"].(map[string]any)["href"].(string)
			if m.(map[string]any)["type"] != "link" || !webLink.MatchString(href) {
				return fmt.Errorf("mark %v", m)
			}
		}
		return nil
	}
	content, _ := n["content"].([]any)
	switch kind {
	case "bulletList", "listItem", "table", "tableHeader", "tableCell", "doc":
		if len(content) == 0 {
			return fmt.Errorf("an empty %s", kind)
		}
	}
	for _, c := range content {
		if err := valid(c, inside[kind]...); err != nil {
			return err
		}
	}
	return nil
}

func contains(list []string, s string) bool {
	for _, x := range list {
		if x == s {
			return true
		}
	}
	return false
}

var (
	webLink  = regexp.MustCompile("^https?://[A-Za-z0-9.:-]+([/?#][^\\[\\]|{}\\\\^~!*_\"'<>` \x00-\x1f\x7f-\uffff]*)?$")
	wikiLink = regexp.MustCompile(`^\[([^\[\]|]+)\|([^\[\]|]+)\]$`)
	entity   = regexp.MustCompile(`&#[0-9]+;`)
	quiet    = regexp.MustCompile("^[^\\[\\]{}!*_\\-+^~?|#@&<>\"'`():;\\\\]*$")
	loud     = regexp.MustCompile(`(?i)(^\s*(h[1-6]|bq)|www)\.`)
)

// passive says what of wiki markup is not ours.
func passive(s string) error {
	in := false
	for line := range strings.SplitSeq(s, "\n") {
		switch {
		case line == "{noformat}":
			in = !in
			continue
		case in:
			if strings.Contains(line, "{") && strings.Contains(strings.ReplaceAll(line, "{ ", ""), "{") {
				return fmt.Errorf("code %q", line)
			}
			continue
		}
		rest := line
		if m := wikiLink.FindStringSubmatch(line); m != nil {
			if rest = m[1]; !webLink.MatchString(m[2]) {
				return fmt.Errorf("link to %q", m[2])
			}
		} else if strings.HasPrefix(line, "|") {
			rest = strings.ReplaceAll(line, "|", " ")
		} else if cut, ok := strings.CutPrefix(line, "h3. "); ok {
			rest = cut
		} else if cut, ok := strings.CutPrefix(line, "* "); ok {
			rest = cut
		}
		if rest = entity.ReplaceAllString(rest, "·"); !quiet.MatchString(rest) || loud.MatchString(rest) {
			return fmt.Errorf("line %q", line)
		}
	}
	if in {
		return fmt.Errorf("{noformat} is not ended")
	}
	return nil
}

func TestThePassiveIsToldFromTheActive(t *testing.T) {
	for _, s := range []string{"*b*", "h1. x", "www.x", "a\nbq. b", "[a|b|c]", "[a|javascript:x]", "{noformat}\n{noformat}\n{noformat}", "{html}", "a_b", "{noformat}\n{code}\n{noformat}", "a:b", "x\\"} {
		if passive(s) == nil {
			t.Errorf("%q passes", s)
		}
	}
	for _, s := range []string{"plain, 1/2 = 50% $", "h3. t", "* a", "||a||", "|a| |", "[a|https://h/]", "{noformat}\n{ x\n{noformat}", "&#42;", "a.b", "é"} {
		if err := passive(s); err != nil {
			t.Error(err)
		}
	}
}
