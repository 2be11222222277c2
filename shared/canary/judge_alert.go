package canary

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"
)

// AlertKind is what became of an alert that was promised.
type AlertKind string

const (
	AlertRang       AlertKind = "rang"
	AlertLate       AlertKind = "late"
	AlertDuplicate  AlertKind = "duplicate"        // it rang more than once for one event
	AlertOther      AlertKind = "wrong-canary"     // in its time it rang for another canary only
	AlertSuppressed AlertKind = "suppressed"       // it was made, and kept from whoever it was for
	AlertSilent     AlertKind = "silent"           // it did not ring
	AlertNameless   AlertKind = "without-identity" // one rang that may have been of anything
	AlertNever      AlertKind = "never-fires"      // no rule could make it
	AlertAwaited    AlertKind = "awaited"
	AlertUnheard    AlertKind = "unheard"        // where it arrives could not be asked
	AlertUnread     AlertKind = "unread"         // of what arrived not all is known
	AlertUntimed    AlertKind = "untimed"        // it rang, and when cannot be said
	AlertNowhere    AlertKind = "not-configured" // nobody said where it arrives
)

// AlertAnswer is what became of one promised alert.
type AlertAnswer struct {
	Promise
	Kind   AlertKind `json:"kind"`
	Status Status    `json:"status"`
	// Detail in a sentence. Empty where it rang in time, once, and named the event.
	Detail string `json:"detail,omitempty"`
	Open   bool   `json:"open,omitempty"`
	// Rang is when, by the provider's clock; LatencySeconds, how long after the call.
	Rang           time.Time `json:"rang,omitzero"`
	LatencySeconds *float64  `json:"latency_seconds,omitempty"`
	// ID of the alert where it arrived, and the rule that made it, as far as it says so.
	ID   string `json:"id,omitempty"`
	Rule string `json:"rule,omitempty"`
	// Times it rang for the same event, each under an id of its own; 0 counts as 1.
	Times int `json:"times,omitempty"`
	// Weak says by what else than the event it was taken for the canary's, where the
	// configuration accepts that.
	Weak Means `json:"weak,omitempty"`
}

// Hearing is how one promised alert was listened for, and what was heard. It holds
// facts; Alert weighs them.
type Hearing struct {
	Promise
	// Listened is when the place was asked, by our clock. AsOf is its own clock at the
	// last complete look: whatever had arrived by then was heard. Zero: no look was complete.
	Listened time.Time `json:"listened"`
	AsOf     time.Time `json:"as_of,omitzero"`
	// Demanded is what the configuration demanded at that time; nil: it does not say
	// where an alert of that name arrives.
	Demanded *Heeding `json:"demanded,omitempty"`
	// Never lists why no rule could ever make it of what the canary does.
	Never []string `json:"never,omitempty"`
	// Unasked says why the place could not be asked, or not in full, this time. Unread
	// says what of what arrived in its time is not known, whenever that was.
	Unasked string `json:"unasked,omitempty"`
	Unread  string `json:"unread,omitempty"`
	// Heard is what may be the canary's, or tells why it is not; at most MaxHeard.
	Heard []Heard `json:"heard,omitempty"`
}

// Heeding is what is demanded of an alert.
type Heeding struct {
	// Within is how long after the call it is in time; after Late it is missing.
	Within time.Duration `json:"within"`
	Late   time.Duration `json:"late"`
	// Clock bounds how far the clocks of service and alert may lie apart.
	Clock time.Duration `json:"clock"`
	// AcceptWeak: one that names no event, but comes in time, is good enough.
	AcceptWeak bool `json:"accept_weak,omitempty"`
}

// Heard is one alert that may be a canary's. The whole of it is in the ledger.
type Heard struct {
	ID         string    `json:"id"`
	At         time.Time `json:"at"`
	Count      int       `json:"count,omitempty"`
	Suppressed string    `json:"suppressed,omitempty"`
	Weak       string    `json:"weak,omitempty"`
	Rule       string    `json:"rule,omitempty"`
	// By what it was taken for the canary's, and the name: a request id, an event id, a
	// session; of ByOther, the canary that it names instead.
	By   Means  `json:"by"`
	Name string `json:"name,omitempty"`
	// Step whose call it is of; "" where it names none.
	Step string `json:"step,omitempty"`
	// Rivals is how many more promises it may be of than it counts occurrences; at least
	// 1 where all that it counts may be of something else.
	Rivals int `json:"rivals,omitempty"`
}

// MaxHeard bounds what one hearing tells.
const MaxHeard = 20

// Means by which an alert is taken for a canary's, strongest first.
type Means string

const (
	ByRequest Means = "request id"
	ByEvent   Means = "event id"
	BySession Means = "session name" // anybody can choose one
	ByTime    Means = "time"         // it names nothing
	ByOther   Means = "another canary"
)

func (m Means) strong() bool { return m == ByRequest || m == ByEvent }
func (m Means) weak() bool   { return m == BySession || m == ByTime }

// Setoff is one call that should set an alert off.
type Setoff struct {
	Step       string
	RequestIDs []string
	EventIDs   []string // of its record, as far as that was found
	// At is the service's clock when it answered.
	At time.Time
}

// Setoffs are the calls of a canary that should set a promised alert off: those that
// came out as it is promised for. None where the canary was not done as planned: then
// no alert can be expected.
func Setoffs(s Scenario, ev Evidence, v Verdict, p Promise) (out []Setoff) {
	injected := v.Checks[Injected].Status
	if injected != Pass && injected != Fail {
		return nil
	}
	for _, step := range s.Steps {
		r, ok := ev.Receipt(step.ID, PhaseDo, lastAttempt(ev, step.ID))
		if !ok || p.Step != "" && p.Step != step.ID || len(r.RequestIDs) == 0 || cameOut(s, step, r, injected) != p.On {
			continue
		}
		call := Setoff{Step: step.ID, RequestIDs: r.RequestIDs, At: r.Want.Time}
		if call.At.IsZero() {
			call.At = r.Ended // the service gave no time
		}
		for _, rec := range v.Records {
			if rec.Step == step.ID {
				call.EventIDs = append(append(call.EventIDs, rec.EventUID), rec.Copies...)
			}
		}
		call.EventIDs = slices.DeleteFunc(call.EventIDs, func(id string) bool { return id == "" })
		out = append(out, call)
	}
	return out
}

// cameOut says how a call came out, in the terms of a promise; "" if in neither way: a
// dry run does nothing, and what failed for another reason was neither allowed nor denied.
func cameOut(s Scenario, step Step, r Receipt, injected Status) PromisedOn {
	switch {
	case judgedByState(s, r) && injected == Pass, step.Refused(r):
		return OnDenied
	case r.Outcome.Result == Succeeded:
		return OnAllowed
	}
	return ""
}

// Promises of a canary: its scenario's, and those that it was listened for beside them.
func Promises(s Scenario, ev Evidence) []Promise {
	out := slices.Clone(s.Alerts)
	for _, h := range ev.Hearings {
		if !slices.Contains(out, h.Promise) {
			out = append(out, h.Promise)
		}
	}
	return out
}

// Hearing is the last that is known of a promise.
func (e Evidence) Hearing(p Promise) (Hearing, bool) {
	for _, h := range slices.Backward(e.Hearings) {
		if h.Promise == p {
			return h, true
		}
	}
	return Hearing{}, false
}

// Alert answers Alerted of a verdict from what was heard of the alerts that the canary
// promises. Judge does it; whoever listens later does it again with the verdict that
// stands. It never passes without an alert that names the canary's own request or
// event, or one that the configuration accepts without, in its time, and of nobody else.
func Alert(v *Verdict, s Scenario, ev Evidence) {
	promises := Promises(s, ev)
	if injected := v.Checks[Injected].Status; len(promises) > 0 && injected != Pass && injected != Fail {
		v.Checks[Alerted] = Answer{Status: NotRun, Detail: "no alert can be expected: the canary was not done as planned"}
		return
	}
	var all []Answer
	for _, p := range promises {
		calls := Setoffs(s, ev, *v, p)
		if len(calls) == 0 {
			continue
		}
		h, listened := ev.Hearing(p)
		one := AlertAnswer{Kind: AlertAwaited, Status: NotRun, Detail: notListened}
		if listened {
			one = h.judge(calls)
		}
		one.Promise = p
		all = append(all, one.answer())
	}
	if len(all) == 0 {
		detail := "the scenario promises no alert"
		if len(promises) > 0 {
			detail = "the scenario promises no alert for what came of it"
		}
		v.Checks[Alerted] = Answer{Status: NotRun, Detail: detail}
		return
	}
	out := worst(all)
	out.Alerts = nil
	for _, a := range all {
		out.Alerts = append(out.Alerts, a.Alerts...)
	}
	v.Checks[Alerted] = out
}

const notListened = "nobody has listened for it yet: run `auditcanary alerts` (the configuration says under alerts where it arrives)"

// answer puts what became of one alert into the words of a check.
func (a AlertAnswer) answer() Answer {
	out := Answer{Status: a.Status, Open: a.Open, Alert: a.Kind, Alerts: []AlertAnswer{a}, LatencySeconds: a.LatencySeconds, Step: a.Step}
	if a.Detail != "" {
		out.Detail = "alert " + a.Alert + ": " + a.Detail
	}
	if a.Status != Pass && a.Status != NotRun {
		out.Hop = Announced
		if a.ID != "" {
			out.Evidence = []Clue{{Source: FromAlerts, Asked: a.Rang, Found: fmt.Sprintf("alert %s, id %s", a.Alert, a.ID)}}
		}
	}
	return out
}

// Settled reports whether listening again can change nothing of an answer, but for
// alerts that come after their time, or once more.
func (a AlertAnswer) Settled() bool {
	return !a.Open && a.Kind != AlertAwaited && a.Kind != AlertUnheard && a.Kind != AlertNowhere
}

// judge weighs what was heard of one alert that these calls should have set off.
func (h Hearing) judge(calls []Setoff) AlertAnswer {
	if h.Demanded == nil {
		return AlertAnswer{Kind: AlertNowhere, Status: NotRun, Detail: "the configuration does not say where it arrives: name it under alerts, with the queue, alarm or detector where it can be heard"}
	}
	if a, rang := h.byID(calls); rang {
		return a
	}
	deadline := latestOf(calls).Add(h.Demanded.Late)
	over := h.AsOf.After(deadline)
	if a, suppressed := h.suppressed(over); suppressed {
		a.Open = !over && h.Listened.Before(deadline.Add(h.Demanded.Late))
		return a
	}
	a, weak := h.byLess(calls)
	switch {
	case weak && (a.Status == Pass || a.Status == Late):
		return a
	case len(h.Never) > 0: // that one rang says more than any reading of rules
		return AlertAnswer{Kind: AlertNever, Status: Fail, Detail: "it could never ring for this: " + strings.Join(h.Never, "; ")}
	case weak && over:
		return a
	case !over && h.Unasked != "":
		return AlertAnswer{Kind: AlertUnheard, Status: Inconclusive, Open: h.Listened.Before(deadline), Detail: "where it arrives could not be asked: " + h.Unasked}
	case !over && h.Listened.After(deadline.Add(h.Demanded.Late)):
		return AlertAnswer{Kind: AlertUnheard, Status: Inconclusive, Detail: "it did not ring, and the clock of the place where it arrives has only come to " + stamp(h.AsOf)}
	case !over:
		detail := "waiting for it until " + stamp(deadline)
		if weak {
			detail += "; " + a.Detail
		}
		return AlertAnswer{Kind: AlertAwaited, Status: NotRun, Open: true, Detail: detail}
	case h.Unread != "":
		return AlertAnswer{Kind: AlertUnread, Status: Inconclusive, Detail: "it was not heard, and may have come all the same: " + h.Unread}
	}
	return h.silent(calls)
}

func latestOf(calls []Setoff) time.Time {
	return slices.MaxFunc(calls, func(a, b Setoff) int { return a.At.Compare(b.At) }).At
}

// byID: an alert named one of the calls. Of several, that counts which says the best;
// of one call, the first.
func (h Hearing) byID(calls []Setoff) (AlertAnswer, bool) {
	var best AlertAnswer
	found := false
	for _, call := range calls {
		var ids []string
		var first Heard
		for _, x := range h.Heard {
			if x.Suppressed != "" || !names(x, call) {
				continue
			}
			if len(ids) == 0 || x.At.Before(first.At) {
				first = x
			}
			if !slices.Contains(ids, x.ID) {
				ids = append(ids, x.ID)
			}
		}
		if len(ids) == 0 {
			continue
		}
		a := h.timed(first, call)
		if n := len(ids); n > 1 {
			a.Times = n
			said := fmt.Sprintf("it rang %d times for one event", n)
			if a.Status == Pass {
				a.Kind, a.Detail = AlertDuplicate, said
			} else {
				a.Detail += "; " + said
			}
		}
		if !found || a.Status.badness() < best.Status.badness() {
			best, found = a, true
		}
	}
	return best, found
}

// names reports whether an alert names a call: the claim it was heard under is held
// against the receipt and the record once more.
func names(x Heard, call Setoff) bool {
	return x.By == ByRequest && slices.Contains(call.RequestIDs, x.Name) || x.By == ByEvent && slices.Contains(call.EventIDs, x.Name)
}

// timed says whether an alert came in time after a call.
func (h Hearing) timed(x Heard, call Setoff) AlertAnswer {
	a := AlertAnswer{Kind: AlertRang, Status: Pass, Rang: x.At, ID: x.ID, Rule: x.Rule}
	after := x.At.Sub(call.At)
	took := max(0, after).Round(time.Second)
	switch {
	case x.At.IsZero() || call.At.IsZero():
		a.Kind, a.Status, a.Detail = AlertUntimed, Inconclusive, "it rang, and does not say when"
		return a
	case after < -h.Demanded.Clock:
		a.Kind, a.Status = AlertUntimed, Inconclusive
		a.Detail = fmt.Sprintf("it says that it rang %s before the call that it names: the clocks lie too far apart (allowed are %s) to say whether it was in time", (-after).Round(time.Second), h.Demanded.Clock)
		return a
	case took > h.Demanded.Late:
		a.Kind, a.Status = AlertLate, Fail
		a.Detail = fmt.Sprintf("it rang %s after the call, allowed are %s (late until %s)", took, h.Demanded.Within, h.Demanded.Late)
	case took > h.Demanded.Within:
		a.Kind, a.Status = AlertLate, Late
		a.Detail = fmt.Sprintf("it rang %s after the call, allowed are %s", took, h.Demanded.Within)
	}
	seconds := max(0, after.Seconds())
	a.LatencySeconds = &seconds
	return a
}

// suppressed: it was made, and nobody heard it. One that names the event decides; another
// only where no such other was heard, and one that names nothing when nothing else can
// come any more.
func (h Hearing) suppressed(over bool) (AlertAnswer, bool) {
	for _, x := range h.Heard {
		if x.Suppressed == "" || x.By == ByOther || x.By == ByTime && !over {
			continue
		}
		if x.By.weak() && slices.ContainsFunc(h.Heard, func(o Heard) bool { return o.Suppressed == "" && o.By.weak() }) {
			continue // another one was heard
		}
		return AlertAnswer{Kind: AlertSuppressed, Status: Fail, Rang: x.At, ID: x.ID, Rule: x.Rule, Detail: "it was made and reached nobody: " + x.Suppressed}, true
	}
	return AlertAnswer{}, false
}

// byLess: an alert came that names neither the request nor the event.
func (h Hearing) byLess(calls []Setoff) (AlertAnswer, bool) {
	heard := slices.DeleteFunc(slices.Clone(h.Heard), func(x Heard) bool { return x.Suppressed != "" || !x.By.weak() })
	if len(heard) == 0 {
		return AlertAnswer{}, false
	}
	// The one that proves the most: one that did not ring before the call, for the canary
	// alone before for one of several, with its session before without.
	before := func(x Heard) int { return max(0, calls[0].At.Compare(x.At)) }
	x := slices.MinFunc(heard, func(a, b Heard) int {
		return cmp.Or(before(a)-before(b), cmp.Compare(a.Rivals, b.Rivals), cmp.Compare(a.By, b.By), a.At.Compare(b.At))
	})
	// Which of the calls it is of nobody knows: the last before it.
	call := calls[0]
	for _, c := range calls {
		if c.At.After(call.At) && !c.At.After(x.At) {
			call = c
		}
	}
	what := "but names no event"
	if x.By == BySession {
		what = "but names only the canary's session, which anybody can choose"
	}
	if x.Weak != "" {
		what += " (" + x.Weak + ")"
	}
	a := AlertAnswer{Kind: AlertNameless, Status: Inconclusive, Rang: x.At, ID: x.ID, Rule: x.Rule, Detail: "one rang at " + stamp(x.At) + ", " + what}
	inside := !x.At.After(latestOf(calls).Add(h.Demanded.Late))
	switch {
	case !h.Demanded.AcceptWeak:
	case x.At.Before(calls[0].At): // what names the call may have another clock; this may have another cause
		a.Detail += fmt.Sprintf("; it rang %s before the call", calls[0].At.Sub(x.At))
	case x.Rivals > 0:
		a.Detail += fmt.Sprintf("; %d more promises may claim it than it counts", x.Rivals)
	case h.Unread != "":
		a.Detail += "; " + h.Unread
	case inside:
		timed := h.timed(x, call)
		if timed.Status == Pass || timed.Status == Late {
			timed.Weak = x.By
			timed.Detail = strings.TrimPrefix(timed.Detail+"; ", "; ") + "taken for the canary's by its " + string(x.By) + " alone, as the configuration accepts: it rang, " + what
			return timed, true
		}
	}
	return a, true
}

// silent: all that arrived until after its time was heard, and it was not among it.
func (h Hearing) silent(calls []Setoff) AlertAnswer {
	late := h.Demanded.Late
	for _, x := range h.Heard {
		if x.By == ByOther {
			return AlertAnswer{Kind: AlertOther, Status: Fail, ID: x.ID, Rule: x.Rule,
				Detail: fmt.Sprintf("within %s of the call it rang only for another canary (%s, at %s)", late, x.Name, stamp(x.At))}
		}
	}
	what := "the call"
	if len(calls) > 1 {
		what = fmt.Sprintf("any of the %d calls", len(calls))
	}
	return AlertAnswer{Kind: AlertSilent, Status: Fail, Detail: fmt.Sprintf("it did not ring within %s of %s; all that had arrived by %s was heard", late, what, stamp(h.AsOf))}
}
