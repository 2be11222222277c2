package access

import (
	"fmt"
	"slices"
	"strings"
)

// question is what a statement is held against.
type question struct {
	action   string
	actionG  glob // lower case
	resource glob
	who      *Principal
	at       *Resource
	world    *World
	from     caller
}

// caller tells the outsiders apart that one name can stand for. Each is asked
// alone: what spares one of them may stop another.
type caller int

const (
	itself    caller = iota // nobody's else: the principal is of an account here, or no caller of that kind
	anonymous               // unsigned: of no account, of no organisation
	alone                   // of an account in no organisation
	foreign                 // of an account in another organisation
)

// callers are those whom a principal stands for.
func (w *World) callers(p *Principal, action string) []caller {
	switch {
	case p.Kind != Anybody && p.Kind != Foreigner && p.Kind != Unknown || w.Accounts[p.Account] != nil:
		return []caller{itself}
	case p.Kind == Anybody && !strings.HasPrefix(action, "kms:") && !strings.HasPrefix(action, "sts:"): // these take signed requests only
		return []caller{foreign, alone, anonymous}
	}
	return []caller{foreign, alone}
}

func (w *World) ask(p *Principal, action string, r *Resource, resource glob) *question {
	return &question{action: action, actionG: compile(strings.ToLower(action)), resource: resource, who: p, at: r, world: w}
}

// applies says whether a statement speaks of the question, and what keeps that
// from being decided. byPrincipal is nil for policies that name none (identity
// policies, boundaries, SCPs).
func (s *Statement) applies(q *question, odd []string, byPrincipal func(*Statement) (truth, string)) (truth, []string) {
	if s.actionCovers(q.actionG) == no {
		return no, nil
	}
	t, why := yes, []string(nil)
	doubt := func(m truth, reason string) bool {
		t = min(t, m)
		if m == maybe {
			why = append(why, reason)
		}
		return t != no
	}
	if m, reason := s.resourceCovers(q); !doubt(m, reason) {
		return no, nil
	}
	switch {
	case byPrincipal != nil:
		if m, reason := byPrincipal(s); !doubt(m, reason) {
			return no, nil
		}
	case s.Principals != nil || s.NotPrincipals != nil:
		doubt(maybe, "it names principals, which policies of its kind do not")
	case s.Resources == nil && s.NotResources == nil:
		doubt(maybe, "it names no resource")
	}
	for i := range s.Conditions {
		c := &s.Conditions[i]
		if s.chosen(c) || q.anyToken(s, c) {
			continue
		}
		if !doubt(q.met(c, s.Effect == "Deny"), "condition "+c.String()) {
			return no, nil
		}
	}
	for _, list := range [][]string{s.Odd, odd} {
		for _, o := range list {
			doubt(maybe, o+" is not known here")
		}
	}
	return t, why
}

// String is the condition as people read it, cut where it is long.
func (c *Condition) String() string {
	values := strings.Join(c.Values, ", ")
	if r := []rune(values); len(r) > 80 {
		values = string(r[:79]) + "…"
	}
	return fmt.Sprintf("%s %s (%s)", c.Operator, c.Key, values)
}

func (s *Statement) actionCovers(action glob) truth {
	t := yes
	if s.actions != nil {
		t = no
		for _, g := range s.actions {
			t = max(t, truthOf(g.contains(action)))
		}
	}
	for _, g := range s.notActions {
		t = min(t, truthOf(g.contains(action)).not())
	}
	return t
}

const aPart = "it covers a part of "

func (s *Statement) resourceCovers(q *question) (truth, string) {
	t, reason := yes, ""
	covered := func(parts []part) truth {
		any := no
		for _, p := range parts {
			g, exact := p.glob, true
			if g == nil {
				g, exact = expand(p.text, q.value)
			}
			m := arnCovers(g, q.resource)
			if m == maybe {
				reason = aPart + literal(q.resource) + " (" + p.text + ")"
			}
			if !exact && m != no {
				m, reason = maybe, "the policy variable in "+p.text
			}
			any = max(any, m)
		}
		return any
	}
	if s.resources != nil {
		t = covered(s.resources)
	}
	if s.notResources != nil {
		t = min(t, covered(s.notResources).not())
	}
	return t, reason
}

// met is holds, where the caller can choose how it calls: whether over TLS. An
// Allow that one of the ways meets, or a Deny that one of them escapes, is not
// decided against the caller.
func (q *question) met(c *Condition, deny bool) truth {
	if other := q.notOurs(c); other != "" {
		return c.holds(func(string) ([]string, bool) { return []string{other}, true })
	}
	t := c.holds(q.value)
	if c.key != tls {
		return t
	}
	plain := c.holds(func(key string) ([]string, bool) {
		if key == tls {
			return []string{"false"}, true
		}
		return q.value(key)
	})
	if deny && t == yes || !deny && t == no {
		if plain != t {
			return maybe
		}
	}
	return t
}

const tls = "aws:securetransport"

// notOurs is the value that an outsider has where it is asked for nothing but
// whether it is of this organisation, or of one of its accounts; "" where it is
// asked for something else, or has none.
func (q *question) notOurs(c *Condition) string {
	w := q.world
	var ours func(string) bool
	var other string
	switch {
	case q.from == foreign && orgKey(c.key):
		other = "o-other/"
		ours = func(v string) bool {
			return w.Organization != "" && (v == w.Organization || strings.HasPrefix(v, w.Organization+"/"))
		}
	case (q.from == foreign || q.from == alone) && q.who.Account == "" && accountKey(c.key):
		other = "000000000000"
		ours = func(v string) bool { return w.Accounts[v] != nil }
	default:
		return ""
	}
	isNull := c.known && c.op.match == nil // any value will do
	if !isNull && slices.ContainsFunc(c.Values, func(v string) bool { return !ours(v) }) {
		return ""
	}
	return other
}

func orgKey(key string) bool {
	return key == "aws:principalorgid" || key == "aws:principalorgpaths"
}

func accountKey(key string) bool {
	return key == "aws:principalaccount" || key == "kms:calleraccount" || key == "aws:sourceowner"
}

// chosen: the name of a role's session is its caller's to choose, so that an Allow
// that asks for nothing but a certain name is met.
func (s *Statement) chosen(c *Condition) bool {
	if s.Effect != "Allow" || c.key != "sts:rolesessionname" || !c.known || c.variables || c.set != "" || len(c.Values) == 0 {
		return false
	}
	name := strings.TrimSuffix(strings.ToLower(c.Operator), "ifexists")
	if name != "stringequals" && name != "stringlike" && name != "stringequalsignorecase" {
		return false
	}
	same := 0
	for i := range s.Conditions {
		if s.Conditions[i].key == c.key {
			same++
		}
	}
	return same == 1
}

// anyToken: sts.amazonaws.com is the audience of whatever token a provider issues
// for AWS, and everybody's name is like *, so that an Allow that asks for the one or
// the other asks nobody who he is.
func (q *question) anyToken(s *Statement, c *Condition) bool {
	if s.Effect != "Allow" || q.who.Kind != Federated || !strings.Contains(q.who.ARN, ":oidc-provider/") {
		return false
	}
	name := strings.TrimSuffix(strings.ToLower(c.Operator), "ifexists")
	aud, sub := strings.HasSuffix(c.key, ":aud"), strings.HasSuffix(c.key, ":sub")
	switch {
	case name == "stringlike" && (aud || sub) && slices.Contains(c.Values, "*"):
		return true
	case name == "stringequals" || name == "stringlike":
		return aud && slices.Contains(c.Values, "sts.amazonaws.com")
	}
	return false
}

// value is what is known of the context of a request that q's principal makes.
func (q *question) value(key string) ([]string, bool) {
	one := func(s string) ([]string, bool) { return []string{s}, s != "" }
	p, w := q.who, q.world
	switch key {
	case tls:
		return one("true") // see met
	case "aws:resourceaccount", "s3:resourceaccount":
		return one(q.at.Account)
	case "aws:resourceorgid":
		if _, ours := w.Accounts[q.at.Account]; ours {
			return one(w.Organization)
		}
		return nil, false
	case "aws:resourceorgpaths":
		return w.path(q.at.Account)
	case "aws:requestedregion":
		return one(q.at.Region)
	case "organizations:serviceprincipal":
		return one("cloudtrail.amazonaws.com") // the service that it is asked about
	}
	if q.from != itself {
		switch {
		case orgKey(key) && q.from != foreign:
			return nil, true
		case q.from == anonymous && (accountKey(key) || key == "aws:principalarn"):
			return nil, true
		case accountKey(key):
			return one(p.Account)
		}
		return nil, false
	}
	if p.Kind == Service {
		switch key {
		case "aws:principalisawsservice":
			return one("true")
		case "aws:principalservicename":
			return one(p.ARN)
		}
		return nil, false
	}
	if p.Kind == Foreigner {
		switch _, ours := w.Accounts[p.Account]; {
		case key == "aws:principalaccount" || key == "kms:calleraccount":
			return one(p.Account)
		case key == "aws:principalorgid" && ours:
			return one(w.Organization)
		}
	}
	if p.Kind != User && p.Kind != Role && p.Kind != Root {
		return nil, false
	}
	switch key {
	case "aws:principalarn":
		return one(p.ARN)
	case "aws:principalaccount", "kms:calleraccount":
		return one(p.Account)
	case "aws:principalorgid":
		return one(w.Organization)
	case "aws:principalorgpaths":
		return w.path(p.Account)
	case "aws:principaltype":
		return one(map[string]string{User: "User", Role: "AssumedRole", Root: "Account"}[p.Kind])
	case "aws:principalisawsservice":
		return one("false")
	case "aws:principalservicename", "aws:principalservicenameslist":
		return nil, true
	case "aws:username":
		if p.Kind == User {
			_, name, _ := cutLast(p.ARN, "/")
			return one(name)
		}
		return nil, true
	case "aws:userid":
		if p.Kind == User {
			return one(p.ID)
		}
	}
	// A role's session may have tags of its own, so that only a user's are known.
	if tag, ok := strings.CutPrefix(key, "aws:principaltag/"); ok && p.Kind == User {
		for name, v := range p.Tags {
			if strings.EqualFold(name, tag) {
				return []string{v}, true
			}
		}
		return nil, true
	}
	return nil, false
}

func cutLast(s, sep string) (before, after string, found bool) {
	if i := strings.LastIndex(s, sep); i >= 0 {
		return s[:i], s[i+len(sep):], true
	}
	return "", s, false
}
