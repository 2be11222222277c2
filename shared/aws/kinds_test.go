package aws

import (
	"slices"
	"testing"
)

// What a canary can leave behind must be found by listing, however it was lost.
func TestWhateverIsUndoneCanBeListed(t *testing.T) {
	listed := map[string]bool{}
	for _, k := range kinds {
		if len(k.undo) == 0 {
			t.Errorf("kind %q does not say what undoes it: while it cannot be listed, no canary can be proven", k.name)
		}
		for _, undo := range k.undo {
			listed[undo] = true
			if op, ok := operations[undo]; !ok || !op.restores {
				t.Errorf("kind %q is undone by %s, which no sweep may call", k.name, undo)
			}
		}
	}
	for name, op := range operations {
		if op.undo != "" && !listed[op.undo] {
			t.Errorf("%s is undone by %s, and no kind lists what it leaves", name, op.undo)
		}
		if op.restores && !listed[name] {
			t.Errorf("a sweep may call %s, and no kind asks for it", name)
		}
	}
	var names []string
	for _, k := range kinds {
		names = append(names, k.name)
	}
	slices.Sort(names)
	if n := len(slices.Compact(names)); n != len(kinds) {
		t.Errorf("%d names for %d kinds", n, len(kinds))
	}
}
