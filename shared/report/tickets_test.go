package report

import (
	"slices"
	"testing"
	"time"

	"github.com/auditcanary/auditcanary/shared/run"
)

func TestTicketsAreAsTheLedgerHasThem(t *testing.T) {
	in := exampleInput(t)
	at := func(h int) time.Time { return day1.Add(time.Duration(h) * time.Hour) }
	fp := func(s string) string { return "surfaced of aws/" + s + " at aws/111122223333/us-east-1" }
	in.State.Tickets = []run.Ticket{
		{Fingerprint: fp("a"), Kind: "failure", Act: "create", N: 1, Pending: true, At: at(1)},
		{Fingerprint: fp("a"), Kind: "failure", Act: "create", N: 1, Key: "AC-1", URL: "https://desk.example/AC-1", At: at(2)},
		{Fingerprint: "group: surfaced, hop stored", Kind: "group", Act: "create", N: 1, Pending: true, Members: []string{fp("b"), fp("c")}, At: at(2)},
		{Fingerprint: "group: surfaced, hop stored", Kind: "group", Act: "create", N: 1, Key: "AC-2", At: at(3)},
		{Fingerprint: "exception EX-1: expired", Kind: "exception", Act: "create", N: 1, Pending: true, At: at(3)},
		{Fingerprint: "exception EX-1: expired", Kind: "exception", Act: "create", N: 1, Err: "refused: no such project", At: at(4)},
		{Fingerprint: fp("a"), Kind: "failure", Act: "resolve", N: 2, Pending: true, Key: "AC-1", At: at(5)},
		{Fingerprint: fp("a"), Kind: "failure", Act: "resolve", N: 2, Key: "AC-1", At: at(6)},
	}
	r := New(in)
	want := []Ticket{
		{ID: "AC-1", URL: "https://desk.example/AC-1", Scenario: "aws/a", Target: "111122223333/us-east-1", Check: "surfaced", State: "resolved", Opened: at(2), Closed: at(6)},
		{ID: "AC-2", Scenario: "aws/b", Target: "111122223333/us-east-1", Check: "surfaced", State: "open", Opened: at(3)},
		{ID: "AC-2", Scenario: "aws/c", Target: "111122223333/us-east-1", Check: "surfaced", State: "open", Opened: at(3)},
		{Scenario: "exception EX-1: expired", State: "not made: refused: no such project"},
	}
	if !slices.Equal(r.Tickets, want) {
		t.Errorf("%+v", r.Tickets)
	}
	if r.Absent["tickets"] != "" {
		t.Error("absent, although there are some")
	}
	in.Period = Period{From: at(7)}
	if r := New(in); len(r.Tickets) != 3 {
		t.Errorf("after it was resolved: %+v", r.Tickets)
	}
	in = exampleInput(t)
	in.Desk = true
	if r := New(in); len(r.Tickets) != 0 || r.Absent["tickets"] != "" {
		t.Error("a desk without tickets says that there are none")
	}
}
