package story

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/auditcanary/auditcanary/shared/canary"
	"github.com/auditcanary/auditcanary/shared/run"
	"github.com/auditcanary/auditcanary/tests/sandbox/cloud"
)

// TestKilledAtEveryEffect kills the real process with SIGKILL at every effect it
// has on the outside world. The effects are enumerated: one run is let through,
// the sandbox counts its calls, and then for each of them that changes
// something (a call in an account, an assumed role, a write to the ledger in S3)
// a fresh run is stopped right after it, and killed there. A run that does one thing after
// the other dies after one where it dies before the next, but for the few that it does side
// by side; so it is stopped right before each too with THOROUGH=1 in the environment, as
// .ci/run has it, and else only before every fourth.
//
// Afterwards a sweep must leave the accounts exactly as they were, a confirm
// must reach a final verdict for every canary that was planned, no action may
// have been done twice under one canary's name, and a second run over a ledger
// that saw a crash must prove everything.
func TestKilledAtEveryEffect(t *testing.T) {
	t.Parallel()
	for shard := range shards {
		t.Run(fmt.Sprintf("%d of %d", shard+1, shards), func(t *testing.T) {
			t.Parallel()
			k := newKiller(t, "s3: {bucket: auditcanary-ledger, prefix: %s, region: us-east-1}",
				"run", "--json", "--parallel", "1", "--target", "111122223333/us-east-1", "--scenario", "aws/kms-disable-key")
			effects := k.enumerate()
			if len(effects) < 15 {
				t.Fatalf("only %d effects: the enumeration is not real", len(effects))
			}
			for i, e := range effects {
				if i%shards != shard {
					continue
				}
				for _, when := range []string{"before", "after"} {
					if when == "before" && i/shards%4 != 0 && !thorough() {
						continue
					}
					k.killAt(fmt.Sprintf("effect %d (call %d, %s:%s), killed %s it", i+1, e.N, e.Service, e.Operation, when),
						1, fmt.Sprintf("it.n == %d", e.N), when)
				}
			}
			// The ledger that saw the last crash serves the next run as if nothing had been.
			k.finish(k.config, []int{0}, k.run...)
			t.Logf("%d effects in all, killed after each of these (and before each: %t)", len(effects), thorough())
		})
	}
}

// TestKilledAtEveryChangeOfEveryScenario is the same for the whole catalogue at
// once: all canaries act at the same time, each is held before or after its
// first change (its second, its third, ...), and when all are, the process is
// killed.
func TestKilledAtEveryChangeOfEveryScenario(t *testing.T) {
	t.Parallel()
	k := newKiller(t, "dir: %s", "run", "--json", "--parallel", "100", "--target", "111122223333/us-east-1")
	changes := map[string]int{} // by principal, that is by canary
	for _, e := range k.enumerate() {
		if strings.Contains(e.Principal, ":assumed-role/") && e.Mutating {
			changes[e.Principal]++
		}
	}
	for nth := 1; ; nth++ {
		held := 0
		for _, n := range changes {
			if n >= nth {
				held++
			}
		}
		if held == 0 {
			t.Logf("%d canaries, killed before and after each of their up to %d changes", len(changes), nth-1)
			break
		}
		for _, when := range []string{"before", "after"} {
			k.killAt(fmt.Sprintf("%d canaries %s their change %d", held, when, nth), held,
				fmt.Sprintf(`it.nth == %d && it.principal.contains(":assumed-role/")`, nth), when)
		}
	}
	k.finish(k.config, []int{0}, k.run...)
}

// TestKilledAroundAnAttempt is the same for a call that must be denied: the process is
// killed right after each of the looks and the attempt between them.
// Whatever of it the ledger has, nothing counts as refused that was not looked at again,
// and nobody calls the looks of the dead process forged. (Every line in between is tried
// in shared/run, in memory.)
func TestKilledAroundAnAttempt(t *testing.T) {
	t.Parallel()
	k := newKiller(t, "dir: %s", "run", "--json", "--parallel", "1", "--target", "111122223333/us-east-1", "--scenario", "aws/logs-delete-group-denied")
	k.enumerate()
	var calls, own []cloud.CallLog
	k.admin(http.MethodGet, "calls", "", &calls)
	for _, c := range calls {
		if c.Service == "logs" && !strings.HasSuffix(c.Principal, "/auditcanary-read") {
			own = append(own, c)
		}
	}
	if len(own) != 3 || own[1].Operation != "DeleteLogGroup" || own[0].Operation != own[2].Operation {
		t.Fatalf("calls of the canary: %+v", own)
	}
	for i, e := range own {
		k.killAt(fmt.Sprintf("call %d of 3 (%s), killed after it", i+1, e.Operation), 1, fmt.Sprintf("it.n == %d", e.N), "after")
		var s run.Summary
		if err := json.Unmarshal(k.finish(k.config, []int{0, 1, 2}, "status", "--json"), &s); err != nil {
			t.Fatal(err)
		}
		c := s.Canaries[0]
		if a := c.Checks[canary.Injected]; a.Status != canary.Inconclusive {
			t.Errorf("killed after call %d: injected %+v", i+1, a)
		}
		for _, f := range s.Findings {
			if strings.Contains(f.Actor, c.ID) {
				t.Errorf("killed after call %d: its own %s is called forged", i+1, f.Operation)
			}
		}
	}
}

// thorough asks for what takes minutes and shows little more; see the Makefile.
func thorough() bool { return os.Getenv("THOROUGH") != "" }

// shards share the effects of one enumeration; they wait more than they work.
const shards = 3

type killer struct {
	*testing.T
	sb     *sandbox
	ledger string
	run    []string
	n      int
	config string // of the latest fresh
}

// newKiller makes runs with these arguments; ledger replaces "dir: ledger", its %s
// is different for every run.
func newKiller(t *testing.T, ledger string, args ...string) *killer {
	dir := t.TempDir()
	sb, err := startSandbox(filepath.Join(dir, "log"), "-listen", "127.0.0.1:0", "-data", filepath.Join(dir, "data"), "-speed", "60", "-delay", "10s")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if log := sb.stop(); t.Failed() {
			t.Log(log)
		}
	})
	return &killer{T: t, sb: sb, ledger: ledger, run: args}
}

// fresh writes a configuration with a ledger of its own. Nobody listens for alerts:
// its queues are shared, and who dies while listening is tried in shared/run, in memory.
func (k *killer) fresh() (config string) {
	k.n++
	data, err := os.ReadFile(k.sb.Config)
	if err != nil {
		k.Fatal(err)
	}
	name := fmt.Sprintf("kill-%d", k.n)
	text := strings.Replace(string(data), "dir: ledger", fmt.Sprintf(k.ledger, name), 1)
	text = strings.Replace(text, "poll: 1s", "poll: 100ms", 1)
	before, rest, _ := strings.Cut(text, "\nalerts:\n")
	if i := strings.Index(rest, "\ntickets:\n"); before != text && i >= 0 {
		text = before + rest[i:]
	} else {
		k.Fatal("the configuration has no alerts, or no tickets after them")
	}
	config = filepath.Join(filepath.Dir(k.sb.Config), name+".yaml")
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		k.Fatal(err)
	}
	k.config = config
	return config
}

func (k *killer) command(config string, args ...string) *exec.Cmd {
	cmd := exec.Command(filepath.Join(bin, "auditcanary"), append([]string{"--config", config}, args...)...)
	cmd.Env = k.sb.environ()
	return cmd
}

// finish runs a command to its end; its exit code must be one of codes.
func (k *killer) finish(config string, codes []int, args ...string) []byte {
	k.Helper()
	cmd := k.command(config, args...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	var ee *exec.ExitError
	if err != nil && !errors.As(err, &ee) {
		k.Fatal(err)
	}
	for _, c := range codes {
		if cmd.ProcessState.ExitCode() == c {
			return out
		}
	}
	k.Fatalf("auditcanary %s: exit code %d\n%s\n%s", strings.Join(args, " "), cmd.ProcessState.ExitCode(), out, stderr.String())
	return nil
}

func (k *killer) admin(method, path, body string, into any) {
	k.Helper()
	if err := k.sb.admin(method, path, body, into); err != nil {
		k.Fatal(err)
	}
}

// admin asks the sandbox about itself.
func (s *sandbox) admin(method, path, body string, into any) error {
	req, err := http.NewRequestWithContext(context.Background(), method, s.Env["AWS_ENDPOINT_URL"]+"/_sandbox/"+path, strings.NewReader(body))
	if err != nil {
		return err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("%s %s: %s", method, path, resp.Status)
	}
	if into == nil {
		return nil
	}
	return json.NewDecoder(resp.Body).Decode(into)
}

// enumerate lets one run through and lists the calls in it that change something.
func (k *killer) enumerate() []cloud.CallLog {
	k.admin(http.MethodPut, "faults", "faults: []\n", nil)
	k.finish(k.fresh(), []int{0}, k.run...)
	return k.effects()
}

func (k *killer) effects() []cloud.CallLog {
	var calls, out []cloud.CallLog
	k.admin(http.MethodGet, "calls", "", &calls)
	for _, c := range calls {
		if c.Mutating || c.Operation == "AssumeRole" {
			out = append(out, c)
		}
	}
	return out
}

// killAt kills a run when so many of its calls are held.
func (k *killer) killAt(at string, held int, match, when string) {
	k.admin(http.MethodPut, "faults", fmt.Sprintf("faults:\n  - {name: hold, at: call, times: %d, match: '%s', do: {hang: {for: 60s, when: %s}}}\n", held, match, when), nil)
	config := k.fresh()
	k.untilHeld(at, held, k.command(config, k.run...))

	done := k.effects()
	k.admin(http.MethodPut, "faults", "faults: []\n", nil)
	k.finish(config, []int{0}, "sweep", "--json")
	var state struct{ Changes []cloud.Change }
	k.admin(http.MethodGet, "state", "", &state)
	if len(state.Changes) != 0 {
		k.Errorf("%s: the sweep left %+v", at, state.Changes)
	}
	k.finish(config, []int{0, 1, 2}, "confirm", "--wait", "--json")
	k.decided(at, config, done)
}

// untilHeld starts a run and kills it when the sandbox holds so many of its calls.
func (k *killer) untilHeld(at string, held int, cmd *exec.Cmd) {
	if err := cmd.Start(); err != nil {
		k.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	for deadline := time.Now().Add(60 * time.Second); ; {
		var faults []struct {
			Fired int `json:"fired"`
		}
		k.admin(http.MethodGet, "faults", "", &faults)
		if len(faults) == 1 && faults[0].Fired >= held {
			break
		}
		select {
		case err := <-ended:
			// One call more or fewer than in the enumerated run (a poll): it went through.
			k.Logf("%s: the run ended before (%v)", at, err)
			return
		case <-time.After(5 * time.Millisecond):
		}
		if time.Now().After(deadline) {
			k.Fatalf("%s: never reached", at)
		}
	}
	time.Sleep(20 * time.Millisecond) // "after": let the effect happen
	_ = cmd.Process.Kill()
	<-ended
}

// decided checks that every planned canary has a final verdict, and that no
// action was done twice under one canary's name.
func (k *killer) decided(at, config string, done []cloud.CallLog) {
	var s struct {
		Canaries []struct {
			ID     string
			Status string
			Checks map[string]struct {
				Status string
				Open   bool
			}
		}
	}
	if err := json.Unmarshal(k.finish(config, []int{0, 1, 2}, "status", "--json"), &s); err != nil {
		k.Fatal(err)
	}
	for _, c := range s.Canaries {
		for name, a := range c.Checks {
			if a.Open {
				k.Errorf("%s: canary %s: %s is still open", at, c.ID, name)
			}
		}
	}
	count := map[string]int{}
	for _, c := range done {
		_, session, ok := strings.Cut(c.Principal, ":assumed-role/")
		if !ok || c.Error != "" || strings.HasPrefix(c.Operation, "Delete") || strings.HasPrefix(c.Operation, "Detach") || strings.HasPrefix(c.Operation, "Revoke") {
			continue
		}
		params, err := json.Marshal(c.Params)
		if err != nil {
			k.Fatal(err)
		}
		key := session + " " + c.Service + ":" + c.Operation + " " + string(params)
		if count[key]++; count[key] > 1 {
			k.Errorf("%s: done twice: %s", at, key)
		}
	}
}
