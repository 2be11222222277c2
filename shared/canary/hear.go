package canary

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"
)

// Claim is one alert that one canary promises, with the calls that should have set it off.
type Claim struct {
	Canary   string
	Promise  Promise
	Calls    []Setoff // at least one, in the order in which they were made
	Demanded Heeding
}

// window is the time in which an alert of a claim may ring.
func (c Claim) window() (from, to time.Time) {
	return c.Calls[0].At.Add(-c.Demanded.Clock), latestOf(c.Calls).Add(c.Demanded.Late)
}

// Window reports whether a time lies within that in which an alert of a claim may ring.
func (c Claim) Window(at time.Time) bool {
	from, to := c.window()
	return !at.Before(from) && !at.After(to)
}

// Named is which canaries an alert names.
type Named struct {
	Canaries []string
	// ByID: by a request or event that is known to be theirs, or with no canary, to be
	// ours and no canary's; else by their sessions.
	ByID bool
	// Names are those requests and events, or sessions.
	Names []string
}

// Hear says what of the alerts that rang each claim may call its own, and what tells
// why it may not. An alert is of every claim whose request or event it names. One that
// names only sessions is of that canary, and one that names nothing of whoever was in
// its time and has no better: but of no more claims than it counts occurrences. What
// names events that nobody knows is nobody's; with a session, it proves nothing.
func Hear(claims []Claim, rang []Rang, named func(Rang) Named) [][]Heard {
	h := &hearing{claims: claims, heard: make([][]Heard, len(claims)), served: make([]bool, len(claims)), byAlert: map[string][]int{}, byCanary: map[[2]string][]int{}, byID: map[[2]string][]setoffOf{}}
	for i, c := range claims {
		h.byAlert[c.Promise.Alert] = append(h.byAlert[c.Promise.Alert], i)
		mine := [2]string{c.Promise.Alert, c.Canary}
		h.byCanary[mine] = append(h.byCanary[mine], i)
		for _, call := range c.Calls {
			for _, id := range call.RequestIDs {
				h.byID[[2]string{c.Promise.Alert, "r" + id}] = append(h.byID[[2]string{c.Promise.Alert, "r" + id}], setoffOf{i, call.Step})
			}
			for _, id := range call.EventIDs {
				h.byID[[2]string{c.Promise.Alert, "e" + id}] = append(h.byID[[2]string{c.Promise.Alert, "e" + id}], setoffOf{i, call.Step})
			}
		}
	}
	all := once(rang)
	var nameless, bySession, others []Rang
	for _, r := range all {
		switch n := named(r); {
		case h.strong(r) || n.ByID:
			others = append(others, r)
		case len(n.Canaries) > 0:
			bySession = append(bySession, r)
			others = append(others, r)
		case len(r.RequestIDs)+len(r.EventIDs)+len(r.Sessions) == 0:
			nameless = append(nameless, r)
		}
	}
	counts := occurrences(all)
	for _, r := range bySession {
		var theirs []int // of all that it names: what it counts is shared among them
		for _, id := range named(r).Canaries {
			theirs = append(theirs, h.byCanary[[2]string{r.Alert, id}]...)
		}
		slices.Sort(theirs)
		h.share(r, BySession, counts, slices.Compact(theirs))
	}
	for _, r := range nameless {
		h.share(r, ByTime, counts, h.byAlert[r.Alert])
	}
	h.namedOthers(others, named)
	return h.heard
}

type setoffOf struct {
	claim int
	step  string
}

type hearing struct {
	claims []Claim
	heard  [][]Heard
	// served claims have an alert that names them, or a weak one of their own.
	served []bool
	// Claims by alert, by alert and canary, and by alert and the id of a request or event.
	byAlert  map[string][]int
	byCanary map[[2]string][]int
	byID     map[[2]string][]setoffOf
}

// once is what rang in the order of time, each state of each alert once: a queue may
// deliver the same twice.
func once(rang []Rang) []Rang {
	all := slices.Clone(rang)
	slices.SortStableFunc(all, func(a, b Rang) int {
		return cmp.Or(a.At.Compare(b.At), cmp.Compare(a.Alert, b.Alert), cmp.Compare(a.ID, b.ID), cmp.Compare(a.Count, b.Count), cmp.Compare(a.Suppressed, b.Suppressed))
	})
	return slices.CompactFunc(all, Rang.Same)
}

// Same reports whether two are the same state of the same alert.
func (r Rang) Same(o Rang) bool {
	return r.Alert == o.Alert && r.ID == o.ID && r.At.Equal(o.At) && r.Count == o.Count && (r.Suppressed == "") == (o.Suppressed == "")
}

// since is how many occurrences an alert counts, 1 where that cannot be told, and when
// the first of them was, or the period began in which it was; zero: nobody knows.
type since struct {
	n      int
	first  time.Time
	period bool
}

// before reports whether the first of them was before a time, or may have been.
func (s since) before(t time.Time) bool { return !s.first.IsZero() && s.first.Before(t) }

// occurrences are how many new ones each state of an alert counts: of an alert that is
// updated, only what is more than before.
func occurrences(all []Rang) map[[2]string]map[time.Time]since {
	out := map[[2]string]map[time.Time]since{}
	last := map[[2]string]int{}
	for _, r := range all {
		key := [2]string{r.Alert, r.ID}
		n := max(r.Count, 1)
		before, updated := last[key]
		s := since{n: n - before}
		if !updated {
			s.first, s.period = r.Since, r.Period
			if r.Since.IsZero() {
				s.n = 1
			}
			out[key] = map[time.Time]since{}
		}
		last[key] = max(n, before)
		if had, twice := out[key][r.At.UTC()]; twice {
			s.n, s.first, s.period = s.n+had.n, had.first, had.period
		}
		out[key][r.At.UTC()] = s
	}
	return out
}

// strong gives an alert to the claims whose requests or events it names.
func (h *hearing) strong(r Rang) bool {
	found := false
	give := func(by Means, prefix string, ids []string) {
		for _, id := range ids {
			for _, of := range h.byID[[2]string{r.Alert, prefix + id}] {
				h.give(of.claim, r, Heard{By: by, Name: id, Step: of.step})
				h.served[of.claim] = h.served[of.claim] || r.Suppressed == ""
				found = true
			}
		}
	}
	give(ByRequest, "r", r.RequestIDs)
	give(ByEvent, "e", r.EventIDs)
	return found
}

// share gives an alert that names no event to the claims that it may be of: those of the
// candidates that have none, and in whose time it rang. Of what it counts since before
// all of their calls nobody knows how much was after: of a finding perhaps nothing; in a
// period, for which the alarm rang only then, one.
func (h *hearing) share(r Rang, by Means, counts map[[2]string]map[time.Time]since, candidates []int) {
	s := counts[[2]string{r.Alert, r.ID}][r.At.UTC()]
	if r.Foreign {
		s.n-- // the last is another caller's
	}
	if s.n < 1 {
		return // it was updated, and not by another occurrence
	}
	var mine []int
	var earliest time.Time
	for _, i := range candidates {
		from, _ := h.claims[i].window()
		if h.served[i] || !h.claims[i].Window(r.At) || s.n == 1 && !s.period && s.before(from) {
			continue
		}
		mine = append(mine, i)
		if len(mine) == 1 || from.Before(earliest) {
			earliest = from
		}
	}
	n, least := s.n, 0
	switch {
	case !s.before(earliest):
	case s.period:
		n = 1
	default:
		n, least = n-1, 1
		r.Weak = strings.TrimPrefix(fmt.Sprintf("%s; the first of the %d that it counts was at %s, before the call", r.Weak, s.n, stamp(s.first)), "; ")
	}
	if r.Foreign {
		least = max(least, 1) // that caller's, once more
	}
	if request, event := recordOf(r); by == BySession && request != "" {
		n, least = 0, 1
		r.Weak = strings.TrimPrefix(fmt.Sprintf("%s; it names request %s and event %s, which are not known to be the canary's", r.Weak, request, event), "; ")
	}
	for _, i := range mine {
		rivals := max(least, len(mine)-n)
		x := Heard{By: by, Rivals: rivals}
		if by == BySession {
			x.Name = Marker + "-" + h.claims[i].Canary
		}
		h.give(i, r, x)
		h.served[i] = rivals == 0 && r.Suppressed == "" && !r.At.Before(h.claims[i].Calls[0].At)
	}
}

// recordOf is the request and the event of a record that an alert seems to carry; "" if
// it carries none. A key by which an alert tool tells repeats is taken for either.
func recordOf(r Rang) (request, event string) {
	i := slices.IndexFunc(r.RequestIDs, func(id string) bool { return !slices.Contains(r.EventIDs, id) })
	j := slices.IndexFunc(r.EventIDs, func(id string) bool { return !slices.Contains(r.RequestIDs, id) })
	if i < 0 || j < 0 {
		return "", ""
	}
	return r.RequestIDs[i], r.EventIDs[j]
}

// give notes an alert for a claim; what names its event is kept before all else.
func (h *hearing) give(claim int, r Rang, x Heard) {
	x.ID, x.At, x.Count, x.Suppressed, x.Weak, x.Rule = r.ID, r.At.UTC(), r.Count, r.Suppressed, r.Weak, r.Rule
	have := h.heard[claim]
	if x.By.strong() && slices.ContainsFunc(have, func(o Heard) bool { return o.ID == x.ID && o.At.Equal(x.At) && o.Step == x.Step && o.By.strong() }) {
		return // it names both the request and the event
	}
	suppressed := 0 // they may not take the place of one that was heard
	for _, o := range have {
		if o.Suppressed != "" {
			suppressed++
		}
	}
	if len(have) < MaxHeard && (x.Suppressed == "" || suppressed < MaxHeard/2) {
		h.heard[claim] = append(have, x)
	}
}

// maxOthers is how many alerts of other canaries a hearing tells of.
const maxOthers = 3

// namedOthers tells those that have nothing of their own what rang for others in their time.
func (h *hearing) namedOthers(others []Rang, named func(Rang) Named) {
	byAlert := map[string][]Rang{}
	for _, r := range others {
		byAlert[r.Alert] = append(byAlert[r.Alert], r)
	}
	for i, c := range h.claims {
		if len(h.heard[i]) > 0 {
			continue
		}
		from, to := c.window()
		list := byAlert[c.Promise.Alert]
		first, _ := slices.BinarySearchFunc(list, from, func(r Rang, t time.Time) int { return r.At.Compare(t) })
		for _, r := range list[first:] {
			if r.At.After(to) || len(h.heard[i]) >= maxOthers {
				break
			}
			if n := named(r); len(n.Canaries) > 0 && !slices.Contains(n.Canaries, c.Canary) {
				h.give(i, r, Heard{By: ByOther, Name: n.Canaries[0]})
			}
		}
	}
}
