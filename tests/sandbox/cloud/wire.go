package cloud

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
)

// wire is a protocol: how requests are read and answers written.
type wire interface {
	decode(*call) (operation string, params map[string]any, err error)
	reply(http.ResponseWriter, *call, reply)
	fail(http.ResponseWriter, *call, *apiError)
}

// el is an XML element.
type el struct {
	name string
	text string
	kids []el
}

func node(name string, kids ...el) el { return el{name: name, kids: kids} }
func leaf(name string, v any) el      { return el{name: name, text: fmt.Sprint(v)} }

// leaves drops the leaves without text: an absent value is an absent element.
func leaves(els ...el) []el {
	return slices.DeleteFunc(els, func(e el) bool { return e.text == "" && e.kids == nil })
}

func (e el) write(b *bytes.Buffer) {
	b.WriteString("<" + e.name + ">")
	_ = xml.EscapeText(b, []byte(e.text)) // a Buffer takes everything
	for _, k := range e.kids {
		k.write(b)
	}
	name, _, _ := strings.Cut(e.name, " ") // attributes stand in the start tag only
	b.WriteString("</" + name + ">")
}

func writeXML(w http.ResponseWriter, k *call, status int, root el) {
	var b bytes.Buffer
	b.WriteString(xml.Header)
	root.write(&b)
	w.Header().Set("Content-Type", "text/xml;charset=UTF-8")
	w.Header().Set("x-amzn-RequestId", k.RequestID)
	w.WriteHeader(status)
	_, _ = w.Write(b.Bytes()) // the client may be gone; nothing to do then
}

// query is the Query protocol of STS and IAM.
type query struct{ namespace string }

func (query) decode(k *call) (string, map[string]any, error) { return decodeForm(k.body) }

func (q query) reply(w http.ResponseWriter, k *call, r reply) {
	body, _ := r.body.([]el)
	op := k.Operation
	kids := []el{node("ResponseMetadata", leaf("RequestId", k.RequestID))}
	if body != nil {
		kids = append([]el{node(op+"Result", body...)}, kids...)
	}
	writeXML(w, k, 200, node(fmt.Sprintf("%sResponse xmlns=%q", op, q.namespace), kids...))
}

func (q query) fail(w http.ResponseWriter, k *call, e *apiError) {
	writeXML(w, k, e.status, node(fmt.Sprintf("ErrorResponse xmlns=%q", q.namespace),
		node("Error", leaf("Type", "Sender"), leaf("Code", e.code), leaf("Message", e.message)),
		leaf("RequestId", k.RequestID)))
}

// ec2Query is EC2's dialect of it.
type ec2Query struct{}

func (ec2Query) decode(k *call) (string, map[string]any, error) { return decodeForm(k.body) }

func (ec2Query) reply(w http.ResponseWriter, k *call, r reply) {
	body, _ := r.body.([]el)
	writeXML(w, k, 200, node(fmt.Sprintf("%sResponse xmlns=%q", k.Operation, ec2Namespace),
		append([]el{leaf("requestId", k.RequestID)}, body...)...))
}

func (ec2Query) fail(w http.ResponseWriter, k *call, e *apiError) {
	writeXML(w, k, e.status, node("Response",
		node("Errors", node("Error", leaf("Code", e.code), leaf("Message", e.message))),
		leaf("RequestID", k.RequestID)))
}

// decodeForm reads a form body into a tree: Tags.member.1.Key becomes
// {"Tags": [{"Key": ...}]}. Leaves are strings.
func decodeForm(body []byte) (string, map[string]any, error) {
	form, err := url.ParseQuery(string(body))
	if err != nil {
		return "", nil, fail(400, "MalformedQueryString", "%v", err)
	}
	root := map[string]any{}
	for name, values := range form {
		path := strings.Split(name, ".")
		if len(path) > 12 || len(values) != 1 {
			return "", nil, fail(400, "MalformedQueryString", "parameter %q is nested too deeply or given twice", name)
		}
		at := root
		for _, p := range path[:len(path)-1] {
			next, ok := at[p].(map[string]any)
			if !ok {
				if at[p] != nil {
					return "", nil, fail(400, "MalformedQueryString", "parameter %q is both a value and a structure", name)
				}
				next = map[string]any{}
				at[p] = next
			}
			at = next
		}
		last := path[len(path)-1]
		if at[last] != nil {
			return "", nil, fail(400, "MalformedQueryString", "parameter %q is both a value and a structure", name)
		}
		at[last] = values[0]
	}
	op, _ := root["Action"].(string)
	delete(root, "Action")
	delete(root, "Version")
	params, _ := listify(root).(map[string]any)
	return op, params, nil
}

// listify turns maps whose keys are all numbers into lists in that order, and
// unwraps the "member" level of the Query protocol.
func listify(v any) any {
	m, ok := v.(map[string]any)
	if !ok {
		return v
	}
	if inner, ok := m["member"].(map[string]any); ok && len(m) == 1 {
		return listify(inner)
	}
	type item struct {
		n int
		v any
	}
	var items []item
	for key, kid := range m {
		m[key] = listify(kid)
		if n, err := strconv.Atoi(key); err == nil {
			items = append(items, item{n, m[key]})
		}
	}
	if len(items) == 0 || len(items) != len(m) {
		return m
	}
	slices.SortFunc(items, func(a, b item) int { return a.n - b.n })
	list := make([]any, len(items))
	for i := range items {
		list[i] = items[i].v
	}
	return list
}

// json11 is the JSON 1.1 protocol of KMS, CloudTrail and Organizations.
type json11 struct{}

func (json11) decode(k *call) (string, map[string]any, error) {
	_, op, ok := strings.Cut(k.HTTP.Header.Get("X-Amz-Target"), ".")
	if !ok {
		return "", nil, fail(400, "UnknownOperationException", "X-Amz-Target %q names no operation", k.HTTP.Header.Get("X-Amz-Target"))
	}
	// Java-style targets ("com.amazonaws.cloudtrail.v20131101....Operation") end in the name too.
	op = op[strings.LastIndexByte(op, '.')+1:]
	params := map[string]any{}
	if len(bytes.TrimSpace(k.body)) > 0 {
		if err := json.Unmarshal(k.body, &params); err != nil {
			return "", nil, fail(400, "SerializationException", "%v", err)
		}
	}
	return op, params, nil
}

func (json11) write(w http.ResponseWriter, k *call, status int, v any) {
	b, err := json.Marshal(v)
	if err != nil {
		status, b = 500, []byte(`{"__type":"InternalFailure"}`)
	}
	w.Header().Set("Content-Type", "application/x-amz-json-1.1")
	w.Header().Set("x-amzn-RequestId", k.RequestID)
	w.WriteHeader(status)
	_, _ = w.Write(b)
}

func (j json11) reply(w http.ResponseWriter, k *call, r reply) {
	if r.body == nil {
		r.body = map[string]any{}
	}
	j.write(w, k, 200, r.body)
}

func (j json11) fail(w http.ResponseWriter, k *call, e *apiError) {
	j.write(w, k, e.status, map[string]any{"__type": e.code, "message": e.message})
}

// str returns the string parameter name, "" if it is absent or no string.
func (k *call) str(name string) string { s, _ := k.Params[name].(string); return s }

// integer returns the integer parameter name, or the default if it is absent.
func (k *call) integer(name string, def int) (int, error) {
	switch v := k.Params[name].(type) {
	case nil:
		return def, nil
	case string:
		n, err := strconv.Atoi(v)
		if err != nil {
			return 0, fail(400, "ValidationError", "%s: %q is no integer", name, v)
		}
		return n, nil
	case float64:
		if v == float64(int(v)) {
			return int(v), nil
		}
	}
	return 0, fail(400, "ValidationError", "%s is no integer", name)
}

// list returns the elements of the list parameter name.
func (k *call) list(name string) []any { l, _ := k.Params[name].([]any); return l }

// field returns the string member name of a structure.
func field(v any, name string) string {
	m, _ := v.(map[string]any)
	s, _ := m[name].(string)
	return s
}

// tags reads a list of {Key, Value}.
func tags(list []any) map[string]string {
	if len(list) == 0 {
		return nil
	}
	out := map[string]string{}
	for _, t := range list {
		out[field(t, "Key")] = field(t, "Value")
	}
	return out
}
