package packet

import (
	"archive/zip"
	"bufio"
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/auditcanary/auditcanary/shared/canary"
	"github.com/auditcanary/auditcanary/shared/ledger"
	"github.com/auditcanary/auditcanary/shared/run"
	"github.com/auditcanary/auditcanary/shared/trail"
)

// files are what a packet holds, in order.
type files []struct {
	name string
	data []byte
}

func unpack(t testing.TB, packet []byte) files {
	t.Helper()
	z, err := zip.NewReader(bytes.NewReader(packet), int64(len(packet)))
	if err != nil {
		t.Fatal(err)
	}
	var all files
	for _, f := range z.File {
		r, err := f.Open()
		if err != nil {
			t.Fatal(err)
		}
		data, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, struct {
			name string
			data []byte
		}{f.Name, data})
	}
	return all
}

func (f files) pack(t testing.TB) []byte {
	t.Helper()
	var w bytes.Buffer
	z := newZip(&w)
	for _, one := range f {
		in, err := createMember(z, one.name)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := in.Write(one.data); err != nil {
			t.Fatal(err)
		}
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return w.Bytes()
}

func (f files) get(name string) []byte {
	for _, one := range f {
		if one.name == name {
			return one.data
		}
	}
	return nil
}

// with has other bytes under a name; nil drops the file.
func (f files) with(name string, data []byte) files {
	out := slices.Clone(f)
	i := slices.IndexFunc(out, func(one struct {
		name string
		data []byte
	}) bool {
		return one.name == name
	})
	if data == nil {
		return slices.Delete(out, i, i+1)
	}
	out[i].data = data
	return out
}

// resigned makes manifest, sums and signature anew, as somebody does who has a key
// that signs packets; edit may change the manifest first.
func (f files) resigned(t testing.TB, signer Signer, edit func(*Manifest)) files {
	t.Helper()
	var m Manifest
	if err := json.Unmarshal(f.get(manifestFile), &m); err != nil {
		t.Fatal(err)
	}
	for i, one := range m.Files {
		data := f.get(one.Name)
		m.Files[i] = File{one.Name, int64(len(data)), hashOf(string(data))}
	}
	if edit != nil {
		edit(&m)
	}
	manifest, err := encodeJSON(m)
	if err != nil {
		t.Fatal(err)
	}
	envelope, err := signManifest(t.Context(), manifest, Predicate{Ledger: m.Ledger}, signer)
	if err != nil {
		t.Fatal(err)
	}
	return f.with(manifestFile, manifest).with(sumsFile, sumsOf(m.Files, manifest)).with(envelopeFile, envelope)
}

// without leaves leaves out, and makes all that follows from the others anew, as a
// builder would that hides something.
func (f files) without(t testing.TB, b *book, signer Signer, drop func(leaf int64) bool) files {
	t.Helper()
	lines := bytes.SplitAfter(f.get(leavesFile), []byte("\n"))
	proof := &proofReader{in: bufio.NewReader(bytes.NewReader(f.get(proofFile)))}
	var kept bytes.Buffer
	var ranges []span
	var m Manifest
	if err := json.Unmarshal(f.get(manifestFile), &m); err != nil {
		t.Fatal(err)
	}
	st := newState(m.Period, newAside(nil, 1), func(string, int64, string, ...any) {})
	dropped := int64(0)
	for {
		s, err := proof.read()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		for i := s.first; i < s.first+s.count; i++ {
			line := lines[0]
			lines = lines[1:]
			if drop(i) {
				dropped++
				continue
			}
			kept.Write(line)
			ranges = append(ranges, span{i, i + 1})
			e, err := readEntry(bytes.TrimSuffix(line, []byte("\n")))
			if err != nil {
				t.Fatal(err)
			}
			if err := st.apply(i, e); err != nil {
				t.Fatal(err)
			}
		}
	}
	cp, err := b.log.Checkpoint(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var text, verdicts bytes.Buffer
	if err := writeProof(&text, stretches(slices.Values(ranges), cp.Size), b.log.Hashes(t.Context(), cp)); err != nil {
		t.Fatal(err)
	}
	if err := st.verdicts(&verdicts); err != nil {
		t.Fatal(err)
	}
	population, err := encodePopulation(st.population())
	if err != nil {
		t.Fatal(err)
	}
	return f.with(leavesFile, kept.Bytes()).with(proofFile, text.Bytes()).with(populationFile, population).with(verdictsFile, verdicts.Bytes()).
		resigned(t, signer, func(m *Manifest) {
			m.Slice.Leaves -= dropped
			m.Slice.Omitted += dropped
		})
}

func newMemoryBook(t testing.TB) *book {
	t.Helper()
	return newBook(t, &memory{objects: map[string][]byte{}})
}

// names of the problems of a report, each once.
func names(r Report) (all []string) {
	for _, p := range r.Problems {
		if !slices.Contains(all, p.Name) {
			all = append(all, p.Name)
		}
	}
	return all
}

// mustSay fails unless a packet has the status, and one of its problems the name.
func mustSay(t *testing.T, what string, r Report, status Status, name string) {
	t.Helper()
	if r.Status != status || !slices.Contains(names(r), name) {
		t.Errorf("%s: %s %v, want %s %s\n%+v", what, r.Status, names(r), status, name, r.Problems)
	}
}

func TestAPacketVerifies(t *testing.T) {
	b := newMemoryBook(t)
	b.addRun(t, 7, true, testScenario)
	first := mustBuild(t, b, b.options(t))
	run2 := b.addRun(t, 12, true, testScenario, otherScenario)
	o := b.options(t)
	o.Previous = checkpointOf(t, first)
	o.Attachments = []Attachment{{"report.html", write([]byte("<p>hello"))}}
	second := mustBuild(t, b, o)
	if again := mustBuild(t, b, o); !bytes.Equal(again, second) {
		t.Error("built a second time, the packet has other bytes")
	}
	for _, tc := range []struct {
		name  string
		trust Trust
	}{
		{"by the ledger's key", Trust{Keys: []string{b.vkey}}},
		{"by the key and an earlier packet", Trust{Keys: []string{b.vkey}, Pin: o.Previous}},
		{"by an earlier packet alone", Trust{Pin: o.Previous}},
		{"by its own checkpoint", Trust{Keys: []string{b.vkey}, Pin: checkpointOf(t, second)}},
	} {
		r := verifyBytes(t, second, tc.trust, VerifyOptions{Rejudge: true})
		if err := r.Err(); err != nil || r.ExitCode() != 0 {
			t.Errorf("%s: %v", tc.name, err)
		}
		said := strings.Join(r.Verified, "\n")
		for _, want := range []string{
			"All 129 entries in the packet are in the signed tree", "its first 50 entries are the same", "Nothing is left out",
			"19 canaries, runs: 2", "3 log files that records stand in", "19 verdicts, judged anew",
		} {
			if !strings.Contains(said, want) {
				t.Errorf("%s: does not say %q:\n%s", tc.name, want, said)
			}
		}
		if !strings.Contains(strings.Join(r.NotVerified, "\n"), "attachments/report.html is as it was signed") {
			t.Errorf("%s: takes the attachment for verified: %q", tc.name, r.NotVerified)
		}
	}
	r := verifyBytes(t, second, Trust{Keys: []string{b.vkey}}, VerifyOptions{Explain: run2 + "-03"})
	var steps []string
	for _, s := range r.Explained.Steps {
		steps = append(steps, fmt.Sprintf("%s:%t", strings.Fields(strings.ReplaceAll(s.Text, ":", ""))[0], s.Verified))
	}
	if want := "planned:true about:true kms:false the:false found:true kept:true verdict:true"; !strings.HasPrefix(strings.ReplaceAll(strings.Join(steps, " "), "kmsDisableKey", "kms"), want) {
		t.Errorf("explained as %q, want %q", steps, want)
	}
	mustSay(t, "a canary that is not there", verifyBytes(t, second, Trust{Keys: []string{b.vkey}}, VerifyOptions{Explain: "nobody"}), Incomplete, MissingEvidence)
}

// TestEveryChangeIsNoticed: each file of a packet is flipped, cut, put in from
// another ledger's packet and from an older one, dropped, and given twice.
func TestEveryChangeIsNoticed(t *testing.T) {
	b := newMemoryBook(t)
	b.addRun(t, 3, true, testScenario)
	zero := mustBuild(t, b, b.options(t))
	b.addRun(t, 3, true, testScenario)
	o := b.options(t)
	o.Previous = checkpointOf(t, zero)
	older := mustBuild(t, b, o)
	b.addRun(t, 4, true, testScenario, otherScenario)
	o.Previous = checkpointOf(t, older)
	packet := mustBuild(t, b, o)
	foreign, _, err := ledger.GenerateKey(testOrigin)
	if err != nil {
		t.Fatal(err)
	}
	c := newBookWith(t, &memory{objects: map[string][]byte{}}, foreign)
	c.addRun(t, 5, true, testScenario)
	zeroth := mustBuild(t, c, c.options(t))
	c.addRun(t, 5, true, testScenario)
	oc := c.options(t)
	oc.Previous = checkpointOf(t, zeroth)
	other := mustBuild(t, c, oc)

	trust := Trust{Keys: []string{b.vkey}}
	good := unpack(t, packet)
	if err := verifyBytes(t, good.pack(t), trust, VerifyOptions{}).Err(); err != nil {
		t.Fatal("packed anew without a change: ", err)
	}
	want := func(name string) string {
		switch name {
		case envelopeFile:
			return BadSignature
		default:
			return FileHash
		}
	}
	changed := 0
	for _, f := range good {
		for _, at := range []int{0, len(f.data) / 2, len(f.data) - 1} {
			for _, bit := range []byte{0x01, 0x80} {
				data := bytes.Clone(f.data)
				data[at] ^= bit
				mustSay(t, fmt.Sprintf("%s with byte %d flipped by %#x", f.name, at, bit), verifyBytes(t, good.with(f.name, data).pack(t), trust, VerifyOptions{}), Broken, want(f.name))
				changed++
			}
		}
		mustSay(t, f.name+" cut", verifyBytes(t, good.with(f.name, f.data[:len(f.data)-1]).pack(t), trust, VerifyOptions{}), Broken, want(f.name))
		mustSay(t, f.name+" emptied", verifyBytes(t, good.with(f.name, []byte{}).pack(t), trust, VerifyOptions{}), Broken, want(f.name))
		mustSay(t, f.name+" dropped", verifyBytes(t, good.with(f.name, nil).pack(t), trust, VerifyOptions{}), Incomplete, FileMissing)
		mustSay(t, f.name+" twice", verifyBytes(t, append(slices.Clone(good), struct {
			name string
			data []byte
		}{f.name, f.data}).pack(t), trust, VerifyOptions{}), Broken, ZipDuplicate)
		for from, p := range map[string][]byte{"another ledger's": other, "the older": older} {
			data := unpack(t, p).get(f.name)
			if bytes.Equal(data, f.data) {
				if f.name != readmeFile && !strings.HasPrefix(f.name, "keys/") {
					t.Errorf("%s is alike in %s packet", f.name, from)
				}
				continue
			}
			changed++
			r := verifyBytes(t, good.with(f.name, data).pack(t), trust, VerifyOptions{})
			name, status := want(f.name), Broken
			if f.name == envelopeFile {
				// It is a good signature, of another manifest or by another key.
				if name = FileHash; from == "another ledger's" {
					name = BadSignature
				}
			}
			mustSay(t, f.name+" from "+from+" packet", r, status, name)
		}
	}
	if changed < 80 {
		t.Errorf("only %d changes tried", changed)
	}
	more := append(slices.Clone(good), struct {
		name string
		data []byte
	}{"ledger/more", []byte("x")})
	mustSay(t, "a file too many", verifyBytes(t, more.pack(t), trust, VerifyOptions{}), Broken, FileUnlisted)
	mustSay(t, "the whole packet of another key", verifyBytes(t, other, trust, VerifyOptions{}), Untrusted, UntrustedKey)
	mustSay(t, "without a key", verifyBytes(t, packet, Trust{}, VerifyOptions{}), Untrusted, UntrustedKey)
	mustSay(t, "the older packet in the newer one's place", verifyBytes(t, older, Trust{Keys: trust.Keys, Pin: checkpointOf(t, packet)}, VerifyOptions{}), Broken, Replayed)
	mustSay(t, "a pin that it has no proof for", verifyBytes(t, packet, Trust{Keys: trust.Keys, Pin: checkpointOf(t, zero)}, VerifyOptions{}), Incomplete, IncompleteSlice)
	mustSay(t, "another ledger's pin", verifyBytes(t, packet, Trust{Keys: trust.Keys, Pin: checkpointOf(t, other)}, VerifyOptions{}), Untrusted, Replayed)

	// The container: any byte that is not packed data, and some that are.
	step := max(1, len(packet)/200)
	for i := 0; i < len(packet); i += step {
		data := bytes.Clone(packet)
		data[i] ^= 0x10
		// The last bits of a deflated file are padding: then every file is as it was.
		if r := verifyBytes(t, data, trust, VerifyOptions{}); r.Status == Verified && !sameContents(t, data, good) {
			t.Errorf("byte %d of %d flipped: verified", i, len(packet))
		}
	}
	for _, n := range []int{1, 22, 23, 300, len(packet) / 2, len(packet) - 4} {
		mustSay(t, fmt.Sprintf("%d bytes cut off", n), verifyBytes(t, packet[:len(packet)-n], trust, VerifyOptions{}), Incomplete, ZipCut)
	}
	mustSay(t, "something appended", verifyBytes(t, append(bytes.Clone(packet), "more"...), trust, VerifyOptions{}), Incomplete, ZipCut)
	mustSay(t, "no zip", verifyBytes(t, []byte("hello, this is no zip file at all"), trust, VerifyOptions{}), Broken, NotZip)
	mustSay(t, "nothing", verifyBytes(t, nil, trust, VerifyOptions{}), Broken, NotZip)
}

// TestEveryLeafIsBound: whoever can sign packets, and not the ledger, can change no
// leaf; whoever can sign nothing is found out by the key.
func TestEveryLeafIsBound(t *testing.T) {
	b := newMemoryBook(t)
	b.addRun(t, 2, false, testScenario)
	b.addRun(t, 3, true, testScenario)
	packet := mustBuild(t, b, b.options(t))
	good := unpack(t, packet)
	signer, err := NewSigner(b.skey)
	if err != nil {
		t.Fatal(err)
	}
	foreign, _, err := ledger.GenerateKey("somebody")
	if err != nil {
		t.Fatal(err)
	}
	stranger, err := NewSigner(foreign)
	if err != nil {
		t.Fatal(err)
	}
	trust := Trust{Keys: []string{b.vkey}}
	if err := verifyBytes(t, good.resigned(t, signer, nil).pack(t), trust, VerifyOptions{}).Err(); err != nil {
		t.Fatal(err)
	}
	lines := bytes.SplitAfter(bytes.TrimSuffix(good.get(leavesFile), []byte("\n")), []byte("\n"))
	if len(lines) < 30 {
		t.Fatalf("%d leaves", len(lines))
	}
	for i := range lines {
		changed := slices.Clone(lines)
		// A date moved by a day: as plausible as can be.
		changed[i] = bytes.Replace(changed[i], []byte("2026-11-22"), []byte("2026-11-21"), 1)
		if bytes.Equal(changed[i], lines[i]) {
			t.Fatalf("leaf %d has no date", i)
		}
		f := good.with(leavesFile, append(bytes.Join(changed, nil), '\n'))
		mustSay(t, fmt.Sprintf("leaf %d changed", i), verifyBytes(t, f.pack(t), trust, VerifyOptions{}), Broken, FileHash)
		mustSay(t, fmt.Sprintf("leaf %d changed, signed anew", i), verifyBytes(t, f.resigned(t, signer, nil).pack(t), trust, VerifyOptions{}), Broken, BadProof)
	}
	swapped := slices.Clone(lines)
	swapped[3], swapped[4] = swapped[4], swapped[3]
	f := good.with(leavesFile, append(bytes.Join(swapped, nil), '\n')).resigned(t, signer, nil)
	mustSay(t, "two leaves swapped", verifyBytes(t, f.pack(t), trust, VerifyOptions{}), Broken, BadProof)
	f = good.with(leavesFile, bytes.Join(lines[:len(lines)-1], nil)).resigned(t, signer, nil)
	mustSay(t, "a leaf fewer than the proof has", verifyBytes(t, f.pack(t), trust, VerifyOptions{}), Broken, BadProof)
	f = good.with(leavesFile, append(bytes.Clone(good.get(leavesFile)), "{}\n"...)).resigned(t, signer, nil)
	mustSay(t, "a leaf more than the proof has", verifyBytes(t, f.pack(t), trust, VerifyOptions{}), Broken, BadProof)

	pem, err := encodePEM(stranger.Public())
	if err != nil {
		t.Fatal(err)
	}
	mustSay(t, "signed anew with another key", verifyBytes(t, good.with(packetPEMFile, pem).resigned(t, stranger, nil).pack(t), trust, VerifyOptions{}), Untrusted, UntrustedKey)
	mustSay(t, "signed anew with a key that is not in it", verifyBytes(t, good.resigned(t, stranger, nil).pack(t), trust, VerifyOptions{}), Broken, BadSignature)

	// What follows from the leaves cannot be changed either.
	for name, data := range map[string][]byte{
		populationFile: bytes.Replace(good.get(populationFile), []byte(`"announced": 2`), []byte(`"announced": 3`), 1),
		verdictsFile:   bytes.Replace(good.get(verdictsFile), []byte("not-run"), []byte("pass"), 1),
	} {
		if bytes.Equal(data, good.get(name)) {
			t.Fatalf("%s was not changed", name)
		}
		mustSay(t, name+" changed, signed anew", verifyBytes(t, good.with(name, data).resigned(t, signer, nil).pack(t), trust, VerifyOptions{}), Broken, BadDerived)
	}
	mustSay(t, "a longer slice claimed", verifyBytes(t, good.resigned(t, signer, func(m *Manifest) { m.Slice.Leaves++ }).pack(t), trust, VerifyOptions{}), Broken, BadDerived)
	mustSay(t, "another checkpoint claimed", verifyBytes(t, good.resigned(t, signer, func(m *Manifest) { m.Ledger.Size++ }).pack(t), trust, VerifyOptions{}), Broken, BadCheckpoint)
	mustSay(t, "a file that it may not list", verifyBytes(t, good.resigned(t, signer, func(m *Manifest) {
		m.Files = append(m.Files, File{"zzz", 1, hashOf("x")})
	}).pack(t), trust, VerifyOptions{}), Broken, BadManifest)
	mustSay(t, "a format to come", verifyBytes(t, newerEnvelope(t, good, signer).pack(t), trust, VerifyOptions{}), Newer, NewerFormat)
}

// newerEnvelope is signed like that of a packet of the next format.
func newerEnvelope(t *testing.T, f files, signer Signer) files {
	t.Helper()
	o, err := openEnvelope(f.get(envelopeFile))
	if err != nil {
		t.Fatal(err)
	}
	s := o.statement
	s.PredicateType = fmt.Sprint(predicatePrefix, Format+1)
	payload, err := json.Marshal(s)
	if err != nil {
		t.Fatal(err)
	}
	return f.with(envelopeFile, envelopeOver(t, signer, payload))
}

// TestTheOwnerCannotRewriteHistory: not even with both keys, for whoever kept a checkpoint.
func TestTheOwnerCannotRewriteHistory(t *testing.T) {
	honest := newMemoryBook(t)
	honest.addRun(t, 3, true, testScenario)
	kept := checkpointOf(t, mustBuild(t, honest, honest.options(t)))
	forger := newMemoryBook(t)
	forger.clock = forger.clock.Add(time.Minute)
	forger.addRun(t, 3, true, testScenario)
	forger.addRun(t, 3, true, testScenario)
	o := forger.options(t)
	packet := mustBuild(t, forger, o)
	trust := Trust{Keys: []string{forger.vkey}}
	if err := verifyBytes(t, packet, trust, VerifyOptions{}).Err(); err != nil {
		t.Fatal("by itself it must look sound: ", err)
	}
	trust.Pin = kept
	mustSay(t, "another history, without proof", verifyBytes(t, packet, trust, VerifyOptions{}), Incomplete, IncompleteSlice)
	o.Previous = kept
	if _, err := Build(t.Context(), io.Discard, forger.log, o); err == nil || !strings.Contains(err.Error(), "does not go on from") {
		t.Errorf("built on a history that is not its own: %v", err)
	}
	// He writes the proof by hand.
	own := unpack(t, packet)
	signer, err := NewSigner(forger.skey)
	if err != nil {
		t.Fatal(err)
	}
	cp, err := ledger.ParseCheckpoint(kept, testOrigin, verifierOf(t, forger.vkey))
	if err != nil {
		t.Fatal(err)
	}
	proof, err := forger.log.ConsistencyProof(t.Context(), cp.Size, int64(bytes.Count(own.get(leavesFile), []byte("\n"))))
	if err != nil {
		t.Fatal(err)
	}
	var text bytes.Buffer
	if err := writeHashes(&text, proof); err != nil {
		t.Fatal(err)
	}
	for name, data := range map[string][]byte{previousFile: kept, consistencyFile: text.Bytes()} {
		own = append(own, struct {
			name string
			data []byte
		}{name, data})
	}
	own = own.resigned(t, signer, func(m *Manifest) {
		tree := treeOf(cp)
		m.Previous = &tree
		for _, name := range []string{previousFile, consistencyFile} {
			m.Files = append(m.Files, File{name, int64(len(own.get(name))), hashOf(string(own.get(name)))})
		}
		slices.SortFunc(m.Files, func(a, b File) int { return cmp.Compare(a.Name, b.Name) })
	})
	mustSay(t, "another history, with a proof that is none", verifyBytes(t, own.pack(t), trust, VerifyOptions{}), Broken, BadConsistency)
}

// TestALedgerThatLiesIsFoundOut: all signatures are good, and what is signed does
// not hold together.
func TestALedgerThatLiesIsFoundOut(t *testing.T) {
	for _, tc := range []struct {
		name string
		lie  func(e *run.Entry)
		want string
	}{
		{"a verdict on a record that is not there", func(e *run.Entry) {
			if e.Verdict != nil {
				e.Verdict.Records[0].EventUID = "another"
			}
		}, MissingEvidence},
		{"a verdict that says found, and names no record", func(e *run.Entry) {
			if e.Verdict != nil {
				e.Verdict.Records = nil
			}
		}, MissingEvidence},
		{"a verdict on a request that is not ours", func(e *run.Entry) {
			if e.Receipt != nil {
				r := *e.Receipt
				r.RequestIDs = []string{"ours"}
				e.Receipt = &r
			}
		}, MissingEvidence},
		{"a record that is another than is said", func(e *run.Entry) {
			if e.Sighted != nil {
				e.Sighted.Raw = bytes.Replace(e.Sighted.Raw, []byte(`"requestID":"`), []byte(`"requestID":"0`), 1)
			}
		}, BadRecord},
		{"a record that is no JSON", func(e *run.Entry) {
			if e.Sighted != nil {
				e.Sighted.Raw[0] = '['
			}
		}, BadRecord},
		{"a digest of other bytes", func(e *run.Entry) {
			if e.Blob != nil {
				e.Blob.SHA256 = hashOf("others")
			}
		}, BadCustody},
		{"a digest that gives the file another hash", func(e *run.Entry) {
			if e.Kept != nil {
				e.Kept.Seal.LogSHA256 = hashOf("others")
			}
		}, BadCustody},
		{"a digest with another signature", func(e *run.Entry) {
			if e.Kept != nil {
				d := *e.Kept.Digest
				d.Signature = strings.Repeat("00", 256)
				e.Kept.Digest = &d
			}
		}, BadCustody},
		{"a chain that does not follow", func(e *run.Entry) {
			if e.Kept != nil {
				e.Kept.Path = slices.Clone(e.Kept.Path)
				e.Kept.Path[0].PreviousSignature = "00"
			}
		}, BadCustody},
		{"a key that is not the one that signed", func(e *run.Entry) {
			if e.PublicKey != nil {
				e.PublicKey.Fingerprint = "00"
			}
		}, BadCustody},
		{"a seal without a digest", func(e *run.Entry) {
			if e.Kept != nil {
				e.Kept.Digest = nil
			}
		}, BadCustody},
		{"sealed, and no digest at all", func(e *run.Entry) {
			if e.Kept != nil {
				e.Kept.Digest, e.Kept.Seal = nil, canary.Seal{Unknown: "never looked"}
			}
		}, MissingEvidence},
		{"immutable, and nobody looked how it is held", func(e *run.Entry) {
			if e.Kept != nil {
				e.Kept.At.VersionID = "another"
			}
		}, MissingEvidence},
		{"a record read from other bytes than are signed for", func(e *run.Entry) {
			if e.Kept != nil {
				e.Kept.At.ObjectSHA256 = hashOf("others")
			}
		}, MissingEvidence},
		{"a verdict that the judge does not give", func(e *run.Entry) {
			if e.Receipt != nil {
				r := *e.Receipt
				r.Want.Actor.UID = "arn:aws:iam::111122223333:user/somebody-else"
				e.Receipt = &r
			}
		}, BadVerdict},
		{"a record that came late and is called timely", func(e *run.Entry) {
			if e.Sighted != nil {
				e.Sighted.Stored = e.Sighted.Stored.Add(20 * time.Minute)
			}
		}, BadVerdict},
		{"another canary's plan", func(e *run.Entry) {
			if e.Planned != nil {
				e.Planned.Canary.Scenario = "aws/another"
			}
		}, BadEntry},
		{"a status that is none", func(e *run.Entry) {
			if e.Verdict != nil {
				a := e.Verdict.Checks[canary.Alerted]
				a.Status = "fine"
				e.Verdict.Checks[canary.Alerted] = a
			}
		}, BadEntry},
		{"a run of more canaries", func(e *run.Entry) {
			if e.Begun != nil {
				e.Begun.Canaries++
			}
		}, IncompleteSlice},
		{"a run of other scenarios", func(e *run.Entry) {
			if e.Begun != nil {
				e.Begun.CatalogueHash = hashOf("another")
			}
		}, IncompleteSlice},
	} {
		b := newMemoryBook(t)
		b.lie = tc.lie
		b.addRun(t, 2, true, testScenario)
		status := Broken
		if tc.want == IncompleteSlice {
			status = Incomplete
		}
		r := verifyBytes(t, mustBuild(t, b, b.options(t)), Trust{Keys: []string{b.vkey}}, VerifyOptions{Rejudge: true})
		mustSay(t, tc.name, r, status, tc.want)
	}
}

// TestAPeriodIsWhole: a packet has every leaf of its period, and says so; one for a
// control has only its canaries, and says that too.
func TestAPeriodIsWhole(t *testing.T) {
	b := newMemoryBook(t)
	b.addRun(t, 4, true, testScenario, otherScenario)
	from := b.clock.Add(-time.Minute)
	b.addRun(t, 6, true, testScenario, otherScenario)
	to := b.clock.Add(-time.Minute)
	b.addRun(t, 4, true, testScenario, otherScenario)
	trust := Trust{Keys: []string{b.vkey}}

	o := b.options(t)
	o.Period = Period{From: from, To: to}
	packet := mustBuild(t, b, o)
	r := verifyBytes(t, packet, trust, VerifyOptions{Rejudge: true})
	if err := r.Err(); err != nil {
		t.Fatal(err)
	}
	later := o
	later.Period.From = day.Add(10 * time.Minute) // the first run has been done by then, and not been judged
	if said := strings.Join(verifyBytes(t, mustBuild(t, b, later), trust, VerifyOptions{}).NotVerified, "\n"); !strings.Contains(said, "4 canaries that were planned before") {
		t.Errorf("does not say whose evidence is elsewhere:\n%s", said)
	}
	if len(r.Population.Runs) != 1 || r.Population.Carried != 0 {
		t.Errorf("runs of other periods are counted: %+v", r.Population)
	}
	if said := strings.Join(r.Verified, "\n"); !strings.Contains(said, "Nothing of the period from "+from.Format(time.RFC3339)) || !strings.Contains(said, "6 canaries") {
		t.Errorf("does not say that the period is whole:\n%s", said)
	}
	signer := o.Signer
	moved := unpack(t, packet).resigned(t, signer, func(m *Manifest) { m.Period.From = day.Add(-time.Hour) })
	mustSay(t, "a period that begins earlier", verifyBytes(t, moved.pack(t), trust, VerifyOptions{}), Broken, IncompleteSlice)
	moved = unpack(t, packet).resigned(t, signer, func(m *Manifest) { m.Period.To = to.Add(48 * time.Hour) })
	mustSay(t, "a period that ends later", verifyBytes(t, moved.pack(t), trust, VerifyOptions{}), Broken, BadDerived)

	// A leaf left out, with all that follows from it made anew.
	for i, why := range map[int64]string{r.Packet.Slice.First: IncompleteSlice, r.Packet.Slice.First + 3: IncompleteSlice, r.Packet.Slice.End - 1: IncompleteSlice} {
		cheat := unpack(t, packet).without(t, b, signer, func(at int64) bool { return at == i })
		mustSay(t, fmt.Sprintf("leaf %d left out", i), verifyBytes(t, cheat.pack(t), trust, VerifyOptions{}), Incomplete, why)
	}

	o.Control = "soc2/*"
	r = verifyBytes(t, mustBuild(t, b, o), trust, VerifyOptions{Rejudge: true})
	if err := r.Err(); err != nil {
		t.Fatal(err)
	}
	if p := r.Population; len(p.Scenarios) != 1 || p.Scenarios[0].ID != otherScenario.ID || p.Scenarios[0].Canaries != 3 || r.Packet.Slice.OmittedCanaries != 3 || r.Packet.Slice.Omitted == 0 {
		t.Errorf("for one control: %+v, %+v", p.Scenarios, r.Packet.Slice)
	}
	if said := strings.Join(r.NotVerified, "\n"); !strings.Contains(said, "That no canary of control soc2/* was left out") {
		t.Errorf("does not say what a control leaves open:\n%s", said)
	}
	o.Control = "nist/*"
	if _, err := Build(t.Context(), io.Discard, b.log, o); err == nil || !strings.Contains(err.Error(), "the 6 that were planned in that period are of other controls") {
		t.Errorf("no canary of the control: %v", err)
	}
	o.Control = "[" // no pattern
	if _, err := Build(t.Context(), io.Discard, b.log, o); err == nil {
		t.Error("built with a pattern that is none")
	}
}

// TestThePopulationSaysWhatWasNotFound counts a day on which not all went well.
func TestThePopulationSaysWhatWasNotFound(t *testing.T) {
	b := newMemoryBook(t)
	chain := trail.Chain{Account: "111122223333", Region: "us-east-1", Trail: "t", HomeRegion: "us-east-1"}
	n := 0
	b.lie = func(e *run.Entry) {
		switch {
		case e.Planned != nil && e.Canary[len(e.Canary)-1] == '2':
			p := *e.Planned
			p.NotRun = "no key is configured there"
			e.Planned = &p
		case e.Injected != nil:
			*e = run.Entry{V: 1, Type: "validated", At: e.At, Validated: &run.Validated{
				Chain: chain, Counts: trail.Counts{Digests: 24, Logs: 300, LogsMissing: 1}, First: day.Add(-24 * time.Hour), Last: day,
				Findings: []trail.Finding{{Status: trail.Fail}}, More: map[trail.Status]int{trail.Pending: 2},
			}}
		case e.Verdict != nil:
			n++
			v := *e.Verdict
			v.Checks = maps.Clone(v.Checks)
			if n == 1 { // the first is not found
				v.Records = nil
				v.Checks[canary.Surfaced] = canary.Answer{Status: canary.Fail, Evidence: []canary.Clue{{Source: canary.FromStore, Found: "4 objects with 198 records hold no record of it"}}}
			}
			e.Verdict = &v
			if e.Canary[len(e.Canary)-1] == '3' {
				*e = run.Entry{V: 1, Type: "forged", At: e.At, Run: e.Run, Forged: &run.Sighted{}}
			}
		}
	}
	b.addRun(t, 4, true, testScenario)
	r := verifyBytes(t, mustBuild(t, b, b.options(t)), Trust{Keys: []string{b.vkey}}, VerifyOptions{})
	if err := r.Err(); err != nil {
		t.Fatal(err)
	}
	p := r.Population
	var planned, done, notRun, proven, failed, open, records int
	for _, pl := range p.Places {
		records += pl.Records
		for _, c := range pl.Categories {
			planned, done, notRun, proven, failed, open = planned+c.Planned, done+c.Done, notRun+c.NotRun, proven+c.Proven, failed+c.Failed, open+c.Open
		}
	}
	if got := fmt.Sprint(planned, done, notRun, proven, failed, open, records, p.Forged); got != "4 4 1 2 1 1 2 1" {
		t.Errorf("planned, done, not run, proven, failed, open, records, forged: %s", got)
	}
	if got := fmt.Sprint(p.Gaps); got != "[{no key is configured there 1} {open: nobody has found its records yet, or given them up 1}]" {
		t.Errorf("gaps: %s", got)
	}
	if got := p.Places[1].Looked; len(p.Places) != 3 || !slices.Equal(got, []string{"4 objects with 198 records hold no record of it"}) {
		t.Errorf("looked: %q in %d places", got, len(p.Places))
	}
	if len(p.Chains) != 1 || p.Chains[0].Counts.LogsMissing != 1 || p.Chains[0].Findings[trail.Fail] != 1 || p.Chains[0].Findings[trail.Pending] != 2 || !p.Chains[0].Last.Equal(day) {
		t.Errorf("chains: %+v", p.Chains)
	}
}

// TestEveryLeafOfAnyShapeHasItsProof: whatever is left out, root and places come out.
func TestEveryLeafOfAnyShapeHasItsProof(t *testing.T) {
	b := newMemoryBook(t)
	b.addRun(t, 40, true, testScenario)
	o := b.options(t)
	whole := unpack(t, mustBuild(t, b, o))
	for _, every := range []int64{2, 3, 7, 64} {
		some := whole.without(t, b, o.Signer, func(at int64) bool { return at%every == 1 })
		r := verifyBytes(t, some.pack(t), Trust{Keys: []string{b.vkey}}, VerifyOptions{})
		if slices.Contains(names(r), BadProof) || !strings.Contains(strings.Join(r.Verified, "\n"), "are in the signed tree, each at its place") {
			t.Errorf("every %d. left out: %+v", every, r.Problems)
		}
	}
}
