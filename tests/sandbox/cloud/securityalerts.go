package cloud

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
)

// The security team's alerts: every account and region in which canaries run forwards
// its events to one bus in the management account. There a rule for each alert picks
// what it looks at and tells a topic, which people read by mail and the product
// through a queue of its own in the archive's account, the tap.
const (
	// SecurityBus is in the management account, us-east-1.
	SecurityBus = "security"
	// ForwardRule is on the default bus of every target account and region.
	ForwardRule = "security-forward"

	alertRegion = "us-east-1"
)

// AlertTapURL is the queue in which the product finds an alert.
func AlertTapURL(alert string) string {
	return QueueURL(ArchiveAccount, alertRegion, alertTap(alert))
}

func alertTap(alert string) string { return "auditcanary-alert-tap-" + alert }

// AlertNames are the alerts of the security bus; a rule there has the name of each.
func AlertNames() []string {
	var names []string
	for _, a := range securityAlerts {
		names = append(names, a.name)
	}
	slices.Sort(names)
	return names
}

// securityAlert is a rule on the security bus.
type securityAlert struct {
	name string
	// detail of the pattern: which records.
	detail string
	// reads: the rule sees management events that only read.
	reads bool
	// raw: the topic hands on the message as it is. direct: there is no topic, the rule
	// tells the queue itself.
	raw, direct bool
	// transformer of the target, "" = the whole event is told.
	transformer string
}

// successOf are calls that were not refused: most rules people write look at no others.
func successOf(calls ...string) string { return detailOf(`"errorCode":[{"exists":false}],`, calls) }

func eitherOf(calls ...string) string { return detailOf("", calls) }

func detailOf(more string, calls []string) string {
	names, _ := json.Marshal(calls) // strings
	return `{` + more + `"eventName":` + string(names) + `}`
}

var securityAlerts = []securityAlert{
	{name: "permissions-changed", detail: successOf("CreateRole", "AttachRolePolicy", "DetachRolePolicy", "PutRolePolicy", "DeleteRolePolicy", "UpdateAssumeRolePolicy", "CreatePolicy",
		"CreatePolicyVersion", "DeletePolicy", "DeleteRolePermissionsBoundary", "CreateUser", "CreateAccessKey", "UpdateAccessKey", "CreateOpenIDConnectProvider", "CreateAccessEntry")},
	{name: "network-changed", detail: `{"eventSource":["ec2.amazonaws.com"],"errorCode":[{"exists":false}],"eventName":[{"prefix":"AuthorizeSecurityGroup"},{"prefix":"RevokeSecurityGroup"},
		{"wildcard":"*NetworkAcl*"},{"suffix":"RouteTable"},{"suffix":"InternetGateway"},"CreateRoute","ReplaceRoute"]}`},
	{name: "keys-changed", raw: true, detail: `{"eventSource":["kms.amazonaws.com"],"eventName":["DisableKey","EnableKey","ScheduleKeyDeletion","CancelKeyDeletion","CreateGrant","PutKeyPolicy","DeleteImportedKeyMaterial"]}`},
	{name: "logging-tampered", detail: successOf("StopLogging", "DeleteTrail", "UpdateTrail", "PutEventSelectors", "DeleteFlowLogs", "DeleteLogGroup", "DeleteMetricFilter", "PutMetricFilter",
		"StopConfigurationRecorder", "DeleteConfigurationRecorder", "DisableRule", "DeleteRule", "PutRule", "RemoveTargets")},
	{name: "backup-tampered", detail: eitherOf("CreateBackupVault", "DeleteBackupVault", "PutBackupVaultLockConfiguration", "DeleteBackupVaultLockConfiguration", "DeleteRecoveryPoint", "DeleteSnapshot",
		"PutRetentionPolicy", "DeleteRetentionPolicy", "PutBucketLifecycle", "DeleteBucketLifecycle", "PutBucketObjectLockConfiguration", "PutObjectLockRetention")},
	{name: "storage-opened", detail: eitherOf("PutBucketPolicy", "DeleteBucketPolicy", "PutBucketAcl", "PutBucketPublicAccessBlock", "DeleteBucketPublicAccessBlock", "ModifySnapshotAttribute",
		"ModifyDBSnapshotAttribute", "ModifyDBClusterSnapshotAttribute"),
		transformer: `{"InputPathsMap":{"what":"$.detail.eventName","who":"$.detail.userIdentity.arn","where":"$.account","id":"$.detail.eventID","request":"$.detail.requestID"},
		"InputTemplate":"{\"title\":\"Storage was opened: <what> by <who>\",\"rule\":\"<aws.events.rule-name>\",\"account\":<where>,\"eventID\":<id>,\"requestID\":<request>}"}`},
	{name: "security-tooling-changed", detail: `{"eventSource":["guardduty.amazonaws.com","securityhub.amazonaws.com","wafv2.amazonaws.com","config.amazonaws.com","events.amazonaws.com","access-analyzer.amazonaws.com"],"readOnly":[false]}`},
	{name: "break-glass-used", reads: true, detail: `{"eventName":["AssumeRole"],"requestParameters":{"roleArn":[{"suffix":":role/auditcanary-break-glass"}]}}`},
	{name: "host-access-changed", detail: successOf("ImportKeyPair", "CreateKeyPair", "CreateInstanceProfile", "AddRoleToInstanceProfile", "CreateDocument", "UpdateDocument", "SendCommand", "StartSession")},
	{name: "configuration-changed", raw: true, detail: `{"eventSource":["organizations.amazonaws.com","rds.amazonaws.com","secretsmanager.amazonaws.com","ssm.amazonaws.com"],"errorCode":[{"exists":false}],"readOnly":[false]}`},
	{name: "tampering-refused", direct: true, detail: `{"errorCode":[{"exists":true}],"readOnly":[false]}`},
	{name: "privileged-activity", detail: `{"readOnly":[false]}`},
}

func alertTopic(alert string) string {
	return topicARN(ManagementAccount, alertRegion, "security-"+alert)
}

func seedSecurityAlerts(w *Seed) {
	bus := busARN(ManagementAccount, alertRegion, SecurityBus)
	for _, account := range w.Extent.Accounts {
		for _, region := range w.Extent.Regions {
			r := w.Accounts[account].Regions[region]
			r.Put(eventRules, &Thing{ID: ForwardRule, ARN: ruleARN(account, region, ForwardRule), Attr: map[string]any{
				"State": "ENABLED_WITH_ALL_CLOUDTRAIL_MANAGEMENT_EVENTS", "EventPattern": `{"source":[{"prefix":"aws."}],"account":["` + account + `"]}`,
			}})
			r.Put(ruleTargets, &Thing{ID: ForwardRule, Attr: map[string]any{"targets": []any{map[string]any{"Id": "security", "Arn": bus}}}})
		}
	}
	r, tap := w.Accounts[ManagementAccount].Regions[alertRegion], w.Accounts[ArchiveAccount].Regions[alertRegion]
	r.Put(eventBuses, &Thing{ID: SecurityBus, ARN: bus, Attr: map[string]any{"Policy": `{"Version":"2012-10-17","Statement":[{"Sid":"OurOrganization","Effect":"Allow","Principal":"*",
		"Action":"events:PutEvents","Resource":"` + bus + `","Condition":{"StringEquals":{"aws:PrincipalOrgID":"` + Organization + `"}}}]}`}})
	for _, a := range securityAlerts {
		id := busRule(SecurityBus, a.name)
		rule, topic := ruleARN(ManagementAccount, alertRegion, id), alertTopic(a.name)
		queue := queueARN(ArchiveAccount, alertRegion, alertTap(a.name))
		state, to, sender, source := "ENABLED", topic, "sns.amazonaws.com", topic
		if a.reads {
			state = "ENABLED_WITH_ALL_CLOUDTRAIL_MANAGEMENT_EVENTS"
		}
		if a.direct {
			to, sender, source = queue, "events.amazonaws.com", rule
		}
		target := map[string]any{"Id": "alert", "Arn": to}
		if a.transformer != "" {
			var t map[string]any
			if err := json.Unmarshal([]byte(a.transformer), &t); err != nil {
				panic("transformer of " + a.name + ": " + err.Error())
			}
			target["InputTransformer"] = t
		}
		r.Put(eventRules, &Thing{ID: id, ARN: rule, Attr: map[string]any{"State": state, "EventPattern": `{"detail-type":["AWS API Call via CloudTrail"],"detail":` + a.detail + `}`}})
		r.Put(ruleTargets, &Thing{ID: id, Attr: map[string]any{"targets": []any{target}}})
		tap.Put(queues, &Thing{ID: alertTap(a.name), ARN: queue, Attr: map[string]any{
			"VisibilityTimeout": "30", "MessageRetentionPeriod": "1209600", "Policy": fmt.Sprintf(tapPolicy, sender, queue, source, ReaderRole()),
		}})
		if a.direct {
			continue
		}
		r.Put(topics, &Thing{ID: topic, ARN: topic, Attr: map[string]any{"Policy": admitsRule(topic, rule)}})
		for protocol, endpoint := range map[string]string{"email": AlertEndpoint, "sqs": queue} {
			sub := topic + ":" + subscriptionID(topic, protocol)
			s := &Thing{ID: sub, ARN: sub, Attr: map[string]any{"topic": topic, "protocol": protocol, "endpoint": endpoint, "pending": false}}
			if protocol == "sqs" && a.raw {
				s.Attr["raw"] = true
			}
			r.Put(subscriptions, s)
		}
	}
}

func subscriptionID(topic, protocol string) string {
	d := digest(topic, protocol)
	return strings.Join([]string{d[:8], d[8:12], "4" + d[12:15], "a" + d[15:18], d[18:30]}, "-")
}

// admitsRule is the policy of a topic that a rule may publish to.
func admitsRule(topic, rule string) string {
	return `{"Version":"2012-10-17","Statement":[{"Sid":"EventRule","Effect":"Allow","Principal":{"Service":"events.amazonaws.com"},"Action":"sns:Publish","Resource":"` + topic +
		`","Condition":{"ArnEquals":{"aws:SourceArn":"` + rule + `"}}}]}`
}

// tapPolicy: who sends, what it is, for whom; and the reader, who takes messages away.
const tapPolicy = `{"Version":"2012-10-17","Statement":[
 {"Sid":"Alerts","Effect":"Allow","Principal":{"Service":"%[1]s"},"Action":"sqs:SendMessage","Resource":"%[2]s","Condition":{"ArnEquals":{"aws:SourceArn":"%[3]s"}}},
 {"Sid":"Reader","Effect":"Allow","Principal":{"AWS":"%[4]s"},
  "Action":["sqs:ReceiveMessage","sqs:DeleteMessage","sqs:ChangeMessageVisibility","sqs:GetQueueAttributes"],"Resource":"%[2]s"}]}`
