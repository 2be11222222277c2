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
