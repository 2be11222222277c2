package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"os/exec"
	"runtime"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"github.com/auditcanary/auditcanary/shared/report"
	"github.com/auditcanary/auditcanary/shared/wire"
)

func serveCommand(o *options) *cobra.Command {
	var p period
	var listen string
	var show bool
	cmd := &cobra.Command{
		Use:   "serve",
		Short: "Serve the report to browsers on this machine, always of the ledger as it is",
		Long: `Serves the page of report --format html, and draws it up anew whenever the ledger
has grown. It only reads, it has no other page, and it listens on this machine only:
what it shows is evidence, and it asks nobody who they are.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := loopback(listen); err != nil {
				return fmt.Errorf("--listen %s: %w", listen, err)
			}
			s := &server{
				head: func(ctx context.Context) (string, error) { return ledgerHead(ctx, o) },
				draw: func(now time.Time) ([]byte, error) {
					r, _, err := p.report(cmd, o, now)
					if err != nil {
						return nil, err
					}
					var page bytes.Buffer
					err = report.WriteHTML(&page, r)
					return page.Bytes(), err
				},
				clock: time.Now,
			}
			// What is wrong with the configuration or the ledger is said at once.
			if _, err := s.page(cmd.Context()); err != nil {
				return err
			}
			l, err := new(net.ListenConfig).Listen(cmd.Context(), "tcp", listen)
			if err != nil {
				return fmt.Errorf("serve: %w", err)
			}
			s.port = uint16(l.Addr().(*net.TCPAddr).Port)
			url := "http://" + l.Addr().String() + "/"
			fmt.Fprintln(cmd.OutOrStdout(), url)
			if show {
				if err := browse(cmd.Context(), url); err != nil {
					fmt.Fprintln(cmd.ErrOrStderr(), printable(err.Error()))
				}
			}
			return s.serve(cmd.Context(), l)
		},
	}
	p.flags(cmd)
	cmd.Flags().StringVar(&listen, "listen", "127.0.0.1:0", "address and port of this machine; port 0: any that is free")
	cmd.Flags().BoolVar(&show, "open", false, "open it in a browser")
	return cmd
}

// loopback refuses every address that others could reach.
func loopback(listen string) error {
	host, _, err := net.SplitHostPort(listen)
	if err != nil {
		return err
	}
	if !local(host) {
		return errors.New("only addresses of this machine itself, such as 127.0.0.1:8080: whoever is to see the report gets the file of report --format html")
	}
	return nil
}

func local(host string) bool {
	ip, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && ip.IsLoopback()
}

// ledgerHead names the state of the ledger: two that are equal hold the same entries.
func ledgerHead(ctx context.Context, o *options) (string, error) {
	cfg, err := o.load()
	if err != nil {
		return "", err
	}
	log, err := wire.OpenLedger(ctx, cfg, wire.ReadOnly)
	if wire.NotBegun(err) {
		return "not begun", nil
	}
	if err != nil {
		return "", err
	}
	cp, err := log.Checkpoint(ctx)
	if err != nil {
		return "", err
	}
	return fmt.Sprintf("%s %d %s", cp.Origin, cp.Size, cp.Root), nil
}

// server shows one page, and keeps it for as long as the ledger does not grow.
type server struct {
	head  func(context.Context) (string, error)
	draw  func(now time.Time) ([]byte, error)
	clock func() time.Time
	port  uint16

	mu    sync.Mutex
	of    string // the ledger's head
	drawn time.Time
	html  []byte
}

// maxDrawn is how long a page is kept: what was proven goes stale without the
// ledger growing.
const maxDrawn = time.Hour

// page is the report of the ledger as it is now.
func (s *server) page(ctx context.Context) ([]byte, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	head, err := s.head(ctx)
	if err != nil {
		return nil, err
	}
	now := s.clock()
	if s.html != nil && s.of == head && now.Sub(s.drawn) < maxDrawn {
		return s.html, nil
	}
	html, err := s.draw(now)
	if err != nil {
		return nil, err
	}
	s.html, s.of, s.drawn = html, head, now
	return html, nil
}

func (s *server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	for name, value := range map[string]string{
		"Content-Security-Policy": report.HTMLPolicy() + "; frame-ancestors 'none'",
		"X-Content-Type-Options":  "nosniff", "X-Frame-Options": "DENY", "Referrer-Policy": "no-referrer",
		"Cross-Origin-Opener-Policy": "same-origin", "Cross-Origin-Resource-Policy": "same-origin", "Cache-Control": "no-store",
	} {
		h.Set(name, value)
	}
	switch {
	case !s.ours(r.Host):
		// Somebody's web page may have its own name point to this machine, in order to
		// read what is served here; the browser then still sends that name.
		http.Error(w, "this server answers to its own address only", http.StatusMisdirectedRequest)
	case r.Method != http.MethodGet && r.Method != http.MethodHead:
		h.Set("Allow", "GET, HEAD")
		http.Error(w, "this server is only read from", http.StatusMethodNotAllowed)
	case r.URL.Path != "/":
		http.Error(w, "there is one page only, at /", http.StatusNotFound)
	default:
		page, err := s.page(r.Context())
		if err != nil {
			http.Error(w, "The report could not be drawn up: "+printable(err.Error()), http.StatusInternalServerError)
			return
		}
		h.Set("Content-Type", "text/html; charset=utf-8")
		http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(page))
	}
}

// ours reports whether a Host header names this server.
func (s *server) ours(host string) bool {
	name, port, err := net.SplitHostPort(host)
	return err == nil && local(name) && port == fmt.Sprint(s.port)
}

// serve answers until ctx ends.
func (s *server) serve(ctx context.Context, l net.Listener) error {
	srv := &http.Server{Handler: s, ReadHeaderTimeout: 10 * time.Second, IdleTimeout: time.Minute, MaxHeaderBytes: 16 << 10}
	ended := make(chan error, 1)
	go func() { ended <- srv.Serve(l) }()
	select {
	case err := <-ended:
		return fmt.Errorf("serve: %w", err)
	case <-ctx.Done():
		return srv.Close()
	}
}

// browse shows a file or URL in the browser of whoever sits at this machine.
func browse(ctx context.Context, what string) error {
	opener := map[string][]string{"darwin": {"open"}, "windows": {"rundll32", "url.dll,FileProtocolHandler"}}[runtime.GOOS]
	if opener == nil {
		opener = []string{"xdg-open"}
	}
	if err := exec.CommandContext(ctx, opener[0], append(opener[1:], what)...).Run(); err != nil {
		return fmt.Errorf("no browser could be opened (%s: %w): open %s yourself", opener[0], err, what)
	}
	return nil
}
