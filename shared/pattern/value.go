package pattern

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
)

// A document is JSON as Go has it (map[string]any, []any, string, bool, nil,
// float64, int, json.Number), with these in place of what is not known.
type (
	// Unknown may be any value, and may not be there.
	Unknown struct{}
	// Text is there and is a string that begins with Prefix; no more is known of it.
	Text struct{ Prefix string }
	// OneOf is one of these: values that are neither objects nor lists, Text, Absent.
	OneOf []any
	// Absent is not there.
	Absent struct{}
	// Open is an object that may have further members; no name of one has a dot.
	Open map[string]any
)

// MaxDocument is how large a document may be that Decode reads, in bytes. EventBridge
// and CloudWatch Logs take 256 KB.
const MaxDocument = 1 << 20

// maxDepth is how deeply documents and patterns may be nested.
const maxDepth = 100

// Decode reads a document all of which is known. Names that are there twice, or
// nesting of more than 100 levels, are an error.
func Decode(doc []byte) (any, error) {
	if len(doc) > MaxDocument {
		return nil, fmt.Errorf("%d bytes, more than the %d allowed", len(doc), MaxDocument)
	}
	d := json.NewDecoder(bytes.NewReader(doc))
	d.UseNumber()
	v, err := decode(d, 0)
	if err != nil {
		return nil, syntax(string(doc), int(d.InputOffset()), "%v", err)
	}
	if _, err := d.Token(); err != io.EOF {
		return nil, syntax(string(doc), int(d.InputOffset()), "more after the end of the document")
	}
	return v, nil
}

func decode(d *json.Decoder, depth int) (any, error) {
	t, err := d.Token()
	if err != nil {
		if err == io.EOF {
			err = io.ErrUnexpectedEOF
		}
		return nil, err
	}
	delim, ok := t.(json.Delim)
	if !ok {
		return t, nil
	}
	if depth >= maxDepth {
		return nil, fmt.Errorf("nested more than %d levels deep", maxDepth)
	}
	if delim == '[' {
		list := []any{}
		for d.More() {
			v, err := decode(d, depth+1)
			if err != nil {
				return nil, err
			}
			list = append(list, v)
		}
		_, err := d.Token()
		return list, err
	}
	if delim != '{' {
		return nil, errors.New("expected a value")
	}
	object := map[string]any{}
	for d.More() {
		name, err := d.Token()
		if err != nil {
			return nil, err
		}
		key, _ := name.(string)
		if _, twice := object[key]; twice {
			return nil, fmt.Errorf("the name %q is there twice", key)
		}
		if object[key], err = decode(d, depth+1); err != nil {
			return nil, err
		}
	}
	_, err = d.Token()
	return object, err
}

// number of a value, and its spelling.
func number(v any) (f float64, text string, ok bool) {
	switch v := v.(type) {
	case json.Number:
		f, err := v.Float64()
		return f, v.String(), err == nil
	case float64:
		return v, strconv.FormatFloat(v, 'f', -1, 64), true
	case int:
		return float64(v), strconv.Itoa(v), true
	}
	return 0, "", false
}

// sameNumber: beyond 2^53 two numbers may be one as floating point without being equal.
func sameNumber(a, b float64, sameText bool) Truth {
	switch {
	case sameText:
		return Yes
	case a != b:
		return No
	case a > 1<<53 || a < -(1<<53):
		return Undecided
	}
	return Yes
}

// isScalar: neither an object nor a list, and not left open.
func isScalar(v any) bool {
	switch v.(type) {
	case map[string]any, Open, []any, Unknown, Absent, OneOf:
		return false
	}
	return true
}
