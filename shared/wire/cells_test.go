package wire

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func celled(t *testing.T, more ...string) *Config {
	t.Helper()
	data, err := os.ReadFile("testdata/good.yaml")
	if err != nil {
		t.Fatal(err)
	}
	second := "targets:\n  - account: \"222222222222\"\n    cell: b\n    regions: [eu-central-1]\n    role_arn: arn:aws:iam::222222222222:role/auditcanary-injector\n  - cell: a\n    account:"
	text := strings.Replace(string(data), "targets:\n  - account:", second, 1)
	text += strings.Join(more, "")
	text += "\nalerts:\n  - name: permissions-changed\n    sqs: {queue_url: \"https://sqs.eu-central-1.amazonaws.com/999999999999/alerts-{cell}\", region: eu-central-1}\n"
	c, err := Parse(filepath.Join(t.TempDir(), "auditcanary.yaml"), []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestACellHasItsAccountsItsLedgerAndItsPackets(t *testing.T) {
	c := celled(t, "\nclusters: [{name: prod-eu, cell: b}, {name: prod-us, cell: c}]")
	if got := c.Cells(); !slices.Equal(got, []string{"b", "a", "c"}) {
		t.Fatalf("cells %q", got)
	}
	origin, dir := c.Ledger.Origin, c.Ledger.Dir
	if err := c.Select(Selection{Cell: "b"}); err != nil {
		t.Fatal(err)
	}
	if len(c.Targets) != 1 || c.Targets[0].Account != "222222222222" {
		t.Errorf("accounts %+v", c.Targets)
	}
	if len(c.Clusters) != 1 || c.Clusters[0].Name != "prod-eu" {
		t.Errorf("clusters %+v", c.Clusters)
	}
	for _, a := range c.Alerts {
		if a.SQS != nil && !strings.HasSuffix(a.SQS.QueueURL, "-b") {
			t.Errorf("alert %s arrives at %s", a.Name, a.SQS.QueueURL)
		}
	}
	if c.Ledger.Origin != origin+"/b" || c.Ledger.Dir != filepath.Join(dir, "b") || c.Evidence.Prefix != "b/" {
		t.Errorf("origin %q, directory %q, packets under %q", c.Ledger.Origin, c.Ledger.Dir, c.Evidence.Prefix)
	}
	// Narrowed down once more, by something else, it stays in its cell.
	if err := c.Select(Selection{Targets: []string{"222222222222/eu-central-1"}}); err != nil || c.Cell() != "b" {
		t.Errorf("cell %q, %v", c.Cell(), err)
	}
}

func TestNoLedgerIsOpenedWhereACellMustBeChosenFirst(t *testing.T) {
	c := celled(t)
	_, err := c.ledgerStore(context.Background())
	if err == nil || !strings.Contains(err.Error(), "choose one (--cell") || !strings.HasSuffix(err.Error(), ": there are b, a") {
		t.Errorf("%v", err)
	}
	if err := c.Select(Selection{Cell: "d"}); err == nil || !strings.HasSuffix(err.Error(), ": there are b, a") {
		t.Errorf("%v", err)
	}
}
