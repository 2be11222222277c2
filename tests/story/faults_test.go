package story

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/auditcanary/auditcanary/shared/canary"
	"github.com/auditcanary/auditcanary/shared/run"
)

// TestFaultsAreReportedAndNothingElse runs the whole catalogue against every
// fault file. Each says in its "# expect:" lines which canary must fail which
// check, on which hop, in which field; every other check of every canary must
// pass.
func TestFaultsAreReportedAndNothingElse(t *testing.T) {
	files, err := filepath.Glob("../sandbox/faults/*.yaml")
	if err != nil || len(files) < 12 {
		t.Fatalf("fault files: %d, %v", len(files), err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".yaml"), func(t *testing.T) {
			t.Parallel()
			abs, err := filepath.Abs(file)
			if err != nil {
				t.Fatal(err)
			}
			dir := t.TempDir()
			sb, err := startSandbox(filepath.Join(dir, "log"), "-listen", "127.0.0.1:0", "-data", filepath.Join(dir, "data"), "-speed", "120", "-faults", abs)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() {
				if log := sb.stop(); t.Failed() {
					t.Log(log)
				}
			})
			s := runSummary(t, sb, "run", "--json")
			compare(t, expected(t, abs), answers(s))
			if t.Failed() {
				data, _ := json.MarshalIndent(s, "", " ")
				t.Logf("%s", data)
			}
		})
	}
}

// runSummary runs auditcanary and reads the summary it prints.
func runSummary(t *testing.T, sb *sandbox, args ...string) run.Summary {
	t.Helper()
	cmd := exec.Command(filepath.Join(bin, "auditcanary"), args...)
	cmd.Env = sb.environ()
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	var ee *exec.ExitError
	if err != nil && !errors.As(err, &ee) {
		t.Fatal(err)
	}
	var s run.Summary
	if err := json.Unmarshal(out, &s); err != nil {
		t.Fatalf("auditcanary %s: %v\n%s%s", strings.Join(args, " "), err, out, stderr.String())
	}
	if len(s.Canaries) == 0 {
		t.Fatalf("no canaries at all: %s", stderr.String())
	}
	return s
}

// answers renders every required check, "scenario account region check" -> "status hop=... field=...".
func answers(s run.Summary) map[string]string {
	out := map[string]string{}
	for _, l := range s.Canaries {
		for _, c := range canary.Required() {
			a := l.Checks[c]
			text := string(a.Status)
			if a.Open {
				text += " open"
			}
			if a.Hop != "" {
				text += " hop=" + string(a.Hop)
			}
			for _, f := range fieldNames(a) {
				text += " field=" + f
			}
			out[strings.Join([]string{l.Scenario, l.Target, l.Region, string(c)}, " ")] = text
		}
	}
	for i, f := range s.Findings {
		out[fmt.Sprintf("finding %d", i)] = f.Kind + " " + f.Operation + " " + f.Actor
	}
	return out
}

// expected reads the "# expect:" lines of a fault file.
func expected(t *testing.T, file string) map[string]string {
	t.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]string{}
	for line := range strings.Lines(string(data)) {
		rest, ok := strings.CutPrefix(strings.TrimSpace(line), "# expect: ")
		if !ok {
			continue
		}
		f := strings.Fields(rest)
		if len(f) < 4 {
			t.Fatalf("%s: %q", file, line)
		}
		check, status, _ := strings.Cut(f[3], "=")
		out[strings.Join([]string{f[0], f[1], f[2], check}, " ")] = strings.Join(append([]string{status}, f[4:]...), " ")
	}
	if len(out) == 0 {
		t.Fatalf("%s says nothing of what must be reported", file)
	}
	return out
}

func compare(t *testing.T, want, got map[string]string) {
	t.Helper()
	for _, k := range slices.Sorted(maps.Keys(want)) {
		if _, ok := got[k]; !ok {
			t.Errorf("%s: expected %s, there is no such canary", k, want[k])
		}
	}
	for _, k := range slices.Sorted(maps.Keys(got)) {
		w, ok := want[k]
		if !ok {
			w = string(canary.Pass)
		}
		if got[k] != w {
			t.Errorf("%s: got %s, want %s", k, got[k], w)
		}
	}
}
