package inventory

import (
	"time"

	"github.com/auditcanary/auditcanary/shared/canary"
	"github.com/auditcanary/auditcanary/shared/coverage"
)

// Input is everything a report is computed from.
type Input struct {
	Snapshot Snapshot
	Archive  Archive
	Sources  []Source
	Alerts   AlertPath
	// Home is the region in which sign-ins and the services without a region are recorded.
	Home string
	// SilentAfter is how old the latest delivery may be, DigestAfter the latest digest.
	SilentAfter, DigestAfter time.Duration

	// Categories, Scenarios, Targets and Tests say what canaries are to prove where,
	// and what they did. MaxAge is how long a proof counts, by Now.
	Categories []coverage.Category
	Scenarios  []canary.Scenario
	Targets    []canary.Target
	Tests      []coverage.Test
	MaxAge     time.Duration
	Now        time.Time
}

// Archive is where every record must arrive.
type Archive struct {
	// Name by which verdicts call it.
	Name           string
	Bucket, Prefix string
	// Mode and Days of the retention that new objects must have; "" and 0 = none.
	Mode string
	Days int
}

// Source is what the configuration says of a class of sources.
type Source struct {
	// Class is one of coverage.SourceIDs.
	Class string
	Owner string
	// Required: that nothing of it is recorded is a finding. Management events and
	// sign-ins always are.
	Required bool
}

// AlertPath is what people rely on to be told. What it does not list is not judged.
type AlertPath struct {
	Rules         []Rule
	Topics        []Topic
	Alarms        []Alarm
	MetricFilters []MetricFilter
	Detectors     []Detector
	LogGroups     []LogGroup
}

// Rule is an event rule.
type Rule struct {
	Place
	Bus, Name string
	// AllManagementEvents: it must see read-only calls too (AssumeRole is one).
	AllManagementEvents bool
	// Pattern it must have, as JSON; "" = not compared.
	Pattern string
	// Targets it must have, ARNs; none = at least one.
	Targets []string
}

// Topic is a topic that tells people.
type Topic struct {
	Place
	ARN string
	// Endpoints that must be subscribed; none = at least one.
	Endpoints []string
	// Filtered: a subscription may take a part of the messages only.
	Filtered bool
}

// Alarm is an alarm on a metric, or on other alarms.
type Alarm struct {
	Place
	Name string
	// Actions it must have, ARNs; none = at least one.
	Actions []string
	// Muted is what may keep them back, as agreed on.
	Muted []string
}

// MetricFilter counts what a log group holds.
type MetricFilter struct {
	Place
	LogGroup, Name string
	// Pattern it must have; "" = not compared.
	Pattern string
}

// Detector is a threat detector.
type Detector struct {
	Place
	ID string // "" = whichever there is
	// Suppressions that were agreed on, by name.
	Suppressions []string
}

// LogGroup is a log group that alerts are made from.
type LogGroup struct {
	Place
	Name string
	// RetentionDays it must keep at least; 0 = not compared.
	RetentionDays int
	// Protected: it must be protected from deletion.
	Protected bool
}

// Places are those of everything on the alert path.
func (a AlertPath) Places() (out []Place) {
	for _, w := range a.Rules {
		out = append(out, w.Place)
	}
	for _, w := range a.Topics {
		out = append(out, w.Place)
	}
	for _, w := range a.Alarms {
		out = append(out, w.Place)
	}
	for _, w := range a.MetricFilters {
		out = append(out, w.Place)
	}
	for _, w := range a.Detectors {
		out = append(out, w.Place)
	}
	for _, w := range a.LogGroups {
		out = append(out, w.Place)
	}
	return out
}
