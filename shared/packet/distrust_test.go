package packet

import (
	"errors"
	"fmt"
	"io"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/auditcanary/auditcanary/shared/canary"
	"github.com/auditcanary/auditcanary/shared/ledger"
	"github.com/auditcanary/auditcanary/shared/run"
	"github.com/auditcanary/auditcanary/shared/trail"
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
	if said := strings.Join(r.Verified, "\n"); !strings.Contains(said, "5 verdicts, judged anew") {
		t.Errorf("verdicts of later periods are judged anew:\n%s", said)
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
	f = f.with(verdictsFile, append([]byte("X"), f.get(verdictsFile)[1:]...))
	if r := verifyBytes(t, f.pack(t), Trust{Keys: []string{b.vkey}}, VerifyOptions{}); r.Status != Broken || r.More == 0 {
		t.Errorf("%s with %d problems and %d more, want broken", r.Status, len(r.Problems), r.More)
	}
}

// grown is a packet of a whole ledger to which one more entry was written, by a
// builder who does not care what Build would refuse.
func grown(t *testing.T, b *book, o Options, e run.Entry) []byte {
	t.Helper()
	good := unpack(t, mustBuild(t, b, o))
	b.append(t, e)
	cp, err := b.log.Checkpoint(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	leaves := good.get(leavesFile)
	for leaf, err := range b.log.Entries(t.Context(), cp.Size-1, cp.Size) {
		if err != nil {
			t.Fatal(err)
		}
		leaves = append(append(slices.Clone(leaves), leaf.Data...), '\n')
	}
	whole := func(m *Manifest) {
		m.Ledger.Tree = treeOf(cp)
		m.Slice.End, m.Slice.Leaves = cp.Size, cp.Size
	}
	return good.with(leavesFile, leaves).with(proofFile, fmt.Appendf(nil, "%s\nleaves 0 %d\n", proofMagic, cp.Size)).with(checkpointFile, cp.Signed).
		without(t, b, o.Signer, func(int64) bool { return false }).resigned(t, o.Signer, whole).pack(t)
}

// TestWhatIsNoNameIsRefused: ids and places are read in terminals and spreadsheets,
// and everything that is kept of an entry has its limit.
func TestWhatIsNoNameIsRefused(t *testing.T) {
	long := strings.Repeat("x", maxText+1)
	plan := func(change func(*run.Plan)) run.Entry {
		p := run.Plan{Canary: canary.Canary{ID: "extra", Run: "extra", Scenario: testScenario.ID, ScenarioHash: testScenario.Hash, Target: testPlaces[0]}, Scenario: testScenario}
		change(&p)
		return run.Entry{Type: "planned", Run: "extra", Canary: "extra", Planned: &p}
	}
	for _, tc := range []struct {
		name  string
		entry run.Entry
		want  string
	}{
		{"a run with a line break", run.Entry{Type: "begun", Run: "a\nverified everything", Begun: &run.Begun{}}, BadEntry},
		{"a canary with an escape", run.Entry{Type: "verdict", Run: "a", Canary: "\x1b[2J", Verdict: &canary.Verdict{}}, BadEntry},
		{"an account with an escape", plan(func(p *run.Plan) { p.Canary.Target.Account = "\x1b]0;x\a" }), BadEntry},
		{"a region that is a formula", plan(func(p *run.Plan) { p.Canary.Target.Region = "=cmd" }), BadEntry},
		{"a scenario with a space", plan(func(p *run.Plan) { p.Canary.Scenario, p.Scenario.ID = "a b", "a b" }), BadEntry},
		{"a place that was listed", run.Entry{Type: "listed", Run: "a", Listed: &run.Listed{Target: canary.Target{Region: "a\rb"}}}, BadEntry},
		{"a long run", run.Entry{Type: "begun", Run: long, Begun: &run.Begun{}}, TooMuch},
		{"a long version", run.Entry{Type: "begun", Run: "a", Begun: &run.Begun{Version: long}}, TooMuch},
		{"a long category", plan(func(p *run.Plan) { p.Scenario.Category = long }), TooMuch},
		{"many controls", plan(func(p *run.Plan) { p.Scenario.Controls = make([]string, maxControls+1) }), TooMuch},
		{"a long title", plan(func(p *run.Plan) { p.Scenario.Title = strings.Repeat("x", maxTitle+1) }), TooMuch},
		{"a large key", run.Entry{Type: "public_key", PublicKey: &trail.PublicKey{DER: make([]byte, maxPublicKey+1)}}, TooMuch},
		{"a long chain", run.Entry{Type: "validated", Validated: &run.Validated{Chain: trail.Chain{Trail: long}}}, TooMuch},
		{"a long hash", run.Entry{Type: "blob", Blob: &run.Blob{SHA256: long}}, TooMuch},
	} {
		b := newMemoryBook(t)
		b.addRun(t, 1, true, testScenario)
		o := b.options(t)
		r := verifyBytes(t, grown(t, b, o, tc.entry), Trust{Keys: []string{b.vkey}}, VerifyOptions{})
		mustSay(t, tc.name, r, Broken, tc.want)
		if len(r.Problems) != 1 || r.Problems[0].Leaf == nil || r.Population != nil {
			t.Errorf("%s: went on: %+v", tc.name, r.Problems)
		}
		if _, err := Build(t.Context(), io.Discard, b.log, o); err == nil {
			t.Errorf("%s: a packet is built that nobody can verify", tc.name)
		}
	}
	// What is no id may be anything, and is made harmless where it is a cell.
	b := newMemoryBook(t)
	b.addRun(t, 1, true, testScenario)
	s := testScenario
	s.Hash = otherScenario.Hash
	s.Category = "=cmd|' /C calc'!A0\r\n"
	b.addRun(t, 1, true, s)
	packet := mustBuild(t, b, b.options(t))
	if text := string(unpack(t, packet).get(verdictsFile)); !strings.Contains(text, `,'=cmd|' /C calc'!A0,`) {
		t.Errorf("a cell is a formula: %s", text)
	}
	if err := verifyBytes(t, packet, Trust{Keys: []string{b.vkey}}, VerifyOptions{}).Err(); err != nil {
		t.Error(err)
	}
}

// TestThereIsALimitToEverythingThatIsCounted sets each limit to none.
func TestThereIsALimitToEverythingThatIsCounted(t *testing.T) {
	b := newMemoryBook(t)
	b.lie = func(e *run.Entry) {
		if e.Injected != nil {
			*e = run.Entry{V: 1, Type: "validated", Validated: &run.Validated{Chain: trail.Chain{Account: "1"}}}
		}
	}
	b.addRun(t, 1, true, testScenario)
	cp, err := b.log.Checkpoint(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for i := range reflect.TypeFor[limits]().NumField() {
		field := reflect.TypeFor[limits]().Field(i).Name
		for _, least := range []bool{false, true} {
			st := newState(Period{}, newAside(nil, 1), func(string, int64, string, ...any) {})
			st.custody = newCustody(st.aside.room)
			if least {
				st.limits = without(st.limits, field)
			}
			var err error
			for leaf, readErr := range b.log.Entries(t.Context(), 0, cp.Size) {
				if readErr != nil {
					t.Fatal(readErr)
				}
				e, readErr := readEntry(leaf.Data)
				if readErr != nil {
					t.Fatal(readErr)
				}
				if err = st.take(leaf.Index, e); err != nil {
					break
				}
			}
			if err == nil {
				err = st.verdicts(io.Discard)
			}
			var f *Fault
			if least != (errors.As(err, &f) && f.Name == TooMuch && errors.Is(err, ledger.ErrBroken)) {
				t.Errorf("%s, none allowed %t: %v", field, least, err)
			}
		}
	}
}

// without allows none of one kind.
func without(l limits, field string) limits {
	for name, n := range map[string]*int{
		"runs": &l.runs, "scenarios": &l.scenarios, "places": &l.places, "canaries": &l.canaries, "chains": &l.chains, "blobs": &l.blobs, "keys": &l.keys,
		"pairs": &l.pairs, "names": &l.names, "lines": &l.lines, "evidence": &l.evidence, "aside": &l.aside, "checked": &l.checked,
	} {
		if name == field {
			*n = 0
		}
	}
	return l
}

// TestNothingIsReadOfAStranger: whoever's key is not trusted cannot have us read his
// entries, and so not use our memory.
func TestNothingIsReadOfAStranger(t *testing.T) {
	b := newMemoryBook(t)
	id := b.addRun(t, 2, true, testScenario)
	packet := mustBuild(t, b, b.options(t))
	other, _, err := ledger.GenerateKey("somebody")
	if err != nil {
		t.Fatal(err)
	}
	vkey, err := ledger.VerifierKey(other)
	if err != nil {
		t.Fatal(err)
	}
	for name, trust := range map[string]Trust{"no key": {}, "another key": {Keys: []string{vkey}}} {
		asked := false
		r := verifyBytes(t, packet, trust, VerifyOptions{Rejudge: true, Explain: id + "-01", Compile: func([]string) ([]canary.Rule, error) { asked = true; return nil, nil }})
		mustSay(t, name, r, Untrusted, UntrustedKey)
		if r.Population != nil || r.Explained != nil || asked || strings.Contains(strings.Join(r.Verified, "\n"), "entries in the packet") {
			t.Errorf("%s: the entries were read: %q", name, r.Verified)
		}
		if said := strings.Join(r.NotVerified, "\n"); !strings.Contains(said, "Anything that the entries say") {
			t.Errorf("%s: does not say that they were not:\n%s", name, said)
		}
	}
}

// stepsOf explains a canary: for each kind of step whether it is verified, and why.
func stepsOf(r Report, kind string) (verified bool, why string) {
	if r.Explained == nil {
		return false, "not explained"
	}
	for _, s := range r.Explained.Steps {
		if strings.HasPrefix(s.Text, kind) {
			return s.Verified, s.Why
		}
	}
	return false, "no such step"
}

// TestAStepWithAFaultIsNotVerified: neither by the tree that it is in nor by a
// signature over something else.
func TestAStepWithAFaultIsNotVerified(t *testing.T) {
	for _, tc := range []struct {
		name, step string
		lie        func(*run.Entry)
		verified   bool
		why        string
	}{
		{"all as it must be", "kept", func(*run.Entry) {}, true, "RSA signature"},
		{"a record that is another than is said", "found", func(e *run.Entry) {
			if e.Sighted != nil {
				e.Sighted.EventUID = "another"
			}
		}, false, "there is something wrong with it: the raw record is of event"},
		{"a plan of another canary", "planned", func(e *run.Entry) {
			if e.Planned != nil {
				e.Planned.Scenario.ID = "aws/another"
			}
		}, false, "there is something wrong with it: the plan of canary"},
		{"kept, and found elsewhere in the file", "kept", func(e *run.Entry) {
			if e.Kept != nil {
				e.Kept.At.Offset++
			}
		}, false, "no record that was found before it stands at that place"},
		{"a verdict on a record that is not there", "verdict", func(e *run.Entry) {
			if e.Verdict != nil {
				e.Verdict.Records[0].EventUID = "another"
			}
		}, false, "there is something wrong with it: the verdict of"},
	} {
		b := newMemoryBook(t)
		b.lie = tc.lie
		id := b.addRun(t, 1, true, testScenario)
		r := verifyBytes(t, mustBuild(t, b, b.options(t)), Trust{Keys: []string{b.vkey}}, VerifyOptions{Explain: id + "-01"})
		if verified, why := stepsOf(r, tc.step); verified != tc.verified || !strings.Contains(why, tc.why) {
			t.Errorf("%s: verified %t, %s; want %t, %s", tc.name, verified, why, tc.verified, tc.why)
		}
		// And nothing is said to be there that is not.
		complete := strings.Contains(strings.Join(r.Verified, "\n"), "records and receipts that each verdict")
		if missing := slices.Contains(names(r), MissingEvidence) || slices.Contains(names(r), BadRecord); complete == missing {
			t.Errorf("%s: says that all evidence is there: %t, and it is missing: %t", tc.name, complete, missing)
		}
	}
}

// TestItGoesOnOnlyByProof: that a packet names the pinned checkpoint proves nothing.
func TestItGoesOnOnlyByProof(t *testing.T) {
	b := newMemoryBook(t)
	b.addRun(t, 2, true, testScenario)
	o := b.options(t)
	o.Previous = checkpointOf(t, mustBuild(t, b, o))
	b.addRun(t, 2, true, testScenario)
	good := unpack(t, mustBuild(t, b, o))
	trust := Trust{Keys: []string{b.vkey}, Pin: o.Previous}
	const onward = "It goes on from the pinned checkpoint"
	r := verifyBytes(t, good.pack(t), trust, VerifyOptions{Rejudge: true})
	said := strings.Join(r.Verified, "\n")
	if !strings.Contains(said, onward) || !strings.Contains(said, "The ledger goes on from the checkpoint enclosed (20 entries)") {
		t.Errorf("does not say that it goes on:\n%s", said)
	}
	if !strings.Contains(said, "by the SLO in the manifest: pass within 15m0s, late within 1h0m0s") {
		t.Errorf("does not say by which SLO it judged:\n%s", said)
	}
	proof := string(good.get(consistencyFile))
	for name, bad := range map[string][]byte{
		"swapped": []byte(proof[len(proof)/45*45-45:] + proof[:len(proof)/45*45-45]),
		"empty":   {},
	} {
		r := verifyBytes(t, good.with(consistencyFile, bad).resigned(t, o.Signer, nil).pack(t), trust, VerifyOptions{})
		mustSay(t, name, r, Broken, BadConsistency)
		if strings.Contains(strings.Join(r.Verified, "\n"), onward) || !strings.Contains(strings.Join(r.NotVerified, "\n"), "goes on from the pinned checkpoint") {
			t.Errorf("%s: says that it goes on: %q", name, r.Verified)
		}
	}
}
