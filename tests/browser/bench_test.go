package browser

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"testing"

	"github.com/auditcanary/auditcanary/shared/report"
)

// BenchmarkTheReport draws a report of so many canaries up and opens it: how large
// the page is, when something first stands on the screen, when the list does, how
// long a search and the opening of a canary take, and what the browser needs for it.
func BenchmarkTheReport(b *testing.B) {
	for _, canaries := range []int{1_000, 10_000} {
		b.Run(fmt.Sprintf("canaries=%d", canaries), func(b *testing.B) {
			r := reportOf(b, canaries/ten)
			file := filepath.Join(b.TempDir(), "report.html")
			for b.Loop() {
				var page bytes.Buffer
				must(b, report.WriteHTML(&page, r))
				b.StopTimer()
				must(b, os.WriteFile(file, page.Bytes(), 0o600))
				b.ReportMetric(float64(page.Len())/1e6, "MB")
				runtime.GC()
				p := show(b, file, View{})
				var m struct{ Paint, Ready, Search, Open, Heap float64 }
				must(b, p.Eval(`(async () => {
					const paint = performance.getEntriesByName("first-contentful-paint")[0].startTime, ready = performance.getEntriesByName("ready")[0].startTime;
					const timed = async (what, done) => { const t = performance.now(); what(); while (!done()) await new Promise((r) => setTimeout(r)); return performance.now() - t; };
					const box = document.getElementById("f-text"), typed = (s) => { box.value = s; box.dispatchEvent(new Event("input", { bubbles: true })); };
					const search = await timed(() => typed("203.0.113.66"), () => document.getElementById("count").textContent.startsWith("`+fmt.Sprint(canaries/ten)+` of"));
					const open = await timed(() => document.querySelector("button.open").click(), () => document.querySelector("dialog[open] .sides"));
					return { paint, ready, search, open, heap: performance.memory.usedJSHeapSize };
				})()`, &m))
				b.ReportMetric(m.Paint, "ms-first-paint")
				b.ReportMetric(m.Ready, "ms-list")
				b.ReportMetric(m.Search, "ms-search")
				b.ReportMetric(m.Open, "ms-open")
				b.ReportMetric(m.Heap/1e6, "MB-heap")
				p.Close()
				b.StartTimer()
			}
		})
	}
}
