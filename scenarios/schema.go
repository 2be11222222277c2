package scenarios

import (
	"bytes"
	_ "embed"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"github.com/santhosh-tekuri/jsonschema/v6/kind"
)

// schemaJSON is generated from canary.Scenario; `go test ./scenarios -update` writes it.
//
//go:embed schema.json
var schemaJSON []byte

// Schema returns the JSON Schema of a scenario file, for editors.
func Schema() []byte { return slices.Clone(schemaJSON) }

func compileSchema(name string, text []byte) (*jsonschema.Schema, error) {
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", name, err)
	}
	c := jsonschema.NewCompiler()
	if err := c.AddResource(name, doc); err != nil {
		return nil, fmt.Errorf("add %s: %w", name, err)
	}
	sch, err := c.Compile(name)
	if err != nil {
		return nil, fmt.Errorf("compile %s: %w", name, err)
	}
	return sch, nil
}

// validate holds v, the document's value, against the schema. It says whether
// the value has the schema's shape, that is whether every value has the right
// type, so that it can be decoded.
func (d *document) validate(sch *jsonschema.Schema, v any) (shaped bool) {
	err := sch.Validate(v)
	if err == nil {
		return true
	}
	var ve *jsonschema.ValidationError
	if !errors.As(err, &ve) {
		d.fail(1, 1, "schema: %v", err)
		return false
	}
	leaves := leavesOf(ve, nil)
	// The validator walks maps; the order decides which errors are cut off at maxErrors.
	slices.SortFunc(leaves, func(a, b *jsonschema.ValidationError) int {
		return slices.Compare(a.InstanceLocation, b.InstanceLocation)
	})
	shaped = true
	for _, e := range leaves {
		// What is empty decodes as absent.
		if k, wrong := e.ErrorKind.(*kind.Type); wrong && k.Got != "null" {
			shaped = false
		}
		d.explain(e)
	}
	return shaped
}

func leavesOf(e *jsonschema.ValidationError, into []*jsonschema.ValidationError) []*jsonschema.ValidationError {
	if len(e.Causes) == 0 {
		return append(into, e)
	}
	for _, c := range e.Causes {
		into = leavesOf(c, into)
	}
	return into
}

// explain reports one violation in the words of somebody who writes scenarios.
func (d *document) explain(e *jsonschema.ValidationError) {
	path := e.InstanceLocation
	at := func(format string, args ...any) {
		n := d.locate(path)
		d.fail(n.Line, n.Column, format, args...)
	}
	switch k := e.ErrorKind.(type) {
	case *kind.AdditionalProperties:
		for _, p := range slices.Sorted(slices.Values(k.Properties)) {
			n := d.locateKey(append(slices.Clone(path), p))
			d.fail(n.Line, n.Column, "unknown field %s%s", quote(p), in(path))
		}
	case *kind.Required:
		for _, p := range slices.Sorted(slices.Values(k.Missing)) {
			at("missing field %q%s", p, in(path))
		}
	case *kind.Type:
		at("%s must be %s, not %s", dotted(path), typeName(strings.Join(k.Want, " or ")), typeName(k.Got))
	case *kind.Enum:
		known := make([]string, len(k.Want))
		for i, w := range k.Want {
			known[i] = fmt.Sprint(w)
		}
		at("unknown %s %s; known: %s", nounOf(path), quote(fmt.Sprint(k.Got)), strings.Join(known, ", "))
	case *kind.Pattern:
		at("%s %s %s", dotted(path), quote(k.Got), patternMeaning(path))
	case *kind.MinLength:
		at("%s must have at least %d characters", dotted(path), k.Want)
	case *kind.MaxLength:
		at("%s must have at most %d characters", dotted(path), k.Want)
	case *kind.MinItems:
		at("%s must have at least %d item", dotted(path), k.Want)
	case *kind.MaxItems:
		at("%s must have at most %d items", dotted(path), k.Want)
	case *kind.UniqueItems:
		path = append(slices.Clone(path), strconv.Itoa(max(k.Duplicates[0], k.Duplicates[1])))
		at("%s is there already", dotted(path))
	default:
		at("%s: %v", dotted(path), e)
	}
}

// in names the object of a message, if it is not the whole file.
func in(path []string) string {
	if len(path) == 0 {
		return ""
	}
	return " in " + dotted(path)
}

// dotted writes a path as people do: steps[0].undo.
func dotted(path []string) string {
	if len(path) == 0 {
		return "the file"
	}
	var b strings.Builder
	for _, p := range path {
		if _, err := strconv.Atoi(p); err == nil {
			b.WriteString("[" + p + "]")
			continue
		}
		if b.Len() > 0 {
			b.WriteByte('.')
		}
		b.WriteString(p)
	}
	return b.String()
}

func typeName(t string) string {
	switch t {
	case "object":
		return "a mapping"
	case "array":
		return "a list"
	case "null":
		return "empty"
	case "integer":
		return "an integer"
	default:
		return "a " + t
	}
}

// nounOf names what an enumerated value is.
func nounOf(path []string) string {
	switch {
	case path[0] == "controls" && len(path) == 2:
		return "control"
	case path[0] == "schedule":
		return "cadence"
	case len(path) > 1 && path[len(path)-2] == "fields":
		return "field"
	default:
		return path[len(path)-1]
	}
}

// patternMeaning says in words what the pattern of a field wants.
func patternMeaning(path []string) string {
	switch last := path[len(path)-1]; {
	case last == "id" && path[0] == "controls":
		return `must be like "iso27017:2015/12.4.3": framework:edition/clause`
	case last == "version":
		return `must be like "2026-11-26.1": a day and a number`
	case last == "id" && len(path) == 1:
		return `must be like "aws/iam-temporary-admin-role": parts of lower-case letters, digits and dashes`
	case last == "id":
		return "must consist of lower-case letters, digits and dashes"
	case last == "call", last == "read":
		return `must be like "iam:CreateRole": service:Operation; of a cluster, "core:create pods/exec"`
	case len(path) > 1 && (path[len(path)-2] == "gone" || path[len(path)-2] == "unprotected" || path[len(path)-2] == "refused_with"):
		return `must be an error code like "NoSuchEntity"`
	default:
		return "must be one line"
	}
}
