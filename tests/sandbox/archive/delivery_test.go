package archive_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"

	"github.com/auditcanary/auditcanary/tests/sandbox/archive"
	"github.com/auditcanary/auditcanary/tests/sandbox/cloud"
	"github.com/auditcanary/auditcanary/tests/sandbox/fault"
)

var _ cloud.Sink = (*archive.Delivery)(nil)

var (
	target = archive.Scope{Account: "111122223333", Region: "eu-west-1"}
	other  = archive.Scope{Account: "444455556666", Region: "us-east-1"}
)

// bubbleClock is the clock of a synctest bubble.
type bubbleClock struct{}

func (bubbleClock) Now() time.Time                  { return time.Now() }
func (bubbleClock) Until(t time.Time) time.Duration { return time.Until(t) }

// bucket is a Store in memory, with versions.
type bucket struct {
	mu       sync.Mutex
	delivery *archive.Delivery
	objects  map[string]object
	again    bool // an object may be written again
	fail     func(key string) error
}

type object struct {
	body    []byte
	meta    map[string]string
	at      time.Time
	retain  *fault.Retain
	deleted bool // a marker hides it
	older   []object
}

func (b *bucket) Put(_ context.Context, o archive.Object) (time.Time, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.fail != nil {
		if err := b.fail(o.Key); err != nil {
			return time.Time{}, err
		}
	}
	old, ok := b.objects[o.Key]
	if ok && !b.again {
		return time.Time{}, fmt.Errorf("%s is written twice", o.Key)
	}
	if b.objects == nil {
		b.objects = map[string]object{}
	}
	fresh := object{body: bytes.Clone(o.Body), meta: o.Metadata, at: time.Now(), retain: o.Retain}
	if ok {
		fresh.older = append(old.older, old)
	}
	b.objects[o.Key] = fresh
	return time.Now(), nil
}

func (b *bucket) Delete(_ context.Context, _, key string) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	o := b.objects[key]
	o.deleted = true
	b.objects[key] = o
	return nil
}

// keys of a kind ("CloudTrail", "CloudTrail-Digest") in their order.
func (b *bucket) keys(kind string) []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.DeleteFunc(slices.Sorted(maps.Keys(b.objects)), func(k string) bool {
		return !strings.Contains(k, "/"+kind+"/")
	})
}

func (b *bucket) get(key string) (object, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	o, ok := b.objects[key]
	if !ok {
		return o, fmt.Errorf("no object %s", key)
	}
	return o, nil
}

func unpack(packed []byte) ([]byte, error) {
	z, err := gzip.NewReader(bytes.NewReader(packed))
	if err != nil {
		return nil, err
	}
	return io.ReadAll(z)
}

// arrivals returns when each record (by eventID) can be read, once per time it is there.
func (b *bucket) arrivals(t *testing.T) map[string][]time.Time {
	t.Helper()
	out := map[string][]time.Time{}
	for _, key := range b.keys("CloudTrail") {
		o, err := b.get(key)
		if err != nil {
			t.Fatal(err)
		}
		plain, err := unpack(o.body)
		if err != nil {
			t.Fatalf("%s: %v", key, err)
		}
		var file struct{ Records []struct{ EventID string } }
		if err := json.Unmarshal(plain, &file); err != nil {
			t.Fatalf("%s: %v", key, err)
		}
		for _, r := range file.Records {
			out[r.EventID] = append(out[r.EventID], o.at)
		}
	}
	return out
}

func record(id int) cloud.Record {
	return cloud.Record{"eventID": fmt.Sprint(id), "eventTime": time.Now().UTC().Format(time.RFC3339), "userAgent": "<a&b>"}
}

// bubble runs a test in a synctest bubble with a delivery into a bucket in memory.
func bubble(t *testing.T, c archive.DeliveryConfig, f func(t *testing.T, d *archive.Delivery, b *bucket)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		b, _ := c.Bucket.(*bucket)
		if b == nil {
			b = &bucket{}
		}
		c.Bucket, c.Clock = b, bubbleClock{}
		if c.Trail.Name == "" {
			c.Trail = archive.WorldTrail(target)
		}
		if c.Report == nil {
			c.Report = func(err error) { t.Error(err) }
		}
		d := archive.NewDelivery(c)
		b.delivery = d
		f(t, d, b)
		if err := d.Close(t.Context()); err != nil {
			t.Error(err)
		}
	})
}

func TestEveryRecordArrivesOnceWithinTheDelay(t *testing.T) {
	bubble(t, archive.DeliveryConfig{}, func(t *testing.T, d *archive.Delivery, b *bucket) {
		const n = 20_000
		emitted := map[string]time.Time{}
		for i := range n {
			s := target
			if i%2 == 0 {
				s = other
			}
			d.Emit(s.Account, s.Region, record(i))
			emitted[fmt.Sprint(i)] = time.Now()
			time.Sleep(time.Duration(i%1000) * time.Millisecond)
		}
		time.Sleep(archive.UsualDelay.Max)
		synctest.Wait()
		if p := d.Status().Pending; p != 0 {
			t.Errorf("%d records are still pending", p)
		}
		got := b.arrivals(t)
		if len(got) != n {
			t.Errorf("%d of %d records arrived", len(got), n)
		}
		var sum time.Duration
		for id, at := range got {
			late := at[0].Sub(emitted[id])
			sum += late
			if len(at) != 1 || late < archive.UsualDelay.Min || late > archive.UsualDelay.Max {
				t.Fatalf("record %s: %d times, after %s", id, len(at), late)
			}
		}
		if mean := sum / n; mean < 4*time.Minute+30*time.Second || mean > 5*time.Minute+30*time.Second {
			t.Errorf("mean delay %s, want about 5 minutes", mean)
		}
		files := b.keys("CloudTrail")
		t.Logf("%d records in %d files, mean delay %s", n, len(files), sum/n)
		if len(files) > n/10 {
			t.Errorf("%d files: records do not share them", len(files))
		}
	})
}

func TestFilesLieOnTheOrganisationLayout(t *testing.T) {
	for name, c := range map[string]struct {
		trail archive.Trail
		want  string
	}{
		"organisation": {archive.WorldTrail(), `^AWSLogs/o-exampleorg1/111122223333/CloudTrail/eu-west-1/2000/01/01/111122223333_CloudTrail_eu-west-1_20000101T00\d\dZ_[A-Za-z0-9]{16}\.json\.gz$`},
		"plain, with prefix": {archive.Trail{Name: "t", Account: "111122223333", HomeRegion: "us-east-1", Bucket: "b", Prefix: "some/prefix"},
			`^some/prefix/AWSLogs/111122223333/CloudTrail/eu-west-1/2000/01/01/111122223333_CloudTrail_eu-west-1_20000101T00\d\dZ_[A-Za-z0-9]{16}\.json\.gz$`},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, archive.DeliveryConfig{Trail: c.trail}, func(t *testing.T, d *archive.Delivery, b *bucket) {
				d.Emit(target.Account, target.Region, record(1))
				time.Sleep(10 * time.Minute)
				keys := b.keys("CloudTrail")
				if len(keys) != 1 || !regexp.MustCompile(c.want).MatchString(keys[0]) {
					t.Fatalf("keys %q, want one like %s", keys, c.want)
				}
				o, _ := b.get(keys[0])
				if want := o.at.UTC().Format("20060102T1504Z"); !strings.Contains(keys[0], want) {
					t.Errorf("%s does not name its minute %s", keys[0], want)
				}
				plain, err := unpack(o.body)
				if err != nil || !bytes.HasPrefix(plain, []byte(`{"Records":[{`)) || !bytes.Contains(plain, []byte(`"<a&b>"`)) {
					t.Errorf("content %s, %v", plain, err)
				}
			})
		})
	}
}

func TestPlainTrailTakesItsOwnAccountOnly(t *testing.T) {
	trail := archive.Trail{Name: "t", Account: other.Account, HomeRegion: "us-east-1", Bucket: "b"}
	bubble(t, archive.DeliveryConfig{Trail: trail}, func(t *testing.T, d *archive.Delivery, b *bucket) {
		d.Emit(target.Account, target.Region, record(1))
		d.Emit(other.Account, other.Region, record(2))
		time.Sleep(10 * time.Minute)
		if got := b.arrivals(t); len(got) != 1 || got["2"] == nil {
			t.Errorf("arrived: %v", got)
		}
	})
}

func TestDelayedRecordComesInALaterFile(t *testing.T) {
	bubble(t, archive.DeliveryConfig{}, func(t *testing.T, d *archive.Delivery, b *bucket) {
		start := time.Now()
		d.EmitAfter(target.Account, target.Region, record(1), 70*time.Minute)
		d.Emit(target.Account, target.Region, record(2))
		time.Sleep(3 * time.Hour)
		got := b.arrivals(t)
		if len(got["1"]) != 1 || len(got["2"]) != 1 {
			t.Fatalf("arrived: %v", got)
		}
		if late := got["1"][0].Sub(start); late < 72*time.Minute || late > 79*time.Minute {
			t.Errorf("the delayed record came after %s, want 70 minutes more than usual", late)
		}
		if late := got["2"][0].Sub(start); late > 9*time.Minute {
			t.Errorf("the other record came after %s", late)
		}
	})
}

func TestSameSeedGivesTheSameDelays(t *testing.T) {
	play := func(seed uint64) (times []time.Time) {
		bubble(t, archive.DeliveryConfig{Seed: seed}, func(t *testing.T, d *archive.Delivery, b *bucket) {
			for i := range 20 {
				d.Emit(target.Account, target.Region, record(i))
				time.Sleep(10 * time.Minute)
			}
			got := b.arrivals(t)
			for i := range 20 {
				times = append(times, got[fmt.Sprint(i)]...)
			}
		})
		return times
	}
	first, again, another := play(1), play(1), play(2)
	if !slices.Equal(first, again) {
		t.Errorf("seed 1 twice: %v and %v", first, again)
	}
	if slices.Equal(first, another) {
		t.Error("seeds 1 and 2 give the same delays")
	}
}

func TestFileFaults(t *testing.T) {
	for name, c := range map[string]struct {
		do    string
		check func(t *testing.T, b *bucket, start time.Time)
	}{
		"none": {"", func(t *testing.T, b *bucket, _ time.Time) {
			if got := b.arrivals(t); len(got["1"]) != 1 {
				t.Errorf("arrived: %v", got)
			}
		}},
		"drop": {"{drop: true}", func(t *testing.T, b *bucket, _ time.Time) {
			if got := b.arrivals(t); len(got["1"]) != 0 || len(got["2"]) != 1 {
				t.Errorf("arrived: %v", got)
			}
		}},
		"delay": {"{delay: 70m}", func(t *testing.T, b *bucket, start time.Time) {
			got := b.arrivals(t)
			if len(got["1"]) != 1 || got["1"][0].Sub(start) < 72*time.Minute {
				t.Errorf("arrived: %v", got)
			}
		}},
		"duplicate": {"{duplicate: 2}", func(t *testing.T, b *bucket, _ time.Time) {
			if got := b.arrivals(t); len(got["1"]) != 3 || len(got["2"]) != 1 {
				t.Errorf("arrived: %v", got)
			}
		}},
		"truncate": {"{truncate: 20}", broken},
		"corrupt":  {"{corrupt: true}", broken},
		"replace": {"{replace: true}", func(t *testing.T, b *bucket, _ time.Time) {
			// There is no file before the first: an empty one stands in its place.
			if got := b.arrivals(t); len(got["1"]) != 0 || len(got["2"]) != 1 {
				t.Errorf("arrived: %v", got)
			}
		}},
	} {
		t.Run(name, func(t *testing.T) {
			var faults *fault.Set
			if c.do != "" {
				var err error
				faults, err = fault.Parse("test", []byte(`
faults:
  - name: test
    at: file
    match: 'it.account == "`+target.Account+`" && it.region == "eu-west-1" && it.n == 1 && it.key.startsWith("AWSLogs/o-exampleorg1/")'
    do: `+c.do+"\n"))
				if err != nil {
					t.Fatal(err)
				}
			}
			bubble(t, archive.DeliveryConfig{Faults: faults}, func(t *testing.T, d *archive.Delivery, b *bucket) {
				start := time.Now()
				d.Emit(target.Account, target.Region, record(1))
				time.Sleep(20 * time.Minute)
				d.Emit(target.Account, target.Region, record(2))
				time.Sleep(2*time.Hour + 10*time.Minute)
				c.check(t, b, start)
			})
		})
	}
}

func TestReorderedFilesHoldTheSameRecordsTheOtherWayRound(t *testing.T) {
	contents := func(do string, turnBack bool) (out []string) {
		var faults *fault.Set
		if do != "" {
			var err error
			if faults, err = fault.Parse("test", []byte("faults:\n  - {name: test, at: file, match: 'true', do: "+do+"}\n")); err != nil {
				t.Fatal(err)
			}
		}
		bubble(t, archive.DeliveryConfig{Faults: faults, Seed: 7}, func(t *testing.T, d *archive.Delivery, b *bucket) {
			for n := range 6 {
				d.Emit(target.Account, target.Region, record(n))
			}
			time.Sleep(30 * time.Minute)
			for _, key := range b.keys("CloudTrail") {
				o, _ := b.get(key)
				plain, err := unpack(o.body)
				if err != nil {
					t.Fatal(err)
				}
				var file struct{ Records []json.RawMessage }
				if err := json.Unmarshal(plain, &file); err != nil {
					t.Fatal(err)
				}
				if turnBack {
					slices.Reverse(file.Records)
				}
				for _, r := range file.Records {
					out = append(out, string(r))
				}
			}
		})
		return out
	}
	straight, turned := contents("", false), contents("{reorder: true}", false)
	if len(straight) != 6 || slices.Equal(straight, turned) {
		t.Errorf("%d records, in the order they came in", len(turned))
	}
	if back := contents("{reorder: true}", true); !slices.Equal(straight, back) {
		t.Errorf("turned back: got %v, want %v", back, straight)
	}
}

// broken: one file cannot be read, and its digest has the hash of what was meant.
func broken(t *testing.T, b *bucket, _ time.Time) {
	t.Helper()
	bad := 0
	for _, key := range b.keys("CloudTrail") {
		o, _ := b.get(key)
		if _, err := unpack(o.body); err != nil {
			bad++
		}
	}
	if bad != 1 {
		t.Errorf("%d broken files, want 1", bad)
	}
	if err := b.verify(t, target); err == nil || !strings.Contains(err.Error(), "log file") {
		t.Errorf("the digests do not show it: %v", err)
	}
}

func TestFailedDeliveryIsTriedAgain(t *testing.T) {
	var mu sync.Mutex
	var reported []error
	down := true
	c := archive.DeliveryConfig{
		Bucket: &bucket{fail: func(string) error {
			mu.Lock()
			defer mu.Unlock()
			if down {
				return errors.New("bucket is away")
			}
			return nil
		}},
		Report: func(err error) {
			mu.Lock()
			defer mu.Unlock()
			reported = append(reported, err)
		},
	}
	bubble(t, c, func(t *testing.T, d *archive.Delivery, b *bucket) {
		d.Emit(target.Account, target.Region, record(1))
		time.Sleep(90 * time.Minute) // a file and a digest fall due
		if err := d.Flush(t.Context()); err == nil {
			t.Error("flush into a bucket that is away: no error")
		}
		mu.Lock()
		down = false
		if len(reported) == 0 {
			t.Error("nothing was reported")
		}
		mu.Unlock()
		time.Sleep(2 * time.Hour)
		if got := b.arrivals(t); len(got["1"]) != 1 {
			t.Errorf("arrived: %v", got)
		}
		if err := b.verify(t, target); err != nil {
			t.Error(err)
		}
	})
}

func TestRecordAfterCloseIsReported(t *testing.T) {
	var reported []error
	synctest.Test(t, func(t *testing.T) {
		d := archive.NewDelivery(archive.DeliveryConfig{Trail: archive.WorldTrail(), Clock: bubbleClock{}, Bucket: &bucket{},
			Report: func(err error) { reported = append(reported, err) }})
		if err := d.Close(t.Context()); err != nil {
			t.Error(err)
		}
		d.Emit(target.Account, target.Region, record(1))
	})
	if len(reported) != 1 {
		t.Errorf("reported: %v", reported)
	}
}

func TestCloseDeliversWhatIsPending(t *testing.T) {
	b := &bucket{}
	bubble(t, archive.DeliveryConfig{Bucket: b}, func(_ *testing.T, d *archive.Delivery, _ *bucket) {
		d.Emit(target.Account, target.Region, record(1))
		d.EmitAfter(target.Account, target.Region, record(2), 70*time.Minute)
	})
	if got := b.arrivals(t); len(got) != 2 {
		t.Errorf("arrived: %v", got)
	}
}

func TestDeliveredFilesAreLockedAndCarryTheSandboxTime(t *testing.T) {
	d := archive.NewDelivery(archive.DeliveryConfig{
		Trail: archive.WorldTrail(target), Clock: clock, Bucket: a, Report: func(err error) { t.Error(err) },
	})
	start := clock.Now()
	for i := range 50 {
		d.Emit(target.Account, target.Region, record(i))
	}
	for d.Status().Pending > 0 || d.Status().LatestDigest.IsZero() {
		clock.advance(10 * time.Second)
		time.Sleep(time.Millisecond) // the delivery looks at the clock so often
	}
	if err := d.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	c := client("us-east-1")
	list, err := c.ListObjectsV2(t.Context(), &s3.ListObjectsV2Input{Bucket: aws.String(cloud.ArchiveBucket), Prefix: aws.String("AWSLogs/")})
	if err != nil {
		t.Fatal(err)
	}
	kinds := map[bool]int{}
	for _, o := range list.Contents {
		digest := strings.Contains(*o.Key, "/CloudTrail-Digest/")
		kinds[digest]++
		// Later than the delay only by what the test's clock runs on during a write.
		if after := o.LastModified.Sub(start); !digest && after < archive.UsualDelay.Min || digest && after < time.Hour || after > 24*time.Hour {
			t.Errorf("%s is there after %s", *o.Key, after)
		}
		head, err := c.HeadObject(t.Context(), &s3.HeadObjectInput{Bucket: aws.String(cloud.ArchiveBucket), Key: o.Key})
		if err != nil {
			t.Fatal(err)
		}
		if head.ObjectLockMode != types.ObjectLockModeCompliance || head.ObjectLockRetainUntilDate.Before(o.LastModified.AddDate(0, 0, 364)) {
			t.Errorf("%s: %s until %v", *o.Key, head.ObjectLockMode, head.ObjectLockRetainUntilDate)
		}
		if digest && (head.Metadata["signature"] == "" || head.Metadata["signature-algorithm"] != "SHA256withRSA") {
			t.Errorf("%s: metadata %v", *o.Key, head.Metadata)
		}
	}
	if kinds[false] == 0 || kinds[true] == 0 {
		t.Errorf("%d log files, %d digests", kinds[false], kinds[true])
	}
}
