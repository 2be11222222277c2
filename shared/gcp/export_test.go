package gcp

import (
	"context"
	"net/http"
	"time"

	"golang.org/x/oauth2"
)

// NewTestClient has a token already, and waits as the test says.
func NewTestClient(endpoint string, transport http.RoundTripper, timeout time.Duration, sleep func(context.Context, time.Duration) error) *Client {
	return &Client{
		endpoint: endpoint, tokens: oauth2.StaticTokenSource(&oauth2.Token{AccessToken: "token"}),
		http: &http.Client{Transport: transport}, timeout: timeout, sleep: sleep,
	}
}
