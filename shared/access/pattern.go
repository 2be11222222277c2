package access

import (
	"slices"
	"strings"
)

// glob is a text with wildcards, a symbol each: a rune, anyRun or anyOne.
type glob []rune

const (
	anyRun rune = -1 // *: any run of characters, also none
	anyOne rune = -2 // ?: one character
	// anyName stands in what is asked about: any run of characters but colons.
	anyName rune = -3
)

func compile(text string) glob {
	g := make(glob, 0, len(text))
	for _, r := range text {
		switch r {
		case '*':
			r = anyRun
		case '?':
			r = anyOne
		}
		g = append(g, r)
	}
	return g
}

func (g glob) wild() bool {
	return slices.ContainsFunc(g, func(r rune) bool { return r < 0 })
}

// contains says that everything s stands for is matched by g. Where s has
// wildcards itself, a false may also mean that it could not be shown.
func (g glob) contains(s glob) bool {
	p, i, star, mark := 0, 0, -1, 0
	for i < len(s) {
		switch {
		case p < len(g) && g[p] == anyRun:
			star, mark = p, i
			p++
		case p < len(g) && (g[p] == s[i] || g[p] == anyOne && (s[i] >= 0 || s[i] == anyOne)):
			p++
			i++
		case star >= 0:
			mark++
			p, i = star+1, mark
		default:
			return false
		}
	}
	for p < len(g) && g[p] == anyRun {
		p++
	}
	return p == len(g)
}

// meets says that g and s have something in common.
func (g glob) meets(s glob) bool {
	if !s.wild() {
		return g.contains(s)
	}
	// row[j]: the rest of g from i meets the rest of s from j.
	row := make([]bool, len(s)+1)
	next := make([]bool, len(s)+1)
	for i := len(g); i >= 0; i-- {
		for j := len(s); j >= 0; j-- {
			gEnd, sEnd := i == len(g), j == len(s)
			switch {
			case gEnd && sEnd:
				row[j] = true
			case !gEnd && g[i] == anyRun:
				row[j] = next[j] || !sEnd && row[j+1]
			case !sEnd && s[j] == anyRun:
				row[j] = row[j+1] || !gEnd && next[j]
			case !sEnd && s[j] == anyName:
				row[j] = row[j+1] || !gEnd && g[i] != ':' && next[j]
			case gEnd || sEnd:
				row[j] = false
			default:
				row[j] = next[j+1] && (g[i] == s[j] || g[i] == anyOne || s[j] == anyOne)
			}
		}
		row, next = next, row
	}
	return next[0]
}

// covers says how much of s g matches: all (yes), none (no), or a part, or that
// it could not be shown (maybe).
func (g glob) covers(s glob) truth {
	switch {
	case g.contains(s):
		return yes
	case s.wild() && g.meets(s):
		return maybe
	}
	return no
}

// arnCovers is covers for ARNs. The reference of the resource element says that a
// wildcard stands within a segment, but that one at a segment's end "can" reach
// over colons, and that incomplete ARNs are completed. Where that makes a
// difference the answer is maybe.
func arnCovers(pattern, s glob) truth {
	if len(pattern) == 1 && pattern[0] == anyRun {
		return yes
	}
	whole := pattern.covers(s)
	pp, sp := segments(pattern), segments(s)
	if whole == no && len(pp) == 6 {
		return no // segment by segment it matches less
	}
	for len(pp) < 6 && len(sp) == 6 {
		pp = append(pp, glob{anyRun})
	}
	if len(pp) != len(sp) {
		return min(whole, maybe)
	}
	each := yes
	for i := range pp {
		each = min(each, pp[i].covers(sp[i]))
	}
	if whole == each {
		return whole
	}
	return maybe
}

// segments are the six parts of an ARN; the last may hold colons.
func segments(g glob) []glob {
	var out []glob
	for len(out) < 5 {
		i := slices.Index(g, ':')
		if i < 0 {
			break
		}
		out, g = append(out, g[:i]), g[i+1:]
	}
	return append(out, g)
}

// hasVariable: ${...} means something from version 2012-10-17 on.
func hasVariable(text string) bool { return strings.Contains(text, "${") }

// expand puts the values of policy variables into a text. exact is false where a
// variable's value is not known: a wildcard stands there.
func expand(text string, value func(key string) ([]string, bool)) (g glob, exact bool) {
	exact = true
	for {
		before, rest, found := strings.Cut(text, "${")
		g = append(g, compile(before)...)
		if !found {
			return g, exact
		}
		name, after, closed := strings.Cut(rest, "}")
		if !closed {
			return append(g, append([]rune("${"), compile(rest)...)...), false
		}
		text = after
		switch name {
		case "*", "?", "$":
			g = append(g, []rune(name)...)
			continue
		}
		key, fallback, hasFallback := strings.Cut(name, ",")
		vals, known := value(strings.ToLower(strings.TrimSpace(key)))
		switch {
		case known && len(vals) == 1:
			g = append(g, []rune(vals[0])...)
		case known && len(vals) == 0 && hasFallback:
			g = append(g, []rune(strings.Trim(strings.TrimSpace(fallback), "'"))...)
		default: // also a known absence without a fallback: such a statement never matches, or does by the operator
			g, exact = append(g, anyRun), false
		}
	}
}
