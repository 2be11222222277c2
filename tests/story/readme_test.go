package story

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// TestReadmeAddsAScenario does what the README says: one file in a folder of
// one's own, and the canary runs.
func TestReadmeAddsAScenario(t *testing.T) {
	t.Parallel()
	w := walk(t, bin)
	file := w.scenario(filepath.Join(w.dir, "own"), section(t, "## Add a scenario")["yaml"][0])
	w.finish(0, "scenarios", "lint", file)
	w.config("dirs: []", "dirs: ["+filepath.Dir(file)+"]")
	if out := w.finish(0, "run", "--scenario", "aws/stop-decoy"); !strings.Contains(out, "4 of 4 canaries proven") {
		t.Errorf("the README's scenario is not proven:\n%s", out)
	}
}

// TestReadmeAddsAnOperation adds the README's lines where it says they belong,
// builds both programs so, and runs the README's scenario. Without the lines the
// scenario is refused.
func TestReadmeAddsAnOperation(t *testing.T) {
	t.Parallel()
	blocks := section(t, "## Add an operation")
	dir := t.TempDir()
	overlay := map[string]string{}
	for _, block := range blocks["go"] {
		where, line, _ := strings.Cut(block, "\n")
		m := regexp.MustCompile(`^// (\S+), in (\w+)$`).FindStringSubmatch(where)
		if m == nil || strings.Count(line, "\n") != 1 {
			t.Fatalf("want one line under a comment that says where it goes:\n%s", block)
		}
		file := absolute(t, filepath.Join("../..", m[1]))
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		head := regexp.MustCompile(m[2] + `( = |\(\) map\[string\]operation \{\n\treturn )map\[string\]operation\{\n`).FindString(string(data))
		if head == "" {
			t.Fatalf("%s has no list %s", m[1], m[2])
		}
		overlay[file] = filepath.Join(dir, filepath.Base(file))
		if err := os.WriteFile(overlay[file], []byte(strings.Replace(string(data), head, head+line, 1)), 0o600); err != nil {
			t.Fatal(err)
		}
	}

	plain := walk(t, bin)
	file := plain.scenario(dir, blocks["yaml"][0])
	if out := plain.finish(1, "scenarios", "lint", file); !strings.Contains(out, `operation "ec2:EnableSerialConsoleAccess" is not on the allow-list`) {
		t.Errorf("without its line the operation is not refused:\n%s", out)
	}

	overlay[absolute(t, filepath.Join("../../scenarios/aws", filepath.Base(file)))] = file
	data, err := json.Marshal(map[string]any{"Replace": overlay})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "overlay.json"), data, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := buildAll(dir, "-overlay", filepath.Join(dir, "overlay.json")); err != nil {
		t.Fatal(err)
	}
	if out := walk(t, dir).finish(0, "run", "--scenario", "aws/ec2-serial-console-dry-run"); !strings.Contains(out, "4 of 4 canaries proven") {
		t.Errorf("the README's operation is not proven:\n%s", out)
	}
}

// section returns the fenced blocks of a section of the README, by language.
func section(t *testing.T, heading string) map[string][]string {
	t.Helper()
	data, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	_, text, ok := strings.Cut(string(data), "\n"+heading+"\n")
	if !ok {
		t.Fatalf("the README has no %q", heading)
	}
	text, _, _ = strings.Cut(text, "\n## ")
	blocks := map[string][]string{}
	for _, m := range regexp.MustCompile("(?s)```(\\w+)\n(.*?)```").FindAllStringSubmatch(text, -1) {
		blocks[m[1]] = append(blocks[m[1]], m[2])
	}
	if len(blocks["yaml"]) != 1 {
		t.Fatalf("%q has %d scenarios", heading, len(blocks["yaml"]))
	}
	return blocks
}

func absolute(t *testing.T, path string) string {
	t.Helper()
	abs, err := filepath.Abs(path)
	if err != nil {
		t.Fatal(err)
	}
	return abs
}

// walker uses the programs of one folder as the README does.
type walker struct {
	*testing.T
	bin, dir string
	sb       *sandbox
}

func walk(t *testing.T, programs string) *walker {
	t.Helper()
	w := &walker{T: t, bin: programs, dir: t.TempDir()}
	var err error
	w.sb, err = startProgram(filepath.Join(programs, "sandbox"), filepath.Join(w.dir, "log"), "-listen", "127.0.0.1:0", "-data", filepath.Join(w.dir, "data"), "-speed", "60")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { w.sb.stop() })
	return w
}

// scenario writes a scenario to the file its id asks for.
func (w *walker) scenario(dir, text string) string {
	w.Helper()
	id := regexp.MustCompile(`(?m)^id: aws/(\S+)`).FindStringSubmatch(text)
	if id == nil {
		w.Fatalf("no id in\n%s", text)
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		w.Fatal(err)
	}
	file := filepath.Join(dir, id[1]+".yaml")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		w.Fatal(err)
	}
	return file
}

// config changes the configuration the sandbox wrote.
func (w *walker) config(old, by string) {
	w.Helper()
	data, err := os.ReadFile(w.sb.Config)
	if err != nil || !strings.Contains(string(data), old) {
		w.Fatalf("the configuration has no %q (%v)", old, err)
	}
	if err := os.WriteFile(w.sb.Config, []byte(strings.Replace(string(data), old, by, 1)), 0o600); err != nil {
		w.Fatal(err)
	}
}

// finish runs auditcanary to its end and returns all it said.
func (w *walker) finish(code int, args ...string) string {
	w.Helper()
	cmd := exec.Command(filepath.Join(w.bin, "auditcanary"), args...)
	cmd.Env = w.sb.environ()
	out, _ := cmd.CombinedOutput()
	if got := cmd.ProcessState.ExitCode(); got != code {
		w.Errorf("auditcanary %s: exit code %d, want %d\n%s", strings.Join(args, " "), got, code, out)
	}
	return string(out)
}
