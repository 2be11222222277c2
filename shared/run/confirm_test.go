package run_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/auditcanary/auditcanary/shared/canary"
	"github.com/auditcanary/auditcanary/shared/event"
	"github.com/auditcanary/auditcanary/shared/run"
)

// While one process looks, or asks the history, another lists the account and finds
// something left: the verdict knows of it.
func TestAVerdictKnowsWhatWasFoundOutMeanwhile(t *testing.T) {
	for _, when := range []string{"during the look", "after it, while the history is asked"} {
		t.Run(when, func(t *testing.T) {
			w := newWorld()
			s, v := key(t)
			r, err := process(t, w, newMemory(), s, v)
			if err != nil {
				t.Fatal(err)
			}
			if err := r.Inject(t.Context(), "20261122-aaaaaa"); err != nil {
				t.Fatal(err)
			}
			other := func() { leave(t, r) }
			if when == "during the look" {
				r.Store = meanwhile{w, &other}
			} else {
				r.Store = hidden{w, map[string]bool{"test:MakeA": true, "test:MakeC": true}}
				r.Histories = map[string]run.History{"test": meanwhile{w, &other}}
			}
			if err := r.Confirm(t.Context(), run.ConfirmOptions{Wait: true}); err != nil {
				t.Fatal(err)
			}
			if got := checks(t, r, canary.Cleaned); got[canary.Fail] != 2 {
				t.Errorf("cleaned %v: want that something is left of both", got)
			}
			for _, cs := range summary(t, r, "").Canaries {
				if cs.Checks[canary.Injected].Status != canary.Pass {
					t.Errorf("injected %+v", cs.Checks[canary.Injected])
				}
			}
		})
	}
}

// meanwhile lets another process act once.
type meanwhile struct {
	run.LogStore
	other *func()
}

func (m meanwhile) act() {
	if *m.other != nil {
		(*m.other)()
		*m.other = nil
	}
}

func (m meanwhile) Poll(ctx context.Context, w *run.Watch) (run.Seen, error) {
	seen, err := m.LogStore.Poll(ctx, w)
	m.act()
	return seen, err
}

func (m meanwhile) Recorded(context.Context, canary.Receipt) (*event.Event, error) {
	m.act()
	return nil, nil
}

// leave writes down that something of every canary is left at its place.
func leave(t *testing.T, r *run.Run) {
	t.Helper()
	state, _, err := run.Fold(t.Context(), r.Log)
	if err != nil {
		t.Fatal(err)
	}
	l := &run.Listed{}
	for _, cs := range state.Canaries {
		l.Left = append(l.Left, run.Leftover{Kind: "thing", ID: "left", Run: cs.Run.ID, Canary: cs.Plan.Canary.ID})
	}
	list(t, r, l)
}

// list writes down what the canaries' place showed.
func list(t *testing.T, r *run.Run, l *run.Listed) {
	t.Helper()
	cs := canaries(t, r)[0]
	l.Target = cs.Plan.Canary.Target
	leaf, err := json.Marshal(run.Entry{V: 1, Type: "listed", Run: cs.Run.ID, At: r.Clock(), Listed: l})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := r.Log.Append(t.Context(), leaf); err != nil {
		t.Fatal(err)
	}
}

// Whatever goes wrong with a later look, what was found stays found: it changes only
// what it has come to know.
func TestALookThatFailsErasesNothing(t *testing.T) {
	for _, tc := range []struct {
		claim string
		store func(*world) run.LogStore
		wait  bool
	}{
		{"the store cannot be asked", func(w *world) run.LogStore { return failing{w, errors.New("AccessDenied")} }, false},
		{"the store cannot be asked, however often", func(w *world) run.LogStore { return failing{w, errors.New("AccessDenied")} }, true},
		{"an object cannot be read", func(w *world) run.LogStore { return holed{w} }, true},
		{"the store's clock stands", func(w *world) run.LogStore { w.stopped = w.now.Add(-time.Hour); return w }, true},
	} {
		for _, hides := range []map[string]bool{nil, {"test:MakeB": true}, {"test:MakeA": true, "test:MakeB": true}} {
			w, r := injected(t)
			leave(t, r)
			r.Store = hidden{w, hides}
			confirm(t, r, true)
			surfaced, records := checks(t, r, canary.Surfaced), recordsOf(t, r)
			list(t, r, &run.Listed{Err: "AccessDenied"})
			r.Store = tc.store(w)
			confirm(t, r, tc.wait)
			if got := checks(t, r, canary.Cleaned); got[canary.Inconclusive] != 2 {
				t.Errorf("%s: cleaned %v: what was found out meanwhile is not in it", tc.claim, got)
			}
			if got := checks(t, r, canary.Surfaced); len(records) == 0 || !maps.Equal(got, surfaced) || !slices.Equal(recordsOf(t, r), records) {
				t.Errorf("%s: surfaced %v by %q, before it was %v by %q", tc.claim, got, recordsOf(t, r), surfaced, records)
			}
			r.Store = w
			w.stopped = time.Time{}
			confirm(t, r, true)
			if got := checks(t, r, canary.Surfaced); got[canary.Pass] != 2 {
				t.Errorf("%s: when all can be seen again, surfaced %v", tc.claim, got)
			}
		}
	}
}

// A record that was there, and that a complete look does not find any more, is missing.
func TestARecordThatIsGoneIsMissing(t *testing.T) {
	w, r := injected(t)
	leave(t, r)
	confirm(t, r, true)
	r.Store = hidden{w, map[string]bool{"test:MakeB": true}}
	confirm(t, r, true)
	if got := checks(t, r, canary.Surfaced); got[canary.Fail] != 1 || got[canary.Pass] != 1 {
		t.Errorf("surfaced %v", got)
	}
}

// Whoever is stopped while he looks has found out nothing that decides.
func TestALookThatIsStoppedDecidesNothing(t *testing.T) {
	for _, wait := range []bool{false, true} {
		w, r := injected(t)
		ctx, cancel := context.WithCancel(t.Context())
		r.Store = stopping{w, cancel}
		if err := r.Confirm(ctx, run.ConfirmOptions{Wait: wait}); err != nil && !errors.Is(err, context.Canceled) {
			t.Fatal(err)
		}
		for _, cs := range canaries(t, r) {
			if v, judged := cs.Verdict(); judged {
				t.Errorf("wait %v: %+v", wait, v.Checks[canary.Surfaced])
			}
		}
	}
}

// A look that fails while records may still come decides nothing: it is made again, until
// the time is up by our own clock. What could not be looked at until then is inconclusive,
// and still looked for a while.
func TestALookThatFailsIsMadeAgain(t *testing.T) {
	outlook := func(r *run.Run) run.Outlook {
		state, _, err := run.Fold(t.Context(), r.Log)
		if err != nil {
			t.Fatal(err)
		}
		return r.Outlook(state, "20261122-aaaaaa", r.Clock())
	}
	w, r := injected(t)
	r.Store = failing{w, errors.New("SlowDown: please reduce your request rate")}
	confirm(t, r, false)
	for _, cs := range canaries(t, r) {
		if v, judged := cs.Verdict(); judged {
			t.Errorf("%s is closed by a look that met a throttle: %+v", cs.Plan.Canary.ID, v.Checks[canary.Surfaced])
		}
	}
	if o := outlook(r); o.Settled() || o.GiveUp || o.Awaited != 2 {
		t.Errorf("after one look that failed: %+v", o)
	}
	r.Store = w
	w.later(10 * time.Minute)
	confirm(t, r, false)
	if got := checks(t, r, canary.Surfaced); got[canary.Pass] != 2 {
		t.Errorf("when the store answers again, surfaced %v", got)
	}

	w, r = injected(t)
	r.Store = failing{w, errors.New("AccessDenied")}
	w.later(r.SLO.Late + r.SLO.Clock + time.Minute)
	confirm(t, r, false)
	if got := checks(t, r, canary.Surfaced); got[canary.Inconclusive] != 2 {
		t.Errorf("when its time is up, surfaced %v", got)
	}
	if o := outlook(r); o.Settled() || o.Awaited != 2 || o.Wait == 0 {
		t.Errorf("when its time has just been up: %+v", o)
	}
	r.Store = w
	confirm(t, r, false)
	if got := checks(t, r, canary.Surfaced); got[canary.Pass] != 2 {
		t.Errorf("seen in the end, surfaced %v", got)
	}
}

// injected is a run whose canaries are done, and that nobody has looked for.
func injected(t *testing.T) (*world, *run.Run) {
	t.Helper()
	w := newWorld()
	s, v := key(t)
	r, err := process(t, w, newMemory(), s, v)
	if err != nil {
		t.Fatal(err)
	}
	if err := r.Inject(t.Context(), "20261122-aaaaaa"); err != nil {
		t.Fatal(err)
	}
	return w, r
}

func confirm(t *testing.T, r *run.Run, wait bool) {
	t.Helper()
	if err := r.Confirm(t.Context(), run.ConfirmOptions{Wait: wait}); err != nil {
		t.Fatal(err)
	}
}

// recordsOf are the ids of the events that the verdicts rest on.
func recordsOf(t *testing.T, r *run.Run) (ids []string) {
	t.Helper()
	for _, cs := range canaries(t, r) {
		v, _ := cs.Verdict()
		for _, rec := range v.Records {
			ids = append(ids, rec.EventUID)
		}
	}
	return ids
}

// failing is a store that cannot be asked.
type failing struct {
	run.LogStore
	err error
}

func (f failing) Poll(context.Context, *run.Watch) (run.Seen, error) { return run.Seen{}, f.err }

// holed is a store of which one object cannot be read: that in which the records stand.
type holed struct{ w *world }

func (h holed) Poll(context.Context, *run.Watch) (run.Seen, error) {
	h.w.later(10 * time.Minute)
	return run.Seen{Problems: []canary.Problem{{Object: "s3://b/k", Hop: canary.Stored, Err: "NoSuchKey"}}, AsOf: h.w.now}, nil
}

// stopping is a store that is asked when somebody stops the process.
type stopping struct {
	run.LogStore
	stop context.CancelFunc
}

func (s stopping) Poll(ctx context.Context, _ *run.Watch) (run.Seen, error) {
	s.stop()
	return run.Seen{}, ctx.Err()
}

// large is a store whose records are as large as an entry takes.
type large struct{ run.LogStore }

func (l large) Poll(ctx context.Context, w *run.Watch) (run.Seen, error) {
	seen, err := l.LogStore.Poll(ctx, w)
	for i, si := range seen.Sightings {
		seen.Sightings[i].Raw = append(bytes.Repeat([]byte(" "), run.MaxRaw-len(si.Raw)), si.Raw...)
	}
	return seen, err
}

// More is decided at once than one append takes: all of it is written, and once.
func TestVerdictsOfManyGoIntoSeveralAppends(t *testing.T) {
	w := newWorld()
	s, v := key(t)
	r, err := process(t, w, newMemory(), s, v)
	if err != nil {
		t.Fatal(err)
	}
	r.Store, r.Targets = large{w}, nil
	for n := range 100 {
		r.Targets = append(r.Targets, canary.Target{Provider: "test", Account: fmt.Sprint(n), Region: "r"})
	}
	if err := r.Inject(t.Context(), "20261122-aaaaaa"); err != nil {
		t.Fatal(err)
	}
	if err := r.Confirm(t.Context(), run.ConfirmOptions{Wait: true}); err != nil {
		t.Fatal(err)
	}
	state, _, err := run.Fold(t.Context(), r.Log)
	if err != nil {
		t.Fatal(err)
	}
	bytes := 0
	for _, cs := range state.Canaries {
		if len(cs.Verdicts) != 1 || len(cs.Sighted) != len(cs.Plan.Steps) {
			t.Fatalf("%s: %d verdicts, %d records", cs.Plan.Canary.ID, len(cs.Verdicts), len(cs.Sighted))
		}
		for _, si := range cs.Sighted {
			bytes += len(si.Raw)
		}
	}
	if bytes < 8<<20 {
		t.Errorf("only %d bytes of records: that fits into one append", bytes)
	}
}

// flooded is a store full of imitations, more than it tells of.
type flooded struct{ run.LogStore }

func (f flooded) Poll(ctx context.Context, w *run.Watch) (run.Seen, error) {
	seen, err := f.LogStore.Poll(ctx, w)
	seen.Problems = append(seen.Problems, canary.Problem{Object: "loki://audit/", Err: "more than 1000 carry the marker", ClaimsOnly: true})
	return seen, err
}

// Who writes the marker without end keeps no record from being missed, and is told of.
func TestAFloodOfImitationsIsToldAndChangesNoAnswer(t *testing.T) {
	for _, tc := range []struct {
		hides map[string]bool
		want  canary.Status
	}{{nil, canary.Pass}, {map[string]bool{"test:MakeA": true, "test:MakeB": true}, canary.Fail}} {
		w, r := injected(t)
		r.Store = flooded{hidden{w, tc.hides}}
		last := ""
		r.Progress = func(p run.Progress) { last = p.Message }
		confirm(t, r, true)
		if got := checks(t, r, canary.Surfaced); got[tc.want] == 0 || got[canary.Inconclusive] > 0 {
			t.Errorf("hides %v: surfaced %v", tc.hides, got)
		}
		if !strings.Contains(last, "imitations of canaries may have been missed: loki://audit/: more than 1000") {
			t.Errorf("hides %v: told %q", tc.hides, last)
		}
	}
}
