// Command auditcanary is the operator's terminal: the same steps that the
// deployed functions make, with a person watching.
//
// Exit codes: 0 everything proven, 1 something failed or was late, 2 something
// could not be found out, or the command was used wrongly.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/auditcanary/auditcanary/shared/wire"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := execute(ctx, os.Args[1:])
	stop()
	os.Exit(code)
}

// exitError carries an exit code that is not an error to print.
type exitError int

func (e exitError) Error() string { return fmt.Sprintf("exit %d", int(e)) }

func execute(ctx context.Context, args []string) int {
	root := newRoot()
	root.SetArgs(args)
	err := root.ExecuteContext(ctx)
	var code exitError
	switch {
	case err == nil:
		return 0
	case errors.As(err, &code):
		return int(code)
	default:
		fmt.Fprintln(os.Stderr, "auditcanary:", printable(err.Error()))
		return 2
	}
}

// options are the flags every command has.
type options struct {
	config string
	cell   string
	json   bool
	brief  bool // no table
}

func newRoot() *cobra.Command {
	o := &options{}
	root := &cobra.Command{
		Use:           "auditcanary",
		Short:         "Show that privileged cloud activity is logged, protected and reviewed",
		Long:          "auditcanary does small, harmless, real administrative actions, looks for each in the\ncentral log store, compares the record with what was done, and keeps the evidence\nin a signed ledger (ISO/IEC 27017:2015, 12.4.3).",
		Version:       version(),
		SilenceErrors: true,
		SilenceUsage:  true,
	}
	file := os.Getenv("AUDITCANARY_CONFIG")
	if file == "" {
		file = "auditcanary.yaml"
	}
	root.PersistentFlags().StringVarP(&o.config, "config", "c", file, "configuration file (or AUDITCANARY_CONFIG)")
	root.PersistentFlags().StringVar(&o.cell, "cell", "", "only the accounts of this cell, with their ledger (where the configuration has cells)")
	root.PersistentFlags().BoolVar(&o.json, "json", false, "print JSON instead of text")
	root.AddCommand(
		scenariosCommand(o), planCommand(o), runCommand(o), injectCommand(o), confirmCommand(o), sealCommand(o), alertsCommand(o), integrityCommand(o),
		statusCommand(o), sweepCommand(o), ledgerCommand(o), configCommand(o), notifyCommand(o),
		coverageCommand(o), scopeCommand(o), sourcesCommand(o), accessCommand(o),
		reportCommand(o), serveCommand(o), deliverablesCommand(o), policiesCommand(o),
		packetCommand(o), verifyCommand(o), exceptionsCommand(o), triggerCommand(o), initCommand(o), doctorCommand(o), tapsCommand(o),
	)
	return root
}

// load reads the configuration, narrowed down to the cell if one was chosen.
func (o *options) load() (*wire.Config, error) {
	cfg, err := wire.Load(o.config)
	if err != nil {
		return nil, err
	}
	return cfg, cfg.Select(wire.Selection{Cell: o.cell})
}

// version of this build, from its build information.
func version() string {
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" {
		return info.Main.Version
	}
	return "(unknown)"
}
