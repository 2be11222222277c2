package ledger

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// Dir is a Store in a directory of a local file system. It is safe to be used by
// several processes: writes take a lock file (flock), and are renamed into place
// after the data has been synced. The directory is made by the first Put.
type Dir struct {
	root string
	busy chan struct{} // one writer of this process at a time contends for the lock file
}

// lockFile and tmpDir are not part of the log and may be deleted when no writer runs.
const (
	lockFile = ".lock"
	tmpDir   = ".tmp"
)

// NewDir returns the store in dir, which need not exist yet.
func NewDir(dir string) (*Dir, error) {
	abs, err := filepath.Abs(dir)
	if err != nil {
		return nil, fmt.Errorf("ledger directory %s: %w", dir, err)
	}
	if info, err := os.Stat(abs); err == nil && !info.IsDir() {
		return nil, fmt.Errorf("ledger directory %s: not a directory", dir)
	} else if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("ledger directory: %w", err)
	}
	return &Dir{root: abs, busy: make(chan struct{}, 1)}, nil
}

// Get implements Store.
func (d *Dir) Get(ctx context.Context, path string) ([]byte, Version, error) {
	if err := ctx.Err(); err != nil {
		return nil, "", fmt.Errorf("get %s: %w", path, context.Cause(ctx))
	}
	name, err := d.name(path)
	if err != nil {
		return nil, "", err
	}
	data, err := readFile(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, "", fmt.Errorf("%w: %w", ErrNotFound, err)
	}
	if err != nil {
		return nil, "", err
	}
	return data, contentVersion(data), nil
}

// Put implements Store.
func (d *Dir) Put(ctx context.Context, path string, data []byte, old Version) (Version, error) {
	name, err := d.name(path)
	if err != nil {
		return "", err
	}
	if err := ctx.Err(); err != nil {
		return "", fmt.Errorf("put %s: %w", name, context.Cause(ctx))
	}
	if len(data) > MaxObject {
		return "", fmt.Errorf("put %s: %d bytes, at most %d are possible", name, len(data), MaxObject)
	}
	tmp, err := d.stage(data)
	if err != nil {
		return "", fmt.Errorf("put %s: %w", name, err)
	}
	defer os.Remove(tmp) // gone already if it was renamed

	select {
	case d.busy <- struct{}{}:
		defer func() { <-d.busy }()
	case <-ctx.Done():
		return "", fmt.Errorf("put %s: %w", name, context.Cause(ctx))
	}
	unlock, err := lock(ctx, filepath.Join(d.root, lockFile))
	if err != nil {
		return "", fmt.Errorf("put %s: %w", name, err)
	}
	defer unlock()

	var now Version
	if current, err := readFile(name); err == nil {
		now = contentVersion(current)
	} else if !errors.Is(err, fs.ErrNotExist) {
		return "", fmt.Errorf("put %s: %w", name, err)
	}
	if now != old {
		return "", fmt.Errorf("put %s: %w: %s", name, ErrConflict, difference(now, old))
	}
	if err := makeDirs(filepath.Dir(name)); err != nil {
		return "", fmt.Errorf("put %s: %w", name, err)
	}
	if err := os.Rename(tmp, name); err != nil {
		return "", fmt.Errorf("put %s: %w", name, err)
	}
	if err := syncDir(filepath.Dir(name)); err != nil {
		return "", fmt.Errorf("put %s: %w", name, err)
	}
	return contentVersion(data), nil
}

func difference(now, old Version) string {
	switch {
	case now == "":
		return "there is nothing to replace"
	case old == "":
		return "it exists"
	}
	return "it has been replaced"
}

// name is the file of a path. A path that leaves the directory is refused.
func (d *Dir) name(path string) (string, error) {
	local, err := filepath.Localize(path)
	if err != nil || strings.HasPrefix(path, ".") {
		return "", fmt.Errorf("ledger directory %s: %q is not a path of a ledger", d.root, path)
	}
	return filepath.Join(d.root, local), nil
}

// stage writes and syncs the data to a file that is to be renamed.
func (d *Dir) stage(data []byte) (name string, err error) {
	dir := filepath.Join(d.root, tmpDir)
	if err := makeDirs(dir); err != nil {
		return "", err
	}
	f, err := os.CreateTemp(dir, "put-*")
	if err != nil {
		return "", err
	}
	_, err = f.Write(data)
	err = errors.Join(err, f.Chmod(0o640), f.Sync(), f.Close())
	if err != nil {
		os.Remove(f.Name())
		return "", err
	}
	return f.Name(), nil
}

// readFile reads a whole file of at most MaxObject bytes.
func readFile(name string) ([]byte, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is not a regular file", name)
	}
	if info.Size() > MaxObject {
		return nil, fmt.Errorf("%s has %d bytes, at most %d are possible", name, info.Size(), MaxObject)
	}
	data := make([]byte, info.Size())
	if _, err := io.ReadFull(f, data); err != nil {
		return nil, fmt.Errorf("read %s: %w", name, err)
	}
	return data, nil
}

// makeDirs makes a directory with its parents, to last.
func makeDirs(dir string) error {
	if _, err := os.Stat(dir); err == nil {
		return nil
	}
	if parent := filepath.Dir(dir); parent != dir {
		if err := makeDirs(parent); err != nil {
			return err
		}
	}
	if err := os.Mkdir(dir, 0o750); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return syncDir(filepath.Dir(dir))
}

// contentVersion is a file's version: what is in it. That is exact, and for the
// one kind of object that is ever replaced, the checkpoint, it is small.
func contentVersion(data []byte) Version { return Version("=" + string(data)) }
