package main

import (
	"encoding/json"
	"net/http"

	"github.com/auditcanary/auditcanary/tests/sandbox/cloud"
)

// plant puts something into the world as if somebody had done so long ago.
func plant(plane *cloud.Cloud) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		var p cloud.Planted
		dec := json.NewDecoder(http.MaxBytesReader(w, r.Body, 256<<10))
		dec.DisallowUnknownFields()
		err := dec.Decode(&p)
		if err == nil {
			err = plane.Plant(p)
		}
		if err != nil {
			reply(w, http.StatusBadRequest, map[string]any{"error": "plant: " + err.Error()})
			return
		}
		reply(w, http.StatusOK, p)
	}
}
