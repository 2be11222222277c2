package aws

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"reflect"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"

	"github.com/auditcanary/auditcanary/shared/canary"
	"github.com/auditcanary/auditcanary/shared/run"
)

// iamList answers a listing of IAM with the members of one page.
func iamList(op, list string, members ...string) func(http.ResponseWriter, *called) {
	return iamPage(op, list, "", members...)
}

// iamPage says that there is more, behind a marker, if marker is not empty.
func iamPage(op, list, marker string, members ...string) func(http.ResponseWriter, *called) {
	more := "<IsTruncated>false</IsTruncated>"
	if marker != "" {
		more = "<IsTruncated>true</IsTruncated><Marker>" + marker + "</Marker>"
	}
	var b strings.Builder
	for _, m := range members {
		b.WriteString("<member>" + m + "</member>")
	}
	return text(fmt.Sprintf("<%[1]sResponse><%[1]sResult>%[2]s<%[3]s>%[4]s</%[3]s></%[1]sResult></%[1]sResponse>", op, more, list, b.String()))
}

const oldTags = "auditcanary:run=20261122-abcdef auditcanary:canary=20261122-abcdef-01"

// iamTags answers a listing of tags by the parameter that names the thing.
func iamTags(op, param string, tags map[string]string) func(http.ResponseWriter, *called) {
	return func(rw http.ResponseWriter, c *called) {
		var members []string
		for _, kv := range strings.Fields(tags[c.form.Get(param)]) {
			k, v, _ := strings.Cut(kv, "=")
			members = append(members, "<Key>"+k+"</Key><Value>"+v+"</Value>")
		}
		iamList(op, "Tags", members...)(rw, c)
	}
}

// cleanIdentity answers as an account does in which no canary left anything of IAM.
func cleanIdentity(w *wire) {
	w.answer["iam:ListRolePolicies"] = iamList("ListRolePolicies", "PolicyNames")
	w.answer["iam:GetRole"] = lockedRoleIs("arn:aws:iam::aws:policy/AWSDenyAll", "fixture")
	w.answer["iam:ListPolicies"] = iamList("ListPolicies", "Policies")
	w.answer["iam:ListUsers"] = iamList("ListUsers", "Users")
	w.answer["iam:ListInstanceProfiles"] = iamList("ListInstanceProfiles", "InstanceProfiles")
	w.answer["iam:ListOpenIDConnectProviders"] = iamList("ListOpenIDConnectProviders", "OpenIDConnectProviderList")
}

// leftOfIdentity lists what of IAM is left. The undo of each is one that a sweep admits.
func leftOfIdentity(t *testing.T, w *wire) (left []run.Leftover, err error) {
	t.Helper()
	for _, k := range identityKinds() {
		found, e := leftOf(t, w, k.name, virginia)
		for i := range found {
			found[i].Kind = k.name
		}
		left, err = append(left, found...), errors.Join(err, e)
	}
	return left, err
}

// lockedRoleIs answers GetRole with a boundary ("" = none) and the value of the tag.
func lockedRoleIs(boundary, tag string) func(http.ResponseWriter, *called) {
	b := ""
	if boundary != "" {
		b = "<PermissionsBoundary><PermissionsBoundaryType>PermissionsBoundaryPolicy</PermissionsBoundaryType><PermissionsBoundaryArn>" + boundary + "</PermissionsBoundaryArn></PermissionsBoundary>"
	}
	return text(`<GetRoleResponse><GetRoleResult><Role><Path>/auditcanary/</Path><RoleName>auditcanary-locked</RoleName><RoleId>AROALOCKED</RoleId>` +
		`<Arn>arn:aws:iam::111122223333:role/auditcanary/auditcanary-locked</Arn><CreateDate>2026-11-22T12:00:00Z</CreateDate>` + b +
		`<Tags><member><Key>auditcanary</Key><Value>` + tag + `</Value></member></Tags></Role></GetRoleResult></GetRoleResponse>`)
}

func TestIdentityPlansRefuse(t *testing.T) {
	const (
		managed  = "aws/iam-managed-policy"
		inline   = "aws/iam-inline-role-policy"
		trust    = "aws/iam-trust-policy"
		key      = "aws/iam-service-account-key"
		provider = "aws/iam-oidc-provider"
		profile  = "aws/iam-instance-profile"
		locked   = "aws/iam-boundary-removal-denied"
		allowing = `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"s3:GetObject","Resource":"*"}]}`
	)
	for name, tt := range map[string]struct {
		scenario string
		step     int
		breakIt  func(*canary.Step)
		want     string
	}{
		"a policy that allows":         {managed, 0, func(s *canary.Step) { s.Params["PolicyDocument"] = allowing }, `PolicyDocument statement 0 has effect "Allow"`},
		"a policy in another path":     {managed, 0, func(s *canary.Step) { s.Params["Path"] = "/" }, `Path must be /auditcanary/`},
		"somebody's name for a policy": {managed, 0, func(s *canary.Step) { s.Params["PolicyName"] = "admins" }, `PolicyName "admins" is not canary-marked`},
		"a policy without tags":        {managed, 0, func(s *canary.Step) { delete(s.Params, "Tags") }, `the tags auditcanary:run=${run}`},
		"an undo of another policy": {managed, 0, func(s *canary.Step) {
			s.Undo.Params["PolicyArn"] = "arn:aws:iam::111122223333:policy/auditcanary/${name}-b"
		}, `but the call it must undo auditcanary-20261122-abcdef-01`},
		"somebody's policy changed": {managed, 1, func(s *canary.Step) { s.Params["PolicyArn"] = "arn:aws:iam::111122223333:policy/admins" }, `is no policy of the canaries: it must begin with arn:aws:iam::111122223333:policy/auditcanary/`},
		"our name in another path":  {managed, 1, func(s *canary.Step) { s.Params["PolicyArn"] = "arn:aws:iam::111122223333:policy/x/${name}" }, `is no policy of the canaries`},
		"a path below ours":         {managed, 1, func(s *canary.Step) { s.Params["PolicyArn"] = "arn:aws:iam::111122223333:policy/auditcanary/x/${name}" }, `is no policy of the canaries`},
		"another account's policy":  {managed, 1, func(s *canary.Step) { s.Params["PolicyArn"] = "arn:aws:iam::999999999999:policy/auditcanary/${name}" }, `is no policy of the canaries`},
		"another canary's policy": {managed, 1, func(s *canary.Step) {
			s.Params["PolicyArn"] = "arn:aws:iam::111122223333:policy/auditcanary/auditcanary-other-01"
		}, `is not canary-marked`},
		"a version that allows":            {managed, 1, func(s *canary.Step) { s.Params["PolicyDocument"] = allowing }, `has effect "Allow"`},
		"a version that counts":            {managed, 1, func(s *canary.Step) { s.Params["SetAsDefault"] = true }, `SetAsDefault must be false, not true`},
		"a version known beforehand":       {managed, 1, func(s *canary.Step) { s.Undo.Params["VersionId"] = "v1" }, `it must be what the call it must undo replied`},
		"an inline policy that allows":     {inline, 1, func(s *canary.Step) { s.Params["PolicyDocument"] = allowing }, `has effect "Allow"`},
		"a policy into somebody's role":    {inline, 1, func(s *canary.Step) { s.Params["RoleName"] = "auditcanary-injector" }, `RoleName "auditcanary-injector" is not canary-marked`},
		"an undo of another inline policy": {inline, 1, func(s *canary.Step) { s.Undo.Params["PolicyName"] = "${name}-b" }, `names PolicyName auditcanary-20261122-abcdef-01-b`},
		"an inline policy that stays":      {inline, 1, func(s *canary.Step) { s.Undo, s.NoUndo = nil, "the role goes anyhow, and all in it" }, `has no undo: it must be undone by iam:DeleteRolePolicy`},
		"somebody trusted": {trust, 1, func(s *canary.Step) {
			s.Params["PolicyDocument"] = `{"Statement":{"Effect":"Allow","Principal":"*","Action":"sts:AssumeRole"}}`
		}, `has effect "Allow"`},
		"the injector's trust":         {trust, 1, func(s *canary.Step) { s.Params["RoleName"] = "auditcanary-injector" }, `is not canary-marked`},
		"a user without the boundary":  {key, 0, func(s *canary.Step) { delete(s.Params, "PermissionsBoundary") }, `PermissionsBoundary must be arn:aws:iam::aws:policy/AWSDenyAll`},
		"a user with another boundary": {key, 0, func(s *canary.Step) { s.Params["PermissionsBoundary"] = "arn:aws:iam::aws:policy/ReadOnlyAccess" }, `PermissionsBoundary must be arn:aws:iam::aws:policy/AWSDenyAll`},
		"somebody's key":               {key, 1, func(s *canary.Step) { s.Params["UserName"] = "alice" }, `UserName "alice" is not canary-marked`},
		"the caller's own key":         {key, 1, func(s *canary.Step) { delete(s.Params, "UserName") }, `UserName "" is not canary-marked`},
		"a key known beforehand":       {key, 1, func(s *canary.Step) { s.Undo.Params["AccessKeyId"] = "AKIA1234567890ABCDEF" }, `it must be what the call it must undo replied`},
		"a key made active":            {key, 2, func(s *canary.Step) { s.Params["Status"] = "Active" }, `Status must be Inactive, not Active`},
		"a key by pattern":             {key, 2, func(s *canary.Step) { s.Params["AccessKeyId"] = "AKIA*" }, `AccessKeyId "AKIA*" must be the id of the key`},
		"a provider somebody has":      {provider, 0, func(s *canary.Step) { s.Params["Url"] = "https://token.actions.githubusercontent.com" }, `is no provider of the canary: it must be https://auditcanary-20261122-abcdef-01.example.com`},
		"our name at somebody's":       {provider, 0, func(s *canary.Step) { s.Params["Url"] = "https://${name}.example.com.evil.net" }, `is no provider of the canary`},
		"a provider with a path":       {provider, 0, func(s *canary.Step) { s.Params["Url"] = "https://evil.net/${name}.example.com" }, `is no provider of the canary`},
		"another canary's provider":    {provider, 0, func(s *canary.Step) { s.Params["Url"] = "https://${name}1.example.com" }, `is no provider of the canary`},
		"a provider without tags":      {provider, 0, func(s *canary.Step) { delete(s.Params, "Tags") }, `the tags auditcanary:run=${run}`},
		"an undo of somebody's provider": {provider, 0, func(s *canary.Step) {
			s.Undo.Params["OpenIDConnectProviderArn"] = "arn:aws:iam::111122223333:oidc-provider/token.actions.githubusercontent.com"
		}, `is no provider of the canary: it must be arn:aws:iam::111122223333:oidc-provider/auditcanary-20261122-abcdef-01.example.com`},
		"another account's provider": {provider, 0, func(s *canary.Step) {
			s.Undo.Params["OpenIDConnectProviderArn"] = "arn:aws:iam::999999999999:oidc-provider/${name}.example.com"
		}, `is no provider of the canary`},
		"somebody's instance profile":        {profile, 0, func(s *canary.Step) { s.Params["InstanceProfileName"] = "web" }, `InstanceProfileName "web" is not canary-marked`},
		"an instance profile without a path": {profile, 0, func(s *canary.Step) { delete(s.Params, "Path") }, `Path must be /auditcanary/`},
		"the injector's boundary":            {locked, 0, func(s *canary.Step) { s.Params["RoleName"] = "auditcanary-injector" }, `RoleName "auditcanary-injector" is no configured fixture`},
		"another fixture's boundary":         {locked, 0, func(s *canary.Step) { s.Params["RoleName"] = "auditcanary-break-glass" }, `must be the fixture locked_role`},
		"a boundary that is none": {locked, 0, func(s *canary.Step) {
			s.Undo.Params["PermissionsBoundary"] = "arn:aws:iam::aws:policy/AdministratorAccess"
		}, `PermissionsBoundary must be arn:aws:iam::aws:policy/AWSDenyAll`},
		"a boundary that stays away": {locked, 0, func(s *canary.Step) { s.Undo, s.NoUndo = nil, "it will be refused anyhow" }, `it must be undone by iam:PutRolePermissionsBoundary`},
	} {
		t.Run(name, func(t *testing.T) {
			c := testCloud(t, aws.Config{})
			s := scenario(t, c, tt.scenario)
			tt.breakIt(&s.Steps[tt.step])
			_, err := c.Plan(s, testCanary("us-east-1"))
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got  %v\nwant ...%s...", err, tt.want)
			}
		})
	}
}

// A locked role that is configured under a name which is no canary's is not touched.
func TestTheLockedRoleMustBeMarked(t *testing.T) {
	tg := testTarget()
	tg.Fixtures["*"]["locked_role"] = "admin"
	c, err := New(Options{Clock: testCloud(t, aws.Config{}).clock, Targets: []Target{tg}})
	if err != nil {
		t.Fatal(err)
	}
	_, err = c.Plan(scenario(t, c, "aws/iam-boundary-removal-denied"), testCanary("us-east-1"))
	if err == nil || !strings.Contains(err.Error(), `RoleName "admin" is not canary-marked`) {
		t.Error(err)
	}
}

// leftIdentity is an account with one leftover of each kind, with its like that
// is not ours, and with one that goes while it is being looked at.
func leftIdentity(w *wire) {
	cleanAccount(w)
	const own, somebodys, odd, going = "auditcanary-20261122-abcdef-01", "admins", "auditcanary-20261122-abcdef-02", "auditcanary-20261122-abcdef-03"
	tags := map[string]string{somebodys: oldTags, odd: oldTags} // odd carries another's tags
	arns := map[string]string{}
	gone := xmlError(404, "NoSuchEntity", "gone")
	all := func(form func(name string) string) []string {
		return []string{form(somebodys), form(odd), form("auditcanary-untagged"), form(going), form("auditcanary-injector")}
	}
	// The leftover itself stands on the second page.
	list := func(op, member, prefix string, form func(name string) string) {
		w.answer["iam:"+op] = func(rw http.ResponseWriter, c *called) {
			if c.form.Get("PathPrefix") != "/auditcanary/" || prefix != "" && c.form.Get("Scope") != prefix {
				w.t.Errorf("%s asked for %v", op, c.form)
			}
			if c.form.Get("Marker") == "" {
				iamPage(op, member, "more", all(form)...)(rw, c)
				return
			}
			iamList(op, member, form(own))(rw, c)
		}
	}
	tagsBy := func(op, param, before, after string) {
		byParam := map[string]string{before + own + after: oldTags}
		for name, kv := range tags {
			byParam[before+name+after] = kv
		}
		w.answer["iam:"+op] = func(rw http.ResponseWriter, c *called) {
			if strings.Contains(c.form.Get(param), going) {
				gone(rw, c)
				return
			}
			iamTags(op, param, byParam)(rw, c)
		}
	}
	const account = "arn:aws:iam::111122223333:"
	arns["policy"], arns["user"], arns["profile"] = account+"policy/auditcanary/", account+"user/auditcanary/", account+"instance-profile/auditcanary/"

	list("ListPolicies", "Policies", "Local", func(name string) string {
		return "<PolicyName>" + name + "</PolicyName><Arn>" + arns["policy"] + name + "</Arn>"
	})
	tagsBy("ListPolicyTags", "PolicyArn", arns["policy"], "")
	w.answer["iam:ListPolicyVersions"] = iamList("ListPolicyVersions", "Versions",
		"<VersionId>v2</VersionId><IsDefaultVersion>false</IsDefaultVersion>", "<VersionId>v1</VersionId><IsDefaultVersion>true</IsDefaultVersion>")

	list("ListUsers", "Users", "", func(name string) string {
		return "<Path>/auditcanary/</Path><UserId>AIDA</UserId><CreateDate>2026-11-22T12:00:00Z</CreateDate><UserName>" + name + "</UserName><Arn>" + arns["user"] + name + "</Arn>"
	})
	tagsBy("ListUserTags", "UserName", "", "")
	w.answer["iam:ListAccessKeys"] = iamList("ListAccessKeys", "AccessKeyMetadata",
		"<UserName>"+own+"</UserName><AccessKeyId>AKIA1111111111111111</AccessKeyId><Status>Inactive</Status>", "<UserName>"+own+"</UserName><AccessKeyId>AKIA2222222222222222</AccessKeyId><Status>Active</Status>")

	list("ListInstanceProfiles", "InstanceProfiles", "", func(name string) string {
		return "<Path>/auditcanary/</Path><InstanceProfileId>AIPA</InstanceProfileId><CreateDate>2026-11-22T12:00:00Z</CreateDate><InstanceProfileName>" + name + "</InstanceProfileName><Arn>" + arns["profile"] + name + "</Arn><Roles/>"
	})
	tagsBy("ListInstanceProfileTags", "InstanceProfileName", "", "")

	provider := func(name string) string { return "<Arn>" + account + "oidc-provider/" + name + ".example.com</Arn>" }
	w.answer["iam:ListOpenIDConnectProviders"] = iamList("ListOpenIDConnectProviders", "OpenIDConnectProviderList",
		append(all(provider), provider(own), "<Arn>"+account+"oidc-provider/token.actions.githubusercontent.com</Arn>", "<Arn>"+account+"oidc-provider/evil.net/"+own+".example.com</Arn>")...)
	tagsBy("ListOpenIDConnectProviderTags", "OpenIDConnectProviderArn", account+"oidc-provider/", ".example.com")

	w.answer["iam:GetRole"] = lockedRoleIs("", "fixture")
}

func TestIdentitysLeftoversAreFoundAndUndone(t *testing.T) {
	w := newWire(t)
	leftIdentity(w)
	left, err := leftOfIdentity(t, w)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, l := range left {
		line := fmt.Sprintf("%s %s run=%s canary=%s:", l.Kind, l.ID, l.Run, l.Canary)
		for _, u := range l.Undo {
			line += " " + u.Operation
			if u.Operation != "iam:PutRolePermissionsBoundary" && !reflect.DeepEqual(u.Gone, []string{"NoSuchEntity"}) {
				t.Errorf("%s counts %v as gone", u.Operation, u.Gone)
			}
		}
		got = append(got, line)
	}
	const whose = " run=20261122-abcdef canary=20261122-abcdef-01: "
	want := []string{
		"iam role unbounded arn:aws:iam::111122223333:role/auditcanary/auditcanary-locked run= canary=: iam:PutRolePermissionsBoundary",
		"iam policy arn:aws:iam::111122223333:policy/auditcanary/auditcanary-20261122-abcdef-01" + whose + "iam:DeletePolicyVersion iam:DeletePolicy",
		"iam user arn:aws:iam::111122223333:user/auditcanary/auditcanary-20261122-abcdef-01" + whose + "iam:DeleteAccessKey iam:DeleteAccessKey iam:DeleteUser",
		"iam instance profile arn:aws:iam::111122223333:instance-profile/auditcanary/auditcanary-20261122-abcdef-01" + whose + "iam:DeleteInstanceProfile",
		"iam oidc provider arn:aws:iam::111122223333:oidc-provider/auditcanary-20261122-abcdef-01.example.com" + whose + "iam:DeleteOpenIDConnectProvider",
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	if undo := left[1].Undo; !reflect.DeepEqual(undo[0].Params, map[string]any{"PolicyArn": left[1].ID, "VersionId": "v2"}) {
		t.Errorf("the default version goes with its policy: %v", undo)
	}
}

// Policies that a role still holds go before it.
func TestARolesOwnPoliciesAreUndoneFirst(t *testing.T) {
	w := newWire(t)
	cleanAccount(w)
	const own = "auditcanary-20261122-abcdef-01"
	w.answer["iam:ListRoles"] = roles("", map[string]string{own: oldTags})
	w.answer["iam:ListRoleTags"] = tagsOf(map[string]string{own: oldTags})
	w.answer["iam:ListRolePolicies"] = iamList("ListRolePolicies", "PolicyNames", own)
	left, err := leftOfIdentity(t, w)
	if err != nil || len(left) != 1 {
		t.Fatalf("%v %v", left, err)
	}
	want := []canary.Call{
		{Operation: "iam:DeleteRolePolicy", Region: "us-east-1", Gone: []string{"NoSuchEntity"}, Params: map[string]any{"RoleName": own, "PolicyName": own}},
		{Operation: "iam:DeleteRole", Region: "us-east-1", Gone: []string{"NoSuchEntity"}, Params: map[string]any{"RoleName": own}},
	}
	if !reflect.DeepEqual(left[0].Undo, want) {
		t.Errorf("got  %v\nwant %v", left[0].Undo, want)
	}
}

func TestIdentityThatCannotBeListedIsAnError(t *testing.T) {
	denied := xmlError(403, "AccessDenied", "no")
	for call, tt := range map[string]struct {
		answer func(http.ResponseWriter, *called)
		want   string
	}{
		"iam:ListRolePolicies":              {denied, "iam:ListRolePolicies of auditcanary-20261122-abcdef-01"},
		"iam:ListPolicies":                  {denied, "iam:ListPolicies"},
		"iam:ListPolicyTags":                {denied, "iam:ListPolicyTags of auditcanary-20261122-abcdef-02"},
		"iam:ListPolicyVersions":            {denied, "iam:ListPolicyVersions of auditcanary-20261122-abcdef-01"},
		"iam:ListUsers":                     {xmlError(404, "NoSuchEntity", "a list is never gone"), "iam:ListUsers"},
		"iam:ListUserTags":                  {denied, "iam:ListUserTags of"},
		"iam:ListAccessKeys":                {denied, "iam:ListAccessKeys of auditcanary-20261122-abcdef-01"},
		"iam:ListInstanceProfiles":          {denied, "iam:ListInstanceProfiles"},
		"iam:ListInstanceProfileTags":       {denied, "iam:ListInstanceProfileTags of"},
		"iam:ListOpenIDConnectProviders":    {denied, "iam:ListOpenIDConnectProviders"},
		"iam:ListOpenIDConnectProviderTags": {denied, "iam:ListOpenIDConnectProviderTags of"},
		"iam:GetRole":                       {denied, "iam:GetRole of auditcanary-locked"},
	} {
		t.Run(call, func(t *testing.T) {
			w := newWire(t)
			leftIdentity(w)
			w.answer["iam:ListRoles"] = roles("", map[string]string{"auditcanary-20261122-abcdef-01": oldTags})
			w.answer["iam:ListRoleTags"] = tagsOf(map[string]string{"auditcanary-20261122-abcdef-01": oldTags})
			w.answer[call] = tt.answer
			left, err := leftOfIdentity(t, w)
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want ...%s...", err, tt.want)
			}
			if len(left) != 5 { // of six kinds, one cannot be listed
				t.Errorf("%d leftovers come with the error, want those of the other 5 kinds: %v", len(left), left)
			}
		})
	}
}

func TestTheLockedRoleIsRestoredOnlyWhereACanaryTookItsBoundary(t *testing.T) {
	for name, tt := range map[string]struct {
		answer func(http.ResponseWriter, *called)
		want   string // of the error
	}{
		"gone":             {xmlError(404, "NoSuchEntity", "gone"), "the fixture does not exist"},
		"without the tag":  {lockedRoleIs("", "production"), "lacks the tag auditcanary=fixture: it is not touched"},
		"another boundary": {lockedRoleIs("arn:aws:iam::111122223333:policy/lax", "fixture"), "its boundary is arn:aws:iam::111122223333:policy/lax: no canary does that"},
		"an empty reply":   {text("<GetRoleResponse><GetRoleResult/></GetRoleResponse>"), "the reply is empty"},
		"as it should be":  {lockedRoleIs("arn:aws:iam::aws:policy/AWSDenyAll", "fixture"), ""},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWire(t)
			cleanAccount(w)
			w.answer["iam:GetRole"] = tt.answer
			left, err := leftOfIdentity(t, w)
			if len(left) != 0 || (err == nil) != (tt.want == "") || err != nil && !strings.Contains(err.Error(), tt.want) {
				t.Errorf("%v, %v; want ...%s...", left, err, tt.want)
			}
		})
	}
}

// The reply to CreateAccessKey is the only place in which the secret of a key
// ever stands. None of it comes into the receipt, which the ledger keeps.
func TestTheSecretOfAnAccessKeyIsNowhere(t *testing.T) {
	const secret = "hUsHhUsHhUsHhUsHhUsHhUsHhUsHhUsHhUsHhUsH"
	reply := `<CreateAccessKeyResponse xmlns="https://iam.amazonaws.com/doc/2010-05-08/"><CreateAccessKeyResult><AccessKey>` +
		`<SecretAccessKey>` + secret + `</SecretAccessKey><UserName>u</UserName><AccessKeyId>AKIA1111111111111111</AccessKeyId><Status>Active</Status></AccessKey></CreateAccessKeyResult></CreateAccessKeyResponse>`
	for name, tt := range map[string]struct {
		answer func(http.ResponseWriter, *called)
		result canary.Result
	}{
		"in a reply":         {text(reply), canary.Succeeded},
		"in a cut reply":     {text(reply[:strings.Index(reply, "<UserName>")+4]), canary.Unknown},
		"in a garbled reply": {text(strings.Replace(reply, "</SecretAccessKey>", "</Garbled>", 1)), canary.Unknown},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWire(t)
			w.answer["iam:CreateAccessKey"] = tt.answer
			sess, p := open(t, w, "aws/iam-service-account-key")
			r := sess.Do(context.Background(), p.Steps[1].Call, []string{"AccessKey.AccessKeyId", "AccessKey.SecretAccessKey", "AccessKey"})
			if r.Outcome.Result != tt.result {
				t.Fatalf("%+v", r.Outcome)
			}
			b, err := json.Marshal(r)
			if err != nil || strings.Contains(string(b), secret) {
				t.Errorf("the receipt holds the secret (%v): %s", err, b)
			}
			if tt.result == canary.Succeeded && !reflect.DeepEqual(r.Output, map[string]string{"AccessKey.AccessKeyId": "AKIA1111111111111111"}) {
				t.Errorf("output %v", r.Output)
			}
		})
	}
}
