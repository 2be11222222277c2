package access

import (
	"fmt"
	"slices"
	"strings"
)

// Need is an action on a resource that a principal is to be allowed, with why that is not
// known to be so.
type Need struct {
	Action, Resource string
	Why              string
}

func (n Need) String() string { return n.Action + " on " + n.Resource + " (" + n.Why + ")" }

// Lacks holds a principal's policies against one that says what it needs, statement by
// statement. lacking are the needs that no policy grants; undecided those of which these
// policies alone do not tell: a grant under a condition that the need does not have, a
// Deny that may strike, a document that could not be read. A boundary must grant as well.
// What an organisation forbids, and what a resource's own policy says, is not looked at.
//
// It is arithmetic over texts: a resource with wildcards is granted where one grant
// covers it whole.
func (p *Principal) Lacks(needed Document) (lacking, undecided []Need) {
	layers := [][]Policy{p.Policies}
	if p.Boundary != nil {
		layers = append(layers, []Policy{*p.Boundary})
	}
	for _, st := range needed.Statements {
		for _, action := range st.Actions {
			for _, resource := range st.Resources {
				n := need{compile(strings.ToLower(action)), compile(resource), st.Conditions}
				worst, why := yes, ""
				for i, layer := range layers {
					if t, reason := n.granted(layer, i > 0); t < worst {
						worst, why = t, reason
					}
				}
				one := Need{action, resource, why}
				switch worst {
				case no:
					lacking = append(lacking, one)
				case maybe:
					undecided = append(undecided, one)
				}
			}
		}
	}
	return lacking, undecided
}

// need is one action on one resource, under the conditions that the call will meet.
type need struct {
	action, resource glob
	conditions       []Condition
}

// granted says whether a layer of policies grants it, and what is in the way.
func (n need) granted(layer []Policy, boundary bool) (truth, string) {
	got, why := no, "no policy grants it"
	if boundary {
		why = "the permissions boundary does not grant it"
	}
	for _, p := range layer {
		if p.Unread != "" || len(p.Doc.Odd) > 0 {
			if got == no {
				got, why = maybe, p.Kind+" "+p.Name+" could not be read whole"
			}
			continue
		}
		for i := range p.Doc.Statements {
			st := &p.Doc.Statements[i]
			if st.Effect == "Deny" || st.actionCovers(n.action) == no {
				continue
			}
			covers := n.covered(st)
			if covers == no {
				continue
			}
			if len(st.Odd) > 0 {
				covers = min(covers, maybe)
			}
			if other := n.unmet(st.Conditions); other != "" {
				covers = min(covers, maybe)
				if got == no {
					why = "granted under " + other + " only"
				}
			} else if covers == maybe && got == no {
				why = "a grant covers a part of it"
			}
			got = max(got, covers)
		}
	}
	if got == no {
		return no, why
	}
	for _, p := range layer {
		for i := range p.Doc.Statements {
			st := &p.Doc.Statements[i]
			if st.Effect == "Allow" || st.actionCovers(n.action) == no || n.covered(st) == no || n.spared(st.Conditions) {
				continue
			}
			if len(st.Conditions) == 0 && len(st.Odd) == 0 && st.actionCovers(n.action) == yes && n.covered(st) == yes {
				return no, "denied by " + p.Kind + " " + p.Name
			}
			if got == yes {
				got, why = maybe, "a Deny in "+p.Kind+" "+p.Name+" may strike"
			}
		}
	}
	return got, why
}

// covered says how much of the resource a statement names.
func (n need) covered(st *Statement) truth {
	each := func(list []part) truth {
		t := no
		for _, p := range list {
			g := p.glob
			if g == nil { // with policy variables: what they stand for is not known
				t = max(t, maybe)
				continue
			}
			if g.contains(n.resource) {
				return yes
			}
			if g.meets(n.resource) {
				t = max(t, maybe)
			}
		}
		return t
	}
	t := yes
	if st.resources != nil {
		t = each(st.resources)
	}
	if st.notResources != nil {
		t = min(t, each(st.notResources).not())
	}
	return t
}

// unmet is a condition that the need does not promise to meet, "" if it meets all.
func (n need) unmet(conditions []Condition) string {
	for i := range conditions {
		c := &conditions[i]
		if !slices.ContainsFunc(n.conditions, c.impliedBy) {
			return fmt.Sprintf("condition %s", c)
		}
	}
	return ""
}

// impliedBy: what meets o meets c. Both compare texts, or ask whether a key is there.
func (c *Condition) impliedBy(o Condition) bool {
	if !strings.EqualFold(c.Key, o.Key) {
		return false
	}
	if strings.EqualFold(c.Operator, "Null") || strings.EqualFold(o.Operator, "Null") {
		return strings.EqualFold(c.Operator, o.Operator) && slices.Equal(c.Values, o.Values)
	}
	if !comparesTexts(c.Operator) || !comparesTexts(o.Operator) || len(o.Values) == 0 {
		return false
	}
	exact := strings.EqualFold(c.Operator, "StringEquals")
	for _, v := range o.Values {
		if !slices.ContainsFunc(c.Values, func(w string) bool {
			if exact { // a value with a wildcard stands for more than itself
				return w == v && !(strings.EqualFold(o.Operator, "StringLike") && strings.ContainsAny(v, "*?"))
			}
			return !hasVariable(w) && compile(w).contains(compile(v))
		}) {
			return false
		}
	}
	return true
}

func comparesTexts(operator string) bool {
	return strings.EqualFold(operator, "StringEquals") || strings.EqualFold(operator, "StringLike")
}

// spared: a Deny has a condition that the need's own say does not hold, such as another
// value of the same key than StringNotEquals excepts.
func (n need) spared(conditions []Condition) bool {
	for _, c := range conditions {
		positive, negated := strings.CutPrefix(strings.ToLower(strings.TrimSuffix(c.Operator, "IfExists")), "stringnot")
		if negated {
			c.Operator = "String" + positive
			if slices.ContainsFunc(n.conditions, c.impliedBy) {
				return true
			}
			continue
		}
		if !comparesTexts(c.Operator) {
			continue
		}
		for _, o := range n.conditions {
			if strings.EqualFold(c.Key, o.Key) && comparesTexts(o.Operator) && len(o.Values) > 0 && !slices.ContainsFunc(o.Values, func(v string) bool {
				return slices.ContainsFunc(c.Values, func(w string) bool { return hasVariable(w) || compile(w).meets(compile(v)) })
			}) {
				return true
			}
		}
	}
	return false
}
