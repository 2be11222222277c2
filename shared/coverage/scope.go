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
// their records arrive, and what tests that. It is one page, and so says once what
// holds for all of it.
type Scope struct {
	ScopeInput
	// Activities are the categories that scenarios test, Untested the others.
	Activities []Activity
	Untested   []Category
	Blind      []BlindSpot
	Adequacy   []Adequacy
	Undecided  int
	// Prefix is what every scenario's ID begins with, such as aws/.
	Prefix string
	// Controls are those of every activity, Sources those of most.
	Controls, Sources []string
}

// Activity is one category of privileged actions.
type Activity struct {
	Category   Category
	Operations []string // that scenarios exercise and judge
	Sources    []string // titles of the log sources in which these are recorded, if not the scope's
	Cadences   []Cadence
	Controls   []string // besides the scope's
}

// Cadence is what of an activity is exercised equally often.
type Cadence struct {
	Every     string
	Exercises []Exercise
}

// Exercise is one scenario of an activity, named without the scope's prefix.
type Exercise struct {
	Name  string
	Marks []Mark
}

// Mark is how a scenario differs from one that is done and undone everywhere.
type Mark struct{ Sign, Meaning string }

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
	s.Prefix = commonPrefix(in.Scenarios)
	for _, c := range in.Categories {
		if a := s.activity(c); len(a.Cadences) > 0 {
			s.Activities = append(s.Activities, a)
		} else {
			s.Untested = append(s.Untested, c)
		}
	}
	s.sayOnce()
	return s
}

// sayOnce moves what the activities have in common to the scope.
func (s *Scope) sayOnce() {
	var most int
	for i, a := range s.Activities {
		same := 0
		for _, other := range s.Activities {
			if slices.Equal(other.Sources, a.Sources) {
				same++
			}
		}
		if same > most {
			most, s.Sources = same, a.Sources
		}
		if i == 0 {
			s.Controls = slices.Clone(a.Controls)
		}
		s.Controls = slices.DeleteFunc(s.Controls, func(c string) bool { return !slices.Contains(a.Controls, c) })
	}
	for i := range s.Activities {
		a := &s.Activities[i]
		if slices.Equal(a.Sources, s.Sources) {
			a.Sources = nil
		}
		a.Controls = slices.DeleteFunc(a.Controls, func(c string) bool { return slices.Contains(s.Controls, c) })
	}
}

func (s Scope) activity(c Category) Activity {
	a := Activity{Category: c}
	for _, sc := range s.Scenarios {
		if sc.Category != c.ID {
			continue
		}
		i := slices.IndexFunc(a.Cadences, func(d Cadence) bool { return d.Every == sc.Schedule.Every })
		if i < 0 {
			i = len(a.Cadences)
			a.Cadences = append(a.Cadences, Cadence{Every: sc.Schedule.Every})
		}
		a.Cadences[i].Exercises = append(a.Cadences[i].Exercises, Exercise{strings.TrimPrefix(sc.ID, s.Prefix), s.marksOf(sc)})
		for _, step := range sc.Steps {
			a.Operations = with(a.Operations, step.Call)
			a.Sources = with(a.Sources, s.sourceOf(step.Call))
		}
		for _, control := range sc.Controls {
			a.Controls = with(a.Controls, control)
		}
	}
	slices.Sort(a.Operations)
	slices.Sort(a.Sources)
	slices.Sort(a.Controls)
	slices.SortFunc(a.Cadences, func(x, y Cadence) int {
		return cmp.Or(cmp.Compare(often(x.Every), often(y.Every)), cmp.Compare(x.Every, y.Every))
	})
	for _, d := range a.Cadences {
		slices.SortFunc(d.Exercises, func(x, y Exercise) int { return cmp.Compare(x.Name, y.Name) })
	}
	return a
}

// often puts what is done most often first, and what nobody knows last.
func often(every string) int {
	known := []string{"hourly", "daily", "weekly"}
	if i := slices.Index(known, every); i >= 0 {
		return i
	}
	return len(known)
}

// commonPrefix is the provider with which all IDs begin, if it is the same.
func commonPrefix(scenarios []canary.Scenario) string {
	var prefix string
	for i, sc := range scenarios {
		provider, _, found := strings.Cut(sc.ID, "/")
		if !found || i > 0 && prefix != provider+"/" {
			return ""
		}
		prefix = provider + "/"
	}
	return prefix
}

// Marks is the legend of all marks.
func (s Scope) Marks() []Mark {
	return []Mark{
		{"M", "must-be-denied, the provider has to refuse"},
		{"D", "decoy, done to a thing that carries nothing"},
		{"R", "dry-run, only the rights are checked"},
		{"A", "once per account, in " + s.Home},
	}
}

// marksOf says how a scenario differs; a kind that has no mark stands in full.
func (s Scope) marksOf(sc canary.Scenario) (out []Mark) {
	legend := s.Marks()
	switch sc.Kind {
	case canary.DoneAndUndone:
	case canary.MustBeDenied:
		out = append(out, legend[0])
	case canary.Decoy:
		out = append(out, legend[1])
	case canary.DryRun:
		out = append(out, legend[2])
	default:
		out = append(out, Mark{string(sc.Kind), string(sc.Kind)})
	}
	if sc.Scope == "account" {
		out = append(out, legend[3])
	}
	return out
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
