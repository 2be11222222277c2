package inventory

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/auditcanary/auditcanary/shared/canary"
)

// archive weighs the bucket that everything must arrive in, and the keys that what
// arrives is encrypted with.
func (j *judge) archive() {
	s := j.in.Snapshot
	i := slices.IndexFunc(s.Buckets, func(b Bucket) bool { return b.Name == j.in.Archive.Bucket })
	if i >= 0 {
		j.bucket(s.Buckets[i])
	} else {
		j.never(Place{}, "bucket "+j.in.Archive.Bucket)
	}
	for _, k := range s.Keys {
		j.key(k)
	}
	seen := func(p Place, arn string) {
		if arn != "" && !slices.ContainsFunc(s.Keys, func(k Key) bool { return k.ARN == arn }) {
			j.never(p, "key "+arn)
		}
	}
	if i >= 0 && s.Buckets[i].KeyARN != nil {
		seen(s.Buckets[i].Place, *s.Buckets[i].KeyARN)
	}
	for _, t := range s.Trails {
		if t.Bucket == j.in.Archive.Bucket {
			seen(Place{t.Account, t.Home}, t.KeyARN)
		}
	}
}

// never reports what is neither in the snapshot nor among what could not be read.
func (j *judge) never(p Place, subject string) {
	if !slices.ContainsFunc(j.in.Snapshot.Unread, func(u Unread) bool { return u.Place == p || u.Account == p.Account && u.Region == "" }) {
		j.add(p, Finding{Kind: NotRead, Status: canary.Inconclusive, Subject: subject, Found: "it was not read"})
	}
}

func (j *judge) bucket(b Bucket) {
	add := func(kind Kind, found, expected string) {
		j.add(b.Place, Finding{Kind: kind, Class: ManagementEvents, Subject: "bucket " + b.Name, Found: found, Expected: expected})
	}
	if b.Missing {
		add(BucketMissing, "there is no such bucket", "the archive")
		return
	}
	if b.Versioning == nil || b.Lock == nil || b.Lifecycle == nil || b.Public == nil || b.Replication == nil || b.KeyARN == nil {
		j.never(b.Place, "bucket "+b.Name)
	}
	if v := b.Versioning; v != nil && *v != "Enabled" {
		found := "versioning was never switched on"
		if *v != "" {
			found = "versioning is " + *v
		}
		add(BucketUnversioned, found, "Enabled")
	}
	want := j.in.Archive
	need := fmt.Sprintf("default retention %s of at least %d days", want.Mode, want.Days)
	switch l := b.Lock; {
	case l == nil || want.Mode == "":
	case !l.Enabled:
		add(BucketUnlocked, "it has no Object Lock", need)
	case l.Mode == "":
		add(BucketRetention, "new objects get no retention", need)
	case l.Mode != want.Mode && l.Mode != "COMPLIANCE" || l.Days < want.Days:
		add(BucketRetention, fmt.Sprintf("default retention %s of %s", l.Mode, several(l.Days, "day")), need)
	}
	if b.Lifecycle != nil {
		for _, r := range *b.Lifecycle {
			if found := r.removes(want.Days); found != "" && r.touches(want) {
				add(BucketLifecycle, fmt.Sprintf("rule %q %s", r.ID, found), fmt.Sprintf("nothing removed before %d days", want.Days))
			}
		}
	}
	if b.Public != nil && *b.Public {
		add(BucketPublic, "its policy admits everybody", "not public")
	}
	if b.Replication != nil {
		for _, r := range *b.Replication {
			if !r.Enabled {
				add(ReplicationStopped, fmt.Sprintf("replication rule %q to %s is disabled", r.ID, r.Destination), "enabled")
			}
		}
	}
}

// removes says what a rule removes too early, "" if nothing.
func (r LifecycleRule) removes(days int) string {
	switch {
	case days == 0: // nobody asks for any retention
	case !r.ExpireOn.IsZero():
		return "removes everything on " + r.ExpireOn.UTC().Format(time.DateOnly)
	case r.ExpireDays > 0 && r.ExpireDays < days:
		return "removes objects after " + several(r.ExpireDays, "day")
	case r.OldVersions > 0 && r.OldVersions < days:
		return "removes old versions after " + several(r.OldVersions, "day")
	}
	return ""
}

// touches reports whether a rule is for keys that records have.
func (r LifecycleRule) touches(a Archive) bool {
	logs := strings.TrimPrefix(strings.Trim(a.Prefix, "/")+"/AWSLogs/", "/")
	return strings.HasPrefix(r.Prefix, logs) || strings.HasPrefix(logs, r.Prefix)
}

func (j *judge) key(k Key) {
	add := func(kind Kind, found, expected string) {
		j.add(k.Place, Finding{Kind: kind, Class: ManagementEvents, Subject: "key " + k.ARN, Found: found, Expected: expected})
	}
	switch {
	case k.Missing:
		add(KeyMissing, "there is no such key", "Enabled")
		return
	case !k.Deletion.IsZero() || k.State == "PendingDeletion" || k.State == "PendingReplicaDeletion":
		found := "it is about to be deleted"
		if !k.Deletion.IsZero() {
			found = "it will be deleted on " + stamp(k.Deletion)
		}
		add(KeyDeletion, found, "Enabled")
	case k.State == "":
		j.add(k.Place, Finding{Kind: NotRead, Status: canary.Inconclusive, Subject: "key " + k.ARN, Found: "its state is not known"})
	case k.State != "Enabled":
		add(KeyUnusable, "its state is "+k.State, "Enabled")
	}
	if k.Manager == "AWS" {
		return
	}
	switch k.Origin {
	case "AWS_KMS", "AWS_CLOUDHSM":
	case "EXTERNAL":
		found := "its material was imported"
		if !k.Expires.IsZero() {
			found += ", and expires on " + stamp(k.Expires)
		}
		add(KeyMaterial, found, "origin AWS_KMS")
	default:
		add(KeyMaterial, "its material is of origin "+k.Origin, "origin AWS_KMS")
	}
}
