package event

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// MaxKubernetesRecord is the size in bytes above which an audit event is refused
// unread. At level RequestResponse it repeats two objects, each up to etcd's limit
// of 1.5 MB.
const MaxKubernetesRecord = 4 << 20

// LogName of the two forms in which a Kubernetes API server's records are kept.
const (
	Kubernetes = "kubernetes" // audit.k8s.io/v1, in a file, from a webhook, in EKS's log group
	GKE        = "gke"        // Cloud Audit Logs' LogEntry of service k8s.io
)

// The stages of a request (audit.k8s.io/v1). The record of a request is the one that
// says what came of it: those of ResponseComplete, or of Panic. A request leaves
// others before it, under the same audit id, which know no outcome.
const (
	StageResponseComplete = "ResponseComplete"
	StagePanic            = "Panic"
	stageResponseStarted  = "ResponseStarted"
)

// KubernetesOutcome reports whether an event that ReadKubernetes read tells what came
// of its request.
func KubernetesOutcome(e Event) bool {
	return e.Metadata.EventCode == StageResponseComplete || e.Metadata.EventCode == StagePanic
}

// ReadKubernetes reads one audit event of a Kubernetes API server, a JSON object of
// kind Event and apiVersion audit.k8s.io/v1, as it stands on a line of the server's
// audit log, among the items of an EventList (which leave kind and version to the
// list), or in a message of EKS's log group (whose users carry their AWS identity as
// extra).
//
// The event's Cloud is empty but for its provider: no record says which cluster it is
// of. Whoever knows where it stood fills that in.
//
// It is total, as ReadCloudTrail is: any bytes give an event or an error, never a
// panic. Unknown fields are ignored; a field of the wrong type is left unstated and
// named in Metadata.Unreadable. So is a body (requestObject, responseObject) in which a
// name stands twice: a patch is recorded as its sender wrote it, who may be anybody, and
// the server does not mind. It is an error if raw is larger than MaxKubernetesRecord, is
// not one JSON object, holds a name twice in one object but in those bodies, or two that
// differ only in case in the envelope, the users, the object reference or the status; is
// of another kind or version; or lacks auditID, stage, level or verb.
//
// A record of an outcome that states no code has the error "unstated": that it
// succeeded is not known.
//
// Source of the fields: k8s.io/apiserver v0.37.2, pkg/apis/audit/v1.
func ReadKubernetes(raw []byte) (Event, error) {
	record, unreadable, err := readObject("kubernetes audit event", raw, MaxKubernetesRecord, "requestObject", "responseObject")
	if err != nil {
		return Event{}, err
	}
	user, impersonated := record.object("user"), record.object("impersonatedUser")
	extra := user.object("extra")
	ref, status := record.object("objectRef"), record.object("responseStatus")
	notes := record.object("annotations")
	for _, o := range []object{record, user, impersonated, ref, status} {
		if a, b, found := o.twins(); found {
			return Event{}, fmt.Errorf("kubernetes audit event: names %q and %q differ only in case", o.path(a), o.path(b))
		}
	}
	kind, version := record.text("kind"), record.text("apiVersion")
	if (kind != "Event" || version != "audit.k8s.io/v1") && (kind != "" || version != "") {
		return Event{}, fmt.Errorf("kubernetes audit event: kind %.40q of apiVersion %.40q: only Event of audit.k8s.io/v1 is known", kind, version)
	}
	for _, name := range []string{"auditID", "stage", "level", "verb"} {
		if record.text(name) == "" {
			return Event{}, fmt.Errorf("kubernetes audit event: no %s", name)
		}
	}

	e := Event{
		Time: record.time("stageTimestamp"),
		Metadata: Metadata{
			UID:        record.text("auditID") + "/" + record.text("stage"),
			LogName:    Kubernetes,
			LogVersion: record.text("apiVersion"),
			EventCode:  record.text("stage"),
			Category:   record.text("level"),
			Truncated:  notes.text("audit.k8s.io/truncated") == "true",
		},
		Cloud: Cloud{Provider: "Kubernetes"},
		Actor: Actor{
			UID:           user.text("username"),
			UIDAlt:        user.text("uid"),
			CredentialUID: firstOf(extra.texts("authentication.kubernetes.io/credential-id"), extra.texts("accessKeyId")),
			Groups:        user.texts("groups"),
			Session: Session{
				Issuer: firstOf(extra.texts("canonicalArn")),
				Name:   impersonated.text("username"),
			},
		},
		API: API{
			RequestUID:   record.text("auditID"),
			Response:     statusParams(status, record.members["responseObject"]),
			Error:        statusError(status),
			ErrorMessage: status.text("message"),
		},
		Authorization: Authorization{
			Decision: notes.text("authorization.k8s.io/decision"),
			Reason:   notes.text("authorization.k8s.io/reason"),
		},
		HTTPRequest: HTTPRequest{UserAgent: record.text("userAgent")},
	}
	if e.Actor.Session.Name == "" {
		e.Actor.Session.Name = firstOf(extra.texts("sessionName"))
	}
	e.Actor.Type, e.Actor.Name = kubernetesUser(e.Actor.UID)
	if !KubernetesOutcome(e) {
		e.API.Error = "" // nothing has come of it yet
	} else if e.API.Error == "" {
		e.API.ErrorMessage = "" // what is said of a success ("Connection closed early") is in the response
	}
	setKubernetesAPI(&e, record.text("verb"), record.text("requestURI"), objectRef{
		group: ref.text("apiGroup"), version: ref.text("apiVersion"), resource: ref.text("resource"),
		subresource: ref.text("subresource"), namespace: ref.text("namespace"), name: ref.text("name"),
	}, record.members["requestObject"])
	if ips := record.texts("sourceIPs"); len(ips) > 0 {
		setSource(&e, ips[len(ips)-1])
	}
	e.Metadata.Unreadable = sorted(*unreadable)
	return e, nil
}

// KubernetesEvents splits what an audit webhook is sent, an EventList, into the JSON
// of its events, byte for byte; anything else is returned as it is, alone. What is wrong
// within one event is that event's: the others are split off all the same.
func KubernetesEvents(raw []byte) ([][]byte, error) {
	if len(raw) > 16*MaxKubernetesRecord {
		return nil, fmt.Errorf("kubernetes audit events: %d bytes, more than the %d allowed", len(raw), 16*MaxKubernetesRecord)
	}
	list, err := splitObject(raw)
	if err != nil || string(list["kind"]) != `"EventList"` {
		return [][]byte{raw}, nil // what is wrong with it, its reader says
	}
	items := list["items"]
	if items.Kind() != '[' {
		return [][]byte{raw}, nil
	}
	events, err := split(items)
	if err != nil {
		return [][]byte{raw}, nil
	}
	return events, nil
}

// ReadGKE reads one LogEntry of Cloud Logging that holds a record of a GKE cluster's
// API server: protoPayload an AuditLog of service k8s.io. What it states is laid out as
// ReadKubernetes does it; the cluster is the event's account, its location the region.
// It is as strict and as total as ReadKubernetes, with the bodies request and response.
//
// The request id is the entry's operation.id, which is the server's audit id.
//
// Source of the fields: google.logging.v2.LogEntry, google.cloud.audit.AuditLog;
// testdata/panther-gke.
func ReadGKE(raw []byte) (Event, error) {
	entry, unreadable, err := readObject("gke audit entry", raw, MaxKubernetesRecord, "protoPayload.request", "protoPayload.response")
	if err != nil {
		return Event{}, err
	}
	payload := entry.object("protoPayload")
	who, from := payload.object("authenticationInfo"), payload.object("requestMetadata")
	status, operation := payload.object("status"), entry.object("operation")
	labels, cluster := entry.object("labels"), entry.object("resource").object("labels")
	for _, o := range []object{entry, payload, who, from, status, operation, cluster} {
		if a, b, found := o.twins(); found {
			return Event{}, fmt.Errorf("gke audit entry: names %q and %q differ only in case", o.path(a), o.path(b))
		}
	}
	method := payload.text("methodName")
	if service := payload.text("serviceName"); service != "k8s.io" && (service != "" || !strings.HasPrefix(method, "io.k8s.")) {
		return Event{}, fmt.Errorf("gke audit entry: serviceName %.40q: only k8s.io is known", service)
	}
	if method == "" {
		return Event{}, errors.New("gke audit entry: no protoPayload.methodName")
	}
	e := Event{
		Time: entry.time("timestamp"),
		Metadata: Metadata{
			UID: entry.text("insertId"), LogName: GKE, EventCode: StageResponseComplete,
			Category: strings.TrimPrefix(afterLast(entry.text("logName"), "/"), "cloudaudit.googleapis.com%2F"),
		},
		Cloud: Cloud{Provider: "Kubernetes", Account: cluster.text("cluster_name"), Region: cluster.text("location")},
		Actor: Actor{UID: who.text("principalEmail"), UIDAlt: who.text("principalSubject")},
		API: API{
			RequestUID: operation.text("id"),
			Response:   payload.object("response").members,
		},
		Authorization: Authorization{
			Decision: labels.text("authorization.k8s.io/decision"),
			Reason:   labels.text("authorization.k8s.io/reason"),
		},
		HTTPRequest: HTTPRequest{UserAgent: from.text("callerSuppliedUserAgent")},
	}
	e.Actor.Type, e.Actor.Name = kubernetesUser(e.Actor.UID)
	if first := operation.boolean("first"); first != nil && *first {
		if last := operation.boolean("last"); last == nil || !*last {
			e.Metadata.EventCode = stageResponseStarted // another entry will say what came of it
		}
	}
	e.API.Error, e.API.ErrorMessage = gkeError(status, payload.object("response"))
	for _, a := range payload.objects("authorizationInfo") {
		if granted := a.boolean("granted"); granted != nil && e.Authorization.Decision == "" {
			e.Authorization.Decision = map[bool]string{true: "allow", false: "forbid"}[*granted]
		}
	}
	if e.Authorization.Decision == "forbid" && e.API.Error == "" {
		e.API.Error = "Forbidden"
	}
	setKubernetesAPI(&e, afterLast(method, "."), "", parseResourceName(payload.text("resourceName")), payload.members["request"])
	ip := from.text("callerIp")
	if ip == "" {
		ip = from.text("callerIP")
	}
	if ip != "" {
		setSource(&e, ip)
	}
	e.Metadata.Unreadable = sorted(*unreadable)
	return e, nil
}

// readObject reads a JSON object strictly. bodies are the paths ("a.b") of what others
// than the writer of the record have written into it: one that is not as strict is left
// out, and named as unreadable.
func readObject(what string, raw []byte, most int, bodies ...string) (object, *[]string, error) {
	if len(raw) > most {
		return object{}, nil, fmt.Errorf("%s: %d bytes, more than the %d allowed", what, len(raw), most)
	}
	var unreadable []string
	members, err := readMembers(raw, "", bodies, &unreadable)
	if err != nil {
		return object{}, nil, fmt.Errorf("%s: %w", what, err)
	}
	return object{members: members, unreadable: &unreadable}, &unreadable, nil
}

func readMembers(raw []byte, above string, bodies []string, unreadable *[]string) (map[string]any, error) {
	split, err := splitObject(raw)
	if err != nil {
		return nil, err
	}
	members := map[string]any{}
	for name, text := range split {
		path := above + name
		if text.Kind() == '{' && slices.ContainsFunc(bodies, func(b string) bool { return strings.HasPrefix(b, path+".") }) {
			if members[name], err = readMembers(text, path+".", bodies, unreadable); err != nil {
				return nil, fmt.Errorf("%s: %w", path, err)
			}
			continue
		}
		var v any
		switch err := json.Unmarshal(text, &v, jsontext.AllowInvalidUTF8(true)); {
		case err == nil:
			members[name] = v
		case slices.Contains(bodies, path):
			*unreadable = append(*unreadable, path)
		default:
			return nil, fmt.Errorf("%.100s: %w", path, err)
		}
	}
	return members, nil
}

// splitObject splits a JSON object into its members, of which no name stands twice. What
// they hold is not looked at: whoever reads it says what is wrong with it.
func splitObject(raw []byte) (map[string]jsontext.Value, error) {
	raw = trimJSON(raw)
	if len(raw) > 0 && raw[0] != '{' {
		return nil, fmt.Errorf("%s instead of a JSON object", jsontext.Value(raw).Kind())
	}
	parts, err := split(raw)
	if err != nil {
		return nil, err
	}
	members := map[string]jsontext.Value{}
	for _, part := range parts {
		end := stringEnd(part, 0)
		value, stated := bytes.CutPrefix(trimJSON(part[end:]), []byte(":"))
		if value = trimJSON(value); !stated || len(value) == 0 {
			return nil, fmt.Errorf("%.40q is no name with a value", part)
		}
		var name string
		if err := json.Unmarshal(part[:end], &name, jsontext.AllowInvalidUTF8(true)); err != nil {
			return nil, err
		}
		if _, twice := members[name]; twice {
			return nil, fmt.Errorf("duplicate name %.100q", name)
		}
		members[name] = value
	}
	return members, nil
}

// split splits a JSON object, or list, at its commas. It looks at brackets and strings
// alone, so that nothing in one part, nor how deep it is, keeps it from the others.
func split(raw []byte) ([][]byte, error) {
	var parts [][]byte
	depth, start := 0, 1
	for i := 0; i < len(raw); i++ {
		switch raw[i] {
		case '"':
			i = stringEnd(raw, i) - 1
		case '{', '[':
			depth++
		case ',':
			if depth == 1 {
				parts, start = append(parts, trimJSON(raw[start:i])), i+1
			}
		case '}', ']':
			if depth--; depth > 0 {
				continue
			}
			if depth < 0 || raw[i] != raw[0]+2 { // as } is after { and ] after [
				return nil, fmt.Errorf("%q closes what it did not open", raw[i])
			}
			if i+1 < len(raw) {
				return nil, errors.New("something stands after top-level value")
			}
			if last := trimJSON(raw[start:i]); len(last) > 0 || len(parts) > 0 {
				parts = append(parts, last)
			}
			return parts, nil
		}
	}
	return nil, io.ErrUnexpectedEOF
}

// stringEnd is where the string ends that begins at i; the end of all, if it does not.
func stringEnd(raw []byte, i int) int {
	for i++; i < len(raw); i++ {
		switch raw[i] {
		case '\\':
			i++
		case '"':
			return i + 1
		}
	}
	return len(raw)
}

func trimJSON(raw []byte) []byte { return bytes.Trim(raw, " \t\r\n") }

// objectRef is what a request is about.
type objectRef struct{ group, version, resource, subresource, namespace, name string }

// path is the object's name below /apis, with "core" for the group without a name.
func (r objectRef) path() string {
	parts := []string{r.groupName()}
	if r.version != "" {
		parts = append(parts, r.version)
	}
	if r.namespace != "" && r.resource != "namespaces" {
		parts = append(parts, "namespaces", r.namespace)
	}
	parts = append(parts, r.resource)
	for _, p := range []string{r.name, r.subresource} {
		if p != "" {
			parts = append(parts, p)
		}
	}
	return strings.Join(parts, "/")
}

func (r objectRef) groupName() string {
	if r.group == "" {
		return "core"
	}
	return r.group
}

func (r objectRef) kind() string {
	if r.subresource == "" {
		return r.resource
	}
	return r.resource + "/" + r.subresource
}

// parseResourceName reads GKE's "rbac.authorization.k8s.io/v1/namespaces/ns/roles/name".
func parseResourceName(s string) objectRef {
	var r objectRef
	parts := strings.Split(s, "/")
	if len(parts) < 3 {
		return r // a path such as "/readyz"
	}
	if r.group, r.version = parts[0], parts[1]; r.group == "core" {
		r.group = ""
	}
	parts = parts[2:]
	if parts[0] == "namespaces" && len(parts) > 2 {
		r.namespace, parts = parts[1], parts[2:]
	}
	r.resource = parts[0]
	if len(parts) > 1 {
		r.name = parts[1]
	}
	r.subresource = strings.Join(parts[min(2, len(parts)):], "/")
	return r
}

// setKubernetesAPI fills in what was asked.
func setKubernetesAPI(e *Event, verb, uri string, ref objectRef, body any) {
	request := map[string]any{}
	for name, v := range map[string]string{
		"apiGroup": ref.group, "apiVersion": ref.version, "resource": ref.resource, "subresource": ref.subresource,
		"namespace": ref.namespace, "name": ref.name, "requestURI": uri,
	} {
		if v != "" {
			request[name] = v
		}
	}
	if body != nil {
		request["body"] = body
	}
	if len(request) > 0 {
		e.API.Request = request
	}
	if ref.resource == "" {
		path, _, _ := strings.Cut(uri, "?")
		e.API.Service, e.API.Operation = "non-resource", strings.TrimSpace(verb+" "+path)
		return
	}
	e.API.Service, e.API.Operation = ref.groupName(), verb+" "+ref.kind()
	e.Resources = []Resource{{UID: ref.path(), Type: ref.kind()}}
}

// kubernetesUser tells the kinds of users apart by their names, which only the API
// server gives (a user cannot call himself system:...).
func kubernetesUser(name string) (kind, short string) {
	switch {
	case name == "":
		return "", ""
	case name == "system:anonymous", name == "system:unauthenticated":
		return "Anonymous", ""
	case strings.HasPrefix(name, "system:serviceaccount:"):
		return "ServiceAccount", afterLast(name, ":")
	case strings.HasPrefix(name, "system:node:"):
		return "Node", strings.TrimPrefix(name, "system:node:")
	case strings.HasPrefix(name, "system:"):
		return "System", ""
	}
	return "User", ""
}

// statusError is the reason of a failure, "" of a success.
func statusError(status object) string {
	code, stated := status.number("code")
	reason := status.text("reason")
	switch {
	case reason != "":
		return reason
	case !stated:
		return "unstated"
	case code < 400 && status.text("status") != "Failure":
		return ""
	}
	return httpReason(code)
}

// httpReason is the reason that a code stands for, where it stands for one only.
func httpReason(code int) string {
	switch code {
	case 401:
		return "Unauthorized"
	case 403:
		return "Forbidden"
	case 404:
		return "NotFound"
	}
	return "HTTP " + strconv.Itoa(code)
}

func statusParams(status object, body any) map[string]any {
	out := map[string]any{}
	for _, name := range []string{"code", "status", "reason", "message", "details"} {
		if v := status.members[name]; v != nil {
			out[name] = v
		}
	}
	if body != nil {
		out["body"] = body
	}
	if len(out) == 0 {
		return nil
	}
	return out
}

// gkeError is the reason that the server answered, if the entry repeats the answer, or
// else what the entry's google.rpc code stands for.
func gkeError(status, response object) (reason, message string) {
	if r, _ := response.members["reason"].(string); r != "" && response.members["kind"] == "Status" {
		m, _ := response.members["message"].(string)
		return r, m
	}
	code, _ := status.number("code")
	switch message = status.text("message"); code {
	case 0:
		return "", ""
	case 5:
		return "NotFound", message
	case 6:
		return "AlreadyExists", message
	case 7:
		return "Forbidden", message
	case 16:
		return "Unauthorized", message
	}
	return "rpc code " + strconv.Itoa(code), message
}

// setSource reads where a request came from.
func setSource(e *Event, from string) {
	if addr, err := netip.ParseAddr(from); err == nil && addr.Zone() == "" {
		e.SrcEndpoint.IP = from
	} else {
		e.SrcEndpoint.Domain = from
	}
}

// texts reads a list of texts.
func (o object) texts(name string) []string {
	list, ok := o.members[name].([]any)
	if !ok {
		if o.members[name] != nil {
			o.wrong(name)
		}
		return nil
	}
	var out []string
	for i, v := range list {
		s, ok := v.(string)
		if !ok {
			o.wrong(fmt.Sprintf("%s[%d]", name, i))
			continue
		}
		out = append(out, s)
	}
	return out
}

// number reads a whole number.
func (o object) number(name string) (int, bool) {
	switch v := o.members[name].(type) {
	case nil:
		return 0, false
	case float64:
		if n := int(v); float64(n) == v {
			return n, true
		}
	}
	o.wrong(name)
	return 0, false
}

func firstOf(lists ...[]string) string {
	for _, l := range lists {
		if len(l) > 0 {
			return l[0]
		}
	}
	return ""
}

func afterLast(s, sep string) string { return s[strings.LastIndex(s, sep)+1:] }

func sorted(names []string) []string {
	slices.Sort(names)
	return slices.Compact(names)
}
