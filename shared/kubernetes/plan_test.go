package kubernetes

import (
	"encoding/json"
	"errors"
	"flag"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"

	rbacv1 "k8s.io/api/rbac/v1"

	"github.com/auditcanary/auditcanary/scenarios"
	"github.com/auditcanary/auditcanary/shared/canary"
	"github.com/auditcanary/auditcanary/shared/run"
)

var update = flag.Bool("update", false, "write the golden files anew")

func TestEveryScenarioIsPlannedAndEveryOperationIsUsed(t *testing.T) {
	c, _ := cloudOf(t, nil, nil)
	used := map[string]bool{}
	for _, s := range catalogue(t) {
		p, err := c.Plan(s, aCanary(s.ID))
		if err != nil {
			t.Errorf("%s: %v", s.ID, err)
			continue
		}
		for _, st := range p.Steps {
			used[st.Call.Operation] = true
			service, operation, _ := strings.Cut(st.Call.Operation, ":")
			if st.Record.Service != service || st.Record.Operation != operation {
				t.Errorf("%s: %s leaves a record of %s %s", s.ID, st.Call.Operation, st.Record.Service, st.Record.Operation)
			}
			if st.Undo != nil {
				used[st.Undo.Operation] = true
			}
		}
	}
	if got := slices.Sorted(maps.Keys(used)); !slices.Equal(got, Operations()) {
		t.Errorf("used are %q\nlisted are %q", got, Operations())
	}
}

func TestAMissingFixtureRefusesTheClusterOnly(t *testing.T) {
	c, _ := cloudOf(t, nil, func(cl *Cluster) { cl.Fixtures = nil })
	_, err := c.Plan(scenario(t, "kubernetes/log-shipper-delete-denied"), aCanary("x"))
	if !errors.Is(err, run.ErrNotConfigured) || !strings.Contains(err.Error(), "log_shipper") {
		t.Errorf("%v", err)
	}
}

// TestAnEscapeIsStillOneInThePlan: the run expands once more.
func TestAnEscapeIsStillOneInThePlan(t *testing.T) {
	got, err := expand(scene{name: "n"}, map[string]any{"a": "${name} $${name}"})
	if err != nil || got["a"] != "n $${name}" {
		t.Errorf("%q, %v", got, err)
	}
}

// TestWhatIsNotHarmlessIsRefused changes one thing of a scenario that is planned.
func TestWhatIsNotHarmlessIsRefused(t *testing.T) {
	for _, tc := range []struct {
		claim, scenario string
		step            int
		old, new        string
		want            string
	}{
		{"a name of somebody else's", "cluster-role", 0, `"name":"${name}"`, `"name":"cluster-admin"`, "is not this canary's"},
		{"a name that only begins so", "cluster-role", 0, `"name":"${name}"`, `"name":"${name}x"`, "is not this canary's"},
		{"no label", "cluster-role", 0, `"auditcanary.dev/run":"${run}"`, `"a":"b"`, "auditcanary.dev/run"},
		{"another run's label", "cluster-role", 0, `"auditcanary.dev/run":"${run}"`, `"auditcanary.dev/run":"other"`, "auditcanary.dev/run"},
		{"a role that may read secrets", "cluster-role", 0, `"resources":["configmaps"]`, `"resources":["secrets"]`, "body.rules"},
		{"a role that may write", "cluster-role", 0, `"verbs":["get"]`, `"verbs":["*"]`, "body.rules"},
		{"a role for every ConfigMap", "cluster-role", 0, `,"resourceNames":["auditcanary-none"]`, ``, "body.rules"},
		{"a role that gathers others", "cluster-role", 0, `"kind":"ClusterRole"`, `"kind":"ClusterRole","aggregationRule":{"clusterRoleSelectors":[{}]}`, "body.rules"},
		{"another kind", "cluster-role", 0, `"kind":"ClusterRole"`, `"kind":"Role"`, `body.kind must be "ClusterRole"`},
		{"a finalizer", "cluster-role", 0, `"metadata":{`, `"metadata":{"finalizers":["x"],`, "could not take it away"},
		{"a generated name", "cluster-role", 0, `"metadata":{`, `"metadata":{"generateName":"x",`, "could not take it away"},
		{"a name of its own beside", "cluster-role", 0, `{"body"`, `{"name":"x","body"`, "leave name out"},
		{"a namespace of a thing in none", "cluster-role", 0, `{"body"`, `{"namespace":"default","body"`, "the object is in none"},
		{"binding to administrators", "cluster-role", 1, `"kind":"ClusterRole","name":"${name}"`, `"kind":"ClusterRole","name":"cluster-admin"`, "body.roleRef"},
		{"binding to everybody", "cluster-role", 1, `"auditcanary:${canary}"`, `"system:authenticated"`, "body.subjects"},
		{"binding to a user", "cluster-role", 1, `"kind":"Group"`, `"kind":"User"`, "body.subjects"},
		{"another namespace", "role", 0, `"namespace":"${fixture.namespace}"`, `"namespace":"kube-system"`, "the canaries' own"},
		{"another namespace within", "role", 0, `"metadata":{`, `"metadata":{"namespace":"kube-system",`, "is not namespace"},
		{"an account that is mounted", "service-account-token", 0, `"automountServiceAccountToken":false`, `"automountServiceAccountToken":true`, "automountServiceAccountToken"},
		{"a token for the API server", "service-account-token", 1, `"auditcanary.invalid"`, `"https://kubernetes.default.svc"`, "audiences"},
		{"a token that lives", "service-account-token", 1, `600`, `86400`, "expirationSeconds"},
		{"a token of the canaries' own account", "service-account-token", 1, `"name":"${name}"`, `"name":"auditcanary-canary"`, "is not this canary's"},
		{"another secret", "break-glass-secret", 0, `"name":"${fixture.break_glass_secret}"`, `"name":"database"`, "must be the fixture"},
		{"a secret as oneself", "break-glass-secret", 0, `"impersonate":{"user":"${fixture.break_glass_user}"},`, ``, "impersonate must be"},
		{"a secret as somebody else", "break-glass-secret", 0, `"user":"${fixture.break_glass_user}"`, `"user":"admin"`, "impersonate must be"},
		{"impersonating a real user", "impersonation", 0, `"user":"${fixture.break_glass_user}"`, `"user":"admin"`, "impersonate must name"},
		{"a policy for all pods", "network-policy", 0, `"podSelector":{"matchLabels":{"auditcanary.dev/canary":"${canary}"}}`, `"podSelector":{}`, "podSelector"},
		{"a signer that signs", "certificate-request", 0, `auditcanary.dev/nobody`, `kubernetes.io/kube-apiserver-client`, "signerName"},
		{"another admission policy", "admission-policy", 0, `${fixture.decoy_policy}`, `auditcanary-fence`, "must be the fixture"},
		{"more than the decoy's switch", "admission-policy", 0, `"failurePolicy":"Ignore"`, `"failurePolicy":"Ignore","validations":[]`, "body may only set"},
		{"a command that does something", "pod-exec-denied", 0, `["true"]`, `["sh","-c","true"]`, "must be [true]"},
		{"a pod of somebody else's", "pod-exec-denied", 0, `"name":"${name}"`, `"name":"database-0"`, "is not this canary's"},
		{"deleting in earnest", "log-shipper-delete-denied", 0, `"dryRun":["All"],`, ``, "must be a dry run"},
		{"deleting what is there", "log-shipper-delete-denied", 0, `00000000-0000-0000-0000-000000000000`, `11111111-0000-0000-0000-000000000000`, "must be a dry run"},
		{"deleting another thing", "log-shipper-delete-denied", 0, `${fixture.log_shipper}`, `kube-proxy`, "must be the fixture"},
		{"deleting another binding", "admission-binding-delete-denied", 0, `${fixture.fence_binding}`, `other`, "must be the fixture"},
	} {
		c, _ := cloudOf(t, nil, nil)
		s := scenario(t, "kubernetes/"+tc.scenario)
		raw, err := json.Marshal(s.Steps[tc.step].Params)
		if err != nil {
			t.Fatal(err)
		}
		changed := strings.Replace(string(raw), tc.old, tc.new, 1)
		if changed == string(raw) {
			t.Errorf("%s: %s is not in %s", tc.claim, tc.old, raw)
			continue
		}
		s.Steps[tc.step].Params = nil
		if err := json.Unmarshal([]byte(changed), &s.Steps[tc.step].Params); err != nil {
			t.Fatal(err)
		}
		if _, err := c.Plan(s, aCanary(s.ID)); err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s: %v, want %q", tc.claim, err, tc.want)
		}
	}
}

func TestAnUndoMustBeTheUndo(t *testing.T) {
	for _, tc := range []struct {
		claim  string
		change func(*canary.Scenario)
		want   string
	}{
		{"none", func(s *canary.Scenario) { s.Steps[0].Undo, s.Steps[0].NoUndo = nil, "it is gone soon enough by itself" }, "has no undo: it must be undone by"},
		{"another call", func(s *canary.Scenario) { s.Steps[0].Undo.Call = rbac + ":delete clusterrolebindings" }, "is not proven to undo"},
		{"of another thing", func(s *canary.Scenario) { s.Steps[0].Undo.Params = map[string]any{"name": "${name}-2"} }, "is about"},
		{"both", func(s *canary.Scenario) { s.Steps[0].NoUndo = "it is gone soon enough by itself" }, "an undo and a reason"},
		{"only attempted", func(s *canary.Scenario) {
			s.Steps[0].Call, s.Steps[0].Undo, s.Steps[0].NoUndo = "core:create pods/exec", nil, "nothing is left behind by this"
			s.Steps[0].Params = map[string]any{"namespace": "${fixture.namespace}", "name": "${name}", "command": []any{"true"}}
		}, "only ever attempted"},
		{"a dry run", func(s *canary.Scenario) { s.Kind = canary.DryRun }, "not for clusters"},
		{"a protection", func(s *canary.Scenario) { s.Steps[0].Protection = []canary.Protection{{}} }, "leave protection out"},
	} {
		c, _ := cloudOf(t, nil, nil)
		s := scenario(t, "kubernetes/cluster-role")
		tc.change(&s)
		if _, err := c.Plan(s, aCanary(s.ID)); err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s: %v, want %q", tc.claim, err, tc.want)
		}
	}
	c, _ := cloudOf(t, nil, nil)
	s := scenario(t, "kubernetes/admission-policy")
	s.Steps[0].Undo.Params = s.Steps[0].Params
	if _, err := c.Plan(s, aCanary(s.ID)); err == nil || !strings.Contains(err.Error(), "back to Fail") {
		t.Errorf("an undo that loosens: %v", err)
	}
}

func TestAScenarioIsReadStrictly(t *testing.T) {
	data, err := os.ReadFile("../../scenarios/kubernetes/cluster-role.yaml")
	if err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct{ old, new, want string }{
		{"rules:", "rulez:", `own.yaml:29:9: rbac.authorization.k8s.io:create clusterroles: unknown field "body.rulez"`},
		{"verbs: [get]", "verb: [get]", `own.yaml:30:14: rbac.authorization.k8s.io:create clusterroles: unknown field "body.rules[0].verb"`},
		{"verbs: [get]", "Verbs: [get]", `unknown field "body.rules[0].Verbs"`},
		{"verbs: [get]", "verbs: get", `cannot unmarshal string`},
		{"      body:", "      bodies:", `unknown field "bodies"`},
		{"create clusterroles", "create nodes", `operation "rbac.authorization.k8s.io:create nodes" is not on the allow-list`},
	} {
		changed := strings.Replace(strings.Replace(string(data), tc.old, tc.new, 1), "id: kubernetes/cluster-role", "id: kubernetes/own", 1)
		_, err := scenarios.Read("own.yaml", []byte(changed), checking{})
		if err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s: %v\nwant %s", tc.new, err, tc.want)
		}
	}
}

// TestManifests pins what an operator applies, for all scenarios.
func TestManifests(t *testing.T) {
	c, _ := cloudOf(t, nil, nil)
	var plans []run.Plan
	for _, s := range catalogue(t) {
		p, err := c.Plan(s, aCanary(s.ID))
		if err != nil {
			t.Fatal(err)
		}
		plans = append(plans, p)
	}
	list, err := Manifests(c.clusters["prod"].Cluster, plans)
	if err != nil {
		t.Fatal(err)
	}
	var v any
	if err := json.Unmarshal(list, &v); err != nil {
		t.Fatal(err)
	}
	got, _ := json.MarshalIndent(v, "", " ")
	got = append(got, '\n')
	if *update {
		if err := os.WriteFile("testdata/manifests.golden", got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile("testdata/manifests.golden")
	if err != nil {
		t.Fatal(err)
	}
	if string(got) != string(want) {
		t.Errorf("testdata/manifests.golden differs; if that is meant, run go test ./shared/kubernetes -update\n%s", got)
	}
}

// TestTheRightsAreNarrow: of what RBAC can name, canaries may touch what is named only,
// and of what could be taken away from others nothing.
func TestTheRightsAreNarrow(t *testing.T) {
	c, _ := cloudOf(t, nil, nil)
	var all rights
	for _, s := range catalogue(t) {
		p, err := c.Plan(s, aCanary(s.ID))
		if err != nil {
			t.Fatal(err)
		}
		var n rights
		if err := json.Unmarshal(p.Permissions, &n); err != nil {
			t.Fatal(err)
		}
		all.Cluster, all.Namespace = append(all.Cluster, n.Cluster...), append(all.Namespace, n.Namespace...)
	}
	for _, r := range slices.Concat(all.Cluster, all.Namespace, sweepRights.Cluster, sweepRights.Namespace) {
		for _, part := range slices.Concat(r.Verbs, r.Resources, r.APIGroups, r.ResourceNames) {
			if strings.Contains(part, "*") {
				t.Errorf("%+v has a wildcard", r)
			}
		}
		named := slices.ContainsFunc(r.Resources, func(s string) bool {
			return slices.Contains([]string{"secrets", "users", "groups", "validatingadmissionpolicies", "configmaps"}, s)
		})
		if named && len(r.ResourceNames) == 0 {
			t.Errorf("%+v names nothing", r)
		}
		for _, never := range []string{"escalate", "bind", "approve", "deletecollection"} {
			if slices.Contains(r.Verbs, never) {
				t.Errorf("%+v", r)
			}
		}
		for _, never := range []string{"pods/exec", "daemonsets", "validatingadmissionpolicybindings", "groups", "nodes", "secrets"} {
			if slices.Contains(r.Resources, never) {
				t.Errorf("what must be denied is allowed: %+v", r)
			}
		}
	}
}

func TestRulesAreMerged(t *testing.T) {
	rule := func(verb, resource string, names ...string) rbacv1.PolicyRule {
		return rbacv1.PolicyRule{Verbs: []string{verb}, APIGroups: []string{""}, Resources: []string{resource}, ResourceNames: names}
	}
	got := merge([]rbacv1.PolicyRule{rule("delete", "b"), rule("create", "a"), rule("create", "b"), rule("delete", "a"), rule("create", "a"), rule("get", "a", "x"), rule("get", "b", "x")})
	raw, _ := json.Marshal(got)
	if want := `[{"verbs":["create","delete"],"apiGroups":[""],"resources":["a","b"]},{"verbs":["get"],"apiGroups":[""],"resources":["a","b"],"resourceNames":["x"]}]`; string(raw) != want {
		t.Errorf("got  %s\nwant %s", raw, want)
	}
}

func FuzzCheckCall(f *testing.F) {
	f.Add("rbac.authorization.k8s.io:create clusterroles", `{"body":{"apiVersion":"rbac.authorization.k8s.io/v1","kind":"ClusterRole","metadata":{"name":"auditcanary-x"},"rules":[{"verbs":["get"]}]}}`)
	f.Add("core:create pods/exec", `{"namespace":"auditcanary","name":"auditcanary-x","command":["true"]}`)
	f.Add("apps:delete daemonsets", `{"namespace":"a","name":"b","body":{"dryRun":["All"],"preconditions":{"uid":"x"}}}`)
	f.Add("core:get secrets", `{"body":null,"impersonate":{"user":"","groups":[null]}}`)
	f.Fuzz(func(t *testing.T, operation, params string) {
		var p map[string]any
		if json.Unmarshal([]byte(params), &p) != nil {
			return
		}
		_, r, err := lookUp(operation, p)
		if err != nil {
			return
		}
		s := Cluster{Name: "prod", Namespace: "auditcanary"}.scene(aCanary("x"))
		if operations[operation].check(s, r) != nil {
			return
		}
		// Whatever is admitted stays with the canary's own things, or the fixtures'.
		at, err := locate(operation, operations[operation], r)
		if err != nil {
			t.Fatal(err)
		}
		if name := r.objectName(); name != "" && !strings.HasPrefix(name, "auditcanary-") || strings.Contains(at.path, "..") || strings.Contains(r.Name, "/") {
			t.Errorf("%s %s is admitted: %s", operation, params, at.path)
		}
	})
}
