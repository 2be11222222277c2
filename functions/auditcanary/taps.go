package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/auditcanary/auditcanary/shared/wire"
)

func tapsCommand(o *options) *cobra.Command {
	var dir, topic string
	cmd := &cobra.Command{
		Use:   "taps",
		Short: "Write CloudFormation templates of the queues in which cells hear their alerts",
		Long: `Write CloudFormation templates of the queues in which cells hear their alerts, as many as
needed: a template takes 500 resources.

What is read from a queue is deleted, so that each cell needs one of its own for each
alert: with {cell} in its queue_url in auditcanary.yaml. It is subscribed to the topic
that tells people of the alert, for the events of the cell's accounts alone. New cells
belong at the end of targets: then the queues of others stay in the stack they are in.

Nobody is asked, and no credential is needed. Deploy each template as a stack of its own,
in the account and region that its name has; it is larger than a command line takes:

  aws cloudformation deploy --template-file DIR/NAME.json --stack-name auditcanary-NAME \
    --s3-bucket BUCKET --region REGION`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, err := wire.Load(o.config)
			if err != nil {
				return err
			}
			taps, err := wire.OfTaps(cfg, wire.TapsOptions{Topic: topic})
			if err != nil {
				return err
			}
			if err := os.MkdirAll(dir, 0o755); err != nil {
				return err
			}
			for i, s := range taps.Stacks {
				taps.Stacks[i].File = filepath.Join(dir, s.Name+".json")
				if err := os.WriteFile(taps.Stacks[i].File, append(s.Template, '\n'), 0o644); err != nil {
					return err
				}
			}
			if o.json {
				return json.NewEncoder(cmd.OutOrStdout()).Encode(taps)
			}
			for _, s := range taps.Stacks {
				fmt.Fprintf(cmd.OutOrStdout(), "%s: cells %s to %s (%d)\n", printable(s.File), s.Cells[0], s.Cells[len(s.Cells)-1], len(s.Cells))
			}
			if taps.Filters > wire.FiltersOfATopic {
				fmt.Fprintf(cmd.ErrOrStderr(), "Each topic gets %d subscriptions with a filter, and AWS lets it have %d unless you ask for more (Service Quotas, SNS: filter policies per topic). Cells of more accounts need fewer.\n", taps.Filters, wire.FiltersOfATopic)
			}
			return nil
		},
	}
	cmd.Flags().StringVarP(&dir, "out", "o", "", "write into `DIR`")
	cmd.Flags().StringVar(&topic, "topic", "auditcanary-{alert}", "`NAME` of the topic that tells people of an alert, in the account and region of its queues")
	_ = cmd.MarkFlagRequired("out") // there is such a flag
	return cmd
}
