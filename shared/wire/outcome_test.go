package wire

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/auditcanary/auditcanary/shared/canary"
	"github.com/auditcanary/auditcanary/shared/ledger"
	"github.com/auditcanary/auditcanary/shared/run"
	"github.com/auditcanary/auditcanary/shared/vitals"
)

func TestARunsIDFollowsFromWhatBeganIt(t *testing.T) {
	started := time.Date(2026, 11, 26, 8, 0, 3, 0, time.UTC)
	id := func(given string, execution string, sweep bool) string {
		t.Helper()
		in := Input{Plan: true, Execution: execution, Started: started}
		if given != "" {
			if err := json.Unmarshal([]byte(given), &in.Given); err != nil {
				t.Fatal(err)
			}
		}
		out, err := itinerary(celled(t), in, sweep)
		if err != nil {
			t.Fatal(err)
		}
		if len(out.Cells) != 2 || out.Cells[0] != (Cell{"b", 0}) || out.Cells[1] != (Cell{"a", 1}) || !sweep && out.Canaries == 0 {
			t.Errorf("%+v", out)
		}
		return out.Run
	}
	const daily = `{"every":"daily","scheduled":"2026-11-26T08:00:00Z"}`
	first := id(daily, "arn:one", false)
	if !strings.HasPrefix(first, "20261126-") || len(first) != len("20261126-abcdef") {
		t.Errorf("run %q", first)
	}
	for _, tc := range []struct {
		name, given, execution string
		sweep, same            bool
	}{
		{"the schedule delivers twice", daily, "arn:two", false, true},
		{"another schedule at that time", `{"every":"weekly","scheduled":"2026-11-26T08:00:00Z"}`, "arn:one", false, false},
		{"the same a day later", `{"every":"daily","scheduled":"2026-11-27T08:00:00Z"}`, "arn:one", false, false},
		{"by hand", "", "arn:one", false, false},
		{"chosen", `{"run":"` + first + `"}`, "arn:three", false, true},
		{"after it was cancelled", `{"detail":{"executionArn":"arn:one","status":"ABORTED","startDate":1795680003000,"input":"{\"every\":\"daily\",\"scheduled\":\"2026-11-26T08:00:00Z\"}"}}`, "arn:sweep", true, true},
	} {
		if got := id(tc.given, tc.execution, tc.sweep); got == first != tc.same {
			t.Errorf("%s: %s, the first was %s", tc.name, got, first)
		}
	}
	if a, b := id("", "arn:one", false), id(`{"detail":{"executionArn":"arn:one","status":"TIMED_OUT","startDate":`+fmt.Sprint(started.UnixMilli())+`,"input":"{}"}}`, "arn:sweep", true); a != b {
		t.Errorf("begun as %s, swept as %s", a, b)
	}
	if got := id(`{"scheduled":"2026-11-26T08:52:00Z"}`, "arn:sweep", true); got != "" {
		t.Errorf("a sweep by the clock is of run %s", got)
	}
	// What somebody asked for takes place in its cell. Only that narrows a machine down: alarms
	// count runs and sweeps of every cell.
	for _, tc := range []struct {
		given string
		sweep bool
		want  Itinerary
	}{
		{`{"run":"20261126-abc234","asked":"slack:1","cell":"a"}`, false, Itinerary{Run: "20261126-abc234", Asked: "slack:1", Cell: "a", Cells: []Cell{{"a", 0}}}},
		{`{"detail":{"executionArn":"arn:one","status":"FAILED","startDate":1795680003000,"input":"{\"run\":\"20261126-abc234\",\"asked\":\"slack:1\",\"cell\":\"a\"}"}}`, true,
			Itinerary{Run: "20261126-abc234", Why: "the execution ended: FAILED", Cells: []Cell{{"b", 0}, {"a", 1}}}},
		{`{"run":"20261126-abc234","cell":"a"}`, true, Itinerary{Cells: []Cell{{"b", 0}, {"a", 1}}}},
	} {
		in := Input{Plan: true, Execution: "arn:one", Started: started}
		if err := json.Unmarshal([]byte(tc.given), &in.Given); err != nil {
			t.Fatal(err)
		}
		if out, err := itinerary(celled(t), in, tc.sweep); err != nil || fmt.Sprint(out) != fmt.Sprint(tc.want) {
			t.Errorf("%s: %+v, %v", tc.given, out, err)
		}
	}
	if out, err := itinerary(celled(t), Input{Plan: true, Execution: "arn:one", Started: started, Given: &Given{Run: "20261126-abc234", Cell: "a"}}, false); err != nil || out.Cell != "" || len(out.Cells) != 2 {
		t.Errorf("a cell by hand: %+v, %v", out, err)
	}
	if _, err := itinerary(celled(t), Input{Plan: true, Execution: "arn:one", Started: started, Given: &Given{Asked: "slack:1"}}, false); err == nil {
		t.Error("a command without its run")
	}
	if _, err := itinerary(celled(t), Input{Plan: true}, false); err == nil {
		t.Error("a run of nothing in particular has an id")
	}
}

// TestNoCellIsLeftOut: whatever did not come back was not run.
func TestNoCellIsLeftOut(t *testing.T) {
	c := celled(t)
	sum := func(canaries int, results ...CellResult) Whole {
		in := Input{Run: "r"}
		data, err := json.Marshal(map[string]any{"canaries": canaries, "cells": results})
		if err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal(data, &in.Whole); err != nil {
			t.Fatal(err)
		}
		return whole(c, in)
	}
	good := func(cell string) CellResult {
		return CellResult{Cell: cell, Tally: &Counts{Canaries: 3, Proven: 3}, Begun: true, Settled: true}
	}
	for _, tc := range []struct {
		name    string
		results []CellResult
		why     []string
		notRun  int
		awaited int
		exit    int
	}{
		{"all", []CellResult{good("a"), good("b")}, []string{}, 0, 0, 0},
		{"one is missing", []CellResult{good("a")}, []string{"b: nothing came back"}, 3, 0, 2},
		{"none came back", []CellResult{{Cell: "a"}, {Cell: "b"}}, []string{"a: it was not begun", "b: it was not begun"}, 6, 0, 2},
		{"one failed on the way", []CellResult{good("a"), {Cell: "b", Tally: &Counts{Canaries: 3, Proven: 2, Inconclusive: 1}, Begun: true, Settled: true, Error: "Lambda.Unknown"}}, []string{"b: Lambda.Unknown"}, 0, 0, 2},
		{"one could not even begin", []CellResult{good("a"), {Cell: "b", Tally: &Counts{}, Error: "States.Timeout"}}, []string{"b: States.Timeout"}, 3, 0, 2},
		{"something has not come", []CellResult{good("a"), {Cell: "b", Tally: &Counts{Canaries: 3, Proven: 3}, Begun: true}}, []string{}, 0, 1, 2},
		{"one that the configuration has no more", []CellResult{good("a"), good("b"), good("z")}, []string{}, 0, 0, 0},
	} {
		w := sum(6, tc.results...)
		if !slices.Equal(w.Why, tc.why) || w.Unfinished != len(tc.why) || w.Tally.NotRun != tc.notRun || w.Awaited != tc.awaited || w.ExitCode() != tc.exit {
			t.Errorf("%s: %+v, exit code %d", tc.name, w, w.ExitCode())
		}
		call := vitals.NewCall(time.Now(), slog.New(slog.DiscardHandler))
		tellWhole(call.With(t.Context()), w)
		if told := call.Numbers()[vitals.RunsWhole]; len(told) != 1 || (told[0] == 1) != (tc.exit == 0) {
			t.Errorf("%s: RunsWhole %v", tc.name, told)
		}
		if text := fmt.Sprintf("%+v", w.news(c, time.Now())); strings.Contains(text, fmt.Sprintf("in %d cells a record", tc.awaited)) != (tc.awaited > 0) {
			t.Errorf("%s: the chat is told %s", tc.name, text)
		}
	}
}

// TestAThousandCellsFitIntoAnExecution: 256 KiB is what a state may hold.
func TestAThousandCellsFitIntoAnExecution(t *testing.T) {
	result := CellResult{
		Cell: strings.Repeat("c", 32), Begun: true, Settled: true, Leftovers: 99, Error: "Lambda.TooManyRequestsException",
		Tally: &Counts{9999, 9999, 9999, 9999, 9999, 9999, 9999, 999},
	}
	one, err := json.Marshal(result)
	if err != nil {
		t.Fatal(err)
	}
	const rest = 1000 // run, cadence, number of canaries
	if size := maxCells*(len(one)+1) + rest; size > 256<<10 {
		t.Errorf("%d cells of %d bytes are %d: more than Step Functions carries", maxCells, len(one), size)
	}
	cell, err := json.Marshal(Cell{strings.Repeat("c", 32), maxCells})
	if err != nil || maxCells*(len(cell)+1)+rest > 256<<10 {
		t.Errorf("the plan's cells are %d bytes each, %v", len(cell), err)
	}
}

// TestNobodyLooksForEver: whatever the clocks say, an execution ends.
func TestNobodyLooksForEver(t *testing.T) {
	now := time.Date(2026, 11, 26, 8, 0, 0, 0, time.UTC)
	state := run.NewState()
	for _, e := range []run.Entry{
		{Type: "begun", Run: "r", Begun: &run.Begun{Canaries: 1}},
		{Type: "planned", Run: "r", Canary: "r-01", Planned: &run.Plan{Canary: canary.Canary{ID: "r-01", Run: "r"}}},
		{Type: "injected", Run: "r", Injected: &run.Injected{}},
	} {
		e.V, e.At = 1, now
		leaf, err := json.Marshal(e)
		if err != nil {
			t.Fatal(err)
		}
		if err := state.Apply(leaf); err != nil {
			t.Fatal(err)
		}
	}
	c := celled(t)
	r := &run.Run{SLO: c.CanarySLO(), Clock: func() time.Time { return now }}
	for _, tc := range []struct {
		looks  int
		giveUp bool
	}{{-1, false}, {0, false}, {maxLooks - 2, false}, {maxLooks - 1, true}} {
		o := outcomeOf(r, c, state, ledger.Checkpoint{}, Input{Run: "r", Looks: tc.looks})
		if o.GiveUp != tc.giveUp || o.Settled || !o.Begun || !o.Injected || o.Looks != tc.looks+1 || o.WaitSeconds < 1 || o.Tally.Canaries != 1 || o.Tally.Proven != 0 {
			t.Errorf("after %d looks: %+v", tc.looks, o)
		}
	}
	if o := outcomeOf(r, c, state, ledger.Checkpoint{}, Input{Run: "of nobody"}); o.Begun || o.Settled || !o.GiveUp || o.Tally != (Counts{}) {
		t.Errorf("a run that never began: %+v", o)
	}
}

// TestOnlyWholeRunsOfTheScheduleFeedTheDeadMansSwitch: not what somebody asked for, nor a cell.
func TestOnlyWholeRunsOfTheScheduleFeedTheDeadMansSwitch(t *testing.T) {
	t.Setenv("AUDITCANARY_CONFIG", "testdata/good.yaml")
	report := ReportFunction()
	for input, want := range map[string]int{
		`{"run": "20261126-abc234", "whole": {"canaries": 0, "cells": []}}`:                     1,
		`{"run": "20261126-abc234", "asked": "slack:1", "whole": {"canaries": 0, "cells": []}}`: 0,
	} {
		call := vitals.NewCall(time.Now(), slog.New(slog.DiscardHandler))
		if _, err := report(call.With(t.Context()), json.RawMessage(input)); err != nil {
			t.Fatal(err)
		}
		if told := call.Numbers()[vitals.RunsWhole]; len(told) != want {
			t.Errorf("%s: RunsWhole %v", input, told)
		}
	}
}
