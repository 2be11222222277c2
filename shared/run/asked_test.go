package run_test

import (
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/auditcanary/auditcanary/shared/canary"
	"github.com/auditcanary/auditcanary/shared/run"
)

// ask writes down a command; fresh is whether it was not known.
func ask(t *testing.T, r *run.Run, a run.Asked) (known run.Asked, fresh bool) {
	t.Helper()
	known, _, repeat, err := run.NoteAsked(t.Context(), r.Log, r.Clock, a)
	if err != nil {
		t.Fatal(err)
	}
	return known, !repeat
}

func command(r *run.Run, id string) run.Asked {
	return run.Asked{ID: id, By: "U0AUDITOR", Through: "slack", Command: "run", At: r.Clock()}
}

func fold(t *testing.T, r *run.Run) *run.State {
	t.Helper()
	s, _, err := run.Fold(t.Context(), r.Log)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestACommandBecomesOneRun(t *testing.T) {
	w := newWorld()
	s, v := key(t)
	r, err := process(t, w, newMemory(), s, v)
	if err != nil {
		t.Fatal(err)
	}
	a := command(r, "slack:1")
	a.Scenarios, a.Targets = []string{"test/one"}, []string{"1/r"}
	if _, fresh := ask(t, r, a); !fresh {
		t.Error("the first is a repeat")
	}
	if _, fresh := ask(t, r, a); fresh {
		t.Error("the second is no repeat")
	}
	if n := len(fold(t, r).Asked); n != 1 {
		t.Errorf("%d entries", n)
	}
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			if _, err := r.Take(t.Context(), ""); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	state := fold(t, r)
	if len(state.Runs) != 1 || state.Runs[0].ID != run.RunFor(a) || len(state.Canaries) != 1 || state.Canaries[0].Plan.Scenario.ID != "test/one" {
		t.Errorf("%d runs, %d canaries", len(state.Runs), len(state.Canaries))
	}
	if known, fresh := ask(t, r, a); fresh || known.Run != run.RunFor(a) || known.By != a.By {
		t.Errorf("asked again: %+v, fresh %v", known, fresh)
	}
	if _, err := r.Take(t.Context(), ""); err != nil || len(fold(t, r).Runs) != 1 {
		t.Errorf("taken again: %v, %d runs", err, len(fold(t, r).Runs))
	}
}

func TestWhatCannotBeDoneIsRefusedInTheLedger(t *testing.T) {
	for name, tt := range map[string]struct {
		change func(w *world, a *run.Asked)
		want   string
	}{
		"too old":     {func(w *world, _ *run.Asked) { w.now = w.now.Add(61 * time.Minute) }, "asked for 1h1m0s ago: too old"},
		"no scenario": {func(_ *world, a *run.Asked) { a.Scenarios = []string{"aws/*"} }, "no scenario matches aws/*"},
		"no target":   {func(_ *world, a *run.Asked) { a.Targets = []string{"2"} }, "target 2 is not configured"},
	} {
		w := newWorld()
		s, v := key(t)
		r, err := process(t, w, newMemory(), s, v)
		if err != nil {
			t.Fatal(err)
		}
		a := command(r, "slack:1")
		tt.change(w, &a)
		ask(t, r, a)
		begun, err := r.Take(t.Context(), "")
		state := fold(t, r)
		known, _ := state.Ask("slack:1")
		if err != nil || len(begun)+len(state.Runs) != 0 || !strings.HasPrefix(known.Refused, tt.want) || known.By != a.By || len(state.Waiting()) != 0 {
			t.Errorf("%s: %v, %v, %+v", name, begun, err, known)
		}
	}
}

// TestACommandWaitsWhileAnotherRunInjects: two would act on the same things.
func TestACommandWaitsWhileAnotherRunInjects(t *testing.T) {
	w := newWorld()
	s, v := key(t)
	files := newMemory()
	r, err := process(t, w, files, s, v)
	if err != nil {
		t.Fatal(err)
	}
	// A run that died after it began.
	w.dieAt, w.after = w.effects+6, true
	_ = r.Inject(t.Context(), "20261122-aaaaaa") // it dies
	w.alive()
	if r, err = process(t, w, files, s, v); err != nil {
		t.Fatal(err)
	}
	if state := fold(t, r); len(state.Runs) != 1 || state.Runs[0].Injected {
		t.Fatalf("%d runs", len(state.Runs))
	}
	ask(t, r, command(r, "slack:1"))
	if begun, err := r.Take(t.Context(), ""); err != nil || len(begun) != 0 || len(fold(t, r).Waiting()) != 1 {
		t.Errorf("%v, %v", begun, err)
	}
	if _, err := r.Sweep(t.Context(), 0); err != nil {
		t.Fatal(err)
	}
	if begun, err := r.Take(t.Context(), ""); err != nil || len(begun) != 1 {
		t.Errorf("after it was closed: %v, %v", begun, err)
	}
}

// TestWhatIsAskedForMeanwhileIsDoneAfterwards: whoever took it up found the other run under
// way and went home; nobody else comes.
func TestWhatIsAskedForMeanwhileIsDoneAfterwards(t *testing.T) {
	w := newWorld()
	s, v := key(t)
	r, err := process(t, w, newMemory(), s, v)
	if err != nil {
		t.Fatal(err)
	}
	first, second := command(r, "slack:1"), command(r, "slack:2")
	ask(t, r, first)
	other := *r
	var once sync.Once
	r.Progress = func(p run.Progress) {
		if p.Step != "inject" {
			return
		}
		once.Do(func() {
			ask(t, &other, second)
			if begun, err := other.Take(t.Context(), second.ID); err != nil || len(begun) != 0 {
				t.Errorf("beside another: %v, %v", begun, err)
			}
		})
	}
	begun, err := r.Take(t.Context(), first.ID)
	if err != nil || len(begun) != 2 || begun[0] != run.RunFor(first) || begun[1] != run.RunFor(second) {
		t.Errorf("begun %v, %v", begun, err)
	}
	// A command that is known to have been done takes nothing else up: it is a repeat.
	ask(t, r, command(r, "slack:3"))
	if begun, err := r.Take(t.Context(), first.ID); err != nil || len(begun) != 0 {
		t.Errorf("a repeat began %v, %v", begun, err)
	}
}

// TestACommandIsTakenUpAfterACrash dies at each effect, between the command's entry and
// the run's end: what had not begun is begun by the next, and nothing is begun twice.
func TestACommandIsTakenUpAfterACrash(t *testing.T) {
	s, v := key(t)
	died := 0
	for n := 1; ; n++ {
		survived := true
		for _, after := range []bool{false, true} {
			w := newWorld()
			files := newMemory()
			r, err := process(t, w, files, s, v)
			if err != nil {
				t.Fatal(err)
			}
			a := command(r, "slack:1")
			w.dieAt, w.after = w.effects+n, after
			_, _, _, err = run.NoteAsked(t.Context(), r.Log, r.Clock, a)
			if err == nil {
				_, err = r.Take(t.Context(), "slack:1")
			}
			if err == nil {
				continue
			}
			survived = false
			died++
			w.alive()
			if r, err = process(t, w, files, s, v); err != nil {
				t.Fatal(err)
			}
			ask(t, r, a) // whoever asked got no answer, and asks again
			for range 2 {
				if _, err := r.Take(t.Context(), ""); err != nil {
					t.Fatalf("at %d (after %v): %v", n, after, err)
				}
				if _, err := r.Sweep(t.Context(), 0); err != nil {
					t.Fatalf("at %d (after %v): sweep: %v", n, after, err)
				}
			}
			state := fold(t, r)
			if len(state.Runs) != 1 || state.Runs[0].ID != run.RunFor(a) || len(state.Waiting()) != 0 || len(w.things) != 0 {
				t.Errorf("at %d (after %v): %d runs, %d waiting, left %v", n, after, len(state.Runs), len(state.Waiting()), w.things)
			}
			for name, times := range w.done {
				if times > 1 {
					t.Errorf("at %d (after %v): %s was done %d times", n, after, name, times)
				}
			}
		}
		if survived {
			break
		}
	}
	if died < 10 {
		t.Errorf("it died %d times only", died)
	}
}

// TestWhatIsAskedForIsSparedWhileSomebodyMayBeAtIt: the execution that came for it is over,
// and another function does it.
func TestWhatIsAskedForIsSparedWhileSomebodyMayBeAtIt(t *testing.T) {
	r := nothingDone(t)
	a := command(r, "slack:1")
	ask(t, r, a)
	other := *r
	over := run.Over{Run: run.RunFor(a), Why: "inject ended: Lambda.TooManyRequestsException"}
	swept := false
	r.Progress = func(p run.Progress) {
		if p.Step != "inject" || swept {
			return
		}
		swept = true
		if _, err := other.Sweep(t.Context(), time.Hour, over); err != nil {
			t.Error(err)
		}
		if rs := fold(t, &other).Run(over.Run); rs.Abandoned || rs.Injected {
			t.Error("it was given up while somebody is at it")
		}
	}
	if begun, err := r.Take(t.Context(), ""); err != nil || len(begun) != 1 || !swept {
		t.Fatalf("%v, %v", begun, err)
	}
	if err := r.Confirm(t.Context(), run.ConfirmOptions{Run: over.Run, Wait: true}); err != nil {
		t.Fatal(err)
	}
	if sum := summary(t, r, over.Run); sum.Tally.Proven != 2 {
		t.Errorf("%+v", sum.Tally)
	}
}

// TestWhatIsOverBeforeItBeganNeverBegins: whoever would tell of it is gone.
func TestWhatIsOverBeforeItBeganNeverBegins(t *testing.T) {
	r := nothingDone(t)
	a := command(r, "slack:1")
	ask(t, r, a)
	if _, err := r.Sweep(t.Context(), time.Hour, run.Over{Run: run.RunFor(a), Why: "the execution ended: ABORTED"}); err != nil {
		t.Fatal(err)
	}
	known, _ := fold(t, r).Ask(a.ID)
	if begun, err := r.Take(t.Context(), ""); err != nil || len(begun) != 0 || !strings.Contains(known.Refused, "ABORTED") {
		t.Errorf("%v, %v, %q", begun, err, known.Refused)
	}
}

func TestWhatWouldBeNothingIsRefused(t *testing.T) {
	r := nothingDone(t)
	r.Targets = append(r.Targets, canary.Target{Provider: "elsewhere", Account: "2", Region: "r"})
	a := command(r, "slack:1")
	a.Scenarios, a.Targets = []string{"test/one"}, []string{"2"}
	ask(t, r, a)
	begun, err := r.Take(t.Context(), "")
	if known, _ := fold(t, r).Ask(a.ID); err != nil || len(begun) != 0 || !strings.Contains(known.Refused, "no scenario of test/one is for 2") {
		t.Errorf("%v, %v, %q", begun, err, known.Refused)
	}
}

// meddled is a cloud at which something happens while a run is planned.
type meddled struct {
	run.Cloud
	first func()
}

func (m *meddled) Plan(s canary.Scenario, c canary.Canary) (run.Plan, error) {
	if m.first != nil {
		m.first()
		m.first = nil
	}
	return m.Cloud.Plan(s, c)
}

// TestWhatIsRefusedWhileItIsPlannedNeverBegins: whoever gave it up has told of that.
func TestWhatIsRefusedWhileItIsPlannedNeverBegins(t *testing.T) {
	r := nothingDone(t)
	a := command(r, "slack:1")
	ask(t, r, a)
	other := *r
	r.Clouds = map[string]run.Cloud{"test": &meddled{r.Clouds["test"], func() {
		if _, err := other.Sweep(t.Context(), time.Hour, run.Over{Run: run.RunFor(a), Why: "the execution ended: ABORTED"}); err != nil {
			t.Error(err)
		}
	}}}
	if begun, err := r.Take(t.Context(), a.ID); err != nil || len(begun) != 0 || len(fold(t, r).Runs) != 0 {
		t.Errorf("%v, %v, %d runs", begun, err, len(fold(t, r).Runs))
	}
}

// nothingDone is a run in a world of its own.
func nothingDone(t *testing.T) *run.Run {
	t.Helper()
	s, v := key(t)
	r, err := process(t, newWorld(), newMemory(), s, v)
	if err != nil {
		t.Fatal(err)
	}
	return r
}
