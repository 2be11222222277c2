package cloud

import (
	"bytes"
	"encoding/json"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
)

// restJSON is the REST-JSON 1 protocol of the newer services: method and path
// name the operation; its parameters stand in the path, the query string and the
// JSON body. A service declares its routes beside its operations.
type restJSON struct{ routes []jsonRoute }

// jsonRoute is one operation's method and path. In the path {label} stands for
// one segment, whatever is in it percent-encoded (an ARN with its slashes), and
// {label+}, which can only be the last, for all that is left.
type jsonRoute struct{ method, path, op string }

// Parameters get the names the wire has: labels as the route spells them, and
// the query's and the body's members as they were sent. CloudTrail records those.
func (p restJSON) decode(k *call) (string, map[string]any, error) {
	method, path := k.HTTP.Method, k.HTTP.URL.EscapedPath()
	op, labels := p.route(method, path)
	if op == "" {
		return "", nil, fail(501, "NotImplemented", "the sandbox has no operation %s %s of %s", method, path, k.Service)
	}
	params := map[string]any{}
	if len(bytes.TrimSpace(k.body)) > 0 {
		if err := json.Unmarshal(k.body, &params); err != nil || params == nil {
			return "", nil, fail(400, "SerializationException", "the body is no JSON object")
		}
	}
	query, err := url.ParseQuery(k.HTTP.URL.RawQuery)
	if err != nil {
		return "", nil, fail(400, "SerializationException", "query string: %v", err)
	}
	for name, values := range query {
		params[name] = queryValue(name, values)
	}
	for name, value := range labels { // what the path says was decided on, whatever else the request holds
		params[name] = value
	}
	return op, params, nil
}

// queryValue gives a query parameter the type it has in a record: a list if it
// is there more than once, and a number where it says how much is wanted.
func queryValue(name string, values []string) any {
	if len(values) > 1 {
		list := make([]any, len(values))
		for i, v := range values {
			list[i] = v
		}
		return list
	}
	if n, err := strconv.Atoi(values[0]); err == nil && strings.EqualFold(name, "maxResults") {
		return float64(n) // as JSON has it
	}
	return values[0]
}

// route finds the operation of an escaped path, "" if there is none. The first
// route that fits is taken, so that a literal one stands before one with labels.
func (p restJSON) route(method, path string) (op string, labels map[string]string) {
	for _, r := range p.routes {
		if r.method != method {
			continue
		}
		if labels, ok := r.match(path); ok {
			return r.op, labels
		}
	}
	return "", nil
}

// match reads a path as the route; an empty label is no label.
func (r jsonRoute) match(path string) (map[string]string, bool) {
	want, got := segments(r.path), segments(path)
	labels := map[string]string{}
	for i, w := range want {
		label, isLabel := strings.CutPrefix(w, "{")
		label = strings.TrimSuffix(label, "}")
		greedy := strings.HasSuffix(label, "+")
		switch {
		case i >= len(got):
			return nil, false
		case !isLabel && got[i] != w:
			return nil, false
		case !isLabel:
			continue
		}
		raw := got[i]
		if greedy {
			raw = strings.Join(got[i:], "/")
		}
		value, err := url.PathUnescape(raw)
		if err != nil || value == "" {
			return nil, false
		}
		labels[strings.TrimSuffix(label, "+")] = value
		if greedy {
			return labels, i == len(want)-1
		}
	}
	return labels, len(want) == len(got)
}

// segments of a path; a slash at its end says nothing.
func segments(path string) []string {
	return strings.Split(strings.TrimSuffix(strings.TrimPrefix(path, "/"), "/"), "/")
}

func (restJSON) write(w http.ResponseWriter, k *call, status int, v any) {
	b, err := json.Marshal(v)
	if err != nil {
		status, b = 500, []byte(`{"message":"InternalFailure"}`)
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("x-amzn-RequestId", k.RequestID)
	w.WriteHeader(status)
	if status != http.StatusNoContent {
		_, _ = w.Write(b)
	}
}

func (p restJSON) reply(w http.ResponseWriter, k *call, r reply) {
	if r.body == nil {
		r.body = map[string]any{}
	}
	if r.status == 0 {
		r.status = 200
	}
	p.write(w, k, r.status, r.body)
}

func (p restJSON) fail(w http.ResponseWriter, k *call, e *apiError) {
	w.Header().Set("x-amzn-ErrorType", e.code)
	p.write(w, k, e.status, map[string]any{"message": e.message})
}

// mapTags reads tags as the newer services write them: a map.
func mapTags(v any) map[string]string {
	m, _ := v.(map[string]any)
	if len(m) == 0 {
		return nil
	}
	out := map[string]string{}
	for name, value := range m {
		s, _ := value.(string)
		out[name] = s
	}
	return out
}

// page cuts a listing: the sorted ids after the one the token names, at most size
// of them, and the token of the next page, "" if there is none.
func page(ids []string, token string, size int) (these []string, next string) {
	if token != "" { // it is the last id of the page before
		ids = slices.DeleteFunc(slices.Clone(ids), func(id string) bool { return id <= token })
	}
	if len(ids) > size {
		return ids[:size], ids[size-1]
	}
	return ids, ""
}
