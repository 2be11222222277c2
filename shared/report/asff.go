package report

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/auditcanary/auditcanary/shared/canary"
)

// ASFFFinding is a finding in the AWS Security Finding Format, as far as we fill
// it in. Field names are the format's own.
type ASFFFinding struct {
	SchemaVersion, Id, ProductArn, GeneratorId, AwsAccountId, Region string
	CreatedAt, UpdatedAt                                             string
	FirstObservedAt, LastObservedAt                                  string
	Title, Description, ProductName, CompanyName                     string
	RecordState                                                      string
	Severity                                                         ASFFSeverity
	FindingProviderFields                                            ASFFProviderFields
	Types                                                            []string
	Workflow                                                         ASFFWorkflow
	Compliance                                                       ASFFCompliance
	ProductFields                                                    map[string]string
	Resources                                                        []ASFFResource
}

// The parts of a finding.
type (
	ASFFSeverity       struct{ Label string }
	ASFFWorkflow       struct{ Status string }
	ASFFProviderFields struct {
		Severity ASFFSeverity
		Types    []string
	}
	ASFFCompliance struct {
		Status              string
		RelatedRequirements []string `json:",omitempty"`
	}
	ASFFResource struct {
		Type, Id, Partition, Region string
	}
)

// WriteASFF writes findings for AWS Security Hub, in the shape that
// `aws securityhub batch-import-findings --cli-input-json` takes.
func WriteASFF(w io.Writer, r Report) error {
	return writeJSON(w, struct{ Findings []ASFFFinding }{r.ASFF()})
}

// What Security Hub takes at most.
const (
	asffTitle        = 256
	asffDescription  = 1024
	asffRequirements = 32
	asffField        = 2048
	asffRequirement  = 64
)

// ASFF returns one finding for the latest canary of each scenario and target,
// those still awaited and those not run apart: of these nothing is known. The Id
// is of what was asked, never of the run, so that a later import updates it: what
// passes is resolved and archived, what fails again is active again.
//
// Findings belong to the hub that the configuration names; without one, each to
// that of its own account and region.
func (r Report) ASFF() []ASFFFinding {
	out := []ASFFFinding{}
	since := r.failingSince()
	for _, c := range r.Latest() {
		if c.Status == canary.NotRun {
			continue
		}
		out = append(out, r.asff(c, since[c.question()]))
	}
	return out
}

// failingSince is when each question's answer last began to be what it is now.
func (r Report) failingSince() map[question]time.Time {
	since, was := map[question]time.Time{}, map[question]bool{}
	for _, c := range r.Canaries {
		if c.Status == canary.NotRun {
			continue
		}
		good, q := c.Status == canary.Pass, c.question()
		if before, known := was[q]; !known || before != good {
			since[q], was[q] = c.At, good
		}
	}
	return since
}

func (r Report) asff(c Canary, since time.Time) ASFFFinding {
	account, region := c.Account, c.Region
	if h := r.Facts.Hub; h != nil {
		account, region = h.Account, h.Region
	}
	partition := partitionOf(region)
	f := ASFFFinding{
		SchemaVersion: "2018-10-08",
		Id:            "auditcanary/" + uuid("asff", r.origin(), c.Scenario, c.Account, c.Region),
		ProductArn:    fmt.Sprintf("arn:%s:securityhub:%s:%s:product/%s/default", partition, token(region), token(account), token(account)),
		GeneratorId:   line("auditcanary/"+c.Scenario, asffField/4),
		AwsAccountId:  token(account), Region: token(region),
		CreatedAt: stamp(since, r.At), UpdatedAt: stamp(r.At, r.At),
		FirstObservedAt: stamp(since, r.At), LastObservedAt: stamp(c.At, r.At),
		Title:       or(line(c.Title+": "+string(c.Status)+" at "+c.place(), asffTitle), "canary"),
		Description: or(line(c.why(), asffDescription), "no detail"),
		ProductName: "auditcanary", CompanyName: "auditcanary",
		RecordState: "ACTIVE", Workflow: ASFFWorkflow{"NEW"}, Severity: ASFFSeverity{"HIGH"},
		Types:         []string{"Software and Configuration Checks/Industry and Regulatory Standards"},
		Compliance:    ASFFCompliance{Status: "FAILED", RelatedRequirements: r.requirements(c)},
		ProductFields: map[string]string{},
		Resources:     []ASFFResource{{Type: "AwsAccount", Id: "AWS::::Account:" + token(c.Account), Partition: partitionOf(c.Region), Region: token(c.Region)}},
	}
	switch c.Status {
	case canary.Pass:
		f.RecordState, f.Workflow.Status, f.Severity.Label, f.Compliance.Status = "ARCHIVED", "RESOLVED", "INFORMATIONAL", "PASSED"
	case canary.Fail:
	case canary.Late:
		f.Severity.Label = "MEDIUM"
	case canary.Excepted:
		// It still fails, and is seen to. Suppressed it would stay hidden after its last
		// day: no import changes the workflow of a finding that is there.
		f.Workflow.Status, f.Severity.Label = "NOTIFIED", "LOW"
	default:
		f.Severity.Label, f.Compliance.Status = "MEDIUM", "WARNING"
	}
	f.FindingProviderFields = ASFFProviderFields{f.Severity, f.Types}
	field := func(name, value string) {
		if value = line(value, asffField); value != "" {
			f.ProductFields["auditcanary/"+name] = value
		}
	}
	field("canary", c.ID)
	field("run", c.Run)
	field("scenario", c.Scenario)
	field("category", c.Category)
	for _, k := range c.Checks {
		field("check/"+line(string(k.Check), 32), string(k.Status))
		if by := k.Accepted; by != nil && by.Follows == "" {
			field("exception/"+line(string(k.Check), 32), fmt.Sprintf("%s until %s, was %s, accepted by %s", by.ID, by.Until, by.Was, by.Approver))
		}
	}
	var events []string
	for _, st := range c.Steps {
		for _, rec := range st.Records {
			events = append(events, rec.EventID)
		}
	}
	field("event-ids", strings.Join(events, " "))
	return f
}

// requirements are the controls that a canary speaks for, in Security Hub's words.
func (r Report) requirements(c Canary) (out []string) {
	for _, ctl := range r.Controls {
		if c.speaks(ctl) && len(out) < asffRequirements {
			if name := line(ctl.Framework+"/"+ctl.Clause, asffRequirement); name != "" && !slices.Contains(out, name) {
				out = append(out, name)
			}
		}
	}
	return out
}

// token keeps what goes into an identifier to the characters that one has.
func token(s string) string {
	return or(strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '-' {
			return r
		}
		return '_'
	}, line(s, 64)), "unknown")
}

// partitionOf a region.
func partitionOf(region string) string {
	switch {
	case strings.HasPrefix(region, "cn-"):
		return "aws-cn"
	case strings.HasPrefix(region, "us-gov-"):
		return "aws-us-gov"
	}
	return "aws"
}
