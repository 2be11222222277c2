package main

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/auditcanary/auditcanary/shared/canary"
	"github.com/auditcanary/auditcanary/shared/inventory"
	runs "github.com/auditcanary/auditcanary/shared/run"
	"github.com/auditcanary/auditcanary/shared/wire"
	"github.com/auditcanary/auditcanary/tests/sandbox/cloud"
)

// inspection takes the inventory of a sandbox as the product does.
func (s *sandbox) inspection(t *testing.T) inventory.Report {
	t.Helper()
	cfg, err := wire.Load(s.Config)
	if err != nil {
		t.Fatal(err)
	}
	r, err := wire.Sources(t.Context(), cfg, runs.NewState(), wire.SourcesOptions{Now: time.Now()})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// Each call of an inventory may be refused. Then what it would have told is not
// known, and said so with where and what to do; everything else is judged as ever.
func TestWhatMayNotBeReadIsToldAndTheRestGoesOn(t *testing.T) {
	s := start(t, "-speed", "0", "-delay", "1s")
	for k, v := range s.Env {
		t.Setenv(k, v)
	}
	t.Setenv("AWS_EC2_METADATA_DISABLED", "true")
	if r := s.inspection(t); r.Status != canary.Pass || len(r.Findings) > 0 {
		t.Fatalf("the sandbox is not sound: %s, %+v", r.Status, r.Findings)
	}
	const other = "444455556666"
	for _, tc := range []struct {
		service, operation string
		// found of the refusal, and in which accounts.
		what string
		in   []string
	}{
		{"cloudtrail", "DescribeTrails", "cloudtrail:DescribeTrails", []string{"111122223333", other}},
		{"cloudtrail", "GetTrailStatus", "cloudtrail:GetTrailStatus of arn:aws:cloudtrail:us-east-1:100000000001:trail/org-trail", []string{"111122223333", other}},
		{"cloudtrail", "GetEventSelectors", "cloudtrail:GetEventSelectors of arn:aws:cloudtrail:us-east-1:100000000001:trail/org-trail", []string{cloud.ManagementAccount}},
		{"s3", "GetBucketVersioning", "s3:GetBucketVersioning of org-trail-archive", []string{cloud.ArchiveAccount}},
		{"s3", "GetObjectLockConfiguration", "s3:GetBucketObjectLockConfiguration of org-trail-archive", []string{cloud.ArchiveAccount}},
		{"s3", "GetBucketLifecycleConfiguration", "s3:GetLifecycleConfiguration of org-trail-archive", []string{cloud.ArchiveAccount}},
		{"s3", "GetBucketPolicyStatus", "s3:GetBucketPolicyStatus of org-trail-archive", []string{cloud.ArchiveAccount}},
		{"s3", "GetBucketReplication", "s3:GetReplicationConfiguration of org-trail-archive", []string{cloud.ArchiveAccount}},
		{"s3", "GetBucketEncryption", "s3:GetEncryptionConfiguration of org-trail-archive", []string{cloud.ArchiveAccount}},
		{"events", "DescribeRule", "events:DescribeRule of privileged-activity", []string{cloud.ManagementAccount}},
		{"events", "ListTargetsByRule", "events:ListTargetsByRule of privileged-activity", []string{cloud.ManagementAccount}},
		{"sns", "ListSubscriptionsByTopic", "sns:ListSubscriptionsByTopic of " + cloud.AlertTopic, []string{cloud.ManagementAccount}},
		{"sns", "GetSubscriptionAttributes", "sns:GetSubscriptionAttributes of " + cloud.AlertSubscription, []string{cloud.ManagementAccount}},
		{"monitoring", "DescribeAlarms", "cloudwatch:DescribeAlarms of root-activity", []string{cloud.ManagementAccount}},
		{"monitoring", "ListAlarmMuteRules", "cloudwatch:ListAlarmMuteRules of root-activity", []string{cloud.ManagementAccount}},
		{"logs", "DescribeMetricFilters", "logs:DescribeMetricFilters of aws-cloudtrail-logs", []string{cloud.ManagementAccount}},
		{"logs", "DescribeLogGroups", "logs:DescribeLogGroups of aws-cloudtrail-logs", []string{cloud.ManagementAccount}},
		{"guardduty", "ListDetectors", "guardduty:ListDetectors", []string{"111122223333", other}},
		{"guardduty", "GetDetector", "guardduty:GetDetector of ", []string{"111122223333", other}},
		{"guardduty", "ListFilters", "guardduty:ListFilters of ", []string{"111122223333", other}},
		{"organizations", "ListAccounts", "the organisation's accounts", []string{cloud.ManagementAccount}},
		{"sts", "AssumeRole", "account " + other, []string{other}},
	} {
		t.Run(tc.service+":"+tc.operation, func(t *testing.T) {
			match := fmt.Sprintf(`it.service == "%s" && it.operation == "%s"`, tc.service, tc.operation)
			if tc.service == "sts" {
				match += ` && it.params.RoleArn.contains("` + other + `")`
			}
			faults := fmt.Sprintf("faults:\n  - name: refused\n    at: call\n    match: '%s'\n    do: {error: {code: AccessDenied, message: You may not, status: 403}}\n", match)
			s.admin(t, "PUT", "faults", faults, 200, &[]map[string]any{})
			r := s.inspection(t)
			if r.Status != canary.Inconclusive {
				t.Errorf("status %s", r.Status)
			}
			for _, account := range tc.in {
				found := false
				for _, f := range r.Findings {
					for _, p := range f.Places {
						found = found || p.Account == account && f.Kind == inventory.NotRead && strings.HasPrefix(f.Subject, tc.what) &&
							strings.Contains(f.Found, "AccessDenied") && strings.Contains(f.Found, "allow")
					}
				}
				if !found {
					t.Errorf("nothing is said of account %s", account)
				}
			}
			for _, f := range r.Findings {
				if f.Status != canary.Inconclusive {
					t.Errorf("taken for a failure: %+v", f)
				}
			}
			// Where it was not refused, all is judged.
			for _, row := range r.Rows {
				if row.Class == inventory.ManagementEvents && tc.service == "sts" && (row.Account == other) != (row.Status == canary.Inconclusive) {
					t.Errorf("%s/%s: %s", row.Account, row.Region, row.Status)
				}
			}
			if t.Failed() {
				t.Logf("%+v", r.Findings)
			}
		})
	}
	s.admin(t, "PUT", "faults", "faults: []\n", 200, &[]map[string]any{})
	if r := s.inspection(t); r.Status != canary.Pass {
		t.Errorf("it does not recover: %+v", r.Findings)
	}
}

// A service that never answers is given up after the configured time, and named.
func TestAServiceThatDoesNotAnswerIsGivenUp(t *testing.T) {
	s := start(t, "-speed", "0", "-delay", "1s")
	for k, v := range s.Env {
		t.Setenv(k, v)
	}
	t.Setenv("AWS_EC2_METADATA_DISABLED", "true")
	s.admin(t, "PUT", "faults", "faults:\n  - name: no answer\n    at: call\n    match: 'it.operation == \"DescribeAlarms\"'\n    do: {hang: {for: 30s, when: before}}\n", 200, &[]map[string]any{})
	cfg, err := wire.Load(s.Config)
	if err != nil {
		t.Fatal(err)
	}
	cfg.AWS.CallTimeout.Duration = 300 * time.Millisecond
	began := time.Now()
	r, err := wire.Sources(t.Context(), cfg, runs.NewState(), wire.SourcesOptions{Now: time.Now()})
	if err != nil {
		t.Fatal(err)
	}
	if r.Status != canary.Inconclusive || len(r.Findings) != 1 || !strings.Contains(r.Findings[0].Found, "cloudwatch:DescribeAlarms of root-activity in account 100000000001") {
		t.Errorf("%s: %+v", r.Status, r.Findings)
	}
	if took := time.Since(began); took > 10*time.Second {
		t.Errorf("it took %s", took)
	}
}
