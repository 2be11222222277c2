package archive

import (
	"context"
	"crypto"
	"crypto/md5"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/auditcanary/auditcanary/tests/sandbox/fault"
)

// digestLag is how long after its hour a digest is delivered.
const digestLag = 2 * time.Minute

// chain is the digests of one scope: each names the one before.
type chain struct {
	files    []deliveredFile // in no digest yet
	previous *digestLink
	latest   []byte // content of the file delivered last, for the fault "replace"
	digest   Object // delivered last, likewise
}

func newChain() *chain { return &chain{latest: emptyFile} }

var emptyFile = []byte(`{"Records":[]}`)

type digestLink struct{ key, sha256, signature string }

type deliveredFile struct {
	key    string
	sha256 string // of the uncompressed content, hex
	span   span
	at     time.Time
}

// digestFile is the content of a digest, in CloudTrail's order.
type digestFile struct {
	AWSAccountID                string      `json:"awsAccountId"`
	DigestStartTime             string      `json:"digestStartTime"`
	DigestEndTime               string      `json:"digestEndTime"`
	DigestS3Bucket              string      `json:"digestS3Bucket"`
	DigestS3Object              string      `json:"digestS3Object"`
	DigestPublicKeyFingerprint  string      `json:"digestPublicKeyFingerprint"`
	DigestSignatureAlgorithm    string      `json:"digestSignatureAlgorithm"`
	NewestEventTime             *string     `json:"newestEventTime"` // null: no files
	OldestEventTime             *string     `json:"oldestEventTime"`
	PreviousDigestS3Bucket      *string     `json:"previousDigestS3Bucket"` // null, with the next four: a starting digest
	PreviousDigestS3Object      *string     `json:"previousDigestS3Object"`
	PreviousDigestHashValue     *string     `json:"previousDigestHashValue"`
	PreviousDigestHashAlgorithm *string     `json:"previousDigestHashAlgorithm"`
	PreviousDigestSignature     *string     `json:"previousDigestSignature"`
	LogFiles                    []digestLog `json:"logFiles"`
}

type digestLog struct {
	S3Bucket        string  `json:"s3Bucket"`
	S3Object        string  `json:"s3Object"`
	HashValue       string  `json:"hashValue"`
	HashAlgorithm   string  `json:"hashAlgorithm"`
	NewestEventTime *string `json:"newestEventTime"`
	OldestEventTime *string `json:"oldestEventTime"`
}

// DigestNow delivers the digests up to a time without waiting for their hours to
// pass: one per whole hour and, like CloudTrail's last one when logging is
// stopped, a shorter one to the end. Files still pending are not in them.
func (d *Delivery) DigestNow(ctx context.Context, until time.Time) error {
	d.work.Lock()
	defer d.work.Unlock()
	until = until.UTC().Truncate(time.Second)
	for d.windowStart.Before(until) {
		end := d.windowStart.Add(time.Hour)
		if end.After(until) {
			end = until
		}
		if err := d.digest(ctx, end); err != nil {
			return err
		}
	}
	return nil
}

// digest delivers the digests of every scope for the time from windowStart to
// end, and begins the next window. After an error it can be tried again: scopes
// that have theirs are not given another. The caller holds work.
func (d *Delivery) digest(ctx context.Context, end time.Time) error {
	scopes := slices.SortedFunc(maps.Keys(d.chains), func(a, b Scope) int {
		return strings.Compare(a.Account+a.Region, b.Account+b.Region)
	})
	for _, s := range scopes {
		c := d.chains[s]
		key := d.digestKey(s, end)
		if c.previous != nil && c.previous.key == key {
			continue
		}
		if err := d.digestOne(ctx, s, c, key, end); err != nil {
			return fmt.Errorf("archive: digest of %s in %s until %s: %w", s.Account, s.Region, end.Format(time.RFC3339), err)
		}
	}
	d.windowStart = end
	return nil
}

func (d *Delivery) digestKey(s Scope, end time.Time) string {
	return fmt.Sprintf("%s/%s_CloudTrail-Digest_%s_%s_%s_%s.json.gz", d.folder(s, "CloudTrail-Digest", end, ""),
		s.Account, s.Region, d.c.Trail.Name, d.c.Trail.HomeRegion, end.Format("20060102T150405Z"))
}

func (d *Delivery) digestOne(ctx context.Context, s Scope, c *chain, key string, end time.Time) error {
	k, err := d.keys.of(s.Region)
	if err != nil {
		return err
	}
	bucket := d.c.Trail.Bucket
	f := digestFile{
		AWSAccountID:    s.Account,
		DigestStartTime: d.windowStart.Format(time.RFC3339), DigestEndTime: end.Format(time.RFC3339),
		DigestS3Bucket: bucket, DigestS3Object: key,
		DigestPublicKeyFingerprint: k.public.Fingerprint,
		DigestSignatureAlgorithm:   "SHA256withRSA",
		LogFiles:                   []digestLog{}, // not null
	}
	before := "null"
	if p := c.previous; p != nil {
		algorithm := "SHA-256"
		f.PreviousDigestS3Bucket, f.PreviousDigestS3Object = &bucket, &p.key
		f.PreviousDigestHashValue, f.PreviousDigestHashAlgorithm = &p.sha256, &algorithm
		f.PreviousDigestSignature = &p.signature
		before = p.signature
	}
	var all span
	var later []deliveredFile
	for _, file := range c.files {
		if file.at.After(end) {
			later = append(later, file)
			continue
		}
		newest, oldest := file.span.strings()
		f.LogFiles = append(f.LogFiles, digestLog{bucket, file.key, file.sha256, "SHA-256", newest, oldest})
		all.add(file.span.oldest)
		all.add(file.span.newest)
	}
	f.NewestEventTime, f.OldestEventTime = all.strings()

	plain, err := encode(f)
	if err != nil {
		return err
	}
	sum := hexSum(plain)
	hashed := sha256.Sum256([]byte(f.DigestEndTime + "\n" + bucket + "/" + key + "\n" + sum + "\n" + before))
	raw, err := rsa.SignPKCS1v15(nil, k.private, crypto.SHA256, hashed[:])
	if err != nil {
		return fmt.Errorf("sign: %w", err)
	}
	signature := hex.EncodeToString(raw)
	packed, err := pack(plain)
	if err != nil {
		return err
	}
	o := Object{Key: key, Body: packed, Metadata: map[string]string{
		"signature": signature, "signature-algorithm": "SHA256withRSA",
	}}
	if err := d.send(ctx, s, c, o, plain); err != nil {
		return err
	}
	c.files, c.previous = later, &digestLink{key, sum, signature}
	return nil
}

// send delivers a digest, or what faults leave of it; plain is its content.
func (d *Delivery) send(ctx context.Context, s Scope, c *chain, o Object, plain []byte) error {
	actions := d.fire(fault.AtDigest, s, map[string]any{"key": o.Key})
	do := together(actions)
	if do.Drop {
		return nil
	}
	sent, older := o, c.digest
	if older.Body == nil { // there is none before the first
		body, err := pack(emptyFile)
		if err != nil {
			return err
		}
		older = Object{Body: body, Metadata: o.Metadata}
	}
	if do.Replace {
		sent.Body, sent.Metadata = older.Body, older.Metadata
	}
	for _, a := range actions {
		if !a.Do.Edits() {
			continue
		}
		body, err := edited(plain, a.Do)
		if err != nil {
			return fmt.Errorf("fault %q: %w", a.Name, err)
		}
		if plain = body; !do.Replace {
			if sent.Body, err = pack(plain); err != nil {
				return err
			}
		}
	}
	sent.Body = damage(sent.Body, do)
	put := func(ctx context.Context) error {
		at, err := d.place(ctx, s, "digest", sent, older)
		if err != nil {
			return fmt.Errorf("archive: deliver digest %s: %w", o.Key, err)
		}
		d.mu.Lock()
		d.last.LatestDigest = at
		d.latest[s] = Status{d.latest[s].LatestDelivery, at, 0}
		d.mu.Unlock()
		return nil
	}
	if do.Delay > 0 {
		d.again(&batch{Scope: s, then: put}, d.c.Clock.Now().Add(do.Delay))
	} else if err := put(ctx); err != nil {
		return err
	}
	c.digest = o
	return nil
}

// edited is a digest's content after a fault changed fields of it.
func edited(plain []byte, do fault.Do) ([]byte, error) {
	var fields map[string]any
	if err := json.Unmarshal(plain, &fields); err != nil {
		return nil, err
	}
	return encode(do.Edit(fields))
}

func (s span) strings() (newest, oldest *string) {
	if s.newest.IsZero() {
		return nil, nil
	}
	n, o := s.newest.UTC().Format(time.RFC3339), s.oldest.UTC().Format(time.RFC3339)
	return &n, &o
}

func hexSum(b []byte) string {
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}

// PublicKey is one answer of CloudTrail's ListPublicKeys.
type PublicKey struct {
	DER         []byte // PKCS #1
	Fingerprint string // hex MD5 of DER, as CloudTrail's are
	Start, End  time.Time
}

// PublicKeys returns the keys that sign digests of a region and are valid at some
// time between start and end. A key that could not be made is reported and absent.
func (d *Delivery) PublicKeys(region string, start, end time.Time) []PublicKey {
	k, err := d.keys.of(region)
	if err != nil {
		d.c.Report(err)
		return nil
	}
	if k.public.End.Before(start) || k.public.Start.After(end) {
		return nil
	}
	return []PublicKey{k.public}
}

// keyring makes one key per region, when it is first wanted.
type keyring struct {
	from time.Time // start of the delivery
	mu   sync.Mutex
	keys map[string]signingKey
}

type signingKey struct {
	private *rsa.PrivateKey
	public  PublicKey
}

func (r *keyring) of(region string) (signingKey, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if k, ok := r.keys[region]; ok {
		return k, nil
	}
	private, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		return signingKey{}, fmt.Errorf("make the digest key of %s: %w", region, err)
	}
	der := x509.MarshalPKCS1PublicKey(&private.PublicKey)
	sum := md5.Sum(der)
	k := signingKey{private, PublicKey{
		DER: der, Fingerprint: hex.EncodeToString(sum[:]),
		Start: r.from.AddDate(0, 0, -1), End: r.from.AddDate(1, 0, 0), // longer than a sandbox lives
	}}
	if r.keys == nil {
		r.keys = map[string]signingKey{}
	}
	r.keys[region] = k
	return k, nil
}
