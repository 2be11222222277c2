package main

import (
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/auditcanary/auditcanary/shared/ticket"
	"github.com/auditcanary/auditcanary/shared/wire"
)

func notifyCommand(o *options) *cobra.Command {
	var opt ticket.Options
	var check bool
	cmd := &cobra.Command{
		Use:   "notify",
		Short: "Bring tickets and chat to what the ledger says",
		Long: `Folds the ledger into what is new, still failing, fixed, excepted, late or could not be
found out, check by check of each scenario at each target. What does not pass has one
ticket, however many runs say so: counters are kept up to date in it, a comment says
what changed, it is resolved after as many passes in a row as configured, and reopened
when it comes back. Of more than tickets.group_above that newly do not pass, with the same
check and hop, one ticket is made. The chat is told of the last run that is decided.

What is about to be done is in the ledger first: the command may be interrupted at any
point, and may be at work more than once at the same time.

Exit code: 0 all is done, 2 something could not be done; the next notify does it. What the
chat did not take does not count: it is tried again. That it could not even be opened (its
token is missing) does.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, err := o.load()
			if err != nil {
				return err
			}
			if check {
				return o.checkDesk(cmd, cfg)
			}
			p := newProgress(os.Stderr)
			res, err := wire.Notify(cmd.Context(), cfg, wire.NotifyOptions{Options: opt, Progress: p.show})
			p.done()
			if err != nil {
				return err
			}
			if o.json {
				if err := printJSON(cmd.OutOrStdout(), res); err != nil {
					return err
				}
			} else {
				printNotified(cmd.OutOrStdout(), res)
			}
			if code := res.ExitCode(); code != 0 && !opt.DryRun {
				return exitError(code)
			}
			return nil
		},
	}
	cmd.Flags().BoolVar(&check, "check", false, "ask Jira whether tickets of every kind could be made, without making any")
	cmd.Flags().BoolVar(&opt.DryRun, "dry-run", false, "say what would be done, without doing it or asking anybody")
	cmd.Flags().StringVar(&opt.Run, "run", "", "tell the chat of this run (default the last one of which nothing is awaited)")
	cmd.MarkFlagsMutuallyExclusive("check", "dry-run")
	return cmd
}

// checkDesk says what would keep tickets from being made.
func (o *options) checkDesk(cmd *cobra.Command, cfg *wire.Config) error {
	wrong := []string{}
	for _, err := range wire.CheckDesk(cmd.Context(), cfg) {
		wrong = append(wrong, err.Error())
	}
	w := cmd.OutOrStdout()
	if o.json {
		if err := printJSON(w, map[string]any{"wrong": wrong}); err != nil {
			return err
		}
	} else if len(wrong) == 0 {
		fmt.Fprintln(w, "Tickets of every kind could be made.")
	}
	for _, text := range wrong {
		if !o.json {
			fmt.Fprintln(w, "WRONG "+oneLine(text))
		}
	}
	if len(wrong) > 0 {
		return exitError(2)
	}
	return nil
}

// printNotified says a line for each act.
func printNotified(w io.Writer, res ticket.Result) {
	for _, d := range res.Acts {
		what := d.Act
		switch {
		case d.Refused:
			what = "REFUSED " + d.Act
		case d.Err != "":
			what = "FAILED " + d.Act
		case d.Adopted:
			what = "found"
		}
		fmt.Fprintf(w, "%-15s %-12s %s\n", what, oneLine(d.Key), oneLine(d.Why))
		if d.URL != "" && d.Act == "create" {
			fmt.Fprintf(w, "%-28s %s\n", "", oneLine(d.URL))
		}
		if d.Err != "" {
			fmt.Fprintf(w, "%-28s %s\n", "", oneLine(d.Err))
		}
	}
	for _, p := range res.Posts {
		what := "post"
		if p.Err != "" {
			what = "NOT POSTED"
		}
		fmt.Fprintf(w, "%-15s %-12s %s\n", what, p.Kind, oneLine(p.Mark))
		for _, line := range []string{p.URL, p.Err} {
			if line != "" {
				fmt.Fprintf(w, "%-28s %s\n", "", oneLine(line))
			}
		}
	}
	for _, s := range res.Said {
		fmt.Fprintln(w, oneLine(s))
	}
	fmt.Fprintf(w, "%s. %s\n", counted(res), tallied(res))
}

// counted says how much was done, and how much was not.
func counted(res ticket.Result) string {
	acts, posts := len(res.Acts), len(res.Posts)
	if res.DryRun {
		return fmt.Sprintf("%d acts on tickets, %d messages to do; nothing was done, and nobody at the desk was asked", acts, posts)
	}
	not := 0
	for _, d := range res.Acts {
		if d.Err != "" || d.Act == "wait" {
			acts--
			not++
		}
	}
	for _, p := range res.Posts {
		if p.Err != "" {
			posts--
			not++
		}
	}
	text := fmt.Sprintf("%d acts on tickets, %d messages done", acts, posts)
	if not > 0 {
		text += fmt.Sprintf(", %d not done", not)
	}
	return text
}

func tallied(res ticket.Result) string {
	var parts []string
	for _, c := range []ticket.Condition{ticket.Failing, ticket.TooLate, ticket.NotFound, ticket.Accepted, ticket.Passing, ticket.Fixed} {
		if n := res.Tally[c]; n > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", n, c))
		}
	}
	if len(parts) == 0 {
		return "Nothing was ever wrong."
	}
	return "Of what was ever wrong: " + strings.Join(parts, ", ") + "."
}
