package kubernetes

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/transport"

	"github.com/auditcanary/auditcanary/shared/canary"
)

// userAgent of every call; "app/auditcanary" in it marks what claims to be ours.
const userAgent = "auditcanary/1 app/" + canary.Marker

// maxReply bounds what is read of a reply, in bytes.
const maxReply = 4 << 20

// server is the API server of a cluster.
type server struct {
	base    string // https://host:port/prefix
	tls     http.RoundTripper
	asSelf  http.RoundTripper // with the injector's own credentials
	timeout time.Duration
}

// newServer prepares connections; it does no I/O but to read what the configuration
// names (certificates).
func newServer(cfg *rest.Config, timeout time.Duration) (*server, error) {
	base, _, err := rest.DefaultServerUrlFor(cfg)
	if err != nil {
		return nil, fmt.Errorf("address of the API server: %w", err)
	}
	if base.Scheme != "https" {
		return nil, fmt.Errorf("address of the API server %q is not https: tokens are not sent in the clear", base.Redacted())
	}
	if cfg.Insecure {
		return nil, errors.New("insecure-skip-tls-verify is set: whoever answers could claim to be the API server")
	}
	tc, err := cfg.TransportConfig()
	if err != nil {
		return nil, fmt.Errorf("credentials: %w", err)
	}
	// Each call has a connection of its own: one that was kept open may be closed under a
	// request, which is then sent again, and a canary call is made once.
	connect := func(clientCert bool) (*http.Transport, error) {
		c := &transport.Config{TLS: tc.TLS}
		if !clientCert {
			c.TLS.CertFile, c.TLS.CertData, c.TLS.KeyFile, c.TLS.KeyData, c.TLS.GetCertHolder = "", nil, "", nil, nil
		}
		conf, err := transport.TLSConfigFor(c)
		if err != nil {
			return nil, fmt.Errorf("TLS settings: %w", err)
		}
		if conf != nil {
			conf.NextProtos = []string{"http/1.1"}
		}
		proxy := http.ProxyFromEnvironment
		if cfg.Proxy != nil {
			proxy = cfg.Proxy
		}
		t := &http.Transport{TLSClientConfig: conf, Proxy: proxy, DisableKeepAlives: true, DisableCompression: true, TLSHandshakeTimeout: timeout}
		if tc.DialHolder != nil {
			t.DialContext = tc.DialHolder.Dial
		}
		return t, nil
	}
	s := &server{base: strings.TrimSuffix(base.String(), "/"), timeout: timeout}
	own, err := connect(true)
	if err != nil {
		return nil, err
	}
	if s.asSelf, err = transport.HTTPWrappersForConfig(tc, own); err != nil {
		return nil, fmt.Errorf("credentials: %w", err)
	}
	if s.tls, err = connect(false); err != nil {
		return nil, err
	}
	return s, nil
}

// message is one request.
type message struct {
	endpoint
	contentType string
	body        []byte
	token       string // "": the injector's own credentials
	impersonate *impersonation
}

// exchange is what one request showed on the wire.
type exchange struct {
	sent    string    // the Audit-ID that was sent; "": nothing was sent
	auditID string    // that was answered
	status  int       // 0: no answer
	date    time.Time // of the answer, by the server's clock
	body    []byte
}

var auditIDForm = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9-]{7,63}$`)

// send makes one request. What was seen of the answer comes with an error too.
func (s *server) send(ctx context.Context, m message) (x exchange, err error) {
	target, err := url.Parse(s.base + m.uri())
	if err != nil {
		return x, fmt.Errorf("address: %w", err)
	}
	var body io.Reader
	if m.body != nil {
		body = bytes.NewReader(m.body)
	}
	req, err := http.NewRequestWithContext(ctx, m.method, target.String(), body)
	if err != nil {
		return x, err
	}
	req.GetBody = nil // nothing is ever sent twice
	req.Header.Set("User-Agent", userAgent)
	req.Header.Set("Accept", "application/json")
	if m.body != nil {
		req.Header.Set("Content-Type", m.contentType)
	}
	if m.impersonate != nil {
		req.Header.Set("Impersonate-User", m.impersonate.User)
		for _, g := range m.impersonate.Groups {
			req.Header.Add("Impersonate-Group", g)
		}
	}
	through := s.asSelf
	if m.token != "" {
		req.Header.Set("Authorization", "Bearer "+m.token)
		through = s.tls
	}
	id := newAuditID()
	req.Header.Set("Audit-Id", id)
	x.sent = id
	client := http.Client{Transport: through, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	resp, err := client.Do(req)
	if err != nil {
		return x, err
	}
	defer resp.Body.Close()
	x.status = resp.StatusCode
	if a := resp.Header.Get("Audit-Id"); auditIDForm.MatchString(a) {
		x.auditID = a
	}
	if date, err := http.ParseTime(resp.Header.Get("Date")); err == nil {
		x.date = date.UTC()
	}
	x.body, err = io.ReadAll(io.LimitReader(resp.Body, maxReply+1))
	if err == nil && len(x.body) > maxReply {
		err = fmt.Errorf("the reply is longer than %d bytes", maxReply)
	}
	return x, err
}

// newAuditID is a version 4 UUID.
func newAuditID() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // never fails (crypto/rand)
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}

// Codes of receipts that no API server gave.
const (
	codeNotSent    = "NotSent"    // nothing left this machine
	codeTimeout    = "Timeout"    // no answer in time
	codeCancelled  = "Cancelled"  // the caller stopped waiting
	codeNoAnswer   = "NoAnswer"   // the connection was cut
	codeUnreadable = "Unreadable" // an answer that is not the API server's
)

// forbidden is the reason of a refusal.
const forbidden = string(metav1.StatusReasonForbidden)

// outcome reads what came of a request.
func (x exchange) outcome(err error) canary.Outcome {
	say := func(result canary.Result, code, format string, args ...any) canary.Outcome {
		return canary.Outcome{Result: result, Code: code, Message: fmt.Sprintf(format, args...)}
	}
	switch {
	case err != nil && (x.sent == "" || x.status == 0 && neverConnected(err)):
		return say(canary.Failed, codeNotSent, "%v", err)
	case err != nil && x.status == 0 && isTimeout(err):
		return say(canary.Unknown, codeTimeout, "%v", err)
	case errors.Is(err, context.Canceled) && x.status == 0:
		return say(canary.Unknown, codeCancelled, "%v", err)
	case err != nil && x.status == 0:
		return say(canary.Unknown, codeNoAnswer, "%v", err)
	case err != nil:
		return say(canary.Unknown, codeUnreadable, "HTTP status %d, and then: %v", x.status, err)
	}
	var st metav1.Status
	isStatus := json.Unmarshal(x.body, &st) == nil && st.Kind == "Status" && st.APIVersion == "v1"
	switch {
	case x.status >= 200 && x.status < 300:
		var object map[string]any
		if json.Unmarshal(x.body, &object) != nil || object["kind"] == nil || isStatus && st.Status != metav1.StatusSuccess {
			return say(canary.Unknown, codeUnreadable, "HTTP status %d with what is no object: %s", x.status, begins(x.body))
		}
		return canary.Outcome{Result: canary.Succeeded}
	case x.status < 400 || !isStatus || st.Status != metav1.StatusFailure || int(st.Code) != x.status:
		return say(canary.Unknown, codeUnreadable, "HTTP status %d with what is no answer of an API server: %s", x.status, begins(x.body))
	case x.status == http.StatusForbidden && st.Reason == metav1.StatusReasonForbidden:
		return say(canary.Refused, forbidden, "%s", st.Message)
	case x.status < 500:
		return say(canary.Failed, reason(st), "%s", st.Message)
	default: // it broke down: it may have acted before it did
		return say(canary.Unknown, reason(st), "%s", st.Message)
	}
}

// reason is a status's reason, in a word.
func reason(st metav1.Status) string {
	r := string(st.Reason)
	if r == "" || len(r) > 100 || strings.ContainsFunc(r, func(c rune) bool { return (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') }) {
		return fmt.Sprint(st.Code)
	}
	return r
}

func begins(b []byte) string { return fmt.Sprintf("%.200q", b) }

// neverConnected: the request cannot have reached anybody.
func neverConnected(err error) bool {
	var op *net.OpError
	var dns *net.DNSError
	return errors.As(err, &op) && op.Op == "dial" || errors.As(err, &dns)
}

func isTimeout(err error) bool {
	var n net.Error
	return errors.Is(err, context.DeadlineExceeded) || errors.As(err, &n) && n.Timeout()
}
