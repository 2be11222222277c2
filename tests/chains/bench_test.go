package chains

import (
	"context"
	"testing"
	"time"

	"github.com/auditcanary/auditcanary/shared/canary"
	"github.com/auditcanary/auditcanary/shared/trail"
)

// BenchmarkInMemory validates 2,000 log files that cost nothing to fetch.
func BenchmarkInMemory(b *testing.B) {
	key, err := NewKey(Start.AddDate(0, 0, -1), Start.AddDate(0, 0, 30), false)
	if err != nil {
		b.Fatal(err)
	}
	bucket := &Bucket{Bucket: "bench", Objects: map[string]Object{}}
	c := &Chain{Bucket: bucket, Account: "300000000000", Region: Region, Trail: "bench", Home: Home, Key: key, Time: Start, Records: 25}
	var world World
	world.Listed = []*Key{key}
	for range 200 {
		for i := range 10 {
			c.Log(c.Time.Add(time.Duration(5*i+1) * time.Minute))
		}
		c.Digest(Odd{})
	}
	bucket.Now = c.Time.Add(5 * time.Minute)
	a := trail.NewArchive(trail.Config{Name: "bench"}, bucket)
	b.ReportAllocs()
	for b.Loop() {
		got, err := a.Validate(context.Background(), &world, trail.Validation{From: Start, Places: []canary.Target{{Account: c.Account, Region: Region}}}, func(r trail.Result) {
			if len(r.Findings) > 0 {
				b.Fatal(r.Findings[0])
			}
		})
		if err != nil {
			b.Fatal(err)
		}
		b.SetBytes(got.Bytes)
	}
}
