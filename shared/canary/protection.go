package canary

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/auditcanary/auditcanary/shared/event"
)

// When a protection was looked at.
type When string

const (
	Before When = "before" // the attempt: then nothing has been attempted
	After  When = "after"
)

// Inspection is what the looks at a step's protection gave, once.
type Inspection struct {
	Step    string `json:"step"`
	When    When   `json:"when"`
	Attempt int    `json:"attempt"` // of the step, from 1
	// Readings, one for each look of the step, in order; fewer if one could not be
	// made because an earlier one gave nothing to ask it with.
	Readings []Reading `json:"readings"`
}

// Reading is one look: what was asked, and what the service said.
type Reading struct {
	Call       Call      `json:"call"`
	Ended      time.Time `json:"ended"` // our clock
	RequestIDs []string  `json:"request_ids"`
	Outcome    Outcome   `json:"outcome"`
	// Gone: the service says that there is no such thing.
	Gone bool `json:"gone,omitempty"`
	// Reply holds, as a JSON object, the parts of the reply that do not change by
	// themselves; at most MaxReply bytes.
	Reply json.RawMessage `json:"reply,omitempty"`
	// Unfit and Unmet are the first of Requires, and of Expect, that does not hold.
	Unfit string `json:"unfit,omitempty"`
	Unmet string `json:"unmet,omitempty"`
	// Err says why it was not found out whether they hold; else "".
	Err string `json:"error,omitempty"`
}

// MaxReply bounds the reply of a reading, in bytes: the parameters of an attempt may
// repeat it, and an entry of the ledger holds them twice, or the replies of four looks.
const MaxReply = 12 << 10

// Weigh holds the reading's reply against what the look says must hold.
func (p Protection) Weigh(r *Reading) {
	if r.Err != "" || r.Gone {
		return
	}
	if r.Outcome.Result != Succeeded {
		r.Err = fmt.Sprintf("%s was answered %s: %s", r.Call.Operation, r.Outcome.Code, r.Outcome.Message)
		return
	}
	if len(p.Rules) != len(p.Requires)+len(p.Expect) {
		r.Err = "its expressions were not compiled"
		return
	}
	reply, err := r.reply()
	if err != nil {
		r.Err = err.Error()
		return
	}
	for i, rule := range p.Rules {
		holds, err := rule.Holds(reply, r.Call.Params, r.Ended)
		switch {
		case err != nil:
			r.Err = err.Error()
			return
		case !holds && i < len(p.Requires):
			r.Unfit = rule.Text
			return
		case !holds:
			r.Unmet = rule.Text
			return
		}
	}
}

func (r Reading) reply() (map[string]any, error) {
	var reply map[string]any
	if err := json.Unmarshal(r.Reply, &reply); err != nil {
		return nil, fmt.Errorf("the reply of %s is no JSON object: %w", r.Call.Operation, err)
	}
	return reply, nil
}

// Standing says whether an attempt may be made: Pass, or why not.
func (p Inspection) Standing(step Step) Answer {
	not := func(status Status, format string, args ...any) Answer {
		return Answer{Status: status, Step: step.ID, Detail: fmt.Sprintf(format, args...) + "; " + step.Call + " was not attempted"}
	}
	for i, r := range p.Readings {
		expects := i < len(step.Protection) && len(step.Protection[i].Expect) > 0
		switch {
		case r.Err != "":
			return not(Inconclusive, "what protects the thing could not be read: %s", r.Err)
		case r.Gone && expects:
			return not(Fail, "the protection is absent: %s says that there is none (%s)", r.Call.Operation, r.Outcome.Code)
		case r.Gone:
			return not(Inconclusive, "there is nothing that could be attempted harmlessly: %s says that there is none (%s)", r.Call.Operation, r.Outcome.Code)
		case r.Unfit != "":
			return not(Inconclusive, "the attempt would not be harmless: of the reply of %s, %s does not hold (it is %s)", r.Call.Operation, r.Unfit, brief(string(r.Reply)))
		case r.Unmet != "":
			return not(Fail, "the protection is absent: of the reply of %s, %s does not hold (it is %s)", r.Call.Operation, r.Unmet, brief(string(r.Reply)))
		}
	}
	if len(p.Readings) != len(step.Protection) {
		return not(Inconclusive, "what protects the thing was not read whole")
	}
	return Answer{Status: Pass}
}

// Kept says whether what was read before stands after the attempt: Pass; Fail,
// naming what changed; or Inconclusive, where that could not be read.
func (p Inspection) Kept(step Step, after Inspection) Answer {
	worst := Answer{Status: Pass}
	for i, b := range p.Readings {
		res := Answer{Status: Inconclusive, Detail: "what protects the thing was not read again: whether the attempt changed it is not known"}
		if i < len(after.Readings) {
			res = kept(b, after.Readings[i])
		}
		if res.Status.badness() > worst.Status.badness() {
			worst = res
		}
	}
	return worst
}

func kept(before, after Reading) Answer {
	if after.Gone {
		return Answer{Status: Fail, Detail: fmt.Sprintf("changed between the two looks: after the attempt, %s says that there is none (%s)", after.Call.Operation, after.Outcome.Code)}
	}
	was, err1 := before.reply()
	is, err2 := after.reply()
	switch {
	case after.Outcome.Result == Succeeded && err1 == nil && err2 == nil && !reflect.DeepEqual(was, is):
		return Answer{Status: Fail, Detail: fmt.Sprintf("changed between the two looks: of the reply of %s, %s", after.Call.Operation, change(was, is, ""))}
	case after.Err != "":
		return Answer{Status: Inconclusive, Detail: "whether the attempt changed anything could not be read: " + after.Err}
	case err1 != nil || err2 != nil:
		return Answer{Status: Inconclusive, Detail: "whether the attempt changed anything could not be read: " + errors.Join(err1, err2).Error()}
	case after.Unmet != "" || after.Unfit != "": // equal, and judged otherwise: time has passed
		return Answer{Status: Fail, Detail: fmt.Sprintf("after the attempt, of the reply of %s, %s no longer holds", after.Call.Operation, after.Unfit+after.Unmet)}
	}
	return Answer{Status: Pass}
}

// change names the first part in which two replies differ.
func change(was, is any, path string) string {
	w, isMap := was.(map[string]any)
	i, both := is.(map[string]any)
	if isMap && both {
		names := slices.Sorted(maps.Keys(w))
		for name := range i {
			if _, there := w[name]; !there {
				names = append(names, name)
			}
		}
		for _, name := range names {
			if !reflect.DeepEqual(w[name], i[name]) {
				return change(w[name], i[name], strings.TrimPrefix(path+"."+name, "."))
			}
		}
	}
	lw, isList := was.([]any)
	li, both := is.([]any)
	if isList && both && len(lw) == len(li) {
		for n := range lw {
			if !reflect.DeepEqual(lw[n], li[n]) {
				return change(lw[n], li[n], fmt.Sprintf("%s.%d", path, n))
			}
		}
	}
	return fmt.Sprintf("%s was %s and is %s", path, shown(was), shown(is))
}

func shown(v any) string {
	if v == nil {
		return "not there"
	}
	text, _ := json.Marshal(v) // it was read from JSON
	return brief(string(text))
}

func brief(s string) string {
	const most = 200
	if len(s) <= most {
		return s
	}
	return strings.ToValidUTF8(s[:most], "") + "..."
}

// inspection of a step, if there was one.
func (e Evidence) inspection(step string, when When) (Inspection, bool) {
	for _, p := range e.Inspections {
		if p.Step == step && p.When == when {
			return p, true
		}
	}
	return Inspection{}, false
}

// Inspected reports whether the protection of a step was looked at then.
func (e Evidence) Inspected(step string, when When) bool {
	_, ok := e.inspection(step, when)
	return ok
}

// judgeBefore: may the step's attempt have been made?
func judgeBefore(step Step, ev Evidence, attempted bool) Answer {
	if len(step.Protection) == 0 {
		return Answer{Status: Pass}
	}
	before, looked := ev.inspection(step.ID, Before)
	switch {
	case !looked && attempted:
		return Answer{Status: Inconclusive, Step: step.ID, Detail: step.Call + " was attempted, and the ledger does not say what protected the thing before"}
	case !looked:
		return Answer{Status: Pass} // never begun, which is said elsewhere
	}
	return before.Standing(step)
}

// judgeAttempt: what was answered, and what became of the thing. The worse of the
// two counts; where the answer says nothing, the thing alone does.
func judgeAttempt(answered Answer, step Step, r Receipt, ev Evidence) Answer {
	before, _ := ev.inspection(step.ID, Before)
	after, looked := ev.inspection(step.ID, After)
	state := Answer{Status: Inconclusive, Detail: "the run was interrupted before the protection was read again: whether " + step.Call + " changed anything is not known"}
	if looked {
		state = before.Kept(step, after)
	}
	if step.ByState != "" && r.Outcome.Result == Succeeded && len(r.RequestIDs) > 0 {
		if state.Status == Pass {
			state.Detail = "refused (by state): " + step.Call + " was answered with success, and what was read before stands unchanged"
		}
		return state
	}
	switch {
	case state.Status == Pass, answered.Status.badness() > state.Status.badness():
		return answered
	case answered.Status != Pass:
		state.Detail = answered.Detail + "; " + state.Detail
	}
	return state
}

// Refused reports whether the service refused a step's call: for want of rights, or
// with a code that the step says is the protection's own.
func (s Step) Refused(r Receipt) bool {
	return r.Outcome.Result == Refused || r.Outcome.Result == Failed && slices.Contains(s.RefusedWith, r.Outcome.Code)
}

// judgedByState: the call was answered with success, which says nothing.
func judgedByState(s Scenario, r Receipt) bool {
	i := slices.IndexFunc(s.Steps, func(st Step) bool { return st.ID == r.Step })
	return i >= 0 && s.Steps[i].ByState != "" && r.Outcome.Result == Succeeded && r.Phase == PhaseDo
}

// byState explains why the record of an attempt says that it was refused though it was
// answered with success: nil, if it does not say so or need not be.
func byState(s Scenario, r Receipt, record event.Event) *event.Difference {
	if !judgedByState(s, r) {
		return nil
	}
	if e := record.API.Error; e != "AccessDenied" && e != "AccessDeniedException" {
		return nil
	}
	return &event.Difference{Field: "api.error", Expected: r.Want.API.Error, Found: record.API.Error, Rule: "judged-by-state"}
}

// protectionRef begins the references to what was read before an attempt.
const protectionRef = "protection."

// Recall puts what was read into parameters: a string that is one reference
// ${protection.<path>} and nothing else becomes the value there, of whatever type; in
// other strings it stands for its text. "-1s" (a duration) at its end takes that from a
// time. The first of the readings that has the path is meant. Nothing else in the
// strings is touched: what was read may hold "${" of its own.
func Recall(v any, readings []Reading) (any, error) {
	return eachString(v, func(s string) (any, error) { return recallString(s, readings) })
}

func recallString(s string, readings []Reading) (any, error) {
	var b strings.Builder
	for {
		before, rest, found := strings.Cut(s, "${"+protectionRef)
		if !found {
			return b.String() + s, nil
		}
		path, after, closed := strings.Cut(rest, "}")
		if !closed {
			return nil, fmt.Errorf("reference %q is not closed", "${"+protectionRef+rest)
		}
		v, err := recalled(path, readings)
		if err != nil {
			return nil, err
		}
		if before == "" && after == "" && b.Len() == 0 {
			return v, nil
		}
		text, isText := v.(string)
		if !isText {
			raw, _ := json.Marshal(v)
			text = string(raw)
		}
		b.WriteString(before + text)
		s = after
	}
}

// recalled finds what one reference means.
func recalled(ref string, readings []Reading) (any, error) {
	path, less, takes := strings.Cut(ref, "-")
	for _, r := range readings {
		reply, err := r.reply()
		if err != nil {
			continue
		}
		v, there := valueAt(reply, strings.Split(path, "."))
		if !there {
			continue
		}
		if !takes {
			return v, nil
		}
		by, err := time.ParseDuration(less)
		text, _ := v.(string)
		at, err2 := time.Parse(time.RFC3339Nano, text)
		if err := errors.Join(err, err2); err != nil {
			return nil, fmt.Errorf("${%s%s}: %w", protectionRef, ref, err)
		}
		return at.Add(-by).Format(time.RFC3339Nano), nil
	}
	return nil, fmt.Errorf("${%s%s}: no reply that was read before has it", protectionRef, ref)
}

func valueAt(v any, path []string) (any, bool) {
	if len(path) == 0 {
		return v, v != nil
	}
	switch v := v.(type) {
	case map[string]any:
		x, there := v[path[0]]
		if !there {
			return nil, false
		}
		return valueAt(x, path[1:])
	case []any:
		if i, err := strconv.Atoi(path[0]); err == nil && i >= 0 && i < len(v) {
			return valueAt(v[i], path[1:])
		}
	}
	return nil, false
}
