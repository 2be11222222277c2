package vitals

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"math"
	"strings"
	"testing"
	"time"
)

var at = time.Date(2026, 11, 26, 10, 0, 0, 0, time.UTC)

// breaches says what a line does against the format's specification. It is written from
// the specification's sentences; AWS's own library is asked in tests/host.
func breaches(line []byte) (out []string) {
	bad := func(format string, args ...any) { out = append(out, fmt.Sprintf(format, args...)) }
	if bytes.ContainsAny(line, "\n\r") || len(line) > 256<<10 {
		bad("not one line of 256 KiB at most")
	}
	var root map[string]any
	if err := json.Unmarshal(line, &root); err != nil {
		return append(out, err.Error())
	}
	meta, _ := root["_aws"].(map[string]any)
	if ms, ok := meta["Timestamp"].(float64); !ok || ms != math.Trunc(ms) || ms < 1e12 {
		bad("Timestamp %v is not in milliseconds", meta["Timestamp"])
	}
	directives, _ := meta["CloudWatchMetrics"].([]any)
	if len(directives) == 0 {
		bad("no CloudWatchMetrics")
	}
	for _, d := range directives {
		d, _ := d.(map[string]any)
		if s, _ := d["Namespace"].(string); s == "" || len(s) > 255 {
			bad("Namespace %v", d["Namespace"])
		}
		sets, _ := d["Dimensions"].([]any)
		if len(sets) == 0 {
			bad("no dimension set")
		}
		for _, set := range sets {
			names, _ := set.([]any)
			if len(names) > 9 {
				bad("%d dimensions in a set", len(names))
			}
			for _, name := range names {
				value, isText := root[fmt.Sprint(name)].(string)
				if !isText || value == "" || len(value) > 1024 || strings.ContainsFunc(value, func(r rune) bool { return r < ' ' || r > '~' }) {
					bad("dimension %v has value %v", name, root[fmt.Sprint(name)])
				}
			}
		}
		metrics, _ := d["Metrics"].([]any)
		if len(metrics) == 0 || len(metrics) > 100 {
			bad("%d metrics", len(metrics))
		}
		for _, m := range metrics {
			m, _ := m.(map[string]any)
			name, _ := m["Name"].(string)
			if unit := m["Unit"]; unit != "Count" && unit != "Seconds" {
				bad("%s: unit %v", name, unit)
			}
			values, several := root[name].([]any)
			if !several {
				values = []any{root[name]}
			}
			if len(values) == 0 || len(values) > 100 {
				bad("%s has %d values", name, len(values))
			}
			for _, v := range values {
				if _, isNumber := v.(float64); !isNumber {
					bad("%s is %v", name, v)
				}
			}
		}
	}
	return out
}

func TestVitalsAreWrittenInTheFormat(t *testing.T) {
	call := NewCall(at, slog.New(slog.DiscardHandler))
	latencies := make([]float64, 250)
	for i := range latencies {
		latencies[i] = float64(i)
	}
	call.Set(SurfacedLatency, append(latencies, math.NaN(), math.Inf(1))...)
	call.Set(RunsCompleted, 1)
	call.Add(PoisonMessages, 2)
	call.Add(PoisonMessages, 3)
	call.Set(LedgerHeadAge, math.NaN())
	lines, err := EMF(at, "prod", map[string]string{"cell": "a", "run": "evil\n\"}\x00\xff{\u2028"}, call.Numbers())
	if err != nil || len(lines) != 3 { // 100 values to a document
		t.Fatalf("%d lines, %v", len(lines), err)
	}
	seen := 0
	for _, line := range lines {
		for _, b := range breaches(line) {
			t.Errorf("%s: %s", b, line)
		}
		var doc struct {
			SurfacedLatency []float64
			RunsCompleted   *float64
			PoisonMessages  *float64
			LedgerHeadAge   any
			Stage, Cell     string
		}
		if err := json.Unmarshal(line, &doc); err != nil {
			t.Fatal(err)
		}
		seen += len(doc.SurfacedLatency)
		if first := seen <= 100; (doc.RunsCompleted != nil) != first || doc.LedgerHeadAge != nil || first && *doc.PoisonMessages != 5 || doc.Stage != "prod" || doc.Cell != "a" {
			t.Errorf("%s", line)
		}
	}
	if seen != 250 {
		t.Errorf("%d latencies", seen)
	}
	if lines, err := EMF(at, "prod", nil, nil); err != nil || lines != nil {
		t.Errorf("without a number: %q, %v", lines, err)
	}
	if _, err := EMF(at, "prod", nil, map[Name][]float64{"Invented": {1}}); err == nil || !strings.Contains(err.Error(), "Invented") {
		t.Errorf("a number that is not in the list: %v", err)
	}
}

func TestBreachesOfTheFormatAreNoticed(t *testing.T) {
	const good = `{"_aws":{"Timestamp":1764151200000,"CloudWatchMetrics":[{"Namespace":"n","Dimensions":[["Stage"]],"Metrics":[{"Name":"A","Unit":"Count"}]}]},"Stage":"prod","A":1}`
	if b := breaches([]byte(good)); len(b) > 0 {
		t.Fatal(b)
	}
	for _, change := range [][2]string{
		{`"A":1}`, `"B":1}`}, {`"A":1}`, `"A":"1"}`}, {`"A":1}`, `"A":[]}`}, {`"Stage":"prod"`, `"Stage":1`}, {`"Stage":"prod"`, `"Stage":""`}, {`"Stage":"prod"`, `"Stage":"pröd"`},
		{`"Count"`, `"Counts"`}, {`1764151200000`, `1764151200`}, {`"n"`, `""`}, {`[["Stage"]]`, `[]`}, {`[{"Name":"A","Unit":"Count"}]`, `[]`}, {`,"A"`, ",\n\"A\""},
	} {
		if len(breaches([]byte(strings.Replace(good, change[0], change[1], 1)))) == 0 {
			t.Errorf("%s for %s is taken", change[1], change[0])
		}
	}
}

func TestFieldsSayWhereMostLie(t *testing.T) {
	values := make([]float64, 100)
	for i := range values {
		values[i] = float64(100 - i)
	}
	var b bytes.Buffer
	slog.New(slog.NewJSONHandler(&b, nil)).LogAttrs(t.Context(), slog.LevelInfo, "", Fields(map[Name][]float64{SurfacedLatency: values, Leftovers: {2}, ClockSkew: {}})...)
	var got struct {
		SurfacedLatency struct{ P50, P90, P99, Max, N float64 }
		Leftovers       float64
		ClockSkew       *float64
	}
	if err := json.Unmarshal(b.Bytes(), &got); err != nil {
		t.Fatal(err)
	}
	if l := got.SurfacedLatency; l.P50 != 50 || l.P90 != 90 || l.P99 != 99 || l.Max != 100 || l.N != 100 || got.Leftovers != 2 || got.ClockSkew != nil {
		t.Errorf("%s", b.String())
	}
}

func TestNobodyHasToAskWhetherItIsWatched(t *testing.T) {
	call := From(t.Context())
	call.Set(Leftovers, 1)
	call.Add(Leftovers, 1)
	call.About("a", "b")
	if call != nil {
		t.Error("watched by nobody")
	}
	watched := NewCall(at, slog.New(slog.DiscardHandler))
	if From(watched.With(t.Context())) != watched {
		t.Error("lost on the way")
	}
}
