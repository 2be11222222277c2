package inventory

import (
	"time"

	"github.com/auditcanary/auditcanary/shared/pattern"
)

// Snapshot is settings as they were read. A pointer that is nil was not read, and
// Unread says why.
type Snapshot struct {
	Accounts []Account
	Regions  []string
	// Listed are the places whose trails were listed. Of others nothing is known.
	Listed     []Place
	Trails     []Trail     // each once, by ARN
	Recordings []Recording // what each of them does in each place that it is seen in
	Buckets    []Bucket
	Keys       []Key

	Rules         []RuleState
	Topics        []TopicState
	Alarms        []AlarmState
	MetricFilters []MetricFilterState
	Detectors     []DetectorState
	LogGroups     []LogGroupState

	Unread []Unread
}

// Account of the organisation.
type Account struct {
	ID   string `json:"id"`
	Name string `json:"name,omitempty"`
}

// Place is an account's region. Region is "" where all of them are meant.
type Place struct {
	Account string `json:"account"`
	Region  string `json:"region,omitempty"`
}

// Unread is something that could not be read.
type Unread struct {
	Place
	// What was to be read: "cloudtrail:GetTrailStatus of NAME".
	What string
	// Why not, with what to do about it.
	Why string
}

// Trail is a trail as its home region has it.
type Trail struct {
	ARN, Name string
	// Account that owns it, and the region it must be changed in.
	Account, Home string
	// MultiRegion: it records all regions. Organization: all accounts.
	MultiRegion, Organization bool
	// GlobalEvents: it records the services that have no region, and sign-ins.
	GlobalEvents bool
	// Validation: signed digests are written of what it delivers.
	Validation     bool
	Bucket, Prefix string
	KeyARN         string // "" = the bucket's own encryption
	LogGroup       string // ARN of the log group it writes to as well, "" = none
	Selectors      *Selectors
}

// Selectors say which events a trail records. A trail has the ones or the others.
type Selectors struct {
	Basic    []BasicSelector
	Advanced []AdvancedSelector
}

// BasicSelector as the provider has it.
type BasicSelector struct {
	ReadWrite  string   // All, ReadOnly, WriteOnly
	Management bool     // management events are recorded
	Excluded   []string // sources of management events that are not
	Data       []string // types of resources whose data events are recorded
	// Resources are the ARNs, or their beginnings, of which those are recorded, by
	// type. A type that is not in it: they were not read.
	Resources map[string][]string
}

// AdvancedSelector is an event that is recorded if all conditions hold.
type AdvancedSelector struct {
	Name   string
	Fields []Condition
}

// Condition on a field of an event: it holds if any value fits, and none of the
// negated ones does.
type Condition struct {
	Field     string
	Equals    []string
	NotEquals []string
	// Other names further operators in use (StartsWith, NotEndsWith, ...).
	Other []string
}

// Recording is what a trail does in a place.
type Recording struct {
	Place
	Trail string // ARN
	// Status; nil: not read.
	Status *Status
}

// Status of a trail in a region, by the provider's clock.
type Status struct {
	// AsOf is when the provider said so; zero: it did not say.
	AsOf             time.Time
	Logging          bool
	Started, Stopped time.Time
	// Delivered is when the latest log file was delivered, Digest the latest digest.
	Delivered, Digest time.Time
	// DeliveryError and DigestError of the latest attempt, "" if it worked; and
	// LogGroupError of that to the trail's log group.
	DeliveryError, DigestError, LogGroupError string
}

// Bucket is what protects the archive.
type Bucket struct {
	Name string
	Place
	// Missing: there is no such bucket.
	Missing bool
	// Versioning: Enabled, Suspended or "" (never switched on).
	Versioning *string
	// Lock is the default retention of new objects; its Mode is "" if there is none.
	Lock        *Lock
	Lifecycle   *[]LifecycleRule
	Public      *bool // the bucket's policy admits anybody
	Replication *[]ReplicationRule
	// KeyARN that objects are encrypted with by default; "" = one of the service's own.
	KeyARN *string
}

// Lock is a bucket's default retention.
type Lock struct {
	Enabled bool
	Mode    string // COMPLIANCE, GOVERNANCE, "" = no default
	Days    int
}

// LifecycleRule is an enabled rule, as far as it removes objects: after how many
// days, 0 = never.
type LifecycleRule struct {
	ID                      string
	Prefix                  string // of the keys it is for; "" = all
	ExpireDays, OldVersions int
	// ExpireOn is a fixed day instead, zero = none.
	ExpireOn time.Time
}

// ReplicationRule of a bucket.
type ReplicationRule struct {
	ID, Destination string
	Enabled         bool
}

// Key is a key that records are encrypted with.
type Key struct {
	ARN string
	Place
	Missing bool
	State   string // Enabled, Disabled, PendingDeletion, PendingImport, Unavailable, ...
	Origin  string // AWS_KMS, EXTERNAL, AWS_CLOUDHSM, EXTERNAL_KEY_STORE
	Manager string // CUSTOMER, AWS
	// Deletion is when it will be deleted, Expires when its imported material goes.
	Deletion, Expires time.Time
}

// RuleState of an event rule that is relied on. The states of the alert path are
// found by the place and name under which the configuration lists them.
type RuleState struct {
	Place
	Bus, Name string
	Missing   bool
	State     string // ENABLED, DISABLED, ENABLED_WITH_ALL_CLOUDTRAIL_MANAGEMENT_EVENTS
	Pattern   string
	// Targets are ARNs; nil: not read.
	Targets *[]string
}

// TopicState of a topic that is relied on.
type TopicState struct {
	Place
	ARN     string
	Missing bool
	// Subscriptions; nil: not read.
	Subscriptions *[]Subscription
}

// Subscription to a topic.
type Subscription struct {
	ARN                string // "" while it is not confirmed
	Protocol, Endpoint string
	Pending            bool
	FilterPolicy       string // "" = everything passes
	// Unread: what it filters is not known.
	Unread bool
}

// AlarmState of an alarm that is relied on.
type AlarmState struct {
	Place
	Name           string
	Missing        bool
	ActionsEnabled bool
	Actions        []string
	// Muted names what keeps its actions back, now or at times: mute rules, a
	// suppressing alarm; nil: not read.
	Muted *[]string
	// Metrics, namespace/name, that a metric alarm watches; nil: it is of another kind.
	Metrics *[]string
	// Condition of an alarm on one metric: "Sum GreaterThanOrEqualToThreshold"; ""
	// where it is another's.
	Condition string
	Threshold float64
}

// MetricFilterState of a metric filter that is relied on.
type MetricFilterState struct {
	Place
	LogGroup, Name string
	Missing        bool
	Pattern        string
	Metrics        []string // namespace/name it counts into
}

// DetectorState of a threat detector that is relied on.
type DetectorState struct {
	Place
	// ID as listed in the configuration; "" = whichever there is.
	ID      string
	Missing bool
	Enabled bool
	// Suppressing are the filters that archive findings unseen; nil: not read.
	Suppressing *[]string
	// Suppressions are what those filters archive, where Suppressing was read.
	Suppressions []Suppression
}

// Suppression is a filter of a threat detector that archives findings unseen.
type Suppression struct {
	Name     string
	Criteria pattern.Criteria
}

// LogGroupState of a log group that is relied on.
type LogGroupState struct {
	Place
	Name          string
	Missing       bool
	RetentionDays int // 0 = for ever
	Protected     bool
}
