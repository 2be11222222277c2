package pattern

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

var (
	names   = []string{"a", "b", "c"}
	strs    = []string{"", "a", "ab", "abc", "b", "A", "a*c", "10.0.0.1", "5"}
	scalars = []any{"", "a", "ab", "abc", "b", "A", "10.0.0.1", "5", 5.0, 6.0, true, false, nil}
)

// genDocument is a document all of which is known.
func genDocument(t *rapid.T, label string, depth int) any {
	kinds := []string{"scalar", "scalar", "object", "object", "list"}
	if depth == 0 {
		kinds = []string{"object"}
	}
	if depth >= 3 {
		kinds = []string{"scalar"}
	}
	switch rapid.SampledFrom(kinds).Draw(t, label+"kind") {
	case "object":
		out := map[string]any{}
		for _, n := range rapid.SliceOfNDistinct(rapid.SampledFrom(names), 0, 3, rapid.ID).Draw(t, label+"names") {
			out[n] = genDocument(t, label+n, depth+1)
		}
		return out
	case "list":
		out := []any{}
		for i := range rapid.IntRange(0, 2).Draw(t, label+"len") {
			out = append(out, genDocument(t, fmt.Sprint(label, i), depth+1))
		}
		return out
	}
	return rapid.SampledFrom(scalars).Draw(t, label+"scalar")
}

// forget leaves parts of a document open: the document agrees with what is left.
func forget(t *rapid.T, label string, v any, depth int) any {
	what := rapid.SampledFrom([]string{"keep", "keep", "keep", "keep", "unknown", "less"}).Draw(t, label+"forget")
	if what == "unknown" && depth > 0 {
		return Unknown{}
	}
	switch v := v.(type) {
	case map[string]any:
		out := map[string]any{}
		for _, n := range names {
			inner, ok := v[n]
			switch {
			case ok:
				out[n] = forget(t, label+n, inner, depth+1)
			case what == "less" && rapid.Bool().Draw(t, label+n+"absent"):
				out[n] = rapid.SampledFrom([]any{Absent{}, OneOf{Absent{}, "a"}, OneOf{Absent{}, Text{"a"}, 5.0}, Unknown{}}).Draw(t, label+n+"how")
			}
		}
		if what == "less" {
			for _, n := range names {
				if rapid.IntRange(0, 3).Draw(t, label+n+"drop") == 0 {
					delete(out, n)
				}
			}
			return Open(out)
		}
		return out
	case []any:
		out := []any{}
		for i, inner := range v {
			out = append(out, forget(t, fmt.Sprint(label, i), inner, depth+1))
		}
		return out
	case string:
		if what == "less" {
			n := rapid.IntRange(0, len(v)).Draw(t, label+"prefix")
			return rapid.SampledFrom([]any{Text{v[:n]}, OneOf{v, "abc"}, OneOf{"b", Text{v[:n]}}, OneOf{5.0, v, Absent{}}}).Draw(t, label+"text")
		}
	}
	if what == "less" {
		return OneOf{v, "a"}
	}
	return v
}

func genTest(t *rapid.T, label string) any {
	str := func() string { return rapid.SampledFrom(strs).Draw(t, label+"s") }
	text := func() map[string]any {
		switch rapid.IntRange(0, 4).Draw(t, label+"text") {
		case 0:
			return map[string]any{"prefix": str()}
		case 1:
			return map[string]any{"suffix": str()}
		case 2:
			return map[string]any{"equals-ignore-case": str()}
		case 3:
			return map[string]any{"wildcard": rapid.SampledFrom([]string{"*", "a*", "*c", "a*c", `a\*c`, "*b*", "x"}).Draw(t, label+"w")}
		}
		return map[string]any{"prefix": map[string]any{"equals-ignore-case": str()}}
	}
	switch rapid.IntRange(0, 7).Draw(t, label+"op") {
	case 0:
		return map[string]any{"exists": rapid.Bool().Draw(t, label+"exists")}
	case 1:
		return map[string]any{"anything-but": str()}
	case 2:
		inner := text()
		if _, nested := inner["prefix"].(map[string]any); nested {
			inner = map[string]any{"prefix": str()}
		}
		return map[string]any{"anything-but": inner}
	case 3:
		return map[string]any{"numeric": []any{rapid.SampledFrom([]string{"=", "<", ">="}).Draw(t, label+"n"), 5}}
	case 4:
		return map[string]any{"cidr": "10.0.0.0/8"}
	case 5:
		return text()
	}
	return rapid.SampledFrom(scalars).Draw(t, label+"exact")
}

func genFields(t *rapid.T, label string, depth int) map[string]any {
	out := map[string]any{}
	for _, n := range rapid.SliceOfNDistinct(rapid.SampledFrom(names), 1, 2, rapid.ID).Draw(t, label+"names") {
		if depth < 2 && rapid.Bool().Draw(t, label+n+"deep") {
			out[n] = genFields(t, label+n, depth+1)
			continue
		}
		var tests []any
		for i := range rapid.IntRange(1, 2).Draw(t, label+n+"tests") {
			tests = append(tests, genTest(t, fmt.Sprint(label, n, i)))
		}
		out[n] = tests
	}
	return out
}

func genEventPattern(t *rapid.T) string {
	fields := genFields(t, "p", 0)
	if rapid.IntRange(0, 3).Draw(t, "or") == 0 {
		fields["$or"] = []any{genFields(t, "x", 1), genFields(t, "y", 1)}
	}
	b, _ := json.Marshal(fields)
	return string(b)
}

func genFilter(t *rapid.T, label string, depth int) string {
	switch rapid.IntRange(0, 4-depth).Draw(t, label+"shape") {
	case 3:
		return "(" + genFilter(t, label+"l", depth+1) + " && " + genFilter(t, label+"r", depth+1) + ")"
	case 4:
		return "(" + genFilter(t, label+"l", depth+1) + " || " + genFilter(t, label+"r", depth+1) + ")"
	}
	selector := "$." + strings.Join(rapid.SliceOfN(rapid.SampledFrom([]string{"a", "b", "c", "a[0]", "b[1]"}), 1, 3).Draw(t, label+"path"), ".")
	return selector + rapid.SampledFrom([]string{` = "a"`, ` != "a"`, ` = a*`, ` != "*c"`, ` = *`, ` = 5`, ` != 5`, ` >= 5.5`, ` < 6`, ` IS NULL`, ` IS TRUE`, ` NOT EXISTS`, ` EXISTS`, ` = %b+%`, ` != %^a%`, ` = true`}).Draw(t, label+"op")
}

// What is decided of a document in part must hold for the whole, whatever the rest.
func TestWhatIsDecidedInPartHoldsForTheWhole(t *testing.T) {
	count := map[string]int{}
	check := func(t *rapid.T, rule string, match func(any) Answer) {
		for i := range 40 { // documents cost less than checks
			whole := genDocument(t, fmt.Sprint("d", i), 0)
			part := forget(t, fmt.Sprint("f", i), whole, 0)
			all, some := match(whole), match(part)
			if some.Truth != Undecided && all.Truth != some.Truth {
				t.Fatalf("%s\nof %s: %+v\nbut of %#v: %+v", rule, quote(whole), all, part, some)
			}
			count[some.Truth.String()]++
		}
	}
	t.Run("event patterns", rapid.MakeCheck(func(t *rapid.T) {
		text := genEventPattern(t)
		p, err := ParseEventPattern(text)
		if err != nil {
			t.Fatalf("%s: %v", text, err)
		}
		check(t, text, p.Match)
	}))
	t.Run("filters", rapid.MakeCheck(func(t *rapid.T) {
		text := "{ " + genFilter(t, "p", 0) + " }"
		p, err := ParseFilter(text)
		if err != nil {
			t.Fatalf("%s: %v", text, err)
		}
		check(t, text, p.Match)
	}))
	t.Run("criteria", rapid.MakeCheck(func(t *rapid.T) {
		c := Criteria{}
		for _, n := range rapid.SliceOfNDistinct(rapid.SampledFrom([]string{"a", "b", "a.b", "b.c"}), 1, 3, rapid.ID).Draw(t, "attributes") {
			five := int64(5)
			c[n] = rapid.SampledFrom([]Criterion{{Equals: []string{"a", "5"}}, {NotEquals: []string{"a"}}, {Matches: []string{"a*"}}, {NotMatches: []string{"*c"}}, {GreaterOrEqual: &five}, {Less: &five, Equals: []string{"abc"}}}).Draw(t, n)
		}
		check(t, fmt.Sprint(c), c.Match)
	}))
	for _, truth := range []string{"yes", "no", "undecided"} {
		if count[truth] < 10 {
			t.Errorf("%d of %v were %s: the test shows nothing", count[truth], count, truth)
		}
	}
}

// Of a document all of which is known, without what is not documented, all is decided.
func TestAllOfWhatIsKnownIsDecided(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		text := genEventPattern(t)
		if strings.Contains(text, "anything-but") || strings.Contains(text, "$or") {
			return // of other types, and of names twice, nothing is documented
		}
		p, err := ParseEventPattern(text)
		if err != nil {
			t.Fatal(err)
		}
		whole := genDocument(t, "d", 0)
		if got := p.Match(whole); got.Truth == Undecided {
			t.Fatalf("%s of %s: %+v", text, quote(whole), got)
		}
	})
}

// A glob says of a beginning what it says of the texts that begin so.
func TestGlobsOfABeginning(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		alphabet := rapid.StringOfN(rapid.SampledFrom([]rune("abA*")), 0, 4, -1)
		pattern, prefix := alphabet.Draw(t, "pattern"), rapid.StringOfN(rapid.SampledFrom([]rune("abA")), 0, 3, -1).Draw(t, "prefix")
		var g glob
		for _, r := range pattern {
			if r == '*' {
				g = g.star()
			} else {
				g = g.and(literal(string(r)))
			}
		}
		if rapid.Bool().Draw(t, "fold") {
			g = g.ignoreCase()
		}
		all, any := Yes, No
		rest := []string{""}
		for range 5 {
			for _, r := range slices.Clone(rest) {
				if len(r) < 5 {
					rest = append(rest, r+"a", r+"b", r+"x")
				}
			}
			if len(rest) > 2000 {
				break
			}
		}
		for _, r := range rest {
			m := g.match(prefix + r)
			all, any = min(all, m), max(any, m)
		}
		switch got := g.matchBeginning(prefix); {
		case got == Yes && all != Yes, got == No && any != No:
			t.Fatalf("%q of %q…: %s; all %s, any %s", pattern, prefix, got, all, any)
		case got == Undecided && any == No && !strings.ContainsAny(pattern, "A"):
			t.Fatalf("%q of %q…: undecided, and none matches", pattern, prefix)
		}
	})
}
