package run

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"path"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/auditcanary/auditcanary/shared/canary"
	"github.com/auditcanary/auditcanary/shared/ledger"
)

// AlertSource is one place where alerts arrive.
type AlertSource interface {
	// Listen returns what has arrived since a time and is still there. Nothing is
	// taken away by it. The error is for a place that could not be asked at all.
	Listen(ctx context.Context, since time.Time) (Arrived, error)
	// Settle says which alerts of the last Listen, by id, are in the ledger or are
	// nobody's of ours: a queue forgets them, and gives the others again. Places that
	// keep alerts themselves do nothing.
	Settle(ctx context.Context, ids []string) error
}

// Arrived is what a place where alerts arrive held.
type Arrived struct {
	// AsOf is the place's own clock at the beginning of a complete look: whatever had
	// arrived by then is in it. Zero if this look was not complete.
	AsOf   time.Time
	Alerts []canary.Rang
	// Problems are what could not be read, a sentence each that names it.
	Problems []string
}

// Alert is one name under which scenarios promise an alert, with where it arrives.
type Alert struct {
	Name   string
	Source AlertSource
	// Within is how long after the call it is in time; after Late it is missing.
	Within, Late time.Duration
	// AcceptWeak: one that names no event, but comes in time, is good enough.
	AcceptWeak bool
	// Scenarios are patterns over ids (path.Match) of those that promise it, whatever
	// came of them, beside those that name it.
	Scenarios []string
	// Never says why none of the rules that make it could ever do so of what a canary
	// does by this promise, a sentence each that names the rule; none: one could, or
	// nobody knows. It is asked once a canary. Optional.
	Never func(ctx context.Context, p Plan, promise canary.Promise) []string
}

// AlertOptions choose for whose alerts to listen, and how long.
type AlertOptions struct {
	// Run limits it to one run; "" means every canary that is not settled yet.
	Run string
	// Wait goes on until each alert rang or its time is over. Otherwise one look.
	Wait bool
}

// Bounds of what anybody can make us write down: a name of ours in an alert is
// anybody's to choose, and an alert that names nothing anybody's to cause.
const (
	maxRung     = 20  // alerts of one name for one request, event or session of ours; and of suppressed ones
	maxNameless = 200 // alerts of one name that name nothing, in the time somebody waits
	maxForged   = 200 // alerts of one name, a look, that have only our sessions
	maxRangID   = 600 // bytes of an alert's id, as JSON
	maxRangText = 400 // bytes, as JSON, of each thing that is said of an alert
	maxRangLeaf = 60_000
	maxNever    = 10
)

// Alerts listens for the alerts that canaries promise. What names a canary, or may be
// of one, goes into the ledger, and amends the verdict that stands; then only the place
// where it arrived is told. What is nobody's of ours is not written down: a place that
// waits to be told hears of it as soon as nobody waits for something that old.
func (r *Run) Alerts(ctx context.Context, opt AlertOptions) error {
	if len(r.AlertSources) == 0 {
		return nil
	}
	ears := &ears{r: r, never: map[string][]string{}, asOf: map[string]time.Time{}}
	lastID, state := opt.Run, NewState()
	for begun := r.Clock(); ; {
		if _, err := state.Follow(ctx, r.Log); err != nil {
			return err
		}
		if opt.Run != "" && state.Run(opt.Run) == nil {
			return fmt.Errorf("alerts: no run %q in the ledger", opt.Run)
		}
		lastID = cmp.Or(lastID, lastRun(state))
		if len(r.due(r.claims(state), opt.Run)) == 0 {
			break
		}
		looks, err := ears.listen(ctx, r.listenSince(state))
		if err != nil {
			return err
		}
		if err = ears.record(ctx, state, opt.Run, looks); err != nil {
			return err
		}
		due := r.due(r.claims(state), opt.Run)
		awaited := slices.DeleteFunc(slices.Clone(due), func(c *claimed) bool { return !c.answer().Open })
		r.progress("alerts", len(due)-len(awaited), len(due), "%s", alertSentence(due, awaited, looks))
		waited := r.Clock().Sub(begun)
		if len(awaited) == 0 || !opt.Wait || ctx.Err() != nil || waited > 2*r.latest() {
			break
		}
		if err := r.Sleep(ctx, pause(waited, r.Poll)); err != nil {
			break
		}
	}
	return errors.Join(ears.untold, r.noteOwn(ctx, lastID))
}

// latest is the longest that any alert may take.
func (r *Run) latest() (d time.Duration) {
	for _, a := range r.AlertSources {
		d = max(d, a.Late)
	}
	return d
}

func alertSentence(due, awaited []*claimed, looks []look) string {
	for _, l := range looks {
		if l.unasked != "" {
			return fmt.Sprintf("alert %s: could not be asked: %s", l.alert.Name, l.unasked)
		}
	}
	if len(awaited) > 0 {
		return awaited[0].answer().Detail
	}
	rang := 0
	for _, c := range due {
		if a := c.answer(); a.Status == canary.Pass || a.Status == canary.Late {
			rang++
		}
	}
	return fmt.Sprintf("of %d canaries that promise an alert, it rang for %d", len(due), rang)
}

// claimed is one canary that has been judged and promises alerts.
type claimed struct {
	cs       *CanaryState
	promises []promised
}

// promised is one alert that a canary promises.
type promised struct {
	canary.Claim
	alert *Alert // nil: nobody said where it arrives
}

func (c *claimed) answer() canary.Answer {
	v, _ := c.cs.Verdict()
	return v.Checks[canary.Alerted]
}

// of is what the verdict says of one promise, if it does.
func (c *claimed) of(p canary.Promise) (canary.AlertAnswer, bool) {
	for _, a := range c.answer().Alerts {
		if a.Promise == p {
			return a, true
		}
	}
	return canary.AlertAnswer{}, false
}

// unsettled are the promises that listening may still settle.
func (c *claimed) unsettled() []promised {
	return slices.DeleteFunc(slices.Clone(c.promises), func(p promised) bool {
		a, said := c.of(p.Promise)
		return said && a.Settled() || p.alert == nil && a.Kind == canary.AlertNowhere
	})
}

// first call that should set one of them off.
func first(of []promised) time.Time {
	return slices.MinFunc(of, func(a, b promised) int { return a.Calls[0].At.Compare(b.Calls[0].At) }).Calls[0].At
}

// claims are the canaries that have been judged, not too long ago to matter, and
// promise an alert for what came of them.
func (r *Run) claims(s *State) (out []*claimed) {
	for _, cs := range s.Canaries {
		v, judged := cs.Verdict()
		if !judged || r.Clock().Sub(cs.At) > givenUp {
			continue
		}
		c := &claimed{cs: cs}
		for _, p := range Promises(cs.Plan.Scenario, cs.Evidence, r.AlertSources) {
			calls := canary.Setoffs(cs.Plan.Scenario, cs.Evidence, v, p)
			if len(calls) == 0 {
				continue
			}
			one := promised{Claim: canary.Claim{Canary: cs.Plan.Canary.ID, Promise: p, Calls: calls}}
			if i := slices.IndexFunc(r.AlertSources, func(a Alert) bool { return a.Name == p.Alert }); i >= 0 {
				a := &r.AlertSources[i]
				one.alert, one.Demanded = a, canary.Heeding{Within: a.Within, Late: a.Late, Clock: r.SLO.Clock, AcceptWeak: a.AcceptWeak}
			}
			c.promises = append(c.promises, one)
		}
		if len(c.promises) > 0 {
			out = append(out, c)
		}
	}
	return out
}

// Promises of a canary: its scenario's, those that it was listened for, and those that
// the configuration makes for it.
func Promises(s canary.Scenario, ev canary.Evidence, configured []Alert) []canary.Promise {
	out := canary.Promises(s, ev)
	for _, a := range configured {
		if !slices.ContainsFunc(a.Scenarios, func(pattern string) bool { ok, _ := path.Match(pattern, s.ID); return ok }) {
			continue
		}
		for _, on := range []canary.PromisedOn{canary.OnAllowed, canary.OnDenied} {
			if !slices.ContainsFunc(out, func(p canary.Promise) bool { return p.Alert == a.Name && p.On == on }) {
				out = append(out, canary.Promise{Alert: a.Name, On: on})
			}
		}
	}
	return out
}

// due are the claims to listen for: those that are not settled, and those young enough
// for an alert that comes late, or once more, to amend them.
func (r *Run) due(all []*claimed, runID string) (out []*claimed) {
	for _, c := range all {
		if runID != "" && c.cs.Run.ID != runID {
			continue
		}
		if r.Clock().Sub(c.cs.At) < r.SLO.Amend || len(c.unsettled()) > 0 {
			out = append(out, c)
		}
	}
	return out
}

// waits is since when an alert may still matter to a canary; zero: to none. What rang
// before may be forgotten by the place where it arrived.
func (r *Run) waits(s *State) (since time.Time) {
	earlier := func(t time.Time) {
		if t = t.Add(-r.SLO.Clock); since.IsZero() || t.Before(since) {
			since = t
		}
	}
	for _, c := range r.claims(s) {
		if open := c.unsettled(); len(open) > 0 {
			earlier(first(open))
		}
	}
	for _, rs := range s.Runs {
		age := r.Clock().Sub(rs.At)
		if !rs.Injected && age < lease {
			earlier(rs.At) // somebody may be doing it right now
			continue
		}
		for _, cs := range rs.Canaries {
			// By its event id nobody knows it before its record is found.
			v, judged := cs.Verdict()
			if late := judged && unfound(v) && r.Clock().Sub(cs.At) < r.SLO.Amend; len(cs.Evidence.Intents) > 0 && (late || !judged && age < givenUp) {
				earlier(cs.At)
			}
		}
	}
	return since
}

// listenSince is since when to ask for alerts.
func (r *Run) listenSince(s *State) time.Time {
	since := r.waits(s)
	for _, c := range r.due(r.claims(s), "") {
		if t := first(c.promises).Add(-r.SLO.Clock); since.IsZero() || t.Before(since) {
			since = t
		}
	}
	return since
}

// ears is one Alerts under way.
type ears struct {
	r     *Run
	never map[string][]string  // by canary and promise
	asOf  map[string]time.Time // by alert: of the last complete look
	// untold is why a place could not be told what it may forget.
	untold error
}

// look is what one place gave.
type look struct {
	alert    Alert
	arrived  Arrived
	listened time.Time
	unasked  string
}

// listen asks each place once, several at a time.
func (e *ears) listen(ctx context.Context, since time.Time) ([]look, error) {
	looks := make([]look, len(e.r.AlertSources))
	err := e.r.each(ctx, len(looks), func(ctx context.Context, i int) error {
		a := e.r.AlertSources[i]
		arrived, err := a.Source.Listen(ctx, since)
		l := look{alert: a, arrived: arrived, listened: e.r.Clock().UTC()}
		switch {
		case err != nil:
			l.unasked, l.arrived.AsOf = short(err.Error()), time.Time{}
		case arrived.AsOf.IsZero():
			l.unasked = "it could not be looked at in full"
			if len(arrived.Problems) > 0 {
				l.unasked += ": " + short(arrived.Problems[0])
			}
		}
		looks[i] = l
		return nil
	})
	for i, l := range looks {
		if l.alert.Name == "" { // we were stopped before
			looks[i] = look{alert: e.r.AlertSources[i], unasked: "stopped before it was asked", listened: e.r.Clock().UTC()}
		}
		if l.arrived.AsOf.After(e.asOf[l.alert.Name]) {
			e.asOf[l.alert.Name] = l.arrived.AsOf.UTC()
		}
	}
	return looks, err
}

// record writes down what rang, then what it makes of the verdicts that stand by then,
// and then tells the places. It appends at the very size of the ledger that it has
// read: what rang is written once, whoever else listens. The state follows the ledger.
func (e *ears) record(ctx context.Context, state *State, runID string, looks []look) error {
	for before := -1; ; {
		cp, err := state.Follow(context.WithoutCancel(ctx), e.r.Log)
		if err != nil {
			return err
		}
		if before < 0 {
			before = len(state.Alerts)
		}
		sorted := e.sort(state, looks, before)
		entries := sorted.entries
		if len(entries) == 0 {
			entries = e.heard(ctx, state, runID, sorted)
		}
		if len(entries) == 0 {
			e.settle(ctx, sorted)
			return nil
		}
		leaves, err := e.r.encode(entries)
		if err != nil {
			return err
		}
		// What is left over is found again, with what somebody else appended meanwhile.
		if err := e.r.appendAt(ctx, cp.Size, atOnce(leaves)); err != nil && !errors.Is(err, ledger.ErrMoved) {
			return err
		}
	}
}

// sorting is what is to become of what arrived.
type sorting struct {
	entries []Entry
	// By alert: its look, the ids that its place may forget, and what is not known of what arrived.
	looks   map[string]look
	settled map[string][]string
	unread  map[string]string
	more    map[string][]canary.Rang // those that name more than is read of them, arrived or in the ledger
	rang    []canary.Rang            // all that is in the ledger
	named   func(canary.Rang) canary.Named
}

// sort says what of what arrived is to be written down, and what is nobody's. Of the
// alerts in the ledger, those after the first so many (before) were written in this look.
func (e *ears) sort(s *State, looks []look, before int) sorting {
	out := sorting{looks: map[string]look{}, settled: map[string][]string{}, unread: map[string]string{}, more: map[string][]canary.Rang{}, rang: s.Alerts, named: s.names()}
	waits := e.r.waits(s)
	var windows []promised
	for _, c := range e.r.claims(s) {
		windows = append(windows, c.promises...)
	}
	for _, l := range looks {
		out.looks[l.alert.Name] = l
		mine := slices.DeleteFunc(slices.Clone(windows), func(p promised) bool { return p.Promise.Alert != l.alert.Name || p.alert == nil })
		k := &keeper{alert: l.alert.Name, waits: waits, windows: mine, named: out.named, of: map[kept]int{}, have: map[string]bool{}}
		for i, old := range s.Alerts {
			if old.Alert == k.alert {
				k.note(old, i >= before)
				out.noteMore(k.alert, old)
			}
		}
		for _, p := range l.arrived.Problems {
			k.problem(p)
		}
		for _, rang := range l.arrived.Alerts {
			out.noteMore(k.alert, rang)
			entry, settled := k.take(rang, s)
			if entry != nil {
				out.entries = append(out.entries, *entry)
			}
			if settled {
				out.settled[k.alert] = append(out.settled[k.alert], rang.ID)
			}
		}
		if k.unread != "" {
			out.unread[k.alert] = k.unread
		}
	}
	return out
}

func (s sorting) noteMore(alert string, r canary.Rang) {
	if r.More {
		s.more[alert] = append(s.more[alert], r)
	}
}

// mayName says which alert may name a promise's event in what is not read of it; "": none.
func (s sorting) mayName(p promised) string {
	for _, r := range s.more[p.Promise.Alert] {
		if r.At.IsZero() || p.Window(r.At) {
			return short("alert " + r.ID + " names more than is read of it")
		}
	}
	return ""
}

// names tells which canaries an alert names.
func (s *State) names() func(canary.Rang) canary.Named {
	requests, events := map[string]string{}, map[string]string{}
	for _, cs := range s.Canaries {
		id := cs.Plan.Canary.ID
		for _, rec := range cs.Evidence.Receipts {
			for _, request := range rec.RequestIDs {
				requests[request] = id
			}
		}
		for _, in := range cs.Evidence.Inspections {
			for _, reading := range in.Readings {
				for _, request := range reading.RequestIDs {
					requests[request] = id
				}
			}
		}
		for _, si := range cs.Sighted {
			events[si.EventUID] = id
		}
		if v, judged := cs.Verdict(); judged {
			for _, rec := range v.Records {
				events[rec.EventUID] = id
				for _, c := range rec.Copies {
					events[c] = id
				}
			}
		}
	}
	delete(events, "")
	return func(r canary.Rang) (n canary.Named) {
		add := func(name, id string) {
			if id == "" {
				return
			}
			if !slices.Contains(n.Names, name) {
				n.Names = append(n.Names, name)
			}
			if !slices.Contains(n.Canaries, id) {
				n.Canaries = append(n.Canaries, id)
			}
		}
		for _, id := range r.RequestIDs {
			add(id, requests[id])
		}
		for _, id := range r.EventIDs {
			add(id, events[id])
		}
		if n.ByID = len(n.Canaries) > 0 || slices.ContainsFunc(r.RequestIDs, s.Ours); n.ByID {
			return n // a call of ours that is no canary's has its session in it all the same
		}
		for _, session := range r.Sessions {
			if id := strings.TrimPrefix(session, canary.Marker+"-"); s.byCanary[id] != nil {
				add(session, id)
			}
		}
		return n
	}
}

// keeper decides of what arrived under one name, and counts what was kept before.
type keeper struct {
	alert    string
	waits    time.Time
	windows  []promised
	named    func(canary.Rang) canary.Named
	have     map[string]bool // what is in the ledger
	of       map[kept]int
	nameless int
	forged   int
	unread   string
}

// kept is what is kept of: what names one request, event or session of ours.
type kept struct {
	name       string
	suppressed bool
}

// full reports whether of everything that an alert names so many are kept that one more
// proves nothing. That others came does not keep one out that names something else.
func (k *keeper) full(r canary.Rang, n canary.Named) bool {
	return !slices.ContainsFunc(n.Names, func(name string) bool { return k.of[kept{name, r.Suppressed != ""}] < maxRung })
}

func rangKey(r canary.Rang) string {
	return fmt.Sprintf("%s\x00%s\x00%d\x00%v", r.ID, r.At.UTC().Format(time.RFC3339Nano), r.Count, r.Suppressed != "")
}

// note counts what is kept; now: in this look.
func (k *keeper) note(r canary.Rang, now bool) {
	k.have[rangKey(r)] = true
	n := k.named(r)
	for _, name := range n.Names {
		k.of[kept{name, r.Suppressed != ""}]++
	}
	if now && !n.ByID && len(n.Canaries) > 0 {
		k.forged++
	}
	if len(n.Canaries) == 0 && !r.At.Before(k.waits) {
		k.nameless++
	}
}

func (k *keeper) problem(text string) { k.unread = cmp.Or(k.unread, short(text)) }

// take says what to write down of one alert, and whether the place may forget it.
func (k *keeper) take(r canary.Rang, s *State) (*Entry, bool) {
	r.Alert = k.alert
	r.Suppressed, r.Weak, r.Rule = short(r.Suppressed), short(r.Weak), short(r.Rule)
	r.Payload = r.Payload[:min(len(r.Payload), canary.MaxPayload)]
	if jsonSize(r.ID) > maxRangID || r.ID == "" {
		k.problem(fmt.Sprintf("an alert has an id of %d bytes (1 to about %d are taken)", len(r.ID), maxRangID))
		return nil, k.old(r)
	}
	if jsonSize(r) > maxRangLeaf {
		k.problem(fmt.Sprintf("alert %s names more than is written down", r.ID))
		return nil, k.old(r)
	}
	if k.have[rangKey(r)] {
		return nil, true
	}
	n := k.named(r)
	switch {
	case n.ByID && len(n.Canaries) > 0:
		if k.full(r, n) {
			return nil, true // it rang, and that it did so more often proves nothing
		}
	case len(n.Canaries) > 0:
		if k.forged >= maxForged || k.full(r, n) {
			k.problem(fmt.Sprintf("more alerts came that have a canary's session and no event of it than are written down (%d a session, %d a look)", maxRung, maxForged))
			return nil, true
		}
	case len(r.RequestIDs)+len(r.EventIDs)+len(r.Sessions) > 0 || !k.awaited(r.At):
		return nil, k.old(r)
	case k.nameless >= maxNameless:
		k.problem(fmt.Sprintf("more alerts came that name nothing than are written down (%d)", maxNameless))
		return nil, true
	}
	k.note(r, true)
	entry := &Entry{Type: "rang", Run: lastRun(s), Rang: &r}
	if len(n.Canaries) > 0 {
		entry.Canary = n.Canaries[0]
		entry.Run = s.byCanary[entry.Canary].Run.ID
	}
	return entry, true
}

// old reports whether nobody waits any more for what rang then.
func (k *keeper) old(r canary.Rang) bool {
	return k.waits.IsZero() || !r.At.IsZero() && r.At.Before(k.waits)
}

// short is a text that is short even as JSON, in which a character may take six bytes.
func short(text string) string {
	text = strings.ToValidUTF8(text, "\uFFFD")
	for jsonSize(text) > maxRangText {
		text = strings.ToValidUTF8(text[:len(text)*3/4], "")
	}
	return text
}

func jsonSize(v any) int {
	text, _ := json.Marshal(v) // these are texts, times and numbers
	return len(text)
}

// awaited reports whether something that names nothing may be of somebody who promises it.
func (k *keeper) awaited(at time.Time) bool {
	return slices.ContainsFunc(k.windows, func(p promised) bool { return p.Window(at) })
}

// settle tells each place what it may forget, if anything; the rest it gives again, to
// whoever listens next. One that cannot be told gives all again, and then it is known.
func (e *ears) settle(ctx context.Context, sorted sorting) {
	e.untold = nil
	for _, a := range e.r.AlertSources {
		ids := sorted.settled[a.Name]
		if err := a.Source.Settle(ctx, ids); err != nil {
			e.untold = errors.Join(e.untold, fmt.Errorf("alert %s: tell its place that %d alerts are written down: %w", a.Name, len(ids), err))
		}
	}
}

// heard are the hearings that say something new, with the verdicts that they change.
func (e *ears) heard(ctx context.Context, s *State, runID string, sorted sorting) []Entry {
	all := e.r.claims(s)
	var flat []canary.Claim
	for _, c := range all {
		for _, p := range c.promises {
			if p.alert != nil {
				flat = append(flat, p.Claim)
			}
		}
	}
	gave := map[string][]canary.Heard{}
	for i, heard := range canary.Hear(flat, sorted.rang, sorted.named) {
		gave[claimKey(flat[i].Canary, flat[i].Promise)] = heard
	}
	var out []Entry
	for _, c := range e.r.due(all, runID) {
		out = append(out, e.hear(ctx, c, gave, sorted)...)
	}
	return out
}

func claimKey(id string, p canary.Promise) string {
	return strings.Join([]string{id, p.Alert, string(p.On), p.Step}, "\x00")
}

// hear is what is new of one canary's alerts.
func (e *ears) hear(ctx context.Context, c *claimed, gave map[string][]canary.Heard, sorted sorting) (entries []Entry) {
	run, id := c.cs.Run.ID, c.cs.Plan.Canary.ID
	last, _ := c.cs.Verdict()
	ev := c.cs.Evidence
	ev.Hearings = slices.Clone(ev.Hearings)
	var news []canary.Hearing
	told := false // something is new, whatever it makes of the verdict
	for _, p := range c.promises {
		before, listened := ev.Hearing(p.Promise)
		said, _ := c.of(p.Promise)
		h := e.hearing(ctx, c, p, before, listened, sorted)
		h.Heard = gave[claimKey(id, p.Promise)]
		same := listened && reflect.DeepEqual(before.Heard, h.Heard)
		if same && (said.Settled() && said.Kind != "" || p.alert == nil && before.Demanded == nil) {
			continue // nothing has come to it
		}
		told = told || !same || !reflect.DeepEqual(before.Demanded, h.Demanded) || !slices.Equal(before.Never, h.Never) || before.Unread != h.Unread
		news = append(news, h)
	}
	ev.Hearings = append(ev.Hearings, news...)
	v := last
	v.Checks = maps.Clone(last.Checks)
	canary.Alert(&v, c.cs.Plan.Scenario, ev)
	amended := !sameAnswers(last, v)
	if !told && !amended {
		return nil
	}
	for i := range news {
		entries = append(entries, Entry{Type: "heard", Run: run, Canary: id, Heard: &news[i]})
	}
	if amended {
		entries = append(entries, Entry{Type: "verdict", Run: run, Canary: id, Verdict: &v})
	}
	return entries
}

// hearing is how one promise was listened for this time, but for what was heard.
func (e *ears) hearing(ctx context.Context, c *claimed, p promised, before canary.Hearing, listened bool, sorted sorting) canary.Hearing {
	h := canary.Hearing{Promise: p.Promise, Listened: e.r.Clock().UTC()}
	if p.alert == nil {
		return h
	}
	said, _ := c.of(p.Promise)
	l := sorted.looks[p.alert.Name]
	demanded := p.Demanded
	h.Demanded, h.Listened, h.AsOf, h.Unasked, h.Unread = &demanded, l.listened, e.asOf[p.alert.Name], l.unasked, before.Unread
	if before.Unasked != "" && h.Unasked != "" {
		h.Unasked = before.Unasked // in whatever other words
	}
	if listened && said.Settled() && said.Kind != "" && before.Demanded != nil {
		h.Demanded, h.Never = before.Demanded, before.Never // it is judged by what was demanded then
		return h
	}
	h.Unread = cmp.Or(h.Unread, sorted.unread[p.alert.Name], sorted.mayName(p))
	if late := e.r.Clock().After(p.Calls[len(p.Calls)-1].At.Add(p.alert.Late)); (!listened || before.Demanded == nil) && late && c.cs.Run.Begun.ConfigHash != e.r.ConfigHash {
		h.Unread = cmp.Or(h.Unread, "nobody listened in its time, and the configuration was another then: whether alerts arrived there already is not known")
	}
	if p.alert.Never != nil {
		key := claimKey(p.Canary, p.Promise)
		if _, asked := e.never[key]; !asked {
			e.never[key] = nil
			reasons := p.alert.Never(ctx, c.cs.Plan, p.Promise)
			for _, why := range reasons[:min(len(reasons), maxNever)] {
				e.never[key] = append(e.never[key], short(why))
			}
		}
		h.Never = e.never[key]
	}
	return h
}
