package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/auditcanary/auditcanary/shared/ledger"
	"github.com/auditcanary/auditcanary/shared/wire"
)

// initOptions are the flags of init.
type initOptions struct {
	wire.Draft
	accounts     []string
	injectorRole string // path and name
	cellsOf      int
	stacks       []string // files
	organization bool
	endpoint     string
	keygen       bool
	force        bool
}

func initCommand(o *options) *cobra.Command {
	var in initOptions
	cmd := &cobra.Command{
		Use:   "init",
		Short: "Write a complete, commented auditcanary.yaml",
		Long: `Writes a configuration that loads, with a comment for each setting and everything else
commented out. What the flags leave open is asked for, if this is a terminal. An existing
file is kept, unless --force is given; the ledger's key is never overwritten.

With --organization the accounts are those that AWS Organizations lists as active (all but
the management account and the archive's), with the credentials at hand.

With --stack-outputs the fixtures are what the stacks of the member template put out, as
AWS's own tool prints them, for each account and region one answer after the other:

  aws cloudformation describe-stacks --stack-name NAME --region REGION >> outputs.json

Then: auditcanary doctor.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return in.run(cmd, o) },
	}
	f := cmd.Flags()
	f.StringSliceVar(&in.accounts, "account", nil, "account in which canaries act; may be repeated")
	f.StringSliceVar(&in.Regions, "region", nil, "region in which they act; may be repeated")
	f.BoolVar(&in.organization, "organization", false, "read the accounts from AWS Organizations")
	f.IntVar(&in.cellsOf, "cells-of", 0, "put the accounts, in their order, into cells of so many, each with a ledger of its own")
	f.StringArrayVar(&in.stacks, "stack-outputs", nil, "read the fixtures from this file of aws cloudformation describe-stacks; may be repeated")
	f.StringVar(&in.injectorRole, "role", "auditcanary/auditcanary-injector", "path and name of the injector role in every account")
	f.StringVar(&in.InspectorRole, "inspector-role", "auditcanary/auditcanary-inspector", `path and name of the read-only role in every account ("" none)`)
	f.StringVar(&in.ExternalIDEnv, "external-id-env", "", "environment variable that holds the external id of both roles")
	f.StringVar(&in.Bucket, "archive-bucket", "", "bucket of the central log archive")
	f.StringVar(&in.BucketRegion, "archive-region", "", "its region")
	f.StringVar(&in.Prefix, "archive-prefix", "", "what stands before AWSLogs/ in it")
	f.StringVar(&in.ReaderRole, "reader-role", "", "ARN of the role that reads it")
	f.StringVar(&in.Organization, "organization-id", "", "o-..., if an organisation trail delivers there (read with --organization)")
	f.StringVar(&in.ManagementAccount, "management-account", "", "of the organisation (read with --organization)")
	f.StringVar(&in.Origin, "origin", "", "name of the ledger, for ever: auditcanary.example.com/prod")
	f.StringVar(&in.LedgerDir, "ledger-dir", "ledger", "directory of the ledger")
	f.StringVar(&in.LedgerBucket, "ledger-bucket", "", "bucket of the ledger, in place of a directory")
	f.StringVar(&in.LedgerPrefix, "ledger-prefix", "ledger", "of its keys in the bucket")
	f.StringVar(&in.LedgerRegion, "ledger-region", "", "region of the bucket (default that of the archive)")
	f.StringVar(&in.KeyFile, "key-file", "signing.key", "file of the ledger's key")
	f.StringVar(&in.KeyEnv, "key-env", "", "environment variable of the ledger's key, in place of a file")
	f.StringVar(&in.endpoint, "endpoint-url", os.Getenv("AWS_ENDPOINT_URL"), "where AWS Organizations is asked, if not at AWS's own endpoint")
	f.BoolVar(&in.keygen, "keygen", false, "make the ledger's key too, unless it is there")
	f.BoolVar(&in.force, "force", false, "overwrite the configuration")
	cmd.MarkFlagsMutuallyExclusive("account", "organization")
	cmd.MarkFlagsMutuallyExclusive("key-env", "keygen")
	return cmd
}

func (in *initOptions) run(cmd *cobra.Command, o *options) error {
	ctx, w := cmd.Context(), cmd.OutOrStdout()
	if _, err := os.Stat(o.config); err == nil && !in.force {
		return fmt.Errorf("%s is there already; --force overwrites it", o.config)
	}
	if err := in.ask(terminal(os.Stdin), os.Stdin, cmd.ErrOrStderr()); err != nil {
		return err
	}
	if in.organization {
		if err := in.members(ctx); err != nil {
			return err
		}
	}
	for _, id := range in.accounts {
		in.Accounts = append(in.Accounts, wire.DraftAccount{Account: id, RoleARN: "arn:" + partition(in.BucketRegion) + ":iam::" + id + ":role/" + in.injectorRole})
	}
	if in.cellsOf < 0 {
		return fmt.Errorf("--cells-of %d: at least 1", in.cellsOf)
	}
	if in.cellsOf > 0 {
		in.PutIntoCells(in.cellsOf)
	}
	without, err := in.fixtures()
	if err != nil {
		return err
	}
	if in.LedgerRegion == "" {
		in.LedgerRegion = in.BucketRegion
	}
	data, err := in.Render(o.config)
	if err != nil {
		return fmt.Errorf("nothing was written, since it would not load (lines are those it would have):\n%w", err)
	}
	if err := writeConfig(o.config, data, in.force); err != nil {
		return err
	}
	fmt.Fprintf(w, "%s: %d accounts, %d regions.\n", o.config, len(in.Accounts), len(in.Regions))
	if in.keygen {
		if err := in.makeKey(w, filepath.Dir(o.config)); err != nil {
			return err
		}
	}
	for _, id := range without {
		fmt.Fprintf(w, "No stack of account %s is in %s: it has no fixtures.\n", printable(id), printable(strings.Join(in.stacks, ", ")))
	}
	fmt.Fprintln(w, "Next: auditcanary doctor")
	return nil
}

// writeConfig writes the file, readable by its owner only. It is there whole or not at all.
func writeConfig(file string, data []byte, force bool) error {
	if !force {
		return writeNew(file, string(data), 0o600)
	}
	f, err := os.CreateTemp(filepath.Dir(file), ".auditcanary-*.yaml") // 0600
	if err != nil {
		return fmt.Errorf("write the configuration: %w", err)
	}
	_, err = f.Write(data)
	if err = errors.Join(err, f.Close()); err == nil {
		err = os.Rename(f.Name(), file)
	}
	if err != nil {
		_ = os.Remove(f.Name())
		return fmt.Errorf("write the configuration: %w", err)
	}
	return nil
}

// makeKey makes the ledger's key beside the configuration; one that is there stays.
func (in *initOptions) makeKey(w io.Writer, dir string) error {
	file := in.KeyFile
	if !filepath.IsAbs(file) {
		file = filepath.Join(dir, file)
	}
	if _, err := os.Stat(file); !errors.Is(err, fs.ErrNotExist) {
		if err == nil {
			fmt.Fprintf(w, "%s is there already: it stays the ledger's key.\n", file)
		}
		return err
	}
	skey, vkey, err := ledger.GenerateKey(in.Origin)
	if err != nil {
		return fmt.Errorf("make the ledger's key: %w", err)
	}
	if err := writeNew(file, skey+"\n", 0o600); err != nil {
		return err
	}
	if err := writeNew(file+".pub", vkey+"\n", 0o644); err != nil {
		return err
	}
	fmt.Fprintf(w, "%s and %s.pub: the ledger's key. Keep a copy: without it the ledger cannot go on.\n", file, file)
	return nil
}

// members are the organisation's active accounts, but for those in which nothing is to be tried.
func (in *initOptions) members(ctx context.Context) error {
	m, err := wire.Members(ctx, in.InspectorRole, in.ExternalIDEnv, in.BucketRegion, in.endpoint)
	if err != nil {
		return fmt.Errorf("read the organisation: %w", err)
	}
	in.Organization, in.ManagementAccount = m.ID, m.Management
	for _, a := range m.Accounts {
		if a.Active && a.ID != m.Management && !strings.Contains(in.ReaderRole, ":"+a.ID+":") {
			in.accounts = append(in.accounts, a.ID)
		}
	}
	return nil
}

func (in *initOptions) fixtures() (without []string, err error) {
	if len(in.stacks) == 0 {
		return nil, nil
	}
	var all []wire.Stack
	for _, file := range in.stacks {
		f, err := os.Open(file)
		if err != nil {
			return nil, fmt.Errorf("read the fixtures: %w", err)
		}
		stacks, err := wire.ReadStacks(file, f)
		_ = f.Close() // it was only read
		if err != nil {
			return nil, err
		}
		all = append(all, stacks...)
	}
	return in.Take(all), nil
}

// ask completes what the flags leave open, or says which are missing.
func (in *initOptions) ask(terminal bool, stdin io.Reader, stderr io.Writer) error {
	lines := bufio.NewScanner(stdin)
	var missing []string
	one := func(into *string, flag, question, fallback string) {
		if *into != "" {
			return
		}
		if terminal {
			if fallback != "" {
				question += " [" + fallback + "]"
			}
			fmt.Fprintf(stderr, "%s: ", question)
			if lines.Scan() {
				*into = strings.TrimSpace(lines.Text())
			}
		}
		if *into == "" {
			*into = fallback
		}
		if *into == "" {
			missing = append(missing, "--"+flag)
		}
	}
	list := func(into *[]string, flag, question string) {
		text := strings.Join(*into, ",")
		one(&text, flag, question, "")
		*into = slices.DeleteFunc(strings.FieldsFunc(text, func(r rune) bool { return r == ',' || r == ' ' }), func(s string) bool { return s == "" })
	}
	if !in.organization {
		list(&in.accounts, "account (or --organization)", "Accounts in which canaries act, by id")
	}
	list(&in.Regions, "region", "Regions in which they act")
	one(&in.Bucket, "archive-bucket", "Bucket of the central log archive", "")
	fallback := ""
	if len(in.Regions) > 0 {
		fallback = in.Regions[0]
	}
	one(&in.BucketRegion, "archive-region", "Its region", fallback)
	one(&in.Origin, "origin", "Name of the ledger, for ever (auditcanary.example.com/prod)", "")
	if terminal && in.ReaderRole == "" {
		fmt.Fprint(stderr, "ARN of the role that reads the archive (none: the credentials at hand): ")
		if lines.Scan() {
			in.ReaderRole = strings.TrimSpace(lines.Text())
		}
	}
	if len(missing) > 0 {
		return fmt.Errorf("init needs %s", strings.Join(missing, ", "))
	}
	return nil
}

// terminal reports whether somebody can answer there.
func terminal(f *os.File) bool {
	st, err := f.Stat()
	if err != nil || st.Mode()&os.ModeCharDevice == 0 {
		return false
	}
	null, err := os.Stat(os.DevNull) // is a device too
	return err != nil || !os.SameFile(st, null)
}

// partition of a region.
func partition(region string) string {
	for prefix, p := range map[string]string{"cn-": "aws-cn", "us-gov-": "aws-us-gov", "eusc-": "aws-eusc"} {
		if strings.HasPrefix(region, prefix) {
			return p
		}
	}
	return "aws"
}
