package access

import (
	"fmt"
	"slices"
	"strings"
	"testing"
)

const (
	home    = "111122223333"
	archive = "999999999999"
	alice   = "arn:aws:iam::111122223333:user/alice"
	ops     = "arn:aws:iam::111122223333:role/team/ops"
	aFile   = "arn:aws:s3:::logs/AWSLogs/1"
)

func doc(kind string, statements ...string) Policy {
	p := NewPolicy(kind, "p", []byte(`{"Version":"2012-10-17","Statement":[`+strings.Join(statements, ",")+`]}`))
	if p.Unread != "" {
		panic(p.Unread)
	}
	return p
}

func inline(statements ...string) []Policy { return []Policy{doc("inline policy", statements...)} }
func bucket(statements ...string) []Policy { return []Policy{doc("bucket policy", statements...)} }

const (
	allowAll    = `{"Effect":"Allow","Action":"*","Resource":"*"}`
	denyAll     = `{"Effect":"Deny","Action":"*","Resource":"*"}`
	allowDelete = `{"Sid":"Del","Effect":"Allow","Action":"s3:DeleteObject*","Resource":"arn:aws:s3:::logs/*"}`
)

// to is a statement of a resource policy.
func to(effect, principal, action string, more ...string) string {
	return fmt.Sprintf(`{"Effect":%q,"Principal":%s,"Action":%q,"Resource":"*"%s}`, effect, principal, action, strings.Join(more, ""))
}

func aws(name string) string { return `{"AWS":"` + name + `"}` }

func when(condition string) string { return `,"Condition":{` + condition + `}` }

// scene is one question.
type scene struct {
	kind        string // of principal; user unless given
	action      string // s3:DeleteObjectVersion unless given
	policies    []Policy
	boundary    []Policy
	scps        [][]Policy
	rcps        [][]Policy
	resource    []Policy
	on          string // aFile unless given
	owner       string // home unless given; "?" = not known
	decides     bool
	noPolicies  bool
	linked      bool
	management  bool
	principalID string
}

func (s scene) decide() Decision {
	p := &Principal{Kind: s.kind, ARN: alice, ID: s.principalID, Account: home, Policies: s.policies, ServiceLinked: s.linked, Tags: map[string]string{"team": "blue"}}
	switch s.kind {
	case "":
		p.Kind = User
	case Role:
		p.ARN = ops
	case Root:
		p.ARN = "arn:aws:iam::" + home + ":root"
	case Anybody, Service, Federated, Foreigner:
		p.ARN, p.Account = map[string]string{Anybody: "*", Service: "cloudtrail.amazonaws.com", Federated: "idp", Foreigner: "555555555555"}[s.kind], ""
		if s.kind == Foreigner {
			p.Account = "555555555555"
		}
	}
	if s.boundary != nil {
		p.Boundary = &s.boundary[0]
	}
	w := &World{Organization: "o-ours", Management: "100000000001", Accounts: map[string]*Account{}}
	if s.management {
		w.Management = home
	}
	levels := func() (out []Level) {
		for i := range max(len(s.scps), len(s.rcps)) {
			l := Level{Name: fmt.Sprintf("r-%d", i), NoSCPs: true, NoRCPs: true}
			if i < len(s.scps) {
				l.SCPs, l.NoSCPs = s.scps[i], false
			}
			if i < len(s.rcps) {
				l.RCPs, l.NoRCPs = s.rcps[i], false
			}
			out = append(out, l)
		}
		return out
	}
	w.Accounts[home] = &Account{ID: home, Principals: []*Principal{p}, Levels: levels()}
	w.Accounts[archive] = &Account{ID: archive, Levels: levels()}
	r := &Resource{Kind: "object", ARN: aFile, Account: home, Region: "us-east-1", Policies: s.resource, PolicyDecides: s.decides, NoPolicies: s.noPolicies, RCPs: true}
	if s.on != "" {
		r.ARN = s.on
	}
	if s.owner != "" {
		r.Account = strings.TrimSuffix(s.owner, "?")
	}
	action := s.action
	if action == "" {
		action = "s3:DeleteObjectVersion"
	}
	return w.Decide(p, action, r)
}

func TestDecisions(t *testing.T) {
	scp := func(statements ...string) []Policy { return []Policy{doc(SCPKind, statements...)} }
	rcp := func(statements ...string) []Policy { return []Policy{doc(RCPKind, statements...)} }
	everybody := to("Allow", `"*"`, "*")
	mfa := when(`"Bool":{"aws:MultiFactorAuthPresent":"true"}`)
	for _, tc := range []struct {
		name string
		s    scene
		want Outcome
		says string // in the reasons or the path
	}{
		{"nothing allows", scene{}, Denied, "no statement allows it"},
		{"an identity policy", scene{policies: inline(allowDelete)}, Allowed, "inline policy p, statement 1 (Del)"},
		{"another action", scene{policies: inline(allowDelete), action: "s3:GetObject"}, Denied, "no statement"},
		{"an explicit deny beside it", scene{policies: inline(allowAll, denyAll)}, Denied, "denied by inline policy p, statement 2"},
		{"actions have no case", scene{policies: inline(`{"Effect":"Allow","Action":"S3:deleteOBJECTv*","Resource":"*"}`)}, Allowed, ""},
		{"resources have", scene{policies: inline(`{"Effect":"Allow","Action":"*","Resource":"arn:aws:s3:::LOGS/*"}`)}, Denied, ""},
		{"NotAction leaves it out", scene{policies: inline(`{"Effect":"Allow","NotAction":"s3:Delete*","Resource":"*"}`)}, Denied, ""},
		{"NotAction takes it in", scene{policies: inline(`{"Effect":"Allow","NotAction":"iam:*","Resource":"*"}`)}, Allowed, ""},
		{"NotResource leaves it out", scene{policies: inline(`{"Effect":"Allow","Action":"*","NotResource":"arn:aws:s3:::logs/*"}`)}, Denied, ""},
		{"NotResource takes it in", scene{policies: inline(`{"Effect":"Allow","Action":"*","NotResource":"arn:aws:s3:::other/*"}`)}, Allowed, ""},
		{"a deny with NotResource that leaves it out", scene{policies: inline(allowAll, `{"Effect":"Deny","Action":"*","NotResource":"arn:aws:s3:::logs/*"}`)}, Allowed, ""},

		{"an allow that hangs on the request", scene{policies: inline(`{"Effect":"Allow","Action":"*","Resource":"*"` + mfa + `}`)}, Possible, "condition Bool aws:MultiFactorAuthPresent (true)"},
		{"a deny that hangs on the request", scene{policies: inline(allowAll, `{"Sid":"NoMFA","Effect":"Deny","Action":"*","Resource":"*"`+mfa+`}`)}, Possible, "but inline policy p, statement 2 (NoMFA): may deny it; condition"},
		{"a condition that is known to hold", scene{policies: inline(`{"Effect":"Allow","Action":"*","Resource":"*"` + when(`"StringEquals":{"aws:PrincipalAccount":"111122223333"},"StringLike":{"aws:username":"al*"}`) + `}`)}, Allowed, ""},
		{"one that is known not to", scene{policies: inline(`{"Effect":"Allow","Action":"*","Resource":"*"` + when(`"StringEquals":{"aws:username":"bob"}`) + `}`)}, Denied, ""},
		{"a tag of the user", scene{policies: inline(`{"Effect":"Allow","Action":"*","Resource":"*"` + when(`"StringEquals":{"aws:PrincipalTag/team":"blue"}`) + `}`)}, Allowed, ""},
		{"a tag of a role, which its session may replace", scene{kind: Role, policies: inline(`{"Effect":"Allow","Action":"*","Resource":"*"` + when(`"StringEquals":{"aws:PrincipalTag/team":"red"}`) + `}`)}, Possible, ""},
		{"an unknown operator on an allow", scene{policies: inline(`{"Effect":"Allow","Action":"*","Resource":"*"` + when(`"StringSounds":{"aws:username":"alice"}`) + `}`)}, Possible, "StringSounds"},
		{"an unknown operator on a deny", scene{policies: inline(allowAll, `{"Effect":"Deny","Action":"*","Resource":"*"`+when(`"StringSounds":{"aws:username":"bob"}`)+`}`)}, Possible, "may deny"},
		{"an unknown element", scene{policies: inline(`{"Effect":"Allow","Action":"*","Resource":"*","Unless":"full moon"}`)}, Possible, `element "Unless" is not known here`},
		{"an unknown effect", scene{policies: inline(`{"Effect":"allow","Action":"*","Resource":"*"}`)}, Possible, `effect "allow"`},
		{"an unknown effect beside an allow may be a deny", scene{policies: inline(allowAll, `{"Effect":"deny","Action":"*","Resource":"*"}`)}, Possible, "may deny"},
		{"an identity policy that names principals", scene{policies: inline(`{"Effect":"Allow","Action":"*","Resource":"*","Principal":"*"}`)}, Possible, "names principals"},
		{"an identity policy without a resource", scene{policies: inline(`{"Effect":"Allow","Action":"*"}`)}, Possible, "names no resource"},
		{"an unread identity policy", scene{policies: []Policy{{Kind: "managed policy", Name: "x", Unread: "cut"}}}, Possible, "could not be read: cut"},
		{"an unread policy beside a deny", scene{policies: append(inline(denyAll), Policy{Kind: "managed policy", Unread: "cut"})}, Denied, ""},
		{"a version that is not known", scene{policies: []Policy{NewPolicy("inline policy", "p", []byte(`{"Version":"2030-01-01","Statement":`+allowAll+`}`))}}, Possible, `version "2030-01-01"`},

		{"a variable that is known", scene{on: "arn:aws:s3:::logs/alice/1", policies: inline(`{"Effect":"Allow","Action":"*","Resource":"arn:aws:s3:::logs/${aws:username}/*"}`)}, Allowed, ""},
		{"of another user", scene{on: "arn:aws:s3:::logs/bob/1", policies: inline(`{"Effect":"Allow","Action":"*","Resource":"arn:aws:s3:::logs/${aws:username}/*"}`)}, Denied, ""},
		{"a variable that is not", scene{on: "arn:aws:s3:::logs/bob/1", policies: inline(`{"Effect":"Allow","Action":"*","Resource":"arn:aws:s3:::logs/${aws:SourceIdentity}/*"}`)}, Possible, "policy variable"},
		{"of all services in the organisation the trails' is meant", scene{action: "organizations:DisableAWSServiceAccess", policies: inline(`{"Effect":"Allow","Action":"*","Resource":"*"` + when(`"StringEquals":{"organizations:ServicePrincipal":"cloudtrail.amazonaws.com"}`) + `}`)}, Allowed, ""},
		{"and no other", scene{action: "organizations:DisableAWSServiceAccess", policies: inline(`{"Effect":"Allow","Action":"*","Resource":"*"` + when(`"StringEquals":{"organizations:ServicePrincipal":"backup.amazonaws.com"}`) + `}`)}, Denied, ""},
		{"a fallback", scene{on: "arn:aws:s3:::logs/none/1", policies: inline(`{"Effect":"Allow","Action":"*","Resource":"arn:aws:s3:::logs/${aws:PrincipalTag/x, 'none'}/*"}`)}, Allowed, ""},
		{"a star that is one", scene{on: "arn:aws:s3:::logs/x/1", policies: inline(`{"Effect":"Allow","Action":"*","Resource":"arn:aws:s3:::logs/${*}/*"}`)}, Denied, ""},
		{"a wildcard over the colons of an ARN", scene{on: "arn:aws:sns:us-east-1:111122223333:t", policies: inline(`{"Effect":"Allow","Action":"*","Resource":"arn:aws:*:t"}`)}, Possible, "covers a part"},
		{"an incomplete ARN is completed", scene{policies: inline(`{"Effect":"Allow","Action":"*","Resource":"arn:aws:s3*"}`)}, Allowed, ""},

		{"a boundary that does not allow", scene{policies: inline(allowAll), boundary: inline(`{"Effect":"Allow","Action":"iam:*","Resource":"*"}`)}, Denied, "permissions boundary does not allow"},
		{"a boundary alone grants nothing", scene{boundary: inline(allowAll)}, Denied, "no statement"},
		{"a boundary that allows", scene{policies: inline(allowAll), boundary: inline(`{"Effect":"Allow","Action":"s3:*","Resource":"*"}`)}, Allowed, ""},
		{"a boundary that may allow", scene{policies: inline(allowAll), boundary: inline(`{"Effect":"Allow","Action":"s3:*","Resource":"*"` + mfa + `}`)}, Possible, ""},
		{"a boundary that is not known", scene{policies: inline(allowAll), boundary: []Policy{{Kind: "permissions boundary", Unread: "gone"}}}, Possible, "gone"},
		{"a user named by the bucket is not held to its boundary", scene{boundary: inline(`{"Effect":"Allow","Action":"iam:*","Resource":"*"}`), resource: bucket(to("Allow", aws(alice), "s3:*"))}, Allowed, "bucket policy"},
		{"a role named by the bucket is", scene{kind: Role, boundary: inline(`{"Effect":"Allow","Action":"iam:*","Resource":"*"}`), resource: bucket(to("Allow", aws(ops), "s3:*"))}, Denied, "boundary"},
		{"a deny in the boundary binds both", scene{boundary: inline(allowAll, denyAll), resource: bucket(to("Allow", aws(alice), "s3:*"))}, Denied, "statement 2"},

		{"each level of SCPs must allow", scene{policies: inline(allowAll), scps: [][]Policy{scp(allowAll), scp(`{"Effect":"Allow","Action":"iam:*","Resource":"*"}`)}}, Denied, "service control policies at r-1"},
		{"all levels do", scene{policies: inline(allowAll), scps: [][]Policy{scp(allowAll), scp(allowAll)}}, Allowed, ""},
		{"an SCP denies", scene{policies: inline(allowAll), scps: [][]Policy{scp(allowAll, denyAll)}}, Denied, "service control policy"},
		{"an SCP that could not be read", scene{policies: inline(allowAll), scps: [][]Policy{{{Kind: SCPKind, Name: "p-1", Unread: "refused"}}}}, Possible, "refused"},
		{"the management account is not bound by SCPs", scene{policies: inline(allowAll), management: true, scps: [][]Policy{scp(denyAll)}}, Allowed, ""},
		{"nor are its resources by RCPs", scene{policies: inline(allowAll), management: true, rcps: [][]Policy{rcp(everybody, to("Deny", `"*"`, "s3:*"))}}, Allowed, ""},
		{"a service-linked role is not", scene{kind: Role, linked: true, policies: inline(allowAll), scps: [][]Policy{scp(denyAll)}, rcps: [][]Policy{rcp(to("Deny", `"*"`, "*"))}}, Allowed, ""},
		{"an RCP denies", scene{policies: inline(allowAll), rcps: [][]Policy{rcp(everybody, to("Deny", `"*"`, "s3:*"))}}, Denied, "resource control policy"},
		{"an RCP that spares one's own organisation", scene{policies: inline(allowAll), rcps: [][]Policy{rcp(everybody, to("Deny", `"*"`, "s3:*", when(`"StringNotEqualsIfExists":{"aws:PrincipalOrgID":"o-ours"}`)))}}, Allowed, ""},

		{"the root user", scene{kind: Root}, Allowed, "root user"},
		{"the root user under an SCP", scene{kind: Root, scps: [][]Policy{scp(allowAll, denyAll)}}, Denied, "service control policy"},
		{"the root user under a bucket policy", scene{kind: Root, resource: bucket(to("Deny", `"*"`, "s3:*"))}, Denied, "bucket policy"},

		{"a bucket policy alone, in one account", scene{resource: bucket(to("Allow", aws(alice), "s3:*"))}, Allowed, "bucket policy"},
		{"the account named delegates only", scene{resource: bucket(to("Allow", aws(home), "s3:*"))}, Denied, "no statement"},
		{"everybody", scene{resource: bucket(everybody)}, Allowed, ""},
		{"a session of the role", scene{kind: Role, resource: bucket(to("Allow", aws("arn:aws:sts::111122223333:assumed-role/ops/s"), "s3:*"))}, Possible, "only the session"},
		{"by unique id", scene{principalID: "AIDAX", resource: bucket(to("Allow", aws("AIDAX"), "s3:*"))}, Allowed, ""},
		{"a deny to the account", scene{policies: inline(allowAll), resource: bucket(to("Deny", aws("arn:aws:iam::111122223333:root"), "s3:*"))}, Denied, ""},
		{"a deny to another account", scene{policies: inline(allowAll), resource: bucket(to("Deny", aws(archive), "s3:*"))}, Allowed, ""},
		{"a deny to whoever does not use TLS", scene{policies: inline(allowAll), resource: bucket(to("Deny", `"*"`, "s3:*", when(`"Bool":{"aws:SecureTransport":"false"}`)))}, Allowed, ""},
		{"an allow to whoever does not", scene{resource: bucket(to("Allow", `"*"`, "s3:*", when(`"Bool":{"aws:SecureTransport":"false"}`)))}, Possible, ""},
		{"a deny to all but named ones", scene{policies: inline(allowAll), resource: bucket(`{"Effect":"Deny","NotPrincipal":{"AWS":["arn:aws:iam::999999999999:root"]},"Action":"*","Resource":"*"}`)}, Denied, ""},
		{"a deny to all but this user and its account", scene{policies: inline(allowAll), resource: bucket(`{"Effect":"Deny","NotPrincipal":{"AWS":["` + alice + `","111122223333"]},"Action":"*","Resource":"*"}`)}, Allowed, ""},
		{"a deny to all but this user, its account unnamed", scene{policies: inline(allowAll), resource: bucket(`{"Effect":"Deny","NotPrincipal":{"AWS":["` + alice + `"]},"Action":"*","Resource":"*"}`)}, Possible, "NotPrincipal"},
		{"a deny to all but a role: its session is unnamed", scene{kind: Role, policies: inline(allowAll), resource: bucket(`{"Effect":"Deny","NotPrincipal":{"AWS":["` + ops + `","111122223333"]},"Action":"*","Resource":"*"}`)}, Possible, "NotPrincipal"},
		{"a deny to a canonical user", scene{policies: inline(allowAll), resource: bucket(to("Deny", `{"CanonicalUser":"79a5"}`, "*"))}, Possible, "canonical user"},
		{"an unread bucket policy", scene{policies: inline(allowAll), resource: []Policy{{Kind: "bucket policy", Unread: "refused"}}}, Possible, "refused"},
		{"an unread bucket policy alone admits nobody by name", scene{resource: []Policy{{Kind: "bucket policy", Unread: "refused"}}}, Denied, ""},

		{"across accounts an unread policy may admit whom its own account lets", scene{owner: archive, policies: inline(allowAll), resource: []Policy{{Kind: "bucket policy", Unread: "refused"}}}, Possible, "refused"},
		{"and nobody else", scene{owner: archive, resource: []Policy{{Kind: "bucket policy", Unread: "refused"}}}, Denied, "no identity policy"},
		{"its root user", scene{owner: archive, kind: Root, resource: []Policy{{Kind: "bucket policy", Unread: "refused"}}}, Possible, "refused"},
		{"of a service without policies nothing is unread", scene{owner: archive, noPolicies: true, policies: inline(allowAll)}, Denied, "no policy of their own"},
		{"the owner is not known: it may be this account", scene{owner: "?", policies: inline(allowAll)}, Possible, "may be this one"},
		{"and its policy is not read", scene{owner: "?", policies: inline(allowAll), resource: []Policy{{Kind: "bucket policy", Unread: "refused"}}}, Possible, "refused"},
		{"of a service without policies", scene{owner: "?", noPolicies: true, policies: inline(allowAll)}, Possible, "may be this one"},
		{"its root user may be", scene{owner: "?", kind: Root}, Possible, "root user"},
		{"who has no right anywhere has none", scene{owner: "?"}, Denied, "no statement allows it"},
		{"a boundary holds wherever it is", scene{owner: "?", policies: inline(allowAll), boundary: inline(`{"Effect":"Allow","Action":"iam:*","Resource":"*"}`)}, Denied, "boundary"},
		{"a deny holds whoever owns it", scene{owner: "?", policies: inline(allowAll, denyAll)}, Denied, "statement 2"},
		{"across accounts both sides must allow: neither", scene{owner: archive}, Denied, ""},
		{"the identity alone", scene{owner: archive, policies: inline(allowAll)}, Denied, "its policy does not admit"},
		{"the bucket alone", scene{owner: archive, resource: bucket(to("Allow", aws(home), "s3:*"))}, Denied, "no identity policy"},
		{"both", scene{owner: archive, policies: inline(allowAll), resource: bucket(to("Allow", aws(home), "s3:*"))}, Allowed, "bucket policy"},
		{"both, under a boundary that may allow", scene{owner: archive, policies: inline(allowAll), boundary: inline(`{"Effect":"Allow","Action":"s3:*","Resource":"*"` + mfa + `}`), resource: bucket(to("Allow", aws(home), "s3:*"))}, Possible, "MultiFactor"},
		{"both, under a boundary that does not", scene{owner: archive, policies: inline(allowAll), boundary: inline(`{"Effect":"Allow","Action":"iam:*","Resource":"*"}`), resource: bucket(to("Allow", aws(home), "s3:*"))}, Denied, "boundary"},
		{"both, and a service without resource policies", scene{owner: archive, noPolicies: true, policies: inline(allowAll), resource: bucket(to("Allow", aws(home), "s3:*"))}, Denied, "no policy of their own"},
		{"both, to another user", scene{owner: archive, policies: inline(allowAll), resource: bucket(to("Allow", aws("arn:aws:iam::111122223333:user/bob"), "s3:*"))}, Denied, ""},

		{"a key whose policy delegates", scene{decides: true, policies: inline(allowAll), resource: bucket(to("Allow", aws("arn:aws:iam::111122223333:root"), "*"))}, Allowed, "statement 1"},
		{"a key whose policy does not", scene{decides: true, policies: inline(allowAll), resource: bucket(to("Allow", aws(ops), "*"))}, Denied, "neither allows it nor leaves it"},
		{"a key whose policy names the user", scene{decides: true, resource: bucket(to("Allow", aws(alice), "*"))}, Allowed, ""},
		{"the root user of a key that does not name it", scene{kind: Root, decides: true, resource: bucket(to("Allow", aws(ops), "*"))}, Denied, ""},
		{"the root user of a key that delegates", scene{kind: Root, decides: true, resource: bucket(to("Allow", aws(home), "*"))}, Allowed, ""},

		{"a key whose policy could not be read", scene{decides: true, policies: inline(allowAll), resource: []Policy{{Kind: "key policy", Unread: "refused"}}}, Possible, "refused"},
		{"a key whose policy could not be read, and no right", scene{decides: true, resource: []Policy{{Kind: "key policy", Unread: "refused"}}}, Denied, ""},
		{"a federation token of a user", scene{resource: bucket(to("Allow", aws("arn:aws:sts::111122223333:federated-user/bob"), "s3:*"))}, Possible, "federated-user/bob"},
		{"a unit of the organisation", scene{scps: [][]Policy{scp(allowAll), scp(allowAll)}, resource: bucket(to("Allow", `"*"`, "s3:*", when(`"ForAnyValue:StringLike":{"aws:PrincipalOrgPaths":"o-ours/r-0/*"}`)))}, Allowed, ""},
		{"another unit of it", scene{scps: [][]Policy{scp(allowAll), scp(allowAll)}, resource: bucket(to("Allow", `"*"`, "s3:*", when(`"ForAnyValue:StringLike":{"aws:PrincipalOrgPaths":"o-ours/r-0/ou-1/*"}`)))}, Denied, ""},

		{"a service", scene{kind: Service, resource: bucket(to("Allow", `{"Service":"cloudtrail.amazonaws.com"}`, "s3:*"))}, Allowed, ""},
		{"another service", scene{kind: Service, resource: bucket(to("Allow", `{"Service":"config.amazonaws.com"}`, "s3:*"))}, Denied, ""},
		{"anybody", scene{kind: Anybody, resource: bucket(everybody)}, Allowed, ""},
		{"anybody but one", scene{kind: Anybody, resource: bucket(everybody, to("Deny", aws("555555555555"), "*"))}, Allowed, ""},
		{"the one", scene{kind: Foreigner, resource: bucket(everybody, to("Deny", aws("555555555555"), "*"))}, Denied, ""},
		{"somebody of an account of which one is denied", scene{kind: Foreigner, resource: bucket(everybody, to("Deny", aws("arn:aws:iam::555555555555:user/x"), "*"))}, Possible, ""},
		{"anybody of the organisation is nobody from outside", scene{kind: Anybody, resource: bucket(to("Allow", `"*"`, "s3:*", when(`"StringEquals":{"aws:PrincipalOrgID":"o-ours"}`)))}, Denied, ""},
		{"anybody of another organisation is", scene{kind: Anybody, resource: bucket(to("Allow", `"*"`, "s3:*", when(`"StringEquals":{"aws:PrincipalOrgID":["o-ours","o-theirs"]}`)))}, Possible, ""},
		{"everybody in the organisation, from inside", scene{resource: bucket(to("Allow", `"*"`, "s3:*", when(`"StringEquals":{"aws:PrincipalOrgID":"o-ours"}`)))}, Allowed, ""},
		{"the default policy of a topic is for nobody from outside", scene{kind: Anybody, resource: bucket(to("Allow", `"*"`, "s3:*", when(`"StringEquals":{"AWS:SourceOwner":"111122223333"}`)))}, Denied, ""},
		{"whether it is for everybody inside is not told", scene{resource: bucket(to("Allow", `"*"`, "s3:*", when(`"StringEquals":{"AWS:SourceOwner":"111122223333"}`)))}, Possible, "AWS:SourceOwner"},
		{"one of another account is for somebody from outside", scene{kind: Anybody, resource: bucket(to("Allow", `"*"`, "s3:*", when(`"StringEquals":{"AWS:SourceOwner":"555555555555"}`)))}, Possible, ""},
		{"anybody of an account of the organisation", scene{kind: Anybody, resource: bucket(to("Allow", `"*"`, "s3:*", when(`"StringEquals":{"aws:PrincipalAccount":["111122223333","999999999999"]}`)))}, Denied, ""},
		{"the organisation, of whoever has one: those in none, and the anonymous", scene{kind: Anybody, resource: bucket(to("Allow", `"*"`, "s3:*", when(`"StringEqualsIfExists":{"aws:PrincipalOrgID":"o-ours"}`)))}, Allowed, ""},
		{"all its paths ours, of whoever has any", scene{kind: Anybody, resource: bucket(to("Allow", `"*"`, "s3:*", when(`"ForAllValues:StringEquals":{"aws:PrincipalOrgPaths":"o-ours/r-1/"}`)))}, Allowed, ""},
		{"all its paths like ours", scene{kind: Anybody, resource: bucket(to("Allow", `"*"`, "s3:*", when(`"ForAllValues:StringLike":{"aws:PrincipalOrgPaths":"o-ours/*"}`)))}, Allowed, ""},
		{"any of its paths ours", scene{kind: Anybody, resource: bucket(to("Allow", `"*"`, "s3:*", when(`"ForAnyValue:StringLike":{"aws:PrincipalOrgPaths":"o-ours/*"}`)))}, Denied, ""},
		{"the account, of whoever has one: the anonymous", scene{kind: Anybody, resource: bucket(to("Allow", `"*"`, "s3:*", when(`"StringEqualsIfExists":{"aws:PrincipalAccount":"111122223333"}`)))}, Allowed, ""},
		{"the role, of whoever has one: the anonymous", scene{kind: Anybody, resource: bucket(to("Allow", `"*"`, "s3:*", when(`"ArnLikeIfExists":{"aws:PrincipalArn":"arn:aws:iam::111122223333:role/*"}`)))}, Allowed, ""},
		{"the role, of everybody", scene{kind: Anybody, resource: bucket(to("Allow", `"*"`, "s3:*", when(`"ArnLike":{"aws:PrincipalArn":"arn:aws:iam::111122223333:role/*"}`)))}, Possible, "PrincipalArn"},
		{"which KMS does not admit", scene{kind: Anybody, action: "kms:Decrypt", decides: true, resource: bucket(to("Allow", `"*"`, "kms:*", when(`"StringEqualsIfExists":{"kms:CallerAccount":"111122223333"}`)))}, Denied, ""},
		{"an account has one", scene{kind: Foreigner, resource: bucket(to("Allow", aws("555555555555"), "s3:*", when(`"StringEqualsIfExists":{"aws:PrincipalAccount":"111122223333"}`)))}, Denied, ""},
		{"and may be in no organisation", scene{kind: Foreigner, resource: bucket(to("Allow", aws("555555555555"), "s3:*", when(`"StringEqualsIfExists":{"aws:PrincipalOrgID":"o-ours"}`)))}, Allowed, ""},
		{"a deny of other paths spares those who have none", scene{kind: Anybody, resource: bucket(everybody, to("Deny", `"*"`, "s3:*", when(`"ForAnyValue:StringNotLike":{"aws:PrincipalOrgPaths":"o-ours/*"}`)))}, Allowed, ""},
		{"a deny of other organisations, of whoever has one, as well", scene{kind: Anybody, resource: bucket(everybody, to("Deny", `"*"`, "s3:*", when(`"StringNotEquals":{"aws:PrincipalOrgID":"o-ours"},"Null":{"aws:PrincipalOrgID":"false"}`)))}, Allowed, ""},
		{"a deny of whoever is not ours", scene{kind: Anybody, resource: bucket(everybody, to("Deny", `"*"`, "s3:*", when(`"StringNotEquals":{"aws:PrincipalOrgID":"o-ours"}`)))}, Denied, ""},
		{"two denies, each of which spares somebody, and together nobody", scene{kind: Anybody, resource: bucket(everybody, to("Deny", `"*"`, "s3:*", when(`"Null":{"aws:PrincipalOrgID":"true"}`)), to("Deny", `"*"`, "s3:*", when(`"ForAnyValue:StringNotLike":{"aws:PrincipalOrgPaths":"o-ours/*"}`)))}, Denied, ""},
		{"one condition met by those who have one, another by those who have none", scene{kind: Anybody, resource: bucket(to("Allow", `"*"`, "s3:*", when(`"StringEqualsIfExists":{"aws:PrincipalOrgID":"o-ours"},"ForAnyValue:StringNotLike":{"aws:PrincipalOrgPaths":"o-ours/*"}`)))}, Denied, ""},
		{"a session name that the caller chooses", scene{action: "sts:AssumeRole", decides: true, resource: bucket(to("Allow", aws(alice), "sts:AssumeRole", when(`"StringLike":{"sts:RoleSessionName":"x*"}`)))}, Allowed, ""},
		{"two things asked of it", scene{action: "sts:AssumeRole", decides: true, resource: bucket(to("Allow", aws(alice), "sts:AssumeRole", when(`"StringLike":{"sts:RoleSessionName":"x*"},"StringNotLike":{"sts:RoleSessionName":"x*"}`)))}, Possible, ""},
		{"a deny of session names", scene{action: "sts:AssumeRole", decides: true, resource: bucket(to("Allow", aws(alice), "sts:AssumeRole"), to("Deny", aws(alice), "sts:AssumeRole", when(`"StringLike":{"sts:RoleSessionName":"x*"}`)))}, Possible, ""},
		{"a foreign account", scene{kind: Foreigner, resource: bucket(to("Allow", aws("555555555555"), "s3:*"))}, Allowed, ""},
		{"a foreign account under an RCP for the organisation only", scene{kind: Foreigner, resource: bucket(to("Allow", aws("555555555555"), "s3:*")), rcps: [][]Policy{rcp(everybody, to("Deny", `"*"`, "s3:*", when(`"StringNotEqualsIfExists":{"aws:PrincipalOrgID":"o-ours"}`)))}}, Denied, "resource control policy"},

		{"some of the objects", scene{on: "arn:aws:s3:::logs/*", policies: inline(`{"Effect":"Allow","Action":"*","Resource":"arn:aws:s3:::logs/tmp/*"}`)}, Allowed, ""},
		{"all but some of the objects", scene{on: "arn:aws:s3:::logs/*", policies: inline(allowAll, `{"Effect":"Deny","Action":"*","Resource":"arn:aws:s3:::logs/AWSLogs/*"}`)}, Possible, "covers a part"},
		{"exactly those that are denied", scene{on: "arn:aws:s3:::logs/*", policies: inline(`{"Effect":"Allow","Action":"*","Resource":"arn:aws:s3:::logs/tmp/*"}`, `{"Effect":"Deny","Action":"*","Resource":"arn:aws:s3:::logs/t*"}`)}, Possible, ""},
		{"objects of another bucket", scene{on: "arn:aws:s3:::logs/*", policies: inline(`{"Effect":"Allow","Action":"*","Resource":"arn:aws:s3:::logs2/*"}`)}, Denied, ""},
	} {
		d := tc.s.decide()
		said := d.Reason + " " + d.Path()
		if d.Outcome != tc.want || !strings.Contains(said, tc.says) {
			t.Errorf("%s: %s (%s), want %s with %q", tc.name, d.Outcome, said, tc.want, tc.says)
		}
	}
}

func TestAPartIsNamedWhereOnlyItIsAllowed(t *testing.T) {
	d := scene{on: "arn:aws:s3:::logs/*", policies: inline(`{"Effect":"Allow","Action":"*","Resource":"arn:aws:s3:::logs/tmp/*"}`)}.decide()
	if d.On != "arn:aws:s3:::logs/tmp/*" {
		t.Errorf("on %q", d.On)
	}
}

func TestConditions(t *testing.T) {
	const key = "k:key"
	for _, tc := range []struct {
		op     string
		values []string
		have   []string // nil: absent
		want   truth
	}{
		{"StringEquals", []string{"a", "b"}, []string{"b"}, yes},
		{"StringEquals", []string{"a*"}, []string{"ab"}, no},
		{"StringEquals", []string{"a"}, nil, no},
		{"StringEqualsIfExists", []string{"a"}, nil, yes},
		{"StringEqualsIfExists", []string{"a"}, []string{"b"}, no},
		{"StringNotEquals", []string{"a", "b"}, []string{"b"}, no},
		{"StringNotEquals", []string{"a", "b"}, []string{"c"}, yes},
		{"StringNotEquals", []string{"a"}, nil, yes},
		{"StringEqualsIgnoreCase", []string{"A"}, []string{"a"}, yes},
		{"StringNotEqualsIgnoreCase", []string{"A"}, []string{"a"}, no},
		{"StringLike", []string{"a?c*"}, []string{"abcd"}, yes},
		{"StringNotLike", []string{"a?c*"}, []string{"abcd"}, no},
		{"NumericEquals", []string{"10"}, []string{"10.0"}, yes},
		{"NumericNotEquals", []string{"10"}, []string{"10.0"}, no},
		{"NumericLessThan", []string{"10"}, []string{"9"}, yes},
		{"NumericLessThan", []string{"10"}, []string{"10"}, no},
		{"NumericLessThanEquals", []string{"10"}, []string{"10"}, yes},
		{"NumericGreaterThan", []string{"10"}, []string{"11"}, yes},
		{"NumericGreaterThanEquals", []string{"10"}, []string{"9"}, no},
		{"NumericEquals", []string{"ten"}, []string{"10"}, maybe},
		{"NumericEquals", []string{"1e999999999"}, []string{"1"}, maybe},
		{"DateGreaterThan", []string{"2026-01-01T00:00:00Z"}, []string{"2026-06-01T00:00:00Z"}, yes},
		{"DateLessThan", []string{"2026-01-01"}, []string{"1767225599"}, yes},
		{"DateLessThanEquals", []string{"2026-01-01"}, []string{"1767225600"}, yes},
		{"DateEquals", []string{"2026-01-01"}, []string{"2026-01-01T00:00:00Z"}, yes},
		{"DateNotEquals", []string{"2026-01-01"}, []string{"2026-01-01T00:00:00Z"}, no},
		{"DateGreaterThanEquals", []string{"soon"}, []string{"2026-01-01"}, maybe},
		{"Bool", []string{"TRUE"}, []string{"true"}, yes},
		{"Bool", []string{"1"}, []string{"true"}, maybe},
		{"BoolIfExists", []string{"false"}, nil, yes},
		{"BinaryEquals", []string{"QmluYXJ5"}, []string{"QmluYXJ5"}, yes},
		{"BinaryEquals", []string{"?"}, []string{"QmluYXJ5"}, maybe},
		{"IpAddress", []string{"203.0.113.0/24"}, []string{"203.0.113.9"}, yes},
		{"IpAddress", []string{"203.0.113.0/24"}, []string{"::ffff:203.0.113.9"}, yes},
		{"NotIpAddress", []string{"203.0.113.0/24", "2001:db8::/32"}, []string{"2001:db8::1"}, no},
		{"NotIpAddress", []string{"203.0.113.7"}, []string{"203.0.113.8"}, yes},
		{"IpAddress", []string{"here"}, []string{"203.0.113.8"}, maybe},
		{"ArnEquals", []string{"arn:aws:iam::*:role/x*"}, []string{"arn:aws:iam::1:role/xy"}, yes},
		{"ArnLike", []string{"arn:aws:iam::*:x"}, []string{"arn:aws:iam::1:role:x"}, no},
		{"ArnNotLike", []string{"arn:aws:iam::*:role/*"}, []string{"arn:aws:iam::1:role/xy"}, no},
		{"ArnNotEquals", []string{"arn:aws:iam::2:role/*"}, []string{"arn:aws:iam::1:role/xy"}, yes},
		{"ArnLike", []string{"role"}, []string{"arn:aws:iam::1:role/xy"}, maybe},
		{"Null", []string{"true"}, nil, yes},
		{"Null", []string{"true"}, []string{"x"}, no},
		{"Null", []string{"false"}, []string{"x"}, yes},
		{"Null", []string{"perhaps"}, nil, maybe},
		{"ForAllValues:StringEquals", []string{"a", "b"}, []string{"a", "b"}, yes},
		{"ForAllValues:StringEquals", []string{"a"}, []string{"a", "b"}, no},
		{"ForAllValues:StringEquals", []string{"a"}, nil, yes},
		{"ForAnyValue:StringEquals", []string{"a"}, []string{"a", "b"}, yes},
		{"ForAnyValue:StringEquals", []string{"c"}, []string{"a", "b"}, no},
		{"ForAnyValue:StringEquals", []string{"c"}, nil, no},
		{"ForAnyValue:StringNotEquals", []string{"a"}, []string{"a", "b"}, yes},
		{"ForAllValues:StringNotEquals", []string{"a"}, []string{"a", "b"}, no},
		{"ForSomeValues:StringEquals", []string{"a"}, []string{"a"}, maybe},
		{"StringSounds", []string{"a"}, []string{"a"}, maybe},
		{"NumericNotLessThan", []string{"1"}, []string{"2"}, maybe},
		{"NullIfExists", []string{"true"}, nil, maybe},
	} {
		c := Condition{Operator: tc.op, Key: "K:Key", Values: tc.values}
		c.prepare(true)
		got := c.holds(func(k string) ([]string, bool) { return tc.have, k == key })
		if got != tc.want {
			t.Errorf("%s %v with %v: %d, want %d", tc.op, tc.values, tc.have, got, tc.want)
		}
		if unknown := c.holds(func(string) ([]string, bool) { return nil, false }); unknown != maybe {
			t.Errorf("%s %v: with an unknown key %d", tc.op, tc.values, unknown)
		}
	}
}

func TestDocumentsThatCannotBeRead(t *testing.T) {
	for _, tc := range []struct{ name, text, want string }{
		{"nothing", ``, "EOF"},
		{"no object", `[]`, ""},
		{"null", `null`, "null is no object"},
		{"no statement", `{"Version":"2012-10-17"}`, "Statement: is missing"},
		{"an effect twice", `{"Statement":{"Effect":"Allow","Effect":"Deny","Action":"*","Resource":"*"}}`, "duplicate"},
		{"a condition key twice", `{"Statement":{"Effect":"Allow","Action":"*","Resource":"*","Condition":{"Bool":{"a":"true","a":"false"}}}}`, "duplicate"},
		{"a statement that is a word", `{"Statement":["x"]}`, "statement 1"},
		{"actions that are numbers", `{"Statement":{"Effect":"Allow","Action":[1],"Resource":"*"}}`, "Action is no string"},
		{"a principal that is a list", `{"Statement":{"Effect":"Allow","Action":"*","Principal":["*"]}}`, "Principal"},
		{"a value that is an object", `{"Statement":{"Effect":"Allow","Action":"*","Condition":{"Bool":{"a":{}}}}}`, "neither string nor number"},
		{"something after it", `{"Statement":[]} {}`, ""},
		{"too much", `{"Statement":"` + strings.Repeat("x", MaxDocument) + `"}`, "more than"},
		{"broken text", "{\"Statement\":{\"Effect\":\"Allow\",\"Action\":\"\xff\"}}", "UTF-8"},
	} {
		_, err := ParseDocument([]byte(tc.text))
		if err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s: %v, want %q", tc.name, err, tc.want)
		}
	}
}

func TestWhatIsNotKnownIsKept(t *testing.T) {
	d, err := ParseDocument([]byte(`{"Version":"2030-01-01","Comment":"x","Statement":[{"Effect":"Permit","Action":"*","NotAction":"*","Resource":"*","When":1}]}`))
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(d.Odd, []string{`element "Comment"`, `version "2030-01-01"`}) {
		t.Errorf("document: %q", d.Odd)
	}
	if want := []string{`element "When"`, `effect "Permit"`, "both Action and NotAction"}; !slices.Equal(d.Statements[0].Odd, want) {
		t.Errorf("statement: %q", d.Statements[0].Odd)
	}
}

// Filters and lists of addresses have ARNs of their own, below the detector's.
func TestWhatIsBelowADetectorIsAskedToo(t *testing.T) {
	const detector = "arn:aws:guardduty:us-east-1:111122223333:detector/d"
	for _, tc := range []struct {
		action, statement string
		want              Outcome
	}{
		{"guardduty:UpdateFilter", `{"Effect":"Allow","Action":"guardduty:UpdateFilter","Resource":"` + detector + `/filter/*"}`, Allowed},
		{"guardduty:UpdateFilter", `{"Effect":"Allow","Action":"guardduty:UpdateFilter","Resource":"` + detector + `/filter/noise"}`, Allowed},
		{"guardduty:UpdateFilter", `{"Effect":"Allow","Action":"guardduty:UpdateFilter","Resource":"` + detector + `"}`, Allowed},
		{"guardduty:CreateFilter", `{"Effect":"Allow","Action":"guardduty:*Filter","Resource":"` + detector + `/filter/*"}`, Allowed},
		{"guardduty:UpdateIPSet", `{"Effect":"Allow","Action":"guardduty:*","Resource":"` + detector + `/ipset/*"}`, Allowed},
		{"guardduty:UpdateIPSet", `{"Effect":"Allow","Action":"guardduty:*","Resource":"` + detector + `/filter/*"}`, Denied},
		{"guardduty:UpdateDetector", `{"Effect":"Allow","Action":"guardduty:*","Resource":"` + detector + `/filter/*"}`, Denied},
	} {
		p := &Principal{Kind: User, ARN: alice, Account: home, Policies: inline(tc.statement)}
		w := &World{Accounts: map[string]*Account{home: {ID: home, Principals: []*Principal{p}}}}
		if d := w.Decide(p, tc.action, &Resource{Kind: "detector", ARN: detector, Account: home, NoPolicies: true}); d.Outcome != tc.want {
			t.Errorf("%s by %s: %s, want %s", tc.action, tc.statement, d.Outcome, tc.want)
		}
	}
}
