package cloud

import (
	"encoding/json"
	"regexp"
	"strings"
)

// statesService starts executions, which nobody runs here: that one has begun is all that
// its caller learns of it at AWS too. They are over at once.
func statesService() service {
	return service{
		source: "states.amazonaws.com", wire: json10{target: "AWSStepFunctions"},
		ops: map[string]operation{
			"StartExecution": {needs: onMachine("states:StartExecution"), do: startExecution},
		},
	}
}

func onMachine(action string) func(*call) []need {
	return func(k *call) []need { return []need{{action: action, resource: k.str("stateMachineArn")}} }
}

var (
	machineARN    = regexp.MustCompile(`^arn:aws:states:[a-z0-9-]+:[0-9]{12}:stateMachine:[A-Za-z0-9_-]{1,80}$`)
	executionName = regexp.MustCompile(`^[A-Za-z0-9_-]{1,80}$`)
)

func startExecution(k *call) (reply, error) {
	machine, name := k.str("stateMachineArn"), k.str("name")
	switch {
	case !machineARN.MatchString(machine):
		return reply{}, fail(400, "InvalidArn", "Invalid Arn: %q", machine)
	case !executionName.MatchString(name):
		return reply{}, fail(400, "InvalidName", "Invalid Name: %q", name)
	case !json.Valid([]byte(k.str("input"))):
		return reply{}, fail(400, "InvalidExecutionInput", "Invalid State Machine Execution Input")
	}
	arn := strings.Replace(machine, ":stateMachine:", ":execution:", 1) + ":" + name
	if k.cloud.started[arn] {
		return reply{}, fail(400, "ExecutionAlreadyExists", "Execution Already Exists: '%s'", arn)
	}
	if k.cloud.started == nil {
		k.cloud.started = map[string]bool{}
	}
	k.cloud.started[arn] = true
	return reply{body: map[string]any{"executionArn": arn, "startDate": float64(k.Time.UnixMilli()) / 1000}}, nil
}
