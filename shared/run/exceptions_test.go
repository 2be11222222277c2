package run_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/auditcanary/auditcanary/shared/canary"
	"github.com/auditcanary/auditcanary/shared/exception"
	"github.com/auditcanary/auditcanary/shared/run"
)

// accepts is a register in use that accepts that records of test/one are lost, without
// the history saying where.
func accepts(change ...func(*exception.Register)) func() (exception.Register, error) {
	r := exception.Register{Source: "exceptions.yaml", SHA256: strings.Repeat("a", 64), MaxDays: 180, ControlsVersion: "2026-11-26.1", By: "somebody", Exceptions: []exception.Exception{{
		ID: "EX-1", Scope: exception.Scope{Scenario: "test/one", Target: "1/r", Check: canary.Surfaced}, Problem: exception.Problem{Details: []string{"no record of test:MakeC"}},
		Control: exception.Control{ID: "x:1/1", Version: "2026-11-26.1"}, Risk: exception.Risk{Requester: "A", Approver: "B", Statement: "known"},
		Opened: "2026-11-20", Expires: "2026-12-31", Owner: "Owner",
	}}}
	for _, c := range change {
		c(&r)
	}
	return func() (exception.Register, error) { return r, nil }
}

func entries(t *testing.T, r *run.Run) int64 {
	t.Helper()
	state, _, err := run.Fold(t.Context(), r.Log)
	if err != nil {
		t.Fatal(err)
	}
	return state.Size
}

func TestTheRegisterIsWrittenDownWhenItChanges(t *testing.T) {
	w := newWorld()
	s, v := key(t)
	r, err := process(t, w, newMemory(), s, v)
	if err != nil {
		t.Fatal(err)
	}
	note := func(what string, want int64) *run.State {
		t.Helper()
		before := entries(t, r)
		state, err := r.NoteRegister(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if got := entries(t, r) - before; got != want {
			t.Errorf("%s: %d entries, want %d", what, got, want)
		}
		return state
	}
	if state := note("none in use, none in the ledger", 0); state.Register != nil {
		t.Errorf("%+v", state.Register)
	}
	r.Register = accepts()
	note("the first", 1)
	note("the same", 0)
	r.Register = accepts(func(r *exception.Register) { r.By = "somebody else" })
	note("the same, by somebody else", 0)
	r.Register = accepts(func(r *exception.Register) { r.MaxDays = 90 })
	if state := note("another maximum", 1); state.Register.MaxDays != 90 {
		t.Errorf("%+v", state.Register)
	}
	// One that is too large for an entry is written in parts, and read as one.
	r.Register = accepts(func(r *exception.Register) {
		for i := range 300 {
			e := r.Exceptions[0]
			e.ID, e.Risk.Statement = fmt.Sprint("EX-", i+2), strings.Repeat("x", 1000)
			r.Exceptions = append(r.Exceptions, e)
		}
	})
	if state := note("a large one", 8); len(state.Register.Exceptions) != 301 {
		t.Errorf("%d exceptions came back", len(state.Register.Exceptions))
	}
	note("the same large one", 0)
	// Without a register in use, that of the ledger holds no more.
	r.Register = nil
	if state := note("none in use any more", 1); len(state.Register.Exceptions) != 0 {
		t.Errorf("%+v", state.Register)
	}
	note("still none", 0)
	r.Register = accepts(func(r *exception.Register) { r.Exceptions[0].Risk.Statement = strings.Repeat("x", 70_000) })
	if _, err := r.NoteRegister(t.Context()); err == nil || !strings.Contains(err.Error(), "exception EX-1 takes") {
		t.Errorf("what fits into no entry: %v", err)
	}
}

func TestNothingIsDoneUnderARegisterThatCannotBeRead(t *testing.T) {
	w := newWorld()
	s, v := key(t)
	r, err := process(t, w, newMemory(), s, v)
	if err != nil {
		t.Fatal(err)
	}
	broken := errors.New("exceptions.yaml:3: unknown key")
	r.Register = func() (exception.Register, error) { return exception.Register{}, broken }
	if err := r.Inject(t.Context(), "20261122-aaaaaa"); !errors.Is(err, broken) || len(w.done) != 0 || entries(t, r) != 0 {
		t.Errorf("%v, done %v, %d entries", err, w.done, entries(t, r))
	}
	// What is left behind is undone all the same.
	if _, err := r.Sweep(t.Context(), 0); err != nil {
		t.Error(err)
	}
}

func TestAnExceptedFailureIsNoFailureAndNoProof(t *testing.T) {
	w := newWorld()
	s, v := key(t)
	r, err := process(t, w, newMemory(), s, v)
	if err != nil {
		t.Fatal(err)
	}
	r.Store = hidden{w, map[string]bool{"test:MakeC": true}}
	r.Register = accepts()
	if err := r.Inject(t.Context(), "20261122-aaaaaa"); err != nil {
		t.Fatal(err)
	}
	w.mu.Lock()
	w.now = w.now.Add(2 * time.Hour)
	w.mu.Unlock()
	if err := r.Confirm(t.Context(), run.ConfirmOptions{}); err != nil {
		t.Fatal(err)
	}
	sum := summary(t, r, "")
	if sum.Tally.Proven != 1 || sum.Tally.Excepted != 1 || sum.Tally.Failed != 0 || sum.Tally.ExceptedUntil != "2026-12-31" || sum.ExitCode() != 0 {
		t.Fatalf("exit %d, %+v", sum.ExitCode(), sum.Tally)
	}
	state, cp, err := run.Fold(t.Context(), r.Log)
	if err != nil {
		t.Fatal(err)
	}
	for _, cs := range state.Canaries {
		if last, ok := cs.Verdict(); !ok || last.Overall() == canary.Excepted {
			t.Errorf("the verdict in the ledger is %s", last.Overall())
		}
	}
	// After its last day the failure counts again, without anybody judging anew.
	later := time.Date(2027, 1, 1, 0, 0, 0, 0, time.UTC)
	if sum := run.Summarise(state, cp, "", r.SLO, later); sum.Tally.Failed != 1 || sum.Tally.Excepted != 0 || sum.ExitCode() != 1 {
		t.Errorf("expired: exit %d, %+v", sum.ExitCode(), sum.Tally)
	}
	// Before the register was written down it was nobody's.
	if sum := run.Summarise(state, cp, "", r.SLO, w.now.Add(-3*time.Hour)); sum.Tally.Failed != 1 || sum.ExitCode() != 1 {
		t.Errorf("before: exit %d, %+v", sum.ExitCode(), sum.Tally)
	}
	// Nor does a run in which nothing is proven come out well.
	if code := (run.Tally{Canaries: 2, Excepted: 2}).ExitCode(); code != 2 {
		t.Errorf("everything excepted: exit code %d, want 2", code)
	}
}

// TestAnExceptionIsNotBackdated: its author says when it was opened, and the ledger since
// when it is known. What was planned before that day was nobody's to accept.
func TestAnExceptionIsNotBackdated(t *testing.T) {
	w := newWorld()
	s, v := key(t)
	r, err := process(t, w, newMemory(), s, v)
	if err != nil {
		t.Fatal(err)
	}
	r.Store = hidden{w, map[string]bool{"test:MakeC": true}}
	pass := func(d time.Duration) {
		w.mu.Lock()
		w.now = w.now.Add(d)
		w.mu.Unlock()
	}
	excepted := func(runID string) int {
		t.Helper()
		if err := r.Confirm(t.Context(), run.ConfirmOptions{}); err != nil {
			t.Fatal(err)
		}
		sum := summary(t, r, runID)
		if sum.Tally.Excepted+sum.Tally.Failed != 1 {
			t.Fatalf("%s: %+v", runID, sum.Tally)
		}
		return sum.Tally.Excepted
	}
	inject := func(runID string) {
		t.Helper()
		if err := r.Inject(t.Context(), runID); err != nil {
			t.Fatal(err)
		}
		pass(2 * time.Hour)
	}
	inject("20261122-aaaaaa")
	excepted("20261122-aaaaaa")
	pass(48 * time.Hour)
	r.Register = accepts() // it says that it was opened on the 20th
	if excepted("20261122-aaaaaa") != 0 {
		t.Error("what failed two days before anybody heard of the exception is excepted")
	}
	inject("20261124-bbbbbb")
	if excepted("20261124-bbbbbb") != 1 {
		t.Error("what came after it is not excepted")
	}
	// Once known, it stays so; another contact does not make it another exception, but
	// another problem does, and another end.
	pass(48 * time.Hour)
	for _, tc := range []struct {
		name   string
		change func(*exception.Register)
		want   int
	}{
		{"another contact", func(r *exception.Register) { r.Exceptions[0].Contact = "x@example.com" }, 1},
		{"another problem", func(r *exception.Register) { r.Exceptions[0].Problem.Details = []string{"record of test:MakeC"} }, 0},
		{"another end", func(r *exception.Register) { r.Exceptions[0].Expires = "2027-01-31" }, 0},
		{"none", func(r *exception.Register) { r.Exceptions = nil }, 0},
		{"the first once more", func(*exception.Register) {}, 1},
	} {
		r.Register = accepts(tc.change)
		if got := excepted("20261124-bbbbbb"); got != tc.want {
			t.Errorf("%s: %d excepted, want %d", tc.name, got, tc.want)
		}
	}
}
