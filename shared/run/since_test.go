package run

import (
	"encoding/json"
	"slices"
	"testing"
	"time"

	"github.com/auditcanary/auditcanary/shared/canary"
	"github.com/auditcanary/auditcanary/shared/event"
)

func TestSinceTellsWhatCameInATime(t *testing.T) {
	begin := time.Date(2026, 11, 26, 10, 0, 0, 0, time.UTC)
	s := NewState()
	minute := 0
	apply := func(entries ...Entry) {
		t.Helper()
		for _, e := range entries {
			e.V, e.At = 1, begin.Add(time.Duration(minute)*time.Minute)
			leaf, err := json.Marshal(e)
			if err != nil {
				t.Fatal(err)
			}
			if err := s.Apply(leaf); err != nil {
				t.Fatal(err)
			}
		}
		minute++
	}
	since := func(from, now int) Progressed {
		return s.Since(begin.Add(time.Duration(from)*time.Minute), begin.Add(time.Duration(now)*time.Minute))
	}
	plan := func(run, id string) Entry {
		return Entry{Type: "planned", Run: run, Canary: id, Planned: &Plan{Canary: canary.Canary{ID: id, Run: run}}}
	}
	verdict := func(run, id string, status canary.Status, latency float64) Entry {
		v := canary.Verdict{Checks: map[canary.Check]canary.Answer{canary.Sealed: {Status: canary.NotRun}, canary.Immutable: {Status: canary.NotRun}}}
		for _, c := range canary.Required() {
			v.Checks[c] = canary.Answer{Status: canary.Pass}
		}
		surfaced := canary.Answer{Status: status}
		if latency > 0 {
			surfaced.LatencySeconds = &latency
		}
		v.Checks[canary.Surfaced] = surfaced
		return Entry{Type: "verdict", Run: run, Canary: id, Verdict: &v}
	}
	service := begin.Add(90 * time.Second) // the provider's clock: half a minute after the call ended
	receipt := &canary.Receipt{Canary: "a-1", Step: "s", Phase: canary.PhaseDo, Started: begin.Add(55 * time.Second), Ended: begin.Add(60 * time.Second), Want: event.Event{Time: service}}

	if p := since(0, 0); p.Completed != 0 || !p.LastRun.IsZero() || len(p.Verdicts) != 0 {
		t.Errorf("an empty ledger: %+v", p)
	}
	apply(Entry{Type: "begun", Run: "a", Begun: &Begun{}}, plan("a", "a-1"), plan("a", "a-2")) // minute 0
	apply(Entry{Type: "receipt", Run: "a", Canary: "a-1", Receipt: receipt})                   // 1
	apply(Entry{Type: "injected", Run: "a", Injected: &Injected{}})                            // 2
	apply(verdict("a", "a-1", canary.Pass, 42))                                                // 3
	if p := since(0, 3); p.Completed != 0 || !p.LastRun.IsZero() || p.Waiting != 1 || p.Unsealed != 1 || p.Verdicts[canary.Pass] != 1 || !slices.Equal(p.Latencies, []float64{42}) || p.Skew != 30*time.Second {
		t.Errorf("one is awaited: %+v", p)
	}
	apply(verdict("a", "a-2", canary.Fail, 0), Entry{Type: "forged", Run: "a", Forged: &Sighted{}}) // 4
	p := since(4, 4)
	if p.Completed != 1 || !p.LastRun.Equal(begin) || p.Waiting != 0 || p.Verdicts[canary.Fail] != 1 || p.Verdicts[canary.Pass] != 0 || len(p.Latencies) != 0 || p.Forged != 1 {
		t.Errorf("all are decided: %+v", p)
	}
	// The same run is not completed twice, whatever amends its verdicts.
	apply(verdict("a", "a-2", canary.Late, 3000)) // 5
	p = since(5, 5)
	if p.Completed != 0 || !p.LastRun.Equal(begin) || p.Verdicts[canary.Late] != 1 || !slices.Equal(p.Latencies, []float64{3000}) || p.Forged != 0 {
		t.Errorf("amended: %+v", p)
	}
	apply(verdict("a", "a-2", canary.Late, 3000)) // 6: sealed, say
	if p := since(6, 6); len(p.Latencies) != 0 {
		t.Errorf("amended once more: %+v", p)
	}
	// What was abandoned, or tests nothing, is no run that happened.
	apply(Entry{Type: "begun", Run: "b", Begun: &Begun{}}, plan("b", "b-1"))                                              // 7
	apply(Entry{Type: "injected", Run: "b", Injected: &Injected{Abandoned: true}}, verdict("b", "b-1", canary.NotRun, 0)) // 8
	apply(Entry{Type: "begun", Run: "c", Begun: &Begun{}}, Entry{Type: "injected", Run: "c", Injected: &Injected{}})      // 9
	if p := since(7, 9); p.Completed != 0 || !p.LastRun.Equal(begin) {
		t.Errorf("abandoned, empty: %+v", p)
	}
	// What somebody asked for was completed, and is no sign that the schedule lives.
	apply(Entry{Type: "begun", Run: "d", Begun: &Begun{}}, plan("d", "d-1"), Entry{Type: "asked", Run: "d", Asked: &Asked{ID: "slack:1", Command: "run", Run: "d"}}) // 10
	apply(Entry{Type: "injected", Run: "d", Injected: &Injected{}}, verdict("d", "d-1", canary.Pass, 1))                                                             // 11
	if p := since(10, 11); p.Completed != 1 || !p.LastRun.Equal(begin) {
		t.Errorf("asked for: %+v", p)
	}
	if !s.Newest.Equal(begin.Add(11 * time.Minute)) {
		t.Errorf("the newest entry is of %s", s.Newest)
	}
	// After three days nothing of it is awaited any more.
	if p := since(0, 73*60); p.Unsealed != 0 || p.Waiting != 0 || p.Skew != 0 {
		t.Errorf("long ago: %+v", p)
	}
}
