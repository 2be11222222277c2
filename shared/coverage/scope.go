package coverage

import (
	"cmp"
	"slices"
	"strings"
	"time"

	"github.com/auditcanary/auditcanary/shared/canary"
)

// ScopeInput is what the scope document is made from: what people state, what
// is configured, and the catalogue. It needs no ledger.
type ScopeInput struct {
	Statement   Statement
	Systems     []System
	Store       Store
	Agents      []Actor
	Categories  []Category
	Scenarios   []canary.Scenario
	Operations  []Operation
	NotProvable []Unprovable
	Decisions   []Decision
	// Home is the region in which is recorded what exists once per account.
	Home string
	// Version of the program; hashes of the configuration and of the catalogue.
	Version, ConfigHash, CatalogueHash string
	Now                                time.Time
}

// Statement is what an organisation says of its scope; whatever is empty is shown
// as not stated.
type Statement struct {
	Title        string
	Organization string
	Owner        string
	Version      string
	ApprovedBy   string
	ApprovedOn   string
	Actors       []Actor
	OutOfScope   []Exclusion
}

// Actor is somebody or something that acts with privilege.
type Actor struct{ Name, Kind, Through string }

// Exclusion is what is out of scope, and why.
type Exclusion struct{ What, Why string }

// System is a set of accounts that use the same regions.
type System struct {
	Accounts []string
	Regions  []string
}

// Store is the central log store.
type Store struct{ Name, Type, Bucket, Prefix, Region, Organization string }

// Scope is the Privileged Activity Logging Scope: actors, actions, systems, where
// their records arrive, and what tests that.
type Scope struct {
	ScopeInput
	// Activities are the categories that scenarios test, Untested the others.
	Activities []Activity
	Untested   []Category
	Blind      []BlindSpot
	Adequacy   []Adequacy
	Undecided  int
}

// Activity is one category of privileged actions.
type Activity struct {
	Category   Category
	Operations []string // that scenarios exercise and judge
	Where      string
	Sources    []string // titles of the log sources in which these are recorded
	Scenarios  []Exercise
	Controls   []string
}

// Exercise is one scenario of an activity.
type Exercise struct{ ID, Title, Kind, Every string }

// BlindSpot is what no canary can prove, for one reason.
type BlindSpot struct {
	Operations     []string
	Reason, Origin string
}

// NewScope draws the scope up.
func NewScope(in ScopeInput) Scope {
	if in.Statement.Title == "" {
		in.Statement.Title = "Privileged Activity Logging Scope"
	}
	s := Scope{ScopeInput: in, Adequacy: Decide(in.Decisions, in.Operations, in.Now)}
	for _, a := range s.Adequacy {
		if a.State != Decided {
			s.Undecided++
		}
	}
	for _, u := range in.NotProvable {
		i := slices.IndexFunc(s.Blind, func(b BlindSpot) bool { return b.Reason == u.Reason && b.Origin == u.Origin })
		if i < 0 {
			i = len(s.Blind)
			s.Blind = append(s.Blind, BlindSpot{Reason: u.Reason, Origin: u.Origin})
		}
		s.Blind[i].Operations = append(s.Blind[i].Operations, u.ID)
	}
	for _, c := range in.Categories {
		if a := s.activity(c); len(a.Scenarios) > 0 {
			s.Activities = append(s.Activities, a)
		} else {
			s.Untested = append(s.Untested, c)
		}
	}
	return s
}

func (s Scope) activity(c Category) Activity {
	a := Activity{Category: c}
	var regional, account bool
	for _, sc := range s.Scenarios {
		if sc.Category != c.ID {
			continue
		}
		regional, account = regional || sc.Scope != "account", account || sc.Scope == "account"
		a.Scenarios = append(a.Scenarios, Exercise{sc.ID, sc.Title, string(sc.Kind), sc.Schedule.Every})
		for _, step := range sc.Steps {
			a.Operations = with(a.Operations, step.Call)
			a.Sources = with(a.Sources, s.sourceOf(step.Call))
		}
		for _, control := range sc.Controls {
			a.Controls = with(a.Controls, control)
		}
	}
	slices.Sort(a.Operations)
	slices.Sort(a.Controls)
	slices.SortFunc(a.Scenarios, func(x, y Exercise) int { return cmp.Compare(x.ID, y.ID) })
	var where []string
	if regional {
		where = append(where, "every account and region")
	}
	if account {
		where = append(where, "once per account ("+s.Home+")")
	}
	a.Where = strings.Join(where, "; ")
	return a
}

// sourceOf is the class of log that records an operation. What the universe does
// not list is a management event, as all are that no selector has to ask for,
// unless it acts on objects of S3.
func (s Scope) sourceOf(op string) string {
	source := "cloud-management-events"
	if strings.HasPrefix(op, "s3:") && strings.Contains(op, "Object") && !strings.Contains(op, "ObjectLockConfiguration") {
		source = "cloud-data-events"
	}
	for _, o := range s.Operations {
		if o.ID == op {
			source = o.Source
		}
	}
	i := slices.Index(SourceIDs(), source)
	if i < 0 {
		return source
	}
	return Sources()[i].Title
}
