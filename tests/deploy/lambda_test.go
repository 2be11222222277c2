package deploy

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/auditcanary/auditcanary/shared/slack"
	"github.com/auditcanary/auditcanary/tests/sandbox/cloud"
)

// platform is AWS Lambda as a state machine sees it: it gives each call to a process of
// our own that is warm and idle, or starts one, over the Runtime API. What goes wrong with
// a call is said beforehand.
type platform struct {
	t       *testing.T
	sandbox sandbox
	config  string // text, with the sandbox's address

	mu      sync.Mutex
	idle    map[string][]*instance
	started int
	calls   []invocation
	faults  []*trouble
}

// invocation is one call that a function took.
type invocation struct{ Function, Payload, Answer, Error string }

// trouble befalls one call of a function for a cell.
type trouble struct {
	function, cell string
	// throttled: the platform does not take it. Otherwise the process ends when it has
	// made the call to AWS that has this in it: AWS did it, and nobody hears of it.
	throttled bool
	at        string
	// as is how the platform names that end.
	as string
	// hung is closed when the process hangs there, in place of ending, until it is stopped.
	hung chan struct{}
	done chan struct{} // to end the hanging

	struck bool
}

// failure is what Lambda answers where a call failed.
type failure struct {
	Status  int    `json:"-"`
	Type    string `json:"errorType"`
	Message string `json:"errorMessage"`
}

// instance is one process of a function.
type instance struct {
	api, proxy *httptest.Server
	cmd        *exec.Cmd
	next       chan string
	answer     chan answered
	ended      chan struct{}
	stderr     bytes.Buffer

	mu    sync.Mutex
	fault *trouble
}

type answered struct {
	body string
	err  bool
}

var (
	alertsSection = regexp.MustCompile(`(?m)^alerts:\n(  .*\n)+`)
	accountLine   = regexp.MustCompile(`(?m)^  - account: "(\d+)"\n`)
)

// newPlatform has the sandbox's two accounts in a cell each, with a few canaries. The
// alerts are left out: the sandbox has one queue for each, which cells cannot share.
func newPlatform(t *testing.T) *platform {
	t.Helper()
	p := &platform{t: t, sandbox: startSandbox(t), idle: map[string][]*instance{}}
	text, err := os.ReadFile(p.sandbox.config)
	if err != nil {
		t.Fatal(err)
	}
	config := alertsSection.ReplaceAllString(string(text), "")
	names := map[string]string{}
	config = accountLine.ReplaceAllStringFunc(config, func(line string) string {
		names[line] = string(rune('a' + len(names)))
		return line + "    cell: " + names[line] + "\n"
	})
	p.config = strings.Replace(config, `include: ["aws/*"]`, `include: ["aws/kms-disable-key", "aws/iam-managed-policy"]`, 1)
	if len(names) != 2 || strings.Contains(p.config, `"aws/*"`) {
		t.Fatalf("the sandbox's configuration is another than it was:\n%s", text)
	}
	p.config += "\ntrigger: {cell: a, state_machine: \"" + runMachine + "\", callers: [{id: ci, key_env: CI_KEY, targets: [\"*\"]}]}\n"
	p.sandbox.env = append(p.sandbox.env, "CI_KEY="+callerKey)
	t.Cleanup(p.stop)
	return p
}

const (
	runMachine = "arn:aws:states:us-east-1:222222222222:stateMachine:auditcanary-test-run"
	callerKey  = "0123456789abcdef0123456789abcdef"
)

// request asks the trigger for something, as a program does through its address, and
// returns the input of the one execution that it starts.
func (p *platform) request(t *testing.T, body string, answer any) string {
	t.Helper()
	ts := strconv.FormatInt(time.Now().Unix(), 10)
	event, err := json.Marshal(map[string]any{
		"version": "2.0", "rawPath": "/run", "requestContext": map[string]any{"http": map[string]any{"method": "POST", "path": "/run"}},
		"headers": map[string]string{"x-auditcanary-key": "ci", "x-auditcanary-timestamp": ts, "x-auditcanary-signature": slack.Sign(callerKey, ts, []byte(body))},
		"body":    body,
	})
	if err != nil {
		t.Fatal(err)
	}
	for range 2 { // whoever got no answer asks again
		text, failed := p.invoke("trigger", string(event))
		var said struct {
			StatusCode int
			Body       string
		}
		if failed != nil || json.Unmarshal([]byte(text), &said) != nil || said.StatusCode != http.StatusAccepted || json.Unmarshal([]byte(said.Body), answer) != nil {
			t.Fatalf("the trigger: %v %s", failed, text)
		}
	}
	var calls []cloud.CallLog
	p.sandbox.ask(t, "calls", &calls)
	var inputs []string
	for _, c := range calls {
		if c.Operation == "StartExecution" && c.Error == "" {
			inputs = append(inputs, c.Params["input"].(string))
		}
	}
	if len(inputs) != 1 {
		t.Fatalf("started: %q", inputs)
	}
	return inputs[0]
}

func (p *platform) stop() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, all := range p.idle {
		for _, in := range all {
			in.kill()
		}
	}
	p.idle = map[string][]*instance{}
}

// begin starts a process that reaches AWS through a door of its own.
func (p *platform) begin(function string, n int) (*instance, error) {
	in := &instance{next: make(chan string), answer: make(chan answered, 1), ended: make(chan struct{})}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /2018-06-01/runtime/invocation/next", func(w http.ResponseWriter, r *http.Request) {
		select {
		case payload := <-in.next:
			w.Header().Set("Lambda-Runtime-Aws-Request-Id", "request")
			w.Header().Set("Lambda-Runtime-Deadline-Ms", fmt.Sprint(time.Now().Add(15*time.Minute).UnixMilli()))
			w.Header().Set("Lambda-Runtime-Invoked-Function-Arn", "arn:aws:lambda:us-east-1:222222222222:function:auditcanary-test-"+function)
			_, _ = io.WriteString(w, payload)
		case <-r.Context().Done():
		}
	})
	take := func(failed bool) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			body, _ := io.ReadAll(r.Body)
			w.WriteHeader(http.StatusAccepted)
			in.answer <- answered{string(body), failed}
		}
	}
	mux.HandleFunc("POST /2018-06-01/runtime/invocation/{id}/response", take(false))
	mux.HandleFunc("POST /2018-06-01/runtime/invocation/{id}/error", take(true))
	mux.HandleFunc("POST /2020-01-01/extension/register", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Lambda-Extension-Identifier", "extension-1")
	})
	mux.HandleFunc("GET /2020-01-01/extension/event/next", func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
	in.api = httptest.NewServer(mux)

	target, err := url.Parse(p.sandbox.url)
	if err != nil {
		return nil, err
	}
	forward := &httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) {
		r.SetURL(target)
		r.Out.Host = r.In.Host // which is signed
	}}
	in.proxy = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if f := in.trouble(r); f != nil {
			forward.ServeHTTP(httptest.NewRecorder(), r) // done, and never answered
			if f.hung != nil {
				close(f.hung)
				<-f.done
			}
			_ = in.cmd.Process.Kill()
			<-in.ended
			return
		}
		forward.ServeHTTP(w, r)
	}))
	config := filepath.Join(filepath.Dir(p.sandbox.config), fmt.Sprintf("function-%d.yaml", n))
	text := strings.ReplaceAll(p.config, "endpoint_url: "+p.sandbox.url, "endpoint_url: "+in.proxy.URL)
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		return nil, err
	}
	in.cmd = exec.Command(binary(p.t, function))
	in.cmd.Env = append(append([]string{}, p.sandbox.env...), "AUDITCANARY_CONFIG="+config, "AWS_LAMBDA_RUNTIME_API="+strings.TrimPrefix(in.api.URL, "http://"))
	in.cmd.Stdout, in.cmd.Stderr = &in.stderr, &in.stderr
	if err := in.cmd.Start(); err != nil {
		return nil, err
	}
	go func() {
		_ = in.cmd.Wait()
		close(in.ended)
	}()
	return in, nil
}

// trouble says whether the process ends at this request.
func (in *instance) trouble(r *http.Request) *trouble {
	in.mu.Lock()
	defer in.mu.Unlock()
	if in.fault == nil {
		return nil
	}
	body, err := io.ReadAll(r.Body)
	r.Body = io.NopCloser(bytes.NewReader(body))
	if err != nil || !strings.Contains(r.Header.Get("X-Amz-Target")+"\n"+string(body), in.fault.at) {
		return nil
	}
	f := in.fault
	in.fault = nil
	f.struck = true
	return f
}

func (in *instance) kill() {
	_ = in.cmd.Process.Kill()
	<-in.ended
	for _, s := range []*httptest.Server{in.api, in.proxy} {
		s.CloseClientConnections()
		s.Close()
	}
}

// invoke calls a function, as Lambda does for whoever waits for the answer.
func (p *platform) invoke(function, payload string) (string, *failure) {
	answer, failed := p.take(function, payload)
	one := invocation{Function: function, Payload: payload, Answer: answer}
	if failed != nil {
		one.Error = failed.Type
	}
	p.mu.Lock()
	p.calls = append(p.calls, one)
	p.mu.Unlock()
	return answer, failed
}

func (p *platform) take(function, payload string) (string, *failure) {
	fault := p.befalls(function, payload)
	if fault != nil && fault.throttled {
		return "", &failure{http.StatusTooManyRequests, "Lambda.TooManyRequestsException", "Rate Exceeded."}
	}
	p.mu.Lock()
	var in *instance
	if all := p.idle[function]; len(all) > 0 {
		in, p.idle[function] = all[len(all)-1], all[:len(all)-1]
	}
	p.started++
	n := p.started
	p.mu.Unlock()
	if in == nil {
		var err error
		if in, err = p.begin(function, n); err != nil {
			return "", &failure{http.StatusInternalServerError, "Lambda.ServiceException", err.Error()}
		}
	}
	in.mu.Lock()
	in.fault = fault
	in.mu.Unlock()
	select {
	case in.next <- payload:
	case <-in.ended:
		return "", &failure{http.StatusBadRequest, "Runtime.ExitError", in.stderr.String()}
	}
	select {
	case a := <-in.answer:
		p.mu.Lock()
		p.idle[function] = append(p.idle[function], in)
		p.mu.Unlock()
		if !a.err {
			return a.body, nil
		}
		f := &failure{Status: http.StatusBadRequest}
		if err := json.Unmarshal([]byte(a.body), f); err != nil {
			f.Type, f.Message = "Lambda.Unknown", a.body
		}
		return "", f
	case <-in.ended:
		as := "Runtime.ExitError"
		if fault != nil && fault.as != "" {
			as = fault.as
		}
		return "", &failure{http.StatusBadRequest, as, "the process ended"}
	}
}

// befalls takes the trouble that is meant for a call, if any.
func (p *platform) befalls(function, payload string) *trouble {
	var in struct {
		Cell string
		Plan bool
	}
	_ = json.Unmarshal([]byte(payload), &in) // what is not an object is in no cell
	p.mu.Lock()
	defer p.mu.Unlock()
	for i, f := range p.faults {
		if f.function == function && f.cell == in.Cell && !in.Plan {
			p.faults = append(p.faults[:i], p.faults[i+1:]...)
			if f.throttled {
				f.struck = true
			}
			return f
		}
	}
	return nil
}

func (p *platform) befall(f *trouble) *trouble {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.faults = append(p.faults, f)
	return f
}

// took counts the calls of a function that one text is in, and forgets none.
func (p *platform) took(function, text string) (n int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, c := range p.calls {
		if c.Function == function && strings.Contains(c.Payload, text) {
			n++
		}
	}
	return n
}
