package jira_test

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	v2 "github.com/ctreminiom/go-atlassian/v2/jira/v2"
	v3 "github.com/ctreminiom/go-atlassian/v2/jira/v3"
	"github.com/ctreminiom/go-atlassian/v2/pkg/infra/models"
	"github.com/getkin/kin-openapi/openapi3"
	"github.com/getkin/kin-openapi/openapi3filter"
	"github.com/getkin/kin-openapi/routers/legacy"

	driver "github.com/auditcanary/auditcanary/shared/jira"
	"github.com/auditcanary/auditcanary/shared/ticket"
	"github.com/auditcanary/auditcanary/tests/nodemodules"
	"github.com/auditcanary/auditcanary/tests/sandbox/jira"
)

const (
	email = "canary@example.com"
	token = "sandbox-token"
)

func site(t *testing.T, flavour string, how ...func(*jira.Options)) *jira.Server {
	t.Helper()
	now := time.Date(2026, 3, 2, 9, 0, 0, 0, time.UTC)
	opts := jira.Options{
		Flavour: flavour, Clock: func() time.Time { return now }, Projects: []jira.Project{jira.Plain("SEC")},
		Users: []jira.User{{AccountID: "5b10ac8d82e05b22cc7d4ef5", Name: "canary", Email: email, Display: "Audit Canary", Token: token}},
	}
	for _, h := range how {
		h(&opts)
	}
	s, err := jira.New(opts)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestAnIndependentClientFindsAJira(t *testing.T) {
	dir := nodemodules.Install(t, "the site is not held against jira.js")
	srv := httptest.NewServer(site(t, jira.Cloud))
	defer srv.Close()
	script, err := os.ReadFile(filepath.Join("testdata", "npm", "client.mjs"))
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), "node", "--input-type=module", "-", srv.URL, email, token)
	cmd.Dir, cmd.Stdin = dir, bytes.NewReader(script)
	if out, err := cmd.CombinedOutput(); err != nil || !strings.Contains(string(out), "all as it should be") {
		t.Errorf("%v\n%s", err, out)
	}
}

// judge stands before a site and holds every request and reply against Atlassian's
// description of its API.
type judge struct {
	t       *testing.T
	doc     *openapi3.T
	site    http.Handler
	mu      sync.Mutex
	judged  map[string]int
	without []string // paths that the description does not have
	faults  []string
}

func (j *judge) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		j.t.Error(err)
	}
	r.Body = io.NopCloser(bytes.NewReader(body))
	rec := httptest.NewRecorder()
	j.site.ServeHTTP(rec, r)
	j.mu.Lock()
	defer j.mu.Unlock()
	if fault := j.look(r, body, rec); fault != "" {
		j.faults = append(j.faults, r.Method+" "+r.URL.Path+": "+fault)
	}
	for k, v := range rec.Header() {
		w.Header()[k] = v
	}
	w.WriteHeader(rec.Code)
	w.Write(rec.Body.Bytes())
}

func (j *judge) look(r *http.Request, body []byte, rec *httptest.ResponseRecorder) string {
	router, err := legacy.NewRouter(j.doc)
	if err != nil {
		return err.Error()
	}
	again := r.Clone(context.Background())
	again.URL.Scheme, again.URL.Host = "", ""
	again.Body = io.NopCloser(bytes.NewReader(body))
	route, params, err := router.FindRoute(again)
	if err != nil {
		j.without = append(j.without, r.Method+" "+r.URL.Path)
		return ""
	}
	j.judged[route.Operation.OperationID]++
	input := &openapi3filter.RequestValidationInput{Request: again, PathParams: params, Route: route, Options: &openapi3filter.Options{
		AuthenticationFunc: openapi3filter.NoopAuthenticationFunc,
		ExcludeRequestBody: strings.HasPrefix(r.Header.Get("Content-Type"), "multipart/"),
	}}
	if err := openapi3filter.ValidateRequest(r.Context(), input); err != nil {
		return "request: " + err.Error()
	}
	answered := &openapi3filter.ResponseValidationInput{RequestValidationInput: input, Status: rec.Code, Header: rec.Header(),
		Options: &openapi3filter.Options{ExcludeResponseBody: rec.Code == http.StatusNoContent || rec.Code >= 400, IncludeResponseStatus: true}}
	answered.SetBodyBytes(rec.Body.Bytes())
	if err := openapi3filter.ValidateResponse(r.Context(), answered); err != nil {
		return "reply: " + err.Error()
	}
	return ""
}

func judged(t *testing.T, site http.Handler) (*judge, string) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("testdata", "openapi", "jira-v3.json"))
	if err != nil {
		t.Fatal(err)
	}
	// Jira writes "+0000" where the format date-time wants "+00:00": the examples in
	// the description do, too.
	text = bytes.ReplaceAll(text, []byte(`"format": "date-time"`), []byte(`"pattern": "^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9:]{8}[.][0-9]{3}[+-][0-9]{4}$"`))
	doc, err := openapi3.NewLoader().LoadFromData(text)
	if err != nil {
		t.Fatal(err)
	}
	j := &judge{t: t, doc: doc, site: site, judged: map[string]int{}}
	srv := httptest.NewServer(j)
	t.Cleanup(srv.Close)
	return j, srv.URL
}

func desk(t *testing.T, url string) *driver.Desk {
	t.Helper()
	d, err := driver.New(driver.Config{
		URL: url, Flavour: driver.Cloud, User: email, Token: token, Project: "SEC", Priority: map[string]string{"high": "High"}, Components: []string{"Logging"},
		Fields: map[string]any{"Environment class": "production"},
	})
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// The driver's requests and the site's replies are as Atlassian describes them.
func TestBothSidesKeepAtlassiansContract(t *testing.T) {
	j, url := judged(t, site(t, jira.Cloud))
	d := desk(t, url)
	if errs := d.Check(t.Context()); len(errs) > 0 {
		t.Error(errs)
	}
	doc := ticket.Doc{{Kind: "heading", Text: "h"}, {Kind: "table", Rows: [][]string{{"a"}, {"b"}}}, {Kind: "code", Text: "{}"}, {Kind: "link", Text: "x", URL: "https://h/"}}
	made, err := d.Create(t.Context(), ticket.Draft{Mark: "m", Summary: "s", Severity: "high", Body: doc})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []ticket.Change{
		{Mark: "c", Comment: doc}, {Mark: "c", Comment: doc}, {Mark: "e", Name: "e.json", Attach: []byte("{}")}, {Summary: "t", Body: doc}, {To: "resolved"}, {To: "open"},
	} {
		if err := d.Do(t.Context(), made.Key, c); err != nil {
			t.Errorf("%+v: %v", c, err)
		}
	}
	if _, err := d.Find(t.Context(), ticket.Query{Mark: "m"}); err != nil {
		t.Error(err)
	}
	if _, err := d.Find(t.Context(), ticket.Query{Key: "SEC-99"}); err == nil {
		t.Error("SEC-99 is there")
	}
	for _, fault := range j.faults {
		t.Error(fault)
	}
	for _, op := range []string{"getCurrentUser", "createIssue", "getIssue", "editIssue", "addComment", "getComments", "getCommentsByIds", "addAttachment", "getTransitions", "doTransition", "getProject"} {
		if j.judged[op] == 0 {
			t.Errorf("%s was not judged: %v", op, j.judged)
		}
	}
	slices.Sort(j.without)
	for _, r := range slices.Compact(j.without) {
		if !strings.Contains(r, "/createmeta/SEC/") && r != "POST /rest/api/3/search/jql" {
			t.Errorf("not in the description: %s", r)
		}
	}
}

func TestTheJudgeNotices(t *testing.T) {
	good := site(t, jira.Cloud)
	for name, tc := range map[string]struct{ method, path, request, reply string }{
		"a request with a field that is none": {"POST", "/rest/api/3/comment/list", `{"ids":["x"]}`, ""},
		"a reply of another form":             {"GET", "/rest/api/3/issue/SEC-1", "", `{"id":1}`},
		"a reply with more than there is":     {"GET", "/rest/api/3/issue/SEC-1", "", `{"id":"1","secret":true}`},
		"a status that is not described":      {"GET", "/rest/api/3/myself", "", "418"},
	} {
		j, url := judged(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			switch tc.reply {
			case "":
				good.ServeHTTP(w, r)
			case "418":
				w.WriteHeader(http.StatusTeapot)
			default:
				w.Header().Set("Content-Type", "application/json")
				io.WriteString(w, tc.reply)
			}
		}))
		req, err := http.NewRequestWithContext(t.Context(), tc.method, url+tc.path, strings.NewReader(tc.request))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Content-Type", "application/json")
		req.SetBasicAuth(email, token)
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if len(j.faults) != 1 {
			t.Errorf("%s: %q", name, j.faults)
		}
	}
}

// A second client, of others, in both versions.
func TestASecondClientFindsAJira(t *testing.T) {
	t.Run("cloud", func(t *testing.T) {
		s := site(t, jira.Cloud)
		srv := httptest.NewServer(s)
		defer srv.Close()
		c, err := v3.New(nil, srv.URL)
		if err != nil {
			t.Fatal(err)
		}
		c.Auth.SetBasicAuth(email, token)
		body := &models.CommentNodeScheme{Version: 1, Type: "doc", Content: []*models.CommentNodeScheme{{Type: "paragraph", Content: []*models.CommentNodeScheme{{Type: "text", Text: "d"}}}}}
		made, _, err := c.Issue.Create(t.Context(), &models.IssueScheme{Fields: &models.IssueFieldsScheme{
			Project: &models.ProjectScheme{Key: "SEC"}, IssueType: &models.IssueTypeScheme{Name: "Bug"}, Summary: "s", Description: body, Labels: []string{"x"},
		}}, nil)
		if err != nil {
			t.Fatal(err)
		}
		if _, _, err := c.Issue.Comment.Add(t.Context(), made.Key, &models.CommentPayloadScheme{Body: body}, nil); err != nil {
			t.Error(err)
		}
		if _, err := c.Issue.Move(t.Context(), made.Key, "21", nil); err != nil {
			t.Error(err)
		}
		if _, _, err := c.Issue.Attachment.Add(t.Context(), made.Key, "e.json", strings.NewReader("{}")); err != nil {
			t.Error(err)
		}
		got, _, err := c.Issue.Get(t.Context(), made.Key, nil, nil)
		if err != nil || got.Fields.Status.Name != "In Progress" || got.Fields.Description.Content[0].Content[0].Text != "d" {
			t.Errorf("%+v, %v", got, err)
		}
		found, _, err := c.Issue.Search.SearchJQL(t.Context(), `labels = x`, []string{"status"}, nil, 10, "")
		if err != nil || len(found.Issues) != 1 || found.Issues[0].Fields.Status.StatusCategory.Key != "indeterminate" {
			t.Errorf("%+v, %v", found, err)
		}
	})
	t.Run("data center", func(t *testing.T) {
		s := site(t, jira.DataCenter)
		srv := httptest.NewServer(s)
		defer srv.Close()
		c, err := v2.New(nil, srv.URL)
		if err != nil {
			t.Fatal(err)
		}
		c.Auth.SetBearerToken(token)
		made, _, err := c.Issue.Create(t.Context(), &models.IssueSchemeV2{Fields: &models.IssueFieldsSchemeV2{
			Project: &models.ProjectScheme{Key: "SEC"}, IssueType: &models.IssueTypeScheme{Name: "Bug"}, Summary: "s", Description: "h1. d", Labels: []string{"x"},
		}}, nil)
		if err != nil {
			t.Fatal(err)
		}
		if _, _, err := c.Issue.Comment.Add(t.Context(), made.Key, &models.CommentPayloadSchemeV2{Body: "c"}, nil); err != nil {
			t.Error(err)
		}
		got, _, err := c.Issue.Get(t.Context(), made.Key, nil, nil)
		if err != nil || got.Fields.Description != "h1. d" || got.Fields.Comment.Comments[0].Body != "c" {
			t.Errorf("%+v, %v", got, err)
		}
		//lint:ignore SA1019 what Cloud removed is what Data Center has.
		found, _, err := c.Issue.Search.Post(t.Context(), `labels = x AND statusCategory = "To Do"`, []string{"status"}, nil, 0, 10, "")
		if err != nil || found.Total != 1 || found.Issues[0].Key != made.Key {
			t.Errorf("%+v, %v", found, err)
		}
	})
}
