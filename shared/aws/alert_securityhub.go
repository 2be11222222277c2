package aws

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/securityhub"
	hubtypes "github.com/aws/aws-sdk-go-v2/service/securityhub/types"

	"github.com/auditcanary/auditcanary/shared/canary"
	"github.com/auditcanary/auditcanary/shared/run"
)

// SecurityHubAlerts hears the findings in the Security Hub of one account and region
// (of an aggregation region: of all that it aggregates). A finding keeps its id when
// its product updates it. Most name the caller's session at best; a product may put
// the ids of requests and events into ProductFields.
//
// A finding with the workflow status SUPPRESSED, or that is ARCHIVED, is suppressed.
// At is the product's UpdatedAt: the hub may have shown it minutes later.
//
// Its credentials need securityhub:GetFindings.
type SecurityHubAlerts struct {
	place  AlertPlace
	o      SecurityHubOptions
	client *securityhub.Client
}

// SecurityHubOptions says which findings are heard: those that meet all that is given.
type SecurityHubOptions struct {
	// Product that makes them (GuardDuty); "" = any.
	Product string
	// Generators are the beginnings of their generators' ids; none = any.
	Generators []string
	// Types are the beginnings of their types; none = any.
	Types []string
}

var _ run.AlertSource = (*SecurityHubAlerts)(nil)

// NewSecurityHubAlerts does no I/O.
func NewSecurityHubAlerts(p AlertPlace, o SecurityHubOptions) (*SecurityHubAlerts, error) {
	p, err := p.checked()
	if err == nil && (o.Product == "" && len(o.Generators) == 0 && len(o.Types) == 0) {
		err = fmt.Errorf("aws: alert %s: any finding would be taken for it: say which product, generator or type", p.Alert)
	}
	if err == nil && (slices.Contains(o.Generators, "") || slices.Contains(o.Types, "") || len(o.Generators) > 20 || len(o.Types) > 20) {
		err = fmt.Errorf("aws: alert %s: of 0 to 20 generators and types each must have a name", p.Alert)
	}
	if err != nil {
		return nil, err
	}
	return &SecurityHubAlerts{p, o, securityhub.NewFromConfig(p.Config)}, nil
}

const weakHub = "the finding names no request and no event"

// Settle does nothing: findings keep themselves, for 90 days.
func (h *SecurityHubAlerts) Settle(context.Context, []string) error { return nil }

// Listen implements run.AlertSource.
func (h *SecurityHubAlerts) Listen(ctx context.Context, since time.Time) (run.Arrived, error) {
	const what = "securityhub:GetFindings"
	var l heard
	in := &securityhub.GetFindingsInput{Filters: h.filters(since), MaxResults: aws.Int32(100)}
	for n := 0; ; n++ {
		page, err := askPlace(ctx, h.place, what, h.client.GetFindings, in)
		if err == nil && (n == maxPages || len(l.Alerts) > maxAlerts) {
			err = h.place.explain(errEndless, what)
		}
		if err != nil && n == 0 {
			return run.Arrived{}, err
		}
		if err != nil {
			l.miss("%v", err)
			break
		}
		if n == 0 {
			l.AsOf = serverTime(page.ResultMetadata)
		}
		for _, f := range page.Findings {
			if r, ok := h.rang(f, &l); ok && !slices.ContainsFunc(l.Alerts, func(o canary.Rang) bool { return o.ID == r.ID }) {
				l.Alerts = append(l.Alerts, r)
			}
		}
		if in.NextToken = page.NextToken; aws.ToString(in.NextToken) == "" {
			break
		}
	}
	return l.done("the hub"), nil
}

func (h *SecurityHubAlerts) filters(since time.Time) *hubtypes.AwsSecurityFindingFilters {
	const day = 24 * time.Hour // whose clock is how far ahead nobody knows
	f := &hubtypes.AwsSecurityFindingFilters{UpdatedAt: []hubtypes.DateFilter{{
		Start: aws.String(since.UTC().Format(time.RFC3339)), End: aws.String(h.place.Clock().UTC().Add(day).Format(time.RFC3339)),
	}}}
	one := func(list []string, comparison hubtypes.StringFilterComparison) (out []hubtypes.StringFilter) {
		for _, v := range list {
			out = append(out, hubtypes.StringFilter{Comparison: comparison, Value: aws.String(v)})
		}
		return out
	}
	if h.o.Product != "" {
		f.ProductName = one([]string{h.o.Product}, hubtypes.StringFilterComparisonEquals)
	}
	f.GeneratorId = one(h.o.Generators, hubtypes.StringFilterComparisonPrefix)
	f.Type = one(h.o.Types, hubtypes.StringFilterComparisonPrefix)
	return f
}

// rang reads one finding. Without an id or a time it is told to be there, and is no
// alert.
func (h *SecurityHubAlerts) rang(f hubtypes.AwsSecurityFinding, l *heard) (canary.Rang, bool) {
	id := aws.ToString(f.Id)
	if id == "" || len(id) > 512 {
		l.miss("a finding (%q) has no id that can be used", cut(aws.ToString(f.Title), 128))
		return canary.Rang{}, false
	}
	at, err := timeIn(f.UpdatedAt)
	if err != nil {
		l.miss("finding %s: UpdatedAt: %v", id, err)
		return canary.Rang{}, false
	}
	r := canary.Rang{Alert: h.place.Alert, ID: id, At: at, Rule: cut(strings.Join(append(slices.Clone(f.Types), aws.ToString(f.GeneratorId)), " "), 512)}
	r.Name(asJSON(f))
	var principals []string
	for _, res := range f.Resources {
		if res.Details != nil && res.Details.AwsIamAccessKey != nil {
			principals = append(principals, aws.ToString(res.Details.AwsIamAccessKey.PrincipalId))
		}
	}
	if len(principals) > 0 { // otherwise any name in it that begins with our mark
		r.Sessions, r.Foreign = callers(principals...)
	}
	if first, err := timeIn(f.FirstObservedAt); err == nil {
		r.Since = first
	}
	if text, there := f.ProductFields["aws/guardduty/service/count"]; there {
		n, err := strconv.Atoi(text)
		if err != nil || n < 0 {
			l.note("finding %s: its count is %q", id, cut(text, 32))
		} else {
			r.Count = n
		}
	}
	if len(r.RequestIDs)+len(r.EventIDs) == 0 {
		if r.Weak = weakHub; r.Count > 1 {
			r.Weak += fmt.Sprintf("; %d are folded into this one, which names the caller of the last only", r.Count)
		}
	}
	switch {
	case f.Workflow != nil && f.Workflow.Status == hubtypes.WorkflowStatusSuppressed:
		r.Suppressed = "its workflow status is SUPPRESSED"
	case f.RecordState == hubtypes.RecordStateArchived:
		r.Suppressed = "it is archived in the hub: by its product, by a rule, or because it no longer holds"
	}
	return r, true
}
