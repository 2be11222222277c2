package jira

import (
	"bytes"
	_ "embed"
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"unicode/utf16"

	"github.com/santhosh-tekuri/jsonschema/v6"
)

//go:embed testdata/adf/full.json
var adfSchema []byte

// documentFormat is Atlassian's schema of its Document Format, compiled once.
var documentFormat = sync.OnceValues(func() (*jsonschema.Schema, error) {
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(adfSchema))
	if err != nil {
		return nil, fmt.Errorf("jira: schema of the document format: %w", err)
	}
	c := jsonschema.NewCompiler()
	if err := c.AddResource("adf.json", doc); err != nil {
		return nil, fmt.Errorf("jira: schema of the document format: %w", err)
	}
	schema, err := c.Compile("adf.json")
	if err != nil {
		return nil, fmt.Errorf("jira: schema of the document format: %w", err)
	}
	return schema, nil
})

// maxText is what Jira lets a text be, in characters. Of a document we count all the
// JSON: Atlassian does not say what it counts, and this is the most it could be.
const maxText = 32767

// body checks a text field or a comment: a document on v3, text on v2.
func (s *Server) body(v int, body any) string {
	if v == 2 {
		text, ok := body.(string)
		if !ok {
			return "Operation value must be a string"
		}
		if len(utf16.Encode([]rune(text))) > maxText {
			return "The entered text is too long. It exceeds the allowed limit of 32,767 characters."
		}
		return ""
	}
	if err := s.adf.Validate(body); err != nil {
		return "Operation value must be an Atlassian Document (see the Atlassian Document Format)"
	}
	var out bytes.Buffer
	enc := json.NewEncoder(&out)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(body); err != nil || len(utf16.Encode([]rune(out.String())))-1 > maxText {
		return "The entered text is too long. It exceeds the allowed limit of 32,767 characters."
	}
	return ""
}

// as gives a body the form that a version of the interface has.
func as(v int, body any) any {
	text, isText := body.(string)
	switch {
	case body == nil, v == 2 && isText, v == 3 && !isText:
		return body
	case v == 2:
		return plain(body)
	}
	doc := map[string]any{"type": "doc", "version": 1}
	content := []any{}
	if text != "" {
		content = append(content, map[string]any{"type": "paragraph", "content": []any{map[string]any{"type": "text", "text": text}}})
	}
	doc["content"] = content
	return doc
}

// Text of a document, or of wiki markup as it stands.
func Text(body any) string {
	if text, isText := body.(string); isText {
		return text
	}
	return plain(body)
}

// plain is the text of a document.
func plain(v any) string {
	n, _ := v.(map[string]any)
	if text, ok := n["text"].(string); ok {
		return text
	}
	var parts []string
	content, _ := n["content"].([]any)
	for _, c := range content {
		parts = append(parts, plain(c))
	}
	sep := "\n"
	switch n["type"] {
	case "paragraph", "heading", "codeBlock":
		sep = ""
	case "tableRow":
		sep = " | "
	case "hardBreak":
		return "\n"
	}
	return strings.Join(parts, sep)
}
