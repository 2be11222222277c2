// Package vitals holds the numbers by which auditcanary itself is watched.
//
// A function fills in a Call while it works; whoever runs the function writes the
// call's numbers at its end, as one line of its log: for CloudWatch in the embedded
// metric format, which makes metrics of it, elsewhere as plain fields.
//
// Numbers have one dimension, the stage. The cell, the run and the function are
// properties of the line: found in the log, and no metric of their own, which would
// cost as much as all others for each cell.
package vitals

import (
	"context"
	"log/slog"
	"maps"
	"math"
	"slices"
	"sync"
	"time"
)

// Name of a number.
type Name string

// Unit of a number, as CloudWatch calls it.
type Unit string

// Units in use.
const (
	Count   Unit = "Count"
	Seconds Unit = "Seconds"
)

// Names of all numbers. Those that count tell of one call, so that they may be summed;
// those said to be as of a call's end may not: of these the highest counts.
const (
	RunsCompleted Name = "RunsCompleted"
	RunsWhole     Name = "RunsWhole"
	LastRunAge    Name = "LastRunAge"

	CanariesProven       Name = "CanariesProven"
	CanariesLate         Name = "CanariesLate"
	CanariesFailed       Name = "CanariesFailed"
	CanariesInconclusive Name = "CanariesInconclusive"
	CanariesNotRun       Name = "CanariesNotRun"
	CanariesExcepted     Name = "CanariesExcepted"
	CanariesWaiting      Name = "CanariesWaiting"
	CanariesUnsealed     Name = "CanariesUnsealed"
	SurfacedLatency      Name = "SurfacedLatency"
	ForgedRecords        Name = "ForgedRecords"

	SweepsCompleted Name = "SweepsCompleted"
	Leftovers       Name = "Leftovers"
	SweepProblems   Name = "SweepProblems"

	LedgerSize       Name = "LedgerSize"
	LedgerHeadAge    Name = "LedgerHeadAge"
	LedgerSignErrors Name = "LedgerSignErrors"
	ClockSkew        Name = "ClockSkew"

	TicketsFailed  Name = "TicketsFailed"
	PostsFailed    Name = "PostsFailed"
	PacketsBuilt   Name = "PacketsBuilt"
	PoisonMessages Name = "PoisonMessages"
)

// Vital is one number: what it is called, what it counts, who tells it.
type Vital struct {
	Name Name
	Unit Unit
	// By are the functions that tell it.
	By []string
	// What it says, for people.
	What string
}

// All lists every number there is.
func All() []Vital {
	folds := []string{"inject", "confirm"}
	return []Vital{
		{RunsCompleted, Count, folds, "runs of which the last canary was decided in this call (one for each cell)"},
		{RunsWhole, Count, []string{"report"}, "runs that came to their end in every cell with nothing awaited, told when the cells are added up"},
		{LastRunAge, Seconds, folds, "since the beginning of the last run that was completed, as of the call's end"},
		{CanariesProven, Count, folds, "verdicts of this call that prove a canary"},
		{CanariesLate, Count, folds, "verdicts of this call that something came late"},
		{CanariesFailed, Count, folds, "verdicts of this call that a check failed"},
		{CanariesInconclusive, Count, folds, "verdicts of this call that it could not be found out"},
		{CanariesNotRun, Count, folds, "verdicts of this call on canaries that were not run"},
		{CanariesExcepted, Count, folds, "verdicts of this call that pass but for an approved exception"},
		{CanariesWaiting, Count, folds, "canaries of the last three days without a verdict, as of the call's end"},
		{CanariesUnsealed, Count, folds, "canaries of the last three days whose records are in no digest yet, as of the call's end"},
		{SurfacedLatency, Seconds, folds, "from each canary's call to its record in the store, of those first seen in this call"},
		{ForgedRecords, Count, folds, "records found in this call that imitate a canary"},
		{SweepsCompleted, Count, []string{"sweep"}, "sweeps that came to their end"},
		{Leftovers, Count, []string{"sweep"}, "things of canaries that still stand after a sweep"},
		{SweepProblems, Count, []string{"sweep"}, "places that a sweep could not list or clean"},
		{LedgerSize, Count, append(slices.Clone(folds), "report"), "entries of the ledger, as of the call's end"},
		{LedgerHeadAge, Seconds, append(slices.Clone(folds), "report"), "since the ledger's newest entry, as of the call's end; a call that appends brings it to 0"},
		{LedgerSignErrors, Count, []string{"inject", "confirm", "sweep", "report"}, "calls that ended because the key in KMS did not sign the ledger"},
		{ClockSkew, Seconds, folds, "by how much the provider's clock lay outside the time of our calls at most, in the last three days"},
		{TicketsFailed, Count, []string{"report"}, "tickets that could not be brought to what the ledger says"},
		{PostsFailed, Count, []string{"report"}, "messages that the chat did not take"},
		{PacketsBuilt, Count, []string{"packet"}, "evidence packets that stand in the bucket, built by this call or before"},
		{PoisonMessages, Count, []string{"confirm"}, "messages of the archive's queue that nobody can read"},
	}
}

// Call is one call of a function, as it is watched. A nil Call watches nothing: its
// methods do nothing, so that nobody has to ask whether they are watched.
type Call struct {
	// Began is when the call did.
	Began time.Time
	// Log takes lines about the call; never nil.
	Log *slog.Logger

	mu      sync.Mutex
	cell    string
	run     string
	numbers map[Name][]float64
}

// NewCall is a call that begins.
func NewCall(began time.Time, log *slog.Logger) *Call {
	return &Call{Began: began, Log: log, numbers: map[Name][]float64{}}
}

type callKey struct{}

// With is ctx for whoever does the call.
func (c *Call) With(ctx context.Context) context.Context {
	return context.WithValue(ctx, callKey{}, c)
}

// From is the call that ctx is of; nil if it is watched by nobody.
func From(ctx context.Context) *Call {
	c, _ := ctx.Value(callKey{}).(*Call)
	return c
}

// About says which cell and run the call turned out to be about; "" leaves it open.
func (c *Call) About(cell, run string) {
	if c == nil {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if cell != "" {
		c.cell = cell
	}
	if run != "" {
		c.run = run
	}
}

// Subject is what About said.
func (c *Call) Subject() (cell, run string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.cell, c.run
}

// Set tells a number, or several values of one. What is no number is not told.
func (c *Call) Set(n Name, values ...float64) {
	if c == nil {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.numbers[n] = slices.DeleteFunc(slices.Clone(values), func(v float64) bool { return math.IsNaN(v) || math.IsInf(v, 0) })
}

// Add adds to a number that counts.
func (c *Call) Add(n Name, v float64) {
	if c == nil {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, was := range c.numbers[n] {
		v += was
	}
	c.numbers[n] = []float64{v}
}

// Numbers are those that were told.
func (c *Call) Numbers() map[Name][]float64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return maps.Clone(c.numbers)
}

// Fields are numbers as plain values, for logs that are not CloudWatch's: several
// values as p50, p90, p99, max and n.
func Fields(numbers map[Name][]float64) []slog.Attr {
	var out []slog.Attr
	for _, v := range All() {
		values, told := numbers[v.Name]
		switch {
		case !told || len(values) == 0:
		case v.Name != SurfacedLatency:
			out = append(out, slog.Float64(string(v.Name), values[len(values)-1]))
		default:
			sorted := slices.Sorted(slices.Values(values))
			at := func(share float64) float64 { // nearest rank
				return sorted[max(0, int(math.Ceil(share*float64(len(sorted))))-1)]
			}
			out = append(out, slog.Group(string(v.Name), "p50", at(.5), "p90", at(.9), "p99", at(.99), "max", sorted[len(sorted)-1], "n", len(sorted)))
		}
	}
	return out
}
