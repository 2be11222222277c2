package pattern

import (
	"slices"
	"unicode/utf8"
)

// glob matches text: literally, but that each star stands for any text.
type glob struct {
	parts []rune
	stars []bool // parts[i] is a star
	fold  bool   // case does not matter
}

// literal is a glob without stars.
func literal(s string) glob {
	r := []rune(s)
	return glob{parts: r, stars: make([]bool, len(r))}
}

// star appends a star, and other what another glob asks for.
func (g glob) star() glob {
	g.parts, g.stars = append(g.parts, '*'), append(g.stars, true)
	return g
}

func (g glob) and(o glob) glob {
	g.parts, g.stars = append(g.parts, o.parts...), append(g.stars, o.stars...)
	return g
}

func (g glob) ignoreCase() glob { g.fold = true; return g }

// maxSteps bounds the work of one comparison.
const maxSteps = 1 << 26

// run returns the places in the glob that may be reached after s. It is doubtful
// where case is folded beyond ASCII, which not everybody does alike, and where the
// work would be too much.
func (g glob) run(s string) (at []bool, doubtful bool) {
	at = make([]bool, len(g.parts)+1)
	if len(s)*len(at) > maxSteps {
		for i := range at {
			at[i] = true
		}
		return at, true
	}
	at[0] = true
	g.skip(at)
	for _, r := range s {
		next := make([]bool, len(at))
		for i, here := range at {
			if !here || i == len(g.parts) {
				continue
			}
			switch {
			case g.stars[i]:
				next[i] = true
			case g.parts[i] == r:
				next[i+1] = true
			case g.fold && (r >= utf8.RuneSelf || g.parts[i] >= utf8.RuneSelf):
				next[i+1], doubtful = true, true
			case g.fold && lower(r) == lower(g.parts[i]):
				next[i+1] = true
			}
		}
		g.skip(next)
		at = next
	}
	return at, doubtful
}

// skip passes over stars, each of which may stand for nothing.
func (g glob) skip(at []bool) {
	for i := range g.parts {
		if at[i] && g.stars[i] {
			at[i+1] = true
		}
	}
}

func lower(r rune) rune {
	if 'A' <= r && r <= 'Z' {
		return r + 'a' - 'A'
	}
	return r
}

// match says whether s matches.
func (g glob) match(s string) Truth {
	at, doubtful := g.run(s)
	t := truthOf(at[len(g.parts)])
	if t == Yes && doubtful {
		return Undecided
	}
	return t
}

// matchBeginning says whether every text that begins with prefix matches, or none does.
func (g glob) matchBeginning(prefix string) Truth {
	at, doubtful := g.run(prefix)
	out := No
	for i, here := range at {
		switch {
		case !here:
		case i == len(g.parts): // it ends here, and the text may go on
			out = max(out, Undecided)
		case g.stars[i] && !slices.Contains(g.stars[i:], false) && !doubtful:
			return Yes
		default:
			out = max(out, Undecided)
		}
	}
	return out
}

// of says whether a value matches that is a string or Text. Others do not.
func (g glob) of(v any) Truth {
	switch v := v.(type) {
	case string:
		return g.match(v)
	case Text:
		return g.matchBeginning(v.Prefix)
	case Unknown:
		return Undecided
	}
	return No
}

// wildcard reads EventBridge's wildcards: * is any text, \* a star, \\ a backslash.
// It reports the byte at which it is malformed, or -1.
func wildcard(s string) (glob, int) {
	var g glob
	escaped, starred := false, false
	for i, r := range s {
		switch {
		case escaped:
			if r != '*' && r != '\\' {
				return glob{}, i
			}
			g, escaped, starred = g.and(literal(string(r))), false, false
		case r == '\\':
			escaped = true
		case r == '*':
			if starred {
				return glob{}, i
			}
			g, starred = g.star(), true
		default:
			g, starred = g.and(literal(string(r))), false
		}
	}
	if escaped {
		return glob{}, len(s) - 1
	}
	return g, -1
}
