package wire

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"runtime/debug"
	"slices"
	"sync"
	"time"

	"github.com/auditcanary/auditcanary/shared/run"
	"github.com/auditcanary/auditcanary/shared/ticket"
	"github.com/auditcanary/auditcanary/shared/trail"
	"github.com/auditcanary/auditcanary/shared/vitals"
)

// Input is what a deployed function is called with; the zero value is the
// scheduled call.
type Input struct {
	// Run names the run: inject uses it as the new run's id, confirm limits itself to it,
	// report tells of it, sweep takes it for one that nobody does any more.
	Run string `json:"run,omitempty"`
	// Cell is the one to work on, where the configuration has cells.
	Cell string `json:"cell,omitempty"`
	// Every limits inject to the scenarios of a cadence: hourly, daily or weekly.
	Every string `json:"every,omitempty"`
	// Wait makes confirm go on until everything is decided, and every alert rang, or its
	// time is up.
	Wait bool `json:"wait,omitempty"`
	// Integrity makes confirm validate the digest chains of the targets too, from head
	// to head: what it finds goes into the ledger.
	Integrity bool `json:"integrity,omitempty"`
	// Summary makes inject, confirm, sweep and report answer all they know, canary by
	// canary, for whoever reads it at a terminal: a state machine could not carry it.
	Summary bool `json:"summary,omitempty"`
	// Plan makes inject, or sweep, answer where a run takes place (see Itinerary) and do
	// nothing else, for the Execution that Started then and was Given something.
	Plan      bool      `json:"plan,omitempty"`
	Execution string    `json:"execution,omitempty"`
	Started   time.Time `json:"started,omitzero"`
	Given     *Given    `json:"given,omitempty"`
	// Others makes confirm look for what is open of other runs as well; it still tells of Run.
	Others bool `json:"others,omitempty"`
	// Looks that there were at the run before this one.
	Looks int `json:"looks,omitempty"`
	// Whole makes report add up a run's cells.
	Whole *struct {
		Canaries int          `json:"canaries"` // planned in all cells
		Cells    []CellResult `json:"cells"`
	} `json:"whole,omitempty"`
	// Why says, to sweep, why Run is known to be over: it is not spared, and the ledger is told.
	Why string `json:"why,omitempty"`
	// OlderThan spares runs younger than this that may be under way (sweep, default "1h").
	OlderThan string `json:"older_than,omitempty"`
	// From and To bound the period of a packet (RFC 3339); left out, it is the last
	// day, or week, of which every verdict is final.
	From time.Time `json:"from,omitzero"`
	To   time.Time `json:"to,omitzero"`
	// Asked makes inject do what somebody asked for (see Trigger), by the command's id, as
	// Run. The scheduled call does what was asked for and not begun, after its own. To
	// report it says that Whole is of no scheduled run.
	Asked string `json:"asked,omitempty"`
}

// Handler is what a deployed function does with its event.
type Handler = func(ctx context.Context, event json.RawMessage) (any, error)

// function reads the event and the configuration (the file that AUDITCANARY_CONFIG
// names, read once in the life of a process, narrowed down to the cell that the event or
// AUDITCANARY_CELL names).
func function(name string, do func(ctx context.Context, c *Config, in Input, version string) (any, error)) Handler {
	d := &deployment{}
	return func(ctx context.Context, raw json.RawMessage) (any, error) {
		var in Input
		if len(raw) > 0 && string(raw) != "null" {
			if err := json.Unmarshal(raw, &in); err != nil {
				return nil, fmt.Errorf("%s: the event is not an object of run, cell, every, wait, integrity, older_than, from, to, asked: %w", name, err)
			}
		}
		cfg, version, err := d.config(ctx, in.Cell)
		if err != nil {
			return nil, err
		}
		if err := cfg.Select(Selection{Every: in.Every}); err != nil {
			return nil, err
		}
		vitals.From(ctx).About(cfg.Cell(), in.Run)
		out, err := do(ctx, cfg, in, version)
		tellError(ctx, err)
		return out, err
	}
}

// InjectFunction is the function that does the canaries that are due, and what was asked for.
func InjectFunction() Handler {
	return function("inject", func(ctx context.Context, c *Config, in Input, version string) (any, error) {
		if in.Plan {
			return itinerary(c, in, false)
		}
		if in.Run != "" && !run.IsRunID(in.Run) {
			return nil, fmt.Errorf("inject: run %q: a run's id begins with its day, as 20261126-abc123 does; the injector may touch only what is named so", in.Run)
		}
		r, err := Open(ctx, c, Options{Version: version})
		if err != nil {
			return nil, err
		}
		defer tellAnyway(ctx, r)
		if in.Asked != "" {
			return asked(ctx, r, c, in)
		}
		if in.Run == "" {
			in.Run = run.NewRunID(r.Clock())
		}
		vitals.From(ctx).About("", in.Run)
		if err := r.Inject(ctx, in.Run); err != nil {
			return nil, err
		}
		if err := takeWaiting(ctx, r, c, Options{Version: version}); err != nil {
			return nil, err
		}
		in.Looks = -1 // nobody has looked yet
		return answerOf(ctx, r, c, in)
	})
}

// ConfirmFunction is the function that looks for what is open, judges it, and sees to its seals
// and alerts. Given messages of a queue, it looks into the objects that these name.
func ConfirmFunction() Handler {
	look := function("confirm", func(ctx context.Context, c *Config, in Input, version string) (any, error) {
		r, err := OpenLooking(ctx, c, Options{Version: version})
		if err != nil {
			return nil, err
		}
		defer tellAnyway(ctx, r)
		only := in.Run
		if in.Others {
			only = ""
		}
		state, cp, err := run.Fold(ctx, r.Log)
		if err != nil {
			return nil, err
		}
		if in.Others && state.Run(in.Run) == nil { // it died before it had begun: that is an answer
			return outcomeOf(r, c, state, cp, in), nil
		}
		if err := r.Confirm(ctx, run.ConfirmOptions{Run: only, Wait: in.Wait}); err != nil {
			return nil, err
		}
		if err := r.Seal(ctx, run.SealOptions{Run: only}); err != nil {
			return nil, err
		}
		if err := r.Alerts(ctx, run.AlertOptions{Run: only, Wait: in.Wait}); err != nil {
			return nil, err
		}
		if in.Integrity {
			if _, err := r.Integrity(ctx, run.IntegrityOptions{Places: r.Targets}, func(trail.Result) {}); err != nil {
				return nil, err
			}
		}
		return answerOf(ctx, r, c, in)
	})
	push := newPush()
	return func(ctx context.Context, raw json.RawMessage) (any, error) {
		if messages, ok := queued(raw); ok {
			return push.take(ctx, messages)
		}
		return look(ctx, raw)
	}
}

// Swept is what the sweep function answers, small as an Outcome is.
type Swept struct {
	Outcome
	// Undone, Left and Problems count; the ledger has them all, and Said some.
	Undone   int      `json:"undone"`
	Left     int      `json:"left"`
	Problems int      `json:"problems"`
	Said     []string `json:"said"`
}

// SweepFunction is the function that undoes what an interrupted run left.
func SweepFunction() Handler {
	return function("sweep", func(ctx context.Context, c *Config, in Input, version string) (any, error) {
		if in.Plan {
			return itinerary(c, in, true)
		}
		olderThan := time.Hour
		if in.OlderThan != "" {
			d, err := time.ParseDuration(in.OlderThan)
			if err != nil {
				return nil, fmt.Errorf("sweep: older_than: %w", err)
			}
			olderThan = d
		}
		r, err := Open(ctx, c, Options{Version: version})
		if err != nil {
			return nil, err
		}
		var over []run.Over
		if in.Run != "" {
			over = append(over, run.Over{Run: in.Run, Why: in.Why})
		}
		res, err := r.Sweep(ctx, olderThan, over...)
		if err == nil {
			tellSweep(ctx, res)
		}
		if err != nil || in.Summary {
			return res, err
		}
		state, cp, err := run.Fold(ctx, r.Log)
		if err != nil {
			return nil, err
		}
		in.Looks-- // this was none
		out := Swept{Outcome: outcomeOf(r, c, state, cp, in), Undone: len(res.Undone), Left: len(res.Left), Problems: len(res.Problems), Said: []string{}}
		out.exitCode = 0
		for _, text := range slices.Concat(res.Left, res.Problems) {
			if len(out.Said) < maxWhy {
				out.Said = append(out.Said, text[:min(len(text), 500)])
			}
			out.exitCode = 2
		}
		return out, nil
	})
}

// ReportFunction is the function that brings tickets and chat to what the ledger says, and
// adds the cells of a run up.
func ReportFunction() Handler {
	return function("report", func(ctx context.Context, c *Config, in Input, _ string) (any, error) {
		if in.Whole != nil {
			w := whole(c, in)
			if in.Asked == "" && in.Cell == "" { // the dead man's switch is fed by whole runs of the schedule
				tellWhole(ctx, w)
			}
			w.tell(ctx, c)
			return w, nil
		}
		if c.Tickets.Jira == nil && c.Chat.Slack == nil && !in.Summary {
			return Told{Tally: map[ticket.Condition]int{}, Nobody: true}, nil
		}
		res, err := Notify(ctx, c, NotifyOptions{Options: ticket.Options{Run: in.Run}})
		if err != nil || in.Summary {
			return res, err
		}
		return toldOf(res), nil
	})
}

// Told is what the report function answers, small as an Outcome is.
type Told struct {
	Tally  map[ticket.Condition]int `json:"tally"`
	Acts   int                      `json:"acts"`
	Posts  int                      `json:"posts"`
	Failed int                      `json:"failed"` // acts and posts that the next report must do
	Nobody bool                     `json:"nobody"` // neither tickets nor a chat are configured

	exitCode int
}

// ExitCode at a terminal is that of the step.
func (t Told) ExitCode() int { return t.exitCode }

func toldOf(res ticket.Result) Told {
	t := Told{Tally: res.Tally, Acts: len(res.Acts), Posts: len(res.Posts), exitCode: res.ExitCode()}
	for _, d := range res.Acts {
		if d.Err != "" {
			t.Failed++
		}
	}
	for _, p := range res.Posts {
		if p.Err != "" {
			t.Failed++
		}
	}
	return t
}

// PacketFunction is the function that builds the packet of a period into the evidence bucket.
func PacketFunction() Handler {
	return function("packet", func(ctx context.Context, c *Config, in Input, version string) (any, error) {
		return packetStep(ctx, c, in, version, time.Now())
	})
}

// TriggerFunction is OpenTrigger for a deployed function.
func TriggerFunction(ctx context.Context, o TriggerOptions) (http.Handler, error) {
	d := &deployment{}
	cfg, version, err := d.config(ctx, "")
	if err != nil {
		return nil, err
	}
	o.Version = version
	return OpenTrigger(ctx, cfg, o)
}

// deployment is the configuration of a deployed function.
type deployment struct {
	mu     sync.Mutex
	loaded *Config // never changed
}

// config is the configuration, narrowed down to a cell, with the program's version. It
// is read once, and the secrets with it; what fails is tried again by the next call.
func (d *deployment) config(ctx context.Context, cell string) (*Config, string, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.loaded == nil {
		cfg, err := Load(cmp.Or(os.Getenv("AUDITCANARY_CONFIG"), "auditcanary.yaml"))
		if err != nil {
			return nil, "", err
		}
		if err := cfg.fetchSecrets(ctx); err != nil {
			return nil, "", err
		}
		d.loaded = cfg
	}
	version := ""
	if info, ok := debug.ReadBuildInfo(); ok {
		version = info.Main.Version
	}
	cfg := *d.loaded // Select replaces what it narrows down
	return &cfg, version, cfg.Select(Selection{Cell: cmp.Or(cell, os.Getenv("AUDITCANARY_CELL"))})
}

// takeWaiting does what was asked for and not begun, with all scenarios to choose from.
func takeWaiting(ctx context.Context, r *run.Run, c *Config, o Options) error {
	state, _, err := run.Fold(ctx, r.Log)
	if err != nil || len(state.Waiting()) == 0 {
		return err
	}
	_, err = takeAsked(ctx, c, o)
	return err
}

// asked does what somebody asked for, or says how far it is: begun before, waiting for
// another run to end, or refused.
func asked(ctx context.Context, r *run.Run, c *Config, in Input) (any, error) {
	if _, err := r.Take(ctx, in.Asked); err != nil {
		return nil, err
	}
	state, cp, err := run.Fold(ctx, r.Log)
	if err != nil {
		return nil, err
	}
	known, ok := state.Ask(in.Asked)
	if !ok {
		return nil, fmt.Errorf("inject: nobody asked for %q, as far as the ledger says", in.Asked)
	}
	if known.Command != "run" || in.Run != "" && in.Run != run.RunFor(known) {
		return nil, fmt.Errorf("inject: command %s (%s) is not the one that becomes run %q", in.Asked, known.Command, in.Run)
	}
	in.Run, in.Looks = run.RunFor(known), -1
	vitals.From(ctx).About("", in.Run)
	tellState(ctx, state, r.Clock())
	if in.Summary {
		return run.Summarise(state, cp, in.Run, r.SLO, r.Clock()), nil
	}
	out := outcomeOf(r, c, state, cp, in)
	out.Refused = known.Refused[:min(len(known.Refused), 300)]
	switch {
	case known.Refused == "" && !out.Begun:
		out.Waits, out.WaitSeconds = true, int(askAgain.Seconds())
	case out.Begun && !out.Injected && out.WaitSeconds > 1: // somebody is at it, or has died: his lease says
		out.Waits = true
	}
	return out, nil
}

// askAgain is after how long it is tried again to begin what waits for another run.
const askAgain = time.Minute
