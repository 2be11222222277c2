package logstore_test

import (
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"sync/atomic"
	"testing"
	"time"

	"github.com/auditcanary/auditcanary/shared/canary"
)

// between stands before a store and answers otherwise than it does.
type between struct {
	store *httputil.ReverseProxy
	fault atomic.Pointer[func(w http.ResponseWriter, whole *httptest.ResponseRecorder)]
}

func (b *between) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	rec := httptest.NewRecorder()
	b.store.ServeHTTP(rec, r)
	if f := b.fault.Load(); f != nil {
		(*f)(w, rec)
		return
	}
	answer(w, rec, rec.Code, rec.Body.Bytes())
}

func answer(w http.ResponseWriter, rec *httptest.ResponseRecorder, code int, body []byte) {
	for name, v := range rec.Header() {
		if name != "Content-Length" {
			w.Header()[name] = v
		}
	}
	w.WriteHeader(code)
	_, _ = w.Write(body)
}

// TestWhatWasNotSeenInFullIsNotSaidToBeMissing: whatever is wrong with the answers of a
// store, no look of it has a time, and nobody fails a canary by it. Once it answers again,
// what was there is found.
func TestWhatWasNotSeenInFullIsNotSaidToBeMissing(t *testing.T) {
	status := func(code int) func(http.ResponseWriter, *httptest.ResponseRecorder) {
		return func(w http.ResponseWriter, rec *httptest.ResponseRecorder) { answer(w, rec, code, []byte("no")) }
	}
	faults := map[string]func(http.ResponseWriter, *httptest.ResponseRecorder){
		"an error of the server": status(http.StatusInternalServerError),
		"too many requests":      status(http.StatusTooManyRequests),
		"not allowed":            status(http.StatusForbidden),
		"elsewhere": func(w http.ResponseWriter, rec *httptest.ResponseRecorder) {
			w.Header().Set("Location", "http://127.0.0.1:1/")
			answer(w, rec, http.StatusFound, nil)
		},
		"a reply that is cut": func(w http.ResponseWriter, rec *httptest.ResponseRecorder) {
			body := rec.Body.Bytes()
			answer(w, rec, rec.Code, body[:max(0, len(body)-10)])
			_ = http.NewResponseController(w).Flush()
			panic(http.ErrAbortHandler)
		},
		"a page of a proxy": func(w http.ResponseWriter, rec *httptest.ResponseRecorder) {
			rec.Header().Set("Content-Type", "text/html")
			answer(w, rec, http.StatusOK, []byte("<html>Please log in</html>"))
		},
		inALine: func(w http.ResponseWriter, rec *httptest.ResponseRecorder) {
			answer(w, rec, rec.Code, append(rec.Body.Bytes(), "\ncannot execute query: out of memory\n"...))
		},
		"no time": func(w http.ResponseWriter, rec *httptest.ResponseRecorder) {
			rec.Header()["Date"] = nil
			answer(w, rec, rec.Code, rec.Body.Bytes())
		},
	}
	each(t, func(t *testing.T, p place) {
		target, err := url.Parse(p.base())
		if err != nil {
			t.Fatal(err)
		}
		b := &between{store: httputil.NewSingleHostReverseProxy(target)}
		b.store.ErrorLog = quiet
		server := httptest.NewServer(b)
		server.Config.ErrorLog = quiet
		t.Cleanup(server.Close)

		at, to := p.now(), p.target(0)
		s := p.at(server.URL).store(t)
		for name, fault := range faults {
			if _, byLine := p.(vlPlace); name == inALine && !byLine {
				continue // what follows a document that is whole changes nothing of it
			}
			w := watch(at, 1, to)
			b.fault.Store(&fault)
			seen, err := s.Poll(t.Context(), w)
			if !seen.AsOf.IsZero() {
				t.Errorf("%s: seen as of %s", name, seen.AsOf)
			}
			if err == nil && len(seen.Problems) == 0 {
				t.Errorf("%s: nothing is said of it", name)
			}
			if err != nil {
				seen.Problems = append(seen.Problems, canary.Problem{Err: err.Error()}) // as package run does
			}
			seen.AsOf = at // even if it had been looked at before
			if a := judge(to, at, seen).Checks[canary.Surfaced]; a.Status != canary.Inconclusive {
				t.Errorf("%s: judged %+v", name, a)
			}
			b.fault.Store(nil)
		}

		behind := func(w http.ResponseWriter, rec *httptest.ResponseRecorder) {
			rec.Header().Set("Date", time.Now().Add(-2*time.Hour).UTC().Format(http.TimeFormat))
			answer(w, rec, rec.Code, rec.Body.Bytes())
		}
		b.fault.Store(&behind)
		seen, err := s.Poll(t.Context(), watch(at, 1, to))
		if seen.AsOf.After(at.Add(-time.Hour)) || err == nil && seen.AsOf.IsZero() { // the SDK believes it, and is refused
			t.Errorf("a clock that is behind: as of %s, %v", seen.AsOf, err)
		}
		b.fault.Store(nil)

		s, w := p.at(server.URL).store(t), watch(at, 1, to)
		down := status(http.StatusServiceUnavailable)
		b.fault.Store(&down)
		_, _ = s.Poll(t.Context(), w)
		b.fault.Store(nil)
		p.put(t, to, at, ours(p, to, 0, at))
		until(t, s, w, "the record, once the store answers", has(1))
	})
}

const inALine = "an error after the answer has begun"

var quiet = log.New(io.Discard, "", 0)
