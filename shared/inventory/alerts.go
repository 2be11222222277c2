package inventory

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/auditcanary/auditcanary/shared/canary"
)

// alerts weighs what stands on the way from a record to a person.
func (j *judge) alerts() {
	for _, w := range j.in.Alerts.Rules {
		j.rule(w)
	}
	for _, w := range j.in.Alerts.Topics {
		j.topic(w)
	}
	for _, w := range j.in.Alerts.Alarms {
		j.alarm(w)
	}
	for _, w := range j.in.Alerts.MetricFilters {
		j.metricFilter(w)
	}
	for _, w := range j.in.Alerts.Detectors {
		j.detector(w)
	}
	for _, w := range j.in.Alerts.LogGroups {
		j.logGroup(w)
	}
	j.feeds()
}

// feeds reports the trails that do not get through to a log group that is relied on.
func (j *judge) feeds() {
	relied := map[string]bool{}
	group := func(p Place, name string) string { return p.Account + ":" + p.Region + ":" + name }
	for _, w := range j.in.Alerts.LogGroups {
		relied[group(w.Place, w.Name)] = true
	}
	for _, w := range j.in.Alerts.MetricFilters {
		relied[group(w.Place, w.LogGroup)] = true
	}
	for _, r := range j.in.Snapshot.Recordings {
		f := strings.Split(j.trails[r.Trail].LogGroup, ":") // arn:aws:logs:REGION:ACCOUNT:log-group:NAME:*
		if r.Status == nil || r.Status.LogGroupError == "" || len(f) < 7 || !relied[group(Place{f[4], f[3]}, f[6])] {
			continue
		}
		j.add(r.Place, Finding{Kind: LogGroupNotFed, Subject: "log group " + f[6], Found: "trail " + r.Trail + " could not write to it: " + r.Status.LogGroupError})
	}
}

// thing judged on the alert path.
type thing struct {
	j       *judge
	place   Place
	subject string
}

func (t thing) add(kind Kind, found, expected string) {
	t.j.add(t.place, Finding{Kind: kind, Subject: t.subject, Found: found, Expected: expected})
}

// found is the state of what was listed, if it was read and is there.
func found[S any](t thing, missing Kind, states []S, is func(S) bool, gone func(S) bool) (S, bool) {
	i := slices.IndexFunc(states, is)
	if i < 0 {
		t.j.never(t.place, t.subject)
		var none S
		return none, false
	}
	if gone(states[i]) {
		t.add(missing, "there is none", "as listed in alert_path")
		return states[i], false
	}
	return states[i], true
}

func (j *judge) rule(w Rule) {
	t := thing{j, w.Place, "rule " + w.Name}
	s, ok := found(t, RuleMissing, j.in.Snapshot.Rules,
		func(s RuleState) bool { return s.Place == w.Place && s.Bus == w.Bus && s.Name == w.Name },
		func(s RuleState) bool { return s.Missing })
	if !ok {
		return
	}
	const all = "ENABLED_WITH_ALL_CLOUDTRAIL_MANAGEMENT_EVENTS"
	switch {
	case s.State != "ENABLED" && s.State != all:
		t.add(RuleDisabled, "its state is "+s.State, "ENABLED")
	case w.AllManagementEvents && s.State != all:
		t.add(RuleMissesReads, "its state is "+s.State, all)
	}
	if w.Pattern != "" && !sameJSON(w.Pattern, s.Pattern) {
		t.add(RuleChanged, "its pattern is "+limit(s.Pattern), limit(w.Pattern))
	}
	if s.Targets == nil {
		j.never(t.place, t.subject)
		return
	}
	t.lacks(RuleTargets, "target", *s.Targets, w.Targets)
}

// lacks reports that something has none of what it needs, or not all that it must have.
func (t thing) lacks(kind Kind, noun string, have, want []string) {
	if len(want) == 0 && len(have) == 0 {
		t.add(kind, "it has no "+noun, "at least one "+noun)
	}
	for _, one := range want {
		if !slices.Contains(have, one) {
			t.add(kind, "it lacks the "+noun+" "+one, one)
		}
	}
}

// sameJSON compares documents, not their spelling.
func sameJSON(a, b string) bool {
	ca, okA := compact(a)
	cb, okB := compact(b)
	return okA && okB && bytes.Equal(ca, cb)
}

// compact writes a document with its names in order.
func compact(doc string) ([]byte, bool) {
	d := json.NewDecoder(strings.NewReader(doc))
	d.UseNumber()
	var v any
	if d.Decode(&v) != nil || d.More() {
		return nil, false
	}
	out, err := json.Marshal(v)
	return out, err == nil
}

// limit keeps a document from filling the page.
func limit(s string) string {
	if r := []rune(s); len(r) > 200 {
		return string(r[:199]) + "…"
	}
	return s
}

func (j *judge) topic(w Topic) {
	t := thing{j, w.Place, "topic " + w.ARN}
	s, ok := found(t, TopicMissing, j.in.Snapshot.Topics,
		func(s TopicState) bool { return s.ARN == w.ARN }, func(s TopicState) bool { return s.Missing })
	if !ok {
		return
	}
	if s.Subscriptions == nil {
		j.never(t.place, t.subject)
		return
	}
	var reached []string
	for _, sub := range *s.Subscriptions {
		name := sub.Protocol + " " + sub.Endpoint
		switch {
		case sub.Pending || sub.ARN == "":
			t.add(SubscriptionPending, "the subscription of "+name+" is not confirmed", "confirmed")
			continue
		case sub.FilterPolicy != "" && !w.Filtered:
			t.add(SubscriptionFilter, "the subscription of "+name+" takes only "+limit(sub.FilterPolicy), "no filter policy")
		case sub.Unread && !w.Filtered:
			t.j.add(t.place, Finding{Kind: NotRead, Status: canary.Inconclusive, Subject: t.subject, Found: "whether the subscription of " + name + " is filtered could not be read"})
		}
		reached = append(reached, sub.Endpoint)
	}
	t.lacks(TopicUnsubscribed, "confirmed subscription", reached, w.Endpoints)
}

func (j *judge) alarm(w Alarm) {
	t := thing{j, w.Place, "alarm " + w.Name}
	s, ok := found(t, AlarmMissing, j.in.Snapshot.Alarms,
		func(s AlarmState) bool { return s.Place == w.Place && s.Name == w.Name }, func(s AlarmState) bool { return s.Missing })
	if !ok {
		return
	}
	if !s.ActionsEnabled {
		t.add(AlarmActionsOff, "its actions are disabled", "enabled")
	}
	t.lacks(AlarmActions, "alarm action", s.Actions, w.Actions)
	if s.Muted == nil {
		j.never(t.place, t.subject)
		return
	}
	for _, by := range *s.Muted {
		if !slices.Contains(w.Muted, by) {
			t.add(AlarmMuted, "its actions are kept back by "+by, "nothing that keeps them back but what was agreed on")
		}
	}
}

func (j *judge) metricFilter(w MetricFilter) {
	t := thing{j, w.Place, "metric filter " + w.LogGroup + ":" + w.Name}
	s, ok := found(t, MetricFilterMissing, j.in.Snapshot.MetricFilters,
		func(s MetricFilterState) bool {
			return s.Place == w.Place && s.LogGroup == w.LogGroup && s.Name == w.Name
		},
		func(s MetricFilterState) bool { return s.Missing })
	if ok && w.Pattern != "" && strings.TrimSpace(s.Pattern) != strings.TrimSpace(w.Pattern) {
		t.add(MetricFilterChanged, "its pattern is "+limit(s.Pattern), limit(w.Pattern))
	}
}

func (j *judge) detector(w Detector) {
	subject := "detector"
	if w.ID != "" {
		subject += " " + w.ID
	}
	t := thing{j, w.Place, subject}
	s, ok := found(t, DetectorMissing, j.in.Snapshot.Detectors,
		func(s DetectorState) bool { return s.Place == w.Place && s.ID == w.ID }, func(s DetectorState) bool { return s.Missing })
	if !ok {
		return
	}
	if !s.Enabled {
		t.add(DetectorDisabled, "it is suspended", "ENABLED")
	}
	if s.Suppressing == nil {
		j.never(t.place, t.subject)
		return
	}
	for _, name := range *s.Suppressing {
		if !slices.Contains(w.Suppressions, name) {
			t.add(DetectorSuppresses, fmt.Sprintf("filter %q archives findings before anybody sees them", name), "no filter that archives but those agreed on")
		}
	}
}

func (j *judge) logGroup(w LogGroup) {
	t := thing{j, w.Place, "log group " + w.Name}
	s, ok := found(t, LogGroupMissing, j.in.Snapshot.LogGroups,
		func(s LogGroupState) bool { return s.Place == w.Place && s.Name == w.Name }, func(s LogGroupState) bool { return s.Missing })
	if !ok {
		return
	}
	if s.RetentionDays != 0 && s.RetentionDays < w.RetentionDays {
		t.add(LogGroupRetention, "it keeps "+several(s.RetentionDays, "day"), "at least "+several(w.RetentionDays, "day"))
	}
	if w.Protected && !s.Protected {
		t.add(LogGroupUnprotected, "it may be deleted", "deletion protection")
	}
}
