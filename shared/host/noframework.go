//go:build lambda

package host

import (
	"context"
	"fmt"
	"net/http"
	"os"
)

// frame refuses: the file for Lambda is built without the Functions Framework. What it
// brings along (CloudEvents, a second JSON library that reflects over methods by name) keeps
// the linker from leaving out any exported method of any type, the clients of the AWS SDK
// among them.
func frame(_ context.Context, name string, _ http.HandlerFunc) int {
	fmt.Fprintf(os.Stderr, "%s: this program was built for Lambda (go build -tags lambda) and has no Functions Framework: build it without that tag\n", name)
	return exitUnknown
}
