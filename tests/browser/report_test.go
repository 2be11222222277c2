package browser

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	_ "embed"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/auditcanary/auditcanary/shared/coverage"
	"github.com/auditcanary/auditcanary/shared/report"
	"github.com/auditcanary/auditcanary/shared/run"
	"github.com/auditcanary/auditcanary/shared/wire"
)

// The report, as a browser shows it.

var shared struct {
	once    sync.Once
	browser *Browser
	profile string
	err     error
}

func TestMain(m *testing.M) {
	code := m.Run()
	if shared.browser != nil {
		shared.browser.Close()
	}
	_ = os.RemoveAll(shared.profile)
	os.Exit(code)
}

// chromium is one browser for all tests; where there is none they are skipped.
func chromium(t testing.TB) *Browser {
	t.Helper()
	shared.once.Do(func() {
		if shared.profile, shared.err = os.MkdirTemp("", "profile"); shared.err == nil {
			shared.browser, shared.err = Start(context.Background(), shared.profile)
		}
	})
	if errors.Is(shared.err, ErrMissing) {
		t.Skipf("%v: how the report looks, and that it asks nobody for anything, is not tested", shared.err)
	}
	if shared.err != nil {
		t.Fatal(shared.err)
	}
	return shared.browser
}

// ten are the canaries of testdata/run.jsonl, out of a run in the sandbox with
// two faults: one record was lost, another names a false source address.
const ten = 10

// reportOf is a report of so many runs of ten canaries, each run with ids,
// hashes and a day of its own.
func reportOf(t testing.TB, runs int) report.Report {
	t.Helper()
	if r, ok := drawn[runs]; ok {
		return r
	}
	text, err := os.ReadFile(filepath.Join("testdata", "run.jsonl"))
	if err != nil {
		t.Fatal(err)
	}
	state := run.NewState()
	for n := range runs {
		for lines := bufio.NewScanner(bytes.NewReader(text)); lines.Scan(); {
			var e run.Entry
			if err := json.Unmarshal(lines.Bytes(), &e); err != nil {
				t.Fatal(err)
			}
			if e.Sighted != nil {
				e.Sighted.Raw = another(e.Sighted.Raw, n)
			}
			leaf, err := json.Marshal(e)
			if err != nil {
				t.Fatal(err)
			}
			if err := state.Apply(another(leaf, n)); err != nil {
				t.Fatal(err)
			}
		}
	}
	cfg, err := wire.Load(filepath.Join("testdata", "auditcanary.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	r, err := wire.Report(cfg, state, wire.ReportOptions{MaxAge: coverage.DefaultMaxAge, Version: "v1.2.3", Now: firstDay.AddDate(0, 0, runs)})
	if err != nil {
		t.Fatal(err)
	}
	drawn[runs] = r
	return r
}

// drawn keeps the reports that several tests look at; nobody changes them.
var drawn = map[int]report.Report{}

var (
	firstDay = time.Date(2026, 11, 26, 12, 0, 0, 0, time.UTC)
	// Whatever is one run's own: run ids, event and request ids, hashes, keys.
	own = regexp.MustCompile(`20261126-xbfttu|[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}|[0-9a-f]{64}|2026-11-26|A[SR][IO]A[0-9A-Z]{16,17}`)
)

// another is the same text as run n has it.
func another(text []byte, n int) []byte {
	if n == 0 {
		return text
	}
	return own.ReplaceAllFunc(text, func(was []byte) []byte {
		sum := sha256.Sum256(fmt.Appendf(nil, "%d %s", n, was))
		random := hex.EncodeToString(sum[:])
		day := firstDay.AddDate(0, 0, n)
		switch {
		case bytes.HasPrefix(was, []byte("A")):
			return []byte(string(was[:4]) + strings.ToUpper(random[:len(was)-4]))
		case string(was) == "2026-11-26":
			return []byte(day.Format(time.DateOnly))
		case bytes.HasPrefix(was, []byte("20261126-")):
			return []byte(day.Format("20060102-") + random[:6])
		case len(was) == 36:
			return []byte(random[:8] + "-" + random[8:12] + "-" + random[12:16] + "-" + random[16:20] + "-" + random[20:32])
		}
		return []byte(random)
	})
}

// written is the report as a file.
func written(t testing.TB, r report.Report) (file string) {
	t.Helper()
	var page bytes.Buffer
	if err := report.WriteHTML(&page, r); err != nil {
		t.Fatal(err)
	}
	file = filepath.Join(t.TempDir(), "report.html")
	if err := os.WriteFile(file, page.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// show opens a file and waits until its list stands.
func show(t testing.TB, file string, v View) *Page {
	t.Helper()
	if v.Width == 0 {
		v.Width, v.Height = 1440, 900
	}
	p, err := chromium(t).Open("file://"+file, v)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Close)
	if !v.NoScript {
		must(t, p.Wait("document.documentElement.dataset.ready"))
	}
	return p
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// text of the first element that a selector finds.
func text(t testing.TB, p *Page, selector string) string {
	t.Helper()
	var s string
	must(t, p.Eval(fmt.Sprintf("document.querySelector(%q).textContent", selector), &s))
	return s
}

// quiet holds that a page asked for nothing but itself, and nobody complained.
func quiet(t *testing.T, p *Page, file string) {
	t.Helper()
	for _, url := range p.Requests() {
		if url != "file://"+file && !strings.HasPrefix(url, "file://"+file+"#") {
			t.Errorf("the page asked for %s", url)
		}
	}
	for _, c := range p.Complaints() {
		t.Errorf("the browser says: %s", c)
	}
}

//go:embed testdata/audit.js
var audit string

func TestThePageIsSoundAtEveryWidthAndInBothColours(t *testing.T) {
	file := written(t, reportOf(t, 3))
	for _, v := range []View{{Width: 1440, Height: 900}, {Width: 390, Height: 844}, {Width: 1440, Height: 900, Dark: true}, {Width: 390, Height: 844, Dark: true}} {
		p := show(t, file, v)
		for _, part := range []string{"the page", "a canary"} {
			if part == "a canary" {
				must(t, p.Eval(`document.querySelector("button.open").click()`, nil))
				must(t, p.Wait(`document.querySelector("dialog[open] .sides")`))
			}
			must(t, p.Eval(`document.querySelectorAll("details").forEach((d) => { d.open = true; })`, nil))
			var faults []string
			must(t, p.Eval(audit, &faults))
			for _, f := range faults {
				t.Errorf("%s, %d wide, dark %t: %s", part, v.Width, v.Dark, f)
			}
		}
		quiet(t, p, file)
		p.Close()
	}
}

// TestTheAuditNotices: what calls a page sound must call an unsound one unsound.
func TestTheAuditNotices(t *testing.T) {
	file := filepath.Join(t.TempDir(), "bad.html")
	must(t, os.WriteFile(file, []byte(`<!DOCTYPE html><title>x</title><h1>a</h1><h3>b</h3><p id="p" style="color:#999;background:#fff">grey</p><p id="p">b</p>
<table><tr><td>1</td></tr></table><input><svg></svg><div style="width:3000px">wide</div>
<p style="color:#333;background-image:linear-gradient(#222,#fff)">on a gradient</p><img src="https://example.com/x.png"><script>console.error("no")</script>`), 0o600))
	p := show(t, file, View{Width: 390, Height: 844, NoScript: true})
	var faults []string
	must(t, p.Eval(audit, &faults))
	all := strings.Join(faults, "\n")
	for _, want := range []string{"lang", "0 main", "h3 after h1", "twice: p", "caption", "no scope", "no label", "svg", "wider than its window", `"grey"`, `"on a gradient"`} {
		if !strings.Contains(all, want) {
			t.Errorf("not noticed: %s\nof:\n%s", want, all)
		}
	}
	if !strings.Contains(strings.Join(p.Requests(), " "), "example.com/x.png") {
		t.Errorf("a request was not noticed: %v", p.Requests())
	}
	p = show(t, file, View{Before: "document.documentElement ? 0 : 0; addEventListener('load', () => { document.documentElement.dataset.ready = 'yes'; })"})
	if !strings.Contains(strings.Join(p.Complaints(), " "), "console.error") {
		t.Errorf("a complaint was not noticed: %v", p.Complaints())
	}
}

func TestCanariesAreFoundByFilterSearchAndKeyboard(t *testing.T) {
	file := written(t, reportOf(t, 21))
	p := show(t, file, View{})
	count := func(want string) {
		t.Helper()
		if got := text(t, p, "#count"); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
	count("All 210 canaries")
	if got := text(t, p, "#pages"); got != "1–50" {
		t.Errorf("the first page is %q", got)
	}
	must(t, p.Eval(`document.getElementById("next").click()`, nil))
	if got := text(t, p, "#pages"); got != "51–100" {
		t.Errorf("the second page is %q", got)
	}
	// By keyboard alone: the slash searches, words are all to be found.
	must(t, p.Key("/"))
	must(t, p.Type("203.0.113.66 INGRESS"))
	count("21 of 210 canaries")
	choose := func(field, value string) {
		t.Helper()
		must(t, p.Eval(fmt.Sprintf(`{ const s = document.getElementById("f-%s"); s.value = %q; if (s.value !== %[2]q) throw new Error("no such choice"); s.dispatchEvent(new Event("input", { bubbles: true })); }`, field, value), nil))
	}
	choose("account", "444455556666")
	count("0 of 210 canaries")
	must(t, p.Eval(`document.querySelector("#filters button").click()`, nil))
	must(t, p.Wait(`document.getElementById("count").textContent === "All 210 canaries"`))
	for _, f := range []struct {
		field, value, want string
	}{
		{"status", "fail", "42 of 210 canaries"}, {"scenario", "aws/kms-disable-key", "0 of 210 canaries"}, {"status", "", "21 of 210 canaries"},
		{"category", "Encryption keys", "21 of 210 canaries"}, {"account", "444455556666", "21 of 210 canaries"},
	} {
		choose(f.field, f.value)
		count(f.want)
	}
	// Tab goes on to the list, Enter opens, arrows turn, Escape goes back to where it was.
	must(t, p.Eval(`document.getElementById("next").focus(); document.querySelector("button.open").focus()`, nil))
	var outline string
	must(t, p.Key("Tab"))
	must(t, p.Eval(`getComputedStyle(document.activeElement).outlineStyle + " " + getComputedStyle(document.activeElement).outlineWidth`, &outline))
	if outline != "solid 3px" {
		t.Errorf("what has the focus is outlined %s", outline)
	}
	must(t, p.Key("Enter"))
	must(t, p.Wait(`document.querySelector("dialog[open] .sides")`))
	if got := text(t, p, "#where"); got != "2 of 21" {
		t.Errorf("the second canary is %q", got)
	}
	must(t, p.Key("ArrowRight"))
	must(t, p.Wait(`document.getElementById("where").textContent === "3 of 21"`))
	must(t, p.Key("Escape"))
	must(t, p.Wait(`!document.querySelector("dialog[open]") && document.activeElement.matches("button.open")`))
	quiet(t, p, file)
}

func TestACanaryShowsBothSides(t *testing.T) {
	file := written(t, reportOf(t, 3))
	p := show(t, file, View{})
	// The link of a failure leads to its canary.
	must(t, p.Eval(`[...document.querySelectorAll("#failures a")].find((a) => a.textContent === "aws/ec2-security-group-ingress").click()`, nil))
	must(t, p.Wait(`document.querySelector("dialog[open] tr.fail")`))
	var row []string
	must(t, p.Eval(`[...document.querySelectorAll("dialog tr.fail > *")].map((e) => e.textContent)`, &row))
	if got := strings.Join(row, " | "); got != "src_endpoint.ip | 127.0.0.1 | 203.0.113.66 | ✗ differs" {
		t.Errorf("the false field is shown as %s", got)
	}
	whole := text(t, p, "dialog")
	for _, want := range []string{"org-trail-archive", "bytes 33693 to 35920 of it", "SHA-256", "differs from the receipt in src_endpoint.ip", `"sourceIPAddress": "203.0.113.66"`, `"sourceIPAddress":"203.0.113.66"`, "Verdicts", "Custody", "ec2:RevokeSecurityGroupIngress"} {
		if !strings.Contains(whole, want) {
			t.Errorf("the canary does not show %q", want)
		}
	}
	quiet(t, p, file)
}

func TestWithoutScriptsTheFirstScreenStands(t *testing.T) {
	file := written(t, reportOf(t, 21))
	p := show(t, file, View{NoScript: true})
	var shown string
	must(t, p.Eval(`document.body.innerText`, &shown))
	for _, want := range []string{"Not proven", "never tested", "not tested", "aws/iam-temporary-admin-role", "Without JavaScript", "cut after 200 canaries", "objective 15 min"} {
		if !strings.Contains(shown, want) {
			t.Errorf("not shown: %q", want)
		}
	}
	for _, not := range []string{"Clear", "All 210 canaries"} {
		if strings.Contains(shown, not) {
			t.Errorf("shown, though it can do nothing: %q", not)
		}
	}
	quiet(t, p, file)
}

func TestItPrints(t *testing.T) {
	p := show(t, written(t, reportOf(t, 3)), View{})
	pdf, err := p.PDF()
	must(t, err)
	if n := len(regexp.MustCompile(`/Type /Page\b`).FindAll(pdf, -1)); n < 3 || n > 16 {
		t.Errorf("printed on %d pages", n)
	}
	if !regexp.MustCompile(`/MediaBox \[0 0 59[45]\.?\d* 84[12]\.?\d*\]`).Match(pdf) {
		t.Error("not printed on A4")
	}
}

// TestServedItAsksForNothingElse: a server sees which requests really arrive.
func TestServedItAsksForNothingElse(t *testing.T) {
	page, err := os.ReadFile(written(t, reportOf(t, 3)))
	must(t, err)
	var mu sync.Mutex
	var asked []string
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		asked = append(asked, r.Method+" "+r.URL.Path)
		w.Header().Set("Content-Security-Policy", report.HTMLPolicy()+"; frame-ancestors 'none'")
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		_, _ = w.Write(page)
	}))
	defer server.Close()
	p, err := chromium(t).Open(server.URL, View{Width: 1440, Height: 900})
	must(t, err)
	defer p.Close()
	must(t, p.Wait("document.documentElement.dataset.ready"))
	must(t, p.Eval(`document.querySelector("button.open").click()`, nil))
	must(t, p.Wait(`document.querySelector("dialog[open] .sides")`))
	mu.Lock()
	defer mu.Unlock()
	if len(asked) != 1 || asked[0] != "GET /" {
		t.Errorf("asked of the server: %v", asked)
	}
	for _, c := range p.Complaints() {
		t.Errorf("the browser says: %s", c)
	}
}
