package run

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/auditcanary/auditcanary/shared/canary"
)

// attempt makes one call that must be denied, between two looks at what protects the
// thing: look, write down what was seen; only if it stands, intent, attempt, receipt;
// look again, write that down. Wherever the process dies, the ledger does not say more
// than was seen. It reports whether the next step may be made.
func (a *act) attempt(ctx context.Context, ps PlannedStep) (goOn bool, err error) {
	step := a.stepOf(ps)
	before, err := a.inspect(ctx, ps, step, canary.Before, nil)
	if err != nil || before.Standing(step).Status != canary.Pass {
		return false, err
	}
	in := canary.Intent{Step: ps.Step, Phase: canary.PhaseDo, Attempt: 1, Undo: ps.Undo}
	if in.Call, err = a.recall(ps.Call, before.Readings); err != nil {
		return false, a.blocked(ctx, ps, err)
	}
	if ps.Undo != nil {
		undo, err := a.resolve(*ps.Undo)
		if err != nil {
			return false, a.blocked(ctx, ps, err)
		}
		in.Undo = &undo
	}
	rec, err := a.make(ctx, in, func(ctx context.Context) canary.Receipt {
		return a.sess.Attempt(ctx, in.Call, before.Readings)
	})
	if err != nil {
		return false, err
	}
	// What was attempted is looked at whatever happens: the time for it is the undo's.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), undoTimeout)
	defer cancel()
	after, err := a.inspect(ctx, ps, step, canary.After, before.Readings)
	if err != nil {
		return false, err
	}
	refused := step.Refused(rec) || step.ByState != "" && rec.Outcome.Result == canary.Succeeded
	return refused && before.Kept(step, after).Status == canary.Pass, nil
}

// stepOf is the scenario's step that was planned so.
func (a *act) stepOf(ps PlannedStep) canary.Step {
	steps := a.plan.Scenario.Steps
	if i := slices.IndexFunc(steps, func(s canary.Step) bool { return s.ID == ps.Step }); i >= 0 {
		return steps[i]
	}
	return canary.Step{ID: ps.Step, Call: ps.Call.Operation} // without a look: nothing is attempted
}

// inspect makes a step's looks and writes down what they gave. After the attempt the
// very calls are made again that were made before it.
func (a *act) inspect(ctx context.Context, ps PlannedStep, step canary.Step, when canary.When, again []canary.Reading) (canary.Inspection, error) {
	c := a.plan.Canary
	seen := canary.Inspection{Step: ps.Step, When: when, Attempt: 1, Readings: []canary.Reading{}}
	for i, look := range ps.Looks {
		call, err := look, error(nil)
		if again != nil {
			call = again[i].Call
		} else if call, err = a.recall(look, seen.Readings); err != nil {
			seen.Readings = append(seen.Readings, canary.Reading{Call: look, RequestIDs: []string{}, Err: err.Error()})
			break
		}
		r := a.sess.Look(ctx, call)
		if i < len(step.Protection) {
			step.Protection[i].Weigh(&r)
		}
		seen.Readings = append(seen.Readings, r)
		if when == canary.Before && (r.Err != "" || r.Gone || r.Unfit != "" || r.Unmet != "") {
			break // decided, and the next look may have nothing to ask with
		}
	}
	a.evidence.Inspections = append(a.evidence.Inspections, seen)
	return seen, a.r.append(ctx, Entry{Type: "inspected", Run: c.Run, Canary: c.ID, Inspected: &seen})
}

// recall puts the replies of earlier steps and of looks into a call.
func (a *act) recall(call canary.Call, seen []canary.Reading) (canary.Call, error) {
	params, err := canary.Expand(call.Params, func(name string) (string, bool) {
		if strings.HasPrefix(name, "protection.") {
			return "${" + name + "}", true // next
		}
		val, ok := a.outputs[name]
		return val, ok
	})
	if err == nil {
		params, err = canary.Recall(params, seen)
	}
	if err != nil {
		return canary.Call{}, fmt.Errorf("%s: %w", call.Operation, err)
	}
	call.Params, _ = params.(map[string]any)
	return call, nil
}

func (a *act) blocked(ctx context.Context, ps PlannedStep, why error) error {
	c := a.plan.Canary
	return a.r.append(ctx, Entry{Type: "blocked", Run: c.Run, Canary: c.ID, Blocked: &Blocked{Reason: fmt.Sprintf("step %s: %v", ps.Step, why)}})
}
