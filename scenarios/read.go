package scenarios

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/auditcanary/auditcanary/shared/canary"
)

// reader is what reading any number of files needs once.
type reader struct {
	schema *jsonschema.Schema
	check  Checker
}

func newReader(check Checker) (*reader, error) {
	if check == nil {
		return nil, errors.New("read scenarios: no checker of calls is given")
	}
	sch, err := compileSchema("schema.json", schemaJSON)
	if err != nil {
		return nil, err
	}
	return &reader{sch, check}, nil
}

// read reads one file. What it returns beside errors is as much as was
// understood; the document's root is nil when that is nothing.
func (r *reader) read(name string, data []byte) (canary.Scenario, *document, Errors) {
	d := parse(name, data)
	if d.root == nil {
		return canary.Scenario{}, d, d.errs
	}
	v := d.value(d.root)
	inYAML := len(d.errs)
	s, ok := r.decode(d, v)
	if ok {
		lint(d, &s, r.check)
	}
	sum := sha256.Sum256(data)
	s.Hash, s.File = hex.EncodeToString(sum[:]), name
	errs := withoutEchoes(d.errs, inYAML)
	errs.sort()
	return s, d, errs
}

// decode checks v against the schema and makes a scenario of it if its shape allows.
func (r *reader) decode(d *document, v any) (canary.Scenario, bool) {
	var s canary.Scenario
	if !d.validate(r.schema, v) {
		return s, false
	}
	data, err := json.Marshal(v)
	if err == nil {
		err = json.Unmarshal(data, &s)
	}
	if err != nil {
		d.fail(1, 1, "decode: %v", err)
		return canary.Scenario{}, false
	}
	for i := range s.Steps {
		s.Steps[i].Line = d.locate([]string{"steps", fmt.Sprint(i)}).Line
	}
	return s, true
}

// withoutEchoes drops the errors that later stages report where the YAML itself
// was at fault (the first n): there they only say that a refused value is missing.
func withoutEchoes(errs Errors, n int) Errors {
	type place struct{ line, col int }
	faulty := map[place]bool{}
	for _, e := range errs[:n] {
		faulty[place{e.Line, e.Col}] = true
	}
	kept := errs[:n:n]
	for _, e := range errs[n:] {
		if !faulty[place{e.Line, e.Col}] {
			kept = append(kept, e)
		}
	}
	return kept
}
