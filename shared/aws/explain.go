package aws

import (
	"context"
	"errors"
	"fmt"

	"github.com/aws/smithy-go"
)

// advice says what to do about an error code.
type advice map[string]string

const (
	renew      = "the credentials have expired: renew them and run it again"
	notValid   = "the credentials are not valid at this endpoint: check which are in use (aws sts get-caller-identity) and aws.endpoint_url"
	clock      = "compare this machine's clock with the service's"
	regionOff  = "the region is not enabled for the account: enable it or take it out of the target's regions"
	wrongPlace = "the bucket is in another region: correct the fixture or its region in auditcanary.yaml"
)

var generalAdvice = advice{
	"ExpiredToken": renew, "ExpiredTokenException": renew, "RequestExpired": renew,
	"InvalidClientTokenId": notValid, "UnrecognizedClientException": notValid, "InvalidAccessKeyId": notValid, "AuthFailure": notValid, "InvalidToken": notValid,
	"SignatureDoesNotMatch": clock + ", and the secret key", "RequestTimeTooSkewed": clock, "InvalidSignatureException": clock + ", and the secret key",
	"RegionDisabledException": regionOff, "OptInRequired": regionOff,
	"AuthorizationHeaderMalformed": wrongPlace, "PermanentRedirect": wrongPlace, "IllegalLocationConstraintException": wrongPlace,
}

// assumeAdvice is for AssumeRole itself.
var assumeAdvice = advice{
	"AccessDenied":            "the role cannot be assumed: its trust policy must allow this caller sts:AssumeRole and sts:SetSourceIdentity (and the external id, if it wants one), and this caller's own policy the same",
	"MalformedPolicyDocument": "the session policy was not accepted: show it with `auditcanary plan`",
	"PackedPolicyTooLarge":    "the session policy is too large for STS: split the scenario",
	"NoSuchEntity":            "the role does not exist: deploy it, or correct role_arn",
}

// readAdvice is for listing and reading.
var readAdvice = advice{
	"AccessDenied": readMore, "AccessDeniedException": readMore, "UnauthorizedOperation": readMore,
	"NotFoundException": noFixture, "NoSuchBucket": noFixture, "TrailNotFoundException": noFixture,
}

const (
	readMore  = "the injector's role may not read this: give it the policy that `auditcanary plan` prints"
	noFixture = "the fixture does not exist: deploy it, or correct it in auditcanary.yaml"
)

// explain says what was tried, where, what came of it and what to do next.
func explain(err error, what, account, region string, special advice) error {
	return fmt.Errorf("%s in account %s, %s: %w%s", what, account, region, err, whatNext(err, special))
}

// whatNext is what to do about an error, as the end of a sentence; "" if nothing is known.
func whatNext(err error, special advice) string {
	var api smithy.APIError
	text := ""
	switch {
	case errors.As(err, &api):
		text = special[api.ErrorCode()]
		if text == "" {
			text = generalAdvice[api.ErrorCode()]
		}
	case errors.Is(err, context.DeadlineExceeded):
		text = "no answer in time: check the network path to this region's endpoint"
	case errors.Is(err, context.Canceled):
	case neverConnected(err):
		text = "nobody answers there: check the region's name, the network and aws.endpoint_url"
	}
	if text == "" {
		return ""
	}
	return "; " + text
}
