package main

import (
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"github.com/auditcanary/auditcanary/shared/report"
	"github.com/auditcanary/auditcanary/shared/wire"
)

func deliverablesCommand(o *options) *cobra.Command {
	var p period
	var dir string
	cmd := &cobra.Command{
		Use:   "deliverables",
		Short: "Write the documents that ISO/IEC 27017 12.4.3 is shown with, generated from what is known",
		Long: `Writes into a directory, each as Markdown and as HTML: the Privileged Activity Logging
Scope, the Logging Source Inventory, the Admin Log Protection Design, the data
dictionary, the test results with event ids and dates, exceptions and limits, and the
controls with what supports them. All of it comes from the ledger, the configuration
and the catalogue; it only reads, and asks no account. Files of the same names are
written over.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if dir == "" {
				return fmt.Errorf("-o DIR: where to write them?")
			}
			now := time.Now()
			r, cfg, err := p.report(cmd, o, now)
			if err != nil {
				return err
			}
			scope, err := wire.ScopeDocument(cfg, version(), now)
			if err != nil {
				return err
			}
			files, err := report.Deliverables(r, scope)
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
			return nil
		},
	}
	p.flags(cmd)
	cmd.Flags().StringVarP(&dir, "output", "o", "", "directory to write them into")
	return cmd
}
