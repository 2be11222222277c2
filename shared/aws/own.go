package aws

import (
	"context"
	"slices"
	"sync"

	awssdk "github.com/aws/aws-sdk-go-v2/aws"
	awsmiddleware "github.com/aws/aws-sdk-go-v2/aws/middleware"
	"github.com/aws/smithy-go/middleware"
	smithyhttp "github.com/aws/smithy-go/transport/http"
)

// Own collects the request ids of every call made through a configuration's
// clients. Their records carry our marks; the ledger must know them, or they
// would look forged.
type Own struct {
	mu  sync.Mutex
	ids []string
}

// Watch makes clients built from cfg report to o.
func (o *Own) Watch(cfg *awssdk.Config) {
	cfg.APIOptions = append(cfg.APIOptions, func(stack *middleware.Stack) error {
		return stack.Deserialize.Add(middleware.DeserializeMiddlewareFunc("auditcanaryOwn",
			func(ctx context.Context, in middleware.DeserializeInput, next middleware.DeserializeHandler) (middleware.DeserializeOutput, middleware.Metadata, error) {
				out, md, err := next.HandleDeserialize(ctx, in)
				if resp, ok := out.RawResponse.(*smithyhttp.Response); ok && resp != nil {
					o.note(resp, md)
				}
				return out, md, err
			}), middleware.Before)
	})
}

func (o *Own) note(resp *smithyhttp.Response, md middleware.Metadata) {
	id, _ := awsmiddleware.GetRequestIDMetadata(md) // EC2 and IAM have it in the body
	for _, h := range requestIDHeaders {
		if id == "" {
			id = resp.Header.Get(h)
		}
	}
	if id != "" {
		o.Note(id)
	}
}

// Note takes in the id of a call that was made through another client.
func (o *Own) Note(id string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.ids = append(o.ids, id)
}

// Drain returns what was collected since the last Drain.
func (o *Own) Drain() []string {
	o.mu.Lock()
	defer o.mu.Unlock()
	ids := slices.Clone(o.ids)
	o.ids = o.ids[:0]
	return ids
}
