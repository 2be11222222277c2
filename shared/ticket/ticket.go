// Package ticket keeps a ticket for each thing that fails until it is fixed.
//
// Three parts: Fold says from the runs how each check of each scenario at each target
// stands; Decide says from that, from the tickets as the ledger has them, and from what
// people did at the desk, what is to be done; Step does it. The first two are pure.
//
// The rules, in the order in which they bite:
//
//   - Only the last verdict on a canary counts, and none while anything of it is awaited.
//     What was not run is no answer: it closes nothing and opens nothing.
//   - A check that fails or is late has one ticket, however many runs say so: by its
//     fingerprint (check, scenario, target), never by the run. One that cannot be found
//     out gets a ticket after InconclusiveAfter runs in a row.
//   - If more than GroupAbove checks without a ticket need one in the same step, of the
//     same check and hop, they share one. While that is open, others of that check and hop
//     join it. A fingerprint stays with the ticket that it got.
//   - Counters are kept up to date in the text; a comment is made, and evidence attached,
//     only when what is said changes: how it stands, hop, step, fields. Ids and times,
//     which are others in each run, are no change.
//   - A ticket is resolved after ResolveAfter passes in a row (an inconclusive run breaks
//     the row); that of a group, when all its members have passed so often. It is reopened
//     on return. An exception makes no ticket and resolves none: it is no fix.
//   - A ticket that somebody resolved although the check does not pass is reopened, or
//     left, as configured. One that was deleted is made anew and says so.
//
// Every act is in the ledger before it is done, appended at the very size that it was
// decided on, so that of two steps at once only one does it. Of a creation that was
// interrupted nobody knows whether it was done: the ticket is looked for by its mark, and
// only once the desk's search must have caught up is another one made.
package ticket

import (
	"context"
	"errors"
	"time"

	"github.com/auditcanary/auditcanary/shared/canary"
)

// Desk is where tickets are kept. Its errors say what to do about them; what will
// not go away by itself (a wrong token, a field that the project lacks) wraps
// ErrRefused, a ticket that somebody deleted wraps ErrGone. Every call is one attempt,
// bounded in time: waiting as a 429 or 503 asks for is the desk's affair as long as
// ctx allows.
type Desk interface {
	// Find returns the tickets that carry a mark, oldest first, or the one of a key.
	// A search lags: what was created a moment ago may be missing.
	Find(ctx context.Context, q Query) ([]Issue, error)
	// Create makes one ticket. When it fails it may have been made all the same,
	// unless the error wraps ErrRefused.
	Create(ctx context.Context, d Draft) (Issue, error)
	// Do makes one change of a ticket. It is idempotent: what a mark already is on
	// (a comment, an attachment), or the state it already has, is not done again.
	Do(ctx context.Context, key string, c Change) error
}

// ErrRefused wraps what will not go away by itself; nothing was done.
var ErrRefused = errors.New("refused")

// ErrGone wraps that a ticket is no more.
var ErrGone = errors.New("gone")

// Query asks for tickets: by Key, or by Mark.
type Query struct{ Key, Mark string }

// Issue is a ticket as it stands at the desk.
type Issue struct {
	Key, URL string
	// Open, or resolved by whomever.
	Open    bool
	Status  string // in the desk's own words
	Labels  []string
	Created time.Time
}

// Draft is a new ticket.
type Draft struct {
	// Mark identifies what it is about, [a-z0-9-]; it becomes a label.
	Mark    string
	Kind    Kind
	Summary string
	Body    Doc
	Labels  []string
	// Severity decides the priority: "critical", "high", "medium", "low".
	Severity string
	// Component that the configuration maps the category to, if any.
	Component string
}

// Kind of ticket; the configuration may give each its own issue type.
type Kind string

const (
	Failure   Kind = "failure"
	Group     Kind = "group"     // many failures of one cause
	Exception Kind = "exception" // an exception that ends, or is not in order
)

// Change is one change of a ticket: exactly one of these is set.
type Change struct {
	// Mark identifies the change, [a-z0-9-].
	Mark string
	// Body and Summary replace what the ticket says.
	Summary string
	Body    Doc
	// Comment is added.
	Comment Doc
	// Attach is added under Name, JSON.
	Name   string
	Attach []byte
	// To: "resolved" or "open".
	To string
}

// Doc is what a ticket says. All text in it may be anybody's: the desk escapes it.
type Doc []Block

// Block is one part of a Doc.
type Block struct {
	// Kind: heading, text, list, table, code, link.
	Kind string
	Text string
	// Rows of a table (the first is its head) or of a list (one cell each).
	Rows [][]string
	// URL of a link, http or https; Text is what it shows.
	URL string
}

// Chat is where people are told.
type Chat interface {
	// Post sends a message, into the thread of another if thread is not "".
	Post(ctx context.Context, n News, thread string) (Posted, error)
	// Find looks for a message with a mark that was posted since a time.
	Find(ctx context.Context, mark string, since time.Time) (Posted, bool, error)
}

// Posted is where a message stands.
type Posted struct{ Channel, TS, URL string }

// News is what a message says. All text in it may be anybody's: the chat escapes it.
type News struct {
	// Mark identifies the message, [a-z0-9-]; it carries it (metadata).
	Mark string
	// Kind: run (a summary), change, digest (of a day), detail (in a thread).
	Kind  string
	Title string
	Run   string
	At    time.Time
	Tally []Count
	// Groups in the order in which they are shown; what does not fit is counted.
	Groups []NewsGroup
	Links  []Link
}

// Count of a status.
type Count struct {
	Status canary.Status
	N      int
}

// NewsGroup is a part of the news: "New", "Still failing", "Fixed", "Excepted", "Late", "Could not be found out".
type NewsGroup struct {
	Title string
	Items []NewsItem
}

// NewsItem is one line of it.
type NewsItem struct {
	What   string // "aws/iam-role at 111122223333/us-east-1: surfaced"
	Detail string
	Ticket Link // zero: none
}

// Link is http or https.
type Link struct{ Text, URL string }
