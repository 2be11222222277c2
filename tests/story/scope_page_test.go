package story

import (
	"fmt"
	"html"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// stating is an organisation that has said all it is asked for.
const stating = `
scope:
  organization: Example Ltd
  owner: Head of Cloud Platform
  version: "1.3"
  approved_by: Chief Information Security Officer
  approved_on: 2026-11-01
  actors:
    - {name: Platform administrators, kind: human, through: "single sign-on, role PlatformAdmin"}
    - {name: Deployment pipeline, kind: ci-cd, through: "OIDC, role deploy"}
    - {name: The provider's support, kind: provider, through: AWSServiceRoleForSupport}
  out_of_scope: [{what: The sandbox accounts, why: they hold no production data}]
adequacy:
`

// TestTheScopeIsOnePage draws the scope of the whole catalogue up, and has a
// browser print it and lay it out on a telephone.
func TestTheScopeIsOnePage(t *testing.T) {
	t.Parallel()
	browser := chromium(t)
	w := walk(t, bin)
	for _, says := range []string{"nothing", "everything"} {
		if says == "everything" {
			text := stating
			for _, source := range strings.Fields("cloud-management-events cloud-data-events cloud-network-activity-events console-sign-in identity-provider privileged-access-tooling kubernetes os-hosts databases ci-cd saas") {
				text += "  - {source: " + source + ", decision: additional, why: the provider does not see it, additional: a collector, by: CISO, on: 2026-03-01, review_by: 2027-03-01}\n"
			}
			w.config("version: 1\n", "version: 1\n"+text)
		}
		page := filepath.Join(w.dir, "scope.html")
		w.finish(0, "scope", "--format", "html", "-o", page)
		pdf := filepath.Join(w.dir, "scope.pdf")
		browser("--no-pdf-header-footer", "--print-to-pdf="+pdf, "file://"+page)
		data, err := os.ReadFile(pdf)
		if err != nil {
			t.Fatal(err)
		}
		if n := len(regexp.MustCompile(`/Type /Page\b`).FindAll(data, -1)); n != 1 {
			t.Errorf("a scope in which %s is stated prints to %d pages", says, n)
		}
		if !regexp.MustCompile(`/MediaBox \[0 0 84[12]\.?\d* 59[45]\.?\d*\]`).Match(data) {
			t.Errorf("a scope in which %s is stated is not printed on A4 landscape", says)
		}
		// A browser shrinks what is too wide for the paper, which is 1069 pixels
		// between its margins; what fits keeps the size of its letters.
		for _, width := range []int{390, 1069, 1440} {
			if faults := layout(t, browser, page, width); faults != "" {
				t.Errorf("a scope in which %s is stated, %d pixels wide: %s", says, width, faults)
			}
		}
	}
}

// layout says what is wrong with a page in a window of this width: that it is
// wider, or that a word is broken that has room in a line. The page allows no
// script: one that frames it looks into it.
func layout(t *testing.T, browser func(...string) string, page string, width int) string {
	t.Helper()
	mux := http.NewServeMux()
	mux.HandleFunc("/scope.html", func(w http.ResponseWriter, r *http.Request) { http.ServeFile(w, r, page) })
	mux.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html")
		fmt.Fprintf(w, `<!DOCTYPE html><title>not measured</title><iframe id="f" src="scope.html" style="border:0;width:%dpx;height:2000px"></iframe><script>%s</script>`, width, measure)
	})
	server := httptest.NewServer(mux)
	defer server.Close()
	dom := browser("--window-size=1600,2100", "--dump-dom", server.URL)
	m := regexp.MustCompile(`<title>(.*?)</title>`).FindStringSubmatch(dom)
	if m == nil {
		t.Fatalf("the browser shows no title:\n%s", dom)
	}
	return strings.TrimPrefix(html.UnescapeString(m[1]), "measured")
}

const measure = `
onload = () => {
  const d = document.getElementById("f").contentDocument, root = d.documentElement, faults = [];
  if (d.querySelectorAll("table").length < 5) faults.push("this is no scope");
  if (root.scrollWidth > root.clientWidth) faults.push("it is " + root.scrollWidth + " wide");
  const texts = d.createTreeWalker(d.body, NodeFilter.SHOW_TEXT);
  for (let n; n = texts.nextNode();) {
    if (n.parentElement.getBoundingClientRect().width <= 1 || n.parentElement.closest("thead, footer") && root.clientWidth < 704) continue;
    for (const m of n.data.matchAll(/[A-Za-z]+/g)) {
      const r = d.createRange();
      r.setStart(n, m.index); r.setEnd(n, m.index + m[0].length);
      const lines = new Set([...r.getClientRects()].map(b => Math.round(b.top)));
      const whole = n.data.slice(0, m.index).match(/\S*$/)[0].length + n.data.slice(m.index).match(/^\S*/)[0].length;
      if (lines.size > 1 && whole < 36) faults.push(m[0] + " is broken");
    }
  }
  document.title = "measured" + faults.join(", ");
};`

// chromium returns how to run a browser, and skips the test where there is none.
func chromium(t *testing.T) func(args ...string) string {
	t.Helper()
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome"} {
		program, err := exec.LookPath(name)
		if err != nil {
			continue
		}
		profile := t.TempDir()
		return func(args ...string) string {
			t.Helper()
			// It shows a page of our own only, and often runs as root in a container.
			cmd := exec.Command(program, append([]string{"--headless", "--no-sandbox", "--disable-gpu", "--user-data-dir=" + profile}, args...)...)
			out, err := cmd.Output()
			if err != nil {
				t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
			}
			return string(out)
		}
	}
	t.Skip("no chromium is installed: whether the scope prints on one page is not tested")
	return nil
}
