package aws

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	logs "github.com/auditcanary/auditcanary/shared/trail"
	awssdk "github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/s3"
)

// bucketAt is an ArchiveStore on a server that answers with the handler.
func bucketAt(t *testing.T, h http.HandlerFunc) *ArchiveStore {
	t.Helper()
	srv := httptest.NewServer(h)
	t.Cleanup(srv.Close)
	client := s3.New(s3.Options{
		Region: "eu-west-1", BaseEndpoint: &srv.URL, UsePathStyle: true,
		Credentials: credentials.NewStaticCredentialsProvider("AKIAEXAMPLE", "secret", ""),
		Retryer:     awssdk.NopRetryer{},
	})
	return NewArchiveStore(client, "central-logs")
}

func TestArchiveStoreListsEveryPageAndTellsTheStoresTime(t *testing.T) {
	var queries []string
	page := 0
	store := bucketAt(t, func(w http.ResponseWriter, r *http.Request) {
		q := r.URL.Query()
		queries = append(queries, fmt.Sprintf("%s %s|%s|%s", r.URL.Path, q.Get("prefix"), q.Get("start-after"), q.Get("continuation-token")))
		page++
		w.Header().Set("Date", time.Date(2026, 3, 10, 12, page, 0, 0, time.UTC).Format(http.TimeFormat))
		more, token := "false", ""
		if page == 1 {
			more, token = "true", "<NextContinuationToken>next</NextContinuationToken>"
		}
		fmt.Fprintf(w, `<?xml version="1.0"?><ListBucketResult><Name>central-logs</Name><IsTruncated>%s</IsTruncated>%s<Contents><Key>p/k%d</Key><LastModified>2026-03-10T11:59:0%d.000Z</LastModified><Size>%d</Size></Contents></ListBucketResult>`, more, token, page, page, page)
	})
	var got []logs.Object
	asOf, err := store.List(context.Background(), "p/", "p/a", func(o logs.Object) error { got = append(got, o); return nil })
	if err != nil {
		t.Fatal(err)
	}
	if want := time.Date(2026, 3, 10, 12, 1, 0, 0, time.UTC); !asOf.Equal(want) {
		t.Errorf("as of %s, want the first reply's %s", asOf, want)
	}
	if want := "[/central-logs p/|p/a| /central-logs p/|p/a|next]"; fmt.Sprint(queries) != want {
		t.Errorf("asked %v, want %s", queries, want)
	}
	if len(got) != 2 || got[0].Key != "p/k1" || got[1].Size != 2 || !got[1].LastModified.Equal(time.Date(2026, 3, 10, 11, 59, 2, 0, time.UTC)) {
		t.Errorf("%+v", got)
	}
}

func TestArchiveStoreListFailsRatherThanGuess(t *testing.T) {
	const empty = `<?xml version="1.0"?><ListBucketResult><Name>central-logs</Name><IsTruncated>false</IsTruncated></ListBucketResult>`
	t.Run("no Date", func(t *testing.T) {
		store := bucketAt(t, func(w http.ResponseWriter, r *http.Request) {
			w.Header()["Date"] = nil
			io.WriteString(w, empty)
		})
		if asOf, err := store.List(context.Background(), "p/", "", nil); err == nil || !asOf.IsZero() || !strings.Contains(err.Error(), "no Date") {
			t.Errorf("%s, %v", asOf, err)
		}
	})
	t.Run("a proxy's page", func(t *testing.T) {
		store := bucketAt(t, func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, "<html>Please log in</html>") })
		if asOf, err := store.List(context.Background(), "p/", "", nil); err == nil || !asOf.IsZero() || !strings.Contains(err.Error(), "no listing") {
			t.Errorf("%s, %v", asOf, err)
		}
	})
	t.Run("second page fails", func(t *testing.T) {
		page := 0
		store := bucketAt(t, func(w http.ResponseWriter, r *http.Request) {
			if page++; page == 2 {
				http.Error(w, "", http.StatusInternalServerError)
				return
			}
			io.WriteString(w, `<?xml version="1.0"?><ListBucketResult><Name>central-logs</Name><IsTruncated>true</IsTruncated><NextContinuationToken>n</NextContinuationToken></ListBucketResult>`)
		})
		if asOf, err := store.List(context.Background(), "p/", "", nil); err == nil || !asOf.IsZero() {
			t.Errorf("%s, %v", asOf, err)
		}
	})
}

// A log object says Content-Encoding: gzip; its bytes must arrive as they are stored.
func TestArchiveStoreOpensTheBytesAsStored(t *testing.T) {
	var stored bytes.Buffer
	zw := gzip.NewWriter(&stored)
	io.WriteString(zw, `{"Records":[]}`)
	zw.Close()
	var asked []string
	store := bucketAt(t, func(w http.ResponseWriter, r *http.Request) {
		asked = append(asked, r.Method+" "+r.URL.Path)
		w.Header().Set("Content-Encoding", "gzip")
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("Last-Modified", "Tue, 10 Mar 2026 11:59:00 GMT")
		w.Header().Set("X-Amz-Version-Id", "v7")
		w.Header().Set("X-Amz-Meta-Signature-Algorithm", "SHA256withRSA")
		w.Write(stored.Bytes())
	})
	o, err := store.Open(context.Background(), "AWSLogs/x y+z.json.gz")
	if err != nil {
		t.Fatal(err)
	}
	defer o.Body.Close()
	body, err := io.ReadAll(o.Body)
	if err != nil || !bytes.Equal(body, stored.Bytes()) {
		t.Errorf("got %d bytes, %v, want the %d stored", len(body), err, stored.Len())
	}
	if fmt.Sprint(o.Metadata) != "map[signature-algorithm:SHA256withRSA]" {
		t.Errorf("metadata %v", o.Metadata)
	}
	if o.VersionID != "v7" || !o.LastModified.Equal(time.Date(2026, 3, 10, 11, 59, 0, 0, time.UTC)) {
		t.Errorf("%+v", o)
	}
	if want := "[GET /central-logs/AWSLogs/x y+z.json.gz]"; fmt.Sprint(asked) != want {
		t.Errorf("asked %v, want %s", asked, want)
	}
}

func TestArchiveStoreErrorsSayWhatToDo(t *testing.T) {
	for _, c := range []struct {
		name          string
		status        int
		code, message string
		header        string
		list, get     string
	}{
		{"missing bucket", 404, "NoSuchBucket", "", "", "there is no bucket central-logs", "there is no bucket central-logs"},
		{"wrong region", 301, "PermanentRedirect", "", "us-east-2", `set the log store's region to "us-east-2"`, `set the log store's region to "us-east-2"`},
		{"wrong region, signed", 400, "AuthorizationHeaderMalformed", "", "", "is in another region", "is in another region"},
		{"wrong region, no body", 301, "", "", "us-east-2", `set the log store's region to "us-east-2"`, `set the log store's region to "us-east-2"`},
		{"denied", 403, "AccessDenied", "Access Denied", "", "s3:ListBucket on arn:aws:s3:::central-logs", "s3:GetObject on arn:aws:s3:::central-logs/*"},
		{"key denied", 403, "AccessDenied", "User: x is not authorized to perform: kms:Decrypt on this resource", "", "", "needs kms:Decrypt on the key"},
		{"key disabled", 400, "KMS.DisabledException", "", "", "", "enable the trail's KMS key"},
		{"expired", 400, "ExpiredToken", "", "", "credentials have expired", "credentials have expired"},
		{"gone", 404, "NoSuchKey", "", "", "", "listed but is gone"},
		{"archived", 403, "InvalidObjectState", "", "", "", "archive storage class"},
	} {
		t.Run(c.name, func(t *testing.T) {
			store := bucketAt(t, func(w http.ResponseWriter, r *http.Request) {
				if c.header != "" {
					w.Header().Set("X-Amz-Bucket-Region", c.header)
				}
				w.WriteHeader(c.status)
				if c.code != "" {
					fmt.Fprintf(w, `<?xml version="1.0"?><Error><Code>%s</Code><Message>%s</Message></Error>`, c.code, c.message)
				}
			})
			_, listed := store.List(context.Background(), "AWSLogs/", "", nil)
			_, got := store.Open(context.Background(), "AWSLogs/k")
			if gone := errors.Is(got, fs.ErrNotExist); gone != (c.code == "NoSuchKey") {
				t.Errorf("%v: is fs.ErrNotExist: %v", got, gone)
			}
			for _, e := range []struct {
				err      error
				at, want string
			}{{listed, "ListObjectsV2 s3://central-logs/AWSLogs/: ", c.list}, {got, "GetObject s3://central-logs/AWSLogs/k: ", c.get}} {
				if e.want == "" {
					continue
				}
				if e.err == nil || !strings.HasPrefix(e.err.Error(), e.at) || !strings.Contains(e.err.Error(), e.want) {
					t.Errorf("got %v, want %q and %q", e.err, e.at, e.want)
				}
			}
		})
	}
}

func TestConnectionsAreKept(t *testing.T) {
	var opened atomic.Int64
	const n = 30
	together := make(chan struct{}, n)
	srv := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		together <- struct{}{}
		for len(together) < n && r.Context().Err() == nil {
			time.Sleep(time.Millisecond)
		}
		w.Header().Set("Last-Modified", "Tue, 10 Mar 2026 11:59:00 GMT")
	}))
	srv.Config.ConnState = func(_ net.Conn, s http.ConnState) {
		if s == http.StateNew {
			opened.Add(1)
		}
	}
	srv.Start()
	defer srv.Close()
	cfg := KeepConnections(awssdk.Config{Region: "eu-west-1", BaseEndpoint: &srv.URL, Credentials: credentials.NewStaticCredentialsProvider("AKIAEXAMPLE", "secret", "")}, n)
	store := NewArchiveStore(s3.NewFromConfig(cfg, func(o *s3.Options) { o.UsePathStyle = true }), "central-logs")
	for range 3 {
		var wg sync.WaitGroup
		for range n {
			wg.Go(func() {
				o, err := store.Open(t.Context(), "k")
				if err != nil {
					t.Error(err)
					return
				}
				io.Copy(io.Discard, o.Body)
				o.Body.Close()
			})
		}
		wg.Wait()
		for range n {
			<-together
		}
	}
	if got := opened.Load(); got > n {
		t.Errorf("%d connections for %d requests at a time", got, n)
	}
	own := &http.Client{}
	if kept := KeepConnections(awssdk.Config{HTTPClient: own}, n); kept.HTTPClient != own {
		t.Error("a client of the caller's own is replaced")
	}
}
