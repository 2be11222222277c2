package logstore_test

import (
	"context"
	"os"
	"slices"
	"testing"
)

// What is started for all tests ends with them.
var (
	bg    = context.Background()
	atEnd []func()
)

func TestMain(m *testing.M) {
	code := m.Run()
	for _, f := range slices.Backward(atEnd) {
		f()
	}
	os.Exit(code)
}
