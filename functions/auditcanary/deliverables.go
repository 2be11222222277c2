package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"github.com/auditcanary/auditcanary/shared/report"
	"github.com/auditcanary/auditcanary/shared/run"
	"github.com/auditcanary/auditcanary/shared/wire"
)

func deliverablesCommand(o *options) *cobra.Command {
	var p period
	var dir string
	var inspect bool
	cmd := &cobra.Command{
		Use:   "deliverables",
		Short: "Write the documents that ISO/IEC 27017 12.4.3 is shown with, generated from what is known",
		Long: `Writes into a directory, each as Markdown and as HTML: the Privileged Activity Logging
Scope, the Logging Source Inventory, the Admin Log Protection Design, the data
dictionary, the test results with event ids and dates, exceptions and limits, and the
controls with what supports them. All of it comes from the ledger, the configuration
and the catalogue; it only reads, and asks no account. Files of the same names are
written over.

--inspect asks the accounts as well, as "auditcanary sources" and "auditcanary access"
do: what their settings say of the sources of logs goes into the inventory, who can
delete, weaken, stop, silence or read the logs, and by which statement, into the design.
Without it both say that nobody was asked.

Exit code: 0 written, 2 written and something could not be read, which the documents
name. Findings are in the documents and do not change it: "auditcanary sources" and
"auditcanary access" exit with 1 for them.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if dir == "" {
				return fmt.Errorf("-o DIR: where to write them?")
			}
			now := time.Now()
			r, cfg, state, err := p.fold(cmd, o, now)
			if err != nil {
				return err
			}
			scope, err := wire.ScopeDocument(cfg, version(), now)
			if err != nil {
				return err
			}
			var asked *report.Inspection
			if inspect {
				if asked, err = askAccounts(cmd.Context(), cfg, state, now); err != nil {
					return err
				}
			}
			files, err := report.Deliverables(r, scope, asked)
			if err != nil {
				return err
			}
			if err := os.MkdirAll(dir, 0o755); err != nil {
				return fmt.Errorf("write the deliverables: %w", err)
			}
			for _, f := range files {
				if err := os.WriteFile(filepath.Join(dir, f.Name), f.Data, 0o644); err != nil {
					return fmt.Errorf("write the deliverables: %w", err)
				}
			}
			fmt.Fprintf(cmd.OutOrStdout(), "%d files in %s; begin with %s.\n", len(files), dir, filepath.Join(dir, "index.html"))
			if asked == nil {
				return nil
			}
			return tellUnread(cmd.ErrOrStderr(), asked.Unread())
		},
	}
	p.flags(cmd)
	cmd.Flags().StringVarP(&dir, "output", "o", "", "directory to write them into")
	cmd.Flags().BoolVar(&inspect, "inspect", false, "ask the accounts as well, through the read-only role of the configuration (inspection)")
	return cmd
}

// askAccounts takes the inventory of the sources and the access lists. Where one of
// them cannot be had the documents say why; the error is for asking nobody at all.
func askAccounts(ctx context.Context, cfg *wire.Config, state *run.State, now time.Time) (*report.Inspection, error) {
	if cfg.Inspection.Role == "" {
		return nil, errors.New("--inspect: the configuration has no inspection section: name the read-only role that is assumed in every account (inspection.role)")
	}
	var out report.Inspection
	if sources, err := wire.Sources(ctx, cfg, state, wire.SourcesOptions{Now: now}); err != nil {
		out.SourcesErr = err.Error()
	} else {
		out.Sources = &sources
	}
	if lists, err := wire.Access(ctx, cfg); err != nil {
		out.AccessErr = err.Error()
	} else {
		out.Access = &lists
	}
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("ask the accounts: %w", err)
	}
	return &out, nil
}

// tellUnread tells what could not be read, the first few in words.
func tellUnread(w io.Writer, unread []string) error {
	if len(unread) == 0 {
		return nil
	}
	fmt.Fprintf(w, "%d things could not be read; the documents name them.\n", len(unread))
	for _, what := range unread[:min(len(unread), 5)] {
		fmt.Fprintln(w, printable("  "+what))
	}
	return exitError(2)
}
