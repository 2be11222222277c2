package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/auditcanary/auditcanary/scenarios"
	"github.com/auditcanary/auditcanary/shared/canary"
	"github.com/auditcanary/auditcanary/shared/packet"
	"github.com/auditcanary/auditcanary/shared/run"
)

func verifyCommand(o *options) *cobra.Command {
	var keys []string
	var pin, tsaCA string
	var opt packet.VerifyOptions
	cmd := &cobra.Command{
		Use:   "verify PACKET",
		Short: "Verify an evidence packet, offline and without a configuration",
		Long: `Checks a packet with nothing but what is in it and the key you trust its ledger by,
and says in sentences what was verified and what was not. It calls nobody.
Without a key that you trust, or an earlier packet (--pin), its entries are not read.

Exit codes: 0 verified, 1 broken (something is not what was signed), 2 it could not
be read, 3 incomplete, 4 all is well but for the key, 5 of a newer format.`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			trust, err := trustOf(keys, pin, tsaCA)
			if err != nil {
				return err
			}
			f, err := os.Open(args[0])
			if err != nil {
				return err
			}
			defer f.Close()
			st, err := f.Stat()
			if err != nil {
				return err
			}
			aside, drop, err := scratch()
			if err != nil {
				return err
			}
			defer drop()
			opt.Scratch = aside
			p := newProgress(os.Stderr)
			opt.Progress = func(done, total int64) {
				p.show(run.Progress{Step: "verify", Done: int(done), Total: int(total), Message: "entries"})
			}
			opt.Compile = compileExpect
			rep, err := packet.Verify(cmd.Context(), f, st.Size(), trust, opt)
			p.done()
			if err != nil {
				return err
			}
			if o.json {
				err = printJSON(cmd.OutOrStdout(), rep)
			} else {
				printReport(cmd.OutOrStdout(), args[0], rep)
			}
			if err != nil {
				return err
			}
			if code := rep.ExitCode(); code != 0 {
				return exitError(code)
			}
			return nil
		},
	}
	cmd.Flags().StringArrayVar(&keys, "key", nil, "verifier key of the ledger, or a PEM public key where packets are signed with another; what is neither is a file that holds one; may be repeated")
	cmd.Flags().StringVar(&pin, "pin", "", "an earlier packet that was verified, or its checkpoint: this one must go on from it; where a key service signs packets, both keys are needed too (--key)")
	cmd.Flags().StringVar(&tsaCA, "tsa-ca", "", "PEM file with the root certificates of the time-stamping authority")
	cmd.Flags().StringVar(&opt.Explain, "explain", "", "tell the whole custody of this canary")
	cmd.Flags().BoolVar(&opt.Rejudge, "rejudge", false, "judge every canary anew from what is in the packet (needs memory for all of it)")
	return cmd
}

func trustOf(keys []string, pin, tsaCA string) (packet.Trust, error) {
	var t packet.Trust
	for _, k := range keys {
		// What is a key is the key: a file of that name must not take its place.
		if _, _, err := packet.ParsePublicKey(k); err != nil {
			data, readErr := os.ReadFile(k)
			if readErr != nil {
				return t, fmt.Errorf("--key: neither a key nor a file that holds one: %w", errors.Join(err, readErr))
			}
			k = strings.TrimSpace(string(data))
			if _, _, err := packet.ParsePublicKey(k); err != nil {
				return t, fmt.Errorf("--key: the file holds no key: %w", err)
			}
		}
		t.Keys = append(t.Keys, k)
	}
	if pin != "" {
		signed, err := readCheckpoint(pin)
		if err != nil {
			return t, fmt.Errorf("--pin %s: %w", pin, err)
		}
		t.Pin = signed
	}
	if tsaCA != "" {
		data, err := os.ReadFile(tsaCA)
		if err != nil {
			return t, fmt.Errorf("--tsa-ca: %w", err)
		}
		if t.Roots, err = packet.ParseRoots(data); err != nil {
			return t, fmt.Errorf("--tsa-ca %s: %w", tsaCA, err)
		}
	}
	return t, nil
}

// compileExpect makes a scenario's expectations ready.
func compileExpect(expect []string) ([]canary.Rule, error) {
	var rules []canary.Rule
	var errs []error
	for _, text := range expect {
		x, err := scenarios.CompileExpect(text)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		rules = append(rules, canary.Rule{Text: text, Holds: x.Holds})
	}
	return rules, errors.Join(errs...)
}

func printReport(w io.Writer, file string, r packet.Report) {
	file = oneLine(file)
	say := func(mark, text string) { fmt.Fprintf(w, "%-14s %s\n", mark, oneLine(text)) }
	for _, s := range r.Verified {
		say("verified", s)
	}
	for _, s := range r.NotVerified {
		say("NOT verified", s)
	}
	for _, p := range r.Problems {
		where := p.File
		if p.Leaf != nil {
			where += fmt.Sprintf(", entry %d", *p.Leaf)
		}
		if where != "" {
			where += ": "
		}
		say(strings.ToUpper(string(p.Kind)), fmt.Sprintf("%s [%s]", where+p.Detail, p.Name))
	}
	if r.More > 0 {
		say("", fmt.Sprintf("and %d problems more", r.More))
	}
	if r.Explained != nil {
		printExplanation(w, *r.Explained)
	}
	if p := r.Population; p != nil && r.Status == packet.Verified {
		var t packet.CategoryLine
		for _, pl := range p.Places {
			for _, c := range pl.Categories {
				t.Planned, t.Proven, t.Failed = t.Planned+c.Planned, t.Proven+c.Proven, t.Failed+c.Failed+c.Late
				t.Excepted += c.Excepted
			}
		}
		control := ""
		if c := r.Packet.Control; c != "" {
			control = " of control " + oneLine(c)
		}
		fmt.Fprintf(w, "\n%s: by the last verdicts in this packet %d of %d canaries%s proven, %d failed or late, %d not known, at %d places, %s.\n",
			file, t.Proven, t.Planned, control, t.Failed, t.Planned-t.Proven-t.Failed, len(p.Places), oneLine(r.Packet.Period.String()))
		printExcepted(w, p.Exceptions, t.Excepted)
	}
	fmt.Fprintf(w, "%s is %s.\n", file, strings.ToUpper(string(r.Status)))
}

// printExcepted says what of the above somebody accepted.
func printExcepted(w io.Writer, x *packet.ExceptionsLine, canaries int) {
	if x == nil {
		return
	}
	fmt.Fprintf(w, "%d of these canaries that are not proven are excepted; as of %s the register of %s says:\n", canaries, x.AsOf.UTC().Format(time.RFC3339), oneLine(x.Source))
	for _, e := range x.Exceptions {
		state := "in force until " + e.Until
		if !e.InForce {
			state = "NOT in force: " + e.Not
		}
		fmt.Fprintf(w, "  %s (%d canaries), %s; approved by %s, owned by %s: %s\n", oneLine(e.ID), e.Canaries, oneLine(state), oneLine(e.Approver), oneLine(e.Owner), oneLine(e.Risk))
	}
}

func printExplanation(w io.Writer, e packet.Explanation) {
	fmt.Fprintf(w, "\nCanary %s: %s at %s/%s, run %s\n", oneLine(e.Canary), oneLine(e.Scenario), oneLine(e.Target.Account), oneLine(e.Target.Region), oneLine(e.Run))
	for i, s := range e.Steps {
		mark := "NOT VERIFIABLE"
		if s.Verified {
			mark = "verified"
		}
		fmt.Fprintf(w, "%3d. %s  %s\n     %s: %s\n", i+1, s.At.UTC().Format("2006-01-02 15:04:05"), oneLine(s.Text), mark, oneLine(s.Why))
	}
	fmt.Fprintln(w)
}
