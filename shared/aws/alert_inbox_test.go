package aws

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/auditcanary/auditcanary/shared/canary"
)

// shelfOf answers as a bucket with these objects does: key to body, all written at one time.
func shelfOf(t *testing.T, dated bool, objects map[string]string, change func(w http.ResponseWriter, r *http.Request) bool) (*AlertInbox, *[]string) {
	t.Helper()
	var asked []string
	const at = "2026-11-22T09:59:00.000Z"
	store := bucketAt(t, func(w http.ResponseWriter, r *http.Request) {
		q := r.URL.Query()
		asked = append(asked, strings.TrimSuffix(r.URL.Path+"?"+q.Get("start-after"), "?"))
		w.Header().Set("Date", sqsNow.Format(http.TimeFormat))
		if change != nil && change(w, r) {
			return
		}
		if q.Get("list-type") == "2" {
			fmt.Fprint(w, `<?xml version="1.0"?><ListBucketResult><Name>central-logs</Name><IsTruncated>false</IsTruncated>`)
			for key, body := range objects {
				modified := at
				if strings.Contains(key, "old") {
					modified = "2026-11-22T05:00:00.000Z"
				}
				fmt.Fprintf(w, `<Contents><Key>%s</Key><LastModified>%s</LastModified><Size>%d</Size></Contents>`, key, modified, len(body))
			}
			fmt.Fprint(w, `</ListBucketResult>`)
			return
		}
		body, there := objects[strings.TrimPrefix(r.URL.Path, "/central-logs/")]
		if !there {
			w.WriteHeader(404)
			fmt.Fprint(w, `<Error><Code>NoSuchKey</Code></Error>`)
			return
		}
		w.Header().Set("Last-Modified", "Sun, 22 Nov 2026 09:59:00 GMT")
		w.Header().Set("X-Amz-Version-Id", "v1")
		fmt.Fprint(w, body)
	})
	return &AlertInbox{alert: "keys-changed", prefix: "in/", dated: dated, store: store}, &asked
}

func TestAnInboxsObjectsAreAlerts(t *testing.T) {
	since := sqsNow.Add(-time.Hour).Add(time.Millisecond)
	b, asked := shelfOf(t, false, map[string]string{
		"in/": "", "in/a.json": `{"requestID":"r-1"}`, "in/b": "\xff\xfe", "in/old": `{}`, "in/huge": `"` + strings.Repeat("x", 1<<20) + `"`,
	}, nil)
	got, err := b.Listen(t.Context(), since)
	if err != nil || !got.AsOf.Equal(sqsNow) || len(got.Problems) > 0 || len(got.Alerts) != 3 {
		t.Fatalf("%+v, %v", got, err)
	}
	all := map[string]canary.Rang{}
	for _, a := range got.Alerts {
		all[a.ID] = a
		if a.Alert != "keys-changed" || !a.At.Equal(sqsNow.Add(-time.Minute)) || len(a.Payload) > canary.MaxPayload {
			t.Errorf("%+v", a)
		}
	}
	if a := all["in/a.json@v1"]; fmt.Sprint(a.RequestIDs) != "[r-1]" || a.Weak != "" || a.SHA256 == "" {
		t.Errorf("%+v", a)
	}
	if a := all["in/b@v1"]; a.Weak != "it is no JSON" {
		t.Errorf("%+v", a)
	}
	if a := all["in/huge@v1"]; !strings.Contains(a.Weak, "only these were read") || a.SHA256 != "" {
		t.Errorf("%q, hash %q", a.Weak, a.SHA256)
	}
	// What was read is not read again, and told all the same.
	*asked = nil
	if got, err = b.Listen(t.Context(), since); err != nil || len(got.Alerts) != 3 || len(*asked) != 1 {
		t.Errorf("%d alerts, asked %q, %v", len(got.Alerts), *asked, err)
	}
}

func TestAnInboxOfDaysIsListedFromTheDayOn(t *testing.T) {
	b, asked := shelfOf(t, true, nil, nil)
	if _, err := b.Listen(t.Context(), time.Date(2026, 11, 22, 0, 30, 0, 0, time.UTC)); err != nil || fmt.Sprint(*asked) != "[/central-logs?in/2026/11/21/]" {
		t.Errorf("%q, %v", *asked, err)
	}
}

func TestAnInboxThatCannotBeReadInFullHasNoTime(t *testing.T) {
	one := map[string]string{"in/a": "{}", "in/b": `{"requestID":"r-1"}`}
	for name, tc := range map[string]struct {
		change func(w http.ResponseWriter, r *http.Request) bool
		says   string
	}{
		"denied": {func(w http.ResponseWriter, r *http.Request) bool {
			if strings.HasSuffix(r.URL.Path, "/in/a") {
				w.WriteHeader(403)
				fmt.Fprint(w, `<Error><Code>AccessDenied</Code><Message>no</Message></Error>`)
				return true
			}
			return false
		}, "the reader needs s3:GetObject"},
		"gone": {func(w http.ResponseWriter, r *http.Request) bool {
			if strings.HasSuffix(r.URL.Path, "/in/a") {
				w.WriteHeader(404)
				fmt.Fprint(w, `<Error><Code>NoSuchKey</Code></Error>`)
				return true
			}
			return false
		}, "s3://central-logs/in/a was taken away"},
		"cut off": {func(w http.ResponseWriter, r *http.Request) bool {
			if strings.HasSuffix(r.URL.Path, "/in/a") {
				w.Header().Set("Last-Modified", "Sun, 22 Nov 2026 09:59:00 GMT")
				w.Header().Set("Content-Length", "100")
				fmt.Fprint(w, "{")
				return true
			}
			return false
		}, "read s3://central-logs/in/a"},
	} {
		b, _ := shelfOf(t, false, one, tc.change)
		got, err := b.Listen(t.Context(), sqsNow.Add(-time.Hour))
		if err != nil || !got.AsOf.IsZero() || len(got.Alerts) != 1 || len(got.Problems) != 1 || !strings.Contains(got.Problems[0], tc.says) {
			t.Errorf("%s: %+v, %v", name, got, err)
		}
	}
	b, _ := shelfOf(t, false, one, func(w http.ResponseWriter, _ *http.Request) bool { w.WriteHeader(403); return true })
	if _, err := b.Listen(t.Context(), sqsNow); err == nil || !strings.Contains(err.Error(), "ListObjectsV2 s3://central-logs/in/") {
		t.Errorf("%v", err)
	}
}
