package pattern

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/netip"
	"slices"
	"strings"
)

// EventPattern is an event pattern of EventBridge.
type EventPattern struct {
	// rules: the pattern matches if any of them does. An $or is multiplied out.
	rules []conjunction
	// doubt, when not empty, is what of it is not understood.
	doubt string
}

// conjunction matches if each of its fields does; they are sorted by path.
type conjunction []field

// field of an event matches if any of the tests does.
type field struct {
	path  string // names joined by dots, as EventBridge itself joins them
	tests []test
	raw   string // the tests as written
}

// test of one value.
type test struct {
	// of is the truth for a value that is there and no object or list; OneOf never.
	of func(v any) Truth
	// absence: it holds where the field is not there (exists: false).
	absence bool
	// unknown names the operator, where it is none of those that are known here.
	unknown string
}

const (
	// maxPattern is how long a pattern may be, in bytes. EventBridge takes 4 KB.
	maxPattern = 64 << 10
	// maxRules is how many rules an $or may be multiplied out to; EventBridge stops
	// at 1000 too.
	maxRules = 1000
)

// ParseEventPattern reads an event pattern. The error is a *SyntaxError. An operator
// that is not known here, or is used in a way that is not documented, is no error:
// what hangs on it is undecided.
func ParseEventPattern(text string) (*EventPattern, error) {
	if len(text) > maxPattern {
		return nil, syntax(text, 0, "the pattern has %d bytes, more than the %d allowed", len(text), maxPattern)
	}
	d := json.NewDecoder(strings.NewReader(text))
	d.UseNumber()
	p := &patternReader{text: text, d: d, out: &EventPattern{rules: []conjunction{nil}}}
	if err := p.object("", 0); err != nil {
		return nil, err
	}
	if _, err := d.Token(); err != io.EOF {
		return nil, p.bad("more after the end of the pattern")
	}
	for _, rule := range p.out.rules {
		slices.SortStableFunc(rule, func(a, b field) int { return strings.Compare(a.path, b.path) })
		for i := range rule[:max(0, len(rule)-1)] {
			if rule[i].path == rule[i+1].path {
				p.doubt("the pattern names %s twice", rule[i].path)
			}
		}
	}
	if len(p.out.rules) == 1 && len(p.out.rules[0]) == 0 {
		return nil, syntax(text, 0, "the pattern is empty")
	}
	return p.out, nil
}

type patternReader struct {
	text string
	d    *json.Decoder
	out  *EventPattern
}

func (p *patternReader) bad(format string, args ...any) error {
	return syntax(p.text, int(p.d.InputOffset()), format, args...)
}

func (p *patternReader) doubt(format string, args ...any) {
	if p.out.doubt == "" {
		p.out.doubt = cut(fmt.Sprintf(format, args...))
	}
}

func (p *patternReader) token() (json.Token, error) {
	t, err := p.d.Token()
	if err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	if err != nil {
		return nil, p.bad("%v", err)
	}
	return t, nil
}

// object reads the fields below a path into every rule.
func (p *patternReader) object(path string, depth int) error {
	t, err := p.token()
	if err != nil {
		return err
	}
	if t != json.Delim('{') {
		return p.bad("expected an object, not %v", t)
	}
	return p.members(path, depth)
}

// members reads an object that has been opened.
func (p *patternReader) members(path string, depth int) error {
	if depth >= maxDepth {
		return p.bad("nested more than %d levels deep", maxDepth)
	}
	seen := map[string]bool{}
	for p.d.More() {
		t, err := p.token()
		if err != nil {
			return err
		}
		name, _ := t.(string)
		if seen[name] {
			return p.bad("the name %q is there twice", name)
		}
		seen[name] = true
		at := join(path, name)
		if t, err = p.token(); err != nil {
			return err
		}
		switch {
		case t == json.Delim('{'):
			err = p.members(at, depth+1)
		case t == json.Delim('[') && name == "$or":
			err = p.or(path, depth+1)
		case t == json.Delim('['):
			err = p.tests(at)
		default:
			err = p.bad("%s must be an object or a list, not %s", at, quote(t))
		}
		if err != nil {
			return err
		}
	}
	_, err := p.token()
	return err
}

func join(path, name string) string {
	if path == "" {
		return name
	}
	return path + "." + name
}

// operators are the names that make of an $or the name of a field.
var operators = []string{"prefix", "suffix", "equals-ignore-case", "wildcard", "anything-but", "numeric", "exists", "cidr", "exactly"}

// or multiplies the rules by the alternatives.
func (p *patternReader) or(path string, depth int) error {
	before := p.out.rules
	var after []conjunction
	alternatives := 0
	for p.d.More() {
		p.out.rules = slices.Clone(before)
		for i := range p.out.rules {
			p.out.rules[i] = slices.Clone(p.out.rules[i])
		}
		if err := p.object(path, depth); err != nil {
			return err
		}
		for _, rule := range p.out.rules {
			for _, f := range rule {
				if slices.Contains(operators, strings.TrimPrefix(f.path, path+".")) || slices.Contains(operators, f.path) {
					p.doubt("an alternative of $or names %s, so that $or may be the name of a field", f.path)
				}
			}
		}
		after = append(after, p.out.rules...)
		if len(after) > maxRules {
			return p.bad("its alternatives multiply to more than %d rules", maxRules)
		}
		alternatives++
	}
	if alternatives < 2 {
		return p.bad("$or needs at least two alternatives")
	}
	p.out.rules = after
	_, err := p.token()
	return err
}

// tests reads the list of tests of a field.
func (p *patternReader) tests(path string) error {
	start := int(p.d.InputOffset()) - 1
	f := field{path: path}
	for p.d.More() {
		t, err := p.one(path)
		if err != nil {
			return err
		}
		f.tests = append(f.tests, t)
	}
	if _, err := p.token(); err != nil {
		return err
	}
	if len(f.tests) == 0 {
		return p.bad("the list of %s is empty", path)
	}
	f.raw = p.text[start:p.d.InputOffset()]
	var short bytes.Buffer
	if json.Compact(&short, []byte(f.raw)) == nil {
		f.raw = short.String()
	}
	for i := range p.out.rules {
		p.out.rules[i] = append(p.out.rules[i], f)
	}
	return nil
}

// one reads one test: a value, or an object with one operator.
func (p *patternReader) one(path string) (test, error) {
	v, err := decode(p.d, 0)
	if err != nil {
		if err == io.EOF {
			err = io.ErrUnexpectedEOF
		}
		return test{}, p.bad("%v", err)
	}
	operator, isOperator := v.(map[string]any)
	if !isOperator {
		if _, list := v.([]any); list {
			return test{}, p.bad("a list within the list of %s", path)
		}
		return test{of: exactly(v)}, nil
	}
	if len(operator) != 1 {
		return test{}, p.bad("%s: an operator must be an object with one name", path)
	}
	for name, operand := range operator {
		t, ok := operatorOf(name, operand)
		if !ok {
			return test{unknown: cut(quote(operator))}, nil
		}
		return t, nil
	}
	return test{}, nil
}

// operatorOf is a documented operator with its operand; false: it is none.
func operatorOf(name string, operand any) (test, bool) {
	switch name {
	case "exists":
		yes, ok := operand.(bool)
		if !ok {
			return test{}, false
		}
		if !yes {
			return test{absence: true, of: func(any) Truth { return No }}, true
		}
		return test{of: func(v any) Truth {
			if _, unknown := v.(Unknown); unknown {
				return Undecided
			}
			return Yes
		}}, true
	case "anything-but":
		return anythingBut(operand)
	case "numeric":
		return numeric(operand)
	case "cidr":
		s, _ := operand.(string)
		prefix, err := netip.ParsePrefix(s)
		return test{of: func(v any) Truth { return inPrefix(prefix, v) }}, err == nil
	}
	g, ok := textOperator(name, operand)
	return test{of: g.of}, ok
}

// textOperator is one that compares text.
func textOperator(name string, operand any) (glob, bool) {
	s, ok := operand.(string)
	if inner, nested := operand.(map[string]any); nested && (name == "prefix" || name == "suffix") && len(inner) == 1 {
		if s, ok = inner["equals-ignore-case"].(string); ok {
			g, _ := textOperator(name, s)
			return g.ignoreCase(), true
		}
	}
	if !ok {
		return glob{}, false
	}
	switch name {
	case "prefix":
		return literal(s).star(), true
	case "suffix":
		return glob{}.star().and(literal(s)), true
	case "equals-ignore-case":
		return literal(s).ignoreCase(), true
	case "wildcard":
		g, bad := wildcard(s)
		return g, bad < 0
	}
	return glob{}, false
}

// exactly that value.
func exactly(want any) func(any) Truth {
	return func(v any) Truth {
		if _, unknown := v.(Unknown); unknown {
			return Undecided
		}
		switch want := want.(type) {
		case string:
			t := literal(want).of(v)
			if s, ok := v.(string); ok && t == No && sameAddress(s, want) {
				return Undecided // EventBridge compares addresses by what they mean
			}
			if _, ok := v.(Text); ok && t == No {
				if _, err := netip.ParseAddr(want); err == nil {
					return Undecided
				}
			}
			return t
		case json.Number:
			f, text, ok := number(v)
			w, wantText, known := number(want)
			if !ok {
				return No
			}
			if !known {
				return Undecided
			}
			return sameNumber(f, w, text == wantText)
		}
		return truthOf(want == v)
	}
}

func sameAddress(a, b string) bool {
	x, err := netip.ParseAddr(a)
	y, err2 := netip.ParseAddr(b)
	return err == nil && err2 == nil && x == y
}

func inPrefix(p netip.Prefix, v any) Truth {
	switch v := v.(type) {
	case string:
		a, err := netip.ParseAddr(v)
		return truthOf(err == nil && p.Masked().Contains(a))
	case Text, Unknown:
		return Undecided
	}
	return No
}

// numeric reads [">", 0, "<=", 5].
func numeric(operand any) (test, bool) {
	list, _ := operand.([]any)
	if len(list) == 0 || len(list)%2 != 0 || len(list) > 4 {
		return test{}, false
	}
	type bound struct {
		op string
		to float64
	}
	var bounds []bound
	for pair := range slices.Chunk(list, 2) {
		op, _ := pair[0].(string)
		to, _, ok := number(pair[1])
		if !ok || !slices.Contains([]string{"=", "<", "<=", ">", ">="}, op) {
			return test{}, false
		}
		bounds = append(bounds, bound{op, to})
	}
	return test{of: func(v any) Truth {
		if _, unknown := v.(Unknown); unknown {
			return Undecided
		}
		f, _, ok := number(v)
		if !ok {
			return No
		}
		if f > 5e9 || f < -5e9 { // outside of what EventBridge compares
			return Undecided
		}
		out := Yes
		for _, b := range bounds {
			out = min(out, truthOf(compare(f, b.op, b.to)))
		}
		return out
	}}, true
}

func compare(f float64, op string, to float64) bool {
	switch op {
	case "<":
		return f < to
	case "<=":
		return f <= to
	case ">":
		return f > to
	case ">=":
		return f >= to
	}
	return f == to
}

// anythingBut is the opposite of what it names, for text and numbers. What it says
// of other values is not documented.
func anythingBut(operand any) (test, bool) {
	var but func(any) Truth
	numbers := false
	switch operand := operand.(type) {
	case map[string]any:
		if len(operand) != 1 {
			return test{}, false
		}
		var globs []glob
		for name, inner := range operand {
			if !slices.Contains([]string{"prefix", "suffix", "equals-ignore-case", "wildcard"}, name) {
				return test{}, false
			}
			list, ok := inner.([]any)
			if !ok {
				list = []any{inner}
			}
			for _, one := range list {
				g, ok := textOperator(name, one)
				if !ok {
					return test{}, false
				}
				globs = append(globs, g)
			}
		}
		if len(globs) == 0 {
			return test{}, false
		}
		but = func(v any) Truth {
			out := No
			for _, g := range globs {
				out = max(out, g.of(v))
			}
			return out
		}
	case []any:
		if len(operand) == 0 {
			return test{}, false
		}
		var tests []func(any) Truth
		for _, one := range operand {
			_, text := one.(string)
			_, num := one.(json.Number)
			if !text && !num {
				return test{}, false
			}
			if len(tests) > 0 && num != numbers { // EventBridge takes either, not both
				return test{}, false
			}
			numbers = num
			tests = append(tests, exactly(one))
		}
		but = func(v any) Truth {
			out := No
			for _, t := range tests {
				out = max(out, t(v))
			}
			return out
		}
	case string, json.Number:
		_, numbers = operand.(json.Number)
		but = exactly(operand)
	default:
		return test{}, false
	}
	return test{of: func(v any) Truth {
		_, _, isNumber := number(v)
		_, isString := v.(string)
		_, isText := v.(Text)
		if numbers && isNumber || !numbers && (isString || isText) {
			return but(v).Not()
		}
		return Undecided
	}}, true
}
