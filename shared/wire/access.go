package wire

import (
	"context"
	"fmt"
	"slices"

	"github.com/auditcanary/auditcanary/shared/access"
	"github.com/auditcanary/auditcanary/shared/aws"
)

// Access collects who can tamper with the archive, its trails and keys, and the
// alert path, or read them. What could not be read is in the report. An error means
// that nothing could be asked at all.
func Access(ctx context.Context, c *Config) (access.Report, error) {
	if err := c.needArchive("access"); err != nil {
		return access.Report{}, err
	}
	base, _, err := c.baseAWS(ctx)
	if err != nil {
		return access.Report{}, err
	}
	i, err := c.inspector(base)
	if err != nil {
		return access.Report{}, err
	}
	q := c.authorizationQuery()
	accounts, unlisted := c.inspected(ctx, i)
	for _, a := range accounts {
		q.Accounts = append(q.Accounts, a.ID)
	}
	// These are needed in any case, and are all there is if the listing failed.
	for _, id := range append([]string{q.BucketAccount, q.Management}, q.Targets...) {
		if id != "" && !slices.Contains(q.Accounts, id) {
			q.Accounts = append(q.Accounts, id)
		}
	}
	w, err := i.Authorization(ctx, q)
	if err != nil {
		return access.Report{}, err
	}
	if unlisted != nil {
		w.Gaps = append(w.Gaps, access.Gap{Account: q.Management, What: "the organisation's accounts", Why: unlisted.Error()})
	}
	return w.NewReport()
}

// authorizationQuery is all of it but the accounts.
func (c *Config) authorizationQuery() aws.AuthorizationQuery {
	s := c.LogStores[0]
	q := aws.AuthorizationQuery{Regions: c.inspectedRegions(), Organization: s.OrganizationID, Bucket: s.Bucket, BucketRegion: s.Region}
	if m := roleARN.FindStringSubmatch(s.RoleARN); m != nil {
		q.BucketAccount = m[1]
	}
	if o := c.Inspection.Organization; o != nil {
		q.Management, q.OrganizationRegion = o.ManagementAccount, o.Region
	}
	for _, t := range c.Targets {
		q.Targets, q.Injectors = append(q.Targets, t.Account), append(q.Injectors, t.RoleARN)
	}
	q.Things = c.alertThings()
	return q
}

// alertThings are what the configuration lists on the alert path. Where it lists
// nothing of a kind, whatever of it the target accounts have is asked about.
func (c *Config) alertThings() []*access.Resource {
	partition := c.partition()
	var out []*access.Resource
	add := func(kind, service string, w Where, resource string) {
		r := &access.Resource{Kind: kind, ARN: fmt.Sprintf("arn:%s:%s:%s:%s:%s", partition, service, w.Region, w.Account, resource), Account: w.Account, Region: w.Region, NoPolicies: true}
		if r.Region == "*" {
			r.Region = ""
		}
		switch kind {
		case "log-group":
			r.Forms = access.LogGroupForms(r.ARN)
		case "topic":
			r.NoPolicies = false
		}
		if !slices.ContainsFunc(out, func(o *access.Resource) bool { return o.ARN == r.ARN }) {
			out = append(out, r)
		}
	}
	a := c.AlertPath
	for _, r := range a.EventRules {
		name := r.Name
		if r.Bus != "" && r.Bus != "default" {
			name = r.Bus + "/" + name
		}
		add("rule", "events", r.Where, "rule/"+name)
	}
	for _, x := range a.Alarms {
		add("alarm", "cloudwatch", x.Where, "alarm:"+x.Name)
	}
	for _, f := range a.MetricFilters {
		add("log-group", "logs", f.Where, "log-group:"+f.LogGroup)
	}
	for _, g := range a.LogGroups {
		add("log-group", "logs", g.Where, "log-group:"+g.Name)
	}
	for _, d := range a.Detectors {
		id := d.ID
		if id == "" {
			id = "*"
		}
		add("detector", "guardduty", d.Where, "detector/"+id)
	}
	for _, t := range a.Topics {
		if at, err := t.place(); err == nil {
			out = append(out, &access.Resource{Kind: "topic", ARN: t.ARN, Account: at.Account, Region: at.Region})
		}
	}
	for _, kind := range []struct{ kind, service, resource string }{
		{"rule", "events", "rule/*"}, {"alarm", "cloudwatch", "alarm:*"}, {"detector", "guardduty", "detector/*"},
	} {
		if slices.ContainsFunc(out, func(r *access.Resource) bool { return r.Kind == kind.kind }) {
			continue
		}
		for _, t := range c.Targets {
			add(kind.kind, kind.service, Where{Account: t.Account, Region: "*"}, kind.resource)
		}
	}
	return out
}
