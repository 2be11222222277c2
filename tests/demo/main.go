// Command demo is the README's first command: it starts the sandbox, runs every
// canary against it through the real program, and shows what came out.
//
// The program under way is the ordinary auditcanary binary with an ordinary
// configuration file; only that file's endpoint URL says where the cloud is.
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"time"

	"github.com/auditcanary/auditcanary/scenarios"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	out := flag.String("out", "../out/demo", "where to leave the ledger and the summary")
	speed := flag.Int("speed", 240, "how many times faster the sandbox's clock runs")
	faults := flag.String("faults", "demo/planted.yaml", "fault file for the sandbox; none: nothing goes wrong")
	flag.Parse()
	code, err := demo(ctx, *out, *speed, *faults)
	if err != nil {
		fmt.Fprintln(os.Stderr, "demo:", err)
		code = 2
	}
	os.Exit(code)
}

func demo(ctx context.Context, out string, speed int, faults string) (int, error) {
	out, err := filepath.Abs(out)
	if err != nil {
		return 2, err
	}
	bin := filepath.Join(filepath.Dir(out), "bin")
	if err := os.MkdirAll(bin, 0o755); err != nil {
		return 2, err
	}
	unlock, err := lock(out)
	if err != nil {
		return 2, err
	}
	defer unlock()
	began := time.Now()
	for _, b := range []struct{ dir, pkg, name, why string }{
		{"..", "./functions/auditcanary", "auditcanary", "the first time this compiles the AWS clients: minutes; afterwards seconds"},
		{".", "./sandbox", "sandbox", "a loopback cloud with a real S3 server"},
	} {
		if err := build(ctx, b.dir, b.pkg, filepath.Join(bin, b.name), b.why); err != nil {
			return 2, err
		}
	}
	fmt.Printf("built in %s\n\n", time.Since(began).Round(time.Second))

	began = time.Now()
	if err := clear(out); err != nil {
		return 2, err
	}
	file := faults
	if faults == "none" {
		file = ""
	}
	sandbox, err := startSandbox(ctx, filepath.Join(bin, "sandbox"), out, speed, file)
	if err != nil {
		return 2, err
	}
	defer sandbox.stop()
	fmt.Printf("The sandbox is up: an organisation with a central trail, a security team that is alerted,\na Jira site and a Slack workspace; its clock is %d times faster.\n", speed)
	var expected *tally
	switch filepath.Base(faults) {
	case "planted.yaml":
		fmt.Println("Three records are made to go wrong; one of these is accepted, and the acceptance of another has run out.")
		expected = &tally{Failed: 2, Excepted: 1}
	case "none":
		expected = &tally{}
	}
	if err := register(out, sandbox.Config); err != nil {
		return 2, err
	}

	cli := func(w io.Writer, args ...string) (int, error) {
		cmd := exec.CommandContext(ctx, filepath.Join(bin, "auditcanary"), append([]string{"--config", sandbox.Config}, args...)...)
		cmd.Env = sandbox.environ()
		cmd.Stdout, cmd.Stderr = w, os.Stderr
		cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
		err := cmd.Run()
		var ee *exec.ExitError
		if errors.As(err, &ee) {
			return ee.ExitCode(), nil
		}
		return 0, err
	}
	fmt.Println("\n$ auditcanary run")
	code, err := cli(os.Stdout, "run")
	if err != nil {
		return 2, err
	}
	fmt.Println("\n$ auditcanary notify")
	if told, err := cli(os.Stdout, "notify"); err != nil || told != 0 {
		return 2, fmt.Errorf("not everybody was told (exit %d): %w", told, err)
	}
	if err := sandbox.keepPages(ctx, out); err != nil {
		return 2, err
	}
	fmt.Println("\nThe sandbox's clock is put forward by three hours, until CloudTrail has signed for what it delivered.")
	if err := sandbox.advance(ctx, "3h"); err != nil {
		return 2, err
	}
	for _, args := range [][]string{{"seal", "--brief"}, {"integrity"}} {
		fmt.Println("\n$ auditcanary " + strings.Join(args, " "))
		kept, err := cli(os.Stdout, args...)
		if err != nil {
			return 2, err
		}
		code = max(code, kept)
	}
	f, err := os.Create(filepath.Join(out, "summary.json"))
	if err != nil {
		return 2, err
	}
	defer f.Close()
	if _, err := cli(f, "status", "--json"); err != nil {
		return 2, err
	}
	if expected != nil {
		if err := expected.is(filepath.Join(out, "summary.json")); err != nil {
			return 2, err
		}
		code = 0 // as it was to be
	}
	fmt.Println("\n$ auditcanary coverage --brief")
	if covered, err := cli(os.Stdout, "coverage", "--brief"); err != nil || covered != 0 {
		return 2, fmt.Errorf("the coverage could not be worked out (exit %d): %w", covered, err)
	}
	fmt.Println("\n$ auditcanary ledger verify")
	if verified, err := cli(os.Stdout, "ledger", "verify"); err != nil || verified != 0 {
		return 2, fmt.Errorf("the ledger did not verify (exit %d): %w", verified, err)
	}
	fmt.Println("\n$ auditcanary report --format html -o report.html")
	if reported, err := cli(os.Stdout, "report", "--format", "html", "-o", filepath.Join(out, "report.html")); err != nil || reported != 0 {
		return 2, fmt.Errorf("the report could not be written (exit %d): %w", reported, err)
	}
	packet, key := filepath.Join(out, "packet.zip"), filepath.Join(out, "signing.key.pub")
	for _, args := range [][]string{{"packet", "-o", packet, "--attach", filepath.Join(out, "report.html")}, {"verify", packet, "--key", key}} {
		fmt.Printf("\n$ auditcanary %s\n", strings.ReplaceAll(strings.Join(args, " "), out+string(filepath.Separator), ""))
		if done, err := cli(os.Stdout, args...); err != nil || done != 0 {
			return 2, fmt.Errorf("%s (exit %d): %w", args[0], done, err)
		}
	}
	fmt.Printf(`
Left in %s: report.html (open it in a browser), jira.html and slack.html (what people
were told), packet.zip (for the auditor), summary.json, ledger/ (the evidence),
exceptions.yaml (the register), auditcanary.yaml (the configuration). %s without building.
`, relative(out), time.Since(began).Round(time.Second))
	return code, nil
}

// build compiles one program and says so while it does.
func build(ctx context.Context, dir, pkg, to, why string) error {
	fmt.Printf("building %s (%s)", filepath.Base(to), why)
	done := make(chan struct{})
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for {
			select {
			case <-done:
				return
			case <-time.After(5 * time.Second):
				fmt.Print(" .")
			}
		}
	}()
	cmd := exec.CommandContext(ctx, "go", "build", "-o", to, pkg)
	cmd.Dir = dir
	msg, err := cmd.CombinedOutput()
	close(done)
	<-ended
	fmt.Println()
	if err != nil {
		return fmt.Errorf("go build %s: %w\n%s", pkg, err, msg)
	}
	return nil
}

// lock keeps a second demo out of the same folder.
func lock(out string) (unlock func(), err error) {
	f, err := os.OpenFile(out+".lock", os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		_ = f.Close()
		return nil, fmt.Errorf("another demo is under way in %s: wait for it or choose another folder with -out", out)
	}
	return func() { _ = f.Close() }, nil
}

// clear empties the output folder of an earlier demo; it removes nothing that a
// demo did not make.
func clear(out string) error {
	entries, err := os.ReadDir(out)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	if len(entries) > 0 {
		if _, err := os.Stat(filepath.Join(out, "auditcanary.yaml")); err != nil {
			return fmt.Errorf("%s is not empty and holds no earlier demo: choose another folder with -out", out)
		}
	}
	return errors.Join(os.RemoveAll(out), os.MkdirAll(out, 0o755))
}

type sandbox struct {
	Config string            `json:"config"`
	Env    map[string]string `json:"env"`
	cmd    *exec.Cmd
}

func startSandbox(ctx context.Context, bin, data string, speed int, faults string) (_ *sandbox, err error) {
	args := []string{"-listen", "127.0.0.1:0", "-data", data, "-speed", fmt.Sprint(speed)}
	if faults != "" {
		if faults, err = filepath.Abs(faults); err != nil {
			return nil, err
		}
		args = append(args, "-faults", faults)
	}
	s := &sandbox{cmd: exec.CommandContext(ctx, bin, args...)}
	s.cmd.Stderr = os.Stderr
	s.cmd.Cancel = func() error { return s.cmd.Process.Signal(syscall.SIGTERM) }
	stdout, err := s.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := s.cmd.Start(); err != nil {
		return nil, fmt.Errorf("start the sandbox: %w", err)
	}
	line, err := bufio.NewReader(stdout).ReadBytes('\n')
	if err == nil {
		err = json.Unmarshal(line, s)
	}
	if err != nil {
		s.stop()
		return nil, fmt.Errorf("the sandbox did not say that it is ready: %w", err)
	}
	return s, nil
}

// advance puts the sandbox's clock forward, and waits for what is due until then.
func (s *sandbox) advance(ctx context.Context, by string) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, s.Env["AWS_ENDPOINT_URL"]+"/_sandbox/time", strings.NewReader(fmt.Sprintf(`{"advance": %q}`, by)))
	if err != nil {
		return err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return fmt.Errorf("put the sandbox's clock forward: %w", err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("put the sandbox's clock forward by %s: %s", by, resp.Status)
	}
	return nil
}

func (s *sandbox) stop() {
	_ = s.cmd.Process.Signal(syscall.SIGTERM)
	_ = s.cmd.Wait()
}

// environ is this process's environment without its own AWS settings, with the
// sandbox's: a demo must never find its way to a real account.
func (s *sandbox) environ() []string {
	env := []string{"HOME=" + os.Getenv("HOME"), "PATH=" + os.Getenv("PATH"), "AWS_EC2_METADATA_DISABLED=true", "AWS_CONFIG_FILE=/dev/null", "AWS_SHARED_CREDENTIALS_FILE=/dev/null"}
	for k, v := range s.Env {
		env = append(env, k+"="+v)
	}
	return env
}

func relative(p string) string {
	if wd, err := os.Getwd(); err == nil {
		if r, err := filepath.Rel(filepath.Dir(wd), p); err == nil {
			return r
		}
	}
	return p
}

// tally is what is expected of the canaries, beside those that are proven.
type tally struct {
	Canaries, Proven, Failed, Late, Inconclusive, Excepted, Findings int
	NotRun                                                           int `json:"not_run"`
	Checks                                                           map[string]map[string]int
}

// is compares it with a summary. All alerts that are promised must have rung.
func (t tally) is(file string) error {
	data, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	var s struct{ Tally tally }
	if err := json.Unmarshal(data, &s); err != nil {
		return fmt.Errorf("%s: %w", file, err)
	}
	got := s.Tally
	alerted := got.Checks["alerted"]
	t.Canaries, t.Proven, t.Checks, got.Checks = got.Canaries, got.Canaries-t.Failed-t.Excepted, nil, nil
	if fmt.Sprint(got) != fmt.Sprint(t) || got.Canaries == 0 {
		return fmt.Errorf("of %d canaries came %+v, expected %+v", got.Canaries, got, t)
	}
	if rang := alerted["pass"]; rang == 0 || rang+alerted["not-run"] != got.Canaries {
		return fmt.Errorf("not every alert that is promised rang in time: %v", alerted)
	}
	return nil
}

// register writes the register of exceptions, with days around today, and names it in the
// configuration.
func register(out, config string) error {
	mapping, err := scenarios.ReadControls()
	if err != nil {
		return err
	}
	text, err := os.ReadFile("demo/exceptions.yaml")
	if err != nil {
		return err
	}
	day := func(days int) string { return time.Now().UTC().AddDate(0, 0, days).Format(time.DateOnly) }
	filled := strings.NewReplacer("VERSION", mapping.Version, "OPENED", day(-60), "ENDED", day(-1), "SOON", day(60), "LATER", day(90)).Replace(string(text))
	if err := os.WriteFile(filepath.Join(out, "exceptions.yaml"), []byte(filled), 0o644); err != nil {
		return err
	}
	f, err := os.OpenFile(config, os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = io.WriteString(f, "exceptions: {file: exceptions.yaml}\n")
	return errors.Join(err, f.Close())
}

// keepPages keeps what the Jira site and the Slack workspace show a person.
func (s *sandbox) keepPages(ctx context.Context, out string) error {
	slack, err := s.page(ctx, "/_slack/archives/C0SECURITY")
	if err != nil {
		return err
	}
	jira, err := s.page(ctx, "/_jira/")
	if err != nil {
		return err
	}
	pages := map[string]string{"slack.html": slack}
	for _, m := range ticketLink.FindAllStringSubmatch(jira, -1) {
		if pages["jira-"+m[1]+".html"], err = s.page(ctx, "/_jira/browse/"+m[1]); err != nil {
			return err
		}
	}
	pages["jira.html"] = ticketLink.ReplaceAllString(jira, `href="jira-$1.html"`)
	for name, page := range pages {
		if err := os.WriteFile(filepath.Join(out, name), []byte(page), 0o644); err != nil {
			return err
		}
	}
	return nil
}

var ticketLink = regexp.MustCompile(`href="browse/([A-Z]+-[0-9]+)"`)

func (s *sandbox) page(ctx context.Context, path string) (string, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, s.Env["AWS_ENDPOINT_URL"]+path, nil)
	if err != nil {
		return "", err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return "", fmt.Errorf("keep the page %s: %w", path, err)
	}
	defer resp.Body.Close()
	page, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != http.StatusOK {
		err = errors.New(resp.Status)
	}
	if err != nil {
		return "", fmt.Errorf("keep the page %s: %w", path, err)
	}
	return string(page), nil
}
