package aws

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"strings"
	"time"

	logs "github.com/auditcanary/auditcanary/shared/trail"
	awssdk "github.com/aws/aws-sdk-go-v2/aws"
	awsmiddleware "github.com/aws/aws-sdk-go-v2/aws/middleware"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/smithy-go"
	smithyhttp "github.com/aws/smithy-go/transport/http"
)

// ArchiveStore is a bucket that holds CloudTrail files: a trail.Store.
type ArchiveStore struct {
	client *s3.Client
	bucket string
}

var _ logs.Store = (*ArchiveStore)(nil)

// NewArchiveStore reads a bucket through a client of the bucket's own region.
// The client's identity needs s3:ListBucket on the bucket, s3:GetObject on the
// log files, and kms:Decrypt on the trail's key if it has one.
func NewArchiveStore(client *s3.Client, bucket string) *ArchiveStore {
	return &ArchiveStore{client: client, bucket: bucket}
}

// KeepConnections returns cfg with as many connections to each host kept open as
// are used at a time: the SDK keeps 10, and makes each further one anew, with a
// TLS handshake that takes longer than the request.
func KeepConnections(cfg awssdk.Config, n int) awssdk.Config {
	client, ok := cfg.HTTPClient.(*awshttp.BuildableClient)
	if !ok {
		if cfg.HTTPClient != nil {
			return cfg // somebody else's
		}
		client = awshttp.NewBuildableClient()
	}
	cfg.HTTPClient = client.WithTransportOptions(func(t *http.Transport) {
		t.MaxIdleConnsPerHost, t.MaxIdleConns = max(n, t.MaxIdleConnsPerHost), max(2*n, t.MaxIdleConns)
	})
	return cfg
}

// Name of the bucket.
func (a *ArchiveStore) Name() string { return a.bucket }

// List implements trail.Store with ListObjectsV2, 1,000 keys a request. The time
// it returns is the Date of the first reply.
func (a *ArchiveStore) List(ctx context.Context, prefix, startAfter string, each func(logs.Object) error) (time.Time, error) {
	in := &s3.ListObjectsV2Input{Bucket: &a.bucket, Prefix: &prefix}
	if startAfter != "" {
		in.StartAfter = &startAfter
	}
	var asOf time.Time
	for pages := s3.NewListObjectsV2Paginator(a.client, in); pages.HasMorePages(); {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return time.Time{}, a.explain("ListObjectsV2", prefix, err)
		}
		if page.Name == nil { // the SDK takes any XML for an empty listing, a proxy's page too
			return time.Time{}, a.explain("ListObjectsV2", prefix, errors.New("the reply is no listing: it does not name the bucket"))
		}
		if asOf.IsZero() {
			t, ok := awsmiddleware.GetServerTime(page.ResultMetadata)
			if !ok || t.IsZero() {
				return time.Time{}, a.explain("ListObjectsV2", prefix, errors.New("the reply has no Date"))
			}
			asOf = t.UTC()
		}
		for _, o := range page.Contents {
			if o.Key == nil || o.LastModified == nil {
				return time.Time{}, a.explain("ListObjectsV2", prefix, errors.New("the reply names an object without its key or time"))
			}
			object := logs.Object{Key: *o.Key, Size: awssdk.ToInt64(o.Size), LastModified: o.LastModified.UTC()}
			if err := each(object); err != nil {
				return time.Time{}, err
			}
		}
	}
	return asOf, nil
}

// Open implements trail.Store with one GetObject. The body is the object's bytes
// as stored: the SDK asks for no encoding, so nothing on the way undoes the gzip.
func (a *ArchiveStore) Open(ctx context.Context, key string) (logs.Opened, error) {
	out, err := a.client.GetObject(ctx, &s3.GetObjectInput{Bucket: &a.bucket, Key: &key})
	if err != nil {
		err = a.explain("GetObject", key, err)
		// Only this code says so: without s3:ListBucket a missing object is a 403.
		if api := smithy.APIError(nil); errors.As(err, &api) && api.ErrorCode() == "NoSuchKey" {
			err = notExist{err}
		}
		return logs.Opened{}, err
	}
	if out.LastModified == nil {
		out.Body.Close()
		return logs.Opened{}, a.explain("GetObject", key, errors.New("the reply has no Last-Modified"))
	}
	metadata := make(map[string]string, len(out.Metadata))
	for name, value := range out.Metadata {
		metadata[strings.ToLower(name)] = value
	}
	return logs.Opened{
		Body:         out.Body,
		VersionID:    awssdk.ToString(out.VersionId),
		LastModified: out.LastModified.UTC(),
		Metadata:     metadata,
	}, nil
}

// notExist is an error that is also fs.ErrNotExist.
type notExist struct{ error }

func (e notExist) Unwrap() []error { return []error{e.error, fs.ErrNotExist} }

// explain names operation, bucket and key, and says what to do about the errors
// that people meet.
func (a *ArchiveStore) explain(operation, key string, err error) error {
	object := "s3://" + a.bucket + "/" + key
	if hint := archiveHint(operation, a.bucket, err); hint != "" {
		return fmt.Errorf("%s %s: %w (%s)", operation, object, err, hint)
	}
	return fmt.Errorf("%s %s: %w", operation, object, err)
}

// archiveHint says what to do next, "" where nothing is known.
func archiveHint(operation, bucket string, err error) string {
	var code string
	var api smithy.APIError
	if errors.As(err, &api) {
		code = api.ErrorCode()
	}
	var status int
	var reply *smithyhttp.ResponseError
	if errors.As(err, &reply) {
		status = reply.HTTPStatusCode()
	}
	switch code {
	case "NoSuchBucket":
		return fmt.Sprintf("there is no bucket %s; check the log store's bucket in the configuration against the trail's S3BucketName", bucket)
	case "PermanentRedirect", "AuthorizationHeaderMalformed", "IllegalLocationConstraintException":
		return fmt.Sprintf("bucket %s is in another region; set the log store's region%s", bucket, regionOf(reply))
	case "ExpiredToken", "ExpiredTokenException", "RequestExpired":
		return "the credentials have expired; renew them and run again"
	case "InvalidAccessKeyId", "SignatureDoesNotMatch":
		return "the credentials are not valid; check where they come from"
	case "RequestTimeTooSkewed":
		return "this machine's clock is wrong; set it"
	case "NoSuchKey":
		return "the object was listed but is gone: log files must not be deleted"
	case "InvalidObjectState":
		return "the object is in an archive storage class; restore it, or look sooner than the lifecycle rule moves it"
	case "KMS.DisabledException", "KMS.KMSInvalidStateException", "KMS.NotFoundException":
		return "the key the object is encrypted with is disabled or gone; enable the trail's KMS key"
	case "AccessDenied", "AccessDeniedException", "KMS.AccessDeniedException":
		if operation == "ListObjectsV2" {
			return fmt.Sprintf("the reader needs s3:ListBucket on arn:aws:s3:::%s, in its own policy and in the bucket's", bucket)
		}
		if strings.Contains(api.ErrorMessage(), "kms:") || code == "KMS.AccessDeniedException" {
			return "the reader needs kms:Decrypt on the key the trail encrypts with, in its own policy and in the key's"
		}
		return fmt.Sprintf("the reader needs s3:GetObject on arn:aws:s3:::%s/*, and kms:Decrypt on the key if the trail encrypts with one", bucket)
	}
	switch status { // some replies have no body to hold a code
	case http.StatusMovedPermanently, http.StatusTemporaryRedirect:
		return fmt.Sprintf("bucket %s is in another region; set the log store's region%s", bucket, regionOf(reply))
	}
	return ""
}

// regionOf is what the reply says about the bucket's region, if it does.
func regionOf(reply *smithyhttp.ResponseError) string {
	if reply == nil || reply.Response == nil {
		return ""
	}
	region := reply.Response.Header.Get("X-Amz-Bucket-Region")
	if region == "" {
		return ""
	}
	return fmt.Sprintf(" to %q", region)
}
