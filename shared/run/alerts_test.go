package run_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/mod/sumdb/note"

	"github.com/auditcanary/auditcanary/shared/canary"
	"github.com/auditcanary/auditcanary/shared/run"
)

// bell is a run.AlertSource that gives what arrived until it is told that it may
// forget it, as a queue does.
type bell struct {
	w       *world
	waiting []canary.Rang
	settled []string
	failed  error
	still   bool // its clock stands
	asked   int
	since   time.Time
	// meanwhile happens while somebody listens.
	meanwhile func()
	problems  []string
}

func (b *bell) Listen(_ context.Context, since time.Time) (run.Arrived, error) {
	b.asked++
	b.since = since
	if b.meanwhile != nil {
		b.meanwhile()
	}
	b.w.mu.Lock()
	defer b.w.mu.Unlock()
	if b.failed != nil {
		return run.Arrived{}, b.failed
	}
	a := run.Arrived{AsOf: b.w.now, Problems: b.problems}
	if b.still {
		a.AsOf = b.w.now.Add(-24 * time.Hour)
	}
	for _, r := range b.waiting {
		if !r.At.After(b.w.now) {
			a.Alerts = append(a.Alerts, r)
		}
	}
	return a, nil
}

func (b *bell) Settle(_ context.Context, ids []string) error {
	return b.w.effect(func() {
		b.settled = append(b.settled, ids...)
		b.waiting = slices.DeleteFunc(b.waiting, func(r canary.Rang) bool { return slices.Contains(ids, r.ID) })
	})
}

// ring puts an alert into the queue.
func (b *bell) ring(id string, at time.Time, how func(*canary.Rang)) {
	r := canary.Rang{ID: id, At: at}
	how(&r)
	b.waiting = append(b.waiting, r)
}

func naming(requests ...string) func(*canary.Rang) {
	return func(r *canary.Rang) { r.RequestIDs = requests }
}

// promise makes both scenarios of a process promise an alert, and says where it arrives.
func promise(r *run.Run, b *bell) {
	for i := range r.Scenarios {
		r.Scenarios[i].Alerts = []canary.Promise{{Alert: "changed", On: canary.OnAllowed}}
	}
	r.AlertSources = []run.Alert{{Name: "changed", Source: b, Within: 5 * time.Minute, Late: 30 * time.Minute}}
}

// alerting is a run whose canaries have been judged and promise an alert.
func alerting(t *testing.T) (*world, *bell, *run.Run, []*run.CanaryState) {
	t.Helper()
	w := newWorld()
	s, v := key(t)
	b := &bell{w: w}
	r := alertingIn(t, w, b, newMemory(), s, v)
	return w, b, r, canaries(t, r)
}

func alertingIn(t *testing.T, w *world, b *bell, files *memory, s note.Signer, v note.Verifier) *run.Run {
	t.Helper()
	r, err := process(t, w, files, s, v)
	if err != nil {
		t.Fatal(err)
	}
	promise(r, b)
	if err := errors.Join(r.Inject(t.Context(), "20261122-aaaaaa"), r.Confirm(t.Context(), run.ConfirmOptions{Wait: true})); err != nil {
		t.Fatal(err)
	}
	r.Poll = time.Minute
	r.Sleep = func(ctx context.Context, d time.Duration) error {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.now = w.now.Add(d)
		return ctx.Err()
	}
	return r
}

func canaries(t *testing.T, r *run.Run) []*run.CanaryState {
	t.Helper()
	state, _, err := run.Fold(t.Context(), r.Log)
	if err != nil {
		t.Fatal(err)
	}
	return state.Canaries
}

// call is the time and the request id of a canary's first call.
func call(cs *run.CanaryState) (time.Time, string) {
	r := cs.Evidence.Receipts[0]
	return r.Want.Time, r.RequestIDs[0]
}

func listen(t *testing.T, r *run.Run, wait bool) {
	t.Helper()
	if err := r.Alerts(t.Context(), run.AlertOptions{Wait: wait}); err != nil {
		t.Fatal(err)
	}
}

func alerted(t *testing.T, r *run.Run, i int) canary.Answer {
	t.Helper()
	v, _ := canaries(t, r)[i].Verdict()
	return v.Checks[canary.Alerted]
}

// later lets time pass.
func (w *world) later(d time.Duration) { w.mu.Lock(); w.now = w.now.Add(d); w.mu.Unlock() }

func rings(t *testing.T, r *run.Run) []canary.Rang {
	t.Helper()
	state, _, err := run.Fold(t.Context(), r.Log)
	if err != nil {
		t.Fatal(err)
	}
	return state.Alerts
}

func TestAnAlertAmendsTheVerdictThatStands(t *testing.T) {
	w, b, r, cs := alerting(t)
	at, request := call(cs[0])
	b.ring("m-1", at.Add(time.Minute), naming(request))
	b.ring("m-1", at.Add(time.Minute), naming(request)) // the queue gives it twice
	b.ring("theirs", at.Add(time.Minute), naming("somebody's"))
	listen(t, r, false)
	if a := alerted(t, r, 0); a.Status != canary.Pass || a.Alert != canary.AlertRang || *a.LatencySeconds != 60 {
		t.Errorf("the one that rang: %+v", a)
	}
	if a := alerted(t, r, 1); a.Status != canary.NotRun || !a.Open {
		t.Errorf("the one that is awaited: %+v", a)
	}
	if got := summary(t, r, ""); got.Tally.Proven != 2 {
		t.Errorf("that an alert is awaited keeps %+v from being proven", got.Tally)
	}
	if got := rings(t, r); len(got) != 1 || !slices.Contains(b.settled, "m-1") || slices.Contains(b.settled, "theirs") {
		t.Errorf("in the ledger %+v, settled %q: the other's may still be an event that is not known yet", got, b.settled)
	}
	size := canaries(t, r)[0].Verdicts
	listen(t, r, false)
	if again := canaries(t, r)[0].Verdicts; len(again) != len(size) {
		t.Errorf("nothing has changed, and there are %d verdicts instead of %d", len(again), len(size))
	}
	w.later(time.Hour)
	listen(t, r, false)
	if a := alerted(t, r, 1); a.Status != canary.Fail || a.Alert != canary.AlertOther || a.Open {
		t.Errorf("the one that did not ring in its time: %+v", a)
	}
	if v, _ := canaries(t, r)[1].Verdict(); v.Overall() != canary.Fail || v.Checks[canary.Surfaced].Status != canary.Pass {
		t.Errorf("the verdict that was amended: %+v", v)
	}
	if listen(t, r, false); !slices.Contains(b.settled, "theirs") || len(rings(t, r)) != 1 {
		t.Errorf("settled %q, although nobody waits any more", b.settled)
	}
	b.ring("m-2", at.Add(40*time.Minute), naming(request))
	listen(t, r, false)
	if a := alerted(t, r, 0); a.Status != canary.Pass || a.Alert != canary.AlertDuplicate {
		t.Errorf("it rang once more: %+v", a)
	}
}

func TestListeningWaitsForAnAlertAndNoLonger(t *testing.T) {
	_, b, r, cs := alerting(t)
	for i := range cs {
		at, request := call(cs[i])
		b.ring(fmt.Sprint("m-", i), at.Add(7*time.Minute), naming(request))
	}
	listen(t, r, true)
	if a, o := alerted(t, r, 0), alerted(t, r, 1); a.Status != canary.Late || o.Status != canary.Late {
		t.Errorf("%+v, %+v", a, o)
	}
	asked := b.asked
	listen(t, r, true)
	if b.asked > asked+1 {
		t.Errorf("all is settled, and the place was asked %d times more", b.asked-asked)
	}

	_, b, r, _ = alerting(t)
	listen(t, r, true)
	if a := alerted(t, r, 0); a.Status != canary.Fail || a.Alert != canary.AlertSilent || b.asked < 3 || b.asked > 40 {
		t.Errorf("%+v after it was asked %d times", a, b.asked)
	}
}

func TestAPlaceThatDoesNotAnswerIsNoAlertThatFailed(t *testing.T) {
	_, b, r, _ := alerting(t)
	b.failed = errors.New("AccessDenied: request 1")
	listen(t, r, true)
	if a := alerted(t, r, 0); a.Status != canary.Inconclusive || a.Alert != canary.AlertUnheard || a.Open || !strings.Contains(a.Detail, "AccessDenied") {
		t.Errorf("%+v", a)
	}
	verdicts := len(canaries(t, r)[0].Verdicts)
	b.failed = errors.New("AccessDenied: request 2")
	listen(t, r, false)
	if n := len(canaries(t, r)[0].Verdicts); n != verdicts {
		t.Errorf("the same in other words gave %d more verdicts", n-verdicts)
	}
	b.failed = nil
	listen(t, r, false)
	if a := alerted(t, r, 0); a.Status != canary.Fail || a.Alert != canary.AlertSilent {
		t.Errorf("when it answers again: %+v", a)
	}

	_, b, r, _ = alerting(t)
	b.still = true
	listen(t, r, true)
	if a := alerted(t, r, 0); a.Status != canary.Inconclusive && !a.Open || a.Status == canary.Fail {
		t.Errorf("a place whose clock stands: %+v", a)
	}

	w, b, r, cs := alerting(t)
	b.problems = []string{"object x is no JSON"}
	at, request := call(cs[0])
	b.ring("m-1", at.Add(time.Minute), naming(request))
	listen(t, r, false)
	b.problems = nil
	w.later(time.Hour)
	listen(t, r, false)
	if a, o := alerted(t, r, 0), alerted(t, r, 1); a.Status != canary.Pass || o.Status == canary.Fail && o.Alert == canary.AlertSilent {
		t.Errorf("something could not be read: %+v, %+v", a, o)
	}
}

// What carries an event that is not known yet stays where it is until the record is found,
// also where nobody else waits for anything.
func TestAnAlertWaitsForTheRecordItNames(t *testing.T) {
	w, b, r, cs := alerting(t)
	for i, one := range cs {
		at, request := call(one)
		b.ring(fmt.Sprint("m-", i), at, naming(request))
	}
	listen(t, r, false)
	if len(b.waiting) != 0 {
		t.Fatalf("%d alerts still wait", len(b.waiting))
	}
	w.later(time.Hour)
	if err := r.Inject(t.Context(), "20261122-bbbbbb"); err != nil {
		t.Fatal(err)
	}
	at, request := call(canaries(t, r)[2])
	b.ring("later", at, func(r *canary.Rang) { r.EventIDs = []string{"event-" + request} })
	b.ring("before", at.Add(-30*time.Minute), naming("somebody's"))
	asked := b.asked
	listen(t, r, false)
	if b.asked == asked || slices.Contains(b.settled, "later") || !slices.Contains(b.settled, "before") {
		t.Fatalf("asked %d times more, settled %q before the record was found", b.asked-asked, b.settled)
	}
	if err := r.Confirm(t.Context(), run.ConfirmOptions{Wait: true}); err != nil {
		t.Fatal(err)
	}
	listen(t, r, false)
	if a := alerted(t, r, 2); a.Status != canary.Pass || !slices.Contains(b.settled, "later") {
		t.Errorf("%+v, settled %q", a, b.settled)
	}
}

func TestAConfigurationSaysWhatIsPromisedAndWhatIsDemanded(t *testing.T) {
	_, b, r, cs := alerting(t)
	r.AlertSources[0].Scenarios = []string{"test/*"}
	r.AlertSources[0].Name = "other"
	at, request := call(cs[0])
	b.ring("m-1", at.Add(time.Minute), naming(request))
	listen(t, r, false)
	a := alerted(t, r, 0)
	if len(a.Alerts) != 2 || a.Alerts[0].Kind != canary.AlertNowhere || a.Alerts[1].Status != canary.Pass || a.Status != canary.NotRun {
		t.Errorf("one that nobody configured, one that the configuration promises: %+v", a)
	}
	r.AlertSources[0].Never = func(_ context.Context, p run.Plan, q canary.Promise) []string {
		return []string{"rule r does not see " + p.Steps[0].Call.Operation + " on " + string(q.On)}
	}
	if listen(t, r, false); !strings.Contains(alerted(t, r, 1).Detail, "rule r does not see test:MakeC on allowed") {
		t.Errorf("a rule that never fires: %+v", alerted(t, r, 1))
	}
	if a := alerted(t, r, 0); a.Alerts[1].Status != canary.Pass {
		t.Errorf("it rang all the same: %+v", a)
	}
}

// Nobody listened in its time, under a configuration that may not have had the place.
func TestALateListenerDoesNotCallOldCanariesSilent(t *testing.T) {
	w, _, r, _ := alerting(t)
	r.ConfigHash = "another"
	w.later(time.Hour)
	listen(t, r, false)
	if a := alerted(t, r, 0); a.Status != canary.Inconclusive || a.Alert != canary.AlertUnread {
		t.Errorf("%+v", a)
	}
}

// Anybody can choose our session's name, and anybody can cause an alert that names nothing.
func TestAFloodDoesNotFillTheLedgerAndProvesNothing(t *testing.T) {
	for name, how := range map[string]func(string) func(*canary.Rang){
		"forged sessions": func(id string) func(*canary.Rang) {
			return func(r *canary.Rang) { r.Sessions = []string{"auditcanary-" + id} }
		},
		"nothing named": func(string) func(*canary.Rang) { return func(*canary.Rang) {} },
		"sessions nobody's": func(string) func(*canary.Rang) {
			return func(r *canary.Rang) { r.Sessions = []string{"auditcanary-x"} }
		},
	} {
		w, b, r, cs := alerting(t)
		r.AlertSources[0].AcceptWeak = true
		at, _ := call(cs[0])
		for i := range 1000 {
			b.ring(fmt.Sprint("m-", i), at.Add(time.Minute), how(cs[0].Plan.Canary.ID))
		}
		listen(t, r, false)
		w.later(time.Hour)
		listen(t, r, false)
		if n := len(rings(t, r)); n > 250 {
			t.Errorf("%s: %d alerts went into the ledger", name, n)
		}
		if a := alerted(t, r, 0); a.Status == canary.Pass || a.Status == canary.NotRun {
			t.Errorf("%s: %+v", name, a)
		}
		if listen(t, r, false); len(b.waiting) != 0 {
			t.Errorf("%s: %d still wait where they arrived", name, len(b.waiting))
		}
	}
}

func TestWhoeverAppendsMeanwhileIsHeard(t *testing.T) {
	_, b, r, cs := alerting(t)
	at, request := call(cs[0])
	b.ring("m-1", at.Add(time.Minute), naming(request))
	b.meanwhile = func() {
		b.meanwhile = nil
		rejudge(t, r, func(v *canary.Verdict) {
			v.Checks[canary.Cleaned] = canary.Answer{Status: canary.Fail, Detail: "it is back"}
		})
		listen(t, r, false) // another process hears the same
	}
	listen(t, r, false)
	if v, _ := canaries(t, r)[0].Verdict(); v.Checks[canary.Cleaned].Status != canary.Fail || v.Checks[canary.Alerted].Status != canary.Pass {
		t.Errorf("%+v", v.Checks)
	}
	if n := len(rings(t, r)); n != 1 {
		t.Errorf("it rang once, and is in the ledger %d times", n)
	}
	rejudge(t, r, func(*canary.Verdict) {}) // somebody gives a verdict who has heard nothing
	if listen(t, r, false); alerted(t, r, 0).Status != canary.Pass {
		t.Errorf("what was forgotten does not come back: %+v", alerted(t, r, 0))
	}
}

// Died at any of its effects, listening is taken up again: no alert is lost, none is
// written twice, and it comes to the same end.
func TestListeningDiesAnywhere(t *testing.T) {
	for _, after := range []bool{false, true} {
		for n := 1; ; n++ {
			w := newWorld()
			s, vk := key(t)
			files := newMemory()
			b := &bell{w: w}
			r := alertingIn(t, w, b, files, s, vk)
			for i, cs := range canaries(t, r) {
				at, request := call(cs)
				b.ring(fmt.Sprint("m-", i), at.Add(time.Minute), naming(request))
			}
			w.mu.Lock()
			w.dieAt, w.after = w.effects+n, after
			w.mu.Unlock()
			err := r.Alerts(t.Context(), run.AlertOptions{})
			if !w.dead() {
				if err != nil {
					t.Fatal(err)
				}
				if n < 5 {
					t.Fatalf("only %d effects: nothing was tried", n-1)
				}
				break
			}
			w.alive()
			if r, err = process(t, w, files, s, vk); err != nil {
				t.Fatal(err)
			}
			promise(r, b)
			listen(t, r, false)
			if a, o := alerted(t, r, 0), alerted(t, r, 1); a.Status != canary.Pass || o.Status != canary.Pass || a.Alert != canary.AlertRang || o.Alert != canary.AlertRang {
				t.Errorf("died at effect %d (after %v): %+v, %+v", n, after, a, o)
			}
			if got := rings(t, r); len(got) != 2 || len(b.waiting) != 0 {
				t.Errorf("died at effect %d (after %v): %d alerts in the ledger, %d still wait", n, after, len(got), len(b.waiting))
			}
		}
	}
}

// Whatever a source says of an alert, it fits an entry, and stops nobody from listening.
func TestWhatASourceSaysIsBounded(t *testing.T) {
	w, b, r, cs := alerting(t)
	r.AlertSources[0].Never = func(context.Context, run.Plan, canary.Promise) []string {
		return slices.Repeat([]string{strings.Repeat("<", 5000)}, 50)
	}
	at, request := call(cs[0])
	hostile := strings.Repeat("\x00<\xff", 1000)
	for i := range 40 {
		b.ring(fmt.Sprint("m-", i), at.Add(time.Minute), func(r *canary.Rang) {
			naming(request)(r)
			r.ID += strings.Repeat("<", 90)
			r.Suppressed, r.Weak, r.Rule, r.Payload = hostile, hostile, hostile, []byte(hostile)
		})
	}
	b.ring(hostile, at.Add(time.Minute), naming(request))
	b.ring("", at.Add(time.Minute), naming(request))
	b.ring("many", at.Add(time.Minute), naming(slices.Repeat([]string{request}, 10_000)...))
	b.problems = []string{hostile}
	w.later(time.Hour)
	listen(t, r, false)
	if a := alerted(t, r, 0); a.Status != canary.Fail || len(rings(t, r)) == 0 {
		t.Errorf("%s, %d alerts written down", a.Status, len(rings(t, r)))
	}
	b.failed = errors.New(hostile)
	listen(t, r, false)
}
