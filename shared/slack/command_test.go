package slack

import (
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/slack-go/slack"
)

const secret = "8f742231b10e8888abcd99yyyzzz85a5"

// signed is a request as Slack makes one.
func signed(body, secret string, at time.Time) *http.Request {
	r := httptest.NewRequest(http.MethodPost, "/slack", strings.NewReader(body))
	ts := strconv.FormatInt(at.Unix(), 10)
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	r.Header.Set("X-Slack-Request-Timestamp", ts)
	r.Header.Set("X-Slack-Signature", Sign(secret, ts, []byte(body)))
	return r
}

func typed(text string) string {
	return url.Values{"command": {"/auditcanary"}, "text": {text}, "user_id": {"U0AUDITOR"}, "user_name": {"ann"}, "channel_id": {"C0AUDIT0001"}, "trigger_id": {"1.2.abc"}, "response_url": {"https://hooks.slack.com/commands/x"}}.Encode()
}

// TestSlacksOwnExample is the example of Slack's documentation on verifying requests.
func TestSlacksOwnExample(t *testing.T) {
	body := "token=xyzz0WbapA4vBCDEFasx0q6G&team_id=T1DC2JH3J&team_domain=testteamnow&channel_id=G8PSS9T3V&channel_name=foobar&user_id=U2CERLKJA&user_name=roadrunner&command=%2Fwebhook-collect&text=&response_url=https%3A%2F%2Fhooks.slack.com%2Fcommands%2FT1DC2JH3J%2F397700885554%2F96rGlfmibIGlgcZRskXaIFfN&trigger_id=398738663015.47445629121.803a0bc887a14d10d2c447fce8b6703c"
	err := Verify(secret, "1531420618", "v0=a2114d57b48eac39b9ad189dd8316235a7b4a8d21a10bd27519666489c69b503", []byte(body), time.Unix(1531420618, 0).Add(4*time.Minute))
	if err != nil {
		t.Error(err)
	}
}

// TestTheClientLibraryTakesOurSignatures, and we take the same as it.
func TestTheClientLibraryTakesOurSignatures(t *testing.T) {
	r := signed(typed("status"), secret, time.Now())
	body, err := ReadBody(r)
	if err != nil {
		t.Fatal(err)
	}
	v, err := slack.NewSecretsVerifier(r.Header, secret)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := v.Write(body); err != nil {
		t.Fatal(err)
	}
	if err := v.Ensure(); err != nil {
		t.Error(err)
	}
}

func TestCommandsThatAreNotTaken(t *testing.T) {
	now := day
	for name, tt := range map[string]struct {
		r    func() *http.Request
		want error
	}{
		"right":            {func() *http.Request { return signed(typed("run"), secret, now) }, nil},
		"four minutes old": {func() *http.Request { return signed(typed("run"), secret, now.Add(-4*time.Minute)) }, nil},
		"six minutes old":  {func() *http.Request { return signed(typed("run"), secret, now.Add(-6*time.Minute)) }, ErrTooOld},
		"of the future":    {func() *http.Request { return signed(typed("run"), secret, now.Add(6*time.Minute)) }, ErrTooOld},
		"another secret":   {func() *http.Request { return signed(typed("run"), secret+"x", now) }, ErrSignature},
		"tampered": {func() *http.Request {
			r := signed(typed("status"), secret, now)
			r.Body = io.NopCloser(strings.NewReader(typed("run")))
			return r
		}, ErrSignature},
		"another time": {func() *http.Request {
			r := signed(typed("run"), secret, now)
			r.Header.Set("X-Slack-Request-Timestamp", strconv.FormatInt(now.Unix()+1, 10))
			return r
		}, ErrSignature},
		"no signature": {func() *http.Request {
			r := signed(typed("run"), secret, now)
			r.Header.Del("X-Slack-Signature")
			return r
		}, ErrSignature},
		"in upper case, which is another text of the same": {func() *http.Request {
			r := signed(typed("run"), secret, now)
			r.Header.Set("X-Slack-Signature", "v0="+strings.ToUpper(strings.TrimPrefix(r.Header.Get("X-Slack-Signature"), "v0=")))
			return r
		}, ErrSignature},
		"no version": {func() *http.Request {
			r := signed(typed("run"), secret, now)
			r.Header.Set("X-Slack-Signature", strings.TrimPrefix(r.Header.Get("X-Slack-Signature"), "v0="))
			return r
		}, ErrSignature},
		"no time": {func() *http.Request {
			r := signed(typed("run"), secret, now)
			r.Header.Del("X-Slack-Request-Timestamp")
			return r
		}, ErrTooOld},
		"too large": {func() *http.Request { return signed(typed(strings.Repeat("x", MaxBody)), secret, now) }, ErrTooLarge},
	} {
		r := tt.r()
		c, err := ReadCommand(r, secret, now)
		if !errors.Is(err, tt.want) || tt.want != nil && c != (Command{}) {
			t.Errorf("%s: %+v, %v", name, c, err)
		}
		if tt.want == nil {
			again, err := io.ReadAll(r.Body)
			if err != nil || string(again) != typed("run") || c.ID != "1.2.abc" || c.User != "U0AUDITOR" || c.Text != "run" {
				t.Errorf("%s: %+v; body %q, %v", name, c, again, err)
			}
		}
	}
	if err := Verify("", "1", Sign("", "1", nil), nil, time.Unix(1, 0)); err == nil {
		t.Error("without a secret everything is taken")
	}
	// What the query says is not signed.
	r := signed(strings.ReplaceAll(typed("run"), "user_id", "user_idx"), secret, now)
	r.URL.RawQuery = "user_id=U0AUDITOR"
	if c, err := ReadCommand(r, secret, now); err == nil {
		t.Errorf("the query's user is taken: %+v", c)
	}
}

func TestWordsOfACommand(t *testing.T) {
	for text, want := range map[string]any{
		"":                                    Words{Do: "help"},
		"  help ":                             Words{Do: "help"},
		"status":                              Words{Do: "status"},
		"run":                                 Words{Do: "run"},
		"run aws/kms-*":                       Words{Do: "run", Scenario: "aws/kms-*"},
		"run 111122223333":                    Words{Do: "run", Target: "111122223333"},
		"run  *  111122223333/us-gov-west-1 ": Words{Do: "run", Scenario: "*", Target: "111122223333/us-gov-west-1"},
		"status now":                          "status takes nothing more",
		"destroy":                             `there is no command "destroy"`,
		"RUN":                                 `there is no command "RUN"`,
		"run aws/[":                           "is no pattern",
		"run <!channel>":                      "is no pattern",
		"run aws/x everywhere":                "is no target",
		"run aws/x 111122223333/":             "is no target",
		"run aws/x 111122223333 more":         "nothing more",
		"run " + strings.Repeat("x", 600):     "too long",
	} {
		got, err := ParseWords(text)
		if w, ok := want.(Words); ok && (err != nil || got != w) {
			t.Errorf("%q: %+v, %v", text, got, err)
		}
		if s, ok := want.(string); ok && (err == nil || !strings.Contains(err.Error(), s)) {
			t.Errorf("%q: %+v, %v; want %s", text, got, err, s)
		}
	}
}

func TestAnswersAreEphemeralText(t *testing.T) {
	b, err := json.Marshal(Reply("last run: <!channel> *bold*", strings.Repeat("x", 5000), "", "\u202e"))
	if err != nil {
		t.Fatal(err)
	}
	var got struct {
		Type   string `json:"response_type"`
		Text   string
		Mrkdwn *bool
		Blocks []struct{ Type string }
	}
	if err := json.Unmarshal(b, &got); err != nil {
		t.Fatal(err)
	}
	if got.Type != "ephemeral" || got.Mrkdwn == nil || *got.Mrkdwn || strings.ContainsAny(got.Text, "<>*\u202e") || len(got.Blocks) != 1 || got.Blocks[0].Type != "rich_text" {
		t.Errorf("%s", b)
	}
	var many []string
	for range 1000 {
		many = append(many, strings.Repeat("\"", 300))
	}
	if n := size(Reply(many...).Blocks); n > maxMessage {
		t.Errorf("%d characters", n)
	}
}

func FuzzCommand(f *testing.F) {
	for _, text := range []string{"run aws/kms-* 111122223333/us-east-1", "status", "", "\xff\x00", "run [", strings.Repeat("x", 600)} {
		f.Add(text, typed(text))
	}
	f.Fuzz(func(t *testing.T, text, body string) {
		w, err := ParseWords(text)
		if err == nil && (w.Scenario != "" && !IsGlob(w.Scenario) || w.Target != "" && !IsTarget(w.Target)) {
			t.Errorf("%q: %+v", text, w)
		}
		if err != nil {
			b, _ := json.Marshal(Reply(err.Error()))
			if strings.ContainsAny(string(b), "\x1b\u202e") {
				t.Errorf("%s", b)
			}
		}
		c, err := ReadCommand(signed(body, secret, day), secret, day)
		if err == nil && (c.User == "" || c.ID == "" || c.Name != line(c.Name)) {
			t.Errorf("%q: %+v", body, c)
		}
		if _, err := ReadCommand(signed(body, "another", day), secret, day); err == nil {
			t.Errorf("%q is taken under another secret", body)
		}
	})
}
