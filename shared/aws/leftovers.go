package aws

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/cloudtrail"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	ec2types "github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	iamtypes "github.com/aws/aws-sdk-go-v2/service/iam/types"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	kmstypes "github.com/aws/aws-sdk-go-v2/service/kms/types"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/smithy-go"

	"github.com/auditcanary/auditcanary/shared/canary"
	"github.com/auditcanary/auditcanary/shared/run"
)

// reads is all this driver ever reads in an account, as permissions: to find
// what canaries left, and to ask the event history.
var reads = grants{
	allow("*", nil, "iam:ListRoles", "ec2:DescribeSecurityGroupRules", "cloudtrail:LookupEvents"),
	allow("arn:{partition}:iam::{account}:role/auditcanary/*", nil, "iam:ListRoleTags", "iam:ListAttachedRolePolicies"),
	allow("arn:{partition}:kms:{region}:{account}:key/*", nil, "kms:DescribeKey", "kms:ListResourceTags"),
	allow("arn:{partition}:s3:::auditcanary-*", nil, "s3:GetBucketPolicy"),
	allow("arn:{partition}:cloudtrail:{region}:{account}:trail/auditcanary-*", nil, "cloudtrail:GetTrailStatus"),
}

// Names under which the configuration lists the fixtures a sweep restores.
const (
	fixtureKey    = "kms_key"
	fixtureBucket = "bucket"
	fixtureTrails = "_trail" // suffix: decoy_trail, locked_trail
)

// kinds are what canaries can leave behind, each with its own way to list it.
var kinds = []struct {
	name   string
	global bool // listed once, with the home region
	list   func(context.Context, place) ([]run.Leftover, error)
}{
	{"iam role", true, leftRoles},
	{"ec2 security group rule", false, leftRules},
	{"kms key disabled", false, leftKey},
	{"s3 bucket policy", false, leftBucketPolicy},
	{"cloudtrail trail stopped", false, leftTrails},
}

// Leftovers implements run.Sweeper. Global kinds (roles) are listed with the
// region in which the partition records them, us-east-1. Fixtures that are not
// in their proper state have no run of their own where the provider keeps none
// (a disabled key, a stopped trail). An error means that the listing is not
// complete; what was found until then comes with it.
func (c *Cloud) Leftovers(ctx context.Context, at canary.Target) ([]run.Leftover, error) {
	t, err := c.target(at)
	if err != nil {
		return nil, err
	}
	p := place{cloud: c, target: t, scene: t.scene(at.Region, "*", canary.Marker), cfg: c.reading(t, at), pages: new(int)}
	var left []run.Leftover
	var errs []error
	for _, k := range kinds {
		if k.global && at.Region != homeRegion(t.partition()) {
			continue
		}
		found, err := k.list(ctx, p)
		for i := range found {
			found[i].Kind = k.name
		}
		left = append(left, found...)
		if err != nil {
			errs = append(errs, fmt.Errorf("list leftovers (%s): %w", k.name, err))
		}
		if ctx.Err() != nil {
			break
		}
	}
	return left, errors.Join(errs...)
}

// place is an account and region being read.
type place struct {
	cloud  *Cloud
	target Target
	scene  scene
	cfg    aws.Config
	pages  *int // read so far, of all kinds
}

func (p place) fail(err error, what string) error {
	return explain(err, what, p.scene.account, p.cfg.Region, readAdvice)
}

// reading is a configuration for the read-only session of an account and
// region; the session is shared and renewed as it runs out.
func (c *Cloud) reading(t Target, at canary.Target) aws.Config {
	c.mu.Lock()
	defer c.mu.Unlock()
	creds, ok := c.readers[at]
	if !ok {
		s := t.scene(at.Region, "*", canary.Marker+"-*")
		var sts []statement
		for _, g := range reads {
			sts = append(sts, s.statement(g, nil))
		}
		doc := string(policy(sts))
		creds = aws.NewCredentialsCache(aws.CredentialsProviderFunc(func(ctx context.Context) (aws.Credentials, error) {
			id, err := c.assume(ctx, t, at.Region, readName, doc)
			return id.creds, err
		}))
		c.readers[at] = creds
	}
	cfg := c.config(at.Region)
	cfg.Credentials = creds
	return cfg
}

// bound gives one request of a listing its time.
func (p place) bound(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(ctx, p.cloud.timeout)
}

// leftRoles: roles in the canaries' path that carry the name prefix, a run and
// a canary. Fixtures (the injector itself) carry no run.
func leftRoles(ctx context.Context, p place) ([]run.Leftover, error) {
	client := iam.NewFromConfig(p.cfg)
	var left []run.Leftover
	pages := iam.NewListRolesPaginator(client, &iam.ListRolesInput{PathPrefix: aws.String(rolePath)})
	for pages.HasMorePages() {
		page, err := nextPage(ctx, p, pages.NextPage)
		if err != nil {
			return left, p.fail(err, "iam:ListRoles")
		}
		for _, role := range page.Roles {
			name := aws.ToString(role.RoleName)
			if !strings.HasPrefix(name, canary.Marker+"-") {
				continue
			}
			tags, err := roleTags(ctx, p, client, name)
			if err != nil {
				return left, err
			}
			runID, canaryID, ok := made(tags)
			if !ok || name != canary.Marker+"-"+canaryID && !strings.HasPrefix(name, canary.Marker+"-"+canaryID+"-") {
				continue
			}
			undo, err := undoRole(ctx, p, client, name)
			if err != nil {
				return left, err
			}
			left = append(left, run.Leftover{ID: aws.ToString(role.Arn), Run: runID, Canary: canaryID, Undo: undo})
		}
	}
	return left, nil
}

func roleTags(ctx context.Context, p place, client *iam.Client, name string) (map[string]string, error) {
	tags := map[string]string{}
	pages := iam.NewListRoleTagsPaginator(client, &iam.ListRoleTagsInput{RoleName: &name})
	for pages.HasMorePages() {
		page, err := nextPage(ctx, p, pages.NextPage)
		var gone *iamtypes.NoSuchEntityException
		if errors.As(err, &gone) {
			return nil, nil // deleted since it was listed
		}
		if err != nil {
			return nil, p.fail(err, "iam:ListRoleTags of "+name)
		}
		for _, t := range page.Tags {
			tags[aws.ToString(t.Key)] = aws.ToString(t.Value)
		}
	}
	return tags, nil
}

// undoRole: what is attached goes first.
func undoRole(ctx context.Context, p place, client *iam.Client, name string) ([]canary.Call, error) {
	region := homeRegion(p.scene.partition)
	var undo []canary.Call
	pages := iam.NewListAttachedRolePoliciesPaginator(client, &iam.ListAttachedRolePoliciesInput{RoleName: &name})
	for pages.HasMorePages() {
		page, err := nextPage(ctx, p, pages.NextPage)
		var gone *iamtypes.NoSuchEntityException
		if errors.As(err, &gone) {
			break
		}
		if err != nil {
			return nil, p.fail(err, "iam:ListAttachedRolePolicies of "+name)
		}
		for _, pol := range page.AttachedPolicies {
			undo = append(undo, canary.Call{Operation: "iam:DetachRolePolicy", Region: region, Gone: []string{"NoSuchEntity"},
				Params: map[string]any{"RoleName": name, "PolicyArn": aws.ToString(pol.PolicyArn)}})
		}
	}
	return append(undo, canary.Call{Operation: "iam:DeleteRole", Region: region, Gone: []string{"NoSuchEntity"},
		Params: map[string]any{"RoleName": name}}), nil
}

// leftRules: security group rules that carry a run and a canary. All rules of
// the region are read and their own tags looked at: a filter that goes wrong
// looks like an account that is clean.
func leftRules(ctx context.Context, p place) ([]run.Leftover, error) {
	client := ec2.NewFromConfig(p.cfg)
	var left []run.Leftover
	pages := ec2.NewDescribeSecurityGroupRulesPaginator(client, &ec2.DescribeSecurityGroupRulesInput{MaxResults: aws.Int32(1000)})
	for pages.HasMorePages() {
		page, err := nextPage(ctx, p, pages.NextPage)
		if err != nil {
			return left, p.fail(err, "ec2:DescribeSecurityGroupRules")
		}
		for _, rule := range page.SecurityGroupRules {
			runID, canaryID, ok := made(ec2Tags(rule.Tags))
			if !ok || aws.ToBool(rule.IsEgress) {
				continue
			}
			id, group := aws.ToString(rule.SecurityGroupRuleId), aws.ToString(rule.GroupId)
			left = append(left, run.Leftover{ID: group + "/" + id, Run: runID, Canary: canaryID, Undo: []canary.Call{{
				Operation: "ec2:RevokeSecurityGroupIngress", Region: p.scene.region,
				Params: map[string]any{"GroupId": group, "SecurityGroupRuleIds": []any{id}},
				Gone:   []string{"InvalidSecurityGroupRuleId.NotFound", "InvalidPermission.NotFound", "InvalidGroup.NotFound"},
			}}})
		}
	}
	return left, nil
}

func ec2Tags(in []ec2types.Tag) map[string]string {
	tags := map[string]string{}
	for _, t := range in {
		tags[aws.ToString(t.Key)] = aws.ToString(t.Value)
	}
	return tags
}

// made reads whose the tags say a thing is. A fixture is nobody's.
func made(tags map[string]string) (runID, canaryID string, ok bool) {
	runID, canaryID = tags[tagRun], tags[tagCanary]
	return runID, canaryID, idForm.MatchString(runID) && idForm.MatchString(canaryID) && tags[tagFixture] != "fixture"
}

// leftKey: the fixture key, if it is disabled. It must carry the fixture's tag:
// the configuration alone does not make a key ours.
func leftKey(ctx context.Context, p place) ([]run.Leftover, error) {
	id, ok := p.target.fixture(p.scene.region, fixtureKey)
	if !ok {
		return nil, nil
	}
	client := kms.NewFromConfig(p.cfg)
	bounded, cancel := p.bound(ctx)
	defer cancel()
	key, err := client.DescribeKey(bounded, &kms.DescribeKeyInput{KeyId: &id})
	if err != nil {
		return nil, p.fail(err, "kms:DescribeKey of "+id)
	}
	if key.KeyMetadata == nil {
		return nil, p.fail(errors.New("the reply is empty"), "kms:DescribeKey of "+id)
	}
	switch state := key.KeyMetadata.KeyState; state {
	case kmstypes.KeyStateEnabled:
		return nil, nil
	case kmstypes.KeyStateDisabled:
	default:
		return nil, p.fail(fmt.Errorf("fixture key %s is %s: no canary does that; look who did, and restore it", id, state), "kms:DescribeKey")
	}
	fixture := false
	pages := kms.NewListResourceTagsPaginator(client, &kms.ListResourceTagsInput{KeyId: &id})
	for pages.HasMorePages() {
		page, err := nextPage(ctx, p, pages.NextPage)
		if err != nil {
			return nil, p.fail(err, "kms:ListResourceTags of "+id)
		}
		for _, t := range page.Tags {
			fixture = fixture || aws.ToString(t.TagKey) == tagFixture && aws.ToString(t.TagValue) == "fixture"
		}
	}
	if !fixture {
		return nil, p.fail(fmt.Errorf("key %s is disabled but lacks the tag %s=fixture: it is not touched; correct fixtures.kms_key or tag the key", id, tagFixture), "kms:ListResourceTags")
	}
	return []run.Leftover{{ID: aws.ToString(key.KeyMetadata.Arn), Undo: []canary.Call{{
		Operation: "kms:EnableKey", Region: p.scene.region, Params: map[string]any{"KeyId": id},
	}}}}, nil
}

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

// leftTrails: the fixture trails that do not log.
func leftTrails(ctx context.Context, p place) ([]run.Leftover, error) {
	var left []run.Leftover
	for _, fixture := range slices.Sorted(maps.Keys(p.scene.fixtures)) {
		if !strings.HasSuffix(fixture, fixtureTrails) {
			continue
		}
		name := p.scene.fixtures[fixture]
		what := "cloudtrail:GetTrailStatus of " + name
		if !strings.HasPrefix(lastPart(name), canary.Marker+"-") {
			return left, p.fail(fmt.Errorf("the name of fixture %s does not begin with %q", fixture, canary.Marker+"-"), what)
		}
		bounded, cancel := p.bound(ctx)
		status, err := cloudtrail.NewFromConfig(p.cfg).GetTrailStatus(bounded, &cloudtrail.GetTrailStatusInput{Name: &name})
		cancel()
		if err != nil {
			return left, p.fail(err, what)
		}
		if status.IsLogging == nil {
			return left, p.fail(errors.New("the reply does not say whether it logs"), what)
		}
		if *status.IsLogging {
			continue
		}
		left = append(left, run.Leftover{ID: name, Undo: []canary.Call{{
			Operation: "cloudtrail:StartLogging", Region: p.scene.region, Params: map[string]any{"Name": name},
		}}})
	}
	return left, nil
}

// maxPages is far more than any account has; a server that never says "last
// page" must not keep us for ever.
const maxPages = 1000

var errEndless = fmt.Errorf("the listing does not end within %d pages", maxPages)

// nextPage gives one page its time.
func nextPage[Page, Option any](ctx context.Context, p place, next func(context.Context, ...func(*Option)) (*Page, error)) (*Page, error) {
	if *p.pages++; *p.pages > maxPages {
		return nil, errEndless
	}
	ctx, cancel := p.bound(ctx)
	defer cancel()
	return next(ctx)
}
