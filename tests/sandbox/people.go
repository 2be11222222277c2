package main

import (
	"fmt"
	"net/http"
	"time"

	"github.com/auditcanary/auditcanary/tests/sandbox/fault"
	"github.com/auditcanary/auditcanary/tests/sandbox/jira"
	"github.com/auditcanary/auditcanary/tests/sandbox/slack"
)

// Where people of this world are told: a Jira site and a Slack workspace, which a person
// may look at with a browser (/_jira/, /_slack/archives/). Their paths are no bucket's name.
const (
	deskPrefix = "/_jira"
	chatPrefix = "/_slack"

	jiraProject  = "SEC"
	slackChannel = "C0SECURITY"

	jiraUserEnv, jiraUser     = "AUDITCANARY_JIRA_USER", "auditcanary@example.com"
	jiraTokenEnv, jiraToken   = "AUDITCANARY_JIRA_TOKEN", "sandbox-jira-token"
	slackTokenEnv, slackToken = "AUDITCANARY_SLACK_TOKEN", "xoxb-sandbox-slack-token"
)

// newDesk is the Jira site. Its search is half a minute behind, as real ones are.
func newDesk(url string, clock func() time.Time, faults *fault.Set) (http.Handler, error) {
	site, err := jira.New(jira.Options{
		Flavour: jira.Cloud, URL: url + deskPrefix, Clock: clock, IndexLag: 30 * time.Second,
		Users:    []jira.User{{AccountID: "canary", Name: "auditcanary", Email: jiraUser, Display: "auditcanary", Token: jiraToken}},
		Projects: []jira.Project{jira.Plain(jiraProject)}, Faults: faults,
	})
	if err != nil {
		return nil, err
	}
	return http.StripPrefix(deskPrefix, site), nil
}

// newChat is the Slack workspace.
func newChat(url string, clock func() time.Time, faults *fault.Set) http.Handler {
	return http.StripPrefix(chatPrefix, slack.New(slack.Options{
		Token: slackToken, URL: url + chatPrefix, Now: clock, Pace: time.Now, Faults: faults,
		Channels: []slack.Channel{{ID: slackChannel, Name: "security", Member: true}},
	}))
}

// people says where they are told.
func people(url string) string {
	return fmt.Sprintf(`tickets:
  jira: {url: %q, flavour: cloud, user_env: %s, token_env: %s, project: %s}
chat:
  slack: {token_env: %s, channel: %s, url: %q}
`, url+deskPrefix, jiraUserEnv, jiraTokenEnv, jiraProject, slackTokenEnv, slackChannel, url+chatPrefix+"/api/")
}
