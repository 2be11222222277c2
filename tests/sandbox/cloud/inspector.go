package cloud

import "strings"

// InspectorRole is the path and name of the role that may read the settings of
// any account of the organisation.
const InspectorRole = "auditcanary/auditcanary-inspector"

// It trusts the runner like the others, under a source identity of its own: an
// inspection is no canary's call.
var trustInspection = strings.Replace(trustRunner, `"sts:SourceIdentity":"auditcanary"`, `"sts:SourceIdentity":"auditcanary-inspector"`, 1)

// What the inspector may do, in every account alike: look at settings. Nothing
// here changes anything, and nothing reads what is in an object, a log group or a secret.
const inspectorPolicy = `{"Version":"2012-10-17","Statement":[
 {"Sid":"Organization","Effect":"Allow","Action":["organizations:ListAccounts","organizations:DescribeOrganization"],"Resource":"*"},
 {"Sid":"Access","Effect":"Allow","Action":["iam:GetAccountAuthorizationDetails","iam:GetPolicy","iam:GetPolicyVersion","s3:GetBucketPolicy","kms:GetKeyPolicy","sns:GetTopicAttributes",
  "organizations:ListRoots","organizations:ListAccountsForParent","organizations:ListOrganizationalUnitsForParent","organizations:ListPolicies","organizations:ListTargetsForPolicy",
  "organizations:DescribePolicy","organizations:ListDelegatedAdministrators"],"Resource":"*"},
 {"Sid":"Trails","Effect":"Allow","Action":["cloudtrail:DescribeTrails","cloudtrail:GetTrail","cloudtrail:GetTrailStatus","cloudtrail:GetEventSelectors","cloudtrail:LookupEvents"],"Resource":"*"},
 {"Sid":"Archive","Effect":"Allow","Action":["s3:GetBucketVersioning","s3:GetBucketObjectLockConfiguration","s3:GetLifecycleConfiguration","s3:GetReplicationConfiguration",
  "s3:GetEncryptionConfiguration","s3:GetBucketPolicyStatus"],"Resource":"*"},
 {"Sid":"Keys","Effect":"Allow","Action":"kms:DescribeKey","Resource":"*"},
 ` + inspectFixtures + `
 {"Sid":"AlertPath","Effect":"Allow","Action":["events:DescribeRule","events:ListTargetsByRule","sns:ListSubscriptionsByTopic","sns:GetSubscriptionAttributes",
  "cloudwatch:DescribeAlarms","cloudwatch:DescribeAlarmHistory","cloudwatch:GetMetricData","cloudwatch:ListAlarmMuteRules","logs:DescribeLogGroups","logs:DescribeMetricFilters",
  "guardduty:ListDetectors","guardduty:GetDetector","guardduty:ListFilters","guardduty:GetFilter","guardduty:ListFindings","guardduty:GetFindings","securityhub:GetFindings"],"Resource":"*"}]}`
