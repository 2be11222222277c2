package packet

import (
	"slices"
	"strings"
	"time"

	"github.com/auditcanary/auditcanary/shared/canary"
	"github.com/auditcanary/auditcanary/shared/event"
	"github.com/auditcanary/auditcanary/shared/exception"
)

// ExceptionsLine is the register of exceptions as it was at a time, with what it covers.
// Verdicts are what they are; the register says which of them somebody accepted.
type ExceptionsLine struct {
	// AsOf is the end of the period, or when the packet's last entry was written.
	AsOf   time.Time `json:"as_of"`
	Source string    `json:"source"`
	SHA256 string    `json:"sha256"`
	// Registers are how many versions of it are in the packet.
	Registers  int             `json:"registers"`
	Exceptions []ExceptionLine `json:"exceptions"`
}

// ExceptionLine is one exception.
type ExceptionLine struct {
	ID       string `json:"id"`
	Owner    string `json:"owner"`
	Approver string `json:"approver"`
	Until    string `json:"until"`
	Risk     string `json:"risk"`
	InForce  bool   `json:"in_force"`
	// Not says why it is not in force.
	Not string `json:"not_in_force,omitempty"`
	// Canaries of the packet that are excepted by it.
	Canaries int `json:"canaries"`
}

const (
	// maxUnproven is how many verdicts are kept to be held against the register, and
	// maxUnprovenText how many bytes of what they say. What is beyond is not excepted.
	maxUnproven     = 50_000
	maxUnprovenText = 32 << 20
)

// unproven is what a register may be asked of a canary that is not proven.
type unproven struct {
	canary  canary.Canary
	verdict canary.Verdict
	text    int // bytes
}

// noteRegister keeps the last register of before the period's end.
func (s *state) noteRegister(e entry) {
	if r, whole := s.joining.Join(*e.Register); whole {
		s.registers++
		s.known.Note(&r, e.At)
		if s.period.To.IsZero() || e.At.Before(s.period.To) {
			s.register = &r
		}
	}
}

// keepUnproven remembers the last verdict on a canary if it is not proven: no more of
// it than the register is asked about.
func (s *state) keepUnproven(c *canaryFold, v canary.Verdict) {
	s.unprovenText -= s.unproven[c.id].text
	delete(s.unproven, c.id)
	if v.Overall() == canary.Pass || len(s.unproven) >= maxUnproven {
		return
	}
	small, text := canary.Verdict{Checks: map[canary.Check]canary.Answer{}}, 0
	for _, check := range canary.Checks() {
		a, ok := v.Checks[check]
		if !ok {
			continue
		}
		one := canary.Answer{Status: a.Status, Open: a.Open, Hop: a.Hop, Step: a.Step}
		if a.Status != canary.Pass && a.Status != canary.NotRun {
			one.Detail, one.Also = a.Detail, a.Also
			text += len(a.Detail)
			for _, f := range a.Fields {
				one.Fields = append(one.Fields, event.Difference{Field: f.Field})
				text += len(f.Field)
			}
			for _, also := range a.Also {
				text += len(also.Detail) + len(strings.Join(also.Fields, ""))
			}
		}
		small.Checks[check] = one
	}
	if s.unprovenText+text > maxUnprovenText {
		return
	}
	s.unprovenText += text
	t := c.place.PlaceLine
	s.unproven[c.id] = unproven{
		canary:  canary.Canary{ID: c.id, Scenario: c.scenario.ID, ScenarioHash: c.scenario.Hash, Target: canary.Target{Provider: t.Provider, Account: t.Account, Region: t.Region}},
		verdict: small, text: text,
	}
}

// asOf is the end of the period, or when the last entry was written.
func (s *state) asOf() time.Time {
	if end := s.period.To.Add(-1); !s.period.To.IsZero() && end.Before(s.latest) {
		return end
	}
	return s.latest
}

// excepted holds the verdict on a canary against the register as it was at the end of
// the period, and reports whether it passes but for what is accepted.
func (s *state) excepted(c *canaryFold) bool {
	u, ok := s.unproven[c.id]
	if !ok || s.register == nil {
		return false
	}
	v := s.register.Overlay(u.canary, c.at, u.verdict, s.asOf())
	if v.Overall() != canary.Excepted {
		return false
	}
	var ids []string
	for _, a := range v.Checks {
		if a.Accepted != nil && !slices.Contains(ids, a.Accepted.ID) {
			ids = append(ids, a.Accepted.ID)
			s.exceptedBy[a.Accepted.ID]++
		}
	}
	return true
}

// exceptions says how the register stood, and what it covered.
func (s *state) exceptions(p *Population) {
	if s.register == nil {
		return
	}
	line := &ExceptionsLine{AsOf: s.asOf().UTC(), Source: s.register.Source, SHA256: s.register.SHA256, Registers: s.registers, Exceptions: []ExceptionLine{}}
	for _, st := range s.register.Standing(s.asOf(), nil) {
		one := ExceptionLine{ID: st.ID, Owner: st.Owner, Approver: st.Risk.Approver, Until: string(st.Expires), Risk: st.Risk.Statement, InForce: st.InForce, Canaries: s.exceptedBy[st.ID]}
		for _, f := range st.Findings {
			if !st.InForce && f.Severity != exception.Attention {
				one.Not = strings.TrimPrefix(one.Not+"; "+f.Detail, "; ")
			}
		}
		line.Exceptions = append(line.Exceptions, one)
	}
	p.Exceptions = line
}
