package host

import (
	"encoding/json"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/auditcanary/auditcanary/shared/canary"
	"github.com/auditcanary/auditcanary/shared/run"
)

// TestACanaryLivesUnderAllFaces takes one life of the canaries through the
// functions as they are deployed: injected by Lambda, confirmed by a Google
// Cloud function, swept at a terminal.
func TestACanaryLivesUnderAllFaces(t *testing.T) {
	// Its clock stands still while the canaries are injected, however long that takes here.
	cloud := startSandboxAt(t, "0")

	api := newLambdaAPI(t)
	start(t, lambdaFile(t, "inject"), nil, append(cloud.env, api.env())...)
	api.invocations <- `{"run":"20261126-faces","summary":true}`
	answer := <-api.answers
	injected := summary(t, answer.Body)
	if answer.Kind != "response" || injected.Run != "20261126-faces" || len(injected.Canaries) == 0 {
		t.Fatalf("inject: %+v", answer)
	}

	url, _ := serve(t, binary(t, "confirm"), append(cloud.env, "FUNCTION_TARGET=confirm")...)
	// The hours that it waits for go by while it does.
	waiting, stop := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(waiting)
		for {
			select {
			case <-stop:
				return
			case <-time.After(500 * time.Millisecond):
			}
			cloud.advance(t, "1h")
		}
	}()
	status, body := post(t, url, `{"run":"20261126-faces","wait":true,"integrity":true,"summary":true}`)
	close(stop)
	<-waiting
	if status != http.StatusOK {
		t.Fatalf("confirm: status %d: %s", status, body)
	}
	confirmed := summary(t, body)
	if confirmed.Tally.Proven != len(injected.Canaries) {
		t.Errorf("confirm: %d of %d proven: %s", confirmed.Tally.Proven, len(injected.Canaries), body)
	}

	if n := confirmed.Tally.Checks[canary.Immutable][canary.Pass]; n != len(injected.Canaries) {
		t.Errorf("confirm: %d of %d records seen to be immutable", n, len(injected.Canaries))
	}

	p := start(t, binary(t, "sweep"), []string{`{"older_than":"0s"}`}, cloud.env...)
	if code := p.wait(t); code != 0 {
		t.Errorf("sweep: exit code %d\n%s%s", code, p.stdout.String(), p.stderr.String())
	}
	if changes := cloud.changes(t); len(changes) > 0 {
		t.Errorf("left in the accounts: %s", changes)
	}
}

// TestEveryFunctionRunsUnderEachFace: without its configuration a function gets as far as
// its own handler, and the answer says whose it was and what is missing.
func TestEveryFunctionRunsUnderEachFace(t *testing.T) {
	absent := "AUDITCANARY_CONFIG=" + filepath.Join(t.TempDir(), "absent.yaml")
	for name := range deployed {
		t.Run(name, func(t *testing.T) {
			p := start(t, lambdaFile(t, name), []string{"{}"}, absent)
			if code := p.wait(t); code != 2 || !strings.Contains(p.stderr.String(), name+": ") || !strings.Contains(p.stderr.String(), "absent.yaml") {
				t.Errorf("at a terminal: exit code %d: %s", code, p.stderr.String())
			}
			p = start(t, lambdaFile(t, name), nil, absent, "FUNCTION_TARGET="+name)
			if code := p.wait(t); code != 2 || name != "trigger" && !strings.Contains(p.stderr.String(), "built for Lambda") {
				t.Errorf("what was built for Lambda, under the Functions Framework: exit code %d: %s", code, p.stderr.String())
			}
			api := newLambdaAPI(t)
			if name == "trigger" { // it reads its configuration before it takes events
				for face, p := range map[string]*process{
					"Lambda":                  start(t, lambdaFile(t, name), nil, absent, api.env()),
					"the Functions Framework": start(t, binary(t, name), nil, absent, "FUNCTION_TARGET=trigger"),
				} {
					if code := p.wait(t); code != 2 || !strings.Contains(p.stderr.String(), "absent.yaml") {
						t.Errorf("under %s: exit code %d: %s", face, code, p.stderr.String())
					}
				}
				return // with a configuration: TestWhatIsAskedForIsBegunOnce
			}
			start(t, lambdaFile(t, name), nil, absent, api.env())
			api.invocations <- `{}`
			if got := <-api.answers; got.Kind != "error" || !strings.Contains(got.Body, "absent.yaml") {
				t.Errorf("under Lambda: %+v", got)
			}
			url, _ := serve(t, binary(t, name), absent, "FUNCTION_TARGET="+name)
			if status, body := post(t, url, `{}`); status != http.StatusInternalServerError || !strings.Contains(body, "absent.yaml") {
				t.Errorf("under the Functions Framework: %d %s", status, body)
			}
		})
	}
}

func summary(t *testing.T, body string) run.Summary {
	t.Helper()
	var s run.Summary
	if err := json.Unmarshal([]byte(body), &s); err != nil {
		t.Fatalf("%v: %s", err, body)
	}
	return s
}

// sandbox is the loopback cloud with the environment that leads to it.
type sandbox struct {
	url string
	env []string
}

func startSandbox(t *testing.T) sandbox {
	t.Helper()
	return startSandboxAt(t, "600")
}

// startSandboxAt starts one whose clock runs so many times as fast as the real one.
func startSandboxAt(t *testing.T, speed string) sandbox {
	t.Helper()
	p := start(t, binary(t, "sandbox"), []string{"-data", t.TempDir(), "-speed", speed})
	p.prints(t, "\n")
	var first struct {
		Config string
		Env    map[string]string
	}
	if err := json.Unmarshal([]byte(p.stdout.String()), &first); err != nil {
		t.Fatalf("%v: %s", err, p.stdout.String())
	}
	s := sandbox{url: first.Env["AWS_ENDPOINT_URL"], env: []string{"AUDITCANARY_CONFIG=" + first.Config}}
	for k, v := range first.Env {
		s.env = append(s.env, k+"="+v)
	}
	return s
}

// advance puts its clock forward.
func (s sandbox) advance(t *testing.T, by string) {
	t.Helper()
	r, err := http.Post(s.url+"/_sandbox/time", "application/json", strings.NewReader(`{"advance": "`+by+`"}`))
	if err != nil {
		t.Error(err)
		return
	}
	defer r.Body.Close()
	if r.StatusCode != http.StatusOK {
		t.Errorf("advance by %s: %s", by, r.Status)
	}
}

// changes returns what is not as it was when the sandbox began.
func (s sandbox) changes(t *testing.T) (out []json.RawMessage) {
	t.Helper()
	r, err := http.Get(s.url + "/_sandbox/state")
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	var state struct{ Changes []json.RawMessage }
	if err := json.NewDecoder(r.Body).Decode(&state); err != nil {
		t.Fatal(err)
	}
	return state.Changes
}
