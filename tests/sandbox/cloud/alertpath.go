package cloud

import "time"

// The alert path of the world: in the management account a rule that sees all
// management events and tells a topic to which the security team is subscribed,
// and a metric filter on the trail's log group with an alarm that tells it too.
// The detectors are the target accounts' own.
const (
	AlertRule     = "privileged-activity"
	AlertTopic    = "arn:aws:sns:us-east-1:" + ManagementAccount + ":security-alerts"
	AlertEndpoint = "security@example.com"
	AlertAlarm    = "root-activity"
	AlertLogGroup = "aws-cloudtrail-logs"
	AlertFilter   = "root-activity"
	// AlertFilterPattern is what AlertFilter counts.
	AlertFilterPattern = `{ $.userIdentity.type = "Root" && $.userIdentity.invokedBy NOT EXISTS }`
	// AlertSubscription is the security team's.
	AlertSubscription = AlertTopic + ":5ec0d1a1-0000-4000-8000-000000000001"
)

func seedAlertPath(w *Seed) {
	const region = "us-east-1"
	r := w.Accounts[ManagementAccount].Regions[region]
	r.Trails[TrailName].LogGroup = logGroupARN(ManagementAccount, region, AlertLogGroup) + ":*"
	r.Put(eventRules, &Thing{ID: AlertRule, ARN: ruleARN(ManagementAccount, region, AlertRule), Attr: map[string]any{
		"State": "ENABLED_WITH_ALL_CLOUDTRAIL_MANAGEMENT_EVENTS", "EventPattern": `{"detail-type":["AWS API Call via CloudTrail"]}`,
	}})
	r.Put(ruleTargets, &Thing{ID: AlertRule, Attr: map[string]any{"targets": []any{map[string]any{"Id": "security", "Arn": AlertTopic}}}})
	r.Put(topics, &Thing{ID: AlertTopic, ARN: AlertTopic, Attr: map[string]any{"Policy": admitsRule(AlertTopic, ruleARN(ManagementAccount, region, AlertRule))}})
	r.Put(subscriptions, &Thing{ID: AlertSubscription, ARN: AlertSubscription, Attr: map[string]any{
		"topic": AlertTopic, "protocol": "email", "endpoint": AlertEndpoint, "pending": false,
	}})
	r.Put(logGroups, &Thing{ID: AlertLogGroup, ARN: logGroupARN(ManagementAccount, region, AlertLogGroup), Attr: map[string]any{
		"retentionInDays": 365.0, "deletionProtectionEnabled": true,
	}})
	r.Put(metricFilters, &Thing{ID: AlertLogGroup + ":" + AlertFilter, Attr: map[string]any{
		"filterPattern": AlertFilterPattern, "metricTransformations": []any{map[string]any{"metricName": "RootActivity", "metricNamespace": "Security", "metricValue": "1"}},
	}})
	r.Put(metricAlarms, &Thing{ID: AlertAlarm, ARN: alarmARN(ManagementAccount, region, AlertAlarm), Attr: map[string]any{
		"ActionsEnabled": true, "AlarmActions": []any{AlertTopic}, "MetricName": "RootActivity", "Namespace": "Security", "StateValue": "OK",
	}})
}

// ArchiveKey is a key of the archive's account, for whoever wants the archive
// encrypted with one.
func ArchiveKey() string {
	return "arn:aws:kms:us-east-1:" + ArchiveAccount + ":key/" + keyID(ArchiveAccount, "us-east-1")
}

func seedArchiveKey(w *Seed, created time.Time) {
	id := keyID(ArchiveAccount, "us-east-1")
	w.Accounts[ArchiveAccount].Regions["us-east-1"].Keys[id] = &KMSKey{ID: id, Description: "the archive's", Enabled: true, Created: created}
}
