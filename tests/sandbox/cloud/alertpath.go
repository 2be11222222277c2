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
	// TamperAlarm and NetworkAlarm count what is in the CIS AWS Foundations Benchmark
	// (4.5 and 4.10): changes of trails, and of security groups.
	TamperAlarm          = "logging-tampered"
	TamperFilterPattern  = `{ ($.eventName = CreateTrail) || ($.eventName = UpdateTrail) || ($.eventName = DeleteTrail) || ($.eventName = StartLogging) || ($.eventName = StopLogging) }`
	NetworkAlarm         = "network-changed"
	NetworkFilterPattern = `{ ($.eventName = AuthorizeSecurityGroupIngress) || ($.eventName = AuthorizeSecurityGroupEgress) || ($.eventName = RevokeSecurityGroupIngress) || ($.eventName = RevokeSecurityGroupEgress) || ($.eventName = CreateSecurityGroup) || ($.eventName = DeleteSecurityGroup) }`
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
	for _, a := range []struct{ alarm, filter, pattern, metric string }{
		{AlertAlarm, AlertFilter, AlertFilterPattern, "RootActivity"},
		{TamperAlarm, TamperAlarm, TamperFilterPattern, "LoggingTampered"},
		{NetworkAlarm, NetworkAlarm, NetworkFilterPattern, "NetworkChanged"},
	} {
		r.Put(metricFilters, &Thing{ID: AlertLogGroup + ":" + a.filter, Attr: map[string]any{
			"filterPattern": a.pattern, "metricTransformations": []any{map[string]any{"metricName": a.metric, "metricNamespace": "Security", "metricValue": "1"}},
		}})
		r.Put(metricAlarms, &Thing{ID: a.alarm, ARN: alarmARN(ManagementAccount, region, a.alarm), Attr: map[string]any{
			"ActionsEnabled": true, "AlarmActions": []any{AlertTopic}, "MetricName": a.metric, "Namespace": "Security", "StateValue": "OK",
			"Statistic": "Sum", "Period": 300, "EvaluationPeriods": 1, "Threshold": 1.0, "ComparisonOperator": "GreaterThanOrEqualToThreshold", "TreatMissingData": "notBreaching",
		}})
	}
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
