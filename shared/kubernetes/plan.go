package kubernetes

import (
	"cmp"
	"errors"
	"fmt"
	"strings"

	rbacv1 "k8s.io/api/rbac/v1"

	"github.com/auditcanary/auditcanary/shared/canary"
	"github.com/auditcanary/auditcanary/shared/run"
)

// Plan implements run.Cloud. References to the replies of earlier steps stay open.
//
// The session policy is what RBAC must allow for this canary, as policy rules; the
// permissions are the same, since RBAC knows no session policies: what narrows a canary
// down to its own names is the fence.
func (c *Cloud) Plan(s canary.Scenario, cn canary.Canary) (run.Plan, error) {
	cl, err := c.cluster(cn.Target)
	if err != nil {
		return run.Plan{}, err
	}
	if !idForm.MatchString(cn.ID) || len(cn.ID) > 24 {
		return run.Plan{}, fmt.Errorf("canary id %q: want 1 to 24 of a-z, 0-9 and -", cn.ID)
	}
	if !idForm.MatchString(cn.Run) {
		return run.Plan{}, fmt.Errorf("run id %q: want 1 to 63 of a-z, 0-9 and -", cn.Run)
	}
	if len(s.Steps) == 0 {
		return run.Plan{}, errors.New("the scenario has no steps")
	}
	sc := cl.scene(cn)
	p := run.Plan{Canary: cn, Scenario: s}
	var needs rights
	for _, st := range s.Steps {
		step, err := planStep(sc, s.Kind, st, &needs)
		if err != nil {
			return run.Plan{}, fmt.Errorf("%sstep %q: %w", s.Position(st), st.ID, err)
		}
		p.Steps = append(p.Steps, step)
	}
	p.SessionPolicy = needs.json()
	p.Permissions = p.SessionPolicy
	return p, nil
}

// planStep works out one step, or says why it is refused.
func planStep(s scene, kind canary.Kind, st canary.Step, needs *rights) (run.PlannedStep, error) {
	if len(st.Protection) > 0 {
		return run.PlannedStep{}, CheckAttempt(st.Call, nil)
	}
	do, op, at, err := planCall(s, st.Call, st.Params, needs, kind == canary.MustBeDenied)
	if err != nil {
		return run.PlannedStep{}, err
	}
	switch {
	case kind == canary.DryRun:
		return run.PlannedStep{}, fmt.Errorf("%s: an API server does not tell a dry run by its answer: kind %s is not for clusters", st.Call, kind)
	case op.deniedOnly && kind != canary.MustBeDenied:
		return run.PlannedStep{}, fmt.Errorf("%s is only ever attempted: the scenario must be of kind %s, not %s", st.Call, canary.MustBeDenied, kind)
	}
	out := run.PlannedStep{Step: st.ID, Call: do, NoUndo: st.NoUndo, Record: run.ExpectedRecord{
		Service: cmp.Or(at.group, core), Operation: at.operation(), Region: Region, ReadOnly: op.readOnly,
	}}
	if err := st.ProveUndo(op.undo, false); err != nil || st.Undo == nil {
		return out, err
	}
	undo, undoOp, _, err := planCall(s, st.Undo.Call, st.Undo.Params, needs, false)
	if err != nil {
		return out, fmt.Errorf("undo: %w", err)
	}
	_, did, _ := lookUp(do.Operation, do.Params) // planCall has looked up the same
	_, undid, _ := lookUp(undo.Operation, undo.Params)
	if did.objectName() != undid.objectName() || did.Namespace != undid.Namespace {
		return out, fmt.Errorf("undo: %s is about %s/%s, but the call it must undo about %s/%s", undo.Operation, undid.Namespace, undid.objectName(), did.Namespace, did.objectName())
	}
	if undoOp.restores && lookAt(undid.plain, "spec", "failurePolicy") != "Fail" {
		return out, fmt.Errorf("undo: %s must put spec.failurePolicy back to Fail", undo.Operation)
	}
	undo.Gone = st.Undo.Gone
	out.Undo = &undo
	return out, nil
}

// planCall expands and checks one call, and notes the rights it needs: none, if it
// must be denied.
func planCall(s scene, name string, params map[string]any, needs *rights, denied bool) (canary.Call, operation, endpoint, error) {
	expanded, err := expand(s, params)
	if err != nil {
		return canary.Call{}, operation{}, endpoint{}, fmt.Errorf("%s: %w", name, err)
	}
	op, r, err := lookUp(name, expanded)
	if err != nil {
		return canary.Call{}, op, endpoint{}, err
	}
	if err := op.check(s, r); err != nil {
		return canary.Call{}, op, endpoint{}, fmt.Errorf("%s: %w", name, err)
	}
	at, err := locate(name, op, r)
	if err != nil {
		return canary.Call{}, op, at, err
	}
	if !denied {
		needs.add(op, at, r)
	}
	return canary.Call{Operation: name, Region: Region, Params: expanded}, op, at, nil
}

// expand resolves the references a plan can resolve, and leaves the others.
func expand(s scene, params map[string]any) (map[string]any, error) {
	var noFixture error
	out, err := canary.ExpandAhead(params, func(ref string) (string, bool) {
		switch ref {
		case "name":
			return s.name, true
		case "canary":
			return s.canary, true
		case "run":
			return s.run, true
		case "account":
			return s.cluster.Name, true
		case "region":
			return Region, true
		}
		if name, ok := strings.CutPrefix(ref, "fixture."); ok {
			v, ok := s.cluster.fixture(name)
			if !ok && noFixture == nil {
				noFixture = fmt.Errorf("${fixture.%s} is %w for cluster %s: add %s under fixtures of that cluster in auditcanary.yaml", name, run.ErrNotConfigured, s.cluster.Name, name)
			}
			return v, true
		}
		return "${" + ref + "}", strings.HasPrefix(ref, "steps.")
	})
	if err = errors.Join(noFixture, err); err != nil {
		return nil, err
	}
	return out, nil
}

// rights are RBAC rules: of the whole cluster, and of the canaries' namespace.
type rights struct {
	Cluster   []rbacv1.PolicyRule `json:"cluster,omitempty"`
	Namespace []rbacv1.PolicyRule `json:"namespace,omitempty"`
}

// add what a call needs.
func (n *rights) add(op operation, at endpoint, r request) {
	rule := func(verb, group, resource string, names ...string) rbacv1.PolicyRule {
		return rbacv1.PolicyRule{Verbs: []string{verb}, APIGroups: []string{group}, Resources: []string{resource}, ResourceNames: names}
	}
	if r.Impersonate != nil {
		n.Cluster = append(n.Cluster, rule("impersonate", "", "users", r.Impersonate.User))
		for _, g := range r.Impersonate.Groups {
			n.Cluster = append(n.Cluster, rule("impersonate", "", "groups", g))
		}
		return // what is done is the impersonated user's to be allowed
	}
	need := rule(at.verb, at.group, at.kind())
	if op.byName {
		need.ResourceNames = []string{r.Name}
	}
	if op.namespaced {
		n.Namespace = append(n.Namespace, need)
	} else {
		n.Cluster = append(n.Cluster, need)
	}
	// Nobody may grant what he does not hold.
	if rules, _ := r.plain["rules"].([]any); len(rules) > 0 {
		n.Cluster = append(n.Cluster, harmlessRule)
	}
}
