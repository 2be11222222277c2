package main

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/auditcanary/auditcanary/shared/wire"
)

// Before anything is done in a cluster, the plan says what would leave no record there.
func TestThePlanSaysWhatAnAPIServerLeavesUnrecorded(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{
		"policy.yaml": "apiVersion: audit.k8s.io/v1\nkind: Policy\nrules:\n- level: None\n  resources: [{resources: [\"pods/exec\"]}]\n- level: Request\n",
		"auditcanary.yaml": `version: 1
clusters:
  - {name: prod, kubeconfig: k, audit_policy: policy.yaml, api_server_flags: ["--audit-policy-file=p", "--audit-log-path=/l"]}
  - {name: test, kubeconfig: k}
log_stores: [{name: central, type: loki, url: "http://127.0.0.1:3100", selector: '{job="a"}', cluster_field: cluster}]
ledger: {origin: auditcanary.example/test, dir: ledger}
signing: {key_file: signing.key}
`} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	plan := func(o *options) []byte {
		o.config = filepath.Join(dir, "auditcanary.yaml")
		cmd := planCommand(o)
		var b bytes.Buffer
		cmd.SetOut(&b)
		cmd.SetArgs([]string{"kubernetes/pod-exec-denied"})
		if err := cmd.Execute(); err != nil {
			t.Fatal(err)
		}
		return b.Bytes()
	}
	text := string(plan(&options{}))
	for _, want := range []string{
		"What the API server of cluster prod would leave unrecorded:\n  dropped policy.yaml:4: kubernetes/pod-exec-denied step exec: rule 1 records nothing of create pods/exec in auditcanary by system:serviceaccount:auditcanary:auditcanary-canary\n  weak    --audit-log-mode: ",
		"What the API server of cluster test leaves unrecorded is not known: neither audit_policy nor api_server_flags is given.\n2 canaries planned. Nothing was called.\n",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("the plan does not say\n%s\nbut\n%s", want, text[max(0, len(text)-1500):])
		}
	}
	var out struct{ Audit []wire.Weighed }
	if err := json.Unmarshal(plan(&options{json: true}), &out); err != nil || len(out.Audit) != 2 || len(out.Audit[0].Findings) != 2 || out.Audit[1].Policy {
		t.Errorf("%+v, %v", out, err)
	}
}
