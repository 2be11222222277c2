package packet

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/auditcanary/auditcanary/shared/canary"
	"github.com/auditcanary/auditcanary/shared/exception"
	"github.com/auditcanary/auditcanary/shared/run"
)

// accepting is a register that accepts that records of a scenario are lost at one hop.
func accepting(b *book, change func(*exception.Exception)) *exception.Register {
	day := func(d int) exception.Day { return exception.Day(b.clock.AddDate(0, 0, d).Format(time.DateOnly)) }
	e := exception.Exception{
		ID: "EX-1", Scope: exception.Scope{Scenario: testScenario.ID, Target: "*", Check: canary.Surfaced}, Problem: exception.Problem{Hop: canary.Delivered},
		Control: exception.Control{ID: "iso27017:2015/12.4.3", Version: "2026-11-26.1"}, Risk: exception.Risk{Requester: "A", Approver: "B", Statement: "a second trail has them"},
		Opened: day(-3), Expires: day(30), Owner: "Cloud team",
	}
	if change != nil {
		change(&e)
	}
	return &exception.Register{Exceptions: []exception.Exception{e}, Source: "exceptions.yaml", SHA256: strings.Repeat("a", 64), MaxDays: 180, ControlsVersion: "2026-11-26.1"}
}

// lose has a canary's record be lost on delivery, by a later verdict.
func (b *book) lose(t *testing.T, runID, id string, hop canary.Hop) {
	t.Helper()
	v := canary.Verdict{Canary: id, AsOf: b.clock, Checks: map[canary.Check]canary.Answer{}}
	for _, c := range canary.Checks() {
		v.Checks[c] = canary.Answer{Status: canary.NotRun, Detail: "no record to judge"}
	}
	v.Checks[canary.Injected], v.Checks[canary.Cleaned] = canary.Answer{Status: canary.Pass}, canary.Answer{Status: canary.Pass}
	v.Checks[canary.Surfaced] = canary.Answer{Status: canary.Fail, Hop: hop, Detail: "no record"}
	b.append(t, run.Entry{Type: "verdict", Run: runID, Canary: id, Verdict: &v})
}

// TestAPacketHasTheRegisterAndSaysWhatItCovers: the verdicts stay, the register is in
// the packet although it is older than the period, and whoever verifies computes anew
// what is excepted.
func TestAPacketHasTheRegisterAndSaysWhatItCovers(t *testing.T) {
	for _, tc := range []struct {
		name     string
		change   func(*exception.Exception)
		hop      canary.Hop
		excepted int
		not      string
	}{
		{"in force", nil, canary.Delivered, 1, ""},
		{"another hop", nil, canary.Emitted, 0, ""},
		{"expired", func(e *exception.Exception) { e.Opened, e.Expires = "2026-11-01", "2026-11-21" }, canary.Delivered, 0, "ended on 2026-11-21"},
		{"self-approved", func(e *exception.Exception) { e.Risk.Approver = " a" }, canary.Delivered, 0, "two people"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			b := newMemoryBook(t)
			b.addRun(t, 2, false, testScenario, otherScenario)
			b.append(t, run.Entry{Type: "register", Register: accepting(b, tc.change)})
			from := b.clock.Add(time.Hour)
			b.clock = from
			id := b.addRun(t, 4, false, testScenario, otherScenario)
			b.lose(t, id, id+"-01", tc.hop)
			o := b.options(t)
			o.Period.From = from
			packet := mustBuild(t, b, o)
			r := verifyBytes(t, packet, Trust{Keys: []string{b.vkey}}, VerifyOptions{})
			if err := r.Err(); err != nil {
				t.Fatal(err)
			}
			x := r.Population.Exceptions
			if x == nil || len(x.Exceptions) != 1 {
				t.Fatalf("exceptions %+v", x)
			}
			e := x.Exceptions[0]
			if e.Canaries != tc.excepted || e.InForce != (tc.not == "") || !strings.Contains(e.Not, tc.not) || e.Approver == "" || e.Until == "" {
				t.Errorf("%+v", e)
			}
			excepted := 0
			for _, pl := range r.Population.Places {
				for _, c := range pl.Categories {
					excepted += c.Excepted
				}
			}
			if excepted != tc.excepted || failed(r.Population) != 1 { // what is excepted failed all the same
				t.Errorf("%d excepted, %d failed: %+v", excepted, failed(r.Population), r.Population.Places)
			}
			f := unpack(t, packet)
			if verdicts := f.get(verdictsFile); bytes.Contains(verdicts, []byte("excepted")) || !bytes.Contains(verdicts, []byte(",pass,fail,not-run")) {
				t.Errorf("the verdicts are not what they are in the ledger:\n%s", verdicts)
			}
			// Who says otherwise than the register is found out.
			said := bytes.Replace(f.get(populationFile), []byte(`"approver": "`), []byte(`"approver": "Somebody else, `), 1)
			mustSay(t, "another approver", verifyBytes(t, f.with(populationFile, said).resigned(t, o.Signer, nil).pack(t), Trust{Keys: []string{b.vkey}}, VerifyOptions{}), Broken, BadDerived)
		})
	}
}

// TestABackdatedExceptionCoversNothingInAPacket: since when an exception holds is what the
// ledger says, not its author.
func TestABackdatedExceptionCoversNothingInAPacket(t *testing.T) {
	for days, want := range map[int]int{0: 1, 2: 0} {
		b := newMemoryBook(t)
		id := b.addRun(t, 2, false, testScenario)
		b.lose(t, id, id+"-01", canary.Delivered)
		b.clock = b.clock.AddDate(0, 0, days)
		b.append(t, run.Entry{Type: "register", Register: accepting(b, nil)}) // opened three days before
		r := verifyBytes(t, mustBuild(t, b, b.options(t)), Trust{Keys: []string{b.vkey}}, VerifyOptions{})
		if err := r.Err(); err != nil {
			t.Fatal(err)
		}
		if x := r.Population.Exceptions; x == nil || len(x.Exceptions) != 1 || x.Exceptions[0].Canaries != want {
			t.Errorf("written down %d days after the run: %+v, want %d canaries", days, x, want)
		}
	}
}

func TestWithoutARegisterAPacketSaysSo(t *testing.T) {
	b := newMemoryBook(t)
	b.addRun(t, 1, false, testScenario)
	r := verifyBytes(t, mustBuild(t, b, b.options(t)), Trust{Keys: []string{b.vkey}}, VerifyOptions{})
	if r.Population.Exceptions != nil {
		t.Errorf("%+v", r.Population.Exceptions)
	}
	for _, p := range r.Packet.Parts {
		if p.Name == "exceptions" && (p.Present || !strings.Contains(p.Note, "no register")) {
			t.Errorf("%+v", p)
		}
	}
}
