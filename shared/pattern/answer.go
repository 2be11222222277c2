package pattern

import (
	"cmp"
	"encoding/json"
	"fmt"
	"strings"
)

// Truth is what is known of a claim. "and" is min, "or" is max.
type Truth int8

const (
	No Truth = iota
	Undecided
	Yes
)

// Not is the truth of the opposite.
func (t Truth) Not() Truth { return Yes - t }

// String is "no", "undecided" or "yes".
func (t Truth) String() string { return [...]string{"no", "undecided", "yes"}[t] }

// MarshalText writes it as a word.
func (t Truth) MarshalText() ([]byte, error) { return []byte(t.String()), nil }

func truthOf(b bool) Truth {
	if b {
		return Yes
	}
	return No
}

// Answer says whether a rule matches.
type Answer struct {
	Truth Truth `json:"truth"`
	// Field that decided it ("detail.errorCode"), "" where no single one did.
	Field string `json:"field,omitempty"`
	// Reason, unless it is Yes: a clause that goes on after "because".
	Reason string `json:"reason,omitempty"`
}

// SyntaxError is a pattern that cannot be read.
type SyntaxError struct {
	// Line and Column from 1; columns count characters.
	Line, Column int
	Message      string
}

func (e *SyntaxError) Error() string {
	return fmt.Sprintf("line %d, column %d: %s", e.Line, e.Column, e.Message)
}

// syntax is an error at a byte of text.
func syntax(text string, at int, format string, args ...any) error {
	before := text[:min(max(at, 0), len(text))]
	line := strings.LastIndexByte(before, '\n') + 1
	return &SyntaxError{
		Line: 1 + strings.Count(before, "\n"), Column: 1 + len([]rune(before[line:])),
		Message: fmt.Sprintf(format, args...),
	}
}

// maxShown is how much of a value is quoted in a reason, in characters.
const maxShown = 160

func cut(s string) string {
	if r := []rune(s); len(r) > maxShown {
		return string(r[:maxShown-1]) + "…"
	}
	return s
}

// show gives a value as a reason quotes it.
func show(v any) string {
	switch v := v.(type) {
	case Text:
		if v.Prefix == "" {
			return "a text that is not known yet"
		}
		return cut("a text that begins with " + quote(v.Prefix))
	case OneOf:
		parts := make([]string, len(v))
		for i := range v {
			parts[i] = show(v[i])
		}
		return cut(strings.Join(parts, " or "))
	case Absent:
		return "not there"
	case Unknown:
		return "not known"
	case map[string]any, Open:
		return "an object"
	case []any:
		return "a list"
	}
	return cut(quote(v))
}

func quote(v any) string {
	var b strings.Builder
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		return fmt.Sprint(v)
	}
	return strings.TrimSuffix(b.String(), "\n")
}

// either is the answer of alternatives, each with a reason of its own.
func either(answers []Answer) Answer {
	var out Answer
	var reasons []string
	seen := map[string]bool{}
	for _, a := range answers {
		out.Truth = max(out.Truth, a.Truth)
	}
	for _, a := range answers {
		if a.Truth == out.Truth && !seen[a.Reason] {
			seen[a.Reason] = true
			reasons, out.Field = append(reasons, a.Reason), cmp.Or(out.Field, a.Field)
		}
	}
	if out.Truth == Yes {
		return Answer{Truth: Yes}
	}
	if len(reasons) > 1 {
		out.Field = ""
	}
	const most = 3
	more := ""
	if len(reasons) > most {
		more = fmt.Sprintf("; and %d more", len(reasons)-most)
		reasons = reasons[:most]
	}
	out.Reason = strings.Join(reasons, "; ") + more
	return out
}
