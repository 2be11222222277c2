package trail

import (
	"cmp"
	"context"
	"errors"
	"fmt"

	"io/fs"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/auditcanary/auditcanary/shared/canary"
)

// Chain names one chain of digests. A bucket that several trails deliver to holds
// a chain of each, and one more of each trail's backfill digests.
type Chain struct {
	Account string `json:"account"`
	Region  string `json:"region"`
	// Organization is the organisation id that the keys hold; "" in the layout without.
	Organization string `json:"organization,omitempty"`
	// Trail is "" for the folder as a whole: what is there beside the digests.
	Trail      string `json:"trail,omitempty"`
	HomeRegion string `json:"home_region,omitempty"`
	Backfill   bool   `json:"backfill,omitempty"`
}

func (c Chain) String() string {
	s := c.Account + "/" + c.Region
	if c.Trail != "" {
		s += " " + c.Trail
	}
	if c.Backfill {
		s += " (backfill)"
	}
	return s
}

func (k DigestKey) chain() Chain {
	return Chain{Account: k.Account, Region: k.Region, Organization: k.OrganizationID, Trail: k.Trail, HomeRegion: k.HomeRegion, Backfill: k.Backfill}
}

// Head is what is remembered of a chain from one validation to the next: the last
// digest up to which everything could be found out, for good or bad. For the folder as a whole (Trail "") it is how far
// the log files were looked at; the Link is empty then.
type Head struct {
	Chain
	Link
	// AsOf is the store's time up to which the folder's log files are settled, but
	// for those that were pending.
	AsOf    time.Time     `json:"as_of,omitzero"`
	Pending []PendingFile `json:"pending,omitempty"`
	// PendingMore were pending too and are not in Pending; they are asked for by
	// validating from MoreSince on (zero: from PendingFor before AsOf).
	PendingMore int       `json:"pending_more,omitempty"`
	MoreSince   time.Time `json:"more_since,omitzero"`
}

// PendingFile is a log file that no digest referenced yet, as far as they could be read.
type PendingFile struct {
	Key    string    `json:"key"`
	Stored time.Time `json:"stored"`
	// Unread: a digest of its time could not be read.
	Unread bool `json:"unread,omitempty"`
}

// Validation is what to validate.
type Validation struct {
	// Trail and HomeRegion: whose chains; "": those of whatever trail there is.
	// The digests of other trails are read too, and not judged: a log file may be theirs.
	Trail, HomeRegion string
	// Places: accounts and regions. The places of what is Wanted are added.
	Places []canary.Target
	// From and Until bound the digests: those whose time overlaps. From zero: each
	// chain from its Head on, or from its beginning. From later than a Head: from
	// the Head on all the same, so that nothing between goes unread; and from before
	// what is Wanted. Until zero: the store's own now.
	From, Until time.Time
	// Heads of an earlier validation. A chain must go through its head.
	Heads []Head
	// Known keys, used before any that the provider lists.
	Known []PublicKey
	// Wanted are log keys whose Seal is asked for, with the SHA-256 (hex) of the
	// uncompressed bytes that were read.
	Wanted map[string]string
	// OnlyWanted reads no other log file: all digests are verified, but of log files
	// only those wanted. Others are counted neither valid nor invalid.
	OnlyWanted bool
	// PendingFor is how long after it was stored a log file may be in no digest; 24
	// hours if zero. (Backfill digests come late.)
	PendingFor time.Duration
	// Lateness is how old the end of the newest digest may be, by the store's clock;
	// 2 hours if zero: the hour that it cannot cover yet, and one for the delivery.
	Lateness time.Duration
	// Concurrency is how many objects are read at a time, over all places; ReadsAtOnce if zero.
	// S3 answers slowly and many at once. Each takes some 0.2 MB.
	Concurrency int
	// Other opens another bucket that a digest names; nil: it is not looked into.
	Other func(ctx context.Context, bucket string) (Store, error)
	// Checked is told of each digest and log file; may be nil. It is called by
	// several goroutines at a time.
	Checked func(Checked)
}

// Status of an object or a finding.
type Status string

const (
	Valid        Status = "valid"
	Fail         Status = "fail"
	Inconclusive Status = "inconclusive" // could not be found out
	Pending      Status = "pending"      // cannot be known yet
)

// Checked is one object that was checked.
type Checked struct {
	Chain  Chain
	Object string // "s3://bucket/key"
	Digest bool   // else a log file
	Status Status
	Kind   FindingKind // "" if valid
	Detail string
}

// FindingKind is what was found.
type FindingKind string

const (
	DigestMissing    FindingKind = "digest-missing"     // a later digest names it, and it is not there
	DigestInvalid    FindingKind = "digest-invalid"     // it is no digest
	DigestMoved      FindingKind = "digest-moved"       // it was delivered elsewhere
	DigestUnsigned   FindingKind = "digest-unsigned"    // the object's metadata holds no signature
	DigestAlgorithm  FindingKind = "digest-algorithm"   // it is signed in a way that CloudTrail does not sign
	DigestForeignKey FindingKind = "digest-foreign-key" // it is signed with a key that CloudTrail does not list
	DigestSignature  FindingKind = "digest-signature"   // the signature does not match
	DigestReplaced   FindingKind = "digest-replaced"    // it is not the one that the digest after it names
	DigestUnlinked   FindingKind = "digest-unlinked"    // it lies in the chain, and the digest after it passes it over
	DigestUnread     FindingKind = "digest-unread"      // it could not be read
	KeyUnavailable   FindingKind = "key-unavailable"    // the public key could not be had
	ChainRestarted   FindingKind = "chain-restarted"    // a starting digest in mid-life: logging or validation was off
	ChainElsewhere   FindingKind = "chain-elsewhere"    // the chain comes from another bucket that was not looked into
	Gap              FindingKind = "gap"                // hours without a digest
	HeadMissing      FindingKind = "head-missing"       // the digest verified last time is gone
	HeadChanged      FindingKind = "head-changed"       // it is another one now
	HeadOld          FindingKind = "head-old"           // digests that should be there by now are not
	HeadUnread       FindingKind = "head-unread"        // whether it is still there could not be found out
	NoDigests        FindingKind = "no-digests"         // none at all at a place
	LogMissing       FindingKind = "log-missing"        // a digest references it, and it is not there
	LogChanged       FindingKind = "log-changed"        // its hash is another one
	LogDamaged       FindingKind = "log-damaged"        // it is cut off, empty or no gzip
	LogHash          FindingKind = "log-hash"           // the digest has no hash of it that can be checked
	LogTrailing      FindingKind = "log-trailing"       // something follows its gzip stream
	LogElsewhere     FindingKind = "log-elsewhere"      // it is in another bucket that was not looked into
	LogUnread        FindingKind = "log-unread"         // it could not be read
	LogUnreferenced  FindingKind = "log-unreferenced"   // no digest references it
	LogContradiction FindingKind = "log-contradiction"  // what was read from it earlier is not what the digest lists
	Stray            FindingKind = "stray"              // an object that CloudTrail gives no such name
	Unlisted         FindingKind = "unlisted"           // a folder could not be listed
)

// ReadsAtOnce is how many objects Validate reads at a time unless it is told
// otherwise: S3 takes 100 ms and more for each, and thousands of requests a second.
const ReadsAtOnce = 96

// What one validation may hold, whatever lies in the archive.
const (
	maxFindings    = 1000      // of one chain that are kept; the rest are counted
	maxPendingKept = 1000      // in a Head
	maxChains      = 50        // in one folder
	maxListed      = 1_000_000 // log files of a folder that no digest has referenced yet
	digestsAtOnce  = 16        // that are read at a time, and held per place
)

// jitter is what may lie between the end of one digest and the start of the next.
const jitter = time.Minute

// Finding is something that is not as it should be, or could not be found out.
type Finding struct {
	Kind   FindingKind `json:"kind"`
	Status Status      `json:"status"`           // fail, inconclusive or pending
	Object string      `json:"object,omitempty"` // "s3://bucket/key"
	Detail string      `json:"detail"`
	// From and Until of the time that the finding is about, where it is about one.
	From  time.Time `json:"from,omitzero"`
	Until time.Time `json:"until,omitzero"`
}

// Counts of one chain. What is read beside the range is in none of them.
type Counts struct {
	Digests        int `json:"digests"` // valid ones
	DigestsInvalid int `json:"digests_invalid"`
	DigestsMissing int `json:"digests_missing"`
	DigestsUnknown int `json:"digests_unknown"` // could not be found out
	Logs           int `json:"logs"`            // valid ones
	LogsInvalid    int `json:"logs_invalid"`
	LogsMissing    int `json:"logs_missing"`
	LogsUnknown    int `json:"logs_unknown"`
	LogsNotAsked   int `json:"logs_not_asked"` // OnlyWanted, and not wanted
	// Of the folder as a whole: log files that no digest references.
	Pending int `json:"pending"`
	Overdue int `json:"overdue"`
	Strays  int `json:"strays"`
	// Without is how much of the range no digest covers.
	Without time.Duration `json:"without"`
	// Bytes of log files and digests, uncompressed.
	Bytes int64 `json:"bytes"`
}

// Result of one chain, or (Trail "") of a folder as a whole.
type Result struct {
	Chain  Chain
	Counts Counts
	// First and Last: the time that the digests read cover, from the first one's start to
	// the last one's end. Zero: none was valid.
	First, Last time.Time
	// Head to keep for the next validation; nil if there is none.
	Head *Head
	// Findings by time and object. There may be More, by status, that are not kept.
	Findings []Finding
	More     map[Status]int
	milder   int // findings that are no fail, kept or not
	// Keys that digests were verified with: worth archiving, as nobody promises for
	// how long CloudTrail lists them.
	Keys []PublicKey
	// Seals of what was Wanted, and why there is none of the others (in the
	// folder's Result).
	Seals    []Seal
	Unsealed map[string]Finding // by log key
}

// Validated is what a validation did.
type Validated struct {
	// AsOf is the store's time when it began; zero if no place could be listed.
	AsOf              time.Time
	Lists, Gets, Keys int   // requests
	Bytes             int64 // uncompressed
}

// Validate walks the chains of digests at each place, in both layouts, from the
// oldest to the newest, and checks every digest, how it follows the one before it,
// every log file it references, and whether there are log files that none does.
// What could not be found out is asked for again by the next validation: the Head
// stays before the first digest of which something could not be, for as long as
// that is so. A bounded validation (Until) and one of what is Wanted alone move no Head.
// Log files stored since the last validation under an earlier time are looked for,
// by name, under the days from a week before it on, and judged as any others; one put
// under an older day than that is seen only by a validation From that day on.
// Results are handed over as places end, one call at a time; memory is bounded by
// a day of one place's keys and by Concurrency, however long the range is.
//
// The error is for a query that makes no sense, for ctx, and for a store in which
// no place could be listed. Anything less is a Finding.
func (a *Archive) Validate(ctx context.Context, keys PublicKeys, q Validation, each func(Result)) (Validated, error) {
	v := &validation{archive: a, store: a.store, q: q, each: each, others: map[string]otherStore{}, walked: map[Chain]bool{}}
	v.q.PendingFor = cmp.Or(q.PendingFor, 24*time.Hour)
	v.q.Lateness = cmp.Or(q.Lateness, 2*time.Hour)
	v.q.Concurrency = max(1, cmp.Or(q.Concurrency, ReadsAtOnce))
	if !q.Until.IsZero() && q.Until.Before(q.From) {
		return Validated{}, fmt.Errorf("validate %s: it ends at %s, before its start at %s", a.cfg.Name, q.Until.Format(time.RFC3339), q.From.Format(time.RFC3339))
	}
	if keys != nil {
		keys = &countedKeys{source: keys, n: &v.keyAsks}
	}
	v.keys = newKeyring(keys, q.Known)
	v.slots = make(chan struct{}, v.q.Concurrency)
	v.digests = make(chan struct{}, digestsAtOnce)
	v.inflaters.New = func() any { return newInflater() }

	places := slices.Clone(q.Places)
	for key := range q.Wanted {
		k, err := ParseKey(key)
		if err != nil {
			return Validated{}, fmt.Errorf("validate %s: wanted: %w", a.cfg.Name, err)
		}
		places = append(places, canary.Target{Account: k.Account, Region: k.Region})
	}
	var targets []canary.Target
	for _, t := range places {
		if !isAccount(t.Account) || !isRegion(t.Region) {
			return Validated{}, fmt.Errorf("validate %s: account %q, region %q: not a place a CloudTrail archive has", a.cfg.Name, t.Account, t.Region)
		}
		if same := func(o canary.Target) bool { return o.Account == t.Account && o.Region == t.Region }; !slices.ContainsFunc(targets, same) {
			targets = append(targets, t)
		}
	}
	if len(targets) == 0 {
		return Validated{}, fmt.Errorf("validate %s: no place to look at", a.cfg.Name)
	}

	var wg sync.WaitGroup
	walks := make(chan struct{}, v.q.Concurrency)
	for _, t := range targets {
		walks <- struct{}{}
		wg.Go(func() {
			defer func() { <-walks }()
			v.place(ctx, t)
		})
	}
	wg.Wait()
	if ctx.Err() == nil {
		v.unwalked(targets)
	}

	out := Validated{AsOf: v.asOf, Lists: int(v.lists.Load()), Gets: int(v.gets.Load()), Keys: int(v.keyAsks.Load()), Bytes: v.bytes.Load()}
	if err := ctx.Err(); err != nil {
		return out, fmt.Errorf("validate %s: %w", a.cfg.Name, err)
	}
	if out.AsOf.IsZero() && v.failed != nil {
		return out, fmt.Errorf("validate %s: %w", a.cfg.Name, v.failed)
	}
	return out, nil
}

// validation is one call of Validate.
type validation struct {
	archive   *Archive
	store     Store
	q         Validation
	keys      *keyring
	slots     chan struct{} // one per object being read
	digests   chan struct{} // one per digest being read, which takes memory
	inflaters sync.Pool

	lists, gets, keyAsks, bytes atomic.Int64

	mu     sync.Mutex // of what follows, and while each is called
	each   func(Result)
	asOf   time.Time
	failed error          // the first listing that failed
	walked map[Chain]bool // of the Heads

	othersMu sync.Mutex
	others   map[string]otherStore
}

type countedKeys struct {
	source PublicKeys
	n      *atomic.Int64
}

func (c *countedKeys) PublicKeys(ctx context.Context, region string, from, until time.Time) ([]PublicKey, error) {
	c.n.Add(1)
	return c.source.PublicKeys(ctx, region, from, until)
}

// place validates one account and region, in each layout.
func (v *validation) place(ctx context.Context, t canary.Target) {
	digests, listed := false, true
	var last *folder
	for _, p := range v.archive.places([]canary.Target{t}) {
		f := newFolder(v, p)
		f.validate(ctx)
		digests = digests || slices.ContainsFunc(f.order, func(c *chain) bool { return c.ours && !c.Backfill && (c.last != nil || c.absent) })
		listed = listed && f.unlisted == nil
		last = f
	}
	if digests || !listed || ctx.Err() != nil {
		return
	}
	what := "digest"
	if v.q.Trail != "" {
		what = "digest of trail " + v.q.Trail
	}
	found := last.noDigests(what)
	if from := last.from(); !from.IsZero() && last.asOf.Sub(from) <= v.q.Lateness {
		found.Status = Pending
		found.Detail = fmt.Sprintf("there is no %s yet, and none was due in the time since %s", what, from.Format(time.RFC3339))
	}
	v.deliver(Result{Chain: Chain{Account: t.Account, Region: t.Region, Trail: v.q.Trail, HomeRegion: v.q.HomeRegion}, Findings: []Finding{found}})
}

// noDigests is the finding where there is none in the range.
func (f *folder) noDigests(what string) Finding {
	return Finding{
		Kind: NoDigests, Status: Fail, Object: f.v.object(f.place.folder(digestFolder)), From: f.v.q.From, Until: f.v.q.Until,
		Detail: "there is no " + what + " in the range: they were deleted, or log file validation is off; check the trail's LogFileValidationEnabled and LatestDigestDeliveryTime",
	}
}

// walks notes that the chain of a head, or the folder, is walked.
func (v *validation) walks(c Chain) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.walked[c] = true
}

// unwalked says of which heads nobody asked the archive: the trail is looked for by
// another name or in another layout now.
func (v *validation) unwalked(targets []canary.Target) {
	for _, h := range v.q.Heads {
		at := func(t canary.Target) bool { return t.Account == h.Account && t.Region == h.Region }
		filtered := h.Trail != "" && (v.q.Trail != "" && v.q.Trail != h.Trail || v.q.HomeRegion != "" && v.q.HomeRegion != h.HomeRegion)
		if v.walked[h.Chain] || filtered || !slices.ContainsFunc(targets, at) {
			continue
		}
		layout := "without an organisation's id"
		if h.Organization != "" {
			layout = "of organisation " + h.Organization
		}
		found := Finding{Kind: HeadUnread, Status: Inconclusive, Object: object(h.Bucket, h.Key), From: h.Start, Until: h.End,
			Detail: "the head of the last validation: no chain of this name was walked (" + h.Chain.String() + ", in the layout " + layout + "); check the archive's prefix and organization_id, and how many trails deliver to it"}
		if h.Trail == "" {
			found.Object = "s3://" + v.store.Name()
			found.Detail = "what the last validation remembered of the log files of " + h.Chain.String() + ": no folder in the layout " + layout + " was walked; check the archive's organization_id"
		}
		v.deliver(Result{Chain: h.Chain, Head: &h, Findings: []Finding{found}})
	}
}

func (v *validation) deliver(r Result) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.each(r)
}

func (v *validation) object(key string) string { return "s3://" + v.store.Name() + "/" + key }

func (v *validation) checked(c Checked) {
	if v.q.Checked != nil {
		v.q.Checked(c)
	}
}

// reading runs do when it is its turn, in the background.
func (v *validation) reading(wg *sync.WaitGroup, do func()) {
	v.slots <- struct{}{}
	wg.Go(func() {
		defer func() { <-v.slots }()
		do()
	})
}

// list lists one folder, sorted, and returns the store's time.
func (v *validation) list(ctx context.Context, prefix, startAfter string, each func(Object) error) (time.Time, error) {
	n := 0
	asOf, err := v.store.List(ctx, prefix, startAfter, func(o Object) error { n++; return each(o) })
	v.lists.Add(int64(1 + n/pageSize))
	if err == nil && asOf.IsZero() {
		err = fmt.Errorf("list %s: the store did not say what time it is", prefix)
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	if err == nil && (v.asOf.IsZero() || asOf.Before(v.asOf)) {
		v.asOf = asOf
	}
	if err != nil && !errors.Is(err, errFound) && v.failed == nil {
		v.failed = err
	}
	return asOf, err
}

var errFound = errors.New("found")

// next returns the first key under a prefix after another; "": none.
func (v *validation) next(ctx context.Context, prefix, startAfter string) (string, error) {
	var key string
	_, err := v.list(ctx, prefix, startAfter, func(o Object) error {
		key = o.Key
		return errFound
	})
	if err != nil && !errors.Is(err, errFound) {
		return "", err
	}
	return key, nil
}

type otherStore struct {
	store Store
	err   error
}

var errElsewhere = errors.New("it is in another bucket, which is not looked into")

// in returns the store of a bucket. The error wraps errElsewhere if it cannot be looked into.
func (v *validation) in(ctx context.Context, bucket string) (Store, error) {
	if bucket == v.store.Name() {
		return v.store, nil
	}
	if v.q.Other == nil {
		return nil, fmt.Errorf("%w: %q", errElsewhere, bucket)
	}
	v.othersMu.Lock()
	defer v.othersMu.Unlock()
	o, ok := v.others[bucket]
	if !ok {
		if o.store, o.err = v.q.Other(ctx, bucket); o.err != nil || o.store == nil {
			o.err = fmt.Errorf("%w: %q: %w", errElsewhere, bucket, cmp.Or(o.err, errors.New("nobody knows how")))
		}
		if len(v.others) < 1000 { // names of buckets are signed, if not ours
			v.others[bucket] = o
		}
	}
	return o.store, o.err
}

// inflated is an object that was read to its end.
type inflated struct {
	Opened
	sum   string // SHA-256 of the uncompressed bytes, hex
	n     int64
	plain []byte // if kept
}

// damaged: the object itself is wrong; reading it again will not help.
type damaged struct {
	kind FindingKind
	text string
}

func (d damaged) Error() string { return d.text }

// read inflates and hashes one object, keeping up to keep bytes of it (and failing
// if there are more); 0: none are kept. A read that breaks off is tried once more.
// The error is a damaged, or wraps errElsewhere or fs.ErrNotExist where it is that.
func (v *validation) read(ctx context.Context, bucket, key string, keep int64) (inflated, error) {
	store, err := v.in(ctx, bucket)
	if err != nil {
		return inflated{}, err
	}
	var got inflated
	for range 2 {
		got, err = v.readOnce(ctx, store, key, keep)
		if err == nil || ctx.Err() != nil || errors.Is(err, fs.ErrNotExist) || errors.As(err, new(damaged)) || errors.As(err, new(tooLarge)) {
			break
		}
	}
	return got, err
}

func (v *validation) readOnce(ctx context.Context, store Store, key string, keep int64) (inflated, error) {
	v.gets.Add(1)
	o, err := store.Open(ctx, key)
	if err != nil {
		return inflated{}, err
	}
	defer o.Body.Close()
	in := v.inflaters.Get().(*inflater)
	defer v.inflaters.Put(in)
	got, err := in.inflate(ctx, o.Body, keep)
	got.Opened = o
	got.Body = nil
	v.bytes.Add(got.n)
	if err != nil {
		return got, err
	}
	return got, nil
}

// check verifies one referenced log file.
func (v *validation) check(ctx context.Context, l LogFile) (status Status, kind FindingKind, detail string, n int64) {
	if l.SHA256 == "" {
		return Fail, LogHash, l.Unchecked, 0
	}
	got, err := v.read(ctx, l.Bucket, l.Key, 0)
	var d damaged
	switch {
	case err == nil && got.sum == l.SHA256:
		return Valid, "", "", got.n
	case err == nil:
		return Fail, LogChanged, fmt.Sprintf("its uncompressed bytes have SHA-256 %s, the digest says %s", got.sum, l.SHA256), got.n
	case errors.As(err, &d):
		return Fail, d.kind, d.text, got.n
	case errors.Is(err, fs.ErrNotExist):
		return Fail, LogMissing, "a digest references it, and it is not there: " + err.Error(), 0
	case errors.Is(err, errElsewhere):
		return Inconclusive, LogElsewhere, err.Error(), 0
	}
	return Inconclusive, LogUnread, err.Error(), got.n
}
