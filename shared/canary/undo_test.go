package canary

import (
	"strings"
	"testing"
)

func TestAnUndoThatIsNotProvenIsRefused(t *testing.T) {
	undo := &Undo{Call: "iam:DeleteRole"}
	for name, c := range map[string]struct {
		step   Step
		proven string
		idle   bool
		want   string // "" it is proven, or none is needed
	}{
		"proven":                 {Step{Undo: undo}, "iam:DeleteRole", false, ""},
		"nothing to undo":        {Step{NoUndo: "it reads"}, "", false, ""},
		"idle, with the reason":  {Step{NoUndo: "a dry run"}, "iam:DeleteRole", true, ""},
		"idle, without a reason": {Step{}, "iam:DeleteRole", true, "no reason (no_undo)"},
		"both":                   {Step{Undo: undo, NoUndo: "it reads"}, "iam:DeleteRole", false, "and a reason why none is needed"},
		"none, and one is owed":  {Step{NoUndo: "it will not matter"}, "iam:DeleteRole", false, "must be undone by iam:DeleteRole"},
		"neither":                {Step{}, "", false, "no reason (no_undo)"},
		"one that is not needed": {Step{Undo: undo}, "", false, "leaves nothing to undo"},
		"another one":            {Step{Undo: undo}, "iam:DeleteUser", false, "is not proven to undo"},
	} {
		c.step.Call = "iam:CreateRole"
		err := c.step.ProveUndo(c.proven, c.idle)
		if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
	}
}
