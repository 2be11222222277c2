package archive

import (
	"strings"

	"github.com/auditcanary/auditcanary/tests/sandbox/cloud"
)

// WorldBuckets are the buckets of a world that the control plane starts with; the
// archive is under Object Lock, COMPLIANCE for 365 days.
func WorldBuckets(w *cloud.Seed) []Bucket {
	var out []Bucket
	for _, b := range w.Buckets {
		own := Bucket{Name: b.Name, Account: b.Account, Region: b.Region}
		switch b.Name {
		case cloud.ArchiveBucket:
			own.Lock = &Lock{Mode: "COMPLIANCE", Days: 365}
		case cloud.EvidenceBucket:
			own.Lock = &Lock{} // each packet says for how long
		}
		if strings.HasSuffix(b.Name, cloud.LockedSuffix) {
			own.Lock = &Lock{Mode: "COMPLIANCE", Days: 30}
		}
		out = append(out, own)
	}
	return out
}

// WorldObjects are the objects with which the locked buckets of a world begin. They
// come under the buckets' default retention.
func WorldObjects(w *cloud.Seed) []Object {
	var out []Object
	for _, b := range w.Buckets {
		if strings.HasSuffix(b.Name, cloud.LockedSuffix) {
			out = append(out, Object{Bucket: b.Name, Key: cloud.LockedObject, Body: []byte("a canary: worth nothing\n")})
		}
	}
	return out
}

// WorldTrail is the world's organisation trail, with digests of these scopes from
// the start.
func WorldTrail(scopes ...Scope) Trail {
	return Trail{
		Name: cloud.TrailName, Account: cloud.ManagementAccount, HomeRegion: "us-east-1",
		Organization: cloud.Organization, Bucket: cloud.ArchiveBucket, Scopes: scopes,
	}
}
