package cluster

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
)

// Shipper takes event lists from an API server's webhook and pushes each event, byte for
// byte, to VictoriaLogs. It is what a log agent is elsewhere.
type Shipper struct {
	URL string // where the webhook delivers to
	// Cut answers what is delivered with an error, as a way to the store that is cut.
	Cut atomic.Bool
	// Shipped and Refused count events, and lists.
	Shipped, Refused atomic.Int64

	server  *httptest.Server
	store   atomic.Value // string
	cluster string
}

// Ship begins to ship the events of a cluster to the VictoriaLogs at that URL.
func Ship(store, cluster string) *Shipper {
	s := &Shipper{cluster: cluster}
	s.Redirect(store)
	s.server = httptest.NewServer(s)
	s.URL = s.server.URL
	return s
}

// Redirect ships to another VictoriaLogs from now on.
func (s *Shipper) Redirect(store string) { s.store.Store(store) }

// Stop ends it.
func (s *Shipper) Stop() { s.server.Close() }

// ServeHTTP takes one list.
func (s *Shipper) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if s.Cut.Load() {
		s.Refused.Add(1)
		http.Error(w, "the way to the store is cut", http.StatusServiceUnavailable)
		return
	}
	n, err := s.ship(r.Context(), r.Body)
	if err != nil {
		s.Refused.Add(1)
		http.Error(w, err.Error(), http.StatusBadGateway)
		return
	}
	s.Shipped.Add(int64(n))
}

func (s *Shipper) ship(ctx context.Context, list io.Reader) (int, error) {
	data, err := io.ReadAll(list)
	if err != nil {
		return 0, err
	}
	var l struct{ Items []json.RawMessage }
	if err := json.Unmarshal(data, &l); err != nil {
		return 0, fmt.Errorf("read what the webhook delivered: %w", err)
	}
	var lines bytes.Buffer
	for _, item := range l.Items {
		var e struct{ StageTimestamp string }
		if err := json.Unmarshal(item, &e); err != nil {
			return 0, err
		}
		line, err := json.Marshal(map[string]string{"_msg": string(item), "_time": e.StageTimestamp, "job": "kube-audit", "cluster": s.cluster})
		if err != nil {
			return 0, err
		}
		lines.Write(append(line, '\n'))
	}
	return len(l.Items), post(ctx, s.store.Load().(string)+"/insert/jsonline?_stream_fields=job,cluster", "application/stream+json", &lines)
}

func post(ctx context.Context, to, contentType string, body io.Reader) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, to, body)
	if err != nil {
		return err
	}
	if contentType != "" {
		req.Header.Set("Content-Type", contentType)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode >= 300 {
		said, _ := io.ReadAll(io.LimitReader(resp.Body, 1000))
		return fmt.Errorf("%s: %s: %s", to, resp.Status, said)
	}
	return nil
}
