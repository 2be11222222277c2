package access

import (
	"fmt"
	"slices"
	"strings"
)

// Outcome of a question.
type Outcome int

const (
	Denied Outcome = iota
	Possible
	Allowed
)

var outcomes = []string{"denied", "possible", "allowed"}

func (o Outcome) String() string { return outcomes[o] }

// MarshalText gives JSON the word.
func (o Outcome) MarshalText() ([]byte, error) { return []byte(o.String()), nil }

// UnmarshalText reads it.
func (o *Outcome) UnmarshalText(b []byte) error {
	for i, s := range outcomes {
		if s == string(b) {
			*o = Outcome(i)
			return nil
		}
	}
	return fmt.Errorf("outcome %q", b)
}

// Citation is a statement, or a whole policy.
type Citation struct {
	Policy  string `json:"policy"` // kind and name
	Through string `json:"through,omitempty"`
	// Statement counts from 1; 0: the policy as a whole. Sid if it has one.
	Statement int    `json:"statement,omitempty"`
	Sid       string `json:"sid,omitempty"`
	// Undecided is what keeps the statement from being decided.
	Undecided []string `json:"undecided,omitempty"`
}

func (c Citation) String() string {
	var b strings.Builder
	b.WriteString(c.Policy)
	if c.Through != "" {
		b.WriteString(" of " + c.Through)
	}
	if c.Statement > 0 {
		fmt.Fprintf(&b, ", statement %d", c.Statement)
	}
	if c.Sid != "" {
		fmt.Fprintf(&b, " (%s)", c.Sid)
	}
	if len(c.Undecided) > 0 {
		b.WriteString(": " + strings.Join(c.Undecided, "; "))
	}
	return b.String()
}

// Decision with its reasons.
type Decision struct {
	Outcome Outcome `json:"outcome"`
	// On is the part of the resource that was decided upon, where it is not the whole.
	On string `json:"only,omitempty"`
	// Grants are the statements that allow, and those that may.
	Grants []Citation `json:"grants,omitempty"`
	// Doubts are what may deny, or need not allow: why it is only possible.
	Doubts []Citation `json:"doubts,omitempty"`
	// Denies is what denies for certain, if a statement does; Reason says it in words.
	Denies *Citation `json:"denies,omitempty"`
	Reason string    `json:"reason,omitempty"`
}

// Decide says whether p may do action on r. Where r stands for many resources it
// is asked whether p may do it on any: first on all of them, then on each part of
// them that a statement speaks of.
func (w *World) Decide(p *Principal, action string, r *Resource) Decision {
	var best *Decision
	for _, form := range r.asked(action) {
		for _, from := range w.callers(p, action) {
			d := w.decideForm(p, from, action, r, form)
			if best == nil || d.Outcome > best.Outcome {
				best = &d
			}
		}
	}
	return *best
}

func (w *World) decideForm(p *Principal, from caller, action string, r *Resource, whole glob) Decision {
	ask := func(resource glob) Decision {
		q := w.ask(p, action, r, resource)
		q.from = from
		return w.decide(q)
	}
	best := ask(whole)
	if best.Outcome == Allowed || best.Denies != nil || !whole.wild() {
		return best
	}
	for _, set := range [][]Policy{p.Policies, r.Policies} {
		for i := range set {
			for j := range set[i].Doc.Statements {
				for _, part := range set[i].Doc.Statements[j].resources {
					if part.glob == nil || !whole.stands(part.glob) {
						continue
					}
					if d := ask(part.glob); d.Outcome > best.Outcome {
						best, best.On = d, part.text
					}
				}
			}
		}
	}
	return best
}

// stands says that what g asks about includes what a pattern names.
func (g glob) stands(pattern glob) bool {
	loose := slices.Clone(g)
	for i := range loose {
		if loose[i] == anyName {
			loose[i] = anyRun
		}
	}
	return loose.contains(pattern) && !slices.Equal(loose, pattern)
}

// layer is a set of policies of which one must allow.
type layer struct {
	name     string
	policies []Policy
	none     bool // there is no such layer: nothing need allow
}

func (w *World) decide(q *question) Decision {
	p, r := q.who, q.at
	var d Decision
	scps, rcps := w.levels(p, r)
	boundary := layer{name: "permissions boundary", none: true}
	if p.Boundary != nil {
		boundary = layer{name: "permissions boundary", policies: []Policy{*p.Boundary}}
	}
	identity := layer{name: "identity policy", policies: p.Policies}

	// An explicit deny anywhere wins.
	for _, l := range append(append([]layer{identity, boundary}, scps...), rcps...) {
		if !q.noDeny(&d, l.policies, q.anyPrincipal(l.name)) {
			return d
		}
	}
	if !q.noDeny(&d, r.Policies, q.deniedByName) {
		return d
	}
	doubts := d.Doubts

	// Every layer that applies must allow.
	t := yes
	for _, l := range append(scps, rcps...) {
		g, cites := q.grant(l.policies, q.anyPrincipal(l.name))
		if l.none {
			g = yes
		}
		if g == no {
			return Decision{Reason: "no statement of the " + l.name + " allows it"}
		}
		if g == maybe {
			doubts = append(doubts, cites...)
		}
		t = min(t, g)
	}
	g, grants, reason := q.granted(identity, boundary)
	if t = min(t, g); t == no {
		return Decision{Reason: reason}
	}
	d = Decision{Outcome: Allowed, Grants: grants, Doubts: doubts}
	if t == maybe || len(doubts) > 0 {
		d.Outcome = Possible
	}
	return d
}

// sides are what each of those who must allow says, with its statements.
type sides struct {
	own, bound, direct, role, account                          truth
	ownCites, boundCites, directCites, roleCites, accountCites []Citation
}

// granted combines what the identity's side and the resource's side allow.
func (q *question) granted(identity, boundary layer) (truth, []Citation, string) {
	p, r := q.who, q.at
	s := sides{own: yes, bound: yes, ownCites: []Citation{{Policy: "root user of the account"}}}
	inside := p.Kind == User || p.Kind == Role || p.Kind == Root
	switch p.Kind {
	case Root:
	case User, Role:
		s.own, s.ownCites = q.grant(identity.policies, nil)
	default: // what an outsider's own account allows it is its own affair
		s.ownCites = nil
	}
	if !boundary.none {
		s.bound, s.boundCites = q.grant(boundary.policies, nil)
	}
	if s.bound == maybe {
		s.ownCites = join(s.ownCites, s.boundCites)
	}
	s.direct, s.directCites = q.grant(r.Policies, q.namedItself)
	s.role, s.roleCites = q.grant(r.Policies, q.namedAsRole)
	s.account, s.accountCites = q.grant(r.Policies, q.namedByAccount)
	if i := slices.IndexFunc(r.Policies, func(p Policy) bool { return p.Unread != "" }); i >= 0 && s.account == no {
		// Whether it admits the account, or leaves it to it, is not known.
		s.account, s.accountCites = maybe, []Citation{r.Policies[i].cite(0, "it could not be read: "+r.Policies[i].Unread)}
	}
	switch {
	case inside && r.Account == "":
		// Any account may be the owner, and none need be.
		t, cites, reason := q.within(s)
		if t == no {
			if t, cites, _ = q.across(s); t == no {
				return no, nil, reason
			}
		}
		return maybe, join(cites, []Citation{{Policy: "the account of the " + r.Kind, Undecided: []string{"it is not known, and may be this one"}}}), ""
	case inside && r.owned(p.Account):
		return q.within(s)
	}
	return q.across(s)
}

func join(a, b []Citation) []Citation { return append(a[:len(a):len(a)], b...) }

// across accounts both sides must allow.
func (q *question) across(s sides) (truth, []Citation, string) {
	r := q.at
	if r.NoPolicies {
		return no, nil, "it is of another account, and " + r.Kind + "s have no policy of their own"
	}
	theirs, cites := s.direct, s.directCites
	if s.role > theirs {
		theirs, cites = s.role, s.roleCites
	}
	if s.account > theirs {
		theirs, cites = s.account, s.accountCites
	}
	switch {
	case theirs == no:
		return no, nil, "the " + r.Kind + " is of another account, and its policy does not admit this one"
	case s.own == no:
		return no, nil, "no identity policy allows it"
	case s.bound == no:
		return no, nil, "the permissions boundary does not allow it"
	}
	return min(theirs, s.own, s.bound), join(s.ownCites, cites), ""
}

// within one account a grant that names the principal suffices; one that names the
// role is held to the role's boundary; otherwise the identity's own policies allow,
// where the resource's policy leaves it to them.
func (q *question) within(s sides) (truth, []Citation, string) {
	viaIdentity, cites := min(s.own, s.bound), s.ownCites
	if q.at.PolicyDecides {
		viaIdentity = min(viaIdentity, s.account)
		cites = join(cites, s.accountCites)
	}
	best, grants := viaIdentity, cites
	if s.direct > best {
		best, grants = s.direct, s.directCites
	}
	if named := min(s.role, s.bound); named > best {
		best, grants = named, s.roleCites
		if s.bound == maybe {
			grants = join(grants, s.boundCites)
		}
	}
	if best > no {
		return best, grants, ""
	}
	switch {
	case s.own == no && max(s.role, s.direct) == no:
		return no, nil, "no statement allows it"
	case s.bound == no:
		return no, nil, "the permissions boundary does not allow it"
	}
	return no, nil, "the policy of the " + q.at.Kind + " neither allows it nor leaves it to its account"
}

// levels are the organisation's layers that bind p and r.
func (w *World) levels(p *Principal, r *Resource) (scps, rcps []layer) {
	if a := w.Accounts[p.Account]; a != nil && !p.ServiceLinked && p.Account != w.Management && (p.Kind == User || p.Kind == Role || p.Kind == Root) {
		for _, l := range a.Levels {
			scps = append(scps, layer{"service control policies at " + l.Name, l.SCPs, l.NoSCPs})
		}
	}
	if a := w.Accounts[r.Account]; a != nil && r.RCPs && !p.ServiceLinked && r.Account != w.Management {
		for _, l := range a.Levels {
			rcps = append(rcps, layer{rcpsAt + l.Name, l.RCPs, l.NoRCPs})
		}
	}
	return scps, rcps
}

const rcpsAt = "resource control policies at "

// anyPrincipal: resource control policies name everybody; the others nobody.
func (q *question) anyPrincipal(layer string) func(*Statement) (truth, string) {
	if !strings.HasPrefix(layer, rcpsAt) {
		return nil
	}
	return func(s *Statement) (truth, string) {
		if len(s.Principals) == 1 && s.Principals[0].Everybody() {
			return yes, ""
		}
		return maybe, "it names principals other than everybody"
	}
}

// noDeny looks for what denies; d has it then. What may deny is added to d's doubts.
func (q *question) noDeny(d *Decision, set []Policy, by func(*Statement) (truth, string)) bool {
	for i := range set {
		p := &set[i]
		if p.Unread != "" {
			d.Doubts = append(d.Doubts, p.cite(0, "it could not be read: "+p.Unread))
			continue
		}
		for j := range p.Doc.Statements {
			s := &p.Doc.Statements[j]
			if s.Effect == "Allow" {
				continue
			}
			t, why := s.applies(q, p.Doc.Odd, by)
			switch t {
			case yes:
				c := p.cite(j+1, "")
				*d = Decision{Denies: &c, Reason: "denied by " + c.String()}
				return false
			case maybe:
				c := p.cite(j+1, "")
				c.Undecided = append([]string{"may deny it"}, why...)
				d.Doubts = append(d.Doubts, c)
			}
		}
	}
	return true
}

// grant looks for what allows: the first statement that does, else all that may.
func (q *question) grant(set []Policy, by func(*Statement) (truth, string)) (truth, []Citation) {
	var may []Citation
	for i := range set {
		p := &set[i]
		if p.Unread != "" {
			// A resource's policy that could not be read is named as a gap; to count
			// everybody as possibly admitted by it would tell nobody anything.
			if by == nil || p.orgs() {
				may = append(may, p.cite(0, "it could not be read: "+p.Unread))
			}
			continue
		}
		for j := range p.Doc.Statements {
			s := &p.Doc.Statements[j]
			if s.Effect == "Deny" {
				continue
			}
			switch t, why := s.applies(q, p.Doc.Odd, by); t {
			case yes:
				return yes, []Citation{p.cite(j+1, "")}
			case maybe:
				c := p.cite(j+1, "")
				c.Undecided = why
				may = append(may, c)
			}
		}
	}
	if len(may) > 0 {
		return maybe, may
	}
	return no, nil
}

func (p *Policy) orgs() bool { return p.Kind == SCPKind || p.Kind == RCPKind }

// Kinds of the organisation's policies.
const (
	SCPKind = "service control policy"
	RCPKind = "resource control policy"
)

func (p *Policy) cite(statement int, undecided string) Citation {
	c := Citation{Policy: strings.TrimSpace(p.Kind + " " + p.Name), Through: p.Through, Statement: statement}
	if statement > 0 {
		c.Sid = p.Doc.Statements[statement-1].Sid
	}
	if undecided != "" {
		c.Undecided = []string{undecided}
	}
	return c
}

// How a resource policy names a principal.

// namedItself: by its own ARN or id, or as everybody.
func (q *question) namedItself(s *Statement) (truth, string) {
	return q.named(s, func(who Who) (truth, string) {
		p := q.who
		switch {
		case who.Everybody() && p.Kind == Role && p.Boundary != nil:
			return maybe, "whether a boundary narrows what everybody is granted"
		case who.Everybody():
			return yes, ""
		case who.Kind == "AWS" && p.Kind == User && (who.Name == p.ARN || p.ID != "" && who.Name == p.ID):
			return yes, ""
		case p.Kind == Root && q.isAccount(who):
			return yes, ""
		case who.Kind == "AWS" && p.Kind == Role && sessionOf(who.Name, p):
			return maybe, "only the session " + who.Name
		case who.Kind == "AWS" && p.Kind == User && strings.Contains(who.Name, ":sts::"+p.Account+":federated-user/"):
			return maybe, "only as " + who.Name + ", if it may ask for such a token"
		case p.Kind == Service && who.Kind == "Service" || p.Kind == Federated && who.Kind == "Federated":
			return truthOf(who.Name == p.ARN), ""
		case p.Kind == Unknown:
			return truthOf(who.String() == p.ARN), ""
		case p.Kind == Foreigner && who.Kind == "AWS":
			return truthOf(who.Name == p.ARN), ""
		}
		return no, ""
	})
}

func (q *question) namedAsRole(s *Statement) (truth, string) {
	return q.named(s, func(who Who) (truth, string) {
		p := q.who
		named := who.Everybody() || who.Kind == "AWS" && (who.Name == p.ARN || p.ID != "" && who.Name == p.ID)
		return truthOf(p.Kind == Role && named), ""
	})
}

func (q *question) namedByAccount(s *Statement) (truth, string) {
	return q.named(s, func(who Who) (truth, string) {
		return truthOf(q.isAccount(who) && (q.who.Kind == User || q.who.Kind == Role)), ""
	})
}

// named asks of each principal of an Allow statement; NotPrincipal admits whoever
// is not named.
func (q *question) named(s *Statement, is func(Who) (truth, string)) (truth, string) {
	t, reason := no, ""
	for _, who := range s.Principals {
		m, why := is(who)
		if m > t {
			t, reason = m, why
		}
	}
	if s.NotPrincipals != nil {
		m, why := q.exempted(s)
		if m = m.not(); m > t {
			t, reason = m, why
		}
	}
	return t, reason
}

// deniedByName says whether a Deny of a resource policy means the principal.
func (q *question) deniedByName(s *Statement) (truth, string) {
	if s.Principals == nil && s.NotPrincipals == nil {
		return maybe, "it names no principal"
	}
	t, reason := no, ""
	for _, who := range s.Principals {
		m, why := q.means(who)
		if m > t {
			t, reason = m, why
		}
	}
	if s.NotPrincipals != nil {
		m, why := q.exempted(s)
		if m = m.not(); m > t {
			t, reason = m, why
		}
	}
	return t, reason
}

// means says whether a name takes the principal in, by itself or by its account.
func (q *question) means(who Who) (truth, string) {
	p := q.who
	switch {
	case who.Everybody():
		return yes, ""
	case who.Kind == "CanonicalUser":
		return maybe, "who the canonical user is"
	case p.Kind == Service || p.Kind == Federated:
		return truthOf(who.Kind == p.whoKind() && who.Name == p.ARN), ""
	case p.Kind == Anybody: // whoever is not named
		return no, ""
	case p.Kind == Unknown:
		return maybe, "who " + p.ARN + " is"
	case who.Kind != "AWS":
		return no, ""
	case q.isAccount(who), who.Name == p.ARN, p.ID != "" && who.Name == p.ID:
		return yes, ""
	case p.Kind == Role && sessionOf(who.Name, p):
		return maybe, "only the session " + who.Name
	case p.Kind == Foreigner && accountOf(who.Name) == p.Account:
		return maybe, "who of the account it is"
	}
	return no, ""
}

func (p *Principal) whoKind() string {
	if p.Kind == Service {
		return "Service"
	}
	return "Federated"
}

// exempted says whether NotPrincipal names the principal. To exempt a user its
// account must be named too; to exempt a role, its session as well. Short of that
// it cannot be told.
func (q *question) exempted(s *Statement) (truth, string) {
	named, account := no, false
	for _, who := range s.NotPrincipals {
		if who.Everybody() {
			return yes, ""
		}
		m, _ := q.means(who)
		named = max(named, m)
		account = account || q.isAccount(who)
	}
	switch p := q.who; {
	case named == no:
		return no, ""
	case p.Kind == Root && account, p.Kind == Service && named == yes:
		return yes, ""
	case p.Kind == User && account && q.namesUser(s):
		return yes, ""
	}
	return maybe, "whether NotPrincipal exempts it"
}

func (q *question) namesUser(s *Statement) bool {
	for _, who := range s.NotPrincipals {
		if who.Name == q.who.ARN || q.who.ID != "" && who.Name == q.who.ID {
			return true
		}
	}
	return false
}

// isAccount: the name is the account of the principal, by id or by its root.
func (q *question) isAccount(who Who) bool {
	if who.Kind != "AWS" || q.who.Account == "" {
		return false
	}
	return who.Name == q.who.Account || strings.HasPrefix(who.Name, "arn:") && strings.HasSuffix(who.Name, ":iam::"+q.who.Account+":root")
}

// sessionOf: the name is of one session of the role.
func sessionOf(name string, role *Principal) bool {
	_, roleName, _ := cutLast(role.ARN, "/")
	parts := strings.SplitN(name, ":", 6)
	return len(parts) == 6 && parts[2] == "sts" && parts[4] == role.Account && strings.HasPrefix(parts[5], "assumed-role/"+roleName+"/")
}
