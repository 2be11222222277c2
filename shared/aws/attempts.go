package aws

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/backup"
	"github.com/aws/aws-sdk-go-v2/service/cloudtrail"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatchlogs"
	"github.com/aws/aws-sdk-go-v2/service/eventbridge"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/organizations"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/smithy-go"

	"github.com/auditcanary/auditcanary/shared/canary"
)

// Names, in the configuration, of what tamper probes attempt to take away. (None ends
// in "_trail": those are trails that a sweep starts.)
const (
	fixtureLockedBucket        = "locked_bucket"
	fixtureLockedObject        = "locked_object"
	fixturePendingKey          = "pending_key"
	fixtureProtectedLogGroup   = "protected_log_group"
	fixtureLockedVault         = "locked_vault"
	fixtureLockedRecoveryPoint = "locked_recovery_point"
	fixtureMultiRegionTrail    = "multi_region_trail_arn"
	fixtureOrganizationTrail   = "organization_trail_arn"
	fixtureLockedTrail         = "locked_trail"
)

// attempts is everything this program may ever attempt that must be denied, once the
// protection has been seen to stand (run.Prober). What is on it need not be on the
// list of operations: the guards here name the one fixture each is for, and demand
// what makes the attempt harmless should it succeed. Which of several ways is meant
// is told by the parameter: oneOf.
//
// An undo is what restores the fixture should the attempt succeed.
func attempts() map[string]operation {
	return map[string]operation{
		// The event selectors are those the trail has; the trails record nothing, or are
		// named where the call cannot succeed: a trail is changed in its home region only,
		// and that of the organisation by its management account only (CloudTrail API
		// reference, InvalidHomeRegionException; user guide, organization trails).
		"cloudtrail:StopLogging": {call: call(cloudtrail.NewFromConfig, (*cloudtrail.Client).StopLogging), subject: on("Name"), undo: "cloudtrail:StartLogging", guards: guards{only("", "Name"),
			oneOf(guards{markedName("Name"), isFixture("Name", fixtureLockedTrail)}, guards{outOfReach("Name")})}, idle: guards{outOfReach("Name")},
			grants: grants{allow(trail, nil, "cloudtrail:StopLogging")}},
		"cloudtrail:DeleteTrail":       {call: call(cloudtrail.NewFromConfig, (*cloudtrail.Client).DeleteTrail), guards: guards{only("", "Name"), isFixture("Name", fixtureMultiRegionTrail), elsewhere("Name")}, grants: grants{allow(trail, nil, "cloudtrail:DeleteTrail")}},
		"cloudtrail:PutEventSelectors": {call: call(cloudtrail.NewFromConfig, (*cloudtrail.Client).PutEventSelectors), guards: guards{markedName("TrailName"), isFixture("TrailName", fixtureLockedTrail), only("", "TrailName", "AdvancedEventSelectors"), asRead("AdvancedEventSelectors", "AdvancedEventSelectors")}, grants: grants{allow(selectorTrail, nil, "cloudtrail:PutEventSelectors")}},

		"events:DisableRule":                operations()["events:DisableRule"],
		"iam:DeleteRolePermissionsBoundary": operations()["iam:DeleteRolePermissionsBoundary"],

		// A key that is about to be deleted cannot be made to be deleted again; 30 days, so
		// that nothing could be hastened.
		"kms:ScheduleKeyDeletion": {call: call(kms.NewFromConfig, (*kms.Client).ScheduleKeyDeletion), guards: guards{theFixture("KeyId", fixturePendingKey), must("PendingWindowInDays", 30.0)}, grants: grants{allow(key, when{fixtureTag: "fixture"}, "kms:ScheduleKeyDeletion")}},

		"logs:DeleteLogGroup": {call: call(cloudwatchlogs.NewFromConfig, (*cloudwatchlogs.Client).DeleteLogGroup), guards: guards{markedName("LogGroupName"), isFixture("LogGroupName", fixtureProtectedLogGroup)}, grants: grants{allow(logGroup, nil, "logs:DeleteLogGroup")}},

		"backup:DeleteRecoveryPoint": {call: call(backup.NewFromConfig, (*backup.Client).DeleteRecoveryPoint), guards: guards{markedName("BackupVaultName"), isFixture("BackupVaultName", fixtureLockedVault), isFixture("RecoveryPointArn", fixtureLockedRecoveryPoint)}, grants: grants{allow(recoveryPoint, when{fixtureTag: "fixture"}, "backup:DeleteRecoveryPoint")}},

		// Objects: a version is always named. Without one, S3 would add a delete marker,
		// which no lock keeps it from. No governance retention is ever bypassed.
		"s3:DeleteObject": {call: call(newS3, (*s3.Client).DeleteObject), dataEvent: true, guards: guards{lockedObject(), only("", "Bucket", "Key", "VersionId"), asRead("VersionId", "Versions.0.VersionId")}, grants: grants{allow(object, nil, "s3:DeleteObjectVersion")}},
		"s3:PutObjectRetention": {call: call(newS3, (*s3.Client).PutObjectRetention), dataEvent: true, guards: guards{lockedObject(), only("", "Bucket", "Key", "VersionId", "Retention"), only("Retention", "Mode", "RetainUntilDate"),
			asRead("VersionId", "Versions.0.VersionId"), asRead("Retention.Mode", "Retention.Mode"), asRead("Retention.RetainUntilDate", "Retention.RetainUntilDate-1s")}, grants: grants{allow(object, nil, "s3:PutObjectRetention")}},

		// Buckets: the document that is there already.
		"s3:PutBucketPolicy":                 {call: call(newS3, (*s3.Client).PutBucketPolicy), guards: guards{lockedBucket(), only("", "Bucket", "Policy"), asRead("Policy", "Policy")}, grants: grants{allow(bucket, nil, "s3:PutBucketPolicy")}},
		"s3:PutBucketLifecycleConfiguration": {call: call(newS3, (*s3.Client).PutBucketLifecycleConfiguration), guards: guards{lockedBucket(), only("", "Bucket", "LifecycleConfiguration"), only("LifecycleConfiguration", "Rules"), asRead("LifecycleConfiguration.Rules", "Rules")}, grants: grants{allow(bucket, nil, "s3:PutLifecycleConfiguration")}},
		"s3:PutObjectLockConfiguration":      {call: call(newS3, (*s3.Client).PutObjectLockConfiguration), guards: guards{lockedBucket(), only("", "Bucket", "ObjectLockConfiguration"), asRead("ObjectLockConfiguration", "ObjectLockConfiguration")}, grants: grants{allow(bucket, nil, "s3:PutBucketObjectLockConfiguration")}},
	}
}

const (
	object        = "arn:{partition}:s3:::{Bucket}/{Key}"
	recoveryPoint = "{RecoveryPointArn}"
)

// look is one line of the list of calls that look at protections.
type look struct {
	operation
	// keeps are the parts of the reply that are kept: those that change only when
	// somebody changes them. A path goes through lists.
	keeps []string
	// gone are the error codes which say that there is no such thing.
	gone []string
}

// looks is every call with which this program looks at what protects a thing.
func looks() map[string]look {
	return map[string]look{
		"cloudtrail:GetTrail":          {reading(call(cloudtrail.NewFromConfig, (*cloudtrail.Client).GetTrail), guards{fixtureTrail("Name")}, allow(trail, nil, "cloudtrail:GetTrail")), on("Trail"), on("TrailNotFoundException")},
		"cloudtrail:GetTrailStatus":    {reading(call(cloudtrail.NewFromConfig, (*cloudtrail.Client).GetTrailStatus), guards{fixtureTrail("Name")}, allow(trail, nil, "cloudtrail:GetTrailStatus")), on("IsLogging", "StartLoggingTime", "StopLoggingTime"), on("TrailNotFoundException")},
		"cloudtrail:GetEventSelectors": {reading(call(cloudtrail.NewFromConfig, (*cloudtrail.Client).GetEventSelectors), guards{fixtureTrail("TrailName")}, allow(selectorTrail, nil, "cloudtrail:GetEventSelectors")), on("AdvancedEventSelectors", "EventSelectors"), on("TrailNotFoundException")},

		"events:DescribeRule": {reading(call(eventbridge.NewFromConfig, (*eventbridge.Client).DescribeRule), guards{markedName("Name"), only("", "Name")}, allow(eventRule, nil, "events:DescribeRule")), on("Name", "State", "EventPattern", "ScheduleExpression"), on("ResourceNotFoundException")},
		"iam:GetRole":         {operation{call: call(iam.NewFromConfig, (*iam.Client).GetRole), global: true, readOnly: true, guards: guards{markedName("RoleName")}, grants: grants{allow(canaryRole, nil, "iam:GetRole")}}, on("Role.RoleName", "Role.PermissionsBoundary", "Role.AssumeRolePolicyDocument"), on("NoSuchEntity")},
		"kms:DescribeKey":     {reading(call(kms.NewFromConfig, (*kms.Client).DescribeKey), guards{fixtureID("KeyId")}, allow(key, nil, "kms:DescribeKey")), on("KeyMetadata.KeyId", "KeyMetadata.KeyState", "KeyMetadata.DeletionDate", "KeyMetadata.Enabled", "KeyMetadata.Origin"), on("NotFoundException")},

		"logs:DescribeLogGroups": {reading(call(cloudwatchlogs.NewFromConfig, (*cloudwatchlogs.Client).DescribeLogGroups), guards{markedName("LogGroupNamePrefix"), must("Limit", 1.0)}, allow("*", nil, "logs:DescribeLogGroups")), on("LogGroups.LogGroupName", "LogGroups.DeletionProtectionEnabled", "LogGroups.RetentionInDays"), nil},

		"backup:DescribeBackupVault":   {reading(call(backup.NewFromConfig, (*backup.Client).DescribeBackupVault), guards{markedName("BackupVaultName"), only("", "BackupVaultName")}, allow(backupVault, nil, "backup:DescribeBackupVault")), on("BackupVaultName", "Locked", "LockDate", "MinRetentionDays", "MaxRetentionDays"), on("ResourceNotFoundException")},
		"backup:DescribeRecoveryPoint": {reading(call(backup.NewFromConfig, (*backup.Client).DescribeRecoveryPoint), guards{markedName("BackupVaultName"), isFixture("RecoveryPointArn", fixtureLockedRecoveryPoint)}, allow(recoveryPoint, nil, "backup:DescribeRecoveryPoint")), on("RecoveryPointArn", "BackupVaultName", "Status", "Lifecycle", "CalculatedLifecycle"), on("ResourceNotFoundException")},

		"s3:ListObjectVersions": {data(reading(call(newS3, (*s3.Client).ListObjectVersions), guards{lockedBucket(), isFixture("Prefix", fixtureLockedObject)}, allow(bucket, nil, "s3:ListBucketVersions"))), on("Versions.Key", "Versions.VersionId", "Versions.ETag", "Versions.Size"), nil},
		"s3:GetObjectRetention": {data(reading(call(newS3, (*s3.Client).GetObjectRetention), guards{lockedObject()}, allow(object, nil, "s3:GetObjectRetention"))), on("Retention"), on("NoSuchObjectLockConfiguration", "NoSuchVersion", "NoSuchKey")},

		"s3:GetBucketPolicy":                 {reading(call(newS3, (*s3.Client).GetBucketPolicy), guards{lockedBucket(), only("", "Bucket")}, allow(bucket, nil, "s3:GetBucketPolicy")), on("Policy"), on("NoSuchBucketPolicy")},
		"s3:GetBucketLifecycleConfiguration": {reading(call(newS3, (*s3.Client).GetBucketLifecycleConfiguration), guards{lockedBucket(), only("", "Bucket")}, allow(bucket, nil, "s3:GetLifecycleConfiguration")), on("Rules"), on("NoSuchLifecycleConfiguration")},
		"s3:GetObjectLockConfiguration":      {reading(call(newS3, (*s3.Client).GetObjectLockConfiguration), guards{lockedBucket(), only("", "Bucket")}, allow(bucket, nil, "s3:GetBucketObjectLockConfiguration")), on("ObjectLockConfiguration"), on("ObjectLockConfigurationNotFoundError")},
	}
}

// reading is a regional call that reads.
func reading(m method, g guards, gr ...grant) operation {
	return operation{call: m, readOnly: true, guards: g, grants: gr}
}

func data(o operation) operation { o.dataEvent = true; return o }

// isFixture: the parameter is exactly what the configuration calls so.
func isFixture(param, fixture string) guard {
	return func(s scene, p map[string]any) error {
		if v := textAt(p, param); v == "" || v != s.fixtures[fixture] {
			return fmt.Errorf("%s %q must be the fixture %s", param, v, fixture)
		}
		return nil
	}
}

// oneOf: all guards of one of the ways agree.
func oneOf(ways ...guards) guard {
	return func(s scene, p map[string]any) error {
		var refusals []string
		for _, way := range ways {
			err := way.all(s, p)
			if err == nil {
				return nil
			}
			refusals = append(refusals, err.Error())
		}
		return errors.New(strings.Join(refusals, "; or "))
	}
}

// fixtureTrail: one of the trails that are attempted to be stopped.
func fixtureTrail(param string) guard {
	return oneOf(guards{isFixture(param, fixtureLockedTrail)}, guards{isFixture(param, fixtureMultiRegionTrail)}, guards{isFixture(param, fixtureOrganizationTrail)})
}

func lockedBucket() guard {
	return func(s scene, p map[string]any) error {
		return guards{markedName("Bucket"), isFixture("Bucket", fixtureLockedBucket)}.all(s, p)
	}
}

func lockedObject() guard {
	return func(s scene, p map[string]any) error {
		return guards{markedName("Bucket"), isFixture("Bucket", fixtureLockedBucket), isFixture("Key", fixtureLockedObject)}.all(s, p)
	}
}

// trailARN is a trail's, whoever's it is.
var trailARN = regexp.MustCompile(`^arn:[a-z-]+:cloudtrail:([a-z0-9-]+):([0-9]{12}):trail/`)

// elsewhere: a trail of this account whose home is another region than that of the
// call, where CloudTrail changes no trail.
func elsewhere(param string) guard {
	return func(s scene, p map[string]any) error {
		v := textAt(p, param)
		m := trailARN.FindStringSubmatch(v)
		if m == nil || m[2] != s.account || m[1] == s.region {
			return fmt.Errorf("%s %q must be the ARN of a trail of account %s with its home in another region than %s: there it could be changed", param, v, s.account, s.region)
		}
		return nil
	}
}

// foreign: a trail of another account, which only that may change.
func foreign(param string) guard {
	return func(s scene, p map[string]any) error {
		v := textAt(p, param)
		if m := trailARN.FindStringSubmatch(v); m == nil || m[2] == s.account {
			return fmt.Errorf("%s %q must be the ARN of the organisation's trail, of another account than %s: of its own it could be changed", param, v, s.account)
		}
		return nil
	}
}

// outOfReach: a trail that cannot be stopped from here, whatever one may.
func outOfReach(param string) guard {
	return oneOf(guards{isFixture(param, fixtureMultiRegionTrail), elsewhere(param)}, guards{isFixture(param, fixtureOrganizationTrail), foreign(param)})
}

// asRead: the parameter is what was read before the attempt: in a plan the reference
// to it, in a call that is about to be sent the very value.
func asRead(param, path string) guard {
	ref := "${protection." + path + "}"
	return func(s scene, p map[string]any) error {
		got := lookAt(p, param)
		if s.seen == nil {
			if got != ref {
				return fmt.Errorf("%s must be %s, so that success would change nothing, not %v", param, ref, got)
			}
			return nil
		}
		want, err := canary.Recall(ref, s.seen)
		if err != nil {
			return fmt.Errorf("%s: %w", param, err)
		}
		if !reflect.DeepEqual(want, got) {
			return fmt.Errorf("%s is not what was read before (%s)", param, ref)
		}
		return nil
	}
}

// CheckAttempt is CheckCall for the call of a step with a protection: it must be on
// the list of attempts. ${protection...} may stand for values of any type.
func CheckAttempt(operation string, params map[string]any) error {
	_, _, err := lookUpAttempt(operation, params)
	return err
}

// CheckLook is CheckCall for a call that looks at a protection.
func CheckLook(operation string, params map[string]any) error {
	_, _, err := lookUpLook(operation, params)
	return err
}

func lookUpAttempt(name string, params map[string]any) (operation, any, error) {
	op, ok := attempts()[name]
	if !ok {
		return op, nil, fmt.Errorf("operation %q is not on the list of what may be attempted under a protection (%s)", name, names(attempts()))
	}
	in, err := op.call.input(name, params)
	return op, in, err
}

func lookUpLook(name string, params map[string]any) (look, any, error) {
	l, ok := looks()[name]
	if !ok {
		return l, nil, fmt.Errorf("operation %q is not on the list of looks at protections (%s)", name, names(looks()))
	}
	in, err := l.call.input(name, params)
	return l, in, err
}

// input reads parameters in which references to what will be read still stand.
func (m method) input(name string, params map[string]any) (any, error) {
	open, _ := standIn(params, m.in).(map[string]any)
	in, err := m.decode(open)
	if err == nil {
		err = m.required(in)
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return in, nil
}

// standIn puts an empty value of the type that is wanted in the place of each
// reference to what will be read.
func standIn(v any, t reflect.Type) any {
	for t != nil && t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	switch v := v.(type) {
	case string:
		if !strings.HasPrefix(v, "${protection.") || t == nil || t.Kind() == reflect.String {
			return v
		}
		if t == reflect.TypeFor[time.Time]() {
			return time.Time{}.Format(time.RFC3339)
		}
		switch t.Kind() {
		case reflect.Struct, reflect.Map:
			return map[string]any{}
		case reflect.Slice:
			return []any{}
		}
		return v
	case map[string]any:
		out := map[string]any{}
		for name, x := range v {
			var of reflect.Type
			if t != nil && t.Kind() == reflect.Struct {
				if f, ok := t.FieldByName(name); ok {
					of = f.Type
				}
			}
			out[name] = standIn(x, of)
		}
		return out
	case []any:
		out := make([]any, len(v))
		for i, x := range v {
			var of reflect.Type
			if t != nil && t.Kind() == reflect.Slice {
				of = t.Elem()
			}
			out[i] = standIn(x, of)
		}
		return out
	}
	return v
}

// accountReads is what is asked before anything is attempted in an account.
var accountReads = grants{allow("*", nil, "organizations:DescribeOrganization", "organizations:ListDelegatedAdministrators")}

// ofItsOwn matches a refusal whose reason is the caller's own policies, not the service.
var ofItsOwn = regexp.MustCompile(`is not authorized to perform`)

// mayAttempt says why nothing that must be denied may be attempted in an account:
// service control policies do not bind the organisation's management account, and a
// delegated administrator may do to others what a member may not. What cannot be
// found out is a reason too. What was found out holds for a while; that it could not be,
// for a shorter one.
func (c *Cloud) mayAttempt(ctx context.Context, t Target) error {
	c.asking.Lock()
	defer c.asking.Unlock()
	now := c.clock()
	if s, known := c.attemptable[t.Account]; known && now.Before(s.until) {
		return s.err
	}
	s := standing{until: now.Add(sessionLife)}
	why, err := c.special(ctx, t)
	if why != "" {
		s.err = fmt.Errorf("account %s is %s: nothing that must be denied is attempted there", t.Account, why)
	}
	if err != nil {
		s.err, s.until = fmt.Errorf("is it the organisation's management account or a delegated administrator? %w", err), now.Add(time.Minute)
	}
	c.attemptable[t.Account] = s
	return s.err
}

// standing is what was found out of an account, and until when that holds.
type standing struct {
	err   error
	until time.Time
}

// special says what distinguishes an account in its organisation, "" if nothing does.
func (c *Cloud) special(ctx context.Context, t Target) (string, error) {
	at := canary.Target{Provider: "aws", Account: t.Account, Region: homeRegion(t.partition())}
	s := t.scene(at.Region, "*", canary.Marker)
	var sts []statement
	for _, g := range accountReads {
		sts = append(sts, s.statement(g, nil))
	}
	client := organizations.NewFromConfig(c.reading(t, at, string(policy(sts))))
	fail := func(err error, what string) (string, error) {
		return "", explain(err, what, t.Account, at.Region, readAdvice)
	}
	bounded, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	org, err := client.DescribeOrganization(bounded, &organizations.DescribeOrganizationInput{})
	if code(err) == "AWSOrganizationsNotInUseException" {
		return "", nil
	}
	if err != nil {
		return fail(err, "organizations:DescribeOrganization")
	}
	if org.Organization == nil || aws.ToString(org.Organization.MasterAccountId) == "" {
		return fail(errors.New("the reply does not name the management account"), "organizations:DescribeOrganization")
	}
	if *org.Organization.MasterAccountId == t.Account {
		return "the organisation's management account", nil
	}
	// Only the management account and delegated administrators are answered.
	pages := organizations.NewListDelegatedAdministratorsPaginator(client, &organizations.ListDelegatedAdministratorsInput{})
	for n := 0; pages.HasMorePages(); n++ {
		if n == maxPages {
			return fail(errEndless, "organizations:ListDelegatedAdministrators")
		}
		page, err := pages.NextPage(bounded)
		if code(err) == "AccessDeniedException" && !ofItsOwn.MatchString(err.Error()) {
			return "", nil
		}
		if err != nil {
			return fail(err, "organizations:ListDelegatedAdministrators")
		}
		for _, a := range page.DelegatedAdministrators {
			if aws.ToString(a.Id) == t.Account {
				return "a delegated administrator of the organisation", nil
			}
		}
	}
	return "", nil
}

func code(err error) string {
	var api smithy.APIError
	if errors.As(err, &api) {
		return api.ErrorCode()
	}
	return ""
}

// planLooks works out the looks of a step.
func planLooks(t Target, s scene, st canary.Step) ([]canary.Call, error) {
	var out []canary.Call
	for _, p := range st.Protection {
		params, err := expand(t, s, p.Params)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", p.Read, err)
		}
		l, _, err := lookUpLook(p.Read, params)
		if err != nil {
			return nil, err
		}
		if err := l.guards.check(s, p.Read, params); err != nil {
			return nil, err
		}
		out = append(out, canary.Call{Operation: p.Read, Region: s.regionOf(l.operation), Params: params})
	}
	return out, nil
}

// planAttempt expands and checks the call of a step with a protection.
func planAttempt(t Target, s scene, name string, params map[string]any) (canary.Call, operation, error) {
	expanded, err := expand(t, s, params)
	if err != nil {
		return canary.Call{}, operation{}, fmt.Errorf("%s: %w", name, err)
	}
	op, _, err := lookUpAttempt(name, expanded)
	if err != nil {
		return canary.Call{}, op, err
	}
	if err := op.guards.check(s, name, expanded); err != nil {
		return canary.Call{}, op, err
	}
	return canary.Call{Operation: name, Region: s.regionOf(op), Params: expanded}, op, nil
}

func (s scene) regionOf(op operation) string {
	if op.global {
		return homeRegion(s.partition)
	}
	return s.region
}

// attemptStatements are what a step with a protection needs.
func (s scene) attemptStatements(call canary.Call, seen []canary.Call) []statement {
	var out []statement
	for _, g := range attempts()[call.Operation].grants {
		out = append(out, s.statement(g, call.Params))
	}
	for _, l := range seen {
		for _, g := range looks()[l.Operation].grants {
			out = append(out, s.statement(g, l.Params))
		}
	}
	return out
}

func names[V any](list map[string]V) string {
	all := make([]string, 0, len(list))
	for name := range list {
		all = append(all, name)
	}
	slices.Sort(all)
	return strings.Join(all, ", ")
}
