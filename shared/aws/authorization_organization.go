package aws

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/organizations"
	orgtypes "github.com/aws/aws-sdk-go-v2/service/organizations/types"

	"github.com/auditcanary/auditcanary/shared/access"
)

// organization reads the organisation's policies and where they are attached, and
// puts the levels above each account into the world. What cannot be read may deny
// and allow anything.
func (r *authReader) organization() {
	if r.q.Organization == "" && r.q.Management == "" {
		return // there is none: no account is bound by policies from above
	}
	var levels map[string][]access.Level
	var err error
	if r.q.Management == "" {
		err = errors.New("the management account is not known: name it in the configuration (inspection.organization)")
	} else {
		o := &orgReader{r: r, account: r.q.Management, region: r.q.OrganizationRegion}
		if o.region == "" {
			o.region = homeRegion(r.i.o.Partition)
		}
		levels, err = o.read()
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for id, a := range r.world.Accounts {
		switch l, ok := levels[id]; {
		case err != nil:
			a.Levels = unknownLevels(err)
		case !ok:
			a.Levels = unknownLevels(errors.New("the account is not in the organisation's listing"))
		default:
			a.Levels = l
		}
	}
}

func unknownLevels(err error) []access.Level {
	return []access.Level{{
		Name: "the organisation",
		SCPs: []access.Policy{unreadPolicy(access.SCPKind, "", err)},
		RCPs: []access.Policy{unreadPolicy(access.RCPKind, "", err)},
	}}
}

type orgReader struct {
	r               *authReader
	account, region string
	client          *organizations.Client
	attached        map[string]map[orgtypes.PolicyType][]access.Policy // by target
	inUse           map[orgtypes.PolicyType]bool
	levels          map[string][]access.Level // by account
}

var controlKinds = map[orgtypes.PolicyType]string{
	orgtypes.PolicyTypeServiceControlPolicy: access.SCPKind, orgtypes.PolicyTypeResourceControlPolicy: access.RCPKind,
}

// deepest is how many units may be nested; AWS allows five.
const deepest = 16

func (o *orgReader) read() (map[string][]access.Level, error) {
	cfg, err := o.r.i.open(o.r.ctx, o.account, o.region)
	if err != nil {
		return nil, err
	}
	o.client = organizations.NewFromConfig(cfg)
	o.delegates()
	o.attached, o.levels = map[string]map[orgtypes.PolicyType][]access.Policy{}, map[string][]access.Level{}
	var roots []orgtypes.Root
	pages := organizations.NewListRootsPaginator(o.client, &organizations.ListRootsInput{})
	err = toTheEnd(o, "organizations:ListRoots", pages.HasMorePages, pages.NextPage, func(p *organizations.ListRootsOutput) {
		roots = append(roots, p.Roots...)
	})
	if err == nil && len(roots) != 1 {
		err = o.explain(fmt.Errorf("the reply has %d roots, not one", len(roots)), "organizations:ListRoots")
	}
	if err != nil {
		return nil, err
	}
	root := aws.ToString(roots[0].Id)
	o.inUse = map[orgtypes.PolicyType]bool{}
	for _, t := range roots[0].PolicyTypes {
		o.inUse[t.Type] = t.Status != ""
	}
	for kind := range controlKinds {
		if o.inUse[kind] {
			if err := o.policies(root, kind); err != nil {
				o.attach(root, kind, unreadPolicy(controlKinds[kind], "", err))
			}
		}
	}
	return o.levels, o.walk(root, nil)
}

// delegates lists who acts on the organisation's trails like the management account.
func (o *orgReader) delegates() {
	const what = "organizations:ListDelegatedAdministrators"
	var ids []string
	pages := organizations.NewListDelegatedAdministratorsPaginator(o.client, &organizations.ListDelegatedAdministratorsInput{ServicePrincipal: aws.String("cloudtrail.amazonaws.com")})
	err := toTheEnd(o, what, pages.HasMorePages, pages.NextPage, func(p *organizations.ListDelegatedAdministratorsOutput) {
		for _, a := range p.DelegatedAdministrators {
			ids = append(ids, aws.ToString(a.Id))
		}
	})
	if err != nil {
		o.r.gap(o.account, "the delegated administrators of CloudTrail", err.Error())
	}
	o.r.mu.Lock()
	defer o.r.mu.Unlock()
	o.r.delegates = ids
}

func (o *orgReader) explain(err error, what string) error {
	return o.r.i.explain(err, what, o.account, o.region)
}

// toTheEnd reads a listing to its end.
func toTheEnd[Page, Option any](o *orgReader, what string, more func() bool, next func(context.Context, ...func(*Option)) (*Page, error), each func(*Page)) error {
	for n := 0; more(); n++ {
		if n == maxPages {
			return o.explain(errEndless, what)
		}
		ctx, cancel := o.r.i.bound(o.r.ctx)
		page, err := next(ctx)
		cancel()
		if err != nil {
			return o.explain(err, what)
		}
		each(page)
	}
	return nil
}

func (o *orgReader) attach(target string, kind orgtypes.PolicyType, p access.Policy) {
	if o.attached[target] == nil {
		o.attached[target] = map[orgtypes.PolicyType][]access.Policy{}
	}
	o.attached[target][kind] = append(o.attached[target][kind], p)
}

// policies reads all of a kind, and their targets. One whose targets are not known
// may be attached anywhere: it is taken for attached to the root.
func (o *orgReader) policies(root string, kind orgtypes.PolicyType) error {
	var list []orgtypes.PolicySummary
	pages := organizations.NewListPoliciesPaginator(o.client, &organizations.ListPoliciesInput{Filter: kind})
	err := toTheEnd(o, "organizations:ListPolicies", pages.HasMorePages, pages.NextPage, func(p *organizations.ListPoliciesOutput) {
		list = append(list, p.Policies...)
	})
	if err != nil {
		return err
	}
	for _, s := range list {
		id := aws.ToString(s.Id)
		var targets []string
		pages := organizations.NewListTargetsForPolicyPaginator(o.client, &organizations.ListTargetsForPolicyInput{PolicyId: &id})
		err := toTheEnd(o, "organizations:ListTargetsForPolicy of "+id, pages.HasMorePages, pages.NextPage, func(p *organizations.ListTargetsForPolicyOutput) {
			for _, t := range p.Targets {
				targets = append(targets, aws.ToString(t.TargetId))
			}
		})
		if err != nil {
			o.attach(root, kind, unreadPolicy(controlKinds[kind], aws.ToString(s.Name), err))
			continue
		}
		if len(targets) == 0 {
			continue
		}
		p := o.policy(kind, s)
		for _, t := range targets {
			o.attach(t, kind, p)
		}
	}
	return nil
}

func (o *orgReader) policy(kind orgtypes.PolicyType, s orgtypes.PolicySummary) access.Policy {
	ctx, cancel := o.r.i.bound(o.r.ctx)
	defer cancel()
	name := aws.ToString(s.Name) + " (" + aws.ToString(s.Id) + ")"
	out, err := o.client.DescribePolicy(ctx, &organizations.DescribePolicyInput{PolicyId: s.Id})
	if err == nil && (out.Policy == nil || out.Policy.Content == nil) {
		err = errors.New("the reply has no content")
	}
	if err != nil {
		return unreadPolicy(controlKinds[kind], name, o.explain(err, "organizations:DescribePolicy of "+aws.ToString(s.Id)))
	}
	return access.NewPolicy(controlKinds[kind], name, []byte(*out.Policy.Content))
}

// walk goes down from a root or unit and gives every account the levels above it.
func (o *orgReader) walk(parent string, above []access.Level) error {
	if len(above) == deepest {
		return o.explain(fmt.Errorf("units are nested more than %d deep", deepest), "organizations:ListOrganizationalUnitsForParent of "+parent)
	}
	above = append(slices.Clone(above), o.level(parent))
	accounts := organizations.NewListAccountsForParentPaginator(o.client, &organizations.ListAccountsForParentInput{ParentId: &parent})
	err := toTheEnd(o, "organizations:ListAccountsForParent of "+parent, accounts.HasMorePages, accounts.NextPage, func(p *organizations.ListAccountsForParentOutput) {
		for _, a := range p.Accounts {
			id := aws.ToString(a.Id)
			o.levels[id] = append(slices.Clone(above), o.level(id))
			o.r.member(id, a.State)
		}
	})
	if err != nil {
		return err
	}
	var units []string
	pages := organizations.NewListOrganizationalUnitsForParentPaginator(o.client, &organizations.ListOrganizationalUnitsForParentInput{ParentId: &parent})
	err = toTheEnd(o, "organizations:ListOrganizationalUnitsForParent of "+parent, pages.HasMorePages, pages.NextPage, func(p *organizations.ListOrganizationalUnitsForParentOutput) {
		for _, u := range p.OrganizationalUnits {
			units = append(units, aws.ToString(u.Id))
		}
	})
	if err != nil {
		return err
	}
	for _, u := range units {
		if err := o.walk(u, above); err != nil {
			return err
		}
	}
	return nil
}

func (o *orgReader) level(target string) access.Level {
	of := o.attached[target]
	return access.Level{
		Name: target,
		SCPs: of[orgtypes.PolicyTypeServiceControlPolicy], NoSCPs: !o.inUse[orgtypes.PolicyTypeServiceControlPolicy],
		RCPs: of[orgtypes.PolicyTypeResourceControlPolicy], NoRCPs: !o.inUse[orgtypes.PolicyTypeResourceControlPolicy],
	}
}

// member notes an account of the organisation that is not looked into: nobody acts
// in one that is suspended; of any other the principals are not known.
func (r *authReader) member(id string, state orgtypes.AccountState) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.world.Accounts[id] != nil {
		return
	}
	a := &access.Account{ID: id}
	if !slices.Contains(idleStates, state) {
		a.Unread = "it is of the organisation, and not among the accounts that are looked into"
	}
	r.world.Accounts[id] = a
}
