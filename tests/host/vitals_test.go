package host

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/auditcanary/auditcanary/shared/vitals"
	"github.com/auditcanary/auditcanary/tests/nodemodules"
)

// documents reads the documents of the embedded metric format among the lines of an
// output, metrics in order of their names.
func documents(t *testing.T, lines ...string) (out []map[string]any) {
	t.Helper()
	for _, line := range lines {
		if !strings.Contains(line, `"_aws"`) {
			continue
		}
		var doc map[string]any
		if err := json.Unmarshal([]byte(line), &doc); err != nil {
			t.Fatalf("%v: %s", err, line)
		}
		directive := doc["_aws"].(map[string]any)["CloudWatchMetrics"].([]any)[0].(map[string]any)
		slices.SortFunc(directive["Metrics"].([]any), func(a, b any) int {
			return strings.Compare(fmt.Sprint(a.(map[string]any)["Name"]), fmt.Sprint(b.(map[string]any)["Name"]))
		})
		out = append(out, doc)
	}
	return out
}

// TestVitalsAreWrittenAsAWSsOwnLibraryWritesThem: the same numbers through
// aws-embedded-metrics, which checks them too, give the same documents.
func TestVitalsAreWrittenAsAWSsOwnLibraryWritesThem(t *testing.T) {
	dir := nodemodules.Install(t, "the vitals are not held against aws-embedded-metrics")
	at := time.Now().UTC().Truncate(time.Millisecond) // the library takes no time long past
	numbers := map[vitals.Name][]float64{}
	type metric struct {
		Name   vitals.Name `json:"name"`
		Unit   vitals.Unit `json:"unit"`
		Values []float64   `json:"values"`
	}
	var metrics []metric
	for i, v := range vitals.All() {
		values := []float64{float64(i) / 4}
		if v.Name == vitals.SurfacedLatency {
			for len(values) < 230 {
				values = append(values, float64(len(values)))
			}
		}
		numbers[v.Name] = values
		metrics = append(metrics, metric{v.Name, v.Unit, values})
	}
	properties := map[string]string{"function": "confirm", "run": "20261126-abc", "cell": "evil\n\"\u2028"}
	in, err := json.Marshal(map[string]any{"namespace": vitals.Namespace, "stage": "prod", "timestamp": at.UnixMilli(), "properties": properties, "metrics": metrics})
	if err != nil {
		t.Fatal(err)
	}
	script, err := os.ReadFile(filepath.Join("testdata", "npm", "emf.mjs"))
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), "node", "--input-type=module", "--eval", string(script))
	var stderr bytes.Buffer
	cmd.Dir, cmd.Stdin, cmd.Stderr = dir, bytes.NewReader(in), &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v\n%s", err, stderr.String())
	}
	var theirs []string
	if err := json.Unmarshal(out, &theirs); err != nil {
		t.Fatal(err)
	}
	var ours []string
	lines, err := vitals.EMF(at, "prod", properties, numbers)
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range lines {
		ours = append(ours, string(line))
	}
	if a, b := documents(t, ours...), documents(t, theirs...); len(a) != 3 || !reflect.DeepEqual(a, b) {
		t.Errorf("ours\n%s\ntheirs\n%s", strings.Join(ours, "\n"), strings.Join(theirs, "\n"))
	}
}

// TestDeployedFunctionsTellTheirVitals: the real functions as Lambda runs them. A run is
// told of once, when its last canary is decided.
func TestDeployedFunctionsTellTheirVitals(t *testing.T) {
	cloud := startSandbox(t)
	config := strings.TrimPrefix(cloud.env[0], "AUDITCANARY_CONFIG=")
	text, err := os.ReadFile(config)
	if err != nil {
		t.Fatal(err)
	}
	text = bytes.Replace(text, []byte(`include: ["aws/*"]`), []byte(`include: ["aws/kms-disable-key"]`), 1)
	if err := os.WriteFile(config, text, 0o600); err != nil {
		t.Fatal(err)
	}
	call := func(function string, inputs ...string) (vitals []map[string]any, log []map[string]any) {
		t.Helper()
		api := newLambdaAPI(t)
		p := start(t, binary(t, function), nil, append(cloud.env, api.env(), "AUDITCANARY_STAGE=prod")...)
		for _, in := range inputs {
			api.invocations <- in
			if answer := <-api.answers; answer.Kind != "response" {
				t.Fatalf("%s: %+v", function, answer)
			}
		}
		answered := time.Now()
		for strings.Count(p.stdout.String(), "\n") < len(inputs) || strings.Count(p.stderr.String(), `"duration_ms"`) < len(inputs) {
			time.Sleep(time.Millisecond) // written before the answer, and read after it
			if t.Context().Err() != nil || time.Since(answered) > 10*time.Second {
				t.Fatalf("%s wrote\n%s\n%s", function, p.stdout.String(), p.stderr.String())
			}
		}
		for line := range strings.Lines(p.stderr.String()) {
			var m map[string]any
			if err := json.Unmarshal([]byte(line), &m); err != nil {
				t.Errorf("%s: %v: %s", function, err, line)
			}
			log = append(log, m)
		}
		vitals = documents(t, slices.Collect(strings.Lines(p.stdout.String()))...)
		if len(vitals) != len(inputs) {
			t.Fatalf("%s: %d documents\n%s", function, len(vitals), p.stdout.String())
		}
		return vitals, log
	}
	told, log := call("inject", `{"run":"20261126-watched"}`)
	if v := told[0]; v["Stage"] != "prod" || v["run"] != "20261126-watched" || v["function"] != "inject" || v["request_id"] != "request-1" || v["RunsCompleted"] != 0.0 || v["CanariesWaiting"] != 4.0 || v["LedgerSize"].(float64) < 10 || v["LastRunAge"] != nil {
		t.Errorf("inject: %v", v)
	}
	if first, last := log[0], log[len(log)-1]; first["msg"] != "begun" || last["msg"] != "ended" || last["run"] != "20261126-watched" {
		t.Errorf("inject logged %v", log)
	}
	told, _ = call("confirm", `{"run":"20261126-watched","wait":true}`, `{"run":"20261126-watched"}`)
	latencies, _ := told[0]["SurfacedLatency"].([]any)
	if v := told[0]; v["RunsCompleted"] != 1.0 || v["CanariesWaiting"] != 0.0 || v["CanariesProven"] != 4.0 || len(latencies) != 4 || v["LastRunAge"].(float64) <= 0 {
		t.Errorf("confirm: %v", v)
	}
	if v := told[1]; v["RunsCompleted"] != 0.0 || v["CanariesProven"] != 0.0 || v["LastRunAge"].(float64) <= 0 || v["SurfacedLatency"] != nil {
		t.Errorf("confirm once more: %v", v)
	}
	told, _ = call("sweep", `{"older_than":"0s"}`)
	if v := told[0]; v["SweepsCompleted"] != 1.0 || v["Leftovers"] != 0.0 || v["SweepProblems"] != 0.0 {
		t.Errorf("sweep: %v", v)
	}
	told, _ = call("packet", `{"from":"2020-01-01T00:00:00Z","to":"2100-01-01T00:00:00Z"}`, `{"from":"2020-01-01T00:00:00Z","to":"2020-01-02T00:00:00Z"}`)
	if told[0]["PacketsBuilt"] != 1.0 || told[1]["PacketsBuilt"] != 0.0 {
		t.Errorf("packet: %v", told)
	}
}
