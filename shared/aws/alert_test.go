package aws

import (
	"fmt"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	watchtypes "github.com/aws/aws-sdk-go-v2/service/cloudwatch/types"
	guardtypes "github.com/aws/aws-sdk-go-v2/service/guardduty/types"
	hubtypes "github.com/aws/aws-sdk-go-v2/service/securityhub/types"
	"github.com/aws/smithy-go/encoding/cbor"

	"github.com/auditcanary/auditcanary/shared/run"
)

// How the drivers take the replies of services that lie, are cut, or are slow; what
// they make of good ones is shown at the sandbox.

var alertsSince = time.Date(2026, 11, 22, 10, 0, 0, 0, time.UTC)

func alertAt(w *wire) AlertPlace {
	return AlertPlace{Alert: "tampering", Account: testAccount, Config: w.config(), Clock: func() time.Time { return alertsSince.Add(time.Hour) }}
}

const (
	detectorPath  = "guardduty:GET /detector/" + testDetector
	findingsPath  = "guardduty:POST /detector/" + testDetector + "/findings"
	hubFindings   = "securityhub:POST /findings"
	cloudwatchOps = "monitoring:POST /service/GraniteServiceVersion20100801/operation/"
)

func duty(t *testing.T, w *wire) run.AlertSource {
	t.Helper()
	g, err := NewGuardDutyAlerts(alertAt(w), GuardDutyOptions{Detector: testDetector, Types: []string{"T"}})
	if err != nil {
		t.Fatal(err)
	}
	w.answer[detectorPath] = jsonReply(map[string]any{"status": "ENABLED"})
	return g
}

type dict = map[string]any

func oneFinding(change dict) dict {
	f := dict{"id": "f1", "type": "T", "updatedAt": "2026-11-22T10:05:00.000Z", "service": dict{"count": 3, "archived": false, "eventFirstSeen": "2026-11-22T10:00:01Z"},
		"resource": dict{"accessKeyDetails": dict{"principalId": "AROA:auditcanary-c1"}}, "somethingNew": dict{"x": 1}}
	for name, v := range change {
		f[name] = v
	}
	return f
}

func TestFindingsThatCannotBeReadAreNotPassedOver(t *testing.T) {
	for name, tt := range map[string]struct {
		listed, got []any
		alerts      int
		complete    bool
		says        string
	}{
		"as it should be":         {[]any{"f1"}, []any{oneFinding(nil)}, 1, true, ""},
		"nothing":                 {nil, nil, 0, true, ""},
		"without a time":          {[]any{"f1"}, []any{oneFinding(dict{"updatedAt": nil})}, 0, false, `finding f1: updatedAt: "" is no time`},
		"a time that is none":     {[]any{"f1"}, []any{oneFinding(dict{"updatedAt": "yesterday"})}, 0, false, `"yesterday" is no time`},
		"a negative count":        {[]any{"f1"}, []any{oneFinding(dict{"service": dict{"count": -5}})}, 1, true, "its count is -5"},
		"no service":              {[]any{"f1"}, []any{oneFinding(dict{"service": nil})}, 1, true, "nor whether it is archived"},
		"listed and not returned": {[]any{"f1", "f2"}, []any{oneFinding(nil)}, 1, false, "finding f2 was listed, and is not in the reply"},
		"not asked for":           {[]any{"f1"}, []any{oneFinding(nil), oneFinding(dict{"id": "f9"})}, 1, false, `finding "f9", which was not asked for`},
		"twice":                   {[]any{"f1"}, []any{oneFinding(nil), oneFinding(nil)}, 1, false, "not asked for"},
		"of another type":         {[]any{"f1"}, []any{oneFinding(dict{"type": "Other"})}, 0, false, `of type "Other"`},
		"an id without end":       {[]any{strings.Repeat("x", 5000)}, nil, 0, false, "names a finding"},
		"huge":                    {[]any{"f1"}, []any{oneFinding(dict{"description": strings.Repeat("auditcanary-x-", 1<<16)})}, 1, true, ""},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWire(t)
			g := duty(t, w)
			w.answer[findingsPath] = jsonReply(dict{"findingIds": tt.listed})
			w.answer[findingsPath+"/get"] = jsonReply(dict{"findings": tt.got})
			got, err := g.Listen(t.Context(), alertsSince)
			if err != nil || len(got.Alerts) != tt.alerts || got.AsOf.IsZero() == tt.complete || (tt.says == "") != (len(got.Problems) == 0) || !strings.Contains(strings.Join(got.Problems, "\n"), tt.says) {
				t.Fatalf("%v, as of %s, problems %q, %d alerts", err, got.AsOf, got.Problems, len(got.Alerts))
			}
			for _, r := range got.Alerts {
				if len(r.Payload) > 16<<10 || r.Count < 0 || r.Weak == "" || len(r.Sessions) != 1 || r.Sessions[0] != "auditcanary-c1" {
					t.Errorf("%+v", r)
				}
			}
			if len(tt.listed) > 0 {
				body := string(w.of(findingsPath)[0].body)
				if !strings.Contains(body, `"updatedAt":{"greaterThanOrEqual":1795341600000}`) || !strings.Contains(body, `"type":{"equals":["T"]}`) || strings.Contains(body, "archived") {
					t.Errorf("asked %s", body)
				}
			}
		})
	}
}

// A finding that names its caller is of that caller, and one of anybody else is foreign.
func TestAFindingOfAnotherCallerIsForeign(t *testing.T) {
	for principal, want := range map[string]string{
		"AROA:auditcanary-c1": "[auditcanary-c1] false", "AROA:mallory": "[] true", "AROA:": "[] true", "AIDAEXAMPLE": "[] true", "111122223333": "[] true",
		"": "[] false", "AROAEXAMPLE": "[] false",
	} {
		f := guardtypes.Finding{Id: aws.String("f"), UpdatedAt: aws.String("2026-11-22T10:05:00Z"), Resource: &guardtypes.Resource{
			AccessKeyDetails: &guardtypes.AccessKeyDetails{PrincipalId: &principal, UserName: aws.String("auditcanary-injector")}}}
		if r, ok := (&GuardDutyAlerts{}).rang(f, new(heard)); !ok || fmt.Sprint(r.Sessions, r.Foreign) != want {
			t.Errorf("GuardDuty of %q: %v, %v, want %s", principal, r.Sessions, r.Foreign, want)
		}
		hub := hubtypes.AwsSecurityFinding{Id: aws.String("f"), UpdatedAt: aws.String("2026-11-22T10:05:00Z"), Resources: []hubtypes.Resource{{
			Details: &hubtypes.ResourceDetails{AwsIamAccessKey: &hubtypes.AwsIamAccessKeyDetails{PrincipalId: &principal}}}, {}}}
		if r, ok := (&SecurityHubAlerts{}).rang(hub, new(heard)); !ok || fmt.Sprint(r.Sessions, r.Foreign) != want {
			t.Errorf("Security Hub of %q: %v, %v, want %s", principal, r.Sessions, r.Foreign, want)
		}
	}
}

func TestPlacesThatCannotBeAskedAreErrors(t *testing.T) {
	denied := restError(403, "AccessDeniedException", "no")
	for name, tt := range map[string]struct {
		answer map[string]func(http.ResponseWriter, *called)
		says   string
	}{
		"a detector that does not say": {answers{detectorPath: jsonReply(dict{})}, "does not say what was asked for"},
		"a detector denied":            {answers{detectorPath: denied}, "guardduty:GetDetector of " + testDetector + " in account 111122223333, us-east-1"},
		"a list denied":                {answers{findingsPath: denied}, "may not read this: allow them guardduty:ListFindings"},
		"a list that is none":          {answers{findingsPath: text("<html>")}, "guardduty:ListFindings"},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWire(t)
			g := duty(t, w)
			for call, f := range tt.answer {
				w.answer[call] = f
			}
			if got, err := g.Listen(t.Context(), alertsSince); err == nil || !strings.Contains(err.Error(), tt.says) || !got.AsOf.IsZero() {
				t.Errorf("%+v, %v", got, err)
			}
		})
	}
}

func TestALookThatDoesNotEndIsNotComplete(t *testing.T) {
	w := newWire(t)
	g, n := duty(t, w), 0
	w.answer[findingsPath] = func(rw http.ResponseWriter, c *called) {
		n++
		jsonReply(dict{"findingIds": []any{fmt.Sprint("f", n)}, "nextToken": "more"})(rw, c)
	}
	w.answer[findingsPath+"/get"] = jsonReply(dict{"findings": []any{}})
	got, err := g.Listen(t.Context(), alertsSince)
	if err != nil || !got.AsOf.IsZero() || !strings.Contains(strings.Join(got.Problems, "\n"), "does not end") || len(got.Problems) > 50 {
		t.Errorf("%v, %+v", err, got)
	}
}

func TestWhatIsThrottledIsAskedAgain(t *testing.T) {
	w := newWire(t)
	g := duty(t, w)
	var n atomic.Int32
	w.answer[findingsPath] = func(rw http.ResponseWriter, c *called) {
		if n.Add(1) == 1 {
			restError(429, "TooManyRequestsException", "slow down")(rw, c)
			return
		}
		jsonReply(dict{"findingIds": []any{}})(rw, c)
	}
	if got, err := g.Listen(t.Context(), alertsSince); err != nil || got.AsOf.IsZero() || n.Load() != 2 {
		t.Errorf("%v, %+v, asked %d times", err, got, n.Load())
	}
}

// A filter is named only if it is sure to be the one.
func TestWhichFilterArchives(t *testing.T) {
	one := func(path string, c guardtypes.Condition) map[string]guardtypes.Condition {
		return map[string]guardtypes.Condition{path: c}
	}
	f := guardtypes.Finding{Type: aws.String("T"), Severity: aws.Float64(2), UpdatedAt: aws.String("2026-11-22T10:00:00Z"), Resource: &guardtypes.Resource{
		AccessKeyDetails: &guardtypes.AccessKeyDetails{UserName: aws.String("auditcanary-injector")}, S3BucketDetails: []guardtypes.S3BucketDetail{{Name: aws.String("b")}},
	}, Service: &guardtypes.Service{Archived: aws.Bool(true), Count: aws.Int32(2)}}
	const gone = "archived, by no filter that there is now"
	for _, tt := range []struct {
		criteria map[string]guardtypes.Condition
		want     string
	}{
		{nil, "archived by filter x"},
		{one("type", guardtypes.Condition{Equals: []string{"S", "T"}}), "archived by filter x"},
		{one("type", guardtypes.Condition{NotEquals: []string{"T"}}), gone},
		{one("type", guardtypes.Condition{Equals: []string{"S"}}), gone},
		{one("resource.accessKeyDetails.userName", guardtypes.Condition{Equals: []string{"auditcanary-injector"}}), "archived by filter x"},
		{one("resource.instanceDetails.imageId", guardtypes.Condition{Equals: []string{"ami"}}), gone},
		{one("resource.instanceDetails.imageId", guardtypes.Condition{NotEquals: []string{"ami"}}), "archived by filter x"},
		{one("severity", guardtypes.Condition{Equals: []string{"2"}}), "archived by filter x"},
		{one("severity", guardtypes.Condition{GreaterThan: aws.Int64(2)}), gone},
		{one("severity", guardtypes.Condition{GreaterThanOrEqual: aws.Int64(2), LessThan: aws.Int64(3)}), "archived by filter x"},
		{one("updatedAt", guardtypes.Condition{LessThanOrEqual: aws.Int64(1795341600000)}), "archived by filter x"},
		{one("type", guardtypes.Condition{LessThan: aws.Int64(2)}), gone},
		{one("type", guardtypes.Condition{Matches: []string{"T*"}}), "archived, perhaps by filter x"},
		{one("resource.s3BucketDetails.name", guardtypes.Condition{Equals: []string{"c"}}), "archived, perhaps by filter x"},
		{one("", guardtypes.Condition{Equals: []string{"c"}}), "archived, perhaps by filter x"},
		{map[string]guardtypes.Condition{"type": {Equals: []string{"S"}}, "id": {Matches: []string{"*"}}}, gone},
	} {
		if got := archivedBy(f, []guardFilter{{"x", tt.criteria}}); !strings.HasPrefix(got, tt.want) {
			t.Errorf("%v: %s, want %s", tt.criteria, got, tt.want)
		}
	}
}

func hubAlerts(t *testing.T, w *wire) run.AlertSource {
	t.Helper()
	h, err := NewSecurityHubAlerts(alertAt(w), SecurityHubOptions{Product: "GuardDuty", Types: []string{"TTPs/"}})
	if err != nil {
		t.Fatal(err)
	}
	return h
}

func TestHubFindingsThatCannotBeReadAreNotPassedOver(t *testing.T) {
	asff := func(change dict) dict {
		f := dict{"Id": "a", "UpdatedAt": "2026-11-22T10:05:00.000Z", "Types": []any{"TTPs/x"}, "GeneratorId": "g", "RecordState": "ACTIVE", "Workflow": dict{"Status": "NEW"}}
		for name, v := range change {
			f[name] = v
		}
		return f
	}
	for name, tt := range map[string]struct {
		got      dict
		alerts   int
		complete bool
		says     string
		weak     bool
		count    int
	}{
		"as it should be":  {asff(nil), 1, true, "", true, 0},
		"no id":            {asff(dict{"Id": nil, "Title": "t"}), 0, false, `a finding ("t") has no id`, false, 0},
		"no time":          {asff(dict{"UpdatedAt": nil}), 0, false, "finding a: UpdatedAt", false, 0},
		"a negative count": {asff(dict{"ProductFields": dict{"aws/guardduty/service/count": "-1"}}), 1, true, `its count is "-1"`, true, 0},
		"an endless count": {asff(dict{"ProductFields": dict{"aws/guardduty/service/count": strings.Repeat("9", 99)}}), 1, true, "its count is", true, 0},
		"a count":          {asff(dict{"ProductFields": dict{"aws/guardduty/service/count": "7"}}), 1, true, "", true, 7},
		"an event's id":    {asff(dict{"ProductFields": dict{"siem/eventID": "e-1"}}), 1, true, "", false, 0},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWire(t)
			w.answer[hubFindings] = jsonReply(dict{"Findings": []any{tt.got}})
			got, err := hubAlerts(t, w).Listen(t.Context(), alertsSince)
			if err != nil || len(got.Alerts) != tt.alerts || got.AsOf.IsZero() == tt.complete || (tt.says == "") != (len(got.Problems) == 0) || !strings.Contains(strings.Join(got.Problems, "\n"), tt.says) {
				t.Fatalf("%v, as of %s, problems %q, %d alerts", err, got.AsOf, got.Problems, len(got.Alerts))
			}
			for _, r := range got.Alerts {
				if (r.Weak != "") != tt.weak || r.Count != tt.count {
					t.Errorf("%+v", r)
				}
			}
			body := string(w.of(hubFindings)[0].body)
			if !strings.Contains(body, `"UpdatedAt":[{"End":"2026-11-23T11:00:00Z","Start":"2026-11-22T10:00:00Z"}]`) || !strings.Contains(body, `"ProductName":[{"Comparison":"EQUALS","Value":"GuardDuty"}]`) || strings.Contains(body, "RecordState") {
				t.Errorf("asked %s", body)
			}
		})
	}
	w := newWire(t)
	w.answer[hubFindings] = jsonReply(dict{"Findings": []any{asff(nil)}, "NextToken": "more"})
	if got, err := hubAlerts(t, w).Listen(t.Context(), alertsSince); err != nil || !got.AsOf.IsZero() || len(got.Alerts) != 1 {
		t.Errorf("endless: %v, %+v", err, got)
	}
	w.answer[hubFindings] = func(rw http.ResponseWriter, c *called) {
		rw.Header()["Date"] = nil
		jsonReply(dict{"Findings": []any{asff(nil)}})(rw, c)
	}
	if got, err := hubAlerts(t, w).Listen(t.Context(), alertsSince); err != nil || !got.AsOf.IsZero() || !strings.Contains(strings.Join(got.Problems, ""), "has no Date") {
		t.Errorf("no date: %v, %+v", err, got)
	}
}

// watchReply answers as CloudWatch does.
func watchReply(v cbor.Map) func(http.ResponseWriter, *called) {
	return func(rw http.ResponseWriter, _ *called) {
		rw.Header().Set("Content-Type", "application/cbor")
		rw.Header().Set("Smithy-Protocol", "rpc-v2-cbor")
		_, _ = rw.Write(cbor.Encode(v))
	}
}

func epoch(t time.Time) cbor.Value {
	return &cbor.Tag{ID: 1, Value: cbor.Float64(float64(t.UnixMilli()) / 1000)}
}

func historyItem(at time.Time, kind, summary, data string) cbor.Value {
	return cbor.Map{"AlarmName": cbor.String("a"), "HistoryItemType": cbor.String(kind), "HistorySummary": cbor.String(summary), "HistoryData": cbor.String(data), "Timestamp": epoch(at)}
}

func watch(t *testing.T, history cbor.List, values cbor.List) (*wire, run.AlertSource) {
	t.Helper()
	w := newWire(t)
	a, err := NewAlarmAlerts(alertAt(w), "a")
	if err != nil {
		t.Fatal(err)
	}
	w.answer[cloudwatchOps+"DescribeAlarms"] = watchReply(cbor.Map{"MetricAlarms": cbor.List{cbor.Map{
		"AlarmName": cbor.String("a"), "AlarmArn": cbor.String("arn:a"), "ActionsEnabled": cbor.Bool(true), "AlarmActions": cbor.List{cbor.String("arn:topic")}, "MetricName": cbor.String("m"),
		"Namespace": cbor.String("n"), "Period": cbor.Uint(300), "EvaluationPeriods": cbor.Uint(1), "StateValue": cbor.String("OK"),
	}}})
	w.answer[cloudwatchOps+"DescribeAlarmHistory"] = watchReply(cbor.Map{"AlarmHistoryItems": history})
	w.answer[cloudwatchOps+"ListAlarmMuteRules"] = watchReply(cbor.Map{})
	times := cbor.List{}
	for i := range values {
		times = append(times, epoch(alertsSince.Add(time.Duration(i)*time.Minute)))
	}
	w.answer[cloudwatchOps+"GetMetricData"] = watchReply(cbor.Map{"MetricDataResults": cbor.List{cbor.Map{"Id": cbor.String("counted"), "Timestamps": times, "Values": values}}})
	return w, a
}

// serviceDate is what the wire's clock shows.
func wireTime(t *testing.T) time.Time {
	t.Helper()
	now, err := http.ParseTime(serviceDate)
	if err != nil {
		t.Fatal(err)
	}
	return now
}

func TestAnAlarmsHistoryIsReadAsFarAsItGoes(t *testing.T) {
	now := wireTime(t)
	alertsSince := now.Add(-time.Hour)
	rang := alertsSince.Add(3 * time.Minute)
	up := historyItem(rang, "StateUpdate", "Alarm updated from OK to ALARM", `{"oldState":{"stateValue":"OK"},"newState":{"stateValue":"ALARM"}}`)
	down := historyItem(rang.Add(5*time.Minute), "StateUpdate", "Alarm updated from ALARM to OK", `{"oldState":{"stateValue":"ALARM"},"newState":{"stateValue":"OK"}}`)
	acted := func(at time.Time, state string) cbor.Value {
		return historyItem(at, "Action", state+" action arn:topic", fmt.Sprintf(`{"actionState":%q,"stateUpdateTimestamp":%d}`, state, at.UnixMilli()))
	}
	for name, tt := range map[string]struct {
		history    cbor.List
		alerts     int
		complete   bool
		says       string
		suppressed string
	}{
		"rang":                    {cbor.List{up, acted(rang, "Succeeded"), down}, 1, true, "", ""},
		"in any order":            {cbor.List{down, acted(rang, "Succeeded"), up}, 1, true, "", ""},
		"still rings":             {cbor.List{up, acted(rang, "Succeeded")}, 1, true, "", ""},
		"only the summary":        {cbor.List{historyItem(rang, "StateUpdate", "Alarm updated from OK to ALARM", "{"), historyItem(rang, "Action", "Successfully executed action arn:topic", "")}, 1, true, "", ""},
		"no action":               {cbor.List{up, down}, 1, true, "", "nobody was told"},
		"a failed one":            {cbor.List{up, acted(rang, "Failed"), down}, 1, true, "", "its action failed: Failed action arn:topic"},
		"an action for leaving":   {cbor.List{up, down, acted(rang.Add(5*time.Minute), "Succeeded")}, 1, true, "", "nobody was told"},
		"neither state":           {cbor.List{historyItem(rang, "StateUpdate", "?", "[]")}, 0, false, `cannot be read: "?"`, ""},
		"without a time":          {cbor.List{cbor.Map{"AlarmName": cbor.String("a"), "HistorySummary": cbor.String("s")}}, 0, false, "has no time", ""},
		"of another alarm":        {cbor.List{cbor.Map{"AlarmName": cbor.String("b"), "Timestamp": epoch(rang)}}, 0, false, `an item of alarm "b"`, ""},
		"told again":              {cbor.List{up, historyItem(rang.Add(time.Minute), "StateUpdate", "", `{"oldState":{"stateValue":"ALARM"},"newState":{"stateValue":"ALARM"}}`), acted(rang, "Succeeded")}, 1, true, "", ""},
		"over before":             {cbor.List{historyItem(alertsSince.Add(-time.Hour), "StateUpdate", "Alarm updated from OK to ALARM", ""), historyItem(alertsSince.Add(-time.Minute), "StateUpdate", "Alarm updated from ALARM to OK", "")}, 0, true, "", ""},
		"an action without state": {cbor.List{acted(rang, "Succeeded")}, 0, true, "", ""},
	} {
		t.Run(name, func(t *testing.T) {
			_, a := watch(t, tt.history, cbor.List{})
			got, err := a.Listen(t.Context(), alertsSince)
			if err != nil || len(got.Alerts) != tt.alerts || got.AsOf.IsZero() == tt.complete || (tt.says == "") != (len(got.Problems) == 0) || !strings.Contains(strings.Join(got.Problems, "\n"), tt.says) {
				t.Fatalf("%v, as of %s, problems %q, %d alerts", err, got.AsOf, got.Problems, len(got.Alerts))
			}
			for _, r := range got.Alerts {
				if (r.Suppressed == "") != (tt.suppressed == "") || !strings.Contains(r.Suppressed, tt.suppressed) || !r.At.Equal(rang) {
					t.Errorf("%+v", r)
				}
			}
		})
	}
	// What has just rung and shows no action yet is for the next look.
	_, a := watch(t, cbor.List{historyItem(now.Add(-time.Minute), "StateUpdate", "Alarm updated from OK to ALARM", "")}, cbor.List{})
	if got, err := a.Listen(t.Context(), alertsSince); err != nil || len(got.Alerts) != 0 || !got.AsOf.Before(now.Add(-time.Minute)) || got.AsOf.IsZero() {
		t.Errorf("%v, %+v", err, got)
	}
	// So is what has just rung and of which one action failed: another may succeed yet.
	rang = now.Add(-time.Minute)
	up = historyItem(rang, "StateUpdate", "Alarm updated from OK to ALARM", "")
	_, a = watch(t, cbor.List{up, acted(rang, "Failed")}, cbor.List{})
	if got, err := a.Listen(t.Context(), alertsSince); err != nil || len(got.Alerts) != 0 || !got.AsOf.Before(rang) || got.AsOf.IsZero() {
		t.Errorf("%v, %+v", err, got)
	}
	_, a = watch(t, cbor.List{up, acted(rang, "Failed"), acted(rang, "Succeeded")}, cbor.List{})
	if got, err := a.Listen(t.Context(), alertsSince); err != nil || len(got.Alerts) != 1 || got.Alerts[0].Suppressed != "" {
		t.Errorf("%v, %+v", err, got)
	}
	// What was before the history is not known.
	_, a = watch(t, cbor.List{}, cbor.List{})
	if got, err := a.Listen(t.Context(), now.Add(-40*24*time.Hour)); err != nil || !got.AsOf.IsZero() || !strings.Contains(strings.Join(got.Problems, ""), "kept for 30 days") {
		t.Errorf("%v, %+v", err, got)
	}
}

// Without the metric's sum the alarm has rung all the same.
func TestAMetricThatCannotBeReadLeavesTheCountUnknown(t *testing.T) {
	now := wireTime(t)
	rang := now.Add(-30 * time.Minute)
	history := cbor.List{historyItem(rang, "StateUpdate", "Alarm updated from OK to ALARM", ""), historyItem(rang, "Action", "Successfully executed action arn:topic", "")}
	for name, answer := range map[string]func(http.ResponseWriter, *called){
		"a negative sum": watchReply(cbor.Map{"MetricDataResults": cbor.List{cbor.Map{"Timestamps": cbor.List{epoch(rang)}, "Values": cbor.List{cbor.Float64(-1)}}}}),
		"a huge one":     watchReply(cbor.Map{"MetricDataResults": cbor.List{cbor.Map{"Timestamps": cbor.List{epoch(rang)}, "Values": cbor.List{cbor.Float64(1e300)}}}}),
		"no times":       watchReply(cbor.Map{"MetricDataResults": cbor.List{cbor.Map{"Values": cbor.List{cbor.Float64(1)}}}}),
		"denied": func(rw http.ResponseWriter, _ *called) {
			rw.Header().Set("Smithy-Protocol", "rpc-v2-cbor")
			rw.WriteHeader(403)
			_, _ = rw.Write(cbor.Encode(cbor.Map{"__type": cbor.String("AccessDeniedException"), "message": cbor.String("no")}))
		},
		"endless": watchReply(cbor.Map{"NextToken": cbor.String("more")}),
	} {
		t.Run(name, func(t *testing.T) {
			w, a := watch(t, history, nil)
			w.answer[cloudwatchOps+"GetMetricData"] = answer
			got, err := a.Listen(t.Context(), now.Add(-time.Hour))
			if err != nil || len(got.Alerts) != 1 || got.Alerts[0].Count != 0 || got.Alerts[0].Suppressed != "" || got.AsOf.IsZero() || len(got.Problems) != 1 || !strings.Contains(got.Problems[0], "how much alarm a counted is not known: cloudwatch:GetMetricData of n/m") {
				t.Errorf("%v, %+v", err, got)
			}
		})
	}
}

func TestPlacesOfAlertsAreChecked(t *testing.T) {
	good := alertAt(newWire(t))
	for name, tt := range map[string]struct {
		make func() error
		says string
	}{
		"no name":    {func() error { p := good; p.Alert = ""; _, err := NewAlarmAlerts(p, "a"); return err }, "has no name"},
		"no account": {func() error { p := good; p.Account = "1"; _, err := NewAlarmAlerts(p, "a"); return err }, `account "1"`},
		"no region":  {func() error { p := good; p.Config.Region = "x"; _, err := NewAlarmAlerts(p, "a"); return err }, `"x" is no region`},
		"no clock":   {func() error { p := good; p.Clock = nil; _, err := NewAlarmAlerts(p, "a"); return err }, "no clock"},
		"no alarm":   {func() error { _, err := NewAlarmAlerts(good, ""); return err }, "not the name of an alarm"},
		"an ARN":     {func() error { _, err := NewAlarmAlerts(good, "arn:x"); return err }, "not the name of an alarm"},
		"a detector": {func() error { _, err := NewGuardDutyAlerts(good, GuardDutyOptions{Detector: "../x"}); return err }, "not the id of a detector"},
		"a type":     {func() error { _, err := NewGuardDutyAlerts(good, GuardDutyOptions{Types: []string{""}}); return err }, "must have a name"},
		"any":        {func() error { _, err := NewSecurityHubAlerts(good, SecurityHubOptions{}); return err }, "any finding would be taken for it"},
		"generator": {func() error {
			_, err := NewSecurityHubAlerts(good, SecurityHubOptions{Generators: []string{""}})
			return err
		}, "must have a name"},
	} {
		if err := tt.make(); err == nil || !strings.Contains(err.Error(), tt.says) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// Whatever a finding holds, reading it does not fall over, and no count is negative.
func FuzzHubFinding(f *testing.F) {
	f.Add("id", "2026-11-22T10:05:00Z", "AROA:auditcanary-c1", "7", "ARCHIVED")
	f.Add("", "x", ":", "-1", "")
	f.Fuzz(func(t *testing.T, id, at, principal, count, state string) {
		var l heard
		h := &SecurityHubAlerts{place: AlertPlace{Alert: "a"}}
		r, ok := h.rang(hubtypes.AwsSecurityFinding{
			Id: &id, UpdatedAt: &at, RecordState: hubtypes.RecordState(state), ProductFields: map[string]string{"aws/guardduty/service/count": count},
			Resources: []hubtypes.Resource{{Details: &hubtypes.ResourceDetails{AwsIamAccessKey: &hubtypes.AwsIamAccessKeyDetails{PrincipalId: &principal}}}},
		}, &l)
		if ok == l.cut || ok && (r.Count < 0 || r.ID == "" || r.At.IsZero() && !strings.HasPrefix(at, "0001")) {
			t.Errorf("%v %+v %+v", ok, r, l)
		}
	})
}

// Whatever an alarm's history says, it is read into stays that begin before they end.
func FuzzAlarmHistory(f *testing.F) {
	f.Add("Alarm updated from OK to ALARM", `{"oldState":{"stateValue":"OK"},"newState":{"stateValue":"ALARM"}}`, "Successfully executed action x", `{"actionState":"Succeeded","stateUpdateTimestamp":1}`)
	f.Add("Alarm updated from  to ", `{`, "", `{"stateUpdateTimestamp":-9223372036854775808}`)
	f.Fuzz(func(t *testing.T, summary, data, acted, actedData string) {
		var l heard
		at := alertsSince
		items := fuzzItems(at, summary, data, acted, actedData)
		for _, e := range (&AlarmAlerts{name: "a"}).episodes(items, &l) {
			if e.from.IsZero() || !e.to.IsZero() && e.to.Before(e.from) {
				t.Errorf("%+v", e)
			}
		}
	})
}

func fuzzItems(at time.Time, summary, data, acted, actedData string) (items []watchtypes.AlarmHistoryItem) {
	for i, kind := range []watchtypes.HistoryItemType{"StateUpdate", "Action", "StateUpdate"} {
		s, d := summary, data
		if kind == "Action" {
			s, d = acted, actedData
		}
		items = append(items, watchtypes.AlarmHistoryItem{HistoryItemType: kind, HistorySummary: &s, HistoryData: &d, Timestamp: aws.Time(at.Add(time.Duration(i) * time.Minute))})
	}
	return items
}
