package deploy

import (
	"archive/zip"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/auditcanary/auditcanary/shared/wire"
	"github.com/auditcanary/auditcanary/tests/cfn"
)

// template is what CloudFormation would be given.
type template struct {
	Parameters map[string]map[string]any
	Conditions map[string]any
	Outputs    map[string]any
	Resources  map[string]cfn.Resource

	file string
}

// packaged packages serverless.yml without credentials, and without a network: the proxy
// that it is told of is not there.
func packaged(t *testing.T) template {
	t.Helper()
	tools := npm(t)
	dir := t.TempDir()
	root := filepath.Join("..", "..")
	for _, what := range []string{"serverless.yml", "infra"} {
		if out, err := exec.CommandContext(t.Context(), "cp", "-r", filepath.Join(root, what), dir).CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
	}
	if err := os.Symlink(filepath.Join(tools, "node_modules"), filepath.Join(dir, "node_modules")); err != nil {
		t.Fatal(err)
	}
	// What `make package` makes, but for what is in it: a file for each function.
	if err := os.MkdirAll(filepath.Join(dir, "out", "package"), 0o755); err != nil {
		t.Fatal(err)
	}
	functions, err := os.ReadDir(filepath.Join(root, "functions"))
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range functions {
		if f.Name() == "auditcanary" {
			continue
		}
		var b bytes.Buffer
		w := zip.NewWriter(&b)
		if _, err := w.Create("bootstrap"); err != nil {
			t.Fatal(err)
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, "out", "package", f.Name()+".zip"), b.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, filepath.Join(dir, "node_modules", ".bin", "osls"), "package", "--stage", "example", "--package", filepath.Join(dir, "packed"))
	cmd.Dir = dir
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + dir, "SLS_TELEMETRY_DISABLED=1", "SLS_NOTIFICATIONS_MODE=off", "HTTPS_PROXY=http://127.0.0.1:9", "HTTP_PROXY=http://127.0.0.1:9", "AWS_EC2_METADATA_DISABLED=true"}
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("osls package: %v\n%s", err, out)
	}
	out := template{file: filepath.Join(dir, "packed", "cloudformation-template-update-stack.json")}
	text, err := os.ReadFile(out.file)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(text, &out); err != nil {
		t.Fatal(err)
	}
	return out
}

// What is not in a template and may be referred to all the same.
var pseudo = []string{"AWS::AccountId", "AWS::NoValue", "AWS::Partition", "AWS::Region", "AWS::StackId", "AWS::StackName", "AWS::URLSuffix"}

var substituted = regexp.MustCompile(`\$\{([^!}][^}]*)\}`)

// dangling says what the template refers to and has not.
func (x template) dangling() (out []string) {
	refs := func(name, from string) {
		name, _, _ = strings.Cut(name, ".")
		_, parameter := x.Parameters[name]
		_, there := x.Resources[name]
		if !parameter && !there && !slices.Contains(pseudo, name) {
			out = append(out, from+" refers to "+name)
		}
	}
	var walk func(v any, from string)
	walk = func(v any, from string) {
		switch v := v.(type) {
		case []any:
			for _, one := range v {
				walk(one, from)
			}
		case map[string]any:
			for key, value := range v {
				switch key {
				case "Ref":
					refs(fmt.Sprint(value), from)
					continue
				case "Fn::GetAtt":
					if parts, ok := value.([]any); ok && len(parts) == 2 {
						name := fmt.Sprint(parts[0])
						if _, there := x.Resources[name]; !there {
							out = append(out, from+" refers to "+name)
						}
					} else {
						refs(fmt.Sprint(value), from)
					}
					continue
				case "Fn::Sub":
					text, own := value, map[string]any{}
					if parts, ok := value.([]any); ok {
						text = parts[0]
						own, _ = parts[1].(map[string]any)
						walk(own, from)
					}
					for _, m := range substituted.FindAllStringSubmatch(fmt.Sprint(text), -1) {
						if _, mine := own[m[1]]; !mine {
							refs(m[1], from)
						}
					}
					continue
				case "Fn::If":
					if parts, ok := value.([]any); ok && x.Conditions[fmt.Sprint(parts[0])] == nil {
						out = append(out, fmt.Sprintf("%s has the condition %v", from, parts[0]))
					}
				case "Condition":
					if name, ok := value.(string); ok && x.Conditions[name] == nil {
						out = append(out, from+" has the condition "+name)
					}
				}
				walk(value, from)
			}
		}
	}
	for name, r := range x.Resources {
		walk(r.Properties, name)
		if r.Condition != "" && x.Conditions[r.Condition] == nil {
			out = append(out, name+" has the condition "+r.Condition)
		}
		depends := []any{r.DependsOn}
		if all, ok := r.DependsOn.([]any); ok {
			depends = all
		}
		for _, on := range depends {
			if on == nil {
				continue
			}
			if _, there := x.Resources[fmt.Sprint(on)]; !there {
				out = append(out, fmt.Sprintf("%s depends on %v", name, on))
			}
		}
	}
	walk(x.Outputs, "an output")
	walk(x.Conditions, "a condition")
	slices.Sort(out)
	return out
}

// statements are what the template's own policies allow, by resource.
func (x template) statements() map[string][]map[string]any {
	out := map[string][]map[string]any{}
	var walk func(v any, in string)
	walk = func(v any, in string) {
		switch v := v.(type) {
		case []any:
			for _, one := range v {
				walk(one, in)
			}
		case map[string]any:
			if all, ok := v["Statement"].([]any); ok {
				for _, one := range all {
					out[in] = append(out[in], one.(map[string]any))
				}
			}
			for _, one := range v {
				walk(one, in)
			}
		}
	}
	for name, r := range x.Resources {
		walk(r.Properties, name)
	}
	return out
}

func listOf(v any) []any {
	if all, ok := v.([]any); ok {
		return all
	}
	return []any{v}
}

// tooMuch says which statements allow more than they name.
func (x template) tooMuch() (out []string) {
	for name, all := range x.statements() {
		for _, s := range all {
			if s["Effect"] != "Allow" {
				continue
			}
			for _, action := range listOf(s["Action"]) {
				if strings.Contains(fmt.Sprint(action), "*") {
					out = append(out, fmt.Sprintf("%s allows %v", name, action))
				}
			}
			for _, r := range listOf(s["Resource"]) {
				if fmt.Sprint(r) == "*" {
					out = append(out, fmt.Sprintf("%s allows %v on everything", name, s["Action"]))
				}
			}
		}
	}
	slices.Sort(out)
	return out
}

func TestServerlessYmlIsPackagedOffline(t *testing.T) {
	x := packaged(t)
	lint(t, x)
	if out := x.dangling(); len(out) > 0 {
		t.Errorf("what is not there:\n%s", strings.Join(out, "\n"))
	}
	// X-Ray knows no resources.
	if out := x.tooMuch(); len(out) != 1 || !strings.HasPrefix(out[0], "TracingPolicy allows [xray:") {
		t.Errorf("too much is allowed:\n%s", strings.Join(out, "\n"))
	}

	timeouts := map[string]float64{}
	functions := map[string]cfn.Resource{}
	for name, r := range x.Resources {
		if r.Type != "AWS::Lambda::Function" {
			continue
		}
		short := strings.TrimPrefix(fmt.Sprint(r.Properties["FunctionName"]), "auditcanary-example-")
		functions[short] = r
		timeouts[name] = r.Properties["Timeout"].(float64)
		if _, err := os.Stat(filepath.Join("..", "..", "functions", short, "main.go")); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if code := r.Properties["Code"].(map[string]any); path.Base(fmt.Sprint(code["S3Key"])) != short+".zip" {
			t.Errorf("%s is made of %v", name, code)
		}
		for key, want := range map[string]any{"Runtime": "provided.al2023", "Handler": "bootstrap"} {
			if r.Properties[key] != want {
				t.Errorf("%s: %s %v", name, key, r.Properties[key])
			}
		}
		for _, key := range []string{"ReservedConcurrentExecutions", "MemorySize", "Description"} {
			if r.Properties[key] == nil {
				t.Errorf("%s has no %s", name, key)
			}
		}
		role, _ := json.Marshal(r.Properties["Role"])
		if want := fmt.Sprintf(`{"Fn::GetAtt":["%sRole","Arn"]}`, strings.ToUpper(short[:1])+short[1:]); string(role) != want {
			t.Errorf("%s has the role %s", name, role)
		}
		group := x.Resources[strings.TrimSuffix(name, "LambdaFunction")+"LogGroup"]
		if group.Properties["RetentionInDays"] == nil {
			t.Errorf("%s: its log is kept for ever", name)
		}
	}
	if got := slices.Sorted(maps.Keys(functions)); !slices.Equal(got, []string{"confirm", "inject", "packet", "report", "sweep", "trigger"}) {
		t.Errorf("functions %q", got)
	}
	environments(t, x, functions)

	// Nothing of the trigger stands at a public address unless stage.yml says so.
	for name, r := range x.Resources {
		ofFunction := name == "TriggerLogGroup" || strings.HasPrefix(name, "TriggerLambda")
		if ofFunction && r.Condition != "TriggerOn" {
			t.Errorf("%s stands whether the trigger is wanted or not", name)
		}
	}
	for name, o := range x.Outputs {
		if refers, _ := json.Marshal(o); strings.Contains(string(refers), "TriggerLambda") && !strings.Contains(string(refers), `"Condition":"TriggerOn"`) {
			t.Errorf("output %s tells of what may not be there: %s", name, refers)
		}
	}

	for _, name := range []string{"run", "sweep", "packet"} {
		machine := definition(t, name)
		eachState(machine, func(state string, s map[string]any) {
			if s["Type"] != "Task" {
				return
			}
			arn := fmt.Sprint(s["Resource"])
			short := arn[strings.LastIndex(arn, "-")+1:]
			limit := functions[short].Properties["Timeout"].(float64)
			// The state waits longer than the function can last: when it gives up, nobody is at work.
			if got, _ := s["TimeoutSeconds"].(float64); got <= limit {
				t.Errorf("%s: state %s waits %v s for a function of %v s", name, state, got, limit)
			}
			if s["Retry"] == nil {
				t.Errorf("%s: state %s is never tried again", name, state)
			}
		})
	}
	for name, r := range x.Resources {
		switch r.Type {
		case "AWS::Scheduler::Schedule":
			target := r.Properties["Target"].(map[string]any)
			if target["DeadLetterConfig"] == nil || !strings.Contains(fmt.Sprint(target["Input"]), "<aws.scheduler.scheduled-time>") {
				t.Errorf("%s: %v", name, target)
			}
		case "AWS::StepFunctions::StateMachine":
			sub := r.Properties["DefinitionString"].(map[string]any)["Fn::Sub"].([]any)
			if text := sub[0].(string); len(text) > 1<<20 || !strings.Contains(text, `"DISTRIBUTED"`) {
				t.Errorf("%s is defined by %d bytes", name, len(text))
			}
		}
	}
	if got, want := x.Resources["Files"].Properties["VisibilityTimeout"].(float64), 6*timeouts["ConfirmLambdaFunction"]; got < want {
		t.Errorf("messages are hidden for %v s; Lambda advises %v", got, want)
	}
	x.watches(t)
}

// lint holds the template against AWS's own description of its resources, where cfn-lint
// is there.
func lint(t *testing.T, x template) {
	t.Helper()
	tool, err := exec.LookPath("cfn-lint")
	if err != nil {
		t.Log("no cfn-lint here: the template is parsed, and its references are resolved, by this test only")
		return
	}
	if out, err := exec.CommandContext(t.Context(), tool, "--non-zero-exit-code", "error", x.file).CombinedOutput(); err != nil {
		t.Errorf("cfn-lint: %v\n%s", err, out)
	}
}

// environments: whatever variable the example's configuration names, those functions have
// that read it, and the role of each may read the secret whose ARN it is given.
func environments(t *testing.T, x template, functions map[string]cfn.Resource) {
	t.Helper()
	example := filepath.Join("..", "..", "infra", "aws", "stages", "example", "auditcanary.yaml")
	if _, err := wire.Load(example); err != nil {
		t.Errorf("the example: %v", err)
	}
	text, err := os.ReadFile(example)
	if err != nil {
		t.Fatal(err)
	}
	// Whoever assumes roles that want an external id.
	who := map[string][]string{"external_id_env": {"inject", "confirm", "sweep"}, "key_env": slices.Sorted(maps.Keys(functions))}
	found := map[string]bool{}
	for _, m := range regexp.MustCompile(`(?m)^\s+(\w+_env): (\w+)$`).FindAllStringSubmatch(string(text), -1) {
		if who[m[1]] == nil {
			t.Errorf("who needs %s?", m[1])
		}
		found[m[1]] = true
		for _, name := range who[m[1]] {
			if problem := given(functions[name], m[2], x.statements()[strings.ToUpper(name[:1])+name[1:]+"Role"]); problem != "" {
				t.Errorf("%s: %s", name, problem)
			}
		}
	}
	if len(found) != len(who) {
		t.Errorf("the example names %v only", found)
	}
	confirm := functions["confirm"]
	if given(confirm, "AUDITCANARY_NOBODYS", nil) == "" || given(confirm, "AUDITCANARY_EXTERNAL_ID", x.statements()["ReportRole"]) == "" {
		t.Error("a variable that is not given, or a secret that may not be read, is not noticed")
	}
}

// given says what is wrong with a variable that a function must have, and with its right to
// read the secret that it names.
func given(f cfn.Resource, variable string, statements []map[string]any) string {
	env := f.Properties["Environment"].(map[string]any)["Variables"].(map[string]any)
	if env["AUDITCANARY_CONFIG"] != "auditcanary.yaml" || env[variable] == nil {
		return fmt.Sprintf("it has not %s: %v", variable, env)
	}
	secret := fmt.Sprint(env[variable].(map[string]any)["Fn::Sub"])
	for _, s := range statements {
		if s["Action"] != "secretsmanager:GetSecretValue" {
			continue
		}
		for _, r := range listOf(s["Resource"]) {
			if sub, ok := r.(map[string]any); ok && sub["Fn::Sub"] == secret+"-??????" {
				return ""
			}
		}
	}
	return "it may not read " + secret
}

func TestATemplateWithHolesIsNoticed(t *testing.T) {
	x := template{
		Resources: map[string]cfn.Resource{
			"Role": {Type: "AWS::IAM::Role", Condition: "Off", DependsOn: "Nobody", Properties: map[string]any{
				"A": map[string]any{"Ref": "Gone"}, "B": map[string]any{"Fn::GetAtt": []any{"Lost", "Arn"}}, "C": map[string]any{"Fn::Sub": "${AWS::Region}${Missing}${Role.Arn}"},
				"D": map[string]any{"Fn::If": []any{"Never", "a", "b"}},
				"Policy": map[string]any{"Statement": []any{
					map[string]any{"Effect": "Allow", "Action": []any{"s3:*"}, "Resource": "arn"},
					map[string]any{"Effect": "Allow", "Action": "s3:GetObject", "Resource": "*"},
				}},
			}},
		},
	}
	want := []string{"Role depends on Nobody", "Role has the condition Never", "Role has the condition Off", "Role refers to Gone", "Role refers to Lost", "Role refers to Missing"}
	if got := x.dangling(); !slices.Equal(got, want) {
		t.Errorf("%q", got)
	}
	if got := x.tooMuch(); !slices.Equal(got, []string{"Role allows s3:*", "Role allows s3:GetObject on everything"}) {
		t.Errorf("%q", got)
	}
}
