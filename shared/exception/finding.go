package exception

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
	"time"

	"github.com/auditcanary/auditcanary/shared/canary"
)

// Kind of finding.
type Kind string

const (
	SelfApproved   Kind = "self-approved"   // requester and approver are one, or not named
	Unbounded      Kind = "unbounded"       // no end, or one too distant
	OverBroad      Kind = "over-broad"      // it would hide what nobody accepted
	NotOpened      Kind = "not-opened"      // it begins in the future
	Changed        Kind = "control-changed" // approved against another version
	Expired        Kind = "expired"
	Expiring7      Kind = "expires-in-7-days"
	Expiring30     Kind = "expires-in-30-days"
	RemediationDue Kind = "remediation-due" // its day has passed
	MatchesNothing Kind = "matches-nothing" // what it accepts does not happen (any more)
)

// Severity says what follows from a finding.
type Severity string

const (
	// NotInOrder: the exception does not count.
	NotInOrder Severity = "not-in-order"
	// Over: it counted, and does not any more.
	Over Severity = "over"
	// Attention: it counts, and somebody must look at it.
	Attention Severity = "attention"
)

// Finding is one thing that is wrong with an exception, or soon will be.
type Finding struct {
	Exception string   `json:"exception"`
	Kind      Kind     `json:"kind"`
	Severity  Severity `json:"severity"`
	Detail    string   `json:"detail"`
	Until     Day      `json:"until"`
	Line      int      `json:"-"` // in the register's file, if known
}

// Findings says of each exception, in the register's order, what is wrong with it at a
// time. Subjects are what was tested in the period, passed or not; without any, nobody
// can say that an exception matches nothing.
func (r Register) Findings(now time.Time, subjects []Subject) []Finding {
	out := []Finding{}
	for _, st := range r.Standing(now, subjects) {
		out = append(out, st.Findings...)
	}
	return out
}

// Standing is how one exception stands at a time.
type Standing struct {
	Exception
	// InForce: it counts. State says it in words: "in force", "expires in 5 days",
	// "expired on 2026-12-31", "not in order", "matches nothing".
	InForce  bool      `json:"in_force"`
	State    string    `json:"state"`
	Findings []Finding `json:"findings"`
	// Covers are the answers of the latest canaries that it covers now.
	Covers []Subject `json:"-"`
}

// Standing says how each exception stands at a time; see Findings for the subjects.
func (r Register) Standing(now time.Time, subjects []Subject) []Standing {
	out := []Standing{}
	latest := newest(subjects)
	for i, e := range r.Exceptions {
		st := Standing{Exception: e, State: "in force", Findings: r.disorder(e, now)}
		add := func(k Kind, sev Severity, format string, args ...any) {
			st.Findings = append(st.Findings, Finding{Exception: e.ID, Kind: k, Severity: sev, Until: e.Expires, Line: e.Line, Detail: fmt.Sprintf(format, args...)})
		}
		if slices.ContainsFunc(r.Exceptions[:i], func(o Exception) bool { return o.ID == e.ID }) {
			add(OverBroad, Attention, "another exception has the same id")
		}
		if why := e.outdated(latest); why != "" {
			// Those of older canaries that are as they were approved stay covered.
			add(Changed, NotInOrder, "%s", why)
		}
		disordered := slices.ContainsFunc(st.Findings, func(f Finding) bool { return f.Severity == NotInOrder })
		end, bounded := e.Expires.end()
		left := end.Sub(now)
		days := int(left.Hours() / 24)
		expired := bounded && e.expired(now)
		soon := bounded && !expired && left <= 30*24*time.Hour
		switch {
		case expired:
			add(Expired, Over, "it ended on %s: what it covered counts again", e.Expires)
		case soon && left <= 7*24*time.Hour:
			add(Expiring7, Attention, "it ends on %s, in %s", e.Expires, inDays(days))
		case soon:
			add(Expiring30, Attention, "it ends on %s, in %s", e.Expires, inDays(days))
		}
		if by, ok := e.Remediation.By.end(); ok && !now.Before(by) && !expired {
			add(RemediationDue, Attention, "it was to be needed no more by %s: %s", e.Remediation.By, e.Remediation.Plan)
		}
		idle := ""
		if !disordered && !expired {
			if idle = r.idle(e, now, subjects); idle != "" {
				add(MatchesNothing, Attention, "%s", idle)
			}
			for _, s := range latest {
				if by, ok := r.For(s, now); ok && by.ID == e.ID {
					st.Covers = append(st.Covers, s)
				}
			}
		}
		switch {
		case disordered:
			st.State = "not in order"
		case expired:
			st.State = "expired on " + string(e.Expires)
		case idle != "":
			st.State = "matches nothing"
		case soon:
			st.State = "expires in " + inDays(days)
		}
		st.InForce = !disordered && !expired
		out = append(out, st)
	}
	return out
}

func inDays(n int) string {
	if n == 1 {
		return "1 day"
	}
	return fmt.Sprintf("%d days", n)
}

// newest are the subjects of the latest canary of each scenario and target; one that
// was not run is no later answer where there is one.
func newest(subjects []Subject) (out []Subject) {
	type question struct {
		scenario string
		target   canary.Target
		check    canary.Check
	}
	at := map[question]int{}
	for _, s := range subjects {
		q := question{s.Scenario, s.Target, s.Check}
		i, known := at[q]
		switch {
		case !known:
			at[q] = len(out)
			out = append(out, s)
		case s.Status == canary.NotRun && out[i].Status != canary.NotRun:
		case !s.At.Before(out[i].At) || out[i].Status == canary.NotRun:
			out[i] = s
		}
	}
	return out
}

// outdated says that no scenario in the scope is any more what the exception was
// approved for; "" where one is, or none was tested.
func (e Exception) outdated(latest []Subject) string {
	if !isHash(e.Control.Version) {
		return ""
	}
	other := ""
	for _, s := range latest {
		if !e.Scope.holds(s) {
			continue
		}
		if s.ScenarioHash == e.Control.Version {
			return ""
		}
		other = s.Scenario
	}
	if other == "" {
		return ""
	}
	return fmt.Sprintf("%s has changed since it was approved (version %.12s): it has to be approved anew", other, e.Control.Version)
}

// idle says that what an exception accepts does not happen, and for how long: at least
// one canary in its scope must have been tested since it last did. "" if it happens, or
// nobody can tell.
func (r Register) idle(e Exception, now time.Time, subjects []Subject) string {
	if len(subjects) == 0 {
		return ""
	}
	since, _ := e.from()
	var last, first, ended time.Time
	tested := 0
	for _, s := range subjects {
		if ended = later(ended, s.At); s.At.Before(since) || !e.Scope.holds(s) || s.Open || s.Status == canary.NotRun {
			continue
		}
		if e.covers(s) && e.approvedFor(s, r.ControlsVersion) {
			last, tested, first = later(last, s.At), 0, time.Time{}
			continue
		}
		if !s.At.Before(last) {
			tested++
			if first.IsZero() || s.At.Before(first) {
				first = s.At
			}
		}
	}
	switch {
	case tested > 0 && last.IsZero():
		return fmt.Sprintf("what it accepts has not happened since %s, in %d answers of its scope", first.UTC().Format(time.DateOnly), tested)
	case tested > 0 && !stillCovered(r, e, now, subjects):
		return fmt.Sprintf("what it accepts happened last on %s; %d answers of its scope since then were others", last.UTC().Format(time.DateOnly), tested)
	case tested == 0 && last.IsZero() && !ended.Before(since):
		return "nothing in its scope was tested since it was opened"
	}
	return ""
}

// stillCovered: of several places in the scope, one that still needs it is enough.
func stillCovered(r Register, e Exception, now time.Time, subjects []Subject) bool {
	return slices.ContainsFunc(newest(subjects), func(s Subject) bool {
		by, ok := r.For(s, now)
		return ok && by.ID == e.ID
	})
}

func later(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}

// Notice is a finding that somebody must be told of, as a ticket.
type Notice struct {
	// ID is that of the thing to be done, [a-z0-9-], for ever: an exception that
	// expires in 30 days, in 7, and has expired is one notice that changes.
	ID string `json:"id"`
	// What is to be looked after: its end, order, idle or remediation.
	What string `json:"what"`
	Finding
	Title string `json:"title"`
	// Severity decides the priority: "high" (it does not count, or not any more),
	// "medium" (7 days), "low".
	Urgency string `json:"urgency"`
	// Owner and Contact of the exception; Ticket in which it was approved, Plan to do without it.
	Owner   string `json:"owner"`
	Contact string `json:"contact,omitempty"`
	Ticket  string `json:"ticket,omitempty"`
	Plan    string `json:"plan,omitempty"`
}

// Notices are the findings for tickets, at most one a thing to be done: its end, what
// is not in order about it, that it matches nothing, that its remediation is due.
func (r Register) Notices(now time.Time, subjects []Subject) []Notice {
	out := []Notice{}
	at := map[string]int{}
	for _, st := range r.Standing(now, subjects) {
		for _, f := range st.Findings {
			if f.Kind == NotOpened {
				continue // it will be
			}
			what, urgency := f.Kind.todo()
			n := Notice{
				ID: noticeID(st.ID, what), What: what, Finding: f, Urgency: urgency, Title: fmt.Sprintf("Exception %s: %s", st.ID, f.Kind),
				Owner: st.Owner, Contact: st.Contact, Ticket: st.Risk.Ticket, Plan: st.Remediation.Plan,
			}
			if i, known := at[n.ID]; known {
				out[i].Detail += "; " + n.Detail
				continue
			}
			at[n.ID] = len(out)
			out = append(out, n)
		}
	}
	return out
}

// todo names what is to be done about a finding, and how urgent that is.
func (k Kind) todo() (what, urgency string) {
	switch k {
	case Expired:
		return "end", "high"
	case Expiring7:
		return "end", "medium"
	case Expiring30:
		return "end", "low"
	case RemediationDue:
		return "remediation", "medium"
	case MatchesNothing:
		return "idle", "low"
	}
	return "order", "high"
}

func noticeID(id, what string) string {
	sum := sha256.Sum256([]byte(id))
	return "exception-" + hex.EncodeToString(sum[:6]) + "-" + what
}
