package packet

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"crypto"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"

	"github.com/auditcanary/auditcanary/shared/canary"
	"github.com/auditcanary/auditcanary/shared/ledger"
)

// Trust is what a packet is verified by. It must come from elsewhere than the packet.
type Trust struct {
	// Keys are a ledger's verifier keys ("name+hash+base64"), and PEM public keys of
	// those who sign packets where that is another key.
	Keys []string
	// Pin is the signed checkpoint of a packet that was verified earlier: this one
	// must go on from it. Without Keys, whatever key signed the pin is trusted.
	Pin []byte
	// Roots of the time-stamping authority; nil: its certificate is not verified.
	Roots *Roots
}

// VerifyOptions say what else to do.
type VerifyOptions struct {
	// Explain tells the custody of this canary.
	Explain string
	// Rejudge judges every canary anew from what is in the packet; that needs
	// memory for all of it.
	Rejudge bool
	// Compile makes the expectations of scenarios ready. Optional; without it those
	// that have some are not judged anew.
	Compile func(expect []string) ([]canary.Rule, error)
	// Progress is told how many leaves are done. Optional.
	Progress func(done, total int64)
	// Scratch is where to put aside what the entries say. Optional; without it that is
	// kept in memory.
	Scratch Scratch

	parts int // of the canaries, see partCount
}

// Status of a packet, the first of these that holds.
type Status string

// What Verify says of a packet.
const (
	Verified   Status = "verified"
	Newer      Status = "newer"      // of a format that this program does not know
	Broken     Status = "broken"     // something is not what was signed
	Incomplete Status = "incomplete" // something that belongs to it is not there
	Untrusted  Status = "untrusted"  // all is well, but for the key; the entries were not read
)

// Report is what Verify found.
type Report struct {
	Status Status `json:"status"`
	// Packet is its manifest, as far as it could be read; nothing of it is to be
	// believed unless Status is verified.
	Packet     *Manifest   `json:"packet,omitempty"`
	Population *Population `json:"population,omitempty"`
	// Verified and NotVerified are sentences.
	Verified    []string  `json:"verified"`
	NotVerified []string  `json:"not_verified"`
	Problems    []Problem `json:"problems"`
	// More problems than are listed.
	More int `json:"more_problems,omitempty"`
	// Explained is the custody of the canary that was asked for.
	Explained *Explanation `json:"explained,omitempty"`
}

// Problem is a Fault in a report.
type Problem struct {
	Name   string `json:"name"`
	Kind   Status `json:"kind"`
	File   string `json:"file,omitempty"`
	Leaf   *int64 `json:"leaf,omitempty"`
	Detail string `json:"detail"`
}

// ExitCode: 0 verified, 1 broken, 3 incomplete, 4 untrusted, 5 newer (2 is for what
// could not be read at all).
func (r Report) ExitCode() int {
	return map[Status]int{Verified: 0, Broken: 1, Incomplete: 3, Untrusted: 4, Newer: 5}[r.Status]
}

const (
	maxProblems = 100
	// maxSmall bounds files that are read as a whole, in bytes.
	maxSmall = 16 << 20
	// maxBack is how much earlier than an entry before it one may be: several
	// machines write at once, and an append takes up to a minute.
	maxBack = 5 * time.Minute
)

// Verify checks a packet with nothing but what is in it and the trust given. It
// reads each file once, from beginning to end. With scratch, memory does not depend on how
// many canaries there are, but for a few bytes of each; scratch takes about twice what the
// packet has, and at most two gigabytes.
//
// What is wrong is in the report; an error means that the packet could not be read,
// or the trust not be understood, and says nothing about it.
func Verify(ctx context.Context, r io.ReaderAt, size int64, trust Trust, o VerifyOptions) (Report, error) {
	v := &verifier{o: o, trust: trust, report: Report{Verified: []string{}, NotVerified: []string{}, Problems: []Problem{}}}
	for _, text := range trust.Keys {
		verifier, key, err := ParsePublicKey(text)
		if err != nil {
			return Report{}, fmt.Errorf("verify the packet: key: %w", err)
		}
		v.keys = append(v.keys, key)
		if verifier != nil {
			v.ledgers = append(v.ledgers, key)
		}
	}
	err := v.verify(ctx, r, size)
	var fault *Fault
	switch {
	case errors.As(err, &fault):
		v.fault(fault)
		err = nil
	case errors.Is(err, errNoTree):
		v.unsaid("Anything about the ledger: its checkpoint is not there, or not the one that was signed.")
		err = nil
	}
	if err != nil {
		return Report{}, fmt.Errorf("verify the packet: %w", err)
	}
	v.report.Status = v.status()
	return v.report, nil
}

// errNoTree: without a checkpoint there is nothing to hold leaves against. Why there
// is none has been reported.
var errNoTree = errors.New("no checkpoint")

// Err is nil if the packet is verified, and names the first problem otherwise.
func (r Report) Err() error {
	if r.Status == Verified {
		return nil
	}
	return fmt.Errorf("the packet is %s: %s: %s", r.Status, r.Problems[0].Name, r.Problems[0].Detail)
}

type verifier struct {
	o       VerifyOptions
	trust   Trust
	keys    []crypto.PublicKey // trusted to sign packets
	ledgers []crypto.PublicKey // trusted to sign checkpoints
	report  Report

	zip       *archive
	statement Statement
	keyID     string // of what signed it
	manifest  Manifest
	sums      map[string]File // of the manifest
	envelope  []byte
	cp        ledger.Checkpoint
	unfit     map[string]bool // files whose bytes are not what was signed
	goesOn    bool            // from the checkpoint enclosed, as the proof shows
	untrusted bool            // a key is not one of those given
	worst     Status          // of all problems, also of those that are not listed
}

func (v *verifier) status() Status {
	return cmp.Or(v.worst, Verified)
}

// worse are the kinds of problems, the worst last.
var worse = []Status{Untrusted, Incomplete, Broken, Newer}

func (v *verifier) fault(f *Fault) {
	v.untrusted = v.untrusted || kindOf(f.Kind) == Untrusted
	if kind := kindOf(f.Kind); slices.Index(worse, kind) > slices.Index(worse, v.worst) {
		v.worst = kind
	}
	if len(v.report.Problems) >= maxProblems {
		v.report.More++
		return
	}
	p := Problem{Name: f.Name, Kind: kindOf(f.Kind), File: f.File, Detail: f.Err.Error()}
	if f.Leaf >= 0 {
		p.Leaf = &f.Leaf
	}
	v.report.Problems = append(v.report.Problems, p)
}

func kindOf(err error) Status {
	switch {
	case errors.Is(err, ErrNewer):
		return Newer
	case errors.Is(err, ledger.ErrIncomplete):
		return Incomplete
	case errors.Is(err, ledger.ErrUntrusted):
		return Untrusted
	}
	return Broken
}

func (v *verifier) problem(name string, kind error, file string, format string, args ...any) {
	v.fault(&Fault{Name: name, Kind: kind, File: file, Leaf: -1, Err: fmt.Errorf(format, args...)})
}

func (v *verifier) say(format string, args ...any) {
	v.report.Verified = append(v.report.Verified, fmt.Sprintf(format, args...))
}

func (v *verifier) unsaid(format string, args ...any) {
	v.report.NotVerified = append(v.report.NotVerified, fmt.Sprintf(format, args...))
}

// verify takes the steps of which each needs the one before; what is wrong with
// single files is reported, and the others are looked at all the same.
func (v *verifier) verify(ctx context.Context, r io.ReaderAt, size int64) (err error) {
	if v.zip, err = openArchive(r, size); err != nil {
		return err
	}
	if err := v.openManifest(); err != nil {
		return err
	}
	if err := v.files(ctx); err != nil {
		return err
	}
	if err := v.checkpoint(); err != nil {
		return err
	}
	v.previous()
	if err := v.pin(); err != nil {
		return err
	}
	if v.untrusted {
		// What anybody may have made is not worth reading, and could ask for much memory.
		v.unsaid("Anything that the entries say: they are read when the key is trusted.")
	} else if err := v.slice(ctx); err != nil {
		return err
	}
	v.timestamp()
	return nil
}

// small reads a file as a whole.
func (v *verifier) small(name string, limit int64) ([]byte, error) {
	m, ok := v.zip.find(name)
	if !ok {
		return nil, &Fault{Name: FileMissing, Kind: ledger.ErrIncomplete, File: name, Leaf: -1, Err: errors.New("it is not in the packet")}
	}
	if m.size > limit {
		return nil, refuse(ZipSize, name, "it has %d bytes, such a file has at most %d", m.size, limit)
	}
	return io.ReadAll(v.zip.open(m))
}

// openManifest checks the signature, and that it is over this manifest.
func (v *verifier) openManifest() (err error) {
	if v.envelope, err = v.small(envelopeFile, 64<<10); err != nil {
		return err
	}
	o, err := openEnvelope(v.envelope)
	var newer newerError
	switch {
	case errors.As(err, &newer):
		return &Fault{Name: NewerFormat, Kind: ErrNewer, File: envelopeFile, Leaf: -1, Err: err}
	case err != nil:
		return refuse(BadSignature, envelopeFile, "%w", err)
	}
	v.statement, v.keyID = o.statement, o.keyID
	data, err := v.small(manifestFile, maxManifest)
	if err != nil {
		return err
	}
	if err := v.signature(o); err != nil {
		return err
	}
	if sum := sha256.Sum256(data); len(o.statement.Subject[0].Digest) != 1 || o.statement.Subject[0].Digest["sha256"] != hex.EncodeToString(sum[:]) {
		return refuse(FileHash, manifestFile, "its SHA-256 is %x, %s was signed", sum, o.statement.Subject[0].Digest["sha256"])
	}
	m := &v.manifest
	if err := strictJSON(data, m); err != nil {
		return refuse(BadManifest, manifestFile, "%w", err)
	}
	v.report.Packet = m
	v.sums = map[string]File{}
	if again, err := encodeJSON(m); err != nil || !bytes.Equal(again, data) {
		return refuse(BadManifest, manifestFile, "it is not spelled as it must be")
	}
	if m.Format != Format || m.Ledger != o.statement.Predicate.Ledger {
		return refuse(BadManifest, manifestFile, "it contradicts the statement that was signed with it")
	}
	last := ""
	for _, f := range m.Files {
		if !soundName(f.Name) || f.Name <= last || slices.Contains(unlisted(true), f.Name) {
			return refuse(BadManifest, manifestFile, "file %.80q is out of order, or none that it may list", f.Name)
		}
		last, v.sums[f.Name] = f.Name, f
	}
	known := required(m)
	for _, name := range known {
		if _, ok := v.sums[name]; !ok {
			return refuse(BadManifest, manifestFile, "it does not list %s", name)
		}
	}
	for _, f := range m.Files {
		if !slices.Contains(known, f.Name) && !strings.HasPrefix(f.Name, attachments) {
			return refuse(BadManifest, manifestFile, "it lists %s, which is no file of a packet of format %d", f.Name, Format)
		}
	}
	return nil
}

// required are the files that a manifest lists.
func required(m *Manifest) []string {
	names := []string{readmeFile, leavesFile, proofFile, checkpointFile, ledgerKeyFile, ledgerPEMFile, packetPEMFile, populationFile, verdictsFile}
	if m.Previous != nil {
		names = append(names, previousFile, consistencyFile)
	}
	return names
}

// unlisted are the files that it does not.
func unlisted(stamped bool) []string {
	names := []string{manifestFile, sumsFile, envelopeFile}
	if stamped {
		names = append(names, queryFile, timestampFile)
	}
	return names
}

// signature checks it with the trusted key that it names; where there is none, with
// the packet's own key, so as to tell a foreign key from a broken signature.
func (v *verifier) signature(o openedEnvelope) error {
	for _, k := range v.keys {
		if id, err := KeyID(k); err != nil || id != o.keyID {
			continue
		}
		if !checkSignature(k, o.message, o.signature) {
			return refuse(BadSignature, envelopeFile, "the signature by %s does not match", o.keyID)
		}
		v.say("The manifest is signed by the trusted key %s.", o.keyID)
		return nil
	}
	text, err := v.small(packetPEMFile, 4<<10)
	if err != nil {
		return err
	}
	_, own, err := ParsePublicKey(string(text))
	if err != nil {
		return refuse(BadSignature, packetPEMFile, "%w", err)
	}
	if id, err := KeyID(own); err != nil || id != o.keyID || !checkSignature(own, o.message, o.signature) {
		return refuse(BadSignature, envelopeFile, "signed by %.80s, which is neither a key that was given nor the packet's own, or the signature does not match", o.keyID)
	}
	if len(v.keys) == 0 && v.trust.Pin != nil {
		return v.trustPin(own)
	}
	if len(v.keys) == 0 {
		v.problem(UntrustedKey, ledger.ErrUntrusted, envelopeFile, "no key was given to trust the packet by: it is signed by %s, which whoever made it may have chosen", o.keyID)
		return nil
	}
	v.problem(UntrustedKey, ledger.ErrUntrusted, envelopeFile, "it is signed by %s, and that is none of the %d keys given", o.keyID, len(v.keys))
	return nil
}

// trustPin trusts the ledger key that signed the pinned checkpoint.
func (v *verifier) trustPin(packetKey crypto.PublicKey) error {
	text, err := v.small(ledgerKeyFile, 4<<10)
	if err != nil {
		return err
	}
	verifier, key, err := ParsePublicKey(string(text))
	if err == nil && verifier == nil {
		err = errors.New("not a verifier key of a ledger")
	}
	if err != nil {
		return refuse(BadCheckpoint, ledgerKeyFile, "%w", err)
	}
	if _, err := note.Open(v.trust.Pin, note.VerifierList(verifier)); err != nil {
		v.problem(UntrustedKey, ledger.ErrUntrusted, ledgerKeyFile, "the pinned checkpoint is not signed by the packet's ledger key: %w", err)
		return nil
	}
	v.keys, v.ledgers = append(v.keys, key), append(v.ledgers, key)
	if !equalKeys(packetKey, key) {
		v.problem(UntrustedKey, ledger.ErrUntrusted, envelopeFile, "it is not signed by the ledger's key, which is all that a pin names; give both keys: the ledger's (--key) and the one that signs packets (--key)")
		return nil
	}
	v.say("The manifest is signed by the key that signed the pinned checkpoint.")
	return nil
}

func equalKeys(a, b crypto.PublicKey) bool {
	x, ok := a.(interface{ Equal(crypto.PublicKey) bool })
	return ok && x.Equal(b)
}

// files checks that all files are there, no others, and each with its bytes. The
// leaves and their proof are hashed while they are read for their meaning.
func (v *verifier) files(ctx context.Context) error {
	v.unfit = map[string]bool{}
	extra := unlisted(v.statement.Predicate.Timestamped)
	for _, m := range v.zip.members {
		f, listed := v.sums[m.name]
		switch {
		case !listed && !slices.Contains(extra, m.name):
			v.problem(FileUnlisted, ledger.ErrBroken, m.name, "the manifest does not list it")
		case listed && f.Size != m.size:
			v.unfit[m.name] = true
			v.problem(FileHash, ledger.ErrBroken, m.name, "it has %d bytes, the manifest says %d", m.size, f.Size)
		}
	}
	for _, name := range extra {
		if _, ok := v.zip.find(name); !ok {
			v.unfit[name] = true
			v.problem(FileMissing, ledger.ErrIncomplete, name, "it is not in the packet")
		}
	}
	for _, f := range v.manifest.Files {
		if err := ctx.Err(); err != nil {
			return err
		}
		m, ok := v.zip.find(f.Name)
		if !ok {
			v.unfit[f.Name] = true
			v.problem(FileMissing, ledger.ErrIncomplete, f.Name, "it is not in the packet")
		}
		if !ok || v.unfit[f.Name] || f.Name == leavesFile || f.Name == proofFile {
			continue
		}
		in := newHashing(v.zip.open(m))
		_, err := io.Copy(io.Discard, in)
		if err := v.matches(f, in, err); err != nil {
			return err
		}
	}
	if sums, err := v.small(sumsFile, 2*maxManifest); err == nil {
		manifest, err := v.small(manifestFile, maxManifest)
		if err != nil {
			return err
		}
		if !bytes.Equal(sums, sumsOf(v.manifest.Files, manifest)) {
			v.problem(FileHash, ledger.ErrBroken, sumsFile, "it does not say what the manifest says")
		}
	} else if err := v.note(err); err != nil {
		return err
	}
	for _, f := range v.manifest.Files {
		if strings.HasPrefix(f.Name, attachments) {
			v.unsaid("%s is as it was signed; what it says was not held against the ledger.", f.Name)
		}
	}
	return nil
}

// note reports a fault once and lets the verification go on; other errors come back.
func (v *verifier) note(err error) error {
	var f *Fault
	if !errors.As(err, &f) {
		return err
	}
	if !v.unfit[f.File] {
		v.unfit[f.File] = true
		v.fault(f)
	}
	return nil
}

// matches reports whether a file that was read to its end is the one that was signed.
func (v *verifier) matches(f File, in *hashing, err error) error {
	if err != nil {
		return v.note(err)
	}
	if got := in.sum(); got != f.SHA256 || in.n != f.Size {
		v.unfit[f.Name] = true
		v.problem(FileHash, ledger.ErrBroken, f.Name, "its SHA-256 is %s, the manifest says %s", got, f.SHA256)
	}
	return nil
}

type hashing struct {
	r io.Reader
	h hash.Hash
	n int64
}

func newHashing(r io.Reader) *hashing { return &hashing{r: r, h: sha256.New()} }

func (h *hashing) Read(p []byte) (int, error) {
	n, err := h.r.Read(p)
	h.h.Write(p[:n])
	h.n += int64(n)
	return n, err
}

func (h *hashing) sum() string { return hex.EncodeToString(h.h.Sum(nil)) }

// checkpoint checks the signature of the tree, by a key that is trusted.
func (v *verifier) checkpoint() error {
	m := v.manifest
	verifier, key, err := ParsePublicKey(m.Ledger.Key)
	if err == nil && verifier == nil {
		err = errors.New("not a verifier key of a ledger")
	}
	if err != nil {
		return refuse(BadManifest, manifestFile, "ledger key: %w", err)
	}
	v.keyFiles(key)
	if len(v.keys) > 0 && !slices.ContainsFunc(v.ledgers, func(k crypto.PublicKey) bool { return equalKeys(k, key) }) {
		v.problem(UntrustedKey, ledger.ErrUntrusted, checkpointFile, "the ledger's key %s+%08x is none of those given", verifier.Name(), verifier.KeyHash())
	}
	if v.unfit[checkpointFile] {
		return errNoTree
	}
	signed, err := v.small(checkpointFile, 16<<10)
	if err != nil {
		return err
	}
	v.cp, err = ledger.ParseCheckpoint(signed, m.Ledger.Origin, verifier)
	if err != nil {
		return refuse(BadCheckpoint, checkpointFile, "%w", err)
	}
	if treeOf(v.cp) != m.Ledger.Tree {
		return refuse(BadCheckpoint, checkpointFile, "it is of %d leaves with root %s, the manifest says %d with %s", v.cp.Size, v.cp.Root, m.Ledger.Size, m.Ledger.Root)
	}
	v.say("The checkpoint of ledger %s is signed by its key %s+%08x: %d entries, root %s.", v.cp.Origin, verifier.Name(), verifier.KeyHash(), v.cp.Size, v.cp.Root)
	return nil
}

// keyFiles checks that the keys in the packet, which people use by hand, are the
// ones that it is signed with.
func (v *verifier) keyFiles(ledgerKey crypto.PublicKey) {
	fits := map[string]func(text string) bool{
		ledgerKeyFile: func(text string) bool { return text == v.manifest.Ledger.Key+"\n" },
		ledgerPEMFile: func(text string) bool {
			want, err := encodePEM(ledgerKey)
			return err == nil && text == string(want)
		},
		packetPEMFile: func(text string) bool {
			_, key, err := ParsePublicKey(text)
			if err != nil {
				return false
			}
			id, err := KeyID(key)
			want, pemErr := encodePEM(key)
			return errors.Join(err, pemErr) == nil && id == v.keyID && text == string(want)
		},
	}
	for _, name := range slices.Sorted(maps.Keys(fits)) {
		if text, err := v.small(name, 4<<10); err == nil && !v.unfit[name] && !fits[name](string(text)) {
			v.problem(BadManifest, ledger.ErrBroken, name, "it is not the key that the packet is signed with")
		}
	}
	if text, err := v.small(readmeFile, maxSmall); err == nil && !v.unfit[readmeFile] && string(text) != readme {
		v.unsaid("README.txt is as it was signed, and not the one that this version of the program writes: read its commands before you run them.")
	}
}

// previous checks that the tree goes on from the one of the packet before.
func (v *verifier) previous() {
	m := v.manifest
	if m.Previous == nil {
		v.unsaid("That the ledger goes on from an earlier packet's: this packet has no proof of it.")
		return
	}
	if v.unfit[previousFile] || v.unfit[consistencyFile] {
		return
	}
	verifier, _, err := ParsePublicKey(m.Ledger.Key)
	if err != nil {
		return // has been said
	}
	signed, err := v.small(previousFile, 16<<10)
	if err != nil {
		v.problem(BadConsistency, ledger.ErrBroken, previousFile, "%w", err)
		return
	}
	old, err := ledger.ParseCheckpoint(signed, m.Ledger.Origin, verifier)
	if err == nil && treeOf(old) != *m.Previous {
		err = fmt.Errorf("it is of %d leaves, the manifest says %d", old.Size, m.Previous.Size)
	}
	if err != nil {
		v.problem(BadConsistency, ledger.ErrBroken, previousFile, "%w", err)
		return
	}
	data, err := v.small(consistencyFile, 16<<10)
	if err == nil {
		var hashes []tlog.Hash
		if hashes, err = readHashes(data); err == nil {
			err = checkConsistency(hashes, old.Size, old.Root, v.cp)
		}
	}
	if err != nil {
		v.problem(BadConsistency, ledger.ErrBroken, consistencyFile, "the ledger does not go on from the previous packet's %d entries: %w", old.Size, err)
		return
	}
	v.say("The ledger goes on from the checkpoint enclosed (%[1]d entries): its first %[1]d entries are the same.", old.Size)
	v.goesOn = true
}

// pin holds the packet against a checkpoint that the verifier kept.
func (v *verifier) pin() error {
	if v.trust.Pin == nil {
		return nil
	}
	verifier, _, err := ParsePublicKey(v.manifest.Ledger.Key)
	if err != nil {
		return nil // has been said
	}
	pinned, err := ledger.ParseCheckpoint(v.trust.Pin, v.manifest.Ledger.Origin, verifier)
	if err != nil {
		return &Fault{Name: Replayed, Kind: ledger.ErrUntrusted, Leaf: -1, Err: fmt.Errorf("the pinned checkpoint is not of this packet's ledger: %w", err)}
	}
	switch {
	case pinned.Size == v.cp.Size && pinned.Root == v.cp.Root:
		v.say("It is of the very tree that is pinned.")
	case pinned.Size > v.cp.Size:
		v.problem(Replayed, ledger.ErrBroken, checkpointFile, "it is older than what is pinned: %d entries, and you have seen %d", v.cp.Size, pinned.Size)
	case pinned.Size == v.cp.Size:
		v.problem(BadConsistency, ledger.ErrBroken, checkpointFile, "another tree of %d entries than the pinned one: there are two ledgers", pinned.Size)
	case v.manifest.Previous != nil && *v.manifest.Previous == treeOf(pinned):
		if !v.goesOn {
			v.unsaid("That it goes on from the pinned checkpoint of %d entries: the proof of it does not hold.", pinned.Size)
			break
		}
		v.say("It goes on from the pinned checkpoint of %d entries.", pinned.Size)
	default:
		v.problem(IncompleteSlice, ledger.ErrIncomplete, consistencyFile, "it has no proof that it goes on from the pinned checkpoint of %d entries: have it built with --previous", pinned.Size)
	}
	return nil
}

// slice reads the leaves: are they in the signed tree, what do they come to, is the
// evidence of each verdict among them, and do the derived files say the same?
func (v *verifier) slice(ctx context.Context) error {
	if v.unfit[leavesFile] || v.unfit[proofFile] {
		return nil
	}
	lm, _ := v.zip.find(leavesFile)
	pm, _ := v.zip.find(proofFile)
	leaves, proof := newHashing(v.zip.open(lm)), newHashing(v.zip.open(pm))
	var r *sliceReader
	var later []*Fault // said only of leaves that are proven to be in the ledger
	r = &sliceReader{
		v: v, faults: map[int64]string{}, proof: &proofReader{in: bufio.NewReader(proof)}, lines: bufio.NewReaderSize(leaves, 128<<10),
		state: newState(v.manifest.Period, newAside(v.o.Scratch, v.o.parts), func(name string, leaf int64, format string, args ...any) {
			if v.o.Explain != "" && r.state.about == v.o.Explain {
				r.faults[leaf] = fmt.Sprintf(format, args...)
			}
			r.unproven = r.unproven || name == MissingEvidence || name == BadRecord
			if len(later) <= maxProblems {
				later = append(later, &Fault{Name: name, Kind: ledger.ErrBroken, File: leavesFile, Leaf: leaf, Err: fmt.Errorf(format, args...)})
			} else {
				v.report.More++
			}
		}),
		explain: newExplainer(v.o, v.manifest),
	}
	r.state.custody = newCustody(r.state.aside.room)
	err := r.read(ctx)
	if ctx.Err() != nil {
		return ctx.Err()
	}
	// Whatever was found on the way: first, are these the files that were signed?
	for _, f := range []struct {
		name string
		in   *hashing
	}{{leavesFile, leaves}, {proofFile, proof}} {
		_, copied := io.Copy(io.Discard, f.in)
		if err := v.matches(v.sums[f.name], f.in, copied); err != nil {
			return err
		}
	}
	if v.unfit[leavesFile] || v.unfit[proofFile] {
		v.report.More = 0
		return nil
	}
	if err != nil {
		v.report.More = 0
		return err
	}
	verdicts := &counting{w: io.Discard, h: sha256.New()}
	if err := r.state.verdicts(verdicts); err != nil {
		return err
	}
	// In the order of the ledger, in which they were not all found.
	slices.SortStableFunc(later, func(a, b *Fault) int { return cmp.Compare(a.Leaf, b.Leaf) })
	for _, f := range later {
		v.fault(f)
	}
	v.say("All %d entries in the packet are in the signed tree, each at its place.", r.leaves)
	v.completeness(r)
	v.derived(r, verdicts)
	v.custodySaid(r.state)
	v.judged(r)
	return nil
}

// completeness: is everything of the period there?
func (v *verifier) completeness(r *sliceReader) {
	m := v.manifest
	want := Slice{First: m.Slice.First, End: m.Slice.End, Leaves: r.leaves, Omitted: m.Slice.End - m.Slice.First - r.within, OmittedCanaries: m.Slice.OmittedCanaries}
	if m.Slice != want {
		v.problem(BadDerived, ledger.ErrBroken, manifestFile, "it says that the packet has %d leaves and leaves out %d, there are %d and %d", m.Slice.Leaves, m.Slice.Omitted, want.Leaves, want.Omitted)
	}
	filtered := m.Control != ""
	if filtered {
		v.unsaid("That every entry about the canaries of control %s is here: later or other entries about them may have been left out, verdicts too; what counts here is the last verdict in this packet.", m.Control)
		v.unsaid("That no canary of control %s was left out: %d entries of the period are, of %d canaries of other controls as the packet's builder says.", m.Control, m.Slice.Omitted, m.Slice.OmittedCanaries)
	} else {
		switch {
		case want.Omitted != 0:
			v.problem(IncompleteSlice, ledger.ErrIncomplete, leavesFile, "%d entries of the period are not in the packet", want.Omitted)
		case m.Slice.End != v.cp.Size:
			v.problem(IncompleteSlice, ledger.ErrIncomplete, leavesFile, "it ends at entry %d, and the ledger has %d: later entries about these canaries, verdicts too, may have been left out", m.Slice.End, v.cp.Size)
		case m.Slice.First > 0 && !r.before:
			v.problem(IncompleteSlice, ledger.ErrIncomplete, leavesFile, "the entry before the period is not in the packet, or is of it: it may have begun earlier")
		case r.wentBack != nil: // is said below
		case m.Slice.First == 0:
			v.say("Nothing is left out: the packet has the whole ledger.")
		default:
			v.say("Nothing of the period %s is left out after entry %d: all entries from there to the end of the ledger (%d) are in the packet, and the one before is of another time.", m.Period, m.Slice.First, v.cp.Size-1)
		}
	}
	if m.Slice.First > 0 {
		v.unsaid("That no entry before entry %d is of the period: where it begins rests on the clocks of whoever ran the canaries.", m.Slice.First)
	} else if !m.Period.From.IsZero() || !m.Period.To.IsZero() {
		v.unsaid("That each canary was planned in the period that it is counted in: that rests on the clocks of whoever ran the canaries.")
	}
	if r.wentBack != nil {
		v.fault(r.wentBack)
	}
	for _, text := range r.state.incomplete(filtered) {
		v.problem(IncompleteSlice, ledger.ErrIncomplete, leavesFile, "%s", text)
	}
}

// derived holds population and verdicts against what the entries come to.
func (v *verifier) derived(r *sliceReader, verdicts *counting) {
	s := r.state
	p := s.population()
	v.report.Population = &p
	same := func(name string, c *counting) bool {
		if v.unfit[name] {
			return false
		}
		if f := v.sums[name]; c.n != f.Size || hex.EncodeToString(c.h.Sum(nil)) != f.SHA256 {
			v.problem(BadDerived, ledger.ErrBroken, name, "it does not say what the entries come to")
			return false
		}
		return true
	}
	population, err := encodePopulation(p)
	if err != nil {
		v.problem(BadDerived, ledger.ErrBroken, populationFile, "%w", err)
		return
	}
	again := &counting{w: io.Discard, h: sha256.New()}
	_, _ = again.Write(population) // neither a hash nor nothing fails
	if same(populationFile, again) && same(verdictsFile, verdicts) {
		v.say("The population and the verdicts (%d canaries, runs: %d) are what the entries come to; of each canary the last verdict in this packet counts.", s.planned, len(p.Runs))
	}
	if r.unproven {
		v.unsaid("That the records and receipts that each verdict rests on are in the packet: some are not, or are not what is said of them.")
	} else {
		v.say("The records and receipts that each verdict of these canaries rests on are in the packet.")
	}
	if s.large > 0 {
		v.unsaid("What %d records say: they are too large for the ledger, and only their places and hashes are in the packet.", s.large)
	}
	v.unsaid("That what the entries say is true: the ledger shows that it was written then and not changed since, not that whoever ran the canaries did not lie.")
}

// custodySaid says what of the custody was verified.
func (v *verifier) custodySaid(s *state) {
	if s.seals > 0 {
		v.say("%d log files that records stand in are named, with their hash, by digests that the provider signed; verified with %d public keys kept in the ledger.", s.seals, len(s.custody.keys))
		var names []string
		for _, k := range s.custody.keys {
			if !slices.Contains(names, k.Fingerprint) && len(names) < 20 {
				names = append(names, k.Fingerprint)
			}
		}
		v.unsaid("That these public keys are the provider's; compare their fingerprints with `aws cloudtrail list-public-keys`: %s.", strings.Join(names, ", "))
	} else {
		v.unsaid("The custody of records: the packet has no digest that names one.")
	}
	if n := s.lacking; n > 0 {
		v.unsaid("The custody of %d records: the packet has more digests than this program holds at once.", n)
	}
	if n := s.carriedBefore; n > 0 {
		v.unsaid("What the packet says of %d canaries that were planned before it begins: the evidence of that is in an earlier packet, or in one of both periods.", n)
	}
	v.unsaid("How the objects are held (retention, versioning, keys): the provider's interface said so to us, and signs none of it.")
}

// sliceReader reads leaves along their proof.
type sliceReader struct {
	v        *verifier
	proof    *proofReader
	lines    *bufio.Reader
	state    *state
	explain  *explainer
	leaves   int64
	within   int64            // of the period
	before   bool             // the leaf before it is there, and is of another time
	faults   map[int64]string // what is wrong with entries of it, by leaf
	unproven bool             // a receipt or record is missing, or not what is said of it
	latest   time.Time        // that an entry was written, so far
	wentBack *Fault           // the first entry that is much earlier than one before it
}

func (r *sliceReader) read(ctx context.Context) error {
	var tree growing
	for {
		s, err := r.proof.read()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return faultOr(err, BadProof, proofFile)
		}
		if s.count == 0 {
			tree.add(s.level, s.node)
			continue
		}
		for i := s.first; i < s.first+s.count; i++ {
			leaf, err := r.line()
			if err != nil {
				return faultOr(err, BadProof, leavesFile)
			}
			tree.add(0, tlog.RecordHash(leaf))
			if err := r.leaf(i, leaf); err != nil {
				return err
			}
			if r.leaves%1024 == 0 {
				if err := ctx.Err(); err != nil {
					return err
				}
				if r.v.o.Progress != nil {
					r.v.o.Progress(r.leaves, r.v.manifest.Slice.Leaves)
				}
			}
		}
	}
	if _, err := r.lines.ReadByte(); err == nil {
		return refuse(BadProof, leavesFile, "it has more lines than the proof has leaves")
	} else if !errors.Is(err, io.EOF) {
		return faultOr(err, BadProof, leavesFile)
	}
	root, err := tree.root()
	if err != nil || tree.size != r.v.cp.Size || root != r.v.cp.Root {
		return refuse(BadProof, leavesFile, "the leaves and the proof come to a tree of %d leaves with root %s, signed is one of %d with %s: a leaf is not the one that is in the ledger", tree.size, root, r.v.cp.Size, r.v.cp.Root)
	}
	return nil
}

func faultOr(err error, name, file string) error {
	var f *Fault
	if errors.As(err, &f) {
		return err
	}
	return refuse(name, file, "%w", err)
}

// line reads one leaf.
func (r *sliceReader) line() ([]byte, error) {
	line, err := r.lines.ReadSlice('\n')
	switch {
	case errors.Is(err, io.EOF):
		return nil, errors.New("it has fewer lines than the proof has leaves")
	case errors.Is(err, bufio.ErrBufferFull), err == nil && len(line)-1 > ledger.MaxLeaf:
		return nil, fmt.Errorf("a line has more than the %d bytes of a leaf", ledger.MaxLeaf)
	case err != nil:
		return nil, err
	}
	return line[:len(line)-1], nil
}

func (r *sliceReader) leaf(i int64, leaf []byte) error {
	r.leaves++
	m := r.v.manifest
	if i >= m.Slice.First && i < m.Slice.End {
		r.within++
	}
	e, err := readEntry(leaf)
	if errors.Is(err, errNewEntry) {
		return &Fault{Name: NewerFormat, Kind: ErrNewer, File: leavesFile, Leaf: i, Err: err}
	}
	if err != nil {
		return &Fault{Name: BadEntry, Kind: ledger.ErrBroken, File: leavesFile, Leaf: i, Err: err}
	}
	r.before = r.before || i == m.Slice.First-1 && !m.Period.holds(e.At)
	if e.At.Before(r.latest.Add(-maxBack)) && r.wentBack == nil {
		r.wentBack = &Fault{Name: ClocksWentBack, Kind: ledger.ErrIncomplete, File: leavesFile, Leaf: i, Err: fmt.Errorf(
			"clocks went back: it was written at %s, and an entry before it at %s; what is of the period cannot be told by such clocks", e.At.UTC().Format(time.RFC3339), r.latest.UTC().Format(time.RFC3339))}
	}
	if e.At.After(r.latest) {
		r.latest = e.At
	}
	if m.Control == "" && m.Period.holds(e.At) && (i < m.Slice.First || i >= m.Slice.End) {
		r.state.problem(BadDerived, i, "it is of the period, and lies outside of the leaves that the manifest says are")
	}
	if err := r.state.take(i, e); err != nil {
		return err
	}
	return r.explain.take(i, leaf, e)
}

// timestamp checks it if there must be one.
func (v *verifier) timestamp() {
	if !v.statement.Predicate.Timestamped {
		v.unsaid("When it was signed: it has no timestamp.")
		return
	}
	if v.unfit[queryFile] || v.unfit[timestampFile] {
		return
	}
	query, err := v.small(queryFile, maxStamp)
	if err == nil {
		var response []byte
		if response, err = v.small(timestampFile, maxStamp); err == nil {
			var s stamped
			if s, err = checkTimestamp(v.envelope, query, response, v.trust.Roots); err == nil {
				v.timestampSaid(s)
				return
			}
		}
	}
	v.problem(BadTimestamp, ledger.ErrBroken, timestampFile, "%w", err)
}

func (v *verifier) timestampSaid(s stamped) {
	at := s.at.Format(time.RFC3339)
	if s.root {
		v.say("It was signed before %s, as %q says, whose certificate leads to a root that was given.", at, s.by)
		return
	}
	v.unsaid("That it was signed before %s: a timestamp says so, by %q; give the authority's root certificate to have that verified (--tsa-ca).", at, s.by)
}

// Checkpoint reads the signed checkpoint out of a packet, or of a file that holds
// nothing else, without verifying anything.
func Checkpoint(r io.ReaderAt, size int64) ([]byte, error) {
	head := make([]byte, 2)
	if n, err := r.ReadAt(head, 0); n == 2 && string(head) == "PK" {
		z, err := openArchive(r, size)
		if err != nil {
			return nil, err
		}
		return (&verifier{zip: z}).small(checkpointFile, 16<<10)
	} else if err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	if size > 16<<10 {
		return nil, fmt.Errorf("%d bytes: neither a packet nor a signed checkpoint", size)
	}
	return io.ReadAll(io.NewSectionReader(r, 0, size))
}
