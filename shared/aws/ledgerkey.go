package aws

import (
	"context"
	"crypto/ed25519"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
	"time"

	awssdk "github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	kmstypes "github.com/aws/aws-sdk-go-v2/service/kms/types"
	"golang.org/x/mod/sumdb/note"

	"github.com/auditcanary/auditcanary/shared/ledger"
)

// ErrNotSigned says that KMS did not sign a checkpoint: nothing was appended.
var ErrNotSigned = errors.New("the key in KMS did not sign the ledger's checkpoint, so that nothing further is done")

// signTimeout bounds one signature, attempts of the SDK among it. It is shorter than
// what one append may take, so that the error says that it was the key.
const signTimeout = 20 * time.Second

// maxRaw is the longest message that KMS signs as it is, in bytes.
const maxRaw = 4096

// LedgerSigner signs the checkpoints of a ledger with a key of AWS KMS
// (ECC_NIST_EDWARDS25519 for SIGN_VERIFY), which never leaves it. The signatures are
// those of any Ed25519 note key: whoever verifies them needs no KMS.
type LedgerSigner struct {
	client *kms.Client
	key    string
	name   string
	hash   uint32
	public ed25519.PublicKey
}

var _ ledger.ContextSigner = (*LedgerSigner)(nil)

// NewLedgerSigner returns the signer that the verifier key is of. key is an ARN. It
// calls nobody: what KMS signs with is held against the verifier key each time.
func NewLedgerSigner(client *kms.Client, key, verifier string) (*LedgerSigner, error) {
	v, err := note.NewVerifier(verifier)
	if err != nil {
		return nil, fmt.Errorf("verifier key: %w", err)
	}
	_, data, _ := strings.Cut(strings.TrimPrefix(verifier, v.Name()+"+"), "+")
	raw, err := base64.StdEncoding.DecodeString(data) // algorithm 1 and the key: NewVerifier takes no other
	if err != nil || len(raw) != 1+ed25519.PublicKeySize {
		return nil, errors.New("verifier key: it is not of an Ed25519 key")
	}
	return &LedgerSigner{client: client, key: key, name: v.Name(), hash: v.KeyHash(), public: raw[1:]}, nil
}

// LedgerVerifierKey asks KMS for the public key and returns the verifier key of a
// ledger whose checkpoints that key signs under a name.
func LedgerVerifierKey(ctx context.Context, client *kms.Client, key, name string) (string, error) {
	out, err := client.GetPublicKey(ctx, &kms.GetPublicKeyInput{KeyId: &key})
	if err != nil {
		return "", fmt.Errorf("key %s: GetPublicKey: %w%s", key, err, whatNext(err, keyAdvice("kms:GetPublicKey")))
	}
	parsed, err := x509.ParsePKIXPublicKey(out.PublicKey)
	if err != nil && out.KeySpec == kmstypes.KeySpecEccNistEdwards25519 {
		return "", fmt.Errorf("key %s: %w", key, err)
	}
	public, ok := parsed.(ed25519.PublicKey)
	if !ok || out.KeyUsage != kmstypes.KeyUsageTypeSignVerify {
		return "", fmt.Errorf("key %s: it is %s for %s, a ledger needs ECC_NIST_EDWARDS25519 for SIGN_VERIFY", key, out.KeySpec, out.KeyUsage)
	}
	vkey, err := note.NewEd25519VerifierKey(name, public)
	if err == nil {
		_, err = note.NewVerifier(vkey) // it does not look at the name
	}
	if err != nil {
		return "", fmt.Errorf("key %s: name %q: %w", key, name, err)
	}
	return vkey, nil
}

// Name implements note.Signer.
func (s *LedgerSigner) Name() string { return s.name }

// KeyHash implements note.Signer.
func (s *LedgerSigner) KeyHash() uint32 { return s.hash }

// Sign implements note.Signer, for callers that have no context.
func (s *LedgerSigner) Sign(msg []byte) ([]byte, error) {
	return s.SignContext(context.Background(), msg)
}

// SignContext implements ledger.ContextSigner. The error wraps ErrNotSigned and says
// what to do; to sign once more does no harm.
func (s *LedgerSigner) SignContext(ctx context.Context, msg []byte) ([]byte, error) {
	if len(msg) > maxRaw {
		return nil, fmt.Errorf("%w: key %s: a text of %d bytes: KMS takes %d; choose a shorter ledger.origin", ErrNotSigned, s.key, len(msg), maxRaw)
	}
	ctx, cancel := context.WithTimeoutCause(ctx, signTimeout, fmt.Errorf("no answer within %s", signTimeout))
	defer cancel()
	out, err := s.client.Sign(ctx, &kms.SignInput{
		KeyId: awssdk.String(s.key), Message: msg, MessageType: kmstypes.MessageTypeRaw, SigningAlgorithm: kmstypes.SigningAlgorithmSpecEd25519Sha512,
	})
	if err != nil {
		return nil, fmt.Errorf("%w: key %s: %w%s", ErrNotSigned, s.key, err, whatNext(err, keyAdvice("kms:Sign")))
	}
	if len(out.Signature) != ed25519.SignatureSize || !ed25519.Verify(s.public, msg, out.Signature) {
		return nil, fmt.Errorf("%w: key %s: the signature is not of signing.verifier: if the key was replaced, a new ledger begins under another origin (auditcanary ledger keygen --kms %s)", ErrNotSigned, s.key, s.key)
	}
	return out.Signature, nil
}

// keyAdvice says what to do where a key of KMS does not do what it is for.
func keyAdvice(action string) advice {
	return advice{
		"AccessDeniedException":       "allow this caller " + action + " on the key, in its own policy and in the key's (from another account both are needed)",
		"DisabledException":           "enable the key (aws kms enable-key), and find out who disabled it: its CloudTrail records say",
		"KMSInvalidStateException":    "if the key is about to be deleted, cancel that and enable it (aws kms cancel-key-deletion, enable-key), and find out who did it",
		"NotFoundException":           "correct signing.kms_key: there is no such key in its account and region",
		"InvalidKeyUsageException":    "the key must be ECC_NIST_EDWARDS25519 for SIGN_VERIFY",
		"ThrottlingException":         "KMS is asked too often: raise the quota of its cryptographic requests, or let fewer cells run at a time",
		"KeyUnavailableException":     "KMS cannot reach the key for now: run it again later",
		"KMSInternalException":        "KMS is in trouble for now: run it again later",
		"DependencyTimeoutException":  "KMS is in trouble for now: run it again later",
		"InternalServiceError":        "KMS is in trouble for now: run it again later",
		"ServiceUnavailableException": "KMS is in trouble for now: run it again later",
	}
}
