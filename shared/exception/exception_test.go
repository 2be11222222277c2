package exception

import (
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/auditcanary/auditcanary/shared/canary"
	"github.com/auditcanary/auditcanary/shared/event"
)

const controls = "2026-11-26.1"

var (
	now    = time.Date(2026, 11, 26, 12, 0, 0, 0, time.UTC)
	target = canary.Target{Provider: "aws", Account: "111122223333", Region: "eu-west-1"}
	hash   = strings.Repeat("ab", 32)
)

// sound is an exception that counts today.
func sound(change ...func(*Exception)) Exception {
	e := Exception{
		ID: "EX-1", Scope: Scope{Scenario: "aws/ec2-*", Target: "111122223333/eu-west-1", Check: canary.Attributed},
		Problem:              Problem{Hop: canary.Delivered, Fields: []string{"src_endpoint.ip"}},
		Control:              Control{ID: "iso27017:2015/12.4.3", Version: controls},
		CompensatingControls: []string{"the proxy's own log"},
		Risk:                 Risk{Requester: "Nadia", Approver: "The CISO", Statement: "the proxy rewrites it"},
		Opened:               "2026-11-02", Expires: "2027-01-31", Remediation: Remediation{Plan: "replace it", By: "2027-01-15"}, Owner: "Network",
	}
	for _, c := range change {
		c(&e)
	}
	return e
}

func register(es ...Exception) Register {
	return Register{Exceptions: es, Source: "exceptions.yaml", MaxDays: 180, ControlsVersion: controls}
}

// failing is what the sound exception was made for.
func failing(change ...func(*Subject)) Subject {
	s := Subject{
		Canary: "c-1", At: now.Add(-time.Hour), Scenario: "aws/ec2-security-group-ingress", ScenarioHash: hash, Target: target,
		Check: canary.Attributed, Status: canary.Fail, Hop: canary.Delivered, Step: "authorize", Fields: []string{"src_endpoint.ip"},
		Detail: `src_endpoint.ip: expected "127.0.0.1", found "203.0.113.66"`,
	}
	for _, c := range change {
		c(&s)
	}
	return s
}

func TestAnExceptionCoversOneProblemAndNothingElse(t *testing.T) {
	surfaced := func(e *Exception) {
		e.Scope.Check, e.Problem = canary.Surfaced, Problem{Hop: canary.Delivered}
	}
	lost := func(s *Subject) { s.Check, s.Fields, s.Detail = canary.Surfaced, nil, "no record of ec2:X" }
	immutable := func(e *Exception) {
		e.Scope.Check, e.Problem = canary.Immutable, Problem{Details: []string{"bucket versioning is suspended"}}
	}
	weak := func(detail string) func(*Subject) {
		return func(s *Subject) {
			*s = About(canary.Canary{Scenario: s.Scenario, Target: target, ScenarioHash: hash}, s.At, canary.Immutable, canary.Answer{Status: canary.Fail, Hop: canary.Stored, Detail: detail})
		}
	}
	for _, tc := range []struct {
		name    string
		except  func(*Exception)
		subject func(*Subject)
		want    bool
	}{
		{"the very problem", nil, nil, true},
		{"late, which is a problem too", nil, func(s *Subject) { s.Status = canary.Late }, true},
		{"what could not be found out", nil, func(s *Subject) { s.Status = canary.Inconclusive }, false},
		{"what could not be found out, where it says so", func(e *Exception) { e.Problem.Status = []canary.Status{canary.Inconclusive} }, func(s *Subject) { s.Status = canary.Inconclusive }, true},
		{"a failure, where only inconclusive is accepted", func(e *Exception) { e.Problem.Status = []canary.Status{canary.Inconclusive} }, nil, false},
		{"a pass", func(e *Exception) { e.Problem.Status = []canary.Status{canary.Fail, canary.Pass} }, func(s *Subject) { s.Status = canary.Pass }, false},
		{"what was not run", nil, func(s *Subject) { s.Status = canary.NotRun }, false},
		{"what may still change by waiting", nil, func(s *Subject) { s.Open = true }, false},
		{"what was before it was opened", nil, func(s *Subject) { s.At = time.Date(2026, 11, 1, 23, 59, 59, 0, time.UTC) }, false},
		{"what was on its first day", nil, func(s *Subject) { s.At = time.Date(2026, 11, 2, 0, 0, 0, 0, time.UTC) }, true},
		{"another hop", nil, func(s *Subject) { s.Hop = canary.Emitted }, false},
		{"no hop", nil, func(s *Subject) { s.Hop = "" }, false},
		{"another field besides", nil, func(s *Subject) { s.Fields = append(s.Fields, "actor.uid") }, false},
		{"another field", nil, func(s *Subject) { s.Fields = []string{"actor.uid"} }, false},
		{"no fields", nil, func(s *Subject) { s.Fields = nil }, false},
		{"another scenario", nil, func(s *Subject) { s.Scenario = "aws/kms-disable-key" }, false},
		{"another account", nil, func(s *Subject) { s.Target.Account = "444455556666" }, false},
		{"another region", nil, func(s *Subject) { s.Target.Region = "us-east-1" }, false},
		{"every region of the account", func(e *Exception) { e.Scope.Target = "111122223333" }, func(s *Subject) { s.Target.Region = "us-east-1" }, true},
		{"one region of every account", func(e *Exception) { e.Scope.Target = "*/eu-west-1" }, func(s *Subject) { s.Target.Account = "444455556666" }, true},
		{"another check", nil, func(s *Subject) { s.Check = canary.Surfaced }, false},
		{"another step, where it names one", func(e *Exception) { e.Problem.Steps = []string{"create"} }, nil, false},
		{"the step that it names", func(e *Exception) { e.Problem.Steps = []string{"authorize"} }, nil, true},
		{"a further step that fails alike", nil, func(s *Subject) {
			s.Also = []canary.Other{{Step: "revoke", Status: canary.Fail, Hop: canary.Delivered, Fields: []string{"src_endpoint.ip"}}}
		}, true},
		{"a further step that fails otherwise", nil, func(s *Subject) {
			s.Also = []canary.Other{{Step: "revoke", Status: canary.Fail, Hop: canary.Emitted, Fields: []string{"src_endpoint.ip"}}}
		}, false},
		{"a further step of which nothing could be found out", nil, func(s *Subject) {
			s.Also = []canary.Other{{Step: "revoke", Status: canary.Inconclusive, Hop: canary.Delivered, Fields: []string{"src_endpoint.ip"}}}
		}, false},
		{"a record lost on the hop", surfaced, lost, true},
		{"a record lost on another", surfaced, func(s *Subject) { lost(s); s.Hop = canary.Emitted }, false},
		{"the weakness that is accepted", immutable, weak("bucket versioning is suspended"), true},
		{"another weakness besides", immutable, weak("bucket versioning is suspended; the key is disabled"), false},
		{"another weakness before", immutable, weak("the key is disabled; bucket versioning is suspended"), false},
		{"the version of the scenario that was approved", func(e *Exception) { e.Control.Version = hash }, nil, true},
		{"another version of the scenario", func(e *Exception) { e.Control.Version = hash }, func(s *Subject) { s.ScenarioHash = strings.Repeat("cd", 32) }, false},
	} {
		e, s := sound(), failing()
		if tc.except != nil {
			tc.except(&e)
		}
		if tc.subject != nil {
			tc.subject(&s)
		}
		if _, got := register(e).For(s, now); got != tc.want {
			t.Errorf("%s: covered %v, want %v", tc.name, got, tc.want)
		}
	}
}

// TestAnotherSilentAlertIsNotAccepted: promises that are of no step are told apart all the same.
func TestAnotherSilentAlertIsNotAccepted(t *testing.T) {
	s := canary.Scenario{Kind: canary.DoneAndUndone, Steps: []canary.Step{{ID: "create", Call: "iam:CreateUser"}}}
	call := now.Add(-2 * time.Hour)
	ev := canary.Evidence{
		Intents:  []canary.Intent{{Step: "create", Phase: canary.PhaseDo, Attempt: 1}},
		Receipts: []canary.Receipt{{Step: "create", Phase: canary.PhaseDo, Attempt: 1, RequestIDs: []string{"req-1"}, Ended: call, Outcome: canary.Outcome{Result: canary.Succeeded}}},
	}
	e := sound(func(e *Exception) {
		e.Scope.Check, e.Problem = canary.Alerted, Problem{Details: []string{"alert guardduty-root: it did not ring"}}
	})
	for _, tc := range []struct {
		silent []string
		want   bool
	}{
		{[]string{"guardduty-root"}, true},
		{[]string{"guardduty-root", "siem-root"}, false},
		{[]string{"siem-root", "guardduty-root"}, false},
	} {
		v := canary.Verdict{Checks: map[canary.Check]canary.Answer{canary.Injected: {Status: canary.Pass}}}
		ev.Hearings = nil
		for _, name := range tc.silent {
			ev.Hearings = append(ev.Hearings, canary.Hearing{
				Promise: canary.Promise{Alert: name, On: canary.OnAllowed}, Listened: now, AsOf: now, Demanded: &canary.Heeding{Within: time.Minute, Late: time.Hour},
			})
		}
		canary.Alert(&v, s, ev)
		about := About(canary.Canary{Scenario: "aws/ec2-x", Target: target}, call, canary.Alerted, v.Checks[canary.Alerted])
		if _, got := register(e).For(about, now); got != tc.want || about.Status != canary.Fail {
			t.Errorf("%q silent: covered %v, want %v: %+v", tc.silent, got, tc.want, about)
		}
	}
}

func TestItHoldsFromItsFirstDayToItsLast(t *testing.T) {
	e := sound(func(e *Exception) { e.Opened, e.Expires = "2026-11-26", "2026-12-31" })
	for at, want := range map[string]bool{
		"2026-11-25T23:59:59Z": false, "2026-11-26T00:00:00Z": true, "2026-12-31T23:59:59Z": true, "2027-01-01T00:00:00Z": false,
	} {
		day, err := time.Parse(time.RFC3339, at)
		if err != nil {
			t.Fatal(err)
		}
		if _, got := register(e).For(failing(func(s *Subject) { s.At = day }), day); got != want {
			t.Errorf("at %s: covered %v, want %v", at, got, want)
		}
	}
}

func TestFindings(t *testing.T) {
	passed := failing(func(s *Subject) { s.Status, s.Hop, s.Fields, s.Detail = canary.Pass, "", nil, "" })
	at := func(s Subject, ago time.Duration) Subject { s.At = now.Add(-ago); return s }
	day := func(d int) Day { return Day(now.AddDate(0, 0, d).Format(time.DateOnly)) }
	for _, tc := range []struct {
		name     string
		kind     Kind
		severity Severity
		// With the change the finding must appear, and without it, or with but, not.
		change   func(*Exception)
		but      func(*Exception)
		subjects []Subject
	}{
		{"approved by who asked", SelfApproved, NotInOrder, func(e *Exception) { e.Risk.Approver = " nadia" }, func(e *Exception) { e.Risk.Approver = "Nadine" }, nil},
		{"approved by who asked, by another spelling", SelfApproved, NotInOrder, func(e *Exception) { e.Risk.Requester, e.Risk.Approver = "J. Doe", "j.DOE\t" }, nil, nil},
		{"approved by nobody", SelfApproved, NotInOrder, func(e *Exception) { e.Risk.Approver = " " }, nil, nil},
		{"asked for by nobody", SelfApproved, NotInOrder, func(e *Exception) { e.Risk.Requester = "" }, nil, nil},
		{"without end", Unbounded, NotInOrder, func(e *Exception) { e.Expires = "" }, nil, nil},
		{"181 days", Unbounded, NotInOrder, func(e *Exception) { e.Opened, e.Expires = "2026-11-01", "2027-04-30" }, func(e *Exception) { e.Opened, e.Expires = "2026-11-01", "2027-04-29" }, nil},
		{"ends before it begins", Unbounded, NotInOrder, func(e *Exception) { e.Expires = "2026-11-01" }, func(e *Exception) { e.Opened, e.Expires = day(0), day(0) }, nil},
		{"everything everywhere", OverBroad, NotInOrder, func(e *Exception) { e.Scope.Scenario, e.Scope.Target = "*", "*" }, func(e *Exception) { e.Scope.Scenario = "aws/*" }, nil},
		{"everything of a provider everywhere", OverBroad, NotInOrder, func(e *Exception) { e.Scope.Scenario, e.Scope.Target = "aws/*", "*/*" }, func(e *Exception) { e.Scope.Target = "*" }, nil},
		{"no check", OverBroad, NotInOrder, func(e *Exception) { e.Scope.Check = "" }, nil, nil},
		{"any check", OverBroad, NotInOrder, func(e *Exception) { e.Scope.Check = "*" }, nil, nil},
		{"what a canary left", OverBroad, NotInOrder, func(e *Exception) { e.Scope.Check = canary.Cleaned }, nil, nil},
		{"any field", OverBroad, NotInOrder, func(e *Exception) { e.Problem.Fields = nil }, nil, nil},
		{"any way of being lost", OverBroad, NotInOrder, func(e *Exception) { e.Scope.Check, e.Problem = canary.Surfaced, Problem{} }, func(e *Exception) { e.Scope.Check, e.Problem = canary.Surfaced, Problem{Hop: canary.Emitted} }, nil},
		{"any weakness", OverBroad, NotInOrder, func(e *Exception) { e.Scope.Check, e.Problem = canary.Immutable, Problem{Hop: canary.Stored} }, func(e *Exception) {
			e.Scope.Check, e.Problem = canary.Immutable, Problem{Details: []string{"versioning is suspended"}}
		}, nil},
		{"a word that is in every answer", OverBroad, NotInOrder, func(e *Exception) { e.Problem.Details = []string{"  expected  "} }, func(e *Exception) { e.Problem.Details = []string{"203.0.113.66"} }, nil},
		{"a pass", OverBroad, NotInOrder, func(e *Exception) { e.Problem.Status = []canary.Status{canary.Pass} }, nil, nil},
		{"opened tomorrow", NotOpened, NotInOrder, func(e *Exception) { e.Opened = day(1) }, func(e *Exception) { e.Opened = day(0) }, nil},
		{"opened on no day", NotOpened, NotInOrder, func(e *Exception) { e.Opened = "soon" }, nil, nil},
		{"an older mapping", Changed, NotInOrder, func(e *Exception) { e.Control.Version = "2026-10-01.1" }, nil, nil},
		{"no version", Changed, NotInOrder, func(e *Exception) { e.Control.Version = "" }, nil, nil},
		{"a scenario that changed since", Changed, NotInOrder, func(e *Exception) { e.Control.Version = strings.Repeat("00", 32) }, func(e *Exception) { e.Control.Version = hash }, []Subject{failing()}},
		{"expired", Expired, Over, func(e *Exception) { e.Expires = day(-1) }, func(e *Exception) { e.Expires = day(0) }, nil},
		{"in 7 days", Expiring7, Attention, func(e *Exception) { e.Expires = day(6) }, func(e *Exception) { e.Expires = day(8) }, nil},
		{"in 30 days", Expiring30, Attention, func(e *Exception) { e.Expires = day(29) }, func(e *Exception) { e.Expires = day(31) }, nil},
		{"not yet remedied", RemediationDue, Attention, func(e *Exception) { e.Remediation.By = day(-1) }, func(e *Exception) { e.Remediation.By = day(0) }, nil},
		{"never happened", MatchesNothing, Attention, func(e *Exception) { e.Problem.Hop = canary.Stored }, nil, []Subject{failing()}},
		{"happens no more", MatchesNothing, Attention, nil, func(e *Exception) { e.Opened = day(0) }, []Subject{at(failing(), 48*time.Hour), at(passed, 24*time.Hour)}},
		{"nothing in its scope", MatchesNothing, Attention, func(e *Exception) { e.Scope.Scenario = "aws/gone-*" }, nil, []Subject{failing()}},
	} {
		has := func(e Exception) []Finding {
			return slices.DeleteFunc(register(e).Findings(now, tc.subjects), func(f Finding) bool { return f.Kind != tc.kind })
		}
		e := sound()
		if tc.change != nil {
			tc.change(&e)
		}
		got := has(e)
		if len(got) != 1 || got[0].Severity != tc.severity || got[0].Detail == "" || got[0].Exception != "EX-1" {
			t.Errorf("%s: %+v, want one %s (%s)", tc.name, got, tc.kind, tc.severity)
		}
		if tc.severity != Attention && tc.kind != Changed {
			if _, counts := register(e).For(failing(), now); counts {
				t.Errorf("%s: it counts all the same", tc.name)
			}
		}
		if tc.change != nil {
			if got := has(sound()); len(got) != 0 {
				t.Errorf("%s: a sound one has it too: %+v", tc.name, got)
			}
		}
		if tc.but != nil {
			e := sound()
			tc.but(&e)
			if got := has(e); len(got) != 0 {
				t.Errorf("%s: the other side of the line has it too: %+v", tc.name, got)
			}
		}
	}
}

// TestOnePersonHasOneName, however it is written; and two people have two.
func TestOnePersonHasOneName(t *testing.T) {
	for other, same := range map[string]bool{
		"JANÉ DOE": true, "Jane\u0301 Doe": true, "jane\u034f\u0301doe": true, "Jané Doe\u3164": true, "Jané\u2800Doe": true, "Ja\u200bné\u00a0Doe": true,
		"Ｊａｎé Doe": true, "Jané Doe\ufe0f": true, "Jané Doe\U000e0100": true, "\u180bJané\u115f Doe": true,
		"Jane Doe": false, "Jané Do": false, "Janè Doe": false, "Jané Doé": false,
	} {
		if got := person("Jané Doe") == person(other); got != same {
			t.Errorf("%q is the person: %v, want %v", other, got, same)
		}
	}
	for _, nobody := range []string{"", " ", "\u3164", "\u2800\ufe0f", "\u034f"} {
		e := sound(func(e *Exception) { e.Risk.Approver = nobody })
		if got := register(e).Findings(now, nil); len(got) != 1 || got[0].Kind != SelfApproved {
			t.Errorf("approved by %q: %+v", nobody, got)
		}
	}
}

// TestAPatternOfNoNameIsEveryScenario: of everywhere, a pattern must hold a part of a name.
func TestAPatternOfNoNameIsEveryScenario(t *testing.T) {
	for pattern, broad := range map[string]bool{
		"aws/*": true, "*/*": true, "aws/*-*": true, "aws/[a-z]*": true, "*/*[a-z]*": true, "aws/?*": true, "aws/*e*": true, "aws/[^/]*": true,
		"aws/[abcdefghijklmnopqrstuvwxyz]*": true, "aws[/]*": true, "aws[!-~]*": true, `aws/[\]a-z]*`: true, `aws/[a-z\]abc]*`: true, "aws[^abcdef]*": true, "aws/*-a*-*": true, "aws/---*": true,
		"aws/s3-*": false, "aws/ec2-*": false, "*/kms-disable-key": false, "aws/*-denied": false, "aws/ec2-[ab]*": false, "aws/???-root": false,
	} {
		for _, target := range []string{"*", "*/*", "*/eu-west-1", "111122223333"} {
			e := sound(func(e *Exception) { e.Scope.Scenario, e.Scope.Target = pattern, target })
			if got, want := e.broad() != "", broad && target != "111122223333"; got != want {
				t.Errorf("%s at %s: over-broad %v, want %v", pattern, target, got, want)
			}
		}
	}
}

func TestWithoutARunNothingIsSaidToMatchNothing(t *testing.T) {
	if got := register(sound()).Findings(now, nil); len(got) != 0 {
		t.Errorf("%+v", got)
	}
	awaited := failing(func(s *Subject) { s.Open, s.Status = true, canary.NotRun })
	early := failing(func(s *Subject) { s.At = now.AddDate(0, -2, 0); s.Status = canary.Pass })
	if got := register(sound()).Findings(now, []Subject{early}); len(got) != 0 {
		t.Errorf("tested only before it was opened: %+v", got)
	}
	if got := register(sound()).Findings(now, []Subject{failing(), awaited}); len(got) != 0 {
		t.Errorf("it happened, and is tested again: %+v", got)
	}
	// Of two regions, one still needs it.
	wide := sound(func(e *Exception) { e.Scope.Target = "111122223333" })
	other := failing(func(s *Subject) { s.Target.Region, s.Status, s.At = "us-east-1", canary.Pass, now })
	if got := register(wide).Findings(now, []Subject{failing(), other}); len(got) != 0 {
		t.Errorf("one place still needs it: %+v", got)
	}
}

func TestStanding(t *testing.T) {
	day := func(d int) Day { return Day(now.AddDate(0, 0, d).Format(time.DateOnly)) }
	r := register(
		sound(),
		sound(func(e *Exception) { e.ID, e.Expires = "EX-2", day(3) }),
		sound(func(e *Exception) { e.ID, e.Expires = "EX-3", day(-2) }),
		sound(func(e *Exception) { e.ID, e.Risk.Approver = "EX-4", "Nadia" }),
		sound(func(e *Exception) { e.ID, e.Problem.Hop = "EX-5", canary.Emitted }),
	)
	want := []string{"in force", "expires in 3 days", "expired on 2026-11-24", "not in order", "matches nothing"}
	for i, st := range r.Standing(now, []Subject{failing()}) {
		if st.State != want[i] || st.InForce != (i == 0 || i == 1 || i == 4) {
			t.Errorf("%s: %q (in force %v), want %q", st.ID, st.State, st.InForce, want[i])
		}
		if got := len(st.Covers); got != map[string]int{"EX-1": 1}[st.ID] {
			t.Errorf("%s covers %d: the first that does counts, and no other", st.ID, got)
		}
	}
}

func TestOneNoticeForOneThingToBeDone(t *testing.T) {
	ids := func(e Exception, at time.Time) (out []string) {
		for _, n := range register(e).Notices(at, nil) {
			out = append(out, n.ID+" "+n.Urgency+" "+string(n.Kind))
		}
		return out
	}
	e := sound(func(e *Exception) { e.Expires, e.Remediation.By = "2026-12-31", "2027-06-01" })
	id := noticeID("EX-1", "end")
	for at, want := range map[string][]string{
		"2026-11-26": nil,
		"2026-12-05": {id + " low expires-in-30-days"},
		"2026-12-28": {id + " medium expires-in-7-days"},
		"2027-01-02": {id + " high expired"},
	} {
		day, err := time.Parse(time.DateOnly, at)
		if err != nil {
			t.Fatal(err)
		}
		if got := ids(e, day); !reflect.DeepEqual(got, want) {
			t.Errorf("on %s: %q, want %q", at, got, want)
		}
	}
	both := sound(func(e *Exception) { e.Risk.Approver, e.Expires = "Nadia", "2029-01-01" })
	got := register(both).Notices(now, nil)
	if len(got) != 1 || !strings.HasSuffix(got[0].ID, "-order") || !strings.Contains(got[0].Detail, "two people") || !strings.Contains(got[0].Detail, "at most 180") || got[0].Owner != "Network" {
		t.Errorf("two things are not in order: %+v", got)
	}
	if strings.Trim(id, "abcdefghijklmnopqrstuvwxyz0123456789-") != "" || id == noticeID("EX-2", "end") {
		t.Errorf("id %q", id)
	}
}

// verdict of a canary whose record was lost.
func lostVerdict() canary.Verdict {
	return canary.Verdict{Canary: "c-1", Checks: map[canary.Check]canary.Answer{
		canary.Injected: {Status: canary.Pass}, canary.Cleaned: {Status: canary.Pass},
		canary.Surfaced:   {Status: canary.Fail, Hop: canary.Delivered, Step: "attach", Detail: "no record"},
		canary.Attributed: {Status: canary.NotRun, Step: "attach", Detail: "no record to judge"},
		canary.Timely:     {Status: canary.NotRun, Step: "attach", Detail: "no record to judge"},
		canary.Sealed:     {Status: canary.NotRun, Detail: "not every record was found"},
	}}
}

func TestWhatFollowsFromWhatIsExceptedIsExceptedWithIt(t *testing.T) {
	c := canary.Canary{ID: "c-1", Scenario: "aws/ec2-x", ScenarioHash: hash, Target: target}
	e := sound(func(e *Exception) { e.Scope.Check, e.Problem = canary.Surfaced, Problem{Hop: canary.Delivered} })
	before := lostVerdict()
	v := register(e).Overlay(c, now, before, now)
	if v.Overall() != canary.Excepted {
		t.Errorf("overall %s", v.Overall())
	}
	a := v.Checks[canary.Surfaced]
	if a.Accepted == nil || a.Accepted.ID != "EX-1" || a.Accepted.Was != canary.Fail || a.Accepted.Approver != "The CISO" || a.Accepted.Until != "2027-01-31" || a.Detail != "no record" {
		t.Errorf("surfaced: %+v", a)
	}
	if f := v.Checks[canary.Timely]; f.Status != canary.Excepted || f.Accepted.Follows != canary.Surfaced || f.Accepted.Was != canary.NotRun {
		t.Errorf("timely: %+v", f)
	}
	if s := v.Checks[canary.Sealed]; s.Status != canary.NotRun {
		t.Errorf("sealed: %+v", s)
	}
	if !reflect.DeepEqual(before, lostVerdict()) {
		t.Error("the verdict itself was changed")
	}
	// A second problem on the same canary is a failure as before.
	worse := lostVerdict()
	worse.Checks[canary.Attributed] = canary.Answer{Status: canary.Fail, Step: "create", Fields: []event.Difference{{Field: "actor.uid"}}}
	if v := register(e).Overlay(c, now, worse, now); v.Overall() != canary.Fail {
		t.Errorf("a new problem: overall %s", v.Overall())
	}
}

// TestTheOverlayHidesNothing: whatever register is laid over whatever verdict, no answer
// becomes a pass, none but fail, late, inconclusive (and what follows) becomes excepted,
// and one that expired or is not in order changes nothing at all.
func TestTheOverlayHidesNothing(t *testing.T) {
	reached := map[string]int{}
	rapid.Check(t, func(t *rapid.T) {
		pick := func(name string, from ...string) string { return rapid.SampledFrom(from).Draw(t, name) }
		statuses := []canary.Status{canary.Pass, canary.Late, canary.Fail, canary.Inconclusive, canary.NotRun}
		c := canary.Canary{ID: "c", Scenario: pick("scenario", "aws/ec2-a", "aws/ec2-a", "aws/kms-b"), ScenarioHash: hash, Target: target}
		v := canary.Verdict{Checks: map[canary.Check]canary.Answer{}}
		for _, check := range canary.Checks() {
			a := canary.Answer{
				Status: rapid.SampledFrom(statuses).Draw(t, "status"), Hop: canary.Hop(pick("hop", "", "emitted", "delivered")),
				Detail: pick("detail", "no record of it in the store", "the key is disabled; versioning is suspended"), Step: "a",
			}
			if pick("fields", "no", "yes") == "yes" {
				a.Fields = []event.Difference{{Field: pick("field", "src_endpoint.ip", "actor.uid")}}
			}
			v.Checks[check] = a
		}
		// One that fits, so that it is not chance whether anything is excepted.
		fits := canary.Check(pick("fits", "surfaced", "attributed", "timely", "immutable"))
		v.Checks[fits] = canary.Answer{Status: canary.Fail, Hop: canary.Delivered, Detail: "versioning is suspended", Fields: []event.Difference{{Field: "src_endpoint.ip"}}}
		es := []Exception{sound(func(e *Exception) {
			e.Scope.Check, e.Problem.Details = fits, []string{"versioning is suspended"}
			if pick("in force", "yes", "yes", "no") == "no" {
				e.Expires = "2026-11-25"
			}
		})}
		for i := range rapid.IntRange(0, 4).Draw(t, "exceptions") {
			e := sound(func(e *Exception) {
				e.ID = fmt.Sprint("EX-1", i)
				e.Scope.Scenario = pick("scope", "aws/ec2-*", "aws/*", "*")
				e.Scope.Target = pick("target", "111122223333", "*", "444455556666")
				e.Scope.Check = canary.Check(pick("check", "surfaced", "attributed", "timely", "immutable", "injected", "cleaned", ""))
				e.Problem = Problem{Hop: canary.Hop(pick("accepted hop", "", "emitted", "delivered"))}
				if pick("accepted fields", "no", "yes") == "yes" {
					e.Problem.Fields = []string{"src_endpoint.ip"}
				}
				if pick("accepted detail", "no", "yes") == "yes" {
					e.Problem.Details = []string{"no record of it", "versioning is suspended"}
				}
				if pick("accepted status", "default", "any") == "any" {
					e.Problem.Status = statuses
				}
				switch pick("what is wrong", "nothing", "nothing", "expired", "self-approved", "unbounded", "future", "version") {
				case "expired":
					e.Opened, e.Expires = "2026-10-01", "2026-11-25"
				case "self-approved":
					e.Risk.Approver = "NADIA "
				case "unbounded":
					e.Expires = "2036-01-01"
				case "future":
					e.Opened = "2026-11-27"
				case "version":
					e.Control.Version = "2026-01-01.1"
				}
			})
			es = append(es, e)
		}
		r := register(es...)
		inForce := map[string]bool{}
		var off []Exception
		for _, st := range r.Standing(now, nil) {
			inForce[st.ID] = st.InForce
			if !st.InForce {
				off = append(off, st.Exception)
			}
		}
		text, _ := json.Marshal(v)
		got := r.Overlay(c, now, v, now)
		if after, _ := json.Marshal(v); string(after) != string(text) {
			t.Fatal("the verdict was changed")
		}
		for check, a := range got.Checks {
			was := v.Checks[check]
			if a.Status == was.Status {
				if a.Accepted != nil {
					t.Fatalf("%s is not excepted, and says by what", check)
				}
				continue
			}
			reached[string(check)]++
			switch {
			case a.Status != canary.Excepted || a.Accepted == nil || a.Accepted.Was != was.Status:
				t.Fatalf("%s: %s became %s (%+v)", check, was.Status, a.Status, a.Accepted)
			case !inForce[a.Accepted.ID]:
				t.Fatalf("%s is excepted by %s, which is not in force", check, a.Accepted.ID)
			case check == canary.Cleaned || was.Status == canary.Pass || was.Status == canary.NotRun && a.Accepted.Follows == "":
				t.Fatalf("%s: %s was excepted", check, was.Status)
			case was.Status == canary.NotRun && got.Checks[a.Accepted.Follows].Status != canary.Excepted:
				t.Fatalf("%s follows from %s, which is not excepted", check, a.Accepted.Follows)
			}
		}
		if got.Overall() == canary.Pass && v.Overall() != canary.Pass {
			t.Fatal("it became a pass")
		}
		if same := register(off...).Overlay(c, now, v, now); !reflect.DeepEqual(same, v) {
			t.Fatalf("what is not in force changed the verdict:\n%+v\n%+v", same, v)
		}
	})
	for _, check := range []canary.Check{canary.Surfaced, canary.Attributed, canary.Timely, canary.Immutable} {
		if reached[string(check)] == 0 {
			t.Errorf("nothing of %s was ever excepted: the property shows nothing (%v)", check, reached)
		}
	}
}

func TestARegisterIsDividedAndJoined(t *testing.T) {
	var es []Exception
	for i := range 200 {
		es = append(es, sound(func(e *Exception) {
			e.ID = fmt.Sprint("EX-", i)
			e.Risk.Statement = strings.Repeat("x", i*7)
		}))
	}
	r := register(es...)
	parts, err := r.Divide(20_000)
	if err != nil || len(parts) < 5 {
		t.Fatalf("%d parts: %v", len(parts), err)
	}
	var j Joining
	for i, p := range parts {
		if text, _ := json.Marshal(p); len(text) > 20_000 {
			t.Errorf("part %d takes %d bytes", i, len(text))
		}
		back, whole := j.Join(p)
		if whole != (i == len(parts)-1) {
			t.Fatalf("part %d: whole %v", i, whole)
		}
		if whole && !reflect.DeepEqual(back, r) {
			t.Errorf("it came back otherwise: %d exceptions", len(back.Exceptions))
		}
	}
	// A part that is missing or of another register makes none.
	for _, broken := range [][]Register{{parts[0], parts[2]}, {parts[1]}, append(slices.Clone(parts[:2]), parts[1])} {
		var j Joining
		for _, p := range broken {
			if _, whole := j.Join(p); whole {
				t.Error("a register was made of parts that do not follow each other")
			}
		}
	}
	if _, err := r.Divide(1000); err == nil || !strings.Contains(err.Error(), "EX-") {
		t.Errorf("an exception that fits into no part: %v", err)
	}
	if one, err := register(sound()).Divide(20_000); err != nil || len(one) != 1 || one[0].Parts != 0 {
		t.Errorf("a small one: %d parts, %v", len(one), err)
	}
	if none, err := register().Divide(20_000); err != nil || len(none) != 1 {
		t.Errorf("one of none: %d parts, %v", len(none), err)
	}
}
