package inventory

import (
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/auditcanary/auditcanary/shared/canary"
	"github.com/auditcanary/auditcanary/shared/coverage"
)

var (
	now    = time.Date(2026, 11, 26, 12, 0, 0, 0, time.UTC)
	org    = "arn:aws:cloudtrail:us-east-1:100000000001:trail/org-trail"
	second = "arn:aws:cloudtrail:eu-west-1:111122223333:trail/own"
	admin  = Place{"100000000001", "us-east-1"}
	east   = Place{"111122223333", "us-east-1"}
	west   = Place{"111122223333", "eu-west-1"}
	topic  = "arn:aws:sns:us-east-1:100000000001:alerts"
	key    = "arn:aws:kms:us-east-1:999999999999:key/1"
)

// everything is what a trail records that nobody narrowed.
func everything() *Selectors {
	return &Selectors{Basic: []BasicSelector{{ReadWrite: "All", Management: true}}}
}

func ptr[T any](v T) *T { return &v }

// clean is an organisation in which nothing is wrong: two places under an
// organisation trail, a locked archive, an alert path.
func clean() Input {
	fine := func() *Status {
		return &Status{AsOf: now, Logging: true, Started: now.Add(-1000 * time.Hour), Delivered: now.Add(-5 * time.Minute), Digest: now.Add(-time.Hour)}
	}
	return Input{
		Snapshot: Snapshot{
			Accounts: []Account{{"111122223333", "production"}}, Regions: []string{"us-east-1", "eu-west-1"},
			Listed: []Place{east, west},
			Trails: []Trail{{
				ARN: org, Name: "org-trail", Account: "100000000001", Home: "us-east-1", MultiRegion: true, Organization: true, GlobalEvents: true, Validation: true,
				Bucket: "archive", Selectors: everything(), LogGroup: "arn:aws:logs:us-east-1:100000000001:log-group:trail:*",
			}},
			Recordings: []Recording{{east, org, fine()}, {west, org, fine()}},
			Buckets: []Bucket{{
				Name: "archive", Place: Place{"999999999999", "us-east-1"}, Versioning: ptr("Enabled"), Lock: &Lock{true, "COMPLIANCE", 365},
				Lifecycle: &[]LifecycleRule{{ID: "later", ExpireDays: 2000, OldVersions: 365}, {ID: "elsewhere", Prefix: "tmp/", ExpireDays: 1}},
				Public:    ptr(false), Replication: &[]ReplicationRule{{"copy", "arn:aws:s3:::copy", true}}, KeyARN: ptr(key),
			}},
			Keys:          []Key{{ARN: key, Place: Place{"999999999999", "us-east-1"}, State: "Enabled", Origin: "AWS_KMS", Manager: "CUSTOMER"}},
			Rules:         []RuleState{{Place: admin, Name: "privileged", State: "ENABLED_WITH_ALL_CLOUDTRAIL_MANAGEMENT_EVENTS", Pattern: `{"b": [1], "a": []}`, Targets: &[]string{topic, "arn:other"}}},
			Topics:        []TopicState{{Place: admin, ARN: topic, Subscriptions: &[]Subscription{{ARN: "arn:s", Protocol: "email", Endpoint: "security@example.com"}}}},
			Alarms:        []AlarmState{{Place: admin, Name: "root", ActionsEnabled: true, Actions: []string{topic}, Muted: &[]string{"agreed"}}},
			MetricFilters: []MetricFilterState{{Place: admin, LogGroup: "trail", Name: "root", Pattern: "{ root } "}},
			Detectors:     []DetectorState{{Place: east, Enabled: true, Suppressing: &[]string{"known-scanner"}}},
			LogGroups:     []LogGroupState{{Place: admin, Name: "trail", RetentionDays: 365, Protected: true}},
		},
		Archive: Archive{Name: "central", Bucket: "archive", Mode: "COMPLIANCE", Days: 365},
		Sources: []Source{{Class: ManagementEvents, Owner: "platform"}},
		Alerts: AlertPath{
			Rules:         []Rule{{Place: admin, Name: "privileged", AllManagementEvents: true, Pattern: `{"a":[],"b":[1]}`, Targets: []string{topic}}},
			Topics:        []Topic{{Place: admin, ARN: topic, Endpoints: []string{"security@example.com"}}},
			Alarms:        []Alarm{{Place: admin, Name: "root", Actions: []string{topic}, Muted: []string{"agreed"}}},
			MetricFilters: []MetricFilter{{Place: admin, LogGroup: "trail", Name: "root", Pattern: "{ root }"}},
			Detectors:     []Detector{{Place: east, Suppressions: []string{"known-scanner"}}},
			LogGroups:     []LogGroup{{Place: admin, Name: "trail", RetentionDays: 365, Protected: true}},
		},
		Home: "us-east-1", SilentAfter: 24 * time.Hour, DigestAfter: 3 * time.Hour, MaxAge: 35 * 24 * time.Hour, Now: now,
	}
}

// of an input, what a case changes.
func (in *Input) trail() *Trail        { return &in.Snapshot.Trails[0] }
func (in *Input) status(n int) *Status { return in.Snapshot.Recordings[n].Status }
func (in *Input) bucket() *Bucket      { return &in.Snapshot.Buckets[0] }
func (in *Input) sub() *Subscription   { return &(*in.Snapshot.Topics[0].Subscriptions)[0] }
func (in *Input) select1(s AdvancedSelector) {
	in.trail().Selectors = &Selectors{Advanced: []AdvancedSelector{s}}
}

// data requires data events, and records those of objects, as far as arns reach.
func (in *Input) data(arns ...string) {
	in.Sources = append(in.Sources, Source{Class: DataEvents, Required: true})
	basic := &in.trail().Selectors.Basic[0]
	basic.Data, basic.Resources = []string{"AWS::S3::Object"}, map[string][]string{"AWS::S3::Object": arns}
}

// objects is a selector of their data events.
func objects(fields ...Condition) AdvancedSelector {
	return AdvancedSelector{Fields: append([]Condition{{Field: "eventCategory", Equals: []string{"Data"}}, {Field: "resources.type", Equals: []string{"AWS::S3::Object"}}}, fields...)}
}

// another trail delivers to the archive from the west.
func (in *Input) another(change func(*Trail, *Status)) {
	t := Trail{ARN: second, Account: "111122223333", Home: "eu-west-1", Validation: true, Bucket: "archive", Selectors: everything()}
	s := *in.status(1)
	change(&t, &s)
	in.Snapshot.Trails = append(in.Snapshot.Trails, t)
	in.Snapshot.Recordings = append(in.Snapshot.Recordings, Recording{west, second, &s})
}

func management(fields ...Condition) AdvancedSelector {
	return AdvancedSelector{Fields: append([]Condition{{Field: "eventCategory", Equals: []string{"Management"}}}, fields...)}
}

// Each kind of finding appears where it must, and where something is close to it
// but not it, it does not.
func TestFindingsAppearWhereTheyMustAndNowhereElse(t *testing.T) {
	lock := func(l Lock) func(*Input) { return func(in *Input) { in.bucket().Lock = &l } }
	rules := func(r ...LifecycleRule) func(*Input) { return func(in *Input) { in.bucket().Lifecycle = &r } }
	cases := []struct {
		claim  string
		change func(*Input)
		// want, "kind places"; empty: nothing is found. near is the kind that nothing of
		// must be found though it is close.
		want []string
		near Kind
	}{
		{"nothing is wrong", func(*Input) {}, nil, ""},

		{"no trail is seen in a region", func(in *Input) { in.Snapshot.Recordings = in.Snapshot.Recordings[:1] }, []string{"source-missing 111122223333/eu-west-1"}, ""},
		{"the trail of another region is a trail of that region only", func(in *Input) { in.another(func(*Trail, *Status) {}) }, nil, SourceMissing},
		{"a trail that records data events only records no management events", func(in *Input) {
			in.select1(AdvancedSelector{Fields: []Condition{{Field: "eventCategory", Equals: []string{"Data"}}, {Field: "resources.type", Equals: []string{"AWS::S3::Object"}}}})
		}, []string{"source-missing 111122223333/eu-west-1 111122223333/us-east-1"}, ""},
		{"data events that are required and not recorded", func(in *Input) {
			in.Sources = append(in.Sources, Source{Class: DataEvents, Required: true})
		}, []string{"source-missing 111122223333/eu-west-1 111122223333/us-east-1"}, ""},
		{"data events that are required and recorded", func(in *Input) {
			in.Sources = append(in.Sources, Source{Class: DataEvents, Required: true})
			in.data("arn:aws:s3")
		}, nil, SourceMissing},
		{"data events of one bucket only", func(in *Input) { in.data("arn:aws:s3:::one/") }, []string{"source-narrowed 111122223333/eu-west-1 111122223333/us-east-1"}, ""},
		{"data events of no resource", func(in *Input) { in.data() }, []string{"source-narrowed 111122223333/eu-west-1 111122223333/us-east-1"}, ""},
		{"data events that write", func(in *Input) {
			in.data("arn:aws:s3:::")
			in.trail().Selectors.Basic = append(in.trail().Selectors.Basic, BasicSelector{ReadWrite: "WriteOnly", Data: []string{"AWS::Lambda::Function"}, Resources: map[string][]string{"AWS::Lambda::Function": {"arn:aws:lambda"}}})
		}, []string{"source-narrowed 111122223333/eu-west-1 111122223333/us-east-1"}, ""},
		{"data events that are narrowed by what was called", func(in *Input) {
			in.data("arn:aws:s3")
			in.trail().Selectors = &Selectors{Advanced: []AdvancedSelector{management(), objects(Condition{Field: "eventName", Equals: []string{"PutObject"}}, Condition{Field: "resources.ARN", Other: []string{"StartsWith"}})}}
		}, []string{"source-narrowed 111122223333/eu-west-1 111122223333/us-east-1"}, ""},
		{"data events that are narrowed, and not required", func(in *Input) {
			in.trail().Selectors = &Selectors{Advanced: []AdvancedSelector{management(), objects(Condition{Field: "eventName", Equals: []string{"PutObject"}})}}
		}, nil, SourceNarrowed},
		{"data events, the ones that read by one selector and the others by another", func(in *Input) {
			in.data("arn:aws:s3")
			in.trail().Selectors = &Selectors{Advanced: []AdvancedSelector{management(), objects(Condition{Field: "readOnly", Equals: []string{"true"}}), objects(Condition{Field: "readOnly", Equals: []string{"false"}})}}
		}, nil, SourceNarrowed},
		{"deliveries of required data events fail", func(in *Input) {
			in.data("arn:aws:s3")
			in.status(0).DeliveryError = "AccessDenied"
		}, []string{"delivery-fails 111122223333/us-east-1", "delivery-fails 111122223333/us-east-1"}, ""},
		{"nothing was delivered, data events neither", func(in *Input) {
			in.data("arn:aws:s3")
			in.status(1).Delivered, in.status(1).Digest = now.Add(-48*time.Hour), now.Add(-48*time.Hour)
		}, []string{"trail-silent 111122223333/eu-west-1", "trail-silent 111122223333/eu-west-1"}, ""},
		{"the trail that records data events is stopped", func(in *Input) {
			in.data("arn:aws:s3")
			in.status(1).Logging = false
		}, []string{"trail-stopped 111122223333/eu-west-1", "trail-stopped 111122223333/eu-west-1"}, ""},
		{"a second trail that fails records the same data events", func(in *Input) {
			in.data("arn:aws:s3")
			in.another(func(t *Trail, s *Status) { t.Selectors = in.trail().Selectors; s.DeliveryError = "AccessDenied" })
		}, nil, DeliveryFails},
		{"a second trail that fails records other data events", func(in *Input) {
			in.data("arn:aws:s3")
			in.another(func(t *Trail, s *Status) {
				t.Selectors = &Selectors{Basic: []BasicSelector{{ReadWrite: "All", Data: []string{"AWS::Lambda::Function"}, Resources: map[string][]string{"AWS::Lambda::Function": {"arn:aws:lambda"}}}}}
				s.DeliveryError = "AccessDenied"
			})
		}, []string{"delivery-fails 111122223333/eu-west-1"}, ""},
		{"network activity of one call only", func(in *Input) {
			in.Sources = append(in.Sources, Source{Class: NetworkActivity, Required: true})
			in.trail().Selectors = &Selectors{Advanced: []AdvancedSelector{management(), {Fields: []Condition{{Field: "eventCategory", Equals: []string{"NetworkActivity"}}, {Field: "eventSource", Equals: []string{"kms.amazonaws.com"}}, {Field: "errorCode", Equals: []string{"VpceAccessDenied"}}}}}}
		}, []string{"source-narrowed 111122223333/eu-west-1 111122223333/us-east-1"}, ""},
		{"deliveries of required network activity fail", func(in *Input) {
			in.Sources = append(in.Sources, Source{Class: NetworkActivity, Required: true})
			in.trail().Selectors = &Selectors{Advanced: []AdvancedSelector{management(), {Fields: []Condition{{Field: "eventCategory", Equals: []string{"NetworkActivity"}}, {Field: "eventSource", Equals: []string{"kms.amazonaws.com"}}}}}}
			in.status(0).DeliveryError = "AccessDenied"
		}, []string{"delivery-fails 111122223333/us-east-1", "delivery-fails 111122223333/us-east-1"}, ""},
		{"network activity that is required and recorded beside management events", func(in *Input) {
			in.Sources = append(in.Sources, Source{Class: NetworkActivity, Required: true})
			in.trail().Selectors = &Selectors{Advanced: []AdvancedSelector{management(), {Fields: []Condition{{Field: "eventCategory", Equals: []string{"NetworkActivity"}}, {Field: "eventSource", Equals: []string{"kms.amazonaws.com"}}}}}}
		}, nil, SourceMissing},

		{"it delivers to another bucket", func(in *Input) { in.trail().Bucket = "elsewhere" }, []string{"lands-elsewhere 111122223333/eu-west-1 111122223333/us-east-1"}, ""},
		{"it delivers under another prefix", func(in *Input) { in.trail().Prefix = "other" }, []string{"lands-elsewhere 111122223333/eu-west-1 111122223333/us-east-1"}, ""},
		{"the same prefix, written with a slash", func(in *Input) { in.trail().Prefix, in.Archive.Prefix = "logs", "logs/" }, nil, LandsElsewhere},
		{"somebody's own trail delivers to them as well", func(in *Input) { in.another(func(t *Trail, _ *Status) { t.Bucket = "theirs" }) }, nil, LandsElsewhere},
		{"what delivers elsewhere is stopped too", func(in *Input) { in.trail().Bucket = "elsewhere"; in.status(0).Logging = false }, []string{"lands-elsewhere 111122223333/eu-west-1", "source-missing 111122223333/us-east-1"}, ""},

		{"it is stopped", func(in *Input) { in.status(0).Logging, in.status(0).Stopped = false, now }, []string{"trail-stopped 111122223333/us-east-1"}, ""},
		{"a second one is stopped, and the first suffices", func(in *Input) { in.another(func(_ *Trail, s *Status) { s.Logging = false }) }, nil, TrailStopped},
		{"it was stopped and started", func(in *Input) { in.status(0).Stopped = now.Add(-2 * time.Hour) }, nil, TrailStopped},

		{"nothing was delivered from a region for two days", func(in *Input) {
			in.status(1).Delivered, in.status(1).Digest = now.Add(-48*time.Hour), now.Add(-48*time.Hour)
		}, []string{"trail-silent 111122223333/eu-west-1"}, ""},
		{"nothing was ever delivered from a region", func(in *Input) { in.status(1).Delivered, in.status(1).Digest = time.Time{}, time.Time{} }, []string{"trail-silent 111122223333/eu-west-1"}, ""},
		{"nobody did anything there, and digests say so", func(in *Input) { in.status(1).Delivered = time.Time{} }, nil, TrailSilent},
		{"it was started an hour ago", func(in *Input) {
			in.status(1).Started, in.status(1).Delivered, in.status(1).Digest = now.Add(-time.Hour), time.Time{}, time.Time{}
		}, nil, TrailSilent},
		{"exactly the time that is allowed", func(in *Input) {
			in.status(1).Delivered, in.status(1).Digest = now.Add(-24*time.Hour), now.Add(-3*time.Hour)
		}, nil, TrailSilent},

		{"the latest delivery was refused", func(in *Input) { in.status(0).DeliveryError = "AccessDenied" }, []string{"delivery-fails 111122223333/us-east-1"}, ""},
		{"the delivery of a second one is refused", func(in *Input) { in.another(func(_ *Trail, s *Status) { s.DeliveryError = "NoSuchBucket" }) }, nil, DeliveryFails},

		{"a source is left out", func(in *Input) { in.trail().Selectors.Basic[0].Excluded = []string{"kms.amazonaws.com"} }, []string{"source-narrowed 111122223333/eu-west-1 111122223333/us-east-1"}, ""},
		{"calls that read are left out", func(in *Input) { in.trail().Selectors.Basic[0].ReadWrite = "WriteOnly" }, []string{"source-narrowed 111122223333/eu-west-1 111122223333/us-east-1"}, ""},
		{"a narrowed one in the west is made whole by another", func(in *Input) {
			in.trail().Selectors.Basic[0].ReadWrite = "WriteOnly"
			in.another(func(t *Trail, _ *Status) { t.Selectors.Basic[0].ReadWrite = "ReadOnly" })
		}, []string{"source-narrowed 111122223333/us-east-1"}, ""},
		{"two halves make a whole", func(in *Input) {
			in.trail().Selectors.Basic = []BasicSelector{{ReadWrite: "ReadOnly", Management: true}, {ReadWrite: "WriteOnly", Management: true}}
		}, nil, SourceNarrowed},
		{"the other half is stopped", func(in *Input) {
			in.Snapshot.Accounts[0].ID, in.Snapshot.Regions = "111122223333", []string{"eu-west-1"}
			in.trail().Selectors.Basic[0].ReadWrite = "WriteOnly"
			in.another(func(t *Trail, s *Status) { t.Selectors.Basic[0].ReadWrite = "ReadOnly"; s.Logging = false })
		}, []string{"trail-stopped 111122223333/eu-west-1"}, ""},
		{"one actor is left out", func(in *Input) {
			in.select1(management(Condition{Field: "userIdentity.arn", NotEquals: []string{"arn:aws:iam::111122223333:user/mallory"}}))
		}, []string{"source-narrowed 111122223333/eu-west-1 111122223333/us-east-1"}, ""},
		{"an advanced selector without conditions", func(in *Input) { in.select1(management()) }, nil, SourceNarrowed},
		{"an advanced selector of both, said in full", func(in *Input) {
			in.select1(management(Condition{Field: "readOnly", Equals: []string{"true", "false"}}))
		}, nil, SourceNarrowed},

		{"the events of global services are left out", func(in *Input) { in.trail().GlobalEvents = false }, []string{"no-global-events 111122223333/us-east-1"}, ""},
		{"a trail of another region that leaves them out", func(in *Input) { in.another(func(t *Trail, _ *Status) { t.GlobalEvents = false }) }, nil, NoGlobalEvents},

		{"validation is off", func(in *Input) { in.trail().Validation = false }, []string{"trail-not-validated 111122223333/eu-west-1 111122223333/us-east-1"}, ""},
		{"validation of a second one is off", func(in *Input) { in.another(func(t *Trail, _ *Status) { t.Validation = false }) }, nil, TrailNotValidated},
		{"digests stopped and files go on", func(in *Input) { in.status(0).Digest = now.Add(-4 * time.Hour) }, []string{"digests-silent 111122223333/us-east-1"}, ""},
		{"the latest digest is two hours old", func(in *Input) { in.status(0).Digest = now.Add(-2 * time.Hour) }, nil, DigestsSilent},
		{"the latest digest is exactly as old as is allowed", func(in *Input) { in.status(0).Digest = now.Add(-3 * time.Hour) }, nil, DigestsSilent},
		{"the latest digest was refused", func(in *Input) { in.status(0).DigestError = "AccessDenied" }, []string{"digest-fails 111122223333/us-east-1"}, ""},
		{"the digest of a second one was refused", func(in *Input) { in.another(func(_ *Trail, s *Status) { s.DigestError = "AccessDenied" }) }, nil, DigestFails},

		{"there is no bucket", func(in *Input) { in.Snapshot.Buckets = []Bucket{{Name: "archive", Place: admin, Missing: true}} }, []string{"bucket-missing 100000000001/us-east-1"}, ""},
		{"another bucket is missing", func(in *Input) {
			in.Snapshot.Buckets = append(in.Snapshot.Buckets, Bucket{Name: "other", Missing: true})
		}, nil, BucketMissing},
		{"versioning is suspended", func(in *Input) { in.bucket().Versioning = ptr("Suspended") }, []string{"bucket-unversioned 999999999999/us-east-1"}, ""},
		{"versioning was never on", func(in *Input) { in.bucket().Versioning = ptr("") }, []string{"bucket-unversioned 999999999999/us-east-1"}, ""},
		{"another bucket has nothing of it", func(in *Input) {
			in.Snapshot.Buckets = append(in.Snapshot.Buckets, Bucket{Name: "other", Versioning: ptr(""), Public: ptr(true)})
		}, nil, BucketUnversioned},
		{"no Object Lock", lock(Lock{}), []string{"bucket-unlocked 999999999999/us-east-1"}, ""},
		{"no Object Lock, and none asked for", func(in *Input) { lock(Lock{})(in); in.Archive.Mode, in.Archive.Days = "", 0 }, nil, BucketUnlocked},
		{"no default retention", lock(Lock{Enabled: true}), []string{"bucket-retention 999999999999/us-east-1"}, ""},
		{"a retention that can be lifted", lock(Lock{true, "GOVERNANCE", 365}), []string{"bucket-retention 999999999999/us-east-1"}, ""},
		{"a retention that is too short", lock(Lock{true, "COMPLIANCE", 364}), []string{"bucket-retention 999999999999/us-east-1"}, ""},
		{"a retention that is stricter than asked for", func(in *Input) { lock(Lock{true, "COMPLIANCE", 3650})(in); in.Archive.Mode = "GOVERNANCE" }, nil, BucketRetention},
		{"a rule removes records", rules(LifecycleRule{ID: "r", Prefix: "AWSLogs/o-1/", ExpireDays: 30}), []string{"bucket-lifecycle 999999999999/us-east-1"}, ""},
		{"a rule removes old versions", rules(LifecycleRule{ID: "r", OldVersions: 30}), []string{"bucket-lifecycle 999999999999/us-east-1"}, ""},
		{"a rule removes everything on a day", rules(LifecycleRule{ID: "r", ExpireOn: now}), []string{"bucket-lifecycle 999999999999/us-east-1"}, ""},
		{"a rule removes what is retained no more", rules(LifecycleRule{ID: "r", ExpireDays: 365}), nil, BucketLifecycle},
		{"anybody may read", func(in *Input) { in.bucket().Public = ptr(true) }, []string{"bucket-public 999999999999/us-east-1"}, ""},
		{"nobody may read", func(in *Input) { in.bucket().Public = ptr(false) }, nil, BucketPublic},
		{"replication is stopped", func(in *Input) { (*in.bucket().Replication)[0].Enabled = false }, []string{"replication-stopped 999999999999/us-east-1"}, ""},
		{"there is no replication", func(in *Input) { in.bucket().Replication = &[]ReplicationRule{} }, nil, ReplicationStopped},

		{"there is no such key", func(in *Input) { in.Snapshot.Keys[0].Missing = true }, []string{"key-missing 999999999999/us-east-1"}, ""},
		{"no key is used", func(in *Input) { in.Snapshot.Keys = nil; in.bucket().KeyARN = ptr("") }, nil, KeyMissing},
		{"the key is disabled", func(in *Input) { in.Snapshot.Keys[0].State = "Disabled" }, []string{"key-unusable 999999999999/us-east-1"}, ""},
		{"the key is enabled", func(in *Input) { in.Snapshot.Keys[0].State = "Enabled" }, nil, KeyUnusable},
		{"the key will be deleted", func(in *Input) { in.Snapshot.Keys[0].State, in.Snapshot.Keys[0].Deletion = "PendingDeletion", now }, []string{"key-deletion 999999999999/us-east-1"}, ""},
		{"the key will be deleted, and only its date says so", func(in *Input) { in.Snapshot.Keys[0].State, in.Snapshot.Keys[0].Deletion = "Disabled", now }, []string{"key-deletion 999999999999/us-east-1"}, ""},
		{"the key will be deleted, and only its state says so", func(in *Input) { in.Snapshot.Keys[0].State = "PendingDeletion" }, []string{"key-deletion 999999999999/us-east-1"}, ""},
		{"a deletion that was cancelled", func(in *Input) { in.Snapshot.Keys[0].Deletion = time.Time{} }, nil, KeyDeletion},
		{"the key's material was imported", func(in *Input) { in.Snapshot.Keys[0].Origin = "EXTERNAL" }, []string{"key-material 999999999999/us-east-1"}, ""},
		{"the provider's own key", func(in *Input) { in.Snapshot.Keys[0].Origin, in.Snapshot.Keys[0].Manager = "", "AWS" }, nil, KeyMaterial},

		{"there is no such rule", func(in *Input) { in.Snapshot.Rules[0] = RuleState{Place: admin, Name: "privileged", Missing: true} }, []string{"rule-missing 100000000001/us-east-1"}, ""},
		{"a rule that nobody relies on is gone", func(in *Input) {
			in.Snapshot.Rules = append(in.Snapshot.Rules, RuleState{Place: admin, Name: "x", Missing: true})
		}, nil, RuleMissing},
		{"the rule is disabled", func(in *Input) { in.Snapshot.Rules[0].State = "DISABLED" }, []string{"rule-disabled 100000000001/us-east-1"}, ""},
		{"a rule of that name on another bus is disabled", func(in *Input) {
			in.Snapshot.Rules = append([]RuleState{{Place: admin, Bus: "other", Name: "privileged", State: "DISABLED"}}, in.Snapshot.Rules...)
		}, nil, RuleDisabled},
		{"the rule no longer sees what reads", func(in *Input) { in.Snapshot.Rules[0].State = "ENABLED" }, []string{"rule-misses-reads 100000000001/us-east-1"}, ""},
		{"the rule need not see what reads", func(in *Input) {
			in.Snapshot.Rules[0].State = "ENABLED"
			in.Alerts.Rules[0].AllManagementEvents = false
		}, nil, RuleMissesReads},
		{"the pattern was changed", func(in *Input) { in.Snapshot.Rules[0].Pattern = `{"a":[],"b":[2]}` }, []string{"rule-changed 100000000001/us-east-1"}, ""},
		{"the pattern has something behind it", func(in *Input) { in.Snapshot.Rules[0].Pattern += " {}" }, []string{"rule-changed 100000000001/us-east-1"}, ""},
		{"the pattern is no JSON", func(in *Input) { in.Snapshot.Rules[0].Pattern = `{"a":[]` }, []string{"rule-changed 100000000001/us-east-1"}, ""},
		{"nobody said what the pattern must be", func(in *Input) { in.Alerts.Rules[0].Pattern, in.Snapshot.Rules[0].Pattern = "", "{}" }, nil, RuleChanged},
		{"the rule has no target", func(in *Input) { in.Snapshot.Rules[0].Targets = &[]string{}; in.Alerts.Rules[0].Targets = nil }, []string{"rule-targets 100000000001/us-east-1"}, ""},
		{"the rule has other targets", func(in *Input) { in.Snapshot.Rules[0].Targets = &[]string{"arn:other"} }, []string{"rule-targets 100000000001/us-east-1"}, ""},
		{"any target will do", func(in *Input) {
			in.Snapshot.Rules[0].Targets = &[]string{"arn:other"}
			in.Alerts.Rules[0].Targets = nil
		}, nil, RuleTargets},

		{"there is no such topic", func(in *Input) { in.Snapshot.Topics[0].Missing = true }, []string{"topic-missing 100000000001/us-east-1"}, ""},
		{"a topic that nobody relies on is gone", func(in *Input) {
			in.Snapshot.Topics = append(in.Snapshot.Topics, TopicState{ARN: "arn:x", Missing: true})
		}, nil, TopicMissing},
		{"nobody is subscribed", func(in *Input) {
			in.Snapshot.Topics[0].Subscriptions = &[]Subscription{}
			in.Alerts.Topics[0].Endpoints = nil
		}, []string{"topic-unsubscribed 100000000001/us-east-1"}, ""},
		{"somebody else is subscribed", func(in *Input) { in.sub().Endpoint = "mallory@example.com" }, []string{"topic-unsubscribed 100000000001/us-east-1"}, ""},
		{"anybody will do", func(in *Input) { in.sub().Endpoint = "other@example.com"; in.Alerts.Topics[0].Endpoints = nil }, nil, TopicUnsubscribed},
		{"the subscription was never confirmed", func(in *Input) { in.sub().ARN, in.sub().Pending = "", true }, []string{"subscription-pending 100000000001/us-east-1", "topic-unsubscribed 100000000001/us-east-1"}, ""},
		{"a subscription without a name", func(in *Input) { in.sub().ARN = "" }, []string{"subscription-pending 100000000001/us-east-1", "topic-unsubscribed 100000000001/us-east-1"}, ""},
		{"another subscription was never confirmed", func(in *Input) {
			*in.Snapshot.Topics[0].Subscriptions = append(*in.Snapshot.Topics[0].Subscriptions, Subscription{Protocol: "email", Endpoint: "new@example.com", Pending: true})
		}, []string{"subscription-pending 100000000001/us-east-1"}, ""},
		{"all are confirmed", func(in *Input) { in.sub().Pending = false }, nil, SubscriptionPending},
		{"the subscription takes a part", func(in *Input) { in.sub().FilterPolicy = `{"severity":["none"]}` }, []string{"subscription-filtered 100000000001/us-east-1"}, ""},
		{"the subscription takes a part, as is meant", func(in *Input) { in.sub().FilterPolicy = `{"a":[1]}`; in.Alerts.Topics[0].Filtered = true }, nil, SubscriptionFilter},

		{"there is no such alarm", func(in *Input) { in.Snapshot.Alarms[0] = AlarmState{Place: admin, Name: "root", Missing: true} }, []string{"alarm-missing 100000000001/us-east-1"}, ""},
		{"an alarm of that name elsewhere is gone", func(in *Input) {
			in.Snapshot.Alarms = append(in.Snapshot.Alarms, AlarmState{Place: west, Name: "root", Missing: true})
		}, nil, AlarmMissing},
		{"its actions are disabled", func(in *Input) { in.Snapshot.Alarms[0].ActionsEnabled = false }, []string{"alarm-actions-off 100000000001/us-east-1"}, ""},
		{"its actions are enabled", func(in *Input) { in.Snapshot.Alarms[0].ActionsEnabled = true }, nil, AlarmActionsOff},
		{"its actions were taken away", func(in *Input) { in.Snapshot.Alarms[0].Actions = nil }, []string{"alarm-actions 100000000001/us-east-1"}, ""},
		{"any action will do", func(in *Input) { in.Snapshot.Alarms[0].Actions = []string{"arn:x"}; in.Alerts.Alarms[0].Actions = nil }, nil, AlarmActions},
		{"it is muted", func(in *Input) { in.Snapshot.Alarms[0].Muted = &[]string{"agreed", "arn:mute"} }, []string{"alarm-muted 100000000001/us-east-1"}, ""},
		{"it is muted as agreed", func(in *Input) { in.Snapshot.Alarms[0].Muted = &[]string{"agreed"} }, nil, AlarmMuted},

		{"there is no such filter", func(in *Input) { in.Snapshot.MetricFilters[0].Missing = true }, []string{"metric-filter-missing 100000000001/us-east-1"}, ""},
		{"a filter of that name of another group is gone", func(in *Input) {
			in.Snapshot.MetricFilters = append(in.Snapshot.MetricFilters, MetricFilterState{Place: admin, LogGroup: "x", Name: "root", Missing: true})
		}, nil, MetricFilterMissing},
		{"the filter's pattern was changed", func(in *Input) { in.Snapshot.MetricFilters[0].Pattern = "{ nobody }" }, []string{"metric-filter-changed 100000000001/us-east-1"}, ""},
		{"nobody said what the filter's pattern must be", func(in *Input) {
			in.Snapshot.MetricFilters[0].Pattern = "{ nobody }"
			in.Alerts.MetricFilters[0].Pattern = ""
		}, nil, MetricFilterChanged},

		{"there is no detector", func(in *Input) { in.Snapshot.Detectors[0] = DetectorState{Place: east, Missing: true} }, []string{"detector-missing 111122223333/us-east-1"}, ""},
		{"a region whose detector nobody relies on has none", func(in *Input) {
			in.Snapshot.Detectors = append(in.Snapshot.Detectors, DetectorState{Place: west, Missing: true})
		}, nil, DetectorMissing},
		{"the detector is suspended", func(in *Input) { in.Snapshot.Detectors[0].Enabled = false }, []string{"detector-disabled 111122223333/us-east-1"}, ""},
		{"the detector is on", func(in *Input) { in.Snapshot.Detectors[0].Enabled = true }, nil, DetectorDisabled},
		{"a filter archives findings", func(in *Input) { in.Snapshot.Detectors[0].Suppressing = &[]string{"hide"} }, []string{"detector-suppresses 111122223333/us-east-1"}, ""},
		{"a filter archives findings as agreed", func(in *Input) { in.Snapshot.Detectors[0].Suppressing = &[]string{"known-scanner"} }, nil, DetectorSuppresses},

		{"there is no log group", func(in *Input) { in.Snapshot.LogGroups[0] = LogGroupState{Place: admin, Name: "trail", Missing: true} }, []string{"log-group-missing 100000000001/us-east-1"}, ""},
		{"a log group that nobody relies on is gone", func(in *Input) {
			in.Snapshot.LogGroups = append(in.Snapshot.LogGroups, LogGroupState{Place: west, Name: "trail", Missing: true})
		}, nil, LogGroupMissing},
		{"the log group keeps a day", func(in *Input) { in.Snapshot.LogGroups[0].RetentionDays = 1 }, []string{"log-group-retention 100000000001/us-east-1"}, ""},
		{"the log group keeps for ever", func(in *Input) { in.Snapshot.LogGroups[0].RetentionDays = 0 }, nil, LogGroupRetention},
		{"the log group may be deleted", func(in *Input) { in.Snapshot.LogGroups[0].Protected = false }, []string{"log-group-unprotected 100000000001/us-east-1"}, ""},
		{"the log group may be deleted, as nobody minds", func(in *Input) { in.Snapshot.LogGroups[0].Protected = false; in.Alerts.LogGroups[0].Protected = false }, nil, LogGroupUnprotected},

		{"the trail cannot write to the group", func(in *Input) { in.status(1).LogGroupError = "AccessDenied" }, []string{"log-group-not-fed 111122223333/eu-west-1"}, ""},
		{"the trail cannot write to a group that nobody relies on", func(in *Input) {
			in.status(1).LogGroupError = "AccessDenied"
			in.trail().LogGroup = "arn:aws:logs:us-east-1:100000000001:log-group:other:*"
		}, nil, LogGroupNotFed},
		{"only the group's filter is relied on", func(in *Input) { in.status(1).LogGroupError = "AccessDenied"; in.Alerts.LogGroups = nil }, []string{"log-group-not-fed 111122223333/eu-west-1"}, ""},

		{"something could not be read", func(in *Input) { in.Snapshot.Unread = []Unread{{east, "kms:DescribeKey", "refused"}} }, []string{"not-read 111122223333/us-east-1"}, ""},
		{"everything was read", func(*Input) {}, nil, NotRead},
	}
	appears, spared := map[Kind]bool{}, map[Kind]bool{}
	for _, tc := range cases {
		t.Run(tc.claim, func(t *testing.T) {
			in := clean()
			tc.change(&in)
			r := Take(in)
			var got []string
			for _, f := range r.Findings {
				line := string(f.Kind)
				for _, p := range f.Places {
					line += " " + p.String()
				}
				got = append(got, line)
				appears[f.Kind] = true
				if f.Found == "" || f.Subject == "" || f.Next == "" || f.Kind != NotRead && f.Status != canary.Fail {
					t.Errorf("a finding that does not say enough: %+v", f)
				}
			}
			slices.Sort(got)
			if !slices.Equal(got, tc.want) {
				t.Errorf("got %q, want %q", got, tc.want)
			}
			if (len(tc.want) == 0) != (r.Status == canary.Pass) {
				t.Errorf("status %s", r.Status)
			}
		})
		spared[tc.near] = true
	}
	for _, k := range slices.Sorted(maps.Keys(next)) {
		if !appears[k] || !spared[k] {
			t.Errorf("%s: a case in which it appears: %v, one in which it must not: %v", k, appears[k], spared[k])
		}
	}
}

// What was not read is never taken for fine, nor for missing.
func TestWhatWasNotReadIsInconclusive(t *testing.T) {
	gone := func(s *Snapshot, name string) { // drops a list of the snapshot
		f := reflect.ValueOf(s).Elem().FieldByName(name)
		f.Set(reflect.Zero(f.Type()))
	}
	cases := map[string]func(*Input){
		"nobody was let into the account": func(in *Input) {
			in.Snapshot.Listed, in.Snapshot.Recordings = nil, nil
			in.Snapshot.Unread = []Unread{{Place{"111122223333", ""}, "account 111122223333", "AccessDenied"}}
		},
		"a region's trails were not listed":               func(in *Input) { in.Snapshot.Listed = in.Snapshot.Listed[:1] },
		"the selectors were not read":                     func(in *Input) { in.trail().Selectors = nil },
		"a status was not read":                           func(in *Input) { in.Snapshot.Recordings[0].Status = nil },
		"the key's state was not told":                    func(in *Input) { in.Snapshot.Keys[0].State = "" },
		"versioning was not read":                         func(in *Input) { in.bucket().Versioning = nil },
		"the lock was not read":                           func(in *Input) { in.bucket().Lock = nil },
		"the lifecycle was not read":                      func(in *Input) { in.bucket().Lifecycle = nil },
		"whether it is public was not read":               func(in *Input) { in.bucket().Public = nil },
		"replication was not read":                        func(in *Input) { in.bucket().Replication = nil },
		"the encryption was not read":                     func(in *Input) { in.bucket().KeyARN = nil },
		"the bucket's key was not read":                   func(in *Input) { in.Snapshot.Keys = nil },
		"the trail's key was not read":                    func(in *Input) { in.trail().KeyARN = "arn:aws:kms:us-east-1:1:key/2" },
		"targets were not read":                           func(in *Input) { in.Snapshot.Rules[0].Targets = nil },
		"subscriptions were not read":                     func(in *Input) { in.Snapshot.Topics[0].Subscriptions = nil },
		"mute rules were not read":                        func(in *Input) { in.Snapshot.Alarms[0].Muted = nil },
		"suppressions were not read":                      func(in *Input) { in.Snapshot.Detectors[0].Suppressing = nil },
		"which resources data events are of was not read": func(in *Input) { in.data("arn:aws:s3"); in.trail().Selectors.Basic[0].Resources = nil },
		"a status without a time":                         func(in *Input) { in.status(0).AsOf = time.Time{} },
		"whether a subscription is filtered was not read": func(in *Input) { in.sub().Unread = true },
	}
	for _, list := range []string{"Buckets", "Rules", "Topics", "Alarms", "MetricFilters", "Detectors", "LogGroups"} {
		cases["nothing of "+list] = func(in *Input) { gone(&in.Snapshot, list) }
	}
	for claim, change := range cases {
		t.Run(claim, func(t *testing.T) {
			in := clean()
			change(&in)
			r := Take(in)
			if r.Status != canary.Inconclusive {
				t.Errorf("status %s, findings %+v", r.Status, r.Findings)
			}
			for _, f := range r.Findings {
				if f.Status == canary.Fail {
					t.Errorf("failed: %+v", f)
				}
			}
		})
	}
}

// A sign-in is recorded where its row says so, and nowhere else.
func TestARowNamesWhatRecordsIt(t *testing.T) {
	in := clean()
	in.trail().GlobalEvents = false
	in.another(func(t *Trail, _ *Status) { t.GlobalEvents = true })
	in.Sources = append(in.Sources, Source{Class: DataEvents, Owner: "storage"})
	for _, want := range []Row{
		{Account: east.Account, Region: east.Region, Class: SignIn, Status: canary.Fail, RecordedBy: []string{}, Findings: []Kind{NoGlobalEvents}},
		{Account: west.Account, Region: west.Region, Class: SignIn, Status: canary.Pass, RecordedBy: []string{second}, Findings: []Kind{}},
		{Account: west.Account, Region: west.Region, Class: ManagementEvents, Status: canary.Pass, Owner: "platform", RecordedBy: []string{org, second}, Findings: []Kind{}},
		{Account: west.Account, Region: west.Region, Class: DataEvents, Status: canary.NotRun, Owner: "storage", RecordedBy: []string{}, Findings: []Kind{}},
		{Class: "saas", Status: canary.NotRun, RecordedBy: []string{}, Findings: []Kind{}},
	} {
		rows := Take(in).Rows
		i := slices.IndexFunc(rows, func(r Row) bool { return r.Account == want.Account && r.Region == want.Region && r.Class == want.Class })
		if i < 0 {
			t.Errorf("no row %s/%s %s", want.Account, want.Region, want.Class)
			continue
		}
		got := rows[i]
		if got.Status != want.Status || got.Owner != want.Owner || !slices.Equal(got.RecordedBy, want.RecordedBy) || !slices.Equal(got.Findings, want.Findings) || (got.Detail == "") != (got.Status == canary.Pass) ||
			len(got.RecordedBy) > 0 && (got.LandsIn != "s3://archive/" || got.Delivered.IsZero()) {
			t.Errorf("got %+v, want %+v", got, want)
		}
	}
}

// Sign-ins are recorded only if what records them leaves their source in, and delivers.
func TestSignInsThatDoNotArriveAreNotRecorded(t *testing.T) {
	only := func(c Condition) func(*Input) {
		return func(in *Input) { c.Field = "eventSource"; in.select1(management(c)) }
	}
	long := now.Add(-60 * 24 * time.Hour)
	for _, tc := range []struct {
		claim  string
		change func(*Input)
		status canary.Status
		kind   Kind // "" = none
		detail string
	}{
		{"nothing is wrong", func(*Input) {}, canary.Pass, "", ""},
		{"one source only, and another", only(Condition{Equals: []string{"ec2.amazonaws.com"}}), canary.Fail, SourceNarrowed, "sign-ins are left out, or some: only ec2.amazonaws.com is recorded"},
		{"their source only", only(Condition{Equals: []string{"signin.amazonaws.com"}}), canary.Pass, "", ""},
		{"all sources but theirs", only(Condition{NotEquals: []string{"signin.amazonaws.com"}}), canary.Fail, SourceNarrowed, "sign-ins are left out, or some: all but signin.amazonaws.com is recorded"},
		{"all sources but another", only(Condition{NotEquals: []string{"kms.amazonaws.com"}}), canary.Pass, "", ""},
		{"sources by their beginning", only(Condition{Other: []string{"StartsWith"}}), canary.Fail, SourceNarrowed, "sign-ins are left out, or some: only a part is recorded, by conditions on eventSource"},
		{"what reads only", func(in *Input) { in.trail().Selectors.Basic[0].ReadWrite = "ReadOnly" }, canary.Fail, SourceMissing, "nothing records sign-ins into the archive"},
		{"deliveries fail, and nothing came for two months", func(in *Input) {
			in.status(0).DeliveryError, in.status(0).Delivered, in.status(0).Digest = "AccessDenied", long, long
		}, canary.Fail, DeliveryFails, "the latest delivery failed: AccessDenied; nothing was delivered from here for more than 24h"},
		{"nothing came for two months", func(in *Input) { in.status(0).Delivered, in.status(0).Digest = long, long }, canary.Fail, TrailSilent, "nothing was delivered from here for more than 24h"},
		{"it is stopped", func(in *Input) { in.status(0).Logging = false }, canary.Fail, TrailStopped, "it records nothing"},
		{"its state is of no known time", func(in *Input) { in.status(0).AsOf = time.Time{} }, canary.Inconclusive, NotRead, "a trail that delivers to the archive could not be read"},
		{"another one works", func(in *Input) {
			in.status(0).DeliveryError = "AccessDenied"
			in.another(func(t *Trail, _ *Status) { t.GlobalEvents = true })
			in.Snapshot.Recordings[2].Place = east
		}, canary.Pass, "", ""},
	} {
		t.Run(tc.claim, func(t *testing.T) {
			in := clean()
			tc.change(&in)
			r := Take(in)
			for _, row := range r.Rows {
				if row.Class != SignIn || row.Region != in.Home {
					continue
				}
				if row.Status != tc.status || row.Detail != tc.detail || (len(row.Findings) > 0) != (tc.kind != "") || tc.kind != "" && row.Findings[0] != tc.kind {
					t.Errorf("%s, %v, %q, want %s, %s, %q", row.Status, row.Findings, row.Detail, tc.status, tc.kind, tc.detail)
				}
				// With what to do, it is said once: of the trail.
				if tc.status == canary.Fail && !slices.ContainsFunc(r.Findings, func(f Finding) bool {
					return f.Status == canary.Fail && f.Next != "" && slices.Contains(f.Places, east) && (tc.kind == SourceMissing || f.Kind == tc.kind)
				}) {
					t.Errorf("no finding says why: %+v", r.Findings)
				}
			}
		})
	}
}

// The row of a class that selectors ask for says of how much.
func TestARowOfDataEventsSaysOfWhat(t *testing.T) {
	part := objects(Condition{Field: "resources.ARN", Other: []string{"StartsWith"}}, Condition{Field: "eventName", Equals: []string{"PutObject"}})
	for _, tc := range []struct {
		claim    string
		required bool
		change   func(*Input)
		status   canary.Status
		detail   string
	}{
		{"all of a type", true, func(in *Input) { in.select1(objects()) }, canary.Pass, "of AWS::S3::Object"},
		{"a part of a type", true, func(in *Input) { in.select1(part) }, canary.Fail, "AWS::S3::Object: only a part is recorded, by conditions on eventName, resources.ARN"},
		{"a part of a type, where nothing is required", false, func(in *Input) { in.select1(part) }, canary.NotRun, "not required; AWS::S3::Object: only a part is recorded, by conditions on eventName, resources.ARN"},
		{"all but some of a type", true, func(in *Input) {
			in.select1(objects(Condition{Field: "resources.type", Equals: []string{"AWS::S3::Object"}, NotEquals: []string{"AWS::S3::Object"}}))
		}, canary.Fail, "AWS::S3::Object: only a part is recorded, by conditions on resources.type"},
		{"two types at once", true, func(in *Input) {
			in.select1(objects(Condition{Field: "resources.type", Equals: []string{"AWS::Lambda::Function"}}))
		}, canary.Fail, "no selector of a trail that delivers to the archive asks for them"},
		{"what reads", true, func(in *Input) { in.select1(objects(Condition{Field: "readOnly", Equals: []string{"true"}})) }, canary.Fail, "AWS::S3::Object: of what writes, nothing is recorded"},
		{"deliveries that fail, where nothing is required", false, func(in *Input) {
			in.select1(objects())
			in.status(0).DeliveryError = "AccessDenied"
		}, canary.NotRun, "not required; the latest delivery failed: AccessDenied"},
		{"resources that were not read", true, func(in *Input) { in.trail().Selectors.Basic[0].Data = []string{"AWS::S3::Object"} }, canary.Inconclusive, "of which resources the selectors record them was not read"},
		{"resources that were not read, where nothing is required", false, func(in *Input) { in.trail().Selectors.Basic[0].Data = []string{"AWS::S3::Object"} }, canary.NotRun, "not required; of which resources the selectors record them was not read"},
		{"a status of no known time", true, func(in *Input) { in.select1(objects()); in.status(0).AsOf = time.Time{} }, canary.Inconclusive, "a trail that delivers to the archive could not be read"},
	} {
		t.Run(tc.claim, func(t *testing.T) {
			in := clean()
			in.Sources = append(in.Sources, Source{Class: DataEvents, Required: tc.required})
			tc.change(&in)
			for _, row := range Take(in).Rows {
				if row.Class == DataEvents && row.Region == in.Home && (row.Status != tc.status || row.Detail != tc.detail) {
					t.Errorf("%s: %q, want %s: %q", row.Status, row.Detail, tc.status, tc.detail)
				}
			}
		})
	}
}

func TestOnlyAnARNOfAWholeServiceIsAllOfIt(t *testing.T) {
	for arn, want := range map[string]bool{
		"arn:aws:s3": true, "arn:aws:s3:::": true, "arn:aws-us-gov:lambda": true,
		"": false, "arn": false, "arn:aws": false, "arn:aws:": false, "arn::s3": false, "x:aws:s3": false, "arn:aws:s3:::b": false, "arn:aws:s3:::b/": false, "arn:aws:lambda:us-east-1": false,
	} {
		if got := wholeService(arn); got != want {
			t.Errorf("%q: %v", arn, got)
		}
	}
}

// An unread part never hides what fails in another.
func TestWhatFailsIsSaidBesideWhatIsNotKnown(t *testing.T) {
	in := clean()
	in.Snapshot.Unread = []Unread{{east, "kms:DescribeKey", "refused"}}
	in.status(1).Logging = false
	// A trail that delivers elsewhere could not make up for it.
	in.another(func(t *Trail, _ *Status) { t.Bucket, t.Selectors = "elsewhere", nil })
	if r := Take(in); r.Status != canary.Fail || len(r.Findings) != 2 || r.Findings[0].Kind != TrailStopped || r.Findings[0].Owner != "platform" {
		t.Errorf("%s: %+v", r.Status, r.Findings)
	}
}

func TestSelectorsAreReadAsWhatTheyRecord(t *testing.T) {
	for _, tc := range []struct {
		claim     string
		selectors Selectors
		leaves    string // "" = all is recorded
	}{
		{"all", *everything(), ""},
		{"none at all", Selectors{}, "nothing is recorded"},
		{"no management events", Selectors{Basic: []BasicSelector{{ReadWrite: "All"}}}, "nothing is recorded"},
		{"what writes", Selectors{Basic: []BasicSelector{{ReadWrite: "WriteOnly", Management: true}}}, "of what reads, nothing is recorded"},
		{"a type nobody knows", Selectors{Basic: []BasicSelector{{ReadWrite: "Some", Management: true}}}, "only a part is recorded, by conditions on ReadWriteType Some"},
		{"without KMS", Selectors{Basic: []BasicSelector{{ReadWrite: "All", Management: true, Excluded: []string{"kms.amazonaws.com"}}}}, "all but kms.amazonaws.com is recorded"},
		{"without KMS, and with it", Selectors{Basic: []BasicSelector{{ReadWrite: "All", Management: true, Excluded: []string{"kms.amazonaws.com"}}, {ReadWrite: "All", Management: true}}}, ""},
		{"without KMS where it reads", Selectors{Basic: []BasicSelector{{ReadWrite: "ReadOnly", Management: true, Excluded: []string{"kms.amazonaws.com"}}, {ReadWrite: "WriteOnly", Management: true}}}, "of what reads, all but kms.amazonaws.com is recorded"},
		{"advanced, without KMS, and KMS alone", Selectors{Advanced: []AdvancedSelector{
			management(Condition{Field: "eventSource", NotEquals: []string{"kms.amazonaws.com"}}), management(Condition{Field: "eventSource", Equals: []string{"kms.amazonaws.com"}}),
		}}, ""},
		{"one source alone", Selectors{Advanced: []AdvancedSelector{management(Condition{Field: "eventSource", Equals: []string{"iam.amazonaws.com"}})}}, "only iam.amazonaws.com is recorded"},
		{"one source, and not that one", Selectors{Advanced: []AdvancedSelector{management(Condition{Field: "eventSource", Equals: []string{"iam.amazonaws.com"}, NotEquals: []string{"iam.amazonaws.com"}})}}, "nothing is recorded"},
		{"two sources at once", Selectors{Advanced: []AdvancedSelector{management(Condition{Field: "eventSource", Equals: []string{"a"}}, Condition{Field: "eventSource", Equals: []string{"b"}})}}, "nothing is recorded"},
		{"what both reads and writes", Selectors{Advanced: []AdvancedSelector{management(Condition{Field: "readOnly", Equals: []string{"true"}}, Condition{Field: "readOnly", Equals: []string{"false"}})}}, "nothing is recorded"},
		{"an operator that is not known for it", Selectors{Advanced: []AdvancedSelector{management(Condition{Field: "eventSource", Other: []string{"StartsWith"}})}}, "only a part is recorded, by conditions on eventSource"},
		{"a category that is not management only by name", Selectors{Advanced: []AdvancedSelector{{Fields: []Condition{{Field: "eventCategory", Equals: []string{"Management"}, NotEquals: []string{"Management"}}}}}}, "nothing is recorded"},
		{"no category", Selectors{Advanced: []AdvancedSelector{{Fields: []Condition{{Field: "readOnly", Equals: []string{"true"}}}}}}, "nothing is recorded"},
	} {
		t.Run(tc.claim, func(t *testing.T) {
			r := tc.selectors.management()
			if got := r.leaves(); got != tc.leaves || r.complete() != (tc.leaves == "") {
				t.Errorf("complete %v, %q, want %q", r.complete(), got, tc.leaves)
			}
		})
	}
}

func TestProofsAreTheLastOfACategoryInAPlace(t *testing.T) {
	in := clean()
	in.Categories = []coverage.Category{{ID: "keys"}, {ID: "roles"}, {ID: "saas"}}
	in.Scenarios = []canary.Scenario{{ID: "aws/key", Category: "keys", Scope: "region"}, {ID: "aws/other-key", Category: "keys", Scope: "region"}, {ID: "aws/role", Category: "roles", Scope: "account"}}
	in.Targets = []canary.Target{{Provider: "aws", Account: "111122223333", Region: "eu-west-1"}}
	in.Snapshot.Accounts = append(in.Snapshot.Accounts, Account{ID: "999999999999"})
	test := func(scenario, id string, age time.Duration, status canary.Status) coverage.Test {
		return coverage.Test{Account: west.Account, Region: west.Region, Category: "keys", Scenario: scenario, Canary: id, At: now.Add(-age), Status: status}
	}
	day := 24 * time.Hour
	for _, tc := range []struct {
		claim string
		tests []coverage.Test
		want  string // of keys in the west
	}{
		{"never", nil, "unproven configured, and never proven"},
		{"today and before", []coverage.Test{test("aws/key", "c1", day, canary.Pass), test("aws/key", "c2", time.Hour, canary.Pass)}, "proven c2 "},
		{"too long ago", []coverage.Test{test("aws/key", "c1", 40*day, canary.Pass)}, "unproven c1 proven last on 2026-10-17, too long ago"},
		{"failed since", []coverage.Test{test("aws/key", "c1", day, canary.Pass), test("aws/key", "c2", time.Hour, canary.Fail)}, "unproven c1 the latest canary of aws/key is fail"},
		{"failed before", []coverage.Test{test("aws/key", "c1", day, canary.Fail), test("aws/key", "c2", time.Hour, canary.Pass)}, "proven c2 "},
		{"another scenario of it failed", []coverage.Test{test("aws/key", "c1", time.Hour, canary.Pass), test("aws/other-key", "c2", day, canary.Late)}, "unproven c1 the latest canary of aws/other-key is late"},
		{"one call of a canary failed", []coverage.Test{test("aws/key", "c1", day, canary.Pass), test("aws/key", "c1", day, canary.Fail)}, "unproven c1 the latest canary of aws/key is fail"},
		{"elsewhere", []coverage.Test{{Account: west.Account, Region: "us-east-1", Category: "keys", Scenario: "aws/key", Canary: "c1", At: now, Status: canary.Pass}}, "unproven configured, and never proven"},
	} {
		in.Tests = tc.tests
		p := newJudge(in).proof(west, "keys")
		got := string(p.State) + " "
		if p.Canary != "" {
			got += p.Canary + " "
		}
		if got += p.Reason; got != tc.want {
			t.Errorf("%s: %q, want %q", tc.claim, got, tc.want)
		}
	}
	in.Tests = nil
	for _, tc := range []struct {
		place    Place
		category string
		want     Coverage
	}{
		{west, "roles", Missing}, {east, "roles", Unproven}, {east, "keys", Missing}, {west, "saas", Missing}, {Place{"999999999999", "us-east-1"}, "keys", Missing},
	} {
		if p := newJudge(in).proof(tc.place, tc.category); p.State != tc.want || p.Reason == "" {
			t.Errorf("%s at %s: %s (%s), want %s", tc.category, tc.place, p.State, p.Reason, tc.want)
		}
	}
}

// What came from a provider steers no terminal and becomes no formula.
func TestWhatCameFromOutsideIsOnlyText(t *testing.T) {
	in := clean()
	in.trail().ARN = "arn:aws:cloudtrail:us-east-1:1:trail/\x1b[2J\u202eevil"
	for n := range in.Snapshot.Recordings {
		in.Snapshot.Recordings[n].Trail = in.trail().ARN
	}
	in.status(0).DeliveryError = "=HYPERLINK(\"http://x\")\n\x1b]0;x\x07"
	in.Sources[0].Owner = "@owner\ttab"
	in.Snapshot.Unread = []Unread{{east, "=1+1", "+cmd|' /C calc'!A0"}}
	r := Take(in)
	var table, csv strings.Builder
	if err := r.WriteTable(&table); err != nil {
		t.Fatal(err)
	}
	if err := r.WriteCSV(&csv); err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{"table": table.String(), "csv": csv.String()} {
		if i := strings.IndexFunc(text, func(c rune) bool { return c < ' ' && c != '\n' || c == 0x7f || c == 0x202e }); i >= 0 {
			t.Errorf("%s: control character %q at %d", name, text[i], i)
		}
	}
	for line := range strings.Lines(csv.String()) {
		for _, cell := range strings.Split(line, ",") {
			if strings.IndexAny(strings.Trim(cell, `"`), "=+@-|") == 0 {
				t.Errorf("a formula: %s", line)
			}
		}
	}
	if !strings.Contains(table.String(), "FAIL delivery-fails") || !strings.Contains(table.String(), "? not-read") {
		t.Errorf("not all findings are in the table:\n%s", table.String())
	}
}

// TestTheTableNamesMuchInLittle: places that say the same share a line, and a
// finding of many places names some.
func TestTheTableNamesMuchInLittle(t *testing.T) {
	in := clean()
	in.Snapshot.Listed, in.Snapshot.Accounts, in.Snapshot.Recordings = nil, nil, nil
	for n := range 40 {
		id := fmt.Sprintf("%012d", n)
		in.Snapshot.Accounts = append(in.Snapshot.Accounts, Account{ID: id})
		for _, region := range in.Snapshot.Regions {
			p := Place{id, region}
			in.Snapshot.Listed = append(in.Snapshot.Listed, p)
			in.Snapshot.Recordings = append(in.Snapshot.Recordings, Recording{p, org, &Status{AsOf: now, Logging: n != 7 || region == "us-east-1", Started: now}})
		}
	}
	in.trail().Validation = false
	var b strings.Builder
	if err := Take(in).WriteTable(&b); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"cloud-management-events        79 of 80", "cloud-management-events        000000000007/eu-west-1  FAIL", "000000000002/us-east-1, 74 more", "FAIL trail-stopped: trail " + org,
		"found     log file validation is off\n  expected  a signed digest each hour\n  do        switch log file validation on", "findings; 6 things on the alert path judged.",
	} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("%q is not in it", want)
		}
	}
	if n := strings.Count(b.String(), "\n"); n > 45 {
		t.Errorf("%d lines", n)
	}
	if t.Failed() {
		t.Log(b.String())
	}
}

func TestTheReportIsTheSameWhateverTheOrder(t *testing.T) {
	in := clean()
	in.status(0).DeliveryError, in.status(1).DeliveryError = "NoSuchBucket", "NoSuchBucket"
	first, _ := json.Marshal(Take(in))
	slices.Reverse(in.Snapshot.Recordings)
	slices.Reverse(in.Snapshot.Listed)
	if again, _ := json.Marshal(Take(in)); string(again) != string(first) {
		t.Errorf("%s\nis not\n%s", again, first)
	}
	if strings.Contains(string(first), "null") {
		t.Errorf("a list is null: %s", first)
	}
}
