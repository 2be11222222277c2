package main

import (
	"archive/zip"
	"bytes"
	"io"
	"os"
	"path/filepath"
	"slices"
	"testing"
)

func TestArchiveHoldsAnExecutableBootstrapAndNothingOfToday(t *testing.T) {
	program := bytes.Repeat([]byte("program "), 1000)
	a, err := archive(program, nil)
	if err != nil {
		t.Fatal(err)
	}
	b, err := archive(program, nil)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(a, b) {
		t.Error("two archives of the same program differ")
	}
	if c, _ := archive(append(program, '!'), nil); bytes.Equal(a, c) {
		t.Error("archives of different programs are equal")
	}
	r, err := zip.NewReader(bytes.NewReader(a), int64(len(a)))
	if err != nil {
		t.Fatal(err)
	}
	if len(r.File) != 1 || r.File[0].Name != "bootstrap" || r.File[0].Mode() != 0o755 || r.File[0].Modified.UTC().Year() != 1980 {
		t.Errorf("files: %+v", r.File)
	}
	f, err := r.Open("bootstrap")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if got, err := io.ReadAll(f); err != nil || !bytes.Equal(got, program) {
		t.Errorf("bootstrap is not the program (%v)", err)
	}
}

func TestEveryFunctionIsBundled(t *testing.T) {
	entries, err := os.ReadDir(filepath.Join("..", "..", "functions"))
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if e.Name() != "auditcanary" && !slices.Contains(functions, e.Name()) {
			t.Errorf("functions/%s is not bundled", e.Name())
		}
	}
	for _, name := range functions {
		if _, err := os.Stat(filepath.Join("..", "..", "functions", name)); err != nil {
			t.Error(err)
		}
	}
}

func TestWhatLiesBesideIsPackedButNoKey(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) {
		t.Helper()
		file := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("auditcanary.yaml", "version: 1")
	write("stage.yml", "region: x")
	write("own/s.yaml", "id: x")
	beside, err := besides(dir)
	if err != nil {
		t.Fatal(err)
	}
	data, err := archive([]byte("program"), beside)
	if err != nil {
		t.Fatal(err)
	}
	r, err := zip.NewReader(bytes.NewReader(data), int64(len(data)))
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, f := range r.File {
		names = append(names, f.Name)
	}
	if !slices.Equal(names, []string{"bootstrap", "auditcanary.yaml", "own/s.yaml"}) {
		t.Errorf("%q", names)
	}
	for _, key := range []string{"PRIVATE+KEY+example+1+x", "-----BEGIN PRIVATE KEY-----"} {
		write("signing.key", key)
		if _, err := besides(dir); err == nil {
			t.Errorf("%s was packed", key)
		}
	}
	if _, err := besides(filepath.Join(dir, "absent")); err == nil {
		t.Error("a folder that is not there is empty")
	}
}
