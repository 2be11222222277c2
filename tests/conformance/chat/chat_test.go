package chat_test

import (
	"context"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"reflect"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/auditcanary/auditcanary/shared/canary"
	"github.com/auditcanary/auditcanary/shared/slack"
	"github.com/auditcanary/auditcanary/shared/ticket"
	"github.com/auditcanary/auditcanary/tests/sandbox/fault"
	sandbox "github.com/auditcanary/auditcanary/tests/sandbox/slack"
)

const (
	token   = "xoxb-1234567890-abcdefghij"
	channel = "C0AUDIT0001"
)

var begun = time.Date(2026, 11, 22, 9, 30, 0, 0, time.UTC)

// clock moves when somebody sleeps.
type clock struct {
	mu    sync.Mutex
	at    time.Time
	slept []time.Duration
}

func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.at
}

func (c *clock) sleep(ctx context.Context, d time.Duration) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.at = c.at.Add(d)
	c.slept = append(c.slept, d)
	return ctx.Err()
}

// world is a workspace with a chat in it.
type world struct {
	*sandbox.Workspace
	chat   ticket.Chat
	clock  *clock
	server *httptest.Server
}

// open is the driver under test: the contract below asks nothing of Slack's.
func open(t *testing.T, change func(*sandbox.Options, *slack.Options)) world {
	t.Helper()
	c := &clock{at: begun}
	so := sandbox.Options{
		Token: token, Now: c.now, Groups: map[string][]string{"S0AUDITORS": {"U0AUDITOR"}},
		Channels: []sandbox.Channel{{ID: channel, Name: "audit", Member: true}, {ID: "C0AUDIT0002", Name: "other"}},
	}
	do := slack.Options{Token: token, Channel: channel, Timeout: 2 * time.Second, Clock: c.now, Sleep: c.sleep}
	if change != nil {
		change(&so, &do)
	}
	w := world{Workspace: sandbox.New(so), clock: c}
	w.server = httptest.NewServer(w.Workspace)
	t.Cleanup(w.server.Close)
	if do.APIURL == "" {
		do.APIURL = w.server.URL + "/api/"
	}
	chat, err := slack.New(do)
	if err != nil {
		t.Fatal(err)
	}
	w.chat = chat
	return w
}

func news(mark, kind string, lines int) ticket.News {
	n := ticket.News{
		Mark: mark, Kind: kind, Title: "Run 20261122-abcdef", Run: "20261122-abcdef", At: begun,
		Tally: []ticket.Count{{Status: canary.Pass, N: 36}, {Status: canary.Fail, N: lines}},
		Links: []ticket.Link{{Text: "report", URL: "https://reports.example.com/r"}},
	}
	g := ticket.NewsGroup{Title: "New"}
	for i := range lines {
		g.Items = append(g.Items, ticket.NewsItem{What: fmt.Sprintf("line-%d.", i+1), Detail: strings.Repeat("expected and found ", 20), Ticket: ticket.Link{Text: "OPS-1", URL: "https://jira.example.com/browse/OPS-1"}})
	}
	n.Groups = []ticket.NewsGroup{g}
	return n
}

func TestWhatIsPostedIsFound(t *testing.T) {
	w := open(t, nil)
	ctx := t.Context()
	if _, found, err := w.chat.Find(ctx, "run-1", begun); found || err != nil {
		t.Fatalf("found before it was posted: %v, %v", found, err)
	}
	posted, err := w.chat.Post(ctx, news("run-1", "run", 2), "")
	if err != nil {
		t.Fatal(err)
	}
	if posted.Channel != channel || posted.TS == "" || !strings.HasPrefix(posted.URL, w.server.URL+"/archives/"+channel+"/p") {
		t.Errorf("posted %+v", posted)
	}
	got, found, err := w.chat.Find(ctx, "run-1", begun)
	if !found || err != nil || got != posted {
		t.Errorf("found %+v, %v, %v; want %+v", got, found, err, posted)
	}
	if _, found, err := w.chat.Find(ctx, "run", begun); found || err != nil {
		t.Errorf("another mark: %v, %v", found, err)
	}
	// Far back, and behind many pages of what others say.
	for i := range 650 {
		w.Say(channel, "U0SOMEBODY", "", fmt.Sprint(i), "")
	}
	if got, found, err := w.chat.Find(ctx, "run-1", begun); !found || err != nil || got != posted {
		t.Errorf("behind others: %+v, %v, %v", got, found, err)
	}
	// What was posted long before is not asked for.
	if _, found, err := w.chat.Find(ctx, "run-1", begun.Add(72*time.Hour)); found || err != nil {
		t.Errorf("days later: %v, %v", found, err)
	}
}

func TestDetailsGoIntoTheThreadInParts(t *testing.T) {
	w := open(t, nil)
	ctx := t.Context()
	first, err := w.chat.Post(ctx, news("run-1", "run", 100), "")
	if err != nil {
		t.Fatal(err)
	}
	detail := news("run-1-detail", "detail", 100)
	last, err := w.chat.Post(ctx, detail, first.TS)
	if err != nil {
		t.Fatal(err)
	}
	all := w.Messages(channel)
	if len(all) < 4 {
		t.Fatalf("%d messages", len(all))
	}
	var text string
	for _, m := range all[1:] {
		if m.Thread != first.TS {
			t.Errorf("message %s is in thread %q", m.TS, m.Thread)
		}
		text += string(m.Blocks)
	}
	for i := range 100 {
		if n := strings.Count(text, fmt.Sprintf(`"line-%d."`, i+1)); n != 1 {
			t.Errorf("line %d is told %d times", i+1, n)
		}
	}
	if got, found, err := w.chat.Find(ctx, "run-1-detail", begun); !found || err != nil || got != last {
		t.Errorf("found %+v, %v, %v; want %+v", got, found, err, last)
	}
	// Once more: nothing is said twice.
	again, err := w.chat.Post(ctx, detail, first.TS)
	if err != nil || again != last || len(w.Messages(channel)) != len(all) {
		t.Errorf("again: %+v, %v, %d messages", again, err, len(w.Messages(channel)))
	}
}

func TestAnInterruptedDetailIsCompleted(t *testing.T) {
	faults, err := fault.Parse("f.yaml", []byte(`faults:
  - name: the third answer is lost
    at: chat
    match: 'it.method == "chat.postMessage" && it.n == 5'
    do: {hang: {for: 1ms, when: after}}
`))
	if err != nil {
		t.Fatal(err)
	}
	w := open(t, func(o *sandbox.Options, _ *slack.Options) { o.Faults = faults })
	ctx := t.Context()
	first, err := w.chat.Post(ctx, news("run-1", "run", 100), "") // calls 1 (post), 2 (permalink)
	if err != nil {
		t.Fatal(err)
	}
	detail := news("run-1-detail", "detail", 100) // 3 auth.test, 4 replies, 5 the first part
	if _, err := w.chat.Post(ctx, detail, first.TS); err == nil || errors.Is(err, ticket.ErrRefused) {
		t.Fatalf("a lost answer: %v", err)
	}
	if n := len(w.Messages(channel)); n != 2 {
		t.Fatalf("%d messages", n)
	}
	if _, found, err := w.chat.Find(ctx, "run-1-detail", begun); found || err != nil {
		t.Errorf("a part of it is taken for all: %v, %v", found, err)
	}
	if _, err := w.chat.Post(ctx, detail, first.TS); err != nil {
		t.Fatal(err)
	}
	var text string
	for _, m := range w.Messages(channel)[1:] {
		text += string(m.Blocks)
	}
	for i := range 100 {
		if n := strings.Count(text, fmt.Sprintf(`"line-%d."`, i+1)); n != 1 {
			t.Errorf("line %d is told %d times", i+1, n)
		}
	}
}

func TestAPostWhoseAnswerIsLostIsFound(t *testing.T) {
	faults, err := fault.Parse("f.yaml", []byte(`faults:
  - name: lost
    at: chat
    match: 'it.method == "chat.postMessage"'
    times: 1
    do: {hang: {for: 1ms, when: after}}
`))
	if err != nil {
		t.Fatal(err)
	}
	w := open(t, func(o *sandbox.Options, _ *slack.Options) { o.Faults = faults })
	if _, err := w.chat.Post(t.Context(), news("run-1", "run", 1), ""); err == nil || errors.Is(err, ticket.ErrRefused) {
		t.Fatalf("err %v", err)
	}
	if _, found, err := w.chat.Find(t.Context(), "run-1", begun); !found || err != nil {
		t.Errorf("%v, %v", found, err)
	}
}

// TestNobodyElsesMessageIsTakenForOurs: anybody who may post can copy a mark.
func TestNobodyElsesMessageIsTakenForOurs(t *testing.T) {
	w := open(t, nil)
	first, err := w.chat.Post(t.Context(), news("run-1", "run", 1), "")
	if err != nil {
		t.Fatal(err)
	}
	forged := `{"event_type": "auditcanary", "event_payload": {"mark": "run-2", "part": 1, "parts": 1}}`
	w.Say(channel, "U0MALLORY01", "", "all is well", forged)
	w.Say(channel, "U0MALLORY01", first.TS, "all is well", forged)
	if got, found, err := w.chat.Find(t.Context(), "run-2", begun); found || err != nil {
		t.Errorf("found %+v, %v", got, err)
	}
}

func TestAChannelTakesAMessageASecond(t *testing.T) {
	w := open(t, nil)
	for i := range 3 {
		if _, err := w.chat.Post(t.Context(), news(fmt.Sprintf("run-%d", i), "run", 1), ""); err != nil {
			t.Fatal(err)
		}
	}
	if len(w.clock.slept) != 2 || len(w.Messages(channel)) != 3 {
		t.Errorf("slept %v, %d messages", w.clock.slept, len(w.Messages(channel)))
	}
}

func TestRateLimitsAreWaitedFor(t *testing.T) {
	limited := func(after string, times int) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			if times > 0 {
				times--
				w.Header().Set("Retry-After", after)
				w.WriteHeader(http.StatusTooManyRequests)
				return
			}
			fmt.Fprint(w, `{"ok": true, "channel": "C0AUDIT0001", "ts": "1700000000.000100"}`)
		}
	}
	for _, tt := range []struct {
		name    string
		handler http.HandlerFunc
		within  time.Duration
		want    string // of the error; "" = none
	}{
		{"twice", limited("30", 2), 0, ""},
		{"at once", limited("0", 2), 0, ""},
		{"longer than there is time", limited("30", 2), time.Second, "rate limited, to be tried again after 30s"},
		{"for ever", limited("1", 1000), 0, "rate limited, to be tried again after 1s"},
		{"for a century", limited("3000000000", 2), 0, "rate limited, to be tried again after"},
		{"nonsense", limited("soon", 2), 0, "invalid syntax"},
	} {
		server := httptest.NewServer(tt.handler)
		w := open(t, func(_ *sandbox.Options, o *slack.Options) { o.APIURL = server.URL + "/api/" })
		ctx := t.Context()
		if tt.within > 0 {
			var cancel context.CancelFunc
			ctx, cancel = context.WithTimeout(ctx, tt.within)
			defer cancel()
		}
		_, err := w.chat.Post(ctx, news("run-1", "run", 1), "")
		if (err == nil) != (tt.want == "") || err != nil && (!strings.Contains(err.Error(), tt.want) || errors.Is(err, ticket.ErrRefused)) {
			t.Errorf("%s: %v", tt.name, err)
		}
		server.Close()
	}
}

func TestErrorsSayWhatToDo(t *testing.T) {
	for _, tt := range []struct {
		name    string
		change  func(*sandbox.Options, *slack.Options)
		want    string
		refused bool
	}{
		{"wrong token", func(_ *sandbox.Options, o *slack.Options) { o.Token = "xoxb-other" }, "invalid_auth: set the environment variable to the app's bot token", true},
		{"no scope", func(o *sandbox.Options, _ *slack.Options) { o.Scopes = []string{"channels:history"} }, "missing_scope: add the scope chat:write to the app", true},
		{"archived", func(o *sandbox.Options, _ *slack.Options) { o.Channels[0].Archived = true }, "is_archived: the channel is archived", true},
		{"no such channel", func(_ *sandbox.Options, o *slack.Options) { o.Channel = "C0NOWHERE01" }, "channel_not_found: the channel does not exist, or is private", true},
		{"not in it", func(_ *sandbox.Options, o *slack.Options) { o.Channel = "C0AUDIT0002" }, "not_in_channel: invite the bot", true},
		{"down", func(o *sandbox.Options, _ *slack.Options) {
			o.Faults, _ = fault.Parse("f", []byte("faults: [{name: x, at: chat, match: 'true', do: {error: {code: down, status: 503}}}]"))
		}, "503", false},
		{"its own error", func(o *sandbox.Options, _ *slack.Options) {
			o.Faults, _ = fault.Parse("f", []byte("faults: [{name: x, at: chat, match: 'true', do: {error: {code: internal_error}}}]"))
		}, "internal_error", false},
		{"hangs", func(o *sandbox.Options, s *slack.Options) {
			s.Timeout = 30 * time.Millisecond
			o.Faults, _ = fault.Parse("f", []byte("faults: [{name: x, at: chat, match: 'true', do: {hang: {for: 1s}}}]"))
		}, "no answer in time", false},
	} {
		w := open(t, tt.change)
		_, err := w.chat.Post(t.Context(), news("run-1", "run", 1), "")
		if err == nil || !strings.Contains(err.Error(), tt.want) || !strings.Contains(err.Error(), "chat.postMessage") || errors.Is(err, ticket.ErrRefused) != tt.refused {
			t.Errorf("%s: refused %v: %v", tt.name, errors.Is(err, ticket.ErrRefused), err)
		}
		if n := len(w.Messages(channel)); n != 0 {
			t.Errorf("%s: %d messages", tt.name, n)
		}
	}
}

func TestAThreadThatIsGoneGetsNoDetails(t *testing.T) {
	w := open(t, nil)
	_, err := w.chat.Post(t.Context(), news("run-1-detail", "detail", 1), "1700000000.000100")
	if !errors.Is(err, ticket.ErrGone) || len(w.Messages(channel)) != 0 {
		t.Errorf("%v, %d messages", err, len(w.Messages(channel)))
	}
}

// TestRepliesThatLieAreNotBelieved: a proxy, or somebody in between.
func TestRepliesThatLieAreNotBelieved(t *testing.T) {
	elsewhere := 0
	other := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { elsewhere++ }))
	defer other.Close()
	for name, answer := range map[string]func(w http.ResponseWriter){
		"empty":        func(w http.ResponseWriter) {},
		"no answer":    func(w http.ResponseWriter) { fmt.Fprint(w, `{}`) },
		"not ok":       func(w http.ResponseWriter) { fmt.Fprint(w, `{"ok": false}`) },
		"no timestamp": func(w http.ResponseWriter) { fmt.Fprint(w, `{"ok": true, "ts": "soon"}`) },
		"cut":          func(w http.ResponseWriter) { fmt.Fprint(w, `{"ok": tr`) },
		"HTML":         func(w http.ResponseWriter) { fmt.Fprint(w, `<html>`) },
		"redirect": func(w http.ResponseWriter) {
			w.Header().Set("Location", other.URL)
			w.WriteHeader(http.StatusTemporaryRedirect)
		},
		"endless": func(w http.ResponseWriter) {
			fmt.Fprint(w, `{"ok": true, "x": "`)
			for range 17 {
				fmt.Fprint(w, strings.Repeat("x", 1<<20))
			}
		},
		"our token, and a terminal's escape": func(w http.ResponseWriter) {
			fmt.Fprintf(w, `{"ok": false, "error": "\u001b[2J%s \u202e <!channel>"}`, token)
		},
	} {
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { answer(w) }))
		w := open(t, func(_ *sandbox.Options, o *slack.Options) { o.APIURL = server.URL + "/api/" })
		_, err := w.chat.Post(t.Context(), news("run-1", "run", 1), "")
		_, found, findErr := w.chat.Find(t.Context(), "run-1", begun)
		if err == nil || findErr == nil || found {
			t.Errorf("%s: posted: %v; found %v: %v", name, err, found, findErr)
			continue
		}
		if text := err.Error() + findErr.Error(); strings.Contains(text, token) || strings.ContainsAny(text, "\x1b\u202e") {
			t.Errorf("%s: %q", name, text)
		}
		server.Close()
	}
	if elsewhere > 0 {
		t.Error("the token was sent where a redirect led")
	}
}

// TestAnAnswerThatSaysNothingIsNotAnEmptyChannel: what was not seen would be posted twice.
func TestAnAnswerThatSaysNothingIsNotAnEmptyChannel(t *testing.T) {
	for name, lie := range map[string]string{"history": `{"ok": false}`, "replies": `{}`, "replies of none": `{"ok": true, "messages": []}`} {
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			switch {
			case strings.HasSuffix(r.URL.Path, "auth.test"):
				fmt.Fprint(w, `{"ok": true, "user_id": "U0CANARYBOT"}`)
			case strings.HasSuffix(r.URL.Path, "history") && name != "history":
				fmt.Fprint(w, `{"ok": true, "messages": [{"type": "message", "user": "U0CANARYBOT", "ts": "1700000000.000100", "reply_count": 1}]}`)
			default:
				fmt.Fprint(w, lie)
			}
		}))
		w := open(t, func(_ *sandbox.Options, o *slack.Options) { o.APIURL = server.URL + "/api/" })
		if _, found, err := w.chat.Find(t.Context(), "run-1", begun); found || err == nil {
			t.Errorf("%s: found %v, %v", name, found, err)
		}
		server.Close()
	}
}

func TestTokensGoOverHTTPSOnly(t *testing.T) {
	for url, ok := range map[string]bool{
		"https://slack.com/api/": true, "http://127.0.0.1:9/api/": true, "http://localhost:9/api/": true, "http://[::1]:9/api/": true,
		"http://slack.com/api/": false, "https://slack.com/api": false, "https://u:secretpw@slack.com/api/": false, "ftp://x/": false, "://": false,
		"http://127.0.0.1.example.com/": false,
	} {
		_, err := slack.New(slack.Options{Token: token, Channel: channel, APIURL: url})
		if (err == nil) != ok || err != nil && strings.Contains(err.Error(), "secretpw") {
			t.Errorf("%s: %v", url, err)
		}
	}
	for _, c := range []string{"", "#audit", "audit", "C1", "c0audit0001", "U0AUDIT0001"} {
		if _, err := slack.New(slack.Options{Token: token, Channel: c}); err == nil {
			t.Errorf("channel %q", c)
		}
	}
}

func TestMembersOfGroups(t *testing.T) {
	w := open(t, nil)
	groups, err := slack.NewGroups(slack.Options{Token: token, APIURL: w.server.URL + "/api/", Clock: w.clock.now, Sleep: w.clock.sleep})
	if err != nil {
		t.Fatal(err)
	}
	for user, want := range map[string]bool{"U0AUDITOR": true, "U0MALLORY01": false, "": false} {
		if got, err := groups.Have(t.Context(), user, []string{"S0AUDITORS"}); err != nil || got != want {
			t.Errorf("%s: %v, %v", user, got, err)
		}
	}
	if _, err := groups.Have(t.Context(), "U0AUDITOR", []string{"S0NOBODY"}); !errors.Is(err, ticket.ErrRefused) {
		t.Errorf("a group that is not there: %v", err)
	}
}

// attacks are texts that would like to be more than text.
func attacks(t *testing.T) []string {
	t.Helper()
	corpus, err := os.ReadFile("../../browser/testdata/xss.txt")
	if err != nil {
		t.Fatal(err)
	}
	mrkdwn, err := os.ReadFile("testdata/mrkdwn.txt")
	if err != nil {
		t.Fatal(err)
	}
	return append(strings.Split(strings.TrimSpace(string(corpus)+string(mrkdwn)), "\n"),
		"a\u2028b\u2029c", "\x00x\x1b[2J", "\xff\xfe<!here>", "\u202e>lennahc!<\u202c", "line\n• 36 pass\n*all is well*", "\u200b<!channel>\ufeff",
		strings.Repeat("<!channel>", 2000), strings.Repeat("😀", 5000), `"},{"type":"divider"},{"type":"header`, "")
}

// fill writes a text into every string that a value has.
func fill(v reflect.Value, text string) {
	switch v.Kind() {
	case reflect.String:
		v.SetString(text)
	case reflect.Struct:
		if v.Type() == reflect.TypeFor[time.Time]() {
			return
		}
		for i := range v.NumField() {
			fill(v.Field(i), text)
		}
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 2, 2))
		for i := range 2 {
			fill(v.Index(i), text)
		}
	}
}

// TestNothingInALogIsMoreThanText holds what reached the server against what Slack would
// make of it: markup is read in text and mrkdwn only, where & < > must be escaped.
func TestNothingInALogIsMoreThanText(t *testing.T) {
	w := open(t, nil)
	for i, text := range attacks(t) {
		var n ticket.News
		fill(reflect.ValueOf(&n).Elem(), text)
		n.Mark = fmt.Sprintf("attack-%d", i)
		n.Groups[0].Items[0].Ticket.URL = "https://example.com/" + text
		first, err := w.chat.Post(t.Context(), n, "")
		if err != nil {
			t.Errorf("%q: %v", text, err)
			continue
		}
		n.Kind = "detail"
		if _, err := w.chat.Post(t.Context(), n, first.TS); err != nil {
			t.Errorf("%q: %v", text, err)
		}
	}
	all := w.Messages(channel)
	if len(all) < 2*len(attacks(t)) {
		t.Fatalf("%d messages", len(all))
	}
	for _, m := range all {
		for _, wrong := range active(m) {
			t.Errorf("%s\ntext %q\nblocks %s", wrong, m.Text, m.Blocks)
		}
	}
	resp, err := http.Get(w.server.URL + "/archives/" + channel)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK || !strings.Contains(resp.Header.Get("Content-Security-Policy"), "default-src 'none'") {
		t.Errorf("page: %s, %v", resp.Status, resp.Header)
	}
}

var (
	markup    = regexp.MustCompile(`[<>]|&(?:[^alg]|$)|[*_~\x60]|:[a-z0-9_+'-]+:|@|#`)
	escapable = regexp.MustCompile(`[<>]|&(amp;|lt;|gt;)?`)
	steering  = regexp.MustCompile(`[\x00-\x08\x0b-\x1f\x7f-\x9f\x{200b}-\x{200f}\x{2028}-\x{202e}\x{2066}-\x{2069}\x{feff}]`)
)

// active says what in a message is more than text.
func active(m sandbox.Message) (out []string) {
	if markup.MatchString(m.Text) {
		out = append(out, fmt.Sprintf("text has markup: %q", markup.FindString(m.Text)))
	}
	for arg, want := range map[string]string{"mrkdwn": "false", "parse": "none", "link_names": "false", "unfurl_links": "false", "unfurl_media": "false"} {
		if m.Args[arg] != want {
			out = append(out, fmt.Sprintf("%s is %q", arg, m.Args[arg]))
		}
	}
	var blocks any
	if err := json.Unmarshal(m.Blocks, &blocks); err != nil {
		return append(out, err.Error())
	}
	var walk func(v any)
	walk = func(v any) {
		switch v := v.(type) {
		case []any:
			for _, e := range v {
				walk(e)
			}
		case string:
			if steering.MatchString(v) {
				out = append(out, fmt.Sprintf("steers: %q", v))
			}
		case map[string]any:
			kind, _ := v["type"].(string)
			switch kind {
			case "header", "context", "rich_text", "rich_text_section", "rich_text_list", "text", "":
			case "plain_text":
				for _, found := range escapable.FindAllString(v["text"].(string), -1) {
					if len(found) == 1 {
						out = append(out, fmt.Sprintf("not escaped: %q", v["text"]))
					}
				}
			case "link":
				if url, _ := v["url"].(string); !strings.HasPrefix(url, "https://example.com/") || strings.ContainsAny(url, "<>| \"") {
					out = append(out, fmt.Sprintf("link to %q", url))
				}
			default:
				out = append(out, "an element of type "+kind)
			}
			for _, e := range v {
				walk(e)
			}
		}
	}
	walk(blocks)
	return out
}

func TestTheTestSeesWhatIsActive(t *testing.T) {
	args := map[string]string{"mrkdwn": "false", "parse": "none", "link_names": "false", "unfurl_links": "false", "unfurl_media": "false"}
	for name, m := range map[string]sandbox.Message{
		"mention in the text":   {Text: "<!channel>", Blocks: json.RawMessage(`[]`), Args: args},
		"bold in the text":      {Text: "*x*", Blocks: json.RawMessage(`[]`), Args: args},
		"markup switched on":    {Text: "x", Blocks: json.RawMessage(`[]`)},
		"mrkdwn":                {Blocks: json.RawMessage(`[{"type": "section", "text": {"type": "mrkdwn", "text": "x"}}]`), Args: args},
		"mention in plain text": {Blocks: json.RawMessage(`[{"type": "header", "text": {"type": "plain_text", "text": "<!here>"}}]`), Args: args},
		"mention element":       {Blocks: json.RawMessage(`[{"type": "rich_text", "elements": [{"type": "rich_text_section", "elements": [{"type": "broadcast", "range": "here"}]}]}]`), Args: args},
		"script link":           {Blocks: json.RawMessage(`[{"type": "rich_text", "elements": [{"type": "rich_text_section", "elements": [{"type": "link", "url": "javascript:1"}]}]}]`), Args: args},
		"reordered":             {Blocks: json.RawMessage(`[{"type": "rich_text", "elements": [{"type": "rich_text_section", "elements": [{"type": "text", "text": "a\u202eb"}]}]}]`), Args: args},
	} {
		if len(active(m)) == 0 {
			t.Errorf("%s is not noticed", name)
		}
	}
}
