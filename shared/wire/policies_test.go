package wire

import (
	"slices"
	"strings"
	"testing"
)

func TestPoliciesOfAConfiguration(t *testing.T) {
	c, err := Load("testdata/good.yaml")
	if err != nil {
		t.Fatal(err)
	}
	c.Ledger = Ledger{Origin: "x.example", S3: &LedgerS3{Bucket: "ledger", Prefix: "l", Region: "us-east-1"}}
	c.Evidence = Evidence{Bucket: "evidence", Prefix: "p/", Region: "us-east-1", RoleARN: "arn:aws:iam::222222222222:role/evidence", KMSKey: "arn:aws:kms:us-east-1:222222222222:key/k"}
	c.Alerts = []Alert{{Name: "x", SQS: &AlertQueue{QueueURL: "https://sqs.us-east-1.amazonaws.com/333333333333/tap", Region: "us-east-1"}}}
	c.Trigger = &Trigger{StateMachine: "arn:aws:states:us-east-1:222222222222:stateMachine:auditcanary-prod-run"}
	c.Signing = Signing{KMSKey: "arn:aws:kms:us-east-1:222222222222:key/l"}
	policies, err := Policies(c, PolicyOptions{BucketKeys: map[string]string{"ledger": "arn:aws:kms:us-east-1:222222222222:key/d"}})
	if err != nil {
		t.Fatal(err)
	}
	of := map[string]string{}
	signs := func(doc string) bool {
		return strings.Contains(doc, `"kms:Sign","Resource":"arn:aws:kms:us-east-1:222222222222:key/l"`) && strings.Contains(doc, "ED25519_SHA_512")
	}
	for _, p := range policies {
		of[p.Name] = string(p.Document)
	}
	for _, tc := range []struct {
		policy   string
		has, not []string
	}{
		{"function-inject", []string{"s3:PutObject", "arn:aws:s3:::ledger/l/*", c.Targets[0].RoleARN, "kms:GenerateDataKey"}, []string{"evidence", "sqs:", "lambda:"}},
		{"function-packet", []string{"s3:GetObject", "arn:aws:iam::222222222222:role/evidence"}, []string{"s3:PutObject", "GenerateDataKey", "injector"}},
		{"function-report", []string{"arn:aws:s3:::ledger/l/*"}, []string{"sts:"}},
		{"function-confirm", []string{"arn:aws:sqs:us-east-1:333333333333:tap", c.LogStores[0].RoleARN}, []string{"evidence"}},
		{"function-trigger", []string{"states:StartExecution", "arn:aws:states:us-east-1:222222222222:stateMachine:auditcanary-prod-run"}, []string{"sts:", "lambda:"}},
		{"evidence", []string{"kms:Sign", "arn:aws:s3:::evidence/p/*", "s3:PutObjectRetention"}, []string{"ledger"}},
	} {
		doc, ok := of[tc.policy]
		if !ok {
			t.Errorf("no policy %s", tc.policy)
			continue
		}
		for _, want := range tc.has {
			if !strings.Contains(doc, want) {
				t.Errorf("%s lacks %s: %s", tc.policy, want, doc)
			}
		}
		for _, not := range tc.not {
			if strings.Contains(doc, not) {
				t.Errorf("%s has %s: %s", tc.policy, not, doc)
			}
		}
	}
	for _, step := range steps { // who appends to the ledger signs it
		if got, want := signs(of["function-"+step]), step != "packet"; got != want {
			t.Errorf("%s signs the ledger: %t\n%s", step, got, of["function-"+step])
		}
	}
	c.Signing.RoleARN = "arn:aws:iam::555555555555:role/ledger-signer"
	through, err := Policies(c, PolicyOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range through {
		if got, want := signs(string(p.Document)), p.Name == "ledger-signer"; got != want {
			t.Errorf("under a role of its own %s signs the ledger: %t", p.Name, got)
		}
		if got, want := strings.Contains(string(p.Document), `"sts:AssumeRole","Resource":"`+c.Signing.RoleARN), strings.HasPrefix(p.Name, "function-") && p.Name != "function-packet"; got != want {
			t.Errorf("%s may become the signer: %t\n%s", p.Name, got, p.Document)
		}
	}
	if !slices.ContainsFunc(policies, func(p Policy) bool { return strings.HasSuffix(p.Name, "-"+c.Targets[0].Account+"-1") }) {
		t.Errorf("no policy of the injector in %s", c.Targets[0].Account)
	}
}

func TestTheTemplateTakesAnOperatorsOwnScenarios(t *testing.T) {
	all, err := TemplatePolicies(nil)
	if err != nil {
		t.Fatal(err)
	}
	few, err := TemplatePolicies(&Config{Scenarios: Scenarios{Include: []string{"aws/kms-disable-key"}}})
	if err != nil {
		t.Fatal(err)
	}
	size := func(policies []Policy) (n int) {
		for _, p := range policies {
			if strings.HasPrefix(p.Name, "injector-") {
				n += len(p.Document)
			}
		}
		return n
	}
	if size(few) >= size(all) || size(few) == 0 {
		t.Errorf("one scenario needs %d characters of policies, all %d", size(few), size(all))
	}
}
