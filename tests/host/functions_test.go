package host

import (
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"
)

// serve starts a binary under the Functions Framework and returns its address.
func serve(t *testing.T, bin string, env ...string) (url string, p *process) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := l.Addr().String()
	l.Close()
	_, port, _ := net.SplitHostPort(addr)
	p = start(t, bin, nil, append(env, "PORT="+port, "LOCAL_ONLY=true")...)
	for {
		c, err := net.Dial("tcp", addr)
		if err == nil {
			c.Close()
			return "http://" + addr + "/", p
		}
		select {
		case <-p.done:
			t.Fatalf("%s ended before it listened: %v\n%s", bin, p.err, p.stderr.String())
		case <-t.Context().Done():
			t.Fatal(t.Context().Err())
		case <-time.After(5 * time.Millisecond):
		}
	}
}

func post(t *testing.T, url, body string) (int, string) {
	t.Helper()
	r, err := http.Post(url, "application/json", strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	b, err := io.ReadAll(r.Body)
	if err != nil {
		t.Fatal(err)
	}
	return r.StatusCode, strings.TrimSpace(string(b))
}

func TestFunctionsFrameworkServesTheFunction(t *testing.T) {
	for _, env := range []string{"FUNCTION_TARGET=echo", "K_SERVICE=echo"} {
		url, p := serve(t, binary(t, "echo"), env)
		for _, tc := range []struct {
			in     string
			status int
			want   string
		}{
			{`{"a":1}`, 200, `{"got":{"a":1}}`},
			{`{"fail":"it broke"}`, 500, `{"error":"it broke"}`},
			{`{`, 400, `{"error":"read the request's body: the input is not JSON: unexpected end of JSON input"}`},
			{``, 200, `{"got":{}}`},
		} {
			if status, got := post(t, url, tc.in); status != tc.status || got != tc.want {
				t.Errorf("%s: %s: got %d %s, want %d %s", env, tc.in, status, got, tc.status, tc.want)
			}
		}
		p.terminate(t)
		if code := p.wait(t); code != 0 {
			t.Errorf("%s: exit code %d after SIGTERM\n%s", env, code, p.stderr.String())
		}
	}
}

func TestFunctionsFrameworkAnswersWhatIsInHandOnSIGTERM(t *testing.T) {
	url, p := serve(t, binary(t, "echo"), "FUNCTION_TARGET=echo")
	answered := make(chan string, 1)
	go func() {
		r, err := http.Post(url, "application/json", strings.NewReader(`{"wait":true}`))
		if err != nil {
			answered <- err.Error()
			return
		}
		defer r.Body.Close()
		b, _ := io.ReadAll(r.Body)
		answered <- string(b)
	}()
	p.says(t, "waiting")
	p.terminate(t)
	if got := <-answered; !strings.Contains(got, `{"error":"context canceled"}`) {
		t.Errorf("got %s", got)
	}
	if code := p.wait(t); code != 0 {
		t.Errorf("exit code %d", code)
	}
}

func TestFunctionsFrameworkSaysWhyItCannotListen(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	_, port, _ := net.SplitHostPort(l.Addr().String())
	p := start(t, binary(t, "echo"), nil, "FUNCTION_TARGET=echo", "LOCAL_ONLY=true", "PORT="+port)
	if code := p.wait(t); code != 2 || !strings.Contains(p.stderr.String(), "echo: serve on port "+port) {
		t.Errorf("exit code %d, stderr %s", code, p.stderr.String())
	}
}
