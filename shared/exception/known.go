package exception

import (
	"crypto/sha256"
	"encoding/json"
	"time"
)

// Known remembers when each exception first came into the ledger as it is: on which day it
// was opened is its author's word. The zero value knows none.
type Known struct {
	first map[[sha256.Size]byte]time.Time
}

// Note says in a register, which was written down at a time, when each of its exceptions
// first was, and remembers it.
func (k *Known) Note(r *Register, at time.Time) {
	if k.first == nil {
		k.first = map[[sha256.Size]byte]time.Time{}
	}
	for i := range r.Exceptions {
		e := &r.Exceptions[i]
		id := e.accepting()
		if first, ok := k.first[id]; !ok || at.Before(first) {
			k.first[id] = at
		}
		e.Known = k.first[id]
	}
}

// Tell says in a register when each of its exceptions first came into the ledger; at a
// time, where it has not yet.
func (k *Known) Tell(r *Register, at time.Time) {
	for i := range r.Exceptions {
		e := &r.Exceptions[i]
		first, ok := k.first[e.accepting()]
		if !ok {
			first = at
		}
		e.Known = first
	}
}

// accepting is the hash of what makes e the exception that it is. Who is to be asked about
// it, and what is done meanwhile, may change.
func (e Exception) accepting() [sha256.Size]byte {
	// No error: it is made of texts, and was JSON before it was read.
	text, _ := json.Marshal(Exception{
		ID: e.ID, Scope: e.Scope, Problem: e.Problem, Control: e.Control,
		Risk: Risk{Requester: e.Risk.Requester, Approver: e.Risk.Approver}, Opened: e.Opened, Expires: e.Expires,
	})
	return sha256.Sum256(text)
}

// from is the first moment of the day from which e holds: that on which it was opened, but
// none before it came into the ledger; false if it was opened on no day.
func (e Exception) from() (time.Time, bool) {
	opened, ok := e.Opened.begin()
	return later(opened, e.Known.UTC().Truncate(24*time.Hour)), ok
}
