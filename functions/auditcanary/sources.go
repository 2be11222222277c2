package main

import (
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"github.com/auditcanary/auditcanary/shared/canary"
	"github.com/auditcanary/auditcanary/shared/inventory"
	"github.com/auditcanary/auditcanary/shared/run"
	"github.com/auditcanary/auditcanary/shared/wire"
)

// sourcesOptions are the flags of sources.
type sourcesOptions struct {
	format            string
	accounts, regions []string
}

func sourcesCommand(o *options) *cobra.Command {
	var s sourcesOptions
	cmd := &cobra.Command{
		Use:   "sources",
		Short: "Take the inventory of the sources of logs, with what is missing, off, silent or weakened",
		Long: `Reads the settings of every account of the organisation through the read-only role
that the configuration names (inspection), and shows for each account, region and class
of sources what records it, where it lands and who owns it. It finds trails that are
missing, stopped, silent, narrowed or not validated, an archive whose bucket or key is
weakened, and breaks in what alert_path lists: rules, targets, subscriptions, alarms,
metric filters, detectors and their suppression filters.

Settings are no proof: beside them stands the last canary that proved each category of
activity there, from the ledger.

It changes nothing. Exit code: 0 nothing found, 1 findings, 2 something could not be read.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if o.json {
				s.format = "json"
			}
			write, ok := sourcesFormats()[s.format]
			if !ok {
				return fmt.Errorf("--format %s: table, csv or json", s.format)
			}
			r, err := s.take(cmd, o, time.Now())
			if err != nil {
				return err
			}
			if err := write(r, cmd.OutOrStdout()); err != nil {
				return err
			}
			switch r.Status {
			case canary.Fail:
				return exitError(1)
			case canary.Inconclusive:
				return exitError(2)
			}
			return nil
		},
	}
	cmd.Flags().StringVar(&s.format, "format", "table", "table, csv or json")
	cmd.Flags().StringSliceVar(&s.accounts, "account", nil, "only this account; may be repeated")
	cmd.Flags().StringSliceVar(&s.regions, "region", nil, "only this region; may be repeated")
	return cmd
}

func sourcesFormats() map[string]func(inventory.Report, io.Writer) error {
	return map[string]func(inventory.Report, io.Writer) error{
		"table": inventory.Report.WriteTable,
		"csv":   inventory.Report.WriteCSV,
		"json":  func(r inventory.Report, w io.Writer) error { return printJSON(w, r) },
	}
}

// take reads the accounts and the ledger as they are now.
func (s *sourcesOptions) take(cmd *cobra.Command, o *options, now time.Time) (inventory.Report, error) {
	ctx := cmd.Context()
	cfg, err := o.load()
	if err != nil {
		return inventory.Report{}, err
	}
	state := run.NewState()
	log, err := wire.OpenLedger(ctx, cfg, wire.ReadOnly)
	switch {
	case wire.NotBegun(err):
		fmt.Fprintln(cmd.ErrOrStderr(), "The ledger has not begun: nothing was ever proven.")
	case err != nil:
		return inventory.Report{}, err
	default:
		if state, _, err = run.Fold(ctx, log); err != nil {
			return inventory.Report{}, err
		}
	}
	return wire.Sources(ctx, cfg, state, wire.SourcesOptions{Accounts: s.accounts, Regions: s.regions, Now: now})
}
