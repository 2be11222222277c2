package story

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/cloudtrail"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	s3types "github.com/aws/aws-sdk-go-v2/service/s3/types"

	"github.com/auditcanary/auditcanary/shared/doctor"
	"github.com/auditcanary/auditcanary/shared/ledger"
	"github.com/auditcanary/auditcanary/shared/wire"
	"github.com/auditcanary/auditcanary/tests/sandbox/cloud"
)

const (
	externalID = "an-external-id-of-ours"
	first      = "111122223333"
	second     = "444455556666"
)

// installation is a sandbox with everything that doctor looks at.
type installation struct {
	*sandbox
	dir    string
	config string // what is healthy
}

// install starts a sandbox in which nothing is wrong: roles that demand an external id, a
// ledger in a bucket with entries, an archive into which something has arrived.
func install(t *testing.T) *installation {
	t.Helper()
	dir := t.TempDir()
	sb, err := startSandbox(filepath.Join(dir, "sandbox.log"), "-listen", "127.0.0.1:0", "-data", filepath.Join(dir, "sandbox"), "-speed", "1", "-delay", "300ms")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { t.Logf("%s", sb.stop()) })
	for k, v := range sb.Env {
		t.Setenv(k, v)
	}
	t.Setenv("AWS_EC2_METADATA_DISABLED", "true")
	t.Setenv("EXTERNAL_ID", externalID)
	t.Setenv("CALLER_KEY", strings.Repeat("k", 32))
	in := &installation{sandbox: sb, dir: filepath.Dir(sb.Config)}
	in.demandExternalID(t, fmt.Sprintf(`"sts:ExternalId":%q,`, externalID))
	data, err := os.ReadFile(sb.Config)
	if err != nil {
		t.Fatal(err)
	}
	register := `version: 1
exceptions: []
`
	if err := os.WriteFile(filepath.Join(in.dir, "exceptions.yaml"), []byte(register), 0o600); err != nil {
		t.Fatal(err)
	}
	in.config = edited(t, string(data),
		"    egress:", "    external_id_env: EXTERNAL_ID\n    egress:",
		"  dir: ledger\n", "  s3: {bucket: auditcanary-ledger, prefix: ledger, region: us-east-1}\n",
		"retain_days: 400}", "retain_days: 400, kms_key: "+cloud.PacketKey()+"}",
		"tickets:\n", "exceptions: {file: exceptions.yaml}\ntrigger: {callers: [{id: ci, key_env: CALLER_KEY}]}\ntickets:\n")
	return in
}

// demandExternalID sets the trust of the injectors, with more conditions.
func (in *installation) demandExternalID(t *testing.T, condition string) {
	t.Helper()
	for _, account := range cloud.TargetAccounts() {
		in.trust(t, account, condition)
	}
}

func (in *installation) trust(t *testing.T, account, condition string) {
	t.Helper()
	const runner = `"Principal":{"AWS":"arn:aws:iam::222222222222:user/auditcanary-runner"}`
	document := fmt.Sprintf(`{"Version":"2012-10-17","Statement":[{"Effect":"Allow",%s,"Action":"sts:AssumeRole","Condition":{"StringLike":{%s"sts:RoleSessionName":"auditcanary*"}}},
 {"Effect":"Allow",%s,"Action":"sts:SetSourceIdentity","Condition":{"StringEquals":{"sts:SourceIdentity":"auditcanary"}}}]}`, runner, condition, runner)
	_, err := iam.NewFromConfig(in.root(account)).UpdateAssumeRolePolicy(t.Context(), &iam.UpdateAssumeRolePolicyInput{RoleName: aws.String("auditcanary-injector"), PolicyDocument: &document})
	if err != nil {
		t.Fatal(err)
	}
}

// root is the configuration of an account's root user.
func (in *installation) root(account string) aws.Config {
	key := cloud.WorldRootKey(account)
	return aws.Config{Region: "us-east-1", BaseEndpoint: aws.String(in.Env["AWS_ENDPOINT_URL"]), Credentials: credentials.NewStaticCredentialsProvider(key.ID, key.Secret, "")}
}

// admin asks the sandbox for itself.
func (in *installation) admin(t *testing.T, method, path, body string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, in.Env["AWS_ENDPOINT_URL"]+"/_sandbox/"+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if answer, _ := io.ReadAll(resp.Body); resp.StatusCode != http.StatusOK {
		t.Fatalf("%s %s: %s: %s", method, path, resp.Status, answer)
	}
}

// edited replaces texts; each old one must be there.
func edited(t *testing.T, text string, pairs ...string) string {
	t.Helper()
	for i := 0; i < len(pairs); i += 2 {
		if !strings.Contains(text, pairs[i]) {
			t.Fatalf("the configuration does not contain %q", pairs[i])
		}
		text = strings.ReplaceAll(text, pairs[i], pairs[i+1])
	}
	return text
}

// write writes a configuration beside the key, and returns its path.
func (in *installation) write(t *testing.T, config string) string {
	t.Helper()
	f, err := os.CreateTemp(in.dir, "config-*.yaml")
	if err == nil {
		_, err = f.WriteString(config)
	}
	if err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	return f.Name()
}

// run is the command itself.
func (in *installation) run(t *testing.T, args ...string) (code int, report doctor.Report, stderr string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), filepath.Join(bin, "auditcanary"), args...)
	cmd.Env = append(in.environ(), "EXTERNAL_ID="+externalID, "CALLER_KEY="+strings.Repeat("k", 32))
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	_ = cmd.Run() // the code tells
	if slices.Contains(args, "--json") {
		if err := json.Unmarshal(out.Bytes(), &report); err != nil {
			t.Fatalf("%v: %v\n%s\n%s", args, err, out.Bytes(), errs.Bytes())
		}
	}
	return cmd.ProcessState.ExitCode(), report, errs.String()
}

// misconfiguration is one thing that is wrong, and how doctor tells it.
type misconfiguration struct {
	edit []string          // of the configuration: old, new, ...
	cut  [2]string         // what is between these is taken out of it
	env  map[string]string // instead
	do   func(t *testing.T, in *installation)
	undo func(t *testing.T, in *installation)
	only string // the check that names it
	at   string // account
	// status, what it says of it and of the fix.
	status    doctor.Status
	seen, fix string
}

// misconfigurations by name. What changes the sandbox for good comes last.
func misconfigurations() map[string]misconfiguration {
	trail := func(change func(*testing.T, *cloudtrail.Client)) func(*testing.T, *installation) {
		return func(t *testing.T, in *installation) {
			change(t, cloudtrail.NewFromConfig(in.root(cloud.ManagementAccount)))
		}
	}
	name := aws.String(cloud.TrailName)
	must := func(t *testing.T, err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	lock := func(mode s3types.ObjectLockRetentionMode, days int32) func(*testing.T, *installation) {
		return func(t *testing.T, in *installation) {
			_, err := s3.NewFromConfig(in.root(cloud.ArchiveAccount), func(o *s3.Options) { o.UsePathStyle = true }).PutObjectLockConfiguration(t.Context(), &s3.PutObjectLockConfigurationInput{
				Bucket: aws.String(cloud.ArchiveBucket), ObjectLockConfiguration: &s3types.ObjectLockConfiguration{ObjectLockEnabled: "Enabled", Rule: &s3types.ObjectLockRule{DefaultRetention: &s3types.DefaultRetention{Mode: mode, Days: &days}}},
			})
			must(t, err)
		}
	}
	fixture := cloud.Fixtures(first, "us-east-1")
	all := map[string]misconfiguration{
		"a key that does not exist": {edit: []string{"poll: 1s", "pull: 1s"}, only: "configuration", status: doctor.Wrong, seen: `unknown key "pull"`, fix: "config check"},
		"no configuration":          {edit: nil, only: "configuration", status: doctor.Wrong, seen: "no such file", fix: "auditcanary init"},
		"a secret that is not set":  {env: map[string]string{"AUDITCANARY_JIRA_TOKEN": ""}, only: "secrets", status: doctor.Wrong, seen: "tickets.jira.token_env: environment variable AUDITCANARY_JIRA_TOKEN is empty", fix: "export AUDITCANARY_JIRA_TOKEN="},
		"a short key of a caller":   {env: map[string]string{"CALLER_KEY": "short"}, only: "trigger", status: doctor.Wrong, seen: "less than 32 characters", fix: "openssl rand -hex 32"},
		"no register of exceptions": {edit: []string{"file: exceptions.yaml", "file: other.yaml"}, only: "exceptions", status: doctor.Wrong, seen: "other.yaml", fix: "exceptions check"},
		"no credentials":            {env: map[string]string{"AWS_ACCESS_KEY_ID": "", "AWS_SECRET_ACCESS_KEY": "", "AWS_CONFIG_FILE": "/dev/null", "AWS_SHARED_CREDENTIALS_FILE": "/dev/null"}, only: "credentials", status: doctor.Wrong, seen: "no usable credentials", fix: "AWS_PROFILE"},
		"credentials of nobody":     {env: map[string]string{"AWS_SECRET_ACCESS_KEY": "another"}, only: "credentials", status: doctor.Wrong, seen: "SignatureDoesNotMatch", fix: "aws sts get-caller-identity"},
		"a clock that is off": {
			do: func(t *testing.T, in *installation) {
				in.admin(t, http.MethodPut, "faults", "faults: [{name: skew, at: call, match: 'it.operation == \"GetCallerIdentity\"', do: {skew: 5m}}]")
			},
			only: "clock", status: doctor.Wrong, seen: "behind the provider's, more than slo.clock (2m0s)", fix: "NTP",
		},
		"a wrong external id":    {env: map[string]string{"EXTERNAL_ID": "wrong"}, only: "injector", status: doctor.Wrong, seen: "AccessDenied", fix: "external id in EXTERNAL_ID must be the one of the trust policy"},
		"a role that is missing": {edit: []string{"arn:aws:iam::" + second + ":role/auditcanary/auditcanary-injector", "arn:aws:iam::" + second + ":role/auditcanary/injector"}, only: "injector", at: second, status: doctor.Wrong, seen: "role/auditcanary/injector", fix: "correct role_arn"},
		"a deputy that can be confused": {
			do: func(t *testing.T, in *installation) { in.trust(t, first, "") },
			undo: func(t *testing.T, in *installation) {
				in.trust(t, first, fmt.Sprintf(`"sts:ExternalId":%q,`, externalID))
			},
			only: "external-id", at: first, status: doctor.Wrong, seen: "a wrong external id was accepted", fix: `"sts:ExternalId"`,
		},
		"an inspector that is missing": {edit: []string{"role: auditcanary/auditcanary-inspector", "role: auditcanary/inspector"}, only: "inspector", at: first, status: doctor.Wrong, seen: "role/auditcanary/inspector", fix: "inspection.role"},
		"no inspection":                {cut: [2]string{"alerts:\n", "exceptions:"}, edit: []string{"inspection:\n", "#inspection:\n", "  role: auditcanary/auditcanary-inspector\n", "", "  organization: {management", "#  organization: {management"}, only: "trails", status: doctor.Unknown, seen: "no inspection section", fix: "inspection: {role:"},
		"a role that may do too little": {
			edit: []string{"arn:aws:iam::" + first + ":role/auditcanary/auditcanary-injector", "arn:aws:iam::" + first + ":role/auditcanary/auditcanary-flow-logs"},
			only: "permissions", at: first, status: doctor.Wrong, seen: "auditcanary-flow-logs lacks ", fix: "auditcanary plan --json",
		},
		"a fixture that is not there":      {edit: []string{fixture["security_group"], "sg-0123456789abcdef0"}, only: "fixtures", at: first, status: doctor.Wrong, seen: "security_group sg-0123456789abcdef0: it is not there (InvalidGroup.NotFound)", fix: "deploy the member template"},
		"a key that is not there":          {edit: []string{fixture["kms_key"], "00000000-0000-4000-8000-000000000000"}, only: "fixtures", at: first, status: doctor.Wrong, seen: "it is not there (NotFoundException)", fix: "correct fixtures"},
		"a thing that is no fixture":       {edit: []string{"snapshot: " + fixture["snapshot"], "snapshot: snap-00000000000000000"}, only: "fixtures", at: first, status: doctor.Wrong, seen: "InvalidSnapshot.NotFound", fix: "correct fixtures"},
		"a fixture that is not configured": {edit: []string{"        vpc: " + fixture["vpc"] + "\n", ""}, only: "fixtures", at: first, status: doctor.Wrong, seen: "cannot run in us-east-1", fix: "scenarios.exclude"},
		"a bucket in another region":       {edit: []string{"bucket: org-trail-archive\n    region: us-east-1", "bucket: org-trail-archive\n    region: eu-west-1"}, only: "archive", status: doctor.Wrong, seen: `set the log store's region to "us-east-1"`, fix: "log_stores (bucket, region, role_arn)"},
		"a bucket that is missing":         {edit: []string{"bucket: org-trail-archive", "bucket: org-trail-archives"}, only: "archive", status: doctor.Wrong, seen: "org-trail-archives", fix: "s3:ListBucket"},
		"another organisation":             {edit: []string{"organization_id: o-exampleorg1", "organization_id: o-exampleorg2"}, only: "archive", status: doctor.Wrong, seen: "has nothing below AWSLogs/o-exampleorg2/, but AWSLogs/o-exampleorg1/", fix: "organization_id the o-…"},
		"an account that sends nothing":    {edit: []string{second, "123456789012"}, only: "records", at: "123456789012", status: doctor.Wrong, seen: "no log file and no digest has arrived", fix: "auditcanary sources"},
		"a trail that is stopped": {
			do: trail(func(t *testing.T, c *cloudtrail.Client) {
				_, err := c.StopLogging(t.Context(), &cloudtrail.StopLoggingInput{Name: name})
				must(t, err)
			}),
			undo: trail(func(t *testing.T, c *cloudtrail.Client) {
				_, err := c.StartLogging(t.Context(), &cloudtrail.StartLoggingInput{Name: name})
				must(t, err)
			}),
			only: "trails", status: doctor.Wrong, seen: "it records nothing, stopped", fix: "start-logging",
		},
		"a trail without digests": {
			do: trail(func(t *testing.T, c *cloudtrail.Client) {
				_, err := c.UpdateTrail(t.Context(), &cloudtrail.UpdateTrailInput{Name: name, EnableLogFileValidation: aws.Bool(false)})
				must(t, err)
			}),
			undo: trail(func(t *testing.T, c *cloudtrail.Client) {
				_, err := c.UpdateTrail(t.Context(), &cloudtrail.UpdateTrailInput{Name: name, EnableLogFileValidation: aws.Bool(true)})
				must(t, err)
			}),
			only: "trails", status: doctor.Wrong, seen: "log file validation is off", fix: "switch log file validation on",
		},
		"an account that is none of the organisation": {edit: []string{second, "123456789012"}, only: "trails", status: doctor.Wrong, seen: "not among the active accounts to look into (inspection): 123456789012", fix: "correct targets"},
		"a bucket that is hardly locked":              {do: lock("GOVERNANCE", 1), undo: lock("COMPLIANCE", 365), only: "protection", status: doctor.Wrong, seen: "default retention GOVERNANCE of 1 day", fix: "default retention"},
		"an alarm that is missing":                    {edit: []string{"name: root-activity, actions", "name: gone, actions"}, only: "alert-path", status: doctor.Wrong, seen: "gone", fix: "alert_path"},
		"a queue that is gone":                        {edit: []string{"auditcanary-alert-tap-keys-changed\"", "auditcanary-alert-tap-gone\""}, only: "alerts", status: doctor.Wrong, seen: "keys-changed: ", fix: "alerts.keys-changed"},
		"the key of another log": {
			edit: []string{"key_file: signing.key", "key_file: other.key"},
			do:   func(t *testing.T, in *installation) { in.key(t, "other.key") },
			only: "ledger", status: doctor.Wrong, seen: "is not of this key and origin", fix: "the key that it was begun with",
		},
		"no signing key":                    {edit: []string{"key_file: signing.key", "key_file: none.key"}, only: "ledger", status: doctor.Wrong, seen: "none.key", fix: "auditcanary ledger keygen"},
		"a ledger's bucket that is missing": {edit: []string{"bucket: auditcanary-ledger", "bucket: auditcanary-ledgers"}, only: "ledger", status: doctor.Wrong, seen: "auditcanary-ledgers", fix: "s3:PutObject"},
		"evidence without a lock":           {edit: []string{"bucket: auditcanary-evidence, prefix: packets, region: us-east-1, role_arn: " + cloud.EvidenceRole(), "bucket: auditcanary-ledger, prefix: packets, region: us-east-1"}, only: "evidence", status: doctor.Wrong, seen: "has no Object Lock", fix: "evidence template"},
		"a signing key of another kind":     {edit: []string{cloud.PacketKey(), cloud.LedgerKey()}, only: "evidence-key", status: doctor.Wrong, seen: "it is ECC_NIST_EDWARDS25519 for SIGN_VERIFY", fix: "--key-spec ECC_NIST_P256"},
		"no project at Jira":                {edit: []string{"project: SEC", "project: NONE"}, only: "tickets", status: doctor.Wrong, seen: "NONE", fix: "tickets.jira"},
		"another token at Jira":             {env: map[string]string{"AUDITCANARY_JIRA_TOKEN": "another"}, only: "tickets", status: doctor.Wrong, seen: "401", fix: "tickets.jira"},
		"another token at Slack":            {env: map[string]string{"AUDITCANARY_SLACK_TOKEN": "xoxb-another"}, only: "chat", status: doctor.Wrong, seen: "invalid_auth", fix: "install it anew"},
		"no such channel":                   {edit: []string{"channel: C0SECURITY", "channel: C0NOWHERE00"}, only: "chat", status: doctor.Wrong, seen: "channel_not_found", fix: "/invite it to C0NOWHERE00"},
		"a channel that is archived": {
			do: func(t *testing.T, in *installation) {
				in.admin(t, http.MethodPost, "people", `{"channel": "C0SECURITY", "archived": true}`)
			},
			undo: func(t *testing.T, in *installation) {
				in.admin(t, http.MethodPost, "people", `{"channel": "C0SECURITY"}`)
			},
			only: "chat", status: doctor.Wrong, seen: "is_archived", fix: "/invite",
		},
		"a token without its scopes": {
			do: func(t *testing.T, in *installation) {
				in.admin(t, http.MethodPost, "people", `{"scopes": ["channels:read"]}`)
			},
			undo: func(t *testing.T, in *installation) {
				in.admin(t, http.MethodPost, "people", `{"scopes": ["chat:write", "channels:history"]}`)
			},
			only: "chat", status: doctor.Wrong, seen: "lacks the scope chat:write", fix: "chat:write and channels:history",
		},
		"a provider that is busy": {
			env: map[string]string{"AWS_MAX_ATTEMPTS": "1"},
			do: func(t *testing.T, in *installation) {
				in.admin(t, http.MethodPut, "faults", "faults: [{name: busy, at: call, match: 'it.operation == \"ListObjectsV2\"', do: {error: {code: SlowDown, message: Please reduce your request rate, status: 503}}}]")
			},
			only: "archive", status: doctor.Unknown, seen: "SlowDown", fix: "run it again",
		},
		"an inspector that may not look": {
			do: func(t *testing.T, in *installation) {
				in.admin(t, http.MethodPut, "faults", "faults: [{name: denied, at: call, match: 'it.operation == \"DescribeVpcs\"', do: {error: {code: UnauthorizedOperation, message: no, status: 403}}}]")
			},
			only: "fixtures", at: first, status: doctor.Unknown, seen: "vpc " + fixture["vpc"] + " could not be looked at", fix: "let the inspector role do ec2:DescribeVpcs",
		},
	}
	return all
}

// forGood are those that change the sandbox for good.
func forGood() map[string]misconfiguration {
	untagged := cloud.Fixtures(second, "eu-west-1")["grant_key"]
	return map[string]misconfiguration{
		"a fixture without its tag": {
			do: func(t *testing.T, in *installation) {
				in.admin(t, http.MethodPost, "plant", fmt.Sprintf(`{"untagged": {"account": %q, "region": "eu-west-1", "id": %q}}`, second, untagged))
			},
			only: "fixtures", at: second, status: doctor.Wrong, seen: "grant_key " + untagged + ": it lacks the tag auditcanary=fixture", fix: "tag it",
		},
		"a store that ignores conditions": {
			do: func(t *testing.T, in *installation) {
				in.admin(t, http.MethodPost, "plant", `{"careless": "auditcanary-ledger"}`)
			},
			only: "ledger", status: doctor.Wrong, seen: "the store ignores the conditions of writes", fix: "If-None-Match",
		},
	}
}

// key makes a key of the ledger's name that is another's.
func (in *installation) key(t *testing.T, name string) {
	t.Helper()
	skey, vkey, err := ledger.GenerateKey("auditcanary.example/demo")
	if err == nil {
		err = os.WriteFile(filepath.Join(in.dir, name), []byte(skey+"\n"), 0o600)
	}
	if err == nil {
		err = os.WriteFile(filepath.Join(in.dir, name+".pub"), []byte(vkey+"\n"), 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
}

func TestDoctor(t *testing.T) {
	in := install(t)
	config := in.write(t, in.config)
	// A ledger that has begun, and calls in every place, whose records arrive.
	if code, _, stderr := in.run(t, "--config", config, "inject", "--scenario", "aws/kms-disable-key"); code != 0 {
		t.Fatalf("inject: %d %s", code, stderr)
	}
	var report doctor.Report
	code := -1
	deadline := time.Now().Add(20 * time.Second)
	for code != 0 && time.Now().Before(deadline) {
		_, report, _ = in.run(t, "--config", config, "doctor", "--json", "--only", "records")
		if code = report.ExitCode(); code != 0 {
			time.Sleep(300 * time.Millisecond)
		}
	}
	before := in.objects(t)
	code, report, stderr := in.run(t, "--config", config, "doctor", "--json")
	if code != 0 {
		t.Fatalf("healthy: exit code %d\n%s", code, shown(t, report))
	}
	for _, f := range report.Findings {
		if f.Status != doctor.OK && (f.Check != "clusters" && f.Check != "audit-policy" || f.Status != doctor.Skipped) { // there is none
			t.Errorf("healthy: %+v", f)
		}
	}
	var checks []string
	for _, f := range report.Findings {
		checks = append(checks, f.Check)
	}
	for _, c := range wire.DoctorChecks() {
		if !slices.Contains(checks, c.Name) {
			t.Errorf("healthy: nothing of %s", c.Name)
		}
	}
	if !strings.Contains(stderr, "doctor 1/") {
		t.Errorf("no progress: %q", stderr)
	}
	if after := in.objects(t); !maps.Equal(before, after) {
		t.Errorf("the buckets of ledger and evidence changed:\n%v\n%v", before, after)
	}
	for _, group := range []map[string]misconfiguration{misconfigurations(), forGood()} {
		for _, name := range slices.Sorted(maps.Keys(group)) {
			t.Run(name, func(t *testing.T) { group[name].told(t, in) })
		}
	}
	if !t.Failed() {
		in.unforged(t, config)
		in.begun(t)
	}
}

// begun: what init reads from the organisation and from stacks is what there is.
func (in *installation) begun(t *testing.T) {
	t.Helper()
	stacks := filepath.Join(in.dir, "outputs.json")
	answer := fmt.Sprintf(`{"Stacks":[{"StackId":"arn:aws:cloudformation:us-east-1:%s:stack/member/1","Outputs":[{"OutputKey":"FixtureSecurityGroup","OutputValue":%q}]}]}`, first, cloud.Fixtures(first, "us-east-1")["security_group"])
	if err := os.WriteFile(stacks, []byte(answer), 0o600); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(in.dir, "begun.yaml")
	args := []string{"--config", file, "init", "--organization", "--region", "us-east-1", "--archive-bucket", cloud.ArchiveBucket, "--archive-region", "us-east-1",
		"--reader-role", cloud.ReaderRole(), "--origin", "begun.example/log", "--key-file", "begun.key", "--keygen", "--cells-of", "2", "--stack-outputs", stacks}
	// The runner may not ask for the organisation; its management account may.
	if code, _, stderr := in.run(t, args...); code != 2 || !strings.Contains(stderr, "organizations:DescribeOrganization") {
		t.Errorf("as the runner: %d %s", code, stderr)
	}
	key := cloud.WorldRootKey(cloud.ManagementAccount)
	in.Env["AWS_ACCESS_KEY_ID"], in.Env["AWS_SECRET_ACCESS_KEY"] = key.ID, key.Secret
	if code, _, stderr := in.run(t, args...); code != 0 {
		t.Fatalf("init: %d %s", code, stderr)
	}
	c, err := wire.Load(file)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, target := range c.Targets {
		got = append(got, target.Account+" "+target.Cell+" "+target.Fixtures["*"]["security_group"])
	}
	want := []string{first + " c001 " + cloud.Fixtures(first, "us-east-1")["security_group"], cloud.ToolAccount + " c001 ", second + " c002 "}
	if !slices.Equal(got, want) || c.LogStores[0].OrganizationID != cloud.Organization || c.Inspection.Organization.ManagementAccount != cloud.ManagementAccount {
		t.Errorf("%v, want %v; %+v", got, want, c.LogStores[0])
	}
	if code, _, stderr := in.run(t, args...); code != 2 || !strings.Contains(stderr, "is there already") {
		t.Errorf("once more: %d %s", code, stderr)
	}
}

// told makes it wrong, examines, and makes it right again.
func (m misconfiguration) told(t *testing.T, in *installation) {
	config := edited(t, in.config, m.edit...)
	if from, to := strings.Index(config, m.cut[0]), strings.Index(config, m.cut[1]); from < to {
		config = config[:from] + config[to:]
	}
	file := in.write(t, config)
	if m.only == "configuration" && m.edit == nil {
		file += ".none"
	}
	for k, v := range m.env {
		t.Setenv(k, v)
	}
	if m.do != nil {
		m.do(t, in)
		defer in.admin(t, http.MethodPut, "faults", "faults: []")
	}
	if m.undo != nil {
		defer m.undo(t, in)
	}
	o := wire.DoctorOptions{Options: doctor.Options{Only: []string{m.only}, Timeout: 20 * time.Second}}
	if m.at != "" {
		o.Accounts = []string{m.at}
	}
	r, err := wire.Doctor(t.Context(), file, o)
	if err != nil {
		t.Fatal(err)
	}
	want := map[doctor.Status]int{doctor.Wrong: 1, doctor.Unknown: 2}[m.status]
	if r.ExitCode() != want {
		t.Errorf("exit code %d, want %d\n%s", r.ExitCode(), want, shown(t, r))
	}
	if !slices.ContainsFunc(r.Findings, func(f doctor.Finding) bool {
		return f.Check == m.only && f.Status == m.status && (m.at == "" || f.Account == m.at) && strings.Contains(f.Seen, m.seen) && strings.Contains(f.Fix, m.fix)
	}) {
		t.Errorf("no finding of %s that is %s: %q, fix %q\n%s", m.only, m.status, m.seen, m.fix, shown(t, r))
	}
	for _, secret := range []string{externalID, in.Env["AWS_SECRET_ACCESS_KEY"], in.Env["AUDITCANARY_JIRA_TOKEN"], in.Env["AUDITCANARY_SLACK_TOKEN"]} {
		if strings.Contains(shown(t, r), secret) {
			t.Errorf("it tells the secret %q", secret)
		}
	}
}

func shown(t *testing.T, r doctor.Report) string {
	t.Helper()
	var b strings.Builder
	if err := r.Write(&b); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// objects are those of the buckets in which examinations make writes that must be refused.
func (in *installation) objects(t *testing.T) map[string]string {
	t.Helper()
	out := map[string]string{}
	client := s3.NewFromConfig(in.root(cloud.ToolAccount), func(o *s3.Options) { o.UsePathStyle = true })
	for _, bucket := range []string{cloud.LedgerBucket, cloud.EvidenceBucket} {
		page, err := client.ListObjectsV2(t.Context(), &s3.ListObjectsV2Input{Bucket: &bucket})
		if err != nil {
			t.Fatal(err)
		}
		for _, o := range page.Contents {
			out[bucket+"/"+aws.ToString(o.Key)] = aws.ToString(o.ETag) + o.LastModified.String()
		}
	}
	return out
}

// unforged: what examinations left in the records is not taken for somebody who imitates
// canaries.
func (in *installation) unforged(t *testing.T, config string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), filepath.Join(bin, "auditcanary"), "--config", config, "confirm", "--json")
	cmd.Env = append(in.environ(), "EXTERNAL_ID="+externalID, "CALLER_KEY="+strings.Repeat("k", 32))
	out, _ := cmd.Output()
	var s struct {
		Findings []struct{ Kind, Operation, Actor string }
	}
	if err := json.Unmarshal(out, &s); err != nil {
		t.Fatalf("confirm: %v\n%s", err, out)
	}
	if len(s.Findings) > 0 {
		t.Errorf("confirm takes what doctor did for forged: %+v", s.Findings)
	}
}
