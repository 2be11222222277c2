package main

import (
	"bytes"
	"cmp"
	"context"
	"crypto/rand"
	"debug/buildinfo"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"golang.org/x/mod/sumdb/note"
)

// hello is the least that a Lambda function in Go can be; it is built and started the same way.
const hello = "hello"

// starts is what starting one program took, time and time again.
type starts struct {
	wall, cpu []time.Duration // from the start of the process to its first request for an event
}

// bench prints beside a hello-world's what each function weighs as it is deployed (arm64),
// and what it takes to start on this machine, which is built for anew. The programs take
// turns, so that whatever else the machine does slows all of them down; even so the
// processor's time is the steadier measure, and the median of the wall clock counts only on
// a quiet machine.
func bench(ctx context.Context, rounds int, out io.Writer) error {
	tmp, err := os.MkdirTemp("", "auditcanary-bench-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(tmp)
	env, err := configuration(tmp)
	if err != nil {
		return err
	}
	names := append([]string{hello}, functions...)
	measured := map[string]*starts{}
	weigh := map[string][3]int{} // zip, program, modules
	for _, name := range names {
		fmt.Fprintf(out, "building %s\n", name)
		deployed, here := filepath.Join(tmp, name+".arm64"), filepath.Join(tmp, name)
		if err := build(ctx, name, "arm64", deployed); err != nil {
			return err
		}
		if err := build(ctx, name, runtime.GOARCH, here); err != nil {
			return err
		}
		program, err := os.ReadFile(deployed)
		if err != nil {
			return err
		}
		zip, err := archive(program, nil)
		if err != nil {
			return err
		}
		info, err := buildinfo.Read(bytes.NewReader(program))
		if err != nil {
			return fmt.Errorf("read what %s was built from: %w", name, err)
		}
		weigh[name] = [3]int{len(zip), len(program), len(info.Deps)}
		measured[name] = &starts{}
	}
	for range rounds {
		for _, name := range names {
			wall, cpu, err := startOnce(ctx, filepath.Join(tmp, name), env...)
			if err != nil {
				return fmt.Errorf("start %s: %w", name, err)
			}
			measured[name].wall, measured[name].cpu = append(measured[name].wall, wall), append(measured[name].cpu, cpu)
		}
	}
	fmt.Fprintf(out, "\nzip and program for linux/arm64; start on this machine (linux/%s), median of %d\n", runtime.GOARCH, rounds)
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(w, "function\tzip MB\tprogram MB\tmodules\tstart ms\tx hello\tprocessor ms\tx hello\t")
	const mb = 1e6
	for _, name := range names {
		m, least := measured[name], measured[hello]
		fmt.Fprintf(w, "%s\t%.1f\t%.1f\t%d\t%.1f\t%.1f\t%.1f\t%.1f\t\n", name,
			float64(weigh[name][0])/mb, float64(weigh[name][1])/mb, weigh[name][2],
			millis(median(m.wall)), ratio(m.wall, least.wall), millis(median(m.cpu)), ratio(m.cpu, least.cpu))
	}
	return w.Flush()
}

// configuration writes the least that trigger wants, which reads it, the scenarios and its
// ledger before it takes events, and returns the environment that leads to it.
func configuration(dir string) ([]string, error) {
	text, err := os.ReadFile(filepath.Join("..", "shared", "wire", "testdata", "good.yaml"))
	if err != nil {
		return nil, err
	}
	key, _, err := note.GenerateKey(rand.Reader, "auditcanary.example/test")
	if err != nil {
		return nil, err
	}
	file := filepath.Join(dir, "auditcanary.yaml")
	text = append(text, "\ntrigger: {callers: [{id: ci, key_env: CI_KEY}]}\n"...)
	if err := errors.Join(os.WriteFile(file, text, 0o600), os.WriteFile(filepath.Join(dir, "signing.key"), []byte(key), 0o600)); err != nil {
		return nil, err
	}
	return []string{"AUDITCANARY_CONFIG=" + file, "CI_KEY=" + strings.Repeat("k", 32)}, nil
}

func median(d []time.Duration) time.Duration {
	s := slices.Sorted(slices.Values(d))
	return s[len(s)/2]
}

func ratio(a, b []time.Duration) float64 { return float64(median(a)) / float64(max(median(b), 1)) }

func millis(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

// startOnce starts a program under a Lambda Runtime API until it asks for its first event,
// and says how long that took and how much of a processor.
func startOnce(ctx context.Context, program string, env ...string) (wall, cpu time.Duration, err error) {
	ready := make(chan time.Time, 1)
	mux := http.NewServeMux()
	mux.HandleFunc("GET /2018-06-01/runtime/invocation/next", func(_ http.ResponseWriter, r *http.Request) {
		select {
		case ready <- time.Now():
		default:
		}
		<-r.Context().Done()
	})
	mux.HandleFunc("POST /2020-01-01/extension/register", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Lambda-Extension-Identifier", "extension-1")
	})
	mux.HandleFunc("GET /2020-01-01/extension/event/next", func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
	failed := make(chan string, 1)
	mux.HandleFunc("POST /2018-06-01/runtime/init/error", func(_ http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(io.LimitReader(r.Body, 1<<10))
		failed <- string(body)
	})
	api := httptest.NewServer(mux)
	defer api.Close()
	defer api.CloseClientConnections()

	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, program)
	cmd.Env = append(slices.Clone(env), "AWS_LAMBDA_RUNTIME_API="+strings.TrimPrefix(api.URL, "http://"))
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	begun := time.Now()
	if err := cmd.Start(); err != nil {
		return 0, 0, err
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	stop := func() {
		_ = cmd.Process.Kill() // it may have ended
		<-ended
	}
	select {
	case at := <-ready:
		stop()
		return at.Sub(begun), cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime(), nil
	case why := <-failed:
		stop()
		return 0, 0, fmt.Errorf("it could not begin: %s", why)
	case err := <-ended:
		return 0, 0, fmt.Errorf("it ended before it asked for an event: %w\n%s", cmp.Or(err, io.EOF), stderr.String())
	}
}
