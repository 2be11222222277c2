package run

import (
	"testing"
	"time"

	"github.com/auditcanary/auditcanary/shared/canary"
)

// TestWhenLookingAgainIsWorthIt walks one canary from its plan to its seal.
func TestWhenLookingAgainIsWorthIt(t *testing.T) {
	at := time.Date(2026, 11, 26, 8, 0, 0, 0, time.UTC)
	slo := canary.SLO{Pass: 15 * time.Minute, Late: time.Hour, Amend: 24 * time.Hour, Clock: 2 * time.Minute}
	r := &Run{SLO: slo, Keeping: canary.Keeping{Digested: 2 * time.Hour, Overdue: 24 * time.Hour}, Clock: func() time.Time { return at }}
	loc := canary.Location{Store: "central", Key: "k"}
	verdict := func(open bool, records ...canary.StepRecord) canary.Verdict {
		v := canary.Verdict{Canary: "r-01", Records: records, Checks: map[canary.Check]canary.Answer{}}
		for _, c := range canary.Checks() {
			v.Checks[c] = canary.Answer{Status: canary.Pass}
		}
		v.Checks[canary.Surfaced] = canary.Answer{Status: canary.Pass, Open: open}
		return v
	}
	blind := verdict(false)
	blind.Checks[canary.Surfaced] = canary.Answer{Status: canary.Inconclusive}
	record := canary.StepRecord{Step: "do", At: loc}
	stored := Sighted{Step: "do", At: loc, Stored: at.Add(5 * time.Minute)}
	sealed := canary.Custody{Step: "do", At: loc, Stored: stored.Stored, Looked: at, Required: r.Keeping, Seal: canary.Seal{Broken: "the digest names other bytes"}}
	for _, tc := range []struct {
		name     string
		injected bool
		verdicts []canary.Verdict
		custody  []canary.Custody
		after    time.Duration
		want     Outlook
	}{
		{"while it may still be injected", false, nil, nil, 5 * time.Minute, Outlook{Begun: true, Awaited: 1, Wait: 10 * time.Minute}},
		{"when whoever injected has died", false, nil, nil, 16 * time.Minute, Outlook{Begun: true, Awaited: 1}},
		{"injected", true, nil, nil, time.Minute, Outlook{Begun: true, Injected: true, Awaited: 1, Wait: 16 * time.Minute}},
		{"not in time", true, nil, nil, 20 * time.Minute, Outlook{Begun: true, Injected: true, Awaited: 1, Wait: 42 * time.Minute}},
		{"an open verdict is none", true, []canary.Verdict{verdict(true)}, nil, 20 * time.Minute, Outlook{Begun: true, Injected: true, Awaited: 1, Wait: 42 * time.Minute}},
		{"overdue, and nobody has said so", true, nil, nil, 70 * time.Minute, Outlook{Begun: true, Injected: true, Awaited: 1, Wait: 10 * time.Minute}},
		{"overdue for long", true, nil, nil, 93 * time.Minute, Outlook{Begun: true, Injected: true, Awaited: 1, Wait: 10 * time.Minute, GiveUp: true}},
		{"nothing was found", true, []canary.Verdict{verdict(false)}, nil, 70 * time.Minute, Outlook{Begun: true, Injected: true}},
		{"nobody could look", true, []canary.Verdict{blind}, nil, 20 * time.Minute, Outlook{Begun: true, Injected: true, Awaited: 1, Wait: 42 * time.Minute}},
		{"nobody could look, and its time is up", true, []canary.Verdict{blind}, nil, 62 * time.Minute, Outlook{Begun: true, Injected: true, Awaited: 1, Wait: 10 * time.Minute}},
		{"nobody could look, and that for long", true, []canary.Verdict{blind}, nil, 93 * time.Minute, Outlook{Begun: true, Injected: true}},
		{"found, and in no digest", true, []canary.Verdict{verdict(false, record)}, nil, 20 * time.Minute, Outlook{Begun: true, Injected: true, Awaited: 1, Wait: 107 * time.Minute}},
		{"the digest never came", true, []canary.Verdict{verdict(false, record)}, nil, 160 * time.Minute, Outlook{Begun: true, Injected: true, Awaited: 1, Wait: 10 * time.Minute, GiveUp: true}},
		{"the digest speaks against it", true, []canary.Verdict{verdict(false, record)}, []canary.Custody{sealed}, 20 * time.Minute, Outlook{Begun: true, Injected: true}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s := NewState()
			rs := &RunState{ID: "r", At: at, Injected: tc.injected}
			cs := &CanaryState{Plan: Plan{Canary: canary.Canary{ID: "r-01", Run: "r"}}, At: at, Run: rs, Verdicts: tc.verdicts, Sighted: []Sighted{stored}}
			cs.Evidence.Custody = tc.custody
			rs.Canaries, s.Canaries = []*CanaryState{cs}, []*CanaryState{cs}
			s.Runs, s.byRun["r"], s.byCanary["r-01"] = []*RunState{rs}, rs, cs
			if got := r.Outlook(s, "r", at.Add(tc.after)); got != tc.want {
				t.Errorf("%+v, want %+v", got, tc.want)
			}
			if tc.want.Settled() != (tc.want.Injected && tc.want.Awaited == 0) {
				t.Errorf("settled %v", tc.want.Settled())
			}
		})
	}
	if got := r.Outlook(NewState(), "r", at); got.Begun || got.Settled() || !got.GiveUp {
		t.Errorf("of a run that nobody knows: %+v", got)
	}
}
