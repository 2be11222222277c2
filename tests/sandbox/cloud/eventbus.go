package cloud

import (
	"encoding/json"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/auditcanary/auditcanary/tests/sandbox/cloud/policy"
	"github.com/auditcanary/auditcanary/tests/sandbox/fault"
)

// EventBridge: what is recorded becomes an event on the default bus of its account
// and region, rules pick events, and targets are told of them: another bus, a topic
// or a queue. Each step takes its time and is done at its time, by the rules, targets
// and policies that are there then.

const (
	defaultBus = "default"
	// eventBuses are the buses that were made, by name.
	eventBuses = "event bus"
)

func busARN(account, region, name string) string {
	return "arn:aws:events:" + region + ":" + account + ":event-bus/" + name
}

// How long things take, by the sandbox's clock.
const (
	leastEmission, mostEmission = 3 * time.Second, 40 * time.Second // of a call, until its event is on the bus
	leastHop, mostHop           = 200 * time.Millisecond, 4 * time.Second
)

// recordedEvent puts a record on the default bus, if a trail takes such records.
func (c *Cloud) recordedEvent(account, region string, rec map[string]any) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if rec == nil || !c.world.trailLogs(account) {
		return
	}
	at := c.opts.Clock.Now().Add(c.later.between(leastEmission, mostEmission))
	event := eventOf(account, region, rec)
	c.later.plan(at, func(at time.Time) { c.onBus(at, account, region, defaultBus, event) })
}

// eventOf is the envelope of a record. Account and region are those where it is
// recorded, and stay so wherever it is forwarded to; time is that of the call.
func eventOf(account, region string, rec map[string]any) map[string]any {
	source, _ := rec["eventSource"].(string)
	source = "aws." + strings.TrimSuffix(source, ".amazonaws.com")
	detailType := "AWS API Call via CloudTrail"
	switch rec["eventType"] {
	case "AwsConsoleSignIn":
		detailType = "AWS Console Sign In via CloudTrail"
	case "AwsServiceEvent":
		detailType = "AWS Service Event via CloudTrail"
	}
	return map[string]any{
		"version": "0", "id": newUUID(), "detail-type": detailType, "source": source, "account": account,
		"time": rec["eventTime"], "region": region, "resources": []any{}, "detail": rec,
	}
}

// onBus lets the rules of a bus see an event.
func (c *Cloud) onBus(at time.Time, account, region, bus string, event map[string]any) {
	r := c.world.regionOf(account, region)
	if r == nil {
		return
	}
	for _, id := range slices.Sorted(maps.Keys(r.Things[eventRules])) {
		rule := r.Things[eventRules][id]
		of, _, named := strings.Cut(id, "/")
		if !named {
			of = defaultBus
		}
		if of != bus || !c.sees(rule, event) {
			continue
		}
		t := r.Things[ruleTargets][id]
		if t == nil {
			continue
		}
		targets, _ := t.Attr["targets"].([]any)
		for _, target := range targets {
			if target, ok := target.(map[string]any); ok {
				c.invoke(at, firing{account: account, region: region, bus: bus, rule: rule, target: target, event: event})
			}
		}
	}
}

// sees reports whether a rule is on and its pattern matches. Management events that
// only read are seen by rules of a state of their own.
func (c *Cloud) sees(rule *Thing, event map[string]any) bool {
	switch rule.text("State") {
	case "ENABLED_WITH_ALL_CLOUDTRAIL_MANAGEMENT_EVENTS":
	case "ENABLED":
		if detail, _ := event["detail"].(map[string]any); detail["readOnly"] == true && detail["managementEvent"] == true {
			return false
		}
	default:
		return false
	}
	p := c.pattern(rule.text("EventPattern"))
	return p != nil && p.matches(event) // one that has a schedule only sees nothing
}

// pattern is compiled once; nil is none.
func (c *Cloud) pattern(text string) *eventPattern {
	p, known := c.patterns[text]
	if !known {
		p, _ = compileEventPattern(text)
		if c.patterns == nil || len(c.patterns) > 10_000 {
			c.patterns = map[string]*eventPattern{}
		}
		c.patterns[text] = p
	}
	return p
}

// firing is a rule that an event matched, about to tell one of its targets.
type firing struct {
	account, region, bus string
	rule                 *Thing
	target, event        map[string]any
}

// invoke tells a target. One that is another bus forwards the event; every other
// one is an alert, which faults may strike.
func (c *Cloud) invoke(at time.Time, f firing) {
	arn := field(f.target, "Arn")
	due := at.Add(c.later.between(leastHop, mostHop))
	if strings.Contains(arn, ":event-bus/") {
		c.later.plan(due, func(at time.Time) { c.forwardEvent(at, f, arn) })
		return
	}
	in, err := eventInputOf(f.target)
	if err != nil {
		return // it was read when it was put; a seed's is under test
	}
	tell := func(event map[string]any) string { return in.of(event, f.rule.ARN, at.UTC().Format(time.RFC3339)) }
	name := f.rule.ruleBody()["Name"]
	event, copies := f.event, 1
	for _, a := range c.fireAlert(map[string]any{
		"alert": name, "bus": f.bus, "account": f.account, "region": f.region, "target": arn, "message": tell(event), "event": event,
	}) {
		switch {
		case a.Do.Drop:
			copies = 0
		case a.Do.Delay > 0:
			due = due.Add(a.Do.Delay)
		case a.Do.Duplicate > 0 && copies > 0:
			copies += a.Do.Duplicate
		case a.Do.Edits():
			event = a.Do.Edit(event)
		}
	}
	for i := range copies {
		c.later.plan(due.Add(time.Duration(i)*time.Second), func(at time.Time) { c.tellTarget(at, f, arn, tell(event)) })
	}
}

func (c *Cloud) fireAlert(it map[string]any) []fault.Action {
	if c.faults == nil {
		return nil
	}
	return c.faults.Fire(fault.AtAlert, it)
}

// forwardEvent puts an event on another bus as it is. One that came over a bus of
// another account or region is forwarded no further.
func (c *Cloud) forwardEvent(at time.Time, f firing, arn string) {
	account, region := ofARN(arn)
	name := arn[strings.LastIndexByte(arn, '/')+1:]
	r := c.world.regionOf(account, region)
	if r == nil || f.event["account"] != f.account || f.event["region"] != f.region {
		return
	}
	bus := r.Things[eventBuses][name]
	switch {
	case name != defaultBus && bus == nil:
		return
	case account != f.account:
		if bus == nil || !admits(bus.text("Policy"), policy.Request{
			Action: "events:PutEvents", Resource: arn, PrincipalARN: "events.amazonaws.com", Account: f.account, ResourceAccount: account,
			Context: policy.Context{"aws:principalorgid": {c.world.Organization}, "aws:principalaccount": {f.account}, "aws:sourcearn": {f.rule.ARN}, "aws:sourceaccount": {f.account}},
		}) {
			return
		}
	}
	c.onBus(at, account, region, name, f.event)
}

// tellTarget hands a message to the topic or queue, whose policy must admit it.
func (c *Cloud) tellTarget(at time.Time, f firing, arn, text string) {
	account, region := ofARN(arn)
	r := c.world.regionOf(account, region)
	if r == nil {
		return
	}
	from := policy.Request{Resource: arn, PrincipalARN: "events.amazonaws.com", Context: policy.Context{"aws:sourcearn": {f.rule.ARN}, "aws:sourceaccount": {f.account}}}
	switch {
	case strings.HasPrefix(arn, "arn:aws:sns:") && r.Things[topics][arn] != nil:
		from.Action = "sns:Publish"
		if admits(r.Things[topics][arn].text("Policy"), from) {
			c.publish(at, r.Things[topics][arn], text)
		}
	case strings.HasPrefix(arn, "arn:aws:sqs:"):
		from.Action = "sqs:SendMessage"
		if q := queueByARN(r, arn); q != nil && admits(q.text("Policy"), from) {
			c.enqueue(at, q, "events.amazonaws.com", text)
		}
	}
}

// admits: a resource's own policy decides whether a service may. None admits nobody.
func admits(document string, r policy.Request) bool {
	doc, err := policy.Parse([]byte(document), policy.ForResource)
	if err != nil {
		return false
	}
	return policy.Decide(r, policy.Layers{
		Resource: []policy.Named{{Doc: doc}}, ResourceMustAllow: true, Identity: []policy.Named{{Doc: administrator}},
	}).Allowed
}

// ofARN is the account and region of an ARN.
func ofARN(arn string) (account, region string) {
	f := strings.SplitN(arn, ":", 6)
	if len(f) < 6 {
		return "", ""
	}
	return f[4], f[3]
}

// regionOf is nil where there is no such account or region.
func (w *Seed) regionOf(account, region string) *Region {
	if a := w.Accounts[account]; a != nil {
		return a.Regions[region]
	}
	return nil
}

// isJSONObject returns the object that a text is, if it is one.
func isJSONObject(text string) (map[string]any, bool) {
	var m map[string]any
	return m, json.Unmarshal([]byte(text), &m) == nil && m != nil
}
