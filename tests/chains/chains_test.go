package chains

import (
	"context"
	"flag"
	"fmt"
	"maps"
	"os"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/auditcanary/auditcanary/shared/trail"
)

var update = flag.Bool("update", false, "write the golden files anew")

// said is what a validation says of a world: its findings, and of each object.
type said struct {
	findings []string // "object kind status"
	lines    []string // with the details; every object checked is there
	results  []trail.Result
}

var noise = regexp.MustCompile(`[0-9a-f]{32,}`)

func ask(t *testing.T, w *World) said {
	t.Helper()
	var out said
	var mu sync.Mutex
	lines, valid := map[string]bool{}, map[string]bool{}
	q := w.Validation()
	q.Checked = func(c trail.Checked) {
		mu.Lock()
		defer mu.Unlock()
		if c.Status == trail.Valid {
			valid[w.Name(c.Object)] = true
		}
	}
	_, err := w.Archive().Validate(context.Background(), w, q, func(r trail.Result) { out.results = append(out.results, r) })
	if err != nil && !strings.Contains(err.Error(), errRefused.Error()) {
		t.Fatal(err)
	}
	for _, r := range out.results {
		for _, f := range r.Findings {
			name := w.Name(f.Object)
			out.findings = append(out.findings, fmt.Sprint(name, " ", f.Kind, " ", f.Status))
			detail := f.Detail
			for n, key := range w.objects {
				detail = strings.ReplaceAll(detail, key, n)
			}
			detail = strings.ReplaceAll(noise.ReplaceAllString(detail, "<hex>"), w.Account, "<account>")
			lines[fmt.Sprintf("%-8s %s %s: %s", name, strings.ToUpper(string(f.Status)), f.Kind, detail)] = true
		}
		if len(r.More) > 0 {
			t.Errorf("more findings: %v", r.More)
		}
	}
	slices.Sort(out.findings)
	out.lines = append(slices.Sorted(maps.Keys(lines)), strings.TrimSpace("valid: "+strings.Join(slices.Sorted(maps.Keys(valid)), " ")))
	return out
}

func TestCases(t *testing.T) {
	keys, err := NewKeys()
	if err != nil {
		t.Fatal(err)
	}
	var golden strings.Builder
	names := map[string]bool{}
	for i, c := range Cases {
		t.Run(c.Name, func(t *testing.T) {
			if names[c.Name] {
				t.Fatal("there are two of this name")
			}
			names[c.Name] = true
			w := c.Build(i, keys)
			got := ask(t, w)
			want := slices.Sorted(slices.Values(c.Want))
			if !slices.Equal(got.findings, want) {
				t.Errorf("found\n\t%s\nwant\n\t%s\n%s", strings.Join(got.findings, "\n\t"), strings.Join(want, "\n\t"), strings.Join(got.lines, "\n"))
			}
			if sound := strings.HasPrefix(c.Name, "sound"); sound != (len(c.Want) == 0) {
				t.Errorf("sound: %v, and %d findings are wanted", sound, len(c.Want))
			}
			fmt.Fprintf(&golden, "== %s\n   %s\n%s\n\n", c.Name, c.What, strings.Join(got.lines, "\n"))
		})
	}
	if t.Failed() {
		return
	}
	const file = "testdata/cases.golden"
	if *update {
		if err := os.WriteFile(file, []byte(golden.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil || string(want) != golden.String() {
		t.Errorf("%s is not what is found now (go test -update writes it anew; read the difference): %v", file, err)
	}
}

// Each kind of finding appears in a case; that it does not where it must not is
// what the sound cases show, and that of no case anything else is said.
func TestEveryKindOfFindingAppears(t *testing.T) {
	source, err := os.ReadFile("../../shared/trail/validate.go")
	if err != nil {
		t.Fatal(err)
	}
	kinds := regexp.MustCompile(`FindingKind = "([a-z-]+)"`).FindAllStringSubmatch(string(source), -1)
	if len(kinds) < 20 {
		t.Fatalf("%d kinds", len(kinds))
	}
	for _, k := range kinds {
		if !slices.ContainsFunc(Cases, func(c Case) bool {
			return slices.ContainsFunc(c.Want, func(w string) bool { return strings.Contains(w, " "+k[1]+" ") })
		}) {
			t.Errorf("no case shows %s", k[1])
		}
	}
}
