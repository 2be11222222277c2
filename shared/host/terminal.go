package host

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
)

// exitCoder is an output or error that knows its exit code.
type exitCoder interface{ ExitCode() int }

// terminal runs h once and returns the exit code: that of the output or error
// if it has one, else 0 for an output and 2 for an error.
func terminal(ctx context.Context, name string, h Handler, args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	in, err := terminalInput(name, args, stdin, stderr)
	if errors.Is(err, flag.ErrHelp) {
		return 0
	}
	if err != nil {
		fmt.Fprintf(stderr, "%s: %v\n", name, err)
		return exitUnknown
	}
	out, err := h(ctx, in)
	if err != nil {
		fmt.Fprintf(stderr, "%s: %v\n", name, err)
		var coder exitCoder
		if errors.As(err, &coder) {
			return coder.ExitCode()
		}
		return exitUnknown
	}
	enc := json.NewEncoder(stdout)
	enc.SetIndent("", "  ")
	enc.SetEscapeHTML(false)
	if err := enc.Encode(out); err != nil {
		fmt.Fprintf(stderr, "%s: write the output: %v\n", name, err)
		return exitUnknown
	}
	if coder, ok := out.(exitCoder); ok {
		return coder.ExitCode()
	}
	return 0
}

// terminalInput takes the input from the argument, from -in FILE or, with
// neither, from standard input unless that is a terminal.
func terminalInput(name string, args []string, stdin io.Reader, stderr io.Writer) (json.RawMessage, error) {
	flags := flag.NewFlagSet(name, flag.ContinueOnError)
	flags.SetOutput(stderr)
	flags.Usage = func() {
		fmt.Fprintf(stderr, "Usage: %s [-in FILE | JSON]\nThe input is one JSON value; without FILE and JSON it is read from standard input.\n", name)
		flags.PrintDefaults()
	}
	file := flags.String("in", "", "read the input from `FILE`")
	if err := flags.Parse(args); err != nil {
		return nil, err
	}
	switch {
	case flags.NArg() > 1, flags.NArg() == 1 && *file != "":
		return nil, errors.New("give the input once: as one argument, with -in or on standard input")
	case flags.NArg() == 1:
		return parseInput([]byte(flags.Arg(0)))
	case *file != "":
		f, err := os.Open(*file)
		if err != nil {
			return nil, fmt.Errorf("read the input: %w", err)
		}
		defer f.Close()
		in, err := readInput(f)
		if err != nil {
			return nil, fmt.Errorf("read the input from %s: %w", *file, err)
		}
		return in, nil
	case isTerminal(stdin):
		return parseInput(nil)
	}
	in, err := readInput(stdin)
	if err != nil {
		return nil, fmt.Errorf("read the input from standard input: %w", err)
	}
	return in, nil
}

// isTerminal reports whether reading would wait for a person.
func isTerminal(r io.Reader) bool {
	f, ok := r.(*os.File)
	if !ok {
		return false
	}
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}
