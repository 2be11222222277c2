package slack

import (
	"bytes"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"unicode/utf16"

	"github.com/santhosh-tekuri/jsonschema/v6"
)

//go:embed testdata/blocks.schema.json
var blocksSchema []byte

// limits are what Slack's reference says in prose and its types do not, by definition:
// https://docs.slack.dev/reference/block-kit/blocks
var limits = map[string]string{
	"Blocks":           `{"minItems": 1, "maxItems": 50}`,
	"HeaderBlock":      `{"properties": {"block_id": {"maxLength": 255}, "text": {"properties": {"text": {"minLength": 1, "maxLength": 150}}}}}`,
	"SectionBlock":     `{"anyOf": [{"required": ["text"]}, {"required": ["fields"]}], "properties": {"block_id": {"maxLength": 255}, "text": {"properties": {"text": {"minLength": 1, "maxLength": 3000}}}, "fields": {"minItems": 1, "maxItems": 10, "items": {"properties": {"text": {"maxLength": 2000}}}}}}`,
	"ContextBlock":     `{"properties": {"block_id": {"maxLength": 255}, "elements": {"minItems": 1, "maxItems": 10}}}`,
	"ActionsBlock":     `{"properties": {"elements": {"minItems": 1, "maxItems": 25}}}`,
	"PlainTextElement": `{"properties": {"text": {"minLength": 1, "maxLength": 3000}}}`,
	"MrkdwnElement":    `{"properties": {"text": {"minLength": 1, "maxLength": 3000}}}`,
	"Button":           `{"properties": {"text": {"properties": {"text": {"maxLength": 75}}}, "url": {"maxLength": 3000}, "value": {"maxLength": 2000}}}`,
	"RichTextBlock":    `{"properties": {"block_id": {"maxLength": 255}, "elements": {"minItems": 1}}}`,
	"RichTextText":     `{"properties": {"text": {"minLength": 1}}}`,
	"RichTextLink":     `{"properties": {"url": {"minLength": 1, "maxLength": 3000}}}`,
}

// maxBlocksSize is where Slack, as people found, begins to answer msg_blocks_too_long.
const maxBlocksSize = 13_200

var compiled = sync.OnceValues(func() (*jsonschema.Schema, error) {
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(blocksSchema))
	if err != nil {
		return nil, fmt.Errorf("schema of blocks: %w", err)
	}
	definitions := doc.(map[string]any)["definitions"].(map[string]any)
	for name, limit := range limits {
		more, err := jsonschema.UnmarshalJSON(strings.NewReader(limit))
		if err != nil {
			return nil, fmt.Errorf("limits of %s: %w", name, err)
		}
		is, ok := definitions[name]
		if !ok {
			return nil, fmt.Errorf("limits of %s: there is no such definition", name)
		}
		definitions[name] = map[string]any{"allOf": []any{is, more}}
	}
	c := jsonschema.NewCompiler()
	if err := c.AddResource("blocks.json", doc); err != nil {
		return nil, fmt.Errorf("schema of blocks: %w", err)
	}
	return c.Compile("blocks.json")
})

// CheckBlocks says, as Slack would, why it does not take blocks: the code of its error,
// and what is wrong; both empty if it takes them.
func CheckBlocks(blocks []byte) (code, why string) {
	v, err := jsonschema.UnmarshalJSON(bytes.NewReader(blocks))
	if err != nil {
		return "invalid_blocks_format", err.Error()
	}
	s, err := compiled()
	if err != nil {
		return "internal_error", err.Error()
	}
	if err := s.Validate(v); err != nil {
		return "invalid_blocks", deepest(err)
	}
	var compact bytes.Buffer
	enc := json.NewEncoder(&compact)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return "invalid_blocks_format", err.Error()
	}
	if n := len(utf16.Encode([]rune(compact.String()))); n > maxBlocksSize {
		return "msg_blocks_too_long", fmt.Sprintf("%d characters", n)
	}
	return "", ""
}

// deepest is the most particular complaint: of a choice of blocks, most are about the
// type alone.
func deepest(err error) string {
	var at *jsonschema.ValidationError
	if !errors.As(err, &at) {
		return err.Error()
	}
	best := at
	var walk func(e *jsonschema.ValidationError)
	walk = func(e *jsonschema.ValidationError) {
		if len(e.Causes) == 0 && len(e.InstanceLocation) > len(best.InstanceLocation) {
			best = e
		}
		for _, c := range e.Causes {
			walk(c)
		}
	}
	walk(at)
	return fmt.Sprintf("/%s: %s", strings.Join(best.InstanceLocation, "/"), strings.TrimSpace(best.Error()))
}
