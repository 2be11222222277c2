package aws

import (
	"context"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/kms"
	"golang.org/x/mod/sumdb/note"

	"github.com/auditcanary/auditcanary/shared/ledger"
)

const ledgerKeyARN = "arn:aws:kms:us-east-1:222222222222:key/11112222-3333-4444-5555-666677778888"

// ed25519Service is KMS with one Ed25519 key.
type ed25519Service struct {
	mu      sync.Mutex // guards all below: a request may still be in hand when the next test goes on
	key     ed25519.PrivateKey
	public  any // what GetPublicKey tells
	usage   string
	fail    string // code of the error that Sign answers
	silence bool   // Sign never answers
	signed  int
}

func (k *ed25519Service) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	var in map[string]string
	if err := json.NewDecoder(r.Body).Decode(&in); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	if k.silent() {
		<-r.Context().Done()
		return
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	w.Header().Set("Content-Type", "application/x-amz-json-1.1")
	refuse := func(code string) {
		w.WriteHeader(http.StatusBadRequest)
		fmt.Fprintf(w, `{"__type":%q,"message":"no"}`, code)
	}
	switch r.Header.Get("X-Amz-Target") {
	case "TrentService.GetPublicKey":
		der, err := x509.MarshalPKIXPublicKey(k.public)
		if err != nil {
			panic(err)
		}
		_ = json.NewEncoder(w).Encode(map[string]any{"KeyId": in["KeyId"], "PublicKey": der, "KeySpec": "ECC_NIST_EDWARDS25519", "KeyUsage": k.usage})
	case "TrentService.Sign":
		message, err := base64.StdEncoding.DecodeString(in["Message"])
		switch {
		case k.fail != "":
			refuse(k.fail)
		case err != nil || len(message) > 4096 || in["MessageType"] != "RAW" || in["SigningAlgorithm"] != "ED25519_SHA_512" || in["KeyId"] != ledgerKeyARN:
			refuse("ValidationException")
		default:
			k.signed++
			_ = json.NewEncoder(w).Encode(map[string]any{"KeyId": in["KeyId"], "Signature": ed25519.Sign(k.key, message), "SigningAlgorithm": in["SigningAlgorithm"]})
		}
	default:
		refuse("UnknownOperationException")
	}
}

func (k *ed25519Service) silent() bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.silence
}

// change sets something between two requests.
func (k *ed25519Service) change(set func()) {
	k.mu.Lock()
	defer k.mu.Unlock()
	set()
}

func newEd25519Service(t *testing.T) (*ed25519Service, *kms.Client) {
	t.Helper()
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	s := &ed25519Service{key: private, public: public, usage: "SIGN_VERIFY"}
	return s, kms.NewFromConfig(clientsAt(t, s))
}

func TestALedgerIsSignedByAKeyService(t *testing.T) {
	service, client := newEd25519Service(t)
	vkey, err := LedgerVerifierKey(t.Context(), client, ledgerKeyARN, "ledger.example/prod")
	if err != nil {
		t.Fatal(err)
	}
	verifier, err := note.NewVerifier(vkey)
	if err != nil {
		t.Fatal(err)
	}
	signer, err := NewLedgerSigner(client, ledgerKeyARN, vkey)
	if err != nil || signer.Name() != verifier.Name() || signer.KeyHash() != verifier.KeyHash() {
		t.Fatalf("%+v, %v", signer, err)
	}
	store, err := ledger.NewDir(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	log, err := ledger.Open(t.Context(), store, "ledger.example/prod", signer, verifier)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := log.Append(t.Context(), []byte("a"), []byte("b")); err != nil {
		t.Fatal(err)
	}
	if service.signed != 2 { // the empty tree, and the one of two leaves
		t.Errorf("%d signatures", service.signed)
	}
	// Whoever verifies it asks nobody.
	if rep, err := ledger.Verify(t.Context(), store, verifier, "ledger.example/prod", nil); err != nil || rep.Size != 2 {
		t.Errorf("%+v, %v", rep, err)
	}

	// KMS fails: nothing is appended, the error says what to do, and later all goes on.
	for code, want := range map[string]string{
		"DisabledException": "enable the key", "KMSInvalidStateException": "cancel that", "AccessDeniedException": "allow this caller kms:Sign",
		"NotFoundException": "correct signing.kms_key", "ThrottlingException": "quota", "ExpiredTokenException": "renew them", "SomethingNewException": "SomethingNewException",
	} {
		service.change(func() { service.fail = code })
		_, err := log.Append(t.Context(), []byte("c"))
		if !errors.Is(err, ErrNotSigned) || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), ledgerKeyARN) {
			t.Errorf("%s: %v", code, err)
		}
	}
	service.change(func() { service.fail = "" })
	if cp, err := log.Checkpoint(t.Context()); err != nil || cp.Size != 2 {
		t.Errorf("after the failures: %+v, %v", cp, err)
	}
	if _, err := log.Append(t.Context(), []byte("c")); err != nil {
		t.Error(err)
	}

	// A silent KMS is waited for no longer than the caller waits.
	service.change(func() { service.silence = true })
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := log.AppendAt(ctx, 3, []byte("d")); !errors.Is(err, ErrNotSigned) || !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("silence: %v", err)
	}
	service.change(func() { service.silence = false })

	// Another key's signature is noticed before anybody relies on it.
	_, another, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	service.change(func() { service.key = another })
	if _, err := log.Append(t.Context(), []byte("e")); !errors.Is(err, ErrNotSigned) || !strings.Contains(err.Error(), "not of signing.verifier") {
		t.Errorf("another key: %v", err)
	}
	if _, err := signer.Sign(make([]byte, 4097)); !errors.Is(err, ErrNotSigned) || !strings.Contains(err.Error(), "4096") {
		t.Errorf("a long text: %v", err)
	}
}

func TestOnlyAnEd25519KeyOfKMSSignsALedger(t *testing.T) {
	service, client := newEd25519Service(t)
	other, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	mine := service.public
	for name, tc := range map[string]struct {
		public      any
		usage, name string
		want        string
	}{
		"an ECDSA key":              {&other.PublicKey, "SIGN_VERIFY", "l", "needs ECC_NIST_EDWARDS25519"},
		"a key for something else":  {mine, "KEY_AGREEMENT", "l", "needs ECC_NIST_EDWARDS25519"},
		"a name with a space in it": {mine, "SIGN_VERIFY", "l l", `name "l l"`},
	} {
		service.change(func() { service.public, service.usage = tc.public, tc.usage })
		if _, err := LedgerVerifierKey(t.Context(), client, ledgerKeyARN, tc.name); err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for _, vkey := range []string{"", "l", "l+00000000+", "l+00000000+AAAA", "+++"} {
		if _, err := NewLedgerSigner(client, ledgerKeyARN, vkey); err == nil {
			t.Errorf("%q is taken for a verifier key", vkey)
		}
	}
}
