package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/auditcanary/auditcanary/shared/alertrule"
	"github.com/auditcanary/auditcanary/shared/canary"
	"github.com/auditcanary/auditcanary/shared/run"
	"github.com/auditcanary/auditcanary/shared/wire"
)

func alertsCommand(o *options) *cobra.Command {
	var opt run.AlertOptions
	var rules bool
	cmd := &cobra.Command{
		Use:   "alerts",
		Short: "Find out whether the alerts that canaries promise rang, in time, and name them",
		Long: `Listens where the configuration says that alerts arrive (alerts). An alert is a canary's
by the request id or event id in it. One that names only a canary's session, which
anybody can choose, or nothing at all, as an alarm does, is inconclusive unless the
configuration accepts it (accept_weak). What is found amends the verdicts.

With --rules nothing is listened for: the rules that make the alerts are read (through
inspection.role) and held against the record that each planned call will leave, so that
an alert that could never ring is known before any run.

Exit codes: 0 every promised alert rang in time (could ring), 1 one did not, or late (could
never), 2 something is awaited or could not be found out, or nothing was promised.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx := cmd.Context()
			if rules {
				return o.alertRules(ctx, cmd)
			}
			r, p, err := o.open(ctx)
			if err != nil {
				return err
			}
			if len(r.AlertSources) == 0 {
				return errors.New("alerts: the configuration does not say where any alert arrives (alerts)")
			}
			err = r.Alerts(ctx, opt)
			p.done()
			if err != nil {
				return err
			}
			return o.reportAlerts(ctx, cmd, r, opt.Run)
		},
	}
	cmd.Flags().StringVar(&opt.Run, "run", "", "only this run (default every canary that is not settled)")
	cmd.Flags().BoolVar(&opt.Wait, "wait", false, "go on until each alert rang, or its time is over")
	cmd.Flags().BoolVar(&rules, "rules", false, "say which of the promised alerts could ring at all, by the rules that make them")
	cmd.MarkFlagsMutuallyExclusive("rules", "run")
	cmd.MarkFlagsMutuallyExclusive("rules", "wait")
	return cmd
}

// alertRules says which of the promised alerts could ring.
func (o *options) alertRules(ctx context.Context, cmd *cobra.Command) error {
	cfg, err := o.load()
	if err != nil {
		return err
	}
	plans, err := wire.Plan(cfg)
	if err != nil {
		return err
	}
	table, err := wire.AlertRules(ctx, cfg, plans)
	if err != nil {
		return err
	}
	if o.json {
		err = printJSON(cmd.OutOrStdout(), table)
	} else {
		err = table.WriteText(cmd.OutOrStdout())
	}
	switch {
	case err != nil:
		return err
	case table.Count(alertrule.Never) > 0:
		return exitError(1)
	case table.Count(alertrule.Undecided) > 0 || len(table.Rows) == 0:
		return exitError(2)
	}
	return nil
}

// alertLine is what became of one alert that one canary promises.
type alertLine struct {
	Canary   string `json:"canary"`
	Scenario string `json:"scenario"`
	Account  string `json:"account"`
	Region   string `json:"region"`
	canary.AlertAnswer
}

// alertSummary is what `alerts --json` prints.
type alertSummary struct {
	Run    string                `json:"run"`
	Alerts []alertLine           `json:"alerts"`
	Tally  map[canary.Status]int `json:"tally"`
}

func alertsOf(s run.Summary) alertSummary {
	out := alertSummary{Run: s.Run, Alerts: []alertLine{}, Tally: map[canary.Status]int{}}
	for _, l := range s.Canaries {
		for _, a := range l.Checks[canary.Alerted].Alerts {
			if l.Checks[canary.Alerted].Status == canary.Excepted && (a.Status == canary.Fail || a.Status == canary.Late) {
				a.Status = canary.Excepted
			}
			out.Alerts = append(out.Alerts, alertLine{l.ID, l.Scenario, l.Target, l.Region, a})
			if a.Open {
				a.Status = canary.NotRun // whatever it looks like, it is still awaited
			}
			out.Tally[a.Status]++
		}
	}
	return out
}

func (s alertSummary) exitCode() int {
	switch {
	case s.Tally[canary.Fail]+s.Tally[canary.Late] > 0:
		return 1
	case s.Tally[canary.Pass]+s.Tally[canary.Excepted] < len(s.Alerts) || s.Tally[canary.Pass] == 0:
		return 2
	}
	return 0
}

func (o *options) reportAlerts(ctx context.Context, cmd *cobra.Command, r *run.Run, runID string) error {
	state, cp, err := run.Fold(context.WithoutCancel(ctx), r.Log)
	if err != nil {
		return err
	}
	s := alertsOf(run.Summarise(state, cp, runID, r.SLO, r.Clock()))
	if o.json {
		err = printJSON(cmd.OutOrStdout(), s)
	} else {
		err = printAlerts(cmd.OutOrStdout(), s)
	}
	if code := s.exitCode(); err == nil && code != 0 {
		return exitError(code)
	}
	return err
}

func printAlerts(w io.Writer, s alertSummary) error {
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(tw, "ALERT\tON\tCANARY\tSCENARIO\tPLACE\tSTATUS\tRANG\tAFTER\tWHAT")
	for _, l := range s.Alerts {
		rang, after := "-", "-"
		if !l.Rang.IsZero() {
			rang = l.Rang.UTC().Format(time.RFC3339)
		}
		if l.LatencySeconds != nil {
			after = time.Duration(*l.LatencySeconds * float64(time.Second)).Round(time.Second).String()
		}
		what := string(l.Kind)
		if l.Detail != "" {
			what += ": " + l.Detail
		}
		fmt.Fprintf(tw, "%s\t%s\t%s\t%s\t%s/%s\t%s\t%s\t%s\t%s\n", oneLine(l.Alert), l.On, l.Canary, oneLine(l.Scenario), l.Account, l.Region,
			cell(canary.Answer{Status: l.Status, Open: l.Open}), rang, after, oneLine(what))
	}
	if err := tw.Flush(); err != nil {
		return err
	}
	_, err := fmt.Fprintf(w, "\n%d of %d promised alerts rang in time%s.\n", s.Tally[canary.Pass], len(s.Alerts), alertTally(s.Tally))
	return err
}

func alertTally(t map[canary.Status]int) (text string) {
	for _, part := range []struct {
		status canary.Status
		word   string
	}{{canary.Late, "late"}, {canary.Fail, "failed"}, {canary.Inconclusive, "inconclusive"}, {canary.NotRun, "awaited or not listened for"}} {
		if n := t[part.status]; n > 0 {
			text += fmt.Sprintf(", %d %s", n, part.word)
		}
	}
	return text
}

// unheard says why promised alerts are not known of, each reason once, with the names.
func unheard(lines []run.Line) (out []string) {
	names := map[string][]string{}
	var order []string
	for _, l := range lines {
		for _, a := range l.Checks[canary.Alerted].Alerts {
			if l.Checks[canary.Alerted].Status == canary.Excepted && (a.Status == canary.Fail || a.Status == canary.Late) {
				a.Status = canary.Excepted
			}
			if a.Status != canary.NotRun {
				continue
			}
			if names[a.Detail] == nil {
				order = append(order, a.Detail)
			}
			if !slices.Contains(names[a.Detail], a.Alert) {
				names[a.Detail] = append(names[a.Detail], a.Alert)
			}
		}
	}
	for _, detail := range order {
		slices.Sort(names[detail])
		out = append(out, strings.Join(names[detail], ", ")+": "+detail)
	}
	return out
}

// printPromised says which alerts a canary promises, and where they arrive.
func printPromised(w io.Writer, cfg *wire.Config, s canary.Scenario) {
	for _, p := range cfg.Promised(s) {
		of := ""
		if p.Step != "" {
			of = " by " + p.Step
		}
		fmt.Fprintf(w, "  alert    %s on %s%s: %s\n", printable(p.Alert), p.On, printable(of), printable(p.Arrives))
	}
}
