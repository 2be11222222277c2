// Package browser drives Chromium for tests: it opens a page, and tells what the
// page asked for, complained of and shows.
//
// It speaks the DevTools protocol over two pipes (--remote-debugging-pipe), so
// that no port is open and nothing but Chromium itself is needed.
package browser

import (
	"bufio"
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"sync"
	"time"
)

// ErrMissing: there is no Chromium on this machine.
var ErrMissing = errors.New("no chromium is installed")

// Browser is a running Chromium with an empty profile.
type Browser struct {
	cmd     *exec.Cmd
	sending sync.Mutex
	send    *os.File
	// mu guards what the reading goroutine shares with callers.
	mu      sync.Mutex
	last    int
	replies map[int]chan reply
	pages   map[string]*Page
	ended   error
	done    chan struct{}
}

type reply struct {
	Result json.RawMessage `json:"result"`
	Error  *struct {
		Message string `json:"message"`
	} `json:"error"`
}

// Start runs a Chromium that reaches no host but this one. profile is an empty
// directory. It ends with ctx or with Close.
func Start(ctx context.Context, profile string) (*Browser, error) {
	var program string
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome"} {
		if p, err := exec.LookPath(name); err == nil {
			program = p
			break
		}
	}
	if program == "" {
		return nil, ErrMissing
	}
	theirIn, send, err := os.Pipe()
	if err != nil {
		return nil, fmt.Errorf("start %s: %w", program, err)
	}
	receive, theirOut, err := os.Pipe()
	if err != nil {
		return nil, fmt.Errorf("start %s: %w", program, err)
	}
	// It shows pages of our own only, and often runs as root in a container.
	cmd := exec.CommandContext(ctx, program, "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic",
		"--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync",
		"--disable-dev-shm-usage", "--hide-scrollbars", "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
		"--user-data-dir="+profile, "--remote-debugging-pipe")
	cmd.ExtraFiles = []*os.File{theirIn, theirOut}
	cmd.WaitDelay = 5 * time.Second
	err = cmd.Start()
	_, _ = theirIn.Close(), theirOut.Close()
	if err != nil {
		_, _ = send.Close(), receive.Close()
		return nil, fmt.Errorf("start %s: %w", program, err)
	}
	b := &Browser{cmd: cmd, send: send, replies: map[int]chan reply{}, pages: map[string]*Page{}, done: make(chan struct{})}
	go b.read(receive)
	return b, nil
}

// Close ends the browser.
func (b *Browser) Close() {
	_ = b.call("", "Browser.close", nil, nil)
	select {
	case <-b.done:
	case <-time.After(5 * time.Second):
		_ = b.cmd.Process.Kill()
	}
	_ = b.cmd.Wait()
	_ = b.send.Close()
}

// read takes every message until the pipe ends.
func (b *Browser) read(from *os.File) {
	defer close(b.done)
	defer from.Close()
	r := bufio.NewReader(from)
	for {
		data, err := r.ReadBytes(0)
		if err != nil {
			b.mu.Lock()
			b.ended = fmt.Errorf("the browser has gone: %w", err)
			for _, c := range b.replies {
				close(c)
			}
			b.replies = nil
			b.mu.Unlock()
			return
		}
		var m struct {
			ID        int             `json:"id"`
			SessionID string          `json:"sessionId"`
			Method    string          `json:"method"`
			Params    json.RawMessage `json:"params"`
			reply
		}
		if json.Unmarshal(bytes.TrimSuffix(data, []byte{0}), &m) != nil {
			continue
		}
		b.mu.Lock()
		if c := b.replies[m.ID]; m.ID > 0 && c != nil {
			delete(b.replies, m.ID)
			c <- m.reply
		} else if p := b.pages[m.SessionID]; p != nil {
			p.note(m.Method, m.Params)
		}
		b.mu.Unlock()
	}
}

// call makes one call and waits for its answer. session "" is the browser's own.
func (b *Browser) call(session, method string, params, result any) error {
	b.mu.Lock()
	if b.ended != nil {
		b.mu.Unlock()
		return b.ended
	}
	b.last++
	id, c := b.last, make(chan reply, 1)
	b.replies[id] = c
	if params == nil {
		params = struct{}{}
	}
	data, err := json.Marshal(map[string]any{"id": id, "method": method, "params": params})
	if session != "" && err == nil {
		data, err = json.Marshal(map[string]any{"id": id, "sessionId": session, "method": method, "params": params})
	}
	b.mu.Unlock()
	if err == nil {
		b.sending.Lock()
		_, err = b.send.Write(append(data, 0))
		b.sending.Unlock()
	}
	if err != nil {
		return fmt.Errorf("%s: %w", method, err)
	}
	select {
	case r, ok := <-c:
		switch {
		case !ok:
			return fmt.Errorf("%s: the browser has gone", method)
		case r.Error != nil:
			return fmt.Errorf("%s: %s", method, r.Error.Message)
		case result == nil:
			return nil
		}
		return json.Unmarshal(r.Result, result)
	case <-time.After(time.Minute):
		return fmt.Errorf("%s: no answer in a minute", method)
	}
}

// View is how a page is looked at.
type View struct {
	Width, Height int  // CSS pixels
	Dark          bool // the reader prefers dark colours
	NoScript      bool // scripts are switched off
	NoPolicy      bool // the page's Content-Security-Policy is ignored
	// Before runs before anything of the page does.
	Before string
}

// Page is one tab.
type Page struct {
	b       *Browser
	session string
	target  string
	loaded  chan struct{}
	// of the browser's mu:
	requests, complaints []string
}

// Open opens a URL and waits until it is loaded.
func (b *Browser) Open(url string, v View) (*Page, error) {
	var t struct {
		TargetID string `json:"targetId"`
	}
	if err := b.call("", "Target.createTarget", map[string]any{"url": "about:blank"}, &t); err != nil {
		return nil, err
	}
	var s struct {
		SessionID string `json:"sessionId"`
	}
	if err := b.call("", "Target.attachToTarget", map[string]any{"targetId": t.TargetID, "flatten": true}, &s); err != nil {
		return nil, err
	}
	p := &Page{b: b, session: s.SessionID, target: t.TargetID, loaded: make(chan struct{}, 1)}
	b.mu.Lock()
	b.pages[p.session] = p
	b.mu.Unlock()
	scheme := "light"
	if v.Dark {
		scheme = "dark"
	}
	for _, c := range []struct {
		method string
		params map[string]any
	}{
		{"Page.enable", nil}, {"Runtime.enable", nil}, {"Log.enable", nil}, {"Network.enable", nil},
		{"Emulation.setDeviceMetricsOverride", map[string]any{"width": v.Width, "height": v.Height, "deviceScaleFactor": 1, "mobile": v.Width < 600}},
		{"Emulation.setEmulatedMedia", map[string]any{"features": []map[string]string{{"name": "prefers-color-scheme", "value": scheme}}}},
		{"Emulation.setScriptExecutionDisabled", map[string]any{"value": v.NoScript}},
		{"Page.setBypassCSP", map[string]any{"enabled": v.NoPolicy}},
		{"Page.addScriptToEvaluateOnNewDocument", map[string]any{"source": v.Before}},
		{"Page.navigate", map[string]any{"url": url}},
	} {
		if err := p.call(c.method, c.params, nil); err != nil {
			return nil, fmt.Errorf("open %s: %w", url, err)
		}
	}
	select {
	case <-p.loaded:
		return p, nil
	case <-b.done:
		return nil, fmt.Errorf("open %s: the browser has gone", url)
	case <-time.After(time.Minute):
		return nil, fmt.Errorf("open %s: not loaded in a minute", url)
	}
}

func (p *Page) call(method string, params map[string]any, result any) error {
	if params == nil {
		params = map[string]any{}
	}
	return p.b.call(p.session, method, params, result)
}

// note keeps what the page did; the browser's mu is held.
func (p *Page) note(method string, params json.RawMessage) {
	var e struct {
		Type             string                             `json:"type"`
		Message          string                             `json:"message"`
		Request          struct{ URL string }               `json:"request"`
		Entry            struct{ Level, Text, URL string }  `json:"entry"`
		Args             []struct{ Value, Description any } `json:"args"`
		ExceptionDetails struct {
			Text      string
			Exception struct{ Description string }
		} `json:"exceptionDetails"`
	}
	if err := json.Unmarshal(params, &e); err != nil {
		p.complaints = append(p.complaints, method+": "+err.Error())
		return
	}
	switch method {
	case "Page.loadEventFired":
		select {
		case p.loaded <- struct{}{}:
		default:
		}
	case "Network.requestWillBeSent":
		p.requests = append(p.requests, e.Request.URL)
	case "Runtime.consoleAPICalled":
		p.complaints = append(p.complaints, fmt.Sprintf("console.%s %v", e.Type, e.Args))
	case "Runtime.exceptionThrown":
		p.complaints = append(p.complaints, e.ExceptionDetails.Text+" "+e.ExceptionDetails.Exception.Description)
	case "Log.entryAdded":
		p.complaints = append(p.complaints, e.Entry.Level+": "+e.Entry.Text+" "+e.Entry.URL)
	case "Page.javascriptDialogOpening":
		p.complaints = append(p.complaints, "a dialog opened: "+e.Message)
	}
}

// Requests are the URLs that the page asked for, its own among them.
func (p *Page) Requests() []string {
	p.b.mu.Lock()
	defer p.b.mu.Unlock()
	return slices.Clone(p.requests)
}

// Complaints are what the page or the browser wrote to the console, exceptions
// that nobody caught, and dialogs.
func (p *Page) Complaints() []string {
	p.b.mu.Lock()
	defer p.b.mu.Unlock()
	return slices.Clone(p.complaints)
}

// Eval evaluates an expression in the page, waits for it if it is a promise, and
// decodes its value into out (nil: not wanted).
func (p *Page) Eval(expression string, out any) error {
	var r struct {
		Result           struct{ Value json.RawMessage } `json:"result"`
		ExceptionDetails *struct {
			Text      string
			Exception struct{ Description string }
		} `json:"exceptionDetails"`
	}
	err := p.call("Runtime.evaluate", map[string]any{"expression": expression, "awaitPromise": true, "returnByValue": true, "userGesture": true}, &r)
	if err != nil {
		return err
	}
	if e := r.ExceptionDetails; e != nil {
		return fmt.Errorf("evaluate %.80q: %s %s", expression, e.Text, e.Exception.Description)
	}
	if out == nil {
		return nil
	}
	return json.Unmarshal(r.Result.Value, out)
}

// Wait waits until an expression holds.
func (p *Page) Wait(expression string) error {
	var held bool
	err := p.Eval(`new Promise((done) => {
		const end = Date.now() + 20000, look = () => (`+expression+`) ? done(true) : Date.now() > end ? done(false) : setTimeout(look, 10);
		look();
	})`, &held)
	if err == nil && !held {
		err = fmt.Errorf("in 20 seconds it never came about that %s", expression)
	}
	return err
}

// Type types text where the focus is.
func (p *Page) Type(text string) error {
	return p.call("Input.insertText", map[string]any{"text": text}, nil)
}

// Key presses a key by its DOM name: "Tab", "Enter", "Escape", "/".
func (p *Page) Key(key string) error {
	codes := map[string]int{"Tab": 9, "Enter": 13, "Escape": 27, "ArrowLeft": 37, "ArrowRight": 39, "/": 191}
	press := map[string]any{"type": "keyDown", "key": key, "code": key, "windowsVirtualKeyCode": codes[key]}
	if key == "Enter" {
		press["text"] = "\r"
	} else if len(key) == 1 {
		press["text"] = key
	}
	if err := p.call("Input.dispatchKeyEvent", press, nil); err != nil {
		return err
	}
	return p.call("Input.dispatchKeyEvent", map[string]any{"type": "keyUp", "key": key, "code": key, "windowsVirtualKeyCode": codes[key]}, nil)
}

// Screenshot is what the window shows, or the whole page, as PNG.
func (p *Page) Screenshot(whole bool) ([]byte, error) {
	return p.picture("Page.captureScreenshot", map[string]any{"format": "png", "captureBeyondViewport": whole})
}

// PDF is the page as it prints.
func (p *Page) PDF() ([]byte, error) {
	return p.picture("Page.printToPDF", map[string]any{"preferCSSPageSize": true, "printBackground": false})
}

func (p *Page) picture(method string, params map[string]any) ([]byte, error) {
	if params["captureBeyondViewport"] == true {
		var m struct {
			CSS struct{ Width, Height float64 } `json:"cssContentSize"`
		}
		if err := p.call("Page.getLayoutMetrics", nil, &m); err != nil {
			return nil, err
		}
		params["clip"] = map[string]any{"x": 0, "y": 0, "width": m.CSS.Width, "height": m.CSS.Height, "scale": 1}
	}
	var r struct{ Data string }
	if err := p.call(method, params, &r); err != nil {
		return nil, err
	}
	data, err := base64.StdEncoding.DecodeString(r.Data)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", method, err)
	}
	return data, nil
}

// Close closes the tab.
func (p *Page) Close() {
	_ = p.b.call("", "Target.closeTarget", map[string]any{"targetId": p.target}, nil)
	p.b.mu.Lock()
	delete(p.b.pages, p.session)
	p.b.mu.Unlock()
}
