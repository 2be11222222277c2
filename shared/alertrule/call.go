package alertrule

import (
	"encoding/json"
	"regexp"
	"slices"
	"strings"

	"github.com/auditcanary/auditcanary/shared/canary"
	"github.com/auditcanary/auditcanary/shared/inventory"
	"github.com/auditcanary/auditcanary/shared/pattern"
	"github.com/auditcanary/auditcanary/shared/run"
)

// Outcome that a call is planned to have.
type Outcome string

const (
	Allowed Outcome = "allowed"
	Denied  Outcome = "denied"
	// DryRun: the service answers with an error that it would have been allowed.
	DryRun Outcome = "dry-run"
)

// Call of a canary, with the record that it will leave.
type Call struct {
	Scenario, Step string
	Operation      string // "iam:CreateRole"
	Outcome        Outcome
	// Place in which it is recorded.
	Place inventory.Place
	// ReadOnly and DataEvent as CloudTrail classifies it.
	ReadOnly, DataEvent bool
	// Record is what is known of it (pattern.Unknown): a CloudTrail record.
	Record pattern.Open
	// Named are the accounts that the parameters name, which may get a copy.
	Named []string
}

// Calls are those of a plan, each made under the role with this ARN; "" = not known.
// What undoes them is not among them: no alert is promised of it.
func Calls(p run.Plan, role string) []Call {
	if p.NotRun != "" {
		return nil
	}
	var out []Call
	for _, ps := range p.Steps {
		i := slices.IndexFunc(p.Scenario.Steps, func(st canary.Step) bool { return st.ID == ps.Step })
		var st canary.Step
		if i >= 0 {
			st = p.Scenario.Steps[i]
		}
		c := Call{
			Scenario: p.Scenario.ID, Step: ps.Step, Operation: ps.Call.Operation, Outcome: outcome(p.Scenario.Kind),
			Place:    inventory.Place{Account: p.Canary.Target.Account, Region: ps.Record.Region},
			ReadOnly: ps.Record.ReadOnly, DataEvent: ps.Record.DataEvent,
		}
		if params, err := json.Marshal(ps.Call.Params); err == nil {
			c.Named = slices.Compact(slices.Sorted(slices.Values(account.FindAllString(string(params), -1))))
		}
		c.Record = c.record(ps.Record, st, role)
		out = append(out, c)
	}
	return out
}

var account = regexp.MustCompile(`\b[0-9]{12}\b`)

func outcome(k canary.Kind) Outcome {
	switch k {
	case canary.MustBeDenied:
		return Denied
	case canary.DryRun:
		return DryRun
	}
	return Allowed
}

// record is what is known of the record before the call is made. What a caller
// chooses is known (the session's name but for its end), and what the service makes
// of a call; ids, times, addresses, parameters and replies are not.
func (c Call) record(r run.ExpectedRecord, st canary.Step, role string) pattern.Open {
	category := "Management"
	if c.DataEvent {
		category = "Data"
	}
	code, message := c.failure(r.Service, st)
	out := pattern.Open{
		"eventVersion": pattern.Text{Prefix: "1."}, "userIdentity": identity(c.Place.Account, role),
		"eventTime": pattern.Text{}, "eventSource": r.Service, "eventName": r.Operation, "awsRegion": r.Region,
		"sourceIPAddress": pattern.Text{}, "userAgent": pattern.Text{},
		"errorCode": code, "errorMessage": message,
		"requestID": pattern.Text{}, "eventID": pattern.Text{},
		"readOnly": r.ReadOnly, "eventType": "AwsApiCall", "managementEvent": !c.DataEvent,
		"recipientAccountId": c.Place.Account, "eventCategory": category,
	}
	if r.Service == "lambda.amazonaws.com" { // it appends the version of its API
		out["eventName"] = pattern.Text{Prefix: r.Operation}
	}
	return out
}

func identity(account, role string) pattern.Open {
	arn, issuer, name := pattern.Text{Prefix: "arn:"}, any(pattern.Text{Prefix: "arn:"}), any(pattern.Text{})
	if f := strings.SplitN(role, ":", 6); len(f) == 6 {
		short := f[5][strings.LastIndex(f[5], "/")+1:] // a session's ARN has the role's name without its path
		arn.Prefix = "arn:" + f[1] + ":sts::" + account + ":assumed-role/" + short + "/" + canary.Marker + "-"
		issuer, name = role, short
	}
	return pattern.Open{
		"type": "AssumedRole", "principalId": pattern.Text{}, "arn": arn, "accountId": account, "accessKeyId": pattern.Text{},
		"invokedBy": pattern.Absent{}, // no service calls on its behalf
		"sessionContext": pattern.Open{
			"sessionIssuer":  pattern.Open{"type": "Role", "principalId": pattern.Text{}, "arn": issuer, "accountId": account, "userName": name},
			"attributes":     pattern.Open{"creationDate": pattern.Text{}, "mfaAuthenticated": pattern.Text{}},
			"sourceIdentity": pattern.Text{},
		},
	}
}

const ec2 = "ec2.amazonaws.com"

// usual are the services that record a refusal by IAM as AccessDenied or
// AccessDeniedException, and whose events have the name of their records. EC2 has a
// code of its own; of others it is not known.
var usual = []string{
	"backup", "cloudtrail", "config", "eks", "events", "guardduty", "iam", "kms", "logs", "organizations",
	"rds", "s3", "secretsmanager", "securityhub", "ssm", "sts",
}

// failure is the record's error, as far as the planned outcome says.
func (c Call) failure(source string, st canary.Step) (code, message any) {
	service := strings.TrimSuffix(source, ".amazonaws.com")
	switch c.Outcome {
	case Allowed:
		return pattern.Absent{}, pattern.Absent{}
	case DryRun:
		switch source {
		case ec2:
			return "Client.DryRunOperation", pattern.Text{}
		case "kms.amazonaws.com":
			return "DryRunOperationException", pattern.Text{}
		}
		return pattern.Text{}, pattern.Unknown{}
	}
	var codes pattern.OneOf
	switch {
	case source == ec2:
		codes = pattern.OneOf{"Client.UnauthorizedOperation"}
	case slices.Contains(usual, service):
		codes = pattern.OneOf{"AccessDenied", "AccessDeniedException"}
	default:
		codes = pattern.OneOf{pattern.Text{}}
	}
	for _, own := range st.RefusedWith { // the service's own way of usual
		codes = append(codes, own, own+"Exception", "Client."+own)
	}
	if st.ByState != "" { // success may be answered: what was read decides
		return append(codes, pattern.Absent{}), pattern.Unknown{}
	}
	return codes, pattern.Unknown{}
}

// event is the record as CloudTrail gives it to EventBridge.
func (c Call) event() map[string]any {
	service, _, _ := strings.Cut(c.Operation, ":")
	source := any("aws." + service)
	if !slices.Contains(usual, service) && service != "ec2" { // not every service has the name of its records
		source = pattern.Text{Prefix: "aws."}
	}
	return c.envelope(source, "AWS API Call via CloudTrail", c.Record)
}

func (c Call) envelope(source any, kind string, detail pattern.Open) map[string]any {
	return map[string]any{
		"version": "0", "id": pattern.Text{}, "detail-type": kind, "source": source,
		"account": c.Place.Account, "time": pattern.Text{}, "region": c.Place.Region,
		"resources": pattern.Unknown{}, "detail": detail,
	}
}
