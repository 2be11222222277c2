package event

import (
	"encoding/json"
	"os"
	"reflect"
	"strings"
	"testing"
	"time"
)

// auditEvent is an audit event in the documented shape, with some members set otherwise.
func auditEvent(edit func(map[string]any)) []byte {
	m := map[string]any{
		"kind": "Event", "apiVersion": "audit.k8s.io/v1", "level": "Metadata",
		"auditID": "8c8a6b3e-6b5c-4d8e-9a38-0a4b8d6a2b11", "stage": "ResponseComplete",
		"requestURI": "/apis/rbac.authorization.k8s.io/v1/clusterroles?fieldManager=auditcanary", "verb": "create",
		"user": map[string]any{
			"username": "system:serviceaccount:auditcanary:injector", "uid": "u-1",
			"groups": []any{"system:serviceaccounts", "system:authenticated"},
			"extra":  map[string]any{"authentication.kubernetes.io/credential-id": []any{"JTI=7"}},
		},
		"sourceIPs": []any{"203.0.113.9", "10.0.0.7"}, "userAgent": "auditcanary/1 app/auditcanary",
		"objectRef":                map[string]any{"resource": "clusterroles", "name": "auditcanary-1", "apiGroup": "rbac.authorization.k8s.io", "apiVersion": "v1"},
		"responseStatus":           map[string]any{"metadata": map[string]any{}, "code": 201},
		"requestReceivedTimestamp": "2026-11-26T17:00:00.100000Z", "stageTimestamp": "2026-11-26T17:00:00.123456Z",
		"annotations": map[string]any{"authorization.k8s.io/decision": "allow", "authorization.k8s.io/reason": `RBAC: allowed by ClusterRoleBinding "x"`},
	}
	if edit != nil {
		edit(m)
	}
	raw, err := json.Marshal(m)
	if err != nil {
		panic(err)
	}
	return raw
}

func TestAnAuditEventIsReadWhole(t *testing.T) {
	got, err := ReadKubernetes(auditEvent(nil))
	if err != nil {
		t.Fatal(err)
	}
	want := Event{
		Time:     time.Date(2026, 11, 26, 17, 0, 0, 123456000, time.UTC),
		Metadata: Metadata{UID: "8c8a6b3e-6b5c-4d8e-9a38-0a4b8d6a2b11/ResponseComplete", LogName: "kubernetes", LogVersion: "audit.k8s.io/v1", EventCode: "ResponseComplete", Category: "Metadata"},
		Cloud:    Cloud{Provider: "Kubernetes"},
		Actor: Actor{
			Type: "ServiceAccount", UID: "system:serviceaccount:auditcanary:injector", UIDAlt: "u-1", Name: "injector",
			CredentialUID: "JTI=7", Groups: []string{"system:serviceaccounts", "system:authenticated"},
		},
		API: API{
			Service: "rbac.authorization.k8s.io", Operation: "create clusterroles", RequestUID: "8c8a6b3e-6b5c-4d8e-9a38-0a4b8d6a2b11",
			Request: map[string]any{
				"apiGroup": "rbac.authorization.k8s.io", "apiVersion": "v1", "resource": "clusterroles", "name": "auditcanary-1",
				"requestURI": "/apis/rbac.authorization.k8s.io/v1/clusterroles?fieldManager=auditcanary",
			},
			Response: map[string]any{"code": 201.0},
		},
		Authorization: Authorization{Decision: "allow", Reason: `RBAC: allowed by ClusterRoleBinding "x"`},
		SrcEndpoint:   Endpoint{IP: "10.0.0.7"},
		HTTPRequest:   HTTPRequest{UserAgent: "auditcanary/1 app/auditcanary"},
		Resources:     []Resource{{UID: "rbac.authorization.k8s.io/v1/clusterroles/auditcanary-1", Type: "clusterroles"}},
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
}

func TestWhatAuditEventsSay(t *testing.T) {
	set := func(name string, v any) func(map[string]any) { return func(m map[string]any) { m[name] = v } }
	status := func(v map[string]any) func(map[string]any) { return set("responseStatus", v) }
	for _, c := range []struct {
		claim string
		edit  func(map[string]any)
		of    func(Event) any
		want  any
	}{
		{"a refusal", status(map[string]any{"status": "Failure", "reason": "Forbidden", "code": 403, "message": "no"}), func(e Event) any { return e.API.Error + ": " + e.API.ErrorMessage }, "Forbidden: no"},
		{"a refusal without a reason", status(map[string]any{"code": 403}), func(e Event) any { return e.API.Error }, "Forbidden"},
		{"a failure that a code alone tells of", status(map[string]any{"code": 500}), func(e Event) any { return e.API.Error }, "HTTP 500"},
		{"no status is no success", set("responseStatus", nil), func(e Event) any { return e.API.Error }, "unstated"},
		{"a status without a code is no success", status(map[string]any{}), func(e Event) any { return e.API.Error }, "unstated"},
		{"a code that is no number is no success", status(map[string]any{"code": "201"}), func(e Event) any { return e.API.Error + " " + strings.Join(e.Metadata.Unreadable, ",") }, "unstated responseStatus.code"},
		{"a failure under a code of success", status(map[string]any{"code": 200, "status": "Failure"}), func(e Event) any { return e.API.Error }, "HTTP 200"},
		{"a panic is an outcome", func(m map[string]any) {
			m["stage"], m["responseStatus"] = "Panic", map[string]any{"code": 500, "reason": "InternalError", "status": "Failure"}
		}, func(e Event) any { return []any{KubernetesOutcome(e), e.API.Error} }, []any{true, "InternalError"}},
		{"a request that was received has no outcome", func(m map[string]any) { m["stage"] = "RequestReceived"; delete(m, "responseStatus") }, func(e Event) any { return []any{KubernetesOutcome(e), e.API.Error, e.Metadata.UID[37:]} }, []any{false, "", "RequestReceived"}},
		{"who was impersonated", set("impersonatedUser", map[string]any{"username": "auditcanary-1"}), func(e Event) any { return e.Actor.UID + " as " + e.Actor.Session.Name }, "system:serviceaccount:auditcanary:injector as auditcanary-1"},
		{"a token that is asked for", func(m map[string]any) {
			m["objectRef"] = map[string]any{"resource": "serviceaccounts", "subresource": "token", "namespace": "ns", "name": "auditcanary-1", "apiVersion": "v1"}
		}, func(e Event) any { return e.API.Service + " " + e.API.Operation + " " + e.Resources[0].UID }, "core create serviceaccounts/token core/v1/namespaces/ns/serviceaccounts/auditcanary-1/token"},
		{"a path of no resource", func(m map[string]any) {
			delete(m, "objectRef")
			m["requestURI"], m["verb"] = "/metrics?x=1", "get"
		}, func(e Event) any { return e.API.Service + " " + e.API.Operation }, "non-resource get /metrics"},
		{"the last address is the connection's", set("sourceIPs", []any{"1.1.1.1", "2001:db8::1"}), func(e Event) any { return e.SrcEndpoint.IP }, "2001:db8::1"},
		{"an address that is none", set("sourceIPs", []any{"proxy"}), func(e Event) any { return e.SrcEndpoint }, Endpoint{Domain: "proxy"}},
		{"a source of another type", set("sourceIPs", "10.0.0.7"), func(e Event) any { return e.Metadata.Unreadable }, []string{"sourceIPs"}},
		{"bodies", func(m map[string]any) {
			m["level"], m["requestObject"], m["responseObject"] = "RequestResponse", map[string]any{"rules": nil}, map[string]any{"kind": "ClusterRole"}
		}, func(e Event) any { return []any{e.API.Request["body"], e.API.Response["body"]} }, []any{map[string]any{"rules": nil}, map[string]any{"kind": "ClusterRole"}}},
		{"that it was cut", set("annotations", map[string]any{"audit.k8s.io/truncated": "true"}), func(e Event) any { return e.Metadata.Truncated }, true},
		{"an item of a list", func(m map[string]any) { delete(m, "kind"); delete(m, "apiVersion") }, func(e Event) any { return e.API.Operation }, "create clusterroles"},
		{"an AWS identity of EKS", func(m map[string]any) {
			m["user"] = map[string]any{"username": "kubernetes-admin", "extra": map[string]any{"accessKeyId": []any{"ASIA1"}, "canonicalArn": []any{"arn:aws:iam::1:role/R"}, "sessionName": []any{"auditcanary-1"}}}
		}, func(e Event) any {
			return strings.Join([]string{e.Actor.Type, e.Actor.CredentialUID, e.Actor.Session.Issuer, e.Actor.Session.Name}, " ")
		}, "User ASIA1 arn:aws:iam::1:role/R auditcanary-1"},
		{"fields nobody knows", set("new", map[string]any{"a": 1}), func(e Event) any { return len(e.Metadata.Unreadable) }, 0},
	} {
		e, err := ReadKubernetes(auditEvent(c.edit))
		if err != nil {
			t.Errorf("%s: %v", c.claim, err)
		} else if got := c.of(e); !reflect.DeepEqual(got, c.want) {
			t.Errorf("%s: %v, want %v", c.claim, got, c.want)
		}
	}
}

func TestHostileAuditEventsAreRefused(t *testing.T) {
	whole := string(auditEvent(nil))
	for _, c := range []struct{ name, raw, want string }{
		{"empty", "", "unexpected EOF"},
		{"cut", whole[:len(whole)/2], "unexpected EOF"},
		{"two on a line", whole + whole, "after top-level value"},
		{"null", "null", "null instead of a JSON object"},
		{"two users", strings.Replace(whole, `"user":`, `"user":{"username":"root"},"user":`, 1), "duplicate"},
		{"two users that differ in case", strings.Replace(whole, `"user":`, `"User":{"username":"root"},"user":`, 1), `names "User" and "user" differ only in case`},
		{"two names of a user", strings.Replace(whole, `"username":`, `"UserName":"root","username":`, 1), `"user.UserName" and "user.username" differ`},
		{"two codes", strings.Replace(whole, `"code":201`, `"code":201,"Code":403`, 1), "differ only in case"},
		{"another kind", strings.Replace(whole, `"kind":"Event"`, `"kind":"Pod"`, 1), `kind "Pod" of apiVersion`},
		{"another version", strings.Replace(whole, `audit.k8s.io/v1`, `audit.k8s.io/v2`, 1), `only Event of audit.k8s.io/v1`},
		{"no audit id", strings.Replace(whole, `"auditID"`, `"auditId"`, 1), "no auditID"},
		{"no stage", strings.Replace(whole, `"stage"`, `"phase"`, 1), "no stage"},
		{"a stage of another type", strings.Replace(whole, `"stage":"ResponseComplete"`, `"stage":7`, 1), "no stage"},
		{"CloudTrail", `{"eventName":"A","eventVersion":"1.11"}`, "no auditID"},
		{"too large", `{"auditID":"` + strings.Repeat("x", MaxKubernetesRecord) + `"}`, "more than the 4194304 allowed"},
		{"too deep", strings.Repeat(`{"a":`, 20000) + `1` + strings.Repeat(`}`, 20000), "depth"},
	} {
		e, err := ReadKubernetes([]byte(c.raw))
		if err == nil || !strings.Contains(err.Error(), c.want) || !strings.HasPrefix(err.Error(), "kubernetes audit event: ") {
			t.Errorf("%s: error %v, want one with %q", c.name, err, c.want)
		}
		if !reflect.DeepEqual(e, Event{}) {
			t.Errorf("%s: an event beside the error", c.name)
		}
	}
}

func TestAnEventListIsSplitByteForByte(t *testing.T) {
	a, b := string(auditEvent(nil)), " "+string(auditEvent(func(m map[string]any) { delete(m, "kind"); delete(m, "apiVersion") }))
	got, err := KubernetesEvents([]byte(`{"kind":"EventList","apiVersion":"audit.k8s.io/v1","metadata":{},"items":[` + a + "," + b + `]}`))
	if err != nil || len(got) != 2 || string(got[0]) != a || string(got[1]) != b[1:] {
		t.Errorf("got %q, %v", got, err)
	}
	for _, raw := range [][]byte{[]byte(a), []byte("{"), []byte(`{"items":[1]}`)} {
		if got, err := KubernetesEvents(raw); err != nil || len(got) != 1 || string(got[0]) != string(raw) {
			t.Errorf("%.20s: %q, %v", raw, got, err)
		}
	}
}

// evil is a body as a hostile client can have it recorded: the server keeps a patch as
// it was sent.
const evil = `{"metadata":{"name":"x","name":"y"}}`

func withBody(name, body string) string {
	return strings.Replace(string(auditEvent(nil)), `"verb":`, `"`+name+`":`+body+`,"verb":`, 1)
}

func TestAHostileBodyHidesNoOtherEvent(t *testing.T) {
	b := string(auditEvent(nil))
	for claim, body := range map[string]string{
		"a name twice":        evil,
		"as deep as is sent":  strings.Repeat("[", 10000) + strings.Repeat("]", 10000),
		"deeper":              strings.Repeat("[", 20000) + strings.Repeat("]", 20000),
		"brackets in strings": `{"a":"}],\"{[","b\\":"\\"}`,
	} {
		a := withBody("requestObject", body)
		got, err := KubernetesEvents([]byte(`{"kind":"EventList","apiVersion":"audit.k8s.io/v1","metadata":{},"items":[` + a + "," + b + `]}`))
		if err != nil || len(got) != 2 || string(got[0]) != a || string(got[1]) != b {
			t.Errorf("%s: %d events, %v", claim, len(got), err)
			continue
		}
		for i, raw := range got {
			if e, err := ReadKubernetes(raw); err != nil || i == 1 && len(e.Metadata.Unreadable) > 0 {
				t.Errorf("%s: %+v, %v", claim, e, err)
			}
		}
	}
	for _, list := range []string{`{"kind":"EventList","items":[` + b + `],"items":[]}`, `{"kind":"EventList","kind":"Event","items":[` + b + `]}`} {
		if got, err := KubernetesEvents([]byte(list)); err != nil || len(got) != 1 || string(got[0]) != list {
			t.Errorf("a list whose own names stand twice is split: %q, %v", got, err)
		}
	}
}

func TestAHostileBodyIsLeftUnstated(t *testing.T) {
	gke := func(name, body string) string {
		return `{"insertId":"i","operation":{"id":"8c8a6b3e-6b5c-4d8e-9a38-0a4b8d6a2b11","first":true,"last":true},"protoPayload":{"serviceName":"k8s.io","methodName":"io.k8s.core.v1.pods.patch","` + name + `":` + body + `}}`
	}
	for _, tc := range []struct {
		raw, unreadable string
	}{
		{withBody("requestObject", evil), "requestObject"},
		{withBody("responseObject", evil), "responseObject"},
		{withBody("requestObject", `{"n":1e999}`), "requestObject"},
		{withBody("requestObject", `{"metadata":{"name":"x","Name":"y"}}`), ""}, // two names
		{gke("request", evil), "protoPayload.request"},
		{gke("response", evil), "protoPayload.response"},
		{gke("request", `{"metadata":{"name":"x"}}`), ""},
	} {
		e, err := Read([]byte(tc.raw))
		if err != nil {
			t.Errorf("%s: %v", tc.raw, err)
			continue
		}
		_, request := e.API.Request["body"]
		_, response := e.API.Response["body"]
		if got := strings.Join(e.Metadata.Unreadable, ","); got != tc.unreadable || (request || response) != (tc.unreadable == "") || e.API.RequestUID != "8c8a6b3e-6b5c-4d8e-9a38-0a4b8d6a2b11" {
			t.Errorf("%s: unreadable %q, %+v", tc.raw, got, e.API)
		}
	}
	for _, raw := range []string{gke("authenticationInfo", `{"principalEmail":"a","principalEmail":"b"}`), gke("methodName", `"x"`)} {
		if e, err := ReadGKE([]byte(raw)); err == nil || !strings.Contains(err.Error(), "duplicate") {
			t.Errorf("%s: %+v, %v", raw, e, err)
		}
	}
}

func TestAGKEEntryThatOnlyBeginsHasNoOutcome(t *testing.T) {
	for operation, want := range map[string]bool{
		`{"id":"a","first":true}`:              false,
		`{"id":"a","first":true,"last":false}`: false,
		`{"id":"a","first":true,"last":true}`:  true,
		`{"id":"a","last":true}`:               true,
		`{"id":"a"}`:                           true,
	} {
		e, err := ReadGKE([]byte(`{"insertId":"i","operation":` + operation + `,"protoPayload":{"serviceName":"k8s.io","methodName":"io.k8s.core.v1.pods.exec.create"}}`))
		if err != nil || KubernetesOutcome(e) != want {
			t.Errorf("%s: outcome %v, want %v (%v)", operation, !want, want, err)
		}
	}
}

func TestRecordsOfEKSAndGKE(t *testing.T) {
	eks := readEach(t, "testdata/panther-kubernetes/EKS.ndjson", ReadKubernetes)
	if len(eks) != 3 || eks[0].Actor.Session.Name != "1669660343296132000" || eks[0].Metadata.EventCode != "ResponseStarted" || eks[1].API.Error != "Forbidden" {
		t.Errorf("EKS: %d events, %+v", len(eks), eks)
	}
	gke := readEach(t, "testdata/panther-kubernetes/GKE.ndjson", ReadGKE)
	if len(gke) != 13 {
		t.Fatalf("GKE: %d events", len(gke))
	}
	for i, want := range map[int]string{
		0: "core create pods by some.user@company.com from 1.2.3.4:  allow",
		4: "core create services by some.user@company.com from 1.2.3.4: AlreadyExists allow",
		5: "core create services by some.user@company.com from 1.2.3.4: Forbidden forbid",
		8: "core get secrets by user@company.com from 8.8.8.8: Forbidden forbid",
	} {
		e := gke[i]
		got := e.API.Service + " " + e.API.Operation + " by " + e.Actor.UID + " from " + e.SrcEndpoint.IP + ": " + e.API.Error + " " + e.Authorization.Decision
		if got != want {
			t.Errorf("GKE, line %d: %s, want %s", i+1, got, want)
		}
	}
	if e := gke[3]; e.Cloud.Account != "some-project-cluster" || e.Cloud.Region != "us-west1" || e.Resources[0].UID != "core/v1/namespaces/default/services/test-ns" || e.Metadata.Category != "activity" {
		t.Errorf("GKE: %+v", e)
	}
}

// In the shape that Google documents for Kubernetes in Cloud Audit Logs.
func TestAGKEEntryNamesTheRequest(t *testing.T) {
	e, err := ReadGKE([]byte(`{"insertId":"i-1","logName":"projects/p/logs/cloudaudit.googleapis.com%2Factivity",
		"labels":{"authorization.k8s.io/decision":"allow","authorization.k8s.io/reason":"RBAC"},
		"operation":{"first":true,"last":true,"id":"8c8a6b3e-6b5c-4d8e-9a38-0a4b8d6a2b11","producer":"k8s.io"},
		"protoPayload":{"@type":"type.googleapis.com/google.cloud.audit.AuditLog","serviceName":"k8s.io",
			"methodName":"io.k8s.authorization.rbac.v1.clusterroles.create","resourceName":"rbac.authorization.k8s.io/v1/clusterroles/auditcanary-1",
			"authenticationInfo":{"principalEmail":"a@p.iam.gserviceaccount.com"},"requestMetadata":{"callerIp":"10.0.0.7","callerSuppliedUserAgent":"app/auditcanary"},"status":{"code":0}},
		"resource":{"type":"k8s_cluster","labels":{"cluster_name":"prod","location":"europe-west1","project_id":"p"}},
		"timestamp":"2026-11-26T17:00:00.123456Z"}`))
	if err != nil {
		t.Fatal(err)
	}
	if e.API.RequestUID != "8c8a6b3e-6b5c-4d8e-9a38-0a4b8d6a2b11" || e.API.Operation != "create clusterroles" || e.API.Service != "rbac.authorization.k8s.io" || e.API.Error != "" ||
		e.Cloud != (Cloud{"Kubernetes", "prod", "europe-west1"}) || e.Authorization.Reason != "RBAC" {
		t.Errorf("%+v", e)
	}
	if _, err := ReadGKE([]byte(`{"protoPayload":{"serviceName":"storage.googleapis.com","methodName":"io.k8s.x"}}`)); err == nil {
		t.Error("a record of another service was read")
	}
}

// readEach reads the "log" member of each line.
func readEach(t *testing.T, file string, read func([]byte) (Event, error)) []Event {
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var out []Event
	for line := range strings.Lines(string(data)) {
		var l struct{ Log json.RawMessage }
		if err := json.Unmarshal([]byte(line), &l); err != nil {
			t.Fatal(err)
		}
		e, err := read(l.Log)
		if err != nil {
			t.Errorf("%s: %v", file, err)
		}
		out = append(out, e)
	}
	return out
}

func TestEachKubernetesDifferenceIsNarrow(t *testing.T) {
	refused := func(m map[string]any) {
		m["responseStatus"] = map[string]any{"code": 403, "reason": "Forbidden", "status": "Failure"}
		m["objectRef"] = map[string]any{"resource": "clusterroles", "apiGroup": "rbac.authorization.k8s.io", "apiVersion": "v1"}
	}
	sent := map[string]any{"name": "auditcanary-1"}
	for _, c := range []struct {
		claim string
		edit  func(map[string]any)
		want  func(*Event)
		rule  string
	}{
		{"a refused create has no name", refused, func(w *Event) { w.API.Request = sent }, "no-name-on-refused-create"},
		{"one that succeeded has", func(m map[string]any) { refused(m); m["responseStatus"] = map[string]any{"code": 201} }, func(w *Event) { w.API.Request = sent }, ""},
		{"a refused delete has", func(m map[string]any) { refused(m); m["verb"] = "delete" }, func(w *Event) { w.API.Request = sent }, ""},
		{"another name is another", func(m map[string]any) {
			refused(m)
			m["objectRef"].(map[string]any)["name"] = "other"
		}, func(w *Event) { w.API.Request = sent }, ""},
		{"a long agent is cut", func(m map[string]any) { m["userAgent"] = strings.Repeat("a", 1024) + "...TRUNCATED" }, func(w *Event) { w.HTTPRequest.UserAgent = strings.Repeat("a", 2000) }, "user-agent-cut"},
		{"a short one is not", func(m map[string]any) { m["userAgent"] = "aa...TRUNCATED" }, func(w *Event) { w.HTTPRequest.UserAgent = "aab" }, ""},
	} {
		got, err := ReadKubernetes(auditEvent(c.edit))
		if err != nil {
			t.Fatal(err)
		}
		d := Compare(wantOf(got, c.want), got, Tolerance{})
		if len(d) != 1 || d[0].Rule != c.rule {
			t.Errorf("%s: %+v, want one with rule %q", c.claim, d, c.rule)
		}
	}
}

func FuzzReadKubernetes(f *testing.F) {
	f.Add(auditEvent(nil))
	f.Add([]byte(`{"auditID":"a","stage":"Panic","level":"None","verb":"\xff","responseStatus":{"code":1e300},"sourceIPs":[{}],"user":{"extra":{"accessKeyId":7}}}`))
	f.Add([]byte(`{"kind":"EventList","items":[{"auditID":"a"},7]}`))
	f.Add([]byte(`{"kind":"EventList","items":[` + withBody("requestObject", evil) + `]}`))
	f.Add([]byte(withBody("responseObject", evil)))
	f.Add([]byte(`{"protoPayload":{"serviceName":"k8s.io","methodName":"a","request":` + evil + `,"response":7}}`))
	f.Add([]byte(`{"protoPayload":{"serviceName":"k8s.io","methodName":"a","resourceName":"namespaces/x/namespaces/"}}`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		for _, read := range []func([]byte) (Event, error){ReadKubernetes, ReadGKE} {
			e, err := read(raw)
			if err != nil {
				if !reflect.DeepEqual(e, Event{}) {
					t.Fatal("an event beside an error")
				}
				continue
			}
			if d := Compare(e, e, Tolerance{}); len(unexplained(d)) > 0 && e.SrcEndpoint.Domain == "" {
				t.Fatalf("a record differs from itself: %+v", d)
			}
		}
		if parts, err := KubernetesEvents(raw); err == nil {
			for _, p := range parts {
				_, _ = ReadKubernetes(p)
			}
		}
	})
}
