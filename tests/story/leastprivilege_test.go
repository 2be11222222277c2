package story

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/sts"

	"github.com/auditcanary/auditcanary/shared/canary"
	"github.com/auditcanary/auditcanary/shared/run"
	"github.com/auditcanary/auditcanary/shared/slack"
	"github.com/auditcanary/auditcanary/shared/wire"
	"github.com/auditcanary/auditcanary/tests/cfn"
	"github.com/auditcanary/auditcanary/tests/sandbox/cloud"
)

// infra is where an operator's templates are.
const infra = "../../infra/aws"

// deployed is a sandbox in which the roles, their policies and the buckets' are those of
// infra/aws, and nothing else is allowed to the program.
type deployed struct {
	t  *testing.T
	sb *sandbox
	// roles that were deployed: by ARN, what their policies grant.
	roles map[string][]granted
	// scps that hold in every account.
	scps []json.RawMessage
}

// granted is one action on one pattern of resources.
type granted struct{ action, resource string }

const deployedStage = "prod"

// deploy starts it. without leaves an action out of a role's policies.
func deploy(t *testing.T, without func(role, action string) bool, flags ...string) *deployed {
	t.Helper()
	dir := t.TempDir()
	sb, err := startSandbox(filepath.Join(dir, "log"), append([]string{"-listen", "127.0.0.1:0", "-data", filepath.Join(dir, "sandbox"), "-speed", "0"}, flags...)...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if said := sb.stop(); t.Failed() && len(said) > 0 {
			t.Log(said)
		}
	})
	d := &deployed{t: t, sb: sb, roles: map[string][]granted{}}
	for k, v := range sb.Env {
		t.Setenv(k, v)
	}
	t.Setenv("AUDITCANARY_CONFIG", sb.Config)
	t.Setenv("AUDITCANARY_EXTERNAL_ID", externalID)
	t.Setenv("AWS_EC2_METADATA_DISABLED", "true")

	function := func(name string) string {
		return "arn:aws:iam::" + cloud.ToolAccount + ":role/auditcanary/auditcanary-" + deployedStage + "-" + name
	}
	values := map[string]string{
		"AWS::Partition": "aws", "AWS::Region": "us-east-1", "Stage": deployedStage, "SecurityAccount": cloud.ToolAccount, "ExternalId": externalID,
		"ManagementAccount": cloud.ManagementAccount, "OrganizationTrailArn": "arn:aws:cloudtrail:us-east-1:" + cloud.ManagementAccount + ":trail/" + cloud.TrailName,
		"ArchiveAccount": cloud.ArchiveAccount, "ArchiveBucket": cloud.ArchiveBucket, "ArchivePrefix": "", "ArchiveKeyArn": cloud.ArchiveKey(),
		"LedgerBucket": cloud.LedgerBucket, "LedgerPrefix": "ledger/", "EvidenceBucket": cloud.EvidenceBucket, "EvidencePrefix": "packets/", "AccessLogBucket": "none",
		"DataKeyArn": cloud.DataKey(), "DataKey.Arn": cloud.DataKey(), "SigningKey.Arn": cloud.PacketKey(), "LedgerKeyArn": cloud.LedgerKey(),
		"LedgerBucket.Arn": "arn:aws:s3:::" + cloud.LedgerBucket, "EvidenceBucket.Arn": "arn:aws:s3:::" + cloud.EvidenceBucket, "AccessLogBucket.Arn": "arn:aws:s3:::none",
		"AlertTapArn": "arn:aws:sqs:us-east-1:" + cloud.ArchiveAccount + ":auditcanary-alert-tap-*",
	}
	for _, place := range []struct{ account, template string }{
		{cloud.ToolAccount, "evidence"}, {cloud.ArchiveAccount, "archive"},
		{cloud.TargetAccounts()[0], "member"}, {cloud.TargetAccounts()[1], "member"}, {cloud.ArchiveAccount, "member"}, {cloud.ManagementAccount, "member"}, {cloud.ToolAccount, "member"},
	} {
		values["AWS::AccountId"] = place.account
		template, err := cfn.Load(filepath.Join(infra, place.template+".yaml"))
		if err != nil {
			t.Fatal(err)
		}
		made, err := template.Resolve(values)
		if err != nil {
			t.Fatalf("%s: %v", place.template, err)
		}
		for _, name := range slices.Sorted(maps.Keys(made)) {
			switch r := made[name]; r.Type {
			case "AWS::IAM::Role":
				if name == "InjectorRole" && !slices.Contains(cloud.TargetAccounts(), place.account) {
					continue // no canary runs there
				}
				if slices.Contains([]string{"InjectorRole", "InspectorRole", "ReaderRole", "EvidenceRole"}, name) {
					d.role(place.account, made, r, without)
				}
			case "AWS::S3::BucketPolicy":
				if bucket := fmt.Sprint(r.Properties["Bucket"]); bucket == cloud.LedgerBucket || bucket == cloud.EvidenceBucket {
					d.plant(map[string]any{"bucket": map[string]any{"name": bucket, "policy": r.Properties["PolicyDocument"], "key": cloud.DataKey()}})
				}
			}
		}
	}
	values["AWS::AccountId"] = cloud.ToolAccount
	trust := map[string]any{"Version": "2012-10-17", "Statement": []any{map[string]any{
		"Effect": "Allow", "Principal": map[string]any{"AWS": "arn:aws:iam::" + cloud.ToolAccount + ":user/auditcanary-runner"}, "Action": "sts:AssumeRole"}}}
	signers := signers(t)
	for _, name := range []string{"inject", "confirm", "sweep", "report", "packet", "trigger"} {
		docs := []any{document(t, "function-"+name, values)}
		if slices.Contains(signers, strings.ToUpper(name[:1])+name[1:]+"Role") {
			docs = append(docs, document(t, "ledger-key", values))
		}
		d.put(cloud.ToolAccount, function(name), trust, nil, docs, without)
	}
	files, err := filepath.Glob(filepath.Join(infra, "scp", "*.json"))
	if err != nil || len(files) == 0 {
		t.Fatal(files, err)
	}
	for _, f := range files {
		text, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		d.scps = append(d.scps, json.RawMessage(strings.NewReplacer("ORGANIZATION_TRAIL", cloud.TrailName, "ARCHIVE_BUCKET", cloud.ArchiveBucket).Replace(string(text))))
	}
	d.plant(map[string]any{"scps": d.scps})
	d.plant(map[string]any{"tap_reader": function("confirm")})
	d.plant(map[string]any{"archive_key": true})
	d.plant(map[string]any{"bucket": map[string]any{"name": cloud.ArchiveBucket, "key": cloud.ArchiveKey()}})
	return d
}

// signers are the roles of the functions that may sign the ledger.
func signers(t *testing.T) (roles []string) {
	t.Helper()
	made, err := cfn.Load(filepath.Join(infra, "service", "roles.yml"))
	if err != nil {
		t.Fatal(err)
	}
	list, _ := made.Resources["LedgerKeyPolicy"].Properties["Roles"].([]any)
	for _, one := range list {
		roles = append(roles, fmt.Sprint(one.(map[string]any)["Ref"]))
	}
	if len(roles) == 0 {
		t.Fatal("nobody may sign the ledger")
	}
	return roles
}

// document is a policy of infra/aws/policies with its references resolved.
func document(t *testing.T, name string, values map[string]string) any {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(infra, "policies", name+".json"))
	if err != nil {
		t.Fatal(err)
	}
	var doc map[string]any
	if err := json.Unmarshal(text, &doc); err != nil {
		t.Fatal(name, err)
	}
	template := cfn.Template{Resources: map[string]cfn.Resource{"Policy": {Properties: doc}}}
	made, err := template.Resolve(values)
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return made["Policy"].Properties
}

// role deploys a role of a template with the policies that are attached to it there.
func (d *deployed) role(account string, made map[string]cfn.Resource, r cfn.Resource, without func(role, action string) bool) {
	arn := fmt.Sprintf("arn:aws:iam::%s:role%v%v", account, r.Properties["Path"], r.Properties["RoleName"])
	var policies []any
	var boundary any
	for _, name := range slices.Sorted(maps.Keys(made)) {
		p := made[name]
		if p.Type != "AWS::IAM::ManagedPolicy" {
			continue
		}
		if list, _ := p.Properties["Roles"].([]any); slices.Contains(list, r.Properties["RoleName"]) {
			policies = append(policies, p.Properties["PolicyDocument"])
		}
		if b := r.Properties["PermissionsBoundary"]; b != nil && strings.HasSuffix(fmt.Sprint(b), "/"+fmt.Sprint(p.Properties["ManagedPolicyName"])) {
			boundary = p.Properties["PolicyDocument"]
		}
	}
	d.put(account, arn, r.Properties["AssumeRolePolicyDocument"], boundary, policies, without)
}

func (d *deployed) put(account, arn string, trust, boundary any, policies []any, without func(role, action string) bool) {
	d.t.Helper()
	var documents []any
	for _, p := range policies {
		var doc struct {
			Version   string
			Statement []map[string]any
		}
		data, err := json.Marshal(p)
		if err == nil {
			err = json.Unmarshal(data, &doc)
		}
		if err != nil {
			d.t.Fatal(arn, err)
		}
		for _, st := range doc.Statement {
			var left []any
			for _, action := range several(st["Action"]) {
				if without != nil && without(arn, action) {
					continue
				}
				left = append(left, action)
				for _, resource := range several(st["Resource"]) {
					d.roles[arn] = append(d.roles[arn], granted{action, resource})
				}
			}
			if left == nil {
				left = []any{"none:None"}
			}
			st["Action"] = left
		}
		documents = append(documents, doc)
	}
	name := arn[strings.LastIndexByte(arn, '/')+1:]
	role := map[string]any{"account": account, "path": "/auditcanary/", "name": name, "trust": trust, "policy": documents[0], "policies": documents}
	if boundary != nil {
		role["boundary"] = boundary
	}
	d.plant(map[string]any{"role": role})
}

func several(v any) (out []string) {
	if list, ok := v.([]any); ok {
		for _, x := range list {
			out = append(out, x.(string))
		}
		return out
	}
	return []string{v.(string)}
}

func (d *deployed) plant(what any) {
	d.t.Helper()
	body, err := json.Marshal(what)
	if err == nil {
		err = d.sb.admin(http.MethodPost, "plant", string(body), nil)
	}
	if err != nil {
		d.t.Fatalf("plant %.300s: %v", body, err)
	}
}

// configure changes the sandbox's configuration into that of such a deployment.
func (d *deployed) configure(changes ...string) {
	d.t.Helper()
	data, err := os.ReadFile(d.sb.Config)
	if err != nil {
		d.t.Fatal(err)
	}
	text := string(data)
	for i := 0; i+1 < len(changes); i += 2 {
		if !strings.Contains(text, changes[i]) {
			d.t.Fatalf("the configuration has no %q", changes[i])
		}
		text = strings.ReplaceAll(text, changes[i], changes[i+1])
	}
	if err := os.WriteFile(d.sb.Config, []byte(text), 0o600); err != nil {
		d.t.Fatal(err)
	}
}

// standard is the configuration that goes with infra/aws, with keys of KMS; the account of a target that is
// not wanted is left out.
func (d *deployed) standard() {
	d.configure(
		"  dir: ledger\n", "  s3: {bucket: "+cloud.LedgerBucket+", prefix: ledger, region: us-east-1}\n",
		"retain_days: 400}", "retain_days: 400, kms_key: "+cloud.PacketKey()+"}",
		", role_arn: "+cloud.ReaderRole()+"}, within", "}, within",
		"auditcanary-injector\n", "auditcanary-injector\n    external_id_env: AUDITCANARY_EXTERNAL_ID\n",
		"  role: auditcanary/auditcanary-inspector\n", "  role: auditcanary/auditcanary-inspector\n  external_id_env: AUDITCANARY_EXTERNAL_ID\n",
	)
	vkey, err := wire.LedgerVerifierKey(d.t.Context(), d.config(), cloud.LedgerKey(), "auditcanary.example/demo") // an operator prints it once
	if err != nil {
		d.t.Fatal(err)
	}
	d.configure("  key_file: signing.key\n", "  kms_key: "+cloud.LedgerKey()+"\n  verifier: "+vkey+"\n")
	data, _ := os.ReadFile(d.sb.Config)
	whole := string(data)
	from, to := strings.Index(whole, "  - account: \""+cloud.TargetAccounts()[1]), strings.Index(whole, "log_stores:")
	more := "trigger: {state_machine: \"arn:aws:states:us-east-1:" + cloud.ToolAccount + ":stateMachine:auditcanary-" + deployedStage + "-run\", callers: [{id: ci, key_env: AUDITCANARY_CALLER_KEY}]}\n"
	whole = whole[:from] + whole[to:] + more
	// Regional canaries in one region; those of the account are recorded in us-east-1.
	whole = strings.Replace(whole, "    regions: [us-east-1, eu-west-1]\n", "    regions: [eu-west-1]\n", 1)
	whole = regexp.MustCompile(`(?m)^      "us-east-1":\n(        .*\n)*`).ReplaceAllString(whole, "")
	// A look at a queue takes a second: two alerts of eleven are listened for.
	whole = regexp.MustCompile(`(?m)^  - \{name: (permissions|network|keys|logging|backup|storage|security-tooling|host-access|configuration)-.*, sqs: .*\n`).ReplaceAllString(whole, "")
	if err := os.WriteFile(d.sb.Config, []byte(whole), 0o600); err != nil {
		d.t.Fatal(err)
	}
}

func (d *deployed) config() *wire.Config {
	d.t.Helper()
	cfg, err := wire.Load(d.sb.Config)
	if err != nil {
		d.t.Fatal(err)
	}
	return cfg
}

// as goes on with a function's own role, as Lambda does.
func (d *deployed) as(function string) {
	d.t.Helper()
	cfg := aws.Config{Region: "us-east-1", BaseEndpoint: aws.String(d.sb.Env["AWS_ENDPOINT_URL"]),
		Credentials: credentials.NewStaticCredentialsProvider(d.sb.Env["AWS_ACCESS_KEY_ID"], d.sb.Env["AWS_SECRET_ACCESS_KEY"], "")}
	out, err := sts.NewFromConfig(cfg).AssumeRole(d.t.Context(), &sts.AssumeRoleInput{
		RoleArn: aws.String("arn:aws:iam::" + cloud.ToolAccount + ":role/auditcanary/auditcanary-" + deployedStage + "-" + function), RoleSessionName: aws.String("auditcanary-" + deployedStage + "-" + function),
	})
	if err != nil {
		d.t.Fatal(err)
	}
	d.t.Setenv("AWS_ACCESS_KEY_ID", *out.Credentials.AccessKeyId)
	d.t.Setenv("AWS_SECRET_ACCESS_KEY", *out.Credentials.SecretAccessKey)
	d.t.Setenv("AWS_SESSION_TOKEN", *out.Credentials.SessionToken)
}

// step runs a function's step with its role.
func (d *deployed) step(name string, in wire.Input) (any, error) {
	d.t.Helper()
	d.as(name)
	in.Summary = true
	event, err := json.Marshal(in)
	if err != nil {
		d.t.Fatal(err)
	}
	handlers := map[string]func() wire.Handler{
		"inject": wire.InjectFunction, "confirm": wire.ConfirmFunction, "sweep": wire.SweepFunction,
		"report": wire.ReportFunction, "packet": wire.PacketFunction,
	}
	return handlers[name]()(d.t.Context(), event)
}

func (d *deployed) must(name string, in wire.Input) any {
	d.t.Helper()
	defer func(began time.Time) { d.t.Logf("%s: %s", name, time.Since(began).Round(time.Millisecond)) }(time.Now())
	out, err := d.step(name, in)
	if err != nil {
		d.t.Fatalf("%s: %v", name, err)
	}
	return out
}

func (d *deployed) advance(by string) {
	d.t.Helper()
	if err := d.sb.admin(http.MethodPost, "time", `{"advance":"`+by+`"}`, nil); err != nil {
		d.t.Fatal(err)
	}
}

func (d *deployed) faults(text string) {
	d.t.Helper()
	if err := d.sb.admin(http.MethodPut, "faults", text, nil); err != nil {
		d.t.Fatal(err)
	}
}

func (d *deployed) decided() (out []cloud.Decision) {
	d.t.Helper()
	if err := d.sb.admin(http.MethodGet, "decided", "", &out); err != nil {
		d.t.Fatal(err)
	}
	return out
}

// nothingIsUndone: every canary leaves behind what it made, and the record of one is lost.
const nothingIsUndone = `faults:
  - {name: undone by nobody, at: call, match: 'it.principal.contains("assumed-role/auditcanary-injector/") && it.operation.matches("^(Delete|Detach|Revoke|Cancel|Enable|Start)") && it.nth > 1', do: {error: {code: ServiceUnavailable, status: 503}}}
`

// oneIsLost is a record that never arrives, so that the event history is asked.
const oneIsLost = `faults:
  - {name: lost, at: record, match: 'it.eventName == "ImportKeyPair"', do: {drop: true}}
`

// unused is what policies of infra/aws grant and the story below does not use, by action,
// with the reason.
var unused = map[string]string{
	"iam:PutRolePermissionsBoundary": restores, "cloudtrail:StartLogging of auditcanary-locked": restores, "events:EnableRule": restores,

	"organizations:DeletePolicy":        managing,
	"organizations:ListTagsForResource": managing,

	"organizations:ListAccountsForParent of ou/*":            "the sandbox's organisation has no units",
	"organizations:ListOrganizationalUnitsForParent of ou/*": "the sandbox's organisation has no units",
	"guardduty:GetFilter of detector/*":                      "nobody suppresses findings in the sandbox",
	"iam:GetPolicy":                                          named,
	"iam:GetPolicyVersion":                                   named,

	"sqs:ChangeMessageVisibility":         "gives back what a look took and could not settle: there is never so much here",
	"s3:ListBucket of auditcanary-ledger": "only the first step finds no ledger yet, and is told so; any of them may be the first",
}

const (
	restores = "restores what a tamper probe took away, should it ever succeed"
	managing = "policies are made and deleted by the management account, if canaries run there; elsewhere the call is refused"
	named    = "for policies that the account's details name and do not hold: a boundary of AWS's own"
)

// TestThePoliciesAreEnoughAndNoneIsTooMuch: every step runs under exactly the roles, trust
// policies, policies, boundary, bucket policies and service control policies of infra/aws.
// Nothing that they do is refused but what must be, and what is granted is used.
func TestThePoliciesAreEnoughAndNoneIsTooMuch(t *testing.T) {
	d := deploy(t, nil)
	d.standard()
	t.Setenv("AUDITCANARY_CALLER_KEY", strings.Repeat("k", 32))

	began := time.Now()
	d.faults(nothingIsUndone)
	d.leave()
	t.Logf("inject, of which nothing is undone: %s", time.Since(began).Round(time.Millisecond))
	d.faults(oneIsLost)
	d.must("sweep", wire.Input{OlderThan: "1ns"})
	from := time.Now().UTC().Add(-time.Hour).Truncate(time.Second)
	summary := d.must("inject", wire.Input{}).(run.Summary)
	d.advance("20m")
	d.must("confirm", wire.Input{Run: summary.Run})
	d.advance("3h")
	last := d.must("confirm", wire.Input{Run: summary.Run, Integrity: true})
	d.must("report", wire.Input{Run: summary.Run})
	period := wire.Input{From: from, To: time.Now().UTC().Add(24 * time.Hour).Truncate(time.Second)}
	d.must("packet", period)
	d.must("packet", period) // it is there already
	period.To = period.To.Add(time.Hour)
	d.must("packet", period) // and goes on from the one before
	d.trigger()

	d.as("confirm") // whom the inspectors trust, beside an operator
	cfg := d.config()
	began = time.Now()
	if _, err := wire.Sources(t.Context(), cfg, &run.State{}, wire.SourcesOptions{Now: time.Now()}); err != nil {
		t.Error(err)
	}
	if _, err := wire.Access(t.Context(), cfg); err != nil {
		t.Error(err)
	}
	t.Logf("sources and access: %s", time.Since(began).Round(time.Millisecond))
	if s := last.(run.Summary); s.Tally.Canaries < 50 || s.Tally.Proven < s.Tally.Canaries-1 {
		t.Errorf("%+v: the policies make canaries fail", s.Tally)
	}
	for _, l := range last.(run.Summary).Canaries {
		for check, a := range l.Checks {
			if a.Status != canary.Pass && a.Status != canary.NotRun && l.Scenario != "aws/ec2-key-pair" { // of which the record was lost
				t.Errorf("%s %s: %s %s %s", l.Scenario, l.Region, check, a.Status, a.Hop)
			}
		}
	}
	t.Logf("%d canaries; %d decisions", summary.Tally.Canaries, len(d.decided()))
	d.judge()
}

// leave does everything, and leaves behind what it made.
func (d *deployed) leave() {
	d.t.Helper()
	d.as("inject")
	r, err := wire.Open(d.t.Context(), d.config(), wire.Options{})
	if err != nil {
		d.t.Fatal(err)
	}
	r.Sleep = func(context.Context, time.Duration) error { return nil } // between attempts to undo
	if err := r.Inject(d.t.Context(), run.NewRunID(r.Clock())); err != nil {
		d.t.Fatal(err)
	}
}

// TestAStepFailsWithoutAnActionOfItsPolicy: what is taken away is missed, and named.
func TestAStepFailsWithoutAnActionOfItsPolicy(t *testing.T) {
	for _, tc := range []struct{ step, role, action, want string }{
		{"packet", "auditcanary-prod-packet", "s3:ListBucket", "AccessDenied"}, // there is no ledger yet: it must not look like one that is refused
		{"inject", "auditcanary-prod-inject", "s3:PutObject", "s3:PutObject"},
		{"sweep", "auditcanary-prod-sweep", "sts:SetSourceIdentity", "sts:SetSourceIdentity"},
		{"packet", "auditcanary-evidence", "kms:Sign", "kms:Sign"},
		{"inject", "auditcanary-prod-inject", "kms:Sign", cloud.LedgerKey()},
		{"packet", "auditcanary-prod-packet", "kms:Decrypt", "kms:Decrypt"},
	} {
		t.Run(tc.step+" without "+tc.action+" of "+tc.role, func(t *testing.T) {
			d := deploy(t, func(role, action string) bool { return strings.HasSuffix(role, "/"+tc.role) && action == tc.action })
			d.standard()
			d.configure(`include: ["aws/*"]`, `include: ["aws/kms-disable-key"]`)
			in := wire.Input{}
			if tc.step == "packet" && tc.action != "s3:ListBucket" {
				d.must("inject", in)
				in = wire.Input{From: time.Now().UTC().Add(-time.Hour).Truncate(time.Second), To: time.Now().UTC().Add(time.Hour).Truncate(time.Second)}
			}
			out, err := d.step(tc.step, in)
			said, _ := json.Marshal(out)
			if text := fmt.Sprint(err) + string(said); !strings.Contains(text, tc.want) {
				t.Errorf("got %s, which does not name %s", text, tc.want)
			}
		})
	}
}

// trigger takes what a program asks for, with the trigger's role.
func (d *deployed) trigger() {
	d.t.Helper()
	d.as("trigger")
	h, err := wire.TriggerFunction(d.t.Context(), wire.TriggerOptions{})
	if err != nil {
		d.t.Fatal(err)
	}
	body := `{"do":"run","scenario":"aws/kms-*","target":"` + cloud.TargetAccounts()[0] + `"}`
	r := httptest.NewRequest(http.MethodPost, "/run", strings.NewReader(body))
	ts := strconv.FormatInt(time.Now().Unix(), 10)
	r.Header.Set("X-Auditcanary-Key", "ci")
	r.Header.Set("X-Auditcanary-Timestamp", ts)
	r.Header.Set("X-Auditcanary-Signature", slack.Sign(strings.Repeat("k", 32), ts, []byte(body)))
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	if w.Code != http.StatusOK && w.Code != http.StatusAccepted {
		d.t.Errorf("trigger: %d %s", w.Code, w.Body)
	}
}

// judge holds what was decided against what is granted.
func (d *deployed) judge() {
	d.t.Helper()
	used := map[string]map[granted]bool{}
	for _, x := range d.decided() {
		grants, ours := d.roles[x.Role]
		if !ours {
			continue
		}
		if !x.Allowed && !strings.Contains(x.Why, "explicit deny in a service control policy") { // which tamper probes want to see
			d.t.Errorf("%s may not %s on %s: %s", x.Role, x.Action, x.Resource, x.Why)
			continue
		}
		for _, g := range grants {
			if g.action == x.Action && like(g.resource, x.Resource) {
				if used[x.Role] == nil {
					used[x.Role] = map[granted]bool{}
				}
				used[x.Role][g] = true
			}
		}
	}
	// Roles of the same name have the same policies: what one of them used counts for all.
	byName := map[string]map[granted]bool{}
	all := map[string]map[granted]bool{}
	for arn, grants := range d.roles {
		name, account := arn[strings.LastIndexByte(arn, '/')+1:], strings.Split(arn, ":")[4]
		generic := strings.NewReplacer(account, "ACCOUNT")
		for _, g := range grants {
			key := granted{g.action, generic.Replace(g.resource)}
			if all[name] == nil {
				all[name], byName[name] = map[granted]bool{}, map[granted]bool{}
			}
			all[name][key] = true
			if used[arn][g] {
				byName[name][key] = true
			}
		}
	}
	explained := map[string]bool{}
	count := 0
	for _, name := range slices.Sorted(maps.Keys(all)) {
		for g := range all[name] {
			if byName[name][g] {
				count++
				continue
			}
			why := slices.IndexFunc(slices.Sorted(maps.Keys(unused)), func(what string) bool {
				action, of, _ := strings.Cut(what, " of ")
				return action == g.action && strings.HasSuffix(g.resource, of)
			})
			if why < 0 {
				d.t.Errorf("%s is granted %s on %s, and never used it", name, g.action, g.resource)
				continue
			}
			explained[slices.Sorted(maps.Keys(unused))[why]] = true
		}
	}
	for what := range unused {
		if !explained[what] {
			d.t.Errorf("%s is explained as unused, and was used or is not granted", what)
		}
	}
	d.t.Logf("%d grants used, %d reasons for others", count, len(explained))
}

func like(pattern, s string) bool {
	return regexp.MustCompile("^" + strings.NewReplacer(`\*`, ".*", `\?`, ".").Replace(regexp.QuoteMeta(pattern)) + "$").MatchString(s)
}
