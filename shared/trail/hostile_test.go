package trail

import (
	"bytes"
	"cmp"
	"context"
	"encoding/base64"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/klauspost/compress/gzip"

	"github.com/auditcanary/auditcanary/shared/canary"
	"github.com/auditcanary/auditcanary/shared/event"
)

// These tests take what an archive holds the whole way, from bytes to verdicts:
// whatever else stands there, every canary is found, nothing else is reported,
// and what imitates a canary is.

// noise makes records of other people's out of the real ones of the invictus
// files: of the same account and regions as the canaries, at their time, with ids
// of their own.
type noise struct {
	rnd       *rand.Rand
	templates []template
}

const (
	noisyAccount = "123837392027" // the account of the real records
	realRegion   = "us-east-1"    // and their region
)

var slo = canary.SLO{Pass: 15 * time.Minute, Late: time.Hour, Amend: 24 * time.Hour, Clock: 2 * time.Minute}

func newNoise(tb testing.TB, seed uint64) *noise {
	templates := slices.DeleteFunc(realRecords(tb), func(t template) bool {
		e, err := event.ReadCloudTrail(t.raw)
		return err != nil || e.API.Error != "" || e.Actor.UID == "" || e.Cloud.Account != noisyAccount // as of a call of ours that succeeds
	})
	if len(templates) < 10 {
		tb.Fatalf("%d templates", len(templates))
	}
	return &noise{rand.New(rand.NewPCG(27017, seed)), templates}
}

func (n *noise) hex(digits int) string {
	b := make([]byte, digits)
	for i := range b {
		b[i] = "0123456789abcdef"[n.rnd.IntN(16)]
	}
	return string(b)
}

func (n *noise) uuid() string {
	return n.hex(8) + "-" + n.hex(4) + "-4" + n.hex(3) + "-a" + n.hex(3) + "-" + n.hex(12)
}

// record is a real record at a time and place, and its request and event ids.
func (n *noise) record(region string, at time.Time) (raw []byte, request, id string) {
	t := n.templates[n.rnd.IntN(len(n.templates))]
	request, id = n.uuid(), n.uuid()
	raw = bytes.ReplaceAll(t.raw, []byte(t.requestID), []byte(request))
	raw = bytes.ReplaceAll(raw, []byte(t.eventID), []byte(id))
	raw = bytes.Replace(raw, []byte(t.key), []byte("ASIA"+strings.ToUpper(n.hex(16))), 1)
	raw = bytes.ReplaceAll(raw, []byte(`"awsRegion":"`+realRegion+`"`), []byte(`"awsRegion":"`+region+`"`))
	const key = `"eventTime":"`
	i := bytes.Index(raw, []byte(key)) + len(key)
	copy(raw[i:], at.UTC().Format(time.RFC3339))
	return raw, request, id
}

// with puts fields into a record, as its last.
func with(raw []byte, fields string) []byte {
	return append(slices.Clone(raw[:len(raw)-1]), ","+fields+"}"...)
}

// planted is a canary of one call, as the ledger knows it.
type planted struct {
	claim string
	s     canary.Scenario
	c     canary.Canary
	ev    canary.Evidence
}

// plant makes the canary that left a record, at an instant.
func plant(tb testing.TB, claim string, raw []byte) planted {
	tb.Helper()
	want, err := event.ReadCloudTrail(raw)
	if err != nil {
		tb.Fatal(err)
	}
	want.Metadata.UID, want.Metadata.Amends = "", nil
	call := canary.Call{Operation: "test:" + want.API.Operation, Region: want.Cloud.Region}
	return planted{
		claim: claim,
		s:     canary.Scenario{ID: "test/" + claim, Kind: canary.Decoy, Steps: []canary.Step{{ID: "do", Call: call.Operation}}},
		c:     canary.Canary{ID: "c", Target: canary.Target{Provider: "aws", Account: want.Cloud.Account, Region: want.Cloud.Region}},
		ev: canary.Evidence{
			Intents: []canary.Intent{{Step: "do", Phase: canary.PhaseDo, Attempt: 1, Call: call}},
			Receipts: []canary.Receipt{{
				Step: "do", Phase: canary.PhaseDo, Attempt: 1, Call: call, Started: want.Time, Ended: want.Time,
				RequestIDs: []string{want.API.RequestUID}, Outcome: canary.Outcome{Result: canary.Succeeded}, Want: want,
			}},
			Cleanup: canary.Cleanup{Listed: want.Time.Add(time.Minute)},
		},
	}
}

func (p planted) request() string { return p.ev.Receipts[0].RequestIDs[0] }

func (p planted) judge(f Found) canary.Verdict {
	return canary.Judge(p.s, p.c, p.ev, canary.Seen{AsOf: f.AsOf, Sightings: f.Sightings, Problems: f.Problems, Looked: f.Looked}, slo)
}

func noisyPlaces() []canary.Target {
	return []canary.Target{
		{Provider: "aws", Account: noisyAccount, Region: "us-east-1"},
		{Provider: "aws", Account: noisyAccount, Region: "eu-west-1"},
	}
}

// TestEveryCanaryIsFoundInANoisyHostileArchive is all of it at once: 1,000 files
// of other people's records and one of 50 MB among them, records of 256 KB, copies
// under several keys, a correction, records with our marks that are not ours, and
// one canary whose record never came.
func TestEveryCanaryIsFoundInANoisyHostileArchive(t *testing.T) {
	const files, perFile = 1000, 12
	n := newNoise(t, 1)
	begin := noon.Add(-40 * time.Minute)
	content := make([][][]byte, files) // records by file; even files are of the first place, odd ones of the second
	places := noisyPlaces()
	region := func(file int) string { return places[file%2].Region }
	at := func() time.Time { return begin.Add(time.Duration(n.rnd.IntN(600)) * time.Second) }
	for i := range content {
		for range perFile {
			raw, _, _ := n.record(region(i), at())
			content[i] = append(content[i], raw)
		}
	}
	hide := func(file int, raw []byte) {
		content[file] = slices.Insert(content[file], n.rnd.IntN(len(content[file])+1), raw)
	}

	var canaries []planted
	for i := range 60 {
		file := n.rnd.IntN(files)
		raw, _, _ := n.record(region(file), at())
		p := plant(t, fmt.Sprintf("plain %d", i), raw)
		canaries = append(canaries, p)
		hide(file, raw)
	}
	{ // the same record three times, twice in one file
		raw, _, _ := n.record(region(10), at())
		canaries = append(canaries, plant(t, "delivered three times", raw))
		hide(10, raw)
		hide(10, raw)
		hide(500, raw)
	}
	{ // wrong at first, then corrected under ids of its own
		raw, request, id := n.record(region(20), at())
		canaries = append(canaries, plant(t, "corrected", raw))
		hide(20, bytes.Replace(raw, []byte(`"readOnly":`), []byte(`"readOnlyWas":`), 1))
		correction := bytes.ReplaceAll(bytes.ReplaceAll(raw, []byte(request), []byte(n.uuid())), []byte(id), []byte(n.uuid()))
		hide(620, with(correction, `"addendum":{"reason":"UPDATED_DATA","updatedFields":"readOnly","originalRequestID":"`+request+`","originalEventID":"`+id+`"}`))
	}
	{ // as large as a record may be
		raw, _, _ := n.record(region(30), at())
		raw = with(raw, `"additionalEventData":{"x":"`+strings.Repeat("y", MaxRecord-len(raw)-len(`,"additionalEventData":{"x":""}`))+`"}`)
		if len(raw) != MaxRecord {
			t.Fatalf("%d bytes", len(raw))
		}
		canaries = append(canaries, plant(t, "256 KB", raw))
		hide(30, raw)
	}
	forged := map[string]bool{} // by event id
	for i := range 300 {
		file := n.rnd.IntN(files)
		raw, _, id := n.record(region(file), at())
		mark := []string{`"userAgent":"aws-sdk-go-v2 app/auditcanary"`, `"userIdentity":{"type":"AssumedRole","arn":"arn:aws:sts::218007301253:assumed-role/x/auditcanary-20261122-abcdef-01","sessionContext":{"sourceIdentity":"auditcanary"}}`}[i%2]
		raw = replaceField(raw, mark)
		forged[id] = true
		hide(file, raw)
	}

	s := &noisyStore{fakeStore: newStore(noon)}
	for i, records := range content {
		s.now = begin.Add(10*time.Minute + time.Duration(i)*100*time.Millisecond)
		s.put(Key{"", "o-exampleorg1", noisyAccount, region(i), s.now.Truncate(time.Minute), fmt.Sprintf("%016d", i)}.String(),
			zip(t, `{"Records":[`+string(bytes.Join(records, []byte(",")))+`]}`))
	}
	raw, _, _ := n.record("us-east-1", begin)
	canaries = append(canaries, plant(t, "in 50 MB", raw))
	s.big = filepath.Join(t.TempDir(), "big")
	s.bigKey = Key{"", "o-exampleorg1", noisyAccount, "us-east-1", s.now.Truncate(time.Minute), strings.Repeat("z", 16)}.String()
	s.put(s.bigKey, nil)
	bigRecords := n.bigFile(t, s.big, 50_000_000, raw)
	s.now = noon.Add(time.Hour) // past every deadline
	lost, _, _ := n.record("eu-west-1", begin)
	canaries = append(canaries, plant(t, "lost", lost))

	wanted := map[string]bool{}
	for _, p := range canaries {
		wanted[p.request()] = true
	}
	a := NewArchive(Config{Name: "central", OrganizationID: "o-exampleorg1"}, s)
	var f Found
	var err error
	high := peak(func() { f, err = a.Poll(t.Context(), Query{wanted, noisyPlaces(), begin}, &Memory{}) })
	if err != nil {
		t.Fatal(err)
	}
	inFiles := bigRecords
	for _, records := range content {
		inFiles += len(records)
	}
	t.Logf("%d files, %d records, %d bytes; %d MB above idle", f.Gets, f.Records, f.Bytes, high>>20)
	if f.Gets != files+1 || f.Records != inFiles || len(f.Problems) > 0 {
		t.Errorf("%d files with %d records, want %d with %d; problems %+v", f.Gets, f.Records, files+1, inFiles, f.Problems)
	}
	// Four readers of up to 11 MB each, what was found, and slack for the collector.
	if high > 128<<20 {
		t.Errorf("%d bytes above idle: memory does not stay flat", high)
	}
	for _, p := range canaries {
		v := p.judge(f)
		if p.claim == "lost" {
			if a := v.Checks[canary.Surfaced]; a.Status != canary.Fail {
				t.Errorf("%s: %+v", p.claim, a)
			}
			continue
		}
		for _, check := range []canary.Check{canary.Surfaced, canary.Attributed, canary.Timely} {
			if v.Checks[check].Status != canary.Pass {
				t.Errorf("%s: %s %+v", p.claim, check, v.Checks[check])
			}
		}
		if p.claim == "delivered three times" && len(v.Records[0].Copies) != 2 {
			t.Errorf("%s: copies %v", p.claim, v.Records[0].Copies)
		}
	}
	for _, si := range canary.Forged(f.Sightings, func(id string) bool { return wanted[id] }) {
		if !forged[si.Event.Metadata.UID] {
			t.Errorf("event %s is called forged", si.Event.Metadata.UID)
		}
		delete(forged, si.Event.Metadata.UID)
	}
	if len(forged) > 0 {
		t.Errorf("%d forged records are not reported", len(forged))
	}
}

// replaceField replaces a top-level field of a record, found by its name.
func replaceField(raw []byte, field string) []byte {
	name, _, _ := strings.Cut(field, ":")
	from, to, depth, text := 0, 0, 0, false
	for i := 0; i < len(raw); i++ {
		switch c := raw[i]; {
		case c == '\\':
			i++
			continue
		case c == '"':
			if !text && depth == 1 && from == 0 && bytes.HasPrefix(raw[i:], []byte(name+":")) {
				from = i
			}
			text = !text
		case !text && (c == '{' || c == '['):
			depth++
		case !text && (c == '}' || c == ']'):
			depth--
		}
		if from > 0 && to == 0 && !text && i > from+len(name) && (raw[i] == ',' && depth == 1 || depth == 0) {
			to = i
		}
	}
	return slices.Concat(raw[:from], []byte(field), raw[to:])
}

// bigFile writes a file of a size, compressed, of real records and large ones
// that do not compress, with one record in its middle; it returns how many.
func (n *noise) bigFile(tb testing.TB, name string, size int64, hidden []byte) (records int) {
	tb.Helper()
	out, err := os.Create(name)
	if err != nil {
		tb.Fatal(err)
	}
	defer out.Close()
	zw, err := gzip.NewWriterLevel(out, gzip.HuffmanOnly)
	if err != nil {
		tb.Fatal(err)
	}
	write := func(b []byte) {
		if _, err := zw.Write(b); err != nil {
			tb.Fatal(err)
		}
	}
	random := make([]byte, 180_000)
	for written := int64(0); written < size; {
		raw, _, _ := n.record("us-east-1", noon.Add(-time.Hour))
		if records == 100 {
			raw = hidden
		} else {
			for i := range random {
				random[i] = byte(n.rnd.Uint32())
			}
			raw = with(raw, `"additionalEventData":{"x":"`+base64.StdEncoding.EncodeToString(random)+`"}`)
		}
		write([]byte([]string{`{"Records":[`, ","}[min(records, 1)]))
		write(raw)
		records++
		if written, err = out.Seek(0, 1); err != nil {
			tb.Fatal(err)
		}
	}
	write([]byte("]}"))
	if err := cmp.Or(zw.Close(), out.Close()); err != nil {
		tb.Fatal(err)
	}
	if records <= 100 {
		tb.Fatalf("only %d records", records)
	}
	return records
}

// noisyStore is a fakeStore in which one object is a file on disk.
type noisyStore struct {
	*fakeStore
	bigKey, big string
}

func (s *noisyStore) Open(ctx context.Context, key string) (Opened, error) {
	if key != s.bigKey {
		return s.fakeStore.Open(ctx, key)
	}
	f, err := os.Open(s.big)
	return Opened{Body: f, VersionID: "v1", LastModified: s.objects[key].stored}, err
}

// TestNoCutGivesAFalseAnswer cuts a file at every kilobyte, and a small one at
// every byte. What stood before the cut may be found, and is then whole; what is
// not found is inconclusive, at hop parsed, with the object and the byte; nothing
// is ever called missing, and nothing passes that was not read.
func TestNoCutGivesAFalseAnswer(t *testing.T) {
	for _, tt := range []struct {
		claim   string
		records int
		step    int
	}{
		{"at every kilobyte", 400, 1 << 10},
		{"at every byte", 3, 1},
	} {
		t.Run(tt.claim, func(t *testing.T) {
			n := newNoise(t, 2)
			var canaries []planted
			var records [][]byte
			wanted := map[string]bool{}
			for i := range tt.records {
				raw, request, _ := n.record("us-east-1", noon.Add(-2*time.Hour))
				records = append(records, raw)
				if i%max(1, tt.records/8) == 0 {
					canaries = append(canaries, plant(t, fmt.Sprint(i), raw))
					wanted[request] = true
				}
			}
			whole := zip(t, `{"Records":[`+string(bytes.Join(records, []byte(",")))+`]}`)
			cuts, before := 0, map[string]bool{} // how often it was found, and not
			for cut := 0; cut < len(whole); cut += tt.step {
				cuts++
				s := newStore(noon.Add(-110 * time.Minute))
				key := Key{"", "", noisyAccount, "us-east-1", s.now.Truncate(time.Minute), strings.Repeat("x", 16)}.String()
				s.put(key, whole[:cut])
				s.now = noon // long after every deadline
				f := mustPoll(t, NewArchive(Config{Name: "central"}, s), Query{wanted, noisyPlaces()[:1], noon.Add(-2 * time.Hour)}, &Memory{})
				if len(f.Problems) != 1 || f.Problems[0].Object != "s3://central-logs/"+key || f.Problems[0].Hop != canary.Parsed || !strings.HasPrefix(f.Problems[0].Err, "at byte ") {
					t.Fatalf("cut at %d: problems %+v", cut, f.Problems)
				}
				for _, p := range canaries {
					found := slices.ContainsFunc(f.Sightings, func(si canary.Sighting) bool { return si.Event.API.RequestUID == p.request() })
					before[fmt.Sprint(found)] = true
					v := p.judge(f)
					a, att := v.Checks[canary.Surfaced], v.Checks[canary.Attributed]
					switch {
					case found && (a.Status != canary.Pass || att.Status != canary.Pass):
						t.Errorf("cut at %d, %s found: %+v %+v", cut, p.claim, a, att)
					case !found && (a.Status != canary.Inconclusive || a.Hop != canary.Parsed || len(a.Evidence) != 1 || a.Evidence[0].Object != "s3://central-logs/"+key):
						t.Errorf("cut at %d, %s not found: %+v", cut, p.claim, a)
					case !found && att.Status != canary.NotRun:
						t.Errorf("cut at %d, %s not found: attributed %+v", cut, p.claim, att)
					}
				}
			}
			t.Logf("%d bytes, %d cuts", len(whole), cuts)
			if !before["true"] || !before["false"] || cuts < 20 {
				t.Errorf("%d cuts, found %v: that tries nothing", cuts, before)
			}
		})
	}
}

// TestNoFlipGivesAFalseAnswer flips bits all through a compressed file. Decoding
// may go on after them, with records put together from pieces of others; whatever
// comes of it, nothing is called missing or changed that may only be damaged.
func TestNoFlipGivesAFalseAnswer(t *testing.T) {
	n := newNoise(t, 3)
	var canaries []planted
	var records [][]byte
	wanted := map[string]bool{}
	for i := range 60 {
		raw, request, _ := n.record("us-east-1", noon.Add(-2*time.Hour))
		records = append(records, raw)
		canaries = append(canaries, plant(t, fmt.Sprint(i), raw))
		wanted[request] = true
	}
	whole := zip(t, `{"Records":[`+string(bytes.Join(records, []byte(",")))+`]}`)
	came := map[string]int{}
	for at := 10; at < len(whole); at += 31 {
		s := newStore(noon.Add(-110 * time.Minute))
		key := Key{"", "", noisyAccount, "us-east-1", s.now.Truncate(time.Minute), strings.Repeat("x", 16)}.String()
		s.put(key, flip(whole, at))
		s.now = noon
		f := mustPoll(t, NewArchive(Config{Name: "central"}, s), Query{wanted, noisyPlaces()[:1], noon.Add(-2 * time.Hour)}, &Memory{})
		if len(f.Problems) == 0 || f.Problems[0].Object != "s3://central-logs/"+key {
			t.Fatalf("flipped at %d: problems %+v", at, f.Problems)
		}
		for _, p := range canaries {
			v := p.judge(f)
			for _, check := range []canary.Check{canary.Surfaced, canary.Attributed} {
				a := v.Checks[check]
				came[fmt.Sprintf("%s %s", check, a.Status)]++
				if a.Status == canary.Fail || a.Status == canary.Inconclusive && (a.Hop != canary.Parsed || len(a.Evidence) == 0) {
					t.Errorf("flipped at %d, %s: %s %+v", at, p.claim, check, a)
				}
			}
		}
	}
	t.Log(came)
	for _, want := range []string{"surfaced pass", "surfaced inconclusive", "attributed pass", "attributed inconclusive"} {
		if came[want] == 0 {
			t.Errorf("never %s: that tries nothing", want)
		}
	}
}
