package inventory

import (
	"cmp"
	"slices"
	"time"

	"github.com/auditcanary/auditcanary/shared/canary"
	"github.com/auditcanary/auditcanary/shared/coverage"
)

// Report is the inventory.
type Report struct {
	At       time.Time `json:"at"`
	Accounts []Account `json:"accounts"`
	Regions  []string  `json:"regions"`
	// Archive that every record must arrive in.
	Archive string `json:"archive"`
	// Status is the worst of all findings.
	Status canary.Status `json:"status"`
	// Findings, what fails first.
	Findings []Finding `json:"findings"`
	// Rows are the classes of sources in every account and region. Those of which
	// no setting tells have one row, without account and region.
	Rows []Row `json:"sources"`
	// Proven are the categories of privileged activity in every account and region.
	Proven []Proof `json:"proven"`
	// Judged counts what of the alert path is listed, and so was judged.
	Judged int `json:"alert_path_judged"`
}

// Take weighs a snapshot.
func Take(in Input) Report {
	j := newJudge(in)
	r := Report{At: in.Now, Accounts: in.Snapshot.Accounts, Regions: in.Snapshot.Regions, Archive: in.Archive.lands(), Status: canary.Pass, Proven: []Proof{}}
	for _, a := range in.Snapshot.Accounts {
		for _, region := range in.Snapshot.Regions {
			p := Place{a.ID, region}
			r.Rows = append(r.Rows, j.sources(p)...)
			r.Proven = append(r.Proven, j.proofs(p)...)
		}
	}
	for _, s := range coverage.Sources() {
		if !slices.Contains(Classes(), s.ID) {
			row := j.row(Place{}, s.ID)
			row.Status, row.Detail = canary.NotRun, "no setting of the provider tells of it: "+s.Limits
			r.Rows = append(r.Rows, row)
		}
	}
	j.archive()
	j.alerts()
	j.unread()
	j.order()
	r.Findings = append([]Finding{}, j.findings...)
	for _, f := range r.Findings {
		if rank(f.Status) < rank(r.Status) {
			r.Status = f.Status
		}
	}
	for _, row := range r.Rows { // nothing may be passed over because its finding stands elsewhere
		if row.Status != canary.NotRun && rank(row.Status) < rank(r.Status) {
			r.Status = row.Status
		}
	}
	a := in.Alerts
	r.Judged = len(a.Rules) + len(a.Topics) + len(a.Alarms) + len(a.MetricFilters) + len(a.Detectors) + len(a.LogGroups)
	return r
}

// Coverage is what is known of a category in a place.
type Coverage string

const (
	// Proven: the latest canary of each scenario of the category passed here, one
	// of them recently enough.
	Proven Coverage = "proven"
	// Unproven: a scenario is to prove it here, and has not, or not lately.
	Unproven Coverage = "unproven"
	// Missing: no scenario is to prove it here.
	Missing Coverage = "missing"
)

// Proof is a category of privileged activity in an account and region.
type Proof struct {
	Account  string   `json:"account"`
	Region   string   `json:"region"`
	Category string   `json:"category"`
	State    Coverage `json:"state"`
	// Scenario, Canary and At of the last canary that proved it, whatever the state.
	Scenario string    `json:"scenario,omitempty"`
	Canary   string    `json:"canary,omitempty"`
	At       time.Time `json:"at,omitzero"`
	// Reason, unless it is proven.
	Reason string `json:"reason,omitempty"`
}

// proofs of a place, a line for each category.
func (j *judge) proofs(p Place) (out []Proof) {
	for _, c := range j.in.Categories {
		out = append(out, j.proof(p, c.ID))
	}
	return out
}

func (j *judge) proof(p Place, category string) Proof {
	in, out := j.in, Proof{Account: p.Account, Region: p.Region, Category: category}
	latest := map[string]coverage.Test{} // by scenario
	var last *coverage.Test
	for _, t := range j.tests[cell{p, category}] {
		if old, ok := latest[t.Scenario]; !ok || newer(t, old) {
			latest[t.Scenario] = t
		}
		if t.Status == canary.Pass && (last == nil || newer(t, *last)) {
			last = &t
		}
	}
	if last != nil {
		out.Scenario, out.Canary, out.At = last.Scenario, last.Canary, last.At
	}
	var worst *coverage.Test
	for _, t := range latest {
		if t.Status != canary.Pass && (worst == nil || cmp.Or(rank(t.Status)-rank(worst.Status), cmp.Compare(t.Scenario, worst.Scenario)) < 0) {
			worst = &t
		}
	}
	switch {
	case worst != nil:
		out.State, out.Reason = Unproven, "the latest canary of "+worst.Scenario+" is "+string(worst.Status)
	case last != nil && in.Now.Sub(last.At) <= in.MaxAge:
		out.State = Proven
	case last != nil:
		out.State, out.Reason = Unproven, "proven last on "+last.At.UTC().Format(time.DateOnly)+", too long ago"
	case in.planned(p, category):
		out.State, out.Reason = Unproven, "configured, and never proven"
	case !in.targeted(p.Account):
		out.State, out.Reason = Missing, "the account is no target of canaries"
	default:
		out.State, out.Reason = Missing, "no scenario proves it here"
	}
	return out
}

// newer reports whether a is of a later canary than b; of one canary's calls the
// worse speaks.
func newer(a, b coverage.Test) bool {
	if a.Canary == b.Canary {
		return rank(a.Status) >= 0 && rank(a.Status) < rank(b.Status)
	}
	return a.At.After(b.At)
}

// planned reports whether a scenario is to prove a category in a place.
func (in Input) planned(p Place, category string) bool {
	return slices.ContainsFunc(in.Scenarios, func(s canary.Scenario) bool {
		if s.Category != category {
			return false
		}
		if s.Scope == "account" {
			return p.Region == in.Home && in.targeted(p.Account)
		}
		return slices.ContainsFunc(in.Targets, func(t canary.Target) bool { return t.Account == p.Account && t.Region == p.Region })
	})
}

func (in Input) targeted(account string) bool {
	return slices.ContainsFunc(in.Targets, func(t canary.Target) bool { return t.Account == account })
}
