package event

import (
	"strings"
	"testing"
)

func TestARecordIsToldByItsID(t *testing.T) {
	for name, tc := range map[string]struct {
		raw  string
		want IDs
	}{
		"CloudTrail's":                   {`{"eventID":"e-1","requestID":"r-1","eventVersion":"1.11"}`, IDs{"e-1", "r-1", "cloudtrail"}},
		"an API server's":                {`{"kind":"Event","auditID":"a-1","stage":"ResponseComplete","level":"Metadata","verb":"get"}`, IDs{"a-1/ResponseComplete", "a-1", Kubernetes}},
		"GKE's":                          {`{"insertId":"i-1","operation":{"id":"a-1"},"protoPayload":{}}`, IDs{"i-1", "a-1", GKE}},
		"CloudTrail's with more":         {`{"eventID":"e-1","requestID":"r-1","auditID":"a-1","stage":"x"}`, IDs{"e-1", "r-1", "cloudtrail"}},
		"an API server's that speaks of": {`{"auditID":"a-1","stage":"Panic","requestObject":{"eventID":"e-1"}}`, IDs{"a-1/Panic", "a-1", Kubernetes}},
		"nobody's":                       {`{}`, IDs{"", "", "cloudtrail"}},
	} {
		if got, err := Identify([]byte(tc.raw)); err != nil || got != tc.want {
			t.Errorf("%s: %+v, %v", name, got, err)
		}
	}
	for name, raw := range map[string]string{
		"cut":           `{"auditID":"a-1"`,
		"no object":     `["auditID"]`,
		"an id twice":   `{"auditID":"a-1","auditID":"a-2"}`,
		"no text as id": `{"auditID":7}`,
		"nothing":       ``,
	} {
		if got, err := Identify([]byte(raw)); err == nil {
			t.Errorf("%s: %+v", name, got)
		}
		if e, err := Read([]byte(raw)); err == nil {
			t.Errorf("%s is read: %+v", name, e)
		}
	}
}

// FuzzRead: what is read has the ids that it is told by.
func FuzzRead(f *testing.F) {
	for _, seed := range []string{
		`{"eventVersion":"1.11","eventID":"e","requestID":"r","eventName":"X","eventSource":"iam.amazonaws.com","eventTime":"2026-11-26T17:00:00Z"}`,
		`{"kind":"Event","apiVersion":"audit.k8s.io/v1","level":"Metadata","auditID":"a","stage":"ResponseComplete","verb":"get","user":{},"responseStatus":{"code":200}}`,
		`{"insertId":"i","operation":{"id":"a"},"protoPayload":{"serviceName":"k8s.io","methodName":"io.k8s.core.v1.pods.create"}}`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		e, err := Read(raw)
		if err != nil {
			if strings.TrimSpace(err.Error()) == "" {
				t.Error("an error that says nothing")
			}
			return
		}
		ids, err := Identify(raw)
		if err != nil {
			t.Fatalf("read, and not identified: %v", err)
		}
		if e.Metadata.UID != ids.Record || e.API.RequestUID != ids.Request || e.Metadata.LogName != ids.Format {
			t.Errorf("%q is read as %q, %q of %s, and identified as %+v", raw, e.Metadata.UID, e.API.RequestUID, e.Metadata.LogName, ids)
		}
	})
}
