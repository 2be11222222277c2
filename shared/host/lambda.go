package host

import (
	"context"

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
