package archive

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"time"
)

// The gateway takes LastModified from its files: the current version (or its
// delete marker) of a key lies at <bucket>/<key>, noncurrent ones in a folder of
// their own named by their version ids. It copies a file when a version stops or
// becomes current, so every write may leave real times on several files.

// fileTimes are the times of a key's files.
type fileTimes struct {
	current  os.FileInfo // nil: none
	versions map[string]time.Time
}

// look takes the times of a key's files before a write. The caller holds writes.
func (a *Archive) look(bucket, key string) (fileTimes, error) {
	t := fileTimes{versions: map[string]time.Time{}}
	var err error
	t.current, err = a.root.Stat(objectPath(bucket, key))
	if err != nil && !absent(err) {
		return t, fmt.Errorf("look at %s/%s: %w", bucket, key, err)
	}
	dir := versionsPath(bucket, key)
	entries, err := fs.ReadDir(a.old.FS(), filepath.ToSlash(dir))
	if err != nil && !absent(err) {
		return t, fmt.Errorf("look at the versions of %s/%s: %w", bucket, key, err)
	}
	for _, e := range entries {
		info, err := e.Info()
		if err != nil {
			return t, fmt.Errorf("look at the versions of %s/%s: %w", bucket, key, err)
		}
		t.versions[e.Name()] = info.ModTime()
	}
	return t, nil
}

// stamp gives what a write changed the sandbox's time, and what it only moved the
// time it had. It returns the sandbox's time. The caller holds writes.
func (a *Archive) stamp(bucket, key string, before fileTimes) (time.Time, error) {
	now := a.clock.Now()
	after, err := a.look(bucket, key)
	if err != nil {
		return now, err
	}
	set := func(root *os.Root, path string, at time.Time) {
		if e := root.Chtimes(path, at, at); e != nil {
			err = errors.Join(err, fmt.Errorf("set the time of %s/%s: %w", bucket, key, e))
		}
	}
	for name := range after.versions {
		// What was current has become a version.
		if _, was := before.versions[name]; !was && before.current != nil {
			set(a.old, filepath.Join(versionsPath(bucket, key), name), before.current.ModTime())
		}
	}
	if after.current == nil || before.current != nil &&
		os.SameFile(before.current, after.current) && before.current.ModTime().Equal(after.current.ModTime()) {
		return now, err
	}
	at := now
	for name, was := range before.versions {
		// A version has become current, because what was current was deleted.
		if _, is := after.versions[name]; !is {
			at = was
		}
	}
	set(a.root, objectPath(bucket, key), at)
	return now, err
}

func objectPath(bucket, key string) string { return filepath.Join(bucket, filepath.FromSlash(key)) }

// versionsPath is where the gateway keeps the noncurrent versions of a key.
func versionsPath(bucket, key string) string {
	sum := fmt.Sprintf("%x", sha256.Sum256([]byte(key)))
	return filepath.Join(bucket, sum[:2], sum[2:4], sum[4:6], sum)
}

// absent: there is no such file, or there can be none. The gateway then answers
// with S3's own error.
func absent(err error) bool {
	return errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR) || errors.Is(err, syscall.ENAMETOOLONG)
}
