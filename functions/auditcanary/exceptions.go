package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/auditcanary/auditcanary/shared/exception"
	"github.com/auditcanary/auditcanary/shared/run"
	"github.com/auditcanary/auditcanary/shared/wire"
)

func exceptionsCommand(o *options) *cobra.Command {
	var days int
	cmd := &cobra.Command{
		Use:   "exceptions",
		Short: "The register of approved exceptions: what is accepted, by whom, until when",
		Long: `An exception accepts one problem (a hop, fields, words of the answer) of one check,
in a scope, until a day. While it is in force, what it covers is shown as excepted:
counted, never proven, and no failure for the exit code. Whatever else goes wrong
there is a failure as before.

It does not count when it is not in order (self-approved, without end or with one too
distant, over-broad, not opened yet, approved against an older version), nor after
its last day. Runs write the register into the ledger, and everything that is shown of
exceptions is read from there.`,
	}
	list := &cobra.Command{
		Use:   "list",
		Short: "List the exceptions with how each stands, and what it covers now",
		Long:  "Reads the configured register, and the ledger for what it covers. The exit code is 1 if\nan exception has expired or is not in order.",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			l, err := o.standing(cmd, days)
			if err != nil {
				return err
			}
			if o.json {
				err = printJSON(cmd.OutOrStdout(), l)
			} else {
				err = l.print(cmd.OutOrStdout())
			}
			if err == nil && l.wrong() {
				return exitError(1)
			}
			return err
		},
	}
	explain := &cobra.Command{
		Use:   "explain ID",
		Short: "Tell everything about one exception",
		Args:  cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			l, err := o.standing(cmd, days)
			if err != nil {
				return err
			}
			for _, one := range l.Exceptions {
				if one.ID != args[0] {
					continue
				}
				if o.json {
					return printJSON(cmd.OutOrStdout(), one)
				}
				one.explain(cmd.OutOrStdout())
				return nil
			}
			return fmt.Errorf("exceptions: no exception %q in %s", args[0], l.Source)
		},
	}
	for _, c := range []*cobra.Command{list, explain} {
		c.Flags().IntVar(&days, "days", 30, "the period in which an exception must match something")
	}
	cmd.RunE, cmd.Args = list.RunE, cobra.NoArgs
	cmd.AddCommand(list, explain, exceptionsCheckCommand(o), exceptionsApplyCommand(o), &cobra.Command{
		Use:   "schema",
		Short: "Print the JSON Schema of a register's file, for editors",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			_, err := cmd.OutOrStdout().Write(exception.Schema())
			return err
		},
	})
	return cmd
}

// exceptionList is the register as `exceptions list --json` prints it.
type exceptionList struct {
	Source  string `json:"source"`
	SHA256  string `json:"sha256"`
	MaxDays int    `json:"max_days"`
	// Applied: the ledger has this register, so that it is what reports show.
	Applied    bool           `json:"applied"`
	Exceptions []oneException `json:"exceptions"`
}

type oneException struct {
	exception.Standing
	// Covers lists what is excepted by it now: check, scenario and target.
	Covers []coveredNow `json:"covers"`
}

type coveredNow struct {
	Canary   string `json:"canary"`
	Scenario string `json:"scenario"`
	Account  string `json:"account"`
	Region   string `json:"region"`
	Check    string `json:"check"`
	Status   string `json:"status"`
	Detail   string `json:"detail"`
}

// standing reads the configured register and holds it against the ledger.
func (o *options) standing(cmd *cobra.Command, days int) (exceptionList, error) {
	out := exceptionList{Exceptions: []oneException{}}
	if days < 1 {
		return out, fmt.Errorf("--days %d: at least 1", days)
	}
	ctx, now := cmd.Context(), time.Now()
	cfg, err := o.load()
	if err != nil {
		return out, err
	}
	reg, configured, err := cfg.RegisterInUse()
	if err != nil {
		return out, err
	}
	if !configured {
		return out, fmt.Errorf("%s has no exceptions section: nothing is excepted", o.config)
	}
	state := run.NewState()
	log, err := wire.OpenLedger(ctx, cfg, wire.ReadOnly)
	switch {
	case wire.NotBegun(err):
	case err != nil:
		return out, err
	default:
		if state, _, err = run.Fold(ctx, log); err != nil {
			return out, err
		}
	}
	out.Source, out.SHA256, out.MaxDays = reg.Source, reg.SHA256, reg.MaxDays
	out.Applied = state.Register != nil && run.SameRegister(*state.Register, reg)
	state.Date(&reg, now)
	for _, st := range reg.Standing(now, state.Subjects(now.AddDate(0, 0, -days))) {
		one := oneException{Standing: st, Covers: []coveredNow{}}
		for _, s := range st.Covers {
			one.Covers = append(one.Covers, coveredNow{s.Canary, s.Scenario, s.Target.Account, s.Target.Region, string(s.Check), string(s.Status), s.Detail})
		}
		out.Exceptions = append(out.Exceptions, one)
	}
	return out, nil
}

// wrong reports whether an exception does not count although it stands in the register.
func (l exceptionList) wrong() bool {
	for _, one := range l.Exceptions {
		if !one.InForce {
			return true
		}
	}
	return false
}

func (l exceptionList) print(w io.Writer) error {
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(tw, "EXCEPTION\tSTATE\tUNTIL\tCHECK\tSCENARIO\tTARGET\tCOVERS\tAPPROVED BY\tOWNER")
	inForce := 0
	for _, one := range l.Exceptions {
		if one.InForce {
			inForce++
		}
		fmt.Fprintf(tw, "%s\t%s\t%s\t%s\t%s\t%s\t%d\t%s\t%s\n", oneLine(one.ID), one.State, oneLine(string(one.Expires)), oneLine(string(one.Scope.Check)),
			oneLine(one.Scope.Scenario), oneLine(one.Scope.Target), len(one.Covers), oneLine(one.Risk.Approver), oneLine(one.Owner))
	}
	if err := tw.Flush(); err != nil {
		return err
	}
	for _, one := range l.Exceptions {
		for _, f := range one.Findings {
			fmt.Fprintf(w, "%s: %s: %s\n", oneLine(f.Exception), f.Kind, oneLine(f.Detail))
		}
	}
	fmt.Fprintf(w, "%d exceptions in %s, %d in force.\n", len(l.Exceptions), oneLine(l.Source), inForce)
	if !l.Applied {
		fmt.Fprintln(w, "The ledger does not have this register yet: the next run or confirm writes it down, or `auditcanary exceptions apply`.")
	}
	return nil
}

func (one oneException) explain(w io.Writer) {
	say := func(name, value string) {
		if value != "" {
			fmt.Fprintf(w, "%-14s %s\n", name, oneLine(value))
		}
	}
	say("exception", one.ID+": "+one.State)
	say("scope", fmt.Sprintf("%s of %s at %s", one.Scope.Check, one.Scope.Scenario, one.Scope.Target))
	say("problem", one.Problem.String())
	say("control", one.Control.ID+", approved against version "+one.Control.Version)
	for _, c := range one.CompensatingControls {
		say("compensated by", c)
	}
	say("accepted", one.Risk.Statement)
	say("approved by", one.Risk.Approver+", for "+one.Risk.Requester)
	say("ticket", one.Risk.Ticket)
	holds := string(one.Opened) + " to " + string(one.Expires)
	if known := one.Known.UTC().Format(time.DateOnly); known > string(one.Opened) {
		holds += "; what was planned before " + known + ", when the ledger first had it, is not covered"
	}
	say("holds", holds)
	say("remediation", one.Remediation.Plan+" (by "+string(one.Remediation.By)+")")
	say("owner", strings.TrimSuffix(one.Owner+", "+one.Contact, ", "))
	for _, f := range one.Findings {
		say(string(f.Kind), f.Detail)
	}
	for _, c := range one.Covers {
		say("covers now", fmt.Sprintf("%s at %s/%s, %s %s (canary %s): %s", c.Scenario, c.Account, c.Region, c.Check, c.Status, c.Canary, c.Detail))
	}
	if len(one.Covers) == 0 {
		say("covers now", "nothing")
	}
}

func exceptionsCheckCommand(o *options) *cobra.Command {
	return &cobra.Command{
		Use:   "check [FILE]",
		Short: "Check a register's file, for a build server: every problem with file and line",
		Long:  "Exit code 2 if the file cannot be read as a register, or holds an exception that would\nnot count: self-approved, without end or with one too distant, over-broad, approved against\nanother version of the controls. That one has expired or is not opened yet is said, and no error.",
		Args:  cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			cfg, err := o.load()
			if err != nil && !(len(args) == 1 && errors.Is(err, os.ErrNotExist)) {
				return err
			}
			var reg exception.Register
			if len(args) == 1 {
				reg, err = cfg.ReadRegister(args[0])
				reg.Source = args[0]
			} else {
				var configured bool
				if reg, configured, err = cfg.RegisterInUse(); err == nil && !configured {
					return fmt.Errorf("%s has no exceptions section; name a file", o.config)
				}
			}
			if err != nil {
				fmt.Fprintln(cmd.ErrOrStderr(), printable(err.Error()))
				return exitError(2)
			}
			w, bad := cmd.OutOrStdout(), 0
			findings := reg.Findings(time.Now(), nil)
			for _, f := range findings {
				if f.Severity == exception.NotInOrder && f.Kind != exception.NotOpened {
					bad++
				}
			}
			if o.json {
				err = printJSON(w, map[string]any{"file": reg.Source, "exceptions": len(reg.Exceptions), "not_in_order": bad, "findings": findings})
			} else {
				for _, f := range findings {
					fmt.Fprintf(w, "%s:%d: %s: %s: %s\n", oneLine(reg.Source), f.Line, oneLine(f.Exception), f.Kind, oneLine(f.Detail))
				}
				fmt.Fprintf(w, "%d exceptions in %s, %d problems that keep one from counting.\n", len(reg.Exceptions), oneLine(reg.Source), bad)
			}
			if err == nil && bad > 0 {
				return exitError(2)
			}
			return err
		},
	}
}

func exceptionsApplyCommand(o *options) *cobra.Command {
	return &cobra.Command{
		Use:   "apply",
		Short: "Write the configured register into the ledger now, as runs do",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx := cmd.Context()
			cfg, err := o.load()
			if err != nil {
				return err
			}
			log, err := wire.OpenLedger(ctx, cfg, wire.ReadWrite)
			if err != nil {
				return err
			}
			state, err := wire.Registrar(cfg, &run.Run{Log: log, Clock: time.Now}).NoteRegister(ctx)
			if err != nil {
				return err
			}
			if state.Register == nil {
				fmt.Fprintf(cmd.OutOrStdout(), "%s has no exceptions section: nothing is excepted.\n", o.config)
				return nil
			}
			fmt.Fprintf(cmd.OutOrStdout(), "The ledger has the register of %s: %d exceptions.\n", oneLine(state.Register.Source), len(state.Register.Exceptions))
			return nil
		},
	}
}
