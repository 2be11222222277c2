// Package pattern holds event patterns against an independent matcher.
package pattern

import (
	"encoding/json"
	"fmt"
	"slices"
	"testing"

	"github.com/timbray/quamina"
	"pgregory.net/rapid"

	"github.com/auditcanary/auditcanary/shared/pattern"
)

var (
	names  = []string{"a", "b", "c"}
	values = []any{"", "a", "ab", "abc", "b", 5, 6, true, false, nil}
)

// event of objects, lists of objects, lists of values, and values.
func event(t *rapid.T, label string, depth int) map[string]any {
	out := map[string]any{}
	value := func(label string) any { return rapid.SampledFrom(values).Draw(t, label) }
	for _, n := range rapid.SliceOfNDistinct(rapid.SampledFrom(names), 1, 3, rapid.ID).Draw(t, label+"names") { // quamina reads no empty object
		kind := rapid.IntRange(0, 5).Draw(t, label+n)
		switch {
		case kind == 0 && depth < 2:
			out[n] = event(t, label+n, depth+1)
		case kind == 1 && depth < 2:
			out[n] = []any{event(t, label+n+"0", depth+1), event(t, label+n+"1", depth+1)}
		case kind == 2:
			out[n] = []any{value(label + n + "l0"), value(label + n + "l1")}
		default:
			out[n] = value(label + n + "v")
		}
	}
	return out
}

// fields in both spellings: a wildcard with one star is quamina's shellstyle.
func fields(t *rapid.T, label string, depth int) (ours, theirs map[string]any) {
	ours, theirs = map[string]any{}, map[string]any{}
	for _, n := range rapid.SliceOfNDistinct(rapid.SampledFrom(names), 1, 2, rapid.ID).Draw(t, label+"names") {
		if depth < 2 && rapid.Bool().Draw(t, label+n+"deep") {
			ours[n], theirs[n] = fields(t, label+n, depth+1)
			continue
		}
		switch rapid.IntRange(0, 3).Draw(t, label+n+"op") {
		case 0:
			// Of exists: false beside other fields this version of quamina is not right: it
			// takes {"a":[{"exists":false}],"b":[{"exists":true}]} to match {"c":1}.
			tests := []any{map[string]any{"exists": true}}
			ours[n], theirs[n] = tests, tests
		case 1:
			tests := []any{map[string]any{"anything-but": rapid.SliceOfNDistinct(rapid.SampledFrom([]string{"a", "ab", "x"}), 1, 2, rapid.ID).Draw(t, label+n+"but")}}
			ours[n], theirs[n] = tests, tests
		case 2:
			glob := rapid.SampledFrom([]string{"a*", "*b", "a*c", "*"}).Draw(t, label+n+"glob")
			ours[n], theirs[n] = []any{map[string]any{"wildcard": glob}}, []any{map[string]any{"shellstyle": glob}}
		default:
			tests := rapid.SliceOfNDistinct(rapid.SampledFrom(values), 1, 2, rapid.ID).Draw(t, label+n+"exact")
			ours[n], theirs[n] = tests, tests
		}
	}
	return ours, theirs
}

func TestEventPatternsAgreeWithQuamina(t *testing.T) {
	agreed := map[bool]int{}
	rapid.Check(t, func(t *rapid.T) {
		ours, theirs := fields(t, "p", 0)
		p, err := pattern.ParseEventPattern(text(ours))
		if err != nil {
			t.Fatalf("%s: %v", text(ours), err)
		}
		q, err := quamina.New()
		if err != nil {
			t.Fatal(err)
		}
		if err := q.AddPattern("p", text(theirs)); err != nil {
			t.Fatalf("quamina: %s: %v", text(theirs), err)
		}
		for i := range 40 {
			doc := text(event(t, fmt.Sprint("e", i), 0))
			v, err := pattern.Decode([]byte(doc))
			if err != nil {
				t.Fatal(err)
			}
			names, err := q.MatchesForEvent([]byte(doc))
			if err != nil {
				t.Fatalf("quamina: %s: %v", doc, err)
			}
			want, got := slices.Contains(names, quamina.X("p")), p.Match(v)
			if got.Truth == pattern.Undecided { // what EventBridge does not document
				continue
			}
			if (got.Truth == pattern.Yes) != want {
				t.Fatalf("%s of %s: %+v, quamina says %v", text(ours), doc, got, want)
			}
			agreed[want]++
		}
	})
	if agreed[true] < 50 || agreed[false] < 50 {
		t.Errorf("agreed on %v: the test shows nothing", agreed)
	}
}

func text(v any) string {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return string(b)
}
