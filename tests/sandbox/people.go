package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
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
func newDesk(url string, clock func() time.Time, faults *fault.Set) (*jira.Server, error) {
	return jira.New(jira.Options{
		Flavour: jira.Cloud, URL: url + deskPrefix, Clock: clock, IndexLag: 30 * time.Second,
		Users:    []jira.User{{AccountID: "canary", Name: "auditcanary", Email: jiraUser, Display: "auditcanary", Token: jiraToken}},
		Projects: []jira.Project{jira.Plain(jiraProject)}, Faults: faults,
	})
}

// newChat is the Slack workspace.
func newChat(url string, clock func() time.Time, faults *fault.Set) *slack.Workspace {
	return slack.New(slack.Options{
		Token: slackToken, URL: url + chatPrefix, Now: clock, Pace: time.Now, Faults: faults,
		Channels: []slack.Channel{{ID: slackChannel, Name: "security", Member: true}},
	})
}

// people says where they are told.
func people(url string) string {
	return fmt.Sprintf(`tickets:
  jira: {url: %q, flavour: cloud, user_env: %s, token_env: %s, project: %s}
chat:
  slack: {token_env: %s, channel: %s, url: %q}
`, url+deskPrefix, jiraUserEnv, jiraTokenEnv, jiraProject, slackTokenEnv, slackChannel, url+chatPrefix+"/api/")
}

// told is a ticket as it reached the site.
type told struct {
	Key      string   `json:"key"`
	Summary  string   `json:"summary"`
	Status   string   `json:"status"`
	Open     bool     `json:"open"`
	Priority string   `json:"priority"`
	Labels   []string `json:"labels"`
	// Description and Comments as text, Body and Bodies as the documents that they are.
	Description string            `json:"description"`
	Comments    []string          `json:"comments"`
	Body        any               `json:"body"`
	Bodies      []any             `json:"bodies"`
	Attachments map[string]string `json:"attachments"`
}

func tickets(site *jira.Server) any {
	out := []told{}
	for _, t := range site.Tickets() {
		one := told{
			Key: t.Key, Status: t.Status, Open: t.Category != "done", Labels: t.Labels,
			Description: jira.Text(t.Body), Body: t.Body, Bodies: t.Comments, Comments: []string{}, Attachments: map[string]string{},
		}
		one.Summary, _ = t.Fields["summary"].(string)
		if p, ok := t.Fields["priority"].(map[string]any); ok {
			one.Priority, _ = p["name"].(string)
		}
		for _, c := range t.Comments {
			one.Comments = append(one.Comments, jira.Text(c))
		}
		for name, data := range t.Attachments {
			one.Attachments[name] = string(data)
		}
		out = append(out, one)
	}
	return out
}

// posted is a message as it reached the workspace.
type posted struct {
	Channel  string            `json:"channel"`
	TS       string            `json:"ts"`
	Thread   string            `json:"thread"`
	Text     string            `json:"text"`
	Blocks   json.RawMessage   `json:"blocks"`
	Metadata json.RawMessage   `json:"metadata"`
	Args     map[string]string `json:"args"`
}

func messages(workspace *slack.Workspace) any {
	out := []posted{}
	for _, c := range workspace.Channels() {
		for _, m := range workspace.Messages(c.ID) {
			out = append(out, posted{c.ID, m.TS, m.Thread, m.Text, m.Blocks, m.Metadata, m.Args})
		}
	}
	return out
}

// deed is what somebody does at the site or in the workspace; each field by itself.
type deed struct {
	// Delete a ticket by its key, or Move one into the status To.
	Delete, Move, To string
	// Project is made, or gets another key: Rename.
	Project string
	// Field is taken off all screens, or gets another name: Rename.
	Field, Rename string
	// Token that the site takes from now on.
	Token string
	// Channel is made, or Archived, or opened again.
	Channel  string
	Archived bool
	// Scopes that the bot has from now on.
	Scopes []string
}

// change answers POST /_sandbox/people.
func change(site *jira.Server, workspace *slack.Workspace) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		var d deed
		in := json.NewDecoder(http.MaxBytesReader(w, r.Body, 1<<10))
		in.DisallowUnknownFields()
		err := in.Decode(&d)
		if err == nil {
			err = d.do(site, workspace)
		}
		if err != nil {
			reply(w, http.StatusBadRequest, map[string]any{"error": err.Error()})
			return
		}
		reply(w, http.StatusOK, map[string]any{"done": true})
	}
}

func (d deed) do(site *jira.Server, workspace *slack.Workspace) error {
	switch {
	case d.Delete != "":
		if !site.Delete(d.Delete) {
			return fmt.Errorf("there is no ticket %s", d.Delete)
		}
	case d.Move != "":
		if !site.Move(d.Move, d.To) {
			return fmt.Errorf("there is no ticket %s, or no status %q", d.Move, d.To)
		}
	case d.Project != "":
		site.Change(func(o *jira.Options) {
			i := slices.IndexFunc(o.Projects, func(p jira.Project) bool { return p.Key == d.Project })
			switch {
			case i < 0:
				o.Projects = append(o.Projects, jira.Plain(d.Project))
			case d.Rename != "":
				o.Projects[i].Key = d.Rename
			}
		})
	case d.Field != "":
		return d.field(site)
	case d.Token != "":
		site.Change(func(o *jira.Options) { o.Users[0].Token = d.Token })
	case d.Channel != "":
		workspace.Set(slack.Channel{ID: d.Channel, Name: d.Channel, Member: true, Archived: d.Archived})
	case d.Scopes != nil:
		workspace.Grant(d.Scopes)
	default:
		return fmt.Errorf("nothing to do: %+v", d)
	}
	return nil
}

// field renames a field of all projects, or takes it away.
func (d deed) field(site *jira.Server) error {
	found := false
	site.Change(func(o *jira.Options) {
		for _, p := range o.Projects {
			for t := range p.Types {
				fields := p.Types[t].Fields
				i := slices.IndexFunc(fields, func(f jira.Field) bool { return f.Name == d.Field })
				if i < 0 {
					continue
				}
				if found = true; d.Rename != "" {
					fields[i].Name = d.Rename
				} else {
					p.Types[t].Fields = slices.Delete(fields, i, i+1)
				}
			}
		}
	})
	if !found {
		return fmt.Errorf("no project has the field %q", d.Field)
	}
	return nil
}
