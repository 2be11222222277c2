package wire

import (
	"encoding/json"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"regexp"
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

// TestNoSecretsNameLooksLikeItsARN: Secrets Manager ends an ARN with a hyphen and six
// characters, and takes a name that ends so for a whole ARN: the secret is not found.
func TestNoSecretsNameLooksLikeItsARN(t *testing.T) {
	named, like := regexp.MustCompile(`\$\{self:custom\.secret\}/([a-z-]+?)(?:-\?{6})?"`), regexp.MustCompile(`-.{6}$`)
	names := map[string]map[string]bool{}
	for _, file := range []string{"../../serverless.yml", "../../infra/aws/service/roles.yml"} {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		names[file] = map[string]bool{}
		for _, m := range named.FindAllStringSubmatch(string(text), -1) {
			names[file][m[1]] = true
			if like.MatchString(m[1]) {
				t.Errorf("%s: the secret %s looks like an ARN's end", file, m[1])
			}
		}
	}
	if a, b := names["../../serverless.yml"], names["../../infra/aws/service/roles.yml"]; len(a) < 5 || !maps.Equal(a, b) {
		t.Errorf("functions are given %v, and may read %v", a, b)
	}
	if !like.MatchString("slack-signing-secret") {
		t.Error("a name that looks like an ARN's end is not noticed")
	}
}
