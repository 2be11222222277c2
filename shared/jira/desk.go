package jira

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime/multipart"
	"net/http"
	"net/textproto"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/auditcanary/auditcanary/shared/inert"
	"github.com/auditcanary/auditcanary/shared/ticket"
)

// issue is one as Jira has it.
type issue struct {
	ID     string `json:"id"`
	Key    string `json:"key"`
	Fields struct {
		Labels     []string     `json:"labels"`
		Status     status       `json:"status"`
		Created    string       `json:"created"`
		Attachment []attachment `json:"attachment"`
	} `json:"fields"`
}

type status struct {
	Name     string `json:"name"`
	Category struct {
		Key string `json:"key"` // new, indeterminate, done
	} `json:"statusCategory"`
}

type attachment struct {
	Filename string `json:"filename"`
}

// fieldsOfIssue are what an Issue is made of.
var fieldsOfIssue = []string{"labels", "status", "created"}

// Find returns the tickets with a mark, oldest first, or the one with a key.
func (d *Desk) Find(ctx context.Context, q ticket.Query) ([]ticket.Issue, error) {
	if q.Key != "" {
		op := "look for " + inert.Line(q.Key)
		i, err := d.get(ctx, op, q.Key, fieldsOfIssue...)
		if err != nil {
			return nil, err
		}
		found, err := d.issue(op, i)
		if err != nil {
			return nil, err
		}
		return []ticket.Issue{found}, nil
	}
	op := "look for tickets with the mark " + inert.Line(q.Mark)
	if !marks().MatchString(q.Mark) {
		return nil, d.refuse(op, "a mark is made of a-z, 0-9 and -")
	}
	label := markLabel(q.Mark)
	var out []ticket.Issue
	raw, err := d.search(ctx, op, fmt.Sprintf(`project = "%s" AND labels = "%s" ORDER BY created ASC, key ASC`, d.cfg.Project, label), fieldsOfIssue)
	if err != nil {
		return nil, err
	}
	for _, r := range raw {
		var i issue
		if err := json.Unmarshal(r, &i); err != nil {
			return nil, fmt.Errorf("jira: %s: an issue that is none: %w", op, err)
		}
		if !slices.Contains(i.Fields.Labels, label) {
			continue // labels are compared by Jira without regard to case, and the index may be old
		}
		found, err := d.issue(op, i)
		if err != nil {
			return nil, err
		}
		out = append(out, found)
	}
	slices.SortStableFunc(out, func(a, b ticket.Issue) int { return a.Created.Compare(b.Created) })
	return out, nil
}

const (
	pageSize = 100
	maxPages = 50
)

// search returns the issues that a JQL query finds, with some of their fields, as Jira
// has them: {"id", "key", "fields": {...}}.
func (d *Desk) search(ctx context.Context, op, jql string, fields []string) ([]json.RawMessage, error) {
	var out []json.RawMessage
	request := map[string]any{"jql": jql, "fields": fields, "maxResults": pageSize}
	path := d.api("search")
	if d.cfg.Flavour == Cloud {
		path = d.api("search/jql")
	}
	for range maxPages {
		var page struct {
			Issues        []json.RawMessage `json:"issues"`
			NextPageToken string            `json:"nextPageToken"`
			Total         int               `json:"total"`
		}
		if err := d.call(ctx, op, reads, http.MethodPost, path, request, &page); err != nil {
			return nil, err
		}
		out = append(out, page.Issues...)
		switch {
		case d.cfg.Flavour == Cloud && page.NextPageToken == "",
			d.cfg.Flavour == DataCenter && (len(page.Issues) == 0 || len(out) >= page.Total):
			return out, nil
		case d.cfg.Flavour == Cloud:
			request["nextPageToken"] = page.NextPageToken
		default:
			request["startAt"] = len(out)
		}
	}
	return nil, fmt.Errorf("jira: %s: it does not end after %d pages (%d issues)", op, maxPages, len(out))
}

// get reads one issue.
func (d *Desk) get(ctx context.Context, op, key string, fields ...string) (issue, error) {
	var i issue
	if !issueKey().MatchString(key) {
		return i, d.refuse(op, "%q is no key of an issue", key)
	}
	err := d.call(ctx, op, reads, http.MethodGet, d.api("issue/%s?fields=%s", key, strings.Join(fields, ",")), nil, &i)
	return i, d.gone(ctx, op, err)
}

// gone tells a ticket that was deleted from a project that we cannot see (any more):
// Jira answers 404 for both.
func (d *Desk) gone(ctx context.Context, op string, err error) error {
	var f *failure
	if !errors.As(err, &f) || f.status != http.StatusNotFound {
		return err
	}
	if err := d.call(ctx, op, reads, http.MethodGet, d.api("project/%s", d.cfg.Project), nil, nil); err != nil {
		var p *failure
		if errors.As(err, &p) && p.status == http.StatusNotFound {
			p.text = fmt.Sprintf("project %s does not exist, or the account may not see it", d.cfg.Project)
		}
		return err
	}
	f.causes = []error{ticket.ErrGone}
	return f
}

// issue checks what Jira says of one.
func (d *Desk) issue(op string, i issue) (ticket.Issue, error) {
	if !issueKey().MatchString(i.Key) {
		return ticket.Issue{}, fmt.Errorf("jira: %s: %q is no key of an issue", op, d.inert(i.Key))
	}
	created, err := time.Parse("2006-01-02T15:04:05.999-0700", i.Fields.Created)
	if err != nil {
		return ticket.Issue{}, fmt.Errorf("jira: %s: %s: created %q is no time", op, i.Key, d.inert(i.Fields.Created))
	}
	if err := d.categorised(op, i.Fields.Status); err != nil {
		return ticket.Issue{}, err
	}
	return ticket.Issue{
		Key: i.Key, URL: d.base.JoinPath("browse", i.Key).String(), Open: !d.resolved(i.Fields.Status),
		Status: d.inert(i.Fields.Status.Name), Labels: i.Fields.Labels, Created: created.UTC(),
	}, nil
}

// resolved: done, or in the status that the configuration calls so.
func (d *Desk) resolved(s status) bool {
	return s.Category.Key == "done" || d.cfg.Resolve != "" && strings.EqualFold(s.Name, d.cfg.Resolve)
}

// Create makes one ticket, once it is clear that the project takes one like it.
func (d *Desk) Create(ctx context.Context, draft ticket.Draft) (ticket.Issue, error) {
	op := "create a ticket in " + d.cfg.Project
	if !marks().MatchString(draft.Mark) {
		return ticket.Issue{}, d.refuse(op, "mark %q: a mark is made of a-z, 0-9 and -", draft.Mark)
	}
	form, err := d.form(ctx, op, d.typeOf(draft.Kind))
	if err != nil {
		return ticket.Issue{}, err
	}
	fields, err := d.fill(op, form, draft)
	if err != nil {
		return ticket.Issue{}, err
	}
	request := map[string]any{
		"fields":     fields,
		"properties": []any{map[string]any{"key": property, "value": map[string]string{"mark": draft.Mark}}},
	}
	var made struct {
		Key string `json:"key"`
	}
	if err := d.call(ctx, op, adds, http.MethodPost, d.api("issue"), request, &made); err != nil {
		var f *failure
		if errors.As(err, &f) && f.status == http.StatusBadRequest {
			d.forget() // the form we know is not the one that it has
			if f.text = strings.TrimSpace(f.text); len(f.fields) > 0 {
				f.text = fmt.Sprintf("project %s does not take it: %s", d.cfg.Project, f.text)
			}
		}
		return ticket.Issue{}, err
	}
	if !issueKey().MatchString(made.Key) {
		return ticket.Issue{}, fmt.Errorf("jira: %s: it is answered as made, with a key that is none: %q", op, d.inert(made.Key))
	}
	labels, _ := fields["labels"].([]string)
	return ticket.Issue{Key: made.Key, URL: d.base.JoinPath("browse", made.Key).String(), Open: true, Labels: labels, Created: d.cfg.Now().UTC()}, nil
}

// Do makes one change of a ticket.
func (d *Desk) Do(ctx context.Context, key string, c ticket.Change) error {
	op, do, err := d.change(key, c)
	if err != nil {
		return err
	}
	var waited time.Duration
	for attempt := 1; ; attempt++ {
		// Each looks first whether it is done, so that after a 503 it is asked for
		// again as a whole.
		err := do(ctx)
		var f *failure
		if err == nil || !errors.As(err, &f) {
			return err
		}
		if f.status == http.StatusServiceUnavailable && f.waits && attempt < 5 {
			if err := d.wait(ctx, f, &waited); err != nil {
				return err
			}
			continue
		}
		return d.missed(ctx, op, key, err)
	}
}

// missed says what a 404 to a change means: the ticket is gone only if Jira does not show
// it either. It answers so as well to a file that is too large, or something in between does.
func (d *Desk) missed(ctx context.Context, op, key string, err error) error {
	var f *failure
	if !errors.As(err, &f) || f.status != http.StatusNotFound || errors.Is(err, ticket.ErrGone) {
		return err
	}
	if _, err := d.get(ctx, op, key, "status"); err != nil {
		return err
	}
	f.text += fmt.Sprintf(" (%s itself is there: is it too large, or does a proxy answer?)", key)
	return f
}

// change is how to make it.
func (d *Desk) change(key string, c ticket.Change) (op string, do func(context.Context) error, err error) {
	op = "change " + inert.Line(key)
	switch {
	case !issueKey().MatchString(key):
		return op, nil, d.refuse(op, "%q is no key of an issue", key)
	case (c.Comment != nil || c.Attach != nil) && !marks().MatchString(c.Mark):
		return op, nil, d.refuse(op, "mark %q: a mark is made of a-z, 0-9 and -", c.Mark)
	case c.Comment != nil:
		op = "comment on " + key
		return op, func(ctx context.Context) error { return d.comment(ctx, op, key, c) }, nil
	case c.Attach != nil:
		op = "attach to " + key
		return op, func(ctx context.Context) error { return d.attach(ctx, op, key, c) }, nil
	case c.To == "resolved" || c.To == "open":
		op = fmt.Sprintf("move %s to %s", key, c.To)
		return op, func(ctx context.Context) error { return d.move(ctx, op, key, c.To) }, nil
	case c.To == "" && (c.Body != nil || c.Summary != ""):
		op = "write " + key
		fields := map[string]any{}
		if c.Body != nil {
			fields["description"] = d.body(c.Body)
		}
		if c.Summary != "" {
			fields["summary"] = summaryOf(c.Summary)
		}
		return op, func(ctx context.Context) error {
			return d.call(ctx, op, sets, http.MethodPut, d.api("issue/%s", key), map[string]any{"fields": fields}, nil)
		}, nil
	}
	return op, nil, d.refuse(op, "no change that can be made (to %q)", c.To)
}

// maxComments is how many of the newest comments are looked at for a mark: a change is
// asked for again soon, or never.
const maxComments = 1000

// comment adds a comment, unless there is one with its mark.
func (d *Desk) comment(ctx context.Context, op, key string, c ticket.Change) error {
	there, err := d.commented(ctx, op, key, c.Mark)
	if err != nil || there {
		return err
	}
	request := map[string]any{}
	if d.cfg.Flavour == Cloud {
		request["body"] = adf(c.Comment)
		request["properties"] = []any{map[string]any{"key": property, "value": map[string]string{"mark": c.Mark}}}
	} else {
		last := ticket.Block{Kind: "text", Text: lastLine(c.Mark)}
		request["body"] = wikiOf(append(fit(c.Comment, maxText-wikiSize(last), wikiSize), last)) // cut before it, not in it
	}
	return d.call(ctx, op, adds, http.MethodPost, d.api("issue/%s/comment", key), request, nil)
}

// lastLine of a comment, where it cannot carry the mark otherwise.
func lastLine(mark string) string { return "auditcanary " + mark }

func (d *Desk) commented(ctx context.Context, op, key, mark string) (bool, error) {
	type comment struct {
		ID         json.Number     `json:"id"`
		Body       json.RawMessage `json:"body"`
		Properties []struct {
			Key   string `json:"key"`
			Value struct {
				Mark string `json:"mark"`
			} `json:"value"`
		} `json:"properties"`
	}
	var ids []json.Number
	for n := 0; n < maxComments; {
		var page struct {
			Comments []comment `json:"comments"`
			Total    int       `json:"total"`
		}
		if err := d.call(ctx, op, reads, http.MethodGet, d.api("issue/%s/comment?orderBy=-created&startAt=%d&maxResults=%d", key, n, pageSize), nil, &page); err != nil {
			return false, err
		}
		for _, c := range page.Comments {
			var body string
			if d.cfg.Flavour == DataCenter && json.Unmarshal(c.Body, &body) == nil && endsIn(body, escape(lastLine(mark))) {
				return true, nil
			}
			ids = append(ids, c.ID)
		}
		if n += len(page.Comments); len(page.Comments) == 0 || n >= page.Total {
			break
		}
	}
	if d.cfg.Flavour == DataCenter || len(ids) == 0 {
		return false, nil
	}
	// Only this call of Cloud's returns what is noted on comments; it takes 1000 at most.
	var list struct {
		Values []comment `json:"values"`
	}
	request := map[string]any{"ids": ids[:min(len(ids), maxComments)]}
	if err := d.call(ctx, op, reads, http.MethodPost, d.api("comment/list?expand=properties"), request, &list); err != nil {
		return false, err
	}
	for _, c := range list.Values {
		for _, p := range c.Properties {
			if p.Key == property && p.Value.Mark == mark {
				return true, nil
			}
		}
	}
	return false, nil
}

// endsIn reports whether the last line of a comment is this one.
func endsIn(body, line string) bool {
	body = strings.TrimRight(body, " \r\n")
	return strings.TrimSpace(body[strings.LastIndexByte(body, '\n')+1:]) == line
}

var fileName = regexp.MustCompile(`[^A-Za-z0-9._-]+`)

// attachName carries the mark of an attachment: "evidence.json" becomes "evidence.MARK.json".
func attachName(name, mark string) string {
	name = strings.Trim(fileName.ReplaceAllString(name, "-"), ".-")
	name = strings.TrimSuffix(name, ".json")
	return clip(name, 100) + "." + mark + ".json"
}

// attach adds a file, unless there is one with its mark.
func (d *Desk) attach(ctx context.Context, op, key string, c ticket.Change) error {
	name := attachName(c.Name, c.Mark)
	i, err := d.get(ctx, op, key, "attachment")
	if err != nil {
		return err
	}
	if slices.ContainsFunc(i.Fields.Attachment, func(a attachment) bool { return a.Filename == name }) {
		return nil
	}
	return d.send(ctx, op, adds, nil, func(ctx context.Context) (*http.Request, error) {
		var form bytes.Buffer
		w := multipart.NewWriter(&form)
		part, err := w.CreatePart(textproto.MIMEHeader{
			"Content-Disposition": {fmt.Sprintf(`form-data; name="file"; filename="%s"`, name)},
			"Content-Type":        {"application/json"},
		})
		if err == nil {
			_, err = io.Copy(part, bytes.NewReader(c.Attach))
		}
		if err == nil {
			err = w.Close()
		}
		if err != nil {
			return nil, err
		}
		req, err := d.client.NewMultiPartRequestWithContext(ctx, http.MethodPost, d.api("issue/%s/attachments", url.PathEscape(key)), &form)
		if err == nil {
			req.Header.Set("Content-Type", w.FormDataContentType())
			req.Header.Set("X-Atlassian-Token", "no-check")
			req.Header.Set("Accept", "application/json")
		}
		return req, err
	})
}
