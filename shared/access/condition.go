package access

import (
	"cmp"
	"encoding/base64"
	"math/big"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Condition is one operator on one key.
type Condition struct {
	// Operator and Key as written.
	Operator, Key string
	Values        []string

	op        operator
	known     bool // the operator is one of those below
	set       string
	ifExists  bool
	key       string // lower case
	variables bool   // some value has policy variables
}

// operator is how a value of the request is compared with one of the policy;
// negated ones hold where no value of the policy matches.
type operator struct {
	negated bool
	// match is maybe where the policy's value is malformed.
	match func(policy glob, value string) truth
}

const (
	forAll = "forallvalues"
	forAny = "foranyvalue"
	isNull = "null"
)

// operators are all that AWS documents, by lower-case name, but Null.
func operatorOf(name string) (operator, bool) {
	positive, negated := name, false
	for _, family := range []string{"string", "numeric", "date", "arn"} {
		if rest, ok := strings.CutPrefix(name, family+"not"); ok {
			positive, negated = family+rest, true
		}
	}
	if name == "notipaddress" {
		positive, negated = "ipaddress", true
	}
	match, ok := map[string]func(glob, string) truth{
		"stringequals":             func(g glob, v string) truth { return truthOf(literal(g) == v) },
		"stringequalsignorecase":   func(g glob, v string) truth { return truthOf(strings.EqualFold(literal(g), v)) },
		"stringlike":               func(g glob, v string) truth { return g.covers([]rune(v)) },
		"numericequals":            numeric(func(c int) bool { return c == 0 }),
		"numericlessthan":          numeric(func(c int) bool { return c < 0 }),
		"numericlessthanequals":    numeric(func(c int) bool { return c <= 0 }),
		"numericgreaterthan":       numeric(func(c int) bool { return c > 0 }),
		"numericgreaterthanequals": numeric(func(c int) bool { return c >= 0 }),
		"dateequals":               date(func(c int) bool { return c == 0 }),
		"datelessthan":             date(func(c int) bool { return c < 0 }),
		"datelessthanequals":       date(func(c int) bool { return c <= 0 }),
		"dategreaterthan":          date(func(c int) bool { return c > 0 }),
		"dategreaterthanequals":    date(func(c int) bool { return c >= 0 }),
		"bool":                     boolean,
		"binaryequals":             binary,
		"ipaddress":                inPrefix,
		"arnequals":                arnMatch,
		"arnlike":                  arnMatch,
	}[positive]
	// There is no NumericNotLessThan and the like.
	if negated && !slices.Contains([]string{"stringequals", "stringequalsignorecase", "stringlike", "numericequals", "dateequals", "ipaddress", "arnequals", "arnlike"}, positive) {
		ok = false
	}
	return operator{negated, match}, ok
}

func (c *Condition) prepare(variables bool) {
	name := strings.ToLower(c.Operator)
	if set, rest, found := strings.Cut(name, ":"); found {
		c.set, name = set, rest
	}
	if rest, found := strings.CutSuffix(name, "ifexists"); found {
		c.ifExists, name = true, rest
	}
	c.key = strings.ToLower(c.Key)
	if name == isNull {
		c.known = c.set == "" && !c.ifExists
		c.op.match = nil
	} else {
		c.op, c.known = operatorOf(name)
	}
	if c.set != "" && c.set != forAll && c.set != forAny {
		c.known = false
	}
	c.variables = variables && slices.ContainsFunc(c.Values, hasVariable)
}

// lookup is what is known of a request's context: the values of a key (lower
// case; none: the key is absent), or that it is not known.
type lookup func(key string) (values []string, known bool)

// holds says whether the condition is met.
func (c *Condition) holds(value lookup) truth {
	if !c.known {
		return maybe
	}
	have, known := value(c.key)
	if !known {
		return maybe
	}
	if c.op.match == nil { // Null
		out := no
		for _, v := range c.Values {
			switch strings.ToLower(v) {
			case "true":
				out = max(out, truthOf(len(have) == 0))
			case "false":
				out = max(out, truthOf(len(have) > 0))
			default:
				out = max(out, maybe)
			}
		}
		return out
	}
	if len(have) == 0 {
		switch c.set {
		case forAll:
			return yes
		case forAny:
			return truthOf(c.ifExists)
		}
		return truthOf(c.ifExists || c.op.negated)
	}
	one := func(v string) truth {
		t := no
		for _, p := range c.Values {
			g, exact := compile(p), true
			if c.variables {
				g, exact = expand(p, value)
			}
			m := c.op.match(g, v)
			if !exact { // what stands for the variable could be anything
				m = maybe
			}
			t = max(t, m)
		}
		if c.op.negated {
			t = t.not()
		}
		return t
	}
	if c.set == forAll || c.set == "" && c.op.negated {
		t := yes
		for _, v := range have {
			t = min(t, one(v))
		}
		return t
	}
	t := no
	for _, v := range have {
		t = max(t, one(v))
	}
	return t
}

// literal is a glob's text, wildcards as written.
func literal(g glob) string {
	var b strings.Builder
	for _, r := range g {
		switch r {
		case anyRun, anyName:
			r = '*'
		case anyOne:
			r = '?'
		}
		b.WriteRune(r)
	}
	return b.String()
}

func numeric(holds func(int) bool) func(glob, string) truth {
	return func(g glob, v string) truth {
		p, ok := number(literal(g))
		n, ok2 := number(v)
		if !ok || !ok2 {
			return maybe
		}
		return truthOf(holds(n.Cmp(p)))
	}
}

// number is a decimal of reasonable length: exponents could be made to cost much.
func number(s string) (*big.Rat, bool) {
	if s == "" || len(s) > 64 || strings.Trim(s, "0123456789.+-") != "" {
		return nil, false
	}
	return new(big.Rat).SetString(s)
}

func date(holds func(int) bool) func(glob, string) truth {
	return func(g glob, v string) truth {
		p, ok := moment(literal(g))
		t, ok2 := moment(v)
		if !ok || !ok2 {
			return maybe
		}
		return truthOf(holds(cmp.Compare(t.UnixNano(), p.UnixNano())))
	}
}

func moment(s string) (time.Time, bool) {
	if n, err := strconv.ParseInt(s, 10, 64); err == nil && n > -1<<33 && n < 1<<33 {
		return time.Unix(n, 0), true
	}
	for _, layout := range []string{time.RFC3339, "2006-01-02T15:04Z07:00", time.DateOnly} {
		if t, err := time.Parse(layout, s); err == nil && t.Year() > 1700 && t.Year() < 2200 {
			return t, true
		}
	}
	return time.Time{}, false
}

func boolean(g glob, v string) truth {
	p := literal(g)
	if !strings.EqualFold(p, "true") && !strings.EqualFold(p, "false") {
		return maybe
	}
	return truthOf(strings.EqualFold(p, v))
}

func binary(g glob, v string) truth {
	p, err := base64.StdEncoding.DecodeString(literal(g))
	have, err2 := base64.StdEncoding.DecodeString(v)
	if err != nil || err2 != nil {
		return maybe
	}
	return truthOf(string(p) == string(have))
}

func inPrefix(g glob, v string) truth {
	p, err := prefixOf(literal(g))
	a, err2 := netip.ParseAddr(v)
	if err != nil || err2 != nil {
		return maybe
	}
	return truthOf(p.Contains(a.Unmap()))
}

func prefixOf(s string) (netip.Prefix, error) {
	if p, err := netip.ParsePrefix(s); err == nil {
		return p, nil
	}
	a, err := netip.ParseAddr(s)
	if err != nil {
		return netip.Prefix{}, err
	}
	return netip.PrefixFrom(a, a.BitLen()), nil
}

// arnMatch compares the six parts one by one.
func arnMatch(g glob, v string) truth {
	pp, vp := segments(g), segments([]rune(v))
	if len(pp) == 1 && len(pp[0]) == 1 && pp[0][0] == anyRun {
		return yes
	}
	if len(pp) != 6 || len(vp) != 6 {
		return maybe
	}
	t := yes
	for i := range pp {
		t = min(t, pp[i].covers(vp[i]))
	}
	return t
}
