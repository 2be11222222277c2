package main

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/auditcanary/auditcanary/shared/canary"
	"github.com/auditcanary/auditcanary/shared/run"
	"github.com/auditcanary/auditcanary/shared/wire"
)

func promiseOf(alert string) canary.Promise {
	return canary.Promise{Alert: alert, On: canary.OnAllowed}
}

func alertLineOf(alerts ...canary.AlertAnswer) run.Line {
	checks := map[canary.Check]canary.Answer{canary.Alerted: {Status: canary.NotRun, Alerts: alerts}}
	return run.Line{ID: "c-01", Scenario: "aws/a", Target: "111122223333", Region: "us-east-1", Checks: checks, Records: []run.LineRecord{{}}}
}

func TestWhatBecameOfEachAlertIsALine(t *testing.T) {
	after := 42.4
	rang := canary.AlertAnswer{Promise: promiseOf("permissions-changed"), Kind: canary.AlertRang, Status: canary.Pass, Rang: time.Date(2026, 11, 26, 10, 0, 42, 0, time.UTC), LatencySeconds: &after}
	silent := canary.AlertAnswer{Promise: promiseOf("keys-changed"), Kind: canary.AlertSilent, Status: canary.Fail, Detail: "it did not\n\x1b[2Jring"}
	awaited := canary.AlertAnswer{Promise: promiseOf("keys-changed"), Kind: canary.AlertAwaited, Status: canary.NotRun, Open: true, Detail: "waiting"}
	suppressed := canary.AlertAnswer{Promise: promiseOf("keys-changed"), Kind: canary.AlertSuppressed, Status: canary.Fail, Open: true, Detail: "archived so far"}
	for _, tc := range []struct {
		alerts []canary.AlertAnswer
		code   int
		want   []string
	}{
		{[]canary.AlertAnswer{rang}, 0, []string{"permissions-changed allowed c-01 aws/a 111122223333/us-east-1 pass 2026-11-26T10:00:42Z 42s rang", "1 of 1 promised alerts rang in time."}},
		{[]canary.AlertAnswer{rang, silent}, 1, []string{"FAIL - - silent: it did not\uFFFD\uFFFD[2Jring", "1 of 2 promised alerts rang in time, 1 failed."}},
		{[]canary.AlertAnswer{rang, awaited}, 2, []string{"waiting - - awaited: waiting", "1 of 2 promised alerts rang in time, 1 awaited or not listened for."}},
		{[]canary.AlertAnswer{rang, suppressed}, 2, []string{"waiting - - suppressed: archived so far", "1 of 2 promised alerts rang in time, 1 awaited or not listened for."}},
		{nil, 2, []string{"0 of 0 promised alerts rang in time."}},
	} {
		s := alertsOf(run.Summary{Canaries: []run.Line{alertLineOf(tc.alerts...)}})
		var b bytes.Buffer
		if err := printAlerts(&b, s); err != nil {
			t.Fatal(err)
		}
		for _, want := range tc.want {
			if !strings.Contains(strings.Join(strings.Fields(b.String()), " "), want) {
				t.Errorf("the table does not say %q:\n%s", want, b.String())
			}
		}
		if code := s.exitCode(); code != tc.code {
			t.Errorf("%d alerts: exit code %d, want %d", len(tc.alerts), code, tc.code)
		}
	}
}

func TestWhyAlertsAreNotRunIsSaidOnceWithTheirNames(t *testing.T) {
	nobody := func(name string) canary.AlertAnswer {
		return canary.AlertAnswer{Promise: promiseOf(name), Kind: canary.AlertAwaited, Status: canary.NotRun, Detail: "nobody has listened for it"}
	}
	var b bytes.Buffer
	lines := []run.Line{alertLineOf(nobody("b")), alertLineOf(nobody("a")), alertLineOf(nobody("b"))}
	printNotRun(&b, run.Summary{Canaries: lines, Tally: run.Tally{Checks: map[canary.Check]map[canary.Status]int{canary.Alerted: {canary.NotRun: 3}}}})
	if want := "\nalerted is not run for 3 canaries (shown as -): a, b: nobody has listened for it\n"; b.String() != want {
		t.Errorf("%q, want %q", b.String(), want)
	}
}

func TestThePlanSaysWhereAlertsArrive(t *testing.T) {
	cfg := &wire.Config{Alerts: []wire.Alert{{
		Name: "keys-changed", AcceptWeak: true, Scenarios: []string{"aws/*"}, Within: wire.Duration{Duration: time.Minute}, Late: wire.Duration{Duration: time.Hour},
		CloudWatchAlarm: &wire.AlertAlarm{Where: wire.Where{Account: "111122223333", Region: "us-east-1"}, Name: "keys"},
	}}}
	var b bytes.Buffer
	printPromised(&b, cfg, canary.Scenario{ID: "aws/a", Alerts: []canary.Promise{{Alert: "network-changed", On: canary.OnAllowed, Step: "open"}}})
	want := `  alert    network-changed on allowed by open: nobody listens for it: the configuration does not say where it arrives (alerts)
  alert    keys-changed on allowed: alarm keys in 111122223333/us-east-1, within 1m0s, late until 1h0m0s, accepted without the event's name
  alert    keys-changed on denied: alarm keys in 111122223333/us-east-1, within 1m0s, late until 1h0m0s, accepted without the event's name
`
	if b.String() != want {
		t.Errorf("the plan says\n%s\nwant\n%s", b.String(), want)
	}
}
