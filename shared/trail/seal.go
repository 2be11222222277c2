package trail

import (
	"bytes"
	"crypto"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"time"
)

// Link is one digest as its signature pins it: enough to verify the signature
// without the digest's bytes.
type Link struct {
	Bucket    string    `json:"bucket"`
	Key       string    `json:"key"`
	VersionID string    `json:"version_id,omitempty"`
	Start     time.Time `json:"start"`
	End       time.Time `json:"end"`
	SHA256    string    `json:"sha256"` // of the uncompressed bytes, hex
	// PreviousSignature of the digest before it, hex; "" in a starting digest.
	PreviousSignature string `json:"previous_signature,omitempty"`
	Signature         string `json:"signature"` // hex
	Fingerprint       string `json:"fingerprint"`
}

// link is the digest with its signature, as it was read.
func (d Digest) link(versionID, signature string) Link {
	l := Link{
		Bucket: d.Bucket, Key: d.Key, VersionID: versionID, Start: d.Start, End: d.End,
		SHA256: d.SHA256, Signature: signature, Fingerprint: d.Fingerprint,
	}
	if d.Previous != nil {
		l.PreviousSignature = d.Previous.Signature
	}
	return l
}

// signed is what the signature is made over.
func (l Link) signed() []byte {
	previous := l.PreviousSignature
	if previous == "" {
		previous = "null"
	}
	return []byte(l.End.UTC().Format(digestTimeFormat) + "\n" + l.Bucket + "/" + l.Key + "\n" + l.SHA256 + "\n" + previous)
}

// Verify checks the signature: RSA PKCS #1 v1.5 with SHA-256, and nothing else.
func (l Link) Verify(key PublicKey) error {
	if key.Fingerprint != l.Fingerprint {
		return fmt.Errorf("verify digest %s: it is signed with key %q, not %q", l.Key, l.Fingerprint, key.Fingerprint)
	}
	public, err := key.rsa()
	if err != nil {
		return fmt.Errorf("verify digest %s: %w", l.Key, err)
	}
	signature, err := hex.DecodeString(l.Signature)
	if err != nil {
		return fmt.Errorf("verify digest %s: the signature is not hex: %w", l.Key, err)
	}
	hashed := sha256.Sum256(l.signed())
	if err := rsa.VerifyPKCS1v15(public, crypto.SHA256, hashed[:], signature); err != nil {
		return fmt.Errorf("verify digest %s: the signature does not match: %w", l.Key, err)
	}
	return nil
}

// same says that both are the same digest, whichever version of the object it was read from.
func (l Link) same(m Link) bool {
	return l.Bucket == m.Bucket && l.Key == m.Key && l.SHA256 == m.SHA256 && l.Signature == m.Signature
}

// Seal is the custody of one log file: the digest that lists it and the digests
// after that one, each signed over the signature before it. With the public keys
// it verifies offline for ever.
type Seal struct {
	LogKey    string `json:"log_key"`
	LogSHA256 string `json:"log_sha256"` // of its uncompressed bytes, hex
	Digest    Link   `json:"digest"`
	// DigestBytes, uncompressed, exactly.
	DigestBytes []byte `json:"digest_bytes"`
	// Path from the digest after it to the last one that the chain leads to
	// without a break: the head, unless the chain was started anew in between.
	Path []Link `json:"path,omitempty"`
}

// VerifySeal checks a seal with the keys given and nothing else: the bytes are
// those of the digest, it lists the log file with that hash, its signature and
// those of the path are the keys' own, and each link follows the one before it.
// That the keys are CloudTrail's is the caller's to know.
func VerifySeal(s Seal, keys []PublicKey) error {
	fail := func(err error) error { return fmt.Errorf("verify the seal of %s: %w", s.LogKey, err) }
	d, err := ParseDigest(s.DigestBytes)
	if err != nil {
		return fail(err)
	}
	if l := d.link("", s.Digest.Signature); !l.same(s.Digest) || l.PreviousSignature != s.Digest.PreviousSignature || l.Fingerprint != s.Digest.Fingerprint ||
		!l.Start.Equal(s.Digest.Start) || !l.End.Equal(s.Digest.End) {
		return fail(fmt.Errorf("the bytes are not those of digest %s", s.Digest.Key))
	}
	listed := false
	for _, l := range d.Logs {
		if l.Key != s.LogKey {
			continue
		}
		if l.SHA256 != s.LogSHA256 {
			return fail(fmt.Errorf("digest %s lists it with hash %s, not %s", d.Key, l.SHA256, s.LogSHA256))
		}
		listed = true
	}
	if !listed {
		return fail(fmt.Errorf("digest %s does not list it", d.Key))
	}
	last := s.Digest
	for i, l := range append([]Link{s.Digest}, s.Path...) {
		if i > 0 && l.PreviousSignature != last.Signature {
			return fail(fmt.Errorf("digest %s does not follow %s: it is not signed over its signature", l.Key, last.Key))
		}
		if err := l.verifyAny(keys); err != nil {
			return fail(err)
		}
		last = l
	}
	return nil
}

func (l Link) verifyAny(keys []PublicKey) error {
	var failed error
	for _, k := range keys {
		if k.Fingerprint != l.Fingerprint {
			continue
		}
		err := l.Verify(k)
		if err == nil {
			return nil
		}
		failed = errors.Join(failed, err)
	}
	if failed == nil {
		return fmt.Errorf("digest %s: no key with fingerprint %q", l.Key, l.Fingerprint)
	}
	return failed
}

// pending is a seal whose path still grows.
type pendingSeal struct {
	seal Seal
	from int // of the chain's path
}

func (p pendingSeal) finish(path []Link) Seal {
	s := p.seal
	s.DigestBytes = bytes.Clone(s.DigestBytes)
	s.Path = path[p.from:len(path):len(path)]
	return s
}
