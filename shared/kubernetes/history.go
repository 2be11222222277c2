package kubernetes

import (
	"bufio"
	"bytes"
	"cmp"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/auditcanary/auditcanary/shared/canary"
	"github.com/auditcanary/auditcanary/shared/event"
	"github.com/auditcanary/auditcanary/shared/run"
)

var _ run.History = (*Cloud)(nil)

// errNoHistory: nobody but the API servers know what they wrote.
var errNoHistory = errors.New("a cluster has no history of events but its API servers' own files: say where they are in audit_logs, if this program can read them")

// Recorded implements run.History: it looks into the files that the API servers themselves
// write, and into those they were rotated to. What stands there was emitted, whatever
// became of it on its way to the store.
//
// That there is no record is said only if each server's files reach back to before the
// call. It is an error if they do not (what was written is rotated away), if they are
// rotated while they are read, if one is not there, and if a line that might have been
// the record cannot be read.
func (c *Cloud) Recorded(ctx context.Context, r canary.Receipt) (*event.Event, error) {
	cl, err := c.cluster(canary.Target{Provider: Provider, Account: r.Want.Cloud.Account, Region: r.Want.Cloud.Region})
	if err != nil {
		return nil, err
	}
	if len(cl.AuditLogs) == 0 {
		return nil, fmt.Errorf("cluster %s: %w", cl.Name, errNoHistory)
	}
	var unknown error
	for _, file := range cl.AuditLogs {
		switch e, err := recorded(ctx, file, r); {
		case e != nil:
			e.Cloud.Account, e.Cloud.Region = cl.Name, Region
			return e, nil
		case err != nil && unknown == nil:
			unknown = fmt.Errorf("cluster %s: %w", cl.Name, err)
		}
	}
	return nil, unknown
}

// recorded looks into the files of one server.
func recorded(ctx context.Context, file string, r canary.Receipt) (*event.Event, error) {
	const attempts = 3
	for range attempts {
		files, err := rotated(file)
		if err != nil {
			return nil, err
		}
		e, err := findIn(ctx, files, r.RequestIDs, begun(r))
		if e != nil || err != nil && !errors.Is(err, os.ErrNotExist) {
			return e, err
		}
		again, err := rotated(file)
		if err != nil {
			return nil, err
		}
		if unmoved(files, again) {
			return nil, nil
		}
	}
	return nil, fmt.Errorf("%s was rotated each of %d times while it was read", file, attempts)
}

// begun is a time before the record can have been written, by the server's clock if it
// told the time: that of its answer, which it gives in whole seconds, or else by ours,
// which may be wrong.
func begun(r canary.Receipt) time.Time {
	if !r.Want.Time.IsZero() {
		return r.Want.Time.Add(-2 * time.Second)
	}
	return r.Started.Add(-time.Minute)
}

// logFile is a file of a log as it was when the files were listed.
type logFile struct {
	path string
	os.FileInfo
}

// rotated lists the file and those it was rotated to (audit.log is kept as
// audit-2026-11-26T17-00-00.000.log, which may be compressed to .log.gz), the file itself
// first, and then those that were written to last.
func rotated(file string) ([]logFile, error) {
	st, err := os.Stat(file)
	if err != nil {
		return nil, err
	}
	ext := filepath.Ext(file)
	older, err := filepath.Glob(escape(strings.TrimSuffix(file, ext)) + "-*" + escape(ext))
	if err != nil {
		return nil, err
	}
	packed, err := filepath.Glob(escape(strings.TrimSuffix(file, ext)) + "-*" + escape(ext) + ".gz")
	if err != nil {
		return nil, err
	}
	var files []logFile
	for _, f := range append(older, packed...) {
		if st, err := os.Stat(f); err == nil && st.Mode().IsRegular() {
			files = append(files, logFile{f, st})
		}
	}
	slices.SortFunc(files, func(a, b logFile) int {
		return cmp.Or(b.ModTime().Compare(a.ModTime()), cmp.Compare(b.path, a.path))
	})
	return append([]logFile{{file, st}}, files...), nil
}

// unmoved reports whether nothing was rotated, taken away or cut between two listings.
func unmoved(before, after []logFile) bool {
	return slices.EqualFunc(before, after, func(b, a logFile) bool {
		return b.path == a.path && os.SameFile(b.FileInfo, a.FileInfo) && b.Size() <= a.Size()
	})
}

// findIn reads files, the newest first, for the record of one of the requests, until one
// holds an event from before a time: it is the one that was then written to.
func findIn(ctx context.Context, files []logFile, ids []string, before time.Time) (*event.Event, error) {
	var unread error
	for _, f := range files {
		e, reaches, err := find(ctx, f.path, ids, before)
		switch {
		case e != nil:
			return e, nil
		case errors.Is(err, os.ErrNotExist), ctx.Err() != nil:
			return nil, err
		case err != nil && unread == nil:
			unread = err
		}
		if reaches {
			return nil, unread // it might have been the one
		}
	}
	if unread != nil {
		return nil, unread
	}
	return nil, fmt.Errorf("%s, with those it was rotated to, holds no event from before %s: what was written then is no longer there", files[0].path, before.UTC().Format(time.RFC3339))
}

// escape keeps a path from being read as a pattern.
func escape(path string) string {
	return strings.NewReplacer(`\`, `\\`, "*", `\*`, "?", `\?`, "[", `\[`).Replace(path)
}

// firstEvents is how many events of a file are held against the time that it must reach back
// to: they stand in it nearly in their order.
const firstEvents = 100

// find reads a file line by line for the record of one of the requests. It reports too
// whether the file holds an event from before a time.
func find(ctx context.Context, file string, ids []string, before time.Time) (found *event.Event, reaches bool, err error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, false, err
	}
	defer f.Close()
	var from io.Reader = f
	if strings.HasSuffix(file, ".gz") {
		if from, err = gzip.NewReader(bufio.NewReader(f)); err != nil {
			return nil, false, fmt.Errorf("%s: %w", file, err)
		}
	}
	in := bufio.NewReaderSize(from, 1<<20)
	var unread error
	events := 0
	for line := 1; ; line++ {
		if line%1000 == 0 && ctx.Err() != nil {
			return nil, false, ctx.Err()
		}
		text, err := readLine(in)
		ended := errors.Is(err, io.EOF)
		if err != nil && !ended {
			return nil, false, fmt.Errorf("%s:%d: %w", file, line, err)
		}
		if !reaches && events < firstEvents {
			if e, err := event.ReadKubernetes(text); err == nil && !e.Time.IsZero() {
				reaches = e.Time.Before(before)
				events++
			}
		}
		if slices.ContainsFunc(ids, func(id string) bool { return bytes.Contains(text, []byte(id)) }) {
			e, err := event.ReadKubernetes(text)
			switch {
			case err != nil:
				unread = fmt.Errorf("%s:%d cannot be read: %w", file, line, err)
			case slices.Contains(ids, e.API.RequestUID) && event.KubernetesOutcome(e):
				return &e, true, nil
			}
		}
		if ended {
			return nil, reaches, unread // it might have been the one
		}
	}
}

// readLine reads a line without its end. Of one that is longer than any record may be,
// the beginning, in which the audit id stands, is returned, and the rest skipped.
func readLine(in *bufio.Reader) ([]byte, error) {
	var line []byte
	for {
		part, err := in.ReadSlice('\n')
		if len(line) <= event.MaxKubernetesRecord {
			line = append(line, part...)
		}
		if !errors.Is(err, bufio.ErrBufferFull) {
			return bytes.TrimRight(line, "\r\n"), err
		}
	}
}
