package trail

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/iotest"
	"time"

	"github.com/auditcanary/auditcanary/shared/canary"
)

// fakeStore is a bucket in memory. Objects appear with put; fail makes a key's
// or prefix's next requests fail.
type fakeStore struct {
	mu      sync.Mutex
	name    string // "central-logs" if empty
	now     time.Time
	objects map[string]fakeObject
	fail    map[string]error // by key of GetObject or prefix of List
	cut     map[string]int   // bytes of the body after which the connection breaks
	lists   []string         // "prefix startAfter"
	gets    []string
}

type fakeObject struct {
	body    []byte
	stored  time.Time
	version string
	meta    map[string]string
}

func newStore(now time.Time) *fakeStore {
	return &fakeStore{now: now, objects: map[string]fakeObject{}, fail: map[string]error{}, cut: map[string]int{}}
}

func (s *fakeStore) put(key string, body []byte) {
	s.objects[key] = fakeObject{body: body, stored: s.now, version: fmt.Sprintf("v%d", len(s.objects)+1)}
}

func (s *fakeStore) Name() string { return cmp.Or(s.name, "central-logs") }

func (s *fakeStore) List(ctx context.Context, prefix, startAfter string, each func(Object) error) (time.Time, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.lists = append(s.lists, prefix+" "+startAfter)
	if err := s.fail[prefix]; err != nil {
		return time.Time{}, fmt.Errorf("list s3://central-logs/%s: %w", prefix, err)
	}
	var keys []string
	for k := range s.objects {
		if strings.HasPrefix(k, prefix) && k > startAfter {
			keys = append(keys, k)
		}
	}
	slices.Sort(keys)
	for _, k := range keys {
		if err := each(Object{k, int64(len(s.objects[k].body)), s.objects[k].stored}); err != nil {
			return time.Time{}, err
		}
	}
	return s.now, ctx.Err()
}

func (s *fakeStore) Open(ctx context.Context, key string) (Opened, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.gets = append(s.gets, key)
	if err := s.fail[key]; err != nil {
		return Opened{}, fmt.Errorf("get s3://central-logs/%s: %w", key, err)
	}
	o, ok := s.objects[key]
	if !ok {
		return Opened{}, fmt.Errorf("get s3://central-logs/%s: no such key: %w", key, fs.ErrNotExist)
	}
	var r io.Reader = bytes.NewReader(o.body)
	if n, ok := s.cut[key]; ok {
		r = io.MultiReader(bytes.NewReader(o.body[:n]), iotest.ErrReader(io.ErrUnexpectedEOF))
	}
	return Opened{Body: io.NopCloser(r), VersionID: o.version, LastModified: o.stored, Metadata: o.meta}, nil
}

const (
	account = "111122223333"
	region  = "eu-west-1"
)

var (
	noon = time.Date(2026, 3, 10, 12, 0, 0, 0, time.UTC)
	here = []canary.Target{{Provider: "aws", Account: account, Region: region}}
)

// logKey is the key of a file delivered at a time.
func logKey(organization, region string, at time.Time, n int) string {
	return Key{"", organization, account, region, at.Truncate(time.Minute), fmt.Sprintf("%016d", n)}.String()
}

// record is a record the CloudTrail reader accepts.
func record(request, id, more string) string {
	return `{"eventVersion":"1.11","userIdentity":{"type":"AWSService","invokedBy":"x.amazonaws.com"},"eventTime":"2026-03-10T11:58:00Z","eventSource":"iam.amazonaws.com","eventName":"CreateRole","awsRegion":"eu-west-1","requestID":"` +
		request + `","eventID":"` + id + `"` + more + `}`
}

func mustPoll(t *testing.T, a *Archive, q Query, mem *Memory) Found {
	t.Helper()
	f, err := a.Poll(context.Background(), q, mem)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func TestPollFindsARecordAndSaysWhereItStands(t *testing.T) {
	s := newStore(noon)
	key := logKey("", region, noon, 1)
	body := file(record("other", "e0", ""), record("wanted", "e1", ""))
	s.put(key, zip(t, body))
	a := NewArchive(Config{Name: "central"}, s)
	f := mustPoll(t, a, Query{ids("wanted"), here, noon.Add(-2 * time.Minute)}, &Memory{})

	sum := sha256.Sum256([]byte(body))
	raw := record("wanted", "e1", "")
	want := canary.Location{
		Store: "central", Bucket: "central-logs", Key: key, VersionID: "v1",
		Offset: int64(strings.Index(body, raw)), Length: int64(len(raw)), ObjectSHA256: hex.EncodeToString(sum[:]),
	}
	if len(f.Sightings) != 1 || len(f.Problems) > 0 {
		t.Fatalf("%+v", f)
	}
	got := f.Sightings[0]
	if got.At != want {
		t.Errorf("at %+v, want %+v", got.At, want)
	}
	if string(got.Raw) != raw || got.Event.API.RequestUID != "wanted" || got.Event.Metadata.UID != "e1" || !got.Stored.Equal(noon) {
		t.Errorf("sighting %+v", got)
	}
	if !f.AsOf.Equal(noon) || f.Lists != 1 || f.Gets != 1 || f.Records != 2 || f.Bytes != int64(len(body)) {
		t.Errorf("as of %s, %d lists, %d gets, %d records, %d bytes", f.AsOf, f.Lists, f.Gets, f.Records, f.Bytes)
	}
}

func TestPollListsTheDaysOfTheWindow(t *testing.T) {
	const dir = "AWSLogs/111122223333/CloudTrail/eu-west-1/2026/03/"
	stem := func(s string) string { return "111122223333_CloudTrail_eu-west-1_202603" + s }
	at := func(s string) time.Time {
		v, err := time.Parse("02T15:04", s)
		if err != nil {
			t.Fatal(err)
		}
		return v.AddDate(2026, 2, 0)
	}
	for _, c := range []struct {
		name, since, now string
		want             []string
	}{
		{"within a day", "10T11:50", "10T12:00", []string{dir + "10/ " + dir + "10/" + stem("10T1135Z")}},
		{"action before midnight, now after it", "10T23:58", "11T00:10", []string{dir + "10/ " + dir + "10/" + stem("10T2343Z"), dir + "11/ "}},
		{"action just after midnight", "11T00:05", "11T00:30", []string{dir + "10/ " + dir + "10/" + stem("10T2350Z"), dir + "11/ "}},
		{"now just before midnight", "10T23:00", "10T23:50", []string{dir + "10/ " + dir + "10/" + stem("10T2245Z"), dir + "11/ "}},
		{"three days", "08T12:00", "10T12:00", []string{dir + "08/ " + dir + "08/" + stem("08T1145Z"), dir + "09/ ", dir + "10/ "}},
		{"the store's clock is behind", "10T12:00", "09T12:00", []string{dir + "10/ " + dir + "10/" + stem("10T1145Z")}},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := newStore(at(c.now))
			f := mustPoll(t, NewArchive(Config{}, s), Query{nil, here, at(c.since)}, &Memory{})
			if !slices.Equal(s.lists, c.want) {
				t.Errorf("listed %q, want %q", s.lists, c.want)
			}
			if f.Lists != len(c.want) {
				t.Errorf("counted %d lists", f.Lists)
			}
		})
	}
}

// A record may be in any file delivered after its event, on either side of midnight.
func TestPollFindsRecordsOnBothSidesOfMidnight(t *testing.T) {
	midnight := time.Date(2026, 3, 11, 0, 0, 0, 0, time.UTC)
	s := newStore(midnight.Add(5 * time.Minute))
	s.put(logKey("", region, midnight.Add(-time.Minute), 1), zip(t, file(record("a", "e1", ""))))
	s.put(logKey("", region, midnight, 2), zip(t, file(record("b", "e2", ""))))
	s.put(logKey("", region, midnight.Add(-2*time.Hour), 3), zip(t, file(record("a", "too old to hold it", ""))))
	f := mustPoll(t, NewArchive(Config{}, s), Query{ids("a", "b"), here, midnight.Add(-3 * time.Minute)}, &Memory{})
	if len(f.Sightings) != 2 || f.Gets != 2 {
		t.Errorf("%d sightings, %d gets, want 2 and 2", len(f.Sightings), f.Gets)
	}
}

func TestPollReadsBothLayoutsOfAnOrganisationTrail(t *testing.T) {
	s := newStore(noon)
	s.put("p/"+logKey("o-exampleorg", region, noon, 1), zip(t, file(record("a", "e1", ""))))
	s.put("p/"+logKey("", region, noon, 2), zip(t, file(record("a", "e2", ""))))
	s.put("p/"+logKey("o-stranger", region, noon, 3), zip(t, file(record("a", "e3", ""))))
	s.put(logKey("o-exampleorg", region, noon, 4), zip(t, file(record("a", "e4", ""))))
	a := NewArchive(Config{Prefix: "p/", OrganizationID: "o-exampleorg"}, s)
	f := mustPoll(t, a, Query{ids("a"), append(here, here...), noon}, &Memory{})
	if len(f.Sightings) != 2 || f.Sightings[0].Event.Metadata.UID != "e1" || f.Sightings[1].Event.Metadata.UID != "e2" || f.Lists != 2 {
		t.Errorf("%d lists, %+v", f.Lists, f.Sightings)
	}
}

func TestPollReadsEachObjectOnce(t *testing.T) {
	s := newStore(noon)
	a, mem := NewArchive(Config{}, s), &Memory{}
	many := map[string]bool{}
	var records []string
	for n := range 1000 {
		many[fmt.Sprint("id", n)] = true
		records = append(records, record(fmt.Sprint("id", n), fmt.Sprint("e", n), ""))
	}
	q := Query{many, here, noon.Add(-time.Minute)}
	s.put(logKey("", region, noon, 1), zip(t, file(records[:600]...)))
	f := mustPoll(t, a, q, mem)
	if len(f.Sightings) != 600 || f.Gets != 1 {
		t.Fatalf("first look: %d sightings, %d gets", len(f.Sightings), f.Gets)
	}
	if f = mustPoll(t, a, q, mem); len(f.Sightings) != 0 || f.Gets != 0 || f.AsOf.IsZero() {
		t.Fatalf("second look: %d sightings, %d gets, as of %s", len(f.Sightings), f.Gets, f.AsOf)
	}
	s.now = noon.Add(5 * time.Minute)
	s.put(logKey("", region, s.now, 2), zip(t, file(records[600:]...)))
	if f = mustPoll(t, a, q, mem); len(f.Sightings) != 400 || f.Gets != 1 || !f.AsOf.Equal(s.now) {
		t.Fatalf("third look: %d sightings, %d gets, as of %s", len(f.Sightings), f.Gets, f.AsOf)
	}
	if f = mustPoll(t, a, q, &Memory{}); f.Gets != 2 {
		t.Errorf("another memory: %d gets", f.Gets)
	}
}

// An object put again under its old name is another object.
func TestPollReadsAReplacedObjectAgain(t *testing.T) {
	s := newStore(noon)
	a, mem, q := NewArchive(Config{}, s), &Memory{}, Query{ids("a"), here, noon}
	key := logKey("", region, noon, 1)
	s.put(key, zip(t, file(record("a", "e1", ""))))
	mustPoll(t, a, q, mem)
	s.now = noon.Add(time.Minute)
	s.put(key, zip(t, file(record("a", "forged", ""))))
	if f := mustPoll(t, a, q, mem); len(f.Sightings) != 1 || f.Sightings[0].Event.Metadata.UID != "forged" {
		t.Errorf("%+v", f.Sightings)
	}
}

func TestPollPassesOnDuplicatesLateAndAmendedRecords(t *testing.T) {
	s := newStore(noon)
	a, mem, q := NewArchive(Config{}, s), &Memory{}, Query{ids("a"), here, noon}
	amended := record("new", "e2", `,"addendum":{"reason":"UPDATED_DATA","updatedFields":"errorCode","originalRequestID":"a","originalEventID":"e1"}`)
	s.put(logKey("", region, noon, 1), zip(t, file(record("a", "e1", ""), record("a", "e1", ""))))
	if f := mustPoll(t, a, q, mem); len(f.Sightings) != 2 {
		t.Errorf("duplicate: %+v", f.Sightings)
	}
	s.now = noon.Add(20 * time.Hour)
	s.put(logKey("", region, s.now, 2), zip(t, file(amended)))
	f := mustPoll(t, a, q, mem)
	if len(f.Sightings) != 1 || f.Sightings[0].Event.Metadata.Amends == nil || f.Sightings[0].Event.Metadata.Amends.OriginalRequestUID != "a" {
		t.Errorf("amended: %+v", f.Sightings)
	}
}

func TestPollReturnsForgedMarkers(t *testing.T) {
	s := newStore(noon)
	s.put(logKey("", region, noon, 1), zip(t, file(record("theirs", "e1", `,"userAgent":"auditcanary-x"`))))
	f := mustPoll(t, NewArchive(Config{}, s), Query{ids("ours"), here, noon}, &Memory{})
	if len(f.Sightings) != 1 || f.Sightings[0].Event.API.RequestUID != "theirs" {
		t.Errorf("%+v", f.Sightings)
	}
}

func TestPollRetriesWhatFailed(t *testing.T) {
	for name, breakIt := range map[string]func(s *fakeStore, key string){
		"request refused":    func(s *fakeStore, key string) { s.fail[key] = errors.New("503 SlowDown") },
		"connection dropped": func(s *fakeStore, key string) { s.cut[key] = 50 },
	} {
		t.Run(name, func(t *testing.T) {
			s := newStore(noon)
			a, mem, q := NewArchive(Config{}, s), &Memory{}, Query{ids("a", "b"), here, noon}
			good, bad := logKey("", region, noon, 1), logKey("", region, noon, 2)
			s.put(good, zip(t, file(record("a", "e1", ""))))
			s.put(bad, zip(t, file(record("b", "e2", ""))))
			breakIt(s, bad)
			f := mustPoll(t, a, q, mem)
			if len(f.Sightings) != 1 || len(f.Problems) != 1 || f.AsOf.IsZero() {
				t.Fatalf("first look: %+v", f)
			}
			if p := f.Problems[0]; p.Account != account || p.Region != region || p.Object != "s3://central-logs/"+bad || p.Hop != canary.Stored || p.Err == "" {
				t.Errorf("problem %+v", p)
			}
			clear(s.fail)
			clear(s.cut)
			f = mustPoll(t, a, q, mem)
			if len(f.Sightings) != 1 || f.Sightings[0].Event.Metadata.UID != "e2" || len(f.Problems) > 0 {
				t.Errorf("second look: %+v", f)
			}
			if n := len(s.gets); n != 3 {
				t.Errorf("%d gets, want 3", n)
			}
		})
	}
}

// A file that is broken in itself is read once, and its problem stays.
func TestPollKeepsTheProblemsOfBrokenObjects(t *testing.T) {
	s := newStore(noon)
	a, mem, q := NewArchive(Config{}, s), &Memory{}, Query{ids("a", "b"), here, noon}
	whole := zip(t, file(record("a", "e1", ""), record("b", "e2", "")))
	key := logKey("", region, noon, 1)
	s.put(key, whole[:len(whole)-8])
	for look := range 3 {
		f := mustPoll(t, a, q, mem)
		if len(f.Problems) != 1 || f.Problems[0].Object != "s3://central-logs/"+key || f.Problems[0].Hop != canary.Parsed || !strings.Contains(f.Problems[0].Err, "gzip stream is cut off") {
			t.Errorf("look %d: %+v", look, f.Problems)
		}
		if look == 0 && (len(f.Sightings) != 2 || f.Sightings[0].At.ObjectSHA256 != "") {
			t.Errorf("sightings %+v", f.Sightings)
		}
	}
	if len(s.gets) != 1 {
		t.Errorf("%d gets", len(s.gets))
	}
	// Whole again, as a later version of the same object.
	s.now = noon.Add(time.Minute)
	s.put(key, whole)
	if f := mustPoll(t, a, q, mem); len(f.Problems) != 0 || len(f.Sightings) != 2 {
		t.Errorf("after it was replaced by a whole one: %+v", f)
	}
}

func TestPollSaysHowMuchOfEachPlaceItHasRead(t *testing.T) {
	s := newStore(noon)
	there := canary.Target{Provider: "aws", Account: account, Region: "us-east-1"}
	a, mem, q := NewArchive(Config{OrganizationID: "o-exampleorg1"}, s), &Memory{}, Query{ids("a"), append(slices.Clone(here), there), noon}
	if f := mustPoll(t, a, q, mem); len(f.Looked) != 0 {
		t.Errorf("nothing there: %+v", f.Looked)
	}
	s.put(logKey("", region, noon, 1), zip(t, file(record("x", "e1", ""), record("y", "e2", ""))))
	s.put(logKey("", "us-east-1", noon, 2), zip(t, file()))
	mustPoll(t, a, q, mem)
	s.now = noon.Add(7 * time.Minute)
	s.put(logKey("o-exampleorg1", region, s.now, 3), zip(t, file(record("z", "e3", "")))) // the same place in the other layout
	f := mustPoll(t, a, q, mem)
	want := []canary.Look{
		{Account: account, Region: region, Objects: 2, Records: 3, First: noon, Last: noon.Add(7 * time.Minute)},
		{Account: account, Region: "us-east-1", Objects: 1, First: noon, Last: noon},
	}
	if !slices.Equal(f.Looked, want) {
		t.Errorf("got %+v\nwant %+v", f.Looked, want)
	}
}

func TestPollNamesAWantedRecordItCannotRead(t *testing.T) {
	s := newStore(noon)
	twice := record("a", "e1", `,"eventName":"DeleteRole"`)
	s.put(logKey("", region, noon, 1), zip(t, file(record("x", "e0", ""), twice)))
	f := mustPoll(t, NewArchive(Config{}, s), Query{ids("a"), here, noon}, &Memory{})
	at := fmt.Sprintf("at byte %d: ", len(`{"Records":[,`)+len(record("x", "e0", "")))
	if len(f.Sightings) > 0 || len(f.Problems) != 1 || !strings.HasPrefix(f.Problems[0].Err, at) {
		t.Errorf("%+v, want a problem %q", f, at)
	}
}

func TestPollReportsStrangeObjects(t *testing.T) {
	s := newStore(noon)
	folder := "AWSLogs/111122223333/CloudTrail/eu-west-1/2026/03/10/"
	s.put(folder, nil) // a console's "folder" is none
	s.put(folder+"notes.txt", []byte("hello"))
	s.put(folder+"x/"+logKey("", region, noon, 1), zip(t, file()))
	s.put(strings.TrimSuffix(logKey("", region, noon, 2), ".gz"), []byte(file(record("a", "e1", ""))))
	f := mustPoll(t, NewArchive(Config{}, s), Query{ids("a"), here, noon}, &Memory{})
	if len(f.Problems) != 3 || f.Gets != 0 {
		t.Errorf("%d gets, %+v", f.Gets, f.Problems)
	}
	for _, p := range f.Problems {
		if !strings.HasPrefix(p.Err, "not read: ") {
			t.Errorf("%+v", p)
		}
	}
}

func TestPollIsOnlyCompleteIfEveryListingWas(t *testing.T) {
	places := append(slices.Clone(here), canary.Target{Provider: "aws", Account: account, Region: "us-east-1"})
	denied := "AWSLogs/111122223333/CloudTrail/us-east-1/2026/03/10/"
	s := newStore(noon)
	s.put(logKey("", region, noon, 1), zip(t, file(record("a", "e1", ""))))
	s.fail[denied] = errors.New("AccessDenied")
	a, mem := NewArchive(Config{}, s), &Memory{}

	f := mustPoll(t, a, Query{ids("a"), places, noon}, mem)
	if !f.AsOf.IsZero() || len(f.Sightings) != 1 {
		t.Errorf("as of %s, %d sightings, want no time and 1", f.AsOf, len(f.Sightings))
	}
	if len(f.Problems) != 1 || f.Problems[0].Region != "us-east-1" || !strings.Contains(f.Problems[0].Err, "AccessDenied") {
		t.Errorf("%+v", f.Problems)
	}

	s.fail["AWSLogs/111122223333/CloudTrail/eu-west-1/2026/03/10/"] = errors.New("NoSuchBucket")
	if f, err := a.Poll(context.Background(), Query{ids("a"), places, noon}, mem); err == nil || !strings.Contains(err.Error(), "NoSuchBucket") || !f.AsOf.IsZero() {
		t.Errorf("nothing could be listed: %+v, %v", f, err)
	}

	clear(s.fail)
	if f := mustPoll(t, a, Query{ids("a"), places, noon}, mem); len(f.Problems) > 0 || !f.AsOf.Equal(noon) {
		t.Errorf("afterwards: %+v", f)
	}
}

func TestPollRefusesWhatItCannotAnswer(t *testing.T) {
	a := NewArchive(Config{Name: "central"}, newStore(noon))
	if _, err := a.Poll(context.Background(), Query{nil, here, time.Time{}}, &Memory{}); err == nil {
		t.Error("no time: no error")
	}
	for name, target := range map[string]canary.Target{
		"account": {Account: "11112222333/", Region: region}, "region": {Account: account, Region: "../x"}, "nothing": {},
	} {
		f, err := a.Poll(context.Background(), Query{nil, []canary.Target{target}, noon}, &Memory{})
		if err == nil || !f.AsOf.IsZero() {
			t.Errorf("%s: %+v, %v", name, f, err)
		}
	}
	if f, err := a.Poll(context.Background(), Query{nil, here, noon.AddDate(-5, 0, 0)}, &Memory{}); err == nil || !f.AsOf.IsZero() {
		t.Errorf("five years: %v", err)
	}
	f, err := NewArchive(Config{}, newStore(time.Time{})).Poll(context.Background(), Query{nil, here, noon}, &Memory{})
	if err == nil || !f.AsOf.IsZero() {
		t.Errorf("store without a clock: %v", err)
	}
}

// An interrupted look loses nothing: what it did not read is read by the next.
func TestPollInterruptedLosesNothing(t *testing.T) {
	s := newStore(noon)
	for n := range 20 {
		s.put(logKey("", region, noon, n), zip(t, file(record("a", fmt.Sprint("e", n), ""))))
	}
	ctx, cancel := context.WithCancel(context.Background())
	a, mem, q := NewArchive(Config{}, &cancelling{s, cancel, 7}), &Memory{}, Query{ids("a"), here, noon}
	first, err := a.Poll(ctx, q, mem)
	if err != nil {
		t.Fatal(err)
	}
	second := mustPoll(t, a, q, mem)
	if n := len(first.Sightings) + len(second.Sightings); n != 20 || len(second.Problems) > 0 || len(first.Problems) == 0 {
		t.Errorf("%d and %d sightings, problems %v then %v", len(first.Sightings), len(second.Sightings), first.Problems, second.Problems)
	}
}

// cancelling cancels at the nth Open.
type cancelling struct {
	*fakeStore
	cancel context.CancelFunc
	after  int
}

func (c *cancelling) Open(ctx context.Context, key string) (Opened, error) {
	c.mu.Lock()
	c.after--
	if c.after == 0 {
		c.cancel()
	}
	c.mu.Unlock()
	return c.fakeStore.Open(ctx, key)
}

func TestPollScansLargeObjectsAsTheyCome(t *testing.T) {
	f := makeFile(t, 1, 1<<20, 0)
	s := &oneReader{newStore(noon), bytes.NewReader(f.gz)}
	s.put(logKey("", region, noon, 1), make([]byte, keepWhole+1)) // what List says of it
	got := mustPoll(t, NewArchive(Config{}, s), Query{ids(f.ids[f.n/2]), here, noon}, &Memory{})
	if len(got.Sightings) != 1 || got.Records != f.n || got.Bytes != f.plain || got.Sightings[0].At.ObjectSHA256 == "" || len(got.Problems) > 0 {
		t.Errorf("%d sightings, %d of %d records, %v", len(got.Sightings), got.Records, f.n, got.Problems)
	}
}

// An object that grew since it was listed is scanned as it comes, too.
func TestPollScansWhatGrewSinceItWasListed(t *testing.T) {
	small := file(record("a", "e1", ""))
	noise := make([]byte, keepWhole)
	rnd := rand.New(rand.NewPCG(1, 2))
	for i := range noise {
		noise[i] = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ-_"[rnd.IntN(64)]
	}
	large := strings.Builder{}
	large.WriteString(strings.TrimSuffix(small, "]}"))
	for part := range slices.Chunk(noise, 100_000) {
		large.WriteString("," + record("b", "e2", `,"x":"`+string(part)+string(part)+`"`))
	}
	large.WriteString("]}")
	gz := zip(t, large.String(), strings.Repeat(" ", 100))
	s := &oneReader{newStore(noon), io.MultiReader(bytes.NewReader(gz), bytes.NewReader(zip(t, string(noise[:3<<20]))))}
	s.put(logKey("", region, noon, 1), nil)
	f := mustPoll(t, NewArchive(Config{}, s), Query{ids("a"), here, noon}, &Memory{})
	if len(f.Sightings) != 1 || len(f.Problems) != 1 || !strings.Contains(f.Problems[0].Err, "after the end of the JSON object") {
		t.Errorf("%d sightings, %v", len(f.Sightings), f.Problems)
	}
}

// A large hostile object, every record of which carries the marker, takes no
// more than 64 MB. (BenchmarkPeakMemory is about a large honest one.)
func TestPollStaysWithin64MB(t *testing.T) {
	const members = 30
	rnd := rand.New(rand.NewPCG(1, 2))
	var b strings.Builder
	for b.Len() < 4<<20 {
		noise := make([]byte, 120)
		for i := range noise {
			noise[i] = byte(rnd.Uint32())
		}
		b.WriteString(record("other", "e", `,"userAgent":"auditcanary`+strings.Repeat("x", 700)+hex.EncodeToString(noise)+`"`) + ",")
	}
	parts := []io.Reader{bytes.NewReader(zip(t, `{"Records":[`))}
	member := zip(t, b.String())
	for range members {
		parts = append(parts, bytes.NewReader(member))
	}
	parts = append(parts, bytes.NewReader(zip(t, record("wanted", "e", "")+"]}")))
	s := &oneReader{newStore(noon), io.MultiReader(parts...)}
	s.put(logKey("", region, noon, 1), make([]byte, keepWhole+1))
	var f Found
	high := peak(func() { f = mustPoll(t, NewArchive(Config{}, s), Query{ids("wanted"), here, noon}, &Memory{}) })
	t.Logf("%d bytes compressed, %d uncompressed, %d above idle", members*len(member), f.Bytes, high)
	if high > 64<<20 {
		t.Errorf("%d bytes above idle", high)
	}
	if last := f.Sightings[len(f.Sightings)-1]; last.Event.API.RequestUID != "wanted" || len(f.Problems) == 0 {
		t.Errorf("the flood hides the record asked for, or goes unnamed: %d problems", len(f.Problems))
	}
}

type oneReader struct {
	*fakeStore
	r io.Reader
}

func (s *oneReader) Open(context.Context, string) (Opened, error) {
	return Opened{Body: io.NopCloser(s.r), VersionID: "v1", LastModified: noon}, nil
}
