// Package packet holds evidence that whoever receives it can check alone.
//
// A packet is a zip file: a slice of the ledger with the proof that it is in the
// signed tree, and everything that follows from the slice, so that it can be held
// against it. Build writes one, Verify checks one, Explain tells the custody of a
// single canary. The files, in this order:
//
//	README.txt               how to check all this by hand
//	ledger/leaves.jsonl      the entries of the slice, a line each, exact bytes
//	ledger/proof.txt         which leaves those are, and the hashes of all others
//	ledger/checkpoint        the signed tree that they are in
//	ledger/previous          the checkpoint of the packet before (may be missing)
//	ledger/consistency.txt   the proof that the tree goes on from that one
//	keys/...                 the public keys; they prove nothing by themselves
//	population.json          what was in scope, planned, done, found, left out
//	verdicts.csv             the last verdict in this packet of each canary
//	attachments/...          whatever else was put in; signed, not understood
//	manifest.json            what the packet is, and each file's size and SHA-256
//	SHA256SUMS               the same for sha256sum
//	manifest.dsse.json       an in-toto statement over the manifest, signed (DSSE)
//	timestamp.tsq, .tsr      RFC 3161: when that was signed (may be missing)
//
// population.json and verdicts.csv are a fold over leaves.jsonl: Verify computes
// them anew and compares. Equal ledgers and options give equal bytes, but for
// timestamps and signatures that are random by nature (ECDSA).
//
// # Where it stands
//
// Above shared/run, whose entries it must understand, and below every driver: it
// may be linked into a program that knows no cloud, and the verifier is one. So
// that it stays so, tests/plan_test.go lets nothing here import an SDK, through whatever
// package, or net/http and os by itself. Signing with a key management service and asking a
// time-stamping authority are functions that the caller hands in.
package packet

import (
	"errors"
	"fmt"
	"time"

	"github.com/auditcanary/auditcanary/shared/canary"
)

// Format of the packets that this program writes, and the newest that it reads.
const Format = 1

// Names of a packet's files.
const (
	readmeFile      = "README.txt"
	leavesFile      = "ledger/leaves.jsonl"
	proofFile       = "ledger/proof.txt"
	checkpointFile  = "ledger/checkpoint"
	previousFile    = "ledger/previous"
	consistencyFile = "ledger/consistency.txt"
	ledgerKeyFile   = "keys/ledger.vkey"
	ledgerPEMFile   = "keys/ledger.pem"
	packetPEMFile   = "keys/packet.pem"
	populationFile  = "population.json"
	verdictsFile    = "verdicts.csv"
	manifestFile    = "manifest.json"
	sumsFile        = "SHA256SUMS"
	envelopeFile    = "manifest.dsse.json"
	queryFile       = "timestamp.tsq"
	timestampFile   = "timestamp.tsr"
	attachments     = "attachments/"
)

// Manifest says what a packet is and lists its files. It is what is signed.
type Manifest struct {
	Format int `json:"format"`
	// Program is the version of the program that built it.
	Program string `json:"program"`
	Ledger  Head   `json:"ledger"`
	Period  Period `json:"period"`
	// Control is the pattern that controls had to match, "" for all.
	Control string `json:"control,omitempty"`
	Slice   Slice  `json:"slice"`
	// Previous is the tree that the packet before was of.
	Previous *Tree `json:"previous,omitempty"`
	// SLO that the configuration demanded when the packet was built.
	SLO canary.SLO `json:"slo"`
	// Parts that evidence can have, and whether this packet has them.
	Parts []Part `json:"parts"`
	// Files by name, but for this one, SHA256SUMS and what is made after it.
	Files []File `json:"files"`
}

// Head is the signed tree that the slice is in.
type Head struct {
	Origin string `json:"origin"`
	Tree
	Key string `json:"key"` // verifier key of the checkpoint
}

// Tree is a ledger at one size.
type Tree struct {
	Size int64  `json:"size"`
	Root string `json:"root"` // base64
}

// Period in which the canaries of a packet were planned, by the clock of whoever
// ran them; a zero end is open.
type Period struct {
	From time.Time `json:"from,omitzero"`
	To   time.Time `json:"to,omitzero"` // exclusive
}

func (p Period) holds(t time.Time) bool {
	return !t.Before(p.From) && (p.To.IsZero() || t.Before(p.To))
}

// String says it for people.
func (p Period) String() string {
	stamp := func(t time.Time, open string) string {
		if t.IsZero() {
			return open
		}
		return t.UTC().Format(time.RFC3339)
	}
	return fmt.Sprintf("from %s to %s", stamp(p.From, "the beginning"), stamp(p.To, "the end of the ledger"))
}

// Slice says which leaves a packet has.
type Slice struct {
	// First is the first leaf of the period, by the clock of whoever wrote it. End
	// (exclusive) is the size of the tree: what was found out about the canaries
	// after the period is in the packet too. Where a control limits the packet, it is
	// the end of the period: completeness is not proven then anyway.
	First int64 `json:"first"`
	End   int64 `json:"end"`
	// Leaves in the packet: those from First to End, and those before and after them
	// that belong to its canaries.
	Leaves int64 `json:"leaves"`
	// Omitted leaves between First and End, of canaries whose controls did not match.
	Omitted         int64 `json:"omitted"`
	OmittedCanaries int   `json:"omitted_canaries"`
}

// Part is one kind of evidence.
type Part struct {
	Name    string `json:"name"`
	Present bool   `json:"present"`
	Note    string `json:"note,omitempty"`
}

// File of a packet.
type File struct {
	Name   string `json:"name"`
	Size   int64  `json:"size"`
	SHA256 string `json:"sha256"` // hex
}

// ErrNewer says that something was written by a program newer than this one.
var ErrNewer = errors.New("of a newer format")

// Names of what can be wrong beside the zip file; see Fault.
const (
	FileMissing       = "file-missing"
	FileUnlisted      = "file-unlisted"
	FileHash          = "file-hash"
	BadManifest       = "manifest"
	BadSignature      = "signature"
	UntrustedKey      = "untrusted-key"
	NewerFormat       = "newer-format"
	BadCheckpoint     = "checkpoint"
	BadProof          = "inclusion"
	BadConsistency    = "consistency"
	Replayed          = "replayed"
	BadEntry          = "entry"
	MissingEvidence   = "evidence-missing"
	BadRecord         = "record"
	BadCustody        = "custody"
	BadDerived        = "derived"
	IncompleteSlice   = "slice-incomplete"
	ClocksWentBack    = "clocks-went-back"
	TooMuch           = "too-much"
	BadTimestamp      = "timestamp"
	UnverifiedCustody = "custody-unverified"
)

// Fault is one thing wrong with a packet. Kind is ledger.ErrBroken,
// ledger.ErrIncomplete, ledger.ErrUntrusted or ErrNewer, for errors.Is.
type Fault struct {
	Name string // what is wrong, in a word that programs can rely on
	Kind error
	File string // of the packet, "" if it is about none
	Leaf int64  // index in the ledger, -1 if it is about none
	Err  error
}

func (f *Fault) Error() string {
	text := fmt.Sprintf("%v (%s)", f.Kind, f.Name)
	if f.File != "" {
		text += ": " + f.File
	}
	if f.Leaf >= 0 {
		text += fmt.Sprintf(": leaf %d", f.Leaf)
	}
	return fmt.Sprintf("%s: %v", text, f.Err)
}

// Unwrap gives the kind and the cause.
func (f *Fault) Unwrap() []error { return []error{f.Kind, f.Err} }
