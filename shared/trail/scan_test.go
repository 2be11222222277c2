package trail

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/klauspost/compress/gzip"
)

// realFiles are the log files under testdata/origin.
func realFiles(tb testing.TB, origin string) []string {
	tb.Helper()
	var names []string
	err := filepath.WalkDir(filepath.Join("testdata", origin, "AWSLogs"), func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.Type().IsRegular() {
			names = append(names, path)
		}
		return err
	})
	if err != nil || len(names) == 0 {
		tb.Fatalf("files of %s: %d, %v", origin, len(names), err)
	}
	return names
}

// plainOf is a file's uncompressed content.
func plainOf(tb testing.TB, name string) []byte {
	tb.Helper()
	b, err := os.ReadFile(name)
	if err != nil {
		tb.Fatal(err)
	}
	if !strings.HasSuffix(name, ".gz") {
		return b
	}
	zr, err := gzip.NewReader(bytes.NewReader(b))
	if err != nil {
		tb.Fatal(err)
	}
	if b, err = io.ReadAll(zr); err != nil {
		tb.Fatal(err)
	}
	return b
}

// zip compresses each part as a gzip member of its own.
func zip(tb testing.TB, parts ...string) []byte {
	tb.Helper()
	var out bytes.Buffer
	for _, s := range parts {
		w := gzip.NewWriter(&out)
		if _, err := io.WriteString(w, s); err != nil {
			tb.Fatal(err)
		}
		if err := w.Close(); err != nil {
			tb.Fatal(err)
		}
	}
	return out.Bytes()
}

// rec is a record with a request id and something more.
func rec(id, more string) string {
	return `{"eventVersion":"1.11","requestID":"` + id + `","eventName":"X"` + more + `}`
}

func file(records ...string) string { return `{"Records":[` + strings.Join(records, ",") + `]}` }

func ids(s ...string) map[string]bool {
	m := map[string]bool{}
	for _, id := range s {
		m[id] = true
	}
	return m
}

func mustScan(tb testing.TB, gz []byte, want map[string]bool) File {
	tb.Helper()
	f, err := NewScanner().Scan(context.Background(), bytes.NewReader(gz), want)
	if err != nil {
		tb.Fatal(err)
	}
	return f
}

func raws(f File) (all []string) {
	for _, r := range f.Found {
		all = append(all, string(r.Raw))
	}
	return all
}

func texts(f File) (all []string) {
	for _, d := range f.Defects {
		all = append(all, d.String())
	}
	return all
}

// The counts are those of jq '.Records | length' on each file.
func TestScanCountsTheRecordsOfRealFiles(t *testing.T) {
	want := map[string]int{
		"218007301253_CloudTrail_us-east-1_20230710T1145Z_7xgocspSowgK0Gto.json.gz": 29,
		"218007301253_CloudTrail_us-east-1_20230710T1205Z_1dM7GQM67kudSyGD.json.gz": 13,
		"218007301253_CloudTrail_us-east-1_20230710T1205Z_86g9Vok9HiUCgSI7.json.gz": 19,
		"218007301253_CloudTrail_us-east-1_20230710T1205Z_SjF3IkuNXJkoHyar.json.gz": 26,
		"811596193553_CloudTrail_us-east-1-20200930T2200.json":                      94,
		"811596193553_CloudTrail_us-east-1-20200930T2300.json":                      85,
		"811596193553_CloudTrail_ap-southeast-1-20200930T2358.json":                 0,
		"811596193553_CloudTrail_us-east-1-20201001T0000.json.gz":                   5,
		"811596193553_CloudTrail_us-east-1-20201001T0003.json":                      1,
	}
	s := NewScanner()
	for _, name := range append(realFiles(t, "invictus"), realFiles(t, "umccr")...) {
		plain := plainOf(t, name)
		f, err := s.Scan(context.Background(), bytes.NewReader(zip(t, string(plain))), nil)
		if err != nil || len(f.Defects) > 0 {
			t.Errorf("%s: %v %v", name, err, f.Defects)
		}
		if f.Records != want[filepath.Base(name)] || len(f.Found) > 0 {
			t.Errorf("%s: %d records, %d found, want %d and none", name, f.Records, len(f.Found), want[filepath.Base(name)])
		}
		if sum := sha256.Sum256(plain); f.SHA256 != hex.EncodeToString(sum[:]) || f.Bytes != int64(len(plain)) {
			t.Errorf("%s: %d bytes with hash %s, want %d with %x", name, f.Bytes, f.SHA256, len(plain), sum)
		}
	}
}

func TestScanFindsEveryRealRecordByItsRequestID(t *testing.T) {
	for _, name := range append(realFiles(t, "invictus"), realFiles(t, "umccr")...) {
		plain := plainOf(t, name)
		var doc struct{ Records []json.RawMessage }
		if err := json.Unmarshal(plain, &doc); err != nil {
			t.Fatal(err)
		}
		want := map[string]bool{}
		var expected []string
		for i, raw := range doc.Records {
			var r struct {
				ID string `json:"requestID"`
			}
			if err := json.Unmarshal(raw, &r); err != nil {
				t.Fatal(err)
			}
			if i%3 == 0 || want[r.ID] {
				want[r.ID] = true
			}
		}
		for _, raw := range doc.Records {
			var r struct {
				ID string `json:"requestID"`
			}
			_ = json.Unmarshal(raw, &r)
			if want[r.ID] {
				expected = append(expected, string(raw))
			}
		}
		f := mustScan(t, zip(t, string(plain)), want)
		if got := raws(f); !slices.Equal(got, expected) {
			t.Errorf("%s: found %d records, want %d", name, len(got), len(expected))
		}
		for _, r := range f.Found {
			if string(plain[r.Offset:r.Offset+int64(len(r.Raw))]) != string(r.Raw) || !r.Asked {
				t.Errorf("%s: record at %d is not what stands there, or was not asked for", name, r.Offset)
			}
		}
	}
}

func TestScanChoosesRecords(t *testing.T) {
	const id = "11111111-2222-4333-8444-555555555555"
	for _, c := range []struct {
		name, record string
		found, asked bool
	}{
		{"its request id", rec(id, ""), true, true},
		{"its request id, spelt with an escape", rec(`\u00311111111-2222-4333-8444-555555555555`, ""), true, true},
		{"the key spelt with an escape", `{"eventVersion":"1.11","\u0072equestID":"` + id + `"}`, true, true},
		{"the amended record's request id", rec("other", `,"addendum":{"reason":"UPDATED_DATA","originalRequestID":"`+id+`"}`), true, true},
		{"with white space everywhere", "{ \"requestID\"\n:\t\"" + id + "\" , \"a\" : [ ] , \"b\" : { } , \"c\" : [ 1 , -2.5e+7 ] }", true, true},
		{"either of two request ids", `{"requestID":"` + id + `","requestID":"other"}`, true, true},
		{"another request id", rec("other", ""), false, false},
		{"part of it", rec(id[:35], ""), false, false},
		{"no string", `{"requestID":["` + id + `"],"x":null}`, false, false},
		{"deeper down", rec("other", `,"requestParameters":{"requestID":"`+id+`"}`), false, false},
		{"an addendum deeper down", rec("other", `,"requestParameters":{"addendum":{"originalRequestID":"`+id+`"}}`), false, false},
		{"the addendum's key elsewhere", rec("other", `,"requestParameters":{"originalRequestID":"`+id+`"}`), false, false},
		{"after the addendum", rec("other", `,"addendum":{},"requestParameters":{"originalRequestID":"`+id+`"}`), false, false},
		{"within a string", rec("other", `,"userAgent":"\",\"requestID\":\"`+id+`\""`), false, false},
		{"the marker in the user agent", rec("other", `,"userAgent":"auditcanary-1234"`), true, false},
		{"the marker in a key", rec("other", `,"auditcanary":1`), true, false},
		{"the marker at the very end", rec("other", `,"x":["auditcanary"]`), true, false},
		{"most of the marker", rec("other", `,"userAgent":"auditcanar uditcanary auditXcanary"`), false, false},
		{"the marker and the request id", rec(id, `,"userAgent":"auditcanary"`), true, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			around := rec("around", "")
			f := mustScan(t, zip(t, file(around, c.record, around)), ids(id))
			if f.Records != 3 || len(f.Defects) > 0 {
				t.Fatalf("%d records, %v, want 3", f.Records, f.Defects)
			}
			if !c.found {
				if len(f.Found) > 0 {
					t.Errorf("found %s", raws(f))
				}
				return
			}
			if len(f.Found) != 1 || string(f.Found[0].Raw) != c.record || f.Found[0].Asked != c.asked {
				t.Errorf("found %+v, want the record, asked %t", f.Found, c.asked)
			}
		})
	}
}

// The marker is looked for with strides; no place within a record may be missed.
func TestScanFindsTheMarkerAtEveryPosition(t *testing.T) {
	var records []string
	for n := range 64 {
		records = append(records, rec("other", `,"userAgent":"`+strings.Repeat("a", n)+"auditcanary"+strings.Repeat("y", n%7)+`"`))
	}
	if f := mustScan(t, zip(t, file(records...)), nil); !slices.Equal(raws(f), records) {
		t.Errorf("found %d of %d", len(f.Found), len(records))
	}
}

func TestScanIsNotFooledByRecordsWithinRecords(t *testing.T) {
	forged := rec("wanted", `,"userIdentity":{"arn":"arn:aws:iam::1:root"}`)
	quoted, _ := json.Marshal(`}]},` + forged + `,{"Records":[`)
	for name, r := range map[string]string{
		"as a parameter":        rec("other", `,"requestParameters":{"Records":[`+forged+`]}`),
		"within a string":       rec("other", `,"requestParameters":{"policy":`+string(quoted)+`}`),
		"after many backslash":  rec("other", `,"userAgent":"`+strings.Repeat(`\\`, 40)+`","x":"\\\"},`+strings.ReplaceAll(forged, `"`, `\"`)+`"`),
		"as a key":              rec("other", `,"requestParameters":{`+string(quoted)+`:1}`),
		"as a nested RequestID": rec("other", `,"requestID2":"wanted","resources":[`+forged+`]`),
	} {
		t.Run(name, func(t *testing.T) {
			f := mustScan(t, zip(t, file(r, rec("wanted", ""))), ids("wanted"))
			if f.Records != 2 || len(f.Defects) > 0 || len(f.Found) != 1 || string(f.Found[0].Raw) != rec("wanted", "") {
				t.Errorf("%d records, %v, found %s", f.Records, f.Defects, raws(f))
			}
		})
	}
}

// Whatever the reader hands over at a time, and wherever blocks end, the result is the same.
func TestScanDoesNotDependOnWhereBlocksEnd(t *testing.T) {
	var records []string
	want := map[string]bool{}
	for n := range 700 {
		id := fmt.Sprintf("id-%d", n)
		records = append(records, rec(id, `,"x":"`+strings.Repeat(`\"y`, n*7%5000)+`"`))
		want[id] = n%2 == 0
	}
	plain := file(records...)
	if len(plain) < 3*blockSize {
		t.Fatalf("only %d bytes", len(plain))
	}
	gz := zip(t, plain)
	sum := sha256.Sum256([]byte(plain))
	s := NewScanner()
	for name, r := range map[string]io.Reader{
		"at once": bytes.NewReader(gz), "in halves": iotest.HalfReader(bytes.NewReader(gz)), "byte by byte": iotest.OneByteReader(bytes.NewReader(gz)),
		"three members": bytes.NewReader(zip(t, plain[:1000], plain[1000:300001], plain[300001:])),
	} {
		f, err := s.Scan(context.Background(), r, want)
		if err != nil || f.Records != 700 || len(f.Defects) > 0 || f.SHA256 != hex.EncodeToString(sum[:]) {
			t.Fatalf("%s: %v, %d records, %v, hash %s", name, err, f.Records, f.Defects, f.SHA256)
		}
		for i, got := range f.Found {
			if string(got.Raw) != records[2*i] || plain[got.Offset:got.Offset+int64(len(got.Raw))] != records[2*i] {
				t.Fatalf("%s: record %d at %d is wrong", name, i, got.Offset)
			}
		}
		if len(f.Found) != 350 {
			t.Fatalf("%s: found %d", name, len(f.Found))
		}
	}
}

func TestScanNamesDefects(t *testing.T) {
	a, b := rec("a", ""), rec("b", "")
	want := ids("a", "b")
	big := rec("big", `,"x":"`+strings.Repeat("x", 300_000)+`"`)
	deep := func(n int) string {
		return rec("deep", `,"x":`+strings.Repeat(`{"a":[`, n/2)+strings.Repeat(`]}`, n/2))
	}
	whole := zip(t, file(a, b))
	noise := zip(t, file(a, rec("x", `,"n":"`+strings.Repeat("0123456789abcdef", 99)+`"`), b))
	for _, c := range []struct {
		name    string
		gz      []byte
		found   []string
		defects []string
	}{
		{"nothing wrong", whole, []string{a, b}, nil},
		{"no records", zip(t, `{"Records":[]}`), nil, nil},
		{"other members too", zip(t, `{"version":1,"Records":[`+a+`],"more":{"Records":[{}]},"x":[]}`), []string{a}, nil},
		{"empty object", nil, nil, []string{"at byte 0: object is empty"}},
		{"no gzip", []byte(file(a)), nil, []string{"at byte 0: not a gzip stream, or bytes after its end that are none"}},
		{"empty stream", zip(t, ""), nil, []string{"at byte 0: no JSON in it"}},
		{"cut gzip", whole[:len(whole)-9], []string{a, b}, []string{"gzip stream is cut off"}},
		{"checksum", flip(noise, len(noise)-6), []string{a, b}, []string{"gzip checksum does not match"}},
		{"trailing garbage", append(slices.Clone(whole), "garbage, and more of it"...), []string{a, b}, []string{"at byte 125: not a gzip stream, or bytes after its end that are none"}},
		{"trailing zeros", append(slices.Clone(whole), make([]byte, 512)...), []string{a, b}, []string{"at byte 125: not a gzip stream, or bytes after its end that are none"}},
		{"a second document in a second member", zip(t, file(a), file(b)), []string{a}, []string{`at byte 69: unexpected "{" after the end of the JSON object`}},
		{"not JSON", zip(t, "hello"), nil, []string{`at byte 0: not a JSON object, found "h"`}},
		{"HTML", zip(t, "<html>"), nil, []string{`at byte 0: not a JSON object, found "<"`}},
		{"an array", zip(t, "["+a+"]"), nil, []string{`at byte 0: not a JSON object, found "["`}},
		{"no Records", zip(t, `{"records":[`+a+`]}`), nil, []string{`at byte 0: no "Records" key`}},
		{"Records null", zip(t, `{"Records":null}`), nil, []string{`at byte 11: "Records" is not an array, found "n"`}},
		{"Records twice", zip(t, `{"Records":[`+a+`],"Records":[`+b+`]}`), []string{a, b}, []string{`at byte 69: "Records" occurs again; its records are read too`}},
		{"Records twice, once in escapes", zip(t, `{"Records":[`+a+`],"\u0052ecords":[`+b+`]}`), []string{a, b}, []string{`at byte 69: "Records" occurs again; its records are read too`}},
		{"byte order mark", zip(t, "\xef\xbb\xbf"+file(a)), []string{a}, []string{"at byte 0: begins with a byte order mark, which CloudTrail does not write"}},
		{"UTF-16", zip(t, "\xff\xfe{\x00"), nil, []string{"at byte 0: not a JSON object, found byte 0xff"}},
		{"a record that is none", zip(t, file(a, "null", b)), []string{a, b}, []string{`at byte 68: record is not a JSON object, found "n"`}},
		{"record too large", zip(t, file(a, big, b)), []string{a, b}, []string{fmt.Sprintf("at byte 68: record is %d bytes long, the limit is 262144; not read", len(big))}},
		{"value too large", zip(t, `{"x":"`+big[70:len(big)-2]+`","Records":[`+a+`]}`), []string{a}, []string{"at byte 5: value is 299994 bytes long, the limit is 262144; not read"}},
		{"key too large", zip(t, `{"`+strings.Repeat("k", 300_000)+`":1,"Records":[`+a+`]}`), nil, []string{"at byte 1: key of more than 262144 bytes"}},
		{"nested too deep", zip(t, file(a, deep(256), b)), []string{a, b}, []string{"at byte 68: record is nested more than 256 deep; not read"}},
		{"depth bomb", zip(t, file(a, deep(4_000_000), b)), []string{a, b}, []string{"at byte 68: record is nested more than 256 deep; not read"}},
		{"depth bomb without an end", zip(t, `{"Records":[`+a+`,`+strings.Repeat("[", 3_000_000)), []string{a}, []string{"at byte 68: not JSON: the value that begins here has no end"}},
		{"cut within a record", zip(t, file(a, b)[:100]), []string{a}, []string{"at byte 68: not JSON: the file ends within what begins here"}},
		{"cut between records", zip(t, file(a, b)[:67]), []string{a}, []string{"at byte 67: not JSON: the file ends within what begins here"}},
		{"no comma between records", zip(t, `{"Records":[`+a+b+`]}`), []string{a}, []string{`at byte 67: not JSON: want , or ] after a record, found "{"`}},
		{"comma at the end", zip(t, `{"Records":[`+a+`,]}`), []string{a}, []string{`at byte 68: not JSON in the record at byte 68: want a value, found "]"; nothing after it was read`}},
		{"a quote too many", zip(t, file(a, rec("x", `,"n":"1"2"`), b)), []string{a}, []string{`not JSON in the record at byte 68: want , or }, found "2"`}},
		{"wrong bracket", zip(t, file(a, `{"x":[1}`, b)), []string{a}, []string{`want , or ], found "}"`}},
		{"key without quotes", zip(t, file(a, `{x:1}`, b)), []string{a}, []string{`want a key, found "x"`}},
		{"word", zip(t, file(a, `{"x":nul}`, b)), []string{a}, []string{`want a value, found "n"`}},
		{"number", zip(t, file(a, `{"x":01}`, b)), []string{a}, []string{`want a value, found "0"`}},
		{"more after the object", zip(t, file(a)+"x"), []string{a}, []string{`at byte 69: unexpected "x" after the end of the JSON object`}},
		{"many defects", zip(t, file(strings.Split(strings.Repeat("0,", 99)+"0", ",")...)), nil, []string{"and 80 more defects"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := mustScan(t, c.gz, want)
			whole, err := NewScanner().ScanBytes(context.Background(), c.gz, want)
			if err != nil {
				t.Fatal(err)
			}
			if len(f.Found) > 0 && whole.SHA256 != f.SHA256 || fmt.Sprint(whole.Defects) != fmt.Sprint(f.Defects) || !slices.Equal(raws(whole), raws(f)) {
				t.Errorf("ScanBytes differs: %+v", whole)
			}
			if !slices.Equal(raws(f), c.found) {
				t.Errorf("found %d records, want %d", len(f.Found), len(c.found))
			}
			got := texts(f)
			if len(c.defects) == 0 && len(got) == 0 {
				if f.SHA256 == "" {
					t.Error("no hash")
				}
				return
			}
			if len(got) == 0 || len(c.defects) == 0 || !strings.Contains(got[len(got)-1], c.defects[0]) {
				t.Errorf("defects %q, want %q", got, c.defects)
			}
		})
	}
}

// flip inverts one byte.
func flip(b []byte, i int) []byte {
	b = slices.Clone(b)
	b[i] ^= 0xff
	return b
}

// What does not inflate to its end has no hash that could match a digest's.
func TestScanGivesNoHashOfPartOfAFile(t *testing.T) {
	whole := zip(t, file(rec("a", ""), rec("b", "")))
	for i := range whole {
		f := mustScan(t, whole[:i], ids("a", "b"))
		if f.SHA256 != "" || len(f.Defects) == 0 {
			t.Fatalf("cut to %d of %d bytes: hash %q, defects %v", i, len(whole), f.SHA256, f.Defects)
		}
	}
}

func TestScanReturnsTheReadersErrorAsAnError(t *testing.T) {
	boom := errors.New("connection reset")
	gz := zip(t, file(rec("a", "")))
	for n := range gz {
		r := io.MultiReader(bytes.NewReader(gz[:n]), iotest.ErrReader(boom))
		f, err := NewScanner().Scan(context.Background(), r, ids("a"))
		if !errors.Is(err, boom) || len(f.Defects) > 0 || f.SHA256 != "" {
			t.Fatalf("after %d bytes: %v, %+v", n, err, f)
		}
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := NewScanner().Scan(ctx, bomb(t), nil); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
}

// A flood of records with the marker neither fills the memory nor hides a record asked for.
func TestScanBoundsForgedMarkers(t *testing.T) {
	claim := rec("other", `,"userAgent":"auditcanary`+strings.Repeat("x", 1000)+`"`)
	records := slices.Repeat([]string{claim}, 3*MaxClaims/len(claim))
	records = append(records, rec("wanted", ""))
	f := mustScan(t, zip(t, file(records...)), ids("wanted"))
	kept := 0
	for _, r := range f.Found {
		if !r.Asked {
			kept += len(r.Raw)
		}
	}
	if kept > MaxClaims || kept < MaxClaims-len(claim) {
		t.Errorf("kept %d bytes of claims", kept)
	}
	if last := f.Found[len(f.Found)-1]; !last.Asked || f.Records != len(records) {
		t.Errorf("the record asked for is not there, %d records", f.Records)
	}
	if len(f.Defects) == 0 || !strings.Contains(f.Defects[0].Err, "carries the marker") {
		t.Errorf("defects %v", f.Defects)
	}
}

func TestScanStopsAtTheLimitsOfAnObject(t *testing.T) {
	s := NewScanner()
	s.maxPlain, s.maxCompressed = 64<<20, 8<<20
	for name, c := range map[string]struct {
		r    io.Reader
		want string
	}{
		"gzip bomb":     {bomb(t), "more than 67108864 bytes uncompressed; not read further"},
		"nothing in it": {io.MultiReader(bytes.NewReader([]byte{31, 139, 8, 0, 0, 0, 0, 0, 0, 0}), stored{}), "more than 8388608 bytes compressed; not read further"},
	} {
		t.Run(name, func(t *testing.T) {
			f, err := s.Scan(context.Background(), c.r, nil)
			if err != nil || f.SHA256 != "" || len(f.Defects) != 1 || f.Defects[0].Err != c.want {
				t.Errorf("%v, %v, want %q", err, f.Defects, c.want)
			}
		})
	}
}

// bomb is one member of 16 MiB of spaces, repeated for ever.
func bomb(tb testing.TB) io.Reader {
	member := zip(tb, strings.Repeat(" ", 16<<20))
	return &endless{member: member}
}

type endless struct {
	member []byte
	at     int
}

func (e *endless) Read(p []byte) (int, error) {
	n := copy(p, e.member[e.at:])
	e.at = (e.at + n) % len(e.member)
	return n, nil
}

// stored is a deflate stream of empty stored blocks that never ends.
type stored struct{}

func (stored) Read(p []byte) (int, error) {
	n := len(p) / 5 * 5
	for i := 0; i < n; i += 5 {
		copy(p[i:], "\x00\x00\x00\xff\xff")
	}
	return n, nil
}

// FuzzScan holds the scanner against a full decode by encoding/json.
func FuzzScan(f *testing.F) {
	for _, r := range realRecords(f)[:20] { // one at a time: large seeds make slow fuzzing
		f.Add([]byte(file(string(r.raw))))
	}
	for _, s := range []string{
		"", "{}", `{"Records":[]}`, `{"Records":[{"requestID":"w"},{"addendum":{"originalRequestID":"w"}}]}`,
		`{"Records":[{"requestID":"\u0077"}],"x":[{"y":{}}]}`, `{"Records":[{"a":"auditcanary"}]}`, "\xef\xbb\xbf{\"Records\":[]}",
	} {
		f.Add([]byte(s))
	}
	s := NewScanner()
	f.Fuzz(func(t *testing.T, plain []byte) {
		want := ids("w", "68c99c97", "8184daf5-fe4c-4ae2-b2e1-fbc3c2a4f50d", "fc5fc296-2dca-492a-a485-8cb32cd9b6ef")
		got, err := s.Scan(context.Background(), bytes.NewReader(zip(t, string(plain))), want)
		if err != nil {
			t.Fatal(err)
		}
		if sum := sha256.Sum256(plain); got.SHA256 != hex.EncodeToString(sum[:]) {
			t.Fatalf("hash %s, want %x", got.SHA256, sum)
		}
		for _, r := range got.Found {
			if string(plain[r.Offset:r.Offset+int64(len(r.Raw))]) != string(r.Raw) {
				t.Fatalf("record at %d is not what stands there", r.Offset)
			}
		}
		records, ok := decode(plain)
		if !ok {
			return
		}
		if len(got.Defects) > 0 || got.Records != len(records) {
			t.Fatalf("%d records, defects %v; encoding/json reads %d", got.Records, got.Defects, len(records))
		}
		var expected []string
		for _, raw := range records {
			if wanted(raw, want) || bytes.Contains(raw, []byte("auditcanary")) {
				expected = append(expected, string(raw))
			}
		}
		if !slices.Equal(raws(got), expected) {
			t.Fatalf("found %q, want %q", raws(got), expected)
		}
	})
}

// decode reads a file the slow way. ok is false for what is not JSON, or has a
// defect by our rules: no or more than one "Records", elements that are no
// objects, keys twice in a record (of which encoding/json sees one), deep nesting.
func decode(plain []byte) (records []json.RawMessage, ok bool) {
	if !json.Valid(plain) || len(plain) > MaxRecord {
		return nil, false
	}
	dec := json.NewDecoder(bytes.NewReader(plain))
	if tok, _ := dec.Token(); tok != json.Delim('{') {
		return nil, false
	}
	seen := false
	for dec.More() {
		key, err := dec.Token()
		var v json.RawMessage
		if err != nil || dec.Decode(&v) != nil || tooDeep(v) {
			return nil, false
		}
		if key != "Records" {
			continue
		}
		if seen || v[0] != '[' || json.Unmarshal(v, &records) != nil {
			return nil, false
		}
		seen = true
	}
	for _, r := range records {
		if r[0] != '{' || twice(r) {
			return nil, false
		}
	}
	return records, seen
}

func tooDeep(v []byte) bool {
	return bytes.Count(v, []byte("{"))+bytes.Count(v, []byte("[")) >= MaxDepth && depth(v) > MaxDepth
}

func depth(v []byte) (deepest int) {
	dec := json.NewDecoder(bytes.NewReader(v))
	for now := 0; ; {
		tok, err := dec.Token()
		if err != nil {
			return deepest
		}
		switch tok {
		case json.Delim('{'), json.Delim('['):
			now++
		case json.Delim('}'), json.Delim(']'):
			now--
		}
		deepest = max(deepest, now)
	}
}

// twice says whether a record, or its addendum, has a key twice.
func twice(raw []byte) bool {
	dec := json.NewDecoder(bytes.NewReader(raw))
	if tok, _ := dec.Token(); tok != json.Delim('{') {
		return false
	}
	keys := map[string]bool{}
	for dec.More() {
		tok, err := dec.Token()
		var v json.RawMessage
		if err != nil || dec.Decode(&v) != nil {
			return true
		}
		key := tok.(string)
		if keys[key] || key == "addendum" && twice(v) {
			return true
		}
		keys[key] = true
	}
	return false
}

func wanted(raw []byte, want map[string]bool) bool {
	var r map[string]any
	if json.Unmarshal(raw, &r) != nil {
		return false
	}
	id, _ := r["requestID"].(string)
	addendum, _ := r["addendum"].(map[string]any)
	original, _ := addendum["originalRequestID"].(string)
	return slices.ContainsFunc(slices.Collect(maps.Keys(want)), func(w string) bool { return w == id || w == original })
}
