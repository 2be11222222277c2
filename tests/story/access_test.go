package story

import (
	"io"
	"net/http"
	"strings"

	"github.com/rogpeppe/go-internal/testscript"
)

// plantCmd puts what each file says into the cloud past its API: what somebody did
// long ago.
func plantCmd(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) == 0 {
		ts.Fatalf("usage: plant FILE...")
	}
	for _, file := range args {
		resp, err := http.Post(ts.Getenv("AWS_ENDPOINT_URL")+"/_sandbox/plant", "application/json", strings.NewReader(ts.ReadFile(file)))
		ts.Check(err)
		body, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		ts.Check(err)
		if resp.StatusCode != http.StatusOK {
			ts.Fatalf("plant %s: %s: %s", file, resp.Status, body)
		}
	}
}
