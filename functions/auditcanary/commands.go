package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/auditcanary/auditcanary/scenarios"
	"github.com/auditcanary/auditcanary/shared/canary"
	"github.com/auditcanary/auditcanary/shared/ledger"
	"github.com/auditcanary/auditcanary/shared/run"
	"github.com/auditcanary/auditcanary/shared/wire"
)

// open loads the configuration and makes the run ready, with progress on stderr.
func (o *options) open(ctx context.Context) (*run.Run, *progress, error) {
	return (&selection{parallel: parallel}).open(ctx, o)
}

// parallel is how many canaries act at once unless something else is asked for.
const parallel = 8

// selection narrows a run down.
type selection struct {
	wire.Selection
	parallel int
}

func (sel *selection) flags(cmd *cobra.Command) {
	cmd.Flags().StringSliceVar(&sel.Scenarios, "scenario", nil, "only scenarios that match this pattern (aws/iam-*); may be repeated")
	cmd.Flags().StringVar(&sel.Every, "every", "", "only scenarios of this cadence: hourly, daily or weekly")
	cmd.Flags().StringSliceVar(&sel.Targets, "target", nil, "only this ACCOUNT or ACCOUNT/REGION; may be repeated")
	cmd.Flags().IntVar(&sel.parallel, "parallel", parallel, "how many canaries act at once")
}

// open is options.open for the part of the configuration that was selected.
func (sel *selection) open(ctx context.Context, o *options) (*run.Run, *progress, error) {
	cfg, err := o.load()
	if err != nil {
		return nil, nil, err
	}
	if err := cfg.Select(sel.Selection); err != nil {
		return nil, nil, err
	}
	if sel.parallel < 1 {
		return nil, nil, fmt.Errorf("--parallel %d: at least 1", sel.parallel)
	}
	p := newProgress(os.Stderr)
	r, err := wire.Open(ctx, cfg, wire.Options{Version: version(), Progress: p.show})
	if err != nil {
		return nil, nil, err
	}
	r.Parallel = sel.parallel
	return r, p, nil
}

// injected is inject's exit code: whether everything was done as it had to be,
// and undone. What is still awaited is no fault of injecting.
func injected(s run.Summary) int {
	code := 0
	for _, l := range s.Canaries {
		for _, c := range []canary.Check{canary.Injected, canary.Cleaned} {
			switch l.Checks[c].Status {
			case canary.Pass:
			case canary.Fail, canary.Late:
				return 1
			default:
				code = 2
			}
		}
	}
	return code
}

// report prints a run as the ledger has it, and gives its exit code.
func (o *options) report(ctx context.Context, cmd *cobra.Command, r *run.Run, runID string, exitCode func(run.Summary) int) error {
	state, cp, err := run.Fold(context.WithoutCancel(ctx), r.Log)
	if err != nil {
		return err
	}
	s := run.Summarise(state, cp, runID, r.SLO, time.Now())
	if o.json {
		if err := printJSON(cmd.OutOrStdout(), s); err != nil {
			return err
		}
	} else if o.brief {
		printRest(cmd.OutOrStdout(), s)
	} else {
		printTable(cmd.OutOrStdout(), s)
	}
	if code := exitCode(s); code != 0 {
		return exitError(code)
	}
	return nil
}

func runCommand(o *options) *cobra.Command {
	return injecting(o, "run", "Do every selected canary, wait for its record, judge it, prove the account clean", true)
}

func injectCommand(o *options) *cobra.Command {
	return injecting(o, "inject", "Do every selected canary and undo it; look for the records later with confirm", false)
}

// injecting is run, and inject, which leaves the looking for later.
func injecting(o *options, use, short string, confirm bool) *cobra.Command {
	var sel selection
	cmd := &cobra.Command{
		Use:   use,
		Short: short,
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx := cmd.Context()
			r, p, err := sel.open(ctx, o)
			if err != nil {
				return err
			}
			id := run.NewRunID(r.Clock())
			err = r.Inject(ctx, id)
			if err == nil && confirm {
				err = r.Confirm(ctx, run.ConfirmOptions{Run: id, Wait: true})
			}
			if err == nil && confirm {
				// What keeps the records is known at once; what signs for them, in hours.
				err = r.Seal(ctx, run.SealOptions{Run: id})
			}
			if err == nil && confirm {
				err = r.Alerts(ctx, run.AlertOptions{Run: id, Wait: true}) // if any are configured
			}
			p.done()
			if err != nil {
				return err
			}
			if confirm {
				return o.report(ctx, cmd, r, id, run.Summary.ExitCode)
			}
			return o.report(ctx, cmd, r, id, injected)
		},
	}
	sel.flags(cmd)
	return cmd
}

func confirmCommand(o *options) *cobra.Command {
	var opt run.ConfirmOptions
	cmd := &cobra.Command{
		Use:   "confirm",
		Short: "Look for the records of open canaries and judge them",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx := cmd.Context()
			r, p, err := o.open(ctx)
			if err != nil {
				return err
			}
			err = r.Confirm(ctx, opt)
			p.done()
			if err != nil {
				return err
			}
			return o.report(ctx, cmd, r, opt.Run, run.Summary.ExitCode)
		},
	}
	cmd.Flags().StringVar(&opt.Run, "run", "", "only this run (default every open canary)")
	cmd.Flags().BoolVar(&opt.Wait, "wait", false, "go on until every canary is decided")
	return cmd
}

func statusCommand(o *options) *cobra.Command {
	var runID string
	cmd := &cobra.Command{
		Use:   "status",
		Short: "Show what the ledger says, without asking anybody else",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx := cmd.Context()
			cfg, err := o.load()
			if err != nil {
				return err
			}
			log, err := wire.OpenLedger(ctx, cfg, wire.ReadOnly)
			if err != nil {
				return err
			}
			r := &run.Run{Log: log, SLO: cfg.CanarySLO()}
			return o.report(ctx, cmd, r, runID, run.Summary.ExitCode)
		},
	}
	cmd.Flags().StringVar(&runID, "run", "", "only this run (default all)")
	return cmd
}

func sweepCommand(o *options) *cobra.Command {
	var olderThan time.Duration
	cmd := &cobra.Command{
		Use:   "sweep",
		Short: "Undo what a crash left behind and prove the accounts clean",
		Long:  "Undoes what the ledger says is owed, then lists every account for what canaries left\n(name prefix, tag and run id: nothing else is touched), removes it, and lists again.\nA run that is under way right now is undone too unless --older-than spares it.",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx := cmd.Context()
			r, p, err := o.open(ctx)
			if err != nil {
				return err
			}
			res, err := r.Sweep(ctx, olderThan)
			p.done()
			if err != nil {
				return err
			}
			if o.json {
				err = printJSON(cmd.OutOrStdout(), res)
			} else {
				printSweep(cmd, res)
			}
			switch {
			case err != nil:
				return err
			case len(res.Left) > 0:
				return exitError(1)
			case len(res.Problems) > 0:
				return exitError(2)
			}
			return nil
		},
	}
	cmd.Flags().DurationVar(&olderThan, "older-than", 0, "spare runs begun less than this ago that may still be under way")
	return cmd
}

func printSweep(cmd *cobra.Command, res run.SweepResult) {
	w := cmd.OutOrStdout()
	for _, u := range res.Undone {
		fmt.Fprintln(w, "undone: ", printable(u))
	}
	for _, l := range res.Left {
		fmt.Fprintln(w, "LEFT:   ", printable(l))
	}
	for _, p := range res.Problems {
		fmt.Fprintln(w, "problem:", printable(p))
	}
	fmt.Fprintf(w, "%d places listed and clean, %d calls undone, %d things left, %d problems.\n", len(res.Clean), len(res.Undone), len(res.Left), len(res.Problems))
}

func planCommand(o *options) *cobra.Command {
	var size wire.CostOptions
	cmd := &cobra.Command{
		Use:   "plan [SCENARIO...]",
		Short: "Show exactly what a run would do: calls, undo, policies, expected records and alerts, cost",
		Long:  "Shows exactly what a run would do, without calling anybody.\n\nWith --organisation N it says instead what a month of N accounts like the first target\nwould cost by list prices: each quantity with its price, and where it comes from.",
		RunE: func(cmd *cobra.Command, args []string) error {
			cfg, err := o.load()
			if err != nil {
				return err
			}
			if len(args) > 0 {
				cfg.Scenarios.Include = args
			}
			if cmd.Flags().Changed("organisation") {
				return o.cost(cmd, cfg, size)
			}
			for _, flag := range []string{"regions", "cell-accounts", "prices"} {
				if cmd.Flags().Changed(flag) {
					return fmt.Errorf("--%s goes with --organisation", flag)
				}
			}
			plans, err := wire.Plan(cfg)
			if err != nil {
				return err
			}
			permissions, err := wire.Permissions(cfg, plans)
			if err != nil {
				return err
			}
			audit, err := wire.WeighAudit(cfg, plans)
			if err != nil {
				return err
			}
			if o.json {
				return printJSON(cmd.OutOrStdout(), map[string]any{"canaries": plans, "permissions": permissions, "audit": audit})
			}
			if err := printPlans(cmd, cfg, plans, permissions); err != nil {
				return err
			}
			printAudit(cmd.OutOrStdout(), audit)
			fmt.Fprintf(cmd.OutOrStdout(), "%d canaries planned. Nothing was called.\n", len(plans))
			return nil
		},
	}
	cmd.Flags().IntVar(&size.Accounts, "organisation", 0, "estimate the cost of a month of `N` accounts")
	cmd.Flags().IntVar(&size.Regions, "regions", 1, "in `N` regions each (with --organisation)")
	cmd.Flags().IntVar(&size.AccountsPerCell, "cell-accounts", 1, "`N` accounts to a cell (with --organisation)")
	cmd.Flags().StringVar(&size.Prices, "prices", "", "take prices and assumptions from `FILE` (with --organisation; shared/cost/prices.yaml is one)")
	return cmd
}

// cost prints what a month of a whole organisation costs.
func (o *options) cost(cmd *cobra.Command, cfg *wire.Config, size wire.CostOptions) error {
	estimate, err := wire.Cost(cfg, size)
	if err != nil {
		return err
	}
	if o.json {
		return printJSON(cmd.OutOrStdout(), estimate)
	}
	return estimate.Print(cmd.OutOrStdout())
}

func printPlans(cmd *cobra.Command, cfg *wire.Config, plans []run.Plan, permissions map[string][]json.RawMessage) error {
	w := cmd.OutOrStdout()
	for _, p := range plans {
		s := p.Scenario
		fmt.Fprintf(w, "%s at %s/%s: %s\n", printable(s.ID), p.Canary.Target.Account, p.Canary.Target.Region, printable(s.Title))
		fmt.Fprintf(w, "  %s; %s; cost %s; run %s (%s)\n", s.Kind, s.Category, printable(s.Cost), s.Schedule.Every, printable(s.Schedule.Why))
		fmt.Fprintf(w, "  harmless: %s\n", printable(strings.Join(strings.Fields(s.Harmless), " ")))
		if p.NotRun != "" {
			fmt.Fprintf(w, "  NOT RUN: %s\n\n", printable(p.NotRun))
			continue
		}
		for _, ps := range p.Steps {
			params, err := json.Marshal(ps.Call.Params)
			if err != nil {
				return fmt.Errorf("plan %s step %s: %w", s.ID, ps.Step, err)
			}
			fmt.Fprintf(w, "  %-8s %s %s in %s\n", ps.Step, ps.Call.Operation, printable(string(params)), ps.Call.Region)
			if err := printLooks(w, s, ps); err != nil {
				return err
			}
			if ps.Undo != nil {
				params, err := json.Marshal(ps.Undo.Params)
				if err != nil {
					return fmt.Errorf("plan %s step %s undo: %w", s.ID, ps.Step, err)
				}
				fmt.Fprintf(w, "    undo   %s %s\n", ps.Undo.Operation, printable(string(params)))
			} else {
				fmt.Fprintf(w, "    no undo: %s\n", printable(ps.NoUndo))
			}
			kind := "write"
			if ps.Record.ReadOnly {
				kind = "read-only: a write-only trail would drop it"
			}
			if ps.Record.DataEvent {
				kind = "a data event: only a trail that selects those of the bucket takes it, and no event history has it"
			}
			fmt.Fprintf(w, "    record %s %s in %s (%s)\n", ps.Record.Service, ps.Record.Operation, ps.Record.Region, kind)
		}
		printPromised(w, cfg, s)
		fmt.Fprintf(w, "  session policy: %s\n\n", p.SessionPolicy)
	}
	for _, account := range slices.Sorted(maps.Keys(permissions)) {
		if slices.ContainsFunc(plans, func(p run.Plan) bool {
			return p.Canary.Target.Provider == "kubernetes" && p.Canary.Target.Account == account
		}) {
			fmt.Fprintf(w, "What cluster %s needs, ready for kubectl apply -f -:\n", account)
			for _, list := range permissions[account] {
				if err := printJSON(w, list); err != nil {
					return err
				}
			}
			continue
		}
		for i, policy := range permissions[account] {
			fmt.Fprintf(w, "Least-privilege policy %d of %d of the injector role in %s, ready to paste:\n", i+1, len(permissions[account]), account)
			if err := printJSON(w, policy); err != nil {
				return err
			}
		}
	}
	return nil
}

// printAudit says what API servers would leave unrecorded.
func printAudit(w io.Writer, audit []wire.Weighed) {
	for _, a := range audit {
		switch {
		case !a.Policy && !a.Flags:
			fmt.Fprintf(w, "What the API server of cluster %s leaves unrecorded is not known: neither audit_policy nor api_server_flags is given.\n", a.Cluster)
			continue
		case len(a.Findings) == 0:
			fmt.Fprintf(w, "What is given of the API server of cluster %s leaves nothing unrecorded that canaries do.\n", a.Cluster)
			continue
		}
		fmt.Fprintf(w, "What the API server of cluster %s would leave unrecorded:\n", a.Cluster)
		for _, f := range a.Findings {
			name := f.Name
			if name != "" {
				name += ": "
			}
			fmt.Fprintf(w, "  %-7s %s: %s%s\n", f.Status, printable(f.At), printable(name), printable(f.Detail))
		}
	}
}

func scenariosCommand(o *options) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "scenarios",
		Short: "List the selected scenarios",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			ss, err := o.catalogue()
			if err != nil {
				return err
			}
			if o.json {
				return printJSON(cmd.OutOrStdout(), ss)
			}
			tw := tabwriter.NewWriter(cmd.OutOrStdout(), 0, 0, 2, ' ', 0)
			fmt.Fprintln(tw, "SCENARIO\tKIND\tCATEGORY\tSCOPE\tEVERY\tTITLE")
			for _, s := range ss {
				fmt.Fprintf(tw, "%s\t%s\t%s\t%s\t%s\t%s\n", printable(s.ID), s.Kind, s.Category, s.Scope, s.Schedule.Every, printable(s.Title))
			}
			return tw.Flush()
		},
	}
	cmd.AddCommand(&cobra.Command{
		Use:   "lint FILE...",
		Short: "Check scenario files; every problem with file, line and column",
		Args:  cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			var errs []error
			for _, file := range args {
				if _, err := scenarios.ReadFile(file, wire.Checker()); err != nil {
					errs = append(errs, err)
				}
			}
			if err := errors.Join(errs...); err != nil {
				fmt.Fprintln(cmd.ErrOrStderr(), printable(err.Error()))
				return exitError(1)
			}
			fmt.Fprintf(cmd.OutOrStdout(), "%d scenario files are sound.\n", len(args))
			return nil
		},
	})
	return cmd
}

// catalogue is what the configuration selects, or the built-in one where there
// is no configuration.
func (o *options) catalogue() ([]canary.Scenario, error) {
	cfg, err := o.load()
	if errors.Is(err, os.ErrNotExist) {
		return scenarios.Load(scenarios.Options{Check: wire.Checker()})
	}
	if err != nil {
		return nil, err
	}
	return wire.Catalogue(cfg)
}

func configCommand(o *options) *cobra.Command {
	cmd := &cobra.Command{Use: "config", Short: "The configuration file"}
	cmd.AddCommand(&cobra.Command{
		Use:   "check",
		Short: "Check the configuration and every selected scenario against it, without calling anybody",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, err := o.load()
			if err != nil {
				return err
			}
			plans, err := wire.Plan(cfg)
			if err != nil {
				return err
			}
			if err := wire.CheckAlerts(cfg); err != nil {
				return err
			}
			if _, _, err := cfg.RegisterInUse(); err != nil {
				return err
			}
			w, notRun := cmd.OutOrStdout(), map[string]string{}
			for _, p := range plans {
				if p.NotRun != "" {
					notRun[p.Scenario.ID+" at "+p.Canary.Target.Account+"/"+p.Canary.Target.Region] = p.NotRun
				}
			}
			if o.json {
				return printJSON(w, map[string]any{"ok": true, "targets": len(cfg.Targets) + len(cfg.Clusters), "canaries": len(plans), "not_run": notRun})
			}
			fmt.Fprintf(w, "%s is sound: %d targets, %d canaries a run.\n", o.config, len(cfg.Targets)+len(cfg.Clusters), len(plans))
			for _, at := range slices.Sorted(maps.Keys(notRun)) {
				fmt.Fprintf(w, "Cannot run: %s: %s\n", at, printable(notRun[at]))
			}
			return nil
		},
	})
	return cmd
}

func ledgerCommand(o *options) *cobra.Command {
	cmd := &cobra.Command{Use: "ledger", Short: "The signed log that is both state and evidence"}
	cmd.AddCommand(ledgerVerifyCommand(o), ledgerKeygenCommand(o), ledgerShowCommand(o))
	return cmd
}

func ledgerVerifyCommand(o *options) *cobra.Command {
	var dir, url, key, origin string
	cmd := &cobra.Command{
		Use:   "verify",
		Short: "Verify every leaf, hash and signature of a ledger again",
		Long:  "Without flags: the configured ledger. With --dir or --url: any ledger, with the\nverifier key (--key) and origin (--origin) you trust it by.",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx := cmd.Context()
			src, err := wire.LedgerToVerify(ctx, o.config, wire.LedgerSource{Dir: dir, URL: url, Key: key, Origin: origin, Cell: o.cell})
			if err != nil {
				return err
			}
			p := newProgress(os.Stderr)
			rep, err := ledger.Verify(ctx, src.Store, src.Verifier, src.Origin, func(done, total int64) {
				p.show(run.Progress{Step: "verify", Done: int(done), Total: int(total), Message: "leaves"})
			})
			p.done()
			if err != nil {
				fmt.Fprintln(cmd.ErrOrStderr(), "ledger NOT verified:", printable(err.Error()))
				return exitError(1)
			}
			if o.json {
				return printJSON(cmd.OutOrStdout(), rep)
			}
			fmt.Fprintf(cmd.OutOrStdout(), "Verified: %s\n", printable(fmt.Sprint(rep)))
			return nil
		},
	}
	cmd.Flags().StringVar(&dir, "dir", "", "a ledger in a directory")
	cmd.Flags().StringVar(&url, "url", "", "a ledger served over HTTP")
	cmd.Flags().StringVar(&key, "key", "", "verifier key, or a file that holds it")
	cmd.Flags().StringVar(&origin, "origin", "", "origin the ledger must have")
	return cmd
}

func ledgerShowCommand(o *options) *cobra.Command {
	return &cobra.Command{
		Use:   "show",
		Short: "Print every entry, one JSON object a line",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx := cmd.Context()
			cfg, err := o.load()
			if err != nil {
				return err
			}
			log, err := wire.OpenLedger(ctx, cfg, wire.ReadOnly)
			if err != nil {
				return err
			}
			cp, err := log.Checkpoint(ctx)
			if err != nil {
				return err
			}
			for e, err := range log.Entries(ctx, 0, cp.Size) {
				if err != nil {
					return err
				}
				if _, err := fmt.Fprintln(cmd.OutOrStdout(), printable(string(e.Data))); err != nil {
					return err
				}
			}
			return nil
		},
	}
}

func ledgerKeygenCommand(o *options) *cobra.Command {
	var kms string
	cmd := &cobra.Command{
		Use:   "keygen NAME FILE",
		Short: "Make a signing key for a ledger: FILE (private, 0600) and FILE.pub",
		Long:  "Makes a signing key: FILE (private, 0600) and FILE.pub. With --kms the key stays in\nAWS KMS (ECC_NIST_EDWARDS25519 for SIGN_VERIFY), and only the verifier key is printed,\nfor signing.verifier; there is no FILE then.",
		Args: func(cmd *cobra.Command, args []string) error {
			if kms != "" {
				return cobra.ExactArgs(1)(cmd, args)
			}
			return cobra.ExactArgs(2)(cmd, args)
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			if kms != "" {
				cfg, err := o.load()
				if err != nil {
					cfg = nil // it cannot be whole before it has what is printed here
				}
				vkey, err := wire.LedgerVerifierKey(cmd.Context(), cfg, kms, args[0])
				if err != nil {
					return err
				}
				fmt.Fprintln(cmd.OutOrStdout(), vkey)
				return nil
			}
			skey, vkey, err := ledger.GenerateKey(args[0])
			if err != nil {
				return err
			}
			if err := writeNew(args[1], skey+"\n", 0o600); err != nil {
				return err
			}
			if err := writeNew(args[1]+".pub", vkey+"\n", 0o644); err != nil {
				return err
			}
			fmt.Fprintln(cmd.OutOrStdout(), vkey)
			return nil
		},
	}
	cmd.Flags().StringVar(&kms, "kms", "", "print the verifier key of this key of AWS KMS (`ARN`)")
	return cmd
}

// writeNew never overwrites: an overwritten signing key is a lost ledger.
func writeNew(file, content string, mode os.FileMode) error {
	f, err := os.OpenFile(file, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode)
	if err != nil {
		return fmt.Errorf("write key: %w", err)
	}
	_, err = f.WriteString(content)
	return errors.Join(err, f.Close())
}
