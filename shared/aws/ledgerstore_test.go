package aws

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"github.com/auditcanary/auditcanary/shared/ledger"
)

// ledgerBucket is a bucket that answers as S3 does, for one object, except as told.
type ledgerBucket struct {
	data, id, etag string // of the object; etag "" = none
	put            func(w http.ResponseWriter, r *http.Request, write func()) bool
	headStatus     int // instead of the truth
}

func (b *ledgerBucket) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	fail := func(status int, code string) {
		w.Header().Set("Content-Type", "application/xml")
		w.WriteHeader(status)
		if r.Method != http.MethodHead {
			fmt.Fprintf(w, "<Error><Code>%s</Code><Message>%s.</Message></Error>", code, code)
		}
	}
	switch r.Method {
	case http.MethodPut:
		body, err := io.ReadAll(r.Body)
		if err != nil {
			fail(500, "InternalError")
			return
		}
		write := func() {
			b.data, b.id, b.etag = string(body), r.Header.Get("x-amz-meta-put-id"), fmt.Sprintf(`"%x"`, body)
		}
		if b.put != nil && b.put(w, r, write) {
			return
		}
		match, none := r.Header.Get("If-Match"), r.Header.Get("If-None-Match")
		switch {
		case match != "" && b.etag == "":
			fail(404, "NoSuchKey")
		case match != "" && match != b.etag, none == "*" && b.etag != "":
			fail(412, "PreconditionFailed")
		case match == "" && none == "":
			fail(400, "Unconditional")
		default:
			write()
			w.Header().Set("ETag", b.etag)
		}
	case http.MethodHead, http.MethodGet:
		if r.Method == http.MethodHead && b.headStatus != 0 {
			fail(b.headStatus, "")
			return
		}
		if b.etag == "" {
			fail(404, "NoSuchKey")
			return
		}
		w.Header().Set("ETag", b.etag)
		w.Header().Set("x-amz-meta-put-id", b.id)
		w.Header().Set("Content-Length", fmt.Sprint(len(b.data)))
		if r.Method == http.MethodGet {
			io.WriteString(w, b.data)
		}
	}
}

func ledgerStoreOn(t *testing.T, h http.Handler, attempts int) *LedgerStore {
	srv := httptest.NewServer(h)
	t.Cleanup(srv.Close)
	client := s3.New(s3.Options{
		Region:           "eu-central-1",
		BaseEndpoint:     aws.String(srv.URL),
		UsePathStyle:     true,
		Credentials:      credentials.NewStaticCredentialsProvider("AKIDEXAMPLE", "secret", ""),
		RetryMaxAttempts: attempts,
	})
	return NewLedgerStore(client, "evidence", "ledger/")
}

func TestLedgerStoreResolvesAPutWhoseAnswerIsLost(t *testing.T) {
	hangUp := func(w http.ResponseWriter) bool {
		conn, _, err := http.NewResponseController(w).Hijack()
		if err == nil {
			conn.Close()
		}
		return true
	}
	type put = func(w http.ResponseWriter, r *http.Request, write func()) bool
	for _, c := range []struct {
		what       string
		old        string // contents before, "" = no object
		stale      bool   // the caller's version is another
		attempts   int
		put        func(b *ledgerBucket) put
		headStatus int
		wantErr    error  // nil = any
		wantText   string // "" = success
		want       string // contents after
	}{
		{what: "created", attempts: 1, want: "new"},
		{what: "replaced", old: "old", attempts: 1, want: "new"},
		{what: "created, answer lost", attempts: 1, want: "new",
			put: func(*ledgerBucket) put {
				return func(w http.ResponseWriter, _ *http.Request, write func()) bool { write(); return hangUp(w) }
			}},
		{what: "replaced, answer lost", old: "old", attempts: 1, want: "new",
			put: func(*ledgerBucket) put {
				return func(w http.ResponseWriter, _ *http.Request, write func()) bool { write(); return hangUp(w) }
			}},
		{what: "created, answer lost, second attempt refused because of the first", attempts: 3, want: "new",
			put: func(b *ledgerBucket) put {
				return func(w http.ResponseWriter, _ *http.Request, write func()) bool {
					if b.etag != "" {
						return false
					}
					write()
					return hangUp(w)
				}
			}},
		{what: "lost before the effect", attempts: 1, wantText: "not written so far",
			put: func(*ledgerBucket) put {
				return func(w http.ResponseWriter, _ *http.Request, _ func()) bool { return hangUp(w) }
			}},
		{what: "lost before the effect, and another writer wrote the same bytes", attempts: 1, wantErr: ledger.ErrConflict, wantText: "s3://evidence/ledger/claim/000: conflict", want: "new",
			put: func(b *ledgerBucket) put {
				return func(w http.ResponseWriter, _ *http.Request, write func()) bool {
					write()
					b.id = "another writer's"
					return hangUp(w)
				}
			}},
		{what: "there already", old: "old", stale: true, attempts: 1, wantErr: ledger.ErrConflict, wantText: "PreconditionFailed", want: "old"},
		{what: "busy", attempts: 1, wantErr: ledger.ErrConflict, wantText: "ConditionalRequestConflict",
			put: func(*ledgerBucket) put {
				return func(w http.ResponseWriter, _ *http.Request, _ func()) bool {
					w.WriteHeader(409)
					io.WriteString(w, "<Error><Code>ConditionalRequestConflict</Code></Error>")
					return true
				}
			}},
		{what: "answer lost, and cannot look", attempts: 1, headStatus: 403, wantText: "outcome unknown", want: "new",
			put: func(*ledgerBucket) put {
				return func(w http.ResponseWriter, _ *http.Request, write func()) bool { write(); return hangUp(w) }
			}},
		{what: "denied", attempts: 1, wantText: "AccessDenied",
			put: func(*ledgerBucket) put {
				return func(w http.ResponseWriter, _ *http.Request, _ func()) bool {
					w.WriteHeader(403)
					io.WriteString(w, "<Error><Code>AccessDenied</Code></Error>")
					return true
				}
			}},
		{what: "no bucket", attempts: 1, wantText: "NoSuchBucket",
			put: func(*ledgerBucket) put {
				return func(w http.ResponseWriter, _ *http.Request, _ func()) bool {
					w.WriteHeader(404)
					io.WriteString(w, "<Error><Code>NoSuchBucket</Code></Error>")
					return true
				}
			}},
	} {
		t.Run(c.what, func(t *testing.T) {
			b := &ledgerBucket{headStatus: c.headStatus}
			var old ledger.Version
			if c.old != "" {
				b.data, b.etag = c.old, fmt.Sprintf(`"%x"`, c.old)
				old = ledger.Version(b.etag)
			}
			if c.stale {
				old = `"stale"`
			}
			if c.put != nil {
				b.put = c.put(b)
			}
			s := ledgerStoreOn(t, b, c.attempts)
			v, err := s.Put(t.Context(), "claim/000", []byte("new"), old)
			switch {
			case c.wantText == "":
				if err != nil || string(v) != b.etag {
					t.Errorf("Put = %q, %v", v, err)
				}
			case err == nil || !strings.Contains(err.Error(), c.wantText):
				t.Errorf("Put = %q, %v, want an error with %q", v, err, c.wantText)
			case errors.Is(err, ledger.ErrConflict) != (c.wantErr != nil):
				t.Errorf("Put: %v, want it to be %v", err, c.wantErr)
			}
			if b.data != c.want {
				t.Errorf("the object is now %q, want %q", b.data, c.want)
			}
		})
	}
}

func TestLedgerStoreCallsOnlyAMissingObjectNotFound(t *testing.T) {
	for _, c := range []struct {
		status int
		code   string
		want   bool
	}{
		{404, "NoSuchKey", true},
		{404, "NoSuchBucket", false},
		{403, "AccessDenied", false},
		{403, "ExpiredToken", false},
		{301, "PermanentRedirect", false},
	} {
		s := ledgerStoreOn(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(c.status)
			fmt.Fprintf(w, "<Error><Code>%s</Code></Error>", c.code)
		}), 1)
		_, _, err := s.Get(t.Context(), "checkpoint")
		if err == nil || errors.Is(err, ledger.ErrNotFound) != c.want ||
			!strings.Contains(err.Error(), "s3://evidence/ledger/checkpoint") || !strings.Contains(err.Error(), c.code) {
			t.Errorf("%s: %v", c.code, err)
		}
	}
}

func TestLedgerStoreRefusesACutBody(t *testing.T) {
	s := ledgerStoreOn(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("ETag", `"x"`)
		w.Header().Set("Content-Length", "100")
		io.WriteString(w, "cut")
	}), 1)
	if data, _, err := s.Get(t.Context(), "tile/0/000"); err == nil {
		t.Errorf("Get = %q", data)
	}
}
