// Package jira keeps tickets in Jira.
//
// A ticket carries its mark as a label and as an issue property; a comment carries the
// mark of its change as a property (Cloud) or in its last line (Data Center), an
// attachment in its file name. So every change but the making of a ticket can be asked
// for twice and is done once.
//
// Two flavours: Cloud (REST v3: an account with an API token, Atlassian Document Format)
// or Data Center (REST v2: a personal access token, wiki markup).
package jira

import (
	"cmp"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"
	"unicode"
	"unicode/utf8"

	gojira "github.com/andygrunwald/go-jira"

	"github.com/auditcanary/auditcanary/shared/inert"
	"github.com/auditcanary/auditcanary/shared/ticket"
)

// Flavours of Jira.
const (
	Cloud      = "cloud"
	DataCenter = "data-center"
)

// Config says which Jira, as whom, and what a ticket is there.
type Config struct {
	// URL of the site, "https://example.atlassian.net". Plain http only to loopback:
	// every request carries the token.
	URL string
	// Flavour is Cloud or DataCenter.
	Flavour string
	// User is the account's e-mail address (Cloud only); Token its API token, or the
	// personal access token.
	User, Token string

	Project string // key
	// IssueType by kind, by name; what is not there is as a Failure, that as "Task".
	IssueType map[ticket.Kind]string
	// Priority by severity, by name; a severity that is not there gets Jira's default.
	Priority map[string]string
	// Components every ticket has, by name, beside its own.
	Components []string
	// Fields that every ticket has, by id ("customfield_10042") or name. Text is put
	// into the form that the field wants (an option, a user, a number ...); anything
	// else is sent as it is.
	Fields map[string]any
	// Labels every ticket has.
	Labels []string
	// Resolve and Reopen name a transition, or the status it leads to. Without them
	// any is taken that leads to a status of the category Done, or out of it.
	Resolve, Reopen string
	// Resolution is set where a transition asks for one; default: "Done", or else the
	// first that it allows.
	Resolution string

	// HTTPTimeout bounds one request (default 30 s), MaxWait all the waiting that a
	// busy Jira asks for in one call (default 2 min).
	HTTPTimeout, MaxWait time.Duration
	// Transport, Now and Sleep are the network and the time; nil: the real ones.
	Transport http.RoundTripper
	Now       func() time.Time
	Sleep     func(context.Context, time.Duration) error
}

// Desk is a project in Jira. It is safe for concurrent use.
type Desk struct {
	cfg     Config
	base    *url.URL // ends in a slash
	client  *gojira.Client
	secrets []string // never in an error

	mu    sync.Mutex
	forms map[string]form // by issue type; see form
}

var _ ticket.Desk = (*Desk)(nil)

var (
	projectKey = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`^[A-Z][A-Z0-9_]{1,254}$`) })
	issueKey   = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`^[A-Z][A-Z0-9_]{1,254}-[0-9]{1,18}$`) })
	marks      = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`^[a-z0-9-]{1,200}$`) })
)

// New returns the desk of a configuration, and asks Jira nothing. Its error names
// everything that is wrong with the configuration.
func New(cfg Config) (*Desk, error) {
	cfg.HTTPTimeout = cmp.Or(cfg.HTTPTimeout, 30*time.Second)
	cfg.MaxWait = cmp.Or(cfg.MaxWait, 2*time.Minute)
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Sleep == nil {
		cfg.Sleep = sleep
	}
	if cfg.Transport == nil {
		cfg.Transport = http.DefaultTransport
	}
	base, errs := cfg.check()
	if len(errs) > 0 {
		return nil, fmt.Errorf("jira: %w", errors.Join(errs...))
	}
	d := &Desk{cfg: cfg, base: base, secrets: []string{cfg.Token}, forms: map[string]form{}}
	var authenticated http.RoundTripper = &gojira.BearerAuthTransport{Token: cfg.Token, Transport: cfg.Transport}
	if cfg.Flavour == Cloud {
		authenticated = &gojira.BasicAuthTransport{Username: cfg.User, Password: cfg.Token, Transport: cfg.Transport}
		d.secrets = append(d.secrets, base64.StdEncoding.EncodeToString([]byte(cfg.User+":"+cfg.Token)))
	}
	// The transport would sign every request that a redirect leads to, wherever.
	client, err := gojira.NewClient(&http.Client{
		Transport:     authenticated,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}, base.String())
	if err != nil {
		return nil, fmt.Errorf("jira: %s", d.inert(err.Error()))
	}
	d.client = client
	return d, nil
}

// check returns the base URL, and what is wrong.
func (c Config) check() (*url.URL, []error) {
	var errs []error
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	base, err := url.Parse(strings.TrimRight(c.URL, "/") + "/")
	switch {
	case err != nil:
		bad("url is no URL") // the error would quote it, with what may be in it
	case base.User != nil || base.RawQuery != "" || base.Fragment != "":
		bad("url must be the address of the site alone, without a user or a query")
	case base.Host == "" || base.Scheme != "https" && base.Scheme != "http":
		bad("url %q: want https://host", c.URL)
	case base.Scheme == "http" && !loopback(base.Hostname()):
		bad("url %q: the token would go over the network in the clear; want https", c.URL)
	}
	switch {
	case c.Flavour != Cloud && c.Flavour != DataCenter:
		bad("flavour %q: want %s or %s", c.Flavour, Cloud, DataCenter)
	case c.Flavour == Cloud && c.User == "":
		bad("user is missing: a Cloud token belongs to an e-mail address")
	case c.Flavour == DataCenter && c.User != "":
		bad("user %q: a personal access token needs none", c.User)
	}
	if c.Token == "" {
		bad("the token is empty")
	} else if strings.ContainsFunc(c.Token, func(r rune) bool { return r <= ' ' || r > '~' }) {
		bad("the token has characters that no token has (a line feed at its end?)")
	}
	if strings.ContainsFunc(c.User, unicode.IsControl) || strings.Contains(c.User, ":") {
		bad("user %q is no e-mail address", c.User)
	}
	if !projectKey().MatchString(c.Project) {
		bad("project %q: want a project's key, like SEC", c.Project)
	}
	for _, kind := range slices.Sorted(maps.Keys(c.IssueType)) {
		if !slices.Contains([]ticket.Kind{ticket.Failure, ticket.Group, ticket.Exception}, kind) {
			bad("issue type for %q: no such kind of ticket; want %s, %s or %s", kind, ticket.Failure, ticket.Group, ticket.Exception)
		}
	}
	for _, severity := range slices.Sorted(maps.Keys(c.Priority)) {
		if !slices.Contains([]string{"critical", "high", "medium", "low"}, severity) {
			bad("priority for %q: no such severity; want critical, high, medium or low", severity)
		}
	}
	for _, label := range c.Labels {
		if label == "" || label != labelOf(label) {
			bad("label %q: a label has no spaces and at most %d characters", label, maxLabel)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(c.Fields)) {
		if owner, ours := ownFields[strings.ToLower(name)]; ours {
			bad("field %q: %s", name, owner)
		}
	}
	return base, errs
}

// ownFields are set by other means than Config.Fields.
var ownFields = map[string]string{
	"project": "the configuration's project", "issuetype": "the configuration's issue types", "summary": "each ticket has its own",
	"description": "each ticket has its own", "labels": "the configuration's labels", "priority": "the configuration's priorities",
	"components": "the configuration's components",
}

func loopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return nil
	}
}

// api is a path of the flavour's REST interface.
func (d *Desk) api(format string, args ...any) string {
	v := "rest/api/2/"
	if d.cfg.Flavour == Cloud {
		v = "rest/api/3/"
	}
	return v + fmt.Sprintf(format, args...)
}

// body of a ticket or a comment as the flavour has it.
func (d *Desk) body(doc ticket.Doc) any {
	if d.cfg.Flavour == Cloud {
		return adf(doc)
	}
	return wiki(doc)
}

const (
	maxLabel   = 255
	maxSummary = 255
	property   = "auditcanary" // the key of what this program notes on issues and comments
)

// markLabel is the label that carries a mark.
func markLabel(mark string) string {
	if strings.HasPrefix(mark, "auditcanary-") {
		return mark
	}
	return "auditcanary-" + mark
}

// labelOf makes a label of any text: a label has no spaces and no characters that show nothing.
func labelOf(text string) string {
	text = strings.Map(func(r rune) rune {
		if unicode.IsSpace(r) || r == utf8.RuneError || !unicode.IsPrint(r) {
			return '-'
		}
		return r
	}, text)
	return clip(text, maxLabel)
}

// summaryOf makes a summary of any text: one line, never empty, not too long.
func summaryOf(text string) string {
	text = strings.TrimSpace(inert.Line(strings.Join(strings.Fields(text), " ")))
	if text == "" {
		return "(no summary)"
	}
	if short := clip(text, maxSummary); short != text {
		return clip(text, maxSummary-1) + "…"
	}
	return text
}

// clip returns as much of the beginning of s as n UTF-16 units hold: so Jira counts.
func clip(s string, n int) string {
	for i, r := range s {
		if n -= units(r); n < 0 {
			return s[:i]
		}
	}
	return s
}

func units(r rune) int {
	if r >= 0x10000 {
		return 2
	}
	return 1
}

// length of s in UTF-16 units.
func length(s string) int {
	n := 0
	for _, r := range s {
		n += units(r)
	}
	return n
}
