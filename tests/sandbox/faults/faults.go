// Package faults holds the fault files that a run must report exactly.
//
// The header of each file says what a run under it must report: every check
// that is not simply passed, as lines
//
//	# expect: SCENARIO ACCOUNT REGION CHECK=STATUS [hop=HOP] [field=FIELD]...
//
// What no line mentions must pass: a run that reports more is as wrong as one
// that reports less.
package faults

import (
	"embed"
	"fmt"
	"io/fs"
	"strings"

	"github.com/auditcanary/auditcanary/tests/sandbox/fault"
)

//go:embed *.yaml
var files embed.FS

// File is one fault file.
type File struct {
	Name   string // "record-dropped.yaml"
	Data   []byte
	Expect []Expectation
}

// Expectation is one check's answer that a run under the file's faults must give.
type Expectation struct {
	Scenario, Account, Region string
	Check, Status             string
	Hop                       string   // "" = not said
	Fields                    []string // that must be named as wrong, and no others
}

// All returns the files by name. Every one has been parsed.
func All() ([]File, error) {
	names, err := fs.Glob(files, "*.yaml")
	if err != nil {
		return nil, fmt.Errorf("list fault files: %w", err)
	}
	var out []File
	for _, name := range names {
		data, err := files.ReadFile(name)
		if err != nil {
			return nil, fmt.Errorf("read fault file: %w", err)
		}
		if _, err := fault.Parse(name, data); err != nil {
			return nil, err
		}
		expect, err := expectations(name, string(data))
		if err != nil {
			return nil, err
		}
		out = append(out, File{Name: name, Data: data, Expect: expect})
	}
	return out, nil
}

func expectations(name, data string) ([]Expectation, error) {
	var out []Expectation
	for i, line := range strings.Split(data, "\n") {
		text, ok := strings.CutPrefix(line, "# expect:")
		if !ok {
			continue
		}
		words := strings.Fields(text)
		if len(words) < 4 {
			return nil, fmt.Errorf("%s:%d: expect wants SCENARIO ACCOUNT REGION CHECK=STATUS", name, i+1)
		}
		e := Expectation{Scenario: words[0], Account: words[1], Region: words[2]}
		if e.Check, e.Status, ok = strings.Cut(words[3], "="); !ok {
			return nil, fmt.Errorf("%s:%d: expect: %q is not CHECK=STATUS", name, i+1, words[3])
		}
		for _, w := range words[4:] {
			switch key, val, _ := strings.Cut(w, "="); key {
			case "hop":
				e.Hop = val
			case "field":
				e.Fields = append(e.Fields, val)
			default:
				return nil, fmt.Errorf("%s:%d: expect: unknown word %q", name, i+1, w)
			}
		}
		out = append(out, e)
	}
	if len(out) == 0 {
		return nil, fmt.Errorf("%s: no expect line: what must a run report?", name)
	}
	return out, nil
}
