package slack

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/auditcanary/auditcanary/shared/canary"
	"github.com/auditcanary/auditcanary/shared/ticket"
)

var update = flag.Bool("update", false, "write the golden files anew")

var day = time.Date(2026, 11, 22, 9, 30, 0, 0, time.UTC)

func items(n int, detail string) []ticket.NewsItem {
	out := make([]ticket.NewsItem, n)
	for i := range out {
		out[i] = ticket.NewsItem{
			What:   fmt.Sprintf("aws/iam-role at 111122223333/us-east-1: surfaced %d", i+1),
			Detail: detail,
			Ticket: ticket.Link{Text: fmt.Sprintf("OPS-%d", i+1), URL: fmt.Sprintf("https://jira.example.com/browse/OPS-%d", i+1)},
		}
	}
	return out
}

func summary() ticket.News {
	return ticket.News{
		Mark: "run-20261122-abcdef", Kind: "run", Title: "20261122-abcdef: 2 canaries failed & 1 was late", Run: "20261122-abcdef", At: day,
		Tally: []ticket.Count{{Status: canary.Pass, N: 36}, {Status: canary.Fail, N: 2}, {Status: canary.Late, N: 1}},
		Groups: []ticket.NewsGroup{
			{Title: "New", Items: items(25, "no record of iam:CreateRole in the archive after 1h0m0s")},
			{Title: "Fixed", Items: items(1, "")},
			{Title: "Excepted"},
		},
		Links: []ticket.Link{{Text: "report", URL: "https://reports.example.com/r?run=20261122-abcdef&x=1"}, {Text: "ledger", URL: "javascript:alert(1)"}},
	}
}

func TestMessagesLookAsAgreed(t *testing.T) {
	for name, messages := range map[string][]Message{
		"summary": {Render(summary())},
		"empty":   {Render(ticket.News{})},
		"detail":  Parts(ticket.News{Title: "Details", Kind: "detail", Run: "20261122-abcdef", At: day, Groups: []ticket.NewsGroup{{Title: "New", Items: items(60, strings.Repeat("expected <x>, found _y_. ", 20))}}}),
	} {
		var b bytes.Buffer
		enc := json.NewEncoder(&b)
		enc.SetIndent("", " ")
		enc.SetEscapeHTML(false)
		if name == "detail" {
			if len(messages) < 3 {
				t.Fatalf("%d messages", len(messages))
			}
			messages = messages[len(messages)-1:]
		}
		if err := enc.Encode(messages); err != nil {
			t.Fatal(err)
		}
		file := "testdata/" + name + ".json"
		if *update {
			if err := os.WriteFile(file, b.Bytes(), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(want, b.Bytes()) {
			t.Errorf("%s differs from %s; look at it and run with -update:\n%s", name, file, b.String())
		}
	}
}

// told are all lines of the news that messages show, with what they say is not shown.
func told(t *testing.T, messages []Message) (shown int, text string) {
	t.Helper()
	var all strings.Builder
	for _, m := range messages {
		b, err := json.Marshal(m.Blocks)
		if err != nil {
			t.Fatal(err)
		}
		var blocks any
		if err := json.Unmarshal(b, &blocks); err != nil {
			t.Fatal(err)
		}
		var walk func(v any)
		walk = func(v any) {
			switch v := v.(type) {
			case map[string]any:
				if v["type"] == "rich_text_list" {
					shown += len(v["elements"].([]any))
				}
				if s, ok := v["text"].(string); ok {
					all.WriteString(s + "\n")
				}
				for _, e := range v {
					walk(e)
				}
			case []any:
				for _, e := range v {
					walk(e)
				}
			}
		}
		walk(blocks)
	}
	return shown, all.String()
}

func TestWhatDoesNotFitIsCounted(t *testing.T) {
	n := ticket.News{Title: "200 at once", Groups: []ticket.NewsGroup{{Title: "New", Items: items(200, "gone")}, {Title: "Late", Items: items(3, "")}}}
	shown, text := told(t, []Message{Render(n)})
	if shown != maxItems+3 || !strings.Contains(text, "and 180 more") || !strings.Contains(text, "New (200)") || !strings.Contains(text, "Late (3)") {
		t.Errorf("%d shown in\n%s", shown, text)
	}
	if shown, _ := told(t, Parts(n)); shown != 203 {
		t.Errorf("the detail shows %d of 203", shown)
	}

	// A long first group does not hide the others.
	n.Groups[0].Items = items(200, strings.Repeat("x", 5000))
	for i := range n.Groups[0].Items {
		n.Groups[0].Items[i].What = strings.Repeat("y", 5000)
	}
	shown, text = told(t, []Message{Render(n)})
	if !strings.Contains(text, "Late (3)") || !strings.Contains(text, fmt.Sprintf("and %d more", 200-shown)) && !strings.Contains(text, fmt.Sprintf("and %d more", 200-(shown-3))) {
		t.Errorf("%d shown in\n%s", shown, text)
	}

	// More groups than a message holds.
	n.Groups = nil
	for range maxGroups + 2 {
		n.Groups = append(n.Groups, ticket.NewsGroup{Title: "part", Items: items(2, "")})
	}
	if _, text := told(t, []Message{Render(n)}); !strings.Contains(text, "and 4 more lines in 2 more parts") {
		t.Error(text)
	}

	// More than a thread is given.
	n.Groups = []ticket.NewsGroup{{Title: "New", Items: items(2000, strings.Repeat("z", 900))}}
	parts := Parts(n)
	shown, text = told(t, parts)
	if len(parts) != maxParts || shown == 0 || !strings.Contains(text, fmt.Sprintf("and %d more lines, which the report has", 2000-shown)) {
		t.Errorf("%d messages, %d shown in\n%s", len(parts), shown, text[len(text)-300:])
	}
}

func TestOnlyWebLinksAreLinks(t *testing.T) {
	for url, want := range map[string]bool{
		"https://example.com/a?b=c#d": true, "http://127.0.0.1:8080/": true,
		"javascript:alert(1)": false, "//example.com": false, "https://": false, "": false, "mailto:a@b": false,
		"https://user:pw@example.com/": false, "https://example.com/ <!channel>": false, "https://example.com/|x": false,
		"https://example.com/\u202egpj": false, "https://example.com/" + strings.Repeat("a", maxURL): false,
		"slack://open": false, "file:///etc/passwd": false, "https://exa\nmple.com": false,
	} {
		if got := webURL(url); got != want {
			t.Errorf("%q: %v", url, got)
		}
	}
}

func TestEscapedTextFitsAndIsInert(t *testing.T) {
	for in, want := range map[string]string{
		"<!channel> & <@U1>": "&lt;!channel&gt; &amp; &lt;＠U1&gt;",
		"*b* _i_ ~s~ `c`":    "∗b∗ ˍiˍ ∼s∼ ʹcʹ",
		":tada: @here #c":    "ːtadaː ＠here ＃c",
		"a\nb\u202ec":        "a b\uFFFDc",
	} {
		if got := Escape(in); got != want {
			t.Errorf("%q: %q, want %q", in, got, want)
		}
	}
	if got := escape(strings.Repeat("&", 100), 20); units(got) > 20 || strings.Count(got, "&amp;") != 3 || !strings.HasSuffix(got, ";…") {
		t.Errorf("%q", got)
	}
	if got := cut("😀😀😀", 5); got != "😀😀…" {
		t.Errorf("%q", got)
	}
}

// fill writes a text into every string that a value has, and gives every list some.
func fill(v reflect.Value, text string, many int) {
	switch v.Kind() {
	case reflect.String:
		v.SetString(text)
	case reflect.Struct:
		if v.Type() == reflect.TypeFor[time.Time]() {
			v.Set(reflect.ValueOf(day))
			return
		}
		for i := range v.NumField() {
			fill(v.Field(i), text, many)
		}
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), many, many))
		for i := range many {
			fill(v.Index(i), text, many)
		}
	}
}

// FuzzRender: whatever the news say, a message stays within the limits.
func FuzzRender(f *testing.F) {
	for _, s := range []string{"", "x", "<!channel>", strings.Repeat("\"", 4000), strings.Repeat("😀", 500), "\xff\x00\u202e", strings.Repeat("&", 300), "https://example.com/" + strings.Repeat("%22", 320)} {
		f.Add(s, 1)
		f.Add(s, 30)
	}
	f.Fuzz(func(t *testing.T, s string, many int) {
		var n ticket.News
		// What is longer is cut wherever it stands.
		fill(reflect.ValueOf(&n).Elem(), s[:min(len(s), 2*maxURL)], min(max(many, 0), 25))
		for _, m := range append(Parts(n), Render(n)) {
			if len(m.Blocks) == 0 || len(m.Blocks) > maxBlocks {
				t.Errorf("%d blocks", len(m.Blocks))
			}
			if got := size(m.Blocks); got > maxMessage {
				t.Errorf("%d characters of blocks", got)
			}
			if m.Text == "" || units(m.Text) > 40_000 {
				t.Errorf("text of %d characters", units(m.Text))
			}
		}
	})
}
