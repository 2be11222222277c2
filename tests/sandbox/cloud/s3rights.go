package cloud

import (
	"net/http"
	"strings"

	"github.com/auditcanary/auditcanary/tests/sandbox/cloud/policy"
)

// What S3 asks for beside the action itself, by its user guide ("Required permissions for
// Amazon S3 API operations", "Using server-side encryption with AWS KMS keys").

// s3HeaderKeys are the condition keys that headers give.
var s3HeaderKeys = map[string]string{
	"If-None-Match": "s3:if-none-match", "If-Match": "s3:if-match", "X-Amz-Object-Lock-Mode": "s3:object-lock-mode",
}

// keyNeeds: S3 uses the key of an encrypted bucket in the caller's name.
func (k *call) keyNeeds(action string) []need {
	b := k.cloud.world.Buckets[k.str("Bucket")]
	if b == nil || b.Key == "" {
		return nil
	}
	n := need{resource: b.Key, context: policy.Context{"kms:viaservice": {"s3." + b.Region + ".amazonaws.com"}}}
	n.owner, _ = ofARN(b.Key)
	switch {
	case k.Operation == "GetObject":
		n.action = "kms:Decrypt"
	case action == "s3:PutObject":
		n.action = "kms:GenerateDataKey"
	default:
		return nil
	}
	return []need{n}
}

// asSeenBy is a reply as its caller may see it: without s3:ListBucket nobody learns that
// an object is not there, and without s3:GetObjectRetention not how it is locked.
func (c *Cloud) asSeenBy(k *call, w http.ResponseWriter) http.ResponseWriter {
	if k.Operation != "GetObject" && k.Operation != "HeadObject" {
		return w
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	key := ""
	if b := c.world.Buckets[k.str("Bucket")]; b != nil {
		key = b.Key
	}
	return &discreet{ResponseWriter: w, key: key, may: func(action, resource string) bool {
		c.mu.Lock()
		defer c.mu.Unlock()
		n := onS3(action, func(*call) string { return resource })(k)[0]
		n.action = action
		return c.authorize(k, n) == nil
	}, k: k}
}

type discreet struct {
	http.ResponseWriter
	may    func(action, resource string) bool
	k      *call
	key    string // that the object is encrypted with
	hidden bool
}

func (d *discreet) WriteHeader(status int) {
	h := d.Header()
	if status < 300 && d.key != "" {
		h.Set("X-Amz-Server-Side-Encryption", "aws:kms")
		h.Set("X-Amz-Server-Side-Encryption-Aws-Kms-Key-Id", d.key)
	}
	switch {
	case status == http.StatusNotFound && !d.may("s3:ListBucket", bucketARN(d.k)):
		d.hidden = true
		h.Del("Content-Length")
		d.ResponseWriter.WriteHeader(http.StatusForbidden)
		if d.k.HTTP.Method != http.MethodHead {
			_, _ = d.ResponseWriter.Write([]byte(`<Error><Code>AccessDenied</Code><Message>Access Denied</Message></Error>`))
		}
		return
	case status < 300 && hasLock(h) && !d.may("s3:GetObjectRetention", objectARN(d.k)):
		for name := range h {
			if isLock(name) {
				delete(h, name)
			}
		}
	}
	d.ResponseWriter.WriteHeader(status)
}

func (d *discreet) Write(p []byte) (int, error) {
	if d.hidden {
		return len(p), nil
	}
	return d.ResponseWriter.Write(p)
}

func hasLock(h http.Header) bool {
	for name := range h {
		if isLock(name) {
			return true
		}
	}
	return false
}

func isLock(header string) bool {
	header = strings.ToLower(header)
	return header == "x-amz-object-lock-mode" || header == "x-amz-object-lock-retain-until-date"
}
