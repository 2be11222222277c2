package infra

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/awslabs/goformation/v7/schema"
	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/auditcanary/auditcanary/shared/wire"
	"github.com/auditcanary/auditcanary/tests/cfn"
)

const dir = "../../infra/aws"

func templates(t *testing.T) (out []*cfn.Template) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "*.yaml"))
	if err != nil || len(files) < 5 {
		t.Fatal(files, err)
	}
	for _, f := range files {
		template, err := cfn.Load(f)
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, template)
	}
	return out
}

// values are as long as they may become, where limits are counted.
func values(region string) map[string]string {
	return map[string]string{
		"AWS::AccountId": "111122223333", "AWS::Partition": "aws-us-gov", "AWS::Region": region, "Stage": "production-of-it-all", "SecurityAccount": "222222222222",
		"ExternalId": strings.Repeat("x", 128), "HomeRegion": "us-gov-west-1", "ArchiveBucket": "a-bucket", "ArchiveKeyArn": "arn:aws-us-gov:kms:us-gov-west-1:111122223333:key/96889018-ab16-43fd-a86b-a85e2cdc99f5",
		"BreakGlassRole": "auditcanary-break-glass", "ManagementAccount": "111122223333", "OrganizationId": "o-exampleorg1", "Email": "security@example.com",
		"OrganizationTrailArn": "arn:aws-us-gov:cloudtrail:us-gov-west-1:111122223333:trail/a-trail-of-a-rather-long-name",
		"BusArn":               "arn:aws-us-gov:events:us-gov-west-1:222222222222:event-bus/auditcanary-security",
		"ArchiveAccount":       "999999999999", "LedgerBucket": strings.Repeat("b", 63), "LedgerPrefix": "ledger/", "DataKeyArn": "arn:aws-us-gov:kms:us-gov-west-1:111122223333:key/96889018-ab16-43fd-a86b-a85e2cdc99f5",
		"LedgerKeyArn": "arn:aws-us-gov:kms:us-gov-west-1:111122223333:key/96889018-ab16-43fd-a86b-a85e2cdc99f5",
		"AlertTapArn":  "arn:aws-us-gov:sqs:us-gov-west-1:222222222222:auditcanary-alert-tap-*",
	}
}

func resolved(t *testing.T, template *cfn.Template) map[string]cfn.Resource {
	t.Helper()
	v := values("us-gov-west-1")
	if strings.HasSuffix(template.File, "evidence.yaml") {
		delete(v, "LedgerBucket") // is made there
	}
	made, err := template.Resolve(v)
	if err != nil {
		t.Fatalf("%s: %v", template.File, err)
	}
	return made
}

// TestThePoliciesAreThoseOfTheCatalogue: make policies would change nothing.
func TestThePoliciesAreThoseOfTheCatalogue(t *testing.T) {
	policies, err := wire.TemplatePolicies(nil)
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]bool{}
	for _, p := range policies {
		file := filepath.Join(dir, "policies", p.Name+".json")
		var text bytes.Buffer
		if err := json.Indent(&text, p.Document, "", "  "); err != nil {
			t.Fatal(err)
		}
		got, err := os.ReadFile(file)
		if err != nil || strings.TrimSpace(string(got)) != text.String() {
			t.Errorf("%s is not what the scenarios and drivers need (%v): run make policies", file, err)
		}
		want[filepath.Base(file)] = true
	}
	files, err := os.ReadDir(filepath.Join(dir, "policies"))
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		if !want[f.Name()] {
			t.Errorf("policies/%s is nobody's: remove it", f.Name())
		}
	}
	generated := 0
	for _, template := range templates(t) {
		text, err := os.ReadFile(template.File)
		if err != nil {
			t.Fatal(err)
		}
		anew, err := wire.FillTemplate(string(text), policies)
		if err != nil || anew != string(text) {
			t.Errorf("%s does not hold the policies as they are (%v): run make policies", template.File, err)
		}
		generated += strings.Count(anew, "# generated: end")
	}
	if generated < 6 {
		t.Errorf("%d policies in templates", generated)
	}
	if _, err := wire.FillTemplate("  # generated: nobody\n  # generated: end\n", policies); err == nil {
		t.Error("a policy that is nobody's is no error")
	}
	if _, err := wire.FillTemplate("  # generated: reader\n", policies); err == nil {
		t.Error("a mark without an end is no error")
	}
}

// TestEveryReferenceLeadsSomewhere, and to something that is made whenever it is referred to.
func TestEveryReferenceLeadsSomewhere(t *testing.T) {
	for _, template := range templates(t) {
		for _, d := range template.Dangling() {
			t.Errorf("%s: %s", template.File, d)
		}
	}
	broken := filepath.Join(t.TempDir(), "broken.yaml")
	text := "Conditions: {Home: !Equals [!Ref \"AWS::Region\", x]}\nResources:\n  A: {Type: AWS::S3::Bucket, Condition: Home, Properties: {BucketName: !Sub \"${Nobody}-x\"}}\n  B: {Type: AWS::S3::Bucket, DependsOn: C, Properties: {BucketName: !GetAtt A.Arn, Tags: [!If [None, a, b]]}}\n"
	if err := os.WriteFile(broken, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	template, err := cfn.Load(broken)
	if err != nil {
		t.Fatal(err)
	}
	if got := template.Dangling(); len(got) != 4 {
		t.Errorf("four things are wrong, got %q", got)
	}
}

// TestResourcesAreWhatCloudFormationTakes holds each against AWS's resource specification,
// as goformation has it in a JSON schema.
func TestResourcesAreWhatCloudFormationTakes(t *testing.T) {
	var all struct {
		Definitions map[string]map[string]any `json:"definitions"`
	}
	if err := json.Unmarshal([]byte(schema.CloudformationSchema), &all); err != nil {
		t.Fatal(err)
	}
	used := map[string]any{}
	var need func(name string)
	need = func(name string) {
		if _, done := used[name]; done || all.Definitions[name] == nil {
			return
		}
		used[name] = all.Definitions[name]
		text, _ := json.Marshal(all.Definitions[name])
		for _, part := range strings.Split(string(text), `"#/definitions/`)[1:] {
			inner, _, _ := strings.Cut(part, `"`)
			need(inner)
		}
	}
	kinds := map[string]bool{}
	for _, template := range templates(t) {
		for _, r := range template.Resources {
			need(r.Type)
			kinds[r.Type] = true
		}
	}
	c := jsonschema.NewCompiler()
	text, _ := json.Marshal(map[string]any{"definitions": used})
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	if err := c.AddResource("cloudformation.json", doc); err != nil {
		t.Fatal(err)
	}
	check := func(kind string, properties map[string]any) error {
		if all.Definitions[kind] == nil {
			return fmt.Errorf("there is no resource type %s", kind)
		}
		s, err := c.Compile("cloudformation.json#/definitions/" + kind)
		if err != nil {
			return err
		}
		text, _ := json.Marshal(map[string]any{"Type": kind, "Properties": properties})
		v, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
		if err != nil {
			return err
		}
		return s.Validate(v)
	}
	n := 0
	for _, template := range templates(t) {
		made := resolved(t, template)
		for _, name := range slices.Sorted(maps.Keys(made)) {
			r := made[name]
			if err := check(r.Type, numbers(template, r.Properties)); err != nil {
				t.Errorf("%s %s: %v", template.File, name, err)
			}
			n++
		}
	}
	t.Logf("%d resources of %d types", n, len(kinds))
	for _, bad := range []map[string]any{{"BucketNam": "x"}, {"ObjectLockEnabled": "perhaps"}} {
		if check("AWS::S3::Bucket", bad) == nil {
			t.Errorf("%v passes for a bucket", bad)
		}
	}
}

// numbers makes of what a number parameter gave a number, as CloudFormation does.
func numbers(template *cfn.Template, v map[string]any) map[string]any {
	numeric := map[string]bool{"Days": true, "ExpirationInDays": true, "RetentionInDays": true}
	var walk func(v any) any
	walk = func(v any) any {
		switch v := v.(type) {
		case map[string]any:
			out := map[string]any{}
			for k, x := range v {
				out[k] = walk(x)
				if text, ok := x.(string); ok && numeric[k] {
					if n, err := strconv.Atoi(text); err == nil {
						out[k] = n
					}
				}
			}
			return out
		case []any:
			var out []any
			for _, x := range v {
				out = append(out, walk(x))
			}
			return out
		}
		return v
	}
	return walk(v).(map[string]any)
}

// TestLint runs AWS's own linter where there is one.
func TestLint(t *testing.T) {
	lint, err := exec.LookPath("cfn-lint")
	if err != nil {
		t.Skip("cfn-lint is not on PATH: the templates are checked against the JSON schema only")
	}
	files, _ := filepath.Glob(filepath.Join(dir, "*.yaml"))
	if out, err := exec.Command(lint, files...).CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}

// TestNoPolicyIsTooLong, whatever the partition and the names.
func TestNoPolicyIsTooLong(t *testing.T) {
	most := map[string]int{"managed": 6144, "trust": 2048, "inline": 10240, "bucket": 20480, "scp": 5120, "other": 10240}
	for _, p := range documents(t) {
		text, err := json.Marshal(p.doc)
		if err != nil {
			t.Fatal(err)
		}
		if len(text) > most[p.kind] {
			t.Errorf("%s: %d characters, a policy of that kind (%s) takes %d", p.where, len(text), p.kind, most[p.kind])
		}
		t.Logf("%-8s %5d of %5d  %s", p.kind, len(text), most[p.kind], p.where)
	}
}

// found is a policy somewhere in infra/aws.
type found struct {
	where, kind string
	doc         map[string]any
}

// documents are all of them, resolved: those of templates, the generated ones and the
// service control policies.
func documents(t *testing.T) (out []found) {
	t.Helper()
	for _, template := range templates(t) {
		made := resolved(t, template)
		for _, name := range slices.Sorted(maps.Keys(made)) {
			r := made[name]
			var walk func(at string, v any)
			walk = func(at string, v any) {
				switch v := v.(type) {
				case map[string]any:
					if _, ok := v["Statement"]; ok && r.Type != "AWS::Events::EventBusPolicy" {
						kind := "other"
						switch {
						case strings.Contains(at, "AssumeRolePolicyDocument"):
							kind = "trust"
						case r.Type == "AWS::IAM::ManagedPolicy":
							kind = "managed"
						case r.Type == "AWS::IAM::Role":
							kind = "inline"
						case r.Type == "AWS::S3::BucketPolicy":
							kind = "bucket"
						}
						out = append(out, found{filepath.Base(template.File) + " " + at, kind, v})
						return
					}
					for _, k := range slices.Sorted(maps.Keys(v)) {
						walk(at+"."+k, v[k])
					}
				case []any:
					for i, x := range v {
						walk(fmt.Sprintf("%s.%d", at, i), x)
					}
				}
			}
			walk(name, r.Properties)
		}
	}
	for _, folder := range []struct{ name, kind string }{{"policies", "managed"}, {"scp", "scp"}} {
		files, err := filepath.Glob(filepath.Join(dir, folder.name, "*.json"))
		if err != nil || len(files) < 3 {
			t.Fatal(files, err)
		}
		for _, f := range files {
			text, err := os.ReadFile(f)
			if err != nil {
				t.Fatal(err)
			}
			var doc map[string]any
			if err := json.Unmarshal(text, &doc); err != nil {
				t.Fatalf("%s: %v", f, err)
			}
			v := values("us-gov-west-1")
			maps.Copy(v, map[string]string{"EvidenceBucket": strings.Repeat("b", 63), "EvidencePrefix": "packets/", "ArchivePrefix": "prefix/", "DataKey.Arn": v["DataKeyArn"], "SigningKey.Arn": v["DataKeyArn"]})
			one := cfn.Template{File: f, Resources: map[string]cfn.Resource{"P": {Properties: doc}}}
			made, err := one.Resolve(v)
			if err != nil {
				t.Fatalf("%s: %v", f, err)
			}
			out = append(out, found{folder.name + "/" + filepath.Base(f), folder.kind, made["P"].Properties})
		}
	}
	return out
}
