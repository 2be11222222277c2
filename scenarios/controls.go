package scenarios

import (
	_ "embed"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/auditcanary/auditcanary/shared/canary"
)

//go:embed controls.yaml
var controlsYAML []byte

// controlsSchemaJSON is generated from Mapping; `go test ./scenarios -update` writes it.
//
//go:embed controls.schema.json
var controlsSchemaJSON []byte

// Mapping is what the checks of a canary mean for the controls of frameworks.
type Mapping struct {
	// Version of the mapping: a day and a number, new with every change.
	Version string `json:"version"`
	// Checks, each once, in the order of a canary's life: what a pass means, whatever the control.
	Checks []Meaning `json:"checks"`
	// Controls that scenarios may name.
	Controls []Control `json:"controls"`
}

// Meaning is what a pass of one check shows, and what it does not.
type Meaning struct {
	// Check of a canary.
	Check canary.Check `json:"check"`
	// Shows what a pass supports.
	Shows string `json:"shows"`
	// DoesNotShow what one might take it for.
	DoesNotShow string `json:"does_not_show"`
}

// Control is one requirement of a control framework. Frameworks are renumbered
// with every edition, so controls are data: scenarios name ids, reports show the rest.
type Control struct {
	// ID is "framework:edition/clause".
	ID string `json:"id"`
	// Framework as its publisher names it, with the edition.
	Framework string `json:"framework"`
	// Clause of the framework, as it numbers them.
	Clause string `json:"clause"`
	// Title in the framework's words, as far as they are known.
	Title string `json:"title"`
	// Confirmed is false where number and title were not held against the
	// framework's own text; reports must say so.
	Confirmed bool `json:"confirmed"`
	// Source of number and title.
	Source string `json:"source"`
	// Checks that support it.
	Checks []Support `json:"checks"`
	// Limits is what no canary shows of it.
	Limits string `json:"limits"`
}

// Support is what one check means for one control.
type Support struct {
	// Check of a canary.
	Check canary.Check `json:"check"`
	// Canaries that speak for it: all, or those whose scenario names the control (naming).
	Canaries string `json:"canaries"`
	// Fields are the only ones that count for it, of a check that compares fields
	// (event.AttributionFields); none: all of them.
	Fields []string `json:"fields,omitempty"`
	// Shows what a pass supports.
	Shows string `json:"shows"`
	// DoesNotShow what one might take it for.
	DoesNotShow string `json:"does_not_show"`
}

// Which canaries speak for a control.
const (
	AllCanaries    = "all"
	NamingCanaries = "naming"
)

// Controls returns the controls that scenarios may name, in the file's order.
func Controls() ([]Control, error) {
	m, err := ReadControls()
	return m.Controls, err
}

// ReadControls returns the mapping that comes with the program.
func ReadControls() (Mapping, error) { return parseMapping("controls.yaml", controlsYAML) }

// ControlsSchema returns the JSON Schema of the mapping, for editors.
func ControlsSchema() []byte { return slices.Clone(controlsSchemaJSON) }

// parseMapping reads a mapping; the error lists everything wrong with it, by line and column.
func parseMapping(file string, data []byte) (Mapping, error) {
	sch, err := compileSchema("controls.schema.json", controlsSchemaJSON)
	if err != nil {
		return Mapping{}, err
	}
	d := parse(file, data)
	if d.root == nil {
		return Mapping{}, d.errs
	}
	v := d.value(d.root)
	inYAML := len(d.errs)
	var m Mapping
	if d.validate(sch, v) {
		text, err := json.Marshal(v)
		if err == nil {
			err = json.Unmarshal(text, &m)
		}
		if err != nil {
			d.fail(1, 1, "decode: %v", err)
		} else {
			d.lintMapping(m)
		}
	}
	errs := withoutEchoes(d.errs, inYAML)
	errs.sort()
	if len(errs) > 0 {
		return Mapping{}, fmt.Errorf("read the mapping of controls: %w", errs)
	}
	return m, nil
}

// lintMapping holds a mapping against the rules that no schema can express.
func (d *document) lintMapping(m Mapping) {
	at := func(path []string, format string, args ...any) {
		n := d.locate(path)
		d.fail(n.Line, n.Column, format, args...)
	}
	for i, check := range canary.Checks() {
		if i >= len(m.Checks) || m.Checks[i].Check != check {
			at([]string{"checks"}, "checks must hold each check once, in the order of a canary's life: number %d must be %s", i+1, check)
			break
		}
	}
	first := map[string]int{}
	for i, c := range m.Controls {
		here := func(parts ...string) []string { return append([]string{"controls", strconv.Itoa(i)}, parts...) }
		if n, taken := first[c.ID]; taken {
			at(here("id"), "control %s is already controls[%d]", quote(c.ID), n)
		} else {
			first[c.ID] = i
		}
		if !strings.HasSuffix(c.ID, "/"+c.Clause) {
			at(here("id"), "control %s does not end in its clause %s", quote(c.ID), quote("/"+c.Clause))
		}
		if second := strings.HasPrefix(c.Source, "secondary: ") || strings.HasPrefix(c.Source, "general knowledge"); c.Confirmed == second {
			at(here("confirmed"), "confirmed is %v with the source %s: only the framework's own text confirms, any other begins with \"secondary: \" or \"general knowledge\"", c.Confirmed, quote(c.Source))
		}
		seen := map[canary.Check]bool{}
		for j, s := range c.Checks {
			if seen[s.Check] {
				at(here("checks", strconv.Itoa(j), "check"), "check %s is there already", s.Check)
			}
			seen[s.Check] = true
			if len(s.Fields) > 0 && s.Check != canary.Attributed {
				at(here("checks", strconv.Itoa(j), "fields"), "only attributed compares fields")
			}
			if s.Check == canary.Cleaned {
				at(here("checks", strconv.Itoa(j), "check"), "cleaned supports no control: it is the hygiene of the test itself")
			}
		}
	}
}
