package auditpolicy

import (
	"fmt"
	"strings"
	"testing"
)

func policy(t testing.TB, rules string) Policy {
	t.Helper()
	p, err := Read("audit-policy.yaml", []byte("apiVersion: audit.k8s.io/v1\nkind: Policy\nrules:\n"+rules))
	if err != nil {
		t.Fatal(err)
	}
	return p
}

var binding = Request{User: "system:serviceaccount:auditcanary:injector", Groups: []string{"system:serviceaccounts", "system:authenticated"}, Verb: "create", APIGroup: "rbac.authorization.k8s.io", Resource: "clusterrolebindings"}

// The cases follow k8s.io/apiserver v0.37.2, pkg/audit/policy/checker.go.
func TestTheFirstRuleThatMatchesDecides(t *testing.T) {
	exec := Request{User: "u", Verb: "create", Resource: "pods", Subresource: "exec", Namespace: "ns", Name: "p"}
	secret := Request{User: "u", Verb: "get", Resource: "secrets", Namespace: "ns", Name: "s"}
	path := Request{User: "u", Verb: "get", Path: "/metrics/cadvisor"}
	for _, c := range []struct {
		rules string
		of    Request
		want  string // level, rule
	}{
		{"- level: Metadata", binding, "Metadata 1"},
		{"- {level: None, verbs: [get]}\n- level: Request", binding, "Request 2"},
		{"- {level: None, verbs: [get]}", binding, "None 0"},
		{"- {level: None, users: [\"system:serviceaccount:auditcanary:injector\"]}\n- level: Metadata", binding, "None 1"},
		{"- {level: None, users: [injector]}\n- level: Metadata", binding, "Metadata 2"},
		{"- {level: None, userGroups: [\"system:authenticated\"]}\n- level: Metadata", binding, "None 1"},
		{"- {level: None, userGroups: [\"system:nodes\"]}\n- level: Metadata", binding, "Metadata 2"},
		{"- {level: None, resources: [{group: rbac.authorization.k8s.io}]}\n- level: Metadata", binding, "None 1"},
		{"- {level: None, resources: [{group: \"\"}]}\n- level: Metadata", binding, "Metadata 2"},
		{"- {level: None, resources: [{group: \"*\", resources: [clusterrolebindings]}]}\n- level: Metadata", binding, "None 1"},
		{"- {level: None, resources: [{group: rbac.authorization.k8s.io, resources: [clusterrolebindings], resourceNames: [x]}]}\n- level: Metadata", binding, "Metadata 2"},
		{"- {level: None, namespaces: [\"\"]}\n- level: Metadata", binding, "None 1"},
		{"- {level: None, namespaces: [kube-system]}\n- level: Metadata", binding, "Metadata 2"},
		{"- {level: None, resources: [{resources: [pods]}]}\n- level: Metadata", exec, "Metadata 2"},
		{"- {level: None, resources: [{resources: [pods/exec]}]}\n- level: Metadata", exec, "None 1"},
		{"- {level: None, resources: [{resources: [pods/*]}]}\n- level: Metadata", exec, "None 1"},
		{"- {level: None, resources: [{resources: [\"*/exec\"]}]}\n- level: Metadata", exec, "None 1"},
		{"- {level: None, resources: [{resources: [\"*/log\"]}]}\n- level: Metadata", exec, "Metadata 2"},
		{"- {level: None, resources: [{resources: [\"*\"]}]}\n- level: Metadata", exec, "None 1"},
		{"- {level: None, resources: [{resources: [secrets], resourceNames: [s]}], namespaces: [ns]}\n- level: Metadata", secret, "None 1"},
		{"- {level: None, nonResourceURLs: [\"/metrics*\"]}\n- level: Metadata", path, "None 1"},
		{"- {level: None, nonResourceURLs: [\"/metrics\"]}\n- level: Metadata", path, "Metadata 2"},
		{"- {level: None, nonResourceURLs: [\"*\"]}\n- level: Metadata", binding, "Metadata 2"},
		{"- {level: None, namespaces: [\"\"]}\n- level: Metadata", path, "Metadata 2"},
	} {
		d := policy(t, c.rules).Decide(c.of)
		if got := fmt.Sprintf("%s %d", d.Level, d.Rule); got != c.want {
			t.Errorf("%s\nof %s: %s, want %s", c.rules, c.of, got, c.want)
		}
	}
}

func TestWhatAPolicyDropsIsNamed(t *testing.T) {
	expected := []Expected{{Name: "kubernetes/cluster-admin-binding create", Category: "kubernetes", Request: binding}}
	for _, c := range []struct {
		claim, rules string
		want         []string // "status at: part of the detail"
	}{
		{"all of it recorded", "- level: RequestResponse", nil},
		{"RBAC dropped", "- {level: None, resources: [{group: rbac.authorization.k8s.io}]}\n- level: RequestResponse", []string{"dropped audit-policy.yaml:4: rule 1 records nothing of create clusterrolebindings"}},
		{"nothing for one user", "- level: None\n  users: [\"system:serviceaccount:auditcanary:injector\"]\n- level: RequestResponse", []string{"dropped audit-policy.yaml:4: rule 1 records nothing"}},
		{"nothing for another user", "- level: RequestResponse\n  verbs: [create]\n- level: None\n  users: [mallory]\n- level: RequestResponse", []string{"unseen audit-policy.yaml:6: rule 2 drops what no canary does, and so none can notice: users mallory"}},
		{"no rule at the end", "- {level: Metadata, verbs: [get]}", []string{"dropped audit-policy.yaml: no rule matches"}},
		{"the outcome left out", "- {level: RequestResponse, omitStages: [ResponseComplete]}", []string{"dropped audit-policy.yaml:4: rule 1 leaves out stage ResponseComplete"}},
		{"the beginning left out is well", "- {level: RequestResponse, omitStages: [RequestReceived]}", nil},
		{"no bodies", "- level: Metadata", []string{"thin audit-policy.yaml:4: rule 1 records of create clusterrolebindings"}},
		{"what every policy leaves out", "- {level: None, userGroups: [\"system:nodes\"], verbs: [get, list, watch]  , resources: [{resources: [nodes]}]}\n- {level: None, nonResourceURLs: [\"/healthz*\"]}\n- level: RequestResponse", nil},
		{"secrets read by nodes", "- {level: None, userGroups: [\"system:nodes\"], verbs: [get]}\n- level: RequestResponse", []string{"unseen audit-policy.yaml:4: rule 1 drops"}},
		{"commands run by a get", "- {level: None, verbs: [get], resources: [{resources: [\"pods/exec\", \"pods/attach\", \"nodes/proxy\"]}]}\n- level: RequestResponse", []string{"unseen audit-policy.yaml:4: rule 1 drops"}},
		{"ports forwarded by a get", "- {level: None, verbs: [get, list], resources: [{resources: [\"*/portforward\"]}]}\n- level: RequestResponse", []string{"unseen audit-policy.yaml:4: rule 1 drops"}},
		{"services reached by a get", "- {level: None, verbs: [get], resources: [{resources: [\"services/*\"]}]}\n- level: RequestResponse", []string{"unseen audit-policy.yaml:4: rule 1 drops"}},
		{"one pod reached by a get", "- {level: None, verbs: [get], resources: [{resources: [\"pods/proxy\"], resourceNames: [p]}]}\n- level: RequestResponse", []string{"unseen audit-policy.yaml:4: rule 1 drops"}},
		{"what is only watched", "- {level: None, verbs: [list, watch], resources: [{resources: [\"pods/exec\", \"nodes/proxy\"]}]}\n- {level: None, verbs: [get], resources: [{resources: [\"pods/log\", \"nodes\"]}, {group: metrics.k8s.io, resources: [\"nodes/proxy\"]}]}\n- level: RequestResponse", nil},
		{"a key that is misspelt", "- {level: None, userGroup: [\"system:nodes\"]}\n- level: RequestResponse", []string{`unseen audit-policy.yaml: audit-policy.yaml:4: the server does not know the key "userGroup"`, "dropped audit-policy.yaml:4: rule 1"}},
	} {
		var got []string
		for _, f := range policy(t, c.rules).Weigh(expected) {
			got = append(got, fmt.Sprintf("%s %s: %s", f.Status, f.At, f.Detail))
			if f.Status == Dropped && f.Category != "kubernetes" {
				t.Errorf("%s: %+v names no category", c.claim, f)
			}
		}
		ok := len(got) == len(c.want)
		for i := range min(len(got), len(c.want)) {
			ok = ok && strings.HasPrefix(got[i], c.want[i])
		}
		if !ok {
			t.Errorf("%s:\n%s\nwant\n%s", c.claim, strings.Join(got, "\n"), strings.Join(c.want, "\n"))
		}
	}
}

func TestWhatTheServerRefusesIsRefused(t *testing.T) {
	head := "apiVersion: audit.k8s.io/v1\nkind: Policy\n"
	for _, c := range []struct{ text, want string }{
		{"", "p.yaml: empty"},
		{"a: [", "p.yaml: line 1"},
		{head, "no rules"},
		{"apiVersion: audit.k8s.io/v1beta1\nkind: Policy\nrules: [{level: None}]", "is no Policy of audit.k8s.io/v1"},
		{head + "rules:\n- level: none", `p.yaml:4: level "none" is not one of`},
		{head + "rules:\n- {level: None, omitStages: [Done]}", `p.yaml:4: omitStages: "Done" is no stage`},
		{head + "omitStages: [Done]\nrules:\n- level: None", `"Done" is no stage`},
		{head + "rules:\n- {level: None, nonResourceURLs: [/a], namespaces: [b]}", "p.yaml:4: a rule is for resources or for nonResourceURLs"},
		{head + "rules:\n- {level: None, level: Metadata}", "already defined"},
		{strings.Repeat("#", maxPolicy+1), "larger than"},
	} {
		if _, err := Read("p.yaml", []byte(c.text)); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%.60q: %v, want %q", c.text, err, c.want)
		}
	}
}

func TestFlagsThatLoseRecordsAreNamed(t *testing.T) {
	for _, c := range []struct{ args, want string }{
		{"", "dropped --audit-policy-file"},
		{"--audit-policy-file=p", "dropped --audit-log-path"},
		{"--audit-policy-file=p --audit-webhook-config-file=w --audit-webhook-mode=blocking-strict", ""},
		{"--audit-policy-file=p --audit-webhook-config-file=w", "weak --audit-webhook-mode"},
		{"--audit-policy-file p --audit-webhook-config-file w --audit-webhook-mode blocking", "weak --audit-webhook-mode"},
		{"--audit-policy-file=p --audit-webhook-config-file=w --audit-webhook-mode=blocking-strict --audit-webhook-truncate-enabled", "weak --audit-webhook-truncate-enabled"},
		{"--audit-policy-file=p --audit-log-path=/l --audit-log-mode=blocking-strict", ""},
		{"--audit-policy-file=p --audit-log-path=/l --audit-log-mode=blocking-strict --audit-log-maxsize=100 --audit-log-maxbackup=2 --audit-log-maxage=7", "weak --audit-log-maxbackup, weak --audit-log-maxage"},
		{"--audit-policy-file=p --audit-log-path=/l", "weak --audit-log-mode"},
		{"--audit-policy-file=p --audit-log-path=-", ""},
	} {
		var got []string
		for _, f := range Flags(strings.Fields(c.args)) {
			got = append(got, string(f.Status)+" "+f.At)
		}
		if s := strings.Join(got, ", "); s != c.want {
			t.Errorf("%s: %s, want %s", c.args, s, c.want)
		}
	}
}

func FuzzRead(f *testing.F) {
	f.Add("apiVersion: audit.k8s.io/v1\nkind: Policy\nrules:\n- {level: None, users: [a], resources: [{group: '*', resources: ['*/x', 'a/*']}]}\n- &a {level: Metadata}\n- *a\n")
	f.Add(`{"apiVersion":"audit.k8s.io/v1","kind":"Policy","rules":[{"level":"None","nonResourceURLs":["*"]}]}`)
	f.Fuzz(func(t *testing.T, text string) {
		p, err := Read("p", []byte(text))
		if err != nil {
			return
		}
		p.Weigh([]Expected{{Request: binding}, {Request: Request{Path: "/x"}}})
	})
}
