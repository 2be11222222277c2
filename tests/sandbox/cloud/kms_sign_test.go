package cloud_test

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/sha256"
	"crypto/x509"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	kmstypes "github.com/aws/aws-sdk-go-v2/service/kms/types"

	"github.com/auditcanary/auditcanary/tests/sandbox/cloud"
)

func TestKeysSign(t *testing.T) {
	b := start(t)
	ctx, root, runner := t.Context(), kms.NewFromConfig(b.root(cloud.ToolAccount, east)), kms.NewFromConfig(b.runner(east))
	ledger, packets := aws.String(cloud.LedgerKey()), aws.String(cloud.PacketKey())
	message := []byte("auditcanary.example/demo\n1\nroot\n")
	sum := sha256.Sum256(message)
	public := func(key *string) any {
		out, err := root.GetPublicKey(ctx, &kms.GetPublicKeyInput{KeyId: key})
		if err != nil || out.KeyUsage != kmstypes.KeyUsageTypeSignVerify {
			t.Fatalf("%s %v", pretty(out), err)
		}
		parsed, err := x509.ParsePKIXPublicKey(out.PublicKey)
		if err != nil {
			t.Fatal(err)
		}
		return parsed
	}
	out, err := runner.Sign(ctx, &kms.SignInput{KeyId: ledger, Message: message, MessageType: kmstypes.MessageTypeRaw, SigningAlgorithm: kmstypes.SigningAlgorithmSpecEd25519Sha512})
	if err != nil || !ed25519.Verify(public(ledger).(ed25519.PublicKey), message, out.Signature) {
		t.Fatalf("%s %v", pretty(out), err)
	}
	rec := b.last("Sign")
	if at(rec, "requestParameters", "keyId") != *ledger || at(rec, "requestParameters", "message") != nil || rec["readOnly"] != true || rec["responseElements"] != nil {
		t.Errorf("record %s", pretty(rec))
	}
	p256, err := root.Sign(ctx, &kms.SignInput{KeyId: packets, Message: sum[:], MessageType: kmstypes.MessageTypeDigest, SigningAlgorithm: kmstypes.SigningAlgorithmSpecEcdsaSha256})
	if err != nil || !ecdsa.VerifyASN1(public(packets).(*ecdsa.PublicKey), sum[:], p256.Signature) {
		t.Fatalf("%s %v", pretty(p256), err)
	}
	for want, in := range map[string]*kms.SignInput{
		"ValidationException":      {KeyId: ledger, Message: make([]byte, 4097), MessageType: kmstypes.MessageTypeRaw, SigningAlgorithm: kmstypes.SigningAlgorithmSpecEd25519Sha512},
		"ValidationException ":     {KeyId: ledger, Message: sum[:], MessageType: kmstypes.MessageTypeDigest, SigningAlgorithm: kmstypes.SigningAlgorithmSpecEd25519Sha512},
		"InvalidKeyUsageException": {KeyId: packets, Message: message, MessageType: kmstypes.MessageTypeRaw, SigningAlgorithm: kmstypes.SigningAlgorithmSpecEd25519Sha512},
		"NotFoundException":        {KeyId: aws.String(strings.Repeat("0", 36)), Message: message, MessageType: kmstypes.MessageTypeRaw, SigningAlgorithm: kmstypes.SigningAlgorithmSpecEd25519Sha512},
	} {
		_, err := root.Sign(ctx, in)
		wantCode(t, err, strings.TrimSpace(want))
	}
	// The runner signs the ledger, and nothing else.
	_, err = runner.Sign(ctx, &kms.SignInput{KeyId: packets, Message: sum[:], MessageType: kmstypes.MessageTypeDigest, SigningAlgorithm: kmstypes.SigningAlgorithmSpecEcdsaSha256})
	wantCode(t, err, "AccessDeniedException")
	// A disabled key does not.
	if _, err := root.DisableKey(ctx, &kms.DisableKeyInput{KeyId: ledger}); err != nil {
		t.Fatal(err)
	}
	_, err = runner.Sign(ctx, &kms.SignInput{KeyId: ledger, Message: message, MessageType: kmstypes.MessageTypeRaw, SigningAlgorithm: kmstypes.SigningAlgorithmSpecEd25519Sha512})
	wantCode(t, err, "DisabledException")
}
