package ledger

import (
	"context"
	"errors"
	"fmt"
)

// ErrCareless says that a store wrote where its condition forbade it.
var ErrCareless = errors.New("the store ignores the conditions of writes")

// never is no version of anything.
const never Version = `"00000000000000000000000000000000"`

// probePath is where nothing of a log ever stands.
const probePath = "doctor-probe"

// Probe finds out whether a log of so many entries (0: it may not have begun) could be
// written to, and whether its store honours the conditions of writes. It only makes
// writes that must be refused: that a condition, and not the right to write, stops them
// shows that there is one.
//
// With entries it does so upon the first bundle, which never changes and is written as it
// stands: not even a store without conditions would change anything. Without, what it
// would replace is not there; a store without conditions is left with a few bytes at
// doctor-probe, and created says that creating only could not be tried. The error wraps
// ErrCareless where the store wrote.
func Probe(ctx context.Context, s Store, size int64) (created bool, err error) {
	path, data := probePath, []byte("written by a store that ignores If-Match; delete it\n")
	if size > 0 {
		path = tilePath(-1, 0, int(min(size, tileWidth)))
		if data, _, err = get(ctx, s, path); err != nil {
			return false, err
		}
		if err := refused(ctx, s, path, data, ""); err != nil {
			return false, err
		}
	}
	return size > 0, refused(ctx, s, path, data, never)
}

// refused makes a write whose condition does not hold.
func refused(ctx context.Context, s Store, path string, data []byte, old Version) error {
	_, err := s.Put(ctx, path, data, old)
	condition := "it must be at another version"
	if old == "" {
		condition = "it must not exist"
	}
	switch {
	case errors.Is(err, ErrConflict):
		return nil
	case err == nil:
		return fmt.Errorf("ledger: put %s on the condition that %s: %w", path, condition, ErrCareless)
	}
	return fmt.Errorf("ledger: put %s: %w", path, err)
}
