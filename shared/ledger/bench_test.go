//go:build unix

package ledger

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// BenchmarkAppend says what one append costs a writer that stays, and one that is
// new each time, as a function is, in a log of 100,000 leaves.
func BenchmarkAppend(b *testing.B) {
	signer, verifier := testKeys(b)
	full := newMemory()
	mustAppend(b, mustOpen(b, full, signer, verifier), leavesFrom(0, 100_000)...)
	for _, writer := range []string{"staying", "new"} {
		for _, n := range []int{1, 50, 1000} {
			b.Run(fmt.Sprintf("writer=%s/leaves=%d", writer, n), func(b *testing.B) {
				m := full.clone()
				l := mustOpen(b, m, signer, verifier)
				mustAppend(b, l, []byte("warm"))
				batch := leavesFrom(0, n)
				puts, gets, bytes := m.puts, m.gets, m.bytes
				b.ReportAllocs()
				for b.Loop() {
					if writer == "new" {
						l = mustOpen(b, m, signer, verifier)
					}
					mustAppend(b, l, batch...)
				}
				per := func(n int64) float64 { return float64(n) / float64(b.N) }
				b.ReportMetric(per(int64(m.puts-puts)), "writes/batch")
				b.ReportMetric(per(int64(m.gets-gets)), "reads/batch")
				b.ReportMetric(per(m.bytes-bytes), "B-written/batch")
			})
		}
	}
}

// BenchmarkAppendDir is one append to a directory, synced to the disk.
func BenchmarkAppendDir(b *testing.B) {
	signer, verifier := testKeys(b)
	d, err := NewDir(b.TempDir())
	if err != nil {
		b.Fatal(err)
	}
	l := mustOpen(b, d, signer, verifier)
	batch := leavesFrom(0, 50)
	for b.Loop() {
		mustAppend(b, l, batch...)
	}
}

// BenchmarkVerify1M verifies a log of a million leaves of about 350 bytes in a
// directory, and says how that compares with SHA-256 alone over the same bytes.
func BenchmarkVerify1M(b *testing.B) {
	const leaves, batch = 1_000_000, 65_536
	signer, verifier := testKeys(b)
	d, err := NewDir(b.TempDir())
	if err != nil {
		b.Fatal(err)
	}
	l := mustOpen(b, d, signer, verifier)
	pad := strings.Repeat(`"field":"value",`, 20)
	began := time.Now()
	for done := 0; done < leaves; {
		var data [][]byte
		for i := range min(batch, leaves-done) {
			data = append(data, []byte(`{"i":`+strconv.Itoa(done+i)+`,`+pad+`}`))
		}
		mustAppend(b, l, data...)
		done += len(data)
	}
	appended := time.Since(began)
	var read int64
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	cpu := cpuSeconds(b)
	for b.Loop() {
		r, err := Verify(b.Context(), d, verifier, origin, nil)
		if err != nil || r.Size != leaves {
			b.Fatal(r, err)
		}
		read = r.Bytes
	}
	cpu = (cpuSeconds(b) - cpu) / float64(b.N)
	runtime.ReadMemStats(&after)
	perVerify := b.Elapsed().Seconds() / float64(b.N)

	// SHA-256 alone, over as many bytes in memory. What is compared is processor
	// time, which other work on the machine does not distort.
	chunk := bytes.Repeat([]byte("0123456789abcdef"), 1<<16)
	alone := cpuSeconds(b)
	h := sha256.New()
	for n := int64(0); n < read; n += int64(len(chunk)) {
		h.Write(chunk)
	}
	alone = cpuSeconds(b) - alone

	b.ReportMetric(float64(leaves)/appended.Seconds(), "leaves-appended/s")
	b.ReportMetric(float64(leaves)/perVerify, "leaves/s")
	b.ReportMetric(float64(read)/perVerify/1e6, "MB/s")
	b.ReportMetric(float64(read)/cpu/1e6, "MB/cpu-s")
	b.ReportMetric(float64(read)/alone/1e6, "sha256-MB/cpu-s")
	b.ReportMetric(cpu/alone, "x-sha256-alone")
	b.ReportMetric(float64(after.TotalAlloc-before.TotalAlloc)/float64(b.N)/1e6, "MB-allocated")
	b.ReportMetric(float64(after.Sys)/1e6, "MB-of-process")
}

// cpuSeconds is the processor time this process has used.
func cpuSeconds(b *testing.B) float64 {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return float64(u.Utime.Nano()+u.Stime.Nano()) / 1e9
}
