package jira

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
)

// A query is the part of JQL that is asked for here: clauses on project, labels, key,
// status, statusCategory, issuetype, created, updated and summary, with =, !=, in, not
// in, ~, <, <=, >, >=, is (not) empty, joined by AND, OR, NOT and parentheses, with
// ORDER BY.
type query struct {
	match func(found) (bool, error)
	order []key
	// bounded: it has any clause; Cloud answers no other.
	bounded bool
}

type key struct {
	field string
	desc  bool
}

// found is an issue as a search sees it.
type found struct {
	*issue
	seen
	project *Project
}

func jqlError(format string, args ...any) error {
	return fail(400, "Error in the JQL Query: "+fmt.Sprintf(format, args...))
}

// parse reads a query.
func (s *Server) parse(jql string) (query, error) {
	tokens, err := scan(jql)
	if err != nil {
		return query{}, err
	}
	p := &jqlParser{s: s, tokens: tokens}
	q := query{match: func(found) (bool, error) { return true, nil }}
	if !p.at("order") && len(p.tokens) > 0 {
		q.bounded = true
		if q.match, err = p.or(0); err != nil {
			return query{}, err
		}
	}
	if p.take("order") {
		if !p.take("by") {
			return query{}, jqlError("Expecting 'by' after 'order'.")
		}
		for {
			k := key{field: strings.ToLower(p.next().text)}
			if !slices.Contains([]string{"created", "updated", "key", "issuekey"}, k.field) {
				return query{}, jqlError("Not able to sort using field '%s'.", k.field)
			}
			if p.take("desc") {
				k.desc = true
			} else {
				p.take("asc")
			}
			q.order = append(q.order, k)
			if !p.take(",") {
				break
			}
		}
	}
	if len(p.tokens) > 0 {
		return query{}, jqlError("Expecting either 'OR' or 'AND' but got '%s'.", p.tokens[0].text)
	}
	return q, nil
}

type token struct {
	text   string
	quoted bool
}

func scan(jql string) ([]token, error) {
	var out []token
	in := []rune(jql)
	for i := 0; i < len(in); {
		switch r := in[i]; {
		case unicode.IsSpace(r):
			i++
		case r == '"' || r == '\'':
			var text strings.Builder
			j := i + 1
			for ; j < len(in) && in[j] != r; j++ {
				if in[j] == '\\' && j+1 < len(in) {
					j++
				}
				text.WriteRune(in[j])
			}
			if j == len(in) {
				return nil, jqlError("The quoted string '%s' has not been completed.", string(in[i+1:]))
			}
			out = append(out, token{text.String(), true})
			i = j + 1
		case strings.ContainsRune("(),", r):
			out = append(out, token{string(r), false})
			i++
		case strings.ContainsRune("=!<>~", r):
			j := i + 1
			for j < len(in) && strings.ContainsRune("=~", in[j]) {
				j++
			}
			out = append(out, token{string(in[i:j]), false})
			i = j
		default:
			j := i
			for j < len(in) && !unicode.IsSpace(in[j]) && !strings.ContainsRune(`"'(),=!<>~`, in[j]) {
				if strings.ContainsRune(`+*/%^$#@[];?|&{}\`, in[j]) {
					return nil, jqlError("The character '%c' is a reserved JQL character. You must enclose it in a string or use an escape.", in[j])
				}
				j++
			}
			out = append(out, token{string(in[i:j]), false})
			i = j
		}
	}
	return out, nil
}

type jqlParser struct {
	s      *Server
	tokens []token
}

func (p *jqlParser) at(word string) bool {
	return len(p.tokens) > 0 && !p.tokens[0].quoted && strings.EqualFold(p.tokens[0].text, word)
}

func (p *jqlParser) take(word string) bool {
	ok := p.at(word)
	if ok {
		p.tokens = p.tokens[1:]
	}
	return ok
}

func (p *jqlParser) next() token {
	if len(p.tokens) == 0 {
		return token{}
	}
	t := p.tokens[0]
	p.tokens = p.tokens[1:]
	return t
}

type condition = func(found) (bool, error)

func (p *jqlParser) or(deep int) (condition, error) {
	left, err := p.and(deep)
	for err == nil && p.take("or") {
		var right condition
		if right, err = p.and(deep); err == nil {
			l := left
			left = func(f found) (bool, error) {
				if ok, err := l(f); ok || err != nil {
					return ok, err
				}
				return right(f)
			}
		}
	}
	return left, err
}

func (p *jqlParser) and(deep int) (condition, error) {
	left, err := p.not(deep)
	for err == nil && p.take("and") {
		var right condition
		if right, err = p.not(deep); err == nil {
			l := left
			left = func(f found) (bool, error) {
				if ok, err := l(f); !ok || err != nil {
					return ok, err
				}
				return right(f)
			}
		}
	}
	return left, err
}

func (p *jqlParser) not(deep int) (condition, error) {
	if deep > 50 {
		return nil, jqlError("The query is too deep.")
	}
	if p.take("not") {
		c, err := p.not(deep + 1)
		return func(f found) (bool, error) {
			ok, err := c(f)
			return !ok, err
		}, err
	}
	if p.take("(") {
		c, err := p.or(deep + 1)
		if err == nil && !p.take(")") {
			err = jqlError("Expecting ')'.")
		}
		return c, err
	}
	return p.clause()
}

func (p *jqlParser) clause() (condition, error) {
	field := strings.ToLower(p.next().text)
	get, err := p.field(field)
	if err != nil {
		return nil, err
	}
	op := strings.ToLower(p.next().text)
	if op == "not" && p.take("in") {
		op = "not in"
	}
	if op == "is" {
		want := !p.take("not")
		if !p.take("empty") && !p.take("null") {
			return nil, jqlError("Expecting EMPTY after IS.")
		}
		return func(f found) (bool, error) { return (len(get(f)) == 0) == want, nil }, nil
	}
	var values []string
	switch op {
	case "in", "not in":
		if !p.take("(") {
			return nil, jqlError("Expecting '(' after '%s'.", op)
		}
		for {
			values = append(values, p.next().text)
			if !p.take(",") {
				break
			}
		}
		if !p.take(")") {
			return nil, jqlError("Expecting ')'.")
		}
	case "=", "!=", "~", "<", "<=", ">", ">=":
		if len(p.tokens) == 0 {
			return nil, jqlError("Expecting a value after '%s'.", op)
		}
		values = []string{p.next().text}
	default:
		return nil, jqlError("Expecting operator but got '%s'.", op)
	}
	for _, v := range values {
		if field == "project" && p.s.project(v) == nil {
			return nil, fail(400, fmt.Sprintf("The value '%s' does not exist for the field 'project'.", v))
		}
	}
	if field == "created" || field == "updated" {
		return p.times(field, op, values[0], get)
	}
	return func(f found) (bool, error) {
		has := slices.ContainsFunc(get(f), func(got string) bool {
			return slices.ContainsFunc(values, func(v string) bool {
				if op == "~" {
					return strings.Contains(strings.ToLower(got), strings.ToLower(strings.Trim(v, `*"`)))
				}
				return strings.EqualFold(got, v)
			})
		})
		switch op {
		case "=", "in", "~":
			return has, nil
		case "!=", "not in":
			return !has && len(get(f)) > 0, nil // JQL: what is empty is not unequal either
		}
		return false, jqlError("The operator '%s' is not supported by the '%s' field.", op, field)
	}, nil
}

func (p *jqlParser) field(name string) (func(found) []string, error) {
	switch name {
	case "project":
		return func(f found) []string { return []string{f.project.Key} }, nil
	case "labels":
		return func(f found) []string { return labelsOf(f.seen.fields) }, nil
	case "key", "issuekey", "id", "issue":
		return func(f found) []string { return []string{f.key, f.id} }, nil
	case "status":
		return func(f found) []string { return []string{f.seen.status.Name} }, nil
	case "statuscategory":
		return func(f found) []string { return []string{f.seen.status.Category, categoryNames[f.seen.status.Category]} }, nil
	case "issuetype", "type":
		return func(f found) []string {
			if t := f.project.kind(f.kind); t != nil {
				return []string{t.Name, t.ID}
			}
			return nil
		}, nil
	case "summary":
		return func(f found) []string { s, _ := f.seen.fields["summary"].(string); return []string{s} }, nil
	case "created":
		return func(f found) []string { return []string{stamp(f.created)} }, nil
	case "updated":
		return func(f found) []string { return []string{stamp(f.seen.updated)} }, nil
	}
	return nil, jqlError("Field '%s' does not exist or you do not have permission to view it.", name)
}

var categoryNames = map[string]string{"new": "To Do", "indeterminate": "In Progress", "done": "Done"}

// times compares a time with one that is given as a date, a date with a time, or as
// how long ago ("-7d").
func (p *jqlParser) times(field, op, value string, get func(found) []string) (condition, error) {
	var than time.Time
	var err error
	if rest, ago := strings.CutPrefix(value, "-"); ago && len(rest) > 1 {
		unit := map[byte]time.Duration{'m': time.Minute, 'h': time.Hour, 'd': 24 * time.Hour, 'w': 7 * 24 * time.Hour}[rest[len(rest)-1]]
		var n int
		if n, err = strconv.Atoi(rest[:len(rest)-1]); err == nil && unit > 0 && n >= 0 && n < 100_000 {
			than = p.s.now().Add(-time.Duration(n) * unit)
		}
	} else {
		for _, layout := range []string{"2006-01-02 15:04", "2006/01/02 15:04", "2006-01-02", "2006/01/02"} {
			if than, err = time.Parse(layout, value); err == nil {
				break
			}
		}
	}
	if err != nil || than.IsZero() {
		return nil, jqlError("Date value '%s' for field '%s' is invalid.", value, field)
	}
	return func(f found) (bool, error) {
		at, err := time.Parse("2006-01-02T15:04:05.000-0700", get(f)[0])
		if err != nil {
			return false, err
		}
		c := at.Compare(than)
		switch op {
		case "<":
			return c < 0, nil
		case "<=":
			return c <= 0, nil
		case ">":
			return c > 0, nil
		case ">=":
			return c >= 0, nil
		}
		return false, jqlError("The operator '%s' is not supported by the '%s' field.", op, field)
	}, nil
}

// run returns what a query finds in the index, in its order.
func (s *Server) run(q query) ([]found, error) {
	var out []found
	for _, i := range s.issues {
		at, there := s.indexed(i)
		f := found{i, at, s.project(i.project)}
		if !there || f.project == nil {
			continue
		}
		ok, err := q.match(f)
		if err != nil {
			return nil, err
		}
		if ok {
			out = append(out, f)
		}
	}
	number := func(f found) int {
		_, n, _ := strings.Cut(f.key, "-")
		i, _ := strconv.Atoi(n)
		return i
	}
	slices.SortStableFunc(out, func(a, b found) int {
		for _, k := range q.order {
			var c int
			switch k.field {
			case "created":
				c = a.created.Compare(b.created)
			case "updated":
				c = a.seen.updated.Compare(b.seen.updated)
			default:
				c = cmp.Or(cmp.Compare(a.project.Key, b.project.Key), cmp.Compare(number(a), number(b)))
			}
			if k.desc {
				c = -c
			}
			if c != 0 {
				return c
			}
		}
		return b.created.Compare(a.created) // newest first, as Jira does
	})
	return out, nil
}
