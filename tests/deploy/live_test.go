package deploy

import (
	"encoding/json"
	"flag"
	"fmt"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/sfn"
	"github.com/aws/aws-sdk-go-v2/service/sfn/types"
	"github.com/aws/aws-sdk-go-v2/service/sts"

	"github.com/auditcanary/auditcanary/shared/wire"
)

var (
	liveStage   = flag.String("live-stage", "", "run the deployed state machine of this `STAGE`")
	liveAccount = flag.String("live-account", "", "the `ACCOUNT` that it is deployed in, set aside for tests; no other is touched")
	liveWait    = flag.Duration("live-wait", 6*time.Hour, "give up after this `TIME`")
)

// TestTheDeployedMachineRuns starts a run where auditcanary is deployed, in a dedicated
// account, waits until its last digest is there (hours), and reads what came of it.
func TestTheDeployedMachineRuns(t *testing.T) {
	if *liveStage == "" || *liveAccount == "" {
		t.Skip("SKIPPED: no deployment is named; in a dedicated account: make live-test STAGE=dev ACCOUNT=111122223333 (with AWS credentials and region in the environment)")
	}
	ctx := t.Context()
	cfg, err := config.LoadDefaultConfig(ctx)
	if err != nil {
		t.Fatal(err)
	}
	who, err := sts.NewFromConfig(cfg).GetCallerIdentity(ctx, &sts.GetCallerIdentityInput{})
	if err != nil {
		t.Fatal(err)
	}
	if got := aws.ToString(who.Account); got != *liveAccount {
		t.Fatalf("the credentials are of account %s, not of %s: nothing was done", got, *liveAccount)
	}
	client := sfn.NewFromConfig(cfg)
	machine := fmt.Sprintf("arn:aws:states:%s:%s:stateMachine:auditcanary-%s-run", cfg.Region, *liveAccount, *liveStage)
	begun, err := client.StartExecution(ctx, &sfn.StartExecutionInput{StateMachineArn: &machine, Input: aws.String(`{}`)})
	if err != nil {
		t.Fatalf("start %s: %v", machine, err)
	}
	t.Logf("execution %s", *begun.ExecutionArn)
	end := time.Now().Add(*liveWait)
	for {
		e, err := client.DescribeExecution(ctx, &sfn.DescribeExecutionInput{ExecutionArn: begun.ExecutionArn})
		if err != nil {
			t.Fatal(err)
		}
		if e.Status == types.ExecutionStatusRunning {
			if time.Now().After(end) {
				t.Fatalf("still running after %s; it goes on", *liveWait)
			}
			time.Sleep(time.Minute)
			continue
		}
		w := liveWhole(t, client, *begun.ExecutionArn)
		text, _ := json.MarshalIndent(w, "", "  ")
		t.Logf("%s\n%s", e.Status, text)
		if e.Status != types.ExecutionStatusSucceeded || w.Unfinished != 0 || w.Leftovers != 0 || w.Tally.Canaries == 0 || w.Tally.NotRun == w.Tally.Canaries {
			t.Errorf("the run ended as %s", e.Status)
		}
		return
	}
}

// liveWhole is what the state Whole answered, whatever the execution made of it.
func liveWhole(t *testing.T, client *sfn.Client, arn string) (w wire.Whole) {
	t.Helper()
	pages := sfn.NewGetExecutionHistoryPaginator(client, &sfn.GetExecutionHistoryInput{ExecutionArn: &arn, ReverseOrder: true})
	for pages.HasMorePages() {
		page, err := pages.NextPage(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range page.Events {
			if out := e.StateExitedEventDetails; out != nil && aws.ToString(out.Name) == "Whole" {
				if err := json.Unmarshal([]byte(aws.ToString(out.Output)), &w); err != nil {
					t.Fatal(err)
				}
				return w
			}
		}
	}
	t.Error("the execution never added its cells up")
	return w
}
