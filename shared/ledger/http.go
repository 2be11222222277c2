package ledger

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
)

// HTTP is a read-only Store below a URL, for verifying a log that is published.
type HTTP struct {
	base   *url.URL
	client *http.Client
	err    error // of the base URL
}

// NewHTTP returns the store whose objects lie below baseURL. A base URL that
// cannot be one is an error of every Get. A nil client is http.DefaultClient.
func NewHTTP(baseURL string, client *http.Client) *HTTP {
	u, err := url.Parse(baseURL)
	if err == nil && (u.Host == "" || u.Scheme != "http" && u.Scheme != "https") {
		err = errors.New("not an http or https URL")
	}
	if client == nil {
		client = http.DefaultClient
	}
	return &HTTP{base: u, client: client, err: err}
}

// Get implements Store.
func (h *HTTP) Get(ctx context.Context, path string) ([]byte, Version, error) {
	if h.err != nil {
		return nil, "", fmt.Errorf("ledger URL: %w", h.err)
	}
	u := h.base.JoinPath(path)
	shown := (&url.URL{Scheme: u.Scheme, Host: u.Host, Path: u.Path}).String() // user info and query may be secret
	fail := func(err error) error {
		var e *url.Error
		if errors.As(err, &e) {
			err = e.Err // without the URL
		}
		return fmt.Errorf("get %s: %w", shown, err)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
	if err != nil {
		return nil, "", fail(err)
	}
	res, err := h.client.Do(req)
	if err != nil {
		return nil, "", fail(err)
	}
	defer res.Body.Close()
	switch res.StatusCode {
	case http.StatusOK:
	case http.StatusNotFound, http.StatusGone:
		return nil, "", fail(fmt.Errorf("%s: %w", res.Status, ErrNotFound))
	default:
		return nil, "", fail(errors.New(res.Status))
	}
	data, err := io.ReadAll(io.LimitReader(res.Body, MaxObject+1))
	if err != nil {
		return nil, "", fail(err)
	}
	if len(data) > MaxObject {
		return nil, "", fail(fmt.Errorf("more than %d bytes", MaxObject))
	}
	return data, contentVersion(data), nil
}

// Put implements Store: it always fails with ErrReadOnly.
func (h *HTTP) Put(_ context.Context, path string, _ []byte, _ Version) (Version, error) {
	return "", fmt.Errorf("put %s over HTTP: %w", path, ErrReadOnly)
}
