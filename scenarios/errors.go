package scenarios

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// Error is one fault of a scenario file.
type Error struct {
	File string
	// Line and Col count from 1; columns are characters, not bytes.
	Line, Col int
	Msg       string
}

func (e Error) Error() string {
	return fmt.Sprintf("%s:%d:%d: %s", e.File, e.Line, e.Col, e.Msg)
}

// Errors are all faults found, sorted by file, line and column, each once.
// As text they stand one on a line.
type Errors []Error

func (e Errors) Error() string {
	lines := make([]string, len(e))
	for i := range e {
		lines[i] = e[i].Error()
	}
	return strings.Join(lines, "\n")
}

func (e *Errors) sort() {
	slices.SortFunc(*e, func(a, b Error) int {
		return cmp.Or(cmp.Compare(a.File, b.File), cmp.Compare(a.Line, b.Line),
			cmp.Compare(a.Col, b.Col), cmp.Compare(a.Msg, b.Msg))
	})
	*e = slices.Compact(*e)
}

// quote shows a piece of somebody's file in a message: escaped, since it may be
// meant for the terminal that shows it, and short.
func quote(s string) string {
	if r := []rune(s); len(r) > 60 {
		s = string(r[:57]) + "..."
	}
	return strconv.Quote(s)
}

// printed makes one line of a message that somebody else wrote, with what is in
// the file perhaps quoted as it stands there.
func printed(msg string) string {
	return strings.Map(func(r rune) rune {
		if r == '\n' || !printable(r) {
			return ' '
		}
		return r
	}, msg)
}
