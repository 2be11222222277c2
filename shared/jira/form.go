package jira

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/auditcanary/auditcanary/shared/ticket"
)

// form is what a project wants to know of a new ticket of one type.
type form struct {
	issueType string // id
	typeName  string
	fields    []field
}

type field struct {
	ID         string    `json:"fieldId"`
	Key        string    `json:"key"`
	Name       string    `json:"name"`
	Required   bool      `json:"required"`
	HasDefault bool      `json:"hasDefaultValue"`
	Schema     schema    `json:"schema"`
	Allowed    []allowed `json:"allowedValues"`
}

type schema struct{ Type, Items, Custom string }

// allowed is a value that a field may have.
type allowed struct{ ID, Name, Value string }

func (a allowed) String() string { return cmp.Or(a.Name, a.Value, a.ID) }

// field returns one by id or name; an error if there is none, or more than one.
func (f form) field(name string) (field, error) {
	var named []field
	for _, x := range f.fields {
		if x.ID == name {
			return x, nil
		}
		if strings.EqualFold(x.Name, name) {
			named = append(named, x)
		}
	}
	switch len(named) {
	case 1:
		return named[0], nil
	case 0:
		return field{}, fmt.Errorf("there is no field %q; there is %s", name, list(f.fields, func(x field) string { return fmt.Sprintf("%q (%s)", x.Name, x.ID) }))
	}
	return field{}, fmt.Errorf("%q is the name of several fields: say which by id, %s", name, list(named, func(x field) string { return x.ID }))
}

// list names at most a dozen things.
func list[T any](of []T, name func(T) string) string {
	if len(of) == 0 {
		return "none"
	}
	var names []string
	for _, x := range of[:min(len(of), 12)] {
		names = append(names, name(x))
	}
	if more := len(of) - len(names); more > 0 {
		names = append(names, fmt.Sprintf("%d more", more))
	}
	return strings.Join(names, ", ")
}

// typeOf is the name of the issue type of a kind of ticket.
func (d *Desk) typeOf(kind ticket.Kind) string {
	return cmp.Or(d.cfg.IssueType[kind], d.cfg.IssueType[ticket.Failure], "Task")
}

// form asks for the form of an issue type, once.
func (d *Desk) form(ctx context.Context, op, typeName string) (form, error) {
	d.mu.Lock()
	f, known := d.forms[typeName]
	d.mu.Unlock()
	if known {
		return f, nil
	}
	f, err := d.ask(ctx, op, typeName)
	if err == nil {
		d.mu.Lock()
		d.forms[typeName] = f
		d.mu.Unlock()
	}
	return f, err
}

func (d *Desk) forget() {
	d.mu.Lock()
	defer d.mu.Unlock()
	clear(d.forms)
}

func (d *Desk) ask(ctx context.Context, op, typeName string) (form, error) {
	types, err := pages[issueType](ctx, d, op, "issue/createmeta/"+d.cfg.Project+"/issuetypes")
	var f *failure
	if errors.As(err, &f) && (f.status == http.StatusNotFound || f.status == http.StatusBadRequest) {
		if d.cfg.Flavour == DataCenter {
			return d.askOld(ctx, op, typeName) // before 8.4
		}
		return form{}, d.noProject(op)
	}
	if err != nil {
		return form{}, err
	}
	i, err := d.pick(op, types, typeName)
	if err != nil {
		return form{}, err
	}
	fields, err := pages[field](ctx, d, op, "issue/createmeta/"+d.cfg.Project+"/issuetypes/"+url.PathEscape(i.ID))
	for n := range fields {
		fields[n].ID = cmp.Or(fields[n].ID, fields[n].Key)
	}
	return form{i.ID, i.Name, fields}, err
}

type issueType struct {
	ID      string           `json:"id"`
	Name    string           `json:"name"`
	Subtask bool             `json:"subtask"`
	Fields  map[string]field `json:"fields"` // old form only
}

// askOld asks as Jira before 8.4 wants to be asked.
func (d *Desk) askOld(ctx context.Context, op, typeName string) (form, error) {
	var meta struct {
		Projects []struct {
			IssueTypes []issueType `json:"issuetypes"`
		} `json:"projects"`
	}
	q := url.Values{"projectKeys": {d.cfg.Project}, "expand": {"projects.issuetypes.fields"}}
	err := d.call(ctx, op, reads, http.MethodGet, d.api("issue/createmeta?%s", q.Encode()), nil, &meta)
	var f *failure
	if errors.As(err, &f) && f.status == http.StatusNotFound || err == nil && len(meta.Projects) == 0 {
		return form{}, d.noProject(op)
	}
	if err != nil {
		return form{}, err
	}
	i, err := d.pick(op, meta.Projects[0].IssueTypes, typeName)
	if err != nil {
		return form{}, err
	}
	out := form{issueType: i.ID, typeName: i.Name}
	for _, id := range slices.Sorted(maps.Keys(i.Fields)) {
		x := i.Fields[id]
		x.ID = id
		out.fields = append(out.fields, x)
	}
	return out, nil
}

func (d *Desk) noProject(op string) error {
	return d.refuse(op, "project %s does not exist, or the account may not create tickets in it", d.cfg.Project)
}

func (d *Desk) pick(op string, types []issueType, name string) (issueType, error) {
	for _, t := range types {
		if strings.EqualFold(t.Name, name) || t.ID == name {
			if t.Subtask {
				return issueType{}, d.refuse(op, "issue type %q of project %s is for sub-tasks only", name, d.cfg.Project)
			}
			return t, nil
		}
	}
	return issueType{}, d.refuse(op, "project %s has no issue type %q; it has %s", d.cfg.Project, name, list(types, func(t issueType) string { return strconv.Quote(t.Name) }))
}

// pages reads a list that comes in pages, under the name that the flavour gives it.
func pages[T any](ctx context.Context, d *Desk, op, path string) ([]T, error) {
	var out []T
	for range maxPages {
		var page struct {
			IssueTypes []T `json:"issueTypes"`
			Fields     []T `json:"fields"`
			Values     []T `json:"values"`
			Total      int `json:"total"`
		}
		if err := d.call(ctx, op, reads, http.MethodGet, d.api("%s?startAt=%d&maxResults=%d", path, len(out), pageSize), nil, &page); err != nil {
			return nil, err
		}
		got := slices.Concat(page.IssueTypes, page.Fields, page.Values)
		if out = append(out, got...); len(got) == 0 || len(out) >= page.Total {
			return out, nil
		}
	}
	return nil, fmt.Errorf("jira: %s: %s does not end after %d pages", op, path, maxPages)
}

// fill fills in a form. What the project does not have, or wants and does not get, is
// an error that names it.
func (d *Desk) fill(op string, f form, draft ticket.Draft) (map[string]any, error) {
	var errs []string
	bad := func(format string, args ...any) { errs = append(errs, fmt.Sprintf(format, args...)) }
	out := map[string]any{
		"project":   map[string]string{"key": d.cfg.Project},
		"issuetype": map[string]string{"id": f.issueType},
	}
	put := func(id string, value any) {
		if _, err := f.field(id); err != nil {
			bad("%v", err)
			return
		}
		out[id] = value
	}
	put("summary", summaryOf(draft.Summary))
	put("description", d.body(draft.Body))
	labels := []string{markLabel(draft.Mark)}
	for _, l := range slices.Concat(d.cfg.Labels, draft.Labels) {
		if l = labelOf(l); l != "" && !slices.Contains(labels, l) {
			labels = append(labels, l)
		}
	}
	put("labels", labels)
	if name := d.cfg.Priority[draft.Severity]; name != "" {
		d.choose(f, "priority", []string{name}, bad)
		put("priority", map[string]string{"name": name})
	}
	components := slices.Clone(d.cfg.Components)
	if draft.Component != "" && !slices.Contains(components, draft.Component) {
		components = append(components, draft.Component)
	}
	if len(components) > 0 {
		d.choose(f, "components", components, bad)
		put("components", named("name", components...))
	}
	for _, name := range slices.Sorted(maps.Keys(d.cfg.Fields)) {
		x, err := f.field(name)
		if err != nil {
			bad("%v", err)
			continue
		}
		value, err := d.value(x, d.cfg.Fields[name])
		if err != nil {
			bad("field %q: %v", name, err)
			continue
		}
		out[x.ID] = value
	}
	for _, x := range f.fields {
		// Jira fills in the reporter itself, and says so in its later versions only.
		if _, filled := out[x.ID]; x.Required && !x.HasDefault && !filled && x.ID != "reporter" && len(errs) == 0 {
			bad("it wants the field %q (%s), which the configuration does not fill in", x.Name, x.ID)
		}
	}
	if len(errs) > 0 {
		return nil, d.refuse(op, "project %s, issue type %q: %s", d.cfg.Project, f.typeName, strings.Join(errs, "; "))
	}
	return out, nil
}

// choose sees that a field, if it says what it allows, allows these values.
func (d *Desk) choose(f form, id string, values []string, bad func(string, ...any)) {
	x, err := f.field(id)
	if err != nil || len(x.Allowed) == 0 {
		return // that it is not there is said elsewhere
	}
	for _, v := range values {
		if !slices.ContainsFunc(x.Allowed, func(a allowed) bool { return a.Name == v || a.Value == v }) {
			bad("there is no %q in %s; there is %s", v, x.Name, list(x.Allowed, allowed.String))
		}
	}
}

func named(key string, values ...string) []map[string]string {
	out := []map[string]string{}
	for _, v := range values {
		out = append(out, map[string]string{key: v})
	}
	return out
}

// value puts configured text into the form that a field wants.
func (d *Desk) value(x field, v any) (any, error) {
	s, isText := v.(string)
	if !isText {
		return v, nil
	}
	one := func(kind string) (any, error) {
		switch kind {
		case "option":
			if len(x.Allowed) > 0 && !slices.ContainsFunc(x.Allowed, func(a allowed) bool { return a.Value == s }) {
				return nil, fmt.Errorf("%q is not among what it allows: %s", s, list(x.Allowed, allowed.String))
			}
			return map[string]string{"value": s}, nil
		case "component", "version", "priority", "resolution", "securitylevel", "group":
			return map[string]string{"name": s}, nil
		case "user":
			if d.cfg.Flavour == Cloud {
				return map[string]string{"accountId": s}, nil
			}
			return map[string]string{"name": s}, nil
		case "number":
			n, err := strconv.ParseFloat(s, 64)
			if err != nil {
				return nil, fmt.Errorf("%q is no number", s)
			}
			return json.Number(strconv.FormatFloat(n, 'g', -1, 64)), nil
		}
		return s, nil
	}
	switch {
	case x.Schema.Type == "array":
		item, err := one(x.Schema.Items)
		return []any{item}, err
	case strings.HasSuffix(x.Schema.Custom, ":textarea") || x.ID == "environment":
		return d.body(ticket.Doc{{Kind: "text", Text: s}}), nil
	}
	return one(x.Schema.Type)
}
