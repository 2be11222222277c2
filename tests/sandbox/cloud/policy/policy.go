// Package policy decides whether an AWS-style policy set allows one request.
//
// It carries the subset that the sandbox's world uses: Action, NotAction,
// Resource, NotResource, Principal, and the condition operators and keys listed
// in condition.go. What it does not carry, it refuses: a statement that applies
// to a request but holds an element this package cannot evaluate denies the
// request, whatever its Effect, and the decision says which element it was.
// So a gap here can make the sandbox too strict, never too lenient.
package policy

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/url"
	"strings"
)

// Document is one policy.
type Document struct {
	ID         string
	Version    string
	Statements []Statement
	// Text is the document as it was read.
	Text string
}

// Statement of a policy. Empty lists mean the element is absent.
type Statement struct {
	Sid          string
	Allow        bool
	Actions      []string
	NotActions   []string
	Resources    []string
	NotResources []string
	// Principals of a resource policy: "*", ARNs or account ids for AWS
	// principals; a principal of any other kind matches nobody in the sandbox.
	Principals []string
	conditions []condition
	// unsupported names the first element that cannot be evaluated, "" if none.
	unsupported string
}

// Conditional reports whether a statement holds under conditions only.
func (s Statement) Conditional() bool { return len(s.conditions) > 0 || s.unsupported != "" }

// MaxSize bounds what Parse reads; the largest AWS policy (a bucket's) has 20 KB.
const MaxSize = 20 << 10

// Form says what kind of document is read: which elements it must and must not have.
type Form int

const (
	// ForIdentity: identity, session, boundary and service control policies.
	ForIdentity Form = iota
	// ForTrust: a role's trust policy; the role itself is the resource.
	ForTrust
	// ForResource: the policy of a bucket.
	ForResource
)

// Parse reads a policy document. Unknown elements, duplicate or missing ones
// and wrong types are errors; unsupported condition operators and keys are not
// (see Decide).
func Parse(raw []byte, form Form) (Document, error) {
	if len(raw) > MaxSize {
		return Document{}, fmt.Errorf("policy has %d bytes, more than %d", len(raw), MaxSize)
	}
	if err := rejectDuplicates(raw); err != nil {
		return Document{}, err
	}
	var p struct {
		Version   string
		ID        string `json:"Id"`
		Statement json.RawMessage
	}
	if err := strict(raw, &p); err != nil {
		return Document{}, fmt.Errorf("policy: %w", err)
	}
	if p.Version != "" && p.Version != "2012-10-17" && p.Version != "2008-10-17" {
		return Document{}, fmt.Errorf("policy: Version %q is not known", p.Version)
	}
	list, err := oneOrMany(p.Statement)
	if err != nil || len(list) == 0 {
		return Document{}, errors.New("policy: Statement must be an object or a list of objects")
	}
	doc := Document{ID: p.ID, Version: p.Version, Text: string(raw)}
	for i, raw := range list {
		s, err := parseStatement(raw, form)
		if err != nil {
			return Document{}, fmt.Errorf("policy: statement %d: %w", i+1, err)
		}
		doc.Statements = append(doc.Statements, s)
	}
	return doc, nil
}

// MustParse is Parse for policies that are part of the program.
func MustParse(text string, form Form) Document {
	d, err := Parse([]byte(text), form)
	if err != nil {
		panic(fmt.Sprintf("built-in policy: %v\n%s", err, text))
	}
	return d
}

func parseStatement(raw json.RawMessage, form Form) (Statement, error) {
	var p struct {
		Sid, Effect                              string
		Action, NotAction, Resource, NotResource json.RawMessage
		Principal, NotPrincipal                  json.RawMessage
		Condition                                map[string]map[string]json.RawMessage
	}
	if err := strict(raw, &p); err != nil {
		return Statement{}, err
	}
	s := Statement{Sid: p.Sid}
	switch p.Effect {
	case "Allow":
		s.Allow = true
	case "Deny":
	default:
		return Statement{}, fmt.Errorf("element Effect: %q is neither Allow nor Deny", p.Effect)
	}
	var err error
	for _, f := range []struct {
		name string
		raw  json.RawMessage
		to   *[]string
	}{{"Action", p.Action, &s.Actions}, {"NotAction", p.NotAction, &s.NotActions},
		{"Resource", p.Resource, &s.Resources}, {"NotResource", p.NotResource, &s.NotResources}} {
		if *f.to, err = stringsOf(f.raw); err != nil {
			return Statement{}, fmt.Errorf("%s: %w", f.name, err)
		}
	}
	if (p.Action == nil) == (p.NotAction == nil) {
		return Statement{}, errors.New("exactly one of Action and NotAction is needed")
	}
	if p.Resource != nil && p.NotResource != nil {
		return Statement{}, errors.New("elements Resource and NotResource exclude each other")
	}
	hasResource, hasPrincipal := p.Resource != nil || p.NotResource != nil, p.Principal != nil || p.NotPrincipal != nil
	if hasResource != (form != ForTrust) || hasPrincipal != (form != ForIdentity) {
		return Statement{}, fmt.Errorf("has Resource: %t, has Principal: %t; that is not the form of this kind of policy", hasResource, hasPrincipal)
	}
	for _, r := range append(append([]string{}, s.Resources...), s.NotResources...) {
		if strings.Contains(r, "${") {
			s.unsupported = "policy variable in " + r
		}
	}
	if p.NotPrincipal != nil {
		s.unsupported = "NotPrincipal"
	}
	if s.Principals, err = principalsOf(p.Principal); err != nil {
		return Statement{}, err
	}
	for op, keys := range p.Condition {
		for key, raw := range keys {
			values, err := scalarsOf(raw)
			if err != nil {
				return Statement{}, fmt.Errorf("element Condition: %s %s: %w", op, key, err)
			}
			c, why := newCondition(op, key, values)
			if why != "" {
				s.unsupported = why
			}
			s.conditions = append(s.conditions, c)
		}
	}
	return s, nil
}

func principalsOf(raw json.RawMessage) ([]string, error) {
	if raw == nil {
		return nil, nil
	}
	var all string
	if json.Unmarshal(raw, &all) == nil {
		if all != "*" {
			return nil, fmt.Errorf("element Principal %q: only \"*\" may stand alone", all)
		}
		return []string{"*"}, nil
	}
	var kinds map[string]json.RawMessage
	if err := json.Unmarshal(raw, &kinds); err != nil {
		return nil, fmt.Errorf("element Principal: %w", err)
	}
	out := []string{}
	for kind, raw := range kinds {
		names, err := stringsOf(raw)
		if err != nil {
			return nil, fmt.Errorf("element Principal %s: %w", kind, err)
		}
		switch kind {
		case "AWS", "Service": // a service is no account's: its name is "sns.amazonaws.com"
			out = append(out, names...)
		case "Federated", "CanonicalUser":
			// Nobody of that kind signs requests in the sandbox.
		default:
			return nil, fmt.Errorf("element Principal: kind %q is not known", kind)
		}
	}
	return out, nil
}

func strict(raw []byte, v any) error {
	d := json.NewDecoder(bytes.NewReader(raw))
	d.DisallowUnknownFields()
	if err := d.Decode(v); err != nil {
		return err
	}
	if _, err := d.Token(); err != io.EOF {
		return errors.New("something follows the JSON value")
	}
	return nil
}

// rejectDuplicates refuses an object with the same member twice (two readers of
// such a policy may see two policies), members that differ in case only from a
// known one, and more than 16 levels.
func rejectDuplicates(raw []byte) error {
	d := json.NewDecoder(bytes.NewReader(raw))
	var walk func(depth int) error
	walk = func(depth int) error {
		if depth > 16 {
			return errors.New("policy: more than 16 levels")
		}
		t, err := d.Token()
		if err != nil {
			return fmt.Errorf("policy: %w", err)
		}
		delim, ok := t.(json.Delim)
		if !ok {
			return nil
		}
		seen := map[string]bool{}
		for d.More() {
			if delim == '{' {
				k, err := d.Token()
				if err != nil {
					return fmt.Errorf("policy: %w", err)
				}
				name := strings.ToLower(fmt.Sprint(k))
				if seen[name] {
					return fmt.Errorf("policy: member %q twice", k)
				}
				seen[name] = true
			}
			if err := walk(depth + 1); err != nil {
				return err
			}
		}
		_, err = d.Token()
		return err
	}
	return walk(0)
}

func oneOrMany(raw json.RawMessage) ([]json.RawMessage, error) {
	var many []json.RawMessage
	if json.Unmarshal(raw, &many) == nil {
		return many, nil
	}
	if len(raw) == 0 {
		return nil, errors.New("missing")
	}
	return []json.RawMessage{raw}, nil
}

func stringsOf(raw json.RawMessage) ([]string, error) {
	if raw == nil {
		return nil, nil
	}
	var one string
	if json.Unmarshal(raw, &one) == nil {
		return []string{one}, nil
	}
	var many []string
	if err := json.Unmarshal(raw, &many); err != nil {
		return nil, errors.New("must be a string or a list of strings")
	}
	if len(many) == 0 {
		return nil, errors.New("must not be empty")
	}
	return many, nil
}

// scalarsOf is stringsOf that also takes booleans and numbers, as conditions do.
func scalarsOf(raw json.RawMessage) ([]string, error) {
	list, err := oneOrMany(raw)
	if err != nil {
		return nil, err
	}
	var out []string
	for _, r := range list {
		d := json.NewDecoder(bytes.NewReader(r))
		d.UseNumber()
		var v any
		if err := d.Decode(&v); err != nil {
			return nil, err
		}
		switch v := v.(type) {
		case string:
			out = append(out, v)
		case bool, json.Number:
			out = append(out, fmt.Sprint(v))
		default:
			return nil, errors.New("must be a string, a boolean or a list of them")
		}
	}
	return out, nil
}

// Encode gives a document the form in which IAM returns it: percent-encoded.
func Encode(doc string) string {
	return strings.ReplaceAll(url.QueryEscape(doc), "+", "%20")
}
