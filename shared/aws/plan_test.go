package aws

import (
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/auditcanary/auditcanary/scenarios"
	"github.com/auditcanary/auditcanary/shared/canary"
	"github.com/auditcanary/auditcanary/shared/run"
	"github.com/aws/aws-sdk-go-v2/aws"
)

var update = flag.Bool("update", false, "rewrite golden files")

const testAccount = "111122223333"

func testTarget() Target {
	return Target{
		Account: testAccount, Regions: []string{"us-east-1", "eu-west-1"},
		RoleARN: "arn:aws:iam::111122223333:role/auditcanary/auditcanary-injector",
		Egress:  []string{"127.0.0.1/32", "203.0.113.7"},
		Fixtures: map[string]map[string]string{
			"*": {"flow_log_role": "auditcanary-flow-logs", "break_glass_role": "auditcanary-break-glass", "eks_principal": "auditcanary-nobody", "locked_role": "auditcanary-locked"},
			"eu-west-1": {
				"eks_cluster":    "auditcanary-fixture",
				"security_group": "sg-0123456789abcdef0", "kms_key": "1f0a4f3c-0000-4000-8000-000000000001",
				"bucket": "auditcanary-111122223333-eu-west-1", "decoy_trail": "auditcanary-decoy", "locked_trail": "auditcanary-locked",
				"deletion_key": "1f0a4f3c-0000-4000-8000-000000000002", "grant_key": "1f0a4f3c-0000-4000-8000-000000000003",
				"public_access_bucket": "auditcanary-111122223333-eu-west-1-access", "lifecycle_bucket": "auditcanary-111122223333-eu-west-1-lifecycle",
				"vpc": "vpc-0123456789abcdef0", "snapshot": "snap-0123456789abcdef0",
				"guardduty_detector": "0123456789abcdef0123456789abcdef", "security_hub": "arn:aws:securityhub:eu-west-1:111122223333:hub/default",
				"selector_trail": "auditcanary-selector", "log_group": "auditcanary-retention", "locked_rule": "auditcanary-locked",
				"locked_bucket": "auditcanary-111122223333-eu-west-1-locked", "locked_object": "auditcanary-object",
				"pending_key": "1f0a4f3c-0000-4000-8000-000000000004", "protected_log_group": "auditcanary-protected",
				"locked_vault": "auditcanary-locked", "locked_recovery_point": "arn:aws:backup:eu-west-1:111122223333:recovery-point:1f0a4f3c-0000-4000-8000-000000000005",
				"multi_region_trail_arn": "arn:aws:cloudtrail:us-east-1:111122223333:trail/auditcanary-multi", "organization_trail_arn": "arn:aws:cloudtrail:us-east-1:100000000001:trail/org-trail",
			},
		},
	}
}

func testCloud(t *testing.T, base aws.Config) *Cloud {
	t.Helper()
	now := time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	c, err := New(Options{Base: base, Targets: []Target{testTarget()}, Clock: func() time.Time { return now }})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func testCanary(region string) canary.Canary {
	return canary.Canary{ID: "20261122-abcdef-01", Run: "20261122-abcdef", Scenario: "aws/test", Target: canary.Target{Provider: "aws", Account: testAccount, Region: region}}
}

type check func(string, map[string]any) error

func (c check) CheckCall(op string, params map[string]any) error { return c(op, params) }

func (c check) CheckAttempt(op string, params map[string]any) error { return CheckAttempt(op, params) }
func (c check) CheckLook(op string, params map[string]any) error    { return CheckLook(op, params) }

// loaded is the catalogue, read once; nobody changes it (see scenario).
var loaded = sync.OnceValues(func() ([]canary.Scenario, error) {
	return scenarios.Load(scenarios.Options{Include: []string{"aws/*"}, Check: check(func(operation string, params map[string]any) error {
		if strings.Contains(operation, " ") { // another provider's
			return nil
		}
		return CheckCall(operation, params)
	})})
})

func catalogue(t *testing.T) []canary.Scenario {
	t.Helper()
	ss, err := loaded()
	if err != nil {
		t.Fatal(err)
	}
	if len(ss) < 8 {
		t.Fatalf("the catalogue has %d scenarios, want at least 8", len(ss))
	}
	return ss
}

func planOf(t *testing.T, c *Cloud, s canary.Scenario) run.Plan {
	t.Helper()
	region := "eu-west-1"
	if s.Scope == "account" {
		region = "us-east-1"
	}
	p, err := c.Plan(s, testCanary(region))
	if err != nil {
		t.Fatalf("%s: %v", s.ID, err)
	}
	return p
}

func TestPlansOfTheCatalogueAreAsReviewed(t *testing.T) {
	c := testCloud(t, aws.Config{})
	var plans []run.Plan
	for _, s := range catalogue(t) {
		t.Run(s.ID, func(t *testing.T) {
			p := planOf(t, c, s)
			plans = append(plans, p)
			if n := len(p.SessionPolicy); n > maxSessionPolicy {
				t.Errorf("session policy has %d characters", n)
			}
			for range 5 { // no map order may show
				if again := planOf(t, c, s); !reflect.DeepEqual(again, p) {
					t.Fatal("the same scenario planned twice gives two plans")
				}
			}
			golden(t, strings.ReplaceAll(strings.TrimPrefix(s.ID, "aws/"), "/", "-")+".json", struct {
				Steps         []run.PlannedStep `json:"steps"`
				SessionPolicy json.RawMessage   `json:"session_policy"`
				Permissions   json.RawMessage   `json:"permissions"`
			}{p.Steps, p.SessionPolicy, p.Permissions})
		})
	}
	merged, err := Permissions(plans)
	if err != nil {
		t.Fatal(err)
	}
	golden(t, "permissions.json", merged)
	slices.Reverse(plans)
	if again, err := Permissions(plans); err != nil || !reflect.DeepEqual(again, merged) {
		t.Errorf("permissions depend on the order of plans (%v)", err)
	}
	if len(merged) > 10 {
		t.Errorf("%d managed policies, and a role takes 10", len(merged))
	}
	for i, doc := range merged {
		if len(doc) > maxManagedPolicy {
			t.Errorf("policy %d has %d characters, and IAM takes %d", i, len(doc), maxManagedPolicy)
		}
	}
	tt := testTarget()
	for i, some := range share(tt.scene("eu-west-1", "*", canary.Marker+"-*"), kinds()) {
		if len(some.policy) > maxSessionPolicy {
			t.Errorf("the reading session's policy has %d characters", len(some.policy))
		}
		golden(t, fmt.Sprintf("reading-%d.json", i), json.RawMessage(some.policy))
	}
}

func golden(t *testing.T, name string, v any) {
	t.Helper()
	got, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join("testdata", "plan", name)
	if *update {
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, append(got, '\n'), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if string(want) != string(got)+"\n" {
		t.Errorf("%s differs (go test -update rewrites it); got:\n%s", file, got)
	}
}

func TestPlanSurvivesTheLedger(t *testing.T) {
	c := testCloud(t, aws.Config{})
	for _, s := range catalogue(t) {
		p := planOf(t, c, s)
		b, err := json.Marshal(p.Steps)
		if err != nil {
			t.Fatal(err)
		}
		var back []run.PlannedStep
		if err := json.Unmarshal(b, &back); err != nil {
			t.Fatal(err)
		}
		if !reflect.DeepEqual(back, p.Steps) {
			t.Errorf("%s: steps read back differ:\n%v\n%v", s.ID, p.Steps, back)
		}
	}
}

func TestPlanLeavesOpenWhatOnlyTheRunKnows(t *testing.T) {
	c := testCloud(t, aws.Config{})
	s := scenario(t, c, "aws/iam-temporary-admin-role")
	s.Steps[0].Params["Description"] = "of ${steps.before.Role.Arn}, literally $${aws:username}"
	p := planOf(t, c, s)
	got := p.Steps[0].Call.Params["Description"]
	if want := "of ${steps.before.Role.Arn}, literally $${aws:username}"; got != want {
		t.Errorf("planned %q, want %q", got, want)
	}
	final, err := canary.Expand(got, func(string) (string, bool) { return "ARN", true })
	if err != nil || final != "of ARN, literally ${aws:username}" {
		t.Errorf("the run makes of it %q, %v", final, err)
	}
}

// scenario is a deep copy from the catalogue, to be broken.
func scenario(t *testing.T, _ *Cloud, id string) canary.Scenario {
	t.Helper()
	for _, s := range catalogue(t) {
		if s.ID == id {
			var c canary.Scenario
			s.Rules = nil
			b, err := json.Marshal(s)
			if err != nil {
				t.Fatal(err)
			}
			if err := json.Unmarshal(b, &c); err != nil {
				t.Fatal(err)
			}
			return c
		}
	}
	t.Fatalf("no scenario %s", id)
	return canary.Scenario{}
}

func TestPlanRefuses(t *testing.T) {
	const (
		role   = "aws/iam-temporary-admin-role"
		group  = "aws/ec2-security-group-ingress"
		bucket = "aws/s3-bucket-policy"
		key    = "aws/kms-disable-key"
		decoy  = "aws/cloudtrail-stop-logging-decoy"
		glass  = "aws/sts-break-glass-assume-role"
		dry    = "aws/ec2-delete-flow-logs-dry-run"
	)
	type step = canary.Step
	tests := []struct {
		name, scenario string
		step           int
		breakIt        func(*step)
		want           string
	}{
		{"an operation off the list", role, 0, func(s *step) { s.Call = "iam:CreateLoginProfile" }, `operation "iam:CreateLoginProfile" is not on the allow-list`},
		{"an undo off the list", role, 0, func(s *step) { s.Undo.Call = "iam:DeleteUser" }, `iam:DeleteUser is not proven to undo iam:CreateRole: iam:DeleteRole is`},
		{"no undo", role, 0, func(s *step) { s.Undo = nil }, `iam:CreateRole has no undo: it must be undone by iam:DeleteRole`},
		{"a reason instead of an undo", role, 0, func(s *step) { s.Undo, s.NoUndo = nil, "trust me" }, `iam:CreateRole has no undo: it must be undone by iam:DeleteRole`},
		{"an undo and a reason", role, 0, func(s *step) { s.NoUndo = "not needed" }, `iam:CreateRole has an undo and a reason why none is needed`},
		{"neither undo nor reason", glass, 0, func(s *step) { s.NoUndo = "" }, `sts:AssumeRole has no undo, and no reason (no_undo) why none is needed`},
		{"an undo of another thing", role, 1, func(s *step) { s.Undo.Params["RoleName"] = "${name}-b" }, `undo: iam:DetachRolePolicy names RoleName auditcanary-20261122-abcdef-01-b, but the call it must undo auditcanary-20261122-abcdef-01`},
		{"an undo of another policy", role, 1, func(s *step) { s.Undo.Params["PolicyArn"] = "arn:aws:iam::aws:policy/X" }, `undo: iam:DetachRolePolicy names PolicyArn arn:aws:iam::aws:policy/X, but the call it must undo arn:aws:iam::aws:policy/AdministratorAccess`},
		{"somebody's role", role, 1, func(s *step) { s.Params["RoleName"] = "admin" }, `iam:AttachRolePolicy: RoleName "admin" is not canary-marked: it must be "auditcanary-20261122-abcdef-01" (${name}) or begin with it`},
		{"the injector's own role", role, 1, func(s *step) { s.Params["RoleName"] = "auditcanary-injector" }, `RoleName "auditcanary-injector" is not canary-marked`},
		{"another canary's role", role, 1, func(s *step) { s.Params["RoleName"] = "auditcanary-20261122-abcdef-011" }, `RoleName "auditcanary-20261122-abcdef-011" is not canary-marked`},
		{"a role outside the canaries' path", role, 0, func(s *step) { s.Params["Path"] = "/" }, `iam:CreateRole: Path must be /auditcanary/, not /`},
		{"a role without a path", role, 0, func(s *step) { delete(s.Params, "Path") }, `iam:CreateRole: Path must be /auditcanary/`},
		{"a role without the boundary", role, 0, func(s *step) { delete(s.Params, "PermissionsBoundary") }, `iam:CreateRole: PermissionsBoundary must be arn:aws:iam::aws:policy/AWSDenyAll`},
		{"a role somebody may assume", role, 0, func(s *step) {
			s.Params["AssumeRolePolicyDocument"] = `{"Statement":{"Effect":"Allow","Principal":"*","Action":"sts:AssumeRole"}}`
		}, `AssumeRolePolicyDocument statement 0 has effect "Allow": only Deny is harmless`},
		{"a trust policy that two readers read differently", role, 0, func(s *step) {
			s.Params["AssumeRolePolicyDocument"] = `{"Statement":[{"Effect":"Allow","Effect":"Deny","Principal":"*","Action":"sts:AssumeRole"}]}`
		}, `AssumeRolePolicyDocument is not an IAM policy: jsontext: duplicate object member name "Effect"`},
		{"a role without the run's tags", role, 0, func(s *step) { delete(s.Params, "Tags") }, `the tags auditcanary:run=${run} and auditcanary:canary=${canary} are missing`},
		{"a role with another run's tag", role, 0, func(s *step) { s.Params["Tags"].([]any)[0].(map[string]any)["Value"] = "20200101-zzzzzz" }, `the tags auditcanary:run=${run} and auditcanary:canary=${canary} are missing`},
		{"an unknown parameter", role, 0, func(s *step) { s.Params["Pathh"] = "/" }, `iam:CreateRole: unknown parameter Pathh`},

		{"somebody's security group", group, 0, func(s *step) { s.Params["GroupId"] = "sg-0feedfacefeedface" }, `GroupId "sg-0feedfacefeedface" is no configured fixture of 111122223333/eu-west-1: an id cannot be canary-marked by its name`},
		{"a group known only at run time", group, 0, func(s *step) { s.Params["GroupId"] = "${steps.a.GroupId}" }, `GroupId "${steps.a.GroupId}" is no configured fixture`},
		{"the whole internet", group, 0, func(s *step) { cidr(s)["CidrIp"] = "0.0.0.0/0" }, `CidrIp "0.0.0.0/0" is not a documentation network`},
		{"a network around a documentation network", group, 0, func(s *step) { cidr(s)["CidrIp"] = "192.0.2.0/23" }, `CidrIp "192.0.2.0/23" is not a documentation network`},
		{"no network", group, 0, func(s *step) { delete(s.Params, "IpPermissions") }, `no address range is named`},
		{"another group as source", group, 0, func(s *step) {
			s.Params["IpPermissions"].([]any)[0].(map[string]any)["UserIdGroupPairs"] = []any{map[string]any{"GroupId": "sg-1"}}
		}, `UserIdGroupPairs is not allowed`},
		{"a rule without tags", group, 0, func(s *step) { delete(s.Params, "TagSpecifications") }, `the tags auditcanary:run=${run}`},
		{"a missing fixture", group, 0, func(s *step) { s.Params["GroupId"] = "${fixture.sg}" }, `${fixture.sg} is not configured for 111122223333/eu-west-1: add sg under fixtures of that target (region "eu-west-1" or "*") in auditcanary.yaml`},

		{"somebody's bucket", bucket, 0, func(s *step) { s.Params["Bucket"] = "org-trail-archive" }, `Bucket "org-trail-archive" is not canary-marked: its name must begin with "auditcanary-"`},
		{"a bucket by pattern", bucket, 0, func(s *step) { s.Params["Bucket"] = "auditcanary-*" }, `Bucket "auditcanary-*" is not canary-marked`},
		{"a bucket opened to everybody", bucket, 0, func(s *step) {
			s.Params["Policy"] = `{"Id":"auditcanary:run=${run} auditcanary:canary=${canary}","Statement":[{"Effect":"Allow","Principal":"*","Action":"s3:GetObject","Resource":"*"}]}`
		}, `Policy statement 0 has effect "Allow"`},
		{"a bucket locked for its own undo", bucket, 0, func(s *step) {
			s.Params["Policy"] = `{"Id":"auditcanary:run=${run} auditcanary:canary=${canary}","Statement":[{"Effect":"Deny","Principal":"*","Action":"s3:*","Resource":"*"}]}`
		}, `Policy statement 0 denies without a condition: that may lock out its own undo`},
		{"a bucket policy that does not say whose it is", bucket, 0, func(s *step) {
			s.Params["Policy"] = strings.Replace(s.Params["Policy"].(string), "auditcanary:run=${run} ", "", 1)
		}, `the sweep finds it only as "auditcanary:run=${run} auditcanary:canary=${canary}"`},

		{"somebody's key", key, 0, func(s *step) { s.Params["KeyId"] = "alias/production" }, `KeyId "alias/production" is no configured fixture`},
		{"another account's key", key, 0, func(s *step) {
			s.Params["KeyId"] = "arn:aws:kms:eu-west-1:999999999999:key/1f0a4f3c-0000-4000-8000-000000000001"
		}, `is not of account 111122223333 in eu-west-1`},
		{"another region's key", key, 0, func(s *step) {
			s.Params["KeyId"] = "arn:aws:kms:us-east-1:111122223333:key/1f0a4f3c-0000-4000-8000-000000000001"
		}, `is not of account 111122223333 in eu-west-1`},
		{"a real trail", decoy, 0, func(s *step) { s.Params["Name"] = "org-trail" }, `Name "org-trail" is not canary-marked`},
		{"another account's trail", decoy, 0, func(s *step) {
			s.Params["Name"] = "arn:aws:cloudtrail:eu-west-1:100000000001:trail/auditcanary-decoy"
		}, `is not of account 111122223333`},

		{"a role of another account", glass, 0, func(s *step) { s.Params["RoleArn"] = "arn:aws:iam::999999999999:role/auditcanary-x" }, `is not a role of account 111122223333`},
		{"a role that is no fixture", glass, 0, func(s *step) { s.Params["RoleArn"] = "arn:aws:iam::111122223333:role/admin" }, `RoleArn "arn:aws:iam::111122223333:role/admin" is no configured fixture`},
		{"a session that may do something", glass, 0, func(s *step) { delete(s.Params, "Policy") }, `sts:AssumeRole: Policy is missing`},
		{"a session that may do most things", glass, 0, func(s *step) {
			s.Params["Policy"] = `{"Statement":[{"Effect":"Deny","NotAction":"s3:*","Resource":"*"}]}`
		}, `Policy must deny everything`},
		{"a session under another name", glass, 0, func(s *step) { s.Params["RoleSessionName"] = "alice" }, `RoleSessionName "alice" is not canary-marked`},
		{"a session under another source identity", glass, 0, func(s *step) { s.Params["SourceIdentity"] = "alice" }, `SourceIdentity must be auditcanary, not alice`},

		{"flow logs deleted in earnest", dry, 0, func(s *step) { delete(s.Params, "DryRun") }, `ec2:DeleteFlowLogs: DryRun must be true`},
		{"flow logs deleted in earnest, said so", dry, 0, func(s *step) { s.Params["DryRun"] = false }, `ec2:DeleteFlowLogs: DryRun must be true, not false`},
		{"somebody's flow log", dry, 0, func(s *step) { s.Params["FlowLogIds"] = []any{"fl-0123456789abcdef0"} }, `FlowLogIds "fl-0123456789abcdef0": only fl-00000000000000000, which nothing has, may be named`},
	}
	c := testCloud(t, aws.Config{})
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := scenario(t, c, tt.scenario)
			tt.breakIt(&s.Steps[tt.step])
			region := "eu-west-1"
			if s.Scope == "account" {
				region = "us-east-1"
			}
			_, err := c.Plan(s, testCanary(region))
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got  %v\nwant ...%s...", err, tt.want)
			}
			if err != nil && !strings.Contains(err.Error(), `step "`+s.Steps[tt.step].ID+`"`) {
				t.Errorf("the error does not name the step: %v", err)
			}
		})
	}
}

func cidr(s *canary.Step) map[string]any {
	return s.Params["IpPermissions"].([]any)[0].(map[string]any)["IpRanges"].([]any)[0].(map[string]any)
}

func TestPlanRefusesKindsThatDoNotFitTheCall(t *testing.T) {
	c := testCloud(t, aws.Config{})
	s := scenario(t, c, "aws/ec2-delete-flow-logs-dry-run")
	s.Kind = canary.DoneAndUndone
	if _, err := c.Plan(s, testCanary("eu-west-1")); err == nil || !strings.Contains(err.Error(), "DryRun is set, but the scenario is done-and-undone") {
		t.Error(err)
	}
	s = scenario(t, c, "aws/ec2-security-group-ingress")
	s.Kind = canary.DryRun
	if _, err := c.Plan(s, testCanary("eu-west-1")); err == nil || !strings.Contains(err.Error(), "a scenario of kind dry-run must set DryRun: true") {
		t.Error(err)
	}
}

func TestPlanRefusesAPolicySTSWouldNotTake(t *testing.T) {
	c := testCloud(t, aws.Config{})
	s := scenario(t, c, "aws/iam-temporary-admin-role")
	for i := range 12 {
		st := s.Steps[1]
		st.ID = st.ID + string(rune('a'+i))
		st.Params = map[string]any{"RoleName": "${name}", "PolicyArn": "arn:aws:iam::aws:policy/job-function/Something" + string(rune('A'+i))}
		st.Undo = &canary.Undo{Call: "iam:DetachRolePolicy", Params: st.Params}
		s.Steps = append(s.Steps, st)
	}
	if _, err := c.Plan(s, testCanary("us-east-1")); err == nil || !strings.Contains(err.Error(), "more than STS takes") {
		t.Error(err)
	}
}

func TestPlanRefusesPlacesAndNames(t *testing.T) {
	c := testCloud(t, aws.Config{})
	s := scenario(t, c, "aws/iam-temporary-admin-role")
	for want, change := range map[string]func(*canary.Canary){
		"account 999999999999 is not configured": func(c *canary.Canary) { c.Target.Account = "999999999999" },
		"region ap-south-1 is not configured":    func(c *canary.Canary) { c.Target.Region = "ap-south-1" },
		`is of provider "gcp", not aws`:          func(c *canary.Canary) { c.Target.Provider = "gcp" },
		`canary id "A*"`:                         func(c *canary.Canary) { c.ID = "A*" },
		`run id "*"`:                             func(c *canary.Canary) { c.Run = "*" },
	} {
		cn := testCanary("us-east-1")
		change(&cn)
		if _, err := c.Plan(s, cn); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want ...%s...", err, want)
		}
	}
}

func TestNewNamesTheTargetAndField(t *testing.T) {
	for want, change := range map[string]func(*Target){
		"account must be 12 digits":                            func(t *Target) { t.Account = "1" },
		`is not the ARN of a role`:                             func(t *Target) { t.RoleARN = "auditcanary-injector" },
		"is of another account":                                func(t *Target) { t.RoleARN = "arn:aws:iam::999999999999:role/x" },
		"no region":                                            func(t *Target) { t.Regions = nil },
		`region "cn-north-1" is not one of partition "aws"`:    func(t *Target) { t.Regions = []string{"cn-north-1"} },
		`egress "home" is neither an address nor a prefix`:     func(t *Target) { t.Egress = []string{"home"} },
		`fixtures: "everywhere" is no region`:                  func(t *Target) { t.Fixtures["everywhere"] = map[string]string{"a": "b"} },
		`fixtures.*.bucket: "*" cannot be the name of a resou`: func(t *Target) { t.Fixtures["*"]["bucket"] = "*" },
	} {
		tg := testTarget()
		change(&tg)
		_, err := New(Options{Clock: time.Now, Targets: []Target{tg}})
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want ...%s...", err, want)
		}
	}
	if _, err := New(Options{Clock: time.Now, Targets: []Target{testTarget(), testTarget()}}); err == nil || !strings.Contains(err.Error(), `target "111122223333" is configured twice`) {
		t.Error(err)
	}
}

func TestPermissionsAreDividedWithoutLoss(t *testing.T) {
	var sts []statement
	for i := range 300 {
		sts = append(sts, statement{Effect: "Allow", Action: words{fmt.Sprintf("svc:Action%03d", i)}, Resource: words{strings.Repeat("x", i%70)}})
	}
	docs, err := divide(sts, maxManagedPolicy)
	if err != nil {
		t.Fatal(err)
	}
	var again []statement
	for _, doc := range docs {
		var d struct{ Statement []statement }
		if err := json.Unmarshal(doc, &d); err != nil || len(doc) > maxManagedPolicy {
			t.Fatalf("%d characters, %v", len(doc), err)
		}
		again = append(again, d.Statement...)
	}
	if !reflect.DeepEqual(again, sts) || len(docs) < 3 {
		t.Errorf("%d statements in %d policies, want all %d", len(again), len(docs), len(sts))
	}
	huge := statement{Effect: "Allow", Action: words{"svc:A"}, Resource: words{strings.Repeat("x", maxManagedPolicy)}}
	for at := range []int{0, 1, 2} {
		three := slices.Insert(slices.Clone(sts[:2]), at, huge)
		if _, err := divide(three, maxManagedPolicy); err == nil {
			t.Errorf("a statement that no policy can hold is no error as number %d of 3", at+1)
		}
	}
	if docs, err := divide(nil, maxManagedPolicy); err != nil || len(docs) != 0 {
		t.Errorf("nothing needed: %s, %v", docs, err)
	}
}
