package policy_test

import (
	"fmt"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/auditcanary/auditcanary/shared/access"
	"github.com/auditcanary/auditcanary/tests/sandbox/cloud/policy"
)

// The product's evaluator and this one, which nobody wrote with the other in mind,
// come to the same decisions on what both can decide: a user of an account and a
// bucket of the same or another, with identity policies, boundary, SCPs and the
// bucket's policy, on conditions of which both know the values.
func TestTheProductsEvaluatorAgrees(t *testing.T) {
	const (
		home, other = "111122223333", "999999999999"
		arn         = "arn:aws:iam::111122223333:user/team/alice"
	)
	seen := map[access.Outcome]int{}
	rapid.Check(t, func(t *rapid.T) {
		pick := func(what string, from ...string) string { return rapid.SampledFrom(from).Draw(t, what) }
		statement := func(label string, withPrincipal bool) string {
			some := func(what string, from ...string) string {
				list := rapid.SliceOfNDistinct(rapid.SampledFrom(from), 1, 2, rapid.ID).Draw(t, label+what)
				return `["` + strings.Join(list, `","`) + `"]`
			}
			parts := []string{
				`"Effect":"` + pick(label+"effect", "Allow", "Allow", "Deny") + `"`,
				`"` + pick(label+"actions", "Action", "Action", "NotAction") + `":` + some("action", "*", "s3:*", "S3:get*", "s3:PutObject", "iam:Get?ole"),
				`"` + pick(label+"resources", "Resource", "Resource", "NotResource") + `":` + some("resource", "*", "arn:aws:s3:::b/*", "arn:aws:s3:::b", "arn:aws:s3:::*k"),
			}
			if withPrincipal {
				parts = append(parts, `"Principal":`+pick(label+"principal", `"*"`, `{"AWS":"`+home+`"}`, `{"AWS":"arn:aws:iam::`+home+`:root"}`, `{"AWS":"`+arn+`"}`, `{"AWS":"arn:aws:iam::`+home+`:user/bob"}`, `{"AWS":"`+other+`"}`, `{"Service":"cloudtrail.amazonaws.com"}`))
			}
			if rapid.Bool().Draw(t, label+"conditional") {
				op := pick(label+"op", "StringEquals", "StringNotEquals", "StringLike", "StringNotLike", "StringEqualsIfExists", "StringEqualsIgnoreCase", "ForAllValues:StringLike", "ArnLike", "ArnNotEquals")
				key, values := "aws:PrincipalAccount", some("value", home, other, "1*", "x")
				if strings.HasPrefix(op, "Arn") {
					key, values = "aws:PrincipalArn", some("arn", arn, "arn:aws:iam::*:user/*", "arn:aws:iam::*:role/x")
				}
				parts = append(parts, `"Condition":{"`+op+`":{"`+key+`":`+values+`}}`)
			}
			return "{" + strings.Join(parts, ",") + "}"
		}
		texts := func(label string, least, most int, withPrincipal bool) (out []string) {
			for i := range rapid.IntRange(least, most).Draw(t, label+"documents") {
				var list []string
				for j := range rapid.IntRange(1, 3).Draw(t, label+"statements") {
					list = append(list, statement(fmt.Sprintf("%s%d.%d ", label, i, j), withPrincipal))
				}
				out = append(out, `{"Version":"2012-10-17","Statement":[`+strings.Join(list, ",")+`]}`)
			}
			return out
		}
		theirs := func(texts []string, form policy.Form) (out []policy.Named) {
			for _, text := range texts {
				out = append(out, policy.Named{Doc: policy.MustParse(text, form)})
			}
			return out
		}
		ours := func(texts []string) (out []access.Policy) {
			for i, text := range texts {
				p := access.NewPolicy("policy", fmt.Sprint(i), []byte(text))
				if p.Unread != "" {
					t.Fatal(p.Unread)
				}
				out = append(out, p)
			}
			return out
		}

		identity, bucket := texts("identity ", 0, 2, false), texts("bucket ", 0, 1, true)
		owner := pick("owner", home, home, other)
		action, resource := pick("action", "s3:GetObject", "s3:PutObject", "iam:GetRole"), pick("resource", "arn:aws:s3:::b/k", "arn:aws:s3:::b")
		p := &access.Principal{Kind: access.User, ARN: arn, Account: home, Policies: ours(identity)}
		w := &access.World{Management: "100000000001", Accounts: map[string]*access.Account{home: {ID: home, Principals: []*access.Principal{p}}}}
		l := policy.Layers{Identity: theirs(identity, policy.ForIdentity), Resource: theirs(bucket, policy.ForResource)}
		if rapid.Bool().Draw(t, "bounded") {
			b := texts("boundary ", 1, 1, false)
			p.Boundary, l.Boundary = &ours(b)[0], theirs(b, policy.ForIdentity)
		}
		if rapid.Bool().Draw(t, "in a unit") {
			s := texts("scp ", 1, 2, false)
			w.Accounts[home].Levels = []access.Level{{Name: "r-1", SCPs: ours(s), NoRCPs: true}}
			l.SCPs = [][]policy.Named{theirs(s, policy.ForIdentity)}
		}
		want := policy.Decide(policy.Request{
			Action: action, Resource: resource, PrincipalARN: arn, Account: home, ResourceAccount: owner,
			Context: policy.Context{"aws:principalaccount": {home}, "aws:principalarn": {arn}},
		}, l)
		got := w.Decide(p, action, &access.Resource{Kind: "bucket", ARN: resource, Account: owner, Policies: ours(bucket)})
		seen[got.Outcome]++
		if (got.Outcome == access.Allowed) != want.Allowed || got.Outcome == access.Possible {
			t.Fatalf("ours %s (%s%s), theirs %+v\n%s on %s of %s\nidentity %s\nbucket %s", got.Outcome, got.Reason, got.Path(), want, action, resource, owner, strings.Join(identity, "\n"), strings.Join(bucket, "\n"))
		}
	})
	if seen[access.Allowed] == 0 || seen[access.Denied] == 0 {
		t.Errorf("%v: the cases prove nothing", seen)
	}
}
