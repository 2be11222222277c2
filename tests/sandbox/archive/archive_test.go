package archive_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/aws/smithy-go"
	"go.uber.org/goleak"

	"github.com/auditcanary/auditcanary/tests/sandbox/archive"
	"github.com/auditcanary/auditcanary/tests/sandbox/cloud"
)

// handClock is a clock that a test sets.
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
		return time.Millisecond // somebody may have set it by then
	}
	return 0
}

func (c *handClock) set(t time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = t
}

func (c *handClock) advance(d time.Duration) { c.set(c.Now().Add(d)) }

// The gateway judges retention by the machine's clock, so the tests' day is
// ahead of it, as a fast sandbox is.
var day = time.Date(2031, 7, 10, 11, 0, 31, 0, time.UTC)

var (
	a     *archive.Archive
	clock = &handClock{now: day}
	base  string // URL of the archive
	// testdata, made absolute: the archive changes the working directory.
	testdata string
)

// TestMain starts the one archive a process can have.
func TestMain(m *testing.M) {
	code, err := withArchive(m.Run)
	if err == nil && code == 0 {
		err = goleak.Find(
			// of fasthttp, which nobody can stop: its clock, and a sleeper that ends later
			goleak.IgnoreAnyFunction("github.com/valyala/fasthttp.updateServerDate.func1"),
			goleak.IgnoreAnyFunction("github.com/valyala/fasthttp.(*workerPool).Start.func2"),
		)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

func withArchive(f func() int) (code int, err error) {
	ctx := context.Background()
	if testdata, err = filepath.Abs("testdata"); err != nil {
		return 1, err
	}
	dir, err := os.MkdirTemp("", "archive-test-")
	if err != nil {
		return 1, err
	}
	defer os.RemoveAll(dir)
	a, err = archive.Open(ctx, archive.Config{Dir: dir, Clock: clock, Buckets: append(
		archive.WorldBuckets(cloud.World(clock)),
		archive.Bucket{Name: "plain", Account: "111122223333", Region: "us-east-1"},
		archive.Bucket{Name: "versioned", Account: "111122223333", Region: "us-east-1", Versioned: true},
	)})
	if err != nil {
		return 1, err
	}
	srv := httptest.NewServer(a)
	base = srv.URL
	code = f()
	http.DefaultTransport.(*http.Transport).CloseIdleConnections()
	srv.Close()
	return code, a.Close(ctx)
}

func client(region string) *s3.Client {
	return s3.New(s3.Options{
		Region: region, BaseEndpoint: aws.String(base), UsePathStyle: true,
		Credentials:      credentials.NewStaticCredentialsProvider("ASIAFOREIGN", "unknown to the gateway", "foreign token"),
		RetryMaxAttempts: 1,
	})
}

// code of an API error, "" for none.
func code(err error) string {
	var e smithy.APIError
	if errors.As(err, &e) {
		return e.ErrorCode()
	}
	if err != nil {
		return err.Error()
	}
	return ""
}

func put(t *testing.T, bucket, key, body string) *s3.PutObjectOutput {
	t.Helper()
	out, err := client("us-east-1").PutObject(t.Context(), &s3.PutObjectInput{Bucket: &bucket, Key: &key, Body: strings.NewReader(body)})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func TestSecondArchiveInAProcessIsRefused(t *testing.T) {
	if _, err := archive.Open(t.Context(), archive.Config{Dir: t.TempDir(), Clock: clock}); err == nil {
		t.Fatal("a second archive started")
	}
}

func TestObjectsComeBackAsTheyWerePut(t *testing.T) {
	for _, key := range []string{
		"plain", "a/b/c.json.gz", "with space+plus=equals", "ünïcode/日本", "per%cent&amp;", "q?mark#hash", "~tilde!('*)",
	} {
		for _, size := range []int{0, 1, 100_000} {
			t.Run(fmt.Sprint(key, size), func(t *testing.T) {
				body := strings.Repeat("x", size)
				out := put(t, "plain", key, body)
				got, err := client("us-east-1").GetObject(t.Context(), &s3.GetObjectInput{Bucket: aws.String("plain"), Key: &key})
				if err != nil {
					t.Fatal(err)
				}
				defer got.Body.Close()
				b, err := io.ReadAll(got.Body)
				if err != nil || string(b) != body {
					t.Fatalf("%d bytes, %v; put %d", len(b), err, size)
				}
				if *got.ETag != *out.ETag || !got.LastModified.Equal(clock.Now()) {
					t.Errorf("etag %s, modified %s", *got.ETag, got.LastModified)
				}
			})
		}
	}
}

func TestUploadOfAnUnseekableStreamIsDecoded(t *testing.T) {
	// The SDK sends STREAMING-UNSIGNED-PAYLOAD-TRAILER when it cannot rewind; over
	// plain HTTP it wants to hash first, so write the encoding here.
	data := strings.Repeat("chunked ", 1000)
	send := func(body, checksum string) *http.Response {
		req, err := http.NewRequest(http.MethodPut, base+"/plain/chunked", strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("X-Amz-Content-Sha256", "STREAMING-UNSIGNED-PAYLOAD-TRAILER")
		req.Header.Set("X-Amz-Decoded-Content-Length", fmt.Sprint(len(data)))
		req.Header.Set("X-Amz-Trailer", "x-amz-checksum-sha256")
		req.Header.Set("Content-Encoding", "gzip,aws-chunked")
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		return resp
	}
	frame := func(checksum string) string {
		return fmt.Sprintf("%x\r\n%s\r\n%x;chunk-signature=abc\r\n%s\r\n0\r\nx-amz-checksum-sha256:%s\r\n\r\n",
			8, data[:8], len(data)-8, data[8:], checksum)
	}
	good := sha256base64(data)
	if resp := send(frame(good), ""); resp.StatusCode != 200 {
		t.Fatalf("HTTP %d", resp.StatusCode)
	}
	got, err := client("us-east-1").GetObject(t.Context(), &s3.GetObjectInput{Bucket: aws.String("plain"), Key: aws.String("chunked")})
	if err != nil {
		t.Fatal(err)
	}
	defer got.Body.Close()
	if b, _ := io.ReadAll(got.Body); string(b) != data || aws.ToString(got.ContentEncoding) != "gzip" {
		t.Errorf("%d bytes, encoding %q", len(b), aws.ToString(got.ContentEncoding))
	}
	for name, body := range map[string]string{
		"wrong checksum": frame(sha256base64("other")),
		"cut":            frame(good)[:500],
		"no frame":       data,
		"huge chunk":     "7fffffff\r\nabc",
		"empty":          "",
	} {
		if resp := send(body, ""); resp.StatusCode != 400 {
			t.Errorf("%s: HTTP %d, want 400", name, resp.StatusCode)
		}
	}
}

func TestConditionalWritesHaveOneWinner(t *testing.T) {
	for _, bucket := range []string{"plain", "versioned", cloud.LedgerBucket} {
		t.Run(bucket+" if-none-match", func(t *testing.T) {
			race(t, func(i int) error {
				_, err := client("us-east-1").PutObject(t.Context(), &s3.PutObjectInput{
					Bucket: &bucket, Key: aws.String("race"), Body: strings.NewReader(fmt.Sprint(i)), IfNoneMatch: aws.String("*"),
				})
				return err
			})
		})
		t.Run(bucket+" if-match", func(t *testing.T) {
			etag := put(t, bucket, "cas", "first").ETag
			race(t, func(i int) error {
				_, err := client("us-east-1").PutObject(t.Context(), &s3.PutObjectInput{
					Bucket: &bucket, Key: aws.String("cas"), Body: strings.NewReader(fmt.Sprint(i)), IfMatch: etag,
				})
				return err
			})
			_, err := client("us-east-1").PutObject(t.Context(), &s3.PutObjectInput{
				Bucket: &bucket, Key: aws.String("absent"), Body: strings.NewReader("x"), IfMatch: etag,
			})
			if code(err) != "NoSuchKey" {
				t.Errorf("If-Match on no object: %v, want NoSuchKey", err)
			}
		})
	}
}

func race(t *testing.T, write func(int) error) {
	t.Helper()
	var won, lost atomic.Int32
	var wg sync.WaitGroup
	for i := range 12 {
		wg.Go(func() {
			switch c := code(write(i)); c {
			case "":
				won.Add(1)
			case "PreconditionFailed":
				lost.Add(1)
			default:
				t.Errorf("writer %d: %s", i, c)
			}
		})
	}
	wg.Wait()
	if won.Load() != 1 || lost.Load() != 11 {
		t.Errorf("%d won, %d lost; want 1 and 11", won.Load(), lost.Load())
	}
}

func TestListingPagesInKeyOrder(t *testing.T) {
	var want []string
	for i := range 7 {
		want = append(want, fmt.Sprintf("list/%d +ü", i))
		put(t, "plain", want[i], "x")
	}
	c := client("us-east-1")
	t.Run("v2 with continuation", func(t *testing.T) {
		var got []string
		p := s3.NewListObjectsV2Paginator(c, &s3.ListObjectsV2Input{Bucket: aws.String("plain"), Prefix: aws.String("list/"), MaxKeys: aws.Int32(3)})
		for p.HasMorePages() {
			page, err := p.NextPage(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			for _, o := range page.Contents {
				got = append(got, *o.Key)
				if !o.LastModified.Equal(clock.Now()) {
					t.Errorf("%s modified %s, want the sandbox's time", *o.Key, o.LastModified)
				}
			}
		}
		if !slices.Equal(got, want) {
			t.Errorf("got %q", got)
		}
	})
	t.Run("v2 start after", func(t *testing.T) {
		out, err := c.ListObjectsV2(t.Context(), &s3.ListObjectsV2Input{Bucket: aws.String("plain"), Prefix: aws.String("list/"), StartAfter: aws.String("list/4")})
		if err != nil || len(out.Contents) != 3 || *out.Contents[0].Key != want[4] {
			t.Errorf("%v, %v", out, err)
		}
	})
	t.Run("v1 with marker and url encoding", func(t *testing.T) {
		out, err := c.ListObjects(t.Context(), &s3.ListObjectsInput{Bucket: aws.String("plain"), Prefix: aws.String("list/"), Marker: &want[4], EncodingType: types.EncodingTypeUrl})
		if err != nil || len(out.Contents) != 2 {
			t.Fatalf("%v, %v", out, err)
		}
		if k := *out.Contents[0].Key; k != "list/5+%2B%C3%BC" && k != "list/5%20%2B%C3%BC" && k != want[5] {
			t.Errorf("key %q", k)
		}
	})
}

func TestObjectLockRefuses(t *testing.T) {
	c, bucket, key := client("us-east-1"), aws.String(cloud.ArchiveBucket), aws.String("locked/object")
	version := put(t, *bucket, *key, "evidence").VersionId
	until := clock.Now().AddDate(0, 0, 365)

	head, err := c.HeadObject(t.Context(), &s3.HeadObjectInput{Bucket: bucket, Key: key})
	if err != nil {
		t.Fatal(err)
	}
	if head.ObjectLockMode != types.ObjectLockModeCompliance || !head.ObjectLockRetainUntilDate.Equal(until) {
		t.Errorf("head: %s until %s, want COMPLIANCE until %s", head.ObjectLockMode, head.ObjectLockRetainUntilDate, until)
	}
	ret, err := c.GetObjectRetention(t.Context(), &s3.GetObjectRetentionInput{Bucket: bucket, Key: key, VersionId: version})
	if err != nil || ret.Retention.Mode != types.ObjectLockRetentionModeCompliance || !ret.Retention.RetainUntilDate.Equal(until) {
		t.Errorf("retention %+v, %v", ret, err)
	}
	conf, err := c.GetObjectLockConfiguration(t.Context(), &s3.GetObjectLockConfigurationInput{Bucket: bucket})
	if err != nil || *conf.ObjectLockConfiguration.Rule.DefaultRetention.Days != 365 {
		t.Errorf("configuration %+v, %v", conf, err)
	}
	vers, err := c.GetBucketVersioning(t.Context(), &s3.GetBucketVersioningInput{Bucket: bucket})
	if err != nil || vers.Status != types.BucketVersioningStatusEnabled {
		t.Errorf("versioning %+v, %v", vers, err)
	}

	refused := map[string]func() error{
		"delete of the version": func() error {
			_, err := c.DeleteObject(t.Context(), &s3.DeleteObjectInput{Bucket: bucket, Key: key, VersionId: version})
			return err
		},
		"delete with bypass": func() error {
			_, err := c.DeleteObject(t.Context(), &s3.DeleteObjectInput{Bucket: bucket, Key: key, VersionId: version, BypassGovernanceRetention: aws.Bool(true)})
			return err
		},
		"shorter retention": func() error {
			_, err := c.PutObjectRetention(t.Context(), &s3.PutObjectRetentionInput{Bucket: bucket, Key: key, VersionId: version, BypassGovernanceRetention: aws.Bool(true),
				Retention: &types.ObjectLockRetention{Mode: types.ObjectLockRetentionModeCompliance, RetainUntilDate: aws.Time(until.AddDate(0, 0, -1))}})
			return err
		},
		"weaker mode": func() error {
			_, err := c.PutObjectRetention(t.Context(), &s3.PutObjectRetentionInput{Bucket: bucket, Key: key, VersionId: version, BypassGovernanceRetention: aws.Bool(true),
				Retention: &types.ObjectLockRetention{Mode: types.ObjectLockRetentionModeGovernance, RetainUntilDate: aws.Time(until)}})
			return err
		},
	}
	for name, do := range refused {
		if c := code(do()); c != "AccessDenied" {
			t.Errorf("%s: %q, want AccessDenied", name, c)
		}
	}
	batch, err := c.DeleteObjects(t.Context(), &s3.DeleteObjectsInput{Bucket: bucket, Delete: &types.Delete{Objects: []types.ObjectIdentifier{{Key: key, VersionId: version}}}})
	if err != nil || len(batch.Errors) != 1 || aws.ToString(batch.Errors[0].Code) != "AccessDenied" {
		t.Errorf("batch delete: %+v, %v", batch, err)
	}

	// The control: the same delete where nothing is locked does delete.
	free := put(t, "versioned", *key, "x").VersionId
	if _, err := c.DeleteObject(t.Context(), &s3.DeleteObjectInput{Bucket: aws.String("versioned"), Key: key, VersionId: free}); err != nil {
		t.Errorf("delete of an unlocked version: %v", err)
	}
	if _, err := c.HeadObject(t.Context(), &s3.HeadObjectInput{Bucket: aws.String("versioned"), Key: key}); code(err) != "NotFound" {
		t.Errorf("deleted version is still there: %v", err)
	}
}

func TestDeleteWithoutVersionIsOnlyAMarker(t *testing.T) {
	c, bucket, key := client("us-east-1"), aws.String(cloud.ArchiveBucket), aws.String("marked")
	at := clock.Now()
	version := put(t, *bucket, *key, "evidence").VersionId
	out, err := c.DeleteObject(t.Context(), &s3.DeleteObjectInput{Bucket: bucket, Key: key})
	if err != nil || !aws.ToBool(out.DeleteMarker) {
		t.Fatalf("%+v, %v", out, err)
	}
	if _, err := c.GetObject(t.Context(), &s3.GetObjectInput{Bucket: bucket, Key: key}); code(err) != "NoSuchKey" {
		t.Errorf("get: %v, want NoSuchKey", err)
	}
	got, err := c.GetObject(t.Context(), &s3.GetObjectInput{Bucket: bucket, Key: key, VersionId: version})
	if err != nil {
		t.Fatalf("the version is gone: %v", err)
	}
	got.Body.Close()
	list, err := c.ListObjectVersions(t.Context(), &s3.ListObjectVersionsInput{Bucket: bucket, Prefix: key})
	if err != nil || len(list.Versions) != 1 || len(list.DeleteMarkers) != 1 {
		t.Fatalf("%+v, %v", list, err)
	}
	if m := list.Versions[0].LastModified; !m.Equal(at) {
		t.Errorf("version modified %s, want %s", m, at)
	}
	if m := list.DeleteMarkers[0].LastModified; !m.Equal(at) {
		t.Errorf("marker modified %s, want %s", m, at)
	}
}

func TestOverwrittenVersionKeepsItsTime(t *testing.T) {
	c, key := client("us-east-1"), aws.String("twice")
	first := clock.Now()
	put(t, "versioned", *key, "1")
	clock.advance(time.Hour)
	put(t, "versioned", *key, "2")
	list, err := c.ListObjectVersions(t.Context(), &s3.ListObjectVersionsInput{Bucket: aws.String("versioned"), Prefix: key})
	if err != nil || len(list.Versions) != 2 {
		t.Fatalf("%+v, %v", list, err)
	}
	for i, want := range []time.Time{first.Add(time.Hour), first} {
		if m := list.Versions[i].LastModified; !m.Equal(want) {
			t.Errorf("version %d modified %s, want %s", i, m, want)
		}
	}
}

func TestBucketsAreInTheirRegion(t *testing.T) {
	eu := aws.String("auditcanary-111122223333-eu-west-1")
	loc, err := client("us-east-1").GetBucketLocation(t.Context(), &s3.GetBucketLocationInput{Bucket: eu})
	if err != nil || loc.LocationConstraint != "eu-west-1" {
		t.Errorf("location %+v, %v", loc, err)
	}
	if _, err := client("eu-west-1").PutObject(t.Context(), &s3.PutObjectInput{Bucket: eu, Key: aws.String("k"), Body: strings.NewReader("x")}); err != nil {
		t.Error(err)
	}
	if _, err := client("us-east-1").GetObject(t.Context(), &s3.GetObjectInput{Bucket: eu, Key: aws.String("k")}); code(err) != "PermanentRedirect" {
		t.Errorf("wrong region: %v, want PermanentRedirect", err)
	}
	if _, err := client("us-east-1").GetObject(t.Context(), &s3.GetObjectInput{Bucket: aws.String("missing"), Key: aws.String("k")}); code(err) != "NoSuchBucket" {
		t.Errorf("missing bucket: %v, want NoSuchBucket", err)
	}
}

func TestBucketDocuments(t *testing.T) {
	c, bucket := client("us-east-1"), aws.String("plain")
	get := func() error {
		_, err := c.GetPublicAccessBlock(t.Context(), &s3.GetPublicAccessBlockInput{Bucket: bucket})
		return err
	}
	if c := code(get()); c != "NoSuchPublicAccessBlockConfiguration" {
		t.Errorf("before: %q", c)
	}
	if _, err := c.PutPublicAccessBlock(t.Context(), &s3.PutPublicAccessBlockInput{Bucket: bucket,
		PublicAccessBlockConfiguration: &types.PublicAccessBlockConfiguration{BlockPublicAcls: aws.Bool(true)}}); err != nil {
		t.Fatal(err)
	}
	got, err := c.GetPublicAccessBlock(t.Context(), &s3.GetPublicAccessBlockInput{Bucket: bucket})
	if err != nil || !aws.ToBool(got.PublicAccessBlockConfiguration.BlockPublicAcls) {
		t.Errorf("%+v, %v", got, err)
	}
	if _, err := c.DeletePublicAccessBlock(t.Context(), &s3.DeletePublicAccessBlockInput{Bucket: bucket}); err != nil {
		t.Error(err)
	}
	if c := code(get()); c != "NoSuchPublicAccessBlockConfiguration" {
		t.Errorf("after: %q", c)
	}
}

func TestReplyCarriesSandboxDateAndTheCallersRequestID(t *testing.T) {
	for _, path := range []string{"/plain?list-type=2", "/plain/absent", "/missing/k", "/plain?location"} {
		w := httptest.NewRecorder()
		w.Header().Set("X-Amz-Request-Id", "REQUEST<1>")
		a.ServeHTTP(w, httptest.NewRequest(http.MethodGet, path, nil))
		if d := w.Header().Get("Date"); d != clock.Now().Format(http.TimeFormat) {
			t.Errorf("%s: Date %q", path, d)
		}
		if id := w.Header().Values("X-Amz-Request-Id"); !slices.Equal(id, []string{"REQUEST<1>"}) {
			t.Errorf("%s: request id %q", path, id)
		}
		if w.Code >= 400 && !strings.Contains(w.Body.String(), "<RequestId>REQUEST&lt;1&gt;</RequestId>") {
			t.Errorf("%s: body %s", path, w.Body)
		}
	}
}

func TestMetadataNamesAreLowerCaseOnTheWire(t *testing.T) {
	if _, err := a.Put(t.Context(), archive.Object{Bucket: "plain", Key: "signed", Body: []byte("{}"), Metadata: map[string]string{"signature": "ab12"}}); err != nil {
		t.Fatal(err)
	}
	w := httptest.NewRecorder()
	a.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/plain/signed", nil))
	if got := map[string][]string(w.Header())["x-amz-meta-signature"]; !slices.Equal(got, []string{"ab12"}) {
		t.Errorf("headers %v", w.Header())
	}
}

// A fuzz target would have to instrument the whole gateway, so cut, flip and
// splice here.
func TestDecodingAnyUploadIsTotal(t *testing.T) {
	frame := []byte("3\r\nabc\r\n5;chunk-signature=00\r\nde\r\nf\r\n0\r\nx-amz-checksum-crc32:AAAA\r\n\r\n")
	if data, trailer, err := archive.DecodeChunks(frame); err != nil || string(data) != "abcde\r\nf" || trailer.Get("X-Amz-Checksum-Crc32") != "AAAA" {
		t.Fatalf("%q, %v, %v", data, trailer, err)
	}
	rng := rand.New(rand.NewPCG(1, 2))
	for range 50_000 {
		in := bytes.Clone(frame)
		for range 1 + rng.IntN(4) {
			switch i, j := rng.IntN(len(in)), rng.IntN(len(in)); rng.IntN(3) {
			case 0:
				in[i] = "0123456789abcdefF:;\r\n-"[rng.IntN(22)]
			case 1:
				in = in[:max(1, i)]
			case 2:
				in = append(in, in[min(i, j):max(i, j)]...)
			}
		}
		data, _, err := archive.DecodeChunks(in)
		if len(data) > len(in) || err != nil && data != nil {
			t.Fatalf("%q: %d bytes, %v", in, len(data), err)
		}
	}
}

func TestNoKeyLeavesItsBucket(t *testing.T) {
	put(t, "versioned", "inside", "x")
	for _, path := range []string{"/plain/../versioned/inside", "/plain/%2e%2e/versioned/inside", "/plain/a/..%2f..%2fversioned/inside", "/../objects/versioned/inside"} {
		for _, method := range []string{"GET", "PUT", "DELETE"} {
			w := httptest.NewRecorder()
			r := httptest.NewRequest(method, path, strings.NewReader(""))
			a.ServeHTTP(w, r)
			if w.Code != 400 {
				t.Errorf("%s %s: HTTP %d, want 400", method, path, w.Code)
			}
		}
	}
}

func TestDeletedCurrentVersionGivesThePreviousOneItsTimeBack(t *testing.T) {
	c, bucket, key := client("us-east-1"), aws.String("versioned"), aws.String("promoted")
	first := clock.Now()
	put(t, *bucket, *key, "1")
	clock.advance(time.Hour)
	second := put(t, *bucket, *key, "2").VersionId
	clock.advance(time.Hour)
	if _, err := c.DeleteObjects(t.Context(), &s3.DeleteObjectsInput{Bucket: bucket, Delete: &types.Delete{
		Objects: []types.ObjectIdentifier{{Key: key, VersionId: second}}}}); err != nil {
		t.Fatal(err)
	}
	head, err := c.HeadObject(t.Context(), &s3.HeadObjectInput{Bucket: bucket, Key: key})
	if err != nil || !head.LastModified.Equal(first) {
		t.Errorf("%+v, %v; want modified %s", head, err, first)
	}
}
