package fault

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"cel.dev/cel-go/cel"
	"go.yaml.in/yaml/v3"
)

// costLimit bounds the evaluation of one match, in CEL's cost units.
const costLimit = 100_000

// Load reads a fault file. See Parse.
func Load(path string) (*Set, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("fault file: %w", err)
	}
	return Parse(path, b)
}

// Parse reads faults from YAML. It is strict: an unknown key, point or action, a
// second action in one `do`, an action that its point cannot do, or a match that
// is not a CEL condition over `it` is an error "name:line: what is wrong". All
// errors of a file are returned together.
func Parse(name string, data []byte) (*Set, error) {
	dec := yaml.NewDecoder(bytes.NewReader(data))
	var doc, more yaml.Node
	if err := dec.Decode(&doc); errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("%s:1: the file is empty; want a mapping with the key faults", name)
	} else if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	if err := dec.Decode(&more); !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("%s:%d: more than one document", name, max(more.Line, 1))
	}
	env, err := cel.NewEnv(cel.Variable("it", cel.MapType(cel.StringType, cel.DynType)))
	if err != nil {
		return nil, fmt.Errorf("%s: CEL environment: %w", name, err)
	}
	p := &parser{name: name, env: env}
	set := p.file(doc.Content[0])
	if len(p.errs) > 0 {
		return nil, errors.Join(p.errs...)
	}
	return set, nil
}

// parser collects the errors of one file.
type parser struct {
	name string
	env  *cel.Env
	errs []error
}

func (p *parser) errorf(n *yaml.Node, format string, args ...any) {
	p.errs = append(p.errs, fmt.Errorf("%s:%d: %s", p.name, n.Line, fmt.Sprintf(format, args...)))
}

func (p *parser) file(n *yaml.Node) *Set {
	set := &Set{}
	top := p.mapping(n, "the file", "faults")
	list := top["faults"]
	if list == nil {
		if len(p.errs) == 0 {
			p.errorf(n, "faults is missing")
		}
		return set
	}
	if list.Kind != yaml.SequenceNode {
		p.errorf(list, "faults must be a list")
		return set
	}
	names := map[string]int{}
	for _, item := range list.Content {
		f := p.fault(item)
		if line, dup := names[f.name]; dup && f.name != "" {
			p.errorf(item, "fault %q has the name of the one in line %d", f.name, line)
		}
		names[f.name] = item.Line
		set.faults = append(set.faults, f)
	}
	return set
}

func (p *parser) fault(n *yaml.Node) *entry {
	f := &entry{}
	m := p.mapping(n, "a fault", "name", "at", "match", "times", "after", "for", "hop", "wait", "do")
	if m == nil {
		return f
	}
	for _, key := range []string{"name", "at", "match", "do"} {
		if m[key] == nil {
			p.errorf(n, "%s is missing in a fault", key)
		}
	}
	f.name = p.str(m["name"], "name")
	if f.at = p.str(m["at"], "at"); f.at != "" && actions[f.at] == nil {
		p.errorf(m["at"], "unknown point %q in at; want call, record, file, digest, object, alert, ticket or chat", f.at)
	}
	if t := m["times"]; t != nil {
		f.times = p.integer(t, "times", 0)
	}
	if v := m["after"]; v != nil {
		f.after = p.duration(v, "after")
	}
	if v := m["for"]; v != nil {
		f.length = p.duration(v, "for")
	}
	if w := m["wait"]; w != nil {
		if f.wait = p.duration(w, "wait"); f.at != AtObject {
			p.errorf(w, "wait is for faults at object only")
		}
	}
	switch h := m["hop"]; {
	case h != nil:
		f.hop = p.str(h, "hop")
		if f.at != AtRecord {
			p.errorf(h, "hop is for faults at record only")
		} else if f.hop != HopEmitted && f.hop != HopDelivered {
			p.errorf(h, "unknown hop %q; want emitted or delivered", f.hop)
		}
	case f.at == AtRecord:
		f.hop = HopDelivered
	}
	if m["match"] != nil {
		f.match = p.condition(m["match"])
	}
	if m["do"] != nil {
		f.do = p.do(m["do"], f.at)
	}
	if f.do.Retain != nil && f.wait > 0 {
		p.errorf(m["wait"], "retain cannot wait: a retention is given when the object comes")
	}
	return f
}

func (p *parser) condition(n *yaml.Node) cel.Program {
	src := n.Value
	if n.Kind != yaml.ScalarNode || strings.TrimSpace(src) == "" {
		p.errorf(n, "match must be a CEL condition over it")
		return nil
	}
	ast, iss := p.env.Compile(src)
	if iss != nil && iss.Err() != nil {
		for _, e := range iss.Errors() {
			p.errorf(n, "match: column %d: %s", e.Location.Column()+1, e.Message)
		}
		return nil
	}
	if !ast.OutputType().IsExactType(cel.BoolType) {
		p.errorf(n, "match is a %s, not a bool: %s", ast.OutputType(), src)
		return nil
	}
	prog, err := p.env.Program(ast, cel.CostLimit(costLimit))
	if err != nil {
		p.errorf(n, "match: %v", err)
		return nil
	}
	return prog
}

// action reads one key of a do.
type action func(p *parser, n *yaml.Node, do *Do)

// actions lists what each point can do: a further action is one line here and
// one where it is done.
var actions = map[string]map[string]action{
	AtCall: {
		"error":  (*parser).doError,
		"hang":   (*parser).doHang,
		"expire": func(p *parser, n *yaml.Node, do *Do) { do.Expire = p.isTrue(n, "expire") },
		"skew":   func(p *parser, n *yaml.Node, do *Do) { do.Skew = p.difference(n, "skew") },
	},
	AtRecord: {
		"drop":      doDrop,
		"delay":     doDelay,
		"duplicate": doDuplicate,
		"set":       (*parser).doSet,
		"unset":     (*parser).doUnset,
		"shift":     (*parser).doShift,
	},
	AtFile: {
		"drop":      doDrop,
		"delay":     doDelay,
		"duplicate": doDuplicate,
		"truncate":  doTruncate,
		"corrupt":   doCorrupt,
		"reorder":   func(p *parser, n *yaml.Node, do *Do) { do.Reorder = p.isTrue(n, "reorder") },
		"replace":   doReplace,
		"layout":    (*parser).doLayout,
	},
	AtDigest: {
		"drop":     doDrop,
		"delay":    doDelay,
		"truncate": doTruncate,
		"corrupt":  doCorrupt,
		"set":      (*parser).doSet,
		"unset":    (*parser).doUnset,
		"replace":  doReplace,
	},
	AtObject: {
		"delete":   func(p *parser, n *yaml.Node, do *Do) { do.Delete = p.isTrue(n, "delete") },
		"replace":  doReplace,
		"truncate": doTruncate,
		"corrupt":  doCorrupt,
		"copy":     (*parser).doCopy,
		"retain":   (*parser).doRetain,
	},
	AtAlert: {
		"drop":      doDrop,
		"delay":     doDelay,
		"duplicate": doDuplicate,
		"set":       (*parser).doSet,
		"unset":     (*parser).doUnset,
	},
	AtTicket: {
		"error": (*parser).doError,
		"hang":  (*parser).doHang,
		"drop":  doDrop,
	},
	AtChat: {"error": (*parser).doError, "hang": (*parser).doHang},
}

// article of each point, for messages.
var article = map[string]string{
	AtCall: "a call", AtRecord: "a record", AtFile: "a file", AtDigest: "a digest", AtObject: "an object", AtAlert: "an alert",
	AtTicket: "a ticket call", AtChat: "a chat's call",
}

// allActions in the order of the documentation, for messages.
var allActions = []string{
	"error", "hang", "expire", "skew",
	"drop", "delay", "duplicate", "set", "unset", "shift",
	"truncate", "corrupt", "reorder", "replace", "layout",
	"delete", "copy", "retain",
}

func (p *parser) do(n *yaml.Node, at string) Do {
	var do Do
	m := p.mapping(n, "do", allActions...)
	switch {
	case m == nil:
		return do
	case len(n.Content) == 0:
		p.errorf(n, "do is empty; want one of %s", strings.Join(allActions, ", "))
		return do
	case len(m) > 1:
		var keys []string
		for _, a := range allActions {
			if m[a] != nil {
				keys = append(keys, a)
			}
		}
		p.errorf(n, "do has %d actions (%s); want exactly one: write a second fault", len(m), strings.Join(keys, ", "))
		return do
	}
	for key, v := range m {
		able := actions[at]
		if able == nil {
			return do // the wrong point has been reported
		}
		if able[key] == nil {
			p.errorf(v, "%s cannot do %s", article[at], key)
			return do
		}
		able[key](p, v, &do)
	}
	return do
}

func doDrop(p *parser, n *yaml.Node, do *Do)      { do.Drop = p.isTrue(n, "drop") }
func doDelay(p *parser, n *yaml.Node, do *Do)     { do.Delay = p.duration(n, "delay") }
func doDuplicate(p *parser, n *yaml.Node, do *Do) { do.Duplicate = p.integer(n, "duplicate", 1) }
func doTruncate(p *parser, n *yaml.Node, do *Do)  { do.Truncate = p.integer(n, "truncate", 1) }
func doCorrupt(p *parser, n *yaml.Node, do *Do)   { do.Corrupt = p.isTrue(n, "corrupt") }
func doReplace(p *parser, n *yaml.Node, do *Do)   { do.Replace = p.isTrue(n, "replace") }

func (p *parser) doSet(n *yaml.Node, do *Do) {
	if n.Kind != yaml.MappingNode || len(n.Content) == 0 {
		p.errorf(n, "set must be a mapping of dotted paths to values")
		return
	}
	do.Set = map[string]any{}
	for i := 0; i < len(n.Content); i += 2 {
		k, v := n.Content[i], n.Content[i+1]
		p.path(k, "set")
		if _, dup := do.Set[k.Value]; dup {
			p.errorf(k, "key %q occurs twice in set", k.Value)
		}
		var val any
		if err := v.Decode(&val); err != nil {
			p.errorf(v, "set: value of %s: %v", k.Value, err)
		} else if _, err := json.Marshal(val); err != nil {
			p.errorf(v, "set: the value of %s is not JSON: %v", k.Value, err)
		}
		do.Set[k.Value] = val
	}
}

func (p *parser) doUnset(n *yaml.Node, do *Do) {
	if n.Kind != yaml.SequenceNode || len(n.Content) == 0 {
		p.errorf(n, "unset must be a list of dotted paths")
		return
	}
	for _, item := range n.Content {
		p.path(item, "unset")
		do.Unset = append(do.Unset, item.Value)
	}
}

func (p *parser) doShift(n *yaml.Node, do *Do) {
	if n.Kind != yaml.MappingNode || len(n.Content) == 0 {
		p.errorf(n, "shift must be a mapping of dotted paths to durations")
		return
	}
	do.Shift = map[string]time.Duration{}
	for i := 0; i < len(n.Content); i += 2 {
		k, v := n.Content[i], n.Content[i+1]
		p.path(k, "shift")
		if _, dup := do.Shift[k.Value]; dup {
			p.errorf(k, "key %q occurs twice in shift", k.Value)
		}
		do.Shift[k.Value] = p.difference(v, "shift: "+k.Value)
	}
}

func (p *parser) doLayout(n *yaml.Node, do *Do) {
	if do.Layout = p.str(n, "layout"); do.Layout != "" && do.Layout != WithoutOrganization {
		p.errorf(n, "unknown layout %q; want %s", do.Layout, WithoutOrganization)
	}
}

func (p *parser) doCopy(n *yaml.Node, do *Do) {
	m := p.mapping(n, "copy", "old", "new")
	if m == nil {
		return
	}
	if m["old"] == nil || m["new"] == nil {
		p.errorf(n, "copy wants old and new: the text to replace in the key, and by what")
		return
	}
	do.Copy = &Copy{Old: p.str(m["old"], "old"), New: p.str(m["new"], "new")}
	if do.Copy.Old == do.Copy.New {
		p.errorf(n, "copy: old and new are the same")
	}
}

func (p *parser) doRetain(n *yaml.Node, do *Do) {
	m := p.mapping(n, "retain", "mode", "for")
	if m == nil {
		return
	}
	r := &Retain{Mode: p.str(m["mode"], "mode")}
	switch {
	case m["mode"] == nil || !slices.Contains([]string{"GOVERNANCE", "COMPLIANCE", "NONE"}, r.Mode):
		p.errorf(n, "unknown mode %q in retain; want GOVERNANCE, COMPLIANCE or NONE", r.Mode)
	case r.Mode == "NONE" && m["for"] != nil:
		p.errorf(m["for"], "retain: NONE is for no time")
	case r.Mode != "NONE" && m["for"] == nil:
		p.errorf(n, "for is missing in retain")
	case m["for"] != nil:
		r.For = p.duration(m["for"], "for")
	}
	do.Retain = r
}

func (p *parser) doError(n *yaml.Node, do *Do) {
	m := p.mapping(n, "error", "code", "message", "status", "when")
	if m == nil {
		return
	}
	e := &Error{Status: 400, When: Before}
	if m["code"] == nil {
		p.errorf(n, "code is missing in error")
	}
	e.Code = p.str(m["code"], "code")
	if v := m["message"]; v != nil {
		if v.Kind != yaml.ScalarNode {
			p.errorf(v, "message must be a string")
		}
		e.Message = v.Value
	}
	if v := m["status"]; v != nil {
		if e.Status = p.integer(v, "status", 1); e.Status < 400 || e.Status > 599 {
			p.errorf(v, "status %s is no HTTP error; want 400 to 599", v.Value)
		}
	}
	e.When = p.when(m["when"], e.When)
	do.Error = e
}

func (p *parser) doHang(n *yaml.Node, do *Do) {
	m := p.mapping(n, "hang", "for", "when")
	if m == nil {
		return
	}
	if m["for"] == nil {
		p.errorf(n, "for is missing in hang")
		return
	}
	do.Hang = &Hang{For: p.duration(m["for"], "for"), When: p.when(m["when"], Before)}
}

func (p *parser) when(n *yaml.Node, otherwise string) string {
	if n == nil {
		return otherwise
	}
	if n.Value != Before && n.Value != After {
		p.errorf(n, "unknown when %q; want before or after", n.Value)
	}
	return n.Value
}

// mapping returns the values of a mapping by key, having reported unknown and
// repeated keys; nil if n is no mapping.
func (p *parser) mapping(n *yaml.Node, what string, known ...string) map[string]*yaml.Node {
	if n.Kind != yaml.MappingNode {
		p.errorf(n, "%s must be a mapping with %s", what, strings.Join(known, ", "))
		return nil
	}
	out := map[string]*yaml.Node{}
	for i := 0; i < len(n.Content); i += 2 {
		k, v := n.Content[i], n.Content[i+1]
		switch {
		case out[k.Value] != nil:
			p.errorf(k, "key %q occurs twice in %s", k.Value, what)
		case !slices.Contains(known, k.Value):
			p.errorf(k, "unknown key %q in %s; want %s", k.Value, what, strings.Join(known, ", "))
		default:
			out[k.Value] = v
		}
	}
	return out
}

// str returns a non-empty string; n may be nil (reported elsewhere).
func (p *parser) str(n *yaml.Node, key string) string {
	if n == nil {
		return ""
	}
	if n.Kind != yaml.ScalarNode || n.Tag != "!!str" || n.Value == "" {
		p.errorf(n, "%s must be a string that is not empty", key)
		return ""
	}
	return n.Value
}

func (p *parser) integer(n *yaml.Node, key string, atLeast int) int {
	var v int
	if n.Kind != yaml.ScalarNode || n.Tag != "!!int" || n.Decode(&v) != nil || v < atLeast {
		p.errorf(n, "%s must be a whole number from %d, not %q", key, atLeast, n.Value)
		return 0
	}
	return v
}

func (p *parser) isTrue(n *yaml.Node, key string) bool {
	if n.Kind != yaml.ScalarNode || n.Tag != "!!bool" || n.Value != "true" {
		p.errorf(n, "%s can only be true, not %q", key, n.Value)
		return false
	}
	return true
}

func (p *parser) duration(n *yaml.Node, key string) time.Duration {
	d, err := time.ParseDuration(n.Value)
	if n.Kind != yaml.ScalarNode || err != nil || d <= 0 {
		p.errorf(n, "%s must be a duration above 0 like 70m or 30s, not %q", key, n.Value)
		return 0
	}
	return d
}

// difference is a duration that may be negative.
func (p *parser) difference(n *yaml.Node, key string) time.Duration {
	d, err := time.ParseDuration(n.Value)
	if n.Kind != yaml.ScalarNode || err != nil || d == 0 {
		p.errorf(n, "%s must be a duration like 5m or -30s, not %q", key, n.Value)
		return 0
	}
	return d
}

func (p *parser) path(n *yaml.Node, key string) {
	if n.Kind != yaml.ScalarNode || n.Value == "" {
		p.errorf(n, "%s: a path must be a string that is not empty", key)
		return
	}
	for _, part := range strings.Split(n.Value, ".") {
		if part == "" {
			p.errorf(n, "%s: path %q has an empty part", key, n.Value)
			return
		}
	}
}
