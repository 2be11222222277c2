// Package gcp signs evidence packets with a key that Google Cloud KMS keeps.
package gcp

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"regexp"
	"strconv"
	"strings"
	"time"

	"golang.org/x/oauth2"
	"golang.org/x/oauth2/google"
)

const (
	defaultEndpoint = "https://cloudkms.googleapis.com"
	scope           = "https://www.googleapis.com/auth/cloudkms"
	// timeout bounds one operation with all its attempts.
	timeout  = time.Minute
	attempts = 3
	// longestAnswer is far above a public key's or a signature's.
	longestAnswer = 64 << 10
)

// The two operations, by what each asks of IAM.
const (
	getPublicKey   = "GetPublicKey"
	asymmetricSign = "AsymmetricSign"
)

var needs = map[string]string{
	getPublicKey:   "cloudkms.cryptoKeyVersions.viewPublicKey (in roles/cloudkms.publicKeyViewer and roles/cloudkms.signerVerifier)",
	asymmetricSign: "cloudkms.cryptoKeyVersions.useToSign (in roles/cloudkms.signer and roles/cloudkms.signerVerifier)",
}

var keyVersion = regexp.MustCompile(`^projects/[a-z0-9][a-z0-9.:-]*/locations/[a-z0-9-]+/keyRings/[A-Za-z0-9_-]+/cryptoKeys/[A-Za-z0-9_-]+/cryptoKeyVersions/[1-9][0-9]*$`)

// CheckKey says whether name is that of a key version:
// projects/P/locations/L/keyRings/R/cryptoKeys/K/cryptoKeyVersions/N. A key alone
// will not do: each of its versions is another public key.
func CheckKey(name string) error {
	if !keyVersion.MatchString(name) {
		return fmt.Errorf("%.300q is not the name of a key version (projects/…/locations/…/keyRings/…/cryptoKeys/…/cryptoKeyVersions/1)", name)
	}
	return nil
}

// CheckEndpoint says whether calls may be sent to an address. They carry a token
// that whoever reads it may use, so plain http stays on this machine.
func CheckEndpoint(address string) error {
	u, err := url.Parse(address)
	if err != nil || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" || u.Scheme != "https" && u.Scheme != "http" {
		return fmt.Errorf("%.300q is not an https address", address)
	}
	if host := u.Hostname(); u.Scheme == "http" && host != "localhost" && host != "127.0.0.1" && host != "::1" {
		return fmt.Errorf("%.300q is plain http: a bearer token would go over it in the clear", address)
	}
	return nil
}

// Client calls Cloud KMS over REST. Two calls need no more: every function links
// this, and it adds 0.25 MiB and two modules to each (linux/arm64, stripped, 94.2 MiB
// before), where google.golang.org/api v0.311.0 adds 4.2 MiB and some fifteen
// modules, gRPC and OpenTelemetry among them.
type Client struct {
	endpoint string
	tokens   oauth2.TokenSource
	// project that pays for the calls, where the credentials name one: those of a
	// person must, those of a service account need not.
	project string
	http    *http.Client
	timeout time.Duration
	sleep   func(context.Context, time.Duration) error
}

// NewClient finds Google's application default credentials: the file that
// GOOGLE_APPLICATION_CREDENTIALS names, those of gcloud, or the machine's own.
// An empty endpoint is Google's.
func NewClient(ctx context.Context, endpoint string) (*Client, error) {
	endpoint = strings.TrimSuffix(cmp.Or(endpoint, defaultEndpoint), "/")
	if err := CheckEndpoint(endpoint); err != nil {
		return nil, fmt.Errorf("cloud KMS: endpoint %w", err)
	}
	// Fetching a token heeds no context but this client's time-out.
	ctx = context.WithValue(ctx, oauth2.HTTPClient, &http.Client{Timeout: timeout / 2})
	found, err := google.FindDefaultCredentials(ctx, scope)
	if err != nil {
		return nil, fmt.Errorf("cloud KMS: find Google credentials: %w", err)
	}
	var file struct {
		Project string `json:"quota_project_id"`
	}
	if len(found.JSON) > 0 {
		if err := json.Unmarshal(found.JSON, &file); err != nil {
			return nil, errors.New("cloud KMS: the Google credentials are not JSON as expected") // never quotes them
		}
	}
	return &Client{
		endpoint: endpoint, tokens: found.TokenSource, timeout: timeout, sleep: sleep,
		project: cmp.Or(os.Getenv("GOOGLE_CLOUD_QUOTA_PROJECT"), file.Project),
		http: &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error {
			return http.ErrUseLastResponse // a token goes to one host only
		}},
	}, nil
}

func sleep(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-time.After(d):
		return nil
	}
}

// refusal is an answer that is not a success.
type refusal struct {
	status  int
	reason  string // PERMISSION_DENIED, where the body says
	message string
	wait    time.Duration // Retry-After
}

func (r *refusal) Error() string {
	text := strings.TrimSpace(fmt.Sprintf("%d %s", r.status, cmp.Or(r.reason, http.StatusText(r.status))))
	if r.message != "" {
		text += fmt.Sprintf(": %.500q", r.message)
	}
	if r.wait > 0 {
		text += fmt.Sprintf("; it asks to wait %s", r.wait)
	}
	return text
}

// again says whether the same call may succeed later.
func (r *refusal) again() bool { return r.status == http.StatusTooManyRequests || r.status >= 500 }

// call does one operation on a key version and decodes the answer into out. Both
// operations change nothing, so what failed for a moment is tried again.
func (c *Client) call(ctx context.Context, operation, key string, in, out any) error {
	limited, cancel := context.WithTimeoutCause(ctx, c.timeout, fmt.Errorf("no answer within %s", c.timeout))
	defer cancel()
	var err error
	for i := range attempts {
		err = c.once(limited, operation, key, in, out)
		var r *refusal
		if err == nil || limited.Err() != nil || !errors.As(err, &r) || !r.again() || i == attempts-1 {
			break
		}
		wait := max(r.wait, time.Second<<i)
		if wait > c.timeout/2 || c.sleep(limited, wait) != nil {
			break // what it said is better than that nobody waited
		}
	}
	var r *refusal
	switch {
	case err == nil:
		return nil
	case errors.As(err, &r):
		return fmt.Errorf("%s: %w%s", operation, err, hint(operation, r.status))
	case limited.Err() != nil:
		return fmt.Errorf("%s: %w", operation, context.Cause(limited))
	}
	return fmt.Errorf("%s: %w", operation, err)
}

func hint(operation string, status int) string {
	switch status {
	case http.StatusForbidden:
		return "; the caller needs " + needs[operation] + ", and the Cloud KMS API must be enabled in its project"
	case http.StatusUnauthorized:
		return "; the Google credentials are not accepted"
	case http.StatusNotFound:
		return "; no such key version, or the caller may not see it: it needs " + needs[operation]
	}
	return ""
}

func (c *Client) once(ctx context.Context, operation, key string, in, out any) error {
	address := c.endpoint + "/v1/" + key
	var req *http.Request
	var err error
	if operation == getPublicKey {
		req, err = http.NewRequestWithContext(ctx, http.MethodGet, address+"/publicKey", nil)
	} else {
		var body []byte
		if body, err = json.Marshal(in); err != nil {
			return err
		}
		req, err = http.NewRequestWithContext(ctx, http.MethodPost, address+":asymmetricSign", bytes.NewReader(body))
	}
	if err != nil {
		return err
	}
	token, err := c.token(ctx)
	if err != nil {
		return err
	}
	token.SetAuthHeader(req)
	req.Header.Set("Content-Type", "application/json")
	if c.project != "" {
		req.Header.Set("X-Goog-User-Project", c.project)
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(io.LimitReader(resp.Body, longestAnswer+1))
	if err != nil {
		return fmt.Errorf("read the answer: %w", err)
	}
	if resp.StatusCode != http.StatusOK {
		return refused(resp, data)
	}
	if len(data) > longestAnswer {
		return fmt.Errorf("the answer is longer than %d bytes", longestAnswer)
	}
	if err := json.Unmarshal(data, out); err != nil {
		return fmt.Errorf("the answer is not as documented: %w", err)
	}
	return nil
}

// token waits for a token no longer than the caller does.
func (c *Client) token(ctx context.Context) (*oauth2.Token, error) {
	type answer struct {
		token *oauth2.Token
		err   error
	}
	got := make(chan answer, 1)
	go func() {
		t, err := c.tokens.Token()
		got <- answer{t, err}
	}()
	select {
	case <-ctx.Done():
		return nil, fmt.Errorf("get a Google access token: %w", context.Cause(ctx))
	case a := <-got:
		var r *oauth2.RetrieveError // its text holds the whole body
		if errors.As(a.err, &r) && r.Response != nil {
			return nil, fmt.Errorf("get a Google access token: %d %s: %.500q", r.Response.StatusCode, http.StatusText(r.Response.StatusCode), r.Body)
		}
		if a.err != nil {
			return nil, fmt.Errorf("get a Google access token: %w", a.err)
		}
		return a.token, nil
	}
}

func refused(resp *http.Response, body []byte) *refusal {
	r := &refusal{status: resp.StatusCode}
	if s, err := strconv.Atoi(resp.Header.Get("Retry-After")); err == nil && s > 0 {
		r.wait = time.Duration(min(s, 24*60*60)) * time.Second
	}
	var said struct {
		Error struct{ Status, Message string }
	}
	if json.Unmarshal(body, &said) == nil {
		r.reason, r.message = said.Error.Status, said.Error.Message
	} else {
		r.message = string(body) // a proxy's page
	}
	// The status is a word such as PERMISSION_DENIED; what is not is no reason.
	if strings.Trim(r.reason, "ABCDEFGHIJKLMNOPQRSTUVWXYZ_") != "" {
		r.reason = ""
	}
	return r
}
