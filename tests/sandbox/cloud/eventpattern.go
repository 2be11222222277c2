package cloud

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"slices"
	"strings"
)

// eventPattern is an EventBridge event pattern, which SNS filter policies on the
// body use too. A pattern that is nobody's is refused, never read as another one.
type eventPattern struct {
	fields []fieldPattern
	// or: of each list one of its patterns must match.
	or [][]eventPattern
}

type fieldPattern struct {
	name   string
	nested *eventPattern
	leaf   []valuePattern // one of them must match
}

// valuePattern says whether a value matches; ok is false where there is none.
type valuePattern func(v any, ok bool) bool

func compileEventPattern(text string) (*eventPattern, error) {
	d := json.NewDecoder(strings.NewReader(text))
	d.UseNumber()
	var doc map[string]any
	if err := d.Decode(&doc); err != nil {
		return nil, fmt.Errorf("it is no JSON object: %w", err)
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return nil, errors.New("something follows the JSON object")
	}
	return eventPatternOf(doc, "")
}

func eventPatternOf(doc map[string]any, path string) (*eventPattern, error) {
	if len(doc) == 0 {
		return nil, fmt.Errorf("empty objects are not allowed at %q", path)
	}
	p := &eventPattern{}
	for name, v := range doc {
		at := strings.TrimPrefix(path+"."+name, ".")
		switch v := v.(type) {
		case map[string]any:
			nested, err := eventPatternOf(v, at)
			if err != nil {
				return nil, err
			}
			p.fields = append(p.fields, fieldPattern{name: name, nested: nested})
		case []any:
			if len(v) == 0 {
				return nil, fmt.Errorf("empty arrays are not allowed at %q", at)
			}
			if name == "$or" {
				list, err := alternatives(v, at, path)
				if err != nil {
					return nil, err
				}
				p.or = append(p.or, list)
				continue
			}
			f := fieldPattern{name: name}
			for _, item := range v {
				match, err := valuePatternOf(item)
				if err != nil {
					return nil, fmt.Errorf("%q: %w", at, err)
				}
				f.leaf = append(f.leaf, match)
			}
			p.fields = append(p.fields, f)
		default:
			return nil, fmt.Errorf("%q must be an object or an array", at)
		}
	}
	return p, nil
}

func alternatives(list []any, at, path string) ([]eventPattern, error) {
	var out []eventPattern
	for _, item := range list {
		m, ok := item.(map[string]any)
		if !ok {
			return nil, fmt.Errorf("%q holds something that is no object", at)
		}
		p, err := eventPatternOf(m, path)
		if err != nil {
			return nil, err
		}
		out = append(out, *p)
	}
	return out, nil
}

// matches reports whether an event matches.
func (p *eventPattern) matches(event map[string]any) bool {
	for _, f := range p.fields {
		v, ok := event[f.name]
		if f.nested != nil && !f.nested.within(v) || f.nested == nil && !anyLeaf(f.leaf, v, ok) {
			return false
		}
	}
	for _, list := range p.or {
		if !slices.ContainsFunc(list, func(p eventPattern) bool { return p.matches(event) }) {
			return false
		}
	}
	return true
}

// within: of a list one object must match as a whole. What is no object has no fields.
func (p *eventPattern) within(v any) bool {
	switch v := v.(type) {
	case map[string]any:
		return p.matches(v)
	case []any:
		if slices.ContainsFunc(v, func(x any) bool { m, ok := x.(map[string]any); return ok && p.matches(m) }) {
			return true
		}
	}
	return p.matches(nil)
}

// anyLeaf: of a list one value must match. An object, or an empty list, is no value.
func anyLeaf(leaf []valuePattern, v any, ok bool) bool {
	values := []any{v}
	if list, is := v.([]any); is {
		values = list
	}
	values = slices.DeleteFunc(slices.Clone(values), func(v any) bool { _, object := v.(map[string]any); return object })
	if !ok || len(values) == 0 {
		return slices.ContainsFunc(leaf, func(match valuePattern) bool { return match(nil, false) })
	}
	return slices.ContainsFunc(values, func(v any) bool {
		return slices.ContainsFunc(leaf, func(match valuePattern) bool { return match(v, true) })
	})
}

func valuePatternOf(item any) (valuePattern, error) {
	m, ok := item.(map[string]any)
	if !ok {
		want, err := literal(item)
		if err != nil {
			return nil, err
		}
		return func(v any, ok bool) bool { return ok && bytes.Equal(jsonText(v), want) }, nil
	}
	if len(m) != 1 {
		return nil, fmt.Errorf("a match expression has one key, not %d", len(m))
	}
	for op, arg := range m {
		switch op {
		case "exists":
			want, is := arg.(bool)
			if !is {
				return nil, errors.New("exists wants true or false")
			}
			return func(_ any, ok bool) bool { return ok == want }, nil
		case "numeric":
			return numericPattern(arg)
		case "cidr":
			return cidrPattern(arg)
		case "anything-but":
			return anythingBut(arg)
		}
		return textPattern(op, arg)
	}
	return nil, nil // not reached: m has one key
}

// literal is the text of a value that an event must hold: numbers are compared as
// they are written.
func literal(v any) ([]byte, error) {
	switch v.(type) {
	case string, json.Number, bool, nil:
		return jsonText(v), nil
	}
	return nil, fmt.Errorf("%s is no value to match", jsonText(v))
}

// jsonText is JSON as the services write it: "<", ">" and "&" as they are.
func jsonText(v any) []byte {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil { // values come from JSON
		panic("event is no JSON: " + err.Error())
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n"))
}

// textPattern is one of prefix, suffix, wildcard and equals-ignore-case.
func textPattern(op string, arg any) (valuePattern, error) {
	fold := false
	if m, ok := arg.(map[string]any); ok && (op == "prefix" || op == "suffix") && len(m) == 1 && m["equals-ignore-case"] != nil {
		fold, arg = true, m["equals-ignore-case"]
	}
	want, ok := arg.(string)
	if !ok {
		return nil, fmt.Errorf("%s wants a string", op)
	}
	var match func(s string) bool
	switch op {
	case "prefix":
		match = func(s string) bool {
			return len(s) >= len(want) && same(s[:len(want)], want, fold)
		}
	case "suffix":
		match = func(s string) bool {
			return len(s) >= len(want) && same(s[len(s)-len(want):], want, fold)
		}
	case "equals-ignore-case":
		match = func(s string) bool { return same(s, want, true) }
	case "wildcard":
		parts, err := wildcardParts(want)
		if err != nil {
			return nil, err
		}
		match = func(s string) bool { return matchParts(parts, s) }
	default:
		return nil, fmt.Errorf("unrecognized match type %s", op)
	}
	return func(v any, ok bool) bool { s, is := v.(string); return ok && is && match(s) }, nil
}

func same(a, b string, fold bool) bool { return a == b || fold && strings.EqualFold(a, b) }

// wildcardParts are the texts between the stars; "\*" and "\\" stand for themselves.
func wildcardParts(p string) ([]string, error) {
	parts, part := []string{}, []byte{}
	for i := 0; i < len(p); i++ {
		switch {
		case p[i] == '\\' && i+1 < len(p) && (p[i+1] == '*' || p[i+1] == '\\'):
			i++
			part = append(part, p[i])
		case p[i] == '\\':
			return nil, fmt.Errorf("invalid escape in wildcard %q", p)
		case p[i] == '*' && i > 0 && p[i-1] == '*' && len(part) == 0 && len(parts) > 0:
			return nil, fmt.Errorf("consecutive wildcards in %q", p)
		case p[i] == '*':
			parts, part = append(parts, string(part)), []byte{}
		default:
			part = append(part, p[i])
		}
	}
	return append(parts, string(part)), nil
}

func matchParts(parts []string, s string) bool {
	first, last := parts[0], parts[len(parts)-1]
	if len(parts) == 1 {
		return s == first
	}
	if len(s) < len(first)+len(last) || !strings.HasPrefix(s, first) || !strings.HasSuffix(s, last) {
		return false
	}
	s = s[len(first) : len(s)-len(last)]
	for _, part := range parts[1 : len(parts)-1] {
		i := strings.Index(s, part)
		if i < 0 {
			return false
		}
		s = s[i+len(part):]
	}
	return true
}

// anythingBut: a value must be there, and be none of those.
func anythingBut(arg any) (valuePattern, error) {
	var not []valuePattern
	add := func(p valuePattern, err error) error { not = append(not, p); return err }
	var err error
	switch arg := arg.(type) {
	case map[string]any:
		if len(arg) != 1 {
			return nil, errors.New("anything-but wants one match expression")
		}
		for op, x := range arg {
			if !slices.Contains([]string{"prefix", "suffix", "equals-ignore-case", "wildcard"}, op) {
				return nil, fmt.Errorf("unsupported anything-but pattern: %s", op)
			}
			list, many := x.([]any)
			if !many {
				list = []any{x}
			}
			for _, x := range list {
				err = errors.Join(err, add(textPattern(op, x)))
			}
			if len(list) == 0 {
				err = errors.New("anything-but of nothing")
			}
		}
	case []any:
		if len(arg) == 0 {
			return nil, errors.New("anything-but of nothing")
		}
		for _, x := range arg {
			if _, object := x.(map[string]any); object {
				return nil, errors.New("inside an anything-but list only values are allowed")
			}
			err = errors.Join(err, add(valuePatternOf(x)))
		}
	default:
		err = add(valuePatternOf(arg))
	}
	if err != nil {
		return nil, err
	}
	return func(v any, ok bool) bool {
		return ok && !slices.ContainsFunc(not, func(match valuePattern) bool { return match(v, true) })
	}, nil
}

func numericPattern(arg any) (valuePattern, error) {
	list, ok := arg.([]any)
	if !ok || len(list) != 2 && len(list) != 4 {
		return nil, errors.New("numeric wants an operator with a number, or two of them")
	}
	var all []func(float64) bool
	for i := 0; i < len(list); i += 2 {
		op, _ := list[i].(string)
		number, _ := list[i+1].(json.Number)
		want, err := number.Float64()
		if err != nil {
			return nil, fmt.Errorf("numeric: %v is no number", list[i+1])
		}
		holds := map[string]func(float64) bool{
			"=": func(f float64) bool { return f == want }, "<": func(f float64) bool { return f < want }, "<=": func(f float64) bool { return f <= want },
			">": func(f float64) bool { return f > want }, ">=": func(f float64) bool { return f >= want },
		}[op]
		if holds == nil {
			return nil, fmt.Errorf("numeric: unrecognized operator %q", op)
		}
		all = append(all, holds)
	}
	return func(v any, ok bool) bool {
		f, is := v.(float64)
		return ok && is && !slices.ContainsFunc(all, func(holds func(float64) bool) bool { return !holds(f) })
	}, nil
}

func cidrPattern(arg any) (valuePattern, error) {
	text, _ := arg.(string)
	prefix, err := netip.ParsePrefix(text)
	if err != nil {
		return nil, fmt.Errorf("cidr: %q is no block of addresses", text)
	}
	return func(v any, ok bool) bool {
		s, is := v.(string)
		addr, err := netip.ParseAddr(s)
		return ok && is && err == nil && prefix.Contains(addr)
	}, nil
}
