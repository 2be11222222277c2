// Command report keeps a ticket for each thing that fails, beside telling the chat.
//
// It folds the ledger into what is new, still failing, fixed, excepted, late or could
// not be found out. Input {"run": id} tells the chat of that run in place of the last one.
// AUDITCANARY_CONFIG names the configuration file. Exit code at a terminal: 2 if
// something could not be done; the next call does it.
package main

import (
	"github.com/auditcanary/auditcanary/shared/host"
	"github.com/auditcanary/auditcanary/shared/wire"
)

func main() {
	host.Main("report", wire.ReportFunction())
}
