package wire

import (
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	awssdk "github.com/aws/aws-sdk-go-v2/aws"

	"github.com/auditcanary/auditcanary/shared/aws"
	"github.com/auditcanary/auditcanary/shared/canary"
	"github.com/auditcanary/auditcanary/shared/run"
)

// Policy is what an identity of a deployment must be allowed, and no more.
type Policy struct {
	// Name says whose it is: function-inject is that of the deployed function's own role,
	// any other that of a role the configuration names. Where one role needs several
	// policies, or accounts differ, it ends in their account and number.
	Name string
	// Document is an IAM policy, of at most 6,144 characters.
	Document json.RawMessage
}

// PolicyOptions are what a configuration does not say.
type PolicyOptions struct {
	// BucketKeys are the ARNs of the keys by which buckets are encrypted, by bucket.
	BucketKeys map[string]string
	// account of the role that inspects, in whose policy it stands (default: any).
	account string
}

// own stands for the identity that a step begins with: a function's own role, or the
// credentials of a person.
const own = ""

// steps are what runs with an identity of its own.
var steps = []string{"inject", "confirm", "sweep", "report", "packet", "trigger"}

// Policies are those of a deployment by this configuration: what each function needs, and
// each role that it names; of the inspection role only what is the same in every account,
// and in the management account besides. It asks nobody.
func Policies(c *Config, o PolicyOptions) ([]Policy, error) {
	plans, err := Plan(c)
	if err != nil {
		return nil, err
	}
	out, err := c.policies(o)
	if err != nil {
		return nil, err
	}
	permissions, err := Permissions(c, plans)
	if err != nil {
		return nil, err
	}
	for _, t := range c.Targets {
		for i, doc := range permissions[t.Account] {
			out = append(out, Policy{fmt.Sprintf("%s-%s-%d", lastOf(t.RoleARN), t.Account, i+1), doc})
		}
	}
	return out, nil
}

// policies are those of all but the injectors.
func (c *Config) policies(o PolicyOptions) ([]Policy, error) {
	d := &granting{c: c, o: o, partition: c.partition(), rights: map[string][]aws.Right{}}
	for _, step := range steps {
		d.step(step)
	}
	d.inspection()
	if h := c.SecurityHub; h != nil && h.RoleARN != "" {
		d.add(lastOf(h.RoleARN), aws.ImportFindings, names{"account": h.Account, "region": h.Region})
	}
	var out []Policy
	for _, name := range slices.Sorted(maps.Keys(d.rights)) {
		doc, err := aws.Rights(d.rights[name])
		if err != nil {
			return nil, fmt.Errorf("policy of %s: %w", name, err)
		}
		out = append(out, Policy{name, doc})
	}
	return out, nil
}

type names map[string]string

// granting collects who needs what.
type granting struct {
	c         *Config
	o         PolicyOptions
	partition string
	rights    map[string][]aws.Right // by name of the policy
}

func (d *granting) add(policy string, part aws.Part, n names) {
	n["partition"] = d.partition
	d.rights[policy] = append(d.rights[policy], aws.Right{Part: part, Names: n})
}

// step is what one of them needs, with its own identity and through roles.
func (d *granting) step(name string) {
	c, self := d.c, "function-"+name
	// through is the policy of who makes a call: the role's, which the step must be
	// allowed to become, or its own.
	through := func(role string) string {
		if role == own {
			return self
		}
		d.add(self, aws.BecomeRole, names{"role": role})
		return lastOf(role)
	}
	if s := c.Ledger.S3; s != nil {
		part, key := aws.WriteLedger, aws.WriteEncrypted
		if name == "packet" { // it only reads what it packs
			part, key = aws.ReadLedger, aws.ReadEncrypted
		}
		d.bucket(through(s.RoleARN), part, key, s.Bucket, withSlash(s.Prefix), s.Region)
	}
	if s := c.Signing; s.KMSKey != "" && name != "packet" {
		signer := self
		if s.RoleARN != own {
			d.add(self, aws.BecomeSigner, names{"role": s.RoleARN})
			signer = lastOf(s.RoleARN)
		}
		d.add(signer, aws.SignLedger, names{"key": s.KMSKey})
	}
	switch name {
	case "inject", "sweep":
		for _, t := range c.Targets {
			d.add(self, aws.BecomeRole, names{"role": t.RoleARN})
		}
	case "packet":
		if e := c.Evidence; e.Bucket != "" {
			d.bucket(through(e.RoleARN), aws.WriteEvidence, aws.WriteEncrypted, e.Bucket, withSlash(e.Prefix), e.Region)
		}
		if e := c.Evidence; e.KMSKey != "" {
			d.add(through(e.RoleARN), aws.SignPackets, names{"key": e.KMSKey})
		}
	case "trigger":
		if t := c.Trigger; t != nil && t.StateMachine != "" {
			d.add(self, aws.StartMachine, names{"machine": t.StateMachine})
		}
	}
	if name != "confirm" {
		return
	}
	for _, s := range c.LogStores {
		who := through(s.RoleARN)
		d.bucket(who, aws.ReadArchive, aws.ReadEncrypted, s.Bucket, withSlash(s.Prefix)+"AWSLogs/", s.Region)
		if key := d.o.BucketKeys[s.Bucket]; key != "" {
			d.add(who, aws.ReadKeyState, names{"key": key})
		}
	}
	for _, a := range c.Alerts {
		switch {
		case a.SQS != nil:
			d.add(through(a.SQS.RoleARN), aws.ListenQueue, names{"queue": d.queue(a.SQS)})
		case a.CloudWatchAlarm != nil:
			d.add(through(a.CloudWatchAlarm.RoleARN), aws.ListenAlarm, place(a.CloudWatchAlarm.Where))
		case a.GuardDuty != nil:
			d.add(through(a.GuardDuty.RoleARN), aws.ListenGuardDuty, place(a.GuardDuty.Where))
		case a.SecurityHub != nil:
			d.add(through(a.SecurityHub.RoleARN), aws.ListenSecurityHub, place(a.SecurityHub.Where))
		case a.Inbox != nil:
			d.bucket(through(a.Inbox.RoleARN), aws.ListenInbox, aws.ReadEncrypted, a.Inbox.Bucket, a.Inbox.Prefix, a.Inbox.Region)
		}
	}
	// Event histories, and the rules of alerts in whichever accounts they are.
	if c.Inspection.Role != "" {
		d.add(self, aws.BecomeRole, names{"role": "arn:" + d.partition + ":iam::*:role/" + c.Inspection.Role})
	}
}

// inspection is the role that is in every account.
func (d *granting) inspection() {
	in := d.c.Inspection
	if in.Role == "" {
		return
	}
	d.add(lastOf(in.Role), aws.Inspect, names{"account": cmp.Or(d.o.account, "*"), "bucket": d.c.LogStores[0].Bucket})
	if o := in.Organization; o != nil {
		d.add(lastOf(in.Role)+"-organization", aws.InspectOrganization, names{"account": o.ManagementAccount})
	}
}

// bucket adds a part that works on a bucket, and the bucket's key.
func (d *granting) bucket(policy string, part, encrypted aws.Part, bucket, prefix, region string) {
	d.add(policy, part, names{"bucket": bucket, "prefix": prefix})
	if key := d.o.BucketKeys[bucket]; key != "" {
		d.add(policy, encrypted, names{"key": key, "region": region})
	}
}

func (d *granting) queue(q *AlertQueue) string {
	if strings.HasPrefix(q.QueueURL, "${") { // a template's parameter is the ARN
		return q.QueueURL
	}
	account, name, err := queueOf(strings.ReplaceAll(q.QueueURL, cellMark, "*"))
	if err != nil {
		return q.QueueURL // the configuration was checked
	}
	return "arn:" + d.partition + ":sqs:" + q.Region + ":" + account + ":" + name
}

func place(w Where) names { return names{"account": w.Account, "region": w.Region} }

func withSlash(prefix string) string {
	if prefix != "" && !strings.HasSuffix(prefix, "/") && !strings.HasSuffix(prefix, "}") { // a template's parameter has it
		prefix += "/"
	}
	return prefix
}

// lastOf is the name of a role without its path.
func lastOf(role string) string { return role[strings.LastIndexByte(role, '/')+1:] }

// TemplatePolicies are those of the deployment that infra/aws describes, whatever the
// organisation: for the scenarios that c selects (nil: those that come with the program),
// with CloudFormation's references for what differs. Their names are the files' in
// infra/aws/policies.
func TemplatePolicies(c *Config) ([]Policy, error) {
	std := standard()
	if c != nil {
		std.Scenarios, std.file, std.dir = c.Scenarios, c.file, c.dir
	}
	catalogue, err := Catalogue(std)
	if err != nil {
		return nil, err
	}
	// What clusters must allow is no policy of AWS's (see manifests).
	catalogue = slices.DeleteFunc(catalogue, func(s canary.Scenario) bool { return !strings.HasPrefix(s.ID, "aws/") })
	every := aws.EveryTarget(injectorRole)
	cloud, err := aws.New(aws.Options{Base: awssdk.Config{}, Targets: []aws.Target{every}, Clock: time.Now})
	if err != nil {
		return nil, err
	}
	places := Config{Targets: []Target{{Account: every.Account, Regions: every.Regions}}}
	r := &run.Run{Clouds: map[string]run.Cloud{"aws": cloud}, Scenarios: catalogue, Targets: places.targets(), Global: global()}
	plans, err := r.PlanAll("00000000-dryrun")
	if err != nil {
		return nil, err
	}
	injector, err := aws.EveryPermissions(plans)
	if err != nil {
		return nil, err
	}
	boundary, err := aws.EveryBoundary(plans)
	if err != nil {
		return nil, err
	}
	out, err := std.policies(PolicyOptions{account: "${AWS::AccountId}", BucketKeys: map[string]string{
		std.Ledger.S3.Bucket: "${DataKeyArn}", std.Evidence.Bucket: "${DataKey.Arn}", // both are in one template
	}})
	if err != nil {
		return nil, err
	}
	for i, doc := range injector {
		out = append(out, Policy{fmt.Sprintf("%s-%d", lastOf(injectorRole), i+1), doc})
	}
	out = append(out, Policy{lastOf(injectorRole) + "-boundary", boundary})
	// The archive may be encrypted with a key, or not; a key of KMS may sign the ledger, or none.
	for name, rights := range map[string][]aws.Right{
		"auditcanary-reader-key": {{Part: aws.ReadEncrypted, Names: names{"key": "${ArchiveKeyArn}", "region": "*"}}, {Part: aws.ReadKeyState, Names: names{"key": "${ArchiveKeyArn}"}}},
		"auditcanary-ledger-key": {{Part: aws.SignLedger, Names: names{"key": "${LedgerKeyArn}"}}},
	} {
		doc, err := aws.Rights(rights)
		if err != nil {
			return nil, fmt.Errorf("policy of %s: %w", name, err)
		}
		out = append(out, Policy{name, doc})
	}
	for i, p := range out {
		out[i].Name = strings.TrimPrefix(p.Name, "auditcanary-")
		if out[i].Document, err = substituted(p.Document); err != nil {
			return nil, err
		}
	}
	slices.SortFunc(out, func(a, b Policy) int { return cmp.Compare(a.Name, b.Name) })
	return out, err
}

const (
	injectorRole  = "auditcanary/auditcanary-injector"
	inspectorRole = "auditcanary/auditcanary-inspector"
)

// standard is the configuration of the deployment that infra/aws describes, with the
// parameters and pseudo parameters of its templates in place of what differs. It is for
// policies only: as a configuration it would be refused.
func standard() *Config {
	role := func(account, name string) string {
		return "arn:${AWS::Partition}:iam::" + account + ":role/auditcanary/auditcanary-" + name
	}
	return &Config{
		Targets:    []Target{{Account: "*", RoleARN: role("*", "injector")}},
		LogStores:  []LogStore{{Name: "archive", Bucket: "${ArchiveBucket}", Prefix: "${ArchivePrefix}", Region: "*", RoleARN: role("${ArchiveAccount}", "reader")}},
		Ledger:     Ledger{S3: &LedgerS3{Bucket: "${LedgerBucket}", Prefix: "${LedgerPrefix}", Region: "${AWS::Region}"}},
		Evidence:   Evidence{Bucket: "${EvidenceBucket}", Prefix: "${EvidencePrefix}", Region: "${AWS::Region}", RoleARN: role("${AWS::AccountId}", "evidence"), KMSKey: "${SigningKey.Arn}"},
		Inspection: Inspection{Role: inspectorRole, Organization: &Organization{ManagementAccount: "${AWS::AccountId}"}},
		Alerts:     []Alert{{Name: "tap", SQS: &AlertQueue{QueueURL: "${AlertTapArn}"}, Rules: []string{"any"}}},
		Trigger:    &Trigger{StateMachine: "arn:${AWS::Partition}:states:${AWS::Region}:${AWS::AccountId}:stateMachine:auditcanary-${Stage}-run"},
	}
}

// document is a policy as it is written here: one right a statement.
type document struct {
	Version   string
	Statement []struct {
		Sid         string `json:",omitempty"`
		Effect      string
		Action      any                       `json:",omitempty"`
		NotAction   any                       `json:",omitempty"`
		Resource    any                       `json:",omitempty"`
		NotResource any                       `json:",omitempty"`
		Condition   map[string]map[string]any `json:",omitempty"`
	}
}

// substituted writes a policy in CloudFormation's JSON, to be read by people: what has a
// reference in it is an Fn::Sub.
func substituted(doc json.RawMessage) (json.RawMessage, error) {
	var d document
	if err := json.Unmarshal(doc, &d); err != nil {
		return nil, fmt.Errorf("read a policy that was just made: %w", err)
	}
	var sub func(v any) any
	sub = func(v any) any {
		switch v := v.(type) {
		case string:
			if strings.Contains(v, "${") {
				return map[string]any{"Fn::Sub": v}
			}
		case []any:
			for i := range v {
				v[i] = sub(v[i])
			}
		}
		return v
	}
	for i := range d.Statement {
		st := &d.Statement[i]
		st.Resource, st.NotResource = sub(st.Resource), sub(st.NotResource)
		for _, values := range st.Condition {
			for key, v := range values {
				values[key] = sub(v)
			}
		}
	}
	return json.MarshalIndent(d, "", "  ")
}

// FillTemplate writes the policies anew that a CloudFormation template in YAML holds:
//
//	# generated: reader
//	...
//	# generated: end
//
// is policy "reader", indented as its mark is. "generated: each injector" has, for every
// policy of that name with a number, a copy of what stands between that mark and
// "generated: end" as a comment, with NUMBER and POLICY filled in.
func FillTemplate(text string, policies []Policy) (string, error) {
	var out []string
	lines := strings.Split(text, "\n")
	for i := 0; i < len(lines); i++ {
		out = append(out, lines[i])
		indent, name, marked := strings.Cut(lines[i], "# generated: ")
		if !marked || name == "end" || strings.TrimSpace(indent) != "" {
			continue
		}
		end := i + 1
		for end < len(lines) && strings.TrimSpace(lines[end]) != "# generated: end" {
			end++
		}
		if end == len(lines) {
			return "", fmt.Errorf("line %d: %q has no \"# generated: end\"", i+1, strings.TrimSpace(lines[i]))
		}
		body, err := generated(name, indent, lines[i+1:end], policies)
		if err != nil {
			return "", fmt.Errorf("line %d: %w", i+1, err)
		}
		out = append(out, body...)
		i = end - 1
	}
	return strings.Join(out, "\n"), nil
}

func generated(name, indent string, body []string, policies []Policy) ([]string, error) {
	each, several := strings.CutPrefix(name, "each ")
	if !several {
		i := slices.IndexFunc(policies, func(p Policy) bool { return p.Name == name })
		if i < 0 {
			return nil, fmt.Errorf("there is no policy %q", name)
		}
		return indented(policies[i].Document, indent), nil
	}
	var form, out []string
	for _, line := range body {
		if rest, ok := strings.CutPrefix(line, indent+"#| "); ok {
			form = append(form, rest)
			out = append(out, line)
		}
	}
	number := 0
	for _, p := range policies {
		n, ok := strings.CutPrefix(p.Name, each+"-")
		if _, err := fmt.Sscanf(n, "%d", &number); !ok || err != nil {
			continue
		}
		for _, line := range form {
			line = strings.ReplaceAll(line, "NUMBER", n)
			before, has := strings.CutSuffix(line, "POLICY")
			if !has {
				out = append(out, indent+line)
				continue
			}
			out = append(out, indent+strings.TrimRight(before, " "))
			deeper := indent + before[:len(before)-len(strings.TrimLeft(before, " "))] + "  "
			out = append(out, indented(p.Document, deeper)...)
		}
	}
	if number == 0 {
		return nil, fmt.Errorf("there is no policy %q with a number", each)
	}
	return out, nil
}

// indented is a document in JSON, which is YAML too, a statement a line.
func indented(doc json.RawMessage, indent string) []string {
	var d document
	_ = json.Unmarshal(doc, &d) // it was just written
	out := []string{indent + `Version: "` + d.Version + `"`, indent + "Statement:"}
	for _, st := range d.Statement {
		line, _ := json.Marshal(st)
		out = append(out, indent+"  - "+string(line))
	}
	return out
}
