package exception

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	_ "embed"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"

	"github.com/auditcanary/auditcanary/shared/canary"
)

// file is a register under version control.
type file struct {
	// Version of this format: 1.
	Version int `json:"version" yaml:"version"`
	// Exceptions, each with an id of its own. Those that have expired may stay: they count no more.
	Exceptions []Exception `json:"exceptions" yaml:"exceptions"`
}

// schemaJSON is generated from file; `go test ./shared/exception -update` writes it.
//
//go:embed schema.json
var schemaJSON []byte

// Schema returns the JSON Schema of a register's file, for editors.
func Schema() []byte { return slices.Clone(schemaJSON) }

// Bounds of a register. They keep it readable, each exception within one entry of the
// ledger, and a hostile file from costing more than a moment.
const (
	MaxBytes      = 1 << 20
	maxExceptions = 500
	maxErrors     = 100
	maxDepth      = 16
	maxNodes      = 50_000
	maxID         = 64
	maxLine       = 200
	maxText       = 1500
	maxList       = 8
	maxException  = 32 << 10 // bytes of JSON
)

// Error is one fault of a register's file.
type Error struct {
	File string
	Line int // from 1
	Msg  string
}

func (e Error) Error() string { return fmt.Sprintf("%s:%d: %s", e.File, e.Line, e.Msg) }

// Errors are all faults found, by line. As text they stand one on a line.
type Errors []Error

func (e Errors) Error() string {
	lines := make([]string, len(e))
	for i := range e {
		lines[i] = e[i].Error()
	}
	return strings.Join(lines, "\n")
}

// Read reads a register; name is for messages, and becomes its source. The error is
// Errors: everything that is wrong, with lines. What is not in order about an exception
// (Findings) is no error: it is read, and does not count.
func Read(name string, data []byte) (Register, error) {
	sum := sha256.Sum256(data)
	r := Register{Exceptions: []Exception{}, Source: name, SHA256: hex.EncodeToString(sum[:])}
	d := &document{file: name}
	es, errs := d.read(data)
	if len(errs) > 0 {
		return Register{}, errs
	}
	r.Exceptions = append(r.Exceptions, es...)
	return r, nil
}

// read returns the exceptions of a file, or all that is wrong with it, by line.
func (d *document) read(data []byte) (es []Exception, _ Errors) {
	if root := d.parse(data); root != nil {
		d.plain(root, 1)
		if len(d.errs) == 0 {
			es = d.decode(root, data)
		}
	}
	slices.SortStableFunc(d.errs, func(a, b Error) int { return cmp.Compare(a.Line, b.Line) })
	d.errs = slices.Compact(d.errs)
	if n := len(d.errs); n > maxErrors {
		d.errs = append(d.errs[:maxErrors], Error{d.file, d.errs[maxErrors].Line, fmt.Sprintf("and %d more errors from here on", n-maxErrors)})
	}
	return es, d.errs
}

// document is the file as it is read.
type document struct {
	file  string
	errs  Errors
	nodes int
	// amend, when set, fills in what the text of an exception does not say; it returns
	// what the text must not say, if it does.
	amend func(e *Exception) (path, why string)
}

func (d *document) fail(line int, format string, args ...any) {
	d.errs = append(d.errs, Error{d.file, max(line, 1), fmt.Sprintf(format, args...)})
}

// parse returns the one mapping of the file, or nil.
func (d *document) parse(data []byte) *yaml.Node {
	if len(data) > MaxBytes {
		d.fail(1, "the file is larger than %d bytes", MaxBytes)
		return nil
	}
	if !utf8.Valid(data) {
		d.fail(1+bytes.Count(data[:firstInvalid(data)], []byte("\n")), "the file is not UTF-8")
		return nil
	}
	dec := yaml.NewDecoder(bytes.NewReader(data))
	var doc yaml.Node
	switch err := dec.Decode(&doc); {
	case errors.Is(err, io.EOF):
		d.fail(1, "the file is empty; a register of no exceptions is: {version: 1, exceptions: []}")
		return nil
	case err != nil:
		d.failYAML(err)
		return nil
	}
	if err := dec.Decode(&yaml.Node{}); !errors.Is(err, io.EOF) {
		d.fail(1, "more than one YAML document")
		return nil
	}
	if doc.Kind != yaml.DocumentNode || len(doc.Content) != 1 || doc.Content[0].Kind != yaml.MappingNode {
		d.fail(1, "the file must be a mapping with version and exceptions")
		return nil
	}
	return doc.Content[0]
}

func firstInvalid(data []byte) int {
	for i := 0; i < len(data); {
		r, n := utf8.DecodeRune(data[i:])
		if r == utf8.RuneError && n == 1 {
			return i
		}
		i += n
	}
	return len(data)
}

// plain refuses what a person who approves would not see at once: anchors, aliases,
// tags, and characters that are invisible or reorder text.
func (d *document) plain(n *yaml.Node, depth int) {
	if d.nodes++; d.nodes > maxNodes || depth > maxDepth {
		if d.nodes <= maxNodes+1 {
			d.fail(n.Line, "more than %d values, or nested more than %d deep", maxNodes, maxDepth)
			d.nodes = maxNodes + 1
		}
		return
	}
	switch {
	case n.Kind == yaml.AliasNode || n.Anchor != "":
		d.fail(n.Line, "anchors and aliases are not allowed: an exception is read by whoever approves it, from top to bottom")
		return
	case n.Style&yaml.TaggedStyle != 0:
		d.fail(n.Line, "tags are not allowed")
		return
	case n.Kind == yaml.ScalarNode && strings.ContainsFunc(n.Value, func(r rune) bool { return r != '\n' && r != '\t' && unseen(r) }):
		d.fail(n.Line, "the text %.60q holds a character that cannot be seen", n.Value)
		return
	}
	for _, c := range n.Content {
		d.plain(c, depth+1)
	}
}

var (
	yamlLine  = regexp.MustCompile(`^line (\d+): (.*)$`)
	wrongType = regexp.MustCompile(`^cannot unmarshal !!(\w+)(?: ` + "`" + `.*` + "`" + `)? into (.*)$`)
)

// failYAML reports what the library has to say, in our words.
func (d *document) failYAML(err error) {
	var te *yaml.TypeError
	if !errors.As(err, &te) {
		msg := strings.TrimPrefix(err.Error(), "yaml: ")
		line := 1
		if m := yamlLine.FindStringSubmatch(msg); m != nil {
			line, _ = strconv.Atoi(m[1])
			msg = m[2]
		}
		d.fail(line, "not YAML: %s", printable(msg))
		return
	}
	for _, e := range te.Errors {
		line, msg := 1, e
		if m := yamlLine.FindStringSubmatch(strings.ReplaceAll(e, "\n", " ")); m != nil {
			line, _ = strconv.Atoi(m[1])
			msg = m[2]
		}
		if field, _, ok := strings.Cut(strings.TrimPrefix(msg, "field "), " not found in type "); ok {
			msg = fmt.Sprintf("unknown key %.60q", field)
		} else if m := wrongType.FindStringSubmatch(msg); m != nil {
			msg = fmt.Sprintf("must be %s, not %s", shape(m[2]), tagged(m[1]))
		}
		d.fail(line, "%s", printable(msg))
	}
}

// shape says what a Go type looks like in the file.
func shape(t string) string {
	switch {
	case t == "int":
		return "a number"
	case strings.HasPrefix(t, "[]"):
		return "a list"
	case t == "string", t == "exception.Day", t == "canary.Check", t == "canary.Status", t == "canary.Hop":
		return "text"
	}
	return "a mapping"
}

func tagged(t string) string {
	switch t {
	case "map":
		return "a mapping"
	case "seq":
		return "a list"
	}
	return "a plain value (" + t + ")"
}

// decode reads the exceptions and checks each.
func (d *document) decode(root *yaml.Node, data []byte) []Exception {
	var f file
	dec := yaml.NewDecoder(bytes.NewReader(data))
	dec.KnownFields(true)
	if err := dec.Decode(&f); err != nil {
		d.failYAML(err)
	}
	faulty := map[int]bool{} // lines of which enough is said
	for _, e := range d.errs {
		faulty[e.Line] = true
	}
	bad := func(n *yaml.Node, format string, args ...any) {
		if !faulty[n.Line] {
			d.fail(n.Line, format, args...)
		}
	}
	if f.Version != 1 {
		bad(at(root, "version"), "version must be 1")
	}
	list := at(root, "exceptions")
	if list == root {
		bad(root, "exceptions are missing; a register of none says: exceptions: []")
		return nil
	}
	if len(f.Exceptions) > maxExceptions {
		bad(list, "%d exceptions; at most %d", len(f.Exceptions), maxExceptions)
		return nil
	}
	first := map[string]int{}
	for i := range f.Exceptions {
		n := list
		if i < len(list.Content) {
			n = list.Content[i]
		}
		e := &f.Exceptions[i]
		e.Line = n.Line
		if d.amend != nil {
			if path, why := d.amend(e); why != "" {
				bad(at(n, path), "%s", why)
			}
		}
		c := &checker{node: n, bad: bad, e: e}
		c.check()
		if text, err := json.Marshal(e); err != nil || len(text) > maxException {
			bad(n, "the exception takes more than %d bytes of JSON", maxException)
		}
		if line, dup := first[e.ID]; dup && e.ID != "" {
			bad(at(n, "id"), "id %s is that of the exception at line %d", quote(e.ID), line)
		} else {
			first[e.ID] = at(n, "id").Line
		}
	}
	return f.Exceptions
}

// at is the value of a dotted path below n, or as much of it as there is.
func at(n *yaml.Node, dotted string) *yaml.Node {
	for dotted != "" {
		name, rest, _ := strings.Cut(dotted, ".")
		var next *yaml.Node
		switch n.Kind {
		case yaml.MappingNode:
			for i := 0; i+1 < len(n.Content); i += 2 {
				if n.Content[i].Value == name {
					next = n.Content[i+1]
				}
			}
		case yaml.SequenceNode:
			if i, err := strconv.Atoi(name); err == nil && i >= 0 && i < len(n.Content) {
				next = n.Content[i]
			}
		}
		if next == nil {
			return n
		}
		n, dotted = next, rest
	}
	return n
}

// checker looks at one exception.
type checker struct {
	node *yaml.Node
	e    *Exception
	bad  func(n *yaml.Node, format string, args ...any)
}

var (
	idForm      = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]*$`)
	accountForm = regexp.MustCompile(`^(\*|[0-9]{12})(/(\*|[a-z]{2}(-[a-z]+)+-[0-9]))?$|^[a-z][a-z0-9.-]*(/(\*|cluster))?$`)
	controlForm = regexp.MustCompile(`^[a-z0-9.-]+(:[a-z0-9.-]+)?/[A-Za-z0-9.()/-]+$`)
	versionForm = regexp.MustCompile(`^([0-9a-f]{64}|[0-9]{4}-[0-9]{2}-[0-9]{2}\.[0-9]+)$`)
)

func (c *checker) check() {
	e := c.e
	c.form("id", e.ID, idForm, maxID, `letters, digits, dots, dashes and underscores, as in "EX-2026-014"`)
	if c.text("scope.scenario", e.Scope.Scenario, maxLine) {
		if _, err := path.Match(e.Scope.Scenario, "x"); err != nil {
			c.bad(at(c.node, "scope.scenario"), "scope.scenario %s is not a pattern: %v", quote(e.Scope.Scenario), err)
		}
	}
	c.form("scope.target", e.Scope.Target, accountForm, maxLine, `an account or account/region, as in "111122223333/eu-west-1", or the name of a cluster; "*" stands for any`)
	if c.text("scope.check", string(e.Scope.Check), maxLine) {
		c.oneOf("scope.check", string(e.Scope.Check), excepting())
	}
	for i, s := range e.Problem.Status {
		c.oneOf(fmt.Sprintf("problem.status.%d", i), string(s), texts(exceptable()))
	}
	if e.Problem.Hop != "" {
		c.oneOf("problem.hop", string(e.Problem.Hop), texts([]canary.Hop{canary.Emitted, canary.Delivered, canary.Stored, canary.Parsed}))
	}
	c.list("problem.steps", e.Problem.Steps, maxLine, false)
	c.list("problem.fields", e.Problem.Fields, maxLine, false)
	c.list("problem.details", e.Problem.Details, maxText, false)
	c.form("control.id", e.Control.ID, controlForm, maxLine, `framework:edition/clause, as in "iso27017:2015/12.4.3"`)
	c.form("control.version", e.Control.Version, versionForm, maxLine, `the SHA-256 of the scenario (64 hex digits; auditcanary scenarios --json) or the version of the controls, as in "2026-11-26.1"`)
	c.list("compensating_controls", e.CompensatingControls, maxText, true)
	c.text("risk.requester", e.Risk.Requester, maxLine)
	c.text("risk.approver", e.Risk.Approver, maxLine)
	c.text("risk.statement", e.Risk.Statement, maxText)
	c.short("risk.ticket", e.Risk.Ticket, maxLine)
	c.day("opened", e.Opened)
	if c.day("expires", e.Expires) {
		if from, ok := e.Opened.begin(); ok {
			if to, _ := e.Expires.end(); !to.After(from) {
				c.bad(at(c.node, "expires"), "expires on %s, before it is opened on %s", e.Expires, e.Opened)
			}
		}
	}
	c.text("remediation.plan", e.Remediation.Plan, maxText)
	c.day("remediation.by", e.Remediation.By)
	c.text("owner", e.Owner, maxLine)
	c.short("contact", e.Contact, maxLine)
}

// excepting are the checks that can be excepted.
func excepting() (out []string) {
	for _, c := range canary.Checks() {
		if c != canary.Cleaned {
			out = append(out, string(c))
		}
	}
	return out
}

func texts[T ~string](list []T) (out []string) {
	for _, s := range list {
		out = append(out, string(s))
	}
	return out
}

func (c *checker) text(name, value string, most int) bool {
	if strings.TrimSpace(value) == "" {
		c.bad(at(c.node, name), "%s is missing", name)
		return false
	}
	return c.short(name, value, most)
}

func (c *checker) short(name, value string, most int) bool {
	if n := utf8.RuneCountInString(value); n > most {
		c.bad(at(c.node, name), "%s has %d characters; at most %d", name, n, most)
		return false
	}
	return true
}

func (c *checker) form(name, value string, form *regexp.Regexp, most int, what string) {
	if c.text(name, value, most) && !form.MatchString(value) {
		c.bad(at(c.node, name), "%s %s must be %s", name, quote(value), what)
	}
}

func (c *checker) oneOf(name, value string, known []string) {
	if !slices.Contains(known, value) {
		c.bad(at(c.node, name), "%s %s is not known; known: %s", name, quote(value), strings.Join(known, ", "))
	}
}

func (c *checker) list(name string, values []string, most int, needed bool) {
	if needed && len(values) == 0 {
		c.bad(at(c.node, name), "%s is missing", name)
	}
	if len(values) > maxList {
		c.bad(at(c.node, name), "%s has %d items; at most %d", name, len(values), maxList)
		return
	}
	for i, v := range values {
		c.text(fmt.Sprintf("%s.%d", name, i), v, most)
	}
}

func (c *checker) day(name string, d Day) bool {
	if d == "" {
		c.bad(at(c.node, name), "%s is missing", name)
		return false
	}
	if _, ok := d.begin(); !ok {
		c.bad(at(c.node, name), "%s %s is not a day such as 2026-12-31", name, quote(string(d)))
		return false
	}
	return true
}

// quote shows a piece of somebody's file: escaped, since it may be meant for the
// terminal that shows it, and short.
func quote(s string) string {
	if r := []rune(s); len(r) > 60 {
		s = string(r[:57]) + "..."
	}
	return strconv.Quote(s)
}

func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) {
			return r
		}
		return ' '
	}, s)
}
