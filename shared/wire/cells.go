package wire

import (
	"fmt"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

// Large organisations are tested in cells: a cell is some accounts with a ledger of
// their own, so that nobody waits for anybody's appends, and a fold reads what concerns
// these accounts only. An account stays in its cell, or what is open there is lost sight of.

// maxCells that the state machine can hold the tallies of (256 KiB, Step Functions' limit).
const maxCells = 1000

// cellMark stands for the cell in the URL of a queue.
const cellMark = "{cell}"

var cellName = regexp.MustCompile(`^[a-z0-9][a-z0-9-]{0,31}$`)

// Cells are the names of the cells, in the order of their first account, clusters after
// accounts; none where all share one ledger.
func (c *Config) Cells() []string {
	var out []string
	seen := map[string]bool{}
	add := func(cell string) {
		if cell != "" && !seen[cell] {
			seen[cell] = true
			out = append(out, cell)
		}
	}
	for _, t := range c.Targets {
		add(t.Cell)
	}
	for _, cl := range c.Clusters {
		add(cl.Cell)
	}
	return out
}

// Cell is the one that the configuration was narrowed down to; "" none.
func (c *Config) Cell() string { return c.cell }

func (c *Config) checkCells(bad complain) {
	cells := c.Cells()
	if len(cells) == 0 {
		return
	}
	if len(cells) > maxCells {
		bad("targets", "%d cells: at most %d; put more accounts into each", len(cells), maxCells)
	}
	one := func(at, what, name, cell string) {
		switch {
		case cell == "":
			bad(at, "%s %s has no cell, and others have one: every account and cluster has one, or none has", what, name)
		case !cellName.MatchString(cell):
			bad(at+".cell", "cell %q: 1 to 32 lower-case letters, digits and dashes", cell)
		}
	}
	for i, t := range c.Targets {
		one(fmt.Sprintf("targets.%d", i), "target", t.Account, t.Cell)
	}
	for i, cl := range c.Clusters {
		one(fmt.Sprintf("clusters.%d", i), "cluster", cl.Name, cl.Cell)
	}
	for i, a := range c.Alerts {
		if a.SQS != nil && !strings.Contains(a.SQS.QueueURL, cellMark) {
			bad(fmt.Sprintf("alerts.%d.sqs.queue_url", i), "alert %q: what is read from a queue is deleted, so that cells cannot share one: put %s into its name", a.Name, cellMark)
		}
	}
}

// selectCell leaves the accounts of one cell, the ledger of the cell, and its own places
// for alerts and packets.
func (c *Config) selectCell(name string) error {
	if !slices.Contains(c.Cells(), name) {
		return fmt.Errorf("cell %q is not in %s%s", name, c.file, c.known())
	}
	c.Targets = slices.DeleteFunc(slices.Clone(c.Targets), func(t Target) bool { return t.Cell != name })
	c.Clusters = slices.DeleteFunc(slices.Clone(c.Clusters), func(cl Cluster) bool { return cl.Cell != name })
	c.cell = name
	c.Ledger.Origin += "/" + name
	if c.Ledger.Dir != "" {
		c.Ledger.Dir = filepath.Join(c.Ledger.Dir, name)
	}
	if c.Ledger.S3 != nil {
		s := *c.Ledger.S3
		s.Prefix = path.Join(s.Prefix, name) + "/"
		c.Ledger.S3 = &s
	}
	c.Alerts = slices.Clone(c.Alerts)
	for i, a := range c.Alerts {
		c.Alerts[i] = a.inCell(name)
	}
	c.Evidence.Prefix = path.Join(c.Evidence.Prefix, name) + "/"
	return nil
}

// inCell is the configuration narrowed down to a cell.
func (c *Config) inCell(name string) (*Config, error) {
	narrow := *c // Select replaces what it narrows down
	return &narrow, narrow.Select(Selection{Cell: name})
}

// inCell is the alert as it arrives for one cell.
func (a Alert) inCell(name string) Alert {
	if a.SQS != nil {
		q := *a.SQS
		q.QueueURL = strings.ReplaceAll(q.QueueURL, cellMark, name)
		a.SQS = &q
	}
	return a
}

// oneLedger refuses a configuration of several ledgers of which none was chosen.
func (c *Config) oneLedger() error {
	if c.cell != "" || len(c.Cells()) == 0 {
		return nil
	}
	return fmt.Errorf("the accounts of %s are in cells, each with a ledger of its own: choose one (--cell, or \"cell\" in a function's input)%s", c.file, c.known())
}

// known names some cells, for messages.
func (c *Config) known() string {
	cells := c.Cells()
	if len(cells) == 0 {
		return ": it has no cells"
	}
	more := ""
	if most := 10; len(cells) > most {
		more = fmt.Sprintf(" and %d more", len(cells)-most)
		cells = cells[:most]
	}
	return ": there are " + strings.Join(cells, ", ") + more
}
