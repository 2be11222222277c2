package canary

import (
	"slices"
	"testing"

	"github.com/auditcanary/auditcanary/shared/event"
)

// TestTheWorstStepHidesNoOther: who accepts what one step says must see what the others do.
func TestTheWorstStepHidesNoOther(t *testing.T) {
	got := worst([]Answer{
		{Status: Pass, Step: "a"},
		{Status: Late, Step: "b", Hop: Delivered, Detail: "late"},
		{Status: Fail, Step: "c", Detail: "first"},
		{Status: Fail, Step: "d", Hop: Emitted, Detail: "second", Fields: []event.Difference{{Field: "actor.uid"}, {Field: "actor.uid"}}},
		{Status: NotRun, Step: "e"},
		{Status: Inconclusive, Step: "f", Detail: "unread"},
	})
	if got.Step != "c" || got.Status != Fail {
		t.Fatalf("%+v", got)
	}
	var also []string
	for _, o := range got.Also {
		also = append(also, o.Step+" "+string(o.Status)+" "+string(o.Hop)+" "+o.Detail)
	}
	if want := []string{"b late delivered late", "d fail emitted second", "f inconclusive  unread"}; !slices.Equal(also, want) {
		t.Errorf("also %q, want %q", also, want)
	}
	if f := got.Also[1].Fields; !slices.Equal(f, []string{"actor.uid"}) {
		t.Errorf("fields %q", f)
	}
	if got := worst([]Answer{{Status: Pass, Step: "a"}, {Status: Pass, Step: "b"}}); got.Also != nil {
		t.Errorf("of what passes: %+v", got.Also)
	}
}

// TestAFailedAttemptHidesNoLaterOne: two attempts that had to be denied, and were not.
func TestAFailedAttemptHidesNoLaterOne(t *testing.T) {
	s := Scenario{ID: "test/x", Kind: MustBeDenied, Steps: []Step{{ID: "a", Call: "x:A"}, {ID: "b", Call: "x:B"}, {ID: "c", Call: "x:C"}}}
	ev := Evidence{}
	for _, step := range s.Steps[:2] {
		call := Call{Operation: step.Call}
		ev.Intents = append(ev.Intents, Intent{Step: step.ID, Phase: PhaseDo, Attempt: 1, Call: call})
		ev.Receipts = append(ev.Receipts, Receipt{Step: step.ID, Phase: PhaseDo, Attempt: 1, Call: call, RequestIDs: []string{"r"}, Outcome: Outcome{Result: Succeeded}})
	}
	got := judgeInjected(s, ev)
	if got.Status != Fail || got.Step != "a" || len(got.Also) != 1 || got.Also[0].Step != "b" || got.Also[0].Status != Fail {
		t.Errorf("%+v", got)
	}
}
