package report

import (
	"bytes"
	"fmt"
	"maps"
	"strings"
	"testing"
	"time"

	"github.com/auditcanary/auditcanary/shared/canary"
	"github.com/auditcanary/auditcanary/shared/run"
)

// heard adds to the example what was heard of an alert of one canary, as listening does.
func heard(t *testing.T, in Input, id string, h canary.Hearing) {
	t.Helper()
	j := &journal{t: t, state: in.State, at: day2.Add(2 * time.Hour)}
	cs := in.State.Canary(id)
	j.add(cs.Run.ID, id, "heard", run.Entry{Heard: &h})
	v, _ := cs.Verdict()
	v.Checks = maps.Clone(v.Checks)
	canary.Alert(&v, cs.Plan.Scenario, cs.Evidence)
	j.add(cs.Run.ID, id, "verdict", run.Entry{Verdict: &v})
}

func TestWhatBecameOfAlertsIsReported(t *testing.T) {
	in := exampleInput(t)
	demanded := &canary.Heeding{Within: 5 * time.Minute, Late: 30 * time.Minute, Clock: time.Minute}
	base := canary.Hearing{Listened: day2.Add(time.Hour), AsOf: day2.Add(time.Hour), Demanded: demanded}
	rang, silent := base, base
	rang.Promise = canary.Promise{Alert: "permissions-changed", On: canary.OnAllowed, Step: "create"}
	rang.Heard = []canary.Heard{{ID: "m-1", At: day2.Add(40 * time.Second), By: canary.ByRequest, Name: "req-20261102-bbbbbb-01-0", Step: "create"}}
	silent.Promise = canary.Promise{Alert: "tampering-refused", On: canary.OnDenied}
	heard(t, in, "20261102-bbbbbb-01", rang)
	heard(t, in, "20261102-bbbbbb-02", silent)
	for _, listens := range []bool{true, false} { // what is in the ledger counts, whatever is configured now
		in.Listens = listens
		r := New(in)
		if len(r.Alerts) != 2 || r.Absent["alerts"] != "" {
			t.Fatalf("alerts %+v, absent %q", r.Alerts, r.Absent["alerts"])
		}
		if a := r.Alerts[0]; a.Name != "permissions-changed" || a.Status != canary.Pass || a.Kind != canary.AlertRang || *a.LatencySeconds != 40 || a.Canary != "20261102-bbbbbb-01" {
			t.Errorf("the one that rang: %+v", a)
		}
		if a := r.Alerts[1]; a.Status != canary.Fail || a.Kind != canary.AlertSilent || a.On != canary.OnDenied {
			t.Errorf("the one that did not: %+v", a)
		}
		if l := r.Losses[len(r.Losses)-2]; l.Hop != canary.Announced || len(l.Canaries) != 1 {
			t.Errorf("losses %+v", r.Losses)
		}
		if h := r.Latency[len(r.Latency)-1]; h.Name != "alert" || len(h.Samples) != 1 || h.Max != 40 {
			t.Errorf("latency %+v", h)
		}
		var page bytes.Buffer
		if err := WriteHTML(&page, r); err != nil {
			t.Fatal(err)
		}
		for _, want := range []string{"1 of 2 promised alerts rang in time.", "<details open><summary>Each of them", "<small>silent</small>", "after 40 s", "5. Alerted", "tampering-refused"} {
			if !strings.Contains(page.String(), want) {
				t.Errorf("the page does not say %q", want)
			}
		}
	}
	in = exampleInput(t)
	in.Listens = true
	if r := New(in); len(r.Alerts) != 0 || r.Absent["alerts"] != "" {
		t.Errorf("nothing is promised: %+v, absent %q", r.Alerts, r.Absent["alerts"])
	}
}

func TestThePageListsAlertsThatDidNotRingFirst(t *testing.T) {
	var all []Alert
	for i := range maxAlerts + 5 {
		all = append(all, Alert{Canary: fmt.Sprint(i), Status: canary.Pass})
	}
	all[maxAlerts+4].Status = canary.Fail
	rows, more, say := alertRows(all)
	if len(rows) != maxAlerts || more != 5 || rows[0].Status != canary.Fail || rows[1].Canary != "0" || !strings.HasPrefix(say, "204 of 205") {
		t.Errorf("%d rows, %d more, first %+v, %s", len(rows), more, rows[0], say)
	}
}
