package main

import (
	"context"
	"sync"

	"github.com/spf13/cobra"

	"github.com/auditcanary/auditcanary/shared/host"
	"github.com/auditcanary/auditcanary/shared/wire"
)

func triggerCommand(o *options) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "trigger",
		Short: "Let the people and programs of the configuration's trigger ask for runs",
	}
	cmd.AddCommand(triggerServeCommand(o))
	return cmd
}

func triggerServeCommand(o *options) *cobra.Command {
	var listen string
	cmd := &cobra.Command{
		Use:   "serve",
		Short: "Take slash commands and requests on this machine, and do what they ask for",
		Long: `Listens on this machine for what the deployed function trigger takes: POST /slack is the
slash command, signed by Slack; POST /run is for the callers of the configuration, signed
with their keys. Who asks is written into the ledger before anything is begun; what was
asked for and not begun when this ended is begun when it starts again, within an hour.
Interrupted during a run, it undoes what it has done, and then ends.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, err := o.load()
			if err != nil {
				return err
			}
			ctx, stop := context.WithCancel(cmd.Context())
			var work sync.WaitGroup
			// What is under way is undone before the process ends, however serving ended.
			defer work.Wait()
			defer stop()
			h, err := wire.OpenTrigger(ctx, cfg, wire.TriggerOptions{Version: version(), Local: &work, Log: cmd.ErrOrStderr()})
			if err != nil {
				return err
			}
			return host.Serve(ctx, listen, h, cmd.OutOrStdout())
		},
	}
	cmd.Flags().StringVar(&listen, "listen", "127.0.0.1:8080", "address and port of this machine; port 0: any that is free")
	return cmd
}
