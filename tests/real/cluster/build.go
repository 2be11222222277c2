package cluster

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
)

// Version of the API server, which tests/real/apiserver/go.mod requires.
const Version = "v1.37.2"

// ErrNotBuilt: the programs are not in the cache.
var ErrNotBuilt = errors.New("not built: run make real")

// Programs are the binaries that a cluster is made of, in one folder of the cache.
type Programs struct{ APIServer, Etcd string }

// Built finds them; the error wraps ErrNotBuilt if they are not there.
func Built() (Programs, error) {
	cache, err := os.UserCacheDir()
	if err != nil {
		return Programs{}, err
	}
	dir := filepath.Join(cache, "auditcanary", "kube-apiserver-"+Version)
	p := Programs{APIServer: filepath.Join(dir, "kube-apiserver"), Etcd: filepath.Join(dir, "etcd")}
	for _, file := range []string{p.APIServer, p.Etcd} {
		if _, err := os.Stat(file); errors.Is(err, fs.ErrNotExist) {
			return p, fmt.Errorf("kube-apiserver %s is %w (%s)", Version, ErrNotBuilt, file)
		} else if err != nil {
			return p, err
		}
	}
	return p, nil
}

// Build builds them unless that was done before: about 14 minutes of processor time.
func Build(ctx context.Context) (Programs, error) {
	p, err := Built()
	if err == nil || !errors.Is(err, ErrNotBuilt) {
		return p, err
	}
	dir := filepath.Dir(p.APIServer)
	if err := os.MkdirAll(filepath.Dir(dir), 0o755); err != nil {
		return p, err
	}
	begun, err := os.MkdirTemp(filepath.Dir(dir), "building-")
	if err != nil {
		return p, err
	}
	defer os.RemoveAll(begun)
	// What the release's own build says of the version; without it the server would call
	// itself v0.0.0.
	const v = "k8s.io/component-base/version."
	stamp := "-s -w -X " + v + "gitVersion=" + Version + " -X " + v + "gitMajor=1 -X " + v + "gitMinor=37"
	_, here, _, _ := runtime.Caller(0)
	cmd := exec.CommandContext(ctx, "go", "build", "-trimpath", "-ldflags", stamp, "-o", begun+string(filepath.Separator), "k8s.io/kubernetes/cmd/kube-apiserver", "./etcd")
	cmd.Dir = filepath.Join(filepath.Dir(here), "..", "apiserver")
	cmd.Env = append(os.Environ(), "GOFLAGS=-mod=readonly", "GOWORK=off")
	if out, err := cmd.CombinedOutput(); err != nil {
		return p, fmt.Errorf("build kube-apiserver %s: %w\n%s", Version, err, out)
	}
	_ = os.RemoveAll(dir) // of a build that was cut off
	if err := os.Rename(begun, dir); err != nil {
		if _, built := Built(); built == nil {
			return p, nil // somebody else was faster
		}
		return p, err
	}
	return p, os.Chmod(dir, 0o755)
}
