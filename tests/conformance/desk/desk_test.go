// Package desk holds every ticket desk to the contract of ticket.Desk, over the wire.
package desk

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	driver "github.com/auditcanary/auditcanary/shared/jira"
	"github.com/auditcanary/auditcanary/shared/ticket"
	"github.com/auditcanary/auditcanary/tests/sandbox/fault"
	"github.com/auditcanary/auditcanary/tests/sandbox/jira"
)

// token of the account, which must be in no error.
const token = "ATATT3xFfGF0-secret-token"

// bench is a desk with the site that it is at.
type bench struct {
	*driver.Desk
	site  *jira.Server
	clock *clock
	cfg   driver.Config
	url   string
}

type clock struct {
	mu    sync.Mutex
	now   time.Time
	slept []time.Duration
}

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) forward(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

// Sleep lets the time pass at once.
func (c *clock) Sleep(ctx context.Context, d time.Duration) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	c.mu.Lock()
	c.slept = append(c.slept, d)
	c.mu.Unlock()
	c.forward(d)
	return nil
}

// each runs a test on every flavour of the driver.
func each(t *testing.T, test func(*testing.T, *bench), how ...func(*jira.Options, *driver.Config)) {
	t.Helper()
	for _, flavour := range []string{jira.Cloud, jira.DataCenter} {
		t.Run(flavour, func(t *testing.T) {
			test(t, open(t, flavour, how...))
		})
	}
}

func open(t *testing.T, flavour string, how ...func(*jira.Options, *driver.Config)) *bench {
	t.Helper()
	c := &clock{now: time.Date(2026, 3, 2, 9, 0, 0, 0, time.UTC)}
	opts := jira.Options{
		Flavour: flavour, Clock: c.Now, Projects: []jira.Project{jira.Plain("SEC"), jira.Plain("OPS")},
		Users: []jira.User{
			{AccountID: "5b10ac8d82e05b22cc7d4ef5", Name: "canary", Email: "canary@example.com", Display: "Audit Canary", Token: token},
			{AccountID: "5b10ac8d82e05b22cc7d4ef6", Name: "reader", Email: "reader@example.com", Display: "Reader", Token: "reader-token", ReadOnly: true},
			{AccountID: "5b10ac8d82e05b22cc7d4ef7", Name: "blind", Email: "blind@example.com", Display: "Blind", Token: "blind-token", Blind: true},
		},
	}
	cfg := driver.Config{
		Flavour: flavour, Token: token, Project: "SEC", Labels: []string{"auditcanary"},
		IssueType: map[ticket.Kind]string{ticket.Failure: "Bug", ticket.Exception: "Risk"},
		Priority:  map[string]string{"critical": "Highest", "high": "High"},
		Now:       c.Now, Sleep: c.Sleep, HTTPTimeout: time.Minute,
	}
	if flavour == jira.Cloud {
		cfg.User = "canary@example.com"
	}
	for _, h := range how {
		h(&opts, &cfg)
	}
	site, err := jira.New(opts)
	if err != nil {
		t.Fatal(err)
	}
	srv := httptest.NewServer(site)
	t.Cleanup(srv.Close)
	b := &bench{site: site, clock: c, cfg: cfg, url: srv.URL}
	if b.cfg.URL == "" {
		b.cfg.URL = srv.URL
	}
	b.Desk = b.desk(t, func(*driver.Config) {})
	return b
}

// desk is another desk at the same site.
func (b *bench) desk(t *testing.T, how func(*driver.Config)) *driver.Desk {
	t.Helper()
	cfg := b.cfg
	how(&cfg)
	d, err := driver.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// faults go wrong in each flavour anew; each of them must.
func faults(t *testing.T, yaml string) func(*jira.Options, *driver.Config) {
	return func(o *jira.Options, _ *driver.Config) {
		set, err := fault.Parse("faults", []byte(yaml))
		if err != nil {
			t.Fatal(err)
		}
		set.Start(o.Clock)
		o.Faults = set
		t.Cleanup(func() {
			for _, s := range set.Status() {
				if s.Fired == 0 || s.Error != "" {
					t.Errorf("fault %q struck %d times, error %q", s.Name, s.Fired, s.Error)
				}
			}
		})
	}
}

func draft(mark string) ticket.Draft {
	return ticket.Draft{
		Mark: mark, Kind: ticket.Failure, Summary: "aws/iam-role: not in the archive", Severity: "critical", Labels: []string{"aws"}, Component: "Logging",
		Body: ticket.Doc{
			{Kind: "heading", Text: "What failed"},
			{Kind: "text", Text: "Expected: recorded.\nFound: nothing [x]."},
			{Kind: "table", Rows: [][]string{{"hop", "seen"}, {"emitted", "yes"}, {"delivered", ""}}},
			{Kind: "list", Rows: [][]string{{"event 1"}, {"event 2"}}},
			{Kind: "code", Text: "{\n\t\"eventName\": \"CreateRole\"\n}"},
			{Kind: "link", Text: "Report", URL: "https://reports.example.com/run/1?a=b"},
		},
	}
}

func text(s string) ticket.Doc { return ticket.Doc{{Kind: "text", Text: s}} }

func TestATicketIsMadeWithAllThatItIsToCarry(t *testing.T) {
	each(t, func(t *testing.T, b *bench) {
		made, err := b.Create(t.Context(), draft("f-1"))
		if err != nil {
			t.Fatal(err)
		}
		if made.Key != "SEC-1" || made.URL != b.url+"/browse/SEC-1" || !made.Open {
			t.Errorf("made %+v", made)
		}
		tickets := b.site.Tickets()
		if len(tickets) != 1 {
			t.Fatalf("%d tickets", len(tickets))
		}
		got := tickets[0]
		if got.Type != "10002" || !slices.Equal(got.Labels, []string{"auditcanary-f-1", "auditcanary", "aws"}) {
			t.Errorf("type %s, labels %q", got.Type, got.Labels)
		}
		for field, want := range map[string]string{"priority": `{"name":"Highest"}`, "components": `[{"name":"Logging"}]`, "summary": `"aws/iam-role: not in the archive"`} {
			if b, err := json.Marshal(got.Fields[field]); err != nil || string(b) != want {
				t.Errorf("%s = %s, %v, want %s", field, b, err, want)
			}
		}
		if p, _ := got.Properties["auditcanary"].(map[string]any); p["mark"] != "f-1" {
			t.Errorf("property %v", got.Properties)
		}
		found, err := b.Find(t.Context(), ticket.Query{Mark: "f-1"})
		if err != nil || len(found) != 1 || found[0].Key != "SEC-1" || !found[0].Open || found[0].Status != "To Do" || !found[0].Created.Equal(b.clock.Now()) {
			t.Errorf("found %+v, %v", found, err)
		}
		if other, err := b.Find(t.Context(), ticket.Query{Mark: "f-2"}); err != nil || len(other) != 0 {
			t.Errorf("of another mark: %+v, %v", other, err)
		}
		one, err := b.Find(t.Context(), ticket.Query{Key: "SEC-1"})
		if err != nil || len(one) != 1 || one[0].Key != "SEC-1" || !slices.Contains(one[0].Labels, "auditcanary-f-1") {
			t.Errorf("by key %+v, %v", one, err)
		}
	})
}

func TestASearchLagsAndAKeyDoesNot(t *testing.T) {
	each(t, func(t *testing.T, b *bench) {
		if _, err := b.Create(t.Context(), draft("f-1")); err != nil {
			t.Fatal(err)
		}
		if found, err := b.Find(t.Context(), ticket.Query{Mark: "f-1"}); err != nil || len(found) != 0 {
			t.Errorf("at once: %+v, %v", found, err)
		}
		if found, err := b.Find(t.Context(), ticket.Query{Key: "SEC-1"}); err != nil || len(found) != 1 {
			t.Errorf("by key at once: %+v, %v", found, err)
		}
		b.clock.forward(3 * time.Minute)
		if found, err := b.Find(t.Context(), ticket.Query{Mark: "f-1"}); err != nil || len(found) != 1 {
			t.Errorf("after the lag: %+v, %v", found, err)
		}
	}, func(o *jira.Options, _ *driver.Config) { o.IndexLag = 3 * time.Minute })
}

func TestManyTicketsOfOneMarkAreAllFoundOldestFirst(t *testing.T) {
	each(t, func(t *testing.T, b *bench) {
		for range 8 {
			if _, err := b.Create(t.Context(), draft("f-1")); err != nil {
				t.Fatal(err)
			}
			b.clock.forward(time.Minute)
		}
		found, err := b.Find(t.Context(), ticket.Query{Mark: "f-1"})
		if err != nil || len(found) != 8 {
			t.Fatalf("%d found, %v", len(found), err)
		}
		for i, f := range found {
			if f.Key != fmt.Sprintf("SEC-%d", i+1) {
				t.Errorf("%d: %s", i, f.Key)
			}
		}
		if !b.asked("search", 3) {
			t.Error("the pages of three were not turned")
		}
	}, func(o *jira.Options, _ *driver.Config) { o.PageSize = 3 })
}

// asked reports whether the site saw an operation so often at least.
func (b *bench) asked(operation string, n int) bool {
	for _, r := range b.site.Requests() {
		if r.Operation == operation {
			n--
		}
	}
	return n <= 0
}

func TestAChangeIsMadeOnce(t *testing.T) {
	each(t, func(t *testing.T, b *bench) {
		if _, err := b.Create(t.Context(), draft("f-1")); err != nil {
			t.Fatal(err)
		}
		for _, c := range []ticket.Change{
			{Mark: "c-1", Comment: text("It fails again.")},
			{Mark: "c-2", Comment: text("It fails otherwise.")},
			{Mark: "c-1", Name: "evidence.json", Attach: []byte(`{"n":1}`)},
			{Mark: "c-2", Name: "evidence.json", Attach: []byte(`{"n":2}`)},
			{Summary: "Seen 3 times", Body: text("Seen 3 times.")},
			{To: "resolved"},
			{To: "open"},
			{To: "open"},
			{To: "resolved"},
		} {
			for range 2 {
				if err := b.Do(t.Context(), "SEC-1", c); err != nil {
					t.Fatalf("%+v: %v", c, err)
				}
			}
		}
		got := b.site.Tickets()[0]
		if len(got.Comments) != 2 {
			t.Errorf("%d comments: %v", len(got.Comments), got.Comments)
		}
		if !slices.Equal(got.Files, []string{"evidence.c-1.json", "evidence.c-2.json"}) || string(got.Attachments["evidence.c-2.json"]) != `{"n":2}` {
			t.Errorf("attachments %q", got.Files)
		}
		if got.Fields["summary"] != "Seen 3 times" || !strings.Contains(flat(t, got.Body), "Seen 3 times") {
			t.Errorf("summary %v, body %v", got.Fields["summary"], got.Body)
		}
		if got.Category != "done" || !strings.Contains(flat(t, got.Fields["resolution"]), "Done") {
			t.Errorf("status %s, resolution %v", got.Status, got.Fields["resolution"])
		}
		n := 0
		for _, r := range b.site.Requests() {
			if r.Operation == "doTransition" {
				n++
			}
		}
		if n != 3 {
			t.Errorf("%d transitions, want 3", n)
		}
		if found, err := b.Find(t.Context(), ticket.Query{Mark: "f-1"}); err != nil || len(found) != 1 || found[0].Open {
			t.Errorf("resolved, it is found as %+v, %v", found, err)
		}
	}, func(o *jira.Options, _ *driver.Config) { o.PageSize = 1 })
}

func flat(t *testing.T, v any) string {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// What a crash leaves: it was done, and nobody knows.
func TestWhatWasDoneWithoutAnAnswerIsNotDoneAgain(t *testing.T) {
	each(t, func(t *testing.T, b *bench) {
		if _, err := b.Create(t.Context(), draft("f-1")); err != nil {
			t.Fatal(err)
		}
		for _, c := range []ticket.Change{
			{Mark: "c-1", Comment: text("It fails again.")},
			{Mark: "c-1", Name: "evidence.json", Attach: []byte(`{"n":1}`)},
			{To: "resolved"},
		} {
			err := b.Do(t.Context(), "SEC-1", c)
			if err == nil || errors.Is(err, ticket.ErrRefused) || errors.Is(err, ticket.ErrGone) {
				t.Errorf("%+v: the answer was lost, and it is %v", c, err)
			}
			if err := b.Do(t.Context(), "SEC-1", c); err != nil {
				t.Errorf("%+v again: %v", c, err)
			}
		}
		got := b.site.Tickets()[0]
		if len(got.Comments) != 1 || len(got.Files) != 1 || got.Category != "done" {
			t.Errorf("comments %d, files %q, status %s", len(got.Comments), got.Files, got.Status)
		}
	}, faults(t, `faults:
  - {name: the comment's answer is lost, at: ticket, match: 'it.operation == "addComment"', times: 1, do: {error: {code: Gateway, message: bad gateway, status: 502, when: after}}}
  - {name: the attachment's answer hangs, at: ticket, match: 'it.operation == "addAttachment"', times: 1, do: {hang: {for: 10ms, when: after}}}
  - {name: the transition's answer is lost, at: ticket, match: 'it.operation == "doTransition"', times: 1, do: {error: {code: Gateway, message: bad gateway, status: 500, when: after}}}
`))
}

func TestATicketWhoseMakingIsNotKnownIsNotMadeAgain(t *testing.T) {
	for name, do := range map[string]string{
		"hangs after":  "{hang: {for: 10ms, when: after}}",
		"500 after":    "{error: {code: Internal, message: oops, status: 500, when: after}}",
		"503 after":    "{error: {code: Unavailable, message: down, status: 503, when: after}}",
		"hangs before": "{hang: {for: 10ms, when: before}}",
		"drops":        "{drop: true}",
	} {
		t.Run(name, func(t *testing.T) {
			each(t, func(t *testing.T, b *bench) {
				_, err := b.Create(t.Context(), draft("f-1"))
				if err == nil || errors.Is(err, ticket.ErrRefused) {
					t.Errorf("it is %v", err)
				}
				creates := 0
				for _, r := range b.site.Requests() {
					if r.Operation == "createIssue" {
						creates++
					}
				}
				want := 0
				if strings.HasSuffix(name, "after") {
					want = 1
				}
				if creates != 1 || len(b.site.Tickets()) != want {
					t.Errorf("asked %d times, %d tickets, want %d", creates, len(b.site.Tickets()), want)
				}
				if found, err := b.Find(t.Context(), ticket.Query{Mark: "f-1"}); err != nil || len(found) != want {
					t.Errorf("afterwards found %d, %v", len(found), err)
				}
			}, faults(t, `faults: [{name: it, at: ticket, match: 'it.operation == "createIssue"', do: `+do+`}]`))
		})
	}
}

func TestABusyJiraIsWaitedFor(t *testing.T) {
	each(t, func(t *testing.T, b *bench) {
		for range 4 { // two requests each for the form, then one each
			if _, err := b.Create(t.Context(), draft("f-1")); err != nil {
				t.Fatal(err)
			}
		}
		if len(b.clock.slept) == 0 || b.clock.slept[0] != 10*time.Second {
			t.Errorf("slept %v", b.clock.slept)
		}
		if n := len(b.site.Tickets()); n != 4 {
			t.Errorf("%d tickets", n)
		}
		// No longer than there is time.
		ctx, cancel := context.WithDeadline(t.Context(), time.Now().Add(time.Hour))
		defer cancel()
		short, cancelShort := context.WithDeadline(t.Context(), time.Now().Add(9*time.Second))
		defer cancelShort()
		for name, tc := range map[string]struct {
			ctx     context.Context
			maxWait time.Duration
		}{"the configuration's": {ctx, 5 * time.Second}, "the caller's": {short, time.Hour}} {
			d := b.desk(t, func(c *driver.Config) { c.MaxWait = tc.maxWait })
			var err error
			for range 5 {
				if _, err = d.Find(tc.ctx, ticket.Query{Key: "SEC-1"}); err != nil {
					break
				}
			}
			if err == nil || errors.Is(err, ticket.ErrRefused) || !strings.Contains(err.Error(), "no time left") {
				t.Errorf("%s: it is %v", name, err)
			}
		}
	}, func(o *jira.Options, _ *driver.Config) { o.Limit, o.Window = 3, 10*time.Second })
}

func TestReadsAreTriedAgain(t *testing.T) {
	each(t, func(t *testing.T, b *bench) {
		if _, err := b.Create(t.Context(), draft("f-1")); err != nil {
			t.Fatal(err)
		}
		if found, err := b.Find(t.Context(), ticket.Query{Mark: "f-1"}); err != nil || len(found) != 1 {
			t.Errorf("%+v, %v", found, err)
		}
		if !b.asked("search", 4) {
			t.Error("it was not asked again")
		}
	}, faults(t, `faults: [{name: it, at: ticket, match: 'it.operation == "search" && it.n < 7', do: {error: {code: Internal, message: oops, status: 500}}}]`))
}

// What will not go away by itself says so, and what is to be done.
func TestWhatIsWrongIsNamed(t *testing.T) {
	create := func(t *testing.T, d *driver.Desk) error {
		_, err := d.Create(t.Context(), draft("f-1"))
		return err
	}
	type at = func(*jira.Options, *driver.Config)
	for _, tc := range []struct {
		name string
		how  at
		do   func(*testing.T, *driver.Desk) error
		want []string
		is   error
	}{
		{"wrong token", func(_ *jira.Options, c *driver.Config) { c.Token = "wrong-token" }, create, []string{"401", "token"}, ticket.ErrRefused},
		{"may only read", func(_ *jira.Options, c *driver.Config) {
			c.Token = "reader-token"
			if c.User != "" {
				c.User = "reader@example.com"
			}
		}, create, []string{"permission", "SEC"}, ticket.ErrRefused},
		{"missing project", func(_ *jira.Options, c *driver.Config) { c.Project = "NOPE" }, create, []string{"NOPE", "does not exist"}, ticket.ErrRefused},
		{"missing project, search", func(_ *jira.Options, c *driver.Config) { c.Project = "NOPE" }, func(t *testing.T, d *driver.Desk) error {
			_, err := d.Find(t.Context(), ticket.Query{Mark: "f-1"})
			return err
		}, []string{"NOPE", "does not exist"}, ticket.ErrRefused},
		{"missing type", func(_ *jira.Options, c *driver.Config) {
			c.IssueType = map[ticket.Kind]string{ticket.Failure: "Incident"}
		}, create, []string{`"Incident"`, "SEC", `"Task", "Bug", "Risk"`}, ticket.ErrRefused},
		{"renamed field", func(o *jira.Options, c *driver.Config) {
			c.Fields = map[string]any{"Environment class": "production"}
			for n := range o.Projects[0].Types {
				o.Projects[0].Types[n].Fields[8].Name = "Environment"
			}
		}, create, []string{`"Environment class"`, "SEC", `"Environment" (customfield_10042)`}, ticket.ErrRefused},
		{"unknown option", func(_ *jira.Options, c *driver.Config) { c.Fields = map[string]any{"customfield_10042": "prod"} }, create, []string{`"prod"`, "production, test"}, ticket.ErrRefused},
		{"required field", func(o *jira.Options, _ *driver.Config) {
			for n := range o.Projects[0].Types {
				o.Projects[0].Types[n].Fields[9].Required = true
			}
		}, create, []string{`"Control" (customfield_10043)`, "SEC"}, ticket.ErrRefused},
		{"unknown priority", func(_ *jira.Options, c *driver.Config) { c.Priority = map[string]string{"critical": "P1"} }, create, []string{`"P1"`, "Highest, High"}, ticket.ErrRefused},
		{"unknown component", func(_ *jira.Options, c *driver.Config) { c.Components = []string{"Payroll"} }, create, []string{`"Payroll"`, "Cloud, Logging"}, ticket.ErrRefused},
		{"deleted ticket", func(*jira.Options, *driver.Config) {}, func(t *testing.T, d *driver.Desk) error {
			return d.Do(t.Context(), "SEC-99", ticket.Change{Mark: "c", Comment: text("x")})
		}, []string{"SEC-99"}, ticket.ErrGone},
		{"deleted ticket, written", func(*jira.Options, *driver.Config) {}, func(t *testing.T, d *driver.Desk) error {
			return d.Do(t.Context(), "SEC-99", ticket.Change{Body: text("x")})
		}, []string{"SEC-99"}, ticket.ErrGone},
		{"deleted ticket, moved", func(*jira.Options, *driver.Config) {}, func(t *testing.T, d *driver.Desk) error {
			return d.Do(t.Context(), "SEC-99", ticket.Change{To: "resolved"})
		}, []string{"SEC-99"}, ticket.ErrGone},
		{"deleted ticket, found", func(*jira.Options, *driver.Config) {}, func(t *testing.T, d *driver.Desk) error {
			_, err := d.Find(t.Context(), ticket.Query{Key: "SEC-99"})
			return err
		}, []string{"SEC-99"}, ticket.ErrGone},
		{"not deleted, but hidden", func(_ *jira.Options, c *driver.Config) {
			c.Token = "blind-token"
			if c.User != "" {
				c.User = "blind@example.com"
			}
		}, func(t *testing.T, d *driver.Desk) error {
			return d.Do(t.Context(), "SEC-1", ticket.Change{Body: text("x")})
		}, []string{"SEC", "may not see it"}, ticket.ErrRefused},
		{"a key that is none", func(*jira.Options, *driver.Config) {}, func(t *testing.T, d *driver.Desk) error {
			return d.Do(t.Context(), "../../secure/admin", ticket.Change{To: "open"})
		}, []string{"no key"}, ticket.ErrRefused},
		{"unknown transition", func(_ *jira.Options, c *driver.Config) { c.Resolve = "Ship it" }, func(t *testing.T, d *driver.Desk) error {
			if err := create(t, d); err != nil {
				return err
			}
			return d.Do(t.Context(), "SEC-1", ticket.Change{To: "resolved"})
		}, []string{`"Ship it"`, `"Start" (to "In Progress")`, `"Finish" (to "Done")`}, ticket.ErrRefused},
		{"no way there", func(o *jira.Options, _ *driver.Config) { o.Projects[0].Ways = o.Projects[0].Ways[:2] }, func(t *testing.T, d *driver.Desk) error {
			if err := create(t, d); err != nil {
				return err
			}
			return d.Do(t.Context(), "SEC-1", ticket.Change{To: "resolved"})
		}, []string{`"To Do"`, `"Start" (to "In Progress")`}, ticket.ErrRefused},
		{"a transition that wants more", func(o *jira.Options, _ *driver.Config) { o.Projects[0].Ways[2].Requires = "customfield_10043" }, func(t *testing.T, d *driver.Desk) error {
			if err := create(t, d); err != nil {
				return err
			}
			return d.Do(t.Context(), "SEC-1", ticket.Change{To: "resolved"})
		}, []string{`"Finish"`, `"Control" (customfield_10043)`}, ticket.ErrRefused},
		{"unknown resolution", func(_ *jira.Options, c *driver.Config) { c.Resolution = "Perfect" }, func(t *testing.T, d *driver.Desk) error {
			if err := create(t, d); err != nil {
				return err
			}
			return d.Do(t.Context(), "SEC-1", ticket.Change{To: "resolved"})
		}, []string{`"Perfect"`, "Won't Do"}, ticket.ErrRefused},
	} {
		t.Run(tc.name, func(t *testing.T) {
			each(t, func(t *testing.T, b *bench) {
				err := tc.do(t, b.Desk)
				if !errors.Is(err, tc.is) || errors.Is(err, ticket.ErrRefused) != (tc.is == ticket.ErrRefused) {
					t.Fatalf("it is %v", err)
				}
				for _, want := range tc.want {
					if !strings.Contains(err.Error(), want) {
						t.Errorf("%q is not in: %v", want, err)
					}
				}
				if strings.Contains(err.Error(), "token\"") || strings.Contains(err.Error(), b.cfg.Token) {
					t.Errorf("the token is in: %v", err)
				}
				if strings.Contains(tc.name, "field") && b.asked("createIssue", 1) {
					t.Error("a ticket was asked for all the same")
				}
			}, tc.how)
		})
	}
}

func TestATokenThatIsTakenBackWhileWeWork(t *testing.T) {
	each(t, func(t *testing.T, b *bench) {
		if _, err := b.Create(t.Context(), draft("f-1")); err != nil {
			t.Fatal(err)
		}
		b.site.Change(func(o *jira.Options) { o.Users = o.Users[1:] })
		for _, err := range []error{
			b.Do(t.Context(), "SEC-1", ticket.Change{To: "resolved"}),
			b.Do(t.Context(), "SEC-1", ticket.Change{Body: text("x")}),
		} {
			if !errors.Is(err, ticket.ErrRefused) || errors.Is(err, ticket.ErrGone) {
				t.Errorf("it is %v", err)
			}
		}
	})
}

func TestFieldsAreFilledInAsTheyAreWanted(t *testing.T) {
	each(t, func(t *testing.T, b *bench) {
		if _, err := b.Create(t.Context(), draft("f-1")); err != nil {
			t.Fatal(err)
		}
		got := b.site.Tickets()[0].Fields
		if s := flat(t, got["customfield_10042"]); s != `{"value":"production"}` {
			t.Errorf("option: %s", s)
		}
		if s := flat(t, got["customfield_10043"]); !strings.Contains(s, "AU") || (b.cfg.Flavour == jira.Cloud) != strings.Contains(s, `"doc"`) {
			t.Errorf("text area: %s", s)
		}
		if errs := b.Check(t.Context()); len(errs) > 0 {
			t.Errorf("Check: %v", errs)
		}
	}, func(_ *jira.Options, c *driver.Config) {
		c.Fields = map[string]any{"environment CLASS": "production", "customfield_10043": "AU-12"}
	})
}

func TestAnOldDataCenterIsAskedAsItWantsToBe(t *testing.T) {
	b := open(t, jira.DataCenter, func(o *jira.Options, _ *driver.Config) { o.OldCreatemeta = true })
	if _, err := b.Create(t.Context(), draft("f-1")); err != nil {
		t.Fatal(err)
	}
	d := b.desk(t, func(c *driver.Config) { c.Project = "NOPE" })
	if _, err := d.Create(t.Context(), draft("f-1")); !errors.Is(err, ticket.ErrRefused) || !strings.Contains(err.Error(), "NOPE") {
		t.Errorf("missing project: %v", err)
	}
}

func TestCheckNamesWhatIsInTheWay(t *testing.T) {
	each(t, func(t *testing.T, b *bench) {
		errs := b.Check(t.Context())
		if len(errs) != 2 || !strings.Contains(errs[0].Error(), `"P9"`) || !strings.Contains(errs[1].Error(), `"Accepted risk"`) {
			t.Errorf("%q", errs)
		}
		if len(b.site.Tickets()) != 0 {
			t.Error("a check made a ticket")
		}
	}, func(_ *jira.Options, c *driver.Config) {
		c.Priority = map[string]string{"low": "P9"}
		c.IssueType = map[ticket.Kind]string{ticket.Failure: "Bug", ticket.Exception: "Accepted risk"}
	})
}

// attacks: the corpus of the report's test, what wiki markup and the document format
// could be tempted by, and what no line can hold.
func attacks(t *testing.T) []string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("..", "..", "browser", "testdata", "xss.txt"))
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSpace(string(b)), "\n")
	if len(lines) < 30 {
		t.Fatalf("the corpus has %d lines", len(lines))
	}
	own, err := os.ReadFile(filepath.Join("testdata", "markup.txt"))
	if err != nil {
		t.Fatal(err)
	}
	lines = append(lines, strings.Split(strings.TrimSpace(string(own)), "\n")...)
	return append(lines, "a\u2028b\u2029c", "\x00\x1b[2J\x07", "\xff\xfe{html}", "\u202e}lmth{\u202c", "x\r\nh1. shout\n* bullet\n{code}\n", strings.Repeat("[a|http://evil.example]", 3000), `\`, `x\`)
}

func TestNoTextIsMoreThanText(t *testing.T) {
	each(t, func(t *testing.T, b *bench) {
		for i, attack := range attacks(t) {
			mark := fmt.Sprintf("a-%d", i)
			doc := ticket.Doc{
				{Kind: "heading", Text: attack}, {Kind: "text", Text: attack}, {Kind: "list", Rows: [][]string{{attack, attack}}},
				{Kind: "table", Rows: [][]string{{attack}, {attack}}}, {Kind: "code", Text: attack}, {Kind: "link", Text: attack, URL: "https://ok.example/a"},
				{Kind: "link", Text: "t", URL: attack}, {Kind: attack, Text: attack},
			}
			d := draft(mark)
			d.Summary, d.Labels, d.Body = attack, []string{attack}, doc
			made, err := b.Create(t.Context(), d)
			if err != nil {
				t.Errorf("%.80q: %v", attack, err)
				continue
			}
			for _, c := range []ticket.Change{{Mark: "c", Comment: append(doc[4:6:6], doc[1])}, {Mark: "e", Name: attack, Attach: []byte(`{}`)}} {
				if err := b.Do(t.Context(), made.Key, c); err != nil {
					t.Errorf("%.80q: %v", attack, err)
				}
			}
		}
		// What reached the server.
		n := 0
		for _, got := range b.site.Tickets() {
			for _, body := range append([]any{got.Body}, got.Comments...) {
				n++
				if err := isInert(body); err != nil {
					t.Errorf("%s: %v", got.Key, err)
				}
			}
			for _, line := range append(slices.Clone(got.Labels), got.Fields["summary"].(string)) {
				if strings.ContainsFunc(line, func(r rune) bool {
					return r < ' ' || r == 0x7f || r >= 0x202a && r <= 0x202e || r == 0x2028 || r == 0x2029
				}) {
					t.Errorf("%s: %q", got.Key, line)
				}
			}
			for _, name := range got.Files {
				if !regexp.MustCompile(`^[A-Za-z0-9._-]*\.e\.json$`).MatchString(name) {
					t.Errorf("%s: file %q", got.Key, name)
				}
			}
			resp, err := http.Get(b.url + "/browse/" + got.Key)
			if err != nil {
				t.Fatal(err)
			}
			var page bytes.Buffer
			_, err = page.ReadFrom(resp.Body)
			resp.Body.Close()
			if err != nil || resp.StatusCode != 200 {
				t.Fatalf("browse %s: %d, %v", got.Key, resp.StatusCode, err)
			}
			if bad := regexp.MustCompile(`(?i)<(script|img|svg|iframe|input|video|form|object|base|meta http|link|math)|javascript:[^<]*"|<[^>]* on[a-z]+=`).FindString(page.String()); bad != "" {
				t.Errorf("browse %s: %s", got.Key, bad)
			}
		}
		if n < 2*50 {
			t.Errorf("only %d bodies looked at", n)
		}
	})
}

// isInert: a document has no marks but links to https://ok.example, and no node that
// acts; wiki markup has, outside of what we write ourselves, no character that it
// could be made of.
func isInert(body any) error {
	if text, isText := body.(string); isText {
		return wikiInert(text)
	}
	n, _ := body.(map[string]any)
	kind, _ := n["type"].(string)
	if !slices.Contains([]string{"doc", "paragraph", "heading", "text", "bulletList", "listItem", "table", "tableRow", "tableCell", "tableHeader", "codeBlock", "hardBreak"}, kind) {
		return fmt.Errorf("a node of the type %q", kind)
	}
	if text, ok := n["text"].(string); ok && strings.ContainsFunc(text, func(r rune) bool {
		return r < ' ' && r != '\n' || r == 0x7f || r >= 0x202a && r <= 0x202e || r >= 0x2066 && r <= 0x2069
	}) {
		return fmt.Errorf("text %q", text)
	}
	marks, _ := n["marks"].([]any)
	for _, m := range marks {
		mark := m.(map[string]any)
		attrs, _ := mark["attrs"].(map[string]any)
		href, _ := attrs["href"].(string)
		if mark["type"] != "link" || !strings.HasPrefix(href, "https://ok.example/") && !strings.HasPrefix(href, "http") {
			return fmt.Errorf("mark %v", mark)
		}
	}
	content, _ := n["content"].([]any)
	for _, c := range content {
		if err := isInert(c); err != nil {
			return err
		}
	}
	return nil
}

var (
	ours     = regexp.MustCompile(`^(h3\. |\* |\|\|?)`)
	wikiLink = regexp.MustCompile(`^\[([^\[\]|{}!*_~^\\]*\|https://ok\.example/a|(t|Report)\|https?://[^\[\]|{}\\^~!*_"'<> ]*)\]$`)
	entity   = regexp.MustCompile(`&#[0-9]+;`)
	active   = regexp.MustCompile("[\\[\\]{}!*_\\-+^~?|#@&<>\"'`():;\\\\]")
)

func wikiInert(text string) error {
	const fence = "{noformat}"
	in := false
	for line := range strings.SplitSeq(text, "\n") {
		switch {
		case line == fence:
			in = !in
			continue
		case in:
			if strings.Contains(strings.ToLower(line), fence) {
				return fmt.Errorf("a macro is ended by text: %q", line)
			}
			if regexp.MustCompile(`\{[^ ]`).MatchString(line) {
				return fmt.Errorf("a macro could begin: %q", line)
			}
			continue
		case wikiLink.MatchString(line):
			continue
		}
		rest := ours.ReplaceAllString(line, "")
		if strings.HasPrefix(line, "|") {
			rest = strings.ReplaceAll(rest, "|", " ")
		}
		rest = entity.ReplaceAllString(rest, "·")
		if c := active.FindString(rest); c != "" {
			return fmt.Errorf("%q is in the line %.200q", c, line)
		}
		if regexp.MustCompile(`(?i)^\s*(h[1-6]|bq)\.`).MatchString(rest) || regexp.MustCompile(`(?i)www\.`).MatchString(rest) {
			return fmt.Errorf("line %.200q", line)
		}
	}
	if in {
		return errors.New("a macro is not ended")
	}
	return nil
}

func TestTheCheckOfInertnessNotices(t *testing.T) {
	for _, s := range []string{
		"{html}x", "[a|http://evil.example]", "!pic!", "[~admin]", "@x", "a *b*", "||x", "x\nh1. y", "{noformat}\n{noformat}{html}\n{noformat}", "{noformat}\nx", `\`,
		"http://evil.example", "www.evil.example", "&amp;", "{noformat}\n{code}\n{noformat}",
	} {
		if s == "||x" {
			continue // an edge of a table is ours
		}
		if isInert(s) == nil {
			t.Errorf("%q passes", s)
		}
	}
	for _, s := range []string{
		`{"type":"doc","content":[{"type":"mention"}]}`, `{"type":"doc","content":[{"type":"text","text":"a","marks":[{"type":"link","attrs":{"href":"javascript:x"}}]}]}`,
		`{"type":"doc","content":[{"type":"text","text":"a","marks":[{"type":"strong"}]}]}`, `{"type":"text","text":"\u202e"}`,
	} {
		var v any
		if err := json.Unmarshal([]byte(s), &v); err != nil {
			t.Fatal(err)
		}
		if isInert(v) == nil {
			t.Errorf("%s passes", s)
		}
	}
}

func TestWhatIsTooLongIsCutWithANote(t *testing.T) {
	each(t, func(t *testing.T, b *bench) {
		long := strings.Repeat("𝒳\"<&{", 20_000)
		for i, doc := range []ticket.Doc{
			text(long), {{Kind: "code", Text: long}}, {{Kind: "list", Rows: slices.Repeat([][]string{{"row", long[:4000]}}, 30)}},
			slices.Repeat(text(long[:3996]), 30), {{Kind: "heading", Text: "h"}, {Kind: "table", Rows: slices.Repeat([][]string{{"a", "b", "c"}}, 4200)}},
			{{Kind: "text", Text: "first"}, {Kind: "table", Rows: [][]string{slices.Repeat([]string{long}, 500)}}},
		} {
			d := draft(fmt.Sprintf("l-%d", i))
			d.Body, d.Summary = doc, long
			made, err := b.Create(t.Context(), d)
			if err != nil {
				t.Errorf("%d: %v", i, err)
				continue
			}
			if err := b.Do(t.Context(), made.Key, ticket.Change{Mark: "c", Comment: doc}); err != nil {
				t.Errorf("%d: %v", i, err)
			}
			if err := b.Do(t.Context(), made.Key, ticket.Change{Mark: "c", Comment: doc}); err != nil {
				t.Errorf("%d: %v", i, err)
			}
		}
		for i, got := range b.site.Tickets() {
			if s := flat(t, got.Body); !strings.Contains(s, "Cut here") {
				t.Errorf("%d: no note in %.100s", i, s)
			} else if i != 5 && len(s) < 20_000 {
				t.Errorf("%d: only %d bytes are left", i, len(s))
			}
			if len(got.Comments) != 1 {
				t.Errorf("%d: %d comments", i, len(got.Comments))
			}
		}
	})
}
