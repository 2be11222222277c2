package packet

import (
	"strings"
	"testing"

	"github.com/auditcanary/auditcanary/shared/canary"
	"github.com/auditcanary/auditcanary/shared/run"
)

// TestAnAlertThatRangIsInThePacket: a verdict that says so rests on what is there, and is
// given again from it.
func TestAnAlertThatRangIsInThePacket(t *testing.T) {
	for _, tc := range []struct {
		name string
		lie  func(*run.Entry)
		want string
	}{
		{"as it was", func(*run.Entry) {}, ""},
		{"an alert that is not there", func(e *run.Entry) {
			if e.Rang != nil {
				e.Rang.ID = "another"
			}
		}, MissingEvidence},
		{"nothing heard", func(e *run.Entry) {
			if e.Heard != nil {
				e.Heard.Alert = "another"
			}
		}, MissingEvidence},
		{"heard of another request", func(e *run.Entry) {
			if e.Heard != nil {
				e.Heard.Heard[0].Name = "another"
			}
		}, BadVerdict},
		{"heard later", func(e *run.Entry) {
			if e.Heard != nil {
				e.Heard.Heard[0].At = e.Heard.Heard[0].At.AddDate(0, 0, 1)
			}
		}, BadVerdict},
	} {
		b := newMemoryBook(t)
		b.rings, b.lie = true, tc.lie
		b.addRun(t, 2, true, testScenario)
		data := mustBuild(t, b, b.options(t))
		if tc.want != "" {
			mustSay(t, tc.name, verifyBytes(t, data, Trust{Keys: []string{b.vkey}}, VerifyOptions{Rejudge: true}), Broken, tc.want)
			continue
		}
		r := verifyBytes(t, data, Trust{Keys: []string{b.vkey}}, VerifyOptions{Rejudge: true})
		if r.Status != Verified {
			t.Fatalf("%s: %s, %+v", tc.name, r.Status, r.Problems)
		}
		state, _, err := run.Fold(t.Context(), b.log)
		if err != nil {
			t.Fatal(err)
		}
		cs := state.Canaries[0]
		if v, _ := cs.Verdict(); v.Checks[canary.Alerted].Status != canary.Pass {
			t.Fatalf("the verdict is %+v", v.Checks[canary.Alerted])
		}
		r = verifyBytes(t, data, Trust{Keys: []string{b.vkey}}, VerifyOptions{Explain: cs.Plan.Canary.ID})
		var text strings.Builder
		for _, step := range r.Explained.Steps {
			text.WriteString(step.Text + "\n")
		}
		for _, want := range []string{"alert changed arrived, id m-" + cs.Plan.Canary.ID, "listened for alert changed: 1 heard"} {
			if !strings.Contains(text.String(), want) {
				t.Errorf("the explanation does not say %q:\n%s", want, text.String())
			}
		}
	}
}

// TestAnAlertInThePacketSaysWhatTheVerdictSays: that one of its id is there is not enough,
// judged anew or not, and in whichever window its canary is.
func TestAnAlertInThePacketSaysWhatTheVerdictSays(t *testing.T) {
	for name, lie := range map[string]func(*run.Entry){
		"of another's request": func(e *run.Entry) { e.Rang.RequestIDs = []string{"another"} },
		"of nothing":           func(e *run.Entry) { e.Rang.RequestIDs = nil },
		"a month later":        func(e *run.Entry) { e.Rang.At = e.Rang.At.AddDate(0, 1, 0) },
		"suppressed":           func(e *run.Entry) { e.Rang.Suppressed = "archived" },
		"another alert's":      func(e *run.Entry) { e.Rang.Alert = "another" },
		"heard nothing":        func(e *run.Entry) { e.Heard.Heard = nil },
		"heard at a time":      func(e *run.Entry) { e.Heard.Heard[0].By = canary.ByTime },
		"heard suppressed":     func(e *run.Entry) { e.Heard.Heard[0].Suppressed = "archived" },
		"heard another's":      func(e *run.Entry) { e.Heard.Heard[0].Name = "another" },
		"after the verdict":    nil,
	} {
		b := newMemoryBook(t)
		var late []run.Entry
		b.rings, b.lie = true, func(e *run.Entry) {
			heardLie := strings.HasPrefix(name, "heard")
			switch {
			case lie == nil && e.Rang != nil:
				rang := *e.Rang
				late = append(late, run.Entry{Type: "rang", Run: e.Run, Canary: e.Canary, Rang: &rang})
				e.Rang.ID = "another"
			case lie != nil && (e.Rang != nil && !heardLie || e.Heard != nil && heardLie):
				lie(e)
			}
		}
		b.addRun(t, 2, true, testScenario)
		b.lie = nil
		if late != nil {
			b.append(t, late...)
		}
		mustSay(t, name, verifyBytes(t, mustBuild(t, b, b.options(t)), Trust{Keys: []string{b.vkey}}, VerifyOptions{}), Broken, MissingEvidence)
	}
}

// TestAnAlertHeardByTheRecordsEvent: what names the event of the record, and not the
// request, is the canary's as well.
func TestAnAlertHeardByTheRecordsEvent(t *testing.T) {
	event := func(e *run.Entry) string { return hashOf("event" + e.Canary)[:32] }
	for name, tc := range map[string]struct {
		heard func(e *run.Entry) string
		want  string
	}{
		"its own":     {event, ""},
		"another's":   {func(*run.Entry) string { return "another" }, MissingEvidence},
		"the request": {func(e *run.Entry) string { return hashOf(e.Canary + "disable")[:32] }, MissingEvidence},
	} {
		b := newMemoryBook(t)
		b.rings, b.lie = true, func(e *run.Entry) {
			if e.Rang != nil {
				e.Rang.RequestIDs, e.Rang.EventIDs = nil, []string{tc.heard(e)}
			}
			if e.Heard != nil {
				e.Heard.Heard[0].By, e.Heard.Heard[0].Name = canary.ByEvent, tc.heard(e)
			}
		}
		b.addRun(t, 2, true, testScenario)
		r := verifyBytes(t, mustBuild(t, b, b.options(t)), Trust{Keys: []string{b.vkey}}, VerifyOptions{})
		if tc.want == "" && r.Status != Verified {
			t.Errorf("%s: %s, %+v", name, r.Status, r.Problems)
		} else if tc.want != "" {
			mustSay(t, name, r, Broken, tc.want)
		}
	}
}

// TestAnAlertOfTwoControlsIsInThePacketOfEither: an alert that names two canaries is
// written down under one of them, and the packet of the other's control has it too.
func TestAnAlertOfTwoControlsIsInThePacketOfEither(t *testing.T) {
	b := newMemoryBook(t)
	b.rings = true
	b.lie = func(e *run.Entry) {
		if e.Rang != nil && strings.HasSuffix(e.Canary, "-02") {
			e.Canary = strings.TrimSuffix(e.Canary, "-02") + "-01"
			e.Rang.RequestIDs = append(e.Rang.RequestIDs, hashOf(e.Canary + "disable")[:32])
		}
	}
	b.addRun(t, 2, true, testScenario, otherScenario)
	for _, control := range []string{"", "soc2/*", "iso27017:2015/*"} {
		o := b.options(t)
		o.Control = control
		if r := verifyBytes(t, mustBuild(t, b, o), Trust{Keys: []string{b.vkey}}, VerifyOptions{Rejudge: true}); r.Status != Verified {
			t.Errorf("control %q: %s, %+v", control, r.Status, r.Problems)
		}
	}
}
