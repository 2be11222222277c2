package aws

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	awssdk "github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"github.com/auditcanary/auditcanary/shared/packet"
)

// keyService is KMS with one key, which it really signs with.
type keyService struct {
	key    *ecdsa.PrivateKey
	signs  *ecdsa.PrivateKey // what it signs with, if it cheats
	public any
	usage  string
	asked  []map[string]string
}

func (k *keyService) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	var in map[string]string
	if err := json.NewDecoder(r.Body).Decode(&in); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	k.asked = append(k.asked, in)
	w.Header().Set("Content-Type", "application/x-amz-json-1.1")
	switch r.Header.Get("X-Amz-Target") {
	case "TrentService.GetPublicKey":
		der, err := x509.MarshalPKIXPublicKey(k.public)
		if err != nil {
			panic(err)
		}
		_ = json.NewEncoder(w).Encode(map[string]any{"KeyId": in["KeyId"], "PublicKey": der, "KeySpec": "ECC_NIST_P256", "KeyUsage": k.usage, "SigningAlgorithms": []string{"ECDSA_SHA_256"}})
	case "TrentService.Sign":
		digest, err := base64.StdEncoding.DecodeString(in["Message"])
		if err != nil || len(digest) != sha256.Size || in["MessageType"] != "DIGEST" || in["SigningAlgorithm"] != "ECDSA_SHA_256" {
			w.WriteHeader(http.StatusBadRequest)
			_, _ = io.WriteString(w, `{"__type":"ValidationException","message":"not a digest"}`)
			return
		}
		signature, err := ecdsa.SignASN1(rand.Reader, k.signs, digest)
		if err != nil {
			panic(err)
		}
		_ = json.NewEncoder(w).Encode(map[string]any{"KeyId": in["KeyId"], "Signature": signature, "SigningAlgorithm": "ECDSA_SHA_256"})
	default:
		http.Error(w, "no such operation", http.StatusBadRequest)
	}
}

func clientsAt(t *testing.T, h http.Handler) awssdk.Config {
	t.Helper()
	srv := httptest.NewServer(h)
	t.Cleanup(srv.Close)
	return awssdk.Config{Region: "us-east-1", BaseEndpoint: &srv.URL, Credentials: credentials.NewStaticCredentialsProvider("AKID", "secret", ""), RetryMaxAttempts: 1}
}

func TestPacketsAreSignedByAKeyService(t *testing.T) {
	const arn = "arn:aws:kms:us-east-1:222222222222:key/11112222-3333-4444-5555-666677778888"
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	service := &keyService{key: key, signs: key, public: &key.PublicKey, usage: "SIGN_VERIFY"}
	client := kms.NewFromConfig(clientsAt(t, service))
	signer, err := NewPacketSigner(t.Context(), client, arn)
	if err != nil {
		t.Fatal(err)
	}
	message := []byte(strings.Repeat("a message longer than what KMS takes ", 200))
	signature, err := signer.Sign(t.Context(), message)
	sum := sha256.Sum256(message)
	if err != nil || !ecdsa.VerifyASN1(&key.PublicKey, sum[:], signature) {
		t.Errorf("signed %x: %v", signature, err)
	}
	if id, err := signer.KeyID(); err != nil || !strings.HasPrefix(id, "sha256:") {
		t.Errorf("key id %q, %v", id, err)
	}
	if last := service.asked[len(service.asked)-1]; last["KeyId"] != arn || len(last["Message"]) > 100 {
		t.Errorf("asked %v: only the digest may leave", last)
	}
	var _ packet.Signer = signer

	other, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	service.signs = other
	if _, err := signer.Sign(t.Context(), message); err == nil || !strings.Contains(err.Error(), "not of its public key") {
		t.Errorf("signed by another key: %v", err)
	}
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	for name, spoil := range map[string]func(){
		"an RSA key":              func() { service.public = &rsaKey.PublicKey },
		"a key for key agreement": func() { service.public, service.usage = &key.PublicKey, "KEY_AGREEMENT" },
	} {
		spoil()
		if _, err := NewPacketSigner(t.Context(), client, arn); err == nil || !strings.Contains(err.Error(), "packets need ECC_NIST_P256") {
			t.Errorf("%s: %v", name, err)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := signer.Sign(ctx, message); err == nil {
		t.Error("signed although nobody waits")
	}
}

func TestEvidenceIsPutOnceAndLocked(t *testing.T) {
	var header http.Header
	status := http.StatusOK
	store := NewEvidenceStore(s3.NewFromConfig(clientsAt(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		header = r.Header.Clone()
		_, _ = io.Copy(io.Discard, r.Body)
		w.WriteHeader(status)
	})), func(o *s3.Options) { o.UsePathStyle = true }), "evidence", "packets/")
	until := time.Date(2027, 11, 22, 10, 0, 0, 0, time.UTC)
	existed, err := store.Put(t.Context(), "p.zip", strings.NewReader("x"), until)
	if err != nil || existed {
		t.Fatalf("put: %t, %v", existed, err)
	}
	for name, want := range map[string]string{"If-None-Match": "*", "X-Amz-Object-Lock-Mode": "COMPLIANCE", "X-Amz-Object-Lock-Retain-Until-Date": "2027-11-22T10:00:00Z"} {
		if got := header.Get(name); got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
	status = http.StatusPreconditionFailed
	if existed, err := store.Put(t.Context(), "p.zip", strings.NewReader("x"), until); err != nil || !existed {
		t.Errorf("put a second time: %t, %v", existed, err)
	}
	status = http.StatusForbidden
	if _, err := store.Put(t.Context(), "p.zip", strings.NewReader("x"), until); err == nil || !strings.Contains(err.Error(), "s3://evidence/packets/p.zip") {
		t.Errorf("put without the right to: %v", err)
	}
}

func TestEvidenceIsReadInParts(t *testing.T) {
	content := strings.Repeat("0123456789", 1000)
	gone := false
	store := NewEvidenceStore(s3.NewFromConfig(clientsAt(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if gone {
			w.WriteHeader(http.StatusNotFound)
			return
		}
		http.ServeContent(w, r, "", time.Time{}, strings.NewReader(content))
	})), func(o *s3.Options) { o.UsePathStyle = true }), "evidence", "packets/")
	r, size, err := store.Open(t.Context(), "p.zip")
	if err != nil || size != int64(len(content)) {
		t.Fatalf("%d bytes, %v", size, err)
	}
	for _, tc := range []struct {
		off  int64
		n    int
		want string
		err  error
	}{{0, 10, "0123456789", nil}, {9995, 5, "56789", nil}, {9995, 10, "56789", io.EOF}, {20000, 1, "", io.EOF}, {3, 0, "", nil}} {
		p := make([]byte, tc.n)
		n, err := r.ReadAt(p, tc.off)
		if string(p[:n]) != tc.want || err != tc.err {
			t.Errorf("%d bytes at %d: %q, %v", tc.n, tc.off, p[:n], err)
		}
	}
	gone = true
	if _, err := r.ReadAt(make([]byte, 1), 0); err == nil || !strings.Contains(err.Error(), "s3://evidence/packets/p.zip") {
		t.Errorf("gone: %v", err)
	}
	if _, _, err := store.Open(t.Context(), "p.zip"); err == nil {
		t.Error("opened what is gone")
	}
}
