// Package logstore looks into central log stores that are asked by query.
//
// An Index puts one question to one kind of store. A Store asks it for the records of
// canaries: by request id, and by the marker, so that what imitates a canary is found
// too. It asks for the whole time since the earliest action each time, because an entry
// that comes late is filed under its own time, and it remembers what it has returned.
//
// Every entry may have been chosen by somebody hostile, and every reply may be cut or
// lie. What could not be read is a canary.Problem of the look, and a look of which any
// part failed has no AsOf: that a record is missing is said only of a store that was
// seen in full. Only the look for the marker may fail without that: anybody may write it,
// and nobody shall keep us from saying that a record is missing.
package logstore

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/auditcanary/auditcanary/shared/canary"
	"github.com/auditcanary/auditcanary/shared/event"
	"github.com/auditcanary/auditcanary/shared/run"
)

// Index is one kind of store that answers queries. Its methods are safe for concurrent
// use, make no second attempt, and name the store and the call in their errors.
type Index interface {
	// Find returns the entries that a query selects, each as it stands in the store,
	// in no order. The error means that there may be more: what was read before it is
	// returned too. It is none where Answer.More says so.
	Find(ctx context.Context, q Query) (Answer, error)
	// Count says how much the store holds of what a query selects, words or none.
	Count(ctx context.Context, q Query) (Census, error)
	// Keeping says in a sentence what takes entries away: after how long the store
	// drops them, as far as it says so, and who else may.
	Keeping(ctx context.Context) (string, error)
}

// Query selects entries of a store.
type Query struct {
	// Cluster whose entries they are, by the field that names it; "": of any.
	Cluster string
	// From and Until bound the entries' own time. Until zero: no end.
	From, Until time.Time
	// All words must stand in the entry, and of Any at least one (none given: any
	// entry). They are of the letters of isWord.
	All, Any []string
	// Most entries to return.
	Most int
}

// Answer is what a query gave.
type Answer struct {
	Entries []Entry
	// More than Most are there.
	More bool
	// AsOf is the store's own clock when it began to answer.
	AsOf time.Time
	// Asked counts requests, Bytes what they answered.
	Asked int
	Bytes int64
}

// Entry is one entry of a store.
type Entry struct {
	// Text is the record as it was shipped, byte for byte as the store returns it.
	Text []byte
	// Stream it stands in, in the store's own words; ID within it, "" if it has none.
	Stream, ID string
	// Time it is filed under, and when it arrived; zero if the store does not say.
	Time, Arrived time.Time
}

// Census is how much is there.
type Census struct {
	Streams, Entries int
	First, Last      time.Time // by the entries' own time
	AsOf             time.Time
	Asked            int
}

// Config says what a store is like.
type Config struct {
	// Name of the log store in the configuration, and its Type ("victorialogs").
	Name, Type string
	// Format of the records in it, a name of Formats.
	Format string
	// ByCluster: entries say which cluster they are of. Otherwise all of them are of
	// one place, and more than one cannot be told apart.
	ByCluster bool
	// Settle is how long an entry that the store has taken in may not be found by a
	// query yet. 1 minute if zero.
	Settle time.Duration
	// Margin is how far clocks may lie apart. 15 minutes if zero.
	Margin time.Duration
	// Vouch is how long after a record's own time it may be seen first, so that to have
	// seen it tells when it came well enough, in a store that does not. 15 minutes if zero.
	Vouch time.Duration
	// MaxWords of one query, 100 if zero.
	MaxWords int
}

// Store is a central log store. It is safe for concurrent use.
type Store struct {
	cfg    Config
	format format
	index  Index
}

var (
	_ run.LogStore  = (*Store)(nil)
	_ run.Custodian = (*Store)(nil)
)

// New returns the store that an index asks.
func New(cfg Config, index Index) (*Store, error) {
	f, ok := formats[cfg.Format]
	if !ok {
		return nil, fmt.Errorf("log store %s: format %q is not known; known: %s", cfg.Name, cfg.Format, strings.Join(Formats(), ", "))
	}
	cfg.Settle = cmp.Or(cfg.Settle, time.Minute)
	cfg.Margin = cmp.Or(cfg.Margin, 15*time.Minute)
	cfg.Vouch = cmp.Or(cfg.Vouch, 15*time.Minute)
	cfg.MaxWords = cmp.Or(cfg.MaxWords, 100)
	return &Store{cfg: cfg, format: f, index: index}, nil
}

const (
	// mostAsked and mostClaims bound the entries that one query returns: those that
	// hold a request id, and those that only carry the marker, which anybody can write.
	mostAsked  = 5000
	mostClaims = 1000
	// maxDefects of one look that are told.
	maxDefects = 20
	// settledEarly is how long a store may leave open between two looks when a record
	// came: less than any deadline that records have.
	settledEarly = 5 * time.Minute
)

// memory is what one Watch has seen.
type memory struct {
	returned map[canary.Location]bool
	asOf     map[canary.Target]time.Time // of the last complete look at a place
}

// isWord matches what is looked for: request ids and the marker. No JSON text spells
// these letters otherwise, and no query language gives them a meaning within quotes.
var isWord = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._:/=+-]{0,255}$`)

// Poll implements run.LogStore. AsOf is the store's clock when the look began, less
// Settle. Sightings are those that no earlier Poll of the same Watch returned.
func (s *Store) Poll(ctx context.Context, w *run.Watch) (run.Seen, error) {
	if w.Since.IsZero() {
		return run.Seen{}, fmt.Errorf("look into %s: no time to begin from", s.cfg.Name)
	}
	mem, _ := w.State.(*memory)
	if mem == nil {
		mem = &memory{returned: map[canary.Location]bool{}, asOf: map[canary.Target]time.Time{}}
		w.State = mem
	}
	var out run.Seen
	ids, odd := wordsOf(w.RequestIDs)
	for _, id := range odd {
		out.Problems = append(out.Problems, canary.Problem{Err: fmt.Sprintf("request id %.80q cannot be asked for", id)})
	}
	places, err := s.places(w.Places)
	if err != nil {
		return out, err
	}
	var failed []error
	for _, p := range places {
		l := &look{s: s, ctx: ctx, place: p, since: w.Since, ids: w.RequestIDs, mem: mem, copies: map[canary.Location]int{}}
		l.run(ids)
		out.Lists += l.asked
		out.Bytes += l.bytes
		out.Records += l.records
		out.Gets += l.entries
		out.Sightings = append(out.Sightings, l.sightings...)
		out.Problems = append(out.Problems, l.problems...)
		out.Looked = append(out.Looked, l.looked...)
		if l.err != nil {
			failed = append(failed, l.err)
			out.Problems = append(out.Problems, p.problem(s.object(""), "", l.err.Error()))
			continue
		}
		mem.asOf[p.key()] = l.asOf
		if asOf := l.asOf.Add(-s.cfg.Settle); out.AsOf.IsZero() || asOf.Before(out.AsOf) {
			out.AsOf = asOf
		}
	}
	if len(failed) > 0 {
		out.AsOf = time.Time{}
	}
	if len(failed) > 0 && len(failed) == len(places) {
		return out, fmt.Errorf("look into %s: %w", s.cfg.Name, errors.Join(failed[:min(3, len(failed))]...))
	}
	return out, nil
}

// wordsOf sorts request ids, and those apart that cannot be asked for.
func wordsOf(ids map[string]bool) (words, odd []string) {
	for id := range ids {
		if isWord.MatchString(id) {
			words = append(words, id)
		} else {
			odd = append(odd, id)
		}
	}
	slices.Sort(words)
	slices.Sort(odd)
	return words, odd
}

// place is what one look is at: one cluster's entries, or all of the store where the
// records themselves say where they are of.
type place struct {
	targets []canary.Target
	cluster string
}

func (p place) key() canary.Target {
	if len(p.targets) == 1 {
		return p.targets[0]
	}
	return canary.Target{}
}

func (p place) problem(object string, hop canary.Hop, text string) canary.Problem {
	k := p.key()
	return canary.Problem{Account: k.Account, Region: k.Region, Object: object, Hop: hop, Err: text}
}

// places to look at, each once.
func (s *Store) places(targets []canary.Target) ([]place, error) {
	var all []canary.Target
	for _, t := range targets {
		if !slices.Contains(all, t) {
			all = append(all, t)
		}
	}
	switch {
	case s.format.saysWhere:
		return []place{{targets: all}}, nil
	case !s.cfg.ByCluster && len(all) > 1:
		return nil, fmt.Errorf("look into %s: its entries do not say which of %d places they are of: name the field that does (cluster_field)", s.cfg.Name, len(all))
	}
	var out []place
	for _, t := range all {
		p := place{targets: []canary.Target{t}}
		if s.cfg.ByCluster {
			p.cluster = t.Account
		}
		out = append(out, p)
	}
	return out, nil
}

// look is one look at one place.
type look struct {
	s     *Store
	ctx   context.Context
	place place
	since time.Time
	ids   map[string]bool
	mem   *memory

	copies                  map[canary.Location]int // of the same entry
	asOf                    time.Time
	asked, entries, records int
	bytes                   int64
	sightings               []canary.Sighting
	problems                []canary.Problem
	defects                 int
	looked                  []canary.Look
	err                     error
}

func (l *look) run(ids []string) {
	q := Query{Cluster: l.place.cluster, From: l.since.Add(-l.s.cfg.Margin)}
	for _, t := range l.place.targets {
		if l.err = l.count(q, t); l.err != nil {
			return
		}
	}
	for chunk := range slices.Chunk(ids, l.s.cfg.MaxWords) {
		if l.err = l.find(q, chunk); l.err != nil {
			return
		}
	}
	l.more(false)
	l.claims(q)
	l.more(true)
}

// more says how many entries cannot be read beyond those that were told.
func (l *look) more(claimsOnly bool) {
	if l.defects > maxDefects {
		p := l.place.problem(l.s.object(""), canary.Parsed, fmt.Sprintf("and %d more entries that cannot be read", l.defects-maxDefects))
		p.ClaimsOnly = claimsOnly
		l.problems = append(l.problems, p)
	}
	l.defects = 0
}

// claims looks for what carries the marker, so as to find what imitates a canary. Anybody
// may write it, as often as he likes: whatever goes wrong here takes nothing from what was
// seen by request id, or he could hide that a record is missing.
func (l *look) claims(q Query) {
	q.Any, q.Most = []string{canary.Marker}, mostClaims
	a, err := l.s.index.Find(l.ctx, q)
	l.asked += a.Asked
	l.bytes += a.Bytes
	l.readAll(a.Entries, false)
	missed := func(text string) {
		p := l.place.problem(l.s.object(""), canary.Stored, text)
		p.ClaimsOnly = true
		l.problems = append(l.problems, p)
	}
	if a.More {
		missed(fmt.Sprintf("more than %d entries carry the marker: those beyond, but for those with our request ids, were left out", mostClaims))
	}
	if err != nil {
		missed(err.Error())
	}
}

// count says how much of a place is there at all: without it, that a record is missing
// could not be told from a store that nothing comes to.
func (l *look) count(q Query, t canary.Target) error {
	q.All = l.s.format.placeWords(t)
	c, err := l.s.index.Count(l.ctx, q)
	l.asked += c.Asked
	if err != nil {
		return err
	}
	if err := l.began(c.AsOf); err != nil {
		return err
	}
	l.looked = append(l.looked, canary.Look{Account: t.Account, Region: t.Region, Objects: c.Streams, Records: c.Entries, First: c.First, Last: c.Last})
	return nil
}

// began notes the store's clock at the first reply: whatever comes after it may be
// missed.
func (l *look) began(asOf time.Time) error {
	if asOf.IsZero() {
		return errors.New("the store did not say what time it is")
	}
	if l.asOf.IsZero() || asOf.Before(l.asOf) {
		l.asOf = asOf
	}
	return nil
}

// find looks for some request ids, in two halves where too much holds them.
func (l *look) find(q Query, words []string) error {
	q.Any, q.Most = words, mostAsked
	a, err := l.s.index.Find(l.ctx, q)
	l.asked += a.Asked
	l.bytes += a.Bytes
	if err == nil {
		err = l.began(a.AsOf)
	}
	if err == nil && a.More && len(words) > 1 {
		half := len(words) / 2
		if err := l.find(q, words[:half]); err != nil {
			return err
		}
		return l.find(q, words[half:])
	}
	l.readAll(a.Entries, true)
	if a.More {
		l.problems = append(l.problems, l.place.problem(l.s.object(""), canary.Stored, fmt.Sprintf("more than %d entries hold request id %s: the others were left out", mostAsked, words[0])))
	}
	return err
}

// readAll reads what one query found. asked: by our request ids, and not by the marker.
func (l *look) readAll(entries []Entry, asked bool) {
	copies := map[canary.Location]int{}
	for _, e := range entries {
		l.entries++
		l.read(e, asked, copies)
	}
}

// read reads the records of one entry. An entry may be found twice in one look, by id and
// by marker; copies count those of this query, so that a true copy of a record is told
// from it.
func (l *look) read(e Entry, asked bool, copies map[canary.Location]int) {
	parts, err := l.s.format.split(e.Text)
	if err != nil {
		l.defect(e, err, !asked && !l.ours(e.Text))
		return
	}
	offset := 0
	for _, raw := range parts {
		if i := bytes.Index(e.Text[offset:], raw); i >= 0 {
			offset += i
		}
		l.records++
		ev, err := l.s.format.read(raw)
		if err != nil {
			if mine := l.ours(raw); len(parts) == 1 || mine || bytes.Contains(raw, []byte(canary.Marker)) {
				l.defect(e, err, !asked && !mine)
			}
			offset += len(raw)
			continue
		}
		at := l.s.location(e, raw, int64(offset))
		offset += len(raw)
		if !l.wanted(ev, raw) || !l.s.format.tells(ev) {
			continue
		}
		copies[at]++
		if n := copies[at]; n > 1 { // the store holds the very same entry more than once
			at.Key += fmt.Sprintf("#%d", n)
		}
		if l.mem.returned[at] {
			continue
		}
		l.mem.returned[at] = true
		// A record that must say where it is of, and does not, is left as it is: it differs.
		if !l.s.format.saysWhere && ev.Cloud.Account == "" && ev.Cloud.Region == "" && len(l.place.targets) == 1 {
			ev.Cloud.Account, ev.Cloud.Region = l.place.targets[0].Account, l.place.targets[0].Region
		}
		l.sightings = append(l.sightings, canary.Sighting{Event: ev, Raw: raw, At: at, Stored: l.stored(e)})
	}
}

// wanted: it is ours by its request id, or claims to be by the marker.
func (l *look) wanted(ev event.Event, raw []byte) bool {
	if l.ids[ev.API.RequestUID] {
		return true
	}
	if am := ev.Metadata.Amends; am != nil && l.ids[am.OriginalRequestUID] {
		return true
	}
	return bytes.Contains(raw, []byte(canary.Marker))
}

// ours: one of our request ids stands in what cannot be read.
func (l *look) ours(raw []byte) bool {
	for id := range l.ids {
		if bytes.Contains(raw, []byte(id)) {
			return true
		}
	}
	return false
}

// defect notes an entry that cannot be read. claimsOnly: nothing but the marker says that
// it was ours.
func (l *look) defect(e Entry, err error, claimsOnly bool) {
	object := l.s.location(e, e.Text, 0).Key
	if slices.ContainsFunc(l.problems, func(p canary.Problem) bool { return p.Object == object }) {
		return
	}
	if l.defects++; l.defects <= maxDefects {
		p := l.place.problem(object, canary.Parsed, err.Error())
		p.ClaimsOnly = claimsOnly
		l.problems = append(l.problems, p)
	}
}

// stored is when an entry arrived. Where the store does not say, it is when it was seen
// first, if that is near enough to its arrival, or near enough to what it tells of;
// otherwise nobody knows.
func (l *look) stored(e Entry) time.Time {
	if !e.Arrived.IsZero() {
		return e.Arrived
	}
	if before := l.mem.asOf[l.place.key()]; !before.IsZero() && l.asOf.Sub(before) <= settledEarly {
		return l.asOf
	}
	if !e.Time.IsZero() && l.asOf.Sub(e.Time) <= l.s.cfg.Vouch {
		return l.asOf
	}
	return time.Time{}
}

// object names a stream of the store.
func (s *Store) object(stream string) string {
	return s.cfg.Type + "://" + s.cfg.Name + "/" + stream
}

// location is where a record stands: its entry is named by its stream, its time, and
// its hash or id.
func (s *Store) location(e Entry, raw []byte, offset int64) canary.Location {
	sum := sha256.Sum256(e.Text)
	hash := hex.EncodeToString(sum[:])
	return canary.Location{
		Store: s.cfg.Name, Key: s.object(e.Stream) + "@" + e.Time.UTC().Format(time.RFC3339Nano) + "/" + cmp.Or(e.ID, hash[:16]),
		Offset: offset, Length: int64(len(raw)), ObjectSHA256: hash,
	}
}
