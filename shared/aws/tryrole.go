package aws

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	"github.com/aws/smithy-go"
	smithyhttp "github.com/aws/smithy-go/transport/http"

	"github.com/auditcanary/auditcanary/shared/canary"
)

// LookingAppID is in the user agent of what merely looks at an installation: its records
// must not carry the marks of canaries, since no ledger has its request ids.
const LookingAppID = "doctor." + canary.Marker

// Caller is who the credentials are of.
type Caller struct {
	ARN, Account string
	// Ahead is how far the provider's clock is ahead of this machine's, to within Give.
	Ahead, Give time.Duration
	// NoDate: the reply did not say what time it is.
	NoDate bool
}

// WhoAmI asks STS who the credentials are of, and what time it is.
func WhoAmI(ctx context.Context, base aws.Config, clock func() time.Time) (Caller, error) {
	const what = "sts:GetCallerIdentity"
	cfg := looking(base, base.Region)
	if err := haveCredentials(ctx, cfg); err != nil {
		return Caller{}, fmt.Errorf("%s: %w", what, err)
	}
	began := clock()
	out, err := sts.NewFromConfig(cfg).GetCallerIdentity(ctx, &sts.GetCallerIdentityInput{})
	if err != nil {
		return Caller{}, explain(err, what, "(base)", base.Region, nil)
	}
	took := clock().Sub(began)
	c := Caller{ARN: cut(aws.ToString(out.Arn), 256), Account: cut(aws.ToString(out.Account), 64)}
	if c.ARN == "" {
		return c, fmt.Errorf("%s: %w", what, errMute)
	}
	at := serverTime(out.ResultMetadata)
	if at.IsZero() {
		c.NoDate = true
		return c, nil
	}
	// A Date has whole seconds, and was written at some time during the call.
	c.Ahead, c.Give = at.Add(500*time.Millisecond).Sub(began.Add(took/2)), took/2+500*time.Millisecond
	return c, nil
}

func haveCredentials(ctx context.Context, cfg aws.Config) error {
	if cfg.Credentials == nil {
		return errors.New(noCredentials)
	}
	if _, err := cfg.Credentials.Retrieve(ctx); err != nil {
		return fmt.Errorf("%s: %w", noCredentials, err)
	}
	return nil
}

func looking(base aws.Config, region string) aws.Config {
	cfg := base.Copy()
	cfg.Region, cfg.AppID, cfg.APIOptions = region, LookingAppID, slices.Clone(cfg.APIOptions)
	return cfg
}

// nothing is the session policy of a session that may do nothing at all.
const nothing = `{"Version":"2012-10-17","Statement":[{"Effect":"Deny","Action":"*","Resource":"*"}]}`

// TryRole assumes an injector role as a canary would, with an external id ("": none),
// source identity and inline session policy, and throws the session away unused; its
// policy lets it do nothing. It returns the session's ARN.
func TryRole(ctx context.Context, base aws.Config, region, role, externalID string) (string, error) {
	cfg := looking(base, region)
	account := arnPart(role, 4)
	fail := func(err error) (string, error) {
		return "", explain(err, "sts:AssumeRole of "+role, account, region, assumeAdvice)
	}
	if err := haveCredentials(ctx, cfg); err != nil {
		return fail(err)
	}
	const name = canary.Marker + "-doctor"
	in := &sts.AssumeRoleInput{
		RoleArn: &role, RoleSessionName: aws.String(name), SourceIdentity: aws.String(sourceIdentity),
		Policy: aws.String(nothing), DurationSeconds: aws.Int32(int32(sessionLife.Seconds())),
	}
	if externalID != "" {
		in.ExternalId = &externalID
	}
	out, err := sts.NewFromConfig(cfg).AssumeRole(ctx, in)
	switch {
	case err != nil:
		return fail(err)
	case out.Credentials == nil || out.AssumedRoleUser == nil:
		return fail(errors.New("the reply has no credentials"))
	}
	arn := cut(aws.ToString(out.AssumedRoleUser.Arn), 256)
	if !strings.HasPrefix(arn, "arn:"+arnPart(role, 1)+":sts::"+account+":assumed-role/") || !strings.HasSuffix(arn, "/"+name) {
		return fail(fmt.Errorf("the reply is of another identity, %q", arn))
	}
	if got := aws.ToString(out.SourceIdentity); got != sourceIdentity {
		return fail(fmt.Errorf("the session has the source identity %q, not %q", cut(got, 64), sourceIdentity))
	}
	return arn, nil
}

// Denied reports whether a service said that the caller may not.
func Denied(err error) bool {
	var api smithy.APIError
	return errors.As(err, &api) && slices.Contains(refusals, api.ErrorCode())
}

// Settled reports whether a service gave an answer that asking again will not change: that
// the caller may not, that there is no such thing, that it is somewhere else.
func Settled(err error) bool {
	var api smithy.APIError
	var reply *smithyhttp.ResponseError
	if !errors.As(err, &api) || isThrottle(api.ErrorCode()) {
		return false
	}
	status := 400
	if errors.As(err, &reply) {
		status = cmp.Or(reply.HTTPStatusCode(), status)
	}
	return status < 500 && status != 408 && status != 429
}
