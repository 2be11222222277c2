package logstore_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"os"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/auditcanary/auditcanary/shared/canary"
	"github.com/auditcanary/auditcanary/shared/logstore"
	"github.com/auditcanary/auditcanary/shared/run"
	"github.com/auditcanary/auditcanary/tests/real/stores"
)

var loki = sync.OnceValues(func() (*stores.Server, error) {
	dir, err := os.MkdirTemp("", "loki-")
	if err != nil {
		return nil, err
	}
	atEnd(func() { os.RemoveAll(dir) })
	s, err := stores.StartLoki(bg, dir)
	if err == nil {
		atEnd(s.Stop)
	}
	return s, err
})

type lokiPlace struct {
	url, job string
}

func openLoki(t *testing.T) place {
	s, err := loki()
	if errors.Is(err, stores.ErrNotBuilt) {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	return lokiPlace{s.URL, t.Name()}
}

func (p lokiPlace) store(t *testing.T) run.LogStore {
	index, err := logstore.NewLoki(logstore.Endpoint{URL: p.url}, logstore.Selection{Selector: `{job="` + p.job + `"}`, ClusterField: "cluster"}, time.Now)
	if err != nil {
		t.Fatal(err)
	}
	s, err := logstore.New(logstore.Config{Name: "audit", Type: "loki", Format: "kubernetes", ByCluster: true, Settle: settled}, index)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func (p lokiPlace) target(n int) canary.Target { return cluster(n) }
func (p lokiPlace) now() time.Time             { return time.Now() }
func (p lokiPlace) base() string               { return p.url }
func (p lokiPlace) at(url string) place        { p.url = url; return p }
func (p lokiPlace) record(r made) string       { return kubernetesRecord(r) }

func (p lokiPlace) put(t *testing.T, to canary.Target, at time.Time, records ...string) {
	type stream struct {
		Stream map[string]string `json:"stream"`
		Values [][2]string       `json:"values"`
	}
	s := stream{Stream: map[string]string{"job": p.job, "cluster": to.Account}}
	for i, r := range records {
		s.Values = append(s.Values, [2]string{strconv.FormatInt(at.Add(time.Duration(i)*time.Microsecond).UnixNano(), 10), r})
	}
	body, err := json.Marshal(map[string]any{"streams": []stream{s}})
	if err != nil {
		t.Fatal(err)
	}
	res, err := http.Post(p.url+"/loki/api/v1/push", "application/json", bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if said, _ := io.ReadAll(res.Body); res.StatusCode != http.StatusNoContent {
		t.Fatalf("ship: %s: %s", res.Status, said)
	}
}
