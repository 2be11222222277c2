package event

import (
	"reflect"
	"strings"
	"testing"
)

// wantOf is a receipt that agrees with a real record in everything except what
// edit changes: the call as its caller saw it.
func wantOf(got Event, edit func(want *Event)) Event {
	want := got
	want.Metadata = Metadata{EventCode: got.Metadata.EventCode}
	edit(&want)
	return want
}

func TestEachNamedDifferenceExplainsARealRecord(t *testing.T) {
	for _, c := range []struct {
		rule, record string
		edit         func(want *Event)
		want         Difference
	}{
		{"null-parameters-on-denial", "traildiscover/IAM-PutRolePolicy.json.cloudtrail:0",
			func(w *Event) { w.API.Request = map[string]any{"RoleName": "TrailDiscover-Role"} },
			Difference{Field: "api.request", Expected: `{"RoleName":"TrailDiscover-Role"}`}},
		{"null-parameters-on-denial", "traildiscover/RDS-AuthorizeDBSecurityGroupIngress.json.cloudtrail:0",
			func(w *Event) { w.API.Request = map[string]any{"DBSecurityGroupName": "x"} },
			Difference{Field: "api.request", Expected: `{"DBSecurityGroupName":"x"}`}},
		{"access-denied-spelling", "traildiscover/CloudWatch-DeleteLogStream.json.cloudtrail:0",
			func(w *Event) { w.API.Error = "AccessDeniedException" },
			Difference{Field: "api.error", Expected: "AccessDeniedException", Found: "AccessDenied"}},
		{"access-denied-spelling", "traildiscover/SNS-ListSubscriptions.json.cloudtrail:0",
			func(w *Event) { w.API.Error = "AuthorizationError" },
			Difference{Field: "api.error", Expected: "AuthorizationError", Found: "AccessDenied"}},
		{"ec2-error-class", "traildiscover/EC2-DeleteFlowLogs.json.cloudtrail:0",
			func(w *Event) { w.API.Error = "InvalidParameterValue" },
			Difference{Field: "api.error", Expected: "InvalidParameterValue", Found: "Client.InvalidParameterValue"}},
		{"lambda-operation-version", "traildiscover/Lambda-CreateEventSourceMapping20150331.json.cloudtrail:0",
			func(w *Event) { w.API.Operation = "CreateEventSourceMapping" },
			Difference{Field: "api.operation", Expected: "CreateEventSourceMapping", Found: "CreateEventSourceMapping20150331"}},
		{"s3-operation-name", "traildiscover/S3-GetBucketRequestPayment.json.cloudtrail:0",
			func(w *Event) { w.API.Operation = "GetObjectLockConfiguration" },
			Difference{Field: "api.operation", Expected: "GetObjectLockConfiguration", Found: "GetBucketObjectLockConfiguration"}},
		{"s3-bracketed-user-agent", "traildiscover/S3-DeleteBucketPolicy.json.cloudtrail:0",
			func(w *Event) { w.HTTPRequest.UserAgent = strings.Trim(w.HTTPRequest.UserAgent, "[]") },
			Difference{Field: "http_request.user_agent"}},
	} {
		got := realRecord(t, c.record)
		d := Compare(wantOf(got, c.edit), got, Tolerance{})
		c.want.Rule = c.rule
		if len(d) == 1 && c.want.Expected+c.want.Found == "" {
			c.want.Expected, c.want.Found = d[0].Expected, d[0].Found
		}
		if !reflect.DeepEqual(d, []Difference{c.want}) {
			t.Errorf("%s, %s: %+v, want %+v", c.rule, c.record, d, c.want)
		}
	}
}

// realPanther is the first record of the rule tests with an operation and, unless
// it is "", an error code.
func realPanther(t *testing.T, operation, errorCode string) Event {
	t.Helper()
	for _, r := range realRecords(t) {
		if !strings.HasPrefix(r.name, "panther/") {
			continue
		}
		if e, err := ReadCloudTrail(r.raw); err == nil && e.API.Operation == operation && (errorCode == "" || e.API.Error == errorCode) {
			return e
		}
	}
	t.Fatalf("no record of %s %s", operation, errorCode)
	return Event{}
}

func TestADryRunAsEC2RecordsIt(t *testing.T) {
	got := realPanther(t, "RunInstances", "Client.DryRunOperation")
	want := wantOf(got, func(w *Event) {
		w.API.Error = "DryRunOperation"
		w.API.Request = map[string]any{"DryRun": true, "InstanceType": "m5.xlarge", "MinCount": 1, "MaxCount": 1}
	})
	if d := Compare(want, got, Tolerance{}); !reflect.DeepEqual(d, []Difference{
		{Field: "api.error", Expected: "DryRunOperation", Found: "Client.DryRunOperation", Rule: "ec2-error-class"},
		{Field: "api.request.DryRun", Expected: "true", Rule: "ec2-dry-run-flag"},
	}) {
		t.Errorf("%+v", d)
	}
	got.API.Error = "" // the instances were really started
	for _, d := range Compare(want, got, Tolerance{}) {
		if d.Rule != "" {
			t.Errorf("a dry run that is recorded as a success is explained: %+v", d)
		}
	}
}

func TestAMaskedPasswordAsRDSRecordsIt(t *testing.T) {
	got := realPanther(t, "CreateDBInstance", "")
	want := wantOf(got, func(w *Event) {
		w.API.Request = map[string]any{"DBInstanceIdentifier": "test-instance", "MasterUserPassword": "secret", "MasterUsername": "myawsuser"}
	})
	if d := Compare(want, got, Tolerance{}); !reflect.DeepEqual(d, []Difference{
		{Field: "api.request.MasterUserPassword", Expected: "secret", Found: "****", Rule: "masked-parameter"},
	}) {
		t.Errorf("%+v", d)
	}
}

// TestARuleExplainsNoMoreThanItsFact holds cases that look like a rule's and are
// not, beside those documented cases of which testdata has no real record.
func TestARuleExplainsNoMoreThanItsFact(t *testing.T) {
	longAgent := strings.Repeat("a", 1500)
	bigPolicy := `{"Sid":"` + strings.Repeat("s", 60<<10) + `"}`
	denied := func(service, code string) Event {
		w := receipt(service, "Operation", map[string]any{"Name": "n"})
		w.API.Error = code
		return w
	}
	for _, c := range []struct {
		name  string
		want  Event
		edit  func(got *Event)
		field string
		rule  string
	}{
		{"null parameters on a denial", denied("sts.amazonaws.com", "AccessDenied"), func(g *Event) { g.API.Request = nil }, "api.request", "null-parameters-on-denial"},
		{"null parameters on a success", receipt("iam.amazonaws.com", "X", map[string]any{"Name": "n"}), func(g *Event) { g.API.Request = nil }, "api.request", ""},
		{"null parameters on another error", denied("iam.amazonaws.com", "NoSuchEntity"), func(g *Event) { g.API.Request = nil }, "api.request", ""},
		{"null parameters on a denial of EC2", denied(ec2, "UnauthorizedOperation"), func(g *Event) { g.API.Request = nil }, "api.request", ""},
		{"null parameters on a denial of S3", denied(s3, "AccessDenied"), func(g *Event) { g.API.Request = nil }, "api.request", ""},
		{"parameters of a denial that are there and wrong", denied("iam.amazonaws.com", "AccessDenied"), func(g *Event) { g.API.Request = map[string]any{"name": "m"} }, "api.request.Name", ""},
		{"one parameter of a denial missing", denied("iam.amazonaws.com", "AccessDenied"), func(g *Event) { g.API.Request = map[string]any{} }, "api.request.Name", ""},

		{"denied and recorded as a success", denied("logs.amazonaws.com", "AccessDeniedException"), func(g *Event) { g.API.Error = "" }, "api.error", ""},
		{"a success recorded as denied", receipt("logs.amazonaws.com", "X", nil), func(g *Event) { g.API.Error = "AccessDenied" }, "api.error", ""},
		{"another error recorded as denied", denied("logs.amazonaws.com", "ResourceNotFoundException"), func(g *Event) { g.API.Error = "AccessDenied" }, "api.error", ""},
		{"SNS's name for a denial, of another service", denied("iam.amazonaws.com", "AuthorizationError"), func(g *Event) { g.API.Error = "AccessDenied" }, "api.error", ""},

		{"EC2 server error", denied(ec2, "InternalError"), func(g *Event) { g.API.Error = "Server.InternalError" }, "api.error", "ec2-error-class"},
		{"EC2 denial", denied(ec2, "UnauthorizedOperation"), func(g *Event) { g.API.Error = "Client.UnauthorizedOperation" }, "api.error", "ec2-error-class"},
		{"EC2 denial for a dry run that would succeed", denied(ec2, "DryRunOperation"), func(g *Event) { g.API.Error = "Client.UnauthorizedOperation" }, "api.error", ""},
		{"EC2 success recorded as an error", receipt(ec2, "X", nil), func(g *Event) { g.API.Error = "Client." }, "api.error", ""},
		{"EC2's prefix at another service", denied("iam.amazonaws.com", "AccessDenied"), func(g *Event) { g.API.Error = "Client.AccessDenied" }, "api.error", ""},

		{"IAM error with its class name", denied("iam.amazonaws.com", "NoSuchEntity"), func(g *Event) { g.API.Error = "NoSuchEntityException" }, "api.error", "iam-error-exception-suffix"},
		{"IAM success recorded as an error", receipt("iam.amazonaws.com", "X", nil), func(g *Event) { g.API.Error = "Exception" }, "api.error", ""},
		{"IAM's suffix at another service", denied("kms.amazonaws.com", "Disabled"), func(g *Event) { g.API.Error = "DisabledException" }, "api.error", ""},

		{"Lambda with a second version", receipt("lambda.amazonaws.com", "UpdateFunctionCode", nil), func(g *Event) { g.API.Operation = "UpdateFunctionCode20150331v2" }, "api.operation", "lambda-operation-version"},
		{"Lambda with another operation", receipt("lambda.amazonaws.com", "UpdateFunctionCode", nil), func(g *Event) { g.API.Operation = "UpdateFunctionConfiguration20150331v2" }, "api.operation", ""},
		{"Lambda with a word behind", receipt("lambda.amazonaws.com", "UpdateFunctionCode", nil), func(g *Event) { g.API.Operation = "UpdateFunctionCodeSigningConfig" }, "api.operation", ""},
		{"a version at another service", receipt("iam.amazonaws.com", "CreateRole", nil), func(g *Event) { g.API.Operation = "CreateRole20150331" }, "api.operation", ""},

		{"S3 lifecycle", receipt(s3, "PutBucketLifecycleConfiguration", nil), func(g *Event) { g.API.Operation = "PutBucketLifecycle" }, "api.operation", "s3-operation-name"},
		{"S3 with another operation", receipt(s3, "PutBucketLifecycleConfiguration", nil), func(g *Event) { g.API.Operation = "DeleteBucketLifecycle" }, "api.operation", ""},
		{"S3 with no operation", receipt(s3, "PutBucketAcl", nil), func(g *Event) { g.API.Operation = "" }, "api.operation", ""},

		{"brackets at another service", receipt("iam.amazonaws.com", "X", nil), func(g *Event) { g.HTTPRequest.UserAgent = "[" + g.HTTPRequest.UserAgent + "]" }, "http_request.user_agent", ""},
		{"another agent in S3's brackets", receipt(s3, "X", nil), func(g *Event) { g.HTTPRequest.UserAgent = "[curl]" }, "http_request.user_agent", ""},

		{"user agent cut at 1 KB", withAgent(longAgent), func(g *Event) { g.HTTPRequest.UserAgent = longAgent[:1024] }, "http_request.user_agent", "user-agent-cut"},
		{"user agent cut earlier", withAgent(longAgent), func(g *Event) { g.HTTPRequest.UserAgent = longAgent[:1000] }, "http_request.user_agent", ""},
		{"short user agent cut", withAgent("aws-cli/2"), func(g *Event) { g.HTTPRequest.UserAgent = "aws-cli" }, "http_request.user_agent", ""},
		{"user agent gone", withAgent(longAgent), func(g *Event) { g.HTTPRequest.UserAgent = "" }, "http_request.user_agent", ""},

		{"large parameters omitted", receipt("iam.amazonaws.com", "X", map[string]any{"Doc": bigPolicy}), func(g *Event) { g.API.Request = map[string]any{"omitted": true, "originalSize": 1.0} }, "api.request.Doc", "parameters-omitted"},
		{"large parameters gone without the mark", receipt("iam.amazonaws.com", "X", map[string]any{"Doc": bigPolicy}), func(g *Event) { g.API.Request = map[string]any{} }, "api.request.Doc", ""},
		{"large parameters marked and changed", receipt("iam.amazonaws.com", "X", map[string]any{"Doc": bigPolicy}), func(g *Event) { g.API.Request = map[string]any{"omitted": true, "doc": "{}"} }, "api.request.Doc", ""},
		{"small parameters omitted", receipt("iam.amazonaws.com", "X", map[string]any{"Name": "n"}), func(g *Event) { g.API.Request = map[string]any{"omitted": true} }, "api.request.Name", ""},

		{"masked parameters of SendCommand", receipt("ssm.amazonaws.com", "SendCommand", map[string]any{"Parameters": map[string]any{"commands": []any{"id"}}}),
			func(g *Event) { g.API.Request = map[string]any{"parameters": "HIDDEN_DUE_TO_SECURITY_REASONS"} }, "api.request.Parameters", "masked-parameter"},
		{"a masked parameter value", receipt("ssm.amazonaws.com", "PutParameter", map[string]any{"Value": "auditcanary"}),
			func(g *Event) { g.API.Request = map[string]any{"value": "HIDDEN_DUE_TO_SECURITY_REASONS"} }, "api.request.Value", "masked-parameter"},
		{"a parameter value changed, not masked", receipt("ssm.amazonaws.com", "PutParameter", map[string]any{"Value": "auditcanary"}),
			func(g *Event) { g.API.Request = map[string]any{"value": "another"} }, "api.request.Value", ""},
		{"a parameter value masked otherwise", receipt("ssm.amazonaws.com", "PutParameter", map[string]any{"Value": "auditcanary"}),
			func(g *Event) { g.API.Request = map[string]any{"value": "***"} }, "api.request.Value", ""},
		{"a parameter value left out", receipt("ssm.amazonaws.com", "PutParameter", map[string]any{"Value": "auditcanary"}),
			func(g *Event) { g.API.Request = map[string]any{} }, "api.request.Value", ""},
		{"a parameter's hidden name", receipt("ssm.amazonaws.com", "PutParameter", map[string]any{"Name": "auditcanary-1"}),
			func(g *Event) { g.API.Request = map[string]any{"name": "HIDDEN_DUE_TO_SECURITY_REASONS"} }, "api.request.Name", ""},
		{"another service's hidden value", receipt("secretsmanager.amazonaws.com", "X", map[string]any{"Value": "auditcanary"}),
			func(g *Event) { g.API.Request = map[string]any{"value": "HIDDEN_DUE_TO_SECURITY_REASONS"} }, "api.request.Value", ""},
		{"masked tags of a vault", receipt("backup.amazonaws.com", "CreateBackupVault", map[string]any{"BackupVaultTags": map[string]any{"auditcanary:run": "r"}}),
			func(g *Event) { g.API.Request = map[string]any{"backupVaultTags": "HIDDEN_DUE_TO_SECURITY_REASONS"} }, "api.request.BackupVaultTags", "masked-parameter"},
		{"a vault's tags changed, not masked", receipt("backup.amazonaws.com", "CreateBackupVault", map[string]any{"BackupVaultTags": map[string]any{"auditcanary:run": "r"}}),
			func(g *Event) {
				g.API.Request = map[string]any{"backupVaultTags": map[string]any{"auditcanary:run": "q"}}
			}, "api.request.BackupVaultTags.auditcanary:run", ""},
		{"masked user data", receipt(ec2, "RunInstances", map[string]any{"UserData": "aWQ="}), func(g *Event) { g.API.Request = map[string]any{"userData": "<sensitiveDataRemoved>"} }, "api.request.UserData", "masked-parameter"},
		{"a masked role name", receipt("iam.amazonaws.com", "X", map[string]any{"RoleName": "r"}), func(g *Event) { g.API.Request = map[string]any{"roleName": "****"} }, "api.request.RoleName", ""},
		{"a hidden role name", receipt("iam.amazonaws.com", "X", map[string]any{"RoleName": "r"}), func(g *Event) { g.API.Request = map[string]any{"roleName": "HIDDEN_DUE_TO_SECURITY_REASONS"} }, "api.request.RoleName", ""},
		{"a password changed, not masked", receipt("rds.amazonaws.com", "X", map[string]any{"MasterUserPassword": "p"}), func(g *Event) { g.API.Request = map[string]any{"masterUserPassword": "q"} }, "api.request.MasterUserPassword", ""},

		{"a KMS key id recorded as another key's ARN", receipt("kms.amazonaws.com", "DisableKey", map[string]any{"KeyId": "k1"}), func(g *Event) { g.API.Request = map[string]any{"keyId": "arn:aws:kms:us-east-1:111122223333:key/k2"} }, "api.request.KeyId", ""},
	} {
		got := c.want
		got.Metadata.LogName = "cloudtrail"
		c.edit(&got)
		d := Compare(c.want, got, Tolerance{})
		if len(d) != 1 || d[0].Field != c.field || d[0].Rule != c.rule {
			t.Errorf("%s: %+v, want %s explained by %q", c.name, d, c.field, c.rule)
		}
		got.Metadata.LogName = "another"
		for _, d := range Compare(c.want, got, Tolerance{}) {
			if d.Rule != "" {
				t.Errorf("%s: CloudTrail's rule explains another format: %+v", c.name, d)
			}
		}
	}
}

func withAgent(agent string) Event {
	w := receipt("iam.amazonaws.com", "X", nil)
	w.HTTPRequest.UserAgent = agent
	return w
}

// TestNoRuleEverExcusesWhoWhereOrWhen sets every other field to whatever any rule
// looks at and changes the fields for which there must be no excuse.
func TestNoRuleEverExcusesWhoWhereOrWhen(t *testing.T) {
	excusable := map[string]bool{"api.operation": true, "api.error": true, "api.request": true, "http_request.user_agent": true}
	for _, field := range AttributionFields() {
		if excusable[field] {
			continue
		}
		for _, service := range []string{ec2, s3, "iam.amazonaws.com", "lambda.amazonaws.com", "sns.amazonaws.com", "kms.amazonaws.com"} {
			for _, pair := range [][2]string{
				{"a", ""}, {"a", "b"}, {"AccessDeniedException", "AccessDenied"}, {"X", "Client.X"}, {"X", "XException"}, {"X", "X20150331v2"},
				{"X", "[X]"}, {strings.Repeat("a", 1500), strings.Repeat("a", 1024)}, {"a", "****"}, {"a", "HIDDEN_DUE_TO_SECURITY_REASONS"}, {"true", ""},
			} {
				want := receipt(service, "X", map[string]any{"A": strings.Repeat("p", 60<<10)})
				want.API.Error = "AccessDenied"
				got := want
				got.Metadata.LogName = "cloudtrail"
				got.API.Request = map[string]any{"omitted": true}
				m := mismatch{field: field, expected: pair[0], found: pair[1], absent: pair[1] == ""}
				if rule := explain(&want, &got, m); rule != "" {
					t.Errorf("%s: rule %s explains %s changed from %q to %q", service, rule, field, pair[0], pair[1])
				}
			}
		}
	}
}

func TestNamedDifferencesAreNamedAndSourced(t *testing.T) {
	seen := map[string]bool{}
	for _, d := range NamedDifferences("cloudtrail") {
		if d.Name == "" || d.Why == "" || d.Source == "" || seen[d.Name] {
			t.Errorf("%+v", d)
		}
		seen[d.Name] = true
	}
	if NamedDifferences("another") != nil {
		t.Error("another format has CloudTrail's rules")
	}
}
