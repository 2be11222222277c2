package logstore

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/auditcanary/auditcanary/shared/canary"
	"github.com/auditcanary/auditcanary/shared/event"
	"github.com/auditcanary/auditcanary/shared/run"
)

var t0 = time.Date(2026, 11, 26, 17, 0, 0, 0, time.UTC)

// shelf is an index over entries in memory.
type shelf struct {
	entries []Entry
	now     time.Time
	fail    error
	claims  error      // of what only the marker is asked for
	asked   [][]string // words of each Find
}

func (s *shelf) Find(_ context.Context, q Query) (Answer, error) {
	s.asked = append(s.asked, q.Any)
	a := Answer{AsOf: s.now, Asked: 1}
	for _, e := range s.entries {
		if e.Time.Before(q.From) || !q.Until.IsZero() && e.Time.After(q.Until) {
			continue
		}
		if len(q.Any) > 0 && !slices.ContainsFunc(q.Any, func(w string) bool { return strings.Contains(string(e.Text), w) }) {
			continue
		}
		if len(a.Entries) == q.Most {
			a.More = true
			break
		}
		a.Entries = append(a.Entries, e)
	}
	if slices.Equal(q.Any, []string{canary.Marker}) {
		return a, errors.Join(s.fail, s.claims)
	}
	return a, s.fail
}

func (s *shelf) Count(context.Context, Query) (Census, error) {
	return Census{AsOf: s.now, Entries: len(s.entries), Streams: 1, Asked: 1}, nil
}

func (s *shelf) Keeping(context.Context) (string, error) { return "a shelf has no lock", nil }

func record(id, agent string) []byte {
	return fmt.Appendf(nil, `{"kind":"Event","apiVersion":"audit.k8s.io/v1","level":"Metadata","auditID":%q,"stage":"ResponseComplete","verb":"create","userAgent":%q,"responseStatus":{"code":201},"stageTimestamp":"2026-11-26T17:00:00.000000Z"}`, id, agent)
}

func entry(id string) Entry {
	return Entry{Text: record(id, "app/auditcanary"), Stream: "{a}", Time: t0}
}

func newStore(t *testing.T, index Index) *Store {
	t.Helper()
	s, err := New(Config{Name: "audit", Type: "shelf", Format: "kubernetes"}, index)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func watching(ids ...string) *run.Watch {
	w := &run.Watch{RequestIDs: map[string]bool{}, Places: []canary.Target{{Provider: "kubernetes", Account: "prod", Region: "cluster"}}, Since: t0}
	for _, id := range ids {
		w.RequestIDs[id] = true
	}
	return w
}

func poll(t *testing.T, s *Store, w *run.Watch) run.Seen {
	t.Helper()
	seen, err := s.Poll(t.Context(), w)
	if err != nil {
		t.Fatal(err)
	}
	return seen
}

// When an entry came, such a store does not say. What follows from having looked?
func TestWhenAnEntryArrivedIsSaidOnlyWhereItIsKnown(t *testing.T) {
	for _, c := range []struct {
		claim          string
		before, at     time.Duration // after the record's time: an earlier look, zero for none; the one that sees it
		arrived, wants time.Duration // -1: unknown
	}{
		{"seen at once", 0, 2 * time.Minute, -1, 2 * time.Minute},
		{"seen first long after", 0, 40 * time.Minute, -1, -1},
		{"not there, and there a minute later", 39 * time.Minute, 40 * time.Minute, -1, 40 * time.Minute},
		{"not there, and there an hour later", 10 * time.Minute, 70 * time.Minute, -1, -1},
		{"the store says it", 0, 40 * time.Minute, time.Minute, time.Minute},
	} {
		index := &shelf{}
		s, w := newStore(t, index), watching("a-1")
		if c.before > 0 {
			index.now = t0.Add(c.before)
			poll(t, s, w)
		}
		e := entry("a-1")
		if c.arrived >= 0 {
			e.Arrived = t0.Add(c.arrived)
		}
		index.entries, index.now = []Entry{e}, t0.Add(c.at)
		seen := poll(t, s, w)
		if len(seen.Sightings) != 1 {
			t.Fatalf("%s: %+v", c.claim, seen)
		}
		got := time.Duration(-1)
		if at := seen.Sightings[0].Stored; !at.IsZero() {
			got = at.Sub(t0)
		}
		if got != c.wants {
			t.Errorf("%s: stored after %s, want %s", c.claim, got, c.wants)
		}
	}
}

func TestTheStoresClockLessWhatItMayNotShowYet(t *testing.T) {
	index := &shelf{now: t0.Add(time.Hour)}
	if seen := poll(t, newStore(t, index), watching("a-1")); !seen.AsOf.Equal(t0.Add(59 * time.Minute)) {
		t.Errorf("as of %s", seen.AsOf)
	}
	index.now = time.Time{}
	if seen, err := newStore(t, index).Poll(t.Context(), watching("a-1")); err == nil || !seen.AsOf.IsZero() {
		t.Errorf("a store without a clock: as of %s, %v", seen.AsOf, err)
	}
}

func TestAFloodHidesNothingOfOurs(t *testing.T) {
	index := &shelf{now: t0}
	for i := range mostClaims + 500 { // anybody may write the marker
		index.entries = append(index.entries, Entry{Text: record(fmt.Sprintf("f-%d", i), "app/auditcanary"), Time: t0.Add(time.Duration(i))})
	}
	for i := range mostAsked + 5 { // and copies of one of our records
		index.entries = append(index.entries, Entry{Text: record("a-1", "x"), Stream: "{b}", Time: t0.Add(time.Duration(i))})
	}
	index.entries = append(index.entries, entry("a-2"), entry("a-3"))
	seen := poll(t, newStore(t, index), watching("a-1", "a-2", "a-3"))
	found := map[string]int{}
	for _, si := range seen.Sightings {
		found[si.Event.API.RequestUID]++
	}
	if found["a-1"] != mostAsked || found["a-2"] != 1 || found["a-3"] != 1 || len(found) != 3+mostClaims {
		t.Errorf("found a-1 %d times, a-2 %d, a-3 %d, %d ids in all", found["a-1"], found["a-2"], found["a-3"], len(found))
	}
	var told []string
	for _, p := range seen.Problems {
		told = append(told, p.Err)
	}
	if all := strings.Join(told, "\n"); len(told) != 2 || !strings.Contains(all, "hold request id a-1") || !strings.Contains(all, "carry the marker") {
		t.Errorf("told: %s", all)
	}
}

func TestEachEntryIsOneSightingHoweverItIsFound(t *testing.T) {
	list := fmt.Appendf(nil, `{"kind":"EventList","apiVersion":"audit.k8s.io/v1","items":[%s,%s,{"auditID":"nobody's"}]}`, record("a-1", "app/auditcanary"), record("b-1", "kubectl"))
	early := []byte(strings.Replace(string(record("a-2", "app/auditcanary")), "ResponseComplete", "RequestReceived", 1))
	index := &shelf{now: t0, entries: []Entry{
		entry("a-1"), entry("a-1"), // twice the very same
		{Text: list, Stream: "{hook}", Time: t0},
		{Text: early, Stream: "{a}", Time: t0},
		{Text: []byte("auditcanary: no record at all"), Stream: "{a}", Time: t0},
	}}
	s, w := newStore(t, index), watching("a-1", "a-2")
	seen := poll(t, s, w)
	if len(seen.Sightings) != 3 {
		t.Errorf("%d sightings: %+v", len(seen.Sightings), seen.Sightings)
	}
	at := map[canary.Location]bool{}
	for _, si := range seen.Sightings {
		if si.Event.API.RequestUID != "a-1" {
			t.Errorf("of %s", si.Event.API.RequestUID)
		}
		at[si.At] = true
		if si.At.Key[:14] != "shelf://audit/" {
			t.Errorf("at %q", si.At.Key)
		}
	}
	if len(at) != len(seen.Sightings) {
		t.Errorf("two sightings at one place: %v", at)
	}
	i := slices.IndexFunc(seen.Sightings, func(si canary.Sighting) bool { return si.At.Offset > 0 })
	if i < 0 || string(list[seen.Sightings[i].At.Offset:][:seen.Sightings[i].At.Length]) != string(seen.Sightings[i].Raw) {
		t.Error("a record of a list does not stand where it is said to")
	}
	if len(seen.Problems) != 1 || seen.Problems[0].Hop != canary.Parsed || !seen.Problems[0].ClaimsOnly {
		t.Errorf("problems %+v", seen.Problems)
	}
	if again := poll(t, s, w); len(again.Sightings) > 0 || len(again.Problems) != 1 {
		t.Errorf("again: %+v", again)
	}
}

func TestPlacesThatCannotBeToldApart(t *testing.T) {
	w := watching("a-1")
	w.Places = append(w.Places, canary.Target{Provider: "kubernetes", Account: "test", Region: "cluster"})
	if _, err := newStore(t, &shelf{now: t0}).Poll(t.Context(), w); err == nil || !strings.Contains(err.Error(), "cluster_field") {
		t.Errorf("two clusters in a store that does not name them: %v", err)
	}
	if _, err := newStore(t, &shelf{now: t0}).Poll(t.Context(), &run.Watch{}); err == nil {
		t.Error("a look without a beginning")
	}
	odd := watching(`a" or "`)
	if seen := poll(t, newStore(t, &shelf{now: t0}), odd); len(seen.Problems) != 1 || !strings.Contains(seen.Problems[0].Err, "cannot be asked for") {
		t.Errorf("an id with a quote: %+v", seen.Problems)
	}
}

func TestAnIndexThatFailsIsNotSeen(t *testing.T) {
	index := &shelf{now: t0, fail: errors.New("cut"), entries: []Entry{entry("a-1")}}
	s, w := newStore(t, index), watching("a-1")
	seen, err := s.Poll(t.Context(), w)
	if err == nil || !seen.AsOf.IsZero() || len(seen.Sightings) != 1 || len(seen.Problems) != 1 {
		t.Errorf("%+v, %v", seen, err)
	}
}

func TestIDsAreAskedForTogether(t *testing.T) {
	index := &shelf{now: t0}
	w := watching()
	for i := range 250 {
		w.RequestIDs[fmt.Sprintf("a-%d", i)] = true
	}
	poll(t, newStore(t, index), w)
	if len(index.asked) != 4 || len(index.asked[0]) != 100 || !slices.Equal(index.asked[3], []string{canary.Marker}) {
		t.Errorf("asked %d times", len(index.asked))
	}
}

func TestWhatKeepsARecord(t *testing.T) {
	index := &shelf{now: t0, entries: []Entry{entry("a-1"), entry("a-2")}}
	s := newStore(t, index)
	seen := poll(t, s, watching("a-1", "a-2"))
	index.entries = index.entries[:1] // somebody took the other away
	held, err := s.Held(t.Context(), []canary.Location{seen.Sightings[0].At, seen.Sightings[1].At, {Key: "shelf://audit/x"}})
	if err != nil || held[0].Gone || held[0].Unlocked != "a shelf has no lock" || !held[1].Gone || held[2].Gone || len(held[2].Unread) != 1 {
		t.Errorf("%+v, %v", held, err)
	}
	for i, want := range []string{"a shelf has no lock", "the record is gone; a shelf has no lock"} {
		ev := canary.Evidence{Custody: []canary.Custody{{Step: "s", At: seen.Sightings[i].At, Looked: t0, Required: canary.Keeping{Mode: canary.Compliance, Days: 365}, Held: held[i], Seal: canary.Seal{Unknown: "nothing signs for it"}}}}
		v := canary.Verdict{Checks: map[canary.Check]canary.Answer{canary.Surfaced: {Status: canary.Pass}}, Records: []canary.StepRecord{{Step: "s", At: seen.Sightings[i].At}}}
		canary.Protect(&v, ev)
		if a := v.Checks[canary.Immutable]; a.Status != canary.Fail || a.Detail != want {
			t.Errorf("immutable: %+v, want %q", a, want)
		}
		if a := v.Checks[canary.Sealed]; a.Status != canary.Inconclusive {
			t.Errorf("sealed: %+v", a)
		}
		ev.Custody[0].Required = canary.Keeping{}
		canary.Protect(&v, ev)
		if a := v.Checks[canary.Immutable]; a.Status != canary.NotRun {
			t.Errorf("immutable, where nothing is demanded: %+v", a)
		}
	}
}

// A record that must say where it is of is not made to: what it leaves out differs.
func TestARecordThatMustSayWhereItIsOfIsNotHelped(t *testing.T) {
	const left = `{"eventVersion":"1.11","eventTime":"2026-11-26T17:00:00Z","eventSource":"iam.amazonaws.com","eventName":"CreateRole","eventID":"e-1","requestID":"a-1","userAgent":"app/auditcanary","userIdentity":{"type":"AssumedRole","arn":"arn:aws:sts::111122223333:assumed-role/r/s"}}`
	s, err := New(Config{Name: "audit", Type: "shelf", Format: "cloudtrail"}, &shelf{now: t0, entries: []Entry{{Text: []byte(left), Stream: "{a}", Time: t0}}})
	if err != nil {
		t.Fatal(err)
	}
	w := watching("a-1")
	w.Places = []canary.Target{{Provider: "aws", Account: "111122223333", Region: "us-east-1"}}
	seen := poll(t, s, w)
	if len(seen.Sightings) != 1 {
		t.Fatalf("%+v", seen)
	}
	want := seen.Sightings[0].Event
	want.Cloud.Account, want.Cloud.Region = "111122223333", "us-east-1"
	var fields []string
	for _, d := range event.Compare(want, seen.Sightings[0].Event, event.Tolerance{Before: time.Minute, After: time.Minute}) {
		fields = append(fields, d.Field)
	}
	if !slices.Equal(fields, []string{"cloud.account", "cloud.region"}) {
		t.Errorf("differs in %v", fields)
	}
}

// Anybody may write the marker. Whatever that does to the look for it, our records were asked
// for by their request ids: that one is missing is said all the same.
func TestNobodyHidesThatARecordIsMissingByWritingTheMarker(t *testing.T) {
	flood := func(text func(i int) []byte) (out []Entry) {
		for i := range mostClaims + 1 {
			out = append(out, Entry{Text: text(i), Stream: "{a}", Time: t0.Add(time.Duration(i))})
		}
		return out
	}
	forged := func(i int) []byte { return record(fmt.Sprintf("f-%d", i), "app/auditcanary") }
	for claim, c := range map[string]struct {
		index  shelf
		status canary.Status
		told   string
	}{
		"too many carry it":       {shelf{entries: flood(forged)}, canary.Fail, "more than 1000 entries carry the marker"},
		"the reply is too large":  {shelf{claims: errors.New("larger than 64 MB")}, canary.Fail, "larger than 64 MB"},
		"what carries it is none": {shelf{entries: flood(func(int) []byte { return []byte("auditcanary {") })}, canary.Fail, "and 980 more entries"},
		"ours is among it, cut":   {shelf{entries: append(flood(forged), Entry{Text: record("a-1", "app/auditcanary")[:150], Time: t0})}, canary.Inconclusive, "carry the marker"},
		"ours is among it":        {shelf{entries: append(flood(forged), entry("a-1"))}, canary.Pass, "carry the marker"},
	} {
		c.index.now = t0.Add(3 * time.Hour)
		seen := poll(t, newStore(t, &c.index), watching("a-1"))
		if want := c.index.now.Add(-time.Minute); !seen.AsOf.Equal(want) {
			t.Errorf("%s: as of %s, want %s", claim, seen.AsOf, want)
		}
		if !slices.ContainsFunc(seen.Problems, func(p canary.Problem) bool { return p.ClaimsOnly && strings.Contains(p.Err, c.told) }) {
			t.Errorf("%s: nobody is told: %.300v", claim, seen.Problems)
		}
		r := canary.Receipt{Step: "s", Phase: canary.PhaseDo, Attempt: 1, Started: t0, Ended: t0, RequestIDs: []string{"a-1"}, Outcome: canary.Outcome{Result: canary.Succeeded}}
		r.Want.Time, r.Want.Cloud.Account, r.Want.Cloud.Region = t0, "prod", "cluster"
		v := canary.Judge(canary.Scenario{Kind: canary.DoneAndUndone, Steps: []canary.Step{{ID: "s"}}}, canary.Canary{},
			canary.Evidence{Intents: []canary.Intent{{Step: "s", Phase: canary.PhaseDo, Attempt: 1}}, Receipts: []canary.Receipt{r}},
			canary.Seen{AsOf: seen.AsOf, Sightings: seen.Sightings, Problems: seen.Problems, Looked: seen.Looked}, canary.SLO{Pass: 15 * time.Minute, Late: time.Hour})
		if a := v.Checks[canary.Surfaced]; a.Status != c.status {
			t.Errorf("%s: %s: %s", claim, a.Status, a.Detail)
		}
	}
}
