package packet

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/pem"
	"io"
	"math/big"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/digitorus/timestamp"
)

// authority is a time-stamping authority in this process, with a certificate under
// an intermediate under a root.
type authority struct {
	root, between, cert *x509.Certificate
	key                 crypto.Signer
	now                 time.Time
	// change spoils a response before it is signed.
	change func(*timestamp.Timestamp)
}

// stampingOnly is the extended key usage of RFC 3161, critical or not.
func stampingOnly(t testing.TB, critical bool) pkix.Extension {
	t.Helper()
	value, err := asn1.Marshal([]asn1.ObjectIdentifier{{1, 3, 6, 1, 5, 5, 7, 3, 8}})
	if err != nil {
		t.Fatal(err)
	}
	return pkix.Extension{Id: asn1.ObjectIdentifier{2, 5, 29, 37}, Critical: critical, Value: value}
}

func newAuthority(t testing.TB, edit func(*x509.Certificate)) *authority {
	t.Helper()
	made := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	issue := func(serial int64, name string, c, parent *x509.Certificate, key, parentKey crypto.Signer) *x509.Certificate {
		c.SerialNumber, c.Subject = big.NewInt(serial), pkix.Name{CommonName: name, Organization: []string{"Example TSA"}}
		if c.NotBefore.IsZero() {
			c.NotBefore, c.NotAfter = made, made.AddDate(10, 0, 0)
		}
		if parent == nil {
			parent = c
		}
		der, err := x509.CreateCertificate(rand.Reader, c, parent, key.Public(), parentKey)
		if err != nil {
			t.Fatal(err)
		}
		out, err := x509.ParseCertificate(der)
		if err != nil {
			t.Fatal(err)
		}
		return out
	}
	rootKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	key := crypto.Signer(providerKey(t)) // RSA: what authorities have
	a := &authority{key: key, now: day.Add(time.Hour)}
	ca := func() *x509.Certificate {
		return &x509.Certificate{IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}
	}
	a.root = issue(1, "root", ca(), nil, rootKey, rootKey)
	a.between = issue(2, "between", ca(), a.root, rootKey, rootKey)
	leaf := &x509.Certificate{KeyUsage: x509.KeyUsageDigitalSignature, ExtraExtensions: []pkix.Extension{stampingOnly(t, true)}}
	if edit != nil {
		edit(leaf)
	}
	a.cert = issue(3, "stamps", leaf, a.between, key, rootKey)
	return a
}

func (a *authority) roots(t testing.TB) *Roots {
	t.Helper()
	r, err := ParseRoots(a.pem(a.root))
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func (a *authority) pem(certs ...*x509.Certificate) (out []byte) {
	for _, c := range certs {
		out = append(out, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Raw})...)
	}
	return out
}

func (a *authority) stamp(_ context.Context, query []byte) ([]byte, error) {
	req, err := timestamp.ParseRequest(query)
	if err != nil {
		return nil, err
	}
	ts := &timestamp.Timestamp{
		HashAlgorithm: req.HashAlgorithm, HashedMessage: req.HashedMessage, Time: a.now, Nonce: req.Nonce,
		Policy: asn1.ObjectIdentifier{1, 2, 3, 4}, Certificates: []*x509.Certificate{a.between}, AddTSACertificate: true,
	}
	if a.change != nil {
		a.change(ts)
	}
	return ts.CreateResponseWithOpts(a.cert, a.key, crypto.SHA256)
}

func TestATimestampSaysWhenItWasSigned(t *testing.T) {
	b := newMemoryBook(t)
	b.addRun(t, 1, false, testScenario)
	a := newAuthority(t, nil)
	o := b.options(t)
	o.Stamp, o.Roots = a.stamp, a.roots(t)
	packet := mustBuild(t, b, o)
	trust := Trust{Keys: []string{b.vkey}, Roots: a.roots(t)}
	r := verifyBytes(t, packet, trust, VerifyOptions{})
	if err := r.Err(); err != nil || !strings.Contains(strings.Join(r.Verified, "\n"), `It was signed before 2026-11-22T11:00:00Z, as "CN=stamps,O=Example TSA" says`) {
		t.Fatalf("%v: %q", err, r.Verified)
	}
	trust.Roots = nil
	r = verifyBytes(t, packet, trust, VerifyOptions{})
	if err := r.Err(); err != nil || !strings.Contains(strings.Join(r.NotVerified, "\n"), "give the authority's root certificate") || strings.Contains(strings.Join(r.Verified, "\n"), "signed before") {
		t.Errorf("without roots: %v %q %q", err, r.Verified, r.NotVerified)
	}
	trust.Roots = newAuthority(t, nil).roots(t)
	mustSay(t, "another authority's root", verifyBytes(t, packet, trust, VerifyOptions{}), Broken, BadTimestamp)

	trust.Roots = a.roots(t)
	good := unpack(t, packet)
	mustSay(t, "the response dropped", verifyBytes(t, good.with(timestampFile, nil).pack(t), trust, VerifyOptions{}), Incomplete, FileMissing)
	mustSay(t, "the request dropped", verifyBytes(t, good.with(queryFile, nil).pack(t), trust, VerifyOptions{}), Incomplete, FileMissing)
	mustSay(t, "both dropped", verifyBytes(t, good.with(queryFile, nil).with(timestampFile, nil).pack(t), trust, VerifyOptions{}), Incomplete, FileMissing)
	b.addRun(t, 1, false, testScenario)
	other := unpack(t, mustBuild(t, b, o))
	for _, name := range []string{queryFile, timestampFile} {
		mustSay(t, name+" from another packet", verifyBytes(t, good.with(name, other.get(name)).pack(t), trust, VerifyOptions{}), Broken, BadTimestamp)
	}
	mustSay(t, "both from another packet", verifyBytes(t, good.with(queryFile, other.get(queryFile)).with(timestampFile, other.get(timestampFile)).pack(t), trust, VerifyOptions{}), Broken, BadTimestamp)

	// Flipped bytes: none moves the time, or lets another certificate in.
	envelope, query, response := good.get(envelopeFile), good.get(queryFile), good.get(timestampFile)
	noticed := 0
	tried := 0
	for i := 0; i < len(response); i += 3 {
		tried++
		bad := bytes.Clone(response)
		bad[i] ^= 0x04
		s, err := checkTimestamp(envelope, query, bad, a.roots(t))
		if err != nil {
			noticed++
		} else if !s.at.Equal(a.now) || s.by != "CN=stamps,O=Example TSA" {
			t.Errorf("response with byte %d flipped: %+v", i, s)
		}
	}
	if noticed < tried*9/10 {
		t.Errorf("%d of %d flipped bytes of the response noticed", noticed, tried)
	}
	t.Logf("%d of %d flipped bytes of the response noticed; the others are not signed and say nothing", noticed, tried)
	for i := range query {
		bad := bytes.Clone(query)
		bad[i] ^= 0x04
		if _, err := checkTimestamp(envelope, bad, response, a.roots(t)); err == nil {
			t.Errorf("request with byte %d flipped: accepted", i)
		}
	}
}

func TestATimestampThatIsNoneIsRefused(t *testing.T) {
	b := newMemoryBook(t)
	b.addRun(t, 1, false, testScenario)
	for _, tc := range []struct {
		name   string
		cert   func(*x509.Certificate)
		change func(*timestamp.Timestamp)
		want   string
	}{
		{"another nonce", nil, func(ts *timestamp.Timestamp) { ts.Nonce = big.NewInt(1) }, "its nonce is not that of the request"},
		{"no nonce", nil, func(ts *timestamp.Timestamp) { ts.Nonce = nil }, "its nonce is not that of the request"},
		{"over other data", nil, func(ts *timestamp.Timestamp) { ts.HashedMessage = make([]byte, 32) }, "it is not over " + envelopeFile},
		{"another hash", nil, func(ts *timestamp.Timestamp) { ts.HashAlgorithm, ts.HashedMessage = crypto.SHA384, make([]byte, 48) }, "it is not over " + envelopeFile},
		{"no certificate", nil, func(ts *timestamp.Timestamp) { ts.AddTSACertificate, ts.Certificates = false, nil }, "certificate"},
		{"a certificate for servers", func(c *x509.Certificate) {
			c.ExtraExtensions, c.ExtKeyUsage = nil, []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
		}, nil, "not for time stamping alone"},
		{"a certificate for anything", func(c *x509.Certificate) { c.ExtraExtensions = nil }, nil, "not for time stamping alone"},
		{"a certificate for time stamping and servers", func(c *x509.Certificate) {
			c.ExtraExtensions, c.ExtKeyUsage = nil, []x509.ExtKeyUsage{x509.ExtKeyUsageTimeStamping, x509.ExtKeyUsageServerAuth}
		}, nil, "not for time stamping alone"},
		{"a usage that is not critical", func(c *x509.Certificate) { c.ExtraExtensions = []pkix.Extension{stampingOnly(t, false)} }, nil, "not critical"},
		{"a certificate that has expired", func(c *x509.Certificate) {
			c.NotBefore, c.NotAfter = day.AddDate(-2, 0, 0), day.AddDate(-1, 0, 0)
		}, nil, "outside of certificate validity"},
	} {
		a := newAuthority(t, tc.cert)
		a.change = tc.change
		o := b.options(t)
		o.Stamp, o.Roots = a.stamp, a.roots(t)
		if _, err := Build(t.Context(), io.Discard, b.log, o); err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s: %v, want %q", tc.name, err, tc.want)
		}
	}
	o := b.options(t)
	o.Stamp = func(context.Context, []byte) ([]byte, error) {
		return timestamp.CreateErrorResponse(timestamp.Rejection, timestamp.TimeNotAvailable)
	}
	if _, err := Build(t.Context(), io.Discard, b.log, o); err == nil || !strings.Contains(err.Error(), "time source is not available") {
		t.Errorf("rejected: %v", err)
	}
}

// TestOpensslAcceptsTheTimestamp: and so a second implementation reads what ours wrote.
func TestOpensslAcceptsTheTimestamp(t *testing.T) {
	openssl, err := exec.LookPath("openssl")
	if err != nil {
		t.Skip("no openssl here")
	}
	b := newMemoryBook(t)
	b.addRun(t, 1, false, testScenario)
	a := newAuthority(t, nil)
	o := b.options(t)
	o.Stamp, o.Roots = a.stamp, a.roots(t)
	dir := t.TempDir()
	for _, f := range append(unpack(t, mustBuild(t, b, o)), files{{"CA.pem", a.pem(a.root)}}...) {
		if err := os.MkdirAll(filepath.Dir(filepath.Join(dir, f.name)), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, f.name), f.data, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	// The command of README.txt, and the one that takes the request.
	for _, args := range []string{
		"ts -verify -data manifest.dsse.json -in timestamp.tsr -CAfile CA.pem",
		"ts -verify -queryfile timestamp.tsq -in timestamp.tsr -CAfile CA.pem",
	} {
		if strings.Contains(args, "-data") && !strings.Contains(readme, "openssl "+args) {
			t.Errorf("README.txt does not tell: openssl %s", args)
		}
		cmd := exec.CommandContext(t.Context(), openssl, strings.Fields(args)...)
		cmd.Dir = dir
		out, err := cmd.CombinedOutput()
		if err != nil || !strings.Contains(string(out), "Verification: OK") {
			t.Errorf("openssl %s: %v\n%s", args, err, out)
		}
	}
	if err := os.WriteFile(filepath.Join(dir, "manifest.dsse.json"), []byte("another"), 0o644); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), openssl, "ts", "-verify", "-data", "manifest.dsse.json", "-in", "timestamp.tsr", "-CAfile", "CA.pem")
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err == nil {
		t.Errorf("openssl accepts it for other data: %s", out)
	}
}

func FuzzTimestamp(f *testing.F) {
	envelope := []byte("an envelope")
	a := newAuthority(f, nil)
	query, response, err := stamp(f.Context(), envelope, a.stamp, a.roots(f))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(query, response)
	f.Add([]byte{0x30, 0x80}, []byte{0x30, 0x80, 0x30, 0x80})
	roots := a.roots(f)
	f.Fuzz(func(t *testing.T, query, response []byte) {
		if s, err := checkTimestamp(envelope, query, response, roots); err == nil && !s.at.Equal(a.now) {
			t.Fatalf("another time: %v", s.at)
		}
	})
}
