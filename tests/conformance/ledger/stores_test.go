// Package ledger_test holds every ledger store to the contract of the port, and
// every log on it to its promises.
package ledger_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/ratelimit"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/versity/versitygw/auth"
	"github.com/versity/versitygw/backend/meta"
	"github.com/versity/versitygw/backend/posix"
	"github.com/versity/versitygw/embedgw"
	"github.com/versity/versitygw/s3api"
	"golang.org/x/mod/sumdb/note"

	awsdriver "github.com/auditcanary/auditcanary/shared/aws"
	"github.com/auditcanary/auditcanary/shared/ledger"
)

const (
	origin    = "ledger.example/2026-11"
	accessKey = "AKIDCONFORMANCE"
	secretKey = "conformance-secret"
	bucket    = "evidence"
	region    = "eu-central-1"
)

// store is a ledger.Store under test; open opens it again as another process would.
type store struct {
	name string
	open func(t testing.TB) func() ledger.Store // a new, empty place each time
}

var stores = []store{
	{"Dir", func(t testing.TB) func() ledger.Store {
		dir := t.TempDir()
		return func() ledger.Store {
			d, err := ledger.NewDir(dir)
			if err != nil {
				t.Fatal(err)
			}
			return d
		}
	}},
	{"S3", func(t testing.TB) func() ledger.Store {
		if s3Socket == "" {
			t.Skip("no S3 server: its file system would need extended attributes")
		}
		prefix := fmt.Sprintf("ledger-%d/", places.Add(1))
		return func() ledger.Store { return awsdriver.NewLedgerStore(s3Client(s3Transport()), bucket, prefix) }
	}},
}

var (
	places   atomic.Int64
	s3Socket string // where the S3 server listens
)

// TestMain runs one real S3 server for all tests: versitygw, which can be started
// once in a process and changes the working directory.
func TestMain(m *testing.M) {
	os.Exit(func() int {
		stop, err := startS3()
		if err != nil {
			fmt.Fprintln(os.Stderr, "start the S3 server:", err)
			return 1
		}
		defer stop()
		return m.Run()
	}())
}

func startS3() (stop func(), err error) {
	dir, err := os.MkdirTemp("", "s3-")
	if err != nil {
		return nil, err
	}
	objects := filepath.Join(dir, "objects")
	if err := os.MkdirAll(filepath.Join(objects, bucket), 0o750); err != nil {
		return nil, err
	}
	if err := (meta.XattrMeta{}).Test(objects); err != nil {
		return func() { os.RemoveAll(dir) }, nil // the S3 tests skip
	}
	stdout := os.Stdout
	if os.Stdout, err = os.Open(os.DevNull); err != nil { // it tells its directories there
		return nil, err
	}
	backend, err := posix.New(objects, meta.XattrMeta{}, posix.PosixOpts{})
	os.Stdout.Close()
	os.Stdout = stdout
	if err != nil {
		return nil, err
	}
	socket := filepath.Join(dir, "s")
	ctx, cancel := context.WithCancel(context.Background())
	ready, ended := make(chan struct{}), make(chan error, 1)
	go func() {
		ended <- embedgw.RunVersityGW(ctx, backend, &embedgw.Config{
			RootUserAccess: accessKey, RootUserSecret: secretKey, Region: region,
			Ports: []string{socket}, MaxConnections: 1024, MaxRequests: 1024, MultipartMaxParts: 10000,
			Quiet: true, KeepAlive: true,
			IAMService: auth.NewIAMServiceSingle(auth.Account{Access: accessKey, Secret: secretKey, Role: auth.RoleAdmin}),
			S3Options:  []s3api.Option{s3api.WithOnListen(func() { close(ready) })},
		})
	}()
	select {
	case <-ready:
	case err := <-ended:
		cancel()
		return nil, fmt.Errorf("it ended: %w", err)
	}
	s3Socket = socket
	return func() {
		cancel()
		<-ended
		os.RemoveAll(dir)
	}, nil
}

var s3Transport = sync.OnceValue(func() http.RoundTripper {
	return &http.Transport{MaxIdleConnsPerHost: 64, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", s3Socket)
	}}
})

func s3Client(transport http.RoundTripper) *s3.Client {
	return s3.New(s3.Options{
		Region: region, BaseEndpoint: aws.String("http://s3.example"), UsePathStyle: true,
		Credentials: credentials.NewStaticCredentialsProvider(accessKey, secretKey, ""),
		HTTPClient:  &http.Client{Transport: transport},
		// Attempts as in production, without the pauses and the budget.
		Retryer: retry.NewStandard(func(o *retry.StandardOptions) {
			o.Backoff = retry.BackoffDelayerFunc(func(int, error) (time.Duration, error) { return 0, nil })
			o.RateLimiter = ratelimit.None
		}),
	})
}

// each runs a test on every store.
func each(t *testing.T, f func(t *testing.T, open func() ledger.Store)) {
	for _, s := range stores {
		t.Run(s.name, func(t *testing.T) { f(t, s.open(t)) })
	}
}

func keys(t testing.TB) (note.Signer, note.Verifier) {
	t.Helper()
	skey, vkey, err := ledger.GenerateKey("ledger.example")
	if err != nil {
		t.Fatal(err)
	}
	signer, err := note.NewSigner(skey)
	if err != nil {
		t.Fatal(err)
	}
	verifier, err := note.NewVerifier(vkey)
	if err != nil {
		t.Fatal(err)
	}
	return signer, verifier
}

// memory is the simplest store that can be right: the model the others are held
// against, and the bed of tests that are about the log alone.
type memory struct {
	mu      sync.Mutex
	objects map[string]object
	clock   int
}

type object struct {
	data    []byte
	version ledger.Version
}

func newMemory() *memory { return &memory{objects: map[string]object{}} }

func (m *memory) Get(_ context.Context, path string) ([]byte, ledger.Version, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	o, ok := m.objects[path]
	if !ok {
		return nil, "", fmt.Errorf("memory %s: %w", path, ledger.ErrNotFound)
	}
	return bytes.Clone(o.data), o.version, nil
}

func (m *memory) Put(_ context.Context, path string, data []byte, old ledger.Version) (ledger.Version, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.objects[path].version != old {
		return "", fmt.Errorf("memory %s: %w", path, ledger.ErrConflict)
	}
	m.clock++
	v := ledger.Version(strconv.Itoa(m.clock))
	m.objects[path] = object{bytes.Clone(data), v}
	return v, nil
}

func (m *memory) clone() *memory {
	m.mu.Lock()
	defer m.mu.Unlock()
	return &memory{objects: maps.Clone(m.objects), clock: m.clock}
}

// mortal is a writer's view of a store, dead for ever from its n-th write on:
// killed before the write had its effect, or after.
type mortal struct {
	ledger.Store
	n      int64
	after  bool
	writes atomic.Int64
}

var errKilled = errors.New("killed")

func (m *mortal) Put(ctx context.Context, path string, data []byte, old ledger.Version) (ledger.Version, error) {
	n := m.writes.Add(1)
	if n > m.n || n == m.n && !m.after {
		return "", errKilled
	}
	v, err := m.Store.Put(ctx, path, data, old)
	if n == m.n {
		return "", errKilled
	}
	return v, err
}

func (m *mortal) Get(ctx context.Context, path string) ([]byte, ledger.Version, error) {
	if n := m.writes.Load(); n >= m.n && (m.after || n > m.n) {
		return nil, "", errKilled
	}
	return m.Store.Get(ctx, path)
}
