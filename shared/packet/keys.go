package packet

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"strings"

	"github.com/secure-systems-lab/go-securesystemslib/dsse"
	"golang.org/x/mod/sumdb/note"
)

// Signer signs packets. Sign gets the whole message (DSSE's pre-authentication
// encoding, below 4 KB) and hashes it itself where its algorithm asks for that.
type Signer interface {
	Sign(ctx context.Context, message []byte) ([]byte, error)
	// KeyID is KeyID(Public()).
	KeyID() (string, error)
	// Public is an ed25519.PublicKey or an *ecdsa.PublicKey of P-256, whose
	// signatures are ASN.1 over the SHA-256 of the message.
	Public() crypto.PublicKey
}

// NewSigner signs with a ledger's own signing key (PRIVATE+KEY+...), so that one
// key is all that a verifier must know. Equal packets have equal signatures.
func NewSigner(skey string) (Signer, error) {
	bad := errors.New("packet: not an Ed25519 note signing key (PRIVATE+KEY+...)") // never quotes the key
	if _, err := note.NewSigner(skey); err != nil {
		return nil, bad
	}
	parts := strings.SplitN(skey, "+", 5) // PRIVATE, KEY, name, hash, base64
	data, err := base64.StdEncoding.DecodeString(parts[len(parts)-1])
	if err != nil || len(parts) != 5 || len(data) != 1+ed25519.SeedSize {
		return nil, bad
	}
	return ed25519Signer{ed25519.NewKeyFromSeed(data[1:])}, nil
}

type ed25519Signer struct{ key ed25519.PrivateKey }

func (s ed25519Signer) Sign(_ context.Context, message []byte) ([]byte, error) {
	return ed25519.Sign(s.key, message), nil
}
func (s ed25519Signer) KeyID() (string, error)   { return KeyID(s.Public()) }
func (s ed25519Signer) Public() crypto.PublicKey { return s.key.Public() }

// KeyID names a public key: "sha256:" and the hex SHA-256 of its SPKI, which
// `openssl pkey -pubin -outform DER | sha256sum` gives too.
func KeyID(key crypto.PublicKey) (string, error) {
	der, err := x509.MarshalPKIXPublicKey(key)
	if err != nil {
		return "", fmt.Errorf("packet: name a public key: %w", err)
	}
	sum := sha256.Sum256(der)
	return "sha256:" + hex.EncodeToString(sum[:]), nil
}

// ParsePublicKey reads a key to trust: a ledger's verifier key
// ("name+hash+base64"), or a PEM public key that signs packets. verifier is nil
// for the latter.
func ParsePublicKey(text string) (verifier note.Verifier, key crypto.PublicKey, err error) {
	text = strings.TrimSpace(text)
	if !strings.HasPrefix(text, "-----BEGIN") {
		verifier, err := note.NewVerifier(text)
		if err != nil {
			return nil, nil, fmt.Errorf("%.80q is neither a verifier key of a ledger nor a PEM public key: %w", text, err)
		}
		key, err := ed25519Of(text)
		return verifier, key, err
	}
	block, rest := pem.Decode([]byte(text))
	if block == nil || block.Type != "PUBLIC KEY" || len(bytes.TrimSpace(rest)) > 0 {
		return nil, nil, errors.New("not one PEM public key (BEGIN PUBLIC KEY)")
	}
	key, err = x509.ParsePKIXPublicKey(block.Bytes)
	if err != nil {
		return nil, nil, fmt.Errorf("PEM public key: %w", err)
	}
	switch k := key.(type) {
	case ed25519.PublicKey:
		return nil, k, nil
	case *ecdsa.PublicKey:
		if k.Curve == elliptic.P256() {
			return nil, k, nil
		}
	}
	return nil, nil, fmt.Errorf("a public key of type %T: packets are signed with Ed25519 or ECDSA P-256", key)
}

// ed25519Of is the key within a verifier key that note has accepted.
func ed25519Of(vkey string) (ed25519.PublicKey, error) {
	parts := strings.SplitN(vkey, "+", 3)
	if len(parts) == 3 {
		if data, err := base64.StdEncoding.DecodeString(parts[2]); err == nil && len(data) == 1+ed25519.PublicKeySize && data[0] == 1 {
			return ed25519.PublicKey(data[1:]), nil
		}
	}
	return nil, fmt.Errorf("verifier key %.80q is not an Ed25519 key", vkey)
}

func encodePEM(key crypto.PublicKey) ([]byte, error) {
	der, err := x509.MarshalPKIXPublicKey(key)
	if err != nil {
		return nil, fmt.Errorf("packet: encode a public key: %w", err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}), nil
}

func checkSignature(key crypto.PublicKey, message, signature []byte) bool {
	switch k := key.(type) {
	case ed25519.PublicKey:
		return ed25519.Verify(k, message, signature)
	case *ecdsa.PublicKey:
		sum := sha256.Sum256(message)
		return ecdsa.VerifyASN1(k, sum[:], signature)
	}
	return false
}

// What the envelope holds: an in-toto statement about the manifest.
const (
	payloadType   = "application/vnd.in-toto+json"
	statementType = "https://in-toto.io/Statement/v1"
	// predicatePrefix and the format make the predicate's type.
	predicatePrefix = "https://github.com/auditcanary/auditcanary/packet/v"
)

// Statement is an in-toto statement whose one subject is the manifest.
type Statement struct {
	Type          string    `json:"_type"`
	Subject       []Subject `json:"subject"`
	PredicateType string    `json:"predicateType"`
	Predicate     Predicate `json:"predicate"`
}

// Subject of a statement.
type Subject struct {
	Name   string            `json:"name"`
	Digest map[string]string `json:"digest"`
}

// Predicate of a packet's statement.
type Predicate struct {
	Ledger Head `json:"ledger"`
	// Timestamped says that a timestamp of the envelope must be in the packet.
	Timestamped bool `json:"timestamped"`
}

// signManifest makes the envelope. It ends with a newline; equal contents have one
// spelling.
func signManifest(ctx context.Context, manifest []byte, p Predicate, signer Signer) ([]byte, error) {
	sum := sha256.Sum256(manifest)
	payload, err := json.Marshal(Statement{
		Type: statementType, PredicateType: fmt.Sprint(predicatePrefix, Format), Predicate: p,
		Subject: []Subject{{Name: manifestFile, Digest: map[string]string{"sha256": hex.EncodeToString(sum[:])}}},
	})
	if err != nil {
		return nil, err
	}
	es, err := dsse.NewEnvelopeSigner(signer)
	if err != nil {
		return nil, err
	}
	envelope, err := es.SignPayload(ctx, payloadType, payload)
	if err != nil {
		return nil, fmt.Errorf("sign the packet: %w", err)
	}
	signature, err := base64.StdEncoding.DecodeString(envelope.Signatures[0].Sig)
	if err != nil || !checkSignature(signer.Public(), dsse.PAE(payloadType, payload), signature) {
		return nil, errors.New("sign the packet: the signature is not of the signer's own public key")
	}
	return encodeEnvelope(envelope)
}

func encodeEnvelope(e *dsse.Envelope) ([]byte, error) {
	data, err := json.Marshal(e)
	return append(data, '\n'), err
}

// openedEnvelope is an envelope that has been read, and its signature not yet checked.
type openedEnvelope struct {
	statement Statement
	keyID     string
	message   []byte // what is signed
	signature []byte
}

// newerError says by which word something gave itself away as newer.
type newerError string

func (e newerError) Error() string { return string(e) }

func openEnvelope(data []byte) (openedEnvelope, error) {
	var e dsse.Envelope
	if err := strictJSON(data, &e); err != nil {
		return openedEnvelope{}, fmt.Errorf("not a DSSE envelope: %w", err)
	}
	// One spelling: no other bytes mean the same, and what is signed cannot be told
	// in two ways.
	if again, err := encodeEnvelope(&e); err != nil || !bytes.Equal(again, data) {
		return openedEnvelope{}, errors.New("the envelope is not spelled as it must be")
	}
	if e.PayloadType != payloadType || len(e.Signatures) != 1 {
		return openedEnvelope{}, fmt.Errorf("payload type %.80q with %d signatures, want %s with one", e.PayloadType, len(e.Signatures), payloadType)
	}
	payload, err := base64.StdEncoding.Strict().DecodeString(e.Payload)
	if err != nil {
		return openedEnvelope{}, fmt.Errorf("payload: %w", err)
	}
	signature, err := base64.StdEncoding.Strict().DecodeString(e.Signatures[0].Sig)
	if err != nil {
		return openedEnvelope{}, fmt.Errorf("signature: %w", err)
	}
	o := openedEnvelope{keyID: e.Signatures[0].KeyID, signature: signature, message: dsse.PAE(e.PayloadType, payload)}
	var kind struct{ Type, PredicateType string }
	if err := json.Unmarshal(payload, &kind); err != nil {
		return o, fmt.Errorf("the statement is not JSON: %w", err)
	}
	if v, ours := strings.CutPrefix(kind.PredicateType, predicatePrefix); ours && number(v) > Format {
		return o, newerError("the packet is of format " + v + fmt.Sprintf("; this program knows formats up to %d: use a newer one", Format))
	}
	if err := strictJSON(payload, &o.statement); err != nil {
		return o, fmt.Errorf("not a statement about a packet: %w", err)
	}
	s := o.statement
	if s.Type != statementType || s.PredicateType != fmt.Sprint(predicatePrefix, Format) || len(s.Subject) != 1 || s.Subject[0].Name != manifestFile {
		return o, fmt.Errorf("not a statement about a packet: type %.80q, predicate %.80q, %d subjects", s.Type, s.PredicateType, len(s.Subject))
	}
	return o, nil
}

// strictJSON decodes one value and refuses fields that are not known.
func strictJSON(data []byte, v any) error {
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.DisallowUnknownFields()
	if err := dec.Decode(v); err != nil {
		return err
	}
	if len(bytes.TrimSpace(data[dec.InputOffset():])) > 0 {
		return errors.New("something follows the value")
	}
	return nil
}
