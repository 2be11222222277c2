package pattern

import (
	"fmt"
	"math"
	"regexp"
	"strconv"
	"strings"
)

// Match says whether a log event matches: a document (see Unknown), as it stands in
// the log as one line of JSON.
func (f *Filter) Match(doc any) Answer {
	switch {
	case f.doubt != "":
		return Answer{Truth: Undecided, Reason: f.doubt}
	case f.expr != nil:
		return f.expr.match(doc, f.single)
	case len(f.terms) > 0:
		return matchTerms(f.terms, doc)
	}
	return Answer{Truth: Yes}
}

func (list anyOf) match(doc any, _ bool) Answer {
	var answers []Answer
	for _, e := range list {
		answers = append(answers, e.match(doc, false))
	}
	return either(answers)
}

func (list allOf) match(doc any, _ bool) Answer {
	out := Answer{Truth: Yes}
	for _, e := range list {
		if a := e.match(doc, false); a.Truth < out.Truth {
			out = a
		}
	}
	return out
}

func (c comparison) match(doc any, single bool) Answer {
	v := c.selector.in(doc)
	t, doubt := Undecided, ""
	if list, ok := v.(OneOf); ok {
		all, any := Yes, No
		for _, one := range list {
			t, why := c.truth(one, single)
			all, any = min(all, t), max(any, t)
			if t == Undecided {
				doubt = why
			}
		}
		if all == any {
			t = all
		}
	} else {
		t, doubt = c.truth(v, single)
	}
	if t == Yes {
		return Answer{Truth: Yes}
	}
	a := Answer{Truth: t, Field: c.selector.raw, Reason: fmt.Sprintf("%s is %s, and the pattern wants %s", c.selector.raw, show(v), cut(c.raw))}
	if t == Undecided && doubt != "" {
		a.Reason += ": " + doubt
	}
	return a
}

// in is the value that is selected: Absent, Unknown, or something else.
func (s selector) in(doc any) any {
	v := doc
	for _, st := range s.steps {
		switch at := v.(type) {
		case Unknown:
			return v
		case OneOf, Text:
			if list, several := at.(OneOf); several && listHas[Unknown](list) {
				return Unknown{}
			}
			return Absent{}
		case map[string]any:
			inner, ok := at[st.name]
			if st.name == "" || !ok {
				return Absent{}
			}
			v = inner
		case Open:
			inner, ok := at[st.name]
			switch {
			case st.name == "":
				return Absent{}
			case !ok:
				return Unknown{}
			}
			v = inner
		case []any:
			switch {
			case st.every:
				return Unknown{}
			case st.name != "" || st.index >= len(at):
				return Absent{}
			}
			v = at[st.index]
		default:
			return Absent{}
		}
	}
	return v
}

func listHas[T any](list OneOf) bool {
	for _, v := range list {
		if _, ok := v.(T); ok {
			return true
		}
	}
	return false
}

// truth of the comparison for one value, and what the documentation leaves open.
func (c comparison) truth(v any, single bool) (Truth, string) {
	if _, unknown := v.(Unknown); unknown {
		return Undecided, ""
	}
	_, absent := v.(Absent)
	switch c.op {
	case "EXISTS":
		return truthOf(!absent), ""
	case "NOT EXISTS":
		return truthOf(absent), ""
	case "IS":
		want := map[string]any{"NULL": nil, "TRUE": true, "FALSE": false}[c.operand.is]
		return truthOf(!absent && isScalar(v) && v == want), ""
	}
	switch {
	case absent && c.op == "!=":
		return Undecided, "whether != holds for a field that is not there is not documented"
	case absent:
		return No, ""
	case !isScalar(v): // "the filter will not be applied"
		if single {
			return No, ""
		}
		return Undecided, "what a comparison with an object or a list does to the rest of a pattern is not documented"
	}
	if c.op == "=" || c.op == "!=" {
		t, doubt := c.operand.equals(v)
		if c.op == "!=" {
			t = t.Not()
			if t == Yes && !c.operand.comparable(v) {
				return Undecided, "what != says of a value of another type is not documented"
			}
		}
		return t, doubt
	}
	f, _, isNumber := number(v)
	if !isNumber {
		return No, ""
	}
	return truthOf(compare(f, c.op, c.operand.number)), ""
}

// comparable: the operand and the value are both text, or both numbers.
func (o operand) comparable(v any) bool {
	switch v.(type) {
	case string, Text:
		return !o.numeric
	}
	_, _, isNumber := number(v)
	return isNumber && o.numeric
}

// equals says whether a value is what the operand says.
func (o operand) equals(v any) (Truth, string) {
	const otherType = "how text and values of another type compare is not documented"
	if o.unread {
		return Undecided, "the regular expression is not understood here"
	}
	if o.regex != nil {
		if s, ok := v.(string); ok {
			return truthOf(o.regex.MatchString(s)), ""
		}
		return Undecided, ""
	}
	switch v := v.(type) {
	case string:
		t := o.glob.match(v)
		switch {
		case o.inner && t == Yes && v != o.text:
			return Undecided, "a star within a text stands for any text, or only for itself"
		case o.numeric && t == Yes:
			return Undecided, otherType
		case o.numeric && decimal.MatchString(v):
			if f, err := strconv.ParseFloat(v, 64); err != nil || f == o.number {
				return Undecided, otherType
			}
		}
		return t, ""
	case Text:
		t := o.glob.of(v)
		if t == Yes && (o.inner || o.numeric) {
			t = Undecided
		}
		return t, ""
	case bool:
		if o.text == fmt.Sprint(v) || o.text == "*" {
			return Undecided, otherType
		}
		return No, ""
	case nil:
		if o.text == "*" {
			return Undecided, otherType
		}
		return No, ""
	}
	f, text, _ := number(v)
	switch {
	case o.text == "*":
		return Yes, ""
	case o.numeric:
		t := sameNumber(f, o.number, text == o.text)
		if math.IsInf(o.number, 0) {
			t = Undecided
		}
		return t, ""
	case o.glob.match(text) != No:
		return Undecided, otherType
	}
	return No, ""
}

// plain is text that JSON writes as it is.
var plain = regexp.MustCompile(`^[\w .:-]+$`)

// matchTerms looks for terms in what is known of the line.
func matchTerms(terms []term, doc any) Answer {
	var texts []string
	collect(doc, &texts, 0)
	has := func(t term) Truth {
		if t.unread || t.regex != nil {
			return Undecided
		}
		for _, s := range texts {
			if plain.MatchString(t.text) && strings.Contains(s, t.text) {
				return Yes
			}
		}
		return Undecided // it may stand in what is not known, or across two values
	}
	out := Answer{Truth: Yes}
	optional, some := false, No
	for _, t := range terms {
		truth := has(t)
		switch {
		case t.optional:
			optional, some = true, max(some, truth)
			continue
		case t.excluded:
			truth = truth.Not()
		}
		if truth < out.Truth {
			verb := "is"
			if t.excluded {
				verb = "is not"
			}
			out = Answer{Truth: truth, Reason: fmt.Sprintf("the pattern wants that the term %s %s in the record", cut(quote(t.text)), verb)}
		}
	}
	if optional && some < out.Truth {
		out = Answer{Truth: some, Reason: "the pattern wants one of its terms with ? to be in the record"}
	}
	return out
}

// collect gathers the names and texts that stand in a document for certain.
func collect(v any, out *[]string, depth int) {
	if depth > maxDepth || len(*out) > maxLeaves {
		return
	}
	switch v := v.(type) {
	case string:
		*out = append(*out, v)
	case Text:
		*out = append(*out, v.Prefix)
	case Open:
		collect(map[string]any(v), out, depth)
	case map[string]any:
		for name, inner := range v {
			switch inner.(type) {
			case Unknown, Absent, OneOf:
				continue
			}
			*out = append(*out, name)
			collect(inner, out, depth+1)
		}
	case []any:
		for _, inner := range v {
			collect(inner, out, depth+1)
		}
	}
}
