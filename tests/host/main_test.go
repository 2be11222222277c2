package host

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	// testdata/echo imports it, and go mod tidy does not look into testdata.
	_ "github.com/auditcanary/auditcanary/shared/host"
)

// bins is where the binaries are built, once for all tests of the package.
var bins struct {
	dir   string
	mu    sync.Mutex
	built map[string]error
}

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "auditcanary-host-")
	if err != nil {
		panic(err)
	}
	bins.dir, bins.built = dir, map[string]error{}
	code := m.Run()
	os.RemoveAll(dir)
	os.Exit(code)
}

// ours are the binaries of the tests module.
var ours = map[string]string{"echo": "./testdata/echo", "sandbox": "../sandbox"}

// binary builds a main package with all its faces and returns the binary's path: one of
// ours, any other name from the product's functions.
func binary(t *testing.T, name string) string { t.Helper(); return built(t, name, "lambda.norpc") }

// lambdaFile is binary for what is in the file for Lambda: the same program without the
// Functions Framework.
func lambdaFile(t *testing.T, name string) string {
	t.Helper()
	return built(t, name, "lambda.norpc,lambda")
}

func built(t *testing.T, name, tags string) string {
	t.Helper()
	out := filepath.Join(bins.dir, tags, name)
	bins.mu.Lock()
	defer bins.mu.Unlock()
	err, done := bins.built[out]
	if !done {
		cmd := exec.Command("go", "build", "-tags", tags, "-ldflags", "-s -w", "-o", out, "./functions/"+name)
		cmd.Dir = filepath.Join("..", "..") // with the versions of the product's own go.mod
		if pkg := ours[name]; pkg != "" {
			cmd.Args[len(cmd.Args)-1], cmd.Dir = pkg, ""
		}
		if b, e := cmd.CombinedOutput(); e != nil {
			err = errors.New(e.Error() + "\n" + string(b))
		}
		bins.built[out] = err
	}
	if err != nil {
		t.Fatalf("build %s: %v", name, err)
	}
	return out
}

// process is a running binary.
type process struct {
	cmd            *exec.Cmd
	stdout, stderr buffer
	done           chan struct{}
	err            error // once done
}

// start runs a binary with env added to an environment that has no face set.
func start(t *testing.T, bin string, args []string, env ...string) *process {
	t.Helper()
	p := &process{cmd: exec.Command(bin, args...), done: make(chan struct{})}
	for _, kv := range os.Environ() {
		switch name, _, _ := strings.Cut(kv, "="); name {
		case "AWS_LAMBDA_RUNTIME_API", "FUNCTION_TARGET", "K_SERVICE", "PORT", "AUDITCANARY_CONFIG":
		default:
			p.cmd.Env = append(p.cmd.Env, kv)
		}
	}
	p.cmd.Env = append(p.cmd.Env, env...)
	p.cmd.Stdout, p.cmd.Stderr = &p.stdout, &p.stderr
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		p.err = p.cmd.Wait()
		close(p.done)
	}()
	t.Cleanup(func() {
		_ = p.cmd.Process.Kill() // it may have ended
		<-p.done
	})
	return p
}

func (p *process) terminate(t *testing.T) {
	t.Helper()
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
}

// says waits until the process has written text to its standard error.
func (p *process) says(t *testing.T, text string) { t.Helper(); p.await(t, &p.stderr, text) }

// prints waits until the process has written text to its standard output.
func (p *process) prints(t *testing.T, text string) { t.Helper(); p.await(t, &p.stdout, text) }

func (p *process) await(t *testing.T, out *buffer, text string) {
	t.Helper()
	for !strings.Contains(out.String(), text) {
		select {
		case <-p.done:
			t.Fatalf("the process ended (%v) and never wrote %q:\n%s%s", p.err, text, p.stdout.String(), p.stderr.String())
		case <-t.Context().Done():
			t.Fatal(t.Context().Err())
		case <-time.After(time.Millisecond):
		}
	}
}

// wait returns the exit code.
func (p *process) wait(t *testing.T) int {
	t.Helper()
	<-p.done
	return p.cmd.ProcessState.ExitCode()
}

// buffer is a bytes.Buffer that may be read while a process writes to it.
type buffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}
