// Command confirm looks for the records of what is open, judges them, undoes what was done.
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
