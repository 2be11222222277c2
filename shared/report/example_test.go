package report

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/auditcanary/auditcanary/scenarios"
	"github.com/auditcanary/auditcanary/shared/canary"
	"github.com/auditcanary/auditcanary/shared/coverage"
	"github.com/auditcanary/auditcanary/shared/event"
	"github.com/auditcanary/auditcanary/shared/ledger"
	"github.com/auditcanary/auditcanary/shared/run"
	"github.com/auditcanary/auditcanary/shared/trail"
)

// The example: two runs over three configured accounts. In the first, the record
// of a refused call is lost at alpha, and beta is tested; in the second, that
// record arrives, another says a wrong address, one canary could not begin, one
// has no fixture, beta is not tested at all, and somebody imitates us. Nobody
// ever tests gamma.
const (
	alpha, beta, gamma = "111122223333", "444455556666", "777788889999"
	home               = "us-east-1"
)

var (
	day1 = time.Date(2026, 11, 1, 9, 0, 0, 0, time.UTC)
	day2 = day1.AddDate(0, 0, 1)
	slo  = canary.SLO{Pass: 15 * time.Minute, Late: time.Hour, Amend: 24 * time.Hour, Clock: 2 * time.Minute}
)

func catalogue() []canary.Scenario {
	return []canary.Scenario{
		{
			ID: "aws/iam-role", Title: "A role is made and given a policy", Category: "permissions", Kind: canary.DoneAndUndone, Scope: "account",
			Controls: []string{"iso27017:2015/12.4.3", "iso27002:2022/8.2"}, Schedule: canary.Schedule{Every: "daily"}, Hash: strings.Repeat("a", 64), Harmless: "- it is a role of nobody",
			Steps: []canary.Step{
				{ID: "create", Call: "iam:CreateRole", Undo: &canary.Undo{Call: "iam:DeleteRole"}},
				{ID: "attach", Call: "iam:AttachRolePolicy", Undo: &canary.Undo{Call: "iam:DetachRolePolicy"}},
			},
		},
		{
			ID: "aws/stop-logging-denied", Title: "Stopping the trail is refused", Category: "logging-disabled", Kind: canary.MustBeDenied, Scope: "region",
			Controls: []string{"iso27017:2015/12.4.3", "iso27017:2015/12.4.2", "pci-dss:4.0.1/10.2.1.6"}, Schedule: canary.Schedule{Every: "daily"}, Hash: strings.Repeat("b", 64),
			Steps: []canary.Step{{ID: "stop", Call: "cloudtrail:StopLogging", NoUndo: "what is refused changes nothing"}},
		},
		{
			ID: "aws/open-port", Title: "A port is opened to one address", Category: "network-rules", Kind: canary.DoneAndUndone, Scope: "region",
			Controls: []string{"iso27017:2015/12.4.3"}, Schedule: canary.Schedule{Every: "hourly"}, Hash: strings.Repeat("c", 64),
			Steps: []canary.Step{{ID: "authorize", Call: "ec2:AuthorizeSecurityGroupIngress", Undo: &canary.Undo{Call: "ec2:RevokeSecurityGroupIngress"}}},
		},
	}
}

// journal writes the ledger's entries.
type journal struct {
	t     *testing.T
	state *run.State
	at    time.Time
}

func (j *journal) add(runID, canaryID, kind string, e run.Entry) {
	j.t.Helper()
	e.V, e.Type, e.At, e.Run, e.Canary = 1, kind, j.at, runID, canaryID
	leaf, err := json.Marshal(e)
	if err == nil {
		err = j.state.Apply(leaf)
	}
	if err != nil {
		j.t.Fatal(err)
	}
}

// doing is one canary as the example has it.
type doing struct {
	scenario int
	account  string
	// lost drops the record of a step; wrong changes it.
	lost    string
	wrong   func(raw string) string
	blocked string
	notRun  string
	left    string
	// kept: somebody looked how its records are kept, and all was well.
	kept bool
}

func (j *journal) run(id string, doings ...doing) {
	j.add(id, "", "begun", run.Entry{Begun: &run.Begun{Version: "v1.2.3", ConfigHash: strings.Repeat("1", 64), CatalogueHash: strings.Repeat("2", 64), Canaries: len(doings)}})
	for i, d := range doings {
		j.canary(id, fmt.Sprintf("%s-%02d", id, i+1), d)
	}
	j.add(id, "", "injected", run.Entry{Injected: &run.Injected{}})
}

func (j *journal) canary(runID, id string, d doing) {
	s := catalogue()[d.scenario]
	c := canary.Canary{ID: id, Run: runID, Scenario: s.ID, ScenarioHash: s.Hash, Target: canary.Target{Provider: "aws", Account: d.account, Region: home}}
	plan := run.Plan{Canary: c, Scenario: s, NotRun: d.notRun, SessionPolicy: json.RawMessage(`{}`), Permissions: json.RawMessage(`{}`)}
	ev := canary.Evidence{NotRun: d.notRun, Blocked: d.blocked}
	seen := canary.Seen{AsOf: j.at.Add(2 * time.Hour)}
	var after []func()
	for n, st := range s.Steps {
		if d.notRun != "" {
			break
		}
		call := canary.Call{Operation: st.Call, Region: home, Params: map[string]any{"RoleName": "auditcanary-" + id}}
		ps := run.PlannedStep{Step: st.ID, Call: call, NoUndo: st.NoUndo}
		if st.Undo != nil {
			ps.Undo = &canary.Call{Operation: st.Undo.Call, Region: home, Params: call.Params}
		}
		plan.Steps = append(plan.Steps, ps)
		if d.blocked != "" {
			continue
		}
		for _, phase := range []canary.Phase{canary.PhaseDo, canary.PhaseUndo} {
			if phase == canary.PhaseUndo && ps.Undo == nil {
				continue
			}
			raw := record(id, c, s, st, n, j.at)
			got, err := event.ReadCloudTrail([]byte(raw))
			if err != nil {
				j.t.Fatal(err)
			}
			want := event.Event{
				Time: got.Time, Metadata: event.Metadata{EventCode: "AwsApiCall"}, Cloud: got.Cloud, Actor: got.Actor, API: got.API,
				SrcEndpoint: event.Endpoint{IP: "203.0.113.0/28"}, HTTPRequest: got.HTTPRequest,
			}
			want.API.Request = map[string]any{"RoleName": "auditcanary-" + id}
			in := canary.Intent{Step: st.ID, Phase: phase, Attempt: 1, Call: call}
			r := canary.Receipt{
				Canary: id, Step: st.ID, Phase: phase, Attempt: 1, Call: call, Started: j.at.Add(-80 * time.Millisecond), Ended: j.at,
				RequestIDs: []string{got.API.RequestUID}, Outcome: canary.Outcome{Result: canary.Succeeded}, Want: want,
			}
			if s.Kind == canary.MustBeDenied {
				r.Outcome = canary.Outcome{Result: canary.Refused, Code: "AccessDeniedException", Message: "explicit deny in a service control policy"}
			}
			if phase == canary.PhaseUndo {
				in.Call = *ps.Undo
				r.Call, r.RequestIDs, r.Want = *ps.Undo, []string{got.API.RequestUID + "-undo"}, event.Event{}
			} else {
				in.Undo = ps.Undo
			}
			ev.Intents, ev.Receipts = append(ev.Intents, in), append(ev.Receipts, r)
			after = append(after, func() { j.add(runID, id, "intent", run.Entry{Intent: &in}) }, func() { j.add(runID, id, "receipt", run.Entry{Receipt: &r}) })
			if phase == canary.PhaseUndo || d.lost == st.ID {
				continue
			}
			if d.wrong != nil {
				raw = d.wrong(raw)
				if got, err = event.ReadCloudTrail([]byte(raw)); err != nil {
					j.t.Fatal(err)
				}
			}
			at := canary.Location{Store: "central", Bucket: "org-trail-archive", Key: "AWSLogs/o-1/" + d.account + "/CloudTrail/us-east-1/2026/11/01/" + id + ".json.gz", VersionID: "v" + id, Offset: int64(100 * n), Length: int64(len(raw)), ObjectSHA256: strings.Repeat("d", 64)}
			seen.Sightings = append(seen.Sightings, canary.Sighting{Event: got, Raw: json.RawMessage(raw), At: at, Stored: j.at.Add(5 * time.Minute)})
			sighted := run.Sighted{Step: st.ID, At: at, Stored: j.at.Add(5 * time.Minute), Raw: []byte(raw), EventUID: got.Metadata.UID, RequestID: got.API.RequestUID, Actor: got.Actor.UID, Operation: got.API.Operation}
			after = append(after, func() { j.add(runID, id, "sighted", run.Entry{Sighted: &sighted}) })
			if d.kept {
				k := canary.Custody{
					Step: st.ID, At: at, Stored: sighted.Stored, Looked: sighted.Stored.Add(3 * time.Hour),
					Required: canary.Keeping{Mode: canary.Compliance, Days: 365, Digested: 2 * time.Hour, Overdue: 24 * time.Hour},
					Seal:     canary.Seal{Digest: "AWSLogs/o-1/" + d.account + "/CloudTrail-Digest/us-east-1/2026/11/02/" + d.account + "_CloudTrail-Digest_us-east-1_org-trail_us-east-1_20261102T100000Z.json.gz", LogSHA256: at.ObjectSHA256},
					Held: canary.Held{Mode: canary.Compliance, Until: sighted.Stored.AddDate(0, 0, 365), Key: &canary.EncryptionKey{ARN: "arn:aws:kms:us-east-1:999999999999:key/k", State: "Enabled", Origin: "AWS_KMS"},
						Bucket: canary.BucketHeld{Versioning: "Enabled", DefaultMode: canary.Compliance, DefaultDays: 365}},
				}
				ev.Custody = append(ev.Custody, k)
				after = append(after, func() { j.add(runID, id, "kept", run.Entry{Kept: &run.Kept{Custody: k}}) })
			}
		}
	}
	j.add(runID, id, "planned", run.Entry{Planned: &plan})
	if d.blocked != "" {
		j.add(runID, id, "blocked", run.Entry{Blocked: &run.Blocked{Reason: d.blocked}})
	}
	for _, f := range after {
		f()
	}
	listed := &run.Listed{Target: c.Target}
	if d.left != "" {
		listed.Left = []run.Leftover{{Kind: "iam role", ID: d.left, Run: runID, Canary: id}}
		ev.Cleanup.Left = []string{"iam role " + d.left}
	}
	j.add(runID, "", "listed", run.Entry{Listed: listed})
	ev.Cleanup.Listed = j.at
	if d.notRun == "" {
		v := canary.Judge(s, c, ev, seen, slo)
		j.add(runID, id, "verdict", run.Entry{Verdict: &v})
	}
}

// validated is a validation of the digests of so many hours before a time.
func (j *journal) validated(account string, until time.Time, hours int, findings []trail.Finding) {
	v := run.Validated{
		Begun: until.Add(30 * time.Minute), Chain: trail.Chain{Account: account, Region: home, Organization: "o-1", Trail: "org-trail", HomeRegion: home},
		Counts: trail.Counts{Digests: hours, Logs: 12 * hours}, First: until.Add(-time.Duration(hours) * time.Hour), Last: until, Findings: findings,
	}
	if hours == 1 { // it went on from the head, whose digest is read again
		v.First = v.First.Add(-time.Hour)
	}
	v.Head = &trail.Head{Chain: v.Chain, Link: trail.Link{Bucket: "org-trail-archive", Key: "AWSLogs/o-1/" + account + "/CloudTrail-Digest/" + until.Format("150405") + ".json.gz", SHA256: strings.Repeat("e", 64), Start: until.Add(-time.Hour), End: until}, AsOf: until.Add(30 * time.Minute)}
	j.add("", "", "validated", run.Entry{Validated: &v})
}

func record(id string, c canary.Canary, s canary.Scenario, st canary.Step, n int, at time.Time) string {
	service, operation, _ := strings.Cut(st.Call, ":")
	denied := ""
	if s.Kind == canary.MustBeDenied {
		denied = `"errorCode":"AccessDeniedException","errorMessage":"explicit deny",`
	}
	return fmt.Sprintf(`{"eventVersion":"1.11","userIdentity":{"type":"AssumedRole","principalId":"AROA:auditcanary-%[1]s","arn":"arn:aws:sts::%[2]s:assumed-role/auditcanary-injector/auditcanary-%[1]s","accountId":"%[2]s","accessKeyId":"ASIAEXAMPLE","sessionContext":{"sessionIssuer":{"type":"Role","arn":"arn:aws:iam::%[2]s:role/auditcanary/auditcanary-injector","accountId":"%[2]s"},"sourceIdentity":"auditcanary"}},"eventTime":"%[3]s","eventSource":"%[4]s.amazonaws.com","eventName":"%[5]s","awsRegion":"us-east-1","sourceIPAddress":"203.0.113.7","userAgent":"app/auditcanary",%[6]s"requestParameters":{"roleName":"auditcanary-%[1]s","policyArn":"arn:aws:iam::aws:policy/AWSDenyAll"},"responseElements":null,"requestID":"req-%[1]s-%[7]d","eventID":"event-%[1]s-%[7]d","readOnly":false,"eventType":"AwsApiCall","managementEvent":true,"recipientAccountId":"%[2]s","eventCategory":"Management"}`,
		id, c.Target.Account, at.Format(time.RFC3339), service, operation, denied, n)
}

// exampleInput is the example before it is folded.
func exampleInput(t *testing.T) Input {
	t.Helper()
	j := &journal{t: t, state: run.NewState(), at: day1}
	j.run("20261101-aaaaaa",
		doing{scenario: 0, account: alpha},
		doing{scenario: 1, account: alpha, lost: "stop"},
		doing{scenario: 2, account: beta, left: "auditcanary-left"},
	)
	j.at = day2
	j.run("20261102-bbbbbb",
		doing{scenario: 0, account: alpha, wrong: func(raw string) string { return strings.Replace(raw, "203.0.113.7", "198.51.100.9", 1) }},
		doing{scenario: 1, account: alpha, kept: true},
		doing{scenario: 2, account: alpha, blocked: "assume role: AccessDenied"},
		doing{scenario: 2, account: gamma, notRun: "fixture security_group is not configured"},
	)
	forged := strings.ReplaceAll(record("20261102-bbbbbb-02", canary.Canary{Target: canary.Target{Account: alpha}}, catalogue()[1], catalogue()[1].Steps[0], 0, day2), "req-", "forged-")
	j.add("20261102-bbbbbb", "", "forged", run.Entry{Forged: &run.Sighted{At: canary.Location{Store: "central", Bucket: "org-trail-archive", Key: "AWSLogs/x.json.gz", Offset: 7, Length: int64(len(forged))}, Stored: day2.Add(time.Minute), Raw: []byte(forged), EventUID: "event-forged", RequestID: "forged-1", Actor: "arn:aws:sts::" + alpha + ":assumed-role/other/auditcanary-x", Operation: "StopLogging"}})

	j.validated(alpha, day2, 24, nil)
	j.validated(alpha, day2.Add(time.Hour), 1, nil)
	j.validated(beta, day2, 24, []trail.Finding{
		{Kind: trail.HeadOld, Status: trail.Inconclusive, Detail: "the newest digest could not be read"},
		{Kind: trail.LogChanged, Status: trail.Fail, Object: "s3://org-trail-archive/AWSLogs/o-1/" + beta + "/changed.json.gz", Detail: "its SHA-256 is not the one that the digest lists", From: day1.Add(3 * time.Hour), Until: day1.Add(4 * time.Hour)},
	})
	// An hour later nothing is wrong with what is new: what was found before stays.
	j.validated(beta, day2.Add(time.Hour), 1, nil)

	mapping, err := scenarios.ReadControls()
	if err != nil {
		t.Fatal(err)
	}
	in := Input{
		State: j.state, Controls: mapping.Controls, SLO: slo, Version: "v1.2.3", Now: day2.Add(6 * time.Hour),
		Checkpoint: &ledger.Checkpoint{Origin: "auditcanary.example.com/test", Size: j.state.Size, Signed: []byte("auditcanary.example.com/test\n44\n")},
		Facts: Facts{
			Organization: "Example", ConfigHash: strings.Repeat("1", 64), CatalogueHash: strings.Repeat("2", 64),
			Targets: []TargetFact{
				{Provider: "aws", Account: alpha, Regions: []string{home}, Egress: []string{"203.0.113.0/28"}},
				{Provider: "aws", Account: beta, Regions: []string{home}}, {Provider: "aws", Account: gamma, Regions: []string{home}},
			},
			SLO: SLO{900, 3600, 86400, 120}, ControlsVersion: mapping.Version,
			Stores:    []StoreFact{{Name: "central", Type: "cloudtrail-s3", Bucket: "org-trail-archive", Region: home, Organization: "o-1", Reader: "arn:aws:iam::999999999999:role/auditcanary-reader", Mode: canary.Compliance, Days: 365, DigestedSeconds: 8100}},
			LedgerAt:  LedgerFact{Origin: "auditcanary.example.com/test", Place: "s3://evidence/ledger/", Writer: "arn:aws:iam::999999999999:role/auditcanary-ledger"},
			Roles:     []RoleFact{{"arn:aws:iam::" + alpha + ":role/auditcanary-injector", "does the canaries, and undoes them", alpha}, {"arn:aws:iam::999999999999:role/auditcanary-reader", "reads the log store central", "999999999999"}},
			AlertPath: []AlertFact{{"event rule", "privileged-activity", alpha, home, "sees read-only calls as well"}},
			Sources:   []SourceFact{{"cloud-management-events", "Platform team", true}},
			Adequacy:  coverage.Decide([]coverage.Decision{{Source: "cloud-management-events", Decision: coverage.Sufficient, Why: "the organisation's trail holds them", By: "CISO", On: day1, ReviewBy: day1.AddDate(1, 0, 0)}}, nil, day2),
		},
	}
	for _, m := range mapping.Checks {
		in.Facts.Meanings = append(in.Facts.Meanings, Meaning(m))
	}
	for _, s := range catalogue() {
		one := Scenario{ID: s.ID, Title: s.Title, Category: s.Category, Kind: s.Kind, Scope: s.Scope, Every: s.Schedule.Every, Hash: s.Hash, Controls: s.Controls, Harmless: s.Harmless}
		for _, st := range s.Steps {
			one.Calls = append(one.Calls, st.Call)
		}
		in.Facts.Scenarios = append(in.Facts.Scenarios, one)
	}
	var categories []coverage.Category
	for _, c := range scenarios.Categories() {
		if slices.Contains([]string{"permissions", "logging-disabled", "network-rules", "encryption-keys", "saas"}, c.ID) {
			in.Facts.Categories = append(in.Facts.Categories, Category{c.ID, c.Title})
			categories = append(categories, coverage.Category{ID: c.ID, Title: c.Title})
		}
	}
	in.Coverage = coverage.Measure(coverage.Input{
		Operations: []coverage.Operation{
			{ID: "cloudtrail:StopLogging", Category: "logging-disabled", RuleSets: 9, Source: "cloud-management-events"},
			{ID: "ec2:AuthorizeSecurityGroupIngress", Category: "network-rules", RuleSets: 7, Source: "cloud-management-events"},
			{ID: "iam:AttachRolePolicy", Category: "permissions", RuleSets: 8, Source: "cloud-management-events", Global: true},
			{ID: "kms:DisableKey", Category: "encryption-keys", RuleSets: 5, Source: "cloud-management-events"},
		},
		Categories: categories, Scenarios: catalogue(), Home: home, MaxAge: coverage.DefaultMaxAge, Now: in.Now,
		Targets: []canary.Target{{Provider: "aws", Account: alpha, Region: home}, {Provider: "aws", Account: beta, Region: home}, {Provider: "aws", Account: gamma, Region: home}},
		Tests: []coverage.Test{
			{Operation: "iam:AttachRolePolicy", Account: alpha, Region: home, Scenario: "aws/iam-role", Category: "permissions", Run: "20261102-bbbbbb", At: day2, Status: canary.Fail},
			{Operation: "cloudtrail:StopLogging", Account: alpha, Region: home, Scenario: "aws/stop-logging-denied", Category: "logging-disabled", Kind: canary.MustBeDenied, Run: "20261102-bbbbbb", At: day2, Status: canary.Pass},
			{Operation: "ec2:AuthorizeSecurityGroupIngress", Account: alpha, Region: home, Scenario: "aws/open-port", Category: "network-rules", Run: "20261102-bbbbbb", At: day2, Status: canary.Inconclusive},
		},
	})
	return in
}

func example(t *testing.T) Report {
	t.Helper()
	return New(exampleInput(t))
}
