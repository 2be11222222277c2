// Command confirm judges what is open by its records.
//
// It looks for them in the central store, for what seals and holds those it found, and
// for the alerts that they should have set off.
//
// Input {"run": id, "wait": true} limits it to one run; with wait it goes on until
// everything is decided or its time is up; with "integrity": true it validates the
// digest chains as well. AUDITCANARY_CONFIG names the configuration file.
package main

import (
	"github.com/auditcanary/auditcanary/shared/host"
	"github.com/auditcanary/auditcanary/shared/wire"
)

func main() {
	host.Main("confirm", wire.ConfirmFunction())
}
