package aws

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	watchtypes "github.com/aws/aws-sdk-go-v2/service/cloudwatch/types"
	"github.com/aws/smithy-go/encoding/cbor"

	"github.com/auditcanary/auditcanary/shared/inventory"
)

const (
	orgTrail     = "arn:aws:cloudtrail:us-east-1:111122223333:trail/org"
	alarmsCalled = "monitoring:POST /service/GraniteServiceVersion20100801/operation/DescribeAlarms"
	mutesCalled  = "monitoring:POST /service/GraniteServiceVersion20100801/operation/ListAlarmMuteRules"
)

func cborReply(m cbor.Map) func(http.ResponseWriter, *called) {
	return func(rw http.ResponseWriter, _ *called) {
		rw.Header().Set("Content-Type", "application/cbor")
		rw.Header().Set("Smithy-Protocol", "rpc-v2-cbor")
		_, _ = rw.Write(cbor.Encode(m))
	}
}

// soundPlace answers for one account and region in which nothing is wrong.
func soundPlace(t *testing.T) *wire {
	w := newWire(t)
	w.answer["cloudtrail:DescribeTrails"] = jsonReply(map[string]any{"trailList": []any{map[string]any{
		"TrailARN": orgTrail, "Name": "org", "HomeRegion": "us-east-1", "S3BucketName": "archive", "IsMultiRegionTrail": true, "IncludeGlobalServiceEvents": true, "LogFileValidationEnabled": true,
		"KmsKeyId": "arn:aws:kms:us-east-1:111122223333:key/1",
	}}})
	w.answer["cloudtrail:GetEventSelectors"] = jsonReply(map[string]any{"AdvancedEventSelectors": []any{map[string]any{"FieldSelectors": []any{
		map[string]any{"Field": "eventCategory", "Equals": []string{"Management"}}, map[string]any{"Field": "readOnly", "Equals": []string{"true"}, "NotStartsWith": []string{"x"}},
	}}}})
	w.answer["cloudtrail:GetTrailStatus"] = jsonReply(map[string]any{"IsLogging": true, "LatestDeliveryTime": 1795350000, "LatestDeliveryError": "AccessDenied"})
	xml := func(text string) func(http.ResponseWriter, *called) {
		return func(rw http.ResponseWriter, _ *called) { _, _ = io.WriteString(rw, text) }
	}
	absent := func(code string) func(http.ResponseWriter, *called) {
		return func(rw http.ResponseWriter, _ *called) {
			rw.WriteHeader(404)
			fmt.Fprintf(rw, "<Error><Code>%s</Code></Error>", code)
		}
	}
	bucket := func(rw http.ResponseWriter, c *called) {
		for sub, answer := range map[string]func(http.ResponseWriter, *called){
			"versioning":  xml(`<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>`),
			"object-lock": xml(`<ObjectLockConfiguration><ObjectLockEnabled>Enabled</ObjectLockEnabled><Rule><DefaultRetention><Mode>COMPLIANCE</Mode><Years>2</Years></DefaultRetention></Rule></ObjectLockConfiguration>`),
			"lifecycle": xml(`<LifecycleConfiguration><Rule><ID>a</ID><Status>Enabled</Status><Filter><And><Prefix>p</Prefix></And></Filter><Expiration><Days>7</Days></Expiration><NoncurrentVersionExpiration><NoncurrentDays>8</NoncurrentDays></NoncurrentVersionExpiration></Rule>` +
				`<Rule><ID>off</ID><Status>Disabled</Status><Prefix></Prefix><Expiration><Days>1</Days></Expiration></Rule></LifecycleConfiguration>`),
			"policyStatus": absent("NoSuchBucketPolicy"), "replication": absent("ReplicationConfigurationNotFoundError"),
			"encryption": xml(`<ServerSideEncryptionConfiguration><Rule><ApplyServerSideEncryptionByDefault><SSEAlgorithm>aws:kms</SSEAlgorithm><KMSMasterKeyID>alias/archive</KMSMasterKeyID></ApplyServerSideEncryptionByDefault></Rule></ServerSideEncryptionConfiguration>`),
		} {
			if c.req.URL.Query().Has(sub) {
				answer(rw, c)
				return
			}
		}
		t.Errorf("unexpected %s", c.req.URL)
	}
	for _, setting := range []string{"Policy", "LifecycleConfiguration"} { // the harness knows no others
		w.answer["s3:GetBucket"+setting] = bucket
	}
	w.answer["kms:DescribeKey"] = jsonReply(map[string]any{"KeyMetadata": map[string]any{"KeyId": "1", "KeyState": "Enabled", "Origin": "AWS_KMS", "KeyManager": "CUSTOMER"}})
	w.answer["events:DescribeRule"] = jsonReply(map[string]any{"Name": "r", "State": "ENABLED", "EventPattern": "{}"})
	w.answer["events:ListTargetsByRule"] = func(rw http.ResponseWriter, c *called) {
		if strings.Contains(string(c.body), "more") {
			jsonReply(map[string]any{"Targets": []any{map[string]any{"Id": "2", "Arn": "arn:2"}}})(rw, c)
			return
		}
		jsonReply(map[string]any{"NextToken": "more", "Targets": []any{map[string]any{"Id": "1", "Arn": "arn:1"}}})(rw, c)
	}
	w.answer[alarmsCalled] = cborReply(cbor.Map{"CompositeAlarms": cbor.List{cbor.Map{"AlarmName": cbor.String("a"), "ActionsEnabled": cbor.Bool(true), "AlarmActions": cbor.List{cbor.String("arn:1")}, "ActionsSuppressor": cbor.String("arn:quiet")}}})
	w.answer[mutesCalled] = cborReply(cbor.Map{"AlarmMuteRuleSummaries": cbor.List{
		cbor.Map{"AlarmMuteRuleArn": cbor.String("arn:mute"), "Status": cbor.String("SCHEDULED")}, cbor.Map{"AlarmMuteRuleArn": cbor.String("arn:past"), "Status": cbor.String("EXPIRED")},
	}})
	w.answer["guardduty:GET /detector"] = jsonReply(map[string]any{"detectorIds": []string{"d1"}})
	w.answer["guardduty:GET /detector/d1"] = jsonReply(map[string]any{"status": "ENABLED"})
	w.answer["guardduty:GET /detector/d1/filter"] = jsonReply(map[string]any{"filterNames": []string{"hide", "show"}})
	w.answer["guardduty:GET /detector/d1/filter/hide"] = jsonReply(map[string]any{"action": "ARCHIVE", "name": "hide", "findingCriteria": map[string]any{"criterion": map[string]any{"type": map[string]any{"eq": []string{"X"}, "matches": []string{"Y*"}}, "severity": map[string]any{"gte": 4}}}})
	w.answer["guardduty:GET /detector/d1/filter/show"] = jsonReply(map[string]any{"action": "NOOP", "name": "show"})
	return w
}

var (
	soundAt    = inventory.Place{Account: testAccount, Region: "us-east-1"}
	soundQuery = SourcesQuery{
		Accounts: []inventory.Account{{ID: testAccount}}, Regions: []string{"us-east-1"}, Bucket: "archive", At: soundAt,
		Alerts: inventory.AlertPath{Rules: []inventory.Rule{{Place: soundAt, Name: "r"}}, Alarms: []inventory.Alarm{{Place: soundAt, Name: "a"}}, Detectors: []inventory.Detector{{Place: soundAt}}},
	}
)

func TestWhatTheServicesSayIsInTheSnapshot(t *testing.T) {
	s, err := inspect(t, soundPlace(t)).Sources(t.Context(), soundQuery)
	if err != nil {
		t.Fatal(err)
	}
	if len(s.Unread) > 0 || len(s.Listed) != 1 || len(s.Trails) != 1 || len(s.Recordings) != 1 || len(s.Buckets) != 1 || len(s.Keys) != 2 || len(s.Rules) != 1 || len(s.Alarms) != 1 || len(s.Detectors) != 1 {
		t.Fatalf("%+v", s)
	}
	b := s.Buckets[0]
	for what, pair := range map[string][2]string{
		"status":    {fmt.Sprint(*s.Recordings[0].Status), "{2026-11-22 12:34:56 +0000 UTC true 0001-01-01 00:00:00 +0000 UTC 0001-01-01 00:00:00 +0000 UTC 2026-11-22 12:20:00 +0000 UTC 0001-01-01 00:00:00 +0000 UTC AccessDenied  }"},
		"selectors": {fmt.Sprint(s.Trails[0].Selectors.Advanced[0].Fields), "[{eventCategory [Management] [] []} {readOnly [true] [] [NotStartsWith]}]"},
		"lock":      {fmt.Sprint(*b.Lock), "{true COMPLIANCE 730}"},
		"lifecycle": {fmt.Sprint(*b.Lifecycle), "[{a p 7 8 0001-01-01 00:00:00 +0000 UTC}]"},
		"rest":      {fmt.Sprint(*b.Versioning, *b.Public, *b.Replication, *b.KeyARN), "Enabledfalse []alias/archive"},
		"rule":      {fmt.Sprint(s.Rules[0].State, s.Rules[0].Pattern, *s.Rules[0].Targets), "ENABLED{}[arn:1 arn:2]"},
		"alarm":     {fmt.Sprint(s.Alarms[0].ActionsEnabled, s.Alarms[0].Actions, *s.Alarms[0].Muted), "true [arn:1] [arn:quiet arn:mute]"},
		"detector":  {fmt.Sprint(s.Detectors[0].Enabled, *s.Detectors[0].Suppressing), "true [hide]"},
		"criteria":  {string(criteriaOf(s.Detectors[0])), `[{"Name":"hide","Criteria":{"severity":{"greater_or_equal":4},"type":{"equals":["X"],"matches":["Y*"]}}}]`},
	} {
		if strings.Join(strings.Fields(pair[0]), " ") != strings.Join(strings.Fields(pair[1]), " ") {
			t.Errorf("%s: got %q, want %q", what, pair[0], pair[1])
		}
	}
}

func criteriaOf(d inventory.DetectorState) []byte {
	b, _ := json.Marshal(d.Suppressions)
	return b
}

func TestTheMetricsThatAnAlarmWatches(t *testing.T) {
	metric := func(name string) *watchtypes.MetricStat {
		return &watchtypes.MetricStat{Metric: &watchtypes.Metric{Namespace: aws.String("Security"), MetricName: aws.String(name)}}
	}
	for what, tc := range map[string]struct {
		alarm watchtypes.MetricAlarm
		want  string // metrics, condition, threshold; nil: not known
	}{
		"one metric":      {watchtypes.MetricAlarm{Namespace: aws.String("Security"), MetricName: aws.String("Root"), Statistic: watchtypes.StatisticSum, ComparisonOperator: watchtypes.ComparisonOperatorGreaterThanThreshold, Threshold: aws.Float64(2)}, "[Security/Root] Sum GreaterThanThreshold 2"},
		"a percentile":    {watchtypes.MetricAlarm{Namespace: aws.String("Security"), MetricName: aws.String("Root"), ExtendedStatistic: aws.String("p90"), ComparisonOperator: watchtypes.ComparisonOperatorGreaterThanThreshold}, "[Security/Root] p90 GreaterThanThreshold 0"},
		"metric math":     {watchtypes.MetricAlarm{Metrics: []watchtypes.MetricDataQuery{{MetricStat: metric("A")}, {MetricStat: metric("B")}, {Expression: aws.String("m1 + m2")}}}, "[Security/A Security/B]  0"},
		"a metrics query": {watchtypes.MetricAlarm{Metrics: []watchtypes.MetricDataQuery{{Expression: aws.String(`SELECT SUM(Root) FROM "Security"`)}}}, "nil"},
		"a search":        {watchtypes.MetricAlarm{Metrics: []watchtypes.MetricDataQuery{{MetricStat: metric("A")}, {Expression: aws.String("SEARCH('Root', 'Sum')")}}}, "nil"},
	} {
		metrics, condition, threshold := watched(tc.alarm)
		got := "nil"
		if metrics != nil {
			got = fmt.Sprint(*metrics, " ", condition, " ", threshold)
		}
		if got != tc.want {
			t.Errorf("%s: got %q, want %q", what, got, tc.want)
		}
	}
}

// A reply that says nothing, or never ends, is no answer: neither good nor bad.
func TestAReplyThatSaysNothingIsNoAnswer(t *testing.T) {
	endless := jsonReply(map[string]any{"NextToken": "more"})
	empty := jsonReply(map[string]any{})
	for _, tc := range []struct {
		claim, call string
		answer      func(http.ResponseWriter, *called)
		want        string
	}{
		{"a trail without a name", "cloudtrail:DescribeTrails", jsonReply(map[string]any{"trailList": []any{map[string]any{"Name": "x"}}}), "cloudtrail:DescribeTrails in account 111122223333, us-east-1: the reply names a trail without its ARN"},
		{"a status that says nothing", "cloudtrail:GetTrailStatus", empty, "cloudtrail:GetTrailStatus of " + orgTrail},
		{"a key that says nothing", "kms:DescribeKey", empty, "kms:DescribeKey of "},
		{"a rule without a state", "events:DescribeRule", jsonReply(map[string]any{"Name": "r"}), "events:DescribeRule of r"},
		{"targets without an end", "events:ListTargetsByRule", endless, "events:ListTargetsByRule of r in account 111122223333, us-east-1: the listing does not end"},
		{"an alarm that does not say whether it acts", alarmsCalled, cborReply(cbor.Map{"MetricAlarms": cbor.List{cbor.Map{"AlarmName": cbor.String("a")}}}), "cloudwatch:DescribeAlarms of a"},
		{"a reply that is no CBOR", alarmsCalled, func(rw http.ResponseWriter, _ *called) { _, _ = rw.Write([]byte{0xbf, 0x61}) }, "cloudwatch:DescribeAlarms of a"},
		{"a detector without a status", "guardduty:GET /detector/d1", empty, "guardduty:GetDetector of d1"},
		{"a message as long as a book", "guardduty:GET /detector", func(rw http.ResponseWriter, _ *called) {
			rw.WriteHeader(400)
			fmt.Fprintf(rw, `{"__type":"BadRequestException","message":%q}`, strings.Repeat("x", 1<<20))
		}, "guardduty:ListDetectors in account"},
		{"a page that is no XML", "s3:GetBucketPolicy", func(rw http.ResponseWriter, _ *called) { _, _ = io.WriteString(rw, "<Versioning") }, "s3:GetBucketVersioning of archive"},
	} {
		t.Run(tc.claim, func(t *testing.T) {
			w := soundPlace(t)
			w.answer[tc.call] = tc.answer
			i := inspect(t, w)
			i.o.Base.RetryMaxAttempts = 1
			s, err := i.Sources(t.Context(), soundQuery)
			if err != nil {
				t.Fatal(err)
			}
			found := false
			for _, u := range s.Unread {
				found = found || strings.Contains(u.Why, tc.want)
				if len(u.Why) > maxWhy {
					t.Errorf("%d bytes are told", len(u.Why))
				}
			}
			if !found {
				t.Errorf("%q is not among %+v", tc.want, s.Unread)
			}
			bad := inventory.Take(inventory.Input{Snapshot: inventory.Snapshot{Keys: s.Keys, Rules: s.Rules, Alarms: s.Alarms, Detectors: s.Detectors, Unread: s.Unread}, Alerts: inventory.AlertPath{
				Rules: soundQuery.Alerts.Rules, Alarms: []inventory.Alarm{{Place: soundAt, Name: "a", Muted: []string{"arn:quiet", "arn:mute"}}}, Detectors: []inventory.Detector{{Place: soundAt, Suppressions: []string{"hide"}}},
			}})
			for _, f := range bad.Findings {
				if f.Status == "fail" {
					t.Errorf("taken for a failure: %+v", f)
				}
			}
		})
	}
}

// Who stops it is obeyed.
func TestAnInventoryEndsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	w := soundPlace(t)
	w.answer["cloudtrail:DescribeTrails"] = func(http.ResponseWriter, *called) { cancel() }
	if _, err := inspect(t, w).Sources(ctx, soundQuery); err == nil {
		t.Error("no error")
	}
}
