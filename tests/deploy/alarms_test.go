package deploy

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/auditcanary/auditcanary/shared/vitals"
	"github.com/auditcanary/auditcanary/tests/cfn"
)

const watchFile = infra + "/watch.yml"

// place is where templates are resolved.
var place = map[string]string{"AWS::AccountId": "111122223333", "AWS::Partition": "aws", "AWS::Region": "us-east-1"}

// watch is infra/aws/watch.yml as it would be made, with other values for some parameters.
func watch(t *testing.T, file string, parameters map[string]string) map[string]cfn.Resource {
	t.Helper()
	template, err := cfn.Load(file)
	if err != nil {
		t.Fatal(err)
	}
	values := maps.Clone(place)
	maps.Copy(values, parameters)
	made, err := template.Resolve(values)
	if err != nil {
		t.Fatal(err)
	}
	return made
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
		if name == vitals.Dimension {
			stage = d["Value"]
		}
	}
	return names, stage
}

// alarms are the alarms' properties, by their names in the file.
func alarms(made map[string]cfn.Resource) map[string]map[string]any {
	out := map[string]map[string]any{}
	for id, r := range made {
		if r.Type == "AWS::CloudWatch::Alarm" {
			out[id] = r.Properties
		}
	}
	return out
}

// named are the metrics that alarms and dashboard name.
func named(t *testing.T, made map[string]cfn.Resource) (out []series) {
	t.Helper()
	for id, a := range alarms(made) {
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
	body, _ := made["Dashboard"].Properties["DashboardBody"].(string)
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
			if made[id].Type != "AWS::CloudWatch::Alarm" {
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
				if m[i] == vitals.Dimension {
					s.stage = m[i+1]
				}
			}
			out = append(out, s)
		}
	}
	return out
}

// ofAWS are AWS's own metrics in use, with their dimension, as the user guides list them.
var ofAWS = map[string]string{
	"AWS/Lambda Errors": "FunctionName", "AWS/Lambda Throttles": "FunctionName", "AWS/Lambda Duration": "FunctionName",
	"AWS/States ExecutionsSucceeded": "StateMachineArn", "AWS/States ExecutionsFailed": "StateMachineArn",
	"AWS/States ExecutionsAborted": "StateMachineArn", "AWS/States ExecutionsTimedOut": "StateMachineArn",
	"AWS/SQS ApproximateNumberOfMessagesVisible": "QueueName",
	"AWS/Logs EMFParsingErrors":                  "LogGroupName", "AWS/Logs EMFValidationErrors": "LogGroupName",
}

// gauges are as of a call's end: they may not be summed.
var gauges = []vitals.Name{vitals.LastRunAge, vitals.CanariesWaiting, vitals.CanariesUnsealed, vitals.Leftovers, vitals.SweepProblems, vitals.LedgerSize, vitals.LedgerHeadAge, vitals.ClockSkew}

// unfit says what is wrong with what alarms and dashboard name.
func unfit(all []series, emitted map[string]vitals.Vital) (out []string) {
	shown := map[string]bool{}
	for _, s := range all {
		bad := func(format string, args ...any) {
			out = append(out, s.where+": "+s.namespace+" "+s.name+": "+fmt.Sprintf(format, args...))
		}
		if s.namespace != vitals.Namespace {
			if dim, known := ofAWS[s.namespace+" "+s.name]; !known || !slices.Equal(s.dimensions, []string{dim}) {
				bad("not a metric of AWS's with dimensions %v", s.dimensions)
			}
			continue
		}
		v, told := emitted[s.name]
		switch {
		case !told:
			bad("no function tells it")
		case !slices.Equal(s.dimensions, []string{vitals.Dimension}) || s.stage != "dev":
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

func emitted() map[string]vitals.Vital {
	out := map[string]vitals.Vital{}
	for _, v := range vitals.All() {
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
	made := watch(t, watchFile, nil)
	for _, text := range unfit(named(t, made), emitted()) {
		t.Error(text)
	}
	for id, a := range alarms(made) {
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
	if len(alarms(made)) < 18 {
		t.Errorf("%d alarms", len(alarms(made)))
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
		file := filepath.Join(t.TempDir(), "watch.yml")
		if err := os.WriteFile(file, []byte(spoilt), 0o644); err != nil {
			t.Fatal(err)
		}
		if got := strings.Join(unfit(named(t, watch(t, file, nil)), emitted()), "\n"); !strings.Contains(got, want) {
			t.Errorf("%s: got %q, want %q in it", change[1], got, want)
		}
	}
}
