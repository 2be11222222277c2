package aws

import (
	"errors"
	"slices"
	"testing"

	"github.com/auditcanary/auditcanary/shared/canary"
	"github.com/auditcanary/auditcanary/shared/run"
)

// A fixture that is not configured keeps the listing from what only it would show,
// and the listing says so: whoever made such a thing is not called clean by it.
func TestAKindWithoutItsFixtureIsSaidToBeUnlisted(t *testing.T) {
	at := canary.Target{Provider: "aws", Account: testAccount, Region: "eu-west-1"}
	full := testTarget()
	for _, tt := range []struct {
		claim    string
		fixtures map[string]string
		want     map[string][]string // kind -> what would undo it
	}{
		{"all are configured", full.Fixtures["eu-west-1"], map[string][]string{}},
		{"no key is", nil, map[string][]string{"kms key disabled": {"kms:EnableKey"}, "kms key to be deleted": {"kms:CancelKeyDeletion", "kms:EnableKey"}}},
		{"the other key shows what was disabled", map[string]string{"kms_key": "k"}, map[string][]string{"kms key to be deleted": {"kms:CancelKeyDeletion"}}},
	} {
		t.Run(tt.claim, func(t *testing.T) {
			target := testTarget()
			target.Fixtures = map[string]map[string]string{"*": full.Fixtures["*"], "eu-west-1": tt.fixtures}
			due, skipped := dueKinds(target, at)
			got := map[string][]string{}
			for _, err := range skipped {
				var u *run.UnlistedError
				if !errors.As(err, &u) || !errors.Is(err, run.ErrNotConfigured) || len(u.Undo) == 0 {
					t.Fatalf("%v", err)
				}
				got[u.Kind] = u.Undo
			}
			for kind, undo := range tt.want {
				if !slices.Equal(got[kind], undo) {
					t.Errorf("%s is unlisted for %v, want %v", kind, got[kind], undo)
				}
			}
			for _, k := range due {
				if got[k.name] != nil {
					t.Errorf("%s is listed, and said not to be", k.name)
				}
			}
			if len(tt.want) == 0 && len(skipped) > 0 {
				t.Errorf("skipped: %v", skipped)
			}
		})
	}
}

// What a canary can leave behind must be found by listing, however it was lost.
func TestWhateverIsUndoneCanBeListed(t *testing.T) {
	listed := map[string]bool{}
	for _, k := range kinds() {
		if len(k.undo) == 0 {
			t.Errorf("kind %q does not say what undoes it: while it cannot be listed, no canary can be proven", k.name)
		}
		for _, undo := range k.undo {
			listed[undo] = true
			if op, ok := operations()[undo]; !ok || !op.restores {
				t.Errorf("kind %q is undone by %s, which no sweep may call", k.name, undo)
			}
		}
	}
	for name, op := range operations() {
		if op.undo != "" && !listed[op.undo] {
			t.Errorf("%s is undone by %s, and no kind lists what it leaves", name, op.undo)
		}
		if op.restores && !listed[name] {
			t.Errorf("a sweep may call %s, and no kind asks for it", name)
		}
	}
	var names []string
	for _, k := range kinds() {
		names = append(names, k.name)
	}
	slices.Sort(names)
	if n := len(slices.Compact(names)); n != len(kinds()) {
		t.Errorf("%d names for %d kinds", n, len(kinds()))
	}
}
