package deploy

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/mod/sumdb/note"

	"github.com/auditcanary/auditcanary/shared/ledger"
	"github.com/auditcanary/auditcanary/shared/run"
	"github.com/auditcanary/auditcanary/shared/wire"
)

// The limits of Step Functions (developer guide, "Service quotas"), and what a transition
// of a standard workflow costs in us-east-1 (price list of 2026-11).
const (
	maxEvents       = 25_000
	maxState        = 256 << 10
	dollarsPer1000  = 0.025
	eventsOfAttempt = 3 // LambdaFunctionScheduled, LambdaFunctionStarted, and how it ended
)

// definition reads a state machine as it is deployed, with ARNs in place of references.
func definition(t *testing.T, name string) map[string]any {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("..", "..", "infra", "aws", name+".asl.json"))
	if err != nil {
		t.Fatal(err)
	}
	var machine map[string]any
	if err := json.Unmarshal(text, &machine); err != nil {
		t.Fatal(err)
	}
	eachState(machine, func(_ string, state map[string]any) {
		if state["Type"] == "Task" {
			state["Resource"] = "arn:aws:lambda:us-east-1:222222222222:function:auditcanary-test-" + functionOf(t, state)
		}
	})
	return machine
}

// functionOf reads the function from {"Fn::GetAtt": ["InjectLambdaFunction", "Arn"]}.
func functionOf(t *testing.T, state map[string]any) string {
	t.Helper()
	ref, _ := state["Resource"].(map[string]any)
	parts, _ := ref["Fn::GetAtt"].([]any)
	if len(parts) != 2 {
		t.Fatalf("resource %v", state["Resource"])
	}
	return strings.ToLower(strings.TrimSuffix(parts[0].(string), "LambdaFunction"))
}

func eachState(machine map[string]any, do func(name string, state map[string]any)) {
	for name, s := range machine["States"].(map[string]any) {
		state := s.(map[string]any)
		do(name, state)
		if inner, ok := state["ItemProcessor"].(map[string]any); ok {
			eachState(inner, do)
		}
	}
}

// interpretable takes out what the interpreter does not know: that the map is a
// distributed one, which items are executions of their own, of which any may fail. The
// items never do: they end in Result, whatever happened (which the runs below show), so
// that the tolerance is for what befalls Step Functions itself.
func interpretable(machine map[string]any) map[string]any {
	eachState(machine, func(_ string, state map[string]any) {
		if inner, ok := state["ItemProcessor"].(map[string]any); ok {
			delete(inner, "ProcessorConfig")
			delete(state, "ToleratedFailurePercentage")
			delete(state, "Label")
		}
	})
	return machine
}

// TestTheMachinesAreValid, by a validator of others.
func TestTheMachinesAreValid(t *testing.T) {
	npm(t)
	for _, name := range []string{"run", "sweep", "packet"} {
		machine := definition(t, name)
		if verdict := validate(t, machine); !verdict.IsValid {
			t.Errorf("%s: %s", name, verdict.Errors)
		}
		// It notices.
		for _, state := range machine["States"].(map[string]any) {
			if s := state.(map[string]any); s["Next"] != nil {
				s["Next"] = "Nowhere"
				break
			}
		}
		if validate(t, machine).IsValid {
			t.Errorf("%s: a state that leads nowhere is valid", name)
		}
	}
}

type validity struct {
	IsValid bool
	Errors  json.RawMessage
}

func validate(t *testing.T, machine map[string]any) (v validity) {
	t.Helper()
	text, err := json.Marshal(machine)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "machine.json")
	if err := os.WriteFile(file, text, 0o600); err != nil {
		t.Fatal(err)
	}
	node(t, "validate.mjs", &v, file)
	return v
}

// execution is one that has ended.
type execution struct {
	ID     string
	Output wire.Whole
	Raw    json.RawMessage
	Error  struct{ Name, Message string }
	Events []walked
	Waited time.Duration
}

// walked is one thing that the interpreter did.
type walked struct {
	Type, Parent, State, Kind string
	Index                     *int
	Attempt                   int
	Bytes                     int
}

// order is what an execution is started with.
type order struct {
	machine string
	name    string
	input   any
	// abort, once closed, cancels it.
	abort chan struct{}
	// waits is told whenever it waits. Optional.
	waits func(time.Duration)
}

// started is the time that all executions say they were started at.
var started = time.Now().UTC().Truncate(time.Second)

// arn of an execution.
func (o order) arn() string {
	return "arn:aws:states:us-east-1:222222222222:execution:auditcanary-test-" + o.machine + ":" + o.name
}

// execute runs one execution to its end.
func (p *platform) execute(t *testing.T, o order) execution {
	t.Helper()
	machine := definition(t, o.machine)
	functions := map[string]string{}
	eachState(machine, func(name string, state map[string]any) {
		if arn, ok := state["Resource"].(string); ok {
			functions[name] = arn[strings.LastIndex(arn, "-")+1:]
		}
	})
	out := execution{ID: o.arn()}
	var clock sync.Mutex
	mux := http.NewServeMux()
	mux.HandleFunc("GET /execution", func(w http.ResponseWriter, _ *http.Request) {
		_ = json.NewEncoder(w).Encode(map[string]any{
			"definition": interpretable(machine), "input": o.input,
			"context": map[string]any{"Execution": map[string]any{"Id": o.arn(), "Name": o.name, "Input": o.input, "StartTime": started.Format("2006-01-02T15:04:05.000Z")}},
		})
	})
	mux.HandleFunc("POST /invoke/{state}", func(w http.ResponseWriter, r *http.Request) {
		payload, _ := io.ReadAll(r.Body)
		answer, failed := p.invoke(functions[r.PathValue("state")], string(payload))
		if failed != nil {
			w.WriteHeader(failed.Status)
			_ = json.NewEncoder(w).Encode(failed)
			return
		}
		_, _ = io.WriteString(w, answer)
	})
	mux.HandleFunc("POST /wait", func(_ http.ResponseWriter, r *http.Request) {
		var wait struct{ Seconds int }
		_ = json.NewDecoder(r.Body).Decode(&wait)
		clock.Lock()
		defer clock.Unlock()
		by := time.Duration(wait.Seconds) * time.Second
		if by <= 0 {
			return
		}
		out.Waited += by
		if o.waits != nil {
			o.waits(by)
		}
		if err := p.sandbox.advance(by); err != nil {
			t.Error(err)
		}
	})
	mux.HandleFunc("GET /abort", func(_ http.ResponseWriter, r *http.Request) {
		select {
		case <-o.abort: // never, if nil
		case <-r.Context().Done():
		}
	})
	server := httptest.NewServer(mux)
	// A function that hangs is still called when its execution has been cancelled.
	t.Cleanup(server.Close)
	defer server.CloseClientConnections()
	var answer struct {
		Output json.RawMessage
		Error  *struct{ Name, Message string }
		Events []walked
	}
	node(t, "interpret.mjs", &answer, server.URL)
	out.Events, out.Raw = answer.Events, answer.Output
	if answer.Error != nil {
		out.Error = *answer.Error
	} else if o.machine == "run" {
		if err := json.Unmarshal(answer.Output, &out.Output); err != nil {
			t.Fatalf("%v: %s", err, answer.Output)
		}
	}
	return out
}

// account is what one execution, with those of its cells, was counted to be.
type account struct {
	Transitions, Events, MostEvents, MostBytes int
}

// count walks what the interpreter did. In AWS every cell is an execution with a history
// of its own.
func (e execution) count() account {
	var a account
	histories := map[int]int{-1: 2} // ExecutionStarted and how it ended
	for _, w := range e.Events {
		in := -1
		if w.Index != nil {
			in = *w.Index
			if histories[in] == 0 {
				histories[in] = 2
				a.Transitions++ // to start it is one, too
			}
		}
		a.MostBytes = max(a.MostBytes, w.Bytes)
		switch w.Type {
		case "StateEntered":
			a.Transitions++
			histories[in] += 2 // entered, exited
			switch w.Kind {
			case "Task":
				histories[in] += eventsOfAttempt
			case "Map":
				histories[in] += 2 // MapRunStarted, MapRunSucceeded
			}
		case "StateRetried":
			a.Transitions++
			histories[in] += eventsOfAttempt
		}
	}
	for _, n := range histories {
		a.Events += n
		a.MostEvents = max(a.MostEvents, n)
	}
	return a
}

// within prints the account, and holds it against the limits.
func (a account) within(t *testing.T, cells int) {
	t.Helper()
	t.Logf("%d transitions, %d events in all histories (at most %d in one), %d bytes of state at most; at $%.3f for 1,000 transitions (us-east-1, list price of 2026-11) $%.5f a run, $%.5f a cell",
		a.Transitions, a.Events, a.MostEvents, a.MostBytes, dollarsPer1000, float64(a.Transitions)*dollarsPer1000/1000, float64(a.Transitions)*dollarsPer1000/1000/float64(cells))
	if a.MostEvents > maxEvents || a.MostBytes > maxState {
		t.Errorf("a history of %d events (limit %d), a state of %d bytes (limit %d)", a.MostEvents, maxEvents, a.MostBytes, maxState)
	}
	if a.Transitions == 0 {
		t.Error("nothing was counted")
	}
}

// ledgerOf folds a cell's ledger, as anybody can who has the public key.
func (p *platform) ledgerOf(t *testing.T, cell string) *run.State {
	t.Helper()
	dir := filepath.Dir(p.sandbox.config)
	key, err := os.ReadFile(filepath.Join(dir, "signing.key.pub"))
	if err != nil {
		t.Fatal(err)
	}
	verifier, err := note.NewVerifier(strings.TrimSpace(string(key)))
	if err != nil {
		t.Fatal(err)
	}
	store, err := ledger.NewDir(filepath.Join(dir, "ledger", cell))
	if err != nil {
		t.Fatal(err)
	}
	log, err := ledger.Open(t.Context(), store, verifier.Name()+"/"+cell, nil, verifier)
	if err != nil {
		t.Fatal(err)
	}
	state, _, err := run.Fold(t.Context(), log)
	if err != nil {
		t.Fatal(err)
	}
	return state
}

// once says that a run was begun once in each cell, and what of it.
func (p *platform) once(t *testing.T, runID string, cells ...string) map[string]run.Tally {
	t.Helper()
	out := map[string]run.Tally{}
	for _, cell := range cells {
		state := p.ledgerOf(t, cell)
		begun := 0
		for _, rs := range state.Runs {
			if rs.ID == runID {
				begun++
			}
		}
		if begun != 1 {
			t.Errorf("cell %s: run %s was begun %d times", cell, runID, begun)
		}
		out[cell] = run.Summarise(state, ledger.Checkpoint{}, runID, slo, time.Now()).Tally
	}
	return out
}

// names of the states that an execution entered, with how often.
func (e execution) entered() map[string]int {
	out := map[string]int{}
	for _, w := range e.Events {
		if w.Type == "StateEntered" {
			out[w.State]++
		}
	}
	return out
}

func (e execution) String() string {
	return fmt.Sprintf("%s error %+v, entered %v", e.Raw, e.Error, e.entered())
}

// whole is what the state Whole of an execution answered.
func (p *platform) whole(t *testing.T, o order) (w wire.Whole) {
	t.Helper()
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, c := range p.calls {
		if c.Function != "report" || !strings.Contains(c.Payload, `"whole"`) || c.Answer == "" {
			continue
		}
		if err := json.Unmarshal([]byte(c.Answer), &w); err != nil {
			t.Fatal(err)
		}
	}
	if w.Run == "" {
		t.Fatalf("%s: nothing was added up", o.name)
	}
	return w
}
