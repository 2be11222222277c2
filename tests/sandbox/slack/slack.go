// Package slack is a Slack workspace that Slack's clients can talk to.
package slack

import (
	"cmp"
	"crypto/rand"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/auditcanary/auditcanary/tests/sandbox/fault"
)

// Options of a workspace.
type Options struct {
	// Token of its one app, and the scopes it has (nil: all that the workspace knows).
	Token    string
	Scopes   []string
	Channels []Channel
	// Groups are user groups with their members, by id.
	Groups map[string][]string
	// URL that it is served at, with what stands before its paths; default: the host that
	// a request names.
	URL string
	// Now is the time that messages carry, Pace that by which a channel takes one
	// message a second (nil: Now; a clock that stands still would never take a second).
	Now, Pace func() time.Time
	Faults    *fault.Set
}

// Channel of the workspace.
type Channel struct {
	ID, Name string
	Archived bool
	Member   bool // the app's bot is in it
	Private  bool
}

// Message as it reached the workspace.
type Message struct {
	TS, Thread string // Thread: the first message's TS; "" for one of the channel
	User, Bot  string
	Text       string
	Blocks     json.RawMessage
	Metadata   json.RawMessage
	// Args are the other arguments of the call.
	Args   map[string]string
	Edited bool
}

// Who the app is.
const (
	BotUser = "U0CANARYBOT"
	BotID   = "B0CANARYBOT"
	Team    = "T0SANDBOX01"
)

// Workspace is a http.Handler: the Web API under /api/, response URLs under /commands/,
// and under /archives/ what a person would see.
type Workspace struct {
	o   Options
	mux *http.ServeMux

	mu       sync.Mutex
	channels []*channel
	lastTS   int64 // microseconds
	calls    int
	urls     map[string]*response
}

type channel struct {
	Channel
	messages []*Message
	posted   time.Time
}

// response is a response URL: five answers within half an hour.
type response struct {
	until time.Time
	got   []json.RawMessage
}

// scopes each method needs, one of them; "": none.
var methods = map[string]struct {
	do    func(*Workspace, call) any
	scope string
}{
	"auth.test":             {(*Workspace).authTest, ""},
	"chat.postMessage":      {(*Workspace).postMessage, "chat:write"},
	"chat.update":           {(*Workspace).update, "chat:write"},
	"chat.delete":           {(*Workspace).delete, "chat:write"},
	"chat.getPermalink":     {(*Workspace).permalink, ""},
	"conversations.history": {(*Workspace).history, "history"},
	"conversations.replies": {(*Workspace).replies, "history"},
	"conversations.info":    {(*Workspace).info, "channels:read"},
	"conversations.list":    {(*Workspace).list, "channels:read"},
	"conversations.join":    {(*Workspace).join, "channels:join"},
	"usergroups.users.list": {(*Workspace).groupUsers, "usergroups:read"},
}

// AllScopes that the workspace knows.
var AllScopes = []string{"chat:write", "channels:history", "groups:history", "channels:read", "channels:join", "usergroups:read"}

// New makes a workspace.
func New(o Options) *Workspace {
	if o.Scopes == nil {
		o.Scopes = AllScopes
	}
	if o.Pace == nil {
		o.Pace = o.Now
	}
	w := &Workspace{o: o, mux: http.NewServeMux(), urls: map[string]*response{}}
	for _, c := range o.Channels {
		w.channels = append(w.channels, &channel{Channel: c})
	}
	w.mux.HandleFunc("/api/{method}", w.api)
	w.mux.HandleFunc("POST /commands/{id}", w.respond)
	w.mux.HandleFunc("GET /archives/{$}", w.index)
	w.mux.HandleFunc("GET /archives/{channel}", w.page)
	w.mux.HandleFunc("GET /archives/{channel}/{ts}", w.page)
	return w
}

func (w *Workspace) ServeHTTP(rw http.ResponseWriter, r *http.Request) { w.mux.ServeHTTP(rw, r) }

// Messages of a channel, the threads' among them, in the order in which they came.
func (w *Workspace) Messages(channel string) []Message {
	w.mu.Lock()
	defer w.mu.Unlock()
	var out []Message
	if c := w.channel(channel); c != nil {
		for _, m := range c.messages {
			out = append(out, *m)
		}
	}
	return out
}

// Channels there are.
func (w *Workspace) Channels() []Channel {
	w.mu.Lock()
	defer w.mu.Unlock()
	var out []Channel
	for _, c := range w.channels {
		out = append(out, c.Channel)
	}
	return out
}

// Grant changes the scopes of the app.
func (w *Workspace) Grant(scopes []string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.o.Scopes = scopes
}

// Set changes a channel (its id says which), or makes one.
func (w *Workspace) Set(c Channel) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if is := w.channel(c.ID); is != nil {
		is.Channel = c
		return
	}
	w.channels = append(w.channels, &channel{Channel: c})
}

// Say lets somebody else post into a channel, with whatever metadata.
func (w *Workspace) Say(channel, user, thread, text, metadata string) string {
	w.mu.Lock()
	defer w.mu.Unlock()
	c := w.channel(channel)
	m := &Message{TS: w.ts(), Thread: thread, User: user, Text: text}
	if metadata != "" {
		m.Metadata = json.RawMessage(metadata)
	}
	c.messages = append(c.messages, m)
	return m.TS
}

// ResponseURL makes the path of a response URL, as a command carries one.
func (w *Workspace) ResponseURL() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	b := make([]byte, 8)
	_, _ = rand.Read(b) // never fails (crypto/rand)
	id := hex.EncodeToString(b)
	w.urls[id] = &response{until: w.o.Now().Add(30 * time.Minute)}
	return "/commands/" + id
}

// Responses that came to a response URL.
func (w *Workspace) Responses(path string) []json.RawMessage {
	w.mu.Lock()
	defer w.mu.Unlock()
	if r := w.urls[strings.TrimPrefix(path, "/commands/")]; r != nil {
		return slices.Clone(r.got)
	}
	return nil
}

func (w *Workspace) channel(id string) *channel {
	for _, c := range w.channels {
		if c.ID == id || c.Name != "" && "#"+c.Name == id {
			return c
		}
	}
	return nil
}

func (c *channel) find(ts string) *Message {
	for _, m := range c.messages {
		if m.TS == ts {
			return m
		}
	}
	return nil
}

// ts is the time, later than any before.
func (w *Workspace) ts() string {
	w.lastTS = max(w.lastTS+1, w.o.Now().UnixMicro())
	return fmt.Sprintf("%d.%06d", w.lastTS/1e6, w.lastTS%1e6)
}

// call is one call of the API.
type call struct {
	method string
	args   map[string]string
	host   string
}

// failure is an answer that says no.
type failure struct {
	OK       bool      `json:"ok"`
	Error    string    `json:"error"`
	Needed   string    `json:"needed,omitempty"`
	Provided string    `json:"provided,omitempty"`
	Meta     *metadata `json:"response_metadata,omitempty"`
	wait     int       // seconds: status 429
}

type metadata struct {
	NextCursor string   `json:"next_cursor"`
	Messages   []string `json:"messages,omitempty"`
}

func no(code string) failure { return failure{Error: code} }

const maxBody = 4 << 20

func (w *Workspace) api(rw http.ResponseWriter, r *http.Request) {
	c := call{method: r.PathValue("method"), host: cmp.Or(w.o.URL, "http://"+r.Host)}
	args, token, bad := arguments(rw, r)
	if bad != "" {
		answer(rw, no(bad))
		return
	}
	c.args = args
	m, known := methods[c.method]
	w.mu.Lock()
	w.calls++
	n := w.calls
	w.mu.Unlock()
	switch {
	case !known:
		answer(rw, no("unknown_method"))
		return
	case token == "":
		answer(rw, no("not_authed"))
		return
	case token != w.o.Token:
		answer(rw, no("invalid_auth"))
		return
	}
	it := map[string]any{"method": c.method, "channel": args["channel"], "thread": args["thread_ts"], "n": n}
	if strikes := w.o.Faults.Fire(fault.AtChat, it); len(strikes) > 0 {
		do := strikes[0].Do
		if do.Error != nil && do.Error.When == fault.After || do.Hang != nil && do.Hang.When == fault.After {
			w.do(c, m.do, m.scope)
		}
		strike(rw, r, do)
		return
	}
	said := w.do(c, m.do, m.scope)
	w.mu.Lock()
	scopes := strings.Join(w.o.Scopes, ",")
	w.mu.Unlock()
	rw.Header().Set("X-OAuth-Scopes", scopes)
	answer(rw, said)
}

func (w *Workspace) do(c call, f func(*Workspace, call) any, scope string) any {
	w.mu.Lock()
	defer w.mu.Unlock()
	if scope == "history" {
		scope = "channels:history"
		if ch := w.channel(c.args["channel"]); ch != nil && ch.Private {
			scope = "groups:history"
		}
	}
	if scope != "" && !slices.Contains(w.o.Scopes, scope) {
		return failure{Error: "missing_scope", Needed: scope, Provided: strings.Join(w.o.Scopes, ",")}
	}
	return f(w, c)
}

// strike lets a call fail as a fault says.
func strike(rw http.ResponseWriter, r *http.Request, do fault.Do) {
	if do.Hang != nil {
		select {
		case <-time.After(do.Hang.For):
		case <-r.Context().Done():
		}
		panic(http.ErrAbortHandler) // the connection closes without an answer
	}
	switch e := do.Error; {
	case e.Status == http.StatusTooManyRequests:
		answer(rw, failure{Error: e.Code, wait: 1})
	case e.Status >= 500:
		http.Error(rw, "<html><body>"+e.Code+"</body></html>", e.Status)
	default:
		answer(rw, no(e.Code))
	}
}

// arguments reads a form, JSON or the query; numbers and booleans of JSON as they stand
// there, objects and lists as JSON.
func arguments(rw http.ResponseWriter, r *http.Request) (args map[string]string, token, bad string) {
	args = map[string]string{}
	take := func(v url.Values) {
		for k := range v {
			args[k] = v.Get(k)
		}
	}
	take(r.URL.Query())
	kind, _, _ := mime.ParseMediaType(r.Header.Get("Content-Type"))
	body, err := io.ReadAll(http.MaxBytesReader(rw, r.Body, maxBody))
	if err != nil {
		return nil, "", "request_timeout"
	}
	switch kind {
	case "application/json":
		var all map[string]json.RawMessage
		if json.Unmarshal(body, &all) != nil {
			return nil, "", "invalid_json"
		}
		for k, raw := range all {
			var s string
			if json.Unmarshal(raw, &s) != nil {
				s = string(raw)
			}
			args[k] = s
		}
	case "application/x-www-form-urlencoded", "":
		v, err := url.ParseQuery(string(body))
		if err != nil {
			return nil, "", "invalid_form_data"
		}
		take(v)
	default:
		return nil, "", "invalid_post_type"
	}
	token = args["token"]
	if bearer, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer "); ok {
		token = bearer
	}
	delete(args, "token")
	return args, token, ""
}

func answer(rw http.ResponseWriter, v any) {
	rw.Header().Set("Content-Type", "application/json; charset=utf-8")
	if f, ok := v.(failure); ok && f.wait > 0 {
		rw.Header().Set("Retry-After", strconv.Itoa(f.wait))
		rw.WriteHeader(http.StatusTooManyRequests)
	}
	// An error means that the caller is gone, and there is nobody to tell.
	_ = json.NewEncoder(rw).Encode(v)
}

func (w *Workspace) authTest(c call) any {
	return map[string]any{"ok": true, "url": c.host + "/", "team": "Sandbox", "user": "auditcanary", "team_id": Team, "user_id": BotUser, "bot_id": BotID}
}

var eventType = regexp.MustCompile(`^[A-Za-z0-9_]{1,80}$`)

// content reads what a message says.
func content(c call) (m Message, bad *failure) {
	m = Message{User: BotUser, Bot: BotID, Text: c.args["text"], Args: map[string]string{}}
	for k, v := range c.args {
		if !slices.Contains([]string{"text", "blocks", "metadata", "channel", "thread_ts", "ts"}, k) {
			m.Args[k] = v
		}
	}
	fail := func(code string, messages ...string) (Message, *failure) {
		f := no(code)
		if len(messages) > 0 {
			f.Meta = &metadata{Messages: messages}
		}
		return m, &f
	}
	if len([]rune(m.Text)) > 40_000 {
		return fail("msg_too_long")
	}
	if b := c.args["blocks"]; b != "" && b != "[]" {
		if code, why := CheckBlocks([]byte(b)); code != "" {
			return fail(code, "[ERROR] "+why)
		}
		m.Blocks = json.RawMessage(b)
	}
	if m.Text == "" && m.Blocks == nil {
		return fail("no_text")
	}
	if raw := c.args["metadata"]; raw != "" {
		var got struct {
			EventType    string         `json:"event_type"`
			EventPayload map[string]any `json:"event_payload"`
		}
		if json.Unmarshal([]byte(raw), &got) != nil || !eventType.MatchString(got.EventType) || got.EventPayload == nil {
			return fail("invalid_metadata_format")
		}
		if len(raw) > 16<<10 {
			return fail("metadata_too_large")
		}
		m.Metadata = json.RawMessage(raw)
	}
	return m, nil
}

// open returns a channel that the bot may use.
func (w *Workspace) open(c call) (*channel, *failure) {
	ch := w.channel(c.args["channel"])
	switch {
	case ch == nil || ch.Private && !ch.Member:
		f := no("channel_not_found")
		return nil, &f
	case !ch.Member:
		f := no("not_in_channel")
		return nil, &f
	}
	return ch, nil
}

func (w *Workspace) postMessage(c call) any {
	ch, bad := w.open(c)
	if bad != nil {
		return *bad
	}
	if ch.Archived {
		return no("is_archived")
	}
	if now := w.o.Pace(); now.Sub(ch.posted) < time.Second {
		return failure{Error: "ratelimited", wait: 1}
	}
	m, bad := content(c)
	if bad != nil {
		return *bad
	}
	// A reply to a message that somebody deleted is posted to the channel.
	if parent := ch.find(c.args["thread_ts"]); parent != nil {
		m.Thread = parent.TS
		if parent.Thread != "" {
			m.Thread = parent.Thread
		}
	}
	m.TS = w.ts()
	ch.posted = w.o.Pace()
	ch.messages = append(ch.messages, &m)
	return map[string]any{"ok": true, "channel": ch.ID, "ts": m.TS, "message": ch.show(&m, true)}
}

func (w *Workspace) update(c call) any {
	ch, bad := w.open(c)
	if bad != nil {
		return *bad
	}
	is := ch.find(c.args["ts"])
	switch {
	case is == nil:
		return no("message_not_found")
	case is.User != BotUser:
		return no("cant_update_message")
	case ch.Archived:
		return no("is_archived")
	}
	m, bad := content(c)
	if bad != nil {
		return *bad
	}
	is.Text, is.Blocks, is.Edited = m.Text, m.Blocks, true
	if m.Metadata != nil {
		is.Metadata = m.Metadata
	}
	return map[string]any{"ok": true, "channel": ch.ID, "ts": is.TS, "text": is.Text, "message": ch.show(is, true)}
}

func (w *Workspace) delete(c call) any {
	ch, bad := w.open(c)
	if bad != nil {
		return *bad
	}
	is := ch.find(c.args["ts"])
	if is == nil {
		return no("message_not_found")
	}
	if is.User != BotUser {
		return no("cant_delete_message")
	}
	ch.messages = slices.DeleteFunc(ch.messages, func(m *Message) bool { return m == is })
	return map[string]any{"ok": true, "channel": ch.ID, "ts": is.TS}
}

func (w *Workspace) permalink(c call) any {
	ch := w.channel(c.args["channel"])
	if ch == nil {
		return no("channel_not_found")
	}
	m := ch.find(c.args["message_ts"])
	if m == nil {
		return no("message_not_found")
	}
	return map[string]any{"ok": true, "channel": ch.ID, "permalink": c.host + path(ch, m)}
}

// path of a message, as Slack writes it.
func path(ch *channel, m *Message) string {
	out := "/archives/" + ch.ID + "/p" + strings.Replace(m.TS, ".", "", 1)
	if m.Thread != "" {
		out += "?thread_ts=" + m.Thread + "&cid=" + ch.ID
	}
	return out
}

// show is a message as the API shows it.
func (c *channel) show(m *Message, withMetadata bool) map[string]any {
	out := map[string]any{"type": "message", "ts": m.TS, "user": m.User, "text": m.Text}
	if m.Bot != "" {
		out["bot_id"] = m.Bot
	}
	if m.Blocks != nil {
		out["blocks"] = m.Blocks
	}
	if withMetadata && m.Metadata != nil {
		out["metadata"] = m.Metadata
	}
	if m.Thread != "" {
		out["thread_ts"], out["parent_user_id"] = m.Thread, BotUser
		return out
	}
	replies := 0
	for _, r := range c.messages {
		if r.Thread == m.TS {
			replies++
			out["latest_reply"] = r.TS
		}
	}
	if replies > 0 {
		out["thread_ts"], out["reply_count"] = m.TS, replies
	}
	return out
}

func (w *Workspace) history(c call) any {
	ch, bad := w.open(c)
	if bad != nil {
		return *bad
	}
	var all []*Message
	for _, m := range slices.Backward(ch.messages) {
		if m.Thread == "" {
			all = append(all, m)
		}
	}
	return ch.listed(all, c)
}

func (w *Workspace) replies(c call) any {
	ch, bad := w.open(c)
	if bad != nil {
		return *bad
	}
	first := ch.find(c.args["ts"])
	if first == nil {
		return no("thread_not_found")
	}
	all := []*Message{first}
	for _, m := range ch.messages {
		if m.Thread == first.TS {
			all = append(all, m)
		}
	}
	return ch.listed(all, c)
}

// listed is a page of messages.
func (c *channel) listed(all []*Message, ask call) any {
	inclusive := slices.Contains([]string{"1", "true"}, ask.args["inclusive"])
	all = slices.DeleteFunc(all, func(m *Message) bool {
		oldest, latest := compareTS(m.TS, ask.args["oldest"]), compareTS(m.TS, ask.args["latest"])
		return ask.args["oldest"] != "" && (oldest < 0 || oldest == 0 && !inclusive) ||
			ask.args["latest"] != "" && (latest > 0 || latest == 0 && !inclusive)
	})
	limit := 100
	if l := ask.args["limit"]; l != "" {
		n, err := strconv.Atoi(l)
		if err != nil || n < 1 || n > 999 {
			return no("invalid_limit")
		}
		limit = n
	}
	if cur := ask.args["cursor"]; cur != "" {
		raw, err := base64.StdEncoding.DecodeString(cur)
		after, ok := strings.CutPrefix(string(raw), "next_ts:")
		i := slices.IndexFunc(all, func(m *Message) bool { return m.TS == after })
		if err != nil || !ok || i < 0 {
			return no("invalid_cursor")
		}
		all = all[i:]
	}
	meta := metadata{}
	if len(all) > limit {
		meta.NextCursor = base64.StdEncoding.EncodeToString([]byte("next_ts:" + all[limit].TS))
		all = all[:limit]
	}
	shown := []map[string]any{}
	for _, m := range all {
		shown = append(shown, c.show(m, slices.Contains([]string{"1", "true"}, ask.args["include_all_metadata"])))
	}
	return map[string]any{"ok": true, "messages": shown, "has_more": meta.NextCursor != "", "response_metadata": meta}
}

func compareTS(a, b string) int {
	parse := func(s string) int64 {
		whole, part, _ := strings.Cut(s, ".")
		n, _ := strconv.ParseInt(whole, 10, 64)
		micro, _ := strconv.ParseInt((part + "000000")[:6], 10, 64)
		return n*1e6 + micro
	}
	return int(max(-1, min(1, parse(a)-parse(b))))
}

func (c *channel) described() map[string]any {
	return map[string]any{"id": c.ID, "name": c.Name, "is_channel": !c.Private, "is_private": c.Private, "is_archived": c.Archived, "is_member": c.Member}
}

func (w *Workspace) info(c call) any {
	ch := w.channel(c.args["channel"])
	if ch == nil || ch.Private && !ch.Member {
		return no("channel_not_found")
	}
	return map[string]any{"ok": true, "channel": ch.described()}
}

func (w *Workspace) list(c call) any {
	all := []map[string]any{}
	for _, ch := range w.channels {
		if (!ch.Private || ch.Member) && (c.args["exclude_archived"] != "true" || !ch.Archived) {
			all = append(all, ch.described())
		}
	}
	return map[string]any{"ok": true, "channels": all, "response_metadata": metadata{}}
}

func (w *Workspace) join(c call) any {
	ch := w.channel(c.args["channel"])
	switch {
	case ch == nil || ch.Private:
		return no("channel_not_found")
	case ch.Archived:
		return no("is_archived")
	}
	ch.Member = true
	return map[string]any{"ok": true, "channel": ch.described()}
}

func (w *Workspace) groupUsers(c call) any {
	users, ok := w.o.Groups[c.args["usergroup"]]
	if !ok {
		return no("no_such_subteam")
	}
	return map[string]any{"ok": true, "users": users}
}

func (w *Workspace) respond(rw http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(http.MaxBytesReader(rw, r.Body, maxBody))
	var got struct {
		Text   string          `json:"text"`
		Blocks json.RawMessage `json:"blocks"`
	}
	if err != nil || json.Unmarshal(body, &got) != nil {
		http.Error(rw, "invalid_payload", http.StatusBadRequest)
		return
	}
	if got.Blocks != nil {
		if code, _ := CheckBlocks(got.Blocks); code != "" {
			http.Error(rw, code, http.StatusBadRequest)
			return
		}
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	is := w.urls[r.PathValue("id")]
	switch {
	case is == nil || w.o.Now().After(is.until):
		http.Error(rw, "expired_url", http.StatusNotFound)
	case len(is.got) == 5:
		http.Error(rw, "used_url", http.StatusNotFound)
	default:
		is.got = append(is.got, body)
		_, _ = io.WriteString(rw, "ok")
	}
}
