package run

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/auditcanary/auditcanary/shared/canary"
	"github.com/auditcanary/auditcanary/shared/ledger"
)

// Inject plans a run, writes the plan down, and does its canaries: each call's
// intent before it, its receipt after it, its undo at the end. What goes wrong
// with one canary is in its evidence; an error means that the run itself could
// not go on (the ledger did not take an entry: then nothing further is done).
//
// A run is begun once: called again with the id of a run that the ledger knows
// (a scheduler that delivers twice), Inject does nothing.
func (r *Run) Inject(ctx context.Context, runID string) error {
	plans, err := r.PlanAll(runID)
	if err != nil {
		return err
	}
	if r.Register != nil {
		// Before anything is done: a register that cannot be read would stop the end of it.
		if _, err := r.NoteRegister(ctx); err != nil {
			return err
		}
	}
	begun, err := r.begin(ctx, runID, plans)
	if err != nil || !begun {
		return err
	}
	r.progress("plan", len(plans), len(plans), "run %s: %d canaries planned", runID, len(plans))

	var done atomic.Int64
	err = r.each(ctx, len(plans), func(ctx context.Context, i int) error {
		defer func() {
			c := plans[i].Canary
			r.progress("inject", int(done.Add(1)), len(plans), "%s at %s/%s", c.Scenario, c.Target.Account, c.Target.Region)
		}()
		return r.perform(ctx, plans[i])
	})
	if err != nil {
		return err
	}
	if err := r.list(ctx, runID, targetsIn(plans)); err != nil {
		return err
	}
	if err := r.noteOwn(ctx, runID); err != nil {
		return err
	}
	return r.append(ctx, Entry{Type: "injected", Run: runID, Injected: &Injected{}})
}

// begin claims the run id and writes the plans down in one batch, at the very
// size of the ledger at which the id was seen to be free. It reports false if
// the run was begun before.
func (r *Run) begin(ctx context.Context, runID string, plans []Plan) (bool, error) {
	entries := []Entry{{Type: "begun", Run: runID, Begun: &Begun{
		Version: r.Version, ConfigHash: r.ConfigHash,
		CatalogueHash: CatalogueHash(r.Scenarios), Canaries: len(plans),
	}}}
	for i := range plans {
		entries = append(entries, Entry{Type: "planned", Run: runID, Canary: plans[i].Canary.ID, Planned: &plans[i]})
	}
	if r.asked != nil {
		asked := *r.asked
		asked.Run = runID
		entries = append(entries, Entry{Type: "asked", Run: runID, Asked: &asked})
	}
	leaves, err := r.encode(entries)
	if err != nil {
		return false, err
	}
	for {
		state, cp, err := Fold(ctx, r.Log)
		if err != nil {
			return false, err
		}
		if state.Run(runID) != nil {
			r.progress("plan", 0, 0, "run %s was begun before: nothing is done twice", runID)
			return false, nil
		}
		if r.asked != nil {
			if known, _ := state.Ask(r.asked.ID); known.Refused != "" {
				return false, errRefused
			}
			if r.underWay(state) {
				return false, errUnderWay
			}
		}
		_, err = r.Log.AppendAt(ctx, cp.Size, leaves...)
		if errors.Is(err, ledger.ErrMoved) {
			continue // somebody else appended: look again
		}
		if err != nil {
			return false, fmt.Errorf("begin run %s: %w", runID, err)
		}
		return true, nil
	}
}

// each runs f for 0..n-1, at most Parallel at a time, and stops beginning new
// ones once one has failed. It returns the first error.
func (r *Run) each(ctx context.Context, n int, f func(ctx context.Context, i int) error) error {
	parallel := r.Parallel
	if parallel <= 0 {
		parallel = 8
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	slots := make(chan struct{}, parallel)
	var wg sync.WaitGroup
	var once sync.Once
	var first error
	for i := range n {
		select {
		case slots <- struct{}{}:
		case <-ctx.Done():
		}
		if ctx.Err() != nil {
			break
		}
		wg.Add(1)
		go func() {
			defer wg.Done()
			defer func() { <-slots }()
			if err := f(ctx, i); err != nil {
				once.Do(func() { first = err })
				cancel(err)
			}
		}()
	}
	wg.Wait()
	return first
}

// perform does one canary: opens its session, makes its calls, undoes them.
// Cancelling ctx begins no further call but still undoes.
func (r *Run) perform(ctx context.Context, p Plan) error {
	c := p.Canary
	if p.NotRun != "" {
		return nil // the plan says why
	}
	if ctx.Err() != nil {
		return nil // never begun; the fold says so
	}
	sess, err := r.Clouds[c.Target.Provider].Open(ctx, p)
	if err != nil {
		return r.append(ctx, Entry{Type: "blocked", Run: c.Run, Canary: c.ID, Blocked: &Blocked{Reason: err.Error()}})
	}
	a := &act{r: r, sess: sess, plan: p, outputs: map[string]string{}}
	for _, ps := range p.Steps {
		if ctx.Err() != nil {
			break
		}
		goOn, err := a.do(ctx, ps)
		if err != nil {
			return err
		}
		if !goOn {
			break
		}
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), undoTimeout)
	defer cancel()
	return a.undo(ctx)
}

const (
	// undoTimeout bounds the undo of one canary, retries among it.
	undoTimeout = 3 * time.Minute
	// undoAttempts in one go; after that a sweep takes over.
	undoAttempts = 3
)

// act is one canary being done.
type act struct {
	r        *Run
	sess     Prober
	plan     Plan
	evidence canary.Evidence
	outputs  map[string]string // "steps.create.Role.Arn" -> value
}

// do makes one call: intent, effect, receipt. It reports whether the next step
// may be made.
func (a *act) do(ctx context.Context, ps PlannedStep) (goOn bool, err error) {
	if len(ps.Looks) > 0 {
		return a.attempt(ctx, ps)
	}
	call, err := a.resolve(ps.Call)
	if err != nil {
		return false, a.r.append(ctx, Entry{Type: "blocked", Run: a.plan.Canary.Run, Canary: a.plan.Canary.ID, Blocked: &Blocked{Reason: fmt.Sprintf("step %s: %v", ps.Step, err)}})
	}
	in := canary.Intent{Step: ps.Step, Phase: canary.PhaseDo, Attempt: 1, Call: call}
	if ps.Undo != nil {
		// References to this call's own reply stay open until there is one.
		undo, err := a.resolve(*ps.Undo)
		if err != nil {
			undo = *ps.Undo
		}
		in.Undo = &undo
	}
	rec, err := a.call(ctx, in)
	if err != nil {
		return false, err
	}
	for path, val := range rec.Output {
		a.outputs["steps."+ps.Step+"."+path] = val
	}
	switch a.plan.Scenario.Kind {
	case canary.DryRun:
		return rec.Outcome.Result == canary.Failed, nil
	case canary.MustBeDenied:
		return rec.Outcome.Result == canary.Refused, nil
	default:
		return rec.Outcome.Result == canary.Succeeded, nil
	}
}

// call writes the intent, makes the call, writes the receipt.
func (a *act) call(ctx context.Context, in canary.Intent) (canary.Receipt, error) {
	return a.make(ctx, in, func(ctx context.Context) canary.Receipt {
		return a.sess.Do(ctx, in.Call, a.refsTo(in.Step))
	})
}

// make is call, however the call is made.
func (a *act) make(ctx context.Context, in canary.Intent, effect func(context.Context) canary.Receipt) (canary.Receipt, error) {
	c := a.plan.Canary
	// With it goes how the session came about, while this process lives to say so.
	if err := a.r.append(ctx, append(a.r.own(c.Run), Entry{Type: "intent", Run: c.Run, Canary: c.ID, Intent: &in})...); err != nil {
		return canary.Receipt{}, err
	}
	a.evidence.Intents = append(a.evidence.Intents, in)
	rec := effect(ctx)
	rec.Canary, rec.Step, rec.Phase, rec.Attempt, rec.Call = c.ID, in.Step, in.Phase, in.Attempt, in.Call
	a.evidence.Receipts = append(a.evidence.Receipts, rec)
	return rec, a.r.append(ctx, Entry{Type: "receipt", Run: c.Run, Canary: c.ID, Receipt: &rec})
}

// undo makes the calls still owed, last first, until they work or undoAttempts
// are used up. What remains owed is in the ledger for the sweep.
func (a *act) undo(ctx context.Context) error {
	for round := range undoAttempts {
		owed := a.evidence.ToUndo()
		if len(owed) == 0 {
			return nil
		}
		if round > 0 && a.r.Sleep(ctx, time.Duration(round)*time.Second) != nil {
			return nil // out of time: the sweep's
		}
		tried := false
		for _, o := range owed {
			call, err := a.resolve(o.Call)
			if err != nil {
				continue // its own reply was lost: only listing the account can find it
			}
			tried = true
			in := canary.Intent{Step: o.Step, Phase: canary.PhaseUndo, Attempt: o.Attempt, Call: call}
			rec, err := a.call(ctx, in)
			if err != nil {
				return err
			}
			if !rec.Undone() {
				break // the earlier steps' undo may depend on it
			}
		}
		if !tried {
			return nil // waiting does not bring a lost reply back
		}
	}
	return nil
}

// resolve puts the replies of earlier steps in.
func (a *act) resolve(call canary.Call) (canary.Call, error) {
	params, err := canary.Expand(call.Params, func(name string) (string, bool) {
		val, ok := a.outputs[name]
		return val, ok
	})
	if err != nil {
		return canary.Call{}, fmt.Errorf("%s: %w", call.Operation, err)
	}
	call.Params, _ = params.(map[string]any)
	return call, nil
}

// refsTo lists the paths of a step's reply that any call of the plan refers to.
func (a *act) refsTo(step string) []string {
	var refs []string
	for _, ps := range a.plan.Steps {
		names := canary.References(ps.Call.Params)
		if ps.Undo != nil {
			names = append(names, canary.References(ps.Undo.Params)...)
		}
		for _, n := range names {
			if path, ok := strings.CutPrefix(n, "steps."+step+"."); ok {
				refs = append(refs, path)
			}
		}
	}
	return refs
}

// list asks each target for what canaries left, and writes the answer down.
func (r *Run) list(ctx context.Context, runID string, targets []canary.Target) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), undoTimeout)
	defer cancel()
	return r.each(ctx, len(targets), func(ctx context.Context, i int) error {
		_, err := r.listOne(ctx, runID, targets[i])
		return err
	})
}

func (r *Run) listOne(ctx context.Context, runID string, t canary.Target) ([]Leftover, error) {
	left, err := r.Sweepers[t.Provider].Leftovers(ctx, t)
	listed, err := newListed(t, left, err)
	if err != nil {
		return nil, err
	}
	return left, r.append(ctx, Entry{Type: "listed", Run: runID, Listed: listed})
}

// targetsIn lists where the plans act, each once, in order.
func targetsIn(plans []Plan) []canary.Target {
	var out []canary.Target
	seen := map[canary.Target]bool{}
	for _, p := range plans {
		if t := p.Canary.Target; !seen[t] {
			seen[t] = true
			out = append(out, t)
		}
	}
	return out
}
