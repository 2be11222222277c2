// Command build puts the log stores that really run into the cache, unless they are there.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"time"

	"github.com/auditcanary/auditcanary/tests/real/stores"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	for _, p := range []stores.Program{stores.VictoriaLogs, stores.Loki} {
		begun := time.Now()
		file, err := p.Build(ctx)
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		fmt.Printf("%s %s: %s (%s)\n", p.Name, p.Version, file, time.Since(begun).Round(time.Second))
	}
}
