package logstore

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"time"
)

// Endpoint is where a store answers over HTTP, and as whom it is asked.
type Endpoint struct {
	// URL of the store, with a path if it has one. https, unless it is on this machine.
	URL string
	// Bearer token, or User and Password; "" for none.
	Bearer, User, Password string
	// Header names the tenant, where the store has several.
	Header map[string]string
	// CA certificates (PEM) to trust instead of the system's; nil for those.
	CA []byte
	// Timeout of one request, 1 minute if zero.
	Timeout time.Duration
}

// CheckURL says what is wrong with the URL of a store.
func CheckURL(text string) error {
	u, err := url.Parse(text)
	switch {
	case err != nil:
		return errors.New("it is no URL") // the parser repeats it, with what should not be in it
	case u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "":
		return errors.New("it does not begin with https:// and a host")
	case u.User != nil:
		return errors.New("user and password do not belong into it")
	case u.RawQuery != "" || u.Fragment != "":
		return errors.New("it has a query or a fragment")
	case u.Scheme == "http" && !isLoopback(u.Hostname()):
		return errors.New("http is for this machine only: anybody between could change what is answered")
	}
	return nil
}

func isLoopback(host string) bool {
	addr, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && addr.IsLoopback()
}

// maxReply bounds one reply, in bytes.
const maxReply = 64 << 20

// caller asks one endpoint.
type caller struct {
	at     Endpoint
	base   string
	client *http.Client
}

func newCaller(at Endpoint) (*caller, error) {
	if err := CheckURL(at.URL); err != nil {
		return nil, fmt.Errorf("the URL of the store: %w", err)
	}
	if at.Timeout == 0 {
		at.Timeout = time.Minute
	}
	transport := &http.Transport{
		Proxy:               http.ProxyFromEnvironment,
		DialContext:         (&net.Dialer{Timeout: 10 * time.Second}).DialContext,
		TLSHandshakeTimeout: 10 * time.Second,
		TLSClientConfig:     &tls.Config{MinVersion: tls.VersionTLS12},
		ForceAttemptHTTP2:   true,
		IdleConnTimeout:     30 * time.Second,
	}
	if at.CA != nil {
		pool := x509.NewCertPool()
		if !pool.AppendCertsFromPEM(at.CA) {
			return nil, errors.New("the CA file holds no certificate in PEM form")
		}
		transport.TLSClientConfig.RootCAs = pool
	}
	return &caller{at: at, base: strings.TrimSuffix(at.URL, "/"), client: &http.Client{
		Transport: transport, Timeout: at.Timeout,
		// Elsewhere nobody should be told the token, and nothing should be believed.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}, nil
}

// reply is what was answered, whole.
type reply struct {
	body []byte
	kind string    // Content-Type
	date time.Time // the store's clock
}

// post sends a form. The error is for anything but a whole reply of 200 with a time;
// what of the body was read before it is returned too.
func (c *caller) post(ctx context.Context, path string, form url.Values) (reply, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, c.base+path, strings.NewReader(form.Encode()))
	if err != nil {
		return reply{}, fmt.Errorf("POST %s: %w", path, err)
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	return c.do(req, path)
}

func (c *caller) get(ctx context.Context, path string, query url.Values) (reply, error) {
	target := c.base + path
	if len(query) > 0 {
		target += "?" + query.Encode()
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, target, nil)
	if err != nil {
		return reply{}, fmt.Errorf("GET %s: %w", path, err)
	}
	return c.do(req, path)
}

func (c *caller) do(req *http.Request, path string) (reply, error) {
	call := req.Method + " " + path
	req.Header.Set("User-Agent", "auditcanary")
	// What somebody asked before may be answered from a cache, and must not be.
	req.Header.Set("Cache-Control", "no-cache")
	for name, v := range c.at.Header {
		req.Header.Set(name, v)
	}
	switch {
	case c.at.Bearer != "":
		req.Header.Set("Authorization", "Bearer "+c.at.Bearer)
	case c.at.User != "" || c.at.Password != "":
		req.SetBasicAuth(c.at.User, c.at.Password)
	}
	res, err := c.client.Do(req)
	if err != nil {
		return reply{}, fmt.Errorf("%s: %w", call, cause(err))
	}
	defer res.Body.Close()
	var out reply
	out.kind = res.Header.Get("Content-Type")
	if out.date, err = http.ParseTime(res.Header.Get("Date")); err != nil {
		out.date = time.Time{}
	}
	out.body, err = io.ReadAll(io.LimitReader(res.Body, maxReply+1))
	switch {
	case res.StatusCode != http.StatusOK:
		return reply{}, fmt.Errorf("%s: answered %s%s", call, res.Status, said(out.body))
	case err != nil:
		return out, fmt.Errorf("%s: the reply was cut after %d bytes: %w", call, len(out.body), cause(err))
	case len(out.body) > maxReply:
		out.body = out.body[:maxReply]
		return out, fmt.Errorf("%s: the reply is longer than %d bytes", call, maxReply)
	case out.date.IsZero():
		return out, fmt.Errorf("%s: the reply has no Date: the store's clock is not known", call)
	}
	return out, nil
}

// cause is an error without the URL, which only repeats what the caller says.
func cause(err error) error {
	var u *url.Error
	if errors.As(err, &u) {
		return u.Err
	}
	return err
}

// said quotes what a server said of itself, briefly: it goes into the ledger.
func said(body []byte) string {
	const most = 300
	text := strings.Join(strings.Fields(strings.ToValidUTF8(string(body[:min(len(body), most)]), "")), " ")
	if text == "" {
		return ""
	}
	return fmt.Sprintf(": %q", text)
}
