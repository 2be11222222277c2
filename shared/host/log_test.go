package host

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/auditcanary/auditcanary/shared/vitals"
)

// testPlatform writes into buffers; its clock advances a second with each look.
func testPlatform(aws bool, level string) (p platform, log, emf *bytes.Buffer) {
	log, emf = &bytes.Buffer{}, &bytes.Buffer{}
	now := time.Date(2026, 11, 26, 10, 0, 0, 0, time.UTC)
	p = platform{log: log, google: !aws, stage: "prod", level: level, clock: func() time.Time { now = now.Add(time.Second); return now }}
	if aws {
		p.emf = emf
	}
	return p, log, emf
}

// linesOf reads what was logged; everything must be one JSON object a line.
func linesOf(t *testing.T, b *bytes.Buffer) (out []map[string]any) {
	t.Helper()
	for line := range bytes.Lines(b.Bytes()) {
		var m map[string]any
		if err := json.Unmarshal(line, &m); err != nil {
			t.Fatalf("%v: %s", err, line)
		}
		out = append(out, m)
	}
	return out
}

const evil = "x\n{\"level\":\"ERROR\"}\x00\x1b[31m\u2028\xff"

// working is a function that tells of itself.
func working(ctx context.Context, _ json.RawMessage) (any, error) {
	call := vitals.From(ctx)
	call.About("", "20261126-abc")
	call.Log.Info("looked", "object", evil)
	call.Log.Debug("closely")
	call.Set(vitals.RunsCompleted, 1)
	call.Set(vitals.SurfacedLatency, 10, 20)
	return exitOutput{1}, nil
}

func TestACallIsLoggedWithItsVitals(t *testing.T) {
	p, log, emf := testPlatform(true, "")
	if _, err := p.watched("confirm", working)(context.WithValue(t.Context(), requestKey{}, "r-1"), json.RawMessage(`{"cell":"a","secret":"s3cr3t"}`)); err != nil {
		t.Fatal(err)
	}
	lines := linesOf(t, log)
	if len(lines) != 3 || strings.Contains(log.String(), "s3cr3t") || strings.Contains(log.String(), "closely") {
		t.Fatalf("%s", log)
	}
	for _, l := range lines {
		if l["function"] != "confirm" || l["request_id"] != "r-1" {
			t.Errorf("%v", l)
		}
	}
	if b, l, e := lines[0], lines[1], lines[2]; b["msg"] != "begun" || b["cell"] != "a" || l["object"] != strings.ToValidUTF8(evil, "\ufffd") ||
		e["msg"] != "ended" || e["run"] != "20261126-abc" || e["outcome"] != "something failed" || e["duration_ms"] != 1000.0 || e["level"] != "INFO" {
		t.Errorf("%v", lines)
	}
	numbers := linesOf(t, emf)
	if len(numbers) != 1 || numbers[0]["Stage"] != "prod" || numbers[0]["RunsCompleted"] != 1.0 || numbers[0]["cell"] != "a" || numbers[0]["run"] != "20261126-abc" || numbers[0]["function"] != "confirm" {
		t.Errorf("%s", emf)
	}
}

func TestOnGoogleCloudTheVitalsAreALineOfTheLog(t *testing.T) {
	p, log, _ := testPlatform(false, "")
	if _, err := p.watched("confirm", working)(t.Context(), json.RawMessage(`{}`)); err != nil {
		t.Fatal(err)
	}
	lines := linesOf(t, log)
	last := lines[len(lines)-1]
	told, _ := last["vitals"].(map[string]any)
	latency, _ := told["SurfacedLatency"].(map[string]any)
	if last["message"] != "vitals" || last["severity"] != "INFO" || last["stage"] != "prod" || told["RunsCompleted"] != 1.0 || latency["max"] != 20.0 {
		t.Errorf("%s", log)
	}
}

func TestAFailureIsLoggedWithItsErrorCutAndEscaped(t *testing.T) {
	for name, h := range map[string]Handler{
		"an error": func(ctx context.Context, _ json.RawMessage) (any, error) {
			vitals.From(ctx).Add(vitals.LedgerSignErrors, 1)
			return nil, fmt.Errorf("read %s: %w", evil, errors.New(strings.Repeat("é", 1<<20)))
		},
		"a panic": func(ctx context.Context, _ json.RawMessage) (any, error) {
			vitals.From(ctx).Add(vitals.LedgerSignErrors, 1)
			panic("no")
		},
	} {
		p, log, emf := testPlatform(true, "error")
		func() {
			defer func() { _ = recover() }()
			_, _ = p.watched("inject", h)(t.Context(), json.RawMessage(`[`))
		}()
		lines := linesOf(t, log)
		if len(lines) != 1 || lines[0]["msg"] != "failed" || lines[0]["level"] != "ERROR" || lines[0]["outcome"] != "failed" || lines[0]["error"] == "" || log.Len() > 4*maxLogged {
			t.Errorf("%s: %d lines, %d bytes: %.300s", name, len(lines), log.Len(), log)
		}
		if numbers := linesOf(t, emf); len(numbers) != 1 || numbers[0]["LedgerSignErrors"] != 1.0 {
			t.Errorf("%s: %s", name, emf)
		}
	}
}

func TestTheLevelOfTheLogIsChosen(t *testing.T) {
	for level, want := range map[string]int{"debug": 4, "info": 3, "INFO": 3, "warn": 0, "error": 0, "": 3, "loud": 4} {
		p, log, _ := testPlatform(true, level)
		_, _ = p.watched("confirm", working)(t.Context(), nil)
		if n := len(linesOf(t, log)); n != want {
			t.Errorf("%q: %d lines: %s", level, n, log)
		}
	}
}

func TestTheStageIsFitForADimension(t *testing.T) {
	for in, want := range map[string]string{"prod": "prod", "": "default", "pröd\n": "prd", " ": "default", strings.Repeat("x", 100): strings.Repeat("x", 64)} {
		if got := stageOf(in); got != want {
			t.Errorf("%q: %q", in, got)
		}
	}
}

func TestARequestIsLoggedWithoutWhatItSays(t *testing.T) {
	p, log, _ := testPlatform(true, "")
	r := httptest.NewRequest("POST", "/slack?token=s3cr3t", strings.NewReader("body=s3cr3t"))
	r.Header.Set("Authorization", "Bearer s3cr3t")
	w := httptest.NewRecorder()
	p.watchedHTTP("trigger", tell).ServeHTTP(w, r)
	lines := linesOf(t, log)
	if len(lines) != 2 || lines[1]["status"] != float64(http.StatusAccepted) || lines[1]["path"] != "/slack" || strings.Contains(log.String(), "s3cr3t") || w.Code != http.StatusAccepted {
		t.Errorf("%s", log)
	}
}

func TestPlainLinesBecomeLinesOfTheLog(t *testing.T) {
	p, log, _ := testPlatform(true, "")
	fmt.Fprintf(liner{p.logger()}, "one\ntwo %s\n", "\x1b[31m")
	if lines := linesOf(t, log); len(lines) != 2 || lines[1]["msg"] != "two \x1b[31m" || lines[0]["level"] != slog.LevelWarn.String() {
		t.Errorf("%s", log)
	}
}

// FuzzLog: whatever a text is, a line stays a line, bounded, and JSON.
func FuzzLog(f *testing.F) {
	for _, s := range []string{"", "plain", evil, strings.Repeat("\xc3", maxLogged+1), strings.Repeat("\x00", 2*maxLogged)} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		var b bytes.Buffer
		p := platform{log: &b, clock: time.Now}
		p.logger().Info(text, "a", text, "error", errors.New(text))
		if b.Len() > 3*(6*maxLogged+100)+200 || bytes.Count(b.Bytes(), []byte("\n")) != 1 || !json.Valid(b.Bytes()) {
			t.Errorf("%d bytes: %.200s", b.Len(), b.String())
		}
	})
}
