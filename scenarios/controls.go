package scenarios

import (
	"bytes"
	_ "embed"
	"fmt"

	"go.yaml.in/yaml/v3"

	"github.com/auditcanary/auditcanary/shared/canary"
)

//go:embed controls.yaml
var controlsYAML []byte

// Control is one requirement of a control framework. Frameworks are renumbered
// with every edition, so controls are data: scenarios name ids, reports show the rest.
type Control struct {
	// ID is "framework:edition/clause".
	ID string `yaml:"id"`
	// Framework as its publisher names it, with the edition.
	Framework string `yaml:"framework"`
	Clause    string `yaml:"clause"`
	Title     string `yaml:"title"`
	// Confirmed is false where number and title were not held against the
	// framework's own text; reports must say so.
	Confirmed bool `yaml:"confirmed"`
	// Source of number and title.
	Source string `yaml:"source"`
	// Canaries says which speak for it: "all", or those whose scenario names it ("naming").
	Canaries string `yaml:"canaries"`
	// Checks that support it.
	Checks []Support `yaml:"checks"`
	// Limits is what no canary shows of it.
	Limits string `yaml:"limits"`
}

// Support is what one check of a canary means for a control.
type Support struct {
	Check canary.Check `yaml:"check"`
	// Shows and DoesNotShow say what a pass supports, and what it does not.
	Shows       string `yaml:"shows"`
	DoesNotShow string `yaml:"does_not_show"`
}

// Which canaries speak for a control.
const (
	AllCanaries    = "all"
	NamingCanaries = "naming"
)

// Mapping is the whole of controls.yaml.
type Mapping struct {
	// Version of the mapping, a day with a number: it changes with every change of the file.
	Version  string    `yaml:"version"`
	Controls []Control `yaml:"controls"`
}

// Controls returns the controls that scenarios may name, in the file's order.
func Controls() ([]Control, error) {
	m, err := ReadControls()
	return m.Controls, err
}

// ReadControls returns the mapping that comes with the program.
func ReadControls() (Mapping, error) { return parseControls("controls.yaml", controlsYAML) }

func parseControls(file string, data []byte) (Mapping, error) {
	var m Mapping
	dec := yaml.NewDecoder(bytes.NewReader(data))
	dec.KnownFields(true)
	if err := dec.Decode(&m); err != nil {
		return Mapping{}, fmt.Errorf("read %s: %w", file, err)
	}
	return m, nil
}
