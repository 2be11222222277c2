package host

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"
)

// tell answers with the request as a handler sees it.
var tell = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	w.Header().Add("X-Two", "a")
	w.Header().Add("X-Two", "b")
	w.Header().Add("Set-Cookie", "c=1")
	w.WriteHeader(http.StatusAccepted)
	fmt.Fprintf(w, "%s %s %s sig=%s cookies=%d host=%s from=%s body=%s", r.Method, r.URL.Path, r.URL.RawQuery, r.Header.Get("X-Slack-Signature"), len(r.Cookies()), r.Host, r.RemoteAddr, body)
})

func TestEventsAreWholeRequests(t *testing.T) {
	event := func(body string, encoded bool) string {
		return fmt.Sprintf(`{"version": "2.0", "rawPath": "/slack/a%%20b", "rawQueryString": "x=1&y=%%26", "cookies": ["a=1", "b=2"],
			"headers": {"x-slack-signature": "v0=1", "host": "id.lambda-url.us-east-1.on.aws"},
			"requestContext": {"http": {"method": "POST", "path": "/slack", "sourceIp": "192.0.2.1"}}, "body": %q, "isBase64Encoded": %v}`, body, encoded)
	}
	const rest = " sig=v0=1 cookies=2 host=id.lambda-url.us-east-1.on.aws from=192.0.2.1 body="
	for name, tt := range map[string]struct {
		event  string
		status int
		want   string
	}{
		"plain":          {event("a=1&b", false), 202, "POST /slack/a b x=1&y=%26" + rest + "a=1&b"},
		"base64":         {event(base64.StdEncoding.EncodeToString([]byte("a=\xff\x00")), true), 202, "POST /slack/a b x=1&y=%26" + rest + "a=\xff\x00"},
		"not base64":     {event("***", true), 400, "not base64"},
		"of a schedule":  {`{"source": "aws.events"}`, 400, "payload format 2.0"},
		"of a REST API":  {`{"version": "1.0", "httpMethod": "POST", "path": "/"}`, 400, "payload format 2.0"},
		"no object":      {`[1]`, 400, "no HTTP request"},
		"no JSON":        {`{`, 400, "no HTTP request"},
		"a strange path": {`{"version": "2.0", "rawPath": "http://evil.example.com/", "requestContext": {"http": {"method": "POST"}}}`, 400, "path"},
		"a bad method":   {`{"version": "2.0", "rawPath": "/", "requestContext": {"http": {"method": "PO ST"}}}`, 400, "no HTTP request"},
	} {
		got, err := answerEvent(t.Context(), json.RawMessage(tt.event), tell)
		if err != nil || got.StatusCode != tt.status || !strings.Contains(got.Body, tt.want) {
			t.Errorf("%s: %d %q, %v; want %d %q", name, got.StatusCode, got.Body, err, tt.status, tt.want)
		}
		if tt.status == 202 && (got.Headers["X-Two"] != "a,b" || len(got.Cookies) != 1) {
			t.Errorf("%s: %+v", name, got)
		}
	}
}

func TestServingIsForThisMachine(t *testing.T) {
	for _, listen := range []string{"0.0.0.0:0", ":0", "example.com:0", "127.0.0.1", "[::]:0"} {
		if err := Serve(t.Context(), listen, tell, io.Discard); err == nil {
			t.Errorf("%s is taken", listen)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	at, out := io.Pipe()
	done := make(chan error, 1)
	go func() { done <- Serve(ctx, "127.0.0.1:0", tell, out) }()
	line := make([]byte, 200)
	n, err := at.Read(line)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.Post(strings.TrimSpace(string(line[:n]))+"run", "text/plain", strings.NewReader("x"))
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusAccepted {
		t.Error(resp.Status)
	}
	cancel()
	select {
	case err := <-done:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(5 * time.Second):
		t.Error("it does not end")
	}
}

func FuzzEvent(f *testing.F) {
	for _, s := range []string{
		`{"version": "2.0", "rawPath": "/slack", "headers": {"a": "b"}, "cookies": ["x"], "requestContext": {"http": {"method": "POST"}}, "body": "YQ==", "isBase64Encoded": true}`,
		`{"version": "2.0", "rawPath": "//x/y", "rawQueryString": "%zz", "requestContext": {"http": {"method": "GET"}}}`, `{}`, `null`, `[]`, `{"headers": 1}`,
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, event []byte) {
		r, err := requestOf(t.Context(), event)
		if err == nil && (r.URL.Host != "" || r.URL.Scheme != "" || !strings.HasPrefix(r.URL.Path, "/")) {
			t.Errorf("%q goes to %s", event, r.URL)
		}
		got, err := answerEvent(t.Context(), event, tell)
		if err != nil || got.StatusCode < 200 {
			t.Errorf("%q: %+v, %v", event, got, err)
		}
	})
}
