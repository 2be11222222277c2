package trail

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"sync"
	"time"
)

// folder is the walk through what one place holds in one layout: the digests of
// its chains, day by day and oldest first, and the log files beside them. Until
// all are fetched, chains, order, crowd, asOf and unlisted are fetch's.
type folder struct {
	v     *validation
	place place
	asOf  time.Time // the store's, at the first list

	chains map[Chain]*chain
	order  []*chain
	crowd  int   // chains beyond maxChains
	memory *Head // how far the log files were settled last time

	// Log files that were listed and that no digest has referenced so far. It holds
	// about a day's, as digests follow soon; what is left in the end is in none.
	listed   map[fileName]listedFile
	overflow int
	early    map[fileName]bool // referenced before their day was listed
	upTo     time.Time         // the last day listed
	wanted   time.Time         // when the first log file wanted was delivered, zero: none is
	unlisted error

	reads sync.WaitGroup // log files being read
	mu    sync.Mutex     // of what the reads write: the results, unsealed
	out   Result
	// unsealed says of wanted log files why they have no seal.
	unsealed map[string]Finding
	sealed   map[string]bool
}

// fileName is what tells the log files of one place apart.
type fileName struct {
	minute int64 // Unix
	unique [16]byte
}

type listedFile struct {
	stored int64 // Unix seconds
	// remembered: pending last time, and not listed this time (yet).
	remembered bool
	unread     bool // as PendingFile has it
}

func nameOf(k Key) (n fileName) {
	n.minute = k.Stamp.Unix()
	copy(n.unique[:], k.Unique)
	return n
}

func (f *folder) key(n fileName) string {
	p := f.place
	return Key{p.prefix, p.organization, p.account, p.region, time.Unix(n.minute, 0).UTC(), string(n.unique[:])}.String()
}

func newFolder(v *validation, p place) *folder {
	f := &folder{
		v: v, place: p, chains: map[Chain]*chain{}, listed: map[fileName]listedFile{}, early: map[fileName]bool{},
		unsealed: map[string]Finding{}, sealed: map[string]bool{},
	}
	f.out.Chain = Chain{Account: p.account, Region: p.region, Organization: p.organization}
	for key := range v.q.Wanted {
		if k, err := ParseKey(key); err == nil && f.holds(k) && (f.wanted.IsZero() || k.Stamp.Before(f.wanted)) {
			f.wanted = k.Stamp
		}
	}
	return f
}

// validate walks the days and delivers the results. While some digests are
// followed and their log files read, the next ones are listed and fetched.
func (f *folder) validate(ctx context.Context) {
	f.remember()
	parts := make(chan part)
	go func() {
		defer close(parts)
		day, ok := f.firstDay(ctx)
		if ok {
			f.lookBack(ctx, day, parts)
		}
		for ok && ctx.Err() == nil {
			day, ok = f.fetch(ctx, day, parts)
		}
	}()
	for p := range parts {
		f.takeLogs(p)
		for _, r := range p.digests {
			if ctx.Err() == nil {
				r.chain.step(ctx, r)
			}
		}
	}
	f.reads.Wait()
	if ctx.Err() != nil {
		return
	}
	f.finish(ctx)
}

// part of a day: some digests, read and verified by themselves, and before the
// first of them all the day's log files.
type part struct {
	day     time.Time
	first   bool
	logs    []namedFile
	digests []*reading
}

type namedFile struct {
	fileName
	stored int64
}

// remember takes up the heads of the folder.
func (f *folder) remember() {
	for _, h := range f.v.q.Heads {
		if h.Account != f.place.account || h.Region != f.place.region || h.Organization != f.place.organization {
			continue
		}
		if h.Trail == "" {
			f.memory = &h
			f.v.walks(h.Chain)
			continue
		}
		if c := f.chain(h.Chain); c != nil {
			f.v.walks(h.Chain)
			if c.ours {
				c.takeUp(h)
			}
		}
	}
	if f.memory == nil {
		return
	}
	for _, p := range f.memory.Pending {
		if k, err := ParseKey(p.Key); err == nil && f.holds(k) {
			f.listed[nameOf(k)] = listedFile{p.Stored.Unix(), true, p.Unread}
		}
	}
}

// chain returns the walk of a chain; nil: there are too many.
func (f *folder) chain(id Chain) *chain {
	c := f.chains[id]
	if c == nil {
		if len(f.chains) == maxChains {
			return nil
		}
		c = newChain(f, id)
		f.chains[id] = c
		f.order = append(f.order, c)
	}
	return c
}

// from is where the range begins that was asked for; zero: with the chain.
func (f *folder) from() time.Time {
	from := f.v.q.From
	if w := f.wanted.Add(-f.v.archive.cfg.Margin); !f.wanted.IsZero() && w.Before(from) {
		return w
	}
	return from
}

func dayOf(t time.Time) time.Time { return t.UTC().Truncate(24 * time.Hour) }

// firstDay is where the walk begins; false: nowhere.
func (f *folder) firstDay(ctx context.Context) (time.Time, bool) {
	first := f.from()
	for _, c := range f.order {
		start := c.start
		if c.viaHead {
			start = c.head.Start
		}
		if !start.IsZero() && (first.IsZero() || start.Before(first)) {
			first = start
		}
	}
	if !first.IsZero() {
		return dayOf(first.Add(-f.v.archive.cfg.Margin)), true
	}
	return f.nextDay(ctx, time.Date(2013, 1, 1, 0, 0, 0, 0, time.UTC)) // CloudTrail began that year
}

// nextDay is the first day from one on that holds anything.
func (f *folder) nextDay(ctx context.Context, from time.Time) (day time.Time, found bool) {
	for _, kind := range []string{digestFolder, logFolder} {
		at := f.place.folder(kind)
		key, err := f.v.next(ctx, at, at+from.Format(dayFormat))
		if err != nil {
			f.cannotList(at, err)
			return time.Time{}, false
		}
		if key == "" {
			continue
		}
		text := key[len(at):min(len(key), len(at)+len(dayFormat))]
		t, err := time.Parse(dayFormat, text)
		if err != nil || t.Year() > 9000 {
			f.stray(key, errors.New("lies in the folder of no day"))
			continue
		}
		if !found || t.Before(day) {
			day, found = t, true
		}
	}
	return day, found
}

// lookBackDays is for how many days before the last validation the log folders are
// listed for what was stored since: each costs a request and more.
const lookBackDays = 7

// lookBack lists the log files of the days before the first one of the walk, and
// hands over those stored since the last validation: nothing but names.
func (f *folder) lookBack(ctx context.Context, first time.Time, parts chan<- part) {
	if f.memory == nil || f.memory.AsOf.IsZero() || !f.v.q.Until.IsZero() {
		return
	}
	for day := dayOf(f.memory.AsOf).AddDate(0, 0, -lookBackDays); day.Before(first) && ctx.Err() == nil; day = day.AddDate(0, 0, 1) {
		logs, asOf, err := f.listLogs(ctx, day, f.memory.AsOf)
		if err != nil {
			f.cannotList(f.place.day(day), err)
			return
		}
		if f.asOf.IsZero() {
			f.asOf = asOf
		}
		parts <- part{day: day, first: true, logs: logs}
	}
}

// fetch lists one day, reads its digests, some at a time, and returns the next
// day; false: that was the last.
func (f *folder) fetch(ctx context.Context, day time.Time, parts chan<- part) (time.Time, bool) {
	in := f.place.folder(digestFolder) + day.Format(dayFormat) + "/"
	var digests []Object
	var logs []namedFile
	var asOf, logsAsOf time.Time
	var err, logsErr error
	var wg sync.WaitGroup
	wg.Go(func() { logs, logsAsOf, logsErr = f.listLogs(ctx, day, time.Time{}) })
	asOf, err = f.v.list(ctx, in, "", func(o Object) error {
		if len(digests) == maxObjects {
			return fmt.Errorf("list %s: more than %d digests", in, maxObjects)
		}
		digests = append(digests, o)
		return nil
	})
	wg.Wait()
	switch {
	case err != nil:
		f.cannotList(in, err)
		return day, false
	case logsErr != nil:
		f.cannotList(f.place.day(day), logsErr)
		return day, false
	case f.asOf.IsZero():
		f.asOf = asOf
		if logsAsOf.Before(asOf) {
			f.asOf = logsAsOf
		}
	}
	n := len(digests) + len(logs)
	f.load(ctx, part{day: day, first: true, logs: logs}, in, digests, parts)

	end := f.asOf.Add(f.v.archive.cfg.Margin)
	if until := f.v.q.Until; !until.IsZero() && until.Add(2*time.Hour).Before(end) {
		end = until.Add(2 * time.Hour) // the digest after the range references its last log files
	}
	next := day.AddDate(0, 0, 1)
	if next.After(end) {
		return day, false
	}
	if n == 0 {
		next, ok := f.nextDay(ctx, next)
		return next, ok && !next.After(end)
	}
	return next, true
}

// listLogs lists the log files of one day, of those stored since a time.
func (f *folder) listLogs(ctx context.Context, day, since time.Time) (logs []namedFile, asOf time.Time, err error) {
	in := f.place.day(day)
	asOf, err = f.v.list(ctx, in, "", func(o Object) error {
		if o.LastModified.Before(since) {
			return nil
		}
		k, err := ParseKey(o.Key)
		if err == nil && !f.holds(k) {
			err = fmt.Errorf("key %q does not lie in folder %q", o.Key, in)
		}
		switch {
		case err == nil && len(logs) == maxListed:
			return fmt.Errorf("list %s: more than %d log files", in, maxListed)
		case err == nil:
			logs = append(logs, namedFile{nameOf(k), o.LastModified.Unix()})
		case o.Key != in || o.Size != 0: // consoles make empty objects that stand for folders
			f.stray(o.Key, err)
		}
		return nil
	})
	return logs, asOf, err
}

// takeLogs takes up the log files of a day.
func (f *folder) takeLogs(p part) {
	if !p.first {
		return
	}
	f.upTo = p.day
	for _, l := range p.logs {
		before, remembered := f.listed[l.fileName]
		switch {
		case f.early[l.fileName]:
			delete(f.early, l.fileName)
		case remembered: // since when it waits does not change as it is written over
			f.listed[l.fileName] = listedFile{stored: min(before.stored, l.stored), unread: before.unread}
		case len(f.listed) >= maxListed:
			f.overflow++
		default:
			f.listed[l.fileName] = listedFile{stored: l.stored}
		}
	}
}

func (f *folder) holds(k Key) bool {
	return place{k.Prefix, k.OrganizationID, k.Account, k.Region} == f.place
}

// load reads the digests of a day, and hands them over.
func (f *folder) load(ctx context.Context, p part, in string, digests []Object, parts chan<- part) {
	flush := func() {
		var wg sync.WaitGroup
		for _, r := range p.digests {
			f.v.digests <- struct{}{}
			f.v.reading(&wg, func() {
				defer func() { <-f.v.digests }()
				r.load(ctx, f.v)
			})
		}
		wg.Wait()
		parts <- p
		p = part{day: p.day}
	}
	for _, o := range digests {
		k, err := ParseDigestKey(o.Key)
		if err == nil && (place{k.Prefix, k.OrganizationID, k.Account, k.Region}) != f.place {
			err = fmt.Errorf("key %q does not lie in folder %q", o.Key, in)
		}
		if err != nil {
			if o.Key != in || o.Size != 0 {
				f.stray(o.Key, err)
			}
			continue
		}
		c := f.chain(k.chain())
		if c == nil {
			f.crowd++
			continue
		}
		if !c.wants(k) {
			continue
		}
		r := &reading{chain: c, bucket: f.v.store.Name(), key: o.Key, name: k}
		if c.late = append(c.late, r); f.delivered(k, o) {
			for _, r := range c.late {
				if p.digests = append(p.digests, r); len(p.digests) == digestsAtOnce {
					flush()
				}
			}
			c.late = nil
		}
	}
	if p.first || len(p.digests) > 0 {
		flush()
	}
}

// delivered says that a digest was there when the validation began. One that came
// since is the next validation's, with the log files of its time, unless another
// follows it that is not: then it was written over.
func (f *folder) delivered(k DigestKey, o Object) bool {
	return o.LastModified.Before(f.asOf) || k.Stamp.Before(f.asOf.Add(-3*time.Hour))
}

// reference notes that a signed digest references these log files.
func (f *folder) reference(logs []LogFile) {
	at := f.place.folder(logFolder)
	for _, l := range logs {
		if l.Bucket != f.v.store.Name() || !strings.HasPrefix(l.Key, at) {
			continue
		}
		k, err := ParseKey(l.Key)
		if err != nil || !f.holds(k) {
			continue
		}
		name := nameOf(k)
		if _, ok := f.listed[name]; ok {
			delete(f.listed, name)
		} else if dayOf(k.Stamp).After(f.upTo) && len(f.early) < maxListed {
			f.early[name] = true
		}
	}
}

func (f *folder) cannotList(at string, err error) {
	f.unlisted = err
	f.mu.Lock()
	defer f.mu.Unlock()
	f.out.find(Finding{Kind: Unlisted, Status: Inconclusive, Object: f.v.object(at), Detail: err.Error()})
}

// unsettled: not everything was looked at, so that the next validation has to
// begin where this one did.
func (f *folder) unsettled() bool { return f.unlisted != nil || f.crowd > 0 || f.overflow > 0 }

func (f *folder) stray(key string, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.out.Counts.Strays++
	f.out.find(Finding{Kind: Stray, Status: Inconclusive, Object: f.v.object(key), Detail: "CloudTrail gives no such name, so that it was not read: " + err.Error()})
}

// find keeps a finding; of more than maxFindings rather what has failed.
func (r *Result) find(f Finding) {
	if f.Status != Fail {
		r.milder++
	}
	if len(r.Findings) < maxFindings {
		r.Findings = append(r.Findings, f)
		return
	}
	if f.Status == Fail && r.milder > r.More[Inconclusive]+r.More[Pending] {
		i := slices.IndexFunc(r.Findings, func(f Finding) bool { return f.Status != Fail })
		r.Findings[i], f = f, r.Findings[i]
	}
	if r.More == nil {
		r.More = map[Status]int{}
	}
	r.More[f.Status]++
}

// finish says what only shows in the end, and delivers the results.
func (f *folder) finish(ctx context.Context) {
	for _, c := range f.order {
		c.finish(ctx)
	}
	if f.crowd > 0 {
		f.out.find(Finding{Kind: Unlisted, Status: Inconclusive, Object: f.v.object(f.place.folder(digestFolder)),
			Detail: fmt.Sprintf("it holds the digests of more than %d trails: %d of them were not read", maxChains, f.crowd)})
	}
	f.unreferenced(ctx)
	f.explainUnsealed()
	for _, c := range f.order {
		if c.ours && (c.last != nil || c.head != nil) {
			c.result.sort()
			f.v.deliver(c.result)
		}
	}
	if len(f.order) > 0 || len(f.out.Findings) > 0 || len(f.out.Unsealed) > 0 {
		f.out.sort()
		f.v.deliver(f.out)
	}
}

func (r *Result) sort() {
	slices.SortStableFunc(r.Findings, func(a, b Finding) int {
		if c := a.From.Compare(b.From); c != 0 && !a.From.IsZero() && !b.From.IsZero() {
			return c
		}
		if c := strings.Compare(a.Object, b.Object); c != 0 {
			return c
		}
		return strings.Compare(string(a.Kind), string(b.Kind))
	})
	sortKeys(r.Keys)
}

// unreferenced judges the log files that no digest references, and remembers
// those that cannot be judged yet.
func (f *folder) unreferenced(ctx context.Context) {
	if f.asOf.IsZero() || f.unlisted != nil {
		if f.memory != nil {
			f.out.Head = f.memory // to be settled next time
		}
		return
	}
	from, until, resumed := f.decided()
	head := &Head{Chain: f.out.Chain, AsOf: f.asOf}
	known := map[fileName]bool{}
	if f.memory != nil {
		for _, p := range f.memory.Pending {
			if k, err := ParseKey(p.Key); err == nil {
				known[nameOf(k)] = true
			}
		}
	}
	names := make([]fileName, 0, len(f.listed))
	for n := range f.listed {
		names = append(names, n)
	}
	slices.SortFunc(names, func(a, b fileName) int {
		if a.minute != b.minute {
			return int(a.minute - b.minute)
		}
		return strings.Compare(string(a.unique[:]), string(b.unique[:]))
	})
	for _, n := range names {
		l := f.listed[n]
		stamp, stored := time.Unix(n.minute, 0).UTC(), time.Unix(l.stored, 0).UTC()
		switch {
		case known[n]: // judged whatever the range is, or else it would never be
		case !stored.Before(f.asOf) || stamp.After(until):
			continue // the next validation's
		case resumed && stored.Before(f.memory.AsOf):
			continue // settled last time
		case !stamp.Before(from):
		case f.memory == nil || stored.Before(f.memory.AsOf):
			continue // before the range
		case !f.v.q.Until.IsZero():
			f.out.find(Finding{Kind: LogUnreferenced, Status: Inconclusive, Object: f.v.object(f.key(n)), Detail: fmt.Sprintf(
				"it was stored at %s under the time of digests that were not read this time: validate from %s on", stored.Format(time.RFC3339), stamp.Format(time.RFC3339))})
			continue
		}
		f.judge(ctx, n, l, head, stamp.Before(from))
	}
	if f.overflow > 0 {
		f.out.find(Finding{Kind: LogUnreferenced, Status: Inconclusive, Object: f.v.object(f.place.folder(logFolder)),
			Detail: fmt.Sprintf("more than %d log files that no digest references: %d more were not looked at", maxListed, f.overflow)})
	}
	if f.memory != nil && f.memory.PendingMore > 0 {
		since := f.memory.MoreSince
		if since.IsZero() {
			since = f.memory.AsOf.Add(-f.v.q.PendingFor)
		}
		unread := f.from().After(since)
		for _, c := range f.order {
			if c.viaHead && !c.Backfill { // what is before its head was not read
				unread, since = true, earliest(since, c.head.Start.Add(-f.v.archive.cfg.Margin))
			}
		}
		if unread {
			head.PendingMore, head.MoreSince = head.PendingMore+f.memory.PendingMore, since
			f.out.find(Finding{Kind: LogUnreferenced, Status: Inconclusive, Object: f.v.object(f.place.folder(logFolder)),
				Detail: fmt.Sprintf("%d log files were pending and could not be remembered: validate from %s on", f.memory.PendingMore, since.Format(time.RFC3339))})
		}
	}
	// What lies beyond a bounded range is not settled.
	if f.v.q.Until.IsZero() && !f.unsettled() {
		f.out.Head = head
	} else if f.memory != nil {
		f.out.Head = f.memory
	}
}

// judge one log file that no digest references. old: the digests of its time were
// not read this time.
func (f *folder) judge(ctx context.Context, n fileName, l listedFile, head *Head, old bool) {
	key, stored := f.key(n), time.Unix(l.stored, 0).UTC()
	found := Finding{Kind: LogUnreferenced, Object: f.v.object(key)}
	if l.remembered {
		// The file may be of a day that was not listed this time.
		if err := f.there(ctx, key); errors.Is(err, fs.ErrNotExist) {
			found.Kind, found.Status = LogMissing, Fail
			found.Detail = fmt.Sprintf("it was there at %s, no digest has referenced it since, and now it is gone", f.memory.AsOf.Format(time.RFC3339))
			f.out.Counts.LogsMissing++
			f.out.find(found)
			return
		}
	}
	age := f.asOf.Sub(stored)
	h, inHole := f.hole(time.Unix(n.minute, 0))
	if old && l.unread && !inHole {
		h, inHole = hole{status: Inconclusive, why: fmt.Sprintf("the digest of its time could not be read when it was due: validate from %s on", time.Unix(n.minute, 0).UTC().Format(time.RFC3339))}, true
	}
	unread := inHole && h.status == Inconclusive
	switch {
	case age <= f.v.q.PendingFor:
		found.Status = Pending
		found.Detail = fmt.Sprintf("no digest references it, %s after it was stored; one may until %s", age.Round(time.Second), stored.Add(f.v.q.PendingFor).Format(time.RFC3339))
		f.out.Counts.Pending++
	case inHole:
		found.Status = h.status
		found.Detail = fmt.Sprintf("stored at %s; %s", stored.Format(time.RFC3339), h.why)
		f.out.Counts.Overdue++
	case old:
		found.Status = Fail
		found.Detail = fmt.Sprintf("stored at %s, and no digest since then references it: it was not delivered by a trail that validates its log files, or it was written over since", stored.Format(time.RFC3339))
		f.out.Counts.Overdue++
	default:
		found.Status = Fail
		found.Detail = fmt.Sprintf("stored at %s, and no digest references it: it was not delivered by a trail that validates its log files", stored.Format(time.RFC3339))
		f.out.Counts.Overdue++
	}
	// What has failed is said once; the rest is asked for until it is known.
	switch {
	case found.Status == Fail:
	case len(head.Pending) < maxPendingKept:
		head.Pending = append(head.Pending, PendingFile{key, stored, unread})
	default:
		head.PendingMore++
	}
	f.out.find(found)
	if _, ok := f.v.q.Wanted[key]; ok {
		if found.Status == Pending && inHole && !h.tail {
			// The digest that must reference it is known to be no good; that another may
			// yet come is no reason to wait.
			found.Status, found.Detail = h.status, "no digest references it; "+h.why
		}
		f.unsealed[key] = found
	}
}

func (f *folder) there(ctx context.Context, key string) error {
	f.v.gets.Add(1)
	o, err := f.v.store.Open(ctx, key)
	if err != nil {
		return err
	}
	return o.Body.Close()
}

// decided is the time whose log files must be in the digests that were read.
// resumed: what was stored before the last validation is settled.
func (f *folder) decided() (from, until time.Time, resumed bool) {
	edge := f.v.archive.cfg.Margin
	until = f.asOf
	if u := f.v.q.Until; !u.IsZero() && u.Before(until) {
		until = u
	}
	var births, firsts, heads time.Time
	resumed = f.memory != nil
	for _, c := range f.order {
		switch {
		case c.Backfill || c.first.IsZero() && !c.viaHead:
		case c.viaHead:
			heads = latest(heads, c.head.Start)
		case c.birth:
			births, resumed = earliest(births, c.first), false
		default:
			firsts, resumed = earliest(firsts, c.first), false
		}
	}
	if resumed && !heads.IsZero() {
		// What was stored while one digest ended and the next began is in either.
		return heads.Add(-edge), until, true
	}
	from = f.from()
	if !heads.IsZero() {
		from = earliest(from, heads.Add(edge))
	}
	switch {
	case !heads.IsZero():
	case firsts.IsZero():
		from = latest(from, births) // before, nothing was validated here
	case from.IsZero():
		from = earliest(firsts, births)
	}
	return from, until, false
}

// earliest of two times, of which zero is none.
func earliest(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}

func latest(a, b time.Time) time.Time {
	if a.Before(b) {
		return b
	}
	return a
}

// hole is a time whose digest could not be relied upon.
type hole struct {
	from, until time.Time
	status      Status
	why         string
	tail        bool // after the newest digest: what covers it may yet come
}

// hole returns the hole that a time lies in. Where several do, one that could not
// be found out says more: the file may well be referenced there.
func (f *folder) hole(t time.Time) (found hole, ok bool) {
	edge := f.v.archive.cfg.Margin
	for _, c := range f.order {
		for _, h := range c.holes {
			if t.Before(h.from.Add(-edge)) || t.After(h.until.Add(edge)) {
				continue
			}
			if !ok || h.status == Inconclusive {
				found, ok = h, true
			}
		}
	}
	return found, ok
}

// explainUnsealed says why wanted log files have no seal.
func (f *folder) explainUnsealed() {
	for key := range f.v.q.Wanted {
		k, err := ParseKey(key)
		if err != nil || !f.holds(k) || f.sealed[key] {
			continue
		}
		why, ok := f.unsealed[key]
		switch {
		case ok:
		case f.unlisted != nil:
			why = Finding{Kind: Unlisted, Status: Inconclusive, Detail: f.unlisted.Error()}
		default:
			why = Finding{Kind: LogUnreferenced, Status: Inconclusive, Detail: "no digest that was read references it, and it was not among the log files that were to be referenced"}
			if h, ok := f.hole(k.Stamp); ok {
				why.Status, why.Detail = h.status, "no digest that was read references it; "+h.why
				if h.tail {
					why.Status = Pending
				}
			}
		}
		why.Object = f.v.object(key)
		if f.out.Unsealed == nil {
			f.out.Unsealed = map[string]Finding{}
		}
		f.out.Unsealed[key] = why
	}
}
