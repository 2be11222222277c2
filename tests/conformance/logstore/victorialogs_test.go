package logstore_test

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/auditcanary/auditcanary/shared/canary"
	"github.com/auditcanary/auditcanary/shared/logstore"
	"github.com/auditcanary/auditcanary/shared/run"
	"github.com/auditcanary/auditcanary/tests/real/stores"
)

// servers that all tests share, each test under a name of its own.
var vl = sync.OnceValues(func() (*stores.Server, error) {
	dir, err := os.MkdirTemp("", "victorialogs-")
	if err != nil {
		return nil, err
	}
	atEnd(func() { os.RemoveAll(dir) })
	s, err := stores.StartVictoriaLogs(bg, dir)
	if err == nil {
		atEnd(s.Stop)
	}
	return s, err
})

type vlPlace struct {
	url, job string
}

func openVictoriaLogs(t *testing.T) place {
	s, err := vl()
	if err != nil {
		t.Fatal(err)
	}
	return vlPlace{s.URL, t.Name()}
}

func (p vlPlace) index(t *testing.T) *logstore.VictoriaLogs {
	index, err := logstore.NewVictoriaLogs(logstore.Endpoint{URL: p.url}, logstore.Selection{Selector: `{job="` + p.job + `"}`, ClusterField: "cluster"})
	if err != nil {
		t.Fatal(err)
	}
	return index
}

func (p vlPlace) store(t *testing.T) run.LogStore {
	s, err := logstore.New(logstore.Config{Name: "audit", Type: "victorialogs", Format: "kubernetes", ByCluster: true, Settle: settled}, p.index(t))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func (p vlPlace) target(n int) canary.Target { return cluster(n) }
func (p vlPlace) now() time.Time             { return time.Now() }
func (p vlPlace) base() string               { return p.url }
func (p vlPlace) at(url string) place        { p.url = url; return p }
func (p vlPlace) record(r made) string       { return kubernetesRecord(r) }

func (p vlPlace) put(t *testing.T, to canary.Target, at time.Time, records ...string) {
	var b bytes.Buffer
	for i, r := range records {
		line, err := json.Marshal(map[string]string{"_msg": r, "job": p.job, "cluster": to.Account, "at": at.Add(time.Duration(i) * time.Microsecond).UTC().Format(time.RFC3339Nano)})
		if err != nil {
			t.Fatal(err)
		}
		b.Write(append(line, '\n'))
	}
	res, err := http.Post(p.url+"/insert/jsonline?_stream_fields=job,cluster&_time_field=at", "application/stream+json", &b)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if said, _ := io.ReadAll(res.Body); res.StatusCode != http.StatusOK {
		t.Fatalf("ship: %s: %s", res.Status, said)
	}
}
