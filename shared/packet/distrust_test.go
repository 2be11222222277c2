package packet

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/auditcanary/auditcanary/shared/canary"
	"github.com/auditcanary/auditcanary/shared/run"
)

// What somebody looks for who distrusts the builder of a packet.

// judgedAnew has a canary fail by a later verdict.
func (b *book) judgedAnew(t testing.TB, runID, id string) (leaf int64) {
	t.Helper()
	v := canary.Verdict{Canary: id, AsOf: b.clock, Checks: map[canary.Check]canary.Answer{}}
	for _, c := range canary.Checks() {
		v.Checks[c] = canary.Answer{Status: canary.Fail, Detail: "the record is gone"}
	}
	cp, err := b.log.Checkpoint(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	b.append(t, run.Entry{Type: "verdict", Run: runID, Canary: id, Verdict: &v})
	return cp.Size
}

func failed(p *Population) (n int) {
	for _, pl := range p.Places {
		for _, c := range pl.Categories {
			n += c.Failed
		}
	}
	return n
}

// TestNoLaterVerdictCanBeLeftOut: neither one after the period, nor by calling the
// slice shorter than the ledger.
func TestNoLaterVerdictCanBeLeftOut(t *testing.T) {
	b := newMemoryBook(t)
	id := b.addRun(t, 4, true, testScenario, otherScenario)
	to := b.clock
	b.addRun(t, 4, true, testScenario, otherScenario)
	leaf := b.judgedAnew(t, id, id+"-01")
	b.addRun(t, 1, true, testScenario)
	trust := Trust{Keys: []string{b.vkey}}
	o := b.options(t)
	o.Period.To = to
	packet := mustBuild(t, b, o)
	r := verifyBytes(t, packet, trust, VerifyOptions{Rejudge: true, Explain: id + "-01"})
	if err := r.Err(); err != nil {
		t.Fatal(err)
	}
	if failed(r.Population) != 1 || !strings.Contains(string(unpack(t, packet).get(verdictsFile)), id+"-01,"+id+","+testScenario.ID+",keys,111122223333,us-east-1,fail") {
		t.Errorf("the later verdict is not what counts: %+v", r.Population)
	}
	if len(r.Population.Runs) != 1 || r.Population.Runs[0].Planned != 4 {
		t.Errorf("canaries of later periods are counted: %+v", r.Population.Runs)
	}
	if !slices.ContainsFunc(r.Explained.Steps, func(s Step) bool { return s.Leaf == leaf && strings.Contains(s.Text, "injected fail") }) {
		t.Errorf("not explained: %+v", r.Explained.Steps)
	}
	cheat := unpack(t, packet).without(t, b, o.Signer, func(at int64) bool { return at == leaf })
	mustSay(t, "the later verdict left out", verifyBytes(t, cheat.pack(t), trust, VerifyOptions{}), Incomplete, IncompleteSlice)
	omitted := int64(0)
	cheat = unpack(t, packet).without(t, b, o.Signer, func(at int64) bool {
		if at < leaf {
			return false
		}
		omitted++
		return true
	}).resigned(t, o.Signer, func(m *Manifest) { m.Slice.End, m.Slice.Omitted = leaf, m.Slice.Omitted-omitted })
	r = verifyBytes(t, cheat.pack(t), trust, VerifyOptions{})
	mustSay(t, "a slice that ends before it", r, Incomplete, IncompleteSlice)
	if said := strings.Join(r.Verified, "\n"); strings.Contains(said, "left out") {
		t.Errorf("says that nothing is left out:\n%s", said)
	}

	// With a control it cannot be told, and that is said.
	o.Control = "iso27017:2015/*"
	whole := mustBuild(t, b, o)
	if r := verifyBytes(t, whole, trust, VerifyOptions{}); r.Err() != nil || failed(r.Population) != 1 {
		t.Errorf("for a control: %v, %+v", r.Err(), r.Population)
	}
	cheat = unpack(t, whole).without(t, b, o.Signer, func(at int64) bool { return at == leaf }).resigned(t, o.Signer, func(m *Manifest) { m.Slice.Omitted-- })
	r = verifyBytes(t, cheat.pack(t), trust, VerifyOptions{})
	if said := strings.Join(r.NotVerified, "\n"); !strings.Contains(said, "later or other entries about them may have been left out") || !strings.Contains(said, "the last verdict in this packet") {
		t.Errorf("does not say what may be missing:\n%s", said)
	}
	if said := strings.Join(r.Verified, "\n"); strings.Contains(said, "left out") {
		t.Errorf("says that nothing is left out:\n%s", said)
	}
}

// TestClocksThatGoBack: what is of a period is told by clocks.
func TestClocksThatGoBack(t *testing.T) {
	for _, tc := range []struct {
		name string
		back time.Duration
		want Status
	}{{"a little, as between machines", 2 * time.Minute, Verified}, {"by hours", 5 * time.Hour, Incomplete}} {
		b := newMemoryBook(t)
		b.addRun(t, 2, true, testScenario)
		b.clock = b.clock.Add(-3*time.Hour - tc.back)
		b.addRun(t, 2, true, testScenario)
		o := b.options(t)
		o.Period.From = day.Add(-24 * time.Hour)
		r := verifyBytes(t, mustBuild(t, b, o), Trust{Keys: []string{b.vkey}}, VerifyOptions{})
		if tc.want == Incomplete {
			mustSay(t, tc.name, r, Incomplete, ClocksWentBack)
			if said := strings.Join(r.Verified, "\n"); strings.Contains(said, "left out") {
				t.Errorf("%s: says that nothing is left out:\n%s", tc.name, said)
			}
		} else if err := r.Err(); err != nil {
			t.Errorf("%s: %v", tc.name, err)
		}
		if said := strings.Join(r.NotVerified, "\n"); !strings.Contains(said, "rests on the clocks") {
			t.Errorf("%s: does not name the clocks:\n%s", tc.name, said)
		}
	}
}

// TestTheWorstProblemIsTheStatus, also where it is too far down to be listed.
func TestTheWorstProblemIsTheStatus(t *testing.T) {
	b := newMemoryBook(t)
	b.addRun(t, 1, true, testScenario)
	o := b.options(t)
	for i := range maxProblems + 20 {
		o.Attachments = append(o.Attachments, Attachment{"file" + string(rune('a'+i/26)) + string(rune('a'+i%26)), write([]byte("x"))})
	}
	f := unpack(t, mustBuild(t, b, o))
	for _, a := range o.Attachments {
		f = f.with(attachments+a.Name, nil)
	}
	f = f.with(populationFile, append(f.get(populationFile)[:10:10], f.get(populationFile)[11:]...))
	f = f.with(verdictsFile, append([]byte("X"), f.get(verdictsFile)[1:]...))
	if r := verifyBytes(t, f.pack(t), Trust{Keys: []string{b.vkey}}, VerifyOptions{}); r.Status != Broken || r.More == 0 {
		t.Errorf("%s with %d problems and %d more, want broken", r.Status, len(r.Problems), r.More)
	}
}
