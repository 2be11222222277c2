package wire

import (
	"cmp"
	"fmt"
	"os"
	"slices"

	"github.com/auditcanary/auditcanary/shared/cost"
)

// CostOptions say how large the organisation is whose costs are estimated.
type CostOptions struct {
	Accounts, Regions, AccountsPerCell int
	// Prices is a file of prices; "" takes the list prices.
	Prices string
}

// Cost estimates a month of an organisation all of whose accounts are like the first
// target, in its first region, under the scenarios that the configuration selects.
func Cost(c *Config, o CostOptions) (cost.Estimate, error) {
	var none cost.Estimate
	prices, err := cost.ListPrices()
	if o.Prices != "" {
		prices, err = readPrices(o.Prices)
	}
	if err != nil {
		return none, err
	}
	simulated, err := cost.Simulation()
	if err != nil {
		return none, err
	}
	if len(c.Targets) == 0 {
		return none, fmt.Errorf("%s has no targets: the cost is that of accounts like the first one", c.file)
	}
	one := *c
	one.Clusters = nil // what is done there costs nothing at AWS
	first := c.Targets[0]
	first.Regions = first.Regions[:1]
	one.Targets = []Target{first}
	plans, err := Plan(&one)
	if err != nil {
		return none, err
	}
	org := cost.Organisation{Accounts: o.Accounts, Regions: o.Regions, AccountsPerCell: o.AccountsPerCell, KeysPerRegion: paidKeys(first)}
	for _, p := range plans {
		if p.NotRun != "" {
			continue
		}
		l := cadence(&org, p.Scenario.Schedule.Every)
		load := &l.Region
		if p.Scenario.Scope == "account" {
			load = &l.Account
		}
		load.Canaries++
		for _, ps := range p.Steps {
			load.Calls += 1 + 2*len(ps.Looks)
			if ps.Undo != nil {
				load.Calls++
			}
			if ps.Record.DataEvent {
				load.DataEvents++
			}
		}
	}
	for i := range org.Cadences {
		if org.Cadences[i].PerMon, err = cost.RunsAMonth(org.Cadences[i].Name); err != nil {
			return none, err
		}
	}
	slices.SortFunc(org.Cadences, func(a, b cost.Cadence) int { return cmp.Compare(b.PerMon, a.PerMon) })
	return cost.NewEstimate(org, prices, simulated)
}

func readPrices(file string) (cost.Prices, error) {
	f, err := os.Open(file)
	if err != nil {
		return cost.Prices{}, fmt.Errorf("read prices: %w", err)
	}
	defer f.Close()
	return cost.ReadPrices(file, f)
}

// cadence finds the runs of a cadence, or adds them.
func cadence(o *cost.Organisation, every string) *cost.Cadence {
	i := slices.IndexFunc(o.Cadences, func(c cost.Cadence) bool { return c.Name == every })
	if i < 0 {
		i = len(o.Cadences)
		o.Cadences = append(o.Cadences, cost.Cadence{Name: every})
	}
	return &o.Cadences[i]
}

// paidKeys are the keys among an account's fixtures of its first region. One about to be
// deleted costs nothing.
func paidKeys(t Target) int {
	keys := map[string]bool{}
	for _, region := range []string{"*", t.Regions[0]} {
		for _, name := range []string{"kms_key", "deletion_key", "grant_key"} {
			if id := t.Fixtures[region][name]; id != "" {
				keys[id] = true
			}
		}
	}
	return len(keys)
}
