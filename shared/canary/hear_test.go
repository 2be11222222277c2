package canary

import (
	"slices"
	"testing"
	"time"
)

// keptBy says which of the claims a, b, c... are kept by what rang, weak as it is: by an
// alert of nobody else, that did not ring before the call.
func keptBy(rang []Rang, calls ...time.Duration) (kept []string) {
	var claims []Claim
	for i, after := range calls {
		claims = append(claims, Claim{
			Canary: string(rune('a' + i)), Promise: Promise{Alert: "x", On: OnAllowed}, Demanded: heeding,
			Calls: []Setoff{{Step: "s", RequestIDs: []string{"req-" + string(rune('a'+i))}, At: t0.Add(after)}},
		})
	}
	named := func(r Rang) (n Named) {
		for _, s := range r.Sessions {
			n.Canaries = append(n.Canaries, s[len(Marker)+1:])
		}
		return n
	}
	for i, heard := range Hear(claims, rang, named) {
		if slices.ContainsFunc(heard, func(x Heard) bool {
			return x.By.weak() && x.Rivals == 0 && x.Suppressed == "" && !x.At.Before(claims[i].Calls[0].At)
		}) {
			kept = append(kept, claims[i].Canary)
		}
	}
	return kept
}

func TestAnAlertOfSeveralSessionsServesNoMoreThanItCounts(t *testing.T) {
	of := func(count int, canaries ...string) Rang {
		r := Rang{Alert: "x", ID: "m-1", At: t0.Add(time.Minute), Count: count, Since: t0}
		for _, c := range canaries {
			r.Sessions = append(r.Sessions, Marker+"-"+c)
		}
		return r
	}
	for _, tc := range []struct {
		claim string
		rang  Rang
		want  []string
	}{
		{"one of one", of(1, "a"), []string{"a"}},
		{"one of two", of(1, "a", "b"), nil},
		{"two of two", of(2, "a", "b"), []string{"a", "b"}},
		{"two of three", of(2, "a", "b", "c"), nil},
		{"the same twice", of(1, "a", "a"), []string{"a"}},
	} {
		if got := keptBy([]Rang{tc.rang}, 0, 0, 0); !slices.Equal(got, tc.want) {
			t.Errorf("%s: kept are %q, want %q", tc.claim, got, tc.want)
		}
	}
}

// What rang before a call does not keep the next from being shared: it may be of it.
func TestAnAlertBeforeTheCallServesNobody(t *testing.T) {
	for _, tc := range []struct {
		claim string
		rang  []time.Duration
		want  []string
	}{
		{"one before the first call, and one after both", []time.Duration{-time.Minute, 2 * time.Minute}, nil},
		{"one after the first call, and one after both", []time.Duration{-time.Minute, 20 * time.Second, 2 * time.Minute}, []string{"a"}},
		{"one that only the first can be of, and one after both", []time.Duration{10 * time.Second, 5 * time.Minute}, []string{"a", "b"}},
	} {
		var rang []Rang
		for i, after := range tc.rang {
			rang = append(rang, Rang{Alert: "x", ID: string(rune('m' + i)), At: t0.Add(after)})
		}
		if got := keptBy(rang, 0, 3*time.Minute); !slices.Equal(got, tc.want) {
			t.Errorf("%s: kept are %q, want %q", tc.claim, got, tc.want)
		}
	}
}
