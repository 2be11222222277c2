package wire

import (
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/auditcanary/auditcanary/shared/canary"
	"github.com/auditcanary/auditcanary/shared/ledger"
	"github.com/auditcanary/auditcanary/shared/run"
	"github.com/auditcanary/auditcanary/shared/ticket"
)

// notifying is a configuration with a ledger of its own in which one canary failed.
func notifying(t *testing.T, more string) *Config {
	t.Helper()
	dir := t.TempDir()
	skey, vkey, err := ledger.GenerateKey("test.example/log")
	if err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{"signing.key": skey, "signing.key.pub": vkey} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	cfg, err := Parse(filepath.Join(dir, "auditcanary.yaml"), []byte(`version: 1
targets:
  - {account: "111122223333", regions: [us-east-1], role_arn: "arn:aws:iam::111122223333:role/injector"}
log_stores:
  - {name: central, type: cloudtrail-s3, bucket: archive, region: us-east-1}
ledger: {origin: test.example/log, dir: ledger}
signing: {key_file: signing.key}
`+more))
	if err != nil {
		t.Fatal(err)
	}
	log, err := OpenLedger(t.Context(), cfg, ReadWrite)
	if err != nil {
		t.Fatal(err)
	}
	c := canary.Canary{ID: "r1-01", Run: "r1", Scenario: "aws/a", Target: canary.Target{Provider: "aws", Account: "111122223333", Region: "us-east-1"}}
	for _, e := range []run.Entry{
		{Type: "begun", Run: "r1", Begun: &run.Begun{Canaries: 1}},
		{Type: "planned", Run: "r1", Canary: c.ID, Planned: &run.Plan{Canary: c, Scenario: canary.Scenario{ID: "aws/a", Category: "permissions"}}},
		{Type: "injected", Run: "r1", Injected: &run.Injected{}},
		{Type: "verdict", Run: "r1", Canary: c.ID, Verdict: &canary.Verdict{Canary: c.ID, Checks: map[canary.Check]canary.Answer{canary.Surfaced: {Status: canary.Fail, Hop: canary.Delivered, Detail: "lost"}}}},
	} {
		e.V, e.At = 1, time.Date(2026, 11, 26, 10, 0, 0, 0, time.UTC)
		leaf, err := json.Marshal(e)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := log.Append(context.Background(), leaf); err != nil {
			t.Fatal(err)
		}
	}
	return cfg
}

const jiraAndSlack = `tickets:
  resolve_after: 3
  resolved_by_hand: leave
  environments: {"111122223333": sandbox}
  severities: {default@sandbox: low, permissions: critical}
  labels: [cloud]
  jira: {url: "https://jira.example", flavour: data-center, token_env: TEST_JIRA_TOKEN, project: AC, components: {permissions: IAM}}
chat:
  slack: {token_env: TEST_SLACK_TOKEN, channel: C0123456789, quiet: true, digest_at: "17:30"}
  report_url: https://report.example/
`

func TestADryRunOfNotifyNeedsNoSecret(t *testing.T) {
	cfg := notifying(t, jiraAndSlack)
	res, err := Notify(t.Context(), cfg, NotifyOptions{Options: ticket.Options{DryRun: true}})
	if err != nil {
		t.Fatal(err)
	}
	if len(res.Acts) != 2 || res.Acts[0].Act != "create" || res.Acts[0].Fingerprint != "surfaced of aws/a at aws/111122223333/us-east-1" || len(res.Posts) == 0 || res.Tally[ticket.Failing] != 1 {
		t.Errorf("%+v", res)
	}
	c := cfg.ticketConfig()
	if c.ResolveAfter != 3 || !c.LeaveResolved || c.Components["permissions"] != "IAM" || c.ReportURL == "" || c.Severities["default@sandbox"] != "low" {
		t.Errorf("%+v", c)
	}
	if at, err := cfg.Chat.Slack.digestAt(); err != nil || at != 17*time.Hour+30*time.Minute {
		t.Errorf("digest at %s, %v", at, err)
	}
}

func TestNotifySaysWhatItLacks(t *testing.T) {
	for _, tt := range []struct{ more, want string }{
		{"", "there is nobody to tell"},
		{jiraAndSlack, "tickets.jira.token_env: environment variable TEST_JIRA_TOKEN is empty"},
		{"chat:\n  slack: {token_env: TEST_SLACK_TOKEN, channel: C0123456789}\n", "chat.slack.token_env: environment variable TEST_SLACK_TOKEN is empty"},
	} {
		_, err := Notify(t.Context(), notifying(t, tt.more), NotifyOptions{})
		if err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%q: %v, want %q", tt.more, err, tt.want)
		}
	}
}

// A chat that cannot be opened keeps no ticket from being made, and is not passed over.
func TestNotifyFailsIfTheChatCannotBeOpened(t *testing.T) {
	t.Setenv("TEST_JIRA_TOKEN", "token")
	nobody := httptest.NewServer(http.NotFoundHandler())
	defer nobody.Close()
	cfg := notifying(t, strings.Replace(jiraAndSlack, "https://jira.example", nobody.URL, 1))
	res, err := Notify(t.Context(), cfg, NotifyOptions{})
	if err != nil || len(res.Acts) == 0 {
		t.Fatalf("%v, %+v", err, res)
	}
	if len(res.Posts) != 1 || !strings.Contains(res.Posts[0].Err, "environment variable TEST_SLACK_TOKEN is empty") {
		t.Errorf("%+v", res.Posts)
	}
	if code := (ticket.Result{Posts: res.Posts}).ExitCode(); code != 2 {
		t.Errorf("exit code %d", code)
	}
}
