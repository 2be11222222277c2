package logstore

import (
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"
	"time"
)

// answering is a server that is asked in forms.
func answering(t *testing.T, do http.HandlerFunc) string {
	server := httptest.NewServer(do)
	t.Cleanup(server.Close)
	return server.URL
}

func newVL(t *testing.T, at Endpoint) *VictoriaLogs {
	t.Helper()
	v, err := NewVictoriaLogs(at, Selection{Selector: `{job="kube-audit"}`, ClusterField: "cluster"})
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func newLoki(t *testing.T, at Endpoint) *Loki {
	t.Helper()
	l, err := NewLoki(at, Selection{Selector: `{job="kube-audit"}`, ClusterField: "cluster"}, func() time.Time { return t0 })
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func TestAStoreIsAskedOverTLSOrOnThisMachine(t *testing.T) {
	for text, want := range map[string]string{
		"https://logs.example.com:9428/x": "", "http://127.0.0.1:9428": "", "http://[::1]:9428": "", "http://localhost": "",
		"http://logs.example.com": "this machine only", "http://10.0.0.7": "this machine only", "http://localhost.example.com": "this machine only",
		"ftp://logs.example.com": "https://", "https://": "https://", "": "https://", "https://u:p@logs.example.com": "do not belong",
		"https://logs.example.com/?a=b": "a query", "https://logs.example.com/#a": "a fragment", "https://%zz": "no URL",
	} {
		err := CheckURL(text)
		if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", text, err, want)
		}
		if err != nil && strings.Contains(err.Error(), "u:p") {
			t.Errorf("%q: the error repeats the password", text)
		}
	}
}

func TestWhoAsksIsSaidToTheStoreOnly(t *testing.T) {
	var elsewhere, heads []string
	other := answering(t, func(w http.ResponseWriter, r *http.Request) {
		elsewhere = append(elsewhere, r.Header.Get("Authorization"))
	})
	url := answering(t, func(w http.ResponseWriter, r *http.Request) {
		heads = append(heads, r.Header.Get("Authorization")+"|"+r.Header.Get("X-Scope-OrgID")+"|"+r.Header.Get("Cache-Control"))
		http.Redirect(w, r, other, http.StatusTemporaryRedirect)
	})
	for _, at := range []Endpoint{
		{URL: url, Bearer: "s3cret", Header: map[string]string{"X-Scope-OrgID": "team"}},
		{URL: url, User: "u", Password: "s3cret"},
	} {
		_, err := newVL(t, at).Find(t.Context(), Query{From: t0, Any: []string{"a"}, Most: 1})
		if err == nil || strings.Contains(err.Error(), "s3cret") {
			t.Errorf("%v", err)
		}
	}
	if want := []string{"Bearer s3cret|team|no-cache", "Basic dTpzM2NyZXQ=||no-cache"}; fmt.Sprint(heads) != fmt.Sprint(want) || len(elsewhere) > 0 {
		t.Errorf("asked as %v; elsewhere %v", heads, elsewhere)
	}
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/stream+json")
	}))
	server.Config.ErrorLog = log.New(io.Discard, "", 0)
	server.StartTLS()
	defer server.Close()
	if _, err := newVL(t, Endpoint{URL: server.URL}).Find(t.Context(), Query{From: t0, Most: 1}); err == nil {
		t.Error("a certificate that nobody vouches for was believed")
	}
	ca := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})
	if _, err := newVL(t, Endpoint{URL: server.URL, CA: ca}).Find(t.Context(), Query{From: t0, Most: 1}); err != nil {
		t.Errorf("with its CA: %v", err)
	}
	if _, err := NewVictoriaLogs(Endpoint{URL: server.URL, CA: []byte("x")}, Selection{Selector: `{a="b"}`}); err == nil {
		t.Error("a CA file without a certificate was taken")
	}
}

func TestHowStoresAreAsked(t *testing.T) {
	q := Query{Cluster: `a" or "b`, All: []string{"111122223333"}, Any: []string{"id-1", "id-2"}}
	v, l := newVL(t, Endpoint{URL: "http://127.0.0.1"}), newLoki(t, Endpoint{URL: "http://127.0.0.1"})
	for _, c := range []struct {
		name, got, look string
		want            string
	}{
		{"LogsQL", v.query(q), strconv.FormatUint(v.look.n.Load(), 16), `{job="kube-audit",auditcanary_look!="LOOK"} "cluster":="a\" or \"b" "_msg":"111122223333" "_msg":contains_any("id-1","id-2")`},
		{"LogQL", l.query(q), strconv.FormatUint(l.look.n.Load(), 16), `{job="kube-audit",cluster="a\" or \"b"} |= "111122223333" |= "id-1" or "id-2" != "auditcanary-look-LOOK"`},
	} {
		if got := strings.Replace(c.got, c.look, "LOOK", 1); got != c.want {
			t.Errorf("%s: %s\nwant %s", c.name, got, c.want)
		}
	}
	for _, ask := range []func(Query) string{v.query, l.query} {
		if first, second := ask(q), ask(q); first == second {
			t.Errorf("two questions are alike, and the second may be answered from memory: %s", first)
		}
	}
	for _, bad := range []string{"", "{}", "{ , }", `job="a"`, `{job="a"} | delete`, `{job="a"}{b="c"}`, `*`} {
		if CheckSelector(bad) == nil {
			t.Errorf("selector %q was taken", bad)
		}
	}
}

func TestLokiIsReadPageByPage(t *testing.T) {
	const all = 2*lokiPage + 500
	same := 0 // from this entry on all are of one moment
	url := answering(t, func(w http.ResponseWriter, r *http.Request) {
		from, _ := strconv.ParseInt(r.FormValue("start"), 10, 64)
		most, _ := strconv.Atoi(r.FormValue("limit"))
		var values [][2]string
		for i := range all {
			at := t0.Add(time.Duration(i/3) * time.Second) // several of each moment, over the ends of pages
			if same > 0 && i >= same {
				at = t0.Add(time.Hour)
			}
			if at.UnixNano() >= from && len(values) < most {
				values = append(values, [2]string{strconv.FormatInt(at.UnixNano(), 10), fmt.Sprint("line ", i)})
			}
		}
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(map[string]any{"status": "success", "data": map[string]any{"resultType": "streams", "result": []any{map[string]any{"stream": map[string]string{"job": "a"}, "values": values}}}})
	})
	l := newLoki(t, Endpoint{URL: url})
	l.clock = time.Now
	a, err := l.Find(t.Context(), Query{From: t0, Most: 10 * all})
	if err != nil || a.More || len(a.Entries) != all || a.Asked != 3 {
		t.Errorf("%d entries in %d pages, more %t, %v", len(a.Entries), a.Asked, a.More, err)
	}
	if a, err := l.Find(t.Context(), Query{From: t0, Most: 1500}); err != nil || !a.More || len(a.Entries) != 1500 {
		t.Errorf("%d entries of 1500, more %t, %v", len(a.Entries), a.More, err)
	}
	same = 100
	if _, err := l.Find(t.Context(), Query{From: t0, Most: 10 * all}); err == nil || !strings.Contains(err.Error(), "of the same moment") {
		t.Errorf("more of one moment than a page holds: %v", err)
	}
	l.clock = func() time.Time { return t0.AddDate(-1, 0, 0) }
	if _, err := l.Find(t.Context(), Query{From: t0, Most: 10}); err == nil || !strings.Contains(err.Error(), "ahead of ours") {
		t.Errorf("a clock a year behind the store's: %v", err)
	}
}

func TestRepliesThatAreNotWhole(t *testing.T) {
	for _, c := range []struct{ name, kind, body, want string }{
		{"a row and an error", "application/stream+json", `{"_time":"2026-11-26T17:00:00Z","_msg":"a"}` + "\n\nremoteAddr: x; the request couldn't be executed in 30.000 seconds\n", "line 3 of the reply is no row"},
		{"a name twice", "application/stream+json", `{"_time":"2026-11-26T17:00:00Z","_msg":"a","_msg":"b"}`, "duplicate"},
		{"no time", "application/stream+json", `{"_msg":"a"}`, "_time"},
		{"another type", "text/html", "<html>", "no stream of JSON"},
	} {
		url := answering(t, func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", c.kind)
			fmt.Fprint(w, c.body)
		})
		if _, err := newVL(t, Endpoint{URL: url}).Find(t.Context(), Query{From: t0, Most: 10}); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", c.name, err, c.want)
		}
	}
	for _, c := range []struct{ name, body, want string }{
		{"a warning", `{"status":"success","warnings":["partial results"],"data":{"resultType":"streams","result":[]}}`, "not whole"},
		{"an error", `{"status":"error","data":{}}`, `status "error"`},
		{"numbers", `{"status":"success","data":{"resultType":"matrix","result":[]}}`, `type "matrix"`},
		{"half an entry", `{"status":"success","data":{"resultType":"streams","result":[{"stream":{},"values":[["1"]]}]}}`, "an entry of 1 parts"},
		{"no time", `{"status":"success","data":{"resultType":"streams","result":[{"stream":{},"values":[["x","y"]]}]}}`, "the time of an entry"},
		{"no JSON", `<html>`, "no JSON"},
	} {
		if _, err := lokiEntries([]byte(c.body)); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", c.name, err, c.want)
		}
	}
}

func TestWhatStoresSayOfHowLongTheyKeep(t *testing.T) {
	url := answering(t, func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/flags":
			fmt.Fprint(w, "-loggerLevel=\"INFO\"\n-retentionPeriod=\"90d\"\n")
		case "/config":
			fmt.Fprint(w, "compactor:\n  retention_enabled: true\nlimits_config:\n  retention_period: 31d\n  deletion_mode: filter-and-delete\n")
		}
	})
	if text, err := newVL(t, Endpoint{URL: url}).Keeping(t.Context()); err != nil || !strings.Contains(text, "drops entries after 90d") || !strings.Contains(text, "no lock") {
		t.Errorf("%q, %v", text, err)
	}
	if text, err := newLoki(t, Endpoint{URL: url}).Keeping(t.Context()); err != nil || !strings.Contains(text, "drops entries after 31d") || !strings.Contains(text, "deletion_mode is filter-and-delete") {
		t.Errorf("%q, %v", text, err)
	}
	none := answering(t, func(w http.ResponseWriter, r *http.Request) { http.Error(w, "", http.StatusForbidden) })
	if text, err := newVL(t, Endpoint{URL: none}).Keeping(t.Context()); err == nil || !strings.Contains(text, "no lock") {
		t.Errorf("%q, %v", text, err)
	}
}

func FuzzReplies(f *testing.F) {
	f.Add([]byte(`{"_time":"2026-11-26T17:00:00Z","_stream":"{a=\"b\"}","_msg":"x"}` + "\n"))
	f.Add([]byte(`{"status":"success","data":{"resultType":"streams","result":[{"stream":{"a":"b"},"values":[["1","x",{}],["2","y"]]}]}}`))
	f.Add([]byte(`{"entries":"9999999999999999999"}`))
	v := &VictoriaLogs{sel: Selection{RecordField: "_msg"}}
	f.Fuzz(func(t *testing.T, body []byte) {
		_ = v.lines(reply{body: body, kind: "application/stream+json"}, func(map[string]string) error { return nil })
		entries, err := lokiEntries(body)
		for i := range entries {
			if i > 0 && err == nil && entries[i].Time.Before(entries[i-1].Time) {
				t.Fatal("out of order")
			}
		}
		for _, f := range formats {
			parts, err := f.split(body)
			if err != nil {
				continue
			}
			for _, p := range parts {
				_, _ = f.read(p)
			}
		}
	})
}
