// Package stores builds, once, the log stores that really run, starts them on loopback.
package stores

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"syscall"
	"time"
)

// Program is a server that is built from its own module, which nothing of ours links.
type Program struct {
	// Name and Version make the name of its binary in the cache.
	Name, Version string
	// Dir of its module beside this file, Package to build.
	Dir, Package string
}

// The programs. Loki is AGPL: it is run as it is, as a program of its own.
var (
	VictoriaLogs = Program{"victoria-logs", "v1.121.0", "victorialogs", "github.com/VictoriaMetrics/VictoriaMetrics/app/victoria-logs"}
	Loki         = Program{"loki", "v3.7.8", "loki", "github.com/grafana/loki/v3/cmd/loki"}
)

// ErrNotBuilt: the binary is not in the cache.
var ErrNotBuilt = errors.New("not built")

// Cache is where binaries are kept between builds.
func Cache() (string, error) {
	dir, err := os.UserCacheDir()
	return filepath.Join(dir, "auditcanary"), err
}

// Binary is where the built program lies; the error wraps ErrNotBuilt if it does not.
func (p Program) Binary() (string, error) {
	dir, err := Cache()
	if err != nil {
		return "", err
	}
	file := filepath.Join(dir, p.Name+"-"+p.Version)
	if _, err := os.Stat(file); errors.Is(err, fs.ErrNotExist) {
		return file, fmt.Errorf("%s %s is %w: run make stores (%s)", p.Name, p.Version, ErrNotBuilt, file)
	} else if err != nil {
		return "", err
	}
	return file, nil
}

// Build builds it unless that was done before, and says where it lies.
func (p Program) Build(ctx context.Context) (string, error) {
	file, err := p.Binary()
	if err == nil || !errors.Is(err, ErrNotBuilt) {
		return file, err
	}
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		return "", err
	}
	_, here, _, _ := runtime.Caller(0)
	begun := fmt.Sprintf("%s.%d", file, os.Getpid())
	cmd := exec.CommandContext(ctx, "go", "build", "-ldflags=-s -w", "-o", begun, p.Package)
	cmd.Dir = filepath.Join(filepath.Dir(here), p.Dir)
	cmd.Env = append(os.Environ(), "GOFLAGS=-mod=readonly", "GOWORK=off")
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build %s: %w\n%s", p.Name, err, out)
	}
	return file, os.Rename(begun, file) // whole, or not there
}

// Server is one that runs.
type Server struct {
	URL string // http://127.0.0.1:PORT
	Log string // file that it writes what it says into

	cmd  *exec.Cmd
	done chan error
}

// StartVictoriaLogs starts one that keeps its data in dir. More flags may be given.
func StartVictoriaLogs(ctx context.Context, dir string, flags ...string) (*Server, error) {
	file, err := VictoriaLogs.Build(ctx)
	if err != nil {
		return nil, err
	}
	addr, err := freeAddr()
	if err != nil {
		return nil, err
	}
	args := append([]string{"-httpListenAddr=" + addr, "-storageDataPath=" + filepath.Join(dir, "data"), "-memory.allowedBytes=64MB"}, flags...)
	return start(ctx, "http://"+addr, "/health", dir, file, args...)
}

// StartLoki starts one that keeps its data in dir; it must have been built before.
func StartLoki(ctx context.Context, dir string) (*Server, error) {
	file, err := Loki.Binary()
	if err != nil {
		return nil, err
	}
	addr, err := freeAddr()
	if err != nil {
		return nil, err
	}
	grpc, err := freeAddr()
	if err != nil {
		return nil, err
	}
	_, port, _ := net.SplitHostPort(addr)
	_, grpcPort, _ := net.SplitHostPort(grpc)
	config := filepath.Join(dir, "loki.yaml")
	if err := os.WriteFile(config, fmt.Appendf(nil, lokiConfig, port, grpcPort, dir, grpc), 0o600); err != nil {
		return nil, err
	}
	return start(ctx, "http://"+addr, "/ready", dir, file, "-config.file="+config, "-target=all")
}

const lokiConfig = `auth_enabled: false
analytics: {reporting_enabled: false}
server: {http_listen_address: 127.0.0.1, http_listen_port: %s, grpc_listen_address: 127.0.0.1, grpc_listen_port: %s, log_level: warn}
common:
  instance_addr: 127.0.0.1
  path_prefix: %s
  replication_factor: 1
  ring: {instance_addr: 127.0.0.1, kvstore: {store: inmemory}}
  storage: {filesystem: {chunks_directory: chunks, rules_directory: rules}}
frontend: {address: 127.0.0.1}
frontend_worker: {frontend_address: "%s"}
ingester: {lifecycler: {min_ready_duration: 0s}}
memberlist: {bind_addr: [127.0.0.1]}
schema_config:
  configs: [{from: 2024-01-01, store: tsdb, object_store: filesystem, schema: v13, index: {prefix: index_, period: 24h}}]
limits_config: {reject_old_samples: false, allow_structured_metadata: true}
`

func freeAddr() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	defer l.Close()
	return l.Addr().String(), nil
}

// start runs a server and waits until it is ready.
func start(ctx context.Context, url, health, dir, file string, args ...string) (*Server, error) {
	s := &Server{URL: url, Log: filepath.Join(dir, "server.log"), done: make(chan error, 1)}
	log, err := os.Create(s.Log)
	if err != nil {
		return nil, err
	}
	defer log.Close()
	s.cmd = exec.Command(file, args...)
	s.cmd.Dir, s.cmd.Stdout, s.cmd.Stderr = dir, log, log
	s.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL} // it must not outlive who started it
	if err := s.cmd.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", file, err)
	}
	go func() { s.done <- s.cmd.Wait() }()
	for begun := time.Now(); ; time.Sleep(20 * time.Millisecond) {
		res, err := http.Get(url + health)
		if err == nil {
			res.Body.Close()
			if res.StatusCode == http.StatusOK {
				return s, nil
			}
		}
		select {
		case err := <-s.done:
			said, _ := os.ReadFile(s.Log)
			return nil, fmt.Errorf("%s ended: %v\n%s", file, err, said)
		case <-ctx.Done():
			s.Stop()
			return nil, ctx.Err()
		default:
		}
		if time.Since(begun) > time.Minute {
			s.Stop()
			said, _ := os.ReadFile(s.Log)
			return nil, fmt.Errorf("%s is not ready after a minute\n%s", file, said)
		}
	}
}

// Stop ends it and waits for its end.
func (s *Server) Stop() {
	_ = s.cmd.Process.Kill()
	<-s.done
}
