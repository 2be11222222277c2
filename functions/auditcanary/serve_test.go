package main

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/auditcanary/auditcanary/shared/ledger"
	"github.com/auditcanary/auditcanary/shared/report"
)

func TestServeAnswersToItsOwnAddressOnly(t *testing.T) {
	s := &server{
		head:  func(context.Context) (string, error) { return "1", nil },
		draw:  func(time.Time) ([]byte, error) { return []byte("<p>evidence"), nil },
		clock: time.Now, port: 8123,
	}
	for _, tt := range []struct {
		method, host, path string
		want               int
	}{
		{"GET", "127.0.0.1:8123", "/", 200},
		{"HEAD", "localhost:8123", "/", 200},
		{"GET", "[::1]:8123", "/", 200},
		{"GET", "evil.example:8123", "/", 421},
		{"GET", "127.0.0.1.evil.example:8123", "/", 421},
		{"GET", "127.0.0.1:8124", "/", 421},
		{"GET", "127.0.0.1", "/", 421},
		{"GET", "10.0.0.1:8123", "/", 421},
		{"GET", "", "/", 421},
		{"POST", "127.0.0.1:8123", "/", 405},
		{"DELETE", "127.0.0.1:8123", "/", 405},
		{"GET", "127.0.0.1:8123", "/ledger/checkpoint", 404},
		{"GET", "127.0.0.1:8123", "/favicon.ico", 404},
	} {
		r := httptest.NewRequest(tt.method, "/", nil)
		r.Host, r.URL.Path = tt.host, tt.path
		w := httptest.NewRecorder()
		s.ServeHTTP(w, r)
		if w.Code != tt.want {
			t.Errorf("%s %s of %q: %d, want %d", tt.method, tt.path, tt.host, w.Code, tt.want)
		}
		if shown := strings.Contains(w.Body.String(), "evidence"); shown != (tt.want == 200 && tt.method == "GET") {
			t.Errorf("%s %s of %q: the page is shown: %t", tt.method, tt.path, tt.host, shown)
		}
		if got := w.Header().Get("Content-Security-Policy"); got != report.HTMLPolicy()+"; frame-ancestors 'none'" {
			t.Errorf("%s %s of %q: policy %q", tt.method, tt.path, tt.host, got)
		}
	}
}

func TestServeDrawsAnewWhenTheLedgerGrew(t *testing.T) {
	now, head, drawn := time.Date(2026, 11, 26, 12, 0, 0, 0, time.UTC), "1", 0
	var headErr, drawErr error
	s := &server{
		head:  func(context.Context) (string, error) { return head, headErr },
		draw:  func(time.Time) ([]byte, error) { drawn++; return []byte(head), drawErr },
		clock: func() time.Time { return now }, port: 8123,
	}
	get := func(wantCode int, wantBody string, wantDrawn int) {
		t.Helper()
		r := httptest.NewRequest("GET", "/", nil)
		r.Host = "127.0.0.1:8123"
		w := httptest.NewRecorder()
		s.ServeHTTP(w, r)
		if w.Code != wantCode || !strings.Contains(w.Body.String(), wantBody) || drawn != wantDrawn {
			t.Errorf("%d %q, drawn %d times; want %d %q, %d", w.Code, w.Body, drawn, wantCode, wantBody, wantDrawn)
		}
	}
	get(200, "1", 1)
	get(200, "1", 1)
	head = "2"
	get(200, "2", 2)
	now = now.Add(maxDrawn)
	get(200, "2", 3)
	head, drawErr = "3", errors.New("leaf 7: \x1b[31mnot a journal entry")
	get(500, "leaf 7: \uFFFD[31mnot a journal entry", 4)
	drawErr, headErr = nil, errors.New("the checkpoint is not signed by the key")
	get(500, "not signed by the key", 4)
	headErr = nil
	get(200, "3", 5)
}

func TestServeListensToThisMachineOnly(t *testing.T) {
	for listen, ok := range map[string]bool{
		"127.0.0.1:0": true, "localhost:8080": true, "[::1]:0": true, "127.8.8.8:1": true,
		"0.0.0.0:0": false, ":8080": false, "[::]:0": false, "192.168.1.1:80": false, "example.com:80": false, "127.0.0.1": false, "": false,
	} {
		if err := loopback(listen); (err == nil) != ok {
			t.Errorf("%q: %v", listen, err)
		}
	}
}

// empty is a configuration whose ledger has not begun.
func empty(t *testing.T) (config string) {
	t.Helper()
	config = filepath.Join(t.TempDir(), "auditcanary.yaml")
	skey, _, err := ledger.GenerateKey("auditcanary.example/test")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(filepath.Dir(config), "signing.key"), []byte(skey), 0o600); err != nil {
		t.Fatal(err)
	}
	err = os.WriteFile(config, []byte(`version: 1
targets: [{account: "111122223333", regions: [us-east-1], role_arn: "arn:aws:iam::111122223333:role/auditcanary/auditcanary-injector"}]
log_stores: [{name: central, type: cloudtrail-s3, bucket: org-trail-archive, region: us-east-1}]
ledger: {origin: auditcanary.example/test, dir: ledger}
signing: {key_file: signing.key}
`), 0o600)
	if err != nil {
		t.Fatal(err)
	}
	return config
}

func TestServeOverTheWire(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	root := newRoot()
	out, w := io.Pipe()
	root.SetOut(w)
	root.SetErr(io.Discard)
	root.SetArgs([]string{"--config", empty(t), "serve"})
	ended := make(chan error, 1)
	go func() {
		err := root.ExecuteContext(ctx)
		_ = w.Close()
		ended <- err
	}()
	url, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatalf("%v: %v", err, <-ended)
	}
	url = strings.TrimSpace(url)
	host, _, err := net.SplitHostPort(strings.TrimSuffix(strings.TrimPrefix(url, "http://"), "/"))
	if err != nil || host != "127.0.0.1" {
		t.Errorf("it listens at %s", url)
	}
	resp, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != 200 || !strings.Contains(string(body), "Nothing was tested in this period") {
		t.Errorf("%s %v: %.300s", resp.Status, err, body)
	}
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

func TestReportOpensInABrowser(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("the stand-in for a browser is a shell script named xdg-open")
	}
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "xdg-open"), []byte("#!/bin/sh\nprintf %s \"$1\" >"+dir+"/opened\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", dir+":/bin:/usr/bin")
	t.Setenv("TMPDIR", dir)
	var out strings.Builder
	do := func(args ...string) error {
		root := newRoot()
		root.SetOut(&out)
		root.SetErr(io.Discard)
		root.SetArgs(append([]string{"--config", empty(t), "report", "--open"}, args...))
		return root.ExecuteContext(t.Context())
	}
	if err := do(); err != nil {
		t.Fatal(err)
	}
	opened, err := os.ReadFile(filepath.Join(dir, "opened"))
	if err != nil || string(opened) != strings.TrimSpace(out.String()) {
		t.Fatalf("%q was opened, %q said: %v", opened, out.String(), err)
	}
	page, err := os.ReadFile(string(opened))
	if err != nil || !strings.HasPrefix(string(page), "<!DOCTYPE html>") {
		t.Errorf("%v: %.100s", err, page)
	}
	if info, err := os.Stat(string(opened)); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("others can read it: %v %v", info.Mode(), err)
	}
	if err := do("--format", "csv"); err == nil || !strings.Contains(err.Error(), "--open shows html") {
		t.Errorf("csv in a browser: %v", err)
	}
	t.Setenv("PATH", "/nonexistent")
	if err := do("-o", filepath.Join(dir, "r.html")); err == nil || !strings.Contains(err.Error(), "open "+filepath.Join(dir, "r.html")+" yourself") {
		t.Errorf("no browser: %v", err)
	}
}
