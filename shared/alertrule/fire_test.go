package alertrule

import (
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/auditcanary/auditcanary/shared/canary"
	"github.com/auditcanary/auditcanary/shared/inventory"
	"github.com/auditcanary/auditcanary/shared/pattern"
	"github.com/auditcanary/auditcanary/shared/run"
)

var update = flag.Bool("update", false, "write the golden files anew")

const (
	member  = "111122223333"
	central = "444455556666"
	role    = "arn:aws:iam::111122223333:role/auditcanary/auditcanary-injector"
)

var (
	east = inventory.Place{Account: member, Region: "us-east-1"}
	west = inventory.Place{Account: member, Region: "eu-west-1"}
	hub  = inventory.Place{Account: central, Region: "us-east-1"}
)

// call of a canary of a kind, recorded in us-east-1 unless it says otherwise.
func call(t *testing.T, operation string, kind canary.Kind, change ...func(*canary.Step, *run.PlannedStep)) Call {
	t.Helper()
	service, name, _ := strings.Cut(operation, ":")
	st := canary.Step{ID: "do", Call: operation}
	ps := run.PlannedStep{Step: "do", Call: canary.Call{Operation: operation}, Record: run.ExpectedRecord{Service: service + ".amazonaws.com", Operation: name, Region: "us-east-1"}}
	for _, f := range change {
		f(&st, &ps)
	}
	calls := Calls(run.Plan{
		Canary:   canary.Canary{ID: "00000000-dryrun-01", Target: canary.Target{Provider: "aws", Account: member, Region: "us-east-1"}},
		Scenario: canary.Scenario{ID: "aws/x", Kind: kind, Steps: []canary.Step{st}}, Steps: []run.PlannedStep{ps},
	}, role)
	if len(calls) != 1 {
		t.Fatalf("%d calls", len(calls))
	}
	return calls[0]
}

func readOnly(_ *canary.Step, ps *run.PlannedStep)  { ps.Record.ReadOnly = true }
func dataEvent(_ *canary.Step, ps *run.PlannedStep) { ps.Record.DataEvent = true }
func names(id string) func(*canary.Step, *run.PlannedStep) {
	return func(_ *canary.Step, ps *run.PlannedStep) {
		ps.Call.Params = map[string]any{"RoleArn": "arn:aws:iam::" + id + ":role/x"}
	}
}

const all = "ENABLED_WITH_ALL_CLOUDTRAIL_MANAGEMENT_EVENTS"

// world is the settings of rules; each is listed with what was read of it.
type world struct{ Settings }

func (w *world) rule(p inventory.Place, name, bus, state, text string, targets ...string) *world {
	w.Path.Rules = append(w.Path.Rules, inventory.Rule{Place: p, Name: name, Bus: bus})
	w.Snapshot.Rules = append(w.Snapshot.Rules, inventory.RuleState{Place: p, Name: name, Bus: bus, State: state, Pattern: text, Targets: &targets})
	return w
}

func (w *world) filter(name, text, metric string) *world {
	w.Path.MetricFilters = append(w.Path.MetricFilters, inventory.MetricFilter{Place: hub, LogGroup: "trail", Name: name})
	w.Snapshot.MetricFilters = append(w.Snapshot.MetricFilters, inventory.MetricFilterState{Place: hub, LogGroup: "trail", Name: name, Pattern: text, Metrics: []string{metric}})
	return w
}

func (w *world) alarm(name string, change func(*inventory.AlarmState)) *world {
	s := inventory.AlarmState{Place: hub, Name: name, ActionsEnabled: true, Actions: []string{topic}, Muted: &[]string{}, Metrics: &[]string{"Security/M"}, Condition: "Sum GreaterThanOrEqualToThreshold", Threshold: 1}
	if change != nil {
		change(&s)
	}
	w.Path.Alarms = append(w.Path.Alarms, inventory.Alarm{Place: hub, Name: name})
	w.Snapshot.Alarms = append(w.Snapshot.Alarms, s)
	return w
}

func (w *world) detector(p inventory.Place, enabled bool, filters ...inventory.Suppression) *world {
	names := []string{}
	for _, f := range filters {
		names = append(names, f.Name)
	}
	w.Path.Detectors = append(w.Path.Detectors, inventory.Detector{Place: p})
	w.Snapshot.Detectors = append(w.Snapshot.Detectors, inventory.DetectorState{Place: p, Enabled: enabled, Suppressing: &names, Suppressions: filters})
	return w
}

const (
	topic  = "arn:aws:sns:us-east-1:444455556666:alerts"
	hubBus = "arn:aws:events:us-east-1:444455556666:event-bus/security"
	iamAny = `{"source":["aws.iam"],"detail-type":["AWS API Call via CloudTrail"]}`
	logOff = "Stealth:IAMUser/CloudTrailLoggingDisabled"
)

func TestCouldFire(t *testing.T) {
	create := call(t, "iam:CreateRole", canary.DoneAndUndone)
	denied := call(t, "iam:CreateRole", canary.MustBeDenied)
	assume := call(t, "sts:AssumeRole", canary.Decoy, readOnly)
	stop := call(t, "cloudtrail:StopLogging", canary.Decoy)
	stopDenied := call(t, "cloudtrail:StopLogging", canary.MustBeDenied)
	dry := call(t, "ec2:DeleteFlowLogs", canary.DryRun)
	archive := func(c pattern.Criteria) inventory.Suppression {
		return inventory.Suppression{Name: "known", Criteria: c}
	}
	for name, tc := range map[string]struct {
		w     *world
		rules string
		c     Call
		want  Verdict
		why   string // in one of the reasons
	}{
		"a rule that takes it":    {new(world).rule(east, "r", "", "ENABLED", iamAny, topic), "r", create, Fires, ""},
		"the default bus by name": {new(world).rule(east, "r", "default", "ENABLED", iamAny, topic), "r", create, Fires, ""},
		"disabled":                {new(world).rule(east, "r", "", "DISABLED", iamAny, topic), "r", create, Never, "rule r in 111122223333 us-east-1: its state is DISABLED"},
		"no targets":              {new(world).rule(east, "r", "", "ENABLED", iamAny), "r", create, Never, "it has no targets"},
		"a schedule":              {new(world).rule(east, "r", "", "ENABLED", "", topic), "r", create, Never, "no event pattern"},
		"another event":           {new(world).rule(east, "r", "", "ENABLED", `{"detail":{"eventName":["DeleteRole"]}}`, topic), "r", create, Never, `detail.eventName must be ["DeleteRole"], and is "CreateRole"`},
		"only successes":          {new(world).rule(east, "r", "", "ENABLED", `{"source":["aws.iam"],"detail":{"errorCode":[{"exists":false}]}}`, topic), "r", denied, Never, `detail.errorCode must not exist, and is "AccessDenied" or "AccessDeniedException": the canary is refused`},
		"successes, and it is":    {new(world).rule(east, "r", "", "ENABLED", `{"source":["aws.iam"],"detail":{"errorCode":[{"exists":false}]}}`, topic), "r", create, Fires, ""},
		"only refusals":           {new(world).rule(east, "r", "", "ENABLED", `{"detail":{"errorCode":[{"prefix":"AccessDenied"}]}}`, topic), "r", create, Never, "is not there: the canary is allowed"},
		"successes, and dry runs": {new(world).rule(east, "r", "", "ENABLED", `{"detail":{"errorCode":[{"exists":false}]}}`, topic), "r", dry, Never, "the canary is a dry run"},
		"by parameters":           {new(world).rule(east, "r", "", "ENABLED", `{"detail":{"requestParameters":{"roleName":["x"]}}}`, topic), "r", create, Undecided, "detail.requestParameters.roleName"},
		"not canaries":            {new(world).rule(east, "r", "", "ENABLED", `{"source":["aws.iam"],"detail":{"userIdentity":{"arn":[{"anything-but":{"wildcard":"*/auditcanary-*"}}]}}}`, topic), "r", create, Never, "detail.userIdentity.arn"},
		"not that role":           {new(world).rule(east, "r", "", "ENABLED", `{"source":["aws.iam"],"detail":{"userIdentity":{"sessionContext":{"sessionIssuer":{"userName":[{"anything-but":"auditcanary-injector"}]}}}}}`, topic), "r", create, Never, "sessionIssuer.userName"},
		"unknown operator":        {new(world).rule(east, "r", "", "ENABLED", `{"source":[{"regex":"x"}]}`, topic), "r", create, Undecided, "not understood here"},
		"not JSON":                {new(world).rule(east, "r", "", "ENABLED", `{`, topic), "r", create, Undecided, "its pattern cannot be read: line 1"},
		"reads, to ENABLED":       {new(world).rule(east, "r", "", "ENABLED", `{"source":["aws.sts"]}`, topic), "r", assume, Never, "does not see calls that only read: sts:AssumeRole is one"},
		"reads, to all":           {new(world).rule(east, "r", "", all, `{"source":["aws.sts"]}`, topic), "r", assume, Fires, ""},
		"reads, as data event":    {new(world).rule(east, "r", "", "ENABLED", `{"source":["aws.s3"]}`, topic), "r", call(t, "s3:GetObject", canary.MustBeDenied, readOnly, dataEvent), Fires, ""},
		"a state nobody knows":    {new(world).rule(east, "r", "", "ASLEEP", iamAny, topic), "r", create, Never, "ASLEEP"},

		"another region":          {new(world).rule(west, "r", "", "ENABLED", iamAny, topic), "r", create, Never, "it is in 111122223333 eu-west-1, the call is recorded in 111122223333 us-east-1, and no rule that is listed forwards it from there"},
		"one of two regions":      {new(world).rule(west, "r", "", "ENABLED", iamAny, topic).rule(east, "r", "", "ENABLED", iamAny, topic), "r", create, Fires, ""},
		"the right one is off":    {new(world).rule(west, "r", "", "ENABLED", iamAny, topic).rule(east, "r", "", "DISABLED", iamAny, topic), "r", create, Never, "us-east-1: its state is DISABLED"},
		"another account":         {new(world).rule(hub, "r", "", "ENABLED", iamAny, topic), "r", create, Never, "no rule that is listed forwards"},
		"an account that owns it": {new(world).rule(hub, "r", "", all, `{"source":["aws.sts"]}`, topic), "r", call(t, "sts:AssumeRole", canary.Decoy, readOnly, names(central)), Undecided, "may get a copy"},
		"forwarded":               {new(world).rule(east, "f", "", "ENABLED", iamAny, hubBus).rule(hub, "r", "security", "ENABLED", iamAny, topic), "f r", create, Fires, ""},
		"forwarded, bus ARN":      {new(world).rule(east, "f", "", "ENABLED", iamAny, hubBus).rule(hub, "r", hubBus, "ENABLED", iamAny, topic), "f r", create, Fires, ""},
		"forwarded elsewhere":     {new(world).rule(east, "f", "", "ENABLED", iamAny, strings.Replace(hubBus, "security", "other", 1)).rule(hub, "r", "security", "ENABLED", iamAny, topic), "f r", create, Undecided, "no rule of that bus is listed"},
		"forwarded, not taken":    {new(world).rule(east, "f", "", "ENABLED", iamAny, hubBus).rule(hub, "r", "security", "ENABLED", `{"source":["aws.s3"]}`, topic), "f r", create, Never, `rule r in 444455556666 us-east-1: source must be ["aws.s3"]`},
		"not forwarded":           {new(world).rule(east, "f", "", "DISABLED", iamAny, hubBus).rule(hub, "r", "security", "ENABLED", iamAny, topic), "f r", create, Never, "rule f in 111122223333 us-east-1: its state is DISABLED"},
		"forwarder not listed":    {new(world).rule(east, "f", "", "ENABLED", iamAny, hubBus).rule(hub, "r", "security", "ENABLED", iamAny, topic), "r", create, Never, "on bus security"},
		"receiver not listed":     {new(world).rule(east, "f", "", "ENABLED", iamAny, hubBus), "f", create, Undecided, "no rule of that bus is listed"},
		"reads, centrally":        {new(world).rule(east, "f", "", all, `{"source":["aws.sts"]}`, hubBus).rule(hub, "r", "security", "ENABLED", `{"source":["aws.sts"]}`, topic), "f r", assume, Never, "rule r in 444455556666 us-east-1: its state is ENABLED"},
		"in a circle": {new(world).rule(hub, "f", "a", "ENABLED", iamAny, "arn:aws:events:us-east-1:444455556666:event-bus/b").
			rule(hub, "r", "b", "ENABLED", iamAny, "arn:aws:events:us-east-1:444455556666:event-bus/a"), "f r", create, Never, "no rule that is listed forwards"},

		"not listed":               {new(world), "r", create, Undecided, "alert_path lists no event rule"},
		"no rules":                 {new(world), "", create, Undecided, "no rules of it are listed"},
		"not read":                 {&world{Settings{Path: inventory.AlertPath{Rules: []inventory.Rule{{Place: east, Name: "r"}}}}}, "r", create, Undecided, "it was not read"},
		"could not be":             {&world{Settings{inventory.AlertPath{Rules: []inventory.Rule{{Place: east, Name: "r"}}}, inventory.Snapshot{Unread: []inventory.Unread{{Place: east, What: "events:DescribeRule of r", Why: "AccessDenied"}}}}}, "r", create, Undecided, "could not be read (events:DescribeRule of r): AccessDenied"},
		"one of two is not listed": {new(world).rule(east, "r", "", "DISABLED", iamAny, topic), "r other", create, Undecided, `"other"`},

		"counted":                 {new(world).filter("f", `{ $.eventName = CreateRole }`, "Security/M").alarm("a", nil), "f a", create, Fires, ""},
		"counted alone":           {new(world).filter("f", `{ $.eventName = CreateRole }`, "Security/M"), "f", create, Fires, ""},
		"not counted":             {new(world).filter("f", `{ $.eventName = DeleteRole }`, "Security/M").alarm("a", nil), "f a", create, Never, `metric filter f of trail in 444455556666 us-east-1: $.eventName is "CreateRole"`},
		"counts successes":        {new(world).filter("f", `{ ($.eventName = CreateRole) && ($.errorCode NOT EXISTS) }`, "Security/M").alarm("a", nil), "f a", denied, Never, "the canary is refused"},
		"may be counted":          {new(world).filter("f", `{ $.requestParameters.x = 1 }`, "Security/M").alarm("a", nil), "f a", create, Undecided, "$.requestParameters.x is not known"},
		"unread filter":           {new(world).filter("f", `{ $.x = `, "Security/M").alarm("a", nil), "f a", create, Undecided, "its pattern cannot be read"},
		"actions disabled":        {new(world).filter("f", ``, "Security/M").alarm("a", func(s *inventory.AlarmState) { s.ActionsEnabled = false }), "f a", create, Never, "alarm a in 444455556666 us-east-1: its actions are disabled"},
		"no action":               {new(world).filter("f", ``, "Security/M").alarm("a", func(s *inventory.AlarmState) { s.Actions = nil }), "f a", create, Never, "it has no alarm action"},
		"muted":                   {new(world).filter("f", ``, "Security/M").alarm("a", func(s *inventory.AlarmState) { s.Muted = &[]string{"arn:mute"} }), "f a", create, Undecided, "kept back, now or at times, by arn:mute"},
		"another metric":          {new(world).filter("f", ``, "Security/Other").alarm("a", nil), "f a", create, Never, "it watches Security/M, and metric filter f counts in Security/Other"},
		"a composite alarm":       {new(world).filter("f", ``, "Security/M").alarm("a", func(s *inventory.AlarmState) { s.Metrics = nil }), "f a", create, Undecided, "not on one metric"},
		"a threshold":             {new(world).filter("f", ``, "Security/M").alarm("a", func(s *inventory.AlarmState) { s.Threshold = 3 }), "f a", create, Undecided, "it rings at Sum GreaterThanOrEqualToThreshold 3"},
		"more than none":          {new(world).filter("f", ``, "Security/M").alarm("a", func(s *inventory.AlarmState) { s.Condition, s.Threshold = "Sum GreaterThanThreshold", 0 }), "f a", create, Fires, ""},
		"more than one":           {new(world).filter("f", ``, "Security/M").alarm("a", func(s *inventory.AlarmState) { s.Condition = "Sum GreaterThanThreshold" }), "f a", create, Undecided, "it rings at"},
		"an alarm alone":          {new(world).alarm("a", nil), "a", create, Undecided, "the metric filter whose metric it watches is not listed"},
		"a rule off, and counted": {new(world).rule(east, "r", "", "DISABLED", iamAny, topic).filter("f", ``, "Security/M").alarm("a", nil), "r f a", create, Fires, ""},

		"a finding":                   {new(world).detector(east, true), logOff, stop, Fires, ""},
		"of a refusal":                {new(world).detector(east, true), logOff, stopDenied, Never, "it is made of calls that succeed, and the canary's cloudtrail:StopLogging is refused"},
		"of another service":          {new(world).detector(east, true), logOff, create, Never, "the canary calls iam:CreateRole"},
		"of another call":             {new(world).detector(east, true), logOff, call(t, "cloudtrail:PutEventSelectors", canary.DoneAndUndone), Undecided, "not documented"},
		"of a type not known":         {new(world).detector(east, true), "Persistence:IAMUser/AnomalousBehavior", create, Undecided, "not known here"},
		"of root":                     {new(world).detector(east, true), "Policy:IAMUser/RootCredentialUsage", create, Never, "the canary acts as a role"},
		"of what it depends on":       {new(world).detector(east, true), "Policy:S3/BucketBlockPublicAccessDisabled", call(t, "s3:PutPublicAccessBlock", canary.DoneAndUndone), Undecided, "depends on what the call changes"},
		"suspended":                   {new(world).detector(east, false), logOff, stop, Never, "it is suspended"},
		"no detector listed":          {new(world), logOff, stop, Undecided, "no detector of 111122223333 in us-east-1 is listed"},
		"archived":                    {new(world).detector(east, true, archive(pattern.Criteria{"type": {Equals: []string{logOff}}, "service.archived": {Equals: []string{"false"}}})), logOff, stop, Never, `the finding is archived by its filter "known"`},
		"another is archived":         {new(world).detector(east, true, archive(pattern.Criteria{"type": {Equals: []string{"X"}}, "severity": {GreaterOrEqual: new(int64)}})), logOff, stop, Fires, ""},
		"may be archived":             {new(world).detector(east, true, archive(pattern.Criteria{"resource.accessKeyDetails.userName": {Equals: []string{"x"}}})), logOff, stop, Undecided, `its filter "known" may archive the finding`},
		"a finding by a rule":         {new(world).detector(east, true).rule(east, "r", "", "ENABLED", `{"source":["aws.guardduty"],"detail":{"type":[{"prefix":"Stealth:"}]}}`, topic), logOff + " r", stop, Fires, ""},
		"a finding, rule off":         {new(world).detector(east, true).rule(east, "r", "", "DISABLED", `{"source":["aws.guardduty"]}`, topic), logOff + " r", stop, Never, "its state is DISABLED"},
		"a severe one by a rule":      {new(world).detector(east, true).rule(east, "r", "", "ENABLED", `{"source":["aws.guardduty"],"detail":{"severity":[{"numeric":[">",6]}]}}`, topic), logOff + " r", stop, Undecided, "detail.severity"},
		"a finding without its type":  {new(world).detector(east, true).rule(east, "r", "", "ENABLED", `{"source":["aws.guardduty"],"detail-type":["GuardDuty Finding"]}`, topic), "r", stop, Undecided, `rule r in 111122223333 us-east-1: it takes other events than records (detail-type "GuardDuty Finding")`},
		"a finding by its source":     {new(world).rule(east, "r", "", "ENABLED", `{"source":["aws.guardduty"]}`, topic), "r", stop, Undecided, `(source "aws.guardduty")`},
		"a finding of a reading call": {new(world).rule(east, "r", "", "ENABLED", `{"source":["aws.guardduty"]}`, topic), "r", assume, Undecided, `(source "aws.guardduty")`},
		"the administrator's account": {new(world).rule(hub, "r", "", "ENABLED", `{"source":["aws.guardduty"]}`, topic), "r", stop, Undecided, `(source "aws.guardduty")`},
		"a listed type there":         {new(world).detector(east, true).rule(hub, "r", "", "ENABLED", `{"source":["aws.guardduty"]}`, topic), logOff + " r", stop, Undecided, "may get it as its administrator"},
		"a listed type there, off":    {new(world).detector(east, true).rule(hub, "r", "", "DISABLED", `{"source":["aws.guardduty"]}`, topic), logOff + " r", stop, Never, "its state is DISABLED"},
		"a listed type, other region": {new(world).detector(east, true).rule(west, "r", "", "ENABLED", `{"source":["aws.guardduty"]}`, topic), logOff + " r", stop, Never, "it is in 111122223333 eu-west-1"},
		"a finding in the hub":        {new(world).detector(east, true).rule(hub, "r", "", "ENABLED", `{"source":["aws.securityhub"]}`, topic), logOff + " r", stop, Undecided, `(source "aws.securityhub")`},
		"a finding, forwarded":        {new(world).rule(east, "f", "", "ENABLED", `{"source":["aws.config"]}`, hubBus).rule(hub, "r", "security", "ENABLED", `{"source":["aws.config"]}`, topic), "f r", stop, Undecided, `(source "aws.config")`},
		"events of a tool":            {new(world).rule(hub, "r", "security", "ENABLED", `{"source":["siem"]}`, topic), "r", stop, Undecided, `(source "siem")`},
		"events by a prefix":          {new(world).rule(east, "r", "", "ENABLED", `{"source":[{"prefix":"aws.guard"}]}`, topic), "r", stop, Undecided, `(source {"prefix":"aws.guard"})`},
		"one or the other":            {new(world).rule(east, "r", "", "ENABLED", `{"$or":[{"source":["aws.s3"]},{"source":["aws.guardduty"]}]}`, topic), "r", stop, Undecided, `(source "aws.guardduty")`},
		"records of GuardDuty":        {new(world).rule(east, "r", "", "ENABLED", `{"source":["aws.guardduty"],"detail-type":["AWS API Call via CloudTrail"]}`, topic), "r", stop, Never, `source must be ["aws.guardduty"]`},
		"records, and it is off":      {new(world).rule(east, "r", "", "DISABLED", `{"source":["aws.guardduty"]}`, topic), "r", stop, Never, "its state is DISABLED"},
		"findings, to nobody":         {new(world).rule(east, "r", "", "ENABLED", `{"source":["aws.guardduty"]}`), "r", stop, Never, "it has no targets"},
		"not JSON, elsewhere":         {new(world).rule(hub, "r", "", "ENABLED", `{`, topic), "r", stop, Undecided, "its pattern cannot be read: line 1"},
		"not read, elsewhere":         {&world{Settings{Path: inventory.AlertPath{Rules: []inventory.Rule{{Place: hub, Name: "r"}}}}}, "r", stop, Undecided, "it was not read"},

		"no finding by a rule": {new(world).detector(east, true).rule(east, "r", "", "ENABLED", `{"source":["aws.guardduty"]}`, topic), logOff + " r", stopDenied, Never, "calls that succeed"},
	} {
		got := CouldFire(Alert{Name: "alert", Rules: strings.Fields(tc.rules)}, tc.w.Settings, tc.c)
		if got.Verdict != tc.want || (got.Verdict == Fires) != (len(got.Reasons) == 0) || !strings.Contains(strings.Join(got.Reasons, "\n"), tc.why) {
			t.Errorf("%s: %s %q, want %s because %q", name, got.Verdict, got.Reasons, tc.want, tc.why)
		}
		if name == "the right one is off" && len(got.Reasons) != 1 {
			t.Errorf("%s: rules of other places are noise: %q", name, got.Reasons)
		}
	}
}

// What a step says of how it is refused widens what its record may be.
func TestTheErrorOfARefusal(t *testing.T) {
	code := func(c Call) any { return c.Record["errorCode"] }
	own := func(st *canary.Step, _ *run.PlannedStep) { st.RefusedWith = []string{"ValidationException"} }
	byState := func(st *canary.Step, _ *run.PlannedStep) { st.ByState = "it answers success" }
	has := func(v any, want any) bool { list, _ := v.(pattern.OneOf); return slices.Contains(list, want) }
	if v := code(call(t, "ec2:DeleteFlowLogs", canary.MustBeDenied)); !has(v, "Client.UnauthorizedOperation") || has(v, "AccessDenied") {
		t.Errorf("EC2: %v", v)
	}
	if v := code(call(t, "logs:DeleteLogGroup", canary.MustBeDenied, own)); !has(v, "ValidationException") || !has(v, "AccessDeniedException") {
		t.Errorf("its own code: %v", v)
	}
	if v := code(call(t, "backup:DeleteRecoveryPoint", canary.MustBeDenied, byState)); !has(v, pattern.Absent{}) {
		t.Errorf("by state: %v", v)
	}
	if v := code(call(t, "nova:Act", canary.MustBeDenied)); !has(v, pattern.Text{}) {
		t.Errorf("a service that is not known: %v", v)
	}
	if v := code(call(t, "kms:CreateGrant", canary.DryRun)); v != "DryRunOperationException" {
		t.Errorf("a dry run: %v", v)
	}
	if len(Calls(run.Plan{NotRun: "no fixture", Steps: []run.PlannedStep{{}}}, role)) != 0 {
		t.Error("what is not run leaves a record")
	}
}

func TestTheTableForAPerson(t *testing.T) {
	w := new(world).rule(east, "root", "", "ENABLED", `{"source":["aws.iam"],"detail":{"errorCode":[{"exists":false}]}}`, topic).
		rule(east, "hostile\x1b[31m", "", "ENABLED", `{"detail":{"requestParameters":{"a":["`+"\\u001b]8;;x"+`"]}}}`, topic)
	alerts := []Alert{{Name: "admin-change", Rules: []string{"root"}}, {Name: "other", Rules: []string{"hostile\x1b[31m"}}}
	calls := []Call{call(t, "iam:CreateRole", canary.DoneAndUndone), call(t, "iam:CreateRole", canary.MustBeDenied)}
	second := calls[1]
	second.Place.Region = "eu-west-1"
	table := NewTable(alerts, w.Settings, append(calls, second), func(a Alert, c Call) bool { return a.Name == "admin-change" || c.Outcome == Allowed })
	var text strings.Builder
	if err := table.WriteText(&text); err != nil {
		t.Fatal(err)
	}
	b, err := json.MarshalIndent(table, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	if strings.ContainsRune(text.String(), '\x1b') {
		t.Error("an escape sequence reaches the terminal")
	}
	golden(t, "table.txt", text.String())
	golden(t, "table.json", string(b)+"\n")
	text.Reset()
	if err := NewTable(nil, w.Settings, calls, nil).WriteText(&text); err != nil || !strings.Contains(text.String(), "No alert is promised") {
		t.Errorf("%q, %v", text.String(), err)
	}
}

func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.MkdirAll("testdata", 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("%s: got\n%s\nwant\n%s", name, got, want)
	}
}
