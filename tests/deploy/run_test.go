package deploy

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/auditcanary/auditcanary/shared/canary"
	"github.com/auditcanary/auditcanary/shared/wire"
	"github.com/auditcanary/auditcanary/tests/sandbox/cloud"
)

var slo = canary.SLO{Pass: 15 * time.Minute, Late: time.Hour, Amend: 24 * time.Hour, Clock: 2 * time.Minute}

// canariesOf a cell: one in each of two regions, one in the account.
const canariesOf = 3

// TestTheMachineRuns takes runs of two accounts in two regions through the state machine
// as it is deployed, with our own functions as its tasks.
func TestTheMachineRuns(t *testing.T) {
	npm(t)
	p := newPlatform(t)

	t.Run("to its end", func(t *testing.T) {
		e := p.execute(t, order{machine: "run", name: "good", input: map[string]any{"every": "", "scheduled": "2026-11-26T08:00:00Z"}})
		w := e.Output
		if e.Error.Name != "" || w.Cells != 2 || w.Unfinished != 0 || w.Awaited != 0 || w.Tally.Proven != 2*canariesOf || w.Tally.Canaries != 2*canariesOf || w.Leftovers != 0 {
			t.Fatalf("%s", e)
		}
		for cell, tally := range p.once(t, w.Run, "a", "b") {
			if tally.Proven != canariesOf || tally.Protected != canariesOf {
				t.Errorf("cell %s: %+v", cell, tally)
			}
		}
		if said := p.sandbox.messages(t); !w.Posted || len(said) != 1 || contains(said, w.Run) != 1 {
			t.Errorf("the chat was told (%v, %s): %q", w.Posted, w.Said, said)
		}
		if left := p.sandbox.left(t); len(left) > 0 {
			t.Errorf("left in the accounts: %s", left)
		}
		// Until the last record is in a digest, and no longer.
		if e.Waited < 2*time.Hour || e.Waited > 10*time.Hour {
			t.Errorf("it waited for %s in both cells", e.Waited)
		}
		e.count().within(t, 2)

		daily := p.execute(t, order{machine: "packet", name: "daily", input: map[string]any{"every": "", "scheduled": "2026-11-27T06:12:00Z"}})
		if daily.Error.Name != "" || daily.entered()["Packet"] != 2 || daily.entered()["Report"] != 2 {
			t.Errorf("packets: %s", daily)
		}

		// The schedule delivers twice: nothing is begun twice, nobody is told twice.
		calls := p.took("inject", w.Run)
		again := p.execute(t, order{machine: "run", name: "good-again", input: map[string]any{"every": "", "scheduled": "2026-11-26T08:00:00Z"}})
		if again.Error.Name != "" || again.Output.Run != w.Run || again.Output.Tally != w.Tally || p.took("inject", w.Run) != calls+2 {
			t.Errorf("again: %s", again)
		}
		p.once(t, w.Run, "a", "b")
		if said := p.sandbox.messages(t); len(said) != 1 {
			t.Errorf("the chat was told again: %q", said)
		}
	})

	t.Run("throttled, and confirm times out", func(t *testing.T) {
		var struck []*trouble
		for _, function := range []string{"inject", "confirm", "report"} {
			struck = append(struck, p.befall(&trouble{function: function, cell: "a", throttled: true}))
		}
		struck = append(struck, p.befall(&trouble{function: "confirm", cell: "b", at: "Action=AssumeRole", as: "Sandbox.Timedout"}))
		e := p.execute(t, order{machine: "run", name: "throttled", input: map[string]any{}})
		if e.Error.Name != "" || e.Output.Tally.Proven != 2*canariesOf || e.Output.Unfinished != 0 || e.entered()["Sweep"] != 0 {
			t.Errorf("%s", e)
		}
		for _, f := range struck {
			if !f.struck {
				t.Errorf("nothing befell %s in cell %s", f.function, f.cell)
			}
		}
		p.once(t, e.Output.Run, "a", "b")
	})

	for _, tc := range []struct {
		name, at, as, why string
		calls             int // of inject, in both cells
	}{
		{"a function crashes amid inject", "TrentService.DisableKey", "Runtime.ExitError", "Runtime.ExitError", 2},
		{"a function times out amid inject", "Action=CreatePolicy&", "Sandbox.Timedout", "Sandbox.Timedout", 2},
		// Where Lambda has lost sight of a call it is made again, and finds the run begun:
		// nothing is done twice, and when nobody can be at it any more, it is swept.
		{"the platform loses a call amid inject", "TrentService.DisableKey", "Lambda.SdkClientException", "auditcanary.BegunBefore", 3},
	} {
		t.Run(tc.name, func(t *testing.T) {
			f := p.befall(&trouble{function: "inject", cell: "b", at: tc.at, as: tc.as})
			o := order{machine: "run", name: tc.as, input: map[string]any{}}
			e := p.execute(t, o)
			if !f.struck {
				t.Fatalf("nothing struck: %s", e)
			}
			// The execution says that something went wrong, and Whole what.
			w := p.whole(t, o)
			if e.Error.Name != "auditcanary.Unfinished" || w.Unfinished != 1 || len(w.Why) != 1 || w.Why[0] != "b: "+tc.why {
				t.Errorf("%s\n%+v", e, w)
			}
			tallies := p.once(t, w.Run, "a", "b")
			if a := tallies["a"]; a.Proven != canariesOf {
				t.Errorf("cell a: %+v", a)
			}
			// What was cut off is not passed. Late is what lay there while the clock was put
			// forward, which both cells share, for the other.
			if b := tallies["b"]; b.Canaries != canariesOf || b.Inconclusive == 0 || b.Proven+b.Late+b.Inconclusive != canariesOf {
				t.Errorf("cell b: %+v", b)
			}
			if w.Tally.Canaries != 2*canariesOf || w.Tally.Inconclusive != tallies["b"].Inconclusive || w.Tally.Proven == 2*canariesOf {
				t.Errorf("the whole: %+v", w.Tally)
			}
			if calls := p.took("inject", `"run":"`+w.Run+`"`); calls != tc.calls {
				t.Errorf("inject was called %d times", calls)
			}
			if left := p.sandbox.left(t); len(left) > 0 {
				t.Errorf("left in the accounts: %s", left)
			}
			if said := p.sandbox.messages(t); contains(said, w.Run+" in 2 cells") != 1 {
				t.Errorf("the chat was told: %q", said)
			}
		})
	}

	t.Run("throttled for good", func(t *testing.T) {
		for range 9 { // the first try, and all that the state has
			p.befall(&trouble{function: "inject", cell: "b", throttled: true})
		}
		o := order{machine: "run", name: "for-good", input: map[string]any{}}
		e := p.execute(t, o)
		w := p.whole(t, o)
		if e.Error.Name != "auditcanary.Unfinished" || len(w.Why) != 1 || w.Why[0] != "b: Lambda.TooManyRequestsException" || w.Tally.Canaries != 2*canariesOf || w.Tally.Proven != canariesOf || w.Tally.NotRun != canariesOf {
			t.Errorf("%s\n%+v", e, w)
		}
		p.once(t, w.Run, "a")
		if p.ledgerOf(t, "b").Run(w.Run) != nil {
			t.Error("what was never taken was begun")
		}
	})

	t.Run("cancelled", func(t *testing.T) {
		f := p.befall(&trouble{function: "inject", cell: "a", at: "TrentService.DisableKey", as: "Sandbox.Timedout", hung: make(chan struct{}), done: make(chan struct{})})
		o := order{machine: "run", name: "cancelled", input: map[string]any{}, abort: f.hung}
		e := p.execute(t, o)
		if e.Error.Name != "ExecutionAbortedError" && e.Error.Name != "Error" || e.entered()["Whole"] != 0 {
			t.Fatalf("%s", e)
		}
		close(f.done) // the function's own end comes later than the execution's
		if len(p.sandbox.left(t)) == 0 {
			t.Fatal("nothing was left: there is nothing to show")
		}
		// What EventBridge gives the sweep.
		input, _ := json.Marshal(o.input)
		swept := p.execute(t, order{machine: "sweep", name: "after", input: map[string]any{
			"source": "aws.states", "detail-type": "Step Functions Execution Status Change",
			"detail": map[string]any{"executionArn": o.arn(), "status": "ABORTED", "startDate": started.UnixMilli(), "input": string(input)},
		}})
		if swept.Error.Name != "" || swept.entered()["Outlast"] != 1 || swept.entered()["Sweep"] != 2 {
			t.Errorf("%s", swept)
		}
		if left := p.sandbox.left(t); len(left) > 0 {
			t.Errorf("left in the accounts: %s", left)
		}
		swept.count().within(t, 2)
		// The next run's look judges what the cancelled one had done, in every cell.
		next := p.execute(t, order{machine: "run", name: "next", input: map[string]any{}})
		if next.Output.Tally.Proven != 2*canariesOf {
			t.Errorf("%s", next)
		}
		state := p.ledgerOf(t, "a")
		rs := state.Runs[len(state.Runs)-2]
		if !rs.Injected || rs.ID == next.Output.Run {
			t.Fatalf("the run before is %s", rs.ID)
		}
		inconclusive := 0
		for _, cs := range rs.Canaries {
			v, judged := cs.Verdict()
			if !judged || v.Open() {
				t.Errorf("%s is not judged", cs.Plan.Canary.ID)
			}
			if v.Overall() == canary.Inconclusive {
				inconclusive++
			}
		}
		if inconclusive == 0 {
			t.Error("what was cut off was passed")
		}
	})
}

// TestWhatIsAskedForIsTakenAllTheWay: somebody asks for a scenario in one account while
// another run there was cut off and not swept yet. It waits for that, and then is done,
// confirmed, sealed and told of.
func TestWhatIsAskedForIsTakenAllTheWay(t *testing.T) {
	npm(t)
	p := newPlatform(t)
	const before = "20261126-cutoff"
	p.befall(&trouble{function: "inject", cell: "b", at: "TrentService.DisableKey"})
	if _, failed := p.invoke("inject", `{"run": "`+before+`", "cell": "b"}`); failed == nil {
		t.Fatal("nothing struck")
	}
	var answer struct {
		Run     string
		Refused string
	}
	asked := p.request(t, `{"do": "run", "scenario": "aws/kms-disable-key", "target": "`+cloud.TargetAccounts()[1]+`"}`, &answer)
	if answer.Run == "" || len(p.ledgerOf(t, "b").Waiting()) != 1 || len(p.ledgerOf(t, "a").Asked) != 0 {
		t.Fatalf("%+v, waiting %+v", answer, p.ledgerOf(t, "b").Waiting())
	}
	var input map[string]any
	if err := json.Unmarshal([]byte(asked), &input); err != nil || input["run"] != answer.Run || input["cell"] != "b" {
		t.Fatalf("the execution is given %s", asked)
	}
	said := len(p.sandbox.messages(t))
	swept := 0
	e := p.execute(t, order{machine: "run", name: answer.Run, input: input, waits: func(by time.Duration) {
		if by == time.Minute && swept == 0 { // it waits for its turn: the hourly sweep comes
			swept++
			if _, failed := p.invoke("sweep", `{"run": "`+before+`", "cell": "b", "why": "it was cut off"}`); failed != nil {
				t.Error(failed)
			}
		}
	}})
	w := e.Output
	if e.Error.Name != "" || w.Run != answer.Run || w.Cells != 1 || w.Unfinished != 0 || w.Awaited != 0 || w.Tally != (wire.Counts{Canaries: 2, Proven: 2}) {
		t.Fatalf("%s", e)
	}
	if e.entered()["Queue"] != 1 || e.entered()["Inject"] != 2 || e.entered()["Elsewhere"] != 0 {
		t.Errorf("%s", e)
	}
	if tally := p.once(t, answer.Run, "b")["b"]; tally.Proven != 2 || tally.Protected != 2 {
		t.Errorf("%+v", tally)
	}
	if p.ledgerOf(t, "a").Run(answer.Run) != nil {
		t.Error("it was done in the other cell too")
	}
	if now := p.sandbox.messages(t); contains(now[said:], answer.Run) != 1 {
		t.Errorf("the chat was told: %q", now[said:])
	}
	if left := p.sandbox.left(t); len(left) > 0 {
		t.Errorf("left in the accounts: %s", left)
	}
}
