package aws

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ssm"
	ssmtypes "github.com/aws/aws-sdk-go-v2/service/ssm/types"
	"github.com/go-json-experiment/json"

	"github.com/auditcanary/auditcanary/shared/canary"
	"github.com/auditcanary/auditcanary/shared/run"
)

// systemsOperations: what Systems Manager keeps and what it can have hosts do.
func systemsOperations() map[string]operation {
	return map[string]operation{
		// Parameters: of a value that everybody knows, as the ledger shows it.
		"ssm:PutParameter": {call: call(ssm.NewFromConfig, (*ssm.Client).PutParameter), subject: on("Name"), undo: "ssm:DeleteParameter", guards: guards{ownName("Name"), runTags(), must("Type", "String"), must("Value", canary.Marker), ifGiven(must("Overwrite", false)), without("Policies")}, grants: grants{
			allow(ssmARN+"parameter/{Name}", when{requestTagRun: "{run}"}, "ssm:PutParameter", "ssm:AddTagsToResource"),
		}},
		"ssm:DeleteParameter": {call: call(ssm.NewFromConfig, (*ssm.Client).DeleteParameter), subject: on("Name"), restores: true, guards: guards{ownName("Name")}, grants: grants{
			allow(ssmARN+"parameter/{Name}", when{resourceTagRun: "{run}"}, "ssm:DeleteParameter"),
		}},

		// Documents: of commands that do nothing, associated with no host.
		"ssm:CreateDocument": {call: call(ssm.NewFromConfig, (*ssm.Client).CreateDocument), subject: on("Name"), undo: "ssm:DeleteDocument", guards: guards{ownName("Name"), runTags(), must("DocumentType", "Command"), must("DocumentFormat", "JSON"), doesNothing("Content"), without("Attachments", "Requires")}, grants: grants{
			allow(ssmARN+"document/{Name}", when{requestTagRun: "{run}"}, "ssm:CreateDocument", "ssm:AddTagsToResource"),
		}},
		"ssm:DeleteDocument": {call: call(ssm.NewFromConfig, (*ssm.Client).DeleteDocument), subject: on("Name"), restores: true, guards: guards{ownName("Name"), without("DocumentVersion", "VersionName", "Force")}, grants: grants{
			allow(ssmARN+"document/{Name}", when{resourceTagRun: "{run}"}, "ssm:DeleteDocument"),
		}},
	}
}

const ssmARN = "arn:{partition}:ssm:{region}:{account}:"

// doesNothing: every command of the document is "true".
func doesNothing(param string) guard {
	return func(_ scene, p map[string]any) error {
		var doc struct {
			SchemaVersion string `json:"schemaVersion"`
			Description   string `json:"description"`
			MainSteps     []struct {
				Action string `json:"action"`
				Name   string `json:"name"`
				Inputs struct {
					RunCommand []string `json:"runCommand"`
				} `json:"inputs"`
			} `json:"mainSteps"`
		}
		if err := json.Unmarshal([]byte(textAt(p, param)), &doc, json.RejectUnknownMembers(true)); err != nil {
			return fmt.Errorf("%s is no document of plain commands: %w", param, err)
		}
		for i, step := range doc.MainSteps {
			if step.Action != "aws:runShellScript" || !slices.Equal(step.Inputs.RunCommand, []string{"true"}) {
				return fmt.Errorf("%s step %d does %s %q: it must be aws:runShellScript [\"true\"], which does nothing", param, i, step.Action, step.Inputs.RunCommand)
			}
		}
		return nil
	}
}

// systemsKinds are what these leave behind.
func systemsKinds() []kind {
	return []kind{
		{name: "ssm parameter", list: leftParameters, undo: []string{"ssm:DeleteParameter"}, reads: grants{
			allow("*", nil, "ssm:DescribeParameters"), allow(ssmARN+"parameter/auditcanary-*", nil, "ssm:ListTagsForResource"),
		}},
		{name: "ssm document", list: leftDocuments, undo: []string{"ssm:DeleteDocument"}, reads: grants{
			allow("*", nil, "ssm:ListDocuments"), allow(ssmARN+"document/auditcanary-*", nil, "ssm:ListTagsForResource"),
		}},
	}
}

// leftParameters: parameters that name and tags show to be a canary's.
func leftParameters(ctx context.Context, p place) ([]run.Leftover, error) {
	client := ssm.NewFromConfig(p.cfg)
	var left []run.Leftover
	pages := ssm.NewDescribeParametersPaginator(client, &ssm.DescribeParametersInput{
		ParameterFilters: []ssmtypes.ParameterStringFilter{{Key: aws.String("Name"), Option: aws.String("BeginsWith"), Values: []string{canary.Marker + "-"}}},
	})
	for pages.HasMorePages() {
		page, err := nextPage(ctx, p, pages.NextPage)
		if err != nil {
			return left, p.fail(err, "ssm:DescribeParameters")
		}
		for _, parameter := range page.Parameters {
			found, err := leftInSystems(ctx, p, client, ssmtypes.ResourceTypeForTaggingParameter, aws.ToString(parameter.Name), "ssm:DeleteParameter", "ParameterNotFound")
			if err != nil {
				return left, err
			}
			left = append(left, found...)
		}
	}
	return left, nil
}

// leftDocuments: the account's own documents that name and tags show to be a canary's.
func leftDocuments(ctx context.Context, p place) ([]run.Leftover, error) {
	client := ssm.NewFromConfig(p.cfg)
	var left []run.Leftover
	pages := ssm.NewListDocumentsPaginator(client, &ssm.ListDocumentsInput{Filters: []ssmtypes.DocumentKeyValuesFilter{
		{Key: aws.String("Owner"), Values: []string{"Self"}}, {Key: aws.String("Name"), Values: []string{canary.Marker + "-"}}, // begins with
	}})
	for pages.HasMorePages() {
		page, err := nextPage(ctx, p, pages.NextPage)
		if err != nil {
			return left, p.fail(err, "ssm:ListDocuments")
		}
		for _, doc := range page.DocumentIdentifiers {
			found, err := leftInSystems(ctx, p, client, ssmtypes.ResourceTypeForTaggingDocument, aws.ToString(doc.Name), "ssm:DeleteDocument", "InvalidDocument")
			if err != nil {
				return left, err
			}
			left = append(left, found...)
		}
	}
	return left, nil
}

// leftInSystems is the thing of that name, if a canary made it.
func leftInSystems(ctx context.Context, p place, client *ssm.Client, kind ssmtypes.ResourceTypeForTagging, name, undo, gone string) ([]run.Leftover, error) {
	bounded, cancel := p.bound(ctx)
	defer cancel()
	out, err := client.ListTagsForResource(bounded, &ssm.ListTagsForResourceInput{ResourceType: kind, ResourceId: &name})
	var deleted *ssmtypes.InvalidResourceId
	if errors.As(err, &deleted) {
		return nil, nil // since it was listed
	}
	if err != nil {
		return nil, p.fail(err, "ssm:ListTagsForResource of "+name)
	}
	tags := map[string]string{}
	for _, t := range out.TagList {
		tags[aws.ToString(t.Key)] = aws.ToString(t.Value)
	}
	runID, canaryID, ok := madeAs(name, tags)
	if !ok {
		return nil, nil
	}
	return []run.Leftover{{ID: name, Run: runID, Canary: canaryID, Undo: []canary.Call{{
		Operation: undo, Region: p.scene.region, Gone: []string{gone}, Params: map[string]any{"Name": name},
	}}}}, nil
}
