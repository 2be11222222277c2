package browser

import (
	_ "embed"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/auditcanary/auditcanary/shared/canary"
	"github.com/auditcanary/auditcanary/shared/report"
)

//go:embed testdata/xss.txt
var corpus string

// attacks are texts that would like to be more than text, one a line; to those of
// the file come some that no line can hold.
func attacks() []string {
	return append(strings.Split(strings.TrimSpace(corpus), "\n"),
		"a\u2028window.bitten=1\u2029b", "\x00<img src=x onerror=window.bitten=1>", "\xff\xfe<img src=x onerror=window.bitten=1>",
		"\u202e>1=nettib.wodniw=rorreno x=crs gmi<\u202c", "-->\n<img src=x\nonerror=window.bitten=1>\r\n", strings.Repeat("<b>", 200)+"<img src=x onerror=window.bitten=1>")
}

// fill writes a text into every string that a value has, however deep, and gives
// every list and map something to hold.
func fill(v reflect.Value, text string) {
	switch v.Kind() {
	case reflect.String:
		v.SetString(text)
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		fill(v.Elem(), text)
	case reflect.Struct:
		if v.Type() == reflect.TypeFor[time.Time]() {
			v.Set(reflect.ValueOf(firstDay))
			return
		}
		for i := range v.NumField() {
			fill(v.Field(i), text)
		}
	case reflect.Slice:
		if v.Type() == reflect.TypeFor[[]byte]() {
			v.SetBytes([]byte(text))
			return
		}
		v.Set(reflect.MakeSlice(v.Type(), 1, 1))
		fill(v.Index(0), text)
	case reflect.Map:
		v.Set(reflect.MakeMap(v.Type()))
		key, value := reflect.New(v.Type().Key()).Elem(), reflect.New(v.Type().Elem()).Elem()
		fill(key, text)
		fill(value, text)
		v.SetMapIndex(key, value)
	case reflect.Interface:
		v.Set(reflect.ValueOf(text))
	case reflect.Bool:
		v.SetBool(true)
	case reflect.Int, reflect.Int64:
		v.SetInt(1)
	case reflect.Float64:
		v.SetFloat(1)
	}
}

// hostile is a report in which every field is an attack: its lists have one
// element for each.
func hostile() report.Report {
	var r report.Report
	each := func(list any) {
		v := reflect.ValueOf(list).Elem()
		v.Set(reflect.MakeSlice(v.Type(), 0, 0))
		for _, text := range attacks() {
			one := reflect.New(v.Type().Elem()).Elem()
			fill(one, text)
			v.Set(reflect.Append(v, one))
		}
	}
	fill(reflect.ValueOf(&r).Elem(), attacks()[0])
	each(&r.Runs)
	each(&r.Canaries)
	each(&r.Controls)
	each(&r.Losses)
	each(&r.Latency)
	each(&r.Protection.Sealed)
	each(&r.Protection.Chains)
	each(&r.Trend)
	each(&r.Findings)
	each(&r.Leftovers)
	each(&r.Alerts)
	each(&r.Exceptions)
	each(&r.Reviews)
	each(&r.Tickets)
	each(&r.Facts.Targets)
	each(&r.Facts.Stores)
	each(&r.Facts.OutOfScope)
	each(&r.Facts.NotProvable)
	each(&r.Facts.Adequacy)
	each(&r.Coverage.Gaps)
	// A map of one text is wide enough to show everything only where all accounts
	// and categories meet.
	r.HeatMap = report.HeatMap{}
	for _, text := range attacks() {
		r.HeatMap.Accounts = append(r.HeatMap.Accounts, text)
		r.HeatMap.Cells = append(r.HeatMap.Cells, report.HeatCell{Account: text, Category: text, State: report.HeatState(text), Cells: 1})
	}
	r.HeatMap.Categories = []report.Category{{ID: "x", Title: attacks()[3]}}
	for i := range r.Canaries {
		// Half of them stand among the failures, too.
		for j := range r.Canaries[i].Checks {
			r.Canaries[i].Checks[j].Status = []canary.Status{canary.Fail, canary.NotRun}[i%2]
		}
		r.Canaries[i].Status = []canary.Status{canary.Fail, canary.NotRun}[i%2]
		r.Canaries[i].ID = fmt.Sprint(i, r.Canaries[i].ID)
	}
	r.Tally.Canaries, r.Tally.Failed = len(r.Canaries), len(r.Canaries)
	return r
}

// bitten says what of a page is there because a text became more than text.
const bitten = `(() => {
	const found = [...document.querySelectorAll("img, iframe, object, embed, video, audio, math, base, link, animate, form:not(#filters), meta[http-equiv=refresh], style:not(head style), svg script, a:not([href^='#'])")].map((e) => e.outerHTML.slice(0, 80));
	for (const e of document.querySelectorAll("*")) for (const a of e.attributes) if (a.name.startsWith("on") || a.name === "style" || /^\s*javascript:/i.test(a.value) && a.name === "href") found.push(a.name + " of " + e.tagName);
	const scripts = [...document.scripts].filter((s) => s.type !== "application/gzip").length;
	if (scripts !== 1) found.push(scripts + " scripts");
	if (window.bitten) found.push("a script ran");
	if (Object.prototype.polluted !== undefined) found.push("a prototype was changed");
	return found;
})()`

func TestNoTextOfALogBecomesMoreThanText(t *testing.T) {
	file := written(t, hostile())
	// With the policy nothing may even be tried; without it, escaping alone must do.
	for _, v := range []View{{}, {NoPolicy: true}} {
		p := show(t, file, v)
		var canaries int
		must(t, p.Eval(`document.querySelectorAll("button.open").length`, &canaries))
		if canaries != len(attacks()) {
			t.Fatalf("%d of %d canaries are listed", canaries, len(attacks()))
		}
		if err := p.Eval(`(async () => {
			for (const [n, b] of [...document.querySelectorAll("button.open")].entries()) {
				b.click();
				for (const end = Date.now() + 5000; document.getElementById("where").textContent !== n + 1 + " of " + `+fmt.Sprint(canaries)+`; await new Promise((r) => setTimeout(r, 2))) if (Date.now() > end) throw new Error("canary " + n + " did not open");
				document.querySelectorAll("dialog details").forEach((d) => { d.open = true; });
				document.getElementById("close").click();
			}
		})()`, nil); err != nil {
			t.Fatal(err)
		}
		var found []string
		must(t, p.Eval(bitten, &found))
		for _, f := range found {
			t.Errorf("policy off %t: %s", v.NoPolicy, f)
		}
		quiet(t, p, file)
		shown := text(t, p, "main")
		for _, want := range []string{"<svg/onload=window.bitten=1>", `\u202e`, `\u2028`} {
			if !strings.Contains(shown, want) {
				t.Errorf("%q is not shown as the text it is", want)
			}
		}
		p.Close()
	}
}

// TestTheCorpusBites: what is held to be harmless above does harm in a page that
// escapes nothing, and what looks for the harm sees it.
func TestTheCorpusBites(t *testing.T) {
	for n, text := range attacks()[:12] {
		file := filepath.Join(t.TempDir(), fmt.Sprint(n, ".html"))
		page := "<!DOCTYPE html><html data-ready=yes><script>0</script><p title='" + text + "'>" + text + "</p><p title=\"" + text + "\"></p><title>" + text + "</title>"
		must(t, os.WriteFile(file, []byte(page), 0o600))
		p := show(t, file, View{Before: "window.alert = () => {}"})
		var found []string
		must(t, p.Eval(bitten, &found))
		if len(found) == 0 {
			t.Errorf("%q does no harm anywhere", text)
		}
		p.Close()
	}
}
