// Package archive is the sandbox's log archive: an S3 server with Object Lock to
// which CloudTrail's files and digests are delivered.
//
// Archive is the server. It is versitygw, a real S3 server, behind a front
// that adds what the gateway lacks and the sandbox needs: the sandbox's clock,
// regions, Object Lock default retention, documents of a bucket that the
// gateway does not know. Delivery takes the records of the control plane and
// brings them into a bucket the way CloudTrail does, with signed hourly digests.
//
// The gateway changes the process's working directory and keeps package-level
// state, so there is one Archive in a process at a time.
package archive

import (
	"context"
	"crypto/rand"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/versity/versitygw/auth"
	"github.com/versity/versitygw/backend/meta"
	"github.com/versity/versitygw/backend/posix"
	"github.com/versity/versitygw/embedgw"
	"github.com/versity/versitygw/s3api"

	"github.com/auditcanary/auditcanary/tests/sandbox/cloud"
)

// Bucket is one bucket of the sandbox.
type Bucket struct {
	Name    string
	Account string // 12 digits: who owns it
	Region  string // where it is; a request signed for another region is redirected
	// Versioned turns versioning on.
	Versioned bool
	// Lock turns Object Lock on (and so versioning); its default retention may be zero.
	Lock *Lock
}

// Lock is a bucket's Object Lock default retention.
type Lock struct {
	Mode string // COMPLIANCE or GOVERNANCE
	Days int    // 0: no default retention
}

// Config of an Archive.
type Config struct {
	// Dir holds the objects; it is made if need be. Its file system must support
	// extended attributes.
	Dir string
	// Clock gives every Date and LastModified.
	Clock cloud.Clock
	// Buckets that exist from the start.
	Buckets []Bucket
}

// Archive is an S3 server. Its ServeHTTP answers requests that somebody else has
// authenticated and authorised: it looks at no signature.
// Safe for concurrent use.
type Archive struct {
	clock   cloud.Clock
	root    *os.Root // of the gateway's objects: <bucket>/<key>
	old     *os.Root // of the gateway's noncurrent versions
	gateway http.RoundTripper
	key     aws.Credentials // the gateway's root key, made for this process
	stop    func(context.Context) error

	// writes: held for a write until the object carries the sandbox's time, and
	// for reading until the gateway has looked at its files. So nobody sees an
	// object with the real time on it, and whatever is stamped earlier than a
	// listing's Date is in that listing.
	writes sync.RWMutex

	mu      sync.Mutex
	buckets map[string]Bucket
	docs    map[docID][]byte
}

const gatewayRegion = "us-east-1" // the gateway has one region; the front has all

var running atomic.Bool // the gateway's own limit: one in a process

// Open starts the server. It changes the working directory of the process to the
// gateway's until Close: make paths absolute before. ctx bounds the start only.
func Open(ctx context.Context, c Config) (_ *Archive, err error) {
	if !running.CompareAndSwap(false, true) {
		return nil, errors.New("archive: open: there is one already in this process, and the S3 gateway supports no more")
	}
	a := &Archive{
		clock:   c.Clock,
		key:     aws.Credentials{AccessKeyID: "sandbox-gateway", SecretAccessKey: rand.Text()},
		buckets: map[string]Bucket{},
		docs:    map[docID][]byte{},
	}
	if err := a.start(ctx, c.Dir); err != nil {
		running.Store(false)
		return nil, fmt.Errorf("archive: open %s: %w", c.Dir, err)
	}
	for _, b := range c.Buckets {
		if err := a.CreateBucket(ctx, b); err != nil {
			return nil, errors.Join(err, a.Close(context.WithoutCancel(ctx)))
		}
	}
	return a, nil
}

func (a *Archive) start(ctx context.Context, dir string) (err error) {
	dir, err = filepath.Abs(dir)
	if err != nil {
		return err
	}
	cwd, err := os.Getwd()
	if err != nil {
		return err
	}
	objects, versions := filepath.Join(dir, "objects"), filepath.Join(dir, "versions")
	for _, d := range []string{objects, versions} {
		if err := os.MkdirAll(d, 0o755); err != nil {
			return err
		}
	}
	if err := (meta.XattrMeta{}).Test(objects); err != nil {
		return fmt.Errorf("its file system has no extended attributes, which the S3 gateway needs: %w", err)
	}
	// Its own directory, because a socket's path may have about 100 bytes.
	sockets, err := os.MkdirTemp("", "s3-")
	if err != nil {
		return err
	}
	socket := filepath.Join(sockets, "s")
	undo := []func() error{func() error { return os.RemoveAll(sockets) }, func() error { return os.Chdir(cwd) }}
	clean := func() error {
		var errs []error
		for _, f := range slices.Backward(undo) {
			errs = append(errs, f())
		}
		return errors.Join(errs...)
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, clean())
		}
	}()

	if a.root, err = os.OpenRoot(objects); err != nil {
		return err
	}
	undo = append(undo, a.root.Close)
	if a.old, err = os.OpenRoot(versions); err != nil {
		return err
	}
	undo = append(undo, a.old.Close)

	backend, err := newPosix(objects, versions)
	if err != nil {
		return fmt.Errorf("start the S3 gateway: %w", err)
	}
	ready, ended := make(chan struct{}), make(chan struct{})
	var gatewayErr error
	runCtx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	go func() {
		defer close(ended)
		gatewayErr = embedgw.RunVersityGW(runCtx, backend, &embedgw.Config{
			RootUserAccess:    a.key.AccessKeyID,
			RootUserSecret:    a.key.SecretAccessKey,
			Region:            gatewayRegion,
			Ports:             []string{socket},
			MaxConnections:    4096,
			MaxRequests:       4096,
			MultipartMaxParts: 10000, // without it the gateway hangs
			Quiet:             true,
			IAMService: auth.NewIAMServiceSingle(auth.Account{
				Access: a.key.AccessKeyID, Secret: a.key.SecretAccessKey, Role: auth.RoleAdmin,
			}),
			KeepAlive: true,
			S3Options: []s3api.Option{s3api.WithOnListen(func() { close(ready) })},
		})
	}()
	transport := &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "unix", socket)
		},
		DisableCompression:  true,
		MaxIdleConnsPerHost: 64,
	}
	a.gateway = transport
	a.stop = func(ctx context.Context) error {
		transport.CloseIdleConnections()
		cancel()
		select {
		case <-ended:
		case <-ctx.Done():
			return fmt.Errorf("stop the S3 gateway: %w", context.Cause(ctx))
		}
		running.Store(false)
		return errors.Join(gatewayErr, clean())
	}
	select {
	case <-ready:
		return nil
	case <-ended:
		cancel()
		return fmt.Errorf("start the S3 gateway: %w", errors.Join(errors.New("it ended"), gatewayErr))
	case <-ctx.Done():
		cancel()
		<-ended
		return context.Cause(ctx)
	}
}

// newPosix makes the gateway's backend. It tells its directories on standard
// output, where the sandbox promises one line of JSON and nothing before it.
func newPosix(objects, versions string) (*posix.Posix, error) {
	stdout := os.Stdout
	null, err := os.OpenFile(os.DevNull, os.O_WRONLY, 0)
	if err != nil {
		return nil, err
	}
	defer null.Close()
	os.Stdout = null
	defer func() { os.Stdout = stdout }()
	return posix.New(objects, meta.XattrMeta{}, posix.PosixOpts{VersioningDir: versions})
}

// Close ends the server and gives the working directory back. The objects stay in Dir.
func (a *Archive) Close(ctx context.Context) error {
	if err := a.stop(ctx); err != nil {
		return fmt.Errorf("archive: close: %w", err)
	}
	return nil
}

// Bucket returns a bucket's facts, and whether there is such a bucket.
func (a *Archive) Bucket(name string) (Bucket, bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	b, ok := a.buckets[name]
	return b, ok
}

// Buckets returns all buckets, by name.
func (a *Archive) Buckets() []Bucket {
	a.mu.Lock()
	defer a.mu.Unlock()
	var out []Bucket
	for _, b := range a.buckets {
		out = append(out, b)
	}
	slices.SortFunc(out, func(x, y Bucket) int { return strings.Compare(x.Name, y.Name) })
	return out
}

// CreateBucket makes a bucket, or takes over one that Dir has from an earlier process.
func (a *Archive) CreateBucket(ctx context.Context, b Bucket) error {
	steps := []struct{ query, body string }{{"", ""}}
	if b.Versioned || b.Lock != nil {
		steps = append(steps, struct{ query, body string }{"versioning",
			`<VersioningConfiguration xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><Status>Enabled</Status></VersioningConfiguration>`})
	}
	if b.Lock != nil {
		steps = append(steps, struct{ query, body string }{"object-lock", b.Lock.xml()})
	}
	for _, s := range steps {
		h := http.Header{}
		if s.query == "" && b.Lock != nil {
			h.Set("X-Amz-Bucket-Object-Lock-Enabled", "true")
		}
		err := a.internal(ctx, http.MethodPut, "/"+b.Name, s.query, h, []byte(s.body))
		var e *apiError
		if errors.As(err, &e) && e.Code == "BucketAlreadyOwnedByYou" {
			err = nil
		}
		if err != nil {
			return fmt.Errorf("archive: create bucket %s: %w", b.Name, err)
		}
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.buckets[b.Name] = b
	return nil
}

func (l Lock) xml() string {
	rule := ""
	if l.Days > 0 {
		rule = fmt.Sprintf("<Rule><DefaultRetention><Mode>%s</Mode><Days>%d</Days></DefaultRetention></Rule>", l.Mode, l.Days)
	}
	return `<ObjectLockConfiguration xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><ObjectLockEnabled>Enabled</ObjectLockEnabled>` +
		rule + `</ObjectLockConfiguration>`
}

// Put writes an object as a service of the provider does, under the bucket's
// default retention unless the object has its own, and returns the sandbox's time
// at which it can be read: its LastModified. The names of metadata keep their
// case on the wire.
func (a *Archive) Put(ctx context.Context, o Object) (time.Time, error) {
	at, err := a.put(ctx, o)
	if err != nil {
		return time.Time{}, fmt.Errorf("archive: put %s/%s: %w", o.Bucket, o.Key, err)
	}
	return at, nil
}

func (a *Archive) put(ctx context.Context, o Object) (time.Time, error) {
	h := http.Header{"Content-Type": {"application/json"}, "Content-Encoding": {"gzip"}}
	for k, v := range o.Metadata {
		h.Set("X-Amz-Meta-"+k, v)
	}
	if r := o.Retain; r == nil {
		if err := a.retain(ctx, o.Bucket, h); err != nil {
			return time.Time{}, err
		}
	} else if r.Mode != "NONE" {
		h.Set("X-Amz-Object-Lock-Mode", r.Mode)
		h.Set("X-Amz-Object-Lock-Retain-Until-Date", a.clock.Now().Add(r.For).UTC().Format(time.RFC3339))
	}
	a.writes.Lock()
	defer a.writes.Unlock()
	return a.writeAs(ctx, http.MethodPut, o.Bucket, o.Key, h, o.Body)
}

// Delete deletes an object without naming a version: where the bucket keeps
// versions, a delete marker hides it.
func (a *Archive) Delete(ctx context.Context, bucket, key string) error {
	a.writes.Lock()
	defer a.writes.Unlock()
	if _, err := a.writeAs(ctx, http.MethodDelete, bucket, key, nil, nil); err != nil {
		return fmt.Errorf("archive: delete %s/%s: %w", bucket, key, err)
	}
	return nil
}

// writeAs makes a write of the sandbox's own, at the sandbox's time. The caller holds writes.
func (a *Archive) writeAs(ctx context.Context, method, bucket, key string, h http.Header, body []byte) (time.Time, error) {
	before, err := a.look(bucket, key)
	if err != nil {
		return time.Time{}, err
	}
	if err := a.internal(ctx, method, "/"+bucket+"/"+key, "", h, body); err != nil {
		return time.Time{}, err
	}
	return a.stamp(bucket, key, before)
}

// apiError is S3's answer to a request of our own.
type apiError struct {
	Status  int    `xml:"-"`
	Code    string `xml:"Code"`
	Message string `xml:"Message"`
}

func (e *apiError) Error() string {
	return fmt.Sprintf("HTTP %d %s: %s", e.Status, e.Code, e.Message)
}

// internal makes a request of the sandbox's own to the gateway.
func (a *Archive) internal(ctx context.Context, method, path, query string, h http.Header, body []byte) error {
	_, err := a.internalGet(ctx, method, path, query, h, body)
	return err
}

func (a *Archive) internalGet(ctx context.Context, method, path, query string, h http.Header, body []byte) ([]byte, error) {
	u := &url.URL{Scheme: "http", Host: "sandbox", Path: path, RawQuery: query}
	resp, err := a.forward(ctx, method, u, h, body)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	reply, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	if err != nil {
		return nil, err
	}
	if resp.StatusCode/100 == 2 {
		return reply, nil
	}
	e := &apiError{Status: resp.StatusCode}
	if err := xml.Unmarshal(reply, e); err != nil {
		e.Message = "reply is no error document"
	}
	return nil, e
}
