package cloud

import (
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"
)

// eventInput is what a target is told of an event: all of it, a part of it
// (InputPath), a constant (Input) or a text of the rule's own (InputTransformer).
type eventInput struct {
	constant string
	path     []any
	template string
	paths    map[string][]any
}

// eventInputOf reads what PutTargets says of it.
func eventInputOf(target map[string]any) (eventInput, error) {
	var in eventInput
	said := 0
	if s, ok := target["Input"].(string); ok {
		said++
		in.constant = s
		if !json.Valid([]byte(s)) {
			return in, errors.New("the parameter Input is no JSON")
		}
	}
	if s, ok := target["InputPath"].(string); ok {
		said++
		path, err := eventPath(s)
		if err != nil {
			return in, err
		}
		in.path = path
	}
	if m, ok := target["InputTransformer"].(map[string]any); ok {
		said++
		if in.template = field(m, "InputTemplate"); in.template == "" {
			return in, errors.New("the InputTransformer has no InputTemplate")
		}
		in.paths = map[string][]any{}
		paths, _ := m["InputPathsMap"].(map[string]any)
		for name, v := range paths {
			s, _ := v.(string)
			path, err := eventPath(s)
			if err != nil {
				return in, err
			}
			in.paths[name] = path
		}
		for _, m := range placeholder.FindAllStringSubmatch(in.template, -1) {
			if _, ok := in.paths[m[1]]; !ok && !strings.HasPrefix(m[1], "aws.events.") {
				return in, fmt.Errorf("the InputTemplate names <%s>, which is not in InputPathsMap", m[1])
			}
		}
	}
	if said > 1 {
		return in, errors.New("only one of Input, InputPath, or InputTransformer must be provided")
	}
	return in, nil
}

var (
	placeholder = regexp.MustCompile(`<([A-Za-z0-9_.-]+)>`)
	pathStep    = regexp.MustCompile(`^(?:\.([A-Za-z0-9_-]+)|\[([0-9]{1,4})\])`)
)

// eventPath reads a path like $.detail.resources[0]: its steps are names and numbers.
func eventPath(text string) ([]any, error) {
	rest, ok := strings.CutPrefix(text, "$")
	path := []any{}
	for ok && rest != "" {
		m := pathStep.FindStringSubmatch(rest)
		if m == nil {
			ok = false
			break
		}
		rest = rest[len(m[0]):]
		if m[1] != "" {
			path = append(path, m[1])
		} else {
			i, _ := strconv.Atoi(m[2]) // digits, few of them
			path = append(path, i)
		}
	}
	if !ok {
		return nil, fmt.Errorf("%q is no JSON path", text)
	}
	return path, nil
}

func follow(v any, path []any) (any, bool) {
	for _, step := range path {
		switch step := step.(type) {
		case string:
			m, _ := v.(map[string]any)
			next, ok := m[step]
			if !ok {
				return nil, false
			}
			v = next
		case int:
			list, _ := v.([]any)
			if step >= len(list) {
				return nil, false
			}
			v = list[step]
		}
	}
	return v, true
}

// of is the text that the target gets. rule is the ARN of the rule.
func (in eventInput) of(event map[string]any, rule, ingested string) string {
	switch {
	case in.constant != "":
		return in.constant
	case in.path != nil:
		v, ok := follow(event, in.path)
		if !ok {
			return "{}"
		}
		return string(jsonText(v))
	case in.template == "":
		return string(jsonText(event))
	}
	quoted, done := false, 0
	var out strings.Builder
	for _, at := range placeholder.FindAllStringSubmatchIndex(in.template, -1) {
		text := in.template[done:at[0]]
		if (strings.Count(text, `"`)-strings.Count(text, `\"`))%2 == 1 {
			quoted = !quoted
		}
		out.WriteString(text)
		v, ok := in.value(in.template[at[2]:at[3]], event, rule, ingested)
		s, isText := v.(string)
		switch raw := string(jsonText(v)); {
		case quoted && isText:
			out.WriteString(raw[1 : len(raw)-1])
		case quoted && !ok:
		case quoted:
			out.WriteString(strings.ReplaceAll(strings.ReplaceAll(raw, `\`, `\\`), `"`, `\"`))
		case !ok:
			out.WriteString(`""`)
		case isText && !looksLikeJSON(in.template):
			out.WriteString(s)
		default:
			out.WriteString(raw)
		}
		done = at[1]
	}
	return out.String() + in.template[done:]
}

func looksLikeJSON(template string) bool {
	return strings.HasPrefix(strings.TrimSpace(template), "{") || strings.HasPrefix(strings.TrimSpace(template), "[")
}

func (in eventInput) value(name string, event map[string]any, rule, ingested string) (any, bool) {
	switch name {
	case "aws.events.rule-arn":
		return rule, true
	case "aws.events.rule-name":
		return rule[strings.LastIndexByte(rule, '/')+1:], true
	case "aws.events.event.ingestion-time":
		return ingested, true
	case "aws.events.event", "aws.events.event.json":
		return event, true
	}
	return follow(event, in.paths[name])
}
