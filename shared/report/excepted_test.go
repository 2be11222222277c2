package report

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/auditcanary/auditcanary/shared/canary"
	"github.com/auditcanary/auditcanary/shared/exception"
	"github.com/auditcanary/auditcanary/shared/run"
)

// exceptedInput is the example with a register in its ledger: the wrong address of the
// second run is accepted; that a record is lost was, and is not any more; a third
// exception was approved by who asked for it.
func exceptedInput(t *testing.T, change ...func(*exception.Register)) Input {
	t.Helper()
	in := exampleInput(t)
	one := func(id, scenario string, check canary.Check, p exception.Problem, until exception.Day) exception.Exception {
		return exception.Exception{
			ID: id, Scope: exception.Scope{Scenario: scenario, Target: alpha, Check: check}, Problem: p,
			Control: exception.Control{ID: "iso27017:2015/12.4.3", Version: in.Facts.ControlsVersion}, CompensatingControls: []string{"the proxy's own log"},
			Risk:   exception.Risk{Requester: "Nadia", Approver: "The CISO", Statement: "the proxy rewrites the address", Ticket: "SEC-1"},
			Opened: "2026-11-01", Expires: until, Remediation: exception.Remediation{Plan: "replace the proxy", By: "2026-12-01"}, Owner: "Network", Contact: "net@example.com",
		}
	}
	self := one("EX-3", "aws/open-port", canary.Injected, exception.Problem{Status: []canary.Status{canary.Inconclusive}, Details: []string{"assume role"}}, "2026-12-31")
	self.Risk.Approver = "nadia"
	r := exception.Register{Source: "exceptions.yaml", SHA256: strings.Repeat("f", 64), MaxDays: 180, ControlsVersion: in.Facts.ControlsVersion, Exceptions: []exception.Exception{
		one("EX-1", "aws/iam-*", canary.Attributed, exception.Problem{Fields: []string{"src_endpoint.ip"}}, "2026-12-31"),
		one("EX-2", "aws/stop-logging-denied", canary.Surfaced, exception.Problem{Details: []string{"no record of cloudtrail:StopLogging"}}, "2026-11-01"),
		self,
	}}
	for _, c := range change {
		c(&r)
	}
	(&journal{t: t, state: in.State, at: day2}).add("", "", "register", run.Entry{Register: &r})
	return in
}

func canaryOf(t *testing.T, r Report, id string) Canary {
	t.Helper()
	for _, c := range r.Canaries {
		if c.ID == id {
			return c
		}
	}
	t.Fatalf("no canary %s", id)
	return Canary{}
}

func TestWhatIsExceptedIsShownAndProvesNothing(t *testing.T) {
	plain, r := example(t), New(exceptedInput(t))
	if r.Tally.Proven != plain.Tally.Proven || r.Tally.Excepted != 1 || r.Tally.Failed != plain.Tally.Failed-1 || r.Tally.Inconclusive != plain.Tally.Inconclusive {
		t.Errorf("tally %+v, without a register %+v", r.Tally, plain.Tally)
	}
	c := canaryOf(t, r, "20261102-bbbbbb-01")
	a := c.answer(canary.Attributed)
	if c.Status != canary.Excepted || a.Accepted == nil || a.Accepted.Was != canary.Fail || a.Accepted.ID != "EX-1" {
		t.Fatalf("%s: %+v", c.Status, a)
	}
	for _, want := range []string{"EX-1", "2026-12-31", "was fail", "The CISO", "the proxy rewrites the address", "198.51.100.9"} {
		if !strings.Contains(a.Detail, want) {
			t.Errorf("%q is not said: %s", want, a.Detail)
		}
	}
	if last := c.History[len(c.History)-1]; last.Status != canary.Fail {
		t.Errorf("the verdict in the ledger is shown as %s", last.Status)
	}
	if got := control(t, r, "iso27017:2015/12.4.3").Outcome; got == Proven {
		t.Error("a control is proven by what is excepted")
	}
	// What has expired, and what is not in order, counts.
	if s := canaryOf(t, r, "20261101-aaaaaa-02").Status; s != canary.Fail {
		t.Errorf("expired: %s", s)
	}
	if s := canaryOf(t, r, "20261102-bbbbbb-03").Status; s != canary.Inconclusive {
		t.Errorf("self-approved: %s", s)
	}
	states := ""
	for _, x := range r.Exceptions {
		states += x.ID + " " + x.State + ", "
		if x.InForce != (x.ID == "EX-1") || x.Expired != (x.ID == "EX-2") || (len(x.Covers) > 0) != (x.ID == "EX-1") {
			t.Errorf("%+v", x)
		}
	}
	if states != "EX-1 in force, EX-2 expired on 2026-11-01, EX-3 not in order, " {
		t.Error(states)
	}
	if r.Absent["exceptions"] != "" || plain.Absent["exceptions"] == "" {
		t.Errorf("absent: %q, without a register %q", r.Absent["exceptions"], plain.Absent["exceptions"])
	}
}

// TestThePeriodIsJudgedByTheRegisterOfItsTime: what was written down or ended later does
// not change what is said of an earlier period.
func TestThePeriodIsJudgedByTheRegisterOfItsTime(t *testing.T) {
	in := exceptedInput(t)
	in.Period.To = day2.Add(-time.Hour)
	if r := New(in); len(r.Exceptions) != 0 || r.Tally.Excepted != 0 {
		t.Errorf("a register of later: %+v", r.Exceptions)
	}
	in = exceptedInput(t, func(r *exception.Register) { r.Exceptions[0].Expires = "2026-11-02" })
	in.Period.To, in.Now = day2.Truncate(24*time.Hour).AddDate(0, 0, 1), day2.AddDate(0, 1, 0)
	if s := canaryOf(t, New(in), "20261102-bbbbbb-01").Status; s != canary.Excepted {
		t.Errorf("to the end of its last day: %s", s)
	}
	in.Period.To = time.Time{}
	if s := canaryOf(t, New(in), "20261102-bbbbbb-01").Status; s != canary.Fail {
		t.Errorf("a month later: %s", s)
	}
}

func TestEveryFormatSaysWhatIsExcepted(t *testing.T) {
	r := New(exceptedInput(t))
	text := map[string][]byte{}
	for format := range Renderers() {
		text[format] = render(t, format, r)
		if !bytes.Contains(text[format], []byte("EX-1")) {
			t.Errorf("%s does not name the exception", format)
		}
	}
	if err := validOSCAL(t, oscalSchema(t), text["oscal"]); err != nil {
		t.Errorf("OSCAL: %#v", err)
	}
	for _, want := range []string{`"status": "deviation-approved"`, `"deadline": "2027-01-01T00:00:00Z"`, "the proxy's own log", "replace the proxy"} {
		if !bytes.Contains(text["oscal"], []byte(want)) {
			t.Errorf("OSCAL lacks %s", want)
		}
	}
	schema := readOCSF(t)
	for l := range bytes.Lines(text["ocsf"]) {
		if wrong := schema.validate(l); len(wrong) > 0 {
			t.Errorf("OCSF: %q\n%.300s", wrong, l)
		}
	}
	if !bytes.Contains(text["ocsf"], []byte(`"Suppressed"`)) {
		t.Error("OCSF: no finding is suppressed")
	}
	if n := bytes.Count(text["junit"], []byte(`<skipped message="excepted by EX-1`)); n != 1 {
		t.Errorf("JUnit: %d cases are skipped by it", n)
	}
	if !bytes.Contains(text["csv"], []byte("EX-1,fail,2026-12-31")) {
		t.Error("CSV lacks the columns")
	}
	var findings struct{ Findings []ASFFFinding }
	if err := json.Unmarshal(text["asff"], &findings); err != nil {
		t.Fatal(err)
	}
	n := 0
	for _, f := range findings.Findings {
		if strings.Contains(f.Title, "excepted") {
			n++
			if f.Compliance.Status != "FAILED" || f.Workflow.Status != "NOTIFIED" || f.RecordState != "ACTIVE" || !strings.Contains(f.ProductFields["auditcanary/exception/attributed"], "EX-1 until 2026-12-31") {
				t.Errorf("ASFF: %+v", f)
			}
		}
	}
	if n != 1 {
		t.Errorf("ASFF: %d findings are excepted", n)
	}
	for _, want := range []string{"in force", "expired", "not in order", "self-approved", "The CISO", "meanwhile: the proxy"} {
		if !bytes.Contains(text["html"], []byte(want)) {
			t.Errorf("the page does not say %q", want)
		}
	}
}
