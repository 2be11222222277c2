package wire

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/auditcanary/auditcanary/shared/aws"
	"github.com/auditcanary/auditcanary/shared/coverage"
	"github.com/auditcanary/auditcanary/shared/inventory"
	"github.com/auditcanary/auditcanary/shared/run"
)

func (c *Config) checkSources(bad complain) {
	for i, s := range c.Sources {
		at := fmt.Sprintf("sources.%d", i)
		switch {
		case !slices.Contains(coverage.SourceIDs(), s.Class):
			bad(at+".class", "class %q is not known; known: %s", s.Class, strings.Join(coverage.SourceIDs(), ", "))
		case slices.ContainsFunc(c.Sources[:i], func(o LogSource) bool { return o.Class == s.Class }):
			bad(at+".class", "class %s is described twice", s.Class)
		case s.Required && !slices.Contains(inventory.Classes(), s.Class):
			bad(at+".required", "%s cannot be required: no setting of the provider tells of it", s.Class)
		}
		if blank(s.Owner) && !s.Required {
			bad(at, "source %s needs an owner", s.Class)
		}
	}
	a := c.AlertPath
	for i, r := range a.EventRules {
		at := fmt.Sprintf("alert_path.event_rules.%d", i)
		r.check(at, r.Name, bad)
		if r.Pattern != "" && !json.Valid([]byte(r.Pattern)) {
			bad(at+".pattern", "the pattern of rule %s is not JSON", r.Name)
		}
	}
	for i, t := range a.Topics {
		if _, err := t.place(); err != nil {
			bad(fmt.Sprintf("alert_path.topics.%d.arn", i), "%v", err)
		}
	}
	for i, x := range a.Alarms {
		x.check(fmt.Sprintf("alert_path.alarms.%d", i), x.Name, bad)
	}
	for i, f := range a.MetricFilters {
		at := fmt.Sprintf("alert_path.metric_filters.%d", i)
		f.check(at, f.Name, bad)
		if f.LogGroup == "" {
			bad(at, "metric filter %s needs its log_group", f.Name)
		}
	}
	for i, d := range a.Detectors {
		d.check(fmt.Sprintf("alert_path.detectors.%d", i), "-", bad)
	}
	for i, g := range a.LogGroups {
		at := fmt.Sprintf("alert_path.log_groups.%d", i)
		g.check(at, g.Name, bad)
		if g.RetentionDays < 0 {
			bad(at+".retention_days", "retention_days is %d", g.RetentionDays)
		}
	}
}

func (w Where) check(at, name string, bad complain) {
	if !accountID.MatchString(w.Account) {
		bad(at+".account", "account %q is not twelve digits in quotes", w.Account)
	}
	if !regionID.MatchString(w.Region) {
		bad(at+".region", "%q is not a region", w.Region)
	}
	if name == "" {
		bad(at, "it needs a name")
	}
}

func (w Where) place() inventory.Place { return inventory.Place(w) }

// place is in the topic's ARN.
func (t AlertTopic) place() (inventory.Place, error) {
	f := strings.Split(t.ARN, ":")
	if len(f) != 6 || f[0] != "arn" || f[2] != "sns" || !regionID.MatchString(f[3]) || !accountID.MatchString(f[4]) || f[5] == "" {
		return inventory.Place{}, fmt.Errorf("%q is not the ARN of a topic", t.ARN)
	}
	return inventory.Place{Account: f[4], Region: f[3]}, nil
}

// SourcesOptions narrow an inventory down.
type SourcesOptions struct {
	// Accounts and Regions to look into; none = all.
	Accounts, Regions []string
	Now               time.Time
}

// Sources takes the inventory: it reads the settings of every account through the
// inspection role, and holds them against the configuration and the verdicts of
// the ledger. What cannot be read is in the report, as inconclusive.
func Sources(ctx context.Context, c *Config, state *run.State, o SourcesOptions) (inventory.Report, error) {
	if err := c.needArchive("sources"); err != nil {
		return inventory.Report{}, err
	}
	catalogue, err := Catalogue(c)
	if err != nil {
		return inventory.Report{}, err
	}
	base, _, err := c.baseAWS(ctx)
	if err != nil {
		return inventory.Report{}, err
	}
	inspector, err := c.inspector(base)
	if err != nil {
		return inventory.Report{}, err
	}
	var unlisted []inventory.Unread
	listed, err := c.inspected(ctx, inspector)
	if err != nil && ctx.Err() == nil { // then those that are known by name, and it is said that there may be others
		o := c.Inspection.Organization
		unlisted = []inventory.Unread{{Place: inventory.Place{Account: o.ManagementAccount}, What: "the organisation's accounts", Why: err.Error()}}
		listed, err = c.named(), nil
	}
	if err != nil {
		return inventory.Report{}, fmt.Errorf("which accounts there are: %w", err)
	}
	var accounts []inventory.Account
	for _, a := range listed {
		accounts = append(accounts, inventory.Account{ID: a.ID, Name: a.Name})
	}
	accounts, err = only(accounts, o.Accounts, "account", func(a inventory.Account) string { return a.ID })
	regions, err2 := only(c.inspectedRegions(), o.Regions, "region", func(r string) string { return r })
	if err := errors.Join(err, err2); err != nil {
		return inventory.Report{}, err
	}
	store := c.LogStores[0]
	keeping := store.Protection.Keeping()
	in := inventory.Input{
		Archive: inventory.Archive{Name: store.Name, Bucket: store.Bucket, Prefix: store.Prefix, Mode: keeping.Mode, Days: keeping.Days},
		Alerts:  c.alertPath(o), Home: global()["aws"],
		SilentAfter: c.Inspection.SilentAfter.Duration, DigestAfter: c.Inspection.DigestAfter.Duration,
		Categories: categories(), Scenarios: catalogue, Targets: c.accounts(), Tests: tests(state, CoverageOptions{}),
		MaxAge: coverage.DefaultMaxAge, Now: o.Now,
	}
	for _, s := range c.Sources {
		in.Sources = append(in.Sources, inventory.Source(s))
	}
	at := inventory.Place{Region: store.Region}
	if m := roleARN.FindStringSubmatch(store.RoleARN); m != nil {
		at.Account = m[1]
	}
	if in.Snapshot, err = inspector.Sources(ctx, aws.SourcesQuery{Accounts: accounts, Regions: regions, Bucket: store.Bucket, At: at, Alerts: in.Alerts}); err != nil {
		return inventory.Report{}, fmt.Errorf("take the inventory: %w", err)
	}
	in.Snapshot.Unread = append(in.Snapshot.Unread, unlisted...)
	return inventory.Take(in), nil
}

// only keeps what was selected. What is not there cannot be.
func only[T any](all []T, selected []string, noun string, name func(T) string) ([]T, error) {
	if len(selected) == 0 {
		return all, nil
	}
	for _, s := range selected {
		if !slices.ContainsFunc(all, func(x T) bool { return name(x) == s }) {
			return nil, fmt.Errorf("%s %q is not among those that are inspected", noun, s)
		}
	}
	return slices.DeleteFunc(slices.Clone(all), func(x T) bool { return !slices.Contains(selected, name(x)) }), nil
}

// alertPath is that of the selected accounts and regions.
func (c *Config) alertPath(o SourcesOptions) (out inventory.AlertPath) {
	in := func(p inventory.Place) bool {
		return (len(o.Accounts) == 0 || slices.Contains(o.Accounts, p.Account)) && (len(o.Regions) == 0 || slices.Contains(o.Regions, p.Region))
	}
	for _, r := range c.AlertPath.EventRules {
		if in(r.place()) {
			out.Rules = append(out.Rules, inventory.Rule{Place: r.place(), Bus: r.Bus, Name: r.Name, AllManagementEvents: r.AllManagementEvents, Pattern: r.Pattern, Targets: r.Targets})
		}
	}
	for _, t := range c.AlertPath.Topics {
		if p, _ := t.place(); in(p) { // checked when it was read
			out.Topics = append(out.Topics, inventory.Topic{Place: p, ARN: t.ARN, Endpoints: t.Endpoints, Filtered: t.Filtered})
		}
	}
	for _, a := range c.AlertPath.Alarms {
		if in(a.place()) {
			out.Alarms = append(out.Alarms, inventory.Alarm{Place: a.place(), Name: a.Name, Actions: a.Actions, Muted: a.Muted})
		}
	}
	for _, f := range c.AlertPath.MetricFilters {
		if in(f.place()) {
			out.MetricFilters = append(out.MetricFilters, inventory.MetricFilter{Place: f.place(), LogGroup: f.LogGroup, Name: f.Name, Pattern: f.Pattern})
		}
	}
	for _, d := range c.AlertPath.Detectors {
		if in(d.place()) {
			out.Detectors = append(out.Detectors, inventory.Detector{Place: d.place(), ID: d.ID, Suppressions: d.Suppressions})
		}
	}
	for _, g := range c.AlertPath.LogGroups {
		if in(g.place()) {
			out.LogGroups = append(out.LogGroups, inventory.LogGroup{Place: g.place(), Name: g.Name, RetentionDays: g.RetentionDays, Protected: g.Protected})
		}
	}
	return out
}
