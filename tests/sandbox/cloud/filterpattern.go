package cloud

import (
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"
)

// A filterPattern says whether a record counts. It is the sandbox's own reading of
// "Filter pattern syntax" in the CloudWatch Logs user guide, for events in JSON:
//
//	{ ($.a.b = "x*") && ($.c[0] != 5 || $.d NOT EXISTS) || $.e IS NULL }
//
// A comparison of something that is not there does not hold, != neither; the guide
// does not say so, it is inferred from that it has NOT EXISTS for this. The empty
// pattern counts everything. Patterns of words and of columns are errors.
type filterPattern func(event any) bool

func parseFilterPattern(text string) (filterPattern, error) {
	text = strings.TrimSpace(text)
	if text == "" {
		return func(any) bool { return true }, nil
	}
	inner, opens := strings.CutPrefix(text, "{")
	inner, closes := strings.CutSuffix(inner, "}")
	if !opens || !closes {
		return nil, fmt.Errorf("pattern %q is not one for JSON", text)
	}
	p := &patternParser{rest: inner}
	f, err := p.any(0)
	if err == nil && p.peek() != "" {
		err = fmt.Errorf("%q is left over", p.rest)
	}
	if err != nil {
		return nil, fmt.Errorf("pattern %q: %w", text, err)
	}
	return f, nil
}

type patternParser struct{ rest string }

// A word is whatever stands between blanks, operators and parentheses.
var patternToken = regexp.MustCompile(`^(&&|\|\||!=|>=|<=|=|>|<|\(|\)|"(?:[^"\\]|\\.)*"|%[^%]*%|[^\s&|=<>!()"]+)`)

func (p *patternParser) peek() string {
	p.rest = strings.TrimLeft(p.rest, " \t\r\n")
	return patternToken.FindString(p.rest)
}

func (p *patternParser) next() string {
	t := p.peek()
	p.rest = p.rest[len(t):]
	return t
}

func (p *patternParser) take(token string) bool {
	if strings.EqualFold(p.peek(), token) && token != "" {
		p.next()
		return true
	}
	return false
}

// any is one or more that are joined by ||; && binds closer.
func (p *patternParser) any(depth int) (filterPattern, error) {
	one, err := p.all(depth)
	for err == nil && p.take("||") {
		var other filterPattern
		if other, err = p.all(depth); err == nil {
			left := one
			one = func(e any) bool { return left(e) || other(e) }
		}
	}
	return one, err
}

func (p *patternParser) all(depth int) (filterPattern, error) {
	one, err := p.term(depth)
	for err == nil && p.take("&&") {
		var other filterPattern
		if other, err = p.term(depth); err == nil {
			left := one
			one = func(e any) bool { return left(e) && other(e) }
		}
	}
	return one, err
}

func (p *patternParser) term(depth int) (filterPattern, error) {
	if depth > 50 {
		return nil, errors.New("too many parentheses")
	}
	if p.take("(") {
		f, err := p.any(depth + 1)
		if err == nil && !p.take(")") {
			err = errors.New("a parenthesis is not closed")
		}
		return f, err
	}
	selector := p.next()
	path, err := selectorPath(selector)
	if err != nil {
		return nil, err
	}
	switch op := strings.ToUpper(p.next()); op {
	case "EXISTS":
		return func(e any) bool { _, there := selected(e, path); return there }, nil
	case "NOT":
		if !p.take("EXISTS") {
			return nil, errors.New("NOT without EXISTS")
		}
		return func(e any) bool { _, there := selected(e, path); return !there }, nil
	case "IS":
		return is(path, strings.ToUpper(p.next()))
	case "=", "!=", "<", ">", "<=", ">=":
		same, err := comparison(op, p.next())
		return func(e any) bool {
			v, there := selected(e, path)
			return there && same(v)
		}, err
	default:
		return nil, fmt.Errorf("%q after %s is no operator", op, selector)
	}
}

func is(path []string, what string) (filterPattern, error) {
	want, known := map[string]any{"NULL": nil, "TRUE": true, "FALSE": false}[what]
	if !known {
		return nil, fmt.Errorf("IS %s", what)
	}
	return func(e any) bool { v, there := selected(e, path); return there && v == want }, nil
}

var selectorStep = regexp.MustCompile(`^(?:\.([^.\[\]]+)|\['([^']+)'\]|\[(\d+)\])`)

func selectorPath(s string) (path []string, err error) {
	rest, ok := strings.CutPrefix(s, "$")
	for ok && rest != "" {
		m := selectorStep.FindStringSubmatch(rest)
		if ok = m != nil; ok {
			rest, path = rest[len(m[0]):], append(path, m[1]+m[2]+m[3])
		}
	}
	if !ok || len(path) == 0 {
		return nil, fmt.Errorf("%q is no selector", s)
	}
	return path, nil
}

func selected(v any, path []string) (any, bool) {
	for _, step := range path {
		there := false
		switch at := v.(type) {
		case map[string]any:
			v, there = at[step]
		case []any:
			if i, err := strconv.Atoi(step); err == nil && i < len(at) {
				v, there = at[i], true
			}
		}
		if !there {
			return nil, false
		}
	}
	return v, true
}

// comparison with a value: a text, in which * stands for anything, a number, or a
// regular expression between %.
func comparison(op, value string) (func(any) bool, error) {
	if value == "" || strings.ContainsAny(value[:1], "&|=<>!()") {
		return nil, fmt.Errorf("%s compares with nothing", op)
	}
	number, err := strconv.ParseFloat(value, 64)
	isNumber := err == nil
	if op != "=" && op != "!=" {
		if !isNumber {
			return nil, fmt.Errorf("%s compares numbers, not %s", op, value)
		}
		return func(v any) bool {
			n, ok := v.(float64)
			return ok && (op == "<" && n < number || op == "<=" && n <= number || op == ">" && n > number || op == ">=" && n >= number)
		}, nil
	}
	expr := ""
	switch {
	case len(value) > 1 && strings.HasPrefix(value, "%"):
		expr = strings.Trim(value, "%")
	case strings.HasPrefix(value, `"`):
		value = strings.NewReplacer(`\"`, `"`, `\\`, `\`).Replace(value[1 : len(value)-1])
		fallthrough
	default:
		expr = "^(?s:" + strings.ReplaceAll(regexp.QuoteMeta(value), `\*`, ".*") + ")$"
	}
	re, err := regexp.Compile(expr)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", value, err)
	}
	return func(v any) bool {
		var same bool
		switch v := v.(type) {
		case string:
			same = re.MatchString(v)
		case float64:
			same = isNumber && v == number
		case bool:
			same = re.MatchString(strconv.FormatBool(v))
		case nil, map[string]any, []any:
			text, _ := json.Marshal(v)
			same = v != nil && re.Match(text)
		}
		return same == (op == "=")
	}, nil
}
