package wire

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/auditcanary/auditcanary/shared/auditpolicy"
	"github.com/auditcanary/auditcanary/shared/doctor"
	"github.com/auditcanary/auditcanary/shared/kubernetes"
	"github.com/auditcanary/auditcanary/shared/run"
)

// ServerFlags are the arguments of an API server: a list, or the name of a file that has
// them as they stand on its command line, or the manifest of its pod.
type ServerFlags struct {
	File string
	List []string
}

// UnmarshalYAML reads either.
func (f *ServerFlags) UnmarshalYAML(n *yaml.Node) error {
	if n.Kind == yaml.ScalarNode {
		return n.Decode(&f.File)
	}
	return n.Decode(&f.List)
}

func (f ServerFlags) given() bool { return f.File != "" || len(f.List) > 0 }

// args are the arguments, of which there is at least one flag.
func (f ServerFlags) args(c *Config) ([]string, error) {
	args, from := f.List, "the list"
	if f.File != "" {
		from = c.path(f.File)
		data, err := os.ReadFile(from)
		if err != nil {
			return nil, err
		}
		var pod struct {
			Kind string
			Spec struct {
				Containers []struct{ Command, Args []string }
			}
		}
		if yaml.Unmarshal(data, &pod) == nil && pod.Kind == "Pod" {
			for _, container := range pod.Spec.Containers {
				args = slices.Concat(args, container.Command, container.Args)
			}
		} else {
			args = strings.Fields(strings.ReplaceAll(string(data), "\x00", " ")) // as /proc has it
		}
	}
	if !slices.ContainsFunc(args, func(a string) bool { return strings.HasPrefix(a, "--") }) {
		return nil, fmt.Errorf("%s holds no flag of an API server (--audit-policy-file=...)", from)
	}
	return args, nil
}

// Weighed is what an API server would leave unrecorded of what the plans do in its cluster.
type Weighed struct {
	Cluster string `json:"cluster"`
	// Policy, Flags: they are given, and were weighed.
	Policy   bool                  `json:"policy"`
	Flags    bool                  `json:"flags"`
	Findings []auditpolicy.Finding `json:"findings"`
}

// WeighAudit weighs the audit policy and the flags of each cluster, as far as the
// configuration gives them. It asks no cluster. The error names the cluster and the file.
func WeighAudit(c *Config, plans []run.Plan) ([]Weighed, error) {
	out := []Weighed{}
	for _, cl := range c.Clusters {
		w, err := c.weighAudit(cl, plans)
		if err != nil {
			return nil, fmt.Errorf("cluster %s: %w", cl.Name, err)
		}
		out = append(out, w)
	}
	return out, nil
}

func (c *Config) weighAudit(cl Cluster, plans []run.Plan) (Weighed, error) {
	w := Weighed{Cluster: cl.Name, Policy: cl.AuditPolicy != "", Flags: cl.APIServerFlags.given(), Findings: []auditpolicy.Finding{}}
	if w.Policy {
		data, err := os.ReadFile(c.path(cl.AuditPolicy))
		if err != nil {
			return w, fmt.Errorf("audit_policy: %w", err)
		}
		policy, err := auditpolicy.Read(cl.AuditPolicy, data)
		if err != nil {
			return w, fmt.Errorf("audit_policy: %w", err)
		}
		var expected []auditpolicy.Expected
		for _, p := range plans {
			if p.Canary.Target.Provider != kubernetes.Provider || p.Canary.Target.Account != cl.Name {
				continue
			}
			of, err := kubernetes.Audited(c.driver(cl), p)
			if err != nil {
				return w, fmt.Errorf("audit_policy: %w", err)
			}
			expected = append(expected, of...)
		}
		w.Findings = append(w.Findings, policy.Weigh(expected)...)
	}
	if w.Flags {
		args, err := cl.APIServerFlags.args(c)
		if err != nil {
			return w, fmt.Errorf("api_server_flags: %w", err)
		}
		w.Findings = append(w.Findings, auditpolicy.Flags(args)...)
	}
	return w, nil
}

// auditPolicy is wrong where a record is dropped, or thinned out. What may be lost only
// when the server itself fails is told, and is how most servers are run.
func (p *patient) auditPolicy(context.Context) (out []doctor.Finding) {
	if len(p.cfg.Clusters) == 0 {
		return skipped("no cluster is configured")
	}
	for _, cl := range p.cfg.Clusters {
		w, err := p.cfg.weighAudit(cl, p.plans)
		switch {
		case err != nil:
			out = append(out, doctor.Finding{Status: doctor.Wrong, Seen: fmt.Sprintf("cluster %s: %v", cl.Name, err), Fix: "correct the file, or its name in clusters of the configuration"})
			continue
		case !w.Policy && !w.Flags:
			out = append(out, skipped("cluster %s: neither audit_policy nor api_server_flags is given: what its API server leaves unrecorded is not known", cl.Name)...)
			continue
		}
		sound := true
		for _, f := range w.Findings {
			seen := fmt.Sprintf("cluster %s: %s: ", cl.Name, f.At)
			if f.Name != "" {
				seen += f.Name + ": "
			}
			if f.Status == auditpolicy.Weak {
				out = append(out, ok("%s%s (weak: it is lost only if the server, or what it writes to, fails)", seen, f.Detail)...)
				continue
			}
			sound = false
			out = append(out, doctor.Finding{Status: doctor.Wrong, Seen: seen + string(f.Status) + ": " + f.Detail, Fix: "change what is there, so that ResponseComplete is recorded at level Request; restart the API server with it; give auditcanary the same file"})
		}
		if sound {
			out = append(out, ok("cluster %s: %s", cl.Name, w.sound())...)
		}
	}
	return out
}

// sound says what was weighed and found to drop nothing.
func (w Weighed) sound() string {
	switch {
	case !w.Flags:
		return "its audit policy drops nothing that canaries do (api_server_flags are not given: whether it is in use, and where records go, is not known)"
	case !w.Policy:
		return "its flags drop nothing (audit_policy is not given: what that drops is not known)"
	}
	return "its audit policy and flags drop nothing that canaries do"
}
