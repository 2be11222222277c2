package cloud_test

import (
	"errors"
	"fmt"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	sqstypes "github.com/aws/aws-sdk-go-v2/service/sqs/types"

	"github.com/auditcanary/auditcanary/tests/sandbox/cloud"
)

// tapOf is a queue with its owner's client; nothing rings in it by itself here.
func tapOf(b *box) (*sqs.Client, *string) {
	return sqs.NewFromConfig(b.root(cloud.ArchiveAccount, east)), aws.String(cloud.AlertTapURL("keys-changed"))
}

func send(t *testing.T, c *sqs.Client, url *string, body string) {
	t.Helper()
	if _, err := c.SendMessage(t.Context(), &sqs.SendMessageInput{QueueUrl: url, MessageBody: &body}); err != nil {
		t.Fatal(err)
	}
}

func receive(t *testing.T, c *sqs.Client, in sqs.ReceiveMessageInput) []sqstypes.Message {
	t.Helper()
	out, err := c.ReceiveMessage(t.Context(), &in)
	if err != nil {
		t.Fatal(err)
	}
	return out.Messages
}

func TestAMessageIsGivenAgainUnlessItIsDeleted(t *testing.T) {
	b := start(t)
	c, url := tapOf(b)
	send(t, c, url, "hello <&> \"é\"")
	all := []sqstypes.MessageSystemAttributeName{sqstypes.MessageSystemAttributeNameAll}
	sent := b.clock.Now()
	get := func(hide int32) *sqstypes.Message {
		t.Helper()
		if got := receive(t, c, sqs.ReceiveMessageInput{QueueUrl: url, VisibilityTimeout: hide, MessageSystemAttributeNames: all}); len(got) == 1 {
			return &got[0]
		}
		return nil
	}
	first := get(60)
	if first == nil || *first.Body != "hello <&> \"é\"" || first.Attributes["SentTimestamp"] != fmt.Sprint(sent.UnixMilli()) || first.Attributes["ApproximateReceiveCount"] != "1" || first.Attributes["SenderId"] == "" {
		t.Fatalf("%s", pretty(first))
	}
	b.clock.add(59 * time.Second)
	if got := get(60); got != nil {
		t.Errorf("it is not hidden: %s", pretty(got))
	}
	b.clock.add(2 * time.Second)
	second := get(0) // the queue's own 30 s
	if second == nil || *second.MessageId != *first.MessageId || *second.ReceiptHandle == *first.ReceiptHandle || second.Attributes["ApproximateReceiveCount"] != "2" {
		t.Fatalf("%s", pretty(second))
	}
	hide := func(m *sqstypes.Message, seconds int32) error {
		_, err := c.ChangeMessageVisibility(t.Context(), &sqs.ChangeMessageVisibilityInput{QueueUrl: url, ReceiptHandle: m.ReceiptHandle, VisibilityTimeout: seconds})
		return err
	}
	// An older receipt has no say any more.
	if err := hide(first, 0); code(err) != "InvalidParameterValue" {
		t.Errorf("an old receipt: %v", err)
	}
	if err := hide(second, 0); err != nil {
		t.Fatal(err)
	}
	third := get(30)
	if third == nil || *third.MessageId != *first.MessageId {
		t.Fatalf("it is not given back: %s", pretty(third))
	}
	b.clock.add(31 * time.Second)
	if err := hide(third, 10); code(err) != "AWS.SimpleQueueService.MessageNotInflight" {
		t.Errorf("not in flight any more: %v", err)
	}
	for range 2 { // what is gone is deleted
		if _, err := c.DeleteMessage(t.Context(), &sqs.DeleteMessageInput{QueueUrl: url, ReceiptHandle: third.ReceiptHandle}); err != nil {
			t.Fatal(err)
		}
	}
	b.clock.add(time.Hour)
	if got := get(0); got != nil {
		t.Errorf("deleted: %s", pretty(got))
	}
	if recs := append(b.all("ReceiveMessage"), b.all("DeleteMessage")...); len(recs) > 0 {
		t.Errorf("data events that no trail selects are recorded: %s", pretty(recs))
	}
}

func TestABatchDoesEachByItself(t *testing.T) {
	b := start(t)
	c, url := tapOf(b)
	for i := range 12 {
		send(t, c, url, fmt.Sprint(i))
	}
	got := receive(t, c, sqs.ReceiveMessageInput{QueueUrl: url, MaxNumberOfMessages: 10})
	rest := receive(t, c, sqs.ReceiveMessageInput{QueueUrl: url, MaxNumberOfMessages: 10})
	if len(got) != 10 || len(rest) != 2 {
		t.Fatalf("%d and %d", len(got), len(rest))
	}
	counts := func() string {
		t.Helper()
		out, err := c.GetQueueAttributes(t.Context(), &sqs.GetQueueAttributesInput{QueueUrl: url, AttributeNames: []sqstypes.QueueAttributeName{"All"}})
		if err != nil {
			t.Fatal(err)
		}
		return out.Attributes["ApproximateNumberOfMessages"] + "/" + out.Attributes["ApproximateNumberOfMessagesNotVisible"] + " " + out.Attributes["QueueArn"]
	}
	if got := counts(); got != "0/12 arn:aws:sqs:us-east-1:999999999999:auditcanary-alert-tap-keys-changed" {
		t.Errorf("counts %s", got)
	}
	var remove []sqstypes.DeleteMessageBatchRequestEntry
	for i, m := range got[:9] {
		remove = append(remove, sqstypes.DeleteMessageBatchRequestEntry{Id: aws.String(fmt.Sprint(i)), ReceiptHandle: m.ReceiptHandle})
	}
	remove = append(remove, sqstypes.DeleteMessageBatchRequestEntry{Id: aws.String("bad"), ReceiptHandle: aws.String("no receipt")})
	out, err := c.DeleteMessageBatch(t.Context(), &sqs.DeleteMessageBatchInput{QueueUrl: url, Entries: remove})
	if err != nil || len(out.Successful) != 9 || len(out.Failed) != 1 || *out.Failed[0].Id != "bad" || *out.Failed[0].Code != "ReceiptHandleIsInvalid" || !out.Failed[0].SenderFault {
		t.Errorf("%s %v", pretty(out), err)
	}
	back, err := c.ChangeMessageVisibilityBatch(t.Context(), &sqs.ChangeMessageVisibilityBatchInput{QueueUrl: url, Entries: []sqstypes.ChangeMessageVisibilityBatchRequestEntry{
		{Id: aws.String("a"), ReceiptHandle: got[9].ReceiptHandle}, {Id: aws.String("b"), ReceiptHandle: got[0].ReceiptHandle, VisibilityTimeout: 5},
	}})
	if err != nil || len(back.Successful) != 1 || len(back.Failed) != 1 || *back.Failed[0].Id != "b" {
		t.Errorf("%s %v", pretty(back), err)
	}
	if got := counts(); !strings.HasPrefix(got, "1/2 ") {
		t.Errorf("counts %s", got)
	}
}

func TestAQueueRefuses(t *testing.T) {
	b := start(t)
	c, url := tapOf(b)
	ctx := t.Context()
	eleven := make([]sqstypes.DeleteMessageBatchRequestEntry, 11)
	for i := range eleven {
		eleven[i] = sqstypes.DeleteMessageBatchRequestEntry{Id: aws.String(fmt.Sprint(i)), ReceiptHandle: aws.String("x")}
	}
	batch := func(entries ...sqstypes.DeleteMessageBatchRequestEntry) error {
		_, err := c.DeleteMessageBatch(ctx, &sqs.DeleteMessageBatchInput{QueueUrl: url, Entries: entries})
		return err
	}
	get := func(in sqs.ReceiveMessageInput) error {
		if in.QueueUrl == nil {
			in.QueueUrl = url
		}
		_, err := c.ReceiveMessage(ctx, &in)
		return err
	}
	for name, tc := range map[string]struct {
		err  error
		want string
	}{
		"no such queue":       {get(sqs.ReceiveMessageInput{QueueUrl: aws.String(cloud.QueueURL(cloud.ArchiveAccount, east, "none"))}), "AWS.SimpleQueueService.NonExistentQueue"},
		"a URL that is none":  {get(sqs.ReceiveMessageInput{QueueUrl: aws.String("::")}), "AWS.SimpleQueueService.NonExistentQueue"},
		"somebody else's":     {get(sqs.ReceiveMessageInput{QueueUrl: aws.String(cloud.QueueURL(target, east, "none"))}), "AccessDenied"},
		"too many":            {get(sqs.ReceiveMessageInput{MaxNumberOfMessages: 11}), "InvalidParameterValue"},
		"too few":             {get(sqs.ReceiveMessageInput{MaxNumberOfMessages: -1}), "InvalidParameterValue"},
		"too long":            {get(sqs.ReceiveMessageInput{WaitTimeSeconds: 21}), "InvalidParameterValue"},
		"hidden too long":     {get(sqs.ReceiveMessageInput{VisibilityTimeout: 43201}), "InvalidParameterValue"},
		"a strange attribute": {get(sqs.ReceiveMessageInput{MessageSystemAttributeNames: []sqstypes.MessageSystemAttributeName{"Colour"}}), "InvalidAttributeName"},
		"an empty batch":      {batch([]sqstypes.DeleteMessageBatchRequestEntry{}...), "AWS.SimpleQueueService.EmptyBatchRequest"},
		"a batch of eleven":   {batch(eleven...), "AWS.SimpleQueueService.TooManyEntriesInBatchRequest"},
		"an id twice":         {batch(eleven[0], eleven[0]), "AWS.SimpleQueueService.BatchEntryIdsNotDistinct"},
		"an id of spaces":     {batch(sqstypes.DeleteMessageBatchRequestEntry{Id: aws.String("a b"), ReceiptHandle: aws.String("x")}), "AWS.SimpleQueueService.InvalidBatchEntryId"},
	} {
		if code(tc.err) != tc.want {
			t.Errorf("%s: %s, want %s (%v)", name, code(tc.err), tc.want, tc.err)
		}
	}
	var none *sqstypes.QueueDoesNotExist
	if err := get(sqs.ReceiveMessageInput{QueueUrl: aws.String(cloud.QueueURL(cloud.ArchiveAccount, east, "none"))}); !errors.As(err, &none) {
		t.Errorf("the SDK does not know the error: %v", err)
	}
	for body, want := range map[string]string{"a\x01b": "InvalidMessageContents", strings.Repeat("x", 1<<20): "RequestEntityTooLarge"} {
		_, err := c.SendMessage(ctx, &sqs.SendMessageInput{QueueUrl: url, MessageBody: &body})
		wantCode(t, err, want)
	}
}

func TestOnlyWhomItsPolicyNamesReadsATap(t *testing.T) {
	b := start(t)
	url := aws.String(cloud.AlertTapURL("keys-changed"))
	reader := sqs.NewFromConfig(b.reader())
	if _, err := reader.ReceiveMessage(t.Context(), &sqs.ReceiveMessageInput{QueueUrl: url}); err != nil {
		t.Errorf("the reader: %v", err)
	}
	if _, err := reader.GetQueueAttributes(t.Context(), &sqs.GetQueueAttributesInput{QueueUrl: url, AttributeNames: []sqstypes.QueueAttributeName{"QueueArn"}}); err != nil {
		t.Errorf("the reader: %v", err)
	}
	_, err := reader.SendMessage(t.Context(), &sqs.SendMessageInput{QueueUrl: url, MessageBody: aws.String("forged")})
	wantCode(t, err, "AccessDenied")
	for _, who := range []aws.Config{b.runner(east), b.injector(target, east, ""), b.root(target, east), b.root(cloud.ManagementAccount, east)} {
		c := sqs.NewFromConfig(who)
		_, err := c.ReceiveMessage(t.Context(), &sqs.ReceiveMessageInput{QueueUrl: url})
		wantCode(t, err, "AccessDenied")
		_, err = c.SendMessage(t.Context(), &sqs.SendMessageInput{QueueUrl: url, MessageBody: aws.String("forged")})
		wantCode(t, err, "AccessDenied")
	}
}

// still is a clock that stands until it is put forward, as the sandbox's may.
type still struct{ *clock }

func (s still) Until(t time.Time) time.Duration {
	if s.Now().Before(t) {
		return math.MaxInt64
	}
	return 0
}

func TestALongPollWaitsForAMessage(t *testing.T) {
	b := start(t)
	c, url := tapOf(b)
	begin := time.Now()
	if got := receive(t, c, sqs.ReceiveMessageInput{QueueUrl: url, WaitTimeSeconds: 1}); len(got) != 0 || time.Since(begin) < time.Second {
		t.Errorf("%d messages after %s", len(got), time.Since(begin))
	}
	begin = time.Now()
	got := make(chan int)
	go func() {
		out, err := c.ReceiveMessage(t.Context(), &sqs.ReceiveMessageInput{QueueUrl: url, WaitTimeSeconds: 20})
		if err != nil {
			t.Error(err)
			close(got)
			return
		}
		got <- len(out.Messages)
	}()
	time.Sleep(20 * time.Millisecond)
	send(t, c, url, "now")
	if n := <-got; n != 1 || time.Since(begin) > 10*time.Second {
		t.Errorf("%d messages after %s", n, time.Since(begin))
	}
}

// On a clock that stands nothing new can come: there is nothing to wait for.
func TestALongPollDoesNotHangOnAClockThatStands(t *testing.T) {
	b := start(t, func(o *cloud.Options) { o.Clock = still{o.Clock.(*clock)} })
	c, url := tapOf(b)
	begin := time.Now()
	if got := receive(t, c, sqs.ReceiveMessageInput{QueueUrl: url, WaitTimeSeconds: 20}); len(got) != 0 || time.Since(begin) > 5*time.Second {
		t.Errorf("%d messages after %s", len(got), time.Since(begin))
	}
}
