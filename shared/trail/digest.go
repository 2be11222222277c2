package trail

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// DigestKey is the parsed name of one digest:
//
//	[prefix/]AWSLogs/[o-id/]<account>/CloudTrail-Digest/<region>/YYYY/MM/DD/<account>_CloudTrail-Digest_<region>_<trail>_<home region>_YYYYMMDDTHHmmSSZ[_backfill].json.gz
//
// Source: CloudTrail user guide, "CloudTrail digest file structure", and the AWS
// CLI's validation.py.
type DigestKey struct {
	Prefix         string // without the closing slash; "" if none
	OrganizationID string // "o-..." for a digest of an organisation trail
	Account        string // 12 digits
	Region         string // whose log files it lists
	Trail          string // its name; it may hold underscores
	HomeRegion     string
	// Stamp is the second in the name: the end of the time the digest covers.
	Stamp time.Time
	// Backfill digests list log files that the hourly digests came too early for.
	// They are a chain of their own.
	Backfill bool
}

const (
	digestFolder      = "CloudTrail-Digest"
	digestStampFormat = "20060102T150405Z"
	backfillSuffix    = "_backfill"
)

// String is the object key.
func (k DigestKey) String() string {
	t := k.Stamp.UTC()
	name := strings.Join([]string{k.Account, digestFolder, k.Region, k.Trail, k.HomeRegion, t.Format(digestStampFormat)}, "_")
	if k.Backfill {
		name += backfillSuffix
	}
	return place{k.Prefix, k.OrganizationID, k.Account, k.Region}.folder(digestFolder) + t.Format(dayFormat) + "/" + name + logSuffix
}

// ParseDigestKey reads an object key. It accepts exactly the names CloudTrail
// gives to digests; the error of any other key says what is wrong with it.
func ParseDigestKey(key string) (DigestKey, error) {
	k, err := parseDigestKey(key)
	if err != nil {
		return DigestKey{}, fmt.Errorf("parse digest key %q: %w", key, err)
	}
	return k, nil
}

func parseDigestKey(key string) (DigestKey, error) {
	at, date, file, err := splitKey(key, digestFolder, "digests")
	if err != nil {
		return DigestKey{}, err
	}
	k := DigestKey{Prefix: at.prefix, OrganizationID: at.organization, Account: at.account, Region: at.region}
	rest, err := stemless(file, at, digestFolder)
	if err != nil {
		return DigestKey{}, err
	}
	rest, k.Backfill = strings.CutSuffix(rest, backfillSuffix)
	// From the right, as the trail's name may hold underscores.
	rest, stamp, ok := cutLast(rest)
	if !ok {
		return DigestKey{}, fmt.Errorf("file name %q has no trail, home region and time", file)
	}
	k.Stamp, err = time.Parse(digestStampFormat, stamp)
	if err != nil || k.Stamp.Format(digestStampFormat) != stamp {
		return DigestKey{}, fmt.Errorf("file name %q: %q is not a time of the form YYYYMMDDTHHmmSSZ", file, stamp)
	}
	if k.Stamp.Format(dayFormat) != date {
		return DigestKey{}, fmt.Errorf("file name %q does not belong in folder %q", file, date)
	}
	k.Trail, k.HomeRegion, ok = cutLast(rest)
	if !ok || !isRegion(k.HomeRegion) {
		return DigestKey{}, fmt.Errorf("file name %q has no home region before its time", file)
	}
	if !isTrail(k.Trail) {
		return DigestKey{}, fmt.Errorf("file name %q: %q is not the name of a trail", file, k.Trail)
	}
	return k, nil
}

func cutLast(s string) (before, after string, found bool) {
	i := strings.LastIndexByte(s, '_')
	if i < 0 {
		return s, "", false
	}
	return s[:i], s[i+1:], true
}

// isTrail: letters, digits, dots, underscores and hyphens, 128 at most
// (CloudTrail API reference, CreateTrail; it wants three at least).
func isTrail(s string) bool {
	return 0 < len(s) && len(s) <= 128 && only(s, func(c byte) bool {
		return lowerOrDigit(c) || 'A' <= c && c <= 'Z' || c == '.' || c == '_' || c == '-'
	})
}

// Digest is the content of one digest: what CloudTrail delivered in a time.
type Digest struct {
	Account string
	// Start and End of the time whose deliveries it lists, to the second.
	Start, End time.Time
	// Bucket and Key where it was delivered: it is valid nowhere else.
	Bucket, Key string
	Fingerprint string // of the key it is signed with, hex
	// Previous digest of the chain; nil: this one starts a chain.
	Previous *Previous
	Logs     []LogFile
	// SHA256 of the digest's own bytes, hex.
	SHA256 string
}

// Previous is what a digest says of the one before it.
type Previous struct{ Bucket, Key, SHA256, Signature string }

// LogFile is what a digest says of one log file.
type LogFile struct {
	Bucket, Key string
	SHA256      string // of its uncompressed bytes, hex; "" if the digest has none that can be checked
	Unchecked   string // why it has none
}

const (
	// MaxDigest bytes of one digest, uncompressed: some 18,000 log files in its hour.
	MaxDigest = 8 << 20

	hashAlgorithm      = "SHA-256"
	signatureAlgorithm = "SHA256withRSA"
)

// digestFile is a digest as written. Fields that are not here are allowed: what
// CloudTrail adds is signed with the rest.
type digestFile struct {
	Account     *string        `json:"awsAccountId"`
	Start       *string        `json:"digestStartTime"`
	End         *string        `json:"digestEndTime"`
	Bucket      *string        `json:"digestS3Bucket"`
	Key         *string        `json:"digestS3Object"`
	Fingerprint *string        `json:"digestPublicKeyFingerprint"`
	Algorithm   *string        `json:"digestSignatureAlgorithm"`
	LogFiles    *[]digestEntry `json:"logFiles"`

	// Null in a starting digest, which is not the same as absent.
	PreviousBucket        jsontext.Value `json:"previousDigestS3Bucket"`
	PreviousKey           jsontext.Value `json:"previousDigestS3Object"`
	PreviousHash          jsontext.Value `json:"previousDigestHashValue"`
	PreviousHashAlgorithm jsontext.Value `json:"previousDigestHashAlgorithm"`
	PreviousSignature     jsontext.Value `json:"previousDigestSignature"`
}

type digestEntry struct {
	Bucket    string `json:"s3Bucket"`
	Key       string `json:"s3Object"`
	Hash      string `json:"hashValue"`
	Algorithm string `json:"hashAlgorithm"`
}

// ParseDigest reads the uncompressed bytes of a digest. It refuses what two
// readers might read differently (a name twice in an object, bytes that are no
// UTF-8, something after the object), and what it could not verify. It says
// nothing about the signature.
func ParseDigest(plain []byte) (Digest, error) {
	d, err := parseDigest(plain)
	if err != nil {
		return Digest{}, fmt.Errorf("parse digest: %w", err)
	}
	return d, nil
}

func parseDigest(plain []byte) (Digest, error) {
	if len(plain) > MaxDigest {
		return Digest{}, tooLarge{MaxDigest, "uncompressed"}
	}
	var f digestFile
	if err := json.Unmarshal(plain, &f); err != nil {
		return Digest{}, err
	}
	d := Digest{SHA256: sum(plain)}
	for _, want := range []struct {
		name string
		from *string
		to   *string
	}{
		{"awsAccountId", f.Account, &d.Account},
		{"digestS3Bucket", f.Bucket, &d.Bucket},
		{"digestS3Object", f.Key, &d.Key},
		{"digestPublicKeyFingerprint", f.Fingerprint, &d.Fingerprint},
	} {
		if want.from == nil || *want.from == "" {
			return Digest{}, fmt.Errorf("has no %s", want.name)
		}
		*want.to = *want.from
	}
	var err error
	if d.Start, err = digestTime("digestStartTime", f.Start); err != nil {
		return Digest{}, err
	}
	if d.End, err = digestTime("digestEndTime", f.End); err != nil {
		return Digest{}, err
	}
	if d.End.Before(d.Start) {
		return Digest{}, fmt.Errorf("ends at %s, before its start at %s", *f.End, *f.Start)
	}
	if f.Algorithm != nil && *f.Algorithm != signatureAlgorithm {
		return Digest{}, fmt.Errorf("digestSignatureAlgorithm is %q, not %s", *f.Algorithm, signatureAlgorithm)
	}
	if d.Previous, err = f.previous(); err != nil {
		return Digest{}, err
	}
	if f.LogFiles == nil {
		return Digest{}, errors.New("has no logFiles")
	}
	d.Logs = make([]LogFile, 0, len(*f.LogFiles))
	for i, l := range *f.LogFiles {
		log := LogFile{Bucket: l.Bucket, Key: l.Key, SHA256: l.Hash}
		switch {
		case l.Bucket == "" || l.Key == "":
			return Digest{}, fmt.Errorf("logFiles[%d] has no s3Bucket or s3Object", i)
		case l.Algorithm != hashAlgorithm:
			log.SHA256, log.Unchecked = "", fmt.Sprintf("the digest's hashAlgorithm for it is %q, not %s", l.Algorithm, hashAlgorithm)
		case !isSum(l.Hash):
			log.SHA256, log.Unchecked = "", fmt.Sprintf("the digest's hashValue for it, %q, is no SHA-256 in hex", l.Hash)
		}
		d.Logs = append(d.Logs, log)
	}
	return d, nil
}

// previous: all its fields are null, or all are set.
func (f digestFile) previous() (*Previous, error) {
	var p Previous
	var algorithm string
	nulls := 0
	fields := []struct {
		name  string
		value jsontext.Value
		to    *string
	}{
		{"previousDigestS3Bucket", f.PreviousBucket, &p.Bucket},
		{"previousDigestS3Object", f.PreviousKey, &p.Key},
		{"previousDigestHashValue", f.PreviousHash, &p.SHA256},
		{"previousDigestHashAlgorithm", f.PreviousHashAlgorithm, &algorithm},
		{"previousDigestSignature", f.PreviousSignature, &p.Signature},
	}
	for _, v := range fields {
		switch v.value.Kind() {
		case 'n':
			nulls++
		case '"':
			if err := json.Unmarshal(v.value, v.to); err != nil || *v.to == "" {
				return nil, fmt.Errorf("%s is empty", v.name)
			}
		default:
			if len(v.value) == 0 {
				return nil, fmt.Errorf("has no %s", v.name)
			}
			return nil, fmt.Errorf("%s is neither a string nor null", v.name)
		}
	}
	switch {
	case nulls == len(fields):
		return nil, nil
	case nulls > 0:
		return nil, errors.New("some of previousDigest... are null and some are not")
	case algorithm != hashAlgorithm:
		return nil, fmt.Errorf("previousDigestHashAlgorithm is %q, not %s", algorithm, hashAlgorithm)
	case !isSum(p.SHA256):
		return nil, fmt.Errorf("previousDigestHashValue %q is no SHA-256 in hex", p.SHA256)
	}
	return &p, nil
}

// digestTimeFormat is how CloudTrail writes times; the signature covers the text.
const digestTimeFormat = "2006-01-02T15:04:05Z"

func digestTime(name string, text *string) (time.Time, error) {
	if text == nil {
		return time.Time{}, fmt.Errorf("has no %s", name)
	}
	t, err := time.Parse(digestTimeFormat, *text)
	if err != nil || t.Format(digestTimeFormat) != *text {
		return time.Time{}, fmt.Errorf("%s %q is not a time of the form YYYY-MM-DDTHH:MM:SSZ", name, *text)
	}
	return t, nil
}

func sum(b []byte) string {
	s := sha256.Sum256(b)
	return hex.EncodeToString(s[:])
}

// isSum: a SHA-256 in lower-case hex.
func isSum(s string) bool {
	return len(s) == 2*sha256.Size && only(s, func(c byte) bool { return '0' <= c && c <= '9' || 'a' <= c && c <= 'f' })
}
