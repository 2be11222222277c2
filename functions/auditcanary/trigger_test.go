package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/mod/sumdb/note"

	"github.com/auditcanary/auditcanary/shared/run"
	"github.com/auditcanary/auditcanary/shared/wire"
)

// TestTriggerServeEndsWhatItHasBegun: interrupted in the middle of a run, the command ends
// when the run does, with its undo and its listing: the ledger has that the run is closed.
func TestTriggerServeEndsWhatItHasBegun(t *testing.T) {
	reached, interrupted := make(chan struct{}, 1), make(chan struct{})
	provider := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		select {
		case reached <- struct{}{}:
		default:
		}
		select {
		case <-interrupted:
		case <-t.Context().Done():
		}
		time.Sleep(50 * time.Millisecond) // what is done afterwards takes its time
		w.WriteHeader(http.StatusForbidden)
	}))
	t.Cleanup(provider.Close)
	skey, _, err := note.GenerateKey(rand.Reader, "auditcanary.example/test")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	file := filepath.Join(dir, "auditcanary.yaml")
	config := fmt.Sprintf(`version: 1
targets:
  - {account: "111122223333", regions: [us-east-1], role_arn: "arn:aws:iam::111122223333:role/auditcanary/auditcanary-injector", egress: [192.0.2.0/24]}
log_stores:
  - {name: central, type: cloudtrail-s3, bucket: org-trail-archive, region: us-east-1, organization_id: o-exampleorg1}
ledger: {origin: auditcanary.example/test, dir: ledger}
signing: {key_file: signing.key}
aws: {endpoint_url: %s}
trigger: {callers: [{id: ci, key_env: CI_KEY}]}
`, provider.URL)
	if err := errors.Join(os.WriteFile(filepath.Join(dir, "signing.key"), []byte(skey), 0o600), os.WriteFile(file, []byte(config), 0o600)); err != nil {
		t.Fatal(err)
	}
	for name, value := range map[string]string{
		"CI_KEY": strings.Repeat("k", 32), "AWS_ACCESS_KEY_ID": "AKIDEXAMPLE", "AWS_SECRET_ACCESS_KEY": "secret", "AWS_EC2_METADATA_DISABLED": "true",
		"AWS_CONFIG_FILE": filepath.Join(dir, "none"), "AWS_SHARED_CREDENTIALS_FILE": filepath.Join(dir, "none"), "AWS_ENDPOINT_URL": "",
	} {
		t.Setenv(name, value)
	}
	cfg, err := wire.Load(file)
	if err != nil {
		t.Fatal(err)
	}
	log, err := wire.OpenLedger(t.Context(), cfg, wire.ReadWrite)
	if err != nil {
		t.Fatal(err)
	}
	ask := run.Asked{ID: "http:ci:1", By: "ci", Through: "http", Command: "run", Scenarios: []string{"aws/iam-*"}, At: time.Now()}
	if _, _, _, err := run.NoteAsked(t.Context(), log, time.Now, ask); err != nil {
		t.Fatal(err)
	}

	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	done := make(chan int, 1)
	go func() {
		done <- execute(ctx, []string{"trigger", "serve", "--config", file, "--listen", "127.0.0.1:0"})
	}()
	select {
	case <-reached:
	case code := <-done:
		t.Fatalf("it ended with %d before it did anything", code)
	case <-time.After(20 * time.Second):
		t.Fatal("nothing is begun")
	}
	cancel()
	close(interrupted)
	select {
	case code := <-done:
		if code != 0 {
			t.Errorf("exit code %d", code)
		}
	case <-time.After(20 * time.Second):
		t.Fatal("it does not end")
	}
	state, _, err := run.Fold(t.Context(), log)
	if err != nil {
		t.Fatal(err)
	}
	if rs := state.Run(run.RunFor(ask)); rs == nil || !rs.Injected {
		t.Errorf("the command is over, and the run is not: %+v", rs)
	}
}
