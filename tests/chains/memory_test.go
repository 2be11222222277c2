package chains

import (
	"context"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"testing"
	"time"

	"github.com/auditcanary/auditcanary/shared/canary"
	"github.com/auditcanary/auditcanary/shared/trail"
)

// What a validation holds does not grow with what it reads.
func TestMemoryIsFlat(t *testing.T) {
	key, err := NewKey(Start.AddDate(-1, 0, 0), Start.AddDate(1, 0, 0), false)
	if err != nil {
		t.Fatal(err)
	}
	peak := func(files int) uint64 {
		const perHour = 20
		bucket := &Bucket{Bucket: "bench", Objects: map[string]Object{}}
		c := &Chain{Bucket: bucket, Account: "300000000000", Region: Region, Trail: "bench", Home: Home, Key: key, Time: Start}
		body := Pack([]byte(`{"Records":[]}`))
		for range files / perHour {
			for i := range perHour {
				at := c.Time.Add(time.Duration(2*i+1) * time.Minute)
				c.put(at, body, []byte(`{"Records":[]}`)) // one body for all
			}
			c.Digest(Odd{})
		}
		bucket.Now = c.Time.Add(5 * time.Minute)
		bucket.sort()
		world := World{Listed: []*Key{key}}
		defer debug.SetGCPercent(debug.SetGCPercent(10))
		runtime.GC()
		idle := heap()
		done, sampled := make(chan struct{}), make(chan uint64)
		go func() {
			var most uint64
			for {
				most = max(most, heap())
				select {
				case <-done:
					sampled <- most
					return
				case <-time.After(time.Millisecond):
				}
			}
		}()
		logs := 0
		_, err := trail.NewArchive(trail.Config{Name: "bench"}, bucket).Validate(context.Background(), &world, trail.Validation{
			From: Start, Places: []canary.Target{{Account: c.Account, Region: Region}}, Concurrency: 8,
		}, func(r trail.Result) { logs += r.Counts.Logs })
		close(done)
		if err != nil || logs != files {
			t.Fatalf("%d of %d log files, %v", logs, files, err)
		}
		most := <-sampled
		runtime.KeepAlive(bucket)
		return most - min(most, idle)
	}
	peak(200) // pools fill
	few, many := peak(400), peak(8000)
	t.Logf("%d kB for 400 log files, %d kB for 8,000", few>>10, many>>10)
	if many > few+few/2+(1<<20) {
		t.Errorf("%d bytes for 400 log files, %d for 8,000", few, many)
	}
}

func heap() uint64 {
	s := []metrics.Sample{{Name: "/memory/classes/heap/objects:bytes"}}
	metrics.Read(s)
	return s[0].Value.Uint64()
}
