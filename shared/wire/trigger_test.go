package wire

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/mod/sumdb/note"

	"github.com/auditcanary/auditcanary/shared/run"
	"github.com/auditcanary/auditcanary/shared/slack"
)

const (
	slackSecret = "8f742231b10e8888abcd99yyyzzz85a5"
	ciKey       = "0123456789abcdef0123456789abcdef"
	otherKey    = "fedcba9876543210fedcba9876543210"
)

// desk is a trigger whose clock a test moves and whose kicks it sees.
type desk struct {
	*trigger
	t      *testing.T
	h      http.Handler
	mu     sync.Mutex
	now    time.Time
	kicked []Given
	log    bytes.Buffer
	ids    int
}

func openDesk(t *testing.T, trigger string) (*desk, error) {
	t.Helper()
	dir := t.TempDir()
	skey, _, err := note.GenerateKey(rand.Reader, "auditcanary.example/test")
	if err != nil {
		t.Fatal(err)
	}
	config, err := os.ReadFile("testdata/good.yaml")
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, "auditcanary.yaml")
	if err := errors.Join(os.WriteFile(filepath.Join(dir, "signing.key"), []byte(skey), 0o600), os.WriteFile(file, append(config, trigger...), 0o600)); err != nil {
		t.Fatal(err)
	}
	t.Setenv("SLACK_SECRET", slackSecret)
	t.Setenv("SLACK_TOKEN", "xoxb-1")
	t.Setenv("CI_KEY", ciKey)
	t.Setenv("OTHER_KEY", otherKey)
	cfg, err := Load(file)
	if err != nil {
		return nil, err
	}
	d := &desk{t: t, now: time.Date(2026, 11, 22, 9, 30, 0, 0, time.UTC)}
	d.h, err = OpenTrigger(t.Context(), cfg, TriggerOptions{Clock: d.clock, Log: &d.log})
	if err != nil {
		return nil, err
	}
	d.trigger = theTrigger(t, d.h)
	d.kick = func(_ context.Context, what Given) error {
		d.mu.Lock()
		defer d.mu.Unlock()
		d.kicked = append(d.kicked, what)
		return nil
	}
	return d, nil
}

// theTrigger is the trigger behind a handler.
func theTrigger(t *testing.T, h http.Handler) *trigger {
	t.Helper()
	out, ok := h.(served)
	if !ok {
		t.Fatalf("a %T", h)
	}
	return out.trigger
}

func (d *desk) clock() time.Time {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.now
}

const triggerConfig = `
trigger:
  slack: {signing_secret_env: SLACK_SECRET, users: [U0AUDITOR], scenarios: ["aws/kms-*", "aws/iam-*"]}
  callers:
    - {id: ci, key_env: CI_KEY, targets: ["111122223333/us-east-1"]}
    - {id: other, key_env: OTHER_KEY}
`

// form is a slash command's body; each use has a trigger_id of its own.
func (d *desk) form(user, text string) string {
	d.ids++
	return url.Values{"command": {"/auditcanary"}, "text": {text}, "user_id": {user}, "user_name": {"<!channel>"}, "channel_id": {"C0AUDIT0001"}, "trigger_id": {strconv.Itoa(d.ids)}}.Encode()
}

// slash sends a slash command and returns the answer's text.
func (d *desk) slash(body, secret string) (int, string) {
	ts := strconv.FormatInt(d.clock().Unix(), 10)
	r := httptest.NewRequest(http.MethodPost, "/slack", strings.NewReader(body))
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	r.Header.Set("X-Slack-Request-Timestamp", ts)
	r.Header.Set("X-Slack-Signature", slack.Sign(secret, ts, []byte(body)))
	return d.send(r)
}

func (d *desk) call(id, key, body string) (int, string) {
	ts := strconv.FormatInt(d.clock().Unix(), 10)
	r := httptest.NewRequest(http.MethodPost, "/run", strings.NewReader(body))
	r.Header.Set("X-Auditcanary-Key", id)
	r.Header.Set("X-Auditcanary-Timestamp", ts)
	r.Header.Set("X-Auditcanary-Signature", slack.Sign(key, ts, []byte(body)))
	return d.send(r)
}

func (d *desk) send(r *http.Request) (int, string) {
	w := httptest.NewRecorder()
	d.h.ServeHTTP(w, r)
	return w.Code, w.Body.String()
}

func (d *desk) asked() []run.Asked {
	d.t.Helper()
	state, _, err := run.Fold(d.t.Context(), d.ledger)
	if err != nil {
		d.t.Fatal(err)
	}
	return state.Asked
}

func TestACommandIsWrittenDownAndBegun(t *testing.T) {
	d, err := openDesk(t, triggerConfig)
	if err != nil {
		t.Fatal(err)
	}
	body := d.form("U0AUDITOR", "run aws/kms-* 111122223333/us-east-1")
	status, first := d.slash(body, slackSecret)
	all := d.asked()
	if status != http.StatusOK || len(all) != 1 || len(d.kicked) != 1 || d.kicked[0] != (Given{Run: run.RunFor(all[0]), Asked: all[0].ID}) {
		t.Fatalf("%d %s\n%+v\nkicked %v", status, first, all, d.kicked)
	}
	a := all[0]
	if a.By != "U0AUDITOR (<!channel>)" || a.Through != "slack" || a.Channel != "C0AUDIT0001" || a.Command != "run" || a.Refused != "" || len(a.Scenarios) == 0 || len(a.Targets) != 1 {
		t.Errorf("%+v", a)
	}
	for _, s := range a.Scenarios { // what may be asked for is bound to what it was
		if !strings.HasPrefix(s, "aws/kms-") || strings.Contains(s, "*") {
			t.Errorf("scenario %s", s)
		}
	}
	if !strings.Contains(first, run.RunFor(a)) || !strings.Contains(first, `"response_type":"ephemeral"`) || strings.Contains(textOf(t, first), "<") {
		t.Errorf("%s", first)
	}
	// Slack, or somebody who recorded it, sends it once more.
	status, again := d.slash(body, slackSecret)
	if status != http.StatusOK || again != first || len(d.asked()) != 1 {
		t.Errorf("again: %d %s\n%+v", status, again, d.asked())
	}
	// Later it is a replay.
	d.now = d.now.Add(2 * slack.Replay)
	r := httptest.NewRequest(http.MethodPost, "/slack", strings.NewReader(body))
	ts := strconv.FormatInt(d.now.Add(-slack.Replay-time.Second).Unix(), 10)
	r.Header.Set("X-Slack-Request-Timestamp", ts)
	r.Header.Set("X-Slack-Signature", slack.Sign(slackSecret, ts, []byte(body)))
	if status, text := d.send(r); status != http.StatusUnauthorized || !strings.Contains(text, "five minutes") {
		t.Errorf("%d %s", status, text)
	}
}

// textOf is the answer's text, which Slack reads for markup.
func textOf(t *testing.T, answer string) string {
	t.Helper()
	var a struct{ Text string }
	if err := json.Unmarshal([]byte(answer), &a); err != nil {
		t.Fatalf("%v: %s", err, answer)
	}
	return a.Text
}

func TestWhoMayAskForWhat(t *testing.T) {
	d, err := openDesk(t, triggerConfig)
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name   string
		send   func() (int, string)
		status int
		want   string
		ledger string // of the entry: "run" begun, "refused", "" none
	}{
		{"a user who may", func() (int, string) { return d.slash(d.form("U0AUDITOR", "run"), slackSecret) }, 200, "was asked for by U0AUDITOR", "run"},
		{"another scenario", func() (int, string) { return d.slash(d.form("U0AUDITOR", "run aws/ec2-*"), slackSecret) }, 200, "is not among the scenarios that you may ask for", "refused"},
		{"more than that", func() (int, string) { return d.slash(d.form("U0AUDITOR", "run aws/*"), slackSecret) }, 200, "is not among the scenarios", "refused"},
		{"no scenario", func() (int, string) { return d.slash(d.form("U0AUDITOR", "run gcp/x"), slackSecret) }, 200, "no scenario matches gcp/x", "refused"},
		{"no target", func() (int, string) { return d.slash(d.form("U0AUDITOR", "run 444455556666"), slackSecret) }, 200, "is not configured", "refused"},
		{"nonsense", func() (int, string) { return d.slash(d.form("U0AUDITOR", "rm -rf /"), slackSecret) }, 200, "there is no command", ""},
		{"help", func() (int, string) { return d.slash(d.form("U0AUDITOR", ""), slackSecret) }, 200, "/auditcanary status", ""},
		{"status", func() (int, string) { return d.slash(d.form("U0AUDITOR", "status"), slackSecret) }, 200, "There was no run yet", "status"},
		{"a caller", func() (int, string) { return d.call("other", otherKey, `{"do": "run"}`) }, 202, `"run":"20261122-`, "run"},
		{"a caller at its target", func() (int, string) {
			return d.call("ci", ciKey, `{"do": "run", "scenario": "aws/kms-*", "target": "111122223333/us-east-1"}`)
		}, 202, `"run":"20261122-`, "run"},
		{"a caller elsewhere", func() (int, string) {
			return d.call("ci", ciKey, `{"do": "run", "target": "111122223333/eu-west-1"}`)
		}, 403, "is not among the targets", "refused"},
		{"a caller everywhere", func() (int, string) { return d.call("ci", ciKey, `{"do": "run", "target": "111122223333"}`) }, 403, "is not among the targets", "refused"},
		{"unknown member", func() (int, string) { return d.call("ci", ciKey, `{"do": "run", "regions": []}`) }, 400, "the body is not", ""},
		{"twice the same", func() (int, string) { return d.call("ci", ciKey, `{"do": "run", "do": "status"}`) }, 400, "the body is not", ""},
		{"no JSON", func() (int, string) { return d.call("ci", ciKey, `do=run`) }, 400, "the body is not", ""},
		{"words in a word", func() (int, string) { return d.call("ci", ciKey, `{"do": "run aws/kms-*"}`) }, 400, "do is", ""},
	} {
		before, kicked := len(d.asked()), len(d.kicked)
		status, text := tt.send()
		if status != tt.status || !strings.Contains(text, tt.want) {
			t.Errorf("%s: %d %s; want %d %s", tt.name, status, text, tt.status, tt.want)
		}
		entries := d.asked()[before:]
		if (tt.ledger == "") != (len(entries) == 0) || len(entries) > 1 {
			t.Errorf("%s: entries %+v", tt.name, entries)
			continue
		}
		if tt.ledger != "" && (entries[0].Refused != "") != (tt.ledger == "refused") {
			t.Errorf("%s: entry %+v", tt.name, entries[0])
		}
		if (tt.ledger == "run") != (len(d.kicked) == kicked+1) {
			t.Errorf("%s: kicked %v", tt.name, d.kicked[kicked:])
		}
		d.now = d.now.Add(time.Second)
	}
	for _, a := range d.asked() {
		if a.By == "ci" && a.Refused == "" && (len(a.Targets) != 1 || a.Targets[0] != "111122223333/us-east-1") {
			t.Errorf("ci asked for %v", a.Targets)
		}
	}
}

// TestASignatureHasOneText: a request that somebody recorded is no other command by being
// written otherwise.
func TestASignatureHasOneText(t *testing.T) {
	d, err := openDesk(t, triggerConfig)
	if err != nil {
		t.Fatal(err)
	}
	const body = `{"do": "run"}`
	ts := strconv.FormatInt(d.clock().Unix(), 10)
	signature := slack.Sign(otherKey, ts, []byte(body))
	runs := map[string]bool{}
	for _, text := range []string{signature, signature, "v0=" + strings.ToUpper(signature[3:]), signature + " ", "v0=" + strings.ToUpper(signature[3:4]) + signature[4:]} {
		r := httptest.NewRequest(http.MethodPost, "/run", strings.NewReader(body))
		r.Header.Set("X-Auditcanary-Key", "other")
		r.Header.Set("X-Auditcanary-Timestamp", ts)
		r.Header.Set("X-Auditcanary-Signature", text)
		d.send(r)
	}
	for _, a := range d.asked() {
		if a.Command == "run" {
			runs[run.RunFor(a)] = true
		}
	}
	if len(runs) != 1 {
		t.Errorf("one request is %d commands: %+v", len(runs), d.asked())
	}
}

// TestStrangersDoNotFillTheLedger: anybody can send requests.
func TestStrangersDoNotFillTheLedger(t *testing.T) {
	d, err := openDesk(t, triggerConfig)
	if err != nil {
		t.Fatal(err)
	}
	for name, send := range map[string]func() (int, string){
		"another secret":  func() (int, string) { return d.slash(d.form("U0AUDITOR", "run"), slackSecret+"x") },
		"another user":    func() (int, string) { return d.slash(d.form("U0MALLORY", "run"), slackSecret) },
		"too large":       func() (int, string) { return d.slash(strings.Repeat("x", slack.MaxBody+1), slackSecret) },
		"another's key":   func() (int, string) { return d.call("ci", otherKey, `{"do": "run"}`) },
		"no such caller":  func() (int, string) { return d.call("<script>", ciKey, `{"do": "run"}`) },
		"the blank key":   func() (int, string) { return d.call("nobody", strings.Repeat("\x00", minKey), `{"do": "run"}`) },
		"a body too big":  func() (int, string) { return d.call("ci", ciKey, strings.Repeat(" ", slack.MaxBody+1)) },
		"nothing at all":  func() (int, string) { return d.send(httptest.NewRequest(http.MethodPost, "/run", http.NoBody)) },
		"an empty secret": func() (int, string) { return d.slash(d.form("U0AUDITOR", "run"), "") },
	} {
		for range 5 {
			status, text := send()
			want := http.StatusUnauthorized
			switch name {
			case "another user":
				want = http.StatusOK
			case "too large", "a body too big":
				want = http.StatusRequestEntityTooLarge
			}
			if status != want || strings.Contains(text, "asked for by") {
				t.Errorf("%s: %d %s", name, status, text)
			}
		}
	}
	all := d.asked()
	if len(all) != 1 || !strings.Contains(all[0].Refused, "not allowed") || len(d.kicked) != 0 {
		t.Fatalf("%d entries: %+v", len(all), all)
	}
	d.now = d.now.Add(noteStrangers)
	d.slash(d.form("U0MALLORY", "run"), slackSecret)
	all = d.asked()
	if len(all) != 2 || !strings.Contains(all[1].Refused, "last: 45; the latest: user U0MALLORY is not allowed") {
		t.Errorf("%+v", all)
	}
}

// TestStrangersDoNotFillTheLedgerFromColdProcesses: a function's instances know nothing of
// each other but what the ledger has.
func TestStrangersDoNotFillTheLedgerFromColdProcesses(t *testing.T) {
	d, err := openDesk(t, triggerConfig)
	if err != nil {
		t.Fatal(err)
	}
	for range 5 {
		if d.h, err = OpenTrigger(t.Context(), d.c, TriggerOptions{Clock: d.clock, Log: &d.log}); err != nil {
			t.Fatal(err)
		}
		for range 3 {
			d.call("ci", otherKey, `{"do": "run"}`)
		}
		d.now = d.now.Add(noteStrangers / 10)
	}
	if all := d.asked(); len(all) != 1 {
		t.Errorf("%d entries within half a minute: %+v", len(all), all)
	}
	// What was not told of then is told of with the next.
	d.now = d.now.Add(noteStrangers)
	d.call("ci", otherKey, `{"do": "run"}`)
	if all := d.asked(); len(all) != 2 || !strings.Contains(all[1].Refused, "last: 4; the latest: the signature") {
		t.Errorf("%d entries after a minute: %+v", len(all), all)
	}
	for range 2 * strangersADay {
		d.now = d.now.Add(noteStrangers)
		d.call("ci", otherKey, `{"do": "run"}`)
	}
	if n := len(d.asked()); n != strangersADay {
		t.Errorf("%d entries within a day, want %d", n, strangersADay)
	}
	d.now = d.now.Add(24 * time.Hour)
	d.call("ci", otherKey, `{"do": "run"}`)
	if all := d.asked(); len(all) != strangersADay+1 {
		t.Errorf("%d entries on the next day", len(all))
	}
	// Nor does it keep anybody out who may ask.
	if status, text := d.call("other", otherKey, `{"do": "run"}`); status != http.StatusAccepted {
		t.Errorf("%d %s", status, text)
	}
}

func TestASlowKickHoldsNobodyUp(t *testing.T) {
	d, err := openDesk(t, triggerConfig)
	if err != nil {
		t.Fatal(err)
	}
	stop := make(chan struct{})
	defer close(stop)
	d.kick = func(context.Context, Given) error { <-stop; return nil } // deaf to its context
	begun := time.Now()
	status, text := d.slash(d.form("U0AUDITOR", "run"), slackSecret)
	if took := time.Since(begun); took > 2*time.Second || status != http.StatusOK || !strings.Contains(text, "was asked for") {
		t.Errorf("after %s: %d %s", took, status, text)
	}
	if !strings.Contains(d.log.String(), "no answer in time; the next scheduled inject takes it up") {
		t.Error(d.log.String())
	}
	state, _, err := run.Fold(t.Context(), d.ledger)
	if err != nil || len(state.Waiting()) != 1 {
		t.Errorf("%d wait, %v", len(state.Waiting()), err)
	}
	// A kick that fails: whoever asked is told, and the same command kicks once more.
	d.kick = func(context.Context, Given) error { return errors.New("\x1b[2Jno") }
	body := d.form("U0AUDITOR", "run")
	_, first := d.slash(body, slackSecret)
	n := 0
	d.kick = func(context.Context, Given) error { n++; return nil }
	runOf := regexp.MustCompile(`\d{8}-[a-z2-7]{6}`)
	if !strings.Contains(first, "Whether it was started is not known") {
		t.Errorf("%q", first)
	}
	if _, again := d.slash(body, slackSecret); runOf.FindString(again) != runOf.FindString(first) || strings.Contains(again, "not known") || n != 1 || strings.Contains(d.log.String(), "\x1b") {
		t.Errorf("%q, then %q; %d kicks; %q", first, again, n, d.log.String())
	}
}

// TestWhatWaitsIsTriedAgain: nobody else comes for it in this process.
func TestWhatWaitsIsTriedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		answers := []struct {
			waiting bool
			err     error
		}{{true, nil}, {false, errors.New("\x1b[2Jthe ledger does not answer")}, {true, nil}, {false, nil}}
		var at []time.Duration
		begun := time.Now()
		take := func(ctx context.Context) (bool, error) {
			at = append(at, time.Since(begun))
			if len(at) > len(answers) { // interrupted: it undoes what it did
				<-ctx.Done()
				time.Sleep(3 * time.Minute)
				return true, ctx.Err()
			}
			a := answers[len(at)-1]
			return a.waiting, a.err
		}
		var work sync.WaitGroup
		complaints := 0
		kick := local(ctx, &work, takeAgain, take, func(string, ...any) { complaints++ })
		time.Sleep(time.Hour)
		synctest.Wait()
		if want := []time.Duration{0, takeAgain, 2 * takeAgain, 3 * takeAgain}; !slices.Equal(at, want) || complaints != 1 {
			t.Errorf("taken at %v with %d complaints, want %v with 1", at, complaints, want)
		}
		for range 3 {
			if err := kick(ctx, Given{Asked: "http:1"}); err != nil {
				t.Error(err)
			}
		}
		synctest.Wait()
		if len(at) != 5 || at[4] != time.Hour {
			t.Errorf("asked after an hour, taken at %v", at)
		}
		cancel()
		work.Wait()
		if over := time.Since(begun); over != time.Hour+3*time.Minute {
			t.Errorf("the work is over after %s", over)
		}
	})
}

func TestGroupsAreAskedForInTime(t *testing.T) {
	members, hang := `{"ok": true, "users": ["U0MEMBER"]}`, false
	asked := 0
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked++
		if hang {
			_, _ = io.Copy(io.Discard, r.Body) // else nobody notices that the caller is gone
			<-r.Context().Done()
			return
		}
		_, _ = io.WriteString(w, members)
	}))
	defer server.Close()
	d, err := openDesk(t, fmt.Sprintf("\ntrigger:\n  slack: {signing_secret_env: SLACK_SECRET, users: [U0AUDITOR], groups: [S0AUDITORS], token_env: SLACK_TOKEN, api_url: %s/api/}\n", server.URL))
	if err != nil {
		t.Fatal(err)
	}
	if _, text := d.slash(d.form("U0AUDITOR", "run"), slackSecret); asked != 0 || !strings.Contains(text, "was asked for") {
		t.Errorf("a listed user: %d calls, %s", asked, text)
	}
	if _, text := d.slash(d.form("U0MEMBER", "run"), slackSecret); asked != 1 || !strings.Contains(text, "was asked for") {
		t.Errorf("a member: %d calls, %s", asked, text)
	}
	if _, text := d.slash(d.form("U0MALLORY", "run"), slackSecret); !strings.Contains(text, "You may not use this") {
		t.Errorf("another: %s", text)
	}
	hang, d.within = true, time.Second
	begun := time.Now()
	if _, text := d.slash(d.form("U0MEMBER", "run"), slackSecret); !strings.Contains(text, "could not be found out, so nothing is done") || time.Since(begun) > 2*time.Second {
		t.Errorf("no answer: after %s %s", time.Since(begun), text)
	}
	if n := len(d.kicked); n != 2 {
		t.Errorf("%d kicks", n)
	}
}

func TestATriggerWithoutItsSecretsIsNotOpened(t *testing.T) {
	for name, tt := range map[string]struct{ config, want string }{
		"no trigger":     {"", "there is no trigger"},
		"no secret":      {"\ntrigger: {slack: {signing_secret_env: NOT_SET, users: [U0AUDITOR]}}\n", "environment variable NOT_SET does not hold a signing secret"},
		"a short key":    {"\ntrigger: {callers: [{id: ci, key_env: SLACK_TOKEN}]}\n", "SLACK_TOKEN does not hold a key of at least 32"},
		"the same twice": {"\ntrigger: {callers: [{id: a, key_env: CI_KEY}, {id: b, key_env: CI_KEY}]}\n", "have the same key"},
		"no token":       {"\ntrigger: {slack: {signing_secret_env: SLACK_SECRET, groups: [S0AUDITORS], token_env: NOT_SET}}\n", "token_env NOT_SET"},
	} {
		if _, err := openDesk(t, tt.config); err == nil || !strings.Contains(err.Error(), tt.want) || strings.Contains(err.Error(), "xoxb-1") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestWhatWasAskedForAndIsNotBegun: a state machine that comes for it learns whether to wait.
func TestWhatWasAskedForAndIsNotBegun(t *testing.T) {
	d, err := openDesk(t, triggerConfig)
	if err != nil {
		t.Fatal(err)
	}
	d.slash(d.form("U0AUDITOR", "run"), slackSecret)
	id := d.asked()[0].ID
	r := &run.Run{Log: d.ledger, Clock: d.clock} // of a catalogue that has lost its scenarios
	out, err := asked(t.Context(), r, d.c, Input{Asked: id})
	if got, ok := out.(Outcome); err != nil || !ok || got.Begun || got.Waits || got.Run != d.kicked[0].Run || !strings.Contains(got.Refused, "no scenario matches") {
		t.Errorf("refused: %+v, %v", out, err)
	}
	if all := d.asked(); !strings.Contains(all[len(all)-1].Refused, "no scenario matches") {
		t.Errorf("%+v", all)
	}
	for want, in := range map[string]Input{
		"nobody asked for":                {Asked: "slack:nobody"},
		`not the one that becomes run "2`: {Asked: id, Run: "20261126-abc234"},
	} {
		if out, err := asked(t.Context(), r, d.c, in); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%+v, %v", out, err)
		}
	}
}
