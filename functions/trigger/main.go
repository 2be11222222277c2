// Command trigger takes requests for runs: the slash command at /slack,
// the configured callers at /run.
//
// AUDITCANARY_CONFIG names the configuration file, whose trigger says who may ask.
package main

import (
	"context"
	"net/http"
	"os"

	"github.com/auditcanary/auditcanary/shared/host"
	"github.com/auditcanary/auditcanary/shared/wire"
)

func main() {
	host.MainHTTP("trigger", func(ctx context.Context) (http.Handler, error) {
		return wire.TriggerFunction(ctx, wire.TriggerOptions{Log: os.Stderr})
	})
}
