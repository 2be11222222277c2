package host

import (
	"encoding/base64"
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/auditcanary/auditcanary/shared/slack"
	"github.com/auditcanary/auditcanary/shared/wire"
)

const (
	signingSecret = "8f742231b10e8888abcd99yyyzzz85a5"
	callerKey     = "0123456789abcdef0123456789abcdef"
)

// askable lets somebody ask for runs in a sandbox.
func askable(t *testing.T, s *sandbox) {
	t.Helper()
	for _, kv := range s.env {
		if file, ok := strings.CutPrefix(kv, "AUDITCANARY_CONFIG="); ok {
			f, err := os.OpenFile(file, os.O_APPEND|os.O_WRONLY, 0)
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			if _, err := f.WriteString("\ntrigger:\n  slack: {signing_secret_env: SLACK_SECRET, users: [U0AUDITOR]}\n  callers: [{id: ci, key_env: CI_KEY}]\n"); err != nil {
				t.Fatal(err)
			}
		}
	}
	s.env = append(s.env, "SLACK_SECRET="+signingSecret, "CI_KEY="+callerKey)
}

// slash is a signed slash command as Lambda hands it over.
func slash(t *testing.T, id, text string) string {
	t.Helper()
	body := url.Values{"command": {"/auditcanary"}, "text": {text}, "user_id": {"U0AUDITOR"}, "user_name": {"ann"}, "trigger_id": {id}}.Encode()
	ts := strconv.FormatInt(time.Now().Unix(), 10)
	event, err := json.Marshal(map[string]any{
		"version": "2.0", "rawPath": "/slack", "requestContext": map[string]any{"http": map[string]any{"method": "POST", "path": "/slack"}},
		"headers":         map[string]string{"content-type": "application/x-www-form-urlencoded", "x-slack-request-timestamp": ts, "x-slack-signature": slack.Sign(signingSecret, ts, []byte(body))},
		"isBase64Encoded": true, "body": base64.StdEncoding.EncodeToString([]byte(body)),
	})
	if err != nil {
		t.Fatal(err)
	}
	return string(event)
}

// call is a caller's signed request.
func call(t *testing.T, url, key, body string) (int, string) {
	t.Helper()
	ts := strconv.FormatInt(time.Now().Unix(), 10)
	r, err := http.NewRequest(http.MethodPost, url+"run", strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("X-Auditcanary-Key", "ci")
	r.Header.Set("X-Auditcanary-Timestamp", ts)
	r.Header.Set("X-Auditcanary-Signature", slack.Sign(key, ts, []byte(body)))
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(answer)
}

var runID = regexp.MustCompile(`\d{8}-[a-z2-7]{6}`)

// TestWhatIsAskedForIsBegunOnce asks through Lambda and through a Google Cloud function,
// and lets the deployed inject do it, once by its id and once on its schedule.
func TestWhatIsAskedForIsBegunOnce(t *testing.T) {
	cloud := startSandbox(t)
	askable(t, &cloud)

	api := newLambdaAPI(t)
	start(t, lambdaFile(t, "trigger"), nil, append(cloud.env, api.env())...)
	command := slash(t, "1.2", "run aws/kms-disable-key")
	var first string
	for range 2 { // Slack delivers twice
		api.invocations <- command
		got := <-api.answers
		var answer struct {
			StatusCode int
			Body       string
		}
		if err := json.Unmarshal([]byte(got.Body), &answer); err != nil || got.Kind != "response" || answer.StatusCode != http.StatusOK || !runID.MatchString(answer.Body) {
			t.Fatalf("%+v", got)
		}
		if first == "" {
			first = answer.Body
		}
		if answer.Body != first {
			t.Errorf("%s, then %s", first, answer.Body)
		}
	}

	inject := newLambdaAPI(t)
	start(t, lambdaFile(t, "inject"), nil, append(cloud.env, inject.env())...)
	inject.invocations <- `{"asked":"slack:1.2","summary":true}`
	done := summary(t, (<-inject.answers).Body)
	if done.Run != runID.FindString(first) || len(done.Canaries) == 0 {
		t.Errorf("run %s of %d canaries; asked for was %s", done.Run, len(done.Canaries), first)
	}
	for _, c := range done.Canaries {
		if c.Scenario != "aws/kms-disable-key" {
			t.Errorf("%s was done", c.Scenario)
		}
	}
	inject.invocations <- `{"asked":"slack:1.2"}` // what began it is tried again
	var once wire.Outcome
	if body := (<-inject.answers).Body; json.Unmarshal([]byte(body), &once) != nil || once.Run != done.Run || !once.Injected || once.Waits || once.Tally.Canaries != len(done.Canaries) {
		t.Errorf("once more: %s", body)
	}

	at, _ := serve(t, binary(t, "trigger"), append(cloud.env, "FUNCTION_TARGET=trigger")...)
	status, text := call(t, at, callerKey, `{"do": "run", "scenario": "aws/kms-schedule-deletion"}`)
	if status != http.StatusAccepted || !runID.MatchString(text) {
		t.Fatalf("%d %s", status, text)
	}
	if status, text := call(t, at, callerKey+"x", `{"do": "run"}`); status != http.StatusUnauthorized {
		t.Errorf("another key: %d %s", status, text)
	}
	inject.invocations <- `{"run":"20261126-schedule","every":"hourly","summary":true}`
	if body := (<-inject.answers).Body; summary(t, body).Run != "20261126-schedule" {
		t.Error(body)
	}
	status, text = call(t, at, callerKey, `{"do": "status"}`)
	if want := "Last run: " + runID.FindString(text); status != http.StatusOK || !strings.Contains(text, want) || strings.Contains(text, "not begun") {
		t.Errorf("%d %s", status, text)
	}
	if changes := cloud.changes(t); len(changes) > 0 {
		t.Errorf("left in the accounts: %s", changes)
	}
}

// Whoever keeps the command running needs no cloud function.
func TestATriggerOnThisMachineDoesWhatItIsAskedFor(t *testing.T) {
	cloud := startSandbox(t)
	askable(t, &cloud)
	p := start(t, binary(t, "auditcanary"), []string{"trigger", "serve", "--listen", "127.0.0.1:0"}, cloud.env...)
	p.prints(t, "\n")
	at := strings.TrimSpace(p.stdout.String())
	status, text := call(t, at, callerKey, `{"do": "run", "scenario": "aws/kms-disable-key"}`)
	if status != http.StatusAccepted {
		t.Fatalf("%d %s", status, text)
	}
	want := "Last run: " + runID.FindString(text)
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(50 * time.Millisecond) {
		_, text := call(t, at, callerKey, `{"do": "status"}`)
		if strings.Contains(text, want) {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s: never begun\n%s", want, p.stderr.String())
		}
	}
}
