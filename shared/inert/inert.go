// Package inert makes anybody's text harmless to show.
package inert

import (
	"strings"
	"unicode"
)

// Line keeps text on its line and from steering a terminal: control characters, and
// those that reorder text, are replaced.
func Line(s string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) {
			return r
		}
		return '\uFFFD'
	}, s)
}

// Cell is Line for a cell that no spreadsheet takes for a formula.
func Cell(s string) string { return Quote(Line(s)) }

// Quote puts an apostrophe before what a spreadsheet would take for a formula.
func Quote(s string) string {
	if strings.IndexAny(s, "=+-@|%＝＋－＠") == 0 {
		return "'" + s
	}
	return s
}
