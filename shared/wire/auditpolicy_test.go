package wire

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/auditcanary/auditcanary/shared/auditpolicy"
	"github.com/auditcanary/auditcanary/shared/doctor"
)

// What the API server of a cluster leaves unrecorded is said of each, by what is given.
func TestWhatAnAPIServerLeavesUnrecordedIsSaid(t *testing.T) {
	const all = "- {level: None, users: [\"system:serviceaccount:auditcanary:auditcanary-canary\"], resources: [{group: rbac.authorization.k8s.io}]}\n- level: RequestResponse\n"
	const strict = "[--audit-policy-file=p, --audit-log-path=/l, --audit-log-mode=blocking-strict]"
	plans, err := Plan(clustersIn(t, t.TempDir())) // what is planned does not depend on it
	if err != nil {
		t.Fatal(err)
	}
	pod := "apiVersion: v1\nkind: Pod\nspec: {containers: [{image: i, command: [kube-apiserver, --audit-policy-file=p], args: [--audit-webhook-config-file=w]}]}\n"
	for _, c := range []struct {
		claim, policy, flags, file string
		want                       []string // status: part of what was seen, in any order
		planned                    bool     // plan says the same
	}{
		{"nothing is given", "", "", "", []string{"skipped: cluster prod: neither audit_policy nor api_server_flags is given"}, true},
		{"all is recorded", "- level: RequestResponse", strict, "", []string{"ok: its audit policy and flags drop nothing"}, true},
		{"only the policy is given", "- level: RequestResponse", "", "", []string{"ok: whether it is in use"}, true},
		{"only the flags are given", "", strict, "", []string{"ok: audit_policy is not given"}, true},
		{"canaries are spared", all, "", "", []string{"wrong: p.yaml:4: kubernetes/cluster-role step create: dropped: rule 1"}, true},
		{"only those of another namespace are", strings.ReplaceAll(all, "serviceaccount:auditcanary:", "serviceaccount:other:"), strict, "",
			[]string{"wrong: p.yaml:4: unseen: rule 1 drops what no canary does"}, true},
		{"all accounts of the namespace are", "- {level: None, userGroups: [\"system:serviceaccounts:auditcanary\"], verbs: [get]}\n- level: Request", "", "",
			[]string{"wrong: p.yaml:4: kubernetes/break-glass-secret step"}, true},
		{"there is no policy", "", "[--v=2]", "", []string{"wrong: --audit-policy-file: dropped: no policy is given"}, true},
		{"a batch, as /proc has it", "", "flags", "kube-apiserver\x00--audit-policy-file\x00p\x00--audit-webhook-config-file=w\x00", []string{"ok: --audit-webhook-mode: records are sent in batches", "ok: its flags drop nothing"}, true},
		{"a batch, in a manifest", "", "flags", pod, []string{"ok: --audit-webhook-mode: records are sent in batches", "ok: its flags drop nothing"}, true},
		{"a policy that is none", "- level: Everything", "", "", []string{`wrong: cluster prod: audit_policy: p.yaml:4: level "Everything"`}, false},
		{"a file of no flags", "", "flags", "hello", []string{"wrong: cluster prod: api_server_flags: "}, false},
		{"a file that is not there", "", "nowhere", "", []string{"wrong: cluster prod: api_server_flags: open "}, false},
	} {
		dir, extra := t.TempDir(), ""
		put := func(name, text string) {
			if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		if c.policy != "" {
			put("p.yaml", "apiVersion: audit.k8s.io/v1\nkind: Policy\nrules:\n"+c.policy)
			extra += "    audit_policy: p.yaml\n"
		}
		if c.flags != "" {
			put("flags", c.file)
			extra += "    api_server_flags: " + c.flags + "\n"
		}
		cfg, err := Parse(filepath.Join(dir, "auditcanary.yaml"), []byte(strings.Replace(onlyClusters, "    egress", extra+"    egress", 1)))
		if err != nil {
			t.Fatalf("%s: %v", c.claim, err)
		}
		cfg.Clusters = cfg.Clusters[:1]
		var got []string
		found := (&patient{cfg: cfg, plans: plans}).auditPolicy(t.Context())
		for _, f := range found {
			got = append(got, string(f.Status)+": "+f.Seen)
			if f.Status == doctor.Wrong && f.Fix == "" {
				t.Errorf("%s: no fix for %s", c.claim, f.Seen)
			}
		}
		for _, want := range c.want {
			status, text, _ := strings.Cut(want, ": ")
			if !slices.ContainsFunc(got, func(g string) bool { return strings.HasPrefix(g, status+": ") && strings.Contains(g, text) }) {
				t.Errorf("%s: not said: %s\n%s", c.claim, want, strings.Join(got, "\n"))
			}
		}
		if want, _, _ := strings.Cut(c.want[0], ":"); want != "wrong" && slices.ContainsFunc(found, func(f doctor.Finding) bool { return f.Status == doctor.Wrong }) {
			t.Errorf("%s: wrong\n%s", c.claim, strings.Join(got, "\n"))
		}
		weighed, err := WeighAudit(cfg, plans)
		if (err == nil) != c.planned {
			t.Errorf("%s: planned: %v", c.claim, err)
		}
		if c.planned && weighed[0].Policy != (c.policy != "") {
			t.Errorf("%s: %+v", c.claim, weighed)
		}
	}
}

func TestEveryRequestOfACanaryIsWeighed(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "p.yaml"), []byte("apiVersion: audit.k8s.io/v1\nkind: Policy\nrules:\n- level: None"), 0o600); err != nil {
		t.Fatal(err)
	}
	cfg := clustersIn(t, dir)
	cfg.Clusters[0].AuditPolicy = "p.yaml"
	plans, err := Plan(cfg)
	if err != nil {
		t.Fatal(err)
	}
	steps := 0
	for _, p := range plans {
		if p.Canary.Target.Account == "prod" {
			steps += len(p.Steps)
		}
	}
	weighed, err := WeighAudit(cfg, plans)
	if err != nil || len(weighed) != 2 || len(weighed[0].Findings) != steps || len(weighed[1].Findings) != 0 {
		t.Fatalf("%d steps: %+v, %v", steps, weighed, err)
	}
	for _, want := range []string{"create pods/exec in auditcanary by system:serviceaccount:auditcanary:auditcanary-canary", "delete daemonsets of apps in logging", "create clusterroles of rbac.authorization.k8s.io by"} {
		if !slices.ContainsFunc(weighed[0].Findings, func(f auditpolicy.Finding) bool { return strings.Contains(f.Detail, want) }) {
			t.Errorf("nothing is said of %s: %+v", want, weighed[0].Findings)
		}
	}
}
