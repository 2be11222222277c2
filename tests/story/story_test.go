// Package story runs end-to-end days as scripts a person can read: testdata/*.txtar.
//
// Each script starts a sandbox of its own (a process on loopback, with faults as
// data) and drives the real auditcanary binary against it. Commands beyond the
// usual ones of testscript:
//
//	sandbox [-faults NAME] [-speed N] ...   start it; sets the environment up
//	config OLD NEW                          replace text in the configuration; OLD must be there, \n in NEW is a new line
//	unproven FILE                           print what a summary does not prove, a line each
//	calls                                   print the mutating calls the cloud saw, with counts
//	plant FILE ...                          put into the cloud what each file says (POST /_sandbox/plant)
//	root ACCOUNT/REGION SERVICE OPERATION   make a call as the root user, see rootCmd
//	advance DURATION                        put the sandbox's clock forward
//	leftovers                               print what canaries left in the cloud, by its own account
//	as ACCOUNT                              go on with the credentials of an account's root user
//	hide TEXT N                             delete the N newest objects of the archive with TEXT in their key
//	faults FILE                             let go wrong from now on what FILE says, and nothing else
//	once SCENARIOS PLACES                   a run: inject, two hours go by, confirm; prints what confirm does
//	tickets [KEY]                           print a line for each ticket of the Jira site, or all that one says
//	messages                                print each message of the Slack workspace, those of a thread with ">"
//	people JSON                             do what somebody at Jira or Slack might (POST /_sandbox/people)
//	verifier FILE                           put the verifier key in FILE into the configuration
//	packetkey                               print the public key of the packets' key in KMS
package story

import (
	"bufio"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/auditcanary/auditcanary/shared/canary"
	"github.com/auditcanary/auditcanary/shared/run"
)

// bin holds the two programs, built once by TestMain.
var bin string

func TestMain(m *testing.M) {
	flag.Parse()
	// Stories wait for deliveries far more than they work.
	if err := flag.Set("test.parallel", "14"); err != nil {
		panic(err)
	}
	// The programs are short-lived and small: to collect garbage less often makes a fifth
	// of their work less.
	if err := os.Setenv("GOGC", "400"); err != nil {
		panic(err)
	}
	dir, err := os.MkdirTemp("", "story")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(2)
	}
	bin = dir
	code := 2
	if err := buildAll(dir); err != nil {
		fmt.Fprintln(os.Stderr, err)
	} else {
		code = m.Run()
	}
	_ = os.RemoveAll(dir)
	os.Exit(code)
}

func buildAll(dir string, flags ...string) error {
	for _, b := range []struct{ dir, pkg, name string }{
		{"../..", "./functions/auditcanary", "auditcanary"},
		{"..", "./sandbox", "sandbox"},
	} {
		// What a debugger needs takes half of the time to link.
		args := append([]string{"build", "-ldflags", "-s -w", "-o", filepath.Join(dir, b.name)}, flags...)
		cmd := exec.Command("go", append(args, b.pkg)...)
		cmd.Dir = b.dir
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("go build %s: %w\n%s", b.pkg, err, out)
		}
	}
	return nil
}

func TestStories(t *testing.T) {
	t.Parallel()
	faults, err := filepath.Abs("../sandbox/faults")
	if err != nil {
		t.Fatal(err)
	}
	testscript.Run(t, testscript.Params{
		Dir: "testdata",
		Setup: func(e *testscript.Env) error {
			e.Setenv("PATH", bin+string(os.PathListSeparator)+os.Getenv("PATH"))
			e.Setenv("FAULTS", faults)
			e.Setenv("AWS_EC2_METADATA_DISABLED", "true")
			e.Setenv("GOGC", os.Getenv("GOGC"))
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"sandbox":   sandboxCmd,
			"config":    configCmd,
			"unproven":  unprovenCmd,
			"calls":     callsCmd,
			"canary":    canaryCmd,
			"byhand":    byhandCmd,
			"leftovers": leftoversCmd,
			"plant":     plantCmd,
			"root":      rootCmd,
			"advance":   advanceCmd,
			"as":        asCmd,
			"hide":      hideCmd,
			"faults":    faultsCmd,
			"once":      onceCmd,
			"tickets":   ticketsCmd,
			"messages":  messagesCmd,
			"people":    peopleCmd,
			"verifier":  verifierCmd,
			"packetkey": packetkeyCmd,
		},
	})
}

// sandboxCmd starts a sandbox that lives as long as the script.
func sandboxCmd(ts *testscript.TestScript, neg bool, args []string) {
	if neg {
		ts.Fatalf("sandbox cannot be negated")
	}
	args = append([]string{"-listen", "127.0.0.1:0", "-data", ts.MkAbs("sandbox")}, args...)
	for i, a := range args {
		if a != "-faults" || i+1 >= len(args) {
			continue
		}
		// A file of the script itself, or one of the sandbox's own by name.
		if own := ts.MkAbs(args[i+1]); strings.HasSuffix(own, ".yaml") {
			args[i+1] = own
		} else {
			args[i+1] = filepath.Join(ts.Getenv("FAULTS"), args[i+1]+".yaml")
		}
	}
	sb, err := startSandbox(ts.MkAbs("sandbox.log"), args...)
	ts.Check(err)
	ts.Defer(func() { ts.Logf("%s", sb.stop()) })
	for k, v := range sb.Env {
		ts.Setenv(k, v)
	}
	ts.Setenv("AUDITCANARY_CONFIG", sb.Config)
}

// sandbox is a running one.
type sandbox struct {
	Config string            `json:"config"`
	Env    map[string]string `json:"env"`
	cmd    *exec.Cmd
	log    *os.File
}

func startSandbox(log string, args ...string) (*sandbox, error) {
	return startProgram(filepath.Join(bin, "sandbox"), log, args...)
}

func startProgram(program, log string, args ...string) (*sandbox, error) {
	s := &sandbox{cmd: exec.Command(program, args...)}
	var err error
	if s.log, err = os.Create(log); err != nil {
		return nil, err
	}
	s.cmd.Stderr = s.log
	stdout, err := s.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := s.cmd.Start(); err != nil {
		return nil, err
	}
	line, err := bufio.NewReader(stdout).ReadBytes('\n')
	if err == nil {
		err = json.Unmarshal(line, s)
	}
	if err != nil {
		return nil, fmt.Errorf("the sandbox did not become ready: %w\n%s", err, s.stop())
	}
	return s, nil
}

// stop ends it and returns what it said on stderr.
func (s *sandbox) stop() string {
	_ = s.cmd.Process.Signal(syscall.SIGTERM)
	_ = s.cmd.Wait()
	_ = s.log.Close()
	data, _ := os.ReadFile(s.log.Name())
	return string(data)
}

// environ is what a program needs to find the sandbox, and nothing by which it
// could find a real account.
func (s *sandbox) environ() []string {
	env := []string{"PATH=" + os.Getenv("PATH"), "HOME=" + os.Getenv("HOME"), "GOGC=" + os.Getenv("GOGC"), "AWS_EC2_METADATA_DISABLED=true", "AUDITCANARY_CONFIG=" + s.Config}
	for k, v := range s.Env {
		env = append(env, k+"="+v)
	}
	return env
}

// configCmd changes the configuration the sandbox wrote.
func configCmd(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: config OLD NEW")
	}
	file := ts.Getenv("AUDITCANARY_CONFIG")
	data, err := os.ReadFile(file)
	ts.Check(err)
	if !strings.Contains(string(data), args[0]) {
		ts.Fatalf("the configuration does not contain %q", args[0])
	}
	ts.Check(os.WriteFile(file, []byte(strings.ReplaceAll(string(data), args[0], strings.ReplaceAll(args[1], `\n`, "\n"))), 0o600))
}

// unprovenCmd prints, for every canary that is not proven, each required check
// that is neither pass nor a mere consequence (nothing to judge).
func unprovenCmd(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: unproven FILE")
	}
	var s run.Summary
	ts.Check(json.Unmarshal([]byte(ts.ReadFile(args[0])), &s))
	if s.Tally.Canaries == 0 {
		ts.Fatalf("%s: no canaries at all", args[0])
	}
	w := ts.Stdout()
	for _, l := range s.Canaries {
		for _, c := range canary.Required() {
			a := l.Checks[c]
			if a.Status == canary.Pass || a.Status == canary.NotRun && !a.Open {
				continue
			}
			fmt.Fprintf(w, "%s %s/%s %s %s", l.Scenario, l.Target, l.Region, c, a.Status)
			if a.Hop != "" {
				fmt.Fprintf(w, " %s", a.Hop)
			}
			for _, f := range fieldNames(a) {
				fmt.Fprintf(w, " %s", f)
			}
			fmt.Fprintln(w)
		}
	}
	for _, f := range s.Findings {
		fmt.Fprintf(w, "%s %s %s\n", f.Kind, f.Operation, f.Actor)
	}
}

func fieldNames(a canary.Answer) []string {
	var out []string
	for _, f := range a.Fields {
		if !slices.Contains(out, f.Field) {
			out = append(out, f.Field)
		}
	}
	return out
}

func get(ts *testscript.TestScript, path string) []byte {
	resp, err := http.Get(ts.Getenv("AWS_ENDPOINT_URL") + path)
	ts.Check(err)
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	ts.Check(err)
	if resp.StatusCode != http.StatusOK {
		ts.Fatalf("%s: %s: %s", path, resp.Status, data)
	}
	return data
}

func callsCmd(ts *testscript.TestScript, _ bool, _ []string) {
	var calls []struct {
		Service, Operation, Account, Region string
		Mutating                            bool
	}
	ts.Check(json.Unmarshal(get(ts, "/_sandbox/calls"), &calls))
	count := map[string]int{}
	for _, c := range calls {
		if c.Mutating {
			count[c.Service+":"+c.Operation]++
		}
	}
	var lines []string
	for k, n := range count {
		lines = append(lines, fmt.Sprintf("%s %d", k, n))
	}
	slices.Sort(lines)
	fmt.Fprintln(ts.Stdout(), strings.Join(lines, "\n"))
}

func leftoversCmd(ts *testscript.TestScript, _ bool, _ []string) {
	fmt.Fprintf(ts.Stdout(), "%s\n", strings.TrimSpace(string(get(ts, "/_sandbox/state"))))
}
