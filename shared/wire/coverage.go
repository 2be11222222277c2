package wire

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/auditcanary/auditcanary/scenarios"
	"github.com/auditcanary/auditcanary/shared/canary"
	"github.com/auditcanary/auditcanary/shared/coverage"
	"github.com/auditcanary/auditcanary/shared/ledger"
	"github.com/auditcanary/auditcanary/shared/run"
)

// complain reports what is wrong with the configuration at a dotted path.
type complain func(path, format string, args ...any)

func (c *Config) checkAdequacy(bad complain) {
	first := map[string]int{}
	for i, a := range c.Adequacy {
		at := fmt.Sprintf("adequacy.%d", i)
		if !slices.Contains(coverage.SourceIDs(), a.Source) {
			bad(at+".source", "source %q is not known; known: %s", a.Source, strings.Join(coverage.SourceIDs(), ", "))
		} else if n, dup := first[a.Source]; dup {
			bad(at+".source", "%s is decided twice, here and as number %d", a.Source, n+1)
		} else {
			first[a.Source] = i
		}
		switch a.Decision {
		case coverage.Sufficient:
			if a.Additional != "" {
				bad(at+".additional", "%s: what is done additionally belongs to decision: additional", a.Source)
			}
		case coverage.Additional:
			if blank(a.Additional) {
				bad(at, "%s: additional logging is needed, and additional does not say which is done", a.Source)
			}
		default:
			bad(at+".decision", "%s: decision %q is neither sufficient nor additional", a.Source, a.Decision)
		}
		if blank(a.Why) || blank(a.By) || a.On.IsZero() || a.ReviewBy.IsZero() {
			bad(at, "%s: a decision needs why, by, on and review_by", a.Source)
		} else if !a.On.Before(a.ReviewBy.Time) {
			bad(at+".review_by", "%s: review_by must be after on", a.Source)
		}
	}
}

// actorKinds are those an actor of the scope may have.
var actorKinds = []string{"human", "break-glass", "ci-cd", "service-account", "provider"}

func (c *Config) checkScope(bad complain) {
	for i, a := range c.Scope.Actors {
		at := fmt.Sprintf("scope.actors.%d", i)
		if blank(a.Name) {
			bad(at, "actor without a name")
		}
		if !slices.Contains(actorKinds, a.Kind) {
			bad(at+".kind", "actor %q: kind %q is not known; known: %s", a.Name, a.Kind, strings.Join(actorKinds, ", "))
		}
	}
	for i, o := range c.Scope.OutOfScope {
		if blank(o.What) || blank(o.Why) {
			bad(fmt.Sprintf("scope.out_of_scope.%d", i), "out of scope needs what and why")
		}
	}
}

func blank(s string) bool { return strings.TrimSpace(s) == "" }

func (c *Config) decisions() (out []coverage.Decision) {
	for _, a := range c.Adequacy {
		out = append(out, coverage.Decision{
			Source: a.Source, Decision: a.Decision, Why: a.Why, Done: a.Additional, By: a.By, On: a.On.Time, ReviewBy: a.ReviewBy.Time,
		})
	}
	return out
}

func categories() (out []coverage.Category) {
	for _, c := range scenarios.Categories() {
		out = append(out, coverage.Category{ID: c.ID, Title: c.Title})
	}
	return out
}

// CoverageOptions narrow a coverage report down.
type CoverageOptions struct {
	// Run, if given, is the only run whose verdicts count.
	Run string
	// MaxAge is how long a proof counts.
	MaxAge time.Duration
	Now    time.Time
	// AsOf is the time for which exceptions hold or do not; zero: Now.
	AsOf time.Time
	// Checkpoint the state was folded from; nil: the ledger has not begun.
	Checkpoint *ledger.Checkpoint
	// Counts says whether the verdict of a canary planned at this time counts; nil: each does.
	Counts func(time.Time) bool
}

// NotBegun reports whether a ledger could not be opened because nobody has begun
// it yet: there is no checkpoint. What nobody can tell is whether there was one;
// a report of nothing proven is then still right.
func NotBegun(err error) bool {
	var f *ledger.Fault
	return errors.As(err, &f) && f.Path == "checkpoint" && errors.Is(err, ledger.ErrNotFound)
}

// Coverage measures what the ledger's verdicts prove of what the configuration covers.
func Coverage(c *Config, state *run.State, o CoverageOptions) (coverage.Report, error) {
	if o.Run != "" && state.Run(o.Run) == nil {
		return coverage.Report{}, fmt.Errorf("coverage: run %q is not in the ledger", o.Run)
	}
	catalogue, err := Catalogue(c)
	if err != nil {
		return coverage.Report{}, err
	}
	operations, err := coverage.Operations()
	if err != nil {
		return coverage.Report{}, fmt.Errorf("coverage: %w", err)
	}
	notProvable, err := coverage.NotProvable()
	if err != nil {
		return coverage.Report{}, fmt.Errorf("coverage: %w", err)
	}
	var head *coverage.Ledger
	if cp := o.Checkpoint; cp != nil {
		head = &coverage.Ledger{Origin: cp.Origin, Size: cp.Size, Root: cp.Root.String()}
	}
	return coverage.Measure(coverage.Input{
		Operations: operations, NotProvable: notProvable, Categories: categories(),
		Scenarios: catalogue, Targets: c.accounts(), Home: global()["aws"],
		Tests: tests(state, o), Decisions: c.decisions(),
		MaxAge: o.MaxAge, Now: o.Now, Ledger: head,
	}), nil
}

// tests are the finished verdicts, one for each call a canary was to make. What
// is still awaited, or was never to be done at its target, says nothing.
func tests(state *run.State, o CoverageOptions) (out []coverage.Test) {
	at := o.Now
	if !o.AsOf.IsZero() {
		at = o.AsOf
	}
	register := state.RegisterAt(at)
	for _, cs := range state.Canaries {
		v, judged := cs.Verdict()
		if o.Run != "" && cs.Run.ID != o.Run || o.Counts != nil && !o.Counts(cs.At) || !judged || v.Open() || v.Checks[canary.Injected].Status == canary.NotRun {
			continue
		}
		v = register.Overlay(cs.Plan.Canary, cs.At, v, at)
		s := cs.Plan.Scenario
		for _, step := range cs.Plan.Steps {
			out = append(out, coverage.Test{
				Operation: step.Call.Operation, Account: cs.Plan.Canary.Target.Account, Region: step.Call.Region,
				Scenario: s.ID, Category: s.Category, Kind: s.Kind, Run: cs.Run.ID, Canary: cs.Plan.Canary.ID,
				At: cs.At, Status: v.Overall(), Accepted: accepted(v),
			})
		}
	}
	return out
}

// accepted names the exceptions under which a canary is excepted.
func accepted(v canary.Verdict) string {
	var by []string
	for _, check := range canary.Checks() {
		if a := v.Checks[check].Accepted; a != nil && v.Overall() == canary.Excepted {
			if one := fmt.Sprintf("exception %s of %s until %s", a.ID, a.Owner, a.Until); !slices.Contains(by, one) {
				by = append(by, one)
			}
		}
	}
	return strings.Join(by, ", ")
}

// ScopeDocument draws up the scope of logging from the configuration and the
// catalogue. It needs no ledger.
func ScopeDocument(c *Config, version string, now time.Time) (coverage.Scope, error) {
	catalogue, err := Catalogue(c)
	if err != nil {
		return coverage.Scope{}, err
	}
	operations, err := coverage.Operations()
	if err != nil {
		return coverage.Scope{}, fmt.Errorf("scope: %w", err)
	}
	notProvable, err := coverage.NotProvable()
	if err != nil {
		return coverage.Scope{}, fmt.Errorf("scope: %w", err)
	}
	store := c.LogStores[0]
	in := coverage.ScopeInput{
		Statement: c.Scope.statement(), Agents: c.agents(),
		Store: coverage.Store{
			Name: store.Name, Type: store.Type, Bucket: store.Bucket, Prefix: store.Prefix, Region: store.Region, Organization: store.OrganizationID,
		},
		Categories: categories(), Scenarios: catalogue, Operations: operations, NotProvable: notProvable, Decisions: c.decisions(),
		Home: global()["aws"], Version: version, ConfigHash: c.hash, CatalogueHash: run.CatalogueHash(catalogue), Now: now,
	}
	for _, t := range c.Targets { // accounts with the same regions together
		i := slices.IndexFunc(in.Systems, func(s coverage.System) bool { return slices.Equal(s.Regions, t.Regions) })
		if i < 0 {
			i = len(in.Systems)
			in.Systems = append(in.Systems, coverage.System{Regions: t.Regions})
		}
		in.Systems[i].Accounts = append(in.Systems[i].Accounts, t.Account)
	}
	return coverage.NewScope(in), nil
}

func (s Scope) statement() coverage.Statement {
	st := coverage.Statement{
		Title: s.Title, Organization: s.Organization, Owner: s.Owner, Version: s.Version, ApprovedBy: s.ApprovedBy,
	}
	if !s.ApprovedOn.IsZero() {
		st.ApprovedOn = s.ApprovedOn.Format(time.DateOnly)
	}
	for _, a := range s.Actors {
		st.Actors = append(st.Actors, coverage.Actor{Name: a.Name, Kind: a.Kind, Through: a.Through})
	}
	for _, o := range s.OutOfScope {
		st.OutOfScope = append(st.OutOfScope, coverage.Exclusion{What: o.What, Why: o.Why})
	}
	return st
}

// agents are the roles that the configuration itself names: this program's own,
// and the break-glass roles it tests.
func (c *Config) agents() (out []coverage.Actor) {
	seen := map[coverage.Actor]bool{}
	add := func(a coverage.Actor) {
		if !seen[a] {
			seen[a] = true
			out = append(out, a)
		}
	}
	for _, t := range c.Targets {
		for _, region := range slices.Sorted(maps.Keys(t.Fixtures)) {
			if role := t.Fixtures[region]["break_glass_role"]; role != "" {
				add(coverage.Actor{Name: "Break-glass role", Kind: "break-glass", Through: role})
			}
		}
	}
	for _, t := range c.Targets {
		// One line for all accounts, where their roles are named alike.
		role := strings.Replace(t.RoleARN, t.Account, "(account)", 1)
		add(coverage.Actor{Name: "auditcanary's injector", Kind: "service-account", Through: role})
	}
	if reader := c.LogStores[0].RoleARN; reader != "" {
		add(coverage.Actor{Name: "auditcanary's reader of the log store", Kind: "service-account", Through: reader})
	}
	return out
}
