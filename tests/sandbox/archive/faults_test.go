package archive_test

import (
	"bytes"
	"regexp"
	"strings"
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

func faultSet(t *testing.T, faults string) *fault.Set {
	t.Helper()
	set, err := fault.Parse("test", []byte("faults:\n"+faults))
	if err != nil {
		t.Fatal(err)
	}
	return set
}

// three hours of one place, with a record in the first, under a fault; then check.
func threeHours(t *testing.T, faults string, check func(t *testing.T, b *bucket, start time.Time)) {
	t.Helper()
	set := faultSet(t, faults)
	bubble(t, archive.DeliveryConfig{Faults: set, Bucket: &bucket{again: true}}, func(t *testing.T, d *archive.Delivery, b *bucket) {
		start := time.Now()
		d.Emit(target.Account, target.Region, record(1))
		time.Sleep(20 * time.Minute)
		d.Emit(target.Account, target.Region, record(2))
		time.Sleep(3*time.Hour + 30*time.Minute)
		synctest.Wait()
		check(t, b, start)
		for _, st := range set.Status() {
			if st.Fired == 0 {
				t.Errorf("fault %q never struck", st.Name)
			}
		}
	})
}

func TestALayoutWithoutOrganizationMovesTheFileOnly(t *testing.T) {
	threeHours(t, "  - {name: plain, at: file, match: it.n == 1, do: {layout: without-organization}}\n", func(t *testing.T, b *bucket, _ time.Time) {
		keys := b.keys("CloudTrail")
		if len(keys) != 2 || !strings.HasPrefix(keys[0], "AWSLogs/111122223333/CloudTrail/eu-west-1/") || !strings.HasPrefix(keys[1], "AWSLogs/o-exampleorg1/111122223333/") {
			t.Errorf("keys %q", keys)
		}
		if err := b.verify(t, target); err != nil { // the digests name it where it lies
			t.Error(err)
		}
	})
}

func TestDigestFaults(t *testing.T) {
	for _, tt := range []struct {
		do      string
		digests int
		broken  string // what verifying the chain says, a pattern; "" = it is sound
	}{
		{"{drop: true}", 2, "does not follow"},
		{"{delay: 90m}", 3, ""},
		{"{truncate: 30}", 3, "EOF"},
		{"{corrupt: true}", 3, "checksum|corrupt input"}, // which of them is for the bytes to say

		{"{set: {logFiles: []}}", 3, "verification error"},
		{"{unset: [newestEventTime]}", 3, "verification error"},
		{"{replace: true}", 3, "says it is"},
	} {
		t.Run(tt.do, func(t *testing.T) {
			threeHours(t, "  - {name: second, at: digest, match: it.n == 2, do: "+tt.do+"}\n", func(t *testing.T, b *bucket, start time.Time) {
				keys := b.keys("CloudTrail-Digest")
				if len(keys) != tt.digests {
					t.Errorf("%d digests, want %d", len(keys), tt.digests)
				}
				if err := b.verify(t, target); (err == nil) != (tt.broken == "") || err != nil && !regexp.MustCompile(tt.broken).MatchString(err.Error()) {
					t.Errorf("verifying the chain: %v, want %q", err, tt.broken)
				}
				if o, err := b.get(keys[1]); strings.Contains(tt.do, "delay") && (err != nil || o.at.Sub(start) < 210*time.Minute) {
					t.Errorf("delayed digest there after %s (%v)", o.at.Sub(start), err)
				}
			})
		})
	}
}

func TestObjectFaultsStrikeWhatStandsThere(t *testing.T) {
	for _, tt := range []struct {
		claim, do, wait string
		check           func(o object) bool
	}{
		{"deleted at once", "{delete: true}", "", func(o object) bool { return o.deleted }},
		{"deleted later", "{delete: true}", "30m", func(o object) bool { return o.deleted }},
		{"overwritten by the older file", "{replace: true}", "", func(o object) bool {
			plain, err := unpack(o.body)
			return err == nil && string(plain) == `{"Records":[]}` && len(o.older) == 1
		}},
		{"overwritten by a part of itself", "{truncate: 20}", "1h", func(o object) bool {
			return len(o.older) == 1 && bytes.Equal(o.body, o.older[0].body[:len(o.older[0].body)-20])
		}},
		{"overwritten by noise", "{corrupt: true}", "", func(o object) bool {
			return len(o.older) == 1 && len(o.body) == len(o.older[0].body) && !bytes.Equal(o.body, o.older[0].body)
		}},
		{"kept under a weaker retention", "{retain: {mode: GOVERNANCE, for: 1h}}", "", func(o object) bool {
			return o.retain != nil && *o.retain == fault.Retain{Mode: "GOVERNANCE", For: time.Hour} && len(o.older) == 0
		}},
	} {
		t.Run(tt.claim, func(t *testing.T) {
			wait := ""
			if tt.wait != "" {
				wait = "wait: " + tt.wait + ", "
			}
			threeHours(t, `  - {name: f, at: object, match: 'it.kind == "log" && it.n == 1', `+wait+"do: "+tt.do+"}\n", func(t *testing.T, b *bucket, _ time.Time) {
				first, second := b.keys("CloudTrail")[0], b.keys("CloudTrail")[1]
				if o, err := b.get(first); err != nil || !tt.check(o) {
					t.Errorf("%s: %+v, %v", first, o, err)
				}
				if o, err := b.get(second); err != nil || o.deleted || len(o.older) > 0 || o.retain != nil {
					t.Errorf("another object is struck: %+v, %v", o, err)
				}
				o, err := b.get(first)
				if err != nil {
					t.Fatal(err)
				}
				if d, err := time.ParseDuration(tt.wait); err == nil && len(o.older) > 0 && o.at.Sub(o.older[0].at) != d {
					t.Errorf("struck after %s, want %s", o.at.Sub(o.older[0].at), d)
				}
			})
		})
	}
	t.Run("copied to another key", func(t *testing.T) {
		threeHours(t, `  - {name: f, at: object, match: 'it.kind == "log" && it.n == 1', do: {copy: {old: eu-west-1, new: us-east-1}}}`+"\n", func(t *testing.T, b *bucket, _ time.Time) {
			key := b.keys("CloudTrail")[0]
			original, err := b.get(key)
			if err != nil {
				t.Fatal(err)
			}
			copied, err := b.get(strings.ReplaceAll(key, "eu-west-1", "us-east-1"))
			if err != nil || !bytes.Equal(copied.body, original.body) {
				t.Errorf("no copy: %v", err)
			}
		})
	})
}

// TestObjectFaultsOnTheRealServer: what the bucket in memory only notes is done.
func TestObjectFaultsOnTheRealServer(t *testing.T) {
	trail := archive.WorldTrail(target)
	trail.Prefix = "objects"
	d := archive.NewDelivery(archive.DeliveryConfig{
		Trail: trail, Clock: clock, Bucket: a, Report: func(err error) { t.Error(err) },
		Faults: faultSet(t, `
  - {name: weaker, at: object, match: it.n == 1, do: {retain: {mode: GOVERNANCE, for: 24h}}}
  - {name: none, at: object, match: it.n == 2, do: {retain: {mode: NONE}}}
  - {name: hidden, at: object, match: it.n == 3, do: {delete: true}}
`),
	})
	for i := range 3 {
		d.Emit(target.Account, target.Region, record(i))
		clock.advance(15 * time.Minute)
		d.CatchUp(t.Context())
	}
	if err := d.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	c := client("us-east-1")
	list, err := c.ListObjectVersions(t.Context(), &s3.ListObjectVersionsInput{Bucket: aws.String(cloud.ArchiveBucket), Prefix: aws.String("objects/")})
	if err != nil || len(list.Versions) != 3 || len(list.DeleteMarkers) != 1 {
		t.Fatalf("%d versions, %d markers, want 3 and 1 (%v)", len(list.Versions), len(list.DeleteMarkers), err)
	}
	modes := map[types.ObjectLockRetentionMode]int{}
	for _, v := range list.Versions {
		out, err := c.GetObjectRetention(t.Context(), &s3.GetObjectRetentionInput{Bucket: aws.String(cloud.ArchiveBucket), Key: v.Key, VersionId: v.VersionId})
		switch {
		case code(err) == "NoSuchObjectLockConfiguration":
			modes[""]++
		case err != nil:
			t.Fatal(err)
		default:
			modes[out.Retention.Mode]++
		}
	}
	if modes["GOVERNANCE"] != 1 || modes[""] != 1 || modes["COMPLIANCE"] != 1 {
		t.Errorf("modes %v, want one each of GOVERNANCE, none and COMPLIANCE", modes)
	}
}
