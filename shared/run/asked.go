package run

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/base32"
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/auditcanary/auditcanary/shared/canary"
	"github.com/auditcanary/auditcanary/shared/ledger"
)

// AskedFor is how long what was asked for may still be done: nobody expects a run hours
// after they asked for it.
const AskedFor = time.Hour

// RunFor is the id of the run that a command becomes. It follows from the command alone,
// so that two that take it up begin the same run, and the second finds it begun.
func RunFor(a Asked) string {
	sum := sha256.Sum256([]byte(a.ID))
	return a.At.UTC().Format("20060102") + "-" + strings.ToLower(base32.StdEncoding.EncodeToString(sum[:]))[:6]
}

// Ask returns what is known of a command: what was asked, with the run it became or why
// it was not done.
func (s *State) Ask(id string) (Asked, bool) {
	var out Asked
	found := false
	for _, a := range s.Asked {
		if a.ID != id {
			continue
		}
		if !found {
			out, found = a, true
			continue
		}
		if a.Run != "" {
			out.Run = a.Run
		}
		if a.Refused != "" {
			out.Refused = a.Refused
		}
	}
	return out, found
}

// Waiting are the runs that were asked for and have neither begun nor been refused, in
// the order in which they were asked for.
func (s *State) Waiting() []Asked {
	var out []Asked
	seen := map[string]bool{}
	for _, a := range s.Asked {
		if a.Command != "run" || seen[a.ID] {
			continue
		}
		seen[a.ID] = true
		if a, _ := s.Ask(a.ID); a.Run == "" && a.Refused == "" && s.Run(RunFor(a)) == nil {
			out = append(out, a)
		}
	}
	return out
}

// NoteAsked writes down that somebody asked, once: of a command that the ledger knows it
// returns what is known, and true. The state is that before the entry.
func NoteAsked(ctx context.Context, log *ledger.Log, clock func() time.Time, a Asked) (Asked, *State, bool, error) {
	r := &Run{Log: log, Clock: clock}
	for {
		state, cp, err := Fold(ctx, log)
		if err != nil {
			return a, nil, false, err
		}
		if known, ok := state.Ask(a.ID); ok {
			return known, state, true, nil
		}
		err = r.noteAt(ctx, cp.Size, a)
		if errors.Is(err, ledger.ErrMoved) && ctx.Err() == nil {
			continue
		}
		return a, state, false, err
	}
}

// NoteStrangers writes down what is said of requests that nobody may make, who came through
// slack or http, unless the ledger was told of such within the time every, or often
// enough within a day, by whichever process: whoever may ask for nothing must not make it
// grow. It reports whether it did.
func NoteStrangers(ctx context.Context, log *ledger.Log, clock func() time.Time, through, said string, every time.Duration, aDay int) (bool, error) {
	r := &Run{Log: log, Clock: clock}
	for {
		state, cp, err := Fold(ctx, log)
		if err != nil {
			return false, err
		}
		now, today := clock().UTC(), 0
		for _, a := range state.Asked {
			if !strings.HasPrefix(a.ID, strangers) {
				continue
			}
			ago := now.Sub(a.At).Abs() // clocks may differ
			if ago < every {
				return false, nil
			}
			if ago < 24*time.Hour {
				today++
			}
		}
		if today >= aDay {
			return false, nil
		}
		err = r.noteAt(ctx, cp.Size, Asked{
			ID: fmt.Sprintf("%s%d", strangers, now.UnixNano()), By: "nobody who is allowed", Through: through, Command: "unknown", Refused: said, At: now,
		})
		if errors.Is(err, ledger.ErrMoved) && ctx.Err() == nil {
			continue // another process may have told it
		}
		return err == nil, err
	}
}

// strangers begins the ids of such entries; those of commands begin with where they came through.
const strangers = "refused:"

// noteAt appends while ctx lasts: who asked is waiting for the answer.
func (r *Run) noteAt(ctx context.Context, size int64, a Asked) error {
	leaves, err := r.encode([]Entry{{Type: "asked", Asked: &a}})
	if err != nil {
		return err
	}
	if _, err := r.Log.AppendAt(ctx, size, leaves...); err != nil {
		return fmt.Errorf("append what was asked to the ledger: %w", err)
	}
	return nil
}

// Take does what was asked for and not begun: the command of one id, or all ("").
// It returns the runs that it began. What is older than AskedFor, or selects nothing, is
// written down as refused. While another run is under way nothing is begun, since two
// would act on the same things: a Take that did that run does what was asked for
// meanwhile, else whoever comes next.
func (r *Run) Take(ctx context.Context, id string) ([]string, error) {
	var begun []string
	for {
		state, cp, err := Fold(ctx, r.Log)
		if err != nil {
			return begun, err
		}
		todo := state.Waiting()
		if id != "" {
			todo = slices.DeleteFunc(todo, func(a Asked) bool { return a.ID != id })
		}
		if len(todo) == 0 || ctx.Err() != nil {
			return begun, nil
		}
		ask := todo[0]
		narrowed, why := r.narrow(ask)
		if age := r.Clock().Sub(ask.At); age > AskedFor {
			why = fmt.Sprintf("asked for %s ago: too old to be done now", age.Round(time.Minute))
		}
		if why != "" {
			ask.Refused = why
			if err := r.noteAt(ctx, cp.Size, ask); err != nil && !errors.Is(err, ledger.ErrMoved) {
				return begun, err
			}
			continue
		}
		runID := RunFor(ask)
		err = narrowed.Inject(ctx, runID)
		if errors.Is(err, errRefused) {
			continue
		}
		if errors.Is(err, errUnderWay) {
			r.progress("inject", 0, 0, "what %s asked for waits until another run is injected", ask.By)
			return begun, nil
		}
		if err != nil {
			return begun, fmt.Errorf("run %s that %s asked for: %w", runID, ask.By, err)
		}
		begun = append(begun, runID)
		id = "" // whoever came for another meanwhile has gone home
	}
}

// errUnderWay: a run that was asked for is not begun beside another. errRefused: it was
// refused meanwhile.
var (
	errUnderWay = errors.New("another run is under way")
	errRefused  = errors.New("it was refused")
)

// giveUp refuses what was asked for and is not begun, of runs that are over: whoever would
// have told of them does not any more.
func (r *Run) giveUp(ctx context.Context, over []Over) error {
	for _, o := range over {
		for {
			state, cp, err := Fold(ctx, r.Log)
			if err != nil {
				return err
			}
			waiting := state.Waiting()
			i := slices.IndexFunc(waiting, func(a Asked) bool { return RunFor(a) == o.Run })
			if i < 0 {
				break
			}
			waiting[i].Refused = short("it was not begun when its execution ended: " + o.Why)
			err = r.noteAt(ctx, cp.Size, waiting[i])
			if err == nil {
				break
			}
			if !errors.Is(err, ledger.ErrMoved) {
				return err
			}
		}
	}
	return nil
}

// askedFor reports whether somebody asked for a run, beside the schedule.
func (s *State) askedFor(runID string) bool {
	return slices.ContainsFunc(s.Asked, func(a Asked) bool { return a.Run == runID })
}

// underWay reports whether somebody injects, as far as the ledger tells: a run whose
// process died is not waited for longer than a command is.
func (r *Run) underWay(s *State) bool {
	return slices.ContainsFunc(s.Runs, func(rs *RunState) bool { return !rs.Injected && r.Clock().Sub(rs.At) < AskedFor })
}

// narrow leaves the scenarios and targets that were asked for, or says why none are left.
func (r *Run) narrow(a Asked) (*Run, string) {
	out := *r
	out.asked = &a
	if len(a.Scenarios) > 0 {
		out.Scenarios = slices.DeleteFunc(slices.Clone(r.Scenarios), func(s canary.Scenario) bool {
			return !slices.ContainsFunc(a.Scenarios, func(glob string) bool { return MatchesID(glob, s.ID) })
		})
	}
	if len(out.Scenarios) == 0 {
		return nil, fmt.Sprintf("no scenario matches %s", strings.Join(a.Scenarios, ", "))
	}
	if len(a.Targets) > 0 {
		out.Targets = slices.DeleteFunc(slices.Clone(r.Targets), func(t canary.Target) bool {
			return !slices.Contains(a.Targets, t.Account) && !slices.Contains(a.Targets, t.Account+"/"+t.Region)
		})
	}
	if len(out.Targets) == 0 {
		return nil, fmt.Sprintf("target %s is not configured", strings.Join(a.Targets, ", "))
	}
	if out.Planned() == 0 {
		return nil, fmt.Sprintf("no scenario of %s is for %s", cmp.Or(strings.Join(a.Scenarios, ", "), "these"), cmp.Or(strings.Join(a.Targets, ", "), "these targets"))
	}
	return &out, ""
}

// MatchesID reports whether a glob matches a scenario's id; "*" does not match "/", but
// "*" alone matches every id.
func MatchesID(glob, id string) bool {
	ok, err := path.Match(glob, id)
	return glob == "*" || err == nil && ok
}
