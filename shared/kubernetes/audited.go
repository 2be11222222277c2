package kubernetes

import (
	"fmt"

	"github.com/auditcanary/auditcanary/shared/auditpolicy"
	"github.com/auditcanary/auditcanary/shared/run"
)

// Audited are the requests of a plan of which a record is expected, as the cluster's audit
// policy sees them. The error names the step.
func Audited(cl Cluster, p run.Plan) ([]auditpolicy.Expected, error) {
	if p.NotRun != "" {
		return nil, nil
	}
	var out []auditpolicy.Expected
	for _, st := range p.Steps {
		op, r, err := lookUp(st.Call.Operation, st.Call.Params)
		if err != nil {
			return nil, fmt.Errorf("%s step %s: %w", p.Scenario.ID, st.Step, err)
		}
		at, err := locate(st.Call.Operation, op, r)
		if err != nil {
			return nil, fmt.Errorf("%s step %s: %w", p.Scenario.ID, st.Step, err)
		}
		accounts := "system:serviceaccounts"
		q := auditpolicy.Request{
			User: "system:serviceaccount:" + cl.Namespace + ":" + serviceAccount, Groups: []string{accounts, accounts + ":" + cl.Namespace, "system:authenticated"},
			Verb: at.verb, APIGroup: at.group, Resource: at.resource, Subresource: at.subresource, Namespace: r.Namespace,
		}
		if at.verb != "create" || at.subresource != "" {
			q.Name = r.Name
		}
		out = append(out, auditpolicy.Expected{Name: p.Scenario.ID + " step " + st.Step, Category: p.Scenario.Category, Request: q})
	}
	return out, nil
}
