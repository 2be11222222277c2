package run_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto"
	"crypto/md5"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/auditcanary/auditcanary/shared/canary"
	"github.com/auditcanary/auditcanary/shared/run"
	"github.com/auditcanary/auditcanary/shared/trail"
)

// safe is a run.Custodian whose digest signs for every object that was wanted,
// once the world's clock has come to its hour.
type safe struct {
	w       *world
	private *rsa.PrivateKey
	public  trail.PublicKey
	from    time.Time // the digest is there from then on
	held    canary.Held
	failed  error                    // nothing can be read
	why     map[string]trail.Finding // what is wrong with an object, by key
	queries []trail.Validation
	pending []trail.PendingFile // of the folder
	found   []trail.Finding     // of it
	// meanwhile happens while somebody looks.
	meanwhile func()
}

// safeKey is made once: it takes longer than all else here.
var safeKey = sync.OnceValue(func() *rsa.PrivateKey {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		panic(err)
	}
	return key
})

func newSafe(t *testing.T, w *world) *safe {
	t.Helper()
	private := safeKey()
	der := x509.MarshalPKCS1PublicKey(&private.PublicKey)
	print := md5.Sum(der)
	return &safe{
		w: w, private: private, public: trail.PublicKey{Fingerprint: hex.EncodeToString(print[:]), DER: der}, from: w.now,
		held: canary.Held{Mode: canary.Compliance, Until: w.now.AddDate(2, 0, 0), Bucket: canary.BucketHeld{Versioning: "Enabled", DefaultMode: canary.Compliance, DefaultDays: 365}},
		why:  map[string]trail.Finding{},
	}
}

func (v *safe) Held(ctx context.Context, at []canary.Location) ([]canary.Held, error) {
	if v.meanwhile != nil {
		v.meanwhile()
	}
	return slices.Repeat([]canary.Held{v.held}, len(at)), ctx.Err()
}

func (v *safe) Validate(_ context.Context, q trail.Validation, each func(trail.Result)) (trail.Validated, error) {
	v.w.mu.Lock()
	now := v.w.now
	v.w.mu.Unlock()
	v.queries = append(v.queries, q)
	if v.failed != nil {
		return trail.Validated{}, v.failed
	}
	r := trail.Result{Chain: trail.Chain{Account: "1", Region: "r", Trail: "t", HomeRegion: "r"}, Unsealed: map[string]trail.Finding{}}
	if now.Before(v.from) {
		for key := range q.Wanted {
			r.Unsealed[key] = trail.Finding{Kind: trail.LogUnreferenced, Status: trail.Pending}
		}
	} else {
		digest, link := v.sign(q.Wanted)
		r.Keys, r.First, r.Last = []trail.PublicKey{v.public}, link.Start, link.End
		r.Head = &trail.Head{Chain: r.Chain, Link: link}
		for _, key := range slices.Sorted(maps.Keys(q.Wanted)) {
			if why, wrong := v.why[key]; wrong {
				r.Unsealed[key] = why
				continue
			}
			r.Seals = append(r.Seals, trail.Seal{LogKey: key, LogSHA256: q.Wanted[key], Digest: link, DigestBytes: digest})
		}
	}
	each(r)
	if v.pending != nil {
		folder := trail.Chain{Account: "1", Region: "r"}
		each(trail.Result{Chain: folder, Head: &trail.Head{Chain: folder, AsOf: now, Pending: v.pending}, Findings: v.found})
	}
	return trail.Validated{AsOf: now}, nil
}

// sign makes a digest that lists the objects.
func (v *safe) sign(logs map[string]string) ([]byte, trail.Link) {
	link := trail.Link{Bucket: "b", Key: "digest", Start: v.from.Add(-time.Hour).Truncate(time.Second), End: v.from.Truncate(time.Second), Fingerprint: v.public.Fingerprint}
	var files []map[string]string
	for _, key := range slices.Sorted(maps.Keys(logs)) {
		files = append(files, map[string]string{"s3Bucket": "b", "s3Object": key, "hashValue": logs[key], "hashAlgorithm": "SHA-256"})
	}
	digest, err := json.Marshal(map[string]any{
		"awsAccountId": "1", "digestStartTime": link.Start.Format(time.RFC3339), "digestEndTime": link.End.Format(time.RFC3339),
		"digestS3Bucket": "b", "digestS3Object": "digest", "digestPublicKeyFingerprint": link.Fingerprint, "logFiles": files,
		"previousDigestS3Bucket": nil, "previousDigestS3Object": nil, "previousDigestHashValue": nil, "previousDigestHashAlgorithm": nil, "previousDigestSignature": nil,
	})
	if err != nil {
		panic(err)
	}
	link.SHA256 = fmt.Sprintf("%x", sha256.Sum256(digest))
	hashed := sha256.Sum256([]byte(link.End.Format(time.RFC3339) + "\nb/digest\n" + link.SHA256 + "\nnull"))
	signature, err := rsa.SignPKCS1v15(nil, v.private, crypto.SHA256, hashed[:])
	if err != nil {
		panic(err)
	}
	link.Signature = hex.EncodeToString(signature)
	return digest, link
}

var demanded = canary.Keeping{Mode: canary.Compliance, Days: 365, Digested: 2 * time.Hour, Overdue: 24 * time.Hour}

// confirmed is a run whose records have been found, with a safe that keeps them.
func confirmed(t *testing.T) (*world, *safe, *run.Run) {
	t.Helper()
	w := newWorld()
	s, v := key(t)
	r, err := process(t, w, newMemory(), s, v)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(r.Inject(t.Context(), "20261122-aaaaaa"), r.Confirm(t.Context(), run.ConfirmOptions{Wait: true})); err != nil {
		t.Fatal(err)
	}
	safe := newSafe(t, w)
	r.Custodian, r.Keeping = safe, demanded
	return w, safe, r
}

func checks(t *testing.T, r *run.Run, check canary.Check) map[canary.Status]int {
	t.Helper()
	return summary(t, r, "").Tally.Checks[check]
}

func TestARecordIsSealedWhenADigestSignsForItsObject(t *testing.T) {
	_, v, r := confirmed(t)
	v.from = v.w.now.Add(time.Hour)
	if err := r.Seal(t.Context(), run.SealOptions{}); err != nil {
		t.Fatal(err)
	}
	if got := checks(t, r, canary.Sealed); got[canary.NotRun] != 2 {
		t.Errorf("before the digest came: %v", got)
	}
	v.w.now = v.from
	if err := r.Seal(t.Context(), run.SealOptions{}); err != nil {
		t.Fatal(err)
	}
	if sealed, immutable := checks(t, r, canary.Sealed), checks(t, r, canary.Immutable); sealed[canary.Pass] != 2 || immutable[canary.Pass] != 2 {
		t.Errorf("sealed %v, immutable %v", sealed, immutable)
	}
	asked := len(v.queries)
	if err := r.Seal(t.Context(), run.SealOptions{}); err != nil || len(v.queries) != asked {
		t.Errorf("what is settled was asked again: %v", err)
	}
	verifiesOffline(t, r, 3)
}

// verifiesOffline takes the custody of n records out of the ledger and verifies each
// with nothing else.
func verifiesOffline(t *testing.T, r *run.Run, n int) {
	t.Helper()
	cp, err := r.Log.Checkpoint(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var keys []trail.PublicKey
	blobs, sealed := map[string][]byte{}, map[canary.Location]bool{}
	for leaf, err := range r.Log.Entries(t.Context(), 0, cp.Size) {
		var e run.Entry
		if err := errors.Join(err, json.Unmarshal(leaf.Data, &e)); err != nil {
			t.Fatal(err)
		}
		switch {
		case e.PublicKey != nil:
			keys = append(keys, *e.PublicKey)
		case e.Blob != nil:
			blobs[e.Blob.SHA256] = append(blobs[e.Blob.SHA256], e.Blob.Data...)
		case e.Kept != nil && e.Kept.Digest != nil:
			gz, err := gzip.NewReader(bytes.NewReader(blobs[e.Kept.Digest.SHA256]))
			if err != nil {
				t.Fatal(err)
			}
			digest, err := io.ReadAll(gz)
			if err != nil {
				t.Fatal(err)
			}
			s := trail.Seal{LogKey: e.Kept.At.Key, LogSHA256: e.Kept.At.ObjectSHA256, Digest: *e.Kept.Digest, DigestBytes: digest, Path: e.Kept.Path}
			if err := trail.VerifySeal(s, keys); err != nil {
				t.Error(err)
			}
			sealed[e.Kept.At] = true
		}
	}
	if len(sealed) != n || len(blobs) != 1 || len(keys) != 1 {
		t.Errorf("custody of %d records, %d digests, %d keys; want %d, 1, 1", len(sealed), len(blobs), len(keys), n)
	}
}

func TestWhatIsWrongWithTheCustodyIsSaid(t *testing.T) {
	bad := func(status trail.Status) func(*safe) {
		return func(v *safe) {
			for _, si := range v.w.records {
				v.why[si.At.Key] = trail.Finding{Kind: trail.LogChanged, Status: status, Object: "s3://b/" + si.At.Key, Detail: "its bytes are others"}
			}
		}
	}
	for _, tt := range []struct {
		claim  string
		change func(*safe)
		check  canary.Check
		status canary.Status
		detail string
	}{
		{"the object was changed", bad(trail.Fail), canary.Sealed, canary.Fail, "its bytes are others"},
		{"the object could not be read", bad(trail.Inconclusive), canary.Sealed, canary.Inconclusive, "its bytes are others"},
		{"nothing could be read", func(v *safe) { v.failed = errors.New("access denied") }, canary.Sealed, canary.Inconclusive, "access denied"},
		{"a signature that is not the key's", func(v *safe) {
			other, err := rsa.GenerateKey(rand.Reader, 2048)
			if err != nil {
				panic(err)
			}
			v.private = other
		}, canary.Sealed, canary.Fail, "signature does not match"},
		{"no digest in time", func(v *safe) { v.from = v.w.now.AddDate(1, 0, 0); v.w.now = v.w.now.Add(3 * time.Hour) }, canary.Sealed, canary.Late, "one was due by"},
		{"no digest at all", func(v *safe) { v.from = v.w.now.AddDate(1, 0, 0); v.w.now = v.w.now.Add(25 * time.Hour) }, canary.Sealed, canary.Fail, "has not signed"},
		{"no retention", func(v *safe) { v.held.Mode = "" }, canary.Immutable, canary.Fail, "no retention"},
		{"the retention is not known", func(v *safe) { v.held.Mode, v.held.Unread = "", []string{"retention: denied"} }, canary.Immutable, canary.Inconclusive, "denied"},
	} {
		t.Run(tt.claim, func(t *testing.T) {
			_, v, r := confirmed(t)
			tt.change(v)
			if err := r.Seal(t.Context(), run.SealOptions{}); err != nil {
				t.Fatal(err)
			}
			for _, l := range summary(t, r, "").Canaries {
				if a := l.Checks[tt.check]; a.Status != tt.status || !strings.Contains(a.Detail, tt.detail) {
					t.Errorf("%s: %+v, want %s: %s", tt.check, a, tt.status, tt.detail)
				}
				if l.Status != tt.status {
					t.Errorf("the canary is %s, want %s", l.Status, tt.status)
				}
			}
		})
	}
}

// While one process looks, which takes long, another gives a verdict: that stands.
func TestASealAmendsTheVerdictThatStands(t *testing.T) {
	_, v, r := confirmed(t)
	v.meanwhile = func() {
		v.meanwhile = nil
		rejudge(t, r, func(v *canary.Verdict) {
			v.Checks[canary.Cleaned] = canary.Answer{Status: canary.Fail, Detail: "it is back"}
		})
	}
	if err := r.Seal(t.Context(), run.SealOptions{}); err != nil {
		t.Fatal(err)
	}
	if cleaned, sealed := checks(t, r, canary.Cleaned), checks(t, r, canary.Sealed); cleaned[canary.Fail] != 2 || sealed[canary.Pass] != 2 {
		t.Errorf("cleaned %v, sealed %v: want what was found out meanwhile, and the seal", cleaned, sealed)
	}
}

// rejudge is another process that gives every canary its first verdict again, changed.
func rejudge(t *testing.T, r *run.Run, change func(*canary.Verdict)) {
	t.Helper()
	state, _, err := run.Fold(t.Context(), r.Log)
	if err != nil {
		t.Fatal(err)
	}
	for _, cs := range state.Canaries {
		old := cs.Verdicts[0]
		old.Checks = maps.Clone(old.Checks)
		change(&old)
		leaf, err := json.Marshal(run.Entry{V: 1, Type: "verdict", Run: cs.Run.ID, Canary: cs.Plan.Canary.ID, Verdict: &old})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := r.Log.Append(t.Context(), leaf); err != nil {
			t.Fatal(err)
		}
	}
}

// Whoever confirms without knowing of a seal must not undo it for good.
func TestASealThatAVerdictForgotComesBack(t *testing.T) {
	_, v, r := confirmed(t)
	if err := r.Seal(t.Context(), run.SealOptions{}); err != nil {
		t.Fatal(err)
	}
	rejudge(t, r, func(*canary.Verdict) {}) // as it was before the seal
	if got := checks(t, r, canary.Sealed); got[canary.Pass] != 0 {
		t.Fatalf("nothing was forgotten: %v", got)
	}
	looks := len(v.queries)
	if err := r.Seal(t.Context(), run.SealOptions{}); err != nil {
		t.Fatal(err)
	}
	if got := checks(t, r, canary.Sealed); got[canary.Pass] != 2 || len(v.queries) != looks {
		t.Errorf("sealed %v after %d more looks, want what is known, without one", got, len(v.queries)-looks)
	}
}

// What cannot be found out is no reason to wait for ever: a digest is.
func TestSealDoesNotWaitForWhatWaitingCannotBring(t *testing.T) {
	_, v, r := confirmed(t)
	v.held.Unread = []string{"lifecycle: denied"}
	r.Sleep = func(context.Context, time.Duration) error { t.Fatal("it waits"); return nil }
	if err := r.Seal(t.Context(), run.SealOptions{Wait: true}); err != nil {
		t.Fatal(err)
	}
}

func TestSealWaitsForTheDigest(t *testing.T) {
	w, v, r := confirmed(t)
	v.from = w.now.Add(90 * time.Minute)
	r.Poll = time.Minute
	slept := 0
	r.Sleep = func(_ context.Context, d time.Duration) error {
		slept++
		w.mu.Lock()
		defer w.mu.Unlock()
		w.now = w.now.Add(d)
		return nil
	}
	if err := r.Seal(t.Context(), run.SealOptions{Wait: true}); err != nil {
		t.Fatal(err)
	}
	if got := checks(t, r, canary.Sealed); got[canary.Pass] != 2 || slept == 0 || slept > 40 {
		t.Errorf("sealed %v after %d pauses", got, slept)
	}
}

// Died at any of its effects, a seal is taken up again and comes to the same end.
func TestSealDiesAnywhere(t *testing.T) {
	for _, after := range []bool{false, true} {
		for n := 1; ; n++ {
			w := newWorld()
			s, vk := key(t)
			files := newMemory()
			r, err := process(t, w, files, s, vk)
			if err != nil {
				t.Fatal(err)
			}
			if err := errors.Join(r.Inject(t.Context(), "20261122-aaaaaa"), r.Confirm(t.Context(), run.ConfirmOptions{Wait: true})); err != nil {
				t.Fatal(err)
			}
			v := newSafe(t, w)
			r.Custodian, r.Keeping = v, demanded
			w.mu.Lock()
			w.dieAt, w.after = w.effects+n, after
			w.mu.Unlock()
			err = r.Seal(t.Context(), run.SealOptions{})
			if !w.dead() {
				if err != nil {
					t.Fatal(err)
				}
				if n < 3 {
					t.Fatalf("only %d effects: nothing was tried", n-1)
				}
				break
			}
			w.alive()
			if r, err = process(t, w, files, s, vk); err != nil {
				t.Fatal(err)
			}
			r.Custodian, r.Keeping = v, demanded
			if err := r.Seal(t.Context(), run.SealOptions{}); err != nil {
				t.Fatalf("effect %d: %v", n, err)
			}
			if sealed, immutable := checks(t, r, canary.Sealed), checks(t, r, canary.Immutable); sealed[canary.Pass] != 2 || immutable[canary.Pass] != 2 {
				t.Errorf("died at effect %d (after %v): sealed %v, immutable %v", n, after, sealed, immutable)
			}
		}
	}
}

// The head of a chain goes into the ledger and from there into the next validation.
func TestIntegrityGoesOnFromTheHead(t *testing.T) {
	w, v, r := confirmed(t)
	places := []canary.Target{{Provider: "test", Account: "1", Region: "r"}}
	var got []trail.Result
	each := func(c trail.Result) { got = append(got, c) }
	if _, err := r.Integrity(t.Context(), run.IntegrityOptions{Places: places}, each); err != nil {
		t.Fatal(err)
	}
	w.now = w.now.Add(time.Hour)
	if _, err := r.Integrity(t.Context(), run.IntegrityOptions{Places: places}, each); err != nil {
		t.Fatal(err)
	}
	if len(got) != 2 || len(v.queries) != 2 || len(v.queries[0].Heads) != 0 {
		t.Fatalf("%d results, queries %+v", len(got), v.queries)
	}
	if q := v.queries[1]; len(q.Heads) != 1 || q.Heads[0].Link != got[0].Head.Link || len(q.Known) != 1 {
		t.Errorf("second query: heads %+v, %d known keys; want the head %+v", q.Heads, len(q.Known), got[0].Head)
	}
	v.failed = errors.New("access denied")
	if _, err := r.Integrity(t.Context(), run.IntegrityOptions{Places: places}, each); err == nil || !strings.Contains(err.Error(), "access denied") {
		t.Errorf("a store that cannot be read: %v", err)
	}
}

// What no digest referenced yet must be remembered, as many as a busy place has.
func TestIntegrityRemembersWhatIsPending(t *testing.T) {
	w, v, r := confirmed(t)
	for i := range 1000 {
		v.pending = append(v.pending, trail.PendingFile{
			Key:    fmt.Sprintf("AWSLogs/o-exampleorg1/111122223333/CloudTrail/us-east-1/2026/11/22/111122223333_CloudTrail_us-east-1_20261122T%02d%02dZ_%.16x.json.gz", i/60, i%60, sha256.Sum256([]byte{byte(i), byte(i >> 8)})),
			Stored: w.now.Add(time.Duration(i) * time.Second).UTC(),
		})
	}
	for range 500 { // what is escaped is longer than what it means
		v.found = append(v.found, trail.Finding{Kind: trail.Stray, Status: trail.Fail, Object: "s3://b/" + strings.Repeat("<\xff", 400), Detail: "a stray"})
	}
	places := []canary.Target{{Provider: "test", Account: "1", Region: "r"}}
	for range 2 {
		if _, err := r.Integrity(t.Context(), run.IntegrityOptions{Places: places}, func(trail.Result) {}); err != nil {
			t.Fatal(err)
		}
	}
	i := slices.IndexFunc(v.queries[1].Heads, func(h trail.Head) bool { return h.Chain.Trail == "" })
	if i < 0 {
		t.Fatalf("no head of the folder: %+v", v.queries[1].Heads)
	}
	h := v.queries[1].Heads[i]
	for n, p := range h.Pending {
		if p != v.pending[n] {
			t.Fatalf("pending %d: %+v, want %+v", n, p, v.pending[n])
		}
	}
	if len(h.Pending)+h.PendingMore != 1000 || len(h.Pending) < 500 {
		t.Errorf("%d pending and %d more", len(h.Pending), h.PendingMore)
	}
	t.Logf("%d of 1000 fit", len(h.Pending))
}
