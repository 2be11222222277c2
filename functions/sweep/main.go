// Command sweep undoes what an interrupted run left.
//
// Input {"older_than": "1h"} spares younger runs, which may be under way.
// AUDITCANARY_CONFIG names the configuration file.
package main

import (
	"github.com/auditcanary/auditcanary/shared/host"
	"github.com/auditcanary/auditcanary/shared/wire"
)

func main() {
	host.Main("sweep", wire.Handler("sweep"))
}
