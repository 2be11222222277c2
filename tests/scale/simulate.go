package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/auditcanary/auditcanary/tests/sandbox/cloud"
)

// dozen are the scenarios of the simulation, each once in every account and region.
var dozen = []string{
	"aws/ec2-security-group-ingress", "aws/ec2-security-group-egress", "aws/ec2-network-acl",
	"aws/kms-disable-key", "aws/kms-create-grant-dry-run", "aws/cloudtrail-stop-logging-denied",
	"aws/cloudtrail-stop-logging-decoy", "aws/logs-retention", "aws/s3-bucket-policy",
	"aws/ssm-parameter", "aws/secretsmanager-secret", "aws/sts-break-glass-assume-role",
}

type options struct {
	accounts, regions, perCell, parallel int
	first                                int // cells to run, 0: all
	progress                             io.Writer
}

// Counted is what a simulation found.
type Counted struct {
	Accounts  int    `json:"accounts"`
	Regions   int    `json:"regions"`
	Cells     int    `json:"cells"`
	Canaries  int    `json:"canaries"`
	Proven    int    `json:"proven"`
	Protected int    `json:"protected"`
	Waves     []Wave `json:"waves"`
}

// Wave is one call of one function in every cell.
type Wave struct {
	Name     string `json:"name"`
	Requests int    `json:"requests"`
	// For counts requests by purpose; S3 those to S3 by operation, the ledger's and the
	// archive's together.
	For map[string]int `json:"for"`
	S3  map[string]int `json:"s3"`
	// Appends are checkpoints written.
	Appends int `json:"appends"`
	// PeakKiB is the most that one call held in memory, CPUMs what all calls together used.
	PeakKiB int64 `json:"peak_kib"`
	CPUMs   int64 `json:"cpu_ms"`
}

func simulate(ctx context.Context, o options) (Counted, error) {
	counted := Counted{Accounts: o.accounts, Regions: o.regions}
	dir, err := os.MkdirTemp("", "auditcanary-scale-")
	if err != nil {
		return counted, err
	}
	defer os.RemoveAll(dir)
	fmt.Fprintln(o.progress, "building the functions and the sandbox")
	if err := build(ctx, dir); err != nil {
		return counted, err
	}
	s, err := start(ctx, dir, o)
	if err != nil {
		return counted, err
	}
	defer s.stop()
	cells, err := s.inCells(o.perCell)
	if err != nil {
		return counted, err
	}
	if o.first > 0 {
		cells = cells[:min(o.first, len(cells))]
	}
	counted.Cells = len(cells)
	// The clock of the sandbox stands still; the ledger's is the real one.
	run := time.Now().UTC().Format("20060102") + "-scale1"
	for _, wave := range []struct {
		name, function, advance string
	}{
		{"inject", "inject", ""}, {"confirm", "confirm", "20m"}, {"seal", "confirm", "3h"},
	} {
		if wave.advance != "" {
			if err := s.post(ctx, "time", `{"advance": "`+wave.advance+`"}`); err != nil {
				return counted, err
			}
		}
		w, tallies, err := s.wave(ctx, wave.name, wave.function, run, cells, o)
		if err != nil {
			return counted, err
		}
		counted.Waves = append(counted.Waves, w)
		counted.Canaries, counted.Proven, counted.Protected = 0, 0, 0
		for _, t := range tallies {
			counted.Canaries += t.Canaries
			counted.Proven += t.Proven
			counted.Protected += t.Protected
		}
	}
	if counted.Canaries == 0 || counted.Proven != counted.Canaries || counted.Protected != counted.Canaries {
		return counted, fmt.Errorf("of %d canaries %d are proven, %d sealed and immutable: what failed costs something else", counted.Canaries, counted.Proven, counted.Protected)
	}
	return counted, nil
}

// build compiles what runs.
func build(ctx context.Context, dir string) error {
	for _, pkg := range []string{"../functions/inject", "../functions/confirm", "sandbox"} {
		cmd := exec.CommandContext(ctx, "go", "build", "-o", filepath.Join(dir, filepath.Base(pkg)), "./"+filepath.Base(pkg))
		cmd.Dir = ".." // tests/, for a test and for `go -C tests run ./scale` alike
		if _, err := os.Stat("sandbox"); err == nil {
			cmd.Dir = "."
		}
		if strings.HasPrefix(pkg, "../") {
			cmd.Dir = filepath.Join(cmd.Dir, "..", "functions")
		}
		cmd.Stderr = os.Stderr
		if err := cmd.Run(); err != nil {
			return fmt.Errorf("build %s: %w", pkg, err)
		}
	}
	return nil
}

// sandbox is a running one.
type sandbox struct {
	dir    string
	cmd    *exec.Cmd
	config string
	url    string
	env    []string
}

func start(ctx context.Context, dir string, o options) (*sandbox, error) {
	s := &sandbox{dir: dir}
	log, err := os.Create(filepath.Join(dir, "sandbox.log"))
	if err != nil {
		return nil, err
	}
	s.cmd = exec.CommandContext(ctx, filepath.Join(dir, "sandbox"), "-data", filepath.Join(dir, "data"),
		"-speed", "0", "-ahead", untilMorning(time.Now().UTC()).String(),
		"-accounts", fmt.Sprint(o.accounts), "-regions", fmt.Sprint(o.regions), "-include", strings.Join(dozen, ","))
	// It keeps what all have done: collecting it all the time would take half of its time.
	s.cmd.Env = append(os.Environ(), "GOGC=300", "GOMEMLIMIT=14GiB")
	s.cmd.Stderr = log
	out, err := s.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := s.cmd.Start(); err != nil {
		return nil, err
	}
	var ready struct {
		Config string
		Env    map[string]string
	}
	line, err := bufio.NewReader(out).ReadBytes('\n')
	if err == nil {
		err = json.Unmarshal(line, &ready)
	}
	if err != nil {
		said, _ := os.ReadFile(log.Name())
		s.stop()
		return nil, fmt.Errorf("the sandbox did not start: %w\n%s", err, said)
	}
	s.config, s.url = ready.Config, ready.Env["AWS_ENDPOINT_URL"]
	s.env = append(os.Environ(), "AUDITCANARY_CONFIG="+s.config)
	for k, v := range ready.Env {
		s.env = append(s.env, k+"="+v)
	}
	return s, nil
}

// untilMorning is how long it is to the next seven past ten. The sandbox begins there: how
// many files a wave finds, in how many days' folders, hangs on the hour and the minute, and
// what is counted today must be comparable with what was kept.
func untilMorning(now time.Time) time.Duration {
	start := now.Truncate(24 * time.Hour).Add(10*time.Hour + 7*time.Minute)
	if start.Before(now) {
		start = start.AddDate(0, 0, 1)
	}
	return start.Sub(now)
}

func (s *sandbox) stop() {
	_ = s.cmd.Process.Signal(syscall.SIGTERM)
	_ = s.cmd.Wait()
}

// inCells rewrites the configuration: so many accounts to a cell, ledgers in S3. Nobody is
// told anything, and no alert is listened for.
func (s *sandbox) inCells(perCell int) ([]string, error) {
	data, err := os.ReadFile(s.config)
	if err != nil {
		return nil, err
	}
	var c map[string]any
	if err := yaml.Unmarshal(data, &c); err != nil {
		return nil, err
	}
	var cells []string
	for i, t := range c["targets"].([]any) {
		cell := fmt.Sprintf("cell-%04d", i/max(1, perCell)+1)
		t.(map[string]any)["cell"] = cell
		if i%max(1, perCell) == 0 {
			cells = append(cells, cell)
		}
	}
	for _, key := range []string{"alerts", "alert_path", "tickets", "chat", "inspection", "sources"} {
		delete(c, key)
	}
	ledger := c["ledger"].(map[string]any)
	delete(ledger, "dir")
	ledger["s3"] = map[string]any{"bucket": cloud.LedgerBucket, "prefix": "ledgers", "region": "us-east-1"}
	if data, err = yaml.Marshal(c); err != nil {
		return nil, err
	}
	return cells, os.WriteFile(s.config, data, 0o600)
}

// tally is what a function answers of a run.
type tally struct{ Canaries, Proven, Protected int }

// wave calls a function once for each cell.
func (s *sandbox) wave(ctx context.Context, name, function, run string, cells []string, o options) (Wave, []tally, error) {
	w := Wave{Name: name, For: map[string]int{}, S3: map[string]int{}}
	if err := s.reset(ctx); err != nil {
		return w, nil, err
	}
	tallies := make([]tally, len(cells))
	var mu sync.Mutex
	var errs []error
	slots := make(chan struct{}, max(1, o.parallel))
	var wg sync.WaitGroup
	done := 0
	for i, cell := range cells {
		slots <- struct{}{}
		wg.Go(func() {
			defer func() { <-slots }()
			t, usage, err := s.call(ctx, function, run, cell)
			mu.Lock()
			defer mu.Unlock()
			tallies[i] = t
			if err != nil {
				errs = append(errs, err)
				return
			}
			w.PeakKiB = max(w.PeakKiB, usage.Maxrss)
			w.CPUMs += (time.Duration(usage.Utime.Nano()) + time.Duration(usage.Stime.Nano())).Milliseconds()
			if done++; done%50 == 0 || done == len(cells) {
				fmt.Fprintf(o.progress, "%s: %d of %d cells\n", name, done, len(cells))
			}
		})
		if len(errs) > 0 || ctx.Err() != nil {
			break
		}
	}
	wg.Wait()
	if err := errors.Join(append(errs, ctx.Err())...); err != nil {
		return w, nil, err
	}
	var calls []cloud.CallLog
	if err := s.get(ctx, "calls", &calls); err != nil {
		return w, nil, err
	}
	for _, c := range calls {
		w.count(c)
	}
	return w, tallies, nil
}

// call runs a function for one cell.
func (s *sandbox) call(ctx context.Context, function, run, cell string) (tally, *syscall.Rusage, error) {
	self, err := os.Executable()
	if err != nil {
		return tally{}, nil, err
	}
	used, usedIn, err := os.Pipe()
	if err != nil {
		return tally{}, nil, err
	}
	defer used.Close()
	cmd := exec.CommandContext(ctx, self, relayed, filepath.Join(s.dir, function), fmt.Sprintf(`{"run": %q, "cell": %q, "summary": true}`, run, cell))
	cmd.Env, cmd.ExtraFiles = s.env, []*os.File{usedIn}
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	usedIn.Close()
	var answer struct {
		Tally tally `json:"tally"`
	}
	// Its exit code speaks of the canaries, of which more may be known after the next wave.
	var exit *exec.ExitError
	if err != nil && (!errors.As(err, &exit) || len(out) == 0) {
		return tally{}, nil, fmt.Errorf("%s of %s: %w\n%s", function, cell, err, stderr.Bytes())
	}
	if err := json.Unmarshal(out, &answer); err != nil {
		return tally{}, nil, fmt.Errorf("%s of %s: its answer: %w\n%s", function, cell, err, stderr.Bytes())
	}
	var usage syscall.Rusage
	if err := json.NewDecoder(used).Decode(&usage); err != nil {
		return tally{}, nil, fmt.Errorf("%s of %s: what it used: %w", function, cell, err)
	}
	return answer.Tally, &usage, nil
}

// relayed is the first argument of this program when it runs another and tells what that
// used: a process begins its life with the most that its parent ever held in memory, and
// whoever counts what a thousand cells do holds much.
const relayed = "relayed"

// relay runs a program, writes what it used to file 3, and returns its exit code.
func relay(args []string) int {
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	err := cmd.Run()
	if cmd.ProcessState == nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	if usage, ok := cmd.ProcessState.SysUsage().(*syscall.Rusage); ok {
		_ = json.NewEncoder(os.NewFile(3, "used")).Encode(usage) // or whoever reads it says that there is none
	}
	return cmd.ProcessState.ExitCode()
}

// count puts a call where it belongs.
func (w *Wave) count(c cloud.CallLog) {
	w.Requests++
	bucket, _ := c.Params["Bucket"].(string)
	key, _ := c.Params["Key"].(string)
	_, session, assumed := strings.Cut(c.Principal, ":assumed-role/")
	_, session, _ = strings.Cut(session, "/")
	purpose := "other"
	switch {
	case c.Service == "s3" && bucket == cloud.LedgerBucket:
		purpose = "ledger"
		if c.Operation == "PutObject" && strings.HasSuffix(key, "/checkpoint") && c.Error == "" {
			w.Appends++
		}
	case c.Service == "s3" && bucket == cloud.ArchiveBucket:
		purpose = "archive"
	case c.Operation == "AssumeRole" && !assumed:
		purpose = "sessions"
	case session == "auditcanary-read":
		purpose = "listing"
	case assumed:
		purpose = "acts"
	}
	w.For[purpose]++
	if purpose == "ledger" || purpose == "archive" {
		w.S3[c.Operation]++
	}
}

// reset empties the sandbox's list of calls.
func (s *sandbox) reset(ctx context.Context) error {
	return s.admin(ctx, http.MethodPut, "faults", "faults: []\n", nil)
}

func (s *sandbox) get(ctx context.Context, path string, out any) error {
	return s.admin(ctx, http.MethodGet, path, "", out)
}

func (s *sandbox) post(ctx context.Context, path, body string) error {
	return s.admin(ctx, http.MethodPost, path, body, nil)
}

func (s *sandbox) admin(ctx context.Context, method, path, body string, out any) error {
	req, err := http.NewRequestWithContext(ctx, method, s.url+"/_sandbox/"+path, strings.NewReader(body))
	if err != nil {
		return err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		said, _ := io.ReadAll(io.LimitReader(resp.Body, 4096))
		return fmt.Errorf("%s %s: %s: %s", method, path, resp.Status, said)
	}
	if out == nil {
		return nil
	}
	return json.NewDecoder(resp.Body).Decode(out)
}
