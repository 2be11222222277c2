//go:build unix

package packet

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"runtime/metrics"
	"strconv"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/auditcanary/auditcanary/shared/ledger"
)

// heapPeak samples what the heap holds until it is stopped, with garbage, of which there
// is more where the processors are busy with other things.
func heapPeak() (stop func() (peak uint64)) {
	runtime.GC()
	done := make(chan struct{})
	var peak uint64
	var wg sync.WaitGroup
	wg.Go(func() {
		sample := []metrics.Sample{{Name: "/memory/classes/heap/objects:bytes"}}
		for {
			metrics.Read(sample)
			peak = max(peak, sample[0].Value.Uint64())
			select {
			case <-done:
				return
			case <-time.After(5 * time.Millisecond):
			}
		}
	})
	return func() uint64 { close(done); wg.Wait(); return peak }
}

// weighed is a scratch that weighs the heap when it is used: nothing is allocated
// meanwhile, so that what is left by a garbage collection is what is in use.
type weighed struct {
	*os.File
	base, most uint64
	last       time.Time
}

func newWeighed(b *testing.B) *weighed {
	f, err := os.Create(filepath.Join(b.TempDir(), "scratch"))
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = f.Close() })
	return &weighed{File: f, base: inUse(), last: time.Now()}
}

func inUse() uint64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

func (w *weighed) weigh() {
	if time.Since(w.last) > 100*time.Millisecond {
		w.most = max(w.most, inUse())
		w.last = time.Now()
	}
}

func (w *weighed) Write(p []byte) (int, error) { w.weigh(); return w.File.Write(p) }

func (w *weighed) ReadAt(p []byte, at int64) (int, error) { w.weigh(); return w.File.ReadAt(p, at) }

func (w *weighed) empty(b *testing.B) *weighed {
	if _, err := w.Seek(0, io.SeekStart); err != nil {
		b.Fatal(err)
	}
	return w
}

// size is how much was put aside.
func (w *weighed) size() int64 { n, _ := w.Seek(0, io.SeekCurrent); return n }

// used is what was in use at most, beyond what was before.
func (w *weighed) used() uint64 { return w.most - min(w.base, w.most) }

// BenchmarkPacket builds and verifies packets of ledgers of two sizes, so that one
// sees what grows with the canaries and what does not: at last, what the heap has in use
// with the larger one, as a multiple of the smaller one's. PACKET_CANARIES is a third size.
func BenchmarkPacket(b *testing.B) {
	sizes := []int{10_000, 100_000}
	if n, err := strconv.Atoi(os.Getenv("PACKET_CANARIES")); err == nil {
		sizes = append(sizes, n)
	}
	lives := map[string][]float64{}
	for _, n := range sizes {
		b.Run(fmt.Sprintf("canaries=%d", n), func(b *testing.B) { benchmarkPacket(b, n, lives) })
	}
	for i := 1; i < len(sizes); i++ {
		b.Run(fmt.Sprintf("canaries=%d/%d", sizes[i], sizes[0]), func(b *testing.B) {
			for b.Loop() {
			}
			b.ReportMetric(0, "ns/op") // there is nothing to it
			for of, live := range lives {
				if len(live) > i {
					b.ReportMetric(live[i]/live[0], of+"-in-use-ratio")
				}
			}
		})
	}
}

func benchmarkPacket(b *testing.B, n int, lives map[string][]float64) {
	dir := b.TempDir()
	store, err := ledger.NewDir(dir)
	if err != nil {
		b.Fatal(err)
	}
	book := newBook(b, store)
	book.rings = true
	for range n / 10_000 {
		book.addRun(b, 10_000, true, testScenario, otherScenario)
	}
	o := book.options(b)
	file := filepath.Join(b.TempDir(), "packet.zip")
	var size, leaves int64
	b.Run("build", func(b *testing.B) {
		aside, stop, used := newWeighed(b), heapPeak(), cpu(b)
		for b.Loop() {
			f, err := os.Create(file)
			if err != nil {
				b.Fatal(err)
			}
			w := bufio.NewWriterSize(f, 1<<20)
			o.Scratch = aside.empty(b)
			m, err := Build(b.Context(), w, book.log, o)
			if err != nil {
				b.Fatal(err)
			}
			if err := w.Flush(); err != nil {
				b.Fatal(err)
			}
			size, _ = f.Seek(0, io.SeekCurrent)
			leaves = m.Slice.Leaves
			_ = f.Close()
		}
		lives["build"] = append(lives["build"], float64(aside.used()))
		report(b, aside, stop(), used, size, leaves)
	})
	b.Run("verify", func(b *testing.B) {
		f, err := os.Open(file)
		if err != nil {
			b.Fatal(err)
		}
		defer f.Close()
		aside, stop, used := newWeighed(b), heapPeak(), cpu(b)
		for b.Loop() {
			r, err := Verify(b.Context(), f, size, Trust{Keys: []string{book.vkey}}, VerifyOptions{Scratch: aside.empty(b)})
			if err != nil || r.Err() != nil {
				b.Fatal(err, r.Err())
			}
		}
		lives["verify"] = append(lives["verify"], float64(aside.used()))
		report(b, aside, stop(), used, size, leaves)
	})
}

// cpu is the processor time this process has used, in seconds; other work on the
// machine does not distort it.
func cpu(b *testing.B) float64 {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return float64(u.Utime.Nano()+u.Stime.Nano()) / 1e9
}

func report(b *testing.B, aside *weighed, peak uint64, used float64, size, leaves int64) {
	used = (cpu(b) - used) / float64(b.N)
	b.ReportMetric(float64(peak)/1e6, "MB-heap-peak")
	b.ReportMetric(float64(aside.used())/1e6, "MB-heap-in-use")
	b.ReportMetric(float64(size)/1e6, "MB-packet")
	b.ReportMetric(float64(aside.size())/1e6, "MB-scratch")
	b.ReportMetric(used, "cpu-s")
	b.ReportMetric(float64(leaves)/used, "leaves/cpu-s")
}
