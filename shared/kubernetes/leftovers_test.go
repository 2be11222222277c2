package kubernetes

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/auditcanary/auditcanary/shared/canary"
	"github.com/auditcanary/auditcanary/shared/run"
)

const cleanDecoy = `{"kind":"ValidatingAdmissionPolicy","apiVersion":"admissionregistration.k8s.io/v1","metadata":{"name":"auditcanary-decoy"},"spec":{"failurePolicy":"Fail"}}`

// listing answers lists: items by resource.
func listing(items map[string]string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		resource := r.URL.Path[strings.LastIndexByte(r.URL.Path, '/')+1:]
		switch {
		case r.Method != http.MethodGet:
			answer(w, 200, `{"kind":"Status","apiVersion":"v1","status":"Success"}`)
		case resource == decoyPolicy && items["decoy"] != "":
			answer(w, 200, items["decoy"])
		case resource == decoyPolicy:
			answer(w, 200, cleanDecoy)
		case r.URL.Query().Get("labelSelector") != labelRun:
			status(w, 400, "BadRequest", "everything was asked for")
		default:
			answer(w, 200, `{"kind":"ThingList","apiVersion":"v1","metadata":{},"items":[`+items[resource]+`]}`)
		}
	}
}

func thing(name, namespace, run, id string) string {
	return fmt.Sprintf(`{"metadata":{"name":%q,"namespace":%q,"labels":{"auditcanary.dev/run":%q,"auditcanary.dev/canary":%q}}}`, name, namespace, run, id)
}

func TestASweepTouchesOnlyWhatIsOurs(t *testing.T) {
	a := newAnswering(t)
	a.rest = listing(map[string]string{
		"clusterroles": strings.Join([]string{
			thing("auditcanary-r1-01", "", "r1", "r1-01"),
			thing("cluster-admin", "", "r1", "r1-01"),            // labelled by somebody else
			thing("auditcanary-canary", "", "", ""),              // what Manifests set up
			thing("auditcanary-r1-02", "", "r1", ""),             // half labelled
			thing("auditcanary-r1-03", "", "../r1", "r1-03"),     // a run that is none
			thing("auditcanary-r1-04", "kube-system", "r1", "x"), // in a namespace, of a kind that is in none
			thing("auditcanary-../x", "", "r1", "r1-05"),
			`{"metadata":{"name":"auditcanary-r1-06"}}`,
		}, ","),
		"roles":           thing("auditcanary-r1-01", "auditcanary", "r1", "r1-01") + "," + thing("auditcanary-r1-01", "kube-system", "r1", "r1-01"),
		"serviceaccounts": thing("default", "auditcanary", "r1", "r1-01"),
	})
	c, _ := cloudOf(t, a, nil)
	left, err := c.Leftovers(t.Context(), theTarget)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, l := range left {
		got = append(got, fmt.Sprint(l.Kind, " ", l.ID, " ", l.Run, " ", l.Canary, " ", l.Undo[0].Operation, " ", l.Undo[0].Params))
	}
	want := []string{
		"cluster role auditcanary-r1-01 r1 r1-01 rbac.authorization.k8s.io:delete clusterroles map[name:auditcanary-r1-01]",
		"role auditcanary/auditcanary-r1-01 r1 r1-01 rbac.authorization.k8s.io:delete roles map[name:auditcanary-r1-01 namespace:auditcanary]",
	}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("got  %q\nwant %q", got, want)
	}

	s, err := c.OpenSweep(t.Context(), theTarget)
	if err != nil {
		t.Fatal(err)
	}
	before := len(a.canaryCalls())
	for _, call := range []canary.Call{
		{Operation: rbac + ":delete clusterroles", Region: Region, Params: map[string]any{"name": "cluster-admin"}},
		{Operation: rbac + ":delete roles", Region: Region, Params: map[string]any{"name": "auditcanary-r1-01", "namespace": "kube-system"}},
		{Operation: rbac + ":create clusterroles", Region: Region, Params: map[string]any{}},
		{Operation: apps + ":delete daemonsets", Region: Region, Params: map[string]any{"name": "fluent-bit", "namespace": "kube-system", "body": map[string]any{"dryRun": []any{"All"}, "preconditions": map[string]any{"uid": noUID}}}},
	} {
		if r := s.Do(t.Context(), call, nil); r.Outcome.Code != codeNotSent {
			t.Errorf("%s %v: %+v", call.Operation, call.Params, r.Outcome)
		}
	}
	if n := len(a.canaryCalls()); n != before {
		t.Errorf("%d calls were made", n-before)
	}
	for _, l := range left {
		if r := s.Do(t.Context(), l.Undo[0], nil); !r.Undone() {
			t.Errorf("%s: %+v", l.ID, r.Outcome)
		}
	}
}

func TestADecoyThatWasNotPutBackIsLeft(t *testing.T) {
	for name, tc := range map[string]struct{ decoy, want, err string }{
		"as it was set up":           {cleanDecoy, "[]", ""},
		"with labels that are empty": {strings.Replace(cleanDecoy, `"name":"auditcanary-decoy"`, `"name":"auditcanary-decoy","labels":{"auditcanary.dev/run":"","auditcanary.dev/canary":""}`, 1), "[]", ""},
		"loosened by a canary":       {strings.NewReplacer(`"name":"auditcanary-decoy"`, `"name":"auditcanary-decoy","labels":{"auditcanary.dev/run":"r1","auditcanary.dev/canary":"r1-01"}`, "Fail", "Ignore").Replace(cleanDecoy), "r1 r1-01", ""},
		"loosened by somebody":       {strings.Replace(cleanDecoy, "Fail", "Ignore", 1), "[]", "changed by somebody else"},
		"another object":             {strings.Replace(cleanDecoy, "auditcanary-decoy", "x", 1), "[]", "another object"},
	} {
		a := newAnswering(t)
		a.rest = listing(map[string]string{"decoy": tc.decoy})
		c, _ := cloudOf(t, a, nil)
		left, err := c.Leftovers(t.Context(), theTarget)
		got := "[]"
		if len(left) == 1 {
			got = left[0].Run + " " + left[0].Canary
			s, err := c.OpenSweep(t.Context(), theTarget)
			if err != nil {
				t.Fatal(err)
			}
			if r := s.Do(t.Context(), left[0].Undo[0], nil); !r.Undone() {
				t.Errorf("%s: %+v", name, r.Outcome)
			}
		}
		if got != tc.want || (tc.err == "") != (err == nil) || err != nil && !strings.Contains(err.Error(), tc.err) {
			t.Errorf("%s: %s, %v", name, got, err)
		}
	}
}

func TestAKindThatCannotBeListedIsNoEmptyAnswer(t *testing.T) {
	for name, reply := range map[string]http.HandlerFunc{
		"refused":  func(w http.ResponseWriter, _ *http.Request) { status(w, 403, "Forbidden", "no") },
		"no list":  func(w http.ResponseWriter, _ *http.Request) { answer(w, 200, `{"kind":"Role","items":[]}`) },
		"no items": func(w http.ResponseWriter, _ *http.Request) { answer(w, 200, `{"kind":"RoleList"}`) },
		"nothing":  func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(204) },
		"without end": func(w http.ResponseWriter, _ *http.Request) {
			answer(w, 200, `{"kind":"RoleList","metadata":{"continue":"again"},"items":[]}`)
		},
	} {
		a := newAnswering(t)
		a.rest = func(w http.ResponseWriter, r *http.Request) {
			if strings.HasSuffix(r.URL.Path, "/roles") {
				reply(w, r)
				return
			}
			listing(nil)(w, r)
		}
		c, _ := cloudOf(t, a, nil)
		left, err := c.Leftovers(t.Context(), theTarget)
		var unlisted *run.UnlistedError
		if !errors.As(err, &unlisted) || unlisted.Kind != "role" || unlisted.Undo[0] != rbac+":delete roles" || len(left) != 0 {
			t.Errorf("%s: %v, %v", name, left, err)
		}
	}
}

func TestEveryPageIsRead(t *testing.T) {
	a := newAnswering(t)
	a.rest = func(w http.ResponseWriter, r *http.Request) {
		next := r.URL.Query().Get("continue")
		switch {
		case !strings.HasSuffix(r.URL.Path, "/clusterroles"):
			listing(nil)(w, r)
		case next == "":
			answer(w, 200, `{"kind":"ClusterRoleList","metadata":{"continue":"p 2&"},"items":[`+thing("auditcanary-r1-01", "", "r1", "r1-01")+`]}`)
		case next == "p 2&":
			answer(w, 200, `{"kind":"ClusterRoleList","metadata":{},"items":[`+thing("auditcanary-r1-02", "", "r1", "r1-02")+`]}`)
		}
	}
	c, _ := cloudOf(t, a, nil)
	if left, err := c.Leftovers(t.Context(), theTarget); err != nil || len(left) != 2 {
		t.Errorf("%v, %v", left, err)
	}
}

// TestEveryKindThatIsMadeIsLookedFor: what could be left and not be found would be for ever.
func TestEveryKindThatIsMadeIsLookedFor(t *testing.T) {
	listed := map[string]bool{admission + ":patch validatingadmissionpolicies": true}
	for _, k := range kinds {
		listed[k.remove()] = true
		if op, ok := operations[k.remove()]; !ok || !op.removes || op.namespaced != k.namespaced {
			t.Errorf("%s is not removed by %s", k.name, k.remove())
		}
	}
	for name, op := range operations {
		if op.undo != "" && !listed[op.undo] {
			t.Errorf("what %s leaves is not looked for", name)
		}
		if op.makes && op.undo == "" {
			t.Errorf("%s makes something that nothing takes away", name)
		}
	}
}
