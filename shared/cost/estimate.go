package cost

import (
	"fmt"
	"io"
	"math"
	"strings"
	"text/tabwriter"
)

// Estimate is a month.
type Estimate struct {
	Organisation Organisation `json:"organisation"`
	Prices       Prices       `json:"prices"`
	// Simulated is how large the simulation was whose counts were used.
	Simulated string `json:"simulated"`
	// Cells, and canaries of a month.
	Cells    int     `json:"cells"`
	Canaries float64 `json:"canaries"`
	Calls    float64 `json:"calls"`
	Lines    []Line  `json:"lines"`
	USD      float64 `json:"usd"`
	// PerCanary in USD.
	PerCanary float64 `json:"usd_per_canary"`
}

// Line is a quantity with its price.
type Line struct {
	Service  string  `json:"service"`
	What     string  `json:"what"`
	Unit     string  `json:"unit"`
	Quantity float64 `json:"quantity"`
	USD      float64 `json:"usd"`
	// From is where the quantity comes from: plan, simulation, or assumed.
	From string `json:"from"`
}

// NewEstimate works out a month of an organisation. It is an error if the organisation
// has no accounts, or nothing runs there.
func NewEstimate(o Organisation, p Prices, m Measured) (Estimate, error) {
	if o.Accounts < 1 || o.Regions < 1 || o.AccountsPerCell < 1 {
		return Estimate{}, fmt.Errorf("cost: %d accounts, %d regions, %d accounts a cell: at least 1 of each", o.Accounts, o.Regions, o.AccountsPerCell)
	}
	e := Estimate{Organisation: o, Prices: p, Cells: (o.Accounts + o.AccountsPerCell - 1) / o.AccountsPerCell}
	e.Simulated = fmt.Sprintf("%d accounts x %d regions, %d canaries", m.Accounts, m.Regions, m.Canaries)
	q := quantities{}
	for _, c := range o.Cadences {
		q.run(e, c, m)
		e.Canaries += c.PerMon * e.inAll(c.Account.Canaries, c.Region.Canaries)
		e.Calls += c.PerMon * e.inAll(c.Account.Calls, c.Region.Calls)
	}
	if e.Canaries == 0 {
		return e, fmt.Errorf("cost: no canary runs: nothing to estimate")
	}
	a := p.Assume
	e.line("Lambda", "time of functions", "lambda-gb-second", q.seconds*a.MemoryMB/1024, "simulation, assumed")
	e.line("Lambda", "invocations", "lambda-request", q.invocations, "assumed")
	e.line("Step Functions", "state transitions", "step-transition", q.transitions, "assumed")
	e.line("S3", "writes and lists (ledgers, archive)", "s3-write", q.writes, "simulation")
	e.line("S3", "reads (ledgers, archive)", "s3-read", q.reads, "simulation")
	e.line("S3", "ledgers of one month, kept", "s3-gb-month", e.Canaries*a.LedgerBytes/1e9, "assumed")
	e.line("KMS", "checkpoints signed", "kms-sign", q.appends, "simulation")
	e.line("KMS", "keys of the deployment", "kms-key-month", a.Keys, "assumed")
	e.line("KMS", "fixture keys, in every account and region", "kms-key-month", float64(o.Accounts*o.Regions*o.KeysPerRegion), "plan")
	e.line("CloudTrail", "data events of canaries", "data-event", q.dataEvents, "plan")
	e.line("CloudWatch", "logs of functions", "logs-gb", q.invocations*a.LogBytes/1e9, "assumed")
	e.line("CloudWatch", "alarms", "alarm-month", a.Alarms, "assumed")
	e.line("CloudWatch", "metrics", "metric-month", a.Metrics, "assumed")
	e.line("Secrets Manager", "secrets", "secret-month", a.Secrets, "assumed")
	for _, l := range e.Lines {
		e.USD += l.USD
	}
	e.PerCanary = e.USD / e.Canaries
	return e, nil
}

// inAll multiplies what one account has once, and in each region.
func (e Estimate) inAll(account, region int) float64 {
	return float64(e.Organisation.Accounts) * (float64(account) + float64(e.Organisation.Regions*region))
}

func (e *Estimate) line(service, what, unit string, quantity float64, from string) {
	p := e.Prices.Units[unit]
	e.Lines = append(e.Lines, Line{Service: service, What: what, Unit: p.Unit, Quantity: quantity, USD: quantity / p.Per * p.USD, From: from})
}

// quantities of a month.
type quantities struct {
	seconds, invocations, transitions, writes, reads, appends, dataEvents float64
}

// run adds one cadence.
func (q *quantities) run(e Estimate, c Cadence, m Measured) {
	canaries := e.inAll(c.Account.Canaries, c.Region.Canaries)
	if canaries == 0 {
		return
	}
	a, cells := e.Prices.Assume, float64(e.Cells)
	share := canaries / float64(m.Canaries) // of what was simulated
	for i, times := range []float64{1, a.ConfirmWaves, a.SealWaves} {
		w := m.Waves[i]
		times *= c.PerMon
		q.writes += times * share * w.writes()
		q.reads += times * share * w.reads()
		q.appends += times * share * float64(w.Appends)
		q.invocations += times * cells
		// What is asked of S3 waits one after another, calls of canaries beside each other.
		s3 := share * (w.writes() + w.reads()) * a.S3MS
		calls := share * float64(w.For["acts"]+w.For["sessions"]+w.For["listing"]+w.For["other"]) * a.CallMS / a.Parallel
		q.seconds += times * (share*float64(w.CPUMs) + s3 + calls) / 1000
	}
	q.invocations += c.PerMon * (cells + 2) // reports, and what begins and ends a run
	q.transitions += c.PerMon * (a.TransitionsRun + cells*(a.TransitionsCell+a.TransitionsWave*(a.ConfirmWaves+a.SealWaves)))
	q.dataEvents += c.PerMon * e.inAll(c.Account.DataEvents, c.Region.DataEvents)
}

// Print writes the table.
func (e Estimate) Print(w io.Writer) error {
	o := e.Organisation
	fmt.Fprintf(w, "%s accounts x %d regions, %d to a cell (%s cells).\n", count(float64(o.Accounts)), o.Regions, o.AccountsPerCell, count(float64(e.Cells)))
	for _, c := range o.Cadences {
		fmt.Fprintf(w, "  %-6s  %s canaries a run, %.1f runs a month\n", c.Name, count(e.inAll(c.Account.Canaries, c.Region.Canaries)), c.PerMon)
	}
	fmt.Fprintf(w, "A month: %s canaries, %s calls of the control plane (free of charge, as the first copy of their records).\n\n", count(e.Canaries), count(e.Calls))
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "SERVICE\tWHAT\tQUANTITY\tUNIT\tUSD A MONTH\tQUANTITY FROM")
	for _, l := range e.Lines {
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\t%s\n", l.Service, l.What, count(l.Quantity), l.Unit, dollars(l.USD), l.From)
	}
	fmt.Fprintf(t, "\t\t\t\t%s\t%s a thousand canaries\n", dollars(e.USD), dollars(1000*e.PerCanary))
	if err := t.Flush(); err != nil {
		return err
	}
	a := e.Prices.Assume
	_, err := fmt.Fprintf(w, "\nList prices of %s, as of %s; free tiers, discounts and traffic are not counted. Assumed: %g ms a call, %g ms\na request to S3, %g canaries at once, %g MB a function, %g looks until decided and %g until sealed. Counts of a\nsimulation of %s. Other prices and assumptions: --prices FILE.\n",
		e.Prices.Region, e.Prices.AsOf, a.CallMS, a.S3MS, a.Parallel, a.MemoryMB, a.ConfirmWaves, a.SealWaves, e.Simulated)
	return err
}

func dollars(v float64) string { return fmt.Sprintf("%.2f", v) }

// count is a number with its thousands apart; below 100 with decimals if it has any.
func count(v float64) string {
	if v < 100 && v != math.Trunc(v) {
		return fmt.Sprintf("%.2f", v)
	}
	digits := fmt.Sprintf("%.0f", v)
	var b strings.Builder
	for i, d := range digits {
		if i > 0 && (len(digits)-i)%3 == 0 {
			b.WriteByte(',')
		}
		b.WriteRune(d)
	}
	return b.String()
}
