package wire

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/auditcanary/auditcanary/shared/report"
	"github.com/auditcanary/auditcanary/shared/run"
)

const hubSection = "security_hub: {account: \"999999999999\", region: eu-central-1, role_arn: \"arn:aws:iam::999999999999:role/findings\"}\n"

func reportConfig(t *testing.T, more string) *Config {
	t.Helper()
	cfg, err := Parse("test.yaml", []byte(`version: 1
targets:
  - {account: "111122223333", regions: [us-east-1, eu-west-1], role_arn: "arn:aws:iam::111122223333:role/injector", egress: [203.0.113.7]}
  - {account: "444455556666", regions: [us-east-1], role_arn: "arn:aws:iam::444455556666:role/injector"}
log_stores:
  - {name: central, type: cloudtrail-s3, bucket: archive, region: us-east-1, role_arn: "arn:aws:iam::555566667777:role/reader", protection: {days: 400}}
ledger: {origin: test.example/log, s3: {bucket: evidence, prefix: ledger, region: us-east-1, role_arn: "arn:aws:iam::555566667777:role/writer"}}
signing: {key_env: NONE}
scope: {organization: Example, out_of_scope: [{what: "lab accounts", why: "no production"}]}
`+more))
	if err != nil {
		t.Fatal(err)
	}
	return cfg
}

// TestAReportOfNothingProvesNothing: every fact is there, and every account, and
// nothing of either is proven.
func TestAReportOfNothingProvesNothing(t *testing.T) {
	now := time.Date(2026, 11, 26, 0, 0, 0, 0, time.UTC)
	r, err := Report(reportConfig(t, hubSection), run.NewState(), ReportOptions{MaxAge: time.Hour, Version: "v1", Now: now})
	if err != nil {
		t.Fatal(err)
	}
	f := r.Facts
	if len(f.Targets) != 2 || len(f.Scenarios) < 40 || len(f.Categories) != 16 || len(f.Adequacy) != 11 || f.Stores[0].Days != 400 || f.Stores[0].Mode != "COMPLIANCE" ||
		f.LedgerAt.Place != "s3://evidence/ledger" || f.SLO.PassSeconds != 900 || len(f.Meanings) != 8 || f.ControlsVersion == "" || f.Hub.Account != "999999999999" || len(f.Roles) != 5 {
		t.Errorf("facts: %+v", f)
	}
	for _, c := range r.Controls {
		if c.Outcome != report.NotTested {
			t.Errorf("control %s is %s", c.ID, c.Outcome)
		}
	}
	for _, c := range r.HeatMap.Cells {
		if c.State != report.HeatNeverTested && c.State != report.HeatEmpty && c.State != report.HeatNotLoggable {
			t.Errorf("%s %s is %s", c.Account, c.Category, c.State)
		}
	}
	if _, err := Report(reportConfig(t, ""), run.NewState(), ReportOptions{Period: report.Period{Run: "20261126-none"}, Now: now}); err == nil || !strings.Contains(err.Error(), `run "20261126-none" is not in the ledger`) {
		t.Errorf("a run that is not there: %v", err)
	}
}

func TestTheAlertPathIsAFact(t *testing.T) {
	r, err := Report(reportConfig(t, `alert_path:
  event_rules: [{account: "111122223333", region: us-east-1, name: priv, all_management_events: true}]
  topics: [{arn: "arn:aws:sns:eu-west-1:444455556666:pager", endpoints: [soc@example.com]}]
  log_groups: [{account: "111122223333", region: us-east-1, name: trail, retention_days: 365, protected: true}]
`), run.NewState(), ReportOptions{Now: time.Now()})
	if err != nil {
		t.Fatal(err)
	}
	want := []report.AlertFact{
		{Kind: "event rule", Name: "priv", Account: "111122223333", Region: "us-east-1", Demands: "sees read-only calls as well"},
		{Kind: "topic", Name: "arn:aws:sns:eu-west-1:444455556666:pager", Account: "444455556666", Region: "eu-west-1", Demands: "subscribed and confirmed: soc@example.com"},
		{Kind: "log group", Name: "trail", Account: "111122223333", Region: "us-east-1", Demands: "keeps at least 365 days; is protected from deletion"},
	}
	if !slices.Equal(r.Facts.AlertPath, want) {
		t.Errorf("%+v", r.Facts.AlertPath)
	}
}

func TestASecurityHubIsOfItsOwnAccount(t *testing.T) {
	for section, want := range map[string]string{
		`security_hub: {account: "12", region: eu-central-1}`:                                                         `test.yaml:12: account "12" is not twelve digits`,
		`security_hub: {account: "999999999999", region: Frankfurt}`:                                                  `"Frankfurt" is not a region`,
		`security_hub: {account: "999999999999", region: eu-central-1, role_arn: "arn:aws:iam::111122223333:role/x"}`: `is not the ARN of a role in account 999999999999`,
		`security_hub: {account: "999999999999", region: eu-central-1, role: "arn:aws:iam::999999999999:role/x"}`:     `role`,
	} {
		text := strings.Replace(minimal, "\n", "\n"+section+"\n", 1)
		if _, err := Parse("test.yaml", []byte(text)); err == nil || !strings.Contains(err.Error(), strings.TrimPrefix(want, "test.yaml:12: ")) {
			t.Errorf("%s: %v", section, err)
		}
	}
}

const minimal = `version: 1
targets: [{account: "111122223333", regions: [us-east-1], role_arn: "arn:aws:iam::111122223333:role/injector"}]
log_stores: [{name: central, type: cloudtrail-s3, bucket: archive, region: us-east-1}]
ledger: {origin: test.example/log, dir: ledger}
signing: {key_env: NONE}
`

// TestFindingsArePushedWithoutACanarysMarks: a record of the import that carried
// them would look forged.
func TestFindingsArePushedWithoutACanarysMarks(t *testing.T) {
	var seen []string
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		seen = append(seen, r.URL.Path+" "+r.UserAgent()+" "+string(body))
		if r.URL.Path == "/" { // STS
			w.Header().Set("Content-Type", "text/xml")
			_, _ = io.WriteString(w, `<AssumeRoleResponse><AssumeRoleResult><Credentials><AccessKeyId>ASIA</AccessKeyId><SecretAccessKey>s</SecretAccessKey><SessionToken>t</SessionToken><Expiration>2099-01-01T00:00:00Z</Expiration></Credentials></AssumeRoleResult></AssumeRoleResponse>`)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(map[string]any{"SuccessCount": 1, "FailedCount": 0, "FailedFindings": []any{}})
	}))
	defer srv.Close()
	t.Setenv("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "secret")
	r := report.Report{Canaries: []report.Canary{{ID: "x", Scenario: "aws/x", Status: "fail", Latest: true}}}
	if _, err := Pushers()["securityhub"](t.Context(), reportConfig(t, ""), r); err == nil || !strings.Contains(err.Error(), "has no security_hub section") {
		t.Errorf("without a hub: %v", err)
	}
	got, err := Pushers()["securityhub"](t.Context(), reportConfig(t, hubSection+"aws: {endpoint_url: \""+srv.URL+"\"}\n"), r)
	if err != nil || got.Imported != 1 {
		t.Fatalf("%+v, %v", got, err)
	}
	if len(seen) != 2 {
		t.Fatalf("calls: %q", seen)
	}
	for _, call := range seen {
		if strings.Contains(call, "app/auditcanary") || strings.Contains(call, "SourceIdentity") || strings.Contains(call, "RoleSessionName=auditcanary") {
			t.Errorf("a call with a canary's marks: %s", call)
		}
	}
}
