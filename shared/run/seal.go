package run

import (
	"bytes"
	"cmp"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"sync"
	"time"

	"github.com/auditcanary/auditcanary/shared/canary"
	"github.com/auditcanary/auditcanary/shared/ledger"
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
	total, lastID := 0, opt.Run
	for begun := r.Clock(); ; {
		// Anew each time: others write verdicts meanwhile.
		state, _, err := Fold(ctx, r.Log)
		if err != nil {
			return err
		}
		if opt.Run != "" && state.Run(opt.Run) == nil {
			return fmt.Errorf("seal: no run %q in the ledger", opt.Run)
		}
		lastID = cmp.Or(lastID, lastRun(state))
		todo := r.unkept(state, opt.Run)
		ids := behind(state, todo, opt.Run)
		if len(ids) == 0 {
			break
		}
		total = max(total, len(todo))
		found, err := r.look(ctx, state, todo)
		if err != nil {
			return err
		}
		if state, err = r.recordCustody(ctx, ids, found); err != nil {
			return err
		}
		todo = r.unkept(state, opt.Run)
		r.progress("seal", total-len(todo), total, "%s", sealSentence(todo))
		awaited := slices.ContainsFunc(todo, func(cs *CanaryState) bool { v, _ := cs.Verdict(); return canary.Awaits(v, cs.Evidence) })
		if !awaited || !opt.Wait || ctx.Err() != nil {
			break
		}
		if err := r.Sleep(ctx, min(max(r.Clock().Sub(begun)/8, r.Poll), 20*r.Poll)); err != nil {
			break
		}
	}
	return r.noteOwn(ctx, lastID)
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

// givenUp is after what time nobody looks again at what could never be found out.
const givenUp = 14 * 24 * time.Hour

// unkept are the canaries with records of which it is not yet known for good
// how they are kept.
func (r *Run) unkept(s *State, runID string) []*CanaryState {
	var out []*CanaryState
	for _, cs := range s.Canaries {
		v, judged := cs.Verdict()
		if !judged || len(v.Records) == 0 || runID != "" && cs.Run.ID != runID || canary.Settled(v, cs.Evidence) {
			continue
		}
		if len(cs.Evidence.Custody) > 0 && !canary.Awaits(v, cs.Evidence) && r.Clock().Sub(cs.At) > givenUp {
			continue
		}
		out = append(out, cs)
	}
	return out
}

// behind are the canaries to look at, by id, with those whose verdict does not say
// what is known of their custody: somebody gave it who did not know.
func behind(s *State, todo []*CanaryState, runID string) []string {
	var ids []string
	for _, cs := range todo {
		ids = append(ids, cs.Plan.Canary.ID)
	}
	for _, cs := range s.Canaries {
		v, judged := cs.Verdict()
		if judged && len(cs.Evidence.Custody) > 0 && (runID == "" || cs.Run.ID == runID) && !slices.Contains(todo, cs) && !sameAnswers(v, protected(v, cs.Evidence)) {
			ids = append(ids, cs.Plan.Canary.ID)
		}
	}
	return ids
}

// protected is a verdict with what is known of the custody.
func protected(v canary.Verdict, ev canary.Evidence) canary.Verdict {
	v.Checks = maps.Clone(v.Checks)
	canary.Protect(&v, ev)
	return v
}

// keptRecord is one record whose custody is asked for.
type keptRecord struct {
	cs     *CanaryState
	rec    canary.StepRecord
	stored time.Time
	place  canary.Target
}

// look finds out how the records of canaries are kept, by canary.
func (r *Run) look(ctx context.Context, state *State, todo []*CanaryState) (map[string][]Kept, error) {
	var records []keptRecord
	for _, cs := range todo {
		v, _ := cs.Verdict()
		for _, rec := range v.Records {
			records = append(records, keptRecord{cs, rec, cs.storedAt(rec.At), placeOf(cs, rec.At)})
		}
	}
	if len(records) == 0 {
		return nil, nil
	}
	held, err := r.held(ctx, records)
	if err != nil {
		return nil, err
	}
	signed, err := r.digests(ctx, state, records)
	if err != nil {
		return nil, err
	}
	out := map[string][]Kept{}
	for i, rec := range records {
		k := Kept{Custody: canary.Custody{
			Step: rec.rec.Step, At: rec.rec.At, Stored: rec.stored, Required: r.Keeping, Held: held[i],
		}}
		signed.seal(rec, &k)
		if k.Looked.IsZero() {
			k.Looked = r.Clock().UTC() // the store did not say what time it is
		}
		id := rec.cs.Plan.Canary.ID
		out[id] = append(out[id], k)
	}
	return out, nil
}

// recordCustody writes down what was found, and what it makes of the verdicts that
// stand by then: it appends at the very size of the ledger that it has read. It
// returns the ledger's state afterwards.
func (r *Run) recordCustody(ctx context.Context, ids []string, found map[string][]Kept) (*State, error) {
	for {
		state, cp, err := Fold(context.WithoutCancel(ctx), r.Log)
		if err != nil || len(ids) == 0 {
			return state, err
		}
		var leaves [][]byte
		n, size := 0, 0
		for n < len(ids) && size < maxAtOnce {
			entries, err := state.custodyEntries(ids[n], found[ids[n]])
			if err != nil {
				return nil, err
			}
			encoded, err := r.encode(entries)
			if err != nil {
				return nil, err
			}
			for _, leaf := range encoded {
				size += len(leaf)
			}
			leaves = append(leaves, encoded...)
			n++
		}
		if len(leaves) > 0 {
			err = r.appendAt(ctx, cp.Size, leaves)
		}
		if errors.Is(err, ledger.ErrMoved) {
			continue // somebody else appended: judge anew what stands now
		}
		if err != nil {
			return nil, err
		}
		ids = ids[n:]
	}
}

// custodyEntries are what is new of one canary's custody, with the verdict if it
// changes that.
func (s *State) custodyEntries(id string, kept []Kept) ([]Entry, error) {
	cs := s.byCanary[id]
	last, _ := cs.Verdict()
	ev := cs.Evidence
	ev.Custody = slices.Clone(ev.Custody)
	news := false
	for _, k := range kept {
		news = news || !known(ev.Custody, k.Custody)
		ev.Custody = append(ev.Custody, k.Custody)
	}
	v := protected(last, ev)
	amended := !sameAnswers(last, v)
	if !news && !amended {
		return nil, nil // as it was when somebody looked last
	}
	var entries []Entry
	for i := range kept {
		blobs, err := s.newBlobs(cs.Run.ID, kept[i].digestBytes)
		if err != nil {
			return nil, fmt.Errorf("keep digest %s: %w", kept[i].Seal.Digest, err)
		}
		entries = append(append(entries, blobs...), Entry{Type: "kept", Run: cs.Run.ID, Canary: id, Kept: &kept[i]})
	}
	if amended {
		entries = append(entries, Entry{Type: "verdict", Run: cs.Run.ID, Canary: id, Verdict: &v})
	}
	return entries, nil
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
	type version struct{ bucket, key, id string }
	first := map[version]int{} // where in ask
	var ask []canary.Location
	for _, rec := range records {
		v := version{rec.rec.At.Bucket, rec.rec.At.Key, rec.rec.At.VersionID}
		if _, asked := first[v]; !asked {
			first[v] = len(ask)
			ask = append(ask, rec.rec.At)
		}
	}
	answers, err := r.Custodian.Held(ctx, ask)
	if err != nil {
		return nil, fmt.Errorf("how %d objects are held: %w", len(ask), err)
	}
	out := make([]canary.Held, len(records))
	for i, rec := range records {
		out[i] = answers[first[version{rec.rec.At.Bucket, rec.rec.At.Key, rec.rec.At.VersionID}]]
	}
	return out, nil
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

// maxPath bounds the links of one entry: of a record that is sealed later than a day
// after its digest came, the path ends before the chain's head.
const maxPath = 24

// chains are what the digests say of the objects asked for.
type chains struct {
	seals    map[string]trail.Seal    // by log key
	backfill map[string]bool          // the seal is a backfill digest's
	unsealed map[string]trail.Finding // why there is none of the others
	// By place: until when digests cover it, its store's time, why nothing is known.
	covered, asOf map[canary.Target]time.Time
	failed        map[canary.Target]string
	keys          []trail.PublicKey
}

// seal fills in what the digests say of one record's object.
func (c chains) seal(rec keptRecord, k *Kept) {
	key := rec.rec.At.Key
	k.Looked = c.asOf[rec.place]
	k.Seal.Covered = c.covered[rec.place]
	why, unsealed := c.unsealed[key]
	s, sealed := c.seals[key]
	switch {
	case c.failed[rec.place] != "":
		k.Seal.Unknown = c.failed[rec.place]
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

// digests verifies, place by place, the digests since the records came, and of the
// log files those that the records stand in. A place whose digests cannot be read at
// all is no error: what seals its records is unknown then.
func (r *Run) digests(ctx context.Context, state *State, records []keptRecord) (chains, error) {
	out := chains{
		seals: map[string]trail.Seal{}, backfill: map[string]bool{}, unsealed: map[string]trail.Finding{},
		covered: map[canary.Target]time.Time{}, asOf: map[canary.Target]time.Time{}, failed: map[canary.Target]string{},
	}
	byPlace := map[canary.Target][]keptRecord{}
	var places []canary.Target
	for _, rec := range records {
		if byPlace[rec.place] == nil {
			places = append(places, rec.place)
		}
		byPlace[rec.place] = append(byPlace[rec.place], rec)
	}
	known, heads := state.publicKeys(), state.headsOf(places)
	var mu sync.Mutex // of out, entries and state
	var entries []Entry
	err := r.each(ctx, len(places), func(ctx context.Context, i int) error {
		place := places[i]
		q := trail.Validation{
			Places: []canary.Target{place}, Wanted: map[string]string{}, OnlyWanted: true, PendingFor: r.Keeping.Overdue,
			Known: known, Heads: slices.DeleteFunc(slices.Clone(heads), func(h trail.Head) bool { return h.Chain.Account != place.Account || h.Chain.Region != place.Region }),
		}
		for _, rec := range byPlace[place] {
			q.Wanted[rec.rec.At.Key] = rec.rec.At.ObjectSHA256
			if from := rec.stored.Add(-time.Hour); q.From.IsZero() || from.Before(q.From) {
				q.From = from
			}
		}
		did, err := r.Custodian.Validate(ctx, q, func(c trail.Result) {
			mu.Lock()
			defer mu.Unlock()
			entries = append(entries, state.newKeys(c.Keys)...)
			out.add(place, c)
		})
		mu.Lock()
		defer mu.Unlock()
		out.asOf[place] = did.AsOf
		if err != nil {
			out.failed[place] = err.Error()
		}
		return nil
	})
	if err != nil {
		return out, err
	}
	out.keys = state.publicKeys()
	if len(entries) == 0 {
		return out, nil
	}
	return out, r.append(ctx, entries...)
}

// add takes one chain's result in.
func (c *chains) add(place canary.Target, r trail.Result) {
	for _, s := range r.Seals {
		c.seals[s.LogKey], c.backfill[s.LogKey] = s, r.Chain.Backfill
	}
	for key, why := range r.Unsealed {
		c.unsealed[key] = why
	}
	if !r.Chain.Backfill && r.Last.After(c.covered[place]) {
		c.covered[place] = r.Last
	}
	for _, f := range r.Findings {
		if f.Kind == trail.HeadMissing || f.Kind == trail.HeadChanged {
			// What signs for the records may still be there; what followed is not.
			c.failed[place] = "the chain of digests was broken after it was verified last: " + finding(f)
		}
	}
}
