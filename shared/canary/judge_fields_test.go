package canary

import (
	"slices"
	"testing"
	"time"

	"github.com/auditcanary/auditcanary/shared/event"
)

// TestEveryAttributionFieldFlipsTheVerdict changes each field that attribution
// compares, one at a time, in a record that matches: the verdict must fail and
// name that field. (shared/event does the same on the raw JSON of real records.)
func TestEveryAttributionFieldFlipsTheVerdict(t *testing.T) {
	yes, no := true, false
	full := func() *one {
		o := proven(Decoy)
		want := &o.ev.Receipts[0].Want
		want.Actor.UIDAlt, want.Actor.CredentialUID = "AROAEXAMPLE:auditcanary-20261122-abcdef-01", "ASIAEXAMPLE"
		want.Actor.Session.MFA, want.API.ReadOnly = &no, &no
		want.API.Request = map[string]any{"RoleName": "auditcanary-20261122-abcdef-01"}
		want.HTTPRequest.UserAgent = "aws-sdk-go-v2 app/auditcanary"
		got := *want
		got.Metadata.UID, got.Metadata.LogName = "event-1", "cloudtrail"
		got.API.Request = map[string]any{"roleName": "auditcanary-20261122-abcdef-01"}
		o.seen.Sightings[0].Event = got
		return o
	}
	if v := full().judge(); v.Overall() != Pass {
		t.Fatalf("the unchanged record does not pass: %+v", v.Checks)
	}
	change := map[string]func(*event.Event){
		"metadata.event_code":           func(e *event.Event) { e.Metadata.EventCode = "AwsServiceEvent" },
		"cloud.account":                 func(e *event.Event) { e.Cloud.Account = "444455556666" },
		"cloud.region":                  func(e *event.Event) { e.Cloud.Region = "eu-west-1" },
		"actor.type":                    func(e *event.Event) { e.Actor.Type = "IAMUser" },
		"actor.uid":                     func(e *event.Event) { e.Actor.UID = "arn:aws:iam::111122223333:user/mallory" },
		"actor.uid_alt":                 func(e *event.Event) { e.Actor.UIDAlt = "AIDAOTHER" },
		"actor.account":                 func(e *event.Event) { e.Actor.Account = "444455556666" },
		"actor.credential_uid":          func(e *event.Event) { e.Actor.CredentialUID = "ASIAOTHER" },
		"actor.session.issuer":          func(e *event.Event) { e.Actor.Session.Issuer = "" },
		"actor.session.name":            func(e *event.Event) { e.Actor.Session.Name = "jane.doe" },
		"actor.session.source_identity": func(e *event.Event) { e.Actor.Session.SourceIdentity = "" },
		"actor.session.is_mfa":          func(e *event.Event) { e.Actor.Session.MFA = &yes },
		"api.service":                   func(e *event.Event) { e.API.Service = "ec2.amazonaws.com" },
		"api.operation":                 func(e *event.Event) { e.API.Operation = "CreateUser" },
		"api.read_only":                 func(e *event.Event) { e.API.ReadOnly = &yes },
		"api.error":                     func(e *event.Event) { e.API.Error = "AccessDenied" },
		"api.request":                   func(e *event.Event) { e.API.Request = nil },
		"api.request.RoleName":          func(e *event.Event) { e.API.Request = map[string]any{"roleName": "another"} },
		"src_endpoint.ip":               func(e *event.Event) { e.SrcEndpoint.IP = "203.0.113.9" },
		"http_request.user_agent":       func(e *event.Event) { e.HTTPRequest.UserAgent = "curl/8" },
		"time":                          func(e *event.Event) { e.Time = e.Time.Add(-5 * time.Minute) },
	}
	for _, field := range event.AttributionFields() {
		// The request id is how a record is found at all: changed, it is not ours.
		if _, ok := change[field]; !ok && field != "api.request_uid" {
			t.Errorf("no change of %s is tried", field)
		}
	}
	for field, f := range change {
		o := full()
		f(&o.seen.Sightings[0].Event)
		a := o.judge().Checks[Attributed]
		named := slices.ContainsFunc(a.Fields, func(d event.Difference) bool { return d.Field == field })
		if a.Status != Fail || !named || len(a.Fields) != 1 {
			t.Errorf("%s changed: %s %+v", field, a.Status, a.Fields)
		}
	}
}
