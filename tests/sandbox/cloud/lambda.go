package cloud

import "strings"

// lambdaService starts functions asynchronously, which nobody runs here: that the event
// is queued is all that its caller learns of it at AWS too.
func lambdaService() service {
	return service{
		source: "lambda.amazonaws.com",
		wire:   restJSON{routes: []jsonRoute{{"POST", "/2015-03-31/functions/{functionName}/invocations", "Invoke"}}},
		ops: map[string]operation{
			"Invoke": {data: true, needs: onFunction("lambda:InvokeFunction"), do: invokeFunction},
		},
	}
}

func onFunction(action string) func(*call) []need {
	return func(k *call) []need {
		arn := k.str("functionName")
		if !strings.HasPrefix(arn, "arn:") {
			arn = "arn:aws:lambda:" + k.Region + ":" + k.Principal.Account + ":function:" + arn
		}
		return []need{{action: action, resource: arn}}
	}
}

func invokeFunction(k *call) (reply, error) {
	if k.HTTP.Header.Get("X-Amz-Invocation-Type") != "Event" {
		return reply{}, fail(501, "NotImplemented", "the sandbox only queues events for functions")
	}
	return reply{status: 202}, nil
}
