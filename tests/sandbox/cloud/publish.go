package cloud

import (
	"crypto/sha256"
	"encoding/base64"
	"maps"
	"net/url"
	"slices"
	"time"

	"github.com/auditcanary/auditcanary/tests/sandbox/cloud/policy"
)

// publish sends a message to a topic's subscriptions, a little later.
func (c *Cloud) publish(at time.Time, topic *Thing, text string) {
	account, region := ofARN(topic.ARN)
	all := c.world.regionOf(account, region).Things[subscriptions]
	id := newUUID()
	for _, sub := range slices.Sorted(maps.Keys(all)) {
		s := all[sub]
		if s.Attr["topic"] != topic.ARN || s.Attr["pending"] == true || s.text("protocol") != "sqs" || !c.passes(s, text) {
			continue
		}
		body := text
		if s.Attr["raw"] != true {
			body = string(jsonText(notification(at, id, topic.ARN, s.ID, text)))
		}
		c.later.plan(at.Add(c.later.between(20*time.Millisecond, 900*time.Millisecond)), func(at time.Time) {
			c.toQueue(at, s.text("endpoint"), topic.ARN, body)
		})
	}
}

// passes: a message of EventBridge has no attributes, so a filter policy on them
// lets none through that asks for any. One on the body asks for a JSON object.
func (c *Cloud) passes(s *Thing, text string) bool {
	filter := s.text("filter")
	if filter == "" {
		return true
	}
	p := c.pattern(filter)
	if p == nil {
		return false
	}
	if s.filterScope() == onAttributes {
		return p.matches(nil)
	}
	m, ok := isJSONObject(text)
	return ok && p.matches(m)
}

func (c *Cloud) toQueue(at time.Time, arn, topic, body string) {
	account, region := ofARN(arn)
	r := c.world.regionOf(account, region)
	if r == nil {
		return
	}
	owner, _ := ofARN(topic)
	q := queueByARN(r, arn)
	if q == nil || !admits(q.text("Policy"), policy.Request{
		Action: "sqs:SendMessage", Resource: arn, PrincipalARN: "sns.amazonaws.com",
		Context: policy.Context{"aws:sourcearn": {topic}, "aws:sourceaccount": {owner}},
	}) {
		return
	}
	c.enqueue(at, q, "sns.amazonaws.com", body)
}

// notification is what SNS wraps a message in. It is not signed: the signature has
// the form of one.
func notification(at time.Time, id, topic, subscription, text string) map[string]any {
	_, region := ofARN(topic)
	sum := sha256.Sum256([]byte(id + text))
	return map[string]any{
		"Type": "Notification", "MessageId": id, "TopicArn": topic, "Message": text,
		"Timestamp": at.UTC().Format("2006-01-02T15:04:05.000Z"), "SignatureVersion": "1",
		"Signature":      base64.StdEncoding.EncodeToString(sum[:]),
		"SigningCertURL": "https://sns." + region + ".amazonaws.com/SimpleNotificationService-00000000000000000000000000000000.pem",
		"UnsubscribeURL": "https://sns." + region + ".amazonaws.com/?Action=Unsubscribe&SubscriptionArn=" + url.QueryEscape(subscription),
	}
}
