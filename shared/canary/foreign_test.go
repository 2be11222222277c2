package canary

import (
	"strings"
	"testing"
	"time"
)

// A finding whose caller is somebody else is nobody's of ours. Where more are folded into
// it, whose the others are nobody knows.
func TestWhatNamesAnotherCallerIsNotTheCanarys(t *testing.T) {
	finding := func(count int, since time.Duration, foreign bool) func(*Rang) {
		return func(r *Rang) {
			nameless(r)
			r.Count, r.Since, r.Foreign = count, t0.Add(since), foreign
		}
	}
	for _, tc := range []struct {
		claim  string
		set    func(*alerting)
		status Status
		kind   AlertKind
		detail string
	}{
		{"no caller", func(a *alerting) { a.ring(time.Minute, finding(1, 0, false)) }, Pass, AlertRang, "by its time alone"},
		{"another caller", func(a *alerting) { a.ring(time.Minute, finding(1, 0, true)) }, Fail, AlertSilent, "did not ring"},
		{"another caller, once more", func(a *alerting) {
			a.ring(-time.Hour, finding(1, -time.Hour, false)).ring(time.Minute, finding(2, -time.Hour, true))
		}, Fail, AlertSilent, "did not ring"},
		{"another caller as the last of two", func(a *alerting) { a.ring(time.Minute, finding(2, 10*time.Second, true)) }, Inconclusive, AlertNameless, "1 more promises may claim it"},
		{"another caller, and one with the session", func(a *alerting) {
			a.ring(time.Minute, finding(1, 0, true)).ring(2*time.Minute, func(r *Rang) { bySession(r); r.ID = "m-2" })
		}, Pass, AlertRang, "by its session name alone"},
		{"another caller, and the request", func(a *alerting) {
			a.ring(time.Minute, func(r *Rang) { finding(1, 0, true)(r); byRequest(r) })
		}, Pass, AlertRang, ""},
	} {
		a := promising(DoneAndUndone)
		a.h.Demanded.AcceptWeak = true
		tc.set(a)
		if got := a.judged(); got.Status != tc.status || got.Alert != tc.kind || !strings.Contains(got.Detail, tc.detail) {
			t.Errorf("%s: %s, %s: %q; want %s, %s: %q", tc.claim, got.Status, got.Alert, got.Detail, tc.status, tc.kind, tc.detail)
		}
	}
}
