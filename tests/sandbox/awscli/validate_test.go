package awscli_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"github.com/auditcanary/auditcanary/tests/sandbox/archive"
	"github.com/auditcanary/auditcanary/tests/sandbox/cloud"
)

// handClock is a clock that the test sets.
type handClock struct {
	mu  sync.Mutex
	now time.Time
}

func (c *handClock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *handClock) Until(t time.Time) time.Duration {
	if c.Now().Before(t) {
		return time.Millisecond // it may have been set by then
	}
	return 0
}

func (c *handClock) advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

const (
	member = "111122223333"
	region = "eu-west-1"
	// A trail of the management account alone, into a bucket without a lock, where
	// a test can tamper.
	plainTrail, plainBucket = "plain-trail", "plain-trail-logs"
)

// validate runs `aws cloudtrail validate-logs` and returns its output and exit code.
type validate func(args ...string) (out string, exit int)

// sandbox delivers four hours of records to both trails and returns how to
// validate them, and a client for the bucket of the plain trail.
func sandbox(t *testing.T) (validate, *s3.Client) {
	t.Helper()
	script, err := filepath.Abs("aws") // the archive changes the working directory
	if err != nil {
		t.Fatal(err)
	}
	ctx := t.Context()
	start := time.Now().UTC().Truncate(time.Second)
	clock := &handClock{now: start}
	world := cloud.World(clock)
	world.Buckets[plainBucket] = &cloud.Bucket{Name: plainBucket, Account: cloud.ManagementAccount, Region: "us-east-1"}
	world.Accounts[cloud.ManagementAccount].Regions["us-east-1"].Trails[plainTrail] = &cloud.Trail{
		Name: plainTrail, Bucket: plainBucket, Home: "us-east-1", MultiRegion: true, Validation: true, Logging: true, Started: start,
	}

	a, err := archive.Open(ctx, archive.Config{Dir: t.TempDir(), Clock: clock, Buckets: archive.WorldBuckets(world)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := a.Close(context.Background()); err != nil {
			t.Error(err)
		}
	})
	var deliveries []*archive.Delivery
	for _, trail := range []archive.Trail{
		archive.WorldTrail(archive.Scope{Account: member, Region: region}, archive.Scope{Account: member, Region: "us-east-1"}),
		{Name: plainTrail, Account: cloud.ManagementAccount, HomeRegion: "us-east-1", Bucket: plainBucket,
			Scopes: []archive.Scope{{Account: cloud.ManagementAccount, Region: "us-east-1"}}},
	} {
		d := archive.NewDelivery(archive.DeliveryConfig{Trail: trail, Clock: clock, Bucket: a, Report: func(err error) { t.Error(err) }})
		t.Cleanup(func() {
			if err := d.Close(context.Background()); err != nil {
				t.Error(err)
			}
		})
		deliveries = append(deliveries, d)
	}
	keys := func(region string, start, end time.Time) (out []cloud.PublicKey) {
		for _, d := range deliveries {
			for _, k := range d.PublicKeys(region, start, end) {
				out = append(out, cloud.PublicKey(k))
			}
		}
		return out
	}
	c, err := cloud.New(cloud.Options{Clock: clock, Sink: nowhere{}, S3: a, PublicKeys: keys, World: world})
	if err != nil {
		t.Fatal(err)
	}
	srv := httptest.NewServer(c)
	t.Cleanup(srv.Close)

	// Four hours: files in the first two, silence, then one more.
	for hour, files := range []int{2, 1, 0, 1} {
		for i := range files {
			clock.advance(time.Minute)
			for _, d := range deliveries {
				at := clock.Now().Format(time.RFC3339)
				d.Emit(member, region, cloud.Record{"eventID": fmt.Sprint(hour, i), "eventTime": at})
				d.Emit(cloud.ManagementAccount, "us-east-1", cloud.Record{"eventID": fmt.Sprint(hour, i), "eventTime": at})
				if err := d.Flush(ctx); err != nil {
					t.Fatal(err)
				}
			}
		}
		clock.advance(start.Add(time.Duration(hour+1) * time.Hour).Sub(clock.Now()))
		for _, d := range deliveries {
			if err := d.DigestNow(ctx, clock.Now()); err != nil {
				t.Fatal(err)
			}
		}
	}
	clock.advance(time.Second) // what is as new as a validation itself, ours leaves to the next one
	root := world.Accounts[cloud.ManagementAccount].RootKey
	run := func(args ...string) (string, int) {
		cmd := exec.CommandContext(ctx, script, append([]string{"cloudtrail", "validate-logs", "--verbose",
			"--start-time", start.Format(time.RFC3339), "--end-time", clock.Now().Format(time.RFC3339)}, args...)...)
		cmd.Env = append(os.Environ(), "AWS_ENDPOINT_URL="+srv.URL, "AWS_ACCESS_KEY_ID="+root.ID, "AWS_SECRET_ACCESS_KEY="+root.Secret,
			"AWS_SESSION_TOKEN=", "AWS_CONFIG_FILE=/dev/null", "AWS_SHARED_CREDENTIALS_FILE=/dev/null", "AWS_PAGER=", "AWS_EC2_METADATA_DISABLED=true")
		out, err := cmd.CombinedOutput()
		var exit *exec.ExitError
		if err != nil && !errors.As(err, &exit) {
			t.Fatalf("run %s: %v", script, err)
		}
		t.Logf("validate-logs %s: exit %d\n%s", strings.Join(args, " "), cmd.ProcessState.ExitCode(), out)
		return string(out), cmd.ProcessState.ExitCode()
	}
	client := s3.New(s3.Options{Region: "us-east-1", BaseEndpoint: &srv.URL, UsePathStyle: true,
		Credentials: credentials.NewStaticCredentialsProvider(root.ID, root.Secret, "")})
	return run, client
}

// nowhere takes the records of the validator's own calls: the test's files are to be counted.
type nowhere struct{}

func (nowhere) Emit(string, string, cloud.Record)                     {}
func (nowhere) EmitAfter(string, string, cloud.Record, time.Duration) {}

func want(t *testing.T, out string, exit, wantExit int, lines ...string) {
	t.Helper()
	if exit != wantExit {
		t.Errorf("exit %d, want %d", exit, wantExit)
	}
	for _, l := range lines {
		if !strings.Contains(out, l) {
			t.Errorf("the output lacks %q", l)
		}
	}
}

func TestAWSAcceptsTheDigestsAndSeesWhatIsWrong(t *testing.T) {
	if out, err := exec.Command("/usr/bin/python3", "-c", "import awscli").CombinedOutput(); err != nil {
		t.Skipf("AWS's validator is not here: Debian's awscli is not installed (apt-get install awscli): %v %s", err, out)
	}
	run, client := sandbox(t)
	org := []string{"--trail-arn", "arn:aws:cloudtrail:us-east-1:" + cloud.ManagementAccount + ":trail/org-trail", "--account-id", member}
	plain := []string{"--trail-arn", "arn:aws:cloudtrail:us-east-1:" + cloud.ManagementAccount + ":trail/" + plainTrail, "--region", "us-east-1"}

	out, exit := run(append(org, "--region", region)...)
	want(t, out, exit, 0, "4/4 digest files valid", "4/4 log files valid")
	out, exit = run(append(org, "--region", "us-east-1")...)
	want(t, out, exit, 0, "4/4 digest files valid") // all empty
	out, exit = run(plain...)
	want(t, out, exit, 0, "4/4 digest files valid", "4/4 log files valid")

	// Each change is put right before the next.
	list, err := client.ListObjectsV2(t.Context(), &s3.ListObjectsV2Input{Bucket: aws.String(plainBucket)})
	if err != nil {
		t.Fatal(err)
	}
	var log, digest string
	for _, o := range list.Contents {
		switch {
		case strings.Contains(*o.Key, "/CloudTrail/"):
			log = *o.Key
		case digest == "":
			digest = *o.Key // the first: its successors point at it
		}
	}
	tamper := func(key string, change func([]byte) []byte) (restore func()) {
		got, err := client.GetObject(t.Context(), &s3.GetObjectInput{Bucket: aws.String(plainBucket), Key: &key})
		if err != nil {
			t.Fatal(err)
		}
		defer got.Body.Close()
		was, err := io.ReadAll(got.Body)
		if err != nil {
			t.Fatal(err)
		}
		write := func(body []byte) {
			if _, err := client.PutObject(t.Context(), &s3.PutObjectInput{Bucket: aws.String(plainBucket), Key: &key,
				Body: strings.NewReader(string(body)), Metadata: got.Metadata}); err != nil {
				t.Fatal(err)
			}
		}
		write(change(was))
		return func() { write(was) }
	}
	flip := func(b []byte) []byte {
		b = append([]byte{}, b...)
		b[len(b)/2] ^= 1
		return b
	}

	restore := tamper(log, flip)
	out, exit = run(plain...)
	want(t, out, exit, 1, "4/4 digest files valid", "3/4 log files valid, 1/4 log files INVALID")
	restore()

	restore = tamper(log, func(b []byte) []byte {
		return pack(t, bytes.Replace(unpack(t, b), []byte("eventID"), []byte("eventId"), 1))
	})
	out, exit = run(plain...)
	want(t, out, exit, 1, "3/4 log files valid, 1/4 log files INVALID", "INVALID: hash value doesn't match")
	restore()

	restore = tamper(digest, flip)
	out, exit = run(plain...)
	want(t, out, exit, 1, "3/4 digest files valid, 1/4 digest files INVALID")
	restore()

	if _, err := client.DeleteObject(t.Context(), &s3.DeleteObjectInput{Bucket: aws.String(plainBucket), Key: &log}); err != nil {
		t.Fatal(err)
	}
	out, exit = run(plain...)
	want(t, out, exit, 1, "3/4 log files valid, 1/4 log files INVALID", "INVALID: not found")
}

func unpack(t *testing.T, packed []byte) []byte {
	t.Helper()
	z, err := gzip.NewReader(bytes.NewReader(packed))
	if err != nil {
		t.Fatal(err)
	}
	plain, err := io.ReadAll(z)
	if err != nil {
		t.Fatal(err)
	}
	return plain
}

func pack(t *testing.T, plain []byte) []byte {
	t.Helper()
	var buf bytes.Buffer
	z := gzip.NewWriter(&buf)
	if _, err := z.Write(plain); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}
