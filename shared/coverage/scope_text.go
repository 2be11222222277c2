package coverage

import (
	"fmt"
	"strings"
	"time"
)

// What the scope document says in either format.

const (
	purpose = "ISO/IEC 27017:2015 12.4.3 asks that privileged operations are logged, and that the cloud service customer determines whether the provider's logging suffices. " +
		"This page says who acts with privilege, what they do, where it is recorded, and which scenarios test that the records arrive. What was proven, and when, is in the ledger (auditcanary coverage)."
	noActors = "Human administrators, CI/CD and break-glass users: **not stated**."
	unknown  = "not verified by this version"
	// maxListed is how many accounts a page has room for; more are in an annex.
	maxListed = 24
)

// grid is a table without anything special; the first cell of a row heads it.
type grid struct {
	Class, Title string
	Head         []string
	Rows         [][]string
}

// documentFacts say what the document is.
func (s Scope) documentFacts() [][2]string {
	st := s.Statement
	return [][2]string{
		{"Organisation", stated(st.Organization)}, {"Owner", stated(st.Owner)}, {"Version", stated(st.Version)},
		{"Approved by", stated(st.ApprovedBy)}, {"Approved on", stated(st.ApprovedOn)},
	}
}

// storeFacts say of the store what is configured, and what nobody verified.
func (s Scope) storeFacts() [][2]string {
	return [][2]string{
		{"Central log store", stated(s.Store.Name)}, {"Type", s.Store.Type}, {"Bucket", s.Store.Bucket}, {"Prefix", none(s.Store.Prefix)}, {"Region", s.Store.Region},
		{"Organisation", none(s.Store.Organization)}, {"Retention", unknown}, {"Immutability", unknown},
	}
}

// actors are those that people stated, then those that the configuration names.
func (s Scope) actors() grid {
	g := grid{Class: "actors", Title: "Who acts with privilege", Head: []string{"Actor", "Kind", "Acts through"}}
	for _, list := range [][]Actor{s.Statement.Actors, s.Agents} {
		for _, a := range list {
			g.Rows = append(g.Rows, []string{a.Name, a.Kind, a.Through})
		}
	}
	return g
}

// systems are the accounts with their regions; annex lists those of which there
// are too many for the page.
func (s Scope) systems() grid {
	g := grid{Class: "systems", Title: "Where", Head: []string{"Accounts", "Regions"}}
	for _, y := range s.Systems {
		accounts := strings.Join(y.Accounts, ", ")
		if len(y.Accounts) > maxListed {
			accounts = fmt.Sprintf("%d accounts, which the annex lists", len(y.Accounts))
		}
		g.Rows = append(g.Rows, []string{accounts, strings.Join(y.Regions, ", ")})
	}
	return g
}

func (s Scope) annex() (out []System) {
	for _, y := range s.Systems {
		if len(y.Accounts) > maxListed {
			out = append(out, y)
		}
	}
	return out
}

// common is what holds for all activities, and how to read their table.
func (s Scope) common() []string {
	recorded := "Recorded in: " + strings.Join(s.Sources, "; ") + ". Arrives in the central log store " + stated(s.Store.Name) + "."
	for _, a := range s.Activities {
		if len(a.Sources) > 0 {
			recorded += " Where a category is recorded elsewhere, its row says so."
			break
		}
	}
	controls := "No control is common to all categories."
	if len(s.Controls) > 0 {
		controls = "Controls of every category: " + strings.Join(s.Controls, ", ") + "; a row names further ones."
	}
	scenarios := "Scenarios"
	if s.Prefix != "" {
		scenarios += ", whose names all begin with " + s.Prefix + ","
	}
	scenarios += " make a real change and undo it (done-and-undone), in every account and region, but those marked:"
	for i, m := range s.Marks() {
		if i > 0 {
			scenarios += ";"
		}
		scenarios += " (" + m.Sign + ") " + m.Meaning
	}
	return []string{recorded + " " + controls, scenarios + "."}
}

// untested are the categories without a scenario.
func (s Scope) untested() string {
	var titles []string
	for _, c := range s.Untested {
		titles = append(titles, c.Title)
	}
	return strings.Join(titles, ", ")
}

const notShown = "no scenario; that it is logged is not shown by this program"

func (s Scope) adequacySummary() string {
	if s.Undecided == 0 {
		return "Every source has a decision that stands."
	}
	return fmt.Sprintf("%d of %d sources have no decision that stands. Of what is undecided, nobody has decided whether the provider's logging suffices.", s.Undecided, len(s.Adequacy))
}

// said is the decision as it was taken; nothing while there is none.
func (a Adequacy) said() string {
	d := a.Decision
	if d == nil {
		return ""
	}
	said := d.Decision + ": " + d.Why
	if d.Done != "" {
		said += "; additionally: " + d.Done
	}
	return said + " (" + d.By + ", " + day(d.On) + "; review by " + day(d.ReviewBy) + ")"
}

func (s Scope) generated() string {
	return s.Now.UTC().Format(time.RFC3339) + " by auditcanary " + s.Version
}

func stated(s string) string {
	if strings.TrimSpace(s) == "" {
		return "not stated"
	}
	return s
}

func none(s string) string {
	if s == "" {
		return "none"
	}
	return s
}
