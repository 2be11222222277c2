package wire

import (
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/auditcanary/auditcanary/shared/canary"
	"github.com/auditcanary/auditcanary/shared/kubernetes"
	"github.com/auditcanary/auditcanary/shared/run"
)

// Cluster is one Kubernetes cluster in which canaries act. `auditcanary plan` prints
// what must be applied there once: a namespace and a service account with the rights
// that the scenarios need, an admission policy that fences it in, and what canaries act on.
type Cluster struct {
	// Name by which verdicts call it ("prod-eu"): letters, digits, dots and dashes,
	// beginning with a letter. Log stores hold the cluster's records under it.
	Name string `yaml:"name"`
	// Cell of the cluster, as that of an account (targets.cell).
	Cell string `yaml:"cell"`
	// Kubeconfig is the file with the API server's address and the injector's
	// credentials, and Context which of its contexts is meant (default: the current one).
	// No file: this program runs in a pod of that cluster. Credentials stand there, or in
	// what it names, and nowhere else. The injector must be in the group
	// auditcanary-injectors, or be bound to the role of that name.
	Kubeconfig string `yaml:"kubeconfig"`
	Context    string `yaml:"context"`
	// Namespace in which canaries act, and nothing else (default auditcanary).
	Namespace string `yaml:"namespace"`
	// Egress lists the addresses (or CIDR ranges) that calls come from, as the API server
	// sees them. Empty: the records' source address is not compared, and every verdict
	// says so.
	Egress []string `yaml:"egress"`
	// Fixtures are the real things that attempts which must be denied name; nothing is
	// ever done to them. A scenario whose fixture is missing is not run, and says so.
	//
	//   - log_shipper, log_shipper_namespace: the DaemonSet that ships the logs.
	Fixtures map[string]string `yaml:"fixtures"`
	// AuditLogs are the files that the API servers themselves write their audit logs to,
	// where this program can read them (on a node of the control plane): one for each API
	// server of the cluster, and all of them, since a call is recorded by the one that
	// answered it. With them a record that is not in the store is either not emitted or
	// lost on the way; without them, or where they no longer reach back to the call, nobody
	// knows.
	AuditLogs []string `yaml:"audit_logs"`
	// AuditPolicy is the file of the API server's audit policy, and APIServerFlags its
	// arguments: a list, or a file that has them (its command line, or the manifest of its
	// pod). With them `auditcanary plan` and `auditcanary doctor` say what would not be
	// recorded. Optional; no cluster is asked for them.
	AuditPolicy    string      `yaml:"audit_policy"`
	APIServerFlags ServerFlags `yaml:"api_server_flags"`
	// CallTimeout bounds one call (default 30s).
	CallTimeout Duration `yaml:"call_timeout"`
}

// driver is the cluster as its driver takes it.
func (c *Config) driver(cl Cluster) kubernetes.Cluster {
	out := kubernetes.Cluster{
		Name: cl.Name, Namespace: cl.Namespace, Egress: cl.Egress, Fixtures: cl.Fixtures, CallTimeout: cl.CallTimeout.Duration,
		Connect: func() (*rest.Config, error) { return c.connect(cl) },
	}
	if out.Namespace == "" {
		out.Namespace = canary.Marker
	}
	for _, file := range cl.AuditLogs {
		out.AuditLogs = append(out.AuditLogs, c.path(file))
	}
	return out
}

// connect reads a cluster's address and credentials.
func (c *Config) connect(cl Cluster) (*rest.Config, error) {
	if cl.Kubeconfig == "" {
		cfg, err := rest.InClusterConfig()
		if err != nil {
			return nil, fmt.Errorf("no kubeconfig is configured, and this is no pod of a cluster: %w", err)
		}
		return cfg, nil
	}
	file := c.path(cl.Kubeconfig)
	if st, err := os.Stat(file); err != nil {
		return nil, fmt.Errorf("kubeconfig: %w", err)
	} else if st.Mode().Perm()&0o077 != 0 {
		return nil, fmt.Errorf("kubeconfig %s is readable by others (mode %04o); run: chmod 600 %s", file, st.Mode().Perm(), file)
	}
	cfg, err := clientcmd.NewNonInteractiveDeferredLoadingClientConfig(
		&clientcmd.ClientConfigLoadingRules{ExplicitPath: file},
		&clientcmd.ConfigOverrides{CurrentContext: cl.Context}).ClientConfig()
	if err != nil {
		return nil, fmt.Errorf("kubeconfig %s: %w", file, err)
	}
	return cfg, nil
}

// clusters is the driver of all clusters. own is told of the calls it makes for itself.
func (c *Config) clusters(clock func() time.Time, own func(string)) (*kubernetes.Cloud, error) {
	o := kubernetes.Options{Clock: clock, Own: own}
	for _, cl := range c.Clusters {
		o.Clusters = append(o.Clusters, c.driver(cl))
	}
	return kubernetes.New(o)
}

func (c *Config) clusterTargets() []canary.Target {
	var out []canary.Target
	for _, cl := range c.Clusters {
		out = append(out, canary.Target{Provider: kubernetes.Provider, Account: cl.Name, Region: kubernetes.Region})
	}
	return out
}

// manifests is what a cluster needs for the plans.
func (c *Config) manifests(name string, plans []run.Plan) (json.RawMessage, error) {
	i := slices.IndexFunc(c.Clusters, func(cl Cluster) bool { return cl.Name == name })
	if i < 0 {
		return nil, fmt.Errorf("cluster %s is not in %s", name, c.file)
	}
	return kubernetes.Manifests(c.driver(c.Clusters[i]), plans)
}

func (c *Config) checkClusters(bad complain) {
	first := map[string]int{}
	for i, cl := range c.Clusters {
		at := fmt.Sprintf("clusters.%d", i)
		if err := c.driver(cl).Check(); err != nil {
			field, _, _ := strings.Cut(err.Error(), " ")
			bad(at+"."+strings.TrimSuffix(field, ":"), "cluster %q: %v", cl.Name, err)
		}
		if j, twice := first[cl.Name]; twice {
			bad(at+".name", "cluster %q is already clusters[%d]", cl.Name, j)
		}
		first[cl.Name] = i
		if cl.Kubeconfig == "" && cl.Context != "" {
			bad(at+".context", "cluster %q has a context and no kubeconfig that it could be in", cl.Name)
		}
	}
}

// ofCluster reports whether an operation is one of clusters: those of clouds have no
// space in them.
func ofCluster(operation string) bool { return strings.Contains(operation, " ") }
