package kubernetes

import (
	"bufio"
	"bytes"
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

// errNoHistory: nobody but the API server knows what it wrote.
var errNoHistory = errors.New("a cluster has no history of events but its API server's own file: say where it is in audit_log, if this program can read it")

// Recorded implements run.History: it looks into the file that the API server itself
// writes, and into those it was rotated to since the call. What stands there was emitted,
// whatever became of it on its way to the store. A file that is not there, or a line that
// might have been the record and cannot be read, is an error.
func (c *Cloud) Recorded(ctx context.Context, r canary.Receipt) (*event.Event, error) {
	cl, err := c.cluster(canary.Target{Provider: Provider, Account: r.Want.Cloud.Account, Region: r.Want.Cloud.Region})
	if err != nil {
		return nil, err
	}
	if cl.AuditLog == "" {
		return nil, fmt.Errorf("cluster %s: %w", cl.Name, errNoHistory)
	}
	files, err := rotated(cl.AuditLog, r.Started)
	if err != nil {
		return nil, fmt.Errorf("cluster %s: %w", cl.Name, err)
	}
	for _, file := range files {
		e, err := find(ctx, file, r.RequestIDs)
		if err != nil {
			return nil, fmt.Errorf("cluster %s: %w", cl.Name, err)
		}
		if e != nil {
			e.Cloud.Account, e.Cloud.Region = cl.Name, Region
			return e, nil
		}
	}
	return nil, nil
}

// rotated lists the file and those it was rotated to (audit.log is kept as
// audit-2026-11-26T17-00-00.000.log) that were written to at or after a time.
func rotated(file string, since time.Time) ([]string, error) {
	if _, err := os.Stat(file); err != nil {
		return nil, err
	}
	ext := filepath.Ext(file)
	older, err := filepath.Glob(escape(strings.TrimSuffix(file, ext)) + "-*" + escape(ext))
	if err != nil {
		return nil, err
	}
	files := []string{file}
	for _, f := range older {
		// A second, for file systems that know no less.
		if st, err := os.Stat(f); err == nil && st.Mode().IsRegular() && !st.ModTime().Before(since.Add(-time.Second)) {
			files = append(files, f)
		}
	}
	return files, nil
}

// escape keeps a path from being read as a pattern.
func escape(path string) string {
	return strings.NewReplacer(`\`, `\\`, "*", `\*`, "?", `\?`, "[", `\[`).Replace(path)
}

// find reads a file line by line for the record of one of the requests.
func find(ctx context.Context, file string, ids []string) (*event.Event, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	in := bufio.NewReaderSize(f, 1<<20)
	var unread error
	for line := 1; ; line++ {
		if line%1000 == 0 && ctx.Err() != nil {
			return nil, ctx.Err()
		}
		text, err := readLine(in)
		ended := errors.Is(err, io.EOF)
		if err != nil && !ended {
			return nil, fmt.Errorf("%s:%d: %w", file, line, err)
		}
		if slices.ContainsFunc(ids, func(id string) bool { return bytes.Contains(text, []byte(id)) }) {
			e, err := event.ReadKubernetes(text)
			switch {
			case err != nil:
				unread = fmt.Errorf("%s:%d cannot be read: %w", file, line, err)
			case slices.Contains(ids, e.API.RequestUID) && event.KubernetesOutcome(e):
				return &e, nil
			}
		}
		if ended {
			return nil, unread // it might have been the one
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
