package event

import (
	"regexp"
	"slices"
	"strings"
)

// NamedDifference is one known way in which a provider's record legitimately
// does not say what the caller knows. It is as narrow as the fact behind it.
type NamedDifference struct {
	// Name goes into Difference.Rule.
	Name string
	// Why the provider does it.
	Why string
	// Source of the fact: a record under testdata, or documentation.
	Source string

	explains func(want, got *Event, m mismatch) bool
}

// NamedDifferences lists the known differences of a log format (LogName).
func NamedDifferences(logName string) []NamedDifference {
	return slices.Clone(differencesOf(logName))
}

func differencesOf(logName string) []NamedDifference {
	switch logName {
	case "cloudtrail":
		return cloudTrailDifferences[:]
	case Kubernetes:
		return kubernetesDifferences[:]
	}
	return nil
}

// explain names the rule that explains m, "" if none does. Whatever a rule looks
// at beyond the field itself it takes from want where it can: got is what is
// under suspicion.
func explain(want, got *Event, m mismatch) string {
	for _, d := range differencesOf(got.Metadata.LogName) {
		if d.explains(want, got, m) {
			return d.Name
		}
	}
	return ""
}

const (
	ec2 = "ec2.amazonaws.com"
	s3  = "s3.amazonaws.com"
)

// There is no rule for any field of the actor, the account, the region, the
// source address, the request id or the time: there the record is right or wrong.
// There is none for KMS key ids either: they are recorded as sent, an id as an id
// and an ARN as an ARN (KMS developer guide, log entries of DisableKey and Decrypt).
var cloudTrailDifferences = [...]NamedDifference{
	{
		Name: "null-parameters-on-denial",
		Why: "A call that IAM refuses before the service has read its parameters is recorded with requestParameters null. " +
			"EC2, S3 and AppSync read them first and record them.",
		Source: "testdata/traildiscover: IAM-PutRolePolicy, RDS-AuthorizeDBSecurityGroupIngress, Lambda, ECS, SES, SNS, WAFv2 and others; STS and Organizations in DataDog/stratus-red-team's detonation logs",
		explains: func(want, got *Event, m mismatch) bool {
			return m.field == "api.request" && m.absent && isDenial(want.API.Error) && isDenial(got.API.Error) &&
				!slices.Contains([]string{ec2, s3, "appsync.amazonaws.com"}, want.API.Service)
		},
	},
	{
		Name:   "access-denied-spelling",
		Why:    "A refusal by IAM is recorded as AccessDenied whatever the service's protocol calls it: AccessDeniedException in JSON protocols, AuthorizationError in SNS.",
		Source: "testdata/traildiscover: CloudWatch-DeleteLogStream, Lambda-CreateEventSourceMapping20150331, SNS-ListSubscriptions",
		explains: func(want, got *Event, m mismatch) bool {
			return m.field == "api.error" && m.found == "AccessDenied" &&
				(m.expected == "AccessDeniedException" || m.expected == "AuthorizationError" && want.API.Service == "sns.amazonaws.com")
		},
	},
	{
		Name:   "ec2-error-class",
		Why:    "EC2 records whose fault an error is before the code that it answers: Client.UnauthorizedOperation, Client.DryRunOperation, Server.InternalError.",
		Source: "testdata/panther: RunInstances (Client.DryRunOperation); testdata/traildiscover: EC2-DeleteFlowLogs (Client.InvalidParameterValue)",
		explains: func(want, got *Event, m mismatch) bool {
			return m.field == "api.error" && want.API.Service == ec2 && m.expected != "" &&
				(m.found == "Client."+m.expected || m.found == "Server."+m.expected)
		},
	},
	{
		Name:   "iam-error-exception-suffix",
		Why:    "IAM answers NoSuchEntity and records the class name of it, NoSuchEntityException.",
		Source: "a CloudTrail record of iam:GetRole by Access Analyzer in a public detection-rule test (October 2024)",
		explains: func(want, got *Event, m mismatch) bool {
			return m.field == "api.error" && want.API.Service == "iam.amazonaws.com" && m.expected != "" && m.found == m.expected+"Exception"
		},
	},
	{
		Name:   "lambda-operation-version",
		Why:    "Lambda records its operations with the date of the API version: UpdateFunctionCode20150331v2.",
		Source: "testdata/traildiscover: Lambda-CreateEventSourceMapping20150331",
		explains: func(want, got *Event, m mismatch) bool {
			suffix, ok := strings.CutPrefix(m.found, m.expected)
			return m.field == "api.operation" && want.API.Service == "lambda.amazonaws.com" && ok && apiVersion.MatchString(suffix)
		},
	},
	{
		Name:   "s3-operation-name",
		Why:    "S3 records some operations under an older name than the API's.",
		Source: "testdata/invictus: GetBucketPublicAccessBlock, GetBucketLifecycle; testdata/traildiscover: S3-GetBucketRequestPayment (get-object-lock-configuration); Amazon S3 user guide, CloudTrail events",
		explains: func(want, got *Event, m mismatch) bool {
			return m.field == "api.operation" && want.API.Service == s3 && m.found != "" && s3OperationNames[m.expected] == m.found
		},
	},
	{
		Name:   "s3-bracketed-user-agent",
		Why:    "S3 records the user agent in brackets.",
		Source: "testdata/traildiscover: S3-DeleteBucketPolicy; testdata/invictus: CreateBucket",
		explains: func(want, got *Event, m mismatch) bool {
			return m.field == "http_request.user_agent" && want.API.Service == s3 && m.found == "["+m.expected+"]"
		},
	},
	{
		Name:   "user-agent-cut",
		Why:    "CloudTrail cuts a user agent at 1 KB.",
		Source: "CloudTrail user guide, record contents: the maximum sizes of fields",
		explains: func(want, got *Event, m mismatch) bool {
			// At most one UTF-8 character (3 further bytes) is lost at the cut.
			return m.field == "http_request.user_agent" && len(m.expected) > 1024 &&
				len(m.found) >= 1024-3 && len(m.found) <= 1024 && strings.HasPrefix(m.expected, m.found)
		},
	},
	{
		Name:   "parameters-omitted",
		Why:    "CloudTrail replaces requestParameters over 100 KB by {\"omitted\": true, ...}.",
		Source: "CloudTrail user guide, record contents: \"omitted\", the maximum sizes of fields",
		explains: func(want, got *Event, m mismatch) bool {
			// Half the limit, as the record's own form of the same parameters may be
			// twice as large (escapes, {"items": ...}). Small parameters are never cut.
			return strings.HasPrefix(m.field, "api.request.") && m.absent &&
				got.API.Request["omitted"] == true && len(show(want.API.Request)) > 50<<10
		},
	},
	{
		Name:   "masked-parameter",
		Why:    "A service masks a parameter that may hold a secret.",
		Source: "testdata/panther: CreateDBInstance (masterUserPassword); ssm SendCommand in DataDog/stratus-red-team's detonation logs; ssm PutParameter in public reports of incidents (2026, of type String; the API's model marks the value as sensitive); EC2 userData in public rule tests",
		explains: func(want, got *Event, m mismatch) bool {
			return slices.ContainsFunc(maskedParameters[:], func(p maskedParameter) bool {
				return p.service == want.API.Service && "api.request."+p.param == m.field && p.mask == m.found
			})
		},
	},
	{
		Name:   "ec2-dry-run-flag",
		Why:    "EC2 does not record the DryRun flag; the error code says that it was set, unless the call was refused first.",
		Source: "testdata/panther: RunInstances (Client.DryRunOperation)",
		explains: func(want, got *Event, m mismatch) bool {
			return m.field == "api.request.DryRun" && m.absent && m.expected == "true" && want.API.Service == ec2 &&
				(got.API.Error == "Client.DryRunOperation" || got.API.Error == "Client.UnauthorizedOperation")
		},
	},
}

func isDenial(code string) bool {
	return code == "AccessDenied" || code == "AccessDeniedException" || code == "AuthorizationError"
}

var apiVersion = regexp.MustCompile(`^20[0-9]{6}(v[0-9])?$`)

var s3OperationNames = map[string]string{
	"GetPublicAccessBlock":            "GetBucketPublicAccessBlock",
	"PutPublicAccessBlock":            "PutBucketPublicAccessBlock",
	"DeletePublicAccessBlock":         "DeleteBucketPublicAccessBlock",
	"GetObjectLockConfiguration":      "GetBucketObjectLockConfiguration",
	"PutObjectLockConfiguration":      "PutBucketObjectLockConfiguration",
	"GetBucketLifecycleConfiguration": "GetBucketLifecycle",
	"PutBucketLifecycleConfiguration": "PutBucketLifecycle",
	"PutObjectRetention":              "PutObjectLockRetention",
	"GetObjectRetention":              "GetObjectLockRetention",
}

// RecordedOperation is the name under which a service's operation is recorded: the
// API's own, or the older one that S3 is known to use.
func RecordedOperation(service, operation string) string {
	if older := s3OperationNames[operation]; service == s3 && older != "" {
		return older
	}
	return operation
}

// maskedParameter is a top-level parameter with the text recorded in its place.
type maskedParameter struct{ service, param, mask string }

var maskedParameters = [...]maskedParameter{
	{"rds.amazonaws.com", "MasterUserPassword", "****"},
	{"ssm.amazonaws.com", "Parameters", "HIDDEN_DUE_TO_SECURITY_REASONS"},
	{"ssm.amazonaws.com", "Value", "HIDDEN_DUE_TO_SECURITY_REASONS"},
	// Inferred: the API's model marks these tags, alone of those in use here, as sensitive.
	{"backup.amazonaws.com", "BackupVaultTags", "HIDDEN_DUE_TO_SECURITY_REASONS"},
	{ec2, "UserData", "<sensitiveDataRemoved>"},
}
