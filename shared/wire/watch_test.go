package wire

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"log/slog"
	"testing"
	"time"

	"golang.org/x/mod/sumdb/note"

	"github.com/auditcanary/auditcanary/shared/canary"
	"github.com/auditcanary/auditcanary/shared/ledger"
	"github.com/auditcanary/auditcanary/shared/run"
	"github.com/auditcanary/auditcanary/shared/vitals"
)

// TestWhatACallDecidedIsToldWhateverBecomesOfIt: a call that judges the last canary of a run
// and then fails is the only one that can say so.
func TestWhatACallDecidedIsToldWhateverBecomesOfIt(t *testing.T) {
	began := time.Date(2026, 11, 26, 8, 0, 0, 0, time.UTC)
	skey, vkey, err := note.GenerateKey(rand.Reader, "example.com/watched")
	if err != nil {
		t.Fatal(err)
	}
	signer, _ := note.NewSigner(skey)
	verifier, _ := note.NewVerifier(vkey)
	dir, err := ledger.NewDir(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	log, err := ledger.Open(t.Context(), dir, "example.com/watched", signer, verifier)
	if err != nil {
		t.Fatal(err)
	}
	r := &run.Run{Log: log, Clock: func() time.Time { return began.Add(time.Minute) }}
	append := func(at time.Time, e run.Entry) {
		t.Helper()
		e.V, e.At, e.Run = 1, at, "r"
		leaf, err := json.Marshal(e)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := log.Append(t.Context(), leaf); err != nil {
			t.Fatal(err)
		}
	}
	append(began.Add(-time.Hour), run.Entry{Type: "begun", Begun: &run.Begun{Canaries: 1}})
	append(began.Add(-time.Hour), run.Entry{Type: "planned", Canary: "r-01", Planned: &run.Plan{Canary: canary.Canary{ID: "r-01", Run: "r"}}})
	append(began.Add(-time.Hour), run.Entry{Type: "injected", Injected: &run.Injected{}})

	verdict := canary.Verdict{Canary: "r-01", Checks: map[canary.Check]canary.Answer{}}
	for _, check := range canary.Checks() {
		verdict.Checks[check] = canary.Answer{Status: canary.Pass}
	}
	call := vitals.NewCall(began, slog.New(slog.DiscardHandler))
	ctx, cancel := context.WithCancel(call.With(t.Context()))
	err = func() error { // as confirm does: judge, then fail
		defer tellAnyway(ctx, r)
		append(began.Add(time.Second), run.Entry{Type: "verdict", Canary: "r-01", Verdict: &verdict})
		cancel() // it is out of time, too
		return errors.New("seal: AccessDenied")
	}()
	if err == nil {
		t.Fatal("no error")
	}
	if n := call.Numbers(); len(n[vitals.RunsCompleted]) != 1 || n[vitals.RunsCompleted][0] != 1 || len(n[vitals.CanariesProven]) != 1 || n[vitals.CanariesProven][0] != 1 {
		t.Errorf("told %v", n)
	}
	// Told once: an answer that was given has told already.
	tellAnyway(ctx, r)
	if n := call.Numbers(); n[vitals.RunsCompleted][0] != 1 {
		t.Errorf("told twice: %v", n)
	}
}

// TestCountsOfSeveralLedgersAddUp, as those of a batch of files may be.
func TestCountsOfSeveralLedgersAddUp(t *testing.T) {
	call := vitals.NewCall(time.Now(), slog.New(slog.DiscardHandler))
	one := run.Progressed{Completed: 1, Verdicts: map[canary.Status]int{canary.Pass: 2}, Latencies: []float64{3}}
	tellProgress(call, one, one)
	if n := call.Numbers(); n[vitals.RunsCompleted][0] != 2 || n[vitals.CanariesProven][0] != 4 || len(n[vitals.SurfacedLatency]) != 2 {
		t.Errorf("%v", n)
	}
}
