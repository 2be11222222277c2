package event

import (
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// receipt is the event of a call as the caller knows it.
func receipt(service, operation string, params map[string]any) Event {
	no := false
	return Event{
		Time:     time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC),
		Metadata: Metadata{EventCode: "AwsApiCall"},
		Cloud:    Cloud{Provider: "AWS", Account: "111122223333", Region: "us-east-1"},
		Actor: Actor{
			Type: "AssumedRole", UID: "arn:aws:sts::111122223333:assumed-role/injector/auditcanary-c1", UIDAlt: "AROAEXAMPLE:auditcanary-c1",
			Account: "111122223333", CredentialUID: "ASIAEXAMPLE",
			Session: Session{Issuer: "arn:aws:iam::111122223333:role/path/injector", Name: "auditcanary-c1", SourceIdentity: "auditcanary", MFA: &no},
		},
		API:         API{Service: service, Operation: operation, RequestUID: "req-1", ReadOnly: &no, Request: params},
		SrcEndpoint: Endpoint{IP: "192.0.2.7"},
		HTTPRequest: HTTPRequest{UserAgent: "aws-sdk-go-v2/1.47.7 ua/2.1 os/linux app/auditcanary-c1"},
	}
}

// recordOf is the record that the call must leave, with its parameters as JSON.
func recordOf(want Event, params string) string {
	errorCode := ""
	if want.API.Error != "" {
		errorCode = fmt.Sprintf(`"errorCode": %q, "errorMessage": "no",`, want.API.Error)
	}
	return fmt.Sprintf(`{
	"eventVersion": "1.11",
	"userIdentity": {"type": "AssumedRole", "principalId": "AROAEXAMPLE:auditcanary-c1",
		"arn": "arn:aws:sts::111122223333:assumed-role/injector/auditcanary-c1", "accountId": "111122223333", "accessKeyId": "ASIAEXAMPLE",
		"sessionContext": {"sessionIssuer": {"type": "Role", "principalId": "AROAEXAMPLE", "arn": "arn:aws:iam::111122223333:role/path/injector",
			"accountId": "111122223333", "userName": "injector"},
			"attributes": {"creationDate": "2026-01-02T03:00:00Z", "mfaAuthenticated": "false"}, "sourceIdentity": "auditcanary"}},
	"eventTime": "2026-01-02T03:04:05Z", "eventSource": %q, "eventName": %q, "awsRegion": "us-east-1",
	"sourceIPAddress": "192.0.2.7", "userAgent": %q, %s
	"requestParameters": %s, "responseElements": null, "requestID": "req-1", "eventID": "ev-1", "readOnly": false,
	"eventType": "AwsApiCall", "managementEvent": true, "recipientAccountId": "111122223333", "eventCategory": "Management"}`,
		want.API.Service, want.API.Operation, want.HTTPRequest.UserAgent, errorCode, params)
}

// trust is a policy document as a scenario's author writes one.
const trust = `{"Version":"2012-10-17","Statement":[{"Effect":"Deny","Principal":"*","Action":"sts:AssumeRole"}]}`

// pairs are calls with the parameters of their records, in the shapes that real
// records have (testdata, and the documentation named).
var pairs = []struct {
	name      string
	service   string
	operation string
	sent      string
	recorded  string
}{
	{"IAM role", "iam.amazonaws.com", "CreateRole",
		`{"RoleName":"auditcanary-c1","Path":"/auditcanary/","AssumeRolePolicyDocument":` + quote(trust) + `,"MaxSessionDuration":3600,"Tags":[{"Key":"run","Value":"r1"},{"Key":"auditcanary","Value":"c1"}]}`,
		`{"roleName":"auditcanary-c1","path":"/auditcanary/","assumeRolePolicyDocument":` + quote(trust) + `,"maxSessionDuration":3600,"tags":[{"key":"run","value":"r1"},{"key":"auditcanary","value":"c1"}]}`},
	{"policy document with other spacing and order", "iam.amazonaws.com", "PutRolePolicy",
		`{"RoleName":"r","PolicyName":"p","PolicyDocument":"{\n \"Version\": \"2012-10-17\", \"Statement\": []}"}`,
		`{"roleName":"r","policyName":"p","policyDocument":"{\"Statement\":[],\"Version\":\"2012-10-17\"}"}`},
	{"policy document URL-encoded", "iam.amazonaws.com", "PutRolePolicy",
		`{"RoleName":"r","PolicyDocument":"{\"Version\":\"2012-10-17\",\"Id\":\"a+b c\"}"}`,
		`{"roleName":"r","policyDocument":"%7B%22Version%22%3A%222012-10-17%22%2C%22Id%22%3A%22a%2Bb%20c%22%7D"}`},
	{"EC2 set of items (testdata/panther: Authorize..., DataDog/stratus-red-team)", "ec2.amazonaws.com", "AuthorizeSecurityGroupIngress",
		`{"GroupId":"sg-1","IpPermissions":[{"IpProtocol":"tcp","FromPort":22,"ToPort":22,"IpRanges":[{"CidrIp":"192.0.2.1/32","Description":"canary"}]}]}`,
		`{"groupId":"sg-1","ipPermissions":{"items":[{"ipProtocol":"tcp","fromPort":22,"toPort":22,"groups":{},"ipRanges":{"items":[{"cidrIp":"192.0.2.1/32","description":"canary"}]},"ipv6Ranges":{},"prefixListIds":{}}]}}`},
	{"EC2 tags (testdata/invictus: CreateRouteTable)", "ec2.amazonaws.com", "CreateRouteTable",
		`{"VpcId":"vpc-1","TagSpecifications":[{"ResourceType":"route-table","Tags":[{"Key":"Name","Value":"n"},{"Key":"run","Value":"r"}]}]}`,
		`{"vpcId":"vpc-1","tagSpecificationSet":{"items":[{"resourceType":"route-table","tags":[{"key":"Name","value":"n"},{"key":"run","value":"r"}]}]}}`},
	{"EC2 list of ids (testdata/umccr: StartInstances)", "ec2.amazonaws.com", "StartInstances",
		`{"InstanceIds":["i-1","i-2"]}`, `{"instancesSet":{"items":[{"instanceId":"i-1"},{"instanceId":"i-2"}]}}`},
	{"EC2 filters (testdata/panther: DescribeNetworkAcls)", "ec2.amazonaws.com", "DescribeNetworkAcls",
		`{"Filters":[{"Name":"vpc-id","Values":["vpc-1"]}]}`,
		`{"networkAclIdSet":{},"filterSet":{"items":[{"name":"vpc-id","valueSet":{"items":[{"value":"vpc-1"}]}}]}}`},
	{"EC2 wrapped request, one element (testdata/traildiscover: EC2-DeleteFlowLogs)", "ec2.amazonaws.com", "DeleteFlowLogs",
		`{"FlowLogIds":["fl-1"]}`, `{"DeleteFlowLogsRequest":{"FlowLogId":{"content":"fl-1","tag":1}}}`},
	{"EC2 wrapped request, two elements", "ec2.amazonaws.com", "DeleteFlowLogs",
		`{"FlowLogIds":["fl-1","fl-2"]}`, `{"DeleteFlowLogsRequest":{"FlowLogId":[{"content":"fl-1","tag":1},{"content":"fl-2","tag":2}]}}`},
	{"EC2 wrapped request, tags beside an element's position", "ec2.amazonaws.com", "CreateFlowLogs",
		`{"ResourceIds":["vpc-1"],"TagSpecifications":[{"ResourceType":"vpc-flow-log","Tags":[{"Key":"Name","Value":"n"},{"Key":"run","Value":"r"}]}]}`,
		`{"CreateFlowLogsRequest":{"ResourceId":{"content":"vpc-1","tag":1},"TagSpecification":{"tag":1,"ResourceType":"vpc-flow-log","Tag":[{"tag":1,"Key":"Name","Value":"n"},{"tag":2,"Key":"run","Value":"r"}]}}}`},
	{"EC2 wrapped request, one tag", "ec2.amazonaws.com", "CreateFlowLogs",
		`{"TagSpecifications":[{"Tags":[{"Key":"run","Value":"r"}]}]}`,
		`{"CreateFlowLogsRequest":{"TagSpecification":{"tag":1,"ResourceType":"vpc-flow-log","Tag":{"tag":1,"Key":"run","Value":"r"}}}}`},
	{"EC2 wrapped request, objects (testdata/traildiscover: EC2-ReplaceIamInstanceProfileAssociation)", "ec2.amazonaws.com", "ReplaceIamInstanceProfileAssociation",
		`{"AssociationId":"iip-1","IamInstanceProfile":{"Name":"n"}}`,
		`{"ReplaceIamInstanceProfileAssociationRequest":{"AssociationId":"iip-1","IamInstanceProfile":{"Name":"n"}}}`},
	{"EC2 instances (testdata/invictus: RunInstances)", "ec2.amazonaws.com", "RunInstances",
		`{"ImageId":"ami-1","MinCount":1,"MaxCount":1,"InstanceType":"t3.micro"}`,
		`{"instancesSet":{"items":[{"imageId":"ami-1","minCount":1,"maxCount":1}]},"instanceType":"t3.micro","blockDeviceMapping":{},"monitoring":{"enabled":false},"clientToken":"x"}`},
	{"EC2 CreateTags", "ec2.amazonaws.com", "CreateTags",
		`{"Resources":["sg-1"],"Tags":[{"Key":"k","Value":"v"}]}`,
		`{"resourcesSet":{"items":[{"resourceId":"sg-1"}]},"tagSet":{"items":[{"key":"k","value":"v"}]}}`},
	{"KMS (KMS developer guide: DisableKey)", "kms.amazonaws.com", "DisableKey",
		`{"KeyId":"1234abcd-12ab-34cd-56ef-1234567890ab"}`, `{"keyId":"1234abcd-12ab-34cd-56ef-1234567890ab"}`},
	{"CloudTrail selectors (DataDog/stratus-red-team)", "cloudtrail.amazonaws.com", "PutEventSelectors",
		`{"TrailName":"t","EventSelectors":[{"ReadWriteType":"ReadOnly","IncludeManagementEvents":false,"DataResources":[{"Type":"AWS::S3::Object","Values":[]}]}]}`,
		`{"trailName":"t","eventSelectors":[{"readWriteType":"ReadOnly","includeManagementEvents":false,"excludeManagementEventSources":[],"dataResources":[{"type":"AWS::S3::Object","values":[]}]}]}`},
	{"CloudTrail tags (testdata/invictus: CreateTrail)", "cloudtrail.amazonaws.com", "CreateTrail",
		`{"Name":"t","S3BucketName":"b","TagsList":[{"Key":"k","Value":"v"}]}`,
		`{"name":"t","s3BucketName":"b","includeGlobalServiceEvents":true,"tagsList":[{"key":"k","value":"v"}]}`},
	{"S3 bucket policy as an object", "s3.amazonaws.com", "PutBucketPolicy",
		`{"Bucket":"b","Policy":` + quote(trust) + `}`,
		`{"bucketName":"b","Host":"b.s3.us-east-1.amazonaws.com","policy":"","bucketPolicy":` + trust + `}`},
	{"S3 XML configuration (testdata/panther: PutBucketVersioning)", "s3.amazonaws.com", "PutBucketVersioning",
		`{"Bucket":"b","VersioningConfiguration":{"Status":"Enabled","MFADelete":"Disabled"}}`,
		`{"bucketName":"b","versioning":[""],"host":["b.s3.amazonaws.com"],"VersioningConfiguration":{"xmlns":"http://s3.amazonaws.com/doc/2006-03-01/","Status":"Enabled","MfaDelete":"Disabled"}}`},
	{"S3 public access block (public rule tests)", "s3.amazonaws.com", "PutBucketPublicAccessBlock",
		`{"Bucket":"b","PublicAccessBlockConfiguration":{"BlockPublicAcls":true,"IgnorePublicAcls":true,"BlockPublicPolicy":true,"RestrictPublicBuckets":false}}`,
		`{"publicAccessBlock":[""],"bucketName":"b","host":["b.s3.amazonaws.com"],"PublicAccessBlockConfiguration":{"xmlns":"http://s3.amazonaws.com/doc/2006-03-01/","RestrictPublicBuckets":false,"BlockPublicPolicy":true,"BlockPublicAcls":true,"IgnorePublicAcls":true}}`},
	{"S3 rules of one element, marker of the same name", "s3.amazonaws.com", "PutBucketTagging",
		`{"Bucket":"b","Tagging":{"TagSet":[{"Key":"k","Value":"v"}]}}`,
		`{"tagging":"","bucketName":"b","Tagging":{"xmlns":"http://s3.amazonaws.com/doc/2006-03-01/","TagSet":{"Tag":{"Key":"k","Value":"v"}}}}`},
	{"S3 lifecycle", "s3.amazonaws.com", "PutBucketLifecycle",
		`{"Bucket":"b","LifecycleConfiguration":{"Rules":[{"ID":"x","Status":"Disabled","Filter":{"Prefix":"p"},"Expiration":{"Days":9999}}]}}`,
		`{"lifecycle":"","bucketName":"b","LifecycleConfiguration":{"xmlns":"http://s3.amazonaws.com/doc/2006-03-01/","Rule":{"ID":"x","Status":"Disabled","Filter":{"Prefix":"p"},"Expiration":{"Days":"9999"}}}}`},
	{"STS", "sts.amazonaws.com", "AssumeRole",
		`{"RoleArn":"arn:aws:iam::111122223333:role/break-glass","RoleSessionName":"auditcanary-c1","SourceIdentity":"auditcanary","DurationSeconds":900,"Policy":` + quote(trust) + `}`,
		`{"roleArn":"arn:aws:iam::111122223333:role/break-glass","roleSessionName":"auditcanary-c1","sourceIdentity":"auditcanary","durationSeconds":900,"policy":` + quote(trust) + `}`},
}

func quote(s string) string { b, _ := json.Marshal(s); return string(b) }

func parse(t interface {
	Helper()
	Fatalf(string, ...any)
}, s string) map[string]any {
	t.Helper()
	var m map[string]any
	if err := json.Unmarshal([]byte(s), &m); err != nil {
		t.Fatalf("%v in %s", err, s)
	}
	return m
}

func unexplained(ds []Difference) []string {
	var out []string
	for _, d := range ds {
		if d.Rule == "" {
			out = append(out, d.Field)
		}
	}
	return out
}

func fieldsOf(ds []Difference) []string {
	var out []string
	for _, d := range ds {
		out = append(out, d.Field)
	}
	return out
}

func TestARecordThatSaysWhatWeDidHasNoDifference(t *testing.T) {
	for _, p := range pairs {
		want := receipt(p.service, p.operation, parse(t, p.sent))
		got := mustRead(t, []byte(recordOf(want, p.recorded)))
		if d := Compare(want, got, Tolerance{}); len(d) > 0 {
			t.Errorf("%s: %+v", p.name, d)
		}
	}
}

func TestEveryRealRecordEqualsItself(t *testing.T) {
	for _, r := range realRecords(t) {
		e, err := ReadCloudTrail(r.raw)
		if err != nil {
			continue // see TestNoRealRecordLosesWhatItStates
		}
		if d := Compare(e, e, Tolerance{}); len(d) > 0 {
			t.Errorf("%s: %+v", r.name, d)
		}
	}
}

// TestEveryChangeOfARecordIsNamed changes each attribution field of matching
// records in their raw JSON - to other text, to nothing, to another type - and
// requires that Compare names exactly that field and that no rule excuses it.
func TestEveryChangeOfARecordIsNamed(t *testing.T) {
	changed := map[string]bool{}
	check := func(t testing.TB, name string, want Event, raw map[string]any, m mutation) {
		b, err := json.Marshal(raw)
		if err != nil {
			t.Fatal(err)
		}
		got, err := ReadCloudTrail(b)
		if err != nil {
			t.Fatalf("%s, %s: %v", name, m.name, err)
		}
		d := Compare(want, got, Tolerance{Before: time.Minute, After: time.Minute})
		for _, x := range d {
			if x.Rule != "" {
				t.Errorf("%s, %s: rule %s excuses %+v", name, m.name, x.Rule, x)
			}
		}
		if got := fieldsOf(d); !reflect.DeepEqual(got, m.fields) {
			t.Errorf("%s, %s: differences in %q, want %q", name, m.name, got, m.fields)
		}
		for _, f := range m.fields {
			changed[strings.Split(strings.TrimPrefix(f, "api.request."), ".")[0]] = true
			changed[f] = true
			if strings.HasPrefix(f, "api.request") {
				changed["api.request"] = true
			}
		}
	}
	n := 0
	for _, p := range pairs {
		want := receipt(p.service, p.operation, parse(t, p.sent))
		raw := recordOf(want, p.recorded)
		for _, m := range mutationsOf(parse(t, raw)) {
			doc := parse(t, raw)
			m.apply(doc)
			check(t, p.name, want, doc, m)
			n++
		}
	}
	seen := map[string]bool{} // many of the records are alike
	for _, r := range realRecords(t) {
		want, err := ReadCloudTrail(r.raw)
		if err != nil {
			continue // see TestNoRealRecordLosesWhatItStates
		}
		if kind := strings.Join([]string{want.API.Service, want.API.Operation, want.Actor.Type, want.API.Error}, " "); seen[kind] || want.API.Request == nil && len(seen) > 100 {
			continue
		} else {
			seen[kind] = true
		}
		for _, m := range mutationsOf(parse(t, string(r.raw))) {
			doc := parse(t, string(r.raw))
			m.apply(doc)
			check(t, r.name, want, doc, m)
			n++
		}
	}
	for _, f := range AttributionFields() {
		if !changed[f] {
			t.Errorf("no record with %s was changed", f)
		}
	}
	t.Logf("%d changes of %d constructed and %d real records", n, len(pairs), len(seen))
}

// mutation is one change of a raw record with the fields that it must flip.
type mutation struct {
	name   string
	apply  func(raw map[string]any)
	fields []string
}

// mutationsOf lists the changes that a record's stated fields admit.
func mutationsOf(raw map[string]any) []mutation {
	var out []mutation
	identity, _ := raw["userIdentity"].(map[string]any)
	arn, _ := identity["arn"].(string)
	// set adds the changes of one string: other text, nothing, another type.
	set := func(path []string, fields ...string) {
		old, ok := lookup(raw, path).(string)
		if !ok || old == "" {
			return
		}
		name := strings.Join(path, ".")
		for label, v := range map[string]any{"longer": old + "x", "shorter": old[:len(old)-1], "null": nil, "a number": 7.0, "an object": map[string]any{"a": "b"}} {
			if v == "" {
				continue
			}
			out = append(out, mutation{name + " " + label, func(r map[string]any) { assign(r, path, v) }, fields})
		}
		out = append(out, mutation{name + " deleted", func(r map[string]any) { remove(r, path) }, fields})
	}
	set([]string{"eventType"}, "metadata.event_code")
	set([]string{"recipientAccountId"}, "cloud.account")
	set([]string{"awsRegion"}, "cloud.region")
	set([]string{"eventSource"}, "api.service")
	set([]string{"eventName"}, "api.operation")
	set([]string{"requestID"}, "api.request_uid")
	set([]string{"userAgent"}, "http_request.user_agent")
	set([]string{"errorCode"}, "api.error")
	if raw["errorCode"] == nil {
		out = append(out, mutation{"errorCode added", func(r map[string]any) { r["errorCode"] = "AccessDenied" }, []string{"api.error"}})
	}
	if strings.HasPrefix(arn, "arn:aws:") {
		// Without an ARN other members stand in for it; TestActorOfEveryIdentityType has those.
		set([]string{"userIdentity", "type"}, "actor.type")
		set([]string{"userIdentity", "principalId"}, "actor.uid_alt")
		set([]string{"userIdentity", "accountId"}, "actor.account")
		other := strings.Replace(arn, "arn:aws:", "arn:aws-cn:", 1)
		out = append(out, mutation{"arn in another partition", func(r map[string]any) { assign(r, []string{"userIdentity", "arn"}, other) }, []string{"actor.uid"}})
		if _, session, _ := strings.Cut(arn, ":assumed-role/"); strings.Contains(session, "/") {
			out = append(out, mutation{"session renamed", func(r map[string]any) { assign(r, []string{"userIdentity", "arn"}, arn+"x") }, []string{"actor.uid", "actor.session.name"}})
		}
	}
	set([]string{"userIdentity", "accessKeyId"}, "actor.credential_uid")
	set([]string{"userIdentity", "sessionContext", "sessionIssuer", "arn"}, "actor.session.issuer")
	set([]string{"userIdentity", "sessionContext", "sourceIdentity"}, "actor.session.source_identity")
	mfa := []string{"userIdentity", "sessionContext", "attributes", "mfaAuthenticated"}
	if v, ok := lookup(raw, mfa).(string); ok {
		flipped := map[string]string{"true": "false", "false": "true"}[v]
		for label, v := range map[string]any{"flipped": flipped, "as text": "yes", "null": nil} {
			out = append(out, mutation{"mfaAuthenticated " + label, func(r map[string]any) { assign(r, mfa, v) }, []string{"actor.session.is_mfa"}})
		}
	}
	if v, ok := raw["readOnly"].(bool); ok {
		for label, v := range map[string]any{"flipped": !v, "null": nil, "a number": 1.0} {
			out = append(out, mutation{"readOnly " + label, func(r map[string]any) { r["readOnly"] = v }, []string{"api.read_only"}})
		}
	}
	if from, ok := raw["sourceIPAddress"].(string); ok && !strings.ContainsAny(from, "abcdefghijklmnopqrstuvwxyz ") {
		for _, v := range []any{"198.51.100.9", "2001:db8::9", "AWS Internal", nil, 5.0} {
			out = append(out, mutation{fmt.Sprint("sourceIPAddress ", v), func(r map[string]any) { r["sourceIPAddress"] = v }, []string{"src_endpoint.ip"}})
		}
	}
	if s, ok := raw["eventTime"].(string); ok {
		for _, layout := range timeLayouts {
			at, err := time.Parse(layout, s)
			if err != nil {
				continue
			}
			for _, v := range []any{at.Add(61 * time.Second).Format(time.RFC3339), at.Add(-61 * time.Second).Format(time.RFC3339), nil, "", "soon", 5.0} {
				out = append(out, mutation{fmt.Sprint("eventTime ", v), func(r map[string]any) { r["eventTime"] = v }, []string{"time"}})
			}
		}
	}
	return append(out, parameterMutations(raw)...)
}

// parameterMutations changes each leaf that was sent. What a leaf must be named is
// found by the test's own table for the constructed pairs (see sentName), and is
// the recorded path for a real record, which is compared with itself.
func parameterMutations(raw map[string]any) []mutation {
	var out []mutation
	params, _ := raw["requestParameters"].(map[string]any)
	if params == nil || lookup(raw, []string{"eventID"}) == "ev-1" {
		return nil // the constructed pairs: TestEveryChangedParameterIsNamedInTheAPIsSpelling
	}
	if raw["errorCode"] == nil && states(params) {
		out = append(out, mutation{"requestParameters null", func(r map[string]any) { r["requestParameters"] = nil }, []string{"api.request"}})
	}
	walk(params, "api.request", func(field string, path []any, v any) {
		for label, other := range othersOf(v) {
			out = append(out, mutation{field + " " + label, func(r map[string]any) { assignAny(r["requestParameters"], path, other) }, []string{field}})
		}
	})
	return out
}

// othersOf are values that v is not.
func othersOf(v any) map[string]any {
	switch v := v.(type) {
	case string:
		return map[string]any{"other text": v + "x", "null": nil, "an object": map[string]any{"a": "b", "c": "d"}}
	case bool:
		return map[string]any{"flipped": !v, "null": nil}
	case float64:
		return map[string]any{"plus one": v + 1, "null": nil, "text": "x"}
	}
	return nil
}

// walk visits the leaves below a JSON object.
func walk(v any, field string, visit func(field string, path []any, v any)) {
	var down func(v any, field string, path []any)
	down = func(v any, field string, path []any) {
		switch v := v.(type) {
		case nil:
		case map[string]any:
			for _, k := range slices.Sorted(maps.Keys(v)) {
				down(v[k], field+"."+k, append(slices.Clone(path), k))
			}
		case []any:
			for i := range v {
				down(v[i], fmt.Sprintf("%s[%d]", field, i), append(slices.Clone(path), i))
			}
		default:
			visit(field, path, v)
		}
	}
	down(v, field, nil)
}

func lookup(raw map[string]any, path []string) any {
	var v any = raw
	for _, p := range path {
		m, _ := v.(map[string]any)
		v = m[p]
	}
	return v
}

func assign(raw map[string]any, path []string, v any) {
	parent := lookup(raw, path[:len(path)-1]).(map[string]any)
	parent[path[len(path)-1]] = v
}

func remove(raw map[string]any, path []string) {
	delete(lookup(raw, path[:len(path)-1]).(map[string]any), path[len(path)-1])
}

func assignAny(v any, path []any, other any) {
	for i, p := range path {
		last := i == len(path)-1
		switch p := p.(type) {
		case string:
			if last {
				v.(map[string]any)[p] = other
			} else {
				v = v.(map[string]any)[p]
			}
		case int:
			if last {
				v.([]any)[p] = other
			} else {
				v = v.([]any)[p]
			}
		}
	}
}

// TestEveryChangedParameterIsNamedInTheAPIsSpelling changes each leaf of what was
// sent, which is the same as the record holding another value, and requires the
// path in the API's names, as it was sent, and nothing else.
func TestEveryChangedParameterIsNamedInTheAPIsSpelling(t *testing.T) {
	for _, p := range pairs {
		sent := parse(t, p.sent)
		got := mustRead(t, []byte(recordOf(receipt(p.service, p.operation, sent), p.recorded)))
		leaves := 0
		walk(sent, "api.request", func(field string, path []any, v any) {
			leaves++
			for label, other := range othersOf(v) {
				if other == nil || label == "an object" {
					continue // what was not sent is not compared
				}
				changed := parse(t, p.sent)
				assignAny(changed, path, other)
				d := Compare(receipt(p.service, p.operation, changed), got, Tolerance{})
				if len(d) != 1 || d[0].Field != field || d[0].Rule != "" {
					t.Errorf("%s: %s %s: %+v", p.name, field, label, d)
				}
			}
		})
		if leaves == 0 {
			t.Errorf("%s: no leaves", p.name)
		}
		// And whatever leaf of the record is changed, something is named, unless it
		// is one that was not sent.
		record := parse(t, p.recorded)
		before := leavesShown(sent)
		walk(record, "", func(_ string, path []any, v any) {
			if !before[show(v)] {
				return // a default or the provider's addition
			}
			for label, other := range othersOf(v) {
				changed := parse(t, p.recorded)
				assignAny(changed, path, other)
				b, _ := json.Marshal(changed)
				got := mustRead(t, []byte(recordOf(receipt(p.service, p.operation, sent), string(b))))
				d := Compare(receipt(p.service, p.operation, sent), got, Tolerance{})
				if len(d) != 1 || d[0].Rule != "" || !strings.HasPrefix(d[0].Field, "api.request.") {
					t.Errorf("%s: record's %v %s: %+v", p.name, path, label, d)
				}
			}
		})
	}
}

func leavesShown(v any) map[string]bool {
	out := map[string]bool{}
	walk(v, "", func(_ string, _ []any, v any) { out[show(v)] = true })
	return out
}

func TestParametersThatAreNotTheSame(t *testing.T) {
	for _, c := range []struct{ name, sent, recorded, field, expected, found string }{
		{"missing leaf", `{"RoleName":"r","Path":"/x/"}`, `{"roleName":"r"}`, "api.request.Path", "/x/", ""},
		{"missing list", `{"Tags":[{"Key":"k"}]}`, `{"roleName":"r"}`, "api.request.Tags", `[{"Key":"k"}]`, ""},
		{"one element more", `{"Tags":[{"Key":"k"}]}`, `{"tags":[{"key":"k"},{"key":"l"}]}`, "api.request.Tags", `[{"Key":"k"}]`, `[{"key":"k"},{"key":"l"}]`},
		{"one element less", `{"Ids":["a","b"]}`, `{"ids":["a"]}`, "api.request.Ids", `["a","b"]`, `["a"]`},
		{"elements swapped", `{"Ids":["a","b"]}`, `{"ids":["b","b"]}`, "api.request.Ids[0]", "a", "b"},
		{"empty items", `{"Ids":["a"]}`, `{"idSet":{}}`, "api.request.Ids", `["a"]`, "[]"},
		{"a forged twin in another case", `{"RoleName":"r"}`, `{"roleName":"r","RoleName":"admin"}`, "api.request.RoleName", "r", "admin"},
		{"a forged twin beside the wrapper", `{"RoleName":"r"}`, `{"CreateRoleRequest":{"RoleName":"r"},"roleName":"admin"}`, "api.request.RoleName", "r", "admin"},
		{"text for a number", `{"Port":22}`, `{"port":"022"}`, "api.request.Port", "22", "022"},
		{"leading zeros of an account", `{"Account":"012345678901"}`, `{"account":12345678901}`, "api.request.Account", "012345678901", "12345678901"},
		{"object for text", `{"Name":"n"}`, `{"name":{"value":"n"}}`, "api.request.Name", "n", `{"value":"n"}`},
		{"a changed policy", `{"Doc":"{\"Effect\":\"Deny\"}"}`, `{"doc":"{\"Effect\":\"Allow\"}"}`, "api.request.Doc", `{"Effect":"Deny"}`, `{"Effect":"Allow"}`},
		{"a policy with a name twice", `{"Doc":"{\"Effect\":\"Deny\"}"}`, `{"doc":"{\"Effect\":\"Allow\",\"Effect\":\"Deny\"}"}`, "api.request.Doc", `{"Effect":"Deny"}`, `{"Effect":"Allow","Effect":"Deny"}`},
		{"a policy with more in it", `{"Doc":"{\"Effect\":\"Deny\"}"}`, `{"doc":{"Effect":"Deny","Sid":"x"}}`, "api.request.Doc", `{"Effect":"Deny"}`, `{"Effect":"Deny","Sid":"x"}`},
		{"parameters of the wrong type", `{"RoleName":"r"}`, `"r"`, "api.request", `{"RoleName":"r"}`, ""},
		{"parameters gone", `{"RoleName":"r"}`, `null`, "api.request", `{"RoleName":"r"}`, ""},
		{"a position for tags", `{"Tags":[{"Key":"k"}]}`, `{"tag":1}`, "api.request.Tags", `[{"Key":"k"}]`, ""},
		{"other tags beside a position", `{"Tags":[{"Key":"k"}]}`, `{"tag":1,"Tag":{"Key":"x","tag":1}}`, "api.request.Tags[0]", `{"Key":"k"}`, "x"},
		{"forged tags beside the true ones", `{"Tags":[{"Key":"k"}]}`, `{"tag":"k","Tag":{"Key":"k"}}`, "api.request.Tags[0]", `{"Key":"k"}`, "k"},
		{"the mark for text", `{"RoleName":"r"}`, `{"roleName":""}`, "api.request.RoleName", "r", ""},
	} {
		want := receipt("iam.amazonaws.com", "CreateRole", parse(t, c.sent))
		got := mustRead(t, []byte(recordOf(want, c.recorded)))
		if d := Compare(want, got, Tolerance{}); !reflect.DeepEqual(d, []Difference{{Field: c.field, Expected: c.expected, Found: c.found}}) {
			t.Errorf("%s: %+v", c.name, d)
		}
	}
}

func TestWhatWasNotStatedIsNotCompared(t *testing.T) {
	got := realRecord(t, "umccr/1_08.json:0")
	if d := Compare(Event{}, got, Tolerance{}); len(d) > 0 {
		t.Errorf("%+v", d)
	}
	// Success is stated by no error.
	got.API.Error = "AccessDenied"
	if d := Compare(Event{}, got, Tolerance{}); !reflect.DeepEqual(d, []Difference{{Field: "api.error", Found: "AccessDenied"}}) {
		t.Errorf("%+v", d)
	}
	want := Event{API: API{Request: map[string]any{"A": nil, "B": []any{}, "C": map[string]any{"D": nil}}}}
	if d := Compare(want, Event{}, Tolerance{}); len(d) > 0 {
		t.Errorf("parameters that state nothing: %+v", d)
	}
}

func TestSourceAddressMayComeFromAList(t *testing.T) {
	for _, c := range []struct {
		want, got string
		ok        bool
	}{
		{"192.0.2.7", "192.0.2.7", true},
		{"192.0.2.7", "192.0.2.8", false},
		{"192.0.2.0/24, 2001:db8::/32", "192.0.2.200", true},
		{"192.0.2.0/24, 2001:db8::/32", "2001:db8::5", true},
		{"192.0.2.0/24,2001:db8::/32", "198.51.100.1", false},
		{"2001:db8:0:0::1", "2001:db8::1", true},
		{"192.0.2.7", "::ffff:192.0.2.7", true},
		{"192.0.2.7/", "192.0.2.7", false},
		{"localhost", "localhost", false},
		{"AWS Internal", "AWS Internal", false},
		{"192.0.2.7", "", false},
		{" , ", "192.0.2.7", false},
	} {
		raw, _ := json.Marshal(map[string]string{"eventName": "X", "sourceIPAddress": c.got})
		d := Compare(Event{SrcEndpoint: Endpoint{IP: c.want}}, mustRead(t, raw), Tolerance{})
		if ok := len(d) == 0; ok != c.ok {
			t.Errorf("%q against %q: %+v", c.got, c.want, d)
		}
		if len(d) == 1 && (d[0].Expected != c.want || d[0].Found != c.got || d[0].Rule != "") {
			t.Errorf("%q against %q: %+v", c.got, c.want, d[0])
		}
	}
}

func TestTimeMayLieWithinTheTolerance(t *testing.T) {
	at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	tol := Tolerance{Before: 2 * time.Second, After: 5 * time.Second}
	for offset, ok := range map[time.Duration]bool{0: true, -2: true, -3: false, 5: true, 6: false} {
		d := Compare(Event{Time: at}, Event{Time: at.Add(offset * time.Second)}, tol)
		if (len(d) == 0) != ok {
			t.Errorf("%d s: %+v", offset, d)
		}
	}
	if d := Compare(Event{Time: at}, Event{}, tol); !reflect.DeepEqual(d, []Difference{{Field: "time", Expected: "2026-01-02T03:04:05Z"}}) {
		t.Errorf("no time: %+v", d)
	}
}

func TestAnyOtherTextInAnyFieldIsADifference(t *testing.T) {
	want := receipt("iam.amazonaws.com", "DeleteRole", map[string]any{"RoleName": "auditcanary-c1"})
	raw := recordOf(want, `{"roleName":"auditcanary-c1"}`)
	paths := [][]string{
		{"eventType"}, {"recipientAccountId"}, {"awsRegion"}, {"eventSource"}, {"eventName"}, {"requestID"}, {"userAgent"}, {"errorCode"},
		{"sourceIPAddress"}, {"eventTime"}, {"requestParameters", "roleName"},
		{"userIdentity", "type"}, {"userIdentity", "arn"}, {"userIdentity", "principalId"}, {"userIdentity", "accountId"}, {"userIdentity", "accessKeyId"},
		{"userIdentity", "sessionContext", "sessionIssuer", "arn"}, {"userIdentity", "sessionContext", "sourceIdentity"},
	}
	rapid.Check(t, func(t *rapid.T) {
		doc := parse(t, raw)
		path := rapid.SampledFrom(paths).Draw(t, "path")
		text := rapid.String().Draw(t, "text")
		old, _ := lookup(doc, path).(string)
		if text == old {
			t.Skip()
		}
		assign(doc, path, text)
		b, err := json.Marshal(doc)
		if err != nil {
			t.Fatal(err)
		}
		got, err := ReadCloudTrail(b)
		if err != nil {
			t.Fatal(err)
		}
		if d := Compare(want, got, Tolerance{}); len(unexplained(d)) == 0 {
			t.Fatalf("%v = %q passes: %+v", path, text, d)
		}
	})
}

func TestWhatADifferenceQuotesIsBounded(t *testing.T) {
	long := strings.Repeat("é", 3000)
	d := Compare(Event{API: API{Operation: "X"}}, Event{API: API{Operation: long}}, Tolerance{})
	if len(d) != 1 || len(d[0].Found) > maxShown || !strings.HasSuffix(d[0].Found, "é…") {
		t.Errorf("%+v", d)
	}
}

func TestAttributionFieldsAreListedOnce(t *testing.T) {
	fields := AttributionFields()
	sorted := slices.Clone(fields)
	slices.Sort(sorted)
	if len(slices.Compact(sorted)) != len(fields) || len(fields) != 21 {
		t.Errorf("%q", fields)
	}
}
