//go:build !unix

package ledger

import (
	"context"
	"errors"
	"fmt"
)

// lock fails where there is no flock: a ledger there can be read and verified, not written.
func lock(_ context.Context, name string) (unlock func(), err error) {
	return nil, fmt.Errorf("lock %s: %w", name, errors.ErrUnsupported)
}

func syncDir(string) error { return nil }
