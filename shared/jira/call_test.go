package jira

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
	"unicode"

	"github.com/auditcanary/auditcanary/shared/ticket"
)

const secret = "s3cr3t-t0ken"

// at is a desk at a server of the test's own, whose waiting takes no time.
func at(t *testing.T, flavour string, h http.HandlerFunc) (*Desk, *[]time.Duration) {
	t.Helper()
	srv := httptest.NewServer(h)
	t.Cleanup(srv.Close)
	var slept []time.Duration
	cfg := Config{URL: srv.URL, Flavour: flavour, Token: secret, Project: "SEC", Now: func() time.Time { return time.Date(2026, 3, 2, 9, 0, 0, 0, time.UTC) },
		Sleep: func(ctx context.Context, d time.Duration) error { slept = append(slept, d); return ctx.Err() }}
	if flavour == Cloud {
		cfg.User = "a@example.com"
	}
	d, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return d, &slept
}

func TestItWaitsAsItIsAsked(t *testing.T) {
	for _, tc := range []struct {
		name   string
		status int
		header map[string]string
		method string
		want   time.Duration // -1: it is not asked again
	}{
		{"429 seconds", 429, map[string]string{"Retry-After": "7"}, "create", 7 * time.Second},
		{"429 a date, by the server's clock", 429, map[string]string{"Retry-After": "Mon, 02 Mar 2026 12:00:30 GMT", "Date": "Mon, 02 Mar 2026 12:00:00 GMT"}, "create", 30 * time.Second},
		{"429 a date that is past", 429, map[string]string{"Retry-After": "Mon, 02 Mar 2026 11:00:00 GMT", "Date": "Mon, 02 Mar 2026 12:00:00 GMT"}, "create", 0},
		{"429 without", 429, nil, "create", time.Second},
		{"429 nonsense", 429, map[string]string{"Retry-After": "-5"}, "create", time.Second},
		{"503 with, a read", 503, map[string]string{"Retry-After": "3"}, "find", 3 * time.Second},
		{"503 without, a read", 503, nil, "find", time.Second},
		{"500, a read", 500, nil, "find", time.Second},
		{"503 with, a write", 503, map[string]string{"Retry-After": "3"}, "write", 3 * time.Second},
		{"503 without, a write", 503, nil, "write", -1},
		{"500, a write", 500, nil, "write", -1},
		{"503 with, a comment", 503, map[string]string{"Retry-After": "3"}, "comment", 3 * time.Second},
		{"500, a comment", 500, nil, "comment", -1},
		{"503 with, a making", 503, map[string]string{"Retry-After": "3"}, "create", -1},
		{"500, a making", 500, nil, "create", -1},
		{"429, longer than there is time", 429, map[string]string{"Retry-After": "3600"}, "create", -1},
		{"409, a read", 409, nil, "find", -1},
	} {
		t.Run(tc.name, func(t *testing.T) {
			hits := 0
			d, slept := at(t, DataCenter, func(w http.ResponseWriter, r *http.Request) {
				is := map[string]bool{
					"create": r.Method == "POST" && strings.HasSuffix(r.URL.Path, "/issue"), "find": strings.HasSuffix(r.URL.Path, "/search"),
					"write": r.Method == "PUT", "comment": r.Method == "POST" && strings.HasSuffix(r.URL.Path, "/comment"),
				}
				if !is[tc.method] {
					io.WriteString(w, usual(r.URL.Path))
					return
				}
				if hits++; hits == 1 {
					for k, v := range tc.header {
						w.Header().Set(k, v)
					}
					w.WriteHeader(tc.status)
					return
				}
				io.WriteString(w, `{"key":"SEC-1","issues":[]}`)
			})
			var err error
			switch tc.method {
			case "create":
				_, err = d.Create(t.Context(), ticket.Draft{Mark: "m", Summary: "s"})
			case "find":
				_, err = d.Find(t.Context(), ticket.Query{Mark: "m"})
			case "write":
				err = d.Do(t.Context(), "SEC-1", ticket.Change{Summary: "s"})
			case "comment":
				err = d.Do(t.Context(), "SEC-1", ticket.Change{Mark: "m", Comment: ticket.Doc{{Kind: "text", Text: "x"}}})
			}
			if tc.want < 0 {
				if err == nil || errors.Is(err, ticket.ErrRefused) || hits != 1 {
					t.Errorf("asked %d times, %v", hits, err)
				}
				return
			}
			if err != nil || hits != 2 || len(*slept) != 1 || (*slept)[0] != tc.want {
				t.Errorf("asked %d times, slept %v, %v", hits, *slept, err)
			}
		})
	}
}

// usual is what is answered to what is not looked at.
func usual(path string) string {
	if strings.Contains(path, "createmeta") {
		return `{"values":[{"id":"1","name":"Task","fieldId":"summary"},{"fieldId":"description"},{"fieldId":"labels"}],"total":3}`
	}
	return `{"comments":[],"key":"SEC-1","fields":{"status":{"name":"To Do","statusCategory":{"key":"new"}},"created":"2026-03-02T09:00:00.000+0000"}}`
}

// No error says the token, wherever a server puts it; and it goes nowhere else.
func TestTheTokenStaysWhereItBelongs(t *testing.T) {
	var elsewhere []string
	other := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		elsewhere = append(elsewhere, r.Header.Get("Authorization"))
	}))
	defer other.Close()
	basic := base64.StdEncoding.EncodeToString([]byte("a@example.com:" + secret))
	for name, h := range map[string]http.HandlerFunc{
		"in the body": func(w http.ResponseWriter, _ *http.Request) {
			http.Error(w, `{"errorMessages":["`+secret+` `+basic+`"]}`, http.StatusBadRequest)
		},
		"in a field": func(w http.ResponseWriter, _ *http.Request) {
			http.Error(w, `{"errors":{"`+secret+`":"`+basic+`"}}`, http.StatusForbidden)
		},
		"in no JSON": func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "<html>"+secret) },
		"in the type": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", secret)
			io.WriteString(w, "x")
		},
		"redirect": func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, other.URL+"/"+secret, http.StatusTemporaryRedirect)
		},
		"redirect 302": func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, other.URL+"/login?t="+secret, http.StatusFound)
		},
		"closed": func(w http.ResponseWriter, _ *http.Request) { panic(http.ErrAbortHandler) },
		"key": func(w http.ResponseWriter, _ *http.Request) {
			io.WriteString(w, `{"key":"`+secret+`","issues":[{"key":"`+secret+`","fields":{"labels":["auditcanary-m"]}}]}`)
		},
		"status": func(w http.ResponseWriter, _ *http.Request) {
			io.WriteString(w, `{"key":"SEC-1","fields":{"status":{"name":"`+secret+`"}}}`)
		},
	} {
		for _, flavour := range []string{Cloud, DataCenter} {
			d, _ := at(t, flavour, h)
			_, create := d.Create(t.Context(), ticket.Draft{Mark: "m"})
			_, find := d.Find(t.Context(), ticket.Query{Mark: "m"})
			_, get := d.Find(t.Context(), ticket.Query{Key: "SEC-1"})
			move := d.Do(t.Context(), "SEC-1", ticket.Change{To: "open"})
			attach := d.Do(t.Context(), "SEC-1", ticket.Change{Mark: "m", Name: "n", Attach: []byte("{}")})
			for i, err := range []error{create, find, get, move, attach, errors.Join(d.Check(t.Context())...)} {
				if err == nil {
					if name != "key" && name != "status" {
						t.Errorf("%s, %s, %d: no error", name, flavour, i)
					}
					continue
				}
				if s := fmt.Sprintf("%v %+v %q", err, err, err); strings.Contains(s, secret) || flavour == Cloud && strings.Contains(s, basic) {
					t.Errorf("%s, %s, %d: %s", name, flavour, i, s)
				}
				if strings.HasPrefix(name, "redirect") && (!errors.Is(err, ticket.ErrRefused) || !strings.Contains(err.Error(), "sends us to")) {
					t.Errorf("%s, %s, %d: %v", name, flavour, i, err)
				}
			}
		}
	}
	if len(elsewhere) > 0 {
		t.Errorf("another host was asked: %q", elsewhere)
	}
}

func TestWhatIsNoAnswerOfJiraIsAnError(t *testing.T) {
	for name, tc := range map[string]struct {
		h    http.HandlerFunc
		want string
	}{
		"huge": {func(w http.ResponseWriter, _ *http.Request) { io.Copy(w, io.LimitReader(zeros{}, maxReply+10)) }, "longer than 16 MiB"},
		"cut": {func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "100")
			io.WriteString(w, "{")
		}, "breaks off"},
		"a page": {func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "<html>") }, "is the URL that of the site"},
		"nobody": {func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("X-AUSERNAME", "anonymous")
			io.WriteString(w, `{"issues":[]}`)
		}, "token is not accepted"},
		"captcha": {func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("X-Seraph-LoginReason", "AUTHENTICATION_DENIED")
			w.WriteHeader(403)
		}, "CAPTCHA"},
		"no end":   {func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, `{"issues":[],"nextPageToken":"x"}`) }, "does not end"},
		"no issue": {func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, `{"issues":["x"]}`) }, "an issue that is none"},
		"no key": {func(w http.ResponseWriter, _ *http.Request) {
			io.WriteString(w, `{"issues":[{"key":"../x","fields":{"labels":["auditcanary-m"]}}]}`)
		}, "no key of an issue"},
		"no time": {func(w http.ResponseWriter, _ *http.Request) {
			io.WriteString(w, `{"issues":[{"key":"SEC-1","fields":{"labels":["auditcanary-m"],"created":"x"}}]}`)
		}, "no time"},
		"no status": {func(w http.ResponseWriter, _ *http.Request) {
			io.WriteString(w, `{"issues":[{"key":"SEC-1","fields":{"labels":["auditcanary-m"],"created":"2026-03-02T09:00:00.000+0000"}}]}`)
		}, "no category"},
	} {
		d, _ := at(t, Cloud, tc.h)
		if _, err := d.Find(t.Context(), ticket.Query{Mark: "m"}); err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s: %v, want %q in it", name, err, tc.want)
		}
	}
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = '0'
	}
	return len(p), nil
}

func TestAnAnswerThatDoesNotComeIsNotKnown(t *testing.T) {
	stop := make(chan struct{})
	d, _ := at(t, DataCenter, func(w http.ResponseWriter, r *http.Request) {
		if r.Method == "POST" {
			io.Copy(io.Discard, r.Body)
			<-stop
			return
		}
		io.WriteString(w, usual(r.URL.Path))
	})
	defer close(stop)
	d.cfg.HTTPTimeout = 50 * time.Millisecond
	_, err := d.form(t.Context(), "warm up", "Task") // else a slow machine could tire at it
	for range 50 {
		if err == nil {
			break
		}
		_, err = d.form(t.Context(), "warm up", "Task")
	}
	if err != nil {
		t.Fatal(err)
	}
	if _, err := d.Create(t.Context(), ticket.Draft{Mark: "m"}); err == nil || errors.Is(err, ticket.ErrRefused) || !strings.Contains(err.Error(), "whether it was done is not known") {
		t.Errorf("it is %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := d.Create(ctx, ticket.Draft{Mark: "m"}); !errors.Is(err, context.Canceled) || errors.Is(err, ticket.ErrRefused) {
		t.Errorf("cancelled: %v", err)
	}
}

func TestAConfigurationIsChecked(t *testing.T) {
	good := Config{URL: "https://example.atlassian.net", Flavour: Cloud, User: "a@example.com", Token: secret, Project: "SEC"}
	if _, err := New(good); err != nil {
		t.Fatal(err)
	}
	for name, tc := range map[string]struct {
		how  func(*Config)
		want string
	}{
		"http":          {func(c *Config) { c.URL = "http://jira.example.com" }, "in the clear"},
		"user in it":    {func(c *Config) { c.URL = "https://u:" + secret + "@h" }, "the address of the site alone"},
		"no URL":        {func(c *Config) { c.URL = "https://" + secret + "\x7f" }, "no URL"},
		"no host":       {func(c *Config) { c.URL = "jira" }, "want https://host"},
		"flavour":       {func(c *Config) { c.Flavour = "server" }, `"server"`},
		"no user":       {func(c *Config) { c.User = "" }, "user is missing"},
		"a user":        {func(c *Config) { c.Flavour = DataCenter }, "needs none"},
		"no token":      {func(c *Config) { c.Token = "" }, "token is empty"},
		"line feed":     {func(c *Config) { c.Token = secret + "\n" }, "line feed"},
		"project":       {func(c *Config) { c.Project = `SEC" OR project = "X` }, "a project's key"},
		"kind":          {func(c *Config) { c.IssueType = map[ticket.Kind]string{"bug": "Bug"} }, `"bug"`},
		"severity":      {func(c *Config) { c.Priority = map[string]string{"urgent": "High"} }, `"urgent"`},
		"label":         {func(c *Config) { c.Labels = []string{"a b"} }, `"a b"`},
		"field of ours": {func(c *Config) { c.Fields = map[string]any{"Summary": "x"} }, `"Summary"`},
	} {
		c := good
		tc.how(&c)
		if _, err := New(c); err == nil || !strings.Contains(err.Error(), tc.want) || strings.Contains(err.Error(), secret) {
			t.Errorf("%s: %v, want %q in it", name, err, tc.want)
		}
	}
}

// answers is a Jira that says to everything the same.
type answers struct {
	status int
	header string
	body   []byte
}

func (a answers) RoundTrip(r *http.Request) (*http.Response, error) {
	h := http.Header{"Retry-After": {a.header}, "Date": {a.header}, "Content-Type": {"application/json"}}
	return &http.Response{StatusCode: a.status, Header: h, Body: io.NopCloser(bytes.NewReader(a.body)), Request: r}, nil
}

// FuzzReply: whatever Jira says, nothing panics, what is believed has a key, and an
// error is on one line and without the token.
func FuzzReply(f *testing.F) {
	for _, s := range []string{
		usual("createmeta"), usual("issue"), `{"issues":[{"key":"SEC-1","fields":{"labels":["auditcanary-m"],"created":"2026-03-02T09:00:00.000+0000","status":{"statusCategory":{"key":"new"}}}}],"total":1}`,
		`{"errorMessages":["x\n` + secret + `"],"errors":{"a":"b"}}`, `null`, `[]`, `{"comments":[{"id":"7","body":"x"}],"total":1,"values":[{"properties":[{"key":"auditcanary","value":{"mark":"m"}}]}]}`,
		`{"transitions":[{"id":"1","name":"n","to":{"statusCategory":{"key":"done"}},"fields":{"resolution":{"required":true}}}]}`, `{"projects":[{"issuetypes":[{"name":"Task","fields":{"a":{"required":true}}}]}]}`, "\xff",
	} {
		for _, status := range []int{200, 204, 302, 400, 404, 429, 503} {
			f.Add(uint16(status), "1", []byte(s))
		}
	}
	f.Fuzz(func(t *testing.T, status uint16, header string, body []byte) {
		for _, flavour := range []string{Cloud, DataCenter} {
			cfg := Config{URL: "https://jira.example", Flavour: flavour, Token: secret, Project: "SEC", Transport: answers{int(status), header, body},
				Sleep: func(context.Context, time.Duration) error { return nil }}
			if flavour == Cloud {
				cfg.User = "a@example.com"
			}
			d, err := New(cfg)
			if err != nil {
				t.Fatal(err)
			}
			made, err := d.Create(t.Context(), ticket.Draft{Mark: "m"})
			if err == nil && !issueKey().MatchString(made.Key) {
				t.Errorf("made %+v", made)
			}
			found, find := d.Find(t.Context(), ticket.Query{Mark: "m"})
			one, get := d.Find(t.Context(), ticket.Query{Key: "SEC-1"})
			for _, i := range append(found, one...) {
				if !issueKey().MatchString(i.Key) || i.Created.IsZero() || strings.ContainsFunc(i.Status, unicode.IsControl) {
					t.Errorf("found %+v", i)
				}
			}
			for _, err := range []error{err, find, get,
				d.Do(t.Context(), "SEC-1", ticket.Change{Mark: "m", Comment: ticket.Doc{{Text: "x"}}}), d.Do(t.Context(), "SEC-1", ticket.Change{Mark: "m", Attach: []byte("{}")}),
				d.Do(t.Context(), "SEC-1", ticket.Change{To: "resolved"}), d.Do(t.Context(), "SEC-1", ticket.Change{Summary: "x"}), errors.Join(d.Check(t.Context())...),
			} {
				if err != nil && (strings.Contains(err.Error(), secret) || strings.ContainsFunc(strings.ReplaceAll(err.Error(), "\n", ""), unicode.IsControl)) {
					t.Errorf("%q", err)
				}
			}
		}
	})
}

// A 404 to a change is no deleted ticket while the ticket is there.
func TestATicketIsGoneOnlyIfItIsNotShown(t *testing.T) {
	for _, tc := range []struct {
		name          string
		there         bool // the ticket
		project       bool
		gone, refused bool
		want          string
	}{
		{"there", true, true, false, true, "SEC-1 itself is there"},
		{"deleted", false, true, true, false, "404"},
		{"the project is not seen", false, false, false, true, "project SEC does not exist"},
	} {
		for what, c := range map[string]ticket.Change{
			"attachments": {Mark: "m", Name: "n", Attach: []byte("{}")},
			"comment":     {Mark: "m", Comment: ticket.Doc{{Kind: "text", Text: "x"}}},
			"transitions": {To: "resolved"},
			"SEC-1":       {Summary: "s"},
		} {
			d, _ := at(t, DataCenter, func(w http.ResponseWriter, r *http.Request) {
				last := r.URL.Path[strings.LastIndexByte(r.URL.Path, '/')+1:]
				switch {
				case last == what && (r.Method != "GET" || what == "transitions"),
					last == "SEC-1" && !tc.there, last == "SEC" && !tc.project:
					w.WriteHeader(http.StatusNotFound)
				default:
					io.WriteString(w, usual(r.URL.Path))
				}
			})
			err := d.Do(t.Context(), "SEC-1", c)
			if errors.Is(err, ticket.ErrGone) != tc.gone || errors.Is(err, ticket.ErrRefused) != tc.refused || err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("%s, %s: gone %t, refused %t: %v", tc.name, what, errors.Is(err, ticket.ErrGone), errors.Is(err, ticket.ErrRefused), err)
			}
		}
	}
}
