package wire

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/auditcanary/auditcanary/shared/canary"
)

const onlyClusters = `version: 1
clusters:
  - name: prod
    kubeconfig: prod.kubeconfig
    egress: [192.0.2.7]
    fixtures: {log_shipper: fluent-bit, log_shipper_namespace: logging}
  - {name: test, kubeconfig: test.kubeconfig, namespace: auditcanary-test}
log_stores:
  - {name: central, type: victorialogs, url: "http://127.0.0.1:9428", selector: '{job="kube-audit"}', cluster_field: cluster}
ledger: {origin: auditcanary.example/test, dir: ledger}
signing: {key_file: signing.key}
`

func clustersIn(t *testing.T, dir string) *Config {
	t.Helper()
	c, err := Parse(filepath.Join(dir, "auditcanary.yaml"), []byte(onlyClusters))
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestAConfigurationOfClustersAloneIsPlanned(t *testing.T) {
	c := clustersIn(t, t.TempDir())
	plans, err := Plan(c)
	if err != nil {
		t.Fatal(err)
	}
	done, notRun := map[string]int{}, map[string]int{}
	for _, p := range plans {
		at := p.Canary.Target
		if at.Provider != "kubernetes" || at.Region != "cluster" || !strings.HasPrefix(p.Scenario.ID, "kubernetes/") {
			t.Errorf("%s is planned at %+v", p.Scenario.ID, at)
		}
		if p.NotRun != "" {
			notRun[at.Account]++
		} else {
			done[at.Account]++
		}
	}
	// The one that names a log shipper is not run where none is configured.
	if done["prod"] < 8 || done["test"] != done["prod"]-1 || notRun["test"] != 1 || notRun["prod"] != 0 {
		t.Errorf("planned %v, not run %v", done, notRun)
	}
	permissions, err := Permissions(c, plans)
	if err != nil {
		t.Fatal(err)
	}
	for cluster, namespace := range map[string]string{"prod": "auditcanary", "test": "auditcanary-test"} {
		if len(permissions[cluster]) != 1 {
			t.Fatalf("%s: %d manifests", cluster, len(permissions[cluster]))
		}
		var list struct {
			Kind  string
			Items []struct {
				Kind     string
				Metadata struct{ Name, Namespace string }
			}
		}
		if err := json.Unmarshal(permissions[cluster][0], &list); err != nil || list.Kind != "List" || list.Items[0].Metadata.Name != namespace {
			t.Errorf("%s: %+v, %v", cluster, list, err)
		}
	}
}

func TestAClusterIsSelectedByItsName(t *testing.T) {
	c := clustersIn(t, t.TempDir())
	if err := c.Select(Selection{Targets: []string{"test"}}); err != nil {
		t.Fatal(err)
	}
	if got := c.targets(); len(got) != 1 || got[0] != (canary.Target{Provider: "kubernetes", Account: "test", Region: "cluster"}) {
		t.Errorf("%+v", got)
	}
	if err := c.Select(Selection{Targets: []string{"other"}}); err == nil {
		t.Error("a cluster that is not configured was selected")
	}
}

func TestCredentialsOfAClusterAreForNobodyElse(t *testing.T) {
	dir := t.TempDir()
	c := clustersIn(t, dir)
	file := filepath.Join(dir, "prod.kubeconfig")
	connect := func(context string) error {
		cl := c.Clusters[0]
		cl.Context = context
		_, err := c.connect(cl)
		return err
	}
	if err := connect(""); err == nil || !strings.Contains(err.Error(), "no such file") {
		t.Errorf("no file: %v", err)
	}
	const config = `{"apiVersion":"v1","kind":"Config","current-context":"it","clusters":[{"name":"it","cluster":{"server":"https://192.0.2.1"}}],
"users":[{"name":"it","user":{"token":"hunter2"}}],"contexts":[{"name":"it","context":{"cluster":"it","user":"it"}}]}`
	if err := os.WriteFile(file, []byte(config), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := connect(""); err == nil || !strings.Contains(err.Error(), "chmod 600") {
		t.Errorf("readable by others: %v", err)
	}
	if err := os.Chmod(file, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := connect(""); err != nil {
		t.Error(err)
	}
	if err := connect("other"); err == nil || !strings.Contains(err.Error(), "other") {
		t.Errorf("a context that is not in it: %v", err)
	}
	if err := os.WriteFile(file, []byte(`{"users":"hunter2`), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := connect(""); err == nil || strings.Contains(err.Error(), "hunter2") {
		t.Errorf("a file that is none: %v", err)
	}
}
