package wire

import (
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	awssdk "github.com/aws/aws-sdk-go-v2/aws"

	"github.com/auditcanary/auditcanary/shared/canary"
	"github.com/auditcanary/auditcanary/shared/coverage"
)

// storeConfig is a configuration with a log store of its own.
func storeConfig(t *testing.T, store string) (*Config, error) {
	t.Helper()
	good, err := os.ReadFile("testdata/invalid/unknown-log-store.yaml")
	if err != nil {
		t.Fatal(err)
	}
	head, rest, _ := strings.Cut(string(good), "log_stores:\n")
	_, tail, _ := strings.Cut(rest, "ledger:")
	return Parse(filepath.Join(t.TempDir(), "auditcanary.yaml"), []byte(head+"log_stores:\n  - "+store+"\nledger:"+tail))
}

func TestEachLogStoreTypeOpens(t *testing.T) {
	t.Setenv("LOGS_TOKEN", "t0ken")
	left := maps.Clone(storeChecks())
	for typ, store := range map[string]string{
		"cloudtrail-s3":   `{name: audit, type: cloudtrail-s3, bucket: b, region: us-east-1}`,
		"victorialogs":    `{name: audit, type: victorialogs, url: "https://logs.example.com", selector: '{job="kube-audit"}', cluster_field: cluster, tenant: "0:7", bearer_env: LOGS_TOKEN}`,
		"loki":            `{name: audit, type: loki, url: "http://127.0.0.1:3100", selector: '{job="kube-audit"}', tenant: team, settle: 10s}`,
		"cloudwatch-logs": `{name: audit, type: cloudwatch-logs, region: eu-west-1, log_group: /aws/eks/prod/cluster}`,
	} {
		c, err := storeConfig(t, store)
		if err != nil {
			t.Errorf("%s: %v", typ, err)
			continue
		}
		s, kept, err := c.openLogStore(awssdk.Config{Region: "us-east-1"})
		if err != nil || s == nil || kept == nil {
			t.Errorf("%s: %v", typ, err)
		}
		delete(left, typ)
	}
	if len(left) > 0 {
		t.Errorf("types that nothing here opens: %v", slices.Collect(maps.Keys(left)))
	}
}

func TestAFormatThatCanProveNothingIsRefused(t *testing.T) {
	const store = `{name: audit, type: loki, url: "https://l.example.com", selector: '{a="b"}', format: FORMAT}`
	for format, want := range map[string]string{
		"gke":        "format gke can prove no canary",
		"syslog":     `format "syslog" is not known; known: cloudtrail, kubernetes`,
		"kubernetes": "",
		"cloudtrail": "",
	} {
		_, err := storeConfig(t, strings.Replace(store, "FORMAT", format, 1))
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "known: cloudtrail, gke")) {
			t.Errorf("%s: %v, want %q", format, err, want)
		}
	}
}

func TestASecretThatIsMissingIsNamedAndNotGuessed(t *testing.T) {
	for _, c := range []struct{ store, want string }{
		{`{name: audit, type: loki, url: "https://l.example.com", selector: '{a="b"}', bearer_env: NO_SUCH_TOKEN}`, "environment variable NO_SUCH_TOKEN is empty"},
		{`{name: audit, type: loki, url: "https://l.example.com", selector: '{a="b"}', user: u, password_env: NO_SUCH_TOKEN}`, "environment variable NO_SUCH_TOKEN is empty"},
		{`{name: audit, type: victorialogs, url: "https://l.example.com", selector: '{a="b"}', ca_file: no-such.pem}`, "ca_file"},
	} {
		cfg, err := storeConfig(t, c.store)
		if err != nil {
			t.Fatal(err)
		}
		if _, _, err := cfg.openLogStore(awssdk.Config{}); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", c.store, err, c.want)
		}
	}
}

func TestWhatIsDemandedOfAStoreThatSignsNothing(t *testing.T) {
	c, err := storeConfig(t, `{name: audit, type: loki, url: "https://l.example.com", selector: '{a="b"}'}`)
	if err != nil {
		t.Fatal(err)
	}
	if k := c.LogStores[0].keeping(); k.Mode != canary.Compliance || k.Digested != 0 || k.Overdue != 0 {
		t.Errorf("%+v: a lock is demanded unless that is given up in so many words, and no digest is waited for", k)
	}
	if f, err := c.facts(coverage.Report{}); err != nil || f.Stores[0].DigestedSeconds != 0 {
		t.Errorf("the report demands a digest: %+v, %v", f.Stores, err)
	}
	if err := c.needArchive("sources"); err == nil || !strings.Contains(err.Error(), "type loki") {
		t.Errorf("an inventory of an archive that there is not: %v", err)
	}
	good, err := Load("testdata/good.yaml")
	if err != nil {
		t.Fatal(err)
	}
	if k := good.LogStores[0].keeping(); k.Digested < time.Hour || good.needArchive("sources") != nil {
		t.Errorf("%+v", k)
	}
}
