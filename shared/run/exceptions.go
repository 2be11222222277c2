package run

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/auditcanary/auditcanary/shared/canary"
	"github.com/auditcanary/auditcanary/shared/exception"
	"github.com/auditcanary/auditcanary/shared/ledger"
)

// maxRegister bounds, in bytes, what of a register one entry holds; with the rest of the
// entry it stays below the leaf's limit.
const maxRegister = 56 << 10

// registered is a register as it came into the ledger.
type registered struct {
	at       time.Time
	register exception.Register
}

// noteRegister folds a register in, or a part of one.
func (s *State) noteRegister(e Entry) {
	if r, whole := s.joining.Join(*e.Register); whole {
		s.known.Note(&r, e.At)
		s.Register = &r
		s.registers = append(s.registers, registered{e.At, r})
	}
}

// RegisterAt is the register that had last been written down by a time; one of no
// exceptions if none had.
func (s *State) RegisterAt(t time.Time) exception.Register {
	for i := len(s.registers) - 1; i >= 0; i-- {
		if r := s.registers[i]; !r.at.After(t) {
			return r.register
		}
	}
	return exception.Register{}
}

// Date says in a register, wherever it was read, since when the ledger has its exceptions;
// those that it does not have, since now.
func (s *State) Date(r *exception.Register, now time.Time) { s.known.Tell(r, now) }

// NoteRegister writes down the register in use (Run.Register) if it is not what the
// ledger has last: what people are shown of exceptions is always read from there. It
// returns the ledger's state. Without a register in use, the ledger's does not count
// any more, and an empty one says so.
func (r *Run) NoteRegister(ctx context.Context) (*State, error) {
	for {
		state, cp, err := Fold(ctx, r.Log)
		if err != nil {
			return nil, err
		}
		use := exception.Register{Exceptions: []exception.Exception{}, Source: notConfigured}
		if r.Register != nil {
			if use, err = r.Register(); err != nil {
				return nil, err
			}
		} else if state.Register == nil {
			return state, nil
		}
		if state.Register != nil && SameRegister(*state.Register, use) {
			return state, nil
		}
		parts, err := use.Divide(maxRegister)
		if err != nil {
			return nil, err
		}
		var entries []Entry
		for i := range parts {
			entries = append(entries, Entry{Type: "register", Register: &parts[i]})
		}
		leaves, err := r.encode(entries)
		if err != nil {
			return nil, err
		}
		switch err := r.appendAt(ctx, cp.Size, leaves); {
		case errors.Is(err, ledger.ErrMoved):
			continue // somebody else appended: it may be there by now
		case err != nil:
			return nil, err
		}
		for _, leaf := range leaves {
			if err := state.Apply(leaf); err != nil {
				return nil, fmt.Errorf("note the register of exceptions: %w", err)
			}
		}
		r.progress("exceptions", 0, 0, "the register of %s with %d exceptions is in the ledger", use.Source, len(use.Exceptions))
		return state, nil
	}
}

const notConfigured = "not configured"

// SameRegister compares two registers, whoever applied them.
func SameRegister(a, b exception.Register) bool {
	a.By, b.By = "", ""
	x, err1 := json.Marshal(a)
	y, err2 := json.Marshal(b)
	return err1 == nil && err2 == nil && string(x) == string(y)
}

// Subjects are all answers of the last verdicts on canaries planned since a time, for
// what a register says of them: in the ledger's order, passed or not.
func (s *State) Subjects(since time.Time) (out []exception.Subject) {
	for _, cs := range s.Canaries {
		v, judged := cs.Verdict()
		if !judged || cs.At.Before(since) {
			continue
		}
		for _, check := range canary.Checks() {
			if a, ok := v.Checks[check]; ok {
				out = append(out, exception.About(cs.Plan.Canary, cs.At, check, a))
			}
		}
	}
	return out
}
