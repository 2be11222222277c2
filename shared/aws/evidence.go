package aws

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/sha256"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"time"

	awssdk "github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	kmstypes "github.com/aws/aws-sdk-go-v2/service/kms/types"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"

	"github.com/auditcanary/auditcanary/shared/packet"
)

// EvidenceStore keeps packets in a bucket with Object Lock. What it writes is
// created once, locked in compliance mode, and never replaced.
type EvidenceStore struct {
	client         *s3.Client
	bucket, prefix string
}

// NewEvidenceStore returns the store of the objects whose keys begin with prefix.
func NewEvidenceStore(client *s3.Client, bucket, prefix string) *EvidenceStore {
	return &EvidenceStore{client, bucket, prefix}
}

// URL of an object by its name.
func (s *EvidenceStore) URL(name string) string { return "s3://" + s.bucket + "/" + s.prefix + name }

// Put creates an object that nobody may delete or shorten the retention of before
// the time given. It reports whether there was one of that name: then nothing is
// written.
func (s *EvidenceStore) Put(ctx context.Context, name string, body io.ReadSeeker, retain time.Time) (existed bool, err error) {
	_, err = s.client.PutObject(ctx, &s3.PutObjectInput{
		Bucket: &s.bucket, Key: awssdk.String(s.prefix + name), Body: body,
		IfNoneMatch:    awssdk.String("*"),
		ObjectLockMode: types.ObjectLockModeCompliance, ObjectLockRetainUntilDate: &retain,
	})
	if isStatus(err, http.StatusPreconditionFailed) {
		return true, nil
	}
	if err != nil {
		return false, fmt.Errorf("put %s: %w", s.URL(name), err)
	}
	return false, nil
}

// maxEvidence bounds what Get reads: checkpoints, not packets.
const maxEvidence = 16 << 10

// Get reads a small object.
func (s *EvidenceStore) Get(ctx context.Context, name string) ([]byte, error) {
	out, err := s.client.GetObject(ctx, &s3.GetObjectInput{Bucket: &s.bucket, Key: awssdk.String(s.prefix + name)})
	if err != nil {
		return nil, fmt.Errorf("get %s: %w", s.URL(name), err)
	}
	defer out.Body.Close()
	data, err := io.ReadAll(io.LimitReader(out.Body, maxEvidence+1))
	if err == nil && len(data) > maxEvidence {
		err = fmt.Errorf("more than %d bytes", maxEvidence)
	}
	if err != nil {
		return nil, fmt.Errorf("get %s: %w", s.URL(name), err)
	}
	return data, nil
}

// Open reads an object of any size in parts, each with a request of its own.
func (s *EvidenceStore) Open(ctx context.Context, name string) (io.ReaderAt, int64, error) {
	head, err := s.client.HeadObject(ctx, &s3.HeadObjectInput{Bucket: &s.bucket, Key: awssdk.String(s.prefix + name)})
	if err != nil {
		return nil, 0, fmt.Errorf("open %s: %w", s.URL(name), err)
	}
	return &remote{ctx: ctx, store: s, name: name}, awssdk.ToInt64(head.ContentLength), nil
}

type remote struct {
	ctx   context.Context
	store *EvidenceStore
	name  string
}

// ReadAt implements io.ReaderAt.
func (r *remote) ReadAt(p []byte, off int64) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	out, err := r.store.client.GetObject(r.ctx, &s3.GetObjectInput{
		Bucket: &r.store.bucket, Key: awssdk.String(r.store.prefix + r.name), Range: awssdk.String(fmt.Sprintf("bytes=%d-%d", off, off+int64(len(p))-1)),
	})
	if isStatus(err, http.StatusRequestedRangeNotSatisfiable) {
		return 0, io.EOF
	}
	if err != nil {
		return 0, fmt.Errorf("read %s at byte %d: %w", r.store.URL(r.name), off, err)
	}
	defer out.Body.Close()
	n, err := io.ReadFull(out.Body, p)
	if errors.Is(err, io.ErrUnexpectedEOF) {
		err = io.EOF
	}
	return n, err
}

// List names the objects whose names begin with prefix, sorted.
func (s *EvidenceStore) List(ctx context.Context, prefix string) ([]string, error) {
	var names []string
	pages := s3.NewListObjectsV2Paginator(s.client, &s3.ListObjectsV2Input{Bucket: &s.bucket, Prefix: awssdk.String(s.prefix + prefix)})
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return nil, fmt.Errorf("list %s*: %w", s.URL(prefix), err)
		}
		for _, o := range page.Contents {
			names = append(names, strings.TrimPrefix(awssdk.ToString(o.Key), s.prefix))
		}
	}
	slices.Sort(names)
	return names, nil
}

// PacketSigner signs packets with a key of AWS KMS (ECDSA P-256 over the SHA-256 of
// the message, which is hashed here: only the digest leaves).
type PacketSigner struct {
	client *kms.Client
	key    string
	public *ecdsa.PublicKey
}

var _ packet.Signer = (*PacketSigner)(nil)

// NewPacketSigner asks for the public key, which every packet carries. key is an ARN.
func NewPacketSigner(ctx context.Context, client *kms.Client, key string) (*PacketSigner, error) {
	out, err := client.GetPublicKey(ctx, &kms.GetPublicKeyInput{KeyId: &key})
	if err != nil {
		return nil, fmt.Errorf("signing key %s: GetPublicKey: %w", key, err)
	}
	parsed, err := x509.ParsePKIXPublicKey(out.PublicKey)
	if err != nil {
		return nil, fmt.Errorf("signing key %s: %w", key, err)
	}
	public, ok := parsed.(*ecdsa.PublicKey)
	if !ok || public.Curve != elliptic.P256() || out.KeyUsage != kmstypes.KeyUsageTypeSignVerify {
		return nil, fmt.Errorf("signing key %s: it is %s for %s, packets need ECC_NIST_P256 for SIGN_VERIFY: %w", key, out.KeySpec, out.KeyUsage, ErrKeyKind)
	}
	return &PacketSigner{client, key, public}, nil
}

// Sign implements packet.Signer.
func (s *PacketSigner) Sign(ctx context.Context, message []byte) ([]byte, error) {
	sum := sha256.Sum256(message)
	out, err := s.client.Sign(ctx, &kms.SignInput{
		KeyId: &s.key, Message: sum[:], MessageType: kmstypes.MessageTypeDigest, SigningAlgorithm: kmstypes.SigningAlgorithmSpecEcdsaSha256,
	})
	if err != nil {
		return nil, fmt.Errorf("sign with key %s: %w", s.key, err)
	}
	if !ecdsa.VerifyASN1(s.public, sum[:], out.Signature) {
		return nil, fmt.Errorf("sign with key %s: %w", s.key, errors.New("the signature is not of its public key"))
	}
	return out.Signature, nil
}

// KeyID implements packet.Signer.
func (s *PacketSigner) KeyID() (string, error) { return packet.KeyID(s.public) }

// Public implements packet.Signer.
func (s *PacketSigner) Public() crypto.PublicKey { return s.public }
