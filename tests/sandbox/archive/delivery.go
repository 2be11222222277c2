package archive

import (
	"bytes"
	"cmp"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/auditcanary/auditcanary/tests/sandbox/cloud"
	"github.com/auditcanary/auditcanary/tests/sandbox/fault"
)

// Scope is an account in a region.
type Scope struct {
	Account string // 12 digits
	Region  string // "us-east-1"
}

// Trail is a multi-region trail with log file validation.
type Trail struct {
	Name       string
	Account    string // 12 digits: whose trail it is
	HomeRegion string
	// Organization makes it an organisation trail ("o-exampleorg1"): it takes
	// records of every account. A trail without one takes its own account's.
	Organization string
	Bucket       string
	Prefix       string // of all keys, without a slash at its end; may be empty
	// Scopes get digests from the first hour on. Others do from the hour of their
	// first file on.
	Scopes []Scope
}

// ARN of the trail.
func (t Trail) ARN() string {
	return "arn:aws:cloudtrail:" + t.HomeRegion + ":" + t.Account + ":trail/" + t.Name
}

// Delay is how long a record takes from its emission to the bucket, in the
// sandbox's time: a triangular distribution.
type Delay struct{ Min, Mode, Max time.Duration }

// UsualDelay is CloudTrail's: 5 minutes on average, between 2 and 9.
var UsualDelay = Delay{2 * time.Minute, 4 * time.Minute, 9 * time.Minute}

func (d Delay) draw(rng *rand.Rand) time.Duration {
	// The inverse of the distribution function, at a uniform u.
	span, left, right := float64(d.Max-d.Min), float64(d.Mode-d.Min), float64(d.Max-d.Mode)
	if span <= 0 {
		return d.Min
	}
	u := rng.Float64()
	if u*span < left {
		return d.Min + time.Duration(math.Sqrt(u*span*left))
	}
	return d.Max - time.Duration(math.Sqrt((1-u)*span*right))
}

// DeliveryConfig of a Delivery.
type DeliveryConfig struct {
	Trail Trail
	// Clock says when to deliver.
	Clock cloud.Clock
	// Bucket is where to.
	Bucket Store
	// Faults that strike files, digests and objects; may be nil.
	Faults *fault.Set
	// Seed of the random delays: the same records in the same order at the same
	// times are put into the same files.
	Seed uint64
	// Delay of a record; UsualDelay if zero.
	Delay Delay
	// Report is told what went wrong in the background, each time it does; may be
	// nil. It must be safe for concurrent use. What cannot be delivered is tried again, as CloudTrail
	// does, and Close returns an error for what never was.
	Report func(error)
}

// Store is where objects go. Archive is one.
type Store interface {
	// Put writes an object and returns its LastModified.
	Put(ctx context.Context, o Object) (time.Time, error)
	// Delete puts a delete marker over it.
	Delete(ctx context.Context, bucket, key string) error
}

// Object is one to be written.
type Object struct {
	Bucket, Key string
	Body        []byte
	Metadata    map[string]string
	// Retain it otherwise than the bucket's default says; nil: as the bucket does.
	Retain *fault.Retain
}

// retryAfter is how long a failed delivery waits for the next attempt, in the sandbox's time.
const retryAfter = 5 * time.Minute

// joinWithin is how far a record's delivery may be moved so that it shares a file.
const joinWithin = 90 * time.Second

// Delivery brings records into a trail's bucket, as CloudTrail does: in gz files
// per account and region, some minutes after the event, with a signed digest per
// hour. It implements cloud.Sink. Safe for concurrent use.
type Delivery struct {
	c      DeliveryConfig
	keys   *keyring
	cancel context.CancelFunc
	ended  chan struct{}
	wake   chan struct{} // holds one

	mu      sync.Mutex // of what Emit touches
	rng     *rand.Rand
	pending []*batch
	closed  bool

	work        sync.Mutex     // of what is done in the bucket, one thing at a time
	counted     map[string]int // the things at each point, from 1
	chains      map[Scope]*chain
	windowStart time.Time // of the hour that the next digests cover
	digestTry   time.Time // not before
	last        Status
	latest      map[Scope]Status // of mu
}

// batch is a file to be, or something else that is to be done in the bucket at its time.
type batch struct {
	Scope
	due     time.Time
	records []json.RawMessage
	span    span
	faulted bool // its faults have struck
	actions fault.Do
	// then, when not nil, is what to do instead of delivering records.
	then func(context.Context) error
}

// span of event times; zero if no record had one.
type span struct{ oldest, newest time.Time }

func (s *span) add(t time.Time) {
	if t.IsZero() {
		return
	}
	if s.oldest.IsZero() || t.Before(s.oldest) {
		s.oldest = t
	}
	if t.After(s.newest) {
		s.newest = t
	}
}

// Status is how far a Delivery is, in the sandbox's time.
type Status struct {
	LatestDelivery time.Time // zero: none yet
	LatestDigest   time.Time
	Pending        int // records that wait
}

// NewDelivery starts delivering. The first digest covers the hour that begins now.
func NewDelivery(c DeliveryConfig) *Delivery {
	if c.Delay == (Delay{}) {
		c.Delay = UsualDelay
	}
	if c.Report == nil {
		c.Report = func(error) {}
	}
	ctx, cancel := context.WithCancel(context.Background())
	now := c.Clock.Now().UTC().Truncate(time.Second)
	d := &Delivery{
		c: c, cancel: cancel, ended: make(chan struct{}), wake: make(chan struct{}, 1),
		rng:    rand.New(rand.NewPCG(c.Seed, 0)),
		latest: map[Scope]Status{},
		chains: map[Scope]*chain{}, counted: map[string]int{}, windowStart: now,
		keys: &keyring{from: now},
	}
	for _, s := range c.Trail.Scopes {
		d.chains[s] = newChain()
	}
	go d.run(ctx)
	return d
}

// Emit takes a record of an account and region; it is delivered after the usual
// delay. The record is not kept: it may be changed afterwards.
func (d *Delivery) Emit(account, region string, rec cloud.Record) {
	d.EmitAfter(account, region, rec, 0)
}

// EmitAfter takes a record that is delivered later than usual by extra, in the
// sandbox's time, and so in a later file.
func (d *Delivery) EmitAfter(account, region string, rec cloud.Record, extra time.Duration) {
	if d.c.Trail.Organization == "" && account != d.c.Trail.Account {
		return
	}
	raw, err := encode(rec)
	if err != nil {
		d.c.Report(fmt.Errorf("deliver a record of %s in %s: %w", account, region, err))
		return
	}
	text, _ := rec["eventTime"].(string)
	at, _ := time.Parse(time.RFC3339, text) // zero if it has none: the digest leaves it out

	if !d.accept(Scope{account, region}, raw, at, extra) {
		d.c.Report(fmt.Errorf("deliver a record of %s in %s: delivery is closed", account, region))
	}
}

// accept puts a record into its file; not after Close.
func (d *Delivery) accept(s Scope, raw json.RawMessage, at time.Time, extra time.Duration) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed {
		return false
	}
	emitted := d.c.Clock.Now().Add(extra)
	b := d.join(s, emitted)
	b.records = append(b.records, raw)
	b.span.add(at)
	d.stir()
	return true
}

// stir lets the background look again at what is due.
func (d *Delivery) stir() {
	select {
	case d.wake <- struct{}{}:
	default:
	}
}

// join returns the file a record emitted at a time goes into: the one that is due
// nearest to when the record's own delay ends, or else a new one.
func (d *Delivery) join(s Scope, emitted time.Time) *batch {
	due := emitted.Add(d.c.Delay.draw(d.rng))
	var best *batch
	off := joinWithin
	for _, b := range d.pending {
		if b.Scope != s || b.faulted || b.then != nil || b.due.Before(emitted.Add(d.c.Delay.Min)) || b.due.After(emitted.Add(d.c.Delay.Max)) {
			continue
		}
		if o := b.due.Sub(due).Abs(); o <= off {
			best, off = b, o
		}
	}
	if best == nil {
		best = &batch{Scope: s, due: due}
		d.pend(best)
	}
	return best
}

// pend puts a file where it belongs by its time. The caller holds mu.
func (d *Delivery) pend(b *batch) {
	i, _ := slices.BinarySearchFunc(d.pending, b.due, func(b *batch, due time.Time) int {
		return cmp.Or(b.due.Compare(due), -1)
	})
	d.pending = slices.Insert(d.pending, i, b)
}

// run delivers what is due until ctx ends.
func (d *Delivery) run(ctx context.Context) {
	defer close(d.ended)
	for ctx.Err() == nil {
		next := d.step(ctx)
		timer := time.NewTimer(d.c.Clock.Until(next))
		select {
		case <-timer.C:
		case <-d.wake:
		case <-ctx.Done():
		}
		timer.Stop()
	}
}

// step does, in their order, the files and digests that are due, and returns when the next is.
func (d *Delivery) step(ctx context.Context) (next time.Time) {
	d.work.Lock()
	defer d.work.Unlock()
	for {
		now := d.c.Clock.Now()
		digest := d.windowStart.Add(time.Hour + digestLag)
		if digest.Before(d.digestTry) {
			digest = d.digestTry
		}
		b, due := d.take(now, digest)
		switch {
		case b != nil:
			d.deliver(ctx, b)
		case !digest.After(now):
			if err := d.digest(ctx, d.windowStart.Add(time.Hour)); err != nil {
				if ctx.Err() == nil { // else we are being closed
					d.c.Report(err)
				}
				d.digestTry = now.Add(retryAfter)
			}
		default:
			if due.IsZero() || digest.Before(due) {
				due = digest
			}
			return due
		}
		if ctx.Err() != nil {
			return now
		}
	}
}

// take removes the first pending file if it is due by now and not after limit.
// Otherwise it returns when that file is due, zero if there is none.
func (d *Delivery) take(now, limit time.Time) (*batch, time.Time) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if len(d.pending) == 0 {
		return nil, time.Time{}
	}
	b := d.pending[0]
	if b.due.After(now) || b.due.After(limit) {
		return nil, b.due
	}
	d.pending = d.pending[1:]
	return b, time.Time{}
}

// CatchUp does what is due by the clock's time, without waiting for the
// background to do it, and returns when the next thing is due.
func (d *Delivery) CatchUp(ctx context.Context) (next time.Time) {
	next = d.step(ctx)
	d.stir() // the background waits for the next thing by what the clock was
	return next
}

// fire asks the faults at a point what is to be done to a thing of a place.
func (d *Delivery) fire(at string, s Scope, it map[string]any) []fault.Action {
	d.counted[at]++
	it["account"], it["region"], it["n"] = s.Account, s.Region, d.counted[at]
	return d.c.Faults.Fire(at, it)
}

// together is what several faults do to one thing.
func together(actions []fault.Action) (all fault.Do) {
	for _, f := range actions {
		all.Drop = all.Drop || f.Do.Drop
		all.Delay += f.Do.Delay
		all.Duplicate += f.Do.Duplicate
		all.Truncate += f.Do.Truncate
		all.Corrupt = all.Corrupt || f.Do.Corrupt
		all.Reorder = all.Reorder || f.Do.Reorder
		all.Replace = all.Replace || f.Do.Replace
		if f.Do.Layout != "" {
			all.Layout = f.Do.Layout
		}
	}
	return all
}

// deliver puts a file into the bucket, or what faults leave of it. The caller holds work.
func (d *Delivery) deliver(ctx context.Context, b *batch) {
	now := d.c.Clock.Now().UTC()
	if b.then != nil {
		if err := b.then(ctx); err != nil {
			d.c.Report(err)
			d.again(b, now.Add(retryAfter))
		}
		return
	}
	if !b.faulted {
		b.faulted = true
		b.actions = together(d.fire(fault.AtFile, b.Scope, map[string]any{"key": d.logKey(b.Scope, now, "")}))
		if b.actions.Delay > 0 && !b.actions.Drop {
			d.again(b, now.Add(b.actions.Delay))
			return
		}
	}
	if b.actions.Drop {
		return
	}
	for {
		if err := d.put(ctx, b, d.logKey(b.Scope, now, b.actions.Layout)); err != nil {
			d.c.Report(fmt.Errorf("deliver %d records of %s in %s: %w", len(b.records), b.Account, b.Region, err))
			d.again(b, now.Add(retryAfter))
			return
		}
		if b.actions.Duplicate == 0 {
			return
		}
		b.actions.Duplicate--
	}
}

// again lets a file wait until a time.
func (d *Delivery) again(b *batch, until time.Time) {
	d.mu.Lock()
	defer d.mu.Unlock()
	b.due = until
	d.pend(b)
}

// unpend takes a file out of those that wait, and reports whether it was among them.
func (d *Delivery) unpend(b *batch) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	i := slices.Index(d.pending, b)
	if i >= 0 {
		d.pending = slices.Delete(d.pending, i, i+1)
	}
	return i >= 0
}

// put writes a file and notes it for its digest.
func (d *Delivery) put(ctx context.Context, b *batch, key string) error {
	if b.actions.Reorder {
		b.records = slices.Clone(b.records)
		slices.Reverse(b.records)
		b.actions.Reorder = false // once, however many copies follow
	}
	plain, err := encode(struct{ Records []json.RawMessage }{b.records})
	if err != nil {
		return err
	}
	c := d.chains[b.Scope]
	if c == nil {
		c = newChain()
		d.chains[b.Scope] = c
	}
	written := plain
	if b.actions.Replace {
		written = c.latest
	}
	packed, err := pack(written)
	if err != nil {
		return err
	}
	older, err := pack(c.latest)
	if err != nil {
		return err
	}
	at, err := d.place(ctx, b.Scope, "log", Object{Key: key, Body: damage(packed, b.actions)}, Object{Body: older})
	if err != nil {
		return err
	}
	c.latest = plain
	// The service knows what it meant to write, whatever became of it.
	c.files = append(c.files, deliveredFile{key: key, sha256: hexSum(plain), span: b.span, at: at})
	d.mu.Lock()
	d.last.LatestDelivery = at
	d.latest[b.Scope] = Status{at, d.latest[b.Scope].LatestDigest, 0}
	d.mu.Unlock()
	return nil
}

// damage is what a file suffers on its way.
func damage(packed []byte, do fault.Do) []byte {
	packed = bytes.Clone(packed)
	if do.Corrupt {
		// So many that no record decodes by chance into another one.
		for i := len(packed) / 2; i < min(len(packed)/2+64, len(packed)); i++ {
			packed[i] ^= 0xff
		}
	}
	return packed[:max(0, len(packed)-do.Truncate)]
}

// place puts an object of a kind into the trail's bucket, and sees to what faults
// do to it once it is there; older is what their replace puts over it.
func (d *Delivery) place(ctx context.Context, s Scope, kind string, o, older Object) (time.Time, error) {
	o.Bucket, older.Bucket, older.Key = d.c.Trail.Bucket, d.c.Trail.Bucket, o.Key
	actions := d.fire(fault.AtObject, s, map[string]any{"key": o.Key, "kind": kind})
	for _, a := range actions {
		if a.Do.Retain != nil {
			o.Retain = a.Do.Retain
		}
	}
	at, err := d.c.Bucket.Put(ctx, o)
	if err != nil {
		return at, err
	}
	for _, a := range actions {
		then := d.afterwards(a, o, older)
		if then == nil {
			continue
		}
		d.again(&batch{Scope: s, then: func(ctx context.Context) error {
			if err := then(ctx); err != nil {
				return fmt.Errorf("fault %q: %w", a.Name, err)
			}
			return nil
		}}, at.Add(a.Wait))
	}
	return at, nil
}

// afterwards is what a fault does to an object that stands in the bucket; nil: nothing.
func (d *Delivery) afterwards(a fault.Action, o, older Object) func(context.Context) error {
	put := func(o Object) func(context.Context) error {
		return func(ctx context.Context) error {
			_, err := d.c.Bucket.Put(ctx, o)
			return err
		}
	}
	switch {
	case a.Do.Delete:
		return func(ctx context.Context) error { return d.c.Bucket.Delete(ctx, o.Bucket, o.Key) }
	case a.Do.Replace:
		return put(older)
	case a.Do.Truncate > 0 || a.Do.Corrupt:
		o.Body = damage(o.Body, a.Do)
		return put(o)
	case a.Do.Copy != nil:
		key := strings.ReplaceAll(o.Key, a.Do.Copy.Old, a.Do.Copy.New)
		if key == o.Key {
			d.c.Report(fmt.Errorf("fault %q: copy: %q is not in key %q", a.Name, a.Do.Copy.Old, o.Key))
			return nil
		}
		o.Key = key
		return put(o)
	}
	return nil
}

// logKey is the key of a log file delivered at a time, in a layout of fault.Do.
func (d *Delivery) logKey(s Scope, at time.Time, layout string) string {
	const letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
	unique := make([]byte, 16)
	for i := range unique {
		unique[i] = letters[rand.IntN(len(letters))] // names carry nothing, and must not repeat after a restart
	}
	return fmt.Sprintf("%s/%s_CloudTrail_%s_%s_%s.json.gz",
		d.folder(s, "CloudTrail", at, layout), s.Account, s.Region, at.Format("20060102T1504Z"), unique)
}

// folder is where files of a kind and day are.
func (d *Delivery) folder(s Scope, kind string, at time.Time, layout string) string {
	organization := d.c.Trail.Organization
	if layout == fault.WithoutOrganization {
		organization = ""
	}
	parts := []string{d.c.Trail.Prefix, "AWSLogs", organization, s.Account, kind, s.Region, at.Format("2006/01/02")}
	return strings.Join(slices.DeleteFunc(parts, func(s string) bool { return s == "" }), "/")
}

// Flush delivers what is pending now, delayed files and records too. It returns
// an error if anything is still pending then.
func (d *Delivery) Flush(ctx context.Context) error {
	d.work.Lock()
	defer d.work.Unlock()
	d.mu.Lock()
	all := d.pending
	d.pending = nil
	d.mu.Unlock()
	for _, b := range all {
		d.deliver(ctx, b)
		// A fault may have delayed it just now.
		if d.unpend(b) {
			d.deliver(ctx, b)
		}
	}
	if n := d.Status().Pending; n > 0 {
		return fmt.Errorf("archive: %d records of trail %s could not be delivered", n, d.c.Trail.Name)
	}
	return nil
}

// Close delivers what is pending, and ends. Later records are reported as errors.
func (d *Delivery) Close(ctx context.Context) error {
	d.mu.Lock()
	d.closed = true
	d.mu.Unlock()
	err := d.Flush(ctx)
	d.cancel()
	select {
	case <-d.ended:
	case <-ctx.Done():
		err = errors.Join(err, fmt.Errorf("archive: close delivery: %w", context.Cause(ctx)))
	}
	return err
}

// Status returns how far the delivery is.
func (d *Delivery) Status() Status {
	d.mu.Lock()
	defer d.mu.Unlock()
	s := d.last
	for _, b := range d.pending {
		s.Pending += len(b.records)
	}
	return s
}

// Latest returns when the latest log file and digest of a place were delivered,
// zero if none was.
func (d *Delivery) Latest(account, region string) (file, digest time.Time) {
	d.mu.Lock()
	defer d.mu.Unlock()
	s := d.latest[Scope{account, region}]
	return s.LatestDelivery, s.LatestDigest
}

// encode is JSON as the services write it: "<", ">" and "&" as they are.
func encode(v any) ([]byte, error) {
	var buf bytes.Buffer
	e := json.NewEncoder(&buf)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		return nil, err
	}
	return bytes.TrimRight(buf.Bytes(), "\n"), nil
}

func pack(plain []byte) ([]byte, error) {
	var buf bytes.Buffer
	z := gzip.NewWriter(&buf)
	if _, err := z.Write(plain); err != nil {
		return nil, err
	}
	if err := z.Close(); err != nil {
		return nil, err
	}
	return buf.Bytes(), nil
}
