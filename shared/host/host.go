// Package host is one main with three faces: an AWS Lambda function, a Google
// Cloud function, a command at a terminal.
//
// A function is the same program everywhere; the environment says where it is. All three
// faces give the handler one JSON document and take one back:
//
//   - Lambda (AWS_LAMBDA_RUNTIME_API is set): the invocation's payload and its
//     response; an error is a failed invocation.
//   - Functions Framework (FUNCTION_TARGET or K_SERVICE is set): the body of a
//     POST and its answer; an error is status 500 with {"error": "..."}. What is built
//     with the tag lambda, as the files for Lambda are, refuses this one.
//   - Terminal: standard input, -in FILE or the argument, and standard output;
//     an error is a line on standard error and an exit code.
package host

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
)

// Handler does a function's work. in is one JSON value, "{}" when nothing was
// given. out is encoded as JSON; if it or err has a method ExitCode() int, the
// terminal face exits with that. ctx ends on SIGTERM, on an interrupt at a
// terminal, and at the platform's deadline: a handler returns soon after. On Lambda, which
// ends whoever is still at work at its deadline, ctx ends some time before it (see early).
type Handler func(ctx context.Context, in json.RawMessage) (out any, err error)

// maxInput bounds what is read as input, in bytes: Lambda's own limit for a
// synchronous invocation.
const maxInput = 6 << 20

// exitUnknown is the exit code for "could not find out", wrong usage included.
const exitUnknown = 2

// Main runs h under the face that the environment asks for. It does not return.
func Main(name string, h Handler) {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	// A second signal ends the process at once, as if the first were not handled.
	context.AfterFunc(ctx, stop)
	os.Exit(run(ctx, name, h))
}

func run(ctx context.Context, name string, h Handler) int {
	switch {
	case os.Getenv("AWS_LAMBDA_RUNTIME_API") != "":
		return serveLambda(ctx, deployedOn().onLambda(name, h))
	case os.Getenv("FUNCTION_TARGET") != "" || os.Getenv("K_SERVICE") != "":
		return serveFunction(ctx, name, deployedOn().watched(name, h))
	default:
		return terminal(ctx, name, h, os.Args[1:], os.Stdin, os.Stdout, os.Stderr)
	}
}

// readInput reads one JSON value; nothing at all is an empty object.
func readInput(r io.Reader) (json.RawMessage, error) {
	in, err := io.ReadAll(io.LimitReader(r, maxInput+1))
	if err != nil {
		return nil, err
	}
	return parseInput(in)
}

// parseInput checks that in is one JSON value; nothing at all is an empty object.
func parseInput(in []byte) (json.RawMessage, error) {
	in = bytes.TrimSpace(in)
	switch {
	case len(in) == 0:
		return json.RawMessage("{}"), nil
	case len(in) > maxInput:
		return nil, fmt.Errorf("the input is larger than %d bytes", maxInput)
	}
	var v json.RawMessage
	if err := json.Unmarshal(in, &v); err != nil {
		return nil, fmt.Errorf("the input is not JSON: %w", err)
	}
	return v, nil
}
