package story

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/auditcanary/auditcanary/shared/canary"
	"github.com/auditcanary/auditcanary/shared/run"
	"github.com/auditcanary/auditcanary/shared/trail"
	"github.com/auditcanary/auditcanary/tests/sandbox/fault"
	"github.com/auditcanary/auditcanary/tests/sandbox/faults"
)

const (
	// atOnce is how many fault files are tried at a time: a confirm that misses records
	// waits nearly all the while, because event history answers two questions a second.
	atOnce = 9
	// working is how many of them do anything else at a time: that is work all the while,
	// because nobody waits for the sandbox's clock.
	working = 3
)

// TestFaultsAreReportedAndNothingElse runs the whole catalogue against every
// fault file. Each says in its "# expect:" lines which canaries must fail which
// check, on which hop, in which field; every other check of every canary must
// pass. Every fault must have struck, and every failure must come with evidence.
//
// The sandbox's clock stands still and is put forward, so that chance decides
// only in which file a record comes.
func TestFaultsAreReportedAndNothingElse(t *testing.T) {
	files, err := faults.All()
	if err != nil {
		t.Fatal(err)
	}
	t.Parallel()
	work := make(chan struct{}, working)
	for shard := range atOnce {
		t.Run(fmt.Sprintf("%d of %d", shard+1, atOnce), func(t *testing.T) {
			t.Parallel()
			for i := shard; i < len(files); i += atOnce {
				t.Run(strings.TrimSuffix(files[i].Name, ".yaml"), func(t *testing.T) {
					if testing.Short() && i%3 != 0 {
						t.Skip("a third of the files with -short")
					}
					tryFaults(t, files[i], work)
				})
			}
		})
	}
}

func tryFaults(t *testing.T, f faults.File, work chan struct{}) {
	dir := t.TempDir()
	file, err := filepath.Abs(filepath.Join("../sandbox/faults", f.Name))
	if err != nil {
		t.Fatal(err)
	}
	sb, err := startSandbox(filepath.Join(dir, "log"), "-listen", "127.0.0.1:0", "-data", filepath.Join(dir, "data"), "-speed", "0", "-faults", file)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if log := sb.stop(); t.Failed() {
			t.Log(log)
		}
	})
	var s run.Summary
	for i, w := range f.Run {
		var into any
		if i == len(f.Run)-1 {
			into = &s
		}
		drive(t, sb, f, w, work, into)
	}
	if len(s.Canaries) == 0 {
		t.Fatal("no canaries at all")
	}
	for _, wrong := range f.Compare(f.Narrow(planned(t, sb)), answers(s, f.Checks()), findings(t, s)) {
		t.Error(wrong)
	}
	for _, l := range s.Canaries {
		for _, c := range []canary.Check{canary.Surfaced, canary.Attributed, canary.Timely, canary.Sealed, canary.Immutable} {
			if err := evident(l.Checks[c]); err != nil {
				t.Errorf("%s at %s/%s, %s: %v: %+v", l.Scenario, l.Target, l.Region, c, err, l.Checks[c])
			}
		}
	}
	var struck []fault.Status
	if err := sb.admin(http.MethodGet, "faults", "", &struck); err != nil {
		t.Fatal(err)
	}
	for _, st := range struck {
		if st.Fired == 0 || st.Error != "" {
			t.Errorf("fault %q struck %d times %s", st.Name, st.Fired, st.Error)
		}
	}
}

// drive does one word of a file's run; what is no confirm takes a place at work.
func drive(t *testing.T, sb *sandbox, f faults.File, w faults.Word, work chan struct{}, into any) {
	t.Helper()
	if w.Command != "confirm" {
		work <- struct{}{}
		defer func() { <-work }()
	}
	if w.Command == "" {
		if err := sb.admin(http.MethodPost, "time", fmt.Sprintf(`{"advance": %q}`, w.Advance), nil); err != nil {
			t.Fatal(err)
		}
		return
	}
	args := []string{w.Command, "--json"}
	if w.Command == "inject" && len(f.Scenarios) > 0 {
		args = append(args, "--scenario", strings.Join(f.Scenarios, ","))
	}
	auditcanary(t, sb, into, args...)
}

// auditcanary runs the program and reads the JSON it prints, whatever its exit code.
func auditcanary(t *testing.T, sb *sandbox, into any, args ...string) {
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
	if into == nil {
		into = &map[string]any{}
	}
	if err := json.Unmarshal(out, into); err != nil {
		t.Fatalf("auditcanary %s: %v\n%s%s", strings.Join(args, " "), err, out, stderr.String())
	}
}

var plans struct {
	sync.Mutex
	canaries []faults.Canary
}

// planned lists what every run does, by what it does. The plan is the same in
// every sandbox, so it is asked for once.
func planned(t *testing.T, sb *sandbox) []faults.Canary {
	t.Helper()
	plans.Lock()
	defer plans.Unlock()
	if plans.canaries != nil {
		return plans.canaries
	}
	var printed struct{ Canaries []run.Plan }
	auditcanary(t, sb, &printed, "plan", "--json")
	for _, p := range printed.Canaries {
		c := faults.Canary{
			Scenario: p.Scenario.ID, Account: p.Canary.Target.Account, Region: p.Canary.Target.Region, Kind: string(p.Scenario.Kind),
		}
		for _, s := range p.Steps {
			c.Calls = append(c.Calls, s.Call.Operation)
			if s.Undo != nil {
				c.Undoes = append(c.Undoes, s.Undo.Operation)
			}
			c.Records = append(c.Records, faults.Record{Name: s.Record.Service + "/" + s.Record.Operation, Region: s.Record.Region, ReadOnly: s.Record.ReadOnly, Data: s.Record.DataEvent})
		}
		for _, a := range p.Scenario.Alerts {
			if denied := p.Scenario.Kind == canary.MustBeDenied; denied == (a.On == canary.OnDenied) {
				c.Alerts = append(c.Alerts, a.Alert)
			}
		}
		plans.canaries = append(plans.canaries, c)
	}
	return plans.canaries
}

// answers takes some checks out of a summary.
func answers(s run.Summary, checks []string) map[faults.Question]faults.Answer {
	out := map[faults.Question]faults.Answer{}
	for _, l := range s.Canaries {
		for _, c := range checks {
			a := l.Checks[canary.Check(c)]
			status := string(a.Status)
			if a.Open {
				status = "open"
			}
			out[faults.Question{Scenario: l.Scenario, Account: l.Target, Region: l.Region, Check: c}] = faults.Answer{
				Check: c, Statuses: []string{status}, Hop: string(a.Hop), Fields: fieldNames(a),
			}
		}
	}
	return out
}

func findings(t *testing.T, s run.Summary) []faults.Finding {
	t.Helper()
	var out []faults.Finding
	for _, f := range s.Findings {
		key, err := trail.ParseKey(f.At.Key)
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, faults.Finding{Record: strings.Replace(f.Operation, " ", "/", 1), Account: key.Account, Region: key.Region})
	}
	return out
}

// evident says what an answer owes: a failure has a hop with evidence that can be
// looked up, or says why it cannot know.
func evident(a canary.Answer) error {
	if a.Status == canary.Pass || a.Status == canary.NotRun {
		return nil
	}
	if a.Hop == "" {
		if a.Detail == "" || len(a.Evidence) > 0 && !strings.Contains(a.Detail, "unknown") {
			return errors.New("neither a hop nor why there is none")
		}
		return nil
	}
	if len(a.Evidence) == 0 {
		return errors.New("a hop without evidence")
	}
	for _, c := range a.Evidence {
		switch {
		case c.Found == "" || c.Asked.IsZero():
			return fmt.Errorf("a clue that says nothing: %+v", c)
		case c.Source == canary.FromHistory && a.Hop == canary.Delivered && c.EventID == "":
			return errors.New("delivered, and no event of the history is named")
		case (a.Hop == canary.Stored || a.Hop == canary.Parsed) && !strings.HasPrefix(c.Object, "s3://") && c.Object != "":
			return fmt.Errorf("no object: %+v", c)
		}
	}
	return nil
}
