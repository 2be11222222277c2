package aws

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"

	"github.com/auditcanary/auditcanary/shared/report"
)

// hubServer answers as Security Hub does, and keeps what it was given.
type hubServer struct {
	findings map[string]map[string]any
	calls    []string               // path with the number of findings
	refuse   func(id string) string // error code, "" = taken
	fail     func(path string) int  // HTTP status, 0 = answered
	counts   func(ok, bad int) (int, int)
}

func (h *hubServer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	reply := func(v any) { w.Header().Set("Content-Type", "application/json"); _ = json.NewEncoder(w).Encode(v) }
	var in struct {
		Findings           []map[string]any
		FindingIdentifiers []struct{ Id, ProductArn string }
		Workflow           struct{ Status string }
	}
	if err := json.NewDecoder(r.Body).Decode(&in); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	h.calls = append(h.calls, fmt.Sprintf("%s %d", r.URL.Path, len(in.Findings)+len(in.FindingIdentifiers)))
	if h.fail != nil {
		if status := h.fail(r.URL.Path); status != 0 {
			w.Header().Set("X-Amzn-Errortype", "InvalidAccessException")
			w.WriteHeader(status)
			reply(map[string]string{"Message": "the account is not subscribed", "Code": "InvalidAccessException"})
			return
		}
	}
	if len(in.Findings) > 100 || len(in.FindingIdentifiers) > 100 {
		w.Header().Set("X-Amzn-Errortype", "InvalidInputException")
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	switch r.URL.Path {
	case "/findings/import":
		failed := []map[string]any{}
		for _, f := range in.Findings {
			id, _ := f["Id"].(string)
			code := ""
			for _, name := range []string{"SchemaVersion", "Id", "ProductArn", "GeneratorId", "AwsAccountId", "CreatedAt", "UpdatedAt", "Title", "Description", "Resources"} {
				if v, there := f[name]; !there || v == "" {
					code = "InvalidInput: " + name
				}
			}
			if h.refuse != nil && code == "" {
				code = h.refuse(id)
			}
			if code != "" {
				failed = append(failed, map[string]any{"Id": id, "ErrorCode": code, "ErrorMessage": "it is not as it must be"})
				continue
			}
			if old, there := h.findings[id]; there {
				f["Workflow"] = old["Workflow"] // BatchImportFindings does not touch it
			}
			h.findings[id] = f
		}
		ok, bad := len(in.Findings)-len(failed), len(failed)
		if h.counts != nil {
			ok, bad = h.counts(ok, bad)
		}
		reply(map[string]any{"SuccessCount": ok, "FailedCount": bad, "FailedFindings": failed})
	case "/findings/batchupdate":
		processed, unprocessed := []any{}, []any{}
		for _, id := range in.FindingIdentifiers {
			f, there := h.findings[id.Id]
			if !there || f["ProductArn"] != id.ProductArn {
				unprocessed = append(unprocessed, map[string]any{"FindingIdentifier": id, "ErrorCode": "FindingNotFound", "ErrorMessage": "no such finding"})
				continue
			}
			f["Workflow"] = map[string]any{"Status": in.Workflow.Status}
			processed = append(processed, id)
		}
		reply(map[string]any{"ProcessedFindings": processed, "UnprocessedFindings": unprocessed})
	default:
		http.NotFound(w, r)
	}
}

func hubOn(t *testing.T, h *hubServer) *FindingsHub {
	if h.findings == nil {
		h.findings = map[string]map[string]any{}
	}
	srv := httptest.NewServer(h)
	t.Cleanup(srv.Close)
	return NewFindingsHub(aws.Config{
		Region: "eu-central-1", BaseEndpoint: aws.String(srv.URL), RetryMaxAttempts: 1,
		Credentials: credentials.NewStaticCredentialsProvider("AKIDEXAMPLE", "secret", ""),
	})
}

// findings are n findings, of which every third passes if pass.
func findings(n int, pass func(i int) bool) (out []report.ASFFFinding) {
	for i := range n {
		f := report.ASFFFinding{
			SchemaVersion: "2018-10-08", Id: fmt.Sprintf("auditcanary/%03d", i), ProductArn: "arn:aws:securityhub:eu-central-1:999999999999:product/999999999999/default",
			GeneratorId: "auditcanary/x", AwsAccountId: "999999999999", Region: "eu-central-1", CreatedAt: "2026-11-01T00:00:00Z", UpdatedAt: time.Unix(int64(i), 0).UTC().Format(time.RFC3339),
			Title: "t", Description: "d", RecordState: "ACTIVE", Severity: report.ASFFSeverity{Label: "HIGH"}, Workflow: report.ASFFWorkflow{Status: "NEW"},
			Compliance: report.ASFFCompliance{Status: "FAILED"}, ProductFields: map[string]string{"auditcanary/run": "r"},
			Resources: []report.ASFFResource{{Type: "AwsAccount", Id: "AWS::::Account:111122223333", Partition: "aws", Region: "eu-west-1"}},
		}
		if pass(i) {
			f.RecordState, f.Workflow.Status, f.Compliance.Status = "ARCHIVED", "RESOLVED", "PASSED"
		}
		out = append(out, f)
	}
	return out
}

func none(int) bool { return false }

func TestFindingsAreImportedAHundredACall(t *testing.T) {
	h := &hubServer{}
	got, err := hubOn(t, h).Import(t.Context(), findings(250, func(i int) bool { return i%2 == 0 }))
	if err != nil {
		t.Fatal(err)
	}
	if got.Imported != 250 || got.Resolved != 125 || len(got.Refused) != 0 || len(h.findings) != 250 {
		t.Errorf("%+v, the hub has %d", got, len(h.findings))
	}
	want := "/findings/import 100, /findings/import 100, /findings/import 50, /findings/batchupdate 100, /findings/batchupdate 25"
	if calls := strings.Join(h.calls, ", "); calls != want {
		t.Errorf("calls %s\nwant %s", calls, want)
	}
	f := h.findings["auditcanary/001"]
	if f["RecordState"] != "ACTIVE" || f["Compliance"].(map[string]any)["Status"] != "FAILED" || f["FindingProviderFields"] == nil || len(f["Resources"].([]any)) != 1 {
		t.Errorf("finding: %v", f)
	}
}

// TestWhatPassesAgainIsResolved: the import alone would leave the workflow as it is.
func TestWhatPassesAgainIsResolved(t *testing.T) {
	h := &hubServer{}
	hub := hubOn(t, h)
	if _, err := hub.Import(t.Context(), findings(1, none)); err != nil {
		t.Fatal(err)
	}
	status := func() any { return h.findings["auditcanary/000"]["Workflow"].(map[string]any)["Status"] }
	if status() != "NEW" {
		t.Fatalf("a new finding is %v", status())
	}
	if _, err := hub.Import(t.Context(), findings(1, func(int) bool { return true })); err != nil {
		t.Fatal(err)
	}
	if status() != "RESOLVED" || h.findings["auditcanary/000"]["RecordState"] != "ARCHIVED" {
		t.Errorf("after it passed: %v, %v", status(), h.findings["auditcanary/000"]["RecordState"])
	}
}

func TestOneRefusedFindingStopsNoOther(t *testing.T) {
	h := &hubServer{refuse: func(id string) string {
		if id == "auditcanary/007" {
			return "InvalidInput"
		}
		return ""
	}}
	got, err := hubOn(t, h).Import(t.Context(), findings(120, func(int) bool { return true }))
	if err != nil {
		t.Fatal(err)
	}
	if got.Imported != 119 || got.Resolved != 119 || len(got.Refused) != 1 || got.Refused[0] != (RefusedFinding{"auditcanary/007", "InvalidInput", "it is not as it must be"}) {
		t.Errorf("%+v", got)
	}
}

func TestAFailedCallSaysHowFarItCame(t *testing.T) {
	n := 0
	h := &hubServer{fail: func(string) int {
		if n++; n == 2 {
			return http.StatusUnauthorized
		}
		return 0
	}}
	got, err := hubOn(t, h).Import(t.Context(), findings(250, none))
	if err == nil || !strings.Contains(err.Error(), "import findings 101 to 200 of 250") || !strings.Contains(err.Error(), "InvalidAccessException") || got.Imported != 100 {
		t.Errorf("%+v, %v", got, err)
	}
	h = &hubServer{fail: func(path string) int {
		if path == "/findings/batchupdate" {
			return http.StatusForbidden
		}
		return 0
	}}
	got, err = hubOn(t, h).Import(t.Context(), findings(3, func(int) bool { return true }))
	if err == nil || !strings.Contains(err.Error(), "resolve findings 1 to 3 of the 3 that pass") || got.Imported != 3 || got.Resolved != 0 {
		t.Errorf("%+v, %v", got, err)
	}
}

// TestAHubThatDoesNotSayWhichIsNotBelieved: it refused one, and names none.
func TestAHubThatDoesNotSayWhichIsNotBelieved(t *testing.T) {
	h := &hubServer{counts: func(ok, bad int) (int, int) { return ok - 1, bad + 1 }}
	if got, err := hubOn(t, h).Import(t.Context(), findings(3, none)); err == nil || !strings.Contains(err.Error(), "the hub took 2 of 3 findings, refused 1 and named 0") {
		t.Errorf("%+v, %v", got, err)
	}
}
