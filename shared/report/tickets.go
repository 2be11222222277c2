package report

import (
	"cmp"
	"time"

	"github.com/auditcanary/auditcanary/shared/run"
)

// tickets are those that were open in the period, a line for each check that one stands
// for, in the order in which they were begun.
func (b *builder) tickets() []Ticket {
	out := []Ticket{}
	for _, st := range b.in.State.TicketStates() {
		p := b.in.Period
		if !p.To.IsZero() && !st.Created.Before(p.To) || !p.From.IsZero() && !st.Resolved.IsZero() && st.Resolved.Before(p.From) {
			continue
		}
		about := st.Members
		if len(about) == 0 {
			about = []string{st.Fingerprint}
		}
		for _, fp := range about {
			t := Ticket{ID: st.Key, URL: st.URL, Scenario: fp, State: ticketState(st), Opened: utc(st.Created), Closed: utc(st.Resolved)}
			if f, ok := run.ParseFingerprint(fp); ok {
				t.Scenario, t.Target, t.Check = f.Scenario, f.Target.Account+"/"+f.Target.Region, f.Check
			}
			out = append(out, t)
		}
	}
	return out
}

func utc(t time.Time) time.Time {
	if t.IsZero() {
		return t
	}
	return t.UTC()
}

// ticketState says in words how a ticket is, as far as the ledger knows.
func ticketState(st *run.TicketState) string {
	switch {
	case st.Key == "" && st.Pending != nil:
		return "its creation was begun, and nobody knows yet what came of it"
	case st.Key == "" && len(st.Gone) > 0 && st.Err == "":
		return "deleted (" + st.Gone[len(st.Gone)-1] + ")"
	case st.Key == "":
		return "not made: " + cmp.Or(st.Err, "nothing was done")
	case st.Open:
		return "open"
	}
	return "resolved"
}
