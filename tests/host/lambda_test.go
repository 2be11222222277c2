package host

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

// lambdaAPI is the Lambda Runtime API as a function sees it: it hands out one
// invocation after the other and takes the answers.
type lambdaAPI struct {
	*httptest.Server
	invocations chan string
	answers     chan lambdaAnswer
}

type lambdaAnswer struct {
	ID, Kind, Body string // Kind: "response" or "error"
}

func newLambdaAPI(t *testing.T) *lambdaAPI {
	api := &lambdaAPI{invocations: make(chan string, 8), answers: make(chan lambdaAnswer, 8)}
	mux := http.NewServeMux()
	n := 0 // only the function's one loop asks
	mux.HandleFunc("GET /2018-06-01/runtime/invocation/next", func(w http.ResponseWriter, r *http.Request) {
		select {
		case in := <-api.invocations:
			n++
			w.Header().Set("Lambda-Runtime-Aws-Request-Id", fmt.Sprintf("request-%d", n))
			w.Header().Set("Lambda-Runtime-Deadline-Ms", fmt.Sprint(time.Now().Add(time.Minute).UnixMilli()))
			w.Header().Set("Lambda-Runtime-Invoked-Function-Arn", "arn:aws:lambda:us-east-1:222222222222:function:auditcanary")
			_, _ = io.WriteString(w, in)
		case <-r.Context().Done():
		}
	})
	answer := func(kind string) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			body, _ := io.ReadAll(r.Body)
			api.answers <- lambdaAnswer{r.PathValue("id"), kind, string(body)}
			w.WriteHeader(http.StatusAccepted)
		}
	}
	mux.HandleFunc("POST /2018-06-01/runtime/invocation/{id}/response", answer("response"))
	mux.HandleFunc("POST /2018-06-01/runtime/invocation/{id}/error", answer("error"))
	mux.HandleFunc("POST /2020-01-01/extension/register", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Lambda-Extension-Identifier", "extension-1")
	})
	mux.HandleFunc("GET /2020-01-01/extension/event/next", func(w http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
	api.Server = httptest.NewServer(mux)
	t.Cleanup(func() {
		api.CloseClientConnections()
		api.Close()
	})
	return api
}

func (api *lambdaAPI) env() string {
	return "AWS_LAMBDA_RUNTIME_API=" + strings.TrimPrefix(api.URL, "http://")
}

func TestLambdaAnswersOneInvocationAfterTheOther(t *testing.T) {
	api := newLambdaAPI(t)
	start(t, lambdaFile(t, "echo"), nil, api.env())
	for i, tc := range []struct{ in, kind, want string }{
		{`{"a":1}`, "response", `{"got":{"a":1}}`},
		{`{"fail":"it broke"}`, "error", `"errorMessage":"it broke"`},
		{`{"b":"after an error it goes on"}`, "response", `{"got":{"b":"after an error it goes on"}}`},
		{`{"exit":1}`, "response", `{"got":{"exit":1}}`},
	} {
		api.invocations <- tc.in
		got := <-api.answers
		if got.ID != fmt.Sprintf("request-%d", i+1) || got.Kind != tc.kind || !strings.Contains(got.Body, tc.want) {
			t.Errorf("invocation %s: got %+v, want %s %s", tc.in, got, tc.kind, tc.want)
		}
	}
}

func TestLambdaEndsTheWorkOnSIGTERM(t *testing.T) {
	api := newLambdaAPI(t)
	p := start(t, lambdaFile(t, "echo"), nil, api.env())
	api.invocations <- `{"wait":true}`
	p.says(t, "waiting")
	p.terminate(t)
	if got := <-api.answers; got.Kind != "error" || !strings.Contains(got.Body, "context canceled") {
		t.Errorf("got %+v", got)
	}
}
