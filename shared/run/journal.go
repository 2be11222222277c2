package run

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/auditcanary/auditcanary/shared/canary"
	"github.com/auditcanary/auditcanary/shared/event"
	"github.com/auditcanary/auditcanary/shared/exception"
	"github.com/auditcanary/auditcanary/shared/ledger"
	"github.com/auditcanary/auditcanary/shared/trail"
)

// Entry is one leaf of the ledger: JSON, at most 65,535 bytes. Type names the one
// pointer that is set; "sweeping", which opens a sweep, has none.
type Entry struct {
	V      int       `json:"v"` // 1
	Type   string    `json:"type"`
	At     time.Time `json:"at"` // our clock
	Run    string    `json:"run"`
	Canary string    `json:"canary,omitempty"`

	Begun    *Begun          `json:"begun,omitempty"`
	Planned  *Plan           `json:"planned,omitempty"`
	Blocked  *Blocked        `json:"blocked,omitempty"`
	Intent   *canary.Intent  `json:"intent,omitempty"`
	Receipt  *canary.Receipt `json:"receipt,omitempty"`
	Injected *Injected       `json:"injected,omitempty"`
	Sighted  *Sighted        `json:"sighted,omitempty"`
	Verdict  *canary.Verdict `json:"verdict,omitempty"`
	Forged   *Sighted        `json:"forged,omitempty"`
	Listed   *Listed         `json:"listed,omitempty"`
	Swept    *Swept          `json:"swept,omitempty"`
	Own      *Own            `json:"own,omitempty"`

	Kept      *Kept              `json:"kept,omitempty"`
	Blob      *Blob              `json:"blob,omitempty"`
	Validated *Validated         `json:"validated,omitempty"`
	PublicKey *trail.PublicKey   `json:"public_key,omitempty"`
	Inspected *canary.Inspection `json:"inspected,omitempty"`

	Rang     *canary.Rang        `json:"rang,omitempty"`
	Heard    *canary.Hearing     `json:"heard,omitempty"`
	Ticket   *Ticket             `json:"ticket,omitempty"`
	Post     *Post               `json:"post,omitempty"`
	Asked    *Asked              `json:"asked,omitempty"`
	Register *exception.Register `json:"register,omitempty"`
}

// Begun opens a run.
type Begun struct {
	Version       string `json:"version"`        // of this program
	ConfigHash    string `json:"config_hash"`    // SHA-256 of the configuration file, hex
	CatalogueHash string `json:"catalogue_hash"` // SHA-256 over the scenarios' ids and hashes, hex
	Canaries      int    `json:"canaries"`
}

// Blocked says why a canary could not even begin.
type Blocked struct {
	Reason string `json:"reason"`
}

// Injected closes the injecting part of a run: nobody will begin any more of it.
type Injected struct {
	// Abandoned is set when a sweep closed it because its process had died.
	Abandoned bool `json:"abandoned,omitempty"`
	// Why it was, as far as whoever swept was told.
	Why string `json:"why,omitempty"`
}

// Sighted is a record found, with the raw bytes and where they stood.
type Sighted struct {
	Step string          `json:"step,omitempty"`
	At   canary.Location `json:"at"`
	// Stored is the store's time of arrival.
	Stored time.Time `json:"stored"`
	// Raw record, exact bytes, base64 in JSON. Left out above MaxRaw; then the
	// location and the hashes are all there is.
	Raw []byte `json:"raw,omitempty"`
	// EventUID and RequestID as read from it.
	EventUID  string `json:"event_id"`
	RequestID string `json:"request_id"`
	Actor     string `json:"actor,omitempty"`
	Operation string `json:"operation,omitempty"`
}

// MaxRaw is the largest raw record kept in a leaf, in bytes; in base64, with
// the rest of the entry, it stays below the leaf's limit.
const MaxRaw = 40 << 10

// Listed is what an account and region showed when it was listed for leftovers.
type Listed struct {
	Target canary.Target `json:"target"`
	Left   []Leftover    `json:"left,omitempty"`
	// Err says why nothing is known of the place; Unlisted, of which kinds.
	Err      string     `json:"error,omitempty"`
	Unlisted []Unlisted `json:"unlisted,omitempty"`
}

// Unlisted is a kind that could not be listed; see UnlistedError.
type Unlisted struct {
	Kind string   `json:"kind"`
	Undo []string `json:"undo"`
	Err  string   `json:"error"`
}

// maxListed and maxUnlisted bound, in bytes, what an entry tells of a place; it must
// stay below the leaf's limit.
const (
	maxListed   = 32 << 10
	maxUnlisted = 300
)

// newListed is what a listing gave, written down: what was left, as far as an
// entry holds it, and why it is not complete, kind by kind as far as the error
// says so. A listing that does not fit is not complete.
func newListed(t canary.Target, left []Leftover, err error) (*Listed, error) {
	l := &Listed{Target: t}
	size := 0
	for i, one := range left {
		text, err := json.Marshal(one)
		if err != nil {
			return nil, fmt.Errorf("encode leftover %s %s: %w", one.Kind, one.ID, err)
		}
		if size += len(text); size > maxListed {
			l.Err = fmt.Sprintf("%d more things are left than this entry holds", len(left)-i)
			break
		}
		l.Left = append(l.Left, one)
	}
	for _, one := range parts(err) {
		var u *UnlistedError
		if errors.As(one, &u) {
			l.Unlisted = append(l.Unlisted, Unlisted{u.Kind, u.Undo, bounded(one)})
		} else {
			l.Err = bounded(one)
		}
	}
	return l, nil
}

// parts are the errors that err joins; none if it is nil.
func parts(err error) []error {
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		var all []error
		for _, one := range joined.Unwrap() {
			all = append(all, parts(one)...)
		}
		return all
	}
	if err == nil {
		return nil
	}
	return []error{err}
}

func bounded(err error) string {
	text := err.Error()
	if len(text) <= maxUnlisted {
		return text
	}
	return strings.ToValidUTF8(text[:maxUnlisted], "") + "..."
}

// Swept is one undo call made for something that was listed but is in no
// journal of ours, as a receipt.
type Swept struct {
	Leftover Leftover       `json:"leftover"`
	Call     canary.Call    `json:"call"`
	Outcome  canary.Outcome `json:"outcome"`
	// Pending is set on the entry written before the call.
	Pending bool `json:"pending,omitempty"`
}

// Own lists the request ids of the calls this program made for itself: to
// assume roles, to list accounts, to ask the event history. Their records carry
// our marks; without this they would look forged.
type Own struct {
	RequestIDs []string `json:"request_ids"`
}

// append writes entries as one batch. It does not give up when ctx is
// cancelled: what has been done must be written down.
func (r *Run) append(ctx context.Context, entries ...Entry) error {
	leaves, err := r.encode(entries)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), journalTimeout)
	defer cancel()
	if _, err := r.Log.Append(ctx, leaves...); err != nil {
		return fmt.Errorf("append %d entries to the ledger: %w", len(leaves), err)
	}
	return nil
}

// appendAt is append where nobody has appended since the ledger had that size; else
// its error wraps ledger.ErrMoved.
func (r *Run) appendAt(ctx context.Context, size int64, leaves [][]byte) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), journalTimeout)
	defer cancel()
	if _, err := r.Log.AppendAt(ctx, size, leaves...); err != nil {
		return fmt.Errorf("append %d entries to the ledger: %w", len(leaves), err)
	}
	return nil
}

// maxAtOnce bounds, in bytes, what is appended at once.
const maxAtOnce = 8 << 20

// atOnce are the first of these leaves, as many as are appended at once.
func atOnce(leaves [][]byte) [][]byte {
	size := 0
	for i, leaf := range leaves {
		if size += len(leaf); size > maxAtOnce && i > 0 {
			return leaves[:i]
		}
	}
	return leaves
}

func (r *Run) encode(entries []Entry) ([][]byte, error) {
	leaves := make([][]byte, 0, len(entries))
	now := r.Clock().UTC()
	for _, e := range entries {
		e.V, e.At = 1, now
		leaf, err := json.Marshal(e)
		if err != nil {
			return nil, fmt.Errorf("encode %s entry of %s: %w", e.Type, e.Canary, err)
		}
		leaves = append(leaves, leaf)
	}
	return leaves, nil
}

// journalTimeout bounds one append; a ledger that does not answer stops the run
// before anything further is done.
const journalTimeout = time.Minute

// State is what the ledger says, folded.
type State struct {
	Runs     []*RunState // in order of their beginning
	Canaries []*CanaryState
	byRun    map[string]*RunState
	byCanary map[string]*CanaryState
	ours     map[string]bool // request ids
	heads    map[trail.Chain]trail.Head
	chains   map[trail.Chain]*ChainState
	keys     map[string]trail.PublicKey // by fingerprint
	blobs    map[string]bool            // by SHA-256
	Size     int64                      // entries folded
	Newest   time.Time                  // when the newest of them was written
	// Alerts that rang, in the order in which they came into the ledger.
	Alerts []canary.Rang
	// Tickets and Posts are acts, in order, the pending ones among them.
	Tickets []Ticket
	Posts   []Post
	Asked   []Asked
	// Register of exceptions as it was last written down; nil: none ever was.
	Register  *exception.Register
	registers []registered // all that were, in order
	joining   exception.Joining
	known     exception.Known
}

// RunState is one run.
type RunState struct {
	ID       string
	Begun    Begun
	At       time.Time
	Injected bool // nobody will begin any more of it
	Canaries []*CanaryState
	Forged   []Sighted
	// Ended is when it became Injected; Abandoned if its process had died.
	Ended     time.Time
	Abandoned bool
	// FoundForged is when each of Forged was found.
	FoundForged []time.Time
}

// CanaryState is one canary.
type CanaryState struct {
	Plan     Plan
	At       time.Time // planned at
	Run      *RunState
	Evidence canary.Evidence
	Sighted  []Sighted
	// Verdicts in the order they were given; the last one counts, all are kept.
	Verdicts []canary.Verdict
	// Given is when each of them was.
	Given []time.Time
	// Leaf is the place of the last one in the ledger, from 0.
	Leaf int64
}

// Verdict is the last one given, if any.
func (c *CanaryState) Verdict() (canary.Verdict, bool) {
	if len(c.Verdicts) == 0 {
		return canary.Verdict{}, false
	}
	return c.Verdicts[len(c.Verdicts)-1], true
}

// NewState is the state of an empty ledger.
func NewState() *State {
	return &State{
		byRun: map[string]*RunState{}, byCanary: map[string]*CanaryState{}, ours: map[string]bool{},
		heads: map[trail.Chain]trail.Head{}, chains: map[trail.Chain]*ChainState{}, keys: map[string]trail.PublicKey{}, blobs: map[string]bool{},
	}
}

// Ours reports whether the ledger knows a request id.
func (s *State) Ours(requestID string) bool { return s.ours[requestID] }

// unanswered reports whether a record may be that of a call whose answer we
// never got: it proves nothing, but nobody forged it either.
func (s *State) unanswered(si canary.Sighting) bool {
	id, ok := strings.CutPrefix(si.Event.Actor.Session.Name, canary.Marker+"-")
	cs := s.byCanary[id]
	if !ok || cs == nil {
		return s.opens(si)
	}
	for _, in := range cs.Evidence.Intents {
		r, answered := cs.Evidence.Receipt(in.Step, in.Phase, in.Attempt)
		if recordedAs(in.Call, si.Event.API.Operation) && (!answered || r.Outcome.Result == canary.Unknown) {
			return true
		}
	}
	return cs.mayLook(si)
}

// opens reports whether a record may be that of a canary's session being opened, by a
// process that died before it could write that down: then, and there. Nothing else is
// done in such a session without being noticed.
func (s *State) opens(si canary.Sighting) bool {
	api := si.Event.API
	name, _ := api.Request["roleSessionName"].(string)
	role, _ := api.Request["roleArn"].(string)
	id, ok := strings.CutPrefix(name, canary.Marker+"-")
	cs := s.byCanary[id]
	if api.Service != "sts.amazonaws.com" || api.Operation != "AssumeRole" || !ok || cs == nil || cs.Evidence.NotRun != "" || len(cs.Evidence.Receipts) > 0 {
		return false
	}
	died := cs.Run.Abandoned || !cs.Run.Injected // or is not known to have died yet
	within := !si.Event.Time.Before(cs.At.Add(-clocksDiffer)) && !si.Event.Time.After(cs.Run.At.Add(lease+clocksDiffer))
	return died && within && strings.Contains(role, ":iam::"+cs.Plan.Canary.Target.Account+":role/")
}

// clocksDiffer is by how much a provider's clock and ours may.
const clocksDiffer = 5 * time.Minute

// mayLook reports whether a record may be that of a look at a protection which the
// ledger has not got: the process died between the look and its entry.
func (c *CanaryState) mayLook(si canary.Sighting) bool {
	ev := c.Evidence
	for _, ps := range c.Plan.Steps {
		attempted := slices.ContainsFunc(ev.Intents, func(in canary.Intent) bool { return in.Step == ps.Step && in.Phase == canary.PhaseDo })
		if ev.Inspected(ps.Step, canary.Before) && (!attempted || ev.Inspected(ps.Step, canary.After)) {
			continue
		}
		if slices.ContainsFunc(ps.Looks, func(look canary.Call) bool { return recordedAs(look, si.Event.API.Operation) }) {
			return true
		}
	}
	return false
}

// Canary by id, or nil.
func (s *State) Canary(id string) *CanaryState { return s.byCanary[id] }

// recordedAs reports whether a call may be recorded under that name.
func recordedAs(call canary.Call, name string) bool {
	service, operation, _ := strings.Cut(call.Operation, ":")
	return name == operation || name == event.RecordedOperation(service+".amazonaws.com", operation)
}

// Run by id, or nil.
func (s *State) Run(id string) *RunState { return s.byRun[id] }

// Fold reads the ledger up to its checkpoint.
func Fold(ctx context.Context, log *ledger.Log) (*State, ledger.Checkpoint, error) {
	s := NewState()
	cp, err := s.Follow(ctx, log)
	if err != nil {
		return nil, cp, err
	}
	return s, cp, nil
}

// Follow folds in what the ledger has got since, whoever wrote it. What the state
// already told of stays where it is: a CanaryState goes on being that canary's.
func (s *State) Follow(ctx context.Context, log *ledger.Log) (ledger.Checkpoint, error) {
	cp, err := log.Checkpoint(ctx)
	if err != nil {
		return cp, fmt.Errorf("fold the ledger: %w", err)
	}
	for leaf, err := range log.Entries(ctx, min(s.Size, cp.Size), cp.Size) {
		if err != nil {
			return cp, fmt.Errorf("fold the ledger: %w", err)
		}
		if err := s.Apply(leaf.Data); err != nil {
			return cp, fmt.Errorf("fold the ledger: leaf %d: %w", leaf.Index, err)
		}
	}
	return cp, nil
}

// Apply folds one leaf in. It fails on what it does not understand: a newer
// version's entry may matter.
func (s *State) Apply(leaf []byte) error {
	var e Entry
	if err := json.Unmarshal(leaf, &e); err != nil {
		return fmt.Errorf("not a journal entry: %w", err)
	}
	if e.V != 1 {
		return fmt.Errorf("entry of version %d; this program knows version 1: use a newer one", e.V)
	}
	s.Size++
	if e.At.After(s.Newest) {
		s.Newest = e.At
	}
	if e.Type == "begun" && e.Begun != nil {
		rs := &RunState{ID: e.Run, Begun: *e.Begun, At: e.At}
		s.Runs = append(s.Runs, rs)
		s.byRun[e.Run] = rs
		return nil
	}
	switch {
	case e.Type == "own" && e.Own != nil:
		for _, id := range e.Own.RequestIDs {
			s.ours[id] = true
		}
		return nil
	case e.Type == "sweeping", e.Type == "swept" && e.Swept != nil:
		return nil
	case e.Type == "public_key" && e.PublicKey != nil:
		s.keepKey(*e.PublicKey)
		return nil
	case e.Type == "validated" && e.Validated != nil:
		s.noteValidation(*e.Validated)
		return s.noteHead(*e.Validated)
	case e.Type == "blob" && e.Blob != nil:
		if e.Blob.Part == e.Blob.Parts { // they are written in order, in one batch
			s.blobs[e.Blob.SHA256] = true
		}
		return nil
	case e.Type == "listed" && e.Listed != nil:
		s.applyListed(e)
		return nil
	case e.Type == "rang" && e.Rang != nil:
		s.Alerts = append(s.Alerts, *e.Rang)
		return nil
	case e.Type == "ticket" && e.Ticket != nil:
		e.Ticket.At = e.At
		s.Tickets = append(s.Tickets, *e.Ticket)
		return nil
	case e.Type == "post" && e.Post != nil:
		e.Post.At = e.At
		s.Posts = append(s.Posts, *e.Post)
		return nil
	case e.Type == "asked" && e.Asked != nil:
		s.Asked = append(s.Asked, *e.Asked)
		return nil
	case e.Type == "register" && e.Register != nil:
		s.noteRegister(e)
		return nil
	}
	rs := s.byRun[e.Run]
	if rs == nil {
		return fmt.Errorf("%s entry of run %q, which never began", e.Type, e.Run)
	}
	switch {
	case e.Type == "planned" && e.Planned != nil:
		cs := &CanaryState{Plan: *e.Planned, At: e.At, Run: rs}
		cs.Evidence.NotRun = e.Planned.NotRun
		rs.Canaries = append(rs.Canaries, cs)
		s.Canaries = append(s.Canaries, cs)
		s.byCanary[e.Canary] = cs
		return nil
	case e.Type == "injected" && e.Injected != nil:
		rs.Injected, rs.Ended, rs.Abandoned = true, e.At, e.Injected.Abandoned
		return nil
	case e.Type == "forged" && e.Forged != nil:
		rs.Forged, rs.FoundForged = append(rs.Forged, *e.Forged), append(rs.FoundForged, e.At)
		return nil
	}
	cs := s.byCanary[e.Canary]
	if cs == nil {
		return fmt.Errorf("%s entry of canary %q, which was never planned", e.Type, e.Canary)
	}
	switch {
	case e.Type == "blocked" && e.Blocked != nil:
		cs.Evidence.Blocked = e.Blocked.Reason
	case e.Type == "inspected" && e.Inspected != nil:
		cs.Evidence.Inspections = append(cs.Evidence.Inspections, *e.Inspected)
		for _, r := range e.Inspected.Readings {
			for _, id := range r.RequestIDs {
				s.ours[id] = true
			}
		}
	case e.Type == "intent" && e.Intent != nil:
		cs.Evidence.Intents = append(cs.Evidence.Intents, *e.Intent)
		cs.Evidence.Cleanup = canary.Cleanup{} // what was listed before says nothing now
	case e.Type == "receipt" && e.Receipt != nil:
		cs.Evidence.Receipts = append(cs.Evidence.Receipts, *e.Receipt)
		for _, id := range e.Receipt.RequestIDs {
			s.ours[id] = true
		}
	case e.Type == "sighted" && e.Sighted != nil:
		cs.Sighted = append(cs.Sighted, *e.Sighted)
	case e.Type == "kept" && e.Kept != nil:
		cs.Evidence.Custody = append(cs.Evidence.Custody, e.Kept.Custody)
	case e.Type == "heard" && e.Heard != nil:
		cs.Evidence.Hearings = append(cs.Evidence.Hearings, *e.Heard)
	case e.Type == "verdict" && e.Verdict != nil:
		cs.Verdicts, cs.Given, cs.Leaf = append(cs.Verdicts, *e.Verdict), append(cs.Given, e.At), s.Size-1
	default:
		return fmt.Errorf("entry of type %q; this program does not know it: use a newer one", e.Type)
	}
	return nil
}

// mayHaveLeft reports whether a leftover that names no canary (a fixture in
// another state than it should be) is of the kind this canary changes.
func (c *CanaryState) mayHaveLeft(l Leftover) bool {
	for _, ps := range c.Plan.Steps {
		for _, call := range l.Undo {
			if ps.Undo != nil && ps.Undo.Operation == call.Operation && reflect.DeepEqual(ps.Undo.Params, call.Params) {
				return true
			}
		}
	}
	return false
}

// mayNeed reports whether the canary may have left something that one of these
// operations removes.
func (c *CanaryState) mayNeed(undo []string) bool {
	return len(undo) == 0 || slices.ContainsFunc(c.Plan.Steps, func(ps PlannedStep) bool {
		return ps.Undo != nil && slices.Contains(undo, ps.Undo.Operation)
	})
}

// applyListed tells every canary of the listed account and region what was left of it.
func (s *State) applyListed(e Entry) {
	for _, cs := range s.Canaries {
		if cs.Plan.Canary.Target != e.Listed.Target {
			continue
		}
		clean := canary.Cleanup{Listed: e.At, Err: e.Listed.Err}
		for _, u := range e.Listed.Unlisted {
			if cs.mayNeed(u.Undo) {
				clean.Err = u.Err
			}
		}
		for _, l := range e.Listed.Left {
			if l.Canary == cs.Plan.Canary.ID || l.Canary == "" && cs.mayHaveLeft(l) {
				clean.Left = append(clean.Left, l.Kind+" "+l.ID)
			}
		}
		cs.Evidence.Cleanup = clean
	}
}
