package aws

import (
	"context"
	"fmt"
	"slices"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/securityhub"
	hubtypes "github.com/aws/aws-sdk-go-v2/service/securityhub/types"

	"github.com/auditcanary/auditcanary/shared/report"
)

// FindingsHub imports findings into the Security Hub of one account and region.
//
// Its role needs securityhub:BatchImportFindings and securityhub:BatchUpdateFindings.
type FindingsHub struct {
	client *securityhub.Client
}

// NewFindingsHub returns the hub of the configuration's region, in the account of
// its credentials.
func NewFindingsHub(cfg aws.Config) *FindingsHub {
	return &FindingsHub{securityhub.NewFromConfig(cfg)}
}

// Imported is what became of the findings of one import.
type Imported struct {
	// Imported were made or updated, Resolved among them are those that pass.
	Imported int `json:"imported"`
	Resolved int `json:"resolved"`
	// Refused are those that the hub did not take, each with its reason.
	Refused []RefusedFinding `json:"refused"`
}

// RefusedFinding is one finding that the hub did not take, or did not resolve.
type RefusedFinding struct {
	ID      string `json:"id"`
	Code    string `json:"code"`
	Message string `json:"message"`
}

// maxFindings is how many findings one call takes.
const maxFindings = 100

// Import makes or updates findings, 100 a call. BatchImportFindings leaves the
// workflow of a finding that is there already to people; that of those which pass
// is therefore set to RESOLVED by another call. Security Hub itself sets it back to
// NEW when a finding fails again.
//
// What one finding is refused for stops no other. A call that fails stops the
// import: the error says after how many, and Imported what was done until then.
// Importing again is harmless, as each finding has its id.
func (h *FindingsHub) Import(ctx context.Context, findings []report.ASFFFinding) (Imported, error) {
	done := Imported{Refused: []RefusedFinding{}}
	for batch := range slices.Chunk(findings, maxFindings) {
		refused, err := h.importBatch(ctx, batch)
		if err != nil {
			return done, fmt.Errorf("import findings %d to %d of %d: %w", done.Imported+len(done.Refused)+1, done.Imported+len(done.Refused)+len(batch), len(findings), err)
		}
		done.Imported += len(batch) - len(refused)
		done.Refused = append(done.Refused, refused...)
	}
	var passed []hubtypes.AwsSecurityFindingIdentifier
	for _, f := range findings {
		if f.Workflow.Status == string(hubtypes.WorkflowStatusResolved) && !slices.ContainsFunc(done.Refused, func(r RefusedFinding) bool { return r.ID == f.Id }) {
			passed = append(passed, hubtypes.AwsSecurityFindingIdentifier{Id: aws.String(f.Id), ProductArn: aws.String(f.ProductArn)})
		}
	}
	for batch := range slices.Chunk(passed, maxFindings) {
		out, err := h.client.BatchUpdateFindings(ctx, &securityhub.BatchUpdateFindingsInput{
			FindingIdentifiers: batch, Workflow: &hubtypes.WorkflowUpdate{Status: hubtypes.WorkflowStatusResolved},
		})
		if err != nil {
			return done, fmt.Errorf("resolve findings %d to %d of the %d that pass: %w", done.Resolved+1, done.Resolved+len(batch), len(passed), err)
		}
		done.Resolved += len(batch) - len(out.UnprocessedFindings)
		for _, u := range out.UnprocessedFindings {
			var id string
			if u.FindingIdentifier != nil {
				id = aws.ToString(u.FindingIdentifier.Id)
			}
			done.Refused = append(done.Refused, RefusedFinding{id, aws.ToString(u.ErrorCode), "not resolved: " + aws.ToString(u.ErrorMessage)})
		}
	}
	return done, nil
}

func (h *FindingsHub) importBatch(ctx context.Context, batch []report.ASFFFinding) ([]RefusedFinding, error) {
	in := &securityhub.BatchImportFindingsInput{}
	for _, f := range batch {
		in.Findings = append(in.Findings, hubFinding(f))
	}
	out, err := h.client.BatchImportFindings(ctx, in)
	if err != nil {
		return nil, err
	}
	var refused []RefusedFinding
	for _, f := range out.FailedFindings {
		refused = append(refused, RefusedFinding{aws.ToString(f.Id), aws.ToString(f.ErrorCode), aws.ToString(f.ErrorMessage)})
	}
	// The count is the hub's own word; where it says more than it names, nobody
	// knows which, and silence must not look like success.
	if n := int(aws.ToInt32(out.FailedCount)); n > len(refused) || int(aws.ToInt32(out.SuccessCount)) != len(batch)-n {
		return nil, fmt.Errorf("the hub took %d of %d findings, refused %d and named %d of these", aws.ToInt32(out.SuccessCount), len(batch), n, len(refused))
	}
	return refused, nil
}

// hubFinding is a finding in the SDK's types.
func hubFinding(f report.ASFFFinding) hubtypes.AwsSecurityFinding {
	out := hubtypes.AwsSecurityFinding{
		SchemaVersion: aws.String(f.SchemaVersion), Id: aws.String(f.Id), ProductArn: aws.String(f.ProductArn), GeneratorId: aws.String(f.GeneratorId),
		AwsAccountId: aws.String(f.AwsAccountId), Region: aws.String(f.Region), CreatedAt: aws.String(f.CreatedAt), UpdatedAt: aws.String(f.UpdatedAt),
		FirstObservedAt: aws.String(f.FirstObservedAt), LastObservedAt: aws.String(f.LastObservedAt), Title: aws.String(f.Title), Description: aws.String(f.Description),
		ProductName: aws.String(f.ProductName), CompanyName: aws.String(f.CompanyName), RecordState: hubtypes.RecordState(f.RecordState),
		Severity: &hubtypes.Severity{Label: hubtypes.SeverityLabel(f.Severity.Label)}, Types: f.Types,
		FindingProviderFields: &hubtypes.FindingProviderFields{
			Severity: &hubtypes.FindingProviderSeverity{Label: hubtypes.SeverityLabel(f.FindingProviderFields.Severity.Label)}, Types: f.FindingProviderFields.Types,
		},
		Workflow:      &hubtypes.Workflow{Status: hubtypes.WorkflowStatus(f.Workflow.Status)},
		Compliance:    &hubtypes.Compliance{Status: hubtypes.ComplianceStatus(f.Compliance.Status), RelatedRequirements: f.Compliance.RelatedRequirements},
		ProductFields: f.ProductFields,
	}
	for _, r := range f.Resources {
		out.Resources = append(out.Resources, hubtypes.Resource{Type: aws.String(r.Type), Id: aws.String(r.Id), Partition: hubtypes.Partition(r.Partition), Region: aws.String(r.Region)})
	}
	return out
}
