// Package cost estimates what testing an organisation costs a month by list prices.
//
// An estimate is a table: quantity times price, a line each, nothing hidden in a sum. The
// quantities come from three places, and every line says from which:
//
//   - the plan of the very scenarios that are to run (how many canaries, how many calls);
//   - a simulation of a thousand accounts through the real functions, whose counts are
//     kept in measured.json (requests to S3 a canary, appends to a ledger, processor time);
//   - assumptions that stand in prices.yaml, beside the prices, where they can be changed
//     (how long a call takes there, how often a run looks for its records).
//
// What a canary does is for the most part free of charge: calls of the control plane cost
// nothing, and the first copy of management events neither. What costs is what stands there
// all month: keys above all.
package cost

import (
	"bytes"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"go.yaml.in/yaml/v3"
)

//go:embed prices.yaml
var listPrices []byte

//go:embed measured.json
var measured []byte

// Organisation is what is to be tested.
type Organisation struct {
	Accounts int `json:"accounts"`
	Regions  int `json:"regions"`
	// AccountsPerCell share a ledger (at least 1).
	AccountsPerCell int `json:"accounts_per_cell"`
	// Cadences are the runs, each with what it does in one account.
	Cadences []Cadence `json:"cadences"`
	// KeysPerRegion are the customer-managed keys among the fixtures of one region.
	KeysPerRegion int `json:"keys_per_region"`
}

// Cadence is a run that comes again.
type Cadence struct {
	Name    string  `json:"name"` // daily
	PerMon  float64 `json:"runs_a_month"`
	Account Load    `json:"once_an_account"`
	Region  Load    `json:"in_each_region"`
}

// Load is what some canaries do.
type Load struct {
	Canaries int `json:"canaries"`
	// Calls, with their undos and with the looks before and after an attempt.
	Calls int `json:"calls"`
	// DataEvents are calls whose record only a data event selector brings, which is paid for.
	DataEvents int `json:"data_events"`
}

// RunsAMonth of a cadence by its name, 30.4 days to the month.
func RunsAMonth(every string) (float64, error) {
	const days = 365.25 / 12
	switch every {
	case "hourly":
		return 24 * days, nil
	case "daily":
		return days, nil
	case "weekly":
		return days / 7, nil
	}
	return 0, fmt.Errorf("cost: cadence %q: hourly, daily or weekly", every)
}

// Prices are what a unit costs, with what is assumed of a deployment.
type Prices struct {
	// AsOf is the day for which they are said to hold, Region the one they are of.
	AsOf   string           `yaml:"as_of" json:"as_of"`
	Region string           `yaml:"region" json:"region"`
	Assume Assumptions      `yaml:"assume" json:"assume"`
	Units  map[string]Price `yaml:"units" json:"units"`
}

// Price of so many units.
type Price struct {
	USD    float64 `yaml:"usd" json:"usd"`
	Per    float64 `yaml:"per" json:"per"` // units
	Unit   string  `yaml:"unit" json:"unit"`
	Source string  `yaml:"source" json:"source"`
}

// Assumptions are what no count says.
type Assumptions struct {
	// CallMS is how long a call of the control plane takes, S3MS one to S3.
	CallMS float64 `yaml:"call_ms" json:"call_ms"`
	S3MS   float64 `yaml:"s3_ms" json:"s3_ms"`
	// Parallel canaries in one cell.
	Parallel float64 `yaml:"parallel" json:"parallel"`
	// MemoryMB of a function.
	MemoryMB float64 `yaml:"memory_mb" json:"memory_mb"`
	// ConfirmWaves and SealWaves are how often a run looks before everything is decided, and
	// then before everything is sealed.
	ConfirmWaves float64 `yaml:"confirm_waves" json:"confirm_waves"`
	SealWaves    float64 `yaml:"seal_waves" json:"seal_waves"`
	// Transitions of the state machine: for a run, for each cell, for each look of a cell.
	TransitionsRun  float64 `yaml:"transitions_run" json:"transitions_run"`
	TransitionsCell float64 `yaml:"transitions_cell" json:"transitions_cell"`
	TransitionsWave float64 `yaml:"transitions_wave" json:"transitions_wave"`
	// LogBytes of one invocation.
	LogBytes float64 `yaml:"log_bytes" json:"log_bytes"`
	// LedgerBytes that a canary leaves for ever.
	LedgerBytes float64 `yaml:"ledger_bytes" json:"ledger_bytes"`
	// Alarms, Metrics, Keys and Secrets of the deployment itself.
	Alarms  float64 `yaml:"alarms" json:"alarms"`
	Metrics float64 `yaml:"metrics" json:"metrics"`
	Keys    float64 `yaml:"keys" json:"keys"`
	Secrets float64 `yaml:"secrets" json:"secrets"`
}

// units that an estimate asks for.
var units = []string{"lambda-gb-second", "lambda-request", "step-transition", "s3-write", "s3-read", "s3-gb-month",
	"kms-key-month", "kms-sign", "logs-gb", "alarm-month", "metric-month", "secret-month", "data-event"}

// ListPrices are those of prices.yaml.
func ListPrices() (Prices, error) { return ReadPrices("prices.yaml", bytes.NewReader(listPrices)) }

// maxPrices bounds a file of prices, bytes.
const maxPrices = 1 << 20

// ReadPrices reads a file of prices. Every unit must be there, with a price of 0 or more.
func ReadPrices(name string, r io.Reader) (Prices, error) {
	var p Prices
	data, err := io.ReadAll(io.LimitReader(r, maxPrices+1))
	if err != nil {
		return p, fmt.Errorf("read prices %s: %w", name, err)
	}
	if len(data) > maxPrices {
		return p, fmt.Errorf("%s: larger than %d bytes", name, maxPrices)
	}
	dec := yaml.NewDecoder(bytes.NewReader(data))
	dec.KnownFields(true)
	if err := dec.Decode(&p); err != nil {
		return p, fmt.Errorf("%s: %w", name, err)
	}
	var errs []error
	if _, err := time.Parse(time.DateOnly, p.AsOf); err != nil {
		errs = append(errs, fmt.Errorf("%s: as_of %q is not a day such as 2026-11-26", name, p.AsOf))
	}
	for _, u := range units {
		if price, ok := p.Units[u]; !ok || price.USD < 0 || price.Per <= 0 {
			errs = append(errs, fmt.Errorf("%s: units.%s: wants usd of 0 or more, per more than 0", name, u))
		}
	}
	if a := p.Assume; a.Parallel <= 0 || a.MemoryMB <= 0 || a.CallMS < 0 || a.S3MS < 0 || a.ConfirmWaves < 0 || a.SealWaves < 0 {
		errs = append(errs, fmt.Errorf("%s: assume: parallel and memory_mb must be more than 0, the others not less", name))
	}
	return p, errors.Join(errs...)
}

// Measured is what a simulation counted (tests/scale writes it).
type Measured struct {
	Accounts int    `json:"accounts"`
	Regions  int    `json:"regions"`
	Cells    int    `json:"cells"`
	Canaries int    `json:"canaries"`
	Waves    []Wave `json:"waves"`
}

// Wave is one call of one function in every cell.
type Wave struct {
	Name string `json:"name"`
	// For counts requests by purpose, S3 those to S3 by operation.
	For map[string]int `json:"for"`
	S3  map[string]int `json:"s3"`
	// Appends to ledgers.
	Appends int `json:"appends"`
	// CPUMs of all processes together.
	CPUMs int64 `json:"cpu_ms"`
}

// Simulation is the one whose counts an estimate uses.
func Simulation() (Measured, error) {
	var m Measured
	if err := json.Unmarshal(measured, &m); err != nil {
		return m, fmt.Errorf("cost: measured.json: %w", err)
	}
	names := []string{"inject", "confirm", "seal"}
	if m.Canaries <= 0 || m.Cells <= 0 || len(m.Waves) != len(names) {
		return m, errors.New("cost: measured.json: no canaries, no cells, or not the waves inject, confirm and seal")
	}
	for i, name := range names {
		if m.Waves[i].Name != name {
			return m, fmt.Errorf("cost: measured.json: wave %d is %q, want %q", i+1, m.Waves[i].Name, name)
		}
	}
	return m, nil
}

func (w Wave) writes() float64 {
	n := 0
	for op, count := range w.S3 {
		if op == "PutObject" || op == "ListObjectsV2" { // both at the price of a PUT
			n += count
		}
	}
	return float64(n)
}

func (w Wave) reads() float64 {
	n := 0
	for _, count := range w.S3 {
		n += count
	}
	return float64(n) - w.writes()
}
