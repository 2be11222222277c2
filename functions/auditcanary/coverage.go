package main

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/auditcanary/auditcanary/shared/coverage"
	"github.com/auditcanary/auditcanary/shared/run"
	"github.com/auditcanary/auditcanary/shared/wire"
)

// coverageOptions are the flags of coverage.
type coverageOptions struct {
	format    string
	brief     bool
	gaps      int
	run       string
	accounts  []string
	maxAge    age
	failUnder float64
	strict    bool
}

func coverageCommand(o *options) *cobra.Command {
	var c coverageOptions
	cmd := &cobra.Command{
		Use:   "coverage",
		Short: "Show what is proven of what public rule sets call privileged",
		Long: `Holds the ledger's finished verdicts against the operations that public rule sets
and benchmarks call privileged: for each of them, in each account and region,
whether a canary that made this very call is proven, failed, inconclusive or stale;
whether it cannot be proven at all; or whether nobody ever tested it. An operation
that is merely of a proven one's category is shown as sampled, and not counted.
Undo calls are not judged and prove nothing.

It only reads: the ledger with its public key, no account, no log store. A gap is no
error: the exit code is 0, unless --fail-under or --strict asks for more (then 1;
2 if nothing could be proven at all).`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if o.json {
				c.format = "json"
			}
			write, ok := c.formats()[c.format]
			if !ok {
				return fmt.Errorf("--format %s: table, csv or json", c.format)
			}
			if !(c.failUnder >= 0 && c.failUnder <= 100) { // NaN is neither
				return fmt.Errorf("--fail-under %v: a percentage", c.failUnder)
			}
			r, err := c.measure(cmd, o, time.Now())
			if err != nil {
				return err
			}
			if err := write(r, cmd.OutOrStdout()); err != nil {
				return err
			}
			return c.exit(cmd, r)
		},
	}
	c.maxAge = age(coverage.DefaultMaxAge)
	cmd.Flags().StringVar(&c.format, "format", "table", "table, csv (one line per operation, account and region) or json")
	cmd.Flags().BoolVar(&c.brief, "brief", false, "only a few lines")
	cmd.Flags().IntVar(&c.gaps, "gaps", 15, "how many gaps the table lists (-1: all)")
	cmd.Flags().StringVar(&c.run, "run", "", "only verdicts of this run (default all)")
	cmd.Flags().StringSliceVar(&c.accounts, "account", nil, "only this account; may be repeated")
	cmd.Flags().Var(&c.maxAge, "max-age", "how long a proof counts, in days (35d) or as 12h")
	cmd.Flags().Float64Var(&c.failUnder, "fail-under", 0, "exit with 1 if less than this percentage is proven")
	cmd.Flags().BoolVar(&c.strict, "strict", false, "exit with 1 if the adequacy of a source of logs is undecided or overdue")
	return cmd
}

// measure reads the ledger as it is now.
func (c *coverageOptions) measure(cmd *cobra.Command, o *options, now time.Time) (coverage.Report, error) {
	ctx := cmd.Context()
	cfg, err := o.load()
	if err != nil {
		return coverage.Report{}, err
	}
	if err := cfg.Select(wire.Selection{Targets: c.accounts}); err != nil {
		return coverage.Report{}, err
	}
	opt := wire.CoverageOptions{Run: c.run, MaxAge: time.Duration(c.maxAge), Now: now}
	log, err := wire.OpenLedger(ctx, cfg, wire.ReadOnly)
	if wire.NotBegun(err) {
		fmt.Fprintln(cmd.ErrOrStderr(), "The ledger has not begun: nothing was ever tested.")
		return wire.Coverage(cfg, run.NewState(), opt)
	}
	if err != nil {
		return coverage.Report{}, err
	}
	state, cp, err := run.Fold(ctx, log)
	if err != nil {
		return coverage.Report{}, err
	}
	opt.Checkpoint = &cp
	return wire.Coverage(cfg, state, opt)
}

func (c *coverageOptions) formats() map[string]func(coverage.Report, io.Writer) error {
	return map[string]func(coverage.Report, io.Writer) error{
		"table": func(r coverage.Report, w io.Writer) error {
			if c.brief {
				return r.WriteBrief(w)
			}
			return r.WriteTable(w, c.gaps)
		},
		"csv":  coverage.Report.WriteCSV,
		"json": func(r coverage.Report, w io.Writer) error { return printJSON(w, r) },
	}
}

// exit is 0 unless more was asked for than there is.
func (c *coverageOptions) exit(cmd *cobra.Command, r coverage.Report) error {
	if cmd.Flags().Changed("fail-under") {
		switch p := r.Total.Percent; {
		case p == nil:
			return exitError(2)
		case *p < c.failUnder:
			return exitError(1)
		}
	}
	if c.strict && slices.ContainsFunc(r.Adequacy, func(a coverage.Adequacy) bool { return a.State != coverage.Decided }) {
		return exitError(1)
	}
	return nil
}

// age is a flag: days, or a duration.
type age time.Duration

func (a *age) Set(s string) error {
	d, err := time.ParseDuration(s)
	if days, ok := strings.CutSuffix(s, "d"); ok {
		var n uint64
		n, err = strconv.ParseUint(days, 10, 16)
		d = time.Duration(n) * 24 * time.Hour
	}
	if err != nil || d <= 0 {
		return fmt.Errorf("%q is not an age such as 35d or 12h", s)
	}
	*a = age(d)
	return nil
}

func (a *age) String() string {
	if d := time.Duration(*a); d%(24*time.Hour) != 0 {
		return d.String()
	}
	return fmt.Sprintf("%dd", time.Duration(*a)/(24*time.Hour))
}

func (a *age) Type() string { return "age" }

func scopeCommand(o *options) *cobra.Command {
	var format, file string
	cmd := &cobra.Command{
		Use:   "scope",
		Short: "Write the Privileged Activity Logging Scope: actors, actions, systems, sources, scenarios",
		Long: `Draws one page up from the configuration and the catalogue: who acts with privilege,
what they do, where it is recorded, which scenarios test that and how often, what is
not tested, and whether each source of logs was decided to be adequate. What the
configuration's scope section does not say is shown as not stated. It asks nobody, and
needs no ledger.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			formats := map[string]func(coverage.Scope, io.Writer) error{
				"md": coverage.Scope.WriteMarkdown, "html": coverage.Scope.WriteHTML,
			}
			write, ok := formats[format]
			if !ok {
				return fmt.Errorf("--format %s: md or html", format)
			}
			cfg, err := o.load()
			if err != nil {
				return err
			}
			s, err := wire.ScopeDocument(cfg, version(), time.Now())
			if err != nil {
				return err
			}
			if file == "" {
				return write(s, cmd.OutOrStdout())
			}
			var page bytes.Buffer
			if err := write(s, &page); err != nil {
				return err
			}
			if err := os.WriteFile(file, page.Bytes(), 0o644); err != nil {
				return fmt.Errorf("write the scope document: %w", err)
			}
			return nil
		},
	}
	cmd.Flags().StringVar(&format, "format", "md", "md or html")
	cmd.Flags().StringVarP(&file, "output", "o", "", "write it to this file (default: print it)")
	return cmd
}
