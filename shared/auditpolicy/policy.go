// Package auditpolicy says which requests an API server's audit policy leaves unrecorded.
//
// It decides as the server does (k8s.io/apiserver, pkg/audit/policy): the first rule
// that matches a request counts, and where none does nothing is recorded. It does no I/O.
package auditpolicy

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

// The levels of a record.
const (
	None            = "None"
	Metadata        = "Metadata"
	WithRequest     = "Request"
	RequestResponse = "RequestResponse"
)

// Request is one request to the API server, as its policy sees it.
type Request struct {
	// User who was authenticated, with groups: not who is impersonated, which the server
	// looks at only after it has decided what to record.
	User   string
	Groups []string
	// Verb: get, list, watch, create, update, patch, delete, deletecollection, or of a
	// path that is no resource the method in small letters.
	Verb string
	// APIGroup ("" the core group), Resource, Subresource, Namespace ("" of none), Name
	// ("" of a create, whose name stands in the body).
	APIGroup, Resource, Subresource, Namespace, Name string
	// Path of what is no resource ("/metrics"); "" for a resource.
	Path string
}

// Policy is an audit policy, audit.k8s.io/v1.
type Policy struct {
	// File it was read from.
	File string
	// Ignored are the keys that the server does not know and reads over, as
	// file:line: message. What they were to narrow down is not narrowed.
	Ignored []string

	rules []rule
	omits []string
}

type rule struct {
	Level           string           `yaml:"level"`
	Users           []string         `yaml:"users"`
	UserGroups      []string         `yaml:"userGroups"`
	Verbs           []string         `yaml:"verbs"`
	Resources       []groupResources `yaml:"resources"`
	Namespaces      []string         `yaml:"namespaces"`
	NonResourceURLs []string         `yaml:"nonResourceURLs"`
	OmitStages      []string         `yaml:"omitStages"`
	OmitManaged     *bool            `yaml:"omitManagedFields"`

	line int
}

type groupResources struct {
	Group         string   `yaml:"group"`
	Resources     []string `yaml:"resources"`
	ResourceNames []string `yaml:"resourceNames"`
}

// document is the file. Rules are nodes, for their lines.
type document struct {
	APIVersion  string         `yaml:"apiVersion"`
	Kind        string         `yaml:"kind"`
	Metadata    map[string]any `yaml:"metadata"`
	Rules       []rule         `yaml:"rules"`
	OmitStages  []string       `yaml:"omitStages"`
	OmitManaged bool           `yaml:"omitManagedFields"`
}

const maxPolicy = 1 << 20

// Read reads a policy, YAML or JSON. What the server would refuse to start with is an
// error that names file and line; what it would read over is in Policy.Ignored.
func Read(file string, data []byte) (Policy, error) {
	p := Policy{File: file}
	if len(data) > maxPolicy {
		return p, fmt.Errorf("%s: larger than %d bytes", file, maxPolicy)
	}
	var d document
	dec := yaml.NewDecoder(bytes.NewReader(data))
	if err := dec.Decode(&d); errors.Is(err, io.EOF) {
		return p, fmt.Errorf("%s: empty", file)
	} else if err != nil {
		return p, fmt.Errorf("%s: %s", file, strings.TrimPrefix(err.Error(), "yaml: "))
	}
	var root struct {
		Rules []yaml.Node `yaml:"rules"`
	}
	if err := yaml.Unmarshal(data, &root); err != nil || len(root.Rules) != len(d.Rules) {
		return p, fmt.Errorf("%s: its rules cannot be told apart", file)
	}
	for i := range d.Rules {
		d.Rules[i].line = root.Rules[i].Line
	}
	p.rules, p.omits, p.Ignored = d.Rules, d.OmitStages, ignored(file, data)
	return p, d.check(file)
}

var unknownKey = regexp.MustCompile(`^line (\d+): field (.*) not found in type `)

// ignored are the unknown keys.
func ignored(file string, data []byte) (out []string) {
	dec := yaml.NewDecoder(bytes.NewReader(data))
	dec.KnownFields(true)
	var te *yaml.TypeError
	if err := dec.Decode(&document{}); errors.As(err, &te) {
		for _, e := range te.Errors {
			if m := unknownKey.FindStringSubmatch(e); m != nil {
				out = append(out, fmt.Sprintf("%s:%s: the server does not know the key %q and reads over it", file, m[1], m[2]))
			}
		}
	}
	return out
}

var (
	levels = []string{None, Metadata, WithRequest, RequestResponse}
	stages = []string{"RequestReceived", "ResponseStarted", "ResponseComplete", "Panic"}
)

// check says what the server refuses.
func (d document) check(file string) error {
	var errs []error
	bad := func(line int, format string, args ...any) {
		at := file
		if line > 0 {
			at += ":" + strconv.Itoa(line)
		}
		errs = append(errs, fmt.Errorf("%s: %s", at, fmt.Sprintf(format, args...)))
	}
	if d.APIVersion != "audit.k8s.io/v1" || d.Kind != "Policy" {
		bad(0, "kind %.40q of apiVersion %.40q is no Policy of audit.k8s.io/v1", d.Kind, d.APIVersion)
	}
	if len(d.Rules) == 0 {
		bad(0, "no rules: the server does not start with it")
	}
	for _, s := range d.OmitStages {
		if !slices.Contains(stages, s) {
			bad(0, "omitStages: %.40q is no stage", s)
		}
	}
	for _, r := range d.Rules {
		if !slices.Contains(levels, r.Level) {
			bad(r.line, "level %.40q is not one of %s", r.Level, strings.Join(levels, ", "))
		}
		for _, s := range r.OmitStages {
			if !slices.Contains(stages, s) {
				bad(r.line, "omitStages: %.40q is no stage", s)
			}
		}
		if len(r.NonResourceURLs) > 0 && len(r.Resources)+len(r.Namespaces) > 0 {
			bad(r.line, "a rule is for resources or for nonResourceURLs, not for both")
		}
	}
	return errors.Join(errs...)
}

// Decision is what a policy says of a request.
type Decision struct {
	Level string
	// Rule that decides, from 1, and its line; 0: none matches.
	Rule, Line int
	// Omits are the stages that leave no record.
	Omits []string
}

// Dropped: no record tells what came of the request.
func (d Decision) Dropped() bool {
	return d.Level == None || slices.Contains(d.Omits, "ResponseComplete")
}

// Decide finds the first rule that matches.
func (p Policy) Decide(r Request) Decision {
	for i, rule := range p.rules {
		if rule.matches(r) {
			return p.decision(i)
		}
	}
	return Decision{Level: None, Omits: p.omits}
}

func (p Policy) decision(i int) Decision {
	omits := slices.Concat(p.omits, p.rules[i].OmitStages)
	slices.Sort(omits)
	return Decision{Level: p.rules[i].Level, Rule: i + 1, Line: p.rules[i].line, Omits: slices.Compact(omits)}
}

func (r rule) matches(q Request) bool {
	switch {
	case len(r.Users) > 0 && !slices.Contains(r.Users, q.User),
		len(r.UserGroups) > 0 && !slices.ContainsFunc(q.Groups, func(g string) bool { return slices.Contains(r.UserGroups, g) }),
		len(r.Verbs) > 0 && !slices.Contains(r.Verbs, q.Verb):
		return false
	case len(r.Namespaces) > 0 || len(r.Resources) > 0:
		return q.Path == "" && r.matchesResource(q)
	case len(r.NonResourceURLs) > 0:
		return q.Path != "" && slices.ContainsFunc(r.NonResourceURLs, func(spec string) bool { return matchesPath(q.Path, spec) })
	}
	return true
}

func matchesPath(path, spec string) bool {
	return spec == "*" || spec == path || strings.HasSuffix(spec, "*") && strings.HasPrefix(path, strings.TrimRight(spec, "*"))
}

func (r rule) matchesResource(q Request) bool {
	if len(r.Namespaces) > 0 && !slices.Contains(r.Namespaces, q.Namespace) {
		return false
	}
	return len(r.Resources) == 0 || slices.ContainsFunc(r.Resources, func(gr groupResources) bool { return gr.matches(q) })
}

func (gr groupResources) matches(q Request) bool {
	if gr.Group != q.APIGroup && gr.Group != "*" {
		return false
	}
	if len(gr.Resources) == 0 {
		return true
	}
	if len(gr.ResourceNames) > 0 && !slices.Contains(gr.ResourceNames, q.Name) {
		return false
	}
	whole := q.Resource
	if q.Subresource != "" {
		whole += "/" + q.Subresource
	}
	return slices.ContainsFunc(gr.Resources, func(res string) bool {
		any, sub := strings.CutPrefix(res, "*/")
		of, all := strings.CutSuffix(res, "/*")
		return res == whole || res == "*" || sub && q.Subresource != "" && any == q.Subresource || all && of == q.Resource
	})
}
