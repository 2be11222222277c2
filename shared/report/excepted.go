package report

import (
	"fmt"
	"strings"
	"time"

	"github.com/auditcanary/auditcanary/shared/canary"
	"github.com/auditcanary/auditcanary/shared/exception"
)

// Exception is an approval that something does not have to pass, until a day.
type Exception struct {
	ID string `json:"id"`
	// Scope: the check, the scenarios and the target; Problem what exactly is accepted there.
	Scope   string `json:"scope"`
	Problem string `json:"problem"`
	// Reason is the statement of the risk that is accepted.
	Reason     string `json:"reason"`
	Owner      string `json:"owner"`
	Contact    string `json:"contact,omitempty"`
	Requester  string `json:"requester"`
	ApprovedBy string `json:"approved_by"`
	Ticket     string `json:"ticket,omitempty"`
	// Control with the version it was approved against.
	Control string `json:"control"`
	// Compensating controls, and the plan to do without the exception.
	Compensating []string `json:"compensating_controls"`
	Remediation  string   `json:"remediation"`
	Opened       string   `json:"opened"` // day
	// Expires is its last day.
	Expires time.Time `json:"expires"`
	Expired bool      `json:"expired"`
	// InForce: it counts. State says it in words; Findings say what is wrong with it.
	InForce  bool     `json:"in_force"`
	State    string   `json:"state"`
	Findings []string `json:"findings"`
	// Covers are the canaries of the period that are excepted by it, by id.
	Covers []string `json:"covers"`
}

// exceptions are those of the register, in its order.
func (b *builder) exceptions() []Exception {
	out := []Exception{}
	var subjects []exception.Subject
	for _, s := range b.in.State.Subjects(b.in.Period.From) {
		cs := b.in.State.Canary(s.Canary)
		if b.in.Period.Contains(s.At) && (b.in.Period.Run == "" || cs.Run.ID == b.in.Period.Run) {
			subjects = append(subjects, s)
		}
	}
	covers := map[string][]string{}
	for _, s := range subjects {
		if e, ok := b.register.For(s, b.asOf); ok {
			if ids := covers[e.ID]; len(ids) == 0 || ids[len(ids)-1] != s.Canary {
				covers[e.ID] = append(ids, s.Canary)
			}
		}
	}
	for _, st := range b.register.Standing(b.asOf, subjects) {
		x := Exception{
			ID: st.ID, Scope: fmt.Sprintf("%s of %s at %s", st.Scope.Check, st.Scope.Scenario, st.Scope.Target), Problem: st.Problem.String(),
			Reason: st.Risk.Statement, Owner: st.Owner, Contact: st.Contact, Requester: st.Risk.Requester, ApprovedBy: st.Risk.Approver, Ticket: st.Risk.Ticket,
			Control: st.Control.ID + ", version " + st.Control.Version, Compensating: some(st.CompensatingControls),
			Remediation: fmt.Sprintf("%s (by %s)", st.Remediation.Plan, st.Remediation.By), Opened: string(st.Opened),
			InForce: st.InForce, State: st.State, Findings: []string{}, Covers: some(covers[st.ID]),
		}
		if day, err := time.Parse(time.DateOnly, string(st.Expires)); err == nil {
			x.Expires = day
		}
		for _, f := range st.Findings {
			x.Expired = x.Expired || f.Kind == exception.Expired
			x.Findings = append(x.Findings, string(f.Kind)+": "+f.Detail)
		}
		out = append(out, x)
	}
	return out
}

// acceptedAs is an answer's detail, with who accepted it, why and until when.
func acceptedAs(a canary.Answer) string {
	by := a.Accepted
	if by == nil {
		return a.Detail
	}
	said := fmt.Sprintf("excepted by %s until %s (was %s), accepted by %s: %s", by.ID, by.Until, by.Was, by.Approver, strings.TrimSuffix(by.Why, "."))
	if by.Follows != "" {
		said = fmt.Sprintf("excepted with %s by %s until %s (was %s)", by.Follows, by.ID, by.Until, by.Was)
	}
	if a.Detail != "" {
		said += ". What was found: " + a.Detail
	}
	return said
}
