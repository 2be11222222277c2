package cloud

import (
	"encoding/json"
	"maps"
	"regexp"
	"slices"
	"strings"

	"github.com/auditcanary/auditcanary/tests/sandbox/cloud/policy"
)

// The EventBridge guide's sample of PutRule has the parameters with small first
// letters, the pattern as text, and ruleArn in responseElements. That the calls
// which answer nothing leave null is inferred.
func eventsService() service {
	return service{
		source: "events.amazonaws.com", wire: json11{}, apiVersion: "2015-10-07",
		ops: map[string]operation{
			"PutRule":             {needs: newEventRule, do: putRule},
			"DeleteRule":          {needs: onEventRule("events:DeleteRule"), do: deleteRule},
			"DisableRule":         {needs: onEventRule("events:DisableRule"), do: setRule("DISABLED")},
			"EnableRule":          {needs: onEventRule("events:EnableRule"), do: setRule("ENABLED")},
			"DescribeRule":        {readOnly: true, needs: onEventRule("events:DescribeRule"), do: describeRule},
			"PutTargets":          {needs: onTargets("events:PutTargets"), do: putTargets},
			"RemoveTargets":       {needs: onTargets("events:RemoveTargets"), do: removeTargets},
			"ListTargetsByRule":   {readOnly: true, needs: onTargets("events:ListTargetsByRule"), do: listTargets},
			"ListRules":           {readOnly: true, needs: anyOf("events:ListRules"), do: listRules},
			"ListTagsForResource": {readOnly: true, needs: onRuleARN, do: listRuleTags},
		},
		seed: func(w *Seed, account, region string) {
			w.Accounts[account].Regions[region].Put(eventRules, &Thing{
				ID: lockedRule, ARN: ruleARN(account, region, lockedRule), Tags: map[string]string{"auditcanary": "fixture"},
				Attr: map[string]any{"State": "ENABLED", "EventPattern": `{"source":["auditcanary.none"]}`, "Description": "auditcanary fixture, without targets"},
			})
		},
		fixtures: func(_, region string) map[string]string {
			if region == "*" {
				return nil
			}
			return map[string]string{"locked_rule": lockedRule}
		},
	}
}

const (
	// eventRules are the rules by name, those of another bus than the default one
	// by bus and name ("security/keys-changed").
	eventRules = "event rule"
	lockedRule = "auditcanary-locked"
	// ruleTargets are the targets of a rule, under what the rule is under.
	ruleTargets = "event rule targets"
)

func ruleARN(account, region, name string) string {
	return "arn:aws:events:" + region + ":" + account + ":rule/" + name
}

// onBus is what a rule of the bus that a call names is under.
func (k *call) onBus(name string) string { return busRule(k.bus(), name) }

func busRule(bus, name string) string {
	if bus == defaultBus {
		return name
	}
	return bus + "/" + name
}

// bus that a call names, by name or ARN.
func (k *call) bus() string {
	bus := k.str("EventBusName")
	bus = strings.TrimPrefix(bus, busARN(k.Principal.Account, k.Region, ""))
	if bus == "" {
		return defaultBus
	}
	return bus
}

func (k *call) eventRule() *Thing { return k.region().Things[eventRules][k.onBus(k.str("Name"))] }

// newEventRule: to tag what one makes is a permission of its own. The tags of a
// request for a rule that is there already are ignored.
func newEventRule(k *call) []need {
	arn, given := ruleARN(k.Principal.Account, k.Region, k.onBus(k.str("Name"))), tags(k.list("Tags"))
	ctx := requestTags(policy.Context{"events:creatoraccount": {k.Principal.Account}}, given)
	if old := k.eventRule(); old != nil {
		tagKeys(ctx, "aws:ResourceTag/", old.Tags)
	}
	var pattern struct {
		Source []string `json:"source"`
	}
	if json.Unmarshal([]byte(k.str("EventPattern")), &pattern) == nil && len(pattern.Source) > 0 {
		ctx["events:source"] = pattern.Source
	}
	needs := []need{{action: "events:PutRule", resource: arn, context: ctx}}
	if len(given) > 0 {
		needs = append(needs, need{action: "events:TagResource", resource: arn, context: requestTags(policy.Context{}, given)})
	}
	return needs
}

func onEventRule(action string) func(*call) []need {
	return func(k *call) []need {
		n := need{action: action, resource: ruleARN(k.Principal.Account, k.Region, k.onBus(k.str("Name"))), context: policy.Context{}}
		if rule := k.eventRule(); rule != nil {
			n.context["events:creatoraccount"] = []string{k.Principal.Account}
			tagKeys(n.context, "aws:ResourceTag/", rule.Tags)
		}
		return []need{n}
	}
}

func onRuleARN(k *call) []need {
	return []need{{action: "events:ListTagsForResource", resource: k.str("ResourceARN")}}
}

func (k *call) knownBus() error {
	if bus := k.bus(); bus != defaultBus && k.region().Things[eventBuses][bus] == nil {
		return fail(400, "ResourceNotFoundException", "Event bus %s does not exist.", bus)
	}
	return nil
}

func (k *call) knownRule() (*Thing, error) {
	if err := k.knownBus(); err != nil {
		return nil, err
	}
	if rule := k.eventRule(); rule != nil {
		return rule, nil
	}
	return nil, fail(400, "ResourceNotFoundException", "Rule %s does not exist on EventBus %s.", k.str("Name"), k.bus())
}

var ruleName = regexp.MustCompile(`^[.\-_A-Za-z0-9]{1,64}$`)

const maxEventRules = 300 // AWS's limit for a bus

func putRule(k *call) (reply, error) {
	if err := k.knownBus(); err != nil {
		return reply{}, err
	}
	name, pattern, state := k.str("Name"), k.str("EventPattern"), k.str("State")
	if state == "" {
		state = "ENABLED"
	}
	var invalid error
	if pattern != "" {
		_, invalid = compileEventPattern(pattern)
	}
	switch {
	case !ruleName.MatchString(name):
		return reply{}, fail(400, "ValidationException", "1 validation error detected: Value '%s' at 'name' failed to satisfy constraint: Member must satisfy regular expression pattern: [\\.\\-_A-Za-z0-9]+", name)
	case pattern == "" && k.str("ScheduleExpression") == "":
		return reply{}, fail(400, "ValidationException", "Parameter(s) EventPattern or ScheduleExpression must be specified.")
	case invalid != nil:
		return reply{}, fail(400, "InvalidEventPatternException", "Event pattern is not valid. Reason: %v", invalid)
	case !slices.Contains([]string{"ENABLED", "DISABLED", "ENABLED_WITH_ALL_CLOUDTRAIL_MANAGEMENT_EVENTS"}, state):
		return reply{}, fail(400, "ValidationException", "1 validation error detected: Value '%s' at 'state' failed to satisfy constraint", state)
	}
	r, attr := k.region(), map[string]any{"State": state}
	for _, p := range []string{"EventPattern", "ScheduleExpression", "Description", "RoleArn"} { // what is left out is emptied
		if v := k.str(p); v != "" {
			attr[p] = v
		}
	}
	rule := k.eventRule()
	switch {
	case rule != nil:
		rule.Attr = attr
	case len(r.Things[eventRules]) >= maxEventRules:
		return reply{}, fail(400, "LimitExceededException", "The requested resource exceeds the maximum number allowed.")
	default:
		rule = &Thing{ID: k.onBus(name), ARN: ruleARN(k.Principal.Account, k.Region, k.onBus(name)), Tags: tags(k.list("Tags")), Attr: attr}
		r.Put(eventRules, rule)
	}
	return reply{body: map[string]any{"RuleArn": rule.ARN}, elements: map[string]any{"ruleArn": rule.ARN}}, nil
}

// deleteRule says of what is not there that it is done, as the service does.
func deleteRule(k *call) (reply, error) {
	if err := k.knownBus(); err != nil {
		return reply{}, err
	}
	if k.region().Things[ruleTargets][k.onBus(k.str("Name"))] != nil {
		return reply{}, fail(400, "ValidationException", "Rule can't be deleted since it has targets.")
	}
	delete(k.region().Things[eventRules], k.onBus(k.str("Name")))
	return reply{}, nil
}

func setRule(state string) func(*call) (reply, error) {
	return func(k *call) (reply, error) {
		rule, err := k.knownRule()
		if err != nil {
			return reply{}, err
		}
		rule.Attr["State"] = state
		return reply{}, nil
	}
}

func (t *Thing) ruleBody() map[string]any {
	body := maps.Clone(t.Attr)
	body["Name"], body["Arn"], body["EventBusName"] = t.ID, t.ARN, defaultBus
	if bus, name, ok := strings.Cut(t.ID, "/"); ok {
		body["Name"], body["EventBusName"] = name, bus
	}
	return body
}

func describeRule(k *call) (reply, error) {
	rule, err := k.knownRule()
	if err != nil {
		return reply{}, err
	}
	return reply{body: rule.ruleBody()}, nil
}

func listRules(k *call) (reply, error) {
	if err := k.knownBus(); err != nil {
		return reply{}, err
	}
	size, err := k.integer("Limit", 100)
	if err != nil || size < 1 || size > 100 {
		return reply{}, fail(400, "ValidationException", "1 validation error detected: Value at 'limit' failed to satisfy constraint: Member must have value less than or equal to 100")
	}
	all, own := k.region().Things[eventRules], []string{}
	for _, rule := range all {
		if body := rule.ruleBody(); body["EventBusName"] == k.bus() {
			own = append(own, body["Name"].(string))
		}
	}
	slices.Sort(own)
	names, next := namesPage(own, k.str("NamePrefix"), k.str("NextToken"), size)
	list := []any{}
	for _, name := range names {
		list = append(list, all[k.onBus(name)].ruleBody())
	}
	body := map[string]any{"Rules": list}
	if next != "" {
		body["NextToken"] = next
	}
	return reply{body: body}, nil
}

func listRuleTags(k *call) (reply, error) {
	for _, rule := range k.region().Things[eventRules] {
		if rule.ARN == k.str("ResourceARN") {
			return reply{body: map[string]any{"Tags": tagList(rule.Tags)}}, nil
		}
	}
	return reply{}, fail(400, "ResourceNotFoundException", "Rule %s does not exist.", k.str("ResourceARN"))
}

// onTargets: these calls name the rule Rule.
func onTargets(action string) func(*call) []need {
	return func(k *call) []need {
		return []need{{action: action, resource: ruleARN(k.Principal.Account, k.Region, k.onBus(k.str("Rule"))), context: policy.Context{"events:creatoraccount": {k.Principal.Account}}}}
	}
}

// targets of the rule that a call names.
func (k *call) targets() (rule string, list []any, err error) {
	rule = k.onBus(k.str("Rule"))
	if err := k.knownBus(); err != nil {
		return "", nil, err
	}
	if k.region().Things[eventRules][rule] == nil {
		return "", nil, fail(400, "ResourceNotFoundException", "Rule %s does not exist on EventBus %s.", k.str("Rule"), k.bus())
	}
	if t := k.region().Things[ruleTargets][rule]; t != nil {
		list, _ = t.Attr["targets"].([]any)
	}
	return rule, list, nil
}

func (k *call) keepTargets(rule string, list []any) reply {
	if len(list) == 0 {
		delete(k.region().Things[ruleTargets], rule)
	} else {
		k.region().Put(ruleTargets, &Thing{ID: rule, Attr: map[string]any{"targets": list}})
	}
	body := map[string]any{"FailedEntryCount": 0, "FailedEntries": []any{}}
	return reply{body: body, elements: map[string]any{"failedEntryCount": 0, "failedEntries": []any{}}}
}

func putTargets(k *call) (reply, error) {
	rule, list, err := k.targets()
	if err != nil {
		return reply{}, err
	}
	for _, t := range k.list("Targets") {
		if field(t, "Id") == "" || field(t, "Arn") == "" {
			return reply{}, fail(400, "ValidationException", "A target has an Id and an Arn")
		}
		if _, err := eventInputOf(t.(map[string]any)); err != nil {
			return reply{}, fail(400, "ValidationException", "%v", err)
		}
		list = append(without(list, field(t, "Id")), t)
	}
	return k.keepTargets(rule, list), nil
}

func removeTargets(k *call) (reply, error) {
	rule, list, err := k.targets()
	if err != nil {
		return reply{}, err
	}
	for _, id := range k.list("Ids") {
		s, _ := id.(string)
		list = without(list, s)
	}
	return k.keepTargets(rule, list), nil
}

// without is the targets but one.
func without(list []any, id string) []any {
	return slices.DeleteFunc(slices.Clone(list), func(t any) bool { return field(t, "Id") == id })
}

func listTargets(k *call) (reply, error) {
	_, list, err := k.targets()
	if err != nil {
		return reply{}, err
	}
	if list == nil {
		list = []any{}
	}
	return reply{body: map[string]any{"Targets": list}}, nil
}
