package cloud

import (
	"maps"
	"slices"
	"strings"
)

// CloudWatch: the alarms of a region, and the rules that mute them. Records name
// the source monitoring.amazonaws.com; that they show parameters with small first
// letters is inferred.
func cloudwatchService() service {
	return service{
		source: "monitoring.amazonaws.com", wire: rpcCBOR{}, apiVersion: "2010-08-01",
		ops: map[string]operation{
			"DescribeAlarms":       {readOnly: true, needs: describeAlarmsNeeds, do: describeAlarms},
			"DescribeAlarmHistory": {readOnly: true, needs: alarmHistoryNeeds, do: describeAlarmHistory},
			"GetMetricData":        {readOnly: true, data: true, needs: anyOf("cloudwatch:GetMetricData"), do: getMetricData},
			"DisableAlarmActions":  {needs: onAlarms("cloudwatch:DisableAlarmActions"), do: setAlarmActions(false)},
			"EnableAlarmActions":   {needs: onAlarms("cloudwatch:EnableAlarmActions"), do: setAlarmActions(true)},
			"DeleteAlarms":         {needs: onAlarms("cloudwatch:DeleteAlarms"), do: deleteAlarms},
			"ListAlarmMuteRules":   {readOnly: true, needs: muteRuleNeeds("cloudwatch:ListAlarmMuteRules", "*"), do: listMuteRules},
			"PutAlarmMuteRule":     {needs: putMuteRuleNeeds, do: putMuteRule},
		},
	}
}

// Kinds of things: alarms by name, mute rules by name.
const (
	metricAlarms = "cloudwatch alarm"
	muteRules    = "cloudwatch mute rule"
)

func alarmARN(account, region, name string) string {
	return "arn:aws:cloudwatch:" + region + ":" + account + ":alarm:" + name
}

func muteRuleARN(account, region, name string) string {
	return "arn:aws:cloudwatch:" + region + ":" + account + ":alarm-mute-rule:" + name
}

func describeAlarmsNeeds(k *call) []need {
	return []need{{action: "cloudwatch:DescribeAlarms", resource: alarmARN(k.Principal.Account, k.Region, "*")}}
}

func alarmHistoryNeeds(k *call) []need {
	name := k.str("AlarmName")
	if name == "" {
		name = "*"
	}
	return []need{{action: "cloudwatch:DescribeAlarmHistory", resource: alarmARN(k.Principal.Account, k.Region, name)}}
}

// names of the alarms that a call is about.
func (k *call) alarmNames() (names []string) {
	for _, n := range k.list("AlarmNames") {
		s, _ := n.(string)
		names = append(names, s)
	}
	return names
}

func onAlarms(action string) func(*call) []need {
	return func(k *call) (needs []need) {
		for _, name := range k.alarmNames() {
			needs = append(needs, need{action: action, resource: alarmARN(k.Principal.Account, k.Region, name)})
		}
		return needs
	}
}

func muteRuleNeeds(action, name string) func(*call) []need {
	return func(k *call) []need {
		return []need{{action: action, resource: muteRuleARN(k.Principal.Account, k.Region, name)}}
	}
}

func putMuteRuleNeeds(k *call) []need {
	return muteRuleNeeds("cloudwatch:PutAlarmMuteRule", k.str("Name"))(k)
}

func describeAlarms(k *call) (reply, error) {
	wanted := k.alarmNames()
	if len(wanted) > 100 {
		return reply{}, fail(400, "ValidationError", "At most 100 names")
	}
	all, list := k.region().Things[metricAlarms], []any{}
	for _, name := range slices.Sorted(maps.Keys(all)) {
		if len(wanted) > 0 && !slices.Contains(wanted, name) || !strings.HasPrefix(name, k.str("AlarmNamePrefix")) {
			continue
		}
		list = append(list, k.cloud.alarmBody(all[name]))
	}
	return reply{body: map[string]any{"MetricAlarms": list, "CompositeAlarms": []any{}, "LogAlarms": []any{}}}, nil
}

// setAlarmActions passes over names that are no alarm's, as the service does.
func setAlarmActions(on bool) func(*call) (reply, error) {
	return func(k *call) (reply, error) {
		for _, name := range k.alarmNames() {
			if a := k.region().Things[metricAlarms][name]; a != nil {
				a.Attr["ActionsEnabled"] = on
			}
		}
		return reply{}, nil
	}
}

func deleteAlarms(k *call) (reply, error) {
	all := k.region().Things[metricAlarms]
	for _, name := range k.alarmNames() {
		if all[name] == nil {
			return reply{}, fail(404, "ResourceNotFound", "Alarm %s does not exist", name)
		}
	}
	for _, name := range k.alarmNames() {
		delete(all, name)
	}
	return reply{}, nil
}

func putMuteRule(k *call) (reply, error) {
	targets, _ := k.Params["MuteTargets"].(map[string]any)
	names, _ := targets["AlarmNames"].([]any)
	if k.str("Name") == "" || k.Params["Rule"] == nil || len(names) == 0 {
		return reply{}, fail(400, "ValidationError", "A mute rule has a Name, a Rule, and MuteTargets with AlarmNames")
	}
	k.region().Put(muteRules, &Thing{ID: k.str("Name"), ARN: muteRuleARN(k.Principal.Account, k.Region, k.str("Name")), Attr: map[string]any{"alarms": names}})
	return reply{}, nil
}

func listMuteRules(k *call) (reply, error) {
	all, list := k.region().Things[muteRules], []any{}
	for _, name := range slices.Sorted(maps.Keys(all)) {
		alarms, _ := all[name].Attr["alarms"].([]any)
		if of := k.str("AlarmName"); of == "" || slices.Contains(alarms, any(of)) {
			list = append(list, map[string]any{"AlarmMuteRuleArn": all[name].ARN, "Status": "ACTIVE", "MuteType": "RECURRING"})
		}
	}
	return reply{body: map[string]any{"AlarmMuteRuleSummaries": list}}, nil
}
