package wire

import (
	"flag"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/auditcanary/auditcanary/shared/canary"
)

var update = flag.Bool("update", false, "write the expected errors anew")

func TestAGoodConfigurationIsReadWithItsDefaults(t *testing.T) {
	c, err := Load("testdata/good.yaml")
	if err != nil {
		t.Fatal(err)
	}
	want := canary.SLO{Pass: 15 * time.Minute, Late: time.Hour, Amend: 24 * time.Hour, Clock: 2 * time.Minute}
	if got := c.CanarySLO(); got != want {
		t.Errorf("SLO %+v, want %+v", got, want)
	}
	plans, err := Plan(c)
	if err != nil {
		t.Fatal(err)
	}
	catalogue, err := Catalogue(c)
	if err != nil {
		t.Fatal(err)
	}
	// One account: regional scenarios in its two regions, the others once.
	for _, s := range catalogue {
		places := map[string]bool{}
		for _, p := range plans {
			if p.Scenario.ID == s.ID {
				places[p.Canary.Target.Region] = true
			}
		}
		want := map[string]int{"region": 2, "account": 1}[s.Scope]
		if strings.HasPrefix(s.ID, "kubernetes/") {
			want = 0 // no cluster
		}
		if len(places) != want {
			t.Errorf("%s is planned in %d regions, want %d", s.ID, len(places), want)
		}
	}
	if len(catalogue) < 8 {
		t.Errorf("%d scenarios", len(catalogue))
	}
	if _, err := Permissions(c, plans); err != nil {
		t.Error(err)
	}
}

// Each testdata/invalid/NAME.yaml is refused with exactly the lines of NAME.err.
func TestABadConfigurationIsRefusedWithItsLines(t *testing.T) {
	files, err := filepath.Glob("testdata/invalid/*.yaml")
	if err != nil || len(files) < 12 {
		t.Fatalf("%d files, %v", len(files), err)
	}
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			_, err := Load(file)
			if err == nil {
				t.Fatal("accepted")
			}
			got := strings.ReplaceAll(err.Error(), filepath.Dir(file)+string(filepath.Separator), "") + "\n"
			golden := strings.TrimSuffix(file, ".yaml") + ".err"
			if *update {
				if err := os.WriteFile(golden, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if got != string(want) {
				t.Errorf("got:\n%swant:\n%s", got, want)
			}
		})
	}
}

// A configuration cut anywhere, or with any byte changed, is read or refused,
// and never accepted without a target. (No fuzz target: fuzzing would compile
// every driver anew.)
func TestADamagedConfigurationIsReadOrRefused(t *testing.T) {
	good, err := os.ReadFile("testdata/good.yaml")
	if err != nil {
		t.Fatal(err)
	}
	check := func(data []byte) {
		c, err := Parse("auditcanary.yaml", data)
		if err == nil && (len(c.Targets) == 0 || len(c.LogStores) != 1) {
			t.Errorf("accepted: %s", data)
		}
	}
	for i := range good {
		check(good[:i])
		for _, b := range []byte{0, '\n', ' ', ':', '[', '{', '&', '*', '!', '"', 0xff} {
			damaged := slices.Clone(good)
			damaged[i] = b
			check(damaged)
		}
	}
}
