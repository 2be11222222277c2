package deploy

import (
	"bytes"
	"encoding/json"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/auditcanary/auditcanary/tests/nodemodules"
)

// npm has what packages, validates and interprets, and returns where.
func npm(t *testing.T) string {
	t.Helper()
	return nodemodules.Install(t, "what is deployed is neither packaged nor interpreted")
}

// node runs a script of testdata/npm where its packages are found, and reads its answer.
func node(t *testing.T, script string, answer any, args ...string) {
	t.Helper()
	dir := npm(t)
	source, err := os.ReadFile(filepath.Join("testdata", "npm", script))
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), "node", append([]string{"--no-warnings", "--input-type=module", "-"}, args...)...)
	var stderr bytes.Buffer
	cmd.Dir, cmd.Stdin, cmd.Stderr = dir, bytes.NewReader(source), &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s: %v\n%s", script, err, stderr.String())
	}
	if err := json.Unmarshal(out, answer); err != nil {
		t.Fatalf("%s: %v: %s", script, err, out)
	}
}

// built are the programs that this process has built.
var built struct {
	sync.Mutex
	names map[string]bool
}

// binary builds a program as it is deployed, for this machine. It is linked again only
// where something changed.
func binary(t *testing.T, name string) string {
	t.Helper()
	built.Lock()
	defer built.Unlock()
	out, err := filepath.Abs(filepath.Join("..", "..", "out", "functions", name))
	if err != nil {
		t.Fatal(err)
	}
	if built.names[name] {
		return out
	}
	cmd := exec.CommandContext(t.Context(), "go", "build", "-tags", "lambda.norpc", "-ldflags", "-s -w", "-o", out, "./functions/"+name)
	cmd.Dir = filepath.Join("..", "..")
	if name == "sandbox" {
		cmd.Args[len(cmd.Args)-1], cmd.Dir = "./sandbox", ".."
	}
	if text, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("build %s: %v\n%s", name, err, text)
	}
	if built.names == nil {
		built.names = map[string]bool{}
	}
	built.names[name] = true
	return out
}

// sandbox is the loopback cloud.
type sandbox struct {
	url    string
	config string // file
	env    []string
}

func startSandbox(t *testing.T) sandbox {
	t.Helper()
	cmd := exec.Command(binary(t, "sandbox"), "-data", t.TempDir())
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		_ = cmd.Wait()
	})
	var first struct {
		Config string
		Env    map[string]string
	}
	if err := json.NewDecoder(stdout).Decode(&first); err != nil {
		t.Fatal(err)
	}
	s := sandbox{url: first.Env["AWS_ENDPOINT_URL"], config: first.Config}
	s.env = append(s.env, "HOME="+os.Getenv("HOME"), "PATH="+os.Getenv("PATH"), "AWS_EC2_METADATA_DISABLED=true", "AWS_CONFIG_FILE=/dev/null", "AWS_SHARED_CREDENTIALS_FILE=/dev/null")
	for k, v := range first.Env {
		s.env = append(s.env, k+"="+v)
	}
	return s
}

// ask reads what the sandbox says of itself.
func (s sandbox) ask(t *testing.T, what string, answer any) {
	t.Helper()
	r, err := http.Get(s.url + "/_sandbox/" + what)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	if err := json.NewDecoder(r.Body).Decode(answer); err != nil {
		t.Fatal(err)
	}
}

// left is what is not as it was when the sandbox began.
func (s sandbox) left(t *testing.T) (out []json.RawMessage) {
	t.Helper()
	var state struct{ Changes []json.RawMessage }
	s.ask(t, "state", &state)
	return state.Changes
}

// advance puts its clock forward.
func (s sandbox) advance(by time.Duration) error {
	body, _ := json.Marshal(map[string]string{"advance": by.String()})
	r, err := http.Post(s.url+"/_sandbox/time", "application/json", bytes.NewReader(body))
	if err == nil {
		err = r.Body.Close()
	}
	return err
}

// people are told in the chat.
func (s sandbox) messages(t *testing.T) []string {
	t.Helper()
	var all []struct{ Text string }
	s.ask(t, "messages", &all)
	var out []string
	for _, m := range all {
		out = append(out, m.Text)
	}
	return out
}

func contains(all []string, text string) (n int) {
	for _, one := range all {
		if strings.Contains(one, text) {
			n++
		}
	}
	return n
}
