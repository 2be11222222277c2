package wire

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	awssdk "github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials/stscreds"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	"golang.org/x/mod/sumdb/note"

	"github.com/auditcanary/auditcanary/shared/aws"
)

const needsPacketKey = "signing.kms_key signs short texts only (KMS takes 4,096 bytes), and a packet's is longer: give packets a key of their own, evidence.kms_key (ECC_NIST_P256, SIGN_VERIFY) or evidence.gcp_kms_key"

func (c *Config) checkSigning(bad complain) {
	s := c.Signing
	given := slices.DeleteFunc([]string{s.KeyFile, s.KeyEnv, s.KMSKey}, func(one string) bool { return one == "" })
	if len(given) != 1 {
		bad("signing", "the signing key comes from key_file, from key_env or from kms_key: exactly one of them")
	}
	if s.Verifier != "" {
		if _, err := aws.NewLedgerSigner(nil, s.KMSKey, s.Verifier); err != nil {
			bad("signing.verifier", "signing.verifier %.80q: %v", s.Verifier, err)
		}
	}
	if s.RoleARN != "" && !roleARN.MatchString(s.RoleARN) {
		bad("signing.role_arn", "role_arn %q is not the ARN of a role", s.RoleARN)
	}
	if s.KMSKey == "" {
		if s.RoleARN != "" {
			bad("signing.role_arn", "signing.role_arn: without a kms_key nothing is signed under it")
		}
		return
	}
	if !keyARN.MatchString(s.KMSKey) {
		bad("signing.kms_key", "signing.kms_key %q is not the ARN of a key", s.KMSKey)
		return
	}
	if s.Verifier == "" {
		bad("signing.kms_key", "signing.kms_key without signing.verifier: a ledger is trusted by a key that stands here, not by what KMS says today; print it with: auditcanary ledger keygen --kms %s %s", s.KMSKey, c.Ledger.Origin)
	}
	if c.Evidence.KMSKey == "" && c.Evidence.GCPKMSKey == "" {
		bad("signing.kms_key", "%s", needsPacketKey)
	}
	account := strings.Split(s.KMSKey, ":")[4]
	if slices.ContainsFunc(c.Targets, func(t Target) bool { return t.Account == account }) {
		bad("signing.kms_key", "signing.kms_key is in account %s, which is a target: the record of each signature would look there like somebody imitating a canary; keep the key in an account of its own", account)
	}
}

// ledgerSigner is what signs checkpoints. It fits the verifier.
func (c *Config) ledgerSigner(ctx context.Context, verifier note.Verifier, vkey string) (note.Signer, error) {
	if c.Signing.KMSKey != "" {
		client, err := c.ledgerKMS(ctx)
		if err != nil {
			return nil, err
		}
		return aws.NewLedgerSigner(client, c.Signing.KMSKey, vkey)
	}
	skey, err := c.signingKey()
	if err != nil {
		return nil, err
	}
	signer, err := note.NewSigner(skey)
	if err != nil {
		return nil, fmt.Errorf("signing key: %w", err)
	}
	if signer.Name() != verifier.Name() || signer.KeyHash() != verifier.KeyHash() {
		if c.Signing.Verifier != "" {
			return nil, errors.New("signing key: signing.verifier belongs to another key")
		}
		return nil, fmt.Errorf("signing key: %s.pub belongs to another key", c.Signing.KeyFile)
	}
	return signer, nil
}

// ledgerKMS is the client that signs. Its calls carry none of our marks: there is one
// after the last entry of every run, and its record could not be told from a forged one.
func (c *Config) ledgerKMS(ctx context.Context) (*kms.Client, error) {
	cfg, _, err := c.baseAWS(ctx)
	if err != nil {
		return nil, err
	}
	return kmsClient(cfg, c.Signing.KMSKey, c.Signing.RoleARN), nil
}

func kmsClient(cfg awssdk.Config, key, role string) *kms.Client {
	cfg = cfg.Copy()
	cfg.AppID, cfg.Region = "", strings.Split(key, ":")[3]
	if role != "" {
		cfg.Credentials = awssdk.NewCredentialsCache(stscreds.NewAssumeRoleProvider(sts.NewFromConfig(cfg), role, func(o *stscreds.AssumeRoleOptions) {
			o.RoleSessionName = "ledger-signer"
		}))
	}
	return kms.NewFromConfig(cfg)
}

// LedgerVerifierKey asks AWS KMS for the public key of a key by its ARN, and returns the
// verifier key of a ledger whose checkpoints it signs. The configuration says only how
// AWS is reached; nil: by the SDK's own settings.
func LedgerVerifierKey(ctx context.Context, c *Config, key, name string) (string, error) {
	if !keyARN.MatchString(key) {
		return "", fmt.Errorf("%q is not the ARN of a key of AWS KMS", key)
	}
	role := ""
	if c == nil {
		c = &Config{LogStores: []LogStore{{Region: strings.Split(key, ":")[3]}}}
	} else if c.Signing.KMSKey == key {
		role = c.Signing.RoleARN
	}
	cfg, _, err := c.baseAWS(ctx)
	if err != nil {
		return "", err
	}
	return aws.LedgerVerifierKey(ctx, kmsClient(cfg, key, role), key, name)
}
