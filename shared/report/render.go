package report

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"unicode"
	"unicode/utf16"
	"unicode/utf8"
)

// Renderers are all formats by name. A format is one file, and one line here.
func Renderers() map[string]func(io.Writer, Report) error {
	return map[string]func(io.Writer, Report) error{
		"asff":  WriteASFF,
		"csv":   WriteCSV,
		"html":  WriteHTML,
		"json":  WriteJSON,
		"junit": WriteJUnit,
		"ocsf":  WriteOCSF,
		"oscal": WriteOSCAL,
	}
}

// WriteJSON writes the report as it is.
func WriteJSON(w io.Writer, r Report) error { return writeJSON(w, r) }

// writeJSON writes indented JSON.
func writeJSON(w io.Writer, v any) error { return encodeJSON(w, v, "  ") }

// encodeJSON writes JSON that stays inert where somebody prints it or puts it into
// a page: &, < and >, control characters and those that reorder text are escaped.
func encodeJSON(w io.Writer, v any, indent string) error {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetIndent("", indent)
	if err := enc.Encode(v); err != nil {
		return fmt.Errorf("write JSON: %w", err)
	}
	// Outside of strings JSON has none of these characters; within them, the encoder
	// has escaped all that are below a space.
	text := b.Bytes()
	out, copied := make([]byte, 0, len(text)), 0
	for i := 0; i < len(text); {
		if text[i] < 0x7f {
			i++
			continue
		}
		r, n := utf8.DecodeRune(text[i:])
		if unicode.IsControl(r) || unicode.Is(unicode.Cf, r) || r == '\u2028' || r == '\u2029' {
			out = append(out, text[copied:i]...)
			for _, unit := range utf16.AppendRune(nil, r) {
				out = fmt.Appendf(out, `\u%04x`, unit)
			}
			copied = i + n
		}
		i += n
	}
	out = append(out, text[copied:]...)
	_, err := w.Write(out)
	return err
}
