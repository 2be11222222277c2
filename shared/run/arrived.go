package run

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/auditcanary/auditcanary/shared/canary"
)

// Arrivals is what somebody knows who is told of each file that arrives in the log store.
// The zero value knows nothing yet; kept from one Arrived to the next it follows the
// ledger, and remembers the records of canaries that are found file by file. What is
// forgotten is found again by Confirm. It is for one ledger, and one Arrived at a time.
type Arrivals struct {
	state *State
	seen  []canary.Sighting
}

// maxArrivals bounds the records that are remembered.
const maxArrivals = 10_000

// ReadFiles reads files of the log store, by their names, and returns the records of the
// request ids, and those that claim to be ours.
type ReadFiles func(ctx context.Context, names []string, requestIDs map[string]bool) (Seen, error)

// Heard is what Arrived made of files.
type Heard struct {
	// Awaited are canaries that were open before, Decided those of them that are not now.
	Awaited, Decided int
	// Gets, Records and Bytes are the counted cost of looking.
	Gets, Records int
	Bytes         int64
	// Problems are what could not be read: the next Confirm looks again.
	Problems []canary.Problem
}

// Arrived judges what is open by files that have just arrived. Only what proves a canary
// counts: by what is not in them nothing is missing, nor late, since nobody knows what
// else has arrived, or did before. Where nothing is open, nothing is read.
func (r *Run) Arrived(ctx context.Context, a *Arrivals, names []string, read ReadFiles) (Heard, error) {
	if a.state == nil {
		a.state = NewState()
	}
	if _, err := a.state.Follow(ctx, r.Log); err != nil {
		*a = Arrivals{} // half a fold is none
		return Heard{}, err
	}
	open := slices.DeleteFunc(r.unsettled(a.state, ""), func(cs *CanaryState) bool {
		v, judged := cs.Verdict()
		return judged && !v.Open() && !unfound(v)
	})
	c := &confirmation{r: r, state: a.state, open: open, watch: watchFor(open), history: map[string]canary.HistoryAnswer{}, positive: true}
	out := Heard{Awaited: len(open)}
	if len(c.watch.RequestIDs) == 0 {
		a.seen = nil
		return out, nil
	}
	found, err := read(ctx, names, c.watch.RequestIDs)
	if err != nil {
		return out, fmt.Errorf("read %d files that arrived: %w", len(names), err)
	}
	out.Gets, out.Records, out.Bytes, out.Problems = found.Gets, found.Records, found.Bytes, found.Problems
	a.seen = awaited(append(a.seen, found.Sightings...), c.watch.RequestIDs)
	c.seen.Sightings = a.seen
	if len(a.seen) == 0 {
		return out, nil // nothing of ours
	}
	if err := c.judge(ctx, false); err != nil {
		*a = Arrivals{}
		return out, err
	}
	out.Decided = out.Awaited - len(c.open)
	return out, r.noteOwn(ctx, c.anyRun())
}

// CameOf is what came of the ledger that a follows from a time until now.
func (r *Run) CameOf(ctx context.Context, a *Arrivals, from time.Time) (Progressed, error) {
	if a.state == nil {
		a.state = NewState()
	}
	if _, err := a.state.Follow(ctx, r.Log); err != nil {
		*a = Arrivals{}
		return Progressed{}, err
	}
	return a.state.Since(from, r.Clock()), nil
}

// awaited are the records of request ids that are waited for, each place once, the latest
// ones if they are too many. Records that only claim to be ours are for those who list.
func awaited(all []canary.Sighting, requestIDs map[string]bool) []canary.Sighting {
	var out []canary.Sighting
	at := map[canary.Location]bool{}
	for _, si := range all {
		id := si.Event.API.RequestUID
		if am := si.Event.Metadata.Amends; am != nil && am.OriginalRequestUID != "" {
			id = am.OriginalRequestUID
		}
		if requestIDs[id] && !at[si.At] {
			at[si.At] = true
			out = append(out, si)
		}
	}
	return out[max(0, len(out)-maxArrivals):]
}
