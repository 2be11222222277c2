package aws

import (
	"crypto/md5"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	awssdk "github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"

	"github.com/auditcanary/auditcanary/shared/canary"
	"github.com/auditcanary/auditcanary/shared/run"
)

var sqsNow = time.Date(2026, 11, 22, 10, 0, 0, 0, time.UTC)

const tapURL = "https://sqs.us-east-1.amazonaws.com/999999999999/tap"

// line is a queue that answers as a test wants: it gives what it holds once.
type line struct {
	t       *testing.T
	replies [][]map[string]any // of ReceiveMessage, in order; then empty ones
	// answer, when there is one for an operation, answers instead.
	answer            map[string]func(n int, in map[string]any) (status int, body any)
	hidden, delayed   string
	noDate            bool
	asked             map[string]int
	deleted, released []string // receipts
	wait, hide, most  float64
}

func (l *line) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	op := strings.TrimPrefix(r.Header.Get("X-Amz-Target"), "AmazonSQS.")
	raw, _ := io.ReadAll(r.Body)
	var in map[string]any
	if err := json.Unmarshal(raw, &in); err != nil || in["QueueUrl"] != tapURL {
		l.t.Errorf("%s asked with %s (%v)", op, raw, err)
	}
	l.asked[op]++
	w.Header()["Date"] = nil
	if !l.noDate {
		w.Header().Set("Date", sqsNow.Format(http.TimeFormat))
	}
	w.Header().Set("Content-Type", "application/x-amz-json-1.0")
	status, body := 200, any(map[string]any{})
	receipts := func() (all []string, done []any) {
		entries, _ := in["Entries"].([]any)
		if len(entries) == 0 || len(entries) > 10 {
			l.t.Errorf("%s of %d entries", op, len(entries))
		}
		for _, e := range entries {
			e := e.(map[string]any)
			all = append(all, e["ReceiptHandle"].(string))
			done = append(done, map[string]any{"Id": e["Id"]})
		}
		return all, done
	}
	if f := l.answer[op]; f != nil {
		status, body = f(l.asked[op], in)
	} else {
		switch op {
		case "ReceiveMessage":
			l.wait, _ = in["WaitTimeSeconds"].(float64)
			l.hide, _ = in["VisibilityTimeout"].(float64)
			l.most, _ = in["MaxNumberOfMessages"].(float64)
			if n := l.asked[op] - 1; n < len(l.replies) {
				body = map[string]any{"Messages": l.replies[n]}
			}
		case "GetQueueAttributes":
			body = map[string]any{"Attributes": map[string]any{"ApproximateNumberOfMessagesNotVisible": l.hidden, "ApproximateNumberOfMessagesDelayed": l.delayed}}
		case "DeleteMessageBatch":
			all, done := receipts()
			l.deleted = append(l.deleted, all...)
			body = map[string]any{"Successful": done, "Failed": []any{}}
		case "ChangeMessageVisibilityBatch":
			all, done := receipts()
			l.released = append(l.released, all...)
			body = map[string]any{"Successful": done, "Failed": []any{}}
		}
	}
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(body)
}

func tap(t *testing.T, replies ...[]map[string]any) (*AlertQueue, *line) {
	t.Helper()
	l := &line{t: t, replies: replies, asked: map[string]int{}, hidden: "0", delayed: "0", answer: map[string]func(int, map[string]any) (int, any){}}
	srv := httptest.NewServer(l)
	t.Cleanup(srv.Close)
	return NewAlertQueue(awssdk.Config{
		Region: "us-east-1", BaseEndpoint: &srv.URL, Credentials: credentials.NewStaticCredentialsProvider("AKIAEXAMPLE", "secret", ""),
		Retryer: func() awssdk.Retryer { return awssdk.NopRetryer{} },
	}, "keys-changed", tapURL), l
}

func queued(id, body string, more ...string) map[string]any {
	m := map[string]any{
		"MessageId": id, "ReceiptHandle": "receipt-" + id, "Body": body, "MD5OfBody": fmt.Sprintf("%x", md5.Sum([]byte(body))),
		"Attributes": map[string]any{"SentTimestamp": fmt.Sprint(sqsNow.Add(-time.Minute).UnixMilli())},
	}
	for i := 0; i < len(more); i += 2 {
		m[more[i]] = more[i+1]
	}
	return m
}

const bareEvent = `{"version":"0","id":"1b5e1a2c-0001","detail-type":"AWS API Call via CloudTrail","source":"aws.kms","account":"111122223333","time":"2026-11-22T09:58:00Z","region":"eu-west-1","resources":[],
 "detail":{"eventID":"e-1","requestID":"r-1","eventName":"DisableKey","userIdentity":{"arn":"arn:aws:sts::111122223333:assumed-role/injector/auditcanary-c1"}}}`

func notified(id, message, at string) string {
	b, _ := json.Marshal(map[string]any{"Type": "Notification", "MessageId": id, "TopicArn": "arn:aws:sns:us-east-1:1:t", "Message": message, "Timestamp": at})
	return string(b)
}

func listen(t *testing.T, q *AlertQueue) run.Arrived {
	t.Helper()
	got, err := q.Listen(t.Context(), sqsNow.Add(-time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	return got
}

func TestAMessageBecomesTheAlertThatItIs(t *testing.T) {
	sent := sqsNow.Add(-time.Minute)
	const told = "2026-11-22T09:58:30.250Z"
	for name, tc := range map[string]struct {
		body string
		want canary.Rang // ID, At, Rule, Weak and what it names
	}{
		"a bare event": {bareEvent, canary.Rang{ID: "1b5e1a2c-0001", At: sent, RequestIDs: []string{"r-1"}, EventIDs: []string{"e-1"}, Sessions: []string{"auditcanary-c1"}}},
		"in SNS's envelope": {notified("n-1", bareEvent, told), canary.Rang{ID: "n-1", At: time.Date(2026, 11, 22, 9, 58, 30, 250e6, time.UTC),
			RequestIDs: []string{"r-1"}, EventIDs: []string{"e-1"}, Sessions: []string{"auditcanary-c1"}}},
		"an envelope from the future":   {notified("n-1", bareEvent, "2027-01-01T00:00:00Z"), canary.Rang{ID: "n-1", At: sent, RequestIDs: []string{"r-1"}, EventIDs: []string{"e-1"}, Sessions: []string{"auditcanary-c1"}}},
		"an envelope without a time":    {notified("n-1", "x", ""), canary.Rang{ID: "n-1", At: sent, Weak: "it is no JSON"}},
		"an envelope with a strange id": {notified("n\n1", `{"a":1}`, told), canary.Rang{ID: "m1", At: time.Date(2026, 11, 22, 9, 58, 30, 250e6, time.UTC)}},
		"a text of the rule's own":      {`{"title":"t","rule":"keys-changed","requestID":"r-1"}`, canary.Rang{ID: "m1", At: sent, Rule: "keys-changed", RequestIDs: []string{"r-1"}}},
		"with the rule's ARN":           {`{"by":"arn:aws:events:us-east-1:100000000001:rule/security/keys-changed","requestID":"r-1"}`, canary.Rang{ID: "m1", At: sent, Rule: "arn:aws:events:us-east-1:100000000001:rule/security/keys-changed", RequestIDs: []string{"r-1"}}},
		"an alarm":                      {notified("n-1", `{"AlarmName":"root","NewStateValue":"ALARM","OldStateValue":"OK"}`, told), canary.Rang{ID: "n-1", At: time.Date(2026, 11, 22, 9, 58, 30, 250e6, time.UTC), Rule: "root", Weak: "an alarm has no event"}},
		"no JSON":                       {"\x7fELF ��", canary.Rang{ID: "m1", At: sent, Weak: "it is no JSON"}},
		"no JSON, with what it is of":   {`cut off: {"requestID":"req-0001","x`, canary.Rang{ID: "m1", At: sent, RequestIDs: []string{"req-0001"}}},
		"a number for an id":            {`{"id":5,"detail-type":"x","rule":{"a":1}}`, canary.Rang{ID: "m1", At: sent}},
		"256 KB of nothing":             {strings.Repeat("{", 256<<10), canary.Rang{ID: "m1", At: sent, Weak: "it is no JSON"}},
		"nothing":                       {"", canary.Rang{ID: "m1", At: sent, Weak: "it is no JSON"}},
	} {
		t.Run(name, func(t *testing.T) {
			q, _ := tap(t, []map[string]any{queued("m1", tc.body)})
			got := listen(t, q)
			if len(got.Alerts) != 1 || len(got.Problems) > 0 {
				t.Fatalf("%+v", got)
			}
			r := got.Alerts[0]
			if len(r.Payload) > canary.MaxPayload || r.SHA256 == "" || r.Alert != "keys-changed" {
				t.Errorf("%d bytes, hash %q, alert %q", len(r.Payload), r.SHA256, r.Alert)
			}
			is := func(r canary.Rang) string {
				return fmt.Sprintf("%s at %s by %q weak %q of %v %v %v", r.ID, r.At, r.Rule, r.Weak, r.RequestIDs, r.EventIDs, r.Sessions)
			}
			if is(r) != is(tc.want) {
				t.Errorf("got  %s\nwant %s", is(r), is(tc.want))
			}
		})
	}
}

// What arrives where alerts do and is none is taken away, and told where it says that
// alerts may not arrive. The look is complete all the same.
func TestWhatIsNoAlertIsNoneOfTheAlerts(t *testing.T) {
	changed := func(state string) string {
		return `{"detail-type":"CloudWatch Alarm State Change","source":"aws.cloudwatch","id":"e-1","detail":{"alarmName":"root","state":{"value":"` + state + `"}}}`
	}
	for name, tc := range map[string]struct {
		body  string
		alert bool
		says  string
	}{
		"a subscription to be confirmed": {`{"Type":"SubscriptionConfirmation","MessageId":"n-1","Token":"x"}`, false, "SNS's own, of type SubscriptionConfirmation: the subscription is not confirmed"},
		"a subscription that was ended":  {`{"Type":"UnsubscribeConfirmation","MessageId":"n-1","Token":"x"}`, false, "of type UnsubscribeConfirmation"},
		"an alarm":                       {notified("n-1", `{"AlarmName":"root","NewStateValue":"ALARM"}`, ""), true, ""},
		"an alarm that is over":          {notified("n-1", `{"AlarmName":"root","NewStateValue":"OK","OldStateValue":"ALARM"}`, ""), false, ""},
		"an alarm without data":          {`{"AlarmName":"root","NewStateValue":"INSUFFICIENT_DATA"}`, false, ""},
		"an alarm's event":               {changed("ALARM"), true, ""},
		"an alarm's event that is over":  {changed("OK"), false, ""},
		"a bucket's test":                {`{"Service":"Amazon S3","Event":"s3:TestEvent","Bucket":"b","RequestId":"r-1"}`, false, ""},
		"a bucket's test by SNS":         {notified("n-1", `{"Service":"Amazon S3","Event":"s3:TestEvent","Bucket":"b"}`, ""), false, ""},
		"what only speaks of them":       {`{"Type":"Notice","Event":"s3:TestEvent","detail":{"NewStateValue":"OK"}}`, true, ""},
	} {
		t.Run(name, func(t *testing.T) {
			q, l := tap(t, []map[string]any{queued("m1", tc.body)})
			l.hidden = "1"
			got := listen(t, q)
			if (len(got.Alerts) == 1) != tc.alert || got.AsOf.IsZero() || (tc.says == "") != (len(got.Problems) == 0) || !strings.Contains(strings.Join(got.Problems, "\n"), tc.says) {
				t.Fatalf("%+v", got)
			}
			if err := q.Settle(t.Context(), nil); err != nil || (len(l.deleted) == 0) != tc.alert || (len(l.released) == 1) != tc.alert {
				t.Errorf("%v, deleted %q, released %q", err, l.deleted, l.released)
			}
			b, _ := shelfOf(t, false, map[string]string{"in/a": tc.body}, nil)
			if got, err := b.Listen(t.Context(), sqsNow.Add(-time.Hour)); err != nil || (len(got.Alerts) == 1) != tc.alert || got.AsOf.IsZero() || !strings.Contains(strings.Join(got.Problems, "\n"), tc.says) {
				t.Errorf("in an inbox: %+v, %v", got, err)
			}
		})
	}
}

// Many messages, in several replies; what is poison hides nothing.
func TestAQueueIsDrained(t *testing.T) {
	q, l := tap(t, []map[string]any{queued("m1", "\x00\u2028"), queued("m2", notified("n-1", bareEvent, "")), queued("m3", notified("n-1", bareEvent, ""))},
		[]map[string]any{{"MessageId": "m4", "Body": "no receipt"}, queued("m5", bareEvent, "Attributes", "")}, []map[string]any{queued("m2", notified("n-1", bareEvent, ""), "ReceiptHandle", "newer")})
	l.hidden = "4"
	delete(l.replies[1][1], "Attributes")
	got := listen(t, q)
	var ids []string
	for _, a := range got.Alerts {
		ids = append(ids, a.ID)
	}
	if fmt.Sprint(ids) != "[m1 n-1 n-1 1b5e1a2c-0001]" || l.asked["ReceiveMessage"] != 4 {
		t.Errorf("%v in %d replies", ids, l.asked["ReceiveMessage"])
	}
	if l.wait != 1 || l.hide != 120 || l.most != 10 {
		t.Errorf("asked with wait %v, hide %v, most %v", l.wait, l.hide, l.most)
	}
	if len(got.Problems) != 2 || !strings.Contains(got.Problems[0], `without an id or a receipt (id "m4")`) || !strings.Contains(got.Problems[1], "message m5 in queue "+tapURL+" says not when it was sent") {
		t.Errorf("problems %q", got.Problems)
	}
	// Both messages of one notification are one alert, and go together.
	if err := q.Settle(t.Context(), []string{"n-1", "nobody's"}); err != nil {
		t.Fatal(err)
	}
	if fmt.Sprint(l.deleted) != "[newer receipt-m3]" || fmt.Sprint(l.released) != "[receipt-m1 receipt-m5]" {
		t.Errorf("deleted %q, released %q", l.deleted, l.released)
	}
	if err := q.Settle(t.Context(), []string{"m1"}); err != nil || len(l.deleted) != 2 {
		t.Errorf("settled once more: %v, deleted %q", err, l.deleted)
	}
}

func TestWhatIsNotCompleteHasNoTime(t *testing.T) {
	one := []map[string]any{queued("m1", bareEvent)}
	for name, tc := range map[string]struct {
		change func(*line)
		says   string
	}{
		"somebody else holds some": {func(l *line) { l.hidden = "3" }, "2 messages of queue " + tapURL + " are held back"},
		"some are delayed":         {func(l *line) { l.hidden, l.delayed = "1", "1" }, "1 messages of queue"},
		"a strange count":          {func(l *line) { l.hidden = "many" }, `says ApproximateNumberOfMessagesNotVisible="many"`},
		"no count": {func(l *line) {
			l.answer["GetQueueAttributes"] = func(int, map[string]any) (int, any) {
				return 403, map[string]any{"__type": "AccessDenied", "message": "no"}
			}
		}, "the reader needs sqs:GetQueueAttributes"},
		"no receipt":              {func(l *line) { l.replies[0] = append(l.replies[0], map[string]any{"MessageId": "m0", "Body": "x"}) }, `without an id or a receipt (id "m0")`},
		"a checksum that differs": {func(l *line) { l.replies[0] = append(l.replies[0], queued("m0", "x", "MD5OfBody", "00")) }, "message m0 of queue " + tapURL + " is not as it was sent"},
		"no clock":                {func(l *line) { l.noDate = true }, "has no Date"},
		"the second reply fails": {func(l *line) {
			l.answer["ReceiveMessage"] = func(n int, _ map[string]any) (int, any) {
				if n == 1 {
					return 200, map[string]any{"Messages": one}
				}
				return 500, map[string]any{"__type": "InternalFailure"}
			}
		}, "after 1 messages: sqs:ReceiveMessage"},
		"it never ends": {func(l *line) {
			l.answer["ReceiveMessage"] = func(n int, _ map[string]any) (int, any) {
				var ten []map[string]any
				for i := range 10 {
					ten = append(ten, queued(fmt.Sprint("m", n, "-", i), "x"))
				}
				return 200, map[string]any{"Messages": ten}
			}
		}, "holds more than one look takes (5000 messages"},
		"it gives the same for ever": {func(l *line) {
			l.answer["ReceiveMessage"] = func(int, map[string]any) (int, any) { return 200, map[string]any{"Messages": one} }
		}, "holds more than one look takes (1 messages"},
	} {
		t.Run(name, func(t *testing.T) {
			q, l := tap(t, one)
			l.hidden = "1"
			tc.change(l)
			got := listen(t, q)
			if !got.AsOf.IsZero() || len(got.Alerts) == 0 || len(got.Problems) != 1 || !strings.Contains(got.Problems[0], tc.says) {
				t.Errorf("as of %s, %d alerts, problems %q, want %q", got.AsOf, len(got.Alerts), got.Problems, tc.says)
			}
		})
	}
	q, l := tap(t, one)
	l.hidden = "1"
	if got := listen(t, q); got.AsOf.After(sqsNow) || got.AsOf.Before(sqsNow.Add(-5*time.Second)) || len(got.Problems) > 0 {
		t.Errorf("complete, but as of %s, problems %q", got.AsOf, got.Problems)
	}
}

func TestAQueueThatCannotBeAskedSaysWhatToDo(t *testing.T) {
	for code, says := range map[string]string{
		"QueueDoesNotExist": "check queue_url and region", "AccessDenied": "the reader needs sqs:ReceiveMessage on the queue",
		"KMS.AccessDeniedException": "kms:Decrypt", "Other": "sqs:ReceiveMessage of queue " + tapURL,
	} {
		q, l := tap(t)
		l.answer["ReceiveMessage"] = func(int, map[string]any) (int, any) { return 400, map[string]any{"__type": code, "message": "m"} }
		if _, err := q.Listen(t.Context(), sqsNow); err == nil || !strings.Contains(err.Error(), says) || !strings.Contains(err.Error(), tapURL) {
			t.Errorf("%s: %v", code, err)
		}
	}
}

func TestWhatCannotBeDeletedIsToldAndGivenAgain(t *testing.T) {
	var all []map[string]any
	var ids []string
	for i := range 10 {
		ids = append(ids, fmt.Sprint("m", i))
		all = append(all, queued(ids[i], "{}"))
	}
	q, l := tap(t, all)
	l.answer["DeleteMessageBatch"] = func(int, map[string]any) (int, any) {
		return 200, map[string]any{"Successful": []any{map[string]any{"Id": "0"}, map[string]any{"Id": "99"}}, "Failed": []any{map[string]any{"Id": "1", "Code": "ReceiptHandleIsInvalid", "Message": "m", "SenderFault": true}}}
	}
	listen(t, q)
	err := q.Settle(t.Context(), ids)
	if err == nil || !strings.Contains(err.Error(), "delete message m1 of queue "+tapURL+": ReceiptHandleIsInvalid: m") || !strings.Contains(err.Error(), "m9 of queue "+tapURL+": the queue says neither") || strings.Contains(err.Error(), "message m0 ") {
		t.Errorf("%v", err)
	}
	if len(l.released) != 9 {
		t.Errorf("released %q", l.released)
	}
	// What a Listen took and nobody settled is given back before the next one.
	q, l = tap(t, []map[string]any{queued("m1", "{}")})
	listen(t, q)
	listen(t, q)
	if fmt.Sprint(l.released) != "[receipt-m1]" {
		t.Errorf("released %q", l.released)
	}
}

// Whatever stands in a message, it becomes an alert of bounded size with an id.
func FuzzQueuedAlert(f *testing.F) {
	f.Add(bareEvent)
	f.Add(notified("n", bareEvent, "2026-11-22T09:58:30Z"))
	f.Add(`{"Type":5,"MessageId":[],"Message":{}}`)
	f.Add(`{"id":"\u0000","detail-type":"x","rule":"arn:aws:events:x:123456789012:rule/r"}`)
	f.Add(`{"Type":"SubscriptionConfirmation","MessageId":"n"}`)
	f.Add(`{"AlarmName":"a","NewStateValue":"OK"}`)
	f.Add(strings.Repeat(`{"Type":"Notification","MessageId":"a","Message":"`, 50))
	f.Fuzz(func(t *testing.T, body string) {
		r := queuedAlert("m1", body, sqsNow)
		if r.ID == "" || len(r.ID) > 200 || len(r.Payload) > canary.MaxPayload || len(r.Rule) > 300 || len(r.Weak) > 300 || r.At.After(sqsNow) {
			t.Errorf("%+v", r)
		}
		if _, err := json.Marshal(r); err != nil {
			t.Error(err)
		}
		if none, problem := noAlert(body); len(problem) > 300 || problem != "" && !none {
			t.Errorf("%v, %q", none, problem)
		}
	})
}
