package cloud_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/cloudtrail"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	ec2types "github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	iamtypes "github.com/aws/aws-sdk-go-v2/service/iam/types"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/sts"

	"github.com/auditcanary/auditcanary/tests/sandbox/cloud"
	"github.com/auditcanary/auditcanary/tests/sandbox/cloud/policy"
)

// allowed is every way in which a record of ours may differ from a real one of
// the same event. A path is a regular expression over "event path"; lists are [].
var allowed = []struct{ side, path, why string }{
	// The real record has it, ours has not.
	{"real", `userIdentity\.(sessionContext|invokedBy).*`, "the real caller was a console session or a service; ours is a user with a key"},
	{"real", `AssumeRole (sharedEventID|userIdentity\.invokedBy)`, "the real caller was a service"},
	{"real", `AssumeRole eventContext.*`, "enriched events are an option of event data stores"},
	{"real", `vpcEndpointId`, "the real request came through a VPC endpoint"},
	{"real", `CreateNetworkAclEntry responseElements\.requestID`, "a cut sample: requestId, as in CreateRouteTable's of the same age"},
	// Ours has it, the real record has not.
	{"ours", `CreateNetworkAclEntry responseElements\.requestId`, "a cut sample: requestId, as in CreateRouteTable's of the same age"},
	{"ours", `CreateRouteTable requestParameters\.clientToken`, "the SDK sends one by itself; the one of 2023 did not"},
	{"ours", `(eventCategory|managementEvent|readOnly|eventType|recipientAccountId|tlsDetails.*)`, "the real record has an older eventVersion or is a cut sample"},
	{"ours", `userIdentity\.(principalId|arn|accountId|accessKeyId|userName)`, "the real caller was a service"},
	{"ours", `AssumeRole (requestParameters\.(durationSeconds|sourceIdentity|policy)|responseElements\.(sourceIdentity|assumedRoleUser.*)|sharedEventID)`, "parameters the real call did not give, or a service's call"},
	{"ours", `CreateRole (requestParameters|responseElements\.role)\.(path|tags.*|maxSessionDuration|permissionsBoundary.*)`, "parameters the real call did not give"},
}

// older notes where records of an old eventVersion have other types; they are
// not compared below the path.
var older = []struct{ version, path, why string }{
	{`1\.05`, `(GetBucketLocation|GetBucketAcl) .*`, "1.05 wrote S3's query parameters as lists and had fewer fields"},
	{`1\.0[12]`, `CreateRole resources.*`, "1.01 listed the role as a resource, 1.08 no longer does"},
}

func TestRecordsHaveTheShapeOfRealOnes(t *testing.T) {
	b := start(t, func(o *cloud.Options) {
		backend(o)
		o.World = cloud.World(o.Clock)
		o.World.Accounts[target].Users["alice"] = &cloud.User{
			Name: "alice", ID: "AIDAALICE", Key: cloud.Key{ID: "AKIAALICE", Secret: "s"},
			Policies: []policy.Named{{Doc: policy.MustParse(`{"Version":"2012-10-17","Statement":[
				{"Effect":"Allow","Action":"*","Resource":"*"},{"Effect":"Deny","Action":"iam:GetRole","Resource":"*/denied"}]}`, policy.ForIdentity)}},
		}
		o.World.Accounts[target].Regions[east].Put("flow log", &cloud.Thing{ID: "fl-00000000000000001"})
	})
	alice := b.config(cloud.Key{ID: "AKIAALICE", Secret: "s"}, "", east)
	ours := b.doWhatTheRealOnesDid(alice)

	covered := map[string]bool{}
	for _, real := range realRecords(t, "real.ndjson") {
		name := real.rec["eventName"].(string)
		errorCode, _ := real.rec["errorCode"].(string)
		mine := ours[name+" "+errorCode]
		if mine == nil {
			t.Errorf("%s %s (%s): the sandbox made no such record", name, errorCode, real.origin)
			continue
		}
		covered[name] = true
		for _, diff := range compareShapes(name, fmt.Sprint(real.rec["eventVersion"]), real.rec, mine) {
			t.Errorf("%s %s (%s): %s", name, errorCode, real.origin, diff)
		}
	}
	if len(covered) != 17 {
		t.Errorf("%d event names compared, want 17: %v", len(covered), covered)
	}
}

// The comparison itself must notice what is wrong.
func TestTheShapeComparisonNotices(t *testing.T) {
	real := map[string]any{"eventName": "X", "requestParameters": map[string]any{"name": "a", "list": []any{map[string]any{"k": 1.0}}}, "responseElements": nil}
	for name, mine := range map[string]map[string]any{
		"a missing member":      {"eventName": "X", "requestParameters": map[string]any{"list": []any{map[string]any{"k": 1.0}}}, "responseElements": nil},
		"another spelling":      {"eventName": "X", "requestParameters": map[string]any{"Name": "a", "list": []any{map[string]any{"k": 1.0}}}, "responseElements": nil},
		"a string for a number": {"eventName": "X", "requestParameters": map[string]any{"name": "a", "list": []any{map[string]any{"k": "1"}}}, "responseElements": nil},
		"an object for null":    {"eventName": "X", "requestParameters": map[string]any{"name": "a", "list": []any{map[string]any{"k": 1.0}}}, "responseElements": map[string]any{}},
		"a member too many":     {"eventName": "X", "requestParameters": map[string]any{"name": "a", "list": []any{map[string]any{"k": 1.0}}}, "responseElements": nil, "more": true},
	} {
		if len(compareShapes("X", "1.11", real, mine)) == 0 {
			t.Errorf("%s goes unnoticed", name)
		}
	}
	if diff := compareShapes("X", "1.11", real, real); len(diff) != 0 {
		t.Errorf("equal shapes differ: %v", diff)
	}
}

func compareShapes(event, version string, real, ours map[string]any) (out []string) {
	a, b := map[string]string{}, map[string]string{}
	shape("", real, a)
	shape("", ours, b)
	fits := func(pattern, s string) bool { return regexp.MustCompile("^(" + pattern + ")$").MatchString(s) }
	excused := func(side, path string) bool {
		for _, o := range older {
			if fits(o.version, version) && fits(o.path, event+" "+path) {
				return true
			}
		}
		for _, x := range allowed {
			if x.side == side && (fits(x.path, path) || fits(x.path, event+" "+path)) {
				return true
			}
		}
		return false
	}
	for path, kind := range a {
		got, there := b[path]
		switch {
		case !there && !excused("real", path):
			out = append(out, "missing: "+path)
		case there && got != kind && !excused("type", path):
			out = append(out, fmt.Sprintf("%s is a %s, really a %s", path, got, kind))
		}
	}
	for path := range b {
		if _, there := a[path]; !there && !excused("ours", path) {
			out = append(out, "not in the real record: "+path)
		}
	}
	slices.Sort(out)
	return out
}

// shape notes the JSON type of every path.
func shape(path string, v any, out map[string]string) {
	kind := fmt.Sprintf("%T", v)
	switch v := v.(type) {
	case map[string]any:
		kind = "object"
		for k, x := range v {
			shape(strings.TrimPrefix(path+"."+k, "."), x, out)
		}
	case []any:
		kind = "list"
		for _, x := range v {
			shape(path+"[]", x, out)
		}
	case nil:
		kind = "null"
	}
	if path != "" {
		out[path] = kind
	}
}

type realRecord struct {
	origin string
	rec    map[string]any
}

func realRecords(t *testing.T, file string) (out []realRecord) {
	t.Helper()
	raw, err := os.ReadFile("testdata/records/" + file)
	if err != nil {
		t.Fatal(err)
	}
	for line := range bytes.Lines(raw) {
		var l struct {
			Origin string         `json:"origin"`
			Record map[string]any `json:"record"`
		}
		if err := json.Unmarshal(line, &l); err != nil {
			t.Fatal(err)
		}
		out = append(out, realRecord{l.Origin, l.Record})
	}
	return out
}

// doWhatTheRealOnesDid makes the calls the real records tell of and returns the
// records, by event name and error code.
func (b *box) doWhatTheRealOnesDid(c aws.Config) map[string]map[string]any {
	b.t.Helper()
	ctx := b.t.Context()
	must := func(err error) {
		b.t.Helper()
		if err != nil {
			b.t.Fatal(err)
		}
	}
	ignore := func(...any) {} // calls that must fail; the record is looked at
	bucket := aws.String(cloud.Fixtures(target, east)["bucket"])
	roles, groups, trails, buckets := iam.NewFromConfig(c), ec2.NewFromConfig(c), cloudtrail.NewFromConfig(c), s3of(c)

	_, err := sts.NewFromConfig(c).GetCallerIdentity(ctx, nil)
	must(err)
	trust := `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"AWS":"arn:aws:iam::` + target + `:user/alice"},"Action":["sts:AssumeRole","sts:SetSourceIdentity"]}]}`
	_, err = roles.CreateRole(ctx, &iam.CreateRoleInput{RoleName: aws.String("r"), Path: aws.String("/"), AssumeRolePolicyDocument: &trust, MaxSessionDuration: aws.Int32(3600),
		Tags: []iamtypes.Tag{{Key: aws.String("k"), Value: aws.String("v")}}})
	must(err)
	_, err = sts.NewFromConfig(c).AssumeRole(ctx, &sts.AssumeRoleInput{RoleArn: aws.String("arn:aws:iam::" + target + ":role/r"), RoleSessionName: aws.String("session"), DurationSeconds: aws.Int32(3600)})
	must(err)
	_, err = roles.GetRole(ctx, &iam.GetRoleInput{RoleName: aws.String("r")})
	must(err)
	ignore(roles.GetRole(ctx, &iam.GetRoleInput{RoleName: aws.String("denied")}))
	_, err = roles.ListAttachedRolePolicies(ctx, &iam.ListAttachedRolePoliciesInput{RoleName: aws.String("r")})
	must(err)
	_, err = roles.ListRolePolicies(ctx, &iam.ListRolePoliciesInput{RoleName: aws.String("r")})
	must(err)

	_, err = groups.DescribeSecurityGroups(ctx, &ec2.DescribeSecurityGroupsInput{Filters: []ec2types.Filter{
		{Name: aws.String("group-name"), Values: []string{"default"}}, {Name: aws.String("vpc-id"), Values: []string{"vpc-1"}}}})
	must(err)
	ignore(groups.DeleteFlowLogs(ctx, &ec2.DeleteFlowLogsInput{FlowLogIds: []string{"bad"}}))
	gone, err := groups.DeleteFlowLogs(ctx, &ec2.DeleteFlowLogsInput{FlowLogIds: []string{"fl-00000000000000001"}})
	if err != nil || len(gone.Unsuccessful) != 0 {
		b.t.Fatalf("%s %v", pretty(gone), err)
	}

	vpc := aws.String(cloud.Fixtures(target, east)["vpc"])
	_, err = groups.CreateRouteTable(ctx, &ec2.CreateRouteTableInput{VpcId: vpc, TagSpecifications: tagsOn(ec2types.ResourceTypeRouteTable, "r1")})
	must(err)
	acl, err := groups.CreateNetworkAcl(ctx, &ec2.CreateNetworkAclInput{VpcId: vpc})
	must(err)
	_, err = groups.CreateNetworkAclEntry(ctx, &ec2.CreateNetworkAclEntryInput{NetworkAclId: acl.NetworkAcl.NetworkAclId, RuleNumber: aws.Int32(500), Egress: aws.Bool(true),
		RuleAction: ec2types.RuleActionAllow, Protocol: aws.String("-1"), CidrBlock: aws.String("0.0.0.0/0")})
	must(err)

	name := aws.String("auditcanary-decoy")
	_, err = trails.GetTrailStatus(ctx, &cloudtrail.GetTrailStatusInput{Name: name})
	must(err)
	_, err = trails.StartLogging(ctx, &cloudtrail.StartLoggingInput{Name: name})
	must(err)
	ignore(trails.StopLogging(ctx, &cloudtrail.StopLoggingInput{Name: aws.String("nothing")}))

	_, err = buckets.GetBucketLocation(ctx, &s3.GetBucketLocationInput{Bucket: bucket})
	must(err)
	ignore(buckets.GetBucketAcl(ctx, &s3.GetBucketAclInput{Bucket: bucket})) // the backend's answer is no ACL; the record is
	doc := strings.ReplaceAll(tlsOnly, "BUCKET", *bucket)
	_, err = buckets.PutBucketPolicy(ctx, &s3.PutBucketPolicyInput{Bucket: bucket, Policy: &doc})
	must(err)
	_, err = buckets.GetBucketPolicy(ctx, &s3.GetBucketPolicyInput{Bucket: bucket})
	must(err)
	ignore(buckets.DeleteBucketPolicy(ctx, &s3.DeleteBucketPolicyInput{Bucket: aws.String("no-such-bucket-here")}))

	out := map[string]map[string]any{}
	for _, e := range b.sink.got {
		code, _ := e.rec["errorCode"].(string)
		out[fmt.Sprint(e.rec["eventName"], " ", code)] = e.rec
	}
	return out
}
