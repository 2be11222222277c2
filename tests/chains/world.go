package chains

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/auditcanary/auditcanary/shared/canary"
	"github.com/auditcanary/auditcanary/shared/trail"
)

// Case is something that is done to a chain, and what is to be said of it.
type Case struct {
	Name string
	// What is done, in words.
	What string
	// Deliver delivers the hours; nil: six of them, the fourth without a log file.
	Deliver func(w *World)
	// Then is done to the archive afterwards.
	Then func(w *World)
	// Want are the findings: object, kind, status. Every other object is valid.
	Want []string
	// NotAWS says why the AWS CLI is not asked; "": it is.
	NotAWS string
}

// World is the archive of one case: hours 1, 2, ... with digests d1, d2, ... and
// log files l1a, l1b, ...
type World struct {
	*Chain
	Start time.Time
	// Query to validate with; the world's range, place and so on are filled in.
	Query trail.Validation
	// Listed are the keys that the provider lists; KeysErr: it does not answer.
	Listed  []*Key
	KeysErr error
	// Second key, not in use yet; a foreign one that CloudTrail does not know; one in SPKI form.
	Second, Foreign, SPKI *Key
	// Other buckets; those that may be read.
	Others   map[string]*Bucket
	Readable bool

	objects map[string]string // name -> key
	hour    int
}

// Start of every world.
var Start = time.Date(2026, 3, 10, 6, 0, 0, 0, time.UTC)

const (
	bucketName = "generated-logs"
	otherName  = "generated-logs-before"
	// Region of the chains, and the trail's home.
	Region, Home = "eu-west-1", "us-east-1"
	trailName    = "all_events"
)

// Keys are made once for all worlds.
type Keys struct{ First, Second, Foreign, SPKI *Key }

// NewKeys makes them.
func NewKeys() (k Keys, err error) {
	for _, key := range []struct {
		to   **Key
		spki bool
	}{{&k.First, false}, {&k.Second, false}, {&k.Foreign, false}, {&k.SPKI, true}} {
		if *key.to, err = NewKey(Start.AddDate(0, 0, -10), Start.AddDate(0, 0, 20), key.spki); err != nil {
			return k, err
		}
	}
	return k, nil
}

// Build makes the n-th case's world. Each has an account of its own, so that
// several can lie in one bucket.
func (c Case) Build(n int, keys Keys) *World {
	b := &Bucket{Bucket: bucketName, Objects: map[string]Object{}, Refused: map[string]bool{}}
	w := &World{
		Chain: &Chain{Bucket: b, Account: fmt.Sprintf("3%011d", n), Region: Region, Trail: trailName, Home: Home, Key: keys.First, Time: Start},
		Start: Start, Listed: []*Key{keys.First, keys.Second, keys.SPKI},
		Second: keys.Second, Foreign: keys.Foreign, SPKI: keys.SPKI,
		Others:  map[string]*Bucket{otherName: {Bucket: otherName, Objects: map[string]Object{}}},
		objects: map[string]string{},
	}
	if c.Deliver != nil {
		c.Deliver(w)
	} else {
		w.Hours(6)
	}
	b.Now = w.Time.Add(5 * time.Minute)
	if c.Then != nil {
		c.Then(w)
	}
	return w
}

// Hours delivers n of them, two log files each, the fourth without.
func (w *World) Hours(n int) {
	for range n {
		if w.hour == 3 {
			w.Hour(0, Odd{})
		} else {
			w.Hour(2, Odd{})
		}
	}
}

// Hour delivers one.
func (w *World) Hour(logs int, odd Odd) {
	w.hour++
	for i := range logs {
		w.objects[fmt.Sprintf("l%d%c", w.hour, 'a'+i)] = w.Log(w.Time.Add(time.Duration(10+30*i) * time.Minute))
	}
	w.objects[fmt.Sprintf("d%d", w.hour)] = w.Digest(odd)
}

// Named gives an object a name.
func (w *World) Named(name, key string) { w.objects[name] = key }

// KeyOf an object.
func (w *World) KeyOf(name string) string {
	key, ok := w.objects[name]
	if !ok {
		panic("no object is called " + name)
	}
	return key
}

// Delete objects.
func (w *World) Delete(names ...string) {
	for _, name := range names {
		delete(w.Bucket.Objects, w.KeyOf(name))
	}
}

// storedAt says when an object was stored.
func (w *World) storedAt(name string, at time.Time) {
	o := w.Bucket.Objects[w.KeyOf(name)]
	o.Stored = at
	w.Bucket.Objects[w.KeyOf(name)] = o
}

// Change an object's body.
func (w *World) Change(name string, change func([]byte) []byte) {
	o := w.Bucket.Objects[w.KeyOf(name)]
	o.Body = change(append([]byte{}, o.Body...))
	w.Bucket.Objects[w.KeyOf(name)] = o
}

// ChangeMeta changes an object's metadata.
func (w *World) ChangeMeta(name string, change func(map[string]string)) {
	o := w.Bucket.Objects[w.KeyOf(name)]
	meta := map[string]string{}
	for k, v := range o.Meta {
		meta[k] = v
	}
	change(meta)
	o.Meta = meta
	w.Bucket.Objects[w.KeyOf(name)] = o
}

// Plain changes what an object holds uncompressed.
func Plain(change func([]byte) []byte) func([]byte) []byte {
	return func(b []byte) []byte { return Pack(change(Unpack(b))) }
}

// PublicKeys implements trail.PublicKeys.
func (w *World) PublicKeys(_ context.Context, region string, from, until time.Time) (out []trail.PublicKey, err error) {
	if w.KeysErr != nil {
		return nil, fmt.Errorf("list public keys in %s: %w", region, w.KeysErr)
	}
	for _, k := range w.Listed {
		if !k.Public.Until.Before(from) && !k.Public.From.After(until) {
			out = append(out, k.Public)
		}
	}
	return out, nil
}

// Archive to validate.
func (w *World) Archive() *trail.Archive {
	return trail.NewArchive(trail.Config{Name: "generated", Prefix: w.Prefix, OrganizationID: w.Organization}, w.Bucket)
}

// Validation of the whole world, as Query has it.
func (w *World) Validation() trail.Validation {
	q := w.Query
	if q.From.IsZero() && q.Heads == nil {
		q.From = w.Start
	}
	if q.Places == nil {
		q.Places = []canary.Target{{Account: w.Account, Region: w.Region}}
	}
	if w.Readable {
		q.Other = func(_ context.Context, bucket string) (trail.Store, error) {
			if b, ok := w.Others[bucket]; ok {
				return b, nil
			}
			return nil, errors.New("NoSuchBucket")
		}
	}
	return q
}

// Name of an object, or what is left of its key.
func (w *World) Name(object string) string {
	_, key, _ := strings.Cut(strings.TrimPrefix(object, "s3://"), "/")
	for name, k := range w.objects {
		if k == key {
			return name
		}
	}
	if i := strings.Index(key, w.Account+"/"); i >= 0 {
		return key[i+len(w.Account)+1:]
	}
	return key
}

// mislabelled is another key under the fingerprint of the one in use.
func (w *World) mislabelled() *Key {
	k := *w.Second
	k.Public.Fingerprint = w.Key.Public.Fingerprint
	return &k
}

// Heads of the world as it is now: what a validation leaves.
func (w *World) Heads() []trail.Head {
	now := w.Bucket.Now
	if now.IsZero() {
		w.Bucket.Now = w.Time.Add(5 * time.Minute)
		defer func() { w.Bucket.Now = now }()
	}
	var heads []trail.Head
	_, err := w.Archive().Validate(context.Background(), w, w.Validation(), func(r trail.Result) {
		if r.Head != nil {
			heads = append(heads, *r.Head)
		}
	})
	if err != nil {
		panic(err)
	}
	return heads
}
