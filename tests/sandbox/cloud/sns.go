package cloud

import (
	"encoding/json"
	"maps"
	"slices"
	"strings"

	"github.com/auditcanary/auditcanary/tests/sandbox/cloud/policy"
)

// SNS: topics with their subscriptions. Nothing is ever sent.
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
		entry("Owner", k.Principal.Account), entry("PendingConfirmation", s.Attr["pending"]), entry("RawMessageDelivery", false),
	}
	if f := s.Attr["filter"]; f != nil {
		entries = append(entries, entry("FilterPolicy", f), entry("FilterPolicyScope", "MessageAttributes"))
	}
	return reply{body: []el{node("Attributes", entries...)}}, nil
}

func setSubscriptionAttributes(k *call) (reply, error) {
	s, err := k.subscription()
	if err != nil {
		return reply{}, err
	}
	var doc map[string]any
	switch value := k.str("AttributeValue"); {
	case k.str("AttributeName") != "FilterPolicy":
		return reply{}, fail(501, "NotImplemented", "the sandbox sets no attribute of a subscription but FilterPolicy")
	case value == "":
		delete(s.Attr, "filter")
	case json.Unmarshal([]byte(value), &doc) != nil:
		return reply{}, fail(400, "InvalidParameter", "Invalid parameter: FilterPolicy: failed to parse JSON")
	default:
		s.Attr["filter"] = value
	}
	return reply{}, nil
}

// subscribe: nobody confirms anything here.
func subscribe(k *call) (reply, error) {
	t, err := k.topic()
	if err != nil {
		return reply{}, err
	}
	if k.str("Protocol") == "" || k.str("Endpoint") == "" {
		return reply{}, fail(400, "InvalidParameter", "Invalid parameter: Protocol and Endpoint are needed")
	}
	id := t.ARN + ":" + newUUID()
	k.region().Put(subscriptions, &Thing{ID: id, ARN: id, Attr: map[string]any{"topic": t.ARN, "protocol": k.str("Protocol"), "endpoint": k.str("Endpoint"), "pending": true}})
	return reply{body: []el{leaf("SubscriptionArn", "pending confirmation")}, elements: map[string]any{"subscriptionArn": "pending confirmation"}}, nil
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
