package run_test

import (
	"bytes"
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/auditcanary/auditcanary/shared/canary"
	"github.com/auditcanary/auditcanary/shared/run"
)

const pushedRun = "20261122-aaaaaa"

// TestOnlyWhatProvesACanaryCountsAsItArrives: file by file, in any order; what is late,
// changed or not there is left to those who look at everything.
func TestOnlyWhatProvesACanaryCountsAsItArrives(t *testing.T) {
	w := newWorld()
	s, v := key(t)
	r, err := process(t, w, newMemory(), s, v)
	if err != nil {
		t.Fatal(err)
	}
	if err := r.Inject(t.Context(), pushedRun); err != nil {
		t.Fatal(err)
	}
	var changed []canary.Sighting
	read := func(_ context.Context, names []string, ids map[string]bool) (run.Seen, error) {
		seen := run.Seen{Gets: len(names)}
		for _, si := range changed {
			if slices.Contains(names, si.At.Key) {
				seen.Sightings = append(seen.Sightings, si)
			}
		}
		return seen, nil
	}
	verdicts := func() (n int) {
		t.Helper()
		state, _, err := run.Fold(t.Context(), r.Log)
		if err != nil {
			t.Fatal(err)
		}
		for _, cs := range state.Canaries {
			if v, judged := cs.Verdict(); judged {
				n++
				if v.Checks[canary.Surfaced].Status != canary.Pass || v.Checks[canary.Timely].Status != canary.Pass || v.Open() {
					t.Errorf("%s: %+v", cs.Plan.Canary.ID, v.Checks)
				}
			}
		}
		return n
	}
	push := func(a *run.Arrivals, awaited, decided int, names ...string) {
		t.Helper()
		got, err := r.Arrived(t.Context(), a, names, read)
		if err != nil || got.Awaited != awaited || got.Decided != decided {
			t.Fatalf("%q: %+v, %v; want %d awaited, %d decided", names, got, err, awaited, decided)
		}
	}
	var names []string
	for _, si := range w.records {
		names = append(names, si.At.Key)
	}

	// Days after, and nothing there: nothing is missing by a file that does not hold it.
	w.now = w.now.Add(48 * time.Hour)
	push(&run.Arrivals{}, 2, 0, "a-file-of-others")
	// Late by what arrived; but it may have arrived before as well.
	changed = slices.Clone(w.records)
	for i := range changed {
		changed[i].Stored = changed[i].Stored.Add(2 * time.Hour)
	}
	push(&run.Arrivals{}, 2, 0, names...)
	// Somebody else's act under our request id.
	changed = slices.Clone(w.records)
	for i := range changed {
		changed[i].Event.Actor.UID = "arn:somebody"
	}
	push(&run.Arrivals{}, 2, 0, names...)
	// A record that only claims to be ours is for those who list.
	changed = slices.Clone(w.records)
	for i := range changed {
		changed[i].Event.API.RequestUID, changed[i].Event.Actor.Session.Name = "forged", canary.Marker+"-"+pushedRun+"-01"
	}
	push(&run.Arrivals{}, 2, 0, names...)
	if n := verdicts(); n != 0 {
		t.Fatalf("%d verdicts", n)
	}

	// In order and in files of their own: whoever stays remembers the first, whoever came
	// later does not.
	changed = w.records
	w.now = w.now.Add(-48 * time.Hour)
	warm := &run.Arrivals{}
	decided := 0
	for _, name := range names {
		got, err := r.Arrived(t.Context(), warm, []string{name}, read)
		if err != nil {
			t.Fatal(err)
		}
		decided += got.Decided
	}
	if n := verdicts(); n != 2 || decided != 2 {
		t.Errorf("%d verdicts, %d decided", n, decided)
	}
	// Whoever is told of files can say what came of it, as whoever lists can.
	if came, err := r.CameOf(t.Context(), warm, w.now); err != nil || came.Completed != 1 || came.Verdicts[canary.Pass] != 2 {
		t.Errorf("%+v, %v", came, err)
	}
	if came, err := r.CameOf(t.Context(), &run.Arrivals{}, w.now.Add(time.Second)); err != nil || came.Completed != 0 {
		t.Errorf("of a later call: %+v, %v", came, err)
	}
	// Nobody waits: nothing is read.
	if got, err := r.Arrived(t.Context(), &run.Arrivals{}, names, func(context.Context, []string, map[string]bool) (run.Seen, error) {
		return run.Seen{}, errors.New("nobody should read")
	}); err != nil || got.Awaited != 0 {
		t.Errorf("%+v, %v", got, err)
	}
}

// TestARunThatIsKnownToBeOverIsNotSpared, however young it is, and the ledger says why.
func TestARunThatIsKnownToBeOverIsNotSpared(t *testing.T) {
	s, v := key(t)
	var w *world
	var files *memory
	for at := 1; w == nil || len(w.things) == 0; at++ { // until it dies with something done
		w, files = newWorld(), newMemory()
		r, err := process(t, w, files, s, v)
		if err != nil {
			t.Fatal(err)
		}
		w.dieAt, w.after = w.effects+at, true
		if err := r.Inject(t.Context(), pushedRun); err == nil {
			t.Fatal("it never dies with something done")
		}
	}
	w.alive()
	r, err := process(t, w, files, s, v)
	if err != nil {
		t.Fatal(err)
	}
	look := func() *run.RunState {
		t.Helper()
		state, _, err := run.Fold(t.Context(), r.Log)
		if err != nil {
			t.Fatal(err)
		}
		return state.Run(pushedRun)
	}
	if _, err := r.Sweep(t.Context(), time.Hour); err != nil || look().Injected || len(w.things) == 0 {
		t.Errorf("a young run was swept: %v, injected %v, left %v", err, look().Injected, w.things)
	}
	if _, err := r.Sweep(t.Context(), time.Hour, run.Over{Run: pushedRun, Why: "the function ended: Lambda.Unknown"}); err != nil || !look().Injected || len(w.things) != 0 {
		t.Errorf("%v, injected %v, left %v", err, look().Injected, w.things)
	}
	found := false
	cp, err := r.Log.Checkpoint(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for leaf, err := range r.Log.Entries(t.Context(), 0, cp.Size) {
		if err != nil {
			t.Fatal(err)
		}
		found = found || bytes.Contains(leaf.Data, []byte(`"why":"the function ended: Lambda.Unknown"`))
	}
	if !found {
		t.Error("the ledger does not say why")
	}
}
