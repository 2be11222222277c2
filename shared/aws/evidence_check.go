package aws

import (
	"context"
	"errors"
	"fmt"
	"net/http"

	awssdk "github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"github.com/auditcanary/auditcanary/shared/inventory"
)

var (
	// ErrCareless says that a store wrote where its condition forbade it.
	ErrCareless = errors.New("the store ignores the conditions of writes")
	// ErrKeyKind says that a key is of a kind that cannot sign packets.
	ErrKeyKind = errors.New("not the kind of key that signs packets")
)

// Probe finds out whether the bucket can be listed and written to. It makes one write that
// must be refused, since what it would replace is not there: that this, and not the right to
// write, stops it shows that there is one.
func (s *EvidenceStore) Probe(ctx context.Context) error {
	const name = "doctor-probe"
	if _, err := s.List(ctx, name); err != nil {
		return err
	}
	_, err := s.client.PutObject(ctx, &s3.PutObjectInput{Bucket: &s.bucket, Key: awssdk.String(s.prefix + name), IfMatch: awssdk.String(`"00000000000000000000000000000000"`)})
	switch {
	case err == nil:
		return fmt.Errorf("put %s: %w", s.URL(name), ErrCareless)
	case isStatus(err, http.StatusPreconditionFailed), s3Code(err) == "NoSuchKey":
		return nil
	}
	return fmt.Errorf("put %s: %w", s.URL(name), err)
}

// ObjectLock reads the lock of a bucket in an account.
func (i *Inspector) ObjectLock(ctx context.Context, account, region, bucket string) (inventory.Lock, error) {
	cfg, err := i.open(ctx, account, region)
	if err != nil {
		return inventory.Lock{}, err
	}
	ctx, cancel := i.bound(ctx)
	defer cancel()
	client := s3.NewFromConfig(cfg, func(o *s3.Options) { o.UsePathStyle = cfg.BaseEndpoint != nil })
	out, err := client.GetObjectLockConfiguration(ctx, &s3.GetObjectLockConfigurationInput{Bucket: &bucket})
	switch {
	case thereIsNone(err, "ObjectLockConfigurationNotFoundError", "NoSuchObjectLockConfiguration"):
		return inventory.Lock{}, nil
	case err != nil:
		return inventory.Lock{}, i.explain(err, "s3:GetBucketObjectLockConfiguration of "+bucket, account, region)
	}
	return *newLock(out.ObjectLockConfiguration), nil
}
