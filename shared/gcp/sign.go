package gcp

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash/crc32"

	"github.com/auditcanary/auditcanary/shared/packet"
)

// The algorithms of Cloud KMS that packets can be signed with.
const (
	ecdsaP256   = "EC_SIGN_P256_SHA256"
	pureEd25519 = "EC_SIGN_ED25519"
)

// PacketSigner signs packets with a key that never leaves Cloud KMS.
type PacketSigner struct {
	client *Client
	key    string
	public crypto.PublicKey // *ecdsa.PublicKey of P-256, or ed25519.PublicKey
}

var _ packet.Signer = (*PacketSigner)(nil)

// NewPacketSigner asks for the public key, which every packet carries. key is the
// name of a key version.
func NewPacketSigner(ctx context.Context, client *Client, key string) (*PacketSigner, error) {
	if err := CheckKey(key); err != nil {
		return nil, fmt.Errorf("signing key: %w", err)
	}
	public, err := publicKey(ctx, client, key)
	if err != nil {
		return nil, fmt.Errorf("signing key %s: %w", key, err)
	}
	return &PacketSigner{client, key, public}, nil
}

func publicKey(ctx context.Context, client *Client, key string) (crypto.PublicKey, error) {
	var out struct {
		Name      string
		PEM       string
		PEMCRC    *int64 `json:"pemCrc32c,string"`
		Algorithm string
	}
	if err := client.call(ctx, getPublicKey, key, nil, &out); err != nil {
		return nil, err
	}
	if err := checkName(getPublicKey, out.Name, key); err != nil {
		return nil, err
	}
	if err := checkCRC(getPublicKey, "pemCrc32c", out.PEMCRC, []byte(out.PEM)); err != nil {
		return nil, err
	}
	if out.Algorithm != ecdsaP256 && out.Algorithm != pureEd25519 {
		return nil, fmt.Errorf("its algorithm is %.80q, packets need %s or %s", out.Algorithm, ecdsaP256, pureEd25519)
	}
	verifier, public, err := packet.ParsePublicKey(out.PEM)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", getPublicKey, err)
	}
	if _, isEd25519 := public.(ed25519.PublicKey); verifier != nil || isEd25519 != (out.Algorithm == pureEd25519) {
		return nil, fmt.Errorf("%s: the public key (%T) is not one for %s", getPublicKey, public, out.Algorithm)
	}
	return public, nil
}

// signRequest has either a digest or the data, with its checksum.
type signRequest struct {
	Digest    *digest `json:"digest,omitempty"`
	DigestCRC *int64  `json:"digestCrc32c,omitempty,string"`
	Data      []byte  `json:"data,omitempty"`
	DataCRC   *int64  `json:"dataCrc32c,omitempty,string"`
}

type digest struct {
	SHA256 []byte `json:"sha256"`
}

// Sign implements packet.Signer. Of a message for ECDSA only the digest leaves;
// Ed25519 needs all of it.
func (s *PacketSigner) Sign(ctx context.Context, message []byte) ([]byte, error) {
	signature, err := s.sign(ctx, message)
	if err != nil {
		return nil, fmt.Errorf("sign with key %s: %w", s.key, err)
	}
	return signature, nil
}

func (s *PacketSigner) sign(ctx context.Context, message []byte) ([]byte, error) {
	_, whole := s.public.(ed25519.PublicKey)
	sum := sha256.Sum256(message)
	var in signRequest
	if whole {
		in.Data, in.DataCRC = message, crc(message)
	} else {
		in.Digest, in.DigestCRC = &digest{sum[:]}, crc(sum[:])
	}
	var out struct {
		Name              string
		Signature         []byte
		SignatureCRC      *int64 `json:"signatureCrc32c,string"`
		VerifiedDigestCRC bool   `json:"verifiedDigestCrc32c"`
		VerifiedDataCRC   bool   `json:"verifiedDataCrc32c"`
	}
	if err := s.client.call(ctx, asymmetricSign, s.key, in, &out); err != nil {
		return nil, err
	}
	if err := checkName(asymmetricSign, out.Name, s.key); err != nil {
		return nil, err
	}
	if whole && !out.VerifiedDataCRC {
		return nil, fmt.Errorf("%s: the answer has no verifiedDataCrc32c: what was signed was not checked on arrival", asymmetricSign)
	}
	if !whole && !out.VerifiedDigestCRC {
		return nil, fmt.Errorf("%s: the answer has no verifiedDigestCrc32c: what was signed was not checked on arrival", asymmetricSign)
	}
	if err := checkCRC(asymmetricSign, "signatureCrc32c", out.SignatureCRC, out.Signature); err != nil {
		return nil, err
	}
	var good bool
	switch k := s.public.(type) {
	case ed25519.PublicKey:
		good = ed25519.Verify(k, message, out.Signature)
	case *ecdsa.PublicKey:
		good = ecdsa.VerifyASN1(k, sum[:], out.Signature)
	}
	if !good {
		return nil, errors.New("the signature is not of its public key")
	}
	return out.Signature, nil
}

// KeyID implements packet.Signer.
func (s *PacketSigner) KeyID() (string, error) { return packet.KeyID(s.public) }

// Public implements packet.Signer.
func (s *PacketSigner) Public() crypto.PublicKey { return s.public }

func crc(data []byte) *int64 {
	sum := int64(crc32.Checksum(data, crc32.MakeTable(crc32.Castagnoli)))
	return &sum
}

// checkCRC compares the checksum of an answer's field. One that is missing proves
// nothing, and a service that has checksums sends it.
func checkCRC(operation, field string, said *int64, data []byte) error {
	if said == nil {
		return fmt.Errorf("%s: the answer has no %s", operation, field)
	}
	if want := *crc(data); *said != want {
		return fmt.Errorf("%s: %s is %d, and what arrived has %d: it was changed or cut on its way", operation, field, *said, want)
	}
	return nil
}

func checkName(operation, said, key string) error {
	if said != key {
		return fmt.Errorf("%s: the answer is for %.300q, another key version or another spelling of it", operation, said)
	}
	return nil
}
