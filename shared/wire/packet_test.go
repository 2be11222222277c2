package wire

import (
	"bytes"
	"context"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/json"
	"encoding/pem"
	"io"
	"math/big"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/digitorus/timestamp"

	"github.com/auditcanary/auditcanary/shared/canary"
	"github.com/auditcanary/auditcanary/shared/ledger"
	"github.com/auditcanary/auditcanary/shared/packet"
	"github.com/auditcanary/auditcanary/shared/run"
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

// TestAConfiguredPacketIsSignedAndStamped goes from the configuration file to a
// packet that verifies: key file, ledger directory, time-stamping authority.
func TestAConfiguredPacketIsSignedAndStamped(t *testing.T) {
	dir := t.TempDir()
	skey, vkey, err := ledger.GenerateKey("auditcanary.example/test")
	if err != nil {
		t.Fatal(err)
	}
	cert, key, root := stampingCertificate(t)
	authority := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		req, err := timestamp.ParseRequest(body)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		ts := timestamp.Timestamp{HashAlgorithm: req.HashAlgorithm, HashedMessage: req.HashedMessage, Nonce: req.Nonce, Time: time.Now(), Policy: asn1.ObjectIdentifier{1, 2, 3}, AddTSACertificate: true}
		response, err := ts.CreateResponseWithOpts(cert, key, crypto.SHA256)
		if err != nil {
			t.Error(err)
		}
		_, _ = w.Write(response)
	}))
	defer authority.Close()
	good, err := os.ReadFile("testdata/good.yaml")
	if err != nil {
		t.Fatal(err)
	}
	config := string(good) + "evidence: {timestamp_url: \"" + authority.URL + "\", timestamp_ca: tsa.pem}\n"
	for name, text := range map[string]string{"auditcanary.yaml": config, "signing.key": skey, "tsa.pem": string(root)} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	c, err := Load(filepath.Join(dir, "auditcanary.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	log, err := OpenLedger(t.Context(), c, ReadWrite)
	if err != nil {
		t.Fatal(err)
	}
	// A canary that could not be run is one of the period too.
	s := canary.Scenario{ID: "aws/x", Hash: "00"}
	one := canary.Canary{ID: "r-01", Run: "r", Scenario: s.ID, ScenarioHash: s.Hash}
	for _, e := range []run.Entry{
		{V: 1, Type: "begun", Run: "r", At: time.Now(), Begun: &run.Begun{Canaries: 1, CatalogueHash: run.CatalogueHash([]canary.Scenario{s})}},
		{V: 1, Type: "planned", Run: "r", At: time.Now(), Canary: one.ID, Planned: &run.Plan{Canary: one, Scenario: s, NotRun: "not configured"}},
	} {
		leaf, err := json.Marshal(e)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := log.Append(t.Context(), leaf); err != nil {
			t.Fatal(err)
		}
	}
	reading, o, err := PacketOptions(t.Context(), c, "v1")
	if err != nil {
		t.Fatal(err)
	}
	var built bytes.Buffer
	if _, err := packet.Build(t.Context(), &built, reading, o); err != nil {
		t.Fatal(err)
	}
	roots, err := packet.ParseRoots(root)
	if err != nil {
		t.Fatal(err)
	}
	r, err := packet.Verify(t.Context(), bytes.NewReader(built.Bytes()), int64(built.Len()), packet.Trust{Keys: []string{vkey}, Roots: roots}, packet.VerifyOptions{})
	if err != nil || r.Err() != nil || !strings.Contains(strings.Join(r.Verified, "\n"), "It was signed before") {
		t.Errorf("%v, %v: %q", err, r.Err(), r.Verified)
	}
	authority.Close()
	if _, err := packet.Build(t.Context(), io.Discard, reading, o); err == nil || !strings.Contains(err.Error(), "ask the time-stamping authority") {
		t.Errorf("the authority is away: %v", err)
	}
}

// stampingCertificate is one for time stamping that signed itself.
func stampingCertificate(t *testing.T) (*x509.Certificate, *rsa.PrivateKey, []byte) {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	usage, err := asn1.Marshal([]asn1.ObjectIdentifier{{1, 3, 6, 1, 5, 5, 7, 3, 8}})
	if err != nil {
		t.Fatal(err)
	}
	c := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "stamps"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtraExtensions: []pkix.Extension{{Id: asn1.ObjectIdentifier{2, 5, 29, 37}, Critical: true, Value: usage}},
	}
	der, err := x509.CreateCertificate(rand.Reader, c, c, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return cert, key, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
}
