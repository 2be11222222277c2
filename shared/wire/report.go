package wire

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	awssdk "github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials/stscreds"
	"github.com/aws/aws-sdk-go-v2/service/sts"

	"github.com/auditcanary/auditcanary/scenarios"
	"github.com/auditcanary/auditcanary/shared/aws"
	"github.com/auditcanary/auditcanary/shared/coverage"
	"github.com/auditcanary/auditcanary/shared/ledger"
	"github.com/auditcanary/auditcanary/shared/report"
	"github.com/auditcanary/auditcanary/shared/run"
)

// ReportOptions say which period a report is of.
type ReportOptions struct {
	Period report.Period
	// MaxAge is how long a proof counts in the coverage.
	MaxAge  time.Duration
	Version string
	Now     time.Time
	// Checkpoint the state was folded from; nil: the ledger has not begun.
	Checkpoint *ledger.Checkpoint
}

// Report folds the ledger's state, with what the configuration says, into the
// view that all formats render.
func Report(c *Config, state *run.State, o ReportOptions) (report.Report, error) {
	now := o.Now
	if !o.Period.To.IsZero() && o.Period.To.Before(now) {
		now = o.Period.To // how old a proof is counts from the period's end
	}
	measured, err := Coverage(c, state, CoverageOptions{Run: o.Period.Run, MaxAge: o.MaxAge, Now: now, AsOf: o.Period.AsOf(o.Now), Checkpoint: o.Checkpoint, Counts: o.Period.Contains})
	if err != nil {
		return report.Report{}, fmt.Errorf("report: %w", err)
	}
	mapping, err := scenarios.ReadControls()
	if err != nil {
		return report.Report{}, fmt.Errorf("report: %w", err)
	}
	facts, err := c.facts(measured)
	if err != nil {
		return report.Report{}, fmt.Errorf("report: %w", err)
	}
	facts.ControlsVersion = mapping.Version
	for _, m := range mapping.Checks {
		facts.Meanings = append(facts.Meanings, report.Meaning(m))
	}
	return report.New(report.Input{
		State: state, Checkpoint: o.Checkpoint, Coverage: measured, Facts: facts, Controls: mapping.Controls,
		SLO: c.CanarySLO(), Period: o.Period, Version: o.Version, Now: o.Now,
		Desk: c.Tickets.Jira != nil, Listens: len(c.Alerts) > 0,
	}), nil
}

// facts are what the configuration and the catalogue say.
func (c *Config) facts(measured coverage.Report) (report.Facts, error) {
	catalogue, err := Catalogue(c)
	if err != nil {
		return report.Facts{}, err
	}
	notProvable, err := coverage.NotProvable()
	if err != nil {
		return report.Facts{}, err
	}
	slo := c.CanarySLO()
	f := report.Facts{
		Title: c.Scope.Title, Organization: c.Scope.Organization, Owner: c.Scope.Owner,
		ConfigHash: c.hash, CatalogueHash: run.CatalogueHash(catalogue),
		SLO: report.SLO{
			PassSeconds: int64(slo.Pass / time.Second), LateSeconds: int64(slo.Late / time.Second),
			AmendSeconds: int64(slo.Amend / time.Second), ClockSeconds: int64(slo.Clock / time.Second),
		},
		LedgerAt: report.LedgerFact{Origin: c.Ledger.Origin, Place: "directory"},
		Adequacy: measured.Adequacy, Excluded: c.Scenarios.Exclude, NotProvable: notProvable,
	}
	if s := c.Ledger.S3; s != nil {
		f.LedgerAt.Place, f.LedgerAt.Writer = "s3://"+s.Bucket+"/"+s.Prefix, s.RoleARN
	}
	for _, t := range c.Targets {
		f.Targets = append(f.Targets, report.TargetFact{Provider: "aws", Account: t.Account, Regions: t.Regions, Egress: t.Egress})
	}
	for _, k := range categories() {
		f.Categories = append(f.Categories, report.Category{ID: k.ID, Title: k.Title})
	}
	for _, s := range catalogue {
		one := report.Scenario{
			ID: s.ID, Title: s.Title, Category: s.Category, Kind: s.Kind, Scope: s.Scope, Every: s.Schedule.Every,
			Hash: s.Hash, Controls: s.Controls, Harmless: s.Harmless,
		}
		for _, step := range s.Steps {
			one.Calls = append(one.Calls, step.Call)
		}
		f.Scenarios = append(f.Scenarios, one)
	}
	for _, s := range c.LogStores {
		need := s.keeping()
		f.Stores = append(f.Stores, report.StoreFact{
			Name: s.Name, Type: s.Type, Bucket: s.Bucket, Prefix: s.Prefix, Region: s.Region, Organization: s.OrganizationID,
			Trail: s.Trail, Reader: s.RoleARN, Mode: need.Mode, Days: need.Days, DigestedSeconds: int64(need.Digested / time.Second),
		})
	}
	for _, s := range c.Sources {
		f.Sources = append(f.Sources, report.SourceFact(s))
	}
	f.AlertPath = c.AlertPath.facts()
	for _, x := range c.Scope.OutOfScope {
		f.OutOfScope = append(f.OutOfScope, report.Exclusion{What: x.What, Why: x.Why})
	}
	if h := c.SecurityHub; h != nil {
		f.Hub = &report.HubFact{Account: h.Account, Region: h.Region}
	}
	f.Roles = c.roles()
	return f, nil
}

// facts list the alert path, with what is demanded of each part beyond its being there.
func (a AlertPath) facts() (out []report.AlertFact) {
	add := func(kind, name string, at Where, demands ...string) {
		demands = slices.DeleteFunc(demands, func(d string) bool { return d == "" })
		out = append(out, report.AlertFact{Kind: kind, Name: name, Account: at.Account, Region: at.Region, Demands: strings.Join(demands, "; ")})
	}
	say := func(when bool, format string, args ...any) string {
		if !when {
			return ""
		}
		return fmt.Sprintf(format, args...)
	}
	for _, r := range a.EventRules {
		add("event rule", r.Name, r.Where, say(r.AllManagementEvents, "sees read-only calls as well"), say(r.Pattern != "", "has the pattern %s", r.Pattern), say(len(r.Targets) > 0, "targets %s", strings.Join(r.Targets, ", ")))
	}
	for _, t := range a.Topics {
		at := Where{}
		if parts := strings.Split(t.ARN, ":"); len(parts) == 6 {
			at = Where{Account: parts[4], Region: parts[3]}
		}
		add("topic", t.ARN, at, say(len(t.Endpoints) > 0, "subscribed and confirmed: %s", strings.Join(t.Endpoints, ", ")), say(t.Filtered, "its subscriptions may filter"))
	}
	for _, x := range a.Alarms {
		add("alarm", x.Name, x.Where, say(len(x.Actions) > 0, "acts on %s", strings.Join(x.Actions, ", ")), say(len(x.Muted) > 0, "agreed to be muted by %s", strings.Join(x.Muted, ", ")))
	}
	for _, x := range a.MetricFilters {
		add("metric filter", x.Name, x.Where, say(x.LogGroup != "", "of log group %s", x.LogGroup), say(x.Pattern != "", "has the pattern %s", x.Pattern))
	}
	for _, x := range a.Detectors {
		add("detector", x.ID, x.Where, say(len(x.Suppressions) > 0, "agreed to archive by %s", strings.Join(x.Suppressions, ", ")))
	}
	for _, x := range a.LogGroups {
		add("log group", x.Name, x.Where, say(x.RetentionDays > 0, "keeps at least %d days", x.RetentionDays), say(x.Protected, "is protected from deletion"))
	}
	return out
}

// roles are those that the configuration names, with what each is for.
func (c *Config) roles() (out []report.RoleFact) {
	add := func(arn, purpose string) {
		if arn != "" {
			account := ""
			if parts := strings.SplitN(arn, ":", 6); len(parts) == 6 {
				account = parts[4]
			}
			out = append(out, report.RoleFact{Role: arn, Purpose: purpose, Account: account})
		}
	}
	for _, t := range c.Targets {
		add(t.RoleARN, "does the canaries, and undoes them")
	}
	for _, s := range c.LogStores {
		add(s.RoleARN, "reads the log store "+s.Name)
	}
	if s := c.Ledger.S3; s != nil {
		add(s.RoleARN, "writes the ledger")
	}
	if c.Inspection.Role != "" {
		out = append(out, report.RoleFact{Role: c.Inspection.Role, Purpose: "reads the settings of every account, and changes nothing", Account: "every account"})
	}
	if h := c.SecurityHub; h != nil {
		add(h.RoleARN, "imports findings into the Security Hub of "+h.Account+"/"+h.Region)
	}
	return out
}

// Pushed is what became of findings that were pushed somewhere.
type Pushed = aws.Imported

// Pushers are the systems that findings can be pushed to, by name.
func Pushers() map[string]func(context.Context, *Config, report.Report) (Pushed, error) {
	return map[string]func(context.Context, *Config, report.Report) (Pushed, error){
		"securityhub": pushSecurityHub,
	}
}

func pushSecurityHub(ctx context.Context, c *Config, r report.Report) (Pushed, error) {
	h := c.SecurityHub
	if h == nil {
		return Pushed{}, fmt.Errorf("push to securityhub: %s has no security_hub section, which says whose hub the findings are for", c.file)
	}
	base, _, err := c.baseAWS(ctx)
	if err != nil {
		return Pushed{}, err
	}
	return aws.NewFindingsHub(hubConfig(base, h)).Import(ctx, r.ASFF())
}

// hubConfig acts without the marks of a canary: no receipt is kept of these calls,
// and records with our marks and without a receipt are findings.
func hubConfig(base awssdk.Config, h *SecurityHub) awssdk.Config {
	cfg := base.Copy()
	cfg.Region, cfg.AppID = h.Region, ""
	if h.RoleARN != "" {
		cfg.Credentials = awssdk.NewCredentialsCache(stscreds.NewAssumeRoleProvider(sts.NewFromConfig(cfg), h.RoleARN, func(o *stscreds.AssumeRoleOptions) {
			o.RoleSessionName = "findings-import"
		}))
	}
	return cfg
}
