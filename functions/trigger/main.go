// Command trigger takes requests for runs: the slash command at /slack,
// the configured callers at /run.
//
// AUDITCANARY_CONFIG names the configuration file, whose trigger says who may ask.
// Where it names a function, that inject is started at once; the records of what was asked
// for are looked for by the next scheduled confirm.
package main

import (
	"context"
	"net/http"

	"github.com/auditcanary/auditcanary/shared/host"
	"github.com/auditcanary/auditcanary/shared/wire"
)

func main() {
	host.MainHTTP("trigger", func(ctx context.Context) (http.Handler, error) {
		return wire.TriggerFunction(ctx, wire.TriggerOptions{Log: host.Lines("trigger")})
	})
}
