package run_test

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/auditcanary/auditcanary/shared/canary"
	"github.com/auditcanary/auditcanary/shared/run"
)

func sessionOf(cs *run.CanaryState) func(*canary.Rang) {
	return func(r *canary.Rang) { r.Sessions = []string{"auditcanary-" + cs.Plan.Canary.ID} }
}

// Whatever else rang, the alert that names the canary's event is written down before it
// is taken away from where it arrived.
func TestAFloodDoesNotTakeATrueAlertAway(t *testing.T) {
	for _, tc := range []struct {
		name string
		how  func(cs []*run.CanaryState) func(*canary.Rang)
		true func(cs []*run.CanaryState) func(*canary.Rang)
	}{
		{"that have its session", func(cs []*run.CanaryState) func(*canary.Rang) { return sessionOf(cs[0]) }, itself},
		{"of the undo", func(cs []*run.CanaryState) func(*canary.Rang) { return naming(undo(cs[0])) }, itself},
		{"that nobody heard", func(cs []*run.CanaryState) func(*canary.Rang) {
			return func(r *canary.Rang) { itself(cs)(r); r.Suppressed = "archived" }
		}, itself},
		{"of another canary only", func(cs []*run.CanaryState) func(*canary.Rang) { return naming(request(cs[1])) },
			func(cs []*run.CanaryState) func(*canary.Rang) { return naming(request(cs[1]), request(cs[0])) }},
	} {
		w, b, r, cs := alerting(t)
		at, _ := call(cs[0])
		for i := range 40 {
			b.ring(fmt.Sprint("m-", i), at.Add(time.Second), tc.how(cs))
		}
		b.ring("true", at.Add(time.Minute), tc.true(cs))
		listen(t, r, false)
		w.later(time.Hour)
		listen(t, r, false)
		if a := alerted(t, r, 0); a.Status != canary.Pass {
			t.Errorf("40 alerts %s: %s, %s", tc.name, a.Status, a.Detail)
		}
		if all := rings(t, r); !slices.ContainsFunc(all, func(r canary.Rang) bool { return r.ID == "true" }) || len(all) > 21 {
			t.Errorf("40 alerts %s: %d in the ledger", tc.name, len(all))
		}
		if len(b.waiting) != 0 {
			t.Errorf("40 alerts %s: %d still wait where they arrived", tc.name, len(b.waiting))
		}
	}
}

// itself is an alert of a canary's own call.
func itself(cs []*run.CanaryState) func(*canary.Rang) { return naming(request(cs[0])) }

func request(cs *run.CanaryState) string { _, request := call(cs); return request }

// undo is the request id of a canary's last undo.
func undo(cs *run.CanaryState) string {
	for _, r := range slices.Backward(cs.Evidence.Receipts) {
		if r.Phase == canary.PhaseUndo {
			return r.RequestIDs[0]
		}
	}
	panic("it has no undo")
}

// The record of a call that this program made for itself has the canary's session in it,
// as that of an AssumeRole has, and is of another event.
func TestAnAlertOfOurOwnCallIsNoCanarys(t *testing.T) {
	w, b, r, cs := alerting(t)
	r.AlertSources[0].AcceptWeak = true
	own, err := json.Marshal(run.Entry{V: 1, Type: "own", Run: cs[0].Run.ID, At: r.Clock(), Own: &run.Own{RequestIDs: []string{"req-assume"}}})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := r.Log.Append(t.Context(), own); err != nil {
		t.Fatal(err)
	}
	at, _ := call(cs[0])
	for _, request := range []string{"req-assume", "req-nobodys"} {
		b.ring(request, at.Add(time.Minute), func(r *canary.Rang) {
			sessionOf(cs[map[string]int{"req-nobodys": 1}[request]])(r)
			r.RequestIDs, r.EventIDs = []string{request}, []string{"event-" + request}
		})
	}
	listen(t, r, false)
	w.later(time.Hour)
	listen(t, r, false)
	if a := alerted(t, r, 0); a.Status != canary.Fail || a.Alert == canary.AlertRang {
		t.Errorf("of our own call: %s, %s: %s", a.Status, a.Alert, a.Detail)
	}
	if a := alerted(t, r, 1); a.Status != canary.Inconclusive || a.Alert != canary.AlertNameless {
		t.Errorf("of a call that nobody knows: %s, %s: %s", a.Status, a.Alert, a.Detail)
	}
}

// That another alert was listened for meanwhile does not make up for nobody having
// listened for this one.
func TestALateListenerForOneOfTwoAlertsDoesNotCallOldCanariesSilent(t *testing.T) {
	w, b, r, cs := alerting(t)
	changed := r.AlertSources
	r.AlertSources = []run.Alert{{Name: "other", Source: &bell{w: w}, Within: 5 * time.Minute, Late: 30 * time.Minute, Scenarios: []string{"test/*"}}}
	listen(t, r, false)
	w.later(time.Hour)
	listen(t, r, false)
	if h, listened := canaries(t, r)[0].Evidence.Hearing(canary.Promise{Alert: "changed", On: canary.OnAllowed}); !listened || h.Demanded != nil {
		t.Fatalf("listened %v, %+v", listened, h)
	}
	r.AlertSources = append(r.AlertSources, changed...)
	r.ConfigHash = "another"
	at, request := call(cs[1])
	b.ring("true", at.Add(time.Minute), naming(request))
	for range 2 {
		listen(t, r, false)
		if a := alerted(t, r, 0).Alerts[0]; a.Kind != canary.AlertUnread || a.Status != canary.Inconclusive {
			t.Errorf("%+v", a)
		}
		if a := alerted(t, r, 1).Alerts[0]; a.Status != canary.Pass {
			t.Errorf("one that did come: %+v", a)
		}
	}
}

// By its event's id alone an alert is known only once the record is found, and that may
// come later than anybody waited for the alert.
func TestAnAlertWaitsForARecordThatComesLate(t *testing.T) {
	w, r := injected(t)
	b := &bell{w: w}
	r.AlertSources = []run.Alert{{Name: "changed", Source: b, Within: 5 * time.Minute, Late: 30 * time.Minute, Scenarios: []string{"test/*"}}}
	r.Store = hidden{w, map[string]bool{"test:MakeC": true}}
	confirm(t, r, true)
	cs := canaries(t, r)[1]
	if v, _ := cs.Verdict(); v.Checks[canary.Surfaced].Status != canary.Fail {
		t.Fatalf("surfaced %+v", v.Checks[canary.Surfaced])
	}
	at, request := call(cs)
	b.ring("true", at.Add(time.Minute), func(r *canary.Rang) { r.EventIDs = []string{"event-" + request} })
	for range 2 {
		listen(t, r, false)
		w.later(time.Hour)
	}
	if a := alerted(t, r, 1); a.Alert != canary.AlertSilent || len(b.settled) != 0 {
		t.Fatalf("before the record is found: %+v, settled %q", a, b.settled)
	}
	r.Store = w
	confirm(t, r, true)
	listen(t, r, false)
	if a := alerted(t, r, 1); a.Status != canary.Pass || len(b.waiting) != 0 {
		t.Errorf("%+v, %d still wait", a, len(b.waiting))
	}
	// When nothing more can be found, nobody waits any more.
	b.ring("nobody's", at.Add(time.Minute), naming("somebody's"))
	w.later(r.SLO.Amend)
	if err := r.Inject(t.Context(), "20261122-bbbbbb"); err != nil {
		t.Fatal(err)
	}
	confirm(t, r, true)
	listen(t, r, false)
	if len(b.waiting) != 0 {
		t.Errorf("%d still wait", len(b.waiting))
	}
}

// However many canaries' sessions somebody takes, one look writes no more than so many
// forged alerts down.
func TestForgedAlertsAreBoundedByALook(t *testing.T) {
	w := newWorld()
	s, v := key(t)
	r, err := process(t, w, newMemory(), s, v)
	if err != nil {
		t.Fatal(err)
	}
	r.Targets = nil
	for i := range 13 {
		r.Targets = append(r.Targets, canary.Target{Provider: "test", Account: fmt.Sprint(i), Region: "r"})
	}
	b := &bell{w: w}
	promise(r, b)
	if err := r.Inject(t.Context(), "20261122-aaaaaa"); err != nil {
		t.Fatal(err)
	}
	confirm(t, r, true)
	forge := func(what string) {
		for i, cs := range canaries(t, r) {
			at, _ := call(cs)
			for j := range 15 {
				b.ring(fmt.Sprint(what, "-", i, "-", j), at.Add(time.Minute), sessionOf(cs))
			}
		}
	}
	forge("first")
	last := canaries(t, r)[25]
	at, request := call(last)
	b.ring("true", at.Add(time.Minute), naming(request))
	listen(t, r, false)
	if n := len(rings(t, r)); n > 201 || n < 200 {
		t.Errorf("one look wrote %d alerts down", n)
	}
	if len(b.waiting) != 0 || alerted(t, r, 25).Status != canary.Pass {
		t.Errorf("%d still wait, the true one: %+v", len(b.waiting), alerted(t, r, 25))
	}
	forge("second")
	listen(t, r, false)
	if n := len(rings(t, r)); n <= 201 || n > 401 {
		t.Errorf("after a second look there are %d", n)
	}
}

// A digest may name more than is read of it: then nobody knows that it does not name the
// canary's event too.
func TestADigestThatNamesMoreThanIsReadLeavesOpenWhoseItIs(t *testing.T) {
	for _, known := range []bool{false, true} { // what is read of it names a canary of ours
		w, b, r, cs := alerting(t)
		at, request := call(cs[0])
		_, other := call(cs[1])
		ids := []string{"req-nobodys"}
		if known {
			ids[0] = other
		}
		for i := range 60 {
			ids = append(ids, fmt.Sprint("req-of-others-", i))
		}
		digest, err := json.Marshal(map[string][]string{"request_ids": append(ids, request)})
		if err != nil {
			t.Fatal(err)
		}
		b.ring("digest", at.Add(time.Minute), func(r *canary.Rang) { r.Name(digest) })
		listen(t, r, false)
		w.later(20 * time.Minute)
		listen(t, r, false)
		w.later(time.Hour)
		listen(t, r, false)
		if a := alerted(t, r, 0); a.Status != canary.Inconclusive || a.Alert != canary.AlertUnread || !strings.Contains(a.Detail, "digest names more than is read of it") {
			t.Errorf("known %v: %s, %s: %s", known, a.Status, a.Alert, a.Detail)
		}
		if a := alerted(t, r, 1); known && a.Status != canary.Pass || !known && a.Status != canary.Inconclusive {
			t.Errorf("known %v: the other: %s, %s: %s", known, a.Status, a.Alert, a.Detail)
		}
	}

	// One that rang out of its time hides nothing.
	w, b, r, cs := alerting(t)
	at, _ := call(cs[0])
	b.ring("digest", at.Add(50*time.Minute), func(r *canary.Rang) { r.RequestIDs, r.More = []string{"req-nobodys"}, true })
	w.later(time.Hour)
	listen(t, r, false)
	if a := alerted(t, r, 0); a.Status != canary.Fail || a.Alert != canary.AlertSilent {
		t.Errorf("%s, %s: %s", a.Status, a.Alert, a.Detail)
	}
}

// The same alert may be seen before anybody is told of it, and once more after that.
func TestAnAlertThatIsHeardAfterAllIsHeard(t *testing.T) {
	_, b, r, cs := alerting(t)
	at, request := call(cs[0])
	for _, suppressed := range []string{"its action failed", "", "archived"} {
		b.ring("m-1", at.Add(time.Minute), func(r *canary.Rang) { naming(request)(r); r.Suppressed = suppressed })
		listen(t, r, false)
		if a := alerted(t, r, 0); suppressed == "its action failed" && a.Alert != canary.AlertSuppressed || suppressed != "its action failed" && a.Alert != canary.AlertRang {
			t.Errorf("suppressed %q: %+v", suppressed, a)
		}
	}
	if n := len(rings(t, r)); n != 2 {
		t.Errorf("%d are in the ledger", n)
	}
}
