package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/auditcanary/auditcanary/shared/wire"
)

func policiesCommand(o *options) *cobra.Command {
	var out string
	var template bool
	var keys []string
	cmd := &cobra.Command{
		Use:   "policies",
		Short: "Write the least-privilege policies of every role that this configuration needs",
		Long: `Write the least-privilege policies of every role that this configuration needs, a file each.

function-STEP.json is what the deployed function of a step needs itself, every other
file what a role of the configuration needs, by the role's name: the injector's of each
account follow from the scenarios. Nobody is asked, and no credential is needed.

With --template they are those of infra/aws, for any number of accounts: in
CloudFormation's JSON, for the scenarios that the configuration selects, or, where there
is no such file, for those that come with the program. DIR is then infra/aws/policies;
what the templates beside it hold between "generated:" marks is written anew as well.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			var policies []wire.Policy
			cfg, err := wire.Load(o.config)
			switch {
			case template && errors.Is(err, fs.ErrNotExist):
				policies, err = wire.TemplatePolicies(nil)
			case err != nil:
			case template:
				policies, err = wire.TemplatePolicies(cfg)
			default:
				opts := wire.PolicyOptions{BucketKeys: map[string]string{}}
				for _, k := range keys {
					bucket, key, ok := strings.Cut(k, "=")
					if !ok || bucket == "" || !strings.HasPrefix(key, "arn:") {
						return fmt.Errorf("--bucket-key %q: want BUCKET=ARN of its key", k)
					}
					opts.BucketKeys[bucket] = key
				}
				policies, err = wire.Policies(cfg, opts)
			}
			if err != nil {
				return err
			}
			return writePolicies(cmd, out, policies, template)
		},
	}
	cmd.Flags().StringVarP(&out, "out", "o", "", "write into `DIR`; files there that are no longer needed are named, not removed")
	cmd.Flags().BoolVar(&template, "template", false, "as the templates of infra/aws have them")
	cmd.Flags().StringSliceVar(&keys, "bucket-key", nil, "`BUCKET=ARN` of the KMS key that a bucket is encrypted with; may be given several times")
	_ = cmd.MarkFlagRequired("out") // there is such a flag
	return cmd
}

func writePolicies(cmd *cobra.Command, dir string, policies []wire.Policy, template bool) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	written := map[string]bool{}
	for _, p := range policies {
		text, err := json.MarshalIndent(p.Document, "", "  ")
		if err != nil {
			return fmt.Errorf("policy %s: %w", p.Name, err)
		}
		file := filepath.Join(dir, p.Name+".json")
		if err := os.WriteFile(file, append(text, '\n'), 0o644); err != nil {
			return err
		}
		written[p.Name+".json"] = true
		fmt.Fprintln(cmd.OutOrStdout(), printable(file))
	}
	all, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, e := range all {
		if strings.HasSuffix(e.Name(), ".json") && !written[e.Name()] {
			fmt.Fprintf(cmd.ErrOrStderr(), "%s is no longer needed by anybody: remove it\n", printable(filepath.Join(dir, e.Name())))
		}
	}
	if !template {
		return nil
	}
	templates, err := filepath.Glob(filepath.Join(dir, "..", "*.yaml"))
	if err != nil {
		return err
	}
	for _, file := range templates {
		old, err := os.ReadFile(file)
		if err != nil {
			return err
		}
		text, err := wire.FillTemplate(string(old), policies)
		if err != nil {
			return fmt.Errorf("%s: %w", file, err)
		}
		if text == string(old) {
			continue
		}
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			return err
		}
		fmt.Fprintln(cmd.OutOrStdout(), printable(file))
	}
	return nil
}
