package infra

import (
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
)

// anyResource is every action that a policy of infra/aws allows on the resource "*", with
// the reason, which is held against the service authorization reference (iam-data).
var anyResource = map[string]string{
	"cloudtrail:DescribeTrails": lists, "cloudtrail:ListPublicKeys": lists, "cloudtrail:LookupEvents": lists,
	"config:DescribeConfigRules": lists, "ec2:DescribeFlowLogs": lists, "ec2:DescribeInternetGateways": lists, "ec2:DescribeKeyPairs": lists,
	"ec2:DescribeNetworkAcls": lists, "ec2:DescribeRouteTables": lists, "ec2:DescribeSecurityGroupRules": lists, "events:ListRules": lists,
	"guardduty:ListDetectors": lists, "guardduty:ListFilters": lists,
	"iam:GetAccountAuthorizationDetails": lists, "iam:ListInstanceProfiles": lists, "iam:ListOpenIDConnectProviders": lists, "iam:ListPolicies": lists, "iam:ListRoles": lists, "iam:ListUsers": lists,
	"logs:DescribeLogGroups":             lists,
	"organizations:DescribeOrganization": lists, "organizations:ListAccounts": lists, "organizations:ListDelegatedAdministrators": lists, "organizations:ListPolicies": lists, "organizations:ListRoots": lists,
	"wafv2:ListIPSets": lists,

	"backup-storage:MountCapsule": "knows no resources; it lets a backup vault be made, and nothing else",
	"backup:ListBackupVaults":     lists, "secretsmanager:ListSecrets": lists, "ssm:DescribeParameters": lists, "ssm:ListDocuments": lists,
}

const lists = "knows no resources"

// TestAnyResourceOnlyWhereAWSKnowsNoOther reads every policy there is, and prints which
// allow something on any resource, and why.
func TestAnyResourceOnlyWhereAWSKnowsNoOther(t *testing.T) {
	knows := map[string]string{}
	data, err := os.ReadFile("testdata/iam-data/resources.tsv")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(data)) {
		if action, types, ok := strings.Cut(strings.TrimRight(line, "\n"), "\t"); ok {
			knows[action] = types
		}
	}
	// What the sandbox holds its own permissions against.
	var reference map[string]struct{ Resources []string }
	data, err = os.ReadFile("../sandbox/cloud/testdata/iam-data/actions.json")
	if err == nil {
		err = json.Unmarshal(data, &reference)
	}
	if err != nil {
		t.Fatal(err)
	}
	for action, a := range reference {
		knows[action] = strings.Join(a.Resources, ",")
	}
	seen := map[string]bool{}
	said := []string{}
	for _, p := range documents(t) {
		for i, st := range list(p.doc["Statement"]) {
			where := fmt.Sprintf("%s statement %d", p.where, i+1)
			problems := judge(st.(map[string]any), p.where, knows, func(action string) {
				if !seen[action] {
					said = append(said, fmt.Sprintf("%-40s %s", action, anyResource[action]))
				}
				seen[action] = true
			})
			for _, problem := range problems {
				t.Errorf("%s: %s", where, problem)
			}
		}
	}
	for action := range anyResource {
		if !seen[action] {
			t.Errorf("%s has a reason for any resource, and no policy allows it so", action)
		}
	}
	slices.Sort(said)
	t.Logf("allowed on any resource:\n%s", strings.Join(said, "\n"))

	// What must be found.
	for _, bad := range []map[string]any{
		{"Effect": "Allow", "Action": "s3:*", "Resource": "arn:aws:s3:::b"},
		{"Effect": "Allow", "Action": "*", "Resource": "*"},
		{"Effect": "Allow", "NotAction": "iam:*", "Resource": "*"},
		{"Effect": "Allow", "Action": "s3:GetObject", "Resource": "*"},
		{"Effect": "Allow", "Action": "s3:GetObject", "NotResource": "arn:aws:s3:::b/*"},
		{"Effect": "Allow", "Action": []any{"iam:ListRoles", "kms:Sign"}, "Resource": []any{"*"}},
		{"Effect": "Allow", "Action": "s3:GetObject", "Resource": "arn:aws:s3:::*"},
		{"Effect": "Allow", "Principal": "*", "Action": "sqs:SendMessage", "Resource": "arn:aws:sqs:us-east-1:1:q"},
	} {
		if len(judge(bad, "", knows, func(string) {})) == 0 {
			t.Errorf("%v passes", bad)
		}
	}
}

// judge says what is wrong with a statement.
func judge(st map[string]any, where string, knows map[string]string, any func(action string)) (problems []string) {
	bad := func(format string, args ...interface{}) { problems = append(problems, fmt.Sprintf(format, args...)) }
	if st["Effect"] != "Allow" {
		return nil // what denies may deny everything
	}
	if st["Sid"] == "GrantsNothing" && slices.Contains([]string{"member.yaml InjectorBoundary.PolicyDocument", "policies/injector-boundary.json"}, where) {
		return nil // of a permissions boundary: it is the most that policies may grant, less what it denies
	}
	if st["NotAction"] != nil || st["NotResource"] != nil {
		bad("allows what is not named")
	}
	aKey := strings.Contains(where, "KeyPolicy")
	for _, action := range texts(st["Action"]) {
		if strings.Contains(action, "*") {
			bad("allows %s", action)
		}
		for _, resource := range texts(st["Resource"]) {
			// Topics are named without their kind: those of the account are meant.
			if f := strings.SplitN(resource, ":", 6); len(f) == 6 && strings.Trim(f[5], "*/:") == "" && f[2] != "sns" {
				bad("allows %s on %s", action, resource)
			}
			if resource != "*" || aKey { // in the policy of a key, * is the key
				continue
			}
			any(action)
			switch types, known := knows[action]; {
			case anyResource[action] == "":
				bad("allows %s on any resource, for no reason", action)
			case known && types != "":
				bad("allows %s on any resource, and it knows some: %s", action, types)
			case !known:
				bad("of %s iam-data says nothing", action)
			}
		}
	}
	if st["Principal"] == "*" && st["Condition"] == nil {
		bad("allows everybody")
	}
	return problems
}

func list(v any) []any {
	if l, ok := v.([]any); ok {
		return l
	}
	return []any{v}
}

func texts(v any) (out []string) {
	if v == nil {
		return nil
	}
	for _, x := range list(v) {
		out = append(out, fmt.Sprint(x))
	}
	return out
}
