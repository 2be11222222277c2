package wire

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"testing"
)

func TestSecretsAreFetchedForWhatTheConfigurationNames(t *testing.T) {
	const arn = "arn:aws:secretsmanager:eu-central-1:222222222222:secret:auditcanary/prod/"
	asked := []string{}
	vault := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		var in struct{ SecretId string }
		_ = json.Unmarshal(body, &in)
		asked = append(asked, strings.TrimPrefix(in.SecretId, arn))
		w.Header().Set("Content-Type", "application/x-amz-json-1.1")
		if strings.HasSuffix(in.SecretId, "/absent") {
			w.WriteHeader(http.StatusBadRequest)
			_, _ = io.WriteString(w, `{"__type":"ResourceNotFoundException","Message":"Secrets Manager can't find the specified secret."}`)
			return
		}
		_ = json.NewEncoder(w).Encode(map[string]string{"ARN": in.SecretId, "SecretString": "the value of it"})
	}))
	defer vault.Close()
	for name, value := range map[string]string{"AWS_ACCESS_KEY_ID": "AKIA", "AWS_SECRET_ACCESS_KEY": "x", "AWS_EC2_METADATA_DISABLED": "true", "AWS_CONFIG_FILE": os.DevNull, "AWS_SHARED_CREDENTIALS_FILE": os.DevNull} {
		t.Setenv(name, value)
	}
	c := celled(t)
	c.AWS.EndpointURL = vault.URL
	c.Tickets.Jira = &Jira{UserEnv: "TEST_JIRA_USER", TokenEnv: "TEST_JIRA_TOKEN"}
	c.Targets[0].ExternalIDEnv = "TEST_EXTERNAL_ID"
	t.Setenv("TEST_JIRA_USER", "somebody@example.com")
	t.Setenv("TEST_JIRA_TOKEN", arn+"jira-token")
	t.Setenv("TEST_NOBODY_NAMES_IT", arn+"other")
	for _, name := range []string{"TEST_JIRA_USER", "TEST_JIRA_TOKEN", "TEST_EXTERNAL_ID"} {
		if !slices.Contains(c.secretNames(), name) {
			t.Errorf("%s is not among %q", name, c.secretNames())
		}
	}
	for range 2 { // a warm process asks no more
		if err := c.fetchSecrets(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if got := os.Getenv("TEST_JIRA_TOKEN"); got != "the value of it" || !slices.Equal(asked, []string{"jira-token"}) || os.Getenv("TEST_NOBODY_NAMES_IT") != arn+"other" {
		t.Errorf("the token is %q, asked for were %q", got, asked)
	}
	t.Setenv("TEST_JIRA_TOKEN", arn+"absent")
	if err := c.fetchSecrets(t.Context()); err == nil || !strings.HasPrefix(err.Error(), "environment variable TEST_JIRA_TOKEN: read secret "+arn+"absent: ") || strings.Contains(err.Error(), "the value") {
		t.Errorf("%v", err)
	}
}
