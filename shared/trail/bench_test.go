package trail

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/klauspost/compress/gzip"
)

// archiveFile is a large log file made of the real records in testdata, each
// with request, event and access key ids of its own, as real files have.
type archiveFile struct {
	gz    []byte
	plain int64
	n     int
	ids   []string // every record's request id
}

// makeFile repeats the real records until the file has the size wanted, plain
// or compressed, whichever is not zero. The seed decides the ids.
func makeFile(tb testing.TB, seed uint64, plain int64, compressed int) archiveFile {
	tb.Helper()
	templates := realRecords(tb)
	rnd := rand.New(rand.NewPCG(27017, seed))
	var out bytes.Buffer
	zw, err := gzip.NewWriterLevel(&out, gzip.DefaultCompression)
	if err != nil {
		tb.Fatal(err)
	}
	w := bufio.NewWriterSize(zw, 1<<20)
	f := archiveFile{}
	write := func(s []byte) { n, _ := w.Write(s); f.plain += int64(n) }
	write([]byte(`{"Records":[`))
	hexid := func(n int) string {
		b := make([]byte, n)
		for i := range b {
			b[i] = "0123456789abcdef"[rnd.IntN(16)]
		}
		return string(b)
	}
	for f.plain < plain || out.Len() < compressed {
		if f.n > 0 {
			write([]byte(","))
		}
		t := templates[rnd.IntN(len(templates))]
		id := hexid(8) + "-" + hexid(4) + "-4" + hexid(3) + "-" + hexid(4) + "-" + hexid(12)
		f.ids = append(f.ids, id)
		rec := bytes.Replace(t.raw, []byte(t.requestID), []byte(id), -1)
		rec = bytes.Replace(rec, []byte(t.eventID), []byte(hexid(8)+"-"+hexid(4)+"-4"+hexid(3)+"-"+hexid(4)+"-"+hexid(12)), -1)
		rec = bytes.Replace(rec, []byte(t.key), []byte("ASIA"+hexid(16)), 1)
		write(rec)
		f.n++
	}
	write([]byte(`]}`))
	if err := w.Flush(); err != nil {
		tb.Fatal(err)
	}
	if err := zw.Close(); err != nil {
		tb.Fatal(err)
	}
	f.gz = out.Bytes()
	return f
}

type template struct {
	raw                     []byte
	requestID, eventID, key string
}

// realRecords are the records of the invictus files that have all three ids.
func realRecords(tb testing.TB) []template {
	tb.Helper()
	var all []template
	for _, name := range realFiles(tb, "invictus") {
		var doc struct{ Records []json.RawMessage }
		if err := json.Unmarshal(plainOf(tb, name), &doc); err != nil {
			tb.Fatal(err)
		}
		for _, raw := range doc.Records {
			var r struct {
				RequestID, EventID string
				UserIdentity       struct{ AccessKeyID string }
			}
			if err := json.Unmarshal(raw, &r); err != nil {
				tb.Fatal(err)
			}
			if r.RequestID != "" && r.EventID != "" && r.UserIdentity.AccessKeyID != "" {
				all = append(all, template{raw, r.RequestID, r.EventID, r.UserIdentity.AccessKeyID})
			}
		}
	}
	return all
}

var (
	benchOnce sync.Once
	benchFile archiveFile
)

// bigFile is at least 200 MB uncompressed, made once for all benchmarks.
func bigFile(b *testing.B) archiveFile {
	benchOnce.Do(func() { benchFile = makeFile(b, 1243, 200<<20, 0) })
	return benchFile
}

// cpu is the processor time of this process so far, user and system.
func cpu(tb testing.TB) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		tb.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// measure runs f and returns wall and processor time.
func measure(tb testing.TB, f func()) (wall, busy time.Duration) {
	runtime.GC()
	t, c := time.Now(), cpu(tb)
	f()
	return time.Since(t), cpu(tb) - c
}

func inflateAlone(tb testing.TB, zr *gzip.Reader, buf []byte, f archiveFile) {
	if err := zr.Reset(bytes.NewReader(f.gz)); err != nil {
		tb.Fatal(err)
	}
	var n int64
	for {
		m, err := zr.Read(buf)
		if n += int64(m); err == io.EOF {
			break
		} else if err != nil {
			tb.Fatal(err)
		}
	}
	if n != f.plain {
		tb.Fatalf("inflated %d bytes, want %d", n, f.plain)
	}
}

// BenchmarkScan compares a scan (inflate, SHA-256, find) with inflating alone,
// turn by turn in the same run. "vs-inflate" is the ratio of throughputs by wall
// clock, "vs-inflate-cpu" by processor time: the scan uses a second processor,
// which the first ratio hides.
func BenchmarkScan(b *testing.B) {
	for _, c := range []struct {
		canaries int
		hash     bool
	}{{1, false}, {1000, false}, {1, true}, {1000, true}} {
		b.Run(fmt.Sprintf("canaries=%d/sha256=%t", c.canaries, c.hash), func(b *testing.B) {
			canaries, hash := c.canaries, c.hash
			f := bigFile(b)
			want := map[string]bool{}
			for i := range canaries {
				want[f.ids[i*len(f.ids)/canaries]] = true
			}
			s := NewScanner()
			var zr gzip.Reader
			buf := make([]byte, 256<<10)
			var wall, busy, wall0, busy0 time.Duration
			var allocs uint64
			var before, after runtime.MemStats
			b.ResetTimer()
			for range b.N {
				w0, c0 := measure(b, func() { inflateAlone(b, &zr, buf, f) })
				runtime.ReadMemStats(&before)
				w, c := measure(b, func() {
					got, err := s.scan(context.Background(), bytes.NewReader(f.gz), want, hash)
					if err != nil || len(got.Defects) > 0 || got.Records != f.n || len(got.Found) != len(want) {
						b.Fatalf("scan: %v, %v, %d of %d records, %d found", err, got.Defects, got.Records, f.n, len(got.Found))
					}
				})
				runtime.ReadMemStats(&after)
				wall, busy, wall0, busy0 = wall+w, busy+c, wall0+w0, busy0+c0
				allocs += after.Mallocs - before.Mallocs
			}
			mb := float64(f.plain) * float64(b.N) / 1e6
			b.ReportMetric(0, "ns/op")
			b.ReportMetric(mb/wall.Seconds(), "MB/s")
			b.ReportMetric(mb/wall0.Seconds(), "inflate-MB/s")
			b.ReportMetric(wall0.Seconds()/wall.Seconds(), "vs-inflate")
			b.ReportMetric(busy0.Seconds()/busy.Seconds(), "vs-inflate-cpu")
			b.ReportMetric(float64(allocs)/float64(b.N), "allocs/file")
		})
	}
}

// BenchmarkZcatJq is what people do by hand: zcat | jq with a select on the
// request id. Skipped where one of them is missing.
func BenchmarkZcatJq(b *testing.B) {
	for _, tool := range []string{"zcat", "jq"} {
		if _, err := exec.LookPath(tool); err != nil {
			b.Skipf("%s is not installed", tool)
		}
	}
	f := bigFile(b)
	name := filepath.Join(b.TempDir(), "log.json.gz")
	if err := os.WriteFile(name, f.gz, 0o600); err != nil {
		b.Fatal(err)
	}
	s := NewScanner()
	var jq, own time.Duration
	b.ResetTimer()
	for range b.N {
		t := time.Now()
		cmd := exec.Command("sh", "-c", `zcat "$1" | jq -c --arg id "$2" '.Records[] | select(.requestID == $id)'`, "sh", name, f.ids[f.n/2])
		out, err := cmd.Output()
		if err != nil || bytes.Count(out, []byte("\n")) != 1 {
			b.Fatalf("zcat | jq: %v, %d lines", err, bytes.Count(out, []byte("\n")))
		}
		jq += time.Since(t)
		t = time.Now()
		if _, err := s.Scan(context.Background(), bytes.NewReader(f.gz), map[string]bool{f.ids[f.n/2]: true}); err != nil {
			b.Fatal(err)
		}
		own += time.Since(t)
	}
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(float64(f.plain)*float64(b.N)/1e6/jq.Seconds(), "zcat-jq-MB/s")
	b.ReportMetric(jq.Seconds()/own.Seconds(), "times-zcat-jq")
}

// BenchmarkPoll is a whole look at 20 files of the size CloudTrail delivers, with
// the canaries spread over all of them: what a SHA-256 of each file that holds
// one costs shows between 1 and 1,000.
func BenchmarkPoll(b *testing.B) {
	s := newStore(noon)
	var all []string
	var plain int64
	for n := range 20 {
		f := makeFile(b, uint64(n), 2500<<10, 0)
		s.put(logKey("", region, noon, n), f.gz)
		all = append(all, f.ids...)
		plain += f.plain
	}
	for _, canaries := range []int{0, 1, 1000} {
		b.Run(fmt.Sprintf("canaries=%d", canaries), func(b *testing.B) {
			want := map[string]bool{}
			for i := range canaries {
				want[all[i*len(all)/canaries]] = true
			}
			a := NewArchive(Config{}, s)
			var wall, busy time.Duration
			gets, lists := 0, 0
			for range b.N {
				w, c := measure(b, func() {
					f, err := a.Poll(context.Background(), Query{want, here, noon}, &Memory{})
					if err != nil || len(f.Sightings) != canaries || len(f.Problems) > 0 || f.Bytes != plain {
						b.Fatalf("%d sightings, %v, %v", len(f.Sightings), f.Problems, err)
					}
					gets, lists = gets+f.Gets, lists+f.Lists
				})
				wall, busy = wall+w, busy+c
			}
			mb := float64(plain) * float64(b.N) / 1e6
			b.ReportMetric(0, "ns/op")
			b.ReportMetric(mb/wall.Seconds(), "MB/s")
			b.ReportMetric(mb/busy.Seconds(), "MB/cpu-s")
			b.ReportMetric(float64(gets)/float64(b.N)/20, "gets/file")
			b.ReportMetric(float64(gets+lists)/float64(b.N)/float64(max(canaries, 1)), "requests/canary")
		})
	}
}

// BenchmarkPeakMemory is a look at one file of 50 MB compressed, CloudTrail's
// own limit, read from disk.
func BenchmarkPeakMemory(b *testing.B) {
	s := &diskStore{fakeStore: newStore(noon), file: filepath.Join(b.TempDir(), "log.json.gz")}
	id := func() string {
		f := makeFile(b, 50, 0, 50_000_000)
		s.put(logKey("", region, noon, 1), make([]byte, 0))
		if err := os.WriteFile(s.file, f.gz, 0o600); err != nil {
			b.Fatal(err)
		}
		s.size, s.plain = int64(len(f.gz)), f.plain
		return f.ids[f.n/2]
	}()
	a := NewArchive(Config{}, s)
	var most uint64
	b.ResetTimer()
	for range b.N {
		most = max(most, peak(func() {
			f, err := a.Poll(context.Background(), Query{map[string]bool{id: true}, here, noon}, &Memory{})
			if err != nil || len(f.Sightings) != 1 || f.Bytes != s.plain || f.Gets != 1 {
				b.Fatalf("%d sightings, %v, %v", len(f.Sightings), f.Problems, err)
			}
		}))
	}
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(float64(s.size)/1e6, "MB-gz")
	b.ReportMetric(float64(s.plain)/1e6, "MB-plain")
	b.ReportMetric(float64(most)/1e6, "MB-above-idle")
}

// diskStore serves every object from one file.
type diskStore struct {
	*fakeStore
	file        string
	size, plain int64
}

func (s *diskStore) List(ctx context.Context, prefix, startAfter string, each func(Object) error) (time.Time, error) {
	return s.fakeStore.List(ctx, prefix, startAfter, func(o Object) error { o.Size = s.size; return each(o) })
}

func (s *diskStore) Open(context.Context, string) (Opened, error) {
	f, err := os.Open(s.file)
	return Opened{Body: f, VersionID: "v1", LastModified: noon}, err
}

// peak is how far the memory this process holds rises above idle while f runs.
func peak(f func()) uint64 {
	sample := []metrics.Sample{{Name: "/memory/classes/total:bytes"}, {Name: "/memory/classes/heap/released:bytes"}}
	held := func() uint64 {
		metrics.Read(sample)
		return sample[0].Value.Uint64() - sample[1].Value.Uint64()
	}
	debug.FreeOSMemory()
	idle := held()
	most, stop, done := idle, make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		for {
			most = max(most, held())
			select {
			case <-stop:
				return
			case <-time.After(time.Millisecond):
			}
		}
	}()
	f()
	close(stop)
	<-done
	return most - idle
}
