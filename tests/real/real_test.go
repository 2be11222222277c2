package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

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
	lost(t, w.canaries(t, "run"), canary.Emitted, "cluster-role", "role")
}

func TestAnAuditPolicyThatSparesOneUserIsNoticed(t *testing.T) {
	w := start(t, `  - level: None
    users: ["system:serviceaccount:auditcanary:auditcanary-canary"]
`)
	lost(t, w.canaries(t, "run"), canary.Emitted, "*")
}
