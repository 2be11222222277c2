package aws

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/smithy-go"

	"github.com/auditcanary/auditcanary/shared/ledger"
)

// LedgerStore keeps a ledger in an S3 bucket (ledger.Store). Writes are
// conditional: If-None-Match: * to create, If-Match with the ETag to replace.
//
// Its role needs s3:GetObject and s3:PutObject below the prefix, and
// s3:ListBucket: without the last S3 answers 403 for an object that does not
// exist, which is then an error and not "not found".
type LedgerStore struct {
	client *s3.Client
	bucket string
	prefix string
}

// NewLedgerStore returns the store of the objects whose keys begin with prefix,
// which is put before a path as it is ("" or, by habit, something with a slash
// at its end).
func NewLedgerStore(client *s3.Client, bucket, prefix string) *LedgerStore {
	return &LedgerStore{client: client, bucket: bucket, prefix: prefix}
}

var _ ledger.Store = (*LedgerStore)(nil)

// Get implements ledger.Store.
func (s *LedgerStore) Get(ctx context.Context, path string) ([]byte, ledger.Version, error) {
	out, err := s.client.GetObject(ctx, &s3.GetObjectInput{Bucket: &s.bucket, Key: s.key(path)})
	if err != nil {
		if s3Code(err) == "NoSuchKey" { // and not NoSuchBucket
			return nil, "", fmt.Errorf("get %s: %w: %w", s.url(path), ledger.ErrNotFound, err)
		}
		return nil, "", fmt.Errorf("get %s: %w", s.url(path), err)
	}
	defer out.Body.Close()
	data, err := io.ReadAll(io.LimitReader(out.Body, ledger.MaxObject+1))
	if err != nil {
		return nil, "", fmt.Errorf("get %s: %w", s.url(path), err)
	}
	if len(data) > ledger.MaxObject {
		return nil, "", fmt.Errorf("get %s: more than %d bytes", s.url(path), ledger.MaxObject)
	}
	version := ledger.Version(aws.ToString(out.ETag))
	if version == "" {
		return nil, "", fmt.Errorf("get %s: the answer has no ETag", s.url(path))
	}
	return data, version, nil
}

// putID is the metadata by which a write recognises itself.
const putID = "put-id"

// Put implements ledger.Store.
func (s *LedgerStore) Put(ctx context.Context, path string, data []byte, old ledger.Version) (ledger.Version, error) {
	if len(data) > ledger.MaxObject {
		return "", fmt.Errorf("put %s: %d bytes, at most %d are possible", s.url(path), len(data), ledger.MaxObject)
	}
	id := rand.Text()
	in := &s3.PutObjectInput{
		Bucket:      &s.bucket,
		Key:         s.key(path),
		Body:        bytes.NewReader(data),
		ContentType: aws.String("application/octet-stream"),
		Metadata:    map[string]string{putID: id},
	}
	if old == "" {
		in.IfNoneMatch = aws.String("*")
	} else {
		in.IfMatch = aws.String(string(old))
	}
	out, err := s.client.PutObject(ctx, in)
	if err == nil {
		if aws.ToString(out.ETag) == "" {
			return "", fmt.Errorf("put %s: the answer has no ETag", s.url(path))
		}
		return ledger.Version(*out.ETag), nil
	}
	return s.resolve(ctx, path, id, old, err)
}

// resolve finds out what became of a Put that came back with an error. No error
// says for sure that the object was not written: an answer may be lost on the way,
// and the client's own second attempt is then refused because of the first.
func (s *LedgerStore) resolve(ctx context.Context, path, id string, old ledger.Version, putErr error) (ledger.Version, error) {
	refused := false
	switch s3Code(putErr) {
	case "PreconditionFailed", // 412
		"ConditionalRequestConflict", // 409: another write to the key was under way
		"NoSuchKey":                  // 404 to If-Match: nothing there to replace
		refused = true
	case "NoSuchBucket":
		return "", fmt.Errorf("put %s: %w", s.url(path), putErr)
	}
	conflict := fmt.Errorf("put %s: %w: %w", s.url(path), ledger.ErrConflict, putErr)

	head, err := s.client.HeadObject(ctx, &s3.HeadObjectInput{Bucket: &s.bucket, Key: s.key(path)})
	switch {
	case err == nil && head.Metadata[putID] == id && aws.ToString(head.ETag) != "":
		return ledger.Version(*head.ETag), nil
	case refused && (err == nil || s3Code(err) == "NotFound"):
		return "", conflict
	case err == nil && aws.ToString(head.ETag) != string(old):
		return "", conflict // somebody else's object stands there
	case err == nil || s3Code(err) == "NotFound":
		return "", fmt.Errorf("put %s: not written so far: %w", s.url(path), putErr)
	}
	return "", fmt.Errorf("put %s: outcome unknown: %w", s.url(path), errors.Join(putErr, err))
}

func (s *LedgerStore) key(path string) *string { return aws.String(s.prefix + path) }

func (s *LedgerStore) url(path string) string {
	return "s3://" + s.bucket + "/" + s.prefix + path
}

// s3Code is S3's error code, "" if the error is not an answer of the service.
func s3Code(err error) string {
	var api smithy.APIError
	if errors.As(err, &api) {
		return api.ErrorCode()
	}
	return ""
}
