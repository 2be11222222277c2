package aws

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/cloudtrail"
	"github.com/aws/smithy-go"

	logs "github.com/auditcanary/auditcanary/shared/trail"
)

// DigestKeys are the public keys of CloudTrail's digests: a trail.PublicKeys.
type DigestKeys struct{ cfg aws.Config }

var _ logs.PublicKeys = (*DigestKeys)(nil)

// NewDigestKeys asks CloudTrail in the region of each digest. The identity needs
// cloudtrail:ListPublicKeys, in any account: the keys are the region's.
func NewDigestKeys(cfg aws.Config) *DigestKeys { return &DigestKeys{cfg} }

var digestKeyAdvice = advice{
	"AccessDenied": mayListKeys, "AccessDeniedException": mayListKeys, "UnauthorizedOperation": mayListKeys,
}

const mayListKeys = "the reader needs cloudtrail:ListPublicKeys in this region; or archive the keys and use those"

// PublicKeys implements trail.PublicKeys with ListPublicKeys.
func (k *DigestKeys) PublicKeys(ctx context.Context, region string, from, until time.Time) ([]logs.PublicKey, error) {
	fail := func(err error) ([]logs.PublicKey, error) {
		err = fmt.Errorf("cloudtrail:ListPublicKeys in %s from %s to %s: %w", region, from.UTC().Format(time.RFC3339), until.UTC().Format(time.RFC3339), err)
		var api smithy.APIError
		if !errors.As(err, &api) {
			return nil, err
		}
		for _, known := range []advice{digestKeyAdvice, generalAdvice} {
			if next := known[api.ErrorCode()]; next != "" {
				return nil, fmt.Errorf("%w (%s)", err, next)
			}
		}
		return nil, err
	}
	cfg := k.cfg.Copy()
	cfg.Region = region
	client := cloudtrail.NewFromConfig(cfg)
	var keys []logs.PublicKey
	in := &cloudtrail.ListPublicKeysInput{StartTime: &from, EndTime: &until}
	for range maxPages {
		out, err := client.ListPublicKeys(ctx, in)
		if err != nil {
			return fail(err)
		}
		for _, p := range out.PublicKeyList {
			if p.Fingerprint == nil || len(p.Value) == 0 {
				return fail(errors.New("the reply names a key without its fingerprint or value"))
			}
			key := logs.PublicKey{Fingerprint: *p.Fingerprint, DER: p.Value}
			if p.ValidityStartTime != nil {
				key.From = p.ValidityStartTime.UTC()
			}
			if p.ValidityEndTime != nil {
				key.Until = p.ValidityEndTime.UTC()
			}
			keys = append(keys, key)
		}
		if aws.ToString(out.NextToken) == "" {
			return keys, nil
		}
		in.NextToken = out.NextToken
	}
	return fail(errEndless)
}
