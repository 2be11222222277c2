package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/auditcanary/auditcanary/tests/sandbox/archive"
	"github.com/auditcanary/auditcanary/tests/sandbox/cloud"
	"github.com/auditcanary/auditcanary/tests/sandbox/fault"
	"github.com/auditcanary/auditcanary/tests/sandbox/jira"
	"github.com/auditcanary/auditcanary/tests/sandbox/slack"
)

// adminPrefix is where the sandbox answers for itself. It is no bucket's name.
const adminPrefix = "/_sandbox/"

// front divides requests between the sandbox itself, its ticket desk, its chat and its
// cloud. It is no
// http.ServeMux, which would clean the paths of S3 objects.
type front struct {
	plane, admin, desk, chat http.Handler
}

func (f *front) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	switch path := r.URL.Path; {
	case strings.HasPrefix(path, adminPrefix):
		f.admin.ServeHTTP(w, r)
	case strings.HasPrefix(path, deskPrefix+"/"):
		f.desk.ServeHTTP(w, r)
	case strings.HasPrefix(path, chatPrefix+"/"):
		f.chat.ServeHTTP(w, r)
	default:
		f.plane.ServeHTTP(w, r)
	}
}

// newAdmin answers what a test wants to know of the sandbox, unsigned, as JSON:
//
//	GET /_sandbox/calls   the calls so far: [{n, service, operation, account, region, mutating, error, ...}]
//	GET /_sandbox/decided what policies decided so far: [{role, action, resource, allowed, why, count}]
//	GET /_sandbox/state   what is not as at the start: {"changes": [{account, region, kind, id, is}]}
//	GET /_sandbox/time    the sandbox's clock: {"now": "2026-01-02T15:04:05.678Z"}
//	POST /_sandbox/time   puts it forward: {"advance": "10m"}. Answered when everything due until then is delivered
//	GET /_sandbox/delivery how far delivery is: {latest_delivery, latest_digest, pending}
//	GET /_sandbox/tickets what is at the Jira site: [{key, summary, status, open, priority, labels, description, comments, attachments, body, bodies}]
//	GET /_sandbox/messages what is in the Slack workspace: [{channel, ts, thread, text, blocks, metadata, args}]
//	POST /_sandbox/people does what somebody might: {"delete": "SEC-1"} {"move": "SEC-1", "to": "Done"} {"token": "another"}
//	                      {"project": "SEC", "rename": "OPS"} {"field": "Control", "rename": "Control id"} {"channel": "C0SECURITY", "archived": true} {"scopes": ["chat:write"]};
//	                      without rename a field is taken away; a project or channel that is not there is made
//	GET /_sandbox/faults  how often each fault struck: [{name, at, fired, error}]
//	POST /_sandbox/lift   takes a statement out of the organisation's policies: {"sid": "ProtectTrails"}
//	POST /_sandbox/plant  puts something there past the API: {"role": {account, name, trust, policy}} {"bucket": {name, policy}} {"archive_key": true}, {"untagged": {account, region, id}} or {"careless": BUCKET}
//	PUT /_sandbox/faults  replaces the faults by those of the body (YAML), starts n and their windows anew
func newAdmin(plane *cloud.Cloud, faults *fault.Set, delivery *archive.Delivery, now *clock, desk *jira.Server, chat *slack.Workspace) http.Handler {
	mux := http.NewServeMux()
	get := func(path string, answer func() any) {
		mux.HandleFunc("GET "+adminPrefix+path, func(w http.ResponseWriter, _ *http.Request) { reply(w, http.StatusOK, answer()) })
	}
	get("calls", func() any {
		if calls := plane.Calls(); calls != nil {
			return calls
		}
		return []cloud.CallLog{}
	})
	get("state", func() any {
		changes := plane.Changes()
		if changes == nil {
			changes = []cloud.Change{}
		}
		return map[string]any{"changes": changes}
	})
	get("decided", func() any { return plane.Decided() })
	tell := func() any { return map[string]any{"now": now.Now().Format(time.RFC3339Nano)} }
	get("time", tell)
	mux.HandleFunc("POST "+adminPrefix+"time", func(w http.ResponseWriter, r *http.Request) {
		var ask struct{ Advance string }
		if err := json.NewDecoder(http.MaxBytesReader(w, r.Body, 1<<10)).Decode(&ask); err != nil {
			reply(w, http.StatusBadRequest, map[string]any{"error": `want {"advance": "10m"}: ` + err.Error()})
			return
		}
		by, err := time.ParseDuration(ask.Advance)
		if err != nil || by <= 0 || by > mostAdvance {
			reply(w, http.StatusBadRequest, map[string]any{"error": fmt.Sprintf("advance: want a duration above 0 and up to %s, not %q", mostAdvance, ask.Advance)})
			return
		}
		if err := advance(r.Context(), now, by, delivery.CatchUp, func(context.Context) time.Time { return plane.CatchUp() }); err != nil {
			reply(w, http.StatusInternalServerError, map[string]any{"error": "advance: " + err.Error()})
			return
		}
		reply(w, http.StatusOK, tell())
	})
	mux.HandleFunc("POST "+adminPrefix+"lift", func(w http.ResponseWriter, r *http.Request) {
		var ask struct{ Sid string }
		if err := json.NewDecoder(http.MaxBytesReader(w, r.Body, 1<<10)).Decode(&ask); err != nil || !plane.LiftProtection(ask.Sid) {
			reply(w, http.StatusBadRequest, map[string]any{"error": fmt.Sprintf("no policy has the statement %q", ask.Sid)})
			return
		}
		reply(w, http.StatusOK, map[string]any{"lifted": ask.Sid})
	})
	get("delivery", func() any {
		s := delivery.Status()
		return map[string]any{"latest_delivery": s.LatestDelivery, "latest_digest": s.LatestDigest, "pending": s.Pending}
	})
	mux.HandleFunc("POST "+adminPrefix+"plant", plant(plane))
	get("tickets", func() any { return tickets(desk) })
	get("messages", func() any { return messages(chat) })
	mux.HandleFunc("POST "+adminPrefix+"people", change(desk, chat))
	get("faults", func() any { return faults.Status() })
	mux.HandleFunc("PUT "+adminPrefix+"faults", func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, 1<<20))
		if err != nil {
			reply(w, http.StatusBadRequest, map[string]any{"error": "read the body: " + err.Error()})
			return
		}
		set, err := fault.Parse("body", body)
		if err != nil {
			reply(w, http.StatusBadRequest, map[string]any{"error": err.Error()})
			return
		}
		faults.Replace(set)
		plane.SetFaults(faults)
		reply(w, http.StatusOK, faults.Status())
	})
	return mux
}

// mostAdvance bounds one jump: each hour of it takes a digest of every place.
const mostAdvance = 1000 * time.Hour

// advance puts the clock forward, from one thing that is due to the next, so that
// each is delivered at its own time. Each of those who deliver does what is due and
// says when it has the next thing, zero if it has none.
func advance(ctx context.Context, now *clock, by time.Duration, deliver ...func(context.Context) time.Time) error {
	until := now.Now().Add(by)
	for {
		next := until
		for _, catchUp := range deliver {
			if t := catchUp(ctx); !t.IsZero() && t.Before(next) {
				next = t
			}
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		if !next.Before(until) && !now.Now().Before(until) {
			return nil
		}
		now.putForward(next)
	}
}

func reply(w http.ResponseWriter, status int, v any) {
	body, err := json.Marshal(v)
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = w.Write(append(body, '\n')) // the caller is gone; there is nobody to tell
}
