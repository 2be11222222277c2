package wire

import (
	"context"
	"fmt"
	"slices"

	"github.com/auditcanary/auditcanary/shared/alertrule"
	"github.com/auditcanary/auditcanary/shared/run"
)

// AlertRules says which alerts could fire for the calls of plans: it reads the rules
// that the alerts name, as far as alert_path lists them, through the inspection role,
// and holds them against the records that the calls will leave. Promised says which
// alert is promised for which call; nil: each for each. What could not be read leaves
// the table undecided, with why. It makes no canary's call.
func AlertRules(ctx context.Context, c *Config, plans []run.Plan, alerts []alertrule.Alert, promised func(alertrule.Alert, alertrule.Call) bool) (alertrule.Table, error) {
	base, _, err := c.baseAWS(ctx)
	if err != nil {
		return alertrule.Table{}, err
	}
	inspector, err := c.inspector(base)
	if err != nil {
		return alertrule.Table{}, err
	}
	s := alertrule.Settings{Path: c.alertPath(SourcesOptions{})}
	s.Path.Topics, s.Path.LogGroups = nil, nil // no rule is read there
	if s.Snapshot, err = inspector.Alerts(ctx, s.Path); err != nil {
		return alertrule.Table{}, fmt.Errorf("read the rules of the alerts: %w", err)
	}
	return alertrule.NewTable(alerts, s, c.alertCalls(plans), promised), nil
}

// alertCalls are the calls of plans, each under its target's role.
func (c *Config) alertCalls(plans []run.Plan) (out []alertrule.Call) {
	for _, p := range plans {
		role := ""
		if i := slices.IndexFunc(c.Targets, func(t Target) bool { return t.Account == p.Canary.Target.Account }); i >= 0 {
			role = c.Targets[i].RoleARN
		}
		out = append(out, alertrule.Calls(p, role)...)
	}
	return out
}
