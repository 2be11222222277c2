package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"github.com/auditcanary/auditcanary/shared/packet"
	"github.com/auditcanary/auditcanary/shared/wire"
)

func packetCommand(o *options) *cobra.Command {
	var from, to, previous, out string
	var control string
	var attach []string
	cmd := &cobra.Command{
		Use:   "packet",
		Short: "Build an evidence packet that whoever gets it can verify alone",
		Long: `Writes the canaries that were planned in a period, with everything the ledger has of
them and the proof that it is in the signed ledger, into one signed zip file. Give it
to the auditor, and the ledger's verifier key by another way; "auditcanary verify"
needs nothing else. With --previous, it proves too that the ledger goes on from the
one that the packet before was of.

What is attached is signed with the rest, and not understood: "auditcanary report -o
report.html", "auditcanary deliverables -o deliverables", then --attach report.html
--attach deliverables.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) (err error) {
			ctx := cmd.Context()
			cfg, err := o.load()
			if err != nil {
				return err
			}
			log, opt, err := wire.PacketOptions(ctx, cfg, version())
			if err != nil {
				return err
			}
			opt.Control = control
			if opt.Period.From, err = timeOf("--from", from); err != nil {
				return err
			}
			if opt.Period.To, err = timeOf("--to", to); err != nil {
				return err
			}
			if opt.Attachments, err = attachments(attach); err != nil {
				return err
			}
			if previous != "" {
				if opt.Previous, err = readCheckpoint(previous); err != nil {
					return fmt.Errorf("--previous %s: %w", previous, err)
				}
			}
			f, err := os.OpenFile(out, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
			if err != nil {
				return fmt.Errorf("write the packet: %w", err)
			}
			w := bufio.NewWriterSize(f, 1<<20)
			m, err := packet.Build(ctx, w, log, opt)
			if err = errors.Join(err, w.Flush(), f.Close()); err != nil {
				return errors.Join(err, os.Remove(out)) // half a packet is none
			}
			if o.json {
				return printJSON(cmd.OutOrStdout(), m)
			}
			fmt.Fprintf(cmd.OutOrStdout(), "%s holds %d of the ledger's %d entries, %s.\n", oneLine(out), m.Slice.Leaves, m.Ledger.Size, m.Period)
			for _, p := range m.Parts {
				if !p.Present {
					fmt.Fprintf(cmd.OutOrStdout(), "Not present: %s: %s\n", p.Name, printable(p.Note))
				}
			}
			fmt.Fprintf(cmd.OutOrStdout(), "Whoever gets it needs the ledger's key from you: %s\n", opt.Key)
			return nil
		},
	}
	cmd.Flags().StringVar(&from, "from", "", "first day (2026-11-22) or time (RFC 3339); default the beginning of the ledger")
	cmd.Flags().StringVar(&to, "to", "", "day or time at which the period ends, exclusive; default its end")
	cmd.Flags().StringVar(&control, "control", "", "only canaries with a control that matches this pattern (iso27017:2015/*)")
	cmd.Flags().StringVar(&previous, "previous", "", "the packet before, or its checkpoint")
	cmd.Flags().StringArrayVar(&attach, "attach", nil, "a file, or a folder of files, to sign with it (a report, the deliverables); may be repeated")
	cmd.Flags().StringVarP(&out, "output", "o", "packet.zip", "file to write; it must not exist")
	return cmd
}

// attachments are the files that are named, and those in the folders that are, by
// their own names below the folder's.
func attachments(paths []string) ([]packet.Attachment, error) {
	var out []packet.Attachment
	for _, path := range paths {
		st, err := os.Stat(path)
		if err != nil {
			return nil, fmt.Errorf("--attach: %w", err)
		}
		files := []string{path}
		if st.IsDir() {
			entries, err := os.ReadDir(path) // sorted
			if err != nil {
				return nil, fmt.Errorf("--attach: %w", err)
			}
			files = nil
			for _, e := range entries {
				if !e.Type().IsRegular() {
					return nil, fmt.Errorf("--attach %s: %s is no file", path, e.Name())
				}
				files = append(files, filepath.Join(path, e.Name()))
			}
		}
		for _, file := range files {
			name := filepath.Base(file)
			if st.IsDir() {
				name = filepath.Base(path) + "/" + name
			}
			out = append(out, packet.Attachment{Name: name, Write: func(w io.Writer) error {
				f, err := os.Open(file)
				if err != nil {
					return err
				}
				_, err = io.Copy(w, f)
				return errors.Join(err, f.Close())
			}})
		}
	}
	return out, nil
}

// timeOf reads a flag's time; "" is none.
func timeOf(flag, text string) (time.Time, error) {
	if text == "" {
		return time.Time{}, nil
	}
	t, err := wire.ParseTime(text)
	if err != nil {
		return t, fmt.Errorf("%s: %w", flag, err)
	}
	return t, nil
}

// readCheckpoint reads the signed checkpoint of a packet, or a file that is one.
func readCheckpoint(file string) ([]byte, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return nil, err
	}
	return packet.Checkpoint(f, st.Size())
}
