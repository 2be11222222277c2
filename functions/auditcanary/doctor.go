package main

import (
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/auditcanary/auditcanary/shared/run"
	"github.com/auditcanary/auditcanary/shared/wire"
)

func doctorCommand(o *options) *cobra.Command {
	var opt wire.DoctorOptions
	cmd := &cobra.Command{
		Use:   "doctor",
		Short: "Check everything that a run rests on, and say what to do about what is wrong",
		Long: `Checks the configuration, credentials, roles, fixtures, the log archive and its trails,
alerts, ledger, evidence, Jira and Slack. Each check says what it saw, and what is wrong
or could not be found out with the fix, as a command or a setting. What could not be found
out is never ok.

It is read-only. It injects nothing: an injector role is assumed under a session policy
that allows nothing, and the session is not used. The only writes it makes are such as
their own condition forbids (a conditional put that must be refused).

Exit code: 0 all is ok, 1 something is wrong, 2 something could not be found out.

Checks:
` + doctorChecks(),
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			p := newProgress(os.Stderr)
			opt.Cell = o.cell
			opt.Progress = func(done, total int, name string) {
				p.show(run.Progress{Step: "doctor", Done: done, Total: total, Message: name})
			}
			r, err := wire.Doctor(cmd.Context(), o.config, opt)
			p.done()
			if err != nil {
				return err
			}
			if o.json {
				err = printJSON(cmd.OutOrStdout(), r)
			} else {
				err = r.Write(cmd.OutOrStdout())
			}
			if err != nil {
				return err
			}
			if code := r.ExitCode(); code != 0 {
				return exitError(code)
			}
			return nil
		},
	}
	cmd.Flags().StringSliceVar(&opt.Only, "only", nil, "only this check, with those that it needs; may be repeated")
	cmd.Flags().StringSliceVar(&opt.Accounts, "account", nil, "only this target account; may be repeated")
	cmd.Flags().DurationVar(&opt.Timeout, "timeout", time.Minute, "how long one check may take in one account")
	return cmd
}

func doctorChecks() string {
	var b strings.Builder
	for _, c := range wire.DoctorChecks() {
		fmt.Fprintf(&b, "  %-14s %s\n", c.Name, c.What)
	}
	return b.String()
}
