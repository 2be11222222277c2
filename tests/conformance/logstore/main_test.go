package logstore_test

import (
	"context"
	"os"
	"slices"
	"sync"
	"testing"
)

var bg = context.Background()

// What is started for all tests ends with them.
var end struct {
	mu sync.Mutex
	of []func()
}

func atEnd(f func()) {
	end.mu.Lock()
	defer end.mu.Unlock()
	end.of = append(end.of, f)
}

func TestMain(m *testing.M) {
	code := m.Run()
	for _, f := range slices.Backward(end.of) {
		f()
	}
	os.Exit(code)
}
