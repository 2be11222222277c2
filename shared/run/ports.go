package run

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/auditcanary/auditcanary/shared/canary"
	"github.com/auditcanary/auditcanary/shared/event"
	"github.com/auditcanary/auditcanary/shared/trail"
)

// Plan is everything one canary will do, known before anything is done.
type Plan struct {
	Canary   canary.Canary   `json:"canary"`
	Scenario canary.Scenario `json:"scenario"`
	Steps    []PlannedStep   `json:"steps"`
	// SessionPolicy is the inline policy of the canary's own session: only these
	// operations, only canary-named or canary-tagged resources.
	SessionPolicy json.RawMessage `json:"session_policy"`
	// Permissions is the least-privilege identity policy the target's role needs for it.
	Permissions json.RawMessage `json:"permissions"`
	// NotRun, when not empty, says why it cannot be done at this target; then
	// there are no steps.
	NotRun string `json:"not_run,omitempty"`
}

// PlannedStep is one call with its undo and the record it must leave.
// References to the replies of earlier steps (${steps.create.X}) are still open.
type PlannedStep struct {
	Step string `json:"step"`
	// Looks at what protects the thing, made before the call and again after it. With
	// them the call is an attempt (Prober.Attempt).
	Looks  []canary.Call  `json:"looks,omitempty"`
	Call   canary.Call    `json:"call"`
	Undo   *canary.Call   `json:"undo,omitempty"`
	NoUndo string         `json:"no_undo,omitempty"`
	Record ExpectedRecord `json:"record"`
}

// ExpectedRecord says what record a call leaves, and where.
type ExpectedRecord struct {
	Service   string `json:"service"`   // event source, "iam.amazonaws.com"
	Operation string `json:"operation"` // event name, "CreateRole"
	Region    string `json:"region"`    // where it is recorded
	ReadOnly  bool   `json:"read_only"` // a write-only trail would drop it
	// DataEvent: only a trail that selects the data events of the thing takes it.
	DataEvent bool `json:"data_event,omitempty"`
}

// ErrNotConfigured: a target has nothing that the scenario could act on.
var ErrNotConfigured = errors.New("not configured")

// Cloud is one provider's accounts, as far as canaries act in them.
type Cloud interface {
	// Plan works out one canary's calls, policies and records. It does no I/O.
	// It refuses, with the reason, a scenario whose undo is not proven, an
	// operation off the allow-list, or a resource that is not canary-marked. An
	// error that wraps ErrNotConfigured refuses this target only.
	Plan(s canary.Scenario, c canary.Canary) (Plan, error)
	// Open begins the canary's own session under its session policy.
	Open(ctx context.Context, p Plan) (Prober, error)
}

// Sweeper finds and removes what canaries left behind.
type Sweeper interface {
	// Leftovers lists what canaries left in an account and region, by asking for
	// each kind of resource; it returns only what carries the name prefix, the
	// tag and a run id. A kind that cannot be listed is an error, never an empty
	// answer; where the error joins UnlistedErrors, each speaks of its kind only.
	// One that wraps ErrNotConfigured says that nothing of the kind is configured
	// there: that is no fault of the place, and proves nothing to whoever did act.
	Leftovers(ctx context.Context, t canary.Target) ([]Leftover, error)
	// OpenSweep begins a session that may only undo, and only what is canary-marked.
	OpenSweep(ctx context.Context, t canary.Target) (Session, error)
}

// UnlistedError is one kind of leftover that could not be listed.
type UnlistedError struct {
	Kind string // "iam role"
	// Undo are the operations that remove such a thing. Whatever canary owes none
	// of them cannot have left one. None given: any canary may have.
	Undo []string
	Err  error
}

func (e *UnlistedError) Error() string { return fmt.Sprintf("list leftovers (%s): %v", e.Kind, e.Err) }
func (e *UnlistedError) Unwrap() error { return e.Err }

// Session is an open identity. Do makes exactly one attempt and never panics;
// whatever happened is in the receipt (Canary, Step, Phase and Attempt are the
// caller's to fill in). refs are the JSON paths of the reply to keep in Output.
type Session interface {
	Do(ctx context.Context, call canary.Call, refs []string) canary.Receipt
}

// Prober is a Session that may also attempt what must be denied, after looking at what
// protects the thing.
type Prober interface {
	Session
	// Look makes one reading call and keeps the parts of its reply that do not change
	// by themselves. It does not weigh them. In Err it says also why nothing may be
	// attempted in this account at all.
	Look(ctx context.Context, call canary.Call) canary.Reading
	// Attempt makes the one call that must be denied. seen is what the looks before it
	// read; parameters that must be what was read are held against it once more.
	Attempt(ctx context.Context, call canary.Call, seen []canary.Reading) canary.Receipt
}

// Leftover is one resource a canary left behind, with the calls that remove it.
type Leftover struct {
	Kind   string        `json:"kind"` // "iam role"
	ID     string        `json:"id"`
	Run    string        `json:"run"`
	Canary string        `json:"canary"`
	Undo   []canary.Call `json:"undo"`
}

// LogStore is a central log store.
type LogStore interface {
	// Poll looks at what has arrived since the last Poll of the same Watch and
	// returns the records that are ours or claim to be. Each object is read at
	// most once per Watch, however many canaries wait. What could not be read is
	// in Seen.Problems; err is for a store that could not be looked at at all.
	Poll(ctx context.Context, w *Watch) (Seen, error)
}

// Watch is what to look for, with the store's memory of what it has read.
type Watch struct {
	// RequestIDs we are waiting for.
	RequestIDs map[string]bool
	// Places the records may be recorded in.
	Places []canary.Target
	// Since is the time of the earliest action, by the service's clock.
	Since time.Time
	// State belongs to the store; nil at first.
	State any
}

// Seen is what one poll found.
type Seen struct {
	// AsOf: see canary.Seen. Zero if this look was not complete.
	AsOf      time.Time
	Sightings []canary.Sighting
	Problems  []canary.Problem
	// Looked is how much of each place has been read, in all looks of the same Watch.
	Looked []canary.Look
	// Counted cost of looking.
	Lists, Gets, Records int
	Bytes                int64 // uncompressed
}

// Custodian knows how a log store keeps its records.
type Custodian interface {
	// Validate walks the chains of signed digests and gives each result as a place
	// ends, one call at a time. What is wrong, or could not be read, is in the
	// results; the error is for ctx, and for a store of which nothing could be read.
	Validate(ctx context.Context, q trail.Validation, each func(trail.Result)) (trail.Validated, error)
	// Held says what keeps object versions from being taken away, each in its place,
	// as of now: nothing of an earlier answer is remembered. What could not be found
	// out is in Held.Unread; the error is for a context that has ended.
	Held(ctx context.Context, at []canary.Location) ([]canary.Held, error)
}

// History is the provider's own event history: never proof of anything about
// the store, but it tells "not emitted" from "emitted and lost".
type History interface {
	// Recorded returns the event the history of the receipt's account and region
	// has under one of its request ids, or nil if it has none.
	Recorded(ctx context.Context, r canary.Receipt) (*event.Event, error)
}
