package cloud

import (
	"crypto/md5"
	"encoding/hex"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/auditcanary/auditcanary/tests/sandbox/cloud/policy"
)

// SQS: standard queues. A message that was received is not given to anybody else for
// a while, and then again, unless it was deleted: that is all that "at least once"
// means here. All of these calls are data events, as AWS's list of them has it, so
// that a trail takes none of them unless it selects them.
func sqsService() service {
	op := func(action string, readOnly bool, do func(*call) (reply, error)) operation {
		return operation{readOnly: readOnly, data: true, needs: onQueue(action), do: do}
	}
	return service{
		source: "sqs.amazonaws.com", wire: json10{"AmazonSQS", sqsQueryCodes},
		ops: map[string]operation{
			"GetQueueUrl":                  op("sqs:GetQueueUrl", true, getQueueURL),
			"GetQueueAttributes":           op("sqs:GetQueueAttributes", true, getQueueAttributes),
			"SendMessage":                  op("sqs:SendMessage", false, sendMessage),
			"ReceiveMessage":               op("sqs:ReceiveMessage", true, receiveMessage),
			"DeleteMessage":                op("sqs:DeleteMessage", false, deleteMessage),
			"DeleteMessageBatch":           op("sqs:DeleteMessage", false, batch(deleteEntry)),
			"ChangeMessageVisibility":      op("sqs:ChangeMessageVisibility", false, changeVisibility),
			"ChangeMessageVisibilityBatch": op("sqs:ChangeMessageVisibility", false, batch(visibilityEntry)),
		},
	}
}

// queues are the queues of a region, by name.
const queues = "sqs queue"

const (
	maxMessage  = 1 << 20 // bytes
	maxInFlight = 120_000 // of a queue
	batchSize   = 10
	twelveHours = 43200 // seconds, the longest a message can be hidden
)

func queueARN(account, region, name string) string {
	return "arn:aws:sqs:" + region + ":" + account + ":" + name
}

// QueueURL is what a queue's calls name it by.
func QueueURL(account, region, name string) string {
	return "https://sqs." + region + ".amazonaws.com/" + account + "/" + name
}

func queueByARN(r *Region, arn string) *Thing {
	if q := r.Things[queues][arn[strings.LastIndexByte(arn, ':')+1:]]; q != nil && q.ARN == arn {
		return q
	}
	return nil
}

// message is one in a queue. Its receipt is of the last time it was received.
type message struct {
	id, body, sender string
	sent, visible    time.Time
	first            time.Time // received
	received         int
	receipt          string
}

// enqueue puts a message into a queue. The lock is held.
func (c *Cloud) enqueue(at time.Time, q *Thing, sender, body string) *message {
	m := &message{id: newUUID(), body: body, sender: sender, sent: at, visible: at.Add(q.seconds("DelaySeconds", 0))}
	c.messages[q.ARN] = append(c.messages[q.ARN], m)
	c.later.stir()
	return m
}

// seconds of an attribute, which queues keep as text.
func (t *Thing) seconds(name string, otherwise int) time.Duration {
	n, err := strconv.Atoi(t.text(name))
	if err != nil {
		n = otherwise
	}
	return time.Duration(n) * time.Second
}

// kept are a queue's messages, without those that it was to keep no longer.
func (k *call) kept(q *Thing) []*message {
	oldest := k.now().Add(-q.seconds("MessageRetentionPeriod", 345600))
	k.cloud.messages[q.ARN] = slices.DeleteFunc(k.cloud.messages[q.ARN], func(m *message) bool { return m.sent.Before(oldest) })
	return k.cloud.messages[q.ARN]
}

// now is the clock when the call is done, which may have waited.
func (k *call) now() time.Time { return k.cloud.opts.Clock.Now() }

// json10 is the JSON 1.0 protocol, with the header for clients that know a service's
// errors by the codes of the Query protocol it had.
type json10 struct {
	target string
	codes  map[string]string
}

func (w json10) decode(k *call) (string, map[string]any, error) {
	if target := k.HTTP.Header.Get("X-Amz-Target"); !strings.HasPrefix(target, w.target+".") {
		return "", nil, fail(400, "UnknownOperationException", "X-Amz-Target %q names no operation of %s", target, w.target)
	}
	return json11{}.decode(k)
}

func (w json10) header(rw http.ResponseWriter, k *call) {
	rw.Header().Set("Content-Type", "application/x-amz-json-1.0")
	rw.Header().Set("x-amzn-RequestId", k.RequestID)
}

func (w json10) reply(rw http.ResponseWriter, k *call, r reply) {
	if r.body == nil {
		r.body = map[string]any{}
	}
	w.header(rw, k)
	_, _ = rw.Write(jsonText(r.body)) // the client may be gone; nothing to do then
}

func (w json10) fail(rw http.ResponseWriter, k *call, e *apiError) {
	w.header(rw, k)
	code := w.codes[e.code]
	if code == "" {
		code = e.code
	}
	fault := "Sender"
	if e.status >= 500 {
		fault = "Receiver"
	}
	rw.Header().Set("x-amzn-query-error", code+";"+fault)
	for name, v := range e.header {
		rw.Header().Set(name, v)
	}
	rw.WriteHeader(e.status)
	_, _ = rw.Write(jsonText(map[string]any{"__type": "com.amazonaws.sqs#" + e.code, "message": e.message}))
}

// sqsQueryCodes are the errors that the Query protocol named otherwise.
var sqsQueryCodes = map[string]string{
	"QueueDoesNotExist":            "AWS.SimpleQueueService.NonExistentQueue",
	"MessageNotInflight":           "AWS.SimpleQueueService.MessageNotInflight",
	"BatchEntryIdsNotDistinct":     "AWS.SimpleQueueService.BatchEntryIdsNotDistinct",
	"EmptyBatchRequest":            "AWS.SimpleQueueService.EmptyBatchRequest",
	"InvalidBatchEntryId":          "AWS.SimpleQueueService.InvalidBatchEntryId",
	"TooManyEntriesInBatchRequest": "AWS.SimpleQueueService.TooManyEntriesInBatchRequest",
}

var queuePath = regexp.MustCompile(`^/([0-9]{12})/([A-Za-z0-9_-]{1,80})$`)

// names is the account and name of the queue that a call names: by its URL, of which
// the path counts, or (GetQueueUrl) by name and owner.
func (k *call) names() (account, name string) {
	if u, err := url.Parse(k.str("QueueUrl")); err == nil {
		if m := queuePath.FindStringSubmatch(u.Path); m != nil {
			return m[1], m[2]
		}
	}
	account = k.str("QueueOwnerAWSAccountId")
	if account == "" {
		account = k.Principal.Account
	}
	return account, k.str("QueueName")
}

func (k *call) queue() *Thing {
	account, name := k.names()
	if r := k.cloud.world.regionOf(account, k.Region); r != nil {
		return r.Things[queues][name]
	}
	return nil
}

func onQueue(action string) func(*call) []need {
	return func(k *call) []need {
		account, name := k.names()
		n := need{action: action, resource: queueARN(account, k.Region, name), owner: account}
		if q := k.queue(); q != nil && q.text("Policy") != "" {
			if doc, err := policy.Parse([]byte(q.text("Policy")), policy.ForResource); err == nil {
				n.grants = []policy.Named{{Doc: doc}}
			}
		}
		return []need{n}
	}
}

func (k *call) knownQueue() (*Thing, error) {
	if q := k.queue(); q != nil {
		return q, nil
	}
	return nil, fail(400, "QueueDoesNotExist", "The specified queue does not exist.")
}

func badValue(format string, args ...any) error {
	return fail(400, "InvalidParameterValue", format, args...)
}

func getQueueURL(k *call) (reply, error) {
	q, err := k.knownQueue()
	if err != nil {
		return reply{}, err
	}
	account, region := ofARN(q.ARN)
	return reply{body: map[string]any{"QueueUrl": QueueURL(account, region, q.ID)}}, nil
}

func getQueueAttributes(k *call) (reply, error) {
	q, err := k.knownQueue()
	if err != nil {
		return reply{}, err
	}
	now, visible, hidden, delayed := k.now(), 0, 0, 0
	for _, m := range k.kept(q) {
		switch {
		case !m.visible.After(now):
			visible++
		case m.received == 0:
			delayed++
		default:
			hidden++
		}
	}
	all := map[string]any{
		"QueueArn": q.ARN, "ApproximateNumberOfMessages": strconv.Itoa(visible),
		"ApproximateNumberOfMessagesNotVisible": strconv.Itoa(hidden), "ApproximateNumberOfMessagesDelayed": strconv.Itoa(delayed),
		"VisibilityTimeout": "30", "DelaySeconds": "0", "MessageRetentionPeriod": "345600", "MaximumMessageSize": strconv.Itoa(maxMessage), "ReceiveMessageWaitTimeSeconds": "0",
	}
	for name, v := range q.Attr {
		all[name] = v
	}
	asked := map[string]any{}
	for _, name := range k.list("AttributeNames") {
		s, _ := name.(string)
		v, there := all[s]
		switch {
		case s == "All":
			asked = all
		case there:
			asked[s] = v
		case s != "Policy" && s != "RedrivePolicy" && s != "KmsMasterKeyId" && s != "SqsManagedSseEnabled":
			return reply{}, fail(400, "InvalidAttributeName", "Unknown Attribute %s.", s)
		}
	}
	return reply{body: map[string]any{"Attributes": asked}}, nil
}

func sendMessage(k *call) (reply, error) {
	q, err := k.knownQueue()
	if err != nil {
		return reply{}, err
	}
	body := k.str("MessageBody")
	switch {
	case body == "":
		return reply{}, fail(400, "MissingParameter", "The request must contain the parameter MessageBody.")
	case len(body) > maxMessage:
		return reply{}, badValue("One or more parameters are invalid. Reason: Message must be shorter than %d bytes.", maxMessage)
	case strings.ContainsFunc(body, notInXML) || !utf8.ValidString(body):
		return reply{}, fail(400, "InvalidMessageContents", "Invalid characters found. Valid unicode characters are #x9 | #xA | #xD | #x20 to #xD7FF | #xE000 to #xFFFD | #x10000 to #x10FFFF.")
	}
	m := k.cloud.enqueue(k.now(), q, k.Principal.PrincipalID, body)
	return reply{body: map[string]any{"MessageId": m.id, "MD5OfMessageBody": md5Hex(body)}}, nil
}

func notInXML(r rune) bool {
	return r < 0x20 && r != '\t' && r != '\n' && r != '\r' || r == 0xFFFE || r == 0xFFFF
}

func md5Hex(s string) string {
	sum := md5.Sum([]byte(s))
	return hex.EncodeToString(sum[:])
}

// bounded is the integer parameter name, within its bounds.
func (k *call) bounded(name string, otherwise, least, most int) (int, error) {
	n, err := k.integer(name, otherwise)
	if err != nil || n < least || n > most {
		return 0, badValue("Value for parameter %s is invalid. Reason: Must be between %d and %d, if provided.", name, least, most)
	}
	return n, nil
}

func receiveMessage(k *call) (reply, error) {
	q, err := k.knownQueue()
	if err != nil {
		return reply{}, err
	}
	most, err := k.bounded("MaxNumberOfMessages", 1, 1, batchSize)
	if err != nil {
		return reply{}, err
	}
	hide, err := k.bounded("VisibilityTimeout", int(q.seconds("VisibilityTimeout", 30)/time.Second), 0, twelveHours)
	if err != nil {
		return reply{}, err
	}
	wait, err := k.bounded("WaitTimeSeconds", int(q.seconds("ReceiveMessageWaitTimeSeconds", 0)/time.Second), 0, 20)
	if err != nil {
		return reply{}, err
	}
	told, err := k.systemAttributes()
	if err != nil {
		return reply{}, err
	}
	now, all := k.now(), k.kept(q)
	hidden := 0
	for _, m := range all {
		if m.visible.After(now) && m.received > 0 {
			hidden++
		}
	}
	list := []any{}
	for _, m := range all {
		if m.visible.After(now) || len(list) == most {
			continue
		}
		if hidden++; hidden > maxInFlight {
			return reply{}, fail(403, "OverLimit", "Too many messages in flight")
		}
		if m.received++; m.received == 1 {
			m.first = now
		}
		m.visible, m.receipt = now.Add(time.Duration(hide)*time.Second), newUUID()
		list = append(list, m.element(told))
	}
	if len(list) == 0 {
		return reply{body: map[string]any{}, until: until(now, k.began.Add(time.Duration(wait)*time.Second))}, nil
	}
	return reply{body: map[string]any{"Messages": list}}, nil
}

// until is zero when that time has come.
func until(now, t time.Time) time.Time {
	if !now.Before(t) {
		return time.Time{}
	}
	return t
}

// systemAttributes that a receiver wants told, by their newer or older parameter.
func (k *call) systemAttributes() (told []string, err error) {
	known := []string{"SenderId", "SentTimestamp", "ApproximateReceiveCount", "ApproximateFirstReceiveTimestamp"}
	for _, name := range append(slices.Clone(k.list("MessageSystemAttributeNames")), k.list("AttributeNames")...) {
		switch s, _ := name.(string); {
		case s == "All":
			told = append(told, known...)
		case slices.Contains(known, s):
			told = append(told, s)
		case !slices.Contains([]string{"SequenceNumber", "MessageDeduplicationId", "MessageGroupId", "AWSTraceHeader", "DeadLetterQueueSourceArn"}, s):
			return nil, fail(400, "InvalidAttributeName", "Unknown Attribute %s.", s)
		}
	}
	return told, nil
}

func (m *message) element(told []string) map[string]any {
	out := map[string]any{"MessageId": m.id, "ReceiptHandle": m.receipt, "Body": m.body, "MD5OfBody": md5Hex(m.body)}
	attr := map[string]any{}
	for _, name := range told {
		switch name {
		case "SenderId":
			attr[name] = m.sender
		case "SentTimestamp":
			attr[name] = strconv.FormatInt(m.sent.UnixMilli(), 10)
		case "ApproximateReceiveCount":
			attr[name] = strconv.Itoa(m.received)
		case "ApproximateFirstReceiveTimestamp":
			attr[name] = strconv.FormatInt(m.first.UnixMilli(), 10)
		}
	}
	if len(attr) > 0 {
		out["Attributes"] = attr
	}
	return out
}

// byReceipt finds the message of a receipt: only the last one counts, and it counts
// after its time too.
func (k *call) byReceipt(q *Thing, receipt string) *message {
	for _, m := range k.kept(q) {
		if receipt != "" && m.receipt == receipt {
			return m
		}
	}
	return nil
}

// A receipt is one of ours by its form; that its message is gone is no error.
var receiptForm = regexp.MustCompile(`^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$`)

func (k *call) deleteBy(q *Thing, receipt string) error {
	if !receiptForm.MatchString(receipt) {
		return fail(400, "ReceiptHandleIsInvalid", "The input receipt handle %q is not a valid receipt handle.", cut(receipt))
	}
	if m := k.byReceipt(q, receipt); m != nil {
		k.cloud.messages[q.ARN] = slices.DeleteFunc(k.cloud.messages[q.ARN], func(other *message) bool { return other == m })
	}
	return nil
}

func (k *call) hideBy(q *Thing, receipt string, seconds int) error {
	if !receiptForm.MatchString(receipt) {
		return fail(400, "ReceiptHandleIsInvalid", "The input receipt handle %q is not a valid receipt handle.", cut(receipt))
	}
	m := k.byReceipt(q, receipt)
	if m == nil {
		return badValue("Value %s for parameter ReceiptHandle is invalid. Reason: Message does not exist or is not available for visibility timeout change.", receipt)
	}
	now := k.now()
	if !m.visible.After(now) {
		return fail(400, "MessageNotInflight", "The message referred to isn't in flight.")
	}
	m.visible = now.Add(time.Duration(seconds) * time.Second)
	k.cloud.later.stir()
	return nil
}

func deleteMessage(k *call) (reply, error) {
	q, err := k.knownQueue()
	if err != nil {
		return reply{}, err
	}
	return reply{}, k.deleteBy(q, k.str("ReceiptHandle"))
}

func changeVisibility(k *call) (reply, error) {
	q, err := k.knownQueue()
	if err != nil {
		return reply{}, err
	}
	if k.Params["VisibilityTimeout"] == nil {
		return reply{}, fail(400, "MissingParameter", "The request must contain the parameter VisibilityTimeout.")
	}
	n, err := k.bounded("VisibilityTimeout", 0, 0, twelveHours)
	if err != nil {
		return reply{}, err
	}
	return reply{}, k.hideBy(q, k.str("ReceiptHandle"), n)
}

func deleteEntry(k *call, q *Thing, entry any) error {
	return k.deleteBy(q, field(entry, "ReceiptHandle"))
}

func visibilityEntry(k *call, q *Thing, entry any) error {
	m, _ := entry.(map[string]any)
	n, ok := m["VisibilityTimeout"].(float64)
	if !ok || n != float64(int(n)) || n < 0 || n > twelveHours {
		return badValue("Value %v for parameter VisibilityTimeout is invalid. Reason: Must be between 0 and %d, if provided.", m["VisibilityTimeout"], twelveHours)
	}
	return k.hideBy(q, field(entry, "ReceiptHandle"), int(n))
}

var entryID = regexp.MustCompile(`^[A-Za-z0-9_-]{1,80}$`)

// batch does each entry by itself: one that fails stops no other.
func batch(do func(k *call, q *Thing, entry any) error) func(*call) (reply, error) {
	return func(k *call) (reply, error) {
		q, err := k.knownQueue()
		if err != nil {
			return reply{}, err
		}
		entries := k.list("Entries")
		seen := map[string]bool{}
		for _, e := range entries {
			id := field(e, "Id")
			switch {
			case !entryID.MatchString(id):
				return reply{}, fail(400, "InvalidBatchEntryId", "A batch entry id can only contain alphanumeric characters, hyphens and underscores. It can be at most 80 letters long.")
			case seen[id]:
				return reply{}, fail(400, "BatchEntryIdsNotDistinct", "Id %s repeated.", id)
			}
			seen[id] = true
		}
		switch {
		case len(entries) == 0:
			return reply{}, fail(400, "EmptyBatchRequest", "There should be at least one %sRequestEntry in the request.", k.Operation)
		case len(entries) > batchSize:
			return reply{}, fail(400, "TooManyEntriesInBatchRequest", "Maximum number of entries per request are %d. You have sent %d.", batchSize, len(entries))
		}
		done, failed := []any{}, []any{}
		for _, e := range entries {
			if err := asAPIError(do(k, q, e)); err != nil {
				failed = append(failed, map[string]any{"Id": field(e, "Id"), "Code": err.code, "Message": err.message, "SenderFault": true})
				continue
			}
			done = append(done, map[string]any{"Id": field(e, "Id")})
		}
		return reply{body: map[string]any{"Successful": done, "Failed": failed}}, nil
	}
}
