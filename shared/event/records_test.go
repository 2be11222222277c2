package event

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// record is one raw record of testdata.
type record struct {
	name string // file:index
	raw  []byte
}

// realRecords reads every record under testdata.
func realRecords(t testing.TB) []record {
	t.Helper()
	var out []record
	add := func(file string, raws ...json.RawMessage) {
		for i, raw := range raws {
			out = append(out, record{fmt.Sprintf("%s:%d", file, i), raw})
		}
	}
	files, err := filepath.Glob("testdata/*/*")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		name := strings.TrimPrefix(file, "testdata/")
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if strings.HasSuffix(file, ".gz") {
			z, err := gzip.NewReader(bytes.NewReader(data))
			if err != nil {
				t.Fatalf("%s: %v", file, err)
			}
			if data, err = io.ReadAll(z); err != nil {
				t.Fatalf("%s: %v", file, err)
			}
		}
		switch {
		case strings.HasSuffix(file, ".ndjson"):
			for i, line := range bytes.Split(bytes.TrimSpace(data), []byte("\n")) {
				var test struct{ Log json.RawMessage }
				if err := json.Unmarshal(line, &test); err != nil {
					t.Fatalf("%s:%d: %v", file, i, err)
				}
				out = append(out, record{fmt.Sprintf("%s:%d", name, i), test.Log})
			}
		case strings.HasSuffix(file, ".cloudtrail"):
			var list []json.RawMessage
			if err := json.Unmarshal(data, &list); err != nil {
				list = []json.RawMessage{data}
			}
			add(name, list...)
		case strings.HasSuffix(file, ".json"), strings.HasSuffix(file, ".gz"):
			var logFile struct{ Records []json.RawMessage }
			if err := json.Unmarshal(data, &logFile); err != nil {
				t.Fatalf("%s: %v", file, err)
			}
			add(name, logFile.Records...)
		}
	}
	if len(out) < 350 {
		t.Fatalf("%d records under testdata, want at least 350", len(out))
	}
	return out
}

// realRecord is the one record of a file or, with a line number, of a line.
func realRecord(t testing.TB, name string) Event {
	t.Helper()
	for _, r := range realRecords(t) {
		if r.name == name {
			return mustRead(t, r.raw)
		}
	}
	t.Fatalf("no record %s under testdata", name)
	return Event{}
}

func mustRead(t testing.TB, raw []byte) Event {
	t.Helper()
	e, err := ReadCloudTrail(raw)
	if err != nil {
		t.Fatalf("ReadCloudTrail: %v\n%s", err, raw)
	}
	return e
}
