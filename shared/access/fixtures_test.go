package access

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write the golden files anew")

func golden(t *testing.T, file string, got []byte) {
	t.Helper()
	if *update {
		if err := os.WriteFile(file, got, 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("%s is not what it was (see the difference with -update):\n%s", file, got)
	}
}

// iamspy reads one of its files of account details.
func iamspy(t *testing.T, w *World, file string) {
	t.Helper()
	type inline []struct {
		PolicyName     string
		PolicyDocument json.RawMessage
	}
	type attached []struct{ PolicyArn string }
	type boundary struct{ PermissionsBoundaryArn string }
	var in struct {
		UserDetailList []struct {
			Arn, UserId             string
			UserPolicyList          inline
			AttachedManagedPolicies attached
			PermissionsBoundary     boundary
		}
		RoleDetailList []struct {
			Arn, RoleId              string
			RolePolicyList           inline
			AttachedManagedPolicies  attached
			PermissionsBoundary      boundary
			AssumeRolePolicyDocument json.RawMessage
		}
		Policies []struct {
			Arn               string
			PolicyVersionList []struct {
				Document         json.RawMessage
				IsDefaultVersion bool
			}
		}
	}
	read(t, file, &in)
	managed := map[string]Policy{}
	for _, p := range in.Policies {
		for _, v := range p.PolicyVersionList {
			if v.IsDefaultVersion {
				managed[p.Arn] = NewPolicy("managed policy", p.Arn, v.Document)
			}
		}
	}
	add := func(p *Principal, own inline, att attached, b boundary) {
		for _, o := range own {
			p.Policies = append(p.Policies, NewPolicy("inline policy", o.PolicyName, o.PolicyDocument))
		}
		for _, a := range att {
			p.Policies = append(p.Policies, managed[a.PolicyArn])
		}
		if b.PermissionsBoundaryArn != "" {
			m := managed[b.PermissionsBoundaryArn]
			p.Boundary = &m
		}
		p.Account = accountOf(p.ARN)
		a := w.Accounts[p.Account]
		if a == nil {
			a = &Account{ID: p.Account}
			w.Accounts[p.Account] = a
		}
		a.Principals = append(a.Principals, p)
	}
	for _, u := range in.UserDetailList {
		add(&Principal{Kind: User, ARN: u.Arn, ID: u.UserId}, u.UserPolicyList, u.AttachedManagedPolicies, u.PermissionsBoundary)
	}
	for _, r := range in.RoleDetailList {
		trust := NewPolicy("trust policy", r.Arn, r.AssumeRolePolicyDocument)
		add(&Principal{Kind: Role, ARN: r.Arn, ID: r.RoleId, Trust: &trust}, r.RolePolicyList, r.AttachedManagedPolicies, r.PermissionsBoundary)
	}
}

func read(t *testing.T, file string, v any) {
	t.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(data, v); err != nil {
		t.Fatalf("%s: %v", file, err)
	}
}

// The cases of IAMSpy's own tests (test_integration.py), with what they expect:
// True, False; and where a condition of the request decides, True when conditions
// are taken for met and False when they are not.
func TestIAMSpysCasesComeOutAsItsAuthorsExpect(t *testing.T) {
	const (
		here   = "arn:aws:lambda:eu-west-1:123456789012:function:helloworld"
		there  = "arn:aws:lambda:eu-west-1:111111111111:function:helloworld"
		role   = "arn:aws:iam::123456789012:role/name"
		invoke = "lambda:InvokeFunction"
		list   = "s3:ListBucket"
	)
	for _, tc := range []struct {
		gaad, resources, scps string
		who, action, on       string
		want                  Outcome
	}{
		{"role-boundary-no-policies", "", "", role, invoke, here, Denied},
		{"user-allow-check", "", "", "arn:aws:iam::123456789012:user/PermissionBoundaryAllow", invoke, here, Allowed},
		{"user-boundary-allow", "", "", "arn:aws:iam::123456789012:user/PermissionBoundaryAllow", invoke, here, Allowed},
		{"user-boundary-deny", "", "", "arn:aws:iam::391638756970:user/PermissionBoundaryBlock", invoke, "arn:aws:lambda:eu-west-1:391638756970:function:helloworld", Denied}, // theirs asks for a user that is not in the file
		{"role-boundary-allow", "", "", role, invoke, here, Allowed},
		{"role-boundary-deny", "", "", role, invoke, here, Denied},
		{"basic-deny", "", "", role, invoke, here, Denied},
		{"basic-allow", "", "", role, invoke, here, Allowed},
		{"basic-allow", "", "", role, invoke, there, Denied},
		{"basic-allow", "cross-account-rp", "", role, invoke, there, Allowed},
		{"allow-with-conditions", "", "", role, invoke, here, Possible},
		{"allow-testing-s3", "resource-s3-allow-testing", "", "arn:aws:iam::111111111111:role/testing", list, "arn:aws:s3:::bucket", Allowed},
		{"allow-testing-s3", "resource-s3-allow-testing", "", "arn:aws:iam::111111111111:role/testing2", list, "arn:aws:s3:::bucket", Allowed},
		{"allow-testing-s3", "resource-s3-deny-testing2", "", "arn:aws:iam::111111111111:role/testing", list, "arn:aws:s3:::bucket", Denied},
		{"allow-testing-s3", "resource-s3-deny-testing2", "", "arn:aws:iam::111111111111:role/testing2", list, "arn:aws:s3:::bucket", Denied},
		// Its files of organisations and of batches, whose names and policies say what is to come out.
		{"allow-testing-s3", "resource-s3-allow-all", "", "arn:aws:iam::111111111111:role/testing", list, "arn:aws:s3:::bucket", Allowed},
		{"basic-allow", "", "scp-basic", role, invoke, here, Allowed},
		{"basic-allow", "", "scp-deny-lambda", role, invoke, here, Denied},
		{"basic-allow", "", "scp-deny-lambda2", role, invoke, here, Denied},
		{"batch-allow", "batch-resource", "", "arn:aws:iam::123456789012:role/name1", "s3:GetObject", "arn:aws:s3:::bucket1/x", Allowed},
		{"batch-allow", "batch-resource", "", "arn:aws:iam::123456789012:role/name1", "s3:GetObject", "arn:aws:s3:::bucket3/x", Denied},
		{"batch-allow", "batch-resource", "", "arn:aws:iam::123456789012:role/name2", "s3:GetObject", "arn:aws:s3:::bucket2/x", Allowed},
		{"batch-allow", "batch-resource", "", "arn:aws:iam::123456789012:role/name2", "s3:GetObject", "arn:aws:s3:::bucket3/x", Denied},
		{"batch-allow", "batch-resource", "", "arn:aws:iam::123456789012:role/name3", "s3:GetObject", "arn:aws:s3:::bucket4/x", Allowed},
	} {
		file := func(name string) string { return filepath.Join("testdata", "iamspy", name+".json") }
		w := &World{Accounts: map[string]*Account{}}
		iamspy(t, w, file(tc.gaad))
		at := &Resource{Kind: "function", ARN: tc.on, Account: accountOf(tc.on)}
		if tc.resources != "" {
			var in []struct {
				Resource, Account string
				Policy            json.RawMessage
			}
			read(t, file(tc.resources), &in)
			for _, r := range in {
				if tc.on == r.Resource || strings.HasPrefix(tc.on, r.Resource+"/") {
					at.Account, at.Policies = r.Account, []Policy{NewPolicy("resource policy", r.Resource, r.Policy)}
				}
			}
		}
		if at.Account == "" {
			at.Account = accountOf(tc.who)
		}
		if tc.scps != "" {
			type unit struct {
				Id, Type string
				Policies []struct {
					Name    string
					Content json.RawMessage
				}
				Children []json.RawMessage
			}
			var walk func(raw json.RawMessage, above []Level)
			walk = func(raw json.RawMessage, above []Level) {
				var u unit
				if err := json.Unmarshal(raw, &u); err != nil {
					t.Fatal(err)
				}
				l := Level{Name: u.Id, NoRCPs: true}
				for _, p := range u.Policies {
					l.SCPs = append(l.SCPs, NewPolicy(SCPKind, p.Name, p.Content))
				}
				levels := append(slices.Clone(above), l)
				if a := w.Accounts[u.Id]; a != nil {
					a.Levels = levels
				}
				for _, c := range u.Children {
					walk(c, levels)
				}
			}
			var raw json.RawMessage
			read(t, file(tc.scps), &raw)
			walk(raw, nil)
		}
		p := w.principal(tc.who)
		if p == nil {
			t.Fatalf("%s: no principal %s", tc.gaad, tc.who)
		}
		if d := w.Decide(p, tc.action, at); d.Outcome != tc.want {
			t.Errorf("%s with %q and %q: %s %s on %s: %s (%s%s), want %s", tc.gaad, tc.resources, tc.scps, tc.who, tc.action, tc.on, d.Outcome, d.Reason, d.Path(), tc.want)
		}
	}
}

// Which tamper actions the managed policies of AWS give, each alone, in an account
// that has all the resources. The golden file was read through.
func TestWhatManagedPoliciesGive(t *testing.T) {
	files, err := filepath.Glob("testdata/managed/*.json")
	if err != nil || len(files) < 70 {
		t.Fatalf("%d files, %v", len(files), err)
	}
	tampers, err := Tampers()
	if err != nil {
		t.Fatal(err)
	}
	arns := map[string]string{
		"object": "arn:aws:s3:::logs/AWSLogs/1", "bucket": "arn:aws:s3:::logs", "trail": "arn:aws:cloudtrail:us-east-1:111122223333:trail/t", "key": "arn:aws:kms:us-east-1:111122223333:key/k",
		"log-group": "arn:aws:logs:us-east-1:111122223333:log-group:g", "rule": "arn:aws:events:us-east-1:111122223333:rule/r", "topic": "arn:aws:sns:us-east-1:111122223333:t",
		"alarm": "arn:aws:cloudwatch:us-east-1:111122223333:alarm:a", "detector": "arn:aws:guardduty:us-east-1:111122223333:detector/d",
		"organization": "arn:aws:organizations::111122223333:organization/o-ours",
	}
	var out bytes.Buffer
	for _, file := range files {
		raw, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		name := strings.TrimSuffix(filepath.Base(file), ".json")
		p := NewPolicy("managed policy", name, raw)
		if p.Unread != "" || len(p.Doc.Odd) > 0 {
			t.Errorf("%s: %s %q", name, p.Unread, p.Doc.Odd)
		}
		for _, s := range p.Doc.Statements {
			if len(s.Odd) > 0 {
				t.Errorf("%s: %q", name, s.Odd)
			}
			for _, c := range s.Conditions {
				if !c.known {
					t.Errorf("%s: operator %s is not known", name, c.Operator)
				}
			}
		}
		who := &Principal{Kind: Role, ARN: ops, Account: home, Policies: []Policy{p}}
		w := &World{Organization: "o-ours", Accounts: map[string]*Account{home: {ID: home, Principals: []*Principal{who}}}}
		for _, tamper := range tampers {
			if tamper.Group == act {
				continue
			}
			if arns[tamper.On] == "" {
				t.Fatalf("%s is on a %q: this test has none", tamper.Action, tamper.On)
			}
			at := &Resource{Kind: tamper.On, ARN: arns[tamper.On], Account: home, Region: "us-east-1"}
			if tamper.On == "log-group" {
				at.Forms = LogGroupForms(at.ARN)
			}
			if d := w.Decide(who, tamper.Action, at); d.Outcome > Denied {
				fmt.Fprintf(&out, "%s\t%s\t%s\t%s\n", name, tamper.Action, d.Outcome, d.Path())
			}
		}
	}
	golden(t, "testdata/managed.golden", out.Bytes())
}

func TestTheActionsAreThoseOfTheServices(t *testing.T) {
	data, err := os.ReadFile("testdata/iam-data/actions.tsv")
	if err != nil {
		t.Fatal(err)
	}
	types := map[string][]string{}
	for line := range strings.Lines(string(data)) {
		action, on, _ := strings.Cut(strings.TrimSpace(line), "\t")
		types[action] = strings.Split(on, ",")
	}
	tampers, err := Tampers()
	if err != nil {
		t.Fatal(err)
	}
	groups := map[string]int{}
	for _, tamper := range tampers {
		groups[tamper.Group]++
		if strings.HasPrefix(tamper.Action, "cloudwatch:") || strings.HasPrefix(tamper.Action, "organizations:") {
			continue // not among those files
		}
		on, there := types[tamper.Action]
		if !there {
			t.Errorf("%s: there is no such action", tamper.Action)
			continue
		}
		if slices.Equal(on, []string{""}) {
			continue // the service checks no resource
		}
		// A log group is also meant by its streams and filters; an account is no resource type.
		want := map[string][]string{"log-group": {"log-group", "log-stream"}, "rule": {"rule-on-default-event-bus"}, "account": on, "organization": on, "detector": {"detector", "filter", "ipset"}}[tamper.On]
		if want == nil {
			want = []string{tamper.On}
		}
		if !slices.ContainsFunc(want, func(w string) bool { return slices.Contains(on, w) }) {
			t.Errorf("%s acts on %v, not on a %s", tamper.Action, on, tamper.On)
		}
	}
	for _, g := range append(Groups(), act) {
		if groups[g] == 0 {
			t.Errorf("no action of the group %s", g)
		}
	}
}

// policy_sentry lists the actions by which a resource is exposed to others; those
// on our resources must be among ours.
func TestPolicySentrysExposingActionsAreAmongOurs(t *testing.T) {
	tampers, err := Tampers()
	if err != nil {
		t.Fatal(err)
	}
	// Exposes nothing of an archive, or is not of a kind we ask about.
	elsewhere := []string{
		"s3:deleteaccesspointpolicy", "s3:putaccesspointpolicy", "s3:putaccountpublicaccessblock", "s3:putobjectacl", "s3:putobjectversionacl", "s3:objectowneroverridetobucketowner",
		"sns:createtopic", "logs:putresourcepolicy", "logs:deleteresourcepolicy", "logs:putdestinationpolicy", "kms:retiregrant", "kms:createkey",
	}
	for _, file := range []string{"resource-exposure.txt", "resource-policies.txt"} {
		data, err := os.ReadFile(filepath.Join("testdata", "policy_sentry", file))
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(string(data)) {
			action := strings.TrimSpace(line)
			service, _, _ := strings.Cut(action, ":")
			if !slices.Contains([]string{"s3", "kms", "sns", "logs", "cloudtrail"}, service) || slices.Contains(elsewhere, action) {
				continue
			}
			if !slices.ContainsFunc(tampers, func(t Tamper) bool { return strings.EqualFold(t.Action, action) }) {
				t.Errorf("%s: %s is not in tamper.tsv", file, action)
			}
		}
	}
}

// Ways by which a record is silenced without touching it.
func TestTheRoundaboutWaysAreAskedFor(t *testing.T) {
	tampers, err := Tampers()
	if err != nil {
		t.Fatal(err)
	}
	for action, on := range map[string]string{
		"logs:PutLogGroupDeletionProtection": "log-group", "logs:PutSubscriptionFilter": "log-group", "logs:AssociateKmsKey": "log-group",
		"cloudwatch:PutAlarmMuteRule": "alarm", "guardduty:ArchiveFindings": "detector", "guardduty:CreateIPSet": "detector", "guardduty:UpdateIPSet": "detector",
		"kms:RevokeGrant": "key", "s3:PutBucketNotification": "bucket",
		"organizations:DisableAWSServiceAccess": "organization", "cloudtrail:DeregisterOrganizationDelegatedAdmin": "organization",
	} {
		if !slices.ContainsFunc(tampers, func(t Tamper) bool { return t.Action == action && t.On == on && t.Group != act && t.Group != "read" }) {
			t.Errorf("%s on a %s is not", action, on)
		}
	}
	for _, left := range []string{"iam:PassRole", "replica", "evidence", "ledger", "events:PutPermission"} {
		if !strings.Contains(strings.Join(limits, "\n"), left) {
			t.Errorf("%s is neither asked for nor named as left out", left)
		}
	}
}
