package chains

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto"
	"crypto/md5"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/auditcanary/auditcanary/shared/trail"
)

// Object of a bucket.
type Object struct {
	Body   []byte
	Meta   map[string]string
	Stored time.Time
}

// Bucket is an archive in memory: a trail.Store.
type Bucket struct {
	Bucket  string
	Now     time.Time
	Objects map[string]Object
	// Refused are the keys that cannot be read and the prefixes that cannot be listed.
	Refused map[string]bool

	sorted []string // if nothing is to change any more
}

// sort makes listing cheap, if nothing is to change any more.
func (b *Bucket) sort() { b.sorted = slices.Sorted(maps.Keys(b.Objects)) }

var errRefused = errors.New("AccessDenied")

// Name of the bucket.
func (b *Bucket) Name() string { return b.Bucket }

// List implements trail.Store.
func (b *Bucket) List(_ context.Context, prefix, after string, each func(trail.Object) error) (time.Time, error) {
	for p := range b.Refused {
		if strings.HasPrefix(prefix, p) && strings.HasSuffix(p, "/") {
			return time.Time{}, fmt.Errorf("list %s: %w", prefix, errRefused)
		}
	}
	keys := b.sorted
	if keys == nil {
		keys = slices.Sorted(maps.Keys(b.Objects))
	}
	for _, key := range keys {
		if !strings.HasPrefix(key, prefix) || key <= after {
			continue
		}
		o := b.Objects[key]
		if err := each(trail.Object{Key: key, Size: int64(len(o.Body)), LastModified: o.Stored}); err != nil {
			return time.Time{}, err
		}
	}
	return b.Now, nil
}

// Open implements trail.Store.
func (b *Bucket) Open(_ context.Context, key string) (trail.Opened, error) {
	if b.Refused[key] {
		return trail.Opened{}, fmt.Errorf("get %s: %w", key, errRefused)
	}
	o, ok := b.Objects[key]
	if !ok {
		return trail.Opened{}, fmt.Errorf("get %s: %w", key, fs.ErrNotExist)
	}
	return trail.Opened{Body: io.NopCloser(bytes.NewReader(o.Body)), VersionID: "v1", LastModified: o.Stored, Metadata: maps.Clone(o.Meta)}, nil
}

// Key signs digests.
type Key struct {
	private *rsa.PrivateKey
	Public  trail.PublicKey
}

// NewKey makes a key that is valid in a time. spki: it is published in the other of the two forms.
func NewKey(from, until time.Time, spki bool) (*Key, error) {
	// CloudTrail's have 2048 bits; half of them sign hundreds of digests in no time.
	private, err := rsa.GenerateKey(rand.Reader, 1024)
	if err != nil {
		return nil, err
	}
	der := x509.MarshalPKCS1PublicKey(&private.PublicKey)
	if spki {
		if der, err = x509.MarshalPKIXPublicKey(&private.PublicKey); err != nil {
			return nil, err
		}
	}
	sum := md5.Sum(der)
	return &Key{private, trail.PublicKey{Fingerprint: hex.EncodeToString(sum[:]), DER: der, From: from, Until: until}}, nil
}

// Chain delivers log files and digests as CloudTrail does.
type Chain struct {
	Bucket               *Bucket
	Prefix, Organization string
	Account, Region      string
	Trail, Home          string
	Backfill             bool
	Key                  *Key
	Time                 time.Time // up to which there are digests
	Digests              []string  // keys, in order
	LogBucket            *Bucket   // where log files go, if not to Bucket
	Records              int       // in a log file; 1 if zero
	previous             *previous
	pending              []listedLog
	logs                 int
}

type previous struct{ bucket, key, sum, signature string }

type listedLog struct{ bucket, key, sum string }

func (c *Chain) folder(kind string, at time.Time) string {
	parts := []string{c.Prefix, "AWSLogs", c.Organization, c.Account, kind, c.Region, at.Format("2006/01/02")}
	return strings.Join(slices.DeleteFunc(parts, func(s string) bool { return s == "" }), "/") + "/"
}

// Log delivers a log file at a time, to be listed in the next digest, and returns its key.
func (c *Chain) Log(at time.Time) string {
	key, plain := c.Stray(at)
	c.pending = append(c.pending, listedLog{c.logBucket().Bucket, key, hexSum(plain)})
	return key
}

// put is Log with what the file holds.
func (c *Chain) put(at time.Time, packed, plain []byte) {
	key := c.logKey(at)
	c.logBucket().Objects[key] = Object{Body: packed, Stored: at}
	c.pending = append(c.pending, listedLog{c.logBucket().Bucket, key, hexSum(plain)})
}

func (c *Chain) logBucket() *Bucket {
	if c.LogBucket != nil {
		return c.LogBucket
	}
	return c.Bucket
}

func (c *Chain) logKey(at time.Time) string {
	c.logs++
	sum := sha256.Sum256([]byte(fmt.Sprint(c.Trail, c.Account, c.Region, c.logs)))
	return fmt.Sprintf("%s%s_CloudTrail_%s_%s_%s.json.gz", c.folder("CloudTrail", at), c.Account, c.Region, at.Format("20060102T1504Z"), hex.EncodeToString(sum[:8]))
}

// Stray puts a log file that no digest will list.
func (c *Chain) Stray(at time.Time) (key string, plain []byte) {
	key = c.logKey(at)
	plain = []byte(`{"Records":[`)
	for i := range max(1, c.Records) {
		if i > 0 {
			plain = append(plain, ',')
		}
		plain = fmt.Appendf(plain, `{"eventVersion":"1.11","eventID":"%s-%d","eventTime":%q`, c.Account, c.logs, at.Add(-4*time.Minute).Format(time.RFC3339))
		if c.Records > 1 { // about as long as a real one
			for j := range 20 {
				plain = fmt.Appendf(plain, `,"field%d":"%x"`, j, sha256.Sum256([]byte(fmt.Sprint(c.logs, i, j)))) // and as hard to compress
			}
		}
		plain = append(plain, '}')
	}
	plain = append(plain, "]}"...)
	c.logBucket().Objects[key] = Object{Body: Pack(plain), Stored: at}
	return key, plain
}

// Odd is what a digest has that others have not.
type Odd struct {
	For    time.Duration        // instead of an hour
	Anew   bool                 // it starts the chain anew
	Fields func(map[string]any) // changes its fields before it is signed
	Bytes  func([]byte) []byte  // and its bytes
	Late   time.Duration        // after its end, when it is stored; 2 minutes if zero
}

// Digest delivers the next hour's digest and returns its key.
func (c *Chain) Digest(odd Odd) string {
	if odd.For == 0 {
		odd.For = time.Hour
	}
	if odd.Late == 0 {
		odd.Late = 2 * time.Minute
	}
	end := c.Time.Add(odd.For)
	suffix := ""
	if c.Backfill {
		suffix = "_backfill"
	}
	key := fmt.Sprintf("%s%s_CloudTrail-Digest_%s_%s_%s_%s%s.json.gz", c.folder("CloudTrail-Digest", end), c.Account, c.Region, c.Trail, c.Home, end.Format("20060102T150405Z"), suffix)
	f := map[string]any{
		"awsAccountId": c.Account, "digestStartTime": c.Time.Format(time.RFC3339), "digestEndTime": end.Format(time.RFC3339),
		"digestS3Bucket": c.Bucket.Bucket, "digestS3Object": key,
		"digestPublicKeyFingerprint": c.Key.Public.Fingerprint, "digestSignatureAlgorithm": "SHA256withRSA",
		"newestEventTime": nil, "oldestEventTime": nil,
		"previousDigestS3Bucket": nil, "previousDigestS3Object": nil, "previousDigestHashValue": nil,
		"previousDigestHashAlgorithm": nil, "previousDigestSignature": nil,
	}
	logs := []map[string]any{}
	for _, l := range c.pending {
		logs = append(logs, map[string]any{"s3Bucket": l.bucket, "s3Object": l.key, "hashValue": l.sum, "hashAlgorithm": "SHA-256",
			"newestEventTime": c.Time.Format(time.RFC3339), "oldestEventTime": c.Time.Format(time.RFC3339)})
	}
	f["logFiles"] = logs
	if p := c.previous; p != nil && !odd.Anew {
		f["previousDigestS3Bucket"], f["previousDigestS3Object"], f["previousDigestHashValue"] = p.bucket, p.key, p.sum
		f["previousDigestHashAlgorithm"], f["previousDigestSignature"] = "SHA-256", p.signature
	}
	if odd.Fields != nil {
		odd.Fields(f)
	}
	plain, _ := json.Marshal(f) // of strings and nulls
	if odd.Bytes != nil {
		plain = odd.Bytes(plain)
	}
	previousSignature, _ := f["previousDigestSignature"].(string)
	if previousSignature == "" {
		previousSignature = "null"
	}
	endTime, _ := f["digestEndTime"].(string)
	signature := c.Key.sign(endTime + "\n" + c.Bucket.Bucket + "/" + key + "\n" + hexSum(plain) + "\n" + previousSignature)
	meta := map[string]string{"signature": signature, "signature-algorithm": "SHA256withRSA"}
	if c.Backfill {
		meta["backfill-generation-timestamp"] = end.Add(odd.Late).Format(time.RFC3339)
	}
	c.Bucket.Objects[key] = Object{Body: Pack(plain), Meta: meta, Stored: end.Add(odd.Late)}
	c.previous, c.pending, c.Time = &previous{c.Bucket.Bucket, key, hexSum(plain), signature}, nil, end
	c.Digests = append(c.Digests, key)
	return key
}

func (k *Key) sign(text string) string {
	hashed := sha256.Sum256([]byte(text))
	raw, err := rsa.SignPKCS1v15(nil, k.private, crypto.SHA256, hashed[:])
	if err != nil {
		panic(err) // a key of 1024 bits signs any hash
	}
	return hex.EncodeToString(raw)
}

// Pack compresses.
func Pack(plain []byte) []byte {
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	_, _ = z.Write(plain) // into memory
	_ = z.Close()
	return b.Bytes()
}

// Unpack uncompresses what Pack made.
func Unpack(packed []byte) []byte {
	z, err := gzip.NewReader(bytes.NewReader(packed))
	if err != nil {
		panic(err)
	}
	plain, err := io.ReadAll(z)
	if err != nil {
		panic(err)
	}
	return plain
}

func hexSum(b []byte) string {
	s := sha256.Sum256(b)
	return hex.EncodeToString(s[:])
}
