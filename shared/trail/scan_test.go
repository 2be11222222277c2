package trail

import (
	"bytes"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/klauspost/compress/gzip"
)

// realFiles are the log files under testdata/origin.
func realFiles(tb testing.TB, origin string) []string {
	tb.Helper()
	var names []string
	err := filepath.WalkDir(filepath.Join("testdata", origin, "AWSLogs"), func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.Type().IsRegular() {
			names = append(names, path)
		}
		return err
	})
	if err != nil || len(names) == 0 {
		tb.Fatalf("files of %s: %d, %v", origin, len(names), err)
	}
	return names
}

// plainOf is a file's uncompressed content.
func plainOf(tb testing.TB, name string) []byte {
	tb.Helper()
	b, err := os.ReadFile(name)
	if err != nil {
		tb.Fatal(err)
	}
	if !strings.HasSuffix(name, ".gz") {
		return b
	}
	zr, err := gzip.NewReader(bytes.NewReader(b))
	if err != nil {
		tb.Fatal(err)
	}
	if b, err = io.ReadAll(zr); err != nil {
		tb.Fatal(err)
	}
	return b
}
