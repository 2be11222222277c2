package run

import (
	"slices"
	"strings"
	"time"

	"github.com/auditcanary/auditcanary/shared/canary"
)

// Ticket is one act on one ticket: written as pending before it, and again, with what
// came of it, after it.
type Ticket struct {
	// Fingerprint of what it is about: never a run.
	Fingerprint string `json:"fingerprint"`
	// Kind of ticket: failure, group, exception.
	Kind string `json:"kind,omitempty"`
	// Act: create, update, comment, attach, resolve, reopen; and gone, which nobody
	// does: the desk says that the ticket was deleted.
	Act string `json:"act"`
	// N numbers the acts on one fingerprint, from 1: it pairs an intent with its outcome.
	N       int  `json:"n"`
	Pending bool `json:"pending,omitempty"`
	// Key and URL of the ticket, as soon as they are known.
	Key string `json:"key,omitempty"`
	URL string `json:"url,omitempty"`
	// Content is the SHA-256 of what was said, hex: nothing is said twice. Change is
	// that of what counts as a change of what the ticket is about, without counters.
	Content string `json:"content,omitempty"`
	Change  string `json:"change,omitempty"`
	// Members are fingerprints that a ticket for several stands for from this act on.
	Members []string `json:"members,omitempty"`
	// Err says why it was not done; empty when it was. Unknown: it may have been done
	// all the same.
	Err     string `json:"error,omitempty"`
	Unknown bool   `json:"unknown,omitempty"`
	// At is when it was written down.
	At time.Time `json:"-"`
}

// Fingerprint is what a ticket for one failing check is about.
type Fingerprint struct {
	Scenario string
	Target   canary.Target
	Check    canary.Check
}

// String is how a fingerprint is written:
// "surfaced of aws/iam-temporary-admin-role at aws/111122223333/us-east-1".
func (f Fingerprint) String() string {
	return string(f.Check) + " of " + f.Scenario + " at " + f.Target.Provider + "/" + f.Target.Account + "/" + f.Target.Region
}

// ParseFingerprint reads it back; false for that of a ticket about something else.
func ParseFingerprint(s string) (Fingerprint, bool) {
	check, rest, ok1 := strings.Cut(s, " of ")
	scenario, place, ok2 := strings.Cut(rest, " at ")
	parts := strings.Split(place, "/")
	if !ok1 || !ok2 || len(parts) != 3 || !slices.Contains(canary.Checks(), canary.Check(check)) {
		return Fingerprint{}, false
	}
	return Fingerprint{scenario, canary.Target{Provider: parts[0], Account: parts[1], Region: parts[2]}, canary.Check(check)}, true
}

// TicketState is what the acts on one fingerprint amount to.
type TicketState struct {
	Fingerprint string
	Kind        string
	// Key and URL; empty: there is no ticket, or none that is known of.
	Key, URL string
	// Open, as far as we did it: somebody may have resolved it at the desk.
	Open bool
	// Created and Resolved are when the ledger was told so.
	Created, Resolved time.Time
	// N is the number of the last act.
	N int
	// Pending is the last act if nobody knows what came of it, with the time since
	// which that is so.
	Pending *Ticket
	// Members of a ticket for several, in the order in which they came.
	Members []string
	// Body, Change and Attached are the hashes of what was said last: in the ticket,
	// in a comment (or at its creation), in an attachment.
	Body, Change, Attached string
	// Gone are the keys of its tickets that were deleted.
	Gone []string
	// Done counts, act by act, what was done for certain.
	Done map[string]int
	// Err is why the last act was not done; empty when it was.
	Err string
}

// TicketStates folds the acts into the state of each ticket, in the order in which
// they were begun.
func (s *State) TicketStates() []*TicketState {
	var out []*TicketState
	by := map[string]*TicketState{}
	for _, t := range s.Tickets {
		st := by[t.Fingerprint]
		if st == nil {
			st = &TicketState{Fingerprint: t.Fingerprint, Done: map[string]int{}}
			by[t.Fingerprint] = st
			out = append(out, st)
		}
		st.apply(t)
	}
	return out
}

func (st *TicketState) apply(t Ticket) {
	if t.Kind != "" {
		st.Kind = t.Kind
	}
	st.N = max(st.N, t.N)
	for _, m := range t.Members {
		if !slices.Contains(st.Members, m) {
			st.Members = append(st.Members, m)
		}
	}
	if t.Pending {
		st.Pending = &t
		return
	}
	ours := st.Pending != nil && st.Pending.N == t.N
	if t.Err != "" {
		if ours {
			st.Err, st.Pending = t.Err, nil
			if t.Unknown && t.Act == "create" {
				st.Pending = &t
			}
		}
		return
	}
	if ours || t.Act == "gone" {
		st.Pending = nil
	}
	st.Err = ""
	st.Done[t.Act]++
	switch t.Act {
	case "create":
		st.Key, st.URL, st.Open, st.Created, st.Resolved = t.Key, t.URL, true, t.At, time.Time{}
		st.Body, st.Change, st.Attached = t.Content, t.Change, ""
	case "update":
		st.Body = t.Content
	case "comment":
		st.Change = t.Change
	case "attach":
		st.Attached = t.Change
	case "resolve":
		st.Open, st.Resolved = false, t.At
	case "reopen":
		st.Open, st.Resolved, st.Change = true, time.Time{}, "" // what follows says why
	case "gone":
		st.Gone = append(st.Gone, t.Key)
		st.Key, st.URL, st.Open, st.Body, st.Change, st.Attached = "", "", false, "", "", ""
	}
}

// Post is one message to a chat: written as pending before it, and again after it.
type Post struct {
	// Mark identifies it; the message carries it.
	Mark    string `json:"mark"`
	Pending bool   `json:"pending,omitempty"`
	Channel string `json:"channel,omitempty"`
	TS      string `json:"ts,omitempty"`
	Thread  string `json:"thread,omitempty"`
	URL     string `json:"url,omitempty"`
	Kind    string `json:"kind,omitempty"` // run, change, digest, detail
	// Told is what it tells of: a hash, 12 hex digits, for each finding with how it
	// stands, a space between; "-": of nothing; empty: not known.
	Told string `json:"told,omitempty"`
	Err  string `json:"error,omitempty"`
	// At is when it was written down.
	At time.Time `json:"-"`
}

// Asked is that somebody asked for a run.
type Asked struct {
	// ID of the command: the same command once more is the same.
	ID string `json:"id"`
	// By whom (Slack user id and name, or the caller of the HTTP interface), and where.
	By      string `json:"by"`
	Through string `json:"through"` // slack, http
	Channel string `json:"channel,omitempty"`
	// What was asked for.
	Command   string   `json:"command"` // run, status
	Scenarios []string `json:"scenarios,omitempty"`
	Targets   []string `json:"targets,omitempty"`
	// Run that it became; empty until it began.
	Run string `json:"run,omitempty"`
	// Refused says why it was not done.
	Refused string    `json:"refused,omitempty"`
	At      time.Time `json:"asked,omitzero"`
}
