// Command inject does the canaries that are due.
//
// Input {"run": id} names the run (default: a new id). AUDITCANARY_CONFIG names
// the configuration file.
package main

import (
	"github.com/auditcanary/auditcanary/shared/host"
	"github.com/auditcanary/auditcanary/shared/wire"
)

func main() {
	host.Main("inject", wire.InjectFunction())
}
