package archive

import (
	"bytes"
	"context"
	"crypto/md5"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
)

// maxBody is how large an upload may be: a log file has at most 50 MB.
const maxBody = 64 << 20

// ServeHTTP answers one S3 request in path style (/bucket/key). Whoever calls it
// has authenticated and authorised it. The Date of the reply is the sandbox's.
// An X-Amz-Request-Id and X-Amz-Id-2 that are already set on w are kept, so
// that the caller can know them before the reply.
func (a *Archive) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	f := front{a: a, w: w, r: r, q: r.URL.Query()}
	f.bucket, f.key, _ = strings.Cut(strings.TrimPrefix(r.URL.Path, "/"), "/")
	f.write = r.Method != http.MethodGet && r.Method != http.MethodHead
	f.serve()
}

// front is one request on its way to the gateway.
type front struct {
	a           *Archive
	w           http.ResponseWriter
	r           *http.Request
	q           url.Values
	bucket, key string
	write       bool
}

func (f *front) serve() {
	if !plainKey(f.r.URL.Path) {
		f.refuse(refusal{http.StatusBadRequest, "InvalidURI", "Couldn't parse the specified URI."})
		return
	}
	var body []byte
	if f.write {
		var err error
		if body, err = readBody(f.r); err != nil {
			f.refuse(err)
			return
		}
	}
	if f.write {
		f.a.writes.Lock()
		defer f.a.writes.Unlock()
	} else {
		f.a.writes.RLock()
	}
	// Under the lock: what was stamped earlier than this Date is in this reply.
	f.w.Header().Set("Date", f.a.clock.Now().UTC().Format(http.TimeFormat))

	var resp *http.Response
	var err error
	if f.write {
		resp, err = f.change(body)
	} else {
		resp, err = f.answer(nil)
		f.a.writes.RUnlock()
	}
	switch {
	case err != nil:
		f.refuse(err)
	case resp != nil:
		f.reply(resp)
	}
}

// change answers a writing request and sees to the times of the objects it touches.
func (f *front) change(body []byte) (*http.Response, error) {
	keys, err := f.keys(body)
	if err != nil {
		return nil, err
	}
	before := map[string]fileTimes{}
	for _, key := range keys {
		if before[key], err = f.a.look(f.bucket, key); err != nil {
			return nil, err
		}
	}
	resp, err := f.answer(body)
	if err != nil || resp == nil {
		return nil, err
	}
	for key, t := range before {
		if _, err := f.a.stamp(f.bucket, key, t); err != nil {
			resp.Body.Close()
			return nil, err
		}
	}
	return resp, nil
}

// keys are the objects a writing request touches.
func (f *front) keys(body []byte) ([]string, error) {
	if f.key != "" {
		return []string{f.key}, nil
	}
	if f.r.Method != http.MethodPost || !f.q.Has("delete") {
		return nil, nil
	}
	var batch struct {
		Object []struct{ Key string }
	}
	if err := xml.Unmarshal(body, &batch); err != nil {
		return nil, malformedXML
	}
	var out []string
	for _, o := range batch.Object {
		if !plainKey(o.Key) {
			return nil, refusal{http.StatusBadRequest, "InvalidURI", "Couldn't parse the specified URI."}
		}
		out = append(out, o.Key)
	}
	return out, nil
}

// plainKey: the key means, as a path of the gateway's file system, what it says.
func plainKey(key string) bool {
	for part := range strings.SplitSeq(key, "/") {
		if part == "." || part == ".." {
			return false
		}
	}
	return true
}

var malformedXML = refusal{http.StatusBadRequest, "MalformedXML",
	"The XML you provided was not well-formed or did not validate against our published schema"}

// answer answers the request itself (nil, nil), or returns the gateway's reply.
func (f *front) answer(body []byte) (*http.Response, error) {
	if f.bucket == "" {
		return nil, refusal{http.StatusNotImplemented, "NotImplemented", "The sandbox does not list buckets."}
	}
	b, ok := f.a.Bucket(f.bucket)
	if !ok {
		if f.key == "" && f.r.Method == http.MethodPut && len(f.q) == 0 {
			return nil, refusal{http.StatusNotImplemented, "NotImplemented", "The sandbox's buckets are made at its start."}
		}
		return nil, refusal{http.StatusNotFound, "NoSuchBucket", "The specified bucket does not exist"}
	}
	if f.key == "" && f.r.Method == http.MethodGet && f.q.Has("location") {
		f.location(b)
		return nil, nil
	}
	f.w.Header().Set("X-Amz-Bucket-Region", b.Region)
	if region := signedRegion(f.r); region != "" && region != b.Region {
		return nil, refusal{http.StatusMovedPermanently, "PermanentRedirect",
			"The bucket you are attempting to access must be addressed using the specified endpoint. Please send all future requests to this endpoint."}
	}
	if f.key == "" {
		for name := range documents {
			if f.q.Has(name) {
				return nil, f.document(name, body)
			}
		}
		if f.r.Method == http.MethodDelete && len(f.q) == 0 {
			return nil, refusal{http.StatusNotImplemented, "NotImplemented", "The sandbox's buckets live as long as it does."}
		}
	}
	h := forwardable(f.r.Header)
	if f.startsObject() {
		if err := f.a.retain(f.r.Context(), f.bucket, h); err != nil {
			return nil, err
		}
	}
	u := *f.r.URL
	u.Scheme, u.Host, u.RawQuery = "http", f.r.Host, withoutSignature(f.r.URL.RawQuery)
	return f.a.forward(f.r.Context(), f.r.Method, &u, h, body)
}

// startsObject: the request carries the headers of a new version.
func (f *front) startsObject() bool {
	if f.key == "" {
		return false
	}
	return f.r.Method == http.MethodPut && !f.q.Has("acl") && !f.q.Has("tagging") && !f.q.Has("retention") &&
		!f.q.Has("legal-hold") && !f.q.Has("partNumber") ||
		f.r.Method == http.MethodPost && f.q.Has("uploads")
}

// retain applies the bucket's default retention to the headers of a new version,
// as S3 does. The gateway enforces a default, but does not show it on the object.
func (a *Archive) retain(ctx context.Context, bucket string, h http.Header) error {
	b, ok := a.Bucket(bucket)
	if !ok || b.Lock == nil || h.Get("X-Amz-Object-Lock-Mode") != "" {
		return nil
	}
	// Asked for each time: PutObjectLockConfiguration may have changed it.
	reply, err := a.internalGet(ctx, http.MethodGet, "/"+bucket, "object-lock", nil, nil)
	if err != nil {
		return fmt.Errorf("get the default retention of %s: %w", bucket, err)
	}
	var conf struct {
		Rule struct {
			Default struct {
				Mode        string
				Days, Years int
			} `xml:"DefaultRetention"`
		}
	}
	if err := xml.Unmarshal(reply, &conf); err != nil {
		return fmt.Errorf("read the default retention of %s: %w", bucket, err)
	}
	if conf.Rule.Default.Mode == "" {
		return nil
	}
	until := a.clock.Now().AddDate(conf.Rule.Default.Years, 0, conf.Rule.Default.Days)
	h.Set("X-Amz-Object-Lock-Mode", conf.Rule.Default.Mode)
	h.Set("X-Amz-Object-Lock-Retain-Until-Date", until.UTC().Format(time.RFC3339))
	return nil
}

// forward signs a request with the gateway's own key and sends it.
func (a *Archive) forward(ctx context.Context, method string, u *url.URL, h http.Header, body []byte) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, method, u.String(), nil)
	if err != nil {
		return nil, fmt.Errorf("build the request: %w", err)
	}
	// As it came: a second encoding might differ from what was asked for.
	req.URL = u
	for k, v := range h {
		req.Header[k] = v
	}
	if method == http.MethodPut || method == http.MethodPost {
		req.Body, req.ContentLength = io.NopCloser(bytes.NewReader(body)), int64(len(body))
		if len(body) == 0 {
			req.Body = http.NoBody // says Content-Length: 0; the other would say nothing
		}
		// The gateway asks for a digest of the body with some requests; the caller's
		// was checked or will be by the gateway.
		if req.Header.Get("Content-Md5") == "" && !hasChecksum(req.Header) && len(body) > 0 {
			sum := md5.Sum(body)
			req.Header.Set("Content-Md5", base64.StdEncoding.EncodeToString(sum[:]))
		}
	}
	sum := sha256.Sum256(body)
	hash := hex.EncodeToString(sum[:])
	req.Header.Set("X-Amz-Content-Sha256", hash)
	// The gateway's clock is the machine's.
	err = v4.NewSigner(func(o *v4.SignerOptions) { o.DisableURIPathEscaping = true }).
		SignHTTP(ctx, a.key, req, hash, "s3", gatewayRegion, time.Now())
	if err != nil {
		return nil, fmt.Errorf("sign for the gateway: %w", err)
	}
	resp, err := a.gateway.RoundTrip(req)
	if err != nil {
		return nil, fmt.Errorf("ask the gateway: %w", err)
	}
	return resp, nil
}

func hasChecksum(h http.Header) bool {
	for k := range h {
		if strings.HasPrefix(k, "X-Amz-Checksum-") {
			return true
		}
	}
	return false
}

// forwardable are the headers of a request that are not about its own signature,
// connection or encoding.
func forwardable(in http.Header) http.Header {
	out := in.Clone()
	for _, k := range []string{
		"Authorization", "X-Amz-Date", "Date", "X-Amz-Security-Token", "X-Amz-Content-Sha256",
		"X-Amz-Decoded-Content-Length", "X-Amz-Trailer", "X-Amz-Sdk-Checksum-Algorithm",
		"Content-Length", "Transfer-Encoding", "Connection", "Expect", "Accept-Encoding",
	} {
		out.Del(k)
	}
	var codings []string
	for c := range strings.SplitSeq(out.Get("Content-Encoding"), ",") {
		if c = strings.TrimSpace(c); c != "" && c != "aws-chunked" {
			codings = append(codings, c)
		}
	}
	out.Del("Content-Encoding")
	if codings != nil {
		out.Set("Content-Encoding", strings.Join(codings, ","))
	}
	return out
}

// withoutSignature removes a presigned request's own parameters.
func withoutSignature(raw string) string {
	var keep []string
	for p := range strings.SplitSeq(raw, "&") {
		if p != "" && !strings.HasPrefix(strings.ToLower(p), "x-amz-") {
			keep = append(keep, p)
		}
	}
	return strings.Join(keep, "&")
}

// signedRegion is the region of the signature's scope, "" where there is none.
func signedRegion(r *http.Request) string {
	cred := r.URL.Query().Get("X-Amz-Credential")
	if _, after, ok := strings.Cut(r.Header.Get("Authorization"), "Credential="); ok {
		cred, _, _ = strings.Cut(after, ",")
	}
	// key id / date / region / service / aws4_request
	if parts := strings.Split(cred, "/"); len(parts) == 5 {
		return parts[2]
	}
	return ""
}

// reply passes the gateway's reply on.
func (f *front) reply(resp *http.Response) {
	defer resp.Body.Close()
	h := f.w.Header()
	for k, v := range resp.Header {
		switch k {
		case "Date", "Connection", "Keep-Alive", "Transfer-Encoding", "X-Amz-Bucket-Region":
		case "Server":
			h.Set(k, "AmazonS3")
		case "X-Amz-Request-Id", "X-Amz-Id-2":
			if h.Get(k) == "" {
				h[k] = v
			}
		default:
			// S3 writes the names of metadata in lower case, and clients that are no
			// Go programs look for them so.
			if strings.HasPrefix(k, "X-Amz-Meta-") {
				k = strings.ToLower(k)
			}
			h[k] = v
		}
	}
	if resp.StatusCode < 400 || f.r.Method == http.MethodHead {
		f.w.WriteHeader(resp.StatusCode)
		// An error here is the client's who went away.
		_, _ = io.Copy(f.w, resp.Body)
		return
	}
	doc, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	if err != nil {
		f.refuse(fmt.Errorf("read the gateway's error: %w", err))
		return
	}
	doc = within(doc, "RequestId", h.Get("X-Amz-Request-Id"))
	doc = within(doc, "HostId", h.Get("X-Amz-Id-2"))
	h.Set("Content-Length", strconv.Itoa(len(doc)))
	f.w.WriteHeader(resp.StatusCode)
	_, _ = f.w.Write(doc)
}

// within replaces the text of an element.
func within(doc []byte, element, text string) []byte {
	before, rest, ok := bytes.Cut(doc, []byte("<"+element+">"))
	if !ok {
		return doc
	}
	_, after, ok := bytes.Cut(rest, []byte("</"+element+">"))
	if !ok {
		return doc
	}
	var esc bytes.Buffer
	_ = xml.EscapeText(&esc, []byte(text)) // to a buffer
	return fmt.Appendf(nil, "%s<%s>%s</%s>%s", before, element, esc.Bytes(), element, after)
}

// refusal is an error the caller is told.
type refusal struct {
	status  int
	code    string
	message string
}

func (r refusal) Error() string { return r.code + ": " + r.message }

// refuse answers with S3's error document.
func (f *front) refuse(err error) {
	var r refusal
	if !errors.As(err, &r) {
		r = refusal{http.StatusInternalServerError, "InternalError", err.Error()}
	}
	h := f.w.Header()
	doc, _ := xml.Marshal(struct { // strings only: cannot fail
		XMLName           xml.Name `xml:"Error"`
		Code, Message     string
		BucketName, Key   string `xml:",omitempty"`
		RequestId, HostId string
	}{
		Code: r.code, Message: r.message, BucketName: f.bucket, Key: f.key,
		RequestId: h.Get("X-Amz-Request-Id"), HostId: h.Get("X-Amz-Id-2"),
	})
	h.Set("Content-Type", "application/xml")
	h.Del("Content-Length")
	f.w.WriteHeader(r.status)
	if f.r.Method != http.MethodHead {
		_, _ = f.w.Write(append([]byte(xml.Header), doc...))
	}
}

func (f *front) location(b Bucket) {
	region := b.Region
	if region == "us-east-1" {
		region = "" // as S3 says it
	}
	f.w.Header().Set("Content-Type", "application/xml")
	fmt.Fprintf(f.w, "%s<LocationConstraint xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">%s</LocationConstraint>", xml.Header, region)
}

// documents are what a bucket may have one of and the gateway has not. Here they
// are kept as written.
var documents = map[string]refusal{ // query parameter: the error when there is none
	"publicAccessBlock": {http.StatusNotFound, "NoSuchPublicAccessBlockConfiguration", "The public access block configuration was not found"},
	"lifecycle":         {http.StatusNotFound, "NoSuchLifecycleConfiguration", "The lifecycle configuration does not exist"},
	"encryption":        {http.StatusNotFound, "ServerSideEncryptionConfigurationNotFoundError", "The server side encryption configuration was not found"},
}

type docID struct{ bucket, name string }

func (f *front) document(name string, body []byte) error {
	id := docID{f.bucket, name}
	f.a.mu.Lock()
	defer f.a.mu.Unlock()
	switch f.r.Method {
	case http.MethodGet:
		doc, ok := f.a.docs[id]
		if !ok {
			return documents[name]
		}
		f.w.Header().Set("Content-Type", "application/xml")
		_, _ = f.w.Write(doc)
	case http.MethodPut:
		if xml.Unmarshal(body, new(struct{ XMLName xml.Name })) != nil {
			return malformedXML
		}
		f.a.docs[id] = body
	case http.MethodDelete:
		delete(f.a.docs, id)
		f.w.WriteHeader(http.StatusNoContent)
	default:
		return refusal{http.StatusMethodNotAllowed, "MethodNotAllowed", "The specified method is not allowed against this resource."}
	}
	return nil
}
