package wire

import (
	"context"
	"fmt"
	"maps"
	"net/url"
	"os"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/auditcanary/auditcanary/shared/jira"
	"github.com/auditcanary/auditcanary/shared/run"
	"github.com/auditcanary/auditcanary/shared/slack"
	"github.com/auditcanary/auditcanary/shared/ticket"
)

// Tickets is where a failing check becomes a ticket. Optional.
type Tickets struct {
	// Jira project in which they are made.
	Jira *Jira `yaml:"jira"`
	// ResolveAfter how many passes in a row a ticket is resolved (default 2).
	ResolveAfter int `yaml:"resolve_after"`
	// InconclusiveAfter how many runs in a row that could not find out a ticket is made (default 3).
	InconclusiveAfter int `yaml:"inconclusive_after"`
	// GroupAbove: if more checks than that newly do not pass, with the same check and hop
	// in one step, they become one ticket (default 10).
	GroupAbove int `yaml:"group_above"`
	// SearchLag is how long a new ticket may be missing in a search (default 10m). A
	// creation that was interrupted is left alone so long before it is made anew. At
	// least 1s; below 3m each call gets half of it, so less than 1m is for tests only.
	SearchLag Duration `yaml:"search_lag"`
	// ResolvedByHand says what becomes of a ticket that somebody resolved while the check
	// still fails: reopen (default), or leave.
	ResolvedByHand string `yaml:"resolved_by_hand"`
	// Environments are labels of accounts ("production"), by account id in quotes.
	Environments map[string]string `yaml:"environments"`
	// Severities (critical, high, medium, low) by category ("permissions"), by
	// category@environment, "default" or default@environment; the first of
	// category@environment, default@environment, category, default counts. Default: high.
	// What is late, or could not be found out, is one less.
	Severities map[string]string `yaml:"severities"`
	// Labels that every ticket gets.
	Labels []string `yaml:"labels"`
}

// Jira is one project of a Jira site.
type Jira struct {
	// URL of the site, "https://example.atlassian.net".
	URL string `yaml:"url"`
	// Flavour: cloud (API token of a user) or data-center (personal access token).
	Flavour string `yaml:"flavour"`
	// UserEnv names the environment variable that holds the user's e-mail address (cloud
	// only), TokenEnv the one that holds the token.
	UserEnv  string `yaml:"user_env"`
	TokenEnv string `yaml:"token_env"`
	// Project by its key.
	Project string `yaml:"project"`
	// IssueTypes by kind of ticket (failure, group, exception), by name.
	IssueTypes map[string]string `yaml:"issue_types"`
	// Priorities by severity (critical, high, medium, low), by name.
	Priorities map[string]string `yaml:"priorities"`
	// Components by category of scenarios, by name.
	Components map[string]string `yaml:"components"`
	// Fields that every ticket has, by id or name.
	Fields map[string]any `yaml:"fields"`
	// Resolve and Reopen name the transitions, or the statuses they lead to. Optional.
	Resolve string `yaml:"resolve"`
	Reopen  string `yaml:"reopen"`
}

// Chat is where people are told of a run. Optional.
type Chat struct {
	Slack *Slack `yaml:"slack"`
	// ReportURL is where the report stands; messages and tickets link to it.
	ReportURL string `yaml:"report_url"`
}

// Slack is one channel of a workspace.
type Slack struct {
	// TokenEnv names the environment variable that holds the bot's token.
	TokenEnv string `yaml:"token_env"`
	// Channel by its id (C...).
	Channel string `yaml:"channel"`
	// Quiet posts only what changed, and a digest once a day.
	Quiet bool `yaml:"quiet"`
	// DigestAt is the time of day, UTC, from which on the digest is posted (default "08:00").
	DigestAt string `yaml:"digest_at"`
	// URL of the API (a test server). Empty: Slack's own.
	URL string `yaml:"url"`
}

var (
	envName   = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)
	jiraKey   = regexp.MustCompile(`^[A-Z][A-Z0-9_]+$`)
	ticketsBy = []string{string(ticket.Failure), string(ticket.Group), string(ticket.Exception)}
)

// checkTickets checks both sections.
func (c *Config) checkTickets(bad complain) {
	t := c.Tickets
	for _, n := range []struct {
		field string
		value int
	}{{"resolve_after", t.ResolveAfter}, {"inconclusive_after", t.InconclusiveAfter}, {"group_above", t.GroupAbove}} {
		if n.value < 0 {
			bad("tickets."+n.field, "tickets.%s %d: at least 1", n.field, n.value)
		}
	}
	if lag := t.SearchLag.Duration; lag != 0 && lag < time.Second {
		bad("tickets.search_lag", "tickets.search_lag %s: at least 1s", lag)
	}
	if !slices.Contains([]string{"", "reopen", "leave"}, t.ResolvedByHand) {
		bad("tickets.resolved_by_hand", "tickets.resolved_by_hand %q: reopen or leave", t.ResolvedByHand)
	}
	for _, account := range slices.Sorted(maps.Keys(t.Environments)) {
		if !accountID.MatchString(account) {
			bad("tickets.environments."+account, "account %q is not twelve digits in quotes", account)
		}
	}
	known := map[string]bool{"default": true}
	for _, k := range categories() {
		known[k.ID] = true
	}
	environments := slices.Collect(maps.Values(t.Environments))
	for _, key := range slices.Sorted(maps.Keys(t.Severities)) {
		category, env, one := strings.Cut(key, "@")
		if !known[category] {
			bad("tickets.severities."+key, "severity of %q: there is no such category", category)
		}
		if one && !slices.Contains(environments, env) {
			bad("tickets.severities."+key, "severity of %q: no account is of environment %q", key, env)
		}
		if s := t.Severities[key]; !slices.Contains(ticket.Severities, s) {
			bad("tickets.severities."+key, "severity %q of %s is not known; known: %s", s, key, strings.Join(ticket.Severities, ", "))
		}
	}
	t.Jira.check(bad, known)
	c.Chat.check(bad)
}

func (j *Jira) check(bad complain, categories map[string]bool) {
	if j == nil {
		return
	}
	if !webAddress(j.URL) {
		bad("tickets.jira.url", "tickets.jira.url: not an https address (or http on this machine) without a user in it")
	}
	switch j.Flavour {
	case "cloud":
		if !envName.MatchString(j.UserEnv) {
			bad("tickets.jira.user_env", "tickets.jira.user_env %q: Jira Cloud needs the name of an environment variable that holds the user's e-mail address", j.UserEnv)
		}
	case "data-center":
		if j.UserEnv != "" {
			bad("tickets.jira.user_env", "tickets.jira.user_env: a personal access token needs no user")
		}
	default:
		bad("tickets.jira.flavour", "tickets.jira.flavour %q: cloud or data-center", j.Flavour)
	}
	if !envName.MatchString(j.TokenEnv) {
		bad("tickets.jira.token_env", "tickets.jira.token_env %q is not the name of an environment variable", j.TokenEnv)
	}
	if !jiraKey.MatchString(j.Project) {
		bad("tickets.jira.project", "tickets.jira.project %q is not the key of a project", j.Project)
	}
	one := func(section string, of map[string]string, known func(string) bool, what string) {
		for _, key := range slices.Sorted(maps.Keys(of)) {
			if !known(key) {
				bad("tickets.jira."+section+"."+key, "tickets.jira.%s: %q is not %s", section, key, what)
			}
		}
	}
	one("issue_types", j.IssueTypes, func(k string) bool { return slices.Contains(ticketsBy, k) }, "a kind of ticket; known: "+strings.Join(ticketsBy, ", "))
	one("priorities", j.Priorities, func(k string) bool { return slices.Contains(ticket.Severities, k) }, "a severity; known: "+strings.Join(ticket.Severities, ", "))
	one("components", j.Components, func(k string) bool { return categories[k] && k != "default" }, "a category")
}

func (h Chat) check(bad complain) {
	if h.ReportURL != "" && !webAddress(h.ReportURL) {
		bad("chat.report_url", "chat.report_url: not an https address (or http on this machine) without a user in it")
	}
	s := h.Slack
	if s == nil {
		return
	}
	if !envName.MatchString(s.TokenEnv) {
		bad("chat.slack.token_env", "chat.slack.token_env %q is not the name of an environment variable", s.TokenEnv)
	}
	if _, err := slack.New(slack.Options{Token: anyToken, Channel: s.Channel}); err != nil {
		bad("chat.slack.channel", "chat.slack.channel %q is not the id of a channel, such as C0123456789", s.Channel)
	}
	if _, err := s.digestAt(); err != nil {
		bad("chat.slack.digest_at", "chat.slack.digest_at %q is not a time of day such as 08:00", s.DigestAt)
	}
	if !slackAddress(s.URL) {
		bad("chat.slack.url", "chat.slack.url: not an https address (or http on this machine) without a user in it that ends in /, like https://slack.com/api/")
	}
}

// anyToken stands for a token while a configuration is checked, which calls nobody.
const anyToken = "-"

// slackAddress reports whether a token may be sent there, as Slack's client has it; "" is
// Slack's own.
func slackAddress(text string) bool {
	_, err := slack.NewGroups(slack.Options{Token: anyToken, APIURL: text})
	return err == nil
}

func (s *Slack) digestAt() (time.Duration, error) {
	if s.DigestAt == "" {
		return 8 * time.Hour, nil
	}
	t, err := time.Parse("15:04", s.DigestAt)
	if err != nil {
		return 0, err
	}
	return time.Duration(t.Hour())*time.Hour + time.Duration(t.Minute())*time.Minute, nil
}

// webAddress reports whether a token may be sent there: https, or http that does not
// leave this machine.
func webAddress(text string) bool {
	u, err := url.Parse(text)
	if err != nil || u.Host == "" || u.User != nil {
		return false
	}
	return u.Scheme == "https" || u.Scheme == "http" && slices.Contains([]string{"localhost", "127.0.0.1", "::1"}, u.Hostname())
}

// ticketConfig is what the configuration says in the step's terms.
func (c *Config) ticketConfig() ticket.Config {
	t := c.Tickets
	out := ticket.Config{
		ResolveAfter: t.ResolveAfter, InconclusiveAfter: t.InconclusiveAfter, GroupAbove: t.GroupAbove,
		SearchLag: t.SearchLag.Duration, LeaveResolved: t.ResolvedByHand == "leave",
		Labels: t.Labels, Environments: t.Environments, Severities: t.Severities, ReportURL: c.Chat.ReportURL,
	}
	if t.Jira != nil {
		out.Components = t.Jira.Components
	}
	return out
}

// secret reads a secret from the environment variable of a name.
func secret(field, name string) (string, error) {
	v := strings.TrimSpace(os.Getenv(name))
	if v == "" {
		return "", fmt.Errorf("%s: environment variable %s is empty", field, name)
	}
	return v, nil
}

// openDesk opens the configured desk; nil: none is configured.
func (c *Config) openDesk() (*jira.Desk, error) {
	j := c.Tickets.Jira
	if j == nil {
		return nil, nil
	}
	token, err := secret("tickets.jira.token_env", j.TokenEnv)
	if err != nil {
		return nil, err
	}
	user := ""
	if j.UserEnv != "" {
		if user, err = secret("tickets.jira.user_env", j.UserEnv); err != nil {
			return nil, err
		}
	}
	types := map[ticket.Kind]string{}
	for kind, name := range j.IssueTypes {
		types[ticket.Kind(kind)] = name
	}
	// Components and labels come with each draft.
	desk, err := jira.New(jira.Config{
		URL: j.URL, Flavour: j.Flavour, User: user, Token: token, Project: j.Project,
		IssueType: types, Priority: j.Priorities, Fields: j.Fields, Resolve: j.Resolve, Reopen: j.Reopen,
	})
	if err != nil {
		return nil, fmt.Errorf("tickets.jira: %w", err)
	}
	return desk, nil
}

// openChat opens the configured chat; nil: none is configured.
func (c *Config) openChat(clock func() time.Time) (ticket.Chat, error) {
	s := c.Chat.Slack
	if s == nil {
		return nil, nil
	}
	token, err := secret("chat.slack.token_env", s.TokenEnv)
	if err != nil {
		return nil, err
	}
	chat, err := slack.New(slack.Options{Token: token, Channel: s.Channel, APIURL: s.URL, Clock: clock, Sleep: sleep})
	if err != nil {
		return nil, fmt.Errorf("chat.slack: %w", err)
	}
	return chat, nil
}

// NotifyOptions choose what the report step does.
type NotifyOptions struct {
	ticket.Options
	Progress func(run.Progress)
	// Clock is the time; nil: the real one.
	Clock func() time.Time
}

// Notify does the report step: tickets and chat are brought to what the ledger says.
func Notify(ctx context.Context, c *Config, o NotifyOptions) (ticket.Result, error) {
	s := ticket.Step{Origin: c.Ledger.Origin, Config: c.ticketConfig(), Clock: o.Clock, Progress: o.Progress}
	if s.Clock == nil {
		s.Clock = time.Now
	}
	if c.Tickets.Jira == nil && c.Chat.Slack == nil {
		return ticket.Result{}, fmt.Errorf("notify: %s has neither tickets.jira nor chat.slack: there is nobody to tell", c.file)
	}
	if slack := c.Chat.Slack; slack != nil {
		at, err := slack.digestAt()
		if err != nil {
			return ticket.Result{}, fmt.Errorf("notify: chat.slack.digest_at: %w", err)
		}
		s.News = ticket.NewsConfig{Quiet: slack.Quiet, DigestAt: at}
	}
	mode := ReadWrite
	if o.DryRun {
		mode = ReadOnly
	}
	var err error
	if s.Log, err = OpenLedger(ctx, c, mode); err != nil {
		return ticket.Result{}, err
	}
	if o.DryRun {
		s.NoDesk, s.NoChat = c.Tickets.Jira == nil, c.Chat.Slack == nil
		return s.Run(ctx, o.Options)
	}
	switch desk, err := c.openDesk(); {
	case err != nil:
		return ticket.Result{}, fmt.Errorf("notify: %w", err)
	case desk != nil:
		s.Desk = desk
	}
	if s.Chat, err = c.openChat(s.Clock); err != nil {
		// Whoever is not told in the chat has a ticket all the same.
		if s.Desk == nil {
			return ticket.Result{}, fmt.Errorf("notify: %w", err)
		}
		res, stepErr := s.Run(ctx, o.Options)
		res.Posts = append(res.Posts, ticket.Told{Kind: "run", Err: err.Error(), Refused: true})
		return res, stepErr
	}
	return s.Run(ctx, o.Options)
}

// CheckDesk asks the configured desk, without changing anything, whether tickets of every
// kind and severity could be made, and returns what would be in the way.
func CheckDesk(ctx context.Context, c *Config) []error {
	desk, err := c.openDesk()
	switch {
	case err != nil:
		return []error{err}
	case desk == nil:
		return []error{fmt.Errorf("%s has no tickets.jira", c.file)}
	}
	return desk.Check(ctx)
}
