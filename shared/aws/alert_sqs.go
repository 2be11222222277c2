package aws

import (
	"context"
	"crypto/md5"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	sqstypes "github.com/aws/aws-sdk-go-v2/service/sqs/types"
	"github.com/aws/smithy-go"

	"github.com/auditcanary/auditcanary/shared/canary"
	"github.com/auditcanary/auditcanary/shared/run"
)

// AlertQueue is an SQS queue that gets what people get: it is subscribed to the topic
// that tells them (raw or in SNS's envelope), or is a target of the same event rule. It
// is nobody else's: what has been taken from it and settled is deleted.
//
// Its identity needs, on the queue, sqs:ReceiveMessage, sqs:DeleteMessage,
// sqs:ChangeMessageVisibility and sqs:GetQueueAttributes, and kms:Decrypt on its key if
// it has one. Across accounts the queue's policy must grant the same.
type AlertQueue struct {
	alert, url string
	client     *sqs.Client

	mu   sync.Mutex
	held map[string]heldMessage // by message id: what the last Listen took and nobody settled
}

// heldMessage is one that is hidden from others while it is ours.
type heldMessage struct {
	alert   string // id of the alert it is, "" if it could not be read
	receipt string
	none    bool // it is no alert: it goes with whatever is settled
}

var _ run.AlertSource = (*AlertQueue)(nil)

// NewAlertQueue listens for the alert of a name in the queue of a URL. cfg is of the
// queue's own region.
func NewAlertQueue(cfg aws.Config, alert, url string) *AlertQueue {
	return &AlertQueue{alert: alert, url: url, client: sqs.NewFromConfig(cfg, func(o *sqs.Options) {
		o.DisableMessageChecksumValidation = true // it would refuse nine good messages for a bad one: take checks
	})}
}

// Bounds of one Listen, and how it asks.
const (
	maxQueued      = 5000
	maxQueuedBytes = 64 << 20
	maxReceives    = 2000 // a queue that answers for ever is no queue
	queueWait      = 1    // seconds of a long poll: only such a one asks all of SQS's servers
	queueHide      = 120  // seconds for which a message is ours alone
	queueBatch     = 10
)

// Listen takes whatever is in the queue, older than since too: it is settled, or it is
// given again. It is complete when the queue gave nothing more and nobody else holds a
// message; AsOf is then SQS's clock at the beginning.
//
// A message that cannot be read as an alert is one all the same, with what could be
// read of it: nothing that somebody puts into the queue can hide what else is in it.
// What is known to be none (see noAlert) is taken away with what is settled.
func (q *AlertQueue) Listen(ctx context.Context, _ time.Time) (run.Arrived, error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	var out run.Arrived
	if err := q.release(ctx); err != nil { // of a Listen that nobody settled
		out.Problems = append(out.Problems, err.Error())
	}
	q.held = map[string]heldMessage{}
	var began time.Time
	size, drained, whole := 0, false, true
	for n := 0; !drained; n++ {
		if n == maxReceives || len(q.held) >= maxQueued || size >= maxQueuedBytes {
			out.Problems = append(out.Problems, fmt.Sprintf("queue %s holds more than one look takes (%d messages of %d bytes were taken): the rest is for the next", q.url, len(q.held), size))
			break
		}
		asked := time.Now()
		reply, err := q.client.ReceiveMessage(ctx, &sqs.ReceiveMessageInput{
			QueueUrl: &q.url, MaxNumberOfMessages: queueBatch, VisibilityTimeout: queueHide, WaitTimeSeconds: queueWait,
			MessageSystemAttributeNames: []sqstypes.MessageSystemAttributeName{sqstypes.MessageSystemAttributeNameSentTimestamp},
		})
		if err != nil && (len(q.held) == 0 || ctx.Err() != nil) {
			return out, q.explain("ReceiveMessage", err)
		}
		if err != nil { // what was taken is told, and given again if it is not settled
			out.Problems = append(out.Problems, fmt.Sprintf("after %d messages: %v", len(q.held), q.explain("ReceiveMessage", err)))
			break
		}
		if began.IsZero() {
			if told := serverTime(reply.ResultMetadata); !told.IsZero() {
				began = told.Add(-time.Since(asked)).UTC() // an empty reply comes only after the wait
			}
		}
		for _, m := range reply.Messages {
			size += len(aws.ToString(m.Body))
			whole = q.take(m, &out) && whole
		}
		drained = len(reply.Messages) == 0
	}
	if !drained || !whole {
		return out, nil
	}
	if began.IsZero() {
		out.Problems = append(out.Problems, fmt.Sprintf("queue %s: the reply has no Date, so that nobody knows as of when it is", q.url))
		return out, nil
	}
	if why := q.elsewhere(ctx); why != "" {
		out.Problems = append(out.Problems, why)
		return out, nil
	}
	out.AsOf = began
	return out, nil
}

// take notes a message, and the alert that it is. It reports whether it could be read.
func (q *AlertQueue) take(m sqstypes.Message, out *run.Arrived) bool {
	id, receipt := aws.ToString(m.MessageId), aws.ToString(m.ReceiptHandle)
	if id == "" || receipt == "" {
		out.Problems = append(out.Problems, fmt.Sprintf("queue %s gave a message without an id or a receipt (id %q): it cannot be settled", q.url, cut(id, 80)))
		return false
	}
	if before, again := q.held[id]; again { // it took so long that it was given once more
		before.receipt = receipt
		q.held[id] = before
		return true
	}
	if sum := md5.Sum([]byte(aws.ToString(m.Body))); m.MD5OfBody != nil && *m.MD5OfBody != hex.EncodeToString(sum[:]) {
		out.Problems = append(out.Problems, fmt.Sprintf("message %s of queue %s is not as it was sent (its checksum differs): it is given again", id, q.url))
		q.held[id] = heldMessage{receipt: receipt}
		return false
	}
	if none, problem := noAlert(aws.ToString(m.Body)); none {
		if problem != "" {
			out.Problems = append(out.Problems, fmt.Sprintf("message %s of queue %s %s", id, q.url, problem))
		}
		q.held[id] = heldMessage{receipt: receipt, none: true}
		return true
	}
	rang := queuedAlert(id, aws.ToString(m.Body), sentAt(m))
	rang.Alert = q.alert
	if rang.At.IsZero() {
		out.Problems = append(out.Problems, fmt.Sprintf("message %s in queue %s says not when it was sent", id, q.url))
	}
	q.held[id] = heldMessage{alert: rang.ID, receipt: receipt}
	out.Alerts = append(out.Alerts, rang)
	return true
}

// sentAt is when SQS took a message, by its clock; zero if it does not say.
func sentAt(m sqstypes.Message) time.Time {
	ms, err := strconv.ParseInt(m.Attributes[string(sqstypes.MessageSystemAttributeNameSentTimestamp)], 10, 64)
	if err != nil || ms <= 0 {
		return time.Time{}
	}
	return time.UnixMilli(ms).UTC()
}

// queuedAlert is the alert that a message is. A redelivery of the same notification, or
// of the same event, is the same alert whatever message it comes in.
func queuedAlert(messageID, body string, sent time.Time) canary.Rang {
	r := canary.Rang{ID: messageID, At: sent}
	r.Name([]byte(body))
	note, wrapped := envelope(body)
	inner := body
	if wrapped {
		inner = note.Message
		r.ID = bounded(note.MessageId, messageID)
		// SNS's own time is when people were told; SQS's is a little later. One that is
		// later than SQS's is not SNS's.
		if t, err := time.Parse(time.RFC3339, note.Timestamp); err == nil && (sent.IsZero() || !t.After(sent)) {
			r.At = t.UTC()
		}
	}
	told(&r, inner, wrapped)
	return r
}

// notification is SNS's envelope.
type notification struct{ Type, MessageId, Message, Timestamp string }

// envelope reads SNS's envelope, if a payload is in one.
func envelope(payload string) (note notification, wrapped bool) {
	err := json.Unmarshal([]byte(payload), &note)
	return note, err == nil && note.Type == "Notification" && note.MessageId != ""
}

// noAlert reports whether what arrives where alerts do is known to be none, which
// nobody could take for one: SNS's own messages about the subscription, an alarm that
// goes into another state than ALARM, S3's test of a bucket's notifications. Of the
// first the problem is that alerts may not arrive.
func noAlert(payload string) (none bool, problem string) {
	note, wrapped := envelope(payload)
	if wrapped {
		payload = note.Message
	} else if note.MessageId != "" && (note.Type == "SubscriptionConfirmation" || note.Type == "UnsubscribeConfirmation") {
		return true, "is SNS's own, of type " + note.Type + ": the subscription is not confirmed, or was ended, and alerts may not arrive"
	}
	var p struct {
		AlarmName, NewStateValue string
		Service, Event           string
		DetailType               string `json:"detail-type"`
		Detail                   struct{ State struct{ Value string } }
	}
	_ = json.Unmarshal([]byte(payload), &p) // what is of another form is not there
	switch {
	case p.AlarmName != "" && p.NewStateValue != "":
		return p.NewStateValue != "ALARM", ""
	case p.DetailType == "CloudWatch Alarm State Change" && p.Detail.State.Value != "":
		return p.Detail.State.Value != "ALARM", ""
	}
	return p.Service == "Amazon S3" && p.Event == "s3:TestEvent", ""
}

// told reads of a payload what is not an event's: its id where it is a bare event of
// EventBridge, the rule, and why it can name nothing.
func told(r *canary.Rang, payload string, wrapped bool) {
	var p struct {
		ID                       string `json:"id"`
		DetailType               string `json:"detail-type"`
		Rule                     any    `json:"rule"`
		AlarmName, NewStateValue string
	}
	switch err := json.Unmarshal([]byte(payload), &p); {
	case err != nil && !json.Valid([]byte(payload)):
		if len(r.RequestIDs)+len(r.EventIDs) == 0 {
			r.Weak = "it is no JSON"
		}
	case p.AlarmName != "" && p.NewStateValue != "":
		r.Rule, r.Weak = cut(p.AlarmName, maxRuleName), "an alarm has no event"
	case p.DetailType != "" && p.ID != "" && !wrapped:
		r.ID = bounded(p.ID, r.ID)
	}
	if name, ok := p.Rule.(string); ok && r.Rule == "" {
		r.Rule = cut(name, maxRuleName)
	}
	if m := ruleARNs().FindString(payload); m != "" && r.Rule == "" {
		r.Rule = m
	}
}

const maxRuleName = 256

var ruleARNs = sync.OnceValue(func() *regexp.Regexp {
	return regexp.MustCompile(`arn:aws[a-z-]*:events:[a-z0-9-]{1,30}:[0-9]{12}:rule/[A-Za-z0-9._/-]{1,130}`)
})

// bounded is an id that somebody wrote, unless it is none that anybody would.
func bounded(id, otherwise string) string {
	if len(id) > 200 || strings.ContainsFunc(id, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return otherwise
	}
	return id
}

// elsewhere says why the queue may hold messages that were not seen: hidden because
// somebody else has taken them, or not yet given out.
func (q *AlertQueue) elsewhere(ctx context.Context) string {
	out, err := q.client.GetQueueAttributes(ctx, &sqs.GetQueueAttributesInput{QueueUrl: &q.url, AttributeNames: []sqstypes.QueueAttributeName{
		sqstypes.QueueAttributeNameApproximateNumberOfMessagesNotVisible, sqstypes.QueueAttributeNameApproximateNumberOfMessagesDelayed,
	}})
	if err != nil {
		return "whether somebody else holds messages is not known: " + q.explain("GetQueueAttributes", err).Error()
	}
	sum := 0
	for _, name := range []sqstypes.QueueAttributeName{sqstypes.QueueAttributeNameApproximateNumberOfMessagesNotVisible, sqstypes.QueueAttributeNameApproximateNumberOfMessagesDelayed} {
		n, err := strconv.Atoi(out.Attributes[string(name)])
		if err != nil || n < 0 {
			return fmt.Sprintf("whether somebody else holds messages of queue %s is not known: it says %s=%q", q.url, name, cut(out.Attributes[string(name)], 40))
		}
		sum += n
	}
	if others := sum - len(q.held); others > 0 {
		return fmt.Sprintf("%d messages of queue %s are held back, by a look that has not ended or by somebody else who reads it: they are given again within %d s, or whoever reads it must stop", others, q.url, queueHide)
	}
	return ""
}

// Settle deletes the messages of these alerts and those that are no alerts, and lets
// the queue give the others again at once. Ids that were not of the last Listen mean nothing to it. A message that
// could not be deleted is in the error; it comes again, and is known then.
func (q *AlertQueue) Settle(ctx context.Context, ids []string) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	settled := map[string]bool{}
	for _, id := range ids {
		settled[id] = true
	}
	var done []string
	for id, m := range q.held {
		if m.none || m.alert != "" && settled[m.alert] {
			done = append(done, id)
		}
	}
	slices.Sort(done)
	var errs []error
	for part := range slices.Chunk(done, queueBatch) {
		entries := make([]sqstypes.DeleteMessageBatchRequestEntry, len(part))
		for i, id := range part {
			entries[i] = sqstypes.DeleteMessageBatchRequestEntry{Id: aws.String(strconv.Itoa(i)), ReceiptHandle: aws.String(q.held[id].receipt)}
		}
		out, err := q.client.DeleteMessageBatch(ctx, &sqs.DeleteMessageBatchInput{QueueUrl: &q.url, Entries: entries})
		if err != nil {
			errs = append(errs, q.explain(fmt.Sprintf("DeleteMessageBatch of %d messages", len(part)), err))
			continue
		}
		gone := map[string]bool{}
		for _, s := range out.Successful {
			gone[aws.ToString(s.Id)] = true
		}
		for i, id := range part {
			if gone[strconv.Itoa(i)] {
				delete(q.held, id)
				continue
			}
			errs = append(errs, fmt.Errorf("delete message %s of queue %s: %s", id, q.url, whyFailed(out.Failed, strconv.Itoa(i))))
		}
	}
	if err := q.release(ctx); err != nil {
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// release lets the queue give again at once what is still held. What has been given
// again by itself meanwhile, or is gone, is no error.
func (q *AlertQueue) release(ctx context.Context) error {
	var ids []string
	for id := range q.held {
		ids = append(ids, id)
	}
	slices.Sort(ids)
	var errs []error
	for part := range slices.Chunk(ids, queueBatch) {
		entries := make([]sqstypes.ChangeMessageVisibilityBatchRequestEntry, len(part))
		for i, id := range part {
			entries[i] = sqstypes.ChangeMessageVisibilityBatchRequestEntry{Id: aws.String(strconv.Itoa(i)), ReceiptHandle: aws.String(q.held[id].receipt), VisibilityTimeout: 0}
		}
		if _, err := q.client.ChangeMessageVisibilityBatch(ctx, &sqs.ChangeMessageVisibilityBatchInput{QueueUrl: &q.url, Entries: entries}); err != nil {
			errs = append(errs, fmt.Errorf("%w (they are given again after %d s)", q.explain(fmt.Sprintf("ChangeMessageVisibilityBatch of %d messages", len(part)), err), queueHide))
		}
	}
	q.held = nil
	return errors.Join(errs...)
}

func whyFailed(failed []sqstypes.BatchResultErrorEntry, id string) string {
	for _, f := range failed {
		if aws.ToString(f.Id) == id {
			return cut(aws.ToString(f.Code)+": "+aws.ToString(f.Message), 300)
		}
	}
	return "the queue says neither that it did nor that it did not"
}

// explain names operation and queue, and says what to do about the errors that people meet.
func (q *AlertQueue) explain(operation string, err error) error {
	hint := ""
	if api := smithy.APIError(nil); errors.As(err, &api) {
		action, _, _ := strings.Cut(operation, " ")
		action = strings.TrimSuffix(action, "Batch")
		switch code := api.ErrorCode(); {
		case code == "QueueDoesNotExist" || strings.HasSuffix(code, "NonExistentQueue"):
			hint = "there is no such queue, or it is in another region: check queue_url and region"
		case strings.HasPrefix(code, "AccessDenied"):
			hint = "the reader needs sqs:" + action + " on the queue, in its own policy and, across accounts, in the queue's"
		case strings.HasPrefix(code, "KMS") || strings.HasPrefix(code, "Kms"):
			hint = "the reader needs kms:Decrypt on the queue's key"
		case strings.HasPrefix(code, "ExpiredToken"):
			hint = "the credentials have expired; renew them and run again"
		}
	}
	if hint != "" {
		return fmt.Errorf("sqs:%s of queue %s: %w (%s)", operation, q.url, err, hint)
	}
	return fmt.Errorf("sqs:%s of queue %s: %w", operation, q.url, err)
}
