package cloud_test

import (
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awsmiddleware "github.com/aws/aws-sdk-go-v2/aws/middleware"
	"github.com/aws/aws-sdk-go-v2/service/cloudtrail"
	cttypes "github.com/aws/aws-sdk-go-v2/service/cloudtrail/types"
	"github.com/aws/aws-sdk-go-v2/service/kms"

	"github.com/auditcanary/auditcanary/tests/sandbox/cloud"
)

// disable disables the key fixture once, under faults.
func disable(t *testing.T, faults string) (*box, *kms.Client, error) {
	t.Helper()
	b := start(t, withFaults(t, faults))
	c := kms.NewFromConfig(b.injector(target, west, ""))
	id := cloud.Fixtures(target, west)["kms_key"]
	_, err := c.DisableKey(t.Context(), &kms.DisableKeyInput{KeyId: &id})
	return b, c, err
}

func TestAnErrorBeforeTheEffectIsRecordedAndDoesNothing(t *testing.T) {
	b, _, err := disable(t, `
faults:
  - name: throttled
    at: call
    match: it.operation == "DisableKey" && it.n == 2
    do: {error: {code: ThrottlingException, message: Rate exceeded, status: 400, when: before}}
`)
	wantCode(t, err, "ThrottlingException")
	if rec := b.last("DisableKey"); rec["errorCode"] != "ThrottlingException" || rec["errorMessage"] != "Rate exceeded" {
		t.Errorf("record %s", pretty(rec))
	}
	if len(b.cloud.Changes()) != 0 {
		t.Errorf("something was done: %s", pretty(b.cloud.Changes()))
	}
	calls := b.cloud.Calls()
	if len(calls) != 2 || calls[1].N != 2 || calls[1].Error != "ThrottlingException" || !calls[1].Mutating || calls[0].Mutating {
		t.Errorf("calls %s", pretty(calls))
	}
	b.cloud.SetFaults(nil)
	if len(b.cloud.Calls()) != 0 {
		t.Error("the count does not start anew")
	}
}

func TestAnErrorAfterTheEffectHidesAnOrdinaryRecord(t *testing.T) {
	b, _, err := disable(t, `
faults:
  - name: answer lost
    at: call
    match: it.operation == "DisableKey"
    do: {error: {code: KMSInternalException, status: 500, when: after}}
`)
	wantCode(t, err, "KMSInternalException")
	if rec := b.last("DisableKey"); rec["errorCode"] != nil {
		t.Errorf("record %s", pretty(rec))
	}
	if len(b.cloud.Changes()) != 1 {
		t.Error("it was not done")
	}
}

func TestAHangCutsTheConnection(t *testing.T) {
	for when, done := range map[string]int{"before": 0, "after": 1} {
		b, _, err := disable(t, strings.ReplaceAll(`
faults:
  - name: hangs
    at: call
    match: it.operation == "DisableKey"
    do: {hang: {for: 1ms, when: WHEN}}
`, "WHEN", when))
		if err == nil || !strings.Contains(err.Error(), "EOF") {
			t.Errorf("%s: the caller got %v", when, err)
		}
		if len(b.cloud.Changes()) != done || len(b.all("DisableKey")) != done {
			t.Errorf("%s: %d changes, %d records, want %d of each", when, len(b.cloud.Changes()), len(b.all("DisableKey")), done)
		}
	}
}

func TestAnExpiredSessionStaysExpiredAndLeavesNoRecord(t *testing.T) {
	b, c, err := disable(t, `
faults:
  - {name: expired, at: call, match: it.operation == "DisableKey", times: 1, do: {expire: true}}
`)
	wantCode(t, err, "ExpiredToken")
	id := cloud.Fixtures(target, west)["kms_key"]
	if _, err = c.DisableKey(t.Context(), &kms.DisableKeyInput{KeyId: &id}); err == nil {
		t.Error("the session lives on")
	}
	wantCode(t, err, "ExpiredToken")
	if len(b.all("DisableKey")) != 0 || len(b.cloud.Changes()) != 0 {
		t.Errorf("records %v, changes %v", b.all("DisableKey"), b.cloud.Changes())
	}
	// Another session of the same role is not touched.
	if _, err := kms.NewFromConfig(b.injector(target, west, "")).DisableKey(t.Context(), &kms.DisableKeyInput{KeyId: &id}); err != nil {
		t.Error(err)
	}
}

func TestASkewedServiceSaysOneTimeInItsAnswerAndInItsRecord(t *testing.T) {
	b := start(t, withFaults(t, `
faults:
  - {name: fast, at: call, match: it.operation == "DisableKey", do: {skew: 5m}}
`))
	id := cloud.Fixtures(target, west)["kms_key"]
	out, err := kms.NewFromConfig(b.injector(target, west, "")).DisableKey(t.Context(), &kms.DisableKeyInput{KeyId: &id})
	if err != nil {
		t.Fatal(err)
	}
	said, ok := awsmiddleware.GetServerTime(out.ResultMetadata)
	if !ok {
		t.Fatal("the answer has no time")
	}
	rec := b.last("DisableKey")
	if rec["eventTime"] != said.UTC().Format(time.RFC3339) {
		t.Errorf("answer %s, record %v", said, rec["eventTime"])
	}
	if ahead := said.Sub(b.clock.Now()); ahead < 4*time.Minute || ahead > 6*time.Minute {
		t.Errorf("%s ahead", ahead)
	}
}

func TestRecordFaults(t *testing.T) {
	for _, tc := range []struct {
		name, do  string
		delivered int
		history   int
		check     func(emitted) bool
	}{
		{"none", "", 1, 1, nil},
		{"dropped on the way", "do: {drop: true}", 0, 1, nil},
		{"never emitted", "do: {drop: true}\n    hop: emitted", 0, 0, nil},
		{"delayed", "do: {delay: 70m}", 1, 1, func(e emitted) bool { return e.extra == 70*time.Minute }},
		{"twice", "do: {duplicate: 1}", 2, 1, nil},
		{"rewritten", "do: {set: {userIdentity.arn: mallory}}", 1, 1, func(e emitted) bool { return at(e.rec, "userIdentity", "arn") == "mallory" }},
		{"moved in time", "do: {shift: {eventTime: -1000h}}", 1, 1, func(e emitted) bool {
			at, err := time.Parse(time.RFC3339, at(e.rec, "eventTime").(string))
			return err == nil && time.Since(at) > 800*time.Hour
		}},
		{"cut", "do: {unset: [requestParameters]}", 1, 1, func(e emitted) bool { _, there := e.rec["requestParameters"]; return !there }},
	} {
		t.Run(tc.name, func(t *testing.T) {
			faults := "faults: []\n"
			if tc.do != "" {
				faults = "faults:\n  - name: f\n    at: record\n    match: it.eventName == \"DisableKey\" && it.recipientAccountId == \"" + target + "\"\n    " + tc.do + "\n"
			}
			change := withFaults(t, faults)
			b := start(t, change)
			session := b.injector(target, west, "")
			id := cloud.Fixtures(target, west)["kms_key"]
			if _, err := kms.NewFromConfig(session).DisableKey(t.Context(), &kms.DisableKeyInput{KeyId: &id}); err != nil {
				t.Fatal(err)
			}
			got := b.all("DisableKey")
			if len(got) != tc.delivered {
				t.Fatalf("%d delivered, want %d", len(got), tc.delivered)
			}
			for _, e := range got {
				if tc.check != nil && !tc.check(e) {
					t.Errorf("delivered %s", pretty(e.rec))
				}
			}
			out, err := cloudtrail.NewFromConfig(b.root(target, west)).LookupEvents(t.Context(), &cloudtrail.LookupEventsInput{LookupAttributes: []cttypes.LookupAttribute{
				{AttributeKey: cttypes.LookupAttributeKeyEventName, AttributeValue: aws.String("DisableKey")}}})
			if err != nil || len(out.Events) != tc.history {
				t.Fatalf("%d in the history, want %d (%v)", len(out.Events), tc.history, err)
			}
			for _, e := range out.Events {
				if strings.Contains(*e.CloudTrailEvent, "mallory") || !strings.Contains(*e.CloudTrailEvent, "requestParameters") {
					t.Errorf("the history shows a fault of the delivery: %s", *e.CloudTrailEvent)
				}
			}
		})
	}
}
