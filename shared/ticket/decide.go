package ticket

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/auditcanary/auditcanary/shared/canary"
	"github.com/auditcanary/auditcanary/shared/exception"
	"github.com/auditcanary/auditcanary/shared/run"
)

// Config is how tickets are kept.
type Config struct {
	// ResolveAfter how many passes in a row a ticket is resolved (default 2).
	ResolveAfter int
	// InconclusiveAfter how many runs in a row that could not find out a ticket is made
	// (default 3): once may be an outage of ours; what stays unknown is a control that
	// nobody can vouch for.
	InconclusiveAfter int
	// GroupAbove so many checks that newly do not pass, with the same check and hop in
	// one step, they become one ticket (default 10).
	GroupAbove int
	// SearchLag is how long after its creation the desk's search may not find a ticket
	// (default 10 minutes).
	SearchLag time.Duration
	// LeaveResolved leaves a ticket that somebody resolved at the desk although it still
	// fails; otherwise it is reopened.
	LeaveResolved bool
	// Labels that every ticket gets.
	Labels []string
	// Environments are labels of accounts ("production"), by account.
	Environments map[string]string
	// Severities by category@environment, default@environment, category or default, in
	// this order of precedence; "high" where none is given.
	Severities map[string]string
	// Components by category, as the desk names them; a category may have none.
	Components map[string]string
	// ReportURL is where the report stands. Optional.
	ReportURL string
}

// withDefaults fills in what was left out.
func (c Config) withDefaults() Config {
	c.ResolveAfter = cmp.Or(c.ResolveAfter, 2)
	c.InconclusiveAfter = cmp.Or(c.InconclusiveAfter, 3)
	c.GroupAbove = cmp.Or(c.GroupAbove, 10)
	c.SearchLag = cmp.Or(c.SearchLag, 10*time.Minute)
	return c
}

// inFlight is how long an act of somebody else may be under way: an act is begun
// within a third of that after its intent, and given the rest.
func (c Config) inFlight() time.Duration { return min(3*time.Minute, c.SearchLag) }

// Facts are what is decided on.
type Facts struct {
	Findings []*Finding
	// Notices of exceptions; nil: they are not known, so that no ticket of one is closed.
	Notices []exception.Notice
	Tickets []*run.TicketState
	// Desk is what the desk says of tickets that should be open, by key. One that is
	// missing was not asked about, and counts as it should be.
	Desk map[string]AtDesk
	// Origin of the ledger, for references to it, and its signed Checkpoint.
	Origin, Checkpoint string

	Now time.Time
}

// AtDesk is one ticket as the desk has it.
type AtDesk struct {
	Open bool
	Gone bool   // deleted
	Err  string // why it could not be asked
}

// Act is one thing to do about one ticket.
type Act struct {
	Fingerprint string
	Kind        Kind
	// Act as in run.Ticket; "wait": nothing is done, for now.
	Act string
	// Key of the ticket, if there is one.
	Key string
	// Why in a sentence.
	Why string

	draft          Draft
	change         Change
	content, about string   // hashes: of what is said, of what it is about
	members        []string // who join
	pending        *run.Ticket
	gone           []string
	nth            int // of the acts of this kind on this ticket
	last           int // number of the last act
}

// Decide says what is to be done, ticket by ticket, each one's acts in their order.
// It is pure. What a ticket would say later in the same step (a comment after its
// creation) is in the list as far as it follows from the facts.
func Decide(f Facts, c Config) []Act {
	d := &decider{Facts: f, c: c.withDefaults(), by: map[string]*run.TicketState{}, owner: map[string]*run.TicketState{}}
	for _, t := range f.Tickets {
		d.by[t.Fingerprint] = t
		for _, m := range t.Members {
			d.owner[m] = t
		}
	}
	d.findings()
	d.groups()
	d.notices()
	return d.acts
}

type decider struct {
	Facts
	c     Config
	by    map[string]*run.TicketState // by fingerprint
	owner map[string]*run.TicketState // group of a member
	acts  []Act
	// joining are the findings that a group gets in this step, by its fingerprint, with
	// the fingerprints in the order of their first appearance.
	joining map[string][]*Finding
	groupsN []string
}

// findings decides on those with a ticket of their own, or that get one.
func (d *decider) findings() {
	fresh := map[string][]*Finding{} // by group
	var order []string
	for _, f := range d.Findings {
		fp := f.String()
		if d.owner[fp] != nil {
			continue
		}
		if st := d.by[fp]; st != nil {
			d.keep(st, d.single(f))
			continue
		}
		if !f.Worried(d.c) {
			continue
		}
		g := groupOf(f)
		if fresh[g] == nil {
			order = append(order, g)
		}
		fresh[g] = append(fresh[g], f)
	}
	d.joining = map[string][]*Finding{}
	for _, g := range order {
		if st := d.by[g]; len(fresh[g]) > d.c.GroupAbove || st != nil && (st.Open || st.Pending != nil) {
			d.joining[g] = fresh[g]
			d.groupsN = append(d.groupsN, g)
			continue
		}
		for _, f := range fresh[g] {
			d.keep(&run.TicketState{Fingerprint: f.String()}, d.single(f))
		}
	}
}

// groupOf is the fingerprint of the ticket that many findings of one cause share: the
// same check failed on the same hop.
func groupOf(f *Finding) string {
	where := cmp.Or(string(f.Answer.Hop), "unknown")
	if f.Condition == NotFound {
		return fmt.Sprintf("group: %s could not be found out, hop %s", f.Check, where)
	}
	return fmt.Sprintf("group: %s, hop %s", f.Check, where)
}

// maxJoin bounds, in bytes, the members that one entry of the ledger names; others
// join with the next act.
const maxJoin = 40 << 10

func (d *decider) groups() {
	byFP := map[string]*Finding{}
	for _, f := range d.Findings {
		byFP[f.String()] = f
	}
	all := slices.Clone(d.groupsN)
	for _, t := range d.Tickets {
		if t.Kind == string(Group) && !slices.Contains(all, t.Fingerprint) {
			all = append(all, t.Fingerprint)
		}
	}
	for _, g := range all {
		st := d.by[g]
		if st == nil {
			st = &run.TicketState{Fingerprint: g}
		}
		var members []*Finding
		for _, m := range st.Members {
			if f := byFP[m]; f != nil {
				members = append(members, f)
			}
		}
		var join []string
		size := 0
		for _, f := range d.joining[g] {
			if size += len(f.String()) + 8; size > maxJoin {
				break
			}
			members, join = append(members, f), append(join, f.String())
		}
		w := d.group(g, members, join)
		w.done = w.done && len(members) >= len(st.Members) // of the others nothing is known any more
		d.keep(st, w)
	}
}

func (d *decider) notices() {
	if d.Notices == nil {
		return
	}
	there := map[string]bool{}
	for _, n := range d.Notices {
		fp := "exception " + n.Exception + ": " + n.What
		if there[fp] {
			continue
		}
		there[fp] = true
		st := d.by[fp]
		if st == nil {
			st = &run.TicketState{Fingerprint: fp}
		}
		d.keep(st, d.notice(n))
	}
	for _, t := range d.Tickets {
		if t.Kind == string(Exception) && !there[t.Fingerprint] {
			d.keep(t, d.noLonger(t.Fingerprint))
		}
	}
}

// wanted is what a ticket should say and be.
type wanted struct {
	kind Kind
	// worried: a ticket must be open. done: it must not be. Neither: an open one stays.
	worried, done bool
	summary       string
	body          Doc
	// said in a comment when about changes.
	comment  Doc
	about    string
	evidence func() []byte // nil: nothing to attach
	labels   []string
	severity string
	category string
	join     []string
	why      string
}

// keep decides what brings a ticket to what is wanted.
func (d *decider) keep(st *run.TicketState, w wanted) {
	a := Act{Fingerprint: st.Fingerprint, Kind: w.kind, Key: st.Key, Why: w.why, gone: st.Gone, last: st.N}
	add := func(act string, why string, change func(*Act)) {
		x := a
		x.Act, x.Why = act, why
		x.about, x.nth = w.about, st.Done[act]
		if change != nil {
			change(&x)
		}
		d.acts = append(d.acts, x)
	}
	if n := len(st.Gone); n > 0 {
		w.body = append(Doc{{Kind: "text", Text: fmt.Sprintf("This takes the place of %s, which was deleted while this was not settled.", st.Gone[n-1])}}, w.body...)
	}
	if p := st.Pending; p != nil {
		age, limit := d.Now.Sub(p.At), d.c.inFlight()
		if p.Act == "create" {
			limit += d.c.SearchLag
		}
		if age < limit {
			a.pending = p
			add("wait", fmt.Sprintf("%s was begun at %s and nobody knows what came of it: left until %s, when the desk must show it", p.Act, stamp(p.At), stamp(p.At.Add(limit))), nil)
			return
		}
	}
	if st.Key == "" {
		if !w.worried {
			if st.Pending != nil && st.Pending.Act == "create" {
				// It may be there all the same: find out, or nobody would ever close it.
				a.pending = st.Pending
				add("wait", "its creation was interrupted, and it is no longer needed: only looked for", nil)
			}
			return
		}
		why := w.why
		if n := len(st.Gone); n > 0 {
			why = fmt.Sprintf("%s; made anew, since %s was deleted", why, st.Gone[n-1])
		}
		add("create", why, func(x *Act) {
			x.members = w.join
			x.draft = Draft{Mark: Mark(st.Fingerprint), Kind: w.kind, Summary: w.summary, Body: w.body, Labels: w.labels, Severity: w.severity, Component: d.c.Components[w.category]}
			x.content = said(w.summary, w.body)
		})
		if w.evidence != nil {
			add("attach", "the evidence of "+w.why, nil)
		}
		return
	}
	desk, asked := d.Desk[st.Key]
	switch {
	case asked && desk.Gone:
		add("gone", st.Key+" was deleted at the desk", nil)
		return
	case asked && desk.Err != "":
		add("wait", fmt.Sprintf("the desk could not be asked about %s: %s", st.Key, desk.Err), nil)
		return
	}
	open := st.Open && (!asked || desk.Open)
	if !open && st.Open && d.c.LeaveResolved && !w.done {
		if w.worried {
			add("left", st.Key+" was resolved by somebody although it does not pass; left so, as configured", nil)
		}
		return
	}
	if !open && !w.worried {
		if st.Open && w.done {
			add("resolve", w.why, func(x *Act) { x.change = Change{To: "resolved"} })
		}
		return
	}
	if !open {
		why := w.why
		if st.Open {
			why += "; it was resolved at the desk, and is reopened"
		}
		add("reopen", why, func(x *Act) { x.change = Change{To: "open"} })
	}
	if st.Change == "" || !open {
		w.comment = append(Doc{{Kind: "text", Text: "Reopened: this was resolved, and the check does not pass."}}, w.comment...)
	}
	if body := said(w.summary, w.body); body != st.Body || len(w.join) > 0 {
		add("update", w.why, func(x *Act) {
			x.members, x.content = w.join, body
			x.change = Change{Summary: w.summary, Body: w.body}
		})
	}
	if st.Change != w.about || !open {
		add("comment", w.why, func(x *Act) { x.change, x.content = Change{Comment: w.comment}, said("", w.comment) })
	}
	if w.evidence != nil && st.Attached != w.about {
		add("attach", "the evidence of "+w.why, func(x *Act) {
			data := w.evidence()
			x.content = hash(string(data))
			x.change = Change{Name: "evidence-" + w.about[:12] + ".json", Attach: data}
		})
	}
	if w.done {
		add("resolve", w.why, func(x *Act) { x.change = Change{To: "resolved"} })
	}
}

// said is the hash of a text.
func said(summary string, doc Doc) string {
	parts := []string{summary}
	for _, b := range doc {
		parts = append(parts, b.Kind, b.Text, b.URL)
		for _, row := range b.Rows {
			parts = append(parts, fmt.Sprint(len(row)))
			parts = append(parts, row...)
		}
	}
	return hash(parts...)
}

// severity of a finding: what configuration says of its category in the account's
// environment, one less where the record only came late.
func (c Config) severity(f *Finding) string {
	env := c.Environments[f.Target.Account]
	s := "high"
	for _, key := range []string{f.Category + "@" + env, "default@" + env, f.Category, "default"} {
		if v := c.Severities[key]; v != "" && (env != "" || !strings.HasSuffix(key, "@")) {
			s = v
			break
		}
	}
	if f.Condition == TooLate || f.Condition == NotFound {
		i := slices.Index(Severities, s)
		s = Severities[min(i+1, len(Severities)-1)]
	}
	return s
}

// Severities from worst to least.
var Severities = []string{"critical", "high", "medium", "low"}

func worstSeverity(all []string) string {
	worst := len(Severities) - 1
	for _, s := range all {
		if i := slices.Index(Severities, s); i >= 0 {
			worst = min(worst, i)
		}
	}
	return Severities[worst]
}

func (c Config) labels(kind Kind, more ...string) []string {
	seen := map[string]bool{}
	for _, l := range slices.Concat([]string{canary.Marker, canary.Marker + "-" + string(kind)}, more, c.Labels) {
		if l != "" {
			seen[label(l)] = true
		}
	}
	return slices.Sorted(maps.Keys(seen))
}

// label makes text one word: labels have no spaces.
func label(text string) string {
	return cut(strings.Join(strings.FieldsFunc(text, func(r rune) bool { return r <= ' ' || r == '"' || r == ',' || r == 0x7f }), "-"), 100)
}

func stamp(t time.Time) string { return t.UTC().Format(time.RFC3339) }
