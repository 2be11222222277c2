package deploy

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strconv"
	"sync"
	"testing"

	"github.com/auditcanary/auditcanary/shared/wire"
)

// TestAMachineSucceedsOnlyIfEveryCellDoes: some cells fail for good. The others are done all
// the same, and the execution does not succeed, which is what alarms count.
func TestAMachineSucceedsOnlyIfEveryCellDoes(t *testing.T) {
	for _, tc := range []struct {
		machine string
		state   string // that fails
		cells   int
		fails   int    // of them
		lost    bool   // Step Functions itself loses the result of one
		want    string // error of the execution
	}{
		{"sweep", "Sweep", 10, 0, false, ""},
		{"sweep", "Sweep", 1, 0, false, ""},
		{"sweep", "Sweep", 10, 1, false, "auditcanary.Unswept"},
		{"sweep", "Sweep", 10, 0, true, "auditcanary.Unswept"},
		{"packet", "Packet", 10, 0, false, ""},
		{"packet", "Packet", 10, 1, false, "auditcanary.Unpacked"},
		{"packet", "Packet", 10, 10, false, "auditcanary.Unpacked"},
		{"packet", "Report", 10, 1, false, ""}, // its packet stands
	} {
		t.Run(fmt.Sprintf("%s of %d, %s fails in %d, lost %t", tc.machine, tc.cells, tc.state, tc.fails, tc.lost), func(t *testing.T) {
			t.Parallel()
			machine := interpretable(definition(t, tc.machine))
			if tc.lost {
				cells := machine["States"].(map[string]any)["Cells"].(map[string]any)
				cells["ResultSelector"].(map[string]any)["outcomes.$"] = "$[1:].outcome"
			}
			var mu sync.Mutex
			done := map[string]bool{}
			failed := walk(t, machine, func(state, cell string) (any, error) {
				if state == "Plan" {
					var cells []wire.Cell
					for i := range tc.cells {
						cells = append(cells, wire.Cell{Cell: fmt.Sprint(i), After: i})
					}
					return wire.Itinerary{Cells: cells}, nil
				}
				if n, err := strconv.Atoi(cell); err != nil || state == tc.state && n < tc.fails {
					return nil, fmt.Errorf("cell %q is silent", cell)
				}
				mu.Lock()
				defer mu.Unlock()
				done[state+" "+cell] = true
				return map[string]any{"cell": cell, "undone": []string{}, "left": []string{}, "problems": []string{}}, nil
			})
			if failed != tc.want {
				t.Errorf("the execution failed with %q", failed)
			}
			for i := range tc.cells {
				if step := fmt.Sprint(tc.state, " ", i); done[step] != (i >= tc.fails) {
					t.Errorf("%s was done: %t", step, done[step])
				}
			}
		})
	}
}

// walk takes an execution of a machine through these answers to its tasks, none of which
// waits, and returns the error that it fails with.
func walk(t *testing.T, machine map[string]any, answer func(state, cell string) (any, error)) string {
	t.Helper()
	mux := http.NewServeMux()
	mux.HandleFunc("GET /execution", func(w http.ResponseWriter, _ *http.Request) {
		_ = json.NewEncoder(w).Encode(map[string]any{
			"definition": machine, "input": map[string]any{"every": ""},
			"context": map[string]any{"Execution": map[string]any{"Id": "arn:aws:states", "Input": map[string]any{}, "StartTime": started}},
		})
	})
	mux.HandleFunc("POST /invoke/{state}", func(w http.ResponseWriter, r *http.Request) {
		var in struct{ Cell string }
		if err := json.NewDecoder(r.Body).Decode(&in); err != nil {
			t.Error(err)
		}
		v, err := answer(r.PathValue("state"), in.Cell)
		if err != nil {
			w.WriteHeader(http.StatusInternalServerError)
			v = map[string]string{"errorType": "Silent", "errorMessage": err.Error()}
		}
		_ = json.NewEncoder(w).Encode(v)
	})
	mux.HandleFunc("GET /abort", func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
	server := httptest.NewServer(mux)
	defer server.Close()
	defer server.CloseClientConnections()
	var out struct{ Error struct{ Name string } }
	node(t, "interpret.mjs", &out, server.URL)
	return out.Error.Name
}
