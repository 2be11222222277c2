package jira

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"mime/multipart"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/auditcanary/auditcanary/tests/sandbox/fault"
)

// apiError is an answer that is none of success.
type apiError struct {
	status int
	said   []string
	fields map[string]string
	header map[string]string
}

func (e *apiError) Error() string { return strings.Join(e.said, "; ") }

func fail(status int, said ...string) error { return &apiError{status: status, said: said} }

func failFields(fields map[string]string) error { return &apiError{status: 400, fields: fields} }

// call is one request on its way.
type call struct {
	*http.Request
	v    int // 2 or 3
	user User
	body []byte
	base string // of the site's URLs
}

// reply with a status; 204 has no body.
type reply struct {
	status int
	body   any
	raw    []byte // instead of a body
}

type operation struct {
	name    string
	changes bool
	do      func(*call) (reply, error)
}

func (s *Server) routes() {
	for route, op := range map[string]operation{
		"GET /rest/api/{v}/myself":                                       {"getCurrentUser", false, s.myself},
		"GET /rest/api/{v}/serverInfo":                                   {"getServerInfo", false, s.serverInfo},
		"GET /rest/api/{v}/project/{project}":                            {"getProject", false, s.getProject},
		"GET /rest/api/{v}/issue/createmeta":                             {"getCreateIssueMeta", false, s.createmeta},
		"GET /rest/api/{v}/issue/createmeta/{project}/issuetypes":        {"getCreateIssueMetaIssueTypes", false, s.createmetaTypes},
		"GET /rest/api/{v}/issue/createmeta/{project}/issuetypes/{type}": {"getCreateIssueMetaIssueTypeId", false, s.createmetaFields},
		"POST /rest/api/{v}/issue":                                       {"createIssue", true, s.create},
		"GET /rest/api/{v}/issue/{issue}":                                {"getIssue", false, s.getIssue},
		"PUT /rest/api/{v}/issue/{issue}":                                {"editIssue", true, s.edit},
		"DELETE /rest/api/{v}/issue/{issue}":                             {"deleteIssue", true, s.deleteIssue},
		"GET /rest/api/{v}/issue/{issue}/comment":                        {"getComments", false, s.getComments},
		"POST /rest/api/{v}/issue/{issue}/comment":                       {"addComment", true, s.addComment},
		"POST /rest/api/{v}/comment/list":                                {"getCommentsByIds", false, s.commentList},
		"GET /rest/api/{v}/comment/{comment}/properties/{property}":      {"getCommentProperty", false, s.commentProperty},
		"GET /rest/api/{v}/issue/{issue}/properties":                     {"getIssuePropertyKeys", false, s.propertyKeys},
		"GET /rest/api/{v}/issue/{issue}/properties/{property}":          {"getIssueProperty", false, s.getProperty},
		"PUT /rest/api/{v}/issue/{issue}/properties/{property}":          {"setIssueProperty", true, s.setProperty},
		"DELETE /rest/api/{v}/issue/{issue}/properties/{property}":       {"deleteIssueProperty", true, s.deleteProperty},
		"GET /rest/api/{v}/issue/{issue}/transitions":                    {"getTransitions", false, s.transitions},
		"POST /rest/api/{v}/issue/{issue}/transitions":                   {"doTransition", true, s.transition},
		"POST /rest/api/{v}/issue/{issue}/attachments":                   {"addAttachment", true, s.attach},
		"GET /rest/api/{v}/attachment/{attachment}":                      {"getAttachment", false, s.getAttachment},
		"GET /rest/api/{v}/attachment/content/{attachment}":              {"getAttachmentContent", false, s.attachmentContent},
		"GET /rest/api/{v}/search":                                       {"search", false, s.search},
		"POST /rest/api/{v}/search":                                      {"search", false, s.search},
		"GET /rest/api/{v}/search/jql":                                   {"search", false, s.searchJQL},
		"POST /rest/api/{v}/search/jql":                                  {"search", false, s.searchJQL},
	} {
		mux := s.mux
		if strings.Contains(route, "/issue/createmeta") {
			mux = s.meta // else no issue could have a property that is called "issuetypes"
		}
		mux.HandleFunc(route, func(w http.ResponseWriter, r *http.Request) { s.serve(w, r, op) })
	}
	s.mux.HandleFunc("GET /browse/{issue}", s.browse)
	s.mux.HandleFunc("GET /{$}", s.index)
}

// ServeHTTP answers one request.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if strings.Contains(r.URL.Path, "/issue/createmeta") {
		s.meta.ServeHTTP(w, r)
		return
	}
	s.mux.ServeHTTP(w, r)
}

// maxBody of a request; attachments are bounded by it as well, as Data Center does (10 MB).
const maxBody = 10 << 20

func (s *Server) serve(w http.ResponseWriter, r *http.Request, op operation) {
	c := &call{Request: r, base: cmp.Or(strings.TrimRight(s.opts.URL, "/"), "http://"+r.Host)}
	if s.opts.Latency > 0 {
		time.Sleep(s.opts.Latency)
	}
	log := func(status int, fault string) {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.requests = append(s.requests, Request{op.name, r.Method, r.URL.Path, c.user.Name, c.body, status, fault})
	}
	answer := func(rep reply, err error, fault string) {
		status := rep.status
		var e *apiError
		if errors.As(err, &e) {
			status = e.status
		} else if err != nil {
			status = 500
		}
		log(status, fault)
		write(w, rep, err)
	}
	var err error
	if c.body, err = io.ReadAll(io.LimitReader(r.Body, maxBody+1)); err != nil {
		return // the client went away
	}
	if err = s.admit(c, op); err != nil {
		answer(reply{}, err, "")
		return
	}
	s.mu.Lock()
	n := len(s.requests) + 1
	nth := 0
	if op.changes {
		s.nth++
		nth = s.nth
	}
	s.mu.Unlock()
	var actions []fault.Action
	if s.opts.Faults != nil {
		actions = s.opts.Faults.Fire(fault.AtTicket, map[string]any{
			"operation": op.name, "method": r.Method, "path": r.URL.Path, "user": c.user.Name, "key": r.PathValue("issue"), "n": n, "nth": nth,
		})
	}
	if a, ok := first(actions, fault.Before); ok {
		s.wrong(w, r.Context(), a, answer, log)
		return
	}
	s.mu.Lock()
	rep, err := op.do(c)
	s.mu.Unlock()
	if a, ok := first(actions, fault.After); ok {
		s.wrong(w, r.Context(), a, answer, log)
		return
	}
	answer(rep, err, "")
}

// first action that strikes before or after the effect.
func first(actions []fault.Action, when string) (fault.Action, bool) {
	for _, a := range actions {
		switch {
		case a.Do.Error != nil && a.Do.Error.When == when,
			a.Do.Hang != nil && a.Do.Hang.When == when,
			a.Do.Drop && when == fault.Before:
			return a, true
		}
	}
	return fault.Action{}, false
}

// wrong answers as a fault says, or not at all.
func (s *Server) wrong(w http.ResponseWriter, ctx context.Context, a fault.Action, answer func(reply, error, string), log func(int, string)) {
	if e := a.Do.Error; e != nil {
		err := &apiError{status: e.Status, said: []string{e.Code + ": " + e.Message}}
		if e.Status == http.StatusTooManyRequests {
			err.header = map[string]string{"Retry-After": "1"}
		}
		answer(reply{}, err, a.Name)
		return
	}
	log(0, a.Name)
	if a.Do.Hang != nil {
		t := time.NewTimer(a.Do.Hang.For)
		defer t.Stop()
		select {
		case <-t.C:
		case <-ctx.Done():
		}
	}
	panic(http.ErrAbortHandler)
}

// admit says who calls, if they may.
func (s *Server) admit(c *call, op operation) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch c.PathValue("v") {
	case "2", "latest":
		c.v = 2
	case "3":
		c.v = 3
	}
	if c.v == 0 || c.v == 3 && s.opts.Flavour == DataCenter {
		return fail(404, "null for uri: "+c.URL.Path)
	}
	if len(c.body) > maxBody {
		return fail(413, "The request is too large.")
	}
	for _, u := range s.opts.Users {
		name, token, basic := c.BasicAuth()
		bearer, isBearer := strings.CutPrefix(c.Header.Get("Authorization"), "Bearer ")
		if s.opts.Flavour == Cloud && basic && u.Token != "" && strings.EqualFold(name, u.Email) && token == u.Token ||
			s.opts.Flavour == DataCenter && isBearer && u.Token != "" && bearer == u.Token {
			c.user = u
		}
	}
	if c.user.Token == "" {
		return &apiError{status: 401, said: []string{"Client must be authenticated to access this resource."},
			header: map[string]string{"WWW-Authenticate": `OAuth realm="` + c.base + `"`, "X-Seraph-Loginreason": "AUTHENTICATED_FAILED"}}
	}
	if s.opts.Limit > 0 {
		now := s.now()
		if now.Sub(s.window) >= s.opts.Window {
			s.window, s.inWindow = now, 0
		}
		if s.inWindow++; s.inWindow > s.opts.Limit {
			left := s.window.Add(s.opts.Window).Sub(now)
			return &apiError{status: 429, said: []string{"Rate limit exceeded."}, header: map[string]string{
				"Retry-After": strconv.Itoa(int((left + time.Second - 1) / time.Second)), "X-RateLimit-Limit": strconv.Itoa(s.opts.Limit)}}
		}
	}
	if op.changes && c.Method != http.MethodGet && op.name != "addAttachment" && len(c.body) > 0 && !strings.HasPrefix(c.Header.Get("Content-Type"), "application/json") {
		return fail(415, "Unsupported Media Type")
	}
	return nil
}

func write(w http.ResponseWriter, rep reply, err error) {
	h := w.Header()
	h.Set("Content-Type", "application/json;charset=UTF-8")
	if err != nil {
		e := &apiError{status: 500, said: []string{"Internal server error"}}
		errors.As(err, &e)
		for k, v := range e.header {
			h.Set(k, v)
		}
		said, fields := e.said, e.fields
		if said == nil {
			said = []string{}
		}
		if fields == nil {
			fields = map[string]string{}
		}
		w.WriteHeader(e.status)
		json.NewEncoder(w).Encode(map[string]any{"errorMessages": said, "errors": fields})
		return
	}
	if rep.raw != nil {
		h.Set("Content-Type", "application/octet-stream")
		h.Set("Content-Disposition", "attachment")
		w.WriteHeader(rep.status)
		w.Write(rep.raw)
		return
	}
	w.WriteHeader(rep.status)
	if rep.status != http.StatusNoContent {
		json.NewEncoder(w).Encode(rep.body)
	}
}

func ok(body any) (reply, error) { return reply{status: 200, body: body}, nil }

func done() (reply, error) { return reply{status: 204}, nil }

// Everything below runs under s.mu.

func (s *Server) userBean(u User, base string) map[string]any {
	m := map[string]any{"displayName": u.Display, "active": true, "timeZone": "Etc/UTC"}
	if s.opts.Flavour == Cloud {
		m["accountId"], m["accountType"], m["emailAddress"] = u.AccountID, "atlassian", u.Email
		m["self"] = base + "/rest/api/3/user?accountId=" + u.AccountID
	} else {
		m["name"], m["key"], m["emailAddress"] = u.Name, u.Name, u.Email
		m["self"] = base + "/rest/api/2/user?username=" + u.Name
	}
	return m
}

func (s *Server) myself(c *call) (reply, error) { return ok(s.userBean(c.user, c.base)) }

func (s *Server) serverInfo(c *call) (reply, error) {
	info := map[string]any{"baseUrl": c.base, "version": "1001.0.0-SNAPSHOT", "deploymentType": "Cloud", "serverTime": stamp(s.now()), "serverTitle": "Jira"}
	if s.opts.Flavour == DataCenter {
		info["version"], info["deploymentType"] = "9.12.0", "Server"
	}
	return ok(info)
}

// visible returns a project that the caller may see.
func (s *Server) visible(c *call, key string) (*Project, error) {
	p := s.project(key)
	if p == nil || c.user.Blind {
		return nil, fail(404, fmt.Sprintf("No project could be found with key '%s'.", key))
	}
	return p, nil
}

func (s *Server) getProject(c *call) (reply, error) {
	p, err := s.visible(c, c.PathValue("project"))
	if err != nil {
		return reply{}, err
	}
	return ok(s.projectBean(c, p))
}

func (s *Server) projectBean(c *call, p *Project) map[string]any {
	return map[string]any{"id": s.projectID(p), "key": p.Key, "name": p.Name, "self": fmt.Sprintf("%s/rest/api/%d/project/%s", c.base, c.v, s.projectID(p)), "projectTypeKey": "software", "simplified": false}
}

func (s *Server) projectID(p *Project) string {
	return strconv.Itoa(100 + slices.IndexFunc(s.opts.Projects, func(x Project) bool { return x.Key == p.Key }))
}

func (s *Server) typeBean(c *call, t *Type) map[string]any {
	return map[string]any{"id": t.ID, "name": t.Name, "subtask": false, "description": "", "self": fmt.Sprintf("%s/rest/api/%d/issuetype/%s", c.base, c.v, t.ID)}
}

func (s *Server) statusBean(c *call, st Status) map[string]any {
	ids := map[string]int{"new": 2, "indeterminate": 4, "done": 3}
	return map[string]any{
		"id": st.ID, "name": st.Name, "description": "", "self": fmt.Sprintf("%s/rest/api/%d/status/%s", c.base, c.v, st.ID),
		"statusCategory": map[string]any{
			"id": ids[st.Category], "key": st.Category, "name": categoryNames[st.Category], "colorName": "blue-gray",
			"self": fmt.Sprintf("%s/rest/api/%d/statuscategory/%d", c.base, c.v, ids[st.Category]),
		},
	}
}

func (f *Field) bean(byID bool) map[string]any {
	schema := map[string]any{"type": f.Type}
	if f.Items != "" {
		schema["items"] = f.Items
	}
	if n, custom := strings.CutPrefix(f.ID, "customfield_"); custom {
		id, _ := strconv.Atoi(n)
		schema["custom"], schema["customId"] = f.Custom, id
	} else {
		schema["system"] = f.ID
	}
	m := map[string]any{"required": f.Required, "name": f.Name, "key": f.ID, "hasDefaultValue": f.Default, "operations": []string{"set"}, "schema": schema}
	if byID {
		m["fieldId"] = f.ID
	}
	if len(f.Allowed) > 0 {
		name := "name"
		if f.Type == "option" || f.Items == "option" {
			name = "value"
		}
		values := []any{}
		for n, a := range f.Allowed {
			values = append(values, map[string]any{"id": strconv.Itoa(n + 1), name: a})
		}
		m["allowedValues"] = values
	}
	return m
}

// page cuts a list as the request's startAt and maxResults say.
func page[T any](c *call, s *Server, all []T) (cut []T, start, size int) {
	start, _ = strconv.Atoi(c.URL.Query().Get("startAt"))
	size, err := strconv.Atoi(c.URL.Query().Get("maxResults"))
	if err != nil || size <= 0 || size > s.opts.PageSize {
		size = s.opts.PageSize
	}
	start = min(max(start, 0), len(all))
	return all[start:min(start+size, len(all))], start, size
}

// listOf is a page under the name that the flavour gives it.
func (s *Server) listOf(name string, cut []any, start, size, total int) map[string]any {
	m := map[string]any{"startAt": start, "maxResults": size, "total": total}
	if s.opts.Flavour == DataCenter {
		name = "values"
		m["isLast"] = start+len(cut) >= total
	}
	m[name] = cut
	return m
}

// creatable is a project that the caller may create issues in.
func (s *Server) creatable(c *call) (*Project, error) {
	if s.opts.OldCreatemeta {
		return nil, fail(404, "null for uri: "+c.URL.Path)
	}
	p, err := s.visible(c, c.PathValue("project"))
	if err == nil && c.user.ReadOnly {
		err = fail(403, "You do not have permission to create issues in this project.")
	}
	return p, err
}

func (s *Server) createmetaTypes(c *call) (reply, error) {
	p, err := s.creatable(c)
	if err != nil {
		return reply{}, err
	}
	var all []any
	for n := range p.Types {
		all = append(all, s.typeBean(c, &p.Types[n]))
	}
	cut, start, size := page(c, s, all)
	return ok(s.listOf("issueTypes", cut, start, size, len(all)))
}

func (s *Server) createmetaFields(c *call) (reply, error) {
	p, err := s.creatable(c)
	if err != nil {
		return reply{}, err
	}
	t := p.kind(c.PathValue("type"))
	if t == nil {
		return reply{}, fail(404, "Issue type does not exist.")
	}
	var all []any
	for n := range t.Fields {
		all = append(all, t.Fields[n].bean(true))
	}
	cut, start, size := page(c, s, all)
	return ok(s.listOf("fields", cut, start, size, len(all)))
}

func (s *Server) createmeta(c *call) (reply, error) {
	if s.opts.Flavour == DataCenter && !s.opts.OldCreatemeta {
		return reply{}, fail(404, "null for uri: "+c.URL.Path)
	}
	projects := []any{}
	for n := range s.opts.Projects {
		p := &s.opts.Projects[n]
		if keys := c.URL.Query().Get("projectKeys"); keys != "" && !slices.Contains(strings.Split(keys, ","), p.Key) || c.user.Blind || c.user.ReadOnly {
			continue
		}
		types := []any{}
		for m := range p.Types {
			t := s.typeBean(c, &p.Types[m])
			fields := map[string]any{}
			for k := range p.Types[m].Fields {
				fields[p.Types[m].Fields[k].ID] = p.Types[m].Fields[k].bean(false)
			}
			t["fields"] = fields
			types = append(types, t)
		}
		projects = append(projects, map[string]any{"id": s.projectID(p), "key": p.Key, "name": p.Name, "issuetypes": types})
	}
	return ok(map[string]any{"projects": projects})
}

type issueRequest struct {
	Fields     map[string]any `json:"fields"`
	Properties []struct {
		Key   string `json:"key"`
		Value any    `json:"value"`
	} `json:"properties"`
	Transition struct {
		ID string `json:"id"`
	} `json:"transition"`
}

func text(v any, key string) string {
	m, _ := v.(map[string]any)
	s, _ := m[key].(string)
	return s
}

func (s *Server) create(c *call) (reply, error) {
	var r issueRequest
	if err := decode(c.body, &r); err != nil {
		return reply{}, err
	}
	p := s.project(text(r.Fields["project"], "key"))
	if p == nil {
		for n := range s.opts.Projects {
			if id := text(r.Fields["project"], "id"); id != "" && id == s.projectID(&s.opts.Projects[n]) {
				p = &s.opts.Projects[n]
			}
		}
	}
	if p == nil || c.user.Blind {
		return reply{}, failFields(map[string]string{"project": "valid project is required"})
	}
	if c.user.ReadOnly {
		return reply{}, fail(403, "You do not have permission to create issues in this project.")
	}
	t := p.kind(text(r.Fields["issuetype"], "id"))
	for n := range p.Types {
		if name := text(r.Fields["issuetype"], "name"); name != "" && p.Types[n].Name == name {
			t = &p.Types[n]
		}
	}
	if t == nil {
		return reply{}, failFields(map[string]string{"issuetype": "Specify a valid issue type"})
	}
	wrong := s.wrongFields(c.v, t, r.Fields)
	for _, f := range t.Fields {
		if _, given := r.Fields[f.ID]; f.Required && !f.Default && !given {
			wrong[f.ID] = f.Name + " is required."
		}
	}
	if len(wrong) > 0 {
		return reply{}, failFields(wrong)
	}
	s.numbers[p.Key]++
	i := &issue{
		id: s.id(), key: fmt.Sprintf("%s-%d", p.Key, s.numbers[p.Key]), project: p.Key, kind: t.ID, created: s.now(), status: p.Statuses[0],
		reporter: c.user, properties: map[string]any{}, fields: r.Fields,
	}
	delete(i.fields, "project")
	delete(i.fields, "issuetype")
	if t.field("priority") != nil && i.fields["priority"] == nil {
		i.fields["priority"] = map[string]any{"name": "Medium"}
	}
	for _, prop := range r.Properties {
		i.properties[prop.Key] = prop.Value
	}
	s.issues = append(s.issues, i)
	s.changed(i)
	return reply{status: 201, body: map[string]any{"id": i.id, "key": i.key, "self": fmt.Sprintf("%s/rest/api/%d/issue/%s", c.base, c.v, i.id)}}, nil
}

// wrongFields says of each field that is sent what is wrong with it.
func (s *Server) wrongFields(v int, t *Type, fields map[string]any) map[string]string {
	wrong := map[string]string{}
	for id, value := range fields {
		f := t.field(id)
		if f == nil {
			wrong[id] = fmt.Sprintf("Field '%s' cannot be set. It is not on the appropriate screen, or unknown.", id)
			continue
		}
		allowed := func(key string, what string) {
			name := text(value, key)
			if name == "" && text(value, "id") != "" {
				return
			}
			if !slices.Contains(f.Allowed, name) {
				wrong[id] = what
			}
		}
		switch {
		case id == "summary":
			s, _ := value.(string)
			switch {
			case strings.TrimSpace(s) == "":
				wrong[id] = "You must specify a summary of the issue."
			case strings.ContainsAny(s, "\r\n"):
				wrong[id] = "The summary is invalid because it contains newline characters."
			case len([]rune(s)) > 255:
				wrong[id] = "Summary can't exceed 255 characters."
			}
		case id == "description" || strings.HasSuffix(f.Custom, ":textarea"):
			if value != nil {
				if said := s.body(v, value); said != "" {
					wrong[id] = said
				}
			}
		case id == "labels":
			list, isList := value.([]any)
			if !isList {
				wrong[id] = "data was not an array"
			}
			for _, l := range list {
				name, isText := l.(string)
				switch {
				case !isText:
					wrong[id] = "string expected"
				case strings.ContainsFunc(name, func(r rune) bool { return r == ' ' || r == '\t' || r == '\n' || r == '\r' }):
					wrong[id] = fmt.Sprintf("The label '%s' contains spaces which is invalid.", name)
				case len([]rune(name)) > 255:
					wrong[id] = "The label exceeds the maximum length of 255 characters."
				}
			}
		case id == "priority":
			allowed("name", "The priority selected is invalid.")
		case id == "components":
			list, _ := value.([]any)
			for _, l := range list {
				if name := text(l, "name"); !slices.Contains(f.Allowed, name) {
					wrong[id] = fmt.Sprintf("Component name '%s' is not valid", name)
				}
			}
		case f.Type == "option":
			allowed("value", fmt.Sprintf("Option '%s' is not valid", text(value, "value")))
		case f.Type == "number":
			if _, isNumber := value.(float64); !isNumber {
				wrong[id] = "Operation value must be a number"
			}
		case f.Type == "string":
			if _, isText := value.(string); !isText {
				wrong[id] = "Operation value must be a string"
			}
		}
	}
	return wrong
}

// of returns the issue of a request, if the caller may see it, and to change it change it.
func (s *Server) of(c *call) (*issue, *Project, error) {
	i := s.find(c.PathValue("issue"))
	if i == nil || c.user.Blind || s.project(i.project) == nil {
		return nil, nil, fail(404, "Issue does not exist or you do not have permission to see it.")
	}
	if c.Method != http.MethodGet && c.user.ReadOnly {
		return nil, nil, fail(403, "You do not have permission to edit issues in this project.")
	}
	return i, s.project(i.project), nil
}

func (s *Server) getIssue(c *call) (reply, error) {
	i, p, err := s.of(c)
	if err != nil {
		return reply{}, err
	}
	want := []string{"*all"}
	if q := c.URL.Query().Get("fields"); q != "" {
		want = strings.Split(q, ",")
	}
	bean := s.issueBean(c, i, seen{status: i.status, fields: i.fields, updated: i.updated}, p, want, true)
	if q := c.URL.Query().Get("properties"); q != "" {
		props := map[string]any{}
		for _, k := range strings.Split(q, ",") {
			if v, there := i.properties[k]; there {
				props[k] = v
			} else if k == "*all" {
				maps.Copy(props, i.properties)
			}
		}
		bean["properties"] = props
	}
	return ok(bean)
}

// issueBean is an issue with the fields that were asked for.
func (s *Server) issueBean(c *call, i *issue, at seen, p *Project, want []string, all bool) map[string]any {
	fields := map[string]any{}
	put := func(name string, value func() any) {
		if slices.Contains(want, name) || slices.Contains(want, "*all") || slices.Contains(want, "*navigable") {
			fields[name] = value()
		}
	}
	for name, v := range at.fields {
		put(name, func() any { return v })
	}
	t := p.kind(i.kind)
	put("description", func() any { return as(c.v, at.fields["description"]) })
	put("labels", func() any { return labelsOf(at.fields) })
	put("status", func() any { return s.statusBean(c, at.status) })
	put("project", func() any { return s.projectBean(c, p) })
	put("created", func() any { return stamp(i.created) })
	put("updated", func() any { return stamp(at.updated) })
	put("reporter", func() any { return s.userBean(i.reporter, c.base) })
	put("creator", func() any { return s.userBean(i.reporter, c.base) })
	if t != nil {
		put("issuetype", func() any { return s.typeBean(c, t) })
	}
	if all {
		put("attachment", func() any {
			list := []any{}
			for _, a := range i.attachments {
				list = append(list, s.attachmentBean(c, a))
			}
			return list
		})
		put("comment", func() any { return s.commentPage(c, i.comments, 0, len(i.comments), len(i.comments)) })
	}
	return map[string]any{"id": i.id, "key": i.key, "self": fmt.Sprintf("%s/rest/api/%d/issue/%s", c.base, c.v, i.id), "fields": fields}
}

func (s *Server) edit(c *call) (reply, error) {
	i, p, err := s.of(c)
	if err != nil {
		return reply{}, err
	}
	var r issueRequest
	if err := decode(c.body, &r); err != nil {
		return reply{}, err
	}
	if len(r.Fields) == 0 && len(r.Properties) == 0 {
		return reply{}, fail(400, "one of 'fields' or 'update' required")
	}
	t := p.kind(i.kind)
	if t == nil {
		return reply{}, fail(400, "The issue type selected is invalid.")
	}
	if wrong := s.wrongFields(c.v, t, r.Fields); len(wrong) > 0 {
		return reply{}, failFields(wrong)
	}
	i.fields = maps.Clone(i.fields)
	maps.Copy(i.fields, r.Fields)
	for _, prop := range r.Properties {
		i.properties[prop.Key] = prop.Value
	}
	s.changed(i)
	return done()
}

func (s *Server) deleteIssue(c *call) (reply, error) {
	i, _, err := s.of(c)
	if err != nil {
		return reply{}, err
	}
	i.deleted = true
	s.changed(i)
	return done()
}

func (s *Server) propertyKeys(c *call) (reply, error) {
	i, _, err := s.of(c)
	if err != nil {
		return reply{}, err
	}
	keys := []any{}
	for _, k := range slices.Sorted(maps.Keys(i.properties)) {
		keys = append(keys, map[string]any{"key": k, "self": fmt.Sprintf("%s/rest/api/%d/issue/%s/properties/%s", c.base, c.v, i.id, k)})
	}
	return ok(map[string]any{"keys": keys})
}

func (s *Server) getProperty(c *call) (reply, error) {
	i, _, err := s.of(c)
	if err != nil {
		return reply{}, err
	}
	v, there := i.properties[c.PathValue("property")]
	if !there {
		return reply{}, fail(404, "The property with the given key does not exist.")
	}
	return ok(map[string]any{"key": c.PathValue("property"), "value": v})
}

func (s *Server) setProperty(c *call) (reply, error) {
	i, _, err := s.of(c)
	if err != nil {
		return reply{}, err
	}
	var v any
	if err := decode(c.body, &v); err != nil {
		return reply{}, err
	}
	_, there := i.properties[c.PathValue("property")]
	i.properties[c.PathValue("property")] = v
	if there {
		return ok(map[string]any{})
	}
	return reply{status: 201, body: map[string]any{}}, nil
}

func (s *Server) deleteProperty(c *call) (reply, error) {
	i, _, err := s.of(c)
	if err != nil {
		return reply{}, err
	}
	if _, there := i.properties[c.PathValue("property")]; !there {
		return reply{}, fail(404, "The property with the given key does not exist.")
	}
	delete(i.properties, c.PathValue("property"))
	return done()
}

func (s *Server) commentBean(c *call, m *comment, properties bool) map[string]any {
	b := map[string]any{
		"id": m.id, "body": as(c.v, m.body), "author": s.userBean(m.author, c.base), "updateAuthor": s.userBean(m.author, c.base),
		"created": stamp(m.created), "updated": stamp(m.created), "self": fmt.Sprintf("%s/rest/api/%d/comment/%s", c.base, c.v, m.id),
	}
	if properties {
		list := []any{}
		for _, k := range slices.Sorted(maps.Keys(m.properties)) {
			list = append(list, map[string]any{"key": k, "value": m.properties[k]})
		}
		b["properties"] = list
	}
	return b
}

func (s *Server) commentPage(c *call, list []*comment, start, size, total int) map[string]any {
	beans := []any{}
	for _, m := range list {
		beans = append(beans, s.commentBean(c, m, false))
	}
	return map[string]any{"comments": beans, "startAt": start, "maxResults": size, "total": total}
}

func (s *Server) getComments(c *call) (reply, error) {
	i, _, err := s.of(c)
	if err != nil {
		return reply{}, err
	}
	all := slices.Clone(i.comments)
	if c.URL.Query().Get("orderBy") == "-created" {
		slices.Reverse(all)
	}
	cut, start, size := page(c, s, all)
	return ok(s.commentPage(c, cut, start, size, len(all)))
}

func (s *Server) addComment(c *call) (reply, error) {
	i, _, err := s.of(c)
	if err != nil {
		return reply{}, err
	}
	var r struct {
		Body       any `json:"body"`
		Properties []struct {
			Key   string `json:"key"`
			Value any    `json:"value"`
		} `json:"properties"`
	}
	if err := decode(c.body, &r); err != nil {
		return reply{}, err
	}
	if r.Body == nil || r.Body == "" || plain(as(3, r.Body)) == "" {
		return reply{}, failFields(map[string]string{"comment": "Comment body can not be empty!"})
	}
	if said := s.body(c.v, r.Body); said != "" {
		return reply{}, failFields(map[string]string{"comment": said})
	}
	m := &comment{id: s.id(), body: r.Body, author: c.user, created: s.now(), properties: map[string]any{}}
	for _, p := range r.Properties {
		m.properties[p.Key] = p.Value
	}
	i.comments = append(i.comments, m)
	s.changed(i)
	return reply{status: 201, body: s.commentBean(c, m, false)}, nil
}

// comments that the caller may see, by id.
func (s *Server) comments(c *call) map[string]*comment {
	out := map[string]*comment{}
	for _, i := range s.issues {
		for _, m := range i.comments {
			if !i.deleted && !c.user.Blind {
				out[m.id] = m
			}
		}
	}
	return out
}

func (s *Server) commentList(c *call) (reply, error) {
	if s.opts.Flavour == DataCenter {
		return reply{}, fail(404, "null for uri: "+c.URL.Path)
	}
	var r struct {
		IDs []int64 `json:"ids"`
	}
	if err := decode(c.body, &r); err != nil {
		return reply{}, err
	}
	if len(r.IDs) == 0 || len(r.IDs) > 1000 {
		return reply{}, fail(400, "The number of ids must be between 1 and 1000.")
	}
	all := s.comments(c)
	values := []any{}
	for _, id := range r.IDs {
		if m := all[strconv.FormatInt(id, 10)]; m != nil {
			values = append(values, s.commentBean(c, m, strings.Contains(c.URL.Query().Get("expand"), "properties")))
		}
	}
	return ok(map[string]any{"values": values, "startAt": 0, "maxResults": 1000, "total": len(values), "isLast": true})
}

func (s *Server) commentProperty(c *call) (reply, error) {
	m := s.comments(c)[c.PathValue("comment")]
	if m == nil || m.properties[c.PathValue("property")] == nil {
		return reply{}, fail(404, "The property with the given key does not exist.")
	}
	return ok(map[string]any{"key": c.PathValue("property"), "value": m.properties[c.PathValue("property")]})
}

// ways out of an issue's status.
func (p *Project) ways(i *issue) []Way {
	var out []Way
	for _, w := range p.Ways {
		if len(w.From) == 0 || slices.Contains(w.From, i.status.Name) {
			out = append(out, w)
		}
	}
	return out
}

func (s *Server) transitions(c *call) (reply, error) {
	i, p, err := s.of(c)
	if err != nil {
		return reply{}, err
	}
	list := []any{}
	for _, w := range p.ways(i) {
		to, _ := p.status(w.To)
		m := map[string]any{"id": w.ID, "name": w.Name, "to": s.statusBean(c, to), "hasScreen": w.Resolution || w.Requires != "", "isGlobal": len(w.From) == 0, "isAvailable": true}
		if strings.Contains(c.URL.Query().Get("expand"), "transitions.fields") {
			fields := map[string]any{}
			if w.Resolution {
				fields["resolution"] = (&Field{ID: "resolution", Name: "Resolution", Type: "resolution", Required: true, Allowed: Resolutions}).bean(false)
			}
			if w.Requires != "" {
				if f := p.kind(i.kind).field(w.Requires); f != nil {
					wanted := *f
					wanted.Required, wanted.Default = true, false
					fields[f.ID] = wanted.bean(false)
				}
			}
			m["fields"] = fields
		}
		list = append(list, m)
	}
	return ok(map[string]any{"expand": "transitions", "transitions": list})
}

func (s *Server) transition(c *call) (reply, error) {
	i, p, err := s.of(c)
	if err != nil {
		return reply{}, err
	}
	var r issueRequest
	if err := decode(c.body, &r); err != nil {
		return reply{}, err
	}
	n := slices.IndexFunc(p.ways(i), func(w Way) bool { return w.ID == r.Transition.ID })
	if n < 0 {
		return reply{}, fail(400, "It seems that you have tried to perform a workflow operation that is not valid for the current state of this issue.")
	}
	w := p.ways(i)[n]
	fields := maps.Clone(i.fields)
	wrong := map[string]string{}
	for id, v := range r.Fields {
		switch {
		case id == "resolution" && w.Resolution:
			if name := text(v, "name"); !slices.Contains(Resolutions, name) {
				wrong[id] = "The resolution selected is invalid."
			}
		case id != w.Requires:
			wrong[id] = fmt.Sprintf("Field '%s' cannot be set. It is not on the appropriate screen, or unknown.", id)
		}
		fields[id] = v
	}
	if w.Resolution && r.Fields["resolution"] == nil {
		wrong["resolution"] = "Resolution is required."
	}
	if w.Requires != "" && r.Fields[w.Requires] == nil {
		wrong[w.Requires] = w.Requires + " is required."
	}
	if len(wrong) > 0 {
		return reply{}, failFields(wrong)
	}
	i.status, _ = p.status(w.To)
	if i.status.Category != "done" {
		delete(fields, "resolution")
	}
	i.fields = fields
	s.changed(i)
	return done()
}

func (s *Server) attachmentBean(c *call, a *attachment) map[string]any {
	return map[string]any{
		"id": a.id, "filename": a.name, "mimeType": a.mime, "size": len(a.data), "author": s.userBean(a.author, c.base), "created": stamp(a.created),
		"self": fmt.Sprintf("%s/rest/api/%d/attachment/%s", c.base, c.v, a.id), "content": fmt.Sprintf("%s/rest/api/%d/attachment/content/%s", c.base, c.v, a.id),
	}
}

func (s *Server) attach(c *call) (reply, error) {
	i, _, err := s.of(c)
	if err != nil {
		return reply{}, err
	}
	if t := c.Header.Get("X-Atlassian-Token"); t != "no-check" && t != "nocheck" {
		return reply{}, fail(403, "XSRF check failed")
	}
	form := *c.Request
	form.Body = io.NopCloser(bytes.NewReader(c.body))
	if err := form.ParseMultipartForm(maxBody); err != nil {
		return reply{}, fail(400, "The request is no multipart form.")
	}
	defer form.MultipartForm.RemoveAll()
	files := form.MultipartForm.File["file"]
	if len(files) == 0 {
		return reply{}, fail(400, "No file was attached.")
	}
	out := []any{}
	for _, h := range files {
		a, err := s.file(c, h)
		if err != nil {
			return reply{}, err
		}
		i.attachments = append(i.attachments, a)
		out = append(out, s.attachmentBean(c, a))
	}
	s.changed(i)
	return ok(out)
}

func (s *Server) file(c *call, h *multipart.FileHeader) (*attachment, error) {
	f, err := h.Open()
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(f)
	if err != nil {
		return nil, err
	}
	return &attachment{id: s.id(), name: h.Filename, mime: h.Header.Get("Content-Type"), data: data, author: c.user, created: s.now()}, nil
}

// attached is the attachment of a request.
func (s *Server) attached(c *call) (*attachment, error) {
	for _, i := range s.issues {
		for _, a := range i.attachments {
			if a.id == c.PathValue("attachment") && !i.deleted && !c.user.Blind {
				return a, nil
			}
		}
	}
	return nil, fail(404, "The attachment with id '"+c.PathValue("attachment")+"' does not exist.")
}

func (s *Server) getAttachment(c *call) (reply, error) {
	a, err := s.attached(c)
	if err != nil {
		return reply{}, err
	}
	bean := s.attachmentBean(c, a)
	if s.opts.Flavour == Cloud {
		if bean["id"], err = strconv.Atoi(a.id); err != nil { // here, and only here, it is a number
			return reply{}, err
		}
	}
	return ok(bean)
}

func (s *Server) attachmentContent(c *call) (reply, error) {
	a, err := s.attached(c)
	if err != nil {
		return reply{}, err
	}
	return reply{status: 200, raw: slices.Concat([]byte{}, a.data)}, nil
}
