package wire

import (
	"context"
	"errors"
	"fmt"
	"os"
	"regexp"
	"slices"

	awssdk "github.com/aws/aws-sdk-go-v2/aws"

	"github.com/auditcanary/auditcanary/shared/aws"
	"github.com/auditcanary/auditcanary/shared/canary"
	"github.com/auditcanary/auditcanary/shared/event"
	"github.com/auditcanary/auditcanary/shared/run"
)

var rolePath = regexp.MustCompile(`^([\w+=,.@-]+/)*[\w+=,.@-]+$`)

func (c *Config) checkInspection(bad complain) {
	in := c.Inspection
	switch {
	case in.Role != "" && !rolePath.MatchString(in.Role):
		bad("inspection.role", "role %q is not the path and name of a role, such as auditcanary/auditcanary-inspector", in.Role)
	case in.Role == "" && (in.ExternalIDEnv != "" || in.Organization != nil || len(in.Accounts) > 0 || len(in.Regions) > 0):
		bad("inspection", "inspection needs a role")
	}
	if o := in.Organization; o != nil {
		if !accountID.MatchString(o.ManagementAccount) {
			bad("inspection.organization.management_account", "account %q is not twelve digits in quotes", o.ManagementAccount)
		}
		if o.Region != "" && !regionID.MatchString(o.Region) {
			bad("inspection.organization.region", "%q is not a region", o.Region)
		}
		if len(in.Accounts) > 0 {
			bad("inspection.accounts", "the accounts are listed either by the organization or here, not both")
		}
	}
	for i, a := range in.Accounts {
		p := fmt.Sprintf("inspection.accounts.%d", i)
		if !accountID.MatchString(a) {
			bad(p, "account %q is not twelve digits in quotes", a)
		} else if slices.Contains(in.Accounts[:i], a) {
			bad(p, "duplicate account %s", a)
		}
	}
	for i, r := range in.Regions {
		p := fmt.Sprintf("inspection.regions.%d", i)
		if !regionID.MatchString(r) {
			bad(p, "%q is not a region", r)
		} else if slices.Contains(in.Regions[:i], r) {
			bad(p, "duplicate region %s", r)
		}
	}
}

var errNoInspection = errors.New("the configuration has no inspection section: name the read-only role that is assumed in every account (inspection.role)")

// inspector reads the settings of accounts.
func (c *Config) inspector(base awssdk.Config) (*aws.Inspector, error) {
	in := c.Inspection
	if in.Role == "" {
		return nil, fmt.Errorf("%s: %w", c.file, errNoInspection)
	}
	return aws.NewInspector(aws.InspectorOptions{
		Base: base, Role: in.Role, ExternalID: os.Getenv(in.ExternalIDEnv), Partition: c.partition(), CallTimeout: c.AWS.CallTimeout.Duration,
	})
}

// history asks the accounts' own event history, of what did not come through.
func (c *Config) history(base awssdk.Config) (run.History, error) {
	if c.Inspection.Role == "" {
		return noHistory{}, nil
	}
	return c.inspector(base)
}

// noHistory says why nobody was asked.
type noHistory struct{}

func (noHistory) Recorded(context.Context, canary.Receipt) (*event.Event, error) {
	return nil, fmt.Errorf("the event history: %w", errNoInspection)
}

// inspected are the accounts to look into: the organisation's where it is asked,
// otherwise those that the configuration names. An account that is suspended
// cannot act and is left out.
func (c *Config) inspected(ctx context.Context, i *aws.Inspector) ([]aws.OrganizationAccount, error) {
	if o := c.Inspection.Organization; o != nil {
		all, err := i.Accounts(ctx, o.ManagementAccount, o.Region)
		return slices.DeleteFunc(all, func(a aws.OrganizationAccount) bool { return !a.Active }), err
	}
	return c.named(), nil
}

// named are the accounts to look into that the configuration itself names.
func (c *Config) named() (out []aws.OrganizationAccount) {
	ids := slices.Clone(c.Inspection.Accounts)
	if len(ids) == 0 {
		for _, t := range c.Targets {
			ids = append(ids, t.Account)
		}
		if m := roleARN.FindStringSubmatch(c.LogStores[0].RoleARN); m != nil {
			ids = append(ids, m[1])
		}
	}
	slices.Sort(ids)
	for _, id := range slices.Compact(ids) {
		out = append(out, aws.OrganizationAccount{ID: id, Active: true})
	}
	return out
}

// inspectedRegions are those to look into.
func (c *Config) inspectedRegions() []string {
	regions := slices.Clone(c.Inspection.Regions)
	if len(regions) == 0 {
		regions = append(regions, c.LogStores[0].Region)
		for _, t := range c.Targets {
			regions = append(regions, t.Regions...)
		}
	}
	slices.Sort(regions)
	return slices.Compact(regions)
}
