package cloud

import (
	"maps"
	"slices"
	"strings"

	"github.com/auditcanary/auditcanary/tests/sandbox/cloud/policy"
)

// SNS: topics with their subscriptions. What is published comes from other services;
// it is sent to queues, and nowhere else.
func snsService() service {
	return service{
		source: "sns.amazonaws.com", wire: query{"http://sns.amazonaws.com/doc/2010-03-31/"},
		ops: map[string]operation{
			"ListSubscriptionsByTopic":  {readOnly: true, needs: onTopic("sns:ListSubscriptionsByTopic", "TopicArn"), do: listSubscriptions},
			"GetTopicAttributes":        {readOnly: true, needs: onTopic("sns:GetTopicAttributes", "TopicArn"), do: topicAttributes},
			"GetSubscriptionAttributes": {readOnly: true, needs: onTopic("sns:GetSubscriptionAttributes", "SubscriptionArn"), do: subscriptionAttributes},
			"SetSubscriptionAttributes": {needs: onTopic("sns:SetSubscriptionAttributes", "SubscriptionArn"), do: setSubscriptionAttributes},
			"Subscribe":                 {needs: subscribeNeeds, do: subscribe},
			"Unsubscribe":               {needs: onTopic("sns:Unsubscribe", "SubscriptionArn"), do: unsubscribe},
			"DeleteTopic":               {needs: onTopic("sns:DeleteTopic", "TopicArn"), do: deleteTopic},
		},
	}
}

// Kinds of things: topics by ARN, subscriptions by ARN (a pending one's is not told).
const (
	topics        = "sns topic"
	subscriptions = "sns subscription"

	snsPage = 100
)

func topicARN(account, region, name string) string {
	return "arn:aws:sns:" + region + ":" + account + ":" + name
}

// onTopic: a subscription's permissions are on its topic.
func onTopic(action, param string) func(*call) []need {
	return func(k *call) []need {
		arn := k.str(param)
		if f := strings.Split(arn, ":"); len(f) > 6 {
			arn = strings.Join(f[:6], ":")
		}
		if arn == "" {
			arn = topicARN(k.Principal.Account, k.Region, "*")
		}
		return []need{{action: action, resource: arn}}
	}
}

func subscribeNeeds(k *call) []need {
	n := onTopic("sns:Subscribe", "TopicArn")(k)
	n[0].context = policy.Context{"sns:protocol": {k.str("Protocol")}, "sns:endpoint": {k.str("Endpoint")}}
	return n
}

func (k *call) topic() (*Thing, error) {
	if t := k.region().Things[topics][k.str("TopicArn")]; t != nil {
		return t, nil
	}
	return nil, fail(404, "NotFound", "Topic does not exist")
}

func (k *call) subscription() (*Thing, error) {
	if s := k.region().Things[subscriptions][k.str("SubscriptionArn")]; s != nil {
		return s, nil
	}
	return nil, fail(404, "NotFound", "Subscription does not exist")
}

func listSubscriptions(k *call) (reply, error) {
	t, err := k.topic()
	if err != nil {
		return reply{}, err
	}
	all := k.region().Things[subscriptions]
	ids := slices.DeleteFunc(slices.Sorted(maps.Keys(all)), func(id string) bool { return all[id].Attr["topic"] != t.ARN })
	these, next := page(ids, k.str("NextToken"), snsPage)
	var members []el
	for _, id := range these {
		s, arn := all[id], id
		if s.Attr["pending"] == true {
			arn = "PendingConfirmation"
		}
		members = append(members, node("member", leaf("TopicArn", t.ARN), leaf("Protocol", s.Attr["protocol"]), leaf("SubscriptionArn", arn), leaf("Owner", k.Principal.Account), leaf("Endpoint", s.Attr["endpoint"])))
	}
	return reply{body: append([]el{node("Subscriptions", members...)}, leaves(leaf("NextToken", next))...)}, nil
}

func subscriptionAttributes(k *call) (reply, error) {
	s, err := k.subscription()
	if err != nil {
		return reply{}, err
	}
	entry := func(key string, v any) el { return node("entry", leaf("key", key), leaf("value", v)) }
	entries := []el{
		entry("SubscriptionArn", s.ID), entry("TopicArn", s.Attr["topic"]), entry("Protocol", s.Attr["protocol"]), entry("Endpoint", s.Attr["endpoint"]),
		entry("Owner", k.Principal.Account), entry("PendingConfirmation", s.Attr["pending"]), entry("RawMessageDelivery", s.Attr["raw"] == true),
	}
	if f := s.Attr["filter"]; f != nil {
		entries = append(entries, entry("FilterPolicy", f), entry("FilterPolicyScope", s.filterScope()))
	}
	return reply{body: []el{node("Attributes", entries...)}}, nil
}

func setSubscriptionAttributes(k *call) (reply, error) {
	s, err := k.subscription()
	if err != nil {
		return reply{}, err
	}
	return reply{}, s.set(k.str("AttributeName"), k.str("AttributeValue"))
}

// set one attribute of a subscription.
func (t *Thing) set(name, value string) error {
	invalid := func(why string) error {
		return fail(400, "InvalidParameter", "Invalid parameter: %s: %s", name, why)
	}
	switch name {
	case "FilterPolicy":
		if value == "" {
			delete(t.Attr, "filter")
			return nil
		}
		if _, err := compileEventPattern(value); err != nil {
			return invalid("failed to parse JSON. " + err.Error())
		}
		t.Attr["filter"] = value
	case "FilterPolicyScope":
		if value != onAttributes && value != onBody {
			return invalid("must be MessageAttributes or MessageBody")
		}
		t.Attr["scope"] = value
	case "RawMessageDelivery":
		if value != "true" && value != "false" {
			return invalid("must be true or false")
		}
		t.Attr["raw"] = value == "true"
	default:
		return fail(501, "NotImplemented", "the sandbox has no attribute %q of a subscription", name)
	}
	return nil
}

// What a filter policy looks at.
const onAttributes, onBody = "MessageAttributes", "MessageBody"

func (t *Thing) filterScope() string {
	if t.Attr["scope"] == onBody {
		return onBody
	}
	return onAttributes
}

// subscribe: nobody confirms anything here. A queue of one's own need not be.
func subscribe(k *call) (reply, error) {
	t, err := k.topic()
	if err != nil {
		return reply{}, err
	}
	if k.str("Protocol") == "" || k.str("Endpoint") == "" {
		return reply{}, fail(400, "InvalidParameter", "Invalid parameter: Protocol and Endpoint are needed")
	}
	id := t.ARN + ":" + newUUID()
	s := &Thing{ID: id, ARN: id, Attr: map[string]any{"topic": t.ARN, "protocol": k.str("Protocol"), "endpoint": k.str("Endpoint"), "pending": true}}
	if attributes, ok := k.Params["Attributes"].(map[string]any); ok {
		list, _ := attributes["entry"].([]any)
		for _, e := range list {
			if err := s.set(field(e, "key"), field(e, "value")); err != nil {
				return reply{}, err
			}
		}
	}
	told := "pending confirmation"
	if owner, _ := ofARN(k.str("Endpoint")); k.str("Protocol") == "sqs" && owner == k.Principal.Account {
		s.Attr["pending"], told = false, id
	}
	k.region().Put(subscriptions, s)
	return reply{body: []el{leaf("SubscriptionArn", told)}, elements: map[string]any{"subscriptionArn": told}}, nil
}

func unsubscribe(k *call) (reply, error) {
	s, err := k.subscription()
	if err != nil {
		return reply{}, err
	}
	delete(k.region().Things[subscriptions], s.ID)
	return reply{}, nil
}

// deleteTopic takes its subscriptions with it; one that is not there is deleted.
func deleteTopic(k *call) (reply, error) {
	arn, things := k.str("TopicArn"), k.region().Things
	delete(things[topics], arn)
	maps.DeleteFunc(things[subscriptions], func(_ string, s *Thing) bool { return s.Attr["topic"] == arn })
	return reply{}, nil
}
