package cloud_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	smtypes "github.com/aws/aws-sdk-go-v2/service/secretsmanager/types"
)

func aSecret(name string) *secretsmanager.CreateSecretInput {
	return &secretsmanager.CreateSecretInput{Name: &name, Description: aws.String("canary"), Tags: []smtypes.Tag{{Key: aws.String("auditcanary:run"), Value: aws.String("r1")}}}
}

func TestASecretLivesAndDies(t *testing.T) {
	b := start(t)
	c, ctx := secretsmanager.NewFromConfig(b.root(target, west)), t.Context()
	out, err := c.CreateSecret(ctx, aSecret("auditcanary-c1"))
	if err != nil {
		t.Fatal(err)
	}
	prefix := "arn:aws:secretsmanager:" + west + ":" + target + ":secret:auditcanary-c1-"
	if rest, ok := strings.CutPrefix(*out.ARN, prefix); !ok || len(rest) != 6 || out.VersionId != nil {
		t.Errorf("%s", pretty(out))
	}
	rec := b.last("CreateSecret")
	tag, _ := at(rec, "requestParameters", "tags").([]any)
	if at(rec, "requestParameters", "name") != "auditcanary-c1" || at(rec, "requestParameters", "clientRequestToken") == nil || len(tag) != 1 || at(tag[0], "key") != "auditcanary:run" ||
		at(rec, "requestParameters", "forceOverwriteReplicaSecret") != false || at(rec, "responseElements", "arn") != *out.ARN || rec["resources"] != nil {
		t.Errorf("record %s", pretty(rec))
	}
	_, err = c.CreateSecret(ctx, aSecret("auditcanary-c1"))
	wantCode(t, err, "ResourceExistsException")
	_, err = c.CreateSecret(ctx, aSecret("not a name"))
	wantCode(t, err, "ValidationException")
	if changes := b.cloud.Changes(); len(changes) != 1 || changes[0].Kind != "secretsmanager secret" || !strings.Contains(changes[0].Is, "r1") {
		t.Errorf("changes %s", pretty(changes))
	}
	for _, id := range []string{"auditcanary-c1", *out.ARN} {
		if got, err := c.DescribeSecret(ctx, &secretsmanager.DescribeSecretInput{SecretId: &id}); err != nil || *got.ARN != *out.ARN {
			t.Errorf("%s: %s %v", id, pretty(got), err)
		}
	}

	gone := &secretsmanager.DeleteSecretInput{SecretId: aws.String("auditcanary-c1"), ForceDeleteWithoutRecovery: aws.Bool(true)}
	for range 2 { // forced, deleting what is not there is a success
		if _, err := c.DeleteSecret(ctx, gone); err != nil {
			t.Fatal(err)
		}
	}
	_, err = c.DeleteSecret(ctx, &secretsmanager.DeleteSecretInput{SecretId: aws.String("auditcanary-c1")})
	wantCode(t, err, "ResourceNotFoundException")
	_, err = c.DescribeSecret(ctx, &secretsmanager.DescribeSecretInput{SecretId: aws.String("auditcanary-c1")})
	wantCode(t, err, "ResourceNotFoundException")
	if changes := b.cloud.Changes(); len(changes) != 0 {
		t.Errorf("left behind: %s", pretty(changes))
	}
}

func TestTheValueOfASecretIsInNoRecord(t *testing.T) {
	b := start(t)
	in := aSecret("s")
	in.SecretString = aws.String("hunter2")
	out, err := secretsmanager.NewFromConfig(b.root(target, west)).CreateSecret(t.Context(), in)
	if err != nil || out.VersionId == nil {
		t.Fatalf("%s %v", pretty(out), err)
	}
	if rec := pretty(b.last("CreateSecret")); strings.Contains(rec, "hunter2") || strings.Contains(rec, "secretString") {
		t.Errorf("record %s", rec)
	}
}

func TestADeletedSecretMayWait(t *testing.T) {
	b := start(t)
	c, ctx := secretsmanager.NewFromConfig(b.root(target, west)), t.Context()
	if _, err := c.CreateSecret(ctx, aSecret("s")); err != nil {
		t.Fatal(err)
	}
	later := &secretsmanager.DeleteSecretInput{SecretId: aws.String("s"), RecoveryWindowInDays: aws.Int64(7)}
	out, err := c.DeleteSecret(ctx, later)
	if err != nil || out.DeletionDate.Sub(b.clock.Now()).Hours() < 6*24 {
		t.Fatalf("%s %v", pretty(out), err)
	}
	_, err = c.DeleteSecret(ctx, later)
	wantCode(t, err, "InvalidRequestException")
	later.ForceDeleteWithoutRecovery = aws.Bool(true)
	_, err = c.DeleteSecret(ctx, later)
	wantCode(t, err, "InvalidParameterException")
	for planned, want := range map[bool]int{false: 0, true: 1} {
		if out, err := c.ListSecrets(ctx, &secretsmanager.ListSecretsInput{IncludePlannedDeletion: &planned}); err != nil || len(out.SecretList) != want {
			t.Errorf("planned %v: %s %v", planned, pretty(out), err)
		}
	}
	if changes := b.cloud.Changes(); len(changes) != 1 {
		t.Errorf("a secret that waits is a leftover: %s", pretty(changes))
	}
}

func TestSecretsAreListedInPages(t *testing.T) {
	b := start(t)
	c, ctx := secretsmanager.NewFromConfig(b.root(target, west)), t.Context()
	for i := range 5 {
		if _, err := c.CreateSecret(ctx, aSecret(fmt.Sprintf("auditcanary-c%d", i))); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := c.CreateSecret(ctx, aSecret("somebodys-auditcanary-x")); err != nil {
		t.Fatal(err)
	}
	pages := secretsmanager.NewListSecretsPaginator(c, &secretsmanager.ListSecretsInput{MaxResults: aws.Int32(2),
		Filters: []smtypes.Filter{{Key: smtypes.FilterNameStringTypeName, Values: []string{"auditcanary-"}}}})
	var names []string
	n := 0
	for ; pages.HasMorePages(); n++ {
		page, err := pages.NextPage(ctx)
		if err != nil {
			t.Fatal(err)
		}
		for _, s := range page.SecretList {
			names = append(names, *s.Name)
			if len(s.Tags) != 1 || *s.Tags[0].Value != "r1" {
				t.Errorf("%s has the tags %s", *s.Name, pretty(s.Tags))
			}
		}
	}
	if got := strings.Join(names, " "); n != 3 || got != "auditcanary-c0 auditcanary-c1 auditcanary-c2 auditcanary-c3 auditcanary-c4" {
		t.Errorf("%d pages: %s", n, got)
	}
	_, err := c.ListSecrets(ctx, &secretsmanager.ListSecretsInput{NextToken: aws.String("made up")})
	wantCode(t, err, "InvalidNextTokenException")
	_, err = c.ListSecrets(ctx, &secretsmanager.ListSecretsInput{MaxResults: aws.Int32(101)})
	wantCode(t, err, "ValidationException")
}

func TestSecretsAreGuardedByNameAndTag(t *testing.T) {
	b := start(t)
	ctx := t.Context()
	root := secretsmanager.NewFromConfig(b.root(target, west))
	for _, name := range []string{"auditcanary-c1", "auditcanary-c1-x"} {
		if _, err := root.CreateSecret(ctx, aSecret(name)); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := root.CreateSecret(ctx, &secretsmanager.CreateSecretInput{Name: aws.String("auditcanary-untagged")}); err != nil {
		t.Fatal(err)
	}
	allow := func(statements string) *secretsmanager.Client {
		doc := `{"Version":"2012-10-17","Statement":[` + statements + `]}`
		b.injectorMay(doc)
		return secretsmanager.NewFromConfig(b.injector(target, west, ""))
	}
	const at = `"arn:aws:secretsmanager:eu-west-1:111122223333:secret:auditcanary-`
	create := `{"Effect":"Allow","Action":["secretsmanager:CreateSecret","secretsmanager:TagResource"],"Resource":` + at + `c2*","Condition":{"StringLike":{"aws:RequestTag/auditcanary:run":"r1"}}}`
	remove := `{"Effect":"Allow","Action":"secretsmanager:DeleteSecret","Resource":` + at + `*-??????","Condition":{"StringLike":{"aws:ResourceTag/auditcanary:run":"r1"}}}`

	c := allow(create + "," + remove)
	if _, err := c.CreateSecret(ctx, aSecret("auditcanary-c2")); err != nil {
		t.Error(err)
	}
	other := aSecret("auditcanary-c2b")
	other.Tags[0].Value = aws.String("another run")
	for name, in := range map[string]*secretsmanager.CreateSecretInput{
		"another name": aSecret("auditcanary-c3"), "another run's tag": other, "no tag": {Name: aws.String("auditcanary-c2c")},
	} {
		if _, err := c.CreateSecret(ctx, in); code(err) != "AccessDeniedException" {
			t.Errorf("%s: %v", name, err)
		}
	}
	if rec := b.last("CreateSecret"); rec["errorCode"] != "AccessDenied" || rec["requestParameters"] != nil {
		t.Errorf("record of a denial %s", pretty(rec))
	}
	for name, want := range map[string]string{"auditcanary-c1": "", "auditcanary-untagged": "AccessDeniedException", "auditcanary-not-there": "AccessDeniedException"} {
		_, err := c.DeleteSecret(ctx, &secretsmanager.DeleteSecretInput{SecretId: &name, ForceDeleteWithoutRecovery: aws.Bool(true)})
		if code(err) != want {
			t.Errorf("delete %s: %v", name, err)
		}
	}
	// Without the right to tag, no secret is born with tags.
	c = allow(strings.Replace(create, `,"secretsmanager:TagResource"`, "", 1))
	_, err := c.CreateSecret(ctx, aSecret("auditcanary-c2d"))
	wantCode(t, err, "AccessDeniedException")
}
