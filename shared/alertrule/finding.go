package alertrule

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/auditcanary/auditcanary/shared/inventory"
	"github.com/auditcanary/auditcanary/shared/pattern"
)

// findingType is the name of a kind of GuardDuty finding.
var findingType = regexp.MustCompile(`^[A-Z][A-Za-z]+:[A-Za-z0-9]+/[A-Za-z0-9.&!-]+$`)

// known is what GuardDuty's user guide says of the calls a type of finding is made of.
type known struct {
	// operations it names. Of others of their services nothing is said.
	operations []string
	// success: the guide says that the call succeeded.
	success bool
	// attempts: the guide says that an attempt is enough.
	attempts bool
	// depends: only of calls that change something for the worse.
	depends bool
	// root: only of calls with the root user's credentials.
	root bool
}

// knownTypes are those that follow from one call. The anomalies and threat lists do
// not: what makes them is learnt, or is where a call came from.
var knownTypes = map[string]known{
	"Stealth:IAMUser/CloudTrailLoggingDisabled":        {operations: []string{"cloudtrail:StopLogging", "cloudtrail:UpdateTrail", "cloudtrail:DeleteTrail", "s3:DeleteBucket"}, success: true},
	"Stealth:IAMUser/PasswordPolicyChange":             {operations: []string{"iam:UpdateAccountPasswordPolicy", "iam:DeleteAccountPasswordPolicy"}, attempts: true, depends: true},
	"Stealth:S3/ServerAccessLoggingDisabled":           {operations: []string{"s3:PutBucketLogging"}, depends: true},
	"Policy:S3/BucketBlockPublicAccessDisabled":        {operations: []string{"s3:PutPublicAccessBlock", "s3:DeletePublicAccessBlock"}, depends: true},
	"Policy:S3/AccountBlockPublicAccessDisabled":       {operations: []string{"s3:PutAccountPublicAccessBlock", "s3:DeleteAccountPublicAccessBlock"}, depends: true},
	"Policy:S3/BucketAnonymousAccessGranted":           {operations: []string{"s3:PutBucketPolicy", "s3:PutBucketAcl"}, depends: true},
	"Policy:S3/BucketPublicAccessGranted":              {operations: []string{"s3:PutBucketPolicy", "s3:PutBucketAcl"}, depends: true},
	"Policy:IAMUser/RootCredentialUsage":               {root: true},
	"UnauthorizedAccess:IAMUser/ConsoleLoginSuccess.B": {operations: []string{"signin:ConsoleLogin"}, success: true, depends: true},
}

// made says whether GuardDuty makes a finding of that type of a call.
func made(kind string, c Call) Answer {
	k, ok := knownTypes[kind]
	subject := "finding " + kind
	service, _, _ := strings.Cut(c.Operation, ":")
	ofService := slices.ContainsFunc(k.operations, func(o string) bool { return strings.HasPrefix(o, service+":") })
	switch {
	case !ok:
		return undecided(subject, "what calls GuardDuty makes it of is not known here")
	case k.root:
		return never(subject, "it is made of calls by the root user, and the canary acts as a role")
	case !ofService:
		return never(subject, fmt.Sprintf("it is made of %s, and the canary calls %s", strings.Join(k.operations, ", "), c.Operation))
	case c.Outcome != Allowed && k.success:
		return never(subject, "it is made of calls that succeed, and the canary's "+c.Operation+" is "+refused(c.Outcome))
	case !slices.Contains(k.operations, c.Operation):
		return undecided(subject, fmt.Sprintf("it is made of %s; whether of %s too is not documented", strings.Join(k.operations, ", "), c.Operation))
	case c.Outcome != Allowed && !k.attempts:
		return undecided(subject, "whether it is made of a call that is "+refused(c.Outcome)+" is not documented")
	case k.depends:
		return undecided(subject, "whether it is made of "+c.Operation+" depends on what the call changes")
	}
	return Answer{Verdict: Fires}
}

func refused(o Outcome) string {
	if o == DryRun {
		return "a dry run"
	}
	return "refused"
}

// finding of a call: whether a detector makes it, and no filter archives it.
func (s Settings) finding(kind string, c Call) Answer {
	a := made(kind, c)
	if a.Verdict == Never {
		return a
	}
	var here []Answer
	elsewhere := false
	for _, d := range s.Path.Detectors {
		switch {
		case d.Place == c.Place:
			here = append(here, s.detector(d, kind, c))
		case d.Account == c.Place.Account:
			elsewhere = true
		}
	}
	subject := "finding " + kind
	switch {
	case len(here) > 0:
		return lesser(a, best(here))
	case elsewhere:
		return lesser(a, undecided(subject, fmt.Sprintf("no detector of %s in %s is listed in alert_path; whether one of another region makes it depends on the service", c.Place.Account, c.Place.Region)))
	}
	return lesser(a, undecided(subject, fmt.Sprintf("no detector of %s in %s is listed in alert_path", c.Place.Account, c.Place.Region)))
}

func (s Settings) detector(d inventory.Detector, kind string, c Call) Answer {
	subject := fmt.Sprintf("detector in %s", at(d.Place))
	i := slices.IndexFunc(s.Snapshot.Detectors, func(o inventory.DetectorState) bool { return o.Place == d.Place && o.ID == d.ID })
	if i < 0 {
		return s.unread(subject, d.Place, "guardduty:", "")
	}
	state := s.Snapshot.Detectors[i]
	switch {
	case state.Missing:
		return never(subject, "there is none")
	case !state.Enabled:
		return never(subject, "it is suspended")
	case state.Suppressing == nil:
		return s.unread(subject, d.Place, "guardduty:", "")
	case len(state.Suppressions) != len(*state.Suppressing):
		return undecided(subject, "what its filters archive was not read")
	}
	out := Answer{Verdict: Fires}
	for _, f := range state.Suppressions {
		switch a := f.Criteria.Match(findingOf(kind, c)); a.Truth {
		case pattern.Yes:
			return never(subject, fmt.Sprintf("the finding is archived by its filter %q", f.Name))
		case pattern.Undecided:
			out = undecided(subject, fmt.Sprintf("its filter %q may archive the finding: %s", f.Name, a.Reason))
		}
	}
	return out
}

// findingOf is what is known of a finding, by the names of criteria and events alike.
func findingOf(kind string, c Call) pattern.Open {
	return pattern.Open{
		"id": pattern.Text{}, "arn": pattern.Text{}, "type": kind, "accountId": c.Place.Account, "region": c.Place.Region,
		"service": pattern.Open{"archived": false},
	}
}
