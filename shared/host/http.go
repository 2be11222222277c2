package host

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/aws/aws-lambda-go/events"
	"github.com/aws/aws-lambda-go/lambda"
)

// MainHTTP runs a function that answers whole HTTP requests, headers and all, under the
// face that the environment asks for:
//
//   - Lambda: behind a function URL or an HTTP API (payload format 2.0).
//   - Functions Framework: every path.
//   - Terminal: on this machine only, at -listen (127.0.0.1:8080).
//
// open is called once. MainHTTP does not return.
func MainHTTP(name string, open func(ctx context.Context) (http.Handler, error)) {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop)
	os.Exit(runHTTP(ctx, name, open))
}

func runHTTP(ctx context.Context, name string, open func(ctx context.Context) (http.Handler, error)) int {
	h, err := open(ctx)
	if err != nil {
		fmt.Fprintf(os.Stderr, "%s: %v\n", name, err)
		return exitUnknown
	}
	switch {
	case os.Getenv("AWS_LAMBDA_RUNTIME_API") != "":
		watched := deployedOn().watchedHTTP(name, h)
		lambda.StartWithOptions(func(ctx context.Context, event json.RawMessage) (events.APIGatewayV2HTTPResponse, error) {
			return answerEvent(ctx, event, watched)
		}, lambda.WithContext(ctx), lambda.WithEnableSIGTERM())
		return 1 // not reached: Start ends the process itself
	case os.Getenv("FUNCTION_TARGET") != "" || os.Getenv("K_SERVICE") != "":
		return frame(ctx, name, deployedOn().watchedHTTP(name, h).ServeHTTP)
	}
	flags := flag.NewFlagSet(name, flag.ContinueOnError)
	listen := flags.String("listen", "127.0.0.1:8080", "`ADDRESS:PORT` of this machine; port 0: any that is free")
	switch err := flags.Parse(os.Args[1:]); {
	case errors.Is(err, flag.ErrHelp):
		return 0
	case err != nil:
		return exitUnknown
	case flags.NArg() > 0:
		fmt.Fprintf(os.Stderr, "%s: unexpected argument %q\n", name, flags.Arg(0))
		return exitUnknown
	}
	if err := Serve(ctx, *listen, h, os.Stdout); err != nil {
		fmt.Fprintf(os.Stderr, "%s: %v\n", name, err)
		return exitUnknown
	}
	return 0
}

// Serve answers requests on this machine until ctx ends, then lets those in hand finish.
// It writes to out where it listens.
func Serve(ctx context.Context, listen string, h http.Handler, out io.Writer) error {
	where, _, err := net.SplitHostPort(listen)
	if err != nil {
		return fmt.Errorf("listen at %s: %w", listen, err)
	}
	if ip, err := netip.ParseAddr(where); where != "localhost" && (err != nil || !ip.IsLoopback()) {
		return fmt.Errorf("listen at %s: only on this machine (127.0.0.1): what faces others is the platform's affair", listen)
	}
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", listen)
	if err != nil {
		return fmt.Errorf("listen at %s: %w", listen, err)
	}
	fmt.Fprintf(out, "http://%s/\n", l.Addr())
	s := &http.Server{
		Handler: h, MaxHeaderBytes: 64 << 10,
		ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 10 * time.Second, WriteTimeout: 30 * time.Second, IdleTimeout: time.Minute,
	}
	stopped := make(chan error, 1)
	stop := context.AfterFunc(ctx, func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
		defer cancel()
		stopped <- s.Shutdown(ctx)
	})
	defer stop()
	if err := s.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serve at %s: %w", listen, err)
	}
	return <-stopped
}

// answerEvent answers one request that an event describes. What is wrong with an event
// is an answer too: an error would be a failure of the function, which is retried.
func answerEvent(ctx context.Context, event json.RawMessage, h http.Handler) (events.APIGatewayV2HTTPResponse, error) {
	w := &recorder{header: http.Header{}}
	r, err := requestOf(ctx, event)
	if err != nil {
		refuse(w, http.StatusBadRequest, err)
	} else {
		h.ServeHTTP(w, r)
	}
	return w.event(), nil
}

// requestOf makes the request that an event of a function URL or an HTTP API describes,
// payload format 2.0: header names in lower case, several values of one joined by commas,
// cookies apart, the body perhaps in base64.
func requestOf(ctx context.Context, event json.RawMessage) (*http.Request, error) {
	var e events.APIGatewayV2HTTPRequest
	if err := json.Unmarshal(event, &e); err != nil {
		return nil, fmt.Errorf("the event is no HTTP request: %w", err)
	}
	if e.Version != "2.0" || e.RequestContext.HTTP.Method == "" {
		return nil, fmt.Errorf("the event is no HTTP request of payload format 2.0 (version %.20q): put the function behind a function URL or an HTTP API", e.Version)
	}
	body := []byte(e.Body)
	if e.IsBase64Encoded {
		var err error
		if body, err = base64.StdEncoding.DecodeString(e.Body); err != nil {
			return nil, fmt.Errorf("the request's body is not base64: %w", err)
		}
	}
	path := e.RawPath
	if path == "" {
		path = "/"
	}
	u, err := url.ParseRequestURI(path)
	if err != nil || u.Host != "" || !strings.HasPrefix(u.Path, "/") {
		return nil, fmt.Errorf("the request's path %.100q is none", e.RawPath)
	}
	u.RawQuery, u.Fragment = e.RawQueryString, ""
	r, err := http.NewRequestWithContext(ctx, e.RequestContext.HTTP.Method, "/", bytes.NewReader(body))
	if err != nil {
		return nil, fmt.Errorf("the event is no HTTP request: %w", err)
	}
	r.URL, r.RequestURI = u, u.RequestURI()
	for _, name := range slices.Sorted(maps.Keys(e.Headers)) {
		r.Header.Add(name, e.Headers[name])
	}
	for _, c := range e.Cookies {
		r.Header.Add("Cookie", c)
	}
	r.Host, r.RemoteAddr = r.Header.Get("Host"), e.RequestContext.HTTP.SourceIP
	return r, nil
}

// recorder keeps an answer until it is an event.
type recorder struct {
	header http.Header
	status int
	body   bytes.Buffer
}

func (w *recorder) Header() http.Header { return w.header }

func (w *recorder) WriteHeader(status int) {
	if w.status == 0 {
		w.status = status
	}
}

func (w *recorder) Write(b []byte) (int, error) {
	w.WriteHeader(http.StatusOK)
	return w.body.Write(b)
}

func (w *recorder) event() events.APIGatewayV2HTTPResponse {
	w.WriteHeader(http.StatusOK)
	out := events.APIGatewayV2HTTPResponse{StatusCode: w.status, Headers: map[string]string{}, Cookies: w.header.Values("Set-Cookie"), Body: w.body.String()}
	for name, values := range w.header {
		if name != "Set-Cookie" {
			out.Headers[name] = strings.Join(values, ",")
		}
	}
	return out
}
