package aws

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"reflect"
	"strings"
	"testing"

	"github.com/auditcanary/auditcanary/shared/canary"
	"github.com/auditcanary/auditcanary/shared/run"
	"github.com/aws/smithy-go"
)

var (
	ireland  = canary.Target{Provider: "aws", Account: testAccount, Region: "eu-west-1"}
	virginia = canary.Target{Provider: "aws", Account: testAccount, Region: "us-east-1"}
)

func jsonReply(v any) func(http.ResponseWriter, *called) {
	return func(rw http.ResponseWriter, _ *called) {
		rw.Header().Set("Content-Type", "application/x-amz-json-1.1")
		_ = json.NewEncoder(rw).Encode(v)
	}
}

// cleanAccount answers every listing as a clean account does.
func cleanAccount(w *wire) {
	w.answer["iam:ListRoles"] = roles("", map[string]string{"auditcanary-injector": "auditcanary=fixture"})
	w.answer["iam:ListRoleTags"] = tagsOf(map[string]string{"auditcanary-injector": "auditcanary=fixture"})
	w.answer["iam:ListAttachedRolePolicies"] = text(`<ListAttachedRolePoliciesResponse><ListAttachedRolePoliciesResult><IsTruncated>false</IsTruncated></ListAttachedRolePoliciesResult></ListAttachedRolePoliciesResponse>`)
	cleanIdentity(w)
	w.answer["ec2:DescribeSecurityGroupRules"] = text(`<DescribeSecurityGroupRulesResponse><securityGroupRuleSet/></DescribeSecurityGroupRulesResponse>`)
	for _, op := range []string{"DescribeNetworkAcls", "DescribeRouteTables", "DescribeInternetGateways", "DescribeFlowLogs", "DescribeKeyPairs"} {
		w.answer["ec2:"+op] = text("<" + op + "Response/>")
	}
	cleanKeys(w)
	w.answer["kms:DescribeKey"] = keyIs("Enabled")
	w.answer["kms:ListResourceTags"] = jsonReply(map[string]any{"Tags": []any{map[string]any{"TagKey": "auditcanary", "TagValue": "fixture"}}})
	w.answer["s3:GetBucketPolicy"] = func(rw http.ResponseWriter, _ *called) {
		rw.WriteHeader(404)
		_, _ = io.WriteString(rw, `<Error><Code>NoSuchBucketPolicy</Code><Message>none</Message></Error>`)
	}
	cleanLogging(w)
	cleanData(w)
	cleanSecurity(w)
}

func keyIs(state string) func(http.ResponseWriter, *called) {
	return keyInState("1f0a4f3c-0000-4000-8000-000000000001", state)
}

// roles answers one page, with a marker to the next if next is not empty.
func roles(next string, names map[string]string) func(http.ResponseWriter, *called) {
	return func(rw http.ResponseWriter, c *called) {
		var b strings.Builder
		for name := range names {
			fmt.Fprintf(&b, `<member><Path>/auditcanary/</Path><RoleName>%[1]s</RoleName><RoleId>AROA</RoleId><Arn>arn:aws:iam::111122223333:role/auditcanary/%[1]s</Arn><CreateDate>2026-11-22T12:00:00Z</CreateDate></member>`, name)
		}
		more := "<IsTruncated>false</IsTruncated>"
		if next != "" && c.form.Get("Marker") != next {
			more = "<IsTruncated>true</IsTruncated><Marker>" + next + "</Marker>"
		}
		fmt.Fprintf(rw, `<ListRolesResponse><ListRolesResult>%s<Roles>%s</Roles></ListRolesResult></ListRolesResponse>`, more, b.String())
	}
}

func tagsOf(roles map[string]string) func(http.ResponseWriter, *called) {
	return func(rw http.ResponseWriter, c *called) {
		var b strings.Builder
		for _, kv := range strings.Fields(roles[c.form.Get("RoleName")]) {
			k, v, _ := strings.Cut(kv, "=")
			fmt.Fprintf(&b, `<member><Key>%s</Key><Value>%s</Value></member>`, k, v)
		}
		fmt.Fprintf(rw, `<ListRoleTagsResponse><ListRoleTagsResult><IsTruncated>false</IsTruncated><Tags>%s</Tags></ListRoleTagsResult></ListRoleTagsResponse>`, b.String())
	}
}

func rule(id, group, egress, tags string) string {
	var b strings.Builder
	for _, kv := range strings.Fields(tags) {
		k, v, _ := strings.Cut(kv, "=")
		fmt.Fprintf(&b, `<item><key>%s</key><value>%s</value></item>`, k, v)
	}
	return fmt.Sprintf(`<item><securityGroupRuleId>%s</securityGroupRuleId><groupId>%s</groupId><isEgress>%s</isEgress><tagSet>%s</tagSet></item>`, id, group, egress, b.String())
}

// unconfigured takes away, from a listing's error, what it says of fixtures that
// are not configured; it must say something of them.
func unconfigured(t *testing.T, err error) error {
	t.Helper()
	joined, ok := err.(interface{ Unwrap() []error })
	if !ok || !errors.Is(err, run.ErrNotConfigured) {
		t.Fatalf("the listing does not say what it did not look for: %v", err)
	}
	var rest []error
	for _, one := range joined.Unwrap() {
		if !errors.Is(one, run.ErrNotConfigured) {
			rest = append(rest, one)
		}
	}
	return errors.Join(rest...)
}

func TestACleanAccountHasNoLeftovers(t *testing.T) {
	w := newWire(t)
	cleanAccount(w)
	c := testCloud(t, w.config())
	for _, at := range []canary.Target{ireland, virginia} {
		left, err := c.Leftovers(context.Background(), at)
		if at == virginia { // where no fixture of the region's is configured
			err = unconfigured(t, err)
		}
		if err != nil || len(left) != 0 {
			t.Errorf("%s: %v, %v", at.Region, left, err)
		}
	}
	if n := len(w.of("iam:ListRoles")); n != 1 {
		t.Errorf("roles were listed %d times: they are the home region's", n)
	}
	for _, c := range w.of("sts:AssumeRole") {
		policy := c.form.Get("Policy")
		for _, g := range []string{"iam:CreateRole", "iam:DeleteRole", "kms:EnableKey", "s3:PutBucketPolicy"} {
			if strings.Contains(policy, g) {
				t.Errorf("the listing session may %s: %s", g, policy)
			}
		}
		if len(policy) > maxSessionPolicy {
			t.Errorf("the listing session's policy has %d characters", len(policy))
		}
	}
	sessions := len(w.of("sts:AssumeRole"))
	if _, err := c.Leftovers(context.Background(), ireland); err != nil {
		t.Error(err)
	}
	if n := len(w.of("sts:AssumeRole")); n != sessions {
		t.Errorf("%d sessions more to list a place again", n-sessions)
	}
}

func TestLeftoversAreOnlyWhatCarriesNameTagAndRun(t *testing.T) {
	w := newWire(t)
	cleanAccount(w)
	mine := "auditcanary:run=20261122-abcdef auditcanary:canary=20261122-abcdef-01"
	first := map[string]string{
		"auditcanary-20261122-abcdef-01": mine,
		"auditcanary-injector":           "auditcanary=fixture",
		"auditcanary-untagged":           "",
		"auditcanary-no-run":             "auditcanary:canary=no-run",
		"auditcanary-other-name":         mine, // the tag speaks of another
		"auditcanary-fixture":            "auditcanary=fixture auditcanary:run=20261122-abcdef auditcanary:canary=fixture",
		"somebodys-role":                 mine,
		"auditcanary-odd":                "auditcanary:run=*?${x} auditcanary:canary=odd",
	}
	second := map[string]string{"auditcanary-20261122-abcdef-02": strings.ReplaceAll(mine, "-01", "-02")}
	all := map[string]string{}
	for _, m := range []map[string]string{first, second} {
		for k, v := range m {
			all[k] = v
		}
	}
	w.answer["iam:ListRoles"] = func(rw http.ResponseWriter, c *called) {
		if c.form.Get("PathPrefix") != "/auditcanary/" {
			t.Errorf("listed %v", c.form)
		}
		page := first
		if c.form.Get("Marker") == "more" {
			page = second
		}
		roles("more", page)(rw, c)
	}
	w.answer["iam:ListRoleTags"] = tagsOf(all)
	w.answer["iam:ListAttachedRolePolicies"] = text(`<ListAttachedRolePoliciesResponse><ListAttachedRolePoliciesResult><IsTruncated>false</IsTruncated><AttachedPolicies><member><PolicyName>AdministratorAccess</PolicyName><PolicyArn>arn:aws:iam::aws:policy/AdministratorAccess</PolicyArn></member></AttachedPolicies></ListAttachedRolePoliciesResult></ListAttachedRolePoliciesResponse>`)
	c := testCloud(t, w.config())
	left, err := c.Leftovers(context.Background(), virginia)
	if err := unconfigured(t, err); err != nil {
		t.Fatal(err)
	}
	ids := map[string]run.Leftover{}
	for _, l := range left {
		ids[l.ID] = l
	}
	if len(left) != 2 {
		t.Fatalf("%d leftovers, want 2: %v", len(left), left)
	}
	got := ids["arn:aws:iam::111122223333:role/auditcanary/auditcanary-20261122-abcdef-01"]
	want := run.Leftover{Kind: "iam role", ID: got.ID, Run: "20261122-abcdef", Canary: "20261122-abcdef-01", Undo: []canary.Call{
		{Operation: "iam:DetachRolePolicy", Region: "us-east-1", Gone: []string{"NoSuchEntity"}, Params: map[string]any{"RoleName": "auditcanary-20261122-abcdef-01", "PolicyArn": "arn:aws:iam::aws:policy/AdministratorAccess"}},
		{Operation: "iam:DeleteRole", Region: "us-east-1", Gone: []string{"NoSuchEntity"}, Params: map[string]any{"RoleName": "auditcanary-20261122-abcdef-01"}},
	}}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
}

func TestLeftoversOfARegion(t *testing.T) {
	w := newWire(t)
	cleanAccount(w)
	mine := "auditcanary:run=20261122-abcdef auditcanary:canary=20261122-abcdef-03"
	w.answer["ec2:DescribeSecurityGroupRules"] = func(rw http.ResponseWriter, c *called) {
		if c.form.Get("NextToken") == "" {
			fmt.Fprintf(rw, `<DescribeSecurityGroupRulesResponse><nextToken>more</nextToken><securityGroupRuleSet>%s%s</securityGroupRuleSet></DescribeSecurityGroupRulesResponse>`,
				rule("sgr-somebodys", "sg-1", "false", "Name=web"), rule("sgr-untagged", "sg-1", "true", ""))
			return
		}
		fmt.Fprintf(rw, `<DescribeSecurityGroupRulesResponse><securityGroupRuleSet>%s</securityGroupRuleSet></DescribeSecurityGroupRulesResponse>`,
			rule("sgr-mine", "sg-0123456789abcdef0", "false", mine))
	}
	w.answer["kms:DescribeKey"] = keyIs("Disabled")
	w.answer["s3:GetBucketPolicy"] = text(`{"Version":"2012-10-17","Id":"auditcanary:run=20261122-abcdef auditcanary:canary=20261122-abcdef-05","Statement":[]}`)
	w.answer["cloudtrail:GetTrailStatus"] = func(rw http.ResponseWriter, c *called) {
		jsonReply(map[string]any{"IsLogging": !strings.Contains(string(c.body), "auditcanary-decoy")})(rw, c)
	}
	c := testCloud(t, w.config())
	left, err := c.Leftovers(context.Background(), ireland)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, l := range left {
		got = append(got, fmt.Sprintf("%s %s run=%s canary=%s undo=%s", l.Kind, l.ID, l.Run, l.Canary, l.Undo[0].Operation))
		// Every undo must be one that a sweep session admits.
		sw := &session{cloud: c, target: testTarget(), scene: testTarget().scene("eu-west-1", "*", canary.Marker), restoresOnly: true}
		for _, u := range l.Undo {
			if _, _, err := sw.admit(u); err != nil {
				t.Errorf("undo of %s: %v", l.ID, err)
			}
		}
	}
	want := []string{
		"ec2 security group rule sg-0123456789abcdef0/sgr-mine run=20261122-abcdef canary=20261122-abcdef-03 undo=ec2:RevokeSecurityGroupIngress",
		"kms key disabled arn:aws:kms:eu-west-1:111122223333:key/1f0a4f3c-0000-4000-8000-000000000001 run= canary= undo=kms:EnableKey",
		"s3 bucket policy arn:aws:s3:::auditcanary-111122223333-eu-west-1 run=20261122-abcdef canary=20261122-abcdef-05 undo=s3:DeleteBucketPolicy",
		"cloudtrail trail stopped auditcanary-decoy run= canary= undo=cloudtrail:StartLogging",
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

func TestSomebodyElsesBucketPolicyIsLeftAlone(t *testing.T) {
	for _, id := range []string{"", "PutObjPolicy", "auditcanary:run=20261122-abcdef", "x auditcanary:run=a auditcanary:canary=b"} {
		w := newWire(t)
		cleanAccount(w)
		w.answer["s3:GetBucketPolicy"] = text(fmt.Sprintf(`{"Version":"2012-10-17","Id":%q,"Statement":{"Effect":"Deny"}}`, id))
		left, err := testCloud(t, w.config()).Leftovers(context.Background(), ireland)
		if err != nil || len(left) != 0 {
			t.Errorf("Id %q: %v, %v", id, left, err)
		}
	}
}

func TestWhatCannotBeListedIsAnErrorNeverAnEmptyAnswer(t *testing.T) {
	for name, tt := range map[string]struct {
		at     canary.Target
		call   string
		answer func(http.ResponseWriter, *called)
		want   string
	}{
		"roles denied":         {virginia, "iam:ListRoles", xmlError(403, "AccessDenied", "no"), "list leftovers (iam role): iam:ListRoles in account 111122223333, us-east-1"},
		"tags denied":          {virginia, "iam:ListRoleTags", xmlError(403, "AccessDenied", "no"), "iam:ListRoleTags of auditcanary-injector"},
		"rules denied":         {ireland, "ec2:DescribeSecurityGroupRules", ec2Error(403, "UnauthorizedOperation", "no"), "list leftovers (ec2 security group rule): ec2:DescribeSecurityGroupRules in account 111122223333, eu-west-1"},
		"key denied":           {ireland, "kms:DescribeKey", jsonError(400, "AccessDeniedException", "no"), "kms:DescribeKey of 1f0a4f3c"},
		"key gone":             {ireland, "kms:DescribeKey", jsonError(400, "NotFoundException", "no"), "deploy it, or correct it in auditcanary.yaml"},
		"key pending deletion": {ireland, "kms:DescribeKey", keyIs("PendingDeletion"), "is PendingDeletion: no canary does that"},
		"key reply empty":      {ireland, "kms:DescribeKey", jsonReply(map[string]any{}), "the reply is empty"},
		"bucket policy denied": {ireland, "s3:GetBucketPolicy", func(rw http.ResponseWriter, _ *called) {
			rw.WriteHeader(403)
			_, _ = io.WriteString(rw, `<Error><Code>AccessDenied</Code></Error>`)
		}, "s3:GetBucketPolicy of auditcanary-111122223333-eu-west-1"},
		"bucket elsewhere": {ireland, "s3:GetBucketPolicy", func(rw http.ResponseWriter, _ *called) {
			rw.WriteHeader(301)
			_, _ = io.WriteString(rw, `<Error><Code>PermanentRedirect</Code></Error>`)
		}, "the bucket is in another region"},
		"bucket policy unreadable": {ireland, "s3:GetBucketPolicy", text(`{"Id":`), "the policy is not an IAM policy"},
		"trail denied":             {ireland, "cloudtrail:GetTrailStatus", jsonError(400, "AccessDeniedException", "no"), "cloudtrail:GetTrailStatus of auditcanary-decoy"},
		"trail status unclear":     {ireland, "cloudtrail:GetTrailStatus", jsonReply(map[string]any{}), "does not say whether it logs"},
		"no session":               {ireland, "sts:AssumeRole", xmlError(403, "AccessDenied", "no"), "its trust policy must allow"},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWire(t)
			cleanAccount(w)
			w.answer[tt.call] = tt.answer
			_, err := testCloud(t, w.config()).Leftovers(context.Background(), tt.at)
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want ...%s...", err, tt.want)
			}
		})
	}
}

func TestADisabledKeyWithoutTheTagIsNotTouched(t *testing.T) {
	w := newWire(t)
	cleanAccount(w)
	w.answer["kms:DescribeKey"] = keyIs("Disabled")
	w.answer["kms:ListResourceTags"] = jsonReply(map[string]any{"Tags": []any{}})
	left, err := testCloud(t, w.config()).Leftovers(context.Background(), ireland)
	if err == nil || !strings.Contains(err.Error(), "lacks the tag auditcanary=fixture") || len(left) != 0 {
		t.Errorf("%v, %v", left, err)
	}
}

func TestWhatWasFoundComesWithTheError(t *testing.T) {
	w := newWire(t)
	cleanAccount(w)
	w.answer["kms:DescribeKey"] = keyIs("Disabled")
	w.answer["cloudtrail:GetTrailStatus"] = jsonError(400, "TrailNotFoundException", "no")
	left, err := testCloud(t, w.config()).Leftovers(context.Background(), ireland)
	var api smithy.APIError
	if !errors.As(err, &api) || len(left) != 1 {
		t.Errorf("%v, %v", left, err)
	}
}

func TestAListingThatDoesNotEndIsAnError(t *testing.T) {
	w := newWire(t)
	cleanAccount(w)
	w.answer["ec2:DescribeSecurityGroupRules"] = text(`<DescribeSecurityGroupRulesResponse><nextToken>again</nextToken><securityGroupRuleSet/></DescribeSecurityGroupRulesResponse>`)
	_, err := testCloud(t, w.config()).Leftovers(context.Background(), ireland)
	if err == nil || !strings.Contains(err.Error(), "the listing does not end within 1000 pages") {
		t.Error(err)
	}
}
