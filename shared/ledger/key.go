package ledger

import (
	"crypto/ed25519"
	"encoding/base64"
	"errors"
	"strings"

	"golang.org/x/mod/sumdb/note"
)

// VerifierKey derives the public key from a signing key of GenerateKey's form
// ("PRIVATE+KEY+<name>+<hash>+<base64 of algorithm 1 and the Ed25519 seed>").
// An error never quotes the key.
func VerifierKey(skey string) (vkey string, err error) {
	bad := errors.New("ledger: not an Ed25519 note signing key (PRIVATE+KEY+...)")
	rest, ok := strings.CutPrefix(skey, "PRIVATE+KEY+")
	parts := strings.SplitN(rest, "+", 3)
	if !ok || len(parts) != 3 {
		return "", bad
	}
	data, err := base64.StdEncoding.DecodeString(parts[2])
	if err != nil || len(data) != 1+ed25519.SeedSize || data[0] != 1 {
		return "", bad
	}
	pub, _ := ed25519.NewKeyFromSeed(data[1:]).Public().(ed25519.PublicKey)
	vkey, err = note.NewEd25519VerifierKey(parts[0], pub)
	if err != nil {
		return "", bad
	}
	return vkey, nil
}
