package main

import (
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/auditcanary/auditcanary/shared/access"
	"github.com/auditcanary/auditcanary/shared/wire"
)

func accessCommand(o *options) *cobra.Command {
	var action, principal, format string
	cmd := &cobra.Command{
		Use:   "access",
		Short: "Show who can delete, weaken, stop, silence or read the logs, and through which statement",
		Long: `Reads, through the read-only role that the configuration names (inspection), every
principal of every account with its policies and boundary, the organisation's service
and resource control policies, and the policies of the archive's bucket, keys and
topics. Then it decides, for each action by which logs are harmed or read, who may do
it, by which statement, and who can become the roles that may.

Whatever hangs on the request itself (an address, MFA, a tag), on an element that is
not known here or on a policy that could not be read is "possible", never left out.

Findings: a principal that acts in target accounts and can tamper with the archive as
well; anybody (also whoever an identity provider knows, where nothing asks who it is),
or an account outside the organisation, that a policy admits. They are drawn from all
actions, whichever are selected to be shown.

It changes nothing. Exit code: 0 nothing found, 1 findings, 2 something could not be
read; --action and --principal choose what is shown and do not change it.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if o.json {
				format = "json"
			}
			write, ok := accessFormats()[format]
			if !ok {
				return fmt.Errorf("--format %s: table, csv or json", format)
			}
			cfg, err := o.load()
			if err != nil {
				return err
			}
			r, err := wire.Access(cmd.Context(), cfg)
			if err != nil {
				return err
			}
			r = r.Filter(action, principal)
			if err := write(r, cmd.OutOrStdout()); err != nil {
				return err
			}
			if code := r.ExitCode(); code != 0 {
				return exitError(code)
			}
			return nil
		},
	}
	cmd.Flags().StringVar(&action, "action", "", "only actions that match this pattern (s3:Delete*)")
	cmd.Flags().StringVar(&principal, "principal", "", "only principals whose ARN, or its last part, matches this pattern (role/admin*)")
	cmd.Flags().StringVar(&format, "format", "table", "table, csv (one line per principal, action and resource, for a review of access) or json")
	return cmd
}

func accessFormats() map[string]func(access.Report, io.Writer) error {
	return map[string]func(access.Report, io.Writer) error{
		"table": access.Report.WriteTable,
		"csv":   access.Report.WriteCSV,
		"json":  func(r access.Report, w io.Writer) error { return printJSON(w, r) },
	}
}
