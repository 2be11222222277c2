package report

import (
	"bytes"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/auditcanary/auditcanary/shared/access"
	"github.com/auditcanary/auditcanary/shared/canary"
	"github.com/auditcanary/auditcanary/shared/coverage"
	"github.com/auditcanary/auditcanary/shared/inventory"
)

// exampleInspection is what the accounts of the example say: the trail of one is
// stopped, one could not be read, and somebody who acts in alpha can tamper with the
// archive.
func exampleInspection() *Inspection {
	trail := "arn:aws:cloudtrail:us-east-1:" + gamma + ":trail/org-trail"
	deployer := "arn:aws:iam::" + alpha + ":role/deployer"
	grant := access.Decision{Outcome: access.Allowed, Grants: []access.Citation{{Policy: "inline policy inline-1", Statement: 1, Sid: "Deploy"}, {Policy: "bucket policy", Statement: 1, Sid: "LetProductionIn"}}}
	return &Inspection{
		Sources: &inventory.Report{
			At: day2, Accounts: []inventory.Account{{ID: alpha}, {ID: beta}, {ID: gamma}}, Regions: []string{home}, Archive: "s3://org-trail-archive/", Status: canary.Fail, Judged: 1,
			Findings: []inventory.Finding{
				{Kind: inventory.TrailStopped, Status: canary.Fail, Class: "cloud-management-events", Owner: "Platform team", Subject: "trail org-trail", Places: []inventory.Place{{Account: beta, Region: home}}, Found: "logging is off", Expected: "it logs", Next: "start it again"},
				{Kind: inventory.NotRead, Status: canary.Inconclusive, Subject: "its settings", Places: []inventory.Place{{Account: gamma}}, Found: "sts:AssumeRole: AccessDenied", Next: "settle that, and run this again"},
			},
			Rows: []inventory.Row{
				{Account: alpha, Region: home, Class: "cloud-management-events", Status: canary.Pass, Owner: "Platform team", RecordedBy: []string{trail}, LandsIn: "s3://org-trail-archive/AWSLogs/", Delivered: day2, Digest: day2},
				{Account: beta, Region: home, Class: "cloud-management-events", Status: canary.Fail, Owner: "Platform team", RecordedBy: []string{trail}, Detail: "the trail is stopped"},
				{Account: gamma, Region: home, Class: "cloud-management-events", Status: canary.Inconclusive, Detail: "its settings could not be read"},
				{Class: "saas", Status: canary.NotRun, Detail: "no setting of the provider tells of it"},
			},
			Proven: []inventory.Proof{
				{Account: alpha, Region: home, Category: "permissions", State: inventory.Proven, Scenario: "aws/iam-role", Canary: "20261102-bbbbbb-01", At: day2},
				{Account: beta, Region: home, Category: "permissions", State: inventory.Unproven, Reason: "configured, and never proven"},
				{Account: gamma, Region: home, Category: "saas", State: inventory.Missing, Reason: "no scenario proves it here"},
			},
		},
		Access: &access.Report{
			Abilities: []access.Ability{
				{Group: "delete", Action: "s3:DeleteObject", On: "object", Resource: "arn:aws:s3:::org-trail-archive/*", Principal: deployer, Kind: access.Role, Account: alpha, Decision: grant},
				{Group: "delete", Action: "s3:DeleteObjectVersion", On: "object", Resource: "arn:aws:s3:::org-trail-archive/*", Principal: deployer, Kind: access.Role, Account: alpha, Decision: grant},
				{Group: "read", Action: "s3:GetObject", On: "object", Resource: "arn:aws:s3:::org-trail-archive/*", Principal: "*", Kind: access.Anybody, Decision: access.Decision{Outcome: access.Possible, On: "arn:aws:s3:::org-trail-archive/x/*", Doubts: []access.Citation{{Policy: "bucket policy", Statement: 2, Undecided: []string{"aws:SourceIp"}}}}},
			},
			Assumers: []access.Assumer{{Role: deployer, Principal: "codebuild.amazonaws.com", Kind: access.Service, Decision: access.Decision{Outcome: access.Allowed, Grants: []access.Citation{{Policy: "trust policy", Statement: 1}}}}},
			Findings: []access.Finding{{Kind: access.Segregation, Principal: deployer, Outcome: access.Allowed, Detail: "acts in " + alpha + " and can tamper with the archive", Path: []string{"s3:DeleteBucket on arn:aws:s3:::org-trail-archive"}}},
			Actions:  []access.Tamper{{Group: "delete"}, {Group: "read"}}, Resources: []access.Asked{{Kind: "object", ARN: "arn:aws:s3:::org-trail-archive/*"}}, Principals: 12, Accounts: 2,
			Gaps:   []access.Gap{{Account: gamma, What: "its principals", Why: "sts:AssumeRole: AccessDenied"}},
			Limits: []string{"session policies are not read"},
		},
	}
}

func TestWhatTheAccountsSaidAsReviewed(t *testing.T) {
	files, err := Deliverables(example(t), coverage.NewScope(coverage.ScopeInput{}), exampleInspection())
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		if strings.HasPrefix(f.Name, "log-") {
			golden(t, "inspected-"+f.Name, f.Data)
		}
	}
}

func written(t *testing.T, d document) string {
	t.Helper()
	var b bytes.Buffer
	if err := d.writeMarkdown(&b); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// TestWhatWasNotAskedOrNotReadIsSaid: nothing that is not known reads like "none".
func TestWhatWasNotAskedOrNotReadIsSaid(t *testing.T) {
	r := example(t)
	failed := &Inspection{SourcesErr: "the endpoint is down", AccessErr: "no such role"}
	for _, tt := range []struct {
		name    string
		asked   *Inspection
		sources []string
		access  []string
		never   []string
		unread  int
	}{
		{"not asked", nil, []string{"The accounts were not asked: auditcanary deliverables --inspect"}, []string{"The accounts were not asked: auditcanary deliverables --inspect"}, []string{"Findings of the settings", "Segregation"}, 0},
		{"asked in vain", failed, []string{"nothing is known of their settings: the endpoint is down"}, []string{"could not say who can do what to the logs: no such role"}, []string{"not asked", "Findings of the settings", "Segregation"}, 2},
		{"in part", exampleInspection(), []string{"What could not be read of the settings", "trail-stopped", "1 of 3: " + beta + "/us-east-1", "canary 20261102-bbbbbb-01"}, []string{"its principals", "acts-and-tampers", "s3:DeleteObject, s3:DeleteObjectVersion", "inline policy inline-1, statement 1", "ANYBODY", "only arn:aws:s3:::org-trail-archive/x/"}, []string{"not asked"}, 2},
	} {
		sources, lists := written(t, r.inventory(tt.asked)), written(t, r.protectionDesign(tt.asked))
		plain := strings.NewReplacer(`\`, "")
		sources, lists = plain.Replace(sources), plain.Replace(lists)
		for _, want := range tt.sources {
			if !strings.Contains(sources, want) {
				t.Errorf("%s: the inventory does not say %q", tt.name, want)
			}
		}
		for _, want := range tt.access {
			if !strings.Contains(lists, want) {
				t.Errorf("%s: the design does not say %q", tt.name, want)
			}
		}
		for _, never := range tt.never {
			if strings.Contains(sources, never) || strings.Contains(lists, never) {
				t.Errorf("%s: %q is said", tt.name, never)
			}
		}
		if tt.asked != nil && len(tt.asked.Unread()) != tt.unread {
			t.Errorf("%s: %q could not be read", tt.name, tt.asked.Unread())
		}
	}
	// Nothing found in what could be read is not nothing.
	cut := exampleInspection()
	cut.Sources.Findings, cut.Access.Findings = cut.Sources.Findings[1:], nil
	if got := written(t, r.inventory(cut)); !strings.Contains(got, "Findings of the settings, as far as they could be read") {
		t.Error("the inventory does not say that it found nothing only in what it could read")
	}
	if got := written(t, r.protectionDesign(cut)); !strings.Contains(got, "ought not to be able to, as far as it could be read") || !strings.Contains(got, "Of what could be read; what could not be stands above.") {
		t.Error("the design does not say that it found nobody only in what it could read")
	}
	whole := exampleInspection()
	whole.Sources.Findings, whole.Access.Gaps = whole.Sources.Findings[:1], nil
	if got := whole.Unread(); len(got) != 0 {
		t.Errorf("all was read, and %q was not", got)
	}
}

func TestTheDesignTellsOfBrokenChains(t *testing.T) {
	s := example(t).chains()
	i := slices.IndexFunc(s.Rows, func(row []string) bool { return row[0] == beta })
	if i != 0 || s.Rows[0][3] != "broken" || !strings.Contains(s.Rows[0][9], "log-changed") || s.Rows[0][7] != "5h0m0s" {
		t.Errorf("%q", s.Rows)
	}
}

// poisonedInspection is the example's with hostile texts.
func poisonedInspection(shift int, all bool) *Inspection {
	in := exampleInspection()
	if shift%5 == 4 {
		in = &Inspection{}
	}
	n := shift
	poison(reflect.ValueOf(in).Elem(), func() string { return evil(&n) }, all)
	if in.Access != nil && !all { // they are shown by their groups
		for i, group := range []string{"delete", "weaken", "read"} {
			in.Access.Abilities[i].Group = group
		}
	}
	return in
}
