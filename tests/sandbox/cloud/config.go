package cloud

import (
	"maps"
	"slices"
	"strings"

	"github.com/auditcanary/auditcanary/tests/sandbox/cloud/policy"
)

// The AWS Config guide's sample of StopConfigurationRecorder has
// configurationRecorderName and responseElements null. That PutConfigRule and
// DeleteConfigRule, which answer nothing either, leave their parameters and null
// is inferred.
func configService() service {
	return service{
		source: "config.amazonaws.com", wire: json11{},
		ops: map[string]operation{
			"PutConfigRule":                  {needs: newConfigRule, do: putConfigRule},
			"DeleteConfigRule":               {needs: onConfigRule("config:DeleteConfigRule"), do: deleteConfigRule},
			"DescribeConfigRules":            {readOnly: true, needs: anyOf("config:DescribeConfigRules"), do: describeConfigRules},
			"ListTagsForResource":            {readOnly: true, needs: onConfigARN("config:ListTagsForResource"), do: listConfigTags},
			"StopConfigurationRecorder":      {needs: onRecorder("config:StopConfigurationRecorder"), do: setRecorder(false)},
			"StartConfigurationRecorder":     {needs: onRecorder("config:StartConfigurationRecorder"), do: setRecorder(true)},
			"DescribeConfigurationRecorders": {readOnly: true, needs: onRecorders("config:DescribeConfigurationRecorders"), do: describeRecorders},
		},
		seed: func(w *Seed, account, region string) {
			w.Accounts[account].Regions[region].Put(recorders, &Thing{
				ID: "default", ARN: recorderARN(account, region, "default", digest(account, region, "recorder")[:16]), Attr: map[string]any{"recording": true},
			})
		},
	}
}

// Kinds of things.
const (
	configRules = "config rule" // by name
	recorders   = "configuration recorder"
)

func recorderARN(account, region, name, id string) string {
	return "arn:aws:config:" + region + ":" + account + ":configuration-recorder/" + name + "/" + id
}

func (k *call) configRuleARN(id string) string {
	return "arn:aws:config:" + k.Region + ":" + k.Principal.Account + ":config-rule/" + id
}

// newConfigRule: a rule that is not there yet has no id, so that a policy can only
// speak of all rules. (Inferred: the reference demands the resource type.)
func newConfigRule(k *call) []need {
	n := need{action: "config:PutConfigRule", resource: k.configRuleARN("*"), context: requestTags(policy.Context{}, tags(k.list("Tags")))}
	rule, _ := k.Params["ConfigRule"].(map[string]any)
	if old := k.region().Things[configRules][field(rule, "ConfigRuleName")]; old != nil {
		n.resource = old.ARN
		tagKeys(n.context, "aws:ResourceTag/", old.Tags)
	}
	return []need{n}
}

// onConfigRule: what is not there has no tags that a condition could look at.
func onConfigRule(action string) func(*call) []need {
	return func(k *call) []need {
		n := need{action: action, resource: k.configRuleARN("*"), context: policy.Context{}}
		if rule := k.region().Things[configRules][k.str("ConfigRuleName")]; rule != nil {
			n.resource = rule.ARN
			tagKeys(n.context, "aws:ResourceTag/", rule.Tags)
		}
		return []need{n}
	}
}

func onConfigARN(action string) func(*call) []need {
	return func(k *call) []need { return []need{{action: action, resource: k.str("ResourceArn")}} }
}

// onRecorder: the id of a recorder that is not there is empty. (Inferred.)
func onRecorder(action string) func(*call) []need {
	return func(k *call) []need {
		name := k.str("ConfigurationRecorderName")
		arn := recorderARN(k.Principal.Account, k.Region, name, "")
		if r := k.region().Things[recorders][name]; r != nil {
			arn = r.ARN
		}
		return []need{{action: action, resource: arn}}
	}
}

func onRecorders(action string) func(*call) []need {
	return func(k *call) []need {
		return []need{{action: action, resource: recorderARN(k.Principal.Account, k.Region, "*", "*")}}
	}
}

// managedRules are those of AWS's rules that the sandbox knows.
var managedRules = []string{"S3_BUCKET_VERSIONING_ENABLED", "S3_BUCKET_LOGGING_ENABLED", "S3_BUCKET_PUBLIC_READ_PROHIBITED", "CLOUD_TRAIL_ENABLED"}

const maxConfigRules = 1000 // AWS's limit for an account and region

func putConfigRule(k *call) (reply, error) {
	rule, _ := k.Params["ConfigRule"].(map[string]any)
	name, r := field(rule, "ConfigRuleName"), k.region()
	switch {
	case len(r.Things[recorders]) == 0:
		return reply{}, fail(400, "NoAvailableConfigurationRecorderException", "Configuration recorder is not available to put config rule.")
	case name == "" || len(name) > 128:
		return reply{}, fail(400, "InvalidParameterValueException", "The ConfigRuleName is required, of at most 128 characters.")
	case field(rule["Source"], "Owner") != "AWS" || !slices.Contains(managedRules, field(rule["Source"], "SourceIdentifier")):
		return reply{}, fail(400, "InvalidParameterValueException", "The sourceIdentifier %s is invalid. Please refer to the documentation for a list of valid sourceIdentifiers that can be used when AWS is the Owner.", field(rule["Source"], "SourceIdentifier"))
	}
	if old := r.Things[configRules][name]; old != nil { // the tags stay as they were given first
		old.Attr = rule
		return reply{}, nil
	}
	if len(r.Things[configRules]) >= maxConfigRules {
		return reply{}, fail(400, "MaxNumberOfConfigRulesExceededException", "Failed to create the rule: the limit of %d is reached.", maxConfigRules)
	}
	id := "config-rule-" + randomText(6, "abcdefghijklmnopqrstuvwxyz0123456789")
	r.Put(configRules, &Thing{ID: name, ARN: k.configRuleARN(id), Tags: tags(k.list("Tags")), Attr: rule})
	return reply{}, nil
}

func noSuchConfigRule(name string) error {
	return fail(400, "NoSuchConfigRuleException", "The ConfigRule '%s' provided in the request is invalid. Please check the configRule name", name)
}

func deleteConfigRule(k *call) (reply, error) {
	name, all := k.str("ConfigRuleName"), k.region().Things[configRules]
	if all[name] == nil {
		return reply{}, noSuchConfigRule(name)
	}
	delete(all, name) // AWS takes a while over it; here effects are consistent at once
	return reply{}, nil
}

// describeConfigRules pages by 25, which is also how many names one may ask for.
func describeConfigRules(k *call) (reply, error) {
	all := k.region().Things[configRules]
	names, next := namesPage(slices.Sorted(maps.Keys(all)), "", k.str("NextToken"), 25)
	if asked := k.list("ConfigRuleNames"); len(asked) > 0 {
		names, next = nil, ""
		for _, n := range asked {
			name, _ := n.(string)
			if all[name] == nil {
				return reply{}, noSuchConfigRule(name)
			}
			names = append(names, name)
		}
	}
	list := []any{}
	for _, name := range names {
		one := maps.Clone(all[name].Attr)
		one["ConfigRuleArn"], one["ConfigRuleState"] = all[name].ARN, "ACTIVE"
		one["ConfigRuleId"] = all[name].ARN[strings.LastIndexByte(all[name].ARN, '/')+1:]
		list = append(list, one)
	}
	body := map[string]any{"ConfigRules": list}
	if next != "" {
		body["NextToken"] = next
	}
	return reply{body: body}, nil
}

func listConfigTags(k *call) (reply, error) {
	for _, rule := range k.region().Things[configRules] {
		if rule.ARN == k.str("ResourceArn") {
			return reply{body: map[string]any{"Tags": tagList(rule.Tags)}}, nil
		}
	}
	return reply{}, fail(400, "ResourceNotFoundException", "ResourceArn '%s' does not exist", k.str("ResourceArn"))
}

func setRecorder(on bool) func(*call) (reply, error) {
	return func(k *call) (reply, error) {
		name := k.str("ConfigurationRecorderName")
		r := k.region().Things[recorders][name]
		if r == nil {
			return reply{}, fail(400, "NoSuchConfigurationRecorderException", "Cannot find configuration recorder with the specified name '%s'.", name)
		}
		r.Attr["recording"] = on
		return reply{}, nil
	}
}

func describeRecorders(k *call) (reply, error) {
	list, all := []any{}, k.region().Things[recorders]
	for _, name := range slices.Sorted(maps.Keys(all)) {
		list = append(list, map[string]any{"name": name, "arn": all[name].ARN, "recordingGroup": map[string]any{"allSupported": true}})
	}
	return reply{body: map[string]any{"ConfigurationRecorders": list}}, nil
}
