package run

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/auditcanary/auditcanary/shared/trail"
)

// validations folds entries of one chain, an hour of digests each unless they say otherwise.
func validations(t *testing.T, all ...Validated) ChainState {
	t.Helper()
	s := NewState()
	for _, v := range all {
		leaf, err := json.Marshal(Entry{V: 1, Type: "validated", Validated: &v})
		if err == nil {
			err = s.Apply(leaf)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	chains := s.Chains()
	if len(chains) != 1 {
		t.Fatalf("%d chains", len(chains))
	}
	return chains[0]
}

func TestWhatAnEarlierValidationFoundStaysUntilItIsGoneOverAgain(t *testing.T) {
	at := func(h int) time.Time { return time.Date(2026, 11, 1, h, 0, 0, 0, time.UTC) }
	chain := trail.Chain{Account: "111122223333", Region: "us-east-1", Trail: "org-trail"}
	over := func(from, first, last int, findings ...trail.Finding) Validated {
		v := Validated{Begun: at(last), Chain: chain, Counts: trail.Counts{Digests: last - first, Logs: 10 * (last - first)}, First: at(first), Last: at(last), Findings: findings}
		if from >= 0 {
			v.From = at(from)
		}
		v.Head = &trail.Head{Chain: chain, Link: trail.Link{Start: at(last - 1), End: at(last)}}
		return v
	}
	// further goes on from the head: its digest is read again, and not counted.
	further := func(head, last int, findings ...trail.Finding) Validated {
		v := over(-1, head-1, last, findings...)
		v.Counts = trail.Counts{Digests: last - head, Logs: 10 * (last - head)}
		return v
	}
	changed := trail.Finding{Kind: trail.LogChanged, Status: trail.Fail, Object: "s3://b/k", Detail: "its hash is another one", From: at(2), Until: at(3)}
	untimed := trail.Finding{Kind: trail.Stray, Status: trail.Fail, Object: "s3://b/stray"}
	nothing := Validated{Begun: at(9), Chain: chain, Findings: []trail.Finding{{Kind: trail.Unlisted, Status: trail.Inconclusive}}}
	late := nothing
	late.Begun, late.From, late.Findings = at(10), at(8), nil
	more := further(4, 5)
	more.More = map[trail.Status]int{trail.Fail: 3}

	for _, tt := range []struct {
		name        string
		all         []Validated
		findings    int
		first, last int
		digests     int
	}{
		{"one", []Validated{over(-1, 0, 4)}, 0, 0, 4, 4},
		{"one goes on from the other", []Validated{over(-1, 0, 4), further(4, 6)}, 0, 0, 6, 6},
		{"what the first one found is not forgotten", []Validated{over(-1, 0, 4, changed), further(4, 6)}, 1, 0, 6, 6},
		{"it was gone over again and is well", []Validated{over(-1, 0, 4, changed), further(4, 6), over(0, 0, 6)}, 0, 0, 6, 6},
		{"it was gone over again and is not", []Validated{over(-1, 0, 4, changed), over(0, 0, 4, changed)}, 1, 0, 4, 4},
		{"another hour was gone over again", []Validated{over(-1, 0, 4, changed), over(3, 3, 4)}, 1, 0, 4, 4},
		{"nothing new since", []Validated{over(-1, 0, 4), further(4, 4)}, 0, 0, 4, 4},
		{"what overlaps is not counted twice", []Validated{over(-1, 0, 4), over(3, 3, 6)}, 0, 3, 6, 3},
		{"a hole is not covered", []Validated{over(-1, 0, 4), over(6, 6, 8)}, 0, 6, 8, 2},
		{"what has no time counts within what was covered", []Validated{over(-1, 0, 4, untimed), further(4, 6)}, 1, 0, 6, 6},
		{"what was only counted counts as well", []Validated{over(-1, 0, 4), more, further(5, 6)}, 1, 0, 6, 6},
		{"what could not be found out is asked again from the head", []Validated{nothing, over(-1, 0, 4)}, 0, 0, 4, 4},
		{"and not by one that begins later", []Validated{nothing, late}, 1, -1, -1, 0},
	} {
		c := validations(t, tt.all...)
		covered := [2]time.Time{}
		if tt.first >= 0 {
			covered = [2]time.Time{at(tt.first), at(tt.last)}
		}
		if len(c.Findings) != tt.findings || c.First != covered[0] || c.Last != covered[1] || c.Counts.Digests != tt.digests || c.Times != len(tt.all) {
			t.Errorf("%s: %+v", tt.name, c)
		}
	}
}
