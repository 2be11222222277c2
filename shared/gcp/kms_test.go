package gcp_test

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"hash/crc32"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/auditcanary/auditcanary/shared/canary"
	"github.com/auditcanary/auditcanary/shared/gcp"
	"github.com/auditcanary/auditcanary/shared/ledger"
	"github.com/auditcanary/auditcanary/shared/packet"
	"github.com/auditcanary/auditcanary/shared/run"
	"github.com/auditcanary/auditcanary/shared/wire"
)

const keyName = "projects/p-1/locations/europe-west3/keyRings/evidence/cryptoKeys/packets/cryptoKeyVersions/1"

// service is Cloud KMS as far as its REST reference describes the two calls, with
// real keys, and Google's token endpoint.
type service struct {
	key       crypto.Signer
	algorithm string
	// spoil changes an answer before it is sent.
	spoil func(path string, answer map[string]any)
	// instead answers in place of the service, where it says true.
	instead func(w http.ResponseWriter, r *http.Request) bool

	mu    sync.Mutex
	asked []map[string]any // bodies of AsymmetricSign
	heads []http.Header    // of all calls
	calls int
}

func castagnoli(data []byte) string {
	return strconv.FormatUint(uint64(crc32.Checksum(data, crc32.MakeTable(crc32.Castagnoli))), 10)
}

func refuse(w http.ResponseWriter, code int, status, message string) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	_ = json.NewEncoder(w).Encode(map[string]any{"error": map[string]any{"code": code, "message": message, "status": status}})
}

func (s *service) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path == "/token" {
		if r.FormValue("grant_type") != "urn:ietf:params:oauth:grant-type:jwt-bearer" || strings.Count(r.FormValue("assertion"), ".") != 2 {
			http.Error(w, "not a signed assertion", http.StatusBadRequest)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(map[string]any{"access_token": "token", "token_type": "Bearer", "expires_in": 3600})
		return
	}
	s.mu.Lock()
	s.calls++
	s.heads = append(s.heads, r.Header.Clone())
	s.mu.Unlock()
	if s.instead != nil && s.instead(w, r) {
		return
	}
	if r.Header.Get("Authorization") != "Bearer token" {
		refuse(w, http.StatusUnauthorized, "UNAUTHENTICATED", "no token")
		return
	}
	var answer map[string]any
	switch r.Method + " " + r.URL.Path {
	case "GET /v1/" + keyName + "/publicKey":
		der, err := x509.MarshalPKIXPublicKey(s.key.Public())
		if err != nil {
			panic(err)
		}
		text := pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})
		answer = map[string]any{"pem": string(text), "algorithm": s.algorithm, "pemCrc32c": castagnoli(text), "name": keyName, "protectionLevel": "HSM", "pemFormat": "PEM"}
	case "POST /v1/" + keyName + ":asymmetricSign":
		var ok bool
		if answer, ok = s.sign(w, r); !ok {
			return
		}
	default:
		refuse(w, http.StatusNotFound, "NOT_FOUND", r.URL.Path+" not found.")
		return
	}
	if s.spoil != nil {
		s.spoil(r.URL.Path, answer)
	}
	w.Header().Set("Content-Type", "application/json; charset=UTF-8")
	_ = json.NewEncoder(w).Encode(answer)
}

func (s *service) sign(w http.ResponseWriter, r *http.Request) (map[string]any, bool) {
	data, _ := io.ReadAll(r.Body)
	var in struct {
		Digest       struct{ SHA256 []byte }
		DigestCRC32C string
		Data         []byte
		DataCRC32C   string
	}
	var asked map[string]any
	if json.Unmarshal(data, &in) != nil || json.Unmarshal(data, &asked) != nil || r.Header.Get("Content-Type") != "application/json" {
		refuse(w, http.StatusBadRequest, "INVALID_ARGUMENT", "not JSON")
		return nil, false
	}
	s.mu.Lock()
	s.asked = append(s.asked, asked)
	s.mu.Unlock()
	what, said, verified, hash := in.Digest.SHA256, in.DigestCRC32C, "verifiedDigestCrc32c", crypto.Hash(crypto.SHA256)
	if _, ok := s.key.(ed25519.PrivateKey); ok {
		what, said, verified, hash = in.Data, in.DataCRC32C, "verifiedDataCrc32c", 0
	} else if len(what) != sha256.Size || in.Data != nil {
		refuse(w, http.StatusBadRequest, "INVALID_ARGUMENT", "Digest length does not match the algorithm.")
		return nil, false
	}
	if said != castagnoli(what) {
		refuse(w, http.StatusBadRequest, "INVALID_ARGUMENT", "checksum does not match.")
		return nil, false
	}
	signature, err := s.key.Sign(rand.Reader, what, hash)
	if err != nil {
		panic(err)
	}
	return map[string]any{"signature": base64.StdEncoding.EncodeToString(signature), "signatureCrc32c": castagnoli(signature), verified: true, "name": keyName, "protectionLevel": "HSM"}, true
}

func p256(t testing.TB) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func edwards(t testing.TB) ed25519.PrivateKey {
	t.Helper()
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func serve(t *testing.T, h http.Handler) string {
	t.Helper()
	srv := httptest.NewServer(h)
	t.Cleanup(srv.Close)
	return srv.URL
}

func noWait(context.Context, time.Duration) error { return nil }

// credentialsAt are those of a service account whose tokens come from the server.
func credentialsAt(t *testing.T, url, project string) {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "account.json")
	data, err := json.Marshal(map[string]string{
		"type": "service_account", "client_email": "packets@p-1.iam.gserviceaccount.com", "private_key_id": "1", "token_uri": url + "/token",
		"private_key": string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})), "quota_project_id": project,
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, data, 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("GOOGLE_APPLICATION_CREDENTIALS", file)
	t.Setenv("GOOGLE_CLOUD_QUOTA_PROJECT", "")
}

// TestAConfiguredPacketIsSignedInGoogleCloud goes from the configuration file, over
// credentials and tokens, to a packet that verifies with the public key alone.
func TestAConfiguredPacketIsSignedInGoogleCloud(t *testing.T) {
	for _, tc := range []struct {
		algorithm string
		key       crypto.Signer
		leaves    string // the one field with what is signed
	}{
		{"EC_SIGN_P256_SHA256", p256(t), "digest"},
		{"EC_SIGN_ED25519", edwards(t), "data"},
	} {
		t.Run(tc.algorithm, func(t *testing.T) {
			s := &service{key: tc.key, algorithm: tc.algorithm}
			url := serve(t, s)
			credentialsAt(t, url, "p-2")
			dir := t.TempDir()
			skey, vkey, err := ledger.GenerateKey("auditcanary.example/test")
			if err != nil {
				t.Fatal(err)
			}
			good, err := os.ReadFile("../wire/testdata/good.yaml")
			if err != nil {
				t.Fatal(err)
			}
			config := string(good) + "evidence: {gcp_kms_key: " + keyName + ", gcp_endpoint_url: \"" + url + "\"}\n"
			for name, text := range map[string]string{"auditcanary.yaml": config, "signing.key": skey} {
				if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			c, err := wire.Load(filepath.Join(dir, "auditcanary.yaml"))
			if err != nil {
				t.Fatal(err)
			}
			log, err := wire.OpenLedger(t.Context(), c, wire.ReadWrite)
			if err != nil {
				t.Fatal(err)
			}
			scenario := canary.Scenario{ID: "aws/x", Hash: "00"}
			one := canary.Canary{ID: "r-01", Run: "r", Scenario: scenario.ID, ScenarioHash: scenario.Hash}
			for _, e := range []run.Entry{
				{V: 1, Type: "begun", Run: "r", At: time.Now(), Begun: &run.Begun{Canaries: 1, CatalogueHash: run.CatalogueHash([]canary.Scenario{scenario})}},
				{V: 1, Type: "planned", Run: "r", At: time.Now(), Canary: one.ID, Planned: &run.Plan{Canary: one, Scenario: scenario, NotRun: "not configured"}},
			} {
				leaf, err := json.Marshal(e)
				if err != nil {
					t.Fatal(err)
				}
				if _, err := log.Append(t.Context(), leaf); err != nil {
					t.Fatal(err)
				}
			}
			reading, o, err := wire.PacketOptions(t.Context(), c, "v1")
			if err != nil {
				t.Fatal(err)
			}
			var built bytes.Buffer
			if _, err := packet.Build(t.Context(), &built, reading, o); err != nil {
				t.Fatal(err)
			}
			verify := func(key crypto.PublicKey) error {
				der, err := x509.MarshalPKIXPublicKey(key)
				if err != nil {
					t.Fatal(err)
				}
				trusted := string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}))
				r, err := packet.Verify(t.Context(), bytes.NewReader(built.Bytes()), int64(built.Len()), packet.Trust{Keys: []string{vkey, trusted}}, packet.VerifyOptions{})
				if err != nil {
					return err
				}
				return r.Err()
			}
			if err := verify(tc.key.Public()); err != nil {
				t.Errorf("with its public key: %v", err)
			}
			if err := verify(p256(t).Public()); err == nil {
				t.Error("verifies with the key of another")
			}
			for _, h := range s.heads {
				if h.Get("X-Goog-User-Project") != "p-2" {
					t.Errorf("asked for project %q", h.Get("X-Goog-User-Project"))
				}
			}
			if len(s.asked) != 1 || len(s.asked[0]) != 2 || s.asked[0][tc.leaves] == nil || s.asked[0][tc.leaves+"Crc32c"] == nil {
				t.Errorf("asked %v, want %s and its checksum alone", s.asked, tc.leaves)
			}
		})
	}
}

func TestAWrongAnswerIsNoSignature(t *testing.T) {
	set := func(where, field string, value any) func(string, map[string]any) {
		return func(path string, answer map[string]any) {
			if strings.HasSuffix(path, where) {
				if answer[field] == nil {
					panic(field + " is not in the answer")
				}
				answer[field] = value
			}
		}
	}
	const public, sign = "/publicKey", ":asymmetricSign"
	other := strings.TrimSuffix(keyName, "1") + "2"
	resigned := func(signature func(whole []byte) []byte) func(string, map[string]any) {
		return func(path string, answer map[string]any) {
			if strings.HasSuffix(path, sign) {
				whole, err := base64.StdEncoding.DecodeString(answer["signature"].(string))
				if err != nil {
					panic(err)
				}
				changed := signature(whole)
				answer["signature"], answer["signatureCrc32c"] = base64.StdEncoding.EncodeToString(changed), castagnoli(changed)
			}
		}
	}
	cut := func(path string, answer map[string]any) {
		if strings.HasSuffix(path, sign) {
			whole, err := base64.StdEncoding.DecodeString(answer["signature"].(string))
			if err != nil {
				panic(err)
			}
			answer["signature"] = base64.StdEncoding.EncodeToString(whole[:len(whole)-1])
		}
	}
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	stranger := p256(t)
	for _, tc := range []struct {
		name string
		s    *service
		want string
	}{
		{"a public key with a wrong checksum", &service{spoil: set(public, "pemCrc32c", "1")}, "GetPublicKey: pemCrc32c is 1, and what arrived has"},
		{"a public key with no checksum", &service{spoil: set(public, "pemCrc32c", nil)}, "GetPublicKey: the answer has no pemCrc32c"},
		{"a checksum that is no number", &service{spoil: set(public, "pemCrc32c", "x")}, "GetPublicKey: the answer is not as documented"},
		{"the public key of another version", &service{spoil: set(public, "name", other)}, "GetPublicKey: the answer is for \"" + other},
		{"a public key of nobody", &service{spoil: set(public, "name", nil)}, `GetPublicKey: the answer is for ""`},
		{"a public key cut short", &service{spoil: set(public, "pem", "-----BEGIN PUBLIC KEY-----")}, "GetPublicKey: pemCrc32c is"},
		{"an RSA key", &service{key: rsaKey, algorithm: "RSA_SIGN_PSS_2048_SHA256"}, `its algorithm is "RSA_SIGN_PSS_2048_SHA256", packets need EC_SIGN_P256_SHA256 or EC_SIGN_ED25519`},
		{"a key that says it is another", &service{key: edwards(t), algorithm: "EC_SIGN_P256_SHA256"}, "the public key (ed25519.PublicKey) is not one for EC_SIGN_P256_SHA256"},
		{"the other way round", &service{algorithm: "EC_SIGN_ED25519"}, "the public key (*ecdsa.PublicKey) is not one for EC_SIGN_ED25519"},
		{"an RSA key that says it is ours", &service{key: rsaKey}, "a public key of type *rsa.PublicKey"},
		{"a ledger's key for a PEM", &service{spoil: func(path string, answer map[string]any) {
			if strings.HasSuffix(path, public) {
				_, vkey, err := ledger.GenerateKey("x")
				if err != nil {
					panic(err)
				}
				answer["pem"], answer["pemCrc32c"], answer["algorithm"] = vkey, castagnoli([]byte(vkey)), "EC_SIGN_ED25519"
			}
		}}, "is not one for EC_SIGN_ED25519"},
		{"a signature with a wrong checksum", &service{spoil: set(sign, "signatureCrc32c", "1")}, "AsymmetricSign: signatureCrc32c is 1, and what arrived has"},
		{"a signature with no checksum", &service{spoil: set(sign, "signatureCrc32c", nil)}, "AsymmetricSign: the answer has no signatureCrc32c"},
		{"a digest that was not checked", &service{spoil: set(sign, "verifiedDigestCrc32c", false)}, "AsymmetricSign: the answer has no verifiedDigestCrc32c"},
		{"data that was not checked", &service{key: edwards(t), algorithm: "EC_SIGN_ED25519", spoil: set(sign, "verifiedDataCrc32c", false)}, "AsymmetricSign: the answer has no verifiedDataCrc32c"},
		{"signed with another version", &service{spoil: set(sign, "name", other)}, "AsymmetricSign: the answer is for \"" + other},
		{"a signature cut on its way", &service{spoil: cut}, "AsymmetricSign: signatureCrc32c is"},
		{"a signature cut before its checksum", &service{spoil: resigned(func(s []byte) []byte { return s[:len(s)-1] })}, "the signature is not of its public key"},
		{"no signature", &service{spoil: resigned(func([]byte) []byte { return nil })}, "the signature is not of its public key"},
		{"signed with the key of another", &service{spoil: resigned(func([]byte) []byte {
			sum := sha256.Sum256([]byte("message"))
			signature, err := ecdsa.SignASN1(rand.Reader, stranger, sum[:])
			if err != nil {
				panic(err)
			}
			return signature
		})}, "the signature is not of its public key"},
		{"a signature that is not base64", &service{spoil: set(sign, "signature", "%%%")}, "AsymmetricSign: the answer is not as documented"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if tc.s.key == nil {
				tc.s.key = p256(t)
			}
			if tc.s.algorithm == "" {
				tc.s.algorithm = "EC_SIGN_P256_SHA256"
			}
			err := signAt(t.Context(), gcp.NewTestClient(serve(t, tc.s), nil, 5*time.Second, noWait))
			if err == nil || !strings.Contains(err.Error(), tc.want) || !strings.Contains(err.Error(), keyName) {
				t.Errorf("got %v, want %q in it, and the key", err, tc.want)
			}
		})
	}
}

func signAt(ctx context.Context, client *gcp.Client) error {
	signer, err := gcp.NewPacketSigner(ctx, client, keyName)
	if err != nil {
		return err
	}
	_, err = signer.Sign(ctx, []byte("message"))
	return err
}

func TestARefusalSaysWhatIsMissing(t *testing.T) {
	always := func(code int, status, message string) func(http.ResponseWriter, *http.Request) bool {
		return func(w http.ResponseWriter, _ *http.Request) bool {
			refuse(w, code, status, message)
			return true
		}
	}
	signing := func(then func(http.ResponseWriter, *http.Request) bool) func(http.ResponseWriter, *http.Request) bool {
		return func(w http.ResponseWriter, r *http.Request) bool {
			return strings.HasSuffix(r.URL.Path, ":asymmetricSign") && then(w, r)
		}
	}
	later := func(after string) func(http.ResponseWriter, *http.Request) bool {
		return func(w http.ResponseWriter, _ *http.Request) bool {
			w.Header().Set("Retry-After", after)
			refuse(w, http.StatusTooManyRequests, "RESOURCE_EXHAUSTED", "Quota exceeded.")
			return true
		}
	}
	for _, tc := range []struct {
		name    string
		instead func(http.ResponseWriter, *http.Request) bool
		calls   int
		want    []string
	}{
		{"may not see the key", always(403, "PERMISSION_DENIED", "Permission denied on resource."), 1, []string{"GetPublicKey: 403 PERMISSION_DENIED", "Permission denied on resource.", "cloudkms.cryptoKeyVersions.viewPublicKey"}},
		{"may not sign", signing(always(403, "PERMISSION_DENIED", "Permission denied.")), 2, []string{"AsymmetricSign: 403 PERMISSION_DENIED", "cloudkms.cryptoKeyVersions.useToSign"}},
		{"a token that is not accepted", always(401, "UNAUTHENTICATED", "Expired."), 1, []string{"GetPublicKey: 401 UNAUTHENTICATED", "credentials are not accepted"}},
		{"no such version", always(404, "NOT_FOUND", "gone"), 1, []string{"404 NOT_FOUND", "no such key version"}},
		{"a version that is disabled", signing(always(400, "FAILED_PRECONDITION", "is not enabled, current state is: DISABLED.")), 2, []string{"AsymmetricSign: 400 FAILED_PRECONDITION", "DISABLED"}},
		{"too many, for a moment", signing(later("2")), 4, []string{"AsymmetricSign: 429 RESOURCE_EXHAUSTED", "Quota exceeded.", "it asks to wait 2s"}},
		{"too many, for long", signing(later("3600")), 2, []string{"AsymmetricSign: 429", "it asks to wait 1h0m0s"}},
		{"a Retry-After that lies", signing(later("99999999999999999999")), 4, []string{"AsymmetricSign: 429"}},
		{"a Retry-After beyond what a duration holds", signing(later("9999999999")), 2, []string{"AsymmetricSign: 429", "it asks to wait 24h0m0s"}},
		{"away", signing(always(503, "UNAVAILABLE", "try later")), 4, []string{"AsymmetricSign: 503 UNAVAILABLE", "try later"}},
		{"broken", always(500, "INTERNAL", "oops"), 3, []string{"GetPublicKey: 500 INTERNAL"}},
		{"the page of a proxy", func(w http.ResponseWriter, _ *http.Request) bool {
			http.Error(w, "<html>\x1b[31m"+strings.Repeat("no ", 1<<20), http.StatusBadGateway)
			return true
		}, 3, []string{"GetPublicKey: 502 Bad Gateway", `"<html>\x1b[31mno no`}},
		{"a status that is a lie", always(500, "\x1b[31mFINE\n", ""), 3, []string{"GetPublicKey: 500 Internal Server Error"}},
		{"an endless answer", func(w http.ResponseWriter, _ *http.Request) bool {
			_, _ = w.Write(bytes.Repeat([]byte(" "), 1<<20))
			return true
		}, 1, []string{"GetPublicKey: the answer is longer than 65536 bytes"}},
		{"half an answer", func(w http.ResponseWriter, _ *http.Request) bool {
			w.Header().Set("Content-Length", "100")
			_, _ = io.WriteString(w, `{"name":`)
			return true
		}, 1, []string{"GetPublicKey: read the answer", "unexpected EOF"}},
		{"no JSON", func(w http.ResponseWriter, _ *http.Request) bool {
			_, _ = io.WriteString(w, "fine")
			return true
		}, 1, []string{"GetPublicKey: the answer is not as documented"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s := &service{key: p256(t), algorithm: "EC_SIGN_P256_SHA256", instead: tc.instead}
			err := signAt(t.Context(), gcp.NewTestClient(serve(t, s), nil, 5*time.Second, noWait))
			if err == nil {
				t.Fatal("signed")
			}
			for _, want := range append(tc.want, keyName) {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("%q is not in: %v", want, err)
				}
			}
			if strings.ContainsAny(err.Error(), "\x1b\n") || len(err.Error()) > 2000 {
				t.Errorf("an error of %d bytes: %q", len(err.Error()), err)
			}
			if s.calls != tc.calls {
				t.Errorf("%d calls, want %d", s.calls, tc.calls)
			}
		})
	}
}

func TestWhatFailsForAMomentIsTriedAgain(t *testing.T) {
	s := &service{key: p256(t), algorithm: "EC_SIGN_P256_SHA256"}
	s.instead = func(w http.ResponseWriter, _ *http.Request) bool {
		if s.calls > 1 {
			return false
		}
		w.Header().Set("Retry-After", "2")
		refuse(w, http.StatusServiceUnavailable, "UNAVAILABLE", "")
		return true
	}
	var waited []time.Duration
	client := gcp.NewTestClient(serve(t, s), nil, 5*time.Second, func(_ context.Context, d time.Duration) error {
		waited = append(waited, d)
		return nil
	})
	if err := signAt(t.Context(), client); err != nil {
		t.Error(err)
	}
	if len(waited) != 1 || waited[0] != 2*time.Second {
		t.Errorf("waited %v, want the 2s that were asked for", waited)
	}
}

func TestNobodyWaitsForEver(t *testing.T) {
	s := &service{key: p256(t), algorithm: "EC_SIGN_P256_SHA256"}
	url := serve(t, s)
	signer, err := gcp.NewPacketSigner(t.Context(), gcp.NewTestClient(url, nil, 200*time.Millisecond, noWait), keyName)
	if err != nil {
		t.Fatal(err)
	}
	hang := make(chan struct{})
	t.Cleanup(func() { close(hang) }) // before the server closes: cleanups run backwards
	s.instead = func(http.ResponseWriter, *http.Request) bool { <-hang; return true }
	if _, err := signer.Sign(t.Context(), []byte("message")); err == nil || !strings.Contains(err.Error(), "AsymmetricSign: no answer within 200ms") {
		t.Errorf("a service that hangs: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	time.AfterFunc(50*time.Millisecond, cancel)
	patient := gcp.NewTestClient(url, nil, time.Minute, noWait)
	if _, err := gcp.NewPacketSigner(ctx, patient, keyName); err == nil || !strings.Contains(err.Error(), "context canceled") {
		t.Errorf("a caller who goes away: %v", err)
	}
}

func TestATokenGoesToOneHost(t *testing.T) {
	var stolen int
	thief := serve(t, http.HandlerFunc(func(http.ResponseWriter, *http.Request) { stolen++ }))
	s := &service{key: p256(t), algorithm: "EC_SIGN_P256_SHA256", instead: func(w http.ResponseWriter, r *http.Request) bool {
		http.Redirect(w, r, thief, http.StatusTemporaryRedirect)
		return true
	}}
	url := serve(t, s)
	credentialsAt(t, url, "")
	client, err := gcp.NewClient(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	if err := signAt(t.Context(), client); err == nil || !strings.Contains(err.Error(), "GetPublicKey: 307 Temporary Redirect") || stolen != 0 {
		t.Errorf("%v, followed %d times", err, stolen)
	}
	if _, err := gcp.NewClient(t.Context(), "http://kms.example"); err == nil || !strings.Contains(err.Error(), "plain http") {
		t.Errorf("over plain http: %v", err)
	}
}

func TestCredentialsThatDoNotWork(t *testing.T) {
	s := &service{key: p256(t), algorithm: "EC_SIGN_P256_SHA256"}
	url := serve(t, s)
	credentialsAt(t, url+"/nowhere", "")
	client, err := gcp.NewClient(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	if err := signAt(t.Context(), client); err == nil || !strings.Contains(err.Error(), `GetPublicKey: get a Google access token: 401 Unauthorized: "{`) || strings.Contains(err.Error(), "\n") {
		t.Errorf("no token: %v", err)
	}
	t.Setenv("GOOGLE_APPLICATION_CREDENTIALS", filepath.Join(t.TempDir(), "missing.json"))
	if _, err := gcp.NewClient(t.Context(), url); err == nil || !strings.Contains(err.Error(), "missing.json") {
		t.Errorf("no file: %v", err)
	}
}

func TestKeysAndEndpointsAreChecked(t *testing.T) {
	for name, good := range map[string]bool{
		keyName: true,
		"projects/example.com:p/locations/global/keyRings/r_1/cryptoKeys/K-2/cryptoKeyVersions/12": true,
		strings.TrimSuffix(keyName, "/cryptoKeyVersions/1"):                                        false,
		keyName + "/publicKey": false,
		keyName + "\n":         false,
		keyName + "?x=y":       false,
		"projects/../locations/l/keyRings/r/cryptoKeys/k/cryptoKeyVersions/1":  false,
		"projects/p/locations/l/keyRings/../cryptoKeys/k/cryptoKeyVersions/1":  false,
		"projects/p/locations/l/keyRings/r/cryptoKeys/k/cryptoKeyVersions/0":   false,
		"projects/p/locations/l/keyRings/r/cryptoKeys/k/cryptoKeyVersions/one": false,
		"": false,
	} {
		if err := gcp.CheckKey(name); (err == nil) != good {
			t.Errorf("%q: %v", name, err)
		}
		if good {
			continue
		}
		if _, err := gcp.NewPacketSigner(t.Context(), nil, name); err == nil {
			t.Errorf("%q was asked for", name)
		}
	}
	for address, good := range map[string]bool{
		"https://cloudkms.googleapis.com": true, "https://cloudkms-x.p.googleapis.com/": true, "http://127.0.0.1:8080": true, "http://[::1]:1": true, "http://localhost:1": true,
		"http://cloudkms.googleapis.com": false, "http://localhost.example": false, "cloudkms.googleapis.com": false, "ftp://localhost": false, "https://u:p@x": false, "https://x?y": false, "https://": false, "": false,
	} {
		if err := gcp.CheckEndpoint(address); (err == nil) != good {
			t.Errorf("%q: %v", address, err)
		}
	}
}

type answering func(*http.Request) *http.Response

func (a answering) RoundTrip(r *http.Request) (*http.Response, error) { return a(r), nil }

// FuzzAnswers: whatever is answered, nothing panics, and what is taken for a
// signature is one of the key that was named.
func FuzzAnswers(f *testing.F) {
	s := &service{key: p256(f), algorithm: "EC_SIGN_P256_SHA256"}
	record := func(method, path, body string) string {
		r := httptest.NewRequest(method, "/v1/"+keyName+path, strings.NewReader(body))
		r.Header.Set("Authorization", "Bearer token")
		r.Header.Set("Content-Type", "application/json")
		w := httptest.NewRecorder()
		s.ServeHTTP(w, r)
		return w.Body.String()
	}
	sum := sha256.Sum256([]byte("message"))
	public := record("GET", "/publicKey", "")
	signed := record("POST", ":asymmetricSign", `{"digest":{"sha256":"`+base64.StdEncoding.EncodeToString(sum[:])+`"},"digestCrc32c":"`+castagnoli(sum[:])+`"}`)
	f.Add(200, public, 200, signed)
	f.Add(200, public, 429, `{"error":{"status":"RESOURCE_EXHAUSTED"}}`)
	f.Add(200, public, 200, `{"name":"`+keyName+`","signatureCrc32c":"0","verifiedDigestCrc32c":true}`)
	f.Add(500, "<html>", 0, "")
	f.Fuzz(func(t *testing.T, publicStatus int, public string, signStatus int, signed string) {
		client := gcp.NewTestClient("http://localhost", answering(func(r *http.Request) *http.Response {
			status, body := publicStatus, public
			if r.Method == http.MethodPost {
				status, body = signStatus, signed
			}
			return &http.Response{StatusCode: status, Body: io.NopCloser(strings.NewReader(body)), Request: r}
		}), time.Second, noWait)
		signer, err := gcp.NewPacketSigner(t.Context(), client, keyName)
		if err != nil {
			return
		}
		signature, err := signer.Sign(t.Context(), []byte("message"))
		if err != nil {
			return
		}
		switch k := signer.Public().(type) {
		case *ecdsa.PublicKey:
			if k.Curve != elliptic.P256() || !ecdsa.VerifyASN1(k, sum[:], signature) {
				t.Error("not a signature")
			}
		case ed25519.PublicKey:
			if !ed25519.Verify(k, []byte("message"), signature) {
				t.Error("not a signature")
			}
		default:
			t.Errorf("a public key of type %T", k)
		}
	})
}
