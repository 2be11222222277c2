package main

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"text/template"
	"time"

	"github.com/auditcanary/auditcanary/scenarios"
	"github.com/auditcanary/auditcanary/shared/canary"
	"github.com/auditcanary/auditcanary/tests/real/cluster"
	"github.com/auditcanary/auditcanary/tests/real/stores"
)

// world is a cluster whose API server delivers its audit events, through a shipper, to a
// log store; with a configuration of auditcanary for it. All of it is on loopback, and
// none of it is ours but the shipper.
type world struct {
	dir     string
	bin     string // auditcanary
	store   *stores.Server
	shipper *cluster.Shipper
	cluster *cluster.Cluster
}

// policy is an audit policy such as clusters have: what changes is recorded with what was
// asked for, what may hold secrets without it, and what only reads and is nobody's business
// not at all.
const policy = `apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
rules:
%s  - level: None
    users: ["system:apiserver"]
  - level: None
    nonResourceURLs: ["/readyz*", "/livez*", "/healthz*", "/openapi*", "/version"]
  - level: Metadata
    resources:
      - {group: "", resources: [secrets, configmaps, "serviceaccounts/token"]}
      - {group: authentication.k8s.io, resources: [tokenreviews]}
  - level: Request
`

// SLO of the run: what is not in the store after late is lost.
const configuration = `version: 1
clusters:
  - name: loopback
    kubeconfig: {{.Kubeconfig}}
    egress: [127.0.0.1]
    audit_logs: [{{.AuditLog}}]
    audit_policy: cluster/policy.yaml
    fixtures: {log_shipper: log-shipper, log_shipper_namespace: kube-system}
log_stores:
  - name: victorialogs
    type: victorialogs
    url: {{.Store}}
    selector: '{job="kube-audit"}'
    cluster_field: cluster
    settle: 3s
ledger: {origin: auditcanary.example/real, dir: ledger}
signing: {key_file: signing.key}
slo: {pass: 10s, late: {{.Late}}, amend: 1h, clock: 5s, poll: 500ms}
scenarios: {include: ["kubernetes/*"]}
exceptions: {file: exceptions.yaml}
`

// register accepts, and shows as accepted, what no such store can do.
const register = `version: 1
exceptions:
  - id: EX-REAL-1
    scope: {scenario: "kubernetes/*", target: loopback/cluster, check: sealed}
    problem: {hop: stored, status: [inconclusive], details: ["signs for nothing"]}
    control: {id: "iso27017:2015/12.4.2", version: {{.Controls}}}
    compensating_controls: ["The ledger holds the record of each canary with its hash, signed, and the API server its own file."]
    risk: {requester: Nadia Moreau, approver: Tomás Ruiz (CISO), statement: "VictoriaLogs neither signs nor locks; a copy is made every night."}
    opened: {{.Opened}}
    expires: {{.Expires}}
    remediation: {plan: Copy the log to an archive under a lock., by: {{.Expires}}}
    owner: Platform team
    contact: platform@example.com
  - id: EX-REAL-2
    scope: {scenario: "kubernetes/*", target: loopback/cluster, check: immutable}
    problem: {hop: stored, status: [fail], details: ["has no lock that keeps an entry", "after how long it drops entries"]}
    control: {id: "iso27017:2015/12.4.2", version: {{.Controls}}}
    compensating_controls: ["The ledger holds the record of each canary with its hash, signed, and the API server its own file."]
    risk: {requester: Nadia Moreau, approver: Tomás Ruiz (CISO), statement: "VictoriaLogs neither signs nor locks; a copy is made every night."}
    opened: {{.Opened}}
    expires: {{.Expires}}
    remediation: {plan: Copy the log to an archive under a lock., by: {{.Expires}}}
    owner: Platform team
    contact: platform@example.com
`

// shipperDaemonSet is what would ship logs, were there nodes.
const shipperDaemonSet = `{"apiVersion":"v1","kind":"List","items":[{"apiVersion":"apps/v1","kind":"DaemonSet","metadata":{"name":"log-shipper","namespace":"kube-system"},
"spec":{"selector":{"matchLabels":{"app":"log-shipper"}},"template":{"metadata":{"labels":{"app":"log-shipper"}},"spec":{"containers":[{"name":"shipper","image":"example.invalid/shipper"}]}}}}]}`

// options of a world.
type options struct {
	dir, bin string
	// rules of the audit policy before all others, YAML.
	rules string
	late  time.Duration
}

// newWorld starts one and sets the cluster up with what `auditcanary plan` prints. The
// caller stops it.
func newWorld(ctx context.Context, o options) (w *world, err error) {
	w = &world{dir: o.dir, bin: o.bin}
	defer func() {
		if err != nil {
			w.stop()
		}
	}()
	at := func(name string) (string, error) {
		dir := filepath.Join(o.dir, name)
		return dir, os.MkdirAll(dir, 0o700)
	}
	storeDir, err := at("victorialogs")
	if err != nil {
		return w, err
	}
	if w.store, err = stores.StartVictoriaLogs(ctx, storeDir); err != nil {
		return w, err
	}
	w.shipper = cluster.Ship(w.store.URL, "loopback")
	clusterDir, err := at("cluster")
	if err != nil {
		return w, err
	}
	starting, cancel := context.WithTimeout(ctx, 3*time.Minute)
	defer cancel()
	if w.cluster, err = cluster.Start(starting, cluster.Options{Dir: clusterDir, Policy: fmt.Sprintf(policy, o.rules), Webhook: w.shipper.URL}); err != nil {
		return w, err
	}
	if err := w.configure(w.store.URL, o.late); err != nil {
		return w, err
	}
	if _, err := w.run(ctx, io.Discard, "ledger", "keygen", "auditcanary.example/real", filepath.Join(o.dir, "signing.key")); err != nil {
		return w, err
	}
	var plan bytes.Buffer
	if code, err := w.run(ctx, &plan, "plan", "--json"); err != nil || code != 0 {
		return w, fmt.Errorf("plan (exit %d): %w\n%s", code, err, plan.Bytes())
	}
	var planned struct {
		Permissions map[string][]json.RawMessage
	}
	if err := json.Unmarshal(plan.Bytes(), &planned); err != nil || len(planned.Permissions["loopback"]) != 1 {
		return w, fmt.Errorf("plan printed no manifests: %w", err)
	}
	for _, list := range [][]byte{planned.Permissions["loopback"][0], []byte(shipperDaemonSet)} {
		if err := w.cluster.Apply(ctx, list); err != nil {
			return w, err
		}
	}
	if err := w.cluster.AwaitFence(ctx, "auditcanary"); err != nil {
		return w, err
	}
	// A server's own file says what was not written only if it began before the call, by
	// more than the two seconds by which its clock's answers may be off.
	time.Sleep(3 * time.Second)
	return w, nil
}

// configure writes the configuration.
func (w *world) configure(store string, late time.Duration) error {
	kubeconfig, err := w.cluster.Kubeconfig()
	if err != nil {
		return err
	}
	controls, err := scenarios.ReadControls()
	if err != nil {
		return err
	}
	day := func(days int) string { return time.Now().UTC().AddDate(0, 0, days).Format(time.DateOnly) }
	values := map[string]any{
		"Kubeconfig": kubeconfig, "AuditLog": w.cluster.AuditLog, "Store": store, "Late": late,
		"Controls": controls.Version, "Opened": day(-1), "Expires": day(60),
	}
	for file, text := range map[string]string{"auditcanary.yaml": configuration, "exceptions.yaml": register} {
		var filled bytes.Buffer
		err := template.Must(template.New(file).Parse(text)).Execute(&filled, values)
		if err = errors.Join(err, os.WriteFile(filepath.Join(w.dir, file), filled.Bytes(), 0o600)); err != nil {
			return err
		}
	}
	return nil
}

func (w *world) config() string { return filepath.Join(w.dir, "auditcanary.yaml") }

// run runs the real program.
func (w *world) run(ctx context.Context, out io.Writer, args ...string) (int, error) {
	cmd := exec.CommandContext(ctx, w.bin, append([]string{"--config", w.config()}, args...)...)
	cmd.Env = []string{"HOME=" + os.Getenv("HOME"), "PATH=" + os.Getenv("PATH"), "AWS_EC2_METADATA_DISABLED=true", "AWS_CONFIG_FILE=/dev/null", "AWS_SHARED_CREDENTIALS_FILE=/dev/null"}
	cmd.Stdout, cmd.Stderr = out, os.Stderr
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	err := cmd.Run()
	var ended *exec.ExitError
	if errors.As(err, &ended) {
		return ended.ExitCode(), nil
	}
	return 0, err
}

// line is one canary as `auditcanary ... --json` tells of it.
type line struct {
	Scenario string
	Category string
	Status   canary.Status
	Checks   map[canary.Check]canary.Answer
}

// proven reports whether every canary is, but for what no such store can do.
func (w *world) proven(ctx context.Context) error {
	var out bytes.Buffer
	if _, err := w.run(ctx, &out, "status", "--json"); err != nil {
		return err
	}
	var s struct{ Canaries []line }
	if err := json.Unmarshal(out.Bytes(), &s); err != nil {
		return fmt.Errorf("status: %w", err)
	}
	var errs []error
	for _, c := range s.Canaries {
		errs = append(errs, c.proven())
	}
	if len(s.Canaries) < 8 {
		errs = append(errs, fmt.Errorf("only %d canaries", len(s.Canaries)))
	}
	return errors.Join(errs...)
}

func (c line) proven() error {
	want := map[canary.Check]canary.Status{canary.Sealed: canary.Excepted, canary.Immutable: canary.Excepted, canary.Alerted: canary.NotRun}
	for _, check := range canary.Checks() {
		if got := c.Checks[check]; got.Status != cmp.Or(want[check], canary.Pass) {
			return fmt.Errorf("%s (%s): %s is %s: %s", c.Scenario, c.Category, check, got.Status, got.Detail)
		}
	}
	if c.Status != canary.Excepted {
		return fmt.Errorf("%s is %s", c.Scenario, c.Status)
	}
	return nil
}

// stop ends what was started.
func (w *world) stop() {
	if w.cluster != nil {
		w.cluster.Stop()
	}
	if w.shipper != nil {
		w.shipper.Stop()
	}
	if w.store != nil {
		w.store.Stop()
	}
}

// wiped starts another store with all that this one holds but what was filed between
// two times, as somebody leaves it who may write to its disk, and has the configuration
// look there. (VictoriaLogs of this version deletes nothing by itself but whole days.)
func (w *world) wiped(ctx context.Context, from, until time.Time, late time.Duration) error {
	dir := filepath.Join(w.dir, "wiped")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	resp, err := http.Get(w.store.URL + "/select/logsql/query?query=*")
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	all, err := io.ReadAll(resp.Body)
	if err != nil {
		return err
	}
	var rest strings.Builder
	for line := range bytes.Lines(all) {
		var e struct {
			Time time.Time `json:"_time"`
		}
		if err := json.Unmarshal(line, &e); err != nil {
			return fmt.Errorf("what the store holds: %w", err)
		}
		if e.Time.Before(from) || !e.Time.Before(until) {
			rest.Write(line)
		}
	}
	w.store.Stop()
	if w.store, err = stores.StartVictoriaLogs(ctx, dir); err != nil {
		return err
	}
	put, err := http.Post(w.store.URL+"/insert/jsonline?_stream_fields=job,cluster", "application/stream+json", strings.NewReader(rest.String()))
	if err != nil {
		return err
	}
	defer put.Body.Close()
	if put.StatusCode >= 300 {
		return fmt.Errorf("put back what was not wiped: %s", put.Status)
	}
	return w.configure(w.store.URL, late)
}
