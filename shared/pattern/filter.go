package pattern

import (
	"regexp"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Filter is a filter pattern of CloudWatch Logs.
type Filter struct {
	expr expr
	// single: the pattern is one comparison, with nothing that combines it.
	single bool
	terms  []term
	// doubt, when not empty, is what of it is not understood.
	doubt string
}

// expr is a node of a JSON filter pattern.
type expr interface {
	match(doc any, single bool) Answer
}

type (
	anyOf      []expr
	allOf      []expr
	comparison struct {
		selector selector
		op       string // = != < <= > >= IS EXISTS NOT-EXISTS
		operand  operand
		raw      string
	}
)

// operand of a comparison, as far as its operator has one.
type operand struct {
	glob    glob // for = and != with text
	text    string
	inner   bool    // a star within the text
	number  float64 // where isNumber
	numeric bool
	regex   *regexp.Regexp
	unread  bool // a regular expression that is not understood
	is      string
}

// selector of a value.
type selector struct {
	steps []step
	raw   string
}

// step is a name, or an index where name is "".
type step struct {
	name  string
	index int
	every bool // [*]
}

// term of a pattern for text.
type term struct {
	text               string
	excluded, optional bool
	regex              *regexp.Regexp
	unread             bool
}

// maxFilter is how long a filter pattern may be, in bytes. CloudWatch Logs takes 1 KB.
const maxFilter = 16 << 10

// ParseFilter reads a filter pattern: of JSON ({ $.eventName = "X" }), of terms, or
// of fields set off by spaces ([ip, user, ...]), of which nothing is decided. The
// error is a *SyntaxError.
func ParseFilter(text string) (*Filter, error) {
	if len(text) > maxFilter {
		return nil, syntax(text, 0, "the pattern has %d bytes, more than the %d allowed", len(text), maxFilter)
	}
	p := &filterReader{text: text}
	p.space()
	var out *Filter
	var err error
	switch {
	case p.at == len(text):
		return &Filter{}, nil // everything
	case p.take("{"):
		out, err = p.json()
	case text[p.at] == '[':
		return &Filter{doubt: "a pattern of fields set off by spaces is not understood here"}, nil
	default:
		out, err = p.terms()
	}
	if err != nil {
		return nil, err
	}
	return out, nil
}

type filterReader struct {
	text string
	at   int
}

func (p *filterReader) bad(format string, args ...any) error {
	return syntax(p.text, p.at, format, args...)
}

func (p *filterReader) space() {
	for p.at < len(p.text) {
		r, n := utf8.DecodeRuneInString(p.text[p.at:])
		if !unicode.IsSpace(r) {
			return
		}
		p.at += n
	}
}

// take passes over s, if it is next.
func (p *filterReader) take(s string) bool {
	p.space()
	if !strings.HasPrefix(p.text[p.at:], s) {
		return false
	}
	p.at += len(s)
	return true
}

// found says what is next, for messages.
func (p *filterReader) found() string {
	p.space()
	if p.at >= len(p.text) {
		return "the end of the pattern"
	}
	r, _ := utf8.DecodeRuneInString(p.text[p.at:])
	return strconv.QuoteRune(r)
}

func (p *filterReader) json() (*Filter, error) {
	e, err := p.or(0)
	if err != nil {
		return nil, err
	}
	if !p.take("}") {
		return nil, p.bad("expected &&, || or }, found %s", p.found())
	}
	if p.space(); p.at < len(p.text) {
		return nil, p.bad("more after the closing }")
	}
	_, single := e.(comparison)
	return &Filter{expr: e, single: single}, nil
}

func (p *filterReader) or(depth int) (expr, error) {
	if depth > maxDepth {
		return nil, p.bad("nested more than %d levels deep", maxDepth)
	}
	var list anyOf
	for {
		e, err := p.and(depth)
		if err != nil {
			return nil, err
		}
		list = append(list, e)
		if !p.take("||") {
			break
		}
	}
	if len(list) == 1 {
		return list[0], nil
	}
	return list, nil
}

func (p *filterReader) and(depth int) (expr, error) {
	var list allOf
	for {
		e, err := p.operand(depth)
		if err != nil {
			return nil, err
		}
		list = append(list, e)
		if !p.take("&&") {
			break
		}
	}
	if len(list) == 1 {
		return list[0], nil
	}
	return list, nil
}

func (p *filterReader) operand(depth int) (expr, error) {
	if p.take("(") {
		e, err := p.or(depth + 1)
		if err != nil {
			return nil, err
		}
		if !p.take(")") {
			return nil, p.bad("expected &&, || or ), found %s", p.found())
		}
		return e, nil
	}
	return p.comparison()
}

func (p *filterReader) comparison() (expr, error) {
	p.space()
	start := p.at
	c := comparison{}
	var err error
	if c.selector, err = p.selector(); err != nil {
		return nil, err
	}
	for _, op := range []string{"!=", "<=", ">=", "=", "<", ">"} {
		if p.take(op) {
			c.op = op
			if c.operand, err = p.value(op); err != nil {
				return nil, err
			}
			c.raw = p.text[start:p.at]
			return c, nil
		}
	}
	switch word := strings.ToUpper(p.word()); word {
	case "EXISTS":
		c.op = word
	case "NOT":
		if next := p.word(); !strings.EqualFold(next, "EXISTS") {
			return nil, p.bad("expected EXISTS after NOT, found %q", cut(next))
		}
		c.op = "NOT EXISTS"
	case "IS":
		c.op = word
		if c.operand.is = strings.ToUpper(p.word()); c.operand.is != "NULL" && c.operand.is != "TRUE" && c.operand.is != "FALSE" {
			return nil, p.bad("expected NULL, TRUE or FALSE after IS, found %q", cut(c.operand.is))
		}
	case "":
		return nil, p.bad("expected a comparison after %s, found %s", c.selector.raw, p.found())
	default:
		return nil, p.bad("%q after %s is no comparison", cut(word), c.selector.raw)
	}
	c.raw = p.text[start:p.at]
	return c, nil
}

// word is letters.
func (p *filterReader) word() string {
	p.space()
	start := p.at
	for p.at < len(p.text) && ('a' <= lower(rune(p.text[p.at])) && lower(rune(p.text[p.at])) <= 'z') {
		p.at++
	}
	return p.text[start:p.at]
}

func (p *filterReader) selector() (selector, error) {
	p.space()
	start := p.at
	var s selector
	if !strings.HasPrefix(p.text[p.at:], "$") {
		return s, p.bad("expected $. and the name of a field, found %s", p.found())
	}
	p.at++
	for p.at < len(p.text) {
		switch p.text[p.at] {
		case '.':
			p.at++
			if p.at < len(p.text) && p.text[p.at] == '[' {
				continue // $.['name']
			}
			name := p.name()
			if name == "" {
				return s, p.bad("expected the name of a field after the dot, found %s", p.found())
			}
			s.steps = append(s.steps, step{name: name})
		case '[':
			p.at++
			st, err := p.index()
			if err != nil {
				return s, err
			}
			s.steps = append(s.steps, st)
		default:
			goto end
		}
		if len(s.steps) > maxDepth {
			return s, p.bad("the path has more than %d steps", maxDepth)
		}
	}
end:
	s.raw = p.text[start:p.at]
	if len(s.steps) == 0 {
		return s, p.bad("expected $. and the name of a field, found %s", p.found())
	}
	return s, nil
}

// name of a field: what is neither space nor an operator.
func (p *filterReader) name() string {
	start := p.at
	for p.at < len(p.text) {
		r, n := utf8.DecodeRuneInString(p.text[p.at:])
		if unicode.IsSpace(r) || strings.ContainsRune(`.[]=!<>(){}&|"'`, r) {
			break
		}
		p.at += n
	}
	return p.text[start:p.at]
}

func (p *filterReader) index() (step, error) {
	for _, mark := range []string{`"`, `'`} {
		if !p.take(mark) {
			continue
		}
		end := strings.Index(p.text[p.at:], mark)
		if end < 0 {
			return step{}, p.bad("the name of a field is not closed")
		}
		st := step{name: p.text[p.at : p.at+end]}
		p.at += end + 1
		if st.name == "" || !p.take("]") {
			return step{}, p.bad("expected a name and ], found %s", p.found())
		}
		return st, nil
	}
	if p.take("*") {
		if !p.take("]") {
			return step{}, p.bad("expected ], found %s", p.found())
		}
		return step{every: true}, nil
	}
	start := p.at
	for p.at < len(p.text) && '0' <= p.text[p.at] && p.text[p.at] <= '9' {
		p.at++
	}
	n, err := strconv.Atoi(p.text[start:p.at])
	if err != nil {
		return step{}, p.bad("expected a number between [ and ], found %s", p.found())
	}
	if !p.take("]") {
		return step{}, p.bad("expected ], found %s", p.found())
	}
	return step{index: n}, nil
}

var decimal = regexp.MustCompile(`^[+-]?[0-9]+(\.[0-9]+)?([eE][+-]?[0-9]+)?$`)

func (p *filterReader) value(op string) (operand, error) {
	p.space()
	ordered := op != "=" && op != "!="
	switch {
	case p.at < len(p.text) && p.text[p.at] == '"':
		text, err := p.quoted()
		if err != nil {
			return operand{}, err
		}
		if ordered {
			return operand{}, p.bad("%s compares numbers, not text", op)
		}
		return textOperand(text), nil
	case p.at < len(p.text) && p.text[p.at] == '%':
		re, unread, err := p.regex()
		if err != nil {
			return operand{}, err
		}
		if ordered {
			return operand{}, p.bad("%s compares numbers, not text", op)
		}
		return operand{regex: re, unread: unread}, nil
	}
	start := p.at
	for p.at < len(p.text) {
		r, n := utf8.DecodeRuneInString(p.text[p.at:])
		if unicode.IsSpace(r) || strings.ContainsRune(`(){}="<>!`, r) || strings.HasPrefix(p.text[p.at:], "&&") || strings.HasPrefix(p.text[p.at:], "||") {
			break
		}
		p.at += n
	}
	text := p.text[start:p.at]
	if text == "" {
		return operand{}, p.bad("expected a value after %s, found %s", op, p.found())
	}
	o := textOperand(text)
	if decimal.MatchString(text) {
		f, err := strconv.ParseFloat(text, 64)
		o.number, o.numeric = f, err == nil
	}
	if ordered && !o.numeric {
		p.at = start
		return operand{}, p.bad("%s compares numbers, and %q is none", op, cut(text))
	}
	return o, nil
}

// textOperand: a star at the beginning or the end stands for any text. One within
// does so by newer documentation, and only for itself by older.
func textOperand(text string) operand {
	o := operand{text: text}
	inner := text
	if inner == "*" {
		o.glob = glob{}.star()
		return o
	}
	inner, before := strings.CutPrefix(inner, "*")
	inner, after := strings.CutSuffix(inner, "*")
	if before {
		o.glob = o.glob.star()
	}
	for _, r := range inner {
		if r == '*' {
			o.inner, o.glob = true, o.glob.star()
		} else {
			o.glob = o.glob.and(literal(string(r)))
		}
	}
	if after {
		o.glob = o.glob.star()
	}
	return o
}

func (p *filterReader) quoted() (string, error) {
	start := p.at
	var b strings.Builder
	for p.at++; p.at < len(p.text); p.at++ {
		switch c := p.text[p.at]; {
		case c == '"':
			p.at++
			return b.String(), nil
		case c == '\\' && p.at+1 < len(p.text) && (p.text[p.at+1] == '"' || p.text[p.at+1] == '\\'):
			p.at++
			b.WriteByte(p.text[p.at])
		default:
			b.WriteByte(c)
		}
	}
	p.at = start
	return "", p.bad("the text is not closed")
}

// regex reads %...%. CloudWatch Logs takes letters, digits and the signs below, of
// which all mean in Go what they mean there. Others it refuses, or did not know when
// this was written: then nothing is decided.
func (p *filterReader) regex() (re *regexp.Regexp, unread bool, err error) {
	start := p.at
	end := strings.IndexByte(p.text[p.at+1:], '%')
	if end < 0 {
		return nil, false, p.bad("the regular expression is not closed")
	}
	text := p.text[p.at+1 : p.at+1+end]
	p.at += end + 2
	if text == "" {
		p.at = start
		return nil, false, p.bad("the regular expression is empty")
	}
	for _, r := range text {
		if r >= utf8.RuneSelf || !unicode.IsLetter(r) && !unicode.IsDigit(r) && !strings.ContainsRune(`:_#=@/;,-^$?[]{}|\*+. `, r) {
			return nil, true, nil
		}
	}
	re, compileErr := regexp.Compile(text)
	return re, compileErr != nil, nil
}

// terms reads a pattern for text: words and "phrases" that must all be there; with a
// minus they must not be, of those with a question mark one must.
func (p *filterReader) terms() (*Filter, error) {
	out := &Filter{}
	for p.space(); p.at < len(p.text); p.space() {
		var t term
		switch p.text[p.at] {
		case '-':
			t.excluded = true
			p.at++
		case '?':
			t.optional = true
			p.at++
		}
		p.space()
		var err error
		switch {
		case p.at >= len(p.text):
			return nil, p.bad("expected a term")
		case p.text[p.at] == '"':
			t.text, err = p.quoted()
		case p.text[p.at] == '%':
			t.regex, t.unread, err = p.regex()
		default:
			start := p.at
			for p.at < len(p.text) {
				r, n := utf8.DecodeRuneInString(p.text[p.at:])
				if unicode.IsSpace(r) || r == '"' {
					break
				}
				p.at += n
			}
			t.text = p.text[start:p.at]
		}
		if err != nil {
			return nil, err
		}
		out.terms = append(out.terms, t)
	}
	return out, nil
}
