package cloud_test

import (
	"reflect"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	s3types "github.com/aws/aws-sdk-go-v2/service/s3/types"

	"github.com/auditcanary/auditcanary/tests/sandbox/cloud"
)

func TestPublicAccessToABucketIsUnblockedAndBlocked(t *testing.T) {
	b := start(t)
	c, ctx := s3of(b.root(target, west)), t.Context()
	bucket := aws.String(cloud.Fixtures(target, west)["public_access_bucket"])
	get := &s3.GetPublicAccessBlockInput{Bucket: bucket}
	all := &s3types.PublicAccessBlockConfiguration{BlockPublicAcls: aws.Bool(true), BlockPublicPolicy: aws.Bool(true), IgnorePublicAcls: aws.Bool(true), RestrictPublicBuckets: aws.Bool(true)}

	out, err := c.GetPublicAccessBlock(ctx, get)
	if err != nil || !reflect.DeepEqual(out.PublicAccessBlockConfiguration, all) {
		t.Fatalf("at first %s %v", pretty(out), err)
	}
	for range 2 { // deleting none is a success
		if _, err := c.DeletePublicAccessBlock(ctx, &s3.DeletePublicAccessBlockInput{Bucket: bucket}); err != nil {
			t.Fatal(err)
		}
	}
	rec := b.last("DeleteBucketPublicAccessBlock")
	if at(rec, "requestParameters", "bucketName") != *bucket || at(rec, "requestParameters", "publicAccessBlock") != "" {
		t.Errorf("record %s", pretty(rec))
	}
	_, err = c.GetPublicAccessBlock(ctx, get)
	wantCode(t, err, "NoSuchPublicAccessBlockConfiguration")
	if changes := b.cloud.Changes(); len(changes) != 1 || changes[0].ID != *bucket || changes[0].Is != "" {
		t.Errorf("changes %s", pretty(changes))
	}
	if _, err := c.PutPublicAccessBlock(ctx, &s3.PutPublicAccessBlockInput{Bucket: bucket, PublicAccessBlockConfiguration: all}); err != nil {
		t.Fatal(err)
	}
	rec = b.last("PutBucketPublicAccessBlock")
	if at(rec, "requestParameters", "PublicAccessBlockConfiguration", "BlockPublicPolicy") != true || at(rec, "requestParameters", "PublicAccessBlockConfiguration", "xmlns") == nil {
		t.Errorf("record %s", pretty(rec))
	}
	if changes := b.cloud.Changes(); len(changes) != 0 {
		t.Errorf("left behind: %s", pretty(changes))
	}
	_, err = c.DeletePublicAccessBlock(ctx, &s3.DeletePublicAccessBlockInput{Bucket: aws.String("no-such-bucket-here")})
	wantCode(t, err, "NoSuchBucket")
	if _, err := s3of(b.root(target, east)).GetPublicAccessBlock(ctx, get); code(err) != "PermanentRedirect" {
		t.Errorf("from another region: %v", err)
	}
}

func TestABucketsLifecycleIsSetAndDeleted(t *testing.T) {
	b := start(t)
	c, ctx := s3of(b.root(target, west)), t.Context()
	bucket := aws.String(cloud.Fixtures(target, west)["lifecycle_bucket"])
	get := &s3.GetBucketLifecycleConfigurationInput{Bucket: bucket}
	_, err := c.GetBucketLifecycleConfiguration(ctx, get)
	wantCode(t, err, "NoSuchLifecycleConfiguration")
	rules := []s3types.LifecycleRule{
		{ID: aws.String("auditcanary:run=r1 auditcanary:canary=c1"), Status: s3types.ExpirationStatusDisabled, Filter: &s3types.LifecycleRuleFilter{Prefix: aws.String("auditcanary/")}, Expiration: &s3types.LifecycleExpiration{Days: aws.Int32(1)}},
		{ID: aws.String("another"), Status: s3types.ExpirationStatusEnabled, Filter: &s3types.LifecycleRuleFilter{Prefix: aws.String("x")}, Expiration: &s3types.LifecycleExpiration{Days: aws.Int32(9999)}},
	}
	put := func(rules ...s3types.LifecycleRule) error {
		_, err := c.PutBucketLifecycleConfiguration(ctx, &s3.PutBucketLifecycleConfigurationInput{Bucket: bucket, LifecycleConfiguration: &s3types.BucketLifecycleConfiguration{Rules: rules}})
		return err
	}
	for n := 1; n <= 2; n++ {
		if err := put(rules[:n]...); err != nil {
			t.Fatal(err)
		}
		out, err := c.GetBucketLifecycleConfiguration(ctx, get)
		if err != nil || !reflect.DeepEqual(out.Rules, rules[:n]) {
			t.Fatalf("%s %v", pretty(out), err)
		}
	}
	// As real ones of 2024 and 2025 are in public rule tests: one rule is no list.
	if got, want := b.all("PutBucketLifecycle")[0].rec["requestParameters"], map[string]any{
		"bucketName": *bucket, "Host": strings.TrimPrefix(b.server.URL, "http://"), "lifecycle": "",
		"LifecycleConfiguration": map[string]any{"xmlns": "http://s3.amazonaws.com/doc/2006-03-01/", "Rule": map[string]any{
			"ID": *rules[0].ID, "Status": "Disabled", "Filter": map[string]any{"Prefix": "auditcanary/"}, "Expiration": map[string]any{"Days": 1.0}}},
	}; !reflect.DeepEqual(got, want) {
		t.Errorf("record %s\nwant %s", pretty(got), pretty(want))
	}
	if list, _ := at(b.last("PutBucketLifecycle"), "requestParameters", "LifecycleConfiguration", "Rule").([]any); len(list) != 2 {
		t.Errorf("record %s", pretty(b.last("PutBucketLifecycle")))
	}
	wantCode(t, put(s3types.LifecycleRule{Status: "Perhaps", Filter: &s3types.LifecycleRuleFilter{Prefix: aws.String("")}}), "MalformedXML")
	if _, err := c.DeleteBucketLifecycle(ctx, &s3.DeleteBucketLifecycleInput{Bucket: bucket}); err != nil {
		t.Fatal(err)
	}
	if rec := b.last("DeleteBucketLifecycle"); at(rec, "requestParameters", "lifecycle") != "" {
		t.Errorf("record %s", pretty(rec))
	}
	if changes := b.cloud.Changes(); len(changes) != 0 {
		t.Errorf("left behind: %s", pretty(changes))
	}
}

// The settings need S3's own actions, of which two do not have the operation's name.
func TestBucketSettingsNeedTheirAction(t *testing.T) {
	b := start(t)
	b.injectorMay(`{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"*","Resource":"*"}]}`)
	fixtures, ctx := cloud.Fixtures(target, west), t.Context()
	unblock := &s3.DeletePublicAccessBlockInput{Bucket: aws.String(fixtures["public_access_bucket"])}
	forget := &s3.DeleteBucketLifecycleInput{Bucket: aws.String(fixtures["lifecycle_bucket"])}
	for inline, want := range map[string][2]string{
		`"s3:PutBucketPublicAccessBlock"`:                                     {"", "AccessDenied"},
		`"s3:PutLifecycleConfiguration"`:                                      {"AccessDenied", ""},
		`["s3:DeletePublicAccessBlock","s3:DeleteBucketLifecycle","s3:Get*"]`: {"AccessDenied", "AccessDenied"},
	} {
		c := s3of(b.injector(target, west, `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":`+inline+`,"Resource":"arn:aws:s3:::auditcanary-*"}]}`))
		_, err := c.DeletePublicAccessBlock(ctx, unblock)
		if code(err) != want[0] {
			t.Errorf("%s: %v", inline, err)
		}
		_, err = c.DeleteBucketLifecycle(ctx, forget)
		if code(err) != want[1] {
			t.Errorf("%s: %v", inline, err)
		}
	}
}
