package cloud_test

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	kmstypes "github.com/aws/aws-sdk-go-v2/service/kms/types"

	"github.com/auditcanary/auditcanary/tests/sandbox/cloud"
)

// injectorMay gives the injector of the target account that policy and no other.
func (b *box) injectorMay(doc string) {
	b.t.Helper()
	if err := b.cloud.PermitInjector(target, []json.RawMessage{json.RawMessage(doc)}); err != nil {
		b.t.Fatal(err)
	}
}

func TestAKeysDeletionIsScheduledAndCancelled(t *testing.T) {
	b := start(t)
	c, ctx := kms.NewFromConfig(b.root(target, west)), t.Context()
	id := aws.String(cloud.Fixtures(target, west)["deletion_key"])
	arn := "arn:aws:kms:" + west + ":" + target + ":key/" + *id
	state := func(want kmstypes.KeyState) {
		t.Helper()
		out, err := c.DescribeKey(ctx, &kms.DescribeKeyInput{KeyId: id})
		if err != nil || out.KeyMetadata.KeyState != want {
			t.Fatalf("the key is %v, want %s (%v)", pretty(out), want, err)
		}
	}
	state(kmstypes.KeyStateEnabled)

	_, err := c.CancelKeyDeletion(ctx, &kms.CancelKeyDeletionInput{KeyId: id})
	wantCode(t, err, "KMSInvalidStateException")
	for _, days := range []int32{6, 31} {
		_, err = c.ScheduleKeyDeletion(ctx, &kms.ScheduleKeyDeletionInput{KeyId: id, PendingWindowInDays: &days})
		wantCode(t, err, "ValidationException")
	}
	_, err = c.ScheduleKeyDeletion(ctx, &kms.ScheduleKeyDeletionInput{KeyId: aws.String(strings.Repeat("0", 36))})
	wantCode(t, err, "NotFoundException")

	out, err := c.ScheduleKeyDeletion(ctx, &kms.ScheduleKeyDeletionInput{KeyId: id, PendingWindowInDays: aws.Int32(30)})
	if err != nil || *out.KeyId != arn || out.KeyState != kmstypes.KeyStatePendingDeletion {
		t.Fatalf("%s %v", pretty(out), err)
	}
	if wait := out.DeletionDate.Sub(b.clock.Now()); wait < 29*24*time.Hour || wait > 30*24*time.Hour {
		t.Errorf("deleted in %s", wait)
	}
	rec := b.last("ScheduleKeyDeletion")
	if at(rec, "requestParameters", "keyId") != *id || at(rec, "requestParameters", "pendingWindowInDays") != 30.0 ||
		at(rec, "responseElements", "keyId") != arn || at(rec, "responseElements", "keyState") != "PendingDeletion" {
		t.Errorf("record %s", pretty(rec))
	}
	state(kmstypes.KeyStatePendingDeletion)
	if changes := b.cloud.Changes(); len(changes) != 2 {
		t.Errorf("a key to be deleted shows as %s", pretty(changes))
	}
	_, err = c.EnableKey(ctx, &kms.EnableKeyInput{KeyId: id})
	wantCode(t, err, "KMSInvalidStateException")
	_, err = c.ScheduleKeyDeletion(ctx, &kms.ScheduleKeyDeletionInput{KeyId: id})
	wantCode(t, err, "KMSInvalidStateException")

	if _, err := c.CancelKeyDeletion(ctx, &kms.CancelKeyDeletionInput{KeyId: id}); err != nil {
		t.Fatal(err)
	}
	if rec := b.last("CancelKeyDeletion"); at(rec, "responseElements", "keyId") != arn {
		t.Errorf("record %s", pretty(rec))
	}
	state(kmstypes.KeyStateDisabled) // cancelling does not enable
	if _, err := c.EnableKey(ctx, &kms.EnableKeyInput{KeyId: id}); err != nil {
		t.Fatal(err)
	}
	if changes := b.cloud.Changes(); len(changes) != 0 {
		t.Errorf("left behind: %s", pretty(changes))
	}
}

func TestAGrantIsOnlyAskedFor(t *testing.T) {
	b := start(t)
	ctx := t.Context()
	id := aws.String(cloud.Fixtures(target, west)["grant_key"])
	glass := "arn:aws:iam::" + target + ":role/auditcanary-break-glass"
	ask := func(change func(*kms.CreateGrantInput)) *kms.CreateGrantInput {
		in := &kms.CreateGrantInput{KeyId: id, GranteePrincipal: &glass, Operations: []kmstypes.GrantOperation{kmstypes.GrantOperationDescribeKey}, DryRun: aws.Bool(true)}
		if change != nil {
			change(in)
		}
		return in
	}
	root := kms.NewFromConfig(b.root(target, west))
	_, err := root.CreateGrant(ctx, ask(nil))
	wantCode(t, err, "DryRunOperationException")
	rec := b.last("CreateGrant")
	if rec["errorCode"] != "DryRunOperationException" || at(rec, "requestParameters", "dryRun") != true ||
		at(rec, "requestParameters", "granteePrincipal") != glass || rec["responseElements"] != nil {
		t.Errorf("record %s", pretty(rec))
	}
	for want, change := range map[string]func(*kms.CreateGrantInput){
		"NotImplemented":      func(in *kms.CreateGrantInput) { in.DryRun = nil },
		"InvalidArnException": func(in *kms.CreateGrantInput) { in.GranteePrincipal = aws.String(glass + "-not-there") },
	} {
		_, err := root.CreateGrant(ctx, ask(change))
		wantCode(t, err, want)
	}

	// A policy may bind the grantee and the fixture's tag.
	policy := func(grantee, tag string) string {
		return `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":["kms:CreateGrant","kms:DisableKey"],"Resource":"*","Condition":{"StringLike":{` +
			`"aws:ResourceTag/auditcanary":"` + tag + `","kms:GranteePrincipal":"` + grantee + `"}}}]}`
	}
	b.injectorMay(`{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"*","Resource":"*"}]}`)
	for inline, want := range map[string]string{
		policy(glass, "fixture"):     "DryRunOperationException",
		policy(glass+"x", "fixture"): "AccessDeniedException",
		policy(glass, "somebodys"):   "AccessDeniedException",
	} {
		_, err := kms.NewFromConfig(b.injector(target, west, inline)).CreateGrant(ctx, ask(nil))
		wantCode(t, err, want)
	}
	// A disabled key grants nothing.
	if _, err := root.DisableKey(ctx, &kms.DisableKeyInput{KeyId: id}); err != nil {
		t.Fatal(err)
	}
	_, err = root.CreateGrant(ctx, ask(nil))
	wantCode(t, err, "DisabledException")
}
