package aws

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"

	"github.com/auditcanary/auditcanary/shared/canary"
	"github.com/auditcanary/auditcanary/shared/run"
)

func TestPlanRefusesHarmToData(t *testing.T) {
	const (
		group = "aws/rds-parameter-group"
		share = "aws/rds-snapshot-share-denied"
		vault = "aws/backup-vault"
		lock  = "aws/backup-vault-lock"
		entry = "aws/eks-access-entry"
		scp   = "aws/organizations-policy-denied"
	)
	type step = canary.Step
	set := func(param string, v any) func(*step) { return func(s *step) { s.Params[param] = v } }
	for _, tt := range []struct {
		name, scenario string
		step           int
		breakIt        func(*step)
		want           string
	}{
		{"somebody's parameter group", group, 0, set("DBParameterGroupName", "production"), `DBParameterGroupName "production" is not canary-marked`},
		{"a group without the run's tags", group, 0, func(s *step) { delete(s.Params, "Tags") }, `the tags auditcanary:run=${run}`},
		{"an undo of another group", group, 0, func(s *step) { s.Undo.Params["DBParameterGroupName"] = "${name}-b" }, `rds:DeleteDBParameterGroup names DBParameterGroupName auditcanary-20261122-abcdef-01-b`},

		{"somebody's snapshot", share, 0, set("DBSnapshotIdentifier", "production"), `DBSnapshotIdentifier "production" is not canary-marked`},
		{"a snapshot shared with everybody", share, 0, set("ValuesToAdd", []any{"all"}), `only the account itself, 111122223333, may be named`},
		{"a snapshot shared with another too", share, 1, set("ValuesToAdd", []any{"${account}", "999999999999"}), `only the account itself, 111122223333, may be named`},
		{"a snapshot shared with nobody", share, 1, func(s *step) { delete(s.Params, "ValuesToAdd") }, `only the account itself`},
		{"a snapshot taken from somebody", share, 1, set("ValuesToRemove", []any{"999999999999"}), `ValuesToRemove is not allowed`},
		{"another attribute", share, 0, set("AttributeName", "other"), `AttributeName must be restore, not other`},

		{"somebody's vault", vault, 0, set("BackupVaultName", "Default"), `BackupVaultName "Default" is not canary-marked`},
		{"a vault under somebody's key", vault, 0, set("EncryptionKeyArn", "arn:aws:kms:eu-west-1:111122223333:key/1"), `EncryptionKeyArn is not allowed`},
		{"a vault without the run's tags", vault, 0, func(s *step) { delete(s.Params, "BackupVaultTags") }, `the tags auditcanary:run=${run}`},
		{"a vault of another run", vault, 0, set("BackupVaultTags", map[string]any{"auditcanary:run": "r", "auditcanary:canary": "${canary}"}), `the tags auditcanary:run=${run}`},
		{"a lock for ever", lock, 1, set("ChangeableForDays", 3), `backup:PutBackupVaultLockConfiguration: ChangeableForDays is not allowed`},
		{"a lock that becomes final today", lock, 1, set("ChangeableForDays", 0), `ChangeableForDays is not allowed`},
		{"a lock that keeps long", lock, 1, set("MinRetentionDays", 36500), `MinRetentionDays must be 1, not 36500`},
		{"a lock on somebody's vault", lock, 1, set("BackupVaultName", "Default"), `BackupVaultName "Default" is not canary-marked`},
		{"a lock that stays", lock, 1, func(s *step) { s.Undo, s.NoUndo = nil, "it may stay" }, `must be undone by backup:DeleteBackupVaultLockConfiguration`},

		{"somebody's cluster", entry, 0, set("ClusterName", "production"), `ClusterName "production" is no configured fixture`},
		{"another fixture as cluster", entry, 0, set("ClusterName", "${fixture.decoy_trail}"), `ClusterName "auditcanary-decoy" must be the fixture eks_cluster`},
		{"somebody's role", entry, 0, set("PrincipalArn", "arn:aws:iam::111122223333:role/admin"), `PrincipalArn "arn:aws:iam::111122223333:role/admin" is not canary-marked`},
		{"the break-glass role", entry, 0, set("PrincipalArn", "arn:aws:iam::111122223333:role/auditcanary-break-glass"), `is not the role of the fixture eks_principal ("auditcanary-nobody") of account 111122223333`},
		{"another account's role", entry, 0, set("PrincipalArn", "arn:aws:iam::999999999999:role/auditcanary-nobody"), `is not of account 111122223333`},
		{"a user of the role's name", entry, 0, set("PrincipalArn", "arn:aws:iam::111122223333:user/auditcanary-nobody"), `is not the role of the fixture eks_principal`},
		{"administrators", entry, 0, set("KubernetesGroups", []any{"admins"}), `KubernetesGroups is not allowed`},
		{"somebody's user name", entry, 0, set("Username", "admin"), `Username is not allowed`},
		{"a node", entry, 0, set("Type", "EC2_LINUX"), `Type must be STANDARD, not EC2_LINUX`},
		{"a type left to the service", entry, 0, func(s *step) { delete(s.Params, "Type") }, `Type must be STANDARD`},
		{"an undo of another's entry", entry, 0, func(s *step) {
			s.Undo.Params["PrincipalArn"] = "arn:aws:iam::111122223333:role/auditcanary-break-glass"
		}, `is not the role of the fixture eks_principal`},

		{"a policy under another name", scp, 0, set("Name", "FullAWSAccess"), `Name "FullAWSAccess" is not canary-marked`},
		{"a policy that allows", scp, 0, set("Content", `{"Statement":[{"Effect":"Allow","Action":"*","Resource":"*"}]}`), `Content statement 0 has effect "Allow"`},
		{"a policy of another type", scp, 0, set("Type", "BACKUP_POLICY"), `Type must be SERVICE_CONTROL_POLICY, not BACKUP_POLICY`},
		{"somebody's policy deleted", scp, 0, func(s *step) { s.Undo.Params["PolicyId"] = "p-FullAWSAccess" }, `PolicyId "p-FullAWSAccess" must be the id`},
		{"a policy of another step deleted", scp, 0, func(s *step) { s.Undo.Params["PolicyId"] = "p-12345678" }, `must be what the call it must undo replied`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := testCloud(t, aws.Config{})
			s := scenario(t, c, tt.scenario)
			tt.breakIt(&s.Steps[tt.step])
			_, err := c.Plan(s, testCanary(homeOf(s)))
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got  %v\nwant ...%s...", err, tt.want)
			}
		})
	}
}

func homeOf(s canary.Scenario) string {
	if s.Scope == "account" {
		return "us-east-1"
	}
	return "eu-west-1"
}

// What our guards refuse, the cloud refuses as well: the conditions are in the
// policy of the session.
func TestSessionsAreBoundToWhatTheyMake(t *testing.T) {
	c := testCloud(t, aws.Config{})
	for id, want := range map[string][]string{
		"aws/rds-parameter-group": {
			`"aws:RequestTag/auditcanary:run":"20261122-abcdef"`, `"aws:ResourceTag/auditcanary:run":"20261122-abcdef"`,
			`"arn:aws:rds:eu-west-1:111122223333:pg:auditcanary-20261122-abcdef-01"`,
		},
		"aws/backup-vault-lock": {
			`"Null":{"backup:ChangeableForDays":"true"}`, `"kms:ViaService":"backup.eu-west-1.amazonaws.com"`,
			`"arn:aws:backup:eu-west-1:111122223333:backup-vault:auditcanary-20261122-abcdef-01"`,
		},
		"aws/eks-access-entry": {
			`"Null":{"eks:kubernetesGroups":"true"}`, `"eks:accessEntryType":"STANDARD"`, `"aws:ResourceTag/auditcanary":"fixture"`,
			`"eks:principalArn":"arn:aws:iam::111122223333:role/auditcanary-nobody"`, `"arn:aws:eks:eu-west-1:111122223333:cluster/auditcanary-fixture"`,
			`"arn:aws:eks:eu-west-1:111122223333:access-entry/auditcanary-fixture/role/111122223333/auditcanary-*"`,
		},
		"aws/organizations-policy-denied": {`"organizations:PolicyType":"SERVICE_CONTROL_POLICY"`, `"aws:ResourceTag/auditcanary:run":"20261122-abcdef"`},
	} {
		policy := string(planOf(t, c, scenario(t, c, id)).SessionPolicy)
		for _, w := range want {
			if !strings.Contains(policy, w) {
				t.Errorf("%s: %s\nlacks %s", id, policy, w)
			}
		}
		for _, never := range []string{`"Resource":null`, `"Resource":[]`, "AssociateAccessPolicy", "AttachPolicy", "Action\":\"*"} {
			if strings.Contains(policy, never) {
				t.Errorf("%s: %s\nhas %s", id, policy, never)
			}
		}
	}
}

const (
	mineData    = "20261122-abcdef-06"
	nobodysRole = "arn:aws:iam::111122223333:role/auditcanary-nobody"
	vaults      = "backup:GET /backup-vaults"
	entries     = "eks:GET /clusters/auditcanary-fixture/access-entries"
)

// cleanData answers the listings as an account does in which no canary left data.
func cleanData(w *wire) {
	w.answer["rds:DescribeDBParameterGroups"] = groups("")
	w.answer[vaults] = jsonReply(map[string]any{"BackupVaultList": []any{}})
	w.answer[entries] = jsonReply(map[string]any{"accessEntries": []any{}})
	w.answer["organizations:ListPolicies"] = jsonError(400, "AccessDeniedException", "You don't have permissions to access this resource.")
	w.answer["organizations:DescribeOrganization"] = managedBy("100000000001")
}

func managedBy(account string) func(http.ResponseWriter, *called) {
	return jsonReply(map[string]any{"Organization": map[string]any{"Id": "o-exampleorg1", "MasterAccountId": account}})
}

// groups answers one page of parameter groups, with a marker to the next.
func groups(next string, names ...string) func(http.ResponseWriter, *called) {
	var b strings.Builder
	for _, name := range names {
		fmt.Fprintf(&b, `<DBParameterGroup><DBParameterGroupName>%[1]s</DBParameterGroupName><DBParameterGroupArn>arn:aws:rds:eu-west-1:111122223333:pg:%[1]s</DBParameterGroupArn></DBParameterGroup>`, name)
	}
	if next != "" {
		next = "<Marker>" + next + "</Marker>"
	}
	return text(`<DescribeDBParameterGroupsResponse><DescribeDBParameterGroupsResult>` + next + `<DBParameterGroups>` + b.String() + `</DBParameterGroups></DescribeDBParameterGroupsResult></DescribeDBParameterGroupsResponse>`)
}

// oddities are names with the tags their things carry, of which only the first is
// a canary's.
func oddities() (names []string, tags map[string]map[string]string) {
	mine := map[string]string{tagRun: "20261122-abcdef", tagCanary: mineData}
	tags = map[string]map[string]string{
		"auditcanary-" + mineData:  mine,
		"auditcanary-untagged":     {},
		"auditcanary-other-name":   mine,
		"auditcanary-fixture":      {tagRun: "r", tagCanary: "fixture", tagFixture: "fixture"},
		"auditcanary-odd":          {tagRun: "*", tagCanary: "odd"},
		"auditcanary-no-run":       {tagCanary: "no-run"},
		"somebodys-auditcanary":    mine,
		"auditcanary" + mineData:   mine,
		"auditcanary-gone-already": nil, // its tags are not there any more
	}
	for name := range tags {
		names = append(names, name)
	}
	slices.Sort(names)
	return names, tags
}

// leftOf lists one kind.
func leftOf(t *testing.T, w *wire, name string, at canary.Target) ([]run.Leftover, error) {
	t.Helper()
	i := slices.IndexFunc(kinds(), func(k kind) bool { return k.name == name })
	k := kinds()[i]
	c := testCloud(t, w.config())
	s := testTarget().scene(at.Region, "*", canary.Marker)
	p := place{cloud: c, target: testTarget(), scene: s, pages: new(int), cfg: c.reading(testTarget(), at, readPolicy(s, []kind{k}))}
	left, err := k.list(context.Background(), p)
	for _, l := range left {
		sw := &session{cloud: c, target: testTarget(), scene: s, restoresOnly: true}
		for _, u := range l.Undo {
			if _, _, err := sw.admit(u); err != nil {
				t.Errorf("undo of %s: %v", l.ID, err)
			}
			if op := operations()[u.Operation]; op.undo != "" || !op.restores {
				t.Errorf("undo of %s by %s", l.ID, u.Operation)
			}
		}
	}
	return left, err
}

func leftover(id string, calls ...canary.Call) []run.Leftover {
	return []run.Leftover{{ID: id, Run: "20261122-abcdef", Canary: mineData, Undo: calls}}
}

func wantLeft(t *testing.T, got []run.Leftover, err error, want []run.Leftover) {
	t.Helper()
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v, %v\nwant %+v", got, err, want)
	}
}

func TestLeftParameterGroups(t *testing.T) {
	w := newWire(t)
	names, tags := oddities()
	w.answer["rds:DescribeDBParameterGroups"] = func(rw http.ResponseWriter, c *called) {
		if c.form.Get("Marker") == "" {
			groups("more", names[:3]...)(rw, c)
			return
		}
		groups("", names[3:]...)(rw, c)
	}
	w.answer["rds:ListTagsForResource"] = func(rw http.ResponseWriter, c *called) {
		name := lastPart(c.form.Get("ResourceName"))
		if tags[name] == nil {
			xmlError(404, "DBParameterGroupNotFound", "gone")(rw, c)
			return
		}
		var b strings.Builder
		for k, v := range tags[name] {
			fmt.Fprintf(&b, `<Tag><Key>%s</Key><Value>%s</Value></Tag>`, k, v)
		}
		fmt.Fprintf(rw, `<ListTagsForResourceResponse><ListTagsForResourceResult><TagList>%s</TagList></ListTagsForResourceResult></ListTagsForResourceResponse>`, b.String())
	}
	got, err := leftOf(t, w, "rds parameter group", ireland)
	wantLeft(t, got, err, leftover("arn:aws:rds:eu-west-1:111122223333:pg:auditcanary-"+mineData, canary.Call{
		Operation: "rds:DeleteDBParameterGroup", Region: "eu-west-1", Gone: []string{"DBParameterGroupNotFound"},
		Params: map[string]any{"DBParameterGroupName": "auditcanary-" + mineData},
	}))
	for _, c := range w.of("rds:ListTagsForResource") {
		if strings.Contains(c.form.Get("ResourceName"), "somebodys") {
			t.Error("somebody else's group was looked into")
		}
	}
}

func TestLeftVaults(t *testing.T) {
	for _, locked := range []bool{false, true} {
		w := newWire(t)
		names, tags := oddities()
		arn := func(name string) string { return "arn:aws:backup:eu-west-1:111122223333:backup-vault:" + name }
		w.answer[vaults] = func(rw http.ResponseWriter, c *called) {
			reply, these := map[string]any{}, names[3:]
			if c.req.URL.Query().Get("nextToken") == "" {
				reply["NextToken"], these = "more", names[:3]
			}
			var list []any
			for _, name := range these {
				list = append(list, map[string]any{"BackupVaultName": name, "BackupVaultArn": arn(name), "Locked": locked})
			}
			reply["BackupVaultList"] = list
			jsonReply(reply)(rw, c)
		}
		for name := range tags {
			w.answer["backup:GET /tags/"+url.PathEscape(arn(name))] = func(rw http.ResponseWriter, c *called) {
				if tags[name] == nil {
					rw.Header().Set("X-Amzn-Errortype", "ResourceNotFoundException")
					rw.WriteHeader(400)
					return
				}
				jsonReply(map[string]any{"Tags": tags[name]})(rw, c)
			}
			w.answer["backup:GET /tags/"+strings.ReplaceAll(arn(name), ":", "%3A")] = w.answer["backup:GET /tags/"+url.PathEscape(arn(name))]
		}
		got, err := leftOf(t, w, "backup vault", ireland)
		var calls []canary.Call
		if locked {
			calls = append(calls, vaultUndo("backup:DeleteBackupVaultLockConfiguration"))
		}
		wantLeft(t, got, err, leftover(arn("auditcanary-"+mineData), append(calls, vaultUndo("backup:DeleteBackupVault"))...))
	}
}

func vaultUndo(operation string) canary.Call {
	return canary.Call{
		Operation: operation, Region: "eu-west-1", Gone: []string{"ResourceNotFoundException"},
		Params: map[string]any{"BackupVaultName": "auditcanary-" + mineData},
	}
}

func TestLeftAccessEntries(t *testing.T) {
	for name, tt := range map[string]struct {
		tags map[string]string
		want bool
	}{
		"a canary's":  {map[string]string{tagRun: "20261122-abcdef", tagCanary: mineData}, true},
		"untagged":    {nil, false},
		"the fixture": {map[string]string{tagRun: "20261122-abcdef", tagCanary: mineData, tagFixture: "fixture"}, false},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWire(t)
			w.answer[entries] = func(rw http.ResponseWriter, c *called) {
				if c.req.URL.Query().Get("nextToken") == "" {
					jsonReply(map[string]any{"nextToken": "more", "accessEntries": []any{"arn:aws:iam::111122223333:role/admin", "arn:aws:iam::999999999999:role/auditcanary-nobody"}})(rw, c)
					return
				}
				jsonReply(map[string]any{"accessEntries": []any{nobodysRole, "arn:aws:iam::111122223333:role/auditcanary-gone"}})(rw, c)
			}
			w.answer[entries+"/"+url.QueryEscape(nobodysRole)] = jsonReply(map[string]any{"accessEntry": map[string]any{"accessEntryArn": "arn:entry", "principalArn": nobodysRole, "tags": tt.tags}})
			w.answer[entries+"/"+url.QueryEscape("arn:aws:iam::111122223333:role/auditcanary-gone")] = func(rw http.ResponseWriter, _ *called) {
				rw.Header().Set("X-Amzn-Errortype", "ResourceNotFoundException")
				rw.WriteHeader(404)
			}
			var want []run.Leftover
			if tt.want {
				want = leftover("arn:entry", canary.Call{
					Operation: "eks:DeleteAccessEntry", Region: "eu-west-1", Gone: []string{"ResourceNotFoundException"},
					Params: map[string]any{"ClusterName": "auditcanary-fixture", "PrincipalArn": nobodysRole},
				})
			}
			got, err := leftOf(t, w, "eks access entry", ireland)
			wantLeft(t, got, err, want)
		})
	}
}

func TestLeftControlPolicies(t *testing.T) {
	w := newWire(t)
	names, tags := oddities()
	w.answer["organizations:ListPolicies"] = func(rw http.ResponseWriter, c *called) {
		if !strings.Contains(string(c.body), "SERVICE_CONTROL_POLICY") {
			t.Errorf("listed %s", c.body)
		}
		reply, these := map[string]any{}, names[3:]
		if !strings.Contains(string(c.body), "more") {
			reply["NextToken"], these = "more", names[:3]
		}
		list := []any{map[string]any{"Id": "p-FullAWSAccess", "Name": "auditcanary-" + mineData, "AwsManaged": true}}
		for _, name := range these {
			list = append(list, map[string]any{"Id": "p-" + name, "Name": name, "Arn": "arn:" + name})
		}
		reply["Policies"] = list
		jsonReply(reply)(rw, c)
	}
	w.answer["organizations:ListTagsForResource"] = func(rw http.ResponseWriter, c *called) {
		for name, of := range tags {
			if !strings.Contains(string(c.body), `"p-`+name+`"`) {
				continue
			}
			if of == nil {
				jsonError(400, "TargetNotFoundException", "gone")(rw, c)
				return
			}
			var list []any
			for k, v := range of {
				list = append(list, map[string]any{"Key": k, "Value": v})
			}
			jsonReply(map[string]any{"Tags": list})(rw, c)
		}
	}
	got, err := leftOf(t, w, "organizations policy", virginia)
	wantLeft(t, got, err, leftover("arn:auditcanary-"+mineData, canary.Call{
		Operation: "organizations:DeletePolicy", Region: "us-east-1", Gone: []string{"PolicyNotFoundException"},
		Params: map[string]any{"PolicyId": "p-auditcanary-" + mineData},
	}))
}

// A member that may not list policies may not make any; whoever manages the
// organisation and may not list them does not know.
func TestOnlyAMemberNeedNotListPolicies(t *testing.T) {
	for name, tt := range map[string]struct {
		list, describe func(http.ResponseWriter, *called)
		want           string // "" = nothing is left
	}{
		"a member":                {},
		"no organisation":         {list: jsonError(400, "AWSOrganizationsNotInUseException", "none")},
		"the management account":  {describe: managedBy(testAccount), want: "organizations:ListPolicies in account 111122223333, us-east-1"},
		"who manages is unknown":  {describe: jsonError(400, "AccessDeniedException", "no"), want: "organizations:DescribeOrganization"},
		"who manages is not said": {describe: managedBy(""), want: "does not say which account manages"},
		"another error":           {list: jsonError(400, "TooManyRequestsException", "slow down"), want: "organizations:ListPolicies"},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWire(t)
			cleanData(w)
			if tt.list != nil {
				w.answer["organizations:ListPolicies"] = tt.list
			}
			if tt.describe != nil {
				w.answer["organizations:DescribeOrganization"] = tt.describe
			}
			left, err := leftOf(t, w, "organizations policy", virginia)
			if len(left) != 0 || (err == nil) != (tt.want == "") || err != nil && !strings.Contains(err.Error(), tt.want) {
				t.Errorf("%v, %v, want ...%s...", left, err, tt.want)
			}
		})
	}
}

func TestDataThatCannotBeListedIsAnError(t *testing.T) {
	mine := "auditcanary-" + mineData
	arn := "arn:aws:backup:eu-west-1:111122223333:backup-vault:" + mine
	denied := func(rw http.ResponseWriter, _ *called) {
		rw.Header().Set("X-Amzn-Errortype", "AccessDeniedException")
		rw.WriteHeader(403)
	}
	for name, tt := range map[string]struct {
		kind   string
		at     canary.Target
		answer map[string]func(http.ResponseWriter, *called)
		want   string
	}{
		"groups denied":       {"rds parameter group", ireland, map[string]func(http.ResponseWriter, *called){"rds:DescribeDBParameterGroups": xmlError(403, "AccessDenied", "no")}, "rds:DescribeDBParameterGroups in account 111122223333, eu-west-1"},
		"group's tags denied": {"rds parameter group", ireland, map[string]func(http.ResponseWriter, *called){"rds:DescribeDBParameterGroups": groups("", mine), "rds:ListTagsForResource": xmlError(403, "AccessDenied", "no")}, "rds:ListTagsForResource of arn:aws:rds:eu-west-1:111122223333:pg:" + mine},
		"vaults denied":       {"backup vault", ireland, map[string]func(http.ResponseWriter, *called){vaults: denied}, "backup:ListBackupVaults in account 111122223333, eu-west-1"},
		"vault's tags denied": {"backup vault", ireland, map[string]func(http.ResponseWriter, *called){
			vaults: jsonReply(map[string]any{"BackupVaultList": []any{map[string]any{"BackupVaultName": mine, "BackupVaultArn": arn}}}),
			"backup:GET /tags/" + strings.ReplaceAll(arn, ":", "%3A"): denied,
		}, "backup:ListTags of " + arn},
		"entries denied":     {"eks access entry", ireland, map[string]func(http.ResponseWriter, *called){entries: denied}, "eks:ListAccessEntries of auditcanary-fixture in account 111122223333, eu-west-1"},
		"entry denied":       {"eks access entry", ireland, map[string]func(http.ResponseWriter, *called){entries: jsonReply(map[string]any{"accessEntries": []any{nobodysRole}}), entries + "/" + url.QueryEscape(nobodysRole): denied}, "eks:DescribeAccessEntry of " + nobodysRole + " on auditcanary-fixture"},
		"entry without body": {"eks access entry", ireland, map[string]func(http.ResponseWriter, *called){entries: jsonReply(map[string]any{"accessEntries": []any{nobodysRole}}), entries + "/" + url.QueryEscape(nobodysRole): jsonReply(map[string]any{})}, "the reply is empty"},
		"policy's tags denied": {"organizations policy", virginia, map[string]func(http.ResponseWriter, *called){
			"organizations:ListPolicies":        jsonReply(map[string]any{"Policies": []any{map[string]any{"Id": "p-1", "Name": mine}}}),
			"organizations:ListTagsForResource": jsonError(400, "AccessDeniedException", "no"),
		}, "organizations:ListTagsForResource of p-1"},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWire(t)
			for call, f := range tt.answer {
				w.answer[call] = f
			}
			left, err := leftOf(t, w, tt.kind, tt.at)
			if len(left) != 0 || err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("%v, %v, want ...%s...", left, err, tt.want)
			}
		})
	}
}
