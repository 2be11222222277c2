package report

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/auditcanary/auditcanary/shared/canary"
	"github.com/auditcanary/auditcanary/shared/coverage"
)

// The sections of the page, as the template shows them.

// answer is the first thing the page says.
type answer struct {
	Class, Headline string
	Then            []string
	Bar             []rect
	Alt             string
	Tiles           []tile
	Frameworks      []framework
}

// framework with its requirements, each in a word.
type framework struct {
	Name     string
	Controls []controlRow
}

type tile struct{ Class, Value, Label, Note string }

func answerOf(r Report) answer {
	a := answer{Class: "unknown"}
	n, all := r.Tally.Controls, len(r.Controls)
	broken := r.Protection.broken()
	switch t := r.Tally; {
	case t.Canaries == 0 && len(broken) == 0:
		a.Headline = "Nothing was tested in this period"
	case n[Failed] > 0:
		a.Class, a.Headline = "fail", fmt.Sprintf("Not proven: %d of %s failed", n[Failed], amount(all, "requirement", "requirements"))
	case t.Failed+t.Late > 0:
		a.Class, a.Headline = "fail", fmt.Sprintf("Not proven: %d of %s failed", t.Failed+t.Late, amount(t.Canaries, "canary", "canaries"))
	case t.Findings > 0:
		a.Class, a.Headline = "fail", "Somebody imitates canaries"
	case len(broken) > 0:
		a.Class, a.Headline = "fail", fmt.Sprintf("The logs are not intact: %s broken", amount(len(broken), "chain of digests is", "chains of digests are"))
	case n[Inconclusive] > 0:
		a.Headline = fmt.Sprintf("Not decided: of %d of %s it could not be found out", n[Inconclusive], amount(all, "requirement", "requirements"))
	case t.Inconclusive > 0:
		a.Headline = "Nothing failed, and not everything could be found out"
	case all == 0 && t.Proven == t.Canaries:
		a.Class, a.Headline = "pass", fmt.Sprintf("All of %s proven", amount(t.Canaries, "canary", "canaries"))
	case all > 0 && n[Proven] == all:
		a.Class, a.Headline = "pass", fmt.Sprintf("Every check passed, for all of %s", amount(all, "requirement", "requirements"))
	case all == 0:
		a.Headline = fmt.Sprintf("Nothing that was tested failed; %d of %s proven", t.Proven, amount(t.Canaries, "canary", "canaries"))
	default:
		a.Headline = fmt.Sprintf("Nothing that was tested failed; for %d of %s every check passed", n[Proven], amount(all, "requirement", "requirements"))
	}
	var parts []string
	for _, o := range Outcomes() {
		if n[o] > 0 {
			parts = append(parts, fmt.Sprintf("%s %d %s", o.tag().Mark, n[o], o.words()))
		}
	}
	if len(parts) > 0 {
		a.Then = append(a.Then, "Requirements: "+strings.Join(parts, ", ")+".")
	}
	if n[Proven] > 0 {
		a.Then = append(a.Then, "A requirement counts as proven where every check that speaks for it passed in every canary: for what was tested, and as far as canaries can. What they do not show stands with each below.")
	}
	if t := r.Tally; t.Canaries > 0 {
		say := fmt.Sprintf("%d of %s proven: the action was really done, and its record was found in the log store, in time, saying what was done.", t.Proven, amount(t.Canaries, "canary", "canaries"))
		if t.Open > 0 {
			say += fmt.Sprintf(" Of %d something is still awaited.", t.Open)
		}
		a.Then = append(a.Then, say)
	}
	if where := lostOn(r); where != "" {
		a.Then = append(a.Then, where)
	}
	if r.Tally.Findings > 0 {
		a.Then = append(a.Then, fmt.Sprintf("%s a canary without being one.", amount(r.Tally.Findings, "record imitates", "records imitate")))
	}
	if len(broken) > 0 {
		a.Then = append(a.Then, fmt.Sprintf("%s broken: log files or the digests that sign for them were changed, removed or not written, first at %s / %s.", amount(len(broken), "chain of digests is", "chains of digests are"), broken[0].Account, broken[0].Region))
	} else if !r.Protection.validated() {
		a.Then = append(a.Then, chainsSay(r))
	}
	a.Frameworks = frameworks(r)
	a.Bar, a.Alt = stacked(r.Tally.statuses(), rect{W: 1000, H: 10}, false)
	a.Alt = "Canaries: " + a.Alt
	t := r.Tally
	for _, x := range []struct {
		class, label, note string
		n                  int
		always             bool
	}{
		{"pass", "proven", "canaries whose required checks all passed", t.Proven, true},
		{"fail", "failed", "lost, changed, too late to count, or not undone", t.Failed, true},
		{"late", "late", "arrived after the objective", t.Late, false},
		{"unknown", "inconclusive", "could not be found out: never a pass", t.Inconclusive, true},
		{"none", "not run", "could not be done where planned", t.NotRun, true},
		{"late", "excepted", "approved, until a day, not to pass", t.Excepted, false},
		{"fail", "imitations", "records that carry our marks and are not ours", t.Findings, false},
		{"fail", "broken chains", "of digests that sign for the log files", len(broken), false},
	} {
		if x.always || x.n > 0 {
			class := x.class
			if x.n == 0 {
				class = "none"
			}
			a.Tiles = append(a.Tiles, tile{class, fmt.Sprint(x.n), x.label, x.note})
		}
	}
	if row := r.Coverage.Total; row.Cells > 0 {
		value := "–"
		if row.Percent != nil {
			value = fmt.Sprintf("%.1f%%", *row.Percent)
		}
		a.Tiles = append(a.Tiles, tile{"none", value, "coverage", fmt.Sprintf("%d proven of %d privileged operations x places", row.Statuses[coverage.Proven], row.Cells-row.Statuses[coverage.NotLoggable])})
	}
	return a
}

func (t Tally) statuses() map[canary.Status]int {
	return map[canary.Status]int{canary.Pass: t.Proven, canary.Fail: t.Failed, canary.Late: t.Late, canary.Inconclusive: t.Inconclusive, canary.NotRun: t.NotRun, canary.Excepted: t.Excepted}
}

// frameworks are the requirements as the mapping orders them.
func frameworks(r Report) (out []framework) {
	rows := controlRows(r)
	for _, c := range r.Controls {
		i := slices.IndexFunc(out, func(f framework) bool { return f.Name == c.Framework })
		if i < 0 {
			i, out = len(out), append(out, framework{Name: c.Framework})
		}
		for _, row := range rows {
			if row.Name == c.Framework+" "+c.Clause {
				out[i].Controls = append(out[i].Controls, row)
				break
			}
		}
	}
	return out
}

// words of an outcome.
func (o Outcome) words() string { return strings.ReplaceAll(string(o), "-", " ") }

func (o Outcome) tag() tag {
	t := map[Outcome]tag{Proven: {"pass", "✓", ""}, Failed: {"fail", "✗", ""}, Inconclusive: {"unknown", "?", ""}, Partly: {"late", "◐", ""}}[o]
	if t.Class == "" {
		t.Class, t.Mark = "none", "–"
	}
	t.Word = o.words()
	return t
}

type controlRow struct {
	N                           int // of the row
	Name, Clause, Title, Limits string
	Confirmed                   bool
	Tag                         tag
	Canaries                    int
	Checks                      []controlCheckRow
}

type controlCheckRow struct{ Name, Counts, Shows, DoesNotShow string }

// controlRows are the controls, the worst first.
func controlRows(r Report) []controlRow {
	var out []controlRow
	sorted := slices.Clone(r.Controls)
	slices.SortStableFunc(sorted, func(a, b Control) int {
		return slices.Index(Outcomes(), a.Outcome) - slices.Index(Outcomes(), b.Outcome)
	})
	for i, c := range sorted {
		one := controlRow{N: i, Name: c.Framework + " " + c.Clause, Clause: c.Clause, Title: c.Title, Limits: c.Limits, Confirmed: c.Confirmed, Tag: c.Outcome.tag(), Canaries: c.Canaries}
		for _, k := range c.Checks {
			one.Checks = append(one.Checks, controlCheckRow{string(k.Check), cmp.Or(said(k.Statuses), "not asked"), k.Shows, k.DoesNotShow})
		}
		out = append(out, one)
	}
	return out
}

// said says how many there are of each status, the worst first.
func said(n map[canary.Status]int) string {
	var parts []string
	for _, s := range badness {
		if n[s] > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", n[s], tagOf(s).Word))
		}
	}
	return strings.Join(parts, ", ")
}

func coverageSays(r Report) string {
	c := r.Coverage
	if c.Total.Cells == 0 {
		return "There is nothing to cover: no account is configured."
	}
	say := fmt.Sprintf("%s call privileged, in %s and %s: %d of %d that can be proven are.", amount(c.Operations, "operation that public rule sets", "operations that public rule sets"),
		amount(c.Accounts, "account", "accounts"), amount(c.Regions, "region", "regions"), c.Total.Statuses[coverage.Proven], c.Total.Cells-c.Total.Statuses[coverage.NotLoggable])
	if n := c.Total.AskedOnly; n > 0 {
		say += fmt.Sprintf(" %d of these only by attempts that were refused, or dry runs.", n)
	}
	if n := c.Total.Statuses[coverage.NeverTested]; n > 0 {
		say += fmt.Sprintf(" %d were never tested.", n)
	}
	if n := c.Total.Statuses[coverage.ByCategory]; n > 0 {
		say += fmt.Sprintf(" %d are sampled only: another operation of their category was proven there.", n)
	}
	return say
}

type gapRow struct {
	Operation, Category, Counts string
	RuleSets                    int
}

func gapRows(r Report) []gapRow {
	titles := map[string]string{}
	for _, c := range r.Facts.Categories {
		titles[c.ID] = c.Title
	}
	var out []gapRow
	for _, g := range r.Coverage.Gaps[:min(maxGaps, len(r.Coverage.Gaps))] {
		var parts []string
		for _, s := range coverage.Statuses() {
			if g.Statuses[s] > 0 {
				parts = append(parts, fmt.Sprintf("%d %s", g.Statuses[s], strings.ReplaceAll(string(s), "-", " ")))
			}
		}
		out = append(out, gapRow{g.Operation, cmp.Or(titles[g.Category], g.Category), strings.Join(parts, ", "), g.RuleSets})
	}
	return out
}

// stretch of the way of a record.
type stretch struct {
	Title, Says string
	Lost        int
}

func wayOf(r Report) []stretch {
	lost := map[canary.Hop]int{}
	for _, l := range r.Losses {
		lost[l.Hop] += len(l.Canaries)
	}
	way := []stretch{
		{"1. Emitted", "the service writes the record", lost[canary.Emitted]},
		{"2. Delivered", "trail and selectors bring it to the store", lost[canary.Delivered]},
		{"3. Stored", "the object it stands in can be had, and is kept", lost[canary.Stored]},
		{"4. Parsed", "what the object holds can be read", lost[canary.Parsed]},
	}
	if len(r.Alerts) > 0 {
		way = append(way, stretch{"5. Alerted", "the alert that is promised of it rings", lost[canary.Announced]})
	}
	return append(way, stretch{"Nobody could tell", "where it was lost is not known; each says why", lost[""]})
}

// lostOn says where records were lost or changed.
func lostOn(r Report) string {
	var parts []string
	for _, l := range r.Losses {
		on := fmt.Sprintf("on the hop %q", l.Hop)
		if l.Hop == "" {
			on = "where nobody could tell"
		}
		parts = append(parts, fmt.Sprintf("%d %s", len(l.Canaries), on))
	}
	if len(parts) == 0 {
		return ""
	}
	return "Where records were lost or changed: " + strings.Join(parts, ", ") + "."
}

// maxAlerts is how many alerts the page lists; all of them are in the JSON.
const maxAlerts = 200

// alertRows are the alerts that the page lists, what did not ring in time before what did.
func alertRows(all []Alert) (rows []Alert, more int, say string) {
	rows = slices.Clone(all)
	slices.SortStableFunc(rows, func(a, b Alert) int { return rankOf(a.Status) - rankOf(b.Status) })
	rang := 0
	for _, a := range all {
		if a.Status == canary.Pass {
			rang++
		}
	}
	if n := len(rows) - maxAlerts; n > 0 {
		rows, more = rows[:maxAlerts], n
	}
	return rows, more, fmt.Sprintf("%d of %s rang in time.", rang, amount(len(all), "promised alert", "promised alerts"))
}

// rankOf puts what somebody must see first.
func rankOf(s canary.Status) int {
	return slices.Index([]canary.Status{canary.Fail, canary.Late, canary.Inconclusive, canary.NotRun, canary.Excepted, canary.Pass}, s)
}

type failure struct {
	ID, Scenario, Account, Region string
	Superseded                    bool
	Tag                           tag
	Hop, Step, Detail             string
	Evidence                      []string
}

// failuresOf are a canary's answers that are no pass; what was not run is told elsewhere.
func failuresOf(c Canary) (out []failure) {
	for _, k := range c.Checks {
		if k.Status == canary.Pass || k.Status == canary.NotRun || k.Status == canary.Excepted {
			continue
		}
		f := failure{ID: c.ID, Scenario: c.Scenario, Account: c.Account, Region: c.Region, Superseded: !c.Latest, Tag: tagOf(k.Status), Hop: cmp.Or(string(k.Hop), "–"), Step: k.Step, Detail: k.Detail}
		f.Tag.Word = string(k.Check) + ": " + f.Tag.Word
		for _, e := range k.Evidence {
			f.Evidence = append(f.Evidence, string(e.Source)+": "+e.Found)
		}
		out = append(out, f)
	}
	return out
}

func failuresSay(r Report, answers int) string {
	switch t := r.Tally; {
	case t.Canaries == 0:
		return "Nothing was tested, so that nothing could fail."
	case answers == 0 && t.NotRun > 0:
		return fmt.Sprintf("Of what was tested nothing failed, was late or stayed inconclusive. %s not run.", amount(t.NotRun, "canary was", "canaries were"))
	case answers == 0:
		return "Nothing failed, was late or stayed inconclusive."
	}
	return fmt.Sprintf("%s no pass. A record passes the stretches below on its way; each counts the canaries whose record was lost or changed on it.", amount(answers, "answer is", "answers are"))
}

type reason struct {
	Reason string
	Count  int
}

// reasons say why canaries were not run.
func reasons(r Report) (out []reason) {
	n := map[string]int{}
	for _, c := range r.Canaries {
		if c.Status == canary.NotRun && c.Latest {
			n[cmp.Or(c.NotRun, c.Blocked, c.answer(canary.Injected).Detail, "no reason is known")]++
		}
	}
	for _, why := range slices.Sorted(maps.Keys(n)) {
		out = append(out, reason{why, n[why]})
	}
	slices.SortStableFunc(out, func(a, b reason) int { return b.Count - a.Count })
	return out
}

type protectionRow struct {
	Question string
	Tag      tag
	Count    int
	Detail   string
}

func protectionRows(r Report) (out []protectionRow) {
	add := func(question string, groups []ProtectionGroup) {
		for i, g := range groups {
			if i == maxGaps {
				out = append(out, protectionRow{question, tagOf(g.Status), 0, fmt.Sprintf("and %d more answers, with their canaries", len(groups)-i)})
				return
			}
			out = append(out, protectionRow{question, tagOf(g.Status), len(g.Canaries), g.Detail})
		}
	}
	add("sealed", r.Protection.Sealed)
	add("immutable", r.Protection.Immutable)
	return out
}

type storeRow struct{ Name, Where, Retention, Digested string }

func storeRows(r Report) (out []storeRow) {
	for _, s := range r.Facts.Stores {
		one := storeRow{Name: s.Name, Where: s.where(), Retention: "none is demanded", Digested: "no digest"}
		if s.Bucket != "" {
			one.Where = fmt.Sprintf("%s, s3://%s/%s in %s", s.Type, s.Bucket, s.Prefix, s.Region)
		}
		if s.signed() {
			one.Digested = lasts(float64(s.DigestedSeconds))
		}
		if s.Mode != "" {
			one.Retention = fmt.Sprintf("%s for %s", s.Mode, amount(s.Days, "day", "days"))
		}
		out = append(out, one)
	}
	return out
}

// scopeOf says what was looked at, and what was left out.
func scopeOf(r Report) (out [][2]string) {
	f := r.Facts
	var places []string
	for _, t := range f.Targets[:min(maxRows, len(f.Targets))] {
		places = append(places, t.Account+" ("+strings.Join(t.Regions, ", ")+")")
	}
	add := func(name, value string) { out = append(out, [2]string{name, cmp.Or(value, "none")}) }
	add("Accounts", fmt.Sprintf("%d: %s", len(f.Targets), strings.Join(places, "; ")))
	add("Runs", fmt.Sprint(len(r.Runs)))
	add("Scenarios", fmt.Sprint(len(f.Scenarios)))
	add("Left out by the configuration", strings.Join(f.Excluded, ", "))
	add("Configuration", "SHA-256 "+f.ConfigHash)
	add("Catalogue", "SHA-256 "+f.CatalogueHash)
	return out
}
