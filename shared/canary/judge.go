package canary

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/auditcanary/auditcanary/shared/event"
)

// Judge weighs one canary: what the ledger knows of its doing against what has
// been seen in the log store. It is pure: every clock in it is an argument, and
// "now" is the store's own (seen.AsOf).
//
// It never passes what it does not know. A record counts as the canary's only
// by a request id the service gave us; a name, an agent or a source identity
// can be chosen by anybody.
func Judge(s Scenario, c Canary, ev Evidence, seen Seen, slo SLO) Verdict {
	v := Verdict{Canary: c.ID, AsOf: seen.AsOf, Checks: map[Check]Answer{}}
	v.Checks[Injected] = judgeInjected(s, ev)
	v.Checks[Cleaned] = judgeCleaned(c, ev)
	judgeRecords(&v, s, c, ev, seen, slo)
	Protect(&v, ev)
	Alert(&v, s, ev)
	return v
}

// judgeInjected: was every call made, and did it come out as it had to?
func judgeInjected(s Scenario, ev Evidence) Answer {
	if ev.NotRun != "" {
		return Answer{Status: NotRun, Detail: ev.NotRun}
	}
	if ev.Blocked != "" {
		return Answer{Status: Inconclusive, Detail: "not begun: " + ev.Blocked}
	}
	said := ""
	var failed *Answer // the first step that did; what was done after it is told beside it
	for _, step := range s.Steps {
		attempt := lastAttempt(ev, step.ID)
		if res := judgeBefore(step, ev, attempt > 0); res.Status != Pass {
			if failed == nil {
				if res.Status != Fail {
					return res
				}
				failed = &res
			} else {
				failed.Also = append(failed.Also, other(res))
			}
			continue
		}
		if failed != nil {
			if r, ok := ev.Receipt(step.ID, PhaseDo, attempt); ok {
				if res := judgeStep(s, step, r, ev); res.Status != Pass {
					failed.Also = append(failed.Also, other(res))
				}
			}
			continue
		}
		if attempt == 0 {
			return Answer{Status: Inconclusive, Step: step.ID, Detail: "never begun: the run was interrupted before " + step.Call}
		}
		r, ok := ev.Receipt(step.ID, PhaseDo, attempt)
		if !ok {
			return Answer{Status: Inconclusive, Step: step.ID, Detail: "the run was interrupted during " + step.Call + ": it may or may not have been done"}
		}
		res := judgeStep(s, step, r, ev)
		switch {
		case res.Status == Fail:
			failed = &res
		case res.Status != Pass:
			return res
		case res.Detail != "":
			said = res.Detail
		}
	}
	if failed != nil {
		return *failed
	}
	return Answer{Status: Pass, Detail: said}
}

// judgeStep: did one call come out as it had to?
func judgeStep(s Scenario, step Step, r Receipt, ev Evidence) Answer {
	res := judgeOutcome(s.Kind, step, r)
	if len(step.Protection) > 0 {
		res = judgeAttempt(res, step, r, ev)
	}
	if res.Status != Pass {
		res.Step = step.ID
	}
	return res
}

func lastAttempt(ev Evidence, step string) int {
	n := 0
	for _, in := range ev.Intents {
		if in.Step == step && in.Phase == PhaseDo {
			n = max(n, in.Attempt)
		}
	}
	return n
}

// dryRunOperation is EC2's answer to "would I be allowed to?"; KMS says it with "Exception".
func isDryRunYes(code string) bool {
	return code == "DryRunOperation" || code == "DryRunOperationException"
}

// ownWant matches AWS's words for a refusal that the caller's own policies are the
// reason of (IAM user guide, "Troubleshoot access denied error messages"): any
// caller without the right gets it, however unprotected the thing is.
var ownWant = sync.OnceValue(func() *regexp.Regexp {
	return regexp.MustCompile(`because no (identity-based policy|session policy|permissions boundary|resource-based policy|VPC endpoint policy) allows`)
})

func judgeOutcome(kind Kind, step Step, r Receipt) Answer {
	o := r.Outcome
	said := o.Code
	if o.Message != "" {
		said += ": " + o.Message
	}
	if o.Result == Unknown {
		return Answer{Status: Inconclusive, Detail: fmt.Sprintf("%s got no answer (%s): it may or may not have been done", r.Call.Operation, said)}
	}
	if len(r.RequestIDs) == 0 {
		return Answer{Status: Inconclusive, Detail: r.Call.Operation + " was answered without a request id: no record can be proven to be ours"}
	}
	switch {
	case kind == MustBeDenied && o.Result == Refused && ownWant().MatchString(o.Message):
		return Answer{Status: Inconclusive, Detail: fmt.Sprintf("%s was refused only because the canary itself may not (%s): that says nothing about the protection; compare the role's policy with `auditcanary plan`", r.Call.Operation, said)}
	case kind == MustBeDenied && step.Refused(r),
		kind == DryRun && o.Result == Failed && isDryRunYes(o.Code),
		kind != MustBeDenied && kind != DryRun && o.Result == Succeeded:
		return Answer{Status: Pass}
	case kind == MustBeDenied && o.Result == Succeeded:
		return Answer{Status: Fail, Detail: r.Call.Operation + " was allowed, and had to be denied: the protection is missing"}
	case kind == MustBeDenied && o.Result == Failed && slices.Contains(step.Unprotected, o.Code):
		return Answer{Status: Fail, Detail: fmt.Sprintf("%s was not denied, it only came to nothing (%s): the protection is missing", r.Call.Operation, said)}
	case kind == DryRun && o.Result == Succeeded:
		return Answer{Status: Fail, Detail: r.Call.Operation + " was carried out although it was asked as a dry run"}
	case o.Result == Refused:
		return Answer{Status: Inconclusive, Detail: fmt.Sprintf("%s was refused (%s): the canary could not act; compare the role's policy with `auditcanary plan`", r.Call.Operation, said)}
	default:
		return Answer{Status: Inconclusive, Detail: fmt.Sprintf("%s failed (%s): the canary could not act", r.Call.Operation, said)}
	}
}

// judgeCleaned: is everything undone, and has the account been listed since?
func judgeCleaned(c Canary, ev Evidence) Answer {
	if len(ev.Intents) == 0 {
		return Answer{Status: Pass, Detail: "nothing was done"}
	}
	if owed := ev.ToUndo(); len(owed) > 0 {
		o := owed[0]
		detail := fmt.Sprintf("%s is still owed for step %s", o.Call.Operation, o.Step)
		if r, ok := ev.Receipt(o.Step, PhaseUndo, o.Attempt-1); ok {
			detail += fmt.Sprintf(" after %d attempts (last: %s %s)", o.Attempt-1, r.Outcome.Code, r.Outcome.Message)
		}
		return Answer{Status: Fail, Step: o.Step, Detail: detail + "; run `auditcanary sweep`"}
	}
	switch {
	case ev.Cleanup.Err != "":
		return Answer{Status: Inconclusive, Detail: "undone, but the account could not be listed: " + ev.Cleanup.Err}
	case ev.Cleanup.Listed.IsZero():
		return Answer{Status: Inconclusive, Detail: "undone, but the account has not been listed since; run `auditcanary sweep`"}
	case len(ev.Cleanup.Left) > 0:
		return Answer{Status: Fail, Detail: "still there after the undo: " + strings.Join(ev.Cleanup.Left, ", ") + "; run `auditcanary sweep`"}
	}
	for _, r := range ev.Receipts {
		if r.Phase == PhaseUndo && !r.Undone() {
			return Answer{Status: Late, Step: r.Step, Detail: fmt.Sprintf("clean, but only after a retry: attempt %d of %s failed (%s)", r.Attempt, r.Call.Operation, r.Outcome.Code)}
		}
	}
	for _, in := range ev.Intents {
		if in.Phase == PhaseDo && ev.replyLost(in) {
			return Answer{Status: Late, Step: in.Step, Detail: "clean, but only after the account was listed: the reply that names what " + in.Call.Operation + " made was lost"}
		}
		if _, ok := ev.Receipt(in.Step, in.Phase, in.Attempt); !ok {
			return Answer{Status: Late, Step: in.Step, Detail: "clean, but only after an interrupted run was picked up again"}
		}
	}
	return Answer{Status: Pass}
}

// judgeRecords answers surfaced, attributed and timely: for each step, then the
// worst of them.
func judgeRecords(v *Verdict, s Scenario, c Canary, ev Evidence, seen Seen, slo SLO) {
	if in := v.Checks[Injected]; in.Status != Pass && in.Status != Fail {
		reason := "no record can be expected: the canary was not done as planned"
		surfaced := Answer{Status: NotRun, Detail: reason}
		if r, ok := unanswered(ev); ok {
			surfaced = judgeUnanswered(c, r, seen)
		}
		v.Checks[Surfaced] = surfaced
		v.Checks[Attributed] = Answer{Status: NotRun, Detail: reason}
		v.Checks[Timely] = Answer{Status: NotRun, Detail: reason}
		return
	}
	var surfaced, attributed, timely []Answer
	for _, step := range s.Steps {
		r, ok := ev.Receipt(step.ID, PhaseDo, lastAttempt(ev, step.ID))
		if !ok {
			// Only a denied or failed earlier step leaves later ones undone, and
			// then Injected has said so.
			continue
		}
		mine := sightingsOf(r, seen.Sightings)
		sur := judgeSurfaced(r, mine, seen, slo)
		sur.Step = step.ID
		surfaced = append(surfaced, sur)
		if len(mine) == 0 {
			follow := Answer{Status: NotRun, Step: step.ID, Open: sur.Open, Detail: "no record to judge"}
			attributed, timely = append(attributed, follow), append(timely, follow)
			continue
		}
		att := judgeAttributed(s, r, mine, seen, slo)
		att.Step = step.ID
		attributed = append(attributed, att)
		tim := judgeTimely(r, mine, seen, slo)
		tim.Step = step.ID
		timely = append(timely, tim)
		v.Records = append(v.Records, stepRecord(step.ID, r, mine))
	}
	v.Checks[Surfaced] = worst(surfaced)
	v.Checks[Attributed] = worst(attributed)
	v.Checks[Timely] = worst(timely)
}

// worst lets the worst step speak for all; fields of equally bad steps are
// gathered, and a pass keeps the largest latency.
func worst(rs []Answer) Answer {
	if len(rs) == 0 {
		return Answer{Status: NotRun, Detail: "nothing was called"}
	}
	out, speaks := rs[0], 0
	for i, r := range rs[1:] {
		switch {
		case r.Status.badness() > out.Status.badness():
			r.Explained = append(slices.Clone(out.Explained), r.Explained...)
			r.Open = r.Open || out.Open
			out, speaks = r, i+1
		default:
			out.Open = out.Open || r.Open
			out.Explained = append(slices.Clone(out.Explained), r.Explained...)
			if r.Status == out.Status {
				out.Fields = append(slices.Clone(out.Fields), r.Fields...)
				out.Evidence = append(slices.Clone(out.Evidence), r.Evidence...)
				if r.LatencySeconds != nil && (out.LatencySeconds == nil || *r.LatencySeconds > *out.LatencySeconds) {
					out.LatencySeconds = r.LatencySeconds
				}
			}
		}
	}
	if out.Status == Pass {
		out.Step = ""
	}
	out.Also = others(rs, speaks)
	return out
}

// others are the answers but that at an index that did not pass: who accepts one problem
// has not accepted what stands behind it. Several may be of one step, or of none.
func others(rs []Answer, but int) (out []Other) {
	for i, r := range rs {
		if i != but && r.Status != Pass && r.Status != NotRun {
			out = append(out, other(r))
		}
	}
	return out
}

func other(r Answer) Other {
	o := Other{Step: r.Step, Status: r.Status, Hop: r.Hop, Detail: r.Detail}
	for _, f := range r.Fields {
		if !slices.Contains(o.Fields, f.Field) {
			o.Fields = append(o.Fields, f.Field)
		}
	}
	return o
}

// unanswered finds the call that got no answer, if that is why injection is open.
func unanswered(ev Evidence) (Receipt, bool) {
	for _, r := range ev.Receipts {
		if r.Phase == PhaseDo && r.Outcome.Result == Unknown {
			return r, true
		}
	}
	return Receipt{}, false
}

// judgeUnanswered: without a request id nothing is proof; say what there is.
func judgeUnanswered(c Canary, r Receipt, seen Seen) Answer {
	detail := r.Call.Operation + " got no answer, hence no request id: no record can be proven to be ours"
	for _, si := range seen.Sightings {
		if si.Event.Actor.Session.Name == c.Name() && si.Event.API.Operation == operationName(r.Call.Operation) {
			detail += fmt.Sprintf(" (a record with our session name exists, event %s; that is a hint, not a proof)", si.Event.Metadata.UID)
			break
		}
	}
	return Answer{Status: Inconclusive, Detail: detail}
}

func operationName(call string) string {
	_, op, _ := strings.Cut(call, ":")
	return op
}

// sightingsOf picks the records that carry one of the receipt's request ids, or
// correct one that does, first stored first.
func sightingsOf(r Receipt, all []Sighting) []Sighting {
	var out []Sighting
	for _, si := range all {
		id := si.Event.API.RequestUID
		if am := si.Event.Metadata.Amends; am != nil && am.OriginalRequestUID != "" {
			id = am.OriginalRequestUID
		}
		if id != "" && slices.Contains(r.RequestIDs, id) {
			out = append(out, si)
		}
	}
	slices.SortStableFunc(out, func(a, b Sighting) int { return a.Stored.Compare(b.Stored) })
	return out
}

func judgeSurfaced(r Receipt, mine []Sighting, seen Seen, slo SLO) Answer {
	if len(mine) > 0 {
		res := Answer{Status: Pass}
		if !r.Want.Time.IsZero() && !mine[0].Stored.IsZero() {
			lat := latency(r, mine[0])
			res.LatencySeconds = &lat
		}
		if n := distinctObjects(mine); n > 1 {
			res.Detail = fmt.Sprintf("delivered %d times", n)
		}
		return res
	}
	if res, unread := judgeUnread(r, seen); unread {
		res.Open = seen.GaveUp == "" && !expired(r, seen, slo)
		return res
	}
	if seen.GaveUp != "" {
		return Answer{Status: Inconclusive, Detail: "nobody could look: " + seen.GaveUp}
	}
	if !expired(r, seen, slo) {
		return Answer{Status: NotRun, Open: true, Detail: fmt.Sprintf("waiting for the record of %s until %s", r.Call.Operation, r.Want.Time.Add(slo.Late).UTC().Format(time.RFC3339))}
	}
	return missing(r, seen, slo)
}

// expired reports whether the store has been seen, in full, after the record's deadline.
func expired(r Receipt, seen Seen, slo SLO) bool {
	at := r.Want.Time
	if at.IsZero() {
		at = r.Ended // the service gave no time: ours must do, or nobody would ever stop waiting
	}
	return seen.AsOf.After(at.Add(slo.Late))
}

// maxClues bounds what one answer tells of objects that cannot be read.
const maxClues = 5

// judgeUnread: something that may have held the record could not be read, so
// that nobody knows whether it is there.
func judgeUnread(r Receipt, seen Seen) (Answer, bool) {
	res := Answer{Status: Inconclusive}
	n := 0
	for _, p := range seen.Problems {
		if p.ClaimsOnly || p.Account != "" && p.Account != r.Want.Cloud.Account || p.Region != "" && p.Region != r.Want.Cloud.Region {
			continue
		}
		if n++; n == 1 {
			where := p.Object
			if where == "" {
				where = "the store"
			}
			res.Hop = p.Hop
			res.Detail = fmt.Sprintf("not found, but %s could not be read: %s", where, p.Err)
		}
		if n <= maxClues {
			res.Evidence = append(res.Evidence, Clue{Source: FromStore, Asked: seen.AsOf, Object: p.Object, Found: "could not be read: " + p.Err})
		}
	}
	if n > maxClues {
		res.Evidence = append(res.Evidence, Clue{Source: FromStore, Asked: seen.AsOf, Found: fmt.Sprintf("and %d more that could not be read", n-maxClues)})
	}
	return res, n > 0
}

// missing: the store has been seen in full after the deadline and has no record.
// The provider's own history tells whether there ever was one.
func missing(r Receipt, seen Seen, slo SLO) Answer {
	res := Answer{
		Status:   Fail,
		Detail:   fmt.Sprintf("no record of %s (request %s) in the store %s after the call", r.Call.Operation, strings.Join(r.RequestIDs, ", "), slo.Late),
		Evidence: []Clue{absence(r, seen)},
	}
	h, asked := historyOf(r, seen.History)
	res.Evidence = append(res.Evidence, remembered(r, h, asked)...)
	switch {
	case r.DataEvent:
		res.Detail += "; where it was lost is unknown: it is a data event, which the event history never has: either it was not emitted, or no trail that selects the data events of the thing brought it"
	case !asked:
		res.Detail += "; where it was lost is unknown: the event history was not asked"
	case h.Err != "":
		res.Detail += "; where it was lost is unknown: the event history could not be asked: " + h.Err
	case h.Event != nil:
		res.Hop = Delivered
		res.Detail += "; the provider's event history has it: lost on delivery (trail, selector or bucket)"
	default:
		res.Hop = Emitted
		res.Detail += "; the provider's event history has none either: the service did not emit it"
	}
	return res
}

// absence says what of the store was read without finding the record.
func absence(r Receipt, seen Seen) Clue {
	c := Clue{Source: FromStore, Asked: seen.AsOf}
	want := "request " + strings.Join(r.RequestIDs, ", ")
	place := r.Want.Cloud.Account + "/" + r.Want.Cloud.Region
	for _, l := range seen.Looked {
		if l.Account == r.Want.Cloud.Account && l.Region == r.Want.Cloud.Region && l.Objects > 0 {
			c.Found = fmt.Sprintf("%d objects of %s with %d records, stored from %s to %s, hold no record of %s",
				l.Objects, place, l.Records, l.First.UTC().Format(time.RFC3339), l.Last.UTC().Format(time.RFC3339), want)
			return c
		}
	}
	c.Found = fmt.Sprintf("no object of %s at all since the call, hence no record of %s", place, want)
	return c
}

// historyOf finds what the provider's own history answered of a receipt.
func historyOf(r Receipt, history map[string]HistoryAnswer) (HistoryAnswer, bool) {
	for _, id := range r.RequestIDs {
		if h, ok := history[id]; ok {
			return h, true
		}
	}
	return HistoryAnswer{}, false
}

// remembered is the history's answer as a clue, if it gave one.
func remembered(r Receipt, h HistoryAnswer, asked bool) []Clue {
	c := Clue{Source: FromHistory, Asked: h.Asked}
	place := r.Want.Cloud.Account + "/" + r.Want.Cloud.Region
	switch {
	case !asked || h.Err != "":
		return nil
	case h.Event == nil:
		c.Found = fmt.Sprintf("that of %s has no event of request %s", place, strings.Join(r.RequestIDs, ", "))
	default:
		c.EventID = h.Event.Metadata.UID
		c.Found = fmt.Sprintf("that of %s has event %s of request %s", place, c.EventID, h.Event.API.RequestUID)
	}
	return []Clue{c}
}

// standing says where a record stands.
func standing(si Sighting, asOf time.Time, found string) Clue {
	c := Clue{Source: FromStore, Asked: asOf, EventID: si.Event.Metadata.UID, Found: found}
	if si.At.Key != "" {
		c.Object = si.At.Object()
	}
	return c
}

func judgeAttributed(s Scenario, r Receipt, mine []Sighting, seen Seen, slo SLO) Answer {
	if missing := unstated(r.Want); missing != "" {
		return Answer{Status: Inconclusive, Detail: "the receipt does not state " + missing + ": there is nothing to hold the record against"}
	}
	tol := event.Tolerance{Before: slo.Clock + r.Ended.Sub(r.Started), After: slo.Clock}
	res := Answer{Status: Pass}
	records, damage := sound(latest(mine), seen)
	for _, si := range records {
		record := si.Event
		if am := record.Metadata.Amends; am != nil && am.OriginalRequestUID != "" {
			record.API.RequestUID = am.OriginalRequestUID // a correction may have an id of its own
		}
		wrong, explained, undecided := differences(s, r, record, tol)
		if uidReused(si, seen) {
			wrong = append(wrong, reused(record))
		}
		res.Fields, res.Explained = append(res.Fields, wrong...), append(res.Explained, explained...)
		if undecided != "" {
			res.Status, res.Detail = Inconclusive, undecided
		}
		if len(wrong) > 0 && len(res.Evidence) < maxClues {
			res.Evidence = append(res.Evidence, standing(si, seen.AsOf, fmt.Sprintf("record at byte %d (%d bytes) differs from the receipt in %s", si.At.Offset, si.At.Length, fieldList(wrong))))
		}
	}
	if len(res.Fields) == 0 {
		if res.Status == Pass && r.Want.SrcEndpoint.IP == "" {
			res.Detail = "source address not compared: the target has no egress addresses configured"
		}
		return res
	}
	res.Status = Fail
	f := res.Fields[0]
	res.Detail = fmt.Sprintf("%s: expected %q, found %q", f.Field, f.Expected, f.Found)
	if n := len(res.Fields) - 1; n > 0 {
		res.Detail += fmt.Sprintf(" (and %d more)", n)
	}
	if damage != nil {
		res.Status, res.Hop, res.Fields = Inconclusive, Parsed, nil
		res.Detail += fmt.Sprintf("; but %s is damaged (%s), and so may be the record", damage.Object, damage.Err)
		return res
	}
	h, asked := historyOf(r, seen.History)
	res.Evidence = append(res.Evidence, remembered(r, h, asked)...)
	var unknown string
	if res.Hop, unknown = whereChanged(s, r, res.Fields, h, asked, tol); unknown != "" {
		res.Detail += "; where it was changed is unknown: " + unknown
	}
	return res
}

// differences are what a record says otherwise than the receipt and the
// scenario's expectations, but for what a named rule explains. undecided says
// which expectation could not be held against it.
func differences(s Scenario, r Receipt, record event.Event, tol event.Tolerance) (wrong, explained []event.Difference, undecided string) {
	want := r.Want
	if judgedByState(s, r) && record.API.Error == "" {
		undecided = "neither the answer nor the record says that it was refused: what was read stands unchanged, and nothing shows that it was protected"
	}
	if by := byState(s, r, record); by != nil {
		want.API.Error, explained = record.API.Error, append(explained, *by)
		if ownWant().MatchString(record.API.ErrorMessage) {
			undecided = fmt.Sprintf("the record says that it was refused only because the canary itself may not (%s): that says nothing about the protection; compare the role's policy with `auditcanary plan`", record.API.ErrorMessage)
		}
	}
	for _, d := range event.Compare(want, record, tol) {
		if d.Rule != "" {
			explained = append(explained, d)
		} else {
			wrong = append(wrong, d)
		}
	}
	for _, rule := range s.Rules {
		ok, err := rule.Holds(record)
		if err != nil {
			undecided = fmt.Sprintf("expectation %q could not be decided: %v", rule.Text, err)
		} else if !ok {
			wrong = append(wrong, event.Difference{Field: "expect", Expected: rule.Text, Found: "false"})
		}
	}
	return wrong, explained, undecided
}

// fieldUID is the record's own id. No receipt knows it, but two records of
// different requests must not share one: readers drop the second as a copy.
const fieldUID = "metadata.uid"

func reused(e event.Event) event.Difference {
	return event.Difference{Field: fieldUID, Expected: "an event id that no other record has", Found: e.Metadata.UID}
}

func uidReused(si Sighting, seen Seen) bool {
	return slices.ContainsFunc(seen.Sightings, func(o Sighting) bool {
		return o.Event.Metadata.UID == si.Event.Metadata.UID && si.Event.Metadata.UID != "" &&
			o.Event.API.RequestUID != si.Event.API.RequestUID && damageAt(o, seen) == nil
	})
}

func fieldList(fields []event.Difference) string {
	var names []string
	for _, f := range fields {
		if !slices.Contains(names, f.Field) {
			names = append(names, f.Field)
		}
	}
	return strings.Join(names, ", ")
}

// sound drops the records of objects that could not be read to their end: what
// stands there may not be what was written. If there are no others, it returns
// them all the same, with what is wrong with the object of the first.
func sound(mine []Sighting, seen Seen) ([]Sighting, *Problem) {
	var whole []Sighting
	var damage *Problem
	for _, si := range mine {
		if p := damageAt(si, seen); p == nil {
			whole = append(whole, si)
		} else if damage == nil {
			damage = p
		}
	}
	if len(whole) > 0 {
		return whole, nil
	}
	return mine, damage
}

// damageAt is what keeps the object of a record from being read to its end; nil:
// nothing does.
func damageAt(si Sighting, seen Seen) *Problem {
	i := slices.IndexFunc(seen.Problems, func(p Problem) bool {
		return p.Hop == Parsed && si.At.ObjectSHA256 == "" && p.Object == si.At.Object()
	})
	if i < 0 {
		return nil
	}
	return &seen.Problems[i]
}

// unstated names the first thing without which a comparison would prove nothing;
// a field the receipt leaves empty is not compared.
func unstated(want event.Event) string {
	for _, f := range []struct {
		name   string
		stated bool
	}{
		{"who acted", want.Actor.UID != ""},
		{"the operation", want.API.Service != "" && want.API.Operation != ""},
		{"the account and region", want.Cloud.Account != "" && want.Cloud.Region != ""},
		{"the request id", want.API.RequestUID != ""},
		{"the time", !want.Time.IsZero()},
	} {
		if !f.stated {
			return f.name
		}
	}
	return ""
}

// whereChanged asks the provider's own history: if it has the fields as they
// must be, they were changed after they were emitted. unknown says why that
// cannot be told.
func whereChanged(s Scenario, r Receipt, fields []event.Difference, h HistoryAnswer, asked bool, tol event.Tolerance) (hop Hop, unknown string) {
	switch {
	case r.DataEvent:
		return "", "it is a data event, which the event history never has"
	case !asked:
		return "", "the event history was not asked"
	case h.Err != "":
		return "", "the event history could not be asked: " + h.Err
	case h.Event == nil:
		return "", "the event history has no event of this request"
	}
	emitted, _, _ := differences(s, r, *h.Event, tol)
	emitted = append(emitted, reused(*h.Event)) // if it has that very id
	for _, d := range emitted {
		same := func(f event.Difference) bool {
			return f.Field == d.Field && f.Expected == d.Expected && (f.Field != fieldUID || f.Found == d.Found)
		}
		if slices.ContainsFunc(fields, same) {
			return Emitted, ""
		}
	}
	return Delivered, ""
}

// latest drops the exact copies of a record and, where a record was corrected
// (addendum UPDATED_DATA), what it corrects. What differs under one event id is
// not a copy: both are judged.
func latest(mine []Sighting) []Sighting {
	replaced := map[string]bool{}
	for _, si := range mine {
		if am := si.Event.Metadata.Amends; am != nil && am.OriginalUID != "" {
			replaced[am.OriginalUID] = true
		}
	}
	var out []Sighting
	for _, si := range mine {
		copyOf := func(o Sighting) bool {
			return o.Event.Metadata.UID == si.Event.Metadata.UID && string(o.Raw) == string(si.Raw)
		}
		if replaced[si.Event.Metadata.UID] || slices.ContainsFunc(out, copyOf) {
			continue
		}
		out = append(out, si)
	}
	return out
}

func judgeTimely(r Receipt, mine []Sighting, seen Seen, slo SLO) Answer {
	lat := latency(r, mine[0])
	res := Answer{Status: Pass, LatencySeconds: &lat}
	took := time.Duration(lat * float64(time.Second)).Round(time.Second)
	switch {
	case r.Want.Time.IsZero() || mine[0].Stored.IsZero():
		return Answer{Status: Inconclusive, Detail: "the service or the store gave no time"}
	case took > slo.Late:
		res.Status = Fail
		res.Hop = Delivered
		res.Detail = fmt.Sprintf("stored %s after the call, allowed are %s (late until %s)", took, slo.Pass, slo.Late)
	case took > slo.Pass:
		res.Status = Late
		res.Hop = Delivered
		res.Detail = fmt.Sprintf("stored %s after the call, allowed are %s", took, slo.Pass)
	}
	if res.Status != Pass {
		res.Evidence = []Clue{standing(mine[0], seen.AsOf, fmt.Sprintf("call answered %s by the service's clock, its record stored %s by the store's",
			r.Want.Time.UTC().Format(time.RFC3339), mine[0].Stored.UTC().Format(time.RFC3339)))}
	}
	return res
}

// latency from the service's answer to the object standing in the store, both
// by the provider's clocks. A clock a little apart must not give less than zero.
func latency(r Receipt, si Sighting) float64 {
	return max(0, si.Stored.Sub(r.Want.Time).Seconds())
}

func distinctObjects(mine []Sighting) int {
	seen := map[string]bool{}
	for _, si := range mine {
		seen[fmt.Sprint(si.At.Bucket, si.At.Key, si.At.Offset)] = true
	}
	return len(seen)
}

func stepRecord(step string, r Receipt, mine []Sighting) StepRecord {
	first := mine[0]
	rec := StepRecord{Step: step, EventUID: first.Event.Metadata.UID, RequestID: first.Event.API.RequestUID, At: first.At}
	for _, si := range mine[1:] {
		rec.Copies = append(rec.Copies, si.Event.Metadata.UID)
	}
	return rec
}

// Forged lists the records that imitate a canary (its session name, its source
// identity or its agent) without a request id the ledger knows: somebody else's
// action under our flag, or the trace of a run whose receipts were lost.
func Forged(sightings []Sighting, ours func(requestID string) bool) []Sighting {
	var out []Sighting
	for _, si := range sightings {
		e := si.Event
		id := e.API.RequestUID
		if am := e.Metadata.Amends; am != nil && am.OriginalRequestUID != "" {
			id = am.OriginalRequestUID
		}
		imitates := strings.HasPrefix(e.Actor.Session.Name, Marker+"-") ||
			e.Actor.Session.SourceIdentity == Marker ||
			strings.Contains(e.HTTPRequest.UserAgent, "app/"+Marker) ||
			e.Cloud.Provider == "Kubernetes" && (accountOfOurs(e.Actor.UID) || accountOfOurs(e.Actor.Session.Name))
		if imitates && !ours(id) {
			out = append(out, si)
		}
	}
	return out
}

// accountOfOurs reports whether a cluster's user is one that canaries act as: whoever
// else does so has a token of theirs, or made himself one.
func accountOfOurs(user string) bool {
	if account, ok := strings.CutPrefix(user, "system:serviceaccount:"); ok {
		_, user, _ = strings.Cut(account, ":")
	}
	return strings.HasPrefix(user, Marker+"-")
}
