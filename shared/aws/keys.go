package aws

import (
	"context"
	"errors"
	"fmt"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	kmstypes "github.com/aws/aws-sdk-go-v2/service/kms/types"

	"github.com/auditcanary/auditcanary/shared/canary"
	"github.com/auditcanary/auditcanary/shared/run"
)

// keyOperations: encryption keys and secrets.
var keyOperations = map[string]operation{
	// Keys: one fixture key that protects nothing.
	"kms:DisableKey": {call: call(kms.NewFromConfig, (*kms.Client).DisableKey), subject: on("KeyId"), undo: "kms:EnableKey", guards: guards{fixtureID("KeyId")}, grants: grants{allow(key, when{fixtureTag: "fixture"}, "kms:DisableKey")}},
	"kms:EnableKey":  {call: call(kms.NewFromConfig, (*kms.Client).EnableKey), subject: on("KeyId"), restores: true, guards: guards{fixtureID("KeyId")}, grants: grants{allow(key, when{fixtureTag: "fixture"}, "kms:EnableKey")}},
}

// keyKinds are what these leave behind.
var keyKinds = []kind{
	{name: "kms key disabled", list: leftKey, reads: grants{
		allow("arn:{partition}:kms:{region}:{account}:key/*", nil, "kms:DescribeKey", "kms:ListResourceTags"),
	}},
}

// fixtureKey names, in the configuration, the key that a sweep enables.
const fixtureKey = "kms_key"

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
