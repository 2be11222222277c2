package wire

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

func TestTheLastPeriodIsOneWhoseVerdictsAreFinal(t *testing.T) {
	at := func(s string) time.Time {
		when, err := time.Parse(time.RFC3339, s)
		if err != nil {
			t.Fatal(err)
		}
		return when
	}
	for _, tc := range []struct{ now, every, from, to string }{
		{"2026-11-26T03:00:00Z", "", "2026-11-24T00:00:00Z", "2026-11-25T00:00:00Z"},
		{"2026-11-26T00:00:00Z", "daily", "2026-11-24T00:00:00Z", "2026-11-25T00:00:00Z"},
		{"2026-11-25T23:59:59Z", "daily", "2026-11-23T00:00:00Z", "2026-11-24T00:00:00Z"},
		{"2026-11-26T01:00:00+05:00", "daily", "2026-11-23T00:00:00Z", "2026-11-24T00:00:00Z"},
		// 23 November 2026 is a Monday.
		{"2026-11-26T03:00:00Z", "weekly", "2026-11-16T00:00:00Z", "2026-11-23T00:00:00Z"},
		{"2026-11-24T00:00:00Z", "weekly", "2026-11-16T00:00:00Z", "2026-11-23T00:00:00Z"},
		{"2026-11-23T23:00:00Z", "weekly", "2026-11-09T00:00:00Z", "2026-11-16T00:00:00Z"},
	} {
		p, err := lastPeriod(at(tc.now), tc.every, 24*time.Hour)
		if err != nil || !p.From.Equal(at(tc.from)) || !p.To.Equal(at(tc.to)) {
			t.Errorf("%s %s: %s, %v, want from %s to %s", tc.now, tc.every, p, err, tc.from, tc.to)
		}
	}
	if _, err := lastPeriod(at("2026-11-26T03:00:00Z"), "hourly", 24*time.Hour); err == nil {
		t.Error("an hour is taken for a period")
	}
	c, err := Load("testdata/good.yaml")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := packetStep(t.Context(), c, Input{From: at("2026-11-26T03:00:00Z")}, "", time.Now()); err == nil || !strings.Contains(err.Error(), "from and to go together") {
		t.Errorf("half a period: %v", err)
	}
	if _, err := packetStep(t.Context(), c, Input{}, "", time.Now()); err == nil || !strings.Contains(err.Error(), "no evidence.bucket") {
		t.Errorf("without a bucket: %v", err)
	}
}

func TestATimestampIsAskedForAsRFC3161Says(t *testing.T) {
	status := http.StatusOK
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		if r.Method != http.MethodPost || r.Header.Get("Content-Type") != "application/timestamp-query" || string(body) != "query" {
			t.Errorf("asked %s %s %q", r.Method, r.Header.Get("Content-Type"), body)
		}
		w.WriteHeader(status)
		_, _ = io.WriteString(w, "response")
	}))
	defer srv.Close()
	ask := stamper(srv.Client(), srv.URL)
	if got, err := ask(t.Context(), []byte("query")); err != nil || string(got) != "response" {
		t.Errorf("%q, %v", got, err)
	}
	status = http.StatusServiceUnavailable
	if _, err := ask(t.Context(), []byte("query")); err == nil || !strings.Contains(err.Error(), "503") {
		t.Errorf("unavailable: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := ask(ctx, []byte("query")); err == nil {
		t.Error("asked although nobody waits")
	}
}
