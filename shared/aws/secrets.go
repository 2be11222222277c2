package aws

import (
	"context"
	"fmt"
	"regexp"

	awssdk "github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
)

// secretARN has the region of the secret as its group.
var secretARN = regexp.MustCompile(`^arn:aws[a-z-]*:secretsmanager:([a-z0-9-]+):[0-9]{12}:secret:[\w/+=.@-]+$`)

// IsSecret reports whether a value is the ARN of a secret in Secrets Manager.
func IsSecret(value string) bool { return secretARN.MatchString(value) }

// Secret reads the string of a secret. Its error never has what was read in it.
func Secret(ctx context.Context, base awssdk.Config, arn string) (string, error) {
	m := secretARN.FindStringSubmatch(arn)
	if m == nil {
		return "", fmt.Errorf("not the ARN of a secret")
	}
	base = base.Copy()
	base.Region = m[1]
	out, err := secretsmanager.NewFromConfig(base).GetSecretValue(ctx, &secretsmanager.GetSecretValueInput{SecretId: &arn})
	if err != nil {
		return "", fmt.Errorf("read secret %s: %w", arn, err)
	}
	if out.SecretString == nil || *out.SecretString == "" {
		return "", fmt.Errorf("read secret %s: it holds no text", arn)
	}
	return *out.SecretString, nil
}
