package main

import (
	"context"
	"encoding/json"
	"maps"
	"os"
	"slices"
	"testing"
)

func TestMain(m *testing.M) {
	if len(os.Args) > 2 && os.Args[1] == relayed {
		os.Exit(relay(os.Args[2:]))
	}
	os.Exit(m.Run())
}

// What one cell costs does not hang on how many cells there are: so that counts of a few
// hold for many, of which measured.json of shared/cost keeps a whole simulation.
func TestACellCostsTheSameHoweverManyThereAre(t *testing.T) {
	if testing.Short() {
		t.Skip("runs the functions as processes")
	}
	few := count(t, 2)
	data, err := os.ReadFile("../../shared/cost/measured.json")
	if err != nil {
		t.Fatal(err)
	}
	var many Counted
	if err := json.Unmarshal(data, &many); err != nil {
		t.Fatal(err)
	}
	if many.Accounts < 100 || many.Canaries != many.Accounts*many.Regions*len(dozen) || many.Proven != many.Canaries || many.Protected != many.Canaries {
		t.Fatalf("the whole simulation has %d accounts, %d canaries, %d proven, %d protected", many.Accounts, many.Canaries, many.Proven, many.Protected)
	}
	for i, wave := range few.Waves {
		whole := many.Waves[i]
		for _, purpose := range slices.Sorted(maps.Keys(whole.For)) {
			got, want := float64(wave.For[purpose])/float64(few.Canaries), float64(whole.For[purpose])/float64(many.Canaries)
			// Appends are made together where they meet, so that some more or fewer requests
			// go to the ledger; and a log file more or less is delivered.
			if got > 1.25*want+0.05 || got < want/1.25-0.05 {
				t.Errorf("%s: %.2f requests a canary (%s), in the whole simulation %.2f", wave.Name, got, purpose, want)
			}
		}
	}
}

func count(t *testing.T, accounts int) Counted {
	t.Helper()
	c, err := simulate(context.Background(), options{accounts: accounts, regions: 4, perCell: 1, parallel: 2, progress: t.Output()})
	if err != nil {
		t.Fatal(err)
	}
	return c
}
