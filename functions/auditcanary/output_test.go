package main

import (
	"bytes"
	"strings"
	"testing"

	"github.com/auditcanary/auditcanary/shared/canary"
	"github.com/auditcanary/auditcanary/shared/run"
)

func TestPlacesWithTheSameAnswersShareARow(t *testing.T) {
	secs := func(n float64) *float64 { return &n }
	line := func(scenario, region string, surfaced canary.Answer) run.Line {
		checks := map[canary.Check]canary.Answer{}
		for _, c := range canary.Checks() {
			checks[c] = canary.Answer{Status: canary.Pass}
		}
		checks[canary.Surfaced] = surfaced
		return run.Line{Scenario: scenario, Target: "111122223333", Region: region, Checks: checks, Status: surfaced.Status}
	}
	pass := func(n float64) canary.Answer {
		return canary.Answer{Status: canary.Pass, LatencySeconds: secs(n)}
	}
	var b bytes.Buffer
	printTable(&b, run.Summary{Canaries: []run.Line{
		line("aws/a", "r1", pass(60)), line("aws/a", "r2", canary.Answer{Status: canary.Fail, Detail: "no record", Evidence: []canary.Clue{{Source: canary.FromStore, Found: "2 objects hold none"}}}), line("aws/a", "r3", pass(125)),
		line("aws/b", "r1", pass(60)),
		line("aws/c", "r1", canary.Answer{Status: canary.NotRun, Open: true}), line("aws/c", "r2", canary.Answer{Status: canary.NotRun, Open: true}),
	}})
	for _, want := range []string{
		"aws/a 2 of 3 pass pass pass pass pass pass pass pass 1m0s to 2m5s",
		"aws/a 111122223333/r2 pass FAIL pass pass pass pass pass pass -",
		"aws/b 111122223333/r1 pass pass pass pass pass pass pass pass 1m0s",
		"aws/c 2 of 2 pass waiting pass pass pass pass pass pass -",
		"surfaced FAIL: no record log store: 2 objects hold none",
	} {
		if !strings.Contains(strings.Join(strings.Fields(b.String()), " "), want) {
			t.Errorf("the table does not say %q:\n%s", want, b.String())
		}
	}
}
