package aws

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials/stscreds"
	"github.com/aws/aws-sdk-go-v2/service/organizations"
	orgtypes "github.com/aws/aws-sdk-go-v2/service/organizations/types"
	"github.com/aws/aws-sdk-go-v2/service/sts"

	"golang.org/x/time/rate"

	"github.com/auditcanary/auditcanary/shared/canary"
	"github.com/auditcanary/auditcanary/shared/run"
)

// InspectorOptions is what an Inspector needs.
type InspectorOptions struct {
	// Base has the credentials that may assume the role, and BaseEndpoint where all
	// services are to be found somewhere else.
	Base aws.Config
	// Role is the path and name of the role in every account, without a leading
	// slash; ExternalID if its trust policy wants one.
	Role, ExternalID string
	// Partition of the accounts (default "aws").
	Partition string
	// CallTimeout bounds each call with its retries (default 30 s).
	CallTimeout time.Duration
}

// Inspector reads the settings of accounts, and their event history, through a read-only
// role in each. It makes no call that changes anything, and is safe for concurrent use.
type Inspector struct {
	o InspectorOptions

	mu      sync.Mutex
	creds   map[string]aws.CredentialsProvider // by account
	history map[string]*rate.Limiter           // by account and region
}

var _ run.History = (*Inspector)(nil)

// An inspection is no part of a run, and its request ids are in no ledger: what it
// leaves in the records must not carry the marks of canaries (canary.Forged), or
// every confirmation after it would report them as imitated.
const (
	inspectorIdentity = canary.Marker + "-inspector"
	inspectorAppID    = "inspector." + canary.Marker
)

// NewInspector does no I/O.
func NewInspector(o InspectorOptions) (*Inspector, error) {
	if o.Role == "" || strings.HasPrefix(o.Role, "/") || strings.HasSuffix(o.Role, "/") {
		return nil, fmt.Errorf("aws: inspector role %q is not a path and name such as auditcanary/auditcanary-inspector", o.Role)
	}
	o.Partition = cmp.Or(o.Partition, "aws")
	if o.CallTimeout <= 0 {
		o.CallTimeout = 30 * time.Second
	}
	return &Inspector{o: o, creds: map[string]aws.CredentialsProvider{}, history: map[string]*rate.Limiter{}}, nil
}

// RoleARN is the role in an account.
func (i *Inspector) RoleARN(account string) string {
	return "arn:" + i.o.Partition + ":iam::" + account + ":role/" + i.o.Role
}

// open is the configuration for an account's clients in a region. It assumes the
// role if no session on it is held yet; a refusal is told here, once, and not by
// each call that would have followed.
func (i *Inspector) open(ctx context.Context, account, region string) (aws.Config, error) {
	cfg := i.o.Base.Copy()
	cfg.Region, cfg.AppID, cfg.APIOptions = region, inspectorAppID, slices.Clone(cfg.APIOptions)
	fail := func(err error) (aws.Config, error) {
		return aws.Config{}, explain(err, "sts:AssumeRole of "+i.RoleARN(account), account, region, assumeAdvice)
	}
	if !accountForm.MatchString(account) {
		return fail(fmt.Errorf("%q is not an account of 12 digits", account))
	}
	if cfg.Credentials == nil {
		return fail(errors.New(noCredentials))
	}
	cfg.Credentials = i.credentials(cfg, account)
	ctx, cancel := context.WithTimeout(ctx, i.o.CallTimeout)
	defer cancel()
	if _, err := cfg.Credentials.Retrieve(ctx); err != nil {
		return fail(err)
	}
	return cfg, nil
}

// credentials of an account's role, shared by its regions and renewed as they run out.
func (i *Inspector) credentials(cfg aws.Config, account string) aws.CredentialsProvider {
	i.mu.Lock()
	defer i.mu.Unlock()
	if c, ok := i.creds[account]; ok {
		return c
	}
	// The base's region is on for everybody; one that is looked into may not be.
	cfg.Region = cmp.Or(i.o.Base.Region, homeRegion(i.o.Partition))
	c := aws.NewCredentialsCache(stscreds.NewAssumeRoleProvider(sts.NewFromConfig(cfg), i.RoleARN(account), func(o *stscreds.AssumeRoleOptions) {
		o.RoleSessionName, o.SourceIdentity = canary.Marker, aws.String(inspectorIdentity)
		if i.o.ExternalID != "" {
			o.ExternalID = &i.o.ExternalID
		}
	}))
	i.creds[account] = c
	return c
}

// bound gives one call its time.
func (i *Inspector) bound(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(ctx, i.o.CallTimeout)
}

// explain says which reading failed ("cloudtrail:GetTrail of NAME"), where, and
// what to do next.
func (i *Inspector) explain(err error, what, account, region string) error {
	operation, _, _ := strings.Cut(what, " ")
	may := "the role " + i.o.Role + " may not read this: allow it " + operation
	return explain(err, what, account, region, advice{
		"AccessDenied": may, "AccessDeniedException": may, "UnauthorizedOperation": may, "AuthorizationError": may, "AuthorizationErrorException": may,
	})
}

// OrganizationAccount is one account of the organisation.
type OrganizationAccount struct {
	ID, Name string
	// Active is false for an account that nobody can act in: suspended, closed, or not there yet.
	Active bool
}

// idleStates are those in which nobody can act. An account that is about to be
// closed is still open, and one of a state unknown to us is looked into.
var idleStates = []orgtypes.AccountState{orgtypes.AccountStateSuspended, orgtypes.AccountStateClosed, orgtypes.AccountStatePendingActivation}

// Accounts lists the accounts of the organisation, by id. account is its
// management account, or one that may list them in its place; region "" is the
// partition's home.
func (i *Inspector) Accounts(ctx context.Context, account, region string) ([]OrganizationAccount, error) {
	const what = "organizations:ListAccounts"
	region = cmp.Or(region, homeRegion(i.o.Partition))
	cfg, err := i.open(ctx, account, region)
	if err != nil {
		return nil, err
	}
	var out []OrganizationAccount
	pages := organizations.NewListAccountsPaginator(organizations.NewFromConfig(cfg), &organizations.ListAccountsInput{})
	for n := 0; pages.HasMorePages(); n++ {
		if n == maxPages {
			return nil, i.explain(errEndless, what, account, region)
		}
		ctx, cancel := i.bound(ctx)
		page, err := pages.NextPage(ctx)
		cancel()
		if err != nil {
			return nil, i.explain(err, what, account, region)
		}
		for _, a := range page.Accounts {
			id := aws.ToString(a.Id)
			if !accountForm.MatchString(id) {
				return nil, i.explain(fmt.Errorf("the reply names an account %q", cut(id, 64)), what, account, region)
			}
			out = append(out, OrganizationAccount{ID: id, Name: aws.ToString(a.Name), Active: !slices.Contains(idleStates, a.State)})
		}
	}
	if len(out) == 0 {
		return nil, i.explain(errors.New("the reply names no account"), what, account, region)
	}
	slices.SortFunc(out, func(a, b OrganizationAccount) int { return cmp.Compare(a.ID, b.ID) })
	return out, nil
}
