package wire

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"runtime/debug"
	"time"

	"github.com/auditcanary/auditcanary/shared/run"
	"github.com/auditcanary/auditcanary/shared/trail"
)

// Input is what a deployed function is called with; the zero value is the
// scheduled call.
type Input struct {
	// Run names the run: inject uses it as the new run's id, confirm limits itself to it,
	// report tells of it.
	Run string `json:"run,omitempty"`
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

// Handler is a deployed function's step by name: inject, confirm, sweep, packet or report. The
// configuration is the file that AUDITCANARY_CONFIG names.
func Handler(step string) func(ctx context.Context, in json.RawMessage) (any, error) {
	return func(ctx context.Context, raw json.RawMessage) (any, error) {
		var in Input
		if len(raw) > 0 && string(raw) != "null" {
			if err := json.Unmarshal(raw, &in); err != nil {
				return nil, fmt.Errorf("%s: the event is not an object of run, every, wait, integrity, older_than, from, to, asked: %w", step, err)
			}
		}
		cfg, version, err := deployed()
		if err != nil {
			return nil, err
		}
		if step == "packet" {
			return packetStep(ctx, cfg, in, version, time.Now())
		}
		if step == "report" {
			return reportStep(ctx, cfg, in)
		}
		if err := cfg.Select(Selection{Every: in.Every}); err != nil {
			return nil, err
		}
		r, err := Open(ctx, cfg, Options{Version: version})
		if err != nil {
			return nil, err
		}
		if step == "inject" && in.Asked != "" {
			return asked(ctx, r, in.Asked)
		}
		out, err := do(ctx, r, step, in)
		if step == "inject" && err == nil {
			err = takeWaiting(ctx, r, cfg.file, Options{Version: version})
		}
		return out, err
	}
}

// deployed is the configuration of a deployed function, with its version.
func deployed() (*Config, string, error) {
	file := os.Getenv("AUDITCANARY_CONFIG")
	if file == "" {
		file = "auditcanary.yaml"
	}
	cfg, err := Load(file)
	version := ""
	if info, ok := debug.ReadBuildInfo(); ok {
		version = info.Main.Version
	}
	return cfg, version, err
}

// TriggerHandler is OpenTrigger for a deployed function.
func TriggerHandler(ctx context.Context, o TriggerOptions) (http.Handler, error) {
	cfg, version, err := deployed()
	if err != nil {
		return nil, err
	}
	o.Version = version
	return OpenTrigger(ctx, cfg, o)
}

// takeWaiting does what was asked for and not begun, with all scenarios to choose from.
func takeWaiting(ctx context.Context, r *run.Run, file string, o Options) error {
	state, _, err := run.Fold(ctx, r.Log)
	if err != nil || len(state.Waiting()) == 0 {
		return err
	}
	_, err = takeAsked(ctx, file, o)
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

func do(ctx context.Context, r *run.Run, step string, in Input) (any, error) {
	switch step {
	case "inject":
		if in.Run == "" {
			in.Run = run.NewRunID(r.Clock())
		}
		if err := r.Inject(ctx, in.Run); err != nil {
			return nil, err
		}
	case "confirm":
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
	case "sweep":
		olderThan := time.Hour
		if in.OlderThan != "" {
			d, err := time.ParseDuration(in.OlderThan)
			if err != nil {
				return nil, fmt.Errorf("sweep: older_than: %w", err)
			}
			olderThan = d
		}
		return r.Sweep(ctx, olderThan)
	default:
		return nil, fmt.Errorf("no step %q", step)
	}
	state, cp, err := run.Fold(ctx, r.Log)
	if err != nil {
		return nil, err
	}
	return run.Summarise(state, cp, in.Run, r.SLO, r.Clock()), nil
}
