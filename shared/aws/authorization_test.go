package aws

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/auditcanary/auditcanary/shared/access"
)

const (
	bucketAccount = "999999999999"
	management    = "100000000001"
	archiveKey    = "arn:aws:kms:us-east-1:999999999999:key/k-1"
	alertTopic    = "arn:aws:sns:us-east-1:100000000001:alerts"
)

func authDoc(statement string) string {
	return url.PathEscape(`{"Version":"2012-10-17","Statement":[` + statement + `]}`)
}

// authorizations is a wire that answers everything an inspection asks for: one
// account with a user of a group, a role with a boundary that only GetPolicy knows;
// an organisation with a unit; a trail with key, topic and log group.
func authorizations(t *testing.T) *wire {
	w := newWire(t)
	details := func(inner string, more bool) string {
		marker := ""
		if more {
			marker = "<Marker>m</Marker>"
		}
		return fmt.Sprintf(`<GetAccountAuthorizationDetailsResponse><GetAccountAuthorizationDetailsResult><IsTruncated>%t</IsTruncated>%s%s</GetAccountAuthorizationDetailsResult></GetAccountAuthorizationDetailsResponse>`, more, marker, inner)
	}
	w.answer["iam:GetAccountAuthorizationDetails"] = func(rw http.ResponseWriter, c *called) {
		if c.form.Get("Marker") == "" {
			text(details(`<UserDetailList><member><UserName>alice</UserName><UserId>AIDA1</UserId><Arn>arn:aws:iam::111122223333:user/alice</Arn>
<GroupList><member>admins</member><member>ghosts</member></GroupList><Tags><member><Key>team</Key><Value>blue</Value></member></Tags></member></UserDetailList>`, true))(rw, c)
			return
		}
		text(details(`<GroupDetailList><member><GroupName>admins</GroupName><GroupPolicyList><member><PolicyName>own</PolicyName><PolicyDocument>`+authDoc(`{"Sid":"plus+sign","Effect":"Allow","Action":"s3:*","Resource":"*"}`)+`</PolicyDocument></member></GroupPolicyList>
<AttachedManagedPolicies><member><PolicyName>Some</PolicyName><PolicyArn>arn:aws:iam::aws:policy/Some</PolicyArn></member></AttachedManagedPolicies></member></GroupDetailList>
<RoleDetailList><member><Path>/</Path><RoleName>ops</RoleName><RoleId>AROA1</RoleId><Arn>arn:aws:iam::111122223333:role/ops</Arn><AssumeRolePolicyDocument>`+authDoc(`{"Effect":"Allow","Principal":{"AWS":"*"},"Action":"sts:AssumeRole"}`)+`</AssumeRolePolicyDocument>
<RolePolicyList><member><PolicyName>cut</PolicyName><PolicyDocument>%7B%22Vers</PolicyDocument></member><member><PolicyName>percent</PolicyName><PolicyDocument>%zz</PolicyDocument></member><member><PolicyName>none</PolicyName></member>
<member><PolicyName>twice</PolicyName><PolicyDocument>`+authDoc(`{"Effect":"Allow","Effect":"Deny","Action":"*","Resource":"*"}`)+`</PolicyDocument></member></RolePolicyList>
<PermissionsBoundary><PermissionsBoundaryArn>arn:aws:iam::aws:policy/Bound</PermissionsBoundaryArn></PermissionsBoundary></member>
<member><Path>/aws-service-role/x/</Path><RoleName>linked</RoleName><Arn>arn:aws:iam::111122223333:role/aws-service-role/x/linked</Arn></member></RoleDetailList>
<Policies><member><PolicyName>Some</PolicyName><Arn>arn:aws:iam::aws:policy/Some</Arn><PolicyVersionList><member><VersionId>v1</VersionId><IsDefaultVersion>false</IsDefaultVersion><Document>`+authDoc(`{"Effect":"Deny","Action":"*","Resource":"*"}`)+`</Document></member>
<member><VersionId>v2</VersionId><IsDefaultVersion>true</IsDefaultVersion><Document>`+authDoc(`{"Effect":"Allow","Action":"kms:*","Resource":"*"}`)+`</Document></member></PolicyVersionList></member></Policies>`, false))(rw, c)
	}
	w.answer["iam:GetPolicy"] = text(`<GetPolicyResponse><GetPolicyResult><Policy><DefaultVersionId>v7</DefaultVersionId></Policy></GetPolicyResult></GetPolicyResponse>`)
	w.answer["iam:GetPolicyVersion"] = text(`<GetPolicyVersionResponse><GetPolicyVersionResult><PolicyVersion><Document>` + authDoc(`{"Effect":"Allow","Action":"iam:*","Resource":"*"}`) + `</Document></PolicyVersion></GetPolicyVersionResult></GetPolicyVersionResponse>`)

	w.answer["organizations:ListRoots"] = jsonReply(map[string]any{"Roots": []any{map[string]any{"Id": "r-1", "PolicyTypes": []any{map[string]any{"Type": "SERVICE_CONTROL_POLICY", "Status": "ENABLED"}}}}})
	w.answer["organizations:ListDelegatedAdministrators"] = jsonReply(map[string]any{"DelegatedAdministrators": []any{map[string]any{"Id": "333333333333"}}})
	w.answer["organizations:ListPolicies"] = jsonReply(map[string]any{"Policies": []any{map[string]any{"Id": "p-1", "Name": "guard"}, map[string]any{"Id": "p-2", "Name": "unused"}}})
	w.answer["organizations:ListTargetsForPolicy"] = func(rw http.ResponseWriter, c *called) {
		targets := []any{}
		if strings.Contains(string(c.body), "p-1") {
			targets = append(targets, map[string]any{"TargetId": "r-1"}, map[string]any{"TargetId": "ou-1"})
		}
		jsonReply(map[string]any{"Targets": targets})(rw, c)
	}
	w.answer["organizations:DescribePolicy"] = jsonReply(map[string]any{"Policy": map[string]any{"Content": `{"Version":"2012-10-17","Statement":[{"Sid":"Guard","Effect":"Deny","Action":"cloudtrail:*","Resource":"*"},{"Effect":"Allow","Action":"*","Resource":"*"}]}`}})
	w.answer["organizations:ListOrganizationalUnitsForParent"] = func(rw http.ResponseWriter, c *called) {
		units := []any{}
		if strings.Contains(string(c.body), "r-1") {
			units = append(units, map[string]any{"Id": "ou-1"})
		}
		jsonReply(map[string]any{"OrganizationalUnits": units})(rw, c)
	}
	w.answer["organizations:ListAccountsForParent"] = func(rw http.ResponseWriter, c *called) {
		accounts := []any{map[string]any{"Id": testAccount, "State": "ACTIVE"}, map[string]any{"Id": "333333333333", "State": "SUSPENDED"}, map[string]any{"Id": "444444444444", "State": "ACTIVE"}}
		if strings.Contains(string(c.body), "r-1") {
			accounts = []any{map[string]any{"Id": management}, map[string]any{"Id": bucketAccount}}
		}
		jsonReply(map[string]any{"Accounts": accounts})(rw, c)
	}

	w.answer["s3:GetBucketPolicy"] = func(rw http.ResponseWriter, c *called) {
		if c.req.URL.Query().Has("encryption") {
			text(`<ServerSideEncryptionConfiguration><Rule><ApplyServerSideEncryptionByDefault><SSEAlgorithm>aws:kms</SSEAlgorithm><KMSMasterKeyID>k-2</KMSMasterKeyID></ApplyServerSideEncryptionByDefault></Rule></ServerSideEncryptionConfiguration>`)(rw, c)
			return
		}
		text(`{"Version":"2012-10-17","Statement":[{"Sid":"B","Effect":"Allow","Principal":"*","Action":"s3:GetObject","Resource":"arn:aws:s3:::logs/*"}]}`)(rw, c)
	}
	w.answer["cloudtrail:DescribeTrails"] = jsonReply(map[string]any{"trailList": []any{
		map[string]any{"Name": "org", "TrailARN": "arn:aws:cloudtrail:us-east-1:100000000001:trail/org", "HomeRegion": "us-east-1", "S3BucketName": "logs", "IsOrganizationTrail": true,
			"KmsKeyId": archiveKey, "SnsTopicARN": alertTopic, "CloudWatchLogsLogGroupArn": "arn:aws:logs:us-east-1:100000000001:log-group:trail:*"},
		map[string]any{"Name": "other", "TrailARN": "arn:aws:cloudtrail:us-east-1:100000000001:trail/other", "S3BucketName": "elsewhere"},
	}})
	w.answer["kms:GetKeyPolicy"] = jsonReply(map[string]any{"Policy": `{"Version":"2012-10-17","Statement":[{"Sid":"K","Effect":"Allow","Principal":{"AWS":"999999999999"},"Action":"kms:*","Resource":"*"}]}`})
	w.answer["sns:GetTopicAttributes"] = text(`<GetTopicAttributesResponse><GetTopicAttributesResult><Attributes><entry><key>Policy</key><value>{"Statement":[{"Sid":"T","Effect":"Allow","Principal":{"AWS":"555555555555"},"Action":"SNS:Publish","Resource":"*"}]}</value></entry></Attributes></GetTopicAttributesResult></GetTopicAttributesResponse>`)
	return w
}

func collect(t *testing.T, w *wire, change ...func(*AuthorizationQuery)) *access.World {
	t.Helper()
	q := AuthorizationQuery{
		Accounts: []string{testAccount, bucketAccount, management}, Regions: []string{"us-east-1"}, Organization: "o-1", Management: management,
		Bucket: "logs", BucketAccount: bucketAccount, BucketRegion: "us-east-1", Targets: []string{testAccount},
	}
	for _, f := range change {
		f(&q)
	}
	base := w.config()
	base.RetryMaxAttempts = 1
	i, err := NewInspector(InspectorOptions{Base: base, Role: inspectorRole})
	if err != nil {
		t.Fatal(err)
	}
	world, err := i.Authorization(t.Context(), q)
	if err != nil {
		t.Fatal(err)
	}
	return world
}

func principalNamed(t *testing.T, w *access.World, arn string) *access.Principal {
	t.Helper()
	for _, p := range w.Accounts[testAccount].Principals {
		if p.ARN == arn {
			return p
		}
	}
	t.Fatalf("no principal %s", arn)
	return nil
}

func TestPrincipalsComeWithAllTheirPolicies(t *testing.T) {
	w := collect(t, authorizations(t))
	alice := principalNamed(t, w, "arn:aws:iam::111122223333:user/alice")
	if len(alice.Policies) != 3 || alice.Tags["team"] != "blue" || alice.ID != "AIDA1" {
		t.Fatalf("%+v", alice)
	}
	own, some, ghosts := alice.Policies[0], alice.Policies[1], alice.Policies[2]
	if own.Through != "group admins" || own.Doc.Statements[0].Sid != "plus+sign" {
		t.Errorf("%+v", own)
	}
	if some.Name != "arn:aws:iam::aws:policy/Some" || some.Doc.Statements[0].Effect != "Allow" {
		t.Errorf("not the default version: %+v", some)
	}
	if ghosts.Unread == "" || ghosts.Through != "group ghosts" {
		t.Errorf("a group that is not told of: %+v", ghosts)
	}
	ops := principalNamed(t, w, "arn:aws:iam::111122223333:role/ops")
	for i, why := range []string{"EOF", "not URL-encoded", "no document", "duplicate"} {
		if !strings.Contains(ops.Policies[i].Unread, why) {
			t.Errorf("policy %s: %q, want %q", ops.Policies[i].Name, ops.Policies[i].Unread, why)
		}
	}
	if ops.Boundary == nil || ops.Boundary.Unread != "" || ops.Boundary.Doc.Statements[0].Actions[0] != "iam:*" {
		t.Errorf("boundary %+v", ops.Boundary)
	}
	if linked := principalNamed(t, w, "arn:aws:iam::111122223333:role/aws-service-role/x/linked"); !linked.ServiceLinked || linked.Trust.Unread == "" {
		t.Errorf("%+v", linked)
	}
	principalNamed(t, w, "arn:aws:iam::111122223333:root")
}

func TestLevelsAreThoseAboveEachAccount(t *testing.T) {
	w := collect(t, authorizations(t))
	names := func(account string) string {
		var out []string
		for _, l := range w.Accounts[account].Levels {
			out = append(out, fmt.Sprintf("%s:%d", l.Name, len(l.SCPs)))
		}
		return strings.Join(out, " ")
	}
	if got := names(testAccount); got != "r-1:1 ou-1:1 "+testAccount+":0" {
		t.Errorf("target: %s", got)
	}
	if got := names(bucketAccount); got != "r-1:1 "+bucketAccount+":0" {
		t.Errorf("archive: %s", got)
	}
	if !w.Accounts[testAccount].Levels[0].NoRCPs || w.Accounts[testAccount].Levels[0].NoSCPs {
		t.Error("which kinds are in use")
	}
	if a := w.Accounts["333333333333"]; a == nil || a.Unread != "" {
		t.Errorf("suspended: %+v", a)
	}
	if a := w.Accounts["444444444444"]; a == nil || a.Unread == "" {
		t.Errorf("of the organisation and not looked into: %+v", a)
	}
}

func TestTheArchiveIsAskedAboutWithAllThatWritesIt(t *testing.T) {
	w := collect(t, authorizations(t), func(q *AuthorizationQuery) {
		q.Things = []*access.Resource{{Kind: "topic", ARN: alertTopic, Account: management, Region: "us-east-1"}, {Kind: "rule", ARN: "arn:aws:events:us-east-1:100000000001:rule/r", NoPolicies: true}}
	})
	var got []string
	for _, r := range w.Resources {
		sid := "-"
		if len(r.Policies) > 0 {
			sid = r.Policies[0].Doc.Statements[0].Sid
		}
		got = append(got, strings.TrimSpace(r.Kind+" "+r.ARN+" "+sid+" "+strings.Join(r.Delegates, " ")))
	}
	want := `bucket arn:aws:s3:::logs B
key arn:aws:kms:us-east-1:999999999999:key/k-1 K
key arn:aws:kms:us-east-1:999999999999:key/k-2 K
log-group arn:aws:logs:us-east-1:100000000001:log-group:trail -
object arn:aws:s3:::logs/* B
organization arn:aws:organizations::100000000001:organization/o-1 -
rule arn:aws:events:us-east-1:100000000001:rule/r -
topic arn:aws:sns:us-east-1:100000000001:alerts T
trail arn:aws:cloudtrail:us-east-1:100000000001:trail/org - 333333333333`
	if strings.Join(got, "\n") != want {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), want)
	}
	if len(w.Gaps) != 0 {
		t.Errorf("gaps %v", w.Gaps)
	}
}

// Whatever is refused is named with what to do, makes certain answers possible
// ones, and does not keep the rest from being read.
func TestWhatIsRefusedIsNamed(t *testing.T) {
	refuse := jsonError(400, "AccessDeniedException", "no")
	for _, tc := range []struct {
		call   string
		answer func(http.ResponseWriter, *called)
		want   string // in the world as JSON
	}{
		{"iam:GetAccountAuthorizationDetails", xmlError(403, "AccessDenied", "no"), "allow it iam:GetAccountAuthorizationDetails"},
		{"iam:GetPolicy", xmlError(404, "NoSuchEntity", "gone"), "iam:GetPolicy of arn:aws:iam::aws:policy/Bound"},
		{"iam:GetPolicyVersion", text(`<GetPolicyVersionResponse><GetPolicyVersionResult/></GetPolicyVersionResponse>`), "the reply has no version"},
		{"organizations:ListRoots", refuse, "allow it organizations:ListRoots"},
		{"organizations:ListRoots", jsonReply(map[string]any{}), "the reply has 0 roots"},
		{"organizations:ListDelegatedAdministrators", refuse, "allow it organizations:ListDelegatedAdministrators"},
		{"organizations:ListPolicies", refuse, "allow it organizations:ListPolicies"},
		{"organizations:ListTargetsForPolicy", refuse, "allow it organizations:ListTargetsForPolicy"},
		{"organizations:DescribePolicy", refuse, "allow it organizations:DescribePolicy"},
		{"organizations:DescribePolicy", jsonReply(map[string]any{}), "the reply has no content"},
		{"organizations:ListAccountsForParent", refuse, "allow it organizations:ListAccountsForParent"},
		{"organizations:ListOrganizationalUnitsForParent", refuse, "allow it organizations:ListOrganizationalUnitsForParent"},
		{"organizations:ListOrganizationalUnitsForParent", jsonReply(map[string]any{"OrganizationalUnits": []any{map[string]any{"Id": "ou-loop"}}}), "nested more than 16 deep"},
		{"organizations:ListOrganizationalUnitsForParent", jsonReply(map[string]any{"NextToken": "more"}), "does not end"},
		{"s3:GetBucketPolicy", func(rw http.ResponseWriter, _ *called) {
			rw.WriteHeader(403)
			fmt.Fprint(rw, `<Error><Code>AccessDenied</Code><Message>no</Message></Error>`)
		}, "allow it s3:GetBucketPolicy"},
		{"cloudtrail:DescribeTrails", refuse, "allow it cloudtrail:DescribeTrails"},
		{"kms:GetKeyPolicy", refuse, "allow it kms:GetKeyPolicy"},
		{"kms:GetKeyPolicy", jsonReply(map[string]any{"Policy": "{"}), "policy document"},
		{"sns:GetTopicAttributes", xmlError(403, "AuthorizationError", "no"), "allow it sns:GetTopicAttributes"},
	} {
		w := authorizations(t)
		w.answer[tc.call] = tc.answer
		world := collect(t, w)
		text, err := json.Marshal(world)
		if err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(string(text), tc.want) {
			t.Errorf("%s: nothing says %q", tc.call, tc.want)
		}
		r, err := world.NewReport()
		if err != nil {
			t.Fatal(err)
		}
		if len(r.Gaps) == 0 || r.ExitCode() == 0 || len(world.Resources) < 2 {
			t.Errorf("%s: %d gaps, exit code %d, %d resources", tc.call, len(r.Gaps), r.ExitCode(), len(world.Resources))
		}
	}
}

func TestAnOrganisationThatNobodyNamedIsUnknown(t *testing.T) {
	w := collect(t, authorizations(t), func(q *AuthorizationQuery) { q.Management = "" })
	if l := w.Accounts[testAccount].Levels; len(l) != 1 || !strings.Contains(l[0].SCPs[0].Unread, "inspection.organization") {
		t.Errorf("%+v", l)
	}
	w = collect(t, authorizations(t), func(q *AuthorizationQuery) { q.Management, q.Organization, q.BucketAccount = "", "", "" })
	if l := w.Accounts[testAccount].Levels; len(l) != 0 {
		t.Errorf("without an organisation: %+v", l)
	}
	for _, r := range w.Resources {
		if r.Kind == "bucket" && !strings.Contains(r.Policies[0].Unread, "log_stores.role_arn") {
			t.Errorf("a bucket of an unknown account: %+v", r)
		}
	}
}

// The archive's own administrators are not denied for want of knowing where it is.
func TestAuthorizationOfABucketOfAnUnknownAccount(t *testing.T) {
	w := collect(t, authorizations(t), func(q *AuthorizationQuery) { q.Management, q.Organization, q.BucketAccount = "", "", "" })
	alice := principalNamed(t, w, "arn:aws:iam::111122223333:user/alice")
	for _, r := range w.Resources {
		if r.Kind != "bucket" && r.Kind != "object" {
			continue
		}
		d := w.Decide(alice, map[string]string{"bucket": "s3:DeleteBucket", "object": "s3:DeleteObject"}[r.Kind], r)
		if d.Outcome != access.Possible || !strings.Contains(d.Path(), "log_stores.role_arn") {
			t.Errorf("%s: %s %s %s", r.Kind, d.Outcome, d.Reason, d.Path())
		}
	}
}
