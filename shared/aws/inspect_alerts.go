package aws

import (
	"cmp"
	"context"
	"regexp"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatch"
	watchtypes "github.com/aws/aws-sdk-go-v2/service/cloudwatch/types"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatchlogs"
	"github.com/aws/aws-sdk-go-v2/service/eventbridge"
	"github.com/aws/aws-sdk-go-v2/service/guardduty"
	guardtypes "github.com/aws/aws-sdk-go-v2/service/guardduty/types"
	"github.com/aws/aws-sdk-go-v2/service/sns"

	"github.com/auditcanary/auditcanary/shared/inventory"
	"github.com/auditcanary/auditcanary/shared/pattern"
)

// alerts reads what the configuration lists of the alert path.
func (r *sourceReader) alerts(a inventory.AlertPath) {
	everyOne(r, a.Rules, func(w inventory.Rule) inventory.Place { return w.Place }, r.rule)
	everyOne(r, a.Topics, func(w inventory.Topic) inventory.Place { return w.Place }, r.topic)
	everyOne(r, a.Alarms, func(w inventory.Alarm) inventory.Place { return w.Place }, r.alarm)
	everyOne(r, a.MetricFilters, func(w inventory.MetricFilter) inventory.Place { return w.Place }, r.metricFilter)
	everyOne(r, a.Detectors, func(w inventory.Detector) inventory.Place { return w.Place }, r.detector)
	everyOne(r, a.LogGroups, func(w inventory.LogGroup) inventory.Place { return w.Place }, r.logGroup)
}

// Alerts reads the settings of an alert path alone. What cannot be read is in the
// snapshot, with why; the rest goes on. The error is ctx's.
func (i *Inspector) Alerts(ctx context.Context, a inventory.AlertPath) (inventory.Snapshot, error) {
	r := &sourceReader{i: i, ctx: ctx, refused: map[string]bool{}, slots: make(chan struct{}, readers)}
	for _, account := range (SourcesQuery{Alerts: a}).accounts() {
		r.start(func() { r.enter(account) })
	}
	r.wait()
	r.alerts(a)
	r.wait()
	inOrder(&r.out)
	return r.out, ctx.Err()
}

// everyOne reads every one of a list, where it is.
func everyOne[W any](r *sourceReader, list []W, place func(W) inventory.Place, read func(aws.Config, W)) {
	for _, w := range list {
		r.start(func() {
			if cfg, ok := r.at(place(w)); ok {
				read(cfg, w)
			}
		})
	}
}

const notFound = "ResourceNotFoundException"

// turn reads page after page: next is told the token of the page, and returns that
// of the one after it. It reports whether the end was reached.
func (r *sourceReader) turn(p inventory.Place, what string, next func(token *string) (*string, bool)) bool {
	var token *string
	for range maxPages {
		more, ok := next(token)
		if !ok {
			return false
		}
		if aws.ToString(more) == "" {
			return true
		}
		token = more
	}
	r.unread(p, what, errEndless)
	return false
}

func (r *sourceReader) rule(cfg aws.Config, w inventory.Rule) {
	client, bus := eventbridge.NewFromConfig(cfg), &w.Bus
	if w.Bus == "" {
		bus = nil
	}
	what := "events:DescribeRule of " + w.Name
	out, there, ok := ask(r, w.Place, what, client.DescribeRule, &eventbridge.DescribeRuleInput{Name: &w.Name, EventBusName: bus}, notFound)
	if !ok {
		return
	}
	s := inventory.RuleState{Place: w.Place, Bus: w.Bus, Name: w.Name, Missing: !there}
	if there {
		if s.State, s.Pattern = string(out.State), aws.ToString(out.EventPattern); s.State == "" {
			r.unread(w.Place, what, errMute)
			return
		}
		targets, what := []string{}, "events:ListTargetsByRule of "+w.Name
		if r.turn(w.Place, what, func(token *string) (*string, bool) {
			page, there, ok := ask(r, w.Place, what, client.ListTargetsByRule, &eventbridge.ListTargetsByRuleInput{Rule: &w.Name, EventBusName: bus, NextToken: token}, notFound)
			if !there {
				return nil, ok
			}
			for _, t := range page.Targets {
				targets = append(targets, aws.ToString(t.Arn))
			}
			return page.NextToken, true
		}) {
			s.Targets = &targets
		}
	}
	r.keep(func(out *inventory.Snapshot) { out.Rules = append(out.Rules, s) })
}

func (r *sourceReader) topic(cfg aws.Config, w inventory.Topic) {
	client, what := sns.NewFromConfig(cfg), "sns:ListSubscriptionsByTopic of "+w.ARN
	s := inventory.TopicState{Place: w.Place, ARN: w.ARN}
	subscriptions := []inventory.Subscription{}
	if !r.turn(w.Place, what, func(token *string) (*string, bool) {
		page, there, ok := ask(r, w.Place, what, client.ListSubscriptionsByTopic, &sns.ListSubscriptionsByTopicInput{TopicArn: &w.ARN, NextToken: token}, "NotFound", "NotFoundException")
		if !there {
			s.Missing = ok
			return nil, ok
		}
		for _, sub := range page.Subscriptions {
			if aws.ToString(sub.SubscriptionArn) == "Deleted" {
				continue
			}
			one := inventory.Subscription{Protocol: aws.ToString(sub.Protocol), Endpoint: aws.ToString(sub.Endpoint)}
			if arn := aws.ToString(sub.SubscriptionArn); strings.HasPrefix(arn, "arn:") { // otherwise "PendingConfirmation"
				one.ARN = arn
				r.attributes(client, w, &one)
			}
			one.Pending = one.Pending || one.ARN == ""
			subscriptions = append(subscriptions, one)
		}
		return page.NextToken, true
	}) {
		return
	}
	s.Subscriptions = &subscriptions
	r.keep(func(out *inventory.Snapshot) { out.Topics = append(out.Topics, s) })
}

func (r *sourceReader) attributes(client *sns.Client, w inventory.Topic, s *inventory.Subscription) {
	out, there, ok := ask(r, w.Place, "sns:GetSubscriptionAttributes of "+s.ARN, client.GetSubscriptionAttributes, &sns.GetSubscriptionAttributesInput{SubscriptionArn: &s.ARN}, "NotFound", "NotFoundException")
	switch {
	case !ok:
		s.Unread = true
	case !there: // gone since it was listed
		s.Pending = true
	default:
		s.Pending, s.FilterPolicy = out.Attributes["PendingConfirmation"] == "true", out.Attributes["FilterPolicy"]
	}
}

func (r *sourceReader) alarm(cfg aws.Config, w inventory.Alarm) {
	client, what := cloudwatch.NewFromConfig(cfg), "cloudwatch:DescribeAlarms of "+w.Name
	out, _, ok := ask(r, w.Place, what, client.DescribeAlarms, &cloudwatch.DescribeAlarmsInput{
		AlarmNames: []string{w.Name}, AlarmTypes: []watchtypes.AlarmType{watchtypes.AlarmTypeMetricAlarm, watchtypes.AlarmTypeCompositeAlarm, watchtypes.AlarmTypeLogAlarm},
	})
	if !ok {
		return
	}
	s := inventory.AlarmState{Place: w.Place, Name: w.Name, Missing: true}
	muted, mute := []string{}, false
	is := func(name *string, enabled *bool, actions []string) {
		if aws.ToString(name) == w.Name {
			mute = enabled == nil
			s.Missing, s.ActionsEnabled, s.Actions = false, aws.ToBool(enabled), actions
		}
	}
	for _, a := range out.MetricAlarms {
		is(a.AlarmName, a.ActionsEnabled, a.AlarmActions)
		if aws.ToString(a.AlarmName) == w.Name {
			s.Metrics, s.Condition, s.Threshold = watched(a)
		}
	}
	for _, a := range out.LogAlarms {
		is(a.AlarmName, a.ActionsEnabled, a.AlarmActions)
	}
	for _, a := range out.CompositeAlarms {
		is(a.AlarmName, a.ActionsEnabled, a.AlarmActions)
		if by := aws.ToString(a.ActionsSuppressor); by != "" && aws.ToString(a.AlarmName) == w.Name {
			muted = append(muted, by)
		}
	}
	if mute {
		r.unread(w.Place, what, errMute)
		return
	}
	if what := "cloudwatch:ListAlarmMuteRules of " + w.Name; !s.Missing && r.turn(w.Place, what, func(token *string) (*string, bool) {
		page, _, ok := ask(r, w.Place, what, client.ListAlarmMuteRules, &cloudwatch.ListAlarmMuteRulesInput{AlarmName: &w.Name, NextToken: token})
		if !ok {
			return nil, false
		}
		for _, m := range page.AlarmMuteRuleSummaries {
			if m.Status != watchtypes.AlarmMuteRuleStatusExpired {
				muted = append(muted, aws.ToString(m.AlarmMuteRuleArn))
			}
		}
		return page.NextToken, true
	}) {
		s.Muted = &muted
	}
	r.keep(func(out *inventory.Snapshot) { out.Alarms = append(out.Alarms, s) })
}

// watched are the metrics of an alarm, with the condition on the one of a plain alarm.
func watched(a watchtypes.MetricAlarm) (metrics *[]string, condition string, threshold float64) {
	if name := aws.ToString(a.MetricName); name != "" {
		condition = cmp.Or(string(a.Statistic), aws.ToString(a.ExtendedStatistic)) + " " + string(a.ComparisonOperator)
		return &[]string{aws.ToString(a.Namespace) + "/" + name}, condition, aws.ToFloat64(a.Threshold)
	}
	list := []string{}
	for _, q := range a.Metrics {
		switch {
		case q.MetricStat != nil && q.MetricStat.Metric != nil:
			list = append(list, aws.ToString(q.MetricStat.Metric.Namespace)+"/"+aws.ToString(q.MetricStat.Metric.MetricName))
		case !metricMath.MatchString(aws.ToString(q.Expression)):
			return nil, "", 0 // it names its metrics in a query: SELECT, SEARCH
		}
	}
	return &list, "", 0
}

// metricMath is an expression over metrics that are listed beside it.
var metricMath = regexp.MustCompile(`^[\w\s.,+*/()<>=!&|^-]+$`)

func (r *sourceReader) metricFilter(cfg aws.Config, w inventory.MetricFilter) {
	client, what := cloudwatchlogs.NewFromConfig(cfg), "logs:DescribeMetricFilters of "+w.LogGroup
	s := inventory.MetricFilterState{Place: w.Place, LogGroup: w.LogGroup, Name: w.Name, Missing: true}
	if !r.turn(w.Place, what, func(token *string) (*string, bool) {
		page, there, ok := ask(r, w.Place, what, client.DescribeMetricFilters, &cloudwatchlogs.DescribeMetricFiltersInput{LogGroupName: &w.LogGroup, FilterNamePrefix: &w.Name, NextToken: token}, notFound)
		if !there {
			return nil, ok
		}
		for _, f := range page.MetricFilters {
			if aws.ToString(f.FilterName) == w.Name {
				s.Missing, s.Pattern = false, aws.ToString(f.FilterPattern)
				for _, m := range f.MetricTransformations {
					s.Metrics = append(s.Metrics, aws.ToString(m.MetricNamespace)+"/"+aws.ToString(m.MetricName))
				}
			}
		}
		return page.NextToken, true
	}) {
		return
	}
	r.keep(func(out *inventory.Snapshot) { out.MetricFilters = append(out.MetricFilters, s) })
}

func (r *sourceReader) logGroup(cfg aws.Config, w inventory.LogGroup) {
	client, what := cloudwatchlogs.NewFromConfig(cfg), "logs:DescribeLogGroups of "+w.Name
	s := inventory.LogGroupState{Place: w.Place, Name: w.Name, Missing: true}
	if !r.turn(w.Place, what, func(token *string) (*string, bool) {
		page, _, ok := ask(r, w.Place, what, client.DescribeLogGroups, &cloudwatchlogs.DescribeLogGroupsInput{LogGroupNamePrefix: &w.Name, NextToken: token})
		if !ok {
			return nil, false
		}
		for _, g := range page.LogGroups {
			if aws.ToString(g.LogGroupName) == w.Name {
				s.Missing, s.RetentionDays, s.Protected = false, int(aws.ToInt32(g.RetentionInDays)), aws.ToBool(g.DeletionProtectionEnabled)
			}
		}
		return page.NextToken, true
	}) {
		return
	}
	r.keep(func(out *inventory.Snapshot) { out.LogGroups = append(out.LogGroups, s) })
}

func (r *sourceReader) detector(cfg aws.Config, w inventory.Detector) {
	client, id := guardduty.NewFromConfig(cfg), w.ID
	s := inventory.DetectorState{Place: w.Place, ID: w.ID}
	if id == "" {
		out, _, ok := ask(r, w.Place, "guardduty:ListDetectors", client.ListDetectors, &guardduty.ListDetectorsInput{})
		if !ok {
			return
		}
		if len(out.DetectorIds) > 0 { // a region has one
			id = out.DetectorIds[0]
		}
	}
	what := "guardduty:GetDetector of " + id
	if id == "" {
		s.Missing = true
	} else if out, there, ok := ask(r, w.Place, what, client.GetDetector, &guardduty.GetDetectorInput{DetectorId: &id}, "BadRequestException", notFound); !ok {
		return
	} else if there && out.Status == "" {
		r.unread(w.Place, what, errMute)
		return
	} else if s.Missing = !there; there {
		s.Enabled = out.Status == guardtypes.DetectorStatusEnabled
		if s.Suppressions, ok = r.suppressions(client, w.Place, id); ok {
			s.Suppressing = &[]string{}
			for _, f := range s.Suppressions {
				*s.Suppressing = append(*s.Suppressing, f.Name)
			}
		}
	}
	r.keep(func(out *inventory.Snapshot) { out.Detectors = append(out.Detectors, s) })
}

// suppressions are a detector's filters that archive; false if they could not all be read.
func (r *sourceReader) suppressions(client *guardduty.Client, p inventory.Place, detector string) ([]inventory.Suppression, bool) {
	var names []string
	what := "guardduty:ListFilters of " + detector
	if !r.turn(p, what, func(token *string) (*string, bool) {
		page, _, ok := ask(r, p, what, client.ListFilters, &guardduty.ListFiltersInput{DetectorId: &detector, NextToken: token})
		if !ok {
			return nil, false
		}
		names = append(names, page.FilterNames...)
		return page.NextToken, true
	}) {
		return nil, false
	}
	slices.Sort(names)
	var archive []inventory.Suppression
	for _, name := range names {
		out, there, ok := ask(r, p, "guardduty:GetFilter of "+detector+"/"+name, client.GetFilter, &guardduty.GetFilterInput{DetectorId: &detector, FilterName: &name}, "BadRequestException", notFound)
		if !ok {
			return nil, false
		}
		if there && out.Action != guardtypes.FilterActionNoop {
			archive = append(archive, inventory.Suppression{Name: name, Criteria: criteria(out.FindingCriteria)})
		}
	}
	return archive, true
}

// criteria of a filter; none where it was given none.
func criteria(c *guardtypes.FindingCriteria) pattern.Criteria {
	if c == nil {
		return nil
	}
	out := pattern.Criteria{}
	for name, c := range c.Criterion { // the older names of the operators are still in use beside the newer
		one := pattern.Criterion{Matches: c.Matches, NotMatches: c.NotMatches}
		//lint:ignore SA1019 filters that were made with it still have it
		one.Equals, one.NotEquals = slices.Concat(c.Equals, c.Eq), slices.Concat(c.NotEquals, c.Neq)
		//lint:ignore SA1019 filters that were made with it still have it
		one.Greater, one.GreaterOrEqual = bound(c.GreaterThan, c.Gt), bound(c.GreaterThanOrEqual, c.Gte)
		//lint:ignore SA1019 filters that were made with it still have it
		one.Less, one.LessOrEqual = bound(c.LessThan, c.Lt), bound(c.LessThanOrEqual, c.Lte)
		out[name] = one
	}
	return out
}

func bound(newer *int64, older *int32) *int64 {
	if newer == nil && older != nil {
		return aws.Int64(int64(*older))
	}
	return newer
}
