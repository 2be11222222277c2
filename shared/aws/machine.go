package aws

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	awssdk "github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/arn"
	"github.com/aws/aws-sdk-go-v2/service/sfn"
	"github.com/aws/aws-sdk-go-v2/service/sfn/types"
)

// Machine starts executions of a state machine, and does not wait for what they do.
type Machine struct {
	client *sfn.Client
	arn    string
}

// NewMachine of a state machine, by its ARN; the caller needs states:StartExecution on it.
func NewMachine(cfg awssdk.Config, machine string) (*Machine, error) {
	at, err := arn.Parse(machine)
	if err != nil {
		return nil, fmt.Errorf("state machine %q: %w", machine, err)
	}
	cfg = cfg.Copy()
	// Its record must not carry the marks of canaries (canary.Forged): its request id is in
	// no ledger.
	cfg.Region, cfg.AppID = at.Region, ""
	return &Machine{sfn.NewFromConfig(cfg, func(o *sfn.Options) { o.RetryMaxAttempts = 1 }), machine}, nil
}

// Start begins the execution of a name with an input. One name is one execution: that it
// is there already, under way or over, is no error.
func (m *Machine) Start(ctx context.Context, name string, input any) error {
	text, err := json.Marshal(input)
	if err != nil {
		return fmt.Errorf("start %s of %s: encode the input: %w", name, m.arn, err)
	}
	_, err = m.client.StartExecution(ctx, &sfn.StartExecutionInput{StateMachineArn: &m.arn, Name: &name, Input: awssdk.String(string(text))})
	var there *types.ExecutionAlreadyExists
	if err != nil && !errors.As(err, &there) {
		return fmt.Errorf("start %s of %s: %w", name, m.arn, err)
	}
	return nil
}
