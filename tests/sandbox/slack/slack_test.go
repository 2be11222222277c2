package slack

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/auditcanary/auditcanary/tests/sandbox/fault"
)

const testToken = "xoxb-1-a"

// workspace with a clock that a test moves.
func workspace(t *testing.T, o Options) (*Workspace, string, *time.Time) {
	t.Helper()
	now := time.Date(2026, 11, 22, 9, 30, 0, 0, time.UTC)
	o.Token, o.Now = testToken, func() time.Time { return now }
	o.Channels = []Channel{{ID: "C0AUDIT0001", Name: "audit", Member: true}, {ID: "G0PRIVATE01", Name: "private", Private: true, Member: true}, {ID: "C0OTHER0001", Name: "other"}}
	w := New(o)
	s := httptest.NewServer(w)
	t.Cleanup(s.Close)
	return w, s.URL, &now
}

func post(t *testing.T, base, method string, args url.Values) map[string]any {
	t.Helper()
	args.Set("token", testToken)
	resp, err := http.PostForm(base+"/api/"+method, args)
	if err != nil {
		t.Fatal(err)
	}
	return decode(t, resp)
}

func decode(t *testing.T, resp *http.Response) map[string]any {
	t.Helper()
	defer resp.Body.Close()
	var out map[string]any
	if err := json.NewDecoder(resp.Body).Decode(&out); err != nil {
		t.Fatal(err)
	}
	return out
}

func TestBlocksAreHeldAgainstSlacksTypes(t *testing.T) {
	header := func(n int) string {
		return `{"type": "header", "text": {"type": "plain_text", "text": "` + strings.Repeat("x", n) + `"}}`
	}
	section := func(n int) string {
		return `{"type": "section", "text": {"type": "plain_text", "text": "` + strings.Repeat("x", n) + `"}}`
	}
	rich := func(e string) string {
		return `[{"type": "rich_text", "elements": [{"type": "rich_text_section", "elements": [` + e + `]}]}]`
	}
	for name, tt := range map[string]struct{ blocks, code string }{
		"header":                     {"[" + header(150) + "]", ""},
		"header too long":            {"[" + header(151) + "]", "invalid_blocks"},
		"header empty":               {"[" + header(0) + "]", "invalid_blocks"},
		"header in mrkdwn":           {`[{"type": "header", "text": {"type": "mrkdwn", "text": "x"}}]`, "invalid_blocks"},
		"section":                    {"[" + section(3000) + "]", ""},
		"section too long":           {"[" + section(3001) + "]", "invalid_blocks"},
		"section of nothing":         {`[{"type": "section"}]`, "invalid_blocks"},
		"field too long":             {`[{"type": "section", "fields": [{"type": "plain_text", "text": "` + strings.Repeat("x", 2001) + `"}]}]`, "invalid_blocks"},
		"fifty":                      {"[" + strings.Repeat(header(1)+",", 49) + header(1) + "]", ""},
		"fifty-one":                  {"[" + strings.Repeat(header(1)+",", 50) + header(1) + "]", "invalid_blocks"},
		"none":                       {`[]`, "invalid_blocks"},
		"too much in all":            {"[" + strings.Repeat(section(2900)+",", 4) + section(2900) + "]", "msg_blocks_too_long"},
		"unknown block":              {`[{"type": "marquee"}]`, "invalid_blocks"},
		"unknown field":              {`[{"type": "divider", "colour": "red"}]`, "invalid_blocks"},
		"rich text":                  {rich(`{"type": "text", "text": "x", "style": {"bold": true}}, {"type": "link", "url": "https://example.com"}`), ""},
		"rich text of nothing":       {rich(`{"type": "text", "text": ""}`), "invalid_blocks"},
		"a link without a URL":       {rich(`{"type": "link", "text": "x"}`), "invalid_blocks"},
		"context of eleven elements": {`[{"type": "context", "elements": [` + strings.Repeat(`{"type": "plain_text", "text": "x"},`, 10) + `{"type": "plain_text", "text": "x"}]}]`, "invalid_blocks"},
		"not JSON":                   {`[{`, "invalid_blocks_format"},
	} {
		if code, why := CheckBlocks([]byte(tt.blocks)); code != tt.code || (code == "") != (why == "") {
			t.Errorf("%s: %q (%s), want %q", name, code, why, tt.code)
		}
	}
}

func TestAMessagesLife(t *testing.T) {
	w, base, now := workspace(t, Options{})
	first := post(t, base, "chat.postMessage", url.Values{"channel": {"C0AUDIT0001"}, "text": {"one"}, "metadata": {`{"event_type": "x", "event_payload": {"a": 1}}`}})
	ts, _ := first["ts"].(string)
	if first["ok"] != true || ts == "" {
		t.Fatalf("%v", first)
	}
	if got := post(t, base, "chat.postMessage", url.Values{"channel": {"C0AUDIT0001"}, "text": {"too soon"}}); got["error"] != "ratelimited" {
		t.Errorf("%v", got)
	}
	*now = now.Add(time.Second)
	// JSON, with a bearer token.
	req, err := http.NewRequest(http.MethodPost, base+"/api/chat.postMessage", strings.NewReader(`{"channel": "C0AUDIT0001", "text": "reply", "thread_ts": "`+ts+`", "blocks": [{"type": "divider"}], "mrkdwn": false}`))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json; charset=utf-8")
	req.Header.Set("Authorization", "Bearer "+testToken)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	reply := decode(t, resp)
	if reply["ok"] != true || reply["ts"] == ts {
		t.Fatalf("%v", reply)
	}
	all := w.Messages("C0AUDIT0001")
	if len(all) != 2 || all[1].Thread != ts || all[1].Args["mrkdwn"] != "false" || all[0].Args["token"] != "" {
		t.Errorf("%+v", all)
	}
	if got := post(t, base, "chat.update", url.Values{"channel": {"C0AUDIT0001"}, "ts": {ts}, "text": {"two"}}); got["ok"] != true || w.Messages("C0AUDIT0001")[0].Text != "two" {
		t.Errorf("%v", got)
	}
	history := post(t, base, "conversations.history", url.Values{"channel": {"C0AUDIT0001"}})
	messages := history["messages"].([]any)
	if len(messages) != 1 || messages[0].(map[string]any)["reply_count"] != 1.0 || messages[0].(map[string]any)["metadata"] != nil {
		t.Errorf("%v", history)
	}
	thread := post(t, base, "conversations.replies", url.Values{"channel": {"C0AUDIT0001"}, "ts": {ts}, "limit": {"1"}, "include_all_metadata": {"true"}})
	cursor := thread["response_metadata"].(map[string]any)["next_cursor"].(string)
	if thread["has_more"] != true || cursor == "" || thread["messages"].([]any)[0].(map[string]any)["metadata"] == nil {
		t.Errorf("%v", thread)
	}
	if got := post(t, base, "conversations.replies", url.Values{"channel": {"C0AUDIT0001"}, "ts": {ts}, "cursor": {cursor}}); got["has_more"] != false || len(got["messages"].([]any)) != 1 {
		t.Errorf("%v", got)
	}
	if got := post(t, base, "chat.delete", url.Values{"channel": {"C0AUDIT0001"}, "ts": {ts}}); got["ok"] != true {
		t.Errorf("%v", got)
	}
	if got := post(t, base, "conversations.replies", url.Values{"channel": {"C0AUDIT0001"}, "ts": {ts}}); got["error"] != "thread_not_found" {
		t.Errorf("%v", got)
	}
}

func TestWhatAWorkspaceRefuses(t *testing.T) {
	_, base, _ := workspace(t, Options{Scopes: []string{"chat:write", "channels:join", "channels:history"}})
	for _, tt := range []struct {
		method string
		args   url.Values
		want   string
	}{
		{"conversations.list", url.Values{}, "missing_scope"},
		{"conversations.history", url.Values{"channel": {"G0PRIVATE01"}}, "missing_scope"},
		{"conversations.history", url.Values{"channel": {"C0OTHER0001"}}, "not_in_channel"},
		{"conversations.history", url.Values{"channel": {"C0AUDIT0001"}, "cursor": {"x"}}, "invalid_cursor"},
		{"chat.postMessage", url.Values{"channel": {"C0NOWHERE01"}, "text": {"x"}}, "channel_not_found"},
		{"chat.postMessage", url.Values{"channel": {"C0AUDIT0001"}}, "no_text"},
		{"chat.postMessage", url.Values{"channel": {"C0AUDIT0001"}, "text": {"x"}, "metadata": {"x"}}, "invalid_metadata_format"},
		{"chat.postMessage", url.Values{"channel": {"C0AUDIT0001"}, "text": {"x"}, "blocks": {`[{"type": "x"}]`}}, "invalid_blocks"},
		{"chat.postMessage", url.Values{"channel": {"C0AUDIT0001"}, "text": {strings.Repeat("x", 40_001)}}, "msg_too_long"},
		{"chat.update", url.Values{"channel": {"C0AUDIT0001"}, "ts": {"1.000001"}, "text": {"x"}}, "message_not_found"},
		{"chat.whisper", url.Values{}, "unknown_method"},
	} {
		if got := post(t, base, tt.method, tt.args); got["error"] != tt.want {
			t.Errorf("%s %v: %v, want %s", tt.method, tt.args, got, tt.want)
		}
	}
	if got := post(t, base, "conversations.join", url.Values{"channel": {"C0OTHER0001"}}); got["ok"] != true {
		t.Errorf("%v", got)
	}
	if got := post(t, base, "conversations.history", url.Values{"channel": {"C0OTHER0001"}}); got["ok"] != true {
		t.Errorf("after joining: %v", got)
	}
}

func TestFaultsStrikeBeforeOrAfter(t *testing.T) {
	faults, err := fault.Parse("f", []byte(`faults:
  - {name: after, at: chat, match: 'it.method == "chat.postMessage" && it.channel == "C0AUDIT0001"', times: 1, do: {error: {code: internal_error, status: 502, when: after}}}
  - {name: limited, at: chat, match: 'it.method == "auth.test"', times: 1, do: {error: {code: ratelimited, status: 429}}}
`))
	if err != nil {
		t.Fatal(err)
	}
	w, base, _ := workspace(t, Options{Faults: faults})
	resp, err := http.PostForm(base+"/api/chat.postMessage", url.Values{"token": {testToken}, "channel": {"C0AUDIT0001"}, "text": {"x"}})
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusBadGateway || len(w.Messages("C0AUDIT0001")) != 1 {
		t.Errorf("%s, %d messages", resp.Status, len(w.Messages("C0AUDIT0001")))
	}
	if resp, err = http.PostForm(base+"/api/auth.test", url.Values{"token": {testToken}}); err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusTooManyRequests || resp.Header.Get("Retry-After") != "1" {
		t.Errorf("%s %v", resp.Status, resp.Header)
	}
}

func TestResponseURLsAnswerFiveTimes(t *testing.T) {
	w, base, now := workspace(t, Options{})
	path := w.ResponseURL()
	send := func() int {
		resp, err := http.Post(base+path, "application/json", strings.NewReader(`{"text": "x"}`))
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		return resp.StatusCode
	}
	for i := range 6 {
		if got := send(); (got == http.StatusOK) != (i < 5) {
			t.Errorf("%d: %d", i, got)
		}
	}
	if len(w.Responses(path)) != 5 {
		t.Errorf("%d", len(w.Responses(path)))
	}
	path = w.ResponseURL()
	*now = now.Add(31 * time.Minute)
	if got := send(); got != http.StatusNotFound {
		t.Errorf("late: %d", got)
	}
}

func TestThePageShowsThreadsEscaped(t *testing.T) {
	w, base, _ := workspace(t, Options{})
	ts := w.Say("C0AUDIT0001", "U1", "", "&lt;script&gt;alert(1)&lt;/script&gt; <b>", "")
	w.Say("C0AUDIT0001", "U2", ts, "a reply", "")
	resp, err := http.Get(base + fmt.Sprintf("/archives/C0AUDIT0001/p%s", strings.Replace(ts, ".", "", 1)))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	page := string(body)
	if strings.Contains(page, "<script>") || !strings.Contains(page, "&lt;script&gt;alert(1)") || !strings.Contains(page, "&lt;b&gt;") || !strings.Contains(page, "a reply") {
		t.Error(page)
	}
}
