package wire

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"runtime/debug"
	"time"

	"github.com/auditcanary/auditcanary/shared/run"
	"github.com/auditcanary/auditcanary/shared/ticket"
	"github.com/auditcanary/auditcanary/shared/trail"
)

// Input is what a deployed function is called with; the zero value is the
// scheduled call.
type Input struct {
	// Run names the run: inject uses it as the new run's id, confirm limits itself to it,
	// report tells of it.
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
	// OlderThan spares runs younger than this that may be under way (sweep, default "1h").
	OlderThan string `json:"older_than,omitempty"`
	// From and To bound the period of a packet (RFC 3339); left out, it is the last
	// day, or week, of which every verdict is final.
	From time.Time `json:"from,omitzero"`
	To   time.Time `json:"to,omitzero"`
	// Asked makes inject do what somebody asked for (see Trigger), by the command's id.
	// The scheduled call does what was asked for and not begun, after its own.
	Asked string `json:"asked,omitempty"`
}

// Handler is what a deployed function does with its event.
type Handler = func(ctx context.Context, event json.RawMessage) (any, error)

// function reads the event and the configuration (the file that AUDITCANARY_CONFIG
// names, narrowed down to the cell that the event or AUDITCANARY_CELL names).
func function(name string, do func(ctx context.Context, c *Config, in Input, version string) (any, error)) Handler {
	return func(ctx context.Context, raw json.RawMessage) (any, error) {
		var in Input
		if len(raw) > 0 && string(raw) != "null" {
			if err := json.Unmarshal(raw, &in); err != nil {
				return nil, fmt.Errorf("%s: the event is not an object of run, cell, every, wait, integrity, older_than, from, to, asked: %w", name, err)
			}
		}
		cfg, version, err := deployed(in.Cell)
		if err != nil {
			return nil, err
		}
		if err := cfg.Select(Selection{Every: in.Every}); err != nil {
			return nil, err
		}
		return do(ctx, cfg, in, version)
	}
}

// InjectFunction is the function that does the canaries that are due, and what was asked for.
func InjectFunction() Handler {
	return function("inject", func(ctx context.Context, c *Config, in Input, version string) (any, error) {
		r, err := Open(ctx, c, Options{Version: version})
		if err != nil {
			return nil, err
		}
		if in.Asked != "" {
			return asked(ctx, r, in.Asked)
		}
		if in.Run == "" {
			in.Run = run.NewRunID(r.Clock())
		}
		if err := r.Inject(ctx, in.Run); err != nil {
			return nil, err
		}
		out, err := summary(ctx, r, in.Run)
		if err != nil {
			return nil, err
		}
		return out, takeWaiting(ctx, r, c, Options{Version: version})
	})
}

// ConfirmFunction is the function that looks for what is open, judges it, and sees to its seals
// and alerts.
func ConfirmFunction() Handler {
	return function("confirm", func(ctx context.Context, c *Config, in Input, version string) (any, error) {
		r, err := Open(ctx, c, Options{Version: version})
		if err != nil {
			return nil, err
		}
		if err := r.Confirm(ctx, run.ConfirmOptions{Run: in.Run, Wait: in.Wait}); err != nil {
			return nil, err
		}
		if err := r.Seal(ctx, run.SealOptions{Run: in.Run}); err != nil {
			return nil, err
		}
		if err := r.Alerts(ctx, run.AlertOptions{Run: in.Run, Wait: in.Wait}); err != nil {
			return nil, err
		}
		if in.Integrity {
			if _, err := r.Integrity(ctx, run.IntegrityOptions{Places: r.Targets}, func(trail.Result) {}); err != nil {
				return nil, err
			}
		}
		return summary(ctx, r, in.Run)
	})
}

// SweepFunction is the function that undoes what an interrupted run left.
func SweepFunction() Handler {
	return function("sweep", func(ctx context.Context, c *Config, in Input, version string) (any, error) {
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
		return r.Sweep(ctx, olderThan)
	})
}

// ReportFunction is the function that brings tickets and chat to what the ledger says.
func ReportFunction() Handler {
	return function("report", func(ctx context.Context, c *Config, in Input, _ string) (any, error) {
		return Notify(ctx, c, NotifyOptions{Options: ticket.Options{Run: in.Run}})
	})
}

// PacketFunction is the function that builds the packet of a period into the evidence bucket.
func PacketFunction() Handler {
	return function("packet", func(ctx context.Context, c *Config, in Input, version string) (any, error) {
		return packetStep(ctx, c, in, version, time.Now())
	})
}

// TriggerFunction is OpenTrigger for a deployed function.
func TriggerFunction(ctx context.Context, o TriggerOptions) (http.Handler, error) {
	cfg, version, err := deployed("")
	if err != nil {
		return nil, err
	}
	o.Version = version
	return OpenTrigger(ctx, cfg, o)
}

// deployed is the configuration of a deployed function, with its version.
func deployed(cell string) (*Config, string, error) {
	cfg, err := Load(cmp.Or(os.Getenv("AUDITCANARY_CONFIG"), "auditcanary.yaml"))
	if err != nil {
		return nil, "", err
	}
	version := ""
	if info, ok := debug.ReadBuildInfo(); ok {
		version = info.Main.Version
	}
	return cfg, version, cfg.Select(Selection{Cell: cmp.Or(cell, os.Getenv("AUDITCANARY_CELL"))})
}

func summary(ctx context.Context, r *run.Run, runID string) (any, error) {
	state, cp, err := run.Fold(ctx, r.Log)
	if err != nil {
		return nil, err
	}
	return run.Summarise(state, cp, runID, r.SLO, r.Clock()), nil
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

// asked does what somebody asked for.
func asked(ctx context.Context, r *run.Run, id string) (any, error) {
	begun, err := r.Take(ctx, id)
	if err != nil {
		return nil, err
	}
	state, cp, err := run.Fold(ctx, r.Log)
	if err != nil {
		return nil, err
	}
	if len(begun) == 0 { // begun before, refused, or waiting for another run
		known, _ := state.Ask(id)
		return known, nil
	}
	return run.Summarise(state, cp, begun[0], r.SLO, r.Clock()), nil
}
