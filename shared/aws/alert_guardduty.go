package aws

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/guardduty"
	guardtypes "github.com/aws/aws-sdk-go-v2/service/guardduty/types"

	"github.com/auditcanary/auditcanary/shared/canary"
	"github.com/auditcanary/auditcanary/shared/run"
)

// GuardDutyAlerts hears the findings of the detector of one account and region. A
// repeated finding keeps its id: Count and At grow, and what it names is of the last
// time only. It names the caller's session, never a request or an event.
//
// A finding that is archived is suppressed. It does not say by what; the filter that
// would do it is named.
//
// Its credentials need guardduty:ListDetectors (unless the detector is named),
// GetDetector, ListFindings, GetFindings, ListFilters and GetFilter.
type GuardDutyAlerts struct {
	place  AlertPlace
	o      GuardDutyOptions
	client *guardduty.Client
}

// GuardDutyOptions says which findings are heard.
type GuardDutyOptions struct {
	// Detector is its id; "" = the region's.
	Detector string
	// Types of findings (Stealth:IAMUser/CloudTrailLoggingDisabled); none = all.
	Types []string
}

var _ run.AlertSource = (*GuardDutyAlerts)(nil)

// NewGuardDutyAlerts does no I/O.
func NewGuardDutyAlerts(p AlertPlace, o GuardDutyOptions) (*GuardDutyAlerts, error) {
	p, err := p.checked()
	if err == nil && o.Detector != "" && !idForm.MatchString(o.Detector) {
		err = fmt.Errorf("aws: alert %s: %q is not the id of a detector", p.Alert, cut(o.Detector, 64))
	}
	if err == nil && (slices.Contains(o.Types, "") || len(o.Types) > 50) {
		err = fmt.Errorf("aws: alert %s: of 0 to 50 types of findings each must have a name", p.Alert)
	}
	if err != nil {
		return nil, err
	}
	return &GuardDutyAlerts{p, o, guardduty.NewFromConfig(p.Config)}, nil
}

const weakGuardDuty = "a GuardDuty finding names no request and no event"

// Settle does nothing: findings keep themselves, for 90 days.
func (g *GuardDutyAlerts) Settle(context.Context, []string) error { return nil }

// Listen implements run.AlertSource. Where no detector looks, it is an error: that
// nothing was found there says nothing.
func (g *GuardDutyAlerts) Listen(ctx context.Context, since time.Time) (run.Arrived, error) {
	var l heard
	id, err := g.detector(ctx, &l)
	if err != nil {
		return run.Arrived{}, err
	}
	ids, err := g.list(ctx, id, since, &l)
	if err != nil {
		return run.Arrived{}, err
	}
	var archived []int // of the alerts, those that are, with their findings
	var findings []guardtypes.Finding
	for some := range slices.Chunk(ids, 50) {
		what := "guardduty:GetFindings of " + id
		out, err := askPlace(ctx, g.place, what, g.client.GetFindings, &guardduty.GetFindingsInput{DetectorId: &id, FindingIds: some})
		if err != nil {
			l.miss("%v", err)
			continue
		}
		got := map[string]bool{}
		for _, f := range out.Findings {
			if !slices.Contains(some, aws.ToString(f.Id)) || got[aws.ToString(f.Id)] {
				l.miss("%s: the reply has finding %q, which was not asked for", what, cut(aws.ToString(f.Id), 64))
				continue
			}
			got[aws.ToString(f.Id)] = true
			r, ok := g.rang(f, &l)
			if !ok {
				continue
			}
			if f.Service != nil && aws.ToBool(f.Service.Archived) {
				archived, findings = append(archived, len(l.Alerts)), append(findings, f)
			}
			l.Alerts = append(l.Alerts, r)
		}
		for _, asked := range some {
			if !got[asked] {
				l.miss("%s: finding %s was listed, and is not in the reply", what, asked)
			}
		}
	}
	if len(archived) > 0 {
		filters := g.filters(ctx, id, &l)
		for n, i := range archived {
			l.Alerts[i].Suppressed = archivedBy(findings[n], filters)
		}
	}
	return l.done("detector " + id), nil
}

// detector finds the detector, and makes sure that it looks.
func (g *GuardDutyAlerts) detector(ctx context.Context, l *heard) (string, error) {
	id, what := g.o.Detector, "guardduty:ListDetectors"
	if id == "" {
		out, err := askPlace(ctx, g.place, what, g.client.ListDetectors, &guardduty.ListDetectorsInput{})
		if err != nil {
			return "", err
		}
		if len(out.DetectorIds) == 0 { // a region has one at most
			return "", g.place.explain(errors.New("there is no detector: switch GuardDuty on in this region, or name another"), what)
		}
		id = out.DetectorIds[0]
	}
	what = "guardduty:GetDetector of " + cut(id, 64)
	out, err := askPlace(ctx, g.place, what, g.client.GetDetector, &guardduty.GetDetectorInput{DetectorId: &id})
	if err != nil {
		return "", err
	}
	l.AsOf = serverTime(out.ResultMetadata)
	switch out.Status {
	case guardtypes.DetectorStatusEnabled:
		return id, nil
	case "":
		return "", g.place.explain(errMute, what)
	default:
		return "", g.place.explain(fmt.Errorf("the detector is %s, and finds nothing: enable it", out.Status), what)
	}
}

func (g *GuardDutyAlerts) list(ctx context.Context, detector string, since time.Time, l *heard) (ids []string, err error) {
	what := "guardduty:ListFindings of " + detector
	criteria := map[string]guardtypes.Condition{"updatedAt": {GreaterThanOrEqual: aws.Int64(since.UnixMilli())}}
	if len(g.o.Types) > 0 {
		criteria["type"] = guardtypes.Condition{Equals: g.o.Types}
	}
	in := &guardduty.ListFindingsInput{DetectorId: &detector, FindingCriteria: &guardtypes.FindingCriteria{Criterion: criteria}, MaxResults: aws.Int32(50)}
	for n := 0; ; n++ {
		page, err := askPlace(ctx, g.place, what, g.client.ListFindings, in)
		if err == nil && (n == maxPages || len(ids) > maxAlerts) {
			err = g.place.explain(errEndless, what)
		}
		if err != nil && n == 0 {
			return nil, err
		}
		if err != nil {
			l.miss("%v", err)
			return ids, nil
		}
		for _, id := range page.FindingIds {
			switch {
			case id == "" || len(id) > 300:
				l.miss("%s: the reply names a finding %q", what, cut(id, 64))
			case !slices.Contains(ids, id):
				ids = append(ids, id)
			}
		}
		if in.NextToken = page.NextToken; aws.ToString(in.NextToken) == "" {
			return ids, nil
		}
	}
}

// rang reads one finding. Without a time it is told to be there, and is no alert.
func (g *GuardDutyAlerts) rang(f guardtypes.Finding, l *heard) (canary.Rang, bool) {
	id, kind := aws.ToString(f.Id), aws.ToString(f.Type)
	at, err := timeIn(f.UpdatedAt)
	if err != nil {
		l.miss("finding %s: updatedAt: %v", id, err)
		return canary.Rang{}, false
	}
	if len(g.o.Types) > 0 && !slices.Contains(g.o.Types, kind) {
		l.miss("finding %s is of type %q, which was not asked for", id, cut(kind, 128))
		return canary.Rang{}, false
	}
	r := canary.Rang{Alert: g.place.Alert, ID: id, At: at, Rule: cut(kind, 256)}
	r.Name(asJSON(f))
	r.Sessions = nil // names that begin with our mark are all over it; only the caller's is the session's
	if f.Resource != nil && f.Resource.AccessKeyDetails != nil {
		r.Sessions, r.Foreign = callers(aws.ToString(f.Resource.AccessKeyDetails.PrincipalId))
	}
	switch s := f.Service; {
	case s == nil:
		l.note("finding %s does not say how often it occurred, nor whether it is archived", id)
	case aws.ToInt32(s.Count) < 0:
		l.note("finding %s: its count is %d", id, *s.Count)
	default:
		r.Count = int(aws.ToInt32(s.Count))
		if first, err := timeIn(s.EventFirstSeen); err == nil {
			r.Since = first
		}
	}
	r.Weak = weakGuardDuty
	if r.Count > 1 {
		r.Weak += fmt.Sprintf("; %d are folded into this one, which names the caller of the last only", r.Count)
	}
	return r, true
}

// guardFilter is a filter that archives.
type guardFilter struct {
	name     string
	criteria map[string]guardtypes.Condition
}

// filters are a detector's that archive. What could not be read is a problem of its
// own: that a finding is archived is known without.
func (g *GuardDutyAlerts) filters(ctx context.Context, detector string, l *heard) (out []guardFilter) {
	what := "guardduty:ListFilters of " + detector
	in := &guardduty.ListFiltersInput{DetectorId: &detector}
	var names []string
	for n := 0; ; n++ {
		page, err := askPlace(ctx, g.place, what, g.client.ListFilters, in)
		if err == nil && n == maxPages {
			err = g.place.explain(errEndless, what)
		}
		if err != nil {
			l.note("%v", err)
			break
		}
		names = append(names, page.FilterNames...)
		if in.NextToken = page.NextToken; aws.ToString(in.NextToken) == "" {
			break
		}
	}
	const most = 200 // twice what a detector may have
	for _, name := range names[:min(len(names), most)] {
		f, err := askPlace(ctx, g.place, "guardduty:GetFilter of "+detector+"/"+cut(name, 64), g.client.GetFilter, &guardduty.GetFilterInput{DetectorId: &detector, FilterName: &name})
		if err != nil {
			l.note("%v", err)
			continue
		}
		if f.Action == guardtypes.FilterActionArchive && f.FindingCriteria != nil {
			out = append(out, guardFilter{name, f.FindingCriteria.Criterion})
		}
	}
	return out
}

// archivedBy says by what a finding was archived, as far as that can be told.
func archivedBy(f guardtypes.Finding, filters []guardFilter) string {
	finding, _ := statedAll(f).(map[string]any)
	var sure, perhaps []string
	for _, filter := range filters {
		switch met, decided := filter.meets(finding); {
		case met && decided:
			sure = append(sure, filter.name)
		case !decided:
			perhaps = append(perhaps, filter.name)
		}
	}
	switch {
	case len(sure) > 0:
		return "archived by filter " + strings.Join(sure, ", ")
	case len(perhaps) > 0:
		return "archived, perhaps by filter " + strings.Join(perhaps, ", ")
	default:
		return "archived, by no filter that there is now: by a person, or a filter that is gone; whether anybody saw it before is not known"
	}
}

// meets says whether a finding is what a filter asks for; decided is false if its
// conditions are not among those that are understood here.
func (f guardFilter) meets(finding map[string]any) (met, decided bool) {
	met, decided = true, true
	for path, c := range f.criteria {
		v, ok := valueAt(finding, path)
		if !ok {
			decided = false
			continue
		}
		one, ok := conditionMet(c, v)
		if ok && !one {
			return false, true
		}
		decided = decided && ok
	}
	return met, decided
}

// valueAt is what stands under a criterion's path: nil if nothing does. It reports
// false where the path goes through a list.
func valueAt(v any, path string) (any, bool) {
	for _, name := range strings.Split(path, ".") {
		m, isMap := v.(map[string]any)
		switch {
		case v == nil:
			return nil, true
		case !isMap || name == "":
			return nil, false
		}
		v = m[string(unicode.ToUpper(rune(name[0])))+name[1:]]
	}
	switch v.(type) {
	case []any, map[string]any:
		return nil, false
	}
	return v, true
}

func conditionMet(c guardtypes.Condition, v any) (met, decided bool) {
	known := guardtypes.Condition{
		Equals: c.Equals, NotEquals: c.NotEquals, GreaterThan: c.GreaterThan, GreaterThanOrEqual: c.GreaterThanOrEqual, LessThan: c.LessThan, LessThanOrEqual: c.LessThanOrEqual,
	}
	if !reflect.DeepEqual(c, known) { // patterns, and the deprecated names
		return false, false
	}
	text := fmt.Sprint(v)
	if v == nil {
		text = ""
	}
	if len(c.Equals) > 0 && !slices.Contains(c.Equals, text) {
		return false, true
	}
	if slices.Contains(c.NotEquals, text) {
		return false, true
	}
	n, err := strconv.ParseFloat(text, 64)
	if t, bad := time.Parse(time.RFC3339, text); bad == nil {
		n, err = float64(t.UnixMilli()), nil
	}
	for _, bound := range []struct {
		limit *int64
		ok    func(limit float64) bool
	}{
		{c.GreaterThan, func(x float64) bool { return n > x }}, {c.GreaterThanOrEqual, func(x float64) bool { return n >= x }},
		{c.LessThan, func(x float64) bool { return n < x }}, {c.LessThanOrEqual, func(x float64) bool { return n <= x }},
	} {
		if bound.limit != nil && (err != nil || !bound.ok(float64(*bound.limit))) {
			return false, true
		}
	}
	return true, true
}
