package canary

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// Expand replaces every ${name} in the strings of v (a tree of map[string]any,
// []any and scalars, which it does not change) with lookup(name). A string that
// is one reference and nothing else stays a string. A name lookup does not know
// is an error that names it. "$${" stands for a literal "${" (IAM policy
// variables need one).
func Expand(v any, lookup func(name string) (string, bool)) (any, error) {
	return eachString(v, func(s string) (any, error) { return expandString(s, lookup) })
}

// ExpandAhead is Expand of what will be expanded once more, before the call: "$${" stays, and
// so does a reference that lookup gives back. The result has the shape that it has when it is
// read back from the ledger.
func ExpandAhead(params map[string]any, lookup func(name string) (string, bool)) (map[string]any, error) {
	kept, _ := eachString(params, func(s string) (any, error) { return strings.ReplaceAll(s, "$${", "$$${"), nil })
	out, err := Expand(kept, lookup)
	if err != nil {
		return nil, err
	}
	expanded, _ := out.(map[string]any)
	return Plain(expanded), nil
}

// Plain gives parameters the shape JSON gives them (numbers are float64).
func Plain(params map[string]any) map[string]any {
	b, err := json.Marshal(params)
	if err != nil {
		return nil
	}
	var out map[string]any
	_ = json.Unmarshal(b, &out)
	return out
}

// eachString is v with every string of it replaced.
func eachString(v any, replace func(string) (any, error)) (any, error) {
	switch v := v.(type) {
	case string:
		return replace(v)
	case map[string]any:
		out := make(map[string]any, len(v))
		for _, k := range slices.Sorted(maps.Keys(v)) {
			x, err := eachString(v[k], replace)
			if err != nil {
				return nil, err
			}
			out[k] = x
		}
		return out, nil
	case []any:
		out := make([]any, len(v))
		for i := range v {
			x, err := eachString(v[i], replace)
			if err != nil {
				return nil, err
			}
			out[i] = x
		}
		return out, nil
	default:
		return v, nil
	}
}

func expandString(s string, lookup func(string) (string, bool)) (string, error) {
	var b strings.Builder
	for {
		i := strings.Index(s, "${")
		if i < 0 {
			b.WriteString(s)
			return b.String(), nil
		}
		if i > 0 && s[i-1] == '$' {
			b.WriteString(s[:i-1] + "${")
			s = s[i+2:]
			continue
		}
		b.WriteString(s[:i])
		end := strings.IndexByte(s[i:], '}')
		if end < 0 {
			return "", fmt.Errorf("reference %q is not closed", s[i:])
		}
		name := s[i+2 : i+end]
		val, ok := lookup(name)
		if !ok {
			return "", fmt.Errorf("unknown reference ${%s}", name)
		}
		b.WriteString(val)
		s = s[i+end+1:]
	}
}

// References lists the names v refers to, sorted, each once.
func References(v any) []string {
	seen := map[string]bool{}
	_, _ = Expand(v, func(name string) (string, bool) { seen[name] = true; return "", true })
	return slices.Sorted(maps.Keys(seen))
}
