package scenarios

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"
)

// Bounds of a document. The largest scenario imaginable has a few hundred nodes;
// the bounds keep a hostile file from costing more than a moment.
const (
	maxNodes  = 10_000
	maxDepth  = 32
	maxErrors = 100 // of one file
)

// document is a scenario file as parsed YAML.
type document struct {
	file string
	root *yaml.Node
	errs Errors
}

// parse reads the one YAML document of data. On an error the root is nil.
func parse(file string, data []byte) *document {
	d := &document{file: file}
	if len(data) > MaxBytes {
		d.fail(1, 1, "the file is longer than %d bytes", MaxBytes)
		return d
	}
	if !d.checkText(data) {
		return d
	}
	dec := yaml.NewDecoder(bytes.NewReader(data))
	var first, second yaml.Node
	switch err := dec.Decode(&first); {
	case errors.Is(err, io.EOF):
		d.fail(1, 1, "the file is empty")
		return d
	case err != nil:
		d.failYAML(err)
		return d
	}
	switch err := dec.Decode(&second); {
	case errors.Is(err, io.EOF):
	case err != nil:
		d.failYAML(err)
		return d
	default:
		d.fail(second.Line, second.Column, "a second YAML document; a file holds one scenario")
		return d
	}
	if len(first.Content) != 1 {
		d.fail(1, 1, "the file is empty")
		return d
	}
	if n := first.Content[0]; d.count(n) {
		d.root = n
	}
	return d
}

// checkText refuses what is not UTF-8, and control characters.
func (d *document) checkText(data []byte) bool {
	line, col := 1, 1
	for len(data) > 0 {
		r, n := utf8.DecodeRune(data)
		switch {
		case r == utf8.RuneError && n == 1:
			d.fail(line, col, "the file is not UTF-8")
			return false
		case r == '\n':
			line, col = line+1, 0
		case r == '\r' && len(data) > 1 && data[1] == '\n':
		case !printable(r):
			d.fail(line, col, "the character %U is not allowed", r)
			return false
		}
		col++
		data = data[n:]
	}
	return true
}

// printable excludes control characters and invisible formatting (bidirectional
// overrides), which can make a text look like another one.
func printable(r rune) bool {
	return r == '\t' || r == '\n' || unicode.IsPrint(r)
}

// count checks the bounds of a document.
func (d *document) count(n *yaml.Node) bool {
	nodes := 0
	var walk func(n *yaml.Node, depth int) bool
	walk = func(n *yaml.Node, depth int) bool {
		if nodes++; nodes > maxNodes {
			d.fail(n.Line, n.Column, "the file has more than %d values", maxNodes)
			return false
		}
		if depth > maxDepth {
			d.fail(n.Line, n.Column, "values are nested more than %d deep", maxDepth)
			return false
		}
		for _, c := range n.Content {
			if !walk(c, depth+1) {
				return false
			}
		}
		return true
	}
	return walk(n, 1)
}

func (d *document) fail(line, col int, format string, args ...any) {
	switch {
	case len(d.errs) < maxErrors:
		d.errs = append(d.errs, Error{d.file, max(line, 1), max(col, 1), fmt.Sprintf(format, args...)})
	case len(d.errs) == maxErrors:
		d.errs = append(d.errs, Error{d.file, 1, 1, fmt.Sprintf("more than %d errors; the rest is not shown", maxErrors)})
	}
}

var (
	yamlLine = regexp.MustCompile(`^line (\d+): (.*)$`)
	// fromZero matches the errors of the library's parser, which, unlike those of
	// its scanner, count lines from 0.
	fromZero = regexp.MustCompile(`^(did not find expected (<|node content|'-' indicator|key|',')|found (undefined tag handle|duplicate|incompatible))`)
)

// failYAML reports an error of the YAML library, which knows the line at most.
func (d *document) failYAML(err error) {
	msg, line := strings.TrimPrefix(err.Error(), "yaml: "), 1
	if m := yamlLine.FindStringSubmatch(msg); m != nil {
		line, _ = strconv.Atoi(m[1])
		msg = m[2]
		if fromZero.MatchString(msg) {
			line++
		}
	}
	d.fail(line, 1, "not YAML: %s", printed(msg))
}

// value turns the document into JSON's types (map[string]any, []any, string,
// float64, bool). It reports whatever YAML has beyond them, and puts nil in its place.
//
// Anchors, aliases, merge keys and tags are refused: a scenario is read by the
// person who approves it, from top to bottom.
func (d *document) value(n *yaml.Node) any {
	switch {
	case n.Kind == yaml.AliasNode:
		d.fail(n.Line, n.Column, "aliases are not allowed")
		return nil
	case n.Anchor != "":
		d.fail(n.Line, n.Column, "anchors are not allowed")
		return nil
	case n.Style&yaml.TaggedStyle != 0:
		d.fail(n.Line, n.Column, "tags are not allowed")
		return nil
	}
	switch n.Kind {
	case yaml.MappingNode:
		return d.mapping(n)
	case yaml.SequenceNode:
		list := make([]any, len(n.Content))
		for i, c := range n.Content {
			list[i] = d.value(c)
		}
		return list
	default:
		return d.scalar(n)
	}
}

func (d *document) mapping(n *yaml.Node) map[string]any {
	m := make(map[string]any, len(n.Content)/2)
	lines := map[string]int{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		k, v := n.Content[i], n.Content[i+1]
		switch {
		case k.Kind == yaml.ScalarNode && k.ShortTag() == "!!merge":
			d.fail(k.Line, k.Column, "merge keys are not allowed")
			continue
		case k.Kind != yaml.ScalarNode || k.ShortTag() != "!!str" || k.Anchor != "" || k.Style&yaml.TaggedStyle != 0:
			d.fail(k.Line, k.Column, "a field's name must be a plain string")
			continue
		}
		if first, dup := lines[k.Value]; dup {
			d.fail(k.Line, k.Column, "field %s is here twice; the first is on line %d", quote(k.Value), first)
			continue
		}
		lines[k.Value] = k.Line
		m[k.Value] = d.value(v)
	}
	return m
}

var jsonNumber = regexp.MustCompile(`^-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?$`)

// maxInt is the largest integer a float64, hence JSON, holds exactly.
const maxInt = 1 << 53

func (d *document) scalar(n *yaml.Node) any {
	switch n.ShortTag() {
	case "!!null":
		d.fail(n.Line, n.Column, "a value is missing")
		return nil
	case "!!bool":
		return strings.EqualFold(n.Value, "true")
	case "!!int", "!!float":
		// YAML reads 0777, 1_000 and 012345678901 as numbers that nobody meant.
		if !jsonNumber.MatchString(n.Value) {
			d.fail(n.Line, n.Column, "%s is not a plain decimal number; put it in quotes if it is a string", quote(n.Value))
			return nil
		}
		f, err := json.Number(n.Value).Float64()
		whole := !strings.ContainsAny(n.Value, ".eE")
		if err != nil || (whole && (f > maxInt || f < -maxInt)) {
			d.fail(n.Line, n.Column, "the number %s is too large; put it in quotes if it is a string", quote(n.Value))
			return nil
		}
		return f
	default: // strings, and dates: those are strings here, as in YAML 1.2
		for _, r := range n.Value {
			if !printable(r) {
				d.fail(n.Line, n.Column, "the text holds the character %U, which is not allowed", r)
				return nil
			}
		}
		return n.Value
	}
}

// locate finds where the value at path stands. path has the form of a JSON
// pointer's parts; its parts that do not exist are left out, so that the nearest
// thing there is gets the message.
func (d *document) locate(path []string) *yaml.Node {
	n := d.root
	for _, p := range path {
		_, v := child(n, p)
		if v == nil {
			return n
		}
		n = v
	}
	return n
}

// locateKey finds the name of the field at path, or what locate finds if it is no field.
func (d *document) locateKey(path []string) *yaml.Node {
	if len(path) == 0 {
		return d.root
	}
	parent := d.locate(path[:len(path)-1])
	if k, _ := child(parent, path[len(path)-1]); k != nil {
		return k
	}
	return d.locate(path)
}

// child returns the key (nil in a list) and the value of n's part p.
func child(n *yaml.Node, p string) (key, value *yaml.Node) {
	switch n.Kind {
	case yaml.MappingNode:
		for i := 0; i+1 < len(n.Content); i += 2 {
			if n.Content[i].Value == p {
				return n.Content[i], n.Content[i+1]
			}
		}
	case yaml.SequenceNode:
		if i, err := strconv.Atoi(p); err == nil && i >= 0 && i < len(n.Content) {
			return nil, n.Content[i]
		}
	}
	return nil, nil
}
