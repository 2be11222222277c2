package wire

import (
	"context"
	"fmt"
	"slices"
	"sync"

	awssdk "github.com/aws/aws-sdk-go-v2/aws"

	"github.com/auditcanary/auditcanary/shared/alertrule"
	"github.com/auditcanary/auditcanary/shared/run"
)

// AlertRules says which of the promised alerts could ring for the calls of plans: it
// reads the rules that the alerts name, as far as alert_path lists them, through the
// inspection role, and holds them against the records that the calls will leave. What
// could not be read leaves the table undecided, with why. It makes no canary's call.
func AlertRules(ctx context.Context, c *Config, plans []run.Plan) (alertrule.Table, error) {
	if len(c.Alerts) == 0 {
		return alertrule.Table{}, fmt.Errorf("%s does not say where any alert arrives (alerts)", c.file)
	}
	base, _, err := c.baseAWS(ctx)
	if err != nil {
		return alertrule.Table{}, err
	}
	settings, err := c.alertRules(base)(ctx)
	if err != nil {
		return alertrule.Table{}, err
	}
	promises := map[string][]PromisedAlert{}
	for _, p := range plans {
		promises[p.Scenario.ID] = c.Promised(p.Scenario)
	}
	var alerts []alertrule.Alert
	for _, a := range c.Alerts {
		alerts = append(alerts, alertrule.Alert{Name: a.Name, Rules: a.Rules})
	}
	return alertrule.NewTable(alerts, settings, c.alertCalls(plans), func(a alertrule.Alert, call alertrule.Call) bool {
		return slices.ContainsFunc(promises[call.Scenario], func(p PromisedAlert) bool {
			return p.Alert == a.Name && (p.Step == "" || p.Step == call.Step) && (p.On == "" || string(p.On) == string(call.Outcome))
		})
	}), nil
}

// alertRules reads the rules that stand on the way of alerts, once, when they are asked for.
func (c *Config) alertRules(base awssdk.Config) func(ctx context.Context) (alertrule.Settings, error) {
	var mu sync.Mutex
	var known *alertrule.Settings
	return func(ctx context.Context) (alertrule.Settings, error) {
		mu.Lock()
		defer mu.Unlock()
		if known != nil {
			return *known, nil
		}
		inspector, err := c.inspector(base)
		if err != nil {
			return alertrule.Settings{}, err
		}
		s := alertrule.Settings{Path: c.alertPath(SourcesOptions{})}
		s.Path.Topics, s.Path.LogGroups = nil, nil // no rule is read there
		if s.Snapshot, err = inspector.Alerts(ctx, s.Path); err != nil {
			return alertrule.Settings{}, fmt.Errorf("read the rules of the alerts: %w", err)
		}
		known = &s
		return s, nil
	}
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
