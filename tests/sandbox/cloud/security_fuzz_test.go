package cloud

import (
	"encoding/json"
	"net/http/httptest"
	"testing"
	"time"
)

type stopped struct{ now time.Time }

func (s stopped) Now() time.Time                  { return s.now }
func (s stopped) Until(t time.Time) time.Duration { return t.Sub(s.now) }

type nowhere struct{}

func (nowhere) Emit(string, string, Record)                     {}
func (nowhere) EmitAfter(string, string, Record, time.Duration) {}

// Whatever somebody signs, it is answered and recorded, and nothing panics.
func FuzzSecurityTooling(f *testing.F) {
	f.Add("guardduty", "CreateFilter", "eu-west-1", `{"detectorId":"x","name":5,"tags":[],"findingCriteria":{"criterion":{"id":null}},"rank":"1"}`)
	f.Add("guardduty", "UpdateDetector", "us-west-2", `{"detectorId":{},"enable":"yes"}`)
	f.Add("securityhub", "GetInsights", "eu-west-1", `{"InsightArns":[{"a":1},[],null,"arn"],"MaxResults":1e9,"NextToken":[]}`)
	f.Add("securityhub", "CreateInsight", "eu-west-1", `{"Name":"n","GroupByAttribute":"g","Filters":{}}`)
	f.Add("wafv2", "CreateIPSet", "us-east-1", `{"Name":"n","Scope":"CLOUDFRONT","IPAddressVersion":"IPV6","Addresses":[1,"::1/128"],"Tags":[{"Key":1},"x"]}`)
	f.Add("wafv2", "ListTagsForResource", "nowhere", `{"ResourceARN":"arn:aws:wafv2","Limit":-1}`)
	now := time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	all := map[string]service{"guardduty": guarddutyService(), "securityhub": securityhubService(), "wafv2": wafv2Service()}
	c, err := New(Options{Clock: stopped{now}, Sink: nowhere{}, World: World(stopped{now})})
	if err != nil {
		f.Fatal(err)
	}
	c.world.SCPs = nil
	f.Fuzz(func(t *testing.T, service, operation, region, params string) {
		svc := all[service]
		op, known := svc.ops[operation]
		k := &call{cloud: c, op: op, svc: svc, Request: Request{
			HTTP: httptest.NewRequest("POST", "/", nil), Service: service, Operation: operation, Region: region, RequestID: "r", Time: now,
			Principal: Principal{Account: TargetAccounts()[0], Type: "Root", ARN: "arn:aws:iam::111122223333:root"},
		}}
		if !known || json.Unmarshal([]byte(params), &k.Params) != nil {
			return
		}
		rep, err := c.act(k)
		if aerr := asAPIError(err); aerr != nil && aerr.status >= 500 {
			t.Errorf("%s:%s %s: %v", service, operation, params, err)
		} else {
			plain(k.record(rep, aerr))
		}
	})
}
