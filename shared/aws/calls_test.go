package aws

import (
	"reflect"
	"slices"
	"strings"
	"testing"
)

func TestCheckCallNamesOperationAndParameter(t *testing.T) {
	type p = map[string]any
	trust := `{"Statement":[{"Effect":"Deny","Principal":"*","Action":"sts:AssumeRole"}]}`
	for _, tt := range []struct {
		op     string
		params p
		want   string // "" = accepted
	}{
		{"iam:CreateRole", p{"RoleName": "${name}", "AssumeRolePolicyDocument": trust, "MaxSessionDuration": 3600, "Tags": []any{p{"Key": "a", "Value": "${run}"}}}, ""},
		{"iam:CreateRole", p{"RoleName": "x", "AssumeRolePolicyDocument": trust, "MaxSessionDuration": 3600.0}, ""},
		{"iam:CreateRole", p{"rolename": "x", "AssumeRolePolicyDocument": trust}, "iam:CreateRole: unknown parameter rolename"},
		{"iam:CreateRole", p{"RoleName": "x", "AssumeRolePolicyDocument": trust, "Tags": []any{p{"Key": "a", "Value": "b"}, p{"Kay": "a"}}}, "iam:CreateRole: unknown parameter Tags[1].Kay"},
		{"iam:CreateRole", p{"RoleName": 7, "AssumeRolePolicyDocument": trust}, "iam:CreateRole: parameter RoleName: a JSON number does not fit its type string"},
		{"iam:CreateRole", p{"RoleName": "x", "AssumeRolePolicyDocument": trust, "MaxSessionDuration": "${x}"}, "iam:CreateRole: parameter MaxSessionDuration: a JSON string does not fit its type int32"},
		{"iam:CreateRole", p{"RoleName": "x", "AssumeRolePolicyDocument": trust, "MaxSessionDuration": 1.5}, "iam:CreateRole: parameter MaxSessionDuration: a JSON number does not fit its type int32"},
		{"iam:CreateRole", p{"RoleName": "x", "AssumeRolePolicyDocument": trust, "Tags": p{"a": "b"}}, "iam:CreateRole: parameter Tags: a JSON object does not fit its type list"},
		{"iam:CreateRole", nil, "iam:CreateRole: required parameter missing: AssumeRolePolicyDocument, RoleName"},
		{"iam:CreateRole", p{"RoleName": "x", "AssumeRolePolicyDocument": trust, "Tags": []any{p{"Value": "b"}}}, "iam:CreateRole: required parameter missing: Tags[0].Key"},
		{"iam:CreateRole", p{"RoleName": nil, "AssumeRolePolicyDocument": trust}, "iam:CreateRole: required parameter missing: RoleName"},
		{"ec2:AuthorizeSecurityGroupIngress", p{"GroupId": "${fixture.sg}", "TagSpecifications": []any{p{"ResourceType": "security-group-rule"}}}, ""},
		{"ec2:AuthorizeSecurityGroupIngress", p{"TagSpecifications": []any{p{"ResourceType": "security_group_rule"}}}, `ec2:AuthorizeSecurityGroupIngress: parameter TagSpecifications[0].ResourceType: "security_group_rule" is not a value of ResourceType`},
		{"ec2:AuthorizeSecurityGroupIngress", p{"IpPermissions": []any{p{"IpRanges": []any{p{"CidrIP": "192.0.2.1/32"}}}}}, "ec2:AuthorizeSecurityGroupIngress: unknown parameter IpPermissions[0].IpRanges[0].CidrIP"},
		{"ec2:DeleteFlowLogs", p{"FlowLogIds": []any{"fl-0"}, "DryRun": true}, ""},
		{"ec2:DeleteFlowLogs", p{"FlowLogIds": []any{"fl-0"}, "DryRun": "yes"}, "ec2:DeleteFlowLogs: parameter DryRun: a JSON string does not fit its type bool"},
		{"ec2:DeleteVpc", p{}, `operation "ec2:DeleteVpc" is not on the allow-list (` + strings.Join(Operations(), ", ") + ")"},
		{"IAM:CreateRole", p{}, `operation "IAM:CreateRole" is not on the allow-list (` + strings.Join(Operations(), ", ") + ")"},
		{"kms:DisableKey", p{"KeyId": func() {}}, "kms:DisableKey: parameters cannot be encoded: "},
	} {
		err := CheckCall(tt.op, tt.params)
		switch {
		case tt.want == "" && err != nil:
			t.Errorf("%s %v: %v", tt.op, tt.params, err)
		case tt.want != "" && (err == nil || !strings.HasPrefix(err.Error(), tt.want) || !strings.HasSuffix(tt.want, " ") && err.Error() != tt.want):
			t.Errorf("%s %v:\ngot  %v\nwant %s", tt.op, tt.params, err, tt.want)
		}
	}
}

func TestCheckCallKeepsEveryParameter(t *testing.T) {
	in, err := operations()["ec2:AuthorizeSecurityGroupIngress"].call.decode(map[string]any{
		"GroupId": "sg-1", "DryRun": false, "FromPort": 1.0,
		"IpPermissions": []any{map[string]any{"FromPort": 1, "IpRanges": []any{map[string]any{"CidrIp": "192.0.2.1/32"}}}},
	})
	if err != nil {
		t.Fatal(err)
	}
	v := reflect.ValueOf(in).Elem()
	if got := v.FieldByName("FromPort").Elem().Int(); got != 1 {
		t.Errorf("FromPort %d", got)
	}
	if got := v.FieldByName("IpPermissions").Index(0).FieldByName("IpRanges").Index(0).FieldByName("CidrIp").Elem().String(); got != "192.0.2.1/32" {
		t.Errorf("CidrIp %q", got)
	}
}

func TestTheListIsWhole(t *testing.T) {
	if ops := Operations(); !slices.IsSorted(ops) || len(ops) != len(operations()) {
		t.Errorf("Operations: %v", ops)
	}
	for name, op := range operations() {
		if op.call.send == nil || len(op.guards) == 0 || len(op.grants) == 0 || len(op.subject) == 0 {
			t.Errorf("%s lacks a call, guard, grant or subject", name)
		}
		undo, ok := operations()[op.undo]
		if op.undo != "" && (!ok || !undo.restores) {
			t.Errorf("%s is undone by %s, which is not on the list as restoring", name, op.undo)
		}
		for _, form := range op.subject {
			param, named, other := strings.Cut(form, "=")
			if !other {
				named = param
			}
			if param != "" && !hasParam(op, param) {
				t.Errorf("%s has no parameter %s", name, param)
			}
			if op.undo != "" && (!hasParam(undo, named) || !slices.Contains(undo.subject, named)) {
				t.Errorf("%s names %v, its undo %v", name, op.subject, undo.subject)
			}
		}
		service, _, _ := strings.Cut(name, ":")
		for _, g := range op.grants {
			// Behind a name, a wildcard stands for parts of what is named.
			named := strings.HasSuffix(g.resource, "}:*") || strings.HasSuffix(g.resource, "}/*")
			if strings.HasSuffix(g.resource, "*") && !named && len(g.when) == 0 {
				t.Errorf("%s is granted on %s without a condition", name, g.resource)
			}
			for _, a := range g.actions {
				passes := a == "iam:PassRole" && g.when["iam:PassedToService"] != ""
				// What a service does elsewhere in the caller's name.
				borrowed := strings.HasPrefix(a, "kms:") && g.when["kms:ViaService"] != "" || strings.HasPrefix(a, service+"-storage:")
				if !passes && !borrowed && !strings.HasPrefix(a, service+":") || strings.Contains(a, "*") {
					t.Errorf("%s is granted %s", name, a)
				}
			}
		}
	}
}

// hasParam looks for a parameter by its path of names.
func hasParam(op operation, path string) bool {
	in, _ := op.call.decode(nil)
	t := reflect.TypeOf(in)
	for _, name := range strings.Split(path, ".") {
		for t.Kind() == reflect.Pointer {
			t = t.Elem()
		}
		if t.Kind() != reflect.Struct {
			return false
		}
		f, ok := t.FieldByName(name)
		if !ok {
			return false
		}
		t = f.Type
	}
	return true
}
