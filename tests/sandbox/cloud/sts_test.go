package cloud_test

import (
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/sts"

	"github.com/auditcanary/auditcanary/tests/sandbox/cloud"
)

func TestASessionCarriesItsSourceIdentityIntoEveryRecord(t *testing.T) {
	b := start(t)
	session := b.injector(target, east, "")
	who, err := sts.NewFromConfig(session).GetCallerIdentity(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	if want := "arn:aws:sts::" + target + ":assumed-role/auditcanary-injector/auditcanary-c1"; *who.Arn != want {
		t.Errorf("arn %s, want %s", *who.Arn, want)
	}
	rec := b.last("GetCallerIdentity")
	for _, tc := range []struct {
		want any
		path []string
	}{
		{"AssumedRole", []string{"userIdentity", "type"}},
		{*who.Arn, []string{"userIdentity", "arn"}},
		{*who.UserId, []string{"userIdentity", "principalId"}},
		{cloud.InjectorRole(target), []string{"userIdentity", "sessionContext", "sessionIssuer", "arn"}},
		{"auditcanary", []string{"userIdentity", "sessionContext", "sourceIdentity"}},
		{"127.0.0.1", []string{"sourceIPAddress"}},
		{target, []string{"recipientAccountId"}},
		{nil, []string{"requestParameters"}},
	} {
		if got := at(rec, tc.path...); got != tc.want {
			t.Errorf("%s = %v, want %v", strings.Join(tc.path, "."), got, tc.want)
		}
	}
	if ua, _ := rec["userAgent"].(string); !strings.Contains(ua, "app/auditcanary") {
		t.Errorf("user agent %q", ua)
	}
}

func TestAssumeRoleAcrossAccountsIsRecordedInBoth(t *testing.T) {
	b := start(t)
	b.injector(target, west, `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"*","Resource":"*"}]}`)
	got := b.all("AssumeRole")
	if len(got) != 2 || got[0].account != cloud.ToolAccount || got[1].account != target {
		t.Fatalf("%d records: %s", len(got), pretty(got))
	}
	mine, theirs := got[0].rec, got[1].rec
	if mine["sharedEventID"] == nil || mine["sharedEventID"] != theirs["sharedEventID"] || mine["eventID"] == theirs["eventID"] || mine["requestID"] != theirs["requestID"] {
		t.Errorf("ids: %s %s", pretty(mine), pretty(theirs))
	}
	if at(theirs, "userIdentity", "type") != "AWSAccount" || at(theirs, "userIdentity", "arn") != nil {
		t.Errorf("the owner's copy says too much of the caller: %s", pretty(theirs["userIdentity"]))
	}
	if mine["readOnly"] != true || mine["awsRegion"] != west {
		t.Errorf("readOnly %v, region %v", mine["readOnly"], mine["awsRegion"])
	}
	if text := pretty(got); strings.Contains(strings.ToLower(text), "secretaccesskey") {
		t.Errorf("a record holds a secret: %s", text)
	}
}

func TestAssumeRoleIsRefusedWhen(t *testing.T) {
	good := func() *sts.AssumeRoleInput {
		return &sts.AssumeRoleInput{
			RoleArn: aws.String(cloud.InjectorRole(target)), RoleSessionName: aws.String("auditcanary-c1"),
			SourceIdentity: aws.String("auditcanary"), DurationSeconds: aws.Int32(900),
		}
	}
	for _, tc := range []struct {
		name   string
		change func(*sts.AssumeRoleInput)
		code   string
		says   string
	}{
		{"nothing is wrong", func(*sts.AssumeRoleInput) {}, "", ""},
		{"the trust policy asks for another session name", func(in *sts.AssumeRoleInput) { in.RoleSessionName = aws.String("mallory") }, "AccessDenied", "because no resource-based policy allows the sts:AssumeRole action"},
		{"the source identity is not the one it may set", func(in *sts.AssumeRoleInput) { in.SourceIdentity = aws.String("mallory") }, "AccessDenied", "sts:SetSourceIdentity"},
		{"the role is not there", func(in *sts.AssumeRoleInput) { in.RoleArn = aws.String(cloud.InjectorRole(target) + "x") }, "AccessDenied", "sts:AssumeRole"},
		{"the role trusts somebody else", func(in *sts.AssumeRoleInput) {
			in.RoleArn = aws.String("arn:aws:iam::" + target + ":role/auditcanary-break-glass")
		}, "AccessDenied", "no resource-based policy"},
		{"the duration is too short", func(in *sts.AssumeRoleInput) { in.DurationSeconds = aws.Int32(60) }, "ValidationError", "DurationSeconds"},
		{"the duration is too long", func(in *sts.AssumeRoleInput) { in.DurationSeconds = aws.Int32(43200) }, "ValidationError", "DurationSeconds"},
		{"the session policy is no policy", func(in *sts.AssumeRoleInput) { in.Policy = aws.String(`{"Statement":[{"Effect":"Perhaps"}]}`) }, "MalformedPolicyDocument", "Effect"},
		{"the session policy is too long", func(in *sts.AssumeRoleInput) { in.Policy = aws.String(strings.Repeat(" ", 2049)) }, "ValidationError", "2048"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			b := start(t)
			in := good()
			tc.change(in)
			_, err := sts.NewFromConfig(b.runner(east)).AssumeRole(t.Context(), in)
			wantCode(t, err, tc.code)
			if !strings.Contains(message(err), tc.says) {
				t.Errorf("message %q does not hold %q", message(err), tc.says)
			}
			got := b.all("AssumeRole")
			if tc.code == "" {
				return
			}
			if len(got) != 1 || got[0].account != cloud.ToolAccount || got[0].rec["errorCode"] != tc.code {
				t.Fatalf("records: %s", pretty(got))
			}
			if tc.code == "AccessDenied" && got[0].rec["requestParameters"] != nil {
				t.Errorf("a denied AssumeRole has parameters in its record")
			}
		})
	}
}

func TestBreakGlassKeepsTheSourceIdentity(t *testing.T) {
	b := start(t)
	role := "arn:aws:iam::" + target + ":role/auditcanary-break-glass"
	injector := sts.NewFromConfig(b.injector(target, west, ""))
	in := &sts.AssumeRoleInput{RoleArn: &role, RoleSessionName: aws.String("auditcanary-c1"), DurationSeconds: aws.Int32(900),
		Policy: aws.String(`{"Version":"2012-10-17","Statement":[{"Effect":"Deny","Action":"*","Resource":"*"}]}`)}
	out, err := injector.AssumeRole(t.Context(), in)
	if err != nil {
		t.Fatal(err)
	}
	if *out.SourceIdentity != "auditcanary" {
		t.Errorf("source identity %v did not survive chaining", out.SourceIdentity)
	}
	if n := len(b.all("AssumeRole")); n != 3 { // two of the injector's session, one of this
		t.Errorf("%d records", n)
	}
	_, err = iam.NewFromConfig(b.session(out, west)).ListRoles(t.Context(), nil)
	wantCode(t, err, "AccessDenied")
	if !strings.Contains(message(err), "with an explicit deny in a session policy") {
		t.Errorf("message %q", message(err))
	}
	in.SourceIdentity = aws.String("somebody")
	_, err = injector.AssumeRole(t.Context(), in)
	wantCode(t, err, "AccessDenied")
}

func TestBadCredentialsLeaveNoRecord(t *testing.T) {
	for _, tc := range []struct {
		name string
		call func(*box) error
		code string
	}{
		{"unknown key", func(b *box) error {
			return ask(b, b.config(cloud.Key{ID: "AKIANOBODY", Secret: "x"}, "", east))
		}, "InvalidClientTokenId"},
		{"wrong secret", func(b *box) error {
			return ask(b, b.config(cloud.Key{ID: b.cloud.Runner().ID, Secret: "x"}, "", east))
		}, "SignatureDoesNotMatch"},
		{"a session without its token", func(b *box) error {
			c, _ := b.injector(target, east, "").Credentials.Retrieve(b.t.Context())
			b.sink.got = nil
			return ask(b, b.config(cloud.Key{ID: c.AccessKeyID, Secret: c.SecretAccessKey}, "", east))
		}, "InvalidClientTokenId"},
		{"a session past its end", func(b *box) error {
			c := b.injector(target, east, "")
			b.sink.got = nil
			b.real.add(15*time.Minute + time.Second)
			b.clock.now = time.Now() // the signature itself is in time
			return ask(b, c)
		}, "ExpiredToken"},
		{"a signature from another day", func(b *box) error {
			b.real.add(16 * time.Minute)
			return ask(b, b.runner(east))
		}, "RequestTimeTooSkewed"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			b := start(t)
			wantCode(t, tc.call(b), tc.code)
			if len(b.sink.got) != 0 {
				t.Errorf("records: %s", pretty(b.sink.got))
			}
		})
	}
}

func TestASignatureOfTheSandboxTimeIsGood(t *testing.T) {
	b := start(t)
	b.real.add(-24 * time.Hour) // the client's time is far from the machine's
	b.clock.now = time.Now()
	if err := ask(b, b.runner(east)); err != nil {
		t.Fatal(err)
	}
}

func ask(b *box, c aws.Config) error {
	_, err := sts.NewFromConfig(c).GetCallerIdentity(b.t.Context(), nil)
	return err
}
