package infra

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/auditcanary/auditcanary/tests/cfn"
	"github.com/auditcanary/auditcanary/tests/sandbox/cloud/policy"
)

// TestNobodyCanMakeThemselvesExempt: whoever a service control policy leaves out cannot be
// made, trusted or given rights by anybody but CloudFormation's own service.
func TestNobodyCanMakeThemselvesExempt(t *testing.T) {
	files, err := filepath.Glob(filepath.Join(dir, "scp", "*.json"))
	if err != nil || len(files) < 4 {
		t.Fatal(files, err)
	}
	const archive, security, member = "333333333333", "222222222222", "111122223333"
	full := policy.Named{Doc: policy.MustParse(`{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"*","Resource":"*"}]}`, policy.ForIdentity)}
	level := []policy.Named{full}
	var exempt []string
	for _, f := range files {
		text, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		filled := strings.NewReplacer("ARCHIVE_ACCOUNT", archive, "SECURITY_ACCOUNT", security).Replace(string(text))
		doc, err := policy.Parse([]byte(filled), policy.ForIdentity)
		if err != nil {
			t.Fatalf("%s: %v", f, err)
		}
		level = append(level, policy.Named{Doc: doc})
		var raw struct {
			Statement []struct {
				Condition map[string]map[string]any
			}
		}
		if err := json.Unmarshal([]byte(filled), &raw); err != nil {
			t.Fatal(err)
		}
		for _, st := range raw.Statement {
			exempt = append(exempt, texts(st.Condition["ArnNotLike"]["aws:PrincipalArn"])...)
		}
	}
	slices.Sort(exempt)
	exempt = slices.DeleteFunc(slices.Compact(exempt), func(arn string) bool { return strings.Contains(arn, ":role/aws-service-role/") }) // nobody can make one
	decide := func(action, resource, who string) bool {
		account := strings.Split(resource, ":")[4]
		return policy.Decide(policy.Request{Action: action, Resource: resource, PrincipalARN: who, Account: account, ResourceAccount: account,
			Context: policy.Context{"aws:principalarn": {who}}}, policy.Layers{SCPs: [][]policy.Named{level}, Identity: []policy.Named{full}}).Allowed
	}
	for _, arn := range exempt {
		role := strings.NewReplacer("iam::*:", "iam::"+member+":", "exec-*", "exec-0123").Replace(arn)
		if strings.Contains(role, "*") {
			t.Errorf("%s is exempt: name its account", arn)
		}
		account := strings.Split(role, ":")[4]
		for _, action := range []string{"iam:CreateRole", "iam:UpdateAssumeRolePolicy", "iam:AttachRolePolicy", "iam:PutRolePolicy", "iam:PassRole", "iam:PutRolePermissionsBoundary"} {
			if decide(action, role, "arn:aws:iam::"+account+":role/Admin") {
				t.Errorf("an administrator may %s %s, which is exempt", action, role)
			}
			if !decide(action, role, "arn:aws:iam::"+account+":role/aws-service-role/member.org.stacksets.cloudformation.amazonaws.com/AWSServiceRoleForCloudFormationStackSetsOrgMember") {
				t.Errorf("StackSets may not %s %s", action, role)
			}
		}
	}
	if len(exempt) != 4 {
		t.Errorf("exempt are %q", exempt)
	}
	for _, name := range []string{"injector-boundary", "injector-1", "inspector", "reader", "evidence"} {
		arn := "arn:aws:iam::" + member + ":policy/auditcanary/auditcanary-" + name
		if decide("iam:CreatePolicyVersion", arn, "arn:aws:iam::"+member+":role/Admin") || !decide("iam:CreatePolicyVersion", arn, "arn:aws:iam::"+member+":role/stacksets-exec-0123") {
			t.Errorf("%s can be changed by an administrator, or not by StackSets", arn)
		}
	}
	if !decide("iam:CreateRole", "arn:aws:iam::"+member+":role/another", "arn:aws:iam::"+member+":role/Admin") {
		t.Error("no role can be made")
	}
}

// TestAlertsCannotBeMadeUp: only what AWS itself says rings, and only the forwarding rules
// say anything to the bus.
func TestAlertsCannotBeMadeUp(t *testing.T) {
	template, err := cfn.Load(filepath.Join(dir, "alerts.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	rules := 0
	for name, r := range resolved(t, template) {
		switch r.Type {
		case "AWS::Events::Rule":
			rules++
			// PutEvents refuses sources that begin so from anybody but AWS.
			source, _ := json.Marshal(r.Properties["EventPattern"].(map[string]any)["source"])
			if string(source) != `[{"prefix":"aws."}]` {
				t.Errorf("%s rings for events of source %s", name, source)
			}
		case "AWS::Events::EventBusPolicy":
			condition, _ := json.Marshal(r.Properties["Statement"].(map[string]any)["Condition"])
			for _, want := range []string{`"aws:PrincipalOrgID":"o-exampleorg1"`, `"ArnLike":{"aws:PrincipalArn":"arn:aws-us-gov:iam::*:role/auditcanary/auditcanary-forward-*"}`} {
				if !strings.Contains(string(condition), want) {
					t.Errorf("%s: the bus takes events if %s", name, condition)
				}
			}
		}
	}
	if rules < 11 {
		t.Errorf("%d rules", rules)
	}
}
