package run

import (
	"time"

	"github.com/auditcanary/auditcanary/shared/canary"
)

// Progressed is how far the ledger came in a time, and how it stands at its end: for
// whoever watches the program rather than the cloud.
type Progressed struct {
	// Completed are the runs that nobody abandoned and of which the last canary was
	// decided in that time; LastRun is when the newest of all such runs began.
	Completed int
	LastRun   time.Time
	// Verdicts that were given in that time, by canary: of each the last.
	Verdicts map[canary.Status]int
	// Latencies in seconds of the records first seen in that time.
	Latencies []float64
	// Forged are the records found in that time that imitate a canary.
	Forged int
	// Waiting are without a verdict, Unsealed in no digest yet; Skew is by how much the
	// provider's clock lay outside the time of our calls at most. All of canaries planned
	// in the last three days.
	Waiting, Unsealed int
	Skew              time.Duration
}

// recent is how far back what is still awaited is looked for: no digest is expected after it.
const recent = 72 * time.Hour

// Since is what came of the runs from a time until now.
func (s *State) Since(from, now time.Time) Progressed {
	p := Progressed{Verdicts: map[canary.Status]int{}}
	register := s.RegisterAt(now)
	for _, rs := range s.Runs {
		for _, at := range rs.FoundForged {
			if !at.Before(from) {
				p.Forged++
			}
		}
		completed := rs.Ended
		for _, cs := range rs.Canaries {
			v, judged := cs.Verdict()
			if judged && cs.Given[0].After(completed) {
				completed = cs.Given[0]
			}
			if judged && !cs.Given[len(cs.Given)-1].Before(from) {
				p.Verdicts[register.Overlay(cs.Plan.Canary, cs.At, v, now).Overall()]++
				if seconds, first := cs.surfacedSince(from); first {
					p.Latencies = append(p.Latencies, seconds)
				}
			}
			if now.Sub(cs.At) > recent {
				continue
			}
			if !judged {
				p.Waiting++
			} else if v.Checks[canary.Surfaced].Status == canary.Pass && v.Checks[canary.Sealed].Status == canary.NotRun {
				p.Unsealed++
			}
			for _, rec := range cs.Evidence.Receipts {
				p.Skew = max(p.Skew, skew(rec))
			}
		}
		if rs.whole() {
			if !completed.Before(from) {
				p.Completed++
			}
			if rs.At.After(p.LastRun) && !s.askedFor(rs.ID) { // those are no sign that the schedule lives
				p.LastRun = rs.At
			}
		}
	}
	return p
}

// whole reports whether a run came to its end with every canary decided. One of no
// canaries has shown nothing.
func (rs *RunState) whole() bool {
	if !rs.Injected || rs.Abandoned || len(rs.Canaries) == 0 {
		return false
	}
	for _, cs := range rs.Canaries {
		if len(cs.Verdicts) == 0 {
			return false
		}
	}
	return true
}

// surfacedSince is how long the record took, in seconds, if no verdict before that time
// knew it.
func (c *CanaryState) surfacedSince(from time.Time) (seconds float64, first bool) {
	for i, v := range c.Verdicts {
		if at := v.Checks[canary.Surfaced].LatencySeconds; at != nil {
			return *at, !c.Given[i].Before(from)
		}
		if at := v.Checks[canary.Timely].LatencySeconds; at != nil {
			return *at, !c.Given[i].Before(from)
		}
	}
	return 0, false
}

// skew is by how much the time that a service gave lies outside the call, to the second:
// services give no more.
func skew(rec canary.Receipt) time.Duration {
	at := rec.Want.Time
	if at.IsZero() || rec.Started.IsZero() || rec.Ended.IsZero() {
		return 0
	}
	return max(0, rec.Started.Truncate(time.Second).Sub(at), at.Sub(rec.Ended))
}
