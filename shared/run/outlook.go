package run

import (
	"slices"
	"strings"
	"time"

	"github.com/auditcanary/auditcanary/shared/canary"
)

// Outlook says what is still awaited of a run, and when looking again is worth it.
type Outlook struct {
	// Begun: the ledger knows the run. Injected: nobody will begin any more of it.
	Begun, Injected bool
	// Awaited counts canaries of which a record, an alert or a digest may yet come.
	Awaited int
	// Wait until the next look, if anything is awaited.
	Wait time.Duration
	// GiveUp: all that was awaited had its time. What comes later is found by whoever
	// looks for what is open of all runs.
	GiveUp bool
}

// Settled reports whether nothing is awaited of a run that was begun.
func (o Outlook) Settled() bool { return o.Begun && o.Injected && o.Awaited == 0 }

const (
	// together is how far apart deadlines may lie that one look serves.
	together = 2 * time.Minute
	// again is after what time to look again where something is overdue by our clock:
	// the store's own decides, or a look failed.
	again = 10 * time.Minute
	// grace is how long after the last deadline looking again is worth it.
	grace = 30 * time.Minute
)

// Outlook works out, without asking anybody, when what is awaited of a run will have
// come or be overdue. Looking before that costs, and hardly ever decides more.
func (r *Run) Outlook(s *State, runID string, now time.Time) Outlook {
	rs := s.Run(runID)
	if rs == nil {
		return Outlook{GiveUp: true}
	}
	out := Outlook{Begun: true, Injected: rs.Injected, Awaited: len(rs.Canaries)}
	if !rs.Injected {
		// Somebody may be doing it; at the end of the lease he counts as died.
		out.Wait = max(rs.At.Add(lease).Sub(now), 0)
		return out
	}
	alerts := r.alertsDue(s, runID)
	var due []time.Time
	out.Awaited = 0
	for _, cs := range rs.Canaries {
		mine := append(r.awaits(cs, now), alerts[cs.Plan.Canary.ID]...)
		if len(mine) > 0 {
			out.Awaited++
		}
		due = append(due, mine...)
	}
	if len(due) == 0 {
		return out
	}
	slices.SortFunc(due, time.Time.Compare)
	i := slices.IndexFunc(due, now.Before)
	if i < 0 {
		out.GiveUp = now.Sub(due[len(due)-1]) >= grace
		out.Wait = again
		return out
	}
	next := due[i]
	for _, t := range due[i:] {
		if t.Sub(due[i]) <= together {
			next = t
		}
	}
	out.Wait = next.Sub(now)
	return out
}

// actedAt is when the last call of a canary was over.
func actedAt(cs *CanaryState) time.Time {
	acted := cs.At
	for _, rec := range cs.Evidence.Receipts {
		if rec.Ended.After(acted) {
			acted = rec.Ended
		}
	}
	return acted
}

// upAt is when, by our own clock, the last record of a canary had its time.
func (r *Run) upAt(cs *CanaryState) time.Time {
	return actedAt(cs).Add(r.SLO.Late + r.SLO.Clock)
}

// awaits are the times at which something more will be known of a canary's records and
// of how they are kept; none: nothing is awaited.
func (r *Run) awaits(cs *CanaryState, now time.Time) []time.Time {
	acted, up := actedAt(cs), r.upAt(cs)
	v, judged := cs.Verdict()
	if !judged || v.Open() {
		return []time.Time{acted.Add(r.SLO.Pass + r.SLO.Clock), up}
	}
	if v.Checks[canary.Surfaced].Status == canary.Inconclusive && now.Before(up.Add(grace)) {
		return []time.Time{up} // nobody could look; what can be seen again decides
	}
	if len(v.Records) == 0 || canary.Settled(v, cs.Evidence) {
		return nil
	}
	var due []time.Time
	for _, rec := range v.Records {
		stored := cs.storedAt(rec.At)
		if stored.IsZero() {
			stored = acted
		}
		due = append(due, stored.Add(r.Keeping.Digested+r.SLO.Clock))
	}
	return due
}

// alertsDue are, by canary of a run, the times at which alerts that may yet ring are missing.
func (r *Run) alertsDue(s *State, runID string) map[string][]time.Time {
	out := map[string][]time.Time{}
	for _, c := range r.claims(s) {
		if c.cs.Run.ID != runID {
			continue
		}
		for _, p := range c.unsettled() {
			if p.alert != nil {
				id := c.cs.Plan.Canary.ID
				out[id] = append(out[id], p.Calls[0].At.Add(p.alert.Late+r.SLO.Clock))
			}
		}
	}
	return out
}

// Planned counts the canaries of a new run, without planning them.
func (r *Run) Planned() int {
	n := 0
	for _, s := range r.Scenarios {
		provider, _, _ := strings.Cut(s.ID, "/")
		n += len(r.targetsOf(s, provider))
	}
	return n
}
