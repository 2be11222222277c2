package cloud

import (
	"encoding/json"
	"fmt"
	"slices"
	"time"
)

// history is the provider's own event history: 90 days of management events
// per account and region, as the services emitted them.
type history struct {
	places map[string][]pastEvent // "account/region", oldest first
	asked  map[string][]time.Time // LookupEvents of the last second, machine's clock
}

type pastEvent struct {
	at  time.Time
	rec map[string]any
}

const historyKept = 90 * 24 * time.Hour

func (h *history) add(now time.Time, account, region string, rec map[string]any) {
	if h.places == nil {
		h.places = map[string][]pastEvent{}
	}
	place := account + "/" + region
	list := h.places[place]
	for len(list) > 0 && now.Sub(list[0].at) > historyKept {
		list = list[1:]
	}
	h.places[place] = append(list, pastEvent{now, rec})
}

// lookupRate is AWS's limit on LookupEvents per account and region and second.
const lookupRate = 2

// admit says whether one more LookupEvents is within the rate.
func (h *history) admit(now time.Time, account, region string) bool {
	if h.asked == nil {
		h.asked = map[string][]time.Time{}
	}
	place := account + "/" + region
	recent := slices.DeleteFunc(h.asked[place], func(t time.Time) bool { return now.Sub(t) >= time.Second })
	if len(recent) >= lookupRate {
		h.asked[place] = recent
		return false
	}
	h.asked[place] = append(recent, now)
	return true
}

func lookupEvents(k *call) (reply, error) {
	c := k.cloud
	if !c.history.admit(c.opts.Real(), k.Principal.Account, k.Region) {
		return reply{}, fail(400, "ThrottlingException", "Rate exceeded")
	}
	attributes := k.list("LookupAttributes")
	if len(attributes) > 1 {
		return reply{}, fail(400, "InvalidLookupAttributesException", "only one lookup attribute is allowed, got %d", len(attributes))
	}
	matches := func(map[string]any) bool { return true }
	if len(attributes) == 1 {
		key, value := field(attributes[0], "AttributeKey"), field(attributes[0], "AttributeValue")
		of, ok := lookupKeys[key]
		if !ok || value == "" {
			return reply{}, fail(400, "InvalidLookupAttributesException", "lookup attribute %q = %q is not valid", key, value)
		}
		matches = func(rec map[string]any) bool { return slices.Contains(of(rec), value) }
	}
	size, err := k.integer("MaxResults", 50)
	if err != nil || size < 1 || size > 50 {
		return reply{}, fail(400, "InvalidMaxResultsException", "MaxResults must be 1 to 50")
	}
	start, end, err := k.between("StartTime", "EndTime")
	if err != nil {
		return reply{}, err
	}
	if !start.IsZero() && !end.IsZero() && end.Before(start) {
		return reply{}, fail(400, "InvalidTimeRangeException", "EndTime is before StartTime")
	}
	// The token is the event the next page begins with: what is recorded between
	// two pages (the lookup itself is) does not shift them.
	token := k.str("NextToken")
	events, next := []any{}, ""
	past := c.history.places[k.Principal.Account+"/"+k.Region]
	for i := len(past) - 1; i >= 0; i-- { // newest first
		e := past[i]
		at, _ := time.Parse(time.RFC3339, fmt.Sprint(e.rec["eventTime"]))
		if k.Time.Sub(e.at) > historyKept || !start.IsZero() && at.Before(start) || !end.IsZero() && at.After(end) || !matches(e.rec) {
			continue
		}
		id := field(e.rec, "eventID")
		if token != "" && id != token {
			continue
		}
		token = ""
		if len(events) == size {
			next = id
			break
		}
		events = append(events, historyEvent(e.rec, at))
	}
	if token != "" {
		return reply{}, fail(400, "InvalidNextTokenException", "NextToken %q is not valid", token)
	}
	body := map[string]any{"Events": events}
	if next != "" {
		body["NextToken"] = next
	}
	return reply{body: body}, nil
}

// lookupKeys gives the values of a record that a lookup attribute is compared with.
var lookupKeys = map[string]func(map[string]any) []string{
	"EventId":      func(r map[string]any) []string { return []string{field(r, "eventID")} },
	"EventName":    func(r map[string]any) []string { return []string{field(r, "eventName")} },
	"EventSource":  func(r map[string]any) []string { return []string{field(r, "eventSource")} },
	"ReadOnly":     func(r map[string]any) []string { return []string{fmt.Sprint(r["readOnly"])} },
	"AccessKeyId":  func(r map[string]any) []string { return []string{field(r["userIdentity"], "accessKeyId")} },
	"Username":     func(r map[string]any) []string { return []string{eventUser(r)} },
	"ResourceName": func(r map[string]any) []string { return resourceFields(r, "ARN") },
	"ResourceType": func(r map[string]any) []string { return resourceFields(r, "type") },
}

func resourceFields(rec map[string]any, name string) (out []string) {
	list, _ := rec["resources"].([]any)
	for _, r := range list {
		out = append(out, field(r, name))
	}
	return out
}

// eventUser is the user name of a lookup: a user's name, or a session's.
func eventUser(rec map[string]any) string {
	id := rec["userIdentity"]
	if name := field(id, "userName"); name != "" {
		return name
	}
	principal := field(id, "principalId")
	for i := range len(principal) {
		if principal[i] == ':' {
			return principal[i+1:]
		}
	}
	return principal
}

func historyEvent(rec map[string]any, at time.Time) map[string]any {
	raw, _ := json.Marshal(rec)
	e := map[string]any{
		"EventId": rec["eventID"], "EventName": rec["eventName"], "ReadOnly": fmt.Sprint(rec["readOnly"]),
		"EventTime": at.Unix(), "EventSource": rec["eventSource"], "Username": eventUser(rec),
		"Resources": []any{}, "CloudTrailEvent": string(raw),
	}
	if key := field(rec["userIdentity"], "accessKeyId"); key != "" {
		e["AccessKeyId"] = key
	}
	var resources []any
	names, types := resourceFields(rec, "ARN"), resourceFields(rec, "type")
	for i := range names {
		resources = append(resources, map[string]any{"ResourceName": names[i], "ResourceType": types[i]})
	}
	if resources != nil {
		e["Resources"] = resources
	}
	return e
}

// between reads a pair of optional timestamps (seconds since the epoch).
func (k *call) between(from, to string) (start, end time.Time, err error) {
	for name, t := range map[string]*time.Time{from: &start, to: &end} {
		switch v := k.Params[name].(type) {
		case nil:
		case float64:
			*t = time.UnixMilli(int64(v * 1000)).UTC()
		default:
			return start, end, fail(400, "SerializationException", "%s is no timestamp", name)
		}
	}
	return start, end, nil
}
