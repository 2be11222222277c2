package run_test

import (
	"testing"
	"time"

	"github.com/auditcanary/auditcanary/shared/canary"
	"github.com/auditcanary/auditcanary/shared/run"
)

// FuzzParseFingerprint: what is read is what was written, and nothing else.
func FuzzParseFingerprint(f *testing.F) {
	f.Add("surfaced of aws/iam-temporary-admin-role at aws/111122223333/us-east-1")
	f.Add("group: surfaced, hop delivered")
	f.Add("exception EX of 1 at a/b/c: expired")
	f.Fuzz(func(t *testing.T, s string) {
		if fp, ok := run.ParseFingerprint(s); ok && fp.String() != s {
			t.Errorf("%q is read as %q", s, fp.String())
		}
	})
}

func TestTheStateOfATicketFollowsFromItsActs(t *testing.T) {
	at := time.Date(2026, 11, 26, 10, 0, 0, 0, time.UTC)
	fp := run.Fingerprint{Scenario: "aws/a", Target: canary.Target{Provider: "aws", Account: "1", Region: "r"}, Check: canary.Surfaced}.String()
	act := func(act string, n int, change func(*run.Ticket)) run.Ticket {
		at = at.Add(time.Minute)
		e := run.Ticket{Fingerprint: fp, Kind: "failure", Act: act, N: n, At: at}
		change(&e)
		return e
	}
	pending := func(e *run.Ticket) { e.Pending = true }
	keyed := func(e *run.Ticket) { e.Key, e.Content, e.Change = "AC-1", "c", "x" }
	s := run.NewState()
	for i, step := range []struct {
		entry run.Ticket
		holds func(*run.TicketState) bool
	}{
		{act("create", 1, pending), func(st *run.TicketState) bool { return st.Pending != nil && st.Key == "" }},
		{act("create", 1, func(e *run.Ticket) { e.Err, e.Unknown = "reset", true }), func(st *run.TicketState) bool { return st.Pending != nil && st.Pending.At.Equal(at) }},
		{act("create", 2, pending), func(st *run.TicketState) bool { return st.Pending.N == 2 }},
		// What the first one says now is late, and settles nothing of the second.
		{act("create", 1, func(e *run.Ticket) { e.Err = "refused" }), func(st *run.TicketState) bool { return st.Pending != nil && st.Pending.N == 2 }},
		{act("create", 2, keyed), func(st *run.TicketState) bool {
			return st.Pending == nil && st.Key == "AC-1" && st.Open && st.Change == "x" && st.Body == "c"
		}},
		{act("comment", 3, pending), func(st *run.TicketState) bool { return st.Pending != nil }},
		{act("comment", 3, func(e *run.Ticket) { e.Err, e.Unknown = "timed out", true }), func(st *run.TicketState) bool {
			return st.Pending == nil && st.Err == "timed out" && st.Done["comment"] == 0
		}},
		{act("resolve", 4, keyed), func(st *run.TicketState) bool { return !st.Open && st.Resolved.Equal(at) && st.Err == "" }},
		{act("reopen", 5, keyed), func(st *run.TicketState) bool { return st.Open && st.Resolved.IsZero() && st.Change == "" }},
		{act("gone", 6, keyed), func(st *run.TicketState) bool { return st.Key == "" && !st.Open && st.Gone[0] == "AC-1" && st.N == 6 }},
	} {
		s.Tickets = append(s.Tickets, step.entry)
		// at moves on with each act: it must be that of this entry.
		at = step.entry.At
		if st := s.TicketStates()[0]; !step.holds(st) {
			t.Errorf("after act %d (%s): %+v", i, step.entry.Act, st)
		}
	}
}
