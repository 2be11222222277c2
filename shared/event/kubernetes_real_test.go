package event

import (
	"bytes"
	"os"
	"strings"
	"testing"
)

// TestWhatARealAPIServerWrote reads the lines of a real audit log.
func TestWhatARealAPIServerWrote(t *testing.T) {
	data, err := os.ReadFile("testdata/kubernetes/kube-apiserver-v1.37.2.jsonl")
	if err != nil {
		t.Fatal(err)
	}
	by := map[string]Event{}
	for line := range bytes.Lines(data) {
		e, err := Read(bytes.TrimSpace(line))
		if err != nil {
			t.Fatalf("%v\n%s", err, line)
		}
		if len(e.Metadata.Unreadable) > 0 || e.Time.IsZero() || e.SrcEndpoint.IP != "127.0.0.1" || e.Metadata.LogName != Kubernetes {
			t.Errorf("%+v", e)
		}
		if KubernetesOutcome(e) && e.Actor.Name == "auditcanary-canary" {
			by[strings.Trim(e.API.Operation+" "+e.API.Error, " ")] = e
			if !strings.HasPrefix(e.Actor.CredentialUID, "JTI=") || e.Actor.UIDAlt == "" || e.HTTPRequest.UserAgent != "auditcanary/1 app/auditcanary" {
				t.Errorf("%+v", e.Actor)
			}
		}
	}
	for operation, want := range map[string]struct{ service, name, session string }{
		"create clusterroles":                                {"rbac.authorization.k8s.io", "auditcanary-", ""},
		"create serviceaccounts/token":                       {"core", "auditcanary-", ""},
		"get secrets":                                        {"core", "auditcanary-break-glass", "auditcanary-break-glass"},
		"create selfsubjectreviews":                          {"authentication.k8s.io", "", "auditcanary-break-glass"},
		"create selfsubjectreviews Forbidden":                {"authentication.k8s.io", "", ""},
		"create pods/exec Forbidden":                         {"core", "auditcanary-", ""},
		"delete daemonsets Forbidden":                        {"apps", "log-shipper", ""},
		"delete validatingadmissionpolicybindings Forbidden": {"admissionregistration.k8s.io", "auditcanary-fence", ""},
		"patch validatingadmissionpolicies":                  {"admissionregistration.k8s.io", "auditcanary-decoy", ""},
	} {
		e, there := by[operation]
		name, _ := e.API.Request["name"].(string)
		if !there || e.API.Service != want.service || !strings.HasPrefix(name, want.name) || e.Actor.Session.Name != want.session {
			t.Errorf("%s: %+v", operation, e)
		}
		// Of what is refused, and of what may hold secrets, no body is recorded.
		if _, body := e.API.Request["body"]; body != (e.Metadata.Category == "Request" && e.API.Error == "") {
			t.Errorf("%s at level %s: body %v", operation, e.Metadata.Category, body)
		}
	}
}
