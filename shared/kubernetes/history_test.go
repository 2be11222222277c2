package kubernetes

import (
	"bytes"
	"compress/gzip"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/auditcanary/auditcanary/shared/canary"
	"github.com/auditcanary/auditcanary/shared/event"
)

const anID = "8c8a6b3e-6b5c-4d8e-9a38-0a4b8d6a2b11"

func line(stage, id string) string {
	return `{"kind":"Event","apiVersion":"audit.k8s.io/v1","level":"Metadata","auditID":"` + id + `","stage":"` + stage + `","requestURI":"/x","verb":"create","user":{"username":"u"},"responseStatus":{"code":201},"stageTimestamp":"2026-11-26T17:00:00.000000Z"}` + "\n"
}

// earlier is an event from before the call.
func earlier() string {
	return strings.Replace(line("ResponseComplete", "an-earlier-id"), "17:00:00", "16:59:00", 1)
}

func gzipped(text string) string {
	var out bytes.Buffer
	z := gzip.NewWriter(&out)
	_, _ = z.Write([]byte(text))
	_ = z.Close()
	return out.String()
}

func TestTheServersOwnFileTellsWhatWasEmitted(t *testing.T) {
	old := aTime.Add(-24 * time.Hour)
	for name, tc := range map[string]struct {
		files map[string]string
		want  string // "found", "none", or a part of the error
	}{
		"it is there":                  {map[string]string{"audit.log": line("ResponseComplete", "other-id") + line("ResponseComplete", anID)}, "found"},
		"it was rotated away":          {map[string]string{"audit.log": "", "audit-2026-11-26T17-00-00.000.log": line("ResponseComplete", anID)}, "found"},
		"it was not written":           {map[string]string{"audit.log": earlier() + line("ResponseComplete", "other-id")}, "none"},
		"only its beginning was":       {map[string]string{"audit.log": earlier() + line("RequestReceived", anID)}, "none"},
		"another's record mentions it": {map[string]string{"audit.log": earlier() + strings.Replace(line("ResponseComplete", "other-id"), "/x", "/"+anID, 1)}, "none"},
		"its line is cut":              {map[string]string{"audit.log": line("ResponseComplete", anID)[:150]}, "cannot be read"},
		"its line is too long":         {map[string]string{"audit.log": `{"auditID":"` + anID + `","x":"` + strings.Repeat("x", event.MaxKubernetesRecord) + `"}` + "\n"}, "cannot be read"},
		"a long line before it":        {map[string]string{"audit.log": strings.Repeat("x", 3<<20) + "\n" + line("ResponseComplete", anID)}, "found"},
		"it was packed":                {map[string]string{"audit.log": "", "audit-2026-11-26T17-00-00.000.log.gz": gzipped(line("ResponseComplete", anID))}, "found"},
		"what was packed is broken":    {map[string]string{"audit.log": "", "audit-2026-11-26T17-00-00.000.log.gz": gzipped(earlier())[:20]}, "unexpected EOF"},
		"what was packed is not":       {map[string]string{"audit.log": "", "audit-2026-11-26T17-00-00.000.log.gz": earlier()}, "invalid header"},
		"what was packed reaches back": {map[string]string{"audit.log": "", "audit-2026-11-26T17-00-00.000.log.gz": gzipped(earlier())}, "none"},
		"an older file is not read": {map[string]string{"audit.log": "", "audit-2026-11-26T17-00-00.000.log": earlier(),
			"audit-2026-11-25T17-00-00.000.log": "old:" + line("ResponseComplete", anID)}, "none"},
		"an older file reaches back":   {map[string]string{"audit.log": line("ResponseComplete", "other-id"), "audit-2026-11-25T17-00-00.000.log": "old:" + earlier()}, "none"},
		"it was rotated out of sight":  {map[string]string{"audit.log": line("ResponseComplete", "other-id")}, "holds no event from before 2026-11-26T16:59:58Z"},
		"nothing is left":              {map[string]string{"audit.log": ""}, "holds no event from before"},
		"another file is not read":     {map[string]string{"audit.log": earlier(), "audits.log": line("ResponseComplete", anID)}, "none"},
		"another server wrote it":      {map[string]string{"audit.log": earlier(), "second.log": line("ResponseComplete", anID)}, "found"},
		"another server does not know": {map[string]string{"audit.log": earlier(), "second.log": ""}, "second.log, with those it was rotated to, holds no event"},
		"no file":                      {nil, "no such file"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			for file, text := range tc.files {
				at := aTime.Add(time.Hour)
				if strings.HasPrefix(text, "old:") {
					text, at = text[4:], old
				}
				path := filepath.Join(dir, file)
				if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
					t.Fatal(err)
				}
				if err := os.Chtimes(path, at, at); err != nil {
					t.Fatal(err)
				}
			}
			c, _ := cloudOf(t, nil, func(cl *Cluster) {
				cl.AuditLogs = []string{filepath.Join(dir, "audit.log")}
				if _, two := tc.files["second.log"]; two {
					cl.AuditLogs = append(cl.AuditLogs, filepath.Join(dir, "second.log"))
				}
			})
			r := canary.Receipt{RequestIDs: []string{anID}, Started: aTime, Want: event.Event{Time: aTime, Cloud: event.Cloud{Account: "prod", Region: Region}}}
			e, err := c.Recorded(t.Context(), r)
			switch {
			case tc.want == "found":
				if err != nil || e == nil || e.API.RequestUID != anID || e.Cloud.Account != "prod" || e.Cloud.Region != Region {
					t.Errorf("%+v, %v", e, err)
				}
			case tc.want == "none":
				if err != nil || e != nil {
					t.Errorf("%+v, %v", e, err)
				}
			case err == nil || !strings.Contains(err.Error(), tc.want):
				t.Errorf("%+v, %v", e, err)
			}
		})
	}
	c, _ := cloudOf(t, nil, nil)
	if _, err := c.Recorded(t.Context(), canary.Receipt{RequestIDs: []string{anID}, Want: event.Event{Cloud: event.Cloud{Account: "prod", Region: Region}}}); err == nil || !strings.Contains(err.Error(), "audit_logs") {
		t.Errorf("without a file: %v", err)
	}
}

func TestALogThatIsRotatedWhileItIsReadIsReadAgain(t *testing.T) {
	dir := t.TempDir()
	file, kept := filepath.Join(dir, "audit.log"), filepath.Join(dir, "audit-2026-11-26T17-00-00.000.log")
	write := func(path, text string) {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	list := func() []logFile {
		files, err := rotated(file)
		if err != nil {
			t.Fatal(err)
		}
		return files
	}
	write(file, earlier())
	first := list()
	write(file, earlier()+line("ResponseComplete", anID))
	if !unmoved(first, list()) {
		t.Error("what was written to is taken for rotated")
	}
	first = list()
	write(file, "")
	if unmoved(first, list()) {
		t.Error("a log that is cut is not noticed")
	}
	first = list()
	if err := os.Rename(file, kept); err != nil {
		t.Fatal(err)
	}
	write(file, "")
	if unmoved(first, list()) {
		t.Error("a log that is rotated is not noticed")
	}
	second := list()
	if err := os.Remove(kept); err != nil {
		t.Fatal(err)
	}
	if e, err := findIn(t.Context(), second, []string{anID}, aTime); e != nil || !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a file that is gone: %+v, %v", e, err)
	}
}
