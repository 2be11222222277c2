package cloud

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

// authorization is the Authorization header of Signature Version 4.
type authorization struct {
	accessKeyID, date, region, service string
	signedHeaders                      []string
	signature                          string
}

const algorithm = "AWS4-HMAC-SHA256"

func parseAuthorization(r *http.Request) (authorization, error) {
	h := r.Header.Get("Authorization")
	if h == "" {
		return authorization{}, fail(403, "MissingAuthenticationToken", "Request is missing Authentication Token")
	}
	bad := fail(400, "IncompleteSignature", "Authorization header is not a complete %s header", algorithm)
	rest, ok := strings.CutPrefix(h, algorithm+" ")
	if !ok {
		return authorization{}, bad
	}
	var a authorization
	for part := range strings.SplitSeq(rest, ",") {
		name, value, _ := strings.Cut(strings.TrimSpace(part), "=")
		switch name {
		case "Credential":
			f := strings.Split(value, "/")
			if len(f) != 5 || f[4] != "aws4_request" {
				return authorization{}, bad
			}
			a.accessKeyID, a.date, a.region, a.service = f[0], f[1], f[2], f[3]
		case "SignedHeaders":
			a.signedHeaders = strings.Split(value, ";")
		case "Signature":
			a.signature = value
		}
	}
	if a.accessKeyID == "" || a.signature == "" || !slices.Contains(a.signedHeaders, "host") {
		return authorization{}, bad
	}
	return a, nil
}

// clockSkew is how far a signature's time may lie outside of what the machine's
// and the sandbox's clock show. Anything between the two is in time: clients
// sign by their own clock at first, and the SDKs then correct it by the Date of
// the last answer, after which a faster sandbox has moved on.
const clockSkew = 15 * time.Minute

// authenticate verifies the signature and returns who signed.
func (c *Cloud) authenticate(r *http.Request, a authorization, payloadHash string) (caller, error) {
	c.mu.Lock()
	who, secret, err := c.credential(a.accessKeyID, r.Header.Get("X-Amz-Security-Token"))
	c.mu.Unlock()
	if err != nil {
		return caller{}, err
	}
	stamp := r.Header.Get("X-Amz-Date")
	signed, err := time.Parse("20060102T150405Z", stamp)
	if err != nil || !strings.HasPrefix(stamp, a.date) {
		return caller{}, fail(400, "IncompleteSignature", "X-Amz-Date %q does not fit the credential scope", stamp)
	}
	earliest, latest := c.opts.Real(), c.opts.Clock.Now()
	if latest.Before(earliest) {
		earliest, latest = latest, earliest
	}
	if signed.Before(earliest.Add(-clockSkew)) || signed.After(latest.Add(clockSkew)) {
		return caller{}, fail(403, "RequestTimeTooSkewed", "signature of %s is more than %s away from the server's time", stamp, clockSkew)
	}
	for _, h := range []string{"x-amz-date", "x-amz-security-token"} {
		if r.Header.Get(h) != "" && !slices.Contains(a.signedHeaders, h) {
			return caller{}, fail(403, "SignatureDoesNotMatch", "header %s is there but not signed", h)
		}
	}
	want := signature(secret, a, stamp, canonicalRequest(r, a, payloadHash))
	if !hmac.Equal([]byte(want), []byte(a.signature)) {
		return caller{}, fail(403, "SignatureDoesNotMatch", "The request signature we calculated does not match the signature you provided. Check your AWS Secret Access Key and signing method.")
	}
	return who, nil
}

// payloadHash is the hash the signature covers. S3 names it in a header (and
// may say that the payload is not signed, or signed in chunks, which the backend
// decodes); a hash that is named must be the body's.
func (k *call) payloadHash() string {
	actual := sha256Hex(k.body)
	if k.Service != "s3" {
		return actual
	}
	named := k.HTTP.Header.Get("X-Amz-Content-Sha256")
	if isHexHash(named) {
		return actual
	}
	if named == "UNSIGNED-PAYLOAD" || strings.HasPrefix(named, "STREAMING-") {
		return named
	}
	return "x-amz-content-sha256 is missing" // matches no signature
}

func sha256Hex(b []byte) string {
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}

func isHexHash(s string) bool {
	b, err := hex.DecodeString(s)
	return err == nil && len(b) == sha256.Size
}

func canonicalRequest(r *http.Request, a authorization, payloadHash string) string {
	var b strings.Builder
	path := escape(r.URL.Path, false)
	if a.service != "s3" {
		path = escape(r.URL.EscapedPath(), false) // every service but S3 escapes twice
	}
	if path == "" {
		path = "/"
	}
	fmt.Fprintf(&b, "%s\n%s\n%s\n", r.Method, path, canonicalQuery(r.URL.RawQuery))
	for _, name := range a.signedHeaders {
		values := r.Header.Values(name)
		switch name {
		case "host":
			values = []string{r.Host}
		case "content-length":
			values = []string{strconv.FormatInt(r.ContentLength, 10)}
		case "transfer-encoding":
			values = r.TransferEncoding
		}
		trimmed := make([]string, len(values))
		for i, v := range values {
			trimmed[i] = strings.Join(strings.Fields(v), " ")
		}
		fmt.Fprintf(&b, "%s:%s\n", name, strings.Join(trimmed, ","))
	}
	fmt.Fprintf(&b, "\n%s\n%s", strings.Join(a.signedHeaders, ";"), payloadHash)
	return b.String()
}

func canonicalQuery(raw string) string {
	if raw == "" {
		return ""
	}
	var pairs []string
	for p := range strings.SplitSeq(raw, "&") {
		name, value, _ := strings.Cut(p, "=")
		if n, err := url.PathUnescape(name); err == nil {
			name = n
		}
		if v, err := url.PathUnescape(value); err == nil {
			value = v
		}
		pairs = append(pairs, escape(name, true)+"="+escape(value, true))
	}
	slices.Sort(pairs)
	return strings.Join(pairs, "&")
}

// escape percent-encodes all but the unreserved characters, and slashes if asked.
func escape(s string, slash bool) string {
	const hexDigits = "0123456789ABCDEF"
	var b strings.Builder
	for i := range len(s) {
		ch := s[i]
		switch {
		case ch >= 'a' && ch <= 'z', ch >= 'A' && ch <= 'Z', ch >= '0' && ch <= '9',
			ch == '-', ch == '_', ch == '.', ch == '~', ch == '/' && !slash:
			b.WriteByte(ch)
		default:
			b.WriteByte('%')
			b.WriteByte(hexDigits[ch>>4])
			b.WriteByte(hexDigits[ch&15])
		}
	}
	return b.String()
}

func signature(secret string, a authorization, stamp, canonical string) string {
	scope := strings.Join([]string{a.date, a.region, a.service, "aws4_request"}, "/")
	toSign := strings.Join([]string{algorithm, stamp, scope, sha256Hex([]byte(canonical))}, "\n")
	key := []byte("AWS4" + secret)
	for _, part := range []string{a.date, a.region, a.service, "aws4_request", toSign} {
		mac := hmac.New(sha256.New, key)
		mac.Write([]byte(part))
		key = mac.Sum(nil)
	}
	return hex.EncodeToString(key)
}
