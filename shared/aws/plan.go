package aws

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"

	"github.com/auditcanary/auditcanary/shared/canary"
	"github.com/auditcanary/auditcanary/shared/event"
	"github.com/auditcanary/auditcanary/shared/run"
)

// maxSessionPolicy is what STS takes as an inline session policy, in characters.
const maxSessionPolicy = 2048

// everyName is the pattern of the names of all canaries of all runs: a run's id begins with
// its day (run.NewRunID, run.RunFor). No role, policy or rule of our own deployment is
// called so, and none can be reached by what is granted on canaries' things.
const everyName = canary.Marker + "-2*"

// Plan implements run.Cloud. References to the replies of earlier steps stay
// open, and so does the escape "$${": the run resolves both before each call.
func (c *Cloud) Plan(s canary.Scenario, cn canary.Canary) (run.Plan, error) {
	t, err := c.target(cn.Target)
	if err != nil {
		return run.Plan{}, err
	}
	if !idForm.MatchString(cn.ID) || len(cn.ID) > 24 {
		return run.Plan{}, fmt.Errorf("canary id %q: want 1 to 24 of a-z, 0-9 and -", cn.ID)
	}
	if !idForm.MatchString(cn.Run) || len(cn.Run) > 64 {
		return run.Plan{}, fmt.Errorf("run id %q: want 1 to 64 of a-z, 0-9 and -", cn.Run)
	}
	if len(s.Steps) == 0 {
		return run.Plan{}, errors.New("the scenario has no steps")
	}
	exact := t.scene(cn.Target.Region, cn.Run, cn.Name())
	// What the role needs once and for all: for any canary of any run.
	standing := t.scene(cn.Target.Region, "*", everyName)

	p := run.Plan{Canary: cn, Scenario: s}
	var session, permissions []statement
	for _, st := range s.Steps {
		step, err := planStep(t, exact, s.Kind, st)
		if err != nil {
			return run.Plan{}, fmt.Errorf("%sstep %q: %w", s.Position(st), st.ID, err)
		}
		p.Steps = append(p.Steps, step)
		if len(step.Looks) > 0 {
			session = append(session, exact.attemptStatements(step.Call, step.Looks)...)
			permissions = append(permissions, standing.attemptStatements(looselyAttempt(t, standing, st))...)
		} else {
			session = append(session, exact.statements(step.Call)...)
			permissions = append(permissions, standing.statements(loosely(t, standing, st.Call, st.Params))...)
		}
		if step.Undo != nil {
			session = append(session, exact.statements(*step.Undo)...)
			permissions = append(permissions, standing.statements(loosely(t, standing, st.Undo.Call, st.Undo.Params))...)
		}
	}
	p.SessionPolicy, p.Permissions = policy(session), policy(permissions)
	if n := len(p.SessionPolicy); n > maxSessionPolicy {
		return run.Plan{}, fmt.Errorf("its session policy has %d characters, %d more than STS takes: split the scenario", n, n-maxSessionPolicy)
	}
	return p, nil
}

// planStep works out one step, or says why it is refused.
func planStep(t Target, s scene, kind canary.Kind, st canary.Step) (run.PlannedStep, error) {
	admitted := planCall
	seen, err := planLooks(t, s, st)
	if err != nil {
		return run.PlannedStep{}, err
	}
	if len(seen) > 0 {
		if kind != canary.MustBeDenied {
			return run.PlannedStep{}, fmt.Errorf("%s has a protection, but the scenario is %s: only what must be denied is attempted", st.Call, kind)
		}
		admitted = planAttempt
	}
	do, op, err := admitted(t, s, st.Call, st.Params)
	if err != nil {
		return run.PlannedStep{}, err
	}
	if dry := do.Params["DryRun"] == true; dry != (kind == canary.DryRun) {
		if dry {
			return run.PlannedStep{}, fmt.Errorf("%s: DryRun is set, but the scenario is %s: its kind must be %s", st.Call, kind, canary.DryRun)
		}
		return run.PlannedStep{}, fmt.Errorf("%s: a scenario of kind %s must set DryRun: true", st.Call, kind)
	}
	service, name, _ := strings.Cut(st.Call, ":")
	out := run.PlannedStep{Step: st.ID, Call: do, Looks: seen, NoUndo: st.NoUndo, Record: run.ExpectedRecord{
		Service: service + ".amazonaws.com", Region: do.Region, ReadOnly: op.readOnly, DataEvent: op.dataEvent,
	}}
	out.Record.Operation = event.RecordedOperation(out.Record.Service, name)
	if err := st.ProveUndo(op.undo, kind == canary.DryRun || op.idle != nil && op.idle.check(s, st.Call, do.Params) == nil); err != nil || st.Undo == nil {
		return out, err
	}
	undo, _, err := planCall(t, s, st.Undo.Call, st.Undo.Params)
	if err != nil {
		return out, fmt.Errorf("undo: %w", err)
	}
	if err := op.undone.check(s, undo.Operation, undo.Params); err != nil {
		return out, fmt.Errorf("undo: %w", err)
	}
	for _, form := range op.subject {
		if err := sameSubject(form, st.ID, do, undo); err != nil {
			return out, fmt.Errorf("undo: %w", err)
		}
	}
	undo.Gone = st.Undo.Gone
	out.Undo = &undo
	return out, nil
}

// sameSubject: the undo acts on what the call acted on; see operation.subject.
func sameSubject(form, step string, do, undo canary.Call) error {
	param, named, other := strings.Cut(form, "=")
	if !other {
		named = param
	}
	got := lookAt(undo.Params, named)
	text, _ := got.(string)
	switch {
	case param == "":
		if list, ok := got.([]any); ok && len(list) == 1 {
			text, _ = list[0].(string)
		}
		if strings.HasPrefix(text, "${steps."+step+".") && strings.HasSuffix(text, "}") {
			return nil
		}
		return fmt.Errorf("%s names %s %v: it must be what the call it must undo replied, ${steps.%s.<path>}", undo.Operation, named, got, step)
	case reflect.DeepEqual(lookAt(do.Params, param), got):
		return nil
	case other && strings.HasPrefix(text, "arn:") && lastPart(text) != "" && lastPart(text) == lastPart(textAt(do.Params, param)):
		return nil
	}
	return fmt.Errorf("%s names %s %v, but the call it must undo %v", undo.Operation, named, got, lookAt(do.Params, param))
}

// planCall expands and checks one call.
func planCall(t Target, s scene, name string, params map[string]any) (canary.Call, operation, error) {
	expanded, err := expand(t, s, params)
	if err != nil {
		return canary.Call{}, operation{}, fmt.Errorf("%s: %w", name, err)
	}
	op, _, err := lookUp(name, expanded)
	if err != nil {
		return canary.Call{}, op, err
	}
	if err := op.guards.check(s, name, expanded); err != nil {
		return canary.Call{}, op, err
	}
	region := s.region
	if op.global {
		region = homeRegion(s.partition)
	}
	return canary.Call{Operation: name, Region: region, Params: expanded}, op, nil
}

// expand resolves the references a plan can resolve, and leaves the others.
func expand(t Target, s scene, params map[string]any) (map[string]any, error) {
	var noFixture error
	out, err := canary.ExpandAhead(params, func(ref string) (string, bool) {
		switch ref {
		case "name":
			return s.name, true
		case "canary":
			return s.canaryID(), true
		case "run":
			return s.run, true
		case "account":
			return s.account, true
		case "region":
			return s.region, true
		case "partition":
			return s.partition, true
		}
		if name, ok := strings.CutPrefix(ref, "fixture."); ok {
			v, ok := t.fixture(s.region, name)
			if !ok && noFixture == nil {
				noFixture = fmt.Errorf("${fixture.%s} is %w for %s/%s: add %s under fixtures of that target (region %q or \"*\") in auditcanary.yaml", name, run.ErrNotConfigured, s.account, s.region, name, s.region)
			}
			return v, true
		}
		return "${" + ref + "}", strings.HasPrefix(ref, "steps.") || strings.HasPrefix(ref, "protection.")
	})
	if err = errors.Join(noFixture, err); err != nil {
		return nil, err
	}
	return out, nil
}

// loosely expands a call that has been planned already for any canary of any run.
func loosely(t Target, s scene, name string, params map[string]any) canary.Call {
	expanded, _ := expand(t, s, params) // planCall has expanded the same
	return canary.Call{Operation: name, Params: expanded}
}

// looselyAttempt is loosely for a step with a protection.
func looselyAttempt(t Target, s scene, st canary.Step) (canary.Call, []canary.Call) {
	var seen []canary.Call
	for _, p := range st.Protection {
		seen = append(seen, loosely(t, s, p.Read, p.Params))
	}
	return loosely(t, s, st.Call, st.Params), seen
}

// maxManagedPolicy is what IAM takes as a managed policy, in characters; a role
// takes ten of them.
const maxManagedPolicy = 6144

// Permissions merges what the plans need with what sweeping and reading the
// event history of their accounts need, as identity policies for the injector's
// role, each small enough for a managed policy. It is deterministic.
func Permissions(plans []run.Plan) ([]json.RawMessage, error) {
	all, err := permitted(plans)
	if err != nil {
		return nil, err
	}
	return divide(merge(all), maxManagedPolicy)
}

// permitted are the statements of Permissions, as the plans have them.
func permitted(plans []run.Plan) ([]statement, error) {
	var all []statement
	for _, p := range plans {
		if p.NotRun != "" {
			continue
		}
		var doc struct{ Statement []statement }
		if err := json.Unmarshal(p.Permissions, &doc); err != nil {
			return nil, fmt.Errorf("permissions of canary %s: %w", p.Canary.ID, err)
		}
		all = append(all, doc.Statement...)
		at := p.Canary.Target
		s := scene{partition: partitionOf(at.Region), account: at.Account, region: at.Region}
		for _, g := range reads() {
			all = append(all, s.statement(g, nil))
		}
		if slices.ContainsFunc(p.Steps, func(ps run.PlannedStep) bool { return len(ps.Looks) > 0 }) {
			for _, g := range accountReads {
				all = append(all, s.statement(g, nil))
			}
		}
	}
	return all, nil
}

// divide packs statements into as few policies of at most some characters as fit, in order.
func divide(sts []statement, most int) ([]json.RawMessage, error) {
	var docs []json.RawMessage
	for len(sts) > 0 {
		n := 1
		for n < len(sts) && len(compact(sts[:n+1])) <= most {
			n++
		}
		doc := compact(sts[:n])
		if len(doc) > most {
			return nil, fmt.Errorf("one statement of the permissions has %d characters, and a managed policy takes %d, beginning %.200s", len(doc), most, doc)
		}
		docs, sts = append(docs, doc), sts[n:]
	}
	return docs, nil
}

// statement of an IAM policy. Condition values are compared with StringLike,
// which is equality where there is no wildcard; or a key must not be there (Null).
type statement struct {
	Effect    string
	Action    words
	Resource  words
	Condition map[string]map[string]string `json:",omitempty"`
}

// words is written as a string when it is one.
type words []string

func (w words) MarshalJSON() ([]byte, error) {
	if len(w) == 1 {
		return json.Marshal(w[0])
	}
	return json.Marshal([]string(w))
}

func (w *words) UnmarshalJSON(b []byte) error {
	var one string
	if json.Unmarshal(b, &one) == nil {
		*w = words{one}
		return nil
	}
	return json.Unmarshal(b, (*[]string)(w))
}

// statements a call needs.
func (s scene) statements(call canary.Call) []statement {
	var out []statement
	for _, g := range operations()[call.Operation].grants {
		out = append(out, s.statement(g, call.Params))
	}
	return out
}

func (s scene) statement(g grant, params map[string]any) statement {
	st := statement{Effect: "Allow", Action: g.actions, Resource: s.fill(g.resource, params)}
	for k, template := range g.when {
		operator, value := "StringLike", strings.Join(s.fill(template, params), "")
		if template == notGiven {
			operator, value = "Null", "true"
		}
		if st.Condition == nil {
			st.Condition = map[string]map[string]string{}
		}
		if st.Condition[operator] == nil {
			st.Condition[operator] = map[string]string{}
		}
		st.Condition[operator][k] = value
	}
	return st
}

// policy is a document of statements, merged.
func policy(sts []statement) json.RawMessage { return compact(merge(sts)) }

// merge unites statements: those of equal resource and condition join their
// actions, then those of equal action and condition their resources. Sorted.
func merge(sts []statement) []statement {
	sts = join(sts, func(s *statement) (*words, words) { return &s.Action, s.Resource })
	sts = join(sts, func(s *statement) (*words, words) { return &s.Resource, s.Action })
	slices.SortFunc(sts, func(a, b statement) int {
		return cmp.Or(slices.Compare(a.Action, b.Action), slices.Compare(a.Resource, b.Resource), strings.Compare(conditionKey(a), conditionKey(b)))
	})
	return sts
}

// compact writes statements as one document.
func compact(sts []statement) json.RawMessage {
	doc, err := json.Marshal(struct {
		Version   string
		Statement []statement
	}{"2012-10-17", sts})
	if err != nil {
		panic(err) // strings and maps of strings only
	}
	return doc
}

// join unites the statements that differ only in the words field gives first.
func join(sts []statement, field func(*statement) (grow *words, same words)) []statement {
	groups := map[string]*statement{}
	for _, st := range sts {
		grow, same := field(&st)
		k := strings.Join(slices.Sorted(slices.Values(same)), " ") + "\n" + conditionKey(st)
		if g, ok := groups[k]; ok {
			into, _ := field(g)
			*into = append(slices.Clone(*into), *grow...)
			continue
		}
		groups[k] = &st
	}
	var out []statement
	for _, k := range slices.Sorted(maps.Keys(groups)) {
		st := *groups[k]
		grow, _ := field(&st)
		*grow = slices.Compact(slices.Sorted(slices.Values(*grow)))
		out = append(out, st)
	}
	return out
}

func conditionKey(s statement) string {
	b, _ := json.Marshal(s.Condition) // map keys are sorted
	return string(b)
}
