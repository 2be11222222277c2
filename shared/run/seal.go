package run

import (
	"bytes"
	"cmp"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"time"

	"github.com/auditcanary/auditcanary/shared/canary"
	"github.com/auditcanary/auditcanary/shared/trail"
)

// SealOptions choose whose records to look after, and how long.
type SealOptions struct {
	// Run limits it to one run; "" means every canary that is not settled yet.
	Run string
	// Wait goes on until each record is in a digest or none is expected any more:
	// that takes hours. Otherwise one look.
	Wait bool
}

// Seal finds out how the records of canaries are kept: which signed digest names
// the object that each stands in, and what keeps that object from being taken
// away. What is found goes into the ledger with the digest, its signature and the
// provider's public key, and amends the verdict. Whether all else that the chains
// sign for is as it was is Integrity's to find out: Seal reads only what it needs.
func (r *Run) Seal(ctx context.Context, opt SealOptions) error {
	state, _, err := Fold(ctx, r.Log)
	if err != nil {
		return err
	}
	if opt.Run != "" && state.Run(opt.Run) == nil {
		return fmt.Errorf("seal: no run %q in the ledger", opt.Run)
	}
	todo := unkept(state, opt.Run)
	total := len(todo)
	for begun := r.Clock(); len(todo) > 0; {
		if err := r.sealOnce(ctx, state, todo); err != nil {
			return err
		}
		todo = slices.DeleteFunc(todo, (*CanaryState).custodySettled)
		r.progress("seal", total-len(todo), total, "%s", sealSentence(todo))
		if len(todo) == 0 || !opt.Wait || ctx.Err() != nil {
			break
		}
		if err := r.Sleep(ctx, min(max(r.Clock().Sub(begun)/8, r.Poll), 20*r.Poll)); err != nil {
			break
		}
	}
	return r.noteOwn(ctx, cmp.Or(opt.Run, lastRun(state)))
}

func lastRun(s *State) string {
	if len(s.Runs) == 0 {
		return ""
	}
	return s.Runs[len(s.Runs)-1].ID
}

func sealSentence(todo []*CanaryState) string {
	if len(todo) == 0 {
		return "every record is settled"
	}
	v, _ := todo[0].Verdict()
	for _, check := range []canary.Check{canary.Sealed, canary.Immutable} {
		if a := v.Checks[check]; a.Detail != "" {
			return fmt.Sprintf("%s: %s", check, a.Detail)
		}
	}
	return "not settled yet"
}

// unkept are the canaries with records of which it is not yet known for good
// how they are kept.
func unkept(s *State, runID string) []*CanaryState {
	var out []*CanaryState
	for _, cs := range s.Canaries {
		v, judged := cs.Verdict()
		if judged && len(v.Records) > 0 && (runID == "" || cs.Run.ID == runID) && !cs.custodySettled() {
			out = append(out, cs)
		}
	}
	return out
}

// custodySettled: looking again can change nothing. What is immutable now is
// looked at again until it is sealed too.
func (c *CanaryState) custodySettled() bool {
	v, _ := c.Verdict()
	return canary.Settled(v, c.Evidence)
}

// keptRecord is one record whose custody is asked for.
type keptRecord struct {
	cs     *CanaryState
	rec    canary.StepRecord
	stored time.Time
	place  canary.Target
}

func (r *Run) sealOnce(ctx context.Context, state *State, todo []*CanaryState) error {
	var records []keptRecord
	for _, cs := range todo {
		v, _ := cs.Verdict()
		for _, rec := range v.Records {
			records = append(records, keptRecord{cs, rec, cs.storedAt(rec.At), placeOf(cs, rec.At)})
		}
	}
	held, err := r.held(ctx, records)
	if err != nil {
		return err
	}
	signed, err := r.digests(ctx, state, records)
	if err != nil {
		return err
	}
	kept := make([]Kept, len(records))
	for i, rec := range records {
		k := Kept{Custody: canary.Custody{
			Step: rec.rec.Step, At: rec.rec.At, Stored: rec.stored, Required: r.Keeping, Held: held[i],
		}}
		signed.seal(rec, &k)
		if k.Looked.IsZero() {
			k.Looked = r.Clock().UTC() // the store did not say what time it is
		}
		kept[i] = k
	}
	var entries []Entry
	for _, cs := range todo {
		last, _ := cs.Verdict()
		v := last
		v.Checks = maps.Clone(last.Checks)
		ev := cs.Evidence
		ev.Custody = slices.Clone(ev.Custody)
		news := false
		for i := range kept {
			if records[i].cs == cs {
				news = news || !known(ev.Custody, kept[i].Custody)
				ev.Custody = append(ev.Custody, kept[i].Custody)
			}
		}
		canary.Protect(&v, ev)
		if !news && sameAnswers(last, v) {
			continue // as it was when somebody looked last
		}
		for i := range kept {
			if records[i].cs != cs {
				continue
			}
			blobs, err := state.newBlobs(cs.Run.ID, kept[i].digestBytes)
			if err != nil {
				return fmt.Errorf("keep digest %s: %w", kept[i].Seal.Digest, err)
			}
			entries = append(append(entries, blobs...), Entry{Type: "kept", Run: cs.Run.ID, Canary: cs.Plan.Canary.ID, Kept: &kept[i]})
		}
		cs.Evidence = ev
		if !sameAnswers(last, v) {
			entries = append(entries, Entry{Type: "verdict", Run: cs.Run.ID, Canary: cs.Plan.Canary.ID, Verdict: &v})
			cs.Verdicts = append(cs.Verdicts, v)
		}
	}
	return r.appendMany(ctx, entries)
}

// known reports whether the last look at the same record found the same.
func known(all []canary.Custody, c canary.Custody) bool {
	for i := len(all) - 1; i >= 0; i-- {
		if all[i].Step == c.Step && all[i].At == c.At {
			last := all[i]
			last.Looked = c.Looked
			return reflect.DeepEqual(last, c)
		}
	}
	return false
}

// storedAt is when the object of a sighted record arrived.
func (c *CanaryState) storedAt(at canary.Location) time.Time {
	for _, s := range c.Sighted {
		if s.At == at {
			return s.Stored
		}
	}
	return time.Time{}
}

// placeOf is the account and region whose chain must name an object; the key says
// it, and where it does not, the canary's own target is as good as any.
func placeOf(cs *CanaryState, at canary.Location) canary.Target {
	t := cs.Plan.Canary.Target
	if k, err := trail.ParseKey(at.Key); err == nil {
		t.Account, t.Region = k.Account, k.Region
	}
	return t
}

// held asks once for each object version.
func (r *Run) held(ctx context.Context, records []keptRecord) ([]canary.Held, error) {
	type version struct{ key, id string }
	first := map[version]int{}
	var ask []int
	for i, rec := range records {
		v := version{rec.rec.At.Key, rec.rec.At.VersionID}
		if _, asked := first[v]; !asked {
			first[v] = i
			ask = append(ask, i)
		}
	}
	out := make([]canary.Held, len(records))
	err := r.each(ctx, len(ask), func(ctx context.Context, i int) error {
		h, err := r.Custodian.Held(ctx, records[ask[i]].rec.At)
		if err != nil {
			return fmt.Errorf("how %s is held: %w", records[ask[i]].rec.At.Key, err)
		}
		out[ask[i]] = h
		return nil
	})
	for i, rec := range records {
		out[i] = out[first[version{rec.rec.At.Key, rec.rec.At.VersionID}]]
	}
	return out, err
}

// Kept is the custody of one record with what proves it offline: the digest that
// names the record's object (its bytes are in the "blob" entries of
// Digest.SHA256), and the links from there to the head of its chain.
type Kept struct {
	canary.Custody
	Digest *trail.Link  `json:"digest,omitempty"`
	Path   []trail.Link `json:"path,omitempty"`

	digestBytes []byte
}

// Blob is a part of something too large for one entry, gzip-compressed. SHA256 is
// that of the whole, uncompressed, hex.
type Blob struct {
	SHA256 string `json:"sha256"`
	Part   int    `json:"part"`
	Parts  int    `json:"parts"`
	Data   []byte `json:"data"`
}

// maxBlob bounds one part; in base64 it stays below the leaf's limit.
const maxBlob = 44 << 10

// newBlobs are the entries that keep some bytes, none if the ledger has them.
func (s *State) newBlobs(runID string, plain []byte) ([]Entry, error) {
	if plain == nil {
		return nil, nil
	}
	sum := sha256.Sum256(plain)
	id := hex.EncodeToString(sum[:])
	if s.blobs[id] {
		return nil, nil
	}
	s.blobs[id] = true
	var packed bytes.Buffer
	w := gzip.NewWriter(&packed)
	if _, err := w.Write(plain); err != nil {
		return nil, err
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	parts := slices.Collect(slices.Chunk(packed.Bytes(), maxBlob))
	var out []Entry
	for i, p := range parts {
		out = append(out, Entry{Type: "blob", Run: runID, Blob: &Blob{SHA256: id, Part: i + 1, Parts: len(parts), Data: p}})
	}
	return out, nil
}

// maxPath bounds the links of one entry.
const maxPath = 24

// chains are what the digests say of the objects asked for.
type chains struct {
	seals    map[string]trail.Seal    // by log key
	backfill map[string]bool          // the seal is a backfill digest's
	unsealed map[string]trail.Finding // why there is none of the others
	covered  map[canary.Target]time.Time
	keys     []trail.PublicKey
	asOf     time.Time
	failed   string // why nothing is known
}

// seal fills in what the digests say of one record's object.
func (c chains) seal(rec keptRecord, k *Kept) {
	key := rec.rec.At.Key
	if !c.asOf.IsZero() {
		k.Looked = c.asOf
	}
	k.Seal.Covered = c.covered[rec.place]
	why, unsealed := c.unsealed[key]
	s, sealed := c.seals[key]
	switch {
	case c.failed != "":
		k.Seal.Unknown = c.failed
	case !unsealed && !sealed, unsealed && why.Status == trail.Pending:
		// No digest names it yet. How long that may be so is for the judge to say.
	case unsealed && why.Status == trail.Fail:
		k.Seal.Broken = finding(why)
	case unsealed && why.Status == trail.Inconclusive:
		k.Seal.Unknown = finding(why)
	default:
		if err := trail.VerifySeal(s, c.keys); err != nil {
			k.Seal.Broken = err.Error()
			return
		}
		k.Seal = canary.Seal{Digest: s.Digest.Key, LogSHA256: s.LogSHA256, Backfill: c.backfill[key], Head: s.Digest.Key}
		k.Digest, k.Path, k.digestBytes = &s.Digest, s.Path[:min(len(s.Path), maxPath)], s.DigestBytes
		if n := len(k.Path); n > 0 {
			k.Seal.Head = k.Path[n-1].Key
		}
	}
}

func finding(f trail.Finding) string {
	if f.Object == "" {
		return f.Detail
	}
	return f.Object + ": " + f.Detail
}

// digests verifies the digests since the records came, and of the log files those
// that the records stand in. A store whose digests cannot be read at all is no error:
// what seals the records is unknown then.
func (r *Run) digests(ctx context.Context, state *State, records []keptRecord) (chains, error) {
	q := trail.Validation{Wanted: map[string]string{}, OnlyWanted: true, Known: state.publicKeys(), PendingFor: r.Keeping.Overdue}
	for _, rec := range records {
		q.Wanted[rec.rec.At.Key] = rec.rec.At.ObjectSHA256
		if !slices.Contains(q.Places, rec.place) {
			q.Places = append(q.Places, rec.place)
		}
		if from := rec.stored.Add(-time.Hour); q.From.IsZero() || from.Before(q.From) {
			q.From = from
		}
	}
	out := chains{seals: map[string]trail.Seal{}, backfill: map[string]bool{}, unsealed: map[string]trail.Finding{}, covered: map[canary.Target]time.Time{}}
	var entries []Entry
	did, err := r.Custodian.Validate(ctx, q, func(c trail.Result) {
		entries = append(entries, state.newKeys(c.Keys)...)
		for _, s := range c.Seals {
			out.seals[s.LogKey], out.backfill[s.LogKey] = s, c.Chain.Backfill
		}
		for key, why := range c.Unsealed {
			out.unsealed[key] = why
		}
		place := canary.Target{Provider: records[0].place.Provider, Account: c.Chain.Account, Region: c.Chain.Region}
		if !c.Chain.Backfill && c.Last.After(out.covered[place]) {
			out.covered[place] = c.Last
		}
	})
	if err != nil {
		out.failed = err.Error()
	}
	out.keys, out.asOf = state.publicKeys(), did.AsOf
	if len(entries) == 0 {
		return out, nil
	}
	return out, r.append(ctx, entries...)
}
