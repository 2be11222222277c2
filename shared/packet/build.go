package packet

import (
	"archive/zip"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"iter"
	"path"
	"slices"
	"strings"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"

	"github.com/auditcanary/auditcanary/shared/canary"
	"github.com/auditcanary/auditcanary/shared/ledger"
)

// Options choose what goes into a packet.
type Options struct {
	Period Period
	// Control limits it to canaries of whose controls one matches this pattern (in
	// the form of path.Match); "" takes all.
	Control string
	// Previous is the signed checkpoint of the packet before, if there was one.
	Previous []byte
	// Key is the ledger's verifier key, Signer what signs the packet.
	Key    string
	Signer Signer
	// Stamp asks a time-stamping authority: an RFC 3161 request gives a response,
	// both in DER. Optional.
	Stamp func(ctx context.Context, query []byte) ([]byte, error)
	// Roots that the authority's certificate must lead to; nil leaves that to the
	// verifier.
	Roots *Roots
	// Attachments are further files; they are signed like the others, and not
	// understood.
	Attachments []Attachment
	// SLO of the configuration, and Version of this program.
	SLO     canary.SLO
	Version string

	// Scratch is where to put aside what the ledger says of each canary. Optional;
	// without it that is kept in memory.
	Scratch Scratch

	parts int // of the canaries, see partCount
}

// Attachment is a further file of a packet, below attachments/.
type Attachment struct {
	Name  string // without "attachments/"
	Write func(io.Writer) error
}

// ErrEmpty says that no canary was planned in the period, or none of the control.
var ErrEmpty = errors.New("no canary to prove anything by")

// Build writes the packet of a ledger as it is now. The ledger is read
// twice. With scratch, memory does not depend on how many canaries there are, but for a
// few bytes of each, and two bits of each leaf.
//
// Equal ledgers and options give equal bytes, if the signer's signatures are equal
// and no timestamp is asked for.
func Build(ctx context.Context, w io.Writer, log *ledger.Log, o Options) (Manifest, error) {
	m, err := build(ctx, w, log, o)
	if err != nil {
		return m, fmt.Errorf("build the packet %s: %w", o.Period, err)
	}
	return m, nil
}

func build(ctx context.Context, w io.Writer, log *ledger.Log, o Options) (Manifest, error) {
	cp, err := log.Checkpoint(ctx)
	if err != nil {
		return Manifest{}, err
	}
	if _, err := path.Match(o.Control, ""); err != nil {
		return Manifest{}, fmt.Errorf("control %q: %w", o.Control, err)
	}
	previous, proof, err := consistency(ctx, log, cp, o)
	if err != nil {
		return Manifest{}, err
	}
	aside := newAside(o.Scratch, o.parts)
	sel, err := choose(ctx, log, cp, o, newPiles(aside.room, len(aside.entries.all), 1<<10))
	if err != nil {
		return Manifest{}, err
	}
	m := Manifest{
		Format: Format, Program: o.Version, Period: o.Period, Control: o.Control, SLO: o.SLO,
		Ledger: Head{Origin: cp.Origin, Tree: treeOf(cp), Key: o.Key},
		Slice:  Slice{First: sel.first, End: sel.end, OmittedCanaries: sel.omittedCanaries},
	}
	for i := sel.first; i < sel.end; i++ {
		if !sel.has(i) {
			m.Slice.Omitted++
		}
	}
	b := &builder{zip: newZip(w)}
	if err := b.text(readmeFile, readme); err != nil {
		return m, err
	}
	// What contradicts itself is evidence too: Verify will say so.
	st := newState(o.Period, aside, func(string, int64, string, ...any) {})
	hasCustody, err := b.leaves(ctx, log, sel, st)
	if err != nil {
		return m, err
	}
	for r := range sel.ranges() {
		m.Slice.Leaves += r.end - r.first
	}
	err = b.file(proofFile, func(w io.Writer) error {
		return writeProof(w, stretches(sel.ranges(), cp.Size), log.Hashes(ctx, cp))
	})
	if err != nil {
		return m, err
	}
	if err := b.file(checkpointFile, write(cp.Signed)); err != nil {
		return m, err
	}
	if previous != nil {
		t := treeOf(*previous)
		m.Previous = &t
		if err := b.file(previousFile, write(previous.Signed)); err != nil {
			return m, err
		}
		if err := b.file(consistencyFile, func(w io.Writer) error { return writeHashes(w, proof) }); err != nil {
			return m, err
		}
	}
	if err := b.keys(o); err != nil {
		return m, err
	}
	err = b.file(verdictsFile, func(w io.Writer) error {
		return st.verdicts(w)
	})
	if err != nil {
		return m, err
	}
	population, err := encodePopulation(st.population())
	if err != nil {
		return m, err
	}
	if err := b.file(populationFile, write(population)); err != nil {
		return m, err
	}
	for _, a := range o.Attachments {
		if name := attachments + a.Name; !soundName(name) {
			return m, fmt.Errorf("attachment %q: not a name of letters, digits, dots, dashes and slashes", a.Name)
		} else if err := b.file(name, a.Write); err != nil {
			return m, err
		}
	}
	m.Parts = parts(st, hasCustody, previous != nil, o.Stamp != nil)
	return m, b.finish(ctx, &m, o)
}

// parts says what kinds of evidence there are, and which of them this packet has.
func parts(st *state, hasCustody, previous, stamped bool) []Part {
	note := func(present bool, absent string) string {
		if present {
			return ""
		}
		return absent
	}
	excepted, alerts, tickets := st.register != nil, st.entries["heard"] > 0, st.entries["ticket"] > 0
	return []Part{
		{"receipts, records and verdicts", true, ""},
		{"custody of records (digests, signatures, public keys)", hasCustody, note(hasCustody, "no digest names a record of this packet yet, or nobody looked: run `auditcanary seal`, then build it anew")},
		{"continuity with the packet before", previous, note(previous, "no earlier packet was given: what the ledger was before is not proven")},
		{"timestamp", stamped, note(stamped, "no time-stamping authority was asked: when it was signed is the signer's word")},
		{"scenarios that the configuration excludes", false, "the ledger has the hash of each run's configuration, not what it says; population.json has what was planned"},
		{"alerts", alerts, note(alerts, "nobody listened for any")},
		{"exceptions", excepted, note(excepted, "no register of exceptions is in the ledger: nothing is excepted")},
		{"tickets", tickets, note(tickets, "none was made or changed in this time")},
		{"reviews", false, "this version keeps none in the ledger"},
	}
}

func treeOf(cp ledger.Checkpoint) Tree {
	return Tree{Size: cp.Size, Root: base64.StdEncoding.EncodeToString(cp.Root[:])}
}

// consistency proves that the ledger goes on from the previous packet's tree.
func consistency(ctx context.Context, log *ledger.Log, cp ledger.Checkpoint, o Options) (*ledger.Checkpoint, tlog.TreeProof, error) {
	if o.Previous == nil {
		return nil, nil, nil
	}
	verifier, err := note.NewVerifier(o.Key)
	if err != nil {
		return nil, nil, fmt.Errorf("verifier key: %w", err)
	}
	previous, err := ledger.ParseCheckpoint(o.Previous, cp.Origin, verifier)
	if err != nil {
		return nil, nil, fmt.Errorf("the previous packet's checkpoint: %w", err)
	}
	if previous.Size > cp.Size {
		return nil, nil, fmt.Errorf("the previous packet's ledger had %d leaves, this one has %d: %w", previous.Size, cp.Size, ledger.ErrRolledBack)
	}
	proof, err := log.ConsistencyProof(ctx, previous.Size, cp.Size)
	if err != nil {
		return nil, nil, err
	}
	if err := checkConsistency(proof, previous.Size, previous.Root, cp); err != nil {
		return nil, nil, fmt.Errorf("the ledger does not go on from the previous packet's: %w", err)
	}
	return &previous, proof, nil
}

func checkConsistency(proof tlog.TreeProof, size int64, root tlog.Hash, cp ledger.Checkpoint) error {
	if size == 0 {
		if empty, err := tlog.TreeHash(0, nil); err != nil || root != empty || len(proof) != 0 {
			return errors.New("that is not the root of an empty tree")
		}
		return nil
	}
	return tlog.CheckTree(proof, cp.Size, cp.Root, size, root)
}

// selection says which leaves of a ledger go into a packet.
type selection struct {
	first, end      int64 // as in Slice
	all             bool  // every leaf between them
	want, drop      bitmap
	omittedCanaries int
	size            int64
}

type bitmap []uint64

func (b bitmap) has(i int64) bool { return b[i/64]&(1<<(i%64)) != 0 }
func (b bitmap) set(i int64)      { b[i/64] |= 1 << (i % 64) }

func (s *selection) has(i int64) bool {
	return s.want.has(i) || i >= s.first && i < s.end && !s.drop.has(i)
}

func (s *selection) ranges() iter.Seq[span] {
	return func(yield func(span) bool) {
		for i := int64(0); i < s.size; i++ {
			first := i
			for i < s.size && s.has(i) {
				i++
			}
			if first < i && !yield(span{first, i}) {
				return
			}
		}
	}
}

// choose reads the ledger and decides. A packet has the canaries that were planned
// in the period, and every entry from its beginning to the end of the ledger, so that
// no later verdict can be left out. Where a control limits it, it has every entry of
// those canaries, also those that came after the period, and every other entry of the
// period that is of no canary. Besides, it has the beginnings of their runs, the
// listings of their places, the digests that their records' custody names, all public
// keys, and the alerts that rang.
func choose(ctx context.Context, log *ledger.Log, cp ledger.Checkpoint, o Options, aside *piles) (*selection, error) {
	words := (cp.Size + 63) / 64
	s := &selection{first: -1, size: cp.Size, all: o.Control == "", want: make(bitmap, words), drop: make(bitmap, words)}
	begun := map[string]int64{}
	places := map[canary.Target]bool{}
	blobs := map[string][]int64{}
	chosen := false // a canary
	for leaf, err := range log.Entries(ctx, 0, cp.Size) {
		if err != nil {
			return nil, err
		}
		e, err := readEntry(leaf.Data)
		if err != nil {
			return nil, fmt.Errorf("leaf %d: %w", leaf.Index, err)
		}
		i, kind := leaf.Index, byte(isOther)
		if o.Period.holds(e.At) {
			if s.first < 0 {
				s.first = i
			}
			s.end = i + 1
		}
		switch {
		case e.Type == "begun":
			begun[e.Run] = i
		case e.Type == "planned" && e.Planned != nil && o.Period.holds(e.At):
			if !matches(o.Control, e.Planned.Scenario.Controls) {
				kind = isLeftOut
				break
			}
			kind, chosen = isChosen, true
			places[e.Planned.Canary.Target] = true
			if at, ok := begun[e.Run]; ok {
				s.want.set(at)
			}
		case e.Type == "public_key", e.Type == "register":
			s.want.set(i)
		case e.Type == "listed" && e.Listed != nil && places[e.Listed.Target]:
			s.want.set(i)
		case e.Type == "rang" && chosen:
			s.want.set(i) // it may name several canaries, and is written down under one
		case e.Type == "blob" && e.Blob != nil:
			blobs[e.Blob.SHA256] = append(blobs[e.Blob.SHA256], i)
		}
		if e.Canary != "" || kind != isOther {
			of, digest := idKey(e.Canary), ""
			if e.Kept != nil && e.Kept.Digest != nil {
				digest = e.Kept.Digest.SHA256
			}
			if err := aside.add(aside.of(of), binary.BigEndian.AppendUint64(nil, uint64(i)), []byte{kind}, of[:], []byte(digest)); err != nil {
				return nil, err
			}
		}
		// What a filtered packet needs of its own canaries only.
		if !s.all && e.Type == "blob" {
			s.drop.set(i)
		}
	}
	if s.first < 0 {
		s.first, s.end = 0, 0
	}
	if s.all {
		s.end = s.size
		// The leaf before shows that the period begins there.
		if s.first > 0 {
			s.want.set(s.first - 1)
		}
	}
	if err := s.ofCanaries(aside, blobs); err != nil {
		return nil, err
	}
	switch {
	case !chosen && s.omittedCanaries == 0:
		return nil, fmt.Errorf("%w: none was planned in that period", ErrEmpty)
	case !chosen:
		return nil, fmt.Errorf("%w: the %d that were planned in that period are of other controls", ErrEmpty, s.omittedCanaries)
	}
	return s, nil
}

// Kinds of entries that are of a canary.
const (
	isOther   = iota
	isChosen  // it plans one that goes into the packet
	isLeftOut // it plans one that does not
)

// ofCanaries decides of the entries that are of a canary: those of one that was chosen,
// from its plan on, go into the packet, with the digests that they name.
func (s *selection) ofCanaries(aside *piles, blobs map[string][]int64) error {
	for part := range aside.all {
		in, out := map[key]bool{}, map[key]bool{}
		for record, err := range aside.read(part) {
			if err != nil {
				return err
			}
			i, kind, of, digest := int64(binary.BigEndian.Uint64(record)), record[8], key(record[9:]), record[9+len(key{}):]
			switch kind {
			case isChosen:
				in[of] = true
			case isLeftOut:
				out[of] = true
			}
			switch {
			case in[of]:
				s.want.set(i)
				for _, at := range blobs[string(digest)] {
					if at < i {
						s.want.set(at)
					}
				}
			case out[of], !s.all:
				s.drop.set(i)
			}
		}
		s.omittedCanaries += len(out)
	}
	return nil
}

func matches(pattern string, controls []string) bool {
	return pattern == "" || slices.ContainsFunc(controls, func(c string) bool {
		ok, err := path.Match(pattern, c)
		return err == nil && ok
	})
}

// builder writes the zip file and remembers what it wrote.
type builder struct {
	zip   *zip.Writer
	files []File
}

type counting struct {
	w io.Writer
	h hash.Hash
	n int64
}

func (c *counting) Write(p []byte) (int, error) {
	n, err := c.w.Write(p)
	c.h.Write(p[:n])
	c.n += int64(n)
	if c.n > maxMember {
		return n, errors.New("more than 4 GB: choose a shorter period, or a control")
	}
	return n, err
}

func write(data []byte) func(io.Writer) error {
	return func(w io.Writer) error { _, err := w.Write(data); return err }
}

func (b *builder) text(name, text string) error { return b.file(name, write([]byte(text))) }

func (b *builder) file(name string, content func(io.Writer) error) error {
	w, err := createMember(b.zip, name)
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	c := &counting{w: w, h: sha256.New()}
	if err := content(c); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	b.files = append(b.files, File{name, c.n, hex.EncodeToString(c.h.Sum(nil))})
	return nil
}

// leaves writes the selected leaves, and folds them as the verifier will.
func (b *builder) leaves(ctx context.Context, log *ledger.Log, sel *selection, st *state) (hasCustody bool, err error) {
	err = b.file(leavesFile, func(w io.Writer) error {
		for leaf, err := range log.Entries(ctx, 0, sel.size) {
			switch {
			case err != nil:
				return err
			case !sel.has(leaf.Index):
				continue
			case bytes.IndexByte(leaf.Data, '\n') >= 0:
				return fmt.Errorf("leaf %d has a line break in it: not an entry that this program wrote", leaf.Index)
			}
			e, err := readEntry(leaf.Data)
			if err != nil {
				return fmt.Errorf("leaf %d: %w", leaf.Index, err)
			}
			hasCustody = hasCustody || e.Kept != nil && e.Kept.Digest != nil
			if err := st.take(leaf.Index, e); err != nil {
				return err
			}
			if _, err := w.Write(append(leaf.Data, '\n')); err != nil {
				return err
			}
		}
		return nil
	})
	return hasCustody, err
}

func (b *builder) keys(o Options) error {
	key, err := ed25519Of(o.Key)
	if err != nil {
		return err
	}
	ledgerPEM, err := encodePEM(key)
	if err != nil {
		return err
	}
	packetPEM, err := encodePEM(o.Signer.Public())
	if err != nil {
		return err
	}
	return errors.Join(
		b.text(ledgerKeyFile, o.Key+"\n"),
		b.file(ledgerPEMFile, write(ledgerPEM)),
		b.file(packetPEMFile, write(packetPEM)),
	)
}

// finish writes the manifest, signs it and has the signature stamped.
func (b *builder) finish(ctx context.Context, m *Manifest, o Options) error {
	slices.SortFunc(b.files, func(a, b File) int { return strings.Compare(a.Name, b.Name) })
	m.Files = b.files
	manifest, err := encodeJSON(m)
	if err != nil {
		return err
	}
	if len(manifest) > maxManifest {
		return fmt.Errorf("the manifest has %d bytes, at most %d: fewer attachments", len(manifest), maxManifest)
	}
	envelope, err := signManifest(ctx, manifest, Predicate{Ledger: m.Ledger, Timestamped: o.Stamp != nil}, o.Signer)
	if err != nil {
		return err
	}
	sums := sumsOf(m.Files, manifest)
	for _, f := range []struct {
		name string
		data []byte
	}{{manifestFile, manifest}, {sumsFile, sums}, {envelopeFile, envelope}} {
		if err := b.file(f.name, write(f.data)); err != nil {
			return err
		}
	}
	if o.Stamp != nil {
		query, response, err := stamp(ctx, envelope, o.Stamp, o.Roots)
		if err != nil {
			return err
		}
		if err := errors.Join(b.file(queryFile, write(query)), b.file(timestampFile, write(response))); err != nil {
			return err
		}
	}
	return b.zip.Close()
}

// sumsOf is what sha256sum -c reads.
func sumsOf(files []File, manifest []byte) []byte {
	var b bytes.Buffer
	for _, f := range files {
		fmt.Fprintf(&b, "%s  %s\n", f.SHA256, f.Name)
	}
	fmt.Fprintf(&b, "%x  %s\n", sha256.Sum256(manifest), manifestFile)
	return b.Bytes()
}
