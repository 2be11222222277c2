package inventory

import (
	"cmp"
	"slices"

	"github.com/auditcanary/auditcanary/shared/canary"
	"github.com/auditcanary/auditcanary/shared/coverage"
)

// Kind of a finding.
type Kind string

// The kinds of findings.
const (
	NotRead Kind = "not-read"

	SourceMissing     Kind = "source-missing"
	LandsElsewhere    Kind = "lands-elsewhere"
	TrailStopped      Kind = "trail-stopped"
	TrailSilent       Kind = "trail-silent"
	DeliveryFails     Kind = "delivery-fails"
	SourceNarrowed    Kind = "source-narrowed"
	NoGlobalEvents    Kind = "no-global-events"
	TrailNotValidated Kind = "trail-not-validated"
	DigestsSilent     Kind = "digests-silent"
	DigestFails       Kind = "digest-fails"

	BucketMissing      Kind = "bucket-missing"
	BucketUnversioned  Kind = "bucket-unversioned"
	BucketUnlocked     Kind = "bucket-unlocked"
	BucketRetention    Kind = "bucket-retention"
	BucketLifecycle    Kind = "bucket-lifecycle"
	BucketPublic       Kind = "bucket-public"
	ReplicationStopped Kind = "replication-stopped"
	KeyMissing         Kind = "key-missing"
	KeyUnusable        Kind = "key-unusable"
	KeyDeletion        Kind = "key-deletion"
	KeyMaterial        Kind = "key-material"

	RuleMissing         Kind = "rule-missing"
	RuleDisabled        Kind = "rule-disabled"
	RuleMissesReads     Kind = "rule-misses-reads"
	RuleChanged         Kind = "rule-changed"
	RuleTargets         Kind = "rule-targets"
	TopicMissing        Kind = "topic-missing"
	TopicUnsubscribed   Kind = "topic-unsubscribed"
	SubscriptionPending Kind = "subscription-pending"
	SubscriptionFilter  Kind = "subscription-filtered"
	AlarmMissing        Kind = "alarm-missing"
	AlarmActionsOff     Kind = "alarm-actions-off"
	AlarmActions        Kind = "alarm-actions"
	AlarmMuted          Kind = "alarm-muted"
	MetricFilterMissing Kind = "metric-filter-missing"
	MetricFilterChanged Kind = "metric-filter-changed"
	DetectorMissing     Kind = "detector-missing"
	DetectorDisabled    Kind = "detector-disabled"
	DetectorSuppresses  Kind = "detector-suppresses"
	LogGroupMissing     Kind = "log-group-missing"
	LogGroupRetention   Kind = "log-group-retention"
	LogGroupUnprotected Kind = "log-group-unprotected"
	LogGroupNotFed      Kind = "log-group-not-fed"
)

// next is what to do about each kind.
var next = map[Kind]string{
	NotRead: "until it can be read, nothing is known of it; settle that, and run this again",

	SourceMissing:     "deliver it to the archive: an organisation trail of all regions does so for every account",
	LandsElsewhere:    "let the trail deliver to the archive's bucket and prefix, or correct log_stores in the configuration",
	TrailStopped:      "start it again (aws cloudtrail start-logging), and look in its event history for who stopped it",
	TrailSilent:       "compare the trail's bucket policy, prefix and key with what it needs; look whether anything was recorded there meanwhile",
	DeliveryFails:     "correct the bucket's policy or the key's; the provider tries again for 30 days, then the records are lost",
	SourceNarrowed:    "let the selectors record all management events, read and write, of all sources; look for who changed them",
	NoGlobalEvents:    "include the events of global services in the trail",
	TrailNotValidated: "switch log file validation on: without digests nobody can prove that nothing was changed",
	DigestsSilent:     "a gap in the digests cannot be closed later: find out whether validation or logging was stopped, and since when",
	DigestFails:       "correct the bucket's policy or the key's: meanwhile what is delivered is not sealed",

	BucketMissing:      "correct log_stores in the configuration, or restore the bucket at once: records are being lost",
	BucketUnversioned:  "enable versioning: without it one write replaces a record for good",
	BucketUnlocked:     "enable Object Lock with a default retention",
	BucketRetention:    "set the default retention anew; what was delivered meanwhile must be locked object by object",
	BucketLifecycle:    "take the rule away, or let it remove nothing before the retention ends",
	BucketPublic:       "take what admits everybody out of the bucket's policy, and block public access",
	ReplicationStopped: "enable the rule again, and replicate what was delivered meanwhile",
	KeyMissing:         "what is encrypted with it is lost; let the trail use a key that exists",
	KeyUnusable:        "enable the key: nothing can be delivered or read until then",
	KeyDeletion:        "cancel the deletion (aws kms cancel-key-deletion) and enable the key: with it goes every record it encrypts",
	KeyMaterial:        "use a key whose material the provider made: whoever holds imported material, or the store it is in, can make the records unreadable at once",

	RuleMissing:         "deploy the rule again, or take it out of alert_path",
	RuleDisabled:        "enable the rule, and look for who disabled it",
	RuleMissesReads:     "set its state to ENABLED_WITH_ALL_CLOUDTRAIL_MANAGEMENT_EVENTS: merely enabled, it does not see read-only calls such as AssumeRole",
	RuleChanged:         "restore the pattern, or correct it in alert_path",
	RuleTargets:         "give the rule its targets again: what it matches goes nowhere",
	TopicMissing:        "deploy the topic again, or take it out of alert_path",
	TopicUnsubscribed:   "subscribe whoever must be told, and confirm it",
	SubscriptionPending: "confirm the subscription, or delete it",
	SubscriptionFilter:  "take the filter policy away, or say filtered: true in alert_path if it is meant",
	AlarmMissing:        "deploy the alarm again, or take it out of alert_path",
	AlarmActionsOff:     "enable its actions (aws cloudwatch enable-alarm-actions): it changes its state and tells nobody",
	AlarmActions:        "give the alarm its actions again",
	AlarmMuted:          "delete the mute rule or take the suppressor away, or list it under muted in alert_path if it was agreed on",
	MetricFilterMissing: "deploy the filter again, or take it out of alert_path",
	MetricFilterChanged: "restore the pattern, or correct it in alert_path",
	DetectorMissing:     "enable the detector in this region, or take it out of alert_path",
	DetectorDisabled:    "enable the detector, and look for who suspended it",
	DetectorSuppresses:  "delete the filter, or list it under suppressions in alert_path if it was agreed on",
	LogGroupMissing:     "create the log group again, and let what fed it write to it",
	LogGroupRetention:   "set its retention anew",
	LogGroupNotFed:      "correct the role under which the trail writes there: what is counted in this group stands still, and no alarm says so",
	LogGroupUnprotected: "switch its deletion protection on",
}

// Finding is something that is not as it must be.
type Finding struct {
	Kind Kind `json:"kind"`
	// Status is fail, or inconclusive where it could not be found out.
	Status canary.Status `json:"status"`
	// Class of sources it weakens; "" on the alert path.
	Class string `json:"class,omitempty"`
	Owner string `json:"owner,omitempty"`
	// Subject is the thing it is about: "trail NAME", "rule NAME".
	Subject string `json:"subject"`
	// Places it was found in.
	Places   []Place `json:"places"`
	Found    string  `json:"found"`
	Expected string  `json:"expected,omitempty"`
	Next     string  `json:"next"`
}

// judge weighs a snapshot.
type judge struct {
	in       Input
	findings []Finding
	// what is looked up often
	trails     map[string]Trail // by ARN
	recordings map[Place][]Recording
	listed     map[Place]bool
	tests      map[cell][]coverage.Test
}

// cell is a category of activity in a place.
type cell struct {
	Place
	category string
}

func newJudge(in Input) *judge {
	j := &judge{in: in, trails: map[string]Trail{}, recordings: map[Place][]Recording{}, listed: map[Place]bool{}, tests: map[cell][]coverage.Test{}}
	for _, t := range in.Snapshot.Trails {
		j.trails[t.ARN] = t
	}
	for _, r := range in.Snapshot.Recordings {
		j.recordings[r.Place] = append(j.recordings[r.Place], r)
	}
	for _, p := range in.Snapshot.Listed {
		j.listed[p] = true
	}
	for _, t := range in.Tests {
		c := cell{Place{t.Account, t.Region}, t.Category}
		j.tests[c] = append(j.tests[c], t)
	}
	return j
}

// add reports a finding; the same of another place joins the first.
func (j *judge) add(p Place, f Finding) {
	if f.Next == "" {
		f.Next = next[f.Kind]
	}
	if f.Status == "" {
		f.Status = canary.Fail
	}
	if f.Class != "" {
		f.Owner = j.source(f.Class).Owner
	}
	i := slices.IndexFunc(j.findings, func(o Finding) bool {
		return o.Kind == f.Kind && o.Status == f.Status && o.Class == f.Class && o.Subject == f.Subject && o.Found == f.Found && o.Expected == f.Expected
	})
	if i < 0 {
		f.Places = nil
		j.findings, i = append(j.findings, f), len(j.findings)
	}
	if !slices.Contains(j.findings[i].Places, p) {
		j.findings[i].Places = append(j.findings[i].Places, p)
	}
}

func (j *judge) source(class string) Source {
	for _, s := range j.in.Sources {
		if s.Class == class {
			return s
		}
	}
	return Source{Class: class}
}

// unread reports what could not be read.
func (j *judge) unread() {
	for _, u := range j.in.Snapshot.Unread {
		j.add(u.Place, Finding{Kind: NotRead, Status: canary.Inconclusive, Subject: u.What, Found: u.Why})
	}
}

// order puts what fails before what is not known.
func (j *judge) order() {
	for i := range j.findings {
		slices.SortFunc(j.findings[i].Places, comparePlaces)
	}
	slices.SortStableFunc(j.findings, func(a, b Finding) int { return cmp.Compare(rank(a.Status), rank(b.Status)) })
}

func rank(s canary.Status) int {
	return slices.Index([]canary.Status{canary.Fail, canary.Inconclusive, canary.NotRun, canary.Pass}, s)
}

func comparePlaces(a, b Place) int {
	return cmp.Or(cmp.Compare(a.Account, b.Account), cmp.Compare(a.Region, b.Region))
}
