package run

import (
	"context"
	"time"

	"github.com/auditcanary/auditcanary/shared/canary"
)

// AlertSource is one place where alerts arrive.
type AlertSource interface {
	// Listen returns what has arrived since a time and is still there. Nothing is
	// taken away by it. The error is for a place that could not be asked at all.
	Listen(ctx context.Context, since time.Time) (Arrived, error)
	// Settle says which alerts of the last Listen, by id, are in the ledger or are
	// nobody's of ours: a queue forgets them, and gives the others again. Places that
	// keep alerts themselves do nothing.
	Settle(ctx context.Context, ids []string) error
}

// Arrived is what a place where alerts arrive held.
type Arrived struct {
	// AsOf is the place's own clock at the beginning of a complete look: whatever had
	// arrived by then is in it. Zero if this look was not complete.
	AsOf   time.Time
	Alerts []canary.Rang
	// Problems are what could not be read, a sentence each that names it.
	Problems []string
}
