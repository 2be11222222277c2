package deploy

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"

	"github.com/auditcanary/auditcanary/shared/wire"
	"github.com/auditcanary/auditcanary/tests/cfn"
)

const infra = "../../infra/aws"

// made are the packaged resources, with the parameters' defaults, those too that are made
// on a condition. Where a reference leads nowhere is dangling's affair.
func (x template) made() map[string]cfn.Resource {
	all := maps.Clone(x.Resources)
	for name, r := range all {
		r.Condition = ""
		all[name] = r
	}
	made, _ := (&cfn.Template{Parameters: x.Parameters, Conditions: x.Conditions, Resources: all}).Resolve(place)
	return made
}

// watched are the dimensions that alarms and dashboards name, "FunctionName NAME", by
// where they stand.
func (x template) watched(t *testing.T) map[string][]string {
	t.Helper()
	out := map[string][]string{}
	for id, r := range x.made() {
		switch r.Type {
		case "AWS::CloudWatch::Alarm":
			var walk func(v any)
			walk = func(v any) {
				switch v := v.(type) {
				case map[string]any:
					if name, ok := v["Name"].(string); ok && v["Value"] != nil {
						out[id] = append(out[id], fmt.Sprint(name, " ", v["Value"]))
					}
					for _, one := range v {
						walk(one)
					}
				case []any:
					for _, one := range v {
						walk(one)
					}
				}
			}
			walk(r.Properties)
		case "AWS::CloudWatch::Dashboard":
			var body struct {
				Widgets []struct{ Properties struct{ Metrics [][]any } }
			}
			if err := json.Unmarshal([]byte(r.Properties["DashboardBody"].(string)), &body); err != nil {
				t.Fatalf("%s: %v", id, err)
			}
			for _, w := range body.Widgets {
				for _, m := range w.Properties.Metrics {
					out[id] = append(out[id], fmt.Sprint(m[2], " ", m[3]))
				}
			}
		}
	}
	return out
}

// there are the dimensions of what the template makes.
func (x template) there() map[string]bool {
	out := map[string]bool{}
	for _, r := range x.made() {
		p := r.Properties
		switch r.Type {
		case "AWS::Lambda::Function":
			out[fmt.Sprint("FunctionName ", p["FunctionName"])] = true
			env := p["Environment"].(map[string]any)["Variables"].(map[string]any)
			out[fmt.Sprint("Stage ", env["AUDITCANARY_STAGE"])] = true
		case "AWS::SQS::Queue":
			out[fmt.Sprint("QueueName ", p["QueueName"])] = true
		case "AWS::Logs::LogGroup":
			out[fmt.Sprint("LogGroupName ", p["LogGroupName"])] = true
		case "AWS::StepFunctions::StateMachine":
			out[fmt.Sprint("StateMachineArn arn:aws:states:us-east-1:111122223333:stateMachine:", p["StateMachineName"])] = true
		}
	}
	return out
}

// blind says what alarms and dashboards look at that is not there, and which functions no
// alarm looks at.
func (x template) blind(t *testing.T) (out []string) {
	t.Helper()
	there, seen := x.there(), map[string]bool{}
	for where, dimensions := range x.watched(t) {
		for _, d := range dimensions {
			if !there[d] {
				out = append(out, where+" looks at "+d)
			}
			if where == "FunctionErrors" || where == "FunctionThrottles" {
				seen[where+" "+d] = true
			}
		}
	}
	for d := range there {
		if strings.HasPrefix(d, "FunctionName ") && (!seen["FunctionErrors "+d] || !seen["FunctionThrottles "+d]) {
			out = append(out, "nobody looks at "+d)
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// watches holds the alarms against what is deployed with them: on a name that is nobody's
// none would ever ring. It spoils the template.
func (x template) watches(t *testing.T) {
	t.Helper()
	if out := x.blind(t); len(out) > 0 {
		t.Errorf("what is not there:\n%s", strings.Join(out, "\n"))
	}
	alarms := 0
	for id, r := range x.Resources {
		if r.Type != "AWS::CloudWatch::Alarm" {
			continue
		}
		alarms++
		if r.Properties["AlarmActions"] == nil {
			t.Errorf("alarm %s tells nobody", id)
		}
	}
	if alarms < 18 {
		t.Errorf("%d alarms are packaged", alarms)
	}
	for name, want := range map[string]any{"Stage": "example", "Service": "auditcanary", "RunEvery": 86400.0, "SweepEvery": 3600.0, "AlarmEmail": ""} { // watch.yml's own are others
		if got := x.Parameters[name]["Default"]; got != want {
			t.Errorf("%s is %v, want %v", name, got, want)
		}
	}
	// CloudFormation's limits.
	text, err := os.ReadFile(x.file)
	if err != nil {
		t.Fatal(err)
	}
	if len(x.Resources) > 500 || len(text) > 1_000_000 || len(x.Parameters) > 200 {
		t.Errorf("%d resources, %d parameters, %d bytes", len(x.Resources), len(x.Parameters), len(text))
	}
	t.Logf("%d resources, of which %d alarms; %d parameters; %d bytes", len(x.Resources), alarms, len(x.Parameters), len(text))

	// What the comparison is for: each of these is noticed.
	for _, tc := range []struct {
		want  string
		spoil func()
	}{
		{"RunMissing looks at Stage example", func() { x.eachFunction(func(env map[string]any) { env["AUDITCANARY_STAGE"] = "another" }) }},
		{"MessagesDead looks at QueueName auditcanary-example-dead-letters", func() { delete(x.Resources, "DeadLetters") }},
		{"RunFailed looks at StateMachineArn", func() { delete(x.Resources, "RunMachine") }},
		{"VitalsUnreadable looks at LogGroupName /aws/lambda/auditcanary-example-inject", func() { delete(x.Resources, "InjectLogGroup") }},
		{"Dashboard looks at FunctionName auditcanary-example-sweep", func() { delete(x.Resources, "SweepLambdaFunction") }},
		{"nobody looks at FunctionName auditcanary-example-inject", func() { delete(x.Resources, "FunctionErrors") }},
	} {
		tc.spoil()
		if got := strings.Join(x.blind(t), "\n"); !strings.Contains(got, tc.want) {
			t.Errorf("%q is not noticed:\n%s", tc.want, got)
		}
	}
}

func (x template) eachFunction(do func(env map[string]any)) {
	for _, r := range x.Resources {
		if r.Type == "AWS::Lambda::Function" {
			do(r.Properties["Environment"].(map[string]any)["Variables"].(map[string]any))
		}
	}
}

// TestNoFileOfResourcesReplacesAnothers: where two have one name, packaging merges them
// without a word.
func TestNoFileOfResourcesReplacesAnothers(t *testing.T) {
	text, err := os.ReadFile("../../serverless.yml")
	if err != nil {
		t.Fatal(err)
	}
	from := map[string]string{}
	files := regexp.MustCompile(`(?m)^  - \$\{file\(infra/aws/(.*)\)\}$`).FindAllStringSubmatch(string(text), -1)
	if len(files) < 5 || files[0][1] != "watch.yml" {
		t.Fatalf("resources are in %q", files)
	}
	for _, m := range files {
		one, err := cfn.Load(filepath.Join(infra, m[1]))
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range slices.Sorted(maps.Keys(one.Resources)) {
			if other := from[name]; other != "" {
				t.Errorf("resource %s is in %s and in %s", name, other, m[1])
			}
			from[name] = m[1]
		}
	}
}

// TestTheStageSaysWhereItsValuesComeFrom: the outputs that stage.yml names are those of the
// templates, and what stands in auditcanary.yaml too is the same there.
func TestTheStageSaysWhereItsValuesComeFrom(t *testing.T) {
	dir := filepath.Join(infra, "stages", "example")
	text, err := os.ReadFile(filepath.Join(dir, "stage.yml"))
	if err != nil {
		t.Fatal(err)
	}
	comments := strings.ReplaceAll(string(text), "\n#", "")
	named, template := 0, (*cfn.Template)(nil)
	for _, m := range regexp.MustCompile(`output (\w+)(?: of the stack of +infra/aws/(\w+\.yaml))?`).FindAllStringSubmatch(comments, -1) {
		if m[2] != "" {
			if template, err = cfn.Load(filepath.Join(infra, m[2])); err != nil {
				t.Fatal(err)
			}
		}
		if template == nil || template.Outputs[m[1]] == nil {
			t.Errorf("%q: there is no such output", m[0])
		}
		named++
	}
	if named < 6 {
		t.Errorf("%d outputs are named", named)
	}

	var stage struct {
		Region       string `yaml:"region"`
		LedgerBucket string `yaml:"ledger_bucket"`
		LedgerPrefix string `yaml:"ledger_prefix"`
		Archive      string `yaml:"archive_account"`
		LedgerKey    string `yaml:"ledger_key_arn"`
		DataKey      string `yaml:"data_key_arn"`
	}
	if err := yaml.Unmarshal(text, &stage); err != nil {
		t.Fatal(err)
	}
	c, err := wire.Load(filepath.Join(dir, "auditcanary.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	if s := c.Ledger.S3; s.Bucket != stage.LedgerBucket || s.Prefix != stage.LedgerPrefix || s.Region != stage.Region || c.Signing.KMSKey != stage.LedgerKey {
		t.Errorf("the ledger is in %+v, signed by %q; stage.yml: %+v", *s, c.Signing.KMSKey, stage)
	}
	if !strings.Contains(c.LogStores[0].RoleARN, ":"+stage.Archive+":") {
		t.Errorf("reader %s; stage.yml: %+v", c.LogStores[0].RoleARN, stage)
	}
	evidence, err := cfn.Load(filepath.Join(infra, "evidence.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	made, err := evidence.Resolve(map[string]string{"AWS::Partition": "aws", "AWS::Region": stage.Region, "AWS::AccountId": strings.Split(stage.DataKey, ":")[4], "Stage": "example"})
	if err != nil {
		t.Fatal(err)
	}
	if got := made["LedgerBucket"].Properties["BucketName"]; got != stage.LedgerBucket {
		t.Errorf("evidence.yaml makes the bucket %v, stage.yml names %s", got, stage.LedgerBucket)
	}
}
