package pattern

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// Criteria are the criteria of a GuardDuty filter by attribute ("type",
// "service.archived"): a finding must satisfy all of them.
type Criteria map[string]Criterion

// Criterion on one attribute.
type Criterion struct {
	Equals     []string `json:"equals,omitempty"`
	NotEquals  []string `json:"not_equals,omitempty"`
	Matches    []string `json:"matches,omitempty"`
	NotMatches []string `json:"not_matches,omitempty"`
	// Bounds, as far as they are set.
	Greater        *int64 `json:"greater,omitempty"`
	GreaterOrEqual *int64 `json:"greater_or_equal,omitempty"`
	Less           *int64 `json:"less,omitempty"`
	LessOrEqual    *int64 `json:"less_or_equal,omitempty"`
}

// Match says whether a filter with these criteria takes a finding: a document (see
// Unknown) by the names that criteria use.
func (c Criteria) Match(finding any) Answer {
	if len(c) == 0 {
		return Answer{Truth: Undecided, Reason: "the filter has no criteria that are understood here"}
	}
	out := Answer{Truth: Yes}
	for _, name := range slices.Sorted(maps.Keys(c)) {
		if a := c[name].match(name, finding); a.Truth < out.Truth {
			out = a
		}
	}
	return out
}

func (c Criterion) match(name string, finding any) Answer {
	s := selector{}
	for _, part := range strings.Split(name, ".") {
		s.steps = append(s.steps, step{name: part})
	}
	v := s.in(finding)
	t := Undecided
	switch v.(type) {
	case Unknown, Absent, []any, map[string]any, Open: // how a list is compared is not documented
	default:
		t = each(v, c.truth)
		if list, ok := v.(OneOf); ok && listHas[Absent](list) {
			t = Undecided
		}
	}
	if t == Yes {
		return Answer{Truth: Yes}
	}
	return Answer{Truth: t, Field: name, Reason: fmt.Sprintf("%s is %s, and the filter takes %s", name, show(v), c.text())}
}

func (c Criterion) truth(v any) Truth {
	if (c.isEmpty()) || v == nil {
		return Undecided
	}
	out := Yes
	if len(c.Equals) > 0 {
		out = min(out, anyEqual(c.Equals, v))
	}
	for _, s := range c.NotEquals { // several are joined by "and"
		out = min(out, equal(s, v).Not())
	}
	if len(c.Matches) > 0 {
		t := No
		for _, s := range c.Matches {
			t = max(t, matches(s, v))
		}
		out = min(out, t)
	}
	for _, s := range c.NotMatches {
		out = min(out, matches(s, v).Not())
	}
	for op, bound := range map[string]*int64{">": c.Greater, ">=": c.GreaterOrEqual, "<": c.Less, "<=": c.LessOrEqual} {
		if bound == nil {
			continue
		}
		f, _, ok := number(v)
		if !ok {
			out = min(out, Undecided)
			continue
		}
		out = min(out, truthOf(compare(f, op, float64(*bound))))
	}
	return out
}

func (c Criterion) isEmpty() bool {
	return len(c.Equals)+len(c.NotEquals)+len(c.Matches)+len(c.NotMatches) == 0 &&
		c.Greater == nil && c.GreaterOrEqual == nil && c.Less == nil && c.LessOrEqual == nil
}

func anyEqual(list []string, v any) Truth {
	out := No
	for _, s := range list {
		out = max(out, equal(s, v))
	}
	return out
}

func equal(s string, v any) Truth {
	switch v := v.(type) {
	case string, Text:
		return literal(s).of(v)
	case bool:
		return truthOf(strings.EqualFold(s, fmt.Sprint(v)))
	}
	if _, text, ok := number(v); ok {
		if text == s {
			return Yes
		}
		return Undecided // 2 and 2.0
	}
	return Undecided
}

// matches compares with the wildcards that the documentation names, * and ?. What
// else it may know of is not documented.
func matches(s string, v any) Truth {
	if strings.ContainsAny(s, `?\[`) {
		return Undecided
	}
	var g glob
	for _, r := range s {
		if r == '*' {
			g = g.star()
		} else {
			g = g.and(literal(string(r)))
		}
	}
	switch v.(type) {
	case string, Text:
		return g.of(v)
	}
	return Undecided
}

// text says what a criterion takes.
func (c Criterion) text() string {
	var parts []string
	list := func(verb string, of []string) {
		if len(of) > 0 {
			parts = append(parts, verb+" "+quote(of))
		}
	}
	list("any of", c.Equals)
	list("none of", c.NotEquals)
	list("what matches any of", c.Matches)
	list("what matches none of", c.NotMatches)
	for _, b := range []struct {
		op string
		to *int64
	}{{">", c.Greater}, {">=", c.GreaterOrEqual}, {"<", c.Less}, {"<=", c.LessOrEqual}} {
		if b.to != nil {
			parts = append(parts, fmt.Sprintf("%s %d", b.op, *b.to))
		}
	}
	if len(parts) == 0 {
		return "what is not understood here"
	}
	return cut(strings.Join(parts, " and "))
}
