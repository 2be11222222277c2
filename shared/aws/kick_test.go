package aws

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	awssdk "github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
)

func TestAKickQueuesAnEvent(t *testing.T) {
	status := 202
	var got string
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		got += r.Method + " " + r.URL.Path + " " + r.Header.Get("X-Amz-Invocation-Type") + " " + string(body) + "\n"
		w.WriteHeader(status)
		if status == 404 {
			_, _ = io.WriteString(w, `{"__type": "ResourceNotFoundException", "Message": "Function not found"}`)
		}
	}))
	defer server.Close()
	k := NewKick(awssdk.Config{Region: "us-east-1", BaseEndpoint: &server.URL, Credentials: credentials.NewStaticCredentialsProvider("AKIA", "x", "")}, "auditcanary-inject")
	if err := k.Start(t.Context(), map[string]string{"asked": "slack:1"}); err != nil {
		t.Fatal(err)
	}
	if want := "POST /2015-03-31/functions/auditcanary-inject/invocations Event {\"asked\":\"slack:1\"}\n"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
	for _, status = range []int{200, 404, 500} {
		got = ""
		if err := k.Start(t.Context(), nil); err == nil || !strings.Contains(err.Error(), "start auditcanary-inject") || strings.Count(got, "\n") != 1 {
			t.Errorf("%d: %v after\n%s", status, err, got)
		}
	}
}
