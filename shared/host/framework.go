//go:build !lambda

package host

import (
	"cmp"
	"context"
	"fmt"
	"net/http"
	"os"
	"sync"

	"github.com/GoogleCloudPlatform/functions-framework-go/funcframework"
)

// frame runs a function under the framework.
func frame(ctx context.Context, name string, h http.HandlerFunc) int {
	var inHand sync.WaitGroup
	serve := func(w http.ResponseWriter, r *http.Request) {
		inHand.Add(1)
		defer inHand.Done()
		h(w, r)
	}
	if err := funcframework.RegisterHTTPFunctionContext(ctx, "/", serve); err != nil {
		fmt.Fprintf(os.Stderr, "%s: register with the Functions Framework: %v\n", name, err)
		return exitUnknown
	}
	host := ""
	if os.Getenv("LOCAL_ONLY") == "true" {
		host = "127.0.0.1"
	}
	port := cmp.Or(os.Getenv("PORT"), "8080")
	failed := make(chan error, 1)
	go func() { failed <- funcframework.StartHostPort(host, port) }()
	select {
	case err := <-failed:
		fmt.Fprintf(os.Stderr, "%s: serve on port %s: %v\n", name, port, err)
		return exitUnknown
	case <-ctx.Done():
		inHand.Wait()
		return 0
	}
}
