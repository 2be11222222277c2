package alertrule

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/auditcanary/auditcanary/shared/inventory"
	"github.com/auditcanary/auditcanary/shared/pattern"
)

// Verdict on whether an alert could fire for a call.
type Verdict string

const (
	// Fires: nothing that is listed keeps it from firing.
	Fires Verdict = "fires"
	// Never: on every way that is listed, something does.
	Never     Verdict = "never"
	Undecided Verdict = "undecided"
)

// rank: "and" takes the lower, "or" the higher.
func (v Verdict) rank() int {
	return slices.Index([]Verdict{Never, Undecided, Fires}, v)
}

// Answer with its reasons, unless it is Fires: each names the rule that it is about.
type Answer struct {
	Verdict Verdict  `json:"verdict"`
	Reasons []string `json:"reasons,omitempty"`
	// elsewhere: for no other reason than where the rule is.
	elsewhere bool
}

func never(subject, reason string) Answer {
	return Answer{Verdict: Never, Reasons: []string{subject + ": " + reason}}
}

func undecided(subject, reason string) Answer {
	return Answer{Verdict: Undecided, Reasons: []string{subject + ": " + reason}}
}

// lesser of two answers that must both hold; with both's reasons, if they are equal.
func lesser(a, b Answer) Answer {
	switch {
	case a.Verdict.rank() < b.Verdict.rank():
		return a
	case a.Verdict.rank() > b.Verdict.rank():
		return b
	}
	return Answer{Verdict: a.Verdict, Reasons: merged(a.Reasons, b.Reasons), elsewhere: a.elsewhere && b.elsewhere}
}

// best of answers of which one is enough. Rules of other places are only spoken of
// where none is in the right one.
func best(answers []Answer) Answer {
	out := Answer{Verdict: Never, elsewhere: true}
	for _, a := range answers {
		switch {
		case a.Verdict.rank() > out.Verdict.rank(), a.Verdict == Never && out.elsewhere && !a.elsewhere:
			out = a
		case a.Verdict == out.Verdict && a.elsewhere == out.elsewhere:
			out.Reasons = merged(out.Reasons, a.Reasons)
		}
	}
	return out
}

func merged(a, b []string) []string {
	out := slices.Clone(a)
	for _, s := range b {
		if !slices.Contains(out, s) {
			out = append(out, s)
		}
	}
	return out
}

// Alert with the rules that make it.
type Alert struct {
	Name string `json:"name"`
	// Rules are all on its ways: names of event rules, metric filters and alarms that
	// the alert path lists (of all places that have one of that name), and types of
	// GuardDuty findings ("Stealth:IAMUser/CloudTrailLoggingDisabled").
	Rules []string `json:"rules"`
}

// Settings of the rules: what the configuration lists, with what was read of it.
type Settings struct {
	Path     inventory.AlertPath
	Snapshot inventory.Snapshot
}

// CouldFire says whether an alert could fire for a call.
func CouldFire(a Alert, s Settings, c Call) Answer {
	var rules []inventory.Rule
	var filters []inventory.MetricFilter
	var alarms []inventory.Alarm
	var findings []string
	var out []Answer
	for _, name := range a.Rules {
		before := len(rules) + len(filters) + len(alarms) + len(findings)
		for _, r := range s.Path.Rules {
			if r.Name == name {
				rules = append(rules, r)
			}
		}
		for _, f := range s.Path.MetricFilters {
			if f.Name == name {
				filters = append(filters, f)
			}
		}
		for _, x := range s.Path.Alarms {
			if x.Name == name {
				alarms = append(alarms, x)
			}
		}
		if findingType.MatchString(name) {
			findings = append(findings, name)
		}
		if before == len(rules)+len(filters)+len(alarms)+len(findings) {
			out = append(out, undecided(fmt.Sprintf("%q", name), "alert_path lists no event rule, metric filter or alarm of that name"))
		}
	}
	if len(a.Rules) == 0 {
		return undecided("alert "+a.Name, "no rules of it are listed")
	}
	if len(rules) > 0 {
		b := buses{s: s, c: c, rules: rules, findings: len(findings) > 0, sources: []source{{event: c.event(), record: true, answer: Answer{Verdict: Fires}}}}
		for _, kind := range findings {
			b.sources = append(b.sources, source{event: c.envelope("aws.guardduty", "GuardDuty Finding", findingOf(kind, c)), answer: s.finding(kind, c)})
		}
		out = append(out, b.fire())
	} else {
		for _, kind := range findings {
			out = append(out, s.finding(kind, c))
		}
	}
	if len(filters)+len(alarms) > 0 {
		out = append(out, s.metrics(filters, alarms, c))
	}
	answer := best(out)
	if answer.Verdict == Fires {
		return Answer{Verdict: Fires}
	}
	return answer
}

// at says where something is.
func at(p inventory.Place) string { return p.Account + " " + p.Region }

// unread says that the state of something is not known, and why as far as that was
// noted: of calls of a service that name it, or of all its account.
func (s Settings) unread(subject string, p inventory.Place, service, name string) Answer {
	for _, u := range s.Snapshot.Unread {
		if u.Account == p.Account && (u.Region == "" || u.Region == p.Region && strings.HasPrefix(u.What, service) && strings.Contains(u.What, name)) {
			return undecided(subject, "it could not be read ("+u.What+"): "+u.Why)
		}
	}
	return undecided(subject, "it was not read")
}

// because gives the reason of a pattern, with what it has to do with the canary.
func because(a pattern.Answer, c Call) string {
	if strings.HasSuffix(a.Field, ".errorCode") || strings.HasSuffix(a.Field, ".errorMessage") {
		switch c.Outcome {
		case Denied:
			return a.Reason + ": the canary is refused"
		case DryRun:
			return a.Reason + ": the canary is a dry run"
		}
		return a.Reason + ": the canary is allowed"
	}
	return a.Reason
}

func verdict(t pattern.Truth) Verdict {
	return map[pattern.Truth]Verdict{pattern.No: Never, pattern.Undecided: Undecided, pattern.Yes: Fires}[t]
}

// buses carries events to rules, and from rule to rule.
type buses struct {
	s       Settings
	c       Call
	rules   []inventory.Rule
	sources []source
	// findings: GuardDuty's that make the alert are listed, and among the sources.
	findings bool
}

// source is an event on the default bus of the call's place.
type source struct {
	event  map[string]any
	record bool
	answer Answer // whether there is such an event
}

// fire is the best of all rules for all events.
func (b buses) fire() Answer {
	var out []Answer
	for _, src := range b.sources {
		for i, r := range b.rules {
			a := lesser(src.answer, b.matched(src, i, nil))
			if a.Verdict == Never {
				out = append(out, a)
				continue
			}
			out = append(out, lesser(a, b.delivers(r)))
		}
	}
	return best(out)
}

const allEvents = "ENABLED_WITH_ALL_CLOUDTRAIL_MANAGEMENT_EVENTS"

// matched says whether an event gets to a rule and satisfies it. Passed are the rules
// by which it came. A rule that takes other events than records is not decided by the
// record: what services make of a call, and where they tell it, is not known here.
func (b buses) matched(src source, i int, passed []int) Answer {
	r := b.rules[i]
	subject := fmt.Sprintf("rule %s in %s", r.Name, at(r.Place))
	state, ok := b.state(r)
	if !ok {
		return b.s.unread(subject, r.Place, "events:", r.Name)
	}
	a := b.takes(src, i, passed, state)
	if on := state.State == "ENABLED" || state.State == allEvents; a.Verdict == Never && src.record && !state.Missing && on && strings.TrimSpace(state.Pattern) != "" {
		if _, err := pattern.ParseEventPattern(state.Pattern); err != nil {
			return undecided(subject, "its pattern cannot be read: "+err.Error())
		}
		if other := otherEvents([]byte(state.Pattern), b.findings); other != "" {
			return undecided(subject, "it takes other events than records ("+other+"), and whether one follows from the call is not known here")
		}
	}
	return a
}

// takes is matched, for one event alone.
func (b buses) takes(src source, i int, passed []int, state inventory.RuleState) Answer {
	subject := fmt.Sprintf("rule %s in %s", b.rules[i].Name, at(b.rules[i].Place))
	reached := b.reached(src, i, passed)
	switch {
	case state.Missing:
		return b.wrong(reached, never(subject, "there is none"))
	case state.State != "ENABLED" && state.State != allEvents:
		return b.wrong(reached, never(subject, "its state is "+state.State))
	case src.record && b.c.ReadOnly && !b.c.DataEvent && state.State != allEvents:
		return b.wrong(reached, never(subject, "its state is ENABLED, with which it does not see calls that only read: "+b.c.Operation+" is one, "+allEvents+" is needed"))
	case strings.TrimSpace(state.Pattern) == "":
		return b.wrong(reached, never(subject, "it has no event pattern"))
	}
	p, err := pattern.ParseEventPattern(state.Pattern)
	if err != nil {
		return lesser(reached, undecided(subject, "its pattern cannot be read: "+err.Error()))
	}
	a := p.Match(src.event)
	if a.Truth == pattern.Yes {
		return reached
	}
	return b.wrong(reached, Answer{Verdict: verdict(a.Truth), Reasons: []string{subject + ": " + because(a, b.c)}})
}

// otherEvents says which others than CloudTrail's records a pattern takes, by their
// detail-type or, where it does not say one, by their source; "" if none. findings:
// GuardDuty's are no others.
func otherEvents(text []byte, findings bool) string {
	var fields map[string]json.RawMessage
	_ = json.Unmarshal(text, &fields) // what is no JSON has been told
	other := func(name string, known func(string) bool) string {
		var values []json.RawMessage
		_ = json.Unmarshal(fields[name], &values)
		for _, v := range values {
			var literal string
			if json.Unmarshal(v, &literal) != nil || !known(literal) {
				return name + " " + string(v)
			}
		}
		return ""
	}
	if fields["detail-type"] != nil {
		return other("detail-type", func(s string) bool {
			return strings.HasSuffix(s, " via CloudTrail") || findings && s == "GuardDuty Finding"
		})
	}
	if s := other("source", func(s string) bool {
		service, aws := strings.CutPrefix(s, "aws.")
		return aws && (service == "ec2" || slices.Contains(usual, service) && !slices.Contains(watchers, service)) || findings && s == "aws.guardduty"
	}); s != "" {
		return s
	}
	var branches []json.RawMessage
	_ = json.Unmarshal(fields["$or"], &branches)
	for _, branch := range branches {
		if s := otherEvents(branch, findings); s != "" {
			return s
		}
	}
	return ""
}

// watchers are the usual services that tell of what is done with others.
var watchers = []string{"config", "guardduty", "securityhub"}

// wrong joins where a rule is with what else is wrong with it: a rule that gets no
// event is not spoken of for more than that.
func (b buses) wrong(reached, a Answer) Answer {
	if reached.Verdict == Never {
		return reached
	}
	return lesser(reached, a)
}

func (b buses) state(r inventory.Rule) (inventory.RuleState, bool) {
	i := slices.IndexFunc(b.s.Snapshot.Rules, func(s inventory.RuleState) bool {
		return s.Place == r.Place && s.Bus == r.Bus && s.Name == r.Name
	})
	if i < 0 {
		return inventory.RuleState{}, false
	}
	return b.s.Snapshot.Rules[i], true
}

// bus a rule is on: its place and name.
func bus(r inventory.Rule) (inventory.Place, string) {
	if p, name, ok := busOf(r.Bus); ok {
		return p, name
	}
	if r.Bus == "" {
		return r.Place, "default"
	}
	return r.Place, r.Bus
}

// busOf reads the ARN of a bus.
func busOf(arn string) (inventory.Place, string, bool) {
	f := strings.SplitN(arn, ":", 6)
	if len(f) != 6 || f[0] != "arn" || f[2] != "events" {
		return inventory.Place{}, "", false
	}
	name, ok := strings.CutPrefix(f[5], "event-bus/")
	return inventory.Place{Account: f[4], Region: f[3]}, name, ok
}

// reached says whether an event gets to the bus of a rule: from the service itself,
// or forwarded by other rules that are listed.
func (b buses) reached(src source, i int, passed []int) Answer {
	r := b.rules[i]
	place, name := bus(r)
	if place == b.c.Place && name == "default" {
		return Answer{Verdict: Fires}
	}
	subject := fmt.Sprintf("rule %s in %s", r.Name, at(r.Place))
	var ways []Answer
	for j, f := range b.rules {
		if j == i || slices.Contains(passed, j) || len(passed) > 10 {
			continue
		}
		state, ok := b.state(f)
		_, fBus := bus(f)
		switch {
		case ok && state.Targets != nil && !slices.ContainsFunc(*state.Targets, func(target string) bool {
			p, n, isBus := busOf(target)
			return isBus && p == place && n == name
		}):
		case fBus == name && f.Place == r.Place:
		case !ok || state.Targets == nil:
			if a := b.matched(src, j, append(passed[:len(passed):len(passed)], i)); a.Verdict != Never {
				ways = append(ways, undecided(subject, fmt.Sprintf("whether rule %s in %s forwards to it is not known: its targets were not read", f.Name, at(f.Place))))
			}
		default:
			ways = append(ways, b.matched(src, j, append(passed[:len(passed):len(passed)], i)))
		}
	}
	if len(ways) > 0 {
		return best(ways)
	}
	if service, _, _ := strings.Cut(b.c.Operation, ":"); src.record && name == "default" && place.Region == b.c.Place.Region && (slices.Contains(b.c.Named, place.Account) || service == "s3") {
		return undecided(subject, "the call is recorded in "+at(b.c.Place)+", and the owner of what it touches may get a copy of the record")
	}
	if d := b.s.Path.Detectors; !src.record && name == "default" && (place.Region == b.c.Place.Region || slices.ContainsFunc(d, func(d inventory.Detector) bool { return d.Region == place.Region })) {
		return undecided(subject, "the finding is made in "+at(b.c.Place)+", and "+at(place)+" may get it as its administrator, or make its own")
	}
	where := at(place)
	if name != "default" {
		where += ", on bus " + name
	}
	a := never(subject, fmt.Sprintf("it is in %s, the call is recorded in %s, and no rule that is listed forwards it from there", where, at(b.c.Place)))
	a.elsewhere = true
	return a
}

// delivers says whether what a rule takes goes on to anything but buses whose own
// rules are listed: those are judged by themselves.
func (b buses) delivers(r inventory.Rule) Answer {
	subject := fmt.Sprintf("rule %s in %s", r.Name, at(r.Place))
	state, ok := b.state(r)
	switch {
	case !ok || state.Targets == nil:
		return b.s.unread(subject, r.Place, "events:", r.Name)
	case len(*state.Targets) == 0:
		return never(subject, "it has no targets")
	}
	out := never(subject, "it only forwards")
	out.elsewhere = true
	for _, target := range *state.Targets {
		p, name, isBus := busOf(target)
		if !isBus {
			return Answer{Verdict: Fires}
		}
		if !slices.ContainsFunc(b.rules, func(o inventory.Rule) bool { q, n := bus(o); return q == p && n == name }) {
			out = undecided(subject, "it forwards to "+target+", and no rule of that bus is listed for the alert")
		}
	}
	return out
}

// metrics is the way over metric filters and alarms.
func (s Settings) metrics(filters []inventory.MetricFilter, alarms []inventory.Alarm, c Call) Answer {
	var out []Answer
	for _, f := range filters {
		a, counts := s.filter(f, c)
		if len(alarms) == 0 {
			out = append(out, a)
		}
		for _, x := range alarms {
			out = append(out, lesser(a, s.alarm(x, &f, counts)))
		}
	}
	if len(filters) == 0 {
		for _, x := range alarms {
			out = append(out, lesser(s.alarm(x, nil, nil), undecided("alarm "+x.Name+" in "+at(x.Place), "the metric filter whose metric it watches is not listed for the alert")))
		}
	}
	return best(out)
}

// filter says whether a metric filter counts the record, and in which metrics.
func (s Settings) filter(f inventory.MetricFilter, c Call) (Answer, []string) {
	subject := fmt.Sprintf("metric filter %s of %s in %s", f.Name, f.LogGroup, at(f.Place))
	i := slices.IndexFunc(s.Snapshot.MetricFilters, func(o inventory.MetricFilterState) bool {
		return o.Place == f.Place && o.LogGroup == f.LogGroup && o.Name == f.Name
	})
	if i < 0 {
		return s.unread(subject, f.Place, "logs:", f.LogGroup), nil
	}
	state := s.Snapshot.MetricFilters[i]
	if state.Missing {
		return never(subject, "there is none"), nil
	}
	p, err := pattern.ParseFilter(state.Pattern)
	if err != nil {
		return undecided(subject, "its pattern cannot be read: "+err.Error()), state.Metrics
	}
	a := p.Match(c.Record)
	if a.Truth == pattern.Yes {
		return Answer{Verdict: Fires}, state.Metrics
	}
	return Answer{Verdict: verdict(a.Truth), Reasons: []string{subject + ": " + because(a, c)}}, state.Metrics
}

// alarm says whether an alarm would tell anybody of what a filter counts.
func (s Settings) alarm(x inventory.Alarm, f *inventory.MetricFilter, counts []string) Answer {
	subject := fmt.Sprintf("alarm %s in %s", x.Name, at(x.Place))
	i := slices.IndexFunc(s.Snapshot.Alarms, func(o inventory.AlarmState) bool { return o.Place == x.Place && o.Name == x.Name })
	if i < 0 {
		return s.unread(subject, x.Place, "cloudwatch:", x.Name)
	}
	state := s.Snapshot.Alarms[i]
	switch {
	case state.Missing:
		return never(subject, "there is none")
	case !state.ActionsEnabled:
		return never(subject, "its actions are disabled")
	case len(state.Actions) == 0:
		return never(subject, "it has no alarm action")
	}
	out := Answer{Verdict: Fires}
	switch {
	case state.Muted == nil:
		out = s.unread(subject, x.Place, "cloudwatch:", x.Name)
	case len(*state.Muted) > 0:
		out = undecided(subject, "its actions are kept back, now or at times, by "+strings.Join(*state.Muted, ", "))
	}
	if f == nil {
		return out
	}
	if len(counts) == 0 {
		return lesser(out, undecided(subject, "what metric filter "+f.Name+" counts in was not read"))
	}
	if state.Metrics == nil {
		return lesser(out, undecided(subject, "it is not on one metric; what it is made of was not read"))
	}
	if !slices.ContainsFunc(*state.Metrics, func(m string) bool { return slices.Contains(counts, m) }) {
		return never(subject, fmt.Sprintf("it watches %s, and metric filter %s counts in %s", strings.Join(*state.Metrics, ", "), f.Name, strings.Join(counts, ", ")))
	}
	if !oneIsEnough(state) {
		out = lesser(out, undecided(subject, fmt.Sprintf("it rings at %s %g: whether one call more is enough is not known", state.Condition, state.Threshold)))
	}
	return out
}

// oneIsEnough reports whether a metric that counts one makes an alarm ring.
func oneIsEnough(s inventory.AlarmState) bool {
	if statistic, _, _ := strings.Cut(s.Condition, " "); !slices.Contains([]string{"Sum", "Maximum", "SampleCount"}, statistic) {
		return false
	}
	switch {
	case strings.HasSuffix(s.Condition, " GreaterThanThreshold"):
		return s.Threshold < 1
	case strings.HasSuffix(s.Condition, " GreaterThanOrEqualToThreshold"):
		return s.Threshold <= 1
	}
	return false
}
