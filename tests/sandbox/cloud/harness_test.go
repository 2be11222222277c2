package cloud_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	"github.com/aws/smithy-go"

	"github.com/auditcanary/auditcanary/tests/sandbox/cloud"
	"github.com/auditcanary/auditcanary/tests/sandbox/fault"
)

const (
	target = "111122223333"
	other  = "444455556666"
	east   = "us-east-1"
	west   = "eu-west-1"
)

// clock is a settable one.
type clock struct {
	mu  sync.Mutex
	now time.Time
}

func (c *clock) Now() time.Time                  { c.mu.Lock(); defer c.mu.Unlock(); return c.now }
func (c *clock) Until(t time.Time) time.Duration { return t.Sub(c.Now()) }
func (c *clock) add(d time.Duration)             { c.mu.Lock(); c.now = c.now.Add(d); c.mu.Unlock() }

// emitted is one record at the sink.
type emitted struct {
	account, region string
	rec             map[string]any
	extra           time.Duration
}

type sink struct {
	mu  sync.Mutex
	got []emitted
}

func (s *sink) Emit(account, region string, rec cloud.Record) { s.EmitAfter(account, region, rec, 0) }
func (s *sink) EmitAfter(account, region string, rec cloud.Record, extra time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.got = append(s.got, emitted{account, region, rec, extra})
}

// box is a running control plane.
type box struct {
	t      *testing.T
	cloud  *cloud.Cloud
	clock  *clock // the sandbox's
	real   *clock // the machine's, as far as the control plane asks
	sink   *sink
	server *httptest.Server
}

func start(t *testing.T, change ...func(*cloud.Options)) *box {
	t.Helper()
	now := time.Now()
	b := &box{t: t, clock: &clock{now: now.Add(100 * time.Hour)}, real: &clock{now: now}, sink: &sink{}}
	opts := cloud.Options{Clock: b.clock, Sink: b.sink, Real: b.real.Now}
	for _, f := range change {
		f(&opts)
	}
	var err error
	if b.cloud, err = cloud.New(opts); err != nil {
		t.Fatal(err)
	}
	b.server = httptest.NewServer(b.cloud)
	t.Cleanup(b.server.Close)
	return b
}

func withFaults(t *testing.T, yaml string) func(*cloud.Options) {
	t.Helper()
	set, err := fault.Parse("test", []byte(yaml))
	if err != nil {
		t.Fatal(err)
	}
	return func(o *cloud.Options) { o.Faults = set }
}

// config signs with a key of the world.
func (b *box) config(k cloud.Key, token, region string) aws.Config {
	return aws.Config{
		Region: region, BaseEndpoint: aws.String(b.server.URL), RetryMaxAttempts: 1, AppID: "auditcanary",
		Credentials: credentials.NewStaticCredentialsProvider(k.ID, k.Secret, token),
		HTTPClient:  patient{awshttp.NewBuildableClient()},
	}
}

// patient sends a copy of a request's body. The SDK closes the body as soon as the
// reply begins; on loopback that may be before net/http has done with it, which
// then closes the connection, and the rest of the reply is lost. Nothing here is
// tried twice, so that would be a failure.
type patient struct{ client aws.HTTPClient }

func (p patient) Do(r *http.Request) (*http.Response, error) {
	if r.Body == nil || r.Body == http.NoBody {
		return p.client.Do(r)
	}
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return nil, err
	}
	own := r.Clone(r.Context())
	own.Body = io.NopCloser(bytes.NewReader(body))
	return p.client.Do(own)
}

func (b *box) runner(region string) aws.Config { return b.config(b.cloud.Runner(), "", region) }
func (b *box) root(account, region string) aws.Config {
	return b.config(b.cloud.RootKey(account), "", region)
}

// injector opens a session of the injector role under an inline policy ("" = none).
func (b *box) injector(account, region, inline string) aws.Config {
	b.t.Helper()
	in := &sts.AssumeRoleInput{
		RoleArn: aws.String(cloud.InjectorRole(account)), RoleSessionName: aws.String("auditcanary-c1"),
		SourceIdentity: aws.String("auditcanary"), DurationSeconds: aws.Int32(900),
	}
	if inline != "" {
		in.Policy = aws.String(inline)
	}
	out, err := sts.NewFromConfig(b.runner(region)).AssumeRole(b.t.Context(), in)
	if err != nil {
		b.t.Fatal(err)
	}
	return b.session(out, region)
}

func (b *box) session(out *sts.AssumeRoleOutput, region string) aws.Config {
	c := out.Credentials
	return b.config(cloud.Key{ID: *c.AccessKeyId, Secret: *c.SecretAccessKey}, *c.SessionToken, region)
}

// last is the newest record of an event name.
func (b *box) last(event string) map[string]any {
	b.t.Helper()
	b.sink.mu.Lock()
	defer b.sink.mu.Unlock()
	for i := len(b.sink.got) - 1; i >= 0; i-- {
		if b.sink.got[i].rec["eventName"] == event {
			return b.sink.got[i].rec
		}
	}
	b.t.Fatalf("no record of %s", event)
	return nil
}

func (b *box) all(event string) (out []emitted) {
	b.sink.mu.Lock()
	defer b.sink.mu.Unlock()
	for _, e := range b.sink.got {
		if e.rec["eventName"] == event {
			out = append(out, e)
		}
	}
	return out
}

// at follows a dotted path into a record; nil if there is nothing.
func at(v any, path ...string) any {
	for _, p := range path {
		m, _ := v.(map[string]any)
		v = m[p]
	}
	return v
}

func code(err error) string {
	var e smithy.APIError
	if errors.As(err, &e) {
		return e.ErrorCode()
	}
	if err != nil {
		return "no API error: " + err.Error()
	}
	return ""
}

func wantCode(t *testing.T, err error, want string) {
	t.Helper()
	if got := code(err); got != want {
		t.Fatalf("error code %q, want %q (%v)", got, want, err)
	}
}

func message(err error) string {
	var e smithy.APIError
	if errors.As(err, &e) {
		return e.ErrorMessage()
	}
	return ""
}

func pretty(v any) string { b, _ := json.MarshalIndent(v, "", " "); return string(b) }

func s3of(c aws.Config) *s3.Client {
	return s3.NewFromConfig(c, func(o *s3.Options) { o.UsePathStyle = true })
}
