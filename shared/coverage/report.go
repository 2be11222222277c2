package coverage

import (
	"cmp"
	"maps"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/auditcanary/auditcanary/shared/canary"
)

// Status of one operation in one account and region; the first that applies, in
// the order of Statuses.
type Status string

const (
	// Failed: the latest finished verdict of a canary that made this call here is
	// fail or late. Where several scenarios make it, the worst of them speaks.
	Failed Status = "failed"
	// Inconclusive: tested, and it could not be found out.
	Inconclusive Status = "inconclusive"
	// Proven: the latest finished verdict of every canary that made this call here
	// passed all required checks, one of them recently enough. Undo calls are not
	// judged and prove nothing.
	Proven Status = "proven"
	// Stale: proven, but longer ago than the maximal age.
	Stale Status = "stale"
	// NotLoggable: no record of it could be proven to be ours, for a stated reason.
	NotLoggable Status = "not-loggable"
	// Excepted: somebody approved, until a day, that it is not tested, or that the
	// latest verdict of a canary that made this call is not a pass.
	Excepted Status = "excepted"
	// ByCategory: another operation of its category was proven here, and none of
	// them failed: a sample, no proof of this operation.
	ByCategory Status = "covered-by-category"
	// NeverTested: nothing is known.
	NeverTested Status = "never-tested"
)

// Statuses lists them in the order in which they apply.
func Statuses() []Status {
	return []Status{Failed, Inconclusive, Proven, Stale, NotLoggable, Excepted, ByCategory, NeverTested}
}

// DefaultMaxAge is how long a proof counts unless something else is asked for:
// five runs of the slowest cadence, weekly, so that one missed run is no gap and a
// month without any is.
const DefaultMaxAge = 35 * 24 * time.Hour

// Category is a class of privileged activity.
type Category struct{ ID, Title string }

// Test is the latest word on one call that a canary made (never of an undo).
type Test struct {
	Operation string `json:"operation"`
	// Account and Region are where the call was sent.
	Account string `json:"-"`
	Region  string `json:"-"`
	// Scenario, with its category and kind, that made it.
	Scenario string      `json:"scenario"`
	Category string      `json:"category"`
	Kind     canary.Kind `json:"kind"`
	Run      string      `json:"run"`
	Canary   string      `json:"canary"`
	// At is when the canary was planned, by our clock.
	At time.Time `json:"at"`
	// Status is the worst of the canary's required checks, of a finished verdict.
	Status canary.Status `json:"verdict"`
	// Accepted says by which exceptions, where Status is excepted.
	Accepted string `json:"accepted,omitempty"`
}

// asked reports whether the call was refused or only asked for, not done.
func (t Test) asked() bool { return t.Kind == canary.MustBeDenied || t.Kind == canary.DryRun }

// Exception is somebody's approval that an operation is not tested.
type Exception struct {
	ID        string `json:"id"`
	Operation string `json:"operation"`
	// Account and Region; "" = every.
	Account string    `json:"account,omitempty"`
	Region  string    `json:"region,omitempty"`
	Owner   string    `json:"owner"`
	Expires time.Time `json:"expires"`
}

func (e Exception) covers(op string, p place, now time.Time) bool {
	return e.Operation == op && (e.Account == "" || e.Account == p.account) &&
		(e.Region == "" || e.Region == p.region) && now.Before(e.Expires)
}

// Input is everything a report is computed from.
type Input struct {
	Operations  []Operation
	NotProvable []Unprovable
	Categories  []Category
	// Scenarios are the catalogue as it is selected now.
	Scenarios []canary.Scenario
	// Targets are the accounts and regions that are to be covered.
	Targets []canary.Target
	// Home is the region in which operations are recorded that exist once per account.
	Home       string
	Tests      []Test
	Exceptions []Exception
	Decisions  []Decision
	// MaxAge is how long a proof counts.
	MaxAge time.Duration
	Now    time.Time
	// Ledger the tests were read from; nil: it has not begun.
	Ledger *Ledger
}

// Ledger is the head of the ledger that a report was computed from.
type Ledger struct {
	Origin string `json:"origin"`
	Size   int64  `json:"size"`
	Root   string `json:"root"` // base64
}

// Report says for each privileged operation, account and region what is known.
type Report struct {
	At            time.Time `json:"at"`
	MaxAgeSeconds int64     `json:"max_age_seconds"`
	// Ledger the verdicts stand in; null: it has not begun.
	Ledger *Ledger `json:"ledger"`
	// Operations, Accounts and Regions span the grid.
	Operations int `json:"operations"`
	Accounts   int `json:"accounts"`
	Regions    int `json:"regions"`
	Total      Row `json:"total"`
	// ByAccount, ByRegion and ByCategory divide the same cells. What is recorded
	// once per account counts in the home region.
	ByAccount  []Row      `json:"by_account"`
	ByRegion   []Row      `json:"by_region"`
	ByCategory []Row      `json:"by_category"`
	Adequacy   []Adequacy `json:"adequacy"`
	// Gaps are the operations that are not proven everywhere, worst first.
	Gaps []Gap `json:"gaps"`
	// Beyond are operations of scenarios that no rule set of the universe names.
	Beyond []Beyond `json:"beyond_the_universe"`
	// Elsewhere counts tests in accounts or regions that are no target (any more).
	Elsewhere int `json:"tests_elsewhere"`
	// Cells are the grid: every operation in every place, each once.
	Cells []Cell `json:"cells"`
}

// Cell is one operation in one account and region.
type Cell struct {
	Operation string `json:"operation"`
	Category  string `json:"category"`
	RuleSets  int    `json:"rule_sets"`
	Account   string `json:"account"`
	Region    string `json:"region"`
	Status    Status `json:"status"`
	// Reason in a sentence; empty only where the operation is proven.
	Reason string `json:"reason,omitempty"`
	// Test that decided it: of this operation, or, where it is covered by category,
	// of another.
	Test *Test `json:"test,omitempty"`
}

// Row counts cells.
type Row struct {
	ID    string `json:"id"`
	Title string `json:"title,omitempty"`
	Cells int    `json:"cells"`
	// Statuses counts cells by status; all statuses are there.
	Statuses map[Status]int `json:"statuses"`
	// AskedOnly is how many of the proven ones were proven only by attempts that
	// were refused or dry runs: their success may still be recorded differently.
	AskedOnly int `json:"proven_without_success"`
	// Percent is proven / (all - not-loggable), rounded down to a tenth; null
	// where nothing is provable. Samples (covered-by-category) are not in it.
	Percent *float64 `json:"proven_percent"`
}

// Gap is an operation that is not proven everywhere.
type Gap struct {
	Operation string `json:"operation"`
	Category  string `json:"category"`
	RuleSets  int    `json:"rule_sets"`
	// Statuses counts its cells that are not proven, by status.
	Statuses map[Status]int `json:"statuses"`
	// Scenarios of the catalogue that would test it.
	Scenarios []string `json:"scenarios"`
	// UndoneBy are scenarios that call it only to undo, which is not judged.
	UndoneBy []string `json:"undone_by"`
}

// Beyond is an operation that a scenario calls and the universe does not list.
type Beyond struct {
	Operation string   `json:"operation"`
	Scenarios []string `json:"scenarios"`
	// Statuses counts the places where it was tested.
	Statuses map[Status]int `json:"statuses"`
}

type place struct{ account, region string }

type at struct {
	op string
	place
}

// Measure computes the report.
func Measure(in Input) Report {
	m := newMeasure(in)
	r := Report{
		At: in.Now.UTC(), MaxAgeSeconds: int64(in.MaxAge / time.Second), Ledger: in.Ledger,
		Operations: len(in.Operations), Accounts: len(m.accounts), Regions: len(m.regions),
		Adequacy: Decide(in.Decisions, in.Operations, in.Now),
		Gaps:     []Gap{}, Beyond: m.beyond(), Elsewhere: m.elsewhere,
		Cells: m.cells(),
	}
	r.Total = count(r.Cells, []Category{{ID: "total"}}, func(Cell) string { return "total" })[0]
	r.ByAccount = count(r.Cells, untitled(m.accounts), func(c Cell) string { return c.Account })
	r.ByRegion = count(r.Cells, untitled(m.regions), func(c Cell) string { return c.Region })
	r.ByCategory = count(r.Cells, in.Categories, func(c Cell) string { return c.Category })
	r.Gaps = m.gaps(r.Cells)
	return r
}

func untitled(ids []string) (out []Category) {
	for _, id := range ids {
		out = append(out, Category{ID: id})
	}
	return out
}

// measure holds the input, indexed.
type measure struct {
	in                Input
	accounts, regions []string // in the targets' order; regions with the home region
	places            []place
	homes             []place // each account's home region
	isPlace           map[place]bool
	global            map[string]bool           // operations of the universe; false: regional
	tests             map[at]map[string]Test    // by place, the latest of each scenario
	samples           map[place]map[string]Test // by place, the best proof of each category
	spoilt            map[place]map[string]Test // by place and category, what did not hold
	unprovable        map[string]Unprovable
	calls, undos      map[string][]string // operation -> scenarios
	catalogue         map[string]bool
	elsewhere         int
}

func newMeasure(in Input) *measure {
	m := &measure{
		in: in, isPlace: map[place]bool{}, global: map[string]bool{},
		tests: map[at]map[string]Test{}, unprovable: map[string]Unprovable{},
		calls: map[string][]string{}, undos: map[string][]string{}, catalogue: map[string]bool{},
	}
	for _, t := range in.Targets {
		p := place{t.Account, t.Region}
		if m.isPlace[p] {
			continue
		}
		m.isPlace[p] = true
		m.places = append(m.places, p)
		m.accounts, m.regions = with(m.accounts, t.Account), with(m.regions, t.Region)
	}
	for _, a := range m.accounts {
		m.homes = append(m.homes, place{a, in.Home})
	}
	for _, op := range in.Operations {
		m.global[op.ID] = op.Global
		if op.Global && len(m.accounts) > 0 {
			m.regions = with(m.regions, in.Home)
		}
	}
	for _, u := range in.NotProvable {
		m.unprovable[u.ID] = u
	}
	for _, s := range in.Scenarios {
		m.catalogue[s.ID] = true
		for _, step := range s.Steps {
			m.calls[step.Call] = with(m.calls[step.Call], s.ID)
			if step.Undo != nil {
				m.undos[step.Undo.Call] = with(m.undos[step.Undo.Call], s.ID)
			}
		}
	}
	m.index()
	return m
}

// with appends what is not there yet.
func with(list []string, s string) []string {
	if slices.Contains(list, s) {
		return list
	}
	return append(list, s)
}

// index keeps the latest test of each scenario in each cell, and the samples.
func (m *measure) index() {
	for _, t := range m.in.Tests {
		p := place{t.Account, t.Region}
		if !m.counts(t.Operation, p) {
			m.elsewhere++
			continue
		}
		k := at{t.Operation, p}
		if m.tests[k] == nil {
			m.tests[k] = map[string]Test{}
		}
		if old, ok := m.tests[k][t.Scenario]; !ok || m.later(t, old) {
			m.tests[k][t.Scenario] = t
		}
	}
	m.samples, m.spoilt = map[place]map[string]Test{}, map[place]map[string]Test{}
	for k, byScenario := range m.tests {
		for _, t := range byScenario {
			switch m.weigh(t) {
			case Proven:
				keep(m.samples, k.place, t)
			case Failed, Inconclusive, Excepted: // what is accepted does not hold either
				keep(m.spoilt, k.place, t)
			}
		}
	}
}

// keep keeps the best test of each category.
func keep(tests map[place]map[string]Test, p place, t Test) {
	if tests[p] == nil {
		tests[p] = map[string]Test{}
	}
	if old, ok := tests[p][t.Category]; !ok || better(t, old) {
		tests[p][t.Category] = t
	}
}

// later reports whether a replaces b as the latest test of a scenario; of two at
// the same time the worse one speaks.
func (m *measure) later(a, b Test) bool {
	by := cmp.Or(a.At.Compare(b.At), cmp.Compare(rank(m.weigh(b)), rank(m.weigh(a))))
	return by > 0 || by == 0 && better(a, b)
}

// counts reports whether an operation is to be covered in a place.
func (m *measure) counts(op string, p place) bool {
	global, known := m.global[op]
	atHome := p.region == m.in.Home && slices.Contains(m.accounts, p.account)
	if !known {
		return atHome || m.isPlace[p]
	}
	return global && atHome || !global && m.isPlace[p]
}

// better orders proofs, whatever order a map gives them in: a deed tells more
// than a refusal, a later proof more than an earlier one.
func better(a, b Test) bool {
	if a.asked() != b.asked() {
		return b.asked()
	}
	return cmp.Or(b.At.Compare(a.At), strings.Compare(a.Scenario, b.Scenario), strings.Compare(a.Canary, b.Canary), strings.Compare(a.Operation, b.Operation)) < 0
}

// weigh says what one test is worth now.
func (m *measure) weigh(t Test) Status {
	old := m.in.Now.Sub(t.At) > m.in.MaxAge
	switch {
	case old && !m.catalogue[t.Scenario]:
		return Stale // nobody will ever test it that way again
	case t.Status == canary.Fail || t.Status == canary.Late:
		return Failed
	case t.Status == canary.Excepted:
		return Excepted
	case t.Status != canary.Pass:
		return Inconclusive
	case old:
		return Stale
	}
	return Proven
}

// tested is the status that tests give an operation in a place, if any did.
func (m *measure) tested(op string, p place) (Status, *Test) {
	var status Status
	var by *Test
	for _, t := range m.tests[at{op, p}] {
		s := m.weigh(t)
		if by == nil || rank(s) < rank(status) || s == status && better(t, *by) {
			status, by = s, &t
		}
	}
	return status, by
}

// rank orders what several scenarios say of one cell: whatever does not hold
// hides behind no proof by another.
func rank(s Status) int {
	return slices.Index([]Status{Failed, Inconclusive, Excepted, Proven, Stale}, s)
}

// cells are the whole grid.
func (m *measure) cells() []Cell {
	cells := make([]Cell, 0, len(m.in.Operations)*len(m.places))
	for _, op := range m.in.Operations {
		untested := m.untested(op.ID)
		for _, p := range m.placesOf(op) {
			cells = append(cells, m.cell(op, p, untested))
		}
	}
	return cells
}

// untested says why an operation may never have been tested.
func (m *measure) untested(op string) string {
	if s := m.calls[op]; len(s) > 0 {
		return s[0] + " would test it, and has no finished verdict here"
	}
	if s := m.undos[op]; len(s) > 0 {
		return s[0] + " calls it to undo, and undo calls are not judged"
	}
	return "no scenario of the catalogue calls it"
}

func (m *measure) placesOf(op Operation) []place {
	if op.Global {
		return m.homes
	}
	return m.places
}

func (m *measure) cell(op Operation, p place, untested string) Cell {
	c := Cell{Operation: op.ID, Category: op.Category, RuleSets: op.RuleSets, Account: p.account, Region: p.region}
	if c.Status, c.Test = m.tested(op.ID, p); c.Test != nil {
		c.Reason = because(c.Status, *c.Test)
		return c
	}
	if u, ok := m.unprovable[op.ID]; ok {
		c.Status, c.Reason = NotLoggable, u.Reason+" ("+u.Origin+")"
		return c
	}
	for _, e := range m.in.Exceptions {
		if e.covers(op.ID, p, m.in.Now) {
			c.Status, c.Reason = Excepted, "exception "+e.ID+" of "+e.Owner+" until "+day(e.Expires)
			return c
		}
	}
	bad, spoilt := m.spoilt[p][op.Category]
	if t, ok := m.samples[p][op.Category]; ok && !spoilt {
		c.Status, c.Test = ByCategory, &t
		c.Reason = "a sample: " + t.Operation + " was proven here by " + t.Scenario + ", this operation was not"
		return c
	}
	c.Status, c.Reason = NeverTested, untested
	if spoilt {
		c.Reason += "; of its category, " + bad.Scenario + " is " + string(bad.Status) + " here, so that nothing counts as a sample"
	}
	return c
}

func because(s Status, t Test) string {
	switch {
	case s == Proven && t.asked():
		return "proven by an attempt that was not carried out (" + string(t.Kind) + ")"
	case s == Proven:
		return ""
	case s == Excepted && t.Accepted != "":
		return "the latest verdict of " + t.Scenario + " is excepted: " + t.Accepted
	case s == Stale:
		return t.Scenario + " last tested it on " + day(t.At)
	}
	return "the latest verdict of " + t.Scenario + " is " + string(t.Status)
}

func day(t time.Time) string { return t.UTC().Format(time.DateOnly) }

// count makes one row of each class, of the cells that belong to it.
func count(cells []Cell, classes []Category, of func(Cell) string) []Row {
	rows, index := make([]Row, len(classes)), map[string]int{}
	for i, c := range classes {
		index[c.ID] = i
		rows[i] = Row{ID: c.ID, Title: c.Title, Statuses: map[Status]int{}}
		for _, s := range Statuses() {
			rows[i].Statuses[s] = 0
		}
	}
	for _, c := range cells {
		i, ok := index[of(c)]
		if !ok {
			continue
		}
		rows[i].Cells++
		rows[i].Statuses[c.Status]++
		if c.Status == Proven && c.Test.asked() {
			rows[i].AskedOnly++
		}
	}
	for i, r := range rows {
		if provable := r.Provable(); provable > 0 {
			// Rounded down: 100 is said only where everything is proven.
			p := math.Floor(float64(r.Statuses[Proven])*1000/float64(provable)) / 10
			rows[i].Percent = &p
		}
	}
	return rows
}

// Provable is how many cells could be proven.
func (r Row) Provable() int { return r.Cells - r.Statuses[NotLoggable] }

// gaps lists the operations that are not proven everywhere: what is untested
// first, then what was tested and does not hold, then what only a sample covers;
// within these the operation first that most rule sets name.
func (m *measure) gaps(cells []Cell) []Gap {
	byOp := map[string]*Gap{}
	for _, c := range cells {
		if c.Status == Proven || c.Status == NotLoggable || c.Status == Excepted {
			continue
		}
		g := byOp[c.Operation]
		if g == nil {
			g = &Gap{
				Operation: c.Operation, Category: c.Category, RuleSets: c.RuleSets, Statuses: map[Status]int{},
				Scenarios: orNone(m.calls[c.Operation]), UndoneBy: orNone(m.undos[c.Operation]),
			}
			byOp[c.Operation] = g
		}
		g.Statuses[c.Status]++
	}
	gaps := []Gap{}
	for _, op := range slices.Sorted(maps.Keys(byOp)) {
		gaps = append(gaps, *byOp[op])
	}
	slices.SortStableFunc(gaps, func(a, b Gap) int {
		return cmp.Or(cmp.Compare(a.urgency(), b.urgency()), cmp.Compare(b.RuleSets, a.RuleSets))
	})
	return gaps
}

func (g Gap) urgency() int {
	for i, s := range []Status{NeverTested, Stale, Failed, Inconclusive} {
		if g.Statuses[s] > 0 {
			return i
		}
	}
	return len(Statuses())
}

func orNone(s []string) []string {
	if s == nil {
		return []string{}
	}
	return s
}

// beyond lists what scenarios call, or did call, outside the universe.
func (m *measure) beyond() []Beyond {
	by := map[string]*Beyond{}
	note := func(op string, scenarios ...string) *Beyond {
		if by[op] == nil {
			by[op] = &Beyond{Operation: op, Scenarios: []string{}, Statuses: map[Status]int{}}
		}
		for _, s := range scenarios {
			by[op].Scenarios = with(by[op].Scenarios, s)
		}
		return by[op]
	}
	for op, scenarios := range m.calls {
		if _, known := m.global[op]; !known {
			note(op, scenarios...)
		}
	}
	for k, tests := range m.tests {
		if _, known := m.global[k.op]; !known {
			s, _ := m.tested(k.op, k.place)
			note(k.op, slices.Collect(maps.Keys(tests))...).Statuses[s]++
		}
	}
	out := []Beyond{}
	for _, op := range slices.Sorted(maps.Keys(by)) {
		slices.Sort(by[op].Scenarios)
		out = append(out, *by[op])
	}
	return out
}
