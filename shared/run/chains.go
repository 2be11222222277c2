package run

import (
	"cmp"
	"maps"
	"slices"
	"time"

	"github.com/auditcanary/auditcanary/shared/trail"
)

// ChainState is what all validations of one chain say together. A validation goes
// on from the head of the one before it: that the last one found nothing says
// nothing of what an earlier one found.
type ChainState struct {
	Chain trail.Chain
	// Validated is when the last validation began, by our clock; Times, how many there were.
	Validated time.Time
	Times     int
	// First and Last: the time that they cover, the last one and those before it that
	// it went on from without a hole. Zero: no digest was valid.
	First, Last time.Time
	// Counts over that time; what is pending, as of the last one.
	Counts trail.Counts
	// Head that the next one goes on from, without its pending files; nil: none.
	Head *trail.Head
	// Findings of the last one, and of those before it what none went over again.
	Findings []ChainFinding
}

// ChainFinding is a finding of one validation.
type ChainFinding struct {
	trail.Finding
	// Found is when the validation began.
	Found time.Time
	// More: there is no finding, but so many more, of this status, that were not kept.
	More int
	// within is the time that the validation covered.
	within [2]time.Time
}

// Chains are those that were ever validated, by name.
func (s *State) Chains() []ChainState {
	out := make([]ChainState, 0, len(s.chains))
	for _, c := range s.chains {
		one := *c
		one.Findings = slices.Clone(c.Findings)
		if head, ok := s.heads[c.Chain]; ok {
			head.Pending = nil
			one.Head = &head
		}
		out = append(out, one)
	}
	slices.SortFunc(out, func(a, b ChainState) int {
		return cmp.Or(cmp.Compare(a.Chain.String(), b.Chain.String()), cmp.Compare(a.Chain.Organization, b.Chain.Organization), cmp.Compare(a.Chain.HomeRegion, b.Chain.HomeRegion))
	})
	return out
}

// noteValidation adds a validation to what is known of its chain.
func (s *State) noteValidation(v Validated) {
	c := s.chains[v.Chain]
	if c == nil {
		c = &ChainState{Chain: v.Chain}
		s.chains[v.Chain] = c
	}
	c.Times++
	if v.Begun.After(c.Validated) {
		c.Validated = v.Begun.UTC()
	}
	now := v.findings()
	c.Findings = slices.DeleteFunc(c.Findings, func(old ChainFinding) bool { return old.settled(v, now) })
	c.Findings = append(c.Findings, now...)
	var from *trail.Head
	if head, ok := s.heads[v.Chain]; ok {
		from = &head
	}
	c.cover(v, from)
}

// findings of a validation, with those that were only counted.
func (v Validated) findings() (out []ChainFinding) {
	within := [2]time.Time{v.First, v.Last}
	for _, f := range v.Findings {
		out = append(out, ChainFinding{Finding: f, Found: v.Begun.UTC(), within: within})
	}
	for _, status := range slices.Sorted(maps.Keys(v.More)) {
		if n := v.More[status]; n > 0 {
			out = append(out, ChainFinding{Finding: trail.Finding{Status: status}, Found: v.Begun.UTC(), More: n, within: within})
		}
	}
	return out
}

// settled reports whether a later validation went over again what was found, so
// that what it found counts instead. What cannot be told stays.
func (f ChainFinding) settled(v Validated, now []ChainFinding) bool {
	if f.More == 0 && slices.ContainsFunc(now, func(x ChainFinding) bool { return x.Kind == f.Kind && x.Object == f.Object && x.Status == f.Status }) {
		return true // it was found again
	}
	if f.Status == trail.Pending {
		return true // it was to be known later, and this is later
	}
	from, until := f.From, f.Until
	if from.IsZero() || until.IsZero() {
		from, until = f.within[0], f.within[1]
	}
	if from.IsZero() || until.IsZero() {
		// Nothing was valid then, and no head was kept: the next validation begins before it.
		return f.Status != trail.Fail && v.From.IsZero()
	}
	return !v.First.IsZero() && !v.First.After(from) && !v.Last.Before(until)
}

// joint is what may lie between the end of one digest and the start of the next.
const joint = time.Minute

// cover adds what a validation covers that may have gone on from a head.
func (c *ChainState) cover(v Validated, head *trail.Head) {
	pending := v.Counts.Pending
	wentOn := v.From.IsZero() && head != nil && !c.Last.IsZero()
	switch {
	case v.First.IsZero() || v.Last.IsZero(), !v.First.Before(c.First) && !v.Last.After(c.Last):
		// Nothing, or what was covered before.
		if c.First.IsZero() {
			c.Counts = v.Counts
		}
	case wentOn && !v.First.Before(head.Start.Add(-joint)) && !v.First.After(c.Last.Add(joint)):
		// The digest at the head is read again, and not counted again.
		c.Last = v.Last
		c.Counts = sum(c.Counts, v.Counts)
	default: // anew: what overlaps cannot be added up, and what leaves a hole does not cover it
		c.First, c.Last, c.Counts = v.First, v.Last, v.Counts
	}
	c.Counts.Pending = pending
}

func sum(a, b trail.Counts) trail.Counts {
	return trail.Counts{
		Digests: a.Digests + b.Digests, DigestsInvalid: a.DigestsInvalid + b.DigestsInvalid, DigestsMissing: a.DigestsMissing + b.DigestsMissing, DigestsUnknown: a.DigestsUnknown + b.DigestsUnknown,
		Logs: a.Logs + b.Logs, LogsInvalid: a.LogsInvalid + b.LogsInvalid, LogsMissing: a.LogsMissing + b.LogsMissing, LogsUnknown: a.LogsUnknown + b.LogsUnknown, LogsNotAsked: a.LogsNotAsked + b.LogsNotAsked,
		Pending: b.Pending, Overdue: a.Overdue + b.Overdue, Strays: a.Strays + b.Strays, Without: a.Without + b.Without, Bytes: a.Bytes + b.Bytes,
	}
}
