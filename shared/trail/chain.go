package trail

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"time"
)

// chain is the walk along one chain of digests, oldest first.
type chain struct {
	Chain
	f    *folder
	ours bool // else its digests are read for what they reference, and not judged

	head    *Head     // of the last validation
	met     bool      // the head was read
	viaHead bool      // the walk begins at the head
	start   time.Time // of the range; zero: the chain's beginning
	done    bool      // beyond the range

	late  []*reading // that may have been delivered since the validation began
	last  *seen
	until time.Time // up to when there were digests, good or bad

	first   time.Time // start of the first digest that was read
	birth   bool      // the first one starts the chain, and there is none before it
	absent  bool      // not a digest in the range, and it is said
	named   string    // the last one that a digest names and that is missing
	holes   []hole
	result  Result // its findings are written under folder.mu, as is logs
	logs    Counts // of the log files that were read
	keys    map[string]bool
	newest  *Link // the last one verified: the next head, unless held
	held    *held // where the head must stay
	steps   int   // digests of the range so far, good or bad
	path    []Link
	pending []pendingSeal
	seals   []Seal
}

// seen is the digest that the next one should follow.
type seen struct {
	bucket, key string
	sum         string // of its bytes; "" unknown
	signature   string // "" unknown
	end         time.Time
	status      Status
	kind        FindingKind
	detail      string
	// told: it is not (or no longer) to be counted.
	told bool
}

// held is the first digest of which something could not be found out. The head
// stays before it, so that the next validation reads it again.
type held struct {
	step   int
	before *Link // nil: there is none
}

// hold keeps the head at the digest before a step. It is called under folder.mu.
func (c *chain) hold(step int, before *Link) {
	if c.held == nil || step < c.held.step {
		c.held = &held{step, before}
	}
}

func newChain(f *folder, id Chain) *chain {
	q := f.v.q
	c := &chain{Chain: id, f: f, keys: map[string]bool{}}
	c.ours = (q.Trail == "" || q.Trail == id.Trail) && (q.HomeRegion == "" || q.HomeRegion == id.HomeRegion)
	c.result.Chain = id
	c.start = f.from()
	return c
}

// takeUp begins at, or goes through, the head of the last validation.
func (c *chain) takeUp(h Head) {
	q := c.f.v.q
	c.head = &h
	if !q.Until.IsZero() && !h.Start.Before(q.Until) {
		return // it lies beyond the range
	}
	if w := c.f.wanted; c.start.IsZero() && !w.IsZero() {
		c.start = w.Add(-c.f.v.archive.cfg.Margin)
	}
	if c.start.IsZero() || !c.start.Before(h.Start) {
		c.viaHead = true
		c.last = &seen{bucket: h.Bucket, key: h.Key, sum: h.SHA256, signature: h.Signature, end: h.End, told: true}
		c.until = h.End
	}
}

// wants says whether a listed digest is to be read.
func (c *chain) wants(k DigestKey) bool {
	if c.viaHead {
		return !k.Stamp.Before(c.head.End.Truncate(time.Second))
	}
	return c.start.IsZero() || k.Stamp.After(c.start)
}

// reading is one digest being read.
type reading struct {
	chain       *chain
	bucket, key string
	name        DigestKey

	sum    string // of its bytes; "" unknown
	digest Digest
	link   Link
	plain  []byte
	public PublicKey
	bad    *seen // what is wrong with it by itself
	err    error // it could not be read
}

// load reads and verifies a digest by itself, without its chain.
func (r *reading) load(ctx context.Context, v *validation) {
	bad := func(status Status, kind FindingKind, format string, args ...any) {
		r.bad = &seen{status: status, kind: kind, detail: fmt.Sprintf(format, args...)}
	}
	got, err := v.read(ctx, r.bucket, r.key, MaxDigest)
	var d damaged
	switch {
	case errors.As(err, &d):
		bad(Fail, DigestInvalid, "%s", d.text)
		return
	case errors.Is(err, fs.ErrNotExist):
		r.err = err
		bad(Fail, DigestMissing, "%v", err)
		return
	case err != nil:
		r.err = err
		bad(Inconclusive, DigestUnread, "%v", err)
		return
	}
	r.plain, r.sum = got.plain, got.sum
	defer func() {
		if r.bad != nil {
			r.plain, r.digest.Logs = nil, nil // they may be large, as nobody answers for them
		}
	}()
	r.digest, err = ParseDigest(r.plain)
	if err != nil {
		bad(Fail, DigestInvalid, "%v", err)
		return
	}
	if at := r.digest; at.Bucket != r.bucket || at.Key != r.key {
		bad(Fail, DigestMoved, "it was delivered to s3://%s/%s", at.Bucket, at.Key)
		return
	}
	if r.digest.Account != r.name.Account {
		bad(Fail, DigestInvalid, "it is of account %q", r.digest.Account)
		return
	}
	r.link = r.digest.link(got.VersionID, got.Metadata["signature"])
	asked := [2]time.Time{r.digest.Start, r.digest.End.Add(2 * time.Hour)}
	switch algorithm, ok := got.Metadata["signature-algorithm"]; {
	case r.link.Signature == "" || !ok:
		bad(Inconclusive, DigestUnsigned, "the object's metadata holds no signature and signature-algorithm: they were lost in a copy, or taken away")
		return
	case algorithm != signatureAlgorithm:
		bad(Fail, DigestAlgorithm, "the object's metadata says signature-algorithm %q, CloudTrail signs with %s", algorithm, signatureAlgorithm)
		return
	}
	if r.name.Backfill {
		text, ok := got.Metadata["backfill-generation-timestamp"]
		if !ok {
			bad(Fail, DigestInvalid, "it is a backfill digest, and the object's metadata holds no backfill-generation-timestamp")
			return
		}
		if at, err := time.Parse(time.RFC3339, text); err == nil {
			asked = [2]time.Time{at.Add(-time.Hour), at.Add(time.Hour)}
		}
	}
	r.public, err = v.keys.get(ctx, r.name.Region, r.digest.Fingerprint, asked[0], asked[1])
	switch {
	case errors.Is(err, errKeyForeign):
		bad(Fail, DigestForeignKey, "%v", err)
		return
	case err != nil:
		bad(Inconclusive, KeyUnavailable, "%v", err)
		return
	}
	if err := r.link.Verify(r.public); err != nil {
		bad(Fail, DigestSignature, "%v", err)
	}
}

func (c *chain) find(f Finding) {
	c.f.mu.Lock()
	defer c.f.mu.Unlock()
	if f.Status == Inconclusive {
		c.hold(c.steps, c.newest)
	}
	c.result.find(f)
}

func object(bucket, key string) string { return "s3://" + bucket + "/" + key }

// step takes the chain one digest further.
func (c *chain) step(ctx context.Context, r *reading) {
	if c.done {
		return
	}
	if !c.ours {
		if r.bad != nil {
			c.begins(r.name.Stamp.Add(-time.Hour), Inconclusive)
			c.hole(r.name.Stamp.Add(-time.Hour), r.name.Stamp, Inconclusive, "the digest of another trail could not be verified: "+object(r.bucket, r.key))
		} else {
			c.f.reference(r.digest.Logs)
			c.began(r)
		}
		return
	}
	c.steps++
	isHead := c.meetHead(r)
	if r.bad != nil {
		c.stepBad(r, isHead)
		return
	}
	d := r.digest
	q := c.f.v.q
	beyond := !q.Until.IsZero() && !d.Start.Before(q.Until)
	if !isHead || !c.viaHead {
		c.follow(ctx, r, beyond)
	}
	c.f.reference(d.Logs)
	if beyond {
		c.done = true
		return
	}
	c.settle()
	c.began(r)
	c.accept(ctx, r, isHead && c.viaHead)
}

// began notes the first digest of the chain that is valid.
func (c *chain) began(r *reading) {
	if c.result.First.IsZero() {
		c.result.First = r.digest.Start
	}
	switch {
	case c.ours:
		c.begins(r.digest.Start, Fail)
	case r.digest.Previous == nil:
		c.birth = c.birth || c.first.IsZero()
		c.first = r.digest.Start
	default:
		c.begins(r.digest.Start, Inconclusive)
	}
}

// begins notes where the first digest does. Where the range begins before it, what
// was delivered meanwhile may be in digests that are not there.
func (c *chain) begins(at time.Time, status Status) {
	if !c.first.IsZero() {
		return
	}
	c.first = at
	if from := c.f.from(); !c.birth && !c.viaHead && !from.IsZero() && at.Sub(from) > jitter {
		c.hole(from, at, status, "the digests of its time are missing")
	}
}

// stepBad takes the chain past a digest that is not valid by itself.
func (c *chain) stepBad(r *reading, isHead bool) {
	q := c.f.v.q
	if !q.Until.IsZero() && !r.name.Stamp.Add(-time.Hour).Before(q.Until) {
		return // beyond the range, where nothing is judged
	}
	c.settle()
	from := r.name.Stamp.Add(-time.Hour)
	if !c.until.IsZero() && c.until.After(from) {
		from = c.until
	}
	if from.After(r.name.Stamp) {
		from = r.name.Stamp
	}
	c.hole(from, r.name.Stamp, r.bad.status, "the digest of its time is not valid: "+object(r.bucket, r.key))
	c.gap(c.until, from, r.key)
	c.begins(from, Fail)
	s := *r.bad
	s.bucket, s.key, s.sum, s.end = r.bucket, r.key, r.sum, r.name.Stamp
	if s.status == Inconclusive {
		c.f.mu.Lock()
		c.hold(c.steps, c.newest)
		c.f.mu.Unlock()
	}
	if isHead && c.viaHead {
		// The next one must follow the head as it was, whatever lies there now.
		s.sum, s.signature = c.head.SHA256, c.head.Signature
	}
	c.last, c.until = &s, latest(c.until, r.name.Stamp)
	c.breakPath()
}

// meetHead compares a digest with the head of the last validation, if it lies where that did.
func (c *chain) meetHead(r *reading) bool {
	h := c.head
	if h == nil || c.met || h.Key != r.key || h.Bucket != r.bucket {
		return false
	}
	if r.err != nil && !errors.Is(r.err, fs.ErrNotExist) {
		c.met = true // it is reported as unread
		return true
	}
	if r.err != nil {
		return true // finish says that it is gone
	}
	c.met = true
	if r.sum != h.SHA256 || r.link.Signature != h.Signature && r.bad == nil {
		c.find(Finding{Kind: HeadChanged, Status: Fail, Object: object(h.Bucket, h.Key), From: h.Start, Until: h.End,
			Detail: "the digest that was verified last time is another one now: its bytes or its signature have changed"})
	}
	return true
}

// follow checks how a valid digest follows what was seen before it.
func (c *chain) follow(ctx context.Context, r *reading, beyond bool) {
	d, p := r.digest, r.digest.Previous
	from := c.until
	switch {
	case p == nil && c.last == nil:
		c.birth = c.unborn(ctx, r)
		if !c.birth {
			c.restarted(r, time.Time{})
		}
		return
	case p == nil:
		c.restarted(r, from)
		c.breakPath()
	case c.last != nil && p.Bucket == c.last.bucket && p.Key == c.last.key:
		if c.last.sum != "" && c.last.sum != p.SHA256 {
			c.replaced(p, r, fmt.Sprintf("its bytes have SHA-256 %s, the digest after it says %s", c.last.sum, p.SHA256))
		} else if c.last.signature != "" && c.last.signature != p.Signature {
			c.replaced(p, r, "its signature is not the one that the digest after it says")
		}
	default:
		from = c.other(ctx, r)
		c.breakPath()
	}
	if beyond && c.f.v.q.Until.Before(d.Start) {
		c.gap(from, c.f.v.q.Until, r.key)
		return
	}
	c.gap(from, d.Start, r.key)
}

// restarted: a starting digest where the chain should go on.
func (c *chain) restarted(r *reading, from time.Time) {
	c.find(Finding{Kind: ChainRestarted, Status: Fail, Object: object(r.bucket, r.key), From: from, Until: r.digest.Start,
		Detail: "the chain is started anew here: logging was stopped or log file validation was off before; what was delivered meanwhile is in no digest"})
}

// unborn says whether there is no digest of the chain before its first one.
func (c *chain) unborn(ctx context.Context, r *reading) bool {
	if c.start.IsZero() {
		return true // nothing earlier was listed, or it would have been read
	}
	at := c.f.place.folder(digestFolder)
	older, looked := false, 0
	_, err := c.f.v.list(ctx, at, "", func(o Object) error {
		if o.Key >= r.key {
			return errFound
		}
		if looked++; looked > maxObjects {
			return fmt.Errorf("list %s: more than %d digests before it", at, maxObjects)
		}
		if k, err := ParseDigestKey(o.Key); err == nil && k.chain() == c.Chain && k.Stamp.Before(r.name.Stamp) {
			older = true
			return errFound
		}
		return nil
	})
	if err != nil && !errors.Is(err, errFound) {
		c.find(Finding{Kind: Unlisted, Status: Inconclusive, Object: c.f.v.object(at), Detail: "whether the chain is older than its first digest in the range could not be found out: " + err.Error()})
		return true
	}
	return !older
}

// replaced: the digest before is not the one that was delivered.
func (c *chain) replaced(p *Previous, r *reading, why string) {
	if !c.last.told {
		if c.last.status == Fail {
			return // which says as much
		}
		c.last.status, c.last.kind, c.last.detail = Fail, DigestReplaced, why
	} else {
		c.find(Finding{Kind: DigestReplaced, Status: Fail, Object: object(p.Bucket, p.Key), Detail: why + " (" + r.key + ")"})
	}
	c.breakPath()
}

// other looks for the digest that a digest names as the one before it, where that
// is not the one that was seen before it. It returns from when on there is none.
func (c *chain) other(ctx context.Context, r *reading) (from time.Time) {
	p := r.digest.Previous
	at := object(p.Bucket, p.Key)
	before := &reading{chain: c, bucket: p.Bucket, key: p.Key}
	from = c.until
	name, err := ParseDigestKey(p.Key)
	if err == nil {
		before.name = name
	} else {
		before.name = r.name
	}
	before.load(ctx, c.f.v)

	// Before the range nothing is judged; what is there helps to tell which log
	// files belong to the digests of the range.
	outside := c.last == nil && !c.start.IsZero() && err == nil && !name.Stamp.After(c.start)
	judge := func(status Status, kind FindingKind, until time.Time, detail string) {
		if outside {
			return
		}
		c.find(Finding{Kind: kind, Status: status, Object: at, From: from, Until: until, Detail: detail})
	}
	switch {
	case errors.Is(before.err, fs.ErrNotExist):
		start := r.digest.Start
		detail := fmt.Sprintf("%s names it as the one before it, and it is not there", r.key)
		if !from.IsZero() && start.Sub(from) > jitter {
			detail += fmt.Sprintf("; no digest covers the %s from %s to %s", start.Sub(from), from.Format(time.RFC3339), start.Format(time.RFC3339))
			c.without(start.Sub(from))
			c.hole(from, start, Fail, "the digests of its time are missing")
		} else if !outside {
			c.hole(start.Add(-time.Hour), start, Fail, "the digest of its time is missing")
		}
		if !outside {
			c.named = at
			c.result.Counts.DigestsMissing++
			c.f.v.checked(Checked{c.Chain, at, true, Fail, DigestMissing, detail})
		}
		judge(Fail, DigestMissing, start, detail)
		return start
	case errors.Is(before.err, errElsewhere):
		judge(Inconclusive, ChainElsewhere, r.digest.Start, fmt.Sprintf("%s follows a digest there: %v", r.key, before.err))
		return r.digest.Start
	case before.err != nil:
		judge(Inconclusive, DigestUnread, r.digest.Start, before.err.Error())
		c.hole(r.digest.Start.Add(-time.Hour), r.digest.Start, Inconclusive, "a digest of its time could not be read: "+at)
		return r.digest.Start
	case before.sum == "" || before.sum != p.SHA256:
		judge(Fail, DigestReplaced, r.digest.Start, fmt.Sprintf("its bytes are not those that %s says", r.key))
		return r.digest.Start
	case before.link.Signature != p.Signature && before.bad == nil:
		judge(Fail, DigestReplaced, r.digest.Start, fmt.Sprintf("its signature is not the one that %s says", r.key))
		return r.digest.Start
	}
	// The bytes are what a signed digest says.
	c.f.reference(before.digest.Logs)
	if c.last == nil {
		if before.bad != nil {
			judge(before.bad.status, before.bad.kind, time.Time{}, before.bad.detail)
		}
		return before.digest.End
	}
	if !c.Backfill && c.last.key != p.Key {
		c.find(Finding{Kind: DigestUnlinked, Status: Fail, Object: object(c.last.bucket, c.last.key), From: from, Until: r.digest.Start,
			Detail: fmt.Sprintf("it lies between two digests of the chain, and %s names %s as the one before it", r.key, p.Key)})
	}
	return latest(from, before.digest.End)
}

// gap: hours without a digest. A backfill chain has no hours.
func (c *chain) gap(from, until time.Time, key string) {
	if c.Backfill || from.IsZero() || until.Sub(from) <= jitter {
		return
	}
	c.without(until.Sub(from))
	c.hole(from, until, Fail, "no digest covers its time")
	c.find(Finding{Kind: Gap, Status: Fail, Object: object(c.f.v.store.Name(), key), From: from, Until: until,
		Detail: fmt.Sprintf("no digest covers the %s from %s to %s", until.Sub(from), from.Format(time.RFC3339), until.Format(time.RFC3339))})
}

func (c *chain) without(d time.Duration) { c.result.Counts.Without += d }

// hole notes a time whose digest cannot be relied upon. Neighbours are made one.
func (c *chain) hole(from, until time.Time, status Status, why string) {
	if n := len(c.holes); n > 0 && c.holes[n-1].status == status && !from.After(c.holes[n-1].until.Add(jitter)) {
		if until.After(c.holes[n-1].until) {
			c.holes[n-1].until = until
		}
		return
	}
	if len(c.holes) < maxFindings {
		c.holes = append(c.holes, hole{from: from, until: until, status: status, why: why})
		return
	}
	c.holes[len(c.holes)-1].until = until
}

// accept takes a valid digest of the range, and has its log files verified. again:
// it is the head, of which the last validation has done so.
func (c *chain) accept(ctx context.Context, r *reading, again bool) {
	d := r.digest
	c.last = &seen{bucket: r.bucket, key: r.key, sum: r.sum, signature: r.link.Signature, end: d.End, status: Valid, told: again}
	c.until = latest(c.until, d.End)
	c.result.Last = c.until
	before, step := c.newest, c.steps
	c.newest = &r.link
	c.result.Counts.Bytes += int64(len(r.plain))
	if !c.keys[r.public.Fingerprint] {
		c.keys[r.public.Fingerprint] = true
		c.result.Keys = append(c.result.Keys, r.public)
	}
	if len(c.pending) > 0 {
		c.path = append(c.path, r.link)
	}
	q := c.f.v.q
	for _, l := range d.Logs {
		want, wanted := q.Wanted[l.Key]
		wanted = wanted && l.Bucket == c.f.v.store.Name()
		if wanted {
			if want != "" && want != l.SHA256 {
				found := Finding{Kind: LogContradiction, Status: Fail, Object: object(l.Bucket, l.Key),
					Detail: fmt.Sprintf("what was read from it had SHA-256 %s, the digest says %s", want, l.SHA256)}
				c.f.mu.Lock()
				c.f.unsealed[l.Key] = found
				c.result.find(found)
				c.f.mu.Unlock()
			} else if !c.f.sealed[l.Key] {
				c.f.sealed[l.Key] = true
				c.pending = append(c.pending, pendingSeal{Seal{LogKey: l.Key, LogSHA256: l.SHA256, Digest: r.link, DigestBytes: r.plain}, len(c.path)})
			}
		}
		if again && !wanted {
			continue
		}
		if q.OnlyWanted && !wanted {
			c.result.Counts.LogsNotAsked++
			continue
		}
		c.f.v.reading(&c.f.reads, func() { c.check(ctx, l, step, before) })
	}
}

// check verifies one log file of the digest of a step.
func (c *chain) check(ctx context.Context, l LogFile, step int, before *Link) {
	status, kind, detail, n := c.f.v.check(ctx, l)
	at := object(l.Bucket, l.Key)
	c.f.v.checked(Checked{c.Chain, at, false, status, kind, detail})
	c.f.mu.Lock()
	defer c.f.mu.Unlock()
	counts := &c.logs
	counts.Bytes += n
	switch {
	case status == Valid:
		counts.Logs++
		return
	case kind == LogMissing:
		counts.LogsMissing++
	case status == Fail:
		counts.LogsInvalid++
	default:
		counts.LogsUnknown++
		c.hold(step, before)
	}
	found := Finding{Kind: kind, Status: status, Object: at, Detail: detail}
	c.result.find(found)
	if _, ok := c.f.v.q.Wanted[l.Key]; ok {
		c.f.unsealed[l.Key] = found
	}
}

// settle counts the digest before: nothing later can speak against it any more.
func (c *chain) settle() {
	s := c.last
	if s == nil || s.told {
		return
	}
	s.told = true
	at := object(s.bucket, s.key)
	c.f.v.checked(Checked{c.Chain, at, true, s.status, s.kind, s.detail})
	c.f.mu.Lock()
	defer c.f.mu.Unlock()
	switch {
	case s.status == Valid:
		c.result.Counts.Digests++
		return
	case s.kind == DigestMissing:
		c.result.Counts.DigestsMissing++
	case s.status == Fail:
		c.result.Counts.DigestsInvalid++
	default:
		c.result.Counts.DigestsUnknown++
	}
	c.result.find(Finding{Kind: s.kind, Status: s.status, Object: at, Detail: s.detail})
}

// breakPath ends the path of the seals so far: what comes does not follow it.
func (c *chain) breakPath() {
	for _, p := range c.pending {
		c.seals = append(c.seals, p.finish(c.path))
	}
	c.pending, c.path = nil, nil
}

// finish says what only shows in the end. The log files have been read.
func (c *chain) finish(ctx context.Context) {
	if !c.ours {
		return
	}
	c.settle()
	n := &c.result.Counts
	n.Logs, n.LogsInvalid, n.LogsMissing, n.LogsUnknown, n.Bytes = c.logs.Logs, c.logs.LogsInvalid, c.logs.LogsMissing, c.logs.LogsUnknown, n.Bytes+c.logs.Bytes
	c.checkAny(ctx)
	c.checkHead(ctx)
	c.checkAge()
	c.breakPath()
	for _, s := range c.seals {
		if _, bad := c.f.unsealed[s.LogKey]; bad {
			delete(c.f.sealed, s.LogKey)
			continue
		}
		c.result.Seals = append(c.result.Seals, s)
	}
	c.result.Head = c.nextHead()
}

// nextHead is where the next validation goes on: at the last digest up to which
// everything could be found out; nil: at the beginning.
func (c *chain) nextHead() *Head {
	q, next := c.f.v.q, c.newest
	if c.held != nil {
		next = c.held.before
	}
	if !q.Until.IsZero() || q.OnlyWanted || c.f.unsettled() {
		next = nil // a part was looked at, and the rest is not settled by that
	}
	h := Head{Chain: c.Chain, AsOf: c.f.asOf}
	switch {
	case next != nil && (c.head == nil || !next.End.Before(c.head.End)):
		h.Link = *next
	case c.head != nil:
		h.Link = c.head.Link // until it is there again, this is a finding each time
	default:
		return nil
	}
	return &h
}

// checkAny: a chain that has a head, and no digest in a range before it, has lost
// them, unless it was born after the range.
func (c *chain) checkAny(ctx context.Context) {
	if c.Backfill || c.head == nil || c.viaHead || c.last != nil || c.birth || c.f.unlisted != nil || c.bornLater(ctx) {
		return
	}
	c.absent = true
	c.find(c.f.noDigests("digest of trail " + c.Trail))
}

// bornLater says whether the first digest after the range starts the chain. Where
// that cannot be found out it is said, and nothing is called lost.
func (c *chain) bornLater(ctx context.Context) bool {
	until := c.f.v.q.Until
	if until.IsZero() {
		return false
	}
	at := c.f.place.folder(digestFolder)
	var first *reading
	looked := 0
	_, err := c.f.v.list(ctx, at, at+until.UTC().Format(dayFormat), func(o Object) error {
		if looked++; looked > maxObjects {
			return fmt.Errorf("list %s: more than %d digests of other trails", at, maxObjects)
		}
		if k, err := ParseDigestKey(o.Key); err == nil && k.chain() == c.Chain && k.Stamp.After(until) {
			first = &reading{chain: c, bucket: c.f.v.store.Name(), key: o.Key, name: k}
			return errFound
		}
		return nil
	})
	const unknown = "whether the chain is younger than the range could not be found out: "
	if first == nil && err != nil {
		c.find(Finding{Kind: Unlisted, Status: Inconclusive, Object: c.f.v.object(at), Detail: unknown + err.Error()})
		return true
	}
	if first == nil {
		return false
	}
	first.load(ctx, c.f.v)
	if b := first.bad; b != nil && b.status == Inconclusive {
		c.find(Finding{Kind: b.kind, Status: Inconclusive, Object: object(first.bucket, first.key), Detail: unknown + b.detail})
		return true
	}
	return first.bad == nil && first.digest.Previous == nil && c.unborn(ctx, first)
}

// checkHead looks for the head of the last validation where the walk did not meet it.
func (c *chain) checkHead(ctx context.Context) {
	h := c.head
	if h == nil || c.met {
		return
	}
	name, err := ParseDigestKey(h.Key)
	if err != nil {
		c.keepHead()
		c.find(Finding{Kind: HeadUnread, Status: Inconclusive, Object: object(h.Bucket, h.Key), Detail: "the head of the last validation: " + err.Error()})
		return
	}
	r := &reading{chain: c, bucket: h.Bucket, key: h.Key, name: name}
	r.load(ctx, c.f.v)
	switch {
	case errors.Is(r.err, fs.ErrNotExist):
		detail := "the digest that was verified last time is gone"
		if c.newest == nil {
			detail += ", and so is everything after it"
		}
		if c.named != object(h.Bucket, h.Key) {
			c.result.Counts.DigestsMissing++
			c.f.v.checked(Checked{c.Chain, object(h.Bucket, h.Key), true, Fail, HeadMissing, detail})
		}
		c.find(Finding{Kind: HeadMissing, Status: Fail, Object: object(h.Bucket, h.Key), From: h.Start, Until: h.End, Detail: detail})
		c.hole(h.Start, h.End, Fail, "the digest of its time is gone")
	case r.err != nil:
		c.keepHead()
		c.find(Finding{Kind: HeadUnread, Status: Inconclusive, Object: object(h.Bucket, h.Key), Detail: r.err.Error()})
	default:
		c.meetHead(r)
	}
}

// keepHead has the next validation look for the same head.
func (c *chain) keepHead() {
	c.f.mu.Lock()
	defer c.f.mu.Unlock()
	c.hold(0, nil)
}

// checkAge: where the digests end, by the store's own clock, more should be.
func (c *chain) checkAge() {
	q := c.f.v.q
	if c.Backfill || c.f.asOf.IsZero() || c.f.unlisted != nil || c.until.IsZero() {
		return
	}
	until := c.f.asOf
	if !q.Until.IsZero() && q.Until.Before(until) {
		until = q.Until
	}
	// A digest that is not due yet is not missing.
	if !c.until.Before(until.Add(-jitter)) || c.f.asOf.Sub(c.until) <= q.Lateness {
		return
	}
	at := c.f.v.object(c.f.place.folder(digestFolder))
	if c.last != nil {
		at = object(c.last.bucket, c.last.key)
	}
	c.without(until.Sub(c.until))
	c.holes = append(c.holes, hole{from: c.until, until: until, status: Fail, why: "no digest covers its time", tail: true})
	c.find(Finding{Kind: HeadOld, Status: Fail, Object: at, From: c.until, Until: until, Detail: fmt.Sprintf(
		"the newest digest ends at %s, and it is %s by the store's clock: there should be one an hour; they were deleted, or logging or log file validation was stopped (compare the trail's LatestDigestDeliveryTime)",
		c.until.Format(time.RFC3339), c.f.asOf.Format(time.RFC3339))})
}
