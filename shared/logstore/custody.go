package logstore

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/auditcanary/auditcanary/shared/canary"
	"github.com/auditcanary/auditcanary/shared/trail"
)

// Validate implements run.Custodian. No store of this kind signs for what it holds, so
// that there is nothing to validate: what became of a record, nothing shows.
func (s *Store) Validate(context.Context, trail.Validation, func(trail.Result)) (trail.Validated, error) {
	return trail.Validated{}, fmt.Errorf("log store %s (%s) signs for nothing that it holds: whether a record was changed or taken away cannot be shown by it", s.cfg.Name, s.cfg.Type)
}

// Held implements run.Custodian: is the record still there, and what may take it away?
func (s *Store) Held(ctx context.Context, at []canary.Location) ([]canary.Held, error) {
	out := make([]canary.Held, len(at))
	if len(at) == 0 {
		return out, ctx.Err()
	}
	keeping, err := s.index.Keeping(ctx)
	for i := range at {
		out[i].Unlocked = keeping
		if err != nil {
			out[i].Unlocked = fmt.Sprintf("a store of type %s has no lock that keeps an entry", s.cfg.Type)
			out[i].Unread = append(out[i].Unread, "retention: "+err.Error())
		}
		gone, err := s.gone(ctx, at[i])
		if err != nil {
			out[i].Unread = append(out[i].Unread, "entry: "+err.Error())
		}
		out[i].Gone = gone
	}
	return out, ctx.Err()
}

// gone looks for an entry by its time and hash.
func (s *Store) gone(ctx context.Context, at canary.Location) (bool, error) {
	t, err := timeOf(at.Key)
	if err != nil {
		return false, err
	}
	a, err := s.index.Find(ctx, Query{From: t, Until: t.Add(time.Millisecond), Most: mostAsked})
	same := func(e Entry) bool {
		sum := sha256.Sum256(e.Text)
		return hex.EncodeToString(sum[:]) == at.ObjectSHA256
	}
	switch {
	case slices.ContainsFunc(a.Entries, same):
		return false, nil
	case err != nil:
		return false, err
	case a.More:
		return false, fmt.Errorf("more than %d entries are of that moment", mostAsked)
	}
	return true, nil
}

// timeOf reads the time in an entry's name.
func timeOf(key string) (time.Time, error) {
	_, rest, found := cutLast(key, "@")
	text, _, slash := strings.Cut(rest, "/")
	t, err := time.Parse(time.RFC3339Nano, text)
	if !found || !slash || err != nil {
		return time.Time{}, fmt.Errorf("%q does not name an entry", key)
	}
	return t, nil
}

func cutLast(s, sep string) (before, after string, found bool) {
	i := strings.LastIndex(s, sep)
	if i < 0 {
		return s, "", false
	}
	return s[:i], s[i+len(sep):], true
}
