// Package nodemodules installs what an npm lock file names, once for all runs of the tests.
package nodemodules

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"
)

// Install installs what testdata/npm of the test's package names, by its lock file, and
// returns the directory whose node_modules has it. It is kept in the user's cache; nothing
// may be written there. Where it cannot be had the test is skipped, saying what was not
// tested without it.
func Install(t *testing.T, without string) string {
	t.Helper()
	for _, tool := range []string{"node", "npm"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skipf("no %s here: %s", tool, without)
		}
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		t.Skipf("no place to keep npm packages: %v: %s", err, without)
	}
	files := map[string][]byte{"package.json": nil, "package-lock.json": nil}
	for name := range files {
		if files[name], err = os.ReadFile(filepath.Join("testdata", "npm", name)); err != nil {
			t.Fatal(err)
		}
	}
	sum := sha256.Sum256(files["package-lock.json"])
	dir := filepath.Join(cache, "auditcanary-tests", "npm-"+hex.EncodeToString(sum[:6]))
	whole := filepath.Join(dir, "node_modules", ".package-lock.json") // the last that npm writes
	if _, err := os.Stat(whole); err == nil {
		return dir
	}
	if err := os.MkdirAll(filepath.Dir(dir), 0o755); err != nil {
		t.Fatal(err)
	}
	fresh, err := os.MkdirTemp(filepath.Dir(dir), "new-")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(fresh)
	for name, data := range files {
		if err := os.WriteFile(filepath.Join(fresh, name), data, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund")
	cmd.Dir = fresh
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Skipf("npm ci: %v: %s\n%s", err, without, out)
	}
	if err := os.Rename(fresh, dir); err != nil {
		if _, there := os.Stat(whole); there != nil { // another process may have been first
			t.Fatal(err)
		}
	}
	return dir
}
