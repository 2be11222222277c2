// Command echo answers with what it was given: the smallest function there is.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"

	"github.com/auditcanary/auditcanary/shared/host"
)

type output struct {
	Got  json.RawMessage `json:"got"`
	exit int
}

func (o output) ExitCode() int { return o.exit }

func main() {
	host.Main("echo", func(ctx context.Context, in json.RawMessage) (any, error) {
		var asked struct {
			Fail string `json:"fail"` // fail with this message
			Exit int    `json:"exit"` // exit code
			Wait bool   `json:"wait"` // until the process is asked to end
		}
		if err := json.Unmarshal(in, &asked); err != nil {
			return nil, err
		}
		if asked.Fail != "" {
			return nil, errors.New(asked.Fail)
		}
		if asked.Wait {
			fmt.Fprintln(os.Stderr, "waiting")
			<-ctx.Done()
			return nil, ctx.Err()
		}
		return output{Got: in, exit: asked.Exit}, nil
	})
}
