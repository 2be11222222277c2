package aws

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/smithy-go"

	"github.com/auditcanary/auditcanary/shared/canary"
	"github.com/auditcanary/auditcanary/shared/run"
)

// storageOperations: who may read what is stored, and how long it is kept.
//
// S3 knows a bucket's tags in conditions only where that was switched on for the
// bucket, so that the ARN protects here: of the one bucket, which is configured
// and named canary. Each scenario has a bucket of its own: S3 refuses a change
// while another one is under way (OperationAborted).
func storageOperations() map[string]operation {
	return map[string]operation{
		// Storage: one empty bucket; its policy may take away but not give.
		"s3:PutBucketPolicy":    {call: call(newS3, (*s3.Client).PutBucketPolicy), subject: on("Bucket"), undo: "s3:DeleteBucketPolicy", guards: guards{markedName("Bucket"), onlyDenies("Policy"), denialsAreConditional("Policy"), policyID("Policy")}, grants: grants{allow(bucket, nil, "s3:PutBucketPolicy")}},
		"s3:DeleteBucketPolicy": {call: call(newS3, (*s3.Client).DeleteBucketPolicy), subject: on("Bucket"), restores: true, guards: guards{markedName("Bucket")}, grants: grants{allow(bucket, nil, "s3:DeleteBucketPolicy")}},

		// Taking the block away opens nothing by itself: the bucket is empty, and
		// neither policy nor ACL lets anybody in.
		"s3:DeletePublicAccessBlock": {call: call(newS3, (*s3.Client).DeletePublicAccessBlock), subject: on("Bucket"), undo: "s3:PutPublicAccessBlock", guards: guards{markedName("Bucket"), theFixture("Bucket", fixtureAccessBucket)}, grants: grants{allow(bucket, nil, "s3:PutBucketPublicAccessBlock")}},
		"s3:PutPublicAccessBlock": {call: call(newS3, (*s3.Client).PutPublicAccessBlock), subject: on("Bucket"), restores: true, guards: append(guards{markedName("Bucket"), theFixture("Bucket", fixtureAccessBucket)},
			blocksAll("PublicAccessBlockConfiguration")...), grants: grants{allow(bucket, nil, "s3:PutBucketPublicAccessBlock")}},

		// A rule that expires nothing: it is disabled, and the bucket is empty.
		"s3:PutBucketLifecycleConfiguration": {call: call(newS3, (*s3.Client).PutBucketLifecycleConfiguration), subject: on("Bucket"), undo: "s3:DeleteBucketLifecycle", guards: guards{markedName("Bucket"), theFixture("Bucket", fixtureLifecycleBucket), disabledRule("LifecycleConfiguration.Rules")}, grants: grants{allow(bucket, nil, "s3:PutLifecycleConfiguration")}},
		"s3:DeleteBucketLifecycle":           {call: call(newS3, (*s3.Client).DeleteBucketLifecycle), subject: on("Bucket"), restores: true, guards: guards{markedName("Bucket"), theFixture("Bucket", fixtureLifecycleBucket)}, grants: grants{allow(bucket, nil, "s3:PutLifecycleConfiguration")}},
	}
}

// publicAccessBlock is the whole of it.
var publicAccessBlock = []string{"BlockPublicAcls", "BlockPublicPolicy", "IgnorePublicAcls", "RestrictPublicBuckets"}

// blocksAll: no part of the block is left out.
func blocksAll(param string) guards {
	var all guards
	for _, part := range publicAccessBlock {
		all = append(all, must(param+"."+part, true))
	}
	return all
}

// disabledRule: one lifecycle rule, which does nothing, and whose ID says whose it
// is: it cannot be tagged.
func disabledRule(param string) guard {
	return func(s scene, p map[string]any) error {
		rules, _ := lookAt(p, param).([]any)
		if len(rules) != 1 {
			return fmt.Errorf("%s must hold one rule, not %d", param, len(rules))
		}
		rule, _ := rules[0].(map[string]any)
		if err := must("Status", "Disabled")(s, rule); err != nil {
			return fmt.Errorf("%s[0]: %w: an enabled rule deletes", param, err)
		}
		if id := textAt(rule, "ID"); id != bucketPolicyID(s.run, s.canaryID()) {
			return fmt.Errorf("%s[0] has the ID %q: the sweep finds it only as %q", param, id, bucketPolicyID("${run}", "${canary}"))
		}
		return nil
	}
}

// Names, in the configuration, of the buckets that canaries act on.
const (
	fixtureBucket          = "bucket" // whose policy a canary sets
	fixtureAccessBucket    = "public_access_bucket"
	fixtureLifecycleBucket = "lifecycle_bucket"
)

// storageKinds are what these leave behind.
func storageKinds() []kind {
	return []kind{
		{name: "s3 bucket policy", fixture: fixtureBucket, list: leftBucketPolicy, undo: []string{"s3:DeleteBucketPolicy"}, reads: grants{allow(anyBucket, nil, "s3:GetBucketPolicy")}},
		{name: "s3 public access open", fixture: fixtureAccessBucket, list: leftPublicAccess, undo: []string{"s3:PutPublicAccessBlock"}, reads: grants{allow(anyBucket, nil, "s3:GetBucketPublicAccessBlock")}},
		{name: "s3 lifecycle rule", fixture: fixtureLifecycleBucket, list: leftLifecycle, undo: []string{"s3:DeleteBucketLifecycle"}, reads: grants{allow(anyBucket, nil, "s3:GetLifecycleConfiguration")}},
	}
}

const anyBucket = "arn:{partition}:s3:::auditcanary-*"

// fixtureBucketOf names the bucket of a place that a call looks at, and how errors
// speak of that.
func fixtureBucketOf(p place, fixture, call string) (name, what string, err error) {
	name, _ = p.target.fixture(p.scene.region, fixture)
	what = call + " of " + name
	if !strings.HasPrefix(name, canary.Marker+"-") {
		return "", what, p.fail(fmt.Errorf("the name of fixture %s does not begin with %q", fixture, canary.Marker+"-"), what)
	}
	return name, what, nil
}

// isNone: the service says that there is no such configuration.
func isNone(err error, code string) bool {
	var api smithy.APIError
	return errors.As(err, &api) && api.ErrorCode() == code
}

func (p place) bucketARN(name string) string { return "arn:" + p.scene.partition + ":s3:::" + name }

// leftBucketPolicy: the fixture bucket's policy, if its Id says that a canary set it.
func leftBucketPolicy(ctx context.Context, p place) ([]run.Leftover, error) {
	name, what, err := fixtureBucketOf(p, fixtureBucket, "s3:GetBucketPolicy")
	if err != nil {
		return nil, err
	}
	bounded, cancel := p.bound(ctx)
	defer cancel()
	out, err := newS3(p.cfg).GetBucketPolicy(bounded, &s3.GetBucketPolicyInput{Bucket: &name})
	if isNone(err, "NoSuchBucketPolicy") {
		return nil, nil
	}
	if err != nil {
		return nil, p.fail(err, what)
	}
	doc, err := parsePolicy("the policy", aws.ToString(out.Policy))
	if err != nil {
		return nil, p.fail(err, what)
	}
	runID, canaryID, ok := parsePolicyID(doc.ID)
	if !ok {
		return nil, nil // somebody else's
	}
	return []run.Leftover{{ID: p.bucketARN(name), Run: runID, Canary: canaryID, Undo: []canary.Call{{
		Operation: "s3:DeleteBucketPolicy", Region: p.scene.region, Gone: []string{"NoSuchBucketPolicy"},
		Params: map[string]any{"Bucket": name},
	}}}}, nil
}

// leftPublicAccess: the fixture bucket, if it has no block of public access. The
// service does not keep who took it away.
func leftPublicAccess(ctx context.Context, p place) ([]run.Leftover, error) {
	name, what, err := fixtureBucketOf(p, fixtureAccessBucket, "s3:GetPublicAccessBlock")
	if err != nil {
		return nil, err
	}
	bounded, cancel := p.bound(ctx)
	defer cancel()
	out, err := newS3(p.cfg).GetPublicAccessBlock(bounded, &s3.GetPublicAccessBlockInput{Bucket: &name})
	if isNone(err, "NoSuchPublicAccessBlockConfiguration") {
		all := map[string]any{}
		for _, part := range publicAccessBlock {
			all[part] = true
		}
		return []run.Leftover{{ID: p.bucketARN(name), Undo: []canary.Call{{
			Operation: "s3:PutPublicAccessBlock", Region: p.scene.region,
			Params: map[string]any{"Bucket": name, "PublicAccessBlockConfiguration": all},
		}}}}, nil
	}
	if err != nil {
		return nil, p.fail(err, what)
	}
	c := out.PublicAccessBlockConfiguration
	if c == nil || !aws.ToBool(c.BlockPublicAcls) || !aws.ToBool(c.BlockPublicPolicy) || !aws.ToBool(c.IgnorePublicAcls) || !aws.ToBool(c.RestrictPublicBuckets) {
		return nil, p.fail(errors.New("the bucket blocks public access in part only: no canary does that; look who did, and block it all"), what)
	}
	return nil, nil
}

// leftLifecycle: the fixture bucket's lifecycle, if its rule's ID says that a canary set it.
func leftLifecycle(ctx context.Context, p place) ([]run.Leftover, error) {
	name, what, err := fixtureBucketOf(p, fixtureLifecycleBucket, "s3:GetBucketLifecycleConfiguration")
	if err != nil {
		return nil, err
	}
	bounded, cancel := p.bound(ctx)
	defer cancel()
	out, err := newS3(p.cfg).GetBucketLifecycleConfiguration(bounded, &s3.GetBucketLifecycleConfigurationInput{Bucket: &name})
	if isNone(err, "NoSuchLifecycleConfiguration") {
		return nil, nil
	}
	if err != nil {
		return nil, p.fail(err, what)
	}
	for _, rule := range out.Rules {
		runID, canaryID, ok := parsePolicyID(aws.ToString(rule.ID))
		if !ok {
			continue // somebody else's
		}
		if len(out.Rules) > 1 { // they can only be deleted together
			return nil, p.fail(fmt.Errorf("the rule of canary %s stands among %d rules, of which the others are not a canary's: remove it by hand", canaryID, len(out.Rules)), what)
		}
		return []run.Leftover{{ID: p.bucketARN(name), Run: runID, Canary: canaryID, Undo: []canary.Call{{
			Operation: "s3:DeleteBucketLifecycle", Region: p.scene.region, Gone: []string{"NoSuchLifecycleConfiguration"},
			Params: map[string]any{"Bucket": name},
		}}}}, nil
	}
	return nil, nil
}
