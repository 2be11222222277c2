package aws

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatch"
	watchtypes "github.com/aws/aws-sdk-go-v2/service/cloudwatch/types"

	"github.com/auditcanary/auditcanary/shared/canary"
	"github.com/auditcanary/auditcanary/shared/run"
)

// AlarmAlerts hears a CloudWatch alarm. Each time it went into ALARM is one alert,
// under the alarm's ARN and that time. It names no event. While it stays there it
// tells nobody anything more; how much its metric has counted since the beginning of
// the periods that set it off, until it left, is Count: that is how many events
// there were if each counts one, as those of a metric filter mostly do.
//
// An alert is suppressed if the alarm's history has no action that succeeded for it.
//
// Its credentials need cloudwatch:DescribeAlarms, DescribeAlarmHistory,
// GetMetricData and ListAlarmMuteRules.
type AlarmAlerts struct {
	place  AlertPlace
	name   string
	client *cloudwatch.Client
}

var _ run.AlertSource = (*AlarmAlerts)(nil)

// NewAlarmAlerts hears the alarm of that name; it does no I/O.
func NewAlarmAlerts(p AlertPlace, alarm string) (*AlarmAlerts, error) {
	p, err := p.checked()
	if err == nil && (alarm == "" || len(alarm) > 255 || strings.HasPrefix(alarm, "arn:")) {
		err = fmt.Errorf("aws: alert %s: %q is not the name of an alarm", p.Alert, cut(alarm, 64))
	}
	if err != nil {
		return nil, err
	}
	return &AlarmAlerts{p, alarm, cloudwatch.NewFromConfig(p.Config)}, nil
}

const (
	weakAlarm = "an alarm's state names no event"
	// settling is how long the history may take to show an action.
	settling = 2 * time.Minute
	// longestAlarm is how long before a look an alarm that is heard in it may have rung.
	longestAlarm = 24 * time.Hour
	// historyKept is how long CloudWatch keeps an alarm's history.
	historyKept = 30 * 24 * time.Hour
)

// Settle does nothing: an alarm's history keeps itself.
func (a *AlarmAlerts) Settle(context.Context, []string) error { return nil }

// alarm is what is known of an alarm of any kind.
type alarm struct {
	arn        string
	actions    []string
	enabled    bool
	suppressed string // by what a composite one's actions are kept back
	metric     *watchtypes.Metric
	window     time.Duration // of the periods that are weighed together
}

// episode is one stay in ALARM.
type episode struct {
	from, to   time.Time // to is zero while it lasts
	item       watchtypes.AlarmHistoryItem
	told       bool
	failed     string
	begin, end time.Time // of what the metric counts for it
}

// Listen implements run.AlertSource. An alarm that rang before and still rings, or
// left ALARM only since then, is heard too.
func (a *AlarmAlerts) Listen(ctx context.Context, since time.Time) (run.Arrived, error) {
	var l heard
	what := "cloudwatch:DescribeAlarms of " + a.name
	out, err := askPlace(ctx, a.place, what, a.client.DescribeAlarms, &cloudwatch.DescribeAlarmsInput{
		AlarmNames: []string{a.name}, AlarmTypes: watchtypes.AlarmType("").Values(),
	})
	if err != nil {
		return run.Arrived{}, err
	}
	l.AsOf = serverTime(out.ResultMetadata)
	found, from, err := a.describe(out, since)
	if err != nil {
		return run.Arrived{}, a.place.explain(err, what)
	}
	if now := l.AsOf; !now.IsZero() && now.Sub(since) > historyKept {
		l.miss("alarm %s: its history is kept for %d days, and what rang before is not known any more", a.name, historyKept/(24*time.Hour))
	}
	items, err := a.history(ctx, from.Add(-longestAlarm), &l)
	if err != nil {
		return run.Arrived{}, err
	}
	episodes := a.episodes(items, &l)
	episodes = slices.DeleteFunc(episodes, func(e *episode) bool {
		return e.from.Before(since) && !e.to.IsZero() && e.to.Before(since)
	})
	a.sums(ctx, found, episodes, &l)
	return l.done("alarm " + a.name), nil
}

// describe finds the alarm in the reply, and since when its history is needed.
func (a *AlarmAlerts) describe(out *cloudwatch.DescribeAlarmsOutput, since time.Time) (found alarm, from time.Time, err error) {
	var there bool
	is := func(name, arn *string, enabled *bool, actions []string, state watchtypes.StateValue, at *time.Time) bool {
		if aws.ToString(name) != a.name || there {
			return false
		}
		there = true
		found = alarm{arn: aws.ToString(arn), actions: actions, enabled: aws.ToBool(enabled)}
		if from = since; state == watchtypes.StateValueAlarm && at != nil && at.Before(since) {
			from = *at
		}
		return true
	}
	for _, m := range out.MetricAlarms {
		if is(m.AlarmName, m.AlarmArn, m.ActionsEnabled, m.AlarmActions, m.StateValue, m.StateTransitionedTimestamp) && aws.ToString(m.MetricName) != "" {
			found.metric = &watchtypes.Metric{Namespace: m.Namespace, MetricName: m.MetricName, Dimensions: m.Dimensions}
			found.window = time.Duration(aws.ToInt32(m.Period)) * time.Second * time.Duration(aws.ToInt32(m.EvaluationPeriods))
		}
	}
	for _, m := range out.LogAlarms {
		is(m.AlarmName, m.AlarmArn, m.ActionsEnabled, m.AlarmActions, m.StateValue, m.StateTransitionedTimestamp)
	}
	for _, m := range out.CompositeAlarms {
		if is(m.AlarmName, m.AlarmArn, m.ActionsEnabled, m.AlarmActions, m.StateValue, m.StateTransitionedTimestamp) && aws.ToString(m.ActionsSuppressor) != "" {
			found.suppressed = "alarm " + aws.ToString(m.ActionsSuppressor)
		}
	}
	switch {
	case !there:
		return alarm{}, from, errors.New("there is no such alarm: create it, or correct its name")
	case found.arn == "":
		return alarm{}, from, errMute
	case found.window < 0 || found.window > 7*24*time.Hour: // the service's limit
		return alarm{}, from, fmt.Errorf("the reply has an alarm that weighs periods of together %s", found.window)
	}
	return found, from, nil
}

// history reads an alarm's history from a time on, oldest first.
func (a *AlarmAlerts) history(ctx context.Context, from time.Time, l *heard) ([]watchtypes.AlarmHistoryItem, error) {
	what := "cloudwatch:DescribeAlarmHistory of " + a.name
	in := &cloudwatch.DescribeAlarmHistoryInput{
		AlarmName: &a.name, AlarmTypes: watchtypes.AlarmType("").Values(), StartDate: &from, ScanBy: watchtypes.ScanByTimestampAscending, MaxRecords: aws.Int32(100),
	}
	var items []watchtypes.AlarmHistoryItem
	for n := 0; ; n++ {
		page, err := askPlace(ctx, a.place, what, a.client.DescribeAlarmHistory, in)
		if err == nil && (n == maxPages || len(items) > maxAlerts) {
			err = a.place.explain(errEndless, what)
		}
		if err != nil && n == 0 {
			return nil, err
		}
		if err != nil {
			l.miss("%v", err)
			break
		}
		for _, item := range page.AlarmHistoryItems {
			switch {
			case aws.ToString(item.AlarmName) != a.name:
				l.miss("%s: the reply has an item of alarm %q", what, cut(aws.ToString(item.AlarmName), 64))
			case item.Timestamp == nil:
				l.miss("%s: an item (%q) has no time", what, cut(aws.ToString(item.HistorySummary), 128))
			default:
				items = append(items, item)
			}
		}
		if in.NextToken = page.NextToken; aws.ToString(in.NextToken) == "" {
			break
		}
	}
	slices.SortStableFunc(items, func(a, b watchtypes.AlarmHistoryItem) int { return a.Timestamp.Compare(*b.Timestamp) })
	return items, nil
}

// episodes reads from the history when the alarm was in ALARM, and whether anybody
// was told.
func (a *AlarmAlerts) episodes(items []watchtypes.AlarmHistoryItem, l *heard) (out []*episode) {
	var last *episode // while it lasts
	for _, item := range items {
		if item.HistoryItemType != watchtypes.HistoryItemTypeStateUpdate {
			continue
		}
		switch before, after := states(item); {
		case after == "":
			l.miss("alarm %s: its history at %s cannot be read: %q", a.name, item.Timestamp.UTC().Format(time.RFC3339), cut(aws.ToString(item.HistorySummary), 128))
		case after == "ALARM" && before != "ALARM":
			last = &episode{from: item.Timestamp.UTC(), item: item}
			out = append(out, last)
		case after != "ALARM" && last != nil:
			last.to, last = item.Timestamp.UTC(), nil
		}
	}
	for _, item := range items {
		if item.HistoryItemType == watchtypes.HistoryItemTypeAction {
			act(out, item)
		}
	}
	return out
}

// states reads the states from and into which an alarm went; "" if they are not told.
func states(item watchtypes.AlarmHistoryItem) (before, after string) {
	var data struct {
		OldState, NewState struct{ StateValue string }
	}
	if err := json.Unmarshal([]byte(aws.ToString(item.HistoryData)), &data); err == nil && data.NewState.StateValue != "" {
		return data.OldState.StateValue, data.NewState.StateValue
	}
	if _, change, ok := strings.Cut(aws.ToString(item.HistorySummary), "Alarm updated from "); ok {
		if before, after, ok = strings.Cut(change, " to "); ok {
			return before, after
		}
	}
	return "", ""
}

// act notes an action with the episode that it was for: it says of which change of
// state it is, or else follows it.
func act(episodes []*episode, item watchtypes.AlarmHistoryItem) {
	var data struct {
		ActionState          string
		StateUpdateTimestamp int64 // milliseconds
		NotificationResource string
	}
	_ = json.Unmarshal([]byte(aws.ToString(item.HistoryData)), &data) // what cannot be read is not there
	at := item.Timestamp.UTC()
	if data.StateUpdateTimestamp > 0 {
		at = time.UnixMilli(data.StateUpdateTimestamp).UTC()
	}
	for _, e := range slices.Backward(episodes) {
		if e.from.After(at.Add(time.Second)) {
			continue
		}
		if !e.to.IsZero() && !at.Before(e.to) {
			return // it was for leaving ALARM
		}
		summary := aws.ToString(item.HistorySummary)
		if data.ActionState == "Succeeded" || data.ActionState == "" && strings.HasPrefix(summary, "Successfully executed") {
			e.told = true
		} else {
			e.failed = cut(summary, 256)
		}
		return
	}
}

// sums completes the episodes into alerts: with what the metric counted for each.
func (a *AlarmAlerts) sums(ctx context.Context, found alarm, episodes []*episode, l *heard) {
	now := l.AsOf
	counted := map[*episode]int{}
	if found.metric != nil && len(episodes) > 0 && !now.IsZero() {
		left := time.Time{}
		for _, e := range episodes {
			if e.begin = e.from.Add(-found.window); e.begin.Before(left) {
				e.begin = left
			}
			if e.end = e.to; e.end.IsZero() {
				e.end = now
			}
			left = e.end
		}
		samples, err := a.samples(ctx, found.metric, episodes[0].begin, now)
		if err != nil {
			l.note("how much alarm %s counted is not known: %v", a.name, err)
		} else {
			for _, e := range episodes {
				sum := 0.0
				for at, v := range samples {
					if !at.Before(e.begin.Truncate(time.Minute)) && at.Before(e.end) {
						sum += v
					}
				}
				counted[e] = int(min(math.Round(sum), math.MaxInt32))
			}
		}
	}
	for _, e := range episodes {
		why, known := a.suppressed(ctx, found, e, now, l)
		if !known { // it is for the next look
			if l.AsOf.After(e.from) {
				l.AsOf = e.from.Add(-time.Nanosecond)
			}
			continue
		}
		r := canary.Rang{Alert: a.place.Alert, ID: found.arn + "@" + e.from.Format(time.RFC3339Nano), At: e.from, Rule: found.arn, Suppressed: why}
		r.Name(asJSON(e.item))
		if r.Weak = weakAlarm; len(r.RequestIDs)+len(r.EventIDs) > 0 { // a log alarm's contributor may name one
			r.Weak = ""
		}
		if r.Count = counted[e]; r.Count > 0 {
			r.Since, r.Period = e.begin, true
		}
		l.Alerts = append(l.Alerts, r)
	}
}

// samples reads what a metric counted in each minute (of older ones: in five, or in
// an hour; CloudWatch has them no finer).
func (a *AlarmAlerts) samples(ctx context.Context, m *watchtypes.Metric, from, to time.Time) (map[time.Time]float64, error) {
	what := "cloudwatch:GetMetricData of " + aws.ToString(m.Namespace) + "/" + aws.ToString(m.MetricName)
	period := int32(60)
	switch age := to.Sub(from); {
	case age > 62*24*time.Hour:
		period = 3600
	case age > 14*24*time.Hour:
		period = 300
	}
	from, to = from.Truncate(time.Duration(period)*time.Second), to.Add(time.Minute)
	in := &cloudwatch.GetMetricDataInput{StartTime: &from, EndTime: &to, ScanBy: watchtypes.ScanByTimestampAscending, MetricDataQueries: []watchtypes.MetricDataQuery{{
		Id: aws.String("counted"), MetricStat: &watchtypes.MetricStat{Metric: m, Period: &period, Stat: aws.String("Sum")},
	}}}
	samples := map[time.Time]float64{}
	for range maxPages {
		page, err := askPlace(ctx, a.place, what, a.client.GetMetricData, in)
		if err != nil {
			return nil, err
		}
		for _, r := range page.MetricDataResults {
			switch {
			case len(r.Timestamps) != len(r.Values):
				return nil, a.place.explain(fmt.Errorf("the reply has %d times and %d values", len(r.Timestamps), len(r.Values)), what)
			case r.StatusCode == watchtypes.StatusCodeInternalError || r.StatusCode == watchtypes.StatusCodeForbidden:
				return nil, a.place.explain(fmt.Errorf("status %s", r.StatusCode), what)
			}
			for i, v := range r.Values {
				if math.IsNaN(v) || v < 0 || v > math.MaxInt32 {
					return nil, a.place.explain(fmt.Errorf("a value is %v", v), what)
				}
				samples[r.Timestamps[i].UTC()] = v
			}
		}
		if in.NextToken = page.NextToken; aws.ToString(in.NextToken) == "" {
			return samples, nil
		}
	}
	return nil, a.place.explain(errEndless, what)
}

// suppressed says why nobody was told, "" if somebody was. known is false while the
// history may not show it yet.
func (a *AlarmAlerts) suppressed(ctx context.Context, found alarm, e *episode, now time.Time, l *heard) (why string, known bool) {
	switch {
	case e.told:
		return "", true
	case now.Sub(e.from) < settling && (e.failed != "" || len(found.actions) > 0 && found.enabled):
		return "", false // another action may succeed yet
	case e.failed != "":
		return "its action failed: " + e.failed, true
	case len(found.actions) == 0:
		return "the alarm has no action for ALARM, and tells nobody", true
	case !found.enabled:
		return "the alarm's actions are disabled", true
	}
	by, err := a.mutedBy(ctx)
	if err != nil {
		l.note("%v", err)
	}
	if found.suppressed != "" {
		by = append(by, found.suppressed)
	}
	if len(by) > 0 {
		return "the alarm's history has no action for it; its actions are kept back by " + strings.Join(by, ", "), true
	}
	return "the alarm's history has no action for it: nobody was told", true
}

// mutedBy are the rules that mute the alarm.
func (a *AlarmAlerts) mutedBy(ctx context.Context) (rules []string, err error) {
	what := "cloudwatch:ListAlarmMuteRules of " + a.name
	in := &cloudwatch.ListAlarmMuteRulesInput{AlarmName: &a.name}
	for range maxPages {
		page, err := askPlace(ctx, a.place, what, a.client.ListAlarmMuteRules, in)
		if err != nil {
			return rules, err
		}
		for _, m := range page.AlarmMuteRuleSummaries {
			if m.Status != watchtypes.AlarmMuteRuleStatusExpired && len(rules) < 20 {
				rules = append(rules, "rule "+cut(aws.ToString(m.AlarmMuteRuleArn), 256))
			}
		}
		if in.NextToken = page.NextToken; aws.ToString(in.NextToken) == "" {
			return rules, nil
		}
	}
	return rules, a.place.explain(errEndless, what)
}
