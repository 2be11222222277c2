package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/auditcanary/auditcanary/shared/auditpolicy"
	"github.com/auditcanary/auditcanary/shared/canary"
	"github.com/auditcanary/auditcanary/tests/real/cluster"
	"github.com/auditcanary/auditcanary/tests/real/stores"
)

// late is when a record counts as lost; the API server's webhook delivers within a second.
const late = 12 * time.Second

var program = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "auditcanary-real")
	if err != nil {
		return "", err
	}
	return buildProgram(context.Background(), dir)
})

func TestMain(m *testing.M) {
	code := m.Run()
	if bin, err := program(); err == nil {
		_ = os.RemoveAll(filepath.Dir(bin))
	}
	os.Exit(code)
}

// start starts a world with some rules before those of the audit policy.
func start(t *testing.T, rules string) *world {
	t.Helper()
	if os.Getenv("AUDITCANARY_REAL") == "" {
		t.Skip("skipped: it takes minutes; run make real")
	}
	_, err := cluster.Built()
	if _, err2 := stores.VictoriaLogs.Binary(); errors.Is(err, cluster.ErrNotBuilt) || errors.Is(err2, stores.ErrNotBuilt) {
		t.Skipf("skipped: %v", errors.Join(err, err2))
	}
	bin, err := program()
	if err != nil {
		t.Fatal(err)
	}
	w, err := newWorld(t.Context(), options{dir: t.TempDir(), bin: bin, rules: rules, late: late})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(w.stop)
	return w
}

// canaries runs a command and gives what it says of each canary.
func (w *world) canaries(t *testing.T, args ...string) []line {
	t.Helper()
	var out bytes.Buffer
	code, err := w.run(t.Context(), &out, append(args, "--json")...)
	if err != nil || code > 2 {
		t.Fatalf("%s: exit %d, %v", args[0], code, err)
	}
	var s struct{ Canaries []line }
	if err := json.Unmarshal(out.Bytes(), &s); err != nil {
		t.Fatalf("%s: %v\n%s", args[0], err, out.Bytes())
	}
	if len(s.Canaries) < 8 {
		t.Fatalf("%s: %d canaries", args[0], len(s.Canaries))
	}
	return s.Canaries
}

// lost holds what became of canaries against the categories that must have failed, each
// with its record lost on that hop; all others must be proven.
func lost(t *testing.T, canaries []line, hop canary.Hop, scenarios ...string) {
	t.Helper()
	failed := 0
	for _, c := range canaries {
		name := strings.TrimPrefix(c.Scenario, "kubernetes/")
		s := c.Checks[canary.Surfaced]
		if !slices.Contains(scenarios, name) && !slices.Contains(scenarios, "*") {
			if err := c.proven(); err != nil {
				t.Error(err)
			}
			continue
		}
		failed++
		if s.Status != canary.Fail || s.Hop != hop || c.Category == "" {
			t.Errorf("%s (%s): surfaced is %s on hop %q: %s", name, c.Category, s.Status, s.Hop, s.Detail)
		}
		for _, check := range []canary.Check{canary.Injected, canary.Cleaned} {
			if c.Checks[check].Status != canary.Pass {
				t.Errorf("%s: %s is %+v", name, check, c.Checks[check])
			}
		}
	}
	if failed == 0 || len(scenarios) > 1 && failed != len(scenarios) {
		t.Errorf("%d canaries were to fail, of %q", failed, scenarios)
	}
}

func TestEveryScenarioIsProvenOnARealAPIServer(t *testing.T) {
	w := start(t, "")
	for _, c := range w.canaries(t, "run") {
		if err := c.proven(); err != nil {
			t.Error(err)
		}
	}
	packet := filepath.Join(w.dir, "packet.zip")
	for _, args := range [][]string{{"packet", "-o", packet}, {"verify", packet, "--key", filepath.Join(w.dir, "signing.key.pub")}} {
		if code, err := w.run(t.Context(), io.Discard, args...); err != nil || code != 0 {
			t.Errorf("%s: exit %d, %v", args[0], code, err)
		}
	}
	t.Run("and what is left is swept", w.leaves)
	t.Run("and a store that is wiped of an hour has lost them on the way", w.wipe)
	t.Run("and so has one to which the way is cut", w.cut)
	t.Run("and rights that nobody should have are noticed and harmless", w.wide)
}

// leaves leaves what a crash would, beside what is somebody else's.
func (w *world) leaves(t *testing.T) {
	const ours = `{"apiVersion":"rbac.authorization.k8s.io/v1","kind":"ClusterRole","metadata":{"name":"NAME","labels":{"auditcanary.dev/run":"20260101-crash0","auditcanary.dev/canary":"20260101-crash0-01"}}}`
	for _, name := range []string{"auditcanary-20260101-crash0-01", "somebody-elses"} {
		if err := w.cluster.Apply(t.Context(), []byte(`{"kind":"List","items":[`+strings.Replace(ours, "NAME", name, 1)+`]}`)); err != nil {
			t.Fatal(err)
		}
	}
	var out bytes.Buffer
	code, err := w.run(t.Context(), &out, "sweep", "--json")
	if err != nil || code != 0 || !strings.Contains(out.String(), "auditcanary-20260101-crash0-01") {
		t.Errorf("sweep: exit %d, %v\n%s", code, err, out.Bytes())
	}
	const roles = "/apis/rbac.authorization.k8s.io/v1/clusterroles/"
	if _, err := w.cluster.Do(t.Context(), "GET", roles+"auditcanary-20260101-crash0-01", "", nil); err == nil || !strings.Contains(err.Error(), "404") {
		t.Errorf("it is still there: %v", err)
	}
	if _, err := w.cluster.Do(t.Context(), "DELETE", roles+"somebody-elses", "", nil); err != nil {
		t.Errorf("somebody else's is gone: %v", err)
	}
}

func (w *world) wipe(t *testing.T) {
	from := time.Now().Add(-30 * time.Minute)
	w.canaries(t, "inject")
	time.Sleep(2 * time.Second) // until the webhook has delivered the last of them
	if err := w.wiped(t.Context(), from, from.Add(time.Hour), late); err != nil {
		t.Fatal(err)
	}
	w.shipper.Redirect(w.store.URL)
	w.lastRun(t, canary.Delivered)
}

func (w *world) cut(t *testing.T) {
	w.shipper.Cut.Store(true)
	defer w.shipper.Cut.Store(false)
	w.canaries(t, "inject")
	w.lastRun(t, canary.Delivered)
	if w.shipper.Refused.Load() == 0 {
		t.Error("the webhook did not deliver anything that could be cut")
	}
}

// wide makes canaries administrators of the cluster, as a mistake in RBAC would.
func (w *world) wide(t *testing.T) {
	const user = "system:serviceaccount:auditcanary:auditcanary-canary"
	text, err := os.ReadFile(filepath.Join(root(), "scenarios", "kubernetes", "certificate-request.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	request := regexp.MustCompile(`request: (\S+)\n`).FindSubmatch(text)
	err = w.cluster.Apply(t.Context(), []byte(`{"kind":"List","items":[
{"apiVersion":"v1","kind":"ServiceAccount","metadata":{"name":"somebody-elses","namespace":"kube-system"}},
{"apiVersion":"certificates.k8s.io/v1","kind":"CertificateSigningRequest","metadata":{"name":"somebody-elses"},"spec":{"signerName":"example.com/x","usages":["client auth"],"request":"`+string(request[1])+`"}},
{"apiVersion":"rbac.authorization.k8s.io/v1","kind":"ClusterRoleBinding","metadata":{"name":"mistake"},
"roleRef":{"apiGroup":"rbac.authorization.k8s.io","kind":"ClusterRole","name":"cluster-admin"},"subjects":[{"kind":"User","apiGroup":"rbac.authorization.k8s.io","name":"`+user+`"}]}]}`))
	if err != nil {
		t.Fatal(err)
	}
	canary := func(method, path, body string) error {
		contentType := "application/json"
		if method == http.MethodPatch {
			contentType = "application/merge-patch+json"
		}
		_, err := w.cluster.Do(t.Context(), method, path, contentType, []byte(body), "Impersonate-User", user)
		return err
	}
	for range 50 { // until the right is known everywhere
		if canary(http.MethodGet, "/api/v1/nodes", "") == nil {
			break
		}
		time.Sleep(100 * time.Millisecond)
	}
	const labels = `"labels":{"auditcanary.dev/run":"r","auditcanary.dev/canary":"r-01"}`
	for _, tc := range []struct{ claim, method, path, body string }{
		{"to delete another's role", "DELETE", "/apis/rbac.authorization.k8s.io/v1/clusterroles/view", ""},
		{"to delete all roles", "DELETE", "/apis/rbac.authorization.k8s.io/v1/clusterroles", ""},
		{"to change another's role", "PATCH", "/apis/rbac.authorization.k8s.io/v1/clusterroles/view", `{"rules":[]}`},
		{"to change what is named as theirs, and not labelled", "PATCH", "/apis/rbac.authorization.k8s.io/v1/clusterroles/auditcanary-canary", `{"rules":[]}`},
		{"to label it, first", "PATCH", "/apis/rbac.authorization.k8s.io/v1/clusterroles/auditcanary-canary", `{"metadata":{` + labels + `}}`},
		{"to make a namespace", "POST", "/api/v1/namespaces", `{"metadata":{"name":"mine",` + labels + `}}`},
		{"to make a thing without a label", "POST", "/api/v1/namespaces/auditcanary/configmaps", `{"metadata":{"name":"auditcanary-x"}}`},
		{"to make a thing with a name of the server's choice", "POST", "/api/v1/namespaces/auditcanary/configmaps", `{"metadata":{"generateName":"x-",` + labels + `}}`},
		{"to act in another namespace", "POST", "/api/v1/namespaces/kube-system/configmaps", `{"metadata":{"name":"auditcanary-x",` + labels + `}}`},
		{"to bind itself", "POST", "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings", `{"metadata":{"name":"auditcanary-x",` + labels + `},"roleRef":{"apiGroup":"rbac.authorization.k8s.io","kind":"ClusterRole","name":"cluster-admin"},"subjects":[{"kind":"User","apiGroup":"rbac.authorization.k8s.io","name":"` + user + `"}]}`},
		{"to bind everybody to its own role", "POST", "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings", `{"metadata":{"name":"auditcanary-x",` + labels + `},"roleRef":{"apiGroup":"rbac.authorization.k8s.io","kind":"ClusterRole","name":"auditcanary-x"},"subjects":[{"kind":"Group","apiGroup":"rbac.authorization.k8s.io","name":"system:authenticated"}]}`},
		{"to delete the log shipper", "DELETE", "/apis/apps/v1/namespaces/kube-system/daemonsets/log-shipper", ""},
		{"to execute in another's pod", "POST", "/api/v1/namespaces/kube-system/pods/etcd/exec?command=true&stdout=true", ""},
		{"to evict another's pod", "POST", "/api/v1/namespaces/kube-system/pods/etcd/eviction", `{"apiVersion":"policy/v1","kind":"Eviction","metadata":{"name":"etcd"}}`},
		{"to approve a certificate", "PATCH", "/apis/certificates.k8s.io/v1/certificatesigningrequests/somebody-elses/approval", `{"status":{"conditions":[{"type":"Approved","status":"True","reason":"x","message":"x"}]}}`},
		{"to have a token of its own that lives for a year", "POST", "/api/v1/namespaces/auditcanary/serviceaccounts/auditcanary-canary/token", `{"spec":{"expirationSeconds":31536000}}`},
		{"to have another of its own", "POST", "/api/v1/namespaces/auditcanary/serviceaccounts/auditcanary-canary/token", `{"spec":{"expirationSeconds":600}}`},
		{"to have a worthless token that lives", "POST", "/api/v1/namespaces/auditcanary/serviceaccounts/auditcanary-canary/token", `{"spec":{"audiences":["auditcanary.invalid"],"expirationSeconds":31536000}}`},
		{"to have one that is good for more", "POST", "/api/v1/namespaces/auditcanary/serviceaccounts/auditcanary-canary/token", `{"spec":{"audiences":["auditcanary.invalid","https://kubernetes.default.svc"],"expirationSeconds":600}}`},
		{"to ask for a certificate of one who signs", "POST", "/apis/certificates.k8s.io/v1/certificatesigningrequests", `{"metadata":{"name":"auditcanary-x",` + labels + `},"spec":{"signerName":"kubernetes.io/kube-apiserver-client","usages":["client auth"],"request":"` + string(request[1]) + `"}}`},
		{"to have a token of another", "POST", "/api/v1/namespaces/kube-system/serviceaccounts/somebody-elses/token", `{"spec":{"audiences":["x"]}}`},
	} {
		err := canary(tc.method, tc.path, tc.body)
		if err == nil || !strings.Contains(err.Error(), "auditcanary-fence") {
			t.Errorf("the fence does not refuse %s: %v", tc.claim, err)
		}
	}
	for _, thing := range []string{"/apis/apps/v1/namespaces/kube-system/daemonsets/log-shipper", "/apis/rbac.authorization.k8s.io/v1/clusterroles/view"} {
		if _, err := w.cluster.Do(t.Context(), http.MethodGet, thing, "", nil); err != nil {
			t.Error(err)
		}
	}
	all := w.canaries(t, "run")
	for _, c := range all {
		name := strings.TrimPrefix(c.Scenario, "kubernetes/")
		denied := strings.HasSuffix(name, "-denied")
		if err := c.proven(); (err != nil) != denied {
			t.Errorf("%s: %v", name, err)
		}
		if in := c.Checks["injected"]; denied && name != "log-shipper-delete-denied" && !strings.Contains(in.Detail, "the protection is missing") {
			t.Errorf("%s: injected is %s: %s", name, in.Status, in.Detail)
		}
	}
	for _, thing := range []string{"/apis/apps/v1/namespaces/kube-system/daemonsets/log-shipper", "/apis/admissionregistration.k8s.io/v1/validatingadmissionpolicybindings/auditcanary-fence"} {
		if _, err := w.cluster.Do(t.Context(), http.MethodGet, thing, "", nil); err != nil {
			t.Errorf("what was attempted did harm: %v", err)
		}
	}
}

// lastRun confirms what was injected last: all of it must have been lost on that hop.
func (w *world) lastRun(t *testing.T, hop canary.Hop) {
	t.Helper()
	all := w.canaries(t, "confirm", "--wait")
	lost(t, all[len(all)-len(all)/w.runs(all):], hop, "*")
}

// runs is how many runs there are among canaries: each does each scenario once.
func (w *world) runs(all []line) int {
	n := 0
	for _, c := range all {
		if c.Scenario == all[0].Scenario {
			n++
		}
	}
	return n
}

func TestAnAuditPolicyThatDropsChangesOfRBACIsNoticed(t *testing.T) {
	w := start(t, `  - level: None
    resources:
      - {group: rbac.authorization.k8s.io}
`)
	foreseen(t, w, "cluster-role", "role")
	lost(t, w.canaries(t, "run"), canary.Emitted, "cluster-role", "role")
}

func TestAnAuditPolicyThatSparesOneUserIsNoticed(t *testing.T) {
	w := start(t, `  - level: None
    users: ["system:serviceaccount:auditcanary:auditcanary-canary"]
`)
	foreseen(t, w, "*")
	lost(t, w.canaries(t, "run"), canary.Emitted, "*")
}

// foreseen: before anything was done, the plan named the scenarios whose records the audit
// policy drops, and no others.
func foreseen(t *testing.T, w *world, scenarios ...string) {
	t.Helper()
	var plan bytes.Buffer
	if code, err := w.run(t.Context(), &plan, "plan", "--json"); err != nil || code != 0 {
		t.Fatalf("plan (exit %d): %v", code, err)
	}
	var planned struct {
		Canaries []struct{ Scenario struct{ ID string } }
		Audit    []struct{ Findings []auditpolicy.Finding }
	}
	if err := json.Unmarshal(plan.Bytes(), &planned); err != nil || len(planned.Audit) != 1 {
		t.Fatalf("the plan weighs %d clusters, %v", len(planned.Audit), err)
	}
	for _, c := range planned.Canaries {
		dropped := slices.ContainsFunc(planned.Audit[0].Findings, func(f auditpolicy.Finding) bool {
			return f.Status == auditpolicy.Dropped && strings.HasPrefix(f.Name, c.Scenario.ID+" ")
		})
		name := strings.TrimPrefix(c.Scenario.ID, "kubernetes/")
		if want := slices.Contains(scenarios, name) || scenarios[0] == "*"; dropped != want {
			t.Errorf("%s: the plan says that its record is dropped: %t, want %t", c.Scenario.ID, dropped, want)
		}
	}
}
