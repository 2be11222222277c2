package access

import (
	"fmt"
	"testing"
)

// An organisation of 100 accounts with 100 roles each, every third of them an
// administrator.
func BenchmarkReport(b *testing.B) {
	w := world()
	admin := doc("managed policy", allowAll)
	narrow := doc("managed policy", `{"Effect":"Allow","Action":["ec2:*","logs:PutLogEvents","s3:GetObject"],"Resource":["arn:aws:s3:::app-*/*","arn:aws:logs:*:*:log-group:/aws/lambda/*"]}`, `{"Effect":"Deny","NotAction":"iam:*","Resource":"*","Condition":{"StringNotEquals":{"aws:RequestedRegion":["us-east-1","eu-west-1"]}}}`)
	trust := doc("trust policy", to("Allow", `{"Service":"ec2.amazonaws.com"}`, "sts:AssumeRole"))
	for i := range 100 {
		id := fmt.Sprintf("%012d", 300000000000+i)
		a := &Account{ID: id, Levels: w.Accounts[home].Levels}
		for j := range 100 {
			p := &Principal{Kind: Role, ARN: fmt.Sprintf("arn:aws:iam::%s:role/r%d", id, j), Account: id, Trust: &trust, Policies: []Policy{narrow}}
			if j%3 == 0 {
				p.Policies = []Policy{admin}
			}
			a.Principals = append(a.Principals, p)
		}
		w.Accounts[id] = a
		w.Targets = append(w.Targets, id)
		w.Resources = append(w.Resources, &Resource{Kind: "rule", ARN: "arn:aws:events:*:" + id + ":rule/*", Account: id, NoPolicies: true})
	}
	for b.Loop() {
		if _, err := w.NewReport(); err != nil {
			b.Fatal(err)
		}
	}
}
