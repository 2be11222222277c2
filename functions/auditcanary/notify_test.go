package main

import (
	"strings"
	"testing"

	"github.com/auditcanary/auditcanary/shared/ticket"
)

func TestNotifySaysALineForEachAct(t *testing.T) {
	var out strings.Builder
	printNotified(&out, ticket.Result{
		Tally: map[ticket.Condition]int{ticket.Failing: 2, ticket.Fixed: 1},
		Acts: []ticket.Done{
			{Act: "create", Key: "AC-1", URL: "https://desk.example/AC-1", Why: "aws/a at 1/r: surfaced does not pass"},
			{Act: "create", Why: "evil \x1b[2J\nname", Err: "no field \"Team\"\x07", Refused: true},
			{Act: "create", Key: "AC-2", Why: "made before", Adopted: true},
			{Act: "wait", Why: "left until later"},
		},
		Posts: []ticket.Told{{Mark: "auditcanary-run-r1", Kind: "run", Err: "channel is archived"}},
		Said:  []string{"something\nelse"},
	})
	want := `create          AC-1         aws/a at 1/r: surfaced does not pass
                             https://desk.example/AC-1
REFUSED create               evil �[2J�name
                             no field "Team"�
found           AC-2         made before
wait                         left until later
NOT POSTED      run          auditcanary-run-r1
                             channel is archived
something�else
2 acts on tickets, 0 messages done, 3 not done. Of what was ever wrong: 2 failing, 1 fixed.
`
	if out.String() != want {
		t.Errorf("got\n%s\nwant\n%s", out.String(), want)
	}
}
