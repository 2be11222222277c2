package policy

import (
	"fmt"
	"strings"
)

// Kind of a policy, in the words of AWS's access-denied messages.
type Kind string

const (
	SCP      Kind = "service control policy"
	Resource Kind = "resource-based policy"
	Boundary Kind = "permissions boundary"
	Session  Kind = "session policy"
	Identity Kind = "identity-based policy"
)

// Named is a policy with the ARN that access-denied messages show ("" = none shown).
type Named struct {
	ARN string
	Doc Document
}

// Context holds the condition keys of a request, in lower case. An absent key
// and a key with no values are different things.
type Context map[string][]string

// Request is what is to be decided.
type Request struct {
	Action   string // "iam:CreateRole"
	Resource string // ARN, or "*" where the operation knows no resources
	// Principal's names in resource policies: its own ARN first (of the session,
	// for an assumed role), then the role's ARN.
	PrincipalARN, RoleARN string
	Account               string // the principal's
	ResourceAccount       string // the resource's owner
	Context               Context
}

// Layers are all policies that apply. A nil list of SCPs, Boundary or Session
// means there is no such layer; a layer that is there must allow.
type Layers struct {
	// SCPs by level: each level must allow.
	SCPs     [][]Named
	Identity []Named
	Boundary []Named
	Session  []Named
	Resource []Named
	// ResourceMustAllow: the resource's own policy decides who may at all (a
	// role's trust policy).
	ResourceMustAllow bool
}

// Decision with its reason in AWS's words.
type Decision struct {
	Allowed bool
	// Reason completes "is not authorized to perform: X on resource: Y ".
	Reason string
}

// Decide evaluates a request against all layers: an explicit deny anywhere wins;
// otherwise every layer that applies must allow. A resource policy that names
// the principal itself stands in for the identity policy within one account;
// across accounts both sides must allow.
func Decide(r Request, l Layers) Decision {
	for _, layer := range []struct {
		kind Kind
		sets [][]Named
	}{{SCP, l.SCPs}, {Resource, [][]Named{l.Resource}}, {Boundary, [][]Named{l.Boundary}},
		{Session, [][]Named{l.Session}}, {Identity, [][]Named{l.Identity}}} {
		for _, set := range layer.sets {
			for _, p := range set {
				if why, denied := denies(r, layer.kind, p); denied {
					return Decision{Reason: why}
				}
			}
		}
	}
	for _, level := range l.SCPs {
		if !allows(r, level) {
			return missing(r, SCP)
		}
	}
	grant := resourceGrant(r, l.Resource)
	crossAccount := r.ResourceAccount != "" && r.ResourceAccount != r.Account
	if (crossAccount || l.ResourceMustAllow) && grant == noGrant {
		return missing(r, Resource)
	}
	// Named as the session itself: session policy and boundary do not narrow it.
	if !crossAccount && grant == grantSelf {
		return Decision{Allowed: true}
	}
	if l.Boundary != nil && !allows(r, l.Boundary) {
		return missing(r, Boundary)
	}
	if l.Session != nil && !allows(r, l.Session) {
		return missing(r, Session)
	}
	if !crossAccount && grant == grantRole {
		return Decision{Allowed: true}
	}
	if !allows(r, l.Identity) {
		return missing(r, Identity)
	}
	return Decision{Allowed: true}
}

func missing(r Request, k Kind) Decision {
	return Decision{Reason: fmt.Sprintf("because no %s allows the %s action", k, r.Action)}
}

// denies says whether p denies r explicitly or holds an applying statement that
// cannot be evaluated.
func denies(r Request, kind Kind, p Named) (why string, denied bool) {
	for _, s := range p.Doc.Statements {
		if !s.covers(r, kind == Resource) {
			continue
		}
		suffix := ""
		if p.ARN != "" {
			suffix = ": " + p.ARN
		}
		article := "a"
		if kind == Identity {
			article = "an"
		}
		why = fmt.Sprintf("with an explicit deny in %s %s%s", article, kind, suffix)
		if s.unsupported != "" {
			return fmt.Sprintf("%s (statement %q cannot be evaluated: %s is not supported here)", why, s.Sid, s.unsupported), true
		}
		if !s.Allow && s.met(r.Context) {
			return why, true
		}
	}
	return "", false
}

// allows says whether some statement of the set allows r.
func allows(r Request, set []Named) bool {
	for _, p := range set {
		for _, s := range p.Doc.Statements {
			if s.Allow && s.unsupported == "" && s.covers(r, false) && s.met(r.Context) {
				return true
			}
		}
	}
	return false
}

type grant int

const (
	noGrant      grant = iota
	grantAccount       // names the account, which delegates to its identity policies
	grantRole          // names the role behind the session
	grantSelf          // names the principal itself
)

// resourceGrant is the strongest grant the resource's policy makes to r's principal.
func resourceGrant(r Request, set []Named) grant {
	best := noGrant
	for _, p := range set {
		for _, s := range p.Doc.Statements {
			if !s.Allow || s.unsupported != "" || !s.covers(r, true) || !s.met(r.Context) {
				continue
			}
			for _, name := range s.Principals {
				best = max(best, grantBy(name, r))
			}
		}
	}
	return best
}

func grantBy(name string, r Request) grant {
	switch name {
	case "":
		return noGrant
	case "*", r.PrincipalARN:
		return grantSelf
	case r.RoleARN:
		return grantRole
	case r.Account, "arn:aws:iam::" + r.Account + ":root":
		return grantAccount
	}
	return noGrant
}

// covers says whether the statement speaks of the request's action, resource and
// (in a resource policy) principal.
func (s Statement) covers(r Request, withPrincipal bool) bool {
	action := func(patterns []string) bool {
		for _, p := range patterns {
			if wildcard(strings.ToLower(p), strings.ToLower(r.Action)) {
				return true
			}
		}
		return false
	}
	resource := func(patterns []string) bool {
		for _, p := range patterns {
			if p == "*" || wildcard(p, r.Resource) {
				return true
			}
		}
		return false
	}
	if s.Actions != nil && !action(s.Actions) || s.NotActions != nil && action(s.NotActions) {
		return false
	}
	if s.unsupportedResource() {
		return true
	}
	if s.Resources != nil && !resource(s.Resources) || s.NotResources != nil && resource(s.NotResources) {
		return false
	}
	if !withPrincipal || s.unsupported == "NotPrincipal" {
		return true
	}
	for _, name := range s.Principals {
		if grantBy(name, r) != noGrant {
			return true
		}
	}
	return false
}

// unsupportedResource: with a variable in it, whether the resource matches is unknown.
func (s Statement) unsupportedResource() bool {
	for _, r := range append(s.Resources[:len(s.Resources):len(s.Resources)], s.NotResources...) {
		if strings.Contains(r, "${") {
			return true
		}
	}
	return false
}

func (s Statement) met(ctx Context) bool {
	for _, c := range s.conditions {
		if !c.holds(ctx) {
			return false
		}
	}
	return true
}
