package aws

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	awssdk "github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	smithyhttp "github.com/aws/smithy-go/transport/http"

	"github.com/auditcanary/auditcanary/shared/canary"
)

// Keeper says how the objects of an archive are held, in one look: it asks for the
// bucket's settings, and for the state of a key, once in its life. It only reads, and
// is safe for concurrent use.
//
// Its identity needs, besides what ArchiveStore needs: s3:GetObjectVersion and
// s3:GetObjectRetention on the log files, s3:GetBucketVersioning,
// s3:GetBucketObjectLockConfiguration and s3:GetLifecycleConfiguration on the
// bucket, and kms:DescribeKey on the trail's key if it has one.
type Keeper struct {
	s3     *s3.Client
	kms    func(region string) *kms.Client
	bucket string

	once   sync.Once
	held   canary.BucketHeld
	rules  []types.LifecycleRule
	unread []string

	mu   sync.Mutex
	keys map[string]keyState
}

type keyState struct {
	key canary.EncryptionKey
	err error
}

// NewKeeper asks about one bucket, and about keys through a client of their region.
func NewKeeper(client *s3.Client, keys func(region string) *kms.Client, bucket string) *Keeper {
	return &Keeper{s3: client, kms: keys, bucket: bucket, keys: map[string]keyState{}}
}

// Held says how one object version is held. What cannot be found out is in
// Held.Unread; the error is for a context that has ended.
func (k *Keeper) Held(ctx context.Context, key, version string) (canary.Held, error) {
	h := canary.Held{}
	k.once.Do(func() { k.readBucket(ctx) })
	h.Bucket, h.Unread = k.held, append(h.Unread, k.unread...)
	all := expiring(k.rules, key)
	h.Bucket.Expiring = all[:min(len(all), canary.MaxExpiring)]
	h.Bucket.More = len(all) - len(h.Bucket.Expiring)
	k.readObject(ctx, &h, key, version)
	return h, ctx.Err()
}

// readObject asks for the retention of one version, and the key it is encrypted with.
func (k *Keeper) readObject(ctx context.Context, h *canary.Held, key, version string) {
	in := &s3.HeadObjectInput{Bucket: &k.bucket, Key: &key}
	if version != "" {
		in.VersionId = &version
	}
	head, err := k.s3.HeadObject(ctx, in)
	if isStatus(err, http.StatusNotFound) {
		h.Gone = true
		return
	}
	if err != nil {
		h.Unread = append(h.Unread, "retention: "+k.explain("HeadObject", key, err), "key: not known without the object's headers")
		return
	}
	h.Mode, h.Until = string(head.ObjectLockMode), awssdk.ToTime(head.ObjectLockRetainUntilDate).UTC()
	h.LegalHold = head.ObjectLockLegalHoldStatus == types.ObjectLockLegalHoldStatusOn
	h.EventHold = head.ObjectLockEventHold != "" && !strings.EqualFold(string(head.ObjectLockEventHold), "OFF")
	if h.Mode == "" {
		k.readRetention(ctx, h, in)
	}
	if arn := awssdk.ToString(head.SSEKMSKeyId); arn != "" {
		k.readKey(ctx, h, arn)
	}
}

// readRetention asks once more, in words of its own: S3 leaves the headers out
// where the caller lacks s3:GetObjectRetention, which is not the same as having none.
func (k *Keeper) readRetention(ctx context.Context, h *canary.Held, of *s3.HeadObjectInput) {
	out, err := k.s3.GetObjectRetention(ctx, &s3.GetObjectRetentionInput{Bucket: of.Bucket, Key: of.Key, VersionId: of.VersionId})
	switch {
	case isNone(err, "NoSuchObjectLockConfiguration"), isNone(err, "ObjectLockConfigurationNotFoundError"), isNone(err, "InvalidRequest"):
		// InvalidRequest: the bucket has no Object Lock at all.
	case err != nil:
		h.Unread = append(h.Unread, "retention: "+k.explain("GetObjectRetention", *of.Key, err))
	case out.Retention != nil:
		h.Mode, h.Until = string(out.Retention.Mode), awssdk.ToTime(out.Retention.RetainUntilDate).UTC()
	}
}

// readKey asks for the state of a key, once for each.
func (k *Keeper) readKey(ctx context.Context, h *canary.Held, arn string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	st, asked := k.keys[arn]
	if !asked {
		st = k.describeKey(ctx, arn)
		k.keys[arn] = st
	}
	h.Key = &st.key
	if st.err != nil {
		h.Unread = append(h.Unread, "key: "+st.err.Error())
	}
}

func (k *Keeper) describeKey(ctx context.Context, arn string) keyState {
	st := keyState{key: canary.EncryptionKey{ARN: arn}}
	region, err := regionOfARN(arn)
	if err != nil {
		st.err = err
		return st
	}
	out, err := k.kms(region).DescribeKey(ctx, &kms.DescribeKeyInput{KeyId: &arn})
	if err == nil && out.KeyMetadata == nil {
		err = errors.New("the reply does not describe a key")
	}
	if err != nil {
		st.err = fmt.Errorf("DescribeKey %s: %s (the reader needs kms:DescribeKey, in its own policy and in the key's)", arn, shortened(err.Error()))
		return st
	}
	m := out.KeyMetadata
	st.key.State, st.key.Origin = string(m.KeyState), string(m.Origin)
	st.key.Deletion = awssdk.ToTime(m.DeletionDate).UTC()
	if m.DeletionDate == nil {
		st.key.Deletion = time.Time{}
	}
	return st
}

func regionOfARN(arn string) (string, error) {
	parts := strings.SplitN(arn, ":", 6)
	if len(parts) < 6 || parts[0] != "arn" || parts[3] == "" {
		return "", fmt.Errorf("%q is not the ARN of a key", arn)
	}
	return parts[3], nil
}

// readBucket asks for the bucket's settings.
func (k *Keeper) readBucket(ctx context.Context) {
	miss := func(part, operation string, err error) {
		k.unread = append(k.unread, part+": "+k.explain(operation, "", err))
	}
	if out, err := k.s3.GetBucketVersioning(ctx, &s3.GetBucketVersioningInput{Bucket: &k.bucket}); err != nil {
		miss("versioning", "GetBucketVersioning", err)
	} else {
		k.held.Versioning = string(out.Status)
	}
	lock, err := k.s3.GetObjectLockConfiguration(ctx, &s3.GetObjectLockConfigurationInput{Bucket: &k.bucket})
	switch {
	case isNone(err, "ObjectLockConfigurationNotFoundError"):
	case err != nil:
		miss("default retention", "GetObjectLockConfiguration", err)
	case lock.ObjectLockConfiguration != nil && lock.ObjectLockConfiguration.Rule != nil && lock.ObjectLockConfiguration.Rule.DefaultRetention != nil:
		d := lock.ObjectLockConfiguration.Rule.DefaultRetention
		k.held.DefaultMode, k.held.DefaultDays = string(d.Mode), int(awssdk.ToInt32(d.Days))+365*int(awssdk.ToInt32(d.Years))
	}
	rules, err := k.s3.GetBucketLifecycleConfiguration(ctx, &s3.GetBucketLifecycleConfigurationInput{Bucket: &k.bucket})
	switch {
	case isNone(err, "NoSuchLifecycleConfiguration"):
	case err != nil:
		miss("lifecycle", "GetBucketLifecycleConfiguration", err)
	default:
		k.rules = rules.Rules
	}
}

// expiring are the enabled rules under which the object of a key expires. A rule
// that looks at tags or sizes may or may not concern it: it counts.
func expiring(rules []types.LifecycleRule, key string) []canary.Expiry {
	var all []canary.Expiry
	for _, r := range rules {
		//lint:ignore SA1019 rules made long ago still have it
		prefix := awssdk.ToString(r.Prefix)
		if f := r.Filter; f != nil {
			prefix = awssdk.ToString(f.Prefix)
			if f.And != nil {
				prefix = awssdk.ToString(f.And.Prefix)
			}
		}
		if r.Status != types.ExpirationStatusEnabled || r.Expiration == nil || !strings.HasPrefix(key, prefix) {
			continue
		}
		if r.Expiration.Days == nil && r.Expiration.Date == nil {
			continue // it only tidies up delete markers
		}
		all = append(all, canary.Expiry{Rule: awssdk.ToString(r.ID), Days: int(awssdk.ToInt32(r.Expiration.Days))})
	}
	slices.SortStableFunc(all, func(a, b canary.Expiry) int { return cmp.Compare(a.Days, b.Days) })
	return all
}

// explain says which call of which object failed, and what to do about it.
func (k *Keeper) explain(operation, key string, err error) string {
	where := "s3://" + k.bucket
	if key != "" {
		where += "/" + key
	}
	text := fmt.Sprintf("%s %s: %s", operation, where, shortened(err.Error()))
	if right, ok := keeperRights[operation]; ok && (isStatus(err, http.StatusForbidden)) {
		text += fmt.Sprintf(" (the reader needs %s, in its own policy and in the bucket's)", right)
	}
	return text
}

// shortened bounds what a service says of itself: it goes into the ledger.
func shortened(text string) string {
	const most = 500
	if len(text) <= most {
		return text
	}
	return strings.ToValidUTF8(text[:most], "") + "..."
}

// keeperRights are what the calls need, where it is not called as they are.
var keeperRights = map[string]string{
	"HeadObject":                      "s3:GetObjectVersion",
	"GetObjectRetention":              "s3:GetObjectRetention",
	"GetBucketVersioning":             "s3:GetBucketVersioning",
	"GetObjectLockConfiguration":      "s3:GetBucketObjectLockConfiguration",
	"GetBucketLifecycleConfiguration": "s3:GetLifecycleConfiguration",
}

func isStatus(err error, status int) bool {
	var reply *smithyhttp.ResponseError
	return errors.As(err, &reply) && reply.HTTPStatusCode() == status
}
