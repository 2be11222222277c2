package cloud

import (
	"encoding/json"
	"net/http/httptest"
	"testing"
	"time"
)

// Whatever somebody asks of what records and watches, it is answered and recorded,
// and nothing panics.
func FuzzLogging(f *testing.F) {
	f.Add("cloudtrail", "PutEventSelectors", "eu-west-1", `{"TrailName":"auditcanary-selector","AdvancedEventSelectors":[1,{"FieldSelectors":[{"Field":"eventCategory","Equals":{}},null]}]}`)
	f.Add("cloudtrail", "GetEventSelectors", "nowhere", `{"TrailName":"org-trail"}`)
	f.Add("logs", "CreateLogGroup", "nowhere", `{"logGroupName":"a","tags":{"k":1}}`)
	f.Add("logs", "PutRetentionPolicy", "eu-west-1", `{"logGroupName":"auditcanary-retention","retentionInDays":"30"}`)
	f.Add("logs", "PutMetricFilter", "eu-west-1", `{"logGroupName":"auditcanary-retention","filterName":"f","metricTransformations":[7]}`)
	f.Add("logs", "DescribeLogGroups", "eu-west-1", `{"limit":-1,"nextToken":[]}`)
	f.Add("config", "PutConfigRule", "eu-west-1", `{"ConfigRule":{"ConfigRuleName":"n","Source":{"Owner":"AWS","SourceIdentifier":"CLOUD_TRAIL_ENABLED"}},"Tags":[{"Key":{}},5]}`)
	f.Add("config", "DescribeConfigRules", "eu-west-1", `{"ConfigRuleNames":[{}]}`)
	f.Add("config", "StopConfigurationRecorder", "eu-west-1", `{"ConfigurationRecorderName":["default"]}`)
	f.Add("events", "PutRule", "eu-west-1", `{"Name":"n","EventPattern":"{\"source\":[1]}","State":"ENABLED","Tags":"x"}`)
	f.Add("events", "ListRules", "eu-west-1", `{"Limit":1e300,"NextToken":"\u0000"}`)
	all := map[string]service{"cloudtrail": cloudtrailService(), "logs": logsService(), "config": configService(), "events": eventsService()}
	c := quiet(f)
	c.world.SCPs = nil // they would refuse before anything is read
	f.Fuzz(func(t *testing.T, service, operation, region, params string) {
		svc := all[service]
		op, known := svc.ops[operation]
		k := &call{cloud: c, op: op, svc: svc, Request: Request{
			HTTP: httptest.NewRequest("POST", "/", nil), Service: service, Operation: operation, Region: region, RequestID: "r", Time: time.Now(),
			Principal: Principal{Account: TargetAccounts()[0], Type: "Root", ARN: "arn:aws:iam::111122223333:root"},
		}}
		if !known || json.Unmarshal([]byte(params), &k.Params) != nil {
			return
		}
		rep, err := c.act(k)
		aerr := asAPIError(err)
		if aerr != nil && aerr.status >= 500 && aerr.code != "NotImplemented" {
			t.Errorf("%s:%s %s: %v", service, operation, params, err)
		}
		c.emit(k, rep, aerr)
	})
}
