package report

import (
	"encoding/csv"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/auditcanary/auditcanary/shared/canary"
	"github.com/auditcanary/auditcanary/shared/inert"
)

// WriteCSV writes one line for each check of each canary. No field is a formula to
// a spreadsheet, and none leaves its line.
func WriteCSV(w io.Writer, r Report) error {
	cw := csv.NewWriter(w)
	write := func(fields ...string) {
		for i := range fields {
			fields[i] = inert.Quote(line(fields[i], maxCell))
		}
		_ = cw.Write(fields) // an error stays until Flush
	}
	write("run", "canary", "planned_at", "scenario", "category", "kind", "account", "region", "latest", "status",
		"check", "required", "check_status", "hop", "detail", "step", "latency_seconds", "event_ids", "request_ids", "objects", "controls", "exception", "excepted_status", "excepted_until")
	for _, c := range r.Canaries {
		var events, requests, objects []string
		for _, st := range c.Steps {
			if st.Receipt != nil {
				requests = append(requests, st.Receipt.RequestIDs...)
			}
			for _, rec := range st.Records {
				events, objects = append(events, rec.EventID), append(objects, standsAt(rec))
			}
		}
		for _, k := range c.Checks {
			latency := ""
			var by canary.Accepted
			if k.Accepted != nil {
				by = *k.Accepted
			}
			if k.LatencySeconds != nil {
				latency = strconv.FormatFloat(*k.LatencySeconds, 'f', -1, 64)
			}
			write(c.Run, c.ID, c.At.UTC().Format(time.RFC3339), c.Scenario, c.Category, string(c.Kind), c.Account, c.Region, strconv.FormatBool(c.Latest), string(c.Status),
				string(k.Check), strconv.FormatBool(k.Required), string(k.Status), string(k.Hop), k.Detail, k.Step, latency,
				strings.Join(events, " "), strings.Join(requests, " "), strings.Join(objects, " "), strings.Join(c.Controls, " "),
				by.ID, string(by.Was), by.Until)
		}
	}
	cw.Flush()
	if err := cw.Error(); err != nil {
		return fmt.Errorf("write CSV: %w", err)
	}
	return nil
}

// maxCell is the most characters that a spreadsheet takes of a cell.
const maxCell = 32_000
