package aws

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
	"github.com/aws/aws-sdk-go-v2/service/cloudtrail"
	cttypes "github.com/aws/aws-sdk-go-v2/service/cloudtrail/types"
	"github.com/aws/smithy-go/middleware"
	"golang.org/x/time/rate"

	"github.com/auditcanary/auditcanary/shared/canary"
	"github.com/auditcanary/auditcanary/shared/event"
)

// lookupsPerSecond is what LookupEvents takes in an account and region.
const lookupsPerSecond = 2

// lookupAttempts of one lookup; each waits for its turn.
const lookupAttempts = 10

// Recorded implements run.History. The history cannot be asked for a request
// id, but for an access key: a canary's session has its own, so the answer is
// that session's events and nobody else's.
func (i *Inspector) Recorded(ctx context.Context, r canary.Receipt) (*event.Event, error) {
	account, region := r.Want.Cloud.Account, r.Want.Cloud.Region
	fail := func(err error) (*event.Event, error) {
		return nil, i.explain(err, "cloudtrail:LookupEvents for "+r.Call.Operation, account, region)
	}
	key := r.Want.Actor.CredentialUID
	if key == "" || len(r.RequestIDs) == 0 {
		return fail(errors.New("the receipt has no request id or access key to look for"))
	}
	cfg, err := i.open(ctx, account, region)
	if err != nil {
		return nil, err
	}
	cfg.APIOptions = append(cfg.APIOptions, pace(i.limiter(account, region)))
	// Somebody else may be using up the rate: what is throttled is asked again.
	cfg.Retryer = func() aws.Retryer {
		return retry.NewStandard(func(o *retry.StandardOptions) { o.MaxAttempts, o.MaxBackoff = lookupAttempts, 2*time.Second })
	}
	pages := cloudtrail.NewLookupEventsPaginator(cloudtrail.NewFromConfig(cfg), &cloudtrail.LookupEventsInput{
		LookupAttributes: []cttypes.LookupAttribute{{AttributeKey: cttypes.LookupAttributeKeyAccessKeyId, AttributeValue: &key}},
	})
	var unread error
	for n := 0; pages.HasMorePages(); n++ {
		if n == maxPages {
			return fail(errEndless)
		}
		page, err := pages.NextPage(ctx)
		if err != nil {
			return fail(err)
		}
		for _, e := range page.Events {
			got, err := event.ReadCloudTrail([]byte(aws.ToString(e.CloudTrailEvent)))
			if err != nil {
				unread = fmt.Errorf("event %s of the history cannot be read: %w", aws.ToString(e.EventId), err)
				continue
			}
			if slices.Contains(r.RequestIDs, got.API.RequestUID) {
				return &got, nil
			}
		}
	}
	if unread != nil {
		return fail(unread) // it might have been the one
	}
	return nil, nil
}

// limiter of an account and region, shared by all who ask.
func (i *Inspector) limiter(account, region string) *rate.Limiter {
	i.mu.Lock()
	defer i.mu.Unlock()
	at := account + "/" + region
	l, ok := i.history[at]
	if !ok {
		l = rate.NewLimiter(lookupsPerSecond, 1)
		i.history[at] = l
	}
	return l
}

// pace lets every attempt wait for its turn, retries too.
func pace(l *rate.Limiter) func(*middleware.Stack) error {
	return func(stack *middleware.Stack) error {
		return stack.Finalize.Insert(middleware.FinalizeMiddlewareFunc("Pace", func(ctx context.Context, in middleware.FinalizeInput, next middleware.FinalizeHandler) (middleware.FinalizeOutput, middleware.Metadata, error) {
			if err := l.Wait(ctx); err != nil {
				return middleware.FinalizeOutput{}, middleware.Metadata{}, fmt.Errorf("wait for a turn: %w", err)
			}
			return next.HandleFinalize(ctx, in)
		}), "Retry", middleware.After)
	}
}
