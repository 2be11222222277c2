package run_test

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/auditcanary/auditcanary/shared/canary"
	"github.com/auditcanary/auditcanary/shared/event"
	"github.com/auditcanary/auditcanary/shared/run"
)

// vault is a thing that may be locked, and what comes of an attempt on it.
type vault struct {
	locked    bool
	value     string
	unread    canary.When // the look then is refused
	gone      canary.When // the look then finds nothing
	answer    canary.Outcome
	changes   bool // an attempt changes the value, whatever is answered
	attempted int
	looked    int
}

func (s session) Look(_ context.Context, call canary.Call) canary.Reading {
	r := canary.Reading{Call: call, RequestIDs: []string{}}
	dead := s.w.effect(func() {
		v := &s.w.vault
		v.looked++
		when := canary.Before
		if v.attempted > 0 {
			when = canary.After
		}
		r.RequestIDs = []string{fmt.Sprintf("look-%d", s.w.effects)}
		r.Outcome = canary.Outcome{Result: canary.Succeeded}
		r.Reply, _ = json.Marshal(map[string]any{"Locked": v.locked, "Value": v.value})
		switch when {
		case v.unread:
			r.Outcome, r.Reply = canary.Outcome{Result: canary.Refused, Code: "AccessDenied"}, nil
		case v.gone:
			r.Outcome, r.Reply, r.Gone = canary.Outcome{Result: canary.Failed, Code: "NotFound"}, nil, true
		}
		s.w.records = append(s.w.records, s.recorded(call.Operation, r.RequestIDs[0]))
	})
	if dead != nil {
		r.Err = dead.Error()
	}
	return r
}

func (s session) Attempt(_ context.Context, call canary.Call, seen []canary.Reading) canary.Receipt {
	r := canary.Receipt{Call: call, Outcome: canary.Outcome{Result: canary.Unknown}}
	if len(seen) == 0 {
		panic("an attempt that nothing was read for")
	}
	_ = s.w.effect(func() {
		v := &s.w.vault
		v.attempted++
		if v.changes {
			v.value = "changed"
		}
		id := fmt.Sprintf("try-%d", s.w.effects)
		si := s.recorded(call.Operation, id)
		r.RequestIDs, r.Outcome, r.Want = []string{id}, v.answer, si.Event
		r.Want.Metadata = event.Metadata{}
		si.Event.API.Error = v.answer.Code
		r.Want.API.Error = v.answer.Code
		s.w.records = append(s.w.records, si)
	})
	return r
}

func (s session) recorded(operation, id string) canary.Sighting {
	w := s.w
	_, name, _ := strings.Cut(operation, ":")
	if older := map[string]string{"PutObjectRetention": "PutObjectLockRetention"}[name]; older != "" {
		name = older
	}
	return canary.Sighting{At: canary.Location{Store: "s", Key: id}, Raw: []byte(`{"r":"` + id + `"}`), Stored: w.now.Add(5 * time.Minute), Event: event.Event{
		Time: w.now, Metadata: event.Metadata{UID: "event-" + id}, Cloud: event.Cloud{Account: s.c.Target.Account, Region: s.c.Target.Region},
		Actor: event.Actor{UID: "arn:canary", Session: event.Session{Name: s.c.Name()}},
		API:   event.API{Service: "test", Operation: name, RequestUID: id},
	}}
}

// probe is a scenario that attempts to take the vault's lock away.
func probe(step canary.Step) canary.Scenario {
	field := func(name string) func(reply, _ map[string]any, _ time.Time) (bool, error) {
		return func(reply, _ map[string]any, _ time.Time) (bool, error) { return reply[name] == true, nil }
	}
	step.ID, step.Call, step.NoUndo = "try", "s3:PutObjectRetention", "the value that is put is the one that is there"
	step.Params = map[string]any{"Value": "${protection.Value}"}
	step.Protection = []canary.Protection{{Read: "test:GetVault", Expect: []string{"locked"}, Rules: []canary.ReplyRule{{Text: "locked", Holds: field("Locked")}}}}
	return canary.Scenario{ID: "test/probe", Kind: canary.MustBeDenied, Scope: "region", Steps: []canary.Step{step}}
}

var denied = canary.Outcome{Result: canary.Refused, Code: "AccessDenied", Message: "with an explicit deny in a service control policy"}

func TestAnAttemptIsMadeOnlyWhileTheProtectionStands(t *testing.T) {
	success := canary.Outcome{Result: canary.Succeeded}
	for _, tt := range []struct {
		claim     string
		v         vault
		step      canary.Step
		attempted int
		want      canary.Status
		detail    string
	}{
		{"refused", vault{locked: true, answer: denied}, canary.Step{}, 1, canary.Pass, ""},
		{"no lock", vault{answer: denied}, canary.Step{}, 0, canary.Fail, "the protection is absent: of the reply of test:GetVault, locked does not hold (it is {\"Locked\":false,\"Value\":\"is\"}); s3:PutObjectRetention was not attempted"},
		{"nothing there", vault{locked: true, gone: canary.Before}, canary.Step{}, 0, canary.Fail, "the protection is absent: test:GetVault says that there is none (NotFound)"},
		{"the look is refused", vault{locked: true, unread: canary.Before}, canary.Step{}, 0, canary.Inconclusive, "could not be read"},
		{"allowed, and it changed", vault{locked: true, changes: true, answer: success}, canary.Step{}, 1, canary.Fail, `had to be denied: the protection is missing; changed between the two looks: of the reply of test:GetVault, Value was "is" and is "changed"`},
		{"allowed, and it was as before", vault{locked: true, answer: success}, canary.Step{}, 1, canary.Fail, "was allowed"},
		{"refused, and it changed all the same", vault{locked: true, changes: true, answer: denied}, canary.Step{}, 1, canary.Fail, `Value was "is" and is "changed"`},
		{"gone afterwards", vault{locked: true, gone: canary.After, answer: denied}, canary.Step{}, 1, canary.Fail, "after the attempt, test:GetVault says that there is none"},
		{"not to be read afterwards", vault{locked: true, unread: canary.After, answer: denied}, canary.Step{}, 1, canary.Inconclusive, "whether the attempt changed anything could not be read"},
		{"no answer, and it changed", vault{locked: true, changes: true, answer: canary.Outcome{Result: canary.Unknown, Code: "Timeout"}}, canary.Step{}, 1, canary.Fail, "changed between the two looks"},
		{"no answer, and it did not", vault{locked: true, answer: canary.Outcome{Result: canary.Unknown, Code: "Timeout"}}, canary.Step{}, 1, canary.Inconclusive, "got no answer"},
		{"success that says nothing", vault{locked: true, answer: success}, canary.Step{ByState: "it answers so anyway"}, 1, canary.Pass, "refused (by state)"},
		{"success that says nothing, and it changed", vault{locked: true, changes: true, answer: success}, canary.Step{ByState: "it answers so anyway"}, 1, canary.Fail, "changed between the two looks"},
		{"success that says nothing, and nobody looked", vault{locked: true, unread: canary.After, answer: success}, canary.Step{ByState: "it answers so anyway"}, 1, canary.Inconclusive, "could not be read"},
		{"the protection's own code", vault{locked: true, answer: canary.Outcome{Result: canary.Failed, Code: "Locked"}}, canary.Step{RefusedWith: []string{"Locked"}}, 1, canary.Pass, ""},
		{"another code", vault{locked: true, answer: canary.Outcome{Result: canary.Failed, Code: "Throttling"}}, canary.Step{RefusedWith: []string{"Locked"}}, 1, canary.Inconclusive, "the canary could not act"},
		{"for want of a right of its own", vault{locked: true, answer: canary.Outcome{Result: canary.Refused, Code: "AccessDenied", Message: "because no identity-based policy allows it"}}, canary.Step{}, 1, canary.Inconclusive, "says nothing about the protection"},
	} {
		w := newWorld()
		tt.v.value = "is"
		w.vault = tt.v
		s, v := key(t)
		r, err := process(t, w, newMemory(), s, v)
		if err != nil {
			t.Fatal(err)
		}
		r.Scenarios = []canary.Scenario{probe(tt.step)}
		if err := r.Inject(t.Context(), "20261122-aaaaaa"); err != nil {
			t.Fatal(err)
		}
		if err := r.Confirm(t.Context(), run.ConfirmOptions{Wait: true}); err != nil {
			t.Fatal(err)
		}
		sum := summary(t, r, "")
		if a := sum.Canaries[0].Checks[canary.Injected]; a.Status != tt.want || !strings.Contains(a.Detail, tt.detail) || w.vault.attempted != tt.attempted {
			t.Errorf("%s: injected %s %q after %d attempts, want %s %q after %d", tt.claim, a.Status, a.Detail, w.vault.attempted, tt.want, tt.detail, tt.attempted)
		}
		if tt.step.ByState != "" && tt.want == canary.Pass {
			// The world's record says success too: then nobody said that it was refused.
			if a := sum.Canaries[0].Checks[canary.Attributed]; a.Status != canary.Inconclusive || !strings.Contains(a.Detail, "neither the answer nor the record") {
				t.Errorf("%s: attributed %+v", tt.claim, a)
			}
		} else if tt.want == canary.Pass && sum.ExitCode() != 0 {
			t.Errorf("%s: %+v", tt.claim, sum.Canaries[0].Checks)
		}
	}
}

// Dying between any two lines of an attempt leaves a ledger that says no more than was
// seen: nothing counts as refused that was not looked at afterwards, nothing is
// attempted that is not protected, and nothing twice.
func TestAnAttemptThatDiesAnywhereSaysNoMoreThanItSaw(t *testing.T) {
	// With it there is always something to look for, so that every record is seen.
	other := canary.Scenario{ID: "test/one", Kind: canary.Decoy, Scope: "region", Steps: []canary.Step{{ID: "c", Call: "test:MakeC", Undo: &canary.Undo{Call: "test:Unmake"}}}}
	for _, tt := range []struct {
		claim string
		v     vault
		may   []canary.Status
	}{
		{"it stands", vault{locked: true, value: "is", answer: denied}, []canary.Status{canary.Pass, canary.Inconclusive}},
		{"it is absent", vault{value: "is", answer: denied}, []canary.Status{canary.Fail, canary.Inconclusive}},
		{"it does not hold", vault{locked: true, value: "is", changes: true, answer: canary.Outcome{Result: canary.Succeeded}}, []canary.Status{canary.Fail, canary.Inconclusive}},
	} {
		seen := map[canary.Status]int{}
		for n := 1; ; n++ {
			over := false
			for _, after := range []bool{false, true} {
				w := newWorld()
				w.vault, w.dieAt, w.after = tt.v, n, after
				s, v := key(t)
				files := newMemory()
				if r, err := process(t, w, files, s, v); err == nil {
					r.Scenarios = []canary.Scenario{other, probe(canary.Step{})}
					_ = r.Inject(t.Context(), "20261122-aaaaaa")
				}
				over = !w.dead()
				w.alive()
				r, err := process(t, w, files, s, v)
				if err != nil {
					t.Fatal(err)
				}
				r.Scenarios = []canary.Scenario{other, probe(canary.Step{})}
				if _, err := r.Sweep(t.Context(), 0); err != nil {
					t.Fatal(err)
				}
				if err := r.Confirm(t.Context(), run.ConfirmOptions{Wait: true}); err != nil {
					t.Fatal(err)
				}
				sum := summary(t, r, "")
				if w.vault.attempted > 1 || !tt.v.locked && w.vault.attempted > 0 {
					t.Errorf("%s, death at %d (after %v): %d attempts", tt.claim, n, after, w.vault.attempted)
				}
				if len(sum.Findings) != 0 {
					t.Errorf("%s, death at %d (after %v): its own calls are called forged: %+v", tt.claim, n, after, sum.Findings)
				}
				for _, l := range sum.Canaries {
					if l.Scenario == other.ID {
						continue
					}
					a := l.Checks[canary.Injected]
					seen[a.Status]++
					if a.Open || a.Status != tt.may[0] && a.Status != tt.may[1] {
						t.Errorf("%s, death at %d (after %v): injected %+v", tt.claim, n, after, a)
					}
				}
			}
			if over {
				t.Logf("%s: died at %d effects: %v", tt.claim, n-1, seen)
				break
			}
		}
		if seen[tt.may[0]] == 0 || seen[tt.may[1]] == 0 {
			t.Errorf("%s: only %v: the deaths are not real", tt.claim, seen)
		}
	}
}
