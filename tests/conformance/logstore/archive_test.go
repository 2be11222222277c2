package logstore_test

import (
	"bytes"
	"cmp"
	"compress/gzip"
	"context"
	"encoding/json"
	"fmt"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	driver "github.com/auditcanary/auditcanary/shared/aws"
	"github.com/auditcanary/auditcanary/shared/canary"
	"github.com/auditcanary/auditcanary/shared/run"
	"github.com/auditcanary/auditcanary/shared/trail"
	"github.com/auditcanary/auditcanary/tests/sandbox/archive"
)

// server is the sandbox's S3, of which there can be one in a process.
type s3Server struct {
	archive *archive.Archive
	url     string
	err     error
}

var s3At = sync.OnceValue(func() s3Server {
	dir, err := os.MkdirTemp("", "s3-")
	if err != nil {
		return s3Server{err: err}
	}
	atEnd(func() { os.RemoveAll(dir) })
	a, err := archive.Open(bg, archive.Config{Dir: dir, Clock: realClock{}})
	if err != nil {
		return s3Server{err: err}
	}
	server := httptest.NewServer(a)
	atEnd(func() { server.Close(); _ = a.Close(bg) })
	return s3Server{archive: a, url: server.URL}
})

// s3Place is a bucket to which a trail delivers.
type s3Place struct {
	s3Server
	bucket string
}

var buckets, files atomic.Int64

func openArchive(t *testing.T) place {
	p := s3Place{s3Server: s3At(), bucket: fmt.Sprintf("trail-archive-%d", buckets.Add(1))}
	if p.err != nil {
		t.Fatal(p.err)
	}
	if err := p.archive.CreateBucket(t.Context(), archive.Bucket{Name: p.bucket, Account: "999988887777", Region: "us-east-1", Versioned: true}); err != nil {
		t.Fatal(err)
	}
	return p
}

func (p s3Place) store(*testing.T) run.LogStore {
	return archiveStore{trail.NewArchive(trail.Config{Name: "audit"}, driver.NewArchiveStore(s3.New(s3.Options{
		Region: "us-east-1", BaseEndpoint: aws.String(p.url), UsePathStyle: true,
		Credentials: credentials.NewStaticCredentialsProvider("AKID", "secret", ""), Retryer: aws.NopRetryer{},
	}), p.bucket))}
}

// archiveStore is the port as package wire makes it of an archive.
type archiveStore struct{ *trail.Archive }

func (a archiveStore) Poll(ctx context.Context, w *run.Watch) (run.Seen, error) {
	mem, _ := w.State.(*trail.Memory)
	if mem == nil {
		mem = &trail.Memory{}
		w.State = mem
	}
	f, err := a.Archive.Poll(ctx, trail.Query{RequestIDs: w.RequestIDs, Places: w.Places, Since: w.Since}, mem)
	return run.Seen{AsOf: f.AsOf, Sightings: f.Sightings, Problems: f.Problems, Looked: f.Looked}, err
}

func (p s3Place) target(n int) canary.Target {
	return canary.Target{Provider: "aws", Account: fmt.Sprintf("11112222333%d", n), Region: "us-east-1"}
}
func (p s3Place) now() time.Time      { return time.Now() }
func (p s3Place) base() string        { return p.url }
func (p s3Place) at(url string) place { p.url = url; return p }

func (p s3Place) record(r made) string {
	raw, err := json.Marshal(map[string]any{
		"eventVersion": "1.11", "eventTime": r.at.UTC().Format(time.RFC3339), "eventSource": "iam.amazonaws.com", "eventName": "CreateRole",
		"awsRegion": "us-east-1", "recipientAccountId": r.to.Account, "eventID": "e-" + r.id, "requestID": r.id, "userAgent": r.agent, "sourceIPAddress": "192.0.2.7",
		"userIdentity": map[string]any{"type": "AssumedRole", "arn": "arn:aws:sts::" + r.to.Account + ":assumed-role/" + r.actor + "/" + cmp.Or(r.session, "s")},
	})
	if err != nil {
		panic(err)
	}
	return string(raw)
}

// put delivers a few records in files of their own, and many in one.
func (p s3Place) put(t *testing.T, to canary.Target, _ time.Time, records ...string) {
	each := 1
	if len(records) > 10 {
		each = len(records)
	}
	for ; len(records) > 0; records = records[each:] {
		var b bytes.Buffer
		z := gzip.NewWriter(&b)
		fmt.Fprintf(z, `{"Records":[%s]}`, strings.Join(records[:each], ","))
		if err := z.Close(); err != nil {
			t.Fatal(err)
		}
		key := trail.Key{Account: to.Account, Region: to.Region, Stamp: time.Now(), Unique: fmt.Sprintf("%016d", files.Add(1))}
		if _, err := p.archive.Put(t.Context(), archive.Object{Bucket: p.bucket, Key: key.String(), Body: b.Bytes()}); err != nil {
			t.Fatal(err)
		}
	}
}
