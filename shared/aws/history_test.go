package aws

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/auditcanary/auditcanary/shared/canary"
)

func historyOf(pages ...[]string) func(http.ResponseWriter, *called) {
	return func(rw http.ResponseWriter, c *called) {
		var in struct {
			NextToken        string
			LookupAttributes []map[string]string
		}
		_ = json.Unmarshal(c.body, &in)
		if len(in.LookupAttributes) != 1 || in.LookupAttributes[0]["AttributeKey"] != "AccessKeyId" || in.LookupAttributes[0]["AttributeValue"] != sessionKey {
			jsonError(400, "InvalidLookupAttributesException", "?")(rw, c)
			return
		}
		n := len(in.NextToken)
		out := map[string]any{}
		var events []any
		for i, raw := range pages[n] {
			events = append(events, map[string]any{"EventId": fmt.Sprintf("e-%d-%d", n, i), "CloudTrailEvent": raw})
		}
		out["Events"] = events
		if n+1 < len(pages) {
			out["NextToken"] = in.NextToken + "x"
		}
		jsonReply(out)(rw, c)
	}
}

func record(id string) string {
	return fmt.Sprintf(`{"eventVersion":"1.11","userIdentity":{"type":"AssumedRole","arn":"arn:aws:sts::111122223333:assumed-role/auditcanary-injector/x","accountId":"111122223333"},"eventTime":"2026-11-22T12:34:56Z","eventSource":"kms.amazonaws.com","eventName":"DisableKey","awsRegion":"eu-west-1","requestID":%q,"eventID":"00000000-0000-4000-8000-000000000000","eventType":"AwsApiCall","recipientAccountId":"111122223333"}`, id)
}

func TestHistoryFindsARequestOnAnyPage(t *testing.T) {
	w := newWire(t)
	w.answer["kms:DisableKey"] = func(rw http.ResponseWriter, _ *called) { _, _ = io.WriteString(rw, "{}") }
	w.answer["cloudtrail:LookupEvents"] = historyOf([]string{record("other")}, []string{record("request-2")})
	sess, p := open(t, w, "aws/kms-disable-key")
	r := sess.Do(context.Background(), p.Steps[0].Call, nil)
	i := inspect(t, w)
	got, err := i.Recorded(context.Background(), r)
	if err != nil || got == nil || got.API.RequestUID != "request-2" || got.API.Operation != "DisableKey" {
		t.Errorf("%+v, %v", got, err)
	}
	if asked := w.of("sts:AssumeRole"); asked[len(asked)-1].form.Get("RoleArn") != i.RoleARN(testAccount) {
		t.Errorf("asked under %s", asked[len(asked)-1].form.Get("RoleArn"))
	}
	r.RequestIDs = []string{"request-9"}
	if got, err := i.Recorded(context.Background(), r); err != nil || got != nil {
		t.Errorf("%+v, %v", got, err)
	}
}

func TestHistoryThatCannotBeReadIsAnError(t *testing.T) {
	r := canary.Receipt{RequestIDs: []string{"request-2"}, Call: canary.Call{Operation: "kms:DisableKey"}}
	r.Want.Cloud.Account, r.Want.Cloud.Region, r.Want.Actor.CredentialUID = testAccount, "eu-west-1", sessionKey
	for want, answer := range map[string]func(http.ResponseWriter, *called){
		"AccessDeniedException":                      jsonError(400, "AccessDeniedException", "no"),
		"event e-0-0 of the history cannot be read:": historyOf([]string{`{"eventVersion":`, record("other")}),
	} {
		w := newWire(t)
		w.answer["cloudtrail:LookupEvents"] = answer
		if got, err := inspect(t, w).Recorded(context.Background(), r); err == nil || got != nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, %v, want ...%s...", got, err, want)
		}
	}
	// An unreadable neighbour does not hide the one that is there.
	w := newWire(t)
	w.answer["cloudtrail:LookupEvents"] = historyOf([]string{`{"eventVersion":`, record("request-2")})
	if got, err := inspect(t, w).Recorded(context.Background(), r); err != nil || got == nil {
		t.Errorf("%v, %v", got, err)
	}
	r.RequestIDs = nil
	if _, err := inspect(t, w).Recorded(context.Background(), r); err == nil || !strings.Contains(err.Error(), "no request id") {
		t.Error(err)
	}
}

func TestOneLimiterForEachPlace(t *testing.T) {
	i := inspect(t, newWire(t))
	first, again := i.limiter(testAccount, "eu-west-1"), i.limiter(testAccount, "eu-west-1")
	if first != again || first == i.limiter(testAccount, "us-east-1") || first == i.limiter("444455556666", "eu-west-1") {
		t.Error("limiters are not one for each account and region")
	}
	if first.Limit() != 2 || first.Burst() != 1 {
		t.Errorf("limit %v, burst %d", first.Limit(), first.Burst())
	}
}
