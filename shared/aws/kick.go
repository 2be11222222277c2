package aws

import (
	"context"
	"encoding/json"
	"fmt"

	awssdk "github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/lambda"
	"github.com/aws/aws-sdk-go-v2/service/lambda/types"
)

// Kick starts a Lambda function and does not wait for what it does.
type Kick struct {
	client   *lambda.Client
	function string
}

// NewKick of a function, by name or ARN; its role needs lambda:InvokeFunction on it.
func NewKick(cfg awssdk.Config, function string) *Kick {
	return &Kick{lambda.NewFromConfig(cfg, func(o *lambda.Options) { o.RetryMaxAttempts = 1 }), function}
}

// Start hands the event over. When it returns nil the event is queued: the function
// may run more than once for it.
func (k *Kick) Start(ctx context.Context, event any) error {
	payload, err := json.Marshal(event)
	if err != nil {
		return fmt.Errorf("start %s: encode the event: %w", k.function, err)
	}
	out, err := k.client.Invoke(ctx, &lambda.InvokeInput{FunctionName: &k.function, InvocationType: types.InvocationTypeEvent, Payload: payload})
	if err != nil {
		return fmt.Errorf("start %s: %w", k.function, err)
	}
	if out.StatusCode != 202 {
		return fmt.Errorf("start %s: status %d, not 202: it may not have been queued", k.function, out.StatusCode)
	}
	return nil
}
