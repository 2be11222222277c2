package cloud

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/base64"
	"math/big"
	"time"
)

// SigningKey is the ARN of the key with which packets may be signed: ECC_NIST_P256,
// SIGN_VERIFY, in the tool's account, us-east-1. Its private half follows from its id.
func SigningKey() string {
	return "arn:aws:kms:us-east-1:" + ToolAccount + ":key/" + signingKeyID()
}

// DataKey is that of a key that encrypts buckets, there too.
func DataKey() string {
	return "arn:aws:kms:us-east-1:" + ToolAccount + ":key/" + keyID(ToolAccount, "us-east-1/data")
}

func signingKeyID() string { return keyID(ToolAccount, "us-east-1/signing") }

func seedToolKeys(w *Seed, created time.Time) {
	keys := w.Accounts[ToolAccount].Regions["us-east-1"].Keys
	for id, what := range map[string]string{signingKeyID(): "signs packets", keyID(ToolAccount, "us-east-1/data"): "encrypts buckets"} {
		keys[id] = &KMSKey{ID: id, Description: what, Enabled: true, Created: created}
	}
}

func signingKey() *ecdsa.PrivateKey {
	curve := elliptic.P256()
	d, _ := new(big.Int).SetString(digest("signing", signingKeyID()), 16)
	d.Mod(d, new(big.Int).Sub(curve.Params().N, big.NewInt(1)))
	key, err := ecdsa.ParseRawPrivateKey(curve, d.Add(d, big.NewInt(1)).FillBytes(make([]byte, 32)))
	if err != nil {
		panic(err) // it is between 1 and N-1
	}
	return key
}

// signs finds the key, which must be one that signs.
func (k *call) signs() (string, error) {
	arn, key, err := k.knownKey()
	if err != nil {
		return "", err
	}
	if key.ID != signingKeyID() {
		return "", fail(400, "InvalidKeyUsageException", "%s key usage is ENCRYPT_DECRYPT which is not valid for Sign.", arn)
	}
	if !key.Enabled {
		return "", fail(400, "DisabledException", "%s is disabled.", arn)
	}
	return arn, nil
}

func getPublicKey(k *call) (reply, error) {
	arn, err := k.signs()
	if err != nil {
		return reply{}, err
	}
	der, err := x509.MarshalPKIXPublicKey(&signingKey().PublicKey)
	if err != nil {
		return reply{}, err
	}
	return reply{resources: k.keyResource(arn), body: map[string]any{
		"KeyId": arn, "PublicKey": der, "KeySpec": "ECC_NIST_P256", "CustomerMasterKeySpec": "ECC_NIST_P256", "KeyUsage": "SIGN_VERIFY", "SigningAlgorithms": []string{"ECDSA_SHA_256"},
	}}, nil
}

func sign(k *call) (reply, error) {
	arn, err := k.signs()
	if err != nil {
		return reply{}, err
	}
	sum, err := base64.StdEncoding.DecodeString(k.str("Message"))
	if err != nil || len(sum) != 32 || k.str("MessageType") != "DIGEST" || k.str("SigningAlgorithm") != "ECDSA_SHA_256" {
		return reply{}, fail(400, "ValidationException", "the sandbox signs digests of 32 bytes with ECDSA_SHA_256")
	}
	signature, err := ecdsa.SignASN1(rand.Reader, signingKey(), sum)
	if err != nil {
		return reply{}, err
	}
	return reply{resources: k.keyResource(arn), body: map[string]any{"KeyId": arn, "Signature": signature, "SigningAlgorithm": "ECDSA_SHA_256"}}, nil
}
