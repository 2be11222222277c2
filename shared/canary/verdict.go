package canary

import (
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/auditcanary/auditcanary/shared/event"
)

// Check is one question asked of every canary.
type Check string

const (
	Injected   Check = "injected"   // was the action done, with the outcome it had to have?
	Surfaced   Check = "surfaced"   // does the record of every call stand in the central log store?
	Attributed Check = "attributed" // does it say what we know, field by field?
	Timely     Check = "timely"     // was it there in time?
	Sealed     Check = "sealed"     // does a signed digest cover it?
	Immutable  Check = "immutable"  // can nobody take it away?
	Alerted    Check = "alerted"    // did the promised alert ring?
	Cleaned    Check = "cleaned"    // is everything undone, and the account proven clean?
)

// Checks lists all of them in the order of a canary's life.
func Checks() []Check {
	return []Check{Injected, Surfaced, Attributed, Timely, Sealed, Immutable, Alerted, Cleaned}
}

// Required lists the checks a canary must pass to count as proven. The others
// count as soon as there is an answer to them (Overall); until then they are
// reported as not-run, with the reason: a digest takes hours to come.
func Required() []Check {
	return []Check{Injected, Surfaced, Attributed, Timely, Cleaned}
}

// Status is a check's answer. Only Pass counts as proven.
type Status string

const (
	Pass         Status = "pass"
	Late         Status = "late"
	Fail         Status = "fail"
	Inconclusive Status = "inconclusive" // we could not find out
	NotRun       Status = "not-run"
	Excepted     Status = "excepted"
)

// badness orders statuses so that the worst of several steps speaks for all.
func (s Status) badness() int {
	switch s {
	case Pass:
		return 0
	case Excepted:
		return 1
	case NotRun:
		return 2
	case Late:
		return 3
	case Inconclusive:
		return 4
	default:
		return 5
	}
}

// Hop is a stretch of the way from an action to the person who must know of it;
// a failing check names the one on which the record was lost or changed.
type Hop string

const (
	Emitted   Hop = "emitted"   // the service never wrote the record (or wrote it wrong)
	Delivered Hop = "delivered" // written, but it never came to the store (or came changed)
	Stored    Hop = "stored"    // it came, but the object it stands in cannot be had
	Parsed    Hop = "parsed"    // the object can be had, but what it holds cannot be read
	Announced Hop = "alerted"   // the alert that was promised of it did not come, or came to nobody
)

// Answer is what one check says for one canary.
type Answer struct {
	Status Status `json:"status"`
	// Detail in a sentence, for people. Never empty unless Status is Pass.
	Detail string `json:"detail,omitempty"`
	// Open means the answer may still change without anybody doing anything:
	// the record is still awaited.
	Open bool `json:"open,omitempty"`
	// Hop on which the record was lost or changed, when known; when it is not,
	// Detail says why.
	Hop Hop `json:"hop,omitempty"`
	// Evidence for the hop: what was asked, and what it said.
	Evidence []Clue `json:"evidence,omitempty"`
	// Step the answer is about, when one step decides it.
	Step string `json:"step,omitempty"`
	// Fields that are wrong: name, expected, found.
	Fields []event.Difference `json:"fields,omitempty"`
	// Explained are differences a named rule accounts for; shown, not counted.
	Explained []event.Difference `json:"explained,omitempty"`
	// LatencySeconds from the action to its record standing in the store, or to the
	// alert, both by the provider's clocks. Only on timely, surfaced and alerted.
	LatencySeconds *float64 `json:"latency_seconds,omitempty"`
	// Alert is what became of the promised alert that decides, Alerts of each of them.
	// Only on alerted.
	Alert  AlertKind     `json:"alert,omitempty"`
	Alerts []AlertAnswer `json:"alerts,omitempty"`
	// Also are the other steps, beside Step, that did not pass; a step that was not
	// run is not among them.
	Also []Other `json:"also,omitempty"`
	// Accepted is the exception under which Status is Excepted. The ledger's verdicts
	// never have it: it is laid over them when they are shown.
	Accepted *Accepted `json:"accepted,omitempty"`
}

// Other is what a check says of a further step of the same canary.
type Other struct {
	Step   string   `json:"step,omitempty"`
	Status Status   `json:"status"`
	Hop    Hop      `json:"hop,omitempty"`
	Detail string   `json:"detail,omitempty"`
	Fields []string `json:"fields,omitempty"` // names
}

// Accepted is the approved exception that covers an answer.
type Accepted struct {
	ID string `json:"id"`
	// Was is the status that the check gave, which stands in the ledger.
	Was Status `json:"was"`
	// Approver accepted the risk, for the reason Why; Owner answers for it.
	Approver string `json:"approver"`
	Owner    string `json:"owner"`
	Why      string `json:"why"`
	// Until is its last day, 2026-12-31 (UTC).
	Until string `json:"until"`
	// Follows names the check on whose exception this one hangs: without a record
	// there is nothing to judge.
	Follows Check `json:"follows,omitempty"`
}

// Clue is one thing found out about where a record was lost or changed, exact
// enough for somebody else to look it up.
type Clue struct {
	// Source that was asked.
	Source Source `json:"source"`
	// Asked is when: by the store's own clock for the store, ours for the history.
	Asked time.Time `json:"asked,omitzero"`
	// Found in a sentence.
	Found string `json:"found"`
	// EventID of the event or record it is about.
	EventID string `json:"event_id,omitempty"`
	// Object it is about, s3://bucket/key.
	Object string `json:"object,omitempty"`
}

// Source of a clue.
type Source string

const (
	FromStore   Source = "log store"
	FromHistory Source = "event history"
	FromAlerts  Source = "alerts"
)

// Verdict is what is known of one canary at one time.
type Verdict struct {
	Canary string `json:"canary"`
	// AsOf is the log store's clock when it was last looked at in full.
	AsOf   time.Time        `json:"as_of,omitzero"`
	Checks map[Check]Answer `json:"checks"`
	// Records that were found to be ours, one a step.
	Records []StepRecord `json:"records,omitempty"`
}

// StepRecord says which record answers which step.
type StepRecord struct {
	Step      string   `json:"step"`
	EventUID  string   `json:"event_id"`
	RequestID string   `json:"request_id"`
	At        Location `json:"at"`
	// Copies found beyond the first, and corrections of it, by event id.
	Copies []string `json:"copies,omitempty"`
}

// Open reports whether any check may still change by waiting for records. That an
// alert is awaited keeps no verdict from being given: it is amended, as by a digest.
func (v Verdict) Open() bool {
	for check, r := range v.Checks {
		if r.Open && check != Alerted {
			return true
		}
	}
	return false
}

// Overall is the worst status among the required checks and those others that
// have been run.
func (v Verdict) Overall() Status {
	worst := Pass
	for _, c := range Checks() {
		r, ok := v.Checks[c]
		if !ok {
			r.Status = NotRun
		}
		if r.Status == NotRun && !slices.Contains(Required(), c) {
			continue
		}
		if r.Status.badness() > worst.badness() {
			worst = r.Status
		}
	}
	return worst
}

// SLO says how long a record may take.
type SLO struct {
	Pass  time.Duration `json:"pass"`  // in time until then (default 15 min)
	Late  time.Duration `json:"late"`  // late until then (default 60 min), missing after it
	Amend time.Duration `json:"amend"` // a late arrival within this still amends the verdict (default 24 h)
	// Clock bounds how far the record's time may lie from the service's reply (default 2 min).
	Clock time.Duration `json:"clock"`
}

// Seen is what looking in the log store gave, so far.
type Seen struct {
	// AsOf is the store's own clock at the beginning of the last complete look:
	// whatever was stored before then has been seen. Zero: no look was complete.
	AsOf      time.Time
	Sightings []Sighting
	Problems  []Problem
	// Looked says how much of each place has been read.
	Looked []Look
	// GaveUp, when not empty, says why nobody will look again for now.
	GaveUp string
	// History is the provider's own event history, by request id; absent means
	// it was not asked. It proves nothing about the store; it tells where a
	// record was lost.
	History map[string]HistoryAnswer
}

// Look is how much of one place of the store has been read.
type Look struct {
	Account string `json:"account"`
	Region  string `json:"region"`
	// Objects that were read whole, and the records in them.
	Objects int `json:"objects"`
	Records int `json:"records"`
	// First and Last are when the earliest and the latest of them were stored.
	First time.Time `json:"first,omitzero"`
	Last  time.Time `json:"last,omitzero"`
}

// HistoryAnswer is what the provider's event history says of one request.
type HistoryAnswer struct {
	// Asked is when, by our clock.
	Asked time.Time
	// Event as the provider's history has it; nil when it has none.
	Event *event.Event
	// Err, when not empty, says why it could not be asked; Event means nothing then.
	Err string
}

// Cleanup is the proof that the canary's account was listed after its undo.
type Cleanup struct {
	// Listed is when, by our clock; zero: not listed.
	Listed time.Time `json:"listed,omitzero"`
	// Left names what of this canary was still there.
	Left []string `json:"left,omitempty"`
	// Err, when not empty, says why the account could not be listed.
	Err string `json:"error,omitempty"`
}

// Evidence is everything the ledger knows of one canary's doing.
type Evidence struct {
	// NotRun, when not empty, says why the canary cannot be done at its target at
	// all (a fixture is not configured).
	NotRun string
	// Blocked, when not empty, says why it was not even begun (the role could not be assumed).
	Blocked string
	// Intents that were written, in order; an intent without a receipt means
	// that the process died in between: the call may have been made.
	Intents []Intent
	// Receipts in order, undo attempts among them.
	Receipts []Receipt
	Cleanup  Cleanup
	// Custody of the records, as often as somebody looked; the last one of each counts.
	Custody []Custody
	// Inspections of what protects the things that steps attempt to take away.
	Inspections []Inspection
	// Hearings of the alerts that are promised; the last one of each promise counts.
	Hearings []Hearing
}

// Intent is written to the ledger before the call it announces.
type Intent struct {
	Step    string `json:"step"`
	Phase   Phase  `json:"phase"`
	Attempt int    `json:"attempt"`
	Call    Call   `json:"call"`
	// Undo is the call that will reverse it; nil on undo intents and where nothing needs undoing.
	Undo *Call `json:"undo,omitempty"`
}

// Receipt of an intent, if it got one.
func (e Evidence) Receipt(step string, phase Phase, attempt int) (Receipt, bool) {
	for _, r := range e.Receipts {
		if r.Step == step && r.Phase == phase && r.Attempt == attempt {
			return r, true
		}
	}
	return Receipt{}, false
}

// ToUndo lists, last first, the undo calls that are still owed: of every call
// that was or may have been done and whose undo has not yet been seen to work.
//
// An undo counts as having worked when the service said so, when what it would
// remove was gone, or when the service would not do it and the account, listed
// afterwards, holds nothing of this canary: of what is gone a service may say
// that it is denied (its policy conditions have nothing to look at) or a bad
// request, instead of "not found". (An undo that never reached the service is not
// settled so: what kept it back may keep the listing from what it looks for.) The
// same listing settles an undo that cannot
// even be written, because the reply it refers to was lost. Nothing is owed where a
// later step made the very call, and it worked.
func (e Evidence) ToUndo() []Owed {
	var owed []Owed
	for _, in := range e.Intents {
		if in.Phase != PhaseDo || in.Undo == nil {
			continue
		}
		if r, ok := e.Receipt(in.Step, PhaseDo, in.Attempt); ok && !r.Outcome.MayHaveActed() {
			continue
		}
		attempts, undone := e.undoAttempts(in.Step)
		if !undone && !e.undoneByStep(in) && !(e.replyLost(in) && e.Cleanup.clean()) {
			owed = append([]Owed{{Step: in.Step, Call: *in.Undo, Attempt: attempts + 1}}, owed...)
		}
	}
	return owed
}

// Owed is one undo call still to be made.
type Owed struct {
	Step    string
	Call    Call
	Attempt int // its number
}

func (e Evidence) undoAttempts(step string) (attempts int, undone bool) {
	for _, in := range e.Intents {
		if in.Step == step && in.Phase == PhaseUndo {
			attempts = max(attempts, in.Attempt)
		}
	}
	for _, r := range e.Receipts {
		if r.Step == step && r.Phase == PhaseUndo {
			attempts = max(attempts, r.Attempt)
			answered := len(r.RequestIDs) > 0 && (r.Outcome.Result == Refused || r.Outcome.Result == Failed)
			undone = undone || r.Undone() || answered && e.Cleanup.clean()
		}
	}
	return attempts, undone
}

// undoneByStep reports whether a later step was the undo of a call: deleting may be
// what a canary is about.
func (e Evidence) undoneByStep(in Intent) bool {
	i := slices.IndexFunc(e.Receipts, func(r Receipt) bool {
		return r.Step == in.Step && r.Phase == PhaseDo && r.Attempt == in.Attempt
	})
	if i < 0 {
		return false
	}
	params, err := Expand(in.Undo.Params, func(ref string) (string, bool) {
		part, own := strings.CutPrefix(ref, "steps."+in.Step+".")
		v, seen := e.Receipts[i].Output[part]
		return v, own && seen
	})
	return err == nil && slices.ContainsFunc(e.Receipts[i+1:], func(r Receipt) bool {
		return r.Phase == PhaseDo && r.Outcome.Result == Succeeded && r.Call.Operation == in.Undo.Operation &&
			r.Call.Region == in.Undo.Region && reflect.DeepEqual(any(r.Call.Params), params)
	})
}

// replyLost reports whether the undo of a call refers to a part of its reply
// that nobody has seen.
func (e Evidence) replyLost(in Intent) bool {
	if in.Undo == nil {
		return false
	}
	r, answered := e.Receipt(in.Step, PhaseDo, in.Attempt)
	if answered && !r.Outcome.MayHaveActed() {
		return false // what was refused made nothing
	}
	return slices.ContainsFunc(References(in.Undo.Params), func(ref string) bool {
		part, own := strings.CutPrefix(ref, "steps."+in.Step+".")
		_, seen := r.Output[part]
		return own && !seen
	})
}

// clean reports whether the account was listed after the canary's last intent
// and held nothing of it.
func (c Cleanup) clean() bool { return !c.Listed.IsZero() && c.Err == "" && len(c.Left) == 0 }

// MayHaveActed reports whether the call's effect may stand.
func (o Outcome) MayHaveActed() bool { return o.Result == Succeeded || o.Result == Unknown }

// Undone reports whether an undo call leaves nothing to undo: it succeeded, or
// what it would remove is gone already.
func (r Receipt) Undone() bool {
	if r.Outcome.Result == Succeeded {
		return true
	}
	for _, code := range r.Call.Gone {
		if r.Outcome.Result == Failed && r.Outcome.Code == code {
			return true
		}
	}
	return false
}
