// Package jira is a Jira site on loopback, as Cloud or as Data Center.
//
// It keeps projects, issues, comments, attachments, properties and workflows, checks
// what it is sent as Jira does (the Document Format by Atlassian's own schema), and
// shows each ticket to a person at /browse/KEY. What a search finds may be older than
// what is so: IndexLag.
package jira

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/auditcanary/auditcanary/tests/sandbox/fault"
)

// Flavours.
const (
	Cloud      = "cloud"
	DataCenter = "data-center"
)

// Options of a site.
type Options struct {
	Flavour string
	// URL that the site is served at, with what stands before its paths; default:
	// the host that a request names.
	URL      string
	Clock    func() time.Time
	Users    []User
	Projects []Project
	// IndexLag is how far searches are behind, by the clock.
	IndexLag time.Duration
	// Limit of requests in each window of the clock; 0: none.
	Limit  int
	Window time.Duration
	// Latency of every answer, real time.
	Latency time.Duration
	// OldCreatemeta: only the form of createmeta that Data Center had before 8.4.
	OldCreatemeta bool
	// PageSize is the most that a page of anything has (default 100).
	PageSize int
	// Faults at = ticket; nil: none.
	Faults Faults
}

// Faults say what goes wrong with a call.
type Faults interface {
	Fire(at string, it map[string]any) []fault.Action
}

// User of the site.
type User struct {
	AccountID, Name, Email, Display string
	Token                           string // API token or personal access token
	// ReadOnly may look at issues, Blind not even that.
	ReadOnly, Blind bool
}

// Project with its issue types and its workflow.
type Project struct {
	Key, Name string
	Types     []Type
	Statuses  []Status // the first is that of a new issue
	Ways      []Way
}

// Type of issue.
type Type struct {
	ID, Name string
	Fields   []Field
}

// Field of an issue type's screen.
type Field struct {
	ID, Name string
	Required bool
	// Type as Jira's schema has it: string, option, number, user, array ...; Items of
	// an array; Custom is the kind of a custom field ("...:textarea").
	Type, Items, Custom string
	Allowed             []string
	Default             bool // Jira fills it in
}

// Status of issues; Category is new, indeterminate or done.
type Status struct{ ID, Name, Category string }

// Way from some statuses (none: from all) to another; Resolution: it asks for one.
type Way struct {
	ID, Name, To string
	From         []string
	Resolution   bool
	// Requires a field (beside a resolution), by id.
	Requires string
}

// Resolutions there are.
var Resolutions = []string{"Done", "Won't Do", "Duplicate"}

// Plain is a project as Jira makes one, with a field that security teams like to add.
func Plain(key string) Project {
	fields := func() []Field {
		return []Field{
			{ID: "summary", Name: "Summary", Type: "string", Required: true},
			{ID: "issuetype", Name: "Issue Type", Type: "issuetype", Required: true},
			{ID: "project", Name: "Project", Type: "project", Required: true},
			{ID: "reporter", Name: "Reporter", Type: "user", Required: true, Default: true},
			{ID: "description", Name: "Description", Type: "string"},
			{ID: "labels", Name: "Labels", Type: "array", Items: "string"},
			{ID: "priority", Name: "Priority", Type: "priority", Allowed: []string{"Highest", "High", "Medium", "Low", "Lowest"}, Default: true},
			{ID: "components", Name: "Components", Type: "array", Items: "component", Allowed: []string{"Cloud", "Logging"}},
			{ID: "customfield_10042", Name: "Environment class", Type: "option", Custom: "com.atlassian.jira.plugin.system.customfieldtypes:select", Allowed: []string{"production", "test"}},
			{ID: "customfield_10043", Name: "Control", Type: "string", Custom: "com.atlassian.jira.plugin.system.customfieldtypes:textarea"},
		}
	}
	return Project{
		Key: key, Name: key + " project",
		Types: []Type{{"10001", "Task", fields()}, {"10002", "Bug", fields()}, {"10003", "Risk", fields()}},
		Statuses: []Status{
			{"1", "To Do", "new"}, {"3", "In Progress", "indeterminate"}, {"5", "Done", "done"},
		},
		Ways: []Way{
			{ID: "11", Name: "Back to To Do", To: "To Do", From: []string{"In Progress", "Done"}},
			{ID: "21", Name: "Start", To: "In Progress", From: []string{"To Do"}},
			{ID: "31", Name: "Finish", To: "Done", From: []string{"To Do", "In Progress"}, Resolution: true},
		},
	}
}

// Server is the site. It is safe for concurrent use.
type Server struct {
	opts Options
	mux  *http.ServeMux
	meta *http.ServeMux // of createmeta
	adf  *jsonschema.Schema

	mu       sync.Mutex
	issues   []*issue // in the order of their making; deleted ones stay, for the index
	numbers  map[string]int
	nextID   int
	requests []Request
	nth      int
	window   time.Time
	inWindow int
}

type issue struct {
	id, key     string
	project     string
	kind        string // id of its type
	created     time.Time
	updated     time.Time
	status      Status
	fields      map[string]any // all others, as they were sent
	reporter    User
	properties  map[string]any
	comments    []*comment
	attachments []*attachment
	deleted     bool
	past        []seen // what the index may still have
}

// seen is an issue as a search sees it, since a moment.
type seen struct {
	since   time.Time
	deleted bool
	status  Status
	fields  map[string]any
	updated time.Time
}

type comment struct {
	id         string
	body       any
	author     User
	created    time.Time
	properties map[string]any
}

type attachment struct {
	id, name, mime string
	data           []byte
	author         User
	created        time.Time
}

// New returns an empty site.
func New(opts Options) (*Server, error) {
	if opts.Clock == nil {
		return nil, errors.New("jira: the site needs a clock")
	}
	if opts.Flavour != Cloud && opts.Flavour != DataCenter {
		return nil, fmt.Errorf("jira: flavour %q: want %s or %s", opts.Flavour, Cloud, DataCenter)
	}
	for _, p := range opts.Projects {
		if len(p.Statuses) == 0 || len(p.Types) == 0 {
			return nil, fmt.Errorf("jira: project %s needs a status and a type", p.Key)
		}
	}
	opts.PageSize = cmp.Or(opts.PageSize, 100)
	schema, err := documentFormat()
	if err != nil {
		return nil, err
	}
	s := &Server{opts: opts, adf: schema, mux: http.NewServeMux(), meta: http.NewServeMux(), numbers: map[string]int{}, nextID: 10000}
	s.routes()
	return s, nil
}

// Request is one that came in, with how it was answered.
type Request struct {
	Operation, Method, Path, User string
	Body                          []byte
	Status                        int // 0: not answered
	Fault                         string
}

// Requests that came in so far.
func (s *Server) Requests() []Request {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.requests)
}

// Ticket is an issue as it stands, for tests.
type Ticket struct {
	Key, Type, Status string
	Category          string // of the status
	// Fields as they were sent; Body is the description.
	Fields      map[string]any
	Body        any
	Labels      []string
	Properties  map[string]any
	Comments    []any             // bodies, in order
	Attachments map[string][]byte // by name; of several of one name the last
	Files       []string          // names of attachments, in order
}

// Tickets that there are, in the order of their making.
func (s *Server) Tickets() []Ticket {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []Ticket
	for _, i := range s.issues {
		if i.deleted {
			continue
		}
		t := Ticket{
			Key: i.key, Type: i.kind, Status: i.status.Name, Category: i.status.Category, Fields: maps.Clone(i.fields), Body: i.fields["description"],
			Labels: labelsOf(i.fields), Properties: maps.Clone(i.properties), Attachments: map[string][]byte{},
		}
		for _, c := range i.comments {
			t.Comments = append(t.Comments, c.body)
		}
		for _, a := range i.attachments {
			t.Attachments[a.name] = a.data
			t.Files = append(t.Files, a.name)
		}
		out = append(out, t)
	}
	return out
}

// Delete a ticket, as a person may.
func (s *Server) Delete(key string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	i := s.find(key)
	if i == nil {
		return false
	}
	i.deleted = true
	s.changed(i)
	return true
}

// Change the site's options (its projects, users, limits) while it runs.
func (s *Server) Change(how func(*Options)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	how(&s.opts)
}

// Move a ticket into a status by name, whatever the workflow says.
func (s *Server) Move(key, status string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	i := s.find(key)
	if i == nil {
		return false
	}
	to, ok := s.project(i.project).status(status)
	if ok {
		i.status = to
		s.changed(i)
	}
	return ok
}

func (s *Server) now() time.Time { return s.opts.Clock().UTC().Truncate(time.Millisecond) }

// changed notes how the issue is now, for the index; under s.mu.
func (s *Server) changed(i *issue) {
	i.updated = s.now()
	fields := make(map[string]any, len(i.fields))
	for k, v := range i.fields {
		fields[k] = v // values are never changed in place
	}
	i.past = append(i.past, seen{i.updated, i.deleted, i.status, fields, i.updated})
}

// indexed is how a search sees the issue now; false: not at all.
func (s *Server) indexed(i *issue) (seen, bool) {
	behind := s.now().Add(-s.opts.IndexLag)
	for _, at := range slices.Backward(i.past) {
		if !at.since.After(behind) {
			return at, !at.deleted
		}
	}
	return seen{}, false
}

// find returns an issue by key or id; nil: none. Under s.mu.
func (s *Server) find(name string) *issue {
	for _, i := range s.issues {
		if !i.deleted && (strings.EqualFold(i.key, name) || i.id == name) {
			return i
		}
	}
	return nil
}

func (s *Server) project(key string) *Project {
	for n := range s.opts.Projects {
		if p := &s.opts.Projects[n]; strings.EqualFold(p.Key, key) {
			return p
		}
	}
	return nil
}

func (p *Project) status(name string) (Status, bool) {
	for _, s := range p.Statuses {
		if s.Name == name {
			return s, true
		}
	}
	return Status{}, false
}

func (p *Project) kind(id string) *Type {
	for n := range p.Types {
		if p.Types[n].ID == id {
			return &p.Types[n]
		}
	}
	return nil
}

func (t *Type) field(id string) *Field {
	for n := range t.Fields {
		if t.Fields[n].ID == id {
			return &t.Fields[n]
		}
	}
	return nil
}

func (s *Server) id() string {
	s.nextID++
	return strconv.Itoa(s.nextID)
}

func labelsOf(fields map[string]any) []string {
	out := []string{}
	list, _ := fields["labels"].([]any)
	for _, l := range list {
		if text, ok := l.(string); ok {
			out = append(out, text)
		}
	}
	return out
}

// stamp is a time as Jira writes it.
func stamp(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05.000-0700") }

func decode(data []byte, out any) error {
	if err := json.Unmarshal(data, out); err != nil {
		return fail(400, "Invalid request payload. Refer to the REST API documentation and try again.")
	}
	return nil
}
