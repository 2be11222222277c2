package jira

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/auditcanary/auditcanary/shared/inert"
	"github.com/auditcanary/auditcanary/shared/ticket"
)

// maxReply bounds what is read of a reply, bytes.
const maxReply = 16 << 20

// effect is what a call does; it decides what may be done again.
type effect int

const (
	// reads do nothing: whatever fails is tried again.
	reads effect = iota
	// sets is the same done twice: tried again where Jira says that it is busy.
	sets
	// adds is something else done twice: tried again only where Jira says that it did
	// not look at it (429).
	adds
)

// failure is a call that did not succeed.
type failure struct {
	op     string // "create a ticket in SEC"
	status int    // 0: no answer
	text   string // why, inert
	// wait is how long Jira asks to wait; waits: whether it does.
	wait  time.Duration
	waits bool
	// fields that Jira refuses, by id.
	fields []string
	causes []error // ErrRefused, ErrGone, of the context
}

func (f *failure) Error() string {
	if f.status == 0 {
		return fmt.Sprintf("jira: %s: %s", f.op, f.text)
	}
	return fmt.Sprintf("jira: %s: %d: %s", f.op, f.status, f.text)
}

func (f *failure) Unwrap() []error { return f.causes }

// refuse is an error that will not go away by itself.
func (d *Desk) refuse(op, format string, args ...any) error {
	return &failure{op: op, text: d.inert(fmt.Sprintf(format, args...)), causes: []error{ticket.ErrRefused}}
}

// inert makes the text of a server fit for an error: on one line, bounded, without the token.
func (d *Desk) inert(s string) string {
	for _, secret := range d.secrets {
		s = strings.ReplaceAll(s, secret, "[token]")
	}
	s = strings.TrimSpace(inert.Line(strings.Join(strings.Fields(s), " ")))
	if short := clip(s, 400); short != s {
		s = short + "…"
	}
	return s
}

// call sends a request and decodes the reply into out (nil: none). It waits where Jira
// asks for it, as long as ctx and the configuration allow.
func (d *Desk) call(ctx context.Context, op string, e effect, method, path string, body, out any) error {
	return d.send(ctx, op, e, out, func(ctx context.Context) (*http.Request, error) {
		req, err := d.client.NewRequestWithContext(ctx, method, path, body)
		if err == nil {
			req.Header.Set("Accept", "application/json")
		}
		return req, err
	})
}

func (d *Desk) send(ctx context.Context, op string, e effect, out any, request func(context.Context) (*http.Request, error)) error {
	var waited time.Duration
	for attempt := 1; ; attempt++ {
		err := d.once(ctx, op, out, request)
		var f *failure
		if err == nil || !errors.As(err, &f) || ctx.Err() != nil {
			return err
		}
		again := f.status == http.StatusTooManyRequests ||
			e <= sets && f.status == http.StatusServiceUnavailable && f.waits ||
			e == reads && (f.status == 0 || f.status >= 500)
		if !again || f.causes != nil || attempt == 5 {
			return err
		}
		if !f.waits {
			f.wait = time.Second << (attempt - 1)
		}
		if err := d.wait(ctx, f, &waited); err != nil {
			return err
		}
	}
}

// wait waits as a failure asks for, and returns it if there is no time for that.
func (d *Desk) wait(ctx context.Context, f *failure, waited *time.Duration) error {
	deadline, bounded := ctx.Deadline()
	// (A deadline is always of the real clock.)
	if *waited += f.wait; *waited > d.cfg.MaxWait || bounded && f.wait > time.Until(deadline) {
		f.text += fmt.Sprintf(" (it asks to wait %v, and there is no time left for that)", f.wait)
		return f
	}
	if err := d.cfg.Sleep(ctx, f.wait); err != nil {
		f.causes = append(f.causes, err)
		return f
	}
	return nil
}

// once is one request.
func (d *Desk) once(ctx context.Context, op string, out any, request func(context.Context) (*http.Request, error)) error {
	fail := func(err error) error {
		f := &failure{op: op}
		var at *url.Error
		if errors.As(err, &at) {
			err = at.Err // without the method and URL
		}
		f.text = d.inert(err.Error())
		if cause := ctx.Err(); cause != nil {
			f.causes = append(f.causes, cause)
		}
		return f
	}
	within, cancel := context.WithTimeout(ctx, d.cfg.HTTPTimeout)
	defer cancel()
	req, err := request(within)
	if err != nil {
		return fail(err)
	}
	resp, err := d.client.Do(req, nil)
	if resp == nil {
		if within.Err() != nil && ctx.Err() == nil {
			err = fmt.Errorf("no answer within %v; whether it was done is not known", d.cfg.HTTPTimeout)
		}
		return fail(err)
	}
	defer resp.Body.Close()
	data, readErr := io.ReadAll(io.LimitReader(resp.Body, maxReply+1))
	if resp.Header.Get("X-Ausername") == "anonymous" {
		return &failure{op: op, status: resp.StatusCode, text: "Jira takes us for nobody: the token is not accepted", causes: []error{ticket.ErrRefused}}
	}
	if err != nil {
		return d.refusal(op, resp.Response, data)
	}
	switch {
	case readErr != nil:
		return fail(fmt.Errorf("the answer (%d) breaks off: %w", resp.StatusCode, readErr))
	case len(data) > maxReply:
		return &failure{op: op, status: resp.StatusCode, text: fmt.Sprintf("the answer is longer than %d MiB", maxReply>>20)}
	case out == nil:
		return nil
	}
	if err := json.Unmarshal(data, out); err != nil {
		return &failure{op: op, status: resp.StatusCode, text: d.inert(fmt.Sprintf("the answer (%s) is not what Jira answers: %v: is the URL that of the site?", resp.Header.Get("Content-Type"), err))}
	}
	return nil
}

// refusal is the failure that a reply of no success is.
func (d *Desk) refusal(op string, resp *http.Response, data []byte) *failure {
	f := &failure{op: op, status: resp.StatusCode}
	var said struct {
		ErrorMessages []string          `json:"errorMessages"`
		Errors        map[string]string `json:"errors"`
		Message       string            `json:"message"`
	}
	var parts []string
	if json.Unmarshal(data, &said) == nil {
		parts = said.ErrorMessages
		for _, field := range slices.Sorted(maps.Keys(said.Errors)) {
			f.fields = append(f.fields, field)
			parts = append(parts, field+": "+said.Errors[field])
		}
		if said.Message != "" {
			parts = append(parts, said.Message)
		}
	}
	if f.text = d.inert(strings.Join(parts, "; ")); f.text == "" {
		f.text = http.StatusText(f.status)
	}
	refused := f.status >= 300 && f.status < 500
	switch f.status {
	case http.StatusUnauthorized:
		f.text += " (is the token right, and not expired?)"
	case http.StatusForbidden:
		if reason := resp.Header.Get("X-Seraph-Loginreason"); strings.Contains(reason, "AUTHENTICATION_DENIED") {
			f.text += " (Jira wants a CAPTCHA: log in once with a browser)"
		} else {
			f.text += fmt.Sprintf(" (does the account have the permission in project %s?)", d.cfg.Project)
		}
	case http.StatusRequestTimeout, http.StatusConflict, http.StatusTooEarly, http.StatusTooManyRequests:
		refused = false // goes away by itself
	}
	if f.status < 400 {
		f.text = "it sends us to " + d.inert(resp.Header.Get("Location")) + ", where the token does not go: is the URL that of the site?"
	}
	if refused {
		f.causes = append(f.causes, ticket.ErrRefused)
	}
	f.wait, f.waits = d.retryAfter(resp.Header)
	return f
}

// retryAfter reads how long a reply asks to wait: seconds, or a date by the server's clock.
func (d *Desk) retryAfter(h http.Header) (time.Duration, bool) {
	text := strings.TrimSpace(h.Get("Retry-After"))
	if s, err := strconv.ParseUint(text, 10, 31); err == nil {
		return time.Duration(s) * time.Second, true
	}
	at, err := http.ParseTime(text)
	if err != nil {
		return 0, false
	}
	now := d.cfg.Now()
	if date, err := http.ParseTime(h.Get("Date")); err == nil {
		now = date
	}
	return max(at.Sub(now), 0), true
}
