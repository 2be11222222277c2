// Command confirm looks for the records of what is open and judges them, and how those that were found are kept.
//
// Input {"run": id, "wait": true} limits it to one run; with wait it goes on until
// everything is decided or its time is up. AUDITCANARY_CONFIG names the
// configuration file.
package main

import (
	"github.com/auditcanary/auditcanary/shared/host"
	"github.com/auditcanary/auditcanary/shared/wire"
)

func main() {
	host.Main("confirm", wire.Handler("confirm"))
}
