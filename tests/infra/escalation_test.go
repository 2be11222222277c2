package infra

import (
	"encoding/json"
	"path/filepath"
	"strings"
	"testing"

	"github.com/auditcanary/auditcanary/tests/cfn"
	"github.com/auditcanary/auditcanary/tests/sandbox/cloud/policy"
)

// injectorLayers are the injector's policies and boundary as member.yaml deploys them.
func injectorLayers(t *testing.T, account string) policy.Layers {
	t.Helper()
	template, err := cfn.Load(filepath.Join(dir, "member.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	v := values("us-east-1")
	v["AWS::Partition"], v["HomeRegion"], v["AWS::AccountId"] = "aws", "us-east-1", account
	v["BreakGlassRole"] = "emergency"
	made, err := template.Resolve(v)
	if err != nil {
		t.Fatal(err)
	}
	var l policy.Layers
	for name, r := range made {
		if r.Type != "AWS::IAM::ManagedPolicy" || !strings.HasPrefix(name, "Injector") {
			continue
		}
		text, err := json.Marshal(r.Properties["PolicyDocument"])
		if err != nil {
			t.Fatal(err)
		}
		doc, err := policy.Parse(text, policy.ForIdentity)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if named := (policy.Named{Doc: doc}); name == "InjectorBoundary" {
			l.Boundary = append(l.Boundary, named)
		} else {
			l.Identity = append(l.Identity, named)
		}
	}
	if len(l.Boundary) != 1 || len(l.Identity) < 2 {
		t.Fatalf("%d boundaries and %d policies", len(l.Boundary), len(l.Identity))
	}
	return l
}

// TestTheInjectorCannotTouchItsOwnDeployment: whatever tags it asks for and whatever tags
// are there, it writes to no role, policy or rule of ours; to what canaries make it does.
// Boundary and policies each keep it from that alone.
func TestTheInjectorCannotTouchItsOwnDeployment(t *testing.T) {
	const account = "111122223333"
	iam, rule := "arn:aws:iam::"+account+":", "arn:aws:events:eu-west-1:"+account+":rule/"
	const made = "auditcanary-20261126-abc234-07"
	type kind struct {
		actions   []string
		ours      []string
		canarys   string
		condition policy.Context
	}
	tags := policy.Context{"aws:requesttag/auditcanary:run": {"20261126-abc234"}, "aws:resourcetag/auditcanary:run": {"20261126-abc234"}, "aws:resourcetag/auditcanary": {"fixture"}, "aws:tagkeys": {"auditcanary:run"}}
	denyAll := policy.Context{"iam:permissionsboundary": {"arn:aws:iam::aws:policy/AWSDenyAll"}}
	all := injectorLayers(t, account)
	everything := []policy.Named{{Doc: policy.MustParse(`{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"*","Resource":"*"}]}`, policy.ForIdentity)}}
	for _, k := range []kind{
		{[]string{"iam:TagPolicy", "iam:CreatePolicy", "iam:CreatePolicyVersion", "iam:DeletePolicyVersion", "iam:DeletePolicy"},
			[]string{"auditcanary-injector-boundary", "auditcanary-injector-1", "auditcanary-injector-4", "auditcanary-inspector", "auditcanary-inspector-organization", "auditcanary-reader", "auditcanary-anything"}, iam + "policy/auditcanary/", nil},
		{[]string{"iam:TagRole", "iam:CreateRole", "iam:DeleteRole", "iam:PutRolePolicy", "iam:DeleteRolePolicy", "iam:UpdateAssumeRolePolicy"},
			[]string{"auditcanary-injector", "auditcanary-inspector", "auditcanary-reader", "auditcanary-evidence", "auditcanary-forward-eu-west-1", "auditcanary-prod-inject"}, iam + "role/auditcanary/", denyAll},
		{[]string{"iam:TagUser", "iam:CreateUser", "iam:DeleteUser", "iam:CreateAccessKey"}, []string{"auditcanary-operator"}, iam + "user/auditcanary/", denyAll},
		{[]string{"events:PutRule", "events:DeleteRule", "events:TagResource"}, []string{"auditcanary-forward", "auditcanary-security/logging-tampered"}, rule, nil},
	} {
		context := policy.Context{}
		for _, some := range []policy.Context{tags, k.condition} {
			for key, v := range some {
				context[key] = v
			}
		}
		for _, action := range k.actions {
			decide := func(name string, l policy.Layers) policy.Decision {
				return policy.Decide(policy.Request{Action: action, Resource: k.canarys + name, PrincipalARN: iam + "role/auditcanary/auditcanary-injector", Account: account, ResourceAccount: account, Context: context}, l)
			}
			for _, name := range k.ours {
				for layer, l := range map[string]policy.Layers{
					"the policies and the boundary": all, "the policies": {Identity: all.Identity}, "the boundary": {Identity: everything, Boundary: all.Boundary},
				} {
					if decide(name, l).Allowed {
						t.Errorf("%s allow %s on %s%s", layer, action, k.canarys, name)
					}
				}
			}
			if got := decide(made, all); !got.Allowed {
				t.Errorf("%s on %s%s is denied %s", action, k.canarys, made, got.Reason)
			}
		}
	}
	request := policy.Request{Action: "sts:AssumeRole", Resource: iam + "role/emergency", PrincipalARN: iam + "role/auditcanary/auditcanary-injector", Account: account, ResourceAccount: account}
	if got := policy.Decide(request, all); !got.Allowed {
		t.Errorf("the real break-glass role cannot be tried: denied %s", got.Reason)
	}
}

// TestOnlyWhatActsBecomesTheInjector: and under a canary's name, or the sweep's.
func TestOnlyWhatActsBecomesTheInjector(t *testing.T) {
	template, err := cfn.Load(filepath.Join(dir, "member.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	v := values("us-east-1")
	v["AWS::Partition"], v["HomeRegion"], v["Stage"] = "aws", "us-east-1", "prod"
	made, err := template.Resolve(v)
	if err != nil {
		t.Fatal(err)
	}
	text, err := json.Marshal(made["InjectorRole"].Properties["AssumeRolePolicyDocument"])
	if err != nil {
		t.Fatal(err)
	}
	trust, err := policy.Parse(text, policy.ForTrust)
	if err != nil {
		t.Fatal(err)
	}
	full := []policy.Named{{Doc: policy.MustParse(`{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"*","Resource":"*"}]}`, policy.ForIdentity)}}
	for _, tc := range []struct {
		function, session string
		want              bool
	}{
		{"confirm", "auditcanary-read", false}, {"confirm", "auditcanary-20261126-abc234-07", false}, {"inject", "mallory", false},
		{"inject", "auditcanary-20261126-abc234-07", true}, {"sweep", "auditcanary-sweep", true}, {"report", "auditcanary-read", false},
	} {
		role := "arn:aws:iam::222222222222:role/auditcanary/auditcanary-prod-" + tc.function
		got := policy.Decide(policy.Request{Action: "sts:AssumeRole", Resource: "arn:aws:iam::111122223333:role/auditcanary/auditcanary-injector", PrincipalARN: role, RoleARN: role,
			Account: "222222222222", ResourceAccount: "111122223333",
			Context: policy.Context{"aws:principalarn": {role}, "sts:externalid": {v["ExternalId"]}, "sts:sourceidentity": {"auditcanary"}, "sts:rolesessionname": {tc.session}}},
			policy.Layers{Identity: full, Resource: []policy.Named{{Doc: trust}}, ResourceMustAllow: true})
		if got.Allowed != tc.want {
			t.Errorf("%s as %s: %t %s", tc.function, tc.session, got.Allowed, got.Reason)
		}
	}
}
