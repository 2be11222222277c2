package coverage

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/auditcanary/auditcanary/scenarios"
)

func TestTheUniverseIsSound(t *testing.T) {
	ops, err := Operations()
	if err != nil {
		t.Fatal(err)
	}
	if len(ops) < 700 {
		t.Errorf("%d operations: some were lost", len(ops))
	}
	categories := map[string]bool{}
	for _, c := range scenarios.Categories() {
		categories[c.ID] = true
	}
	byID := map[string]Operation{}
	for _, op := range ops {
		byID[op.ID] = op
		if !categories[op.Category] {
			t.Errorf("%s: category %q is none of the catalogue's", op.ID, op.Category)
		}
		if slices.Equal(op.Events, []string{strings.SplitN(op.ID, ":", 2)[1]}) {
			t.Errorf("%s: its only event name is its own", op.ID)
		}
	}
	for id, want := range map[string]Operation{
		"cloudtrail:StopLogging":      {Category: "logging-disabled", RuleSets: 12},
		"iam:CreateRole":              {Category: "permissions", RuleSets: 7, Global: true},
		"sts:AssumeRole":              {Category: "break-glass", RuleSets: 5},
		"kms:DisableKey":              {Category: "encryption-keys", RuleSets: 4},
		"s3:PutPublicAccessBlock":     {Category: "storage-permissions", RuleSets: 4, Events: []string{"PutBucketPublicAccessBlock"}},
		"eks:CreateAccessEntry":       {Category: "kubernetes", RuleSets: 3},
		"organizations:CreatePolicy":  {Category: "permissions", RuleSets: 5, Global: true},
		"ec2:CreateNetworkAcl":        {Category: "network-rules", RuleSets: 3},
		"guardduty:CreateFilter":      {Category: "security-tooling", RuleSets: 1},
		"lambda:UpdateFunctionCode":   {Category: "control-plane-api", RuleSets: 9, Events: []string{"UpdateFunctionCode", "UpdateFunctionCode20150331v2"}},
		"ssm:SendCommand":             {Category: "os-hosts", RuleSets: 5},
		"secretsmanager:CreateSecret": {Category: "privileged-access-tooling", RuleSets: 2},
	} {
		got, ok := byID[id]
		if !ok || got.Category != want.Category || got.RuleSets != want.RuleSets || got.Global != want.Global || !slices.Equal(got.Events, want.Events) {
			t.Errorf("%s is %+v, want %+v", id, got, want)
		}
	}
	if _, ok := byID["chime:CreateUser"]; ok {
		t.Error("iam's CreateUser is counted for another service too")
	}
}

func TestWhatIsNotProvableHasItsReason(t *testing.T) {
	list, err := NotProvable()
	if err != nil || len(list) == 0 {
		t.Fatal(len(list), err)
	}
	if !slices.ContainsFunc(list, func(u Unprovable) bool { return u.ID == "signin:ConsoleLogin" }) {
		t.Error("console sign-in carries no request id, and is not listed")
	}
}

// What the catalogue does is by itself no part of the universe; that most of it
// is shows that the names of both agree.
func TestTheCatalogueAndTheUniverseSpeakOfTheSameOperations(t *testing.T) {
	all, err := scenarios.Load(scenarios.Options{Check: scenarios.CheckerFunc(func(string, map[string]any) error { return nil })})
	if err != nil {
		t.Skip(err) // the catalogue's own tests say so
	}
	ops, err := Operations()
	if err != nil {
		t.Fatal(err)
	}
	r := Measure(Input{Operations: ops, Scenarios: all})
	calls := map[string]bool{}
	for _, s := range all {
		for _, step := range s.Steps {
			calls[step.Call] = true
		}
	}
	if 2*len(r.Beyond) > len(calls) {
		t.Errorf("%d of %d operations of the catalogue are beyond the universe: %v", len(r.Beyond), len(calls), r.Beyond)
	}
}

const head = "operation\tcategory\trule_sets\tnamed_by\taccess\tsource\trecorded\tevents\n"

func TestABadUniverseIsRefusedWithItsLines(t *testing.T) {
	good := "iam:CreateRole\tpermissions\t2\tcis_a,cis_b,elastic\twrite\tcloud-management-events\taccount\t-\n"
	if _, err := readOperations("u.tsv", []byte("# comment\n"+head+good)); err != nil {
		t.Fatal(err)
	}
	change := func(old, new string) string {
		if !strings.Contains(good, old) {
			t.Fatalf("%q is not in the line", old)
		}
		return head + strings.Replace(good, old, new, 1)
	}
	for _, tc := range []struct{ name, data, want string }{
		{"nothing", "", "u.tsv:1: the first line must name the columns"},
		{"only a comment", "# nothing\n", "u.tsv: no line names the columns"},
		{"no header", good, "u.tsv:1: the first line must name the columns"},
		{"too few fields", change("\t-", ""), "u.tsv:2: 7 fields, want 8"},
		{"too many fields", change("\t-", "\t-\t-"), "u.tsv:2: 9 fields, want 8"},
		{"an empty field", change("permissions", ""), "u.tsv:2: category is empty"},
		{"no service", change("iam:", ""), `u.tsv:2: "CreateRole" is not of the form service:Operation`},
		{"an operation in lower case", change("Create", "create"), "u.tsv:2: \"iam:createRole\" is not of the form"},
		{"a count that is not the names'", change("\t2\t", "\t3\t"), `u.tsv:2: iam:CreateRole: rule_sets is "3", and 2 independent ones are named`},
		{"a count that is no number", change("\t2\t", "\ttwo\t"), `rule_sets is "two"`},
		{"a rule set without a name", change("elastic", "elastic,"), `"" is not a name`},
		{"a category with markup", change("permissions", "<b>"), `"<b>" is not a name`},
		{"an unknown access", change("write", "admin"), `access "admin" is not read, write or permissions`},
		{"an unknown source", change("cloud-management-events", "moon"), `source "moon" is not known`},
		{"an unknown place", change("account", "galaxy"), `recorded "galaxy" is neither region nor account`},
		{"twice", head + good + good, "u.tsv:3: iam:CreateRole is listed twice"},
		{"out of order", head + good + strings.Replace(good, "iam:", "ec2:", 1), "u.tsv:3: ec2:CreateRole must stand before iam:CreateRole"},
		{"bytes that are no text", change("iam", "i\xffm"), "u.tsv:2: not UTF-8"},
		{"an empty line", head + "\n" + good, "u.tsv:2: 1 fields, want 8"},
		{"two faults", head + "x\n" + "y\n", "u.tsv:3: 1 fields"},
	} {
		ops, err := readOperations("u.tsv", []byte(tc.data))
		if err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s: read %d operations, error %v; want %q in it", tc.name, len(ops), err, tc.want)
		}
	}
	if _, err := readUnprovable("n.tsv", []byte("operation\treason\torigin\nsignin:ConsoleLogin\t\tx\n")); err == nil || err.Error() != "n.tsv:2: reason is empty" {
		t.Error(err)
	}
}

// FuzzReadOperations: a table is read or refused; what is read is as the rules say.
func FuzzReadOperations(f *testing.F) {
	f.Add([]byte(head + "iam:CreateRole\tpermissions\t1\telastic\twrite\tcloud-management-events\taccount\t-\n"))
	f.Add([]byte("#\n\t\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		ops, err := readOperations("u.tsv", data)
		if err != nil {
			return
		}
		for i, op := range ops {
			if op.ID == "" || op.RuleSets < 1 || !isSource(op.Source) || i > 0 && ops[i-1].ID >= op.ID {
				t.Errorf("accepted %s", fmt.Sprint(op))
			}
		}
	})
}
