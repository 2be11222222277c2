package report

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/auditcanary/auditcanary/scenarios"
	"github.com/auditcanary/auditcanary/shared/canary"
	"github.com/auditcanary/auditcanary/shared/coverage"
	"github.com/auditcanary/auditcanary/shared/event"
	"github.com/auditcanary/auditcanary/shared/exception"
	"github.com/auditcanary/auditcanary/shared/ledger"
	"github.com/auditcanary/auditcanary/shared/run"
	"github.com/auditcanary/auditcanary/shared/trail"
)

// Input is everything a report is made from.
type Input struct {
	State *run.State
	// Checkpoint the state was folded from; nil: the ledger has not begun.
	Checkpoint *ledger.Checkpoint
	// Coverage measured over the same state and period.
	Coverage coverage.Report
	Facts    Facts
	// Controls of the mapping, in its order.
	Controls []scenarios.Control
	// Desk: tickets are made of what fails, as it is configured.
	Desk bool
	// SLO by which verdicts are given.
	SLO     canary.SLO
	Period  Period
	Version string
	Now     time.Time
	// Listens: the configuration says where some alerts arrive.
	Listens bool
}

// New folds the input into a report. It does no I/O and reads no clock.
func New(in Input) Report {
	b := &builder{in: in, titles: map[string]string{}, asOf: in.Period.AsOf(in.Now)}
	b.register = in.State.RegisterAt(b.asOf)
	for _, c := range in.Facts.Categories {
		b.titles[c.ID] = c.Title
	}
	r := Report{
		V: 1, At: in.Now.UTC(), Version: in.Version, Period: in.Period, Facts: in.Facts.complete(),
		Runs: []Run{}, Canaries: []Canary{}, Findings: []Finding{}, Leftovers: []Leftover{},
		Alerts: []Alert{}, Exceptions: []Exception{}, Reviews: []Review{}, Tickets: []Ticket{},
		Absent: absent(in.Listens),
	}
	r.Exceptions = b.exceptions()
	if len(r.Exceptions) > 0 || in.State.Register != nil {
		delete(r.Absent, "exceptions")
	}
	if cp := in.Checkpoint; cp != nil {
		r.Ledger = &run.Checkpoint{Origin: cp.Origin, Size: cp.Size, Root: cp.Root.String(), Signed: string(cp.Signed)}
	}
	for _, rs := range in.State.Runs {
		b.addRun(&r, rs)
	}
	for _, c := range r.Canaries {
		r.Alerts = append(r.Alerts, alertsOf(c, in.Listens)...)
	}
	if len(r.Alerts) > 0 {
		delete(r.Absent, "alerts")
	}
	markLatest(r.Canaries)
	r.Controls = b.controls(r.Canaries)
	r.Tally = tally(r)
	r.HeatMap = b.heatMap(r.Canaries)
	r.Coverage = briefly(in.Coverage)
	r.Losses = losses(r.Canaries)
	r.Latency = b.latency(r.Canaries)
	r.Protection = Protection{Sealed: protection(r.Canaries, canary.Sealed), Immutable: protection(r.Canaries, canary.Immutable), Chains: b.chains()}
	r.Trend = b.trend(r)
	if r.Tickets = b.tickets(); len(r.Tickets) > 0 || in.Desk {
		delete(r.Absent, "tickets")
	}
	return r
}

// absent says what this version holds nothing of.
func absent(listens bool) map[string]string {
	out := map[string]string{
		"alerts":     "not present: the configuration does not say where any alert arrives, so that the check alerted is not run",
		"exceptions": "not present: the ledger has no register of exceptions, and nothing is excepted",
		"reviews":    "not present: this version keeps no log reviews",
		"tickets":    "not present: no tickets are configured, and none is in the ledger",
	}
	if listens {
		delete(out, "alerts")
	}
	return out
}

// alertsOf are the alerts that a canary promises. Where nobody ever listens, those that
// nobody listened for are none.
func alertsOf(c Canary, listens bool) (out []Alert) {
	for _, k := range c.Checks {
		for _, a := range k.Alerts {
			if a.Status == canary.NotRun && !listens {
				continue
			}
			out = append(out, Alert{
				Canary: c.ID, Run: c.Run, Scenario: c.Scenario, Account: c.Account, Region: c.Region, Name: a.Alert, On: a.On,
				Status: a.Status, Kind: a.Kind, Rang: a.Rang, LatencySeconds: a.LatencySeconds, Weak: a.Weak, Detail: a.Detail,
			})
		}
	}
	return out
}

// complete replaces lists that are nil by empty ones, so that JSON has no null for them.
func (f Facts) complete() Facts {
	f.Targets, f.Categories, f.Scenarios, f.Stores = some(f.Targets), some(f.Categories), some(f.Scenarios), some(f.Stores)
	f.Roles, f.Adequacy, f.Excluded, f.OutOfScope, f.NotProvable, f.Meanings, f.Sources, f.AlertPath = some(f.Roles), some(f.Adequacy), some(f.Excluded), some(f.OutOfScope), some(f.NotProvable), some(f.Meanings), some(f.Sources), some(f.AlertPath)
	for i := range f.Targets {
		f.Targets[i].Regions, f.Targets[i].Egress = some(f.Targets[i].Regions), some(f.Targets[i].Egress)
	}
	for i := range f.Scenarios {
		f.Scenarios[i].Controls, f.Scenarios[i].Calls = some(f.Scenarios[i].Controls), some(f.Scenarios[i].Calls)
	}
	return f
}

func some[T any](list []T) []T {
	if list == nil {
		return []T{}
	}
	return list
}

type builder struct {
	in     Input
	titles map[string]string // of categories
	// register of exceptions as it was in the ledger at the time asOf.
	register exception.Register
	asOf     time.Time
}

// AsOf is the time that a report of the period speaks for: now, or its last moment.
func (p Period) AsOf(now time.Time) time.Time {
	if end := p.To.Add(-1); !p.To.IsZero() && end.Before(now) {
		return end
	}
	return now
}

// Contains reports whether a time is within the period.
func (p Period) Contains(t time.Time) bool {
	return (p.From.IsZero() || !t.Before(p.From)) && (p.To.IsZero() || t.Before(p.To))
}

// addRun adds a run with what of it is in the period; a run that has nothing in
// it is left out.
func (b *builder) addRun(r *Report, rs *run.RunState) {
	p := b.in.Period
	if p.Run != "" && p.Run != rs.ID {
		return
	}
	one := Run{
		ID: rs.ID, At: rs.At.UTC(), Version: rs.Begun.Version, ConfigHash: rs.Begun.ConfigHash, CatalogueHash: rs.Begun.CatalogueHash,
		Canaries: rs.Begun.Canaries, Done: rs.Injected, Statuses: map[canary.Status]int{},
	}
	inside := p.Contains(rs.At)
	for _, cs := range rs.Canaries {
		if !p.Contains(cs.At) {
			continue
		}
		inside = true
		c := b.canary(cs)
		one.Statuses[c.Status]++
		r.Canaries = append(r.Canaries, c)
		r.Leftovers = append(r.Leftovers, leftovers(c)...)
	}
	if !inside {
		return
	}
	for _, f := range rs.Forged {
		one.Forged++
		r.Findings = append(r.Findings, finding(rs.ID, f))
	}
	r.Runs = append(r.Runs, one)
}

func (b *builder) canary(cs *run.CanaryState) Canary {
	id, s := cs.Plan.Canary, cs.Plan.Scenario
	v, judged := cs.Verdict()
	if !judged {
		// Nobody has looked yet: judge what is known, with nothing seen.
		v = canary.Judge(s, id, cs.Evidence, canary.Seen{}, b.in.SLO)
	}
	v = b.register.Overlay(id, cs.At, v, b.asOf)
	c := Canary{
		ID: id.ID, Run: id.Run, Scenario: id.Scenario, ScenarioHash: id.ScenarioHash, Title: s.Title,
		Category: s.Category, CategoryTitle: cmp.Or(b.titles[s.Category], s.Category), Kind: s.Kind, Controls: some(s.Controls),
		Provider: id.Target.Provider, Account: id.Target.Account, Region: id.Target.Region,
		At: cs.At.UTC(), Status: v.Overall(), Open: v.Open(), Judged: judged,
		Checks: []Check{}, Steps: []Step{}, History: []Verdict{}, Owed: []string{},
		NotRun: cs.Evidence.NotRun, Blocked: cs.Evidence.Blocked, Cleanup: cs.Evidence.Cleanup,
	}
	for _, check := range canary.Checks() {
		a, ok := v.Checks[check]
		if !ok {
			a = canary.Answer{Status: canary.NotRun, Detail: "the verdict does not speak of it"}
		}
		a.Detail = acceptedAs(a)
		c.Checks = append(c.Checks, Check{Check: check, Required: slices.Contains(canary.Required(), check), Answer: a})
	}
	for _, ps := range cs.Plan.Steps {
		c.Steps = append(c.Steps, b.step(cs, ps, v))
	}
	for _, o := range cs.Evidence.ToUndo() {
		c.Owed = append(c.Owed, o.Step+": "+o.Call.Operation)
	}
	for _, old := range cs.Verdicts {
		h := Verdict{AsOf: old.AsOf, Status: old.Overall(), Checks: map[canary.Check]canary.Status{}}
		for check, a := range old.Checks {
			h.Checks[check] = a.Status
		}
		c.History = append(c.History, h)
	}
	return c
}

func (b *builder) step(cs *run.CanaryState, ps run.PlannedStep, v canary.Verdict) Step {
	st := Step{ID: ps.Step, Operation: ps.Call.Operation, Region: ps.Call.Region, NoUndo: ps.NoUndo, Undo: []canary.Receipt{}, Records: []Record{}}
	for _, rec := range cs.Evidence.Receipts {
		switch {
		case rec.Step != ps.Step:
		case rec.Phase == canary.PhaseUndo:
			st.Undo = append(st.Undo, rec)
		default:
			st.Receipt = &rec
		}
	}
	for _, si := range cs.Sighted {
		if si.Step == ps.Step {
			st.Records = append(st.Records, b.record(cs, st.Receipt, si))
		}
	}
	// The record that the verdict speaks of stands first.
	slices.SortStableFunc(st.Records, func(x, y Record) int {
		return cmp.Or(counts(v, ps.Step, y)-counts(v, ps.Step, x), x.Stored.Compare(y.Stored))
	})
	return st
}

func counts(v canary.Verdict, step string, r Record) int {
	if slices.ContainsFunc(v.Records, func(s canary.StepRecord) bool { return s.Step == step && s.At == r.At }) {
		return 1
	}
	return 0
}

func (b *builder) record(cs *run.CanaryState, receipt *canary.Receipt, si run.Sighted) Record {
	rec := Record{EventID: si.EventUID, RequestID: si.RequestID, At: si.At, Stored: si.Stored.UTC(), Fields: []Field{}}
	rec.Raw, rec.RawBytes = rawOf(si.Raw)
	for _, c := range cs.Evidence.Custody {
		if c.Step == si.Step && c.At == si.At {
			rec.Custody = &c
		}
	}
	if len(si.Raw) == 0 {
		rec.Unreadable = fmt.Sprintf("larger than %d bytes: it is kept by its location and hash only", run.MaxRaw)
		return rec
	}
	e, err := event.Read(si.Raw)
	if err != nil {
		rec.Unreadable = err.Error()
		return rec
	}
	if e.Cloud.Account == "" && e.Metadata.LogName == event.Kubernetes {
		// No audit event says which cluster it is of; where it stood, the store said.
		e.Cloud.Account, e.Cloud.Region = cs.Plan.Canary.Target.Account, cs.Plan.Canary.Target.Region
	}
	rec.Event = &e
	if receipt != nil {
		rec.Fields = fieldsOf(*receipt, e, b.in.SLO)
	}
	return rec
}

// rawOf keeps text as text, and what is no text as bytes.
func rawOf(raw []byte) (string, []byte) {
	if utf8.Valid(raw) {
		return string(raw), nil
	}
	return "", raw
}

// fieldsOf holds a record against the receipt, as the judge does, and shows what
// agrees as well.
func fieldsOf(r canary.Receipt, got event.Event, slo canary.SLO) []Field {
	if am := got.Metadata.Amends; am != nil && am.OriginalRequestUID != "" {
		got.API.RequestUID = am.OriginalRequestUID
	}
	differs := map[string]event.Difference{}
	for _, d := range event.Compare(r.Want, got, event.Tolerance{Before: slo.Clock + r.Ended.Sub(r.Started), After: slo.Clock}) {
		differs[d.Field] = d
	}
	want, found := flat(r.Want), flat(got)
	fields := []Field{}
	add := func(name, expected, is string) {
		f := Field{Name: name, Expected: expected, Found: is, State: Same}
		if d, ok := differs[name]; ok {
			f = Field{Name: name, Expected: d.Expected, Found: d.Found, State: Differs, Rule: d.Rule}
			if d.Rule != "" {
				f.State = Explained
			}
			delete(differs, name)
		} else if expected == "" {
			f.State = NotCompared
		}
		fields = append(fields, f)
	}
	for _, name := range event.AttributionFields() {
		switch name {
		case "api.request":
			if _, whole := differs[name]; whole {
				add(name, "", "")
				continue
			}
			for _, leaf := range slices.Sorted(maps.Keys(want.request)) {
				add(leaf, want.request[leaf], want.request[leaf])
			}
			for _, leaf := range slices.Sorted(maps.Keys(differs)) {
				if len(leaf) > len(name) && leaf[:len(name)] == name {
					add(leaf, "", "") // a list with more elements than were sent
				}
			}
		case "api.error":
			// No error states success, which is compared too.
			add(name, cmp.Or(want.fields[name], "(none: success)"), cmp.Or(found.fields[name], "(none: success)"))
		case "src_endpoint.ip":
			add(name, want.fields[name], cmp.Or(found.fields[name], found.fields["src_endpoint.domain"]))
		default:
			add(name, want.fields[name], found.fields[name])
		}
	}
	return fields
}

// leaves are an event's fields by dotted name, request parameters apart.
type leaves struct{ fields, request map[string]string }

func flat(e event.Event) leaves {
	l := leaves{map[string]string{}, map[string]string{}}
	l.add(l.request, "api.request", map[string]any(e.API.Request))
	e.API.Request, e.API.Response = nil, nil
	text, err := json.Marshal(e)
	if err != nil {
		return l // an event of these fields always encodes
	}
	var tree any
	dec := json.NewDecoder(bytes.NewReader(text))
	dec.UseNumber()
	if dec.Decode(&tree) == nil {
		l.add(l.fields, "", tree)
	}
	return l
}

func (l leaves) add(to map[string]string, name string, v any) {
	switch x := v.(type) {
	case map[string]any:
		for k, child := range x {
			sub := k
			if name != "" {
				sub = name + "." + k
			}
			l.add(to, sub, child)
		}
	case []any:
		for i, child := range x {
			l.add(to, name+"["+strconv.Itoa(i)+"]", child)
		}
	case string:
		to[name] = cut(x)
	default:
		text, err := json.Marshal(x)
		if err != nil {
			text = []byte(fmt.Sprint(x))
		}
		to[name] = cut(string(text))
	}
}

// maxShown bounds what a field quotes, as event.Difference does; the record
// itself is beside it, uncut.
const maxShown = 1024

func cut(s string) string {
	if len(s) <= maxShown {
		return s
	}
	end := maxShown - len("…")
	for end > 0 && !utf8.RuneStart(s[end]) {
		end--
	}
	return s[:end] + "…"
}

func finding(runID string, f run.Sighted) Finding {
	out := Finding{Kind: "forged-marker", Run: runID, EventID: f.EventUID, RequestID: f.RequestID, Actor: f.Actor, Operation: f.Operation, At: f.At, Stored: f.Stored.UTC()}
	out.Raw, out.RawBytes = rawOf(f.Raw)
	return out
}

func leftovers(c Canary) (out []Leftover) {
	l := Leftover{Canary: c.ID, Run: c.Run, Account: c.Account, Region: c.Region, Listed: c.Cleanup.Listed}
	for _, what := range c.Cleanup.Left {
		l.What = what
		out = append(out, l)
	}
	if c.Cleanup.Err != "" {
		l.What, l.Err = "", c.Cleanup.Err
		out = append(out, l)
	}
	return out
}

// question is what a canary asks: the same scenario at the same target is the same question.
type question struct{ scenario, account, region string }

func (c Canary) question() question { return question{c.Scenario, c.Account, c.Region} }

// markLatest marks the last canary of each question. One that could not be run,
// or whose record is still awaited, is no later answer where there is one.
func markLatest(canaries []Canary) {
	last := map[question]int{}
	for i, c := range canaries {
		j, known := last[c.question()]
		if !known || answered(c) || !answered(canaries[j]) {
			last[c.question()] = i
		}
	}
	for _, i := range last {
		canaries[i].Latest = true
	}
}

func answered(c Canary) bool { return c.Status != canary.NotRun }

// answer of a check.
func (c Canary) answer(check canary.Check) canary.Answer {
	for _, k := range c.Checks {
		if k.Check == check {
			return k.Answer
		}
	}
	return canary.Answer{Status: canary.NotRun}
}

// Latest returns the canaries that speak for the end of the period: the last of
// each scenario and target.
func (r Report) Latest() []Canary {
	var out []Canary
	for _, c := range r.Canaries {
		if c.Latest {
			out = append(out, c)
		}
	}
	return out
}

// controls weighs each control by the answers to the checks that support it.
func (b *builder) controls(canaries []Canary) []Control {
	out, stale := []Control{}, b.stale(canaries)
	for _, c := range b.in.Controls {
		one := Control{
			ID: c.ID, Framework: c.Framework, Clause: c.Clause, Title: c.Title, Confirmed: c.Confirmed, Source: c.Source, Limits: c.Limits,
			Statuses: map[canary.Status]int{}, Checks: []ControlCheck{}, Scenarios: []string{},
		}
		all, old := map[canary.Status]int{}, []string{}
		for _, k := range c.Checks {
			one.Checks = append(one.Checks, ControlCheck{Check: k.Check, Canaries: k.Canaries, Fields: some(k.Fields), Shows: k.Shows, DoesNotShow: k.DoesNotShow, Statuses: map[canary.Status]int{}})
		}
		for _, cn := range canaries {
			if !cn.Latest {
				continue
			}
			if !cn.speaks(one) {
				continue
			}
			passed := false
			for i, k := range one.Checks {
				if cn.counts(one, k) {
					status := counting(cn.answer(k.Check), k.Fields)
					one.Checks[i].Statuses[status]++
					all[status]++
					passed = passed || status == canary.Pass
				}
			}
			if why := stale[cn.ID]; passed && why != "" {
				old = append(old, why)
			}
			one.Canaries++
			one.Statuses[cn.Status]++
			if !slices.Contains(one.Scenarios, cn.Scenario) {
				one.Scenarios = append(one.Scenarios, cn.Scenario)
			}
		}
		slices.Sort(one.Scenarios)
		one.Outcome = outcome(all)
		if len(old) > 0 && (one.Outcome == Proven || one.Outcome == Partly) {
			one.Outcome = Partly
			one.Limits = strings.TrimPrefix(one.Limits+"; "+outOfDate(old), "; ")
		}
		out = append(out, one)
	}
	return out
}

// stale says of the latest canaries, by ID, why their passes prove nothing for now:
// they are older than a proof counts, or what was asked again since was not done.
func (b *builder) stale(canaries []Canary) map[string]string {
	now, maxAge := b.in.Now, coverage.DefaultMaxAge
	if c := b.in.Coverage; !c.At.IsZero() { // measured: by its clock, which ends with the period
		now, maxAge = c.At, time.Duration(c.MaxAgeSeconds)*time.Second
	}
	latest, since := map[question]Canary{}, map[question][]Canary{}
	for _, c := range canaries {
		if q := c.question(); c.Latest {
			latest[q] = c
		} else if _, known := latest[q]; known && !answered(c) && !c.Open {
			since[q] = append(since[q], c)
		}
	}
	why := map[string]string{}
	for q, c := range latest {
		where := fmt.Sprintf("%s at %s/%s of %s", c.Scenario, c.Account, c.Region, c.At.Format(time.DateOnly))
		switch later := since[q]; {
		case len(later) > 0:
			last := later[len(later)-1]
			why[c.ID] = fmt.Sprintf("%s was not run when it was asked again, last on %s", where, last.At.Format(time.DateOnly))
			if last.NotRun != "" {
				why[c.ID] += " (" + cut(last.NotRun) + ")"
			}
		case now.Sub(c.At) > maxAge:
			why[c.ID] = fmt.Sprintf("%s is older than the %.4g days for which a proof counts", where, maxAge.Hours()/24)
		}
	}
	return why
}

// maxStale is how many proofs that are out of date a control names.
const maxStale = 3

// outOfDate says which proofs of a control are.
func outOfDate(why []string) string {
	more := ""
	if n := len(why) - maxStale; n > 0 {
		more = fmt.Sprintf("; and %d more", n)
	}
	return "out of date: " + strings.Join(why[:min(len(why), maxStale)], "; ") + more
}

// counting is an answer's status as far as only some fields count: what differs in
// others only is a pass for these. An answer that names no fields counts as it is.
func counting(a canary.Answer, fields []string) canary.Status {
	if a.Status != canary.Fail || len(fields) == 0 || len(a.Fields) == 0 {
		return a.Status
	}
	for _, d := range a.Fields {
		if slices.ContainsFunc(fields, func(f string) bool { return d.Field == f || strings.HasPrefix(d.Field, f+".") }) {
			return a.Status
		}
	}
	return canary.Pass
}

// outcome of a control from all answers to its checks. One that is not there is
// never taken for a pass.
func outcome(n map[canary.Status]int) Outcome {
	switch {
	case n[canary.Fail]+n[canary.Late] > 0:
		return Failed
	case n[canary.Inconclusive] > 0:
		return Inconclusive
	case n[canary.Pass] == 0:
		return NotTested
	case n[canary.NotRun]+n[canary.Excepted] > 0:
		return Partly
	}
	return Proven
}

func tally(r Report) Tally {
	t := Tally{Controls: map[Outcome]int{}, Checks: map[canary.Check]map[canary.Status]int{}, Findings: len(r.Findings), Canaries: len(r.Canaries)}
	for _, check := range canary.Checks() {
		t.Checks[check] = map[canary.Status]int{}
	}
	for _, c := range r.Canaries {
		switch c.Status {
		case canary.Pass:
			t.Proven++
		case canary.Fail:
			t.Failed++
		case canary.Late:
			t.Late++
		case canary.Inconclusive:
			t.Inconclusive++
		case canary.Excepted:
			t.Excepted++
		default:
			t.NotRun++
		}
		if c.Open {
			t.Open++
		}
		for _, k := range c.Checks {
			t.Checks[k.Check][k.Status]++
		}
	}
	for _, o := range Outcomes() {
		t.Controls[o] = 0
	}
	for _, c := range r.Controls {
		t.Controls[c.Outcome]++
	}
	return t
}

// heatMap sums the coverage report's cells up.
func (b *builder) heatMap(canaries []Canary) HeatMap {
	h := HeatMap{Accounts: b.accounts(nil), Categories: some(b.in.Facts.Categories), Cells: []HeatCell{}}
	type key struct{ account, category string }
	cells := map[key]*HeatCell{}
	for _, a := range h.Accounts {
		for _, c := range h.Categories {
			h.Cells = append(h.Cells, HeatCell{Account: a, Category: c.ID, Statuses: map[coverage.Status]int{}, Canaries: map[canary.Status]int{}})
		}
	}
	for i := range h.Cells {
		c := &h.Cells[i]
		cells[key{c.Account, c.Category}] = c
	}
	for _, c := range b.in.Coverage.Cells {
		if cell := cells[key{c.Account, c.Category}]; cell != nil {
			cell.Cells++
			cell.Statuses[c.Status]++
		}
	}
	for _, c := range canaries {
		if cell := cells[key{c.Account, c.Category}]; cell != nil && c.Latest {
			cell.Canaries[c.Status]++
		}
	}
	for i := range h.Cells {
		h.Cells[i].State = heat(h.Cells[i])
	}
	return h
}

// heat is one word for a cell. What failed speaks for it first, then what could
// not be found out, be it of an operation of the universe or of one beyond it.
func heat(c HeatCell) HeatState {
	n := c.Statuses
	switch provable := c.Cells - n[coverage.NotLoggable]; {
	case n[coverage.Failed] > 0 || c.Canaries[canary.Fail]+c.Canaries[canary.Late] > 0:
		return HeatFailed
	case n[coverage.Inconclusive] > 0 || c.Canaries[canary.Inconclusive] > 0:
		return HeatInconclusive
	case c.Cells == 0:
		return HeatEmpty
	case provable == 0:
		return HeatNotLoggable
	case n[coverage.Proven] == provable:
		return HeatProven
	case n[coverage.Proven] > 0:
		return HeatPartly
	case n[coverage.Stale] > 0:
		return HeatStale
	case n[coverage.ByCategory] > 0:
		return HeatSampled
	case n[coverage.NeverTested] == 0 && n[coverage.Excepted] > 0:
		return HeatExcepted
	}
	return HeatNeverTested
}

// accounts are the configured ones, in their order, then those of canaries that
// are configured no more.
func (b *builder) accounts(canaries []Canary) []string {
	out := []string{}
	for _, t := range b.in.Facts.Targets {
		if !slices.Contains(out, t.Account) {
			out = append(out, t.Account)
		}
	}
	var more []string
	for _, c := range canaries {
		if !slices.Contains(out, c.Account) && !slices.Contains(more, c.Account) {
			more = append(more, c.Account)
		}
	}
	slices.Sort(more)
	return append(out, more...)
}

func briefly(r coverage.Report) Coverage {
	return Coverage{
		MaxAgeSeconds: r.MaxAgeSeconds, Operations: r.Operations, Accounts: r.Accounts, Regions: r.Regions, Total: r.Total,
		ByAccount: some(r.ByAccount), ByRegion: some(r.ByRegion), ByCategory: some(r.ByCategory),
		Gaps: some(r.Gaps), Beyond: some(r.Beyond), Elsewhere: r.Elsewhere,
	}
}

// losses count what did not pass by where it was lost.
func losses(canaries []Canary) []Loss {
	out := []Loss{}
	for _, hop := range []canary.Hop{canary.Emitted, canary.Delivered, canary.Stored, canary.Parsed, canary.Announced, ""} {
		l := Loss{Hop: hop, Canaries: []string{}}
		for _, c := range canaries {
			for _, k := range c.Checks {
				bad := k.Status == canary.Fail || k.Status == canary.Late || k.Status == canary.Inconclusive
				if !bad || k.Hop != hop || hop == "" && (k.Check == canary.Injected || k.Check == canary.Cleaned) {
					continue // what was not done was not lost on any hop
				}
				l.Checks++
				if n := len(l.Canaries); n == 0 || l.Canaries[n-1] != c.ID {
					l.Canaries = append(l.Canaries, c.ID)
				}
			}
		}
		if l.Checks > 0 {
			out = append(out, l)
		}
	}
	return out
}

func (b *builder) latency(canaries []Canary) []Hop {
	slo := func(d time.Duration) *float64 { s := d.Seconds(); return &s }
	call := Hop{Name: "call", Title: "from our sending the call to the service's answer"}
	delivery := Hop{Name: "delivery", Title: "from the call to its record standing in the log store", PassSeconds: slo(b.in.SLO.Pass), LateSeconds: slo(b.in.SLO.Late)}
	noticed := Hop{Name: "noticed", Title: "from the record's arrival to the first complete look at the store that had it"}
	digest := Hop{Name: "digest", Title: "from the record's arrival to the end of the time that the signed digest of its file covers"}
	alert := Hop{Name: "alert", Title: "from the call to the alert that it promises"}
	for _, c := range canaries {
		for _, a := range alertsOf(c, true) {
			if a.LatencySeconds != nil {
				alert.Samples = append(alert.Samples, Sample{c.ID, a.Name, *a.LatencySeconds})
			}
		}
		for _, st := range c.Steps {
			r := st.Receipt
			if r == nil {
				continue
			}
			call.add(c, st, r.Started, r.Ended)
			if len(st.Records) == 0 {
				continue
			}
			stored := st.Records[0].Stored
			delivery.add(c, st, r.Want.Time, stored)
			if k := st.Records[0].Custody; k != nil && k.Seal.Digest != "" {
				if key, err := trail.ParseDigestKey(k.Seal.Digest); err == nil {
					digest.add(c, st, stored, key.Stamp)
				}
			}
			for _, v := range c.History {
				if s := v.Checks[canary.Surfaced]; s == canary.Pass && !v.AsOf.Before(stored) {
					noticed.add(c, st, stored, v.AsOf)
					break
				}
			}
		}
	}
	hops := []Hop{call.figures(), delivery.figures(), noticed.figures()}
	for _, h := range []Hop{digest, alert} {
		if len(h.Samples) > 0 {
			hops = append(hops, h.figures())
		}
	}
	return hops
}

func (h *Hop) add(c Canary, st Step, from, to time.Time) {
	if !from.IsZero() && !to.IsZero() {
		h.Samples = append(h.Samples, Sample{c.ID, st.ID, to.Sub(from).Seconds()})
	}
}

// figures sorts the samples and takes the nearest-rank percentiles.
func (h Hop) figures() Hop {
	h.Samples = some(h.Samples)
	slices.SortStableFunc(h.Samples, func(a, b Sample) int { return cmp.Compare(a.Seconds, b.Seconds) })
	if n := len(h.Samples); n > 0 {
		h.P50, h.P95, h.Max = h.Samples[(n*50+99)/100-1].Seconds, h.Samples[(n*95+99)/100-1].Seconds, h.Samples[n-1].Seconds
	}
	return h
}

// protection groups the latest canaries by their answer to one check, the worst first.
func protection(canaries []Canary, check canary.Check) []ProtectionGroup {
	type said struct {
		status canary.Status
		detail string
	}
	out, at := []ProtectionGroup{}, map[said]int{}
	for _, c := range canaries {
		if !c.Latest {
			continue
		}
		a := c.answer(check)
		i, known := at[said{a.Status, a.Detail}]
		if !known {
			i = len(out)
			at[said{a.Status, a.Detail}] = i
			out = append(out, ProtectionGroup{Status: a.Status, Detail: a.Detail})
		}
		out[i].Canaries = append(out[i].Canaries, c.ID)
	}
	order := []canary.Status{canary.Fail, canary.Inconclusive, canary.Late, canary.NotRun, canary.Excepted, canary.Pass}
	slices.SortStableFunc(out, func(a, b ProtectionGroup) int {
		return cmp.Or(slices.Index(order, a.Status)-slices.Index(order, b.Status), len(b.Canaries)-len(a.Canaries))
	})
	return out
}

// trend has every account in every run, tested or not.
func (b *builder) trend(r Report) []Trend {
	accounts := b.accounts(r.Canaries)
	out := []Trend{}
	at := map[string]map[string]*TrendAccount{}
	for _, one := range r.Runs {
		t := Trend{Run: one.ID, At: one.At, Statuses: one.Statuses, Accounts: make([]TrendAccount, len(accounts))}
		at[one.ID] = map[string]*TrendAccount{}
		for i, a := range accounts {
			t.Accounts[i] = TrendAccount{Account: a, Statuses: map[canary.Status]int{}}
			at[one.ID][a] = &t.Accounts[i]
		}
		out = append(out, t)
	}
	for _, c := range r.Canaries {
		a := at[c.Run][c.Account]
		a.Canaries++
		a.Statuses[c.Status]++
		if c.Status == canary.Pass {
			a.Proven++
		}
		// What could not be done there was not tested.
		a.Tested = a.Tested || c.Open || c.Status != canary.NotRun
	}
	return out
}
