// Package canary holds the nouns of this program, with the judge that weighs them.
//
// A Scenario is data: the calls a canary makes, how each is undone, why that is
// harmless. A Canary is one scenario at one target in one run. Doing it yields a
// Receipt per call: the ground truth. Looking for it yields Sightings: what the
// central store says. Judge compares the two, field by field, and says for each
// Check what holds: a Verdict.
//
// Nothing in this package does I/O, reads a clock or knows a driver.
package canary

import (
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/auditcanary/auditcanary/shared/event"
)

// Marker begins the name of everything a canary makes and every session it
// opens. It is no proof of anything (anybody can choose a name); it is what the
// session policy, the allow-list and the sweep insist on.
const Marker = "auditcanary"

// Kind says what must come of a canary's calls.
type Kind string

const (
	// DoneAndUndone: a real change to a canary resource, undone.
	DoneAndUndone Kind = "done-and-undone"
	// MustBeDenied: the provider must refuse, and the refusal must be logged.
	MustBeDenied Kind = "must-be-denied"
	// Decoy: a real success on a thing that carries nothing.
	Decoy Kind = "decoy"
	// DryRun: the provider checks rights, does nothing, and logs that it was asked.
	DryRun Kind = "dry-run"
)

// Scenario is a canary as data, read from YAML. Scope, calls and undo are in
// the provider's own terms; expected records are derived from the receipts.
type Scenario struct {
	// ID is the path-like name, "aws/iam-temporary-admin-role".
	ID string `json:"id"`
	// Title in one line, for people.
	Title string `json:"title"`
	// Category is one of Categories.
	Category string `json:"category"`
	// Controls are ids of a control framework, "iso27017:2015/12.4.3"; data, not code.
	Controls []string `json:"controls"`
	// Kind says what must come of it.
	Kind Kind `json:"kind"`
	// Scope: "region" = once per account and region, "account" = once per account
	// (global services, recorded in us-east-1 on AWS).
	Scope string `json:"scope"`
	// Harmless says why, for the person who must approve it.
	Harmless string `json:"harmless"`
	// Cost of one run in plain words with the list price, "none" if none.
	Cost string `json:"cost"`
	// Schedule is a hint: how often, and why.
	Schedule Schedule `json:"schedule"`
	// Steps in order.
	Steps []Step `json:"steps"`
	// Expect are CEL expressions over `event` that every record of this
	// scenario's steps must satisfy, beyond what the receipt implies.
	Expect []string `json:"expect,omitempty"`
	// Rules are the same, compiled by whoever read the file.
	Rules []Rule `json:"-"`
	// Alerts are those that it promises, by name: who does this must be noticed.
	Alerts []Promise `json:"alerts,omitempty"`
	// Hash is the SHA-256 of the file's bytes, hex; it goes into the ledger.
	Hash string `json:"hash"`
	// File and Line say where it was read from, for messages.
	File string `json:"-"`
}

// Rule is one compiled expectation.
type Rule struct {
	Text  string
	Holds func(event.Event) (bool, error)
}

// Schedule is how often a canary should run, and why not more often.
type Schedule struct {
	Every string `json:"every"` // hourly, daily, weekly
	Why   string `json:"why"`
}

// Step is one call of a scenario with its undo.
type Step struct {
	// ID names the step within its scenario ("create").
	ID string `json:"id"`
	// Call is "service:Operation" in the provider's own names ("iam:CreateRole").
	Call string `json:"call"`
	// Params in the API's own names; strings may hold ${...} references (see Expand).
	Params map[string]any `json:"params,omitempty"`
	// Protection is what is read before an attempt that must be denied, and again
	// after it: it must stand, and be unchanged. Params may refer to what was read
	// before (${protection.Policy}), so that success would change nothing.
	Protection []Protection `json:"protection,omitempty"`
	// ByState says why a success answered to the attempt says nothing (the service
	// answers so without doing anything): then what was read before and after decides.
	ByState string `json:"by_state,omitempty"`
	// RefusedWith lists the error codes, beside those of missing rights, with which the
	// protection itself refuses (ValidationException of a log group that may not be deleted).
	RefusedWith []string `json:"refused_with,omitempty"`
	// Undo reverses the call; nil only with NoUndo.
	Undo *Undo `json:"undo,omitempty"`
	// Unprotected lists, for an attempt that must be denied and cannot succeed
	// anyway, the error codes that only a caller gets whom nothing denied
	// (NoSuchConfigurationRecorderException): with them the protection is missing.
	Unprotected []string `json:"unprotected,omitempty"`
	// NoUndo says why nothing needs undoing ("the session expires by itself").
	NoUndo string `json:"no_undo,omitempty"`
	// Line of the step in its file, for messages.
	Line int `json:"-"`
}

// Position says where the step was read from, for messages: "file:line: ", or "".
func (s Scenario) Position(st Step) string {
	if s.File == "" || st.Line == 0 {
		return ""
	}
	return fmt.Sprintf("%s:%d: ", s.File, st.Line)
}

// Protection is one look at what protects a thing that a step attempts to take away.
type Protection struct {
	// Read is "service:Operation" of a call that only reads.
	Read string `json:"read"`
	// Params of it; they may refer to what earlier looks of the step read.
	Params map[string]any `json:"params,omitempty"`
	// Requires are CEL expressions over the reply that must hold, or else the attempt
	// would not be harmless: it is not made, and nothing is found out.
	Requires []string `json:"requires,omitempty"`
	// Expect are CEL expressions over the reply (and params, with which it was asked for,
	// and now, when it was given) that say that the protection is there. If one does not hold, that is the failure:
	// nothing is attempted.
	Expect []string `json:"expect,omitempty"`
	// Rules are the same, compiled by whoever read the file: first Requires, then Expect.
	Rules []ReplyRule `json:"-"`
}

// ReplyRule is one compiled expression over a reply, the parameters it was asked for
// with, and the time at which it was given.
type ReplyRule struct {
	Text  string
	Holds func(reply, params map[string]any, now time.Time) (bool, error)
}

// Undo is the call that reverses a step. It must be idempotent: gone already is done.
type Undo struct {
	Call   string         `json:"call"`
	Params map[string]any `json:"params,omitempty"`
	// Gone lists the error codes that mean "there is nothing left to undo" (NoSuchEntity).
	Gone []string `json:"gone,omitempty"`
}

// Target is one place where canaries run.
type Target struct {
	Provider string `json:"provider"` // "aws"
	Account  string `json:"account"`
	Region   string `json:"region"`
}

// Canary is one scenario at one target in one run.
type Canary struct {
	ID       string `json:"id"` // [a-z0-9-], at most 24 characters
	Run      string `json:"run"`
	Scenario string `json:"scenario"`
	// ScenarioHash pins the data it was planned from.
	ScenarioHash string `json:"scenario_hash"`
	Target       Target `json:"target"`
}

// Name is the name of what the canary makes, and of the session it acts under.
func (c Canary) Name() string { return Marker + "-" + c.ID }

// Call is one concrete call, all references resolved.
type Call struct {
	Operation string         `json:"operation"` // "iam:CreateRole"
	Region    string         `json:"region"`    // where it is sent
	Params    map[string]any `json:"params,omitempty"`
	// Gone: see Undo.Gone.
	Gone []string `json:"gone,omitempty"`
}

// Phase says why a call is made.
type Phase string

const (
	PhaseDo   Phase = "do"
	PhaseUndo Phase = "undo"
)

// Result of a call as the caller saw it.
type Result string

const (
	// Succeeded: the service answered success.
	Succeeded Result = "succeeded"
	// Refused: the service answered that the caller may not (an authorisation error).
	Refused Result = "refused"
	// Failed: the service answered another error; nothing was done.
	Failed Result = "failed"
	// Unknown: no answer; it may have been done.
	Unknown Result = "unknown"
)

// Outcome of a call.
type Outcome struct {
	Result  Result `json:"result"`
	Code    string `json:"code,omitempty"`    // the API's error code as the SDK gives it
	Message string `json:"message,omitempty"` // at most 1 KB, no secrets
}

// Receipt is what we know of one attempt of one call, because we made it.
type Receipt struct {
	Canary  string `json:"canary"`
	Step    string `json:"step"`
	Phase   Phase  `json:"phase"`
	Attempt int    `json:"attempt"` // from 1
	Call    Call   `json:"call"`
	// Started and Ended are our clock's.
	Started time.Time `json:"started"`
	Ended   time.Time `json:"ended"`
	// RequestIDs of every attempt that got an answer, in order.
	RequestIDs []string `json:"request_ids"`
	Outcome    Outcome  `json:"outcome"`
	// Want is the record this call must have left, as far as we know it. Its
	// Time is the Date of the service's reply (the service's clock, not ours).
	Want event.Event `json:"want"`
	// DataEvent: the record is a data event, which is in a store only if its trail
	// selects those of the thing, and never in the provider's event history.
	DataEvent bool `json:"data_event,omitempty"`
	// Output holds the parts of the reply that later steps or undos refer to,
	// by JSON path from the reply's root ("Role.Arn"); nothing else of a reply is kept.
	Output map[string]string `json:"output,omitempty"`
}

// Location is where a record stands, exactly.
type Location struct {
	Store     string `json:"store"` // name of the log store in the configuration
	Bucket    string `json:"bucket,omitempty"`
	Key       string `json:"key,omitempty"`
	VersionID string `json:"version_id,omitempty"`
	// Offset and Length of the record in the uncompressed object, bytes.
	Offset int64 `json:"offset"`
	Length int64 `json:"length"`
	// ObjectSHA256 is the hash of the object's uncompressed bytes, hex.
	ObjectSHA256 string `json:"object_sha256,omitempty"`
}

// Object names what the record stands in: s3://bucket/key, or whatever a store
// without buckets has as the key ("loki://audit/...").
func (l Location) Object() string {
	if l.Bucket == "" && strings.Contains(l.Key, "://") {
		return l.Key
	}
	return "s3://" + l.Bucket + "/" + l.Key
}

// Sighting is one record found in a log store.
type Sighting struct {
	Event event.Event     `json:"event"`
	Raw   json.RawMessage `json:"raw"`
	At    Location        `json:"at"`
	// Stored is when the store says the record's object arrived (S3 LastModified).
	Stored time.Time `json:"stored"`
}

// Problem is something in the store that could not be read, so that what is
// missing may have been there.
type Problem struct {
	Account string `json:"account,omitempty"` // "" = any
	Region  string `json:"region,omitempty"`  // "" = any
	Object  string `json:"object,omitempty"`  // s3://bucket/key
	// Hop is Stored for an object that cannot be had, Parsed for one that holds
	// what cannot be read, "" for a place that cannot be listed.
	Hop Hop    `json:"hop,omitempty"`
	Err string `json:"error"`
	// ClaimsOnly: nothing that we made is hidden by it, only what claims to be ours, which
	// anybody may write. Imitations may have been missed; no record of a canary was.
	ClaimsOnly bool `json:"claims_only,omitempty"`
}
