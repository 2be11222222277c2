package cost

import (
	"bytes"
	"flag"
	"math"
	"os"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write golden files anew")

// small is a simulation of ten canaries with round numbers.
func small() Measured {
	return Measured{Accounts: 1, Regions: 1, Cells: 1, Canaries: 10, Waves: []Wave{
		{Name: "inject", For: map[string]int{"acts": 20, "sessions": 10}, S3: map[string]int{"PutObject": 40, "GetObject": 20}, Appends: 10, CPUMs: 100},
		{Name: "confirm", For: map[string]int{}, S3: map[string]int{"ListObjectsV2": 5, "GetObject": 15}, Appends: 2, CPUMs: 50},
		{Name: "seal", For: map[string]int{}, S3: map[string]int{"GetObject": 10}, Appends: 1, CPUMs: 50},
	}}
}

func organisation(accounts int) Organisation {
	return Organisation{Accounts: accounts, Regions: 2, AccountsPerCell: 1, KeysPerRegion: 3, Cadences: []Cadence{
		{Name: "daily", PerMon: 30, Account: Load{Canaries: 1, Calls: 2}, Region: Load{Canaries: 4, Calls: 9, DataEvents: 1}},
	}}
}

func prices(t *testing.T) Prices {
	t.Helper()
	p, err := ListPrices()
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func quantity(t *testing.T, e Estimate, what string) float64 {
	t.Helper()
	for _, l := range e.Lines {
		if strings.HasPrefix(l.What, what) {
			return l.Quantity
		}
	}
	t.Fatalf("no line %q", what)
	return 0
}

func TestAMonthIsTheSumOfItsLines(t *testing.T) {
	p := prices(t)
	p.Assume.ConfirmWaves, p.Assume.SealWaves = 2, 1
	e, err := NewEstimate(organisation(10), p, small())
	if err != nil {
		t.Fatal(err)
	}
	// Ten accounts, in each 1 + 2 x 4 canaries: 90 a run, nine times what was simulated.
	if e.Canaries != 2700 || e.Calls != 30*10*(2+2*9) {
		t.Errorf("%v canaries, %v calls", e.Canaries, e.Calls)
	}
	for what, want := range map[string]float64{
		"writes":       30 * 9 * (40 + 2*5),
		"reads":        30 * 9 * (20 + 2*15 + 10),
		"checkpoints":  30 * 9 * (10 + 2*2 + 1),
		"data events":  30 * 10 * 2,
		"fixture keys": 60,
		"invocations":  30 * (10*4 + 10 + 2),
		"state":        30 * (p.Assume.TransitionsRun + 10*(p.Assume.TransitionsCell+3*p.Assume.TransitionsWave)),
	} {
		if got := quantity(t, e, what); got != want {
			t.Errorf("%s: %v, want %v", what, got, want)
		}
	}
	sum := 0.0
	for _, l := range e.Lines {
		sum += l.USD
	}
	if math.Abs(sum-e.USD) > 1e-9 || math.Abs(e.USD/2700-e.PerCanary) > 1e-12 {
		t.Errorf("%v dollars, the lines are %v", e.USD, sum)
	}
}

func TestTheTableIsAsItIsRead(t *testing.T) {
	e, err := NewEstimate(organisation(1000), prices(t), small())
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	if err := e.Print(&b); err != nil {
		t.Fatal(err)
	}
	if *update {
		if err := os.WriteFile("testdata/estimate.golden", b.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile("testdata/estimate.golden")
	if err != nil {
		t.Fatal(err)
	}
	if b.String() != string(want) {
		t.Errorf("got\n%s\nwant\n%s", b.String(), want)
	}
}

func TestWhereNothingRunsNothingIsEstimated(t *testing.T) {
	o := organisation(10)
	o.Cadences = nil
	if _, err := NewEstimate(o, prices(t), small()); err == nil {
		t.Error("an estimate of nothing")
	}
	if _, err := NewEstimate(organisation(0), prices(t), small()); err == nil {
		t.Error("an estimate of no accounts")
	}
	if _, err := RunsAMonth("yearly"); err == nil {
		t.Error("a cadence that nobody knows")
	}
}

func TestPricesThatLackAUnitAreRefused(t *testing.T) {
	for name, c := range map[string]struct{ from, to, want string }{
		"a unit is missing":        {"  kms-sign:", "  kms-sing:", "units.kms-sign: wants usd"},
		"a price is negative":      {"{usd: 0.025,", "{usd: -0.025,", "units.step-transition: wants usd"},
		"a price for nothing":      {"per: 10000, unit: asymmetric", "per: 0, unit: asymmetric", "units.kms-sign: wants usd"},
		"no day":                   {`as_of: "2026-06-30"`, `as_of: lately`, `as_of "lately" is not a day`},
		"an unknown key":           {"  call_ms:", "  call_secs:", "call_secs not found"},
		"nobody works in parallel": {"parallel: 8", "parallel: 0", "parallel and memory_mb must be more than 0"},
	} {
		text := strings.Replace(string(listPrices), c.from, c.to, 1)
		if text == string(listPrices) {
			t.Fatalf("%s: nothing was changed", name)
		}
		if _, err := ReadPrices("p.yaml", strings.NewReader(text)); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
	}
}

func TestTheSimulationIsOneThatAnEstimateCanUse(t *testing.T) {
	m, err := Simulation()
	if err != nil {
		t.Fatal(err)
	}
	if m.Waves[0].Appends == 0 || m.Waves[0].writes() == 0 || m.Waves[1].reads() == 0 || m.Waves[0].For["acts"] == 0 {
		t.Errorf("%+v", m)
	}
}
