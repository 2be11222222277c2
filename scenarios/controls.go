package scenarios

import (
	"bytes"
	_ "embed"
	"fmt"

	"go.yaml.in/yaml/v3"
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
}

// Controls returns the controls that scenarios may name, in the file's order.
func Controls() ([]Control, error) {
	var file struct {
		Controls []Control `yaml:"controls"`
	}
	dec := yaml.NewDecoder(bytes.NewReader(controlsYAML))
	dec.KnownFields(true)
	if err := dec.Decode(&file); err != nil {
		return nil, fmt.Errorf("read controls.yaml: %w", err)
	}
	return file.Controls, nil
}
