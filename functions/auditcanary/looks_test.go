package main

import (
	"bytes"
	"testing"

	"github.com/auditcanary/auditcanary/shared/canary"
	"github.com/auditcanary/auditcanary/shared/run"
)

// Who approves a plan sees what is read, and what would keep it from being attempted.
func TestThePlanShowsWhatIsLookedAt(t *testing.T) {
	s := canary.Scenario{ID: "aws/x", Steps: []canary.Step{{
		ID: "delete", ByState: "it answers with success anyway",
		Protection: []canary.Protection{{Requires: []string{"reply.Mine"}, Expect: []string{"reply.Locked", "a\x1b[2Jb"}}},
	}}}
	ps := run.PlannedStep{Step: "delete", Looks: []canary.Call{{Operation: "x:GetLock", Region: "eu-west-1", Params: map[string]any{"Name": "n"}}}}
	var out bytes.Buffer
	if err := printLooks(&out, s, ps); err != nil {
		t.Fatal(err)
	}
	want := `    looks  x:GetLock {"Name":"n"} in eu-west-1, before and after
           or nothing is attempted, inconclusive: reply.Mine
           or nothing is attempted, and that fails: reply.Locked
           or nothing is attempted, and that fails: ` + printable("a\x1b[2Jb") + `
    judged by what is there after it, should success be answered: it answers with success anyway
`
	if out.String() != want {
		t.Errorf("got:\n%s\nwant:\n%s", out.String(), want)
	}
}
