package aws

import (
	"encoding/json"
	"maps"
	"slices"
	"strings"
	"testing"
)

func TestRightsAreMergedAndFilled(t *testing.T) {
	got, err := Rights([]Right{
		{Part: WriteLedger, Names: map[string]string{"partition": "aws", "bucket": "l", "prefix": "p/"}},
		{Part: ReadLedger, Names: map[string]string{"partition": "aws", "bucket": "l", "prefix": "p/"}},
		{Part: BecomeRole, Names: map[string]string{"role": "arn:aws:iam::1:role/b"}},
		{Part: BecomeRole, Names: map[string]string{"role": "arn:aws:iam::1:role/a"}},
		{Part: WriteEncrypted, Names: map[string]string{"key": "k", "region": "us-east-1"}},
	})
	want := `{"Version":"2012-10-17","Statement":[` +
		`{"Effect":"Allow","Action":["kms:Decrypt","kms:GenerateDataKey"],"Resource":"k","Condition":{"StringLike":{"kms:ViaService":"s3.us-east-1.amazonaws.com"}}},` +
		`{"Effect":"Allow","Action":["s3:GetObject","s3:PutObject"],"Resource":"arn:aws:s3:::l/p/*"},` +
		`{"Effect":"Allow","Action":"s3:ListBucket","Resource":"arn:aws:s3:::l"},` +
		`{"Effect":"Allow","Action":["sts:AssumeRole","sts:SetSourceIdentity"],"Resource":["arn:aws:iam::1:role/a","arn:aws:iam::1:role/b"]}]}`
	if err != nil || string(got) != want {
		t.Errorf("%v\n%s\nwant\n%s", err, got, want)
	}
}

func TestRightsRefuseWhatIsNotKnown(t *testing.T) {
	for _, tc := range []struct {
		right Right
		want  string
	}{
		{Right{Part: "fly"}, `there is no part "fly"`},
		{Right{Part: ReadLedger, Names: map[string]string{"partition": "aws", "bucket": "l"}}, "rights of part read-ledger: {prefix} is not given"},
		{Right{Part: WriteEncrypted, Names: map[string]string{"key": "k"}}, "{region} is not given, for s3.{region}.amazonaws.com"},
	} {
		if _, err := Rights([]Right{tc.right}); err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%v: %v, want %q", tc.right, err, tc.want)
		}
	}
	var many []Right
	for range 200 {
		many = append(many, Right{Part: BecomeRole, Names: map[string]string{"role": strings.Repeat("r", len(many)+1)}})
	}
	if _, err := Rights(many); err == nil {
		t.Error("more than a managed policy takes is no error")
	}
}

// TestNoPartMayDoWhatIsNotItsOwn: only what writes may write, and nothing has a wildcard
// for an action.
func TestNoPartMayDoWhatIsNotItsOwn(t *testing.T) {
	writes := map[Part][]string{
		BecomeRole: {"sts:AssumeRole", "sts:SetSourceIdentity"}, BecomeSigner: {"sts:AssumeRole"}, WriteLedger: {"s3:PutObject"}, WriteEvidence: {"s3:PutObject", "s3:PutObjectRetention"}, SignPackets: {"kms:Sign"}, SignLedger: {"kms:Sign"},
		WriteEncrypted: {"kms:Decrypt", "kms:GenerateDataKey"}, ReadEncrypted: {"kms:Decrypt"}, ListenQueue: {"sqs:ReceiveMessage", "sqs:DeleteMessage", "sqs:ChangeMessageVisibility"},
		ImportFindings: {"securityhub:BatchImportFindings", "securityhub:BatchUpdateFindings"}, StartMachine: {"states:StartExecution"},
	}
	for _, part := range slices.Sorted(maps.Keys(parts)) {
		for _, g := range parts[part] {
			for _, action := range g.actions {
				_, name, _ := strings.Cut(action, ":")
				reads := strings.HasPrefix(name, "Get") || strings.HasPrefix(name, "Lookup") || strings.HasPrefix(name, "List") || strings.HasPrefix(name, "Describe")
				if strings.Contains(action, "*") || !reads && !slices.Contains(writes[part], action) {
					t.Errorf("%s may %s", part, action)
				}
			}
		}
	}
}

func TestWhatAPatternCovers(t *testing.T) {
	for _, tc := range []struct {
		o, p string
		want bool
	}{
		{"arn:a*", "arn:a/b", true}, {"a*c", "a*b*c", true}, {"a*", "a*", true}, {"*", "", true}, {"a", "a", true},
		{"a*c", "ab", false}, {"a", "a*", false}, {"a?", "ab", false}, {"a*b*c", "a*c", false}, {"ab*ba", "aba", false},
	} {
		if got := covers(tc.o, tc.p); got != tc.want {
			t.Errorf("%q covers %q: %t", tc.o, tc.p, got)
		}
	}
}

// What the boundary lets through a run in the sandbox shows.
func TestListingsAreShortenedAndNothingElse(t *testing.T) {
	got := listings(words{"s3:ListBucket", "s3:GetObject", "iam:TagRole", "iam:DeleteRole", "iam:ListRoles", "iam:ListUsers", "kms:DescribeKey"})
	want := words{"iam:DeleteRole", "iam:List*", "iam:Tag*", "kms:Describe*", "s3:GetObject", "s3:List*"}
	if !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
}

func TestAPolicyForEveryAccountNamesNone(t *testing.T) {
	docs, err := divide([]statement{{Effect: "Allow", Action: words{"a:B"}, Resource: words{"arn:aws:s3:::auditcanary-" + everyAccount + "-*"}}}, maxManagedPolicy)
	if err != nil {
		t.Fatal(err)
	}
	if got := asTemplate(string(docs[0])); !strings.Contains(got, "arn:${AWS::Partition}:s3:::auditcanary-${AWS::AccountId}-*") || !json.Valid([]byte(got)) {
		t.Error(got)
	}
}
