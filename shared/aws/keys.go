package aws

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	kmstypes "github.com/aws/aws-sdk-go-v2/service/kms/types"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	smtypes "github.com/aws/aws-sdk-go-v2/service/secretsmanager/types"

	"github.com/auditcanary/auditcanary/shared/canary"
	"github.com/auditcanary/auditcanary/shared/run"
)

// keyOperations: encryption keys and secrets.
func keyOperations() map[string]operation {
	return map[string]operation{
		// Keys: fixture keys that protect nothing. Each scenario has its own, as two
		// canaries at one place run at the same time.
		"kms:DisableKey": {call: call(kms.NewFromConfig, (*kms.Client).DisableKey), subject: on("KeyId"), undo: "kms:EnableKey", guards: guards{fixtureID("KeyId")}, grants: grants{allow(key, when{fixtureTag: "fixture"}, "kms:DisableKey")}},
		"kms:EnableKey":  {call: call(kms.NewFromConfig, (*kms.Client).EnableKey), subject: on("KeyId"), restores: true, guards: guards{fixtureID("KeyId")}, grants: grants{allow(key, when{fixtureTag: "fixture"}, "kms:EnableKey")}},
		// 30 days are the most there is: so long has anybody to notice that the undo
		// failed. (kms:ScheduleKeyDeletionPendingWindowInDays is a number, which
		// StringLike is not made for; the guard demands it.)
		"kms:ScheduleKeyDeletion": {call: call(kms.NewFromConfig, (*kms.Client).ScheduleKeyDeletion), subject: on("KeyId"), undo: "kms:CancelKeyDeletion", guards: guards{theFixture("KeyId", fixtureDeletionKey), must("PendingWindowInDays", 30.0)}, grants: grants{allow(key, when{fixtureTag: "fixture"}, "kms:ScheduleKeyDeletion")}},
		"kms:CancelKeyDeletion":   {call: call(kms.NewFromConfig, (*kms.Client).CancelKeyDeletion), subject: on("KeyId"), restores: true, guards: guards{fixtureID("KeyId")}, grants: grants{allow(key, when{fixtureTag: "fixture"}, "kms:CancelKeyDeletion")}},
		// No condition key tells a dry run, so that the grant is as small as if it were none.
		"kms:CreateGrant": {call: call(kms.NewFromConfig, (*kms.Client).CreateGrant), subject: on("KeyId"), guards: guards{must("DryRun", true), theFixture("KeyId", fixtureGrantKey), breakGlassRole("GranteePrincipal"), onlyDescribes("Operations"), without("Constraints", "GrantTokens", "RetiringPrincipal")}, grants: grants{allow(key, when{fixtureTag: "fixture", "kms:GranteePrincipal": "{GranteePrincipal}"}, "kms:CreateGrant")}},

		// Secrets: without a value, so that none comes into the ledger. A secret's ARN
		// ends in six characters of the service's choice, which a secret to be made has
		// not got yet.
		"secretsmanager:CreateSecret": {call: call(secretsmanager.NewFromConfig, (*secretsmanager.Client).CreateSecret), subject: on("Name=SecretId"), undo: "secretsmanager:DeleteSecret", guards: guards{ownName("Name"), runTags(), without("SecretString", "SecretBinary", "KmsKeyId", "AddReplicaRegions", "ForceOverwriteReplicaSecret")}, grants: grants{
			allow(secret+"{Name}*", when{requestTagRun: "{run}"}, "secretsmanager:CreateSecret", "secretsmanager:TagResource"),
		}},
		"secretsmanager:DeleteSecret": {call: call(secretsmanager.NewFromConfig, (*secretsmanager.Client).DeleteSecret), subject: on("SecretId"), restores: true, guards: guards{ownName("SecretId"), must("ForceDeleteWithoutRecovery", true)}, grants: grants{
			allow(secret+"{SecretId}-??????", when{resourceTagRun: "{run}"}, "secretsmanager:DeleteSecret"),
		}},
	}
}

const (
	secret = "arn:{partition}:secretsmanager:{region}:{account}:secret:"
	// resourceTagRun: what is undone was made by this run; in a sweep, by any run.
	resourceTagRun = "aws:ResourceTag/" + tagRun
)

// theFixture: not any fixture of the configuration, but this one.
func theFixture(param, fixture string) guard {
	return func(s scene, p map[string]any) error {
		if err := fixtureID(param)(s, p); err != nil {
			return err
		}
		if v := textAt(p, param); lastPart(v) != lastPart(s.fixtures[fixture]) {
			return fmt.Errorf("%s %q must be the fixture %s: other canaries use the others", param, v, fixture)
		}
		return nil
	}
}

// without: the parameters are left out.
func without(params ...string) guard {
	return func(_ scene, p map[string]any) error {
		for _, param := range params {
			if lookAt(p, param) != nil {
				return fmt.Errorf("%s is not allowed: it must be left out", param)
			}
		}
		return nil
	}
}

// onlyDescribes: a grant of the one operation that tells nothing and does nothing.
func onlyDescribes(param string) guard {
	return func(_ scene, p map[string]any) error {
		if v, _ := lookAt(p, param).([]any); !slices.Equal(v, []any{"DescribeKey"}) {
			return fmt.Errorf("%s must be [DescribeKey], not %v", param, lookAt(p, param))
		}
		return nil
	}
}

// Names, in the configuration, of the keys that canaries act on.
const (
	fixtureKey         = "kms_key"
	fixtureDeletionKey = "deletion_key"
	fixtureGrantKey    = "grant_key"
)

// keyKinds are what these leave behind.
func keyKinds() []kind {
	return []kind{
		{name: "kms key disabled", fixture: fixtureKey, list: leftKey(fixtureKey, kmstypes.KeyStateDisabled), undo: []string{"kms:EnableKey"}, reads: keyReads},
		{name: "kms key to be deleted", fixture: fixtureDeletionKey, list: leftKey(fixtureDeletionKey, kmstypes.KeyStateDisabled, kmstypes.KeyStatePendingDeletion), undo: []string{"kms:CancelKeyDeletion", "kms:EnableKey"}, reads: keyReads},
		{name: "secretsmanager secret", list: leftSecrets, undo: []string{"secretsmanager:DeleteSecret"}, reads: grants{allow("*", nil, "secretsmanager:ListSecrets")}},
	}
}

var keyReads = grants{allow("arn:{partition}:kms:{region}:{account}:key/*", nil, "kms:DescribeKey", "kms:ListResourceTags")}

// restoreKey lists the calls that enable a key again, by the state it is in. A
// key whose deletion is cancelled is disabled.
var restoreKey = map[kmstypes.KeyState][]string{
	kmstypes.KeyStateDisabled:        {"kms:EnableKey"},
	kmstypes.KeyStatePendingDeletion: {"kms:CancelKeyDeletion", "kms:EnableKey"},
}

// leftKey lists a fixture key if it is in one of the states in which canaries
// leave it. It must carry the fixture's tag: the configuration alone does not make
// a key ours.
func leftKey(fixture string, states ...kmstypes.KeyState) func(context.Context, place) ([]run.Leftover, error) {
	return func(ctx context.Context, p place) ([]run.Leftover, error) {
		id, _ := p.target.fixture(p.scene.region, fixture)
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
		state := key.KeyMetadata.KeyState
		switch {
		case state == kmstypes.KeyStateEnabled:
			return nil, nil
		case !slices.Contains(states, state):
			return nil, p.fail(fmt.Errorf("fixture key %s is %s: no canary does that; look who did, and restore it", id, state), "kms:DescribeKey")
		}
		tags, err := keyTags(ctx, p, client, id)
		if err != nil {
			return nil, err
		}
		if tags[tagFixture] != "fixture" {
			return nil, p.fail(fmt.Errorf("key %s is %s but lacks the tag %s=fixture: it is not touched; correct fixtures.%s or tag the key", id, state, tagFixture, fixture), "kms:ListResourceTags")
		}
		left := run.Leftover{ID: aws.ToString(key.KeyMetadata.Arn)}
		for _, operation := range restoreKey[state] {
			undo := canary.Call{Operation: operation, Region: p.scene.region, Params: map[string]any{"KeyId": id}}
			if operation == "kms:CancelKeyDeletion" {
				undo.Gone = []string{"KMSInvalidStateException"} // cancelled meanwhile
			}
			left.Undo = append(left.Undo, undo)
		}
		return []run.Leftover{left}, nil
	}
}

func keyTags(ctx context.Context, p place, client *kms.Client, id string) (map[string]string, error) {
	tags := map[string]string{}
	pages := kms.NewListResourceTagsPaginator(client, &kms.ListResourceTagsInput{KeyId: &id})
	for pages.HasMorePages() {
		page, err := nextPage(ctx, p, pages.NextPage)
		if err != nil {
			return nil, p.fail(err, "kms:ListResourceTags of "+id)
		}
		for _, t := range page.Tags {
			tags[aws.ToString(t.TagKey)] = aws.ToString(t.TagValue)
		}
	}
	return tags, nil
}

// leftSecrets: secrets that name and tags show to be a canary's. The listing
// brings the tags with it.
func leftSecrets(ctx context.Context, p place) ([]run.Leftover, error) {
	var left []run.Leftover
	pages := secretsmanager.NewListSecretsPaginator(secretsmanager.NewFromConfig(p.cfg), &secretsmanager.ListSecretsInput{
		Filters: []smtypes.Filter{{Key: smtypes.FilterNameStringTypeName, Values: []string{canary.Marker + "-"}}}, // begins with
	})
	for pages.HasMorePages() {
		page, err := nextPage(ctx, p, pages.NextPage)
		if err != nil {
			return left, p.fail(err, "secretsmanager:ListSecrets")
		}
		for _, s := range page.SecretList {
			tags := map[string]string{}
			for _, t := range s.Tags {
				tags[aws.ToString(t.Key)] = aws.ToString(t.Value)
			}
			name := aws.ToString(s.Name)
			runID, canaryID, ok := madeAs(name, tags)
			if !ok {
				continue
			}
			left = append(left, run.Leftover{ID: aws.ToString(s.ARN), Run: runID, Canary: canaryID, Undo: []canary.Call{{
				Operation: "secretsmanager:DeleteSecret", Region: p.scene.region, Gone: []string{"ResourceNotFoundException"},
				Params: map[string]any{"SecretId": name, "ForceDeleteWithoutRecovery": true},
			}}})
		}
	}
	return left, nil
}

// madeAs reads whose a thing is that its name marks too: both must agree.
func madeAs(name string, tags map[string]string) (runID, canaryID string, ok bool) {
	runID, canaryID, ok = made(tags)
	own := canary.Marker + "-" + canaryID
	return runID, canaryID, ok && (name == own || strings.HasPrefix(name, own+"-"))
}
