// Command sweep undoes what an interrupted run left.
//
// Input {"older_than": "1h"} spares younger runs, which may be under way; {"cell": name}
// chooses the cell, where the configuration has cells. AUDITCANARY_CONFIG names the
// configuration file.
package main

import (
	"github.com/auditcanary/auditcanary/shared/host"
	"github.com/auditcanary/auditcanary/shared/wire"
)

func main() {
	host.Main("sweep", wire.SweepFunction())
}
