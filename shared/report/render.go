package report

import (
	"encoding/json"
	"fmt"
	"io"
)

// Renderers are all formats by name. A format is one file, and one line here.
func Renderers() map[string]func(io.Writer, Report) error {
	return map[string]func(io.Writer, Report) error{
		"html": WriteHTML,
		"json": WriteJSON,
	}
}

// WriteJSON writes the report as it is.
func WriteJSON(w io.Writer, r Report) error { return writeJSON(w, r) }

// writeJSON writes indented JSON with &, < and > escaped, so that it stays inert
// where somebody puts it into a page.
func writeJSON(w io.Writer, v any) error {
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	if err := enc.Encode(v); err != nil {
		return fmt.Errorf("write JSON: %w", err)
	}
	return nil
}
