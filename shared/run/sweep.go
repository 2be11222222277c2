package run

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"time"

	"github.com/auditcanary/auditcanary/shared/canary"
)

// SweepResult says what a sweep did.
type SweepResult struct {
	// Undone are the calls that worked, "iam:DeleteRole auditcanary-...".
	Undone []string `json:"undone"`
	// Left is what still stands, with why.
	Left []string `json:"left"`
	// Listed are the places that were seen to be clean.
	Clean []canary.Target `json:"clean"`
	// Problems are places that could not be listed: they are not known to be clean.
	Problems []string `json:"problems"`
}

// Over is a run that nobody does any more, with what became of who did ("the function
// ended: Lambda.Unknown").
type Over struct{ Run, Why string }

func whyOver(over []Over, runID string) string {
	for _, o := range over {
		if o.Run == runID {
			return short(o.Why)
		}
	}
	return ""
}

// Sweep undoes what is owed. First from the journal: every call that was, or
// may have been, made and not undone, whatever became of its process. Then from
// the accounts: every place is listed for what canaries left, and what is found
// is removed, whether or not the journal knows it. At the end every place is
// listed again and the answer written down.
//
// olderThan spares runs younger than that which may still be under way; 0
// spares none. over are runs of which it is known that nobody does them any more, with
// the reason for the ledger: these are not spared. A run that somebody asked for may be
// done by whoever came first, and not by who ended: it is spared for as long as that
// takes, and if it has not begun, never begins.
func (r *Run) Sweep(ctx context.Context, olderThan time.Duration, over ...Over) (SweepResult, error) {
	var res SweepResult
	// Written before the ledger is read: a batch that a dying writer had begun is
	// settled by this append, so that the fold sees everything there will ever be.
	if err := r.append(ctx, Entry{Type: "sweeping"}); err != nil {
		return res, err
	}
	if err := r.giveUp(ctx, over); err != nil {
		return res, err
	}
	state, _, err := Fold(ctx, r.Log)
	if err != nil {
		return res, err
	}
	spared := map[string]bool{}
	for _, rs := range state.Runs {
		age := r.Clock().Sub(rs.At)
		known := slices.ContainsFunc(over, func(o Over) bool { return o.Run == rs.ID }) && (age >= lease || !state.askedFor(rs.ID))
		if !rs.Injected && !known && age < olderThan {
			spared[rs.ID] = true
		}
	}
	if err := r.sweepJournal(ctx, state, spared, &res); err != nil {
		return res, err
	}
	places := r.places(state)
	err = r.gather(ctx, len(places), &res, func(ctx context.Context, i int, one *SweepResult) error {
		return r.sweepPlace(ctx, state, places[i], spared, one)
	})
	if err != nil {
		return res, err
	}
	for _, rs := range state.Runs {
		if rs.Injected || spared[rs.ID] {
			continue
		}
		if err := r.append(ctx, Entry{Type: "injected", Run: rs.ID, Injected: &Injected{Abandoned: true, Why: whyOver(over, rs.ID)}}); err != nil {
			return res, err
		}
	}
	if state, _, err = Fold(ctx, r.Log); err != nil {
		return res, err
	}
	for _, cs := range state.Canaries {
		if spared[cs.Run.ID] {
			continue
		}
		for _, o := range cs.Evidence.ToUndo() {
			res.Problems = append(res.Problems, fmt.Sprintf("%s: %s is still owed (canary %s, step %s)", cs.Plan.Canary.Target.Account, o.Call.Operation, cs.Plan.Canary.ID, o.Step))
		}
	}
	return res, r.noteOwn(ctx, "")
}

// sweepJournal undoes what the ledger says is owed, under each canary's own session.
func (r *Run) sweepJournal(ctx context.Context, state *State, spared map[string]bool, res *SweepResult) error {
	var owing []*CanaryState
	for _, cs := range state.Canaries {
		if !spared[cs.Run.ID] && len(cs.Evidence.ToUndo()) > 0 {
			owing = append(owing, cs)
		}
	}
	var done atomic.Int64
	return r.gather(ctx, len(owing), res, func(ctx context.Context, i int, one *SweepResult) error {
		defer func() {
			r.progress("sweep", int(done.Add(1)), len(owing), "canary %s: %d calls undone", owing[i].Plan.Canary.ID, len(one.Undone))
		}()
		return r.undoOwed(ctx, owing[i], one)
	})
}

// gather does some parts of a sweep side by side, and puts their results together
// in order, however they end.
func (r *Run) gather(ctx context.Context, n int, res *SweepResult, part func(ctx context.Context, i int, one *SweepResult) error) error {
	results := make([]SweepResult, n)
	err := r.each(ctx, n, func(ctx context.Context, i int) error { return part(ctx, i, &results[i]) })
	for _, one := range results {
		res.Clean = append(res.Clean, one.Clean...)
		res.Undone = append(res.Undone, one.Undone...)
		res.Left = append(res.Left, one.Left...)
		res.Problems = append(res.Problems, one.Problems...)
	}
	if err == nil {
		err = ctx.Err() // what was not begun is not swept
	}
	return err
}

// undoOwed makes the undo calls that one canary owes.
func (r *Run) undoOwed(ctx context.Context, cs *CanaryState, res *SweepResult) error {
	c := cs.Plan.Canary
	sess, err := r.Clouds[c.Target.Provider].Open(ctx, cs.Plan)
	if err != nil {
		res.Problems = append(res.Problems, fmt.Sprintf("%s: undo of %s: %v", c.Target.Account, c.ID, err))
		return nil
	}
	a := &act{r: r, sess: sess, plan: cs.Plan, evidence: cs.Evidence, outputs: outputsOf(cs.Evidence)}
	before := len(a.evidence.Receipts)
	if err := a.undo(ctx); err != nil {
		return err
	}
	for _, rec := range a.evidence.Receipts[before:] {
		if rec.Undone() {
			res.Undone = append(res.Undone, fmt.Sprintf("%s (canary %s, step %s)", rec.Call.Operation, c.ID, rec.Step))
		}
	}
	return nil
}

func outputsOf(ev canary.Evidence) map[string]string {
	out := map[string]string{}
	for _, rec := range ev.Receipts {
		for path, val := range rec.Output {
			out["steps."+rec.Step+"."+path] = val
		}
	}
	return out
}

// sweepPlace lists one account and region, removes what is found, lists again.
func (r *Run) sweepPlace(ctx context.Context, state *State, t canary.Target, spared map[string]bool, res *SweepResult) error {
	left, err := r.listOne(ctx, "", t)
	if err != nil {
		return err
	}
	left = slices.DeleteFunc(left, func(l Leftover) bool { return spared[l.Run] })
	if len(left) > 0 {
		if err := r.remove(ctx, t, left, res); err != nil {
			return err
		}
	}
	listed, err := r.Sweepers[t.Provider].Leftovers(ctx, t)
	entry, unwritable := newListed(t, listed, err)
	if unwritable != nil {
		return unwritable
	}
	problems := slices.DeleteFunc(parts(err), func(one error) bool { return errors.Is(one, ErrNotConfigured) })
	for _, one := range problems {
		res.Problems = append(res.Problems, fmt.Sprintf("%s/%s: %v", t.Account, t.Region, one))
	}
	if len(problems) == 0 && len(listed) == 0 {
		res.Clean = append(res.Clean, t)
	}
	for _, l := range listed {
		res.Left = append(res.Left, fmt.Sprintf("%s/%s: %s %s", t.Account, t.Region, l.Kind, l.ID))
	}
	r.progress("sweep", 0, 0, "%s/%s: %d found, %d left", t.Account, t.Region, len(left), len(listed))
	return r.append(ctx, Entry{Type: "listed", Listed: entry})
}

func (r *Run) remove(ctx context.Context, t canary.Target, left []Leftover, res *SweepResult) error {
	sess, err := r.Sweepers[t.Provider].OpenSweep(ctx, t)
	if err != nil {
		res.Problems = append(res.Problems, fmt.Sprintf("%s/%s: %v", t.Account, t.Region, err))
		return nil
	}
	for _, l := range left {
		for _, call := range l.Undo {
			if err := r.append(ctx, Entry{Type: "swept", Run: l.Run, Swept: &Swept{Leftover: l, Call: call, Pending: true}}); err != nil {
				return err
			}
			rec := sess.Do(ctx, call, nil)
			rec.Call = call
			if err := r.append(ctx,
				Entry{Type: "swept", Run: l.Run, Swept: &Swept{Leftover: l, Call: call, Outcome: rec.Outcome}},
				Entry{Type: "own", Run: l.Run, Own: &Own{RequestIDs: rec.RequestIDs}}); err != nil {
				return err
			}
			if !rec.Undone() {
				res.Problems = append(res.Problems, fmt.Sprintf("%s/%s: %s of %s %s: %s %s", t.Account, t.Region, call.Operation, l.Kind, l.ID, rec.Outcome.Code, rec.Outcome.Message))
				break
			}
			res.Undone = append(res.Undone, fmt.Sprintf("%s (%s %s)", call.Operation, l.Kind, l.ID))
		}
	}
	return nil
}

// places are all that can hold something: the configured targets, the region of
// global services, and wherever the ledger says a canary acted.
func (r *Run) places(state *State) []canary.Target {
	var out []canary.Target
	add := func(t canary.Target) {
		if r.Sweepers[t.Provider] != nil && !slices.Contains(out, t) {
			out = append(out, t)
		}
	}
	for _, t := range r.Targets {
		add(t)
		t.Region = r.Global[t.Provider]
		add(t)
	}
	for _, cs := range state.Canaries {
		add(cs.Plan.Canary.Target)
	}
	return out
}
