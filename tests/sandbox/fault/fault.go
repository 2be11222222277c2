package fault

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"cel.dev/cel-go/cel"
)

// The points at which a fault can strike, with the shape of `it` in match.
const (
	// AtCall: it = {service, operation, account, region, params, principal, n, nth};
	// n is the ordinal of the call since the start or the last reset, from 1, nth
	// that of its principal's calls that change something, 0 if it changes nothing.
	AtCall = "call"
	// AtRecord: it = the CloudTrail record as JSON has it.
	AtRecord = "record"
	// AtFile: it = {key, account, region, n}.
	AtFile = "file"
	// AtDigest: it = {key, account, region, n}.
	AtDigest = "digest"
	// AtObject: it = {key, kind, account, region, n}; kind is "log" or "digest".
	AtObject = "object"
	// AtAlert: it = {alert, bus, account, region, target, event, message}.
	AtAlert = "alert"
	// AtTicket: it = {operation, method, path, user, key, n, nth}, of a call of the
	// ticket system; n and nth as of AtCall.
	AtTicket = "ticket"
	// AtChat: it = {method, channel, thread, n}; n is the ordinal of the call, from 1.
	AtChat = "chat"
)

// When an error or a hang strikes.
const (
	// Before the effect: nothing is done.
	Before = "before"
	// After the effect: it is done and recorded as usual, but the caller does not learn it.
	After = "after"
)

// Which copies of a record a record fault touches.
const (
	// HopEmitted: the service itself; the provider's event history shows the fault too.
	HopEmitted = "emitted"
	// HopDelivered: the way into the archive; the event history is intact.
	HopDelivered = "delivered"
)

// Action is one fault that strikes now.
type Action struct {
	// Name of the fault in its file.
	Name string
	// Do says what to do; exactly one of its fields is set.
	Do Do
	// Hop is HopEmitted or HopDelivered (record faults only, else "").
	Hop string
	// Wait is how long after the object came, sandbox time (object faults only).
	Wait time.Duration
}

// Do is what happens to the thing; exactly one field is set.
type Do struct {
	// Drop it: it is never delivered.
	Drop bool
	// Delay its delivery by this much sandbox time.
	Delay time.Duration
	// Duplicate is how many further copies are delivered, from 1.
	Duplicate int
	// Set fields of a record, a digest or an alert's event, by dotted path; see Edit.
	Set map[string]any
	// Unset fields of a record, a digest or an alert's event, by dotted path; see Edit.
	Unset []string
	// Shift times of a record, by dotted path; see Edit.
	Shift map[string]time.Duration
	// Truncate cuts this many bytes off the end of the compressed file.
	Truncate int
	// Corrupt flips bytes in the middle of the compressed file.
	Corrupt bool
	// Reorder turns the order of the file's records round.
	Reorder bool
	// Replace puts the place's previous file or digest there instead (a file without
	// records if it is the first).
	Replace bool
	// Layout is WithoutOrganization, or "".
	Layout string
	// Delete hides an object behind a delete marker.
	Delete bool
	// Copy an object to another key.
	Copy *Copy
	// Retain an object otherwise than the bucket does.
	Retain *Retain
	// Error answers the call with an error.
	Error *Error
	// Hang leaves the call without an answer.
	Hang *Hang
	// Expire ends the session that signs the call.
	Expire bool
	// Skew is how far the clock of the service that answers the call is ahead.
	Skew time.Duration
}

// WithoutOrganization is the layout of a trail that is no organisation's.
const WithoutOrganization = "without-organization"

// Copy of an object: its key with one text in the place of another.
type Copy struct{ Old, New string }

// Retain is the retention an object gets.
type Retain struct {
	Mode string        // GOVERNANCE, COMPLIANCE or NONE
	For  time.Duration // from when it comes; 0 with NONE only
}

// Edits reports whether the action changes fields: then Edit does it.
func (d Do) Edits() bool { return d.Set != nil || d.Unset != nil || d.Shift != nil }

// Error is an error reply.
type Error struct {
	Code    string // the service's code, "Throttling"
	Message string
	Status  int    // HTTP status, 400 unless given
	When    string // Before or After
}

// Hang is a connection that is held open and then closed without an answer.
type Hang struct {
	For  time.Duration // real time
	When string        // Before or After
}

// Edit returns a copy of rec with the fields of Set set, of Unset removed and of
// Shift moved. It never changes rec or anything it holds. A path is dotted
// ("userIdentity.sessionContext.sourceIdentity"); Set makes the objects on its
// way as needed, and replaces what is no object; Unset of a missing field and
// Shift of what is no time change nothing.
func (d Do) Edit(rec map[string]any) map[string]any {
	out, _ := clone(rec).(map[string]any)
	if out == nil {
		out = map[string]any{}
	}
	for _, path := range slices.Sorted(maps.Keys(d.Set)) {
		at, last := parent(out, path, true)
		at[last] = clone(d.Set[path])
	}
	for _, path := range d.Unset {
		if at, last := parent(out, path, false); at != nil {
			delete(at, last)
		}
	}
	for path, by := range d.Shift {
		at, last := parent(out, path, false)
		text, _ := at[last].(string)
		if t, err := time.Parse(time.RFC3339, text); err == nil {
			at[last] = t.Add(by).Format(time.RFC3339)
		}
	}
	return out
}

// parent finds the object that holds the last part of a path; nil if there is
// none and it is not to be made.
func parent(rec map[string]any, path string, create bool) (at map[string]any, last string) {
	at = rec
	for {
		head, rest, more := strings.Cut(path, ".")
		if !more {
			return at, head
		}
		next, ok := at[head].(map[string]any)
		if !ok && create {
			next = map[string]any{}
			at[head] = next
		}
		at, path = next, rest
	}
}

// clone copies the maps and slices of a JSON value.
func clone(v any) any {
	switch v := v.(type) {
	case map[string]any:
		if v == nil {
			return v
		}
		out := make(map[string]any, len(v))
		for k, x := range v {
			out[k] = clone(x)
		}
		return out
	case []any:
		out := make([]any, len(v))
		for i := range v {
			out[i] = clone(v[i])
		}
		return out
	default:
		return v
	}
}

// Set is the faults of a file. A nil Set fires nothing. Its methods are safe
// for concurrent use.
type Set struct {
	mu     sync.Mutex
	faults []*entry
	now    func() time.Time // nil: no time passes
	start  time.Time        // of what after counts from
}

type entry struct {
	name, at, hop string
	times         int
	after, length time.Duration // length 0: for ever
	wait          time.Duration
	do            Do
	match         cel.Program
	// Under Set.mu:
	fired int
	err   error
}

// Start lets the time begin from which the windows of faults (after, for) count.
// Without it no time passes.
func (s *Set) Start(now func() time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.now, s.start = now, now()
}

// Fire returns what must go wrong with it at a point, in the file's order, and
// counts it. A match that cannot be evaluated because it lacks a field does not
// match; any other evaluation error does not match either and is kept for Status.
func (s *Set) Fire(at string, it map[string]any) []Action {
	if s == nil {
		return nil
	}
	s.mu.Lock()
	faults := s.faults // Replace makes a new slice
	var age time.Duration
	if s.now != nil {
		age = s.now().Sub(s.start)
	}
	s.mu.Unlock()
	var out []Action
	for _, f := range faults {
		if f.at != at || age < f.after || f.length > 0 && age >= f.after+f.length {
			continue
		}
		hit, err := f.matches(it)
		s.mu.Lock()
		switch {
		case err != nil:
			f.err = err
		case hit && (f.times == 0 || f.fired < f.times):
			f.fired++
			out = append(out, Action{Name: f.name, Do: f.do, Hop: f.hop, Wait: f.wait})
		}
		s.mu.Unlock()
	}
	return out
}

func (f *entry) matches(it map[string]any) (bool, error) {
	v, _, err := f.match.Eval(map[string]any{"it": it})
	if err != nil {
		// Log records differ in their fields: a condition on a field that this one
		// does not have is simply not true of it.
		if strings.Contains(err.Error(), "no such key") {
			return false, nil
		}
		return false, fmt.Errorf("fault %q: evaluate match: %w", f.name, err)
	}
	hit, ok := v.Value().(bool)
	if !ok {
		return false, fmt.Errorf("fault %q: match is a %s, not a bool", f.name, v.Type().TypeName())
	}
	return hit, nil
}

// Status says how often a fault struck. A test that relies on a fault must look:
// a fault that never struck proves nothing.
type Status struct {
	Name  string `json:"name"`
	At    string `json:"at"`
	Fired int    `json:"fired"`
	Error string `json:"error,omitempty"` // the last error of its match
}

// Status of every fault, in the file's order; never nil.
func (s *Set) Status() []Status {
	out := []Status{}
	if s == nil {
		return out
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, f := range s.faults {
		st := Status{Name: f.name, At: f.at, Fired: f.fired}
		if f.err != nil {
			st.Error = f.err.Error()
		}
		out = append(out, st)
	}
	return out
}

// Err joins the errors that matches had so far; nil if none.
func (s *Set) Err() error {
	if s == nil {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	var errs []error
	for _, f := range s.faults {
		errs = append(errs, f.err)
	}
	return errors.Join(errs...)
}

// Replace takes over the faults of another set, none if it is nil, uncounted, and
// begins their time anew. Whoever holds s sees them from the next Fire on.
func (s *Set) Replace(by *Set) {
	var faults []*entry
	if by != nil {
		by.mu.Lock()
		for _, f := range by.faults {
			fresh := *f
			fresh.fired, fresh.err = 0, nil
			faults = append(faults, &fresh)
		}
		by.mu.Unlock()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.faults = faults
	if s.now != nil {
		s.start = s.now()
	}
}
