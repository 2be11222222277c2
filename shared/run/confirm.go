package run

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/auditcanary/auditcanary/shared/canary"
	"github.com/auditcanary/auditcanary/shared/ledger"
)

// ConfirmOptions choose what to look for and how long.
type ConfirmOptions struct {
	// Run limits it to one run; "" means every canary that is still open or whose
	// late arrival may still amend its verdict.
	Run string
	// Wait goes on until every canary is decided; otherwise one look.
	Wait bool
}

// lease is how long after its plan a run may still be injecting; it is longer
// than any one function call. After that it counts as died.
const lease = 15 * time.Minute

// giveUpAfter is how many looks in a row may fail before nobody looks any more.
const giveUpAfter = 5

// Confirm looks for the records of what is open and judges it. Verdicts are
// appended once they are decided, and again when something changes them.
func (r *Run) Confirm(ctx context.Context, opt ConfirmOptions) error {
	state, err := r.NoteRegister(ctx)
	if err != nil {
		return err
	}
	if opt.Run != "" && state.Run(opt.Run) == nil {
		return fmt.Errorf("confirm: no run %q in the ledger", opt.Run)
	}
	c := &confirmation{r: r, state: state, open: r.unsettled(state, opt.Run), history: map[string]canary.HistoryAnswer{}}
	if len(c.open) == 0 {
		return nil
	}
	c.watch = watchFor(c.open)
	total := len(c.open)
	begun := r.Clock()
	for failed := 0; ; {
		ok := c.look(ctx)
		if ok {
			failed = 0
		} else if failed++; ctx.Err() == nil { // that we were stopped says nothing of the store
			why := fmt.Sprintf("%d looks in a row failed, the last: %s", failed, c.lastProblem)
			if failed >= giveUpAfter {
				c.seen.GaveUp = why
			} else if !opt.Wait {
				c.blind = why // somebody looks again, as long as its time is not up
			}
		}
		if waited := r.Clock().Sub(begun); c.seen.GaveUp == "" && ctx.Err() == nil && waited > 2*r.SLO.Late {
			// The store's clock decides; one that stands still must not keep us for ever.
			c.seen.GaveUp = fmt.Sprintf("waited %s, and the store's clock has only come to %s", waited.Round(time.Second), c.seen.AsOf.UTC().Format(time.RFC3339))
		}
		if err := c.judge(ctx, ctx.Err() != nil || c.seen.GaveUp != "" || c.blind != ""); err != nil {
			return err
		}
		waiting := len(c.open)
		r.progress("confirm", total-waiting, total, "%s", c.sentence(begun))
		if waiting == 0 || !opt.Wait || c.seen.GaveUp != "" || ctx.Err() != nil {
			break
		}
		if err := r.Sleep(ctx, pause(r.Clock().Sub(begun), r.Poll)); err != nil {
			break
		}
	}
	return r.noteOwn(ctx, c.anyRun())
}

// pause grows with the time already waited: most records come in the first
// minutes, and nothing is gained by asking often for one that is an hour late.
func pause(waited, shortest time.Duration) time.Duration {
	return min(max(waited/8, shortest), 4*shortest)
}

// unsettled picks the canaries worth looking for: not decided, or decided as
// missing and young enough to be amended by a late arrival.
func (r *Run) unsettled(s *State, runID string) []*CanaryState {
	var out []*CanaryState
	for _, cs := range s.Canaries {
		if runID != "" && cs.Run.ID != runID {
			continue
		}
		if !cs.Run.Injected && r.Clock().Sub(cs.At) < lease {
			continue // somebody may be doing it right now
		}
		v, judged := cs.Verdict()
		young := r.Clock().Sub(cs.At) < r.SLO.Amend
		missing := judged && unfound(v)
		uncleaned := judged && v.Checks[canary.Cleaned].Status != canary.Pass && v.Checks[canary.Cleaned].Status != canary.Late
		if !judged || v.Open() || young && (missing || uncleaned) {
			out = append(out, cs)
		}
	}
	return out
}

// unfound reports whether records are missing that may yet be found.
func unfound(v canary.Verdict) bool {
	s := v.Checks[canary.Surfaced].Status
	return s == canary.Fail || s == canary.Inconclusive
}

func watchFor(open []*CanaryState) *Watch {
	w := &Watch{RequestIDs: map[string]bool{}}
	for _, cs := range open {
		for _, rec := range cs.Evidence.Receipts {
			if rec.Phase != canary.PhaseDo {
				continue
			}
			for _, id := range rec.RequestIDs {
				w.RequestIDs[id] = true
			}
			place := canary.Target{Provider: cs.Plan.Canary.Target.Provider, Account: rec.Want.Cloud.Account, Region: rec.Want.Cloud.Region}
			if place.Account == "" || place.Region == "" {
				place = cs.Plan.Canary.Target
			}
			if !slices.Contains(w.Places, place) {
				w.Places = append(w.Places, place)
			}
			at := rec.Want.Time
			if at.IsZero() {
				at = rec.Started
			}
			if w.Since.IsZero() || at.Before(w.Since) {
				w.Since = at
			}
		}
	}
	return w
}

// confirmation is one Confirm under way.
type confirmation struct {
	r           *Run
	state       *State
	open        []*CanaryState
	watch       *Watch
	seen        canary.Seen
	history     map[string]canary.HistoryAnswer
	lastProblem string
	objects     int
	// blind says why the only look failed. It decides of those canaries whose time is up by
	// our own clock; the others stay open for the next look.
	blind string
	// positive: not all that has arrived was looked at, so that only what proves a canary
	// in full counts; the rest is left to those who list.
	positive bool
}

// proven reports whether every record was found as it must be, in time.
func proven(v canary.Verdict) bool {
	for _, check := range []canary.Check{canary.Injected, canary.Surfaced, canary.Attributed, canary.Timely} {
		if v.Checks[check].Status != canary.Pass {
			return false
		}
	}
	return true
}

// look polls the store once and reports whether it could be seen in full.
func (c *confirmation) look(ctx context.Context) bool {
	if len(c.watch.Places) == 0 {
		return true // nothing was done that could have left a record
	}
	found, err := c.r.Store.Poll(ctx, c.watch)
	c.seen.Sightings = append(c.seen.Sightings, found.Sightings...)
	c.seen.Problems, c.seen.Looked = found.Problems, found.Looked
	c.objects += found.Gets
	if err == nil && found.AsOf.IsZero() {
		err = errors.New("the store could not be listed in full")
		if i := slices.IndexFunc(found.Problems, func(p canary.Problem) bool { return !p.ClaimsOnly }); i >= 0 {
			err = fmt.Errorf("%s: %s", found.Problems[i].Object, found.Problems[i].Err)
		}
	}
	if err != nil {
		c.lastProblem = err.Error()
		c.seen.Problems = append(c.seen.Problems, canary.Problem{Err: err.Error()})
		return false
	}
	c.seen.AsOf = found.AsOf
	return true
}

// judge weighs every open canary and appends what is decided. At the end
// (final) what is still undecided stays open in the ledger: no verdict is
// written for it, and the next Confirm takes it up. It judges by what the ledger
// has at the very moment: where somebody else appends meanwhile, it judges anew.
func (c *confirmation) judge(ctx context.Context, final bool) error {
	if err := c.r.noteOwn(ctx, c.anyRun()); err != nil { // or their records look forged
		return err
	}
	for {
		cp, err := c.state.Follow(context.WithoutCancel(ctx), c.r.Log)
		if err != nil {
			return err
		}
		verdicts, err := c.verdicts(ctx)
		if err != nil {
			return err
		}
		var entries []Entry
		var still []*CanaryState
		for i, cs := range c.open {
			v := verdicts[i]
			if v.Open() || c.positive && !proven(v) {
				still = append(still, cs)
				continue
			}
			if last, judged := cs.Verdict(); !judged || !sameAnswers(last, v) {
				entries = append(entries, c.sightings(cs, v)...)
				entries = append(entries, Entry{Type: "verdict", Run: cs.Run.ID, Canary: cs.Plan.Canary.ID, Verdict: &v})
			}
		}
		if !c.positive && (final || len(still) == 0) {
			entries = append(entries, c.forged()...)
		}
		if len(entries) > 0 {
			leaves, err := c.r.encode(entries)
			if err != nil {
				return err
			}
			some := atOnce(leaves)
			err = c.r.appendAt(ctx, cp.Size, some)
			if errors.Is(err, ledger.ErrMoved) || err == nil && len(some) < len(leaves) {
				continue // what is left over is found again
			}
			if err != nil {
				return err
			}
		}
		c.open = still
		return nil
	}
}

// verdicts judges what is open, and asks the provider's own history where a
// record was lost or changed.
func (c *confirmation) verdicts(ctx context.Context) ([]canary.Verdict, error) {
	out := make([]canary.Verdict, len(c.open))
	var ask []canary.Receipt
	var again []int
	for i, cs := range c.open {
		if err := c.compile(cs); err != nil {
			return nil, err
		}
		out[i] = c.verdict(cs)
		if unclear := c.unclear(cs, out[i]); len(unclear) > 0 {
			ask, again = append(ask, unclear...), append(again, i)
		}
	}
	if err := c.askHistory(ctx, ask); err != nil {
		return nil, err
	}
	for _, i := range again {
		out[i] = c.verdict(c.open[i])
	}
	for i, cs := range c.open {
		if last, judged := cs.Verdict(); judged && erases(last, out[i]) {
			out[i] = keep(last, out[i], cs)
		}
	}
	return out, nil
}

// erases reports whether a verdict does not know what the last one knew of the records,
// and only because not everything could be looked at. While records are missing that
// may yet be found, it is left open instead.
func erases(last, v canary.Verdict) bool {
	was, is := last.Checks[canary.Surfaced].Status, v.Checks[canary.Surfaced].Status
	if is != canary.Inconclusive || was != canary.Pass && v.Open() {
		return false
	}
	lost := slices.ContainsFunc(last.Records, func(rec canary.StepRecord) bool {
		return !slices.ContainsFunc(v.Records, func(o canary.StepRecord) bool { return o.Step == rec.Step })
	})
	return lost || was == canary.Fail && len(v.Records) == len(last.Records)
}

// keep lets stand what the last verdict says of the records, and what follows from that.
func keep(last, v canary.Verdict, cs *CanaryState) canary.Verdict {
	v.AsOf, v.Records = last.AsOf, last.Records
	for _, check := range []canary.Check{canary.Surfaced, canary.Attributed, canary.Timely} {
		v.Checks[check] = last.Checks[check]
	}
	canary.Protect(&v, cs.Evidence)
	canary.Alert(&v, cs.Plan.Scenario, cs.Evidence)
	return v
}

func (c *confirmation) verdict(cs *CanaryState) canary.Verdict {
	seen := c.seen
	seen.History = c.history
	if c.blind != "" && !c.r.Clock().Before(c.r.upAt(cs)) {
		seen.GaveUp = c.blind
	}
	return canary.Judge(cs.Plan.Scenario, cs.Plan.Canary, cs.Evidence, seen, c.r.SLO)
}

// compile makes the scenario's expectations ready, once.
func (c *confirmation) compile(cs *CanaryState) error {
	s := &cs.Plan.Scenario
	if len(s.Expect) == 0 || s.Rules != nil {
		return nil
	}
	rules, err := c.r.Compile(s.Expect)
	if err != nil {
		return fmt.Errorf("scenario %s: %w", s.ID, err)
	}
	s.Rules = rules
	return nil
}

// unclear lists the calls whose records a verdict misses or finds wrong, and of
// which the provider's own history has not been asked: for each check the one
// that decides it.
func (c *confirmation) unclear(cs *CanaryState, v canary.Verdict) []canary.Receipt {
	if c.positive || v.Open() || c.r.Histories[cs.Plan.Canary.Target.Provider] == nil {
		return nil
	}
	var out []canary.Receipt
	for _, rec := range cs.Evidence.Receipts {
		if rec.Phase != canary.PhaseDo || len(rec.RequestIDs) == 0 || rec.DataEvent {
			continue // the history of a data event is not there to be asked
		}
		_, asked := c.history[rec.RequestIDs[0]]
		decides := func(check canary.Check) bool {
			return v.Checks[check].Status == canary.Fail && v.Checks[check].Step == rec.Step
		}
		if !asked && (decides(canary.Surfaced) || decides(canary.Attributed)) {
			rec.Canary = cs.Plan.Canary.ID
			out = append(out, rec)
		}
	}
	return out
}

// askHistory asks of each call once, of several places at a time: every account
// and region answers slowly, but each for itself.
func (c *confirmation) askHistory(ctx context.Context, receipts []canary.Receipt) error {
	answers := make([]canary.HistoryAnswer, len(receipts))
	err := c.r.each(ctx, len(receipts), func(ctx context.Context, i int) error {
		history := c.r.Histories[c.state.byCanary[receipts[i].Canary].Plan.Canary.Target.Provider]
		ev, err := history.Recorded(ctx, receipts[i])
		answers[i] = canary.HistoryAnswer{Asked: c.r.Clock().UTC(), Event: ev}
		if err != nil {
			answers[i] = canary.HistoryAnswer{Asked: answers[i].Asked, Err: err.Error()}
		}
		return nil
	})
	for i, rec := range receipts {
		if answers[i].Asked.IsZero() {
			continue // we were stopped before
		}
		for _, id := range rec.RequestIDs {
			c.history[id] = answers[i]
		}
	}
	return err
}

// sightings keeps the records a verdict rests on, raw.
func (c *confirmation) sightings(cs *CanaryState, v canary.Verdict) []Entry {
	var out []Entry
	for _, rec := range v.Records {
		for _, si := range c.seen.Sightings {
			if si.At != rec.At {
				continue
			}
			sighted := sightedOf(si)
			sighted.Step = rec.Step
			if slices.ContainsFunc(cs.Sighted, func(o Sighted) bool { return o.At == sighted.At }) {
				break
			}
			out = append(out, Entry{Type: "sighted", Run: cs.Run.ID, Canary: cs.Plan.Canary.ID, Sighted: &sighted})
			break
		}
	}
	return out
}

func sightedOf(si canary.Sighting) Sighted {
	s := Sighted{
		At: si.At, Stored: si.Stored,
		EventUID: si.Event.Metadata.UID, RequestID: si.Event.API.RequestUID,
		Actor: si.Event.Actor.UID, Operation: si.Event.API.Service + " " + si.Event.API.Operation,
	}
	if len(si.Raw) <= MaxRaw {
		s.Raw = si.Raw
	}
	return s
}

// forged writes down what imitates a canary, once per record.
func (c *confirmation) forged() []Entry {
	var entries []Entry
	known := map[canary.Location]bool{}
	for _, rs := range c.state.Runs {
		for _, f := range rs.Forged {
			known[f.At] = true
		}
	}
	for _, si := range canary.Forged(c.seen.Sightings, c.state.Ours) {
		if known[si.At] || c.state.unanswered(si) {
			continue
		}
		known[si.At] = true
		f := sightedOf(si)
		entries = append(entries, Entry{Type: "forged", Run: c.anyRun(), Forged: &f})
	}
	return entries
}

// anyRun is the run that findings of no canary are written under: the latest.
func (c *confirmation) anyRun() string {
	return c.state.Runs[len(c.state.Runs)-1].ID
}

func (c *confirmation) sentence(begun time.Time) string {
	s := fmt.Sprintf("all decided after reading %d objects", c.objects)
	if len(c.open) > 0 {
		s = fmt.Sprintf("%d still awaited after %s, %d objects read", len(c.open), c.r.Clock().Sub(begun).Round(time.Second), c.objects)
	}
	unread, missed := "", "" // the last of each
	for _, p := range c.seen.Problems {
		text := strings.TrimPrefix(p.Object+": ", ": ") + p.Err
		if p.ClaimsOnly {
			missed = "; imitations of canaries may have been missed: " + text
		} else {
			unread = "; could not read " + text
		}
	}
	switch {
	case len(c.open) == 0:
	case c.seen.GaveUp != "":
		s += "; gave up: " + c.seen.GaveUp
	default:
		s += unread
	}
	return s + missed
}

// sameAnswers compares two verdicts but for the time at which they were given and
// how much had been read by then.
func sameAnswers(a, b canary.Verdict) bool {
	answers := func(v canary.Verdict) string {
		checks := map[canary.Check]canary.Answer{}
		for check, answer := range v.Checks {
			answer.Evidence = nil
			checks[check] = answer
		}
		text, _ := json.Marshal(checks)
		return string(text)
	}
	return answers(a) == answers(b) && reflect.DeepEqual(a.Records, b.Records)
}
