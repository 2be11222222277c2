package aws

import (
	"errors"
	"fmt"
	"net/netip"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/arn"

	"github.com/auditcanary/auditcanary/shared/canary"
	"github.com/auditcanary/auditcanary/shared/run"
)

// Options is what a Cloud needs.
type Options struct {
	// Base has the credentials that may assume the targets' roles, and BaseEndpoint
	// where all services are to be found somewhere else.
	Base    aws.Config
	Targets []Target
	// Clock stamps Started and Ended of receipts; nothing is decided by it.
	Clock func() time.Time
	// CallTimeout bounds each call (default 30 s).
	CallTimeout time.Duration
}

// Target is one account as configured.
type Target struct {
	Account string   // 12 digits
	Regions []string // where canaries run
	// RoleARN of the injector role; ExternalID if its trust policy wants one.
	RoleARN, ExternalID string
	// Egress are the addresses or prefixes calls come from; empty = not known.
	Egress []string
	// Fixtures by region ("*" = any) and name: what was deployed for canaries to
	// act on.
	Fixtures map[string]map[string]string
}

// Cloud acts in AWS accounts. It is safe for concurrent use.
type Cloud struct {
	base    aws.Config
	targets map[string]Target // by account
	clock   func() time.Time
	timeout time.Duration

	mu      sync.Mutex
	readers map[reader]aws.CredentialsProvider

	asking      sync.Mutex
	attemptable map[string]standing // by account; see mayAttempt
}

var (
	_ run.Cloud   = (*Cloud)(nil)
	_ run.Sweeper = (*Cloud)(nil)
)

// New checks the options; it does no I/O. An error names the target and field.
func New(o Options) (*Cloud, error) {
	if o.Clock == nil {
		return nil, errors.New("aws: no clock")
	}
	c := &Cloud{
		base: o.Base, clock: o.Clock, timeout: o.CallTimeout,
		targets: map[string]Target{},
		readers: map[reader]aws.CredentialsProvider{}, attemptable: map[string]standing{},
	}
	if c.timeout <= 0 {
		c.timeout = 30 * time.Second
	}
	for _, t := range o.Targets {
		if err := t.check(); err != nil {
			return nil, fmt.Errorf("aws: target %q: %w", t.Account, err)
		}
		if _, twice := c.targets[t.Account]; twice {
			return nil, fmt.Errorf("aws: target %q is configured twice", t.Account)
		}
		c.targets[t.Account] = t
	}
	return c, nil
}

var (
	accountForm = regexp.MustCompile(`^[0-9]{12}$`)
	regionForm  = regexp.MustCompile(`^[a-z]{2}(-[a-z]+)+-[0-9]+$`)
	idForm      = regexp.MustCompile(`^[a-z0-9][a-z0-9-]*$`)
)

func (t Target) check() error {
	if !accountForm.MatchString(t.Account) {
		return errors.New("account must be 12 digits")
	}
	role, err := arn.Parse(t.RoleARN)
	if err != nil || role.Service != "iam" || !strings.HasPrefix(role.Resource, "role/") {
		return fmt.Errorf("role_arn %q is not the ARN of a role", t.RoleARN)
	}
	if role.AccountID != t.Account {
		return fmt.Errorf("role_arn %q is of another account", t.RoleARN)
	}
	if len(t.Regions) == 0 {
		return errors.New("no region")
	}
	for _, r := range t.Regions {
		if !regionForm.MatchString(r) || partitionOf(r) != role.Partition {
			return fmt.Errorf("region %q is not one of partition %q", r, role.Partition)
		}
	}
	for _, e := range t.Egress {
		if _, err := netip.ParsePrefix(e); err != nil {
			if _, err := netip.ParseAddr(e); err != nil {
				return fmt.Errorf("egress %q is neither an address nor a prefix", e)
			}
		}
	}
	for region, fs := range t.Fixtures {
		if region != "*" && !regionForm.MatchString(region) {
			return fmt.Errorf("fixtures: %q is no region", region)
		}
		for name, v := range fs {
			if v == "" || strings.ContainsAny(v, "${}*?\" \t\n") {
				return fmt.Errorf("fixtures.%s.%s: %q cannot be the name of a resource", region, name, v)
			}
		}
	}
	return nil
}

func partitionOf(region string) string {
	switch {
	case strings.HasPrefix(region, "cn-"):
		return "aws-cn"
	case strings.HasPrefix(region, "us-gov-"):
		return "aws-us-gov"
	case strings.HasPrefix(region, "eusc-"):
		return "aws-eusc"
	default:
		return "aws"
	}
}

// homeRegion is where a partition's global services are called and recorded.
func homeRegion(partition string) string {
	switch partition {
	case "aws-cn":
		return "cn-north-1"
	case "aws-us-gov":
		return "us-gov-west-1"
	case "aws-eusc":
		return "eusc-de-east-1"
	default:
		return "us-east-1"
	}
}

// target finds the configuration of a place. Beside its regions an account has
// the one in which global services are recorded.
func (c *Cloud) target(t canary.Target) (Target, error) {
	conf, ok := c.targets[t.Account]
	switch {
	case t.Provider != "aws":
		return Target{}, fmt.Errorf("target %s/%s is of provider %q, not aws", t.Account, t.Region, t.Provider)
	case !ok:
		return Target{}, fmt.Errorf("account %s is not configured: add it under targets in auditcanary.yaml", t.Account)
	case !slices.Contains(conf.Regions, t.Region) && t.Region != homeRegion(conf.partition()):
		return Target{}, fmt.Errorf("region %s is not configured for account %s: add it under targets in auditcanary.yaml", t.Region, t.Account)
	}
	return conf, nil
}

func (t Target) partition() string {
	role, _ := arn.Parse(t.RoleARN) // checked by New
	return role.Partition
}

// fixture by name: the region's own, else any region's.
func (t Target) fixture(region, name string) (string, bool) {
	if v, ok := t.Fixtures[region][name]; ok {
		return v, true
	}
	v, ok := t.Fixtures["*"][name]
	return v, ok
}

// scene of a place for a canary; its fixtures are those a region can see.
func (t Target) scene(region, runID, name string) scene {
	s := scene{partition: t.partition(), account: t.Account, region: region, run: runID, name: name, fixtures: map[string]string{}}
	for _, from := range []string{"*", region} {
		for k, v := range t.Fixtures[from] {
			s.fixtures[k] = v
		}
	}
	return s
}
