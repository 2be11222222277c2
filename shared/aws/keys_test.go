package aws

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"reflect"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"

	"github.com/auditcanary/auditcanary/shared/canary"
	"github.com/auditcanary/auditcanary/shared/run"
)

func TestPlanRefusesHarmToKeysAndWhatIsStored(t *testing.T) {
	const (
		deletion  = "aws/kms-schedule-deletion"
		grant     = "aws/kms-create-grant-dry-run"
		block     = "aws/s3-public-access-block"
		rule      = "aws/s3-lifecycle-rule"
		secret    = "aws/secretsmanager-secret"
		parameter = "aws/ssm-parameter"
		document  = "aws/ssm-document"
	)
	type step = canary.Step
	set := func(param string, v any) func(*step) { return func(s *step) { s.Params[param] = v } }
	firstRule := func(s *step) map[string]any {
		return s.Params["LifecycleConfiguration"].(map[string]any)["Rules"].([]any)[0].(map[string]any)
	}
	content := func(old, new string) func(*step) {
		return func(s *step) { s.Params["Content"] = strings.Replace(s.Params["Content"].(string), old, new, 1) }
	}
	for _, tt := range []struct {
		name, scenario string
		step           int
		breakIt        func(*step)
		want           string
	}{
		{"somebody's key deleted", deletion, 1, set("KeyId", "1f0a4f3c-0000-4000-8000-00000000ffff"), `is no configured fixture`},
		{"the key of another canary deleted", deletion, 1, set("KeyId", "${fixture.kms_key}"), `must be the fixture deletion_key`},
		{"a key deleted soon", deletion, 1, set("PendingWindowInDays", 7), `kms:ScheduleKeyDeletion: PendingWindowInDays must be 30, not 7`},
		{"a key deleted some time", deletion, 1, func(s *step) { delete(s.Params, "PendingWindowInDays") }, `PendingWindowInDays must be 30`},
		{"a deletion that stands", deletion, 1, func(s *step) { s.Undo, s.NoUndo = nil, "it may go" }, `must be undone by kms:CancelKeyDeletion`},
		{"another key's deletion cancelled", deletion, 1, func(s *step) { s.Undo.Params["KeyId"] = "${fixture.kms_key}" }, `kms:CancelKeyDeletion names KeyId`},

		{"a grant in earnest", grant, 0, func(s *step) { delete(s.Params, "DryRun") }, `kms:CreateGrant: DryRun must be true`},
		{"a grant on another fixture", grant, 0, set("KeyId", "${fixture.kms_key}"), `must be the fixture grant_key`},
		{"a grant to somebody's role", grant, 0, set("GranteePrincipal", "arn:aws:iam::111122223333:role/admin"), `GranteePrincipal "arn:aws:iam::111122223333:role/admin" is no configured fixture`},
		{"a grant to another account", grant, 0, set("GranteePrincipal", "arn:aws:iam::999999999999:role/auditcanary-break-glass"), `is not a role of account 111122223333`},
		{"a grant to decrypt", grant, 0, set("Operations", []any{"DescribeKey", "Decrypt"}), `Operations must be [DescribeKey], not [DescribeKey Decrypt]`},
		{"a grant somebody may retire", grant, 0, set("RetiringPrincipal", "arn:aws:iam::111122223333:role/admin"), `RetiringPrincipal is not allowed`},

		{"somebody's bucket unblocked", block, 0, set("Bucket", "production"), `Bucket "production" is not canary-marked`},
		{"a marked bucket unblocked that is no fixture", block, 0, set("Bucket", "auditcanary-ledger"), `Bucket "auditcanary-ledger" is no configured fixture`},
		{"another canary's bucket unblocked", block, 0, set("Bucket", "${fixture.bucket}"), `must be the fixture public_access_bucket`},
		{"a bucket blocked in part", block, 0, func(s *step) {
			s.Undo.Params["PublicAccessBlockConfiguration"].(map[string]any)["BlockPublicAcls"] = false
		}, `undo: s3:PutPublicAccessBlock: PublicAccessBlockConfiguration.BlockPublicAcls must be true, not false`},
		{"a bucket blocked but for one thing", block, 0, func(s *step) {
			delete(s.Undo.Params["PublicAccessBlockConfiguration"].(map[string]any), "RestrictPublicBuckets")
		}, `RestrictPublicBuckets must be true`},
		{"another bucket blocked", block, 0, func(s *step) { s.Undo.Params["Bucket"] = "${fixture.bucket}" }, `must be the fixture public_access_bucket`},

		{"a rule on another canary's bucket", rule, 0, set("Bucket", "${fixture.bucket}"), `must be the fixture lifecycle_bucket`},
		{"a rule that deletes", rule, 0, func(s *step) { firstRule(s)["Status"] = "Enabled" }, `LifecycleConfiguration.Rules[0]: Status must be Disabled, not Enabled: an enabled rule deletes`},
		{"a rule that does not say whose it is", rule, 0, func(s *step) { firstRule(s)["ID"] = "mine" }, `LifecycleConfiguration.Rules[0] has the ID "mine": the sweep finds it only as "auditcanary:run=${run} auditcanary:canary=${canary}"`},
		{"a second rule", rule, 0, func(s *step) {
			lifecycle := s.Params["LifecycleConfiguration"].(map[string]any)
			lifecycle["Rules"] = append(lifecycle["Rules"].([]any), firstRule(s))
		}, `LifecycleConfiguration.Rules must hold one rule, not 2`},
		{"no rule", rule, 0, set("LifecycleConfiguration", map[string]any{"Rules": []any{}}), `must hold one rule, not 0`},

		{"somebody's secret", secret, 0, set("Name", "production/db"), `Name "production/db" is not canary-marked`},
		{"a secret with a value", secret, 0, set("SecretString", "hunter2"), `secretsmanager:CreateSecret: SecretString is not allowed`},
		{"a secret under somebody's key", secret, 0, set("KmsKeyId", "alias/production"), `KmsKeyId is not allowed`},
		{"a secret in other regions", secret, 0, set("AddReplicaRegions", []any{map[string]any{"Region": "us-east-1"}}), `AddReplicaRegions is not allowed`},
		{"a secret without tags", secret, 0, func(s *step) { delete(s.Params, "Tags") }, `the tags auditcanary:run=${run}`},
		{"somebody's secret deleted", secret, 0, func(s *step) { s.Undo.Params["SecretId"] = "production/db" }, `SecretId "production/db" is not canary-marked`},
		{"a secret that waits for its deletion", secret, 0, func(s *step) { delete(s.Undo.Params, "ForceDeleteWithoutRecovery") }, `ForceDeleteWithoutRecovery must be true`},

		{"somebody's parameter", parameter, 0, set("Name", "/production/db"), `Name "/production/db" is not canary-marked`},
		{"a parameter written over", parameter, 0, set("Overwrite", true), `ssm:PutParameter: Overwrite must be false, not true`},
		{"an encrypted parameter", parameter, 0, set("Type", "SecureString"), `Type must be String, not SecureString`},
		{"a parameter of a value for the ledger", parameter, 0, set("Value", "hunter2"), `Value must be auditcanary, not hunter2`},
		{"a parameter without tags", parameter, 0, func(s *step) { delete(s.Params, "Tags") }, `the tags auditcanary:run=${run}`},
		{"somebody's parameter deleted", parameter, 0, func(s *step) { s.Undo.Params["Name"] = "/production/db" }, `Name "/production/db" is not canary-marked`},

		{"a document that does something", document, 0, content(`["true"]`, `["reboot"]`), `Content step 0 does aws:runShellScript ["reboot"]: it must be aws:runShellScript ["true"], which does nothing`},
		{"a document that does one thing more", document, 0, content(`["true"]`, `["true","reboot"]`), `which does nothing`},
		{"a document of another action", document, 0, content(`aws:runShellScript`, `aws:softwareInventory`), `Content step 0 does aws:softwareInventory`},
		{"a document with something beside", document, 0, content(`"mainSteps"`, `"parameters":{},"mainSteps"`), `Content is no document of plain commands`},
		{"a document that two readers read differently", document, 0, content(`"mainSteps"`, `"mainSteps":[],"mainSteps"`), `Content is no document of plain commands`},
		{"no document", document, 0, set("Content", "reboot"), `Content is no document of plain commands`},
		{"a runbook", document, 0, set("DocumentType", "Automation"), `DocumentType must be Command, not Automation`},
		{"a document with files", document, 0, set("Attachments", []any{map[string]any{"Name": "x"}}), `Attachments is not allowed`},
		{"somebody's document deleted", document, 0, func(s *step) { s.Undo.Params["Name"] = "production" }, `Name "production" is not canary-marked`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := testCloud(t, aws.Config{})
			s := scenario(t, c, tt.scenario)
			tt.breakIt(&s.Steps[tt.step])
			_, err := c.Plan(s, testCanary(homeOf(s)))
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got  %v\nwant ...%s...", err, tt.want)
			}
		})
	}
}

// The plan names the record as S3 writes it, which is not as its API calls the operation.
func TestRecordsOfBucketSettingsHaveS3sNames(t *testing.T) {
	c := testCloud(t, aws.Config{})
	for id, want := range map[string]string{
		"aws/s3-public-access-block": "DeleteBucketPublicAccessBlock", "aws/s3-lifecycle-rule": "PutBucketLifecycle", "aws/s3-bucket-policy": "PutBucketPolicy",
	} {
		if got := planOf(t, c, scenario(t, c, id)).Steps[0].Record.Operation; got != want {
			t.Errorf("%s is recorded as %s, want %s", id, got, want)
		}
	}
}

// bucketSetting names the part of a bucket's configuration that a request is about.
func bucketSetting(query url.Values) string {
	switch {
	case query.Has("publicAccessBlock"):
		return "PublicAccessBlock"
	case query.Has("lifecycle"):
		return "BucketLifecycleConfiguration"
	}
	return "BucketPolicy"
}

// keyInState answers that one key is in the state, and every other enabled.
func keyInState(id, state string) func(http.ResponseWriter, *called) {
	return func(rw http.ResponseWriter, c *called) {
		var in struct{ KeyId string }
		_ = json.Unmarshal(c.body, &in)
		now := "Enabled"
		if in.KeyId == id {
			now = state
		}
		jsonReply(map[string]any{"KeyMetadata": map[string]any{"KeyId": in.KeyId, "Arn": "arn:aws:kms:eu-west-1:111122223333:key/" + in.KeyId, "KeyState": now}})(rw, c)
	}
}

func s3Error(status int, code string) func(http.ResponseWriter, *called) {
	return xmlBody(status, "<Error><Code>"+code+"</Code><Message>no</Message></Error>")
}

func xmlBody(status int, body string) func(http.ResponseWriter, *called) {
	return func(rw http.ResponseWriter, _ *called) {
		rw.WriteHeader(status)
		_, _ = fmt.Fprint(rw, body)
	}
}

func blocked(parts ...string) string {
	var b strings.Builder
	for _, part := range parts {
		b.WriteString("<" + part + ">true</" + part + ">")
	}
	return "<PublicAccessBlockConfiguration>" + b.String() + "</PublicAccessBlockConfiguration>"
}

// cleanKeys answers the listings of what is stored as a clean account does.
func cleanKeys(w *wire) {
	w.answer["secretsmanager:ListSecrets"] = jsonReply(map[string]any{"SecretList": []any{}})
	w.answer["s3:GetPublicAccessBlock"] = xmlBody(200, blocked(publicAccessBlock...))
	w.answer["s3:GetBucketLifecycleConfiguration"] = s3Error(404, "NoSuchLifecycleConfiguration")
	w.answer["ssm:DescribeParameters"] = jsonReply(map[string]any{"Parameters": []any{}})
	w.answer["ssm:ListDocuments"] = jsonReply(map[string]any{"DocumentIdentifiers": []any{}})
}

const deletionKey = "1f0a4f3c-0000-4000-8000-000000000002"

func TestLeftKeyThatIsToBeDeleted(t *testing.T) {
	const kind = "kms key to be deleted"
	undo := func(operation string, gone ...string) canary.Call {
		return canary.Call{Operation: operation, Region: "eu-west-1", Gone: gone, Params: map[string]any{"KeyId": deletionKey}}
	}
	for state, calls := range map[string][]canary.Call{
		"Enabled":         nil,
		"Disabled":        {undo("kms:EnableKey")},
		"PendingDeletion": {undo("kms:CancelKeyDeletion", "KMSInvalidStateException"), undo("kms:EnableKey")},
	} {
		w := newWire(t)
		cleanAccount(w)
		w.answer["kms:DescribeKey"] = keyInState(deletionKey, state)
		left, err := leftOf(t, w, kind, ireland)
		var want []run.Leftover
		if calls != nil {
			want = []run.Leftover{{ID: "arn:aws:kms:eu-west-1:111122223333:key/" + deletionKey, Undo: calls}}
		}
		wantLeft(t, left, err, want)
	}
	for want, change := range map[string]func(*wire){
		"is PendingImport: no canary does that": func(w *wire) { w.answer["kms:DescribeKey"] = keyInState(deletionKey, "PendingImport") },
		"kms:DescribeKey of " + deletionKey:     func(w *wire) { w.answer["kms:DescribeKey"] = jsonError(400, "AccessDeniedException", "no") },
		"is PendingDeletion but lacks the tag auditcanary=fixture: it is not touched; correct fixtures.deletion_key": func(w *wire) {
			w.answer["kms:DescribeKey"] = keyInState(deletionKey, "PendingDeletion")
			w.answer["kms:ListResourceTags"] = jsonReply(map[string]any{"Tags": []any{}})
		},
		"kms:ListResourceTags of " + deletionKey: func(w *wire) {
			w.answer["kms:DescribeKey"] = keyInState(deletionKey, "PendingDeletion")
			w.answer["kms:ListResourceTags"] = jsonError(400, "AccessDeniedException", "no")
		},
	} {
		w := newWire(t)
		cleanAccount(w)
		change(w)
		left, err := leftOf(t, w, kind, ireland)
		if err == nil || !strings.Contains(err.Error(), want) || len(left) != 0 {
			t.Errorf("%v, %v, want ...%s...", left, err, want)
		}
	}
}

// paged answers a listing in two pages.
func paged(member string, all []any) func(http.ResponseWriter, *called) {
	return func(rw http.ResponseWriter, c *called) {
		var in struct{ NextToken string }
		_ = json.Unmarshal(c.body, &in)
		if in.NextToken == "" {
			jsonReply(map[string]any{member: all[:2], "NextToken": "more"})(rw, c)
			return
		}
		jsonReply(map[string]any{member: all[2:]})(rw, c)
	}
}

func keyValues(tags map[string]string) []any {
	list := []any{}
	for k, v := range tags {
		list = append(list, map[string]any{"Key": k, "Value": v})
	}
	return list
}

func TestLeftSecrets(t *testing.T) {
	w := newWire(t)
	names, tags := oddities()
	var all []any
	for _, name := range names {
		all = append(all, map[string]any{"Name": name, "ARN": "arn:aws:secretsmanager:eu-west-1:111122223333:secret:" + name + "-AbCdEf", "Tags": keyValues(tags[name])})
	}
	w.answer["secretsmanager:ListSecrets"] = paged("SecretList", all)
	left, err := leftOf(t, w, "secretsmanager secret", ireland)
	wantLeft(t, left, err, leftover("arn:aws:secretsmanager:eu-west-1:111122223333:secret:auditcanary-"+mineData+"-AbCdEf", canary.Call{
		Operation: "secretsmanager:DeleteSecret", Region: "eu-west-1", Gone: []string{"ResourceNotFoundException"},
		Params: map[string]any{"SecretId": "auditcanary-" + mineData, "ForceDeleteWithoutRecovery": true}}))
	if n := len(w.of("secretsmanager:ListSecrets")); n != 2 {
		t.Errorf("%d pages", n)
	}
	w.answer["secretsmanager:ListSecrets"] = jsonError(400, "AccessDeniedException", "no")
	if left, err := leftOf(t, w, "secretsmanager secret", ireland); err == nil || !strings.Contains(err.Error(), "secretsmanager:ListSecrets in account 111122223333, eu-west-1") || left != nil {
		t.Errorf("%v, %v", left, err)
	}
}

func TestLeftParametersAndDocuments(t *testing.T) {
	for _, tt := range []struct{ kind, list, member, undo, gone, resource string }{
		{"ssm parameter", "ssm:DescribeParameters", "Parameters", "ssm:DeleteParameter", "ParameterNotFound", "Parameter"},
		{"ssm document", "ssm:ListDocuments", "DocumentIdentifiers", "ssm:DeleteDocument", "InvalidDocument", "Document"},
	} {
		w := newWire(t)
		names, tags := oddities()
		var all []any
		for _, name := range names {
			all = append(all, map[string]any{"Name": name})
		}
		w.answer[tt.list] = paged(tt.member, all)
		w.answer["ssm:ListTagsForResource"] = func(rw http.ResponseWriter, c *called) {
			var in struct{ ResourceId, ResourceType string }
			_ = json.Unmarshal(c.body, &in)
			if in.ResourceType != tt.resource {
				t.Errorf("asked for the tags of a %s", in.ResourceType)
			}
			if tags[in.ResourceId] == nil {
				jsonError(400, "InvalidResourceId", "")(rw, c)
				return
			}
			jsonReply(map[string]any{"TagList": keyValues(tags[in.ResourceId])})(rw, c)
		}
		left, err := leftOf(t, w, tt.kind, ireland)
		wantLeft(t, left, err, leftover("auditcanary-"+mineData, canary.Call{
			Operation: tt.undo, Region: "eu-west-1", Gone: []string{tt.gone}, Params: map[string]any{"Name": "auditcanary-" + mineData}}))
		for _, call := range []string{"ssm:ListTagsForResource", tt.list} {
			w.answer[call] = jsonError(400, "AccessDeniedException", "no")
			if left, err := leftOf(t, w, tt.kind, ireland); err == nil || !strings.Contains(err.Error(), call) || left != nil {
				t.Errorf("%s: %v, %v", call, left, err)
			}
		}
	}
}

func TestLeftBucketSettings(t *testing.T) {
	const (
		access    = "arn:aws:s3:::auditcanary-111122223333-eu-west-1-access"
		lifecycle = "arn:aws:s3:::auditcanary-111122223333-eu-west-1-lifecycle"
		mine      = "auditcanary:run=20261122-abcdef auditcanary:canary=" + mineData
	)
	rules := func(ids ...string) string {
		var b strings.Builder
		for _, id := range ids {
			b.WriteString("<Rule><ID>" + id + "</ID><Status>Disabled</Status><Filter><Prefix>x</Prefix></Filter></Rule>")
		}
		return "<LifecycleConfiguration>" + b.String() + "</LifecycleConfiguration>"
	}
	unblocked := []run.Leftover{{ID: access, Undo: []canary.Call{{Operation: "s3:PutPublicAccessBlock", Region: "eu-west-1", Params: map[string]any{
		"Bucket": lastPart(access), "PublicAccessBlockConfiguration": map[string]any{"BlockPublicAcls": true, "BlockPublicPolicy": true, "IgnorePublicAcls": true, "RestrictPublicBuckets": true},
	}}}}}
	shortened := leftover(lifecycle, canary.Call{Operation: "s3:DeleteBucketLifecycle", Region: "eu-west-1", Gone: []string{"NoSuchLifecycleConfiguration"}, Params: map[string]any{"Bucket": lastPart(lifecycle)}})
	for _, tt := range []struct {
		name, kind, call string
		answer           func(http.ResponseWriter, *called)
		want             []run.Leftover
		err              string
	}{
		{"no block", "s3 public access open", "s3:GetPublicAccessBlock", s3Error(404, "NoSuchPublicAccessBlockConfiguration"), unblocked, ""},
		{"the whole block", "s3 public access open", "s3:GetPublicAccessBlock", xmlBody(200, blocked(publicAccessBlock...)), nil, ""},
		{"a part of the block", "s3 public access open", "s3:GetPublicAccessBlock", xmlBody(200, blocked(publicAccessBlock[:3]...)), nil, "in part only: no canary does that"},
		{"an empty reply", "s3 public access open", "s3:GetPublicAccessBlock", xmlBody(200, ""), nil, "in part only"},
		{"no bucket", "s3 public access open", "s3:GetPublicAccessBlock", s3Error(404, "NoSuchBucket"), nil, "s3:GetPublicAccessBlock of auditcanary-111122223333-eu-west-1-access"},
		{"denied", "s3 public access open", "s3:GetPublicAccessBlock", s3Error(403, "AccessDenied"), nil, "s3:GetPublicAccessBlock of"},

		{"a canary's rule", "s3 lifecycle rule", "s3:GetBucketLifecycleConfiguration", xmlBody(200, rules(mine)), shortened, ""},
		{"no rule", "s3 lifecycle rule", "s3:GetBucketLifecycleConfiguration", s3Error(404, "NoSuchLifecycleConfiguration"), nil, ""},
		{"somebody's rules", "s3 lifecycle rule", "s3:GetBucketLifecycleConfiguration", xmlBody(200, rules("logs", "auditcanary:run=x", "x "+mine)), nil, ""},
		{"a canary's rule among others", "s3 lifecycle rule", "s3:GetBucketLifecycleConfiguration", xmlBody(200, rules("logs", mine)), nil, "remove it by hand"},
		{"denied", "s3 lifecycle rule", "s3:GetBucketLifecycleConfiguration", s3Error(403, "AccessDenied"), nil, "s3:GetBucketLifecycleConfiguration of auditcanary-111122223333-eu-west-1-lifecycle"},
	} {
		w := newWire(t)
		w.answer[tt.call] = tt.answer
		left, err := leftOf(t, w, tt.kind, ireland)
		if !reflect.DeepEqual(left, tt.want) || (err == nil) != (tt.err == "") || err != nil && !strings.Contains(err.Error(), tt.err) {
			t.Errorf("%s, %s: %+v, %v, want %+v, ...%s...", tt.kind, tt.name, left, err, tt.want, tt.err)
		}
	}
}
