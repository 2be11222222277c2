package trail

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/auditcanary/auditcanary/shared/canary"
	"github.com/auditcanary/auditcanary/shared/event"
)

// Config says what an archive is like.
type Config struct {
	// Name of the log store in the configuration; it goes into every Location.
	Name string
	// Prefix is the trail's S3KeyPrefix, "" if it has none.
	Prefix string
	// OrganizationID ("o-...") if the trail is an organisation trail. The layout
	// without it is listed too: a trail that became an organisation trail later
	// may have files in both.
	OrganizationID string
	// Margin is how far clocks and file stamps may lie apart: listing begins
	// that much before Query.Since and goes that much beyond the store's time.
	// 15 minutes if zero.
	Margin time.Duration
	// Concurrency is how many lists or objects are read at a time, 4 if zero.
	// Each takes up to 11 MB.
	Concurrency int
}

const (
	// keepWhole is the size, compressed, up to which an object is read into
	// memory before it is scanned. CloudTrail's files are rarely larger.
	keepWhole = 8 << 20
	// maxLookClaims bounds the records of one look that merely claim to be ours.
	maxLookClaims = 8 << 20
	// maxDays and maxObjects bound one look at one place.
	maxDays    = 100
	maxObjects = 100_000
	// pageSize is how many keys one list request returns (S3: 1,000).
	pageSize = 1000
)

// Archive is a bucket of CloudTrail files. It is safe for concurrent use.
type Archive struct {
	cfg   Config
	store Store
}

// NewArchive returns the archive in a store.
func NewArchive(cfg Config, store Store) *Archive {
	cfg.Prefix = strings.TrimSuffix(cfg.Prefix, "/")
	cfg.Margin = cmp.Or(cfg.Margin, 15*time.Minute)
	cfg.Concurrency = max(1, cmp.Or(cfg.Concurrency, 4))
	return &Archive{cfg: cfg, store: store}
}

// Query is what to look for.
type Query struct {
	// RequestIDs we are waiting for. Objects read in an earlier look with the
	// same Memory are not read again for ids added since.
	RequestIDs map[string]bool
	// Places the records may be recorded in.
	Places []canary.Target
	// Since is the time of the earliest action, by the service's clock.
	Since time.Time
}

// Memory is what one caller's looks have read so far. The zero value is a fresh
// one. It is for one Poll at a time.
type Memory struct {
	read     map[string]Object // by key, as listed
	looked   []canary.Look     // by place, whatever the layout
	problems []canary.Problem  // of objects that will not get better by reading them again
}

// Found is what one look found.
type Found struct {
	// AsOf is the store's own clock when this look began: whatever was stored
	// before then has been seen, but for what Problems name. Zero if a listing failed.
	AsOf time.Time
	// Sightings in objects that no earlier look with the same Memory had read,
	// duplicates and all.
	Sightings []canary.Sighting
	// Looked is how much of each place has been read, in all looks with the same Memory.
	Looked []canary.Look
	// Problems are all that stand now: those of earlier looks that do not go
	// away (a file cut off), and those of this one (a request that failed, which
	// the next look tries again).
	Problems []canary.Problem
	// Lists and Gets count requests (a list page holds 1,000 keys), Records the
	// records that were scanned, Bytes their size uncompressed.
	Lists, Gets, Records int
	Bytes                int64
}

// Poll looks at what has arrived since the last Poll with the same Memory. It
// lists the days since q.Since at each place, in each layout, and reads every
// new object once, with one request, however many request ids are waited for.
//
// The error is for a store that could not be looked at at all: no place could be
// listed, or the query makes no sense. Anything less is in Found.Problems.
func (a *Archive) Poll(ctx context.Context, q Query, mem *Memory) (Found, error) {
	if q.Since.IsZero() {
		return Found{}, fmt.Errorf("look into %s: no time to begin from", a.cfg.Name)
	}
	if mem.read == nil {
		mem.read = map[string]Object{}
	}

	// List every place.
	places := a.places(q.Places)
	listings := make([]listing, len(places))
	a.parallel(len(places), func(i int) { listings[i] = a.list(ctx, places[i], q.Since, mem) })

	var out Found
	var objects []listed
	var failed []error
	complete := true
	for _, l := range listings {
		out.Lists += l.lists
		out.Problems = append(out.Problems, l.problems...)
		objects = append(objects, l.objects...)
		if l.err != nil {
			complete = false
			failed = append(failed, l.err)
			out.Problems = append(out.Problems, a.problem(l.place, "", "", l.err.Error()))
			continue
		}
		if out.AsOf.IsZero() || l.asOf.Before(out.AsOf) {
			out.AsOf = l.asOf
		}
	}
	if !complete {
		out.AsOf = time.Time{}
	}

	// Read every new object.
	var claims atomic.Int64
	results := make([]result, len(objects))
	scanners := sync.Pool{New: func() any { return NewScanner() }}
	a.parallel(len(objects), func(i int) {
		s := scanners.Get().(*Scanner)
		defer scanners.Put(s)
		results[i] = a.read(ctx, s, objects[i], q.RequestIDs, &claims)
	})
	for i, r := range results {
		out.Gets += r.gets
		if r.err != nil {
			out.Problems = append(out.Problems, a.problem(objects[i].place, objects[i].Key, canary.Stored, r.err.Error()))
			continue
		}
		out.Records += r.records
		out.Bytes += r.bytes
		out.Sightings = append(out.Sightings, r.sightings...)
		mem.forget(a.problem(objects[i].place, objects[i].Key, "", "").Object)
		mem.problems = append(mem.problems, r.problems...)
		mem.read[objects[i].Key] = objects[i].Object
		mem.note(objects[i], r.records)
	}
	out.Problems = append(out.Problems, mem.problems...)
	out.Looked = slices.Clone(mem.looked)

	if len(failed) > 0 && len(failed) == len(places) {
		return out, fmt.Errorf("look into %s: %w", a.cfg.Name, errors.Join(failed[:min(3, len(failed))]...))
	}
	return out, nil
}

// forget drops what was wrong with an object that has been read again.
func (m *Memory) forget(object string) {
	m.problems = slices.DeleteFunc(m.problems, func(p canary.Problem) bool { return p.Object == object })
}

// note counts an object that was read.
func (m *Memory) note(o listed, records int) {
	i := slices.IndexFunc(m.looked, func(l canary.Look) bool { return l.Account == o.place.account && l.Region == o.place.region })
	if i < 0 {
		i = len(m.looked)
		m.looked = append(m.looked, canary.Look{Account: o.place.account, Region: o.place.region, First: o.LastModified})
	}
	l := &m.looked[i]
	l.Objects++
	l.Records += records
	if o.LastModified.Before(l.First) {
		l.First = o.LastModified
	}
	if o.LastModified.After(l.Last) {
		l.Last = o.LastModified
	}
}

// places are the folders of the accounts and regions, each once, in each layout.
func (a *Archive) places(targets []canary.Target) []place {
	var all []place
	for _, t := range targets {
		layouts := []string{""}
		if a.cfg.OrganizationID != "" {
			layouts = []string{a.cfg.OrganizationID, ""}
		}
		for _, o := range layouts {
			if p := (place{a.cfg.Prefix, o, t.Account, t.Region}); !slices.Contains(all, p) {
				all = append(all, p)
			}
		}
	}
	return all
}

// listed is an object that is to be read.
type listed struct {
	Object
	place place
}

// listing is what one look at one place found there.
type listing struct {
	place    place
	objects  []listed
	problems []canary.Problem
	asOf     time.Time
	lists    int
	err      error
}

// list lists the place's days from since to the store's own today. Nothing but
// the store's clock says what day that is.
func (a *Archive) list(ctx context.Context, p place, since time.Time, mem *Memory) listing {
	l := listing{place: p}
	if !isAccount(p.account) || !isRegion(p.region) {
		l.err = fmt.Errorf("account %q, region %q: not a place a CloudTrail archive has", p.account, p.region)
		return l
	}
	from := since.Add(-a.cfg.Margin).UTC()
	day := time.Date(from.Year(), from.Month(), from.Day(), 0, 0, 0, 0, time.UTC)
	startAfter := p.day(day) + stem(p.account, p.region, from)
	strays := 0
	for n := 1; ; n++ {
		prefix, keys := p.day(day), 0
		asOf, err := a.store.List(ctx, prefix, startAfter, func(o Object) error {
			keys++
			if old, ok := mem.read[o.Key]; ok && old.Size == o.Size && old.LastModified.Equal(o.LastModified) {
				return nil
			}
			if err := checkKey(o, prefix); err == errFolder {
				return nil
			} else if err != nil {
				if strays++; strays <= maxDefects {
					l.problems = append(l.problems, a.problem(p, o.Key, canary.Stored, "not read: "+err.Error()))
				}
				return nil
			}
			if len(l.objects) == maxObjects {
				return fmt.Errorf("list %s: more than %d new objects", prefix, maxObjects)
			}
			l.objects = append(l.objects, listed{o, p})
			return nil
		})
		l.lists += 1 + keys/pageSize
		if err == nil && asOf.IsZero() {
			err = fmt.Errorf("list %s: the store did not say what time it is", prefix)
		}
		if err != nil {
			l.err = err
			break
		}
		if l.asOf.IsZero() || asOf.Before(l.asOf) {
			l.asOf = asOf
		}
		day, startAfter = day.AddDate(0, 0, 1), ""
		if day.After(asOf.Add(a.cfg.Margin)) {
			break
		}
		if n == maxDays {
			l.err = fmt.Errorf("list %s: it is more than %d days since %s", prefix, maxDays, since.UTC().Format(time.RFC3339))
			break
		}
	}
	if strays > maxDefects {
		l.problems = append(l.problems, a.problem(p, "", canary.Stored, fmt.Sprintf("and %d more objects that are no log files", strays-maxDefects)))
	}
	return l
}

var errFolder = errors.New("an empty object that stands for a folder")

// checkKey says what is wrong with an object in the folder of a day, if anything.
func checkKey(o Object, folder string) error {
	if o.Key == folder && o.Size == 0 {
		return errFolder // consoles make them
	}
	if _, err := ParseKey(o.Key); err != nil {
		return err
	}
	if !strings.HasPrefix(o.Key, folder) || strings.Contains(o.Key[len(folder):], "/") {
		return fmt.Errorf("key %q does not lie in folder %q", o.Key, folder)
	}
	return nil
}

// result is what one object held. err: it could not be read this time.
type result struct {
	sightings []canary.Sighting
	problems  []canary.Problem
	gets      int
	records   int
	bytes     int64
	err       error
}

func (a *Archive) read(ctx context.Context, s *Scanner, o listed, ids map[string]bool, claims *atomic.Int64) (res result) {
	if err := ctx.Err(); err != nil {
		return result{err: err}
	}
	opened, file, err := a.scan(ctx, s, o, ids)
	if err != nil {
		return result{gets: 1, err: err}
	}
	res.gets, res.records, res.bytes = 1, file.Records, file.Bytes
	for _, d := range file.Defects {
		res.problems = append(res.problems, a.problem(o.place, o.Key, canary.Parsed, d.String()))
	}
	at := canary.Location{
		Store: a.cfg.Name, Bucket: a.store.Name(), Key: o.Key, VersionID: opened.VersionID,
		ObjectSHA256: file.SHA256,
	}
	dropped := 0
	for _, r := range file.Found {
		if !r.Asked && claims.Add(int64(len(r.Raw))) > maxLookClaims {
			dropped++
			continue
		}
		e, err := event.ReadCloudTrail(r.Raw)
		if err != nil {
			res.problems = append(res.problems, a.problem(o.place, o.Key, canary.Parsed, Defect{r.Offset, err.Error()}.String()))
			continue
		}
		at.Offset, at.Length = r.Offset, int64(len(r.Raw))
		res.sightings = append(res.sightings, canary.Sighting{Event: e, Raw: r.Raw, At: at, Stored: opened.LastModified})
	}
	if dropped > 0 {
		res.problems = append(res.problems, a.problem(o.place, o.Key, canary.Parsed, fmt.Sprintf(
			"%d records that carry the marker but none of our request ids were left out: this look has more than %d bytes of them", dropped, maxLookClaims)))
	}
	return res
}

// scan opens and scans one object. Its error means that reading it again may help.
func (a *Archive) scan(ctx context.Context, s *Scanner, o listed, ids map[string]bool) (Opened, File, error) {
	opened, err := a.store.Open(ctx, o.Key)
	if err != nil {
		return Opened{}, File{}, err
	}
	defer opened.Body.Close()
	if o.Size > keepWhole {
		file, err := s.Scan(ctx, opened.Body, ids)
		return opened, file, err
	}
	whole := bytes.NewBuffer(make([]byte, 0, max(0, o.Size)+bytes.MinRead))
	if _, err := whole.ReadFrom(io.LimitReader(opened.Body, keepWhole+1)); err != nil {
		return Opened{}, File{}, fmt.Errorf("read after %d bytes: %w", whole.Len(), err)
	}
	if whole.Len() > keepWhole { // it was replaced by a larger one since it was listed
		file, err := s.Scan(ctx, io.MultiReader(whole, opened.Body), ids)
		return opened, file, err
	}
	file, err := s.ScanBytes(ctx, whole.Bytes(), ids)
	return opened, file, err
}

// problem at a place; key "" is the place as a whole.
func (a *Archive) problem(p place, key string, hop canary.Hop, text string) canary.Problem {
	if key == "" {
		key = strings.TrimSuffix(p.day(time.Time{}), time.Time{}.Format(dayFormat)+"/")
	}
	return canary.Problem{Account: p.account, Region: p.region, Object: "s3://" + a.store.Name() + "/" + key, Hop: hop, Err: text}
}

// parallel calls do(0..n-1), at most Concurrency at a time, and waits for all.
func (a *Archive) parallel(n int, do func(i int)) {
	var wg sync.WaitGroup
	slots := make(chan struct{}, a.cfg.Concurrency)
	for i := range n {
		slots <- struct{}{}
		wg.Go(func() {
			defer func() { <-slots }()
			do(i)
		})
	}
	wg.Wait()
}
