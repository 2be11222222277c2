package story

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/auditcanary/auditcanary/shared/run"
	"github.com/auditcanary/auditcanary/tests/sandbox/cloud"
)

// BenchmarkCatalogue runs the whole catalogue over the sandbox's accounts and
// regions through the real program, and counts what one canary costs: requests by
// what they are for, bytes on the wire, and the program's own time on the
// processor. What a canary cannot do without is the yardstick: its calls, their
// undos, and one session to make them in.
func BenchmarkCatalogue(b *testing.B) {
	for b.Loop() {
		dir := b.TempDir()
		sb, err := startSandbox(filepath.Join(dir, "log"), "-listen", "127.0.0.1:0", "-data", filepath.Join(dir, "data"), "-speed", "120")
		if err != nil {
			b.Fatal(err)
		}
		wire := count(b, sb)
		cmd := exec.Command(filepath.Join(bin, "auditcanary"), "run", "--json")
		cmd.Env = sb.environ()
		out, err := cmd.Output()
		var ee *exec.ExitError
		if err != nil && !errors.As(err, &ee) {
			b.Fatal(err)
		}
		var s run.Summary
		if err := json.Unmarshal(out, &s); err != nil {
			b.Fatalf("%v\n%s", err, out)
		}
		if s.Tally.Canaries == 0 || s.Tally.Proven != s.Tally.Canaries {
			b.Fatalf("%d of %d canaries proven: what failed costs something else", s.Tally.Proven, s.Tally.Canaries)
		}
		var calls []cloud.CallLog
		if err := sb.admin("GET", "calls", "", &calls); err != nil {
			b.Fatal(err)
		}
		report(b, calls, float64(s.Tally.Canaries), float64(wire.Load()), cmd.ProcessState.UserTime()+cmd.ProcessState.SystemTime())
		sb.stop()
	}
}

func report(b *testing.B, calls []cloud.CallLog, canaries, bytes float64, cpu time.Duration) {
	purpose := map[string]float64{}
	for _, c := range calls {
		purpose[purposeOf(c)]++
	}
	needed := 0.0
	for _, p := range []string{"sessions", "acts"} {
		needed += purpose[p]
	}
	for p, n := range purpose {
		b.ReportMetric(n/canaries, p+"/canary")
	}
	b.ReportMetric(float64(len(calls))/canaries, "requests/canary")
	b.ReportMetric(float64(len(calls))/needed, "requests/needed")
	b.ReportMetric(bytes/canaries, "wire-bytes/canary")
	b.ReportMetric(float64(cpu.Microseconds())/1000/canaries, "cpu-ms/canary")
	b.ReportMetric(canaries, "canaries")
	b.ReportMetric(0, "ns/op") // mostly waiting for the sandbox's delivery
}

// purposeOf says what a request was for.
func purposeOf(c cloud.CallLog) string {
	_, session, assumed := strings.Cut(c.Principal, ":assumed-role/")
	_, session, _ = strings.Cut(session, "/")
	switch {
	case c.Operation == "AssumeRole" && !assumed:
		if name, _ := c.Params["RoleSessionName"].(string); name == "auditcanary-read" || name == "auditcanary-sweep" || name == "auditcanary" {
			return "other-sessions"
		}
		return "sessions"
	case session == "auditcanary-read":
		return "listing-left-things"
	case c.Service == "s3" && session == "auditcanary":
		return "looking-in-the-archive"
	case assumed:
		return "acts" // and undos
	}
	return "other"
}

// count puts a relay before the sandbox that counts the bytes both ways, and
// points the program's configuration at it.
func count(b *testing.B, sb *sandbox) *atomic.Int64 {
	upstream := strings.TrimPrefix(sb.Env["AWS_ENDPOINT_URL"], "http://")
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = l.Close() })
	var n atomic.Int64
	go func() {
		for {
			down, err := l.Accept()
			if err != nil {
				return // the benchmark is over
			}
			up, err := net.Dial("tcp", upstream)
			if err != nil {
				_ = down.Close()
				continue
			}
			relay := func(to, from net.Conn) {
				_, _ = io.Copy(io.MultiWriter(to, counter{&n}), from)
				_ = to.Close()
			}
			go relay(up, down)
			go relay(down, up)
		}
	}()
	data, err := os.ReadFile(sb.Config)
	if err != nil {
		b.Fatal(err)
	}
	text := strings.ReplaceAll(string(data), sb.Env["AWS_ENDPOINT_URL"], fmt.Sprintf("http://%s", l.Addr()))
	if err := os.WriteFile(sb.Config, []byte(text), 0o600); err != nil {
		b.Fatal(err)
	}
	return &n
}

type counter struct{ n *atomic.Int64 }

func (c counter) Write(p []byte) (int, error) { c.n.Add(int64(len(p))); return len(p), nil }
