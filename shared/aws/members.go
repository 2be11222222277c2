package aws

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/organizations"
)

// Membership is an organisation with its accounts, by id.
type Membership struct {
	ID, Management string
	Accounts       []OrganizationAccount
}

// Members asks for the organisation of whoever the credentials are of. Its accounts are
// listed with these credentials or, where they may not, through the inspector role in the management account.
func Members(ctx context.Context, base aws.Config, role, externalID string) (Membership, error) {
	const what = "organizations:DescribeOrganization"
	cfg := looking(base, homeRegion(partitionOf(base.Region)))
	if err := haveCredentials(ctx, cfg); err != nil {
		return Membership{}, fmt.Errorf("%s: %w", what, err)
	}
	client := organizations.NewFromConfig(cfg)
	out, err := client.DescribeOrganization(ctx, &organizations.DescribeOrganizationInput{})
	switch {
	case err != nil:
		return Membership{}, explain(err, what, "(base)", cfg.Region, advice{"AccessDenied": mayList, "AccessDeniedException": mayList})
	case out.Organization == nil || !accountForm.MatchString(aws.ToString(out.Organization.MasterAccountId)):
		return Membership{}, fmt.Errorf("%s: %w", what, errMute)
	}
	m := Membership{ID: cut(aws.ToString(out.Organization.Id), 64), Management: *out.Organization.MasterAccountId}
	m.Accounts, err = listMembers(ctx, client)
	if Denied(err) && role != "" {
		i, err2 := NewInspector(InspectorOptions{Base: base, Role: role, ExternalID: externalID, Partition: partitionOf(base.Region)})
		if err2 != nil {
			return m, err2
		}
		if m.Accounts, err2 = i.Accounts(ctx, m.Management, ""); err2 != nil {
			return m, errors.Join(explain(err, "organizations:ListAccounts", "(base)", cfg.Region, nil), err2)
		}
		return m, nil
	}
	if err != nil {
		return m, explain(err, "organizations:ListAccounts", "(base)", cfg.Region, advice{"AccessDenied": mayList, "AccessDeniedException": mayList})
	}
	return m, nil
}

const mayList = "use credentials of the management account or of a delegated administrator, or let the inspector role of the management account be assumed"

func listMembers(ctx context.Context, client *organizations.Client) ([]OrganizationAccount, error) {
	var out []OrganizationAccount
	pages := organizations.NewListAccountsPaginator(client, &organizations.ListAccountsInput{})
	for n := 0; pages.HasMorePages(); n++ {
		if n == maxPages {
			return nil, errEndless
		}
		page, err := pages.NextPage(ctx)
		if err != nil {
			return nil, err
		}
		for _, a := range page.Accounts {
			id := aws.ToString(a.Id)
			if !accountForm.MatchString(id) {
				return nil, fmt.Errorf("the reply names an account %q", cut(id, 64))
			}
			out = append(out, OrganizationAccount{ID: id, Name: aws.ToString(a.Name), Active: !slices.Contains(idleStates, a.State)})
		}
	}
	slices.SortFunc(out, func(a, b OrganizationAccount) int { return strings.Compare(a.ID, b.ID) })
	return out, nil
}
