package cloud

import (
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"
)

// metric is one without dimensions: metric filters of one that has some count into none.
type metric struct {
	place
	namespace, name string
}

// sample is what a metric has of one minute.
type sample struct{ sum, n, min, max float64 }

func (s sample) with(o sample) sample {
	if s.n == 0 {
		return o
	}
	return sample{s.sum + o.sum, s.n + o.n, min(s.min, o.min), max(s.max, o.max)}
}

func (s sample) statistic(name string) float64 {
	switch name {
	case "SampleCount":
		return s.n
	case "Average":
		return s.sum / s.n
	case "Minimum":
		return s.min
	case "Maximum":
		return s.max
	default:
		return s.sum
	}
}

// count delivers a record to the log groups of the trails that record it, and lets
// the metric filters that are on them by then count it.
func (c *Cloud) count(account, region string, rec map[string]any, now time.Time) {
	for _, owner := range slices.Compact([]string{account, c.world.Management}) {
		a := c.world.Accounts[owner]
		if a == nil {
			continue
		}
		for _, r := range a.Regions {
			for _, t := range r.Trails {
				if !t.Logging || t.LogGroup == "" || owner != account && !t.Organization || !t.MultiRegion && t.Home != region {
					continue
				}
				f := strings.Split(t.LogGroup, ":") // arn:aws:logs:REGION:ACCOUNT:log-group:NAME:*
				if len(f) < 7 {
					continue
				}
				at, group := place{f[4], f[3]}, f[6]
				stream := account + "_CloudTrail_" + region
				c.dueAt(now.Add(logGroupDelay), func(now time.Time) {
					c.logRecord(at, group, stream, rec, now)
					c.filter(at, group, rec, now)
				})
			}
		}
	}
}

// filter counts one event of a log group. The sample is of the minute in which the
// event came; that it is not of that in which it happened is inferred.
func (c *Cloud) filter(at place, group string, rec map[string]any, now time.Time) {
	a := c.world.Accounts[at.account]
	if a == nil || a.Regions[at.region] == nil {
		return
	}
	filters := a.Regions[at.region].Things[metricFilters]
	for _, id := range slices.Sorted(maps.Keys(filters)) {
		if !strings.HasPrefix(id, group+":") {
			continue
		}
		pattern, _ := filters[id].Attr["filterPattern"].(string)
		counts, known := c.filters[pattern]
		if !known {
			if counts, _ = parseFilterPattern(pattern); c.filters == nil || len(c.filters) > 10_000 {
				c.filters = map[string]filterPattern{}
			}
			c.filters[pattern] = counts // nil: it cannot be read
		}
		if counts == nil || !counts(rec) {
			continue
		}
		all, _ := filters[id].Attr["metricTransformations"].([]any)
		for _, t := range all {
			m, _ := t.(map[string]any)
			text := field(t, "metricValue")
			if m["dimensions"] != nil {
				continue
			}
			value, err := strconv.ParseFloat(text, 64)
			if err != nil { // it counts what stands in the event
				path, _ := selectorPath(text)
				v, _ := selected(rec, path)
				f, isNumber := v.(float64)
				if !isNumber || path == nil {
					continue
				}
				value = f
			}
			which := metric{at, field(t, "metricNamespace"), field(t, "metricName")}
			c.alertLater("cloudwatch", strings.TrimPrefix(id, group+":"), at, rec, now, func(now time.Time) { c.addSample(which, now, value) })
		}
	}
}

func (c *Cloud) addSample(m metric, now time.Time, value float64) {
	w := &c.watched
	if w.metrics == nil {
		w.metrics = map[metric]map[int64]sample{}
	}
	if w.metrics[m] == nil {
		w.metrics[m] = map[int64]sample{}
	}
	minute := now.Truncate(time.Minute)
	w.metrics[m][minute.Unix()] = w.metrics[m][minute.Unix()].with(sample{value, 1, value, value})
	w.last = minute
}

// between is what a metric has of [from, to); n is 0 if there is nothing.
func (w *watched) between(m metric, from, to time.Time) (s sample) {
	for t := from.Unix(); t < to.Unix(); t += 60 {
		if one, there := w.metrics[m][t]; there {
			s = s.with(one)
		}
	}
	return s
}

// alarmState is what became of an alarm.
type alarmState struct {
	value, reason, data string
	updated             time.Time
	history             []map[string]any // oldest first
}

// alarmRule is an alarm's definition.
type alarmRule struct {
	metric
	statistic, comparison, missing string
	threshold                      float64
	period                         time.Duration
	periods, toAlarm               int
}

func numberOf(v any) float64 {
	switch v := v.(type) {
	case float64:
		return v
	case int:
		return float64(v)
	}
	return 0
}

// ruleOf reads a definition. One that is not whole is of an alarm that nobody evaluates.
func ruleOf(at place, attr map[string]any) (alarmRule, bool) {
	r := alarmRule{
		metric: metric{at, field(attr, "Namespace"), field(attr, "MetricName")}, statistic: field(attr, "Statistic"),
		comparison: field(attr, "ComparisonOperator"), missing: field(attr, "TreatMissingData"), threshold: numberOf(attr["Threshold"]),
		period: time.Duration(numberOf(attr["Period"])) * time.Second, periods: int(numberOf(attr["EvaluationPeriods"])), toAlarm: int(numberOf(attr["DatapointsToAlarm"])),
	}
	if r.toAlarm == 0 {
		r.toAlarm = r.periods
	}
	return r, r.period >= time.Minute && r.period%time.Minute == 0 && r.periods > 0 && r.statistic != ""
}

func (r alarmRule) window() time.Duration { return r.period * time.Duration(r.periods) }

func (r alarmRule) breached(v float64) bool {
	switch r.comparison {
	case "GreaterThanThreshold":
		return v > r.threshold
	case "LessThanThreshold":
		return v < r.threshold
	case "LessThanOrEqualToThreshold":
		return v <= r.threshold
	default:
		return v >= r.threshold
	}
}

// evaluateAlarms looks at every alarm at every full minute until stop, as the user
// guide describes it ("How alarm state is evaluated when data is missing"): at the
// periods that end there. Minutes in which nothing can change are passed over.
func (c *Cloud) evaluateAlarms(stop time.Time) {
	w := &c.watched
	if w.until.IsZero() {
		w.until = stop
		return
	}
	for minute := w.until.Truncate(time.Minute).Add(time.Minute); !minute.After(stop); minute = minute.Add(time.Minute) {
		longest := time.Duration(0)
		for account, a := range c.world.Accounts {
			for region, r := range a.Regions {
				for name, alarm := range r.Things[metricAlarms] {
					if rule, ok := ruleOf(place{account, region}, alarm.Attr); ok {
						longest = max(longest, rule.window())
						c.evaluate(name, alarm, rule, minute)
					}
				}
			}
		}
		if minute.After(w.last.Add(longest + time.Minute)) {
			break
		}
	}
	if stop.After(w.until) {
		w.until = stop
	}
}

func (c *Cloud) stateOf(alarm *Thing) *alarmState {
	if c.watched.alarms == nil {
		c.watched.alarms = map[string]*alarmState{}
	}
	s := c.watched.alarms[alarm.ARN]
	if s == nil {
		s = &alarmState{value: field(alarm.Attr, "StateValue"), reason: "Unchecked: Initial alarm creation"}
		c.watched.alarms[alarm.ARN] = s
	}
	return s
}

// evaluate brings one alarm into the state it is in at a minute.
func (c *Cloud) evaluate(name string, alarm *Thing, r alarmRule, minute time.Time) {
	var values []float64
	breaching, present := 0, 0
	for i := range r.periods {
		to := minute.Add(-time.Duration(i) * r.period)
		s := c.watched.between(r.metric, to.Add(-r.period), to)
		switch {
		case s.n > 0:
			present++
			v := s.statistic(r.statistic)
			values = append(values, v)
			if r.breached(v) {
				breaching++
			}
		case r.missing == "breaching":
			breaching++
		}
	}
	state := c.stateOf(alarm)
	value := "OK"
	switch {
	case present == 0 && r.missing == "ignore":
		return
	case present == 0 && (r.missing == "missing" || r.missing == ""):
		value = "INSUFFICIENT_DATA"
	case breaching >= r.toAlarm:
		value = "ALARM"
	}
	if value == state.value {
		return
	}
	reason := fmt.Sprintf("Threshold Crossed: %d datapoints %v for the threshold (%v, %s); %d of %d needed.", len(values), values, r.threshold, r.comparison, breaching, r.toAlarm)
	if present == 0 {
		reason = fmt.Sprintf("no datapoints were received for %d periods and missing datapoints were treated as [%s].", r.periods, r.missing)
	}
	data := map[string]any{
		"version": "1.0", "queryDate": stamp(minute), "startDate": stamp(minute.Add(-r.window())), "statistic": r.statistic, "period": r.period.Seconds(),
		"recentDatapoints": values, "threshold": r.threshold,
	}
	old := state.value
	state.value, state.reason, state.data, state.updated = value, reason, jsonOf(data), minute
	state.add(name, minute, "StateUpdate", "Alarm updated from "+old+" to "+value, map[string]any{
		"version": "1.0", "oldState": map[string]any{"stateValue": old}, "newState": map[string]any{"stateValue": value, "stateReason": reason, "stateReasonData": data},
	})
	if alarm.Attr["ActionsEnabled"] != true || c.muted(r.place, name) {
		return
	}
	actions, _ := alarm.Attr[map[string]string{"ALARM": "AlarmActions", "OK": "OKActions", "INSUFFICIENT_DATA": "InsufficientDataActions"}[value]].([]any)
	for _, action := range actions {
		c.alarmAction(name, alarm, state, old, fmt.Sprint(action), minute)
	}
}

// alarmAction carries one action of an alarm's out: the topic is told.
func (c *Cloud) alarmAction(name string, alarm *Thing, state *alarmState, old, action string, at time.Time) {
	f := strings.Split(alarm.ARN, ":")
	message := map[string]any{
		"AlarmName": name, "AlarmArn": alarm.ARN, "AWSAccountId": f[4], "Region": f[3], "OldStateValue": old, "NewStateValue": state.value, "NewStateReason": state.reason,
		"StateChangeTime": at.Format("2006-01-02T15:04:05.000+0000"), "Trigger": map[string]any{"MetricName": alarm.Attr["MetricName"], "Namespace": alarm.Attr["Namespace"], "Period": alarm.Attr["Period"], "Threshold": alarm.Attr["Threshold"]},
	}
	outcome, summary := "Succeeded", "Successfully executed action "+action
	if topic := c.topic(action); topic != nil {
		c.publish(at, topic, jsonOf(message))
	} else {
		outcome, summary = "Failed", "Failed to execute action "+action+". Received error: \"Resource not found\""
	}
	state.add(name, at, "Action", summary, map[string]any{
		"actionState": outcome, "stateUpdateTimestamp": at.UnixMilli(), "notificationResource": action, "publishedMessage": jsonOf(message),
	})
}

// topic of an ARN; nil: there is none.
func (c *Cloud) topic(arn string) *Thing {
	if r := c.world.regionOf(ofARN(arn)); r != nil {
		return r.Things[topics][arn]
	}
	return nil
}

func (c *Cloud) muted(at place, name string) bool {
	for _, rule := range c.world.Accounts[at.account].Regions[at.region].Things[muteRules] {
		alarms, _ := rule.Attr["alarms"].([]any)
		if slices.Contains(alarms, any(name)) {
			return true
		}
	}
	return false
}

func (s *alarmState) add(name string, at time.Time, kind, summary string, data map[string]any) {
	s.history = append(s.history, map[string]any{
		"AlarmName": name, "AlarmType": "MetricAlarm", "Timestamp": at, "HistoryItemType": kind, "HistorySummary": summary, "HistoryData": jsonOf(data),
	})
}

func stamp(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05.000Z") }

func jsonOf(v any) string { b, _ := json.Marshal(v); return string(b) }

// alarmBody is an alarm as it is described, with its state.
func (c *Cloud) alarmBody(alarm *Thing) map[string]any {
	body := maps.Clone(alarm.Attr)
	body["AlarmName"], body["AlarmArn"] = alarm.ID, alarm.ARN
	if s := c.watched.alarms[alarm.ARN]; s != nil {
		body["StateValue"], body["StateReason"] = s.value, s.reason
		if !s.updated.IsZero() {
			body["StateReasonData"], body["StateUpdatedTimestamp"], body["StateTransitionedTimestamp"] = s.data, s.updated, s.updated
		}
	}
	return body
}

func describeAlarmHistory(k *call) (reply, error) {
	size, err := k.integer("MaxRecords", 100)
	if err != nil || size < 1 || size > 100 {
		return reply{}, fail(400, "ValidationError", "MaxRecords is from 1 to 100")
	}
	from, to := k.moment("StartDate"), k.moment("EndDate")
	list := []any{}
	all := k.cloud.watched.alarms
	for _, arn := range slices.Sorted(maps.Keys(all)) {
		if !strings.HasPrefix(arn, alarmARN(k.Principal.Account, k.Region, k.str("AlarmName"))) {
			continue
		}
		for _, item := range all[arn].history {
			at, kind := item["Timestamp"].(time.Time), k.str("HistoryItemType")
			if name := k.str("AlarmName"); name != "" && item["AlarmName"] != name || kind != "" && item["HistoryItemType"] != kind || at.Before(from) || !to.IsZero() && at.After(to) {
				continue
			}
			list = append(list, item)
		}
	}
	if k.str("ScanBy") != "TimestampAscending" {
		slices.Reverse(list)
	}
	at, err := strconv.Atoi(k.str("NextToken"))
	if k.str("NextToken") != "" && (err != nil || at < 0 || at > len(list)) {
		return reply{}, fail(400, "InvalidNextToken", "The next token specified is invalid")
	}
	body := map[string]any{"AlarmHistoryItems": list[at:min(at+size, len(list))]}
	if at+size < len(list) {
		body["NextToken"] = strconv.Itoa(at + size)
	}
	return reply{body: body}, nil
}

// moment is a time among the parameters: seconds in either protocol.
func (k *call) moment(name string) time.Time {
	s, ok := k.Params[name].(float64)
	if !ok {
		return time.Time{}
	}
	return time.UnixMilli(int64(math.Round(s * 1000))).UTC()
}

func getMetricData(k *call) (reply, error) {
	from, to := k.moment("StartTime").Truncate(time.Minute), k.moment("EndTime")
	if from.IsZero() || !from.Before(to) || to.Sub(from) > 100*24*time.Hour {
		return reply{}, fail(400, "ValidationError", "The parameter StartTime must be less than the parameter EndTime")
	}
	results := []any{}
	for _, q := range k.list("MetricDataQueries") {
		m, _ := q.(map[string]any)
		stat, _ := m["MetricStat"].(map[string]any)
		of, _ := stat["Metric"].(map[string]any)
		period := time.Duration(numberOf(stat["Period"])) * time.Second
		if of == nil || period < time.Minute || period%time.Minute != 0 {
			return reply{}, fail(501, "NotImplemented", "the sandbox knows metrics by the minute, and no expressions")
		}
		times, values := []any{}, []any{}
		if dimensions, _ := of["Dimensions"].([]any); len(dimensions) == 0 {
			which := metric{place{k.Principal.Account, k.Region}, field(of, "Namespace"), field(of, "MetricName")}
			for t := from.Truncate(period); t.Before(to); t = t.Add(period) {
				if s := k.cloud.watched.between(which, t, t.Add(period)); s.n > 0 {
					times, values = append(times, t), append(values, s.statistic(field(stat, "Stat")))
				}
			}
		}
		if k.str("ScanBy") != "TimestampAscending" {
			slices.Reverse(times)
			slices.Reverse(values)
		}
		results = append(results, map[string]any{"Id": field(q, "Id"), "Label": field(of, "MetricName"), "Timestamps": times, "Values": values, "StatusCode": "Complete"})
	}
	return reply{body: map[string]any{"MetricDataResults": results, "Messages": []any{}}}, nil
}
