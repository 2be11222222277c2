// Command packet builds the evidence packet of the last day into the evidence bucket.
//
// Input {"every": "weekly"} takes the last week, {"from": time, "to": time} another
// period. AUDITCANARY_CONFIG names the configuration file.
package main

import (
	"github.com/auditcanary/auditcanary/shared/host"
	"github.com/auditcanary/auditcanary/shared/wire"
)

func main() {
	host.Main("packet", wire.PacketFunction())
}
