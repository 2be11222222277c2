package slack

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/slack-go/slack"
)

// Replay is how far a request's time may lie from ours: what is older may be a replay.
const Replay = 5 * time.Minute

// MaxBody bounds the body of a command, in bytes.
const MaxBody = 64 << 10

// Errors of a request that is not taken. They say nothing that helps whoever made it up.
var (
	ErrSignature = errors.New("the signature is not right")
	ErrTooOld    = errors.New("the request is not of the last five minutes")
	ErrTooLarge  = fmt.Errorf("the body is larger than %d bytes", MaxBody)
)

// Verify holds a signature "v0=HEX" against a body, as Slack makes it: HMAC-SHA-256 over
// "v0:TIMESTAMP:BODY", the timestamp in seconds. It is what slack.SecretsVerifier does,
// by our clock.
func Verify(secret, timestamp, signature string, body []byte, now time.Time) error {
	if secret == "" {
		return errors.New("no secret to hold the signature against")
	}
	sent, err := strconv.ParseInt(timestamp, 10, 64)
	if err != nil || len(timestamp) > 12 {
		return ErrTooOld
	}
	if now.Sub(time.Unix(sent, 0)).Abs() > Replay {
		return ErrTooOld
	}
	// The texts are compared: of a request there is one signature, by which it can be known again.
	if !hmac.Equal([]byte(signature), []byte(Sign(secret, timestamp, body))) {
		return ErrSignature
	}
	return nil
}

// Sign makes the one signature that Verify takes: hex in lower case.
func Sign(secret, timestamp string, body []byte) string {
	h := hmac.New(sha256.New, []byte(secret))
	fmt.Fprintf(h, "v0:%s:", timestamp)
	h.Write(body)
	return "v0=" + hex.EncodeToString(h.Sum(nil))
}

// ReadBody reads a request's body, at most MaxBody, and puts it back.
func ReadBody(r *http.Request) ([]byte, error) {
	body, err := io.ReadAll(io.LimitReader(r.Body, MaxBody+1))
	if err != nil {
		return nil, fmt.Errorf("read the request's body: %w", err)
	}
	if len(body) > MaxBody {
		return nil, ErrTooLarge
	}
	r.Body = io.NopCloser(bytes.NewReader(body))
	return body, nil
}

// Command is one use of a slash command, signed by Slack.
type Command struct {
	// ID of this use; the same request once more has the same.
	ID                  string
	User, Name, Channel string
	Team                string
	Text                string
	ResponseURL         string
}

// ReadCommand verifies and reads a slash command. The request's body can be read again.
func ReadCommand(r *http.Request, secret string, now time.Time) (Command, error) {
	body, err := ReadBody(r)
	if err != nil {
		return Command{}, err
	}
	if err := Verify(secret, r.Header.Get("X-Slack-Request-Timestamp"), r.Header.Get("X-Slack-Signature"), body, now); err != nil {
		return Command{}, err
	}
	// A URL's own query is not signed: only the body counts.
	if _, err := url.ParseQuery(string(body)); err != nil {
		return Command{}, fmt.Errorf("read the command: %w", err)
	}
	s, err := slack.SlashCommandParse(r)
	r.Body = io.NopCloser(bytes.NewReader(body))
	if err != nil {
		return Command{}, fmt.Errorf("read the command: %w", err)
	}
	if !userID.MatchString(s.UserID) || s.TriggerID == "" || len(s.TriggerID) > 200 {
		return Command{}, errors.New("read the command: it has no user_id or no trigger_id: is this a slash command?")
	}
	return Command{
		ID: line(s.TriggerID), User: s.UserID, Name: cut(line(s.UserName), 80), Channel: cut(line(s.ChannelID), 40),
		Team: cut(line(s.TeamID), 40), Text: s.Text, ResponseURL: s.ResponseURL,
	}, nil
}

var userID = regexp.MustCompile(`^[UW][A-Z0-9]{2,30}$`)

// Words is what somebody typed after /auditcanary.
type Words struct {
	// Do: run, status or help.
	Do string
	// Scenario is a glob over ids, Target ACCOUNT or ACCOUNT/REGION; "" is all.
	Scenario, Target string
}

// Help is what the command can do.
const Help = "/auditcanary run [SCENARIO] [ACCOUNT[/REGION]]: run the scenarios that the pattern matches (all) at the target (all)\n" +
	"/auditcanary status: how the last run went, and what is open\n" +
	"/auditcanary help: this"

// ParseWords reads what somebody typed.
func ParseWords(text string) (Words, error) {
	if len(text) > 500 {
		return Words{}, errors.New("that is too long")
	}
	words := strings.Fields(text)
	if len(words) == 0 {
		return Words{Do: "help"}, nil
	}
	w := Words{Do: words[0]}
	switch {
	case !slices.Contains([]string{"run", "status", "help"}, w.Do):
		return Words{}, fmt.Errorf("there is no command %q; there are run, status and help", line(cut(w.Do, 40)))
	case w.Do != "run" && len(words) > 1:
		return Words{}, fmt.Errorf("%s takes nothing more", w.Do)
	}
	rest := words[1:]
	if len(rest) > 0 && !IsTarget(rest[0]) {
		if !IsGlob(rest[0]) {
			return Words{}, fmt.Errorf("%q is no pattern of scenarios, like aws/kms-*", line(cut(rest[0], 80)))
		}
		w.Scenario, rest = rest[0], rest[1:]
	}
	if len(rest) > 0 {
		if !IsTarget(rest[0]) {
			return Words{}, fmt.Errorf("%q is no target, like 111122223333 or 111122223333/us-east-1", line(cut(rest[0], 80)))
		}
		w.Target, rest = rest[0], rest[1:]
	}
	if len(rest) > 0 {
		return Words{}, errors.New("run takes a pattern of scenarios and a target, and nothing more")
	}
	return w, nil
}

var (
	target = regexp.MustCompile(`^\d{12}(/[a-z]{2}(-[a-z]+)+-\d)?$`)
	glob   = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`^[a-z0-9/*?-]{1,100}$`) })
)

// IsTarget reports whether s is ACCOUNT or ACCOUNT/REGION, IsGlob whether it is a pattern
// over scenario ids.
func IsTarget(s string) bool { return target.MatchString(s) }
func IsGlob(s string) bool {
	_, err := path.Match(s, "")
	return err == nil && glob().MatchString(s)
}

// Answer is what a slash command is answered with: only who asked sees it, as text.
type Answer struct {
	Type   string        `json:"response_type"`
	Text   string        `json:"text"`
	Markup bool          `json:"mrkdwn"` // none
	Blocks []slack.Block `json:"blocks"`
}

// Reply makes an answer of lines of anybody's text.
func Reply(lines ...string) Answer {
	var parts []slack.RichTextElement
	var all []string
	left := maxMessage - 500
	for _, l := range lines {
		l = cut(orElse(line(l), "-"), 1_000)
		one := section(text(l, nil))
		if left -= size(one) + 1; left < 0 {
			break
		}
		parts = append(parts, one)
		all = append(all, l)
	}
	return Answer{Type: "ephemeral", Text: Escape(strings.Join(all, " ")), Blocks: []slack.Block{slack.NewRichTextBlock("", parts...)}}
}

// Groups knows who is in the user groups of a workspace.
type Groups struct{ c *Chat }

// NewGroups makes one; a Channel is not needed. It calls nobody.
func NewGroups(o Options) (*Groups, error) {
	o.Channel = ""
	c, err := connect(o)
	if err != nil {
		return nil, err
	}
	return &Groups{c}, nil
}

// Have reports whether a user is in one of the groups. Each group is asked for once. A
// group that cannot be asked for lets nobody in, and is an error where no other does.
func (g *Groups) Have(ctx context.Context, user string, groups []string) (bool, error) {
	var errs []error
	for _, group := range groups {
		var users []string
		err := g.c.call(ctx, "usergroups.users.list", func(ctx context.Context) error {
			var err error
			users, err = g.c.api.GetUserGroupMembersContext(ctx, group)
			return err
		})
		if err != nil {
			errs = append(errs, fmt.Errorf("group %s: %w", group, err))
			continue
		}
		if slices.Contains(users, user) {
			return true, nil
		}
	}
	return false, errors.Join(errs...)
}
