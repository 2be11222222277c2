package ledger

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/mod/sumdb/note"
)

// careless is a store that writes whatever the condition.
type careless struct{ Store }

func (c careless) Put(ctx context.Context, path string, data []byte, _ Version) (Version, error) {
	_, v, err := c.Get(ctx, path)
	if err != nil {
		v = ""
	}
	return c.Store.Put(ctx, path, data, v)
}

// files of a directory with what is in them, but for locks.
func files(t *testing.T, dir string) map[string]string {
	t.Helper()
	out := map[string]string{}
	err := filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() || filepath.Base(path) == lockFile {
			return err
		}
		data, err := os.ReadFile(path)
		out[path] = string(data)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func TestProbeChangesNothing(t *testing.T) {
	dir := t.TempDir()
	store, err := NewDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	if created, err := Probe(t.Context(), store, 0); err != nil || created {
		t.Fatalf("before the log begins: %v %v", created, err)
	}
	skey, vkey, err := GenerateKey("example.com/log")
	if err != nil {
		t.Fatal(err)
	}
	signer, err := note.NewSigner(skey)
	if err != nil {
		t.Fatal(err)
	}
	verifier, err := note.NewVerifier(vkey)
	if err != nil {
		t.Fatal(err)
	}
	log, err := Open(t.Context(), store, "example.com/log", signer, verifier)
	if err != nil {
		t.Fatal(err)
	}
	for _, size := range []int64{3, 300} { // a part of the first bundle, then all of it
		cp, err := log.Checkpoint(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		var leaves [][]byte
		for range size - cp.Size {
			leaves = append(leaves, []byte("leaf"))
		}
		if _, err := log.Append(t.Context(), leaves...); err != nil {
			t.Fatal(err)
		}
		before := files(t, dir)
		for name, s := range map[string]Store{"": store, "careless": careless{store}} {
			created, err := Probe(t.Context(), s, size)
			if name == "" && (err != nil || !created) || name != "" && !errors.Is(err, ErrCareless) {
				t.Errorf("%s store of %d: %v %v", name, size, created, err)
			}
			after := files(t, dir)
			if len(after) != len(before) {
				t.Errorf("%s store of %d: %d files were %d", name, size, len(after), len(before))
			}
			for path := range before {
				if before[path] != after[path] {
					t.Errorf("%s store: %s changed", name, path)
				}
			}
		}
	}
}

func TestProbeTellsACarelessStoreBeforeTheLogBegins(t *testing.T) {
	store, err := NewDir(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Probe(t.Context(), careless{store}, 0); !errors.Is(err, ErrCareless) {
		t.Error(err)
	}
}

func TestProbeTellsWhereNobodyMayWrite(t *testing.T) {
	if _, err := Probe(t.Context(), NewHTTP("http://127.0.0.1:1", nil), 0); err == nil || errors.Is(err, ErrCareless) {
		t.Error(err)
	}
}
