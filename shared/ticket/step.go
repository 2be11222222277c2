package ticket

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/auditcanary/auditcanary/shared/canary"
	"github.com/auditcanary/auditcanary/shared/inert"
	"github.com/auditcanary/auditcanary/shared/ledger"
	"github.com/auditcanary/auditcanary/shared/run"
)

// Step is the report step: it brings tickets and chat to what the ledger says. Any
// number of them may be at work at once, and each may die at any point: what it is
// about to do is in the ledger before it does it, at the very size that it decided on.
type Step struct {
	Log *ledger.Log
	// Desk and Chat; nil: none is configured. (A dry run needs neither; NoDesk and NoChat
	// say what is not.)
	Desk           Desk
	Chat           Chat
	NoDesk, NoChat bool
	Config
	News NewsConfig
	// Origin of the ledger, for references to it.
	Origin string
	Clock  func() time.Time
	// Progress is told what happens. Optional.
	Progress func(run.Progress)
}

// Options choose what a step does.
type Options struct {
	// Run whose summary the chat gets (default: the last one of which nothing is awaited).
	// Tickets follow from all runs, always.
	Run string
	// DryRun does nothing, and asks nobody: what people did at the desk is not known.
	DryRun bool
}

// Result is what a step did.
type Result struct {
	DryRun bool `json:"dry_run,omitempty"`
	// Tally counts what was ever wrong, by how it stands now.
	Tally map[Condition]int `json:"tally"`
	Acts  []Done            `json:"acts"`
	Posts []Told            `json:"posts"`
	// Said is what else there is to say, a sentence each.
	Said []string `json:"said"`
	// LedgerSize counts the ledger's entries at the end of the step, LedgerNewest is when
	// the newest was written.
	LedgerSize   int64     `json:"-"`
	LedgerNewest time.Time `json:"-"`
}

// Done is one act, as it came out.
type Done struct {
	Fingerprint string `json:"fingerprint"`
	Kind        Kind   `json:"kind"`
	Act         string `json:"act"` // as in run.Ticket, or wait, left
	Key         string `json:"key,omitempty"`
	URL         string `json:"url,omitempty"`
	Why         string `json:"why"`
	Err         string `json:"error,omitempty"`
	// Refused: it will not go away by itself.
	Refused bool `json:"refused,omitempty"`
	// Adopted: the ticket was there already.
	Adopted bool `json:"adopted,omitempty"`
}

// ExitCode is 2 if something was not done that should be, else 0. Of the chat only that
// it could not be opened counts: whoever was not told yet will be.
func (r Result) ExitCode() int {
	if slices.ContainsFunc(r.Posts, func(t Told) bool { return t.Refused }) {
		return 2
	}
	for _, d := range r.Acts {
		if d.Err != "" || d.Act == "wait" {
			return 2
		}
	}
	return 0
}

// batch is how many intents are written at once: each is begun soon after.
const batch = 8

// mostActs bounds what one step does about one ticket. Five suffice for anything; two
// steps that undo each other's work shall not do so for ever.
const mostActs = 20

// giveUpAfter so many failures in a row the desk is left alone until the next step.
const giveUpAfter = 3

// appendTimeout bounds one append.
const appendTimeout = time.Minute

// Run does the step. The error is for a ledger that cannot be read or written, or a
// context that ended; what the desk or the chat did not do is in the result.
func (s *Step) Run(ctx context.Context, opt Options) (Result, error) {
	r := &reporting{Step: s, opt: opt, c: s.Config.withDefaults(), state: run.NewState(), desk: map[string]AtDesk{}, failed: map[string]bool{}, acts: map[string]int{}, gone: map[string]bool{}}
	r.out = Result{DryRun: opt.DryRun, Tally: map[Condition]int{}, Acts: []Done{}, Posts: []Told{}, Said: []string{}}
	err := r.run(ctx)
	r.out.LedgerSize, r.out.LedgerNewest = r.state.Size, r.state.Newest
	return r.out, err
}

// reporting is one step under way.
type reporting struct {
	*Step
	c     Config
	opt   Options
	state *run.State
	// signed is the checkpoint that it is of.
	signed string
	desk   map[string]AtDesk
	asked  bool
	// failed are the tickets that are left alone for the rest of this step.
	failed map[string]bool
	acts   map[string]int // done in this step, by fingerprint
	// gone are the fingerprints whose ticket was found deleted in this step: one that is
	// made anew is not deleted at once.
	gone   map[string]bool
	inARow int
	total  int
	out    Result
}

func (r *reporting) run(ctx context.Context) error {
	if err := r.catchUp(ctx); err != nil {
		return err
	}
	if r.opt.Run != "" && r.state.Run(r.opt.Run) == nil {
		return fmt.Errorf("notify: no run %q in the ledger", r.opt.Run)
	}
	if err := r.tickets(ctx); err != nil {
		return err
	}
	for _, f := range r.findings() {
		r.out.Tally[f.Condition]++
	}
	return r.chat(ctx)
}

// catchUp folds what has come into the ledger.
func (r *reporting) catchUp(ctx context.Context) error {
	cp, err := r.state.Follow(ctx, r.Log)
	r.signed = string(cp.Signed)
	return err
}

func (r *reporting) findings() []*Finding {
	return Fold(r.state, r.covers(), r.c)
}

// covers are the exceptions that count: those of the register in the ledger.
func (r *reporting) covers() Covers {
	if r.state.Register == nil {
		return nil
	}
	return InRegister(*r.state.Register, r.Clock())
}

// noticedFor is how long back an exception must have matched something.
const noticedFor = 30 * 24 * time.Hour

func (r *reporting) facts() Facts {
	f := Facts{Findings: r.findings(), Tickets: r.state.TicketStates(), Desk: r.desk, Origin: r.Origin, Checkpoint: r.signed, Now: r.Clock()}
	if r.state.Register != nil {
		f.Notices = r.state.Register.Notices(f.Now, r.state.Subjects(f.Now.Add(-noticedFor)))
	}
	return f
}

// tickets decides and does, round after round, one act for each ticket, until nothing
// is left that this step can do.
func (r *reporting) tickets(ctx context.Context) error {
	if r.opt.DryRun && r.NoDesk {
		return nil
	}
	if r.opt.DryRun {
		for _, a := range Decide(r.facts(), r.c) {
			r.out.Acts = append(r.out.Acts, doneOf(a))
		}
		return nil
	}
	if r.Desk == nil {
		return nil
	}
	for {
		if err := ctx.Err(); err != nil {
			return fmt.Errorf("notify: %w", context.Cause(ctx))
		}
		if err := r.catchUp(ctx); err != nil {
			return err
		}
		r.ask(ctx)
		todo, waiting := r.next(Decide(r.facts(), r.c))
		if len(todo) == 0 {
			return r.look(ctx, waiting)
		}
		entries := make([]run.Entry, len(todo))
		for i, a := range todo {
			entries[i] = run.Entry{Type: "ticket", Ticket: a.entry(a.Act != "gone")}
		}
		at := r.Clock()
		err := r.appendAt(ctx, entries)
		if errors.Is(err, ledger.ErrMoved) {
			continue // somebody else appended: decide anew on what stands now
		}
		if err != nil {
			return err
		}
		for _, a := range todo {
			if a.Act == "gone" {
				r.out.Acts = append(r.out.Acts, doneOf(a))
				delete(r.desk, a.Key)
				r.gone[a.Fingerprint] = true
				continue
			}
			if err := r.do(ctx, a, at); err != nil {
				return err
			}
		}
	}
}

// next picks the first act of each ticket, a batch of them, and what has to wait.
func (r *reporting) next(acts []Act) (todo, waiting []Act) {
	first := map[string]bool{}
	left := 0
	for _, a := range acts {
		if first[a.Fingerprint] || r.failed[a.Fingerprint] {
			continue
		}
		first[a.Fingerprint] = true
		if a.Act == "wait" || a.Act == "left" {
			waiting = append(waiting, a)
			continue
		}
		enough := ""
		switch {
		case r.acts[a.Fingerprint] >= mostActs:
			enough = fmt.Sprintf("%d acts on one ticket are enough for one", mostActs)
		case a.Act == "gone" && r.gone[a.Fingerprint]:
			enough = "the one that it took the place of was gone in this step as well; does the desk say that of what is there?"
		}
		if enough != "" {
			r.failed[a.Fingerprint] = true
			d := doneOf(a)
			d.Err = "left for the next step: " + enough
			r.out.Acts = append(r.out.Acts, d)
			continue
		}
		if left++; len(todo) < batch && r.inARow < giveUpAfter {
			todo = append(todo, a)
			r.acts[a.Fingerprint]++
		}
	}
	r.total = max(r.total, len(r.out.Acts)+left)
	if left > 0 && r.inARow >= giveUpAfter {
		r.say("The desk failed %d times in a row: %d tickets are left for the next step.", r.inARow, left)
		for _, a := range acts {
			if first[a.Fingerprint] && a.Act != "wait" && a.Act != "left" {
				first[a.Fingerprint] = false
				d := doneOf(a)
				d.Err = "not begun: the desk does not answer"
				r.out.Acts = append(r.out.Acts, d)
			}
		}
	}
	return todo, waiting
}

// ask looks, once in a step, how the tickets stand that should be open.
func (r *reporting) ask(ctx context.Context) {
	if r.asked {
		return
	}
	r.asked = true
	for _, t := range r.state.TicketStates() {
		if t.Key == "" || !t.Open {
			continue
		}
		if r.inARow >= giveUpAfter {
			r.desk[t.Key] = AtDesk{Err: "the desk does not answer"}
			continue
		}
		call, cancel := context.WithTimeout(ctx, r.callTimeout())
		found, err := r.Desk.Find(call, Query{Key: t.Key})
		cancel()
		switch {
		case errors.Is(err, ErrGone), err == nil && len(found) == 0:
			r.desk[t.Key] = AtDesk{Gone: true}
		case err != nil:
			r.desk[t.Key] = AtDesk{Err: short(err)}
			if r.inARow++; errors.Is(err, ErrRefused) {
				r.inARow = 0
			}
			continue
		default:
			r.desk[t.Key] = AtDesk{Open: found[0].Open}
		}
		r.inARow = 0
	}
}

// begunWithin is how soon after its intent an act must be begun; callTimeout is what it
// is then given. Whoever waits for inFlight after an intent finds it over.
func (r *reporting) begunWithin() time.Duration { return r.c.inFlight() / 3 }
func (r *reporting) callTimeout() time.Duration { return r.c.inFlight() / 2 }

// do makes one act whose intent is in the ledger since a time, and writes down what
// came of it.
func (r *reporting) do(ctx context.Context, a Act, since time.Time) error {
	d := doneOf(a)
	e := a.entry(false)
	if r.Clock().Sub(since) > r.begunWithin() {
		// It is decided on anew: somebody else may soon take it for abandoned.
		e.Err = "not begun: it came too late after its intent"
		return r.append(ctx, run.Entry{Type: "ticket", Ticket: e})
	}
	call, cancel := context.WithTimeout(ctx, r.callTimeout())
	err := r.act(call, a, &d)
	cancel()
	r.note(a, err, e, &d)
	e.Key, e.URL = d.Key, d.URL
	if d.Adopted {
		e.Content = "" // somebody else may have written it: what it has to say follows
	}
	if err := r.append(ctx, run.Entry{Type: "ticket", Ticket: e}); err != nil {
		return err
	}
	r.out.Acts = append(r.out.Acts, d)
	if r.Progress != nil {
		r.Progress(run.Progress{Step: "notify", Done: len(r.out.Acts), Total: r.total, Message: a.Act + " " + a.Why})
	}
	return nil
}

// note says what an act's error means.
func (r *reporting) note(a Act, err error, e *run.Ticket, d *Done) {
	if err == nil {
		r.inARow = 0
		return
	}
	d.Err, d.Refused = short(err), errors.Is(err, ErrRefused)
	var early *notBegun
	e.Err, e.Unknown = d.Err, !d.Refused && !errors.Is(err, ErrGone) && !errors.As(err, &early)
	switch {
	case errors.Is(err, ErrGone):
		r.inARow = 0
		r.desk[a.Key] = AtDesk{Gone: true} // what follows from that is decided next
		d.Err = ""
		d.Why += ": " + short(err)
		return
	case d.Refused:
		r.inARow = 0
	default:
		r.inARow++
	}
	r.failed[a.Fingerprint] = true
}

// act makes the call.
func (r *reporting) act(ctx context.Context, a Act, d *Done) error {
	if a.Act != "create" {
		a.change.Mark = a.mark()
		if err := r.Desk.Do(ctx, a.Key, a.change); err != nil {
			return err
		}
		if to := a.change.To; to != "" {
			r.desk[a.Key] = AtDesk{Open: to == "open"}
		}
		return nil
	}
	// Another ledger, or a step that died long ago, may have made it.
	found, err := r.find(ctx, a)
	if err != nil {
		// Nothing was made: that is as certain as a refusal, but it will go away.
		return &notBegun{err}
	}
	issue := found
	if found.Key == "" {
		if issue, err = r.Desk.Create(ctx, a.draft); err != nil {
			return err
		}
		if issue.Key == "" {
			return errors.New("the desk made a ticket and did not name it")
		}
	} else {
		d.Adopted = true
		d.Why += "; it was there already"
	}
	d.Key, d.URL = issue.Key, issue.URL
	r.desk[issue.Key] = AtDesk{Open: issue.Open || !d.Adopted}
	return nil
}

// notBegun is an error before anything was done.
type notBegun struct{ err error }

func (e *notBegun) Error() string { return e.err.Error() }
func (e *notBegun) Unwrap() error { return e.err }

// find looks for the ticket of an act by its mark; none: the zero Issue.
func (r *reporting) find(ctx context.Context, a Act) (Issue, error) {
	found, err := r.Desk.Find(ctx, Query{Mark: Mark(a.Fingerprint)})
	if err != nil {
		return Issue{}, err
	}
	// Deleted ones may still be in the index. Of several an open one, else the newest.
	found = slices.DeleteFunc(slices.Clone(found), func(i Issue) bool { return i.Key == "" || slices.Contains(a.gone, i.Key) })
	if len(found) == 0 {
		return Issue{}, nil
	}
	if i := slices.IndexFunc(found, func(i Issue) bool { return i.Open }); i >= 0 {
		return found[i], nil
	}
	return found[len(found)-1], nil
}

// look goes through what has to wait: a ticket whose creation was interrupted may show
// by now.
func (r *reporting) look(ctx context.Context, waiting []Act) error {
	found := 0
	for _, a := range waiting {
		p := a.pending
		if p == nil || p.Act != "create" || r.inARow >= giveUpAfter {
			r.failed[a.Fingerprint] = true
			r.out.Acts = append(r.out.Acts, doneOf(a))
			continue
		}
		d := doneOf(a)
		call, cancel := context.WithTimeout(ctx, r.callTimeout())
		issue, err := r.find(call, a)
		cancel()
		e := *p
		e.Pending, e.Err, e.Unknown = false, "", false
		switch {
		case err != nil:
			d.Err = short(err)
			r.failed[a.Fingerprint] = true
			r.out.Acts = append(r.out.Acts, d)
			continue
		case issue.Key != "":
			e.Key, e.URL, e.Content = issue.Key, issue.URL, "" // see do
			d.Act, d.Key, d.URL, d.Adopted, d.Why = "create", issue.Key, issue.URL, true, "it was made before this step, which had to find it"
			r.desk[issue.Key] = AtDesk{Open: issue.Open}
			found++
		case r.Clock().Sub(p.At) < r.c.inFlight()+r.c.SearchLag:
			r.failed[a.Fingerprint] = true
			r.out.Acts = append(r.out.Acts, d)
			continue
		default:
			e.Err = "never made: the desk does not show it after its search has caught up"
			d.Act, d.Why = "left", e.Err+", and it is no longer needed"
		}
		if err := r.append(ctx, run.Entry{Type: "ticket", Ticket: &e}); err != nil {
			return err
		}
		r.out.Acts = append(r.out.Acts, d)
	}
	if found > 0 {
		return r.tickets(ctx) // what they should say now
	}
	return nil
}

// mark identifies a change. A comment and what is attached go by what they are about,
// so that they are not there twice when an interrupted step is made good after another
// run. The same once more, later, is another one.
func (a Act) mark() string {
	what := a.content
	if a.Act == "comment" || a.Act == "attach" {
		what = a.about
	}
	return canary.Marker + "-" + hash(a.Fingerprint, a.Key, a.Act, what, fmt.Sprint(a.nth))[:24]
}

// entry is an act for the ledger.
func (a Act) entry(pending bool) *run.Ticket {
	e := &run.Ticket{
		Fingerprint: a.Fingerprint, Kind: string(a.Kind), Act: a.Act, N: a.last + 1, Pending: pending,
		Key: a.Key, Content: a.content, Change: a.about,
	}
	if pending {
		e.Members = a.members
	}
	return e
}

func doneOf(a Act) Done {
	return Done{Fingerprint: a.Fingerprint, Kind: a.Kind, Act: a.Act, Key: a.Key, Why: a.Why}
}

// maxErr bounds what of an error is kept, in bytes.
const maxErr = 600

func short(err error) string { return cut(inert.Line(err.Error()), maxErr) }

func (r *reporting) say(format string, args ...any) {
	r.out.Said = append(r.out.Said, fmt.Sprintf(format, args...))
}

// appendAt writes entries where nobody has appended since the fold; else its error
// wraps ledger.ErrMoved.
func (r *reporting) appendAt(ctx context.Context, entries []run.Entry) error {
	leaves, err := r.encode(entries)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, appendTimeout)
	defer cancel()
	if _, err := r.Log.AppendAt(ctx, r.state.Size, leaves...); err != nil {
		return fmt.Errorf("append %d entries to the ledger: %w", len(leaves), err)
	}
	return nil
}

// append writes down what was done, even if ctx has ended meanwhile.
func (r *reporting) append(ctx context.Context, entries ...run.Entry) error {
	leaves, err := r.encode(entries)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), appendTimeout)
	defer cancel()
	if _, err := r.Log.Append(ctx, leaves...); err != nil {
		return fmt.Errorf("append %d entries to the ledger: %w", len(leaves), err)
	}
	return nil
}

func (r *reporting) encode(entries []run.Entry) ([][]byte, error) {
	var leaves [][]byte
	now := r.Clock().UTC()
	for _, e := range entries {
		e.V, e.At = 1, now
		leaf, err := json.Marshal(e)
		if err != nil {
			return nil, fmt.Errorf("encode %s entry: %w", e.Type, err)
		}
		leaves = append(leaves, leaf)
	}
	return leaves, nil
}
