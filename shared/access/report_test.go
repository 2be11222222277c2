package access

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
)

const (
	logsAdmin = "arn:aws:iam::999999999999:role/logs-admin"
	deployer  = "arn:aws:iam::111122223333:role/deployer"
	oscar     = "arn:aws:iam::222222222222:user/oscar"
)

// world is an organisation in which the archive's administrator does nothing else.
func world() *World {
	admin := doc("managed policy", `{"Sid":"All","Effect":"Allow","Action":"*","Resource":"*"}`)
	admin.Name = "arn:aws:iam::aws:policy/AdministratorAccess"
	trust := func(principal string) *Policy {
		p := doc("trust policy", `{"Effect":"Allow","Principal":`+principal+`,"Action":"sts:AssumeRole"}`)
		p.Name = ""
		return &p
	}
	may := func(role string) Policy {
		return doc("inline policy", `{"Effect":"Allow","Action":"sts:AssumeRole","Resource":"`+role+`"}`)
	}
	root := func(account string) *Principal {
		return &Principal{Kind: Root, ARN: "arn:aws:iam::" + account + ":root", Account: account}
	}
	levels := []Level{{Name: "r-1", SCPs: []Policy{doc(SCPKind, allowAll)}, NoRCPs: true}}
	return &World{
		Organization: "o-ours", Management: "100000000001", Targets: []string{home},
		Accounts: map[string]*Account{
			archive: {ID: archive, Levels: levels, Principals: []*Principal{root(archive),
				{Kind: Role, ARN: logsAdmin, Account: archive, Policies: []Policy{admin}, Trust: trust(`{"AWS":"222222222222","Service":"ec2.amazonaws.com"}`)}}},
			home: {ID: home, Levels: levels, Principals: []*Principal{root(home),
				{Kind: Role, ARN: deployer, Account: home, Policies: []Policy{admin}, Trust: trust(aws(oscar))}}},
			"222222222222": {ID: "222222222222", Levels: levels, Principals: []*Principal{root("222222222222"),
				{Kind: User, ARN: oscar, Account: "222222222222", Policies: []Policy{may(deployer)}}}},
		},
		Resources: []*Resource{
			{Kind: "object", ARN: "arn:aws:s3:::logs/*", Account: archive, Region: "us-east-1", Archive: true, RCPs: true,
				Policies: bucket(`{"Sid":"Deliver","Effect":"Allow","Principal":{"Service":"cloudtrail.amazonaws.com"},"Action":"s3:PutObject","Resource":"arn:aws:s3:::logs/AWSLogs/*"}`)},
			{Kind: "key", ARN: "arn:aws:kms:us-east-1:999999999999:key/k", Account: archive, Region: "us-east-1", Archive: true, PolicyDecides: true,
				Policies: []Policy{doc("key policy", to("Allow", aws("arn:aws:iam::999999999999:root"), "kms:*"))}},
			{Kind: "rule", ARN: "arn:aws:events:*:111122223333:rule/*", Account: home, NoPolicies: true},
		},
	}
}

const (
	provider  = "arn:aws:iam::999999999999:oidc-provider/tokens.example.com"
	federated = `{"Federated":"` + provider + `"}`
)

// trusts sets a role's trust policy.
func trusts(w *World, role string, statements ...string) {
	p := doc("trust policy", statements...)
	w.principal(role).Trust = &p
}

// may lets a principal assume any role whose ARN ends so.
func may(w *World, who, role string) {
	p := w.principal(who)
	p.Policies = append(p.Policies, doc("inline policy", `{"Effect":"Allow","Action":"sts:AssumeRole","Resource":"arn:aws:iam::*:`+role+`"}`))
}

// chain has roles hop1, hop2, ... of the account that acts assume one another, in a
// circle, the archive's administrator the first; the last is an administrator.
func chain(w *World, n int) {
	arn := func(i int) string { return fmt.Sprintf("arn:aws:iam::%s:role/hop%d", home, i) }
	for i := 1; i <= n; i++ {
		p := &Principal{Kind: Role, ARN: arn(i), Account: home}
		p.Policies = inline(`{"Effect":"Allow","Action":"sts:AssumeRole","Resource":["` + arn(i+1) + `","` + arn(1) + `"]}`)
		if i == n {
			p.Policies = inline(allowAll)
		}
		w.Accounts[home].Principals = append(w.Accounts[home].Principals, p)
		before := arn(i - 1)
		if i == 1 {
			before = logsAdmin
		}
		trusts(w, arn(i), to("Allow", aws(before), "sts:AssumeRole"), to("Allow", aws(arn(n)), "sts:AssumeRole"))
	}
}

func report(t *testing.T, w *World) Report {
	t.Helper()
	r, err := w.NewReport()
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// said are the findings, a line each.
func said(r Report) string {
	var b strings.Builder
	for _, f := range r.Findings {
		b.WriteString(f.Kind + " " + f.Outcome.String() + " " + f.Principal + ": " + f.Detail + "\n")
	}
	return b.String()
}

func TestAReportShowsWhoCanAndByWhichStatement(t *testing.T) {
	r := report(t, world())
	if len(r.Findings) > 0 || r.ExitCode() != 0 {
		t.Errorf("findings in a sound world:\n%s", said(r))
	}
	var b bytes.Buffer
	if err := r.WriteTable(&b); err != nil {
		t.Fatal(err)
	}
	golden(t, "testdata/report.golden", b.Bytes())
	b.Reset()
	if err := r.WriteCSV(&b); err != nil {
		t.Fatal(err)
	}
	golden(t, "testdata/report.csv", b.Bytes())
	text, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	var back Report
	if err := json.Unmarshal(text, &back); err != nil || len(back.Abilities) != len(r.Abilities) || back.Abilities[0].Outcome != r.Abilities[0].Outcome {
		t.Errorf("read back: %d of %d abilities, %v", len(back.Abilities), len(r.Abilities), err)
	}
}

func TestFindings(t *testing.T) {
	person := func(w *World) *Principal { return w.principal(oscar) }
	for _, tc := range []struct {
		name   string
		change func(*World)
		want   string // "" = none
		code   int
	}{
		{"nothing", func(*World) {}, "", 0},
		{"the trail is another account's", func(w *World) {
			w.Resources = append(w.Resources, &Resource{Kind: "trail", ARN: "arn:aws:cloudtrail:us-east-1:100000000001:trail/t", Account: "100000000001", Archive: true, NoPolicies: true})
		}, "", 0},
		{"the account that acts is its delegated administrator", func(w *World) {
			w.Resources = append(w.Resources, &Resource{Kind: "trail", ARN: "arn:aws:cloudtrail:us-east-1:100000000001:trail/t", Account: "100000000001", Archive: true, NoPolicies: true, Delegates: []string{home}})
		}, "acts-and-tampers allowed " + deployer + ": acts in 111122223333 (iam:AttachRolePolicy) and can tamper with the archive: cloudtrail:DeleteTrail", 1},
		{"somebody who acts may tamper as a role of the archive", func(w *World) {
			person(w).Policies = append(person(w).Policies, doc("inline policy", `{"Effect":"Allow","Action":"sts:AssumeRole","Resource":"*"}`))
		}, "acts-and-tampers allowed " + oscar + ": acts in 111122223333 (iam:AttachRolePolicy) and can tamper with the archive: kms:DeleteImportedKeyMaterial, kms:ScheduleKeyDeletion, s3:DeleteObject, s3:DeleteObjectVersion and 8 more", 1},
		{"only perhaps, if a condition allows it", func(w *World) {
			person(w).Policies = append(person(w).Policies, doc("inline policy", `{"Effect":"Allow","Action":"sts:AssumeRole","Resource":"*"`+when(`"Bool":{"aws:MultiFactorAuthPresent":"true"}`)+`}`))
		}, "acts-and-tampers possible " + oscar, 1},
		{"a role that acts is admitted by the bucket", func(w *World) {
			w.Resources[0].Policies = append(w.Resources[0].Policies, doc("bucket policy", to("Allow", aws(deployer), "s3:Delete*")))
		}, "acts-and-tampers allowed " + deployer, 1},
		{"the injector, which has no other right, is admitted by the bucket", func(w *World) {
			p := &Principal{Kind: Role, ARN: "arn:aws:iam::111122223333:role/injector", Account: home}
			w.Accounts[home].Principals = append(w.Accounts[home].Principals, p)
			w.Injectors = []string{p.ARN}
			p.Policies = []Policy{doc("inline policy", `{"Effect":"Allow","Action":"s3:DeleteObject","Resource":"*"}`)}
			w.Resources[0].Policies = append(w.Resources[0].Policies, doc("bucket policy", to("Allow", aws(p.ARN), "s3:Delete*")))
		}, "acts-and-tampers allowed arn:aws:iam::111122223333:role/injector: acts in 111122223333 (canaries)", 1},
		{"a whole account that acts is admitted: its root user too", func(w *World) {
			w.Resources[0].Policies = append(w.Resources[0].Policies, doc("bucket policy", to("Allow", aws(home), "s3:Delete*")))
		}, "acts-and-tampers allowed arn:aws:iam::111122223333:root", 1},
		{"the archive's account is a target itself: its root user is no news, its administrator is", func(w *World) {
			w.Targets = []string{archive}
		}, "acts-and-tampers allowed " + logsAdmin, 1},
		{"it is admitted to read only", func(w *World) {
			w.Resources[0].Policies = append(w.Resources[0].Policies, doc("bucket policy", to("Allow", aws(deployer), "s3:Get*")))
		}, "", 0},
		{"it is admitted, and an SCP denies", func(w *World) {
			w.Resources[0].Policies = append(w.Resources[0].Policies, doc("bucket policy", to("Allow", aws(deployer), "s3:Delete*")))
			w.Accounts[home].Levels = []Level{{Name: "r-1", NoRCPs: true, SCPs: []Policy{doc(SCPKind, allowAll, `{"Effect":"Deny","Action":"s3:Delete*","Resource":"arn:aws:s3:::logs*"}`)}}}
		}, "", 0},
		{"anybody may read", func(w *World) {
			w.Resources[0].Policies = append(w.Resources[0].Policies, doc("bucket policy", to("Allow", `"*"`, "s3:GetObject")))
		}, "anybody allowed *: on arn:aws:s3:::logs/*: s3:GetObject\n", 1},
		{"anybody of the organisation may read", func(w *World) {
			w.Resources[0].Policies = append(w.Resources[0].Policies, doc("bucket policy", to("Allow", `"*"`, "s3:GetObject", when(`"StringEquals":{"aws:PrincipalOrgID":"o-ours"}`))))
		}, "", 0},
		{"another account may decrypt", func(w *World) {
			w.Resources[1].Policies = append(w.Resources[1].Policies, doc("key policy", to("Allow", aws("arn:aws:iam::555555555555:root"), "kms:Decrypt")))
		}, "outsider allowed arn:aws:iam::555555555555:root: on arn:aws:kms:us-east-1:999999999999:key/k: kms:Decrypt\n", 1},
		{"another account may become the archive's administrator", func(w *World) {
			w.principal(logsAdmin).Trust = &Policy{Kind: "trust policy", Doc: doc("", to("Allow", aws("555555555555"), "sts:AssumeRole", when(`"StringEquals":{"sts:ExternalId":"x"}`))).Doc}
		}, "outsider possible 555555555555: on " + logsAdmin + ": sts:AssumeRole\n", 1},
		{"whoever a provider knows may become the archive's administrator", func(w *World) {
			trusts(w, logsAdmin, to("Allow", federated, "sts:AssumeRoleWithWebIdentity"))
		}, "anybody allowed " + provider + ": on " + logsAdmin + ": sts:AssumeRoleWithWebIdentity\n", 1},
		{"or has a token for AWS", func(w *World) {
			trusts(w, logsAdmin, to("Allow", federated, "sts:AssumeRoleWithWebIdentity", when(`"StringEquals":{"tokens.example.com:aud":"sts.amazonaws.com"}`)))
		}, "anybody allowed " + provider, 1},
		{"or any name", func(w *World) {
			trusts(w, logsAdmin, to("Allow", federated, "sts:AssumeRoleWithWebIdentity", when(`"StringLike":{"tokens.example.com:aud":"sts.amazonaws.com","tokens.example.com:sub":"*"}`)))
		}, "anybody allowed " + provider, 1},
		{"not for another audience", func(w *World) {
			trusts(w, logsAdmin, to("Allow", federated, "sts:AssumeRoleWithWebIdentity", when(`"StringEquals":{"tokens.example.com:aud":"logs"}`)))
		}, "", 0},
		{"or is in the company's directory", func(w *World) {
			trusts(w, logsAdmin, to("Allow", `{"Federated":"arn:aws:iam::999999999999:saml-provider/sso"}`, "sts:AssumeRoleWithSAML"))
		}, "anybody allowed arn:aws:iam::999999999999:saml-provider/sso: on " + logsAdmin + ": sts:AssumeRoleWithSAML\n", 1},
		{"only whom a condition names", func(w *World) {
			trusts(w, logsAdmin, to("Allow", federated, "sts:AssumeRoleWithWebIdentity", when(`"StringEquals":{"tokens.example.com:aud":"sts.amazonaws.com","tokens.example.com:sub":"repo:logs"}`)))
		}, "", 0},
		{"a provider whose people act and tamper", func(w *World) {
			for _, role := range []string{deployer, logsAdmin} {
				trusts(w, role, to("Allow", federated, "sts:AssumeRoleWithWebIdentity", when(`"StringLike":{"tokens.example.com:sub":"repo:*"}`)))
			}
		}, "acts-and-tampers possible " + provider, 1},
		{"somebody who tampers and acts as a role that a role can assume", func(w *World) {
			chain(w, 2)
		}, "acts-and-tampers allowed " + logsAdmin + ": acts in 111122223333", 1},
		{"after three hops", func(w *World) {
			chain(w, 3)
		}, "acts-and-tampers allowed " + logsAdmin + ": acts in 111122223333", 1},
		{"after four, which is beyond what is followed", func(w *World) {
			chain(w, 4)
		}, "", 0},
		{"a short way that is only possible does not hide a long one that is allowed", func(w *World) {
			hop := "arn:aws:iam::999999999999:role/hop"
			w.Accounts[archive].Principals = append(w.Accounts[archive].Principals, &Principal{Kind: Role, ARN: hop, Account: archive})
			trusts(w, hop, to("Allow", aws(oscar), "sts:AssumeRole"))
			trusts(w, logsAdmin, to("Allow", aws(oscar), "sts:AssumeRole", when(`"Bool":{"aws:MultiFactorAuthPresent":"true"}`)), to("Allow", aws(hop), "sts:AssumeRole"))
			may(w, oscar, "role/*")
		}, "acts-and-tampers allowed " + oscar, 1},
		{"nor does its own possible act hide what it does as a role", func(w *World) {
			may(w, oscar, "role/logs-admin")
			w.Targets = append(w.Targets, "222222222222")
			person(w).Policies = append(person(w).Policies, doc("inline policy", `{"Effect":"Allow","Action":"iam:CreateRole","Resource":"*"`+when(`"Bool":{"aws:MultiFactorAuthPresent":"true"}`)+`}`))
		}, "acts-and-tampers allowed " + oscar + ": acts in 111122223333", 1},
		{"a canonical user", func(w *World) {
			w.Resources[0].Policies = append(w.Resources[0].Policies, doc("bucket policy", to("Allow", `{"CanonicalUser":"79a5"}`, "s3:GetObject")))
		}, "outsider allowed CanonicalUser 79a5", 1},
		{"who was deleted is nobody", func(w *World) {
			w.Resources[0].Policies = append(w.Resources[0].Policies, doc("bucket policy", to("Allow", aws("AROAEXAMPLE"), "s3:*")))
		}, "", 0},
		{"an account that refused the role", func(w *World) {
			w.Accounts[home].Unread, w.Accounts[home].Principals = "refused", nil
		}, "", 2},
		{"a policy that cannot be read, and nobody acts who could be let in", func(w *World) {
			w.Resources[0].Policies, w.Targets = []Policy{{Kind: "bucket policy", Unread: "refused"}}, nil
		}, "", 2},
		{"a policy that cannot be read may admit who acts", func(w *World) {
			w.Resources[0].Policies = []Policy{{Kind: "bucket policy", Unread: "refused"}}
		}, "acts-and-tampers possible " + deployer, 1},
		{"a bucket of which nobody knows whose it is", func(w *World) {
			w.Resources[0].Account, w.Resources[0].Policies = "", []Policy{{Kind: "bucket policy", Unread: "whose it is is not known"}}
		}, "acts-and-tampers possible " + deployer, 1},
		{"a trust policy that cannot be read may let in whoever may ask", func(w *World) {
			person(w).Policies = append(person(w).Policies, doc("inline policy", `{"Effect":"Allow","Action":"sts:AssumeRole","Resource":"*"}`))
			w.principal(logsAdmin).Trust = &Policy{Kind: "trust policy", Unread: "cut"}
		}, "acts-and-tampers possible " + oscar, 1},
		{"an identity policy that cannot be read: it may be everything", func(w *World) {
			p := w.principal(deployer)
			p.Policies = append(p.Policies, Policy{Kind: "inline policy", Name: "broken", Unread: "cut"})
		}, "", 2},
	} {
		w := world()
		tc.change(w)
		r := report(t, w)
		if got := said(r); (tc.want == "") != (got == "") || !strings.Contains(got, tc.want) {
			t.Errorf("%s: found %q, want %q", tc.name, got, tc.want)
		}
		if r.ExitCode() != tc.code {
			t.Errorf("%s: exit code %d, want %d; gaps %v", tc.name, r.ExitCode(), tc.code, r.Gaps)
		}
	}
}

func TestAPathShowsTheChain(t *testing.T) {
	w := world()
	p := w.principal(oscar)
	p.Policies = append(p.Policies, doc("inline policy", `{"Sid":"Any","Effect":"Allow","Action":"sts:*","Resource":"*"}`))
	r := report(t, w)
	if len(r.Findings) != 1 {
		t.Fatal(said(r))
	}
	path := strings.Join(r.Findings[0].Path, "\n")
	for _, want := range []string{
		oscar + " can assume " + deployer + ": inline policy p, statement 1 + trust policy, statement 1",
		oscar + " can assume " + logsAdmin + ": inline policy p, statement 1 (Any) + trust policy, statement 1",
		"kms:DeleteImportedKeyMaterial on arn:aws:kms:us-east-1:999999999999:key/k: managed policy arn:aws:iam::aws:policy/AdministratorAccess, statement 1 (All)",
	} {
		if !strings.Contains(path, want) {
			t.Errorf("the path does not say %q:\n%s", want, path)
		}
	}
}

func TestFilter(t *testing.T) {
	r := report(t, world())
	only := r.Filter("S3:deleteobjectVERSION", "role/logs-*")
	if len(only.Abilities) != 1 || only.Abilities[0].Principal != logsAdmin || len(r.Abilities) < 10 {
		t.Errorf("%d of %d abilities", len(only.Abilities), len(r.Abilities))
	}
	if len(only.Assumers) == 0 || len(r.Filter("s3:*", "*/nobody").Abilities) != 0 {
		t.Error("assumers, or nobody")
	}
}

// Whoever asks about one principal alone is not told that nothing is wrong.
func TestAFilterHidesNoFindingFromTheExitCode(t *testing.T) {
	w := world()
	w.Resources[0].Policies = append(w.Resources[0].Policies, doc("bucket policy", to("Allow", `"*"`, "s3:GetObject")))
	r := report(t, w).Filter("", "role/nobody")
	if len(r.Findings) != 0 || r.NotShown != 1 || r.ExitCode() != 1 {
		t.Errorf("%d findings, %d not shown, exit code %d", len(r.Findings), r.NotShown, r.ExitCode())
	}
	var table, csv bytes.Buffer
	if err := r.WriteTable(&table); err != nil {
		t.Fatal(err)
	}
	if err := r.WriteCSV(&csv); err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{table.String(), csv.String()} {
		if !strings.Contains(strings.ToLower(text), "1 findings of other principals are not shown") {
			t.Errorf("nothing says so:\n%s", text)
		}
	}
	if all := r.Filter("", ""); all.ExitCode() != 1 || report(t, world()).Filter("", "role/nobody").ExitCode() != 0 {
		t.Error("filtered twice, or nothing to find")
	}
}

func TestHostileNamesNeitherSteerATerminalNorASpreadsheet(t *testing.T) {
	w := world()
	evil := &Principal{Kind: User, ARN: "=cmd|'/c calc'!A1\x1b[2J\nroot", Account: archive, Policies: inline(allowAll)}
	w.Accounts[archive].Principals = append(w.Accounts[archive].Principals, evil)
	r := report(t, w)
	var table, csv bytes.Buffer
	if err := r.WriteTable(&table); err != nil {
		t.Fatal(err)
	}
	if err := r.WriteCSV(&csv); err != nil {
		t.Fatal(err)
	}
	if strings.Contains(table.String()+csv.String(), "\x1b") || strings.Contains(csv.String(), ",=cmd") || !strings.Contains(csv.String(), ",'=cmd") {
		t.Errorf("%q", csv.String())
	}
}
