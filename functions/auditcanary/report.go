package main

import (
	"bytes"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/auditcanary/auditcanary/shared/coverage"
	"github.com/auditcanary/auditcanary/shared/report"
	"github.com/auditcanary/auditcanary/shared/run"
	"github.com/auditcanary/auditcanary/shared/wire"
)

// period are the flags that say what a report is of.
type period struct {
	from, to day
	run      string
	maxAge   age
}

func (p *period) flags(cmd *cobra.Command) {
	p.maxAge = age(coverage.DefaultMaxAge)
	cmd.Flags().Var(&p.from, "from", "first day of the period, 2026-11-01 (default: from the beginning)")
	cmd.Flags().Var(&p.to, "to", "last day of the period (default: to the end)")
	cmd.Flags().StringVar(&p.run, "run", "", "only this run (default all)")
	cmd.Flags().Var(&p.maxAge, "max-age", "how long a proof counts in the coverage, in days (35d) or as 12h")
}

// period in the report's terms: its end is the beginning of the next day.
func (p *period) period() (report.Period, error) {
	out := report.Period{From: time.Time(p.from), Run: p.run}
	if to := time.Time(p.to); !to.IsZero() {
		out.To = to.AddDate(0, 0, 1)
		if out.To.Before(out.From) {
			return out, fmt.Errorf("--to %s is before --from %s", p.to.String(), p.from.String())
		}
	}
	return out, nil
}

// report folds the ledger as it is now.
func (p *period) report(cmd *cobra.Command, o *options, now time.Time) (report.Report, *wire.Config, error) {
	r, cfg, _, err := p.fold(cmd, o, now)
	return r, cfg, err
}

// fold is report, with the ledger's state.
func (p *period) fold(cmd *cobra.Command, o *options, now time.Time) (report.Report, *wire.Config, *run.State, error) {
	ctx := cmd.Context()
	cfg, err := o.load()
	if err != nil {
		return report.Report{}, nil, nil, err
	}
	opt := wire.ReportOptions{MaxAge: time.Duration(p.maxAge), Version: version(), Now: now}
	if opt.Period, err = p.period(); err != nil {
		return report.Report{}, nil, nil, err
	}
	state := run.NewState()
	log, err := wire.OpenLedger(ctx, cfg, wire.ReadOnly)
	if wire.NotBegun(err) {
		fmt.Fprintln(cmd.ErrOrStderr(), "The ledger has not begun: nothing was ever tested.")
		r, err := wire.Report(cfg, state, opt)
		return r, cfg, state, err
	}
	if err != nil {
		return report.Report{}, nil, nil, err
	}
	state, cp, err := run.Fold(ctx, log)
	if err != nil {
		return report.Report{}, nil, nil, err
	}
	opt.Checkpoint = &cp
	r, err := wire.Report(cfg, state, opt)
	return r, cfg, state, err
}

func reportCommand(o *options) *cobra.Command {
	var p period
	var format, file, push string
	var show bool
	formats := slices.Sorted(maps.Keys(report.Renderers()))
	cmd := &cobra.Command{
		Use:   "report",
		Short: "Write what a period proved, in a format for people or for another system",
		Long: `Folds the ledger into one view of a period and renders it. It only reads: the ledger
with its public key, no account, no log store. Formats: ` + strings.Join(formats, ", ") + `.

--push securityhub imports the findings of the latest canaries into the Security Hub
that the configuration names (security_hub) instead of writing a report; what passes
is resolved there. The exit code is 2 if one of them was refused.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if o.json {
				format = "json"
			}
			if show && !cmd.Flags().Changed("format") {
				format = "html"
			}
			if show && format != "html" {
				return fmt.Errorf("--open shows html, not --format %s", format)
			}
			write, ok := report.Renderers()[format]
			if !ok {
				return fmt.Errorf("--format %s: one of %s", format, strings.Join(formats, ", "))
			}
			r, cfg, err := p.report(cmd, o, time.Now())
			if err != nil {
				return err
			}
			if push != "" {
				return pushFindings(cmd, o, cfg, r, push)
			}
			var out bytes.Buffer
			if err := write(&out, r); err != nil {
				return err
			}
			if show && file == "" {
				if file, err = reportFile(); err != nil {
					return err
				}
			}
			if file == "" {
				_, err := cmd.OutOrStdout().Write(out.Bytes())
				return err
			}
			if err := os.WriteFile(file, out.Bytes(), 0o644); err != nil {
				return fmt.Errorf("write the report: %w", err)
			}
			if show {
				fmt.Fprintln(cmd.OutOrStdout(), file)
				return browse(cmd.Context(), file)
			}
			return nil
		},
	}
	p.flags(cmd)
	cmd.Flags().StringVar(&format, "format", "json", strings.Join(formats, ", "))
	cmd.Flags().StringVarP(&file, "output", "o", "", "write it to this file (default: print it)")
	cmd.Flags().BoolVar(&show, "open", false, "show it as a page in a browser (without -o, from a temporary file)")
	cmd.Flags().StringVar(&push, "push", "", "import the findings there instead: "+strings.Join(slices.Sorted(maps.Keys(wire.Pushers())), ", "))
	return cmd
}

// pushFindings imports findings into another system, and says what became of them.
func pushFindings(cmd *cobra.Command, o *options, cfg *wire.Config, r report.Report, to string) error {
	push, ok := wire.Pushers()[to]
	if !ok {
		return fmt.Errorf("--push %s: one of %s", to, strings.Join(slices.Sorted(maps.Keys(wire.Pushers())), ", "))
	}
	got, err := push(cmd.Context(), cfg, r)
	if err != nil {
		return err
	}
	if o.json {
		if err := printJSON(cmd.OutOrStdout(), got); err != nil {
			return err
		}
	} else {
		fmt.Fprintf(cmd.OutOrStdout(), "%d findings imported, %d of them resolved, %d refused.\n", got.Imported, got.Resolved, len(got.Refused))
		for _, f := range got.Refused {
			fmt.Fprintln(cmd.OutOrStdout(), printable(fmt.Sprintf("  %s: %s: %s", f.ID, f.Code, f.Message)))
		}
	}
	if len(got.Refused) > 0 {
		return exitError(2)
	}
	return nil
}

// reportFile is a new file that only this user can read: the report is evidence.
func reportFile() (string, error) {
	f, err := os.CreateTemp("", "auditcanary-report-*.html")
	if err != nil {
		return "", fmt.Errorf("write the report: %w", err)
	}
	return f.Name(), f.Close()
}

// day is a flag: a day in UTC.
type day time.Time

func (d *day) Set(s string) error {
	t, err := time.Parse(time.DateOnly, s)
	if err != nil {
		return fmt.Errorf("%q is not a day such as 2026-11-22", s)
	}
	*d = day(t)
	return nil
}

func (d *day) String() string {
	if t := time.Time(*d); !t.IsZero() {
		return t.Format(time.DateOnly)
	}
	return ""
}

func (d *day) Type() string { return "day" }
