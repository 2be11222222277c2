package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/sts"

	"github.com/auditcanary/auditcanary/shared/wire"
	"github.com/auditcanary/auditcanary/tests/sandbox/archive"
	"github.com/auditcanary/auditcanary/tests/sandbox/cloud"
)

// sandbox is a running one.
type sandbox struct {
	ready
	url  string
	stop func() error // SIGTERM, in effect
}

func start(t *testing.T, args ...string) *sandbox {
	t.Helper()
	data := t.TempDir()
	o, err := parseFlags(append([]string{"-data", data}, args...), io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	out, in := io.Pipe()
	ended := make(chan error, 1)
	var stderr bytes.Buffer
	go func() {
		err := run(ctx, o, in, &stderr)
		in.CloseWithError(io.EOF)
		ended <- err
	}()
	s := &sandbox{}
	stopped := false
	s.stop = func() error {
		stopped = true
		cancel()
		return <-ended
	}
	t.Cleanup(func() {
		if !stopped {
			if err := s.stop(); err != nil {
				t.Errorf("stop: %v", err)
			}
		}
	})
	line, err := bufio.NewReader(out).ReadBytes('\n')
	if err != nil {
		t.Fatalf("no first line: %v", s.stop())
	}
	if err := json.Unmarshal(line, &s.ready); err != nil {
		t.Fatalf("first line %s: %v", line, err)
	}
	s.url = s.Env["AWS_ENDPOINT_URL"]
	return s
}

// admin asks the sandbox for itself and decodes the answer into out.
func (s *sandbox) admin(t *testing.T, method, path, body string, status int, out any) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, s.url+"/_sandbox/"+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	r, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	b, err := io.ReadAll(r.Body)
	if err != nil {
		t.Fatal(err)
	}
	if r.StatusCode != status {
		t.Fatalf("%s %s: status %d, want %d: %s", method, path, r.StatusCode, status, b)
	}
	if err := json.Unmarshal(b, out); err != nil {
		t.Fatalf("%s %s: %v: %s", method, path, err, b)
	}
}

func (s *sandbox) aws() aws.Config {
	return aws.Config{
		Region:       s.Env["AWS_REGION"],
		BaseEndpoint: aws.String(s.url),
		Credentials:  credentials.NewStaticCredentialsProvider(s.Env["AWS_ACCESS_KEY_ID"], s.Env["AWS_SECRET_ACCESS_KEY"], ""),
		Retryer:      func() aws.Retryer { return aws.NopRetryer{} },
	}
}

func TestTheFirstLineIsAllAProgramNeeds(t *testing.T) {
	s := start(t)
	if !s.Ready || !filepath.IsAbs(s.Config) {
		t.Errorf("first line: %+v", s.ready)
	}
	cfg, err := wire.Load(s.Config)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := wire.Plan(cfg); err != nil {
		t.Errorf("the configuration cannot be planned from: %v", err)
	}
	if cfg.AWS.EndpointURL != s.url || len(cfg.Targets) != 2 || cfg.LogStores[0].Bucket != cloud.ArchiveBucket {
		t.Errorf("configuration: %+v", cfg)
	}
	if st, err := os.Stat(filepath.Join(filepath.Dir(s.Config), "signing.key")); err != nil || st.Mode().Perm() != 0o600 {
		t.Errorf("signing.key: %v, %v", st, err)
	}
	who, err := sts.NewFromConfig(s.aws()).GetCallerIdentity(t.Context(), &sts.GetCallerIdentityInput{})
	if err != nil {
		t.Fatal(err)
	}
	if got := aws.ToString(who.Arn); got != "arn:aws:iam::"+cloud.ToolAccount+":user/auditcanary-runner" {
		t.Errorf("the credentials are those of %s", got)
	}
	var calls []cloud.CallLog
	s.admin(t, "GET", "calls", "", 200, &calls)
	if len(calls) != 1 || calls[0].N != 1 || calls[0].Operation != "GetCallerIdentity" || calls[0].Mutating {
		t.Errorf("calls: %+v", calls)
	}
	var state struct{ Changes []cloud.Change }
	s.admin(t, "GET", "state", "", 200, &state)
	if state.Changes == nil || len(state.Changes) != 0 {
		t.Errorf("a look changed something: %+v", state.Changes)
	}
}

func TestS3IsReachedThroughTheControlPlane(t *testing.T) {
	s := start(t)
	client := s3.NewFromConfig(s.aws(), func(o *s3.Options) { o.UsePathStyle = true })
	// A key that a path-cleaning router would spoil.
	key := "a//b/../c"
	_, err := client.PutObject(t.Context(), &s3.PutObjectInput{Bucket: aws.String(cloud.LedgerBucket), Key: aws.String("tile/0/000"), Body: strings.NewReader("x")})
	if err != nil {
		t.Fatalf("the runner may write its ledger: %v", err)
	}
	if _, err = client.GetObject(t.Context(), &s3.GetObjectInput{Bucket: aws.String(cloud.LedgerBucket), Key: aws.String("tile/0/000")}); err != nil {
		t.Fatal(err)
	}
	if _, err = client.GetObject(t.Context(), &s3.GetObjectInput{Bucket: aws.String(cloud.LedgerBucket), Key: aws.String(key)}); err == nil || strings.Contains(err.Error(), "301") {
		t.Errorf("GetObject %s: %v", key, err)
	}
	if _, err = client.GetObject(t.Context(), &s3.GetObjectInput{Bucket: aws.String(cloud.ArchiveBucket), Key: aws.String("x")}); err == nil || !strings.Contains(err.Error(), "AccessDenied") {
		t.Errorf("the runner reads the archive without the reader role: %v", err)
	}
}

func TestFaultsAreReplacedWhileItRuns(t *testing.T) {
	file := filepath.Join(t.TempDir(), "f.yaml")
	const throttle = "faults:\n  - {name: throttled, at: call, match: 'it.operation == \"GetCallerIdentity\"', times: 1, do: {error: {code: Throttling}}}\n"
	if err := os.WriteFile(file, []byte(throttle), 0o600); err != nil {
		t.Fatal(err)
	}
	s := start(t, "-faults", file)
	call := func() error {
		_, err := sts.NewFromConfig(s.aws()).GetCallerIdentity(t.Context(), &sts.GetCallerIdentityInput{})
		return err
	}
	fired := func() (n []int) {
		var st []struct{ Fired int }
		s.admin(t, "GET", "faults", "", 200, &st)
		for _, f := range st {
			n = append(n, f.Fired)
		}
		return n
	}
	if err := call(); err == nil || !strings.Contains(err.Error(), "Throttling") {
		t.Errorf("the fault of the file did not strike: %v", err)
	}
	if err := call(); err != nil {
		t.Errorf("the fault struck more than once: %v", err)
	}
	if got := fired(); !slices.Equal(got, []int{1}) {
		t.Errorf("fired %v", got)
	}
	var answer struct{ Error string }
	s.admin(t, "PUT", "faults", "faults: 1", 400, &answer)
	if answer.Error != "body:1: faults must be a list" {
		t.Errorf("error %q", answer.Error)
	}
	var st []any
	s.admin(t, "PUT", "faults", strings.ReplaceAll(throttle, "Throttling", "SlowDown"), 200, &st)
	var calls []cloud.CallLog
	s.admin(t, "GET", "calls", "", 200, &calls)
	if len(calls) != 0 {
		t.Errorf("n does not start anew: %+v", calls)
	}
	if err := call(); err == nil || !strings.Contains(err.Error(), "SlowDown") {
		t.Errorf("the new fault did not strike: %v", err)
	}
	s.admin(t, "PUT", "faults", "faults: []", 200, &st)
	if err := call(); err != nil {
		t.Errorf("no faults: %v", err)
	}
}

func TestItsClockRunsFast(t *testing.T) {
	s := start(t, "-speed", "3600")
	now := func() time.Time {
		var a struct{ Now time.Time }
		s.admin(t, "GET", "time", "", 200, &a)
		return a.Now
	}
	first := now()
	for real := time.Now(); time.Since(real) < 20*time.Millisecond; {
	}
	if second := now(); second.Sub(first) < time.Minute { // 20 ms are 72 s
		t.Errorf("from %s to %s", first, second)
	}
}

func TestAClockThatStandsMovesOnlyWhenPutForward(t *testing.T) {
	s := start(t, "-speed", "0")
	now := func() time.Time {
		var at struct{ Now time.Time }
		s.admin(t, http.MethodGet, "time", "", http.StatusOK, &at)
		return at.Now
	}
	status := func() (d struct {
		LatestDelivery time.Time `json:"latest_delivery"`
		LatestDigest   time.Time `json:"latest_digest"`
		Pending        int
	}) {
		s.admin(t, http.MethodGet, "delivery", "", http.StatusOK, &d)
		return d
	}
	begin := now()
	if _, err := sts.NewFromConfig(s.aws()).GetCallerIdentity(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	if d := status(); !now().Equal(begin) || d.Pending != 1 || !d.LatestDelivery.IsZero() {
		t.Errorf("standing still: %s later, delivery %+v", now().Sub(begin), d)
	}
	var at struct{ Now time.Time }
	s.admin(t, http.MethodPost, "time", `{"advance": "10m"}`, http.StatusOK, &at)
	if !at.Now.Equal(begin.Add(10*time.Minute)) || !now().Equal(at.Now) {
		t.Errorf("put forward by %s to %s", at.Now.Sub(begin), now().Sub(begin))
	}
	// The file came when it was due, not when the clock was put forward.
	if d := status(); d.Pending != 0 || d.LatestDelivery.Sub(begin) < 2*time.Minute || d.LatestDelivery.Sub(begin) > 9*time.Minute {
		t.Errorf("after ten minutes: %+v", d)
	}
	s.admin(t, http.MethodPost, "time", `{"advance": "3h"}`, http.StatusOK, &at)
	if d := status(); d.LatestDigest.Sub(begin).Round(time.Minute) != 3*time.Hour+2*time.Minute {
		t.Errorf("latest digest after %s", d.LatestDigest.Sub(begin))
	}
	for _, body := range []string{`{"advance": "soon"}`, `{"advance": "-1m"}`, `{"advance": "9999h"}`, `{}`, `x`} {
		var refused struct{ Error string }
		s.admin(t, http.MethodPost, "time", body, http.StatusBadRequest, &refused)
		if refused.Error == "" {
			t.Errorf("%s: no reason", body)
		}
	}
}

func TestTheWindowsOfFaultsFollowTheSandboxsClock(t *testing.T) {
	file := filepath.Join(t.TempDir(), "f.yaml")
	if err := os.WriteFile(file, []byte("faults:\n  - {name: busy, at: call, match: 'true', after: 10m, for: 1m, do: {error: {code: Throttling}}}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	s := start(t, "-speed", "0", "-faults", file)
	var got []bool
	for range 3 {
		_, err := sts.NewFromConfig(s.aws()).GetCallerIdentity(t.Context(), nil)
		got = append(got, err == nil)
		var at struct{ Now time.Time }
		s.admin(t, http.MethodPost, "time", `{"advance": "10m30s"}`, http.StatusOK, &at)
	}
	if !slices.Equal(got, []bool{true, false, true}) {
		t.Errorf("answered: %v, want all but the one in the window", got)
	}
}

func TestItStopsCleanlyAndStartsAgainOverItsData(t *testing.T) {
	s := start(t)
	if _, err := sts.NewFromConfig(s.aws()).GetCallerIdentity(t.Context(), &sts.GetCallerIdentityInput{}); err != nil {
		t.Fatal(err)
	}
	if err := s.stop(); err != nil {
		t.Fatal(err)
	}
	key, err := os.ReadFile(filepath.Join(filepath.Dir(s.Config), "signing.key"))
	if err != nil {
		t.Fatal(err)
	}
	again := start(t, "-data", filepath.Dir(s.Config))
	if got, err := os.ReadFile(filepath.Join(filepath.Dir(again.Config), "signing.key")); err != nil || !bytes.Equal(got, key) {
		t.Errorf("the signing key was not kept (%v)", err)
	}
}

func TestFlagsRefuse(t *testing.T) {
	bad := filepath.Join(t.TempDir(), "bad.yaml")
	if err := os.WriteFile(bad, []byte("faults: 1\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		args []string
		want string
	}{
		{nil, "-data DIR is missing"},
		{[]string{"-data", "d", "-speed", "0.5"}, "-speed 0.5: want 1 to 1000000, or 0"},
		{[]string{"-data", "d", "-speed", "NaN"}, "-speed NaN: want 1 to 1000000, or 0"},
		{[]string{"-data", "d", "-delay", "0s"}, "-delay 0s: want more than 0"},
		{[]string{"-data", "d", "-listen", "0.0.0.0:0"}, "-listen 0.0.0.0:0: only a loopback address is allowed"},
		{[]string{"-data", "d", "-listen", ":0"}, "-listen :0: only a loopback address is allowed"},
		{[]string{"-data", "d", "-listen", "127.0.0.1"}, "-listen: address 127.0.0.1: missing port in address"},
		{[]string{"-data", "d", "-faults", bad}, bad + ":1: faults must be a list"},
		{[]string{"-data", "d", "x"}, `unexpected argument "x"`},
	} {
		if _, err := parseFlags(tc.args, io.Discard); err == nil || err.Error() != tc.want {
			t.Errorf("%q: got %v, want %s", tc.args, err, tc.want)
		}
	}
}

func TestDelayKeepsItsShape(t *testing.T) {
	if got := delayAround(5 * time.Minute); got != archive.UsualDelay {
		t.Errorf("5m: %+v", got)
	}
	if got := delayAround(10 * time.Second); got.Min != 4*time.Second || got.Max != 18*time.Second {
		t.Errorf("10s: %+v", got)
	}
}

func TestUntilIsEnough(t *testing.T) {
	real := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	c := newClock(func() time.Time { return real }, 700)
	target := real.Add(time.Hour + 7*time.Nanosecond)
	real = real.Add(c.Until(target))
	if c.Now().Before(target) {
		t.Errorf("after Until it is %s, before %s", c.Now(), target)
	}
	if d := c.Until(real.Add(-time.Hour)); d != 0 {
		t.Errorf("Until the past is %s", d)
	}
}
