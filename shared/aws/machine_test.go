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

func TestAnExecutionIsStartedOnceForAName(t *testing.T) {
	status, answer := 200, `{"executionArn": "arn", "startDate": 1764158400}`
	var got string
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		region := strings.Split(r.Header.Get("Authorization"), "/")[2]
		if agent := r.Header.Get("User-Agent"); strings.Contains(agent, "auditcanary") {
			t.Errorf("called as %s", agent)
		}
		got += r.Header.Get("X-Amz-Target") + " " + region + " " + string(body) + "\n"
		w.Header().Set("Content-Type", "application/x-amz-json-1.0")
		w.WriteHeader(status)
		_, _ = io.WriteString(w, answer)
	}))
	defer server.Close()
	const machine = "arn:aws:states:eu-west-1:222222222222:stateMachine:auditcanary-prod-run"
	cfg := awssdk.Config{Region: "us-east-1", AppID: "auditcanary", BaseEndpoint: &server.URL, Credentials: credentials.NewStaticCredentialsProvider("AKIA", "x", "")}
	m, err := NewMachine(cfg, machine)
	if err != nil {
		t.Fatal(err)
	}
	start := func() error { return m.Start(t.Context(), "20261126-abc234", map[string]string{"asked": "slack:1"}) }
	if err := start(); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"AWSStepFunctions.StartExecution eu-west-1 {", `"name":"20261126-abc234"`, `"stateMachineArn":"` + machine + `"`, `"input":"{\"asked\":\"slack:1\"}"`} {
		if !strings.Contains(got, want) {
			t.Errorf("%s lacks %s", got, want)
		}
	}
	status, answer = 400, `{"__type": "com.amazonaws.sfn#ExecutionAlreadyExists", "message": "it has ended"}`
	if err := start(); err != nil {
		t.Errorf("begun before: %v", err)
	}
	for status, answer = range map[int]string{400: `{"__type": "StateMachineDoesNotExist", "message": "no"}`, 500: `{}`, 200: `not JSON`} {
		got = ""
		if err := start(); err == nil || !strings.Contains(err.Error(), "start 20261126-abc234 of "+machine) || strings.Count(got, "\n") != 1 {
			t.Errorf("%d: %v after\n%s", status, err, got)
		}
	}
	if _, err := NewMachine(cfg, "auditcanary-prod-run"); err == nil {
		t.Error("a name without an account and region is taken for an ARN")
	}
}
