package event

import (
	"encoding/json"
	"reflect"
	"strings"
	"testing"
	"time"
)

func TestNoRealRecordLosesWhatItStates(t *testing.T) {
	types := map[string]int{}
	for _, r := range realRecords(t) {
		var raw map[string]any
		if err := json.Unmarshal(r.raw, &raw); err != nil {
			t.Fatal(err)
		}
		e, err := ReadCloudTrail(r.raw)
		if !hasAny(raw, "eventName", "eventSource", "eventID", "eventTime", "userIdentity") {
			// A rule's test on an enrichment alone, and three records with all names
			// in lower case, as a query engine returns them: not CloudTrail's format.
			if err == nil || !strings.Contains(err.Error(), "not a CloudTrail record") {
				t.Errorf("%s: error %v, want: not a CloudTrail record", r.name, err)
			}
			continue
		}
		if err != nil {
			t.Errorf("%s: %v", r.name, err)
			continue
		}
		for field, got := range map[string]string{
			"eventSource": e.API.Service, "eventName": e.API.Operation, "requestID": e.API.RequestUID,
			"eventID": e.Metadata.UID, "awsRegion": e.Cloud.Region, "userAgent": e.HTTPRequest.UserAgent,
			"errorCode": e.API.Error, "recipientAccountId": e.Cloud.Account, "eventType": e.Metadata.EventCode,
			"sourceIPAddress": e.SrcEndpoint.IP + e.SrcEndpoint.Domain,
		} {
			if s, _ := raw[field].(string); s != got {
				t.Errorf("%s: %s is %q, raw has %q", r.name, field, got, s)
			}
		}
		if raw["eventTime"] != nil && e.Time.IsZero() && raw["eventTime"] != "redacted" {
			t.Errorf("%s: lost eventTime %v", r.name, raw["eventTime"])
		}
		if raw["requestParameters"] != nil && !reflect.DeepEqual(raw["requestParameters"], any(e.API.Request)) {
			t.Errorf("%s: requestParameters differ", r.name)
		}
		if identity, ok := raw["userIdentity"].(map[string]any); ok {
			types[e.Actor.Type]++
			if e.Actor.UID == "" {
				t.Errorf("%s: lost the actor of %v", r.name, identity)
			}
		}
		if len(e.Metadata.Unreadable) > 0 && raw["eventTime"] != "redacted" {
			t.Errorf("%s: unreadable: %v", r.name, e.Metadata.Unreadable)
		}
	}
	for _, typ := range []string{"IAMUser", "AssumedRole", "Root", "AWSService"} {
		if types[typ] == 0 {
			t.Errorf("no record with userIdentity.type %s was read", typ)
		}
	}
}

func hasAny(m map[string]any, names ...string) bool {
	for _, n := range names {
		if _, ok := m[n]; ok {
			return true
		}
	}
	return false
}

func TestActorOfEveryIdentityType(t *testing.T) {
	// Shapes from the CloudTrail user guide, "userIdentity element".
	no := false
	for _, c := range []struct {
		name, identity string
		want           Actor
	}{
		{"root", `{"type":"Root","principalId":"111122223333","arn":"arn:aws:iam::111122223333:root","accountId":"111122223333","accessKeyId":""}`,
			Actor{Type: "Root", UID: "arn:aws:iam::111122223333:root", UIDAlt: "111122223333", Account: "111122223333"}},
		{"IAM user", `{"type":"IAMUser","principalId":"AIDAEXAMPLE","arn":"arn:aws:iam::111122223333:user/p/alice","accountId":"111122223333","accessKeyId":"AKIAEXAMPLE","userName":"alice"}`,
			Actor{Type: "IAMUser", UID: "arn:aws:iam::111122223333:user/p/alice", UIDAlt: "AIDAEXAMPLE", Name: "alice", Account: "111122223333", CredentialUID: "AKIAEXAMPLE"}},
		{"assumed role with source identity", `{"type":"AssumedRole","principalId":"AROAEXAMPLE:s@x","arn":"arn:aws:sts::111122223333:assumed-role/Ops/s@x","accountId":"111122223333","accessKeyId":"ASIAEXAMPLE",
			"sessionContext":{"sessionIssuer":{"type":"Role","principalId":"AROAEXAMPLE","arn":"arn:aws:iam::111122223333:role/path/Ops","accountId":"111122223333","userName":"Ops"},"webIdFederationData":{},
			"attributes":{"creationDate":"2024-08-01T12:00:00Z","mfaAuthenticated":"false"},"sourceIdentity":"alice"}}`,
			Actor{Type: "AssumedRole", UID: "arn:aws:sts::111122223333:assumed-role/Ops/s@x", UIDAlt: "AROAEXAMPLE:s@x", Account: "111122223333", CredentialUID: "ASIAEXAMPLE",
				Session: Session{Issuer: "arn:aws:iam::111122223333:role/path/Ops", Name: "s@x", SourceIdentity: "alice", Created: time.Date(2024, 8, 1, 12, 0, 0, 0, time.UTC), MFA: &no}}},
		{"assumed role without an ARN keeps its session name", `{"type":"AssumedRole","principalId":"AROAEXAMPLE:s"}`,
			Actor{Type: "AssumedRole", UID: "AROAEXAMPLE:s", UIDAlt: "AROAEXAMPLE:s", Session: Session{Name: "s"}}},
		{"federated user", `{"type":"FederatedUser","principalId":"111122223333:bob","arn":"arn:aws:sts::111122223333:federated-user/bob","accountId":"111122223333","accessKeyId":"ASIAEXAMPLE",
			"sessionContext":{"sessionIssuer":{"type":"IAMUser","arn":"arn:aws:iam::111122223333:user/issuer"},"attributes":{"creationDate":"20131102T010628Z","mfaAuthenticated":"false"}}}`,
			Actor{Type: "FederatedUser", UID: "arn:aws:sts::111122223333:federated-user/bob", UIDAlt: "111122223333:bob", Account: "111122223333", CredentialUID: "ASIAEXAMPLE",
				Session: Session{Issuer: "arn:aws:iam::111122223333:user/issuer", Name: "bob", Created: time.Date(2013, 11, 2, 1, 6, 28, 0, time.UTC), MFA: &no}}},
		{"web identity", `{"type":"WebIdentityUser","principalId":"accounts.google.com:app.apps.googleusercontent.com:10101","userName":"10101","identityProvider":"accounts.google.com"}`,
			Actor{Type: "WebIdentityUser", UID: "accounts.google.com:app.apps.googleusercontent.com:10101", UIDAlt: "accounts.google.com:app.apps.googleusercontent.com:10101", Name: "10101", IDP: "accounts.google.com"}},
		{"SAML", `{"type":"SAMLUser","principalId":"hash=:carol","userName":"carol","identityProvider":"hash="}`,
			Actor{Type: "SAMLUser", UID: "hash=:carol", UIDAlt: "hash=:carol", Name: "carol", IDP: "hash="}},
		{"another account", `{"type":"AWSAccount","principalId":"AIDAOTHER","accountId":"444455556666"}`,
			Actor{Type: "AWSAccount", UID: "AIDAOTHER", UIDAlt: "AIDAOTHER", Account: "444455556666"}},
		{"anonymous request to S3", `{"type":"AWSAccount","principalId":"","accountId":"ANONYMOUS_PRINCIPAL"}`,
			Actor{Type: "AWSAccount", UID: "ANONYMOUS_PRINCIPAL", Account: "ANONYMOUS_PRINCIPAL"}},
		{"service", `{"type":"AWSService","invokedBy":"s3.amazonaws.com"}`,
			Actor{Type: "AWSService", UID: "s3.amazonaws.com", InvokedBy: "s3.amazonaws.com"}},
		{"service that also has an id", `{"type":"AWSService","principalId":"x","invokedBy":"AWS Internal"}`,
			Actor{Type: "AWSService", UID: "AWS Internal", UIDAlt: "x", InvokedBy: "AWS Internal"}},
		{"Identity Center user", `{"type":"IdentityCenterUser","accountId":"111122223333","onBehalfOf":{"userId":"544894e8-80c1","identityStoreArn":"arn:aws:identitystore::111122223333:identitystore/d-9067642ac7"},"credentialId":"CRED"}`,
			Actor{Type: "IdentityCenterUser", UID: "544894e8-80c1", Account: "111122223333", OnBehalfOf: "544894e8-80c1"}},
		{"hidden user of a failed console login", `{"type":"IAMUser","accountId":"111122223333","accessKeyId":"","userName":"HIDDEN_DUE_TO_SECURITY_REASONS"}`,
			Actor{Type: "IAMUser", UID: "HIDDEN_DUE_TO_SECURITY_REASONS", Name: "HIDDEN_DUE_TO_SECURITY_REASONS", Account: "111122223333"}},
		{"type unknown to AWS itself", `{"type":"Unknown","principalId":"p","accountId":"111122223333"}`,
			Actor{Type: "Unknown", UID: "p", UIDAlt: "p", Account: "111122223333"}},
		{"type unknown to us", `{"type":"Martian","arn":"arn:x"}`, Actor{Type: "Martian", UID: "arn:x"}},
		{"no identity", `null`, Actor{}},
		{"identity of the wrong type", `"root"`, Actor{}},
	} {
		e := mustRead(t, []byte(`{"eventName":"X","userIdentity":`+c.identity+`}`))
		if !reflect.DeepEqual(e.Actor, c.want) {
			t.Errorf("%s:\n got %+v\nwant %+v", c.name, e.Actor, c.want)
		}
	}
}

func TestOneWrongTypeDoesNotLoseTheRest(t *testing.T) {
	e := mustRead(t, []byte(`{"eventVersion":"one","eventTime":"yesterday","eventName":7,"eventSource":"iam.amazonaws.com","requestID":"r",
		"requestParameters":"none","readOnly":"perhaps","resources":[{"ARN":"arn:1"},5],"sourceIPAddress":["1.2.3.4"],
		"userIdentity":{"type":"IAMUser","arn":"arn:u","accountId":111122223333,"sessionContext":{"attributes":{"mfaAuthenticated":1}}}}`))
	want := []string{"eventName", "eventTime", "eventVersion", "readOnly", "requestParameters", "resources[1]", "sourceIPAddress",
		"userIdentity.accountId", "userIdentity.sessionContext.attributes.mfaAuthenticated"}
	if !reflect.DeepEqual(e.Metadata.Unreadable, want) {
		t.Errorf("unreadable:\n got %q\nwant %q", e.Metadata.Unreadable, want)
	}
	if e.Actor.UID != "arn:u" || e.API.RequestUID != "r" || e.API.Service != "iam.amazonaws.com" || len(e.Resources) != 1 {
		t.Errorf("lost the rest: %+v", e)
	}
	if e.Actor.Account != "" || e.API.Operation != "" || !e.Time.IsZero() || e.Actor.Session.MFA != nil {
		t.Errorf("invented a value: %+v", e)
	}
}

func TestHostileRecordsAreRefusedWithAClearError(t *testing.T) {
	for _, c := range []struct{ name, raw, want string }{
		{"empty", ``, "unexpected EOF"},
		{"not JSON", `eventName=CreateRole`, "invalid character"},
		{"an array", `[{"eventName":"X"}]`, "array"},
		{"null", `null`, "null instead of a JSON object"},
		{"cut", `{"eventName":"CreateRole","userIdenti`, "unexpected EOF"},
		{"two records on one line", `{"eventName":"A"}{"eventName":"B"}`, "after top-level value"},
		{"duplicate name", `{"eventName":"A","userIdentity":{"arn":"arn:me"},"userIdentity":{"arn":"arn:other"}}`, `duplicate`},
		{"duplicate name, escaped", `{"eventName":"A","event\u004eame":"B"}`, `duplicate`},
		{"duplicate name deep inside", `{"eventName":"A","requestParameters":{"a":{"b":1,"b":2}}}`, `duplicate`},
		{"names that differ in case", `{"eventName":"A","EventName":"B"}`, `names "EventName" and "eventName" differ only in case`},
		{"names that differ in case, beyond ASCII", `{"eventName":"A","readOnly":true,"u\u017ferIdentity":{},"userIdentity":{}}`, `differ only in case`},
		{"names in the identity that differ in case", `{"eventName":"A","userIdentity":{"arn":"a","ARN":"b"}}`, `names "userIdentity.ARN" and "userIdentity.arn" differ`},
		{"a future major version", `{"eventVersion":"2.0","eventName":"A"}`, `eventVersion "2.0": only version 1.x is known`},
		{"another format", `{"time":"2024-01-01","message":"hello"}`, "not a CloudTrail record"},
		{"more than 1 MB", `{"eventName":"` + strings.Repeat("x", MaxRecord) + `"}`, "more than the 1048576 allowed"},
		{"deeper than any reader should go", `{"eventName":"A","requestParameters":` + strings.Repeat(`{"a":`, 20000) + `1` + strings.Repeat(`}`, 20000) + `}`, "depth"},
	} {
		e, err := ReadCloudTrail([]byte(c.raw))
		if err == nil || !strings.Contains(err.Error(), c.want) || !strings.HasPrefix(err.Error(), "cloudtrail record: ") {
			t.Errorf("%s: error %v, want one with %q", c.name, err, c.want)
		}
		if !reflect.DeepEqual(e, Event{}) {
			t.Errorf("%s: an event beside the error: %+v", c.name, e)
		}
	}
}

func TestTextThatIsCutInsideACharacterIsStillRead(t *testing.T) {
	for _, agent := range []string{`"\ud83d"`, "\"\xf0\x9f\""} {
		e := mustRead(t, []byte(`{"eventName":"X","userAgent":`+agent+`,"userIdentity":{"arn":"arn:u"}}`))
		if e.Actor.UID != "arn:u" || !strings.Contains(e.HTTPRequest.UserAgent, "\uFFFD") {
			t.Errorf("%s: %+v", agent, e)
		}
	}
}

func TestSchemaVersionsAreNumbers(t *testing.T) {
	for v, want := range map[string][2]int{"1.0": {1, 0}, "1.08": {1, 8}, "1.8": {1, 8}, "1.11": {1, 11}, "2.1": {2, 1}} {
		major, minor, err := schemaVersion(v)
		if err != nil || major != want[0] || minor != want[1] {
			t.Errorf("%s: %d.%d, %v", v, major, minor, err)
		}
	}
	for _, v := range []string{"1", "1.", ".1", "1.x", "1.1.1", "99999999999999999999.1"} {
		if _, _, err := schemaVersion(v); err == nil {
			t.Errorf("%s: no error", v)
		}
	}
}

func TestAmendedSharedAndTruncatedRecordsSaySo(t *testing.T) {
	e := realRecord(t, "umccr/1_10.json:0")
	if a := e.Metadata.Amends; a == nil || a.Reason != "UPDATED_DATA" || a.OriginalUID == "" || a.UpdatedFields != "responseElements" {
		t.Errorf("amends: %+v", a)
	}
	if e := realRecord(t, "umccr/1_07.json:0"); e.Metadata.SharedUID == "" {
		t.Error("shared uid lost")
	}
	if e := mustRead(t, []byte(`{"eventName":"X","requestParameters":{"omitted":true}}`)); !e.Metadata.Truncated {
		t.Error("omitted parameters not noted")
	}
	if e := mustRead(t, []byte(`{"eventName":"X","requestParameters":{"omitted":"true"}}`)); e.Metadata.Truncated {
		t.Error("a parameter's text counts as the provider's mark")
	}
}

func TestSourceIsAnAddressOrAName(t *testing.T) {
	for from, want := range map[string]Endpoint{
		"192.0.2.1": {IP: "192.0.2.1"}, "2001:db8::1": {IP: "2001:db8::1"},
		"AWS Internal": {Domain: "AWS Internal"}, "cloudtrail.amazonaws.com": {Domain: "cloudtrail.amazonaws.com"},
		"192.0.2.1, 10.0.0.1": {Domain: "192.0.2.1, 10.0.0.1"}, "225.178.039.250": {Domain: "225.178.039.250"},
	} {
		raw, _ := json.Marshal(map[string]string{"eventName": "X", "sourceIPAddress": from})
		if got := mustRead(t, raw).SrcEndpoint; got != want {
			t.Errorf("%s: %+v, want %+v", from, got, want)
		}
	}
}

func FuzzReadCloudTrail(f *testing.F) {
	for i, r := range realRecords(f) {
		if i%7 == 0 {
			f.Add([]byte(r.raw))
		}
	}
	f.Add([]byte(`{"eventName":"A","event\u004eame":"B"}`))
	f.Add([]byte("{\"eventName\":\"\xff\",\"userIdentity\":[]}"))
	f.Fuzz(func(t *testing.T, raw []byte) {
		e, err := ReadCloudTrail(raw)
		if err != nil {
			if !reflect.DeepEqual(e, Event{}) {
				t.Fatal("an event beside an error")
			}
			return
		}
		if d := Compare(e, e, Tolerance{}); len(unexplained(d)) > 0 && e.SrcEndpoint.Domain == "" {
			t.Fatalf("a record differs from itself: %+v", d)
		}
		// Comparing against anything must not panic either.
		Compare(receipt("iam.amazonaws.com", "CreateRole", map[string]any{"Tags": []any{map[string]any{"Key": "k", "Value": "v"}}}), e, Tolerance{})
	})
}
