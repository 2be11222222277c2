package packet

import (
	"slices"
	"testing"
	"time"
)

func TestAPacketVerifies(t *testing.T) {
	b := newBook(t, &memory{objects: map[string][]byte{}})
	b.addRun(t, 7, true, testScenario)
	first := mustBuild(t, b, b.options(t))
	b.addRun(t, 12, true, testScenario, otherScenario)
	o := b.options(t)
	signed, err := b.log.Checkpoint(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	_ = signed
	o.Previous = checkpointOf(t, first)
	second := mustBuild(t, b, o)
	r := verifyBytes(t, second, Trust{Keys: []string{b.vkey}, Pin: o.Previous}, VerifyOptions{Rejudge: true, Explain: "20261122-run001-03"})
	if r.Status != Verified {
		t.Fatalf("%s: %+v", r.Status, r.Problems)
	}
	for _, s := range append(r.Verified, r.NotVerified...) {
		t.Log(s)
	}
	for _, s := range r.Explained.Steps {
		t.Log(s.Verified, s.Text, s.Why)
	}
	if !slices.Equal(second, mustBuild(t, b, o)) {
		t.Error("built a second time it has other bytes")
	}
	_ = time.Now
}
