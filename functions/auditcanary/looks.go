package main

import (
	"encoding/json"
	"fmt"
	"io"
	"slices"

	"github.com/auditcanary/auditcanary/shared/canary"
	"github.com/auditcanary/auditcanary/shared/run"
)

// printLooks says what is read before and after an attempt, and what of it must hold.
func printLooks(w io.Writer, s canary.Scenario, ps run.PlannedStep) error {
	i := slices.IndexFunc(s.Steps, func(st canary.Step) bool { return st.ID == ps.Step })
	for n, look := range ps.Looks {
		params, err := json.Marshal(look.Params)
		if err != nil {
			return fmt.Errorf("plan %s step %s look: %w", s.ID, ps.Step, err)
		}
		fmt.Fprintf(w, "    looks  %s %s in %s, before and after\n", look.Operation, printable(string(params)), look.Region)
		if i < 0 || n >= len(s.Steps[i].Protection) {
			continue
		}
		for _, expr := range s.Steps[i].Protection[n].Requires {
			fmt.Fprintf(w, "           or nothing is attempted, inconclusive: %s\n", printable(expr))
		}
		for _, expr := range s.Steps[i].Protection[n].Expect {
			fmt.Fprintf(w, "           or nothing is attempted, and that fails: %s\n", printable(expr))
		}
	}
	if i >= 0 && s.Steps[i].ByState != "" {
		fmt.Fprintf(w, "    judged by what is there after it, should success be answered: %s\n", printable(s.Steps[i].ByState))
	}
	return nil
}
