package main

import (
	"github.com/spf13/cobra"

	"github.com/auditcanary/auditcanary/shared/run"
)

func sealCommand(o *options) *cobra.Command {
	var opt run.SealOptions
	var brief bool
	cmd := &cobra.Command{
		Use:   "seal",
		Short: "Find out how the records that were found are kept: signed for, and safe from deletion",
		Long: `For the object in which each canary's record stands: which of CloudTrail's signed
digests names it, with the hash of the very bytes the record was read from (sealed),
and whether its retention, its bucket's settings and its key keep everybody from
taking it away (immutable). What is found amends the verdicts; digests, signatures
and public keys go into the ledger, so that the custody can be verified offline.

Whom the bucket's policy admits, and where it is replicated to, is not asked here:
see "auditcanary access" and "auditcanary sources".

A digest comes about an hour after the file; a canary is looked at again by each
seal until it is settled. It only reads.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx := cmd.Context()
			r, p, err := o.open(ctx)
			if err != nil {
				return err
			}
			err = r.Seal(ctx, opt)
			p.done()
			if err != nil {
				return err
			}
			o.brief = brief
			return o.report(ctx, cmd, r, opt.Run, run.Summary.ExitCode)
		},
	}
	cmd.Flags().StringVar(&opt.Run, "run", "", "only this run (default every canary that is not settled)")
	cmd.Flags().BoolVar(&brief, "brief", false, "only what is not as it must be, and the sums")
	cmd.Flags().BoolVar(&opt.Wait, "wait", false, "go on until each record is settled: that takes hours")
	return cmd
}
