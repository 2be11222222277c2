// Package exception holds accepted limitations: each with an owner, a compensating control, a day on which it ends.
//
// A verdict stays what it is. Overlay lays the register over it when it is shown: an
// answer that an exception in force covers is Excepted, which is counted and never
// proven. An exception covers one problem (the hop, the fields or the words of the
// answer), not one object: what else goes wrong there is a failure as before.
//
// Nothing in this package does I/O or reads a clock.
package exception

import (
	"fmt"
	"path"
	"slices"
	"strings"
	"time"
	"unicode"

	"golang.org/x/text/unicode/norm"

	"github.com/auditcanary/auditcanary/shared/canary"
	"github.com/auditcanary/auditcanary/shared/event"
)

// Exception is one approved exception.
type Exception struct {
	// ID names it for ever ("EX-2026-014"); a later exception has another.
	ID string `json:"id" yaml:"id"`
	// Scope is where it holds.
	Scope Scope `json:"scope" yaml:"scope"`
	// Problem is what is accepted there; anything else that fails there is not.
	Problem Problem `json:"problem" yaml:"problem"`
	// Control that is not met, and the version it was approved against.
	Control Control `json:"control" yaml:"control"`
	// CompensatingControls are what stands in for it meanwhile.
	CompensatingControls []string `json:"compensating_controls" yaml:"compensating_controls"`
	// Risk is its acceptance.
	Risk Risk `json:"risk" yaml:"risk"`
	// Opened is the first day on which it holds, Expires the last (UTC).
	Opened  Day `json:"opened" yaml:"opened"`
	Expires Day `json:"expires" yaml:"expires"`
	// Remediation is how it will be needed no more.
	Remediation Remediation `json:"remediation" yaml:"remediation"`
	// Owner answers for it; Contact is how to reach them.
	Owner   string `json:"owner" yaml:"owner"`
	Contact string `json:"contact,omitempty" yaml:"contact"`
	// Known is when it first came into the ledger as it is (see Known); zero: not told. What
	// was planned before that day is not covered by it.
	Known time.Time `json:"-" yaml:"-"`
	// Line of it in the register's file, for messages.
	Line int `json:"-" yaml:"-"`
}

// Scope is where an exception holds.
type Scope struct {
	// Scenario is a pattern over scenario ids, as in the configuration ("aws/ec2-*").
	Scenario string `json:"scenario" yaml:"scenario"`
	// Target is an account, or account/region; "*" stands for any account or any region.
	Target string `json:"target" yaml:"target"`
	// Check that does not pass: injected, surfaced, attributed, timely, sealed,
	// immutable or alerted. What a canary left (cleaned) is removed, not accepted.
	Check canary.Check `json:"check" yaml:"check"`
}

// Problem is which answer of the check is accepted. All that is given must hold, of
// each step that does not pass.
type Problem struct {
	// Status: fail, late or inconclusive (default: fail and late). That something
	// could not be found out is excepted only where it says so.
	Status []canary.Status `json:"status,omitempty" yaml:"status"`
	// Hop on which the record is lost: emitted, delivered, stored or parsed. Of several
	// steps that are lost it is found out of the first only: name details instead.
	Hop canary.Hop `json:"hop,omitempty" yaml:"hop"`
	// Steps of the scenario (default: any).
	Steps []string `json:"steps,omitempty" yaml:"steps"`
	// Fields that may differ (check attributed): none but these.
	Fields []string `json:"fields,omitempty" yaml:"fields"`
	// Details are parts of the answer's sentence, one of which must be in it. Of several
	// reasons in one answer (check immutable) each must have one.
	Details []string `json:"details,omitempty" yaml:"details"`
}

// Control is the requirement that is not met.
type Control struct {
	// ID as in the mapping of controls, "iso27017:2015/12.4.3".
	ID string `json:"id" yaml:"id"`
	// Version it was approved against: the SHA-256 of the scenario's file (64 hex
	// digits), or the version of the mapping of controls ("2026-11-26.1"). Once that has
	// changed the exception does not count: what was approved is not what is tested now.
	Version string `json:"version" yaml:"version"`
}

// Risk is the acceptance of what follows.
type Risk struct {
	// Requester asked for it, Approver accepted it: two people.
	Requester string `json:"requester" yaml:"requester"`
	Approver  string `json:"approver" yaml:"approver"`
	// Statement of what is accepted, and why.
	Statement string `json:"statement" yaml:"statement"`
	// Ticket in which it was approved.
	Ticket string `json:"ticket,omitempty" yaml:"ticket"`
}

// Remediation is the plan to do without the exception.
type Remediation struct {
	Plan string `json:"plan" yaml:"plan"`
	// By is the last day for it.
	By Day `json:"by" yaml:"by"`
}

// Day is a day in UTC, 2026-12-31; "" is none.
type Day string

// begin is the first moment of the day; false if it is none.
func (d Day) begin() (time.Time, bool) {
	t, err := time.Parse(time.DateOnly, string(d))
	return t, err == nil
}

// end is the first moment after the day; false if it is none.
func (d Day) end() (time.Time, bool) {
	t, ok := d.begin()
	return t.AddDate(0, 0, 1), ok
}

// Register is all of them, as they were read.
type Register struct {
	Exceptions []Exception `json:"exceptions"`
	// Source it was read from (a file, a Jira project) and the SHA-256 of what was read, hex.
	Source string `json:"source"`
	SHA256 string `json:"sha256"`
	// MaxDays is the longest time from opened to expires that is allowed.
	MaxDays int `json:"max_days"`
	// ControlsVersion is that of the mapping of controls in use.
	ControlsVersion string `json:"controls_version"`
	// By is who applied it: the user of the machine or the function. Optional.
	By string `json:"by,omitempty"`
	// Part of Parts, from 1, of a register that is too large for one entry of the
	// ledger; both 0: it is whole.
	Part  int `json:"part,omitempty"`
	Parts int `json:"parts,omitempty"`
}

// DefaultMaxDays is how long an exception may hold unless something else is configured.
const DefaultMaxDays = 180

// Subject is what an exception may be about: one check of one canary.
type Subject struct {
	Canary string
	// At is when the canary was planned: what was before an exception was opened is not
	// covered by it. Zero: not told.
	At           time.Time
	Scenario     string
	ScenarioHash string
	Target       canary.Target
	Check        canary.Check
	Status       canary.Status
	Hop          canary.Hop
	Detail       string
	Step         string
	Fields       []string // that differ
	// Also are further steps, or further reasons, that did not pass.
	Also []canary.Other
	// Open answers may still change by waiting: nothing is excepted yet.
	Open bool
}

// About is one answer as a subject.
func About(c canary.Canary, at time.Time, check canary.Check, a canary.Answer) Subject {
	s := Subject{
		Canary: c.ID, At: at, Scenario: c.Scenario, ScenarioHash: c.ScenarioHash, Target: c.Target,
		Check: check, Status: a.Status, Hop: a.Hop, Detail: a.Detail, Step: a.Step, Fields: fieldNames(a.Fields), Also: slices.Clone(a.Also), Open: a.Open,
	}
	if check == canary.Immutable {
		// One answer lists all that is weak about an object.
		reasons := strings.Split(s.Detail, "; ")
		s.Detail = reasons[0]
		for _, r := range reasons[1:] {
			s.Also = append(s.Also, canary.Other{Step: a.Step, Status: a.Status, Hop: a.Hop, Detail: r})
		}
	}
	return s
}

func fieldNames(ds []event.Difference) (out []string) {
	for _, d := range ds {
		if !slices.Contains(out, d.Field) {
			out = append(out, d.Field)
		}
	}
	return out
}

// For returns the exception that covers s at a time, if one does. Only what did not
// pass can be excepted, and nothing that expired or is not in order counts.
func (r Register) For(s Subject, now time.Time) (Exception, bool) {
	if s.Open {
		return Exception{}, false
	}
	for _, e := range r.Exceptions {
		from, _ := e.from()
		if !s.At.IsZero() && s.At.Before(from) {
			continue // it happened before anybody accepted it
		}
		if len(r.disorder(e, now)) == 0 && !e.expired(now) && e.covers(s) && e.approvedFor(s, r.ControlsVersion) {
			return e, true
		}
	}
	return Exception{}, false
}

// Overlay lays the register over the verdict on a canary that was planned at a time, as
// of now: what an exception covers is
// excepted, and so is what could not be judged for want of the very thing that is
// excepted. Nothing else changes, and nothing becomes a pass.
func (r Register) Overlay(c canary.Canary, planned time.Time, v canary.Verdict, now time.Time) canary.Verdict {
	checks := make(map[canary.Check]canary.Answer, len(v.Checks))
	for check, a := range v.Checks {
		if e, ok := r.For(About(c, planned, check, a), now); ok {
			a.Accepted = e.accepted(a.Status, "")
			a.Status = canary.Excepted
		}
		checks[check] = a
	}
	for check, needs := range following() {
		a, there := checks[check]
		if !there || a.Status != canary.NotRun || a.Open {
			continue
		}
		for _, cause := range needs {
			if by := checks[cause].Accepted; by != nil && checks[cause].Status == canary.Excepted && by.Follows == "" {
				follows := *by
				follows.Was, follows.Follows = a.Status, cause
				a.Status, a.Accepted = canary.Excepted, &follows
				checks[check] = a
				break
			}
		}
	}
	v.Checks = checks
	return v
}

// following says which required checks cannot be judged where others did not pass.
func following() map[canary.Check][]canary.Check {
	return map[canary.Check][]canary.Check{
		canary.Surfaced:   {canary.Injected},
		canary.Attributed: {canary.Injected, canary.Surfaced},
		canary.Timely:     {canary.Injected, canary.Surfaced},
	}
}

func (e Exception) accepted(was canary.Status, follows canary.Check) *canary.Accepted {
	return &canary.Accepted{ID: e.ID, Was: was, Approver: e.Risk.Approver, Owner: e.Owner, Why: e.Risk.Statement, Until: string(e.Expires), Follows: follows}
}

// covers reports whether s is the problem that is accepted, whatever the day.
func (e Exception) covers(s Subject) bool {
	if !e.Scope.holds(s) || !e.Problem.is(canary.Other{Step: s.Step, Status: s.Status, Hop: s.Hop, Detail: s.Detail, Fields: s.Fields}) {
		return false
	}
	for _, also := range s.Also {
		if !e.Problem.is(also) {
			return false
		}
	}
	return true
}

// holds reports whether a subject is in the scope, however its check came out.
func (sc Scope) holds(s Subject) bool {
	ok, err := path.Match(sc.Scenario, s.Scenario)
	account, region := sc.place()
	return err == nil && ok && sc.Check == s.Check && sc.Check != "" && sc.Check != canary.Cleaned &&
		(account == anything || account == s.Target.Account) && (region == anything || region == s.Target.Region)
}

const anything = "*"

// place is account and region; "*" = any.
func (sc Scope) place() (account, region string) {
	account, region, two := strings.Cut(sc.Target, "/")
	if !two {
		region = anything
	}
	return account, region
}

// is reports whether what one step says is the problem.
func (p Problem) is(o canary.Other) bool {
	if !slices.Contains(p.statuses(), o.Status) || p.Hop != "" && p.Hop != o.Hop {
		return false
	}
	if len(p.Steps) > 0 && !slices.Contains(p.Steps, o.Step) {
		return false
	}
	if len(p.Fields) > 0 && (len(o.Fields) == 0 || slices.ContainsFunc(o.Fields, func(f string) bool { return !slices.Contains(p.Fields, f) })) {
		return false
	}
	return len(p.Details) == 0 || slices.ContainsFunc(p.Details, func(d string) bool { return strings.Contains(o.Detail, d) })
}

// String says it in words.
func (p Problem) String() string {
	parts := []string{strings.Join(texts(p.statuses()), " or ")}
	if p.Hop != "" {
		parts = append(parts, "on hop "+string(p.Hop))
	}
	for _, x := range []struct {
		name   string
		values []string
	}{{"steps", p.Steps}, {"fields", p.Fields}, {"details", p.Details}} {
		if len(x.values) > 0 {
			parts = append(parts, fmt.Sprintf("%s %q", x.name, x.values))
		}
	}
	return strings.Join(parts, ", ")
}

// statuses that are accepted; never one that is no problem.
func (p Problem) statuses() []canary.Status {
	if len(p.Status) == 0 {
		return []canary.Status{canary.Fail, canary.Late}
	}
	return slices.DeleteFunc(slices.Clone(p.Status), func(s canary.Status) bool { return !slices.Contains(exceptable(), s) })
}

// exceptable are the statuses that can be excepted at all.
func exceptable() []canary.Status {
	return []canary.Status{canary.Fail, canary.Late, canary.Inconclusive}
}

// approvedFor reports whether what is tested is what was approved.
func (e Exception) approvedFor(s Subject, controls string) bool {
	if isHash(e.Control.Version) {
		return e.Control.Version == s.ScenarioHash
	}
	return e.Control.Version != "" && e.Control.Version == controls
}

func isHash(v string) bool {
	return len(v) == 64 && strings.Trim(v, "0123456789abcdef") == ""
}

func (e Exception) expired(now time.Time) bool {
	end, ok := e.Expires.end()
	return !ok || !now.Before(end)
}

// disorder says why an exception does not count, as far as that does not hang on what
// was tested; none: it is in order.
func (r Register) disorder(e Exception, now time.Time) (out []Finding) {
	add := func(k Kind, format string, args ...any) {
		out = append(out, Finding{Exception: e.ID, Kind: k, Severity: NotInOrder, Until: e.Expires, Line: e.Line, Detail: fmt.Sprintf(format, args...)})
	}
	switch approver, requester := person(e.Risk.Approver), person(e.Risk.Requester); {
	case approver == "":
		add(SelfApproved, "nobody is named who approved it")
	case requester == "":
		add(SelfApproved, "nobody is named who asked for it, so that nobody can tell whether it was approved by somebody else")
	case approver == requester:
		add(SelfApproved, "%s approved what %s asked for: it takes two people", e.Risk.Approver, e.Risk.Requester)
	}
	opened, ok := e.Opened.begin()
	if !ok {
		add(NotOpened, "it does not say on which day it was opened")
	} else if now.Before(opened) {
		add(NotOpened, "it holds from %s only", e.Opened)
	}
	most := r.MaxDays
	if most <= 0 {
		most = DefaultMaxDays
	}
	end, bounded := e.Expires.end()
	switch {
	case !bounded:
		add(Unbounded, "it has no day on which it ends")
	case ok && !end.After(opened):
		add(Unbounded, "it ends on %s, before it is opened on %s", e.Expires, e.Opened)
	case ok && end.Sub(opened) > time.Duration(most)*24*time.Hour:
		add(Unbounded, "it holds for %d days, from %s to %s; at most %d are allowed", int(end.Sub(opened).Hours()/24), e.Opened, e.Expires, most)
	}
	if why := e.broad(); why != "" {
		add(OverBroad, "%s", why)
	}
	if e.Control.Version == "" {
		add(Changed, "it does not say against which version of the control it was approved")
	} else if !isHash(e.Control.Version) && e.Control.Version != r.ControlsVersion {
		add(Changed, "it was approved against version %s of the controls, and %s is in use: it has to be approved anew", e.Control.Version, r.ControlsVersion)
	}
	return out
}

// person is a name as it is compared: "J. Doe" and "j.doe " are one, and so is what
// Unicode can write in several ways, or with what nobody sees.
func person(name string) string {
	folded := strings.Map(func(r rune) rune {
		if unicode.IsSpace(r) || unseen(r) {
			return -1
		}
		return unicode.ToLower(unicode.ToUpper(r))
	}, norm.NFKC.String(name))
	return norm.NFKC.String(folded) // what was dropped may have kept a letter from its accent
}

// unseen reports whether a character shows nothing by itself: it can make two texts of one.
func unseen(r rune) bool {
	const brailleBlank = '\u2800'
	return !unicode.IsPrint(r) || r == brailleBlank || unicode.In(r, unicode.Other_Default_Ignorable_Code_Point, unicode.Variation_Selector)
}

// minName is how many characters in a row a pattern must hold of a scenario's name to be no
// pattern of all of them.
const minName = 3

// named reports whether the pattern holds a part of a name as it is.
func (sc Scope) named() bool {
	plain, _, _ := strings.Cut(sc.Scenario, "[") // what stands in brackets is a choice
	_, name, _ := strings.Cut(plain, "/")
	for part := range strings.FieldsFuncSeq(name, func(r rune) bool { return strings.ContainsRune(`*?/\`, r) }) {
		if len(part) >= minName && strings.Trim(part, "-") != "" {
			return true
		}
	}
	return false
}

// minDetail is how many characters a part of an answer must have to say anything.
const minDetail = 10

// broad says why an exception would hide more than somebody accepted.
func (e Exception) broad() string {
	account, _ := e.Scope.place()
	p, check := e.Problem, e.Scope.Check
	short := slices.ContainsFunc(p.Details, func(d string) bool { return len([]rune(strings.TrimSpace(d))) < minDetail })
	switch {
	case account == anything && !e.Scope.named():
		return fmt.Sprintf("its scope is every scenario at every target, or nearly: where the account is *, the pattern must hold %d characters of the name, before any brackets", minName)
	case !slices.Contains(canary.Checks(), check):
		return "it names no check: whatever fails there would be hidden"
	case check == canary.Cleaned:
		return "what a canary left is removed, not accepted: cleaned cannot be excepted"
	case short:
		return fmt.Sprintf("a detail of less than %d characters is in nearly every answer", minDetail)
	case check == canary.Attributed && len(p.Fields) == 0:
		return "it names no fields: whatever differs in the record would be hidden"
	case (check == canary.Surfaced || check == canary.Timely) && p.Hop == "" && len(p.Details) == 0:
		return "it names neither a hop nor a detail: whatever fails there would be hidden"
	case check != canary.Surfaced && check != canary.Timely && check != canary.Attributed && len(p.Details) == 0:
		return fmt.Sprintf("it names no detail, which of %s is all that tells one problem from another", check)
	case len(p.Status) > 0 && len(p.statuses()) < len(p.Status):
		return "only fail, late and inconclusive can be excepted"
	}
	return ""
}
