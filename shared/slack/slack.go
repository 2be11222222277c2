// Package slack tells people in a Slack channel.
package slack

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/slack-go/slack"

	"github.com/auditcanary/auditcanary/shared/inert"
	"github.com/auditcanary/auditcanary/shared/ticket"
)

// Options of a Chat.
type Options struct {
	// Token of the app's bot (xoxb-...). It needs the scopes chat:write and, to know
	// again what it posted, channels:history (groups:history in a private channel); for
	// the groups that may use commands, usergroups:read.
	Token string
	// Channel is the id of the channel ("C0123ABCD"), of which the bot must be a member.
	Channel string
	// APIURL ends in "/" ("" = Slack's own). It is https, or http on this machine.
	APIURL string
	// Timeout of one call (default 30s).
	Timeout time.Duration
	Clock   func() time.Time
	// Sleep waits, or returns ctx's error.
	Sleep func(ctx context.Context, d time.Duration) error
}

// Chat is one channel.
type Chat struct {
	api     *slack.Client
	token   string
	channel string
	clock   func() time.Time
	sleep   func(ctx context.Context, d time.Duration) error

	mu     sync.Mutex
	posted time.Time               // when we posted last
	self   *slack.AuthTestResponse // who we are, once asked
}

var _ ticket.Chat = (*Chat)(nil)

const (
	// pace is how often a channel takes a message.
	pace = time.Second
	// maxWait is the longest that a server may make us wait at once, maxWaits how often.
	maxWait  = 5 * time.Minute
	maxWaits = 10
	// maxReply bounds one reply, in bytes.
	maxReply = 16 << 20
	// pageSize and maxPages bound what is looked through for a message.
	pageSize = 200
	maxPages = 50
)

var channelID = regexp.MustCompile(`^[CG][A-Z0-9]{7,20}$`)

// New makes a Chat. It calls nobody.
func New(o Options) (*Chat, error) {
	if !channelID.MatchString(o.Channel) {
		return nil, fmt.Errorf("slack: channel %q is not the id of a channel, like C0123ABCD (Slack shows it at the end of the channel's details)", o.Channel)
	}
	return connect(o)
}

func connect(o Options) (*Chat, error) {
	if o.Token == "" {
		return nil, errors.New("slack: no token")
	}
	if o.APIURL == "" {
		o.APIURL = slack.APIURL
	}
	if err := checkAPI(o.APIURL); err != nil {
		return nil, err
	}
	if o.Timeout == 0 {
		o.Timeout = 30 * time.Second
	}
	client := &http.Client{
		Timeout:   o.Timeout,
		Transport: bounded{http.DefaultTransport},
		// A redirect would send the token elsewhere.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	return &Chat{
		api:   slack.New(o.Token, slack.OptionAPIURL(o.APIURL), slack.OptionHTTPClient(client)),
		token: o.Token, channel: o.Channel, clock: o.Clock, sleep: o.Sleep,
	}, nil
}

// checkAPI sees that the token goes over https, or to this machine.
func checkAPI(s string) error {
	u, err := url.Parse(s)
	if err != nil || u.Host == "" || u.User != nil || !strings.HasSuffix(u.Path, "/") || u.RawQuery != "" {
		return errors.New("slack: api_url is not a URL like https://slack.com/api/ (with the slash at its end, without credentials)")
	}
	if u.Scheme == "https" || u.Scheme == "http" && loopback(u.Hostname()) {
		return nil
	}
	return fmt.Errorf("slack: api_url %s: the token is sent over https only, or to this machine", u.Redacted())
}

func loopback(host string) bool {
	ip, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && ip.IsLoopback()
}

// bounded reads no more of a reply than maxReply.
type bounded struct{ http.RoundTripper }

func (b bounded) RoundTrip(req *http.Request) (*http.Response, error) {
	resp, err := b.RoundTripper.RoundTrip(req)
	if err == nil {
		resp.Body = struct {
			io.Reader
			io.Closer
		}{io.LimitReader(resp.Body, maxReply), resp.Body}
	}
	return resp, err
}

// eventType marks our messages, in their metadata.
const eventType = "auditcanary"

// Post sends news: one message, or for a detail in a thread as many as it takes, those
// that are in the thread already left out. What it returns is the last of them, which carries the
// mark for Find: a detail that was interrupted is not found, and posted to its end when
// it is posted again.
func (c *Chat) Post(ctx context.Context, n ticket.News, thread string) (ticket.Posted, error) {
	messages := []Message{Render(n)}
	done := map[int]string{}
	if n.Kind == "detail" && thread != "" {
		messages = Parts(n)
		var err error
		if done, err = c.parts(ctx, n.Mark, thread); err != nil {
			return ticket.Posted{}, err
		}
	}
	var last ticket.Posted
	for i, m := range messages {
		last = ticket.Posted{Channel: c.channel, TS: done[i+1]}
		if last.TS != "" {
			continue
		}
		var err error
		if last.TS, err = c.send(ctx, m, mark{n.Mark, i + 1, len(messages)}, thread); err != nil {
			return ticket.Posted{}, err
		}
	}
	last.URL = c.permalink(ctx, last.TS)
	return last, nil
}

// mark is what a message carries.
type mark struct {
	of          string
	part, parts int
}

func (m mark) metadata() slack.SlackMetadata {
	return slack.SlackMetadata{EventType: eventType, EventPayload: map[string]any{"mark": m.of, "part": m.part, "parts": m.parts}}
}

// markOf reads a message's mark; false if it has none of ours.
func markOf(m slack.Message) (mark, bool) {
	of, _ := m.Metadata.EventPayload["mark"].(string)
	part, _ := m.Metadata.EventPayload["part"].(float64)
	parts, _ := m.Metadata.EventPayload["parts"].(float64)
	return mark{of, int(part), int(parts)}, m.Metadata.EventType == eventType && of != ""
}

// send posts one message, not sooner than a second after the last.
func (c *Chat) send(ctx context.Context, m Message, as mark, thread string) (ts string, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if wait := pace - c.clock().Sub(c.posted); !c.posted.IsZero() && wait > 0 {
		if err := c.sleep(ctx, min(wait, pace)); err != nil {
			return "", fmt.Errorf("slack: post to %s: wait for the channel: %w", c.channel, err)
		}
	}
	opts := []slack.MsgOption{
		slack.MsgOptionText(m.Text, false), // escaped already
		slack.MsgOptionBlocks(m.Blocks...),
		slack.MsgOptionMetadata(as.metadata()),
		slack.MsgOptionDisableMarkdown(), slack.MsgOptionParse(false), slack.MsgOptionLinkNames(false),
		slack.MsgOptionDisableLinkUnfurl(), slack.MsgOptionDisableMediaUnfurl(),
	}
	if thread != "" {
		opts = append(opts, slack.MsgOptionTS(thread))
	}
	err = c.call(ctx, "chat.postMessage", func(ctx context.Context) error {
		var err error
		_, ts, err = c.api.PostMessageContext(ctx, c.channel, opts...)
		c.posted = c.clock()
		if err == nil && !timestamp.MatchString(ts) {
			err = fmt.Errorf("the reply says neither that it was posted nor why not (ts %.40q)", ts)
		}
		return err
	})
	return ts, err
}

var timestamp = regexp.MustCompile(`^\d{1,12}\.\d{6}$`)

// permalink is best effort: where a message stands is known without it.
func (c *Chat) permalink(ctx context.Context, ts string) string {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	var link string
	err := c.call(ctx, "chat.getPermalink", func(ctx context.Context) error {
		var err error
		link, err = c.api.GetPermalinkContext(ctx, &slack.PermalinkParameters{Channel: c.channel, Ts: ts})
		return err
	})
	if err != nil || !webURL(link) {
		return ""
	}
	return link
}

// Find looks for a message of ours with a mark, in the channel and in the threads of our
// messages. It begins a day before since: a clock may be off, and a thread begins before
// what is in it. What other apps post is not taken for ours, whatever it carries.
func (c *Chat) Find(ctx context.Context, mark string, since time.Time) (ticket.Posted, bool, error) {
	ours, err := c.ours(ctx)
	if err != nil {
		return ticket.Posted{}, false, err
	}
	oldest := strconv.FormatInt(max(since.Add(-24*time.Hour).Unix(), 0), 10) + ".000000"
	var threads []string
	cursor := ""
	for range maxPages {
		var page *slack.GetConversationHistoryResponse
		err := c.call(ctx, "conversations.history", func(ctx context.Context) error {
			var err error
			page, err = c.api.GetConversationHistoryContext(ctx, &slack.GetConversationHistoryParameters{
				ChannelID: c.channel, Cursor: cursor, Oldest: oldest, Limit: pageSize, IncludeAllMetadata: true,
			})
			if err == nil && !page.Ok {
				err = errors.New("the reply says neither what is there nor why not")
			}
			return err
		})
		if err != nil {
			return ticket.Posted{}, false, err
		}
		for _, m := range page.Messages {
			if !ours(m) {
				continue
			}
			if got, ok := markOf(m); ok && got.of == mark && got.part == got.parts {
				return c.found(ctx, m.Timestamp), true, nil
			}
			if m.ReplyCount > 0 {
				threads = append(threads, m.Timestamp)
			}
		}
		if cursor = page.ResponseMetaData.NextCursor; cursor == "" {
			return c.findIn(ctx, mark, threads)
		}
	}
	return ticket.Posted{}, false, fmt.Errorf("slack: look for %s in %s: more than %d messages since %s: whether it was posted is not known", mark, c.channel, pageSize*maxPages, oldest)
}

func (c *Chat) findIn(ctx context.Context, mark string, threads []string) (ticket.Posted, bool, error) {
	for _, thread := range threads {
		parts, err := c.replies(ctx, thread)
		if err != nil {
			if errors.Is(err, ticket.ErrGone) {
				continue
			}
			return ticket.Posted{}, false, err
		}
		for _, m := range parts {
			if got, ok := markOf(m); ok && got.of == mark && got.part == got.parts {
				return c.found(ctx, m.Timestamp), true, nil
			}
		}
	}
	return ticket.Posted{}, false, nil
}

func (c *Chat) found(ctx context.Context, ts string) ticket.Posted {
	return ticket.Posted{Channel: c.channel, TS: ts, URL: c.permalink(ctx, ts)}
}

// parts are those of a detail that are in its thread: timestamps by part.
func (c *Chat) parts(ctx context.Context, of, thread string) (map[int]string, error) {
	all, err := c.replies(ctx, thread)
	out := map[int]string{}
	for _, m := range all {
		if got, ok := markOf(m); ok && got.of == of && m.Timestamp != thread {
			out[got.part] = m.Timestamp
		}
	}
	return out, err
}

// replies are our messages in a thread.
func (c *Chat) replies(ctx context.Context, thread string) ([]slack.Message, error) {
	ours, err := c.ours(ctx)
	if err != nil {
		return nil, err
	}
	var out []slack.Message
	cursor := ""
	for range maxPages {
		var page []slack.Message
		next := ""
		err := c.call(ctx, "conversations.replies", func(ctx context.Context) error {
			var err error
			page, _, next, err = c.api.GetConversationRepliesContext(ctx, &slack.GetConversationRepliesParameters{
				ChannelID: c.channel, Timestamp: thread, Cursor: cursor, Limit: pageSize, IncludeAllMetadata: true,
			})
			if err == nil && len(page) == 0 {
				err = errors.New("the reply says neither what is in the thread, its first message at least, nor why not")
			}
			return err
		})
		if err != nil {
			return nil, err
		}
		for _, m := range page {
			if ours(m) {
				out = append(out, m)
			}
		}
		if cursor = next; cursor == "" {
			return out, nil
		}
	}
	return nil, fmt.Errorf("slack: thread %s in %s: more than %d messages: what was posted is not known", thread, c.channel, pageSize*maxPages)
}

// ours says which messages this bot posted.
func (c *Chat) ours(ctx context.Context) (func(slack.Message) bool, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.self == nil {
		err := c.call(ctx, "auth.test", func(ctx context.Context) error {
			self, err := c.api.AuthTestContext(ctx)
			if err != nil {
				return err
			}
			if self.UserID == "" {
				return errors.New("the reply does not say who we are")
			}
			c.self = self
			return nil
		})
		if err != nil {
			return nil, err
		}
	}
	self := *c.self
	return func(m slack.Message) bool {
		return m.User == self.UserID || self.BotID != "" && m.BotID == self.BotID
	}, nil
}

// call makes one call, waiting as a rate limit asks for as long as ctx allows.
func (c *Chat) call(ctx context.Context, method string, f func(context.Context) error) error {
	for waited := 0; ; waited++ {
		err := f(ctx)
		var limited *slack.RateLimitedError
		if !errors.As(err, &limited) {
			return c.explain(method, err)
		}
		wait := max(limited.RetryAfter, pace)
		deadline, bounded := ctx.Deadline()
		if wait > maxWait || waited == maxWaits || bounded && time.Until(deadline) < wait {
			return fmt.Errorf("slack: %s: rate limited, to be tried again after %s", method, wait)
		}
		if err := c.sleep(ctx, wait); err != nil {
			return fmt.Errorf("slack: %s: rate limited: %w", method, err)
		}
	}
}

// refused are the errors after which nothing was done, and trying again will not help.
var refused = map[string]string{
	"invalid_auth":            tokenHint,
	"not_authed":              tokenHint,
	"account_inactive":        "the app was removed from the workspace: install it anew",
	"token_revoked":           tokenHint,
	"token_expired":           tokenHint,
	"not_in_channel":          "invite the bot to the channel (/invite @its-name)",
	"channel_not_found":       "the channel does not exist, or is private and the bot not in it: set the id of one that the bot is in",
	"is_archived":             "the channel is archived: unarchive it, or set another",
	"missing_scope":           "add the scope to the app and install it anew",
	"restricted_action":       "a setting of the workspace keeps the app from posting there",
	"no_permission":           "the app may not do this in the workspace",
	"org_login_required":      "the workspace is being moved: wait for its administrator",
	"ekm_access_denied":       "the workspace's keys do not let the app post",
	"team_access_not_granted": "grant the app access to the workspace",
	"invalid_blocks":          "a mistake of this program's; please report it",
	"invalid_blocks_format":   "a mistake of this program's; please report it",
	"msg_blocks_too_long":     "a mistake of this program's; please report it",
	"msg_too_long":            "a mistake of this program's; please report it",
	"no_text":                 "a mistake of this program's; please report it",
	"invalid_arguments":       "a mistake of this program's; please report it",
	"metadata_too_large":      "a mistake of this program's; please report it",
	"no_such_subteam":         "there is no such user group: set the id of one (S...)",
	"subteam_not_found":       "there is no such user group: set the id of one (S...)",
}

const tokenHint = "set the environment variable to the app's bot token (xoxb-...), as its page OAuth & Permissions shows it"

// explain says what to do about an error. What a server says is anybody's text.
func (c *Chat) explain(method string, err error) error {
	if err == nil {
		return nil
	}
	what := "slack: " + method
	if c.channel != "" {
		what += " for " + c.channel
	}
	var answer slack.SlackErrorResponse
	switch {
	case errors.As(err, &answer):
		code := c.said(answer.Err)
		if hint, ok := refused[answer.Err]; ok {
			if answer.Err == "missing_scope" && answer.Needed != "" {
				hint = "add the scope " + c.said(answer.Needed) + " to the app and install it anew"
			}
			if more := answer.ResponseMetadata.Messages; len(more) > 0 {
				hint += " (" + c.said(more[0]) + ")"
			}
			return fmt.Errorf("%s: %s: %s: %w", what, code, hint, ticket.ErrRefused)
		}
		if slices.Contains([]string{"thread_not_found", "message_not_found"}, answer.Err) {
			return fmt.Errorf("%s: %s: somebody deleted the message: %w", what, code, ticket.ErrGone)
		}
		return fmt.Errorf("%s: %s", what, code)
	case errors.Is(err, context.Canceled):
		return fmt.Errorf("%s: %w", what, context.Canceled)
	case errors.Is(err, context.DeadlineExceeded):
		return fmt.Errorf("%s: no answer in time: %w", what, context.DeadlineExceeded)
	}
	return fmt.Errorf("%s: %s", what, c.said(err.Error()))
}

// said is what somebody else said, bounded and inert, without our token.
func (c *Chat) said(s string) string {
	return inert.Line(cut(strings.ReplaceAll(s, c.token, "(token)"), 300))
}
