package run_test

import (
	"context"
	"encoding/json"
	"testing"

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
	l := &run.Listed{Target: state.Canaries[0].Plan.Canary.Target}
	for _, cs := range state.Canaries {
		l.Left = append(l.Left, run.Leftover{Kind: "thing", ID: "left", Run: cs.Run.ID, Canary: cs.Plan.Canary.ID})
	}
	leaf, err := json.Marshal(run.Entry{V: 1, Type: "listed", Run: state.Runs[0].ID, At: r.Clock(), Listed: l})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := r.Log.Append(t.Context(), leaf); err != nil {
		t.Fatal(err)
	}
}
