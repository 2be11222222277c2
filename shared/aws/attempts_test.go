package aws

import (
	"encoding/json"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/auditcanary/auditcanary/shared/canary"
	"github.com/auditcanary/auditcanary/shared/run"
)

// onlyReads are the names of operations that change nothing.
var onlyReads = regexp.MustCompile(`^[a-z0-9]+:(Get|List|Describe)[A-Z]`)

func TestLooksOnlyReadAndAttemptsAreNoSweepsBusiness(t *testing.T) {
	for name, l := range looks() {
		if !onlyReads.MatchString(name) || !l.readOnly || len(l.keeps) == 0 || len(l.guards) == 0 || len(l.grants) == 0 {
			t.Errorf("%s: readOnly %v, keeps %v, %d guards, %d grants", name, l.readOnly, l.keeps, len(l.guards), len(l.grants))
		}
	}
	for name, op := range attempts() {
		if op.restores || op.readOnly || len(op.guards) == 0 || len(op.grants) == 0 {
			t.Errorf("%s: restores %v, %d guards, %d grants", name, op.restores, len(op.guards), len(op.grants))
		}
		if onlyReads.MatchString(name) {
			t.Errorf("%s only reads: it is a look", name)
		}
	}
}

// Whatever a scenario says, an attempt is made on its one fixture only, and with what
// makes success harmless.
func TestAttemptsThatMightHarmAreRefused(t *testing.T) {
	const bucket, object = "auditcanary-111122223333-eu-west-1-locked", "auditcanary-object"
	version := "${protection.Versions.0.VersionId}"
	type params = map[string]any
	for _, tt := range []struct {
		claim, call string
		params      params
		want        string
	}{
		{"a version that was not read", "s3:DeleteObject", params{"Bucket": bucket, "Key": object, "VersionId": "v1"}, "VersionId must be ${protection.Versions.0.VersionId}"},
		{"no version: a delete marker", "s3:DeleteObject", params{"Bucket": bucket, "Key": object}, "VersionId must be ${protection"},
		{"another bucket", "s3:DeleteObject", params{"Bucket": "auditcanary-111122223333-eu-west-1", "Key": object, "VersionId": version}, "must be the fixture locked_bucket"},
		{"another object", "s3:DeleteObject", params{"Bucket": bucket, "Key": "other", "VersionId": version}, "must be the fixture locked_object"},
		{"governance bypassed", "s3:DeleteObject", params{"Bucket": bucket, "Key": object, "VersionId": version, "BypassGovernanceRetention": true}, "BypassGovernanceRetention is not allowed"},
		{"a date of one's own", "s3:PutObjectRetention", params{"Bucket": bucket, "Key": object, "VersionId": version, "Retention": params{"Mode": "${protection.Retention.Mode}", "RetainUntilDate": "2027-01-01T00:00:00Z"}}, "RetainUntilDate must be ${protection"},
		{"a day earlier", "s3:PutObjectRetention", params{"Bucket": bucket, "Key": object, "VersionId": version, "Retention": params{"Mode": "${protection.Retention.Mode}", "RetainUntilDate": "${protection.Retention.RetainUntilDate-24h}"}}, "RetainUntilDate must be ${protection.Retention.RetainUntilDate-1s}"},
		{"another mode", "s3:PutObjectRetention", params{"Bucket": bucket, "Key": object, "VersionId": version, "Retention": params{"Mode": "GOVERNANCE", "RetainUntilDate": "${protection.Retention.RetainUntilDate-1s}"}}, "Retention.Mode must be ${protection"},
		{"another policy", "s3:PutBucketPolicy", params{"Bucket": bucket, "Policy": "{}"}, "Policy must be ${protection.Policy}"},
		{"a policy of more than was read", "s3:PutBucketPolicy", params{"Bucket": bucket, "Policy": "${protection.Policy} "}, "Policy must be ${protection.Policy}"},
		{"a policy, lockout not checked", "s3:PutBucketPolicy", params{"Bucket": bucket, "Policy": "${protection.Policy}", "ConfirmRemoveSelfBucketAccess": true}, "ConfirmRemoveSelfBucketAccess is not allowed"},
		{"other rules", "s3:PutBucketLifecycleConfiguration", params{"Bucket": bucket, "LifecycleConfiguration": params{"Rules": []any{}}}, "LifecycleConfiguration.Rules must be ${protection.Rules}"},
		{"another default", "s3:PutObjectLockConfiguration", params{"Bucket": bucket, "ObjectLockConfiguration": params{"ObjectLockEnabled": "Enabled"}}, "ObjectLockConfiguration must be ${protection"},
		{"the trail at home", "cloudtrail:StopLogging", params{"Name": "arn:aws:cloudtrail:eu-west-1:111122223333:trail/auditcanary-multi"}, "must be the fixture"},
		{"the decoy", "cloudtrail:StopLogging", params{"Name": "auditcanary-decoy"}, "must be the fixture"},
		{"other selectors", "cloudtrail:PutEventSelectors", params{"TrailName": "auditcanary-locked", "AdvancedEventSelectors": []any{}}, "AdvancedEventSelectors must be ${protection"},
		{"a trail of this region", "cloudtrail:DeleteTrail", params{"Name": "auditcanary-locked"}, "must be the fixture multi_region_trail_arn"},
		{"a key that is not about to be deleted", "kms:ScheduleKeyDeletion", params{"KeyId": "1f0a4f3c-0000-4000-8000-000000000002", "PendingWindowInDays": 30.0}, "must be the fixture pending_key"},
		{"sooner than it would be", "kms:ScheduleKeyDeletion", params{"KeyId": "1f0a4f3c-0000-4000-8000-000000000004", "PendingWindowInDays": 7.0}, "PendingWindowInDays must be 30"},
		{"another group", "logs:DeleteLogGroup", params{"LogGroupName": "auditcanary-retention"}, "must be the fixture protected_log_group"},
		{"another recovery point", "backup:DeleteRecoveryPoint", params{"BackupVaultName": "auditcanary-locked", "RecoveryPointArn": "arn:aws:backup:eu-west-1:111122223333:recovery-point:x"}, "must be the fixture locked_recovery_point"},
		{"what may be done, but not attempted", "kms:DisableKey", params{"KeyId": "1f0a4f3c-0000-4000-8000-000000000001"}, "is not on the list of what may be attempted"},
		{"a misspelt parameter", "s3:PutBucketPolicy", params{"Bucket": bucket, "Polcy": "${protection.Policy}"}, "unknown parameter Polcy"},
		{"nothing in the place of what is required", "s3:PutBucketPolicy", params{"Bucket": bucket}, "required parameter missing: Policy"},
	} {
		target := testTarget()
		s := target.scene("eu-west-1", "20261122-abcdef", "auditcanary-20261122-abcdef-01")
		if _, _, err := planAttempt(target, s, tt.call, tt.params); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v, want %q", tt.claim, err, tt.want)
		}
	}
}

// A trail can be configured as what it is not: then it could be stopped.
func TestATrailInReachIsNotAttempted(t *testing.T) {
	for fixture, arn := range map[string]string{
		"multi_region_trail_arn": "arn:aws:cloudtrail:eu-west-1:111122223333:trail/auditcanary-multi", // its home
		"organization_trail_arn": "arn:aws:cloudtrail:us-east-1:111122223333:trail/org-trail",         // this account's
	} {
		target := testTarget()
		target.Fixtures["eu-west-1"][fixture] = arn
		s := target.scene("eu-west-1", "20261122-abcdef", "auditcanary-20261122-abcdef-01")
		if _, _, err := planAttempt(target, s, "cloudtrail:StopLogging", map[string]any{"Name": arn}); err == nil || !strings.Contains(err.Error(), "could be changed") {
			t.Errorf("%s: %v", fixture, err)
		}
	}
}

// opened is a session of a probe.
func opened(t *testing.T, w *wire) run.Prober {
	t.Helper()
	c := testCloud(t, w.config())
	i := slices.IndexFunc(catalogue(t), func(s canary.Scenario) bool { return s.ID == "aws/s3-bucket-policy-denied" })
	p, err := c.Plan(catalogue(t)[i], testCanary("eu-west-1"))
	if err != nil {
		t.Fatal(err)
	}
	sess, err := c.Open(t.Context(), p)
	if err != nil {
		t.Fatal(err)
	}
	return sess
}

const member = "You don't have permissions to access this resource."

// ordinary answers as Organizations does a member that is nothing special.
func ordinary(w *wire) {
	w.answer["organizations:DescribeOrganization"] = managedBy("100000000001")
	w.answer["organizations:ListDelegatedAdministrators"] = jsonError(400, "AccessDeniedException", member)
}

func TestAnAttemptIsHeldAgainstWhatWasRead(t *testing.T) {
	const bucket = "auditcanary-111122223333-eu-west-1-locked"
	read := []canary.Reading{{Reply: json.RawMessage(`{"Policy":"{\"is\":1}"}`)}}
	for _, tt := range []struct {
		claim, policy string
		seen          []canary.Reading
		sent          int
		want          string
	}{
		{"the very policy", `{"is":1}`, read, 1, "AccessDenied"},
		{"another policy", `{"is":2}`, read, 0, codeNotSent},
		{"a reference that nobody resolved", "${protection.Policy}", read, 0, codeNotSent},
		{"nothing read", `{"is":1}`, nil, 0, codeNotSent},
	} {
		w := newWire(t)
		ordinary(w)
		sent := 0
		w.answer["s3:PutBucketPolicy"] = func(rw http.ResponseWriter, _ *called) {
			sent++
			rw.Header().Set("Content-Type", "application/xml")
			rw.WriteHeader(403)
			_, _ = rw.Write([]byte("<Error><Code>AccessDenied</Code><Message>explicit deny</Message></Error>"))
		}
		r := opened(t, w).Attempt(t.Context(), canary.Call{Operation: "s3:PutBucketPolicy", Region: "eu-west-1", Params: map[string]any{"Bucket": bucket, "Policy": tt.policy}}, tt.seen)
		if r.Outcome.Code != tt.want || sent != tt.sent {
			t.Errorf("%s: %+v, sent %d times", tt.claim, r.Outcome, sent)
		}
	}
}

func TestNothingIsAttemptedWhereNobodyDeniesIt(t *testing.T) {
	for _, tt := range []struct {
		claim              string
		describe, delegate func(http.ResponseWriter, *called)
		want               string // "" = it may be
	}{
		{"a member", managedBy("100000000001"), jsonError(400, "AccessDeniedException", member), ""},
		{"no organisation", jsonError(400, "AWSOrganizationsNotInUseException", "no"), nil, ""},
		{"the management account", managedBy(testAccount), nil, "is the organisation's management account: nothing that must be denied is attempted there"},
		{"a delegated administrator", managedBy("100000000001"), jsonReply(map[string]any{"DelegatedAdministrators": []any{map[string]any{"Id": testAccount}}}), "is a delegated administrator"},
		{"another one is the delegated administrator", managedBy("100000000001"), jsonReply(map[string]any{"DelegatedAdministrators": []any{map[string]any{"Id": "999999999999"}}}), ""},
		{"not allowed to ask", jsonError(400, "AccessDeniedException", "is not authorized to perform: organizations:DescribeOrganization"), nil, "is it the organisation's management account or a delegated administrator? organizations:DescribeOrganization"},
		{"not allowed to ask for delegates", managedBy("100000000001"), jsonError(400, "AccessDeniedException", "User x is not authorized to perform: organizations:ListDelegatedAdministrators because no identity-based policy allows it"), "organizations:ListDelegatedAdministrators"},
		{"a reply without a name", jsonReply(map[string]any{"Organization": map[string]any{}}), nil, "does not name the management account"},
	} {
		w := newWire(t)
		w.answer["organizations:DescribeOrganization"] = tt.describe
		if tt.delegate != nil {
			w.answer["organizations:ListDelegatedAdministrators"] = tt.delegate
		}
		looked := 0
		w.answer["cloudtrail:GetTrailStatus"] = func(rw http.ResponseWriter, c *called) {
			looked++
			jsonReply(map[string]any{"IsLogging": true})(rw, c)
		}
		sess := opened(t, w)
		look := canary.Call{Operation: "cloudtrail:GetTrailStatus", Region: "eu-west-1", Params: map[string]any{"Name": "auditcanary-locked"}}
		r := sess.Look(t.Context(), look)
		if (tt.want == "") != (r.Err == "") || !strings.Contains(r.Err, tt.want) || (looked == 1) != (tt.want == "") {
			t.Errorf("%s: %q, looked %d times, want %q", tt.claim, r.Err, looked, tt.want)
		}
		// What was found out is not asked again.
		if asked := len(w.of("organizations:DescribeOrganization")); tt.want == "" {
			if sess.Look(t.Context(), look); len(w.of("organizations:DescribeOrganization")) != asked {
				t.Errorf("%s: asked twice", tt.claim)
			}
		}
	}
}

func TestALookKeepsWhatDoesNotChangeByItself(t *testing.T) {
	for _, tt := range []struct {
		claim  string
		answer func(http.ResponseWriter, *called)
		reply  string
		gone   bool
		result canary.Result
		err    string
	}{
		{"the state", jsonReply(map[string]any{"IsLogging": true, "LatestDeliveryTime": 1.7e9, "StartLoggingTime": 1.7e9}), `{"IsLogging":true,"StartLoggingTime":"2023-11-14T22:13:20Z"}`, false, canary.Succeeded, ""},
		{"nothing stated", jsonReply(map[string]any{}), `{}`, false, canary.Succeeded, ""},
		{"no such trail", jsonError(400, "TrailNotFoundException", "no"), ``, true, canary.Failed, ""},
		{"refused", jsonError(400, "AccessDeniedException", "no"), ``, false, canary.Refused, ""},
		{"broken", jsonError(500, "InternalError", "no"), ``, false, canary.Unknown, ""},
		{"cut off", func(rw http.ResponseWriter, _ *called) { panic(http.ErrAbortHandler) }, ``, false, canary.Unknown, ""},
	} {
		w := newWire(t)
		ordinary(w)
		w.answer["cloudtrail:GetTrailStatus"] = tt.answer
		r := opened(t, w).Look(t.Context(), canary.Call{Operation: "cloudtrail:GetTrailStatus", Region: "eu-west-1", Params: map[string]any{"Name": "auditcanary-locked"}})
		if string(r.Reply) != tt.reply || r.Gone != tt.gone || r.Outcome.Result != tt.result || r.Err != tt.err || r.Ended.IsZero() {
			t.Errorf("%s: %+v reply %s", tt.claim, r, r.Reply)
		}
		if tt.result != canary.Unknown && len(r.RequestIDs) != 1 {
			t.Errorf("%s: request ids %v", tt.claim, r.RequestIDs)
		}
	}
	w := newWire(t)
	ordinary(w)
	for claim, name := range map[string]string{
		"a huge reply": strings.Repeat("x", canary.MaxReply),
		"one that is huge as the ledger holds it": strings.Repeat("<", canary.MaxReply/4),
	} {
		w.answer["cloudtrail:GetEventSelectors"] = jsonReply(map[string]any{"AdvancedEventSelectors": []any{map[string]any{"Name": name}}})
		r := opened(t, w).Look(t.Context(), canary.Call{Operation: "cloudtrail:GetEventSelectors", Region: "eu-west-1", Params: map[string]any{"TrailName": "auditcanary-locked"}})
		if r.Reply != nil || !strings.Contains(r.Err, "more than the 12288 that are kept") {
			t.Errorf("%s: %q, %d bytes", claim, r.Err, len(r.Reply))
		}
	}
	for _, call := range []canary.Call{
		{Operation: "cloudtrail:GetTrailStatus", Region: "eu-west-1", Params: map[string]any{"Name": "org-trail"}},
		{Operation: "cloudtrail:GetTrailStatus", Region: "us-east-1", Params: map[string]any{"Name": "auditcanary-locked"}},
		{Operation: "cloudtrail:LookupEvents", Region: "eu-west-1"},
	} {
		if r := opened(t, w).Look(t.Context(), call); r.Outcome.Code != codeNotSent || len(r.RequestIDs) != 0 {
			t.Errorf("%v was sent: %+v", call, r)
		}
	}
}
