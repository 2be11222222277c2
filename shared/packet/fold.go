package packet

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/auditcanary/auditcanary/shared/canary"
	"github.com/auditcanary/auditcanary/shared/event"
	"github.com/auditcanary/auditcanary/shared/exception"
	"github.com/auditcanary/auditcanary/shared/inert"
	"github.com/auditcanary/auditcanary/shared/run"
	"github.com/auditcanary/auditcanary/shared/trail"
)

// entry is a journal entry (run.Entry), as much of it as a packet needs.
type entry struct {
	V      int       `json:"v"`
	Type   string    `json:"type"`
	At     time.Time `json:"at"`
	Run    string    `json:"run"`
	Canary string    `json:"canary"`

	Begun   *run.Begun   `json:"begun,omitempty"`
	Planned *planned     `json:"planned,omitempty"`
	Blocked *run.Blocked `json:"blocked,omitempty"`
	Receipt *struct {
		Step       string       `json:"step"`
		Phase      canary.Phase `json:"phase"`
		RequestIDs []string     `json:"request_ids"`
	} `json:"receipt,omitempty"`
	Sighted   *run.Sighted     `json:"sighted,omitempty"`
	Forged    *struct{}        `json:"forged,omitempty"`
	Verdict   *canary.Verdict  `json:"verdict,omitempty"`
	Listed    *listed          `json:"listed,omitempty"`
	Kept      *run.Kept        `json:"kept,omitempty"`
	Validated *run.Validated   `json:"validated,omitempty"`
	Blob      *run.Blob        `json:"blob,omitempty"`
	PublicKey *trail.PublicKey `json:"public_key,omitempty"`

	Register *exception.Register `json:"register,omitempty"`
	// Of an alert that rang, and of what was heard, as much as a verdict may rest on.
	Rang *struct {
		Alert      string    `json:"alert"`
		ID         string    `json:"id"`
		At         time.Time `json:"at"`
		Suppressed string    `json:"suppressed"`
		RequestIDs []string  `json:"request_ids"`
		EventIDs   []string  `json:"event_ids"`
	} `json:"rang,omitempty"`
	Heard *struct {
		Alert string         `json:"alert"`
		Heard []canary.Heard `json:"heard"`
	} `json:"heard,omitempty"`
}

type planned struct {
	Canary   canary.Canary `json:"canary"`
	Scenario struct {
		ID       string      `json:"id"`
		Title    string      `json:"title"`
		Category string      `json:"category"`
		Controls []string    `json:"controls"`
		Kind     canary.Kind `json:"kind"`
		Hash     string      `json:"hash"`
	} `json:"scenario"`
	NotRun string `json:"not_run"`
}

type listed struct {
	Target canary.Target `json:"target"`
}

// errNewEntry is an entry that a newer program wrote.
var errNewEntry = errors.New("use a newer program")

func readEntry(leaf []byte) (entry, error) {
	var e entry
	if err := json.Unmarshal(leaf, &e); err != nil {
		var head struct{ V int }
		if json.Unmarshal(leaf, &head) == nil && head.V > 1 {
			return e, fmt.Errorf("entry of version %d: %w", head.V, errNewEntry)
		}
		return e, fmt.Errorf("not a journal entry: %w", err)
	}
	if e.V != 1 {
		return e, fmt.Errorf("entry of version %d: %w", e.V, errNewEntry)
	}
	if !slices.Contains(entryTypes, e.Type) {
		return e, fmt.Errorf("entry of type %.40q: %w", e.Type, errNewEntry)
	}
	return e, nil
}

// entryTypes are those that run.Entry has a field for, and the one without.
var entryTypes = func() []string {
	types := []string{"sweeping"}
	for f := range reflect.TypeFor[run.Entry]().Fields() {
		if f.Type.Kind() == reflect.Pointer {
			name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
			types = append(types, name)
		}
	}
	return types
}()

// Population says what was in scope, what became of it, and what nobody looked at.
type Population struct {
	Runs      []RunLine      `json:"runs"`
	Scenarios []ScenarioLine `json:"scenarios"`
	Places    []PlaceLine    `json:"places"`
	// Chains of digests that were validated.
	Chains []ChainLine `json:"chains"`
	// Gaps are canaries that prove nothing, by reason, with how many there are.
	Gaps []Gap `json:"gaps"`
	// Forged counts records that imitate a canary.
	Forged int `json:"forged"`
	// Carried are canaries of earlier packets that something is said of here.
	Carried int `json:"carried"`
	// Entries of the slice, by type.
	Entries map[string]int `json:"entries"`
	// Exceptions in the ledger; null: no register of them is in the packet.
	Exceptions *ExceptionsLine `json:"exceptions"`
}

// RunLine is one run of which the packet has canaries.
type RunLine struct {
	ID string    `json:"id"`
	At time.Time `json:"at,omitzero"`
	// Version of the program, hashes of configuration and catalogue, as the run
	// wrote them down when it began.
	Version       string `json:"version"`
	ConfigHash    string `json:"config_hash"`
	CatalogueHash string `json:"catalogue_hash"`
	// Announced is how many canaries the run said it had, Planned how many of
	// them the packet has.
	Announced int `json:"announced"`
	Planned   int `json:"planned"`
}

// ScenarioLine is one scenario as it was at one time.
type ScenarioLine struct {
	ID       string      `json:"id"`
	Hash     string      `json:"hash"` // SHA-256 of its file, hex
	Title    string      `json:"title"`
	Category string      `json:"category"`
	Kind     canary.Kind `json:"kind"`
	Controls []string    `json:"controls"`
	Canaries int         `json:"canaries"`
}

// PlaceLine is one account and region.
type PlaceLine struct {
	Provider string `json:"provider"`
	Account  string `json:"account"`
	Region   string `json:"region"`
	// Records that verdicts rest on, and the objects of the log store they stood in.
	Records    int            `json:"records"`
	Objects    int            `json:"objects"`
	Categories []CategoryLine `json:"categories"`
	// Looked is what verdicts say of how much was read there where something was
	// not found, the last first and at most some of it.
	Looked []string `json:"looked,omitempty"`
}

// CategoryLine counts the canaries of one category in one place.
type CategoryLine struct {
	Category string `json:"category"`
	Planned  int    `json:"planned"`
	Done     int    `json:"done"` // at least one call was answered
	NotRun   int    `json:"not_run"`
	// Statuses of the last verdicts (the worst of a canary's required checks); those
	// without a verdict are open.
	Proven       int `json:"proven"`
	Late         int `json:"late"`
	Failed       int `json:"failed"`
	Inconclusive int `json:"inconclusive"`
	Other        int `json:"other"`
	Open         int `json:"open"`
	// Excepted are those of the late, failed, inconclusive and others that pass but for
	// what an exception covers that was in force.
	Excepted int `json:"excepted"`
}

// ChainLine is one chain of digests, or (without a trail) the log files beside them.
type ChainLine struct {
	trail.Chain
	Validations int `json:"validations"`
	// First and Last bound the time that valid digests were found to cover.
	First time.Time `json:"first,omitzero"`
	Last  time.Time `json:"last,omitzero"`
	// Counts of the last validation: digests and log files valid, invalid, missing, unknown.
	Counts trail.Counts `json:"counts"`
	// Findings of all validations, by status.
	Findings map[trail.Status]int `json:"findings"`
}

// Gap is a reason for which canaries prove nothing.
type Gap struct {
	Reason   string `json:"reason"`
	Canaries int    `json:"canaries"`
}

const (
	maxLooked = 20  // sentences a place
	maxGaps   = 200 // reasons; what is beyond is counted together

	otherReasons = "(other reasons)"
)

// state folds a slice. A packet may have hundreds of thousands of canaries, so that what
// the entries say of them is put aside in scratch as they go by (take), by whose it is, and
// folded when all have: those of one part of the canaries, then those of the next (verdicts).
// So memory does not depend on how many there are.
type state struct {
	period    Period
	runs      map[string]*runFold
	scenarios map[[2]string]*ScenarioLine // by id and hash
	places    map[canary.Target]*place
	numbered  []*place // by number
	aside     *aside

	// Of the part that is being folded: its canaries in the order in which they were
	// planned, and those that were not in this period; what receipts, records, alerts and
	// seals it has, by their hashes; what was found out about alerts that were heard.
	canaries []*canaryFold
	byID     map[string]*canaryFold
	carried  map[string]bool
	evidence map[key]bool
	sealed   map[key]bool // whose object has the very hash that the digest says
	unheld   map[key]bool // whose seal could not be verified for want of room
	answers  map[answer]bool
	about    string // the canary of the entry under way

	// Of all of them.
	planned, carriedBefore int
	chains                 map[trail.Chain]*ChainLine
	gaps                   map[string]int
	entries                map[string]int
	forged                 int
	shared                 map[string]string
	names                  map[string]string // that many share
	pairs, lines           int
	alerts, objects, seals int
	large                  int // records whose bytes are not in the ledger
	lacking                int // of unheld
	limits                 limits
	problem                func(name string, leaf int64, format string, args ...any)
	// custody, when set, verifies how records are sealed.
	custody *custody
	// register of exceptions at the end of the period, how many there were in all, the
	// verdicts of the part that it may cover, and how many canaries each exception does.
	register     *exception.Register
	registers    int
	joining      exception.Joining
	known        exception.Known
	unproven     map[string]unproven
	unprovenText int
	exceptedBy   map[string]int
	latest       time.Time // that an entry was written
}

type runFold struct {
	RunLine
	hashes  map[string]string // scenario -> hash
	several bool
	others  int // canaries that were planned outside of the period
}

type place struct {
	PlaceLine
	number     uint32
	categories map[string]*CategoryLine
	objects    map[key]bool // of the part
}

type canaryFold struct {
	id       string
	at       time.Time // planned
	planned  int64     // the leaf
	run      *runFold
	scenario *ScenarioLine
	place    *place
	reason   string // why it was not run, or not begun
	done     bool
	notRun   bool
	judged   bool
	statuses string // in the order of canary.Checks, with commas between
	overall  canary.Status
	records  int
	verdicts int
	leaf     int64 // of the last verdict
}

// key is a hash of what is only looked up, not read back.
type key [16]byte

func keyOf(parts ...string) key {
	h := sha256.New()
	for _, p := range parts {
		var n [8]byte
		for i := range n {
			n[i] = byte(len(p) >> (8 * i))
		}
		h.Write(n[:])
		_, _ = io.WriteString(h, p)
	}
	return key(h.Sum(nil)[:16])
}

func recordKey(canaryID, step, eventUID, requestID string, at canary.Location) key {
	return keyOf("record", canaryID, step, eventUID, requestID, at.Store, at.Bucket, at.Key, at.VersionID,
		strconv.FormatInt(at.Offset, 10), strconv.FormatInt(at.Length, 10), at.ObjectSHA256)
}

// newState begins a fold of the canaries of a period; problem is told of what
// contradicts itself.
func newState(period Period, aside *aside, problem func(name string, leaf int64, format string, args ...any)) *state {
	return &state{
		period: period, aside: aside,
		runs: map[string]*runFold{}, scenarios: map[[2]string]*ScenarioLine{}, places: map[canary.Target]*place{},
		byID: map[string]*canaryFold{}, carried: map[string]bool{}, evidence: map[key]bool{}, sealed: map[key]bool{}, unheld: map[key]bool{}, answers: map[answer]bool{},
		chains: map[trail.Chain]*ChainLine{}, gaps: map[string]int{}, entries: map[string]int{}, shared: map[string]string{}, names: map[string]string{},
		limits: maxLimits(), unproven: map[string]unproven{}, exceptedBy: map[string]int{}, problem: problem,
	}
}

// apply folds in what an entry says of other things than a canary, and puts the rest aside.
func (s *state) apply(leaf int64, e entry) error {
	s.about = e.Canary
	s.entries[e.Type]++
	if e.At.After(s.latest) {
		s.latest = e.At
	}
	// Runs, what verifies custody, and alerts may be of any time.
	holds := s.period.holds(e.At)
	switch {
	case e.Type == "begun" && e.Begun != nil:
		r := s.run(e.Run)
		if !r.At.IsZero() {
			s.problem(BadEntry, leaf, "run %q begins a second time", e.Run)
		}
		r.At, r.Version, r.ConfigHash, r.CatalogueHash, r.Announced = e.At, e.Begun.Version, e.Begun.ConfigHash, e.Begun.CatalogueHash, e.Begun.Canaries
		return nil
	case e.Type == "register" && e.Register != nil:
		s.noteRegister(e)
		return nil
	case e.Type == "rang" && e.Rang != nil:
		return s.ring(leaf, e)
	case e.Type == "public_key" && e.PublicKey != nil:
		if s.custody != nil {
			s.custody.keys = append(s.custody.keys, *e.PublicKey)
		}
		return nil
	case e.Type == "blob" && e.Blob != nil:
		if s.custody == nil {
			return nil
		}
		wrong, err := s.custody.addBlob(*e.Blob)
		if wrong != nil {
			s.problem(BadCustody, leaf, "%v", wrong)
		}
		return err
	case e.Type == "planned" && e.Planned != nil:
		if p := e.Planned; p.Canary.ID != e.Canary || p.Canary.Run != e.Run || p.Canary.Scenario != p.Scenario.ID || p.Canary.ScenarioHash != p.Scenario.Hash {
			s.problem(BadEntry, leaf, "the plan of canary %q is of %q, run %q, scenario %q", e.Canary, p.Canary.ID, p.Canary.Run, p.Canary.Scenario)
		}
	case e.Type == "forged" && holds:
		s.forged++
		return nil
	case e.Type == "validated" && e.Validated != nil:
		if holds {
			s.validate(*e.Validated)
		}
		return nil
	case e.Canary == "":
		return nil
	}
	return s.putAside(leaf, holds, e)
}

func idKey(id string) key { return keyOf("canary", id) }

// fold takes in what an entry says of its canary.
func (s *state) fold(n noted) error {
	e, leaf := n.Entry, n.Leaf
	s.about = e.Canary
	c := s.byID[e.Canary]
	switch {
	case e.Type == "planned" && e.Planned != nil:
		if c != nil {
			s.problem(BadEntry, leaf, "canary %q is planned a second time", e.Canary)
		} else if c = s.plan(n); c != nil {
			s.canaries = append(s.canaries, c)
			s.byID[e.Canary] = c
		}
		return nil
	case c == nil && !n.Holds:
		return nil // of another period, and of none of the canaries of this one
	case c == nil:
		// Planned before the period: the packet before has the beginning of it.
		s.carried[e.Canary] = true
		c = &canaryFold{}
	}
	switch {
	case e.Type == "forged":
		s.forged++
	case e.Type == "blocked" && e.Blocked != nil:
		c.reason = cut("not begun: " + e.Blocked.Reason)
	case e.Type == "receipt" && e.Receipt != nil:
		c.done = c.done || e.Receipt.Phase == canary.PhaseDo && len(e.Receipt.RequestIDs) > 0
		if e.Receipt.Phase == canary.PhaseDo {
			for _, id := range e.Receipt.RequestIDs {
				s.evidence[keyOf("receipt", e.Canary, e.Receipt.Step, id)] = true
			}
		}
	case e.Type == "sighted" && e.Sighted != nil:
		si := e.Sighted
		s.evidence[recordKey(e.Canary, si.Step, si.EventUID, si.RequestID, si.At)] = true
		if n.Large {
			s.large++ // too large for an entry: location and hashes are all there is
		}
		for _, wrong := range n.Wrong {
			s.problem(BadRecord, leaf, "%s", wrong)
		}
	case e.Type == "heard" && e.Heard != nil:
		s.hear(leaf, e)
	case e.Type == "kept" && e.Kept != nil && c.place != nil && s.custody != nil:
		s.keep(n)
	case e.Type == "verdict" && e.Verdict != nil:
		return s.judge(leaf, e, c)
	}
	return nil
}

func (s *state) run(id string) *runFold {
	r := s.runs[id]
	if r == nil {
		r = &runFold{RunLine: RunLine{ID: id}, hashes: map[string]string{}}
		s.runs[id] = r
	}
	return r
}

// plan counts a canary that is planned for the first time; nil if that was in another
// period.
func (s *state) plan(n noted) *canaryFold {
	e, p := n.Entry, n.Entry.Planned
	r := s.run(e.Run)
	if h, ok := r.hashes[p.Scenario.ID]; !ok {
		s.pairs++
	} else if h != p.Scenario.Hash {
		r.several = true
	}
	r.hashes[s.name(p.Scenario.ID)] = s.name(p.Scenario.Hash)
	if !n.Holds {
		r.others++
		return nil
	}
	r.Planned++
	s.planned++
	at := [2]string{p.Scenario.ID, p.Scenario.Hash}
	sc := s.scenarios[at]
	if sc == nil {
		sc = &ScenarioLine{ID: p.Scenario.ID, Hash: p.Scenario.Hash, Title: p.Scenario.Title, Category: p.Scenario.Category, Kind: p.Scenario.Kind, Controls: p.Scenario.Controls}
		s.scenarios[at] = sc
	}
	sc.Canaries++
	pl := s.places[p.Canary.Target]
	if pl == nil {
		t := p.Canary.Target
		pl = &place{PlaceLine: PlaceLine{Provider: t.Provider, Account: t.Account, Region: t.Region}, number: uint32(len(s.numbered)), categories: map[string]*CategoryLine{}, objects: map[key]bool{}}
		s.places[t], s.numbered = pl, append(s.numbered, pl)
	}
	if pl.categories[sc.Category] == nil {
		pl.categories[sc.Category] = &CategoryLine{Category: sc.Category}
		s.lines++
	}
	return &canaryFold{id: e.Canary, at: e.At, planned: n.Leaf, run: r, scenario: sc, place: pl, reason: cut(p.NotRun), notRun: p.NotRun != ""}
}

// validate takes in what a walk along a chain found.
func (s *state) validate(v run.Validated) {
	c := s.chains[v.Chain]
	if c == nil {
		c = &ChainLine{Chain: v.Chain, First: v.First, Findings: map[trail.Status]int{}}
		s.chains[v.Chain] = c
	}
	c.Validations++
	c.Counts = v.Counts
	if c.First.IsZero() || !v.First.IsZero() && v.First.Before(c.First) {
		c.First = v.First
	}
	if v.Last.After(c.Last) {
		c.Last = v.Last
	}
	for _, f := range v.Findings {
		c.find(f.Status, 1)
	}
	for status, n := range v.More {
		c.find(status, n)
	}
}

// find counts a finding; kinds that nobody knows are counted together.
func (c *ChainLine) find(status trail.Status, n int) {
	if _, known := c.Findings[status]; !known && len(c.Findings) >= maxStatuses {
		status = "(others)"
	}
	c.Findings[status] += n
}

// wrongRecord holds a record's raw bytes against what is said of them.
func wrongRecord(si *run.Sighted) (wrong []string) {
	if int64(len(si.Raw)) != si.At.Length {
		wrong = append(wrong, fmt.Sprintf("the record has %d bytes, its place in %s has %d", len(si.Raw), si.At.Key, si.At.Length))
	}
	if raw, err := event.Identify(si.Raw); err != nil {
		return append(wrong, fmt.Sprintf("the raw record is not JSON: %v", err))
	} else if raw.Record != si.EventUID || raw.Request != si.RequestID {
		return append(wrong, fmt.Sprintf("the raw record is of event %.60q, request %.60q, and is said to be of %.60q, %.60q", raw.Record, raw.Request, si.EventUID, si.RequestID))
	}
	return wrong
}

// keep takes in how a record is held, and what was found out about its seal.
func (s *state) keep(n noted) {
	e, k := n.Entry, n.Entry.Kept
	s.evidence[keyOf("kept", e.Canary, k.Step, k.At.Key, k.At.VersionID)] = true
	seal := sealKey(e.Canary, k.Step, k.At)
	switch {
	case n.Seal == nil:
	case n.Seal.NotHeld && !s.unheld[seal]:
		s.unheld[seal] = true
		s.lacking++
	case n.Seal.Wrong != "":
		s.problem(BadCustody, n.Leaf, "%s", n.Seal.Wrong)
	case n.Seal.Same:
		s.sealed[seal] = true
	}
}

// rangKey is of an alert by one thing that it names, heardKey of one that was heard for
// a canary: by a request of its own, by an event, or by less.
func rangKey(alert, id string, at time.Time, by canary.Means, name string) key {
	return keyOf("rang", alert, id, at.UTC().Format(time.RFC3339Nano), string(by), name)
}

func heardKey(canaryID, alert, id string, at time.Time, by canary.Means, name string) key {
	return keyOf("heard", canaryID, alert, id, at.UTC().Format(time.RFC3339Nano), string(by), name)
}

// hear takes in what was heard for a canary, as far as what is in the packet before it
// says the same: the alert names the request or event, and a receipt has the request.
// Whether a record has the event, the verdict says. An alert that names neither is of
// no canary: it may be older than the packet.
func (s *state) hear(leaf int64, e entry) {
	for i, x := range e.Heard.Heard {
		if x.Suppressed != "" {
			continue
		}
		there := s.answers[answerOf(leaf, i)]
		name := ""
		switch x.By {
		case canary.ByRequest:
			there = there && s.evidence[keyOf("receipt", e.Canary, x.Step, x.Name)]
		case canary.ByEvent:
			name = x.Name
		case canary.BySession, canary.ByTime:
			there = true
		}
		if there {
			s.evidence[heardKey(e.Canary, e.Heard.Alert, x.ID, x.At, x.By, name)] = true
		}
	}
}

// judge takes a verdict in, and looks for the evidence that it names.
func (s *state) judge(leaf int64, e entry, c *canaryFold) error {
	v := e.Verdict
	if v.Canary != e.Canary {
		s.problem(BadEntry, leaf, "the verdict of canary %q is of %q", e.Canary, v.Canary)
	}
	c.judged, c.leaf, c.overall, c.records = true, leaf, v.Overall(), len(v.Records)
	c.verdicts++
	c.statuses = s.statuses(leaf, v)
	if c.place == nil {
		return nil // what it rests on is in an earlier packet
	}
	s.keepUnproven(c, *v)
	if found := v.Checks[canary.Surfaced].Status; (found == canary.Pass || found == canary.Late) && len(v.Records) == 0 {
		s.problem(MissingEvidence, leaf, "the verdict of %s says that its records were found, and names none", e.Canary)
	}
	if v.Checks[canary.Injected].Status == canary.Pass && !c.done {
		s.problem(MissingEvidence, leaf, "the verdict of %s says that it was done, and there is no receipt of it", e.Canary)
	}
	for _, a := range v.Checks[canary.Alerted].Alerts {
		if a.Status != canary.Pass && a.Status != canary.Late {
			continue
		}
		heard := func(by canary.Means, name string) bool {
			return s.evidence[heardKey(e.Canary, a.Alert, a.ID, a.Rang, by, name)]
		}
		ofRecord := func(rec canary.StepRecord) bool {
			return heard(canary.ByEvent, rec.EventUID) || slices.ContainsFunc(rec.Copies, func(id string) bool { return heard(canary.ByEvent, id) })
		}
		if a.Weak != "" && !heard(a.Weak, "") || a.Weak == "" && !heard(canary.ByRequest, "") && !slices.ContainsFunc(v.Records, ofRecord) {
			s.problem(MissingEvidence, leaf, "the verdict of %s says that alert %s rang, and nothing in the packet before it says what was heard", e.Canary, a.Alert)
		}
	}
	for _, rec := range v.Records {
		if !s.evidence[recordKey(e.Canary, rec.Step, rec.EventUID, rec.RequestID, rec.At)] {
			s.problem(MissingEvidence, leaf, "the verdict of %s rests on event %s for step %s, and that record is not in the packet before it", e.Canary, rec.EventUID, rec.Step)
		}
		if !s.evidence[keyOf("receipt", e.Canary, rec.Step, rec.RequestID)] {
			s.problem(MissingEvidence, leaf, "the verdict of %s takes the record of request %s for its own at step %s, and no receipt has that request", e.Canary, rec.RequestID, rec.Step)
		}
		if s.custody != nil && v.Checks[canary.Immutable].Status == canary.Pass && !s.evidence[keyOf("kept", e.Canary, rec.Step, rec.At.Key, rec.At.VersionID)] {
			s.problem(MissingEvidence, leaf, "the verdict of %s says that its record at step %s is immutable, and nothing in the packet before it says how it is held", e.Canary, rec.Step)
		}
		if seal := sealKey(e.Canary, rec.Step, rec.At); s.custody != nil && v.Checks[canary.Sealed].Status == canary.Pass && !s.sealed[seal] && !s.unheld[seal] {
			s.problem(MissingEvidence, leaf, "the verdict of %s says that its record at step %s is sealed, and no digest in the packet before it proves that", e.Canary, rec.Step)
		}
		if object := keyOf(rec.At.Bucket, rec.At.Key, rec.At.VersionID); !c.place.objects[object] {
			c.place.objects[object] = true
			s.objects++
		}
	}
	return s.looked(leaf, c.place, v)
}

// statuses of all checks as one string, which many canaries share.
func (s *state) statuses(leaf int64, v *canary.Verdict) string {
	var all []string
	for _, check := range canary.Checks() {
		st := cmp.Or(v.Checks[check].Status, canary.NotRun)
		if !slices.Contains([]canary.Status{canary.Pass, canary.Late, canary.Fail, canary.Inconclusive, canary.NotRun, canary.Excepted}, st) {
			s.problem(BadEntry, leaf, "status %.40q of %s is none", st, check)
			st = canary.Inconclusive
		}
		all = append(all, string(st))
	}
	joined := strings.Join(all, ",")
	if shared, ok := s.shared[joined]; ok {
		return shared
	}
	s.shared[joined] = joined
	return joined
}

// population is what the fold comes to; it may be asked once, after verdicts.
func (s *state) population() Population {
	p := Population{Forged: s.forged, Carried: s.carriedBefore, Entries: s.entries, Runs: []RunLine{}, Scenarios: []ScenarioLine{}, Places: []PlaceLine{}, Chains: []ChainLine{}, Gaps: []Gap{}}
	s.exceptions(&p)
	for _, r := range s.runs {
		if r.Planned > 0 || s.period.holds(r.At) {
			p.Runs = append(p.Runs, r.RunLine)
		}
	}
	slices.SortFunc(p.Runs, func(a, b RunLine) int { return cmp.Or(a.At.Compare(b.At), cmp.Compare(a.ID, b.ID)) })
	for _, sc := range s.scenarios {
		p.Scenarios = append(p.Scenarios, *sc)
	}
	slices.SortFunc(p.Scenarios, func(a, b ScenarioLine) int { return cmp.Or(cmp.Compare(a.ID, b.ID), cmp.Compare(a.Hash, b.Hash)) })
	for _, pl := range s.places {
		for _, name := range slices.Sorted(maps.Keys(pl.categories)) {
			pl.Categories = append(pl.Categories, *pl.categories[name])
		}
		p.Places = append(p.Places, pl.PlaceLine)
	}
	slices.SortFunc(p.Places, func(a, b PlaceLine) int {
		return cmp.Or(cmp.Compare(a.Provider, b.Provider), cmp.Compare(a.Account, b.Account), cmp.Compare(a.Region, b.Region))
	})
	for _, c := range s.chains {
		p.Chains = append(p.Chains, *c)
	}
	slices.SortFunc(p.Chains, func(a, b ChainLine) int {
		return cmp.Or(cmp.Compare(a.Account, b.Account), cmp.Compare(a.Region, b.Region), cmp.Compare(a.Organization, b.Organization),
			cmp.Compare(a.Trail, b.Trail), cmp.Compare(a.HomeRegion, b.HomeRegion), cmp.Compare(fmt.Sprint(a.Backfill), fmt.Sprint(b.Backfill)))
	})
	for _, reason := range slices.Sorted(maps.Keys(s.gaps)) {
		p.Gaps = append(p.Gaps, Gap{reason, s.gaps[reason]})
	}
	return p
}

func (s *state) gap(reason string) {
	if _, known := s.gaps[reason]; !known && len(s.gaps) >= maxGaps {
		reason = otherReasons
	}
	s.gaps[reason]++
}

// gap says why a canary proves nothing that was looked for; "" if it does.
func (c *canaryFold) gap() string {
	switch {
	case c.reason != "":
		return c.reason
	case !c.done && !c.judged:
		return "never done: the run was interrupted, or is under way"
	case !c.judged:
		return "open: nobody has found its records yet, or given them up"
	case c.overall == canary.Inconclusive:
		return "inconclusive: see verdicts.csv"
	}
	return ""
}

func (c *canaryFold) count(line *CategoryLine) {
	line.Planned++
	if c.done {
		line.Done++
	}
	if c.notRun {
		line.NotRun++
	}
	if !c.judged {
		line.Open++
		return
	}
	switch c.overall {
	case canary.Pass:
		line.Proven++
	case canary.Late:
		line.Late++
	case canary.Fail:
		line.Failed++
	case canary.Inconclusive:
		line.Inconclusive++
	default:
		line.Other++
	}
}

func encodePopulation(p Population) ([]byte, error) { return encodeJSON(p) }

// encodeJSON is JSON for people, in one spelling.
func encodeJSON(v any) ([]byte, error) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	err := enc.Encode(v)
	return b.Bytes(), err
}

// verdicts folds what was put aside, writes a line for each canary, in the order in which
// they were planned, and counts what each came to; it may be asked once.
func (s *state) verdicts(w io.Writer) error {
	head := []string{"canary", "run", "scenario", "category", "account", "region", "status"}
	for _, c := range canary.Checks() {
		head = append(head, string(c))
	}
	out := csv.NewWriter(w)
	if err := out.Write(append(head, "records", "verdicts", "leaf")); err != nil {
		return err
	}
	if out.Flush(); out.Error() != nil {
		return out.Error()
	}
	if err := s.foldParts(); err != nil {
		return err
	}
	for record, err := range s.aside.lines.merged() {
		if err != nil {
			return err
		}
		reason, line := splitLine(record)
		if reason != "" {
			s.gap(reason)
		}
		if _, err := w.Write(line); err != nil {
			return err
		}
	}
	return s.together()
}

func (c *canaryFold) line() []string {
	line := []string{c.id, c.run.ID, c.scenario.ID, c.scenario.Category, c.place.Account, c.place.Region}
	if c.judged {
		line = append(append(line, string(c.overall)), strings.Split(c.statuses, ",")...)
		line = append(line, strconv.Itoa(c.records), strconv.Itoa(c.verdicts), strconv.FormatInt(c.leaf, 10))
	} else {
		line = append(append(line, "open"), make([]string, len(canary.Checks()))...)
		line = append(line, "0", "0", "")
	}
	for i := range line {
		line[i] = inert.Cell(strings.TrimSpace(oneLine(line[i])))
	}
	return line
}

func oneLine(s string) string {
	return strings.Map(func(r rune) rune {
		if r == '\n' || r == '\r' || r == '\t' {
			return ' '
		}
		return r
	}, s)
}

// incomplete lists runs of which something is missing, in a slice that should have
// all of each run that it has the beginning of.
func (s *state) incomplete(filtered bool) (all []string) {
	for _, id := range slices.Sorted(maps.Keys(s.runs)) {
		r := s.runs[id]
		switch {
		case r.At.IsZero() && r.Planned > 0:
			all = append(all, fmt.Sprintf("run %s has canaries in the packet, and its beginning is not there", id))
		case filtered || r.Planned == 0:
		case r.Planned+r.others != r.Announced:
			all = append(all, fmt.Sprintf("run %s announced %d canaries, the packet has %d", id, r.Announced, r.Planned+r.others))
		case r.several || catalogueHash(r.hashes) != r.CatalogueHash:
			all = append(all, fmt.Sprintf("the scenarios of run %s are not those of the catalogue that it announced (%s)", id, r.CatalogueHash))
		}
	}
	return all
}

func catalogueHash(hashes map[string]string) string {
	var ss []canary.Scenario
	for id, h := range hashes {
		ss = append(ss, canary.Scenario{ID: id, Hash: h})
	}
	return run.CatalogueHash(ss)
}
