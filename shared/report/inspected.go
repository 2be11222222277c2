package report

import (
	"fmt"
	"strings"
	"time"

	"github.com/auditcanary/auditcanary/shared/access"
	"github.com/auditcanary/auditcanary/shared/canary"
	"github.com/auditcanary/auditcanary/shared/inventory"
)

// Inspection is what the accounts themselves said when they were asked.
type Inspection struct {
	// Sources is the inventory of the sources of logs; nil: SourcesErr says why there is none.
	Sources    *inventory.Report
	SourcesErr string
	// Access is who can do what to the logs; nil: AccessErr says why nobody knows.
	Access    *access.Report
	AccessErr string
}

// Unread says what could not be read, in words; nothing: all of it was.
func (i *Inspection) Unread() (out []string) {
	if i.Sources == nil {
		out = append(out, "the sources of logs: "+or(i.SourcesErr, "nobody asked"))
	} else {
		for _, f := range i.Sources.Findings {
			if f.Status != canary.Fail {
				out = append(out, f.Subject+": "+f.Found)
			}
		}
		if len(out) == 0 && i.Sources.Status == canary.Inconclusive {
			out = append(out, "some of the sources of logs")
		}
	}
	if i.Access == nil {
		return append(out, "who can do what to the logs: "+or(i.AccessErr, "nobody asked"))
	}
	for _, g := range i.Access.Gaps {
		out = append(out, gap(g)+": "+g.Why)
	}
	return out
}

func gap(g access.Gap) string {
	if g.Account == "" {
		return g.What
	}
	return g.Account + ", " + g.What
}

// notAsked says how to have the accounts asked.
const notAsked = "The accounts were not asked: auditcanary deliverables --inspect asks them, through the read-only role of the configuration (inspection)."

// sources are the sections of the inventory of the sources of logs.
func (i *Inspection) sources() []section {
	settings := section{Title: "What the accounts' settings say", Text: notAsked}
	switch {
	case i == nil:
		return []section{settings}
	case i.Sources == nil:
		settings.Text = "The accounts were asked and the inventory could not be taken, so that nothing is known of their settings: " + or(i.SourcesErr, "nobody asked")
		return []section{settings}
	}
	r := i.Sources
	settings.Text = fmt.Sprintf("Asked at %s: %d accounts in %d regions; everything must arrive in %s. Settings are no proof: what canaries proved stands below.", moment(r.At), len(r.Accounts), len(r.Regions), r.Archive)
	settings.Head = []string{"Source", "Status", "Places", "Owner", "Recorded by", "Lands in", "Latest delivery", "Latest digest", "What is to be said"}
	for _, l := range r.Lines() {
		row := []string{l.Class, string(l.Status), places(l.Places, l.Of), or(l.Owner, "nobody named"), or(strings.Join(l.RecordedBy, ", "), "nothing"), or(l.LandsIn, "–"), or(moment(l.Delivered), "none seen"), or(moment(l.Digest), "none seen"), l.Detail}
		if len(l.Places) == 0 {
			row[2], row[4], row[6], row[7] = "–", "–", "–", "–"
		}
		settings.Rows = append(settings.Rows, row)
	}
	findings := section{Title: "Findings of the settings", Head: []string{"Finding", "About", "Owner", "Places", "Found", "Expected", "What to do"}}
	unread := section{Title: "What could not be read of the settings", Text: "Of this nothing is known: it is neither in order nor out of order.", Head: findings.Head}
	for _, f := range r.Findings {
		row := []string{string(f.Kind), f.Subject, or(f.Owner, "nobody named"), places(f.Places, 0), f.Found, f.Expected, f.Next}
		if f.Status == canary.Fail {
			findings.Rows = append(findings.Rows, row)
		} else {
			unread.Rows = append(unread.Rows, row)
		}
	}
	if len(findings.Rows) == 0 && len(unread.Rows) > 0 {
		findings.Title += ", as far as they could be read"
	}
	if r.Judged == 0 {
		findings.Text = "Of the alert path nothing is judged: the configuration lists nothing of it (alert_path)."
	} else {
		findings.Text = fmt.Sprintf("%d things of the alert path were judged with the sources.", r.Judged)
	}
	proven := section{Title: "What canaries proved there", Text: "By category of privileged activity. Unproven: a scenario is to prove it there and has not, or not lately. Missing: none is to.", Head: []string{"Category", "Proven", "Unproven", "Missing", "Last proof"}}
	for _, c := range r.Categories() {
		last := "never"
		if !c.Last.At.IsZero() {
			last = fmt.Sprintf("%s at %s/%s, canary %s (%s)", moment(c.Last.At), c.Last.Account, c.Last.Region, c.Last.Canary, c.Last.Scenario)
		}
		row := []string{c.Category}
		for _, state := range []inventory.Coverage{inventory.Proven, inventory.Unproven, inventory.Missing} {
			row = append(row, places(c.Places[state], 0))
		}
		proven.Rows = append(proven.Rows, append(row, last))
	}
	return []section{settings, findings, unread, proven}
}

// maxPlacesShown is how many places of a line are named; auditcanary sources --format csv names all.
const maxPlacesShown = 20

// places counts and names places; of is how many there are in all, 0 if that is not of interest.
func places(list []inventory.Place, of int) string {
	if len(list) == 0 {
		return "none"
	}
	var names []string
	for _, p := range list[:min(len(list), maxPlacesShown)] {
		names = append(names, p.String())
	}
	out := fmt.Sprint(len(list))
	if of > 0 {
		out += fmt.Sprintf(" of %d", of)
	}
	out += ": " + strings.Join(names, ", ")
	if n := len(list) - maxPlacesShown; n > 0 {
		out += fmt.Sprintf(" and %d more", n)
	}
	return out
}

// access are the sections of who can do what to the logs.
func (i *Inspection) access() []section {
	lists := section{Title: "Who can do what to the logs", Text: "Who else may change, stop, silence or read the logs is not known here. " + notAsked}
	switch {
	case i == nil:
		return []section{lists}
	case i.Access == nil:
		lists.Text = "The accounts were asked and could not say who can do what to the logs: " + or(i.AccessErr, "nobody asked")
		return []section{lists}
	}
	r := i.Access
	lists.Text = fmt.Sprintf("%d actions on %d resources were asked of %d principals of %d accounts, and of whom the resources' policies name. Whatever hangs on the request itself, on what is not known here or on what could not be read is possible, never left out.", len(r.Actions), len(r.Resources), r.Principals, r.Accounts)
	findings := section{Title: "Segregation: who ought not to be able to", Text: "A principal that acts in the accounts under test and can tamper with the archive as well; anybody, or an account outside the organisation, that a policy admits.", Head: []string{"Finding", "Outcome", "Principal", "What", "By"}}
	for _, f := range r.Findings {
		findings.Rows = append(findings.Rows, []string{f.Kind, f.Outcome.String(), f.Principal, f.Detail, strings.Join(f.Path, "; ")})
	}
	if len(findings.Rows) == 0 && len(r.Gaps) > 0 {
		findings.Title += ", as far as it could be read"
	}
	unread := section{Title: "What could not be read of the accesses", Text: "Whatever hangs on it is unknown or only possible: these lists are not complete without it.", Head: []string{"Account", "What", "Why"}}
	for _, g := range r.Gaps {
		unread.Rows = append(unread.Rows, []string{or(g.Account, "–"), g.What, g.Why})
	}
	out := []section{lists, findings, unread}
	for _, group := range access.Groups() {
		s := section{Title: access.Question(group), Head: []string{"Resource", "Kind", "Who", "Outcome", "Actions", "Through"}}
		for _, l := range r.Lines(group) {
			s.Rows = append(s.Rows, []string{l.Resource, l.On, l.Who, l.Outcome.String(), strings.Join(l.Actions, ", "), or(l.Path, "not stated")})
		}
		if len(s.Rows) == 0 && len(r.Gaps) > 0 {
			s.Text = "Of what could be read; what could not be stands above."
		}
		out = append(out, s)
	}
	become := section{Title: "Who can become these roles", Head: []string{"Role", "Who", "Outcome", "Through"}}
	for _, a := range r.Assumers {
		become.Rows = append(become.Rows, []string{a.Role, a.Who(), a.Outcome.String(), a.Path()})
	}
	limits := section{Title: "What these lists do not look at", Head: []string{"Limit"}}
	for _, l := range r.Limits {
		limits.Rows = append(limits.Rows, []string{l})
	}
	return append(out, become, limits)
}

// chains are what every chain of digests is worth.
func (r Report) chains() section {
	s := section{Title: "Chains of digests, as they were found", Text: chainsSay(r)}
	if !r.Protection.validated() {
		return s
	}
	s.Head = []string{"Account", "Region", "Chain", "Result", "Covered", "Digests valid", "Log files valid", "Age of its head", "Last validated", "First finding"}
	for _, c := range r.Protection.Chains {
		row := chainRowOf(c)
		head := "no head"
		if c.Head != nil {
			head = (time.Duration(c.Head.AgeSeconds) * time.Second).String()
		}
		s.Rows = append(s.Rows, []string{c.Account, c.Region, c.name(), c.Result.tag().Word, c.covered(moment), row.Digests, row.Logs, head, or(moment(c.Validated), "never"), or(c.said(), "none")})
	}
	return s
}
