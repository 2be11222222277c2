package vitals

import (
	"encoding/json"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"
)

const watchFile = "../../infra/aws/watch.yml"

// template is what the tests read of infra/aws/watch.yml, with its parameters' defaults
// put in.
type template struct {
	Parameters map[string]struct {
		Default any `yaml:"Default"`
	} `yaml:"Parameters"`
	Resources map[string]struct {
		Type       string         `yaml:"Type"`
		Properties map[string]any `yaml:"Properties"`
	} `yaml:"Resources"`
}

func readTemplate(t *testing.T, data []byte) template {
	t.Helper()
	var out template
	if err := yaml.Unmarshal(data, &out); err != nil {
		t.Fatal(err)
	}
	return out
}

var reference = regexp.MustCompile(`\$\{([A-Za-z:]+)\}`)

// put replaces Ref and Fn::Sub by the parameters' defaults.
func (tm template) put(v any) any {
	value := func(name string) any {
		if p, ok := tm.Parameters[name]; ok {
			return p.Default
		}
		if name == "AWS::Region" {
			return "us-east-1"
		}
		return strings.ReplaceAll(name, ":", "")
	}
	switch v := v.(type) {
	case map[string]any:
		if name, ok := v["Ref"].(string); ok && len(v) == 1 {
			return value(name)
		}
		if text, ok := v["Fn::Sub"].(string); ok && len(v) == 1 {
			return reference.ReplaceAllStringFunc(text, func(ref string) string { return fmt.Sprint(value(strings.Trim(ref, "${}"))) })
		}
		out := map[string]any{}
		for k, one := range v {
			out[k] = tm.put(one)
		}
		return out
	case []any:
		out := make([]any, len(v))
		for i, one := range v {
			out[i] = tm.put(one)
		}
		return out
	}
	return v
}

// series is a metric that an alarm or a widget names.
type series struct {
	where, namespace, name string
	dimensions             []string // names
	stage                  any      // value of the dimension Stage
	stat                   string
	unit                   any
}

func dimensionsOf(v any) (names []string, stage any) {
	list, _ := v.([]any)
	for _, d := range list {
		d, _ := d.(map[string]any)
		name := fmt.Sprint(d["Name"])
		names = append(names, name)
		if name == Dimension {
			stage = d["Value"]
		}
	}
	return names, stage
}

// alarms are the alarms' properties, by their names in the file.
func (tm template) alarms() map[string]map[string]any {
	out := map[string]map[string]any{}
	for id, r := range tm.Resources {
		if r.Type == "AWS::CloudWatch::Alarm" {
			out[id], _ = tm.put(r.Properties).(map[string]any)
		}
	}
	return out
}

func (tm template) named(t *testing.T) (out []series) {
	t.Helper()
	for id, a := range tm.alarms() {
		if a["MetricName"] != nil {
			names, stage := dimensionsOf(a["Dimensions"])
			out = append(out, series{id, fmt.Sprint(a["Namespace"]), fmt.Sprint(a["MetricName"]), names, stage, fmt.Sprint(a["Statistic"]), a["Unit"]})
			continue
		}
		all, _ := a["Metrics"].([]any)
		for _, m := range all {
			m, _ := m.(map[string]any)
			stat, ok := m["MetricStat"].(map[string]any)
			if !ok {
				continue // an expression over the others
			}
			metric, _ := stat["Metric"].(map[string]any)
			names, stage := dimensionsOf(metric["Dimensions"])
			out = append(out, series{id, fmt.Sprint(metric["Namespace"]), fmt.Sprint(metric["MetricName"]), names, stage, fmt.Sprint(stat["Stat"]), stat["Unit"]})
		}
	}
	body, _ := tm.put(tm.Resources["Dashboard"].Properties["DashboardBody"]).(string)
	var dashboard struct {
		Widgets []struct {
			X, Y, Width, Height int
			Type                string
			Properties          struct {
				Title, Region, Stat string
				Metrics             [][]any
				Alarms              []string
			}
		}
	}
	if err := json.Unmarshal([]byte(body), &dashboard); err != nil {
		t.Fatalf("the dashboard: %v", err)
	}
	for _, w := range dashboard.Widgets {
		if w.X+w.Width > 24 || w.Height == 0 {
			t.Errorf("widget %q does not fit", w.Properties.Title)
		}
		for _, arn := range w.Properties.Alarms {
			id := arn[strings.LastIndexByte(arn, '-')+1:]
			if tm.Resources[id].Type != "AWS::CloudWatch::Alarm" {
				t.Errorf("the dashboard shows alarm %s, which is none", arn)
			}
		}
		for _, m := range w.Properties.Metrics {
			s := series{where: "dashboard", stat: w.Properties.Stat}
			if own, ok := m[len(m)-1].(map[string]any); ok {
				m = m[:len(m)-1]
				if stat, ok := own["stat"].(string); ok {
					s.stat = stat
				}
			}
			s.namespace, s.name = fmt.Sprint(m[0]), fmt.Sprint(m[1])
			for i := 2; i+1 < len(m); i += 2 {
				s.dimensions = append(s.dimensions, fmt.Sprint(m[i]))
				if m[i] == Dimension {
					s.stage = m[i+1]
				}
			}
			out = append(out, s)
		}
	}
	return out
}

// platform are AWS's own metrics in use, with their dimension, as the user guides list them.
var platform = map[string]string{
	"AWS/Lambda Errors": "FunctionName", "AWS/Lambda Throttles": "FunctionName", "AWS/Lambda Duration": "FunctionName",
	"AWS/States ExecutionsSucceeded": "StateMachineArn", "AWS/States ExecutionsFailed": "StateMachineArn",
	"AWS/States ExecutionsAborted": "StateMachineArn", "AWS/States ExecutionsTimedOut": "StateMachineArn",
	"AWS/SQS ApproximateNumberOfMessagesVisible": "QueueName",
	"AWS/Logs EMFParsingErrors":                  "LogGroupName", "AWS/Logs EMFValidationErrors": "LogGroupName",
}

// gauges are as of a call's end: they may not be summed.
var gauges = []Name{LastRunAge, CanariesWaiting, CanariesUnsealed, Leftovers, SweepProblems, LedgerSize, LedgerHeadAge, ClockSkew}

// unfit says what is wrong with what alarms and dashboard name.
func unfit(all []series, emitted map[string]Vital) (out []string) {
	shown := map[string]bool{}
	for _, s := range all {
		bad := func(format string, args ...any) {
			out = append(out, s.where+": "+s.namespace+" "+s.name+": "+fmt.Sprintf(format, args...))
		}
		if s.namespace != Namespace {
			if dim, known := platform[s.namespace+" "+s.name]; !known || !slices.Equal(s.dimensions, []string{dim}) {
				bad("not a metric of AWS's with dimensions %v", s.dimensions)
			}
			continue
		}
		v, told := emitted[s.name]
		switch {
		case !told:
			bad("no function tells it")
		case !slices.Equal(s.dimensions, []string{Dimension}) || s.stage != "dev":
			bad("dimensions %v, stage %v", s.dimensions, s.stage)
		case s.unit != nil && s.unit != string(v.Unit):
			bad("unit %v, it is told in %s", s.unit, v.Unit)
		case slices.Contains(gauges, v.Name) && s.stat != "Maximum":
			bad("%s of what may not be summed", s.stat)
		}
		if s.where == "dashboard" {
			shown[s.name] = true
		}
	}
	for name := range emitted {
		if !shown[name] {
			out = append(out, name+" is told and not on the dashboard")
		}
	}
	slices.Sort(out)
	return out
}

func emitted() map[string]Vital {
	out := map[string]Vital{}
	for _, v := range All() {
		out[string(v.Name)] = v
	}
	return out
}

// TestAlarmsAndDashboardNameWhatIsTold: a metric that nobody emits would never alarm.
func TestAlarmsAndDashboardNameWhatIsTold(t *testing.T) {
	data, err := os.ReadFile(watchFile)
	if err != nil {
		t.Fatal(err)
	}
	tm := readTemplate(t, data)
	for _, text := range unfit(tm.named(t), emitted()) {
		t.Error(text)
	}
	for id, a := range tm.alarms() {
		what, _ := a["AlarmDescription"].(string)
		if !strings.Contains(what, "irst ") && !strings.Contains(what, "says what to do") && !strings.Contains(what, "Treat it as") || len(what) > 1024 {
			t.Errorf("%s does not say what to do first: %q", id, what)
		}
		if a["TreatMissingData"] == nil || a["AlarmActions"] == nil || a["OKActions"] == nil {
			t.Errorf("%s: missing data, actions: %v", id, a)
		}
		metrics, _ := a["Metrics"].([]any)
		if len(metrics) > 11 { // ten and an expression over them
			t.Errorf("%s looks at %d metrics", id, len(metrics))
		}
	}
	if len(tm.alarms()) < 18 {
		t.Errorf("%d alarms", len(tm.alarms()))
	}

	// What the comparison is for.
	for change, want := range map[[2]string]string{
		{"MetricName: LastRunAge", "MetricName: LastRunAges"}:                                                          "LastRunAges: no function tells it",
		{"MetricName: RunsWhole, Dimensions: [{Name: Stage", "MetricName: RunsWhole, Dimensions: [{Name: stage"}:       "RunsWhole: dimensions [stage]",
		{`"auditcanary", "ForgedRecords", "Stage", "${Stage}"`, `"auditcanary", "RunsCompleted", "Stage", "${Stage}"`}: "ForgedRecords is told and not on the dashboard",
		{"MetricName: Throttles", "MetricName: Throttled"}:                                                             "AWS/Lambda Throttled: not a metric of AWS's",
		{"MetricName: Leftovers\n      Dimensions: [{Name: Stage, Value: {Ref: Stage}}]\n      Statistic: Maximum", "MetricName: Leftovers\n      Dimensions: [{Name: Stage, Value: {Ref: Stage}}]\n      Statistic: Sum"}: "Leftovers: Sum of what may not be summed",
	} {
		spoilt := strings.Replace(string(data), change[0], change[1], 1)
		if spoilt == string(data) {
			t.Fatalf("%q is not in the file", change[0])
		}
		if got := strings.Join(unfit(readTemplate(t, []byte(spoilt)).named(t), emitted()), "\n"); !strings.Contains(got, want) {
			t.Errorf("%s: got %q, want %q in it", change[1], got, want)
		}
	}
}

// TestEveryNumberIsToldSomewhere reads the program: each name in the list is used by
// wire, which tells them all, and none is used that is not in the list.
func TestEveryNumberIsToldSomewhere(t *testing.T) {
	files, err := filepath.Glob("../wire/*.go")
	if err != nil || len(files) == 0 {
		t.Fatal(files, err)
	}
	used := map[string]bool{}
	for _, file := range files {
		if strings.HasSuffix(file, "_test.go") {
			continue
		}
		f, err := parser.ParseFile(token.NewFileSet(), file, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(f, func(n ast.Node) bool {
			if sel, ok := n.(*ast.SelectorExpr); ok {
				if x, ok := sel.X.(*ast.Ident); ok && x.Name == "vitals" {
					used[sel.Sel.Name] = true
				}
			}
			return true
		})
	}
	for _, v := range All() {
		if !used[string(v.Name)] {
			t.Errorf("nobody tells %s", v.Name)
		}
		if len(v.By) == 0 || v.What == "" {
			t.Errorf("%s says nothing of itself", v.Name)
		}
	}
}
