package run

import (
	"bytes"
	"cmp"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/auditcanary/auditcanary/shared/canary"
	"github.com/auditcanary/auditcanary/shared/trail"
)

// IntegrityOptions choose which chains of digests to validate.
type IntegrityOptions struct {
	// Places, by account and region.
	Places []canary.Target
	// From and Until bound the time. From zero: each chain from the last head that
	// the ledger knows of it, or from its beginning. Until zero: the store's own now.
	From, Until time.Time
	// Checked is told of each digest and log file, by several goroutines at a time.
	// Optional.
	Checked func(trail.Checked)
}

// Integrity validates the chains of digests and what they sign for, gives each
// result, and writes its head, its findings and the keys it was signed with into
// the ledger as soon as there is one: the next validation goes on from there (also
// after one that was interrupted), and a head that is gone by then is a finding,
// even where everything after it is gone too.
func (r *Run) Integrity(ctx context.Context, opt IntegrityOptions, each func(trail.Result)) (trail.Validated, error) {
	state, _, err := Fold(ctx, r.Log)
	if err != nil {
		return trail.Validated{}, err
	}
	q := trail.Validation{
		Places: opt.Places, From: opt.From, Until: opt.Until, Checked: opt.Checked,
		Heads: state.headsOf(opt.Places), Known: state.publicKeys(), PendingFor: r.Keeping.Overdue,
	}
	begun := r.Clock()
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var failed error
	done := 0
	did, err := r.Custodian.Validate(ctx, q, func(c trail.Result) {
		if failed != nil {
			return
		}
		v := validatedOf(c, begun)
		v.From = opt.From.UTC()
		entries := append(state.newKeys(c.Keys), Entry{Type: "validated", Validated: &v})
		if failed = r.append(ctx, entries...); failed != nil {
			cancel(failed) // what the ledger does not take must not be relied on
			return
		}
		done++
		r.progress("integrity", done, 0, "%s: %d digests and %d log files are valid, %d findings", c.Chain, c.Counts.Digests, c.Counts.Logs, findingsOf(c))
		each(c)
	})
	if failed != nil {
		return did, failed
	}
	if noted := r.noteOwn(ctx, lastRun(state)); err == nil {
		err = noted
	}
	return did, err
}

// Validated is what the validation of one chain found, or of a folder as a whole.
type Validated struct {
	// Begun is when, by our clock.
	Begun time.Time `json:"begun"`
	// From when on it was asked for; zero: from the chain's head.
	From   time.Time    `json:"from,omitzero"`
	Chain  trail.Chain  `json:"chain"`
	Counts trail.Counts `json:"counts"`
	// First and Last: the time that valid digests cover.
	First time.Time `json:"first,omitzero"`
	Last  time.Time `json:"last,omitzero"`
	// Head to go on from; nil if there is none. Its pending files are in Pending: their
	// JSON, gzip-compressed.
	Head    *trail.Head `json:"head,omitempty"`
	Pending []byte      `json:"pending,omitempty"`
	// Findings, as many as an entry holds; More counts the others, by their status.
	Findings []trail.Finding      `json:"findings,omitempty"`
	More     map[trail.Status]int `json:"more,omitempty"`
}

// findingsOf counts them, those that were not kept too.
func findingsOf(c trail.Result) int {
	n := len(c.Findings)
	for _, more := range c.More {
		n += more
	}
	return n
}

// maxValidated and maxPending bound, in bytes, the findings of one entry, and the
// packed pending files of its head; both together must stay below the leaf's limit.
const (
	maxValidated = 20 << 10
	maxPending   = 28 << 10
)

func validatedOf(c trail.Result, begun time.Time) Validated {
	v := Validated{Begun: begun.UTC(), Chain: c.Chain, Counts: c.Counts, First: c.First, Last: c.Last, More: map[trail.Status]int{}}
	maps.Copy(v.More, c.More)
	size := 0
	for _, f := range c.Findings {
		text, err := json.Marshal(f) // as it will stand there: escapes are longer than what they mean
		if size += len(text) + 1; err != nil || size > maxValidated {
			v.More[f.Status]++
			continue
		}
		v.Findings = append(v.Findings, f)
	}
	if c.Head != nil {
		v.keepHead(*c.Head)
	}
	return v
}

// keepHead packs the head's pending files, of which a busy place has hundreds: what
// is alike in their keys is most of them.
func (v *Validated) keepHead(head trail.Head) {
	pending := head.Pending
	head.Pending = nil
	open := head.PendingMore > 0 && head.MoreSince.IsZero() // from long ago on
	for {
		if packed := pack(pending); len(packed) <= maxPending {
			v.Pending, v.Head = packed, &head
			return
		}
		keep := len(pending) - len(pending)/4
		for _, lost := range pending[keep:] {
			if head.PendingMore++; !open && (head.MoreSince.IsZero() || lost.Stored.Before(head.MoreSince)) {
				head.MoreSince = lost.Stored
			}
		}
		pending = pending[:keep]
	}
}

// pack is the JSON of v, compressed.
func pack(v any) []byte {
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	err := json.NewEncoder(w).Encode(v)
	if err := errors.Join(err, w.Close()); err != nil {
		panic(err) // files of a trail are strings and times, and memory takes what is written
	}
	return b.Bytes()
}

// unpack is what pack made; at most 1 MB, as an entry of the ledger may be anybody's.
func unpack(packed []byte, into any) error {
	r, err := gzip.NewReader(bytes.NewReader(packed))
	if err != nil {
		return err
	}
	return json.NewDecoder(io.LimitReader(r, 1<<20)).Decode(into)
}

// noteHead remembers how far a chain was valid. A validation of the past does not
// put it back.
func (s *State) noteHead(v Validated) error {
	if v.Head == nil {
		return nil
	}
	head := *v.Head
	if last := s.heads[v.Chain]; head.End.Before(last.End) || head.AsOf.Before(last.AsOf) {
		return nil
	}
	if len(v.Pending) > 0 {
		if err := unpack(v.Pending, &head.Pending); err != nil {
			return fmt.Errorf("the pending files of %s: %w", v.Chain, err)
		}
	}
	s.heads[v.Chain] = head
	return nil
}

// headsOf are the last heads of the chains of some places.
func (s *State) headsOf(places []canary.Target) []trail.Head {
	var out []trail.Head
	for chain, head := range s.heads {
		if slices.ContainsFunc(places, func(t canary.Target) bool { return t.Account == chain.Account && t.Region == chain.Region }) {
			out = append(out, head)
		}
	}
	slices.SortFunc(out, func(a, b trail.Head) int { return cmp.Compare(a.Chain.String(), b.Chain.String()) })
	return out
}

// newKeys are the entries that keep public keys, of those that the ledger lacks.
func (s *State) newKeys(keys []trail.PublicKey) []Entry {
	var out []Entry
	for i := range keys {
		if s.keepKey(keys[i]) {
			out = append(out, Entry{Type: "public_key", PublicKey: &keys[i]})
		}
	}
	return out
}

// keepKey reports whether a public key is new to the ledger.
func (s *State) keepKey(k trail.PublicKey) bool {
	if _, known := s.keys[k.Fingerprint]; known {
		return false
	}
	s.keys[k.Fingerprint] = k
	return true
}

func (s *State) publicKeys() []trail.PublicKey {
	return slices.SortedFunc(maps.Values(s.keys), func(a, b trail.PublicKey) int { return strings.Compare(a.Fingerprint, b.Fingerprint) })
}
