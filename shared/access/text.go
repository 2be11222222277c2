package access

import (
	"cmp"
	"encoding/csv"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/auditcanary/auditcanary/shared/inert"
)

// Filter keeps what matches: actions without case ("s3:Delete*"), principals by
// ARN or by its last part ("role/admin*"). "" matches everything. Findings are
// drawn from the whole report, and shown by their principal; those that are not
// are counted, so that the exit code is the whole report's.
func (r Report) Filter(action, principal string) Report {
	a, p := compile(strings.ToLower(action)), compile(principal)
	who := func(arn string) bool {
		_, last, _ := cutLast(arn, ":")
		return principal == "" || p.contains([]rune(arn)) || p.contains([]rune(last))
	}
	roles := map[string]bool{}
	r.Abilities = keep(r.Abilities, func(x Ability) bool {
		ok := (action == "" || a.contains(compile(strings.ToLower(x.Action)))) && who(x.Principal)
		roles[x.Principal] = roles[x.Principal] || ok
		return ok
	})
	// Those who can become these roles, and those who can become those.
	var shown []Assumer
	for range mostHops {
		shown = keep(r.Assumers, func(x Assumer) bool { return roles[x.Role] })
		for _, x := range shown {
			roles[x.Principal] = true
		}
	}
	r.Assumers = shown
	found := len(r.Findings)
	r.Findings = keep(r.Findings, func(x Finding) bool { return who(x.Principal) })
	r.NotShown += found - len(r.Findings)
	return r
}

func keep[T any](list []T, ok func(T) bool) []T {
	out := []T{}
	for _, x := range list {
		if ok(x) {
			out = append(out, x)
		}
	}
	return out
}

var questions = map[string]string{
	"delete": "Who can delete what is there", "weaken": "Who can take its protection away", "forge": "Who can put something there",
	"stop": "Who can stop what arrives", "silence": "Who can silence the alerts", "read": "Who can read",
}

// WriteTable writes the report for people.
func (r Report) WriteTable(w io.Writer) error {
	var b strings.Builder
	for _, f := range r.Findings {
		fmt.Fprintf(&b, "FINDING %s (%s): %s %s\n", f.Kind, f.Outcome, inert.Line(f.Principal), inert.Line(f.Detail))
		for _, step := range f.Path {
			fmt.Fprintf(&b, "    %s\n", inert.Line(step))
		}
	}
	if r.NotShown > 0 {
		fmt.Fprintf(&b, "%d FINDINGS of other principals are not shown\n", r.NotShown)
	}
	if len(r.Findings)+r.NotShown > 0 {
		b.WriteString("\n")
	}
	for _, g := range Groups() {
		r.writeGroup(&b, g)
	}
	r.writeAssumers(&b)
	if len(r.Gaps) > 0 {
		b.WriteString("NOT COMPLETE: this could not be read, and whatever hangs on it is unknown or only possible\n")
		for _, g := range r.Gaps {
			account := cmp.Or(g.Account, "an account that is not known")
			fmt.Fprintf(&b, "  %s: %s: %s\n", inert.Line(account), inert.Line(g.What), inert.Line(g.Why))
		}
		b.WriteString("\n")
	}
	b.WriteString("Not looked at:\n")
	for _, l := range r.Limits {
		fmt.Fprintf(&b, "  - %s\n", l)
	}
	allowed := 0
	for _, a := range r.Abilities {
		if a.Outcome == Allowed {
			allowed++
		}
	}
	fmt.Fprintf(&b, "\n%d findings, %d abilities allowed and %d possible: %d actions on %d resources, asked of %d principals of %d accounts and of whom the resources' policies name. %d things could not be read.\n",
		len(r.Findings)+r.NotShown, allowed, len(r.Abilities)-allowed, len(r.Actions), len(r.Resources), r.Principals, r.Accounts, len(r.Gaps))
	_, err := io.WriteString(w, b.String())
	return err
}

// Question that a group of actions answers: "Who can read".
func Question(group string) string { return questions[group] }

// Line is what one principal can do to one resource by the same statements.
type Line struct {
	// On is the kind of the resource.
	On, Resource string
	Outcome      Outcome
	// Who is the principal in words, Actions what it can do.
	Who     string
	Actions []string
	// Path are the statements by which, with the part of the resource if it is not all of it.
	Path string
}

// Lines are the abilities of a group by resource, then principal.
func (r Report) Lines(group string) (out []Line) {
	begin := 0 // of the resource's lines
	for _, a := range r.Abilities {
		if a.Group != group {
			continue
		}
		if len(out) > 0 && out[len(out)-1].Resource != a.Resource {
			begin = len(out)
		}
		path := a.Path()
		if a.Decision.On != "" {
			path = "only " + a.Decision.On + ": " + path
		}
		name := who(a.Kind, a.Principal, a.Account)
		i := slices.IndexFunc(out[begin:], func(x Line) bool { return x.Who == name && x.Outcome == a.Outcome && x.Path == path })
		if i < 0 {
			out = append(out, Line{On: a.On, Resource: a.Resource, Outcome: a.Outcome, Who: name, Path: path})
			i = len(out) - 1 - begin
		}
		out[begin+i].Actions = append(out[begin+i].Actions, a.Action)
	}
	return out
}

// writeGroup shows a group by resource, then principal.
func (r Report) writeGroup(b *strings.Builder, group string) {
	lines := r.Lines(group)
	for i, x := range lines {
		if i == 0 {
			fmt.Fprintf(b, "%s\n", questions[group])
		}
		if i == 0 || lines[i-1].Resource != x.Resource {
			fmt.Fprintf(b, "  %s %s\n", x.On, inert.Line(x.Resource))
		}
		fmt.Fprintf(b, "    %-8s  %s  %s\n              %s\n", x.Outcome, x.Who, strings.Join(x.Actions, ", "), inert.Line(x.Path))
	}
	if len(lines) > 0 {
		b.WriteString("\n")
	}
}

func who(kind, arn, account string) string {
	switch kind {
	case User, Role, Root:
		return inert.Line(arn)
	case Anybody:
		return "ANYBODY"
	case Service:
		return "service " + inert.Line(arn)
	case Foreigner:
		return inert.Line(strings.TrimSpace("other account " + account + " " + strings.TrimPrefix(arn, account)))
	}
	return inert.Line(kind + " " + arn)
}

// Who can become the role, in words.
func (a Assumer) Who() string { return who(a.Kind, a.Principal, "") }

func (r Report) writeAssumers(b *strings.Builder) {
	if len(r.Assumers) == 0 {
		return
	}
	b.WriteString("Who can become these roles\n")
	role := ""
	for _, a := range r.Assumers {
		if a.Role != role {
			role = a.Role
			fmt.Fprintf(b, "  %s\n", inert.Line(role))
		}
		fmt.Fprintf(b, "    %-8s  %s\n              %s\n", a.Outcome, a.Who(), inert.Line(a.Path()))
	}
	b.WriteString("\n")
}

// WriteCSV writes one line per ability, for a periodic review of access; then the
// findings and what could not be read, so that nobody takes the file for complete
// who has it alone. No field can become a formula.
func (r Report) WriteCSV(w io.Writer) error {
	cw := csv.NewWriter(w)
	write := func(line ...string) {
		for i := range line {
			line[i] = inert.Cell(line[i])
		}
		_ = cw.Write(line) // an error stays until Flush
	}
	write("group", "action", "kind", "resource", "principal", "principal_kind", "account", "outcome", "only", "granted_by", "undecided", "assumable_by")
	assumable := map[string][]string{}
	for _, a := range r.Assumers {
		name := a.Principal
		if a.Outcome == Possible {
			name += " (possible)"
		}
		assumable[a.Role] = append(assumable[a.Role], name)
	}
	for _, a := range r.Abilities {
		write(a.Group, a.Action, a.On, a.Resource, a.Principal, a.Kind, a.Account, a.Outcome.String(), a.Decision.On, citations(a.Grants), citations(a.Doubts), strings.Join(assumable[a.Principal], "; "))
	}
	for _, f := range r.Findings {
		write("finding", f.Kind, "", "", f.Principal, "", "", f.Outcome.String(), "", strings.Join(f.Path, "; "), f.Detail, "")
	}
	if r.NotShown > 0 {
		write("finding", "", "", "", "", "", "", "", "", "", fmt.Sprintf("%d findings of other principals are not shown", r.NotShown), "")
	}
	for _, g := range r.Gaps {
		write("not read", "", "", g.What, "", "", g.Account, "inconclusive", "", "", g.Why, "")
	}
	cw.Flush()
	return cw.Error()
}

func citations(cs []Citation) string {
	var out []string
	for _, c := range cs {
		out = append(out, c.String())
	}
	return strings.Join(out, "; ")
}
