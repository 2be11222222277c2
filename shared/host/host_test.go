package host

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// echo answers with what it was given; {"fail": "..."} makes it fail.
func echo(_ context.Context, in json.RawMessage) (any, error) {
	var asked struct {
		Fail string
		Exit int
	}
	_ = json.Unmarshal(in, &asked)
	switch {
	case asked.Fail != "" && asked.Exit != 0:
		return nil, exitError{asked.Fail, asked.Exit}
	case asked.Fail != "":
		return nil, errors.New(asked.Fail)
	case asked.Exit != 0:
		return exitOutput{asked.Exit}, nil
	}
	return map[string]any{"got": in}, nil
}

type exitOutput struct {
	Code int `json:"code"`
}

func (o exitOutput) ExitCode() int { return o.Code }

type exitError struct {
	msg  string
	code int
}

func (e exitError) Error() string { return e.msg }
func (e exitError) ExitCode() int { return e.code }

func TestTerminal(t *testing.T) {
	file := filepath.Join(t.TempDir(), "in.json")
	if err := os.WriteFile(file, []byte(`{"from":"file"}`), 0o600); err != nil {
		t.Fatal(err)
	}
	devNull, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	defer devNull.Close()
	for _, tc := range []struct {
		name   string
		args   []string
		stdin  any // string or *os.File
		code   int
		stdout string // compacted
		stderr string // contained
	}{
		{"standard input", nil, `{"from":"stdin"}`, 0, `{"got":{"from":"stdin"}}`, ""},
		{"empty standard input is an empty object", nil, " \n", 0, `{"got":{}}`, ""},
		{"a device is not waited for", nil, devNull, 0, `{"got":{}}`, ""},
		{"argument", []string{`{"from":"arg"}`}, "never read", 0, `{"got":{"from":"arg"}}`, ""},
		{"file", []string{"-in", file}, "never read", 0, `{"got":{"from":"file"}}`, ""},
		{"markup is not escaped", []string{`{"a":"<&>"}`}, "", 0, `{"got":{"a":"<&>"}}`, ""},
		{"no JSON", []string{`{`}, "", 2, "", "t: the input is not JSON: unexpected end of JSON input"},
		{"two values", nil, `{} {}`, 2, "", "the input is not JSON"},
		{"absent file", []string{"-in", file + ".absent"}, "", 2, "", "in.json.absent"},
		{"file and argument", []string{"-in", file, "{}"}, "", 2, "", "give the input once"},
		{"two arguments", []string{"{}", "{}"}, "", 2, "", "give the input once"},
		{"unknown flag", []string{"-x"}, "", 2, "", "flag provided but not defined: -x"},
		{"help", []string{"-h"}, "", 0, "", "Usage: t [-in FILE | JSON]"},
		{"error", []string{`{"fail":"it broke"}`}, "", 2, "", "t: it broke"},
		{"error with its own exit code", []string{`{"fail":"it broke","exit":3}`}, "", 3, "", "t: it broke"},
		{"output with an exit code", []string{`{"exit":1}`}, "", 1, `{"code":1}`, ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var stdout, stderr bytes.Buffer
			var code int
			if f, ok := tc.stdin.(*os.File); ok {
				code = terminal(t.Context(), "t", echo, tc.args, f, &stdout, &stderr)
			} else {
				code = terminal(t.Context(), "t", echo, tc.args, strings.NewReader(tc.stdin.(string)), &stdout, &stderr)
			}
			if code != tc.code {
				t.Errorf("exit code %d, want %d (stderr %s)", code, tc.code, stderr.String())
			}
			var got bytes.Buffer
			if stdout.Len() > 0 {
				if err := json.Compact(&got, stdout.Bytes()); err != nil {
					t.Fatalf("stdout is not JSON: %v: %s", err, stdout.String())
				}
			}
			if got.String() != tc.stdout {
				t.Errorf("stdout %s, want %s", got.String(), tc.stdout)
			}
			if !strings.Contains(stderr.String(), tc.stderr) || (tc.stderr == "" && stderr.Len() > 0) {
				t.Errorf("stderr %q, want %q in it", stderr.String(), tc.stderr)
			}
		})
	}
}

func TestTerminalSaysWhenTheOutputCannotBeEncoded(t *testing.T) {
	var stdout, stderr bytes.Buffer
	code := terminal(t.Context(), "t", func(context.Context, json.RawMessage) (any, error) { return make(chan int), nil }, []string{"{}"}, nil, &stdout, &stderr)
	if code != 2 || !strings.Contains(stderr.String(), "t: write the output: json: unsupported type: chan int") {
		t.Errorf("code %d, stderr %q", code, stderr.String())
	}
}

func TestInputIsBounded(t *testing.T) {
	big := `"` + strings.Repeat("a", maxInput) + `"`
	if _, err := readInput(strings.NewReader(big)); err == nil || !strings.Contains(err.Error(), "larger than") {
		t.Errorf("readInput = %v", err)
	}
}

func TestFunctionsFace(t *testing.T) {
	for _, tc := range []struct {
		name, method, body string
		status             int
		want               string
	}{
		{"echo", "POST", `{"a":1}`, 200, `{"got":{"a":1}}`},
		{"no body", "POST", "", 200, `{"got":{}}`},
		{"GET does nothing", "GET", "", 405, `{"error":"only POST is answered: the function acts"}`},
		{"no JSON", "POST", "a=1", 400, `{"error":"read the request's body: the input is not JSON: invalid character 'a' looking for beginning of value"}`},
		{"error", "POST", `{"fail":"it broke"}`, 500, `{"error":"it broke"}`},
		{"too large", "POST", `"` + strings.Repeat("a", maxInput) + `"`, 400, `{"error":"read the request's body: http: request body too large"}`},
	} {
		t.Run(tc.name, func(t *testing.T) {
			w := httptest.NewRecorder()
			answer(t.Context(), w, httptest.NewRequest(tc.method, "/", strings.NewReader(tc.body)), echo)
			var got bytes.Buffer
			if err := json.Compact(&got, w.Body.Bytes()); err != nil {
				t.Fatalf("%v: %s", err, w.Body.String())
			}
			if w.Code != tc.status || got.String() != tc.want {
				t.Errorf("status %d, body %s; want %d, %s", w.Code, got.String(), tc.status, tc.want)
			}
		})
	}
}

func TestTheProcessEndingEndsTheRequest(t *testing.T) {
	process, end := context.WithCancel(t.Context())
	w := httptest.NewRecorder()
	answer(process, w, httptest.NewRequest("POST", "/", nil), func(ctx context.Context, _ json.RawMessage) (any, error) {
		end()
		<-ctx.Done()
		return nil, ctx.Err()
	})
	if w.Code != http.StatusInternalServerError || !strings.Contains(w.Body.String(), context.Canceled.Error()) {
		t.Errorf("status %d, body %s", w.Code, w.Body)
	}
}
