package jira_test

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/auditcanary/auditcanary/shared/ticket"
	"github.com/auditcanary/auditcanary/tests/sandbox/fault"
	"github.com/auditcanary/auditcanary/tests/sandbox/jira"
)

// ask sends a request and returns the status and the body of the answer.
func ask(t *testing.T, s http.Handler, method, path, body string) (int, string) {
	t.Helper()
	req := httptest.NewRequestWithContext(t.Context(), method, path, strings.NewReader(body))
	req.Header.Set("Content-Type", "application/json")
	if strings.HasPrefix(path, "/rest/api/3") {
		req.SetBasicAuth(email, token)
	} else {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	rec := httptest.NewRecorder()
	s.ServeHTTP(rec, req)
	return rec.Code, rec.Body.String()
}

const issue = `{"fields":{"project":{"key":"SEC"},"issuetype":{"name":"Bug"},"summary":"one","labels":["a","B"]}}`

func TestJQL(t *testing.T) {
	now := time.Date(2026, 3, 2, 9, 0, 0, 0, time.UTC)
	s := site(t, jira.DataCenter, func(o *jira.Options) {
		o.Clock = func() time.Time { return now }
		o.Projects = append(o.Projects, jira.Plain("OPS"))
	})
	for _, body := range []string{issue, strings.Replace(issue, `"a","B"`, `"c"`, 1), strings.Replace(strings.Replace(issue, "SEC", "OPS", 1), `"labels":["a","B"]`, `"labels":[]`, 1)} {
		if code, said := ask(t, s, "POST", "/rest/api/2/issue", body); code != 201 {
			t.Fatal(code, said)
		}
		now = now.Add(time.Hour)
	}
	s.Move("SEC-2", "Done")
	for jql, want := range map[string]string{
		`project = SEC ORDER BY key`:                            "SEC-1 SEC-2",
		`project = "SEC" AND labels = "a" ORDER BY created ASC`: "SEC-1",
		`labels in (a, c) order by created desc`:                "SEC-2 SEC-1",
		`labels = b`:                                            "SEC-1", // without regard to case
		`labels != a`:                                           "SEC-2", // what has none is not unequal
		`labels is empty`:                                       "OPS-1",
		`labels is not empty ORDER BY key`:                      "SEC-1 SEC-2",
		`statusCategory = Done`:                                 "SEC-2",
		`statusCategory != Done AND project in (SEC, OPS) ORDER BY key`: "OPS-1 SEC-1",
		`status = "To Do" OR key = SEC-2 ORDER BY key`:                  "OPS-1 SEC-1 SEC-2",
		`NOT (project = SEC OR project = OPS)`:                          "",
		`key in (SEC-1, OPS-1) AND NOT labels = a`:                      "OPS-1",
		`created >= "2026-03-02 10:00" ORDER BY created`:                "SEC-2 OPS-1",
		`created < -2h`: "SEC-1",
		`summary ~ "on" AND issuetype = Bug ORDER BY key desc`: "SEC-2 SEC-1 OPS-1",
		``:                              "OPS-1 SEC-2 SEC-1",
		`project = NOPE`:                "400 The value 'NOPE' does not exist for the field 'project'.",
		`colour = red`:                  "400 Error in the JQL Query: Field 'colour' does not exist or you do not have permission to view it.",
		`project = SEC AND`:             "400 Error in the JQL Query: Field '' does not exist or you do not have permission to view it.",
		`project = "SEC`:                "400 Error in the JQL Query: The quoted string 'SEC' has not been completed.",
		`project = SEC ORDER BY colour`: "400 Error in the JQL Query: Not able to sort using field 'colour'.",
		`project = SEC labels = a`:      "400 Error in the JQL Query: Expecting either 'OR' or 'AND' but got 'labels'.",
		`labels = {x}`:                  "400 Error in the JQL Query: The character '{' is a reserved JQL character. You must enclose it in a string or use an escape.",
		`created > yesterday`:           "400 Error in the JQL Query: Date value 'yesterday' for field 'created' is invalid.",
		`labels > a`:                    "400 Error in the JQL Query: The operator '>' is not supported by the 'labels' field.",
		strings.Repeat("NOT ", 60) + "labels = a":                            "400 Error in the JQL Query: The query is too deep.",
		`project = SEC AND labels = "\"" ORDER BY key`:                       "",
		`(((project = SEC) AND (labels = "a")) OR key = OPS-1) ORDER BY key`: "OPS-1 SEC-1",
	} {
		body, err := json.Marshal(map[string]any{"jql": jql, "fields": []string{"status"}})
		if err != nil {
			t.Fatal(err)
		}
		code, said := ask(t, s, "POST", "/rest/api/2/search", string(body))
		if got := outcome(t, code, said); got != want {
			t.Errorf("%s\n\tfound %q\n\twant  %q", jql, got, want)
		}
	}
}

// outcome of a search: the keys, or the status with what was said.
func outcome(t *testing.T, code int, said string) string {
	t.Helper()
	var got struct {
		Issues        []struct{ Key string }
		ErrorMessages []string
	}
	if err := json.Unmarshal([]byte(said), &got); err != nil {
		t.Fatalf("%s: %v", said, err)
	}
	if code != 200 {
		return "400 " + strings.Join(got.ErrorMessages, "; ")
	}
	var keys []string
	for _, i := range got.Issues {
		keys = append(keys, i.Key)
	}
	return strings.Join(keys, " ")
}

func FuzzJQL(f *testing.F) {
	for _, s := range []string{`project = SEC AND labels in ("a", b) ORDER BY created DESC`, `created >= -7d`, `not(not(a`, `"`, `\`, `=`, `labels is not empty`, `created > "2026-01-01"`} {
		f.Add(s)
	}
	s, err := jira.New(jira.Options{Flavour: jira.DataCenter, Clock: time.Now, Projects: []jira.Project{jira.Plain("SEC")}, Users: []jira.User{{Name: "a", Token: token}}})
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, jql string) {
		body, err := json.Marshal(map[string]any{"jql": jql})
		if err != nil {
			t.Fatal(err)
		}
		if code, said := ask(t, s, "POST", "/rest/api/2/search", string(body)); code != 200 && code != 400 {
			t.Errorf("%q: %d %s", jql, code, said)
		}
	})
}

func TestTheIndexIsBehind(t *testing.T) {
	now := time.Date(2026, 3, 2, 9, 0, 0, 0, time.UTC)
	s := site(t, jira.Cloud, func(o *jira.Options) {
		o.Clock = func() time.Time { return now }
		o.IndexLag = time.Minute
	})
	search := func(jql string) string {
		code, said := ask(t, s, "POST", "/rest/api/3/search/jql", `{"jql":"`+jql+`","fields":["status"]}`)
		return outcome(t, code, said)
	}
	ask(t, s, "POST", "/rest/api/3/issue", issue)
	if got := search("project = SEC"); got != "" {
		t.Errorf("at once: %q", got)
	}
	now = now.Add(time.Minute)
	s.Move("SEC-1", "Done")
	if got := search("statusCategory = Done"); got != "" {
		t.Errorf("moved, at once: %q", got)
	}
	if got := search("statusCategory != Done"); got != "SEC-1" {
		t.Errorf("as it was: %q", got)
	}
	now = now.Add(time.Minute)
	if got := search("statusCategory = Done"); got != "SEC-1" {
		t.Errorf("moved: %q", got)
	}
	s.Delete("SEC-1")
	if got := search("project = SEC"); got != "SEC-1" {
		t.Errorf("deleted, at once: %q", got)
	}
	now = now.Add(time.Minute)
	if got := search("project = SEC"); got != "" {
		t.Errorf("deleted: %q", got)
	}
}

func TestWhatJiraDoesNotTake(t *testing.T) {
	doc := func(content string) string {
		return strings.Replace(issue, `"summary"`, `"description":{"type":"doc","version":1,"content":[`+content+`]},"summary"`, 1)
	}
	s := site(t, jira.Cloud)
	for _, tc := range []struct {
		method, path, body string
		code               int
		said               string
	}{
		{"POST", "/rest/api/3/issue", doc(`{"type":"paragraph","content":[{"type":"text","text":"ok"}]}`), 201, "SEC-1"},
		{"POST", "/rest/api/3/issue", doc(`{"type":"paragraph","content":[{"type":"text","text":""}]}`), 400, "Atlassian Document"},
		{"POST", "/rest/api/3/issue", doc(`{"type":"paragraph","content":[{"type":"text","text":"x","marks":[{"type":"blink"}]}]}`), 400, "Atlassian Document"},
		{"POST", "/rest/api/3/issue", doc(`{"type":"text","text":"x"}`), 400, "Atlassian Document"},
		{"POST", "/rest/api/3/issue", doc(`{"type":"bulletList","content":[]}`), 400, "Atlassian Document"},
		{"POST", "/rest/api/3/issue", doc(`{"type":"paragraph","content":[{"type":"text","text":"` + strings.Repeat("x", 32767) + `"}]}`), 400, "32,767"},
		{"POST", "/rest/api/3/issue", strings.Replace(issue, `"one"`, `"one","description":"text"`, 1), 400, "Atlassian Document"},
		{"POST", "/rest/api/2/issue", strings.Replace(issue, `"one"`, `"one","description":"text"`, 1), 401, "authenticated"},
		{"POST", "/rest/api/3/issue", strings.Replace(issue, `"one"`, `"a\nb"`, 1), 400, "newline"},
		{"POST", "/rest/api/3/issue", strings.Replace(issue, `"one"`, `" "`, 1), 400, "must specify a summary"},
		{"POST", "/rest/api/3/issue", strings.Replace(issue, `"one"`, `"`+strings.Repeat("x", 256)+`"`, 1), 400, "255"},
		{"POST", "/rest/api/3/issue", strings.Replace(issue, `"a"`, `"a b"`, 1), 400, "contains spaces"},
		{"POST", "/rest/api/3/issue", strings.Replace(issue, `"one"`, `"one","colour":"red"`, 1), 400, "'colour' cannot be set"},
		{"POST", "/rest/api/3/issue", strings.Replace(issue, `"one"`, `"one","priority":{"name":"P1"}`, 1), 400, "priority"},
		{"POST", "/rest/api/3/issue", strings.Replace(issue, `"SEC"`, `"NOPE"`, 1), 400, "valid project"},
		{"POST", "/rest/api/3/issue", `{`, 400, "Invalid request payload"},
		{"GET", "/rest/api/3/search?jql=project=SEC", "", 410, "removed"},
		{"POST", "/rest/api/3/search", `{"jql":"project=SEC"}`, 410, "removed"},
		{"POST", "/rest/api/3/search/jql", `{"jql":"project=SEC"}`, 200, `"issues":[{"id":"10001"}]`},
		{"POST", "/rest/api/3/search/jql", `{"jql":"order by created"}`, 400, "Unbounded"},
		{"POST", "/rest/api/3/search/jql", `{"jql":"project=SEC","nextPageToken":"x"}`, 400, "page token"},
		{"POST", "/rest/api/3/issue/SEC-1/comment", `{"body":{"type":"doc","version":1,"content":[]}}`, 400, "can not be empty"},
		{"POST", "/rest/api/3/issue/SEC-1/transitions", `{"transition":{"id":"31"}}`, 400, "Resolution is required"},
		{"POST", "/rest/api/3/issue/SEC-1/transitions", `{"transition":{"id":"11"}}`, 400, "not valid for the current state"},
		{"POST", "/rest/api/3/issue/SEC-1/attachments", ``, 403, "XSRF"},
		{"POST", "/rest/api/3/comment/list", `{"ids":[]}`, 400, "between 1 and 1000"},
		{"GET", "/rest/api/3/issue/SEC-9", ``, 404, "does not exist"},
		{"GET", "/rest/api/4/issue/SEC-1", ``, 404, "null for uri"},
	} {
		code, said := ask(t, s, tc.method, tc.path, tc.body)
		if code != tc.code || !strings.Contains(said, tc.said) {
			t.Errorf("%s %s %.200s\n\t%d %.300s\n\twant %d %s", tc.method, tc.path, tc.body, code, said, tc.code, tc.said)
		}
	}
	dc := site(t, jira.DataCenter)
	for _, path := range []string{"/rest/api/2/search/jql?jql=project=SEC", "/rest/api/2/issue/createmeta"} {
		if code, said := ask(t, dc, "GET", path, ""); code != 404 {
			t.Errorf("%s: %d %s", path, code, said)
		}
	}
}

func TestFaultsStrikeBeforeAndAfter(t *testing.T) {
	set, err := fault.Parse("f", []byte(`faults:
  - {name: refused, at: ticket, match: 'it.operation == "createIssue" && it.nth == 1', do: {error: {code: E, message: no, status: 503}}}
  - {name: lost, at: ticket, match: 'it.operation == "createIssue" && it.nth == 2', do: {error: {code: E, message: no, status: 500, when: after}}}
  - {name: dropped, at: ticket, match: 'it.operation == "createIssue" && it.nth == 3', do: {drop: true}}
  - {name: hangs, at: ticket, match: 'it.operation == "createIssue" && it.nth == 4', do: {hang: {for: 1ms, when: after}}}
  - {name: busy, at: ticket, match: 'it.key == "SEC-1"', do: {error: {code: Busy, message: later, status: 429}}}
`))
	if err != nil {
		t.Fatal(err)
	}
	s := site(t, jira.DataCenter, func(o *jira.Options) { o.Faults = set })
	srv := httptest.NewServer(s)
	defer srv.Close()
	for i, want := range []struct{ code, tickets int }{{503, 0}, {500, 1}, {0, 1}, {0, 2}, {201, 3}} {
		req, err := http.NewRequestWithContext(t.Context(), "POST", srv.URL+"/rest/api/2/issue", strings.NewReader(issue))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Content-Type", "application/json")
		req.Header.Set("Authorization", "Bearer "+token)
		code := 0
		if resp, err := http.DefaultClient.Do(req); err == nil {
			code = resp.StatusCode
			resp.Body.Close()
		}
		if n := len(s.Tickets()); code != want.code || n != want.tickets {
			t.Errorf("%d: %d with %d tickets, want %+v", i+1, code, n, want)
		}
	}
	req := httptest.NewRequestWithContext(t.Context(), "GET", "/rest/api/2/issue/SEC-1", nil)
	req.Header.Set("Authorization", "Bearer "+token)
	rec := httptest.NewRecorder()
	s.ServeHTTP(rec, req)
	if rec.Code != 429 || rec.Header().Get("Retry-After") != "1" {
		t.Errorf("busy: %d %v", rec.Code, rec.Header())
	}
	for _, st := range set.Status() {
		if st.Fired != 1 {
			t.Errorf("%s struck %d times", st.Name, st.Fired)
		}
	}
}

func TestAPersonMayLookAtTickets(t *testing.T) {
	s := site(t, jira.Cloud)
	body := strings.Replace(issue, `"summary":"one"`, `"summary":"<script>one</script>","description":{"type":"doc","version":1,"content":[
		{"type":"heading","attrs":{"level":3},"content":[{"type":"text","text":"What"}]},
		{"type":"table","content":[{"type":"tableRow","content":[{"type":"tableCell","content":[{"type":"paragraph","content":[{"type":"text","text":"<b>cell"}]}]}]}]},
		{"type":"paragraph","content":[{"type":"text","text":"bad","marks":[{"type":"link","attrs":{"href":"javascript:alert(1)"}}]},{"type":"text","text":"good","marks":[{"type":"link","attrs":{"href":"https://h/?a&b"}}]}]}]}`, 1)
	if code, said := ask(t, s, "POST", "/rest/api/3/issue", body); code != 201 {
		t.Fatal(code, said)
	}
	for path, want := range map[string][]string{
		"/":             {`<a href="browse/SEC-1">SEC-1</a>`, "&lt;script&gt;one", "To Do"},
		"/browse/SEC-1": {"&lt;script&gt;one", "<h3>What</h3>", "<td><p>&lt;b&gt;cell</p></td>", `href="https://h/?a&amp;b">good</a>`, "<p>bad<a", "Audit Canary", `href="../"`},
	} {
		rec := httptest.NewRecorder()
		s.ServeHTTP(rec, httptest.NewRequestWithContext(t.Context(), "GET", path, nil))
		page, err := io.ReadAll(rec.Result().Body)
		if err != nil || rec.Code != 200 {
			t.Fatal(path, rec.Code, err)
		}
		for _, w := range want {
			if !strings.Contains(string(page), w) {
				t.Errorf("%s: %q is not in\n%s", path, w, page)
			}
		}
		if strings.Contains(string(page), "<script") || strings.Contains(string(page), "javascript:") {
			t.Errorf("%s: %s", path, page)
		}
	}
	if reqs := s.Requests(); !slices.ContainsFunc(reqs, func(r jira.Request) bool {
		return r.Operation == "createIssue" && strings.Contains(string(r.Body), "cell") && r.Status == 201
	}) {
		t.Errorf("the request is not among %+v", reqs)
	}
}

func TestASiteMayStandUnderAPath(t *testing.T) {
	s := site(t, jira.Cloud, func(o *jira.Options) { o.URL = "http://127.0.0.1:1/jira/" })
	if code, said := ask(t, s, "POST", "/rest/api/3/issue", issue); code != 201 || !strings.Contains(said, `"http://127.0.0.1:1/jira/rest/api/3/issue/10001"`) {
		t.Error(code, said)
	}
	srv := httptest.NewServer(http.StripPrefix("/jira", s))
	defer srv.Close()
	d := desk(t, srv.URL+"/jira")
	made, err := d.Create(t.Context(), ticket.Draft{Mark: "m", Summary: "s"})
	if err != nil || made.URL != srv.URL+"/jira/browse/SEC-2" {
		t.Errorf("%+v, %v", made, err)
	}
}
