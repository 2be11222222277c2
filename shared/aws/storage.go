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

// storageOperations: who may read what is stored.
var storageOperations = map[string]operation{
	// Storage: one empty bucket; its policy may take away but not give.
	"s3:PutBucketPolicy":    {call: call(newS3, (*s3.Client).PutBucketPolicy), subject: on("Bucket"), undo: "s3:DeleteBucketPolicy", guards: guards{markedName("Bucket"), onlyDenies("Policy"), denialsAreConditional("Policy"), policyID("Policy")}, grants: grants{allow(bucket, nil, "s3:PutBucketPolicy")}},
	"s3:DeleteBucketPolicy": {call: call(newS3, (*s3.Client).DeleteBucketPolicy), subject: on("Bucket"), restores: true, guards: guards{markedName("Bucket")}, grants: grants{allow(bucket, nil, "s3:DeleteBucketPolicy")}},
}

// storageKinds are what these leave behind.
var storageKinds = []kind{
	{name: "s3 bucket policy", list: leftBucketPolicy, reads: grants{allow("arn:{partition}:s3:::auditcanary-*", nil, "s3:GetBucketPolicy")}},
}

// fixtureBucket names the bucket whose policy a sweep removes.
const fixtureBucket = "bucket"

// leftBucketPolicy: the fixture bucket's policy, if its Id says that a canary set it.
func leftBucketPolicy(ctx context.Context, p place) ([]run.Leftover, error) {
	name, ok := p.target.fixture(p.scene.region, fixtureBucket)
	if !ok {
		return nil, nil
	}
	what := "s3:GetBucketPolicy of " + name
	if !strings.HasPrefix(name, canary.Marker+"-") {
		return nil, p.fail(fmt.Errorf("the fixture's name does not begin with %q", canary.Marker+"-"), what)
	}
	bounded, cancel := p.bound(ctx)
	defer cancel()
	out, err := newS3(p.cfg).GetBucketPolicy(bounded, &s3.GetBucketPolicyInput{Bucket: &name})
	var api smithy.APIError
	if errors.As(err, &api) && api.ErrorCode() == "NoSuchBucketPolicy" {
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
	return []run.Leftover{{ID: "arn:" + p.scene.partition + ":s3:::" + name, Run: runID, Canary: canaryID, Undo: []canary.Call{{
		Operation: "s3:DeleteBucketPolicy", Region: p.scene.region, Gone: []string{"NoSuchBucketPolicy"},
		Params: map[string]any{"Bucket": name},
	}}}}, nil
}
