package host

import (
	"context"
	"encoding/json"
	"time"

	"github.com/aws/aws-lambda-go/lambda"
)

// serveLambda answers invocations until the process is ended from outside.
func serveLambda(ctx context.Context, h Handler) int {
	lambda.StartWithOptions(h,
		lambda.WithContext(ctx),
		// Lambda kills without notice unless an extension is registered; this
		// registers an empty one, so that SIGTERM comes first and ends ctx.
		lambda.WithEnableSIGTERM(),
	)
	return 1 // not reached: Start ends the process itself
}

// spare is how long before the platform's deadline a call's context ends, but a tenth of
// the time given at most: what was done must be undone then, and the last line written.
const spare = 45 * time.Second

// onLambda is h with a log, its vitals, and a context that ends in time.
func (p platform) onLambda(name string, h Handler) Handler {
	return p.watched(name, early(h))
}

// early is h with a context that ends before that of the call.
func early(h Handler) Handler {
	return func(ctx context.Context, in json.RawMessage) (any, error) {
		deadline, ok := ctx.Deadline()
		if !ok {
			return h(ctx, in)
		}
		ctx, cancel := context.WithDeadline(ctx, deadline.Add(-min(spare, time.Until(deadline)/10)))
		defer cancel()
		return h(ctx, in)
	}
}
