package kubernetes

import (
	"errors"
	"fmt"
	"net/netip"
	"regexp"
	"strings"
	"sync"
	"time"

	"k8s.io/client-go/rest"

	"github.com/auditcanary/auditcanary/shared/canary"
	"github.com/auditcanary/auditcanary/shared/run"
)

const (
	// Provider is canary.Target.Provider of a cluster. Its Account is the cluster's name.
	Provider = "kubernetes"
	// Region is canary.Target.Region of every cluster: a cluster has one audit log, and
	// its API servers do not say in it where they are.
	Region = "cluster"

	// Names of what Manifests sets up. All begin with the marker.
	serviceAccount = canary.Marker + "-canary"
	injectors      = canary.Marker + "-injectors" // a group
	fence          = canary.Marker + "-fence"
	decoyPolicy    = canary.Marker + "-decoy"
	breakGlass     = canary.Marker + "-break-glass" // a user, and the secret that it may read
	noConfigMap    = canary.Marker + "-none"        // there is none of that name

	// Labels on whatever a canary makes.
	labelRun    = "auditcanary.dev/run"
	labelCanary = "auditcanary.dev/canary"
)

// Options is what a Cloud needs.
type Options struct {
	Clusters []Cluster
	// Clock stamps Started and Ended of receipts; nothing is decided by it.
	Clock func() time.Time
	// Own is told the audit ids of the calls made for ourselves. Optional.
	Own func(auditID string)
}

// Cluster is one cluster as configured.
type Cluster struct {
	// Name by which verdicts call it.
	Name string
	// Connect gives the API server's address and the injector's credentials, when they
	// are first needed: planning needs neither.
	Connect func() (*rest.Config, error)
	// Namespace in which canaries act; it holds nothing else.
	Namespace string
	// Egress are the addresses or prefixes that calls come from; empty: not known.
	Egress []string
	// Fixtures by name: the real things that attempts which must be denied name.
	Fixtures map[string]string
	// AuditLogs are the files that the API servers themselves write their logs to, one for
	// each server there is, if this program can read them: the only history of events that
	// there is.
	AuditLogs []string
	// CallTimeout bounds each call (default 30 s).
	CallTimeout time.Duration
}

// Cloud acts in clusters. It is safe for concurrent use.
type Cloud struct {
	clusters map[string]*cluster // by name
	clock    func() time.Time
	own      func(auditID string)
}

// cluster is a Cluster with what has been found out about it.
type cluster struct {
	Cluster
	mu     sync.Mutex
	server *server // once connected
}

var (
	_ run.Cloud   = (*Cloud)(nil)
	_ run.Sweeper = (*Cloud)(nil)
	_ run.Prober  = (*session)(nil)
)

// New checks the options; it does no I/O. An error names the cluster and field.
func New(o Options) (*Cloud, error) {
	if o.Clock == nil {
		return nil, errors.New("kubernetes: no clock")
	}
	c := &Cloud{clusters: map[string]*cluster{}, clock: o.Clock, own: o.Own}
	if c.own == nil {
		c.own = func(string) {}
	}
	for _, cl := range o.Clusters {
		if cl.CallTimeout <= 0 {
			cl.CallTimeout = 30 * time.Second
		}
		if err := cl.Check(); err != nil {
			return nil, fmt.Errorf("kubernetes: cluster %q: %w", cl.Name, err)
		}
		if c.clusters[cl.Name] != nil {
			return nil, fmt.Errorf("kubernetes: cluster %q is configured twice", cl.Name)
		}
		c.clusters[cl.Name] = &cluster{Cluster: cl}
	}
	return c, nil
}

var (
	clusterForm = regexp.MustCompile(`^[a-z][a-z0-9.-]{0,62}$`)
	idForm      = regexp.MustCompile(`^[a-z0-9][a-z0-9-]{0,62}$`)
	// marked is a name of ours: a prefix and something after it.
	marked = regexp.MustCompile(`^` + canary.Marker + `-[a-z0-9]([a-z0-9.-]{0,200}[a-z0-9])?$`)
	// thingForm is any name that an object may have.
	thingForm = regexp.MustCompile(`^[a-z0-9]([a-z0-9.:-]{0,250}[a-z0-9])?$`)
)

// Check says what of the cluster's configuration cannot be.
func (cl Cluster) Check() error {
	if !clusterForm.MatchString(cl.Name) {
		return errors.New("name must be 1 to 63 of a-z, 0-9, . and -, beginning with a letter")
	}
	if cl.Namespace != canary.Marker && !marked.MatchString(cl.Namespace) {
		return fmt.Errorf("namespace %q must be %s or begin with %s-: canaries have one of their own", cl.Namespace, canary.Marker, canary.Marker)
	}
	for _, e := range cl.Egress {
		if _, err := netip.ParsePrefix(e); err != nil {
			if _, err := netip.ParseAddr(e); err != nil {
				return fmt.Errorf("egress %q is neither an address nor a prefix", e)
			}
		}
	}
	for name, v := range cl.Fixtures {
		if !thingForm.MatchString(v) {
			return fmt.Errorf("fixtures.%s: %q cannot be the name of an object", name, v)
		}
	}
	return nil
}

func (c *Cloud) cluster(t canary.Target) (*cluster, error) {
	cl := c.clusters[t.Account]
	if t.Provider != Provider || t.Region != Region || cl == nil {
		return nil, fmt.Errorf("target %s %s/%s is no cluster that is configured", t.Provider, t.Account, t.Region)
	}
	return cl, nil
}

// fixture is what the configuration, or Manifests, calls so.
func (cl Cluster) fixture(name string) (string, bool) {
	switch name {
	case "namespace":
		return cl.Namespace, true
	case "break_glass_user", "break_glass_secret":
		return breakGlass, true
	case "decoy_policy":
		return decoyPolicy, true
	case "fence_binding":
		return fence, true
	}
	v, ok := cl.Fixtures[name]
	return v, ok
}

// user is who canaries are.
func (cl Cluster) user() string {
	return "system:serviceaccount:" + cl.Namespace + ":" + serviceAccount
}

// scene is what the parts of a call are held against.
type scene struct {
	cluster   Cluster
	namespace string
	// name that what a canary makes begins with; run and canary of its labels. "" = any.
	name, run, canary string
}

func (cl Cluster) scene(c canary.Canary) scene {
	return scene{cluster: cl, namespace: cl.Namespace, name: c.Name(), run: c.Run, canary: c.ID}
}

// sweepScene is that of any canary.
func (cl Cluster) sweepScene() scene { return scene{cluster: cl, namespace: cl.Namespace} }

// mine reports whether a name is one that may be made, changed or deleted here.
func (s scene) mine(name string) bool {
	return marked.MatchString(name) && (s.name == "" || name == s.name || strings.HasPrefix(name, s.name+"-"))
}

// connect finds the API server, once.
func (cl *cluster) connect() (*server, error) {
	cl.mu.Lock()
	defer cl.mu.Unlock()
	if cl.server == nil {
		cfg, err := cl.Connect()
		if err != nil {
			return nil, fmt.Errorf("cluster %s: %w", cl.Name, err)
		}
		if cl.server, err = newServer(cfg, cl.CallTimeout); err != nil {
			return nil, fmt.Errorf("cluster %s: %w", cl.Name, err)
		}
	}
	return cl.server, nil
}
