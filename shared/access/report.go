package access

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// Report is who can do what to the logs.
type Report struct {
	// Abilities: each principal, action and resource that is allowed or possible.
	Abilities []Ability `json:"abilities"`
	// Assumers: by whom the roles among them can be become, one hop each.
	Assumers []Assumer `json:"assumers"`
	Findings []Finding `json:"findings"`
	// Resources asked about, and the actions asked for.
	Resources []Asked  `json:"resources"`
	Actions   []Tamper `json:"actions"`
	// Principals is how many were asked about, Accounts how many they are of.
	Principals int `json:"principals"`
	Accounts   int `json:"accounts"`
	// Gaps are what could not be read: the report is not complete.
	Gaps []Gap `json:"gaps"`
	// NotShown is how many findings a filter left out.
	NotShown int `json:"findings_not_shown,omitempty"`
	// Limits are what this report does not look at.
	Limits []string `json:"limits"`
}

// Asked is a resource that was asked about.
type Asked struct {
	Kind    string `json:"kind"`
	ARN     string `json:"arn"`
	Account string `json:"account"`
}

// Ability is one principal's, for one action on one resource.
type Ability struct {
	Group     string `json:"group"`
	Action    string `json:"action"`
	On        string `json:"kind"`
	Resource  string `json:"resource"`
	Principal string `json:"principal"`
	Kind      string `json:"principal_kind"`
	Account   string `json:"account,omitempty"`
	Decision
	who     *Principal
	at      *Resource
	archive bool
}

// Assumer is who can become a role.
type Assumer struct {
	Role      string `json:"role"`
	Principal string `json:"principal"`
	Kind      string `json:"principal_kind"`
	Decision
	who, role *Principal
}

// Kinds of findings.
const (
	Segregation = "acts-and-tampers"
	Public      = "anybody"
	Outside     = "outsider"
)

// Finding is something that ought not to be.
type Finding struct {
	Kind      string   `json:"kind"`
	Principal string   `json:"principal"`
	Outcome   Outcome  `json:"outcome"`
	Detail    string   `json:"detail"`
	Path      []string `json:"path"`
}

// limits are what is known to be left out.
var limits = []string{
	"session policies, VPC endpoint policies, KMS grants, S3 access points and access lists, and policies of event buses are not read, nor who can change those (events:PutPermission)",
	"that a principal could first change its own rights, or another's, and then tamper is not followed; roles that it can assume are, up to 3 hops",
	"that a principal could give a role with such a right to a program or machine of its own (iam:PassRole with Lambda, EC2 and others) is not followed",
	"the archive's replica, and the buckets of the evidence and of the ledger, are not asked about",
	"an Object Lock in COMPLIANCE mode refuses what is allowed here: see the check immutable",
}

// mostHops is how far a chain of assumed roles is followed.
const mostHops = 3

// NewReport asks for every tamper action on every resource of its kind, of every
// principal.
func (w *World) NewReport() (Report, error) {
	tampers, err := Tampers()
	if err != nil {
		return Report{}, err
	}
	r := Report{Abilities: []Ability{}, Assumers: []Assumer{}, Findings: []Finding{}, Gaps: slices.Clone(w.Gaps), Limits: limits}
	if r.Gaps == nil {
		r.Gaps = []Gap{}
	}
	accounts := slices.Sorted(maps.Keys(w.Accounts))
	var everybody []*Principal
	for _, id := range accounts {
		a := w.Accounts[id]
		if a.Unread != "" {
			r.Gaps = append(r.Gaps, Gap{id, "its principals", a.Unread})
		} else {
			r.Accounts++
		}
		everybody = append(everybody, a.Principals...)
		r.Gaps = append(r.Gaps, a.unread()...)
	}
	r.Principals = len(everybody)
	outsiders := known{}
	for _, at := range w.Resources {
		r.Resources = append(r.Resources, Asked{at.Kind, at.ARN, at.Account})
		for i := range at.Policies {
			if p := &at.Policies[i]; p.Unread != "" {
				r.Gaps = append(r.Gaps, Gap{at.Account, p.Kind + " of " + at.ARN, p.Unread})
			}
		}
		for _, t := range tampers {
			if t.On != at.Kind || t.Group == act {
				continue
			}
			for _, p := range w.candidates(at, everybody) {
				r.add(w, t, p, at)
			}
			for _, p := range w.outsiders(at, t.Action) {
				r.add(w, t, outsiders.one(p), at)
			}
		}
	}
	for _, t := range tampers {
		if t.Group != act {
			r.Actions = append(r.Actions, t)
		}
	}
	r.Gaps = slices.CompactFunc(r.Gaps, func(a, b Gap) bool { return a == b })
	slices.SortStableFunc(r.Abilities, func(a, b Ability) int {
		return cmp.Or(cmp.Compare(slices.Index(Groups(), a.Group), slices.Index(Groups(), b.Group)), cmp.Compare(a.Resource, b.Resource), cmp.Compare(a.Action, b.Action), cmp.Compare(a.Principal, b.Principal))
	})
	b := &becoming{world: w, everybody: everybody, outsiders: outsiders, found: map[*Principal][]Assumer{}}
	var able []*Principal
	for _, a := range r.Abilities {
		able = append(able, a.who)
	}
	r.Assumers = append(r.Assumers, b.into(rolesOf(able))...)
	w.findings(&r, tampers, b)
	return r, nil
}

// candidates are the principals who may reach a resource at all: those of its
// account, and everybody where it has policies that admit others.
func (w *World) candidates(at *Resource, everybody []*Principal) []*Principal {
	if !at.NoPolicies || at.Account == "" {
		return everybody
	}
	var out []*Principal
	for _, id := range append([]string{at.Account}, at.Delegates...) {
		if a := w.Accounts[id]; a != nil {
			out = append(out, a.Principals...)
		}
	}
	return out
}

func (r *Report) add(w *World, t Tamper, p *Principal, at *Resource) {
	d := w.Decide(p, t.Action, at)
	if d.Outcome == Denied {
		return
	}
	r.Abilities = append(r.Abilities, Ability{
		Group: t.Group, Action: t.Action, On: at.Kind, Resource: at.ARN,
		Principal: p.ARN, Kind: p.Kind, Account: p.Account, Decision: d, who: p, at: at, archive: at.Archive,
	})
}

// unread are the policies of an account and above it that could not be read.
func (a *Account) unread() []Gap {
	var out []Gap
	add := func(p *Policy, of string) {
		if p != nil && p.Unread != "" {
			out = append(out, Gap{a.ID, strings.TrimSpace(p.Kind+" "+p.Name) + " of " + of, p.Unread})
		}
	}
	for _, p := range a.Principals {
		for i := range p.Policies {
			add(&p.Policies[i], p.ARN)
		}
		add(p.Boundary, p.ARN)
		add(p.Trust, p.ARN)
	}
	for _, l := range a.Levels {
		for i := range l.SCPs {
			add(&l.SCPs[i], l.Name)
		}
		for i := range l.RCPs {
			add(&l.RCPs[i], l.Name)
		}
	}
	return out
}

// outsiders are whom the resource's policy names in statements of this action,
// and no account here has.
func (w *World) outsiders(at *Resource, action string) []*Principal {
	var out []*Principal
	seen := map[string]bool{}
	g := compile(strings.ToLower(action))
	for i := range at.Policies {
		for j := range at.Policies[i].Doc.Statements {
			s := &at.Policies[i].Doc.Statements[j]
			if s.Effect == "Deny" || s.actionCovers(g) == no {
				continue
			}
			whos := s.Principals
			if s.NotPrincipals != nil {
				whos = append(whos[:len(whos):len(whos)], Who{"*", "*"})
			}
			for _, who := range whos {
				if p := w.outsider(who); p != nil && !seen[p.Kind+p.ARN] {
					seen[p.Kind+p.ARN] = true
					out = append(out, p)
				}
			}
		}
	}
	return out
}

// outsider is the principal that a name stands for where no account here has it;
// nil where one has, or where it is gone.
func (w *World) outsider(who Who) *Principal {
	switch {
	case who.Everybody():
		return &Principal{Kind: Anybody, ARN: "*"}
	case who.Kind == "Service":
		return &Principal{Kind: Service, ARN: who.Name}
	case who.Kind == "Federated":
		return &Principal{Kind: Federated, ARN: who.Name}
	case who.Kind != "AWS":
		return &Principal{Kind: Unknown, ARN: who.String()}
	}
	id := accountOf(who.Name)
	a := w.Accounts[id]
	switch {
	case a != nil && a.Unread == "":
		return nil // its principals are asked one by one
	case id == "" && w.principal(who.Name) != nil:
		return nil
	case id == "" && (strings.HasPrefix(who.Name, "AIDA") || strings.HasPrefix(who.Name, "AROA")):
		return nil // what the policy named is deleted: the name is nobody's for ever
	case id == "":
		return &Principal{Kind: Unknown, ARN: who.String()}
	}
	return &Principal{Kind: Foreigner, ARN: who.Name, Account: id}
}

// resourceOf is a role as that which can be assumed.
func resourceOf(role *Principal) *Resource {
	r := &Resource{Kind: "role", ARN: role.ARN, Account: role.Account, PolicyDecides: true, RCPs: true}
	if role.Trust != nil {
		// A trust policy names no resource: it is the role's.
		r.Policies = []Policy{*role.Trust}
	}
	return r
}

// assumeActions are those by which roles are become, and of whom.
func assumeAction(p *Principal, trust *Policy) string {
	if p.Kind != Federated || trust == nil {
		return "sts:AssumeRole"
	}
	saml := compile("sts:assumerolewithsaml")
	for i := range trust.Doc.Statements {
		if s := &trust.Doc.Statements[i]; s.Effect != "Deny" && slices.Contains(s.Principals, Who{"Federated", p.ARN}) && s.actionCovers(saml) == yes {
			return "sts:AssumeRoleWithSAML"
		}
	}
	return "sts:AssumeRoleWithWebIdentity"
}

// known holds each outsider once, so that what it can do here and there is told of
// one principal.
type known map[string]*Principal

func (k known) one(p *Principal) *Principal {
	name := p.Kind + " " + p.ARN
	if k[name] == nil {
		k[name] = p
	}
	return k[name]
}

// becoming finds who can become which role, each role once.
type becoming struct {
	world     *World
	everybody []*Principal
	outsiders known
	found     map[*Principal][]Assumer // by role
}

// into finds who can become these roles, and who can become those, up to mostHops.
func (b *becoming) into(roles []*Principal) []Assumer {
	var out []Assumer
	done := map[*Principal]bool{}
	for _, role := range roles {
		done[role] = true
	}
	for range mostHops {
		var next []*Principal
		for _, role := range roles {
			if _, there := b.found[role]; !there {
				b.found[role] = b.assumersOf(role)
			}
			out = append(out, b.found[role]...)
			for _, as := range b.found[role] {
				if as.who.Kind == Role && !done[as.who] {
					done[as.who] = true
					next = append(next, as.who)
				}
			}
		}
		roles = next
	}
	slices.SortStableFunc(out, func(a, b Assumer) int {
		return cmp.Or(cmp.Compare(a.Role, b.Role), cmp.Compare(a.Principal, b.Principal))
	})
	return out
}

func (b *becoming) assumersOf(role *Principal) []Assumer {
	w, at := b.world, resourceOf(role)
	out := []Assumer{}
	try := func(p *Principal) {
		if p == role {
			return
		}
		if d := w.Decide(p, assumeAction(p, role.Trust), at); d.Outcome != Denied {
			out = append(out, Assumer{Role: role.ARN, Principal: p.ARN, Kind: p.Kind, Decision: d, who: p, role: role})
		}
	}
	for _, p := range trustOf(role).meant(w, b.everybody) {
		try(p)
	}
	seen := map[*Principal]bool{}
	for _, action := range []string{"sts:AssumeRole", "sts:AssumeRoleWithSAML", "sts:AssumeRoleWithWebIdentity"} {
		for _, p := range w.outsiders(at, action) {
			if p = b.outsiders.one(p); !seen[p] {
				seen[p] = true
				try(p)
			}
		}
	}
	return out
}

// rolesOf are the roles among those who can do something, each once.
func rolesOf(list []*Principal) []*Principal {
	var out []*Principal
	seen := map[*Principal]bool{}
	for _, p := range list {
		if p.Kind == Role && !seen[p] {
			seen[p] = true
			out = append(out, p)
		}
	}
	return out
}

// from are the assumers by who they are: what each can become.
func from(list []Assumer) map[*Principal][]Assumer {
	out := map[*Principal][]Assumer{}
	for _, as := range list {
		out[as.who] = append(out[as.who], as)
	}
	return out
}

// trust is a quick look at a role's trust policy: whom it can mean at all.
type trust struct {
	anybody  bool
	accounts map[string]bool
	ids      map[string]bool
}

func trustOf(role *Principal) trust {
	t := trust{accounts: map[string]bool{}, ids: map[string]bool{}}
	if role.Trust == nil {
		return t
	}
	t.anybody = role.Trust.Unread != "" // whom it means is not known
	for i := range role.Trust.Doc.Statements {
		s := &role.Trust.Doc.Statements[i]
		t.anybody = t.anybody || s.NotPrincipals != nil
		for _, who := range s.Principals {
			t.anybody = t.anybody || who.Everybody()
			if id := accountOf(who.Name); id != "" {
				t.accounts[id] = true
			} else {
				t.ids[who.Name] = true
			}
		}
	}
	return t
}

func (t trust) means(p *Principal) bool {
	return t.anybody || t.accounts[p.Account] || p.ID != "" && t.ids[p.ID]
}

// meant are the principals whom the trust policy can mean.
func (t trust) meant(w *World, everybody []*Principal) []*Principal {
	var out []*Principal
	if t.anybody || len(t.ids) > 0 {
		out = keep(everybody, t.means)
	} else {
		for _, id := range slices.Sorted(maps.Keys(t.accounts)) {
			if a := w.Accounts[id]; a != nil {
				out = append(out, a.Principals...)
			}
		}
	}
	return keep(out, func(p *Principal) bool { return p.Kind != Root }) // no root user can assume a role
}

// findings are drawn from the abilities.
func (w *World) findings(r *Report, tampers []Tamper, b *becoming) {
	type group struct {
		outcome Outcome
		actions []string
		first   Ability
	}
	// What each principal can do to the archive, or could after assuming roles.
	can := map[*Principal]*group{}
	for _, a := range r.Abilities {
		if !a.archive || a.Group == "read" {
			continue
		}
		switch a.Kind {
		case Anybody, Foreigner, Unknown, Service:
			continue
		}
		g := can[a.who]
		if g == nil {
			g = &group{outcome: a.Outcome, first: a}
			can[a.who] = g
		}
		if a.Outcome > g.outcome {
			g.outcome, g.first = a.Outcome, a
		}
		if !slices.Contains(g.actions, a.Action) {
			g.actions = append(g.actions, a.Action)
		}
	}
	acts := w.actors(tampers)
	// A finding for each principal, by the shortest way to tampering and to acting.
	people := map[*Principal]bool{}
	for p := range can {
		people[p] = true
	}
	for _, as := range r.Assumers {
		people[as.who] = true
	}
	intoTamper := from(r.Assumers)
	actors := slices.SortedFunc(maps.Keys(acts), func(a, b *Principal) int { return cmp.Compare(a.ARN, b.ARN) })
	var intoAct map[*Principal][]Assumer // asked only if somebody can tamper
	sorted := slices.SortedFunc(maps.Keys(people), func(a, b *Principal) int { return cmp.Compare(a.ARN, b.ARN) })
	for _, p := range sorted {
		if p.Kind != User && p.Kind != Role && p.Kind != Root && p.Kind != Federated {
			continue
		}
		tamper, tamperVia, tamperOutcome := reach(p, intoTamper, func(q *Principal) (Outcome, bool) {
			g := can[q]
			if g == nil {
				return Denied, false
			}
			return g.outcome, true
		})
		if tamper == nil {
			continue
		}
		if intoAct == nil {
			intoAct = from(b.into(rolesOf(actors)))
		}
		actor, actVia, actOutcome := reach(p, intoAct, func(q *Principal) (Outcome, bool) {
			a := acts[q]
			if a == nil {
				return Denied, false
			}
			return a.Outcome, true
		})
		if actor == nil {
			continue
		}
		g, acting := can[tamper], acts[actor]
		if p.Kind == Root && g.first.at.Account == p.Account {
			continue // every account has one; that it can do everything there is no news
		}
		detail := fmt.Sprintf("acts in %s (%s) and can tamper with the archive: %s", acting.at.Account, acting.Action, list(g.actions, 4))
		path := append(hops(actVia), fmt.Sprintf("%s on %s: %s", acting.Action, acting.Resource, cites(acting.Decision)))
		path = append(path, hops(tamperVia)...)
		path = append(path, fmt.Sprintf("%s on %s: %s", g.first.Action, g.first.Resource, cites(g.first.Decision)))
		r.Findings = append(r.Findings, Finding{Kind: Segregation, Principal: p.ARN, Outcome: min(tamperOutcome, actOutcome), Detail: detail, Path: path})
	}
	w.outsideFindings(r)
}

// outsideFindings: nobody from outside has any business with the logs. Services
// are the provider's own, and are listed only.
func (w *World) outsideFindings(r *Report) {
	type key struct{ kind, principal, resource string }
	at := map[key]int{}
	add := func(kind, principal, resource, action string, d Decision) {
		k := key{kind, principal, resource}
		i, there := at[k]
		if !there {
			i = len(r.Findings)
			at[k] = i
			r.Findings = append(r.Findings, Finding{Kind: kind, Principal: principal, Outcome: d.Outcome, Detail: "on " + resource + ": "})
		} else {
			r.Findings[i].Detail += ", "
		}
		f := &r.Findings[i]
		f.Detail += action
		f.Outcome = max(f.Outcome, d.Outcome)
		if c := cites(d); !slices.Contains(f.Path, c) {
			f.Path = append(f.Path, c)
		}
	}
	kindOf := func(p *Principal, d Decision) string {
		switch {
		case p.Kind == Anybody:
			return Public
		case p.Kind == Federated && d.Outcome == Allowed:
			return Public // whoever the provider knows: nothing asks who it is
		case p.Kind == Unknown, p.Kind == Foreigner && w.Accounts[p.Account] == nil:
			return Outside
		}
		return ""
	}
	for _, a := range r.Abilities {
		if kind := kindOf(a.who, a.Decision); kind != "" {
			add(kind, a.Principal, a.Resource, a.Action, a.Decision)
		}
	}
	for _, as := range r.Assumers {
		if kind := kindOf(as.who, as.Decision); kind != "" {
			add(kind, as.Principal, as.Role, assumeAction(as.who, as.role.Trust), as.Decision)
		}
	}
}

// actors are, by principal, what it can do in a target account that tells that it
// acts there.
func (w *World) actors(tampers []Tamper) map[*Principal]*Ability {
	out := map[*Principal]*Ability{}
	for _, arn := range w.Injectors {
		if p := w.principal(arn); p != nil {
			d := Decision{Outcome: Allowed, Grants: []Citation{{Policy: "the configuration names it as the injector"}}}
			out[p] = &Ability{Group: act, Action: "canaries", On: "account", Resource: "account " + p.Account, Principal: p.ARN, Kind: p.Kind, Account: p.Account, Decision: d, who: p, at: &Resource{Account: p.Account}}
		}
	}
	for _, id := range w.Targets {
		a := w.Accounts[id]
		if a == nil {
			continue
		}
		for _, p := range a.Principals {
			for _, t := range tampers {
				if t.Group != act {
					continue
				}
				service, _, _ := strings.Cut(t.Action, ":")
				region := "*"
				if service == "iam" {
					region = ""
				}
				at := &Resource{Kind: t.On, ARN: "arn:" + partitionOf(p) + ":" + service + ":" + region + ":" + id + ":*", Account: id, NoPolicies: true}
				d := w.Decide(p, t.Action, at)
				if best := out[p]; d.Outcome > Denied && (best == nil || d.Outcome > best.Outcome) {
					out[p] = &Ability{Group: act, Action: t.Action, On: t.On, Resource: at.ARN, Principal: p.ARN, Kind: p.Kind, Account: id, Decision: d, who: p, at: at}
				}
			}
		}
	}
	return out
}

func partitionOf(p *Principal) string { return (&Resource{ARN: p.ARN}).partition() }

// reach finds the best that p can do, itself or as what it can become, nearest first.
func reach(p *Principal, into map[*Principal][]Assumer, can func(*Principal) (Outcome, bool)) (*Principal, []Assumer, Outcome) {
	type step struct {
		at      *Principal
		via     []Assumer
		outcome Outcome
	}
	// What is only possible by the shorter way may be allowed by a longer one.
	seen := map[*Principal]Outcome{p: Allowed}
	var best step
	for edge := []step{{p, nil, Allowed}}; len(edge) > 0; edge = edge[1:] {
		s := edge[0]
		if o, ok := can(s.at); ok && min(o, s.outcome) > best.outcome {
			best = step{s.at, s.via, min(o, s.outcome)}
		}
		if len(s.via) == mostHops {
			continue
		}
		for _, as := range into[s.at] {
			o := min(s.outcome, as.Outcome)
			if o > seen[as.role] {
				seen[as.role] = o
				edge = append(edge, step{as.role, append(s.via[:len(s.via):len(s.via)], as), o})
			}
		}
	}
	return best.at, best.via, best.outcome
}

func hops(via []Assumer) []string {
	var out []string
	for _, as := range via {
		out = append(out, fmt.Sprintf("%s can assume %s: %s", as.Principal, as.Role, cites(as.Decision)))
	}
	return out
}

// cites names the statements a decision rests on.
func cites(d Decision) string {
	var out []string
	for _, c := range d.Grants {
		out = append(out, c.String())
	}
	for _, c := range d.Doubts {
		if said := c.String(); !slices.Contains(out, said) { // an unread policy may allow as well as deny
			out = append(out, "but "+said)
		}
	}
	return strings.Join(out, " + ")
}

// Path is the decision's statements in words.
func (d Decision) Path() string { return cites(d) }

func list(names []string, most int) string {
	if len(names) <= most {
		return strings.Join(names, ", ")
	}
	return fmt.Sprintf("%s and %d more", strings.Join(names[:most], ", "), len(names)-most)
}

// ExitCode is 0 if nothing is wrong, 1 with findings, shown or not, 2 if something
// could not be read.
func (r Report) ExitCode() int {
	switch {
	case len(r.Findings)+r.NotShown > 0:
		return 1
	case len(r.Gaps) > 0:
		return 2
	}
	return 0
}
