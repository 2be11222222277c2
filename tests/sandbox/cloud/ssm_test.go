package cloud_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ssm"
	ssmtypes "github.com/aws/aws-sdk-go-v2/service/ssm/types"
)

var runTag = []ssmtypes.Tag{{Key: aws.String("auditcanary:run"), Value: aws.String("r1")}}

func aParameter(name string) *ssm.PutParameterInput {
	return &ssm.PutParameterInput{Name: &name, Type: ssmtypes.ParameterTypeString, Value: aws.String("auditcanary"), Overwrite: aws.Bool(false), Tags: runTag}
}

const nothing = `{"schemaVersion":"2.2","description":"d","mainSteps":[{"action":"aws:runShellScript","name":"nothing","inputs":{"runCommand":["true"]}}]}`

func aDocument(name string) *ssm.CreateDocumentInput {
	return &ssm.CreateDocumentInput{Name: &name, Content: aws.String(nothing), DocumentType: ssmtypes.DocumentTypeCommand, DocumentFormat: ssmtypes.DocumentFormatJson, Tags: runTag}
}

func TestAParameterLivesAndDies(t *testing.T) {
	b := start(t)
	c, ctx := ssm.NewFromConfig(b.root(target, west)), t.Context()
	name := aws.String("auditcanary-c1")
	out, err := c.PutParameter(ctx, aParameter(*name))
	if err != nil || out.Version != 1 || out.Tier != ssmtypes.ParameterTierStandard {
		t.Fatalf("%s %v", pretty(out), err)
	}
	rec := b.last("PutParameter")
	if at(rec, "requestParameters", "name") != *name || at(rec, "requestParameters", "value") != "HIDDEN_DUE_TO_SECURITY_REASONS" ||
		at(rec, "requestParameters", "overwrite") != false || at(rec, "responseElements", "version") != 1.0 || at(rec, "responseElements", "tier") != "Standard" {
		t.Errorf("record %s", pretty(rec))
	}
	_, err = c.PutParameter(ctx, aParameter(*name))
	wantCode(t, err, "ParameterAlreadyExists")
	over := aParameter(*name)
	over.Overwrite = aws.Bool(true)
	_, err = c.PutParameter(ctx, over)
	wantCode(t, err, "ValidationException") // not with tags
	over.Tags = nil
	if out, err := c.PutParameter(ctx, over); err != nil || out.Version != 2 {
		t.Errorf("%s %v", pretty(out), err)
	}
	for name, want := range map[string]string{"aws-x": "AccessDeniedException", "not a name": "ValidationException"} {
		_, err = c.PutParameter(ctx, aParameter(name))
		wantCode(t, err, want)
	}
	tags, err := c.ListTagsForResource(ctx, &ssm.ListTagsForResourceInput{ResourceType: ssmtypes.ResourceTypeForTaggingParameter, ResourceId: name})
	if err != nil || len(tags.TagList) != 1 || *tags.TagList[0].Value != "r1" {
		t.Errorf("tags %s %v", pretty(tags), err)
	}
	if changes := b.cloud.Changes(); len(changes) != 1 || changes[0].Kind != "ssm parameter" {
		t.Errorf("changes %s", pretty(changes))
	}
	if _, err := c.DeleteParameter(ctx, &ssm.DeleteParameterInput{Name: name}); err != nil {
		t.Fatal(err)
	}
	rec = b.last("DeleteParameter")
	resources, _ := rec["resources"].([]any)
	if len(resources) != 1 || at(resources[0], "ARN") != "arn:aws:ssm:"+west+":"+target+":parameter/auditcanary-c1" || rec["responseElements"] != nil {
		t.Errorf("record %s", pretty(rec))
	}
	_, err = c.DeleteParameter(ctx, &ssm.DeleteParameterInput{Name: name})
	wantCode(t, err, "ParameterNotFound")
	_, err = c.ListTagsForResource(ctx, &ssm.ListTagsForResourceInput{ResourceType: ssmtypes.ResourceTypeForTaggingParameter, ResourceId: name})
	wantCode(t, err, "InvalidResourceId")
	if changes := b.cloud.Changes(); len(changes) != 0 {
		t.Errorf("left behind: %s", pretty(changes))
	}
}

func TestADocumentLivesAndDies(t *testing.T) {
	b := start(t)
	c, ctx := ssm.NewFromConfig(b.root(target, west)), t.Context()
	name := aws.String("auditcanary-c1")
	out, err := c.CreateDocument(ctx, aDocument(*name))
	if err != nil || *out.DocumentDescription.Name != *name {
		t.Fatalf("%s %v", pretty(out), err)
	}
	rec := b.last("CreateDocument")
	if at(rec, "requestParameters", "content") != nothing || at(rec, "requestParameters", "documentType") != "Command" ||
		at(rec, "responseElements", "documentDescription", "name") != *name {
		t.Errorf("record %s", pretty(rec))
	}
	_, err = c.CreateDocument(ctx, aDocument(*name))
	wantCode(t, err, "DocumentAlreadyExists")
	bad := aDocument("auditcanary-c2")
	bad.Content = aws.String(`{"schemaVersion":"2.2","mainSteps":[]}`)
	_, err = c.CreateDocument(ctx, bad)
	wantCode(t, err, "InvalidDocumentContent")
	if changes := b.cloud.Changes(); len(changes) != 1 || changes[0].Kind != "ssm document" {
		t.Errorf("changes %s", pretty(changes))
	}
	if _, err := c.DeleteDocument(ctx, &ssm.DeleteDocumentInput{Name: name}); err != nil {
		t.Fatal(err)
	}
	_, err = c.DeleteDocument(ctx, &ssm.DeleteDocumentInput{Name: name})
	wantCode(t, err, "InvalidDocument")
	if changes := b.cloud.Changes(); len(changes) != 0 {
		t.Errorf("left behind: %s", pretty(changes))
	}
}

func TestParametersAndDocumentsAreListedInPages(t *testing.T) {
	b := start(t)
	c, ctx := ssm.NewFromConfig(b.root(target, west)), t.Context()
	for _, name := range []string{"auditcanary-a", "auditcanary-b", "auditcanary-c", "somebodys"} {
		if _, err := c.PutParameter(ctx, aParameter(name)); err != nil {
			t.Fatal(err)
		}
		if _, err := c.CreateDocument(ctx, aDocument(name)); err != nil {
			t.Fatal(err)
		}
	}
	var parameters, documents []string
	one := ssm.NewDescribeParametersPaginator(c, &ssm.DescribeParametersInput{MaxResults: aws.Int32(2),
		ParameterFilters: []ssmtypes.ParameterStringFilter{{Key: aws.String("Name"), Option: aws.String("BeginsWith"), Values: []string{"auditcanary-"}}}})
	for one.HasMorePages() {
		page, err := one.NextPage(ctx)
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range page.Parameters {
			parameters = append(parameters, *p.Name)
		}
	}
	two := ssm.NewListDocumentsPaginator(c, &ssm.ListDocumentsInput{MaxResults: aws.Int32(1), Filters: []ssmtypes.DocumentKeyValuesFilter{
		{Key: aws.String("Owner"), Values: []string{"Self"}}, {Key: aws.String("Name"), Values: []string{"auditcanary-"}}}})
	for two.HasMorePages() {
		page, err := two.NextPage(ctx)
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range page.DocumentIdentifiers {
			documents = append(documents, *d.Name)
		}
	}
	if got := fmt.Sprint(parameters, documents); got != "[auditcanary-a auditcanary-b auditcanary-c] [auditcanary-a auditcanary-b auditcanary-c]" {
		t.Error(got)
	}
	_, err := c.DescribeParameters(ctx, &ssm.DescribeParametersInput{NextToken: aws.String("made up")})
	wantCode(t, err, "InvalidNextToken")
	_, err = c.DescribeParameters(ctx, &ssm.DescribeParametersInput{MaxResults: aws.Int32(51)})
	wantCode(t, err, "ValidationException")
}

func TestParametersAndDocumentsAreGuardedByNameAndTag(t *testing.T) {
	b := start(t)
	ctx, root := t.Context(), ssm.NewFromConfig(b.root(target, west))
	for _, name := range []string{"auditcanary-c1", "auditcanary-untagged"} {
		p, d := aParameter(name), aDocument(name)
		if name == "auditcanary-untagged" {
			p.Tags, d.Tags = nil, nil
		}
		if _, err := root.PutParameter(ctx, p); err != nil {
			t.Fatal(err)
		}
		if _, err := root.CreateDocument(ctx, d); err != nil {
			t.Fatal(err)
		}
	}
	allow := func(actions, resource, condition string) string {
		return `{"Effect":"Allow","Action":[` + actions + `],"Resource":["arn:aws:ssm:eu-west-1:111122223333:parameter/` + resource + `","arn:aws:ssm:eu-west-1:111122223333:document/` + resource + `"],"Condition":{"StringLike":{"` + condition + `/auditcanary:run":"r1"}}}`
	}
	const makes = `"ssm:PutParameter","ssm:CreateDocument"`
	client := func(statements ...string) *ssm.Client {
		b.injectorMay(`{"Version":"2012-10-17","Statement":[` + strings.Join(statements, ",") + `]}`)
		return ssm.NewFromConfig(b.injector(target, west, ""))
	}
	c := client(allow(makes+`,"ssm:AddTagsToResource"`, "auditcanary-c2*", "aws:RequestTag"), allow(`"ssm:DeleteParameter","ssm:DeleteDocument"`, "auditcanary-*", "aws:ResourceTag"))
	try := func(p *ssm.PutParameterInput, d *ssm.CreateDocumentInput, want string) {
		t.Helper()
		_, err := c.PutParameter(ctx, p)
		wantCode(t, err, want)
		_, err = c.CreateDocument(ctx, d)
		wantCode(t, err, want)
	}
	try(aParameter("auditcanary-c2"), aDocument("auditcanary-c2"), "")
	try(aParameter("auditcanary-c3"), aDocument("auditcanary-c3"), "AccessDeniedException") // another's name
	p, d := aParameter("auditcanary-c2b"), aDocument("auditcanary-c2b")
	p.Tags, d.Tags = nil, nil
	try(p, d, "AccessDeniedException")
	for name, want := range map[string]string{"auditcanary-c1": "", "auditcanary-untagged": "AccessDeniedException", "auditcanary-not-there": "AccessDeniedException"} {
		_, err := c.DeleteParameter(ctx, &ssm.DeleteParameterInput{Name: &name})
		wantCode(t, err, want)
		_, err = c.DeleteDocument(ctx, &ssm.DeleteDocumentInput{Name: &name})
		wantCode(t, err, want)
	}
	// Without the right to tag, nothing is born with tags.
	c = client(allow(makes, "auditcanary-c2*", "aws:RequestTag"))
	try(aParameter("auditcanary-c2d"), aDocument("auditcanary-c2d"), "AccessDeniedException")
}
