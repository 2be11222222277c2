package report

import (
	"fmt"
	"strings"
	"unicode/utf8"
)

// diagram is boxes in columns, with arrows from left to right.
type diagram struct {
	// Title says what is to be seen, for those who do not see it.
	Title   string
	Columns [][]box
	Arrows  []arrow
}

// box is one thing: a name in bold, lines under it. Its ID is ours, never anybody's text.
type box struct {
	ID    string
	Name  string
	Lines []string
}

// arrow from box to box by id, with what goes along it.
type arrow struct{ From, To, Label string }

// mermaid is the diagram as a Mermaid flowchart. Text stands in it as entities as
// far as it is more than letters and digits, so that it can end no label, name no
// directive and ask for no click.
func (d diagram) mermaid() string {
	var b strings.Builder
	b.WriteString("flowchart LR\n")
	for _, column := range d.Columns {
		for _, x := range column {
			label := entities(x.Name)
			for _, l := range x.Lines {
				label += "<br/>" + entities(l)
			}
			fmt.Fprintf(&b, "  %s[\"%s\"]\n", x.ID, label)
		}
	}
	for _, a := range d.Arrows {
		fmt.Fprintf(&b, "  %s -->|\"%s\"| %s\n", a.From, entities(a.Label), a.To)
	}
	return b.String()
}

// maxLabel is how much of a text a box shows.
const maxLabel = 120

// entities writes every character as one of Mermaid's entities (#58;) that is not
// plain within the quotes of a label.
func entities(s string) string {
	var b strings.Builder
	for _, r := range line(s, maxLabel) {
		if r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune(" -.,:/_", r) {
			b.WriteRune(r)
		} else {
			fmt.Fprintf(&b, "#%d;", r)
		}
	}
	return b.String()
}

// The diagram's measures, in SVG units.
const (
	boxWidth, boxGap, columnGap = 290, 44, 170
	lineHeight, boxPadding      = 17, 12
	maxRunes                    = 36
)

// Drawing is the diagram laid out, for the template that draws it as SVG.
type Drawing struct {
	Title         string
	Width, Height int
	Boxes         []DrawnBox
	Arrows        []DrawnArrow
}

// DrawnBox is one box with its place.
type DrawnBox struct {
	X, Y, W, H int
	Name       DrawnText
	Lines      []DrawnText
}

// DrawnText is a line of text with its place.
type DrawnText struct {
	X, Y int
	Text string
}

// DrawnArrow is a line from box to box, its label in the middle.
type DrawnArrow struct {
	X1, Y1, X2, Y2 int
	Label          DrawnText
}

// Draw lays the diagram out: columns from left to right, their boxes from the top.
func (d diagram) Draw() Drawing {
	out := Drawing{Title: line(d.Title, maxShownCell)}
	at := map[string]DrawnBox{}
	for i, column := range d.Columns {
		x, y := 10+i*(boxWidth+columnGap), 10
		for _, one := range column {
			b := DrawnBox{X: x, Y: y, W: boxWidth}
			put := func(s string) DrawnText {
				b.H += lineHeight
				return DrawnText{x + boxPadding, y + boxPadding/2 + b.H, short(s)}
			}
			b.Name = put(one.Name)
			for _, l := range one.Lines {
				b.Lines = append(b.Lines, put(l))
			}
			b.H += 2 * boxPadding
			at[one.ID] = b
			out.Boxes = append(out.Boxes, b)
			y += b.H + boxGap
			out.Height = max(out.Height, y)
		}
		out.Width = x + boxWidth + 10
	}
	for _, a := range d.Arrows {
		from, okFrom := at[a.From]
		to, okTo := at[a.To]
		if !okFrom || !okTo {
			continue
		}
		l := DrawnArrow{X1: from.X + from.W, Y1: from.Y + from.H/2, X2: to.X, Y2: to.Y + to.H/2}
		if to.X == from.X { // downwards in the same column
			l.X1, l.Y1, l.X2, l.Y2 = from.X+from.W/2, from.Y+from.H, to.X+to.W/2, to.Y
		}
		l.Label = DrawnText{(l.X1 + l.X2) / 2, (l.Y1+l.Y2)/2 - 5, short(a.Label)}
		out.Arrows = append(out.Arrows, l)
	}
	return out
}

// short is what of a text fits into a box.
func short(s string) string {
	s = line(s, maxShownCell)
	if utf8.RuneCountInString(s) > maxRunes {
		r := []rune(s)
		return string(r[:maxRunes-1]) + "…"
	}
	return s
}
