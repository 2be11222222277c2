package cloud

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"maps"
	"math/big"
	"slices"
	"time"
)

// Keys that sign: their private halves follow from their ids, so that every start has
// the same ones, and are nowhere else.
const (
	specEd25519 = "ECC_NIST_EDWARDS25519"
	specP256    = "ECC_NIST_P256"
)

// signingAlgorithm that a key of a spec is asked for here; real ones have others too.
var signingAlgorithm = map[string]string{specEd25519: "ED25519_SHA_512", specP256: "ECDSA_SHA_256"}

// LedgerKey is the ARN of the key that may sign the product's ledger, PacketKey of the
// one that may sign its packets. Both are in the tool account, us-east-1.
func LedgerKey() string { return toolKeyARN("ledger") }

// PacketKey: see LedgerKey.
func PacketKey() string { return toolKeyARN("packets") }

// DataKey is the ARN of a key that encrypts buckets, there too.
func DataKey() string { return toolKeyARN("data") }

func toolKeyARN(what string) string {
	return "arn:aws:kms:us-east-1:" + ToolAccount + ":key/" + keyID(ToolAccount, "us-east-1/"+what)
}

func seedToolKeys(w *Seed, created time.Time) {
	for what, spec := range map[string]string{"ledger": specEd25519, "packets": specP256, "data": ""} {
		id := keyID(ToolAccount, "us-east-1/"+what)
		w.Accounts[ToolAccount].Regions["us-east-1"].Keys[id] = &KMSKey{
			ID: id, Description: "for " + what, Enabled: true, Created: created, Spec: spec, Tags: map[string]string{"auditcanary": what},
		}
	}
}

func (key *KMSKey) ed25519() ed25519.PrivateKey {
	seed := sha256.Sum256([]byte("ed25519 " + key.ID))
	return ed25519.NewKeyFromSeed(seed[:])
}

func (key *KMSKey) p256() (*ecdsa.PrivateKey, error) {
	seed := sha256.Sum256([]byte("p256 " + key.ID))
	d := new(big.Int).SetBytes(seed[:])
	d.Mod(d, new(big.Int).Sub(elliptic.P256().Params().N, big.NewInt(1))).Add(d, big.NewInt(1))
	return ecdsa.ParseRawPrivateKey(elliptic.P256(), d.FillBytes(make([]byte, 32)))
}

// signer finds the key of a call that is about signing, and refuses as KMS does.
func (k *call) signer() (string, *KMSKey, error) {
	arn, key, err := k.knownKey()
	switch {
	case err != nil:
		return "", nil, err
	case k.deletion(key) != nil:
		return "", nil, pendingDeletion(arn)
	case !key.Enabled:
		return "", nil, fail(400, "DisabledException", "%s is disabled.", arn)
	case key.Spec == "":
		return "", nil, fail(400, "InvalidKeyUsageException", "%s key usage is ENCRYPT_DECRYPT which is not valid for this operation.", arn)
	}
	return arn, key, nil
}

func getPublicKey(k *call) (reply, error) {
	arn, key, err := k.signer()
	if err != nil {
		return reply{}, err
	}
	var public any = key.ed25519().Public()
	if key.Spec == specP256 {
		private, err := key.p256()
		if err != nil {
			return reply{}, err
		}
		public = &private.PublicKey
	}
	der, err := x509.MarshalPKIXPublicKey(public)
	if err != nil {
		return reply{}, err
	}
	return reply{resources: k.keyResource(arn), body: map[string]any{
		"KeyId": arn, "PublicKey": base64.StdEncoding.EncodeToString(der), "KeySpec": key.Spec, "CustomerMasterKeySpec": key.Spec,
		"KeyUsage": "SIGN_VERIFY", "SigningAlgorithms": []string{signingAlgorithm[key.Spec]},
	}}, nil
}

// signMessage: what a message may be as the API reference has it: RAW up to 4,096
// bytes, and for ED25519_SHA_512 nothing else; DIGEST as long as the algorithm's hash.
func signMessage(k *call) (reply, error) {
	arn, key, err := k.signer()
	if err != nil {
		return reply{}, err
	}
	algorithm := k.str("SigningAlgorithm")
	if algorithm != signingAlgorithm[key.Spec] {
		return reply{}, fail(400, "InvalidKeyUsageException", "Algorithm %s and key spec %s are incompatible.", algorithm, key.Spec)
	}
	message, err := base64.StdEncoding.DecodeString(k.str("Message"))
	if err != nil || len(message) == 0 || len(message) > 4096 {
		return reply{}, fail(400, "ValidationException", "1 validation error detected: Value at 'message' failed to satisfy constraint: Member must have length less than or equal to 4096")
	}
	kind := k.str("MessageType")
	if kind == "" {
		kind = "RAW"
	}
	var signature []byte
	switch {
	case key.Spec == specEd25519 && kind == "RAW":
		signature = ed25519.Sign(key.ed25519(), message)
	case key.Spec == specP256 && kind == "RAW":
		sum := sha256.Sum256(message)
		message = sum[:]
		fallthrough
	case key.Spec == specP256 && kind == "DIGEST" && len(message) == sha256.Size:
		private, err := key.p256()
		if err != nil {
			return reply{}, err
		}
		if signature, err = ecdsa.SignASN1(rand.Reader, private, message); err != nil {
			return reply{}, err
		}
	default:
		return reply{}, fail(400, "ValidationException", "MessageType %s of %d bytes is not valid for algorithm %s.", kind, len(message), algorithm)
	}
	return reply{resources: k.keyResource(arn), body: map[string]any{
		"KeyId": arn, "Signature": base64.StdEncoding.EncodeToString(signature), "SigningAlgorithm": algorithm,
	}}, nil
}

// signParams: the record names the key and how, never the message (KMS developer guide,
// "Logging AWS KMS API calls": plaintext is not logged; of Sign this is inferred).
func signParams(k *call) any {
	shown := lowerNames(k.Params)
	recorded, _ := shown.(map[string]any)
	recorded = maps.Clone(recorded)
	maps.DeleteFunc(recorded, func(name string, _ any) bool {
		return !slices.Contains([]string{"keyId", "messageType", "signingAlgorithm"}, name)
	})
	return recorded
}
