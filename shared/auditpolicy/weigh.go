package auditpolicy

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// Expected is a request of which a record is expected.
type Expected struct {
	// Name of what makes it ("kubernetes/cluster-admin-binding, step create"), Category
	// of privileged activity that it stands for.
	Name, Category string
	Request        Request
}

// Status of a finding.
type Status string

const (
	// Dropped: no record tells what came of the request.
	Dropped Status = "dropped"
	// Thin: there is a record, without the body that says what was changed.
	Thin Status = "thin"
	// Unseen: something is dropped that no expected request would show.
	Unseen Status = "unseen"
	// Weak: what is recorded may be lost on the server itself.
	Weak Status = "weak"
)

// Finding is one thing wrong with how an API server records.
type Finding struct {
	Status Status `json:"status"`
	// Name and Category of the expected request; "" where it is not about one.
	Name     string `json:"name,omitempty"`
	Category string `json:"category,omitempty"`
	// At is the rule, as file:line, or the flag.
	At string `json:"at"`
	// Detail in a sentence.
	Detail string `json:"detail"`
}

// Weigh says of which expected requests the policy drops the record or thins it out, and
// which of its rules drop what no canary would notice: all that a user, a group or a
// namespace does that is not the canaries' own.
func (p Policy) Weigh(expected []Expected) []Finding {
	var out []Finding
	for _, text := range p.Ignored {
		out = append(out, Finding{Status: Unseen, At: p.File, Detail: text + ": the rule matches more than it seems to"})
	}
	hit := map[int]bool{}
	for _, x := range expected {
		d := p.Decide(x.Request)
		hit[d.Rule] = true
		f := Finding{Name: x.Name, Category: x.Category, At: p.at(d)}
		switch {
		case d.Rule == 0:
			f.Status, f.Detail = Dropped, fmt.Sprintf("no rule matches %s: nothing is recorded of it", x.Request)
		case d.Level == None:
			f.Status, f.Detail = Dropped, fmt.Sprintf("rule %d records nothing of %s", d.Rule, x.Request)
		case d.Dropped():
			f.Status, f.Detail = Dropped, fmt.Sprintf("rule %d leaves out stage ResponseComplete: of %s nothing says what came of it", d.Rule, x.Request)
		case d.Level == Metadata && x.Request.changes():
			f.Status, f.Detail = Thin, fmt.Sprintf("rule %d records of %s that it was done, and not what was written (level Metadata)", d.Rule, x.Request)
		default:
			continue
		}
		out = append(out, f)
	}
	for i, r := range p.rules {
		d := p.decision(i)
		if !d.Dropped() || hit[i+1] || !r.privileged() {
			continue
		}
		out = append(out, Finding{Status: Unseen, At: p.at(d), Detail: fmt.Sprintf("rule %d drops what no canary does, and so none can notice: %s", d.Rule, r.scope())})
	}
	return out
}

func (p Policy) at(d Decision) string {
	if d.Line == 0 {
		return p.File
	}
	return p.File + ":" + strconv.Itoa(d.Line)
}

// changes: the body says what is changed. That of a token request or an eviction says little.
func (r Request) changes() bool {
	return r.Path == "" && r.Subresource == "" && slices.Contains([]string{"create", "update", "patch"}, r.Verb)
}

// String names a request as kubectl would.
func (r Request) String() string {
	if r.Path != "" {
		return r.Verb + " " + r.Path
	}
	text := r.Verb + " " + r.Resource
	if r.Subresource != "" {
		text += "/" + r.Subresource
	}
	if r.APIGroup != "" {
		text += " of " + r.APIGroup
	}
	if r.Namespace != "" {
		text += " in " + r.Namespace
	}
	if r.User != "" {
		text += " by " + r.User
	}
	return text
}

// privileged: it may concern what changes or does something, or reads what is secret. Rules that
// leave out what controllers watch, and health checks, are in every policy.
func (r rule) privileged() bool {
	if len(r.NonResourceURLs) > 0 {
		return false
	}
	reads := len(r.Verbs) > 0 && !slices.ContainsFunc(r.Verbs, func(v string) bool { return v != "get" && v != "list" && v != "watch" })
	return !reads || r.touches("secrets", "") || slices.Contains(r.Verbs, "get") && slices.ContainsFunc(acts, func(a [2]string) bool { return r.touches(a[0], a[1]) })
}

// acts are the subresources by which a get does something: over a WebSocket that is how
// commands are run in pods, and through a proxy whatever stands behind it is asked, of a
// kubelet to run a command.
var acts = [][2]string{{"pods", "exec"}, {"pods", "attach"}, {"pods", "portforward"}, {"pods", "proxy"}, {"nodes", "proxy"}, {"services", "proxy"}}

// touches: it may concern a resource of the core group.
func (r rule) touches(resource, subresource string) bool {
	return len(r.Resources) == 0 || slices.ContainsFunc(r.Resources, func(gr groupResources) bool {
		gr.ResourceNames = nil // of any name
		return gr.matches(Request{Resource: resource, Subresource: subresource})
	})
}

// scope says what a rule matches.
func (r rule) scope() string {
	var parts []string
	list := func(what string, names []string) {
		if len(names) > 0 {
			parts = append(parts, what+" "+strings.Join(names[:min(5, len(names))], ", "))
		}
	}
	list("users", r.Users)
	list("groups", r.UserGroups)
	list("verbs", r.Verbs)
	for _, gr := range r.Resources {
		name := gr.Group
		if name == "" {
			name = "core"
		}
		list("resources of "+name+":", append(slices.Clone(gr.Resources), gr.ResourceNames...))
		if len(gr.Resources) == 0 {
			parts = append(parts, "all resources of "+name)
		}
	}
	list("namespaces", r.Namespaces)
	if len(parts) == 0 {
		return "everything that comes to it"
	}
	return strings.Join(parts, "; ")
}
