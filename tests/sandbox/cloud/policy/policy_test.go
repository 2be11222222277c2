package policy_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	peer "github.com/versity/versitygw/iamapi/policy"
	"github.com/versity/versitygw/iamapi/types"
	"pgregory.net/rapid"

	"github.com/auditcanary/auditcanary/tests/sandbox/cloud/policy"
)

func doc(t testing.TB, form policy.Form, statements ...string) policy.Named {
	t.Helper()
	text := `{"Version":"2012-10-17","Statement":[` + strings.Join(statements, ",") + `]}`
	d, err := policy.Parse([]byte(text), form)
	if err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	return policy.Named{Doc: d}
}

const (
	allowAll = `{"Effect":"Allow","Action":"*","Resource":"*"}`
	user     = "arn:aws:iam::111122223333:user/u"
	bucket   = "arn:aws:s3:::b"
)

func request() policy.Request {
	return policy.Request{Action: "s3:PutBucketPolicy", Resource: bucket, PrincipalARN: user, Account: "111122223333", ResourceAccount: "111122223333", Context: policy.Context{}}
}

func TestEveryLayerCounts(t *testing.T) {
	ident := func(s ...string) []policy.Named { return []policy.Named{doc(t, policy.ForIdentity, s...)} }
	grant := func(effect, principal string) []policy.Named {
		return []policy.Named{doc(t, policy.ForResource, `{"Effect":"`+effect+`","Principal":`+principal+`,"Action":"s3:*","Resource":"`+bucket+`"}`)}
	}
	other := `{"Effect":"Allow","Action":"s3:Get*","Resource":"*"}`
	deny := `{"Sid":"No","Effect":"Deny","Action":"s3:Put*","Resource":"*"}`
	root := `{"AWS":"arn:aws:iam::111122223333:root"}`
	for _, tc := range []struct {
		name   string
		layers policy.Layers
		change func(*policy.Request)
		reason string // "" = allowed
	}{
		{"nothing allows", policy.Layers{}, nil, "because no identity-based policy allows the s3:PutBucketPolicy action"},
		{"identity allows", policy.Layers{Identity: ident(allowAll)}, nil, ""},
		{"identity allows something else", policy.Layers{Identity: ident(other)}, nil, "because no identity-based policy"},
		{"identity denies too", policy.Layers{Identity: ident(allowAll, deny)}, nil, "with an explicit deny in an identity-based policy"},
		{"SCP denies", policy.Layers{Identity: ident(allowAll), SCPs: [][]policy.Named{ident(allowAll, deny)}}, nil, "with an explicit deny in a service control policy"},
		{"one SCP level does not allow", policy.Layers{Identity: ident(allowAll), SCPs: [][]policy.Named{ident(allowAll), ident(other)}}, nil, "because no service control policy"},
		{"boundary does not allow", policy.Layers{Identity: ident(allowAll), Boundary: ident(other)}, nil, "because no permissions boundary"},
		{"boundary denies", policy.Layers{Identity: ident(allowAll), Boundary: ident(allowAll, deny)}, nil, "with an explicit deny in a permissions boundary"},
		{"session does not allow", policy.Layers{Identity: ident(allowAll), Session: ident(other)}, nil, "because no session policy"},
		{"session denies", policy.Layers{Identity: ident(allowAll), Session: ident(allowAll, deny)}, nil, "with an explicit deny in a session policy"},
		{"resource denies", policy.Layers{Identity: ident(allowAll), Resource: grant("Deny", `"*"`)}, nil, "with an explicit deny in a resource-based policy"},
		{"resource denies somebody else", policy.Layers{Identity: ident(allowAll), Resource: grant("Deny", `{"AWS":"arn:aws:iam::111122223333:user/v"}`)}, nil, ""},
		{"resource grants the user", policy.Layers{Resource: grant("Allow", `{"AWS":"`+user+`"}`)}, nil, ""},
		{"resource grants the account only", policy.Layers{Resource: grant("Allow", root)}, nil, "because no identity-based policy"},
		{"resource must grant and does not", policy.Layers{Identity: ident(allowAll), ResourceMustAllow: true}, nil, "because no resource-based policy"},
		{"another account's resource without a grant", policy.Layers{Identity: ident(allowAll)}, func(r *policy.Request) { r.ResourceAccount = "444455556666" }, "because no resource-based policy"},
		{"another account's resource with a grant", policy.Layers{Identity: ident(allowAll), Resource: grant("Allow", root)}, func(r *policy.Request) { r.ResourceAccount = "444455556666" }, ""},
		{"another account's resource with a grant but no right", policy.Layers{Resource: grant("Allow", `{"AWS":"`+user+`"}`)}, func(r *policy.Request) { r.ResourceAccount = "444455556666" }, "because no identity-based policy"},
		{"a grant to the role is narrowed by the session", policy.Layers{Resource: grant("Allow", `{"AWS":"arn:aws:iam::111122223333:role/r"}`), Session: ident(other)}, func(r *policy.Request) { r.RoleARN = "arn:aws:iam::111122223333:role/r" }, "because no session policy"},
		{"a service is nobody here", policy.Layers{Identity: ident(other), Resource: grant("Allow", `{"Service":"cloudtrail.amazonaws.com"}`)}, nil, "because no identity-based policy"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			r := request()
			if tc.change != nil {
				tc.change(&r)
			}
			got := policy.Decide(r, tc.layers)
			if got.Allowed != (tc.reason == "") || !strings.HasPrefix(got.Reason, tc.reason) {
				t.Errorf("%+v, want reason %q", got, tc.reason)
			}
		})
	}
}

func TestConditions(t *testing.T) {
	for _, tc := range []struct {
		condition string
		context   policy.Context
		holds     bool
	}{
		{`{"StringEquals":{"sts:ExternalId":"x"}}`, policy.Context{"sts:externalid": {"x"}}, true},
		{`{"StringEquals":{"sts:ExternalId":"x"}}`, policy.Context{"sts:externalid": {"y"}}, false},
		{`{"StringEquals":{"sts:ExternalId":"x"}}`, policy.Context{}, false},
		{`{"StringEquals":{"sts:ExternalId":["x","y"]}}`, policy.Context{"sts:externalid": {"y"}}, true},
		{`{"StringEqualsIfExists":{"sts:ExternalId":"x"}}`, policy.Context{}, true},
		{`{"StringEqualsIfExists":{"sts:ExternalId":"x"}}`, policy.Context{"sts:externalid": {"y"}}, false},
		{`{"StringNotEquals":{"sts:ExternalId":"x"}}`, policy.Context{}, true},
		{`{"StringNotEquals":{"sts:ExternalId":["x","y"]}}`, policy.Context{"sts:externalid": {"y"}}, false},
		{`{"StringLike":{"aws:ResourceTag/Team":"a*c?"}}`, policy.Context{"aws:resourcetag/team": {"abbcd"}}, true},
		{`{"StringLike":{"aws:ResourceTag/Team":"a*c?"}}`, policy.Context{"aws:resourcetag/team": {"abbc"}}, false},
		{`{"ArnLike":{"aws:PrincipalArn":"arn:aws:iam::*:role/x*"}}`, policy.Context{"aws:principalarn": {"arn:aws:iam::1:role/xy"}}, true},
		{`{"ArnLike":{"aws:PrincipalArn":"arn:*:role/x"}}`, policy.Context{"aws:principalarn": {"arn:aws:iam::1:role/x"}}, false},
		{`{"Bool":{"aws:SecureTransport":"false"}}`, policy.Context{"aws:securetransport": {"true"}}, false},
		{`{"Bool":{"aws:SecureTransport":true}}`, policy.Context{"aws:securetransport": {"true"}}, true},
		{`{"Null":{"aws:SourceIdentity":"true"}}`, policy.Context{}, true},
		{`{"Null":{"aws:SourceIdentity":"true"}}`, policy.Context{"aws:sourceidentity": {"x"}}, false},
		{`{"Null":{"aws:SourceIdentity":"false"}}`, policy.Context{"aws:sourceidentity": {"x"}}, true},
		{`{"IpAddress":{"aws:SourceIp":["192.0.2.0/24","2001:db8::/32"]}}`, policy.Context{"aws:sourceip": {"192.0.2.9"}}, true},
		{`{"IpAddress":{"aws:SourceIp":"192.0.2.0/24"}}`, policy.Context{"aws:sourceip": {"198.51.100.1"}}, false},
		{`{"NotIpAddress":{"aws:SourceIp":"192.0.2.0/24"}}`, policy.Context{"aws:sourceip": {"198.51.100.1"}}, true},
		{`{"ForAllValues:StringEquals":{"aws:TagKeys":["a","b"]}}`, policy.Context{"aws:tagkeys": {"a", "b"}}, true},
		{`{"ForAllValues:StringEquals":{"aws:TagKeys":["a"]}}`, policy.Context{"aws:tagkeys": {"a", "b"}}, false},
		{`{"ForAllValues:StringEquals":{"aws:TagKeys":["a"]}}`, policy.Context{}, true},
		{`{"ForAnyValue:StringEquals":{"aws:TagKeys":["a"]}}`, policy.Context{"aws:tagkeys": {"a", "b"}}, true},
		{`{"ForAnyValue:StringEquals":{"aws:TagKeys":["a"]}}`, policy.Context{}, false},
		{`{"StringEquals":{"sts:ExternalId":"x"},"Bool":{"aws:SecureTransport":"true"}}`, policy.Context{"sts:externalid": {"x"}, "aws:securetransport": {"false"}}, false},
	} {
		d := doc(t, policy.ForIdentity, `{"Effect":"Allow","Action":"*","Resource":"*","Condition":`+tc.condition+`}`)
		r := request()
		r.Context = tc.context
		if got := policy.Decide(r, policy.Layers{Identity: []policy.Named{d}}).Allowed; got != tc.holds {
			t.Errorf("%s with %v: %t, want %t", tc.condition, tc.context, got, tc.holds)
		}
	}
}

// What cannot be evaluated denies and says so, in an Allow as in a Deny.
func TestWhatIsNotSupportedDeniesVisibly(t *testing.T) {
	for _, tc := range []struct{ statement, says string }{
		{`{"Effect":"EFFECT","Action":"*","Resource":"*","Condition":{"NumericLessThan":{"aws:SourceIp":"1"}}}`, `condition operator "NumericLessThan"`},
		{`{"Effect":"EFFECT","Action":"*","Resource":"*","Condition":{"StringEquals":{"aws:PrincipalIsAWSService":"true"}}}`, `condition key "aws:PrincipalIsAWSService"`},
		{`{"Effect":"EFFECT","Action":"*","Resource":"*","Condition":{"ForSome:StringEquals":{"aws:TagKeys":"a"}}}`, `condition operator "ForSome:StringEquals"`},
		{`{"Effect":"EFFECT","Action":"*","Resource":"*","Condition":{"StringEquals":{"sts:ExternalId":"${aws:username}"}}}`, "policy variable"},
		{`{"Effect":"EFFECT","Action":"*","Resource":"arn:aws:s3:::${aws:username}"}`, "policy variable"},
		{`{"Effect":"EFFECT","Action":"*","Resource":"*","Condition":{"IpAddress":{"aws:SourceIp":"here"}}}`, "no address"},
		{`{"Effect":"EFFECT","Action":"*","Resource":"*","Condition":{"Bool":{"aws:SecureTransport":"maybe"}}}`, "neither true nor false"},
	} {
		for _, effect := range []string{"Allow", "Deny"} {
			d := doc(t, policy.ForIdentity, allowAll, strings.ReplaceAll(tc.statement, "EFFECT", effect))
			got := policy.Decide(request(), policy.Layers{Identity: []policy.Named{d}})
			if got.Allowed || !strings.Contains(got.Reason, tc.says) || !strings.Contains(got.Reason, "cannot be evaluated") {
				t.Errorf("%s %s: %+v", effect, tc.statement, got)
			}
		}
	}
	// It does not reach beyond what the statement speaks of.
	d := doc(t, policy.ForIdentity, allowAll, `{"Effect":"Allow","Action":"ec2:*","Resource":"*","Condition":{"NumericLessThan":{"aws:SourceIp":"1"}}}`)
	if got := policy.Decide(request(), policy.Layers{Identity: []policy.Named{d}}); !got.Allowed {
		t.Errorf("a statement on EC2 denies S3: %+v", got)
	}
}

func TestParseRefuses(t *testing.T) {
	for _, tc := range []struct {
		name, text string
		form       policy.Form
		says       string
	}{
		{"no JSON", `{`, policy.ForIdentity, "EOF"},
		{"a member twice", `{"Version":"2012-10-17","Statement":[` + allowAll + `],"Statement":[]}`, policy.ForIdentity, "twice"},
		{"a member twice in other case", `{"Version":"2012-10-17","Statement":[{"Effect":"Deny","effect":"Allow","Action":"*","Resource":"*"}]}`, policy.ForIdentity, "twice"},
		{"an unknown member", `{"Statement":[{"Effect":"Allow","Action":"*","Resource":"*","Colour":"red"}]}`, policy.ForIdentity, "Colour"},
		{"an unknown version", `{"Version":"2020-01-01","Statement":[` + allowAll + `]}`, policy.ForIdentity, "2020-01-01"},
		{"no statement", `{"Version":"2012-10-17"}`, policy.ForIdentity, "Statement"},
		{"no effect", `{"Statement":[{"Action":"*","Resource":"*"}]}`, policy.ForIdentity, "Effect"},
		{"two kinds of action", `{"Statement":[{"Effect":"Allow","Action":"*","NotAction":"*","Resource":"*"}]}`, policy.ForIdentity, "exactly one"},
		{"no resource", `{"Statement":[{"Effect":"Allow","Action":"*"}]}`, policy.ForIdentity, "Resource: false"},
		{"a principal in an identity policy", `{"Statement":[{"Effect":"Allow","Principal":"*","Action":"*","Resource":"*"}]}`, policy.ForIdentity, "Principal: true"},
		{"no principal in a bucket policy", `{"Statement":[` + allowAll + `]}`, policy.ForResource, "Principal: false"},
		{"a resource in a trust policy", `{"Statement":[{"Effect":"Allow","Principal":"*","Action":"*","Resource":"*"}]}`, policy.ForTrust, "Resource: true"},
		{"an unknown kind of principal", `{"Statement":[{"Effect":"Allow","Principal":{"GCP":"x"},"Action":"*"}]}`, policy.ForTrust, "GCP"},
		{"a number for an action", `{"Statement":[{"Effect":"Allow","Action":1,"Resource":"*"}]}`, policy.ForIdentity, "Action"},
		{"something after it", `{"Statement":[` + allowAll + `]} {}`, policy.ForIdentity, "follows"},
		{"too deep", strings.Repeat(`[`, 1000), policy.ForIdentity, "levels"},
		{"too large", strings.Repeat(` `, policy.MaxSize+1), policy.ForIdentity, "bytes"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if _, err := policy.Parse([]byte(tc.text), tc.form); err == nil || !strings.Contains(err.Error(), tc.says) {
				t.Errorf("error %v, want one with %q", err, tc.says)
			}
		})
	}
}

// A small vocabulary, so that statements and requests meet often.
func genStatement(t *rapid.T, label string) string {
	pick := func(name string, from ...string) string { return rapid.SampledFrom(from).Draw(t, label+name) }
	m := map[string]any{"Effect": pick("effect", "Allow", "Deny")}
	m[pick("actionKind", "Action", "Action", "Action", "NotAction")] = rapid.SliceOfNDistinct(rapid.SampledFrom([]string{"*", "s3:*", "S3:get*", "s3:PutObject", "iam:Get?ole", "iam:*"}), 1, 2, rapid.ID).Draw(t, label+"actions")
	m[pick("resourceKind", "Resource", "Resource", "Resource", "NotResource")] = rapid.SliceOfNDistinct(rapid.SampledFrom([]string{"*", "arn:aws:s3:::b/*", "arn:aws:s3:::b", "arn:aws:iam::*:role/x*"}), 1, 2, rapid.ID).Draw(t, label+"resources")
	if rapid.Bool().Draw(t, label+"conditional") {
		op := pick("op", "StringEquals", "StringNotEquals", "StringLike", "StringNotLike", "StringEqualsIfExists", "StringNotEqualsIfExists", "StringEqualsIgnoreCase", "Bool", "Null", "IpAddress", "NotIpAddress", "ForAnyValue:StringEquals", "ForAllValues:StringLike")
		key, values := "aws:UserAgent", []string{"a", "b*", "A"}
		switch {
		case op == "Bool" || op == "Null":
			key, values = "aws:SecureTransport", []string{"true", "false"}
		case strings.HasSuffix(op, "IpAddress"):
			key, values = "aws:SourceIp", []string{"192.0.2.0/24", "198.51.100.1"}
		}
		m["Condition"] = map[string]any{op: map[string]any{key: rapid.SliceOfNDistinct(rapid.SampledFrom(values), 1, 2, rapid.ID).Draw(t, label+"values")}}
	}
	b, _ := json.Marshal(m)
	return string(b)
}

func genRequest(t *rapid.T) policy.Request {
	r := request()
	r.Action = rapid.SampledFrom([]string{"s3:GetObject", "s3:PutObject", "iam:GetRole", "ec2:RunInstances"}).Draw(t, "action")
	r.Resource = rapid.SampledFrom([]string{"arn:aws:s3:::b/k", "arn:aws:s3:::b", "arn:aws:iam::1:role/xy", "*"}).Draw(t, "resource")
	for key, values := range map[string][]string{"aws:useragent": {"a", "bc", "A", ""}, "aws:securetransport": {"true", "false"}, "aws:sourceip": {"192.0.2.7", "198.51.100.1"}} {
		if rapid.Bool().Draw(t, "has "+key) {
			r.Context[key] = []string{rapid.SampledFrom(values).Draw(t, key)}
		}
	}
	return r
}

func genDocs(t *rapid.T, label string) (docs []policy.Named, texts []string) {
	for i := range rapid.IntRange(1, 3).Draw(t, label+"documents") {
		var statements []string
		for j := range rapid.IntRange(1, 3).Draw(t, label+"statements") {
			statements = append(statements, genStatement(t, fmt.Sprintf("%s%d.%d ", label, i, j)))
		}
		text := `{"Version":"2012-10-17","Statement":[` + strings.Join(statements, ",") + `]}`
		d, err := policy.Parse([]byte(text), policy.ForIdentity)
		if err != nil {
			t.Fatalf("%v\n%s", err, text)
		}
		docs, texts = append(docs, policy.Named{Doc: d}), append(texts, text)
	}
	return docs, texts
}

func TestAnExplicitDenyAlwaysWins(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		r := genRequest(t)
		deny := policy.Named{Doc: policy.MustParse(`{"Version":"2012-10-17","Statement":[{"Effect":"Deny","Action":"*","Resource":"*"}]}`, policy.ForIdentity)}
		l := layers(t)
		switch rapid.IntRange(0, 3).Draw(t, "where") {
		case 0:
			l.Identity = append(l.Identity, deny)
		case 1:
			l.Boundary = append(l.Boundary, deny)
		case 2:
			l.Session = append(l.Session, deny)
		case 3:
			l.SCPs = append(l.SCPs, []policy.Named{deny})
		}
		if policy.Decide(r, l).Allowed {
			t.Fatalf("allowed in spite of a deny: %+v", r)
		}
	})
}

func TestAddingADenyNeverAddsAccess(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		r, l := genRequest(t), layers(t)
		before := policy.Decide(r, l).Allowed
		more := policy.Named{Doc: policy.MustParse(`{"Version":"2012-10-17","Statement":[`+strings.ReplaceAll(genStatement(t, "added "), `"Effect":"Allow"`, `"Effect":"Deny"`)+`]}`, policy.ForIdentity)}
		l.Identity = append(l.Identity, more)
		if policy.Decide(r, l).Allowed && !before {
			t.Fatalf("a deny gave access: %+v", r)
		}
	})
}

func layers(t *rapid.T) policy.Layers {
	var l policy.Layers
	l.Identity, _ = genDocs(t, "identity ")
	if rapid.Bool().Draw(t, "boundary") {
		l.Boundary, _ = genDocs(t, "boundary ")
	}
	if rapid.Bool().Draw(t, "session") {
		l.Session, _ = genDocs(t, "session ")
	}
	if rapid.Bool().Draw(t, "scp") {
		scp, _ := genDocs(t, "scp ")
		l.SCPs = [][]policy.Named{scp}
	}
	return l
}

// An evaluator somebody else wrote comes to the same decisions on identity policies.
func TestAnIndependentEvaluatorAgrees(t *testing.T) {
	allowed, denied := 0, 0
	rapid.Check(t, func(t *rapid.T) {
		r := genRequest(t)
		docs, texts := genDocs(t, "")
		var entries []types.PolicyEntry
		for _, text := range texts {
			entries = append(entries, types.PolicyEntry{PolicyDocument: text})
		}
		names := map[string]string{"aws:useragent": "aws:UserAgent", "aws:securetransport": "aws:SecureTransport", "aws:sourceip": "aws:SourceIp"}
		ctx := map[string][]string{}
		for key, v := range r.Context {
			ctx[names[key]] = v
		}
		theirs := peer.EvaluateIdentityPolicies(entries, peer.RequestContext{Action: r.Action, Resource: r.Resource, Condition: ctx}) == peer.DecisionAllow
		ours := policy.Decide(r, policy.Layers{Identity: docs})
		if ours.Allowed {
			allowed++
		} else {
			denied++
		}
		if ours.Allowed != theirs {
			t.Fatalf("ours %+v, theirs %t\n%s on %s with %v\n%s", ours, theirs, r.Action, r.Resource, ctx, strings.Join(texts, "\n"))
		}
	})
	if allowed == 0 || denied == 0 {
		t.Errorf("%d allowed, %d denied: the cases prove nothing", allowed, denied)
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(`{"Version":"2012-10-17","Statement":[` + allowAll + `]}`))
	f.Add([]byte(`{"Statement":{"Effect":"Deny","Principal":{"AWS":["*"]},"NotAction":"s3:*","Resource":"*","Condition":{"Bool":{"aws:SecureTransport":false}}}}`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		for _, form := range []policy.Form{policy.ForIdentity, policy.ForTrust, policy.ForResource} {
			if d, err := policy.Parse(raw, form); err == nil {
				policy.Decide(request(), policy.Layers{Identity: []policy.Named{{Doc: d}}, Resource: []policy.Named{{Doc: d}}})
			}
		}
	})
}

// A service is admitted by a policy that names it, for the source that a condition
// names, and nobody of an account passes for it.
func TestAResourceAdmitsTheServiceThatItNames(t *testing.T) {
	names := doc(t, policy.ForResource, `{"Effect":"Allow","Principal":{"Service":"sns.amazonaws.com"},"Action":"sqs:SendMessage","Resource":"arn:aws:sqs:us-east-1:999999999999:q","Condition":{"ArnEquals":{"aws:SourceArn":"arn:aws:sns:us-east-1:1:t"}}}`)
	for _, tc := range []struct {
		who, source string
		want        bool
	}{
		{"sns.amazonaws.com", "arn:aws:sns:us-east-1:1:t", true},
		{"sns.amazonaws.com", "arn:aws:sns:us-east-1:1:other", false},
		{"events.amazonaws.com", "arn:aws:sns:us-east-1:1:t", false},
		{"arn:aws:iam::111122223333:user/sns.amazonaws.com", "arn:aws:sns:us-east-1:1:t", false},
	} {
		got := policy.Decide(policy.Request{
			Action: "sqs:SendMessage", Resource: "arn:aws:sqs:us-east-1:999999999999:q", PrincipalARN: tc.who, Context: policy.Context{"aws:sourcearn": {tc.source}},
		}, policy.Layers{Resource: []policy.Named{names}, ResourceMustAllow: true})
		if got.Allowed != tc.want {
			t.Errorf("%s of %s: %v %s", tc.who, tc.source, got.Allowed, got.Reason)
		}
	}
}
