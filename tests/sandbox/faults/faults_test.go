package faults

import (
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/auditcanary/auditcanary/shared/canary"
	"github.com/auditcanary/auditcanary/tests/sandbox/fault"
)

func TestEveryFaultOfTheListHasItsFile(t *testing.T) {
	all, err := All()
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, f := range all {
		got = append(got, strings.TrimSuffix(f.Name, ".yaml"))
	}
	want := []string{
		"actor-rewritten", "call-throttled", "call-times-out-after-effect", "delayed-beyond-fail", "delayed-late",
		"file-never-delivered", "record-dropped", "record-duplicated", "record-not-emitted", "result-flipped",
		"source-ip-rewritten", "target-parameter-changed", "undo-fails-once",
	}
	if !slices.Equal(got, want) {
		t.Errorf("files:\n got %q\nwant %q", got, want)
	}
}

func TestExpectationsUseTheJudgesWords(t *testing.T) {
	all, err := All()
	if err != nil {
		t.Fatal(err)
	}
	statuses := []canary.Status{canary.Pass, canary.Late, canary.Fail, canary.Inconclusive, canary.NotRun}
	hops := []canary.Hop{"", canary.Emitted, canary.Delivered, canary.Stored, canary.Parsed}
	for _, f := range all {
		for _, e := range f.Expect {
			if !slices.Contains(canary.Checks(), canary.Check(e.Check)) || !slices.Contains(statuses, canary.Status(e.Status)) || !slices.Contains(hops, canary.Hop(e.Hop)) {
				t.Errorf("%s: %+v", f.Name, e)
			}
			if !strings.HasPrefix(e.Scenario, "aws/") || len(e.Account) != 12 || (e.Region != "us-east-1" && e.Region != "eu-west-1") {
				t.Errorf("%s: %+v", f.Name, e)
			}
		}
	}
}

// TestEachFaultStrikesOneCanary fires every file at one of each thing that a run
// over both accounts and regions makes, and compares what is struck with what
// the header says.
func TestEachFaultStrikesOneCanary(t *testing.T) {
	all, err := All()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range all {
		set, err := fault.Parse(f.Name, f.Data)
		if err != nil {
			t.Fatal(err)
		}
		struck := map[string]bool{}
		for _, th := range things() {
			if len(set.Fire(th.at, th.it)) > 0 {
				for _, c := range th.canaries {
					struck[c] = true
				}
			}
		}
		want := map[string]bool{}
		for _, e := range f.Expect {
			want[e.Scenario+" "+e.Account+" "+e.Region] = true
		}
		if !maps.Equal(struck, want) {
			t.Errorf("%s strikes %v, its header says %v", f.Name, slices.Sorted(maps.Keys(struck)), slices.Sorted(maps.Keys(want)))
		}
		if err := set.Err(); err != nil {
			t.Errorf("%s: %v", f.Name, err)
		}
		for _, st := range set.Status() {
			if st.Fired == 0 {
				t.Errorf("%s: fault %q never strikes", f.Name, st.Name)
			}
		}
	}
}

type thing struct {
	at       string
	it       map[string]any
	canaries []string
}

// regional are the calls of the scenarios done once in each region.
var regional = []struct{ scenario, service, operation, undo, err string }{
	{"aws/cloudtrail-stop-logging-decoy", "cloudtrail", "StopLogging", "StartLogging", ""},
	{"aws/cloudtrail-stop-logging-denied", "cloudtrail", "StopLogging", "", "AccessDenied"},
	{"aws/ec2-delete-flow-logs-dry-run", "ec2", "DeleteFlowLogs", "", "Client.DryRunOperation"},
	{"aws/ec2-security-group-ingress", "ec2", "AuthorizeSecurityGroupIngress", "RevokeSecurityGroupIngress", ""},
	{"aws/kms-disable-key", "kms", "DisableKey", "EnableKey", ""},
	{"aws/s3-bucket-policy", "s3", "PutBucketPolicy", "DeleteBucketPolicy", ""},
	{"aws/sts-break-glass-assume-role", "sts", "AssumeRole", "", ""},
}

func things() []thing {
	var out []thing
	for _, account := range []string{"111122223333", "444455556666"} {
		call := func(scenario, service, operation, region, errorCode string) {
			c := []string{scenario + " " + account + " " + region}
			rec := map[string]any{"eventName": operation, "eventSource": service + ".amazonaws.com", "recipientAccountId": account, "awsRegion": region, "requestParameters": nil}
			if errorCode != "" {
				rec["errorCode"] = errorCode
			}
			out = append(out,
				thing{"call", map[string]any{"service": service, "operation": operation, "account": account, "region": region, "params": map[string]any{}, "principal": "arn:aws:sts::" + account + ":assumed-role/auditcanary-injector/auditcanary-x", "n": len(out)}, c},
				thing{"record", rec, c})
		}
		for _, op := range []string{"CreateRole", "AttachRolePolicy", "DetachRolePolicy", "DeleteRole"} {
			call("aws/iam-temporary-admin-role", "iam", op, "us-east-1", "")
		}
		for _, region := range []string{"us-east-1", "eu-west-1"} {
			var here []string
			for _, s := range regional {
				here = append(here, s.scenario+" "+account+" "+region)
				call(s.scenario, s.service, s.operation, region, s.err)
				if s.undo != "" {
					call(s.scenario, s.service, s.undo, region, "")
				}
			}
			out = append(out, thing{"file", map[string]any{"key": "AWSLogs/o-exampleorg1/" + account + "/CloudTrail/" + region + "/x.json.gz", "account": account, "region": region, "n": 1}, here})
		}
	}
	return out
}

func TestExpectLinesAreStrict(t *testing.T) {
	for _, tc := range []struct{ line, want string }{
		{"", "f.yaml: no expect line: what must a run report?"},
		{"# expect: aws/x 1 r", "f.yaml:1: expect wants SCENARIO ACCOUNT REGION CHECK=STATUS"},
		{"# expect: aws/x 1 r surfaced", `f.yaml:1: expect: "surfaced" is not CHECK=STATUS`},
		{"# expect: aws/x 1 r surfaced=fail hopp=x", `f.yaml:1: expect: unknown word "hopp=x"`},
	} {
		if _, err := expectations("f.yaml", tc.line); err == nil || err.Error() != tc.want {
			t.Errorf("%q: got %v, want %s", tc.line, err, tc.want)
		}
	}
}
