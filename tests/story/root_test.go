package story

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"github.com/rogpeppe/go-internal/testscript"

	"github.com/auditcanary/auditcanary/tests/sandbox/cloud"
)

// rootCmd makes a call as an account's root user: what somebody else does to the
// cloud while nobody looks. The operation is a name, or, where the service has
// them, method and path. {NAME} stands for a fixture of the place, ARCHIVE_KEY for the archive's key.
//
//	root ACCOUNT/REGION SERVICE OPERATION [BODY | @FILE]
func rootCmd(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 3 || len(args) > 4 {
		ts.Fatalf("usage: root ACCOUNT/REGION SERVICE OPERATION [BODY | @FILE]")
	}
	account, region, _ := strings.Cut(args[0], "/")
	body := ""
	if len(args) == 4 {
		body = args[3]
	}
	if file, ok := strings.CutPrefix(body, "@"); ok {
		body = ts.ReadFile(file)
	}
	operation := args[2]
	for name, value := range cloud.Fixtures(account, region) {
		operation, body = strings.ReplaceAll(operation, "{"+name+"}", value), strings.ReplaceAll(body, "{"+name+"}", value)
	}
	body = strings.ReplaceAll(body, "ARCHIVE_KEY", cloud.ArchiveKey())
	root := cloud.World(stillClock{}).Accounts[account].RootKey
	ts.Check(asRoot(ts.Getenv("AWS_ENDPOINT_URL"), aws.Credentials{AccessKeyID: root.ID, SecretAccessKey: root.Secret}, region, args[1], operation, body))
}

func asRoot(url string, creds aws.Credentials, region, service, operation, body string) error {
	method, path, isPath := strings.Cut(operation, " ")
	header := http.Header{}
	switch {
	case isPath:
	case service == "sns":
		method, path, body = "POST", "/", strings.Trim("Action="+operation+"&"+body, "&")
		header.Set("Content-Type", "application/x-www-form-urlencoded")
	default:
		method, path = "POST", "/"
		header.Set("X-Amz-Target", "Service."+operation)
		header.Set("Content-Type", "application/x-amz-json-1.1")
	}
	req, err := http.NewRequest(method, url+path, bytes.NewReader([]byte(body)))
	if err != nil {
		return err
	}
	sum := sha256.Sum256([]byte(body))
	hash := hex.EncodeToString(sum[:])
	req.Header = header
	req.Header.Set("X-Amz-Content-Sha256", hash)
	if err := v4.NewSigner().SignHTTP(req.Context(), creds, req, hash, service, region, time.Now()); err != nil {
		return err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode >= 300 {
		err = fmt.Errorf("%s %s: %s: %s", service, operation, resp.Status, answer)
	}
	return err
}

// stillClock is any time: the keys of the world do not depend on it.
type stillClock struct{}

func (stillClock) Now() time.Time                { return time.Unix(0, 0) }
func (stillClock) Until(time.Time) time.Duration { return 0 }

// advanceCmd puts the sandbox's clock forward; everything that is due until then is delivered.
func advanceCmd(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: advance DURATION")
	}
	resp, err := http.Post(ts.Getenv("AWS_ENDPOINT_URL")+"/_sandbox/time", "application/json", strings.NewReader(fmt.Sprintf(`{"advance":%q}`, args[0])))
	ts.Check(err)
	defer resp.Body.Close()
	if answer, _ := io.ReadAll(resp.Body); resp.StatusCode != http.StatusOK {
		ts.Fatalf("advance: %s: %s", resp.Status, answer)
	}
}
