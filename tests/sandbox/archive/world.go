package archive

// The log archive of the sandbox's world.
const (
	ArchiveBucket  = "org-trail-archive"
	ArchiveAccount = "999999999999"
	ArchiveRegion  = "us-east-1"
	LedgerBucket   = "auditcanary-ledger"
	ToolAccount    = "222222222222"
)

// WorldBuckets are the buckets of the sandbox's world: the archive under Object
// Lock, the ledger, and one empty bucket for canaries per target account and region.
func WorldBuckets(targets ...Scope) []Bucket {
	out := []Bucket{
		{Name: ArchiveBucket, Account: ArchiveAccount, Region: ArchiveRegion, Lock: &Lock{Mode: "COMPLIANCE", Days: 365}},
		{Name: LedgerBucket, Account: ToolAccount, Region: "us-east-1"},
	}
	for _, t := range targets {
		out = append(out, Bucket{Name: "auditcanary-" + t.Account + "-" + t.Region, Account: t.Account, Region: t.Region})
	}
	return out
}

// WorldTrail is the sandbox's organisation trail.
func WorldTrail(scopes ...Scope) Trail {
	return Trail{
		Name: "org-trail", Account: "100000000001", HomeRegion: "us-east-1",
		Organization: "o-exampleorg1", Bucket: ArchiveBucket, Scopes: scopes,
	}
}
