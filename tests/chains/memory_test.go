package chains

import (
	"context"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/auditcanary/auditcanary/shared/canary"
	"github.com/auditcanary/auditcanary/shared/trail"
)

// probe is a bucket that measures what is held when a day is listed.
type probe struct {
	*Bucket
	day  string
	held uint64
}

func (p *probe) List(ctx context.Context, prefix, after string, each func(trail.Object) error) (time.Time, error) {
	if strings.Contains(prefix, "Digest") && strings.HasSuffix(prefix, p.day+"/") {
		p.held = held()
	}
	return p.Bucket.List(ctx, prefix, after, each)
}

// held is the least of some measurements: the reads go on meanwhile, and what they
// use is not collected yet.
func held() uint64 {
	var least uint64
	for range 4 {
		var m runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&m)
		if least == 0 || m.HeapAlloc < least {
			least = m.HeapAlloc
		}
	}
	return least
}

// What a validation holds does not grow with what it has read.
func TestMemoryIsFlat(t *testing.T) {
	key, err := NewKey(Start.AddDate(-1, 0, 0), Start.AddDate(1, 0, 0), false)
	if err != nil {
		t.Fatal(err)
	}
	const perHour = 20
	holds := func(files int) uint64 {
		bucket := &Bucket{Bucket: "bench", Objects: map[string]Object{}}
		c := &Chain{Bucket: bucket, Account: "300000000000", Region: Region, Trail: "bench", Home: Home, Key: key, Time: Start}
		plain := []byte(`{"Records":[]}`)
		body := Pack(plain) // one for all
		for range files / perHour {
			for i := range perHour {
				c.put(c.Time.Add(time.Duration(2*i+1)*time.Minute), body, plain)
			}
			c.Digest(Odd{})
		}
		bucket.Now = c.Time.Add(5 * time.Minute)
		bucket.sort()
		world := World{Listed: []*Key{key}}
		p := &probe{Bucket: bucket, day: c.Time.Format("2006/01/02")}
		idle, logs := held(), 0
		_, err := trail.NewArchive(trail.Config{Name: "bench"}, p).Validate(context.Background(), &world, trail.Validation{
			From: Start, Places: []canary.Target{{Account: c.Account, Region: Region}}, Concurrency: 4,
		}, func(r trail.Result) { logs += r.Counts.Logs })
		if err != nil || logs != files || p.held == 0 {
			t.Fatalf("%d of %d log files, %v; measured %d", logs, files, err, p.held)
		}
		runtime.KeepAlive(c)
		return p.held - min(p.held, idle)
	}
	few, many := holds(30*perHour), holds(330*perHour)
	t.Logf("%d kB after 600 log files, %d kB after 6,600", few>>10, many>>10)
	if many > few+(2<<20) {
		t.Errorf("%d bytes are held after 600 log files, %d after 6,600", few, many)
	}
}
