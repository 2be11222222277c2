package access

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// MaxDocument bounds one policy document, bytes; the largest that AWS takes (a
// key's) has 32 KB.
const MaxDocument = 128 << 10

// Document is one policy document.
type Document struct {
	Version    string
	ID         string
	Statements []Statement
	// Odd is what is not known here, of the document as a whole: an element, a
	// version. No statement of such a document is decided.
	Odd []string
}

// Statement of a policy.
type Statement struct {
	Sid string
	// Effect is Allow or Deny; anything else is not known here (see Odd).
	Effect string
	// Actions and the like are as written; nil: the element is absent.
	Actions, NotActions     []string
	Resources, NotResources []string
	// Principals and NotPrincipals of a resource policy; nil: the element is absent.
	Principals, NotPrincipals []Who
	Conditions                []Condition
	// Odd is what is not known here. The statement counts as neither met nor unmet.
	Odd []string

	actions, notActions     []glob // lower case
	resources, notResources []part
	variables               bool // the version has policy variables
}

// part is an element of a resource list.
type part struct {
	text string
	glob glob // nil: it has policy variables
}

// Who is one principal that a resource policy names.
type Who struct {
	// Kind: AWS, Service, Federated, CanonicalUser or what else it says; "*" for everybody.
	Kind string
	Name string
}

func (w Who) String() string {
	if w.Everybody() {
		return "*"
	}
	return w.Kind + " " + w.Name
}

// Everybody is "Principal": "*" and {"AWS": "*"}.
func (w Who) Everybody() bool { return w.Name == "*" && (w.Kind == "*" || w.Kind == "AWS") }

// ParseDocument reads a policy document. An error means that it cannot be read at
// all: no JSON, a member given twice (which of them counts is nobody's to say), a
// statement that is no object, an element of the wrong type. What is merely not
// known here is kept, in Odd.
func ParseDocument(raw []byte) (Document, error) {
	if len(raw) > MaxDocument {
		return Document{}, fmt.Errorf("policy document: %d bytes, more than %d", len(raw), MaxDocument)
	}
	d, err := parseDocument(raw)
	if err != nil {
		return Document{}, fmt.Errorf("policy document: %w", err)
	}
	return d, nil
}

type members map[string]jsontext.Value

func object(raw []byte) (members, error) {
	var m members
	if err := json.Unmarshal(raw, &m); err != nil { // refuses members given twice, at any depth
		return nil, err
	}
	if m == nil {
		return nil, errors.New("null is no object")
	}
	return m, nil
}

func parseDocument(raw []byte) (d Document, err error) {
	top, err := object(raw)
	if err != nil {
		return d, err
	}
	for _, name := range slices.Sorted(maps.Keys(top)) {
		switch name {
		case "Version":
			d.Version, err = text(name, top[name])
		case "Id":
			d.ID, err = text(name, top[name])
		case "Statement":
		default:
			d.Odd = append(d.Odd, fmt.Sprintf("element %q", name))
		}
		if err != nil {
			return d, err
		}
	}
	if d.Version != "" && d.Version != "2012-10-17" && d.Version != "2008-10-17" {
		d.Odd = append(d.Odd, fmt.Sprintf("version %q", d.Version))
	}
	list, err := oneOrMany(top["Statement"])
	if err != nil {
		return d, fmt.Errorf("Statement: %w", err)
	}
	for i, one := range list {
		s, err := parseStatement(one, d.Version == "2012-10-17")
		if err != nil {
			return d, fmt.Errorf("statement %d: %w", i+1, err)
		}
		d.Statements = append(d.Statements, s)
	}
	return d, nil
}

// oneOrMany are the elements of a list, or the one that stands for a list of one.
func oneOrMany(raw jsontext.Value) ([]jsontext.Value, error) {
	switch raw.Kind() {
	case '[':
		var list []jsontext.Value
		err := json.Unmarshal(raw, &list)
		return list, err
	case 0:
		return nil, errors.New("is missing")
	}
	return []jsontext.Value{raw}, nil
}

func text(name string, raw jsontext.Value) (string, error) {
	if raw.Kind() != '"' {
		return "", fmt.Errorf("%s is no string", name)
	}
	var s string
	err := json.Unmarshal(raw, &s)
	return s, err
}

// texts reads a string or a list of strings. Never nil.
func texts(name string, raw jsontext.Value) ([]string, error) {
	list, err := oneOrMany(raw)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	out := make([]string, 0, len(list))
	for _, v := range list {
		s, err := text(name, v)
		if err != nil {
			return nil, err
		}
		out = append(out, s)
	}
	return out, nil
}

func parseStatement(raw jsontext.Value, variables bool) (s Statement, err error) {
	m, err := object(raw)
	if err != nil {
		return s, err
	}
	s.variables = variables
	for _, name := range slices.Sorted(maps.Keys(m)) {
		v := m[name]
		switch name {
		case "Sid":
			s.Sid, err = text(name, v)
		case "Effect":
			s.Effect, err = text(name, v)
		case "Action":
			s.Actions, err = texts(name, v)
		case "NotAction":
			s.NotActions, err = texts(name, v)
		case "Resource":
			s.Resources, err = texts(name, v)
		case "NotResource":
			s.NotResources, err = texts(name, v)
		case "Principal":
			s.Principals, err = parsePrincipals(v)
		case "NotPrincipal":
			s.NotPrincipals, err = parsePrincipals(v)
		case "Condition":
			s.Conditions, err = parseConditions(v, variables)
		default:
			s.Odd = append(s.Odd, fmt.Sprintf("element %q", name))
		}
		if err != nil {
			return s, err
		}
	}
	if s.Effect != "Allow" && s.Effect != "Deny" {
		s.Odd = append(s.Odd, fmt.Sprintf("effect %q", s.Effect))
	}
	for _, pair := range []struct {
		name        string
		with, other bool
	}{
		{"Action", s.Actions != nil, s.NotActions != nil},
		{"Resource", s.Resources != nil, s.NotResources != nil},
		{"Principal", s.Principals != nil, s.NotPrincipals != nil},
	} {
		if pair.with && pair.other {
			s.Odd = append(s.Odd, fmt.Sprintf("both %s and Not%s", pair.name, pair.name))
		}
	}
	if s.Actions == nil && s.NotActions == nil {
		s.Odd = append(s.Odd, "no action")
	}
	s.actions, s.notActions = lowerGlobs(s.Actions), lowerGlobs(s.NotActions)
	s.resources, s.notResources = s.parts(s.Resources), s.parts(s.NotResources)
	return s, nil
}

func lowerGlobs(list []string) []glob {
	if list == nil {
		return nil
	}
	out := make([]glob, len(list))
	for i, text := range list {
		out[i] = compile(strings.ToLower(text))
	}
	return out
}

func (s *Statement) parts(list []string) []part {
	if list == nil {
		return nil
	}
	out := make([]part, len(list))
	for i, text := range list {
		out[i].text = text
		if !s.variables || !hasVariable(text) {
			out[i].glob = compile(text)
		}
	}
	return out
}

// parsePrincipals reads "*", {"AWS": "...", "Service": [...]}, or a string that
// stands for {"AWS": it}. Never nil.
func parsePrincipals(raw jsontext.Value) ([]Who, error) {
	if raw.Kind() == '"' {
		name, err := text("Principal", raw)
		kind := "AWS"
		if name == "*" {
			kind = "*"
		}
		return []Who{{kind, name}}, err
	}
	m, err := object(raw)
	if err != nil {
		return nil, fmt.Errorf("Principal: %w", err)
	}
	out := []Who{}
	for _, kind := range slices.Sorted(maps.Keys(m)) {
		names, err := texts("Principal", m[kind])
		if err != nil {
			return nil, err
		}
		for _, name := range names {
			out = append(out, Who{kind, name})
		}
	}
	return out, nil
}

func parseConditions(raw jsontext.Value, variables bool) ([]Condition, error) {
	operators, err := object(raw)
	if err != nil {
		return nil, fmt.Errorf("Condition: %w", err)
	}
	var out []Condition
	for _, op := range slices.Sorted(maps.Keys(operators)) {
		keys, err := object(operators[op])
		if err != nil {
			return nil, fmt.Errorf("Condition %s: %w", op, err)
		}
		for _, key := range slices.Sorted(maps.Keys(keys)) {
			values, err := oneOrMany(keys[key])
			if err != nil {
				return nil, fmt.Errorf("Condition %s %s: %w", op, key, err)
			}
			c := Condition{Operator: op, Key: key, Values: make([]string, 0, len(values))}
			for _, v := range values {
				value, err := scalar(v)
				if err != nil {
					return nil, fmt.Errorf("Condition %s %s: %w", op, key, err)
				}
				c.Values = append(c.Values, value)
			}
			c.prepare(variables)
			out = append(out, c)
		}
	}
	return out, nil
}

// scalar is a string, a number or a boolean as text.
func scalar(raw jsontext.Value) (string, error) {
	switch raw.Kind() {
	case '"':
		return text("value", raw)
	case 't', 'f', '0':
		return string(bytes.TrimSpace(raw)), nil
	}
	return "", errors.New("the value is neither string nor number nor boolean")
}
