package wire

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	awssdk "github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"github.com/auditcanary/auditcanary/shared/aws"
	"github.com/auditcanary/auditcanary/shared/canary"
	"github.com/auditcanary/auditcanary/shared/run"
	"github.com/auditcanary/auditcanary/shared/trail"
)

// custodian adapts an archive, the provider's public keys and the bucket's settings
// to the port.
type custodian struct {
	archive     *trail.Archive
	keys        trail.PublicKeys
	s3          *s3.Client
	kms         func(region string) *kms.Client
	bucket      string
	trail, home string
}

var _ run.Custodian = custodian{}

func (c custodian) Validate(ctx context.Context, q trail.Validation, each func(trail.Result)) (trail.Validated, error) {
	q.Trail, q.HomeRegion = c.trail, c.home
	return c.archive.Validate(ctx, c.keys, q, each)
}

// Held looks at each object, and once at the bucket: as they are now.
func (c custodian) Held(ctx context.Context, at []canary.Location) ([]canary.Held, error) {
	keeper := aws.NewKeeper(c.s3, c.kms, c.bucket)
	out, errs := make([]canary.Held, len(at)), make([]error, len(at))
	slots := make(chan struct{}, looksAtOnce)
	var wg sync.WaitGroup
	for i := range at {
		slots <- struct{}{}
		wg.Go(func() {
			defer func() { <-slots }()
			out[i], errs[i] = keeper.Held(ctx, at[i].Key, at[i].VersionID)
		})
	}
	wg.Wait()
	return out, errors.Join(errs...)
}

// looksAtOnce bounds the objects whose retention is asked for at a time.
const looksAtOnce = 8

func newCustodian(base awssdk.Config, s LogStore) custodian {
	reader := aws.KeepConnections(readerConfig(base, s.Region, s.RoleARN), trail.ReadsAtOnce)
	client := s3Of(reader)
	return custodian{
		archive: newArchive(client, s), keys: aws.NewDigestKeys(reader),
		s3: client, bucket: s.Bucket,
		kms: func(region string) *kms.Client {
			return kms.NewFromConfig(reader, func(o *kms.Options) { o.Region = region })
		},
		trail: s.Trail, home: s.HomeRegion,
	}
}

// ArchiveSource says whose digests to validate without a configuration: those of a
// trail, or those in a bucket.
type ArchiveSource struct {
	TrailARN string
	// Bucket and Prefix, if the trail is not asked for them (or not any more: a
	// deleted trail's archive can be validated).
	Bucket, Prefix string
	// Accounts and Regions; none: the trail's own.
	Accounts, Regions []string
	// EndpointURL sends every AWS call there; "": AWS's own endpoints.
	EndpointURL string
}

// ForeignArchive is an archive that no configuration names, with the places in it.
type ForeignArchive struct {
	Custodian run.Custodian
	Places    []canary.Target
}

// OpenArchive finds the archive by the caller's own credentials. It needs no ledger
// and keeps nothing.
func OpenArchive(ctx context.Context, src ArchiveSource) (ForeignArchive, error) {
	var out ForeignArchive
	s := LogStore{Name: "archive", Bucket: src.Bucket, Prefix: src.Prefix}
	accounts, regions := src.Accounts, src.Regions
	c := &Config{AWS: AWS{EndpointURL: src.EndpointURL}, LogStores: []LogStore{{Region: defaultRegion}}}
	base, _, err := c.baseAWS(ctx)
	if err != nil {
		return out, err
	}
	if src.TrailARN != "" {
		t, err := aws.DescribeTrail(ctx, base, src.TrailARN)
		if err != nil && src.Bucket == "" {
			return out, err
		}
		s.Trail, s.HomeRegion, s.OrganizationID = t.Name, t.HomeRegion, t.OrganizationID
		if s.Bucket == "" {
			s.Bucket, s.Prefix = t.Bucket, t.Prefix
		}
		if len(accounts) == 0 {
			accounts = []string{t.Account}
		}
		if len(regions) == 0 {
			regions = []string{t.HomeRegion}
		}
	}
	switch {
	case s.Bucket == "":
		return out, errors.New("integrity: give --trail-arn or --s3-bucket")
	case len(accounts) == 0 || len(regions) == 0:
		return out, errors.New("integrity: --s3-bucket without --trail-arn needs --account-id and --region")
	}
	if s.Region, err = aws.BucketRegion(ctx, base, s.Bucket); err != nil {
		return out, err
	}
	for _, account := range accounts {
		if !accountID.MatchString(account) {
			return out, fmt.Errorf("integrity: --account-id %q is not twelve digits", account)
		}
		for _, region := range regions {
			if !regionID.MatchString(region) {
				return out, fmt.Errorf("integrity: --region %q is not a region", region)
			}
			out.Places = append(out.Places, canary.Target{Provider: "aws", Account: account, Region: region})
		}
	}
	out.Custodian = newCustodian(base, s)
	return out, nil
}

const defaultRegion = "us-east-1"

// IntegrityPlaces are the places of the configured archive to validate: the targets',
// or those of the accounts and regions given.
func (c *Config) IntegrityPlaces(store string, accounts, regions []string) ([]canary.Target, error) {
	if store != "" && store != c.LogStores[0].Name {
		return nil, fmt.Errorf("log store %q is not in %s; it has %s", store, c.file, c.LogStores[0].Name)
	}
	if len(accounts) == 0 && len(regions) == 0 {
		return c.accounts(), nil
	}
	inAccounts, inRegions := map[string]bool{}, map[string]bool{}
	var allAccounts, allRegions []string
	for _, t := range c.accounts() {
		if !inAccounts[t.Account] {
			allAccounts = append(allAccounts, t.Account)
		}
		if !inRegions[t.Region] {
			allRegions = append(allRegions, t.Region)
		}
		inAccounts[t.Account], inRegions[t.Region] = true, true
	}
	if len(accounts) == 0 {
		accounts = allAccounts
	}
	if len(regions) == 0 {
		regions = allRegions
	}
	var out []canary.Target
	for _, a := range accounts {
		for _, r := range regions {
			if !accountID.MatchString(a) || !regionID.MatchString(r) {
				return nil, fmt.Errorf("%s/%s is not an account and region", a, r)
			}
			out = append(out, canary.Target{Provider: "aws", Account: a, Region: r})
		}
	}
	return out, nil
}

// ParseTime reads a time as people write it: a day, or a day and time (UTC unless
// it says otherwise).
func ParseTime(text string) (time.Time, error) {
	for _, form := range []string{time.RFC3339, "2006-01-02T15:04:05", "2006-01-02T15:04", "2006-01-02 15:04:05", "2006-01-02 15:04", time.DateOnly} {
		if t, err := time.Parse(form, strings.TrimSpace(text)); err == nil {
			return t.UTC(), nil
		}
	}
	return time.Time{}, fmt.Errorf("%q is not a time such as 2026-11-22 or 2026-11-22T10:00:00Z", text)
}
